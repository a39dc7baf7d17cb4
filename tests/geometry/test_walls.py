"""Tests geometry/walls.py."""

import math

import pytest
import torch
from jaxtyping import TypeCheckError

from splinelens.errors import BadFeatures
from splinelens.geometry.codes import hamming, region_code
from splinelens.geometry.partition import boundary_distance, signed_margin
from splinelens.geometry.walls import Crossing, crossing_step, gate_at, nearest_wall


def random_layer(neurons=60, width=12, dtype=torch.float64):
    weight = torch.randn(neurons, width, dtype=dtype) * (torch.rand(neurons, 1, dtype=dtype) + 0.5)
    return weight, torch.randn(neurons, dtype=dtype)


def flips(point, moved, weight, bias):
    """Which neurons change sign between two points: read from the definition, in float64."""
    before = weight.double() @ point.double() + bias.double() > 0
    after = weight.double() @ moved.double() + bias.double() > 0
    return (before != after).nonzero().flatten().tolist()


def test_the_nearest_wall_by_hand():
    distance, neuron = nearest_wall(torch.tensor([[1.5, -2.0, 0.25], [-3.0, -0.5, 9.0]]))
    assert distance.tolist() == [0.25, 0.5]
    assert neuron.tolist() == [2, 1]


def test_the_nearest_wall_is_at_the_boundary_distance():
    margin = torch.randn(3, 5, 20)
    distance, neuron = nearest_wall(margin)
    assert torch.equal(distance, boundary_distance(margin))
    assert torch.equal(margin.gather(-1, neuron[..., None])[..., 0].abs(), distance)


def test_a_neuron_without_a_hyperplane_is_never_the_nearest_wall():
    weight = torch.randn(6, 4)
    weight[2] = 0
    margin = signed_margin(torch.randn(5, 6), weight.norm(dim=1))
    assert nearest_wall(margin)[1].tolist() == [2] * 5  # taken for a wall that is touched
    walls = margin.masked_fill(weight.norm(dim=1) == 0, math.inf)
    distance, neuron = nearest_wall(walls)
    assert (distance > 0).all()
    assert torch.equal(margin[torch.arange(5), neuron].abs(), distance)


def test_a_layer_without_any_wall_is_infinitely_far():
    for margin in (torch.empty(3, 0), torch.full((3, 2), math.inf)):
        distance, neuron = nearest_wall(margin)
        assert distance.tolist() == [math.inf] * 3
        assert neuron.tolist() == [-1] * 3


def test_nan_is_never_hidden():
    assert nearest_wall(torch.tensor([[1.0, math.nan], [1.0, 2.0]]))[0].isnan().tolist() == [True, False]


def test_the_crossing_step_by_hand():
    """Walls x = 1 and x = 3 (and y = 50, further off): just behind the first is x = 1.00075."""
    weight = torch.tensor([[5.0, 0.0], [-2.0, 0.0], [0.0, 1.0]])
    crossing = crossing_step(torch.tensor([0.25, 0.0]), weight, torch.tensor([-5.0, 6.0, -50.0]))
    assert (crossing.neuron, crossing.distance) == (0, 0.75)
    assert crossing.step.tolist() == pytest.approx([0.75075, 0.0], abs=2e-6)


def test_the_crossing_step_ends_just_behind_the_wall():
    """In float64 it is at most a hundredth longer than any step that reaches the wall."""
    weight, bias = random_layer()
    for point in 3 * torch.randn(200, 12, dtype=torch.float64):
        crossing = crossing_step(point, weight, bias)
        assert crossing.distance < crossing.step.norm().item() <= 1.01 * crossing.distance
        assert flips(point, point + crossing.step, weight, bias) == [crossing.neuron]


def test_where_the_next_wall_is_nearer_than_that_the_step_ends_half_way_to_it():
    weight, bias = torch.eye(1, dtype=torch.float64)[[0, 0]], torch.tensor([-1.0, -1.0001]).double()
    step = crossing_step(torch.zeros(1, dtype=torch.float64), weight, bias).step
    assert step.tolist() == pytest.approx([1.00005], rel=1e-7)


