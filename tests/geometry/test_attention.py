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
    THRESHOLDS,
    attention_scores,
    check_eps,
    check_threshold,
    dimension_bounds,
    intrinsic_dimension_of_weights,
    intrinsic_dimensions,
)

HEADS, KV_HEADS, WIDTH = 6, 2, 8
SMALLEST = torch.finfo(torch.float32).min


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Seven queries a block, so that every test walks over several uneven blocks."""
    monkeypatch.setattr(attention, "_QUERIES", 7)


def queries_and_keys(tokens=23, keys=None, dtype=torch.float64, spread=1.7):
    query = spread * torch.randn(HEADS, tokens, WIDTH, dtype=dtype)
    return query, torch.randn(KV_HEADS, tokens if keys is None else keys, WIDTH, dtype=dtype)


def causal(tokens, keys=None):
    keys = tokens if keys is None else keys
    return (torch.arange(keys) <= torch.arange(tokens)[:, None] + keys - tokens)[None]


def window(tokens, size):
    place = torch.arange(tokens)
    return causal(tokens) & (place > place[:, None] - size)[None]


def full_weights(query, key, scaling, mask, softcap=None, sinks=None):
    """The whole (token, key) matrix: keys repeated, sinks as one more column, one softmax."""
    heads, tokens, _ = query.shape
    key = key.repeat_interleave(heads // key.shape[0], dim=0)
    scores = torch.einsum("htd,hkd->htk", query, key) * scaling
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    if sinks is not None:
        scores = torch.cat([scores, sinks[:, None, None].expand(heads, tokens, 1).to(scores.dtype)], dim=2)
    return scores.softmax(dim=2)[:, :, : key.shape[1]]


def full_counts(weights, eps):
    relative = weights > eps * weights.amax(dim=2, keepdim=True)
    return torch.stack([(weights > eps).sum(2), relative.sum(2)])


def test_intrinsic_dimension_by_hand():
    # The last query's weights are 8/12, 3/12 and 1/12.
    key = torch.tensor([[[8.0], [3.0], [1.0]]]).log()
    query = torch.ones(1, 3, 1)
    assert intrinsic_dimensions(query, key, scaling=1.0, eps=0.1)[:, 0].tolist() == [[1, 2, 2], [1, 2, 3]]
    assert intrinsic_dimensions(query, key, scaling=1.0, eps=0.3)[:, 0].tolist() == [[1, 1, 1], [1, 2, 2]]


def test_the_two_thresholds_are_named():
    query, key = queries_and_keys()
    both = dict(zip(THRESHOLDS, intrinsic_dimensions(query, key, scaling=0.4), strict=True))
    weights = full_weights(query, key, 0.4, causal(23))
    assert torch.equal(both["absolute"], (weights > 0.1).sum(2))
    assert torch.equal(both["relative"], (weights > 0.1 * weights.amax(dim=2, keepdim=True)).sum(2))
    assert not torch.equal(both["absolute"], both["relative"])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("eps", [1e-6, 0.03, 0.1, 0.5, 0.97])
def test_blocks_count_what_the_full_softmax_counts(dtype, eps):
    query, key = queries_and_keys(dtype=dtype)
    expected = full_counts(full_weights(query, key, 0.6, causal(23)), eps)
    assert torch.equal(intrinsic_dimensions(query, key, scaling=0.6, eps=eps), expected)
    assert expected[1].max() > 1


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    "mask",
    [
        causal(23),
        window(23, 5),
        window(23, 40),
        torch.rand(HEADS, 23, 23, generator=torch.Generator().manual_seed(1)) < 0.4,
        ~causal(23) * SMALLEST,
        torch.zeros(1, 23, 23).masked_fill(~window(23, 5), -torch.inf),
        torch.zeros(1, 23, 23, dtype=torch.bfloat16).masked_fill(~causal(23), -torch.inf),
        ~causal(23) * SMALLEST - torch.arange(1, 7)[:, None, None] * 0.3 * torch.arange(22, -1, -1),
    ],
    ids="causal window wide-window random-by-head smallest infinite half alibi".split(),
)
@pytest.mark.parametrize("softcap", [None, 2.5])
@pytest.mark.parametrize("sunk", [False, True])
def test_masks_caps_and_sinks_count_as_in_the_full_softmax(dtype, mask, softcap, sunk):
    query, key = queries_and_keys(dtype=dtype)
    sinks = torch.tensor([-3.0, -1.0, 0.0, 1.0, 2.5, 9.0]) if sunk else None
    got = intrinsic_dimensions(query, key, scaling=0.6, mask=mask, softcap=softcap, sinks=sinks, eps=0.1)
    weights = full_weights(query, key, 0.6, mask, softcap, sinks)
    seen = mask if mask.dtype == torch.bool else mask > SMALLEST / 2
    expected = full_counts(weights, 0.1).masked_fill(~seen.any(dim=2), 0)
    assert torch.equal(got, expected)


@pytest.mark.parametrize("mask", [causal(23), window(23, 23), window(23, 99)])
def test_an_explicit_causal_mask_or_a_window_longer_than_the_text_is_no_mask(mask):
    query, key = queries_and_keys()
    got = intrinsic_dimensions(query, key, scaling=0.5, mask=mask)
    assert torch.equal(got, intrinsic_dimensions(query, key, scaling=0.5))


def test_cached_keys_come_first():
    query, key = queries_and_keys(tokens=31)
    whole = intrinsic_dimensions(query, key, scaling=0.5)
    assert torch.equal(intrinsic_dimensions(query[:, 20:], key, scaling=0.5), whole[:, :, 20:])
    assert torch.equal(intrinsic_dimensions(query[:, 30:], key, scaling=0.5), whole[:, :, 30:])


def test_queries_without_any_key_count_0():
    query, key = queries_and_keys(tokens=20, keys=9)
    got = intrinsic_dimensions(query, key, scaling=0.5)
    assert (got[:, :, :11] == 0).all()
    assert torch.equal(got[:, :, 11:], intrinsic_dimensions(query[:, 11:], key, scaling=0.5))
    nothing = torch.ones(1, 20, 0, dtype=torch.bool)
    assert (intrinsic_dimensions(query, key[:, :0], scaling=0.5) == 0).all()
    assert (intrinsic_dimensions(query, key[:, :0], scaling=0.5, mask=nothing) == 0).all()
    assert intrinsic_dimensions(query[:, :0], key, scaling=0.5).shape == (2, HEADS, 0)


def test_an_earlier_token_does_not_feel_what_follows():
    query, key = queries_and_keys(tokens=30)
    whole = intrinsic_dimensions(query, key, scaling=0.5)
    assert (whole[:, :, 0] == 1).all()  # one token sees itself
    for tokens in (1, 7, 8, 29):
        part = intrinsic_dimensions(query[:, :tokens], key[:, :tokens], scaling=0.5)
        assert torch.equal(part, whole[:, :, :tokens])


@pytest.mark.parametrize("hidden", [None, SMALLEST, 0.75 * SMALLEST, -torch.inf])
@pytest.mark.parametrize("sunk", [False, True])
def test_a_query_that_sees_nothing_counts_0(hidden, sunk):
    query, key = queries_and_keys(tokens=20)
    seen = causal(20).clone()
    seen[:, :9] = False  # more than a whole block, as after left padding
    mask = seen if hidden is None else torch.zeros(1, 20, 20).masked_fill(~seen, hidden)
    got = intrinsic_dimensions(query, key, scaling=0.5, mask=mask, sinks=torch.zeros(6) if sunk else None)
    assert (got[:, :, :9] == 0).all()
    assert (got[1, :, 9:] > 0).all()


def test_keys_that_heads_share_may_as_well_be_repeated_and_views_do_as_well():
    query, key = queries_and_keys()
    got = intrinsic_dimensions(query, key, scaling=0.5)
    repeated = key.repeat_interleave(HEADS // KV_HEADS, dim=0)
    assert torch.equal(intrinsic_dimensions(query, repeated, scaling=0.5), got)
    views = (tensor.transpose(0, 1).contiguous().transpose(0, 1) for tensor in (query, key))
    assert torch.equal(intrinsic_dimensions(*views, scaling=0.5), got)


@pytest.mark.parametrize("eps", [0.02, 0.1, 1 / 3, 0.5, 0.9])
def test_fewer_than_one_over_eps_keys_pass_and_relative_passes_no_fewer(eps):
    query, key = queries_and_keys(tokens=60, spread=0.3)
    absolute, relative = intrinsic_dimensions(query, key, scaling=0.5, eps=eps)
    assert (absolute < 1 / eps).all()
    assert (relative >= absolute).all()
    assert (relative >= 1).all()


@pytest.mark.parametrize("equal", [2, 4, 5, 10])
def test_equal_weights_of_exactly_eps_do_not_pass(equal):
    key = torch.ones(1, equal, 1)
    counts = intrinsic_dimensions(torch.ones(1, 1, 1), key, scaling=1.0, eps=1 / equal)
    assert counts.flatten().tolist() == [0, equal]


def test_a_constant_added_to_all_scores_of_a_query_changes_nothing():
    query, key = queries_and_keys()
    plain = torch.zeros(1, 23, 23, dtype=torch.float64).masked_fill(~causal(23), -torch.inf)
    shift = 50 * torch.randn(1, 23, 1, dtype=torch.float64)
    assert torch.equal(
        intrinsic_dimensions(query, key, scaling=0.5, mask=plain + shift),
        intrinsic_dimensions(query, key, scaling=0.5),
    )


@pytest.mark.parametrize("by_head", [False, True])
def test_the_order_of_keys_does_not_matter(by_head):
    query, key = queries_and_keys()
    mask = torch.rand(HEADS if by_head else 1, 23, 23) < 0.3
    order = torch.randperm(23)
    assert torch.equal(
        intrinsic_dimensions(query, key[:, order], scaling=0.5, mask=mask[:, :, order]),
        intrinsic_dimensions(query, key, scaling=0.5, mask=mask),
    )


def test_a_tiny_eps_counts_all_visible_keys():
    query, key = queries_and_keys()
    seen = torch.arange(1, 24).expand(2, HEADS, 23)
    assert torch.equal(intrinsic_dimensions(query, key, scaling=0.5, eps=1e-12), seen)
    narrow = intrinsic_dimensions(query, key, scaling=0.5, eps=1e-12, mask=window(23, 4))
    assert torch.equal(narrow, seen.clamp(max=4))


def test_a_sink_takes_weight_from_the_absolute_count_alone():
    query, key = queries_and_keys()
    without = intrinsic_dimensions(query, key, scaling=0.5)
    for logit in (-1e4, 1e4):
        got = intrinsic_dimensions(query, key, scaling=0.5, sinks=torch.full((HEADS,), logit))
        assert torch.equal(got[1], without[1])
        assert torch.equal(got[0], without[0] if logit < 0 else torch.zeros_like(without[0]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_arithmetic_is_float32_whatever_the_dtype_of_the_model(dtype):
    query, key = queries_and_keys(dtype=dtype)
    expected = full_counts(full_weights(query.float(), key.float(), 0.5, causal(23)), 0.1)
    assert torch.equal(intrinsic_dimensions(query, key, scaling=0.5), expected)
    assert attention_scores(query, key, 0.5).dtype == torch.float32


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("sunk", [False, True])
def test_a_score_that_is_not_finite_gives_minus_1_and_only_where_it_is_seen(bad, masked, sunk):
    query, key = queries_and_keys(tokens=20)
    options = {"mask": window(20, 6) if masked else None, "sinks": torch.zeros(6) if sunk else None}
    query[:, :, 0], key[1, 11, 0] = query[:, :, 0].abs() + 0.1, bad
    expected = intrinsic_dimensions(query, key.nan_to_num(0, 0), scaling=0.5, **options)
    got = intrinsic_dimensions(query, key, scaling=0.5, **options)
    stop = 17 if masked else 20
    assert (got[:, 3:, 11:stop] == -1).all()
    expected[:, 3:, 11:stop] = -1
    assert torch.equal(got, expected)
    query[0, 4, 2] = math.nan
    assert intrinsic_dimensions(query, key, scaling=0.5, **options)[:, 0, 4].tolist() == [-1, -1]


def test_a_sink_or_a_mask_that_is_no_number_gives_minus_1():
    query, key = queries_and_keys(tokens=20)
    sinks = torch.tensor([0.0, math.nan, 0.0, 0.0, 0.0, 0.0])
    got = intrinsic_dimensions(query, key, scaling=0.5, sinks=sinks)
    assert (got == -1).any(dim=2).tolist() == [[False, True, False, False, False, False]] * 2
    mask = torch.zeros(1, 20, 20)
    mask[0, 3] = math.nan
    broken = intrinsic_dimensions(query, key, scaling=0.5, mask=mask) == -1
    assert broken.all(dim=1).nonzero().tolist() == [[0, 3], [1, 3]]


def test_weights_count_as_scores_do():
    query, key = queries_and_keys()
    weights = full_weights(query, key, 0.6, causal(23))
    got = intrinsic_dimension_of_weights(weights, eps=0.2)
    assert torch.equal(got, intrinsic_dimensions(query, key, scaling=0.6, eps=0.2))
    assert intrinsic_dimension_of_weights(weights[:, :0]).shape == (2, HEADS, 0)
    assert (intrinsic_dimension_of_weights(weights[:, :, :0]) == 0).all()


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_weights_that_are_no_numbers_give_minus_1(bad):
    weights = full_weights(*queries_and_keys(), 0.6, causal(23)).to(torch.bfloat16)
    weights[2, 5, 1] = bad
    broken = intrinsic_dimension_of_weights(weights) == -1
    assert broken.nonzero().tolist() == [[0, 2, 5], [1, 2, 5]]


def test_a_device_without_looking_at_the_mask_counts_the_same(monkeypatch):
    query, key = queries_and_keys()
    expected = intrinsic_dimensions(query, key, scaling=0.5, mask=window(23, 5))
    monkeypatch.setattr(attention, "_extent", lambda part: slice(0, part.shape[2]))
    assert torch.equal(intrinsic_dimensions(query, key, scaling=0.5, mask=window(23, 5)), expected)


def test_scores_by_hand():
    query, key = torch.tensor([[[2.0], [3.0]]]), torch.tensor([[[1.0], [5.0]]])
    assert attention_scores(query, key, 0.5).tolist() == [[[1.0, -math.inf], [1.5, 7.5]]]
    mask = torch.tensor([[[1.0, -math.inf], [0.0, -2.0]]])
    assert attention_scores(query, key, 0.5, mask).tolist() == [[[2.0, -math.inf], [1.5, 5.5]]]
    capped = attention_scores(query, key, 0.5, torch.ones(1, 2, 2, dtype=torch.bool), 4.0)
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
def test_an_eps_that_is_no_share_is_refused(eps):
    with pytest.raises(BadFeatures, match=r"pass a number above 0 and below 1, such as 0\.1"):
        check_eps(eps)


def test_every_function_with_eps_checks_it():
    with pytest.raises(BadFeatures, match=r"eps is 1\.0; pass a number above 0 and below 1"):
        intrinsic_dimensions(*queries_and_keys(), scaling=1.0, eps=1.0)
    with pytest.raises(BadFeatures, match=r"eps is 0\.99999999, in float32 1\.0; pass"):
        intrinsic_dimension_of_weights(torch.ones(1, 1, 1), eps=0.99999999)


@pytest.mark.parametrize("eps", [0.1, np.float32(0.25), torch.tensor(0.5), 0.999999])
def test_any_kind_of_number_is_an_eps(eps):
    assert check_eps(eps) == pytest.approx(float(eps))
    assert type(check_eps(eps)) is float


def test_a_threshold_that_does_not_exist_is_refused():
    assert check_threshold("relative") == "relative"
    with pytest.raises(BadFeatures, match="threshold 'both' is unknown; pass one of absolute, relative"):
        check_threshold("both")


def test_heads_that_do_not_fit_are_refused():
    query, key = queries_and_keys()
    with pytest.raises(BadFeatures, match="5 heads of queries cannot share 2 heads of keys; pass the keys"):
        intrinsic_dimensions(query[:5], key, scaling=1.0)
    mask = torch.ones(2, 23, 23, dtype=torch.bool)
    with pytest.raises(BadFeatures, match=r"for 23 queries and 23 keys pass \(1, 23, 23\), or \(6, 23, 23\)"):
        intrinsic_dimensions(query, key, scaling=1.0, mask=mask)


def test_arguments_are_left_as_they_are_and_may_want_gradients():
    query, key = queries_and_keys()
    sinks, mask, weights = torch.randn(HEADS), torch.randn(1, 23, 23), torch.rand(HEADS, 4, 4)
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
        lambda: intrinsic_dimensions(torch.ones(1, 2, 3), torch.ones(1, 2, 4), scaling=1.0),
        lambda: intrinsic_dimensions(*queries_and_keys(2), scaling=1.0, mask=torch.ones(1, 2, 2).long()),
        lambda: intrinsic_dimensions(*queries_and_keys(2), scaling=1.0, mask=torch.ones(1, 1, 2)),
        lambda: intrinsic_dimensions(*queries_and_keys(2), scaling=1.0, sinks=torch.ones(HEADS - 1)),
        lambda: intrinsic_dimension_of_weights(torch.ones(2, 2)),
        lambda: dimension_bounds(torch.ones(3), 2, 3),
    ],
)
def test_wrong_shapes_and_types_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()


@pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")
@pytest.mark.parametrize("mask", ["None", "torch.ones(1, 4096, 4096, dtype=torch.bool).tril_()"])
def test_4096_tokens_take_less_than_a_twentieth_of_the_memory_of_their_weights(mask):
    """Peak memory of a fresh process beyond what it held before the call, 9 heads; a mask was the model's."""
    code = f"""
import torch
from splinelens.geometry.attention import intrinsic_dimensions
def kib(name):  # of this process; ru_maxrss would count the one that started it
    return int(next(line.split()[1] for line in open("/proc/self/status") if line.startswith(name)))
query, key, mask = torch.randn(9, 4096, 16), torch.randn(3, 4096, 16), {mask}
intrinsic_dimensions(query[:, :99], key[:, :99], scaling=0.25)
before = kib("VmRSS")
intrinsic_dimensions(query, key, scaling=0.25, mask=mask)
print(kib("VmHWM") - before)
"""
    source = {"PYTHONPATH": str(Path(attention.__file__).parents[2])}
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env=os.environ | source
    )
    assert 0 < int(run.stdout) < 9 * 4096 * 4096 * 4 / 20 / 1024
