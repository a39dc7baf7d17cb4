"""The exact picture of an MLP's partition on the plane through three points of its input.

Each neuron's hyperplane meets the plane in a line, misses it, or leaves it alone inside the box that is
looked at. Those lines cut the box into convex cells, and inside a cell the signs of the gate are constant:
one region of the full space, cut open. Nothing is sampled; the arithmetic is float64. With a smooth
activation the lines are where a gate is 0, not where the map changes abruptly.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splinelens.errors import BadFeatures
from splinelens.geometry.arrangement import Cells, arrangement, cell_around
from splinelens.geometry.chords import Box, chords, count_crossings, same_lines

MAX_CELLS = 1_000_000
"""More cells than this are not built: 2,000 crossing walls, some 20 seconds."""

_FLAT = 1e-6
"""A triangle lower than this, in units of its longest side, has no plane to speak of."""

_PARALLEL = 1e-12
"""A normal whose share inside the plane is below this has a direction made of rounding."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in the MLP's input space with coordinates that keep lengths and angles.

    Attributes:
        origin: The point with coordinates (0, 0).
        axes: Two directions at right angles, each of length 1.
    """

    origin: Float[np.ndarray, " width"]
    axes: Float[np.ndarray, "2 width"]

    def project(self, points: Float[np.ndarray, "point width"]) -> Float[np.ndarray, "point 2"]:
        """The places in the plane that are nearest to points of the full space.

        Args:
            points: Points of the MLP's input space, in the plane or not.

        Returns:
            Coordinates in the plane.
        """
        return (points - self.origin) @ self.axes.T


@dataclass(frozen=True, eq=False)
class Slice:
    """One plane's picture of a layer's partition; cells are built when first asked for.

    Attributes:
        plane: Where the picture lies in the MLP's input space.
        places: The three points in the plane, in units of the MLP's input.
        box: What is looked at, ``(low_x, low_y, high_x, high_y)``.
        walls: The neurons whose hyperplane crosses the box, rising.
        lines: For each wall ``(a, b, c)`` with ``a² + b² = 1``: ``a x + b y + c`` is the distance within
            the plane from (x, y) to the wall, positive where the neuron is on.
        segments: For each wall its two ends on the box's edge; on is left of the way from first to second.
        same: For each wall the first wall with the very same line: its own number unless a neuron before
            it cuts the same line (then both are in ``walls``, and the line is drawn once).
        silent: How many neurons do not cross the box: their sign is constant in it.
    """

    plane: Plane
    places: Float[np.ndarray, "3 2"]
    box: Box
    walls: Int[np.ndarray, " wall"]
    lines: Float[np.ndarray, "wall 3"]
    segments: Float[np.ndarray, "wall 2 2"]
    same: Int[np.ndarray, " wall"]
    silent: int

    @cached_property
    def crossings(self) -> int:
        """Pairs of different walls that cross inside the box."""
        return count_crossings(self.segments[np.unique(self.same)], self.box)

    @property
    def cell_count(self) -> int:
        """How many cells the picture has at most, without making them: 1 + different walls + crossings.

        As many as there are, unless three walls meet in one point: each such point hides some, as
        all walls do where a gate has no bias and the box shows the origin.
        """
        return 1 + len(np.unique(self.same)) + self.crossings

    @cached_property
    def polygons(self) -> Cells:
        """Every cell of the picture, a sequence of corner arrays kept flat.

        ``polygons.lines`` counts ``walls``: neuron ``walls[polygons.lines[edge]]`` is what differs
        between the two cells of an edge (and every wall that is ``same``).

        Raises:
            BadFeatures: There are more than ``MAX_CELLS``.
        """
        first = np.unique(self.same)
        if self.cell_count > MAX_CELLS:
            raise BadFeatures(
                f"{len(self.walls)} walls cut the box {self.box} into {self.cell_count:,} cells, more than "
                f"{MAX_CELLS:,}: pass a smaller box, or ask for single cells with cell_around(place)"
            )
        cells = arrangement(self.lines[first], self.box)
        return replace(cells, lines=first[cells.lines])

    def cell_around(self, place: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "corner 2"]:
        """The one cell that holds a place: milliseconds, whatever the number of cells.

        Args:
            place: A point of the box, in plane coordinates.

        Returns:
            The cell's corners, counter-clockwise.

        Raises:
            BadFeatures: The place is outside the box.
        """
        if not self._holds(place):
            raise BadFeatures(
                f"place {place.tolist()} is outside the box {self.box}; pass a box that holds it"
            )
        return cell_around(self.lines, self.box, place)

    def on(self, places: Float[np.ndarray, "place 2"]) -> Bool[np.ndarray, "place wall"]:
        """Which of the crossing neurons are on at places of the plane.

        Args:
            places: Coordinates in the plane.

        Returns:
            One row a place, one column a wall; on the wall itself is off.
        """
        return places @ self.lines[:, :2].T + self.lines[:, 2] > 0

    def _holds(self, place: Float[np.ndarray, " 2"]) -> bool:
        return bool((place >= self.box[:2]).all() and (place <= self.box[2:]).all())


def plane_through(points: Float[Tensor, "3 width"]) -> tuple[Plane, Float[np.ndarray, "3 2"]]:
    """The plane through three points, and where they lie in it.

    The first point is (0, 0), the second lies on the positive x axis, the third above it.

    Args:
        points: Three different points of one layer's input that are not on one line.

    Returns:
        The plane, and the places; distances between them are those between the points.

    Raises:
        BadFeatures: A point is not finite, points coincide, or all lie on one line.

    Example:
        >>> plane, places = plane_through(torch.tensor([[1.0, 1, 1], [1, 1, 4], [1, 3, 1]]))
        >>> places.tolist()
        [[0.0, 0.0], [3.0, 0.0], [0.0, 2.0]]
    """
    exact = points.detach().cpu().double().numpy()
    _check_points(exact, torch.finfo(points.dtype).eps)
    first, second = exact[1] - exact[0], exact[2] - exact[0]
    across = first / np.linalg.norm(first)
    up = second - (second @ across) * across
    up -= (up @ across) * across  # once more: a low triangle loses the right angle to rounding
    plane = Plane(exact[0].copy(), np.stack([across, up / np.linalg.norm(up)]))
    return plane, plane.project(exact)


def spans_plane(points: Float[Tensor, "3 width"]) -> bool:
    """Whether there is one plane through three points, as ``plane_through`` judges it.

    Args:
        points: Three points of one layer's input.

    Returns:
        False where points coincide, lie on one line, or are not finite.

    Example:
        >>> spans_plane(torch.tensor([[0.0, 0.0], [1.0, 0.0], [2.0, 0.0]]))
        False
    """
    try:
        plane_through(points)
    except BadFeatures:
        return False
    return True


def points_apart(points: Float[Tensor, "point width"], first: int) -> tuple[int, int, int] | None:
    """Three of many points that span a plane: one of them, and others far from it and from each other.

    The second is the farthest from the first, the third the farthest from the line through these two:
    a step of Gram and Schmidt. So three are found wherever some three with the first one span a plane.

    Args:
        points: Points of one layer's input.
        first: Number of the point to begin with.

    Returns:
        Numbers of the three points; None if all points coincide or lie on one line, or are not finite.

    Example:
        >>> points_apart(torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [2.0, 3.0]]), first=0)
        (0, 2, 3)
    """
    apart = (points - points[first]).double()
    second = int(apart.norm(dim=1).argmax())
    way = apart[second] / apart[second].norm().clamp(min=1e-300)
    third = int((apart - (apart @ way)[:, None] * way).norm(dim=1).argmax())
    found = (first, second, third)
    return found if spans_plane(points[list(found)]) else None


def slice_partition(
    points: Float[Tensor, "3 width"],
    weight: Float[Tensor, "neuron width"],
    bias: Float[Tensor, " neuron"] | None = None,
    box: Box | None = None,
) -> Slice:
    """The picture of a layer's partition on the plane through three points of its input.

    Args:
        points: Three tokens (or texts) as the layer's MLP is given them.
        weight: Gate weight; row k is the normal of hyperplane k. A row of zeros has no hyperplane.
        bias: Gate bias; None for none.
        box: ``(low_x, low_y, high_x, high_y)`` in plane coordinates; by default the extent of the three
            places and a quarter of it more on each side.

    Returns:
        The picture: walls and segments at once, cells when asked for.

    Raises:
        BadFeatures: The points have no plane, a weight or bias is not finite, or the box has no area.

    Example:
        >>> corner = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
        >>> picture = slice_partition(corner, torch.eye(2), torch.tensor([-1.0, -9.0]))
        >>> picture.walls.tolist(), picture.silent, picture.segments.round(9).tolist(), picture.cell_count
        ([0], 1, [[[1.0, 5.0], [1.0, -1.0]]], 2)
    """
    plane, places = plane_through(points)
    low, high = places.min(axis=0), places.max(axis=0)
    if box is None:
        edge = (high - low) / 4
        box = (*(low - edge).tolist(), *(high + edge).tolist())
    _check_box(box)
    lines = _lines(plane, weight, bias)
    crosses, segments = chords(lines, box)
    walls = np.flatnonzero(crosses)
    lines = lines[walls] / np.hypot(lines[walls, 0], lines[walls, 1])[:, None]
    return Slice(
        plane=plane,
        places=places,
        box=box,
        walls=walls,
        lines=lines,
        segments=segments[walls],
        same=same_lines(lines, box),
        silent=len(weight) - len(walls),
    )


def _lines(
    plane: Plane, weight: Float[Tensor, "neuron width"], bias: Float[Tensor, " neuron"] | None
) -> Float[np.ndarray, "neuron 3"]:
    """The gate as a function of plane coordinates; (0, 0, c) where it does not depend on them."""
    frame = torch.from_numpy(np.vstack([plane.axes, plane.origin])).T
    parts = []
    for rows in weight.detach().split(1024):  # a float64 copy of a large gate would double its memory
        exact = rows.cpu().double()
        parts.append(torch.cat([exact @ frame, exact.norm(dim=1, keepdim=True)], dim=1))
    lines = torch.cat(parts).numpy() if parts else np.empty((0, 4))
    norm, lines = lines[:, 3], lines[:, :3]
    if bias is not None:
        lines[:, 2] += bias.detach().cpu().double().numpy()
    broken = np.flatnonzero(~np.isfinite(lines).all(axis=1))
    if len(broken):
        raise BadFeatures(
            f"weight or bias of neurons {broken[:5].tolist()} ({len(broken)} of {len(lines)}) is not finite; "
            "load the model again or leave these neurons out"
        )
    lines[np.hypot(lines[:, 0], lines[:, 1]) <= _PARALLEL * norm, :2] = 0
    return lines


def _check_points(points: Float[np.ndarray, "3 width"], precision: float) -> None:
    broken = np.flatnonzero(~np.isfinite(points).all(axis=1)).tolist()
    if broken:
        raise BadFeatures(f"points {broken} have values that are not finite; pass three other tokens")
    pairs = ((0, 1), (0, 2), (1, 2))
    side = np.array([np.linalg.norm(points[one] - points[other]) for one, other in pairs])
    smallest = max(_FLAT * side.max(), precision * np.linalg.norm(points, axis=1).max())
    equal = [
        f"{one} and {other}" for (one, other), length in zip(pairs, side, strict=True) if length <= smallest
    ]
    if equal:
        raise BadFeatures(
            f"points {', '.join(equal)} coincide: they are {side.min():.3g} apart. A slice needs three "
            "different tokens that are not on one line; pass another token for one of them"
        )
    one, other = pairs[int(side.argmax())]
    third = 3 - one - other
    way = (points[other] - points[one]) / side.max()
    rest = points[third] - points[one]
    height = float(np.linalg.norm(rest - (rest @ way) * way))
    if height <= smallest:
        raise BadFeatures(
            f"points 0, 1 and 2 lie on one line: point {third} is {height:.3g} away from the line through "
            f"points {one} and {other}. A slice needs three different tokens that are not on one line; pass "
            f"another token for point {third}"
        )


def _check_box(box: Box) -> None:
    low, high = np.array(box[:2]), np.array(box[2:])
    largest = np.abs(box).max()
    if not np.isfinite(box).all() or (high - low <= 1e-9 * largest).any():
        raise BadFeatures(
            f"box {box} has no area; pass (low_x, low_y, high_x, high_y) in plane coordinates, low below high"
        )
