"""Score the texts of many requests in micro-batches, in one worker thread.

A batch is whatever waits when the worker is free, up to a budget of tokens: a single request is run at once,
and under load the batches grow by themselves. Admission is bounded, so that no request waits longer than the
texts before it take; a request that is admitted is always answered. Nothing here knows HTTP.
"""

import asyncio
import logging
import math
import threading
import traceback
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from splinelens.apps.group import DetectorGroup
from splinelens.apps.novelty import NoveltyDetector
from splinelens.errors import BadDetector, BadTexts, CannotServe, NotReady, Overloaded
from splinelens.report.novelty import NoveltyScore
from splinelens.report.scores import TextScore
from splinelens.serve.metrics import Metrics

MAX_INPUTS = 32
"""Texts of one request."""

CHARACTERS_PER_TOKEN = 250
"""A text with more characters than this times the most tokens is refused before it is tokenized."""

FRESH_S = 2.0
"""A text that was scored so recently shows that texts can be scored."""

_BYTES_PER_TOKEN = 4  # of English; the budget is met without tokenizing twice
_PROBE = "Is the server ready?"

_log = logging.getLogger("splinelens.serve")

Records = dict[str, TextScore]
"""The record of a text by each detector, by name."""


@dataclass(frozen=True, eq=False)
class _Item:
    """A text that waits, and where its result goes: its records, or with ``watch`` that of the range."""

    text: str
    explain: bool
    fpr: float
    watch: bool
    loop: asyncio.AbstractEventLoop
    future: "asyncio.Future[Any]"  # Any: one of the two

    @property
    def options(self) -> tuple[bool, float, bool]:
        """What the texts of a batch have in common."""
        return self.explain, self.fpr, self.watch

    @property
    def tokens(self) -> int:
        """About how many tokens it has."""
        return 1 + len(self.text.encode()) // _BYTES_PER_TOKEN

    def finish(self, result: Records | NoveltyScore | None) -> None:
        """Hand over the result from another thread; None if it could not be computed."""
        try:
            self.loop.call_soon_threadsafe(self._finish, result)
        except RuntimeError:  # the loop is closed: nobody waits any more
            return

    def _finish(self, result: Records | NoveltyScore | None) -> None:
        if self.future.done():  # the request was canceled
            return
        if result is None:
            self.future.set_exception(NotReady("the text could not be scored; the log says why"))
        else:
            self.future.set_result(result)


