"""The exact cut through an MLP's partition by the plane through three points of its input.

Each neuron's hyperplane meets the plane in a line or misses the box that is drawn. These lines cut the
box into convex cells, and the signs of the gate are constant in each: a section of one region. Nothing is
sampled; the arithmetic is float64. With a smooth activation the lines are where a gate is 0, not where
the map changes abruptly.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splinelens.errors import BadFeatures
from splinelens.geometry.arrangement import (
    Box,
    arrangement,
    cell_around,
    count_crossings,
    line_segments,
    same_lines,
)

MAX_CELLS = 1_000_000
"""More cells are not built: 2,000 crossing lines, about a minute."""

_FLAT = 1e-6
"""The smallest height of a triangle that defines a plane, in units of its longest side."""

_PARALLEL = 1e-12
"""Below this share of its length, the direction of a normal within the plane is rounding."""


@dataclass(frozen=True, eq=False)
class Plane:
    """A plane in the MLP's input space with orthonormal coordinates.

    Attributes:
        origin: The point with coordinates (0, 0).
        axes: Two orthogonal unit vectors.
    """

    origin: Float[np.ndarray, " width"]
    axes: Float[np.ndarray, "2 width"]

    def project(self, points: Float[np.ndarray, "point width"]) -> Float[np.ndarray, "point 2"]:
        """Plane coordinates of the orthogonal projections of points of the input space."""
        return (points - self.origin) @ self.axes.T


@dataclass(frozen=True, eq=False)
class Slice:
    """The section of a layer's partition by one plane. Cells are built on first access.

    Attributes:
        plane: Where the section lies in the MLP's input space.
        positions: Plane coordinates of the three points, in units of the MLP's input.
        box: The part of the plane that is drawn, ``(low_x, low_y, high_x, high_y)``.
        walls: Neurons whose hyperplane crosses the box, in rising order.
        lines: For each wall ``(a, b, c)`` with ``a² + b² = 1``: ``a x + b y + c`` is the distance within
            the plane from (x, y) to the wall, positive where the neuron is on.
        segments: For each wall its two ends on the box's edge; the on side is left of the way from the
            first to the second.
        same: For each wall the first wall on the same line: itself, unless several neurons share a line.
        silent: Number of neurons that do not cross the box: their sign is constant in it.
    """

    plane: Plane
    positions: Float[np.ndarray, "3 2"]
    box: Box
    walls: Int[np.ndarray, " wall"]
    lines: Float[np.ndarray, "wall 3"]
    segments: Float[np.ndarray, "wall 2 2"]
    same: Int[np.ndarray, " wall"]
    silent: int

    def __repr__(self) -> str:
        return f"Slice({len(self.walls)} walls, {self.silent} neurons outside)"

    @cached_property
    def crossings(self) -> int:
        """Pairs of different lines that cross inside the box."""
        return count_crossings(self.segments[np.unique(self.same)], self.box)

    @property
    def cell_count(self) -> int:
        """Upper bound on the number of cells, without building them: 1 + lines + crossings.

        Exact unless three lines meet in one point. Without gate biases all hyperplanes contain the
        origin, so a box around it has far fewer cells.
        """
        return 1 + len(np.unique(self.same)) + self.crossings

    @cached_property
    def polygons(self) -> list[Float[np.ndarray, "corner 2"]]:
        """The corners of every cell, counter-clockwise.

        Raises:
            BadFeatures: There are more than ``MAX_CELLS``.
        """
        if self.cell_count > MAX_CELLS:
            raise BadFeatures(
                f"{len(self.walls)} walls cut the box {self.box} into {self.cell_count:,} cells, more than "
                f"{MAX_CELLS:,}: pass a smaller box, or use cell_around(position) for single cells"
            )
        return arrangement(self.lines[np.unique(self.same)], self.box)

    def cell_around(self, position: Float[np.ndarray, " 2"]) -> Float[np.ndarray, "corner 2"]:
        """The cell that contains a position, in milliseconds whatever the number of cells.

        Returns:
            The cell's corners, counter-clockwise.

        Raises:
            BadFeatures: The position is outside the box.
        """
        if not ((position >= self.box[:2]).all() and (position <= self.box[2:]).all()):
            raise BadFeatures(
                f"position {position.tolist()} is outside the box {self.box}; pass a box that contains it"
            )
        return cell_around(self.lines, self.box, position)

    def on(self, positions: Float[np.ndarray, "position 2"]) -> Bool[np.ndarray, "position wall"]:
        """Which of the crossing neurons are on at positions of the plane; on the wall itself they are off."""
        return positions @ self.lines[:, :2].T + self.lines[:, 2] > 0


def plane_through(points: Float[Tensor, "3 width"]) -> tuple[Plane, Float[np.ndarray, "3 2"]]:
    """The plane through three points, and their coordinates in it.

    The first point is (0, 0), the second lies on the positive x axis, the third above it.

    Returns:
        The plane, and the positions; distances between them are those between the points.

    Raises:
        BadFeatures: A point is not finite, points coincide, or all lie on one line.

    Example:
        >>> plane, positions = plane_through(torch.tensor([[1.0, 1, 1], [1, 1, 4], [1, 3, 1]]))
        >>> positions.tolist()
        [[0.0, 0.0], [3.0, 0.0], [0.0, 2.0]]
    """
    exact = points.detach().cpu().double().numpy()
    _check_points(exact, torch.finfo(points.dtype).eps)
    first, second = exact[1] - exact[0], exact[2] - exact[0]
    across = first / np.linalg.norm(first)
    up = second - (second @ across) * across
    up -= (up @ across) * across  # twice: in a flat triangle rounding spoils the right angle
    plane = Plane(exact[0].copy(), np.stack([across, up / np.linalg.norm(up)]))
    return plane, plane.project(exact)


def spans_plane(points: Float[Tensor, "3 width"]) -> bool:
    """Whether ``plane_through`` accepts three points.

    Returns:
        False if points coincide, lie on one line, or are not finite.

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
    """Choose three of many points that span a plane, far from each other.

    The second is the farthest from the first, the third the farthest from the line through both (a step
    of Gram-Schmidt). If any three points that include the first span a plane, these do.

    Returns:
        Indices of the three points; None if all points coincide, lie on one line, or are not finite.

    Example:
        >>> points_apart(torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0], [2.0, 3.0]]), first=0)
        (0, 2, 3)
    """
    offset = (points - points[first]).double()
    second = int(offset.norm(dim=1).argmax())
    direction = offset[second] / offset[second].norm().clamp(min=1e-300)
    third = int((offset - (offset @ direction)[:, None] * direction).norm(dim=1).argmax())
    chosen = (first, second, third)
    return chosen if spans_plane(points[list(chosen)]) else None


