"""Tests geometry/running.py: batches, windows and prefixes against one slow definition, written out below."""

import math

import pytest
import torch
from torch.fx.experimental.proxy_tensor import make_fx

from splinelens.errors import BadFeatures
from splinelens.geometry.running import POOLINGS, Running, spread

ROUTED = tuple(pooling for pooling in POOLINGS if pooling != "std")


def definition(tokens, pooling):
    """One number of one text, pooled: ``tokens`` has its value at each token, None where a token lacks it."""
    values = [value for value in tokens if value is not None]
    if pooling == "occupancy":
        return sum(value > 0 for value in values) / len(tokens)
    if pooling == "last":
        return 0.0 if tokens[-1] is None else tokens[-1]
    if not values:
        return 0.0
    mean = math.fsum(values) / len(values)
    if pooling == "std":
        return math.sqrt(math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1))
    return {"max": max(values), "min": min(values), "mean": mean}[pooling]


def slow(values, pooling, seen=None):
    """``definition`` of each number of one text: (token, ...) in, (...) out, in float64."""
    columns = values.double().reshape(len(values), -1).T.tolist()
    flags = torch.ones_like(values, dtype=torch.bool) if seen is None else seen
    flags = flags.reshape(len(values), -1).T.tolist()
    rows = [
        [value if flag else None for value, flag in zip(*column, strict=True)]
        for column in zip(columns, flags, strict=True)
    ]
    pooled = torch.tensor([definition(row, pooling) for row in rows], dtype=torch.float64)
    return pooled.reshape(values.shape[1:])


def batch(*axes, tokens=12, side="right", dtype=torch.float32):
    """Values of three texts of 12, 7 and 1 tokens, and the mask."""
    values = torch.randn(3, tokens, *axes, dtype=dtype)
    lengths = torch.tensor([tokens, 7, 1])[:, None]
    column = torch.arange(tokens)
    return values, column < lengths if side == "right" else column >= tokens - lengths


def routed_batch(tokens=9, experts=5, size=3):
    """Margins of the neurons of two experts a token, and their indices; expert 4 is never chosen."""
    chosen = torch.stack([torch.randperm(experts - 1)[:2].sort().values for _ in range(2 * tokens)])
    neurons = (chosen[..., None] * size + torch.arange(size)).flatten(1).view(2, tokens, -1)
    mask = torch.arange(tokens) < torch.tensor([[tokens], [4]])
    return torch.randn(2, tokens, 2 * size), neurons, mask


def close(result, expected):
    """Equal to rounding; an occupancy is a count, exact in float32, over another."""
    rtol = 1e-9 if result.dtype == torch.float64 else 1e-7
    return torch.allclose(result.double(), expected.double(), rtol=rtol, atol=1e-12)


def parts(state):
    """The tensors of a state, by name."""
    return {name: part for name, part in vars(state).items() if part is not None}


def equal(state, other):
    first, second = parts(state), parts(other)
    return first.keys() == second.keys() and all(
        part.shape == second[name].shape and torch.equal(part, second[name]) for name, part in first.items()
    )


def test_poolings_by_hand():
    values = torch.tensor([[[1.0, -2.0], [3.0, -4.0], [-1.0, 6.0], [99.0, 99.0]]])
    state = Running.reduce(values, torch.tensor([[True, True, True, False]]), POOLINGS)
    assert state.result("max").tolist() == [[3, 6]]
    assert state.result("min").tolist() == [[-1, -4]]
    assert state.result("mean").tolist() == [[1, 0]]
    assert state.result("last").tolist() == [[-1, 6]]
    assert state.result("std").tolist() == [[2, pytest.approx(28**0.5)]]
    assert torch.allclose(state.result("occupancy"), torch.tensor([[2 / 3, 1 / 3]]))
    assert state.tokens.tolist() == [[3]]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("axes", [(), (5,), (2, 3)])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_each_row_of_a_batch_is_its_text_by_definition(pooling, axes, side):
    values, mask = batch(*axes, side=side)
    result = Running.reduce(values, mask, (pooling,)).result(pooling)
    assert result.shape == (3, *axes)
    for row in range(3):
        expected = slow(values[row][mask[row]], pooling)
        assert torch.allclose(result[row].double(), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf, 1e9])
def test_what_stands_at_padding_never_matters(side, poison):
    values, mask = batch(4, side=side)
    spoilt = values.where(mask[..., None], poison)
    for locate in (False, True):
        state = Running.reduce(values, mask, POOLINGS, locate=locate)
        assert equal(Running.reduce(spoilt, mask, POOLINGS, locate=locate), state)


