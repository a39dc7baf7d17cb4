"""The cells into which straight lines cut a box: an exact arrangement of lines, not a sampled grid.

A line ``(a, b, c)`` is the set ``a x + b y + c = 0``; its positive side is where ``(a, b)`` points. The
box is mapped to a square from -1 to 1 first, so a flat or tiny box loses no precision. A point closer to
a line than ``TOLERANCE`` (of half the box) is *on* it: three lines through one point meet in one vertex,
and thinner cells do not exist. The side of a vertex depends on its coordinates only, and both cells of an
edge compute the same vertex bit by bit, so rounding cannot leave gaps or overlaps. Definitions: de Berg
et al., Computational Geometry, chapter 8.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

Box = tuple[float, float, float, float]
"""``(low_x, low_y, high_x, high_y)``, of positive width and height."""

TOLERANCE = 1e-11
"""Distance in the square below which things coincide: far above rounding, far below a pixel."""

_SQUARE = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])


def arrangement(lines: Float[np.ndarray, "line 3"], box: Box) -> list[Float[np.ndarray, "corner 2"]]:
    """Every cell that the lines cut a box into.

    In general position there are ``1 + lines + crossings`` of them, counting lines that cross the box.
    Duplicate lines count once; a line that misses the box, touches only its corner or runs along its edge
    cuts nothing. A thousand lines take seconds.

    Returns:
        The corners of each cell, counter-clockwise.

    Example:
        >>> cells = arrangement(np.array([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]), (0.0, 0.0, 4.0, 4.0))
        >>> sorted(cell.max(axis=0).tolist() for cell in cells)
        [[1.0, 1.0], [1.0, 4.0], [4.0, 1.0], [4.0, 4.0]]
    """
    square = _to_square(lines, box)
    # Cells have different numbers of corners: the last one is repeated to fill the row.
    cells, circles, count = _SQUARE[None], _circles(_SQUARE[None]), 1
    for line in square[_crosses_square(square)]:
        near = np.flatnonzero(np.abs(_value(circles[:count, :2], line)) <= circles[:count, 2])
        value = _value(cells[near], line)
        crossed = (value.min(axis=1) < -TOLERANCE) & (value.max(axis=1) > TOLERANCE)
        above, below = _split(cells[near[crossed]], value[crossed])
        size, total = max(cells.shape[1], above.shape[1], below.shape[1]), count + len(below)
        if total > len(cells):
            cells, circles = (np.concatenate([each, np.empty_like(each)]) for each in (cells, circles))
        cells = _fill(cells, size)
        for index, halves in ((near[crossed], above), (slice(count, total), below)):
            cells[index], circles[index] = _fill(halves, size), _circles(halves)
        count = total
    new = (cells[:count] != np.roll(cells[:count], 1, axis=1)).any(axis=2)
    positions = _from_square(cells[:count], box)
    return [corners[kept] for corners, kept in zip(positions, new, strict=True)]


def cell_around(
    lines: Float[np.ndarray, "line 3"], box: Box, position: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "corner 2"]:
    """The cell that contains a point, without the other cells.

    Returns:
        The cell's corners, counter-clockwise.

    Example:
        >>> cell = cell_around(np.array([[1.0, 0.0, -1.0]]), (0.0, 0.0, 4.0, 4.0), np.array([3.0, 1.0]))
        >>> sorted(cell.tolist())
        [[1.0, 0.0], [1.0, 4.0], [4.0, 0.0], [4.0, 4.0]]
    """
    square, low, high = _to_square(lines, box), np.array(box[:2]), np.array(box[2:])
    point = (position - low) / (high - low) * 2 - 1
    distance = square[:, :2] @ point + square[:, 2]
    cell = _SQUARE
    for line in np.argsort(np.abs(distance)):
        if np.abs(distance[line]) > np.hypot(*(cell - point).T).max():
            break  # this line and all that follow are farther away than any corner
        value = _value(cell, square[line])
        if value.min() < -TOLERANCE and value.max() > TOLERANCE:
            above, below = _split(cell[None], value[None])
            cell = above[0] if distance[line] > TOLERANCE else below[0]
    return _from_square(cell, box)


def line_segments(
    lines: Float[np.ndarray, "line 3"], box: Box
) -> tuple[Bool[np.ndarray, " line"], Float[np.ndarray, "line 2 2"]]:
    """Which lines cut a box in two, and the end points of the segments inside it.

    Returns:
        Whether each line cuts the box (touching a corner or an edge is not enough), and its two points on
        the box's edge, NaN where it does not. The positive side is on the left of the way from the first
        to the second.

    Example:
        >>> cuts, ends = line_segments(np.array([[0.0, 1.0, -1.0]]), (0.0, 0.0, 4.0, 4.0))
        >>> ends[0].tolist()
        [[0.0, 1.0], [4.0, 1.0]]
    """
    square = _to_square(lines, box)
    cuts = _crosses_square(square)
    a, b, c = square[cuts].T
    foot, direction = np.stack([-c * a, -c * b], axis=1), np.stack([b, -a], axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (-1 - foot) / direction, (1 - foot) / direction
    parallel = direction == 0  # to an axis, which then bounds nothing
    enter = np.where(parallel, -np.inf, np.minimum(one, other)).max(axis=1)
    leave = np.where(parallel, np.inf, np.maximum(one, other)).min(axis=1)
    ends = np.full((len(lines), 2, 2), np.nan)
    reach = np.stack([enter, leave], axis=1)[:, :, None] * direction[:, None]
    ends[cuts] = _from_square(np.clip(foot[:, None] + reach, -1, 1), box)
    return cuts, ends


def count_crossings(segments: Float[np.ndarray, "line 2 2"], box: Box) -> int:
    """How many pairs of lines cross inside the box, without the arrangement.

    Two chords of a convex outline cross if their end points alternate along it.

    Returns:
        Number of pairs; three lines through one point count as three, lines that meet on the edge as none.

    Example:
        >>> both = np.array([[[0.0, 0.0], [1.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
        >>> count_crossings(both, (0.0, 0.0, 1.0, 1.0))
        1
    """
    low, high = np.array(box[:2]), np.array(box[2:])
    x, y = np.moveaxis((segments - low) / (high - low) * 2 - 1, -1, 0)
    along = np.where(y <= -x, np.where(y <= x, x + 1, 7 - y), np.where(y <= x, 3 + y, 5 - x))
    first, last = np.sort(along, axis=1)[np.argsort(along.min(axis=1))].T
    begin, stop = np.searchsorted(first, first + TOLERANCE, "right"), np.searchsorted(first, last - TOLERANCE)
    return sum(int((last[begin[k] : stop[k]] > last[k] + TOLERANCE).sum()) for k in range(len(first)))


def same_lines(lines: Float[np.ndarray, "line 3"], box: Box) -> Int[np.ndarray, " line"]:
    """For each line the first equal one, whichever side is positive.

    Returns:
        Row numbers; its own where no line before it is equal.

    Example:
        >>> lines = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-2.0, 0.0, 2.0]])
        >>> same_lines(lines, (0.0, 0.0, 4.0, 4.0)).tolist()
        [0, 1, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    square, count = _to_square(lines, box), len(lines)
    if not count:
        return np.empty(0, dtype=np.int64)
    pairs = cKDTree(np.concatenate([square, -square])).query_pairs(TOLERANCE, output_type="ndarray") % count
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(count, count))
    label = connected_components(graph, directed=False)[1]
    return np.unique(label, return_index=True)[1][label]


def _to_square(lines: Float[np.ndarray, "line 3"], box: Box) -> Float[np.ndarray, "line 3"]:
    """The lines where the box runs from -1 to 1, with unit normals; (0, 0, 1) where ``a = b = 0``."""
    low, high = np.array(box[:2]), np.array(box[2:])
    offset = lines[:, :2] @ ((low + high) / 2) + lines[:, 2]
    square = np.column_stack([lines[:, :2] * (high - low) / 2, offset])
    norm = np.hypot(square[:, 0], square[:, 1])[:, None]
    return np.where(norm > 0, square / np.where(norm > 0, norm, 1), [0.0, 0.0, 1.0])


def _from_square(points: Float[np.ndarray, "*point 2"], box: Box) -> Float[np.ndarray, "*point 2"]:
    """Points of the square in the box's coordinates; its corners are exact."""
    share = (points + 1) / 2
    return np.array(box[:2]) * (1 - share) + np.array(box[2:]) * share


def _crosses_square(square: Float[np.ndarray, "line 3"]) -> Bool[np.ndarray, " line"]:
    """Whether the square has corners on both sides of each line."""
    return np.abs(square[:, 0]) + np.abs(square[:, 1]) - np.abs(square[:, 2]) > TOLERANCE


def _value(
    corners: Float[np.ndarray, "*cell 2"], line: Float[np.ndarray, " 3"]
) -> Float[np.ndarray, "*cell"]:
    """The line at each corner, by elementwise arithmetic: equal corners get equal values."""
    return line[0] * corners[..., 0] + line[1] * corners[..., 1] + line[2]


def _circles(cells: Float[np.ndarray, "cell corner 2"]) -> Float[np.ndarray, "cell 3"]:
    """Centers and radii of circles around cells, to find those near a line."""
    low, high = cells.min(axis=1), cells.max(axis=1)
    return np.column_stack([(low + high) / 2, np.hypot(*(high - low).T) / 2])


def _split(
    corners: Float[np.ndarray, "cell corner 2"], value: Float[np.ndarray, "cell corner"]
) -> tuple[Float[np.ndarray, "cell above 2"], Float[np.ndarray, "cell below 2"]]:
    """The halves of convex cells on the positive and on the negative side of a line through all of them."""
    side = (value > TOLERANCE).astype(np.int8) - (value < -TOLERANCE)
    following, after = np.roll(corners, -1, axis=1), np.roll(value, -1, axis=1)
    crossed = side * np.roll(side, -1, axis=1) < 0
    # From the positive end to the negative one: the cell on the other side of the edge does the same.
    falling = (value > after)[:, :, None]
    high, low = np.where(falling, corners, following), np.where(falling, following, corners)
    share = (np.maximum(value, after) / np.where(crossed, np.abs(value - after), 1))[:, :, None]
    vertex = high * (1 - share) + low * share
    points = np.stack([corners, vertex], axis=2).reshape(len(corners), 2 * corners.shape[1], 2)
    # A corner on the line belongs to the side that the outline comes from, the last one before it
    # changes sides to both: so the halves share exactly one edge.
    twice = np.concatenate([side, side], axis=1)
    latest = np.maximum.accumulate(np.where(twice != 0, np.arange(twice.shape[1]), 0), axis=1)
    origin = np.take_along_axis(twice, latest[:, side.shape[1] :], axis=1)
    turning = (side == 0) & (origin * np.roll(side, -1, axis=1) < 0)
    last = (corners != following).any(axis=2)  # of several equal ones that fill the row

    def half(sign: int) -> Float[np.ndarray, "cell side 2"]:
        kept = np.stack([last & ((origin == sign) | turning), crossed], axis=2).reshape(points.shape[:2])
        count = kept.sum(axis=1, keepdims=True)
        order = np.argsort(~kept, axis=1, kind="stable")
        index = np.take_along_axis(order, np.minimum(np.arange(count.max(initial=1)), count - 1), axis=1)
        return np.take_along_axis(points, index[:, :, None], axis=1)

    return half(1), half(-1)


def _fill(cells: Float[np.ndarray, "cell corner 2"], size: int) -> Float[np.ndarray, "cell size 2"]:
    """Rows of ``size`` corners, the last one repeated."""
    return (
        np.pad(cells, ((0, 0), (0, size - cells.shape[1]), (0, 0)), mode="edge")
        if size > cells.shape[1]
        else cells
    )
