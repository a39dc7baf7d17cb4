"""Guard a reply while it is written: judge every prefix, release what is cleared, stop what is not.

A reply longer than the detector's window is judged as one text, not in windows.

With a detector of replies the statistics are those of the writer's own pass: no second model runs. Any other
detector reads the reply beside the writer. A reply is judged as a whole so far, and by its sentences, as
``texts.sentences`` has them.
"""

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import dataclass, replace
from os import PathLike
from typing import Literal, get_args

import numpy as np

from splinelens.apps.detector import Detector, plan_of
from splinelens.detect import UNDETERMINED
from splinelens.detect.artifact import Artifact
from splinelens.detect.shipped import find_artifact
from splinelens.engines.torch import TextStats
from splinelens.errors import BadDetector, BadFeatures, BadTexts, WrongModel
from splinelens.features.loading import check_model
from splinelens.features.pooling import Layout
from splinelens.features.stream import Stream
from splinelens.generate.sample import Message, Sampling, Writer, check_messages
from splinelens.models import LoadedModel
from splinelens.report.scores import SentenceScore
from splinelens.texts.sentences import complete_sentences
from splinelens.tokens import prompt_ids

Release = Literal["sentence", "all", "audit"]
"""When characters are released: after their sentence is cleared, after the whole reply is, or at once."""

Action = Literal["stop", "replace", "retry"]
"""What follows a sentence or reply that is not cleared."""

GuardEnded = Literal["stop", "length", "blocked"]


@dataclass(frozen=True)
class GuardEvent:
    """What a guard says after a token or piece of text.

    Attributes:
        text: The characters that are released now.
        score: Calibrated probability of the reply so far, with what is held back; of several labels the
            highest. None if there is none.
        verdict: On the reply so far: a label, the detector's negative word, or ``undetermined``.
        ended: Why the reply has ended, in the last event; else None.
    """

    text: str
    score: float | None
    verdict: str
    ended: GuardEnded | None = None


@dataclass(frozen=True)
class GuardedReply:
    """A finished reply.

    Attributes:
        text: All that was released.
        score: Of the reply as it was written last, whether it was released or not.
        verdict: Likewise.
        ended: ``stop`` after an end token or a stop string, ``length`` at the most tokens, or ``blocked``.
        attempts: How often it was written, retries included.
        scores: After each token of the last attempt.
        flagged: The sentences of the last attempt that were not cleared.
    """

    text: str
    score: float | None
    verdict: str
    ended: GuardEnded
    attempts: int
    scores: tuple[float | None, ...]
    flagged: tuple[SentenceScore, ...]


@dataclass(frozen=True)
class TurnScore:
    """The scores of one message of a conversation.

    Attributes:
        role: Who wrote it.
        score: Of its tokens; None without a token.
        verdict: On it.
        running_score: Of the tokens of all messages of this role so far.
        running_verdict: On these.
    """

    role: str
    score: float | None
    verdict: str
    running_score: float | None
    running_verdict: str


