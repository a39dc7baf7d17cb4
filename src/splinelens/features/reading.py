"""What one forward pass reads of a batch, reduced layer by layer and copied to the host once.

A ``Reading`` holds, for every row of the batch, the sign fraction and boundary distance of each
token (two numbers a token and layer) and the pooled vectors. Rows are read as slices of the text's
own tokens, so padding and prompts cannot enter, and a slice stays in the processor's cache.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor, nn

from splinelens.features.catalogue import Statistic
from splinelens.geometry.partition import boundary_distance, pool, pooled_margin, sign_fraction, signed_margin
from splinelens.layers import watch
from splinelens.weights import gate_norms, neurons_alive


@dataclass(frozen=True)
class RowReading:
    """What was read of one row, on the host.

    Attributes:
        series: Sign fraction and boundary distance, (2, layer, token); None unless asked for.
        pooled: For each (statistic, layer) the pooled vector.
        where: For each (statistic, layer) the token of the row that reached each entry, counted
            from the first pooled one; only if asked for.
    """

    series: np.ndarray | None
    pooled: dict[tuple[str, int], np.ndarray]
    where: dict[tuple[str, int], np.ndarray]


@dataclass
class BatchReader:
    """Reduces the layers of one pass; make a new one for every batch."""

    model: nn.Module
    statistics: Sequence[Statistic]
    layers: Sequence[int]
    spans: Sequence[tuple[int, int]]
    located: bool = False
    _flat: list[Tensor] = field(default_factory=list)
    _keys: list[tuple[int, str, str, int]] = field(default_factory=list)

    def read(self, run: Callable[[], object]) -> list[RowReading]:
        """Run the model under watch and return what was read of each row.

        Args:
            run: Runs the forward pass.

        Returns:
            One reading a row, in the batch's order.
        """
        needs = {row.needs for row in self.statistics}
        if needs & {"gate", "hidden"}:
            with watch(
                self.model,
                gate=self._gate if "gate" in needs else None,
                hidden=self._hidden if "hidden" in needs else None,
                layers=self.layers,
                stop=True,
            ):
                run()
        return self._collect()

    def _gate(self, layer: int, gate: Tensor) -> None:
        norm, alive = gate_norms(self.model, layer), neurons_alive(self.model, layer)
        chosen = [row for row in self.statistics if row.needs == "gate"]
        series = any(row.feature == "spline7" for row in chosen)
        pooled = [row for row in chosen if row.pooling]
        for index, (start, stop) in enumerate(self.spans):
            margin = signed_margin(gate[index, start:stop], norm)
            if series:
                self._keep(index, "sign", "", layer, sign_fraction(margin))
                walls = margin if alive is None else margin[:, alive]
                self._keep(index, "boundary", "", layer, boundary_distance(walls))
            for row in pooled:
                # Finding where costs ten times as much as finding how far.
                values, where = (
                    pooled_margin(margin, row.pooling) if self.located else (pool(margin, row.pooling), None)
                )
                self._keep(index, row.name, "", layer, values)
                if where is not None:
                    self._keep(index, row.name, "where", layer, where)

    def _hidden(self, layer: int, hidden: Tensor) -> None:
        chosen = [row for row in self.statistics if row.needs == "hidden"]
        for index, (start, stop) in enumerate(self.spans):
            states = hidden[index, start:stop].float()
            for row in chosen:
                self._keep(index, row.name, "", layer, pool(states, row.pooling))

    def _keep(self, index: int, name: str, part: str, layer: int, values: Tensor) -> None:
        self._flat.append(values)
        self._keys.append((index, name, part, layer))

    def _collect(self) -> list[RowReading]:
        """Copy everything to the host at once and sort it by row."""
        sizes = [len(values) for values in self._flat]
        # Token positions fit float32 exactly up to 2**24, so one tensor carries everything.
        flat = torch.cat([values.float() for values in self._flat]).cpu().numpy() if sizes else np.empty(0)
        parts = np.split(flat, np.cumsum(sizes)[:-1]) if sizes else []
        rows: list[dict[tuple[str, str, int], np.ndarray]] = [{} for _ in self.spans]
        for (index, name, part, layer), values in zip(self._keys, parts, strict=True):
            rows[index][name, part, layer] = values
        return [_row(row) for row in rows]


def _row(parts: dict[tuple[str, str, int], np.ndarray]) -> RowReading:
    layers = sorted({layer for name, _, layer in parts if name == "sign"})
    series = None
    if layers:
        series = np.stack([[parts[name, "", layer] for layer in layers] for name in ("sign", "boundary")])
    vectors = {key: values for key, values in parts.items() if key[0] not in ("sign", "boundary")}
    return RowReading(
        series,
        {(name, layer): values for (name, part, layer), values in vectors.items() if not part},
        {(name, layer): values.astype(np.int64) for (name, part, layer), values in vectors.items() if part},
    )
