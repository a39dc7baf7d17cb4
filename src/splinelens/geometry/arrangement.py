"""The cells that straight lines cut a box into, exactly: an arrangement of lines, not a sampled grid.

A line ``(a, b, c)`` is where ``a x + b y + c = 0``, with unit normal ``(a, b)``. Lines are entered one by
one into a half-edge structure: a half-edge is one direction of an edge and has its cell on its left. An
edge with ends on both sides of a line gets a vertex, and each cell that the line enters and leaves is
split in two. What is a vertex of which cell is thereby decided once, so rounding can never tear the
picture. A corner closer to a line than ``TOLERANCE`` (of half the box) is *on* it: three lines through
one point meet in one vertex, and cells thinner than that do not exist. Structure: de Berg et al.,
Computational Geometry, chapters 2 and 8; tolerance within the topology: Sugihara and Iri, 1992.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Int8

from splinelens.geometry.chords import TOLERANCE, Box, crosses, from_square, in_square

_ORIGIN, _END, _NEXT, _PREVIOUS, _TWIN, _CELL, _LINE = range(7)
_OUTSIDE = 0


@dataclass(frozen=True, eq=False)
class Cells:
    """Convex polygons that tile a box, in flat arrays: a sequence that makes polygon i when asked.

    Attributes:
        corners: Corners of all cells, one cell after another, each counter-clockwise.
        offsets: Cell i owns ``corners[offsets[i]:offsets[i + 1]]``; one entry more than cells.
        neighbours: The two cells of each edge inside the box: its right one, then its left one.
        lines: Number of the line that each of these edges lies on, positive in the left cell.
    """

    corners: Float[np.ndarray, "corner 2"]
    offsets: Int[np.ndarray, " offset"]
    neighbours: Int[np.ndarray, "edge 2"]
    lines: Int[np.ndarray, " edge"]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, cell: int) -> Float[np.ndarray, "corner 2"]:
        return self.corners[slice(*self.offsets[range(len(self))[cell] :][:2])]

    def __iter__(self) -> Iterator[Float[np.ndarray, "corner 2"]]:
        return (self[cell] for cell in range(len(self)))


def arrangement(lines: Float[np.ndarray, "line 3"], box: Box) -> Cells:
    """Every cell that the lines cut a box into.

    In general position there are ``1 + lines + crossings`` of them, counting what crosses the box. A
    line twice is one line; one that misses the box, touches only its corner or runs along its edge cuts
    nothing. A thousand lines take seconds.

    Args:
        lines: ``(a, b, c)`` of each line, of any length; rows with ``a = b = 0`` are no lines.
        box: ``(low_x, low_y, high_x, high_y)``, of positive width and height.

    Returns:
        The cells; ``lines`` counts the rows of ``lines``.

    Example:
        >>> cells = arrangement(np.array([[1.0, 0.0, -1.0], [0.0, 1.0, -1.0]]), (0.0, 0.0, 4.0, 4.0))
        >>> sorted(cell.max(axis=0).tolist() for cell in cells)
        [[1.0, 1.0], [1.0, 4.0], [4.0, 1.0], [4.0, 4.0]]
    """
    square = in_square(lines, box)
    edges = _HalfEdges()
    for line in np.flatnonzero(crosses(square)):
        edges.cut(int(line), square[line])
    return edges.cells(box)


def cell_around(
    lines: Float[np.ndarray, "line 3"], box: Box, place: Float[np.ndarray, " 2"]
) -> Float[np.ndarray, "corner 2"]:
    """The one cell that holds a place, without building the arrangement.

    Args:
        lines: ``(a, b, c)`` of each line, of any length.
        box: ``(low_x, low_y, high_x, high_y)``.
        place: A point of the box; on a line it belongs to the negative side, as a gate of 0 is off.

    Returns:
        The cell's corners, counter-clockwise.

    Example:
        >>> cell = cell_around(np.array([[1.0, 0.0, -1.0]]), (0.0, 0.0, 4.0, 4.0), np.array([3.0, 1.0]))
        >>> sorted(cell.tolist())
        [[1.0, 0.0], [1.0, 4.0], [4.0, 0.0], [4.0, 4.0]]
    """
    square, low, high = in_square(lines, box), np.array(box[:2]), np.array(box[2:])
    here = (place - low) / (high - low) * 2 - 1
    value = square[:, :2] @ here + square[:, 2]
    corners = np.array([[-1.0, -1.0], [1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]])
    for line in np.argsort(np.abs(value)):
        if np.abs(value[line]) > np.hypot(*(corners - here).T).max():
            break  # this line and all after it are farther away than any corner
        depth = corners @ square[line, :2] + square[line, 2]
        corners = _clip(corners, depth if value[line] > TOLERANCE else -depth)
    return from_square(corners, box)


class _HalfEdges:
    """The growing arrangement, in a square from -1 to 1; cell 0 is the outside.

    One half-edge of an edge has an even number and the other an odd one: half of them name every edge.
    """

    def __init__(self) -> None:
        inner, none = np.arange(4), np.full(4, -1)
        after, before = (inner + 1) % 4, (inner - 1) % 4
        self._edges = np.empty((7, 8), dtype=np.int64)
        self._edges[:, 0::2] = inner, after, 2 * after, 2 * before, 2 * inner + 1, none + 2, none
        self._edges[:, 1::2] = after, inner, 2 * before + 1, 2 * after + 1, 2 * inner, none + 1, none
        self._places = np.array([[-1.0, 1.0, 1.0, -1.0], [-1.0, -1.0, 1.0, 1.0]])
        self._edge_count, self._place_count, self._cell_count = 8, 4, 2

    def cut(self, line: int, coefficients: Float[np.ndarray, " 3"]) -> None:
        """Enter one line: first its vertices, then the cells that it splits."""
        a, b, c = coefficients
        x, y = self._places[:, : self._place_count]
        value = a * x + b * y + c
        side = (value > TOLERANCE).astype(np.int8) - (value < -TOLERANCE)
        start, end = side[self._edges[:2, : self._edge_count : 2]]
        met = np.flatnonzero(start * end < 0)
        falling = np.where(start[met] > 0, 2 * met, self._edges[_TWIN, 2 * met])
        leaving = self._leaving(start, end) if (side == 0).any() else None
        on, off = self._split_edges(falling, value)
        if leaving is not None:
            on, off = np.concatenate([on, leaving[0]]), np.concatenate([off, leaving[1]])
        self._split_cells(on, off, line)

    def cells(self, box: Box) -> Cells:
        """The finished cells, without the outside, in the box's own coordinates."""
        edges = self._edges[:, : self._edge_count]
        first = np.empty(self._cell_count, dtype=np.int64)
        first[edges[_CELL, ::-1]] = np.arange(self._edge_count)[::-1]  # of equal ones the last counts
        size = np.bincount(edges[_CELL])[1:]
        offsets = np.concatenate([[0], np.cumsum(size)])
        order = np.empty(offsets[-1], dtype=np.int64)
        current, slot, last = first[1:], offsets[:-1], offsets[1:]
        while len(slot):
            order[slot] = edges[_ORIGIN, current]
            more = slot + 1 < last
            current, slot, last = edges[_NEXT, current[more]], slot[more] + 1, last[more]
        left, right = edges[_CELL], edges[_CELL, edges[_TWIN]]
        inner = np.flatnonzero((left != _OUTSIDE) & (right != _OUTSIDE) & (edges[_LINE] >= 0))
        return Cells(
            corners=from_square(self._places[:, order].T, box),
            offsets=offsets,
            neighbours=np.stack([right[inner], left[inner]], 1) - 1,
            lines=edges[_LINE, inner],
        )

    def _leaving(
        self, start: Int8[np.ndarray, " edge"], end: Int8[np.ndarray, " edge"]
    ) -> tuple[Int[np.ndarray, " on"], Int[np.ndarray, " off"]]:
        """Old half-edges from a vertex on the line up and down, by the sides of each edge's two ends."""
        ahead = 2 * np.flatnonzero((start == 0) & (end != 0))
        back = 2 * np.flatnonzero((end == 0) & (start != 0))
        leaving = np.concatenate([ahead, self._edges[_TWIN, back]])
        upward = np.concatenate([end[ahead // 2], start[back // 2]]) > 0
        return leaving[upward], leaving[~upward]

    def _split_edges(
        self, edge: Int[np.ndarray, " edge"], value: Float[np.ndarray, " vertex"]
    ) -> tuple[Int[np.ndarray, " edge"], Int[np.ndarray, " edge"]]:
        """Put a vertex on each edge that runs down through the line; the edges from there up and down."""
        twin, number = self._edges[_TWIN, edge], len(edge)
        high, low = self._edges[_ORIGIN, edge], self._edges[_END, edge]
        share = value[high] / (value[high] - value[low])
        vertex = self._place_count + np.arange(number)
        self._place_count += number
        self._places = _with_room(self._places, self._place_count)
        self._places[:, vertex] = self._places[:, high] * (1 - share) + self._places[:, low] * share

        even, odd = self._new_edges(number)
        down, up = np.where(edge % 2, odd, even), np.where(edge % 2, even, odd)
        edges = self._edges
        for front, behind, back in ((edge, down, twin), (twin, up, edge)):
            edges[:, behind] = edges[:, front]  # the far half keeps cell, line, end and successor
            edges[_ORIGIN, behind], edges[_PREVIOUS, behind], edges[_TWIN, behind] = vertex, front, back
        for front, behind, back in ((edge, down, up), (twin, up, down)):
            edges[_PREVIOUS, edges[_NEXT, behind]] = behind
            edges[_END, front], edges[_NEXT, front], edges[_TWIN, front] = vertex, behind, back
        return up, down

    def _split_cells(self, on: Int[np.ndarray, " on"], off: Int[np.ndarray, " off"], line: int) -> None:
        """Join, in each cell with a corner on both sides, where its outline goes up and where down."""
        cells = self._edges[_CELL]
        on_cell, on_first = np.unique(cells[on], return_index=True)
        off_cell, off_first = np.unique(cells[off], return_index=True)
        shared, at_on, at_off = np.intersect1d(on_cell, off_cell, assume_unique=True, return_indices=True)
        inside = shared != _OUTSIDE
        rise, fall = on[on_first[at_on[inside]]], off[off_first[at_off[inside]]]
        above, below = self._new_edges(len(rise))
        edges = self._edges
        fresh = self._cell_count + np.arange(len(rise))
        self._cell_count += len(rise)
        a, b = edges[_ORIGIN, rise], edges[_ORIGIN, fall]
        before_rise, before_fall = edges[_PREVIOUS, rise], edges[_PREVIOUS, fall]
        edges[:, above] = b, a, rise, before_fall, below, fresh, np.full_like(a, line)
        # -1 marks the half-edge with the line's negative side on its left, as it marks the box's.
        edges[:, below] = a, b, fall, before_rise, above, shared[inside], np.full_like(a, -1)
        edges[_NEXT, before_fall], edges[_PREVIOUS, rise] = above, above
        edges[_NEXT, before_rise], edges[_PREVIOUS, fall] = below, below
        current = rise
        while len(current):
            edges[_CELL, current] = fresh
            current = edges[_NEXT, current]
            more = current != above
            current, fresh, above = current[more], fresh[more], above[more]

    def _new_edges(self, number: int) -> tuple[Int[np.ndarray, " edge"], Int[np.ndarray, " edge"]]:
        even = self._edge_count + 2 * np.arange(number)
        self._edge_count += 2 * number
        self._edges = _with_room(self._edges, self._edge_count)
        return even, even + 1


def _clip(
    corners: Float[np.ndarray, "corner 2"], depth: Float[np.ndarray, " corner"]
) -> Float[np.ndarray, "rest 2"]:
    """The part of a convex polygon where the depth is positive; all of it rather than nothing."""
    if depth.max() <= TOLERANCE or depth.min() >= -TOLERANCE:
        return corners
    after = np.roll(depth, -1)
    cut = (np.minimum(depth, after) < -TOLERANCE) & (np.maximum(depth, after) > TOLERANCE)
    share = (depth / np.where(cut, depth - after, 1))[:, None]
    between = corners * (1 - share) + np.roll(corners, -1, axis=0) * share
    wanted = np.stack([depth >= -TOLERANCE, cut], axis=1)
    return np.stack([corners, between], axis=1)[wanted]


def _with_room(array: np.ndarray, columns: int) -> np.ndarray:
    if columns <= array.shape[1]:
        return array
    return np.concatenate([array, np.empty((len(array), columns), dtype=array.dtype)], axis=1)
