"""Late fusion of similarities: one weight a view, learned on queries whose matches are known."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from splinelens.errors import BadFeatures

_PENALTY = 1.0


@dataclass(frozen=True)
class FusedView:
    """One view of a fusion: the weight of its cosine, and the mean of it over those that do not match."""

    weight: float
    baseline: float


def fit_fusion(
    cosines: Mapping[str, Float[np.ndarray, "query candidate"]], match: Bool[np.ndarray, "query candidate"]
) -> dict[str, FusedView]:
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
        >>> weights = fit_fusion({"good": good, "bad": bad}, np.array([[True, False], [False, True]]))
        >>> weights["good"].weight > weights["bad"].weight
        True
    """
    from scipy.optimize import minimize
    from scipy.special import logsumexp

    used = match.any(axis=1) & ~match.all(axis=1)
    if not used.any():
        raise BadFeatures(
            "a fusion is fitted to queries with candidates that match and others; there is none"
        )
    match = match[used]
    values = np.stack([view[used] for view in cosines.values()], axis=-1).astype(np.float64)
    scale = values.std(axis=(0, 1))
    scale[scale == 0] = 1
    standardized = values / scale

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        scores = standardized @ weights
        of_all = logsumexp(scores, axis=1, keepdims=True)
        of_matching = logsumexp(np.where(match, scores, -np.inf), axis=1, keepdims=True)
        difference = np.exp(scores - of_all) - np.where(match, np.exp(scores - of_matching), 0)
        gradient = np.einsum("qc,qcv->v", difference, standardized)
        value = (of_all - of_matching).sum() + _PENALTY / 2 * (weights**2).sum()
        return value, gradient + _PENALTY * weights

    bounds = [(0.0, None)] * len(cosines)
    start = np.ones(len(cosines))
    fitted = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x / scale
    if not fitted.sum() > 0:
        raise BadFeatures("no view ranks candidates that match first; there is nothing to fuse")
    baselines = values[~match].mean(axis=0)
    return {
        name: FusedView(float(weight), float(baseline))
        for name, weight, baseline in zip(cosines, fitted / fitted.sum(), baselines, strict=True)
    }
