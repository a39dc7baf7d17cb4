"""Which plane to cut a layer's partition along: through three tokens of one text, or of two.

Tokens of several texts are counted through, text after text. Three tokens that lie on one line, as
the tokens of "a a a" do in the first layers, span no plane: then others are taken, and a note says so.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from os import PathLike

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.errors import BadFeatures
from splinelens.features.token_report import TokenReport, report_tokens
from splinelens.features.validation import check_layer, check_positive, check_text, check_token
from splinelens.geometry.slices import Slice, points_apart, slice_partition, spans_plane
from splinelens.models import LoadedModel
from splinelens.models.load import load_up_to
from splinelens.texts.plain_text import visible
from splinelens.weights import walls_of

Triple = tuple[int, int, int]
Cell = Float[np.ndarray, "_ 2"]  # corners: each cell has another number of them


@dataclass(frozen=True, eq=False)
class TextSlice:
    """The walls of one layer on the plane through three tokens.

    Attributes:
        layer: Number of the layer.
        labels: Names of the three tokens.
        points: Their positions on the plane, in units of the MLP's input.
        box: The window: lowest x, lowest y, highest x, highest y.
        segments: Both ends of each wall inside the window.
        walls: Their neurons, counted through all experts.
        regions: Upper bound of the regions in the window; exact unless three walls meet in one point.
        cells: Corners of the region around each point.
        neurons: Neurons of the layer, whether or not their walls cross the window.
    """

    layer: int
    labels: tuple[str, ...]
    points: Float[np.ndarray, "3 2"]
    box: tuple[float, float, float, float]
    segments: Float[np.ndarray, "wall 2 2"]
    walls: Int[np.ndarray, " wall"]
    regions: int
    cells: tuple[Cell, ...]
    neurons: int

    def __repr__(self) -> str:
        return f"TextSlice(layer {self.layer}, {len(self.walls)} of {self.neurons} walls)"

    def same_cell(self) -> dict[int, int]:
        """The points that share the region of an earlier point, and which that is."""
        shared: dict[int, int] = {}
        for number, cell in enumerate(self.cells):
            for earlier, other in enumerate(self.cells[:number]):
                if np.array_equal(cell, other):
                    shared.setdefault(number, earlier)
        return shared


def slice_tokens(
    anatomy: Anatomy,
    reports: Sequence[TokenReport],
    layer: int,
    tokens: Triple | None,
) -> tuple[TextSlice | None, list[str]]:
    """Cut the partition of a layer along the plane through three tokens.

    Args:
        anatomy: The model's anatomy.
        reports: The texts, read with the layer's inputs kept.
        layer: The layer.
        tokens: The tokens; None takes the first, middle and last one of a single text, and of several
            the last ones of the first two and the middle one of the first, or others if they span no plane.

    Returns:
        The slice, None if no three tokens span a plane; and notes on what is drawn differently or missing.
        On a layer of experts it shows the boundaries of the shared expert, or else of the one that most
        of the three tokens are routed to.

    Raises:
        BadFeatures: A token that does not exist, or three chosen tokens that span no plane.
    """
    states = torch.cat([report.inputs[layer] for report in reports])
    notes: list[str] = []
    if tokens is None:
        tokens, notes = _default_tokens([report.tokens for report in reports], states, layer)
    else:
        name = "all texts together" if len(reports) > 1 else "the text"
        first_token, second_token, third_token = (check_token(token, len(states), name) for token in tokens)
        tokens = (first_token, second_token, third_token)
    if tokens is None:
        return None, notes
    weight, bias, first, drawn = _walls(anatomy, layer, reports, tokens)
    picture = slice_partition(states[list(tokens)], weight, bias)
    view = TextSlice(
        layer=layer,
        labels=tuple(_label(reports, token) for token in tokens),
        points=picture.positions,
        box=picture.box,
        segments=picture.segments,
        walls=picture.walls + first,
        regions=picture.cell_count,
        cells=tuple(picture.cell_around(point) for point in picture.positions),
        neurons=len(weight),
    )
    return view, notes + drawn


def slice_texts(
    texts: Sequence[str],
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    layer: int,
    at: str = "last",
    prompt: str = "",
    max_tokens: int = 2048,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> Slice:
    """Cut the partition of a layer along the plane through three texts.

    Args:
        texts: Three texts.
        model: A loaded model, or the name, folder or file of one; of a name only the blocks needed
            are loaded.
        layer: A dense layer, from 0.
        at: Where a text is: at its ``last`` token, or at the ``mean`` of its tokens' MLP inputs.
        prompt: Run before each text.
        max_tokens: Longer texts are refused.
        revision: Branch, tag or commit of a hub id.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        dtype: Number type of the weights; None takes ``float32``.

    Returns:
        The slice; its points are those of the texts, in input order.

    Raises:
        BadFeatures: Not three texts, another word for ``at``, texts that span no plane, a layer that
            does not exist, or one that consists of experts, each with its own partition.
        BadTexts: A text has no token, or too many.
        BadModel: The model cannot be loaded, its gate weight is quantized, or an option of loading is given
            for a loaded one.

    Example:
        >>> texts = ["Rain fell.", "Snow fell.", "The sun shone."]  # doctest: +SKIP
        >>> len(slice_texts(texts, layer=3).walls)  # doctest: +SKIP
        1100
    """
    if isinstance(texts, str) or len(texts) != 3 or at not in ("last", "mean"):
        given = "one string" if isinstance(texts, str) else f"{len(texts)} texts"
        raise BadFeatures(f"{given} and at={at!r}: a slice goes through three texts, at 'last' or 'mean'")
    layer, max_tokens = check_layer(layer), check_positive(max_tokens, "max_tokens")
    names = ("the first text", "the second text", "the third text")
    texts = [check_text(text, names[index]) for index, text in enumerate(texts)]
    if len(set(texts)) < 3:
        raise BadFeatures("two of the texts are the same; a slice goes through three different ones")
    loaded = load_up_to(model, [layer], revision=revision, device=device, dtype=dtype)
    reports = [
        report_tokens(
            text, loaded, [layer], prompt=prompt, max_tokens=max_tokens, keep_inputs=[layer], name=name
        )
        for name, text in zip(names, texts, strict=True)
    ]
    anatomy = anatomy_of(loaded.model)
    if anatomy.experts(layer) is not None:
        raise BadFeatures(
            f"layer {layer} consists of experts, each with its own partition; slice through three "
            "tokens of one text with inspect, which shows one expert's walls"
        )
    states = [report.inputs[layer] for report in reports]
    points = torch.stack([state[-1] if at == "last" else state.mean(dim=0) for state in states])
    return slice_partition(points, *walls_of(anatomy, layer))


def locate_token(reports: Sequence[TokenReport], token: int) -> tuple[int, int]:
    """Index of the text, and of the token in it, for a token counted through all texts."""
    for text, report in enumerate(reports):
        if token < report.tokens:
            return text, token
        token -= report.tokens
    raise IndexError("the token is after the last text")


def _label(reports: Sequence[TokenReport], token: int) -> str:
    text, index = locate_token(reports, token)
    before = f"text {text + 1}, " if len(reports) > 1 else ""
    return f"{before}token {index} '{visible(reports[text].piece(index))}'"


def _default_tokens(
    counts: list[int], states: Float[Tensor, "token width"], layer: int
) -> tuple[Triple | None, list[str]]:
    """The usual three tokens, or others that span a plane, or None; notes unless it is the usual ones."""
    usual = (0, counts[0] // 2, counts[0] - 1)
    if len(counts) > 1:
        usual = (counts[0] - 1, counts[0] + counts[1] - 1, counts[0] // 2)
    if spans_plane(states[list(usual)]):
        return usual, []
    chosen = points_apart(states, usual[0])
    if chosen is None:
        return None, [
            f"no slice: it takes three tokens that span a plane, and of the {len(states)} here no three do "
            f"at layer {layer}; give a longer text"
        ]
    return chosen, [
        f"slice: tokens {_listed(usual)} span no plane at layer {layer}; it goes through {_listed(chosen)}"
    ]


def _listed(tokens: Triple) -> str:
    return ", ".join(map(str, tokens))


def _walls(
    anatomy: Anatomy, layer: int, reports: Sequence[TokenReport], tokens: Triple
) -> tuple[Float[Tensor, "neuron width"], Float[Tensor, " neuron"] | None, int, list[str]]:
    """The walls to draw, the number of the first one, and notes; of a layer of experts those of one."""
    if anatomy.experts(layer) is None:
        return *walls_of(anatomy, layer), 0, []
    if anatomy.shared(layer) is not None:
        weight, bias = walls_of(anatomy, layer)
        note = f"slice: layer {layer} consists of experts; only the walls of the shared one are drawn"
        return weight, bias, anatomy.neurons(layer) - len(weight), [note]
    locations = [locate_token(reports, token) for token in tokens]
    met = Counter(
        expert for text, token in locations for expert in reports[text].routes[layer][token].tolist()
    )
    expert = min(met, key=lambda number: (-met[number], number))
    weight, bias = walls_of(anatomy, layer, (expert,))
    note = (
        f"slice: layer {layer} consists of experts; only the walls of expert {expert} are drawn, to which "
        f"{met[expert]} of the three tokens are routed"
    )
    return weight, bias, expert * len(weight), [note]
