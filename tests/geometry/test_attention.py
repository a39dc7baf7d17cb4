"""Tests geometry/attention.py."""

import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from splinelens.errors import BadFeatures
from splinelens.geometry import attention
from splinelens.geometry.attention import (
    attention_scores,
    dimension_bounds,
    intrinsic_dimension_of_weights,
    intrinsic_dimensions,
)
from splinelens.geometry.settings import THRESHOLDS, check_eps

TEXTS, HEADS, KV_HEADS, WIDTH = 2, 6, 2, 8
TOKENS = 211  # three blocks of queries, the last one shorter
SMALLEST = torch.finfo(torch.float32).min


def queries_and_keys(tokens=TOKENS, keys=None, dtype=torch.float64, spread=1.7):
    query = spread * torch.randn(TEXTS, HEADS, tokens, WIDTH, dtype=dtype)
    return query, torch.randn(TEXTS, KV_HEADS, tokens if keys is None else keys, WIDTH, dtype=dtype)


def causal(tokens=TOKENS, keys=None):
    keys = tokens if keys is None else keys
    return (torch.arange(keys) <= torch.arange(tokens)[:, None] + keys - tokens)[None, None]


def window(size, tokens=TOKENS):
    position = torch.arange(tokens)
    return causal(tokens) & (position > position[:, None] - size)


def full_weights(query, key, scaling, mask, softcap=None, sinks=None):
    """The whole (token, key) matrix: keys repeated, sinks as one more column, one softmax."""
    texts, heads, tokens, _ = query.shape
    key = key.repeat_interleave(heads // key.shape[1], dim=1)
    scores = torch.einsum("nhtd,nhkd->nhtk", query, key) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    if sinks is not None:
        column = sinks[:, None, None].expand(texts, heads, tokens, 1).to(scores.dtype)
        scores = torch.cat([scores, column], dim=3)
    return scores.softmax(dim=3)[..., : key.shape[2]]


def full_counts(weights, eps):
    relative = weights > eps * weights.amax(dim=3, keepdim=True)
    return torch.stack([(weights > eps).sum(3), relative.sum(3)])


def test_intrinsic_dimension_by_hand():
    # The last query's weights are 8/12, 3/12 and 1/12.
    key = torch.tensor([[[[8.0], [3.0], [1.0]]]]).log()
    query = torch.ones(1, 1, 3, 1)
    low, high = (intrinsic_dimensions(query, key, scaling=1.0, eps=eps)[:, 0, 0] for eps in (0.1, 0.3))
    assert low.tolist() == [[1, 2, 2], [1, 2, 3]]
    assert high.tolist() == [[1, 1, 1], [1, 2, 2]]


def test_the_two_thresholds_are_named():
    query, key = queries_and_keys()
    both = dict(zip(THRESHOLDS, intrinsic_dimensions(query, key, scaling=0.4), strict=True))
    weights = full_weights(query, key, 0.4, causal())
    assert torch.equal(both["absolute"], (weights > 0.1).sum(3))
    assert torch.equal(both["relative"], (weights > 0.1 * weights.amax(dim=3, keepdim=True)).sum(3))
    assert not torch.equal(both["absolute"], both["relative"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("eps", [1e-6, 0.03, 0.1, 0.5, 0.97])
def test_blocks_count_what_the_full_softmax_counts(dtype, eps):
    query, key = queries_and_keys(dtype=dtype)
    expected = full_counts(full_weights(query, key, 0.6, causal()), eps)
    assert torch.equal(intrinsic_dimensions(query, key, scaling=0.6, eps=eps), expected)
    assert expected[1].max() > 1


def padded(sizes, tokens=TOKENS):
    """The mask of texts padded on the left."""
    position = torch.arange(tokens)
    return causal(tokens) & (position >= tokens - torch.tensor(sizes)[:, None, None, None])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "mask",
    [
        causal(),
        window(5),
        window(400),
        padded([TOKENS, 60]),
        torch.rand(TEXTS, HEADS, TOKENS, TOKENS, generator=torch.Generator().manual_seed(1)) < 0.4,
        ~causal() * SMALLEST,
        torch.zeros(1, 1, TOKENS, TOKENS).masked_fill(~window(5), -torch.inf),
        torch.zeros(1, 1, TOKENS, TOKENS, dtype=torch.bfloat16).masked_fill(~causal(), -torch.inf),
        ~causal() * SMALLEST - torch.arange(1, 7)[:, None, None] * 0.03 * torch.arange(TOKENS - 1, -1, -1),
    ],
    ids="causal window wide-window left-padding random smallest infinite half alibi".split(),
)
@pytest.mark.parametrize("softcap", [None, 2.5])
@pytest.mark.parametrize("with_sinks", [False, True])
def test_masks_caps_and_sinks_count_as_in_the_full_softmax(dtype, mask, softcap, with_sinks):
    query, key = queries_and_keys(dtype=dtype)
    sinks = torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.5, 9.0]) if with_sinks else None
    counts = intrinsic_dimensions(query, key, scaling=0.6, mask=mask, softcap=softcap, sinks=sinks, eps=0.1)
    weights = full_weights(query, key, 0.6, mask, softcap, sinks)
    visible = mask if mask.dtype == torch.bool else mask > SMALLEST / 2
    assert torch.equal(counts, full_counts(weights, 0.1).masked_fill(~visible.any(dim=3), 0))


