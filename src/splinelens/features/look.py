"""One token of a text at one layer: its region and boundaries, its hull, and what the MLP does there.

``look`` runs the model up to that layer, once. What an architecture cannot give is None, and a note says
why: experts have no single affine map, linear attention has no hull, and families that expose only
attention weights have counts but no vertices. The mathematics is in ``geometry.hulls`` and
``geometry.affine``.
"""

import math
from dataclasses import dataclass, field, replace
from os import PathLike
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, UInt8
from torch import Tensor, nn

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.errors import BadFeatures, UnknownAnatomy
from splinelens.features.token_report import read_tokens
from splinelens.features.validation import check_layer, check_positive, check_text, check_token
from splinelens.geometry.affine import RegionMap, first_order_map, piecewise_map
from splinelens.geometry.attention import dimension_bounds
from splinelens.geometry.codes import unpacked
from splinelens.geometry.hulls import (
    active_keys,
    attention_weights,
    hull_vertices,
    measured_dimension,
    minkowski_point,
)
from splinelens.geometry.settings import THRESHOLDS, check_eps
from splinelens.geometry.walls import Crossing, crossing_step
from splinelens.layers import AttentionCall
from splinelens.models import LoadedModel
from splinelens.models.load import load_up_to
from splinelens.weights import linear_of, routed_neurons, walls_of

SCHEMA = 1
"""Number of the JSON form; it rises when a key is renamed, removed or changes its meaning."""

_KEYS = 64
# Keys whose vertices, (head, key, width), are held at once: all keys of a long text would take gigabytes.


@dataclass(frozen=True, eq=False)
class HeadHull:
    """The hull of one head: what the token really looks at.

    Attributes:
        absolute: Keys with more than ``eps`` of the attention; they are the first of ``tokens``.
        relative: Keys with more than ``eps`` times the largest weight: all of ``tokens``.
        tokens: The active keys, largest weight first; -1 is the token before the text's first one,
            the prompt's last.
        weights: Their attention weights, in [0, 1].
        values: Their values; None where the family hands over none.
        projection: The head's columns of the output projection, (width, value_dim).
    """

    absolute: int
    relative: int
    tokens: tuple[int, ...]
    weights: Float[Tensor, " vertex"]
    values: Float[Tensor, "vertex value_dim"] | None
    projection: Float[Tensor, "width value_dim"]

    def __repr__(self) -> str:
        return f"HeadHull({self.absolute} absolute, {self.relative} relative active keys)"

    @property
    def vertices(self) -> Float[Tensor, "vertex width"] | None:
        """The vertices of the hull, in units of the residual stream; computed on each access."""
        return None if self.values is None else hull_vertices(self.values[None], self.projection)[0]


@dataclass(frozen=True, eq=False)
class Hull:
    """The Minkowski sum of the hulls of all heads, in which the attention's output lies.

    The pairs are for the absolute threshold and for the relative one.

    Attributes:
        heads: One hull a head.
        tight: Upper bound on its dimension, ``min(sum_h min(n_h - 1, head_dim), width)``.
        loose: The paper's bound, ``sum_h n_h``.
        measured: Numerical rank of the active edges of all heads; None without vertices.
        point: The attention's output, before any later norm: the weighted vertices of all heads, those
            of next to no weight too, and the output projection's bias; None without vertices.
    """

    heads: tuple[HeadHull, ...]
    tight: tuple[int, int]
    loose: tuple[int, int]
    measured: tuple[int, int] | None
    point: Float[Tensor, " width"] | None

    def __repr__(self) -> str:
        measured = "" if self.measured is None else f"measured={self.measured}, "
        return f"Hull({len(self.heads)} heads, {measured}tight={self.tight}, loose={self.loose})"

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """Counts, bounds, active tokens and their weights as JSON values."""
        return {
            "heads": [
                {
                    "absolute": head.absolute,
                    "relative": head.relative,
                    "tokens": list(head.tokens),
                    "weights": head.weights.tolist(),
                }
                for head in self.heads
            ],
            "tight": list(self.tight),
            "loose": list(self.loose),
            "measured": self.measured and list(self.measured),
        }


