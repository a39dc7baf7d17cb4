"""AUC within groups of rows, such as the comments of one author: does the score tell apart what they wrote?

The AUC over all rows also counts pairs of different groups, which a detector can order by knowing which
group a row is from. Here only (positive, negative) pairs of one group count.
"""

from dataclasses import dataclass

import numpy as np

from splinelens.detect.bootstrap import MIN_GROUPS, ScoreHistogram, percentile_interval
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
    order = np.argsort(groups, kind="stable")
    starts = np.flatnonzero(np.diff(groups[order], prepend=-1))
    pairs, ordered = [], []
    for rows in np.split(order, starts[1:]):
        positives = int(labels[rows].sum())
        if count := positives * (len(rows) - positives):
            pairs.append(count)
            ordered.append(count * float(ScoreHistogram.of(labels[rows], scores[rows]).roc_auc()))
    counts, right = np.array(pairs, dtype=float), np.array(ordered)
    enough = len(pairs) >= MIN_GROUPS
    values = [
        (drawn @ right) / (drawn @ counts)
        for drawn in resampled_groups(len(pairs), resamples if enough else 0, seed)
    ]
    return WithinGroupAuc(
        groups=len(starts),
        mixed=len(pairs),
        pairs=sum(pairs),
        auc=float(right.sum() / counts.sum()) if pairs else None,
        auc_interval=percentile_interval(np.concatenate([np.zeros(0), *values])),
    )