@pytest.mark.parametrize("poolings", [("max",), ("min", "last"), POOLINGS])
def test_tokens_that_all_texts_pool_need_no_mask(poolings):
    values = torch.randn(3, 12, 4)
    mask = torch.zeros(3, 12, dtype=torch.bool)
    for row, (start, stop) in enumerate([(2, 9), (0, 8), (4, 12)]):
        mask[row, start:stop] = True
    state = Running.reduce(values, mask, poolings)
    for unmasked in (slice(4, 8), slice(4, 5), slice(6, 6)):
        assert equal(Running.reduce(values, mask, poolings, unmasked=unmasked), state)
    full = torch.ones_like(mask)
    whole = Running.reduce(values, full, poolings, unmasked=slice(0, 12))
    assert equal(whole, Running.reduce(values, full, poolings))


def test_only_what_the_poolings_need_is_kept():
    values, mask = batch(4)
    for state in (Running.reduce(values, mask, ("max",)), Running.scan(values[0], ("max",))):
        assert parts(state).keys() == {"tokens", "count", "high"}
    state = Running.reduce(values, mask, ("mean", "last"), locate=True)
    assert parts(state).keys() == {"tokens", "count", "mean", "last", "last_at"}


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("axes", [(), (7,), (2, 3)])
def test_a_scan_is_the_reduction_of_every_prefix(pooling, axes):
    values = torch.randn(40, *axes, dtype=torch.float64)
    result = Running.scan(values, (pooling,)).result(pooling)
    for tokens in range(1, 41):
        prefix = Running.reduce(values[None, :tokens], torch.ones(1, tokens, dtype=torch.bool), (pooling,))
        assert close(result[tokens - 1], prefix.result(pooling)[0])
        assert close(result[tokens - 1], slow(values[:tokens], pooling))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_windows_merge_to_the_reduction_of_the_whole(pooling):
    values, mask = batch(4, dtype=torch.float64)
    whole = Running.reduce(values[:1], mask[:1], POOLINGS)
    for cuts in [(5,), (1, 2), (3, 7, 11)]:
        windows = values[:1].tensor_split(cuts, dim=1)
        states = [Running.reduce(part, part[..., 0] == part[..., 0], POOLINGS) for part in windows]
        merged = states[0]
        for state in states[1:]:
            merged = merged.merge(state)
        assert close(merged.result(pooling), whole.result(pooling))
        grouped = states[-1]  # merged from the other end
        for state in states[-2::-1]:
            grouped = state.merge(grouped)
        assert close(grouped.result(pooling), whole.result(pooling))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_scan_goes_on_after_another(pooling):
    """Also in the windows of a layer of experts, where the first has no token of some neurons."""
    values, seen = torch.randn(30, 4, dtype=torch.float64), torch.rand(30, 4) < 0.3
    seen[:13, 1] = False
    for flags in (None, seen):
        if flags is not None and pooling == "std":
            continue
        first, second = (slice(0, 13), slice(13, 30))
        whole = Running.scan(values, (pooling,), seen=flags)
        before = Running.scan(values[first], (pooling,), seen=None if flags is None else flags[first])
        rest = Running.scan(
            values[second],
            (pooling,),
            seen=None if flags is None else flags[second],
            before=before.rows(-1, None),
        )
        assert rest.tokens.flatten().tolist() == list(range(14, 31))
        assert close(rest.result(pooling), whole.rows(13, None).result(pooling))


@pytest.mark.parametrize("pooling", ROUTED)
def test_a_scan_pools_only_tokens_that_have_the_number(pooling):
    values, seen = torch.randn(30, 6, dtype=torch.float64), torch.rand(30, 6) < 0.3
    seen[:, 0] = False
    result = Running.scan(values, (pooling,), seen=seen).result(pooling)
    for tokens in range(1, 31):
        assert close(result[tokens - 1], slow(values[:tokens], pooling, seen[:tokens]))


def test_growing_never_lowers_a_maximum_nor_raises_a_minimum():
    state = Running.scan(torch.randn(30, 7), ("max", "min"))
    assert (state.result("max").diff(dim=0) >= 0).all()
    assert (state.result("min").diff(dim=0) <= 0).all()


def test_one_token_is_its_maximum_minimum_mean_and_last_and_has_no_deviation():
    values, mask = torch.randn(2, 1, 7), torch.ones(2, 1, dtype=torch.bool)
    state = Running.reduce(values, mask, POOLINGS)
    for pooling in ("max", "min", "mean", "last"):
        assert torch.equal(state.result(pooling).float(), values[:, 0])
    assert (state.result("std") == 0).all()


