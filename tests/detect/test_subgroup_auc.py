"""Tests ``detect/subgroup_auc.py``: the three AUCs by their definition, and none with too few rows."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from splinelens.detect.subgroup_auc import subgroup_aucs
from splinelens.errors import BadLabels


def drawn(rows=400):
    rng = np.random.default_rng(0)
    labels, inside = rng.integers(0, 2, rows), rng.random(rows) < 0.4
    scores = 0.5 * labels + rng.random(rows) + 0.3 * inside  # a mention raises the score
    return labels, scores, inside


def test_the_three_numbers_are_those_of_the_paper():
    labels, scores, inside = drawn()
    (found,) = subgroup_aucs(labels, scores, {"g": inside}, resamples=0)
    sides = {
        "subgroup_auc": inside,
        "bpsn_auc": (~inside & (labels == 1)) | (inside & (labels == 0)),
        "bnsp_auc": (~inside & (labels == 0)) | (inside & (labels == 1)),
    }
    for name, rows in sides.items():
        assert getattr(found, name) == roc_auc_score(labels[rows], scores[rows])
    assert (found.rows, found.positives) == (inside.sum(), labels[inside].sum())


def test_a_mention_that_raises_scores_shows_in_bpsn_alone():
    (found,) = subgroup_aucs(*drawn()[:2], {"g": drawn()[2]}, resamples=0)
    assert found.bpsn_auc < found.subgroup_auc < found.bnsp_auc


def test_no_number_with_fewer_than_10_rows_of_a_class():
    labels, scores = np.array([0, 1] * 100), np.arange(200) / 200
    few = np.zeros(200, dtype=bool)
    few[:38] = True  # 19 of each class
    few[1:20:2] = False  # leaves 9 positive rows
    (found,) = subgroup_aucs(labels, scores, {"few": few}, resamples=0)
    assert (found.rows, found.positives) == (28, 9)
    assert found.subgroup_auc is None
    assert found.bnsp_auc is None
    assert found.bpsn_auc is not None


def test_no_interval_with_fewer_than_50_rows():
    labels, scores = np.array([0, 1] * 100), np.arange(200) / 200
    groups = {"small": np.arange(200) < 40, "large": np.arange(200) < 60}
    small, large = subgroup_aucs(labels, scores, groups, resamples=20)
    assert small.subgroup_auc is not None
    assert small.subgroup_interval is None
    assert large.subgroup_interval[0] <= large.subgroup_auc <= large.subgroup_interval[1]


def test_rows_without_a_score_and_groups_without_a_row_are_left_out():
    labels, scores, inside = drawn()
    scores[0] = np.nan
    found = subgroup_aucs(labels, scores, {"g": inside, "none": ~(inside | ~inside)}, resamples=0)
    assert [group.name for group in found] == ["g"]
    assert found == subgroup_aucs(labels[1:], scores[1:], {"g": inside[1:]}, resamples=0)


def test_a_group_of_other_rows_is_refused():
    with pytest.raises(BadLabels, match="'g' marks 3 rows of 2"):
        subgroup_aucs(np.array([0, 1]), np.array([0.1, 0.2]), {"g": np.ones(3, dtype=bool)})
