"""Tests ``detect/thresholds.py``: calibrated scores and thresholds that keep their promise."""

from itertools import pairwise
from math import comb

import numpy as np
import pytest

from splinelens.detect.bootstrap import ScoreHistogram
from splinelens.detect.calibration import Calibration, calibrate, shifted_score
from splinelens.detect.curves import reliability
from splinelens.detect.thresholds import (
    Threshold,
    moved_threshold,
    proportion_interval,
    score_at_fpr,
    share_interval,
    threshold_between,
    thresholds,
)
from splinelens.errors import BadDetector, BadFeatures, BadLabels


def sample(n=500, seed=0, distinct=None):
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(int)
    scores = 1 / (1 + np.exp(-rng.normal(labels, 1)))
    return labels, (np.round(scores * distinct) / distinct if distinct else scores)


@pytest.mark.parametrize("distinct", [None, 200, 20, 2])
@pytest.mark.parametrize("n", [30, 101, 1000])
@pytest.mark.parametrize("seed", range(3))
def test_the_target_is_kept_and_no_lower_score_keeps_it(seed, n, distinct):
    labels, scores = sample(n, seed, distinct)
    clean, toxic = scores[labels == 0], scores[labels == 1]
    for found in thresholds(labels, scores, [0.01, 0.05, 0.29, 0.5]):
        assert found.rate == (clean >= found.score).mean() <= found.target
        assert found.recall == (toxic >= found.score).mean()
        lower = clean[clean < found.score].max()
        assert (clean >= lower).mean() > found.target
        low, high = found.interval
        assert 0 <= low <= found.rate <= high <= 1


def test_a_threshold_by_hand():
    labels = np.r_[np.zeros(20), np.ones(4)].astype(int)
    scores = np.r_[np.arange(20) / 20, 0.90, 0.95, 0.96, 0.97]
    [found] = thresholds(labels, scores, [0.05])  # one of 20 may fire: 0.95; not 0.90
    assert found.score == np.nextafter(0.90, 1)
    assert (found.rate, found.recall) == (0.05, 0.75)


def test_recall_and_precision_have_intervals_by_hand():
    labels = np.r_[np.zeros(20), np.ones(4)].astype(int)
    [found] = thresholds(labels, np.r_[np.arange(20) / 20, 0.90, 0.95, 0.96, 0.97], [0.05])
    assert (found.precision, found.precision_interval) == (3 / 4, proportion_interval(3, 4))
    assert found.recall_interval == proportion_interval(3, 4)
    [none] = thresholds(np.array([0, 1]), np.array([0.9, 0.1]), [0.05])
    assert (none.recall, none.precision, none.precision_interval) == (0.0, None, None)


def test_no_threshold_is_below_the_floor_and_the_target_is_kept():
    labels = np.r_[np.zeros(20), np.ones(4)].astype(int)
    scores = np.r_[np.arange(20) / 200, 0.02, 0.05, 0.3, 0.4]
    free, floored = (thresholds(labels, scores, [0.05], floor=floor)[0] for floor in (0.0, 0.25))
    assert free.score < 0.1
    assert (floored.score, floored.rate, floored.recall, floored.precision) == (0.25, 0.0, 0.5, 1.0)
    assert thresholds(labels, scores, [0.05], floor=0.01)[0] == free
    for floor in (-0.1, 1.1, np.nan):
        with pytest.raises(BadDetector, match="is no lowest threshold; give a score from 0 to 1"):
            thresholds(labels, scores, [0.05], floor=floor)


def test_clean_rows_that_tie_fire_together_or_not_at_all():
    labels = np.r_[np.zeros(20), 1].astype(int)
    [found] = thresholds(labels, np.r_[np.zeros(17), 0.6, 0.6, 0.6, 0.6], [0.1])  # 2 may fire, 3 tie
    assert found.score > 0.6
    assert (found.rate, found.recall) == (0.0, 0.0)


