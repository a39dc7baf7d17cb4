"""Tests detection/heads.py: one way to fit all heads, wide tables like narrow ones, unknown labels unseen."""

import numpy as np
import pytest
from detection import heads
from detection.heads import fit_scorer
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from splinelens.errors import BadLabels

HEADS = ("logistic", "forest", "network", "self-training")


def _table(rows, columns, seed=0):
    """Rows whose label depends on their first three columns."""
    rng = np.random.default_rng(seed)
    values = (5 + 3 * rng.normal(size=(rows, columns))).astype(np.float32)
    labels = ((values[:, :3] - 5).sum(axis=1) + rng.normal(size=rows) > 0).astype(int)
    return values, labels


@pytest.mark.parametrize("head", HEADS)
def test_every_head_learns_calibrated_scores_and_only_self_training_uses_unknown_labels(head):
    values, labels = _table(600, 8)
    train = np.where(np.arange(300) < 200, labels[:300], -1)
    scores = fit_scorer(values[:300], train, head=head).scores(values[300:])
    known = fit_scorer(values[:200], labels[:200], head=head).scores(values[300:])
    assert np.allclose(scores, known) == (head != "self-training")
    assert roc_auc_score(labels[300:], scores) > 0.9
    assert abs(scores.mean() - labels[300:].mean()) < 0.1


def test_a_wide_table_gets_the_head_of_scikit_learn(monkeypatch):
    values, labels = _table(120, 400)
    monkeypatch.setattr(heads, "WIDE_STRENGTHS", (1e-2,))
    scores = fit_scorer(values[:80], labels[:80]).scores(values[80:])
    rows = (values - values[:80].mean(0)) / values[:80].std(0)
    model = LogisticRegression(C=1e-2, class_weight="balanced", max_iter=5000, tol=1e-8)
    logits = model.fit(rows[:80], labels[:80]).decision_function(rows[80:])
    found = np.log(scores / (1 - scores))
    slope, shift = np.polyfit(logits, found, 1)  # the calibration
    assert np.abs(slope * logits + shift - found).max() < 1e-3 * np.ptp(found)


def test_several_labels_are_several_heads():
    values, labels = _table(200, 6)
    both = np.stack([labels, 1 - labels], axis=1)
    scores = fit_scorer(values[:100], both[:100]).scores(values[100:])
    single = fit_scorer(values[:100], labels[:100]).scores(values[100:])
    assert np.array_equal(scores[:, 0], single)
    assert roc_auc_score(labels[100:], -scores[:, 1]) > 0.9


def test_sparse_rows_are_fitted_as_they_are():
    values, labels = _table(200, 6)
    counts = csr_matrix(values - 5)
    assert roc_auc_score(labels[100:], fit_scorer(counts[:100], labels[:100]).scores(counts[100:])) > 0.9


def test_rows_that_are_not_finite_have_no_score_and_fit_nothing():
    values, labels = _table(100, 4)
    broken = values.copy()
    broken[[3, 70]] = np.nan
    scores = fit_scorer(broken[:60], labels[:60]).scores(broken[60:])
    keep = np.arange(60) != 3
    known = fit_scorer(values[:60][keep], labels[:60][keep]).scores(values[60:])
    assert np.isnan(scores[10])
    assert np.array_equal(np.delete(scores, 10), np.delete(known, 10))


def test_few_rows_get_a_fixed_strength_and_useless_features_are_no_error():
    values, labels = _table(200, 3)
    few = np.r_[np.flatnonzero(labels == 0)[:4], np.flatnonzero(labels == 1)[:4]]
    assert roc_auc_score(labels, fit_scorer(values[few], labels[few]).scores(values)) > 0.8
    scores = fit_scorer(np.ones((60, 2)), np.arange(60) % 2).scores(np.ones((3, 2)))
    assert scores == pytest.approx([0.5] * 3, abs=1e-6)


def test_what_cannot_be_fitted_is_refused():
    with pytest.raises(BadLabels, match="none of the 3 training rows can be read and has a label"):
        fit_scorer(np.ones((3, 1)), np.full(3, -1))
    with pytest.raises(BadLabels, match="the 3 training rows hold one class only"):
        fit_scorer(np.ones((3, 1)), np.ones(3, dtype=int))


def test_the_network_separates_what_no_plane_does():
    rng = np.random.default_rng(0)
    rows = rng.standard_normal((600, 4)).astype(np.float32)
    labels = (rows[:, 0] * rows[:, 1] > 0).astype(int)
    plane, network = (
        roc_auc_score(labels[400:], fit_scorer(rows[:400], labels[:400], head=head).scores(rows[400:]))
        for head in ("logistic", "network")
    )
    assert plane < 0.65
    assert network > 0.85
