"""Tests ``detect/variance_shares.py``: shares of the variance of a logit, beside the Shapley value itself."""

from itertools import combinations
from math import factorial

import numpy as np
import pytest

from splinelens.detect.heads import LinearHead
from splinelens.detect.variance_shares import VarianceShares
from splinelens.errors import BadTexts


def make(columns=4, rows=60, seed=0):
    rng = np.random.default_rng(seed)
    values = rng.normal(size=(rows, columns)) @ rng.normal(size=(columns, columns)) + 3
    weight = rng.normal(size=(1, columns))
    head = LinearHead(values.mean(0), values.std(0), weight, np.array([0.5]))
    return head, values


def gathered(head, values):
    shares = VarianceShares(head)
    logits = [shares.add(row) for row in values]
    np.testing.assert_allclose(logits, head.logit(values)[:, 0])
    return shares.shares()


def test_two_columns_by_hand():
    head = LinearHead(np.zeros(2), np.ones(2), np.array([[1.0, 1.0]]), np.zeros(1))
    # Contributions (1, 0), (-1, 0), (0, 2), (0, -2): variances 1/2 and 2, no covariance.
    shares = gathered(head, np.array([[1.0, 0], [-1, 0], [0, 2], [0, -2]]))
    np.testing.assert_allclose(shares, [0.2, 0.8])


def test_shares_sum_to_one_and_a_column_against_the_others_has_a_negative_one():
    head = LinearHead(np.zeros(2), np.ones(2), np.array([[2.0, -1.0]]), np.zeros(1))
    shares = gathered(head, np.array([[1.0, 1.0], [2.0, 2.0], [5.0, 5.0]]))
    np.testing.assert_allclose(shares, [2.0, -1.0])
    assert gathered(*make()).sum() == pytest.approx(1)


def test_a_share_is_the_shapley_value_of_the_variance():
    head, values = make()
    contributions = head.contributions(values)
    columns = range(contributions.shape[1])

    def worth(coalition):
        return contributions[:, list(coalition)].sum(1).var() if coalition else 0.0

    expected = []
    for column in columns:
        others, value = [one for one in columns if one != column], 0.0
        for size in range(len(others) + 1):
            weight = factorial(size) * factorial(len(others) - size) / factorial(len(others) + 1)
            for chosen in combinations(others, size):
                value += weight * (worth((*chosen, column)) - worth(chosen))
        expected.append(value / worth(tuple(columns)))
    np.testing.assert_allclose(gathered(head, values), expected, rtol=1e-9)


def test_a_mean_far_from_zero_costs_no_digits():
    head, values = make()
    far = LinearHead(np.zeros(4), np.ones(4), head.weight, head.bias)
    np.testing.assert_allclose(gathered(far, values + 1e6), gathered(far, values), rtol=1e-6)


def test_rows_without_a_finite_logit_are_left_out():
    head, values = make()
    with_nan = np.concatenate([values[:5], np.full((1, 4), np.nan), values[5:]])
    np.testing.assert_allclose(gathered(head, with_nan), gathered(head, values))


@pytest.mark.parametrize("rows", [0, 1, 5])
def test_equal_texts_have_no_variance_to_share(rows):
    head, values = make()
    shares = VarianceShares(head)
    for _ in range(rows):
        shares.add(values[0])
    with pytest.raises(BadTexts, match=f"the {rows} texts that could be read have all the same score"):
        shares.shares()
