"""L2-regularized logistic regression on tables with more columns than rows, with cross-validation.

Change of basis: the optimal weights lie in the span of the rows, ``w = X' a``. With the Cholesky factor of
the Gram matrix, ``X X' = L L'``, and ``v = L' a`` the logits are ``X w = L v`` and the penalty is
``|w| = |v|``: the same problem with ``L`` (row, row) in place of ``X`` (row, column). scikit-learn solves
it, and ``w = X' L^-T v``. This is exact, for every fold too, since the span of its rows lies in that of all
rows. Any factor of the Gram matrix would do, its eigenvectors too; Cholesky is the cheapest: 0.6 s on one
core for 3,600 rows, where an eigendecomposition takes 19 s. Above 25 million entries L is kept in float32.

Tables of more than ``EXACT_ROWS`` rows are approximated: weights are restricted to the span of
``ANCHOR_ROWS`` random rows (Nystroem's method, Williams and Seeger 2001), and all rows are fitted and judged.
On 3,600 rows of 18,432 margins, 1,800 anchors lowered the best out-of-fold AUC from 0.9650 to 0.9642.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splinelens.detect.groups import joined
from splinelens.detect.heads import LinearHead
from splinelens.errors import BadFeatures, BadLabels

STRENGTHS = (1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 1e-1)
"""Inverse L2 strengths C to choose from; wide tables choose small ones."""

FOLDS = 5
"""Folds of the judged rows, or as many as they have groups; each is judged by a head fitted on all others."""

ROWS_PER_CLASS = 10
"""Fewest rows of each class to fit on."""

EXACT_ROWS = 30_000
"""Rows of the largest table that is fitted exactly; its Gram matrix takes 7 GB."""

ANCHOR_ROWS = 20_000
"""Rows that span the weights of larger tables."""

_BLOCK = 1024  # columns that are standardized at once
# Coordinates of larger tables are float32, which moves logits by 3e-4 of their range.
_FLOAT64_ENTRIES = 5000**2


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head, fitted on all rows, and its out-of-fold logits.

    Attributes:
        head: One for all labels.
        settings: The chosen strength ``C`` and the out-of-fold AUC of each strength that was tried,
            ``validation_auc``; by name if there are several labels.
        logits: (judged text, label), each row's from a head fitted without its fold.
        long: For each label, logits and tokens of long negative texts, if they were computed.
    """

    head: LinearHead
    settings: dict[str, Any]  # Any: plain JSON values
    logits: np.ndarray
    long: tuple[tuple[np.ndarray, np.ndarray], ...] = ()


def fit(
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    judged: np.ndarray | None = None,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
    names: Sequence[str] = (),
    texts: np.ndarray | None = None,
    groups: np.ndarray | None = None,
) -> Fitted:
    """Fit one head per label and judge rows out of fold.

    Each label is a balanced logistic regression against all others, at the strength with the best AUC of
    the out-of-fold logits. Rows of one text or group are in one fold, so no row is judged by a head that was
    fitted on its text, or on another row of its group.

    Args:
        rows: (text, column), finite.
        labels: (text, label), 0 or 1.
        judged: (text,) boolean, the rows to judge; None takes all. The others only help to fit.
        strengths: Values of C to choose from.
        seed: Of the folds.
        names: Names of the labels, for messages and settings; needed if there are several.
        texts: (text,) one number per row, equal for rows with the same text; None takes all as different.
        groups: (text,) one number per row, equal for rows of one group; None is no groups.

    Raises:
        BadFeatures: No columns, or values that are not finite.
        BadLabels: Fewer than 10 positive or negative rows of a label, among all rows, the judged ones, or
            their different texts; or a class whose rows are all in one group. The message names the label and
            counts.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(80, 3))
        >>> labels = (rows[:, :2] > 0).astype(int)
        >>> fitted = fit(rows, labels, names=("first", "second"), strengths=(0.1, 1.0))
        >>> fitted.head.labels, fitted.logits.shape, sorted(fitted.settings["C"])
        (2, (80, 2), ['first', 'second'])
    """
    judge = np.ones(len(rows), dtype=bool) if judged is None else np.asarray(judged)
    labels = label_columns(labels, len(rows))
    fold = fold_of_rows(labels, judge, texts, groups, seed=seed, names=names)
    basis = Basis.of(rows)
    chosen = cross_validate(basis.coordinates, labels, fold, strengths, judged=judge)
    return Fitted(
        basis.fitted_head(labels, chosen.strengths),
        _settings(chosen, strengths, names),
        chosen.logits[judge],
    )