def slice_partition(
    points: Float[Tensor, "3 width"],
    weight: Float[Tensor, "neuron width"],
    bias: Float[Tensor, " neuron"] | None = None,
    box: Box | None = None,
) -> Slice:
    """Cut a layer's partition by the plane through three points of its input.

    Args:
        points: MLP inputs of three tokens or texts.
        weight: Gate weight; row k is the normal of hyperplane k. A row of zeros has no hyperplane.
        bias: Gate bias; None for none.
        box: ``(low_x, low_y, high_x, high_y)`` in plane coordinates; by default the extent of the three
            positions plus a quarter of it on each side.

    Returns:
        The section: walls and segments at once, cells on first access.

    Raises:
        BadFeatures: The points span no plane, a weight or bias is not finite, or the box has no area.

    Example:
        >>> corner = torch.tensor([[0.0, 0.0], [4.0, 0.0], [0.0, 4.0]])
        >>> section = slice_partition(corner, torch.eye(2), torch.tensor([-1.0, -9.0]))
        >>> section.walls.tolist(), section.silent, section.segments.round(9).tolist(), section.cell_count
        ([0], 1, [[[1.0, 5.0], [1.0, -1.0]]], 2)
    """
    plane, positions = plane_through(points)
    low, high = positions.min(axis=0), positions.max(axis=0)
    if box is None:
        edge = (high - low) / 4
        box = (*(low - edge).tolist(), *(high + edge).tolist())
    if not np.isfinite(box).all() or (np.subtract(box[2:], box[:2]) <= 1e-9 * np.abs(box).max()).any():
        raise BadFeatures(
            f"box {box} has no area; pass (low_x, low_y, high_x, high_y) in plane coordinates, low below high"
        )
    lines = _lines(plane, weight, bias)
    cuts, segments = line_segments(lines, box)
    walls = np.flatnonzero(cuts)
    lines = lines[walls] / np.hypot(lines[walls, 0], lines[walls, 1])[:, None]
    return Slice(
        plane=plane,
        positions=positions,
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
    parts = [torch.empty(0, 4, dtype=torch.float64)]
    for rows in weight.detach().split(1024):  # a float64 copy of a large gate would double its memory
        exact = rows.cpu().double()
        parts.append(torch.cat([exact @ frame, exact.norm(dim=1, keepdim=True)], dim=1))
    lines, norm = np.split(torch.cat(parts).numpy(), [3], axis=1)
    if bias is not None:
        lines[:, 2] += bias.detach().cpu().double().numpy()
    broken = np.flatnonzero(~np.isfinite(lines).all(axis=1))
    if len(broken):
        raise BadFeatures(
            f"weight or bias of neurons {broken[:5].tolist()} ({len(broken)} of {len(lines)}) is not finite; "
            "load the model again or leave these neurons out"
        )
    lines[np.hypot(lines[:, 0], lines[:, 1]) <= _PARALLEL * norm[:, 0], :2] = 0
    return lines


def _check_points(points: Float[np.ndarray, "3 width"], precision: float) -> None:
    broken = np.flatnonzero(~np.isfinite(points).all(axis=1)).tolist()
    if broken:
        raise BadFeatures(f"points {broken} have values that are not finite; pass three other tokens")
    advice = "A slice needs three different tokens that are not on one line; pass another token for"
    pairs = ((0, 1), (0, 2), (1, 2))
    side = np.array([np.linalg.norm(points[one] - points[other]) for one, other in pairs])
    smallest = max(_FLAT * side.max(), precision * np.linalg.norm(points, axis=1).max())
    equal = [f"{one} and {other}" for k, (one, other) in enumerate(pairs) if side[k] <= smallest]
    if equal:
        raise BadFeatures(
            f"points {', '.join(equal)} coincide: their distance is {side.min():.3g}. {advice} one of them"
        )
    one, other = pairs[int(side.argmax())]
    third = 3 - one - other
    direction, offset = (points[other] - points[one]) / side.max(), points[third] - points[one]
    height = float(np.linalg.norm(offset - (offset @ direction) * direction))
    if height <= smallest:
        raise BadFeatures(
            f"points 0, 1 and 2 lie on one line: point {third} is {height:.3g} away from the line through "
            f"points {one} and {other}. {advice} point {third}"
        )
