"""Tests geometry/chords.py."""

import numpy as np
import pytest
from jaxtyping import TypeCheckError

from splinelens.geometry.chords import TOLERANCE, chords, count_crossings, crosses, in_square, same_lines

BOX = (0.0, 0.0, 4.0, 2.0)


def random_lines(count, seed=0):
    dice = np.random.default_rng(seed)
    angle = dice.uniform(0, 2 * np.pi, count)
    normal = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    offset = -(normal * dice.uniform(-2, 6, (count, 2))).sum(axis=1)
    return np.column_stack([normal, offset]) * dice.uniform(0.01, 100, (count, 1))


def test_ends_by_hand():
    lines = np.array([[1.0, 0.0, -1.0], [0.0, -3.0, 3.0], [1.0, -2.0, 0.0], [1.0, 1.0, -7.0]])
    met, ends = chords(lines, BOX)
    assert met.tolist() == [True, True, True, False]
    expected = [[[1, 2], [1, 0]], [[4, 1], [0, 1]], [[4, 2], [0, 0]]]
    assert ends[:3].tolist() == [pytest.approx(np.array(each)) for each in expected]
    assert np.isnan(ends[3]).all()


def test_the_positive_side_is_on_the_left_of_the_way_between_the_ends():
    lines = random_lines(200)
    met, ends = chords(lines, BOX)
    way = ends[met, 1] - ends[met, 0]
    left = ends[met].mean(axis=1) + np.stack([-way[:, 1], way[:, 0]], axis=1)
    assert 20 < met.sum() < 200
    assert ((left * lines[met, :2]).sum(axis=1) + lines[met, 2] > 0).all()


def test_ends_lie_on_the_line_and_on_the_edge_of_the_box():
    lines = random_lines(200)
    met, ends = chords(lines, BOX)
    norm = np.hypot(lines[met, 0], lines[met, 1])
    distance = (np.einsum("led,ld->le", ends[met], lines[met, :2]) + lines[met, 2:]) / norm[:, None]
    assert np.abs(distance).max() < 1e-12
    x, y = ends[met, :, 0], ends[met, :, 1]
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
    assert chords(np.array([line]), BOX)[0].tolist() == [crossing]


def test_crossing_is_having_corners_of_the_box_on_both_sides():
    lines = random_lines(500, seed=1)
    corners = np.array([[0, 0], [4, 0], [4, 2], [0, 2]])
    value = lines[:, :2] @ corners.T + lines[:, 2:]
    assert crosses(in_square(lines, BOX)).tolist() == ((value > 0).any(1) & (value < 0).any(1)).tolist()


def test_crossings_are_what_solving_every_pair_gives():
    lines = random_lines(80)
    met, ends = chords(lines, BOX)
    kept, slow = lines[met], 0
    for one in range(len(kept)):
        for other in range(one):
            x, y = np.linalg.solve(kept[[one, other], :2], -kept[[one, other], 2])
            slow += 0 < x < 4 and 0 < y < 2
    assert slow > 100
    assert count_crossings(ends[met], BOX) == slow


def test_lines_that_meet_on_the_edge_do_not_cross_inside():
    lines = np.array([[1.0, -2.0, 0.0], [2.0, -1.0, 0.0], [1.0, 0.0, -1.0], [1.0, 1.0, -1.0]])
    met, ends = chords(lines, BOX)
    # The first two share the corner (0, 0), the last two meet at (1, 0), and (1, 2) is on the edge too.
    assert met.all()
    assert count_crossings(ends[:2], BOX) == 0
    assert count_crossings(ends[2:], BOX) == 0
    assert count_crossings(ends, BOX) == 3


def test_no_line_has_no_end_and_no_crossing():
    met, ends = chords(np.empty((0, 3)), BOX)
    assert (len(met), ends.shape, count_crossings(ends, BOX)) == (0, (0, 2, 2), 0)
    assert same_lines(np.empty((0, 3)), BOX).tolist() == []


def test_the_same_line_is_found_whatever_its_length_and_side():
    lines = np.concatenate([random_lines(20), -3 * random_lines(20), random_lines(20) / 7])
    assert same_lines(lines, BOX).tolist() == list(range(20)) * 3


def test_lines_farther_apart_than_the_tolerance_are_two():
    near, far = TOLERANCE / 2, 10 * TOLERANCE
    lines = np.array([[0.0, 1.0, -1.0], [0.0, 1.0, -1.0 + near], [0.0, 1.0, -1.0 + far], [far, 1.0, -1.0]])
    assert same_lines(lines, BOX).tolist() == [0, 0, 2, 3]


def test_a_low_box_is_as_good_as_a_square_one():
    squeeze = np.array([1.0, 1e6, 1.0])
    lines = random_lines(50)
    met, ends = chords(lines, (0.0, 0.0, 4.0, 2.0))
    low_met, low_ends = chords(lines * squeeze, (0.0, 0.0, 4.0, 2e-6))
    assert low_met.tolist() == met.tolist()
    assert np.allclose(low_ends[met] * [1.0, 1e6], ends[met], atol=1e-12)


def test_arguments_are_left_as_they_are():
    lines = random_lines(9)
    before = lines.copy()
    met, ends = chords(lines, BOX)
    kept = ends[met].copy()
    same_lines(lines, BOX), count_crossings(ends[met], BOX)
    assert (lines == before).all()
    assert (ends[met] == kept).all()


def test_wrong_shapes_are_refused():
    with pytest.raises(TypeCheckError):
        chords(np.ones((3, 2)), BOX)
