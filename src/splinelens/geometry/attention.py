"""How many tokens an attention head really looks at: the intrinsic dimension of a token's hull.

A head puts token i in the convex hull of the points of the keys it sees, weighted by ``Attn[i, j]``.
Almost all weights are next to nothing; the intrinsic dimension counts those that are not. Two
thresholds are in use: ``absolute`` (the paper's text) and ``relative`` (the paper's code). Both come
from one pass over blocks of the scores, so the (token, key) matrix of weights never exists.
Source: Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648.
"""

import math
from collections.abc import Iterator

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splinelens.errors import BadFeatures

THRESHOLDS = ("absolute", "relative")
"""What a weight is held against: ``eps`` itself, or ``eps`` times the query's largest weight."""

Mask = Bool[Tensor, "row token key"] | Float[Tensor, "row token key"]
"""Which keys each query sees, one row for all heads or one a head: bool, or a float to add."""

# Scores and queries of a block. On a CPU a block of a short text stays in the cache, and narrow blocks
# skip the keys that none of their queries sees; a GPU wants few launches.
_SCORES, _QUERIES = 5 * 2**17, 96
_SCORES_ON_DEVICE = 2**21


@torch.no_grad()
def intrinsic_dimensions(
    query: Float[Tensor, "head token head_dim"],
    key: Float[Tensor, "kv_head key head_dim"],
    *,
    scaling: float,
    mask: Mask | None = None,
    softcap: float | None = None,
    sinks: Float[Tensor, " head"] | None = None,
    eps: float = 0.1,
) -> Int[Tensor, "2 head token"]:
    """Intrinsic dimension of each head and token of one text, for both thresholds at once.

    ``absolute``: ``#{j : Attn[i, j] > eps}``, always below ``1 / eps``. ``relative``:
    ``#{j : Attn[i, j] > eps * max_j Attn[i, j]}``, never below the absolute one. Weights are
    computed in float32 (float64 if that is given), block by block of the queries, and each block is
    gone before the next one comes.

    Args:
        query: Queries after rotary embedding.
        key: Keys after rotary embedding, the cached ones first; each key head serves the same
            number of consecutive query heads.
        scaling: What scores are multiplied by.
        mask: Which keys each query sees, one row for all heads or one a head: bool (True is seen)
            or a float that is added to the scores. None is causal: the last query sees all keys,
            the one before it all but one, and so on.
        softcap: Scores become ``softcap * tanh(score / softcap)`` before the mask.
        sinks: A logit for each head that joins the softmax and takes its share of the weight. A
            sink is no vertex of the hull: it is neither counted nor the largest weight.
        eps: Threshold, in (0, 1).

    Returns:
        Counts of keys, first absolute, then relative; 0 where a query sees no key, and -1 where its
        weights are no numbers, since a score that it sees is NaN or plus infinity.

    Raises:
        BadFeatures: ``eps`` outside (0, 1), a cap that is not above 0, or heads or a mask that do not fit.

    Example:
        >>> looked_at = torch.tensor([[[1.0], [-1.0], [0.9]]])
        >>> intrinsic_dimensions(torch.full((1, 3, 1), 3.0), looked_at, scaling=1.0)
        tensor([[[1, 1, 2]],
                [[1, 1, 2]]])
    """
    eps = check_eps(eps)
    _check_axes(query, key, mask)
    _check_cap(softcap)
    (heads, tokens, _), keys = query.shape, key.shape[1]
    key = key.to(_dtype(query.dtype))
    # The first queries of a text with fewer keys than queries see none of them.
    first = max(0, tokens - keys) if mask is None or not keys else 0
    found = [key.new_zeros(3, heads, first)]
    for start, stop in _blocks(first, tokens, heads * keys, key.device):
        part, seen = None, slice(0, keys - tokens + stop)
        if mask is not None:
            seen = _extent(mask[:, start:stop])
            part = mask[:, start:stop, seen]
        scores = attention_scores(query[:, start:stop], key[:, seen], scaling, part, softcap)
        counts = _counts_of_scores(scores, sinks, eps)
        found.append(counts if part is None else counts.masked_fill_(~_shows(part, -1), 0))
    return _whole(found)


