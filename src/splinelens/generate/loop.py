"""Generate and test: ask for a text until it passes all hard critics, and tell the generator what failed.

The promise: a text that a hard critic fails, or cannot judge, is never returned. Source: Kambhampati et al.,
arXiv:2402.01817: a generator, a bank of critics, and a meta-controller that merges their messages into the
next prompt.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from importlib.resources import files
from pathlib import Path
from time import monotonic
from typing import Any

from splinelens.errors import BadCritic, BadFeatures, BadTexts, SplinelensError
from splinelens.features.validation import check_positive
from splinelens.files import write_text
from splinelens.generate.bank import LATE, Bank, Late, Prompt, call, context_of, copied, score_of
from splinelens.generate.critics import Critic, Finding, Verdict, encodable
from splinelens.generate.sample import Sampling, Writer

Generator = Callable[[Prompt, int], str]
"""Writes a text to a prompt; the number counts the attempts from 1."""

_EMPTY = "the answer is empty"
_REPEATED = "this answer was given before; write a different one"


@dataclass(frozen=True)
class Budget:
    """When the loop gives up.

    Attributes:
        attempts: Most calls of the generator.
        seconds: Most seconds in all.
        call_seconds: Most seconds of one call of the generator or of a critic. A call that takes longer is
            abandoned in its thread, which nothing can stop, and the loop goes on.

    Raises:
        BadFeatures: A value outside its range.
    """

    attempts: int = 5
    seconds: float = math.inf
    call_seconds: float = 120.0

    def __post_init__(self) -> None:
        check_positive(self.attempts, "attempts")
        for name in ("seconds", "call_seconds"):
            if not getattr(self, name) > 0:
                raise BadFeatures(f"{name}={getattr(self, name)!r}: give a number above 0")


@dataclass(frozen=True)
class Attempt:
    """One turn of the loop: what was asked, written and said of it.

    Attributes:
        prompt: What the generator was given.
        text: What it wrote; empty after an error.
        error: Why there is no text to judge; empty if there is one.
        repeats: The number of the latest attempt with the same text, from 1; None for a new one.
        findings: What each critic says, by name. Soft critics judge only texts that pass all hard ones.
        late: Critics that gave no answer in time.
        seconds: How long it took.
    """

    prompt: Prompt
    text: str
    error: str = ""
    repeats: int | None = None
    findings: Mapping[str, Finding] = field(default_factory=dict)
    late: tuple[str, ...] = ()
    seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Solution:
    """What the loop ends with.

    Attributes:
        text: The best text that passes all hard critics; None if there is none.
        verdict: ``pass`` if the text passes all hard critics, of which there is at least one. Otherwise
            ``undetermined``: with soft critics only there is a text, but nothing was required of it.
        reason: Why there is this text, or none, in one sentence.
        attempts: The trace.
    """

    text: str | None
    verdict: Verdict
    reason: str
    attempts: tuple[Attempt, ...]

    def write_trace(self, path: str | Path) -> None:
        """Write the attempts as JSON lines.

        Raises:
            CannotWrite: The file cannot be written.
        """
        write_text(path, "".join(_record().dump_json(attempt).decode() + "\n" for attempt in self.attempts))


def solve(
    generator: Generator,
    critics: Sequence[Critic],
    prompt: Prompt,
    budget: Budget | None = None,
    *,
    back_prompt: Callable[[Prompt, Attempt, Sequence[str]], Prompt] | None = None,
) -> Solution:
    """Ask a generator for a text until it passes all hard critics or the budget ends.

    The first text that passes every critic ends the loop. A text that passes the hard critics but not the
    soft ones is a candidate: the loop goes on, and at the end the candidate with the highest mean score of
    the soft critics is returned (without a score a pass counts 1 and a fail 0; ``undetermined`` counts 0).

    Args:
        generator: ``from_writer(writer)``, or any function of a prompt and the number of the attempt. What it
            raises is a failed attempt, except that an error of splinelens at the first attempt, such as a
            prompt longer than the model's window, is raised: no attempt could succeed.
        critics: What a text must pass (hard) or should pass (soft). One that raises or takes too long is
            ``undetermined``, which is no pass.
        prompt: A text or messages. Critics are given it as their context, messages as lines.
        budget: When to give up; None takes ``Budget()``.
        back_prompt: Makes the next prompt of the original one, the latest attempt and what is wrong with it;
            None takes ``extend_prompt``.

    Raises:
        BadCritic: No critic, two of one name, or an object that is no critic.
        BadTexts: Messages without a role and content.
        SplinelensError: What the generator raises at the first attempt.
        Exception: What ``back_prompt`` raises.

    Example:
        >>> from splinelens.generate.critics import Length
        >>> answers = ["Monday to Friday, from ten to six.", "Ten to six."]
        >>> generator = lambda prompt, attempt: answers[attempt - 1]
        >>> solution = solve(generator, [Length(most=4)], "When is the library open?")
        >>> solution.text, solution.reason
        ('Ten to six.', 'attempt 2 passes all critics')
    """
    bank, budget, original = _LoopBank(critics), budget or Budget(), copied(prompt)
    deadline = monotonic() + budget.seconds
    current, attempts = original, list[Attempt]()

    def limit() -> float:
        return min(budget.call_seconds, deadline - monotonic())

    while len(attempts) < budget.attempts and (started := monotonic()) < deadline:
        text, error = _generate(generator, current, len(attempts) + 1, limit(), first=not attempts)
        attempt = bank.judge_attempt(Attempt(current, text, error), attempts, original, limit)
        attempts.append(replace(attempt, seconds=monotonic() - started))
        if bank.all_pass(attempt):
            break
        messages = bank.messages(attempt)
        if messages and len(attempts) < budget.attempts:
            current = copied((back_prompt or extend_prompt)(copied(original), attempt, messages))
        else:
            current = original
    return bank.solution(attempts)


def from_writer(writer: Writer, sampling: Sampling | None = None) -> Generator:
    """A language model as a generator; attempt k samples with the k-th seed from that of ``sampling``."""
    sampling = sampling or Sampling()

    def generate(prompt: Prompt, attempt: int) -> str:
        return writer.write(prompt, replace(sampling, seed=sampling.seed + attempt - 1))[0].text

    return generate


def extend_prompt(prompt: Prompt, attempt: Attempt, messages: Sequence[str]) -> Prompt:
    """The original prompt, the latest answer and what is wrong with it.

    Earlier attempts are left out, so that the prompt does not grow with them.
    """
    if isinstance(prompt, str):
        return f"{prompt}\n\n{_complaint().render(text=attempt.text, messages=messages)}"
    answer = [{"role": "assistant", "content": attempt.text}] if attempt.text else []
    return [*prompt, *answer, {"role": "user", "content": _complaint().render(text="", messages=messages)}]


def read_trace(path: str | Path) -> list[Attempt]:
    """Read what ``Solution.write_trace`` wrote.

    Raises:
        BadTexts: The file cannot be read, or a line is no attempt.
    """
    from pydantic import ValidationError

    attempts = []
    try:
        with Path(path).expanduser().open(encoding="utf-8") as lines:
            for line in lines:
                attempts.append(_record().validate_json(line))
    except ValidationError as error:
        raise BadTexts(f"line {len(attempts) + 1} of {path} is no attempt of a trace: {error}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise BadTexts(f"cannot read the trace {path}: {error}") from error
    return attempts


def replay(trace: Sequence[Attempt], critics: Sequence[Critic], call_seconds: float = math.inf) -> Solution:
    """Run critics on the texts of a trace, without a generator.

    The critics of the trace give its verdicts and its result again, if each says the same of the same text.
    One that gave no answer in time is not asked again.

    Args:
        trace: ``Solution.attempts``, or what ``read_trace`` reads.
        critics: Those of the trace, or others.
        call_seconds: As in ``Budget``.

    Raises:
        BadCritic: As in ``solve``.
    """
    bank, attempts = _LoopBank(critics), list[Attempt]()
    for recorded in trace:
        bare = replace(recorded, repeats=None, findings={})
        attempts.append(bank.judge_attempt(bare, attempts, trace[0].prompt, lambda: call_seconds))
        if bank.all_pass(attempts[-1]):
            break
    return bank.solution(attempts)


class _LoopBank(Bank):
    """The critics of a loop, and what follows from their findings."""

    def __init__(self, critics: Iterable[Critic]):
        super().__init__(critics)
        if not len(self):
            raise BadCritic("no critic: without one any text would pass; give at least one")

    def judge_attempt(
        self, attempt: Attempt, earlier: Sequence[Attempt], prompt: Prompt, limit: Callable[[], float]
    ) -> Attempt:
        """The attempt with the findings of the critics.

        A repeated text keeps its findings, unless a hard critic was undetermined and none failed.
        """
        if attempt.error:
            return attempt
        repeats = next((n for n in range(len(earlier), 0, -1) if earlier[n - 1].text == attempt.text), None)
        if repeats:
            before = earlier[repeats - 1].findings
            if self.passes(before) or any(before[name].verdict == "fail" for name in self.hard):
                return replace(attempt, repeats=repeats, findings=before, late=())
        findings, late = self.judge(attempt.text, context_of(prompt), limit, attempt.late)
        return replace(attempt, repeats=repeats, findings=findings, late=late)

    def all_pass(self, attempt: Attempt) -> bool:
        """Whether every critic, hard or soft, passes."""
        verdicts = [finding.verdict for finding in attempt.findings.values()]
        return verdicts == ["pass"] * len(self)

    def messages(self, attempt: Attempt) -> list[str]:
        """What the generator is told, each message once."""
        failed = [(name, finding) for name, finding in attempt.findings.items() if finding.verdict == "fail"]
        lines = [" ".join(finding.message.split()) or f"it does not pass {name}" for name, finding in failed]
        lines += [_REPEATED] if attempt.repeats else []
        lines += [_EMPTY] if attempt.error == _EMPTY else []
        return list(dict.fromkeys(lines))

    def solution(self, attempts: Sequence[Attempt]) -> Solution:
        """The best text, if one passes all hard critics."""
        passing = [number for number, attempt in enumerate(attempts, start=1) if self._usable(attempt)]
        if not passing:
            reason = "; ".join(self._why_none(attempts))
            return Solution(None, "undetermined", reason, tuple(attempts))
        best = max(passing, key=lambda number: self._rank(attempts[number - 1]))
        chosen = attempts[best - 1]
        if not self.hard:
            reason = f"nothing was required, only soft critics: attempt {best} ranks best of {len(passing)}"
        elif self.all_pass(chosen):
            reason = f"attempt {best} passes all critics"
        else:
            reason = f"attempt {best} passes all hard critics and ranks best of {len(passing)} that do"
        return Solution(chosen.text, "pass" if self.hard else "undetermined", reason, tuple(attempts))

    def _usable(self, attempt: Attempt) -> bool:
        return not attempt.error and self.passes(attempt.findings)

    def _rank(self, attempt: Attempt) -> tuple[bool, float]:
        """Higher is better: first whether it passes every critic, then the mean score of the soft ones."""
        scores = [score_of(attempt.findings[name]) for name in self.soft]
        return self.all_pass(attempt), sum(scores) / max(1, len(scores))

    def _why_none(self, attempts: Sequence[Attempt]) -> Iterator[str]:
        missed = "passes all hard critics" if self.hard else "gives a text"
        yield f"none of {len(attempts)} attempts {missed}"
        verdicts = {
            name: [attempt.findings[name].verdict for attempt in attempts if attempt.findings]
            for name in self.hard
        }
        for name, given in verdicts.items():
            counts = [f"{word} {given.count(word)}" for word in ("fail", "undetermined") if word in given]
            if counts:
                yield f"{name}: {', '.join(counts)}"
        if len(verdicts) > 1 and all("pass" in given for given in verdicts.values()):
            yield "each hard critic passes some text, and no text passes all: they may contradict each other"
        without = sum(bool(attempt.error) for attempt in attempts)
        if without:
            yield f"without a text: {without}"


def _generate(
    generator: Generator, prompt: Prompt, number: int, seconds: float, *, first: bool
) -> tuple[str, str]:
    """A text, or an empty one and the reason."""
    text, error = call(seconds, generator, copied(prompt), number)
    if isinstance(error, Late):
        return "", LATE
    if isinstance(error, SplinelensError) and first:
        raise error
    if error is not None:
        return "", _said(error)
    if not isinstance(text, str):
        return "", f"the generator returns {type(text).__name__}, no text"
    if not text.strip():
        return "", _EMPTY
    if any("\ud800" <= character <= "\udfff" for character in text):
        return "", "the answer is not valid Unicode"
    return text, ""


def _said(error: BaseException) -> str:
    """What a generator raised; its message is that of a stranger."""
    try:
        return encodable(f"the generator raises {type(error).__name__}: {error}")
    except Exception:
        return f"the generator raises {type(error).__name__}"


@cache
def _complaint() -> Any:  # Any: a template
    from jinja2 import StrictUndefined, Template

    source = files("splinelens.generate").joinpath("complaint.txt.j2").read_text("utf-8")
    return Template(source, trim_blocks=True, undefined=StrictUndefined)


@cache
def _record() -> Any:  # Any: the adapter of a plain record
    from pydantic import TypeAdapter

    return TypeAdapter(Attempt)