@pytest.mark.parametrize("mask", [causal(), window(TOKENS), window(999)])
def test_an_explicit_causal_mask_or_a_window_longer_than_the_text_changes_nothing(mask):
    query, key = queries_and_keys()
    counts = intrinsic_dimensions(query, key, scaling=0.5, mask=mask)
    assert torch.equal(counts, intrinsic_dimensions(query, key, scaling=0.5))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_a_text_counts_the_same_in_a_batch_on_its_own_and_padded_on_either_side(dtype):
    query, key = queries_and_keys(dtype=dtype)
    whole = intrinsic_dimensions(query, key, scaling=0.5)
    for text in range(TEXTS):
        one = slice(text, text + 1)
        assert torch.equal(intrinsic_dimensions(query[one], key[one], scaling=0.5)[:, 0], whole[:, text])
    short = intrinsic_dimensions(query[1:, :, -60:], key[1:, :, -60:], scaling=0.5)[:, 0]
    left = intrinsic_dimensions(query, key, scaling=0.5, mask=padded([TOKENS, 60]))
    assert torch.equal(left[:, 0], whole[:, 0])
    assert torch.equal(left[:, 1, :, -60:], short)
    assert not left[:, 1, :, :-60].any()
    right = intrinsic_dimensions(query.roll(60, 2), key.roll(60, 2), scaling=0.5)
    assert torch.equal(right[:, 1, :, :60], short)


@pytest.mark.parametrize("masked", [False, True])
def test_nan_in_one_text_does_not_reach_another(masked):
    query, key = queries_and_keys()
    mask = padded([TOKENS, TOKENS]) if masked else None
    expected = intrinsic_dimensions(query, key, scaling=0.5, mask=mask)
    query[0], key[0] = math.nan, math.nan
    counts = intrinsic_dimensions(query, key, scaling=0.5, mask=mask)
    assert (counts[:, 0] == -1).all()
    assert torch.equal(counts[:, 1], expected[:, 1])
    weights = torch.rand(2, HEADS, 4, 4)
    weights[0] = math.nan
    assert (intrinsic_dimension_of_weights(weights) == -1).flatten(2).all(2).tolist() == [[True, False]] * 2


def test_cached_keys_come_first():
    query, key = queries_and_keys()
    whole = intrinsic_dimensions(query, key, scaling=0.5)
    for start in (90, TOKENS - 1):
        counts = intrinsic_dimensions(query[:, :, start:], key, scaling=0.5)
        assert torch.equal(counts, whole[..., start:])