@dataclass(eq=False)
class ScoringService:
    """Scores texts with a group of detectors, for many callers at once.

    Attributes:
        group: The detectors.
        max_waiting: Texts that may wait or run at once; more are refused.
        max_text_tokens: Longer texts are undetermined; the group was loaded with it.
        batch_tokens: About how many tokens a batch has; they bound how long a text waits for the running one.
        max_delay_s: After a batch of several texts, how long the next waits to become as large.
        stuck_s: A batch without progress for so long is stuck; a pass of 1,024 tokens takes a tenth of it.
        metrics: Where batches and verdicts are counted.
        novelty: The range that ``watch`` compares texts with; it was loaded with ``max_text_tokens``.
    """

    group: DetectorGroup
    max_waiting: int = 512
    max_text_tokens: int = 2048
    batch_tokens: int = 2048
    max_delay_s: float = 0.002
    stuck_s: float = 5.0
    metrics: Metrics = field(default_factory=Metrics)
    novelty: NoveltyDetector | None = None

    def __post_init__(self) -> None:
        self._queue: deque[_Item] = deque()
        self._changed = threading.Condition()
        self._unfinished, self._last_size = 0, 1
        self._probe: asyncio.Future[Records] | None = None
        self._running, self._stopping = False, False
        self._progress_at, self._passed_at = monotonic(), -math.inf
        self._seconds_per_text = 0.01
        self._worker = threading.Thread(target=self._work, name="scoring", daemon=True)
        self.metrics.waiting.set_function(lambda: self._unfinished)

    def warm_up(self) -> None:
        """Run both kinds of passes once, with and without explanations: the first are slow.

        Raises:
            CannotServe: The text is not scored.
        """
        for explain in (False, True):
            (records,) = self.group.score([_PROBE], explain=explain)
        for name, record in records.items():
            if not record.tokens:
                raise CannotServe(f"detector {name} cannot score a text: it {record.reason}")
        if self.novelty is not None:
            (compared,) = self.novelty.score([_PROBE])
            if compared.reason:
                raise CannotServe(f"the range cannot be compared with: a text {compared.reason}")
        self._passed_at = monotonic()

    def start(self) -> None:
        """Start the worker."""
        self._worker.start()

    def refuse_new(self) -> None:
        """Take no text from now on; those that wait are scored. May be called by a signal handler."""
        self._stopping = True

    def stop(self, timeout_s: float) -> int:
        """Score what waits and end the worker.

        Returns:
            How many texts are left after ``timeout_s``.
        """
        self.refuse_new()
        with self._changed:
            self._changed.notify_all()
        self._worker.join(timeout_s)
        return self._unfinished

    @property
    def problem(self) -> str | None:
        """Why no text can be scored now, as far as that is known without a pass."""
        if self._stopping:
            return "the server is stopping"
        if self._running and monotonic() - self._progress_at > self.stuck_s:
            return f"the running batch made no progress for {self.stuck_s:g} s"
        return None

    async def check(self) -> str | None:
        """Why no text can be scored now, or None; a text is scored if none was in the last seconds."""
        if self.problem or monotonic() - self._passed_at < FRESH_S:
            return self.problem
        if self._probe is None or self._probe.done():  # one for all who ask
            (self._probe,) = self._enqueue([_PROBE], first=True)
        try:
            await asyncio.wait_for(asyncio.shield(self._probe), self.stuck_s)
        except TimeoutError:
            return self.problem  # None while the running batch makes progress
        except NotReady:
            return self.problem or "a forward pass failed"
        return None

    def require_room(self, texts: int = 1) -> None:
        """Refuse texts that would not be scored in time.

        Raises:
            NotReady: The server is stopping or stuck.
            Overloaded: Too many texts wait.
        """
        if self.problem:
            raise NotReady(f"{self.problem}; try again later")
        if self._unfinished + texts > self.max_waiting:
            raise Overloaded(f"{self._unfinished} texts are waiting; try again in {self.retry_after_s} s")

    @property
    def retry_after_s(self) -> int:
        """Seconds until about half of the waiting texts are scored, at least 1."""
        return max(1, math.ceil(self._unfinished * self._seconds_per_text / 2))

    async def score(
        self, texts: Sequence[str], *, explain: bool = False, fpr: float = 0.05, most: int = MAX_INPUTS
    ) -> list[Records]:
        """Score the texts of one request, in order.

        Args:
            texts: The texts.
            explain: As in ``DetectorGroup.score``.
            fpr: As in ``DetectorGroup.score``.
            most: Texts that the request may have.

        Raises:
            BadTexts: No text, too many, or one with too many characters.
            BadDetector: No threshold was stored for ``fpr``.
            NotReady: The server is stopping or stuck, or the pass failed.
            Overloaded: Too many texts wait.
        """
        self._check(texts, most)
        self._check_thresholds(fpr)
        self.require_room(len(texts))
        return list(await asyncio.gather(*self._enqueue(texts, explain, fpr)))

    async def watch(self, texts: Sequence[str]) -> list[NoveltyScore]:
        """Compare the texts of one request with the range of ordinary traffic, in a pass of their own.

        Raises:
            BadTexts: As in ``score``.
            NotReady: As in ``score``.
            Overloaded: Too many texts wait.
        """
        self._check(texts, MAX_INPUTS)
        self.require_room(len(texts))
        return list(await asyncio.gather(*self._enqueue(texts, watch=True)))

    def _check(self, texts: Sequence[str], most: int) -> None:
        """Refuse texts before any work."""
        if not 1 <= len(texts) <= most:
            raise BadTexts(f"{len(texts)} texts in one request; send 1 to {most}")
        limit = CHARACTERS_PER_TOKEN * self.max_text_tokens
        for index, text in enumerate(texts):
            if len(text) > limit:
                raise BadTexts(
                    f"text {index} has {len(text):,} characters, more than the limit of {limit:,}; split it"
                )

    def _check_thresholds(self, fpr: float) -> None:
        """Refuse a rate without thresholds."""
        for artifact in self.group.artifacts.values():
            try:
                artifact.limits(fpr)
            except BadDetector as error:
                raise BadDetector(f"no threshold for fpr={fpr:g}; give 0.001, 0.01 or 0.05") from error

    def _enqueue(
        self,
        texts: Sequence[str],
        explain: bool = False,
        fpr: float = 0.05,
        *,
        watch: bool = False,
        first: bool = False,
    ) -> "list[asyncio.Future[Any]]":  # Any: as in _Item
        loop = asyncio.get_running_loop()
        items = [_Item(text, explain, fpr, watch, loop, loop.create_future()) for text in texts]
        with self._changed:
            if self._stopping:  # the worker may have ended
                raise NotReady("the server is stopping; try again later")
            (self._queue.extendleft if first else self._queue.extend)(items)
            self._unfinished += len(items)
            self._changed.notify()
        return [item.future for item in items]

    def _work(self) -> None:
        """The worker thread."""
        while batch := self._next_batch():
            started = monotonic()
            self._beat()
            self._running = True
            self._score(batch)
            self._running = False
            self._last_size = len(batch)
            seconds_per_text = (monotonic() - started) / len(batch)
            self._seconds_per_text += 0.1 * (seconds_per_text - self._seconds_per_text)

    def _next_batch(self) -> list[_Item]:
        """The texts that are run next; none when the service is stopped and nothing waits."""
        with self._changed:
            while not self._queue and not self._stopping:
                self._changed.wait(1.0)  # a signal handler cannot notify
            deadline = monotonic() + self.max_delay_s
            while len(self._queue) < self._last_size and not self._stopping:
                if (left_s := deadline - monotonic()) <= 0:
                    break
                self._changed.wait(left_s)
            return self._take()

    def _take(self) -> list[_Item]:
        """The first text, and others with the same options up to the budget of tokens."""
        batch: list[_Item] = []
        others: deque[_Item] = deque()
        tokens = 0
        while self._queue:
            item = self._queue.popleft()
            if batch and item.options != batch[0].options:
                others.append(item)
                continue
            tokens += item.tokens
            if batch and tokens > self.batch_tokens:
                others.append(item)
                break
            batch.append(item)
        self._queue.extendleft(reversed(others))
        return batch

    def _score(self, batch: list[_Item]) -> None:
        """Score a batch; if the pass raises, each half, so that one text cannot fail those of others."""
        first, started = batch[0], monotonic()
        try:
            results = self._results([item.text for item in batch], *first.options)
        except Exception as error:  # whatever it is, those who wait are answered and the worker goes on
            if len(batch) > 1:
                half = len(batch) // 2
                self._score(batch[:half])
                self._score(batch[half:])
                return
            log_failure("pass failed", error)
            first.finish(None)
            self._finished(1)
            return
        self._passed()
        self.metrics.count(results, self._passed_at - started)
        for item, result in zip(batch, results, strict=True):
            item.finish(result)
        self._finished(len(batch))

    def _results(
        self, texts: Sequence[str], explain: bool, fpr: float, watch: bool
    ) -> Sequence[Records | NoveltyScore]:
        def progress(texts: int, characters: int) -> None:
            self._passed()

        if watch:
            assert self.novelty is not None  # the route asks only then
            return self.novelty.score(texts, progress=progress)
        return self.group.score(texts, explain=explain, fpr=fpr, progress=progress)

    def _beat(self) -> None:
        self._progress_at = monotonic()

    def _passed(self) -> None:
        """Texts were scored."""
        self._beat()
        self._passed_at = monotonic()

    def _finished(self, texts: int) -> None:
        self._beat()
        with self._changed:
            self._unfinished -= texts


def log_failure(event: str, error: BaseException) -> None:
    """Log the class of an exception and where it was raised, not its message: it may hold a text."""
    where = traceback.extract_tb(error.__traceback__)[-1]
    _log.error(event, extra={"error": type(error).__name__, "at": f"{where.filename}:{where.lineno}"})
