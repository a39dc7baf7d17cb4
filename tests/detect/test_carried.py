"""Tests ``detect/carried.py``: numbers by hand, and what is left out when something is missing."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from splinelens.detect.carried import compare_scores

SCORES = np.array([[0.9, 0.2, 0.6, 0.1, np.nan], [0.8, 0.6, 0.7, 0.1, 0.5]])


def test_by_hand():
    carried = compare_scores("mine", SCORES, SCORES >= 0.5, np.array([1, 0, 1, 0, 1]))
    assert (carried.texts, carried.undetermined, carried.reason) == (4, 1, None)
    assert carried.same_verdict == 0.75
    assert carried.mean_change == pytest.approx((0.1 + 0.4 + 0.1 + 0) / 4)
    assert carried.rank_correlation == pytest.approx(1.0)
    assert carried.auc == (1.0, 1.0)
    assert carried.false_positives == (0.0, 0.5)


def test_loss_and_intervals_are_of_the_other_model_on_the_same_texts():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 60)
    scores = labels + rng.normal(0, [[0.5], [1.5]], (2, 120))
    carried = compare_scores("mine", scores, scores > 0.5, labels)
    assert carried.auc == tuple(roc_auc_score(labels, each) for each in scores)
    assert 0 < carried.loss_interval[0] < carried.auc[0] - carried.auc[1] < carried.loss_interval[1]
    for auc, (low, high) in zip(carried.auc, carried.auc_intervals, strict=True):
        assert low < auc < high


def test_the_same_scores_lose_nothing():
    scores = SCORES[[0, 0]]
    carried = compare_scores("mine", scores, scores >= 0.5)
    assert (carried.same_verdict, carried.mean_change, carried.auc) == (1.0, 0.0, None)


def test_one_class_gives_no_auc_and_no_text_gives_a_reason():
    one_class = compare_scores("mine", SCORES, SCORES >= 0.5, np.ones(5, int))
    assert (one_class.auc, one_class.false_positives) == (None, None)
    nothing = compare_scores("mine", np.full((2, 3), np.nan), np.zeros((2, 3), bool))
    assert (nothing.texts, nothing.undetermined, nothing.same_verdict) == (0, 3, None)
    assert nothing.reason == "scores no text"


def test_equal_scores_have_no_rank_correlation():
    scores = np.array([[0.5, 0.5], [0.1, 0.9]])
    assert compare_scores("mine", scores, scores > 0.4).rank_correlation is None
