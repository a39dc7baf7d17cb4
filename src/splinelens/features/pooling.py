"""From pooled layer statistics to the rows of a feature table.

A row holds the columns of one text, or of one prefix of a text; both come from the same statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from splinelens.engines.torch import Request, TextStats, TokenStats
from splinelens.features.catalogue import Column, Statistic
from splinelens.geometry.directions import Directions
from splinelens.geometry.partition import spline7
from splinelens.geometry.running import Running, spread
from splinelens.geometry.settings import BOUNDARY_POOLINGS, SIGN_POOLINGS, SPLINE7, THRESHOLDS


@dataclass(frozen=True)
class Layout:
    """Which columns a row has, and the request that computes them.

    Attributes:
        columns: The columns, in order.
        layers: Layers that are read, rising.
        softmax_layers: Those of them whose attention is read.
        eps: Threshold of the intrinsic dimension.
        directions: Learned hyperplanes across the layers.
    """

    columns: tuple[Column, ...]
    layers: tuple[int, ...]
    softmax_layers: tuple[int, ...]
    eps: float = 0.1
    directions: Directions | None = None

    @cached_property
    def width(self) -> int:
        """Numbers in a row."""
        return sum(column.size for column in self.columns)

    @cached_property
    def request(self) -> Request:
        """What a pass has to compute."""
        statistics = {column.statistic.name: column.statistic for column in self.columns}.values()

        def poolings(needs: str) -> tuple[str, ...]:
            names = [row.pooling for row in statistics if row.needs == needs and row.pooling]
            return tuple(dict.fromkeys(names))

        return Request(
            layers=self.layers,
            softmax_layers=self.softmax_layers,
            spline7=any(row.feature == "spline7" for row in statistics),
            margins=poolings("gate"),
            hidden=poolings("hidden"),
            attention=poolings("attention"),
            eps=self.eps,
            directions=self.directions,
            learned=poolings("inputs"),
        )

    def values(self, stats: TextStats, tokens: Sequence[int]) -> np.ndarray:
        """The rows that some statistics give.

        Returns:
            (row, entry) float32.
        """
        seven = None
        if stats.sign is not None and stats.boundary is not None:
            seven = spline7(stats.sign, stats.boundary)
            # The sign of NaN counts as off; the distance shows it.
            seven[~stats.boundary.result("mean").isfinite()] = torch.nan
        values = np.empty((len(tokens), self.width), dtype=np.float32)
        start = 0
        for column in self.columns:
            block = values[:, start : start + column.size]
            length = column.statistic.needs == "tokens"
            block[:] = np.asarray(tokens)[:, None] if length else self._column(column, stats, seven)
            start += column.size
        return values

    def sources(self, stats: TextStats, rows: int) -> np.ndarray:
        """The token that each number of some rows comes from.

        Returns:
            (row, entry); -1 where a number does not come from one token.
        """
        blocks = []
        for column in self.columns:
            source = None
            if column.layer in stats.margins and column.statistic.needs == "gate":
                source = stats.margins[column.layer].source(column.statistic.pooling)
            elif column.statistic.needs == "inputs" and stats.learned is not None:
                source = stats.learned.source(column.statistic.pooling)
            blocks.append(np.full((rows, column.size), -1) if source is None else source.numpy())
        return np.concatenate(blocks, axis=1)

    def scan(self, tokens: TokenStats, before: TextStats | None) -> TextStats:
        """Pool every prefix of one text.

        Returns:
            One row a prefix.
        """
        sizes = {column.layer: column.size for column in self.columns if column.statistic.axis == "neuron"}
        request, before = self.request, before or TextStats()

        def scanned(
            values: Tensor | None, poolings: Sequence[str], earlier: Running | None
        ) -> Running | None:
            return None if values is None else Running.scan(values[0], poolings, before=earlier)

        margins, hidden = {}, {}
        for layer, values in tokens.margins.items():
            one, seen = values[0], None
            if layer in tokens.neurons:
                one, seen = spread(one, tokens.neurons[layer][0], sizes[layer])
            margins[layer] = Running.scan(one, request.margins, seen=seen, before=before.margins.get(layer))
        for layer, values in tokens.hidden.items():
            hidden[layer] = Running.scan(values[0], request.hidden, before=before.hidden.get(layer))
        return TextStats(
            scanned(tokens.sign, SIGN_POOLINGS, before.sign),
            scanned(tokens.boundary, BOUNDARY_POOLINGS, before.boundary),
            scanned(tokens.dimension, request.attention, before.dimension),
            margins,
            hidden,
            scanned(tokens.learned, request.learned, before.learned),
        )

    def pool(self, tokens: TokenStats) -> TextStats:
        """Pool some tokens of one text.

        Returns:
            One row.
        """
        return self.scan(tokens, None).rows(-1, None).clone()

    def _column(self, column: Column, stats: TextStats, seven: Tensor | None) -> np.ndarray:
        row, layer = column.statistic, column.layer
        if row.needs == "inputs":
            assert stats.learned is not None
            return stats.learned.result(row.pooling).numpy()
        assert layer is not None
        if row.feature == "spline7":
            assert seven is not None
            return seven[:, self.layers.index(layer), SPLINE7.index(row.name), None].numpy()
        if row.needs == "attention":
            assert stats.dimension is not None
            counts = stats.dimension.result(row.pooling)
            return counts[:, threshold_index(row), self.softmax_layers.index(layer), None].numpy()
        states = stats.margins if row.needs == "gate" else stats.hidden
        return states[layer].result(row.pooling).numpy()


def threshold_index(statistic: Statistic) -> int:
    """Index in ``THRESHOLDS`` of the threshold that a statistic of ``attention_id`` uses."""
    return next(index for index, name in enumerate(THRESHOLDS) if f"_{name}_" in statistic.name)
