"""Heads that order the samples of one task: ridge regression on differences within tasks, out of fold.

Every row less the mean of its task: what a head learns is which of two samples of a task is wrong, and nothing
about which tasks are hard.
"""

from collections import Counter
from itertools import combinations

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from sklearn.feature_extraction.text import TfidfVectorizer

from splinelens.detect.calibration import calibrate
from splinelens.detect.within_group_auc import group_pairs

FOLDS = 5
RIDGES = (0.1, 0.5, 2.0)
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3, 1, 3)


def folds_of(groups):
    """Five folds of whole groups, of about as many rows each."""
    names, size = np.unique(groups), Counter(groups)
    order = np.random.default_rng(0).permutation(len(names))
    rows, number = np.zeros(FOLDS), {}
    for name in sorted(names[order].tolist(), key=lambda name: -size[name]):
        number[name] = int(rows.argmin())
        rows[number[name]] += size[name]
    return np.array([number[name] for name in groups])


def task_auc(wrong, scores, task):
    """The AUC within tasks, each weighted by its pairs."""
    pairs, right = group_pairs(wrong, scores, task).sum(0)
    return right / pairs


def mixed_rows(wrong, task):
    """Whether each row is of a task with both outcomes; the others have no differences to learn from."""
    mixed = [number for number in np.unique(task) if 0 < wrong[task == number].mean() < 1]
    return np.isin(task, mixed)


def less_mean(values, task):
    """Rows less the mean of their task."""
    result = np.array(values, np.float32)
    for number in np.unique(task):
        result[task == number] -= result[task == number].mean(0)
    return result


def kernel_of(values, task, used):
    """Products of rows with the rows in use less their task's mean, columns scaled to their spread within tasks."""
    values = values.astype(np.float32)
    centered = less_mean(values[used], task[used])
    scale = centered.std(0)
    scale[scale < 1e-6 * (1 + np.abs(centered).max(0))] = np.inf
    centered /= scale
    values /= scale
    return values @ centered.T / np.isfinite(scale).sum()


def tfidf_kernel(texts, task, used, **options):
    """The same of TF-IDF vectors of unit length, which are not scaled."""
    table = TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32, **options).fit_transform(texts)
    return less_mean((table @ table[used].T).toarray().T, task[used]).T


def ridge_scores(kernel, wrong, task, fold, used):
    """Scores of ridge regression on differences within tasks: a row of scores for each fold that is held out.

    In the row of a fold, its samples are scored by a head fitted on all others, and each other fold by a head
    fitted on what is left without both, so that a second head may be fitted on these. The strength is the best there.
    """
    target, folds = less_mean(wrong[used, None], task[used])[:, 0], np.unique(fold)
    within = less_mean(kernel[used], task[used])
    size = float(np.diag(within).mean())

    def fitted(left_out, ridge):
        rows = np.flatnonzero(~np.isin(fold[used], left_out))
        matrix = within[np.ix_(rows, rows)]
        np.einsum("ii->i", matrix)[:] += ridge * size
        factor = cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False)
        return kernel[:, rows] @ cho_solve(factor, target[rows])

    tried = np.zeros((len(RIDGES), len(folds), len(wrong)), np.float32)
    for ridge, result in zip(RIDGES, tried, strict=True):
        for one, other in combinations(range(len(folds)), 2):
            scores = fitted([folds[one], folds[other]], ridge)
            for held, scored in ((one, other), (other, one)):
                result[held][fold == folds[scored]] = scores[fold == folds[scored]]
    chosen = np.zeros(tried.shape[1:], np.float32)
    for number, held in enumerate(folds):
        rest = fold != held
        best = int(np.argmax([task_auc(wrong[rest], one[number][rest], task[rest]) for one in tried]))
        chosen[number] = tried[best, number]
        chosen[number][~rest] = fitted([held], RIDGES[best])[~rest]
    return chosen


def fused_scores(dense, stacked, wrong, task, fold, used, calibrated):
    """Scores, and if requested calibrated probabilities, of a second head on numbers and on scores of ``ridge_scores``."""
    scores, probabilities = np.zeros(len(wrong)), np.zeros(len(wrong))
    for number, held in enumerate(np.unique(fold)):
        values = np.column_stack([*dense, *(one[number] for one in stacked)]).astype(np.float64)
        rest = fold != held
        inner = scores_by_strength(values, wrong, task, fold, np.unique(fold[rest]), rest & used)
        best = best_strength(wrong[rest], inner[:, rest], task[rest])
        scores[~rest] = values[~rest] @ within_head(values, wrong, task, rest & used, STRENGTHS[best])
        if calibrated:
            platt = calibrate(wrong[rest], inner[best][rest])
            probabilities[~rest] = platt.score(scores[~rest])
    return scores, probabilities


def scores_by_strength(values, wrong, task, fold, folds, used):
    """For each strength the scores of the rows of some folds, each fold by a head on the rows in use without it."""
    scores = np.zeros((len(STRENGTHS), len(wrong)))
    for held in folds:
        part = fold == held
        for strength, row in zip(STRENGTHS, scores, strict=True):
            row[part] = values[part] @ within_head(values, wrong, task, used & ~part, strength)
    return scores


def best_strength(wrong, scores, task):
    """The number of the strength whose scores have the best AUC within tasks."""
    return int(np.argmax([task_auc(wrong, row, task) for row in scores]))


def within_head(values, wrong, task, rows, strength, times=None):
    """Weights of ridge regression on differences within tasks, of columns scaled to their spread there.

    ``times`` says how often each row counts, equally often in all of a task.
    """
    weight = np.ones(rows.sum()) if times is None else times[rows].astype(float)
    centered, target = less_mean(values[rows], task[rows]), less_mean(wrong[rows, None], task[rows])[:, 0]
    scale = centered.std(0)
    scale[scale < 1e-6] = np.inf
    centered = (centered / scale).astype(np.float64)
    matrix = (centered.T * weight) @ centered
    np.einsum("ii->i", matrix)[:] += strength * weight.sum()
    return np.linalg.solve(matrix, centered.T @ (weight * target)) / scale