@pytest.mark.parametrize("biased", [True, False])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_the_crossing_step_flips_exactly_the_sign_of_the_nearest_wall(dtype, biased):
    weight, bias = random_layer(dtype=torch.float32)
    weight, bias = weight.to(dtype), bias.to(dtype) * biased
    for point in 3 * torch.randn(200, 12).to(dtype):
        crossing = crossing_step(point, weight, bias if biased else None)
        distance = (weight.double() @ point.double() + bias.double()).abs() / weight.double().norm(dim=1)
        assert crossing.neuron == distance.argmin().item()
        assert crossing.distance == pytest.approx(distance.min().item(), rel=1e-12)
        start = point.to(crossing.step.dtype)
        assert start.dtype == (torch.float64 if dtype == torch.float64 else torch.float32)
        assert flips(point, start + crossing.step, weight, bias) == [crossing.neuron]


def test_before_the_wall_no_sign_flips_and_behind_it_only_one():
    """Codes are constant between walls along a line."""
    weight, bias = random_layer()
    for point in 3 * torch.randn(50, 12, dtype=torch.float64):
        crossing = crossing_step(point, weight, bias)
        way = crossing.step / crossing.step.norm()
        for share in (0.0, 0.25, 0.5, 0.9, 1 - 1e-9):
            assert flips(point, point + share * crossing.distance * way, weight, bias) == []
        following = next_wall(point, way, crossing, weight, bias)
        for share in (1e-9, 0.1, 0.5, 0.99, 1 - 1e-6):
            far = crossing.distance + share * (following - crossing.distance)
            assert flips(point, point + far * way, weight, bias) == [crossing.neuron]
        assert len(flips(point, point + 1.0001 * following * way, weight, bias)) >= 2


def next_wall(point, way, crossing, weight, bias):
    """How far along a way the first wall behind the one that is crossed is met."""
    met = -(weight @ point + bias) / (weight @ way)
    met[crossing.neuron] = math.inf
    return met[met > 0].min().item()


def test_no_shorter_step_flips_a_sign():
    weight, bias = random_layer()
    ways = torch.randn(500, 12, dtype=torch.float64)
    ways = torch.cat([ways, weight, -weight])
    ways = ways / ways.norm(dim=1, keepdim=True)
    for point in 3 * torch.randn(20, 12, dtype=torch.float64):
        reach = 0.9999 * crossing_step(point, weight, bias).distance
        code = region_code((weight @ point + bias)[None])
        assert (hamming(region_code((point + reach * ways) @ weight.T + bias), code) == 0).all()


def test_the_nearest_wall_of_the_margins_is_the_one_that_is_crossed(tiny_llama):
    gate = tiny_llama.layers[1].mlp.gate_proj
    states = torch.randn(10, 32)
    with torch.no_grad():
        distance, neuron = nearest_wall(signed_margin(gate(states), gate.weight.norm(dim=1)))
    crossings = [crossing_step(state, gate.weight, None) for state in states]
    assert [crossing.neuron for crossing in crossings] == neuron.tolist()
    assert [crossing.distance for crossing in crossings] == pytest.approx(
        distance.tolist(), rel=1e-4, abs=1e-6
    )
    assert not any(crossing.step.requires_grad for crossing in crossings)


def test_rescaling_neurons_leaves_the_crossing_alone():
    weight, bias = random_layer()
    point, scale = torch.randn(12, dtype=torch.float64), torch.logspace(-3, 3, 60, dtype=torch.float64)
    one, two = crossing_step(point, weight, bias), crossing_step(point, weight * scale[:, None], bias * scale)
    assert one.neuron == two.neuron
    assert torch.allclose(one.step, two.step, rtol=1e-10, atol=1e-12)


def test_rows_of_zeros_are_no_walls():
    weight, bias = random_layer(neurons=20)
    weight[::2] = 0
    bias[0] = 0.0
    point = torch.randn(12, dtype=torch.float64)
    crossing = crossing_step(point, weight, bias)
    assert crossing.neuron % 2 == 1
    assert flips(point, point + crossing.step, weight, bias) == [crossing.neuron]


def test_a_point_on_a_wall_is_off_and_steps_to_the_side_where_it_is_on():
    weight = torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    crossing = crossing_step(torch.tensor([0.0, 3.0]), weight, torch.tensor([0.0, -4.0]))
    assert (crossing.neuron, crossing.distance) == (0, 0.0)
    assert crossing.step.tolist() == pytest.approx([3 * 8 * 2.0**-23, 0.0])


def test_without_another_wall_ahead_the_step_ends_just_behind_the_wall_as_well():
    one = torch.tensor([[2.0, 0.0]])
    assert crossing_step(torch.zeros(2), one, None).step.tolist() == pytest.approx([0.001, 0.0])
    step = crossing_step(torch.tensor([3.0, 4.0]), one, None).step
    assert step.tolist() == pytest.approx([-3.003, 0.0], abs=1e-5)
    behind = torch.tensor([[1.0, 0.0], [1.0, 0.0]])  # its second wall lies on the other side
    crossing = crossing_step(torch.tensor([3.0, 0.0]), behind, torch.tensor([0.0, -9.0]))
    assert crossing.step.tolist() == pytest.approx([-3.003, 0.0], abs=1e-5)


