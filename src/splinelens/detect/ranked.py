"""Labelled scores as counts: how many negative and positive rows have each score.

The numbers of an evaluation follow from these counts alone, so a bootstrap resample costs a count of drawn
rows and no sorting, and all numbers share the same resamples.
"""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from splinelens.detect.thresholds import most_fired

Bounds = tuple[float, float]

ROWS_FOR_INTERVAL = 50
"""With fewer scored rows a bootstrap interval promises more than it holds, and there is none."""


@dataclass(frozen=True, eq=False)
class Counts:
    """How often each score occurs.

    Attributes:
        score: The scores, rising.
        negative: Negative rows of each; may be 0.
        positive: Positive rows of each; may be 0.
    """

    score: np.ndarray
    negative: np.ndarray
    positive: np.ndarray

    def auc(self) -> float:
        """Share of (positive, negative) pairs in the right order, ties one half; NaN without a class."""
        pairs = int(self.negative.sum()) * int(self.positive.sum())
        twice_below = 2 * np.cumsum(self.negative) - self.negative  # a tie counts one half
        return int(self.positive @ twice_below) / (2 * pairs) if pairs else float("nan")

    def average_precision(self) -> float:
        """Precision at each score, weighted by the recall gained there; NaN without a positive row."""
        gained, rows = self.positive[::-1], np.cumsum((self.negative + self.positive)[::-1])
        hits = np.cumsum(gained)
        return float((gained * hits / np.maximum(rows, 1)).sum() / hits[-1]) if hits[-1] else float("nan")

    def recall_at(self, rate: float) -> float:
        """Recall at a false-positive rate, the threshold chosen on these rows; NaN without a class."""
        clean, hits = int(self.negative.sum()), int(self.positive.sum())
        if not clean or not hits:
            return float("nan")
        quiet = int(np.searchsorted(np.cumsum(self.negative), clean - most_fired(clean, rate)))
        return int(self.positive[quiet + 1 :].sum()) / hits

    def brier(self) -> float:
        """Mean squared difference of score and label."""
        squares = self.negative @ self.score**2 + self.positive @ (1 - self.score) ** 2
        return float(squares / (self.negative + self.positive).sum())

    def calibration_error(self, bins: int = 15) -> float:
        """Expected calibration error over bins of about equal count; rows of equal score share a bin."""
        rows = self.negative + self.positive
        middle = np.cumsum(rows) - rows / 2  # of the rows of each score, in sorted order
        place = (middle * bins / rows.sum()).astype(int)
        off = np.bincount(place, weights=rows * self.score - self.positive)
        return float(np.abs(off).sum() / rows.sum())


@dataclass(frozen=True, eq=False)
class Ranked:
    """Rows by the rank of their score, ready to be drawn again and again.

    Attributes:
        score: The scores that occur, rising.
        codes: Each row as the rank of its score plus, if it is positive, the number of ranks.
    """

    score: np.ndarray
    codes: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray) -> "Ranked":
        """From a label, 0 or 1, and a finite score for each row.

        Example:
            >>> Ranked.of(np.array([0, 1, 1]), np.array([0.2, 0.2, 0.9])).counts().auc()
            0.75
        """
        distinct, rank = np.unique(scores, return_inverse=True)
        return cls(distinct.astype(np.float64), rank + len(distinct) * labels.astype(int))

    def counts(self, rows: np.ndarray | slice = slice(None)) -> Counts:
        """How often each score occurs among some rows, or all; a row that is named twice counts twice."""
        ranks = len(self.score)
        found = np.bincount(self.codes[rows], minlength=2 * ranks)
        return Counts(self.score, found[:ranks], found[ranks:])

    def draws(self, resamples: int, seed: int) -> Iterator[Counts]:
        """Bootstrap resamples; as many rows with the same seed are drawn alike."""
        n, rng = len(self.codes), np.random.default_rng(seed)
        return (self.counts(rng.integers(0, n, n)) for _ in range(resamples))

    def intervals(
        self,
        numbers: Mapping[str, Callable[[Counts], float]],
        resamples: int,
        seed: int,
        inflated: Collection[str] = (),
    ) -> dict[str, Bounds | None]:
        """95 % percentile bootstrap intervals of several numbers from the same resamples.

        Args:
            numbers: By name.
            resamples: How many.
            seed: Of the draws.
            inflated: Names of those, not below 0, that chance makes larger, and resampling larger still:
                their resamples are moved so that their mean is the number of the rows themselves.

        Returns:
            By name lower and upper bound; None with fewer than 50 rows or no resamples.

        Example:
            >>> rows = np.arange(60) % 2
            >>> Ranked.of(rows, rows).intervals({"auc": Counts.auc}, resamples=20, seed=0)
            {'auc': (1.0, 1.0)}
        """
        if len(self.codes) < ROWS_FOR_INTERVAL or not resamples:
            return dict.fromkeys(numbers)
        drawn = [[number(counts) for number in numbers.values()] for counts in self.draws(resamples, seed)]
        found = dict(zip(numbers, np.array(drawn).T, strict=True))
        for name in inflated:
            found[name] = (found[name] - found[name].mean() + numbers[name](self.counts())).clip(min=0)
        return {name: middle(values) for name, values in found.items()}


def middle(values: np.ndarray) -> Bounds | None:
    """The middle 95 % of resampled numbers.

    Args:
        values: One a resample; NaN where a class was missing, which is left out.

    Returns:
        The bounds; None where no number is left.

    Example:
        >>> middle(np.array([1.0, 1.0, np.nan]))
        (1.0, 1.0)
    """
    there = values[np.isfinite(values)]
    if not len(there):
        return None
    low, high = np.quantile(there, [0.025, 0.975])
    return float(low), float(high)
