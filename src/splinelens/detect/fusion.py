"""Late fusion of similarities, one weight a view, learned on queries with known matches; and clusters."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from splinelens.errors import BadFeatures

_PENALTY = 1.0


@dataclass(frozen=True)
class Fusion:
    """A score of pairs from their cosines in several views.

    Attributes:
        weights: Of the cosine in each view: none negative, and they sum to 1.
        baselines: Mean cosine, in -1 to 1, of the candidates that do not match in the data of the fit.

    Example:
        >>> fusion = Fusion({"words": 0.25, "code": 0.75}, {"words": 0.5, "code": 0.0})
        >>> float(fusion.score({"words": np.array(1.0), "code": np.array(0.5)}))
        0.625
        >>> fusion.reason({"words": 1.0, "code": 0.5})
        'code'
    """

    weights: Mapping[str, float]
    baselines: Mapping[str, float]

    def score(self, cosines: Mapping[str, Float[np.ndarray, "*shape"]]) -> Float[np.ndarray, "*shape"]:
        """The weighted mean of cosines over the views that there are; 1 for equal vectors in each.

        Raises:
            BadFeatures: A view that has no weight, or none whose weight is above 0.
        """
        if unknown := [name for name in cosines if name not in self.weights]:
            raise BadFeatures(f"the fusion has no weight for {unknown[0]}; it has {', '.join(self.weights)}")
        total = sum(self.weights[name] for name in cosines)
        if not total > 0:
            raise BadFeatures(f"a score needs a view whose weight is above 0; there is {', '.join(cosines)}")
        return np.asarray(sum(self.weights[name] * values for name, values in cosines.items()) / total)

    def reason(self, cosines: Mapping[str, float]) -> str:
        """The view whose weighted cosine is furthest above that of candidates that do not match.

        A view whose weight is 0 is no reason, also where all others are below their baselines.
        """
        weighed = [name for name in cosines if self.weights[name] > 0]
        return max(weighed, key=lambda name: self.weights[name] * (cosines[name] - self.baselines[name]))


def fit_fusion(
    cosines: Mapping[str, Float[np.ndarray, "query candidate"]], match: Bool[np.ndarray, "query candidate"]
) -> Fusion:
    """Fit the weights of a sum of cosines so that a candidate that matches comes first; none is negative.

    Conditional logistic regression: the loss of a query is the negative log-probability, by softmax over its
    candidates, of those that match. Candidates that match and are not similar cost nothing, as the first rank
    needs one. Cosines are standardized for the fit, so that the penalty is the same for each; the weights
    that are returned are of the cosines themselves and sum to 1.

    Args:
        cosines: Of each query and each of its candidates, by view.
        match: Whether a candidate matches; queries of which none does, or all do, are left out.

    Raises:
        BadFeatures: No query is left, or no view ranks what matches first.

    Example:
        >>> good, bad = np.array([[0.9, 0.1], [0.2, 0.8]]), np.array([[0.1, 0.2], [0.1, 0.2]])
        >>> fusion = fit_fusion({"good": good, "bad": bad}, np.array([[True, False], [False, True]]))
        >>> fusion.weights["good"] > fusion.weights["bad"]
        True
    """
    from scipy.optimize import minimize

    used = match.any(axis=1) & ~match.all(axis=1)
    if not used.any():
        raise BadFeatures(
            "a fusion is fitted to queries with candidates that match and others; there is none"
        )
    match = match[used]
    values = np.stack([view[used] for view in cosines.values()], axis=-1).astype(np.float64)
    scale = values.std(axis=(0, 1))
    scale[scale == 0] = 1
    loss = _loss(values / scale, match)
    bounds = [(0.0, None)] * len(cosines)
    start = np.ones(len(cosines))
    weights = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x / scale
    if not weights.sum() > 0:
        raise BadFeatures("no view ranks candidates that match first; there is nothing to fuse")
    weights /= weights.sum()
    baselines = values[~match].mean(axis=0)
    return Fusion(
        dict(zip(cosines, weights.tolist(), strict=True)),
        dict(zip(cosines, baselines.tolist(), strict=True)),
    )


def similar_groups(score: Float[np.ndarray, "row row"], min_size: int) -> list[Int[np.ndarray, " member"]]:
    """Groups of rows that are more similar to one another than to the others.

    HDBSCAN on 1 less the mean of both scores of a pair. It takes the leaves of its tree, which are small and
    close: copies rather than topics.

    Args:
        score: Of each pair of rows; at most 1.
        min_size: Fewest rows of a group, at least 2 and at most all.

    Returns:
        Rows of each group, in the order of the rows; a row is in one group or none.

    Example:
        >>> score = np.array([[1, 0.9, 0.1, 0.2], [0.9, 1, 0.2, 0.1], [0.1, 0.2, 1, 0.8], [0.2, 0.1, 0.8, 1]])
        >>> [group.tolist() for group in similar_groups(score, 2)]
        [[0, 1], [2, 3]]
    """
    from sklearn.cluster import HDBSCAN

    distance = np.maximum(1 - (score + score.T) / 2, 0).astype(np.float64)
    np.fill_diagonal(distance, 0)
    method = HDBSCAN(
        min_cluster_size=min_size,
        min_samples=1,
        metric="precomputed",
        cluster_selection_method="leaf",
        copy=False,
    )
    labels = method.fit(distance).labels_
    return [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]


def _loss(
    cosines: Float[np.ndarray, "query candidate view"], match: Bool[np.ndarray, "query candidate"]
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """The loss of weights, with the penalty of their squares, and its gradient."""
    from scipy.special import logsumexp

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = cosines @ weights
        of_all = logsumexp(scores, axis=1, keepdims=True)
        of_matching = logsumexp(np.where(match, scores, -np.inf), axis=1, keepdims=True)
        difference = np.exp(scores - of_all) - np.where(match, np.exp(scores - of_matching), 0)
        gradient = np.einsum("qc,qcv->v", difference, cosines)
        value = (of_all - of_matching).sum() + _PENALTY / 2 * (weights**2).sum()
        return value, gradient + _PENALTY * weights

    return loss
