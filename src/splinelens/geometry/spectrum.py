"""Spectra of weight matrices: how heavy the tail of their eigenvalues is.

The eigenvalues of a matrix W are the squares of its singular values. Training makes their distribution heavy
tailed, ``p(x) ~ x^-alpha`` above a threshold, and a smaller alpha stands for a better trained matrix.
Sources: Lu et al., arXiv:2410.10912 (AlphaPruning: Hill estimator, thresholds); Hu et al., arXiv:2506.06280
(FARMS: the aspect ratio changes alpha); Clauset, Shalizi and Newman, arXiv:0706.1062 (distance).
"""

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

BINS = 100
"""Of the histogram whose highest bin the threshold of a tail is sought near."""

_NEAR_PEAK = 0.95, 1.5
_EQUAL = 1 + 1e-5  # ratio of eigenvalues that differ by rounding errors of float32 only
_CHUNK = 2**22  # numbers that the search for a threshold holds at once


class Tail(NamedTuple):
    """A power law fitted to the largest eigenvalues.

    Attributes:
        alpha: Exponent of the density; infinite if its eigenvalues are equal but for rounding.
        threshold: The smallest eigenvalue of the tail.
        distance: Kolmogorov-Smirnov distance between the tail and the power law.
        size: Eigenvalues in the tail.
    """

    alpha: float
    threshold: float
    distance: float
    size: int


def eigenvalues(weight: Float[Tensor, "*batch out width"]) -> Float[Tensor, "*batch rank"]:
    """The squared singular values, rising, in float64.

    Those of the smaller of ``W W^T`` and ``W^T W``, which takes less than half the time of an SVD. The error
    is about 1e-16 of the largest eigenvalue.

    Example:
        >>> eigenvalues(torch.diag(torch.tensor([3.0, 2.0])))
        tensor([4., 9.], dtype=torch.float64)
    """
    double = weight.double()
    gram = double @ double.mT if double.shape[-2] <= double.shape[-1] else double.mT @ double
    return torch.linalg.eigvalsh(gram).clamp(min=0)


def subsampled_eigenvalues(
    weight: Float[Tensor, "out width"], aspect: float = 1.0, rows: int | None = None
) -> Float[Tensor, " value"]:
    """The eigenvalues of submatrices of one aspect ratio, all together and rising (FARMS).

    Even a random matrix has a heavier tail the more its number of rows differs from that of its columns, so
    alphas of matrices of different shape cannot be compared. The submatrices are the fewest evenly spaced
    ones that cover the matrix.

    Args:
        weight: The matrix.
        aspect: Columns of a submatrix for each row.
        rows: Rows of a submatrix; None takes the most that fit.

    Raises:
        ValueError: No such submatrix fits.

    Example:
        >>> subsampled_eigenvalues(torch.ones(4, 2))
        tensor([0., 0., 4., 4.], dtype=torch.float64)
    """
    out, width = weight.shape
    rows = min(out, int(width / aspect)) if rows is None else rows
    columns = round(rows * aspect)
    if not (0 < rows <= out and 0 < columns <= width):
        raise ValueError(f"no {rows} x {columns} submatrix fits into a matrix of {out} x {width}")
    parts = [
        weight[top : top + rows, left : left + columns]
        for top in _starts(out, rows)
        for left in _starts(width, columns)
    ]
    return eigenvalues(torch.stack(parts)).flatten().sort().values


def positive(values: Float[Tensor, " rank"]) -> Float[Tensor, " value"]:
    """The eigenvalues above the rounding error of ``eigenvalues``; the others are zeros of the matrix."""
    if not values.numel():
        return values
    return values[values > values.max() * len(values) * torch.finfo(torch.float64).eps]


