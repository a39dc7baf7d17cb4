"""What is fitted on a feature table: functions that return scikit-learn pipelines."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline

STRENGTHS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)
"""Inverse L2 strengths C tried on validation rows; wide tables choose small ones."""


def logistic(seed: int = 0, strengths: Sequence[float] = STRENGTHS) -> "GridSearchCV":
    """Balanced logistic regression on standardised columns.

    The L2 strength is the one with the best AUC on a stratified 15 % of the rows; then all rows are
    fitted with it.

    Args:
        seed: Of the validation draw.
        strengths: Values of C to try, one or more.

    Returns:
        An unfitted search whose ``best_estimator_`` is a pipeline ``standardise, head``.

    Example:
        >>> logistic().estimator.steps[0][0]
        'standardise'
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV, StratifiedShuffleSplit
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    head = LogisticRegression(class_weight="balanced", max_iter=2000)
    return GridSearchCV(
        Pipeline([("standardise", StandardScaler()), ("head", head)]),
        {"head__C": list(strengths)},
        scoring="roc_auc",
        cv=StratifiedShuffleSplit(n_splits=1, test_size=0.15, random_state=seed),
    )


def forest(seed: int = 0) -> "Pipeline":
    """The paper's second head: a balanced random forest on standardised columns.

    Args:
        seed: Of the forest.

    Returns:
        An unfitted pipeline ``standardise, head``.

    Example:
        >>> forest().steps[1][0]
        'head'
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    head = RandomForestClassifier(n_estimators=200, min_samples_leaf=2, class_weight="balanced", random_state=seed)
    return Pipeline([("standardise", StandardScaler()), ("head", head)])
