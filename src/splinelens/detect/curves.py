"""What a threshold does: ROC and precision-recall curves, operating points, and calibration in bins.

Labels are 0 or 1. Rows of one class raise ``BadLabels``, scores that are not finite ``BadFeatures``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from splinelens.detect.calibration import shifted_score
from splinelens.detect.thresholds import Interval, share_interval, threshold_rates
from splinelens.errors import BadFeatures, BadLabels

TEXTS = 10_000
"""False positives are counted per this many texts."""

_FIRST = 50  # points that are always kept: the left end of the precision-recall curve is steep


@dataclass(frozen=True)
class Sweep:
    """Rates at descending thresholds, from nothing flagged to everything flagged.

    ``false_positive_rate`` and ``recall`` are the ROC curve, ``recall`` and ``precision`` the
    precision-recall curve on the same rows. ``precision`` is None where nothing is flagged.
    """

    threshold: tuple[float, ...]
    recall: tuple[float, ...]
    false_positive_rate: tuple[float, ...]
    precision: tuple[float | None, ...]


@dataclass(frozen=True)
class Bin:
    """Rows of about the same score.

    ``share`` of them are positive, with its ``share_interval``; it is their mean ``score`` where the
    calibration is right.
    """

    count: int
    score: float
    share: float
    interval: Interval


@dataclass(frozen=True)
class OperatingPoint:
    """What one threshold does at a stated prevalence of positive texts.

    The rates are ``threshold_rates``. ``precision`` is the share of flagged texts that are positive, None if
    nothing is flagged; ``false_positives`` are negative texts among 10,000 that are flagged.
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
    """Rates at every score, thinned to ``most`` points that are spaced evenly along the ROC curve.

    The thresholds ``keep`` are always among the points. The first point flags nothing, the last everything.
    """
    _require_both(labels, scores)
    negative, positive = np.sort(scores[labels == 0]), np.sort(scores[labels == 1])
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


def reliability(
    labels: np.ndarray,
    scores: np.ndarray,
    bins: int = 10,
    *,
    prevalence: float | None = None,
    groups: np.ndarray | None = None,
) -> tuple[Bin, ...]:
    """The share of positive rows in bins of about equal count, by ascending score.

    Rows of equal score share a bin, so there may be fewer bins. With a ``prevalence`` rows have weights, as
    if that share of them were positive: in the means, and by prior shift in the shares and intervals.
    ``groups`` are those of ``share_interval``.
    """
    _require_both(labels, scores)
    whole = float(np.mean(labels))
    share = whole if prevalence is None else prevalence
    weight = np.where(labels == 1, share / whole, (1 - share) / (1 - whole))
    _, rank, counts = np.unique(scores, return_inverse=True, return_counts=True)
    bin_of_row = ((np.cumsum(counts) - counts / 2) * bins / len(scores)).astype(int)[rank]
    records = []
    for number in np.unique(bin_of_row):
        rows = bin_of_row == number
        hits, within = labels[rows] == 1, None if groups is None else groups[rows]
        shown, *bounds = float(hits.mean()), *share_interval(hits, within)
        if prevalence is not None:
            shown, *bounds = (shifted_score(value, whole, share) for value in (shown, *bounds))
        mean = float(np.average(scores[rows], weights=weight[rows]))
        records.append(Bin(int(rows.sum()), mean, shown, (bounds[0], bounds[1])))
    return tuple(records)


def operating_points(
    labels: np.ndarray,
    scores: np.ndarray,
    thresholds: Mapping[str, float],
    prevalence: float,
    groups: np.ndarray | None = None,
) -> tuple[OperatingPoint, ...]:
    """What named thresholds do where the share of positive texts is ``prevalence``, in (0, 1).

    Recall and false-positive rate are those of the rows; precision follows from them and the prevalence.
    ``groups`` are those of ``share_interval``.

    Raises:
        BadLabels: One class only, or ``prevalence`` is not in (0, 1).
    """
    if not 0 < prevalence < 1:
        raise BadLabels(f"a prevalence of {prevalence} is no share of texts; give one between 0 and 1")
    _require_both(labels, scores)
    points = []
    for name, threshold in thresholds.items():
        rates = threshold_rates(labels, scores, threshold, groups)
        del rates["precision"], rates["precision_interval"]  # those of the rows
        true, false = prevalence * rates["recall"], (1 - prevalence) * rates["false_positive_rate"]
        points.append(
            OperatingPoint(
                name,
                float(threshold),
                **rates,
                precision=true / (true + false) if true + false else None,
                false_positives=TEXTS * false,
            )
        )
    return tuple(points)


def _require_both(labels: np.ndarray, scores: np.ndarray) -> None:
    if not np.isfinite(scores).all():
        raise BadFeatures("a score is not finite; leave out the rows that could not be scored")
    if not np.isin([0, 1], labels).all():
        raise BadLabels(f"{len(labels)} rows hold one class only; curves need rows of both")


def _share_from(ascending: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """Share of scores at or above each threshold."""
    return 1 - np.searchsorted(ascending, thresholds, side="left") / len(ascending)