class Guard:
    """Writes replies, or watches texts that others write, and releases only what a detector clears.

    Attributes:
        artifact: The detector.
        writer: What writes; None of a guard that only watches.
        own_pass: Whether the writer's own pass is judged.

    Example:
        >>> guard = Guard("replies", "smollm2-135m")  # doctest: +SKIP
        >>> guard.generate("Name a river in France.").ended  # doctest: +SKIP
        'stop'
    """

    def __init__(
        self,
        detector: str | PathLike[str] = "replies",
        model: str | PathLike[str] | LoadedModel | None = None,
        *,
        release: Release = "sentence",
        action: Action = "stop",
        fpr: float = 0.05,
        threshold: float | None = None,
        debounce: int = 3,
        replacement: str = "[removed]",
        retries: int = 2,
        own_pass: bool | None = None,
        device: str | None = None,
        dtype: str | None = None,
    ):
        """Load the writer and the detector.

        Args:
            detector: A shipped name or a folder.
            model: What writes: name, folder or file, or a model loaded with ``head=True``; None only watches.
            release: ``sentence`` holds characters back until their sentence is complete and cleared and the
                reply so far is not flagged, ``all`` until the reply is complete and all of it is cleared;
                ``audit`` releases all at once, and reports.
            action: ``stop`` ends the reply, ``replace`` releases ``replacement`` and ends it, ``retry``
                writes again from the last sentence that was released. ``audit`` does none of them.
            fpr: The false-positive rate whose thresholds are used: 0.001, 0.01 or 0.05. It holds for one
                text, not for all sentences and prefixes of a reply together.
            threshold: A score to use instead.
            debounce: The reply so far must be flagged after so many tokens in a row before ``sentence`` stops
                it within a sentence.
            replacement: See ``action``.
            retries: Most retries of one reply; then it is stopped.
            own_pass: True judges the writer's own pass, False runs the detector beside it; None takes the own
                pass where the detector was fitted on replies of this model.
            device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
            dtype: Number type of the writer's weights; None takes ``float32``.

        Raises:
            BadFeatures: An option that does not exist, or a number outside its range.
            BadDetector: The detector tells classes apart, has no threshold for ``fpr``, or reads a suffix.
            WrongModel: ``own_pass`` with a detector of another model, or of other texts than replies.
        """
        for name, value, known in (("release", release, Release), ("action", action, Action)):
            if value not in get_args(known):
                raise BadFeatures(f"{name}={value!r} is not one of {', '.join(get_args(known))}")
        for name, number, least in (("debounce", debounce, 1), ("retries", retries, 0)):
            if not isinstance(number, int) or number < least:
                raise BadFeatures(f"{name}={number!r}: give a whole number of at least {least}")
        self.artifact = find_artifact(detector)
        if self.artifact.task == "classes":
            raise BadDetector(f"detector {self.artifact.name} tells classes apart, none of which is safe")
        self.limits = np.array(self.artifact.limits(fpr, threshold))
        self.release, self.action, self.debounce = release, action, debounce
        self.replacement, self.retries = replacement, retries
        plan = plan_of(self.artifact)
        if plan.spec.suffix:
            raise BadDetector(
                f"detector {self.artifact.name} reads a suffix after a text that is not complete"
            )
        self.writer = None if model is None else Writer(model, device=device, dtype=dtype)
        reason = self._why_beside()
        if own_pass and reason:
            raise WrongModel(f"{reason}; leave out own_pass to run it beside the writer")
        self.own_pass = reason is None if own_pass is None else own_pass
        self._beside: tuple[Detector, Stream] | None = None
        if self.own_pass and self.writer is not None:
            spec = replace(plan.spec, prompt="", max_tokens=1)
            self.writer = Writer(self.writer.loaded, spec=spec, directions=plan.directions)
        else:
            beside = Detector.load(detector, engine="torch", device=device)
            loaded, spec = beside.reader.loaded, plan.spec
            assert isinstance(loaded, LoadedModel)
            stream = Stream(
                loaded,
                features=spec.features,
                layers=spec.layers,
                pooling=spec.pooling,
                prompt=spec.prompt,
                eps=spec.eps,
                directions=plan.directions,
            )
            self._beside = beside, stream

    def __repr__(self) -> str:
        writes = "no writer" if self.writer is None else self.writer.loaded.name
        read = "own pass" if self.own_pass else "beside"
        return f"Guard({self.artifact.name!r}, {writes}, {read}, {self.release}, {self.action})"

    def generate(self, prompt: str | Sequence[Message], sampling: Sampling | None = None) -> GuardedReply:
        """Write a reply, and return what may be released of it.

        Args:
            prompt: Messages, or the text of a user's message; of a model without a chat template a text to
                continue.
            sampling: How tokens are chosen; None takes the most likely ones, at most 200.

        Raises:
            BadFeatures: The guard has no model that writes; or ``retry`` with temperature 0.
            BadTexts: As in ``Writer.write``.
            BadModel: As in ``Writer.write``.
        """
        watch, text = self._new_watch(), ""
        for event in self._events(prompt, sampling, watch):
            text += event.text
        assert event.ended is not None
        scores, flagged = tuple(watch.scores), tuple(watch.flagged)
        return GuardedReply(text, event.score, event.verdict, event.ended, watch.attempts, scores, flagged)

    def stream(
        self, prompt: str | Sequence[Message], sampling: Sampling | None = None
    ) -> Iterator[GuardEvent]:
        """As ``generate``, an event for each token; the last one has ``ended``."""
        return self._events(prompt, sampling, self._new_watch())

    def score(self, messages: Sequence[Message]) -> list[TurnScore]:
        """Score the messages of a conversation, each by itself and with those of its role before it.

        In the own pass each message is read in the context of all before it; of these tokens, and of those of
        the chat template, none is pooled. A detector beside the writer reads each message by itself.

        Raises:
            BadTexts: A message lacks its role or content, or the conversation exceeds the model's window.
        """
        check_messages(messages)
        if not messages:
            return []
        scores = self._in_context(messages) if self.own_pass else self._by_themselves(messages)
        return [
            TurnScore(message["role"], _highest(one), self.verdict(one), _highest(all_), self.verdict(all_))
            for message, (one, all_) in zip(messages, scores, strict=True)
        ]

    def verdict(self, scores: np.ndarray | None) -> str:
        """The verdict on (label,) scores; ``undetermined`` without any."""
        if scores is None:
            return UNDETERMINED
        fired = self.artifact.fired(scores, self.limits.tolist())
        return self.artifact.labels[fired[0]] if fired else self.artifact.negative

    def _in_context(
        self, messages: Sequence[Message]
    ) -> Iterator[tuple[np.ndarray | None, np.ndarray | None]]:
        """Scores of each message and of all of its role so far, from one pass over the conversation."""
        assert self.writer is not None
        assert self.writer.reader is not None
        ids, places = self.writer.turns(messages)
        layout, stats = self.writer.reader.layout, self.writer.token_stats(ids)
        running: dict[str, tuple[TextStats, int]] = {}
        for message, (begin, end) in zip(messages, places, strict=True):
            role, one = message["role"], None
            if begin < end:
                state, count = layout.pool(stats.text(0, begin, end)), end - begin
                one = _known(self.artifact, layout.values(state, [count]), count)
                if role in running:
                    earlier, before = running[role]
                    state, count = earlier.merge(state), before + count
                running[role] = state, count
            together = None
            if role in running:
                state, count = running[role]
                together = _known(self.artifact, layout.values(state, [count]), count)
            yield one, together

    def _by_themselves(
        self, messages: Sequence[Message]
    ) -> Iterator[tuple[np.ndarray | None, np.ndarray | None]]:
        """Scores of each message and of all of its role so far, read as texts."""
        assert self._beside is not None
        running: dict[str, str] = {}
        for message in messages:
            role, content = message["role"], message["content"]
            running[role] = f"{running[role]}\n{content}" if role in running else content
            one, together = _read(self._beside[0], [content, running[role]])
            yield one, together

    def watch(self) -> "Watch":
        """A watch over one text that somebody else writes.

        Raises:
            BadFeatures: The guard judges its writer's own pass, or is to write again.
        """
        if self._beside is None:
            raise BadFeatures("this guard judges its writer's own pass: give own_pass=False to watch a text")
        if self.action == "retry":
            raise BadFeatures("a text that somebody else writes cannot be written again: stop or replace it")
        return self._new_watch()

    def _new_watch(self) -> "Watch":
        if self._beside is not None:
            detector, stream = self._beside
            return Watch(self, _TextJudge(detector, copy(stream)))
        assert self.writer is not None
        assert self.writer.reader is not None
        return Watch(self, _PassJudge(self.artifact, self.writer.reader.layout))

    def _events(
        self, prompt: str | Sequence[Message], sampling: Sampling | None, watch: "Watch"
    ) -> Iterator[GuardEvent]:
        if self.writer is None:
            raise BadFeatures("this guard has no model that writes: Guard(detector, model)")
        sampling = sampling or Sampling()
        retries = self.retries if self.action == "retry" and self.release != "audit" else 0
        if retries and sampling.temperature == 0:
            raise BadFeatures("a retry with temperature 0 writes the same again: give one above 0")
        ids = self.writer.reply_ids(prompt)
        while True:
            left = replace(
                sampling,
                max_tokens=sampling.max_tokens - len(watch.ids),
                seed=sampling.seed + watch.attempts - 1,
            )
            for step in self.writer.steps(ids, left, written=tuple(watch.ids)):
                (token,), (piece,), (ended,) = step.ids, step.pieces, step.ended
                event = watch.take(piece, token, step.stats, ended)
                if event.ended == "blocked" and watch.attempts <= retries:
                    watch.write_again()
                    break
                yield event
                if event.ended:
                    return

    def _why_beside(self) -> str | None:
        """Why the writer's own pass cannot be judged, or None."""
        if self.writer is None:
            return "this guard has no model that writes"
        plan, tokenizer = plan_of(self.artifact), self.writer.loaded.tokenizer
        try:
            check_model(plan, self.writer.loaded)
        except WrongModel as error:
            return str(error)
        if plan.spec.normalize:
            name = self.artifact.name
            return f"detector {name} was fitted on texts whose disguised characters were made plain"
        read, opening = prompt_ids(tokenizer, plan.spec.prompt, beginning=True), self.writer.opening
        if (read[-len(opening) :] if opening else read) != opening:
            return (
                f"detector {self.artifact.name} was not fitted on replies: its prompt does not end as a "
                f"conversation of {self.writer.loaded.name} does before a reply"
            )
        return None


