"""Tests detect/wide.py: the objective of scikit-learn, solved through inner products of rows."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from splinelens.detect import wide
from splinelens.detect.wide import Standard, Streamed, balance, dual_logistic, gram
from splinelens.errors import BadFeatures


def _rows(columns=400, rows=120, seed=0):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((rows, columns)).astype(np.float32)
    y = (X[:, :3].sum(axis=1) + rng.standard_normal(rows) > 0.8).astype(int)
    return Standard.of(X).rows(X), y


def test_standard_units_are_those_of_scikit_learn():
    rows = np.random.default_rng(0).normal(5, 3, (50, 7)).astype(np.float32)
    rows[:, 3] = 2.5
    found, expected = Standard.of(rows), StandardScaler().fit(rows)
    assert np.allclose(found.mean, expected.mean_)
    assert np.allclose(found.scale, expected.scale_, rtol=1e-5)
    assert np.allclose(found.rows(rows), expected.transform(rows), atol=1e-5)


def test_a_table_is_standardised_in_blocks_as_in_one(monkeypatch):
    monkeypatch.setattr(wide, "_BLOCK", 3)
    rows = np.random.default_rng(1).normal(4000, 0.5, (60, 7)).astype(np.float32)
    standard = Standard.of(rows)
    assert np.allclose(standard.rows(rows), StandardScaler().fit_transform(rows.astype(float)), atol=1e-3)
    blocks = list(standard.times(np.full(7, 2.0)).blocks(rows, np.array([5, 1])))
    assert [block.shape for block in blocks] == [(2, 3), (2, 3), (2, 1)]
    assert np.array_equal(np.concatenate(blocks, axis=1), 2 * standard.rows(rows[[5, 1]]))


@pytest.mark.parametrize("columns", [40, 400])
def test_products_that_are_not_kept_give_the_same_heads(columns):
    X, y = _rows(columns)
    targets = np.stack([y, y, 1 - y], axis=1)
    weight, strengths = balance(targets, np.ones(targets.shape)), [1e-3, 1e-1, 1e-2]
    kept = dual_logistic(gram([X]), targets, weight, strengths)
    walked = dual_logistic(Streamed(lambda: [X[:, :30], X[:, 30:]]), targets, weight, strengths)
    for one, other in zip(kept, walked, strict=True):
        assert np.allclose(one, other, atol=1e-3 * np.abs(one).max())


@pytest.mark.parametrize("stripe", [50, 60, 500])
def test_inner_products_add_up_over_blocks(monkeypatch, stripe):
    monkeypatch.setattr(wide, "_STRIPE", stripe)
    rows, _ = _rows()
    assert np.allclose(gram([rows[:, :100], rows[:, 100:]]), rows @ rows.T, atol=1e-2)


@pytest.mark.parametrize("columns", [40, 400])
def test_it_finds_what_scikit_learn_finds_for_all_strengths_at_once(columns):
    X, y = _rows(columns)
    strengths = [1e-3, 1e-2, 1e-1, 10.0]
    targets = np.repeat(y[:, None], 4, axis=1)
    products = gram([X])
    alpha, bias, found = dual_logistic(products, targets, balance(targets, np.ones((120, 4))), strengths)
    for number, C in enumerate(strengths):
        expected = LogisticRegression(C=C, class_weight="balanced", tol=1e-8, max_iter=10_000).fit(X, y)
        logits = expected.decision_function(X)
        assert np.abs(products @ alpha[:, number] + bias[number] - logits).max() < 5e-3 * logits.std()
        assert np.abs(found[:, number] - logits).max() < 5e-3 * logits.std()


def test_at_the_solution_each_row_pulls_as_hard_as_its_error():
    X, y = _rows()
    products, weight = gram([X]), balance(y[:, None], np.ones((120, 1)))
    alpha, _, logits = dual_logistic(products, y[:, None], weight, [0.1], tolerance=1e-5)
    share = 1 / (1 + np.exp(-logits))
    assert np.allclose(alpha, 0.1 * weight * (y[:, None] - share), atol=1e-3 * np.abs(alpha).max())
    assert abs(alpha.sum()) < 1e-3 * np.abs(alpha).sum()


def test_rows_of_weight_zero_are_as_if_absent():
    X, y = _rows()
    weight = np.ones((120, 1))
    weight[80:] = 0
    whole = dual_logistic(gram([X]), y[:, None], balance(y[:, None], weight), [0.01])
    part = dual_logistic(gram([X[:80]]), y[:80, None], balance(y[:80, None], weight[:80]), [0.01])
    assert np.allclose(whole[0][:80], part[0], atol=1e-6)
    assert not whole[0][80:].any()


def test_both_classes_weigh_the_same_and_add_up_to_the_rows():
    y = np.array([[1, 0], [0, 0], [0, 1], [0, 1]])
    weight = balance(y, np.array([[1.0, 1], [1, 1], [1, 0], [1, 1]]))
    assert weight[:, 0].tolist() == [2.0, 2 / 3, 2 / 3, 2 / 3]
    assert weight[:, 1].tolist() == [0.75, 0.75, 0.0, 1.5]


def test_numbers_that_are_not_finite_are_refused():
    with pytest.raises(BadFeatures, match="no columns, or numbers that are not finite"):
        gram([np.array([[1.0], [np.nan]], dtype=np.float32)])
    with pytest.raises(BadFeatures, match="no columns"):
        gram([])
    with pytest.raises(BadFeatures, match="not finite"):
        dual_logistic(
            Streamed(lambda: [np.full((4, 9), np.inf, dtype=np.float32)]),
            np.arange(4)[:, None] % 2,
            np.ones((4, 1)),
            [1.0],
        )
