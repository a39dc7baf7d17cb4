"""Whether the mention of a group moves scores: subgroup, BPSN and BNSP AUC.

Source: Borkan, Dixon, Sorensen, Thain, Vasserman, arXiv:1903.04561, section 3. The background of a group is
every row outside it.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from splinelens.detect.evaluate import auc, auc_interval
from splinelens.errors import BadLabels

Bounds = tuple[float, float]

ROWS_PER_CLASS = 10
"""With fewer rows of a class an AUC says nothing, and there is none."""


@dataclass(frozen=True)
class SubgroupBias:
    """Three AUCs of one group; each is None where one of its two sides has fewer than 10 rows.

    Attributes:
        name: The group.
        rows: Rows that belong to it.
        positives: Positive rows among them.
        subgroup_auc: AUC among the group's rows: low, and within the group classes are confused.
        subgroup_interval: 95 % bootstrap interval; None with fewer than 50 rows.
        bpsn_auc: Positive rows of the background against negative rows of the group: low, and harmless
            texts that mention the group score too high.
        bpsn_interval: As above.
        bnsp_auc: Negative rows of the background against positive rows of the group: low, and attacks
            that mention the group score too low.
        bnsp_interval: As above.
    """

    name: str
    rows: int
    positives: int
    subgroup_auc: float | None
    subgroup_interval: Bounds | None
    bpsn_auc: float | None
    bpsn_interval: Bounds | None
    bnsp_auc: float | None
    bnsp_interval: Bounds | None


def subgroup_bias(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: Mapping[str, np.ndarray],
    *,
    resamples: int = 1000,
    seed: int = 0,
) -> tuple[SubgroupBias, ...]:
    """Measure each group against its background.

    Args:
        labels: 0 or 1 for each row.
        scores: One a row; rows with NaN are left out.
        groups: For each group whether a row belongs to it, boolean.
        resamples: Bootstrap resamples of the intervals; 0 for none.
        seed: Of the bootstrap.

    Returns:
        One record a group, in order; groups without a scored row are left out.

    Raises:
        BadLabels: A group has another number of rows than the labels.

    Example:
        >>> labels, scores = np.tile([0, 1], 20), np.tile([0.2, 0.9], 20)
        >>> subgroup_bias(labels, scores, {"a": np.arange(40) < 20}, resamples=0)[0].bpsn_auc
        1.0
    """
    found, scored = [], np.isfinite(scores)
    labels, scores = labels[scored], scores[scored]
    for name, marked in groups.items():
        if len(marked) != len(scored):
            raise BadLabels(f"group {name!r} marks {len(marked)} rows of {len(scored)}; mark every row")
        inside = marked[scored]
        if not inside.any():
            continue
        positive = labels == 1
        sides = (inside, (inside != positive), (inside == positive))
        # Within the group; negative inside or positive outside; positive inside or negative outside.
        numbers = [_number(labels[rows], scores[rows], resamples, seed) for rows in sides]
        (own, own_interval), (bpsn, bpsn_interval), (bnsp, bnsp_interval) = numbers
        count, hits = int(inside.sum()), int((inside & positive).sum())
        found.append(
            SubgroupBias(name, count, hits, own, own_interval, bpsn, bpsn_interval, bnsp, bnsp_interval)
        )
    return tuple(found)


def _number(
    labels: np.ndarray, scores: np.ndarray, resamples: int, seed: int
) -> tuple[float | None, Bounds | None]:
    positives = int((labels == 1).sum())
    if min(positives, len(labels) - positives) < ROWS_PER_CLASS:
        return None, None
    return auc(labels, scores), auc_interval(labels, scores, resamples, seed)
