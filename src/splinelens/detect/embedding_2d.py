"""Tables of many columns laid flat: the two strongest principal components, and t-SNE."""

from dataclasses import dataclass

import numpy as np

from splinelens.errors import BadFeatures

_COMPONENTS = 50  # that t-SNE sees: more are noise to it, and slow
_LEAST = 10  # rows for t-SNE


@dataclass(frozen=True)
class Projection:
    """Two places for each row.

    Attributes:
        pca: Places along the two strongest principal components, one pair a row.
        explained: Their shares of the variance.
        tsne: Places that keep neighbours together; distances between clusters mean nothing. Empty
            with fewer than 10 rows.
    """

    pca: tuple[tuple[float, float], ...]
    explained: tuple[float, float]
    tsne: tuple[tuple[float, float], ...]


def project(values: np.ndarray, seed: int = 0) -> Projection:
    """Lay a table flat.

    Args:
        values: (row, column), finite; each column is standardised here, constant ones stay 0.
        seed: Of both methods; the same table and seed give the same places on one machine.

    Returns:
        The places.

    Raises:
        BadFeatures: Fewer than 3 rows or 2 columns.

    Example:
        >>> project(np.array([[0.0, 0.0], [1.0, 2.0], [2.0, 4.0]])).explained[0] > 0.99
        True
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(values) < 3 or values.shape[1] < 2:
        raise BadFeatures(f"a table of shape {values.shape} has no map; give 3 rows and 2 columns or more")
    spread = values.std(axis=0)
    flat = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    most = min(_COMPONENTS, *values.shape)
    solver = "full" if max(values.shape) <= 500 else "randomized"
    model = PCA(most, svd_solver=solver, random_state=seed)
    with np.errstate(invalid="ignore"):  # rows that are all equal have no variance to share out
        places = model.fit_transform(flat)
    shares = np.nan_to_num(model.explained_variance_ratio_[:2])
    tsne = np.zeros((0, 2))
    if len(values) >= _LEAST and np.ptp(places, axis=0).any():
        perplexity = min(30.0, (len(values) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(places)
    return Projection(_pairs(places[:, :2]), (float(shares[0]), float(shares[1])), _pairs(tsne))


def _pairs(places: np.ndarray) -> tuple[tuple[float, float], ...]:
    return tuple((float(x), float(y)) for x, y in places.astype(float).tolist())
