"""One way to fit every head, so that no representation is favored by its fitting.

The L2 strength is the one with the best AUC on 15 % of each class; the same rows give Platt scaling; then all
rows are fitted. Dense columns are standardized, word counts are not.
"""

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.linalg import cholesky, solve_triangular
from scipy.sparse import issparse
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.ensemble import RandomForestClassifier, VotingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.preprocessing import StandardScaler
from sklearn.semi_supervised import SelfTrainingClassifier

from splinelens.detect.calibration import Calibration, calibrate
from splinelens.errors import BadLabels

STRENGTHS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)
"""Inverse L2 strengths C to choose from."""
WIDE_STRENGTHS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
"""Of tables with more columns than rows: weaker penalties never win there."""
SPARSE_STRENGTHS = (1.0, 3.0, 10.0)
"""Of word counts."""

_FEW_ROWS_STRENGTH, _ROWS_TO_CHOOSE = 1e-2, 10

Matrix = Any  # Any: a NumPy array or a SciPy sparse matrix, which has no types
Logit = Callable[[Matrix], np.ndarray]


@dataclass(frozen=True, eq=False)
class Scorer:
    """Fitted heads with their standardization and calibration.

    Attributes:
        transform: Standardizes rows.
        heads: For each label the logit of standardized rows, and its calibration.
        single: Whether the labels were (row,).
    """

    transform: Callable[[Matrix], Matrix]
    heads: tuple[tuple[Logit, Calibration], ...]
    single: bool

    def scores(self, rows: Matrix) -> np.ndarray:
        """(row,) or (row, label) calibrated scores; NaN where a row is not finite."""
        finite = _finite_rows(rows)
        scores = np.full((rows.shape[0], len(self.heads)), np.nan)
        if finite.any():
            usable = self.transform(rows if finite.all() else rows[finite])
            for label, (logit, calibration) in enumerate(self.heads):
                scores[finite, label] = calibration.score(logit(usable))
        return scores[:, 0] if self.single else scores


def fit_scorer(rows: Matrix, labels: np.ndarray, *, head: str = "logistic", seed: int = 0) -> Scorer:
    """Fit a head on rows.

    Args:
        rows: (row, column), dense or sparse; rows that are not finite are left out.
        labels: 0, 1, or -1 for unknown; (row,), or (row, label) with one head per label.
        head: ``logistic``; ``forest``; ``network``, the mean of three small networks and a linear
            discriminant: what a table holds beyond one plane; or ``self-training``, the only one that uses
            rows without a label.
        seed: Of every random generator.

    Raises:
        BadLabels: No usable row, or one class only.

    Example:
        >>> rows, labels = np.arange(40.0)[:, None], (np.arange(40) >= 20).astype(int)
        >>> scores = fit_scorer(rows, labels).scores(np.array([[0.0], [39.0]]))
        >>> bool(scores[0] < 0.5 < scores[1])
        True
    """
    several = labels.reshape(len(labels), -1)
    usable = _finite_rows(rows)
    if head != "self-training":
        usable &= (several >= 0).any(axis=1)
    if not usable.any():
        raise BadLabels(f"none of the {len(several)} training rows can be read and has a label")
    rows, several = (rows, several) if usable.all() else (rows[usable], several[usable])
    transform: Callable[[Matrix], Matrix] = (
        (lambda sparse: sparse) if issparse(rows) else StandardScaler().fit(rows).transform
    )
    columns = transform(rows)
    basis = None
    if head == "logistic" and not issparse(columns) and columns.shape[1] > columns.shape[0]:
        basis = _Basis.of(columns)
    heads = tuple(_fit_label(columns, y, head, seed, basis) for y in several.T)
    return Scorer(transform, heads, labels.ndim == 1)


