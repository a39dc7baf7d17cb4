"""Where straight lines run through a box: which cross it, between which ends, and how often they meet.

A line ``(a, b, c)`` is where ``a x + b y + c = 0``; it is positive on the side that ``(a, b)`` points to.
Everything is compared in the square that the box becomes when both its sides run from -1 to 1, so a low
or tiny box loses nothing.
"""

import numpy as np
from jaxtyping import Bool, Float, Int

Box = tuple[float, float, float, float]
"""``(low_x, low_y, high_x, high_y)``."""

TOLERANCE = 1e-11
"""What is closer than this in the square is the same: well above rounding, well below any picture."""


def in_square(lines: Float[np.ndarray, "line 3"], box: Box) -> Float[np.ndarray, "line 3"]:
    """The lines in coordinates where the box runs from -1 to 1 both ways, with unit normals.

    Args:
        lines: ``(a, b, c)`` of each line, of any length.
        box: ``(low_x, low_y, high_x, high_y)``, of positive width and height.

    Returns:
        ``(a, b, c)`` of each line there; (0, 0, 1) where ``a = b = 0``: never zero, so no line.

    Example:
        >>> in_square(np.array([[5.0, 0.0, -5.0]]), (0.0, 0.0, 4.0, 4.0)).tolist()
        [[1.0, 0.0, 0.5]]
    """
    low, high = np.array(box[:2]), np.array(box[2:])
    offset = lines[:, :2] @ ((low + high) / 2) + lines[:, 2]
    square = np.column_stack([lines[:, :2] * (high - low) / 2, offset])
    norm = np.hypot(square[:, 0], square[:, 1])[:, None]
    return np.where(norm > 0, square / np.where(norm > 0, norm, 1), [0.0, 0.0, 1.0])


def from_square(places: Float[np.ndarray, "*place 2"], box: Box) -> Float[np.ndarray, "*place 2"]:
    """Places of the square from -1 to 1 in the box's own coordinates; its corners are met exactly.

    Args:
        places: Coordinates in the square.
        box: ``(low_x, low_y, high_x, high_y)``.

    Returns:
        Coordinates in the plane.

    Example:
        >>> from_square(np.array([0.0, 1.0]), (0.0, 0.0, 4.0, 4.0)).tolist()
        [2.0, 4.0]
    """
    share = (places + 1) / 2
    return np.array(box[:2]) * (1 - share) + np.array(box[2:]) * share


def crosses(square: Float[np.ndarray, "line 3"]) -> Bool[np.ndarray, " line"]:
    """Whether the square has a corner on both sides of each line: touching a corner or an edge is not enough.

    Args:
        square: Lines as from ``in_square``.

    Returns:
        One truth value a line.

    Example:
        >>> crosses(np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 1.0]])).tolist()
        [True, False]
    """
    reach = np.abs(square[:, 0]) + np.abs(square[:, 1])
    return reach - np.abs(square[:, 2]) > TOLERANCE


def chords(
    lines: Float[np.ndarray, "line 3"], box: Box
) -> tuple[Bool[np.ndarray, " line"], Float[np.ndarray, "line 2 2"]]:
    """Which lines cross a box, and between which two points of its edge.

    Args:
        lines: ``(a, b, c)`` of each line, of any length.
        box: ``(low_x, low_y, high_x, high_y)``.

    Returns:
        Whether each line cuts the box in two, and the end points, NaN where it does not; seen from the
        first end towards the second the positive side is on the left.

    Example:
        >>> met, ends = chords(np.array([[0.0, 1.0, -1.0]]), (0.0, 0.0, 4.0, 4.0))
        >>> ends[0].tolist()
        [[0.0, 1.0], [4.0, 1.0]]
    """
    square = in_square(lines, box)
    met = crosses(square)
    a, b, c = square[met].T
    foot, way = np.stack([-c * a, -c * b], 1), np.stack([b, -a], 1)
    with np.errstate(divide="ignore", invalid="ignore"):
        one, other = (-1 - foot) / way, (1 - foot) / way
    free = way == 0  # along an axis: that axis sets no end
    enter = np.where(free, -np.inf, np.minimum(one, other)).max(axis=1)
    leave = np.where(free, np.inf, np.maximum(one, other)).min(axis=1)
    ends = np.full((len(lines), 2, 2), np.nan)
    reach = np.stack([enter, leave], 1)[:, :, None] * way[:, None]
    ends[met] = from_square(np.clip(foot[:, None] + reach, -1, 1), box)
    return met, ends


def count_crossings(segments: Float[np.ndarray, "line 2 2"], box: Box) -> int:
    """How many pairs of lines cross inside the box, without building the arrangement.

    Two chords of a convex outline cross where their ends take turns along it.

    Args:
        segments: End points on the box's edge, as from ``chords``.
        box: ``(low_x, low_y, high_x, high_y)``.

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
    """For each line the first one that is the same line, whichever side is positive.

    Args:
        lines: ``(a, b, c)`` of each line, of any length.
        box: ``(low_x, low_y, high_x, high_y)``: sets how near is the same.

    Returns:
        Row numbers; a line's own where nothing before it is the same.

    Example:
        >>> lines = np.array([[1.0, 0.0, -1.0], [0.0, 1.0, 0.0], [-2.0, 0.0, 2.0]])
        >>> same_lines(lines, (0.0, 0.0, 4.0, 4.0)).tolist()
        [0, 1, 0]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from scipy.spatial import cKDTree

    square, count = in_square(lines, box), len(lines)
    if not count:
        return np.empty(0, dtype=np.int64)
    pairs = cKDTree(np.concatenate([square, -square])).query_pairs(TOLERANCE, output_type="ndarray") % count
    graph = coo_array((np.ones(len(pairs)), pairs.T), shape=(count, count))
    label = connected_components(graph, directed=False)[1]
    return np.unique(label, return_index=True)[1][label]