def test_with_few_clean_rows_none_may_fire():
    labels = np.r_[np.zeros(10), 1, 1].astype(int)
    [found] = thresholds(labels, np.r_[np.arange(10) / 10, 0.95, 0.5], [0.01])
    assert found.score == np.nextafter(0.9, 1)
    assert (found.rate, found.recall) == (0.0, 0.5)
    assert found.interval == pytest.approx((0, 1 - 0.025 ** (1 / 10)))  # (1 - p)^10 = 0.025


def test_saturated_clean_scores_put_the_threshold_above_one():
    [found] = thresholds(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 1.0, 0.2]), [0.05])
    assert found.score > 1
    assert (found.rate, found.recall) == (0, 0)


@pytest.mark.parametrize("target", [0.29, 0.57, 0.07, np.nextafter(0.07, 0)])
def test_the_rate_that_a_float_can_not_hold_is_kept_all_the_same(target):
    clean = np.arange(100.0)
    fired = (clean > score_at_fpr(clean, target)).sum()
    assert fired / 100 <= target < (fired + 1) / 100


@pytest.mark.parametrize("total", [10, 57])
def test_the_interval_of_a_share_is_where_the_binomial_tails_are_one_fortieth(total):
    def tail(p, counts):
        return sum(comb(total, k) * p**k * (1 - p) ** (total - k) for k in counts)

    for count in range(total + 1):
        low, high = proportion_interval(count, total)
        assert 0 <= low <= count / total <= high <= 1
        if count:
            assert tail(low, range(count, total + 1)) == pytest.approx(0.025)
        if count < total:
            assert tail(high, range(count + 1)) == pytest.approx(0.025)
    assert proportion_interval(0, total)[0] == 0
    assert proportion_interval(total, total)[1] == 1


@pytest.mark.parametrize(
    ("slope", "intercept", "scale"), [(1.0, 0.0, 1.0), (0.4, -1.0, 1.0), (2e-3, 0.5, 1e3)]
)
def test_calibration_finds_the_slope_that_made_the_labels(slope, intercept, scale):
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 2 * scale, 20_000)
    labels = (rng.random(20_000) < 1 / (1 + np.exp(-(slope * logits + intercept)))).astype(int)
    found = calibrate(labels, logits)
    assert found.slope == pytest.approx(slope, rel=0.05)
    assert found.intercept == pytest.approx(intercept, abs=0.06)


def test_calibration_is_the_minimum_of_its_loss():
    labels, logits = sample(300)
    positives = labels.sum()
    target = np.where(labels == 1, (positives + 1) / (positives + 2), 1 / (300 - positives + 2))
    found = calibrate(labels, logits)
    error = found.score(logits) - target  # the gradient of the log loss by the calibrated logit
    assert abs(error.mean()) < 1e-5
    assert abs((error * logits).mean()) < 1e-5


def test_rescaling_and_shifting_logits_leaves_scores_alone():
    labels, logits = sample(300)
    expected = calibrate(labels, logits).score(logits)
    moved = logits * 1e4 - 3e4
    assert np.allclose(calibrate(labels, moved).score(moved), expected, atol=1e-6)


def test_logits_that_separate_perfectly_get_a_finite_slope():
    labels, logits = np.repeat([0, 1], 20), np.repeat([-3.0, 3.0], 20)
    found = calibrate(labels, logits)
    assert found.score(np.array([3.0]))[0] == pytest.approx(21 / 22, abs=1e-4)  # Platt's target
    assert found.score(np.array([-3.0]))[0] == pytest.approx(1 / 22, abs=1e-4)


def test_logits_that_fall_with_the_labels_are_refused():
    with pytest.raises(BadLabels, match=r"do not rise with the labels \(slope -.*check the label column"):
        calibrate(np.repeat([0, 1], 20), np.linspace(1, -1, 40))


