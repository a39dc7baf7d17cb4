"""Nearest neighbors, and the intrinsic dimension that their distances reveal.

Around a point of a d-dimensional set the number of neighbors within r grows as ``r^d``, so the distances to a
few neighbors estimate d. Sources: Levina and Bickel, *Maximum Likelihood Estimation of Intrinsic Dimension*,
NIPS 2004; Gomtsyan, Mokrov, Panov and Yanovich, arXiv:1904.06151 (GeoMLE); Facco, d'Errico, Rodriguez and
Laio, doi:10.1038/s41598-017-11873-y (TwoNN). As a score of truthfulness: Yin, Srinivasa and Chang,
arXiv:2402.18048.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from splinelens.errors import BadFeatures

# Scores per block of a matrix product, and numbers per block of differences. On a CPU these blocks stay in
# the cache; a GPU prefers few launches.
_SCORES, _NUMBERS = 2**20, 2**17
_SCORES_ON_DEVICE, _NUMBERS_ON_DEVICE = 2**26, 2**26
_COLUMNS = 2048  # reference rows per block
_EXTRA = 8  # candidates beyond k
_NEAR = 1 / 32  # pairs are near if their squared distance is below this share of |x|^2 + |y|^2
_RIDGE = 5e-3  # penalty of the polynomial of GeoMLE, as its authors set it


@torch.no_grad()
def nearest(
    points: Float[Tensor, "point width"],
    reference: Float[Tensor, "reference width_of_reference"],
    k: int,
    *,
    own: Int[Tensor, " point"] | None = None,
) -> tuple[Float[Tensor, "point k"], Int[Tensor, "point k"]]:
    """The k nearest reference rows of each point.

    Equal reference rows count once, as the first of them, and a row that equals the point is not a neighbor:
    all distances are above 0. Distances come from matrix products, block by block. Where rounding matters
    they are computed again from differences: short distances between long rows, and distances so close to
    each other that their order is in doubt. If rounding may have hidden a nearer row, more rows are compared.
    The relative error of a distance is a few 1e-6 at most in float32, and 1e-14 in float64. Products must be
    as precise as torch's default, without TF32.

    Args:
        points: Points whose neighbors are searched.
        reference: Rows that can be neighbors.
        k: Neighbors of each point.
        own: The reference row that each point is. Neither it nor an equal row is a neighbor of the point.

    Returns:
        Euclidean distances in ascending order, in float32 (float64 if either argument is), and the reference
        rows; of rows at the same distance the first comes first.

    Raises:
        BadFeatures: Too few different rows for k, NaN or infinity, different widths, or an unknown row.

    Example:
        >>> line = torch.tensor([[0.0], [1.0], [1.0], [4.0]])
        >>> distances, indices = nearest(line, line, 2)
        >>> distances[3].round(decimals=5), indices[3]
        (tensor([3., 4.]), tensor([1, 0]))
    """
    if k < 1:
        raise BadFeatures(f"k is {k}; pass the number of neighbors, 1 or more")
    points, reference = _checked(points, reference, own)
    distinct, group = _first_of_equal_rows(reference)
    own = None if own is None else group[own.long()]
    rows = reference if len(distinct) == len(reference) else reference[distinct]
    distances, indices = _search(points, rows, k, own)
    counts = distances.isfinite().sum(dim=1)
    if int(counts.min()) < k:
        point = int(counts.argmin())
        raise BadFeatures(
            f"k is {k}, but only {counts[point]} of {len(reference)} reference rows can be neighbors of "
            f"point {point}: equal rows count once, and the point itself does not; pass a smaller k or "
            "more rows"
        )
    return distances, distinct[indices]


def lid_mle(distances: Float[Tensor, "point k"]) -> Float[Tensor, " point"]:
    """Local intrinsic dimension of each point, by maximum likelihood.

    ``LID = -[1/k sum_j ln(r_j / r_k)]^-1`` with the divisor k of arXiv:2402.18048. Other divisors are
    common, since ``ln(r_k / r_k) = 0`` adds nothing: k - 1 (Levina and Bickel's maximum likelihood, and
    scikit-dimension's default) and k - 2, which is unbiased (scikit-dimension with ``unbiased=True``, and
    ``lid_geomle``). They differ by a constant factor.

    Args:
        distances: Distances to the k nearest neighbors, ascending and above 0, from ``nearest``.

    Returns:
        Dimensions, above 0; infinite if all k neighbors are at the same distance.

    Raises:
        BadFeatures: Fewer than 2 neighbors, or distances that are not ascending, finite and above 0.

    Example:
        >>> lid_mle(torch.tensor([[1.0, 2.0, 4.0]]))  # 3 / (ln 4 + ln 2 + ln 1)
        tensor([1.4427])
    """
    k = distances.shape[1]
    if k < 2:
        raise BadFeatures(f"the dimension needs distances to 2 neighbors or more, not {k}")
    wrong = ~((distances > 0) & distances.isfinite()).all(dim=1) | (distances.diff(dim=1) < 0).any(dim=1)
    if wrong.any():
        raise BadFeatures(
            f"the distances of point {int(wrong.nonzero()[0])} are not ascending, finite and above 0; "
            "pass those of nearest"
        )
    return k / (distances[:, -1:] / distances).log().sum(dim=1)


@torch.no_grad()
def lid_geomle(
    points: Float[Tensor, "point width"],
    reference: Float[Tensor, "reference width_of_reference"],
    *,
    neighbors: Sequence[int] = range(15, 46),
    bootstraps: int = 20,
    degree: int = 2,
    seed: int = 0,
    own: Int[Tensor, " point"] | None = None,
) -> Float[Tensor, " point"]:
    """Local intrinsic dimension of each point, corrected for the extent of its neighborhood (GeoMLE).

    For each k the unbiased estimate ``m_k = (k - 2) / sum_{j<k} ln(r_k / r_j)`` and the distance ``r_k`` are
    averaged over bootstraps of the reference. A polynomial in the mean ``r_k``, divided by that of the
    largest k, is fitted to the mean ``m_k`` and extrapolated to ``r = 0``. Weights and ridge penalty are
    those of the authors' program: the inverse standard deviation of ``m_k`` over bootstraps, and 0.005 on all
    coefficients but the constant. Without the penalty the extrapolation swings wildly in high dimensions,
    where all ``r_k`` are nearly equal.

    A bootstrap keeps 63 % of the reference rows on average: a row that is drawn twice counts once. One search
    finds the neighbors for all bootstraps.

    The estimate of a single point is noisy: on a ball of 20 dimensions its standard deviation over points is
    nearly 20. Average over points, or use ``lid_mle`` where noise matters more than bias.

    Args:
        points: Points whose dimension is estimated.
        reference: Rows that can be neighbors.
        neighbors: The numbers of neighbors, each 3 or more.
        bootstraps: Bootstrap samples of the reference.
        degree: Degree of the polynomial.
        seed: Seed of the bootstraps.
        own: The reference row that each point is, as for ``nearest``.

    Returns:
        Dimensions. An extrapolation can be below 0 or above the width; it is infinite if the neighbors of a
        point are all at the same distance.

    Raises:
        BadFeatures: Too few rows for the largest k in a bootstrap, a number of neighbors below 3, no
            bootstrap or degree, or what ``nearest`` refuses.

    Example:
        >>> plane = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) @ torch.ones(2, 3).triu()
        >>> bool((lid_geomle(plane, plane).mean() - 2).abs() < 0.1)
        True
    """
    if not neighbors or min(neighbors) < 3:
        raise BadFeatures(f"neighbors is {neighbors!r}; pass numbers of neighbors, each 3 or more")
    if degree < 1 or bootstraps < 1:
        raise BadFeatures(f"degree is {degree} and bootstraps is {bootstraps}; pass 1 or more for both")
    points, reference = _checked(points, reference, own)
    distinct, group = _first_of_equal_rows(reference)
    rows = reference[distinct]
    own = None if own is None else group[own.long()]
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(rows), (bootstraps, len(rows)), generator=generator).to(rows.device)
    kept = torch.zeros_like(drawn, dtype=torch.bool).scatter_(1, drawn, True)
    ks = torch.tensor(sorted(set(neighbors)), device=rows.device)
    most = max(neighbors)
    distances, indices = _search_bootstraps(points, rows, most, own, kept)
    dimensions = []
    for block in _blocks(len(points), bootstraps * distances.shape[1], rows.device):
        inside = kept[:, indices[block]] & distances[block].isfinite()
        near = distances[block].masked_fill(~inside, torch.inf).topk(most, largest=False).values
        logs = near.double().log()
        before = logs.cumsum(dim=-1)[..., ks - 2]
        estimates = (ks - 2) / ((ks - 1) * logs[..., ks - 1] - before)
        radius = near[..., ks - 1].double().mean(dim=0)
        dimensions.append(_extrapolated(radius, estimates, degree))
    return torch.cat(dimensions).to(points.dtype)


@torch.no_grad()
def two_nn(points: Float[Tensor, "point width"]) -> float:
    """Intrinsic dimension of a whole set from the two nearest neighbors of each point (TwoNN).

    The ratios ``mu = r_2 / r_1`` follow ``F(mu) = 1 - mu^-d``. d is the slope of the line through the origin
    that fits ``-ln(1 - F)`` to ``ln mu``, without the largest tenth of the ratios. Equal points count once.

    Args:
        points: A sample of the set.

    Returns:
        The dimension; infinite if all points have their two neighbors at the same distance.

    Raises:
        BadFeatures: Fewer than 3 different points, or NaN or infinity.

    Example:
        >>> plane = torch.rand(500, 2, generator=torch.Generator().manual_seed(0)) @ torch.ones(2, 3).triu()
        >>> abs(two_nn(plane) - 2) < 0.2
        True
    """
    points, _ = _checked(points, points, None)
    rows = points[_first_of_equal_rows(points)[0]]
    if len(rows) < 3:
        raise BadFeatures(
            f"{len(points)} points, {len(rows)} of them different, have no dimension; pass 3 or more"
        )
    distances, _ = nearest(rows, rows, 2, own=torch.arange(len(rows), device=rows.device))
    ratios = (distances[:, 1].double() / distances[:, 0]).log().sort().values
    fit = ratios[: int(0.9 * len(ratios))]
    empirical = torch.arange(1, len(fit) + 1, device=fit.device, dtype=fit.dtype) / len(ratios)
    if not fit.any():
        return math.inf
    return float(fit @ -torch.log1p(-empirical) / (fit @ fit))


def _checked(points: Tensor, reference: Tensor, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """Both in the dtype of the computation."""
    dtype = torch.promote_types(torch.promote_types(points.dtype, reference.dtype), torch.float32)
    points, reference = points.to(dtype), reference.to(dtype)
    if points.shape[1] != reference.shape[1]:
        raise BadFeatures(
            f"points of width {points.shape[1]} cannot have neighbors of width {reference.shape[1]}; "
            "pass states of the same layer and model"
        )
    for name, rows in (("reference", reference), ("points", points))[: 1 if points is reference else 2]:
        if not rows.numel():
            raise BadFeatures(f"{name} has shape {tuple(rows.shape)}; pass one row or more")
        broken = ~_squared_norms(rows).isfinite()
        if broken.any():
            raise BadFeatures(
                f"row {int(broken.nonzero()[0])} of {name} has NaN, infinity or numbers whose squares "
                "overflow; drop it"
            )
    if own is not None and not ((own >= 0) & (own < len(reference))).all():
        raise BadFeatures(f"own names rows outside of the {len(reference)} of the reference")
    return points, reference


def _first_of_equal_rows(rows: Tensor) -> tuple[Tensor, Tensor]:
    """The first row of each group of equal rows, ascending, and the position there of each row's group."""
    position = torch.arange(len(rows), device=rows.device)
    if len(torch.unique(rows[:, :8], dim=0)) == len(rows):  # whole rows take much longer
        return position, position
    _, group = torch.unique(rows, dim=0, return_inverse=True)
    first = torch.full_like(position, len(rows)).scatter_reduce_(0, group, position, "amin")
    is_first = first[group] == position
    return position[is_first], (is_first.cumsum(0) - 1)[first[group]]


