"""A bank of critics: what each says of a text, within a time limit, whatever it does.

A critic that raises, says nothing in time or returns no ``Finding`` is ``undetermined``, which is no pass.
Source of the term: Kambhampati et al., arXiv:2402.01817.
"""

import math
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from queue import Empty, SimpleQueue
from typing import Any

from splinelens.errors import BadCritic
from splinelens.generate.critics import Critic, Finding
from splinelens.generate.sample import Message, check_messages, check_text

Prompt = str | Sequence[Message]

LATE = "no answer in time"
"""What stands for the answer of a call that took too long."""


class Bank:
    """Critics with different names.

    Attributes:
        hard: Those that a text must pass, by name.
        soft: The others.

    Raises:
        BadCritic: Two of one name, or an object that is no critic.

    Example:
        >>> from splinelens.generate.critics import Length
        >>> bank = Bank([Length(most=2)])
        >>> findings, _ = bank.judge("At ten o'clock.", "", lambda: 1.0)
        >>> findings["length"].verdict, bank.passes(findings)
        ('fail', False)
    """

    def __init__(self, critics: Iterable[Critic]):
        critics = list(critics)
        for critic in critics:
            if not isinstance(critic, Critic):
                raise BadCritic(f"{type(critic).__name__} is no critic: it needs name, hard and check")
        named = [(critic.name, critic.hard, critic) for critic in critics]
        names = [name for name, _, _ in named]
        if len(set(names)) < len(names):
            raise BadCritic(
                f"two critics have the same name among {', '.join(names)}; give each its own name="
            )
        self.hard = {name: critic for name, hard, critic in named if hard}
        self.soft = {name: critic for name, hard, critic in named if not hard}

    def __len__(self) -> int:
        return len(self.hard) + len(self.soft)

    def judge(
        self, text: str, context: str, limit: Callable[[], float], skipped: Sequence[str] = ()
    ) -> tuple[dict[str, Finding], tuple[str, ...]]:
        """What each critic says of a text, by name; soft critics judge only what passes all hard ones.

        Args:
            text: The text.
            context: The prompt that it was written to.
            limit: How many seconds the next critic may take.
            skipped: Critics that are not asked: they gave no answer in time before.

        Returns:
            The findings, and the names of the critics that gave no answer in time.
        """
        findings: dict[str, Finding] = {}
        late: list[str] = []
        for critics in (self.hard, self.soft):
            for name, critic in critics.items():
                finding = _ask(critic, text, context, 0.0 if name in skipped else limit())
                late += [] if finding else [name]
                findings[name] = finding or Finding("undetermined", message=LATE)
            if not self.passes(findings):
                break
        return findings, tuple(late)

    def passes(self, findings: Mapping[str, Finding]) -> bool:
        """Whether all hard critics pass."""
        return all(findings[name].verdict == "pass" for name in self.hard)


def score_of(finding: Finding) -> float:
    """The score of a finding: of a pass without one 1, of a fail without one 0, and 0 if it is undetermined.

    Example:
        >>> score_of(Finding("pass")), score_of(Finding("pass", 0.25)), score_of(Finding("undetermined"))
        (1.0, 0.25, 0.0)
    """
    if finding.verdict == "undetermined":
        return 0.0
    return float(finding.verdict == "pass") if finding.score is None else finding.score


def copied(prompt: Prompt) -> Prompt:
    """The prompt, as text or as messages that nobody else can change.

    Raises:
        BadTexts: It cannot be encoded, or a message has no role or content.
    """
    if isinstance(prompt, str):
        check_text(prompt)
        return prompt
    check_messages(prompt)
    return [dict(message) for message in prompt]


def context_of(prompt: Prompt) -> str:
    """The prompt as critics are given it: messages as lines."""
    return prompt if isinstance(prompt, str) else "\n".join(message["content"] for message in prompt)


class Late(Exception):
    """A call took longer than it may."""


def call(
    seconds: float,
    function: Callable[..., Any],
    *arguments: Any,  # Any: of each function its own
) -> tuple[Any, BaseException | None]:
    """What a function returns or raises; it runs in a thread that is abandoned when the time is over.

    Without a limit it runs in this thread, which saves the time of handing over.

    Returns:
        What it returns and None; or None and what it raises, ``Late`` if it takes too long.
    """
    answers: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()

    def run() -> None:
        try:
            answers.put((function(*arguments), None))
        except BaseException as error:  # also SystemExit: it must not end the thread without an answer
            answers.put((None, error))

    if seconds <= 0:
        return None, Late()
    if seconds == math.inf:
        try:
            return function(*arguments), None
        except KeyboardInterrupt:
            raise
        except BaseException as error:
            return None, error
    threading.Thread(target=run, daemon=True).start()
    try:
        return answers.get(timeout=min(seconds, threading.TIMEOUT_MAX))
    except Empty:
        return None, Late()


def _ask(critic: Critic, text: str, context: str, seconds: float) -> Finding | None:
    """What a critic says; None if it says nothing in time."""
    finding, error = call(seconds, critic.check, text, context)
    if isinstance(error, Late):
        return None
    if error is not None:
        return Finding("undetermined", message=f"the critic raises {type(error).__name__}")
    if not isinstance(finding, Finding):
        return Finding("undetermined", message=f"the critic returns {type(finding).__name__}, no Finding")
    try:  # a copy, which the critic cannot change later
        return Finding(finding.verdict, finding.score, finding.message, finding.spans)
    except BadCritic:
        return Finding("undetermined", message="the critic returns a Finding that was changed")
