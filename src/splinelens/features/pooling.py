"""From pooled layer statistics to the rows of a feature table.

A row holds the columns of one text, or of one prefix of a text; both come from the same statistics.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from splinelens.engines.compiled import PooledRows
from splinelens.features.catalogue import Column, Statistic
from splinelens.geometry.directions import Directions
from splinelens.geometry.settings import BOUNDARY_POOLINGS, SIGN_POOLINGS, SPLINE7, THRESHOLDS

if TYPE_CHECKING:
    from torch import Tensor

    from splinelens.engines.torch import Request, TextStats, TokenStats
    from splinelens.geometry.running import Running


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
    def request(self) -> "Request":
        """What a pass has to compute."""
        from splinelens.engines.torch import Request

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
            bounds=any(row.feature == "attention_bound" for row in statistics),
            eps=self.eps,
            directions=self.directions,
            learned=poolings("inputs"),
        )

    def values(self, stats: "TextStats | PooledRows", tokens: Sequence[int]) -> np.ndarray:
        """The rows that some statistics give.

        Args:
            stats: Of an engine.
            tokens: Tokens of each row's text, for the column ``length``.

        Returns:
            (row, entry) float32.
        """
        values = np.empty((len(tokens), self.width), dtype=np.float32)
        if isinstance(stats, PooledRows):
            values[:] = stats.values
        blocks = None if isinstance(stats, PooledRows) else self.blocks(stats, len(tokens))
        start = 0
        for index, column in enumerate(self.columns):
            block = values[:, start : start + column.size]
            if column.statistic.needs == "tokens":
                block[:] = np.asarray(tokens)[:, None]
            elif blocks is not None:
                block[:] = blocks[index].numpy()
            start += column.size
        return values

    def blocks(self, stats: "TextStats", rows: int) -> "list[Tensor]":
        """The numbers of each column, (row, size); 0 for ``length``, which no pass knows."""
        import torch

        from splinelens.geometry.partition import spline7

        seven = None
        if stats.sign is not None and stats.boundary is not None:
            seven = spline7(stats.sign, stats.boundary)
            # The sign of NaN counts as off; the distance shows it.
            seven[~stats.boundary.result("mean").isfinite()] = torch.nan
        return [
            torch.zeros(rows, 1) if column.statistic.needs == "tokens" else self._column(column, stats, seven)
            for column in self.columns
        ]

    def sources(self, stats: "TextStats | PooledRows", rows: int) -> np.ndarray:
        """The token that each number of some rows comes from.

        Returns:
            (row, entry); -1 where a number does not come from one token.
        """
        if isinstance(stats, PooledRows):
            assert stats.source is not None  # located
            return stats.source
        return np.concatenate([block.numpy() for block in self.source_blocks(stats, rows)], axis=1)

    def source_blocks(self, stats: "TextStats", rows: int) -> "list[Tensor]":
        """As ``sources``, for each column, (row, size)."""
        import torch

        blocks = []
        for column in self.columns:
            source = None
            if column.layer in stats.margins and column.statistic.needs == "gate":
                source = stats.margins[column.layer].source(column.statistic.pooling)
            elif column.statistic.needs == "inputs" and stats.learned is not None:
                source = stats.learned.source(column.statistic.pooling)
            blocks.append(torch.full((rows, column.size), -1) if source is None else source)
        return blocks

    def scan(self, tokens: "TokenStats", before: "TextStats | None") -> "TextStats":
        """Pool every prefix of one text.

        Returns:
            One row a prefix.
        """
        from splinelens.engines.torch import TextStats
        from splinelens.geometry.running import Running, spread

        sizes = {column.layer: column.size for column in self.columns if column.statistic.axis == "neuron"}
        request, before = self.request, before or TextStats()

        def scanned(
            values: "Tensor | None", poolings: Sequence[str], earlier: "Running | None"
        ) -> "Running | None":
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

    def pool(self, tokens: "TokenStats") -> "TextStats":
        """Pool some tokens of one text.

        Returns:
            One row.
        """
        return self.scan(tokens, None).rows(-1, None).clone()

    def _column(self, column: Column, stats: "TextStats", seven: "Tensor | None") -> "Tensor":
        row, layer = column.statistic, column.layer
        if row.needs == "inputs":
            assert stats.learned is not None
            return stats.learned.result(row.pooling)
        assert layer is not None
        if row.feature == "spline7":
            assert seven is not None
            return seven[:, self.layers.index(layer), SPLINE7.index(row.name), None]
        if row.needs == "attention":
            assert stats.dimension is not None
            counts = stats.dimension.result(row.pooling)
            return counts[:, threshold_index(row), self.softmax_layers.index(layer), None]
        states = stats.margins if row.needs == "gate" else stats.hidden
        return states[layer].result(row.pooling)


def threshold_index(statistic: Statistic) -> int:
    """Index of a statistic of attention in ``TextStats.dimension``: thresholds, then their bounds."""
    index = next(index for index, name in enumerate(THRESHOLDS) if f"_{name}_" in statistic.name)
    return index + len(THRESHOLDS) * (statistic.feature == "attention_bound")
