"""Tests ``detect/label_errors.py``: flipped labels are reported, by the formula, and contradictions."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict

from splinelens.detect.label_errors import Contradiction, contradictions, suspected_labels
from splinelens.errors import BadFeatures, BadLabels


def test_thresholds_and_margins_by_hand():
    labels = np.array([0, 0, 0, 1, 1])
    scores = np.array([0.1, 0.2, 0.9, 0.8, 0.3])
    # thresholds: of 1 (0.8 + 0.3) / 2 = 0.55; of 0 (0.9 + 0.8 + 0.1) / 3 = 0.6
    found = suspected_labels(labels, scores)
    assert [(s.row, s.label, s.given, s.suggested) for s in found] == [(2, 0, 0, 1), (4, 0, 1, 0)]
    assert [s.score for s in found] == pytest.approx([0.9, 0.3])
    assert found[0].margin == pytest.approx((0.9 - 0.55) + (0.6 - 0.1))
    assert found[1].margin == pytest.approx((0.7 - 0.6) + (0.55 - 0.3))


def test_most_of_the_flipped_labels_are_found():
    rng = np.random.default_rng(0)
    true = np.arange(2000) % 2
    rows = rng.normal(size=(2000, 10)) + 1.2 * true[:, None]
    given, flipped = true.copy(), rng.permutation(2000)[:100]  # 5 %
    given[flipped] = 1 - given[flipped]
    scores = cross_val_predict(LogisticRegression(), rows, given, cv=5, method="predict_proba")[:, 1]
    suspects = [suspect.row for suspect in suspected_labels(given, scores)]
    hits = len({*suspects} & {*flipped.tolist()})
    assert hits / len(flipped) >= 0.75  # recall; measured 0.80
    assert hits / len(suspects) >= 0.9  # precision; measured 0.98


def test_where_classes_overlap_the_most_suspect_are_still_the_flipped_ones():
    rng = np.random.default_rng(0)
    true = np.arange(2000) % 2
    rows = rng.normal(size=(2000, 10)) + 0.9 * true[:, None]
    given, flipped = true.copy(), rng.permutation(2000)[:100]
    given[flipped] = 1 - given[flipped]
    scores = cross_val_predict(LogisticRegression(), rows, given, cv=5, method="predict_proba")[:, 1]
    suspects = [suspect.row for suspect in suspected_labels(given, scores)]
    shares = [len({*part} & {*flipped.tolist()}) / len(part) for part in (suspects[:50], suspects)]
    assert shares[0] > shares[1] > 0.65  # measured 0.9 and 0.74, at a recall of 0.77


def test_flipped_classes_of_three_are_found_and_the_true_one_is_suggested():
    rng = np.random.default_rng(1)
    true = np.arange(1500) % 3
    rows = rng.normal(size=(1500, 6)) + 3.0 * np.eye(3, 6)[true]
    given, flipped = true.copy(), rng.permutation(1500)[:75]
    given[flipped] = (given[flipped] + 1) % 3
    scores = cross_val_predict(LogisticRegression(), rows, given, cv=5, method="predict_proba")
    suspects = suspected_labels(np.eye(3, dtype=int)[given], scores, exclusive=True)
    right = [s for s in suspects if s.row in {*flipped.tolist()} and s.suggested == true[s.row]]
    assert len(right) / 75 >= 0.7  # recall; measured 0.77
    assert len(right) / len(suspects) >= 0.85  # precision; measured 0.92
    assert {suspect.label for suspect in suspects} == {None}
    assert all(suspect.given == given[suspect.row] != suspect.suggested for suspect in suspects)


def test_each_of_several_labels_is_judged_by_itself():
    one, other = np.array([0, 0, 1, 1]), np.array([1, 1, 0, 0])
    good, bad = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.9, 0.05, 0.1, 0.1])
    found = suspected_labels(np.stack([one, other], axis=1), np.stack([good, bad], axis=1))
    assert [(suspect.row, suspect.label) for suspect in found] == [(1, 1)]
    assert suspected_labels(one, good) == []


def test_the_score_is_that_of_the_label_or_of_the_suggested_class():
    labels = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
    scores = np.array([[0.9, 0.1], [0.2, 0.9], [0.3, 0.8], [0.3, 0.9]])
    each = suspected_labels(labels, scores)
    assert [(suspect.row, suspect.label, suspect.suggested, suspect.score) for suspect in each] == [
        (1, 0, 0, 0.2),
        (1, 1, 1, 0.9),
    ]
    (one,) = suspected_labels(labels, scores, exclusive=True)
    assert (one.row, one.label, one.suggested, one.score) == (1, None, 1, 0.9)


def test_rows_that_were_not_judged_are_passed_over():
    labels, scores = np.array([0, 0, 1, 1, 0]), np.array([0.1, np.nan, 0.9, np.nan, 0.95])
    assert [suspect.row for suspect in suspected_labels(labels, scores)] == [4]
    assert suspected_labels(labels, np.full(5, np.nan)) == []


def test_a_rare_class_has_a_threshold_of_its_own():
    labels = np.array([0] * 98 + [1] * 2)
    scores = np.array([0.01] * 97 + [0.4] + [0.3, 0.32])
    assert [suspect.row for suspect in suspected_labels(labels, scores)] == [97]  # well below one half


def test_one_class_alone_gives_no_suspects():
    assert suspected_labels(np.zeros(4, dtype=int), np.array([0.1, 0.2, 0.9, 0.4])) == []


@pytest.mark.parametrize(
    ("labels", "scores", "exclusive", "error", "words"),
    [
        ([0, 1], [0.5], False, BadFeatures, "one score per label"),
        ([0, 2], [0.5, 0.5], False, BadLabels, r"labels are \[0, 2\]"),
        ([0, 1], [0.5, 1.5], False, BadFeatures, r"outside \[0, 1\]"),
        ([[0, 0], [1, 0]], [[0.5, 0.5]] * 2, True, BadLabels, r"rows \[0\] have not exactly one class"),
    ],
)
def test_what_cannot_be_judged_is_refused(labels, scores, exclusive, error, words):
    with pytest.raises(error, match=words):
        suspected_labels(np.array(labels), np.array(scores), exclusive=exclusive)


def test_equal_texts_with_other_labels_contradict_each_other():
    labels = np.array([[0, 1], [1, 1], [0, 1], [0, 0], [1, 1], [0, 0]])
    keys = ["a", "b", "a", "a", "c", None]
    assert contradictions(keys, labels) == [Contradiction((0, 2, 3), (1,))]
    assert contradictions([None, None], np.array([0, 1])) == []
    with pytest.raises(BadLabels, match="2 rows need as many labels"):
        contradictions(["a", "b"], np.array([0]))
