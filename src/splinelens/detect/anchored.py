"""Refit a linear head on few rows so that it stays near the head it was.

The new logit is ``z + x . d + c``: the logit ``z`` of the anchor plus a change of weights ``d`` and of bias
``c``. They minimize the logistic loss of the rows, each logit calibrated as the anchor's, plus
``penalty / 2 * s * |d|**2``: a Gaussian prior around the anchor's weights, whose width the rows choose. ``s``
is the mean squared norm of the centered rows, so a penalty means the same for 100 columns and for 50,000. The
bias is free, since shares of positive texts differ. The problem is solved exactly in as many dimensions as
rows, as in ``detect.solver``.

With a sample of the rows that the anchor was fitted on, without their labels, the head moves further and
forgets less. The mean squared change of the logits of one half is penalized, too, ``SAMPLE_WEIGHT`` times as
much as ``s * |d|**2``. Then the change is shortened until it costs at most ``MAX_LOSS`` of the AUC that is
expected on the other half, which it was not fitted to, if calibrated scores are the probabilities of labels:
``sum_ij p_i (1 - p_j) [z_i > z_j] / sum_ij p_i (1 - p_j)``. No logits have a higher one than those of the
scores. These are out of fold: of rows that it was fitted on an anchor is too sure to tell what would harm.

An infinite penalty is the anchor itself, and wins unless another is better by more than one standard error
(Breiman, Friedman, Olshen, Stone: Classification and Regression Trees, 1984, section 3.4.3).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from splinelens.detect.calibration import Calibration, offsets_at
from splinelens.detect.groups import joined
from splinelens.detect.heads import LinearHead
from splinelens.detect.solver import (
    FOLDS,
    folds,
    gram_factor,
    label_columns,
    require_groups,
    require_rows,
)
from splinelens.errors import BadFeatures, BadLabels

PENALTIES = (10.0, 3.0, 1.0, 0.3)
"""Penalties to choose from besides infinity; a smaller one lets the head move further from its anchor."""

SAMPLE_WEIGHT = 30.0
"""Weight of the squared change of the logits on the sample, against that of the weights."""

MAX_LOSS = 0.0015
"""Most of the expected AUC that a change may cost. Rows that an anchor was fitted on have surer features than
others: on unseen rows changes cost up to three times what is expected."""

_MAX_STEPS, _TOLERANCE = 100, 1e-8  # of Newton's method
_HALVINGS = 10  # of the interval in which the length of the change is searched
_REPEATS = 3  # of the folds that a penalty is chosen on


@dataclass(frozen=True)
class Tried:
    """What a penalty gains over the anchor on rows that were held out.

    Attributes:
        penalty: Relative to the mean squared norm of the rows.
        gain: AUC minus that of the anchor, on the same rows.
        error: Standard error of the gain (DeLong, DeLong, Clarke-Pearson: Biometrics 44, 1988); larger where
            rows of one group resemble each other.
    """

    penalty: float
    gain: float
    error: float


@dataclass(frozen=True, eq=False)
class Sample:
    """Rows that a head was fitted on, kept with it.

    Attributes:
        rows: (row, column) float16, standardized as the head's columns.
        logits: (row,) float32, out of fold, offsets by length subtracted.

    Raises:
        BadFeatures: Other shapes or number types, no rows, or numbers that are not finite.
    """

    rows: np.ndarray
    logits: np.ndarray

    def __post_init__(self) -> None:
        arrays = {"rows": (self.rows, np.float16, 2), "logits": (self.logits, np.float32, 1)}
        for name, (array, dtype, axes) in arrays.items():
            if array.dtype != dtype or array.ndim != axes or not np.isfinite(array).all():
                raise BadFeatures(f"the {name} of a sample are not finite {np.dtype(dtype)} of {axes} axes")
        if len(self.rows) < 2 or len(self.rows) != len(self.logits):
            raise BadFeatures(f"a sample has {len(self.rows)} rows and {len(self.logits)} logits")

    def __repr__(self) -> str:
        return f"Sample({self.rows.shape[0]} rows of {self.rows.shape[1]} columns)"

    @property
    def nbytes(self) -> int:
        """Size on disk."""
        return self.rows.nbytes + self.logits.nbytes

    def moved(self, old: LinearHead, new: LinearHead) -> "Sample":
        """The sample of a head that another one became, of one label and the same columns."""
        change = self.rows @ (new.weight[0] - old.weight[0]) + (new.bias[0] - old.bias[0])
        return Sample(self.rows, (self.logits + change).astype(np.float32))


@dataclass(frozen=True, eq=False)
class Anchored:
    """A refitted head and what it does on rows that were held out.

    Attributes:
        head: Fitted on all rows; the anchor itself at an infinite penalty.
        penalty: The one chosen on all rows.
        tried: Every finite penalty.
        logits: (row,), each from a head fitted without its fold, the choice of the penalty included; offsets
            by length are subtracted.
        anchor_logits: (row,), of the anchor, likewise.
        step: Share of the change that is kept, 1 unless a sample shortens it.
        sample_loss: Expected AUC that the change costs on a half of the sample; None without one.
    """

    head: LinearHead
    penalty: float
    tried: tuple[Tried, ...]
    logits: np.ndarray
    anchor_logits: np.ndarray
    step: float
    sample_loss: float | None


def refit_anchored(
    rows: np.ndarray,
    labels: np.ndarray,
    anchor: LinearHead,
    calibration: Calibration,
    *,
    penalties: Sequence[float] = PENALTIES,
    texts: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    tokens: np.ndarray | None = None,
    sample: Sample | None = None,
    seed: int = 0,
) -> Anchored:
    """Refit the head of one label, and judge the rows out of fold.

    Args:
        rows: (row, column), finite, in the units of the anchor's columns.
        labels: (row,), 0 or 1.
        anchor: The head to stay near.
        calibration: Of the anchor's logits.
        penalties: Finite ones to choose from.
        texts: (row,) one number per row, equal for rows with the same text; None takes all as different.
        groups: (row,) one number per row, equal for rows of one group; None is no groups. Rows of one text or
            group share a fold.
        tokens: (row,) tokens of each text, for the calibration's offsets by length; None leaves these out.
        sample: Rows that the anchor was fitted on, whose order is to last.
        seed: Of the folds.

    Raises:
        BadFeatures: Rows of another width, or values that are not finite.
        BadLabels: Fewer than 10 rows of a class, or of their different texts; a class whose rows are all in
            one or two groups, or groups of such sizes that without a fold or two a class is missing.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> rows = rng.normal(size=(60, 4))
        >>> anchor = LinearHead(np.zeros(4), np.ones(4), np.array([[1.0, 0, 0, 0]]), np.zeros(1))
        >>> same = refit_anchored(rows, (rows[:, 0] > 0).astype(int), anchor, Calibration(1.0, 0.0))
        >>> same.penalty, same.head is anchor
        (inf, True)
    """
    columns = label_columns(labels, len(rows))
    texts = np.arange(len(rows)) if texts is None else np.asarray(texts)
    together = texts if groups is None else joined(texts, np.asarray(groups))
    if anchor.labels != 1 or columns.shape[1] != 1:
        raise BadLabels(f"a head of {anchor.labels} labels and {columns.shape[1]}: one label is refitted")
    y = columns[:, 0]
    require_rows(y)
    require_rows(y[np.unique(texts, return_index=True)[1]], what="different texts")
    require_groups(y, together, least=3)  # one is held back to judge, one to choose the penalty
    anchor_logits = anchor.logit(rows)[:, 0]
    if not np.isfinite(anchor_logits).all():
        raise BadFeatures("a row has no finite logit; leave out rows that cannot be read")
    if tokens is not None and calibration.by_length:
        anchor_logits = anchor_logits - offsets_at(calibration.by_length, tokens)
    problem = _Problem.of(rows, y, anchor, anchor_logits, calibration, together, sample)
    everything = np.arange(len(rows))
    penalty, tried = problem.choose(everything, penalties, seed)
    logits = anchor_logits.copy()
    for held_out in problem.folds(everything, seed):
        others = np.setdiff1d(everything, held_out)
        chosen, _ = problem.choose(others, penalties, seed)
        logits[held_out] = problem.held_out_logits(others, held_out, chosen)
    if math.isinf(penalty):
        loss = None if sample is None else 0.0
        return Anchored(anchor, penalty, tried, logits, anchor_logits, 1.0, loss)
    head, step, loss = problem.head(penalty)
    return Anchored(head, penalty, tried, logits, anchor_logits, step, loss)


@dataclass(frozen=True, eq=False)
class _Problem:
    """The rows in coordinates in which the penalty is the squared norm.

    ``spanning`` is (row, column): the change of the weights is a sum of its rows. Without a sample it is the
    centered rows, with one their product with ``inv(I + c * S.T @ S)`` for S, the centered half of it.
    ``coordinates`` is (row, row), the Cholesky factor of the matrix of its inner products with the centered
    rows, divided by their mean squared norm, so ``penalty`` multiplies the squared norm itself;
    ``sample_coordinates`` are those of ``sample``, the other half of the sample.
    """

    spanning: np.ndarray
    center: np.ndarray
    unit: float
    coordinates: np.ndarray
    sample: "_Centered | None"
    sample_coordinates: np.ndarray
    labels: np.ndarray
    anchor: LinearHead
    logits: np.ndarray
    calibration: Calibration
    groups: np.ndarray

    @classmethod
    def of(
        cls,
        rows: np.ndarray,
        labels: np.ndarray,
        anchor: LinearHead,
        logits: np.ndarray,
        calibration: Calibration,
        groups: np.ndarray,
        sample: Sample | None,
    ) -> "_Problem":
        from scipy.linalg import solve, solve_triangular

        centered = (rows - anchor.mean) / anchor.scale
        center = centered.mean(axis=0)
        centered -= center
        unit = float((centered**2).sum()) / len(rows) or 1.0
        spanning, known, sample_coordinates = centered, None, np.zeros((0, len(rows)))
        if sample is not None:
            known = _Centered.of(sample, slice(1, None, 2), calibration)
            half = _Centered.of(sample, slice(0, None, 2), calibration).rows
            ridge = unit * len(half) / SAMPLE_WEIGHT * np.eye(len(half))
            spanning = centered - solve(ridge + half @ half.T, half @ centered.T, assume_a="pos").T @ half
        factor = gram_factor(spanning @ centered.T / unit)
        if known is not None:
            sample_coordinates = solve_triangular(factor, spanning @ known.rows.T / unit, lower=True).T
        return cls(
            spanning,
            center,
            unit,
            factor,
            known,
            sample_coordinates,
            labels,
            anchor,
            logits,
            calibration,
            groups,
        )

    def folds(self, rows: np.ndarray, seed: int) -> list[np.ndarray]:
        """Folds of some rows, rows of one text or group together."""
        judge = np.zeros(len(self.labels), dtype=bool)
        judge[rows] = True
        n_splits = min(FOLDS, int(np.bincount(self.labels[rows]).min()))
        return list(folds(self.labels[:, None], judge, self.groups, seed, n_splits))

    def choose(
        self, rows: np.ndarray, penalties: Sequence[float], seed: int
    ) -> tuple[float, tuple[Tried, ...]]:
        """The largest penalty that is not clearly worse than the best; infinity if none is clearly better.

        Clearly means by more than one standard error of the difference of AUCs, see ``_gain``.
        """
        y, members, descending = self.labels[rows], self.groups[rows], sorted(penalties, reverse=True)
        self._require_both(rows, least=2, groups=2)
        anchored = _placements(y, self.logits[rows])
        placements = np.zeros((len(descending), len(rows)))
        for repeat in range(_REPEATS):
            splits = self.folds(rows, seed + repeat)
            for index, penalty in enumerate(descending):
                logits = np.empty(len(self.labels))
                for held_out in splits:
                    others = np.setdiff1d(rows, held_out)
                    logits[held_out] = self.held_out_logits(others, held_out, penalty)
                placements[index] += _placements(y, logits[rows]) / _REPEATS
        tried = tuple(
            Tried(penalty, *_gain(y, placed - anchored, members))
            for penalty, placed in zip(descending, placements, strict=True)
        )
        best = max(range(len(tried)), key=lambda index: tried[index].gain)
        if tried[best].gain <= tried[best].error:
            return math.inf, tried
        for index, penalty in enumerate(descending):
            lost, error = _gain(y, placements[best] - placements[index], members)
            if tried[index].gain > tried[index].error and lost <= error:
                return penalty, tried
        return descending[best], tried

    def held_out_logits(self, rows: np.ndarray, held_out: np.ndarray, penalty: float) -> np.ndarray:
        """Logits of rows that are held out, from a head fitted on others, in units of the anchor's logit.

        The change of the bias stays out: it would only move whole folds against each other.
        """
        if math.isinf(penalty):
            return self.logits[held_out]
        self._require_both(rows, least=1, groups=1)
        change = self._fit(rows, penalty)
        change = self._step(change) * change
        moved = (self.coordinates[held_out] - self.coordinates[rows].mean(axis=0)) @ change
        return self.logits[held_out] + moved / self.calibration.slope

    def head(self, penalty: float) -> tuple[LinearHead, float, float | None]:
        """The head fitted on all rows, the share of its change that is kept, and what it costs.

        The mean logit of the rows stays the anchor's, as that of held-out rows does, so that a calibration
        fitted on these holds for the head.
        """
        from scipy.linalg import solve_triangular

        change = self._fit(np.arange(len(self.labels)), penalty)
        step = self._step(change)
        change = step * change
        loss = self.sample.loss(self.sample_coordinates @ change) if self.sample else None
        alpha = solve_triangular(self.coordinates, change, lower=True, trans="T")
        weight = alpha @ self.spanning / (self.unit * self.calibration.slope)
        head = LinearHead(
            self.anchor.mean,
            self.anchor.scale,
            (self.anchor.weight[0] + weight)[None].astype(np.float32),
            self.anchor.bias - self.center @ weight,
        )
        return head, step, loss

    def _require_both(self, rows: np.ndarray, *, least: int, groups: int) -> None:
        """Refuse groups of such sizes that the rows outside a fold do not do to fit or choose on."""
        rarest = np.bincount(self.labels[rows], minlength=2).min()
        if rarest < least or len(np.unique(self.groups[rows])) < groups:
            raise BadLabels(
                "without the rows of one or two folds, which hold each group back whole, one class is "
                "missing or one group is left; give rows of more groups, or smaller ones"
            )

    def _step(self, change: np.ndarray) -> float:
        """The largest share of a change, up to 1, that costs no more than ``MAX_LOSS`` on the sample."""
        if self.sample is None:
            return 1.0
        moved = self.sample_coordinates @ change
        if self.sample.loss(moved) <= MAX_LOSS:
            return 1.0
        low, high = 0.0, 1.0
        for _ in range(_HALVINGS):
            middle = (low + high) / 2
            low, high = (middle, high) if self.sample.loss(middle * moved) <= MAX_LOSS else (low, middle)
        return low

    def _fit(self, rows: np.ndarray, penalty: float) -> np.ndarray:
        """The coordinates of the change of the calibrated logit, beside a free bias; by Newton's method."""
        from scipy.linalg import solve

        root = math.sqrt(penalty)  # in coordinates divided by it the penalty is that of a unit prior
        table = np.column_stack([self.coordinates[rows] / root, np.ones(len(rows))])
        ridge = np.append(np.ones(table.shape[1] - 1), 1e-9)  # the bias is free
        sign, start = 2.0 * self.labels[rows] - 1, self.calibration.logit(self.logits[rows])
        point = np.zeros(table.shape[1])
        current = _penalized_loss(sign * start, ridge, point)
        for _ in range(_MAX_STEPS):
            wrong = np.exp(-np.logaddexp(0, sign * (start + table @ point)))  # the share of the other label
            gradient = ridge * point - table.T @ (sign * wrong)
            if np.abs(gradient).max() < _TOLERANCE:
                break
            hessian = table.T @ ((wrong * (1 - wrong))[:, None] * table) + np.diag(ridge)
            step = solve(hessian, gradient, assume_a="pos")
            while (
                lower := _penalized_loss(sign * (start + table @ (point - step)), ridge, point - step)
            ) > current and np.abs(step).max() > _TOLERANCE:
                step /= 2
            point, current = point - step, lower
        return point[:-1] / root