@dataclass(frozen=True, eq=False)
class Basis:
    """Coordinates of standardized rows in which a regression has no more weights than rows.

    Attributes:
        rows: (row, column), the table.
        mean: (column,), as in ``LinearHead``.
        scale: (column,), as in ``LinearHead``.
        coordinates: (row, direction), what to fit on.
        anchors: The rows that span the weights.
        factor: Cholesky factor of their Gram matrix; None if the coordinates are the columns themselves.
    """

    rows: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    coordinates: np.ndarray
    anchors: np.ndarray | slice
    factor: np.ndarray | None

    @classmethod
    def of(cls, rows: np.ndarray, *, anchors: np.ndarray | None = None) -> "Basis":
        """The basis of a table.

        ``anchors`` are indices of the rows that span the weights; None takes all rows of a table of up to
        ``EXACT_ROWS``, else ``ANCHOR_ROWS`` random ones.

        Raises:
            BadFeatures: No columns, or values that are not finite.
        """
        from scipy.linalg import solve_triangular
        from scipy.linalg.blas import dsyrk

        n, width = rows.shape
        mean, scale = _standardization(rows)
        if width <= min(n, ANCHOR_ROWS):
            coordinates = np.concatenate(list(_standardized(rows, mean, scale)), axis=1)
            return cls(rows, mean, scale, _rounded(coordinates), slice(None), None)
        if anchors is None and n > EXACT_ROWS:
            anchors = np.sort(np.random.default_rng(0).permutation(n)[:ANCHOR_ROWS])
        size = n if anchors is None else len(anchors)
        gram = np.zeros((size, size), order="F")
        cross = np.zeros((n, 0 if anchors is None else size), np.float32)
        for block in _standardized(rows, mean, scale):
            spanning = block if anchors is None else block[anchors]
            gram = dsyrk(1.0, spanning.T, beta=1.0, c=gram, trans=1, lower=1, overwrite_c=1)
            if anchors is not None:
                cross += block.astype(np.float32) @ spanning.astype(np.float32).T
        factor = gram_factor(gram)
        if anchors is None:
            return cls(rows, mean, scale, _rounded(factor), slice(None), factor)
        for start in range(0, n, _BLOCK):
            some = slice(start, start + _BLOCK)
            cross[some] = solve_triangular(factor, cross[some].T.astype(np.float64), lower=True).T
        return cls(rows, mean, scale, _rounded(cross), anchors, factor)

    def fitted_head(self, labels: np.ndarray, strengths: Sequence[float] | np.ndarray) -> LinearHead:
        """Fit (row, label) labels, both classes present, each at its C; a head of the table's columns."""
        from scipy.linalg import solve_triangular

        models = [
            _logistic(C).fit(self.coordinates, y, sample_weight=balanced_weights(y))
            for C, y in zip(strengths, labels.T, strict=True)
        ]
        weight = np.concatenate([model.coef_ for model in models])
        if self.factor is not None:
            alpha = solve_triangular(self.factor, weight.T.astype(np.float64), lower=True, trans="T").T
            blocks = _standardized(self.rows, self.mean, self.scale)
            weight = np.concatenate([alpha @ block[self.anchors] for block in blocks], axis=1)
        bias = np.concatenate([model.intercept_ for model in models]).astype(np.float64)
        return LinearHead(self.mean, self.scale, weight.astype(np.float32), bias)


@dataclass(frozen=True, eq=False)
class CrossValidation:
    """Strengths chosen out of fold.

    Attributes:
        strengths: (label,), the C with the best AUC.
        logits: (row, label), out of fold at that C; NaN for rows without a fold.
        auc: (label, strength), AUC of the out-of-fold logits of the judged rows.
    """

    strengths: np.ndarray
    logits: np.ndarray
    auc: np.ndarray


def cross_validate(
    coordinates: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    strengths: Sequence[float],
    *,
    judged: np.ndarray | None = None,
) -> CrossValidation:
    """Choose the strength of each label, (row, label), by the AUC of its out-of-fold logits.

    ``fold`` is the fold of each row, from 0; -1 for rows that help to fit every fold. The AUC is that of the
    rows ``judged``; None takes all that have a fold.
    """
    from sklearn.metrics import roc_auc_score

    judge = fold >= 0 if judged is None else judged
    ascending = np.argsort(strengths)
    logits = np.full((len(strengths), *labels.shape), np.nan)
    for label, y in enumerate(labels.T):
        for number in range(int(fold.max()) + 1):
            weight = balanced_weights(y, fold != number)
            model, held_out = _logistic().set_params(warm_start=True), coordinates[fold == number]
            for index in ascending:
                model.set_params(C=float(strengths[index])).fit(coordinates, y, sample_weight=weight)
                logits[index, fold == number, label] = model.decision_function(held_out)
    auc = np.array(
        [
            [roc_auc_score(y[judge], tried[judge, label]) for tried in logits]
            for label, y in enumerate(labels.T)
        ]
    )
    best = auc.argmax(axis=1)
    chosen = np.stack([logits[index, :, label] for label, index in enumerate(best)], axis=1)
    return CrossValidation(np.asarray(strengths, dtype=np.float64)[best], chosen, auc)