@pytest.mark.parametrize("positives", [20, 40])
def test_equal_logits_are_refused(positives):
    labels = (np.arange(60) < positives).astype(int)
    with pytest.raises(BadLabels, match=r"do not rise with the labels \(slope 0\)"):
        calibrate(labels, np.full(60, 0.7))  # their mean is not quite 0.7


def test_scores_rise_with_logits_and_stay_in_zero_to_one():
    logits = np.array([-1e300, -800.0, *np.linspace(-30, 30, 1001), 800.0, 1e300])
    scores = Calibration(1.5, -0.5).score(logits)
    assert (np.diff(scores) >= 0).all()
    assert scores[0] >= 0
    assert scores[-1] <= 1
    middle = np.linspace(-10, 10, 1001)
    assert (np.diff(Calibration(1.5, -0.5).score(middle)) > 0).all()


def test_a_calibrated_logit_that_is_not_finite_has_no_score():
    assert np.isnan(Calibration(1.5, -0.5).score(np.array([np.nan, np.inf, -np.inf]))).all()
    assert np.isnan(Calibration(1e300, 0.0).score(np.array([-1e300, 1e300]))).all()


def test_a_score_is_the_logistic_function_of_the_calibrated_logit():
    calibration = Calibration(2.0, -1.0)
    assert calibration.logit(np.array([1.0])).tolist() == [1.0]
    assert calibration.score(np.array([0.5, 1.0])) == pytest.approx([0.5, 1 / (1 + np.exp(-1))])


def test_no_logit_gives_no_score():
    assert np.isnan(Calibration(1.0, 0.0).score(np.array([np.nan, 1.0]))).tolist() == [True, False]


@pytest.mark.parametrize("fitted", [calibrate, thresholds])
def test_one_class_is_refused(fitted):
    with pytest.raises(BadLabels, match="the 4 out-of-fold rows hold one class only"):
        fitted(np.zeros(4, dtype=int), np.arange(4.0))


@pytest.mark.parametrize("fitted", [calibrate, thresholds])
def test_numbers_that_are_not_finite_are_refused(fitted):
    with pytest.raises(BadFeatures, match="2 of 4 out-of-fold numbers are not finite; leave out rows"):
        fitted(np.array([0, 1, 0, 1]), np.array([0.1, np.nan, 0.2, np.inf]))


@pytest.mark.parametrize("target", [0.0, 1.0, 5.0, -0.1])
def test_a_target_that_is_no_rate_is_refused(target):
    with pytest.raises(BadDetector, match="is no false-positive rate to aim at; give one between 0 and 1"):
        thresholds(*sample(50), [target])


def test_prior_shift_multiplies_the_odds():
    assert shifted_score(0.9, 0.5, 0.02) == pytest.approx(9 * 0.02 / 0.98 / (1 + 9 * 0.02 / 0.98))
    assert shifted_score(0.3, 0.2, 0.2) == pytest.approx(0.3)
    assert shifted_score(np.nextafter(1, 2), 0.5, 0.02) > 1  # still nothing is at or above it
    calibration = Calibration(1.5, -0.5, 0.4)
    plain, moved = calibration.score(np.array([-3.0, 0.0, 2.0])), calibration.shifted(0.4, 0.05)
    expected = [shifted_score(score, 0.4, 0.05) for score in plain.tolist()]
    assert moved.score(np.array([-3.0, 0.0, 2.0])) == pytest.approx(expected, rel=1e-12)
    assert moved.share == 0.05


def test_scores_shifted_to_the_share_of_other_rows_are_probabilities_there():
    rng = np.random.default_rng(0)
    labels = np.arange(40_000) % 2
    scores = Calibration(1.0, 0.0).score(labels * 2.0 - 1.0 + rng.normal(size=40_000) * 2**0.5)
    moved = np.array([shifted_score(score, 0.5, 0.1) for score in scores.tolist()])
    rare = np.flatnonzero((labels == 0) | (rng.random(40_000) < 1 / 9))  # a tenth of them positive
    drawn = ScoreHistogram.of(labels[rare], moved[rare])
    assert drawn.calibration_error() < 0.01 < 0.1 < ScoreHistogram.of(labels, moved).calibration_error()
    weighted = ScoreHistogram.of(labels, moved).reweighted(0.1)
    assert weighted.calibration_error() == pytest.approx(drawn.calibration_error(), abs=5e-3)
    assert weighted.brier() == pytest.approx(drawn.brier(), abs=5e-3)
    bins = reliability(labels, moved, prevalence=0.1)
    assert all(part.interval[0] - 0.01 <= part.score <= part.interval[1] + 0.01 for part in bins)