@dataclass(frozen=True, eq=False)
class _Centered:
    """Some rows of a sample, centered, their calibrated logits, and the probabilities that these give."""

    rows: np.ndarray
    logits: np.ndarray
    positive: np.ndarray

    @classmethod
    def of(cls, sample: Sample, some: slice, calibration: Calibration) -> "_Centered":
        rows, logits = sample.rows[some].astype(np.float64), sample.logits[some].astype(np.float64)
        return cls(rows - rows.mean(axis=0), calibration.logit(logits), calibration.score(logits))

    def loss(self, moved: np.ndarray) -> float:
        """Expected AUC of the calibrated logits, less that of the logits that are moved."""
        return self._expected_auc(self.logits) - self._expected_auc(self.logits + moved)

    def _expected_auc(self, logits: np.ndarray) -> float:
        positive = self.positive[np.argsort(logits, kind="stable")]
        below = np.cumsum(1 - positive) - (1 - positive) / 2  # a row is not above itself
        return float(positive @ below / (positive.sum() * (1 - positive).sum()))


def _penalized_loss(margins: np.ndarray, ridge: np.ndarray, point: np.ndarray) -> float:
    """The logistic loss of rows whose logits are ``margins`` on the side of their label, and the penalty."""
    return float(np.logaddexp(0, -margins).sum() + ridge @ point**2 / 2)


def _placements(labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """The share of the rows of the other class that each row is on the right side of, ties one half.

    The mean over the rows of either class is the AUC.
    """
    difference = np.sign(logits[labels == 1][:, None] - logits[labels == 0][None]) / 2 + 0.5
    placed = np.empty(len(labels))
    placed[labels == 1], placed[labels == 0] = difference.mean(axis=1), difference.mean(axis=0)
    return placed


def _gain(labels: np.ndarray, moved: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Difference of two AUCs from the differences of placements, and its standard error (DeLong et al.).

    Rows of one group resemble each other, so it is at least the error of the groups' sums (Obuchowski:
    Biometrics 53, 1997).
    """
    classes = moved[labels == 1], moved[labels == 0]
    error = math.sqrt(sum(one.var(ddof=1) / len(one) for one in classes))
    shares = np.where(
        labels == 1,
        (moved - classes[0].mean()) / len(classes[0]),
        (moved - classes[1].mean()) / len(classes[1]),
    )
    sums = np.bincount(np.unique(groups, return_inverse=True)[1], weights=shares)
    of_groups = math.sqrt(len(sums) / (len(sums) - 1) * float(sums @ sums))
    return float(classes[0].mean()), max(error, of_groups)
