"""Tests geometry/partition.py."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError

from splinelens.geometry.partition import (
    boundary_distance,
    margin_scale,
    sign_fraction,
    signed_margin,
    spline7,
)
from splinelens.geometry.running import Running
from splinelens.geometry.settings import BOUNDARY_POOLINGS, SIGN_POOLINGS, SPLINE7


def seven_of(sign, boundary):
    """The seven features of texts, (text, token, ...) in."""
    mask = torch.ones(sign.shape[:2], dtype=torch.bool)
    return spline7(
        Running.reduce(sign, mask, SIGN_POOLINGS), Running.reduce(boundary, mask, BOUNDARY_POOLINGS)
    )


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
    seven = seven_of(torch.tensor([[0.25, 0.75, 0.5]]), torch.tensor([[3.0, 1.0, 2.0]]))
    assert seven.tolist() == [pytest.approx([0.5, 0.25, 0.75, 0.25, 1.0, 2.0, 1.0])]
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
    seven = seven_of(torch.tensor([[0.25]]), torch.tensor([[2.0]]))
    assert seven.tolist() == [[0.25, 0.25, 0.25, 0.0, 2.0, 2.0, 0.0]]


def test_the_seven_features_of_each_prefix_by_hand():
    sign = Running.scan(torch.tensor([0.25, 0.75, 0.5]), SIGN_POOLINGS)
    boundary = Running.scan(torch.tensor([2.0, 4.0, 0.0]), BOUNDARY_POOLINGS)
    expected = [
        [0.25, 0.25, 0.25, 0, 2, 2, 0],
        [0.5, 0.25, 0.75, 0.125**0.5, 2, 3, 2**0.5],
        [0.5, 0.25, 0.75, 0.25, 0, 2, 2],
    ]
    assert torch.allclose(spline7(sign, boundary), torch.tensor(expected))


def test_spline7_is_what_slow_loops_give():
    sign, boundary = torch.rand(2, 11, 3), torch.rand(2, 11, 3)
    seven = seven_of(sign, boundary)
    assert (seven.shape, seven.dtype) == ((2, 3, 7), torch.float32)
    for text in range(2):
        for layer in range(3):
            r, m = sign[text, :, layer].tolist(), boundary[text, :, layer].tolist()
            mean_r, mean_m = sum(r) / 11, sum(m) / 11
            std_r = math.sqrt(sum((value - mean_r) ** 2 for value in r) / 10)
            std_m = math.sqrt(sum((value - mean_m) ** 2 for value in m) / 10)
            expected = [mean_r, min(r), max(r), std_r, min(m), mean_m, std_m]
            assert seven[text, layer].tolist() == pytest.approx(expected, rel=1e-5)


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


def test_rescaling_the_rows_of_the_gate_leaves_margins_unchanged():
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
    assert margin_scale(torch.tensor([0.0, 4.0])).tolist() == [0.0, 0.25]
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


def test_the_distance_of_a_token_with_nan_is_nan():
    assert boundary_distance(torch.tensor([[1.0, math.nan], [1.0, 2.0]])).isnan().tolist() == [True, False]


def test_each_token_may_have_other_norms():
    gate, norm = torch.randn(4, 3), torch.rand(4, 3) + 0.5
    found = signed_margin(gate, norm)
    for token in range(4):
        assert torch.equal(found[token], signed_margin(gate[token, None], norm[token])[0])


def test_arguments_are_left_as_they_are():
    gate, norm = torch.randn(5, 6), torch.rand(6) + 0.5
    gate_before, norm_before = gate.clone(), norm.clone()
    margin = signed_margin(gate, norm)
    margin_before = margin.clone()
    sign_fraction(margin), boundary_distance(margin)
    assert torch.equal(gate, gate_before)
    assert torch.equal(norm, norm_before)
    assert torch.equal(margin, margin_before)


@pytest.mark.parametrize(
    "call",
    [
        lambda: signed_margin(torch.ones(2, 3), torch.ones(2)),
        lambda: spline7(torch.ones(3, 4), torch.ones(3, 4)),
        lambda: boundary_distance(torch.ones(2, 3, dtype=torch.int64)),
    ],
)
def test_wrong_shapes_and_types_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()
