"""Thresholds that keep a false-positive rate, chosen on out-of-fold scores, and intervals of rates."""

from collections.abc import Sequence
from dataclasses import replace
from math import exp, log
from typing import Any

import numpy as np
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass

from splinelens.detect.calibration import require_out_of_fold
from splinelens.detect.groups import resampled_groups
from splinelens.errors import BadDetector

Interval = tuple[float, float]
"""Lower and upper bound of a 95 % interval."""

TARGETS = (0.001, 0.01, 0.05)
"""False-positive rates that thresholds are stored for by default."""

_RESAMPLES = 2000  # of groups, for the interval of a share


@dataclass(frozen=True, config=ConfigDict(strict=True, extra="forbid", allow_inf_nan=False))
class Threshold:
    """A score at and above which the verdict is positive.

    Attributes:
        target: The requested false-positive rate.
        score: The threshold; above 1, so that nothing is positive, where too many negative rows score 1.
        rate: The rate on the rows it was chosen on, at most ``target``.
        interval: 95 % interval of the true rate, see ``share_interval``.
        recall: Share of positive rows at or above it.
        recall_interval: 95 % interval (Clopper-Pearson) of the recall; None if it was not recorded.
        precision: Share of positive rows among those at or above it; where positive texts are rarer than
            among these rows it is lower. None if no row is, or if it was not recorded.
        precision_interval: 95 % interval (Clopper-Pearson) of the precision; None as ``precision``.
    """

    target: float
    score: float
    rate: float
    interval: Interval
    recall: float
    recall_interval: Interval | None = None
    precision: float | None = None
    precision_interval: Interval | None = None


def thresholds(
    labels: np.ndarray,
    scores: np.ndarray,
    targets: Sequence[float] = TARGETS,
    *,
    floor: float = 0.0,
    groups: np.ndarray | None = None,
) -> list[Threshold]:
    """The lowest out-of-fold score for each target whose false-positive rate stays at or under it.

    With fewer than ``1 / target`` negative rows not one of them may be flagged, and the threshold is just
    above the highest negative score. ``groups`` are those of ``share_interval``.

    No threshold is below ``floor``: of a rare label a score of 0.05 can keep a rate of 5 %, and nearly all
    that it flags is wrong. A floor only lowers the rate, so the target is kept.

    Raises:
        BadLabels: One class only.
        BadFeatures: A score is not finite.
        BadDetector: A target is not in (0, 1), or ``floor`` not in [0, 1].

    Example:
        >>> labels, scores = np.array([0] * 100 + [1]), np.append(np.arange(100) / 100, 1.0)
        >>> thresholds(labels, scores, [0.05])[0].rate
        0.05
    """
    positive, scores = require_out_of_fold(labels, scores)
    if not 0 <= floor <= 1:
        raise BadDetector(f"{floor!r} is no lowest threshold; give a score from 0 to 1")
    negatives = scores[~positive]
    stored = []
    for target in targets:
        if not 0 < target < 1:
            raise BadDetector(f"{target!r} is no false-positive rate to aim at; give one between 0 and 1")
        score = max(float(np.nextafter(score_at_fpr(negatives, target), np.inf)), float(floor))
        rates = threshold_rates(positive, scores, score, groups)
        rate, interval = rates.pop("false_positive_rate"), rates.pop("false_positive_interval")
        stored.append(Threshold(float(target), score, rate, interval, **rates))
    return stored


def moved_threshold(stored: Threshold, before: np.ndarray, after: np.ndarray) -> Threshold:
    """The nearest threshold that flags as many rows by new scores as the stored one does by old scores.

    For a detector whose scores changed by rounding, such as by another engine. Equal scores are flagged
    together.

    Args:
        stored: The threshold for the old scores.
        before: (row,) old scores.
        after: (row,) new scores.

    Returns:
        The stored threshold, or one with another score; its rates are those of the old scores.

    Example:
        >>> stored = Threshold(0.5, 0.7, 0.5, (0.0, 1.0), 1.0)
        >>> round(moved_threshold(stored, np.array([0.2, 0.8]), np.array([0.1, 0.6])).score, 6)
        0.6
    """
    flagged = int((before >= stored.score).sum())
    if flagged == int((after >= stored.score).sum()):
        return stored
    falling = np.sort(after)[::-1]
    highest = falling[flagged - 1] if flagged else 1.0
    lowest = np.nextafter(falling[flagged], 1) if flagged < len(falling) else 0.0
    return replace(stored, score=float(min(max(stored.score, lowest), highest)))


