"""A detector as one scikit-learn pipeline, for those who work in scikit-learn and need no artifact."""

from typing import TYPE_CHECKING, Any

from splinelens.detect.recipes import logistic
from splinelens.features.transformer import GeometryFeatures

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def make_detector_pipeline(
    *,
    features: Any = "margins",  # Any: what GeometryFeatures takes
    strength: float = 1e-3,
    **geometry: Any,  # Any: as above
) -> "Pipeline":
    """Texts in, classes out: geometry, standardised columns, balanced logistic regression.

    The last two steps are those that ``splinelens train`` fits. Any number of classes.

    Args:
        features: As in ``GeometryFeatures``.
        strength: Inverse L2 strength C; wide tables want small ones.
        **geometry: Other parameters of ``GeometryFeatures``.

    Returns:
        An unfitted pipeline with the steps ``geometry``, ``standardise`` and ``head``.

    Example:
        >>> pipeline = make_detector_pipeline(layers=range(6))
        >>> [name for name, _ in pipeline.steps]
        ['geometry', 'standardise', 'head']
    """
    from sklearn.pipeline import Pipeline

    steps = logistic().estimator.set_params(head__C=strength).steps
    return Pipeline([("geometry", GeometryFeatures(features=features, **geometry)), *steps])