def test_the_first_token_that_reaches_a_value_is_its_source():
    values = torch.tensor([[[9.0, -9.0], [1.0, -4.0], [3.0, -2.0], [3.0, -4.0]]])
    mask = torch.tensor([[False, True, True, True]])
    state = Running.reduce(values, mask, ("max", "min", "last", "mean"), locate=True)
    assert state.source("max").tolist() == [[2, 2]]
    assert state.source("min").tolist() == [[1, 1]]
    assert state.source("last").tolist() == [[3, 3]]
    assert state.source("mean") is None
    assert Running.reduce(values, mask, ("max",)).source("max") is None


@pytest.mark.parametrize("pooling", ["max", "min", "last"])
def test_the_source_of_merged_windows_is_that_of_the_whole(pooling):
    values = torch.randint(-2, 3, (1, 12, 50)).float()  # many ties
    mask = torch.ones(1, 12, dtype=torch.bool)
    whole = Running.reduce(values, mask, (pooling,), locate=True)
    first = Running.reduce(values[:, :5], mask[:, :5], (pooling,), locate=True)
    later = Running.reduce(values[:, 5:], mask[:, 5:], (pooling,), locate=True).located_from(5)
    merged = first.merge(later)
    assert torch.equal(merged.source(pooling), whole.source(pooling))
    assert torch.equal(merged.result(pooling), whole.result(pooling))
    at = whole.source(pooling)
    assert torch.equal(values.gather(1, at[:, None])[:, 0], whole.result(pooling))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf, -torch.inf])
def test_a_value_that_is_not_finite_is_never_hidden(pooling, poison):
    """Unless the pooling has no use for it: an infinite value is no minimum."""
    values, mask = torch.randn(1, 9, 7), torch.ones(1, 9, dtype=torch.bool)
    values[0, 3, 2] = poison
    hidden = (
        {"max": poison == -torch.inf, "min": poison == torch.inf, "last": True}.get(pooling, False),
        pooling == "last",
    )
    expected = [not (number == 2 and not hidden[0]) for number in range(7)]
    whole = Running.reduce(values, mask, (pooling,))
    assert whole.result(pooling).isfinite().tolist() == [expected]
    merged = Running.reduce(values[:, :5], mask[:, :5], (pooling,))
    merged = merged.merge(Running.reduce(values[:, 5:], mask[:, 5:], (pooling,)))
    assert merged.result(pooling).isfinite().tolist() == [expected]
    prefixes = Running.scan(values[0], (pooling,)).result(pooling)
    assert prefixes[:3].isfinite().all()
    assert prefixes[-1].isfinite().tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_counts_and_means_lose_nothing(dtype):
    """A half counts to 2,048 (float16) or 256 (bfloat16), and a sum of float16 ends at 65,504."""
    values = torch.full((1, 3001, 2), 100.0, dtype=dtype)
    values[0, 0] = -100
    mask = torch.ones(1, 3001, dtype=torch.bool)
    state = Running.reduce(values, mask, ("occupancy", "mean"))
    neurons = torch.arange(2).expand(1, 3001, 2)
    routed = Running.reduce_routed(values, neurons, 2, mask, ("occupancy", "mean"))
    prefixes = Running.scan(values[0], ("occupancy", "mean")).rows(-1, None)
    for found in (state, routed, prefixes):
        assert found.result("occupancy").flatten().tolist() == pytest.approx([3000 / 3001] * 2)
        assert found.result("mean").flatten().tolist() == pytest.approx([100 * 2999 / 3001] * 2)


def test_scaling_commutes_with_pooling():
    """To the bit where nothing is summed, also of half precision."""
    factor = torch.tensor([0.7, 3.1, 0.0, 1.0])
    for dtype in (torch.float32, torch.bfloat16):
        values, mask = batch(4, dtype=dtype)
        products = Running.reduce(values.float() * factor, mask, POOLINGS, locate=True)
        scaled = Running.reduce(values, mask, POOLINGS, locate=True).scaled(factor)
        for pooling in ("max", "min", "last", "occupancy"):
            assert scaled.result(pooling).dtype == torch.float32
            assert torch.equal(scaled.result(pooling), products.result(pooling))
        for pooling in ("mean", "std"):
            assert torch.allclose(scaled.result(pooling), products.result(pooling), rtol=1e-6, atol=1e-7)
        assert torch.equal(scaled.source("max")[:, [0, 1, 3]], products.source("max")[:, [0, 1, 3]])


