"""The reading loop: texts in, one row of numbers a text out, in input order. Read this file first.

texts -> tokens -> batches -> one watched forward pass each -> pooled statistics -> rows

Everything that reads texts uses ``TextReader.read``. Texts are sorted by length inside chunks; the
windows of a long text may be in different batches and are merged when all are there. With
``prefixes`` the same pass gives one row for every prefix of a text: attention is causal. ``read_at`` gives
one row for every named span of a text, also from its one pass.
"""

import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeVar

import numpy as np

from splinelens.anatomy import Anatomy, anatomy_of
from splinelens.engines.compiled import (
    POOLINGS,
    CompiledEngine,
    CompiledModel,
    GraphColumn,
    PooledRows,
    Precision,
    export_graph,
)
from splinelens.errors import BadFeatures, BadModel, BrokenArtifact
from splinelens.features.catalogue import CATALOGUE, Column, Statistic, columns, statistics
from splinelens.features.nonfinite import first_nonfinite, location
from splinelens.features.pooling import Layout
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.models import LoadedModel
from splinelens.texts.spans import CharacterSpan
from splinelens.tokens import (
    Positions,
    Side,
    TokenBatch,
    TokenizedText,
    Window,
    batches,
    prompt_ids,
    tokenize,
    windows,
)

if TYPE_CHECKING:
    from torch import Tensor

    from splinelens.engines.torch import TextStats, TokenStats, TorchEngine

CHUNK = 256
"""Texts sorted by length together on a CPU: 1,024 pad 7 % less, but the first are finished later."""

WINDOW = 512
"""Tokens of a window where none are given and the model has the positions."""

Progress = Callable[[int, int], None]
"""Called with the texts and the characters that were read since the last call.

Also while a long text is read: with no text, and its share of the characters.
"""

_NO_MEMORY, _NO_PASS = "does not fit into memory", "cannot be run: "
_MOST_FAILURES = 16
_MOST_CHARACTERS = 300  # of a reason
_MAX_PREFIX_BYTES = 4 * 2**30  # the rows of all prefixes of a chunk are in memory together

At = Literal["answer"] | Sequence[Sequence[CharacterSpan]]
"""The tokens of named spans, a list of them for each text, or the last token of the suffix."""

Result = TypeVar("Result")

_Located = tuple[np.ndarray | None, np.ndarray | None]  # source and learned margins, as in TextFeatures


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """The features of one text.

    Attributes:
        index: Index of the text among those read.
        values: One number per entry of the columns, float32; (prefix, entry) if prefixes were read.
            NaN where the text cannot be used.
        source: For max, min and last margins, learned ones too, the token that each entry comes from, else
            -1; None unless located.
        learned: (token, direction), the learned margins of each token that was read; None unless located by
            PyTorch and they are among the columns.
        tokens: Tokens of the whole text; 0 if it could not be tokenized.
        cut: Whether tokens at the end were dropped.
        offsets: Character span (begin, end) of each token that was read.
        reason: Why the values, or those of some prefixes, cannot be used; else None.
    """

    index: int
    values: np.ndarray
    source: np.ndarray | None
    learned: np.ndarray | None
    tokens: int
    cut: bool
    offsets: tuple[tuple[int, int], ...]
    reason: str | None


