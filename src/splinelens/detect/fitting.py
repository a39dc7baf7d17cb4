"""From a table of features and labels to a head, and what it says of rows that it did not see.

Each label has a head of its own against all others, at the L2 strength that suits it best. A text that
occurs more than once lies in one fold with all its rows, so no row is judged by a head that saw its text.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from splinelens.detect.dual import fit_dual, tried_strengths
from splinelens.detect.heads import ForestHead, Head, LinearHead
from splinelens.detect.recipes import STRENGTHS, forest, logistic, require_rows
from splinelens.detect.wide import Standard, Streamed, balance, dual_logistic, gram
from splinelens.errors import BadFeatures, BadLabels

RECIPES = ("logistic", "forest")
"""What can be fitted."""

FOLDS = 5
"""Parts of the judged rows; each is judged by a head fitted on all others."""

MOST_GRAM_ROWS = 30_000
"""Of more rows the inner products are not kept, 3.6 GB: each use walks the columns again."""

_NARROW = 2000  # columns; with more, scikit-learn's solver takes hours on tens of thousands of rows
_CHOOSING_ROWS = 15_000
# That choose the strength where inner products are not kept: C is the prior variance of a weight, so the best
# one does not hang on the number of rows, and the strengths tried lie a factor of 3 apart.


@dataclass(frozen=True, eq=False)
class Fitted:
    """A head and its judgement of unseen rows.

    Attributes:
        head: Fitted on all rows.
        settings: What was chosen for it: of ``logistic`` the strength ``C`` and the validation AUC of
            each strength tried; by name where there are several labels.
        logits: (judged text, label), each row's from a head fitted without its fold.
    """

    head: Head
    settings: dict[str, Any]  # Any: plain JSON values
    logits: np.ndarray


def fit(
    rows: np.ndarray,
    labels: np.ndarray,
    *,
    recipe: str = "logistic",
    judged: np.ndarray | None = None,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
    device: str = "cpu",
    names: Sequence[str] = (),
    groups: np.ndarray | None = None,
    prior: np.ndarray | None = None,
) -> Fitted:
    """Fit one head a label and judge rows out of fold.

    Args:
        rows: (text, column), finite.
        labels: (text, label), 0 or 1.
        recipe: ``logistic`` or ``forest``.
        judged: (text,) boolean, the rows to judge; None takes all. The others only help to fit.
        strengths: L2 strengths to choose from, for each label the one with the best validation AUC.
        seed: Of every random draw.
        device: Where wide tables are fitted, such as ``cpu`` or ``cuda:0``.
        names: Names of the labels, for messages and settings; needed if there are several.
        groups: (text,) a number a row, the same for rows that hold the same text; None takes all as
            different.
        prior: (column,) relative prior variance of each column's weight, above 0: with 0.1 a weight is
            penalised ten times as much. Of ``logistic`` only. None takes 1.

    Returns:
        The head, its settings and the out-of-fold logits of the judged rows, in order.

    Raises:
        BadFeatures: An unknown recipe, or a prior that does not fit it or the columns.
        BadLabels: Fewer than 10 positive or negative rows of a label, among all rows, the judged ones, or
            their different texts; the message names the label and counts.

    Example:
        >>> rows = np.random.default_rng(0).normal(size=(80, 3))
        >>> labels = (rows[:, :2] > 0).astype(int)
        >>> found = fit(rows, labels, names=("first", "second"), strengths=(0.1, 1.0))
        >>> found.head.labels, found.logits.shape, sorted(found.settings["C"])
        (2, (80, 2), ['first', 'second'])
    """
    if recipe not in RECIPES:
        raise BadFeatures(_no_recipe(recipe))
    judge = np.ones(len(rows), dtype=bool) if judged is None else np.asarray(judged)
    groups = np.arange(len(rows)) if groups is None else np.asarray(groups)
    labels = np.asarray(labels).astype(int)
    _require(labels, judge, groups, names)
    if prior is not None:
        _require_prior(prior, rows, recipe)
    if recipe == "logistic" and (prior is not None or _is_wide(rows)):
        weights = np.ones(rows.shape[1]) if prior is None else np.asarray(prior, dtype=np.float64)
        return _fit_wide(rows, labels, judge, groups, strengths, seed, device, names, weights)
    chosen, settings = _chosen(rows, labels, recipe, strengths, seed, names, groups)
    head = fitted_head(rows, labels, recipe, chosen, seed)
    logits, places = np.zeros((int(judge.sum()), labels.shape[1])), np.cumsum(judge) - 1
    for held in folds(labels, judge, groups, seed):
        keep = ~np.isin(groups, groups[held])
        _require_fold(labels[keep], names)
        apart = fitted_head(rows[keep], labels[keep], recipe, chosen, seed)
        logits[places[held]] = apart.logit(rows[held])
    return Fitted(head, settings, logits)


def _fit_wide(
    rows: np.ndarray,
    labels: np.ndarray,
    judge: np.ndarray,
    groups: np.ndarray,
    strengths: Sequence[float],
    seed: int,
    device: str,
    names: Sequence[str],
    prior: np.ndarray,
) -> Fitted:
    """As ``fit``, by the rows' inner products: all folds, strengths and labels at once.

    The strength is the one with the best AUC over all judged rows, out of fold; of more than 30,000 rows
    over those of 15,000. A prior variance is a factor on the standardised column: its weight pays for the
    square root of it.
    """
    fold = np.full(len(rows), -1)
    for number, held in enumerate(folds(labels, judge, groups, seed)):
        out = np.isin(groups, groups[held])
        _require_fold(labels[~out], names)
        fold[out] = number
    standard, tried = Standard.of(rows).times(np.sqrt(prior)), None
    if len(rows) > MOST_GRAM_ROWS:
        some = _choosing(labels, judge, groups, seed)
        products = gram(standard.blocks(rows, some))
        tried = tried_strengths(
            products, labels[some], fold[some], strengths, judged=judge[some], device=device
        )
        del products
    found = fit_dual(
        _products(standard, rows), labels, fold, strengths, judged=judge, tried=tried, device=device
    )
    head = LinearHead(standard.mean, standard.scale, found.weight(standard.blocks(rows)), found.bias)
    each = [dict(zip(map(str, strengths), map(float, row), strict=True)) for row in found.tried]
    return Fitted(head, _settings(found.strengths.tolist(), each, names), found.logits[judge])


def _is_wide(rows: np.ndarray) -> bool:
    """Whether rows are fitted by their inner products."""
    return rows.shape[1] > min(len(rows), _NARROW)


def _products(standard: Standard, rows: np.ndarray) -> np.ndarray | Streamed:
    """The inner products of standardised rows, kept if they are few enough."""
    if len(rows) > MOST_GRAM_ROWS:
        return Streamed(lambda: standard.blocks(rows))
    return gram(standard.blocks(rows))


def _choosing(labels: np.ndarray, judge: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Numbers of some 15,000 rows: as many of each class of each label, all of rare ones, whole groups."""
    order = np.random.default_rng(seed).permutation(len(labels))
    sides = [labels[order, label] == side for label in range(labels.shape[1]) for side in (0, 1)]
    kinds = [side & (judge[order] == own) for side in sides for own in np.unique(judge)]
    drawn = np.concatenate([order[kind][: _CHOOSING_ROWS // len(kinds)] for kind in kinds])
    return np.flatnonzero(np.isin(groups, groups[drawn]))


def _require_prior(prior: np.ndarray, rows: np.ndarray, recipe: str) -> None:
    if recipe != "logistic":
        raise BadFeatures(f"a prior is for recipe 'logistic', not {recipe!r}")
    if np.shape(prior) != rows.shape[1:] or not (np.isfinite(prior).all() and (np.asarray(prior) > 0).all()):
        raise BadFeatures(
            f"a prior of shape {np.shape(prior)} for {rows.shape[1]:,} columns: give each one above 0"
        )


def _no_recipe(recipe: str) -> str:
    return f"no recipe {recipe!r}; there are {' and '.join(RECIPES)}"


def _settings(
    chosen: Sequence[float], tried: Sequence[dict[str, float]], names: Sequence[str]
) -> dict[str, Any]:  # Any: plain JSON values
    """What was chosen, by name where there are several labels."""
    if len(chosen) == 1:
        return {"C": chosen[0], "validation_auc": tried[0]}
    return {
        "C": dict(zip(names, chosen, strict=True)),
        "validation_auc": dict(zip(names, tried, strict=True)),
    }


def fitted_head(
    rows: np.ndarray, labels: np.ndarray, recipe: str, strengths: Sequence[float], seed: int
) -> Head:
    """The head of all labels at given strengths: the one place where final heads are fitted.

    Args:
        rows: (text, column), finite.
        labels: (text, label), 0 or 1.
        recipe: ``logistic`` or ``forest``; trees of several labels are shared and weigh classes as they are.
        strengths: Of ``logistic``, one C a label.
        seed: Of the forest.

    Returns:
        The head.

    Raises:
        BadFeatures: An unknown recipe.

    Example:
        >>> rows, labels = np.array([[0.0], [1.0], [2.0], [3.0]]), np.array([[0], [0], [1], [1]])
        >>> fitted_head(rows, labels, "logistic", [1.0], 0).logit(rows)[:, 0].argmax()
        np.int64(3)
    """
    if recipe not in RECIPES:
        raise BadFeatures(_no_recipe(recipe))
    columns = list(labels.T)
    if recipe == "forest":
        plain = forest(seed) if len(columns) == 1 else forest(seed).set_params(head__class_weight=None)
        return ForestHead.of(plain.fit(rows, columns[0] if len(columns) == 1 else labels))
    if _is_wide(rows):
        return _wide_head(rows, labels, strengths)
    bare = [logistic(seed).estimator for _ in columns]
    pairs = zip(bare, strengths, columns, strict=True)
    return LinearHead.of(*(pipeline.set_params(head__C=c).fit(rows, y) for pipeline, c, y in pairs))


def _wide_head(rows: np.ndarray, labels: np.ndarray, strengths: Sequence[float]) -> LinearHead:
    """The same regressions by the rows' inner products, all labels at once."""
    standard = Standard.of(rows)
    weight = balance(labels, np.ones(labels.shape))
    alpha, bias, _ = dual_logistic(_products(standard, rows), labels, weight, strengths)
    heads = alpha.T.astype(np.float32)
    weights = np.concatenate([heads @ block for block in standard.blocks(rows)], axis=1)
    return LinearHead(standard.mean, standard.scale, weights, bias)


def folds(labels: np.ndarray, judge: np.ndarray, groups: np.ndarray, seed: int) -> Iterator[np.ndarray]:
    """The judged rows in ``FOLDS`` parts, rows of one group together.

    One label is spread evenly over the parts, and of several each set of labels that is frequent enough.

    Args:
        labels: (text, label), 0 or 1.
        judge: (text,) boolean, the rows to part.
        groups: (text,) a number a row, the same for rows that hold the same text.
        seed: Of the draw.

    Yields:
        Row numbers; each judged row once.

    Example:
        >>> labels = np.arange(20)[:, None] % 2
        >>> [len(part) for part in folds(labels, np.ones(20, dtype=bool), np.arange(20), 0)]
        [4, 4, 4, 4, 4]
    """
    from sklearn.model_selection import StratifiedKFold

    judged = np.flatnonzero(judge)
    _, first = np.unique(groups[judged], return_index=True)
    ones = judged[np.sort(first)]  # the first row of each group, in order
    parts = StratifiedKFold(FOLDS, shuffle=True, random_state=seed).split(ones, _strata(labels[ones]))
    for _, held in parts:
        yield judged[np.isin(groups[judged], groups[ones[held]])]


def _chosen(
    rows: np.ndarray,
    labels: np.ndarray,
    recipe: str,
    strengths: Sequence[float],
    seed: int,
    names: Sequence[str],
    groups: np.ndarray,
) -> tuple[list[float], dict[str, Any]]:  # Any: plain JSON values
    """The best strength of each label on validation rows, and the settings to record."""
    if recipe == "forest":
        return [], {}
    chosen, tried = [], []
    for y in labels.T:
        search = logistic(seed, strengths).set_params(refit=False)
        search.fit(rows, y, groups=groups)
        chosen.append(float(search.best_params_["head__C"]))
        found = map(float, search.cv_results_["mean_test_score"])
        tried.append(dict(zip(map(str, strengths), found, strict=True)))
    return chosen, _settings(chosen, tried, names)


def _strata(labels: np.ndarray) -> np.ndarray:
    """A number a row to spread evenly: its label, or its set of labels; rare sets by their rarest label."""
    if labels.shape[1] == 1:
        return labels[:, 0]
    rare_first = np.argsort(labels.sum(axis=0), kind="stable").tolist()
    sets = [tuple(row) for row in labels.tolist()]
    often = Counter(sets)
    keys: list[object] = [
        own if often[own] >= FOLDS else next((label for label in rare_first if own[label]), -1)
        for own in sets
    ]
    often_keys = Counter(keys)
    keys = [key if often_keys[key] >= FOLDS else -1 for key in keys]
    if 0 < keys.count(-1) < FOLDS:  # too few to spread: they go with the most frequent stratum
        most = next(key for key, _ in Counter(keys).most_common() if key != -1)
        keys = [most if key == -1 else key for key in keys]
    numbers = {key: number for number, key in enumerate(dict.fromkeys(keys))}
    return np.array([numbers[key] for key in keys])


def _require(labels: np.ndarray, judge: np.ndarray, groups: np.ndarray, names: Sequence[str]) -> None:
    """Refuse labels of which one has too few rows, too few that judge, or too few different texts."""
    _, first = np.unique(groups[judge], return_index=True)
    for place, y in enumerate(labels.T):
        name = names[place] if labels.shape[1] > 1 else None
        require_rows(y, name)
        require_rows(y[judge], name)
        require_rows(y[judge][first], name, what="different texts")


def _require_fold(labels: np.ndarray, names: Sequence[str]) -> None:
    for place, y in enumerate(labels.T):
        if len(np.unique(y)) < 2:
            whose = f"label {names[place]!r}" if labels.shape[1] > 1 else "the label"
            raise BadLabels(
                f"{whose} has one class only outside one of {FOLDS} folds; give more rows of both"
            )
