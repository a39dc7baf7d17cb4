"""Tests geometry/partition.py."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from splinelens.geometry.partition import (
    SPLINE7,
    boundary_distance,
    pool,
    pool_routed,
    pooled_margin,
    sign_fraction,
    signed_margin,
    spline7,
    visits,
)

POOLINGS = ("max", "min", "mean", "last", "occupancy")


def random_margins(tokens=9, neurons=7):
    return torch.randn(tokens, neurons)


def test_signed_margin_by_hand():
    gate = torch.tensor([[3.0, -8.0], [0.0, 2.0]])
    assert signed_margin(gate, torch.tensor([2.0, 4.0])).tolist() == [[1.5, -2.0], [0.0, 0.5]]


def test_boundary_distance_by_hand():
    assert boundary_distance(torch.tensor([[1.5, -2.0, 0.25], [-3.0, -0.5, 9.0]])).tolist() == [0.25, 0.5]


def test_sign_fraction_by_hand_counts_zero_as_off():
    assert sign_fraction(torch.tensor([[1.5, -2.0, 0.0, -0.0], [1.0, 1.0, 1.0, -1.0]])).tolist() == [
        0.25,
        0.75,
    ]


def test_spline7_by_hand():
    seven = spline7(torch.tensor([0.25, 0.75, 0.5]), torch.tensor([3.0, 1.0, 2.0])).tolist()
    assert seven == pytest.approx([0.5, 0.25, 0.75, 0.25, 1.0, 2.0, 1.0])
    assert SPLINE7 == (
        "sign_mean",
        "sign_min",
        "sign_max",
        "sign_std",
        "boundary_min",
        "boundary_mean",
        "boundary_std",
    )


def test_one_token_has_no_deviation():
    assert spline7(torch.tensor([0.25]), torch.tensor([2.0])).tolist() == [
        0.25,
        0.25,
        0.25,
        0.0,
        2.0,
        2.0,
        0.0,
    ]


def test_spline7_is_what_slow_loops_give():
    sign, boundary = torch.rand(3, 11), torch.rand(3, 11)
    got = spline7(sign, boundary)
    assert got.shape == (3, 7)
    for layer in range(3):
        r, m = sign[layer].tolist(), boundary[layer].tolist()
        mean_r, mean_m = sum(r) / 11, sum(m) / 11
        std_r = math.sqrt(sum((value - mean_r) ** 2 for value in r) / 10)
        std_m = math.sqrt(sum((value - mean_m) ** 2 for value in m) / 10)
        expected = [mean_r, min(r), max(r), std_r, min(m), mean_m, std_m]
        assert got[layer].tolist() == pytest.approx(expected, rel=1e-5)


def test_margins_are_what_slow_loops_give():
    gate, norm = torch.randn(2, 4, 5), torch.rand(5) + 0.5
    margin = signed_margin(gate, norm)
    fraction, distance = sign_fraction(margin), boundary_distance(margin)
    for text in range(2):
        for token in range(4):
            slow = [gate[text, token, neuron].item() / norm[neuron].item() for neuron in range(5)]
            assert margin[text, token].tolist() == pytest.approx(slow, rel=1e-6)
            assert fraction[text, token].item() == pytest.approx(sum(value > 0 for value in slow) / 5)
            assert distance[text, token].item() == pytest.approx(min(map(abs, slow)), rel=1e-6)


def test_rescaling_the_rows_of_the_gate_leaves_margins_alone():
    states, weight, bias = torch.randn(6, 8), torch.randn(5, 8), torch.randn(5)
    scale = torch.tensor([0.01, 0.5, 1.0, 3.0, 400.0])
    before = signed_margin(states @ weight.T + bias, weight.norm(dim=1))
    weight, bias = weight * scale[:, None], bias * scale
    after = signed_margin(states @ weight.T + bias, weight.norm(dim=1))
    assert torch.allclose(before, after, rtol=1e-5, atol=1e-6)


def test_boundary_distance_is_the_shortest_step_that_flips_one_sign(tiny_llama):
    """The definition itself: the step is taken at the input of a real MLP, and the gate is run again."""
    gate = tiny_llama.layers[1].mlp.gate_proj.double()
    states = torch.randn(10, 32, dtype=torch.float64)
    with torch.no_grad():
        norm = gate.weight.norm(dim=1)
        margin = signed_margin(gate(states), norm.float())
        distance = boundary_distance(margin).double()
        nearest = margin.abs().argmin(dim=1)
        ways = torch.randn(500, 32, dtype=torch.float64)
        ways = torch.cat([ways, gate.weight, -gate.weight])
        ways = ways / ways.norm(dim=1, keepdim=True)
        for token, state in enumerate(states):
            code = gate(state) > 0
            assert ((gate(state + 0.9999 * distance[token] * ways) > 0) == code).all()
            side = 1.0 if code[nearest[token]] else -1.0
            normal = gate.weight[nearest[token]] / norm[nearest[token]]
            flipped = (gate(state - 1.0001 * side * distance[token] * normal) > 0) != code
            assert flipped.nonzero().flatten().tolist() == [nearest[token].item()]


def test_a_neuron_without_a_hyperplane_has_margin_0_and_is_off():
    margin = signed_margin(torch.tensor([[0.7, -2.0]]), torch.tensor([0.0, 4.0]))
    assert margin.tolist() == [[0.0, -0.5]]
    assert sign_fraction(margin).tolist() == [0.0]


def test_a_layer_without_any_hyperplane_is_infinitely_far():
    assert boundary_distance(torch.empty(3, 0)).tolist() == [math.inf] * 3


def test_a_norm_that_is_not_a_number_shows():
    assert signed_margin(torch.tensor([[1.0]]), torch.tensor([math.nan])).isnan().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_arithmetic_is_float32_whatever_the_dtype_of_the_gate(dtype):
    gate, norm = torch.randn(5, 6).to(dtype), torch.rand(6) + 0.5
    margin = signed_margin(gate, norm)
    assert margin.dtype == torch.float32
    assert torch.allclose(margin, gate.float() / norm)
    assert sign_fraction(gate).dtype == torch.float32


@pytest.mark.parametrize("pooling", POOLINGS)
def test_pooling_is_what_numpy_gives(pooling):
    margin = random_margins()
    array = margin.numpy().astype(np.float64)
    expected = {
        "max": array.max(0),
        "min": array.min(0),
        "mean": array.mean(0),
        "last": array[-1],
        "occupancy": (array > 0).mean(0),
    }[pooling]
    values, where = pooled_margin(margin, pooling)
    assert values.tolist() == pytest.approx(expected.tolist(), rel=1e-6, abs=1e-7)
    assert torch.equal(pool(margin, pooling), values)
    assert (where is not None) == (pooling in ("max", "min"))


def test_the_first_token_that_reaches_a_margin_is_named():
    margin = torch.tensor([[1.0, -4.0], [3.0, -2.0], [3.0, -4.0]])
    assert pooled_margin(margin, "max")[1].tolist() == [1, 1]
    assert pooled_margin(margin, "min")[1].tolist() == [0, 0]


def test_one_token_is_its_own_largest_smallest_mean_and_last():
    margin = random_margins(tokens=1)
    for pooling in ("max", "min", "mean", "last"):
        assert torch.equal(pool(margin, pooling), margin[0])


def test_appending_tokens_only_raises_the_largest_margin():
    margin = random_margins(tokens=30)
    largest = torch.stack([pool(margin[:tokens], "max") for tokens in range(1, 31)])
    smallest = torch.stack([pool(margin[:tokens], "min") for tokens in range(1, 31)])
    assert (largest.diff(dim=0) >= 0).all()
    assert (smallest.diff(dim=0) <= 0).all()


@pytest.mark.parametrize("pooling", ["max", "min", "mean", "occupancy"])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_value_that_is_not_finite_is_never_hidden(pooling, bad):
    margin = random_margins()
    margin[3, 2] = -bad if pooling == "min" else bad
    assert pool(margin, pooling).isfinite().tolist() == [True, True, False, True, True, True, True]


def test_the_distance_of_a_token_with_nan_is_nan():
    assert boundary_distance(torch.tensor([[1.0, math.nan], [1.0, 2.0]])).isnan().tolist() == [True, False]


def test_a_pooling_that_does_not_exist_is_refused():
    with pytest.raises(ValueError, match="pooling 'median' is not one of max, min, mean, last, occupancy"):
        pool(random_margins(), "median")
    with pytest.raises(ValueError, match="pooling 'median' is not one of max, min, mean, last, occupancy"):
        pool_routed(*random_routes(), 15, "median")


def random_routes(tokens=9, experts=5, routes=2, size=3):
    """Margins of the neurons of two experts a token, and the numbers of these; expert 4 is never chosen."""
    chosen = torch.stack([torch.randperm(experts - 1)[:routes].sort().values for _ in range(tokens)])
    neurons = (chosen[..., None] * size + torch.arange(size)).flatten(1)
    return torch.randn(tokens, routes * size), neurons


def test_each_token_may_have_norms_of_its_own():
    gate, norm = torch.randn(4, 3), torch.rand(4, 3) + 0.5
    found = signed_margin(gate, norm)
    for token in range(4):
        assert torch.equal(found[token], signed_margin(gate[token, None], norm[token])[0])


def test_margins_of_experts_are_pooled_by_hand():
    margin, neurons = torch.tensor([[1.0, -2.0], [3.0, -4.0]]), torch.tensor([[0, 1], [0, 2]])
    assert pool_routed(margin, neurons, 4, "min")[0].tolist() == [1, -2, -4, 0]
    assert pool_routed(margin, neurons, 4, "mean")[0].tolist() == [2, -2, -4, 0]
    assert pool_routed(margin, neurons, 4, "last")[0].tolist() == [3, 0, -4, 0]
    assert pool_routed(margin, neurons, 4, "occupancy")[0].tolist() == [1, 0, 0, 0]
    assert visits(neurons, 4).tolist() == [2, 1, 1, 0]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_neuron_is_pooled_over_the_tokens_of_its_expert(pooling):
    margin, neurons = random_routes()
    found, where = pool_routed(margin, neurons, 15, pooling)
    for neuron in range(15):
        there = (neurons == neuron).nonzero().tolist()
        own = torch.tensor([margin[token, slot] for token, slot in there])
        assert visits(neurons, 15)[neuron] == len(own)
        if pooling == "last":
            expected = own[-1] if there and there[-1][0] == 8 else torch.tensor(0.0)
        elif pooling == "occupancy":
            expected = (own > 0).sum() / 9
        else:
            expected = pool(own[:, None], pooling)[0] if there else torch.tensor(0.0)
        assert found[neuron].item() == pytest.approx(expected.item(), rel=1e-6)
        if where is not None:
            assert where[neuron] == (there[own.tolist().index(found[neuron].item())][0] if there else -1)
    assert (where is None) == (pooling not in ("max", "min"))


@pytest.mark.parametrize("pooling", POOLINGS)
def test_one_expert_for_all_tokens_is_a_dense_layer(pooling):
    margin = random_margins()
    found, where = pool_routed(margin, torch.arange(7).repeat(9, 1), 7, pooling)
    dense, there = pooled_margin(margin, pooling)
    assert torch.allclose(found, dense)
    assert where is None or torch.equal(where, there)


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_margin_of_an_expert_that_is_not_a_number_shows_at_its_own_neuron_alone(pooling):
    margin, neurons = random_routes()
    margin[-1, 0] = torch.nan
    found, where = pool_routed(margin, neurons, 15, pooling)
    assert found.isnan().nonzero().tolist() == [[neurons[-1, 0].item()]]
    assert where is None or where[neurons[-1, 0]] == 8


def test_arguments_are_left_as_they_are():
    gate, norm = torch.randn(5, 6), torch.rand(6) + 0.5
    gate_before, norm_before = gate.clone(), norm.clone()
    margin = signed_margin(gate, norm)
    margin_before = margin.clone()
    sign_fraction(margin), boundary_distance(margin)
    last = [pooled_margin(margin, pooling)[0] for pooling in POOLINGS][3]
    last += 1
    assert torch.equal(gate, gate_before)
    assert torch.equal(norm, norm_before)
    assert torch.equal(margin, margin_before)


@pytest.mark.parametrize(
    "call",
    [
        lambda: signed_margin(torch.ones(2, 3), torch.ones(2)),
        lambda: spline7(torch.ones(3, 4), torch.ones(3, 5)),
        lambda: pool(torch.ones(2, 3, 4), "max"),
        lambda: boundary_distance(torch.ones(2, 3, dtype=torch.int64)),
    ],
)
def test_wrong_shapes_and_types_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()
