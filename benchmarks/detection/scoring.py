"""One way to fit every head of a benchmark, so that no representation is favoured by its fitting.

The L2 strength is the one with the best AUC on 15 % of each class; the same rows give the calibration
(Platt); then all rows are fitted. Rows are standardised unless they are sparse, as word counts are.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from splinelens.detect.calibration import Calibration, calibrate
from splinelens.detect.heads import ForestHead
from splinelens.detect.recipes import ROWS_OF_A_CLASS, STRENGTHS, ValidationDraw, forest
from splinelens.detect.wide import Standard, balance, dual_logistic, gram
from splinelens.errors import BadFeatures, BadLabels

HEADS = ("logistic", "forest", "network", "self-training")
WIDE_STRENGTHS = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
"""Of tables with more columns than rows: weaker penalties never win there."""
SPARSE_STRENGTHS = (1.0, 3.0, 10.0)
"""Of word counts, which are not standardised."""
SURE = 0.9
"""Self-training takes over a label that the head gives with at least this probability."""

_Rows = Any  # Any: a NumPy array or a sparse matrix of SciPy, which ships no types
_Logits = Callable[[_Rows], np.ndarray]
_LITTLE = 1e-2  # C where there are too few rows to choose one


@dataclass(frozen=True)
class Scorer:
    """A fitted head with its standardisation and calibration.

    Attributes:
        standard: Turns rows into standardised ones.
        heads: One a label, from standardised rows to calibrated scores.
        several: Whether the labels were (row, label).
    """

    standard: Callable[[_Rows], _Rows]
    heads: tuple[_Logits, ...]
    several: bool = False

    def scores(self, rows: _Rows) -> np.ndarray:
        """Calibrated scores of rows.

        Args:
            rows: (row, column), as those that it was fitted on.

        Returns:
            (row,), or (row, label) where there are several labels; NaN where a row holds values that are
            not finite.
        """
        fine = _finite(rows)
        scores = np.full((rows.shape[0], len(self.heads)), np.nan)
        if fine.any():
            some = self.standard(rows if fine.all() else rows[fine])
            scores[fine] = np.stack([head(some) for head in self.heads], axis=1)
        return scores if self.several else scores[:, 0]


def fit_scorer(train: _Rows, labels: np.ndarray, *, head: str = "logistic", seed: int = 0) -> Scorer:
    """Fit a head on rows.

    Args:
        train: (row, column), a NumPy array or a sparse matrix; rows with values that are not finite are
            left out.
        labels: 0, 1, or -1 for a row whose label is not to be known; (row,) or (row, label), where
            each label has a head of its own.
        head: ``logistic``, ``forest``, ``network`` (the mean of three small networks and a linear
            discriminant: what a table holds beyond one plane) or ``self-training``; only the last uses rows
            without a label, for the others they are as if they were not there.
        seed: Of every draw.

    Returns:
        What scores other rows.

    Raises:
        BadFeatures: No such head.
        BadLabels: One class only among the training rows, or no row that has a label.

    Example:
        >>> rows, labels = np.arange(40.0)[:, None], (np.arange(40) >= 20).astype(int)
        >>> scores = fit_scorer(rows, labels).scores(np.array([[0.0], [39.0]]))
        >>> bool(scores[0] < 0.5 < scores[1])
        True
    """
    if head not in HEADS:
        raise BadFeatures(f"no head {head!r}; there are {', '.join(HEADS)}")
    many = labels.reshape(len(labels), -1)
    used = _finite(train)
    if head != "self-training":
        used &= (many >= 0).any(axis=1)
    if not used.any():
        raise BadLabels(f"none of the {len(many)} training rows can be read and has a label")
    if not used.all():
        train, many = train[used], many[used]
    standard, columns = _standardised(train)
    shared = _solver(columns, head, seed) if (many >= 0).all() else None
    heads = [_fitted(columns, many[:, label], head, seed, shared) for label in range(many.shape[1])]
    return Scorer(standard, tuple(heads), labels.ndim > 1)


def _finite(rows: _Rows) -> np.ndarray:
    if not isinstance(rows, np.ndarray):
        return np.ones(rows.shape[0], dtype=bool)
    with np.errstate(invalid="ignore", over="ignore"):  # inf - inf
        return np.isfinite(rows.sum(axis=1, dtype=np.float64))


def _standardised(train: _Rows) -> tuple[Callable[[_Rows], _Rows], _Rows]:
    """How rows become standardised ones, and the training rows so."""
    if not isinstance(train, np.ndarray):
        return (lambda rows: rows), train
    standard = Standard.of(train)
    return standard.rows, standard.rows(train)


def _fitted(rows: _Rows, labels: np.ndarray, head: str, seed: int, shared: "_Solver | None") -> _Logits:
    """A function from standardised rows to calibrated scores."""
    known = labels >= 0
    y = labels[known]
    if len(np.unique(y)) != 2:
        raise BadLabels(f"the {len(y)} training rows hold one class only; give rows of both")
    some = rows if known.all() else rows[known]
    solve, strengths = shared or _solver(some, head, seed)
    strength, calibration = _LITTLE, Calibration()
    if min(np.bincount(y)) >= ROWS_OF_A_CLASS:
        strength, calibration = _chosen(solve, strengths, some, y, seed)
    if head == "self-training" and not known.all():
        logit, calibration = _self_trained(rows, labels, strength), Calibration()
    else:
        [logit] = solve(np.arange(len(y)), y, (strength,))
    return lambda other: calibration.score(logit(other))


_Solve = Callable[[np.ndarray, np.ndarray, Sequence[float]], list[_Logits]]
_Solver = tuple[_Solve, Sequence[float]]


def _chosen(
    solve: _Solve, strengths: Sequence[float], rows: _Rows, y: np.ndarray, seed: int
) -> tuple[float, Calibration]:
    """The strength that is best on validation rows, and the calibration of its logits there."""
    [(fitted, held)] = ValidationDraw(seed).split(None, y)
    tried = [logit(rows[held]) for logit in solve(fitted, y[fitted], strengths)]
    best = max(range(len(tried)), key=lambda place: roc_auc_score(y[held], tried[place]))
    try:
        return strengths[best], calibrate(y[held], tried[best])
    except BadLabels:  # the features say nothing of the labels: their logits stay as they are
        return strengths[best], Calibration()


def _solver(rows: _Rows, head: str, seed: int) -> _Solver:
    """How some of the rows are fitted with several strengths, and the strengths to try."""
    if head == "forest":
        return (lambda index, y, _: [_forest(rows[index], y, seed)]), (1.0,)
    if head == "network":
        return (lambda index, y, _: [_network(rows[index], y, seed)]), (1.0,)
    if not isinstance(rows, np.ndarray):
        return (lambda index, y, wanted: [_linear(rows[index], y, C) for C in wanted]), SPARSE_STRENGTHS
    if rows.shape[1] <= rows.shape[0]:
        return (lambda index, y, wanted: [_linear(rows[index], y, C) for C in wanted]), STRENGTHS
    return _wide_solver(rows), WIDE_STRENGTHS


def _linear(rows: _Rows, y: np.ndarray, strength: float) -> _Logits:
    from sklearn.linear_model import LogisticRegression

    found = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000).fit(rows, y)
    weight, bias = found.coef_[0], float(found.intercept_[0])
    return lambda other: np.asarray(other @ weight).ravel() + bias


def _wide_solver(rows: np.ndarray) -> _Solve:
    """The same regression on more columns than rows: all strengths at once, by the rows' inner products."""
    products = gram([rows])

    def solve(index: np.ndarray, y: np.ndarray, strengths: Sequence[float]) -> list[_Logits]:
        targets = np.repeat(y[:, None], len(strengths), axis=1)
        weight = balance(targets, np.ones(targets.shape))
        alpha, bias, _ = dual_logistic(products[np.ix_(index, index)], targets, weight, strengths)
        every = np.zeros((len(rows), len(strengths)), dtype=np.float32)
        every[index] = alpha
        pairs = zip(every.T @ rows, bias, strict=True)
        return [_affine(weights, float(shift)) for weights, shift in pairs]

    return solve


