"""Tests ``detect/within_group_auc.py`` and ``detect/groups.py``."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from splinelens.detect.groups import joined
from splinelens.detect.metrics import evaluate, evaluate_labels
from splinelens.detect.within_group_auc import group_pairs, within_group_auc, within_group_gain


def sample(groups=40, rows=10, seed=0):
    """Scores that know the group and not the row: the label's share differs between groups."""
    rng = np.random.default_rng(seed)
    share, numbers = rng.random(groups), np.arange(groups * rows) // rows
    labels = (rng.random(groups * rows) < share[numbers]).astype(int)
    return labels, share[numbers] + 0.01 * rng.random(groups * rows), numbers


def test_within_groups_by_hand():
    labels, scores = np.array([0, 1, 1, 0, 1, 1]), np.array([0.5, 0.5, 0.9, 0.3, 0.2, 0.8])
    result = within_group_auc(labels, scores, np.array([7, 7, 7, 2, 2, 5]))
    assert (result.groups, result.mixed, result.pairs) == (3, 2, 3)
    assert result.auc == (0.5 + 1 + 0) / 3
    assert result.auc_interval is None


def test_it_is_the_mean_of_the_groups_weighted_by_pairs():
    labels, scores, groups = sample()
    aucs, pairs = [], []
    for group in np.unique(groups):
        y, s = labels[groups == group], scores[groups == group]
        if 0 < y.sum() < len(y):
            aucs.append(roc_auc_score(y, s))
            pairs.append(y.sum() * (len(y) - y.sum()))
    result = within_group_auc(labels, scores, groups, resamples=200)
    assert result.auc == pytest.approx(np.average(aucs, weights=pairs))
    low, high = result.auc_interval
    assert low < result.auc < high


def test_pairs_of_a_group_are_those_of_comparing_each_two_rows():
    labels, scores, groups = sample(30)
    scores = scores.round(2)  # ties
    expected = []
    for group in np.unique(groups):
        positive, negative = (scores[(groups == group) & (labels == label)] for label in (1, 0))
        difference = positive[:, None] - negative
        if difference.size:
            ordered = (difference > 0).sum() + (difference == 0).sum() / 2
            expected.append([difference.size, ordered])
    assert group_pairs(labels, scores, groups).tolist() == expected
    assert group_pairs(labels.astype(bool), scores, groups).tolist() == expected


def test_a_gain_is_the_difference_of_two_aucs_on_the_same_resamples():
    labels, scores, groups = sample()
    better = scores + 0.005 * labels
    gain, (low, high) = within_group_gain(labels, better, scores, groups, resamples=200)
    first, second = (within_group_auc(labels, each, groups, resamples=200) for each in (better, scores))
    assert gain == pytest.approx(first.auc - second.auc)
    assert low < gain < high
    assert within_group_gain(labels, scores, scores, groups) == (0, (0, 0))
    turned = within_group_gain(labels, scores, better, groups, resamples=200)
    assert turned == (pytest.approx(-gain), pytest.approx((-high, -low)))


def test_a_gain_without_pairs_is_none():
    assert within_group_gain(np.zeros(2), np.zeros(2), np.ones(2), np.array([0, 1])) == (None, None)


def test_knowing_the_group_is_worth_nothing_within_it():
    labels, scores, groups = sample(200)
    result = evaluate(labels, scores.clip(0, 1), np.arange(len(labels)), groups=groups, resamples=20)
    assert result.auc > 0.75
    assert result.within_groups.auc == pytest.approx(0.5, abs=0.05)


def test_groups_without_both_classes_give_no_auc():
    result = within_group_auc(np.array([0, 0, 1, 1]), np.arange(4) / 4, np.array([0, 0, 1, 1]))
    assert (result.groups, result.mixed, result.pairs, result.auc) == (2, 0, 0, None)


def test_every_interval_of_an_evaluation_is_over_groups_and_unscored_rows_are_left_out():
    labels, scores, groups = sample(30)
    copies = [np.concatenate([array] * 5) for array in (labels, scores.clip(0, 1), groups)]
    copies[1][0] = np.nan
    rows, lengths = len(copies[0]), np.arange(len(copies[0]))
    single, whole = (
        evaluate(*copies[:2], lengths, thresholds={"a": 0.5}, groups=of, resamples=200).to_dict()
        for of in (np.arange(rows), copies[2])
    )
    assert whole["n"] == rows - 1
    for name in ("auc", "average_precision", "brier"):
        (low, high), (least, most) = single[f"{name}_interval"], whole[f"{name}_interval"]
        assert most - least > 1.3 * (high - low)
    (low, high), (least, most) = (
        measured["at_threshold"]["a"]["recall_interval"] for measured in (single, whole)
    )
    assert most - least > 1.3 * (high - low)


def test_several_labels_have_groups_too():
    labels, scores, groups = sample()
    both, lengths = np.stack([labels, 1 - labels], axis=1), np.arange(len(labels))
    columns = np.stack([scores, 1 - scores], axis=1).clip(0, 1)
    found = evaluate_labels(both, columns, lengths, ("a", "b"), classes=True, groups=groups, resamples=50)
    plain = evaluate_labels(both, columns, lengths, ("a", "b"), classes=True, resamples=50)
    assert found.labels["a"].within_groups.groups == 40
    assert found.accuracy_interval[1] - found.accuracy_interval[0] > (
        plain.accuracy_interval[1] - plain.accuracy_interval[0]
    )
    assert plain.labels["a"].within_groups is None


def test_rows_are_joined_through_others():
    assert len(np.unique(joined(np.array([0, 1, 1, 2, 3]), np.array([9, 9, 8, 8, 7])))) == 2
    alone = joined(np.arange(5), np.arange(5)[::-1])
    assert len(np.unique(alone)) == 5