@torch.no_grad()
def intrinsic_dimension_of_weights(
    weights: Float[Tensor, "head token key"], eps: float = 0.1
) -> Int[Tensor, "2 head token"]:
    """Both intrinsic dimensions, for families that hand over attention weights instead of scores.

    Weights cannot tell a query that sees nothing: eager attention gives it equal weights on all
    keys. Leave such padding out.

    Args:
        weights: Attention weights, after the softmax.
        eps: Threshold, in (0, 1).

    Returns:
        Counts of keys, first absolute, then relative; -1 where a weight is NaN or infinite.

    Example:
        >>> intrinsic_dimension_of_weights(torch.tensor([[[0.90, 0.08, 0.02], [0.40, 0.35, 0.25]]]), eps=0.3)
        tensor([[[1, 2]],
                [[1, 3]]])
    """
    eps = check_eps(eps)
    heads, tokens, keys = weights.shape
    found = [weights.new_zeros(3, heads, tokens if keys == 0 else 0, dtype=_dtype(weights.dtype))]
    for start, stop in _blocks(0, tokens if keys else 0, heads * keys, weights.device):
        block = weights[:, start:stop].to(found[0].dtype)
        found.append(_counts(block, block.amax(-1, keepdim=True), eps, torch.empty_like(block), eps))
    return _whole(found)


