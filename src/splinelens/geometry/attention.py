"""Intrinsic dimension: how many keys each attention head attends to.

A head places token i in the convex hull of the values of its visible keys, with the attention
weights ``Attn[i, j]`` as coordinates. Most weights are close to 0; the intrinsic dimension counts the
others. Two thresholds are in use: ``absolute`` (the paper's text) and ``relative`` (the paper's code).
Both are computed block by block from the scores, so the (token, key) matrix of weights never exists.
Source: Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splinelens.errors import BadFeatures
from splinelens.geometry.settings import check_eps

Mask = Bool[Tensor, "_ _ token key"] | Float[Tensor, "_ _ token key"]
"""Visible keys of each query, (text or 1, head or 1, token, key): bool, or a float added to the scores."""

# Scores and queries per block. On a CPU a block of this size stays in the cache, and few queries per
# block skip many invisible keys; a GPU prefers few launches.
_SCORES, _QUERIES = 5 * 2**17, 96
_SCORES_ON_DEVICE = 2**21


@torch.no_grad()
def intrinsic_dimensions(
    query: Float[Tensor, "text head token head_dim"],
    key: Float[Tensor, "text kv_head key head_dim"],
    *,
    scaling: float,
    mask: Mask | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, " head"] | None = None,
    eps: float = 0.1,
) -> Int[Tensor, "2 text head token"]:
    """Intrinsic dimension of each head and token, for both thresholds.

    ``absolute``: ``#{j : Attn[i, j] > eps}``, always below ``1 / eps``. ``relative``:
    ``#{j : Attn[i, j] > eps * max_j Attn[i, j]}``, never below the absolute count. Weights are
    computed in float32 (float64 for float64 inputs), one block of queries at a time.

    Texts never mix: NaN in one text leaves the counts of the others unchanged. Counts of padding
    tokens have no meaning. Keys on the right of a text need no mask, since the causal order hides them
    from its tokens; padding on the left needs one.

    Args:
        query: Queries after rotary embedding.
        key: Keys after rotary embedding, cached keys first; each key head serves the same number of
            consecutive query heads.
        scaling: Factor of the scores.
        mask: Visible keys, (text or 1, head or 1, token, key): bool (True is visible) or a float
            that is added to the scores. None is causal: the last query sees all keys, the one before
            it all but one, and so on.
        softcap: Scores become ``softcap * tanh(score / softcap)`` before the mask.
        sinks: One logit per head that joins the softmax and takes its share of the weight. A sink
            is not a vertex of the hull: it is neither counted nor the largest weight.
        eps: Threshold, in (0, 1).

    Returns:
        Counts of keys, first absolute, then relative; 0 where a query sees no key, and -1 where a
        visible score is NaN or plus infinity.

    Raises:
        BadFeatures: ``eps`` outside (0, 1), a cap that is not above 0, or heads or a mask that do not fit.

    Example:
        >>> key = torch.tensor([[[[1.0], [-1.0], [0.9]]]])
        >>> intrinsic_dimensions(torch.full((1, 1, 3, 1), 3.0), key, scaling=1.0)[:, 0, 0]
        tensor([[1, 1, 2],
                [1, 1, 2]])
    """
    eps = check_eps(eps)
    _check_axes(query, key, mask)
    _check_cap(softcap)
    (texts, heads, tokens, _), keys = query.shape, key.shape[2]
    key = key.to(_dtype(query.dtype)).contiguous()  # once, not in every block
    # With fewer keys than queries, the first queries see none of them.
    first = max(0, tokens - keys) if mask is None or not keys else 0
    counts = [key.new_zeros(3, texts, heads, first)]
    for start, stop in _blocks(first, tokens, texts * heads * keys, key.device):
        visible, columns = None, slice(0, keys - tokens + stop)
        if mask is not None:
            columns = _visible_columns(mask[:, :, start:stop])
            visible = mask[:, :, start:stop, columns]
        scores = attention_scores(query[:, :, start:stop], key[:, :, columns], scaling, visible, softcap)
        block = _counts_of_scores(scores, sinks, eps)
        counts.append(block if visible is None else block.masked_fill_(~_sees_any(visible, -1), 0))
    return _join(counts)


@torch.no_grad()
def intrinsic_dimension_of_weights(
    weights: Float[Tensor, "text head token key"], eps: float = 0.1
) -> Int[Tensor, "2 text head token"]:
    """Both intrinsic dimensions from attention weights, for families that do not expose scores.

    Weights do not tell whether a query sees any key: eager attention gives padding tokens equal
    weights on all keys, so their counts have no meaning.

    Args:
        weights: Attention weights, after the softmax.
        eps: Threshold, in (0, 1).

    Returns:
        Counts of keys, first absolute, then relative; -1 where a weight is NaN or infinite.

    Raises:
        BadFeatures: ``eps`` outside (0, 1).

    Example:
        >>> weights = torch.tensor([[[[0.90, 0.08, 0.02], [0.40, 0.35, 0.25]]]])
        >>> intrinsic_dimension_of_weights(weights, eps=0.3)[:, 0, 0]
        tensor([[1, 2],
                [1, 3]])
    """
    eps = check_eps(eps)
    texts, heads, tokens, keys = weights.shape
    dtype = _dtype(weights.dtype)
    counts = [weights.new_zeros(3, texts, heads, tokens if keys == 0 else 0, dtype=dtype)]
    for start, stop in _blocks(0, tokens if keys else 0, texts * heads * keys, weights.device):
        block = weights[:, :, start:stop].to(dtype)
        counts.append(_counts(block, block.amax(-1, keepdim=True), eps, torch.empty_like(block), eps))
    return _join(counts)


def attention_scores(
    query: Float[Tensor, "text head token head_dim"],
    key: Float[Tensor, "text kv_head key head_dim"],
    scaling: float,
    mask: Mask | None = None,
    softcap: float | None = None,
) -> Float[Tensor, "text head token key"]:
    """Attention scores of every query with every key, as they enter the softmax.

    Args:
        query: Queries after rotary embedding.
        key: Keys after rotary embedding.
        scaling: Factor of the inner products.
        mask: Bool (True is visible) or a float to add; None is causal, the last query sees all keys.
        softcap: Cap of the scores, if the model has one.

    Returns:
        Scores in float32 (float64 for float64 queries), minus infinity for invisible keys.

    Raises:
        BadFeatures: A cap that is not above 0.

    Example:
        >>> attention_scores(torch.ones(1, 1, 2, 1), torch.tensor([[[[2.0], [3.0]]]]), scaling=0.5)
        tensor([[[[1.0000,   -inf],
                  [1.0000, 1.5000]]]])
    """
    _check_cap(softcap)
    (texts, heads, tokens, width), (_, groups, keys, _) = query.shape, key.shape
    dtype = _dtype(query.dtype)
    # The query heads of one key head are stacked: one product per key head, and no key is copied.
    query = query.to(dtype).reshape(texts * groups, heads // groups * tokens, width)
    key = key.to(dtype).flatten(0, 1).transpose(1, 2)
    scores = torch.baddbmm(key.new_empty(1, 1, 1), query, key, beta=0, alpha=scaling)
    scores = scores.view(texts, heads, tokens, keys)
    if softcap is not None:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    if mask is None:
        _hide_future(scores)
    elif mask.dtype == torch.bool:
        # An invisible NaN must not count, and masked_fill_ is slower than these two together.
        scores.nan_to_num_(torch.inf, torch.inf, -torch.inf)
        torch.minimum(scores, torch.where(mask, torch.inf, -torch.inf), out=scores)
    else:
        scores += mask
    return scores


def dimension_bounds(
    count: Int[Tensor, "*text head"], head_dim: int, width: int
) -> tuple[Int[Tensor, "*text"], Int[Tensor, "*text"]]:
    """Upper bounds on the dimension of the Minkowski sum of the hulls of all heads.

    A hull of n points has dimension n - 1 at most, and all points of a head lie in a space of the
    head's dimension: the tight bound is ``min(sum_h min(n_h - 1, head_dim), width)``. The paper's
    loose bound is ``sum_h n_h``.

    Args:
        count: Active keys of each head, from ``intrinsic_dimensions``.
        head_dim: Width of one head's value.
        width: Width of the layer's output.

    Returns:
        The tight and the loose bound; both are -1 where the count of a head is -1.

    Example:
        >>> dimension_bounds(torch.tensor([1, 4, 9]), head_dim=4, width=6)
        (tensor(6), tensor(14))
    """
    broken = (count < 0).any(-1)
    tight = (count - 1).clamp(0, head_dim).sum(-1).clamp(max=width)
    return tight.masked_fill(broken, -1), count.sum(-1).masked_fill(broken, -1)


def _dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _check_axes(query: Tensor, key: Tensor, mask: Tensor | None) -> None:
    (texts, heads, tokens, _), (_, groups, keys, _) = query.shape, key.shape
    if not groups:
        raise BadFeatures("there are no key heads; pass the keys that attention receives")
    if heads % groups:
        raise BadFeatures(
            f"{heads} heads of queries cannot share {groups} heads of keys; "
            "pass the keys before they are repeated, or one head of keys per head of queries"
        )
    if mask is None:
        return
    fits = mask.shape[0] in (1, texts) and mask.shape[1] in (1, heads) and mask.shape[2:] == (tokens, keys)
    if not fits:
        raise BadFeatures(
            f"the mask has shape {tuple(mask.shape)}; for {texts} texts, {tokens} queries and {keys} keys "
            f"pass ({texts}, 1, {tokens}, {keys}), or ({texts}, {heads}, {tokens}, {keys}) for one per head"
        )


def _check_cap(softcap: float | None) -> None:
    if softcap is not None and not 0 < softcap < math.inf:
        raise BadFeatures(f"softcap is {softcap!r}; pass a number above 0, or None without a cap")


def _blocks(first: int, tokens: int, scores: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """Ranges of queries with ``scores`` scores each, within the budget of a block."""
    budget, most = (_SCORES, _QUERIES) if device.type == "cpu" else (_SCORES_ON_DEVICE, tokens)
    size = max(1, min(budget // max(1, scores), most))
    size -= size % 16 if size > 16 else 0
    for start in range(first, tokens, size):
        yield start, min(start + size, tokens)


def _hide_future(scores: Tensor) -> None:
    """Set the scores of later keys to minus infinity; twice as fast as masked_fill_."""
    tokens, keys = scores.shape[2:]
    scores.tril_(keys - tokens)  # zeros, also instead of NaN: adding minus infinity to NaN gives NaN
    start = max(0, keys - tokens)
    corner = scores.new_full((tokens, keys - start), -torch.inf).triu_(1 + keys - tokens - start)
    scores[..., start:] += corner


def _visible_columns(mask: Tensor) -> slice:
    """From the first to the last key that any query of the block sees; the first key if there is none."""
    if mask.device.type != "cpu":
        return slice(0, mask.shape[3])  # reading the mask would synchronize with the device
    columns = _sees_any(mask, (0, 1, 2)).nonzero()
    return slice(int(columns[0]), int(columns[-1]) + 1) if len(columns) else slice(0, 1)


def _sees_any(mask: Tensor, axes: int | tuple[int, ...]) -> Tensor:
    """Whether any key along the axes is visible; models also hide keys with a dtype's smallest number."""
    if mask.dtype == torch.bool:
        return mask.view(torch.uint8).amax(axes) > 0  # five times as fast as any
    return ~(mask.amax(axes) <= torch.finfo(mask.dtype).min / 2)  # NaN is visible


