"""Tests geometry/neighbors.py."""

import math
import warnings

import pytest
import torch
from jaxtyping import TypeCheckError

from splinelens.errors import BadFeatures
from splinelens.geometry.neighbors import lid_geomle, lid_mle, nearest, two_nn

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from skdim.id import MLE, TwoNN


def rng(seed=0):
    return torch.Generator().manual_seed(seed)


def ball(points, dimension, width, dtype=torch.float64):
    """A uniform sample of a ball, rotated into a wider space."""
    direction = torch.randn(points, dimension, generator=rng(), dtype=dtype)
    radius = torch.rand(points, 1, generator=rng(1), dtype=dtype) ** (1 / dimension)
    return direction / direction.norm(dim=1, keepdim=True) * radius @ rotation(width, dtype)[:dimension]


def rotation(width, dtype=torch.float64):
    return torch.linalg.qr(torch.randn(width, width, generator=rng(2), dtype=dtype)).Q


def rows_of(points):
    return torch.arange(len(points))


def slow_nearest(points, reference, k):
    """All distances at once, in float64; distances of 0 and repeated rows are no neighbors."""
    points, reference = points.double(), reference.double()
    distances = (points[:, None] - reference).norm(dim=2)
    repeated = [any(torch.equal(row, other) for other in reference[:i]) for i, row in enumerate(reference)]
    distances[:, torch.tensor(repeated)] = torch.inf
    return distances.masked_fill(distances == 0, torch.inf).topk(k, largest=False)


def test_neighbors_by_hand():
    reference = torch.tensor([[3.0, 4.0], [0.0, 0.0], [0.0, 1.0], [-6.0, 8.0]])
    distances, indices = nearest(torch.tensor([[0.0, 0.0]]), reference, 3)
    assert distances[0].tolist() == pytest.approx([1, 5, 10], rel=1e-5)
    assert indices.tolist() == [[2, 0, 3]]


def test_dimension_by_hand():
    assert lid_mle(torch.tensor([[1.0, 2.0, 4.0]])).item() == pytest.approx(3 / math.log(8))
    assert lid_mle(torch.tensor([[1.0, 1.0, math.e]])).item() == pytest.approx(1.5)


def test_two_nn_by_hand():
    """The points 0, 1, 3 have the ratios 3, 2 and 3/2; the largest is left out."""
    small, middle = math.log(3 / 2), math.log(2)
    slope = (small * math.log(3 / 2) + middle * math.log(3)) / (small**2 + middle**2)
    assert two_nn(torch.tensor([[0.0], [1.0], [3.0]])) == pytest.approx(slope)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("k", [1, 7, 40])
def test_neighbors_equal_those_of_the_full_distance_matrix(dtype, k):
    reference = torch.randn(60, 9, generator=rng(), dtype=dtype)
    points = torch.cat([reference[:5], torch.randn(30, 9, generator=rng(1), dtype=dtype)])
    reference = torch.cat([reference, reference[10:20]])
    distances, indices = nearest(points, reference, k)
    slow_distances, slow_indices = slow_nearest(points, reference, k)
    assert distances.dtype == dtype
    assert torch.equal(indices, slow_indices)
    torch.testing.assert_close(distances, slow_distances.to(dtype))


def test_blocks_change_nothing():
    """5,000 rows and 600 points are several blocks of both."""
    reference, points = torch.randn(5000, 4, generator=rng()), torch.randn(600, 4, generator=rng(1))
    distances, indices = nearest(points, reference, 6)
    slow = torch.cdist(points.double(), reference.double()).topk(6, largest=False)
    assert torch.equal(indices, slow.indices)
    torch.testing.assert_close(distances.double(), slow.values, rtol=1e-5, atol=0)
    order = torch.randperm(5000, generator=rng(2))
    mixed, mixed_indices = nearest(points, reference[order], 6)
    torch.testing.assert_close(mixed, distances, rtol=1e-5, atol=0)
    assert torch.equal(order[mixed_indices], indices)


def test_one_point_or_many_have_the_same_neighbors():
    reference, points = torch.randn(300, 50, generator=rng()), torch.randn(20, 50, generator=rng(1))
    distances, indices = nearest(points, reference, 5)
    one = [nearest(point[None], reference, 5) for point in points]
    torch.testing.assert_close(torch.cat([distance for distance, _ in one]), distances, rtol=1e-5, atol=0)
    assert torch.equal(torch.cat([index for _, index in one]), indices)


def test_short_distances_between_long_rows_are_exact():
    """A product in float32 cannot tell these rows apart: their norms are 10,000 times the distances."""
    shift = torch.zeros(40, 16)
    shift[:20], shift[20:] = 3e4, -3e4
    reference = torch.randint(-8, 9, (40, 16), generator=rng()) + shift
    distances, indices = nearest(reference, reference, 9, own=rows_of(reference))
    slow_distances, slow_indices = slow_nearest(reference, reference, 9)
    torch.testing.assert_close(distances.double(), slow_distances, rtol=1e-6, atol=0)
    expected = (reference[:, None] - reference[slow_indices]).norm(dim=2)
    torch.testing.assert_close((reference[:, None] - reference[indices]).norm(dim=2), expected)