class Watch:
    """One text while it is written; ``Guard.watch`` makes one.

    Attributes:
        text: All that was written, held back or not.
        released: How many characters of it were released.
        scores: Of the text after each piece.
        flagged: Sentences that were not cleared.
        attempts: How often it was written.
        ids: The tokens, if the guard's own model writes.

    Example:
        >>> watch = Guard("toxicity-fast").watch()  # doctest: +SKIP
        >>> watch.feed("Good mor").text, watch.feed("ning. How").text  # doctest: +SKIP
        ('', 'Good morning. ')
        >>> watch.finish().text  # doctest: +SKIP
        'How'
    """

    def __init__(self, guard: Guard, judge: "_PassJudge | _TextJudge"):
        self._guard, self._judge = guard, judge
        self.text, self.released, self.attempts = "", 0, 1
        self.ids: list[int] = []
        self.scores: list[float | None] = []
        self.flagged: list[SentenceScore] = []
        self._ends: list[int] = []  # characters written after each token
        self._cleared = self._over = 0
        self._ended = False

    def feed(self, piece: str) -> GuardEvent:
        """Take the next characters, and say which may be released.

        Raises:
            BadTexts: The text has ended, or exceeds the positions of the detector's model.
        """
        return self.take(piece, None, None, None)

    def finish(self) -> GuardEvent:
        """End the text, and say what of it may be released.

        Raises:
            BadTexts: The text has ended.
        """
        return self.take("", None, None, "stop")

    def take(
        self, piece: str, token: int | None, stats: TextStats | None, ended: GuardEnded | None
    ) -> GuardEvent:
        """As ``feed`` and ``finish``, of a text whose tokens are known.

        Args:
            piece: The next characters.
            token: The token that they come from.
            stats: The statistics of the token in its writer's pass.
            ended: Why the text ends here, or None.
        """
        if self._ended:
            raise BadTexts("this text has ended; watch the next one with a new watch")
        begin, self.text = len(self.text), self.text + piece
        if token is not None:
            self.ids.append(token)
            self._ends.append(len(self.text))
        self._judge.add(self.text, begin, stats)
        scores = self._judge.whole()
        if token is not None or piece:
            self.scores.append(_highest(scores))
        fires = scores is not None and bool((scores >= self._guard.limits).any())
        self._over = self._over + 1 if fires else 0
        unknown = scores is None and bool(self.text.strip())
        released = self._release(fires, unknown, final=ended is not None)
        if released is None:
            ended = "blocked"
            released = self._guard.replacement if self._guard.action == "replace" else ""
        self._ended = ended is not None
        return GuardEvent(released, _highest(scores), self._guard.verdict(scores), ended)

    def write_again(self) -> None:
        """Take back what was not released."""
        kept = bisect_right(self._ends, self.released)
        while kept and self._ends[kept - 1] == (self._ends[kept - 2] if kept > 1 else 0):
            kept -= 1  # it gave no character: what it began was not released
        self.text = self.text[: self.released]
        del self.ids[kept:], self._ends[kept:], self.scores[kept:]
        self._cleared, self._over, self._ended = min(self._cleared, self.released), 0, False
        self.flagged.clear()
        self.attempts += 1
        self._judge.keep(kept)

    def _release(self, fires: bool, unknown: bool, *, final: bool) -> str | None:
        """The characters that may be released now; None if the text is to be stopped."""
        guard = self._guard
        if guard.release == "audit":
            if final:
                self._clear(final=True)
            return self._up_to(len(self.text))
        if guard.release == "all":
            if not final:
                return ""
            return (
                self._up_to(len(self.text)) if self._clear(final=True) and not fires and not unknown else None
            )
        if self._over >= guard.debounce:
            return None
        if not self._clear(final=final):
            return None
        if fires or unknown:  # released later, if it was a spike
            return None if final else ""
        if final or not self._ends:
            return self._up_to(len(self.text) if final else self._cleared)
        whole = bisect_right(self._ends, self._cleared)  # tokens, so that a retry can begin after them
        return self._up_to(self._ends[whole - 1] if whole else 0)

    def _up_to(self, end: int) -> str:
        part, self.released = self.text[self.released : end], max(end, self.released)
        return part

    def _clear(self, *, final: bool) -> bool:
        """Judge the sentences that became complete: whether all are cleared."""
        cleared = True
        for begin, end, following in complete_sentences(self.text, self._cleared, final=final):
            scores = self._judge.sentence(begin, end)
            worst = 0 if scores is None else int((scores - self._guard.limits).argmax())
            if scores is None or scores[worst] >= self._guard.limits[worst]:
                cleared = False
                label = self._guard.artifact.labels[worst] if len(self._guard.limits) > 1 else None
                score = float("nan") if scores is None else float(scores[worst])
                self.flagged.append(SentenceScore(begin, end, score, float(self._guard.limits[worst]), label))
                if self._guard.release == "sentence":
                    return False
            self._cleared = following
        return cleared