def threshold_between(stored: Sequence[Threshold], rate: float) -> float:
    """The score for a false-positive rate that need not be one of those stored.

    The logit of the score is linear in the logarithm of the rate between two stored rates, and below the
    lowest one along the same line, but so that half the rate takes at least twice the odds. It is an estimate
    there, since few negative rows were seen at such a rate. From the highest stored rate on its score holds.

    Example:
        >>> stored = [Threshold(0.01, 0.9, 0.01, (0, 1), 0.5), Threshold(0.04, 0.5, 0.04, (0, 1), 0.8)]
        >>> [round(threshold_between(stored, rate), 3) for rate in (0.04, 0.02, 0.01, 0.005)]
        [0.5, 0.75, 0.9, 0.964]
    """
    known = [(log(one.target), log(one.score / (1 - one.score))) for one in stored if 0 < one.score < 1]
    if not known or log(rate) >= known[-1][0] or len(known) < len(stored):
        return next((one.score for one in reversed(stored) if one.target <= rate), stored[0].score)
    place = max(1, sum(target <= log(rate) for target, _ in known))
    (low, high_score), (high, low_score) = known[place - 1 : place + 1] if len(known) > 1 else (known[0],) * 2
    slope = (high_score - low_score) / (high - low) if high > low else 1.0
    slope = max(slope, 1.0) if log(rate) < low else slope
    logit = high_score + slope * (low - log(rate))
    return 1 / (1 + exp(-logit))


def threshold_rates(
    labels: np.ndarray, scores: np.ndarray, threshold: float, groups: np.ndarray | None = None
) -> dict[str, Any]:  # Any: a rate, or the two bounds of its interval
    """Recall, false-positive rate and precision of a threshold, with the intervals of ``share_interval``.

    Returns:
        ``false_positive_rate``, ``false_positive_interval``, ``recall``, ``recall_interval``, ``precision``
        and ``precision_interval``; the last two are None where no row is flagged.
    """
    flagged, positive = scores >= threshold, np.asarray(labels) == 1

    def members(rows: np.ndarray) -> np.ndarray | None:
        return None if groups is None else groups[rows]

    rates: dict[str, Any] = {}
    for rate, interval, rows in (
        ("false_positive_rate", "false_positive_interval", ~positive),
        ("recall", "recall_interval", positive),
    ):
        rates |= {rate: float(flagged[rows].mean()), interval: share_interval(flagged[rows], members(rows))}
    hits = positive[flagged]
    rates["precision"] = float(hits.mean()) if len(hits) else None
    rates["precision_interval"] = share_interval(hits, members(flagged)) if len(hits) else None
    return rates


def score_at_fpr(negatives: np.ndarray, fpr: float) -> float:
    """The lowest score of a negative row such that flagging only above it keeps a false-positive rate."""
    (flagged,) = max_false_positives(np.array([len(negatives)]), fpr)
    return float(np.sort(negatives)[len(negatives) - flagged - 1])


def max_false_positives(negatives: np.ndarray, fpr: float) -> np.ndarray:
    """The largest count of false positives whose rate, as a float, does not exceed ``fpr``, for each count.

    Example:
        >>> max_false_positives(np.array([200, 99]), 0.01)
        array([2, 0])
    """
    most = np.floor(negatives * fpr)  # rounding may have moved it by one
    most += (most + 1) / np.maximum(negatives, 1) <= fpr
    most -= most / np.maximum(negatives, 1) > fpr
    return np.asarray(np.minimum(most, negatives), dtype=int)


def proportion_interval(count: int, total: int) -> Interval:
    """95 % Clopper-Pearson interval of ``count`` successes in ``total`` trials, at least 1."""
    from scipy.stats import binomtest

    interval = binomtest(count, total).proportion_ci()
    return float(interval.low), float(interval.high)


def share_interval(hits: np.ndarray, groups: np.ndarray | None = None) -> Interval:
    """95 % interval of the share of rows that are hits, (row,) boolean with at least one row.

    Clopper-Pearson. Rows of one group resemble each other, so with ``groups``, one number per row, it is
    widened to a percentile interval over 2,000 bootstrap samples of whole groups.

    Example:
        >>> low, high = share_interval(np.arange(100) < 50, np.arange(100) // 10)
        >>> bool(low < share_interval(np.arange(100) < 50)[0])
        True
    """
    low, high = proportion_interval(int(hits.sum()), len(hits))
    if groups is None:
        return low, high
    _, numbers, rows = np.unique(groups, return_inverse=True, return_counts=True)
    counts = np.bincount(numbers, weights=hits)
    shares = [(drawn @ counts) / (drawn @ rows) for drawn in resampled_groups(len(rows), _RESAMPLES)]
    least, most = np.quantile(np.concatenate(shares), [0.025, 0.975])
    return min(low, float(least)), max(high, float(most))