def _affine(weight: np.ndarray, bias: float) -> _Logits:
    return lambda other: (other @ weight).astype(np.float64) + bias


def _forest(rows: np.ndarray, y: np.ndarray, seed: int) -> _Logits:
    pipeline = forest(seed).set_params(head__n_jobs=-1).fit(rows, y)
    head = ForestHead.of(pipeline)  # its sums do not depend on threads, as scikit-learn's do
    return lambda other: head.logit(other)[:, 0]


def _network(rows: np.ndarray, y: np.ndarray, seed: int) -> _Logits:
    """Three networks of one hidden layer, and the discriminant that is half of the answer."""
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
    from sklearn.neural_network import MLPClassifier

    networks = [MLPClassifier((128,), alpha=3.0, max_iter=60, random_state=seed + own) for own in range(3)]
    plane = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=0.05).fit(rows, y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that 60 steps are not the end: they are meant to be few
        for network in networks:
            network.fit(rows, y)

    def logit(other: np.ndarray) -> np.ndarray:
        several = np.mean([network.predict_proba(other)[:, 1] for network in networks], axis=0)
        share = ((several + plane.predict_proba(other)[:, 1]) / 2).clip(1e-9, 1 - 1e-9)
        return np.log(share / (1 - share))

    return logit


def _self_trained(rows: np.ndarray, labels: np.ndarray, strength: float) -> _Logits:
    """The head that also learns from its own sure answers on the rows without a label."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.semi_supervised import SelfTrainingClassifier

    head = LogisticRegression(C=strength, class_weight="balanced", max_iter=2000)
    found = SelfTrainingClassifier(head, threshold=SURE).fit(rows, labels)
    return lambda other: found.decision_function(other)
