"""Tests detection/measures.py: the numbers of a row of the benchmark, by hand and by definition."""

import numpy as np
import pytest
from detection.measures import Measures, averaged, limit, measured

from splinelens.detect.metrics import evaluate
from splinelens.detect.thresholds import proportion_interval


def _scored(rows, seed=0):
    dice = np.random.default_rng(seed)
    labels = np.arange(rows) % 2
    return labels, dice.random(rows) * 0.6 + 0.4 * labels


def test_the_numbers_are_those_of_evaluate():
    labels, scores = _scored(200)
    found, known = (
        measured(labels, scores, resamples=50),
        evaluate(labels, scores, np.ones(200), resamples=50),
    )
    assert (found.n, found.positives) == (200, 100)
    assert found.auc == known.auc
    assert found.interval == known.auc_interval
    assert found.recall == known.recall_at_fpr["0.01"]
    assert found.calibration_error == known.calibration_error
    assert found.pairs is None


def test_below_50_rows_there_is_no_interval():
    assert measured(*_scored(48)).interval is None
    assert measured(*_scored(50), resamples=20).interval is not None
    assert measured(*_scored(50), resamples=0).interval is None


def test_rows_without_a_score_are_left_out():
    labels, scores = np.array([0, 0, 1, 1, 1]), np.array([0.1, 0.4, 0.35, 0.8, np.nan])
    assert measured(labels, scores) == measured(labels[:4], scores[:4])


def test_one_class_alone_has_no_auc():
    assert measured(np.ones(3), np.arange(3.0)) == Measures(3, 3)
    assert measured(np.array([0, 1]), np.array([np.nan, np.nan])) == Measures(0, 0)


def test_clean_rows_above_a_limit_of_other_rows_are_flagged():
    above = limit(np.array([0] * 40 + [1]), np.append(np.arange(40.0), np.inf))
    assert above == 37.0  # 2 of 40 lie above it, which is 5 %
    labels, scores = np.array([0, 0, 0, 0, 1]), np.array([50.0, 37.0, 1.0, np.nan, 99.0])
    found = measured(labels, scores, above=above)
    assert found.flagged == pytest.approx(1 / 3)
    assert found.flagged_interval == pytest.approx(proportion_interval(1, 3))
    alone = measured(np.zeros(2), np.array([1.0, 99.0]), above=above)
    assert (alone.auc, alone.flagged) == (None, 0.5)
    assert measured(np.ones(2), np.array([1.0, 99.0]), above=above).flagged is None
    assert limit(np.ones(2), np.zeros(2)) is None
    both = averaged([found, alone])
    assert both.flagged == pytest.approx(5 / 12)
    assert both.flagged_interval[0] == pytest.approx(
        (proportion_interval(1, 3)[0] + proportion_interval(1, 2)[0]) / 2
    )


def test_several_labels_give_the_mean_of_each():
    labels, scores = _scored(80)
    other, more = 1 - labels, _scored(80, seed=1)[1]
    both = measured(np.stack([labels, other], 1), np.stack([scores, more], 1), resamples=30)
    single = [measured(labels, scores, resamples=30), measured(other, more, resamples=30)]
    assert both.auc == pytest.approx(np.mean([one.auc for one in single]))
    assert both.recall == pytest.approx(np.mean([one.recall for one in single]))
    same = measured(np.stack([labels] * 2, 1), np.stack([scores] * 2, 1), resamples=30)
    assert same.interval == pytest.approx(single[0].interval)  # the same rows are drawn for both


def test_pairs_count_ties_one_half():
    labels, pairs = np.array([1, 1, 1, 0, 0, 0]), np.array([7, 8, 9, 9, 7, 5])
    scores = np.array([0.9, 0.1, 0.5, 0.5, 0.2, 0.3])
    assert measured(labels, scores, pairs=pairs).pairs == 0.75  # pair 7 in order, 9 tied, 8 and 5 alone
    assert measured(labels[:2], scores[:2], pairs=pairs[:2]).pairs is None


def test_averages_are_means_and_what_one_lacks_is_lacking():
    one = Measures(60, 30, 0.8, (0.7, 0.9), 0.1, 0.2)
    other = Measures(60, 30, 0.6, (0.5, 0.8), 0.3, None)
    found = averaged([one, other])
    assert (found.auc, found.recall) == (pytest.approx(0.7), pytest.approx(0.2))
    assert found.interval == pytest.approx((0.6, 0.85))
    assert found.calibration_error is None
    assert averaged([one]) == one
