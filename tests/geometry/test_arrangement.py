"""Tests geometry/arrangement.py."""

from fractions import Fraction

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from splinelens.geometry.arrangement import (
    TOLERANCE,
    arrangement,
    cell_around,
    count_crossings,
    line_segments,
    same_lines,
)

BOX, WIDE = (-1.0, -1.0, 3.0, 1.0), (0.0, 0.0, 4.0, 2.0)


def random_lines(count, seed=0):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, count)
    normal = np.stack([np.cos(angle), np.sin(angle)], 1)
    return np.column_stack([normal, -(normal * rng.uniform(BOX[:2], BOX[2:], (count, 2))).sum(1)])


def wide_lines(count, seed=0):
    rng = np.random.default_rng(seed)
    angle = rng.uniform(0, 2 * np.pi, count)
    normal = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    offset = -(normal * rng.uniform(-2, 6, (count, 2))).sum(axis=1)
    return np.column_stack([normal, offset]) * rng.uniform(0.01, 100, (count, 1))


def whole_lines(count, seed):
    """Lines with small whole numbers: many are parallel, equal, through one point, or through a corner."""
    lines = np.random.default_rng(seed).integers(-2, 3, (count, 3)).astype(float)
    lines = lines[(lines[:, :2] != 0).any(axis=1)]
    return np.concatenate([lines, -3 * lines[:2]])


def slow_cells(lines, box):
    """Cut convex polygons line by line, in exact fractions."""
    x0, y0, x1, y1 = map(Fraction, box)
    cells = [[(x0, y0), (x1, y0), (x1, y1), (x0, y1)]]
    for a, b, c in [tuple(map(Fraction, line)) for line in lines.tolist()]:
        cut = []
        for cell in cells:
            value = [a * x + b * y + c for x, y in cell]
            if max(value) <= 0 or min(value) >= 0:
                cut.append(cell)
                continue
            parts = [], []
            for k, (x, y) in enumerate(cell):
                v, w, (x2, y2) = value[k], value[k - len(cell) + 1], cell[k - len(cell) + 1]
                if v >= 0:
                    parts[0].append((x, y))
                if v <= 0:
                    parts[1].append((x, y))
                if v * w < 0:
                    meet = (x + (x2 - x) * v / (v - w), y + (y2 - y) * v / (v - w))
                    parts[0].append(meet)
                    parts[1].append(meet)
            cut += parts
        cells = cut
    return cells


def canonical(cells):
    return sorted(
        sorted((round(float(x), 9) + 0.0, round(float(y), 9) + 0.0) for x, y in cell) for cell in cells
    )


def centers(cells):
    return np.array([cell.mean(axis=0) for cell in cells])


def areas(cells):
    """The shoelace formula, around a corner of each cell."""
    rest = [cell - cell[0] for cell in cells]
    return np.array([np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2 for x, y in (cell.T for cell in rest)])


def check_tiling(cells, box, slack=1e-12):
    """What holds for every arrangement, degenerate or not."""
    sizes = areas(cells)
    assert sizes.sum() == pytest.approx((box[2] - box[0]) * (box[3] - box[1]), rel=1e-12)
    assert sizes.min() > -slack
    for polygon in cells:
        assert len(polygon) >= 3
        edge = np.roll(polygon, -1, axis=0) - polygon
        turn = edge[:, 0] * np.roll(edge[:, 1], -1) - edge[:, 1] * np.roll(edge[:, 0], -1)
        assert turn.min() > -slack
        assert (np.hypot(*edge.T) > 0).all()


def test_two_lines_that_cross_leave_four_cells_with_known_corners():
    cells = arrangement(np.array([[2.0, 0.0, -2.0], [0.0, -1.0, 0.5]]), (0.0, 0.0, 4.0, 4.0))
    expected = [
        [(0.0, 0.0), (0.0, 0.5), (1.0, 0.0), (1.0, 0.5)],
        [(0.0, 0.5), (0.0, 4.0), (1.0, 0.5), (1.0, 4.0)],
        [(1.0, 0.0), (1.0, 0.5), (4.0, 0.0), (4.0, 0.5)],
        [(1.0, 0.5), (1.0, 4.0), (4.0, 0.5), (4.0, 4.0)],
    ]
    assert canonical(cells) == expected
    assert sorted(areas(cells).tolist()) == pytest.approx([0.5, 1.5, 3.5, 10.5])


