"""What one forward pass reads of a batch, reduced layer by layer and copied to the host once.

A ``RowReading`` holds, for one row of the batch, a few numbers a token and layer (sign fraction,
boundary distance, intrinsic dimension) and the pooled vectors. Rows are read as slices of the text's
own tokens, so padding and prompts cannot enter, and a slice stays in the processor's cache.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from splinelens.errors import NoTokens
from splinelens.features.catalogue import Statistic
from splinelens.geometry.attention import intrinsic_dimension_of_weights, intrinsic_dimensions
from splinelens.geometry.partition import (
    boundary_distance,
    pool,
    pool_routed,
    pooled_margin,
    sign_fraction,
    signed_margin,
    visits,
)
from splinelens.layers import AttentionCall, watch
from splinelens.weights import gate_norms, neurons_alive, routed_neurons


@dataclass(frozen=True, eq=False)
class RowReading:
    """What was read of one row, on the host.

    Attributes:
        series: Sign fraction and boundary distance, (2, layer, token); None unless asked for.
        pooled: For each (statistic, layer) the pooled vector.
        where: For each (statistic, layer) the token of the row that reached each entry, counted
            from the first pooled one; only if asked for. On layers of experts -1 where none did.
        dimension: Intrinsic dimension summed over heads, absolute and relative, (2, layer, token) over
            the layers with a softmax; NaN where it is none. The last token alone where that is enough.
        visits: For each layer of experts, how many of the tokens are routed to each neuron.
        vectors: With ``whole``, for each ("gate" or "hidden", layer) every token's margins or states.
        neurons: With ``whole``, for each layer of experts the neurons that these margins belong to.
    """

    series: np.ndarray | None
    pooled: dict[tuple[str, int], np.ndarray]
    where: dict[tuple[str, int], np.ndarray]
    dimension: np.ndarray | None = None
    visits: dict[int, np.ndarray] = field(default_factory=dict)
    vectors: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)
    neurons: dict[int, np.ndarray] = field(default_factory=dict)


@dataclass
class BatchReader:
    """Reduces the layers of one pass; make a new one for every batch.

    Attributes:
        model: The model that is run.
        statistics: What is read.
        layers: The layers to read, rising.
        spans: For each row the tokens (start, stop) that are its own.
        located: Also find the tokens that margins come from.
        whole: Keep every token's vectors, for prefixes, instead of pooling them.
        eps: Threshold of the intrinsic dimension.
        softmax: Those of ``layers`` whose attention is a softmax; None stands for all.
    """

    model: nn.Module
    statistics: Sequence[Statistic]
    layers: Sequence[int]
    spans: Sequence[tuple[int, int]]
    located: bool = False
    whole: bool = False
    eps: float = 0.1
    softmax: Sequence[int] | None = None
    _flat: list[Tensor] = field(default_factory=list)
    _keys: list[tuple[int, str, str, int, torch.Size]] = field(default_factory=list)
    _routed: dict[int, Tensor] = field(default_factory=dict)

    def read(self, run: Callable[[], object]) -> list[RowReading]:
        """Run the model under watch and return what was read of each row.

        Args:
            run: Runs the forward pass.

        Returns:
            One reading a row, in the batch's order.

        Raises:
            NoTokens: A row has no token of its own.
        """
        empty = [row for row, (start, stop) in enumerate(self.spans) if stop <= start]
        if empty:
            raise NoTokens(f"rows {empty} of the batch have no tokens of their own; drop these texts")
        needs = {row.needs for row in self.statistics} - {"tokens"}
        gate = self._gate if "gate" in needs else None
        hidden = self._hidden if "hidden" in needs else None
        attention = self._attention if "attention" in needs else None
        routes = self._routes if gate else None
        softmax = self.layers if self.softmax is None else self.softmax
        with ExitStack() as watches:
            if attention and (gate or hidden) and list(softmax) != list(self.layers):
                # Linear attention stands in some of the layers: the outer watch ends the pass.
                watches.enter_context(
                    watch(self.model, gate=gate, routes=routes, hidden=hidden, layers=self.layers, stop=True)
                )
                watches.enter_context(watch(self.model, attention=attention, layers=softmax))
            elif needs:
                watches.enter_context(
                    watch(
                        self.model,
                        gate=gate,
                        routes=routes,
                        hidden=hidden,
                        attention=attention,
                        layers=softmax if attention else self.layers,
                        stop=True,
                    )
                )
            if needs:
                run()
        return self._collect()

    def _routes(self, layer: int, routes: Tensor) -> None:
        self._routed[layer] = routed_neurons(self.model, layer, routes)

    def _gate(self, layer: int, gate: Tensor) -> None:
        norm = gate_norms(self.model, layer)
        routed = self._routed.pop(layer, None)
        chosen = [row for row in self.statistics if row.needs == "gate"]
        series = any(row.feature == "spline7" for row in chosen)
        pooled = [row for row in chosen if row.pooling]
        for index, (start, stop) in enumerate(self.spans):
            own = None if routed is None else routed[index, start:stop]
            norms = norm if own is None else norm[own]
            margin = signed_margin(gate[index, start:stop], norms)
            if series:
                self._keep(index, "sign", "", layer, sign_fraction(margin))
                walls = wall_margins(self.model, layer, margin, own)
                self._keep(index, "boundary", "", layer, boundary_distance(walls))
            if not pooled:
                continue
            if self.whole:
                self._keep(index, "gate", "vectors", layer, margin)
                if own is not None:
                    self._keep(index, "gate", "neurons", layer, own)
            elif own is not None:
                self._pool_routed(index, layer, margin, own, len(norm), pooled)
            else:
                self._pool(index, layer, margin, pooled)

    def _pool(self, index: int, layer: int, margin: Tensor, pooled: list[Statistic]) -> None:
        for row in pooled:
            # Finding where costs ten times as much as finding how far.
            values, where = (
                pooled_margin(margin, row.pooling) if self.located else (pool(margin, row.pooling), None)
            )
            self._keep(index, row.name, "", layer, values)
            if where is not None:
                self._keep(index, row.name, "where", layer, where)

    def _pool_routed(
        self, index: int, layer: int, margin: Tensor, own: Tensor, size: int, pooled: list[Statistic]
    ) -> None:
        self._keep(index, "gate", "visits", layer, visits(own, size))
        for row in pooled:
            values, where = pool_routed(margin, own, size, row.pooling)
            self._keep(index, row.name, "", layer, values)
            if self.located and where is not None:
                self._keep(index, row.name, "where", layer, where)

    def _hidden(self, layer: int, hidden: Tensor) -> None:
        chosen = [row for row in self.statistics if row.needs == "hidden"]
        for index, (start, stop) in enumerate(self.spans):
            states = hidden[index, start:stop].float()
            if self.whole:
                self._keep(index, "hidden", "vectors", layer, states)
                continue
            for row in chosen:
                self._keep(index, row.name, "", layer, pool(states, row.pooling))

    def _attention(self, layer: int, call: AttentionCall) -> None:
        every = self.whole or any(
            row.needs == "attention" and row.pooling != "last" for row in self.statistics
        )
        # All rows at once take two thirds of the time of one by one, as long as no mask tells them apart.
        together = batch_dimensions(call, self.eps) if every and call.mask is None else None
        for index, (start, stop) in enumerate(self.spans):
            if together is not None:
                counts = together[:, index, :, start:stop]
            else:
                counts = row_dimensions(call, index, start if every else stop - 1, stop, self.eps)
            broken = (counts < 0).any(dim=1)
            self._keep(
                index, "dimension", "", layer, counts.sum(dim=1).float().masked_fill(broken, torch.nan)
            )

    def _keep(self, index: int, name: str, part: str, layer: int, values: Tensor) -> None:
        self._flat.append(values)
        self._keys.append((index, name, part, layer, values.shape))

    def _collect(self) -> list[RowReading]:
        """Copy everything to the host at once and sort it by row."""
        # Positions and neurons fit float32 exactly up to 2**24, so one tensor carries everything.
        flat = [values.reshape(-1).float() for values in self._flat]
        sizes = [len(values) for values in flat]
        host = torch.cat(flat).cpu().numpy() if sizes else np.empty(0)
        parts = np.split(host, np.cumsum(sizes)[:-1]) if sizes else []
        rows: list[dict[tuple[str, str, int], np.ndarray]] = [{} for _ in self.spans]
        for (index, name, part, layer, shape), values in zip(self._keys, parts, strict=True):
            rows[index][name, part, layer] = values.reshape(shape)
        return [_row(row) for row in rows]


def wall_margins(
    model: nn.Module,
    layer: int,
    margin: Float[Tensor, "token neuron"],
    routed: Int[Tensor, "token neuron"] | None,
) -> Float[Tensor, "token neuron"]:
    """The margins with which distances to walls are measured: a neuron without a wall is infinitely far.

    Args:
        model: The model.
        layer: The layer, from 0.
        margin: Signed margins of some tokens; a neuron whose weights are all 0 has margin 0.
        routed: On a layer of experts the neurons that these margins belong to, else None.

    Returns:
        The margins themselves where every neuron of the layer has a wall, as usual.
    """
    if neurons_alive(model, layer) is None:
        return margin
    norm = gate_norms(model, layer)
    return margin.masked_fill((norm if routed is None else norm[routed]) == 0, torch.inf)


def batch_dimensions(call: AttentionCall, eps: float) -> Int[Tensor, "2 text head token"] | None:
    """Intrinsic dimension of each head at every token of a batch whose attention is plainly causal.

    Args:
        call: What the attention of a layer was given, without a mask.
        eps: Threshold, in (0, 1).

    Returns:
        Counts of keys as ``row_dimensions`` gives them, of padding too; None where weights are had only.
    """
    if call.query is None or call.key is None:
        return None
    return intrinsic_dimensions(
        call.query,
        call.key,
        scaling=call.scaling,
        softcap=call.softcap,
        sinks=call.sinks,
        eps=eps,
    )


def row_dimensions(
    call: AttentionCall, row: int, start: int, stop: int, eps: float
) -> Int[Tensor, "2 head token"]:
    """Intrinsic dimension of each head at some tokens of one row of a batch.

    A token's keys are those it sees of its own row: prompt included, padding left out.

    Args:
        call: What the attention of a layer was given.
        row: The row.
        start: First token.
        stop: Behind the last token.
        eps: Threshold, in (0, 1).

    Returns:
        Counts of keys, absolute and relative; -1 where weights are no numbers.
    """
    own = call.part(row, start, stop)
    if own.weights is not None:
        return intrinsic_dimension_of_weights(own.weights, eps)[:, 0]
    assert own.query is not None
    assert own.key is not None
    return intrinsic_dimensions(
        own.query,
        own.key,
        scaling=own.scaling,
        mask=own.mask,
        softcap=own.softcap,
        sinks=own.sinks,
        eps=eps,
    )[:, 0]


def _row(parts: dict[tuple[str, str, int], np.ndarray]) -> RowReading:
    def stacked(*names: str) -> np.ndarray | None:
        layers = sorted({layer for name, _, layer in parts if name == names[0]})
        return np.stack([[parts[name, "", layer] for layer in layers] for name in names]) if layers else None

    def those(wanted: str) -> dict[tuple[str, int], np.ndarray]:
        tokenwise = ("sign", "boundary", "dimension")
        return {
            (name, layer): values
            for (name, part, layer), values in parts.items()
            if part == wanted and name not in tokenwise
        }

    def numbers(wanted: str) -> dict[tuple[str, int], np.ndarray]:
        return {key: values.astype(np.int64) for key, values in those(wanted).items()}

    dimension = stacked("dimension")
    return RowReading(
        stacked("sign", "boundary"),
        those(""),
        numbers("where"),
        None if dimension is None else dimension[0].swapaxes(0, 1),
        {layer: values for (_, layer), values in numbers("visits").items()},
        those("vectors"),
        {layer: values for (_, layer), values in numbers("neurons").items()},
    )
