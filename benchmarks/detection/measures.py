"""The numbers of one row of a benchmark: what soft scores are worth on labelled rows.

Several labels a row, such as one per class, give the mean over labels of each number; the rows of a
resample are the same for all of them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from splinelens.detect.bootstrap import ScoreHistogram, bootstrap, percentile_interval
from splinelens.detect.thresholds import proportion_interval, score_at_fpr

FALSE_POSITIVES = 0.01
"""The false-positive rate at which recall is given."""
ALARMS = 0.05
"""The false-positive rate on other clean rows at which false alarms are counted."""


@dataclass(frozen=True)
class Measures:
    """What scores are worth on labelled rows.

    Attributes:
        n: Rows that were scored.
        positives: Positive rows among them; with several labels, labels that are 1.
        auc: Area under the ROC curve, or None where a class is missing.
        interval: 95 % bootstrap interval of it; None with fewer than 50 rows.
        recall: Recall at 1 % false positives, the threshold chosen on these rows.
        calibration_error: Expected calibration error over 15 bins.
        pairs: Share of pairs in which the positive text has the higher score, ties one half; None
            where rows are no pairs.
        flagged: Share of the negative rows above a limit that was chosen on other rows.
        flagged_interval: 95 % interval of it (Clopper-Pearson).
    """

    n: int
    positives: int
    auc: float | None = None
    interval: tuple[float, float] | None = None
    recall: float | None = None
    calibration_error: float | None = None
    pairs: float | None = None
    flagged: float | None = None
    flagged_interval: tuple[float, float] | None = None


def limit(labels: np.ndarray, scores: np.ndarray) -> float | None:
    """The score above which 5 % of the negative rows lie, at most.

    Args:
        labels: 0 or 1, (row,).
        scores: Of the same rows; NaN is left out.

    Returns:
        The score, or None where no negative row has one.

    Example:
        >>> limit(np.zeros(100), np.arange(100.0))
        94.0
    """
    clean = scores[(labels == 0) & np.isfinite(scores)]
    return score_at_fpr(clean, ALARMS) if len(clean) else None


def measured(
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    pairs: np.ndarray | None = None,
    above: float | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> Measures:
    """Measure scores against labels.

    Args:
        labels: 0 or 1, (row,) or (row, label).
        scores: Probabilities of the same shape; rows with NaN are left out.
        pairs: The number of the pair of each row, for pairwise accuracy.
        above: A score from ``limit`` of other rows; negative rows above it are counted.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.

    Returns:
        The numbers.

    Example:
        >>> found = measured(np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8]))
        >>> found.auc, found.interval, found.recall
        (0.75, None, 0.5)
    """
    many, given = labels.reshape(len(labels), -1), scores.reshape(len(scores), -1)
    scored = np.isfinite(given).all(axis=1)
    many, given = many[scored].astype(int), given[scored]
    n, positives = len(many), int(many.sum())
    alarms, interval = (None, None) if above is None else _flagged(many[:, 0], given[:, 0], above)
    if n == 0 or (many.min(axis=0) == many.max(axis=0)).any():
        return Measures(n, positives, flagged=alarms, flagged_interval=interval)
    columns = [(many[:, label], given[:, label]) for label in range(many.shape[1])]
    histograms = [ScoreHistogram.of(y, s) for y, s in columns]
    return Measures(
        n,
        positives,
        auc=float(np.mean([roc_auc_score(y, s) for y, s in columns])),
        interval=_interval(columns, resamples, seed),
        recall=float(np.mean([rows.recall_at_fpr(FALSE_POSITIVES) for rows in histograms])),
        calibration_error=float(np.mean([rows.calibration_error() for rows in histograms])),
        pairs=None if pairs is None else _pairs_in_order(many[:, 0], given[:, 0], pairs[scored]),
        flagged=alarms,
        flagged_interval=interval,
    )


def averaged(several: Sequence[Measures]) -> Measures:
    """The mean of each number over equal runs, such as random splits.

    Args:
        several: One or more; the intervals' ends are averaged too.

    Returns:
        The means; ``n`` and ``positives`` are those of the first.

    Example:
        >>> averaged([Measures(9, 4, auc=0.5), Measures(9, 4, auc=0.75)]).auc
        0.625
    """
    means: dict[str, Any] = {  # Any: replace() takes each by its name
        name: None if None in values else float(np.mean(values))
        for name in ("auc", "recall", "calibration_error", "pairs", "flagged")
        for values in [[getattr(one, name) for one in several]]
    }
    for name in ("interval", "flagged_interval"):
        ends = [getattr(one, name) for one in several if getattr(one, name)]
        means[name] = tuple(np.mean(ends, axis=0).tolist()) if len(ends) == len(several) else None
    return replace(several[0], **means)


def _flagged(
    labels: np.ndarray, scores: np.ndarray, above: float
) -> tuple[float | None, tuple[float, float] | None]:
    """The share of negative rows above a score, with its interval."""
    clean = scores[labels == 0]
    if not len(clean):
        return None, None
    count = int((clean > above).sum())
    return count / len(clean), proportion_interval(count, len(clean))


def _interval(
    columns: Sequence[tuple[np.ndarray, np.ndarray]], resamples: int, seed: int
) -> tuple[float, float] | None:
    """Of the mean over labels: each label's resamples draw the same rows."""
    metric = {"auc": ScoreHistogram.roc_auc}
    return percentile_interval(
        np.mean([bootstrap(y, s, metric, resamples, seed)["auc"] for y, s in columns], axis=0)
    )


def _pairs_in_order(labels: np.ndarray, scores: np.ndarray, pairs: np.ndarray) -> float | None:
    """Of the pairs whose two rows were scored; None if there is none."""
    high = {int(pair): score for pair, score, y in zip(pairs, scores, labels, strict=True) if y == 1}
    low = {int(pair): score for pair, score, y in zip(pairs, scores, labels, strict=True) if y == 0}
    both = [(high[pair], low[pair]) for pair in high if pair in low]
    return float(np.mean([(a > b) + 0.5 * (a == b) for a, b in both])) if both else None
