"""Tests detect/fusion.py: what the weights are, that none is negative, and groups of similar rows."""

import numpy as np
import pytest

from splinelens.detect.fusion import Fusion, fit_fusion, similar_groups
from splinelens.errors import BadFeatures


def queries(rng, count=200):
    """Cosines of 10 candidates in a good view, a weak one and one that is worse than nothing."""
    match = np.arange(10) == rng.integers(10, size=(count, 1))
    noise = rng.normal(size=(3, count, 10))
    return {"good": 2 * match + noise[0], "weak": 0.5 * match + noise[1], "wrong": noise[2] - match}, match


def test_better_views_weigh_more_and_wrong_ones_nothing():
    weights = fit_fusion(*queries(np.random.default_rng(0))).weights
    assert weights["good"] > weights["weak"] > 0 == weights["wrong"]
    assert sum(weights.values()) == pytest.approx(1)


def test_the_baseline_is_the_mean_of_what_does_not_match():
    views, match = queries(np.random.default_rng(0))
    assert fit_fusion(views, match).baselines["good"] == pytest.approx(views["good"][~match].mean())


def test_the_unit_of_a_view_does_not_matter():
    views, match = queries(np.random.default_rng(0))
    weights = fit_fusion(views, match).weights
    scaled = fit_fusion(views | {"weak": 10 * views["weak"]}, match).weights
    ratio = weights["weak"] / weights["good"]
    assert 10 * scaled["weak"] / scaled["good"] == pytest.approx(ratio, rel=1e-3)


def test_a_match_that_is_not_similar_costs_nothing_beside_one_that_is():
    views, match = queries(np.random.default_rng(0))
    more = np.concatenate([match, np.ones((len(match), 1), bool)], axis=1)
    far = {
        name: np.concatenate([each, np.full((len(match), 1), -9.0)], axis=1) for name, each in views.items()
    }
    weights, other = fit_fusion(views, match).weights, fit_fusion(far, more).weights
    ratio = weights["weak"] / weights["good"]
    assert other["weak"] / other["good"] == pytest.approx(ratio, rel=0.1)


@pytest.mark.parametrize("match", [[[True, True]], [[False, False]]])
def test_queries_without_a_match_or_without_others_are_refused(match):
    with pytest.raises(BadFeatures, match="there is none"):
        fit_fusion({"a": np.array([[0.1, 0.2]])}, np.array(match))


def test_views_that_only_mislead_are_refused():
    with pytest.raises(BadFeatures, match="nothing to fuse"):
        fit_fusion({"a": np.array([[0.9, 0.1]])}, np.array([[False, True]]))


def test_a_view_that_is_missing_has_no_part_in_the_mean():
    fusion = Fusion({"words": 0.3, "code": 0.7}, {"words": 0.0, "code": 0.0})
    assert fusion.score({"words": np.array(0.5)}) == pytest.approx(0.5)
    assert fusion.score({"words": np.array(0.5), "code": np.array(1.0)}) == pytest.approx(0.85)


def test_the_reason_is_the_view_that_is_furthest_above_its_baseline():
    fusion = Fusion({"words": 0.5, "code": 0.5}, {"words": 0.1, "code": 0.8})
    assert fusion.reason({"words": 0.4, "code": 0.9}) == "words"
    assert fusion.reason({"words": 0.1, "code": 0.9}) == "code"
    assert fusion.reason({"words": -0.1, "code": 0.7}) == "code"


def test_a_view_without_weight_is_no_reason():
    fusion = Fusion({"structure": 0.0, "words": 1.0}, {"structure": 0.2, "words": 0.2})
    assert fusion.reason({"structure": 1.0, "words": 0.1}) == "words"


def test_views_that_cannot_be_fused_are_refused():
    fusion = Fusion({"words": 0.0, "code": 1.0}, {"words": 0.0, "code": 0.0})
    with pytest.raises(BadFeatures, match="no weight for summary; it has words, code"):
        fusion.score({"summary": np.array(0.5)})
    for cosines in ({"words": np.array(0.5)}, {}):
        with pytest.raises(BadFeatures, match="a view whose weight is above 0"):
            fusion.score(cosines)


def test_groups_are_the_rows_of_planted_copies():
    rng = np.random.default_rng(0)
    copy_of = rng.permutation(np.repeat([0, 1, 2, 3, 4, 5], [2, 3, 4, 1, 1, 1]))
    rows = np.linalg.qr(rng.normal(size=(6, 6)))[0][copy_of]
    groups = similar_groups(rows @ rows.T, 2)
    planted = [np.flatnonzero(copy_of == each).tolist() for each in range(3)]
    assert sorted(group.tolist() for group in groups) == sorted(planted)


def test_rows_that_are_equally_similar_make_no_two_groups():
    assert len(similar_groups(np.full((4, 4), 0.5), 2)) <= 1
