"""Critics: what may be asked of a text that a model wrote, with a message that says what to mend.

A hard critic must pass before a text is used; a soft one ranks the texts that pass. ``Detector`` is a critic.
Source of the terms: Kambhampati et al., arXiv:2402.01817.
"""

from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Verdict = Literal["pass", "fail", "undetermined"]


@dataclass(frozen=True)
class Finding:
    """What a critic says of a text.

    Attributes:
        verdict: ``undetermined`` where it cannot tell; of a hard critic that is no pass.
        score: In [0, 1], higher is better; soft critics rank by it. None if there is none.
        message: What is wrong and how to mend it, in words that go back to the model; empty on a pass.
        spans: First character, and the one after the last, of each part that fails.
    """

    verdict: Verdict
    score: float | None = None
    message: str = ""
    spans: tuple[tuple[int, int], ...] = ()


@runtime_checkable
class Critic(Protocol):
    """Checks texts.

    Attributes:
        name: How traces and messages call it.
        hard: Whether a text must pass it.
    """

    @property
    def name(self) -> str:
        """Its name."""

    @property
    def hard(self) -> bool:
        """Whether it must pass."""

    def check(self, text: str, context: str) -> Finding:
        """What it says of a text that was written to a prompt.

        Args:
            text: The text.
            context: The prompt.
        """
        ...