def test_queries_without_any_key_count_0():
    query, key = queries_and_keys(tokens=200, keys=90)
    counts = intrinsic_dimensions(query, key, scaling=0.5)
    assert (counts[..., :110] == 0).all()
    assert torch.equal(counts[..., 110:], intrinsic_dimensions(query[:, :, 110:], key, scaling=0.5))
    nothing = torch.ones(1, 1, 200, 0, dtype=torch.bool)
    assert (intrinsic_dimensions(query, key[:, :, :0], scaling=0.5) == 0).all()
    assert (intrinsic_dimensions(query, key[:, :, :0], scaling=0.5, mask=nothing) == 0).all()
    assert intrinsic_dimensions(query[:, :, :0], key, scaling=0.5).shape == (2, TEXTS, HEADS, 0)


def test_later_tokens_do_not_change_earlier_counts():
    query, key = queries_and_keys()
    whole = intrinsic_dimensions(query, key, scaling=0.5)
    assert (whole[..., 0] == 1).all()  # one token sees itself
    for tokens in (1, 95, 96, 97, 210):
        start = intrinsic_dimensions(query[:, :, :tokens], key[:, :, :tokens], scaling=0.5)
        assert torch.equal(start, whole[..., :tokens])


@pytest.mark.parametrize("hidden", [None, SMALLEST, 0.75 * SMALLEST, -torch.inf])
@pytest.mark.parametrize("with_sinks", [False, True])
def test_a_query_that_sees_nothing_counts_0(hidden, with_sinks):
    query, key = queries_and_keys()
    visible = padded([TOKENS - 100, TOKENS - 99])  # more than one block of padding
    mask = visible if hidden is None else torch.zeros(visible.shape).masked_fill(~visible, hidden)
    sinks = torch.zeros(HEADS) if with_sinks else None
    counts = intrinsic_dimensions(query, key, scaling=0.5, mask=mask, sinks=sinks)
    assert (counts[..., :99] == 0).all()
    assert (counts[1, ..., 100:] > 0).all()