@dataclass(frozen=True, eq=False)
class TokenDetail:
    """One token at one layer; ``print`` shows it in one line, without vectors, map and hull.

    Attributes:
        layer: The layer.
        token: The token's number in the text, from 0.
        piece: The characters that it stands for.
        region: Name of its region; equal names at one layer are equal regions.
        code: The packed signs of its neurons (see ``geometry.codes``).
        neuron_count: How many neurons the code holds.
        neurons: The number of each of them among all neurons of the layer: 0, 1, 2, ... on a dense one;
            on a layer of experts those of the token's experts and of the shared one.
        experts: The experts that the token is routed to; empty on a dense layer.
        sign: Share of neurons that are on.
        boundary: Distance to the nearest wall, in units of the MLP's input.
        nearest_wall: The neuron whose wall that is, by its number in the layer; -1 without any wall.
        crossing: The shortest step through the nearest wall and no other, which ends just after it. It is
            computed from ``input`` in float64, ``nearest_wall`` from the model's gate: where two walls are
            equally near up to rounding, its neuron may differ from ``nearest_wall``.
        input: What the MLP is given.
        output: The MLP's output; None on a layer of experts.
        map: What the MLP does near the point: ``map.kind`` says whether that is exact throughout the
            region or of first order.
        hull: Where the attention's output lies.
        eps: Threshold of the hull's active keys.
        notes: What is missing, and why.
    """

    layer: int
    token: int
    piece: str
    region: str
    code: UInt8[Tensor, " byte"] = field(repr=False)
    neuron_count: int
    neurons: Int[Tensor, " neuron"] = field(repr=False)
    experts: tuple[int, ...]
    sign: float
    boundary: float
    nearest_wall: int
    crossing: Crossing | None = field(repr=False)
    input: Float[Tensor, " width"] = field(repr=False)
    output: Float[Tensor, " width"] | None = field(repr=False)
    map: RegionMap | None = field(repr=False)
    hull: Hull | None = field(repr=False)
    eps: float
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return (
            f"TokenDetail(layer {self.layer}, token {self.token} {self.piece!r}, region {self.region}, "
            f"sign {self.sign:.3f}, boundary {self.boundary:.3g} at neuron {self.nearest_wall})"
        )

    @property
    def on(self) -> Bool[Tensor, " neuron"]:
        """The signs of the token's neurons, in the order of ``neurons``: True where a neuron is on."""
        return unpacked(self.code[None], self.neuron_count)[0]

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """As JSON values: vectors by their norm, the map by its norms and rank; None for what is missing.

        ``code`` is hexadecimal: eight signs to a byte, the first neuron in the highest bit.
        """
        wall, mapped = math.isfinite(self.boundary), self.map
        return {
            "schema": SCHEMA,
            "layer": self.layer,
            "token": self.token,
            "piece": self.piece,
            "region": self.region,
            "code": self.code.cpu().numpy().tobytes().hex(),
            "neurons": self.neuron_count,
            "experts": list(self.experts),
            "sign": self.sign,
            "boundary": self.boundary if wall else None,
            "wall": self.nearest_wall if wall else None,
            "crossing": None if self.crossing is None else float(self.crossing.step.norm()),
            "input": float(self.input.double().norm()),
            "output": None if self.output is None else float(self.output.double().norm()),
            "map": mapped
            and {
                "kind": mapped.kind,
                "norm": mapped.norm(),
                "frobenius": mapped.frobenius(),
                "effective_rank": mapped.effective_rank(),
            },
            "eps": self.eps,
            "hull": self.hull and self.hull.to_dict(),
            "notes": list(self.notes),
        }


