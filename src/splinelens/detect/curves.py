"""What a threshold does: ROC and precision-recall curves, operating points, and calibration in bins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from splinelens.detect.thresholds import Interval, proportion_interval
from splinelens.errors import BadFeatures, BadLabels

TEXTS = 10_000
"""False positives are counted per this many texts."""

_FIRST = 50  # points that are always kept: the left end of the precision-recall curve is steep


@dataclass(frozen=True)
class Sweep:
    """Rates at descending thresholds, from nothing flagged to everything flagged.

    ``false_positive_rate`` and ``recall`` are the ROC curve, ``recall`` and ``precision`` the
    precision-recall curve on the same rows.

    Attributes:
        threshold: Descending scores; a text is flagged at or above one. The first is above all scores.
        recall: Share of positive rows that are flagged.
        false_positive_rate: Share of negative rows that are flagged.
        precision: Share of flagged rows that are positive; None where nothing is flagged.
    """

    threshold: tuple[float, ...]
    recall: tuple[float, ...]
    false_positive_rate: tuple[float, ...]
    precision: tuple[float | None, ...]


@dataclass(frozen=True)
class Bin:
    """Rows of about the same score.

    Attributes:
        count: Rows.
        score: Their mean score.
        share: Share of positive rows among them; equal to ``score`` where the calibration is right.
        interval: 95 % Clopper-Pearson interval of the share.
    """

    count: int
    score: float
    share: float
    interval: Interval


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold does at a stated prevalence of positive texts.

    Attributes:
        name: Name of the threshold.
        threshold: Texts with this score or more are flagged.
        recall: Share of positive rows that are flagged.
        recall_interval: 95 % Clopper-Pearson interval.
        false_positive_rate: Share of negative rows that are flagged.
        false_positive_interval: 95 % Clopper-Pearson interval.
        precision: Share of flagged texts that are positive, at the prevalence; None if nothing is flagged.
        false_positives: Of 10,000 texts at the prevalence, those flagged though negative.
    """

    name: str
    threshold: float
    recall: float
    recall_interval: Interval
    false_positive_rate: float
    false_positive_interval: Interval
    precision: float | None
    false_positives: float


def sweep(labels: np.ndarray, scores: np.ndarray, keep: Sequence[float] = (), most: int = 400) -> Sweep:
    """Rates at every score, thinned where there are many.

    Args:
        labels: 0 or 1 for each row, both present.
        scores: Finite scores.
        keep: Thresholds that must be among the points.
        most: Points at most, ``keep`` not counted; they are spaced evenly along the ROC curve.

    Returns:
        The points; the first flags nothing, the last everything.

    Raises:
        BadLabels: One class only.
        BadFeatures: A score is not finite.

    Example:
        >>> sweep(np.array([0, 1, 1]), np.array([0.2, 0.4, 0.9])).recall
        (0.0, 0.5, 1.0, 1.0)
    """
    negative, positive = _classes(labels, scores)
    distinct = np.unique(scores)[::-1]
    points = np.append(np.nextafter(distinct[0], np.inf), distinct)
    if len(points) > most:
        length = _share_from(negative, points) + _share_from(positive, points)
        first = np.arange(min(_FIRST, most // 4))
        even = np.searchsorted(length, np.linspace(0, 2, most - len(first)))
        points = points[np.unique(np.append(first, even.clip(0, len(points) - 1)))]
    points = np.unique(np.append(points, list(keep)))[::-1]
    recall, rate = _share_from(positive, points), _share_from(negative, points)
    hits, flagged = recall * len(positive), recall * len(positive) + rate * len(negative)
    precision = [
        hit / all_ if all_ else None for hit, all_ in zip(hits.tolist(), flagged.tolist(), strict=True)
    ]
    return Sweep(tuple(points.tolist()), tuple(recall.tolist()), tuple(rate.tolist()), tuple(precision))


def reliability(labels: np.ndarray, scores: np.ndarray, bins: int = 10) -> tuple[Bin, ...]:
    """The share of positive rows in bins of about equal count; rows of equal score share a bin.

    Args:
        labels: 0 or 1 for each row, both present.
        scores: Calibrated scores.
        bins: Number of bins at most.

    Returns:
        Bins by ascending score; empty ones are left out.

    Raises:
        BadLabels: One class only.
        BadFeatures: A score is not finite.

    Example:
        >>> [(part.count, part.share) for part in reliability(np.array([0, 1, 1]), np.array([0.1, 0.8, 0.8]))]
        [(1, 0.0), (2, 1.0)]
    """
    _classes(labels, scores)
    _, rank, counts = np.unique(scores, return_inverse=True, return_counts=True)
    bin_of_row = ((np.cumsum(counts) - counts / 2) * bins / len(scores)).astype(int)[rank]
    records = []
    for number in np.unique(bin_of_row):
        rows = bin_of_row == number
        count, hits = int(rows.sum()), int(labels[rows].sum())
        records.append(Bin(count, float(scores[rows].mean()), hits / count, proportion_interval(hits, count)))
    return tuple(records)


def operating_points(
    labels: np.ndarray, scores: np.ndarray, thresholds: Mapping[str, float], prevalence: float
) -> tuple[OperatingPoint, ...]:
    """What thresholds do at a stated prevalence.

    Args:
        labels: 0 or 1 for each row, both present.
        scores: Finite scores.
        thresholds: By name.
        prevalence: Share of positive texts where the detector will work, in (0, 1); recall and
            false-positive rate are those of the rows, precision follows from it.

    Returns:
        One point per threshold.

    Raises:
        BadLabels: One class only, or ``prevalence`` is not in (0, 1).
        BadFeatures: A score is not finite.

    Example:
        >>> points = operating_points(np.array([0, 0, 1]), np.array([0.2, 0.6, 0.9]), {"half": 0.5}, 0.1)
        >>> points[0].false_positives, round(points[0].precision, 3)
        (4500.0, 0.182)
    """
    if not 0 < prevalence < 1:
        raise BadLabels(f"a prevalence of {prevalence} is no share of texts; give one between 0 and 1")
    negative, positive = _classes(labels, scores)
    points = []
    for name, threshold in thresholds.items():
        hits, alarms = int((positive >= threshold).sum()), int((negative >= threshold).sum())
        recall, rate = hits / len(positive), alarms / len(negative)
        true, false = prevalence * recall, (1 - prevalence) * rate
        points.append(
            OperatingPoint(
                name,
                float(threshold),
                recall,
                proportion_interval(hits, len(positive)),
                rate,
                proportion_interval(alarms, len(negative)),
                true / (true + false) if true + false else None,
                TEXTS * false,
            )
        )
    return tuple(points)


def _classes(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sorted scores of the negative and of the positive rows."""
    if not np.isfinite(scores).all():
        raise BadFeatures("a score is not finite; leave out the rows that could not be scored")
    if not np.isin([0, 1], labels).all():
        raise BadLabels(f"{len(labels)} rows hold one class only; curves need rows of both")
    return np.sort(scores[labels == 0]), np.sort(scores[labels == 1])


def _share_from(ascending: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of scores at or above each threshold."""
    return 1 - np.searchsorted(ascending, thresholds, side="left") / len(ascending)
