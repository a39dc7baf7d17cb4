"""What each column of a detector says alone: its part of a linear logit, or its own number."""

from collections.abc import Sequence

import numpy as np

from splinelens.detect.heads import Head, LinearHead


def alone(head: Head, values: np.ndarray, sizes: Sequence[int]) -> np.ndarray:
    """What each column of one row says without the others.

    Args:
        head: The fitted head; of several labels the first is meant.
        values: One row.
        sizes: Entries of each column, in order.

    Returns:
        One number a column: a single number as it is, of several the sum of what they add to the logit
        of a linear head, NaN with another head.

    Example:
        >>> one = np.ones(3)
        >>> head = LinearHead(0 * one, one, np.array([[1.0, 2.0, 3.0]]), np.zeros(1))
        >>> alone(head, np.array([5.0, 1.0, 1.0]), [1, 2]).tolist()
        [5.0, 5.0]
    """
    ends = np.cumsum(sizes)
    starts = ends - np.asarray(sizes)
    single = np.asarray(sizes) == 1
    found = np.full(len(sizes), np.nan)
    if isinstance(head, LinearHead) and not single.all():
        found = np.add.reduceat(head.parts(values[None], 0)[0], starts)
    found[single] = values[starts[single]]
    return found


def block_auc(labels: np.ndarray, numbers: np.ndarray) -> float | None:
    """How well one number separates the labels.

    Args:
        labels: 0 or 1 for each row.
        numbers: One a row; NaN where there is none.

    Returns:
        The AUC of the rows with a number, below 0.5 where smaller leans to 1; None if a class is missing.

    Example:
        >>> block_auc(np.array([0, 1, 1]), np.array([2.0, 3.0, np.nan]))
        1.0
    """
    there = np.isfinite(numbers)
    if len(np.unique(labels[there])) < 2:
        return None
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score(labels[there].astype(int), numbers[there]))
