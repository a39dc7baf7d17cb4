"""One way to fit every head, so that no representation is favored by its fitting.

The L2 strength is the one with the best AUC on 15 % of each class; the same rows give Platt scaling; then all
rows are fitted. Dense columns are standardized, word counts are not.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
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
from splinelens.detect.solver import Basis
from splinelens.errors import BadLabels

STRENGTHS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)
"""Inverse L2 strengths C to choose from."""
WIDE_STRENGTHS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
"""Of tables with more columns than rows: weaker penalties never win there."""
SPARSE_STRENGTHS = (1.0, 3.0, 10.0)
"""Of word counts."""

_FEW_ROWS_STRENGTH, _ROWS_TO_CHOOSE = 1e-2, 10

Matrix = Any  # Any: a NumPy array or a SciPy sparse matrix, which has no types


@dataclass(frozen=True, eq=False)
class Scorer:
    """A fitted head with its calibrations.

    Attributes:
        logits: (row, label) from rows.
        calibrations: One per label.
        single: Whether the labels were (row,).
    """

    logits: Callable[[Matrix], np.ndarray]
    calibrations: tuple[Calibration, ...]
    single: bool

    def scores(self, rows: Matrix) -> np.ndarray:
        """(row,) or (row, label) calibrated scores; NaN where a row is not finite."""
        finite = _finite_rows(rows)
        scores = np.full((rows.shape[0], len(self.calibrations)), np.nan)
        if finite.any():
            logits = self.logits(rows if finite.all() else rows[finite])
            pairs = zip(self.calibrations, logits.T, strict=True)
            scores[finite] = np.stack([calibration.score(column) for calibration, column in pairs], axis=1)
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
        usable &= (several >= 0).all(axis=1)
    if not usable.any():
        raise BadLabels(f"none of the {len(several)} training rows can be read and has a label")
    if not usable.all():
        rows, several = rows[usable], several[usable]
    if head == "logistic" and not issparse(rows):
        return _linear_scorer(rows, several, seed, labels.ndim == 1)
    scaler = None if issparse(rows) else StandardScaler().fit(rows)
    columns = rows if scaler is None else scaler.transform(rows)
    models, calibrations = zip(*(_fit_label(columns, y, head, seed) for y in several.T), strict=True)

    def logits(some: Matrix) -> np.ndarray:
        some = some if scaler is None else scaler.transform(some)
        return np.stack([_logit(model, some) for model in models], axis=1)

    return Scorer(logits, calibrations, labels.ndim == 1)


def _linear_scorer(rows: np.ndarray, labels: np.ndarray, seed: int, single: bool) -> Scorer:
    """Logistic regression as the library fits the heads of detectors."""
    basis = Basis.of(rows)
    strengths = STRENGTHS if basis.factor is None else WIDE_STRENGTHS
    chosen = [_choose(basis.coordinates, y, "logistic", seed, strengths) for y in labels.T]
    head = basis.fitted_head(labels, [model.C for model, _ in chosen])
    return Scorer(head.logit, tuple(calibration for _, calibration in chosen), single)


def _fit_label(
    rows: Matrix, labels: np.ndarray, head: str, seed: int
) -> tuple[Any, Calibration]:  # Any: an estimator of scikit-learn, untyped
    known = labels >= 0
    strengths = SPARSE_STRENGTHS if issparse(rows) else STRENGTHS
    if head in ("forest", "network"):
        strengths = (1.0,)
    model, calibration = _choose(rows[known], labels[known], head, seed, strengths)
    if known.all():
        return _fitted(model, rows, labels), calibration
    return SelfTrainingClassifier(model, threshold=0.9).fit(rows, labels), Calibration(1.0, 0.0)


def _choose(
    rows: Matrix, y: np.ndarray, head: str, seed: int, strengths: Sequence[float]
) -> tuple[Any, Calibration]:  # Any: as above
    """An unfitted model with the best strength on validation rows, and the calibration of its logits there."""
    if len(np.unique(y)) != 2:
        raise BadLabels(f"the {len(y)} training rows hold one class only; give rows of both")
    if min(np.bincount(y)) < _ROWS_TO_CHOOSE:
        return _model(head, _FEW_ROWS_STRENGTH, seed), Calibration(1.0, 0.0)
    fitted, held = train_test_split(np.arange(len(y)), test_size=0.15, stratify=y, random_state=seed)
    candidates = []
    for strength in strengths:
        model = _fitted(_model(head, strength, seed), rows[fitted], y[fitted])
        logits = _logit(model, rows[held])
        candidates.append((roc_auc_score(y[held], logits), logits, model))
    _, logits, model = max(candidates, key=lambda candidate: candidate[0])
    try:
        return clone(model), calibrate(y[held], logits)
    except BadLabels:  # the features say nothing of the labels: their logits stay as they are
        return clone(model), Calibration(1.0, 0.0)


def _fitted(model: Any, rows: Matrix, y: np.ndarray) -> Any:  # Any: as above
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # the networks stop early on purpose
        return model.fit(rows, y)


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
