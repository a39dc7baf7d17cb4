"""Tests detection/scoring.py: one way to fit all heads; unknown labels are never seen."""

import numpy as np
import pytest
from detection import scoring
from detection.scoring import HEADS, fit_scorer
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from splinelens.detect.bootstrap import ScoreHistogram
from splinelens.errors import BadFeatures, BadLabels


def _table(rows, columns, seed=0):
    """Rows whose label leans on their first three columns."""
    dice = np.random.default_rng(seed)
    values = (5 + 3 * dice.normal(size=(rows, columns))).astype(np.float32)
    labels = ((values[:, :3] - 5).sum(axis=1) + dice.normal(size=rows) > 0).astype(int)
    return values, labels


def fit_scores(train, labels, tests, **more):
    """Fit on rows, and score each set of chunks of others."""
    scorer = fit_scorer(train, labels, **more)
    return [np.concatenate([scorer.scores(chunk) for chunk in chunks]) for chunks in tests]


@pytest.mark.parametrize("head", HEADS)
def test_every_head_finds_what_is_there_and_says_it_as_a_probability(head):
    values, labels = _table(900, 8)
    [scores] = fit_scores(values[:300], labels[:300], [[values[300:500], values[500:]]], head=head)
    assert scores.shape == (600,)
    assert roc_auc_score(labels[300:], scores) > 0.93
    assert ScoreHistogram.of(labels[300:], scores).calibration_error() < 0.1
    assert ((scores >= 0) & (scores <= 1)).all()


def test_a_wide_table_gets_the_head_that_scikit_learn_gives(monkeypatch):
    values, labels = _table(120, 400)
    monkeypatch.setattr(scoring, "WIDE_STRENGTHS", (1e-2,))
    [scores] = fit_scores(values[:80], labels[:80], [[values[80:]]])
    rows = (values - values[:80].mean(0)) / values[:80].std(0)
    known = LogisticRegression(C=1e-2, class_weight="balanced", max_iter=5000, tol=1e-8)
    logits = known.fit(rows[:80], labels[:80]).decision_function(rows[80:])
    found = np.log(scores / (1 - scores))
    slope, shift = np.polyfit(logits, found, 1)  # the calibration lies between them
    assert np.abs(slope * logits + shift - found).max() < 0.01 * np.ptp(found)


def test_several_labels_are_several_heads():
    values, labels = _table(200, 6)
    both = np.stack([labels, 1 - labels], axis=1)
    [scores] = fit_scores(values[:100], both[:100], [[values[100:]]])
    [alone] = fit_scores(values[:100], labels[:100], [[values[100:]]])
    assert np.array_equal(scores[:, 0], alone)
    assert roc_auc_score(labels[100:], -scores[:, 1]) > 0.9


def test_word_counts_are_fitted_as_they_are():
    values, labels = _table(200, 6)
    counts = csr_matrix(values - 5)
    [scores] = fit_scores(counts[:100], labels[:100], [[counts[100:]]])
    assert roc_auc_score(labels[100:], scores) > 0.9


@pytest.mark.parametrize("head", HEADS)
def test_rows_without_a_label_reach_no_head_but_self_training(head):
    values, labels = _table(300, 5)
    hidden = np.where(np.arange(300) < 60, labels, -1)
    [few] = fit_scores(values[:60], labels[:60], [[values]], head=head)
    [found] = fit_scores(values, hidden, [[values]], head=head)
    assert np.array_equal(few, found) == (head != "self-training")
    assert roc_auc_score(labels, found) > 0.9


def test_rows_that_cannot_be_read_have_no_score_and_fit_nothing():
    values, labels = _table(100, 4)
    broken = values.copy()
    broken[[3, 70]] = np.nan
    [scores] = fit_scores(broken[:60], labels[:60], [[broken[60:]]])
    keep = np.arange(60) != 3
    [known] = fit_scores(values[:60][keep], labels[:60][keep], [[values[60:]]])
    assert np.isnan(scores[10])
    assert np.array_equal(np.delete(scores, 10), np.delete(known, 10))


def test_few_rows_are_fitted_with_a_set_strength():
    values, labels = _table(200, 3)
    few = np.r_[np.flatnonzero(labels == 0)[:4], np.flatnonzero(labels == 1)[:4]]
    [scores] = fit_scores(values[few], labels[few], [[values]])
    assert roc_auc_score(labels, scores) > 0.8


def test_features_that_say_nothing_are_no_error():
    labels = np.arange(60) % 2
    [scores] = fit_scores(np.ones((60, 2), dtype=np.float32), labels, [[np.ones((3, 2), dtype=np.float32)]])
    assert scores == pytest.approx([0.5] * 3, abs=1e-6)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(BadFeatures, match="no head 'oak'; there are logistic, forest, network"):
        fit_scores(np.ones((3, 1)), np.ones(3), [], head="oak")
    with pytest.raises(BadLabels, match="none of the 3 training rows can be read and has a label"):
        fit_scores(np.ones((3, 1), dtype=np.float32), np.full(3, -1), [])
    with pytest.raises(BadLabels, match="the 3 training rows hold one class only"):
        fit_scores(np.ones((3, 1), dtype=np.float32), np.ones(3, dtype=int), [])


def test_the_network_tells_apart_what_no_plane_does():
    dice = np.random.default_rng(0)
    rows = dice.standard_normal((600, 4)).astype(np.float32)
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(int)
    plane, network = (
        roc_auc_score(labels[400:], fit_scorer(rows[:400], labels[:400], head=head).scores(rows[400:]))
        for head in ("logistic", "network")
    )
    assert plane < 0.65
    assert network > 0.85
