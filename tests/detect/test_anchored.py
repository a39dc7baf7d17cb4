"""Tests ``detect/anchored.py``: what is minimized, when the anchor wins, and what is held out."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from splinelens.detect.anchored import MAX_LOSS, SAMPLE_WEIGHT, Sample, refit_anchored
from splinelens.detect.calibration import Calibration, calibrate
from splinelens.detect.heads import LinearHead
from splinelens.errors import BadFeatures, BadLabels

AS_IT_IS = Calibration(1.0, 0.0)


def head(weight, mean=0.0, scale=1.0, bias=0.0):
    width = len(weight)
    weight = np.array([weight], dtype=np.float32)
    return LinearHead(np.full(width, mean), np.full(width, scale), weight, np.array([bias]))


def table(rows, width, seed=0):
    return np.random.default_rng(seed).normal(size=(rows, width))


def errors_with_a_free_bias(logits, labels):
    """Probability minus label of each row, where a bias is chosen so that they add up to 0."""

    def errors(bias):
        return 1 / (1 + np.exp(-logits - bias)) - labels

    return errors(brentq(lambda bias: errors(bias).sum(), -50, 50))


def test_from_an_anchor_without_weights_it_is_ridge_logistic_regression():
    rows = table(60, 20)
    labels = (rows[:, 0] + 0.3 * rows[:, 1] > 0).astype(int)
    refitted = refit_anchored(rows, labels, head([0.0] * 20), AS_IT_IS, penalties=[0.1])
    unit = ((rows - rows.mean(axis=0)) ** 2).sum() / 60
    direct = LogisticRegression(C=1 / (0.1 * unit), tol=1e-10, max_iter=10_000).fit(rows, labels)
    assert refitted.penalty == 0.1
    assert refitted.head.weight == pytest.approx(direct.coef_, rel=1e-4, abs=1e-6)
    assert refitted.head.logit(rows).mean() == pytest.approx(0, abs=1e-5)  # as the anchor's


def test_it_is_stationary_for_the_penalized_distance_to_the_anchor():
    rows = 2 * table(80, 30) + 1
    anchor, calibration = head([0.5] + [0.0] * 29, mean=1.0, scale=2.0, bias=0.3), Calibration(0.8, -0.1)
    labels = (rows[:, 1] + rows[:, 2] > 2).astype(int)
    refitted = refit_anchored(rows, labels, anchor, calibration, penalties=[0.3])
    standardized = (rows - 1) / 2
    unit = ((standardized - standardized.mean(axis=0)) ** 2).sum() / 80
    wrong = errors_with_a_free_bias(calibration.logit(refitted.head.logit(rows)[:, 0]), labels)
    change = 0.8 * (refitted.head.weight - anchor.weight)[0]
    assert wrong @ standardized + 0.3 * unit * change == pytest.approx(0, abs=1e-3)


def test_the_anchor_is_kept_where_labels_hold_nothing_new():
    rows = table(64, 300)
    anchor = head([1.0] + [0.0] * 299)
    kept = 0
    for seed in range(1, 5):
        labels = (rows[:, 0] + table(64, 1, seed)[:, 0] > 0).astype(int)
        refitted = refit_anchored(rows, labels, anchor, Calibration(1.7, 0.0))
        if math.isinf(refitted.penalty):
            kept += 1
            assert refitted.head is anchor
            assert max(tried.gain - tried.error for tried in refitted.tried) <= 0
    assert kept >= 3  # a standard error is exceeded by chance now and then


def test_an_anchor_that_is_wrong_here_is_moved_and_rows_are_judged_held_out():
    rows = table(100, 40)
    anchor = head([1.0] + [0.0] * 39)
    labels = (rows[:, 0] + 3 * rows[:, 1] > 0).astype(int)
    refitted = refit_anchored(rows, labels, anchor, AS_IT_IS)
    new = table(500, 40, seed=1)
    truth = new[:, 0] + 3 * new[:, 1] > 0
    moved = roc_auc_score(truth, refitted.head.logit(new)[:, 0])
    held_out = roc_auc_score(labels, refitted.logits)
    assert moved > roc_auc_score(truth, anchor.logit(new)[:, 0]) + 0.1
    assert held_out == pytest.approx(moved, abs=0.08)
    assert roc_auc_score(labels, refitted.anchor_logits) < held_out


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_a_calibration_of_held_out_logits_holds_for_the_head(share):
    rng, anchor = np.random.default_rng(0), head([1.0] + [0.0] * 19)
    labels, new = (rng.random(400) < share).astype(int), (rng.random(4000) < share).astype(int)
    shift = np.array([0.7, 1.5] + [0.0] * 18)
    rows, fresh = (table(len(y), 20, seed) + y[:, None] * shift for seed, y in enumerate((labels, new), 1))
    refitted = refit_anchored(rows, labels, anchor, AS_IT_IS, penalties=[1.0, 0.3])
    assert refitted.head is not anchor
    calibration = calibrate(labels, refitted.logits)
    scores = calibration.score(refitted.head.logit(fresh)[:, 0])
    assert scores.mean() == pytest.approx(share, abs=0.03)
    limit = np.quantile(calibration.score(refitted.logits)[labels == 0], 0.95)
    assert (scores[new == 0] >= limit).mean() == pytest.approx(0.05, abs=0.035)


def test_the_unit_of_the_columns_does_not_matter():
    rows = table(60, 10)
    labels = (rows[:, 1] > 0).astype(int)
    one = refit_anchored(rows, labels, head([1.0] + [0.0] * 9), AS_IT_IS, penalties=[1.0])
    wide = head([1.0] + [0.0] * 9, scale=8.0)
    other = refit_anchored(8 * rows, labels, wide, AS_IT_IS, penalties=[1.0])
    assert other.logits == pytest.approx(one.logits)
    assert other.head.weight == pytest.approx(one.head.weight)


def sampled(rows, logits):
    return Sample(rows.astype(np.float16), logits.astype(np.float32))


def expected_auc(positive, logits):
    """That of random labels with these probabilities, pair by pair."""
    pairs = [(i, j) for i in range(len(logits)) for j in range(len(logits))]
    won = [(logits[i] > logits[j]) + (i == j) / 2 for i, j in pairs]
    weights = [positive[i] * (1 - positive[j]) for i, j in pairs]
    return np.average(won, weights=weights)


def test_a_sample_adds_the_squared_change_of_its_logits_to_the_penalty():
    rows, sample = table(80, 30), sampled(table(50, 30, seed=1) + 0.5, np.tile([-20, -20, 20, 20, 20], 10))
    anchor = head([0.5] + [0.0] * 29, bias=0.3)
    labels = (rows[:, 1] + rows[:, 2] > 0).astype(int)
    refitted = refit_anchored(rows, labels, anchor, AS_IT_IS, penalties=[0.1], sample=sample)
    unit = ((rows - rows.mean(axis=0)) ** 2).sum() / 80
    change = (refitted.head.weight - anchor.weight)[0].astype(float)
    half = sample.rows[::2].astype(float)
    spread = half - half.mean(axis=0)
    wrong = errors_with_a_free_bias(refitted.head.logit(rows)[:, 0], labels)
    penalty = unit * change + SAMPLE_WEIGHT * spread.T @ (spread @ change) / 25
    assert np.abs(change).max() > 0.01
    assert refitted.step == 1
    assert wrong @ rows + 0.1 * penalty == pytest.approx(0, abs=1e-3)


def test_a_change_is_shortened_until_the_sample_keeps_its_order():
    rows, known = table(100, 8), table(200, 8, seed=1)
    sample = sampled(known, 1.5 * known[:, 0])  # less sure than the anchor is of it
    anchor, calibration = head([2.0] + [0.0] * 7), Calibration(0.8, -0.1)
    labels = (rows[:, 0] - 4 * rows[:, 1] > 0).astype(int)
    free = refit_anchored(rows, labels, anchor, calibration)
    refitted = refit_anchored(rows, labels, anchor, calibration, sample=sample)
    assert (free.step, free.sample_loss) == (1, None)
    after = sample.moved(anchor, refitted.head).logits
    positive, other = calibration.score(sample.logits[1::2]), slice(1, None, 2)
    lost = expected_auc(positive, sample.logits[other]) - expected_auc(positive, after[other])
    assert refitted.sample_loss == pytest.approx(lost, abs=1e-5)
    change = refitted.head.logit(known)[:, 0] - anchor.logit(known)[:, 0]
    assert after == pytest.approx(sample.logits + change, abs=0.01)
    assert 0.8 * MAX_LOSS < lost <= MAX_LOSS
    assert 0 < refitted.step < 1
    new = table(500, 8, seed=2)
    truth = new[:, 0] - 4 * new[:, 1] > 0
    gains = [roc_auc_score(truth, one.head.logit(new)[:, 0]) for one in (free, refitted)]
    assert gains[0] > gains[1] > roc_auc_score(truth, new[:, 0])
    held_out = roc_auc_score(labels, refitted.logits)  # shortened as well
    assert held_out == pytest.approx(gains[1], abs=0.08)


def test_what_cannot_be_refitted_is_refused():
    rows, labels = table(40, 3), np.arange(40) % 2
    anchor = head([1.0, 0.0, 0.0])
    with pytest.raises(BadLabels, match="0 negative of 40 rows are too few"):
        refit_anchored(rows, np.ones(40, dtype=int), anchor, AS_IT_IS)
    with pytest.raises(BadLabels, match="8 positive and 8 negative of 16 different texts are too few"):
        refit_anchored(rows, labels, anchor, AS_IT_IS, texts=np.arange(40) % 16)
    broken = np.where(np.arange(120).reshape(40, 3) == 7, np.nan, rows)
    with pytest.raises(BadFeatures, match="a row has no finite logit"):
        refit_anchored(broken, labels, anchor, AS_IT_IS)


def authors(seed=0):
    """60 rows of 12 authors, whose columns 8 to 19 tell the author; the label goes by the author."""
    groups = np.arange(60) % 12
    rows = table(60, 8, seed)
    known = np.random.default_rng(seed + 1).normal(size=(12, 12))
    return np.hstack([rows, 3 * known[groups]]), groups % 2, groups


def test_rows_of_one_group_share_a_fold_so_that_knowing_an_author_gains_nothing():
    rows, labels, groups = authors()
    anchor = head([1.0] + [0.0] * 19)
    apart = refit_anchored(rows, labels, anchor, AS_IT_IS, penalties=[0.1])
    together = refit_anchored(rows, labels, anchor, AS_IT_IS, penalties=[0.1], groups=groups)
    assert apart.tried[0].gain > 0.3
    assert together.tried[0].gain < apart.tried[0].gain - 0.2
    assert together.tried[0].error > 1.5 * apart.tried[0].error


def test_groups_are_united_with_equal_texts():
    rows, labels, groups = authors()
    anchor = head([1.0] + [0.0] * 19)
    texts = np.where(np.arange(60) < 24, 0, np.arange(60))  # a text of every author
    with pytest.raises(BadLabels, match="all 30 positive rows are in one group"):
        refit_anchored(rows, labels, anchor, AS_IT_IS, texts=texts, groups=groups)


def test_groups_that_leave_no_class_outside_their_folds_are_refused():
    rows, labels = table(32, 3), np.arange(32) % 2
    anchor = head([1.0, 0.0, 0.0])
    with pytest.raises(BadLabels, match="all 16 positive rows are in two groups, rows of equal"):
        refit_anchored(rows, labels, anchor, AS_IT_IS, groups=np.arange(32) % 4)
    uneven = np.array([0] * 28 + [1, 1, 2, 3])
    labels[28:] = [1, 0, 1, 0]
    with pytest.raises(BadLabels, match="without the rows of one or two folds, which hold each group back"):
        refit_anchored(rows, labels, anchor, AS_IT_IS, groups=uneven)
