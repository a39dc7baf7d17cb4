"""Late fusion of similarities: one weight a view, learned on pairs that are known to match or not."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float

from splinelens.errors import BadFeatures

_PENALTY = 1.0


@dataclass(frozen=True)
class FusedView:
    """One view of a fusion: the weight of its cosine, and the mean of it over pairs that do not match."""

    weight: float
    baseline: float


def fit_fusion(
    cosines: Mapping[str, Float[np.ndarray, " pair"]], match: Bool[np.ndarray, " pair"]
) -> dict[str, FusedView]:
    """Fit the weights of a sum of cosines by logistic regression on pairs; none is negative.

    Cosines are standardized for the fit, so that the penalty is the same for each; the weights that are
    returned are of the cosines themselves and sum to 1.

    Args:
        cosines: The cosine of each pair, by view.
        match: Whether the two of a pair match.

    Raises:
        BadFeatures: All pairs match, or none, or no view tells them apart.

    Example:
        >>> cosines = {"good": np.array([0.9, 0.8, 0.1, 0.2]), "bad": np.array([0.1, 0.2, 0.1, 0.2])}
        >>> fused = fit_fusion(cosines, np.array([True, True, False, False]))
        >>> fused["good"].weight > 0.99
        True
    """
    from scipy.optimize import minimize
    from scipy.special import expit

    if match.all() or not match.any():
        raise BadFeatures("a fusion is fitted to pairs that match and pairs that do not; one kind is missing")
    values = np.stack([*cosines.values()], axis=1).astype(np.float64)
    scale = values.std(axis=0)
    scale[scale == 0] = 1
    standardized = (values - values.mean(axis=0)) / scale
    sign = np.where(match, 1.0, -1.0)

    def loss(parameters: np.ndarray) -> tuple[float, np.ndarray]:
        weights, logits = parameters[:-1], standardized @ parameters[:-1] + parameters[-1]
        error = expit(logits) - match
        value = np.logaddexp(0, -sign * logits).sum() + _PENALTY / 2 * (weights**2).sum()
        return value, np.append(standardized.T @ error + _PENALTY * weights, error.sum())

    bounds = [(0.0, None)] * len(cosines) + [(None, None)]
    start = np.append(np.ones(len(cosines)), 0.0)
    fitted = minimize(loss, start, jac=True, bounds=bounds, method="L-BFGS-B").x[:-1] / scale
    if not fitted.sum() > 0:
        raise BadFeatures("no view tells pairs that match from the others; there is nothing to fuse")
    baselines = values[~match].mean(axis=0)
    return {
        name: FusedView(float(weight), float(baseline))
        for name, weight, baseline in zip(cosines, fitted / fitted.sum(), baselines, strict=True)
    }
