"""How many weights each block of a model loses, so that the model loses a given share.

Every method gives each block a score; the ratios follow from it and are then clipped and shifted until the
share is met exactly. Sources: arXiv:2410.10912 (AlphaPruning), arXiv:2506.06280 (FARMS), arXiv:2310.05175
(OWL), arXiv:2505.23807 (DLP), arXiv:2502.14770 (arithmetic progression).
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from splinelens.errors import BadFeatures
from splinelens.geometry.settings import Rule

MOST = 0.99
"""Largest share of its weights that a block may lose."""

OUTLIER = 5.0
"""An outlier of OWL is this many times the mean of its block."""


def require_sparsity(sparsity: float) -> None:
    """Refuse a share of weights that no plan can remove.

    Raises:
        BadFeatures: It is not in [0, 1), or above ``MOST``.

    Example:
        >>> require_sparsity(1.5)
        Traceback (most recent call last):
        ...
        splinelens.errors.BadFeatures: a sparsity of 1.5 is not in [0, 1): it is the share of weights ...
    """
    if not 0 <= sparsity < 1:
        raise BadFeatures(
            f"a sparsity of {sparsity} is not in [0, 1): it is the share of weights to remove, such as 0.5"
        )
    if sparsity > MOST:
        raise BadFeatures(
            f"a sparsity of {sparsity} cannot be reached: no block may lose more than {MOST} of its weights"
        )


def block_ratios(
    rule: Rule,
    scores: Float[np.ndarray, " block"],
    sizes: Int[np.ndarray, " block"],
    sparsity: float,
    spread: float,
) -> Float[np.ndarray, " block"]:
    """The share of its weights that each block loses by a rule.

    Args:
        rule: By OWL blocks with a high score lose less, by all others more.
        scores: What the rule measures of each block.
        sizes: Weights of each block.
        sparsity: The share of all weights to remove.
        spread: How far the ratios may differ; 0 gives every block the same one.

    Example:
        >>> block_ratios("owl", np.array([0.1, 0.2, 0.3]), np.array([1, 1, 1]), 0.7, 0.1)
        array([0.8, 0.7, 0.6])
    """
    ratios_of = scaled_ratios if rule in ("alpha", "farms") else shifted_ratios
    return ratios_of(-scores if rule == "owl" else scores, sizes, sparsity, spread)


def scaled_ratios(
    scores: Float[np.ndarray, " block"], sizes: Int[np.ndarray, " block"], sparsity: float, spread: float
) -> Float[np.ndarray, " block"]:
    """Ratios proportional to scores mapped linearly to [1 - spread, 1 + spread] (AlphaPruning, FARMS).

    Args:
        scores: The higher, the more a block loses: alpha.
        sizes: Weights of each block.
        sparsity: The share of all weights to remove.
        spread: 0 gives every block the same ratio.

    Example:
        >>> scaled_ratios(np.array([2.0, 3.0, 4.0]), np.array([1, 1, 1]), 0.5, 0.2)
        array([0.4, 0.5, 0.6])
    """
    factors = 1 + spread * (2 * _unit(scores) - 1)
    return fitted_ratios(factors * sparsity / np.average(factors, weights=sizes), sizes, sparsity)


def shifted_ratios(
    scores: Float[np.ndarray, " block"], sizes: Int[np.ndarray, " block"], sparsity: float, spread: float
) -> Float[np.ndarray, " block"]:
    """Ratios that differ by at most twice the spread, linear in the scores, around the sparsity (OWL, DLP).

    Arguments as for ``scaled_ratios``.

    Example:
        >>> shifted_ratios(np.array([2.0, 3.0, 4.0]), np.array([1, 1, 1]), 0.7, 0.1)
        array([0.6, 0.7, 0.8])
    """
    shifts = 2 * spread * _unit(scores)
    return fitted_ratios(sparsity + shifts - np.average(shifts, weights=sizes), sizes, sparsity)


def fitted_ratios(
    ratios: Float[np.ndarray, " block"], sizes: Int[np.ndarray, " block"], sparsity: float
) -> Float[np.ndarray, " block"]:
    """Clip ratios to [0, ``MOST``] and shift the others, so that all blocks together lose the sparsity.

    The shift is that at which the clipped ratios have the right mean, and unique where any ratio can move.

    Raises:
        BadFeatures: No clipped ratios have that mean.

    Example:
        >>> fitted_ratios(np.array([0.6, 0.8, 1.2]), np.array([1, 1, 1]), 0.8)
        array([0.605, 0.805, 0.99 ])
    """
    require_sparsity(sparsity)
    low, high = -float(ratios.max()), MOST - float(ratios.min())
    for _ in range(200):  # halves the interval until no number lies between its ends
        shift = (low + high) / 2
        if np.average(np.clip(ratios + shift, 0, MOST), weights=sizes) < sparsity:
            low = shift
        else:
            high = shift
    return np.clip(ratios + high, 0, MOST)


def exact_counts(
    ratios: Float[np.ndarray, " matrix"], sizes: Int[np.ndarray, " matrix"], sparsity: float
) -> Int[np.ndarray, " matrix"]:
    """How many weights each matrix loses: whole numbers, ``round(sparsity * weights)`` in all.

    Every count is the matrix's ratio of its size rounded up or down, by largest remainder.

    Args:
        ratios: For each matrix the ratio of its block, as from ``fitted_ratios``.
        sizes: Weights of each matrix.
        sparsity: The share of all weights to remove.

    Example:
        >>> exact_counts(np.array([0.4, 0.6, 0.5]), np.array([9, 9, 5]), 0.5)
        array([4, 5, 3])
    """
    targets = ratios * sizes
    counts = np.floor(targets).astype(np.int64)
    missing = round(sparsity * int(sizes.sum())) - int(counts.sum())
    counts[np.argsort(counts - targets, kind="stable")[:missing]] += 1
    return counts


def outlier_share(metrics: Sequence[Tensor], multiple: float = OUTLIER) -> float:
    """The share of a block's weights whose metric is above a multiple of the block's mean (OWL).

    Args:
        metrics: Of each matrix of a block ``|W| * ||x||``, the weights times the norms of their inputs.
        multiple: Of the mean.

    Example:
        >>> outlier_share([torch.tensor([[1.0, 1.0], [1.0, 9.0]])], multiple=2.0)
        0.25
    """
    total, count = sum(float(metric.sum()) for metric in metrics), sum(metric.numel() for metric in metrics)
    limit = multiple * total / count
    return sum(int((metric > limit).sum()) for metric in metrics) / count


def median_metric(metrics: Sequence[Tensor]) -> float:
    """The median of a block's metrics, the lower of two (DLP); arguments as for ``outlier_share``.

    Example:
        >>> median_metric([torch.tensor([[1.0, 5.0]]), torch.tensor([[3.0]])])
        3.0
    """
    return float(torch.cat([metric.flatten() for metric in metrics]).median())


def _unit(scores: Float[np.ndarray, " block"]) -> Float[np.ndarray, " block"]:
    """Scores mapped linearly to [0, 1]; 0.5 where all are equal."""
    width = np.ptp(scores)
    return (scores - scores.min()) / width if width > 0 else np.full(len(scores), 0.5)