def fold_of_rows(
    labels: np.ndarray,
    judge: np.ndarray,
    texts: np.ndarray | None = None,
    groups: np.ndarray | None = None,
    *,
    seed: int = 0,
    names: Sequence[str] = (),
) -> np.ndarray:
    """The fold of each row, (text,) from 0; -1 for rows that help to fit every fold.

    Args:
        labels: (text, label), 0 or 1.
        judge: (text,) boolean, the rows to judge; others that share a text or group with one are in its fold.
        texts: As in ``fit``, as are the others.
        groups: (text,) one number per row, equal for rows of one group.
        seed: Of the folds.
        names: Names of the labels, for messages.

    Raises:
        BadLabels: As in ``fit``.
    """
    texts = np.arange(len(labels)) if texts is None else np.asarray(texts)
    together = texts if groups is None else joined(texts, np.asarray(groups))
    _, different = np.unique(texts[judge], return_index=True)
    named = names if labels.shape[1] > 1 else (None,)
    for y, name in zip(labels.T, named, strict=True):
        require_rows(y, name)
        require_rows(y[judge], name)
        require_rows(y[judge][different], name, what="different texts")
        require_groups(y[judge], together[judge], name)
    fold = np.full(len(labels), -1)
    for number, held_out in enumerate(folds(labels, judge, together, seed)):
        inside = np.isin(together, together[held_out])
        for y, name in zip(labels[~inside].T, named, strict=True):
            require_rows(y, name, what="rows outside one of the folds", least=1)
        fold[inside] = number
    return fold


def folds(
    labels: np.ndarray, judge: np.ndarray, groups: np.ndarray, seed: int, n_splits: int = FOLDS
) -> Iterator[np.ndarray]:
    """Split the rows in ``judge`` into ``n_splits`` folds of row indices, rows of one group together.

    A single label is spread evenly over the folds; of several, each set of labels that is frequent enough.
    With fewer groups there is a fold for each.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    judged = np.flatnonzero(judge)
    strata, count = _strata(labels[judged]), len(np.unique(groups[judged]))
    members = None if count == len(judged) else groups[judged]
    kind = StratifiedKFold if members is None else StratifiedGroupKFold
    splitter = kind(min(n_splits, count), shuffle=True, random_state=seed)
    for _, held_out in splitter.split(judged, strata, members):
        if len(held_out):  # else the groups are of very different sizes
            yield judged[held_out]


def gram_factor(gram: np.ndarray, jitter: float = 1e-8) -> np.ndarray:
    """Lower Cholesky factor of a float64 Gram matrix, the coordinates of its rows; overwrites the matrix.

    Only the lower triangle is read. The Gram matrix of centered columns is singular, so the share ``jitter``
    of the mean diagonal is added; one that was computed in float32 needs 1e-5.
    """
    from scipy.linalg import cholesky

    diagonal = np.einsum("ii->i", gram)
    diagonal += jitter * (diagonal.mean() or 1.0)
    return cholesky(gram, lower=True, overwrite_a=True, check_finite=False)


def balanced_weights(labels: np.ndarray, keep: np.ndarray | None = None) -> np.ndarray:
    """Row weights under which both classes weigh the same; 0 for rows that are not kept."""
    from sklearn.utils.class_weight import compute_sample_weight

    keep = np.ones(len(labels), dtype=bool) if keep is None else keep
    weight = np.zeros(len(labels))
    weight[keep] = compute_sample_weight("balanced", labels[keep])
    return weight


def label_columns(labels: np.ndarray, rows: int) -> np.ndarray:
    """Labels of a number of rows, 0 or 1, (text,) or (text, label), as integers (text, label).

    Raises:
        BadLabels: Another number of rows, or other labels.
    """
    columns = np.asarray(labels)
    columns = columns[:, None] if columns.ndim == 1 else columns
    if columns.ndim != 2 or len(columns) != rows:
        raise BadLabels(f"{rows} rows need as many labels; these have the shape {np.shape(labels)}")
    if not np.isin(columns, (0, 1)).all():
        raise BadLabels(f"labels are {np.unique(columns).tolist()[:5]} where 0 and 1 are needed")
    return columns.astype(int)


def require_rows(
    labels: np.ndarray, name: str | None = None, *, what: str = "rows", least: int = ROWS_PER_CLASS
) -> None:
    """Refuse a label, 0 or 1, with fewer than ``least`` rows of a class.

    Raises:
        BadLabels: The message says how many rows there are and how many are needed. It names the label by
            ``name`` unless it is the only one, and calls its entries ``what``.
    """
    whose = "" if name is None else f"label {name!r}: "
    positives = int((labels == 1).sum())
    counts = {"positive": positives, "negative": len(labels) - positives}
    few = [f"{count} {kind}" for kind, count in counts.items() if count < least]
    if few:
        raise BadLabels(
            f"{whose}{' and '.join(few)} of {len(labels)} {what} are too few to fit a detector; "
            f"give at least {least} of each class"
        )


def require_groups(labels: np.ndarray, groups: np.ndarray, name: str | None = None, least: int = 2) -> None:
    """Refuse a label, 0 or 1, of which a class is in too few groups: folds hold a group back whole.

    Raises:
        BadLabels: The message says in how many groups the class is; ``name`` as in ``require_rows``.
    """
    whose, words = "" if name is None else f"label {name!r}: ", ("no", "one", "two", "three")
    for value, kind in ((1, "positive"), (0, "negative")):
        count = len(np.unique(groups[labels == value]))
        if count < least:
            raise BadLabels(
                f"{whose}all {int((labels == value).sum())} {kind} rows are in {words[count]} "
                f"group{'' if count == 1 else 's'}, rows of equal texts included, and folds hold a group "
                f"back whole; give each class rows in {words[least]} groups"
            )


def _logistic(C: float = 1.0) -> Any:  # Any: scikit-learn ships no types
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=float(C), tol=1e-6, max_iter=5000)


def _standardization(rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (float64) and scale (float32) of each column; see ``Basis``."""
    from sklearn.preprocessing import StandardScaler

    width = rows.shape[1]
    if not width:
        raise BadFeatures("the table has no columns; name a feature")
    scalers = []
    for start in range(0, width, _BLOCK):
        block = rows[:, start : start + _BLOCK].astype(np.float64)
        if not np.isfinite(block).all():
            raise BadFeatures("the table holds numbers that are not finite; leave such rows out")
        scalers.append(StandardScaler().fit(block))
    scale = np.concatenate([scaler.scale_ for scaler in scalers])
    return np.concatenate([scaler.mean_ for scaler in scalers]), scale.astype(np.float32)


