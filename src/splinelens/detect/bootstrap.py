"""Score histogram per class: every metric and its bootstrap interval are computed from it.

Labeled scores are fully described by how often each distinct score occurs among the negative and among the
positive rows. A bootstrap resample is then one ``bincount`` of sampled row indices, without sorting, and all
metrics of a resample share it: 10,000 resamples of 10,000 rows take seconds.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from splinelens.detect.groups import resampled_groups
from splinelens.detect.thresholds import Interval, max_false_positives

MIN_ROWS = 50
"""With fewer rows a bootstrap interval is too narrow to be honest, and none is given."""

MIN_GROUPS = 10
"""The same, of groups that are resampled whole."""


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """How many negative and positive rows have each score; ``score`` holds the distinct ones, ascending."""

    score: np.ndarray
    negative: np.ndarray
    positive: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray) -> "ScoreHistogram":
        """From a label, 0 or 1, and a finite score for each row."""
        score, codes = _codes(labels, scores)
        return cls._of_codes(score, codes)

    @classmethod
    def _of_codes(
        cls, score: np.ndarray, codes: np.ndarray, times: np.ndarray | None = None
    ) -> "ScoreHistogram":
        counts = np.bincount(codes, times, minlength=2 * len(score)).astype(int)
        return cls(score, counts[: len(score)], counts[len(score) :])

    def reweighted(self, prevalence: float) -> "ScoreHistogram":
        """Shares instead of counts, as if ``prevalence`` of the rows were positive; it takes both classes."""
        negative, positive = self.negative / self.negative.sum(), self.positive / self.positive.sum()
        return ScoreHistogram(self.score, (1 - prevalence) * negative, prevalence * positive)

    def roc_auc(self) -> float:
        """Share of (positive, negative) pairs in the right order, ties one half; NaN without a class."""
        pairs = int(self.negative.sum()) * int(self.positive.sum())
        twice_below = 2 * np.cumsum(self.negative) - self.negative  # a tie counts one half
        return int(self.positive @ twice_below) / (2 * pairs) if pairs else float("nan")

    def average_precision(self) -> float:
        """Precision at each score weighted by the recall gained there; NaN without a positive row."""
        gained, rows = self.positive[::-1], np.cumsum((self.negative + self.positive)[::-1])
        hits = np.cumsum(gained)
        return float((gained * hits / np.maximum(rows, 1)).sum() / hits[-1]) if hits[-1] else float("nan")

    def recall_at_fpr(self, fpr: float) -> float:
        """Highest recall at a false-positive rate of at most ``fpr``; NaN without a class."""
        negatives, positives = int(self.negative.sum()), int(self.positive.sum())
        if not negatives or not positives:
            return float("nan")
        below = negatives - max_false_positives(negatives, fpr)
        highest = int(np.searchsorted(np.cumsum(self.negative), below))  # the last score that is not flagged
        return int(self.positive[highest + 1 :].sum()) / positives

    def brier(self) -> float:
        """Mean squared difference of score and label."""
        squares = self.negative @ self.score**2 + self.positive @ (1 - self.score) ** 2
        return float(squares / (self.negative + self.positive).sum())

    def calibration_error(self, bins: int = 15) -> float:
        """Expected calibration error over bins of about equal count; rows of equal score share a bin."""
        rows = self.negative + self.positive
        rank = np.cumsum(rows) - rows / 2  # mean rank of the rows with each score
        bin_of_score = (rank * bins / rows.sum()).astype(int)
        gap = np.bincount(bin_of_score, weights=rows * self.score - self.positive)
        return float(np.abs(gap).sum() / rows.sum())


def bootstrap(
    labels: np.ndarray,
    scores: np.ndarray,
    metrics: Mapping[str, Callable[[ScoreHistogram], float]],
    resamples: int = 10_000,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> dict[str, np.ndarray]:
    """Values of several metrics on the same bootstrap resamples.

    Tables of as many rows with the same seed are resampled alike. With ``groups``, one number per row, whole
    groups are resampled, not rows: rows of one group resemble each other, and as single rows they would make
    intervals too narrow.

    Returns:
        For each metric one value per resample, NaN where a class is missing; empty arrays with fewer than
        ``MIN_ROWS`` rows or ``MIN_GROUPS`` groups.
    """
    if not can_resample(len(labels), groups):
        return {name: np.zeros(0) for name in metrics}
    score, codes = _codes(labels, scores)
    values = np.zeros((resamples, len(metrics)))
    for row, times in zip(values, row_samples(len(labels), groups, resamples, seed), strict=True):
        histogram = ScoreHistogram._of_codes(score, codes, times)
        row[:] = [metric(histogram) for metric in metrics.values()]
    return dict(zip(metrics, values.T, strict=True))


def can_resample(rows: int, groups: np.ndarray | None) -> bool:
    """Whether there are enough rows, and groups if there are any, for a bootstrap interval."""
    return rows >= MIN_ROWS and (groups is None or len(np.unique(groups)) >= MIN_GROUPS)


def row_samples(rows: int, groups: np.ndarray | None, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Bootstrap samples of rows, or of whole groups, (row,): how often each row was drawn."""
    if groups is None:
        yield from resampled_groups(rows, resamples, seed)  # each row is a group
    else:
        _, numbers = np.unique(groups, return_inverse=True)
        for drawn in resampled_groups(int(numbers.max()) + 1, resamples, seed):
            yield drawn[numbers]


