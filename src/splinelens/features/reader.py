"""Reads texts with one model under one spec: tokens in, one row of numbers a text out.

The windows of a long text come back in different batches; a text's row, or the rows of all its
prefixes, are made once all are there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.errors import BadFeatures
from splinelens.features.catalogue import Column, Statistic, columns, statistics
from splinelens.features.nonfinite import blamed, failing_layer
from splinelens.features.positions import positions_of, run_tokens
from splinelens.features.prompt import run_prompt
from splinelens.features.reading import BatchReader, RowReading
from splinelens.features.rows import Layout, Part, prefix_rows, text_row
from splinelens.features.spec import FeatureSpec
from splinelens.models import LoadedModel
from splinelens.tokens import (
    Side,
    TokenBatch,
    TokenizedText,
    batches,
    prompt_ids,
    tokenize,
    windows,
)
from splinelens.weights import gate_weight


@dataclass(frozen=True, eq=False)
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


@dataclass(frozen=True, eq=False)
class PrefixReading:
    """The rows of all prefixes of one text.

    Attributes:
        text: Index of the text among those read together.
        values: (token, entry) float32; row n - 1 is that of the text's first n tokens.
        reasons: Why the values of a row cannot be used, or None, for each row.
    """

    text: int
    values: np.ndarray
    reasons: tuple[str | None, ...]


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
        self.softmax = _softmax(anatomy, spec, self.layers, self.statistics)
        sizes: dict[str, Sequence[int]] = {
            "neuron": [_neurons(anatomy, layer) for layer in range(anatomy.depth)],
            "width": [anatomy.width] * anatomy.depth,
        }
        self.columns: tuple[Column, ...] = columns(self.statistics, self.layers, sizes, self.softmax)
        if not self.columns:
            raise BadFeatures(f"no layer to read {', '.join(spec.features)} at; name at least one")
        self.suffix = prompt_ids(loaded.tokenizer, spec.suffix, beginning=False) if spec.suffix else ()
        before = prompt_ids(loaded.tokenizer, spec.prompt, beginning=True)
        self._require_room(len(before))
        # Padded left, the prompt runs in each row: behind the padding, as close to its text as ever.
        # So it does with linear attention, whose state cannot be borrowed by several texts.
        apart = side == "right" and len(anatomy.softmax_layers) == anatomy.depth
        self.prefix = () if apart else before
        self.prompt = run_prompt(loaded.model, before if apart else ())

    @property
    def layout(self) -> Layout:
        """Where the numbers of a row stand."""
        return Layout(self.columns, self.layers, self.softmax)

    def _require_room(self, before: int) -> None:
        """Refuse windows and prompts that do not fit into the model's positions."""
        window, around = self.spec.max_tokens, before + len(self.suffix)
        limit = positions_of(self.loaded.model).exceeded(around + window, self.loaded.name)
        if limit is not None:
            raise BadFeatures(
                f"{around} prompt tokens and windows of {window} exceed {limit}; lower max_tokens "
                "(command line: --max-tokens N)"
            )

    def tokenize(self, texts: Sequence[str | None]) -> list[TokenizedText]:
        """Tokenize texts under the spec's window and policy for long ones."""
        return tokenize(
            texts,
            self.loaded.tokenizer,
            max_tokens=self.spec.max_tokens,
            long=self.spec.long,
            normalize=self.spec.normalize,
        )

    def read(self, tokenized: Sequence[TokenizedText], *, located: bool = False) -> Iterator[TextReading]:
        """Run the texts and yield each one's row as soon as all its windows are read.

        Args:
            tokenized: The texts; those with a reason are passed over.
            located: Also say which token each max, min and last margin came from.

        Yields:
            Readings in the order in which they become complete.
        """
        for index, parts in self._complete(tokenized, located=located):
            text = tokenized[index]
            values, where = text_row(self.layout, text.total, parts)
            reason = None if np.isfinite(values).all() else self._reason(values[None], self._blamed(text))
            yield TextReading(index, values, where if located else None, reason)

    def read_prefixes(self, tokenized: Sequence[TokenizedText]) -> Iterator[PrefixReading]:
        """As ``read``, one row for each prefix of a text: all from the one pass that the text takes.

        Args:
            tokenized: The texts; those with a reason are passed over.

        Yields:
            Readings in the order in which they become complete.
        """
        for index, parts in self._complete(tokenized, whole=True):
            values, reason = prefix_rows(self.layout, parts), None
            if not np.isfinite(values).all():
                found = self._blamed(tokenized[index])
                reason = self._reason(values, found)
                values = values if found is None else self._until(tokenized[index], found[1], values)
            good = np.isfinite(values).all(axis=1)
            yield PrefixReading(index, values, tuple(None if fine else reason for fine in good.tolist()))

    def _complete(
        self, tokenized: Sequence[TokenizedText], *, located: bool = False, whole: bool = False
    ) -> Iterator[tuple[int, list[Part]]]:
        """Run the texts; yield the windows of each one, in order, as soon as all are read."""
        waiting: dict[int, list[Part]] = {}
        for batch in self._batches(tokenized):
            reader = BatchReader(
                self.loaded.model,
                self.statistics,
                self.layers,
                batch.spans,
                located,
                whole,
                self.spec.eps,
                self.softmax,
            )
            with torch.no_grad():
                readings: list[RowReading] = reader.read(partial(self._run, batch))
            for window, reading in zip(batch.windows, readings, strict=True):
                parts = waiting.setdefault(window.text, [])
                parts.append((window, reading))
                if sum(part.stop - part.pooled for part, _ in parts) == len(tokenized[window.text].ids):
                    yield window.text, sorted(waiting.pop(window.text), key=lambda part: part[0].start)

    def _batches(self, tokenized: Sequence[TokenizedText]) -> Iterator[TokenBatch]:
        return batches(
            tokenized,
            max_tokens=self.spec.max_tokens,
            token_budget=self.token_budget,
            offset=self.prompt.length,
            prefix=self.prefix,
            suffix=self.suffix,
            side=self.side,
        )

    def _run(self, batch: TokenBatch) -> None:
        # Right padding stands behind every token that is read, where causal attention cannot see it.
        mask = batch.mask if batch.side == "left" else None
        cache = self.prompt.cache(len(batch.ids))
        run_tokens(self.loaded.model, batch.ids, batch.positions, mask=mask, cache=cache)

    def _until(self, text: TokenizedText, token: int, rows: np.ndarray) -> np.ndarray:
        """The rows of all prefixes, those before a token that fails from a pass that does not meet it."""
        if np.isfinite(rows[:token]).all():
            return rows
        before = TokenizedText(text.ids[:token], text.offsets[:token], token)
        ((_, parts),) = self._complete([before], whole=True)
        return np.concatenate([prefix_rows(self.layout, parts), np.full_like(rows[token:], np.nan)])

    def _blamed(self, text: TokenizedText) -> tuple[str, int] | None:
        """Where a text fails and the first token that it spoils; the text is run again for it."""
        return blamed(
            text, windows([text], self.spec.max_tokens), self._prompt_finite, partial(self._failing, text)
        )

    def _reason(self, rows: np.ndarray, found: tuple[str, int] | None) -> str:
        """Why rows that are not finite cannot be used."""
        if found is not None:
            return f"gives values that are not finite{found[0]}"
        # Such as a layer whose gate weight is all zero: infinitely far from any wall.
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=0))
        ends = np.cumsum([column.size for column in self.columns])
        name = self.columns[int(np.searchsorted(ends, bad[0], side="right"))].name
        return f"gives values that are not finite at {name}"

    def _prompt_finite(self) -> bool:
        return all(bool(part.isfinite().all()) for pair in self.prompt.states for part in pair)

    def _failing(self, text: TokenizedText, start: int, stop: int) -> int | None:
        """The first layer that fails when these tokens of a text are run alone."""
        part = TokenizedText(text.ids[start:stop], text.offsets[start:stop], stop - start)
        (batch,) = self._batches([part])
        with torch.no_grad():
            return failing_layer(
                self.loaded.model, max(self.layers, default=0) + 1, batch.spans[0], partial(self._run, batch)
            )


def _neurons(anatomy: Anatomy, layer: int) -> int:
    """Neurons of a layer; a dense one is refused here if its weight cannot be read."""
    if anatomy.experts(layer) is not None:
        return anatomy.neurons(layer)
    return gate_weight(anatomy, layer).shape[0]


def _softmax(
    anatomy: Anatomy, spec: FeatureSpec, layers: Sequence[int], chosen: Sequence[Statistic]
) -> tuple[int, ...]:
    """Those of the layers whose attention is a softmax, where something is read of it."""
    if not any(row.needs == "attention" for row in chosen):
        return ()
    there = anatomy.softmax_layers
    lacking = [layer for layer in layers if layer not in there]
    if lacking and (spec.layers is not None or not there):
        raise BadFeatures(
            f"layers {lacking} have linear attention: no softmax, so no attention_id; "
            + (
                f"layers that have one: {', '.join(map(str, there))}"
                if there
                else "the model has none at all"
            )
        )
    return tuple(layer for layer in layers if layer in there)