class _PassJudge:
    """Scores from the statistics of the pass that wrote the tokens."""

    def __init__(self, artifact: Artifact, layout: Layout):
        self._artifact, self._layout = artifact, layout
        self._places: list[int] = []  # of each token the last character that is no white space
        self._stats: list[TextStats] = []
        self._state: TextStats | None = None

    def add(self, text: str, begin: int, stats: TextStats | None) -> None:
        """Take the token whose characters begin there."""
        if stats is None:
            return
        self._places.append(max(begin, len(text.rstrip()) - 1))
        self._stats.append(stats)
        self._state = stats if self._state is None else self._state.merge(stats)

    def whole(self) -> np.ndarray | None:
        """Scores of all tokens; None if there is none, or a number is not finite."""
        return self._scores(self._state, len(self._stats))

    def sentence(self, begin: int, end: int) -> np.ndarray | None:
        """Scores, in context, of the tokens whose last character that is no white space is in a sentence."""
        state, count = None, 0
        for place, stats in zip(self._places, self._stats, strict=True):
            if begin <= place < end:
                state, count = stats if state is None else state.merge(stats), count + 1
        return self._scores(state, count)

    def keep(self, tokens: int) -> None:
        """Take back all tokens but the first ones."""
        del self._places[tokens:], self._stats[tokens:]
        self._state = None
        for stats in self._stats:
            self._state = stats if self._state is None else self._state.merge(stats)

    def _scores(self, state: TextStats | None, tokens: int) -> np.ndarray | None:
        if state is None:
            return None
        return _known(self._artifact, self._layout.values(state, [tokens]), tokens)


