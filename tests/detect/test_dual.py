"""Tests detect/dual.py: strengths, folds and labels at once are what they are one by one."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from splinelens.detect.dual import fit_dual, tried_strengths
from splinelens.detect.wide import Standard, gram

STRENGTHS = [1e-3, 1e-2, 1e-1]  # with smaller ones scikit-learn stops early


@pytest.fixture
def table():
    rng = np.random.default_rng(3)
    rows = rng.standard_normal((90, 200)).astype(np.float32)
    rows = Standard.of(rows).rows(rows)
    noise = rng.standard_normal((90, 2))
    labels = np.stack(
        [rows[:, :40].sum(1) / 4 + noise[:, 0] > 0, rows[:, 30:60].sum(1) / 4 + noise[:, 1] > 1], 1
    )
    return rows, labels.astype(int)


def one(rows, y, C):
    head = LogisticRegression(C=C, class_weight="balanced", tol=1e-9, max_iter=10_000)
    return head.fit(rows, y)


def test_out_of_fold_logits_are_those_of_heads_fitted_one_by_one(table):
    rows, labels = table
    folds = np.arange(90) % 3
    found = fit_dual(gram([rows[:, :77], rows[:, 77:]]), labels, folds, STRENGTHS)
    for label in range(2):
        tried = []
        for C in STRENGTHS:
            slow = np.empty(90)
            for fold in range(3):
                held = folds == fold
                slow[held] = one(rows[~held], labels[~held, label], C).decision_function(rows[held])
            tried.append(roc_auc_score(labels[:, label], slow))
            if found.strengths[label] == C:
                assert np.allclose(found.logits[:, label], slow, atol=5e-3 * np.ptp(slow))
        assert np.allclose(found.tried[label], tried, atol=2e-3)
        assert found.strengths[label] == STRENGTHS[int(np.argmax(found.tried[label]))]


def test_the_head_is_fitted_on_all_rows_at_the_chosen_strength(table):
    rows, labels = table
    found = fit_dual(gram([rows]), labels, np.arange(90) % 3, STRENGTHS)
    weight = found.weight([rows[:, :120], rows[:, 120:]])
    for label in range(2):
        slow = one(rows, labels[:, label], found.strengths[label])
        assert np.allclose(weight[label], slow.coef_[0], atol=5e-3 * np.abs(slow.coef_).max())
        assert abs(found.bias[label] - slow.intercept_[0]) < 5e-3


def test_rows_without_a_fold_help_to_fit_and_are_not_judged(table):
    rows, labels = table
    folds = np.where(np.arange(90) < 60, np.arange(90) % 3, -1)
    found = fit_dual(gram([rows]), labels[:, :1], folds, [1e-2])
    assert np.isnan(found.logits[60:]).all()
    keep = folds != 0
    slow = one(rows[keep], labels[keep, 0], 1e-2).decision_function(rows[~keep])
    assert np.allclose(found.logits[~keep, 0], slow, atol=5e-3 * np.ptp(slow))


def test_strengths_tried_on_some_rows_choose_those_of_all(table):
    rows, labels = table
    folds = np.arange(90) % 3
    tried = tried_strengths(gram([rows[:60]]), labels[:60], folds[:60], STRENGTHS)
    assert tried.shape == (2, 3)
    found = fit_dual(gram([rows]), labels, folds, STRENGTHS, tried=np.array([[0, 1, 0], [1, 0, 0]]))
    assert found.strengths.tolist() == [1e-2, 1e-3]
    slow = one(rows[folds != 1], labels[folds != 1, 1], 1e-3).decision_function(rows[folds == 1])
    assert np.allclose(found.logits[folds == 1, 1], slow, atol=5e-3 * np.ptp(slow))
