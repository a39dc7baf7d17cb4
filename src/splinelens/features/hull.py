"""The hulls in which one token's attention output lies, head by head, from what attention was given.

See ``geometry.hulls`` for the mathematics. Families that hand over attention weights only have counts
but no vertices.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splinelens.anatomy import Anatomy
from splinelens.geometry.attention import THRESHOLDS, dimension_bounds
from splinelens.geometry.hulls import (
    active,
    attention_weights,
    hull_vertices,
    measured_dimension,
    minkowski_point,
)
from splinelens.layers import AttentionCall
from splinelens.weights import linear_of

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

    @property
    def vertices(self) -> Float[Tensor, "vertex width"] | None:
        """The corners of the hull, in units of the residual stream, made when asked for."""
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


def hull_of(anatomy: Anatomy, layer: int, call: AttentionCall, before: int, eps: float) -> Hull:
    """The hulls of one token.

    Args:
        anatomy: The model's anatomy.
        layer: A layer with softmax attention, from 0.
        call: What attention was given for one token of one text; no key stands behind it.
        before: Keys that stand before the text's first token.
        eps: Threshold of the active keys, in (0, 1).

    Returns:
        One hull a head, and what holds for their sum.
    """
    weights = _weights(call)
    above = torch.stack([active(weights, eps, threshold) for threshold in THRESHOLDS])
    value = None if call.value is None else call.value[0]
    projection, bias = linear_of(
        anatomy.output(layer), anatomy.family.transposed, f"the output projection of layer {layer}"
    )
    own = projection.chunk(len(weights), dim=1)
    heads = tuple(
        _head(weights[head], above[:, head], _of_head(value, head, len(weights)), own[head], before)
        for head in range(len(weights))
    )
    point, measured = None, None
    if value is not None:
        point = _point(value, projection, weights)
        point = point if bias is None else point + bias.to(point.dtype)
        absolute, relative = (measured_dimension(value, projection, chosen) for chosen in above)
        measured = absolute, relative
    bounds = [dimension_bounds(count, own[0].shape[1], anatomy.width) for count in above.sum(dim=-1)]
    return Hull(
        heads=heads,
        tight=(int(bounds[0][0]), int(bounds[1][0])),
        loose=(int(bounds[0][1]), int(bounds[1][1])),
        measured=measured,
        point=point,
    )


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


def _of_head(
    value: Float[Tensor, "kv_head key value_dim"] | None, head: int, heads: int
) -> Float[Tensor, "key value_dim"] | None:
    """The values that a head reads: consecutive heads share them."""
    return None if value is None else value[head * len(value) // heads]


def _head(
    weights: Float[Tensor, " key"],
    above: Bool[Tensor, "2 key"],
    value: Float[Tensor, "key value_dim"] | None,
    projection: Float[Tensor, "width value_dim"],
    before: int,
) -> HeadHull:
    """One head's hull from all its weights and values."""
    own = above.any(dim=0).nonzero()[:, 0]
    own = own[weights[own].argsort(descending=True, stable=True)]
    absolute, relative = above.sum(dim=-1).tolist()
    return HeadHull(
        absolute=absolute,
        relative=relative,
        tokens=tuple((own - before).tolist()),
        weights=weights[own],
        values=None if value is None else value[own],
        projection=projection,
    )