class _TextJudge:
    """Scores of a detector that reads the text beside its writer."""

    def __init__(self, detector: Detector, stream: Stream):
        self._detector, self._stream = detector, stream
        self._text = ""
        self._whole: np.ndarray | None = None

    def add(self, text: str, begin: int, stats: TextStats | None) -> None:
        """Read a text that has become longer."""
        if text == self._text:
            return
        self._text = text
        (tokenized,) = self._detector.reader.tokenize([text])
        self._whole = None
        if tokenized.ids:
            values = self._stream.become(tokenized.ids)
            self._whole = _known(self._detector.artifact, values[None], len(tokenized.ids))

    def whole(self) -> np.ndarray | None:
        """Scores of the text; None if it has none."""
        return self._whole

    def sentence(self, begin: int, end: int) -> np.ndarray | None:
        """Scores of a sentence by itself."""
        return _read(self._detector, [self._text[begin:end]])[0]

    def keep(self, tokens: int) -> None:
        """Nothing to take back: the next text is compared with the last."""


def _read(detector: Detector, texts: Sequence[str]) -> list[np.ndarray | None]:
    """The (label,) scores of texts by themselves; None where there is no verdict."""
    found: list[np.ndarray | None] = []
    for record in detector.score(texts):
        known = record.verdict != UNDETERMINED
        scores = [record.score] if record.scores is None else list(record.scores.values())
        found.append(np.array(scores, dtype=float) if known else None)
    return found


def _highest(scores: np.ndarray | None) -> float | None:
    return None if scores is None else float(scores.max())


def _known(artifact: Artifact, values: np.ndarray, tokens: int) -> np.ndarray | None:
    """The scores of a text; None if it has none, or the detector abstains."""
    scores: np.ndarray = artifact.scores(artifact.head.logit(values), np.array([tokens]))[0]
    return scores if np.isfinite(scores).all() and artifact.abstains(tokens, scores) is None else None
