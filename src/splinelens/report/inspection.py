"""What a model does with one text, or with two, as records for eyes and for JSON.

All arrays are numpy's, so that a record outlives the model it came from. A layer's place in an array is
its place in ``Inspection.layers``, which need not begin at 0 nor be without gaps.
"""

import json
import unicodedata
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from splinelens.geometry.partition import SPLINE7

SCHEMA = 1
"""Number of the JSON form; it rises when a key changes its meaning or goes."""

_SIGNS = {" ": "␣", "\n": "↵", "\r": "␍", "\t": "⇥", "\u00a0": "⍽"}
_JOINERS = "\u200c\u200d"  # they hold letters of Persian and parts of emoji together


@dataclass(frozen=True, eq=False)
class Portrait:
    """One text as a model reads it, token by token and layer by layer.

    Attributes:
        text: The text.
        spans: First character and the one behind the last, of each token.
        sign: Sign fraction, in [0, 1].
        boundary: Boundary distance, in units of the MLP's input; infinity where a layer has no wall.
        wall: Number of the neuron whose wall is nearest.
        dimension: Intrinsic dimension of each head, in vertices: absolute, then relative; -1 at layers
            without softmax attention.
        bound: The tight upper bound on the dimension of the token's hull, relative threshold; -1 likewise.
        regions: Distinct regions that the text visits.
        seven: The seven features in the order of ``SPLINE7``.
        percentiles: Where they stand among those of the reference, in 0..100; None without one.
        prefixes: The seven features of every prefix; None unless asked for.
        region_ids: For each layer the name of each token's region; equal names there are equal regions.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    sign: Float[np.ndarray, "layer token"]
    boundary: Float[np.ndarray, "layer token"]
    wall: Int[np.ndarray, "layer token"]
    dimension: Int[np.ndarray, "2 layer head token"]
    bound: Int[np.ndarray, "layer token"]
    regions: Int[np.ndarray, " layer"]
    seven: Float[np.ndarray, "layer 7"]
    percentiles: Float[np.ndarray, "layer 7"] | None
    prefixes: Float[np.ndarray, "layer token 7"] | None
    region_ids: tuple[tuple[str, ...], ...] = ()

    def labels(self) -> list[str]:
        """The tokens as they are shown, each visible, the parts of one character numbered.

        Example:
            >>> none = np.zeros((0, 3))
            >>> no, spans = none.astype(int), ((0, 1), (1, 3), (2, 3))
            >>> zero = np.zeros((2, 0, 0, 3), int), no, np.zeros(0, int), np.zeros((0, 7))
            >>> Portrait("I 🦩", spans, none, none, no, *zero, None, None).labels()
            ['I', '␣🦩1/2', '🦩2/2']
        """
        shown: list[str] = []
        for tokens in self.characters():
            for part, token in enumerate(tokens, start=1):
                piece = visible(self.text[slice(*self.spans[token])])
                shown.append(piece + (f"{part}/{len(tokens)}" if len(tokens) > 1 else ""))
        return shown

    def characters(self) -> list[range]:
        """The tokens in runs: several tokens that end in one and the same character are one run."""
        runs: list[range] = []
        for token, (begin, end) in enumerate(self.spans):
            if runs and begin < end == self.spans[token - 1][1]:
                runs[-1] = range(runs[-1].start, token + 1)
            else:
                runs.append(range(token, token + 1))
        return runs


@dataclass(frozen=True, eq=False)
class SliceView:
    """The walls of one layer on the plane through three points of its input.

    Attributes:
        layer: Number of the layer.
        labels: What the three points are.
        places: Where they lie on the plane, in units of the MLP's input.
        box: The window: lowest x, lowest y, highest x, highest y.
        segments: The two ends of each wall within the window.
        walls: Their neurons.
        cells: How many regions the window shows at most; fewer where three walls meet in one point.
        own: The corners of the cell that holds each point; None where it is not known.
        neurons: How many neurons the layer has, whether or not their walls cross the window.
    """

    layer: int
    labels: tuple[str, str, str]
    places: Float[np.ndarray, "3 2"]
    box: tuple[float, float, float, float]
    segments: Float[np.ndarray, "wall 2 2"]
    walls: Int[np.ndarray, " wall"]
    cells: int
    own: tuple[
        Float[np.ndarray, "_ 2"] | None, Float[np.ndarray, "_ 2"] | None, Float[np.ndarray, "_ 2"] | None
    ]
    neurons: int


@dataclass(frozen=True, eq=False)
class Inspection:
    """One text, or two, and everything that was read of them.

    Attributes:
        model: Name of the model.
        layers: The layers that were read.
        heads: Attention heads of a layer.
        neurons: Neurons of a layer; of the widest one if they differ.
        eps: Threshold of the intrinsic dimension, in (0, 1).
        portraits: One text, or two.
        slice: A picture of the partition; None unless asked for.
        text_distance: Mean share of neurons whose signs differ between tokens of the two texts, in [0, 1];
            None with one text.
        reference: The texts that percentiles stand among, in words; None without.
        notes: What could not be had, and why.
        own_distance: The same of each text to itself, over all pairs of its tokens; None with one text.
            ``text_distance`` is never below the mean of the two, and equals it where both texts switch
            on each neuron equally often.
    """

    model: str
    layers: tuple[int, ...]
    heads: int
    neurons: int
    eps: float
    portraits: tuple[Portrait, ...]
    slice: SliceView | None
    text_distance: Float[np.ndarray, " layer"] | None
    reference: str | None
    notes: tuple[str, ...]
    own_distance: Float[np.ndarray, "text layer"] | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values under the names of the attributes, arrays as nested lists.

        ``schema`` and ``features``, the names of the seven, are added. A number that does not exist is
        None: a distance without a wall, an intrinsic dimension without softmax attention.

        Example:
            >>> record = Inspection("m", (0,), 9, 4, 0.1, (), None, np.array([0.25]), None, ()).to_dict()
            >>> record["schema"], record["layers"], record["text_distance"], record["slice"]
            (1, [0], [0.25], None)
        """
        return {"schema": SCHEMA, "features": list(SPLINE7), **_record(self)}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)