@pytest.mark.parametrize("count", [0, 1, 2, 5, 15, 30])
def test_cells_are_those_of_cutting_polygons_one_by_one_in_fractions(count):
    lines = random_lines(count, seed=count)
    assert canonical(arrangement(lines, BOX)) == canonical(slow_cells(lines, BOX))


@pytest.mark.parametrize("seed", range(12))
def test_parallel_equal_and_concurrent_lines_give_the_cells_of_exact_fractions(seed):
    lines = whole_lines(14, seed)
    same = same_lines(lines, BOX)
    cells = arrangement(lines, BOX)
    assert len(set(same.tolist())) < len(lines)
    assert canonical(cells) == canonical(slow_cells(lines, BOX))
    check_tiling(cells, BOX)


@pytest.mark.parametrize("count", [1, 7, 40, 250])
def test_cells_are_one_more_than_lines_and_crossings(count):
    lines = random_lines(count)
    cuts, ends = line_segments(lines, BOX)
    cells = arrangement(lines, BOX)
    assert cuts.all()
    assert len(cells) == 1 + count + count_crossings(ends, BOX)


@pytest.mark.parametrize("count", [0, 1, 40, 120])
def test_cells_are_convex_and_tile_the_box(count):
    check_tiling(arrangement(random_lines(count), BOX), BOX)


def test_three_lines_through_one_point_meet_there_in_six_cells():
    turn = np.arange(3) * np.pi / 3 + 0.1
    cells = arrangement(np.stack([np.cos(turn), np.sin(turn), -0.3 * np.cos(turn)], axis=1), BOX)
    assert len(cells) == 6
    assert [np.hypot(*(cell - [0.3, 0.0]).T).min() < 1e-12 for cell in cells] == [True] * 6
    check_tiling(cells, BOX)


def test_a_hundred_lines_through_one_point_leave_no_slivers():
    rng = np.random.default_rng(0)
    turn = rng.uniform(0, np.pi, 100)
    normal = np.stack([np.cos(turn), np.sin(turn)], axis=1)
    lines = np.column_stack([normal, -normal @ [0.7, 0.2]])
    lines[:, 2] += rng.uniform(-1e-13, 1e-13, 100)
    cells = arrangement(lines, BOX)
    assert len(cells) == 200
    assert areas(cells).min() > 1e-6


@pytest.mark.parametrize("spread", [1e-15, 1e-12, 1e-11, 1e-10, 1e-8])
def test_lines_that_nearly_coincide_never_tear_the_tiling(spread):
    rng = np.random.default_rng(1)
    bundle = np.array([0.6, 0.8, -0.3]) + rng.normal(0, spread, (60, 3))
    lines = np.concatenate([bundle, random_lines(20), bundle + rng.normal(0, spread, (60, 3))])
    cells = arrangement(lines, BOX)
    check_tiling(cells, BOX, slack=1e-9)
    cuts, ends = line_segments(lines, BOX)
    assert len(cells) <= 1 + cuts.sum() + count_crossings(ends[cuts], BOX)


def test_lines_that_miss_or_touch_the_box_cut_nothing():
    lines = np.array([[1.0, 0.0, 1.0], [0.0, 1.0, -1.0], [1.0, 1.0, 2.0], [1.0, 0.0, 5.0], [0.0, 0.0, 0.0]])
    assert len(arrangement(lines, BOX)) == 1


def test_a_line_through_a_corner_of_the_box_makes_two_triangles():
    cells = arrangement(np.array([[1.0, -2.0, -1.0]]), BOX)
    assert sorted(map(len, cells)) == [3, 3]
    assert areas(cells).tolist() == pytest.approx([4.0, 4.0])


def test_each_cell_has_signs_of_its_own():
    lines = random_lines(40)
    on = centers(arrangement(lines, BOX)) @ lines[:, :2].T + lines[:, 2] > 0
    assert len(np.unique(on, axis=0)) == len(on)