def test_of_rows_at_one_distance_the_first_comes_first():
    corners = torch.cat([torch.eye(30), -torch.eye(30)])
    distances, indices = nearest(torch.zeros(2, 30), corners, 4)
    assert (distances == 1).all()
    assert indices.tolist() == 2 * [[0, 1, 2, 3]]


def test_duplicates_change_nothing():
    points = ball(200, 3, 5)
    rows, twice = rows_of(points), points.repeat_interleave(2, dim=0)
    distances, indices = nearest(points, points, 8, own=rows)
    again, again_indices = nearest(points, twice, 8, own=2 * rows + 1)
    assert torch.equal(again, distances)
    assert torch.equal(again_indices, 2 * indices)
    settings = {"neighbors": range(5, 12), "bootstraps": 4}
    once = lid_geomle(points, points, own=rows, **settings)
    assert torch.equal(lid_geomle(points, twice, own=2 * rows, **settings), once)
    assert two_nn(twice) == two_nn(points)


def test_a_point_that_differs_from_its_row_by_rounding_is_not_its_neighbor():
    reference = torch.randn(50, 6, generator=rng())
    half = reference.bfloat16()
    assert (nearest(half, reference, 1)[1][:, 0] == rows_of(reference)).all()
    assert (nearest(half, reference, 1, own=rows_of(reference))[1][:, 0] != rows_of(reference)).all()


def test_rotation_and_scale_leave_the_dimensions_unchanged():
    points = ball(300, 4, 6)
    moved = 1000 * points @ rotation(6) + 7

    def dimensions(points):
        rows = rows_of(points)
        local = lid_geomle(points, points, own=rows, neighbors=range(10, 20), bootstraps=5)
        return torch.cat([lid_mle(nearest(points, points, 20, own=rows)[0]), local])

    torch.testing.assert_close(dimensions(moved), dimensions(points), rtol=1e-6, atol=0)
    assert two_nn(moved) == pytest.approx(two_nn(points))


def test_dimensions_agree_with_scikit_dimension():
    points = ball(300, 5, 30)
    local = lid_mle(nearest(points, points, 20, own=rows_of(points))[0])
    other = MLE().fit(points.numpy(), n_neighbors=20).dimension_pw_
    torch.testing.assert_close(local * 19 / 20, torch.from_numpy(other))
    unbiased = MLE(unbiased=True).fit(points.numpy(), n_neighbors=20).dimension_pw_
    torch.testing.assert_close(local * 18 / 20, torch.from_numpy(unbiased))
    assert two_nn(points) == pytest.approx(TwoNN().fit(points.numpy()).dimension_)


def test_geomle_is_the_regression_that_its_formulas_say():
    """Point by point, with NumPy's least squares and the ridge penalty as additional rows."""
    points = ball(120, 3, 4)
    ks, bootstraps, degree = range(6, 15), 7, 2
    fast = lid_geomle(points, points, own=rows_of(points), neighbors=ks, bootstraps=bootstraps, seed=3)
    drawn = torch.randint(120, (bootstraps, 120), generator=rng(3))
    for point in (0, 50, 119):
        estimates, radii = [], []
        for sample in drawn:
            rows = points[[row for row in sorted({*sample.tolist()}) if row != point]]
            r = (rows - points[point]).norm(dim=1).sort().values
            estimates.append([(k - 2) / (r[k - 1] / r[: k - 1]).log().sum() for k in ks])
            radii.append(r[torch.tensor(ks) - 1])
        estimates, radius = torch.tensor(estimates, dtype=torch.float64), torch.stack(radii).mean(dim=0)
        root = estimates.std(dim=0).rsqrt()
        powers = (radius / radius[-1])[:, None] ** torch.arange(degree + 1)
        penalty = math.sqrt(5e-3) * torch.eye(degree + 1, dtype=torch.float64)[1:]
        rows = torch.cat([root[:, None] * powers, penalty])
        target = torch.cat([root * estimates.mean(dim=0), torch.zeros(degree, dtype=torch.float64)])
        assert fast[point].item() == pytest.approx(
            torch.linalg.lstsq(rows, target[:, None]).solution[0].item()
        )


@pytest.mark.parametrize("dimension", [1, 2, 6])
def test_a_ball_has_its_dimension(dimension):
    points = ball(1000, dimension, 40)
    rows = rows_of(points)
    local = lid_geomle(points, points, own=rows, bootstraps=10).mean()
    assert local.item() == pytest.approx(dimension, rel=0.1)
    assert lid_mle(nearest(points, points, 20, own=rows)[0]).mean().item() == pytest.approx(
        dimension, rel=0.2
    )
    assert two_nn(points) == pytest.approx(dimension, rel=0.2)


def test_a_plane_has_dimension_two_also_at_other_points():
    plane = rotation(8)[:2]
    reference = torch.rand(800, 2, generator=rng(), dtype=torch.float64) @ plane
    points = (0.3 + 0.4 * torch.rand(500, 2, generator=rng(1), dtype=torch.float64)) @ plane
    assert lid_geomle(points, reference, bootstraps=10).mean().item() == pytest.approx(2, rel=0.1)