def _search(points: Tensor, rows: Tensor, k: int, own: Tensor | None) -> tuple[Tensor, Tensor]:
    """Distances and indices of the k nearest of different rows; infinite where there are fewer.

    The product ``|x|^2 + |y|^2 - 2 x y`` errs by about ``sqrt(width)`` epsilons of ``|x|^2 + |y|^2`` at most:
    ``slack`` is several times that. No other row is nearer than the largest bound of the candidates.
    """
    distances = points.new_full((len(points), k), torch.inf)
    indices = torch.zeros_like(distances, dtype=torch.long)
    center = rows.mean(dim=0)  # the norms shrink, and with them the rounding error of the products
    centered = rows - center
    norms = _squared_norms(centered)
    slack = 8 * math.sqrt(rows.shape[1]) * torch.finfo(rows.dtype).eps
    todo, candidates = torch.arange(len(points), device=points.device), k + _EXTRA
    while len(todo):
        candidates = min(candidates, len(rows))
        hidden = []
        for block in _blocks(len(todo), min(len(rows), _COLUMNS), points.device):
            chosen = todo[block]
            query = points[chosen].sub_(center)
            scores, index = _candidates(query, centered, (1 - slack) * norms, candidates)
            index, order = index.sort(dim=1)  # of rows at one distance the first comes first
            norm = _squared_norms(query)[:, None]
            bounds, sums = scores.gather(1, order) + (1 - slack) * norm, norm + norms[index]
            squared = bounds + slack * sums
            unsure = (squared < _NEAR * sums) | _close(squared, slack / 8 * sums)
            row, column = unsure.nonzero(as_tuple=True)
            squared[row, column] = _squared_distances(points, rows, chosen[row], index[row, column])
            squared = squared.masked_fill(squared == 0, torch.inf)
            if own is not None:
                squared = squared.masked_fill(index == own[chosen, None], torch.inf)
            squared, order = squared.sort(dim=1, stable=True)
            found = min(k, candidates)
            distances[chosen, :found] = squared[:, :found].sqrt()
            indices[chosen, :found] = index.gather(1, order)[:, :found]
            if candidates < len(rows):
                hidden.append(chosen[squared[:, k - 1] >= bounds.amax(dim=1)])
        todo, candidates = torch.cat(hidden) if hidden else todo[:0], 4 * candidates
    return distances, indices