def tail_mid(values: Float[Tensor, " value"]) -> Tail:
    """The tail from the median on.

    Args:
        values: Positive eigenvalues, rising.

    Example:
        >>> tail = tail_mid(torch.tensor([1.0, 2.0, 4.0, 8.0], dtype=torch.float64))
        >>> round(tail.alpha, 4), tail.threshold  # 1 + 2 / ln(8 / 4)
        (3.8854, 4.0)
    """
    return _tail(values, len(values) // 2)


def tail_peak(values: Float[Tensor, " value"]) -> Tail:
    """The tail whose distance from its power law is smallest, over thresholds near the peak of the density.

    Those are the eigenvalues from 0.95 to 1.5 of the lower edge of the highest of 100 bins of the logarithms.

    Args:
        values: Positive eigenvalues, rising.
    """
    if len(values) < 2 or values[-1] <= _EQUAL * values[0]:
        return _tail(values, 0)
    edges, density = spectral_density(values)
    peak = 10 ** edges[density.argmax()]
    near = (values[:-1] >= _NEAR_PEAK[0] * peak) & (values[:-1] <= _NEAR_PEAK[1] * peak)
    first = near.nonzero()[:, 0]  # never empty: an eigenvalue of the highest bin is near its edge
    distances = [_distances(values, part) for part in first.split(max(1, _CHUNK // len(values)))]
    return _tail(values, int(first[torch.cat(distances).argmin()]))


def spectral_density(
    values: Float[Tensor, " value"], bins: int = BINS
) -> tuple[Float[Tensor, " edge"], Float[Tensor, " bin"]]:
    """Histogram of the decimal logarithms of positive eigenvalues.

    Returns:
        The edges of the bins, and the density in each; its integral is 1.

    Example:
        >>> edges, density = spectral_density(torch.tensor([1.0, 1.0, 10.0]), bins=2)
        >>> edges.tolist(), [round(one, 3) for one in density.tolist()]
        ([0.0, 0.5, 1.0], [1.333, 0.667])
    """
    logs = values.double().log10()
    low, high = float(logs.min()), float(logs.max())
    edges = torch.linspace(low, high, bins + 1, dtype=torch.float64, device=values.device)
    counts = torch.histc(logs, bins, low, high)
    return edges, counts / (counts.sum() * (edges[1] - edges[0]))


def stable_rank(values: Float[Tensor, " rank"]) -> float:
    """Sum of the eigenvalues over the largest: the squared Frobenius norm over the squared spectral norm.

    Example:
        >>> stable_rank(torch.tensor([1.0, 1.0, 4.0]))
        1.5
    """
    return float(values.sum() / values.max())


def spectral_entropy(values: Float[Tensor, " rank"]) -> float:
    """Entropy of the eigenvalues as shares of their sum: 1 if all are equal, 0 if only one is not 0.

    Example:
        >>> round(spectral_entropy(torch.tensor([1.0, 1.0, 1.0, 1.0])), 6)
        1.0
    """
    shares = values.double() / values.double().sum()
    return float(torch.special.entr(shares).sum() / math.log(len(values)))


def _starts(length: int, part: int) -> list[int]:
    """Where the fewest parts that cover a length begin, evenly spaced."""
    count = -(-length // part)
    return [round(index * (length - part) / max(1, count - 1)) for index in range(count)]


def _tail(values: Tensor, first: int) -> Tail:
    start = torch.tensor([first], device=values.device)
    alpha, distance = float(_alphas(values.log(), start)), float(_distances(values, start))
    if values[-1] <= _EQUAL * values[first]:
        alpha = math.inf
    return Tail(alpha, float(values[first]), distance, len(values) - first)


def _alphas(logs: Float[Tensor, " value"], first: Tensor) -> Float[Tensor, " threshold"]:
    """Hill's estimate ``1 + n / sum ln(x_i / x_first)`` over the n values from each threshold on."""
    sums = logs.flip(0).cumsum(0).flip(0)[first]
    sizes = len(logs) - first
    return 1 + sizes / (sums - sizes * logs[first])


def _distances(values: Float[Tensor, " value"], first: Tensor) -> Float[Tensor, " threshold"]:
    """Largest difference between the share of a tail below each of its values, and that of the law."""
    logs, index = values.log(), torch.arange(len(values), device=values.device)
    below = (index - first[:, None]).double() / (len(values) - first)[:, None]
    alpha = _alphas(logs, first)[:, None]
    law = -torch.expm1((1 - alpha) * (logs - logs[first][:, None]))
    return torch.where(index >= first[:, None], (law - below).abs(), 0).amax(dim=1)
