"""Tests detect/fusion.py: what the weights are, and that none is negative."""

import numpy as np
import pytest

from splinelens.detect.fusion import fit_fusion
from splinelens.errors import BadFeatures


def pairs(rng, count=400):
    """Cosines of a good view, a weak one and one that is worse than nothing."""
    match = rng.random(count) < 0.3
    noise = rng.normal(size=(3, count))
    views = {"good": 2 * match + noise[0], "weak": 0.5 * match + noise[1], "wrong": noise[2] - match}
    return views, match


def test_better_views_weigh_more_and_wrong_ones_nothing():
    weights = fit_fusion(*pairs(np.random.default_rng(0)))
    assert weights["good"].weight > weights["weak"].weight > 0 == weights["wrong"].weight
    assert sum(view.weight for view in weights.values()) == pytest.approx(1)


def test_the_baseline_is_the_mean_of_pairs_that_do_not_match():
    views, match = pairs(np.random.default_rng(0))
    assert fit_fusion(views, match)["good"].baseline == pytest.approx(views["good"][~match].mean())


def test_the_unit_of_a_view_does_not_matter():
    views, match = pairs(np.random.default_rng(0))
    weights = fit_fusion(views, match)
    scaled = fit_fusion(views | {"weak": 10 * views["weak"]}, match)
    ratio = weights["weak"].weight / weights["good"].weight
    assert 10 * scaled["weak"].weight / scaled["good"].weight == pytest.approx(ratio, rel=1e-3)


@pytest.mark.parametrize("match", [[True, True], [False, False]])
def test_pairs_of_one_kind_are_refused(match):
    with pytest.raises(BadFeatures, match="one kind is missing"):
        fit_fusion({"a": np.array([0.1, 0.2])}, np.array(match))


def test_views_that_only_mislead_are_refused():
    with pytest.raises(BadFeatures, match="nothing to fuse"):
        fit_fusion({"a": np.array([0.9, 0.1])}, np.array([False, True]))
