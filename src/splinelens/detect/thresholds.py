"""From logits to probabilities and to thresholds that keep a promised false-positive rate.

Both are fitted on out-of-fold logits: each training row is judged by a head that did not see it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Calibration:
    """Platt scaling: ``score = 1 / (1 + exp(-(slope * logit + intercept)))``."""

    slope: float = 1.0
    intercept: float = 0.0

    def logit(self, logit: np.ndarray) -> np.ndarray:
        """The calibrated logit."""
        return self.slope * logit + self.intercept

    def score(self, logit: np.ndarray) -> np.ndarray:
        """The calibrated probability, in [0, 1].

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
        score: The threshold.
        rate: The rate on the rows it was chosen on.
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

    Args:
        labels: 0 or 1.
        logits: Out-of-fold logits.

    Returns:
        The calibration; its slope is positive unless the logits are worse than chance.
    """
    from sklearn.linear_model import LogisticRegression

    head = LogisticRegression(C=1e6, max_iter=1000).fit(np.asarray(logits)[:, None], labels)
    return Calibration(float(head.coef_[0, 0]), float(head.intercept_[0]))


def thresholds(labels: np.ndarray, scores: np.ndarray, targets: Sequence[float] = (0.01, 0.05)) -> list[Threshold]:
    """The lowest score for each target whose false-positive rate stays at or under it.

    Args:
        labels: 0 or 1, both there.
        scores: Out-of-fold scores.
        targets: False-positive rates, each in (0, 1).

    Returns:
        One threshold a target, with the interval of its true rate.

    Example:
        >>> labels, scores = np.array([0] * 100 + [1]), np.append(np.arange(100) / 100, 1.0)
        >>> thresholds(labels, scores, [0.05])[0].rate
        0.05
    """
    clean, toxic = np.sort(scores[labels == 0]), scores[labels == 1]
    found = []
    for target in targets:
        allowed = int(np.floor(target * len(clean) + 1e-9))
        # Just above the highest clean score that must stay below.
        score = float(np.nextafter(clean[len(clean) - allowed - 1], 2.0))
        fired = int((clean >= score).sum())
        interval = share_interval(fired, len(clean))
        found.append(Threshold(target, score, fired / len(clean), interval, float((toxic >= score).mean())))
    return found


def share_interval(count: int, total: int) -> tuple[float, float]:
    """95 % Clopper-Pearson interval of a share.

    Args:
        count: How often it happened.
        total: How often it could have.

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
