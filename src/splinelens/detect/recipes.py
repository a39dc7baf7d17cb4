"""What is fitted on a feature table: functions that return scikit-learn pipelines."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from splinelens.errors import BadLabels

if TYPE_CHECKING:
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline

STRENGTHS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)
"""Inverse L2 strengths C tried on validation rows; wide tables choose small ones."""

ROWS_OF_A_CLASS = 10
"""Fewest rows of each class that a recipe is fitted on."""


def logistic(seed: int = 0, strengths: Sequence[float] = STRENGTHS) -> "GridSearchCV":
    """Balanced logistic regression on standardised columns.

    The L2 strength is the one with the best AUC on the rows of a ``ValidationDraw`` (equal ones: the
    first given); then all rows are fitted with it. Fitting fewer than 10 rows of a class raises
    ``BadLabels``.

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
    from sklearn.model_selection import GridSearchCV
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    head = LogisticRegression(class_weight="balanced", max_iter=2000)
    return GridSearchCV(
        Pipeline([("standardise", StandardScaler()), ("head", head)]),
        {"head__C": list(strengths)},
        scoring="roc_auc",
        cv=ValidationDraw(seed),
    )


def forest(seed: int = 0) -> "Pipeline":
    """The paper's second head: a balanced random forest.

    Its columns are not standardised: a tree splits by order alone, so that would change nothing but
    the last bits of its thresholds.

    Args:
        seed: Of the forest.

    Returns:
        An unfitted pipeline with one step, ``head``.

    Example:
        >>> forest().steps[0][0]
        'head'
    """
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.pipeline import Pipeline

    head = RandomForestClassifier(
        n_estimators=200, min_samples_leaf=2, class_weight="balanced", random_state=seed
    )
    return Pipeline([("head", head)])


@dataclass(frozen=True)
class ValidationDraw:
    """One split of the rows, as scikit-learn's ``cv`` takes it: 15 % of each class.

    Rows of one group are never on both sides.

    Attributes:
        seed: Of the draw.

    Example:
        >>> [(fitted, held)] = ValidationDraw().split(None, np.arange(40) % 2)
        >>> len(fitted), len(held)
        (34, 6)
    """

    seed: int = 0

    def get_n_splits(self, X: object = None, y: object = None, groups: object = None) -> int:
        """Always 1."""
        return 1

    def split(
        self, X: object, y: np.ndarray, groups: np.ndarray | None = None
    ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Draw the validation rows.

        Args:
            X: Not read.
            y: The labels, 0 or 1.
            groups: A number a row, the same for rows that hold the same text; None takes all as different.

        Yields:
            Row numbers to fit on and row numbers to judge with, once.

        Raises:
            BadLabels: Fewer than 10 rows of a class, or all rows of a class hold one text.
        """
        require_rows(y)
        rng, held = np.random.default_rng(self.seed), np.zeros(len(y), dtype=bool)
        for label in (0, 1):
            rows = rng.permutation(np.flatnonzero(y == label))
            held[rows[: round(0.15 * len(rows))]] = True  # of 10 rows: 2
        if groups is not None:
            held = np.isin(groups, np.asarray(groups)[held])
            require_both(np.asarray(y)[~held])
        yield np.flatnonzero(~held), np.flatnonzero(held)


def require_both(labels: np.ndarray) -> None:
    """Refuse rows to fit on that are left with one class, once repeated texts are kept together.

    Args:
        labels: 0 or 1.

    Raises:
        BadLabels: One class only.

    Example:
        >>> require_both(np.array([0, 1]))
    """
    if len(np.unique(labels)) < 2:
        raise BadLabels(
            "with repeated texts kept together no row of one class is left to fit on; "
            f"give at least {ROWS_OF_A_CLASS} different texts of each class"
        )


def require_rows(labels: np.ndarray, name: str | None = None, *, what: str = "rows") -> None:
    """Refuse labels on which nothing can be fitted and judged.

    Args:
        labels: 0 or 1.
        name: Of the label, for messages; None if it is the only one.
        what: What an entry is, for messages.

    Raises:
        BadLabels: Labels other than 0 and 1, one class only, or fewer than 10 rows of a class; the
            message says how many there are and how many are needed.

    Example:
        >>> require_rows(np.arange(20) % 2)
    """
    labels, whose = np.asarray(labels), "" if name is None else f"label {name!r}: "
    if not np.isin(labels, (0, 1)).all():
        raise BadLabels(f"{whose}labels are {np.unique(labels).tolist()[:5]} where 0 and 1 are fitted")
    positives = int((labels == 1).sum())
    counts = {"positive": positives, "negative": len(labels) - positives}
    few = [f"{count} {kind}" for kind, count in counts.items() if count < ROWS_OF_A_CLASS]
    if few:
        raise BadLabels(
            f"{whose}{' and '.join(few)} of {len(labels)} {what} are too few to fit a detector; "
            f"give at least {ROWS_OF_A_CLASS} of each class"
        )
