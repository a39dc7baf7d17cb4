"""Reads texts with one model under one spec: tokens in, one row of numbers a text out.

The windows of a long text come back in different batches; a text's row is made once all are there.
Sign fractions and distances of all windows are put end to end, pooled vectors are combined, so the
row is that of the whole text with each token counted once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadFeatures
from splinelens.features.catalogue import Column, columns, statistics
from splinelens.features.prompt import run_prompt
from splinelens.features.reading import BatchReader, RowReading
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.partition import SPLINE7, spline7
from splinelens.models import LoadedModel
from splinelens.tokens import (
    Side,
    TokenBatch,
    TokenizedText,
    Window,
    batches,
    padded,
    prompt_ids,
    tokenize,
)
from splinelens.weights import gate_weight


@dataclass(frozen=True)
class TextReading:
    """One text's row.

    Attributes:
        text: Index of the text among those read together.
        values: One number per entry of the table's columns, float32.
        where: For ``max``, ``min`` and ``last`` margins the token that each entry came from,
            else -1; None unless asked for.
        reason: Why the values cannot be used, or None.
    """

    text: int
    values: np.ndarray
    where: np.ndarray | None = None
    reason: str | None = None


class TextReader:
    """A model, a spec, and what they share over all texts: the prompt's states and the columns.

    Example:
        >>> from splinelens import load_model  # doctest: +SKIP
        >>> reader = TextReader(load_model(layers=2), FeatureSpec(layers=(0, 1)))  # doctest: +SKIP
    """

    def __init__(
        self, loaded: LoadedModel, spec: FeatureSpec, *, side: Side = "right", token_budget: int = 4096
    ):
        """Bind a model to a spec.

        Args:
            loaded: The model; it must have the layers of the spec.
            spec: What to read.
            side: Where batches are padded; the numbers are the same.
            token_budget: Tokens of a batch, padding included.

        Raises:
            BadFeatures: Unknown names, layers the model lacks, no layer at all, or a window and prompt
                longer than the model's positions.
        """
        self.loaded, self.spec, self.side, self.token_budget = loaded, spec, side, token_budget
        anatomy = anatomy_of(loaded.model)
        self.statistics = statistics(spec.features, spec.pooling)
        self.layers = tuple(range(anatomy.depth)) if spec.layers is None else tuple(sorted(set(spec.layers)))
        wrong = [layer for layer in self.layers if not 0 <= layer < anatomy.depth]
        if wrong:
            raise BadFeatures(
                f"layers {wrong} do not exist: {loaded.name} has {anatomy.depth} blocks loaded, 0 to "
                f"{anatomy.depth - 1}"
            )
        config: Any = loaded.model.config  # Any: each architecture has its own class
        sizes: dict[str, Sequence[int]] = {
            "neuron": [gate_weight(anatomy, layer).shape[0] for layer in range(anatomy.depth)],
            "width": [config.hidden_size] * anatomy.depth,
        }
        self.columns: tuple[Column, ...] = columns(self.statistics, self.layers, sizes)
        if not self.columns:
            raise BadFeatures(f"no layer to read {', '.join(spec.features)} at; name at least one")
        self.suffix = prompt_ids(loaded.tokenizer, spec.suffix, beginning=False) if spec.suffix else ()
        before = prompt_ids(loaded.tokenizer, spec.prompt, beginning=True)
        self.room: int | None = getattr(config, "max_position_embeddings", None)
        widest = padded(spec.max_tokens + len(self.suffix), len(before))
        longest = len(before) + spec.max_tokens + len(self.suffix)
        if self.room is not None and longest > self.room:
            raise BadFeatures(
                f"{len(before) + len(self.suffix)} prompt tokens and windows of {spec.max_tokens} exceed the "
                f"{self.room} positions of {loaded.name}; lower max_tokens"
            )
        scaling = getattr(config, "rope_parameters", None) or {}
        first = scaling.get("original_max_position_embeddings", self.room)
        if scaling.get("rope_type") == "longrope" and first is not None and len(before) + widest > first:
            # Beyond it transformers turns all positions of a batch by other angles than within it.
            raise BadFeatures(
                f"{len(before)} prompt tokens and windows of up to {widest} exceed the {first} positions "
                f"that {loaded.name} turns alike; lower max_tokens, or texts would change each other"
            )
        # Padded left, the prompt runs in each row: behind the padding, as close to its text as ever.
        self.prefix = before if side == "left" else ()
        self.prompt = run_prompt(loaded.model, () if side == "left" else before)

    def tokenize(self, texts: Sequence[str | None]) -> list[TokenizedText]:
        """Tokenise texts under the spec's window and policy for long ones."""
        return tokenize(texts, self.loaded.tokenizer, max_tokens=self.spec.max_tokens, long=self.spec.long)

    def read(self, tokenized: Sequence[TokenizedText], *, located: bool = False) -> Iterator[TextReading]:
        """Run the texts and yield each one's row as soon as all its windows are read.

        Args:
            tokenized: The texts; those with a reason are passed over.
            located: Also say which token each max, min and last margin came from.

        Yields:
            Readings in the order in which they become complete.
        """
        waiting: dict[int, list[tuple[Window, RowReading]]] = {}
        for batch in batches(
            tokenized,
            max_tokens=self.spec.max_tokens,
            token_budget=self.token_budget,
            offset=self.prompt.length,
            prefix=self.prefix,
            suffix=self.suffix,
            side=self.side,
        ):
            for window, reading in zip(batch.windows, self._run(batch, located), strict=True):
                parts = waiting.setdefault(window.text, [])
                parts.append((window, reading))
                text = tokenized[window.text]
                if sum(part.stop - part.pooled for part, _ in parts) == len(text.ids):
                    parts = sorted(waiting.pop(window.text), key=lambda part: part[0].start)
                    yield self._row(window.text, text, parts, located)

    def _run(self, batch: TokenBatch, located: bool) -> list[RowReading]:
        device = self.loaded.device
        mask = batch.mask.long().to(device) if batch.side == "left" else None
        # Right padding stands behind every token that is read, where causal attention cannot see it;
        # padded to a multiple of 16 it may stand behind the model's last position too.
        positions = batch.positions if self.room is None else batch.positions.clamp(max=self.room - 1)
        reader = BatchReader(self.loaded.model, self.statistics, self.layers, batch.spans, located)

        def run() -> None:
            self.loaded.model(
                batch.ids.to(device),
                attention_mask=mask,
                position_ids=positions.to(device),
                past_key_values=self.prompt.cache(len(batch.ids)),
                use_cache=self.prompt.length > 0,
            )

        with torch.no_grad():
            return reader.read(run)

    def _row(
        self, index: int, text: TokenizedText, parts: list[tuple[Window, RowReading]], located: bool
    ) -> TextReading:
        values, where = [], []
        series = [reading.series for _, reading in parts if reading.series is not None]
        seven = None
        if series:
            both = np.concatenate(series, axis=-1)
            seven = spline7(*torch.from_numpy(both)).numpy()
            seven[~np.isfinite(both).all(axis=(0, 2))] = np.nan  # also where only signs are asked for
        for column in self.columns:
            name = column.statistic.name
            if column.layer is None:
                entry, at = np.array([text.total]), None
            elif column.statistic.feature == "spline7":
                assert seven is not None  # a spline7 column always reads its series
                entry, at = seven[self.layers.index(column.layer), [SPLINE7.index(name)]], None
            else:
                entry, at = _combined(column, parts)
            values.append(entry)
            where.append(np.full(column.size, -1) if at is None else at)
        row = np.concatenate(values, dtype=np.float32)
        return TextReading(index, row, np.concatenate(where) if located else None, self._broken(row))

    def _broken(self, row: np.ndarray) -> str | None:
        """Why a row cannot be used, or None."""
        bad = np.flatnonzero(~np.isfinite(row))
        if not len(bad):
            return None
        ends = np.cumsum([column.size for column in self.columns])
        first = self.columns[int(np.searchsorted(ends, bad[0], side="right"))]
        return f"gives values that are not finite at {first.name}"


def _combined(column: Column, parts: list[tuple[Window, RowReading]]) -> tuple[np.ndarray, np.ndarray | None]:
    """Combine the pooled vectors of a text's windows, and the tokens that they came from."""
    key, pooling = (column.statistic.name, column.layer or 0), column.statistic.pooling
    stack = np.stack([reading.pooled[key] for _, reading in parts])
    if pooling == "last":
        return stack[-1], np.full(column.size, parts[-1][0].stop - 1)
    if pooling in ("mean", "occupancy"):
        weights = np.array([window.stop - window.pooled for window, _ in parts], dtype=np.float64)
        return (weights / weights.sum()) @ stack, None
    best = stack.argmax(axis=0) if pooling == "max" else stack.argmin(axis=0)
    values = np.take_along_axis(stack, best[None], axis=0)[0]
    if key not in parts[0][1].where:
        return values, None
    tokens = np.stack([window.pooled + reading.where[key] for window, reading in parts])
    return values, np.take_along_axis(tokens, best[None], axis=0)[0]