def attention_scores(
    query: Float[Tensor, "head token head_dim"],
    key: Float[Tensor, "kv_head key head_dim"],
    scaling: float,
    mask: Mask | None = None,
    softcap: float | None = None,
) -> Float[Tensor, "head token key"]:
    """Scores of every query with every key, as the softmax of attention is given them.

    All of them at once: hand over a block of queries where there are many.

    Args:
        query: Queries after rotary embedding.
        key: Keys after rotary embedding.
        scaling: What the inner products are multiplied by.
        mask: Bool (True is seen) or a float to add; None is causal, the last query seeing all keys.
        softcap: Cap of the scores, if the model has one.

    Returns:
        Scores in float32 (float64 if the query is), minus infinity where a key is not seen.

    Raises:
        BadFeatures: A cap that is not above 0.

    Example:
        >>> attention_scores(torch.ones(1, 2, 1), torch.tensor([[[2.0], [3.0]]]), scaling=0.5)
        tensor([[[1.0000,   -inf],
                 [1.0000, 1.5000]]])
    """
    _check_cap(softcap)
    (heads, tokens, width), (groups, keys, _) = query.shape, key.shape
    dtype = _dtype(query.dtype)
    # The query heads of one key head stand below each other: one product each, and no key is copied.
    query = query.to(dtype).reshape(groups, heads // groups * tokens, width)
    key = key.to(dtype).transpose(1, 2)
    scores = torch.baddbmm(key.new_empty(1, 1, 1), query, key, beta=0, alpha=scaling)
    scores = scores.view(heads, tokens, keys)
    if softcap is not None:
        scores = scores.div_(softcap).tanh_().mul_(softcap)
    if mask is None:
        _hide_the_future(scores)
    elif mask.dtype == torch.bool:
        # A hidden NaN must stay hidden, and masked_fill_ is slower than these two together.
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
    loose one is ``sum_h n_h``.

    Args:
        count: Active keys of each head, from ``intrinsic_dimensions``.
        head_dim: Numbers in one head's value.
        width: Numbers in the layer's output.

    Returns:
        The tight and the loose bound, in dimensions; both are -1 where a head's count is.

    Example:
        >>> dimension_bounds(torch.tensor([1, 4, 9]), head_dim=4, width=6)
        (tensor(6), tensor(14))
    """
    broken = (count < 0).any(-1)
    tight = (count - 1).clamp(0, head_dim).sum(-1).clamp(max=width)
    return tight.masked_fill(broken, -1), count.sum(-1).masked_fill(broken, -1)


def check_eps(eps: object) -> float:
    """The threshold as a float, if it is one.

    Args:
        eps: Share of attention above which a key counts, in (0, 1).

    Returns:
        ``eps``.

    Raises:
        BadFeatures: ``eps`` is no number in (0, 1), or float32, in which weights are, rounds it to 0 or 1.

    Example:
        >>> check_eps(0.1)
        0.1
    """
    try:
        number = math.nan if isinstance(eps, str) else float(eps)  # type: ignore[arg-type] # refused below
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < 1:
        raise BadFeatures(f"eps is {eps!r}; pass a number above 0 and below 1, such as 0.1")
    rounded = float(torch.tensor(number, dtype=torch.float32))
    if rounded in (0, 1):
        raise BadFeatures(
            f"eps is {eps!r}, in float32 {rounded}; pass a number above 0 and below 1, such as 0.1"
        )
    return number


def check_threshold(threshold: str) -> str:
    """The kind of threshold, if it is one.

    Args:
        threshold: ``absolute`` or ``relative``.

    Returns:
        ``threshold``.

    Raises:
        BadFeatures: It is neither of the two.

    Example:
        >>> check_threshold("relative")
        'relative'
    """
    if threshold not in THRESHOLDS:
        raise BadFeatures(f"threshold {threshold!r} is unknown; pass one of {', '.join(THRESHOLDS)}")
    return threshold


def _dtype(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _check_axes(query: Tensor, key: Tensor, mask: Tensor | None) -> None:
    if not key.shape[0]:
        raise BadFeatures("there is no head of keys; pass the keys that attention is given")
    if query.shape[0] % key.shape[0]:
        raise BadFeatures(
            f"{query.shape[0]} heads of queries cannot share {key.shape[0]} heads of keys; "
            "pass the keys before they are repeated, or one head of keys for each head of queries"
        )
    tokens, keys = query.shape[1], key.shape[1]
    if mask is not None and tuple(mask.shape) not in [(1, tokens, keys), (query.shape[0], tokens, keys)]:
        raise BadFeatures(
            f"the mask has shape {tuple(mask.shape)}; for {tokens} queries and {keys} keys pass "
            f"(1, {tokens}, {keys}), or ({query.shape[0]}, {tokens}, {keys}) for one a head"
        )


def _check_cap(softcap: float | None) -> None:
    if softcap is not None and not 0 < softcap < math.inf:
        raise BadFeatures(f"softcap is {softcap!r}; pass a number above 0, or None without a cap")


def _blocks(first: int, tokens: int, scores: int, device: torch.device) -> Iterator[tuple[int, int]]:
    """Ranges of queries, so many that their ``scores`` each fit the budget."""
    budget, most = (_SCORES, _QUERIES) if device.type == "cpu" else (_SCORES_ON_DEVICE, tokens)
    rows = max(1, min(budget // max(1, scores), most))
    rows -= rows % 16 if rows > 16 else 0
    for start in range(first, tokens, rows):
        yield start, min(start + rows, tokens)


def _hide_the_future(scores: Tensor) -> None:
    """Set the scores of later keys to minus infinity; twice as fast as filling by a mask."""
    tokens, keys = scores.shape[1:]
    scores.tril_(keys - tokens)  # zeros, also for what is not finite: adding would turn it into NaN
    start = max(0, keys - tokens)
    corner = scores.new_full((tokens, keys - start), -torch.inf).triu_(1 + keys - tokens - start)
    scores[:, :, start:] += corner


def _extent(mask: Tensor) -> slice:
    """From the first to the last key that any query of the block sees; the first key if there is none."""
    if mask.device.type != "cpu":
        return slice(0, mask.shape[2])  # looking would wait for the device
    places = _shows(mask, (0, 1)).nonzero()
    return slice(int(places[0]), int(places[-1]) + 1) if len(places) else slice(0, 1)


def _shows(mask: Tensor, axes: int | tuple[int, int]) -> Tensor:
    """Whether any key along the axes is seen; to hide one, models also add a dtype's smallest number."""
    if mask.dtype == torch.bool:
        return mask.view(torch.uint8).amax(axes) > 0  # five times as fast as any
    return ~(mask.amax(axes) <= torch.finfo(mask.dtype).min / 2)  # NaN is seen


def _counts_of_scores(scores: Tensor, sinks: Tensor | None, eps: float) -> Tensor:
    """What ``_counts`` gives, for a block of scores, which it overwrites."""
    weights = scores.softmax(-1)
    top = weights.amax(-1, keepdim=True)
    if sinks is None:
        return _counts(weights, top, eps, scores, eps)
    # A sink leaves the keys this share of the weight; log-sum-exp of the scores is max - log(top).
    largest = scores.amax(-1, keepdim=True)
    share = (largest - top.log() - sinks.to(scores.dtype)[:, None, None]).sigmoid()
    return _counts(weights, top + 0 * share, eps / share, scores, eps)


def _counts(weights: Tensor, top: Tensor, edge: Tensor | float, room: Tensor, eps: float) -> Tensor:
    """Both counts and the largest weight, (3, head, token), all floats; ``room`` is overwritten.

    Comparisons that write 0 and 1 as floats and a sum of floats are several times faster than
    booleans and their sum.
    """
    absolute = torch.gt(weights, edge, out=room).sum(-1)
    relative = torch.gt(weights, eps * top, out=room).sum(-1)
    return torch.stack([absolute, relative, top.squeeze(-1)])


def _whole(found: list[Tensor]) -> Tensor:
    """The counts of all blocks, -1 where the largest weight is no number: a comparison hides NaN."""
    absolute_relative, top = torch.cat(found, dim=2).split([2, 1])
    return absolute_relative.masked_fill(~top.isfinite(), -1).long()