def _candidates(points: Tensor, rows: Tensor, norms: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """For each point the rows with the smallest ``norm - 2 x y``, and these numbers, unsorted."""
    scores = points.new_empty(len(points), 0)
    indices = torch.empty(len(points), 0, dtype=torch.long, device=points.device)
    for start in range(0, len(rows), _COLUMNS):
        block = slice(start, start + _COLUMNS)
        product = torch.addmm(norms[block], points, rows[block].T, alpha=-2)
        smallest = product.topk(min(count, product.shape[1]), dim=1, largest=False, sorted=False)
        scores = torch.cat([scores, smallest.values], dim=1)
        indices = torch.cat([indices, start + smallest.indices], dim=1)
        if scores.shape[1] > count:
            scores, order = scores.topk(count, dim=1, largest=False, sorted=False)
            indices = indices.gather(1, order)
    return scores, indices


def _close(values: Tensor, margin: Tensor) -> Tensor:
    """Whether another value of the same row is within the margin."""
    ranked, order = values.sort(dim=1)
    gap = ranked.diff(dim=1) <= margin.gather(1, order)[:, 1:]
    close = torch.zeros_like(values, dtype=torch.bool)
    close[:, 1:] |= gap
    close[:, :-1] |= gap
    return torch.zeros_like(close).scatter_(1, order, close)


def _squared_distances(points: Tensor, rows: Tensor, point: Tensor, row: Tensor) -> Tensor:
    """Squared distances of pairs, from differences."""
    numbers = _NUMBERS if points.device.type == "cpu" else _NUMBERS_ON_DEVICE
    size = max(1, numbers // points.shape[1])
    pairs = zip(point.split(size), row.split(size), strict=True)
    return torch.cat([_squared_norms(points[left] - rows[right]) for left, right in pairs])


def _squared_norms(rows: Tensor) -> Tensor:
    return torch.linalg.vecdot(rows, rows)


def _search_bootstraps(
    points: Tensor, rows: Tensor, k: int, own: Tensor | None, kept: Bool[Tensor, "bootstrap reference"]
) -> tuple[Tensor, Tensor]:
    """Neighbors of each point, so many that each bootstrap keeps k of them."""
    length = 2 * k + 32
    while True:
        length = min(length, len(rows))
        distances, indices = _search(points, rows, length, own)
        fewest = min(
            int((kept[:, indices[block]] & distances[block].isfinite()).sum(-1).min())
            for block in _blocks(len(points), len(kept) * length, rows.device)
        )
        if fewest >= k:
            return distances, indices
        if length == len(rows):
            raise BadFeatures(
                f"a bootstrap of {len(rows)} different reference rows keeps only {fewest} neighbors of a "
                f"point, and {k} are needed; pass fewer neighbors or more rows"
            )
        length *= 2


def _extrapolated(
    radius: Float[Tensor, "point k"], estimates: Float[Tensor, "bootstrap point k"], degree: int
) -> Float[Tensor, " point"]:
    """The value at radius 0 of the ridge polynomial through the estimates; infinite if one of them is."""
    mean = estimates.mean(dim=0)
    weights = (estimates.std(dim=0) if len(estimates) > 1 else torch.zeros_like(mean)).reciprocal()
    weights = torch.where(weights.isfinite().all(dim=1, keepdim=True), weights, 1)
    powers = (radius / radius[:, -1:])[..., None] ** torch.arange(degree + 1, device=radius.device)
    weighted = (weights[..., None] * powers).mT
    penalty = torch.full((degree + 1,), _RIDGE, dtype=radius.dtype, device=radius.device)
    penalty[0] = 0  # the value itself
    target = torch.where(mean.isfinite(), mean, 0)
    fit = torch.linalg.solve(weighted @ powers + penalty.diag(), weighted @ target[..., None])
    return fit[:, 0, 0].masked_fill(~mean.isfinite().all(dim=1), torch.inf)


def _blocks(rows: int, numbers: int, device: torch.device) -> Iterator[slice]:
    """Slices of rows with ``numbers`` numbers each, within the budget of a block."""
    size = max(1, (_SCORES if device.type == "cpu" else _SCORES_ON_DEVICE) // max(1, numbers))
    for start in range(0, rows, size):
        yield slice(start, start + size)