def percentile_interval(values: np.ndarray) -> Interval | None:
    """95 % percentile interval of bootstrap values, NaN left out; None if no value is left."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def auc_interval(
    labels: np.ndarray,
    scores: np.ndarray,
    resamples: int = 10_000,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Interval | None:
    """95 % interval of the ROC AUC by ``bootstrap``; None with too few rows or groups, or no resamples."""
    return percentile_interval(
        bootstrap(labels, scores, {"auc": ScoreHistogram.roc_auc}, resamples, seed, groups)["auc"]
    )


def auc_gain_interval(
    labels: np.ndarray,
    before: np.ndarray,
    after: np.ndarray,
    resamples: int = 10_000,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Interval | None:
    """95 % bootstrap interval of the AUC of ``after`` minus that of ``before``, on the same resamples.

    ``groups`` and None as in ``auc_interval``.
    """
    auc = {"auc": ScoreHistogram.roc_auc}
    values = [bootstrap(labels, scores, auc, resamples, seed, groups)["auc"] for scores in (before, after)]
    return percentile_interval(values[1] - values[0])


def lost_recall_interval(
    plain: np.ndarray, disguised: np.ndarray, seed: int = 0, groups: np.ndarray | None = None
) -> Interval | None:
    """95 % bootstrap interval of the share of rows flagged when plain minus that when disguised.

    A resample of rows is fully described by how many rows are lost and gained. ``groups`` and None as in
    ``auc_interval``.
    """
    rows = len(plain)
    if not can_resample(rows, groups):
        return None
    if groups is not None:
        change = plain.astype(int) - disguised.astype(int)
        values = [drawn @ change / drawn.sum() for drawn in row_samples(rows, groups, 10_000, seed)]
        return percentile_interval(np.array(values))
    lost, gained = int((plain & ~disguised).sum()), int((disguised & ~plain).sum())
    probabilities = np.array([lost, gained, rows - lost - gained]) / rows
    samples = np.random.default_rng(seed).multinomial(rows, probabilities, 10_000)
    return percentile_interval((samples[:, 0] - samples[:, 1]) / rows)


def _codes(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct scores, and each row as the rank of its score plus, if positive, the number of ranks."""
    score, rank = np.unique(scores, return_inverse=True)
    return score.astype(np.float64), rank + len(score) * np.asarray(labels).astype(int)
