"""Which weights of a matrix to remove: magnitude, Wanda (arXiv:2306.11695), SparseGPT (arXiv:2301.00774).

A matrix is (out, in): ``y = W x``. A count of weights, met exactly, or an n:m pattern says how many are
removed; of equal scores the first in the matrix. Magnitude compares all weights of a matrix, Wanda those of
an output row, SparseGPT those of a block of columns; SparseGPT also changes the later weights of a row to
make up for those that it removes.
"""

import re
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from splinelens.errors import BadFeatures

_DAMPING = 0.01
# Share of the mean diagonal that SparseGPT adds to the Gram matrix, as published.
_COLUMNS = 128
# Columns that SparseGPT chooses among at once, as published.


@dataclass(frozen=True)
class Pattern:
    """An n:m pattern: of each ``group`` weights that follow each other in a row, ``kept`` stay.

    Example:
        >>> Pattern.parse("2:4").sparsity
        0.5
    """

    kept: int
    group: int

    @classmethod
    def parse(cls, text: str) -> "Pattern":
        """Read ``n:m``.

        Raises:
            BadFeatures: Another form, or n is not between 1 and m - 1, or m is above 128.
        """
        match = re.fullmatch(r"(\d{1,3}):(\d{1,3})", text.strip(), re.ASCII)
        pattern = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 0 < pattern.kept < pattern.group <= _COLUMNS:
            raise BadFeatures(
                f"{text!r:.50} is no pattern n:m with 0 < n < m <= {_COLUMNS}; write 2:4 or 4:8"
            )
        return pattern

    def __str__(self) -> str:
        return f"{self.kept}:{self.group}"

    @property
    def sparsity(self) -> float:
        """The share of weights that it removes."""
        return 1 - self.kept / self.group

    def count(self, weight: Float[Tensor, "out in"]) -> int:
        """How many weights of a matrix it removes.

        Raises:
            BadFeatures: The rows do not divide into groups.
        """
        rows, columns = weight.shape
        if columns % self.group:
            raise BadFeatures(
                f"rows of {columns} weights do not divide into groups of {self.group} for {self}"
            )
        return rows * columns * (self.group - self.kept) // self.group


Removal = int | Pattern
"""How many weights of a matrix are removed, or in which pattern."""


def magnitude_mask(weight: Float[Tensor, "out in"], removal: Removal) -> Bool[Tensor, "out in"]:
    """The weights of the smallest absolute value, over the whole matrix or in each group of a pattern.

    Returns:
        True where a weight is to be removed.

    Raises:
        BadFeatures: The count is negative or above the number of weights, or the pattern does not fit.

    Example:
        >>> magnitude_mask(torch.tensor([[1.0, -3.0], [2.0, 0.5]]), 2)
        tensor([[ True, False], [False,  True]])
    """
    scores = _array(weight.abs())
    if isinstance(removal, Pattern):
        return _tensor(_in_groups(scores, removal, weight), weight)
    _check_count(weight, removal)
    return _tensor(_lowest(scores.reshape(1, -1), removal).reshape(scores.shape), weight)


def wanda_scores(weight: Float[Tensor, "out in"], power: Float[Tensor, " in"]) -> Float[Tensor, "out in"]:
    """``|W_ij| sqrt(mean x_j^2)`` in float32 (Sun et al., arXiv:2306.11695).

    Args:
        weight: The matrix.
        power: The mean square of each input on calibration text.

    Example:
        >>> wanda_scores(torch.tensor([[1.0, -3.0]]), torch.tensor([100.0, 1.0]))
        tensor([[10.,  3.]])
    """
    return weight.abs().float() * power.to(weight.device).float().sqrt()


