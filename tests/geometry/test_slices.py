"""Tests geometry/slices.py."""

import math

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

from splinelens.errors import BadFeatures
from splinelens.geometry import slices
from splinelens.geometry.slices import plane_through, points_apart, slice_partition, spans_plane

CORNER = torch.tensor([[0.0, 0.0, 7.0], [4.0, 0.0, 7.0], [0.0, 4.0, 7.0]], dtype=torch.float64)
"""The plane z = 7, with (x, y) as plane coordinates; its default box runs from -1 to 5."""


def random_layer(neurons=60, width=16, dtype=torch.float64):
    points = torch.randn(3, width, dtype=dtype)
    return points, torch.randn(neurons, width, dtype=dtype), torch.randn(neurons, dtype=dtype)


def lift(plane, positions):
    """The points of the full space at positions in the plane."""
    return plane.origin + positions @ plane.axes


def centers(picture):
    return np.array([polygon.mean(axis=0) for polygon in picture.polygons])


def own_centers(picture):
    """The middle of the cell of each of the three points."""
    return np.array([picture.cell_around(position).mean(axis=0) for position in picture.positions])


def gate_at(picture, positions, weight, bias):
    """The gate in the full space, where the plane's positions are."""
    return torch.from_numpy(lift(picture.plane, positions)) @ weight.double().T + bias.double()


def inner_samples(picture, seed=0, per_cell=3):
    """For each cell some positions well inside it: random means of its corners."""
    rng = np.random.default_rng(seed)
    for cell, polygon in enumerate(picture.polygons):
        share = rng.dirichlet(np.ones(len(polygon)), per_cell) * 0.9 + 0.1 / len(polygon)
        yield cell, share @ polygon


def test_a_slice_by_hand():
    weight = torch.tensor([[2.0, 0.0, 0.0], [0.0, -1.0, 0.0], [0.0, 0.0, 3.0], [1.0, 0.0, 0.0]])
    bias = torch.tensor([-4.0, 1.0, -1.0, 90.0])
    picture = slice_partition(CORNER.float(), weight, bias)
    assert picture.box == (-1.0, -1.0, 5.0, 5.0)
    assert picture.positions.tolist() == [[0, 0], [4, 0], [0, 4]]
    assert (picture.walls.tolist(), picture.silent) == ([0, 1], 2)
    assert np.allclose(picture.segments, [[[2, 5], [2, -1]], [[5, 1], [-1, 1]]], atol=1e-12)
    assert np.allclose(picture.lines, [[1, 0, -2], [0, -1, 1]], atol=1e-12)
    corners = sorted(sorted(np.round(polygon, 9).tolist()) for polygon in picture.polygons)
    assert corners == [
        [[-1, -1], [-1, 1], [2, -1], [2, 1]],
        [[-1, 1], [-1, 5], [2, 1], [2, 5]],
        [[2, -1], [2, 1], [5, -1], [5, 1]],
        [[2, 1], [2, 5], [5, 1], [5, 5]],
    ]
    assert np.allclose(own_centers(picture), [[0.5, 0], [3.5, 0], [0.5, 3]])


@pytest.mark.parametrize("width", [2, 3, 50])
def test_plane_coordinates_keep_distances_and_lead_back(width):
    points = torch.randn(3, width, dtype=torch.float64) * 5 + 100
    plane, positions = plane_through(points)
    assert np.allclose(plane.axes @ plane.axes.T, np.eye(2), atol=1e-14)
    assert np.allclose(lift(plane, positions), points.numpy(), atol=1e-11)
    assert np.allclose(plane.project(lift(plane, positions)), positions, atol=1e-11)
    expected = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")
    assert np.allclose(
        np.linalg.norm(positions[:, None] - positions[None], axis=2), expected.numpy(), atol=1e-11
    )
    assert positions[:2, 1].tolist() == pytest.approx([0, 0], abs=1e-12)
    assert positions[1, 0] > 0
    assert positions[2, 1] > 0


def test_a_point_beside_the_plane_is_projected_to_its_nearest_place():
    plane, positions = plane_through(CORNER)
    beside = CORNER.numpy() + np.array([0.0, 0.0, 5.0])
    assert np.allclose(plane.project(beside), positions)


