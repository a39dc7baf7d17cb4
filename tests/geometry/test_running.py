"""Tests geometry/running.py: every prefix at once is every prefix alone."""

import pytest
import torch

from splinelens.geometry.partition import SPLINE7, pool, spline7
from splinelens.geometry.running import Running, running_pool, running_spline7, spread

POOLINGS = ("max", "min", "mean", "last", "occupancy")


def series(layers=4, tokens=50, dtype=torch.float64, seed=0):
    dice = torch.Generator().manual_seed(seed)
    sign = torch.rand(layers, tokens, generator=dice, dtype=dtype)
    return sign, torch.rand(layers, tokens, generator=dice, dtype=dtype) ** 3


def test_the_seven_features_of_each_prefix_by_hand():
    found = running_spline7(torch.tensor([0.25, 0.75, 0.5]), torch.tensor([2.0, 4.0, 0.0]))
    assert torch.allclose(
        found,
        torch.tensor(
            [
                [0.25, 0.25, 0.25, 0, 2, 2, 0],
                [0.5, 0.25, 0.75, 0.125**0.5, 2, 3, 2**0.5],
                [0.5, 0.25, 0.75, 0.25, 0, 2, 2],
            ]
        ),
    )


def test_the_prefixes_of_a_series_are_what_each_gives_alone():
    sign, boundary = series()
    found = running_spline7(sign, boundary)
    for tokens in range(1, 51):
        alone = spline7(sign[:, :tokens], boundary[:, :tokens])
        assert torch.allclose(found[:, tokens - 1], alone, rtol=1e-9, atol=1e-12)


def test_float32_series_lose_nothing_over_thousands_of_tokens():
    sign, boundary = series(1, 5000)
    exact = running_spline7(sign.float().double(), boundary.float().double())
    found = running_spline7(sign.float(), boundary.float())
    assert found.dtype == torch.float32
    assert torch.allclose(found.double(), exact, rtol=2e-7, atol=0)


def test_a_first_token_far_from_the_others_costs_no_digit():
    boundary = torch.cat([torch.tensor([1e6], dtype=torch.float64), 1 + series(1, 40)[1][0] * 1e-3])
    found = running_spline7(boundary, boundary)[..., SPLINE7.index("boundary_std")]
    alone = torch.stack([boundary[:tokens].std() for tokens in range(2, 42)])
    assert torch.allclose(found[1:], alone, rtol=1e-12)


def test_equal_tokens_have_no_deviation_at_all():
    found = running_spline7(torch.full((30,), 0.1), torch.full((30,), 0.3))
    assert (found[:, [3, 6]] == 0).all()


@pytest.mark.parametrize("pooling", POOLINGS)
def test_the_pools_of_a_series_are_what_each_prefix_gives_alone(pooling):
    values = torch.randn(40, 7, dtype=torch.float64)
    found = running_pool(values, pooling)
    alone = torch.stack([pool(values[:tokens], pooling) for tokens in range(1, 41)])
    assert torch.allclose(found, alone, rtol=1e-9, atol=1e-12)


def test_pools_by_hand():
    values = torch.tensor([[1.0, -2.0], [3.0, -4.0], [-1.0, 6.0]])
    assert running_pool(values, "max").tolist() == [[1, -2], [3, -2], [3, 6]]
    assert running_pool(values, "min").tolist() == [[1, -2], [1, -4], [-1, -4]]
    assert running_pool(values, "mean").tolist() == [[1, -2], [2, -3], [1, 0]]
    assert running_pool(values, "last").tolist() == values.tolist()
    assert torch.allclose(running_pool(values, "occupancy"), torch.tensor([[1, 0], [1, 0], [2 / 3, 1 / 3]]))