def _counts_of_scores(scores: Tensor, sinks: Tensor | None, eps: float) -> Tensor:
    """Same as ``_counts``, for a block of scores, which is overwritten."""
    weights = scores.softmax(-1)
    top = weights.amax(-1, keepdim=True)
    if sinks is None:
        return _counts(weights, top, eps, scores, eps)
    # The sink leaves this share of the weight to the keys; log-sum-exp of the scores is max - log(top).
    largest = scores.amax(-1, keepdim=True)
    share = (largest - top.log() - sinks.to(scores.dtype)[:, None, None]).sigmoid()
    return _counts(weights, top + 0 * share, eps / share, scores, eps)


def _counts(weights: Tensor, top: Tensor, edge: Tensor | float, out: Tensor, eps: float) -> Tensor:
    """Both counts and the largest weight, (3, text, head, token), as floats; ``out`` is overwritten.

    Comparisons written as floats 0 and 1 and summed are several times faster than sums of booleans.
    """
    absolute = torch.gt(weights, edge, out=out).sum(-1)
    relative = torch.gt(weights, eps * top, out=out).sum(-1)
    return torch.stack([absolute, relative, top.squeeze(-1)])


def _join(blocks: list[Tensor]) -> Tensor:
    """Counts of all blocks, -1 where the largest weight is not finite: comparisons with NaN are False."""
    counts, top = torch.cat(blocks, dim=3).split([2, 1])
    return counts.masked_fill(~top.isfinite(), -1).long()
