"""The record of a game of auditor and detective, and its tables."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from splinelens.detect.bootstrap import MIN_GROUPS, mean_interval
from splinelens.detect.thresholds import Interval
from splinelens.report.tables import Table, interval
from splinelens.texts.plain_text import harmless


@dataclass(frozen=True)
class PairResult:
    """In which share of games the detective names the two writers of one family.

    Attributes:
        pair: Their names.
        evolved: With the formula of the evolution.
        random: With the best of as many random formulas.
        unsearched: With a random formula; on stored answers with random prompts.
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
        queries: Different formulas that each auditor evaluates.
        pairs: Of each pair of one family, means over seeds.
        by_seed: For each seed the share of games won with the evolved formula and with the random one.
        generations: Of the first search: formulas evaluated, best and mean fitness.
        best: The evolved formula of the first seed, in words.
    """

    writers: tuple[str, ...]
    members: int
    detective: str
    queries: int
    pairs: tuple[PairResult, ...]
    by_seed: tuple[tuple[float, float], ...]
    generations: tuple[tuple[int, float, float], ...]
    best: str

    @property
    def chance(self) -> float:
        """One over the number of pairs."""
        return 2 / (self.members * (self.members - 1))

    @property
    def gains(self) -> np.ndarray:
        """(seed,), share of games won with the evolved formula minus that with the random one."""
        return np.array([evolved - random for evolved, random in self.by_seed])

    @property
    def gain_interval(self) -> Interval | None:
        """95 % bootstrap interval of the mean gain over seeds of the searches; None with fewer than ten."""
        return mean_interval(self.gains, least=MIN_GROUPS)

    def mean(self, auditor: str) -> float:
        """The mean of ``evolved``, ``random`` or ``unsearched`` over pairs."""
        return sum(getattr(one, auditor) for one in self.pairs) / len(self.pairs)

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values, with chance and means."""
        means = {auditor: self.mean(auditor) for auditor in ("evolved", "random", "unsearched")}
        return asdict(self) | {"gain_interval": self.gain_interval, "chance": self.chance, **means}


def game_tables(report: GameReport) -> list[Table]:
    """The generations of the first search, and the share of games in which each pair is named."""
    generations = [(f"{queries}", f"{best:.4f}", f"{mean:.4f}") for queries, best, mean in report.generations]
    rows = [_row(" + ".join(map(harmless, one.pair)), one) for one in report.pairs]
    if len(rows) > 1:
        means = [f"{report.mean(auditor):.3f}" for auditor in ("evolved", "random", "unsearched")]
        rows.append(("mean", *means))
    return [
        Table(("formulas evaluated", "best fitness", "mean fitness"), generations),
        Table(("one family", "evolved", "best of random", "not searched"), rows),
    ]


def game_lines(report: GameReport) -> list[str]:
    """What the tables do not hold, in sentences."""
    seeds = len(report.by_seed)
    return [
        f"{report.members} writers a game, chance {report.chance:.3f}; compared: {report.detective}",
        f"best formula: {harmless(report.best)}",
        f"evolution less the best of {report.queries} random formulas, over {seeds} seeds: "
        f"{report.gains.mean():+.3f} {interval(report.gain_interval, '(too few seeds for an interval)')}",
    ]


def _row(name: str, result: PairResult) -> tuple[str, ...]:
    return name, f"{result.evolved:.3f}", f"{result.random:.3f}", f"{result.unsearched:.3f}"