def look(
    text: str,
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    layer: int,
    token: int,
    prompt: str = "",
    max_tokens: int = 2048,
    eps: float = 0.1,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
) -> TokenDetail:
    """Describe one token at one layer.

    Args:
        text: The text.
        model: A loaded model, or the name, folder or file of one; of a name only the blocks up to the
            layer are loaded.
        layer: The layer, from 0.
        token: The token, from 0; -1 is the last.
        prompt: Run before the text; attention sees it.
        max_tokens: Longer texts are refused.
        eps: Threshold of the hull's active keys, in (0, 1).
        revision: Branch, tag or commit of a hub id.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        dtype: Number type of the weights; None takes ``float32``.

    Returns:
        The record; what is missing is None, with a note.

    Raises:
        BadFeatures: A layer or token that does not exist, ``eps`` outside (0, 1), or activations that
            are not finite.
        BadTexts: The text is no string, has no token, or too many.
        BadModel: The model cannot be loaded, or an option of loading is given for a loaded one.

    Example:
        >>> detail = look("Good morning.", layer=0, token=2)  # doctest: +SKIP
        >>> detail.map.kind  # doctest: +SKIP
        'first-order'
    """
    layer, eps, max_tokens = check_layer(layer), check_eps(eps), check_positive(max_tokens, "max_tokens")
    check_text(text)
    loaded = load_up_to(model, [layer], revision=revision, device=device, dtype=dtype)
    report = read_tokens(
        text,
        loaded,
        layers=[layer],
        prompt=prompt,
        eps=eps,
        max_tokens=max_tokens,
        keep_inputs=[layer],
        keep_call=(layer, token),
    )
    token = check_token(token, report.tokens)
    anatomy, point = anatomy_of(loaded.model), report.inputs[layer][token]
    experts = tuple(report.routes[layer][token].tolist()) if report.routes else ()
    region, map_notes = _map(anatomy, layer, point)
    crossing, crossing_notes = _crossing(anatomy, layer, point, experts)
    neurons = torch.arange(report.neuron_count[0])
    if experts:
        neurons = routed_neurons(loaded.model, layer, report.routes[layer])[token]
    if crossing is not None:
        crossing = replace(crossing, neuron=int(neurons[crossing.neuron]))
    hull = None
    if report.call is not None:
        hull = hull_of(anatomy, layer, report.call, report.before, eps)
    return TokenDetail(
        layer=layer,
        token=token,
        piece=report.piece(token),
        region=report.region_ids(layer)[token],
        code=report.code(layer)[token],
        neuron_count=report.neuron_count[0],
        neurons=neurons,
        experts=experts,
        sign=float(report.sign[0, token]),
        boundary=float(report.boundary[0, token]),
        nearest_wall=int(report.nearest_wall[0, token]),
        crossing=crossing,
        input=point,
        output=None if region is None else region.value,
        map=region,
        hull=hull,
        eps=eps,
        notes=(*map_notes, *crossing_notes, *_hull_notes(anatomy, layer, report.call)),
    )


def region_map(anatomy: Anatomy, layer: int, point: Float[Tensor, " width"]) -> RegionMap:
    """What the MLP of a dense layer does around a point of its input.

    Returns:
        A map whose value at the point is the MLP's output, its last bias included. Its kind is ``exact``
        if the MLP is ungated and its activation ReLU or leaky ReLU, else ``first-order``.

    Raises:
        UnknownAnatomy: The layer consists of experts, or its activation is not known.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> from splinelens.anatomy import anatomy_of
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16)).eval()
        >>> region_map(anatomy_of(tiny), 0, torch.zeros(8)).kind
        'first-order'
    """
    if anatomy.experts(layer) is not None:
        raise UnknownAnatomy(
            f"layer {layer} of {type(anatomy.base).__name__} consists of experts: how much each one counts "
            "depends on the input too, so there is no map of one MLP"
        )
    activation = anatomy.activation(layer)
    gate, down = walls_of(anatomy, layer), _linear(anatomy, layer, "down")
    if not anatomy.family.gated:
        slope = _slope(activation)
        if slope is not None:
            return piecewise_map(point, gate, down, slope)
        return first_order_map(point, gate, down, activation)
    if anatomy.family.fused:
        (both, biases), neurons = _linear(anatomy, layer, "gate"), len(gate[0])
        up = both[neurons:], None if biases is None else biases[neurons:]
    else:
        up = _linear(anatomy, layer, "up")
    return first_order_map(point, gate, down, activation, up)