def wanda_mask(
    weight: Float[Tensor, "out in"], power: Float[Tensor, " in"], removal: Removal
) -> Bool[Tensor, "out in"]:
    """The weights of the smallest ``wanda_scores`` in each row.

    A count that is no multiple of the rows takes one weight more from the rows whose next score is smallest.

    Args:
        weight: The matrix.
        power: The mean square of each input on calibration text.
        removal: How many weights, or in which pattern.

    Returns:
        True where a weight is to be removed.

    Raises:
        BadFeatures: As for ``magnitude_mask``, or a mean square that is not finite.

    Example:
        >>> wanda_mask(torch.tensor([[1.0, -3.0], [2.0, 0.5]]), torch.tensor([100.0, 1.0]), 2)
        tensor([[False,  True], [False,  True]])
    """
    _require_finite(power)
    scores = _array(wanda_scores(weight, power))
    if isinstance(removal, Pattern):
        return _tensor(_in_groups(scores, removal, weight), weight)
    _check_count(weight, removal)
    rows = len(scores)
    removed = _lowest(scores, removal // rows)
    if rest := removal % rows:
        left = np.where(removed, np.inf, scores)
        chosen = np.argsort(left.min(axis=1), kind="stable")[:rest]
        removed[chosen, left[chosen].argmin(axis=1)] = True
    return _tensor(removed, weight)


def sparsegpt(
    weight: Float[Tensor, "out in"],
    gram: Float[Tensor, "in in"],
    removal: Removal,
    *,
    damping: float = _DAMPING,
    columns: int = _COLUMNS,
) -> tuple[Float[Tensor, "out in"], Bool[Tensor, "out in"]]:
    """Remove weights and move those to their right to keep the output (Frantar, Alistarh, arXiv:2301.00774).

    With ``U`` the upper Cholesky factor of the inverse Gram matrix, weight j of a row costs
    ``(w_j / U_jj)^2``. Columns are visited from left to right; a removed weight adds ``-w_j / U_jj U_j:`` to
    the later weights of its row, which is the least-squares answer of those. A count is spread over the
    blocks of columns by their width. Weights of inputs that are always 0 are removed first; the published
    code removes all of them, and so more than the count.

    Args:
        weight: The matrix.
        gram: ``mean x x^T`` of its inputs on calibration text.
        removal: How many weights, or in which pattern.
        damping: Share of the mean diagonal that is added to the diagonal.
        columns: Columns of a block.

    Returns:
        The new matrix, in the dtype of ``weight``, and True where a weight was removed.

    Raises:
        BadFeatures: As for ``magnitude_mask``, or a Gram matrix that is not finite.

    Example:
        >>> two_equal_inputs = torch.ones(2, 2)
        >>> sparsegpt(torch.tensor([[1.0, 3.0]]), two_equal_inputs, 1, damping=1e-6)[0].round(decimals=3)
        tensor([[0., 4.]])
    """
    width = weight.shape[1]
    if isinstance(removal, Pattern):
        removal.count(weight)
        columns -= columns % removal.group
    else:
        _check_count(weight, removal)
    work = weight.float().clone()
    factor, unused = _inverse_factor(gram.to(weight.device), damping)
    pivots = factor.diagonal().masked_fill(unused, torch.inf)  # the weights of unused inputs cost nothing
    removed = torch.zeros_like(work, dtype=torch.bool)
    for start in range(0, width, columns):
        stop = min(start + columns, width)
        block, part = work[:, start:stop].clone(), factor[start:stop, start:stop]
        chosen = torch.zeros_like(block, dtype=torch.bool)
        if isinstance(removal, int):
            count = removal * stop // width - removal * start // width
            scores = _array((block / pivots[start:stop]).square())
            chosen = _tensor(_lowest(scores.reshape(1, -1), count).reshape(scores.shape), weight)
        errors = torch.zeros_like(block)
        for column in range(stop - start):
            if isinstance(removal, Pattern) and column % removal.group == 0:
                group = slice(column, column + removal.group)
                scores = _array((block[:, group] / pivots[start:stop][group]).square())
                chosen[:, group] = _tensor(_lowest(scores, removal.group - removal.kept), weight)
            errors[:, column] = torch.where(chosen[:, column], block[:, column], 0) / part[column, column]
            block[:, column:].addr_(errors[:, column], part[column, column:], alpha=-1)
        work[:, start:stop] = block
        work[:, stop:] -= errors @ factor[start:stop, stop:]
        removed[:, start:stop] = chosen
    return work.masked_fill(removed, 0).to(weight.dtype), removed


def _inverse_factor(
    gram: Float[Tensor, "in in"], damping: float
) -> tuple[Float[Tensor, "in in"], Bool[Tensor, " in"]]:
    """The upper Cholesky factor of the inverse of the damped Gram matrix, and which inputs are always 0."""
    _require_finite(gram)
    damped = gram.double()
    unused = damped.diagonal() == 0
    damped = damped + torch.diag(unused.double() + damping * damped.diagonal().mean())
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(damped))
    return torch.linalg.cholesky(inverse, upper=True).float(), unused


def _lowest(scores: np.ndarray, count: int) -> np.ndarray:
    """True at the ``count`` lowest scores of each row; of equal ones at the first."""
    if count == 0:
        return np.zeros(scores.shape, dtype=bool)
    threshold = np.partition(scores, count - 1, axis=1)[:, count - 1, None]
    below, equal = scores < threshold, scores == threshold
    missing = count - below.sum(axis=1, keepdims=True)
    return np.asarray(below | (equal & (equal.cumsum(axis=1) <= missing)))


def _in_groups(scores: np.ndarray, pattern: Pattern, weight: Tensor) -> np.ndarray:
    """True at the lowest scores of each group of a pattern."""
    pattern.count(weight)
    return _lowest(scores.reshape(-1, pattern.group), pattern.group - pattern.kept).reshape(scores.shape)


def _require_finite(moments: Tensor) -> None:
    if not moments.isfinite().all():
        raise BadFeatures("the inputs on calibration text are not finite; use dtype float32")


def _check_count(weight: Tensor, count: int) -> None:
    if not 0 <= count <= weight.numel():
        raise BadFeatures(f"cannot remove {count:,} of {weight.numel():,} weights")


def _array(scores: Tensor) -> np.ndarray:
    return np.asarray(scores.float().cpu().numpy())


def _tensor(mask: np.ndarray, like: Tensor) -> Bool[Tensor, "..."]:
    return torch.from_numpy(mask).to(like.device)