def test_layers_larger_than_one_block_of_rows_are_read_whole():
    weight, bias = random_layer(neurons=2500)
    point = torch.randn(12, dtype=torch.float64)
    assert torch.allclose(gate_at(point, weight, bias), weight @ point + bias, rtol=1e-12)
    crossing = crossing_step(point, weight, bias)
    assert flips(point, point + crossing.step, weight, bias) == [crossing.neuron]


def test_a_weight_stored_the_other_way_round_is_read_as_well():
    weight, bias = random_layer()
    point = torch.randn(12, dtype=torch.float64)
    turned = crossing_step(point, weight.T.contiguous().T, bias)
    assert torch.allclose(turned.step, crossing_step(point, weight, bias).step, rtol=1e-9, atol=1e-12)


def test_two_walls_that_coincide_cannot_be_crossed_one_at_a_time():
    weight, bias = random_layer(neurons=1)
    weight, bias = torch.cat([weight, -3 * weight]), torch.cat([bias, -3 * bias])
    with pytest.raises(BadFeatures, match=r"no step in torch.float64 crosses only the wall of neuron \d"):
        crossing_step(torch.randn(12, dtype=torch.float64), weight, bias)


def test_walls_too_near_for_float32_are_refused_there_and_crossed_in_float64():
    weight, point = torch.eye(2)[[0, 0]].double(), torch.tensor([1000.0, 1.0])
    bias = torch.tensor([-1001.0, -1001.00001], dtype=torch.float64)
    with pytest.raises(BadFeatures, match="that of neuron 1 follows 1e-05 beyond it; pass a float64 point"):
        crossing_step(point, weight, bias)
    crossing = crossing_step(point.double(), weight, bias)
    assert flips(point, point.double() + crossing.step, weight, bias) == [0]


def test_a_layer_without_walls_has_nothing_to_cross():
    with pytest.raises(BadFeatures, match="all 3 rows of the gate weight are 0: the layer has no wall"):
        crossing_step(torch.ones(2), torch.zeros(3, 2), torch.ones(3))


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_named(bad):
    weight, bias = random_layer(dtype=torch.float32)
    point, other = torch.ones(12), torch.tensor([0.0] * 12)
    broken = point.clone()
    broken[7] = bad
    with pytest.raises(BadFeatures, match=f"the point is {bad} at width 7; pass a finite one"):
        crossing_step(broken, weight, bias)
    rows = weight.clone()
    rows[41, 3] = bad
    for each in (point, other):  # infinity times 0 must not vanish
        with pytest.raises(
            BadFeatures, match=r"the gate of neuron 41 is .*: its weights or its bias are not finite"
        ):
            crossing_step(each, rows, bias)
    shifts = bias.clone()
    shifts[5] = bad
    with pytest.raises(BadFeatures, match="the gate of neuron 5 is"):
        gate_at(point, weight, shifts)


def test_a_point_that_carries_gradients_is_read_as_a_point():
    weight, bias = random_layer()
    point = torch.randn(12, dtype=torch.float64, requires_grad=True)
    step = crossing_step(point, weight.requires_grad_(), bias.requires_grad_()).step
    assert not step.requires_grad
    broken = torch.full((12,), math.nan, dtype=torch.float64, requires_grad=True)
    with pytest.raises(BadFeatures, match="the point is nan at width 0"):
        crossing_step(broken, weight, bias)


def test_arguments_are_left_as_they_are():
    weight, bias = random_layer()
    point = torch.randn(12, dtype=torch.float64)
    before = [each.clone() for each in (weight, bias, point)]
    crossing = crossing_step(point, weight, bias)
    assert isinstance(crossing, Crossing)
    assert all(torch.equal(one, two) for one, two in zip(before, (weight, bias, point), strict=True))


@pytest.mark.parametrize(
    "call",
    [
        lambda: crossing_step(torch.ones(3), torch.ones(4, 2), None),
        lambda: crossing_step(torch.ones(2), torch.ones(4, 2), torch.ones(3)),
        lambda: nearest_wall(torch.ones(2, 3, dtype=torch.int64)),
    ],
)
def test_wrong_shapes_and_types_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()
