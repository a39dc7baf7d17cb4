"""Results of an inspection: one text, or two, token by token and layer by layer; with their JSON.

Layer axes count ``Inspection.layers``, which need not begin at 0 nor be contiguous.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from splinelens.features.slicing import TextSlice
from splinelens.features.token_report import TokenReport
from splinelens.geometry.settings import SPLINE7, THRESHOLDS
from splinelens.report.tables import Table
from splinelens.texts.plain_text import visible

_SCHEMA = 2
"""Number of the JSON form; it rises when a key is renamed, removed or changes its meaning."""


@dataclass(frozen=True, eq=False)
class Inspection:
    """One text, or two, and everything that was measured of them.

    Attributes:
        model: Name of the model.
        layers: The layers that were read.
        heads: Attention heads of a layer.
        neurons: Neurons of a layer; of the widest one if they differ.
        eps: Threshold of the intrinsic dimension, in (0, 1).
        texts: One text, or two.
        percentiles: For each text where its seven features stand among those of the reference, in 0..100;
            None without a reference.
        prefixes: For each text the seven features of every prefix; None unless requested.
        slice: A slice of the partition; None if there is none.
        text_distance: Mean share of neurons whose signs differ between tokens of the two texts, in [0, 1];
            None with one text.
        self_distance: The same of each text to itself, over all pairs of its tokens; None with one text.
            ``text_distance`` is never below the mean of the two, and equals it where both texts switch
            on each neuron equally often.
        reference: For each text the texts that its percentiles are taken from, in words; None without.
        notes: What is missing, and why.
    """

    model: str
    layers: tuple[int, ...]
    heads: int
    neurons: int
    eps: float
    texts: tuple[TokenReport, ...]
    percentiles: tuple[Float[np.ndarray, "layer 7"], ...] | None = None
    prefixes: tuple[Float[np.ndarray, "layer token 7"], ...] | None = None
    slice: TextSlice | None = None
    text_distance: Float[np.ndarray, " layer"] | None = None
    self_distance: Float[np.ndarray, "text layer"] | None = None
    reference: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        counts = " and ".join(str(text.tokens) for text in self.texts)
        return f"Inspection({self.model!r}, {len(self.layers)} layers, {counts} tokens)"

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """As JSON values under the names of the attributes, with arrays as nested lists.

        ``schema`` and ``features``, the names of the seven, are added; percentiles, prefixes and region names
        are part of each text. A number that does not exist is None: a distance without a wall, an
        intrinsic dimension without softmax attention.

        Example:
            >>> record = Inspection("m", (0,), 9, 4, 0.1, (), text_distance=np.array([0.25])).to_dict()
            >>> record["schema"], record["layers"], record["text_distance"], record["slice"]
            (2, [0], [0.25], None)
        """
        per_text = ("texts", "percentiles", "prefixes")
        rest = {name: value for name, value in vars(self).items() if name not in per_text}
        return {
            "schema": _SCHEMA,
            "features": list(SPLINE7),
            **_json(rest),
            "texts": [self._text(number) for number in range(len(self.texts))],
        }

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False)

    def _text(self, number: int) -> dict[str, Any]:  # Any: JSON values
        text = self.texts[number]
        names = "text spans sign boundary dimension bound regions seven".split()
        return _json(
            {
                **{name: getattr(text, name) for name in names},
                "wall": text.nearest_wall,
                "percentiles": self.percentiles and self.percentiles[number],
                "prefixes": self.prefixes and self.prefixes[number],
                "region_ids": [text.region_ids(layer) for layer in text.layers],
            }
        )


def characters(text: TokenReport) -> list[range]:
    """The tokens in groups: tokens that end in the same character form one group."""
    groups: list[range] = []
    for token, (begin, end) in enumerate(text.spans):
        if groups and begin < end == text.spans[token - 1][1]:
            groups[-1] = range(groups[-1].start, token + 1)
        else:
            groups.append(range(token, token + 1))
    return groups


def token_labels(text: TokenReport) -> list[str]:
    """The visible form of each token; tokens of the same character are numbered, such as ``🦩1/2``."""
    return [
        visible(text.piece(token)) + (f"{part}/{len(group)}" if len(group) > 1 else "")
        for group in characters(text)
        for part, token in enumerate(group, start=1)
    ]


def dimension_sums(text: TokenReport, threshold: int) -> Float[np.ndarray, "layer token"]:
    """Intrinsic dimension summed over heads; NaN at layers without softmax attention."""
    counts = text.dimension[threshold]
    present = (counts >= 0).all(axis=1) & (counts.shape[1] > 0)
    return np.where(present, counts.sum(axis=1), np.nan)


def layer_table(text: TokenReport) -> Table:
    """One row per layer: sign fractions, nearest boundary, mean intrinsic dimension over tokens, regions."""
    mean, smallest, largest = text.seven[:, :3].T
    columns = {
        "layer": [str(layer) for layer in text.layers],
        "sign mean": _shares(mean),
        "sign min": _shares(smallest),
        "sign max": _shares(largest),
        "nearest": [short(value) for value in text.boundary.min(axis=1, initial=np.inf)],
    }
    for threshold, name in enumerate(THRESHOLDS):
        means = dimension_sums(text, threshold).mean(axis=1)
        columns[f"ID {name[:3]}"] = [f"{value:.1f}" if np.isfinite(value) else "-" for value in means]
    columns["regions"] = [str(count) for count in text.regions]
    return Table(tuple(columns), list(zip(*columns.values(), strict=True)))


def distance_table(inspection: Inspection) -> Table:
    """One row per layer: the distance between two texts, and that of each text to itself."""
    assert inspection.text_distance is not None  # there are two texts
    columns = {
        "layer": [str(layer) for layer in inspection.layers],
        "1 to 2": _shares(inspection.text_distance),
    }
    if inspection.self_distance is not None:
        columns |= {f"{n} to {n}": _shares(row) for n, row in enumerate(inspection.self_distance, start=1)}
    return Table(tuple(columns), list(zip(*columns.values(), strict=True)))


def short(number: float) -> str:
    """A number with three digits, a dash for what is not finite.

    Example:
        >>> short(0.12345), short(0.000012345), short(float("inf"))
        ('0.123', '1.2e-05', '-')
    """
    if not np.isfinite(number):
        return "-"
    return f"{number:.3g}" if number == 0 or abs(number) >= 1e-3 else f"{number:.1e}"


def _shares(values: Sequence[float] | np.ndarray) -> list[str]:
    return [f"{value:.4f}" for value in values]


def _json(value: Any) -> Any:  # Any: records and arrays; JSON values
    if isinstance(value, np.ndarray):
        return _numbers(value)
    if isinstance(value, tuple | list):
        return [_json(part) for part in value]
    if isinstance(value, TextSlice):
        value = vars(value)
    if isinstance(value, dict):
        return {name: _json(part) for name, part in value.items()}
    return value


def _numbers(array: np.ndarray) -> Any:  # Any: nested lists of numbers
    """Nested lists with the shortest decimals that identify a float; None where no number exists."""
    if array.dtype.kind == "f":
        present = np.isfinite(array)
        kept = (array.astype("U").astype(float) if array.dtype == np.float32 else array).astype(object)
    else:
        present, kept = array >= 0, array.astype(object)
    kept[~present] = None
    return kept.tolist()
