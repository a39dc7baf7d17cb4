"""The mean of paired differences, such as of one prompt in two conditions, over independent groups."""

from dataclasses import dataclass

import numpy as np

from splinelens.detect.bootstrap import MIN_GROUPS, percentile_interval
from splinelens.detect.groups import resampled_groups
from splinelens.detect.thresholds import Interval

_RESAMPLES = 10_000


@dataclass(frozen=True)
class PairedDifference:
    """A mean difference.

    Attributes:
        value: Mean over groups of the mean difference of each; None without any.
        interval: 95 % bootstrap interval over groups; None with fewer than 10.
        p_value: Two-sided, of the test that changes the sign of whole groups; None if all differences are 0.
        groups: Groups with a difference.
    """

    value: float | None
    interval: Interval | None
    p_value: float | None
    groups: int


def paired_difference(difference: np.ndarray, group: np.ndarray, seed: int = 0) -> PairedDifference:
    """The mean of differences over groups that weigh the same.

    Args:
        difference: (row,), NaN where one of the pair is missing.
        group: (row,) a number, equal for rows that belong together.
        seed: Of resamples and sign changes.

    Example:
        >>> paired_difference(np.array([1.0, 3.0, 5.0]), np.array([0, 0, 1])).value
        3.5
    """
    from scipy.stats import permutation_test

    known = np.isfinite(difference)
    _, number = np.unique(group[known], return_inverse=True)
    if not len(number):
        return PairedDifference(None, None, None, 0)
    means = np.bincount(number, difference[known]) / np.bincount(number)
    interval = p_value = None
    if len(means) >= MIN_GROUPS:
        resampled = [times @ means / len(means) for times in resampled_groups(len(means), _RESAMPLES, seed)]
        interval = percentile_interval(np.concatenate(resampled))
    if means.any():
        test = (
            permutation_test(
                (means,),
                np.mean,
                permutation_type="samples",
                vectorized=True,
                axis=0,
                n_resamples=9999,
                rng=seed,
            )
            if len(means) > 1
            else None
        )
        p_value = None if test is None else float(test.pvalue)
    return PairedDifference(float(means.mean()), interval, p_value, len(means))