@pytest.mark.parametrize("pooling", POOLINGS)
@pytest.mark.parametrize("poison", [torch.nan, torch.inf])
def test_a_value_that_is_not_finite_shows_from_its_token_on_or_does_not_matter(pooling, poison):
    values = torch.randn(6, 2)
    values[3, 0] = poison
    found = running_pool(values, pooling)
    assert found[:3].isfinite().all()
    assert found[:, 1].isfinite().all()
    harmless = pooling == "min" and poison == torch.inf
    assert bool(found[3, 0].isfinite()) == harmless
    assert found[4:, 0].isfinite().all() == (harmless or pooling == "last")


def test_margins_of_experts_are_put_where_the_table_has_them():
    margin, neurons = torch.tensor([[5.0, 6.0], [7.0, 8.0]]), torch.tensor([[0, 1], [2, 3]])
    values, seen = spread(margin, neurons, 5)
    assert values.tolist() == [[5, 6, 0, 0, 0], [0, 0, 7, 8, 0]]
    assert seen.tolist() == [[True, True, False, False, False], [False, False, True, True, False]]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_neurons_of_experts_are_pooled_over_the_tokens_that_saw_them(pooling):
    values, seen = torch.randn(30, 6, dtype=torch.float64), torch.rand(30, 6) < 0.3
    seen[:, 0] = False
    values = torch.where(seen, values, 0)
    found = running_pool(values, pooling, seen)
    for token in range(30):
        for neuron in range(6):
            there = seen[: token + 1, neuron]
            own = values[: token + 1, neuron][there][:, None]
            if pooling == "last":
                expected = values[token, neuron]
            elif pooling == "occupancy":
                expected = (own > 0).double().sum() / (token + 1)
            else:
                expected = pool(own, pooling)[0] if len(own) else torch.tensor(0.0)
            assert found[token, neuron].item() == pytest.approx(expected.item(), rel=1e-9, abs=1e-12)


def test_the_state_gives_every_prefix_too():
    values = torch.randn(30, 4)
    state = Running.started((4,))
    for tokens in range(1, 31):
        state = state.advanced(values[tokens - 1])
        exact = values[:tokens].double()
        for pooling in ("max", "min", "mean", "last"):
            assert torch.allclose(state.pooled(pooling), pool(exact, pooling), rtol=1e-9, atol=1e-12)
        deviation = exact.std(0) if tokens > 1 else torch.zeros(4, dtype=torch.float64)
        assert torch.allclose(state.pooled("std"), deviation, rtol=1e-9, atol=1e-12)


def test_the_state_counts_only_what_it_saw():
    values, seen = torch.randn(20, 3, dtype=torch.float64), torch.rand(20, 3) < 0.5
    seen[:, 2] = False
    state = Running.started((3,))
    for value, there in zip(values, seen, strict=True):
        state = state.advanced(value, there)
    for pooling in ("max", "min", "mean", "last"):
        expected = running_pool(torch.where(seen, values, 0), pooling, seen)[-1]
        assert torch.allclose(state.pooled(pooling), expected, rtol=1e-9, atol=1e-12)
    assert state.count.tolist() == seen.sum(0).tolist()


def test_an_update_leaves_the_earlier_state_alone():
    first = Running.started((2,)).advanced(torch.tensor([1.0, 2.0]))
    kept = [getattr(first, name).clone() for name in ("count", "last", "low", "high", "mean", "square")]
    first.advanced(torch.tensor([5.0, -5.0]))
    now = (first.count, first.last, first.low, first.high, first.mean, first.square)
    assert all(map(torch.equal, kept, now))


def test_nothing_seen_is_nothing():
    state = Running.started((2, 3))
    assert all((state.pooled(name) == 0).all() for name in ("max", "min", "mean", "last", "std"))


def test_a_pooling_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="pooling 'median' is not one of max, min, mean, last, occupancy"):
        running_pool(torch.ones(2, 2), "median")
    with pytest.raises(ValueError, match="pooling 'median' is not one of max, min, mean, last, std"):
        Running.started((1,)).pooled("median")
