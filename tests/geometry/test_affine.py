"""Tests geometry/affine.py."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError
from torch.nn import functional

from splinelens.errors import BadFeatures
from splinelens.geometry.affine import RegionMap, first_order_map, piecewise_map
from splinelens.geometry.walls import crossing_step

WIDTH, NEURONS, OUT = 10, 40, 7
ACTIVATIONS = ("relu", "silu", "gelu", "gelu_new", "leaky_relu", "gelu_pytorch_tanh", "relu2", "tanh")


def activation_named(name):
    from transformers.activations import ACT2FN

    return ACT2FN[name]


def random_mlp(dtype=torch.float64, neurons=NEURONS, width=WIDTH, out=OUT):
    """First weight and bias, last weight and bias."""
    shapes = ((neurons, width), (neurons,), (out, neurons), (out,))
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def random_gated(dtype=torch.float64):
    """Gate, up and down: each a weight and a bias."""
    shapes = ((NEURONS, WIDTH), (NEURONS,), (NEURONS, WIDTH), (NEURONS,), (OUT, NEURONS), (OUT,))
    return [torch.randn(shape, dtype=dtype) for shape in shapes]


def point_of(width=WIDTH, dtype=torch.float64):
    return torch.randn(width, dtype=dtype)


def ungated(x, weights, activation):
    weight, bias, out_weight, out_bias = weights
    return activation(x @ weight.T + bias) @ out_weight.T + out_bias


def gated(x, weights, activation):
    gate_weight, gate_bias, up_weight, up_bias, down_weight, down_bias = weights
    hidden = activation(x @ gate_weight.T + gate_bias) * (x @ up_weight.T + up_bias)
    return hidden @ down_weight.T + down_bias


def every_map():
    """One map of each kind and form, and its MLP."""
    plain, branched, point = random_mlp(), random_gated(), point_of()
    return [
        (piecewise(point, *plain), lambda x: ungated(x, plain, torch.relu)),
        (smooth(point, *plain, functional.gelu), lambda x: ungated(x, plain, functional.gelu)),
        (gated_tangent(point, *branched, functional.silu), lambda x: gated(x, branched, functional.silu)),
    ]


def piecewise(point, weight, bias, out_weight, out_bias, slope=0.0):
    return piecewise_map(point, (weight, bias), (out_weight, out_bias), slope)


def smooth(point, weight, bias, out_weight, out_bias, activation):
    return first_order_map(point, (weight, bias), (out_weight, out_bias), activation)


def gated_tangent(point, gate, gate_bias, up, up_bias, down, down_bias, activation):
    return first_order_map(point, (gate, gate_bias), (down, down_bias), activation, up=(up, up_bias))


def dense(region):
    """J as a matrix."""
    return region.linear(torch.eye(len(region.point), dtype=region.value.dtype)).T


def at_0(region):
    """What the map gives at 0: the b of ``A x + b``."""
    return region.apply(torch.zeros_like(region.point))


def test_a_piecewise_map_by_hand():
    """Gates 2 and -3; the second neuron counts a tenth: A = [1*2, 0.1*5] on rows (1, 0) and (0, 1)."""
    region = piecewise(
        torch.tensor([1.0, -3.0]), torch.eye(2), torch.tensor([1.0, 0.0]), torch.tensor([[2.0, 5.0]]),
        torch.tensor([7.0]), slope=0.1,
    )  # fmt: skip
    assert dense(region)[0].tolist() == pytest.approx([2.0, 0.5])
    assert region.value.tolist() == pytest.approx([2 * 2 - 1.5 + 7])
    assert region.apply(torch.zeros(2)).tolist() == pytest.approx([2 * 1 + 7])


@pytest.mark.parametrize(
    ("slope", "activation"),
    [(0.0, torch.relu), (0.01, functional.leaky_relu), (-1.0, torch.abs), (1.0, lambda gate: gate)],
)
def test_the_affine_map_is_the_mlp_inside_the_region_and_not_outside(slope, activation):
    weights = random_mlp()
    weight, bias = weights[:2]
    for point in torch.randn(20, WIDTH, dtype=torch.float64):
        region = piecewise(point, *weights, slope=slope)
        assert region.kind == "exact"
        crossing = crossing_step(point, weight, bias)
        ways = torch.randn(100, WIDTH, dtype=torch.float64)
        near = point + 0.999 * crossing.distance * ways / ways.norm(dim=1, keepdim=True)
        far = point + 3 * ways
        code = weight @ point + bias > 0
        inside = torch.cat([near, far[((far @ weight.T + bias > 0) == code).all(dim=1)]])
        outside = far[((far @ weight.T + bias > 0) != code).any(dim=1)]
        assert torch.allclose(
            region.apply(inside), ungated(inside, weights, activation), rtol=1e-10, atol=1e-10
        )
        assert len(outside) > 90
        error = (region.apply(outside) - ungated(outside, weights, activation)).norm(dim=1)
        assert (error > 1e-6).all() if slope != 1 else (error < 1e-10).all()


def test_the_affine_map_changes_when_a_single_wall_is_crossed():
    weights, point = random_mlp(), point_of()
    crossing = crossing_step(point, *weights[:2])
    before, after = (piecewise(x, *weights) for x in (point, point + crossing.step))
    jump = dense(after) - dense(before)
    outer = torch.outer(weights[2][:, crossing.neuron], weights[0][crossing.neuron])
    sign = 1.0 if torch.allclose(jump, outer) else -1.0
    assert torch.allclose(jump, sign * outer, rtol=1e-10, atol=1e-10)  # of rank one: the neuron's own part


def test_the_offset_is_the_formula_of_the_region():
    weight, bias, out_weight, out_bias = weights = random_mlp()
    point, slope = point_of(), 0.3
    on = (weight @ point + bias > 0).double()
    scale = on + slope * (1 - on)
    region = piecewise(point, *weights, slope=slope)
    assert torch.allclose(dense(region), out_weight @ torch.diag(scale) @ weight, rtol=1e-12, atol=1e-12)
    assert torch.allclose(at_0(region), out_weight @ (scale * bias) + out_bias, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_the_first_order_maps_are_the_jacobians_of_autograd(name):
    activation = activation_named(name)
    plain, branched, point = random_mlp(), random_gated(), point_of()
    for region, mlp in (
        (smooth(point, *plain, activation), lambda x: ungated(x, plain, activation)),
        (gated_tangent(point, *branched, activation), lambda x: gated(x, branched, activation)),
    ):
        jacobian = torch.autograd.functional.jacobian(mlp, point)
        assert region.kind == "first-order"
        assert torch.allclose(dense(region), jacobian, rtol=1e-10, atol=1e-10)
        assert torch.allclose(region.value, mlp(point), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("slope", [0.0, 0.01])
def test_a_piecewise_map_is_the_smooth_map_of_the_same_activation(slope):
    weights, point = random_mlp(), point_of()
    exact = piecewise(point, *weights, slope=slope)
    tangent = smooth(point, *weights, lambda gate: functional.leaky_relu(gate, slope))
    assert torch.allclose(dense(exact), dense(tangent), rtol=1e-12, atol=1e-12)
    assert (exact.kind, tangent.kind) == ("exact", "first-order")


@pytest.mark.parametrize("name", ["silu", "gelu", "gelu_new"])
def test_the_error_of_a_first_order_map_shrinks_as_the_square_of_the_step(name):
    activation = activation_named(name)
    plain, branched, point, way = random_mlp(), random_gated(), point_of(), point_of()
    for region, mlp in (
        (smooth(point, *plain, activation), lambda x: ungated(x, plain, activation)),
        (gated_tangent(point, *branched, activation), lambda x: gated(x, branched, activation)),
    ):
        errors = [
            float((region.apply(point + h * way) - mlp(point + h * way)).norm()) for h in (1e-3, 5e-4, 2.5e-4)
        ]
        assert errors[0] > 1e-7  # it is not exact
        assert errors[0] / errors[1] == pytest.approx(4, rel=0.02)
        assert errors[1] / errors[2] == pytest.approx(4, rel=0.02)


def test_with_a_relu_gate_and_no_biases_j_x_is_twice_f_x():
    gate, _, up, _, down, _ = random_gated()
    for point in torch.randn(20, WIDTH, dtype=torch.float64):
        region = gated_tangent(point, gate, None, up, None, down, None, torch.relu)
        assert torch.allclose(region.linear(point), 2 * region.value, rtol=1e-10, atol=1e-10)
        assert torch.allclose(at_0(region), -region.value, rtol=1e-10, atol=1e-10)


def test_without_biases_an_ungated_relu_mlp_has_no_offset():
    weight, _, out_weight, _ = random_mlp()
    assert at_0(piecewise(point_of(), weight, None, out_weight, None)).abs().max() < 1e-12


def test_the_map_is_the_mlp_at_its_own_point():
    for region, mlp in every_map():
        assert torch.equal(region.apply(region.point), region.value)
        assert torch.allclose(region.value, mlp(region.point), rtol=1e-12, atol=1e-12)


def test_the_operators_are_what_the_dense_matrix_gives():
    for region, _ in every_map():
        steps, covectors = torch.randn(2, 3, WIDTH).double(), torch.randn(2, 3, OUT).double()
        matrix = dense(region)
        assert torch.allclose(region.linear(steps), steps @ matrix.T, rtol=1e-11, atol=1e-11)
        assert torch.allclose(region.transposed(covectors), covectors @ matrix, rtol=1e-11, atol=1e-11)
        assert torch.allclose(region.linear(steps[0, 0]), matrix @ steps[0, 0], rtol=1e-11, atol=1e-11)
        moved = region.value + (steps - region.point) @ matrix.T
        assert torch.allclose(region.apply(steps), moved, rtol=1e-11, atol=1e-11)


def test_the_transposed_map_is_the_adjoint():
    for region, _ in every_map():
        for _ in range(20):
            step, covector = point_of(), point_of(OUT)
            left, right = region.linear(step) @ covector, step @ region.transposed(covector)
            assert left.item() == pytest.approx(right.item(), rel=1e-11, abs=1e-11)


def test_norms_and_spectrum_are_what_numpy_gives_on_the_dense_matrix():
    for region, _ in every_map():
        matrix = dense(region).numpy()
        singular = np.linalg.svd(matrix, compute_uv=False)
        share = singular / singular.sum()
        assert region.norm() == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-10)
        assert region.frobenius() == pytest.approx(np.linalg.norm(matrix), rel=1e-12)
        assert region.singular_values().numpy() == pytest.approx(singular, rel=1e-8)
        assert region.effective_rank() == pytest.approx(math.exp(-(share * np.log(share)).sum()), rel=1e-8)
        assert region.norm() <= region.frobenius()


@pytest.mark.parametrize(("width", "out"), [(1100, 5), (5, 1100)])
def test_norms_and_spectrum_of_more_rows_or_columns_than_a_block(width, out):
    region = smooth(point_of(width), *random_mlp(neurons=1100, width=width, out=out), torch.tanh)
    matrix = dense(region).numpy()
    assert region.frobenius() == pytest.approx(np.linalg.norm(matrix), rel=1e-12)
    assert region.singular_values().numpy() == pytest.approx(
        np.linalg.svd(matrix, compute_uv=False), rel=1e-8
    )


@pytest.mark.parametrize(("width", "out"), [(12, 5), (5, 12), (1, 1), (1, 4), (4, 1)])
def test_the_spectrum_of_matrices_of_every_form_is_numpys(width, out):
    region = smooth(point_of(width), *random_mlp(width=width, out=out), torch.tanh)
    singular = np.linalg.svd(dense(region).numpy(), compute_uv=False)
    assert region.singular_values().numpy() == pytest.approx(singular, rel=1e-8)
    assert region.norm() == pytest.approx(singular[0], rel=1e-9)


def test_the_norm_is_found_where_the_largest_values_lie_close_together():
    """A hundred values within one in a thousand: plain power iteration would need thousands of steps."""
    spectrum = torch.linspace(1.0, 1.001, 100, dtype=torch.float64)
    region = piecewise(torch.ones(100).double(), torch.diag(spectrum), None, torch.eye(100).double(), None)
    assert region.norm() == pytest.approx(1.001, rel=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_identity_uses_every_direction(dtype):
    eye = torch.eye(33, dtype=dtype)
    region = piecewise(torch.ones(33, dtype=dtype), eye, None, eye, None)
    assert region.effective_rank() == pytest.approx(33, rel=1e-7)
    assert region.norm() == pytest.approx(1, rel=1e-6)
    assert region.frobenius() == pytest.approx(33**0.5, rel=1e-7)


def test_the_effective_rank_counts_the_neurons_that_are_on_if_they_read_and_write_apart():
    eye = torch.eye(9, dtype=torch.float64)
    point = torch.tensor([1.0, 1, 1, 1, -1, -1, -1, -1, -1], dtype=torch.float64)
    assert piecewise(point, eye, None, eye, None).effective_rank() == pytest.approx(4, rel=1e-6)


def test_scaling_the_output_scales_the_norm_and_leaves_the_effective_rank():
    weight, bias, out_weight, _ = random_mlp()
    point = point_of()
    one = piecewise(point, weight, bias, out_weight, None)
    two = piecewise(point, weight, bias, 5 * out_weight, None)
    assert two.norm() == pytest.approx(5 * one.norm(), rel=1e-9)
    assert two.effective_rank() == pytest.approx(one.effective_rank(), rel=1e-9)


def test_a_region_where_no_neuron_is_on_has_the_map_0():
    eye = torch.eye(3)
    region = piecewise(-torch.ones(3), eye, None, eye, torch.tensor([1.0, 2.0, 3.0]))
    assert (region.norm(), region.frobenius(), region.effective_rank()) == (0, 0, 0)
    assert region.apply(torch.randn(4, 3)).tolist() == [[1.0, 2.0, 3.0]] * 4


@pytest.mark.parametrize("context", [torch.no_grad, torch.inference_mode, torch.enable_grad])
def test_derivatives_are_there_whatever_the_caller_does_with_gradients(context):
    weights, point = random_gated(), point_of()
    expected = dense(gated_tangent(point, *weights, functional.silu))
    with context():
        inner = [
            each.clone().requires_grad_() if context is torch.enable_grad else each.clone()
            for each in weights
        ]
        region = gated_tangent(point.clone(), *inner, functional.silu)
        matrix = dense(region)
    assert torch.equal(matrix, expected)
    assert not any(
        each.requires_grad for each in (region.value, *region.scales, matrix, region.linear(point))
    )


@pytest.mark.parametrize("activation", [torch.nn.ReLU(inplace=True), torch.nn.SiLU(inplace=True)])
def test_an_activation_may_work_in_place(activation):
    weights, point = random_gated(), point_of()
    free = type(activation)()
    assert torch.equal(
        dense(gated_tangent(point, *weights, activation)), dense(gated_tangent(point, *weights, free))
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_arithmetic_is_float32_whatever_the_dtype_of_the_weights(dtype):
    weights, point = [each.to(dtype) for each in random_gated(torch.float32)], point_of(dtype=torch.float32)
    region = gated_tangent(point, *weights, functional.silu)
    slow = gated_tangent(point.double(), *(each.double() for each in weights), functional.silu)
    assert (region.value.dtype, dense(region).dtype, slow.value.dtype) == (
        torch.float32,
        torch.float32,
        torch.float64,
    )
    assert torch.allclose(dense(region).double(), dense(slow), rtol=1e-4, atol=1e-3)
    assert region.norm() == pytest.approx(slow.norm(), rel=1e-5)
    assert region.effective_rank() == pytest.approx(slow.effective_rank(), rel=1e-5)
    assert region.apply(point.to(dtype)).dtype == torch.float32
    assert gated_tangent(point.to(dtype), *weights, functional.silu).value.dtype == torch.float32


def test_more_neurons_than_a_block_and_a_real_layer(tiny_llama):
    weights, point = random_mlp(neurons=2500), point_of()
    region = smooth(point, *weights, functional.gelu)
    jacobian = torch.autograd.functional.jacobian(lambda x: ungated(x, weights, functional.gelu), point)
    assert torch.allclose(dense(region), jacobian, rtol=1e-9, atol=1e-9)
    assert torch.allclose(region.linear(point), jacobian @ point, rtol=1e-9, atol=1e-9)
    mlp, state = tiny_llama.layers[1].mlp, point_of(32, torch.float32)
    region = gated_tangent(
        state, mlp.gate_proj.weight, None, mlp.up_proj.weight, None, mlp.down_proj.weight, None, mlp.act_fn
    )
    jacobian = torch.autograd.functional.jacobian(mlp, state)
    assert torch.allclose(dense(region), jacobian, rtol=1e-4, atol=1e-5)
    assert torch.allclose(region.value, mlp(state), rtol=1e-4, atol=1e-5)


def test_the_weights_are_kept_and_not_copied():
    weights = random_gated()
    region = gated_tangent(point_of(), *weights, functional.silu)
    kept = [*region.weights, region.out_weight]
    assert [each.data_ptr() for each in kept] == [weights[place].data_ptr() for place in (0, 2, 4)]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("place", range(6))
def test_weights_that_are_not_finite_are_refused(place, bad):
    weights = [each.clone() for each in random_gated()]
    weights[place].view(-1)[0] = bad
    words = "the gate of neuron 0 is" if place < 4 else "the MLP gives .* at width 0: its last weight or bias"
    with pytest.raises(BadFeatures, match=words):
        gated_tangent(point_of(), *weights, functional.silu)


def test_a_last_weight_that_is_not_finite_shows_even_behind_a_neuron_that_is_off():
    weights = random_mlp()
    weights[1][0] = -1000.0
    weights[2][3, 0] = math.inf
    with pytest.raises(BadFeatures, match="the MLP gives nan at width 3"):
        piecewise(point_of(), *weights)


def test_a_point_or_a_slope_that_is_not_finite_is_refused():
    weights, point = random_mlp(), point_of()
    with pytest.raises(BadFeatures, match="the activation's slope is nan; it must be finite"):
        piecewise(point, *weights, slope=math.nan)
    point[2] = math.inf
    for build in (piecewise, lambda *all_: smooth(*all_, torch.relu)):
        with pytest.raises(BadFeatures, match="the point is inf at width 2"):
            build(point, *weights)


@pytest.mark.parametrize(
    "activation", [lambda gate: (gate > 0).double(), lambda gate: gate[:-1], lambda gate: gate.sum()]
)
def test_an_activation_without_a_derivative_for_each_neuron_is_refused(activation):
    with pytest.raises(BadFeatures, match=r"the activation .* has no derivative for each neuron"):
        smooth(point_of(), *random_mlp(), activation)


def test_arguments_are_left_as_they_are():
    weights, point = random_gated(), point_of()
    before = [each.clone() for each in (*weights, point)]
    region = gated_tangent(point, *weights, functional.silu)
    assert isinstance(region, RegionMap)
    (
        region.apply(point),
        region.transposed(region.value),
        region.norm(),
        region.effective_rank(),
    )
    assert all(torch.equal(one, two) for one, two in zip(before, (*weights, point), strict=True))


@pytest.mark.parametrize(
    "call",
    [
        lambda: piecewise(torch.ones(3), torch.ones(4, 2), None, torch.ones(5, 4), None),
        lambda: piecewise(torch.ones(2), torch.ones(4, 2), None, torch.ones(4, 5), None),
        lambda: smooth(torch.ones(2), torch.ones(4, 2), None, torch.ones(5, 4), torch.ones(4), torch.relu),
        lambda: gated_tangent(
            torch.ones(2), torch.ones(4, 2), None, torch.ones(3, 2), None, torch.ones(2, 4), None, torch.relu
        ),
    ],
)
def test_wrong_shapes_and_types_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()
