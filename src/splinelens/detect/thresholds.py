"""From logits to probabilities and to thresholds that keep a promised false-positive rate.

Both are fitted on out-of-fold logits: each training row is judged by a head that did not see it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splinelens.errors import BadDetector, BadFeatures, BadLabels

TARGETS = (0.001, 0.01, 0.05)
"""False-positive rates that thresholds are stored for, unless others are asked for."""


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: ``score = 1 / (1 + exp(-(slope * logit + intercept)))``."""

    slope: float = 1.0
    intercept: float = 0.0

    def logit(self, logit: np.ndarray) -> np.ndarray:
        """The calibrated logit."""
        return self.slope * logit + self.intercept

    def score(self, logit: np.ndarray) -> np.ndarray:
        """The calibrated probability, in [0, 1]; NaN stays NaN.

        Example:
            >>> Calibration().score(np.array([0.0])).tolist()
            [0.5]
        """
        return 1 / (1 + np.exp(-np.clip(self.logit(logit), -60, 60)))


@dataclass(frozen=True)
class Threshold:
    """A score at and above which the verdict is positive.

    Attributes:
        target: The false-positive rate that was asked for.
        score: The threshold. It lies above 1, so nothing is positive, where too many clean rows
            have a score of 1.
        rate: The rate on the rows it was chosen on, at most ``target``.
        interval: 95 % interval (Clopper-Pearson) of the true rate.
        recall: Share of positive rows at or above it.
    """

    target: float
    score: float
    rate: float
    interval: tuple[float, float]
    recall: float


def calibrate(labels: np.ndarray, logits: np.ndarray) -> Calibration:
    """Fit Platt scaling.

    The targets are Platt's, ``(n1 + 1) / (n1 + 2)`` and ``1 / (n0 + 2)`` for n1 positive and n0
    negative rows, so that logits which separate the classes perfectly get a finite slope. Source:
    Platt, Probabilistic outputs for support vector machines, 1999.

    Args:
        labels: 0 or 1, both there.
        logits: Out-of-fold logits.

    Returns:
        The calibration; its slope is positive.

    Raises:
        BadLabels: One class only, or the logits do not rise with the labels.
        BadFeatures: A logit is not a finite number.

    Example:
        >>> calibrate(np.array([0, 0, 1, 1]), np.array([-2.0, 1.0, -1.0, 2.0])).slope > 0
        True
    """
    from sklearn.linear_model import LogisticRegression

    positive, logits = _judged(labels, logits)
    centre, spread = float(logits.mean()), float(logits.std()) if np.ptp(logits) else 0.0
    slope = 0.0
    if spread > 0:
        count = int(positive.sum())
        target = np.where(positive, (count + 1) / (count + 2), 1 / (len(logits) - count + 2))
        rows = np.tile((logits - centre) / spread, 2)[:, None]
        sides, weights = np.repeat([1, 0], len(logits)), np.concatenate([target, 1 - target])
        head = LogisticRegression(C=1e6, tol=1e-8, max_iter=1000).fit(rows, sides, sample_weight=weights)
        slope = float(head.coef_[0, 0]) / spread
    if slope <= 0:
        raise BadLabels(
            f"the out-of-fold logits do not rise with the labels (slope {slope:.3g}): the features say "
            "nothing of these labels; check the label column and which value is positive, or give more rows"
        )
    return Calibration(slope, float(head.intercept_[0]) - slope * centre)


def thresholds(labels: np.ndarray, scores: np.ndarray, targets: Sequence[float] = TARGETS) -> list[Threshold]:
    """The lowest score for each target whose false-positive rate stays at or under it.

    With fewer than ``1 / target`` clean rows not one of them may fire, and the threshold is just above
    the highest clean score.

    Args:
        labels: 0 or 1, both there.
        scores: Out-of-fold scores.
        targets: False-positive rates, each in (0, 1).

    Returns:
        One threshold a target, with the interval of its true rate.

    Raises:
        BadLabels: One class only.
        BadFeatures: A score is not a finite number.
        BadDetector: A target is not in (0, 1).

    Example:
        >>> labels, scores = np.array([0] * 100 + [1]), np.append(np.arange(100) / 100, 1.0)
        >>> thresholds(labels, scores, [0.05])[0].rate
        0.05
    """
    positive, scores = _judged(labels, scores)
    clean, toxic = scores[~positive], scores[positive]
    found = []
    for target in targets:
        if not 0 < target < 1:
            raise BadDetector(f"{target!r} is no false-positive rate to aim at; give one between 0 and 1")
        score = float(np.nextafter(highest_quiet(clean, target), np.inf))
        fired = int((clean >= score).sum())
        interval = share_interval(fired, len(clean))
        found.append(
            Threshold(float(target), score, fired / len(clean), interval, float((toxic >= score).mean()))
        )
    return found


def highest_quiet(clean: np.ndarray, target: float) -> float:
    """The highest clean score that may not fire; firing strictly above it keeps the target.

    Args:
        clean: Scores of clean rows, in any order.
        target: False-positive rate, in (0, 1).

    Returns:
        The lowest such score.

    Example:
        >>> highest_quiet(np.array([0.1, 0.9, 0.4, 0.7]), 0.25)
        0.7
    """
    return float(np.sort(clean)[len(clean) - most_fired(len(clean), target) - 1])


def most_fired(clean: int, target: float) -> int:
    """How many of so many clean rows may fire at a false-positive rate.

    Args:
        clean: Clean rows.
        target: False-positive rate, in (0, 1).

    Returns:
        The largest count whose share does not exceed the rate.

    Example:
        >>> most_fired(200, 0.01), most_fired(99, 0.01)
        (2, 0)
    """
    return int((np.arange(1, clean + 1) / max(clean, 1) <= target).sum())


def share_interval(count: int, total: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a share.

    Args:
        count: How often it happened.
        total: How often it could have, at least 1.

    Returns:
        Lower and upper bound in [0, 1].

    Example:
        >>> tuple(round(bound, 3) for bound in share_interval(5, 100))
        (0.016, 0.113)
    """
    from scipy.stats import beta

    low = 0.0 if count == 0 else float(beta.ppf(0.025, count, total - count + 1))
    high = 1.0 if count == total else float(beta.ppf(0.975, count + 1, total - count))
    return low, high


def _judged(labels: np.ndarray, numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Whether each row is positive, and its logit or score in float64; both classes and all finite."""
    positive, numbers = np.asarray(labels) == 1, np.asarray(numbers, dtype=np.float64)
    if not positive.any() or positive.all():
        raise BadLabels(
            f"the {len(positive)} judged rows hold one class only; give rows of both to calibrate on"
        )
    broken = int((~np.isfinite(numbers)).sum())
    if broken:
        raise BadFeatures(
            f"{broken} of {len(numbers)} out-of-fold numbers are not finite; "
            "leave out rows that cannot be read"
        )
    return positive, numbers
