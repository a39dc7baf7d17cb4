"""Tests ``detect/logistic.py``: the objective of scikit-learn, fitted by another solver."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from splinelens.detect.logistic import BalancedLogistic


def _rows(columns=40, rows=120, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, columns)).astype(np.float32)
    return X, (X[:, :3].sum(axis=1) + rng.standard_normal(rows) > 0.8).astype(int)


@pytest.mark.parametrize("columns", [1, 40, 400])
@pytest.mark.parametrize("C", [1e-3, 1e-1, 10.0])
def test_it_finds_what_scikit_learn_finds(columns, C):
    X, y = _rows(columns)
    expected = LogisticRegression(C=C, class_weight="balanced", tol=1e-8, max_iter=10_000).fit(X, y)
    found = BalancedLogistic(C=C).fit(X, y)
    spread = expected.decision_function(X).std()
    difference = np.abs(found.decision_function(X) - expected.decision_function(X)).max()
    assert difference < 5e-3 * spread


def test_the_gradient_of_the_objective_is_zero_at_the_solution():
    X, y = _rows()
    found = BalancedLogistic(C=0.1).fit(X, y)
    balance = np.where(y == 1, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    residual = balance * (found.predict_proba(X)[:, 1] - y)
    gradient = found.coef_[0] / 0.1 + X.T @ residual
    assert np.abs(gradient).max() < 1e-4 * len(y)
    assert abs(residual.sum()) < 1e-4 * len(y)


def test_both_classes_weigh_the_same():
    X, y = _rows()
    twice = np.concatenate([X, X[y == 1]]), np.concatenate([y, y[y == 1]])
    once = BalancedLogistic(C=1e3).fit(X, y)
    # Repeating one class changes n but not the balance of the classes; a weak penalty hardly counts.
    assert np.corrcoef(once.coef_[0], BalancedLogistic(C=1e3).fit(*twice).coef_[0])[0, 1] > 0.999


def test_other_labels_come_back_as_they_were():
    X, y = _rows()
    words = np.array(["clean", "toxic"])[y]
    assert set(BalancedLogistic().fit(X, words).predict(X)) == {"clean", "toxic"}


def test_probabilities_add_up_and_extremes_do_not_overflow():
    X, y = _rows()
    found = BalancedLogistic().fit(X, y).predict_proba(X * 1e4)
    assert np.isfinite(found).all()
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_one_class_is_refused():
    with pytest.raises(ValueError, match="needs 2 classes"):
        BalancedLogistic().fit(np.ones((3, 1)), np.zeros(3))


def test_it_can_be_cloned():
    assert clone(BalancedLogistic(C=0.5)).get_params() == {"C": 0.5, "device": "cpu", "max_iter": 1000}