def test_inside_a_cell_the_signs_of_the_gate_in_the_full_space_are_constant():
    points, weight, bias = random_layer()
    picture = slice_partition(points, weight, bias)
    codes = []
    for _, positions in inner_samples(picture):
        code = gate_at(picture, positions, weight, bias) > 0
        assert (code == code[0]).all()
        assert (code[:, picture.walls].numpy() == picture.on(positions)).all()
        codes.append(code[0])
    codes = torch.stack(codes)
    assert len(codes) > 100
    assert len(codes.unique(dim=0)) == len(codes)
    quiet = [neuron for neuron in range(len(weight)) if neuron not in picture.walls]
    assert len(quiet) == picture.silent > 0
    assert (codes[:, quiet] == codes[0, quiet]).all()


def test_cells_are_one_more_than_walls_and_crossings_and_tile_the_box():
    points, weight, bias = random_layer(neurons=200)
    picture = slice_partition(points, weight, bias)
    assert len(picture.polygons) == 1 + len(picture.walls) + picture.crossings == picture.cell_count > 1000
    corners = [polygon - polygon[0] for polygon in picture.polygons]
    area = sum(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2 for x, y in (cell.T for cell in corners))
    low_x, low_y, high_x, high_y = picture.box
    assert area == pytest.approx((high_x - low_x) * (high_y - low_y), rel=1e-12)


def test_the_walls_are_those_whose_gate_changes_sign_on_the_edge_of_the_box():
    points, weight, bias = random_layer(neurons=300)
    picture = slice_partition(points, weight, bias)
    x, y = np.meshgrid(picture.box[0::2], picture.box[1::2])
    sign = gate_at(picture, np.stack([x.ravel(), y.ravel()], axis=1), weight, bias) > 0
    assert (sign.any(dim=0) & ~sign.all(dim=0)).nonzero().flatten().tolist() == picture.walls.tolist()
    ends = picture.segments.reshape(-1, 2)
    gate = gate_at(picture, ends, weight, bias).reshape(-1, 2, 300)
    assert max(gate[wall, :, neuron].abs().max() for wall, neuron in enumerate(picture.walls)) < 1e-12


def test_the_lines_give_the_distance_to_a_wall_within_the_plane():
    points, weight, bias = random_layer()
    picture = slice_partition(points, weight, bias)
    gate = gate_at(picture, picture.positions, weight, bias)[:, picture.walls].numpy()
    steepness = np.linalg.norm(weight.numpy()[picture.walls] @ picture.plane.axes.T, axis=1)
    distance = picture.positions @ picture.lines[:, :2].T + picture.lines[:, 2]
    assert np.allclose(distance, gate / steepness, atol=1e-12)


def test_the_three_points_lie_in_the_cells_with_their_codes():
    points, weight, bias = random_layer()
    picture = slice_partition(points, weight, bias)
    codes = points @ weight.T + bias > 0
    assert torch.equal(gate_at(picture, own_centers(picture), weight, bias) > 0, codes)


def test_one_cell_alone_is_the_one_of_the_whole_picture():
    points, weight, bias = random_layer(neurons=100)
    picture = slice_partition(points, weight, bias)
    code = picture.on(centers(picture))
    for position in picture.positions:
        (cell,) = np.flatnonzero((code == picture.on(position[None])).all(axis=1)).tolist()
        alone, polygon = picture.cell_around(position), picture.polygons[cell]
        assert np.allclose(sorted(alone.tolist()), sorted(polygon.tolist()), atol=1e-9)


def test_a_point_outside_the_box_is_in_no_cell():
    points, weight, bias = random_layer()
    box = slice_partition(points, weight, bias).box
    picture = slice_partition(points, weight, bias, (box[0], box[1], 0.1, 0.1))
    assert len(picture.cell_around(picture.positions[0])) >= 3
    with pytest.raises(BadFeatures, match=r"position .* is outside the box .*; pass a box that contains it"):
        picture.cell_around(picture.positions[1])


def test_a_smaller_box_shows_a_part_of_the_same_picture():
    points, weight, bias = random_layer()
    whole = slice_partition(points, weight, bias)
    box = (-0.2, -0.2, 0.5, 0.4)
    part = slice_partition(points, weight, bias, box)
    assert part.box == box
    assert set(part.walls) < set(whole.walls)
    assert len(part.polygons) < len(whole.polygons)
    for _, positions in inner_samples(part, per_cell=1):
        code = part.on(positions)[0]
        assert (code == whole.on(positions)[0][np.isin(whole.walls, part.walls)]).all()


def test_a_token_on_a_wall_belongs_to_the_side_where_the_neuron_is_off():
    for sign in (1.0, -1.0):
        picture = slice_partition(CORNER, torch.tensor([[sign, 0.0, 0.0]], dtype=torch.float64))
        assert (own_centers(picture)[:, 0] < 0).tolist() == ([True, False, True] if sign > 0 else [False] * 3)
        assert not picture.on(picture.positions[:1]).any()


