"""Tests of how sparsity is shared out among blocks."""

import numpy as np
import pytest
import torch

from splinelens.errors import BadFeatures
from splinelens.geometry.allocation import (
    MOST,
    exact_counts,
    fitted_ratios,
    median_metric,
    outlier_share,
    scaled_ratios,
    shifted_ratios,
)

SCORES = np.array([2.1, 5.0, 3.3, 4.4, 2.0])
SIZES = np.array([100, 400, 300, 250, 999])


@pytest.mark.parametrize("ratios_of", [scaled_ratios, shifted_ratios])
@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.9, MOST])
@pytest.mark.parametrize("spread", [0.0, 0.1, 0.3, 2.0])
def test_every_ratio_can_be_and_the_blocks_lose_the_sparsity(ratios_of, sparsity, spread):
    ratios = ratios_of(SCORES, SIZES, sparsity, spread)
    assert ratios.min() >= 0
    assert ratios.max() <= MOST
    assert np.average(ratios, weights=SIZES) == pytest.approx(sparsity, abs=1e-12)
    assert np.all(np.diff(ratios[SCORES.argsort()]) >= 0)


@pytest.mark.parametrize("ratios_of", [scaled_ratios, shifted_ratios])
def test_no_spread_and_equal_scores_are_uniform(ratios_of):
    assert np.allclose(ratios_of(SCORES, SIZES, 0.37, 0.0), 0.37, rtol=1e-12)
    assert np.allclose(ratios_of(np.full(5, 3.0), SIZES, 0.37, 0.3), 0.37, rtol=1e-12)


def test_ratios_above_the_limit_are_given_to_the_other_blocks():
    scores, sizes = np.arange(32.0), np.ones(32, int)
    factors = 1 + 0.3 * (2 * scores / 31 - 1)
    assert (factors * 0.8 > MOST).sum() == 4  # as published they would lose more than all their weights
    ratios = scaled_ratios(scores, sizes, 0.8, 0.3)
    assert (ratios == MOST).sum() >= 4
    assert ratios.mean() == pytest.approx(0.8, abs=1e-12)


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.5, 0.61803, MOST])
def test_counts_meet_the_sparsity_to_one_weight(sparsity):
    sizes = np.array([331776, 110592, 110592, 331776, 884736, 884736, 884736] * 5)
    ratios = np.repeat(scaled_ratios(SCORES, np.ones(5, int), sparsity, 0.3), 7)
    counts = exact_counts(ratios, sizes, sparsity)
    assert counts.sum() == round(sparsity * int(sizes.sum()))
    assert np.all(np.abs(counts - ratios * sizes) < 1)


def test_impossible_sparsities_are_refused():
    for sparsity in (-0.1, 1.0, 1.5, float("nan")):
        with pytest.raises(BadFeatures, match=r"is not in \[0, 1\)"):
            fitted_ratios(SCORES, SIZES, sparsity)
    with pytest.raises(BadFeatures, match=r"a sparsity of 0\.995 cannot be reached"):
        fitted_ratios(SCORES, SIZES, 0.995)


def test_block_scores_by_hand():
    metrics = [torch.tensor([[1.0, 1.0, 1.0, 1.0]]), torch.tensor([[1.0, 1.0], [1.0, 33.0]])]
    assert outlier_share(metrics) == 1 / 8  # the mean is 5, the limit 25
    assert outlier_share([10 * metric for metric in metrics]) == 1 / 8
    assert median_metric(metrics) == 1
