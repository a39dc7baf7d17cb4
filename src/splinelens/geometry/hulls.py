"""The convex hulls of attention, whose Minkowski sum contains a token's output, for single tokens.

``MHA(X)_i = sum_h sum_j Attn_h[i, j] (V_h O_h)^T x_j``: each head contributes a point of the convex hull
of its vertices ``(V_h O_h)^T x_j``, with the attention weights as coordinates. Exact, also with shared key
heads and rotary embeddings. Source: Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splinelens.errors import BadFeatures
from splinelens.geometry.attention import attention_scores
from splinelens.geometry.settings import THRESHOLDS, check_eps

MaskRow = Bool[Tensor, "row key"] | Float[Tensor, "row key"]
"""Visible keys of one query, one row for all heads or one per head: bool, or a float to add."""


def attention_weights(
    query: Float[Tensor, "head head_dim"],
    key: Float[Tensor, "kv_head key head_dim"],
    *,
    scaling: float,
    mask: MaskRow | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, " head"] | None = None,
) -> Float[Tensor, "head key"]:
    """Attention weights of one token: its coordinates in each head's hull.

    Args:
        query: The token's query after rotary embedding.
        key: Keys after rotary embedding, up to the token if there is no mask.
        scaling: Factor of the scores.
        mask: Visible keys; None for all.
        softcap: Cap of the scores, if the model has one.
        sinks: Sink logits, if the model has them; they take weight but are not vertices.

    Returns:
        Weights in [0, 1] in float32 (float64 for a float64 query). They sum to 1, to less with sinks,
        and to 0 for a token that sees no key.

    Raises:
        BadFeatures: A cap that is not above 0.

    Example:
        >>> attention_weights(torch.ones(1, 1), torch.tensor([[[0.0], [0.0]]]), scaling=1.0)
        tensor([[0.5000, 0.5000]])
    """
    row = None if mask is None else mask[None, :, None]
    scores = attention_scores(query[None, :, None], key[None], scaling, row, softcap)[0, :, 0]
    if not scores.shape[1]:
        return scores
    keys = scores.shape[1]
    if sinks is not None:
        scores = torch.cat([scores, sinks.to(scores.dtype)[:, None]], dim=1)
    weights = scores.softmax(dim=1)[:, :keys]
    if mask is None:
        return weights
    visible = mask if mask.dtype == torch.bool else ~(mask <= torch.finfo(mask.dtype).min / 2)
    return weights.masked_fill(~visible.any(dim=1, keepdim=True), 0)


def hull_vertices(
    value: Float[Tensor, "kv_head key value_dim"], output_weight: Float[Tensor, "width head_value"]
) -> Float[Tensor, "head key width"]:
    """The vertices of each head's hull in the layer's output space, ``(V_h O_h)^T x_j``.

    They take head x key x width numbers: meant for single tokens.

    Args:
        value: Values of the keys; each value head serves the same number of consecutive heads.
        output_weight: Weight of the attention's output projection, whose columns are the concatenated
            values of the heads. Its bias belongs to no head.

    Returns:
        One vertex per head and key, in units of the residual stream, in float32 (float64 if either
        argument is).

    Raises:
        BadFeatures: The columns do not split into heads that share the values evenly.

    Example:
        >>> hull_vertices(torch.tensor([[[1.0], [2.0]]]), torch.tensor([[3.0], [4.0]]))
        tensor([[[3., 4.],
                 [6., 8.]]])
    """
    (groups, keys, value_dim), width = value.shape, len(output_weight)
    _check_layout(value, output_weight)
    dtype = torch.promote_types(torch.promote_types(value.dtype, output_weight.dtype), torch.float32)
    heads = output_weight.to(dtype).T.reshape(groups, -1, value_dim, width)
    return (value.to(dtype)[:, None] @ heads).reshape(-1, keys, width)


def minkowski_point(
    vertices: Float[Tensor, "head key width"], weights: Float[Tensor, "head key"]
) -> Float[Tensor, " width"]:
    """The point of the Minkowski sum of the hulls with the given weights.

    Args:
        vertices: Vertices of each head's hull.
        weights: The token's attention weights.

    Returns:
        The token's attention output after the output projection, without its bias, in units of the
        residual stream.

    Example:
        >>> corners = torch.tensor([[[0.0, 0.0], [4.0, 0.0]], [[1.0, 1.0], [1.0, 3.0]]])
        >>> minkowski_point(corners, torch.tensor([[0.5, 0.5], [0.0, 1.0]]))
        tensor([3., 3.])
    """
    return weights.to(vertices.dtype).flatten() @ vertices.flatten(0, 1)


def active_keys(
    weights: Float[Tensor, "head key"], eps: float = 0.1, threshold: str = "absolute"
) -> Bool[Tensor, "head key"]:
    """The keys that the intrinsic dimension counts.

    Compared in float32 at least: half precision would round the threshold.

    Args:
        weights: The token's attention weights.
        eps: Threshold, in (0, 1).
        threshold: ``absolute`` for weights above ``eps``, ``relative`` for those above ``eps`` times the
            head's largest.

    Returns:
        True for active keys; NaN is not active.

    Raises:
        BadFeatures: ``eps`` outside (0, 1), or an unknown threshold.

    Example:
        >>> active_keys(torch.tensor([[0.25, 0.75]]), eps=0.3)
        tensor([[False,  True]])
    """
    eps = check_eps(eps)
    if threshold not in THRESHOLDS:
        raise BadFeatures(f"threshold {threshold!r} is unknown; pass one of {', '.join(THRESHOLDS)}")
    weights = weights.to(torch.promote_types(weights.dtype, torch.float32))
    if threshold == "absolute" or not weights.shape[1]:
        return weights > eps
    return weights > eps * weights.amax(dim=1, keepdim=True)


def measured_dimension(
    value: Float[Tensor, "kv_head key value_dim"],
    output_weight: Float[Tensor, "width head_value"],
    active: Bool[Tensor, "head key"],
) -> int:
    """Dimension of the Minkowski sum of the hulls of the active vertices.

    The numerical rank of the edges between the active vertices of each head, over all heads, in float64.
    The vertices of ``hull_vertices`` are not built: a QR decomposition reduces a head's edges to
    ``value_dim`` rows, however many keys are active.

    Directions below the rounding error of the values count as 0. The tolerance is, relative to the longest
    value times the norm of its projection, ``max(edges, width)`` epsilons of the values' dtype, as in
    NumPy's ``matrix_rank``; for half precision, which is accumulated in float32, ``max(1, sqrt(edges /
    width))`` epsilons. So keys with equal values are one vertex, and half precision hides short edges.

    Args:
        value: Values of the keys, in the dtype in which they were computed.
        output_weight: Weight of the attention's output projection, as for ``hull_vertices``.
        active: Keys that count.

    Returns:
        A dimension between 0 and the width.

    Raises:
        BadFeatures: An active vertex has NaN or infinity, or the columns do not split into heads.

    Example:
        >>> square = torch.tensor([[[0.0], [4.0]], [[1.0], [3.0]]])
        >>> measured_dimension(square, torch.eye(2), torch.ones(2, 2, dtype=torch.bool))
        2
    """
    _check_layout(value, output_weight)
    projections = output_weight.cpu().double().split(value.shape[2], dim=1)
    width = len(output_weight)
    triangle = torch.zeros(0, width, dtype=torch.float64)
    edges, longest = 0, 0.0
    for head, (projection, chosen) in enumerate(zip(projections, active, strict=True)):
        corners = value[head * len(value) // len(projections), chosen].cpu().double()
        if not len(corners):
            continue
        reduced = torch.linalg.qr(projection, mode="r").R  # preserves lengths, with fewer rows
        if not (corners @ reduced.T).isfinite().all():
            raise BadFeatures(
                f"head {head} has active vertices with NaN or infinity; its hull has no dimension"
            )
        length = float(corners.norm(dim=1).max() * torch.linalg.matrix_norm(reduced, 2))
        edges, longest = edges + len(corners) - 1, max(longest, length)
        # Centered at the mean: relative to one corner, its rounding error would be in every edge.
        centered = torch.linalg.qr(corners - corners.mean(dim=0), mode="r").R
        triangle = torch.cat([triangle, centered @ projection.T])
        if len(triangle) > width:
            triangle = torch.linalg.qr(triangle, mode="r").R
    if not edges:
        return 0
    lengths = torch.linalg.svdvals(triangle)
    exact = max(edges, width) * torch.finfo(torch.float64).eps * float(lengths.max())
    return int((lengths > max(exact, longest * _rounding(value.dtype, edges, width))).sum())


def _check_layout(
    value: Float[Tensor, "kv_head key value_dim"], output_weight: Float[Tensor, "width head_value"]
) -> None:
    groups, _, value_dim = value.shape
    columns = output_weight.shape[1]
    if columns % (groups * value_dim):
        raise BadFeatures(
            f"an output projection with {columns} inputs does not fit {groups} heads of values with "
            f"{value_dim} numbers each; pass the weight as (width, head * {value_dim})"
        )


def _rounding(dtype: torch.dtype, edges: int, width: int) -> float:
    """The largest singular value that rounding causes among so many edges of vertices of length 1."""
    independent = torch.finfo(dtype).eps * max(1, math.sqrt(edges / width))  # of each stored value
    accumulated = torch.finfo(torch.promote_types(dtype, torch.float32)).eps * max(edges, width)
    return max(independent, accumulated)
