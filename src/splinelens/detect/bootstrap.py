"""Score histogram per class: every metric and its bootstrap interval are computed from it.

Labeled scores are fully described by how often each distinct score occurs among the negative and among the
positive rows. A bootstrap resample is then one ``bincount`` of sampled row indices, without sorting, and all
metrics of a resample share it: 10,000 resamples of 10,000 rows take seconds. Resamples of small tables are
computed many at a time.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from splinelens.detect.groups import BLOCK, resampled_groups
from splinelens.detect.thresholds import Interval, max_false_positives

MIN_ROWS = 50
"""With fewer rows a bootstrap interval is too narrow to be honest, and none is given."""

MIN_GROUPS = 10
"""The same, of groups that are resampled whole."""


@dataclass(frozen=True, eq=False)
class ScoreHistogram:
    """How many negative and positive rows have each score, of one table or of each of several resamples.

    Every metric is one number, or one for each resample.

    Attributes:
        score: The distinct scores, ascending, (score,).
        negative: Counts, or shares, of negative rows, (score,) or (resample, score).
        positive: The same of positive rows.
    """

    score: np.ndarray
    negative: np.ndarray
    positive: np.ndarray

    @classmethod
    def of(cls, labels: np.ndarray, scores: np.ndarray) -> "ScoreHistogram":
        """From a label, 0 or 1, and a finite score for each row."""
        score, codes = _codes(labels, scores)
        counts = np.bincount(codes, minlength=2 * len(score))
        return cls(score, counts[: len(score)], counts[len(score) :])

    @classmethod
    def resampled(cls, score: np.ndarray, codes: np.ndarray, times: np.ndarray) -> "ScoreHistogram":
        """From the codes of ``_codes`` and how often each row was drawn, (resample, row)."""
        size, width = len(times), 2 * len(score)
        places = codes + width * np.arange(size)[:, None]
        counts = np.bincount(places.ravel(), times.ravel(), minlength=size * width).astype(int)
        counts = counts.reshape(size, width)
        return cls(score, counts[:, : len(score)], counts[:, len(score) :])

    def has_both(self) -> np.ndarray:
        """Whether there are rows of both classes."""
        return np.asarray(self.negative.any(axis=-1) & self.positive.any(axis=-1))

    def reweighted(self, prevalence: float) -> "ScoreHistogram":
        """Shares instead of counts, as if ``prevalence`` of the rows were positive; it takes both classes."""
        negative, positive = (
            counts / np.maximum(counts.sum(axis=-1, keepdims=True), 1)
            for counts in (self.negative, self.positive)
        )
        return ScoreHistogram(self.score, (1 - prevalence) * negative, prevalence * positive)

    def roc_auc(self) -> np.ndarray:
        """Share of (positive, negative) pairs in the right order, ties one half; NaN without a class."""
        pairs = self.negative.sum(axis=-1) * self.positive.sum(axis=-1)
        twice_below = 2 * np.cumsum(self.negative, axis=-1) - self.negative  # a tie counts one half
        twice_right = (self.positive * twice_below).sum(axis=-1)
        return np.where(pairs > 0, twice_right / np.maximum(2 * pairs, 1), np.nan)

    def average_precision(self) -> np.ndarray:
        """Precision at each score weighted by the recall gained there; NaN without a positive row."""
        gained = self.positive[..., ::-1]
        rows = np.cumsum(self.negative[..., ::-1] + gained, axis=-1)
        hits = np.cumsum(gained, axis=-1)
        weighted = (gained * hits / np.maximum(rows, 1)).sum(axis=-1)
        return np.where(hits[..., -1] > 0, weighted / np.maximum(hits[..., -1], 1), np.nan)

    def recall_at_fpr(self, fpr: float) -> np.ndarray:
        """Highest recall at a false-positive rate of at most ``fpr``; NaN without a class."""
        negatives, positives = self.negative.sum(axis=-1), self.positive.sum(axis=-1)
        below = negatives - max_false_positives(np.asarray(negatives), fpr)
        unflagged = np.cumsum(self.negative, axis=-1) < below[..., None]
        highest = unflagged.sum(axis=-1, keepdims=True)  # the last score that is not flagged
        missed = np.take_along_axis(np.cumsum(self.positive, axis=-1), highest, axis=-1)[..., 0]
        return np.where(self.has_both(), (positives - missed) / np.maximum(positives, 1), np.nan)

    def brier(self) -> np.ndarray:
        """Mean squared difference of score and label."""
        squares = self.negative @ self.score**2 + self.positive @ (1 - self.score) ** 2
        return np.asarray(squares / (self.negative + self.positive).sum(axis=-1))

    def calibration_error(self, bins: int = 15) -> np.ndarray:
        """Expected calibration error over bins of about equal count; rows of equal score share a bin."""
        rows = np.atleast_2d(self.negative + self.positive)
        total = rows.sum(axis=-1, keepdims=True)
        rank = np.cumsum(rows, axis=-1) - rows / 2  # mean rank of the rows with each score
        bin_of_score = (rank * bins / total).astype(int)  # one more for scores that no row has
        places = bin_of_score + (bins + 1) * np.arange(len(rows))[:, None]
        gap = np.bincount(
            places.ravel(), (rows * self.score - self.positive).ravel(), minlength=len(rows) * (bins + 1)
        )
        error = np.abs(gap.reshape(len(rows), bins + 1)).sum(axis=-1) / total[:, 0]
        return error.reshape(self.negative.shape[:-1])


def bootstrap(
    labels: np.ndarray,
    scores: np.ndarray,
    metrics: Mapping[str, Callable[[ScoreHistogram], np.ndarray]],
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
    values = [np.zeros((len(metrics), 0))]
    for times in row_samples(len(labels), groups, resamples, seed):
        histogram = ScoreHistogram.resampled(score, codes, times)
        values.append(np.stack([metric(histogram) for metric in metrics.values()]))
    return dict(zip(metrics, np.concatenate(values, axis=1), strict=True))


def can_resample(rows: int, groups: np.ndarray | None) -> bool:
    """Whether there are enough rows, and groups if there are any, for a bootstrap interval."""
    return rows >= MIN_ROWS and (groups is None or len(np.unique(groups)) >= MIN_GROUPS)


def row_samples(rows: int, groups: np.ndarray | None, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Bootstrap samples of rows, or of whole groups, in blocks, (resample, row): how often each was drawn."""
    if groups is None:
        yield from resampled_groups(rows, resamples, seed)  # each row is a group
    else:
        _, numbers = np.unique(groups, return_inverse=True)
        step = max(1, BLOCK // rows)
        for drawn in resampled_groups(int(numbers.max()) + 1, resamples, seed):
            for start in range(0, len(drawn), step):
                yield drawn[start : start + step, numbers]


def percentile_interval(values: np.ndarray) -> Interval | None:
    """95 % percentile interval of bootstrap values, NaN left out; None if no value is left."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return None
    low, high = np.quantile(finite, [0.025, 0.975])
    return float(low), float(high)


def mean_interval(
    values: np.ndarray, resamples: int = 10_000, seed: int = 0, least: int = MIN_ROWS
) -> Interval | None:
    """95 % bootstrap interval of the mean of independent values; None with fewer than ``least``."""
    if len(values) < least:
        return None
    rng = np.random.default_rng(seed)
    samples = (rng.integers(0, len(values), len(values)) for _ in range(resamples))
    return percentile_interval(np.array([values[rows].mean() for rows in samples]))


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
        samples = row_samples(rows, groups, 10_000, seed)
        return percentile_interval(np.concatenate([drawn @ change / drawn.sum(axis=1) for drawn in samples]))
    lost, gained = int((plain & ~disguised).sum()), int((disguised & ~plain).sum())
    probabilities = np.array([lost, gained, rows - lost - gained]) / rows
    counts = np.random.default_rng(seed).multinomial(rows, probabilities, 10_000)
    return percentile_interval((counts[:, 0] - counts[:, 1]) / rows)


def _codes(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct scores, and each row as the rank of its score plus, if positive, the number of ranks."""
    score, rank = np.unique(scores, return_inverse=True)
    return score.astype(np.float64), rank + len(score) * np.asarray(labels).astype(int)
