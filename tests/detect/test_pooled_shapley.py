"""Tests ``detect/pooled_shapley.py``: values of words beside the definition over all orders."""

from itertools import permutations

import numpy as np
import pytest

from splinelens.detect.heads import LinearHead
from splinelens.detect.pooled_shapley import firing_words, shapley_of_words
from splinelens.errors import BadFeatures

POOLINGS = ["max", "min", "mean", "last"]


def make(tokens=7, size=3, seed=0, poolings=POOLINGS):
    rng = np.random.default_rng(seed)
    columns = size * len(poolings)
    head = LinearHead(
        rng.normal(size=columns), rng.uniform(0.5, 2, columns), rng.normal(size=(1, columns)), np.array([0.3])
    )
    return rng.normal(size=(tokens, size)), head


def pooled(margins, poolings):
    parts = {"max": margins.max(0), "min": margins.min(0), "mean": margins.mean(0), "last": margins[-1]}
    return np.concatenate([parts[pooling] for pooling in poolings])


@pytest.mark.parametrize("poolings", [["max"], ["min"], ["max", "min"]])
def test_the_value_is_the_mean_gain_over_all_orders(poolings):
    margins, head = make(poolings=poolings)
    word = np.array([0, 0, 1, 2, 2, 2, 3])

    def worth(coalition):
        held = np.isin(word, coalition)
        return head.contributions(pooled(margins[held], poolings)[None])[0].sum() if held.any() else 0.0

    expected = np.zeros(4)
    for order in permutations(range(4)):
        for at, one in enumerate(order):
            expected[one] += worth(order[: at + 1]) - worth(order[:at])
    found = shapley_of_words(margins, word, 4, head, poolings)
    np.testing.assert_allclose(found, expected / 24, atol=1e-12)


def test_values_sum_to_the_logit_less_its_bias():
    margins, head = make()
    found = shapley_of_words(margins, np.array([0, 1, 1, 3, 3, 4, 5]), 6, head, POOLINGS)
    logit = head.logit(pooled(margins, POOLINGS)[None])[0, 0]
    assert found.sum() == pytest.approx(logit - 0.3)
    assert found[2] == 0  # has no token


def test_words_that_fire_alike_have_one_value():
    head = LinearHead(np.zeros(1), np.ones(1), np.ones((1, 1)), np.zeros(1))
    found = shapley_of_words(np.array([[6.0], [0.0], [6.0]]), np.arange(3), 3, head, ["max"])
    assert found.tolist() == [3.0, 0.0, 3.0]


def test_means_and_last_values_are_split_by_token():
    margins, head = make(poolings=["mean", "last"])
    found = shapley_of_words(margins, np.arange(7), 7, head, ["mean", "last"])
    slope = head.weight[0] / head.scale
    expected = (margins - head.mean[:3]) @ slope[:3] / 7
    expected[-1] += (margins[-1] - head.mean[3:]) @ slope[3:]
    np.testing.assert_allclose(found, expected)


def test_a_head_of_other_columns_is_refused():
    margins, head = make()
    with pytest.raises(BadFeatures, match="3 margins pooled in 1 ways do not fit a head of 12 columns"):
        shapley_of_words(margins, np.arange(7), 7, head, ["max"])


def test_no_word_fires_where_none_adds_anything():
    assert not firing_words(np.array([-1.0, -2.0]), np.zeros(2, dtype=bool)).any()
    assert firing_words(np.zeros(0), np.zeros(0, dtype=bool)).tolist() == []
