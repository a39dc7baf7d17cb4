"""Groups of rows that belong together, such as those of one author: numbers per row, equal within a group."""

from collections.abc import Iterator

import numpy as np

BLOCK = 2**15
"""Numbers in a block of bootstrap samples: few calls for small tables, and blocks that fit into a cache."""


def joined(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Number rows so that rows that share a number in either argument share one, through other rows too.

    Example:
        >>> joined(np.array([0, 0, 1, 2]), np.array([5, 6, 6, 7])).tolist()
        [0, 0, 0, 1]
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    one, other = (np.unique(numbers, return_inverse=True)[1] for numbers in (first, second))
    size = int(one.max(initial=-1)) + 1
    nodes = size + int(other.max(initial=-1)) + 1
    edges = coo_array((np.ones(len(one), dtype=bool), (one, size + other)), shape=(nodes, nodes))
    return connected_components(edges, directed=False)[1][one]


def resampled_groups(groups: int, resamples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """Bootstrap samples of whole groups, in blocks, (resample, group): how often each was drawn."""
    rng = np.random.default_rng(seed)
    step = max(1, BLOCK // max(groups, 1))
    for start in range(0, resamples, step):
        size = min(step, resamples - start)
        drawn = rng.integers(0, groups, (size, groups)) + groups * np.arange(size)[:, None]
        yield np.bincount(drawn.ravel(), minlength=size * groups).reshape(size, groups)
