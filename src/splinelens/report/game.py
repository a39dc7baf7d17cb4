"""The record of a game of auditor and detective, and its tables."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from splinelens.detect.thresholds import Interval
from splinelens.report.tables import Table, interval
from splinelens.texts.plain_text import harmless


@dataclass(frozen=True)
class PairResult:
    """How often the two writers of one family are found.

    Attributes:
        pair: Their names.
        evolved: By the formula that evolution found.
        random: By the best of as many random formulas.
        unsearched: By a random formula; on stored answers by random prompts.
    """

    pair: tuple[str, str]
    evolved: float
    random: float
    unsearched: float


@dataclass(frozen=True)
class GameReport:
    """What auditors and a detective reach.

    Attributes:
        writers: All writers.
        members: Writers of a game.
        detective: What the detective compares.
        queries: Different formulas that each auditor asked.
        pairs: Of each pair of one family, means over seeds.
        by_seed: For each seed the share of games won with the evolved formula and with the random one.
        generations: Of the first search: formulas asked, best and mean fitness.
        best: The formula that evolution found with the first seed, in words.
        gain_interval: Of the mean gain of evolution, 95 % by bootstrap over seeds; None of one seed.
    """

    writers: tuple[str, ...]
    members: int
    detective: str
    queries: int
    pairs: tuple[PairResult, ...]
    by_seed: tuple[tuple[float, float], ...]
    generations: tuple[tuple[int, float, float], ...]
    best: str
    gain_interval: Interval | None

    @property
    def chance(self) -> float:
        """One over the number of pairs."""
        return 2 / (self.members * (self.members - 1))

    def mean(self, auditor: str) -> float:
        """The mean of ``evolved``, ``random`` or ``unsearched`` over pairs."""
        return sum(getattr(one, auditor) for one in self.pairs) / len(self.pairs)

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values, with chance and means."""
        means = {auditor: self.mean(auditor) for auditor in ("evolved", "random", "unsearched")}
        return asdict(self) | {"chance": self.chance, **means}


def game_tables(report: GameReport) -> list[Table]:
    """The generations of the first search, and how often each pair is found."""
    generations = [(f"{queries}", f"{best:.4f}", f"{mean:.4f}") for queries, best, mean in report.generations]
    rows = [_row(" + ".join(map(harmless, one.pair)), one) for one in report.pairs]
    if len(rows) > 1:
        means = [f"{report.mean(auditor):.3f}" for auditor in ("evolved", "random", "unsearched")]
        rows.append(("mean", *means))
    return [
        Table(("formulas asked", "best fitness", "mean fitness"), generations),
        Table(("one family", "evolved", "best of random", "not searched"), rows),
    ]


def game_lines(report: GameReport) -> list[str]:
    """What the tables do not hold, in sentences."""
    gains = [evolved - random for evolved, random in report.by_seed]
    gain = sum(gains) / len(gains)
    return [
        f"{report.members} writers a game, chance {report.chance:.3f}; compared are {report.detective}",
        f"best formula: {harmless(report.best)}",
        f"evolution less the best of {report.queries} random formulas, over {_seeds(gains)}: {gain:+.3f} "
        f"{interval(report.gain_interval, '(too few seeds for an interval)')}",
    ]


def _row(name: str, result: PairResult) -> tuple[str, ...]:
    return name, f"{result.evolved:.3f}", f"{result.random:.3f}", f"{result.unsearched:.3f}"


def _seeds(gains: Sequence[float]) -> str:
    return f"{len(gains)} seeds" if len(gains) > 1 else "one seed"
