"""Scores of rows that are held out: of text only, of linear heads, and of the sum of two scores.

Nothing is chosen on the rows that it scores: strengths are fixed, and what is chosen is chosen on other
folds.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from splinelens.detect.bootstrap import ScoreHistogram
from splinelens.detect.heads import LinearHead
from splinelens.detect.solver import ROWS_PER_CLASS, Basis, balanced_weights

MOST_GROUPS = 12
"""Most groups that are each a fold, and within which an AUC is measured."""

RIDGES = (0.03, 0.1, 0.3, 1.0)
"""L2 strengths of a linear head on geometry, relative to its number of columns."""

_LIKELIHOOD_STRENGTH = 1e-3  # of numbers that resemble each other
_TFIDF_STRENGTH = 10.0
_WEIGHTS = (0.25, 0.5, 1.0, 2.0)  # of the second of two summed scores, both of equal variance
_LEAST = 1e-9  # of a standard deviation

Rows = Int[np.ndarray, " row"]
Scores = Float[np.ndarray, " row"]


def auc(labels: Rows, scores: Scores) -> float:
    """The AUC of all rows.

    Example:
        >>> auc(np.array([0, 1, 1]), np.array([0.1, 0.2, 0.3]))
        1.0
    """
    return float(ScoreHistogram.of(labels, scores).roc_auc())


def auc_parts(labels: Rows, groups: Rows | None) -> dict[int | None, np.ndarray]:
    """The rows that an AUC is measured within: those of each group, if 2 to 12 have 10 rows of each class.

    Else all rows are one part, called None.
    """
    parts: dict[int | None, np.ndarray] = {}
    for number in np.unique(groups).tolist() if groups is not None else ():
        rows = np.flatnonzero(groups == number)
        if np.bincount(labels[rows], minlength=2).min() >= ROWS_PER_CLASS:
            parts[number] = rows
    return parts if 2 <= len(parts) <= MOST_GROUPS else {None: np.arange(len(labels))}


def mean_auc(labels: Rows, scores: Scores, groups: Rows | None) -> float:
    """The mean AUC within the parts of ``auc_parts``."""
    parts = auc_parts(labels, groups).values()
    return float(np.mean([auc(labels[rows], scores[rows]) for rows in parts]))


def text_only_scores(
    texts: Sequence[str], tokens: Float[np.ndarray, " row"], labels: Rows, fold: Rows
) -> dict[str, Scores]:
    """Scores that no model has a part in: the length, and counts of words and of characters."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def scores(rows: np.ndarray, build: Callable[[], Any]) -> Scores:  # Any: a transformer of scikit-learn
        result = np.full(len(labels), np.nan)
        for number in np.unique(fold):
            held_out = fold == number
            head = LogisticRegression(C=_TFIDF_STRENGTH, max_iter=1000, class_weight="balanced")
            model = make_pipeline(build(), head).fit(rows[~held_out], labels[~held_out])
            result[held_out] = model.decision_function(rows[held_out])
        return result

    counted: dict[str, dict[str, Any]] = {  # Any: arguments of several types
        "TF-IDF of words": {"ngram_range": (1, 2), "token_pattern": r"\w+"},
        "TF-IDF of characters": {"ngram_range": (2, 5), "analyzer": "char_wb"},
    }
    strings = np.array(texts, dtype=object)
    return {"length": scores(tokens[:, None].astype(float), StandardScaler)} | {
        name: scores(strings, partial(TfidfVectorizer, sublinear_tf=True, **options))
        for name, options in counted.items()
    }


def head_scores(values: Float[np.ndarray, "row column"], labels: Rows, fold: Rows) -> Scores:
    """Scores of a linear head on geometry: ridge regression on labels of 1 and -1.

    Its closed form is cheap enough to choose the strength for each fold on the others.
    """
    from scipy.linalg import cho_factor, cho_solve

    coordinates = Basis.of(values).coordinates
    gram = coordinates @ coordinates.T
    columns = float(np.mean(np.diag(gram)))  # they are standardized
    tried = np.full((len(RIDGES), len(labels)), np.nan)
    for number in np.unique(fold):
        held_out, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        target = 2.0 * labels[rest] - 1
        for row, ridge in zip(tried, RIDGES, strict=True):
            penalized = gram[np.ix_(rest, rest)]
            np.einsum("ii->i", penalized)[:] += ridge * columns
            factor = cho_factor(penalized, lower=True, overwrite_a=True, check_finite=False)
            weights = cho_solve(factor, (target - target.mean()).astype(gram.dtype))
            row[held_out] = gram[np.ix_(held_out, rest)] @ weights
    return chosen_scores(list(tried), labels, fold)


def chosen_scores(tried: Sequence[Scores], labels: Rows, fold: Rows) -> Scores:
    """Of several scores of the same rows, for each fold the one with the best AUC within all others."""
    result = np.full(len(labels), np.nan)
    for number in np.unique(fold):
        rest = fold != number
        aucs = [mean_auc(labels[rest], one[rest], fold[rest]) for one in tried]
        result[~rest] = tried[int(np.argmax(aucs))][~rest]
    return result


def likelihood_head(profiles: Float[np.ndarray, "row number"], labels: Rows, fold: Rows) -> LinearHead:
    """A linear head on log-probabilities, fitted to what differs within folds."""
    from sklearn.linear_model import LogisticRegression

    scale = _scale_within(profiles, fold)
    model = LogisticRegression(C=_LIKELIHOOD_STRENGTH, max_iter=1000)
    model.fit(_centered(profiles, fold) / scale, labels, sample_weight=balanced_weights(labels))
    return LinearHead(profiles.mean(axis=0), scale, model.coef_, model.intercept_)


def likelihood_scores(profiles: Float[np.ndarray, "row number"], labels: Rows, fold: Rows) -> Scores:
    """Logits of heads on log-probabilities."""
    result = np.full(len(labels), np.nan)
    for number in np.unique(fold):
        rest = fold != number
        head = likelihood_head(profiles[rest], labels[rest], fold[rest])
        result[~rest] = head.logit(profiles[~rest])[:, 0]
    return result


def summed_scores(first: Scores, second: Scores, labels: Rows, fold: Rows) -> Scores:
    """The sum of two scores; the factor of the second is chosen for each fold on all others."""
    return chosen_scores([first + ratio * second for ratio in _ratios(first, second, fold)], labels, fold)


def best_ratio(first: Scores, second: Scores, labels: Rows, fold: Rows) -> float:
    """The factor of the second score under which the sum has the best AUC within folds."""
    ratios = _ratios(first, second, fold)
    return max(ratios, key=lambda ratio: mean_auc(labels, first + ratio * second, fold))


def _ratios(first: Scores, second: Scores, fold: Rows) -> list[float]:
    """The factors to choose from."""
    equal = float(_scale_within(first, fold) / _scale_within(second, fold))
    return [weight * equal for weight in _WEIGHTS]


def _centered(values: np.ndarray, fold: Rows) -> np.ndarray:
    """The values less the mean of their fold."""
    result = np.array(values, dtype=np.float64)
    for number in np.unique(fold):
        result[fold == number] -= result[fold == number].mean(axis=0)
    return result


def _scale_within(values: np.ndarray, fold: Rows) -> Any:  # Any: an array for columns, else a number
    """Standard deviation within folds; no label is needed for it."""
    return np.maximum(_centered(values, fold).std(axis=0), _LEAST)