def stored_at(**scores):
    return [Threshold(float(rate[1:]) / 1000, score, 0.0, (0.0, 1.0), 0.5) for rate, score in scores.items()]


def test_thresholds_between_the_stored_ones_fall_as_the_rate_rises():
    stored = stored_at(_1=0.99, _10=0.9, _50=0.7)
    rates = np.geomspace(1e-6, 0.5, 60)
    between = [threshold_between(stored, rate) for rate in rates]
    assert all(low >= high for low, high in pairwise(between))
    assert [threshold_between(stored, one.target) for one in stored] == pytest.approx([0.99, 0.9, 0.7])
    assert threshold_between(stored, 0.3) == 0.7
    odds = [
        score / (1 - score) for score in (threshold_between(stored, 1e-5), threshold_between(stored, 5e-6))
    ]
    assert odds[1] >= 2 * odds[0] * (1 - 1e-9)


def test_thresholds_below_a_single_or_a_repeated_rate_take_twice_the_odds_for_half_of_it():
    for stored in (stored_at(_50=0.8), stored_at(_10=0.8, _50=0.8)):
        lowest = stored[0].target
        assert threshold_between(stored, lowest / 4) == pytest.approx(16 / 17)
    never = stored_at(_1=np.nextafter(1, 2), _10=0.9)
    assert threshold_between(never, 0.005) > 1
    assert threshold_between(never, 0.02) == 0.9


def test_the_interval_of_a_share_is_wider_where_rows_of_a_group_agree():
    groups = np.arange(200) // 20
    hits = groups % 2 == 0
    assert share_interval(hits) == proportion_interval(100, 200)
    low, high = share_interval(hits, groups)
    exact = proportion_interval(100, 200)
    assert low < exact[0] - 0.1
    assert high > exact[1] + 0.1


def test_a_share_of_none_keeps_its_upper_bound_over_groups():
    assert share_interval(np.zeros(40, dtype=bool), np.arange(40) // 4) == proportion_interval(0, 40)


def _stored(score):
    return Threshold(0.05, score, 0.05, (0.0, 1.0), 1.0)


@pytest.mark.parametrize(
    ("after", "score"),
    [
        ([0.1, 0.3, 0.55, 0.9], 0.55),  # a flagged row fell: just down to it
        ([0.1, 0.65, 0.7, 0.9], np.nextafter(0.65, 1)),  # another one rose: just above it
        ([0.2, 0.3, 0.61, 0.8], 0.6),  # as many rows as before: it stays
    ],
)
def test_a_threshold_moves_no_further_than_new_scores_make_it(after, score):
    before, after = np.array([0.1, 0.3, 0.7, 0.9]), np.array(after)
    moved = moved_threshold(_stored(0.6), before, after)
    assert moved.score == score
    assert (after >= moved.score).sum() == 2


def test_moved_thresholds_flag_as_many_rows_and_keep_their_order():
    rng = np.random.default_rng(0)
    before = rng.uniform(0.1, 0.9, 500)
    after = before + rng.uniform(-0.05, 0.05, 500)
    limits = [0.92, 0.85, 0.5, 0.15]
    moved = [moved_threshold(_stored(limit), before, after).score for limit in limits]
    assert moved == sorted(moved, reverse=True)
    assert [(after >= limit).sum() for limit in moved] == [(before >= limit).sum() for limit in limits]
