"""AUC within groups of rows, such as the comments of one author: does the score tell apart what they wrote?

The AUC over all rows also counts pairs of different groups, which a detector can order by knowing which
group a row is from. Here only (positive, negative) pairs of one group count.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from splinelens.detect.bootstrap import MIN_GROUPS, percentile_interval
from splinelens.detect.groups import resampled_groups
from splinelens.detect.thresholds import Interval


@dataclass(frozen=True)
class WithinGroupAuc:
    """AUC within groups, with a 95 % interval by bootstrap over groups.

    Attributes:
        groups: Groups of the scored rows.
        mixed: Groups among them with rows of both classes; all others take no part in ``auc``.
        pairs: (positive, negative) pairs within them.
        auc: Share of these pairs in the right order, ties one half: the mean of the groups' AUCs, each
            weighted by its pairs. None without a pair.
        auc_interval: None with fewer than 10 mixed groups.
    """

    groups: int
    mixed: int
    pairs: int
    auc: float | None
    auc_interval: Interval | None


def within_group_auc(
    labels: np.ndarray, scores: np.ndarray, groups: np.ndarray, *, resamples: int = 10_000, seed: int = 0
) -> WithinGroupAuc:
    """Measure labels, 0 or 1, and finite scores of rows whose group has a number.

    Example:
        >>> labels, scores = np.array([0, 1, 0, 1]), np.array([0.1, 0.2, 0.8, 0.9])
        >>> within_group_auc(labels, scores, np.array([0, 0, 1, 1])).auc
        1.0
    """
    pairs = group_pairs(labels, scores, groups)
    auc, interval = _share(pairs[:, 0], pairs[:, 1], resamples, seed)
    return WithinGroupAuc(
        groups=len(np.unique(groups)),
        mixed=len(pairs),
        pairs=int(pairs[:, 0].sum()),
        auc=auc,
        auc_interval=interval,
    )


def within_group_gain(
    labels: np.ndarray,
    scores: np.ndarray,
    rival: np.ndarray,
    groups: np.ndarray,
    *,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[float | None, Interval | None]:
    """By how much the AUC within groups of some scores exceeds that of others of the same rows.

    Returns:
        The difference, None without a pair, and its 95 % interval by bootstrap over groups, None with fewer
        than 10 groups of both classes.

    Example:
        >>> labels, groups = np.array([0, 1, 0, 1]), np.array([0, 0, 1, 1])
        >>> within_group_gain(labels, labels * 1.0, np.zeros(4), groups)
        (0.5, None)
    """
    ours, theirs = group_pairs(labels, scores, groups), group_pairs(labels, rival, groups)
    return _share(ours[:, 0], ours[:, 1] - theirs[:, 1], resamples, seed)


def group_pairs(labels: np.ndarray, scores: np.ndarray, groups: np.ndarray) -> Float[np.ndarray, "group 2"]:
    """Pairs of each group with both classes, and how many of them are in the right order, ties one half.

    Args:
        labels: 0 or 1, or whether the row is positive.
        scores: Finite.
        groups: The number of each row's group.

    Returns:
        A row for each group with both classes, by its number.

    Example:
        >>> labels, scores = np.array([0, 1, 1, 1]), np.array([0.5, 0.5, 0.9, 0.1])
        >>> group_pairs(labels, scores, np.array([0, 0, 0, 1])).tolist()
        [[2.0, 1.5]]
    """
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order]) != 0) + 1
    pairs = []
    for rows in np.split(order, starts):
        positive, score = labels[rows] == 1, scores[rows]
        negatives = np.sort(score[~positive])
        if count := len(negatives) * int(positive.sum()):
            below, up_to = (negatives.searchsorted(score[positive], side).sum() for side in ("left", "right"))
            pairs.append((count, (below + up_to) / 2))
    return np.array(pairs, dtype=float).reshape(-1, 2)


def _share(
    pairs: Float[np.ndarray, " group"], counted: Float[np.ndarray, " group"], resamples: int, seed: int
) -> tuple[float | None, Interval | None]:
    """The share of pairs that count, with its interval by bootstrap over groups."""
    enough = len(pairs) >= MIN_GROUPS
    values = [
        (times @ counted) / (times @ pairs)
        for times in resampled_groups(len(pairs), resamples if enough else 0, seed)
    ]
    share = float(counted.sum() / pairs.sum()) if len(pairs) else None
    return share, percentile_interval(np.concatenate([np.zeros(0), *values]))