def visible(token: str) -> str:
    r"""A token with nothing hidden: white space, control and invisible characters become signs.

    Args:
        token: Any string, lone surrogates included.

    Returns:
        A string that prints on one line and turns none around; ``∅`` for no character at all.

    Example:
        >>> visible(" the\n"), visible("\u202e"), visible("\x1b")
        ('␣the↵', '⟨202E⟩', '␛')
    """
    joined = token.strip(_JOINERS) != ""
    shown = "".join(
        character if character in _JOINERS and joined else _sign(character) for character in token
    )
    return "◌" + shown if unicodedata.combining(shown[:1] or " ") else shown or "∅"


def readable(words: str) -> str:
    r"""Words of ours that hold some of a stranger's: as ``visible``, but blanks stay blanks.

    Example:
        >>> readable("token 1 of a\nb")
        'token 1 of a↵b'
    """
    return visible(words).replace("␣", " ")


def _sign(character: str) -> str:
    if character in _SIGNS:
        return _SIGNS[character]
    if character.isprintable():
        return character
    code = ord(character)
    return chr(0x2400 + code) if code < 0x20 else "␡" if code == 0x7F else f"⟨{code:04X}⟩"


def _record(value: object) -> Any:  # Any: plain JSON values
    if isinstance(value, np.ndarray):
        return _numbers(value)
    if isinstance(value, tuple | list):
        return [_record(part) for part in value]
    if isinstance(value, Inspection | Portrait | SliceView):
        return {name: _record(part) for name, part in vars(value).items()}
    return value


def _numbers(array: np.ndarray) -> Any:  # Any: as above
    """Nested lists; floats as short as they can be told apart, what does not exist as None."""
    if array.dtype.kind == "f":
        there = np.isfinite(array)
        kept = (array.astype("U").astype(float) if array.dtype == np.float32 else array).astype(object)
    else:
        there, kept = array >= 0, array.astype(object)
    kept[~there] = None
    return kept.tolist()