def test_the_cell_around_a_place_is_the_one_with_its_signs():
    lines = random_lines(30)
    cells = arrangement(lines, BOX)
    places = np.random.default_rng(5).uniform(BOX[:2], BOX[2:], (50, 2))
    signs = places @ lines[:, :2].T + lines[:, 2] > 0
    inside = centers(cells) @ lines[:, :2].T + lines[:, 2] > 0
    for place, sign in zip(places, signs, strict=True):
        (cell,) = np.flatnonzero((inside == sign).all(axis=1)).tolist()
        assert canonical([cell_around(lines, BOX, place)]) == canonical([cells[cell]])


@pytest.mark.parametrize(("sign", "x"), [(1.0, 0.0), (-1.0, 2.0)])
def test_a_place_on_a_line_belongs_to_the_negative_side(sign, x):
    cell = cell_around(np.array([[sign, 0.0, -sign]]), BOX, np.array([1.0, 0.5]))
    low, high = (-1.0, 1.0) if sign > 0 else (1.0, 3.0)
    assert (cell[:, 0].min(), cell[:, 0].max()) == (low, high)
    assert low < x < high


def test_a_place_on_the_same_line_with_both_signs_is_still_in_one_cell():
    lines = np.array([[1.0, 0.0, -1.0], [-1.0, 0.0, 1.0]])
    assert len(cell_around(lines, BOX, np.array([1.0, 0.5]))) == 4


def test_the_order_of_the_lines_does_not_matter():
    lines = random_lines(25)
    shuffled = lines[np.random.default_rng(3).permutation(25)]
    assert canonical(arrangement(lines, BOX)) == canonical(arrangement(-2 * shuffled, BOX))


def test_moving_and_stretching_lines_and_box_together_moves_and_stretches_the_cells():
    lines, box = random_lines(25), (995.0, 20.0, 1015.0, 20.02)
    # x = 5 u + 1000 and y = 0.01 v + 20.01, where u and v are the old coordinates
    moved = lines / [5.0, 0.01, 1.0]
    moved[:, 2] -= moved[:, :2] @ [1000.0, 20.01]
    back = [(cell - [1000.0, 20.01]) / [5.0, 0.01] for cell in arrangement(moved, box)]
    for one, other in zip(canonical(back), canonical(arrangement(lines, BOX)), strict=True):
        assert np.allclose(one, other, atol=1e-7)


def test_ends_by_hand():
    lines = np.array([[1.0, 0.0, -1.0], [0.0, -3.0, 3.0], [1.0, -2.0, 0.0], [1.0, 1.0, -7.0]])
    cuts, ends = line_segments(lines, WIDE)
    assert cuts.tolist() == [True, True, True, False]
    expected = [[[1, 2], [1, 0]], [[4, 1], [0, 1]], [[4, 2], [0, 0]]]
    assert ends[:3].tolist() == [pytest.approx(np.array(each)) for each in expected]
    assert np.isnan(ends[3]).all()


def test_the_positive_side_is_on_the_left_of_the_way_between_the_ends():
    lines = wide_lines(200)
    cuts, ends = line_segments(lines, WIDE)
    way = ends[cuts, 1] - ends[cuts, 0]
    left = ends[cuts].mean(axis=1) + np.stack([-way[:, 1], way[:, 0]], axis=1)
    assert 20 < cuts.sum() < 200
    assert ((left * lines[cuts, :2]).sum(axis=1) + lines[cuts, 2] > 0).all()


def test_ends_lie_on_the_line_and_on_the_edge_of_the_box():
    lines = wide_lines(200)
    cuts, ends = line_segments(lines, WIDE)
    norm = np.hypot(lines[cuts, 0], lines[cuts, 1])
    distance = (np.einsum("led,ld->le", ends[cuts], lines[cuts, :2]) + lines[cuts, 2:]) / norm[:, None]
    assert np.abs(distance).max() < 1e-12
    x, y = ends[cuts, :, 0], ends[cuts, :, 1]
    to_edge = np.minimum.reduce([np.abs(x), np.abs(4 - x), np.abs(y), np.abs(2 - y)])
    assert to_edge.max() < 1e-12