def _standardized(rows: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> Iterator[np.ndarray]:
    """Standardized columns in float64, a block at a time."""
    for start in range(0, rows.shape[1], _BLOCK):
        columns = slice(start, start + _BLOCK)
        yield (rows[:, columns] - mean[columns]) / scale[columns]


def _rounded(coordinates: np.ndarray) -> np.ndarray:
    """Row-major coordinates, in float32 if they are many."""
    dtype = np.float64 if coordinates.size <= _FLOAT64_ENTRIES else np.float32
    return np.ascontiguousarray(coordinates, dtype=dtype)


def _settings(
    chosen: CrossValidation, strengths: Sequence[float], names: Sequence[str]
) -> dict[str, Any]:  # Any: plain JSON values
    """The chosen strengths and the AUC of all, by name if there are several labels."""
    tried = [dict(zip(map(str, strengths), row.tolist(), strict=True)) for row in chosen.auc]
    if len(tried) == 1:
        return {"C": float(chosen.strengths[0]), "validation_auc": tried[0]}
    return {
        "C": dict(zip(names, chosen.strengths.tolist(), strict=True)),
        "validation_auc": dict(zip(names, tried, strict=True)),
    }


def _strata(labels: np.ndarray) -> np.ndarray:
    """A stratum per row: its label or set of labels; rare sets count as their rarest label."""
    if labels.shape[1] == 1:
        return labels[:, 0]
    rarest_first = np.argsort(labels.sum(axis=0), kind="stable").tolist()
    sets = [tuple(row) for row in labels.tolist()]
    counts = Counter(sets)
    keys: list[object] = [
        row if counts[row] >= FOLDS else next((label for label in rarest_first if row[label]), -1)
        for row in sets
    ]
    key_counts = Counter(keys)
    keys = [key if key_counts[key] >= FOLDS else -1 for key in keys]
    if 0 < keys.count(-1) < FOLDS:  # too few to spread: they join the most frequent stratum
        most = next(key for key, _ in Counter(keys).most_common() if key != -1)
        keys = [most if key == -1 else key for key in keys]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])