def test_two_neurons_with_the_same_line_are_both_named_and_cut_once():
    weight = torch.tensor([[1.0, 0, 0], [0, 1, 0], [-2, 0, 0], [1, 0, 5], [1, 0, 0]], dtype=torch.float64)
    bias = torch.tensor([-1.0, -1, 2, -36, -1], dtype=torch.float64)
    picture = slice_partition(CORNER, weight, bias)
    assert picture.walls.tolist() == [0, 1, 2, 3, 4]
    assert picture.same.tolist() == [0, 1, 0, 0, 0]
    assert len(picture.polygons) == 4
    assert picture.crossings == 1
    assert np.allclose(picture.segments[2], picture.segments[0][::-1])


def test_without_biases_all_walls_meet_in_the_origin():
    points = torch.randn(3, 64, dtype=torch.float64)
    points[1] = -points[0]
    picture = slice_partition(points, torch.randn(80, 64, dtype=torch.float64))
    assert len(picture.walls) == 80
    assert len(picture.polygons) == 160 < picture.cell_count == 1 + 80 + picture.crossings  # a bound
    origin = picture.plane.project(np.zeros((1, 64)))
    assert max(np.linalg.norm(polygon - origin, axis=1).min() for polygon in picture.polygons) < 1e-9


@pytest.mark.parametrize(
    ("row", "bias"),
    [
        ([0.0, 0.0, 0.0], 3.0),  # no hyperplane
        ([0.0, 0.0, 0.0], 0.0),
        ([0.0, 0.0, 2.0], 1.0),  # parallel to the plane
        ([0.0, 0.0, 2.0], -14.0),  # the plane itself
        ([1e-14, 0.0, 2.0], -14.0),  # its direction in the plane is rounding
        ([1.0, 1.0, 0.0], 99.0),  # far outside the box
        ([1.0, 0.0, 0.0], 1.0),  # along the box's edge
        ([1.0, 1.0, 0.0], 2.0),  # touching its corner
    ],
)
def test_neurons_that_do_not_cross_the_box_are_silent(row, bias):
    weight = torch.tensor([row, [0.0, 1.0, 0.0]], dtype=torch.float64)
    picture = slice_partition(CORNER, weight, torch.tensor([bias, -1.0], dtype=torch.float64))
    assert (picture.walls.tolist(), picture.silent, len(picture.polygons)) == ([1], 1, 2)


def test_a_layer_without_walls_is_one_cell():
    picture = slice_partition(CORNER, torch.empty(0, 3, dtype=torch.float64))
    assert (len(picture.walls), picture.silent, picture.cell_count) == (0, 0, 1)
    assert picture.polygons[0].tolist() == [[-1, -1], [5, -1], [5, 5], [-1, 5]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_arithmetic_is_float64_whatever_the_dtype(dtype):
    points, weight, bias = (tensor.to(dtype) for tensor in random_layer())
    picture = slice_partition(points, weight, bias)
    exact = slice_partition(points.double(), weight.double(), bias.double())
    assert picture.segments.dtype == np.float64
    assert (picture.segments == exact.segments).all()


def test_a_gate_of_many_rows_is_read_in_blocks():
    points, weight, bias = random_layer(neurons=2500, width=4)
    whole, box = slice_partition(points, weight, bias), (-0.1, -0.1, 0.1, 0.1)
    last = slice_partition(points, weight[2048:], bias[2048:], box)
    assert last.walls.tolist() == [
        neuron - 2048
        for neuron in slice_partition(points, weight, bias, box).walls.tolist()
        if neuron >= 2048
    ]
    assert len(whole.walls) + whole.silent == 2500


def test_points_that_coincide_are_refused_by_number():
    points = torch.randn(3, 8)
    points[2] = points[0]
    with pytest.raises(
        BadFeatures,
        match=r"points 0 and 2 coincide: their distance is 0.*three different tokens.*pass another token",
    ):
        plane_through(points)
    with pytest.raises(BadFeatures, match="points 0 and 1, 0 and 2, 1 and 2 coincide"):
        plane_through(torch.ones(3, 8))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_points_on_one_line_are_refused_by_number(dtype):
    start, way = torch.randn(2, 8, dtype=dtype)
    with pytest.raises(
        BadFeatures,
        match=r"lie on one line: point 2 is .* away from the line through points 0 and 1.*three different",
    ):
        plane_through(torch.stack([start, start + 3 * way, start + way]))


def test_a_low_triangle_is_still_a_plane():
    points = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.5, 1e-5]], dtype=torch.float64)
    picture = slice_partition(
        points, torch.tensor([[0.0, 1.0], [1.0, 0.0]]).double(), torch.tensor([-5e-6, -0.3]).double()
    )
    assert len(picture.polygons) == 4
    assert picture.positions[2].tolist() == pytest.approx([0.5, 1e-5], rel=1e-12)


