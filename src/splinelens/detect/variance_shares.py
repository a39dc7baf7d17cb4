"""Which columns carry a linear head: each column's share of the variance of the logit over a corpus.

The logit is a constant plus one contribution a column, so ``var(logit) = sum_j cov(c_j, logit)``. A column's
share is ``cov(c_j, logit) / var(logit)``: a covariance of two columns is halved between them. The shares sum
to 1, and one is negative where a column works against the others. It is the Shapley value of a column in the
game whose worth is the variance of the sum of a coalition's contributions.
"""

import numpy as np
from jaxtyping import Float

from splinelens.detect.heads import LinearHead
from splinelens.errors import BadTexts


class VarianceShares:
    """Gathers the rows of a corpus one by one; only sums are kept.

    Args:
        head: A head; the shares are those of its first label.

    Example:
        >>> one = np.ones(2)
        >>> gathered = VarianceShares(LinearHead(0 * one, one, np.array([[2.0, 1.0]]), np.zeros(1)))
        >>> for row in ([1.0, 1.0], [-1.0, -1.0], [3.0, -1.0]):
        ...     _ = gathered.add(np.array(row))
        >>> gathered.shares().round(3).tolist()
        [0.923, 0.077]
    """

    def __init__(self, head: LinearHead):
        self._head = head
        self._rows = 0
        self._logit_mean, self._logit_square = 0.0, 0.0
        self._mean, self._product = np.zeros(head.width), np.zeros(head.width)

    def add(self, values: Float[np.ndarray, " column"]) -> float:
        """Add a row; the result is its logit. A row that is not finite is left out, its logit NaN."""
        logit = float(self._head.logit(values[None])[0, 0])
        if not np.isfinite(logit):
            return logit
        contributions = self._head.contributions(values[None])[0]
        self._rows += 1
        # Welford's update: sums of products would lose the digits of a mean far from 0.
        moved = contributions - self._mean
        self._mean += moved / self._rows
        step = logit - self._logit_mean
        self._logit_mean += step / self._rows
        self._product += moved * (logit - self._logit_mean)
        self._logit_square += step * (logit - self._logit_mean)
        return logit

    def shares(self) -> Float[np.ndarray, " column"]:
        """The share of each column.

        Raises:
            BadTexts: All rows have the same logit, or there is none.
        """
        if not self._logit_square > 0:
            raise BadTexts(
                f"the {self._rows} texts that could be read have all the same score; give different texts"
            )
        return self._product / self._logit_square