def hull_of(anatomy: Anatomy, layer: int, call: AttentionCall, before: int, eps: float) -> Hull:
    """The hulls of one token.

    Args:
        anatomy: The model's anatomy.
        layer: A layer with softmax attention.
        call: The attention call of one token of one text, without later keys.
        before: Keys that come before the text's first token.
        eps: Threshold of the active keys, in (0, 1).
    """
    weights = _weights(call)
    above = torch.stack([active_keys(weights, eps, threshold) for threshold in THRESHOLDS])
    value = None if call.value is None else call.value[0]
    projection, bias = linear_of(
        anatomy.output(layer), anatomy.family.transposed, f"the output projection of layer {layer}"
    )
    projections = projection.chunk(len(weights), dim=1)
    heads = tuple(
        _head(
            weights[head],
            above[:, head],
            None if value is None else value[head * len(value) // len(weights)],  # consecutive heads share it
            projections[head],
            before,
        )
        for head in range(len(weights))
    )
    point, measured = None, None
    if value is not None:
        point = _point(value, projection, weights)
        point = point if bias is None else point + bias.to(point.dtype)
        absolute, relative = (measured_dimension(value, projection, chosen) for chosen in above)
        measured = absolute, relative
    tight, loose = dimension_bounds(above.sum(dim=-1), projections[0].shape[1], anatomy.width)
    return Hull(
        heads=heads,
        tight=(int(tight[0]), int(tight[1])),
        loose=(int(loose[0]), int(loose[1])),
        measured=measured,
        point=point,
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
        return [f"layer {layer} has no hull and no dimension: {anatomy.no_attention(layer)}"]
    notes = []
    if call.value is None:
        notes.append(
            f"{type(anatomy.base).__name__} exposes attention weights only: the counts are there, but no "
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


def _linear(
    anatomy: Anatomy, layer: int, role: str
) -> tuple[Float[Tensor, "out width"], Float[Tensor, " out"] | None]:
    """One of the linear maps of a dense MLP: its ``gate``, ``up`` or ``down``."""
    module = getattr(anatomy, role)(layer)
    return linear_of(module, anatomy.family.transposed, f"the {role} weight of layer {layer}")


def _slope(activation: object) -> float | None:
    """The slope on the negative side of a piecewise linear activation; None for any other."""
    if isinstance(activation, nn.LeakyReLU):
        return float(activation.negative_slope)
    if isinstance(activation, nn.ReLU) or activation in (torch.relu, nn.functional.relu):
        return 0.0
    return None


def _weights(call: AttentionCall) -> Float[Tensor, "head key"]:
    """The attention of the one token, handed over or computed."""
    if call.weights is not None:
        return call.weights[0, :, 0]
    assert call.query is not None  # a call has either weights or queries and keys
    assert call.key is not None
    return attention_weights(
        call.query[0, :, 0],
        call.key[0],
        scaling=call.scaling,
        mask=None if call.mask is None else call.mask[0, :, 0],
        softcap=call.softcap,
        sinks=call.sinks,
    )


def _point(
    value: Float[Tensor, "kv_head key value_dim"],
    projection: Float[Tensor, "width head_value"],
    weights: Float[Tensor, "head key"],
) -> Float[Tensor, " width"]:
    """The weighted vertices of all keys, some keys at a time."""
    total = torch.zeros(len(projection), dtype=weights.dtype, device=weights.device)
    for start in range(0, weights.shape[1], _KEYS):
        some = slice(start, start + _KEYS)
        total = total + minkowski_point(hull_vertices(value[:, some], projection), weights[:, some])
    return total


def _head(
    weights: Float[Tensor, " key"],
    above: Bool[Tensor, "2 key"],
    value: Float[Tensor, "key value_dim"] | None,
    projection: Float[Tensor, "width value_dim"],
    before: int,
) -> HeadHull:
    """One head's hull from all its weights and values."""
    keys = above.any(dim=0).nonzero()[:, 0]
    keys = keys[weights[keys].argsort(descending=True, stable=True)]
    absolute, relative = above.sum(dim=-1).tolist()
    return HeadHull(
        absolute=absolute,
        relative=relative,
        tokens=tuple((keys - before).tolist()),
        weights=weights[keys],
        values=None if value is None else value[keys],
        projection=projection,
    )
