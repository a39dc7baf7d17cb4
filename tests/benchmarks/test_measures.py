"""Tests detection/measures.py: the numbers of a row of the table, by hand and by definition."""

import numpy as np
import pytest
from detection.measures import Numbers, average, limit, measure
from sklearn.metrics import roc_auc_score

LABELS, SCORES = np.array([0, 0, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8])


def _scored(rows, seed=0):
    labels = np.arange(rows) % 2
    return labels, np.random.default_rng(seed).random(rows) * 0.6 + 0.4 * labels


def test_the_auc_is_that_of_scikit_learn_and_lies_in_its_interval():
    labels, scores = _scored(200)
    numbers = measure(labels, scores, resamples=50)
    assert numbers.auc == pytest.approx(roc_auc_score(labels, scores))
    assert numbers.interval[0] < numbers.auc < numbers.interval[1]
    assert measure(*_scored(48)).interval is None


def test_rows_without_a_score_are_left_out_and_one_class_has_no_auc():
    with_nan = measure(np.append(LABELS, 1), np.append(SCORES, np.nan))
    assert with_nan == measure(LABELS, SCORES)
    assert measure(np.ones(3), np.arange(3.0)) == Numbers(3, 3)
    assert measure(LABELS, np.full(4, np.nan)) == Numbers(0, 0)


def test_clean_rows_above_the_limit_of_another_test_are_flagged():
    above = limit(np.array([0] * 40 + [1]), np.append(np.arange(40.0), np.inf))
    assert above == 37.0  # 2 of 40 lie above it, which is 5 %
    numbers = measure(np.array([0, 0, 0, 0, 1]), np.array([50.0, 37.0, 1.0, np.nan, 99.0]), above=above)
    assert numbers.flagged == pytest.approx(1 / 3)
    assert numbers.flagged_interval == pytest.approx((0.0084, 0.9057), abs=1e-4)  # Clopper-Pearson
    assert measure(np.zeros(2), np.array([1.0, 99.0]), above=above).flagged == 0.5
    assert measure(np.ones(2), np.array([1.0, 99.0]), above=above).flagged is None
    assert limit(np.ones(2), np.zeros(2)) is None


def test_rates_at_stored_thresholds_count_scores_at_the_threshold_too():
    numbers = measure(LABELS, SCORES, thresholds={0.01: np.array([0.8]), 0.05: np.array([0.4])})
    assert (numbers.fpr_1, numbers.recall_1, numbers.fpr_5, numbers.recall_5) == (0.0, 0.5, 0.5, 0.5)
    clean = measure(np.zeros(2), np.array([0.1, 0.9]), thresholds={0.05: np.array([0.4])})
    assert (clean.fpr_5, clean.recall_5, clean.fpr_1) == (0.5, None, None)
    both = measure(
        np.stack([LABELS, LABELS], 1), np.stack([SCORES, SCORES], 1), thresholds={0.05: np.array([0.4, 0.9])}
    )
    assert (both.fpr_5, both.recall_5) == (0.25, 0.25)


def test_several_labels_give_the_mean_of_each_on_the_same_resamples():
    labels, scores = _scored(80)
    other, more = 1 - labels, _scored(80, seed=1)[1]
    both = measure(np.stack([labels, other], 1), np.stack([scores, more], 1), resamples=30)
    single = [measure(labels, scores, resamples=30), measure(other, more, resamples=30)]
    assert both.auc == pytest.approx(np.mean([one.auc for one in single]))
    assert both.recall == pytest.approx(np.mean([one.recall for one in single]))
    same = measure(np.stack([labels] * 2, 1), np.stack([scores] * 2, 1), resamples=30)
    assert same.interval == pytest.approx(single[0].interval)


def test_pairs_count_ties_one_half():
    labels, pairs = np.array([1, 1, 1, 0, 0, 0]), np.array([7, 8, 9, 9, 7, 5])
    scores = np.array([0.9, 0.1, 0.5, 0.5, 0.2, 0.3])
    assert measure(labels, scores, pairs=pairs).pairs == 0.75  # 7 in order, 9 tied, 8 and 5 without partner
    assert measure(LABELS, SCORES, pairs=np.arange(4)).pairs is None


def test_averages_are_means_and_a_missing_number_stays_missing():
    one, other = Numbers(60, 30, 0.8, (0.7, 0.9), 0.1, 0.2), Numbers(60, 30, 0.6, (0.5, 0.8), 0.3, None)
    mean = average([one, other])
    assert (mean.auc, mean.recall) == (pytest.approx(0.7), pytest.approx(0.2))
    assert mean.interval == pytest.approx((0.6, 0.85))
    assert mean.calibration_error is None
    assert average([one]) == one
