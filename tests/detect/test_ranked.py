"""Tests ``detect/ranked.py``: numbers from how often each score occurs, and their resamples."""

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, roc_auc_score

from splinelens.detect.ranked import Counts, Ranked, middle

LABELS, SCORES = np.array([0, 0, 1, 1, 0]), np.array([0.2, 0.4, 0.4, 0.9, 0.2])


def test_counts_by_hand():
    counts = Ranked.of(LABELS, SCORES).counts()
    assert counts.score.tolist() == [0.2, 0.4, 0.9]
    assert counts.negative.tolist() == [2, 1, 0]
    assert counts.positive.tolist() == [0, 1, 1]
    assert counts.auc() == (3 + 2.5) / 6
    assert counts.recall_at(0.4) == 1.0  # one of three negative rows may fire, so all from 0.4
    assert counts.recall_at(0.1) == 0.5


def test_a_draw_counts_each_row_as_often_as_it_is_drawn():
    rows, dice = Ranked.of(LABELS, SCORES), np.random.default_rng(3)
    for counts in rows.draws(5, seed=3):
        drawn = dice.integers(0, 5, 5)
        assert counts.positive.sum() == LABELS[drawn].sum()
        assert counts.brier() == pytest.approx(((SCORES - LABELS)[drawn] ** 2).mean())


def test_numbers_are_those_of_sklearn_whatever_type_the_scores_have():
    dice = np.random.default_rng(0)
    labels, scores = dice.integers(0, 2, 200), dice.random(200).astype(np.float32)
    counts = Ranked.of(labels == 1, scores).counts()
    assert counts.auc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert counts.brier() == pytest.approx(brier_score_loss(labels, scores.astype(float)), abs=1e-12)


def test_a_missing_class_has_no_auc_and_no_recall():
    counts = Ranked.of(np.zeros(3), np.arange(3.0)).counts()
    assert np.isnan([counts.auc(), counts.recall_at(0.05)]).all()
    assert middle(np.array([np.nan])) is None


def test_all_numbers_share_their_resamples():
    dice = np.random.default_rng(0)
    rows = Ranked.of(dice.integers(0, 2, 60), dice.random(60))
    twice = rows.intervals({"a": Counts.auc, "b": Counts.auc}, resamples=30, seed=1)
    assert twice["a"] == twice["b"] == middle(np.array([counts.auc() for counts in rows.draws(30, seed=1)]))
    assert rows.intervals({"a": Counts.auc}, resamples=0, seed=1) == {"a": None}
