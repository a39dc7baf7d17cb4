"""Tests detect/fusion.py: what the weights are, and that none is negative."""

import numpy as np
import pytest

from splinelens.detect.fusion import fit_fusion
from splinelens.errors import BadFeatures


def queries(rng, count=200):
    """Cosines of 10 candidates in a good view, a weak one and one that is worse than nothing."""
    match = np.arange(10) == rng.integers(10, size=(count, 1))
    noise = rng.normal(size=(3, count, 10))
    return {"good": 2 * match + noise[0], "weak": 0.5 * match + noise[1], "wrong": noise[2] - match}, match


def test_better_views_weigh_more_and_wrong_ones_nothing():
    weights = fit_fusion(*queries(np.random.default_rng(0)))
    assert weights["good"].weight > weights["weak"].weight > 0 == weights["wrong"].weight
    assert sum(view.weight for view in weights.values()) == pytest.approx(1)


def test_the_baseline_is_the_mean_of_what_does_not_match():
    views, match = queries(np.random.default_rng(0))
    assert fit_fusion(views, match)["good"].baseline == pytest.approx(views["good"][~match].mean())


def test_the_unit_of_a_view_does_not_matter():
    views, match = queries(np.random.default_rng(0))
    weights = fit_fusion(views, match)
    scaled = fit_fusion(views | {"weak": 10 * views["weak"]}, match)
    ratio = weights["weak"].weight / weights["good"].weight
    assert 10 * scaled["weak"].weight / scaled["good"].weight == pytest.approx(ratio, rel=1e-3)


def test_a_match_that_is_not_similar_costs_nothing_beside_one_that_is():
    views, match = queries(np.random.default_rng(0))
    more = np.concatenate([match, np.ones((len(match), 1), bool)], axis=1)
    far = {
        name: np.concatenate([each, np.full((len(match), 1), -9.0)], axis=1) for name, each in views.items()
    }
    weights, other = fit_fusion(views, match), fit_fusion(far, more)
    ratio = weights["weak"].weight / weights["good"].weight
    assert other["weak"].weight / other["good"].weight == pytest.approx(ratio, rel=0.1)


@pytest.mark.parametrize("match", [[[True, True]], [[False, False]]])
def test_queries_without_a_match_or_without_others_are_refused(match):
    with pytest.raises(BadFeatures, match="there is none"):
        fit_fusion({"a": np.array([[0.1, 0.2]])}, np.array(match))


def test_views_that_only_mislead_are_refused():
    with pytest.raises(BadFeatures, match="nothing to fuse"):
        fit_fusion({"a": np.array([[0.9, 0.1]])}, np.array([[False, True]]))
