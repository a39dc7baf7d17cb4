"""Monotone maps from one score to another: isotonic regression, and the error that it leaves out of fold.

Isotonic regression is the rising function with the least squared error. It depends only on the order of the
scores, so logits would give the same values at the rows; between them it is linear in the score. It estimates
the mean of the target, which varies less than the target itself: the looser the relation, the fewer mapped
scores are near 0 or 1. Source: Barlow, Bartholomew, Bremner and Brunk, Statistical inference under order
restrictions, 1972.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splinelens.detect.solver import FOLDS


@dataclass(frozen=True)
class MonotoneMap:
    """A function through knots, linear between them and constant outside.

    Attributes:
        x: Scores, rising.
        y: What they are mapped to, never falling.

    Example:
        >>> MonotoneMap((0.2, 0.6), (0.0, 1.0)).at(np.array([0.1, 0.3, 0.9])).round(6).tolist()
        [0.0, 0.25, 1.0]
    """

    x: tuple[float, ...]
    y: tuple[float, ...]

    def at(self, scores: np.ndarray | float) -> np.ndarray:
        """The mapped scores, of one number an array without axes; NaN stays NaN."""
        return np.asarray(np.interp(scores, self.x, self.y))

    def reaches(self, target: float) -> float | None:
        """The lowest score that is mapped to a target or above; None if none is.

        Example:
            >>> MonotoneMap((0.0, 1.0), (0.0, 0.5)).reaches(0.25)
            0.5
        """
        knot = int(np.searchsorted(self.y, target))
        if knot == len(self.y):
            return None
        if knot == 0:
            return 0.0
        (left, right), (low, high) = self.x[knot - 1 : knot + 1], self.y[knot - 1 : knot + 1]
        return left + (right - left) * (target - low) / (high - low)


@dataclass(frozen=True)
class Agreement:
    """Decisions at one threshold by the target, by the score as it is, and by the mapped score out of fold.

    Attributes:
        threshold: A row is flagged whose number is this or above.
        target: Rows that the target flags.
        before: Rows that the score flags.
        after: Rows that the mapped score flags.
        agreement_before: Share of the rows that target and score decide alike.
        agreement_after: Share of the rows that target and mapped score decide alike.
        score: The lowest score that the map of all rows takes to the threshold; None if none does.
    """

    threshold: float
    target: int
    before: int
    after: int
    agreement_before: float
    agreement_after: float
    score: float | None


@dataclass(frozen=True)
class MapErrors:
    """How far a score is from its target, as it is and mapped out of fold.

    Attributes:
        mean_absolute_before: Of the score as it is.
        mean_absolute_after: Of the mapped score.
        root_mean_squared_before: Of the score as it is.
        root_mean_squared_after: Of the mapped score.
        rank_correlation: Spearman's, of score and target: 1 if a map without error exists.
        agreement: Decisions at each threshold.
    """

    mean_absolute_before: float
    mean_absolute_after: float
    root_mean_squared_before: float
    root_mean_squared_after: float
    rank_correlation: float
    agreement: tuple[Agreement, ...]


def fit_monotone(scores: np.ndarray, targets: np.ndarray) -> MonotoneMap:
    """Fit isotonic regression; targets of equal scores are averaged.

    Example:
        >>> fit_monotone(np.array([0.1, 0.2, 0.3, 0.4]), np.array([0.0, 0.6, 0.4, 1.0]))
        MonotoneMap(x=(0.1, 0.2, 0.3, 0.4), y=(0.0, 0.5, 0.5, 1.0))
    """
    from sklearn.isotonic import IsotonicRegression

    model = IsotonicRegression(out_of_bounds="clip").fit(scores, targets)
    return MonotoneMap(tuple(model.X_thresholds_.tolist()), tuple(model.y_thresholds_.tolist()))


def mapped_out_of_fold(
    scores: np.ndarray, targets: np.ndarray, groups: np.ndarray, seed: int = 0
) -> np.ndarray:
    """Each row mapped by a function that was fitted without its fold; rows of one group share a fold.

    There are five folds, or one a group where there are fewer; two groups at least.
    """
    from sklearn.model_selection import GroupKFold

    mapped = np.empty(len(scores))
    splitter = GroupKFold(min(FOLDS, len(np.unique(groups))), shuffle=True, random_state=seed)
    for fitted, held_out in splitter.split(scores, groups=groups):
        mapped[held_out] = fit_monotone(scores[fitted], targets[fitted]).at(scores[held_out])
    return mapped


def map_errors(
    scores: np.ndarray,
    targets: np.ndarray,
    mapped: np.ndarray,
    fitted: MonotoneMap,
    thresholds: Sequence[float],
) -> MapErrors:
    """Compare scores and out-of-fold mapped scores with their targets.

    ``fitted`` is the map of all rows, for the score that each threshold corresponds to.
    """
    from scipy.stats import spearmanr

    before, after = scores - targets, mapped - targets
    decisions = []
    for threshold in thresholds:
        target, raw, moved = (numbers >= threshold for numbers in (targets, scores, mapped))
        decisions.append(
            Agreement(
                threshold,
                int(target.sum()),
                int(raw.sum()),
                int(moved.sum()),
                float((raw == target).mean()),
                float((moved == target).mean()),
                fitted.reaches(threshold),
            )
        )
    return MapErrors(
        float(np.abs(before).mean()),
        float(np.abs(after).mean()),
        float(np.sqrt((before**2).mean())),
        float(np.sqrt((after**2).mean())),
        float(spearmanr(scores, targets).statistic),
        tuple(decisions),
    )
