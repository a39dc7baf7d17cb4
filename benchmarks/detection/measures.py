"""The numbers of one row of the table: what scores are worth on labeled rows.

With several labels per row each number is the mean over labels; a bootstrap resample takes the same rows for
all of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from splinelens.detect.bootstrap import ScoreHistogram, bootstrap, percentile_interval
from splinelens.detect.thresholds import proportion_interval, score_at_fpr

RECALL_FPR = 0.01
"""False-positive rate at which recall is given, the threshold chosen on the same rows."""
LIMIT_FPR = 0.05
"""False-positive rate on the clean rows of another test that sets the limit of ``flagged``."""
SHIPPED_FPRS = (0.01, 0.05)
"""Rates whose stored thresholds a shipped detector is measured at."""

Interval = tuple[float, float]


@dataclass(frozen=True)
class Numbers:
    """What scores are worth on labeled rows; None where a number does not exist.

    Attributes:
        n: Rows with a score.
        positives: Positive rows among them; with several labels, labels that are 1.
        auc: Area under the ROC curve.
        interval: 95 % bootstrap interval of it; None below 50 rows.
        recall: Recall at 1 % false positives, the threshold chosen on these rows.
        calibration_error: Expected calibration error over 15 bins.
        pairs: Share of pairs in the right order, ties one half.
        flagged: Share of clean rows above the limit chosen on the clean rows of another test.
        flagged_interval: 95 % interval of it (Clopper-Pearson).
        fpr_1: False-positive rate at the detector's stored 1 % threshold.
        recall_1: Recall there.
        fpr_5: False-positive rate at the detector's stored 5 % threshold.
        recall_5: Recall there.
    """

    n: int = 0
    positives: int = 0
    auc: float | None = None
    interval: Interval | None = None
    recall: float | None = None
    calibration_error: float | None = None
    pairs: float | None = None
    flagged: float | None = None
    flagged_interval: Interval | None = None
    fpr_1: float | None = None
    recall_1: float | None = None
    fpr_5: float | None = None
    recall_5: float | None = None


def limit(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The score that at most 5 % of the clean rows exceed; None without clean rows.

    Example:
        >>> limit(np.zeros(100), np.arange(100.0))
        94.0
    """
    clean = scores[(labels == 0) & np.isfinite(scores)]
    return score_at_fpr(clean, LIMIT_FPR) if len(clean) else None


def measure(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    pairs: np.ndarray | None = None,
    above: float | None = None,
    thresholds: Mapping[float, np.ndarray | None] | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Numbers:
    """Measure scores against labels.

    Args:
        labels: 0 or 1, (row,) or (row, label).
        scores: Probabilities of the same shape; rows with NaN are left out.
        pairs: The number of each row's pair.
        above: A score from ``limit`` of another test.
        thresholds: Stored thresholds of the detector, (label,), by false-positive rate.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Example:
        >>> numbers = measure(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
        >>> numbers.auc, numbers.interval, numbers.recall
        (0.75, None, 0.5)
    """
    y, s = labels.reshape(len(labels), -1), scores.reshape(len(scores), -1)
    scored = np.isfinite(s).all(axis=1)
    y, s = y[scored].astype(int), s[scored]
    numbers = Numbers(len(y), int(y.sum()))
    if above is not None and (y[:, 0] == 0).any():
        clean = s[y[:, 0] == 0, 0]
        count = int((clean > above).sum())
        rate, interval = count / len(clean), proportion_interval(count, len(clean))
        numbers = replace(numbers, flagged=rate, flagged_interval=interval)
    for fpr, at in (thresholds or {}).items():
        if at is not None:
            name = f"{100 * fpr:.0f}"
            rates = {f"fpr_{name}": _rate(s, y == 0, at), f"recall_{name}": _rate(s, y == 1, at)}
            numbers = replace(numbers, **rates)
    if not len(y) or (y.min(axis=0) == y.max(axis=0)).any():
        return numbers
    columns = list(zip(y.T, s.T, strict=True))
    histograms = [ScoreHistogram.of(*column) for column in columns]
    metric = {"auc": ScoreHistogram.roc_auc}
    resampled = [bootstrap(*column, metric, resamples, seed)["auc"] for column in columns]
    return replace(
        numbers,
        auc=_mean(histogram.roc_auc() for histogram in histograms),
        interval=percentile_interval(np.mean(resampled, axis=0)),
        recall=_mean(histogram.recall_at_fpr(RECALL_FPR) for histogram in histograms),
        calibration_error=_mean(histogram.calibration_error() for histogram in histograms),
        pairs=None if pairs is None else _pairs_in_order(y[:, 0], s[:, 0], pairs[scored]),
    )


def average(repetitions: Sequence[Numbers]) -> Numbers:
    """The mean of each number over repetitions, such as random splits; ends of intervals are averaged too.

    Example:
        >>> average([Numbers(9, 4, auc=0.5), Numbers(9, 4, auc=0.75)]).auc
        0.625
    """
    means = {}
    for name in list(Numbers.__dataclass_fields__)[2:]:
        values = [getattr(numbers, name) for numbers in repetitions]
        if None in values:
            means[name] = None
        elif isinstance(values[0], tuple):
            means[name] = tuple(np.mean(values, axis=0).tolist())
        else:
            means[name] = float(np.mean(values))
    return replace(repetitions[0], **means)


def _mean(values) -> float:
    return float(np.mean(list(values)))


def _rate(scores: np.ndarray, chosen: np.ndarray, at: np.ndarray) -> float | None:
    """The share of the chosen rows at or above the threshold, averaged over labels; None if one has no row."""
    counts = chosen.sum(axis=0)
    return float((((scores >= at) & chosen).sum(axis=0) / counts).mean()) if counts.all() else None


def _pairs_in_order(labels: np.ndarray, scores: np.ndarray, pairs: np.ndarray) -> float | None:
    """Over pairs with both rows scored; None if there is none."""
    positive, negative = (dict(zip(pairs[labels == y], scores[labels == y], strict=True)) for y in (1, 0))
    both = [(positive[pair], negative[pair]) for pair in positive.keys() & negative.keys()]
    return _mean((a > b) + 0.5 * (a == b) for a, b in both) if both else None