def test_scaling_hides_nothing_that_is_not_finite():
    values, mask = torch.full((1, 2, 2), torch.nan), torch.ones(1, 2, dtype=torch.bool)
    scaled = Running.reduce(values, mask, POOLINGS).scaled(torch.tensor([0.0, 2.0]))
    assert all(scaled.result(pooling).isnan().all() for pooling in POOLINGS)


def test_experts_are_pooled_by_hand():
    margin = torch.tensor([[[1.0, -2.0], [3.0, -4.0], [9.0, 9.0]]])
    neurons, mask = torch.tensor([[[0, 1], [0, 2], [3, 1]]]), torch.tensor([[True, True, False]])
    state = Running.reduce_routed(margin, neurons, 4, mask, ROUTED, locate=True)
    assert state.count.tolist() == [[2, 1, 1, 0]]
    assert state.result("max").tolist() == [[3, -2, -4, 0]]
    assert state.result("min").tolist() == [[1, -2, -4, 0]]
    assert state.result("mean").tolist() == [[2, -2, -4, 0]]
    assert state.result("last").tolist() == [[3, 0, -4, 0]]
    assert state.result("occupancy").tolist() == [[1, 0, 0, 0]]
    assert state.source("max").tolist() == [[1, 0, 1, -1]]
    assert state.source("min").tolist() == [[0, 0, 1, -1]]
    assert state.source("last").tolist() == [[1, -1, 1, -1]]
    assert state.located_from(10).source("min").tolist() == [[10, 10, 11, -1]]


@pytest.mark.parametrize("pooling", ROUTED)
def test_a_neuron_is_pooled_over_the_tokens_of_its_expert(pooling):
    margin, neurons, mask = routed_batch()
    state = Running.reduce_routed(margin, neurons, 15, mask, (pooling,), locate=True)
    for row in range(2):
        values, seen = spread(margin[row][mask[row]], neurons[row][mask[row]], 15)
        assert torch.allclose(state.result(pooling)[row].double(), slow(values, pooling, seen), rtol=1e-6)
        assert torch.equal(state.count[row], seen.sum(0))
        assert not seen[:, 12:].any()
        if state.source(pooling) is None:
            continue
        for neuron, at in enumerate(state.source(pooling)[row].tolist()):
            result = state.result(pooling)[row, neuron]
            tokens = [token for token in range(len(seen)) if seen[token, neuron]]
            same = [token for token in tokens if values[token, neuron] == result]
            if pooling == "last":
                same = same if seen[-1, neuron] else []
            assert at == (same[0] if same else -1)


@pytest.mark.parametrize("pooling", ROUTED)
def test_one_expert_for_all_tokens_is_a_dense_layer(pooling):
    values, mask = batch(7)
    neurons = torch.arange(7).expand(3, 12, 7)
    routed = Running.reduce_routed(values, neurons, 7, mask, (pooling,), locate=True)
    dense = Running.reduce(values, mask, (pooling,), locate=True)
    assert torch.allclose(routed.result(pooling), dense.result(pooling))
    if pooling in ("max", "min", "last"):
        assert torch.equal(routed.source(pooling), dense.source(pooling))


def test_what_experts_have_at_padding_never_matters():
    margin, neurons, mask = routed_batch()
    spoilt = margin.where(mask[..., None], torch.nan)
    moved = neurons.where(mask[..., None], torch.arange(6) + 9)
    state = Running.reduce_routed(margin, neurons, 15, mask, ROUTED, locate=True)
    assert equal(Running.reduce_routed(spoilt, moved, 15, mask, ROUTED, locate=True), state)
    left = mask.flip(1)
    mirrored = Running.reduce_routed(
        torch.cat([margin[:1], margin[1:].roll(5, 1)]),
        torch.cat([neurons[:1], neurons[1:].roll(5, 1)]),
        15,
        left,
        ROUTED,
    )
    for pooling in ROUTED:
        assert torch.equal(mirrored.result(pooling), state.result(pooling))


@pytest.mark.parametrize("pooling", ROUTED)
def test_windows_of_experts_merge_to_the_whole(pooling):
    """A window that has no token of an expert does not count for its neurons."""
    margin, neurons, mask = (part[:1] for part in routed_batch())
    whole = Running.reduce_routed(margin, neurons, 15, mask, (pooling,), locate=True)
    first, later = (
        Running.reduce_routed(margin[:, part], neurons[:, part], 15, mask[:, part], (pooling,), locate=True)
        for part in (slice(0, 2), slice(2, 9))
    )
    assert (first.count == 0).any()
    merged = first.merge(later.located_from(2))
    assert torch.allclose(merged.result(pooling), whole.result(pooling))
    assert torch.equal(merged.count, whole.count)
    if pooling in ("max", "min", "last"):
        assert torch.equal(merged.source(pooling), whole.source(pooling))


