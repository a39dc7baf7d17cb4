"""Two-dimensional embeddings of feature rows: principal components and t-SNE."""

import numpy as np

from splinelens.errors import BadFeatures

Points = tuple[tuple[float, float], ...]

_COMPONENTS = 50  # input of t-SNE: more are noise to it, and slow
_MIN_ROWS = 10  # for t-SNE


def embed_2d(values: np.ndarray, seed: int = 0) -> tuple[Points, tuple[float, float], Points]:
    """Embed the finite rows of a table in the plane; columns are standardized here.

    Returns:
        Coordinates along the first two principal components, their shares of the variance, and t-SNE
        coordinates, which keep neighbors together; distances between clusters mean nothing. Those are
        empty with fewer than 10 rows.

    Raises:
        BadFeatures: Fewer than 3 rows or 2 columns.
    """
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    if len(values) < 3 or values.shape[1] < 2:
        raise BadFeatures(f"a table of shape {values.shape} has no map; give 3 rows and 2 columns or more")
    spread = values.std(axis=0)
    rows = (values - values.mean(axis=0)) / np.where(spread > 0, spread, 1)
    solver = "full" if max(values.shape) <= 500 else "randomized"
    model = PCA(min(_COMPONENTS, *values.shape), svd_solver=solver, random_state=seed)
    with np.errstate(invalid="ignore"):  # equal rows have no variance to share out
        components = model.fit_transform(rows)
    first, second = np.nan_to_num(model.explained_variance_ratio_[:2]).tolist()
    tsne = np.zeros((0, 2))
    if len(values) >= _MIN_ROWS and np.ptp(components, axis=0).any():
        perplexity = min(30.0, (len(values) - 1) / 3)
        tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed).fit_transform(components)
    pca = tuple((float(x), float(y)) for x, y in components[:, :2].tolist())
    return pca, (first, second), tuple((float(x), float(y)) for x, y in tsne.tolist())