def test_points_apart_by_hand():
    points = torch.tensor([[1.0, 0], [1, 0], [3, 0], [-4, 0], [0, 2], [9, 0]])
    assert points_apart(points, 0) == (0, 5, 4)
    assert points_apart(points, 4) == (4, 5, 3)
    assert points_apart(points[:4], 0) is None  # on one line
    assert points_apart(points[:2], 1) is None  # one point
    assert points_apart(points[:1], 0) is None


def test_points_apart_span_a_plane_wherever_some_three_do():
    line = torch.randn(1, 8, dtype=torch.float64) * torch.randn(30, 1, dtype=torch.float64)
    assert points_apart(line, 3) is None
    line[17] += torch.randn(8, dtype=torch.float64)
    for first in range(30):
        found = points_apart(line, first)
        assert found[0] == first
        assert 17 in found
        assert spans_plane(line[list(found)])


def test_points_span_a_plane_unless_there_is_no_or_more_than_one():
    assert spans_plane(CORNER)
    assert not spans_plane(CORNER[[0, 1, 0]])
    assert not spans_plane(torch.tensor([[0.0, 0], [1, 1], [3, 3]]))
    assert not spans_plane(CORNER + math.nan)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_not_finite_are_refused_by_number(bad):
    points, weight, bias = random_layer()
    broken = points.clone()
    broken[1, 3] = bad
    with pytest.raises(
        BadFeatures, match=r"points \[1\] have values that are not finite; pass three other tokens"
    ):
        slice_partition(broken, weight, bias)
    weight[7, 2] = bias[9] = bad
    with pytest.raises(
        BadFeatures, match=r"neurons \[7, 9\] \(2 of 60\) is not finite; load the model again"
    ):
        slice_partition(points, weight, bias)


@pytest.mark.parametrize(
    "box",
    [
        (0.0, 0.0, 0.0, 0.0),
        (0.0, 0.0, 1.0, 0.0),
        (1.0, 0.0, 0.0, 1.0),
        (0.0, 0.0, math.nan, 1.0),
        (0.0, 0.0, math.inf, 1.0),
        (1e12, 0.0, 1e12 + 1, 1.0),
    ],
)
def test_a_box_without_area_is_refused(box):
    with pytest.raises(BadFeatures, match=r"has no area; pass \(low_x, low_y, high_x, high_y\)"):
        slice_partition(CORNER, torch.eye(3).double(), box=box)


def test_more_cells_than_can_be_built_are_refused_but_one_is_still_to_be_had(monkeypatch):
    monkeypatch.setattr(slices, "MAX_CELLS", 50)
    picture = slice_partition(*random_layer())
    with pytest.raises(
        BadFeatures, match=r"walls cut the box .* into \d,?\d+ cells, more than 50: pass a smaller"
    ):
        len(picture.polygons)
    assert len(picture.cell_around(picture.positions[0])) >= 3


def test_arguments_are_left_as_they_are():
    given = random_layer()
    before = [tensor.clone() for tensor in given]
    picture = slice_partition(*given)
    positions = picture.positions.copy()
    assert len(own_centers(picture)) == 3
    picture.plane.origin[:] = 0
    assert all(torch.equal(one, other) for one, other in zip(given, before, strict=True))
    assert (picture.positions == positions).all()


def test_gradients_of_a_model_do_not_matter():
    points, weight, bias = random_layer()
    picture = slice_partition(points.requires_grad_(), weight.requires_grad_(), bias.requires_grad_())
    assert len(picture.walls) > 0


@pytest.mark.parametrize(
    "call",
    [
        lambda: plane_through(torch.ones(2, 4)),
        lambda: slice_partition(torch.randn(3, 4), torch.ones(5, 3)),
        lambda: slice_partition(torch.randn(3, 4), torch.ones(5, 4), torch.ones(4)),
    ],
)
def test_wrong_shapes_are_refused(call):
    with pytest.raises(TypeCheckError):
        call()
