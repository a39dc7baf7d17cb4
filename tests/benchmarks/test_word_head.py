"""Tests ``benchmarks/word_head.py``: its measure by hand, its limits and its regression beside slow code."""

from itertools import product

import numpy as np
import pytest
import word_head


def row(gold, columns=None):
    """The words of "you silly goose"."""
    bounds = [(0, 3), (4, 9), (10, 15)]
    values = np.array([0.1, 1.0, 2.0])
    read = np.zeros((3, 2)) if columns is None else columns
    return word_head.Row(bounds, ["you", "silly", "goose"], frozenset(gold), values, values, read)


def test_the_characters_between_neighbors_count():
    gold = range(4, 15)
    assert row(gold).f1(np.array([False, True, True])) == 1.0
    assert row(gold).f1(np.array([False, False, True])) == pytest.approx(2 * 5 / (5 + 11))
    assert row([]).f1(np.array([False] * 3)) == 1.0
    assert row([]).f1(np.array([True, False, False])) == 0.0


def test_a_word_is_marked_from_more_than_half_of_its_characters_on():
    assert row([4, 5, 6, 10, 11]).marked.tolist() == [0.0, 1.0, 0.0]


def test_the_best_limits_are_the_best_of_all():
    rows = [row(range(4, 15)), row(range(10, 15)), row([])]
    rng = np.random.default_rng(0)
    scores = [rng.uniform(size=3) for _ in rows]
    shares, least = (0.2, 0.5, 0.9), (0.0, 0.3, 0.6)

    def mean(share, limit):
        marks = [(score >= share * score.max()) & (score >= limit) for score in scores]
        return np.mean([one.f1(mark) for one, mark in zip(rows, marks, strict=True)])

    expected = max((mean(*limits), *limits) for limits in product(shares, least))
    assert word_head.best_limits(rows, scores, shares, least) == pytest.approx(expected)


def test_the_regression_leaves_out_a_fold():
    rng = np.random.default_rng(0)
    gold = [range(4, 9), range(10, 15), []]
    rows = [row(gold[at % 3], rng.normal(size=(3, 2))) for at in range(20)]
    folds = np.arange(20) % 4
    ridge = word_head.Ridge(rows, folds)
    head = ridge.head(300.0, without=1)
    kept = [one for one, fold in zip(rows, folds, strict=True) if fold != 1]
    x = ridge.standardized(np.concatenate([one.columns for one in kept]))
    y = np.concatenate([one.marked for one in kept])
    expected = np.linalg.solve(x.T @ x + 300.0 * len(x) / 1e5 * np.eye(3), x.T @ y)
    np.testing.assert_allclose(np.concatenate([head.weight[0], head.bias]), expected)
    assert not np.allclose(ridge.head(300.0).weight, head.weight)