class TextReader:
    """Reads texts with one model under one spec.

    Example:
        >>> from splinelens import load_model  # doctest: +SKIP
        >>> reader = TextReader(load_model(n_layers=2), FeatureSpec(layers=(0, 1)))  # doctest: +SKIP
        >>> [features.tokens for features in reader.read(["Good morning.", ""])]  # doctest: +SKIP
        [3, 0]
    """

    def __init__(
        self,
        loaded: LoadedModel | CompiledModel,
        spec: FeatureSpec,
        *,
        side: Side = "right",
        batch_tokens: int | None = None,
        directions: Directions | None = None,
    ):
        """Bind a model to a spec.

        Args:
            loaded: The model; it must have the layers of the spec. An exported graph reads whole texts under
                the spec that it was made with, padded right.
            spec: What to read.
            side: Where batches are padded; the numbers are the same.
            batch_tokens: Tokens of a batch, padding included; halved when memory runs out. Default: 1,024
                on a CPU, whose caches they fit, else 4,096.
            directions: Learned hyperplanes across the layers of the spec, for the feature ``directions``.

        Raises:
            BadFeatures: Unknown names, layers the model lacks, no layer at all, a window and prompt longer
                than the model's positions, or directions that are missing, unused or of other layers.
        """
        self.loaded = loaded
        self.spec = spec
        self.side = side
        on_cpu = isinstance(loaded, CompiledModel) or loaded.device.type == "cpu"
        self.batch_tokens = batch_tokens or (1024 if on_cpu else 4096)
        self._chunks = 1 if on_cpu else 4
        self._passed, self._failures = False, 0  # whether a pass has succeeded, and texts that failed since
        self._failure: Exception | None = None
        self._most_failures: int | None = _MOST_FAILURES
        if isinstance(loaded, CompiledModel):
            self._bind_graph(loaded, directions)
            return
        from splinelens.engines.torch import TorchEngine

        anatomy = anatomy_of(loaded.model)
        self.layers = anatomy.layers(spec.layers)
        spec.require_directions(directions)
        self.layout = _layout(anatomy, spec, self.layers, directions)
        before = prompt_ids(loaded.tokenizer, spec.prompt, beginning=True)
        self.suffix = prompt_ids(loaded.tokenizer, spec.suffix, beginning=False) if spec.suffix else ()
        self.max_tokens = self._window(len(before) + len(self.suffix))
        self.spec = replace(spec, max_tokens=self.max_tokens)
        # Padded left, the prompt runs in each row: after the padding, next to its text. So it does
        # with linear attention, whose state cannot be shared by several texts.
        shared = side == "right" and not anatomy.has_linear_attention
        self.prompt = () if shared else before
        self.engine: TorchEngine | CompiledEngine = TorchEngine(
            loaded.model, self.layout.request, before if shared else ()
        )

    def _bind_graph(self, loaded: CompiledModel, directions: Directions | None) -> None:
        """As ``__init__``, to an exported graph: the prompt and the directions are in it."""
        if loaded.record.reads != _reads(self.spec, directions):
            raise BrokenArtifact(
                f"the graph in {loaded.folder} was made for a detector with another prompt, other layers or "
                "other directions than the one beside it; export the detector again"
            )
        record, self.layers = loaded.record, self.spec.layers or tuple(range(loaded.depth))
        graph_columns = tuple(
            Column(CATALOGUE[column.name], column.layer, column.size) for column in record.columns
        )
        self.layout = Layout(graph_columns, self.layers, (), self.spec.eps, directions)
        self.suffix, self.prompt = (), ()
        self.max_tokens = self._window(record.prompt_tokens)
        self.spec = replace(self.spec, max_tokens=self.max_tokens)
        self.engine = CompiledEngine(loaded)

    def retrying(self) -> "TextReader":
        """The same reader for texts that failed before: where all fail again, each has a reason."""
        reader = copy(self)
        reader._most_failures = None
        return reader

    def export_graph(self, folder: Path, precision: Precision = "float32") -> None:
        """Write what this reader computes of whole texts as one graph, for ``CompiledModel``.

        Args:
            folder: It exists.
            precision: Recorded as the one to use; ``int8`` rounds the weights.

        Raises:
            BadFeatures: The features or the architecture cannot be compiled, the model is not in float32 on a
                CPU, or there is a suffix.
            CannotWrite: The disk is full.
        """
        require_compilable(self.spec)
        engine, loaded, layout = self.torch_engine, self.loaded, self.layout
        assert isinstance(loaded, LoadedModel)
        if self.suffix or self.prompt or self.side == "left":
            raise BadFeatures("a suffix, padding on the left and linear attention cannot be compiled")
        if (loaded.device.type, str(loaded.dtype)) != ("cpu", "torch.float32"):
            raise BadFeatures(f"{loaded!r} cannot be compiled: load it in float32 on the CPU")

        def gather(stats: "TextStats", rows: int) -> "tuple[Tensor, Tensor]":
            import torch

            values = [block.float() for block in layout.blocks(stats, rows)]
            return torch.cat(values, dim=1), torch.cat(layout.source_blocks(stats, rows), dim=1)

        # Of the length only the column is in the graph: it counts tokens that are not read, too.
        poolings = [
            "max" if column.statistic.needs == "tokens" else column.statistic.pooling or column.statistic.name
            for column in layout.columns
        ]
        named = [
            GraphColumn(column.statistic.name, pooling, column.layer, column.size)
            for column, pooling in zip(layout.columns, poolings, strict=True)
        ]
        export_graph(engine, named, gather, loaded, _reads(self.spec, layout.directions), folder, precision)
        exact = None if precision == "int8" else "float32"
        graph = TextReader(CompiledModel(folder, exact), self.spec, directions=layout.directions)
        self._require_equal(graph, tolerance=1e-3 if exact else 0.1)

    def _require_equal(self, graph: "TextReader", tolerance: float) -> None:
        """Refuse a graph that gives other numbers: a model may use its token ids besides their embeddings."""
        assert isinstance(graph.engine, CompiledEngine)
        words = len(graph.engine.embeddings)
        tokens = min(9, self.max_tokens)
        ids = np.random.default_rng(0).integers(0, words, (2, tokens)).tolist()
        texts = [TokenizedText(tuple(row), ((0, 0),) * tokens, tokens) for row in ids]
        (ours,), (theirs,) = (
            [
                reader.layout.values(reader.engine.text_stats(batch), [tokens] * 2)
                for batch in reader.batches(texts)
            ]
            for reader in (graph, self)
        )
        if not np.allclose(ours, theirs, rtol=tolerance, atol=tolerance * np.abs(theirs).max()):
            raise BadFeatures(
                f"{self.loaded.name} cannot be compiled: its graph gives other numbers; use the torch engine"
            )

    @property
    def torch_engine(self) -> "TorchEngine":
        """The engine, where statistics of single tokens are needed.

        Raises:
            BadFeatures: The reader runs an exported graph, which gives whole texts only.
        """
        if isinstance(self.engine, CompiledEngine):
            raise BadFeatures(
                "an exported graph reads whole texts only: for prefixes, spans and single tokens use the "
                "torch engine (Detector.load(..., engine='torch'))"
            )
        return self.engine

    @property
    def chunk(self) -> int:
        """Texts that are sorted by length together; more on a GPU, whose batches are larger."""
        return self._chunks * CHUNK

    @property
    def columns(self) -> tuple[Column, ...]:
        """What the values are, in order."""
        return self.layout.columns

    def tokenize(self, texts: Sequence[str | None]) -> list[TokenizedText]:
        """Tokenize texts under the spec's window and policy for long ones."""
        return tokenize(
            texts,
            self.loaded.tokenizer,
            max_tokens=self.max_tokens,
            long=self.spec.long,
            normalize=self.spec.normalize,
            max_text_tokens=self.spec.max_text_tokens,
        )

    def batches(self, tokenized: Sequence[TokenizedText]) -> Iterator[TokenBatch]:
        """The batches that tokenized texts are run in."""
        return batches(
            tokenized,
            max_tokens=self.max_tokens,
            batch_tokens=self.batch_tokens,
            offset=self.engine.prompt.length,
            prompt=self.prompt,
            suffix=self.suffix,
            side=self.side,
            multiple=self.engine.pad_multiple,
        )

    def read(
        self,
        texts: Sequence[str | None],
        *,
        locate: bool = False,
        prefixes: bool = False,
        done: int = 0,
        progress: Progress | None = None,
    ) -> Iterator[TextFeatures]:
        """Read texts; those that cannot be read are included, with a reason.

        Args:
            texts: The texts; None stands for a missing one.
            locate: Also say which token each max, min and last margin comes from, and with PyTorch give the
                learned margins of each token.
            prefixes: Give one row for every prefix of 1, 2, ... tokens.
            done: The first texts that are left out, as an earlier run has read them. The others are batched
                as they would be with them, so that they have the same numbers to the last bit; where texts
                repeat across chunks, to rounding.
            progress: Called with the texts and the characters read since the last call.

        Yields:
            The features of each text, in input order.

        Raises:
            BadFeatures: The rows of all prefixes would not fit into memory.
        """
        yield from self.map(
            lambda features: features, texts, locate=locate, prefixes=prefixes, done=done, progress=progress
        )

    def map(
        self,
        function: Callable[[TextFeatures], Result],
        texts: Sequence[str | None],
        *,
        locate: bool = False,
        prefixes: bool = False,
        done: int = 0,
        progress: Progress | None = None,
    ) -> Iterator[Result]:
        """As ``read``, with a function applied to each text's features as soon as they are computed.

        Features of wide specs are large, and a chunk of texts is in flight at a time: reduce them here. Texts
        that are equal run once in a chunk, and mostly once in all, without prefixes.

        Args:
            function: Called in the order of the forward passes, first for texts that cannot be read.
            texts: As in ``read``.
            locate: As in ``read``.
            prefixes: As in ``read``.
            done: As in ``read``.
            progress: As in ``read``.

        Yields:
            What the function returns for each text, in input order, as soon as those before it are finished.
        """
        self._passed |= done > 0
        report, recent = progress or (lambda texts, characters: None), _Recent()

        def read(start: int) -> tuple[int, list[str | None], list[list[int]], list[TokenizedText]]:
            chunk = texts[start : start + self.chunk]
            equal = [[row] for row in range(len(chunk))] if prefixes else _equal(chunk)
            distinct = [chunk[rows[0]] for rows in equal]
            return start, distinct, equal, self.tokenize(distinct)

        starts = range(done // self.chunk * self.chunk, len(texts), self.chunk)
        for start, distinct, equal, tokenized in _one_ahead(read, starts):
            first = max(done, start)
            finished = self._finished(
                function, distinct, equal, tokenized, start, first, recent, locate, prefixes, report
            )
            yield from _in_order(finished, first)

    def _finished(
        self,
        function: Callable[[TextFeatures], Result],
        distinct: Sequence[str | None],
        equal: Sequence[Sequence[int]],
        tokens_of: Sequence[TokenizedText],
        start: int,
        first: int,
        recent: "_Recent",
        locate: bool,
        prefixes: bool,
        report: Progress,
    ) -> Iterator[tuple[int, Result]]:
        """Index and result of the texts of a chunk from ``first`` on, as soon as they are finished."""
        run: list[str | None] = []
        tokenized: list[TokenizedText] = []
        unread: list[list[int]] = []  # the indices of each text that is run
        for text, tokens, own_rows in zip(distinct, tokens_of, equal, strict=True):
            rows = [start + row for row in own_rows if start + row >= first]
            known = recent.get(text)
            if known is None:
                run.append(text)
                tokenized.append(tokens)
                unread.append(rows)
            elif rows:
                results = [(row, function(replace(known, index=row))) for row in rows]
                report(len(rows), len(rows) * len(text or ""))
                yield from results
        if prefixes:
            self._check_memory(tokenized, start)
        advance = _Advance(run, tokenized, report)
        skipped = {index for index, rows in enumerate(unread) if not rows}
        for index, values, located, reason in self._rows(
            tokenized, skipped, locate, prefixes, advance.window
        ):
            tokens, rows = tokenized[index], unread[index]
            features = TextFeatures(0, values, *located, tokens.total, tokens.cut, tokens.offsets, reason)
            results = [(row, function(replace(features, index=row))) for row in rows]
            advance.text(index)
            if rows[1:]:
                report(len(rows) - 1, (len(rows) - 1) * len(run[index] or ""))
            if not prefixes:
                recent.add(run[index], features)
            yield from results

    def read_at(
        self,
        texts: Sequence[str | None],
        at: At,
        *,
        done: int = 0,
        progress: Progress | None = None,
    ) -> Iterator[TextFeatures]:
        """Read named tokens of texts; each text is run whole, once, and only these tokens are pooled.

        A token belongs to a span if one of its characters does, without the white space at the ends of the
        span. In a text of several windows a span is pooled over those that hold it, and the answer over the
        suffix of each window.

        Args:
            texts: As in ``read``.
            at: For each text its spans, as ``check_spans`` gives them; or ``"answer"``.
            done: As in ``read``.
            progress: As in ``read``.

        Yields:
            One record a span, in input order, or with ``"answer"`` one a text. ``tokens``, ``cut`` and
            ``offsets`` are those of the text; ``length`` counts the tokens that are pooled.

        Raises:
            BadFeatures: ``"answer"`` where the suffix has no token.
        """
        if isinstance(at, str) and not self.suffix:
            raise BadFeatures(f"the suffix {self.spec.suffix!r} has no token, so there is no answer position")
        self._passed |= done > 0
        for start in range(done // self.chunk * self.chunk, len(texts), self.chunk):
            chunk, first = texts[start : start + self.chunk], max(done - start, 0)
            tokenized = self.tokenize(chunk)
            places = _places(tokenized, chunk, at if isinstance(at, str) else at[start : start + len(chunk)])
            run = [
                tokens if any(reason is None for _, reason in of_text) else TokenizedText()
                for tokens, of_text in zip(tokenized, places, strict=True)
            ]
            advance = _Advance(chunk, tokenized, progress or (lambda texts, characters: None))
            finished = self._place_rows(run, {*range(first)}, places, advance.window)
            for index, (rows, failure) in enumerate(_in_order(finished, first), first):
                text = tokenized[index]
                advance.text(index)
                for row, (_, reason) in zip(rows, places[index], strict=True):
                    reason = failure or text.reason or reason
                    if row is not None and not np.isfinite(row).all():
                        reason, row = self._nonfinite_reason(row[None], self._blame(text)), None
                    row = np.full(self.layout.width, np.nan, dtype=np.float32) if row is None else row
                    yield TextFeatures(
                        start + index, row, None, None, text.total, text.cut, text.offsets, reason
                    )

    def inputs(self, tokenized: Sequence[TokenizedText]) -> "Iterator[tuple[TokenBatch, Tensor]]":
        """The inputs of the MLPs at the layers of the spec, which learned margins are linear in.

        Yields:
            A batch of windows, and (row, token, layer, width), padding included.
        """
        for batch, inputs in self._passes(tokenized, self.torch_engine.inputs, set()):
            if isinstance(inputs, str):
                raise BadFeatures(f"text {batch.windows[0].text} {inputs}; leave it out")
            yield batch, inputs

    def token_stats(
        self, tokenized: Sequence[TokenizedText]
    ) -> "Iterator[tuple[TokenBatch, TokenStats | str]]":
        """The statistics of every token.

        Yields:
            A batch of windows and the statistics of its tokens, padding included; of a text that cannot be
            run a batch of one window and the reason.

        Raises:
            BadFeatures: The reader runs an exported graph, which gives whole texts only.
        """
        yield from self._passes(tokenized, self.torch_engine.token_stats, set())

    def _rows(
        self,
        tokenized: Sequence[TokenizedText],
        skipped: Collection[int],
        locate: bool,
        prefixes: bool,
        observe: Callable[[Window], None],
    ) -> Iterator[tuple[int, np.ndarray, _Located, str | None]]:
        """Index, values, tokens and reason of every text, as soon as they are computed.

        ``observe`` is called with each window that is a part of a text only.
        """
        nothing = np.full((1, self.layout.width) if prefixes else self.layout.width, np.nan, dtype=np.float32)
        for index, text in enumerate(tokenized):
            if text.reason is not None and index not in skipped:
                yield index, nothing, (None, None), text.reason
        if prefixes:
            yield from self._prefix_rows(tokenized, skipped, nothing, observe)
            return
        for index, values, located in self._text_rows(tokenized, skipped, locate, observe):
            reason = None
            if isinstance(values, str):
                reason, values = values, nothing
            elif not np.isfinite(values).all():
                reason = self._nonfinite_reason(values[None], self._blame(tokenized[index]))
            yield index, nothing if reason else values, located, reason

    def _text_rows(
        self,
        tokenized: Sequence[TokenizedText],
        skipped: Collection[int],
        locate: bool,
        observe: Callable[[Window], None],
    ) -> Iterator[tuple[int, np.ndarray | str, _Located]]:
        """Index, values and tokens of every readable text; in place of values, why they are missing."""
        waiting: dict[int, list[tuple[Window, "TextStats | PooledRows"]]] = {}
        run: "Callable[[TokenBatch], TextStats | PooledRows]" = partial(self.engine.text_stats, locate=locate)
        left_out = {*skipped}
        for part, stats in self._passes(tokenized, run, left_out):
            if isinstance(stats, str):
                yield part.windows[0].text, stats, (None, None)
                continue
            rows = [row for row, window in enumerate(part.windows) if window.text not in left_out]
            whole = [row for row in rows if _is_whole(part.windows[row], tokenized)]
            totals = [tokenized[window.text].total for window in part.windows]
            values = self.layout.values(stats, totals)
            sources = self.layout.sources(stats, len(part.windows)) if locate else None
            for row in whole:
                source, learned = None, stats.learned_tokens
                if sources is not None:
                    source = np.where(sources[row] < 0, -1, sources[row] - part.spans[row][0])
                of_text = None if learned is None else learned[row, slice(*part.spans[row])].numpy()
                yield part.windows[row].text, values[row], (source, of_text)
            for row in sorted({*rows} - {*whole}):
                window = part.windows[row]
                start, stop = part.spans[row]
                one = stats.text(row, start, stop).located_from(window.pooled - start)
                waiting.setdefault(window.text, []).append((window, one))
                observe(window)
                if _is_complete(waiting[window.text], tokenized[window.text]):
                    merged = _merged(waiting.pop(window.text))
                    values_of_text = self.layout.values(merged, [tokenized[window.text].total])[0]
                    source = self.layout.sources(merged, 1)[0] if locate else None
                    learned = merged.learned_tokens
                    of_text = None if learned is None else learned[0].numpy()
                    yield window.text, values_of_text, (source, of_text)

    def _prefix_rows(
        self,
        tokenized: Sequence[TokenizedText],
        skipped: Collection[int],
        nothing: np.ndarray,
        observe: Callable[[Window], None],
    ) -> Iterator[tuple[int, np.ndarray, _Located, str | None]]:
        """As ``_rows``, one row for every prefix; those before a failing token are kept."""
        for index, values in self._scans(tokenized, skipped, observe):
            text, reason = tokenized[index], None
            if isinstance(values, str):
                reason, values = values, nothing
            elif not np.isfinite(values).all():
                blame = self._blame(text)
                reason = self._nonfinite_reason(values, blame)
                if blame is not None and not np.isfinite(values[: blame[1]]).all():
                    end = blame[1]  # kernels spread NaN to earlier tokens: run those without it
                    ((_, before),) = self._scans([TokenizedText(text.ids[:end], text.offsets[:end], end)])
                    if not isinstance(before, str):
                        values = np.concatenate([before, np.full_like(values[end:], np.nan)])
                values[~np.isfinite(values).all(axis=1)] = np.nan
            yield index, values, (None, None), reason

    def _scans(
        self,
        tokenized: Sequence[TokenizedText],
        skipped: Collection[int] = (),
        observe: Callable[[Window], None] = lambda window: None,
    ) -> Iterator[tuple[int, np.ndarray | str]]:
        """Index of every readable text, and the rows of its prefixes or why they are missing."""
        waiting: dict[int, list[tuple[Window, "TokenStats"]]] = {}
        left_out = {*skipped}
        for part, stats in self._passes(tokenized, self.torch_engine.token_stats, left_out):
            if isinstance(stats, str):
                yield part.windows[0].text, stats
                continue
            for row, window in enumerate(part.windows):
                if window.text in left_out:
                    continue
                one = stats.text(row, *part.spans[row])
                waiting.setdefault(window.text, []).append((window, one))
                if not _is_whole(window, tokenized):
                    observe(window)
                if _is_complete(waiting[window.text], tokenized[window.text]):
                    yield window.text, self._scan(waiting.pop(window.text))

    def _scan(self, parts: list[tuple[Window, "TokenStats"]]) -> np.ndarray:
        """The rows of all prefixes of one text, from its windows."""
        rows, state = [], None
        for window, tokens in sorted(parts, key=lambda part: part[0].start):
            stats = self.layout.scan(tokens, state)
            rows.append(self.layout.values(stats, range(window.pooled + 1, window.stop + 1)))
            state = stats.rows(-1, None)
        return np.concatenate(rows)

    def _place_rows(
        self,
        tokenized: Sequence[TokenizedText],
        skipped: Collection[int],
        places: Sequence[Sequence["_Place"]],
        observe: Callable[[Window], None],
    ) -> Iterator[tuple[int, tuple[list[np.ndarray | None], str | None]]]:
        """Index of every text, the row of each of its places, None without a token; why it has none."""
        for index, text in enumerate(tokenized):
            if not text.ids and index not in skipped:
                yield index, ([None] * len(places[index]), None)
        waiting: dict[int, list[tuple[Window, list[tuple[int, "TextStats | None"]]]]] = {}
        left_out = {*skipped}
        for part, stats in self._passes(tokenized, self.torch_engine.token_stats, left_out):
            if isinstance(stats, str):
                index = part.windows[0].text
                yield index, ([None] * len(places[index]), stats)
                continue
            for row, window in enumerate(part.windows):
                if window.text in left_out:
                    continue
                first = part.spans[row][0] - window.pooled  # column of the text's first token
                pooled = []
                for tokens, _ in places[window.text]:
                    here = self._in_window(tokens, window)
                    one = stats.text(row, first + here.start, first + here.stop) if here else None
                    pooled.append((len(here), None if one is None else self.layout.pool(one)))
                waiting.setdefault(window.text, []).append((window, pooled))
                if not _is_whole(window, tokenized):
                    observe(window)
                if _is_complete(waiting[window.text], tokenized[window.text]):
                    yield window.text, (self._merged_rows(waiting.pop(window.text)), None)

    def _in_window(self, tokens: range | None, window: Window) -> range:
        """Which of some tokens a window pools, counted from the text's first; None is the suffix's last."""
        if tokens is None:
            end = window.stop + len(self.suffix)
            return range(end - 1, end)
        return range(max(tokens.start, window.pooled), min(tokens.stop, window.stop))

    def _merged_rows(
        self, parts: list[tuple[Window, list[tuple[int, "TextStats | None"]]]]
    ) -> list[np.ndarray | None]:
        """The row of each place of a text, from the tokens and statistics that its windows have of it."""
        rows: list[np.ndarray | None] = []
        for place in range(len(parts[0][1])):
            pooled = [(window, *of_window[place]) for window, of_window in parts]
            count = sum(tokens for _, tokens, _ in pooled)
            states = [(window, state) for window, tokens, state in pooled if tokens]
            rows.append(self.layout.values(_merged(states), [count])[0] if count else None)
        return rows

    def _passes(
        self,
        tokenized: Sequence[TokenizedText],
        run: Callable[[TokenBatch], Result],
        left_out: set[int],
    ) -> Iterator[tuple[TokenBatch, Result | str]]:
        """Run the batches of texts, without those in which all texts are left out.

        A batch that fails is run again in halves, so that a text that fails alone is found: then a batch of
        one window comes with the reason, once, and no further window of the text is run alone.

        Raises:
            Exception: Of a pass, where no text has passed yet, or so many in a row have failed that it is not
                the fault of the texts.
        """
        for batch in self.batches(tokenized):
            yield from self._run(batch, run, left_out)
        if self._failure is not None and not self._passed and self._most_failures is not None:
            raise self._failure

    def _run(
        self, batch: TokenBatch, run: Callable[[TokenBatch], Result], left_out: set[int]
    ) -> Iterator[tuple[TokenBatch, Result | str]]:
        """As ``_passes``, of one batch; where memory runs out later batches are smaller."""
        if left_out.issuperset(window.text for window in batch.windows):
            return
        halves: Sequence[TokenBatch] = ()
        result: Result | str
        try:
            result = run(batch)
        except (RuntimeError, MemoryError, BadModel) as error:
            if len(batch.windows) == 1:
                result = self._failed(error)
                left_out.add(batch.windows[0].text)
            else:
                halves = batch.halves()
                if _out_of_memory(error):
                    self.batch_tokens = min(self.batch_tokens, max(1, batch.ids.size // 2))
        else:
            self._passed, self._failures, self._failure = True, 0, None
        if not halves:
            yield batch, result
        for half in halves:  # here, where the error and what it holds in memory are gone
            yield from self._run(half, run, left_out)

    def _failed(self, error: Exception) -> str:
        """Why a text that fails alone has no numbers.

        Raises:
            Exception: The error, if it is not the fault of the text.
        """
        self._failures += 1
        if (
            self._failures == self._most_failures or type(error).__name__ == "AcceleratorError"
        ):  # all would fail
            raise error
        if not self._passed:
            self._failure = error
        if _out_of_memory(error):
            return _NO_MEMORY
        return f"{_NO_PASS}{error}"[:_MOST_CHARACTERS]

    def _blame(self, text: TokenizedText) -> tuple[str, int] | None:
        """Where a text fails, in words, and the first token that it spoils; the text is run again."""
        if isinstance(self.engine, CompiledEngine):
            return None
        prompt = TokenizedText(self.prompt, ((0, 0),) * len(self.prompt), len(self.prompt))
        rows = batches([prompt], max_tokens=len(self.prompt), side=self.side)  # none without a prompt
        finite = (bool(part.isfinite().all()) for pair in self.engine.prompt.states for part in pair)
        if not all(finite) or any(self.engine.failing_layer(row) is not None for row in rows):
            return ": the prompt before it does already", 0
        first = first_nonfinite(windows([text], self.max_tokens), partial(self._failing, text))
        return None if first is None else (location(text, *first), first[1])

    def _failing(self, text: TokenizedText, start: int, stop: int) -> int | None:
        """The first layer that fails when some tokens of a text are run."""
        part = TokenizedText(text.ids[start:stop], text.offsets[start:stop], stop - start)
        (batch,) = self.batches([part])
        return self.torch_engine.failing_layer(batch)

    def _nonfinite_reason(self, rows: np.ndarray, blame: tuple[str, int] | None) -> str:
        if blame is not None:
            return f"gives values that are not finite{blame[0]}"
        # Such as a layer whose gate weight is all zero: infinitely far from any boundary.
        bad = np.flatnonzero(~np.isfinite(rows).all(axis=0))
        ends = np.cumsum([column.size for column in self.columns])
        name = self.columns[int(np.searchsorted(ends, bad[0], side="right"))].name
        return f"gives values that are not finite at {name}"

    def _window(self, around: int) -> int:
        """Tokens of a window; refused if it does not fit into the model's positions with the prompts."""
        positions, window = self._positions(), self.spec.max_tokens
        if window is None:
            window = WINDOW if positions.usable is None else max(1, min(WINDOW, positions.usable - around))
        limit = positions.exceeded(around + window, self.loaded.name)
        if limit is not None and positions.exceeded(around + 1, self.loaded.name) is not None:
            raise BadFeatures(
                f"{around} prompt tokens and a token of a text exceed {limit}; shorten the prompt"
            )
        if limit is not None:
            raise BadFeatures(
                f"{around} prompt tokens and windows of {window} exceed {limit}; lower max_tokens "
                "(command line: --max-tokens N)"
            )
        return window

    def _positions(self) -> Positions:
        """The positions of the model."""
        if isinstance(self.loaded, CompiledModel):
            return Positions(self.loaded.record.positions, self.loaded.record.positions)
        from splinelens.engines.torch import positions_of

        return positions_of(self.loaded.model)

    def _check_memory(self, tokenized: Sequence[TokenizedText], start: int) -> None:
        """Refuse prefixes whose rows would fill the memory, before anything is run."""
        rows = np.array([len(text.ids) for text in tokenized])
        needed = 4 * self.layout.width * int(rows.sum())
        if needed > _MAX_PREFIX_BYTES:
            longest = int(rows.argmax())
            raise BadFeatures(
                f"the {int(rows.sum()):,} prefixes of texts {start} to {start + len(tokenized) - 1} (text "
                f"{start + longest} has {int(rows[longest]):,}) times {self.layout.width:,} numbers "
                f"take {needed / 2**30:.1f} GiB, more than {_MAX_PREFIX_BYTES / 2**30:.0f}. Read scalar "
                "features (spline7, attention_id), fewer layers or fewer texts at once, or follow each text "
                "with splinelens.Stream"
            )


def can_retry(reason: str | None) -> bool:
    """Whether a text may have numbers when it is read again: memory ran out, or its forward pass raised.

    Example:
        >>> can_retry("does not fit into memory"), can_retry("is empty")
        (True, False)
    """
    return reason is not None and (_NO_MEMORY in reason or _NO_PASS in reason)


def _layout(
    anatomy: Anatomy, spec: FeatureSpec, layers: tuple[int, ...], directions: Directions | None
) -> Layout:
    """The columns that a spec stands for with a model."""
    if directions is not None:
        directions.require_fit(len(layers), anatomy.width)
    chosen = statistics(spec.features, spec.pooling)
    softmax = _softmax_layers(anatomy, spec, layers, chosen)
    sizes: dict[str, Sequence[int]] = {
        "neuron": [anatomy.neurons(layer) for layer in range(anatomy.depth)],
        "width": [anatomy.width] * anatomy.depth,
    }
    count = 0 if directions is None else len(directions)
    layout_columns = columns(chosen, layers, sizes, softmax, count)
    if not layout_columns:
        raise BadFeatures(f"no layer to read {', '.join(spec.features)} at; name at least one")
    return Layout(layout_columns, layers, softmax, spec.eps, directions)


def _softmax_layers(
    anatomy: Anatomy, spec: FeatureSpec, layers: Sequence[int], chosen: Sequence[Statistic]
) -> tuple[int, ...]:
    """The layers whose attention is read: those with a softmax, if any statistic needs it."""
    if not any(row.needs == "attention" for row in chosen):
        return ()
    available = anatomy.softmax_layers
    lacking = [layer for layer in layers if layer not in available]
    if lacking and (spec.layers is not None or not available):
        has = f"layers that have one: {', '.join(map(str, available))}"
        none = f"none of layers 0 to {anatomy.depth - 1} has one: leave attention_id out"
        raise BadFeatures(
            f"layers {lacking} have no attention_id: {anatomy.no_attention(lacking[0])}; "
            f"{has if available else none}"
        )
    return tuple(layer for layer in layers if layer in available)


def require_compilable(spec: FeatureSpec) -> None:
    """Refuse features that a graph cannot have, before a model is loaded.

    Raises:
        BadFeatures: They do not follow from those of the windows of a text, or their explanation does not.
    """
    names = [
        row.name
        for row in statistics(spec.features, spec.pooling)
        if row.needs != "tokens"
        and ((row.pooling or row.name) not in POOLINGS or row.name == "direction_mean")
    ]
    if names:
        more = " and others" if names[1:] else ""
        raise BadFeatures(
            f"{names[0]}{more} cannot be compiled, only maxima, minima and last values of margins, learned "
            "directions and hidden states, and means of the first and the last; use the torch engine"
        )


def _reads(spec: FeatureSpec, directions: Directions | None) -> str:
    """Hash of what a graph is made from besides the model."""
    names = ("features", "pooling", "layers", "prompt", "suffix", "version", "eps")
    chosen = {name: getattr(spec, name) for name in names}
    digest = None if directions is None else directions.digest
    return hashlib.sha256(json.dumps([chosen, digest], sort_keys=True).encode()).hexdigest()


def _equal(texts: Sequence[str | None]) -> list[list[int]]:
    """The rows of each text, in the order of their first."""
    rows: dict[str | None, list[int]] = {}
    for row, text in enumerate(texts):
        rows.setdefault(text, []).append(row)
    return list(rows.values())


def _one_ahead(function: Callable[[int], Result], items: Sequence[int]) -> Iterator[Result]:
    """As ``map``, with the next item computed in a thread while the caller works on the one before.

    Example:
        >>> list(_one_ahead(lambda item: item * item, range(4)))
        [0, 1, 4, 9]
    """
    if len(items) < 2:
        yield from map(function, items)
        return
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(function, items[0])
        for item in items[1:]:
            result, waiting = waiting.result(), thread.submit(function, item)
            yield result
        yield waiting.result()


def _in_order(results: Iterable[tuple[int, Result]], first: int) -> Iterator[Result]:
    """Results that come with their numbers, in the order of these, from a first one on without a gap.

    Example:
        >>> list(_in_order([(1, "b"), (0, "a"), (2, "c")], 0))
        ['a', 'b', 'c']
    """
    waiting: dict[int, Result] = {}
    for number, result in results:
        waiting[number] = result
        while first in waiting:
            yield waiting.pop(first)
            first += 1


def _out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out: on a GPU, in PyTorch's allocator of the CPU, or in OpenVINO."""
    cause = error.__cause__ or error  # BadModel has one
    if isinstance(cause, MemoryError) or type(cause).__name__ == "OutOfMemoryError":
        return True
    return any(words in str(cause) for words in ("you tried to allocate", "bad_alloc"))


class _Recent:
    """The features of the texts that were read last, up to a limit of memory."""

    def __init__(self, limit_bytes: int = 2**25):
        self._features: OrderedDict[str | None, tuple[TextFeatures, int]] = OrderedDict()
        self._free = limit_bytes

    def get(self, text: str | None) -> TextFeatures | None:
        """The features of a text, if they are still there."""
        if text not in self._features:
            return None
        self._features.move_to_end(text)
        return self._features[text][0]

    def add(self, text: str | None, features: TextFeatures) -> None:
        """Keep the features of a text, and forget the oldest if there is no room."""
        arrays = (features.values, features.source, features.learned)
        size = sum(array.nbytes for array in arrays if array is not None)
        size += 4 * len(text or "") + 200 * len(features.offsets)  # of Python's objects
        self._features[text] = features, size
        self._free -= size
        while self._free < 0:
            self._free += self._features.popitem(last=False)[1][1]


class _Advance:
    """Reports the progress of a chunk: its texts, and shares of the characters of long ones."""

    def __init__(self, texts: Sequence[str | None], tokenized: Sequence[TokenizedText], progress: Progress):
        self._characters = [len(text or "") for text in texts]
        self._tokenized, self._progress = tokenized, progress
        self._reported = [0] * len(texts)

    def window(self, window: Window) -> None:
        """A window of a text was read."""
        tokens = len(self._tokenized[window.text].ids)
        share = self._characters[window.text] * (window.stop - window.pooled) // tokens
        self._reported[window.text] += share
        self._progress(0, share)

    def text(self, index: int) -> None:
        """A text was finished."""
        self._progress(1, self._characters[index] - self._reported[index])


_Place = tuple[range | None, str | None]  # tokens of a span, None for the answer; and why it has none


def _places(tokenized: Sequence[TokenizedText], texts: Sequence[str | None], at: At) -> list[list[_Place]]:
    """For each text the tokens of its spans, or the answer position."""
    if isinstance(at, str):
        return [[(None, None)] for _ in texts]
    return [
        [_place(tokens, text or "", span) for span in spans]
        for tokens, text, spans in zip(tokenized, texts, at, strict=True)
    ]


def _place(text: TokenizedText, characters: str, span: CharacterSpan) -> _Place:
    """The tokens of a text that belong to a span of its characters."""
    begin, end = span
    shown = characters[begin:end]
    first, last = begin + len(shown) - len(shown.lstrip()), end - (len(shown) - len(shown.rstrip()))
    offsets = np.array(text.offsets).reshape(-1, 2)
    tokens = np.flatnonzero((offsets[:, 0] < last) & (offsets[:, 1] > first))
    if len(tokens):
        return range(int(tokens[0]), int(tokens[-1]) + 1), None
    if text.cut and first >= offsets[-1, 1]:
        return range(0), f"characters {begin} to {end} come after the {len(offsets):,} tokens that were read"
    return range(0), f"characters {begin} to {end} have no token"


def _is_whole(window: Window, tokenized: Sequence[TokenizedText]) -> bool:
    return window.pooled == 0 and window.stop == len(tokenized[window.text].ids)


def _is_complete(parts: Sequence[tuple[Window, object]], text: TokenizedText) -> bool:
    return sum(window.stop - window.pooled for window, _ in parts) == len(text.ids)


def _merged(parts: list[tuple[Window, Any]]) -> Any:  # Any: TextStats or PooledRows, all of one kind
    (_, state), *rest = sorted(parts, key=lambda part: part[0].start)
    for _, later in rest:
        state = state.merge(later)
    return state