def test_geomle_depends_on_its_seed_only():
    points = ball(100, 2, 3)
    settings = {"neighbors": range(5, 10), "bootstraps": 3}
    first = lid_geomle(points, points, **settings)
    assert torch.equal(lid_geomle(points, points, **settings), first)
    assert not torch.equal(lid_geomle(points, points, seed=1, **settings), first)
    torch.testing.assert_close(lid_geomle(points[7:8], points, **settings), first[7:8])


def test_a_few_reference_rows_are_searched_whole():
    points = ball(14, 2, 2)
    assert lid_geomle(points, points, neighbors=[3, 4], bootstraps=2, own=rows_of(points)).isfinite().all()


def test_neighbors_at_one_distance_give_an_infinite_dimension():
    simplex = torch.eye(12)
    assert lid_mle(nearest(simplex, simplex, 5)[0]).isinf().all()
    assert lid_geomle(simplex, simplex, neighbors=[3, 4], bootstraps=2).isinf().all()
    assert two_nn(simplex) == math.inf


def test_arguments_are_left_as_they_are():
    points, own = torch.randn(80, 3, generator=rng()), torch.arange(80)
    before = points.clone()
    nearest(points, points, 3, own=own)
    lid_geomle(points, points, own=own, neighbors=[4, 5], bootstraps=2)
    assert torch.equal(points, before)
    assert torch.equal(own, torch.arange(80))


@pytest.mark.parametrize(
    ("reference", "k", "message"),
    [
        (torch.randn(5, 2), 0, r"k is 0; pass the number of neighbors, 1 or more"),
        (torch.randn(5, 2), 6, r"k is 6, but only 5 of 5 reference rows can be neighbors of point 0"),
        (
            torch.ones(5, 2),
            1,
            r"k is 1, but only 0 of 5 reference rows can be neighbors of point 0: equal rows",
        ),
        (torch.ones(1, 2), 1, r"k is 1, but only 0 of 1 reference rows"),
        (torch.randn(5, 3), 1, r"points of width 2 cannot have neighbors of width 3"),
        (torch.randn(0, 2), 1, r"reference has shape \(0, 2\); pass one row or more"),
        (
            torch.tensor([[0.0, 0], [1, math.nan]]),
            1,
            r"row 1 of reference has NaN, infinity or numbers whose",
        ),
        (torch.tensor([[math.inf, 0], [1, 0]]), 1, r"row 0 of reference has NaN, infinity"),
        (torch.tensor([[0, 0], [1, 1e30]]), 1, r"row 1 of reference .* squares overflow; drop it"),
    ],
)
def test_a_reference_without_enough_neighbors_is_refused(reference, k, message):
    with pytest.raises(BadFeatures, match=message):
        nearest(torch.ones(1, 2), reference, k)


def test_the_usable_rows_are_counted():
    reference = torch.tensor([[0.0], [1.0], [1.0], [2.0], [5.0]])
    assert nearest(reference, reference, 3)[0][0].tolist() == pytest.approx([1, 2, 5], rel=1e-5)
    with pytest.raises(
        BadFeatures, match=r"k is 4, but only 3 of 5 reference rows can be neighbors of point 0"
    ):
        nearest(reference, reference, 4)
    with pytest.raises(BadFeatures, match=r"own names rows outside of the 5 of the reference"):
        nearest(reference, reference, 1, own=torch.arange(1, 6))


def test_distances_that_no_search_returns_are_refused():
    for distances in ([[0.0, 1.0]], [[2.0, 1.0]], [[1.0, math.inf]], [[math.nan, 1.0]]):
        with pytest.raises(BadFeatures, match=r"distances of point 0 are not ascending, finite and above 0"):
            lid_mle(torch.tensor(distances))
    with pytest.raises(BadFeatures, match=r"needs distances to 2 neighbors or more, not 1"):
        lid_mle(torch.ones(3, 1))


def test_a_sample_too_small_for_its_estimate_is_refused():
    points = torch.randn(30, 4, generator=rng())
    with pytest.raises(
        BadFeatures, match=r"a bootstrap of 30 different reference rows keeps only 1\d neighbors"
    ):
        lid_geomle(points, points)
    with pytest.raises(
        BadFeatures, match=r"neighbors is \[2, 5\]; pass numbers of neighbors, each 3 or more"
    ):
        lid_geomle(points, points, neighbors=[2, 5])
    with pytest.raises(BadFeatures, match=r"degree is 0 and bootstraps is 20; pass 1 or more for both"):
        lid_geomle(points, points, degree=0)
    with pytest.raises(
        BadFeatures, match=r"5 points, 1 of them different, have no dimension; pass 3 or more"
    ):
        two_nn(torch.ones(5, 2))


def test_wrong_shapes_are_refused():
    with pytest.raises(TypeCheckError):
        nearest(torch.ones(3), torch.ones(3, 1), 1)
    with pytest.raises(TypeCheckError):
        nearest(torch.ones(3, 1), torch.ones(3, 1), 1, own=torch.arange(2))
