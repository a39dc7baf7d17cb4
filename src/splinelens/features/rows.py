"""From what was read of a text's windows to its row of numbers, or to one row for each prefix.

The windows of a long text are put end to end, each of its tokens counted once, so a row is that of
the whole text. A prefix is the text up to one of its tokens: what ``prefix_rows`` gives of the n-th is
what ``text_row`` gives of the first n tokens alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from splinelens.features.catalogue import Column
from splinelens.features.reading import RowReading
from splinelens.geometry.attention import THRESHOLDS
from splinelens.geometry.partition import SPLINE7, spline7
from splinelens.geometry.running import running_pool, running_spline7, spread
from splinelens.tokens import Window

Part = tuple[Window, RowReading]
"""A window of a text and what was read of it."""


@dataclass(frozen=True)
class Layout:
    """Where the numbers of a row stand.

    Attributes:
        columns: The columns, in order.
        layers: The layers that ``RowReading.series`` ranges over.
        softmax: The layers that ``RowReading.dimension`` ranges over.
    """

    columns: tuple[Column, ...]
    layers: tuple[int, ...]
    softmax: tuple[int, ...]

    @property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(column.size for column in self.columns)


def text_row(layout: Layout, total: int, parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray]:
    """The row of a whole text.

    Args:
        layout: The columns.
        total: Tokens of the whole text.
        parts: All its windows, in order, as ``BatchReader`` read them.

    Returns:
        The values in float32, and for ``max``, ``min`` and ``last`` margins the token that each
        entry came from; -1 elsewhere, and where no token reached it.
    """
    both, dimension = _joined(parts, "series"), _joined(parts, "dimension")
    seven = None
    if both is not None:
        seven = spline7(*torch.from_numpy(both)).numpy()
        seven[~np.isfinite(both).all(axis=(0, 2))] = np.nan  # also where only signs are asked for
    values, where = [], []
    for column in layout.columns:
        row, at = column.statistic, None
        if column.layer is None:
            entry = np.array([total])
        elif row.feature == "spline7":
            assert seven is not None  # a spline7 column always reads its series
            entry = seven[layout.layers.index(column.layer), [SPLINE7.index(row.name)]]
        elif row.needs == "attention":
            assert dimension is not None
            counts = dimension[threshold_number(row.name), layout.softmax.index(column.layer)]
            entry = np.array([_pooled_count(counts, row.pooling)])
        else:
            entry, at = _combined(column, column.layer, parts)
        values.append(entry)
        where.append(np.full(column.size, -1) if at is None else at)
    return np.concatenate(values, dtype=np.float32), np.concatenate(where)


def prefix_rows(layout: Layout, parts: Sequence[Part]) -> np.ndarray:
    """The rows of every prefix of a text.

    Args:
        layout: The columns.
        parts: All its windows, in order, read with ``whole=True``.

    Returns:
        (token, entry) float32: row n - 1 is that of the first n tokens.
    """
    tokens = sum(window.stop - window.pooled for window, _ in parts)
    both, dimension = _joined(parts, "series"), _joined(parts, "dimension")
    seven = None
    if both is not None:
        seven = running_spline7(*torch.from_numpy(both)).numpy()
        broken = ~np.isfinite(both).all(axis=0)
        seven[np.logical_or.accumulate(broken, axis=-1)] = np.nan
    rows, start = np.empty((tokens, layout.width), dtype=np.float32), 0
    for column in layout.columns:
        row, block = column.statistic, rows[:, start : start + column.size]
        if column.layer is None:
            block[:, 0] = np.arange(1, tokens + 1)
        elif row.feature == "spline7":
            assert seven is not None
            block[:, 0] = seven[layout.layers.index(column.layer), :, SPLINE7.index(row.name)]
        elif row.needs == "attention":
            assert dimension is not None
            counts = dimension[threshold_number(row.name), layout.softmax.index(column.layer)]
            block[:] = running_pool(torch.from_numpy(counts)[:, None], row.pooling).numpy()
        else:
            block[:] = _running(column, column.layer, parts)
        start += column.size
    return rows


def threshold_number(name: str) -> int:
    """Which of the two thresholds a statistic of ``attention_id`` goes by.

    Args:
        name: The statistic's name.

    Returns:
        Its place in ``THRESHOLDS``.

    Example:
        >>> threshold_number("attention_id_relative_last")
        1
    """
    return next(number for number, word in enumerate(THRESHOLDS) if f"_{word}_" in name)


def _pooled_count(counts: np.ndarray, pooling: str) -> float:
    """One number of the counts of all tokens."""
    if pooling == "last":
        return float(counts[-1])
    return float(counts.max() if pooling == "max" else counts.mean(dtype=np.float64))


def _joined(parts: Sequence[Part], name: str) -> np.ndarray | None:
    """A series of all windows end to end, (2, layer, token)."""
    series = [getattr(reading, name) for _, reading in parts]
    return None if series[0] is None else np.concatenate(series, axis=-1)


def _running(column: Column, layer: int, parts: Sequence[Part]) -> np.ndarray:
    """One vector column of every prefix, (token, size)."""
    needs = column.statistic.needs
    vectors = torch.from_numpy(np.concatenate([reading.vectors[needs, layer] for _, reading in parts]))
    seen = None
    if needs == "gate" and layer in parts[0][1].neurons:
        neurons = np.concatenate([reading.neurons[layer] for _, reading in parts])
        vectors, seen = spread(vectors, torch.from_numpy(neurons), column.size)
    return running_pool(vectors, column.statistic.pooling, seen).numpy()


def _combined(column: Column, layer: int, parts: Sequence[Part]) -> tuple[np.ndarray, np.ndarray | None]:
    """Combine the pooled vectors of a text's windows, and the tokens that they came from."""
    key, pooling = (column.statistic.name, layer), column.statistic.pooling
    stack = np.stack([reading.pooled[key] for _, reading in parts])
    if pooling == "last":
        return stack[-1], np.full(column.size, parts[-1][0].stop - 1)
    weights = np.array([[window.stop - window.pooled] for window, _ in parts], dtype=np.float64)
    visits = None
    if column.statistic.needs == "gate" and layer in parts[0][1].visits:
        visits = np.stack([reading.visits[layer] for _, reading in parts])
    if pooling == "mean" and visits is not None:
        return (visits * stack).sum(0) / visits.sum(0).clip(min=1), None
    if pooling in ("mean", "occupancy"):
        return (weights[:, 0] / weights.sum()) @ stack, None
    if visits is not None:  # a window without visits does not count, unless all are
        nothing = -np.inf if pooling == "max" else np.inf
        stack = np.where((visits > 0) | ~visits.any(0), stack, nothing)
    best = stack.argmax(axis=0) if pooling == "max" else stack.argmin(axis=0)
    values = np.take_along_axis(stack, best[None], axis=0)[0]
    if key not in parts[0][1].where:
        return values, None
    tokens = np.stack(
        [
            np.where(reading.where[key] < 0, -1, window.pooled + reading.where[key])
            for window, reading in parts
        ]
    )
    return values, np.take_along_axis(tokens, best[None], axis=0)[0]
