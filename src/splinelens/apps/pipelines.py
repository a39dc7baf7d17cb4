"""A detector as one scikit-learn pipeline, for those who work in scikit-learn and need no artifact."""

from typing import TYPE_CHECKING, Any

from splinelens.features.transformer import GeometryFeatures

if TYPE_CHECKING:
    from sklearn.pipeline import Pipeline


def make_detector_pipeline(
    *,
    features: Any = "margins",  # Any: what GeometryFeatures takes
    strength: float = 1e-3,
    **geometry: Any,  # Any: as above
) -> "Pipeline":
    """Texts in, classes out: geometry, standardized columns, balanced logistic regression.

    Of two classes the last two steps are the head that ``splinelens train`` fits, without its calibration;
    of more they are one multinomial model, where ``train`` fits and calibrates one against the rest each.

    Args:
        features: As in ``GeometryFeatures``.
        strength: Inverse L2 strength C; wide tables want small ones.
        **geometry: Other parameters of ``GeometryFeatures``.

    Returns:
        An unfitted pipeline with the steps ``geometry``, ``standardize`` and ``head``.

    Example:
        >>> pipeline = make_detector_pipeline(layers=range(6))
        >>> [name for name, _ in pipeline.steps]
        ['geometry', 'standardize', 'head']
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    return Pipeline(
        [
            ("geometry", GeometryFeatures(features=features, **geometry)),
            ("standardize", StandardScaler()),
            ("head", LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)),
        ]
    )