@pytest.mark.parametrize("pooling", ROUTED)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_margin_of_an_expert_that_is_not_finite_shows_at_its_neuron_only(pooling, poison):
    margin, neurons, mask = routed_batch()
    margin[0, -1, 0] = -poison if pooling == "min" else poison
    state = Running.reduce_routed(margin, neurons, 15, mask, (pooling,), locate=True)
    assert (~state.result(pooling).isfinite()).nonzero().tolist() == [[0, neurons[0, -1, 0].item()]]
    if pooling in ("max", "min", "last"):
        assert state.source(pooling)[0, neurons[0, -1, 0]] == 8


def test_margins_of_experts_are_put_where_the_table_has_them():
    margin, neurons = torch.tensor([[5.0, 6.0], [7.0, 8.0]]), torch.tensor([[0, 1], [2, 3]])
    values, seen = spread(margin, neurons, 5)
    assert values.tolist() == [[5, 6, 0, 0, 0], [0, 0, 7, 8, 0]]
    assert seen.tolist() == [[True, True, False, False, False], [False, False, True, True, False]]


def test_float32_series_lose_nothing_over_thousands_of_tokens():
    values = torch.rand(5000, 2) ** 3
    exact = Running.scan(values.double(), ("mean", "std"))
    state = Running.scan(values, ("mean", "std"))
    for pooling in ("mean", "std"):
        result = state.result(pooling)
        assert torch.allclose(result, exact.result(pooling), rtol=2e-7, atol=0)
        assert close(result[-1], slow(values, pooling))


def test_a_first_token_far_from_the_others_costs_no_digit():
    values = torch.cat([torch.tensor([1e6], dtype=torch.float64), 1 + torch.rand(40).double() * 1e-3])
    state = Running.scan(values, ("std",))
    single = torch.stack([values[:tokens].std() for tokens in range(2, 42)])
    assert torch.allclose(state.result("std")[1:], single, rtol=1e-12)


def test_equal_tokens_have_no_deviation_at_all():
    values = torch.full((1, 30), 0.1)
    assert (Running.scan(values[0], ("std",)).result("std") == 0).all()
    assert Running.reduce(values, values > 0, ("std",)).result("std").item() == pytest.approx(0, abs=1e-15)


def test_arguments_are_left_as_they_are():
    margin, neurons, mask = routed_batch()
    copies = margin.clone(), neurons.clone(), mask.clone()
    state = Running.reduce(margin, mask, POOLINGS, locate=True)
    routed = Running.reduce_routed(margin, neurons, 15, mask, ROUTED, locate=True)
    scan = Running.scan(margin[0], POOLINGS, before=Running.reduce(margin[:1], mask[:1], POOLINGS))
    kept = [{name: part.clone() for name, part in parts(each).items()} for each in (state, routed, scan)]
    state.merge(state).scaled(torch.ones(6)).located_from(3)
    routed.merge(routed).scaled(torch.ones(15)).located_from(3)
    scan.merge(scan)
    for before, after in zip(copies, (margin, neurons, mask), strict=True):
        assert torch.equal(before, after)
    for before, after in zip(kept, (state, routed, scan), strict=True):
        assert all(torch.equal(part, getattr(after, name)) for name, part in before.items())


@pytest.mark.parametrize("routed", [False, True])
def test_a_reduction_can_be_traced(routed):
    """No branch depends on the values: the graph of one batch holds for another."""
    margin, neurons, mask = routed_batch()

    def reduce(values, index, shown):
        if routed:
            state = Running.reduce_routed(values, index, 15, shown, ROUTED)
        else:
            state = Running.reduce(values, shown, ROUTED)
        return [state.result(pooling) for pooling in ROUTED]

    graph = make_fx(reduce)(margin, neurons, mask)
    other, routes, flags = routed_batch()[0], routed_batch()[1], mask.flip(0)
    for traced, plain in zip(graph(other, routes, flags), reduce(other, routes, flags), strict=True):
        assert torch.equal(traced, plain)


def test_a_pooling_that_does_not_exist_is_refused():
    margin, neurons, mask = routed_batch()
    for call in (
        lambda: Running.reduce(margin, mask, ("median",)),
        lambda: Running.reduce_routed(margin, neurons, 15, mask, ("median",)),
        lambda: Running.scan(margin[0], ("max", "median")),
    ):
        with pytest.raises(BadFeatures, match="pooling 'median' is not one of max, min, mean, last, std"):
            call()