@dataclass(frozen=True, eq=False)
class _Basis:
    """Coordinates of n rows in an n-dimensional basis of their span.

    The weights of an L2-penalized head lie in the span of the rows. With a Cholesky factor ``L`` of the Gram
    matrix ``Z Z' = L L'``, a head ``v`` on the rows of ``L`` is the head ``Z' inv(L)' v`` on those of ``Z``.
    """

    columns: np.ndarray
    coordinates: np.ndarray

    @classmethod
    def of(cls, columns: np.ndarray) -> "_Basis":
        gram = (columns @ columns.T).astype(np.float64)
        gram[np.diag_indices_from(gram)] += 1e-5 * gram.trace() / len(gram)  # centered rows are dependent
        return cls(columns, cholesky(gram, lower=True, overwrite_a=True).astype(np.float32))

    def logit(self, model: LogisticRegression) -> Logit:
        """The logit of a head on coordinates, as a function of columns."""
        alpha = solve_triangular(self.coordinates, model.coef_[0], lower=True, trans="T")
        weight = self.columns.T @ alpha.astype(self.columns.dtype)
        return lambda rows: rows @ weight + model.intercept_[0]


def _fit_label(
    columns: Matrix, labels: np.ndarray, head: str, seed: int, basis: _Basis | None
) -> tuple[Logit, Calibration]:
    known = np.flatnonzero(labels >= 0)
    y = labels[known]
    if len(np.unique(y)) != 2:
        raise BadLabels(f"the {len(y)} training rows hold one class only; give rows of both")
    every = columns if basis is None else basis.coordinates
    rows = every if len(known) == len(labels) else every[known]
    model, calibration = _choose(rows, y, head, seed, wide=basis is not None)
    if head == "self-training" and len(known) < len(labels):
        model, calibration = SelfTrainingClassifier(model, threshold=0.9), Calibration(1.0, 0.0)
        rows, y = every, labels
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the networks stop early on purpose
        model.fit(rows, y)
    return (basis.logit(model) if basis else lambda some: _logit(model, some)), calibration


def _choose(rows: Matrix, y: np.ndarray, head: str, seed: int, *, wide: bool) -> tuple[Any, Calibration]:
    """An unfitted model with the best strength on validation rows, and the calibration of its logits there."""
    strengths = SPARSE_STRENGTHS if issparse(rows) else WIDE_STRENGTHS if wide else STRENGTHS
    if head in ("forest", "network"):
        strengths = (1.0,)
    if min(np.bincount(y)) < _ROWS_TO_CHOOSE:
        return _model(head, _FEW_ROWS_STRENGTH, seed), Calibration(1.0, 0.0)
    fitted, held = train_test_split(np.arange(len(y)), test_size=0.15, stratify=y, random_state=seed)
    candidates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        for strength in strengths:
            model = _model(head, strength, seed).fit(rows[fitted], y[fitted])
            logits = _logit(model, rows[held])
            candidates.append((roc_auc_score(y[held], logits), logits, model))
    _, logits, model = max(candidates, key=lambda candidate: candidate[0])
    try:
        return clone(model), calibrate(y[held], logits)
    except BadLabels:  # the features say nothing of the labels: their logits stay as they are
        return clone(model), Calibration(1.0, 0.0)


def _model(head: str, strength: float, seed: int) -> Any:  # Any: an estimator of scikit-learn, untyped
    if head == "forest":
        return RandomForestClassifier(
            200, min_samples_leaf=2, class_weight="balanced", random_state=seed, n_jobs=-1
        )
    if head == "network":
        networks = [
            (f"network{i}", MLPClassifier((128,), alpha=3.0, max_iter=60, random_state=seed + i))
            for i in range(3)
        ]
        plane = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05)
        return VotingClassifier([*networks, ("plane", plane)], voting="soft", weights=[1, 1, 1, 3])
    return LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)


def _logit(model: Any, rows: Matrix) -> np.ndarray:  # Any: as above
    if hasattr(model, "decision_function"):
        return model.decision_function(rows)
    probability = model.predict_proba(rows)[:, 1].clip(1e-9, 1 - 1e-9)
    return np.log(probability / (1 - probability))


def _finite_rows(rows: Matrix) -> np.ndarray:
    if issparse(rows):
        return np.ones(rows.shape[0], dtype=bool)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf
        return np.isfinite(rows.sum(axis=1, dtype=np.float64))
