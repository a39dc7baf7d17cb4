"""Tests ``detect/curves.py``: rates by hand, against scikit-learn, thinning, and what is refused."""

import numpy as np
import pytest
from sklearn.metrics import precision_recall_curve, roc_curve

from splinelens.detect.curves import operating_points, reliability, sweep
from splinelens.errors import BadFeatures, BadLabels


def random_scores(rows=500, decimals=2, seed=0):
    rng = np.random.default_rng(seed)
    labels = (rng.random(rows) < 0.3).astype(int)
    return labels, (0.2 * labels + 0.8 * rng.random(rows)).round(decimals)


def test_rates_by_hand():
    found = sweep(np.array([0, 1, 0, 1]), np.array([0.1, 0.4, 0.4, 0.9]))
    assert found.threshold[1:] == (0.9, 0.4, 0.1)
    assert found.threshold[0] > 0.9
    assert found.recall == (0.0, 0.5, 1.0, 1.0)
    assert found.false_positive_rate == (0.0, 0.0, 0.5, 1.0)
    assert found.precision == (None, 1.0, pytest.approx(2 / 3), 0.5)


def test_the_curves_are_those_of_scikit_learn():
    labels, scores = random_scores()
    found = sweep(labels, scores, most=10_000)
    rate, recall, _ = roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(found.false_positive_rate, rate)
    np.testing.assert_allclose(found.recall, recall)
    precision, _, _ = precision_recall_curve(labels, scores)
    np.testing.assert_allclose(found.precision[:0:-1], precision[:-1])


def test_thinned_curves_keep_their_ends_and_lie_on_the_curve():
    labels, scores = random_scores(5000, decimals=8)
    found, whole = sweep(labels, scores, most=100), sweep(labels, scores, most=10_000)
    assert 50 < len(found.threshold) <= 100
    assert (found.recall[0], found.recall[-1]) == (0.0, 1.0)
    exact = dict(zip(whole.threshold, zip(whole.recall, whole.precision, strict=True), strict=True))
    for threshold, recall, precision in zip(found.threshold, found.recall, found.precision, strict=True):
        assert exact[threshold] == (recall, precision)
    steps = np.abs(np.diff(found.recall)) + np.abs(np.diff(found.false_positive_rate))
    assert steps.max() < 0.05


def test_kept_thresholds_are_among_the_points():
    labels, scores = random_scores(5000, decimals=8)
    found = sweep(labels, scores, keep=[0.512345], most=50)
    at = found.threshold.index(0.512345)
    assert found.recall[at] == pytest.approx((scores[labels == 1] >= 0.512345).mean())


def test_operating_points_by_hand():
    labels, scores = np.array([0] * 100 + [1] * 10), np.r_[np.arange(100) / 100, np.full(10, 0.9)]
    (point,) = operating_points(labels, scores, {"five": 0.95}, 0.1)
    assert (point.recall, point.precision) == (0.0, 0.0)
    (point,) = operating_points(labels, scores, {"ten": 0.9}, 0.1)
    assert (point.recall, point.false_positive_rate) == (1.0, 0.1)
    assert point.false_positives == pytest.approx(900)
    assert point.precision == pytest.approx(0.1 / (0.1 + 0.09))
    assert point.false_positive_interval[0] < 0.1 < point.false_positive_interval[1]


def test_a_threshold_that_flags_nothing_has_no_precision():
    (point,) = operating_points(*random_scores(), {"none": 2.0}, 0.5)
    assert (point.precision, point.false_positives) == (None, 0.0)


def test_at_the_prevalence_of_the_rows_precision_is_that_of_the_rows():
    labels, scores = random_scores()
    (point,) = operating_points(labels, scores, {"half": 0.5}, float(labels.mean()))
    assert point.precision == pytest.approx(labels[scores >= 0.5].mean())


def test_bins_hold_all_rows_and_equal_scores_share_one():
    labels, scores = random_scores(decimals=1)
    bins = reliability(labels, scores, 15)
    assert sum(part.count for part in bins) == len(labels)
    assert len(bins) <= len(np.unique(scores))
    assert sum(part.count * part.share for part in bins) == pytest.approx(labels.sum())
    assert all(part.interval[0] <= part.share <= part.interval[1] for part in bins)
    assert [part.score for part in bins] == sorted(part.score for part in bins)


def test_one_class_missing_scores_and_odd_prevalences_are_refused():
    with pytest.raises(BadLabels, match="one class only"):
        sweep(np.zeros(5, int), np.ones(5))
    with pytest.raises(BadFeatures, match="not finite"):
        reliability(np.array([0, 1]), np.array([0.1, np.nan]))
    for share in (0.0, 1.0, 5.0):
        with pytest.raises(BadLabels, match="between 0 and 1"):
            operating_points(np.array([0, 1]), np.array([0.1, 0.2]), {}, share)
