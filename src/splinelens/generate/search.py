"""Best-first search for a text that passes: steps are tried, judged, and the most promising text goes on.

A node is a text so far. Its rank is ``f = g + value_weight * h``, higher is better: ``g`` aggregates what
critics say of the text after each of its steps, ``h`` is a value of what may still come. The promise is that
of ``generate.loop``: a text that a hard critic fails, or cannot judge, is never returned. Source: Wang et
al., arXiv:2406.14283 (Q*), with A* (Hart, Nilsson and Raphael 1968) for ``aggregate="sum"``.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from time import monotonic
from typing import Any, Literal, Protocol, get_args

import numpy as np
from jaxtyping import Float

from splinelens.errors import BadCritic, BadFeatures
from splinelens.features.validation import check_positive, check_seed, check_weight, is_whole_number
from splinelens.files import write_text
from splinelens.generate.bank import Bank, Prompt, context_of, copied, score_of
from splinelens.generate.critics import Critic, Finding, Verdict, encodable

Aggregate = Literal["min", "max", "sum", "last"]
"""How the scores of steps become one number."""

Outcome = Literal["open", "expanded", "finished", "dropped"]
"""What became of a node: it still waits, it was continued, it is a finished text that passes, or it was
removed."""

_REPEATED = "repeated"


@dataclass(frozen=True, eq=False)
class Continuation:
    """One more step of a text.

    Attributes:
        text: Its characters.
        tokens: How many tokens it took to write, those that were cut off after its end among them. Steps of
            none are limited by ``SearchBudget.expansions``.
        final: Whether the text ends with it.
        values: (entry,) features at its last token, for a value that reads them.
        state: What the text so far stands for, if different texts can be worth the same: of texts with an
            equal state only the best goes on. None compares the texts.
        ids: The tokens of ``text``, if the writer knows them: without those that were cut off.
        cut: Whether a final step ends the text only because it may not be longer.
    """

    text: str
    tokens: int
    final: bool
    values: Float[np.ndarray, " entry"] | None = None
    state: Hashable | None = None
    ids: tuple[int, ...] = ()
    cut: bool = False


class StepWriter(Protocol):
    """Writes the next step of a text. What a call that raises has generated is not known, and not counted."""

    def continuations(
        self, prompt: Prompt, steps: tuple[str, ...], count: int, max_tokens: int, seed: int
    ) -> Sequence[Continuation]:
        """Several ways to go on.

        Args:
            prompt: What the text is written to.
            steps: The text so far.
            count: Most continuations.
            max_tokens: Most tokens of all of them together, at least ``count``.
            seed: The same arguments give the same continuations.
        """
        ...


Value = Callable[[Prompt, tuple[str, ...], Continuation], float]
"""``value(prompt, steps, continuation)``: what may still come of a text, higher is better; ``steps`` are all
but the last, which is ``continuation``."""


@dataclass(frozen=True)
class SearchBudget:
    """When a search gives up.

    Attributes:
        tokens: Most tokens that are generated; never exceeded.
        expansions: Most texts that are continued.
        seconds: Most seconds in all; looked at before each expansion and each critic, so that a writer or
            value may exceed them.
        call_seconds: Most seconds of one call of a critic. A call that takes longer is abandoned in its
            thread, which nothing can stop, and the critic is undetermined; it is not called again, and if it
            is hard the search ends.

    Raises:
        BadFeatures: A value outside its range.

    Example:
        >>> SearchBudget(tokens=0)
        Traceback (most recent call last):
        ...
        splinelens.errors.BadFeatures: tokens=0: need a positive number
    """

    tokens: int = 2000
    expansions: int = 1000
    seconds: float = math.inf
    call_seconds: float = 120.0

    def __post_init__(self) -> None:
        for name in ("tokens", "expansions"):
            object.__setattr__(self, name, check_positive(getattr(self, name), name))
        for name in ("seconds", "call_seconds"):
            value = getattr(self, name)
            if not (value == math.inf or check_weight(value, name) > 0):
                raise BadFeatures(f"{name}={value!r}: need a number above 0")


@dataclass(frozen=True)
class SearchNode:
    """A text so far, as the trace keeps it.

    Attributes:
        number: In order of creation, from 0, the prompt without a step.
        parent: The number of the text before its last step; None of the prompt.
        step: The characters of the last step.
        tokens: What the last step took.
        final: Whether the text ends there.
        outcome: What became of it.
        reason: Why it was dropped.
        score: Mean score of the critics after the last step; None if it was dropped before.
        g: Aggregate of the scores of its steps; None likewise.
        h: Its value; None likewise.
        findings: What each critic says of the text, by name.
    """

    number: int
    parent: int | None
    step: str
    tokens: int = 0
    final: bool = False
    outcome: Outcome = "open"
    reason: str = ""
    score: float | None = None
    g: float | None = None
    h: float | None = None
    findings: Mapping[str, Finding] = field(default_factory=dict)


@dataclass(frozen=True)
class SearchResult:
    """What a search ends with.

    Attributes:
        text: The finished text with the best ``score`` that passes all hard critics; None if there is none.
        verdict: ``pass`` if it passes all hard critics, of which there is at least one; else
            ``undetermined``.
        reason: Why there is this text, or none, in one sentence.
        score: Its ``f``; None without a text.
        tokens: Tokens that were generated.
        expanded: Texts that were continued.
        created: Steps that were written.
        dropped: How many texts were removed, by reason; see docs/search.md.
        trace: All nodes.
        cut: Whether the text ends only because it may not be longer, as its writer says.
    """

    text: str | None
    verdict: Verdict
    reason: str
    score: float | None
    tokens: int
    expanded: int
    created: int
    dropped: Mapping[str, int]
    trace: tuple[SearchNode, ...] = field(repr=False)
    cut: bool = False

    def write_trace(self, path: str | Path, *, overwrite: bool = True) -> None:
        """Write the nodes as JSON lines.

        Raises:
            OutputExists: The file exists, without ``overwrite``.
            CannotWrite: The file cannot be written.
        """
        lines = (_record().dump_json(node).decode() + "\n" for node in self.trace)
        write_text(path, "".join(lines), overwrite=overwrite)


def search(
    writer: StepWriter,
    critics: Sequence[Critic],
    prompt: Prompt,
    *,
    final_critics: Sequence[Critic] = (),
    value: Value | None = None,
    k: int = 3,
    n: int = 3,
    aggregate: Aggregate = "min",
    value_weight: float = 1.0,
    budget: SearchBudget | None = None,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> SearchResult:
    """Search for a text, step by step, that passes all hard critics.

    The text with the best ``f`` is continued in up to ``k`` ways; each is judged by the critics, and waits.
    A finished text counts once it is the best that waits; ``n`` of them end the search, and the best of them
    is returned. If no text is left and none is finished, the prompt is continued in ``k`` more ways, unless
    the writer had fewer or wrote nothing new the last time. Equal ranks go by the better ``g``, then by the
    order of creation: the same arguments give the same result, if writer, critics and value do.

    With ``aggregate="sum"`` a step adds its score less 1, what it loses, so that longer texts gain nothing by
    their length. If ``h`` never loses more than the best continuation really loses (of a finished text
    nothing), ``value_weight`` is at most 1, ``n`` is 1, and each expansion gives all continuations, the text
    is optimal: this is A*.

    Args:
        writer: ``ModelSteps``, or any object with ``continuations``. What it raises at the first expansion
            is raised; later the text that it could not continue is dropped.
        critics: What a text must pass (hard) or should pass (soft) after every step. One that raises, takes
            too long or returns no finding is ``undetermined``, which is no pass. Without a score a pass
            counts 1 and a fail 0; the score of a step is the mean over critics.
        prompt: A text or messages. Critics are given it as their context, messages as lines.
        final_critics: Likewise, of finished texts only; beside the critics they count in the last score.
        value: The ``h`` of a text, such as a ``ValueHead``; None takes 0. Of a text whose value raises or is
            not finite nothing can be said: it is dropped.
        k: Continuations of an expansion.
        n: Finished texts that end the search.
        aggregate: ``min``, ``max`` or ``last`` of the scores of steps, or ``sum`` of what they lose.
        value_weight: Factor of ``h``, at least 0.
        budget: When to give up; None takes ``SearchBudget()``. If it ends the search, the best finished text
            so far is returned.
        seed: Given to the writer with the number of the expansion.
        progress: Called after each expansion with the tokens that were generated so far, and the budget.

    Raises:
        BadCritic: No critic, final critic or value; two critics of one name; an object that is no critic, or
            no list of them.
        BadFeatures: An option outside its range or of another type, or a writer that writes more than it may
            or gives what is no ``Continuation``.
        BadTexts: Messages without a role and content.
        Exception: What the writer raises at the first expansion.

    Example:
        >>> from splinelens.generate.critics import Pattern
        >>> class Menu:
        ...     def continuations(self, prompt, steps, count, max_tokens, seed):
        ...         return [Continuation(dish, 1, final=len(steps) == 1) for dish in ("soup ", "cake ")]
        >>> result = search(Menu(), [Pattern("soup", occurs=False)], "Order: ", k=2)
        >>> result.text, dict(result.dropped)
        ('cake cake ', {'pattern: fail': 2})
    """
    k, n, seed = check_positive(k, "k"), check_positive(n, "n"), check_seed(seed)
    value_weight = check_weight(value_weight, "value_weight")
    if aggregate not in get_args(Aggregate):
        raise BadFeatures(f"aggregate={aggregate!r} is not one of {', '.join(get_args(Aggregate))}")
    _require_types(writer, critics, final_critics, value, budget)
    every = Bank([*critics, *final_critics])
    if not len(every) and value is None:
        raise BadCritic("no critic and no value: any text would do; give at least one")
    bank, final_bank, budget = Bank(critics), Bank(final_critics), budget or SearchBudget()
    tree = _Tree(bank, final_bank, copied(prompt), value, aggregate, value_weight, budget)
    stopped = tree.grow(writer, k, n, seed, progress)
    return tree.result(stopped, n, required=bool(every.hard))


_START: dict[Aggregate, float] = {"min": 1.0, "max": 0.0, "sum": 0.0, "last": 1.0}


def aggregated(aggregate: Aggregate, before: float, score: float) -> float:
    """The ``g`` of a text with one more step, from that before it.

    Example:
        >>> [aggregated(name, 0.5, 0.75) for name in ("min", "max", "sum", "last")]
        [0.5, 0.75, 0.25, 0.75]
    """
    if aggregate == "sum":
        return before + (score - 1)
    return {"min": min(before, score), "max": max(before, score), "last": score}[aggregate]


@dataclass(frozen=True)
class _Path:
    """What a search needs of a node beside its record."""

    steps: tuple[str, ...]
    f: float
    cut: bool = False


class _Tree:
    """The nodes of a search, and its open list."""

    def __init__(
        self,
        bank: Bank,
        final_bank: Bank,
        prompt: Prompt,
        value: Value | None,
        aggregate: Aggregate,
        value_weight: float,
        budget: SearchBudget,
    ):
        self._bank, self._final_bank = bank, final_bank
        self._prompt, self._context, self._value = prompt, context_of(prompt), value
        self._aggregate, self._value_weight, self._budget = aggregate, value_weight, budget
        self._deadline = monotonic() + budget.seconds
        self._nodes = [SearchNode(0, None, "", g=_START[aggregate], h=0.0)]
        self._paths = [_Path((), _START[aggregate])]
        self._open: list[tuple[float, float, int]] = []
        self._best: dict[Hashable, int] = {}  # of each state the node with the best g
        self._findings: dict[str, dict[str, Finding]] = {}  # of each text
        self._final_findings: dict[str, dict[str, Finding]] = {}
        self._late: set[str] = set()  # critics that gave no answer in time
        self._finished: list[int] = []
        self._dropped: Counter[str] = Counter()
        self._tokens = self._expanded = self._begun = 0
        self._more = False  # whether there may be other ways to begin
        self._push(0)

    def grow(
        self,
        writer: StepWriter,
        k: int,
        n: int,
        seed: int,
        progress: Callable[[int, int], None] | None,
    ) -> str:
        """Expand the best node until ``n`` texts are finished; why the search stopped before that, if so."""
        while len(self._finished) < n:
            number = self._pop()
            if number is None and self._more and not self._finished:
                number = 0  # begin again
            if number is None:
                return self._hanging() or "no text is left to continue"
            if self._nodes[number].final:
                self._finished.append(number)
                self._set(number, outcome="finished")
                continue
            if over := self._spent() or self._hanging():
                self._push(number)
                return over
            self._expand(writer, number, k, seed)
            if progress is not None:
                progress(self._tokens, self._budget.tokens)
        return ""

    def result(self, stopped: str, wanted: int, *, required: bool) -> SearchResult:
        """The best finished text, if there is one, of the ``wanted`` ones."""
        waiting = [node.number for node in self._nodes if stopped and node.final and node.outcome == "open"]
        for number in waiting:
            self._set(number, outcome="finished")
        finished = [*self._finished, *waiting]
        record: dict[str, Any] = {  # Any: fields of several types
            "tokens": self._tokens,
            "expanded": self._expanded,
            "created": len(self._nodes) - 1,
            "dropped": dict(self._dropped),
            "trace": tuple(self._nodes),
        }
        if not finished:
            reason = "; ".join(self._why_none(stopped))
            return SearchResult(None, "undetermined", reason, None, **record)
        best = min(finished, key=self._rank)
        of = f"the best of {len(finished)} finished texts" if len(finished) > 1 else "the one finished text"
        of += f" of {wanted} wanted" if len(finished) < wanted else ""
        reason = of if required else f"nothing was required of it: {of}"
        reason += f"; {stopped}" if stopped else ""
        verdict: Verdict = "pass" if required else "undetermined"
        path = self._paths[best]
        return SearchResult("".join(path.steps), verdict, reason, path.f, **record, cut=path.cut)

    def _spent(self) -> str:
        """Which part of the budget is spent, or nothing."""
        budget = self._budget
        if self._tokens >= budget.tokens:
            return f"the budget of {budget.tokens:,} tokens is spent"
        if self._expanded >= budget.expansions:
            return f"the budget of {budget.expansions:,} expansions is spent"
        return f"the budget of {budget.seconds:g} seconds is spent" if monotonic() >= self._deadline else ""

    def _hanging(self) -> str:
        """Which hard critic gives no answer, so that no other text can pass, or nothing."""
        late = sorted(self._late & {*self._bank.hard, *self._final_bank.hard})
        return f"{late[0]} gave no answer in time" if late else ""

    def _expand(self, writer: StepWriter, number: int, k: int, seed: int) -> None:
        left, path = self._budget.tokens - self._tokens, self._paths[number]
        again = (self._begun,) if number == 0 and self._begun else ()
        (of_node,) = np.random.SeedSequence((seed, number, *again)).generate_state(1)
        self._expanded += 1
        try:
            written = writer.continuations(copied(self._prompt), path.steps, min(k, left), left, int(of_node))
            written = list(written) if isinstance(written, Iterable) else written
        except Exception as error:
            if self._expanded == 1:
                raise
            if number == 0:
                self._more = False
            self._drop(number, f"writer: raises {type(error).__name__}")
            return
        self._set(number, outcome="expanded")
        if not isinstance(written, list):
            raise BadFeatures(f"the writer gives {type(written).__name__}, no continuations")
        for continuation in written:
            _require_continuation(continuation)
        spent = sum(int(continuation.tokens) for continuation in written)
        if spent > left or len(written) > min(k, left):
            raise BadFeatures(
                f"the writer gives {len(written)} continuations of {spent:,} tokens; it may give "
                f"{min(k, left)} of {left:,}"
            )
        self._tokens += spent
        judged = len(self._findings)
        for continuation in written:
            self._add(number, path.steps, continuation)
        if number == 0:
            self._begun += 1
            self._more = len(written) == k and len(self._findings) > judged

    def _add(self, parent: int, before: tuple[str, ...], continuation: Continuation) -> None:
        """Judge a continuation and let it wait, or drop it."""
        number, steps = len(self._nodes), (*before, continuation.text)
        text, known = "".join(steps), None
        # Not by state alone: a text that ends in a state is another node than one that goes on from it.
        key = (continuation.final, text if continuation.state is None else (continuation.state,))
        findings: dict[str, Finding] = {}
        score = g = h = None
        reason = self._unusable(text, continuation)
        if not reason:
            findings = self._judged(text, continuation.final)
            reason = self._stopper(findings)
        if not reason:
            score = sum(map(score_of, findings.values())) / len(findings) if findings else 1.0
            g = aggregated(self._aggregate, self._nodes[parent].g or 0.0, score)
            known = self._best.get(key)
            if known is not None and self._nodes[known].outcome == "dropped":  # the writer raised
                known = None
            if known is not None and (self._nodes[known].g or 0.0) >= g:
                reason = _REPEATED
        if g is not None and not reason:
            h, reason = self._valued(before, continuation)
        f = -math.inf if g is None or h is None else g + self._value_weight * h
        if h is not None and not math.isfinite(f):
            reason = "value: not finite"
        step = encodable(continuation.text)
        node = SearchNode(number, parent, step, int(continuation.tokens), continuation.final)
        self._nodes.append(replace(node, score=score, g=g, h=h, findings=findings))
        self._paths.append(_Path(steps, f, bool(continuation.final and continuation.cut)))
        if reason:
            self._drop(number, reason)
            return
        if known is not None and self._nodes[known].outcome != "expanded":
            self._finished = [finished for finished in self._finished if finished != known]
            self._drop(known, _REPEATED)
        self._best[key] = number
        self._push(number)

    def _unusable(self, text: str, continuation: Continuation) -> str:
        """Why a text is not judged, or nothing."""
        if text != encodable(text):
            return "not valid Unicode"
        return "empty" if continuation.final and not text.strip() else ""

    def _judged(self, text: str, final: bool) -> dict[str, Finding]:
        """What the critics say; a text keeps its findings, so that no critic changes its mind about it."""
        if text not in self._findings:
            self._findings[text] = self._asked(self._bank, text)
        findings = self._findings[text]
        if not final or not self._bank.passes(findings):
            return findings
        if text not in self._final_findings:
            self._final_findings[text] = self._asked(self._final_bank, text)
        return findings | self._final_findings[text]

    def _asked(self, bank: Bank, text: str) -> dict[str, Finding]:
        findings, late = bank.judge(text, self._context, self._limit, tuple(self._late))
        self._late.update(late)
        return findings

    def _stopper(self, findings: Mapping[str, Finding]) -> str:
        """The first hard critic that does not pass, and what it says; or nothing."""
        for name, finding in findings.items():
            if finding.verdict != "pass" and (name in self._bank.hard or name in self._final_bank.hard):
                return f"{name}: {finding.verdict}"
        return ""

    def _limit(self) -> float:
        return min(self._budget.call_seconds, self._deadline - monotonic())

    def _valued(self, before: tuple[str, ...], continuation: Continuation) -> tuple[float | None, str]:
        """The ``h`` of a text; or None, and what is wrong with it."""
        if self._value is None:
            return 0.0, ""
        try:
            h = float(self._value(copied(self._prompt), before, continuation))
        except Exception as error:
            return None, f"value: raises {type(error).__name__}"
        return (h, "") if math.isfinite(h) else (None, "value: not finite")

    def _rank(self, number: int) -> tuple[float, float, int]:
        """Lower is better."""
        return -self._paths[number].f, -(self._nodes[number].g or 0.0), number

    def _push(self, number: int) -> None:
        heapq.heappush(self._open, self._rank(number))

    def _pop(self) -> int | None:
        while self._open:
            number = heapq.heappop(self._open)[2]
            if self._nodes[number].outcome == "open":  # else another way to its state was better
                return number
        return None

    def _drop(self, number: int, reason: str) -> None:
        self._set(number, outcome="dropped", reason=reason)
        self._dropped[reason] += 1

    def _set(self, number: int, **fields: Any) -> None:  # Any: those of a node
        self._nodes[number] = replace(self._nodes[number], **fields)

    def _why_none(self, stopped: str) -> Iterator[str]:
        yield f"no finished text passes: {stopped}"
        if self._dropped:
            counts = ", ".join(f"{reason} {count}" for reason, count in self._dropped.most_common())
            yield f"dropped {self._dropped.total()} of {len(self._nodes) - 1}: {counts}"


def _require_types(
    writer: object, critics: object, final_critics: object, value: object, budget: object
) -> None:
    if not callable(getattr(writer, "continuations", None)):
        raise BadFeatures(f"{type(writer).__name__} is no step writer: it needs continuations")
    for name, given in (("critics", critics), ("final_critics", final_critics)):
        if not isinstance(given, Sequence):
            raise BadCritic(f"{name} is a {type(given).__name__}; give a list of critics")
    if not (value is None or callable(value)):
        raise BadFeatures(f"value={value!r}: give a function of prompt, steps and continuation, or None")
    if not (budget is None or isinstance(budget, SearchBudget)):
        raise BadFeatures(f"budget={budget!r}: give a SearchBudget, such as SearchBudget(tokens=2000)")


def _require_continuation(continuation: object) -> None:
    if not isinstance(continuation, Continuation):
        raise BadFeatures(f"the writer gives {type(continuation).__name__}, no Continuation")
    if not isinstance(continuation.text, str):
        raise BadFeatures(f"the text of a continuation is {type(continuation.text).__name__}, no text")
    if not is_whole_number(continuation.tokens, 0):
        raise BadFeatures(f"tokens of a continuation={continuation.tokens!r}: need a whole number from 0")
    try:
        hash(continuation.state)
    except TypeError as error:
        raise BadFeatures(f"the state of a continuation cannot be hashed: {error}") from error


@cache
def _record() -> Any:  # Any: the adapter of a plain record
    from pydantic import TypeAdapter

    return TypeAdapter(SearchNode)