@pytest.mark.parametrize(
    ("line", "crossing"),
    [
        ([1.0, 0.0, 0.0], False),  # along the left edge
        ([1.0, 0.0, -1e-13], False),  # beside it by less than the tolerance
        ([1.0, 0.0, -1e-9], True),
        ([1.0, 1.0, 0.0], False),  # touches a corner
        ([1.0, 1.0, -1e-9], True),  # cuts it off
        ([1.0, -2.0, 0.0], True),  # from corner to corner
        ([0.0, 0.0, 0.0], False),  # no line at all
        ([0.0, 0.0, -3.0], False),
    ],
)
def test_touching_an_edge_or_a_corner_is_not_crossing(line, crossing):
    assert line_segments(np.array([line]), WIDE)[0].tolist() == [crossing]


def test_crossing_is_having_corners_of_the_box_on_both_sides():
    lines = wide_lines(500, seed=1)
    corners = np.array([[0, 0], [4, 0], [4, 2], [0, 2]])
    value = lines[:, :2] @ corners.T + lines[:, 2:]
    assert line_segments(lines, WIDE)[0].tolist() == ((value > 0).any(1) & (value < 0).any(1)).tolist()


def test_crossings_are_what_solving_every_pair_gives():
    lines = wide_lines(80)
    cuts, ends = line_segments(lines, WIDE)
    kept, slow = lines[cuts], 0
    for one in range(len(kept)):
        for other in range(one):
            x, y = np.linalg.solve(kept[[one, other], :2], -kept[[one, other], 2])
            slow += 0 < x < 4 and 0 < y < 2
    assert slow > 100
    assert count_crossings(ends[cuts], WIDE) == slow


def test_lines_that_meet_on_the_edge_do_not_cross_inside():
    lines = np.array([[1.0, -2.0, 0.0], [2.0, -1.0, 0.0], [1.0, 0.0, -1.0], [1.0, 1.0, -1.0]])
    cuts, ends = line_segments(lines, WIDE)
    # The first two share the corner (0, 0), the last two meet at (1, 0), and (1, 2) is on the edge too.
    assert cuts.all()
    assert count_crossings(ends[:2], WIDE) == 0
    assert count_crossings(ends[2:], WIDE) == 0
    assert count_crossings(ends, WIDE) == 3


def test_no_line_has_no_end_and_no_crossing():
    cuts, ends = line_segments(np.empty((0, 3)), WIDE)
    assert (len(cuts), ends.shape, count_crossings(ends, WIDE)) == (0, (0, 2, 2), 0)
    assert same_lines(np.empty((0, 3)), WIDE).tolist() == []


def test_the_same_line_is_recognized_whatever_its_length_and_side():
    lines = np.concatenate([wide_lines(20), -3 * wide_lines(20), wide_lines(20) / 7])
    assert same_lines(lines, WIDE).tolist() == list(range(20)) * 3


def test_lines_farther_apart_than_the_tolerance_are_two():
    near, far = TOLERANCE / 2, 10 * TOLERANCE
    lines = np.array([[0.0, 1.0, -1.0], [0.0, 1.0, -1.0 + near], [0.0, 1.0, -1.0 + far], [far, 1.0, -1.0]])
    assert same_lines(lines, WIDE).tolist() == [0, 0, 2, 3]


def test_a_low_box_is_as_good_as_a_square_one():
    squeeze = np.array([1.0, 1e6, 1.0])
    lines = wide_lines(50)
    cuts, ends = line_segments(lines, (0.0, 0.0, 4.0, 2.0))
    low_cuts, low_ends = line_segments(lines * squeeze, (0.0, 0.0, 4.0, 2e-6))
    assert low_cuts.tolist() == cuts.tolist()
    assert np.allclose(low_ends[cuts] * [1.0, 1e6], ends[cuts], atol=1e-12)


def test_arguments_are_left_as_they_are():
    lines = random_lines(9)
    before = lines.copy()
    ends = line_segments(lines, BOX)[1]
    kept = ends.copy()
    arrangement(lines, BOX), cell_around(lines, BOX, np.zeros(2))
    same_lines(lines, BOX), count_crossings(ends, BOX)
    assert (lines == before).all()
    assert (ends == kept).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(TypeCheckError):
        arrangement(np.ones((3, 2)), BOX)
    with pytest.raises(TypeCheckError):
        line_segments(np.ones((3, 2)), BOX)
    with pytest.raises(TypeCheckError):
        cell_around(np.ones((3, 3)), BOX, np.ones(3))
