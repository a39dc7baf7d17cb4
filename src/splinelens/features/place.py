"""Where one token of a text lies in one layer: its region and walls, its hull, and what the MLP does there.

``look`` runs the model up to that layer, once. What an architecture cannot give is None, and a note says
why: experts have no one affine map, linear attention has no hull, and families that hand over nothing
but attention weights have counts but no vertices.
"""

from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.errors import BadFeatures, UnknownAnatomy
from splinelens.features.asked import check_layer, check_text
from splinelens.features.hull import Hull, hull_of
from splinelens.features.mlp import region_map
from splinelens.features.tokenwise import loaded_up_to, read_tokens
from splinelens.geometry.affine import RegionMap
from splinelens.geometry.codes import unpacked
from splinelens.geometry.walls import Crossing, crossing_step
from splinelens.layers import AttentionCall
from splinelens.models import LoadedModel
from splinelens.weights import routed_neurons, walls_of


@dataclass(frozen=True, eq=False)
class Place:
    """One token at one layer; vectors, map and hull are left out of what ``print`` shows.

    Attributes:
        layer: The layer.
        token: The token's number in the text, from 0.
        piece: The characters that it stands for.
        region: Name of its region; equal names at one layer are equal regions.
        code: The packed signs of its neurons (see ``geometry.codes``).
        neurons: How many neurons the code holds.
        numbers: The number of each of them among all neurons of the layer: 0, 1, 2, ... on a dense one;
            on a layer of experts those of the token's experts and of the shared one.
        experts: The experts that the token is routed to; empty on a dense layer.
        sign: Share of neurons that are on.
        boundary: Distance to the nearest wall, in units of the MLP's input.
        wall: The neuron whose wall that is, by its number in the layer; -1 without any wall.
        crossing: The shortest step through the nearest wall and no other, which ends just behind it. It is
            found again from ``input`` in float64, ``wall`` from the model's own gate: where two walls are as
            near as rounding can tell, its neuron may be another than ``wall``.
        input: What the MLP is given.
        output: What the MLP makes of it; None on a layer of experts.
        map: What the MLP does around there: ``map.kind`` says whether that is exact throughout the
            region or of first order.
        hull: Where the attention's output lies.
        eps: Threshold of the hull's active keys.
        notes: What could not be had, and why.
    """

    layer: int
    token: int
    piece: str
    region: str
    code: UInt8[Tensor, " byte"] = field(repr=False)
    neurons: int
    numbers: Int[Tensor, " neuron"] = field(repr=False)
    experts: tuple[int, ...]
    sign: float
    boundary: float
    wall: int
    crossing: Crossing | None = field(repr=False)
    input: Float[Tensor, " width"] = field(repr=False)
    output: Float[Tensor, " width"] | None = field(repr=False)
    map: RegionMap | None = field(repr=False)
    hull: Hull | None = field(repr=False)
    eps: float
    notes: tuple[str, ...]

    @property
    def on(self) -> Bool[Tensor, " neuron"]:
        """The signs of the token's neurons, in the order of ``numbers``: True where a neuron is on."""
        return unpacked(self.code[None], self.neurons)[0]


def look(
    text: str,
    model: str | LoadedModel = "smollm2-135m",
    *,
    layer: int,
    token: int,
    prompt: str = "",
    eps: float = 0.1,
    max_tokens: int = 2048,
) -> Place:
    """Say everything about one token at one layer.

    Args:
        text: The text.
        model: A loaded model, or the name, folder or file of one; of a name only the blocks up to the
            layer are loaded.
        layer: The layer, from 0.
        token: The token, from 0.
        prompt: Run before the text; attention sees it.
        eps: Threshold of the hull's active keys, in (0, 1).
        max_tokens: Longer texts are refused.

    Returns:
        The place; what cannot be had is None, with a note.

    Raises:
        BadFeatures: A layer or token that does not exist, ``eps`` outside (0, 1), or activations that
            are not finite.
        BadTexts: The text is no string, has no token, or too many.
        BadModel: The model cannot be loaded.

    Example:
        >>> place = look("Good morning.", layer=0, token=2)  # doctest: +SKIP
        >>> place.map.kind  # doctest: +SKIP
        'first-order'
    """
    layer = check_layer(layer)
    check_text(text)
    loaded = loaded_up_to(model, [layer])
    reading = read_tokens(
        text,
        loaded,
        layers=[layer],
        prompt=prompt,
        eps=eps,
        max_tokens=max_tokens,
        keep_inputs=[layer],
        keep_call=(layer, token),
    )
    anatomy, point = anatomy_of(loaded.model), reading.inputs[layer][token]
    experts = tuple(reading.routes[layer][token].tolist()) if reading.routes else ()
    found, map_notes = _map(anatomy, layer, point)
    crossing, crossing_notes = _crossing(anatomy, layer, point, experts)
    numbers = torch.arange(reading.neurons[0])
    if experts:
        numbers = routed_neurons(loaded.model, layer, reading.routes[layer])[token]
    if crossing is not None:
        crossing = replace(crossing, neuron=int(numbers[crossing.neuron]))
    hull = None
    if reading.call is not None:
        hull = hull_of(anatomy, layer, reading.call, reading.before, eps)
    return Place(
        layer=layer,
        token=token,
        piece=reading.piece(token),
        region=reading.region_ids(layer)[token],
        code=reading.code(layer)[token],
        neurons=reading.neurons[0],
        numbers=numbers,
        experts=experts,
        sign=float(reading.sign[0, token]),
        boundary=float(reading.boundary[0, token]),
        wall=int(reading.wall[0, token]),
        crossing=crossing,
        input=point,
        output=None if found is None else found.value,
        map=found,
        hull=hull,
        eps=eps,
        notes=(*map_notes, *crossing_notes, *_hull_notes(anatomy, layer, reading.call)),
    )


def _map(anatomy: Anatomy, layer: int, point: Float[Tensor, " width"]) -> tuple[RegionMap | None, list[str]]:
    """The map, or none and a note why."""
    try:
        return region_map(anatomy, layer, point), []
    except UnknownAnatomy as error:
        return None, [f"no map and no output: {error}"]


def _crossing(
    anatomy: Anatomy, layer: int, point: Float[Tensor, " width"], experts: tuple[int, ...]
) -> tuple[Crossing | None, list[str]]:
    """The crossing step, its neuron counted among the walls of the experts, or none; and notes on it."""
    notes = []
    if experts:
        notes.append(
            f"layer {layer} consists of experts: the crossing step crosses one wall of experts "
            f"{', '.join(map(str, experts))}, as long as it leaves the token routed to them"
        )
    try:
        return crossing_step(point.double(), *walls_of(anatomy, layer, experts)), notes
    except BadFeatures as error:
        return None, [*notes, f"no crossing step: {error}"]


def _hull_notes(anatomy: Anatomy, layer: int, call: AttentionCall | None) -> list[str]:
    """What the hull of this architecture lacks, or means."""
    if call is None:
        return [f"layer {layer} has linear attention: there is no softmax, so no hull and no dimension"]
    notes = []
    if call.value is None:
        notes.append(
            f"{type(anatomy.base).__name__} hands over attention weights only: the counts are there, but no "
            "vertices, no point and no measured dimension"
        )
    if anatomy.family.output_gate:
        notes.append(
            "the model multiplies what its heads give by a gate of the token before the output projection: "
            "vertices and point of the hull are those without that gate, not the attention's output"
        )
    if call.sinks is not None:
        notes.append("a sink takes part of the attention: the weights of a head add up to less than 1")
    return notes