def test_shared_keys_count_as_repeated_ones_and_strides_do_not_matter():
    query, key = queries_and_keys()
    counts = intrinsic_dimensions(query, key, scaling=0.5)
    repeated = key.repeat_interleave(HEADS // KV_HEADS, dim=1)
    assert torch.equal(intrinsic_dimensions(query, repeated, scaling=0.5), counts)
    views = (tensor.transpose(1, 2).contiguous().transpose(1, 2) for tensor in (query, key))
    assert torch.equal(intrinsic_dimensions(*views, scaling=0.5), counts)


@pytest.mark.parametrize("eps", [0.02, 0.1, 1 / 3, 0.5, 0.9])
def test_fewer_than_one_over_eps_keys_pass_and_relative_passes_no_fewer(eps):
    query, key = queries_and_keys(tokens=60, spread=0.3)
    absolute, relative = intrinsic_dimensions(query, key, scaling=0.5, eps=eps)
    assert (absolute < 1 / eps).all()
    assert (relative >= absolute).all()
    assert (relative >= 1).all()


@pytest.mark.parametrize("equal", [2, 4, 5, 10])
def test_equal_weights_of_exactly_eps_do_not_pass(equal):
    key = torch.ones(1, 1, equal, 1)
    counts = intrinsic_dimensions(torch.ones(1, 1, 1, 1), key, scaling=1.0, eps=1 / equal)
    assert counts.flatten().tolist() == [0, equal]


def test_a_constant_added_to_all_scores_of_a_query_changes_nothing():
    query, key = queries_and_keys()
    plain = torch.zeros(causal().shape, dtype=torch.float64).masked_fill(~causal(), -torch.inf)
    shift = 50 * torch.randn(1, 1, TOKENS, 1, dtype=torch.float64)
    assert torch.equal(
        intrinsic_dimensions(query, key, scaling=0.5, mask=plain + shift),
        intrinsic_dimensions(query, key, scaling=0.5),
    )


@pytest.mark.parametrize("by_head", [False, True])
def test_the_order_of_keys_does_not_matter(by_head):
    query, key = queries_and_keys()
    mask = torch.rand(1, HEADS if by_head else 1, TOKENS, TOKENS) < 0.3
    order = torch.randperm(TOKENS)
    assert torch.equal(
        intrinsic_dimensions(query, key[:, :, order], scaling=0.5, mask=mask[..., order]),
        intrinsic_dimensions(query, key, scaling=0.5, mask=mask),
    )


def test_a_tiny_eps_counts_all_visible_keys():
    query, key = queries_and_keys()
    visible = torch.arange(1, TOKENS + 1).expand(2, TEXTS, HEADS, TOKENS)
    assert torch.equal(intrinsic_dimensions(query, key, scaling=0.5, eps=1e-30), visible)
    narrow = intrinsic_dimensions(query, key, scaling=0.5, eps=1e-30, mask=window(4))
    assert torch.equal(narrow, visible.clamp(max=4))


def test_a_sink_takes_weight_from_the_absolute_count_only():
    query, key = queries_and_keys()
    without = intrinsic_dimensions(query, key, scaling=0.5)
    for logit in (-1e4, 1e4):
        counts = intrinsic_dimensions(query, key, scaling=0.5, sinks=torch.full((HEADS,), logit))
        assert torch.equal(counts[1], without[1])
        assert torch.equal(counts[0], without[0] if logit < 0 else torch.zeros_like(without[0]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_arithmetic_is_float32_whatever_the_dtype_of_the_model(dtype):
    query, key = queries_and_keys(dtype=dtype)
    expected = full_counts(full_weights(query.float(), key.float(), 0.5, causal()), 0.1)
    assert torch.equal(intrinsic_dimensions(query, key, scaling=0.5), expected)
    assert attention_scores(query, key, 0.5).dtype == torch.float32


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("with_sinks", [False, True])
def test_a_score_that_is_not_finite_gives_minus_1_and_only_where_it_is_visible(bad, masked, with_sinks):
    query, key = queries_and_keys()
    sinks = torch.zeros(HEADS) if with_sinks else None
    options = {"mask": window(6) if masked else None, "sinks": sinks}
    query[..., 0], key[0, 1, 110, 0] = query[..., 0].abs() + 0.1, bad
    expected = intrinsic_dimensions(query, key.nan_to_num(0, 0), scaling=0.5, **options)
    counts = intrinsic_dimensions(query, key, scaling=0.5, **options)
    stop = 116 if masked else TOKENS
    expected[:, 0, 3:, 110:stop] = -1
    assert torch.equal(counts, expected)
    query[0, 0, 4, 2] = math.nan
    assert intrinsic_dimensions(query, key, scaling=0.5, **options)[:, 0, 0, 4].tolist() == [-1, -1]


def test_a_sink_or_a_mask_that_is_nan_gives_minus_1():
    query, key = queries_and_keys()
    sinks = torch.tensor([0.0, math.nan, 0.0, 0.0, 0.0, 0.0])
    broken = intrinsic_dimensions(query, key, scaling=0.5, sinks=sinks) == -1
    assert broken.all(dim=3).nonzero().tolist() == [[kind, text, 1] for kind in (0, 1) for text in (0, 1)]
    assert broken.any(dim=3).sum() == 4
    mask = torch.zeros(1, 1, TOKENS, TOKENS)
    mask[..., 3, 0] = math.nan
    broken = intrinsic_dimensions(query, key, scaling=0.5, mask=mask) == -1
    assert broken.all(dim=2).nonzero()[:, 2].tolist() == [3] * 4
    assert broken.sum() == 4 * HEADS


def test_weights_count_as_scores_do():
    query, key = queries_and_keys()
    weights = full_weights(query, key, 0.6, causal())
    counts = intrinsic_dimension_of_weights(weights, eps=0.2)
    assert torch.equal(counts, intrinsic_dimensions(query, key, scaling=0.6, eps=0.2))
    assert intrinsic_dimension_of_weights(weights[:, :, :0]).shape == (2, TEXTS, HEADS, 0)
    assert (intrinsic_dimension_of_weights(weights[..., :0]) == 0).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_not_finite_give_minus_1(bad):
    weights = full_weights(*queries_and_keys(), 0.6, causal()).to(torch.bfloat16)
    weights[1, 2, 5, 1] = bad
    broken = intrinsic_dimension_of_weights(weights) == -1
    assert broken.nonzero().tolist() == [[0, 1, 2, 5], [1, 1, 2, 5]]


def test_scores_by_hand():
    query, key = torch.tensor([[[[2.0], [3.0]]]]), torch.tensor([[[[1.0], [5.0]]]])
    assert attention_scores(query, key, 0.5)[0, 0].tolist() == [[1.0, -math.inf], [1.5, 7.5]]
    mask = torch.tensor([[[[1.0, -math.inf], [0.0, -2.0]]]])
    assert attention_scores(query, key, 0.5, mask)[0, 0].tolist() == [[2.0, -math.inf], [1.5, 5.5]]
    capped = attention_scores(query, key, 0.5, torch.ones(1, 1, 2, 2, dtype=torch.bool), 4.0)
    assert capped.flatten().tolist() == pytest.approx([4 * math.tanh(x / 4) for x in (1.0, 5.0, 1.5, 7.5)])


def test_bounds_by_hand():
    # Heads with 0, 1, 5 and 9 vertices: dimensions 0, 0, 4 and 8, the last one cut at the head's 6.
    counts = torch.tensor([[0, 1, 5, 9], [2, 2, 0, 1]])
    assert [bound.tolist() for bound in dimension_bounds(counts, head_dim=6, width=64)] == [[10, 2], [15, 5]]
    assert dimension_bounds(counts, head_dim=6, width=7)[0].tolist() == [7, 2]


def test_the_tight_bound_is_never_above_the_loose_one():
    tight, loose = dimension_bounds(torch.randint(0, 12, (40, 5, 4)), head_dim=5, width=13)
    assert (tight <= loose).all()
    assert tight.max() == 13


def test_a_count_that_is_missing_has_no_bounds():
    bounds = dimension_bounds(torch.tensor([[3, -1], [3, 4]]), head_dim=5, width=13)
    assert [bound.tolist() for bound in bounds] == [[-1, 5], [-1, 7]]


@pytest.mark.parametrize("eps", [0, 1, -0.1, math.nan, math.inf, None, "0.1", [0.1], True, 1j, 1e-46])
def test_an_eps_outside_0_and_1_is_refused(eps):
    with pytest.raises(BadFeatures, match=r"pass a number above 0 and below 1, such as 0\.1"):
        check_eps(eps)


def test_every_function_with_eps_checks_it():
    with pytest.raises(BadFeatures, match=r"eps is 1\.0; pass a number above 0 and below 1"):
        intrinsic_dimensions(*queries_and_keys(), scaling=1.0, eps=1.0)
    with pytest.raises(BadFeatures, match=r"eps is 0\.99999999, in float32 1\.0; pass"):
        intrinsic_dimension_of_weights(torch.ones(1, 1, 1, 1), eps=0.99999999)


@pytest.mark.parametrize("eps", [0.1, np.float32(0.25), torch.tensor(0.5), 0.999999])
def test_any_kind_of_number_is_an_eps(eps):
    assert check_eps(eps) == pytest.approx(float(eps))
    assert type(check_eps(eps)) is float


def test_heads_and_masks_that_do_not_fit_are_refused():
    query, key = queries_and_keys(23)
    with pytest.raises(BadFeatures, match="5 heads of queries cannot share 2 heads of keys; pass the keys"):
        intrinsic_dimensions(query[:, :5], key, scaling=1.0)
    with pytest.raises(BadFeatures, match="there are no key heads; pass the keys that attention receives"):
        intrinsic_dimensions(query, key[:, :0], scaling=1.0)
    for shape in ((1, 2, 23, 23), (3, 1, 23, 23)):
        with pytest.raises(BadFeatures, match=r"pass \(2, 1, 23, 23\), or \(2, 6, 23, 23\) for one per head"):
            intrinsic_dimensions(query, key, scaling=1.0, mask=torch.ones(shape, dtype=torch.bool))


@pytest.mark.parametrize("softcap", [0.0, -1.0, math.nan, math.inf])
def test_a_cap_that_is_not_positive_is_refused(softcap):
    for function in (intrinsic_dimensions, attention_scores):
        with pytest.raises(BadFeatures, match=r"softcap is .*; pass a number above 0, or None"):
            function(*queries_and_keys(3), scaling=1.0, softcap=softcap)


def test_arguments_are_not_changed_and_may_require_gradients():
    query, key = queries_and_keys()
    sinks, mask = torch.randn(HEADS), torch.randn(1, 1, TOKENS, TOKENS)
    weights = torch.rand(TEXTS, HEADS, 4, 4)
    arguments = [query, key, sinks, weights, mask]
    before = [argument.clone() for argument in arguments]
    for argument in arguments:
        argument.requires_grad_()
    with torch.enable_grad():
        intrinsic_dimensions(query, key, scaling=0.5, mask=mask, sinks=sinks, softcap=3.0)
        intrinsic_dimension_of_weights(weights)
    assert all(torch.equal(argument, old) for argument, old in zip(arguments, before, strict=True))


@pytest.mark.parametrize(
    "call",
    [
        lambda: intrinsic_dimensions(torch.ones(1, 1, 2, 3), torch.ones(1, 1, 2, 4), scaling=1.0),
        lambda: intrinsic_dimensions(torch.ones(2, 1, 2, 3), torch.ones(1, 1, 2, 3), scaling=1.0),
        lambda: intrinsic_dimensions(*queries_and_keys(2), scaling=1.0, mask=torch.ones(1, 1, 2, 2).long()),
        lambda: intrinsic_dimensions(*queries_and_keys(2), scaling=1.0, mask=torch.ones(1, 1, 1, 2)),
        lambda: intrinsic_dimensions(*queries_and_keys(2), scaling=1.0, sinks=torch.ones(HEADS - 1)),
        lambda: intrinsic_dimension_of_weights(torch.ones(2, 2)),
        lambda: dimension_bounds(torch.ones(3), 2, 3),
    ],
)
def test_wrong_shapes_and_types_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
def test_4096_tokens_take_less_than_a_twentieth_of_the_memory_of_their_weights():
    """Peak memory of a fresh process during each call, 9 heads, without and with a mask."""
    code = """
import torch
from splinelens.geometry.attention import intrinsic_dimensions
def kib(name):  # of this process; ru_maxrss would include its parent
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name)))
query, key = torch.randn(1, 9, 4096, 16), torch.randn(1, 3, 4096, 16)
intrinsic_dimensions(query[:, :, :99], key[:, :, :99], scaling=0.25)
for mask in (None, torch.ones(1, 1, 4096, 4096, dtype=torch.bool).tril_()):
    open("/proc/self/clear_refs", "w").write("5")  # resets the peak
    before = kib("VmRSS")
    intrinsic_dimensions(query, key, scaling=0.25, mask=mask)
    print(kib("VmHWM") - before)
"""
    source = {"PYTHONPATH": str(Path(attention.__file__).parents[2])}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=os.environ | source
    )
    for growth in map(int, run.stdout.split()):
        assert 0 < growth < 9 * 4096 * 4096 * 4 / 20 / 1024
