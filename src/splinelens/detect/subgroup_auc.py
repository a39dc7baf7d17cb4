"""Whether the mention of a group moves scores: subgroup, BPSN and BNSP AUC.

Source: Borkan, Dixon, Sorensen, Thain, Vasserman, arXiv:1903.04561, section 3. The background of a group is
every row outside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from splinelens.detect.bootstrap import auc_interval
from splinelens.detect.thresholds import Interval
from splinelens.errors import BadLabels

_ROWS_PER_CLASS = 10  # with fewer rows of a class no AUC is given


@dataclass(frozen=True)
class SubgroupAuc:
    """Three AUCs of one group, with 95 % bootstrap intervals.

    An AUC is None with fewer than 10 rows of either class, its interval with fewer than 50 rows.

    Attributes:
        rows: Rows that belong to the group.
        positives: Positive rows among them.
        subgroup_auc: AUC among the group's rows; low if classes are confused within the group.
        bpsn_auc: Background positives against subgroup negatives; low if harmless texts that mention the
            group score too high.
        bnsp_auc: Background negatives against subgroup positives; low if attacks that mention the group
            score too low.
    """

    name: str
    rows: int
    positives: int
    subgroup_auc: float | None
    subgroup_interval: Interval | None
    bpsn_auc: float | None
    bpsn_interval: Interval | None
    bnsp_auc: float | None
    bnsp_interval: Interval | None


def subgroup_aucs(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    row_groups: np.ndarray | None = None,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[SubgroupAuc, ...]:
    """Measure each group against its background.

    Rows whose score is NaN, and groups without a scored row, are left out. ``groups`` says of each group
    whether a row belongs to it, boolean; ``row_groups`` numbers rows that are resampled together. Without
    ``resamples`` there are no intervals.

    Raises:
        BadLabels: A group has another number of rows than the labels.
    """
    records, scored = [], np.isfinite(scores)
    positive, scores = labels[scored] == 1, scores[scored]
    together = np.arange(len(scores)) if row_groups is None else row_groups[scored]
    for name, members in groups.items():
        if len(members) != len(scored):
            raise BadLabels(f"group {name!r} marks {len(members)} rows of {len(scored)}; mark every row")
        inside = members[scored]
        if not inside.any():
            continue
        subgroup, bpsn, bnsp = (
            _auc(positive[rows], scores[rows], together[rows], resamples, seed)
            for rows in (inside, inside != positive, inside == positive)
        )
        records.append(
            SubgroupAuc(name, int(inside.sum()), int((inside & positive).sum()), *subgroup, *bpsn, *bnsp)
        )
    return tuple(records)


def _auc(
    positive: np.ndarray, scores: np.ndarray, groups: np.ndarray, resamples: int, seed: int
) -> tuple[float | None, Interval | None]:
    from sklearn.metrics import roc_auc_score

    if min(positive.sum(), (~positive).sum()) < _ROWS_PER_CLASS:
        return None, None
    return float(roc_auc_score(positive, scores)), auc_interval(positive, scores, resamples, seed, groups)
