"""Tests ``detect/metrics.py``: the metrics of one and of several labels, with their intervals."""

import json

import numpy as np
import pytest
from sklearn.metrics import brier_score_loss, f1_score, roc_auc_score

from splinelens.detect.bootstrap import ScoreHistogram
from splinelens.detect.metrics import evaluate, evaluate_labels
from splinelens.detect.thresholds import proportion_interval, score_at_fpr
from splinelens.errors import BadLabels


def sample(n, seed=0, distinct=None, lean=1.0):
    """Random labels and scores in 0 .. 1 that lean to them; ``distinct`` scores make ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(int)
    scores = 1 / (1 + np.exp(-rng.normal(lean * labels, 1)))
    return labels, (np.round(scores * distinct) / distinct if distinct else scores)


def numbers(labels, scores, lengths=None, **options):
    lengths = np.arange(len(labels)) if lengths is None else lengths
    return evaluate(np.asarray(labels), np.asarray(scores), lengths, **{"resamples": 50} | options)


def test_the_interval_depends_on_the_seed_alone():
    labels, scores = sample(200)
    first = numbers(labels, scores, seed=3).auc_interval
    assert numbers(labels, scores, seed=3).auc_interval == first
    assert numbers(labels, scores, seed=4).auc_interval != first


def test_recall_by_hand():
    clean = np.arange(100) / 100
    labels = np.r_[np.zeros(100), np.ones(4)]
    # One clean row may fire at 1 %: recall counts what is above 0.98; at 5 % above 0.94.
    found = numbers(labels, np.r_[clean, 0.94, 0.95, 0.98, 0.985]).recall_at_fpr
    assert found == {"0.01": 1 / 4, "0.05": 3 / 4}


def test_clean_rows_that_tie_at_the_top_may_not_fire_together():
    labels = np.r_[np.zeros(100), np.ones(4)]
    clean = np.r_[np.zeros(98), 0.8, 0.8]  # two at 0.8 are more than the one allowed at 1 %
    assert numbers(labels, np.r_[clean, 0.1, 0.8, 0.8, 0.9]).recall_at_fpr == {"0.01": 1 / 4, "0.05": 1.0}


def test_calibration_error_by_hand():
    # 30 rows of distinct scores fill 15 bins of 2; each pair has the mean of its scores off by 0.2.
    labels = np.tile([0, 1], 15)
    scores = np.linspace(0.299, 0.301, 30)
    means = scores.reshape(15, 2).mean(axis=1)
    assert numbers(labels, scores).calibration_error == pytest.approx(np.abs(means - 0.5).mean())


def test_equal_scores_are_one_bin_in_whatever_order_the_rows_come():
    sorted_labels = np.repeat([0, 1], 40)
    assert numbers(sorted_labels, np.full(80, 0.5)).calibration_error == pytest.approx(0)
    assert numbers(sorted_labels, np.full(80, 0.9)).calibration_error == pytest.approx(0.4)


def test_calibrated_scores_have_a_small_calibration_error():
    rng = np.random.default_rng(0)
    scores = rng.random(20_000)
    labels = (rng.random(20_000) < scores).astype(int)
    assert numbers(labels, scores, resamples=0).calibration_error < 0.02
    assert numbers(labels, scores**3, resamples=0).calibration_error > 0.1


def test_rows_without_a_score_are_counted_and_are_in_no_other_number():
    labels, scores = sample(120)
    lengths = np.random.default_rng(1).integers(1, 100, 120)
    with_holes = np.r_[scores, np.nan, np.nan, np.inf]
    found = numbers(np.r_[labels, 1, 0, 1], with_holes, np.r_[lengths, 1, 2, 3])
    expected = numbers(labels, scores, lengths)
    assert found.undetermined == 3
    assert found.to_dict() | {"undetermined": 0} == expected.to_dict()
    assert (found.n, found.positives) == (120, labels.sum())


@pytest.mark.parametrize("sign", [1, -1])
def test_length_alone_is_judged_in_its_better_direction(sign):
    labels, scores = sample(100)
    lengths = sign * np.round(10 * sample(100, 0, lean=2)[1]) + 20
    found = numbers(labels, scores, lengths)
    assert found.length_auc == pytest.approx(roc_auc_score(labels, sign * lengths))
    assert found.length_auc > 0.5
    low, high = found.length_auc_interval
    assert low < found.length_auc < high


def test_stored_thresholds_are_measured_at_and_above_them():
    found = numbers([0, 0, 0, 0, 1, 1], [0.1, 0.2, 0.3, 0.4, 0.3, 0.2], thresholds={"0.05": 0.3, "0.01": 2.0})
    assert found.at_threshold == {
        "0.05": {
            "score": 0.3,
            "false_positive_rate": 0.5,
            "false_positive_interval": proportion_interval(2, 4),
            "recall": 0.5,
            "recall_interval": proportion_interval(1, 2),
            "precision": 1 / 3,
            "precision_interval": proportion_interval(1, 3),
        },
        "0.01": {
            "score": 2.0,
            "false_positive_rate": 0.0,
            "false_positive_interval": proportion_interval(0, 4),
            "recall": 0.0,
            "recall_interval": proportion_interval(0, 2),
            "precision": None,
            "precision_interval": None,
        },
    }


def test_the_numbers_are_plain_json():
    found = numbers(*sample(100), thresholds={"0.05": np.float64(0.5)}).to_dict()
    assert json.loads(json.dumps(found, allow_nan=False)) == found


@pytest.mark.parametrize("label", [0, 1])
def test_one_class_is_refused(label):
    with pytest.raises(BadLabels, match=rf"the 3 scored rows of 4 hold labels \[{label}\]; 0 and 1 are both"):
        numbers([label] * 3 + [1 - label], [0.1, 0.2, 0.3, np.nan])


def test_no_scored_row_is_refused():
    with pytest.raises(BadLabels, match=r"the 0 scored rows of 2 hold labels \[\]"):
        numbers([0, 1], [np.nan, np.nan])


def test_labels_of_other_values_are_refused():
    with pytest.raises(BadLabels, match=r"hold labels \[-1, 1\]"):
        numbers([-1, 1], [0.1, 0.2])


LABELS = np.array([[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 1, 0]])
SCORES = np.array(
    [[0.9, 0.2, 0.1], [0.3, 0.8, 0.1], [0.1, 0.7, 0.1], [0.2, 0.9, 0.3], [np.nan, np.nan, np.nan]]
)


def test_classes_by_hand():
    found = evaluate_labels(LABELS, SCORES, np.arange(5), ["a", "b", "c"], classes=True, resamples=0)
    assert (found.n, found.undetermined) == (4, 1)
    assert found.confusion == ((1, 1, 0), (0, 2, 0), (0, 0, 0))
    assert found.accuracy == 0.75
    assert found.macro_f1 == pytest.approx((2 / 3 + 4 / 5) / 2)  # c is neither a label nor a prediction
    kinds, predicted = LABELS[:4].argmax(axis=1), SCORES[:4].argmax(axis=1)
    assert found.macro_f1 == pytest.approx(f1_score(kinds, predicted, average="macro"))
    assert found.labels["c"] is None
    assert found.mean_auc == (found.labels["a"].auc + found.labels["b"].auc) / 2


def test_each_label_has_the_metrics_of_a_single_evaluation():
    rng = np.random.default_rng(0)
    labels, lengths = rng.integers(0, 2, (80, 2)), rng.integers(1, 9, 80)
    scores = np.clip(labels * 0.4 + rng.uniform(size=(80, 2)) / 2, 0, 1)
    at = {"a": {"0.05": 0.5}}
    found = evaluate_labels(labels, scores, lengths, ["a", "b"], thresholds=at, resamples=20, seed=3)
    assert found.labels["a"] == evaluate(
        labels[:, 0], scores[:, 0], lengths, thresholds=at["a"], resamples=20, seed=3
    )
    assert found.labels["b"] == evaluate(labels[:, 1], scores[:, 1], lengths, resamples=20, seed=3)
    assert (found.accuracy, found.confusion) == (None, None)
    assert list(found.to_dict()) == ["n", "undetermined", "cut", "mean_auc", "mean_auc_interval", "labels"]


def test_cut_rows_are_counted_among_those_with_a_score():
    labels = np.array([[0, 1], [1, 0], [0, 1], [1, 0]])
    scores = np.array([[0.1, 0.9], [0.9, 0.1], [0.1, 0.9], [np.nan, np.nan]])
    cut = np.array([True, True, False, True])
    found = evaluate_labels(labels, scores, np.arange(4), ["a", "b"], cut=cut, resamples=0)
    assert (found.n, found.cut, found.labels["a"].cut, found.labels["b"].cut) == (3, 2, 2, 2)
    assert evaluate(labels[:, 0], scores[:, 0], np.arange(4), resamples=0).cut == 0


def test_every_number_has_an_interval_that_holds_it():
    labels, scores = sample(400)
    found = numbers(labels, scores, resamples=200)
    pairs = [(found.auc, found.auc_interval), (found.brier, found.brier_interval)]
    pairs += [(found.recall_at_fpr[rate], found.recall_intervals[rate]) for rate in ("0.01", "0.05")]
    pairs += [(found.calibration_error, found.calibration_interval)]
    pairs += [(found.average_precision, found.average_precision_interval)]
    assert all(low <= number <= high and low < high for number, (low, high) in pairs)
    few = numbers(labels[:49], scores[:49])
    assert {few.auc_interval, few.length_auc_interval, few.average_precision_interval} == {None}
    assert {few.brier_interval, few.calibration_interval, *few.recall_intervals.values()} == {None}


def test_the_intervals_are_those_of_resampled_rows():
    labels, scores = sample(80, distinct=15)
    rng = np.random.default_rng(0)
    resamples = [rng.integers(0, 80, 80) for _ in range(60)]
    found = numbers(labels, scores, resamples=60)

    def calibration_error(y, s):
        return ScoreHistogram.of(y, s).calibration_error()

    for number, interval in (
        (roc_auc_score, found.auc_interval),
        (brier_score_loss, found.brier_interval),
        (calibration_error, found.calibration_interval),
        (lambda y, s: (s[y == 1] > score_at_fpr(s[y == 0], 0.05)).mean(), found.recall_intervals["0.05"]),
    ):
        values = np.array([number(labels[rows], scores[rows]) for rows in resamples])
        if number is calibration_error:
            values += number(labels, scores) - values.mean()
            values = values.clip(min=0)
        assert interval == pytest.approx(np.quantile(values, [0.025, 0.975]), abs=1e-12)


def test_the_means_of_labels_and_classes_have_intervals():
    rng = np.random.default_rng(0)
    kinds = rng.integers(0, 3, 120)
    labels = np.eye(3, dtype=int)[kinds]
    scores = np.clip(0.3 * labels + 0.7 * rng.random((120, 3)), 0, 1)
    found = evaluate_labels(labels, scores, np.arange(120), "abc", classes=True, resamples=100)
    assert found.mean_auc_interval[0] < found.mean_auc < found.mean_auc_interval[1]
    assert found.macro_f1_interval[0] < found.macro_f1 < found.macro_f1_interval[1]
    right = int((scores.argmax(axis=1) == kinds).sum())
    assert found.accuracy_interval == proportion_interval(right, 120)
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()
    few = evaluate_labels(labels[:40], scores[:40], np.arange(40), "abc", classes=True)
    assert (few.mean_auc_interval, few.macro_f1_interval) == (None, None)


def test_labels_that_never_differ_are_refused():
    with pytest.raises(BadLabels, match="of the labels a, b each is the same in all 3 scored rows"):
        evaluate_labels(np.ones((3, 2)), np.ones((3, 2)) / 2, np.arange(3), ["a", "b"])


def test_a_calibration_error_lies_within_its_interval_however_small_it_is():
    rng = np.random.default_rng(1)
    scores = rng.random(400)
    labels = (rng.random(400) < scores).astype(int)
    for shown in (scores, scores**4, labels.astype(float)):
        found = evaluate(labels, shown, np.ones(400), resamples=200)
        low, high = found.calibration_interval
        assert 0 <= low <= found.calibration_error <= high <= 1
    low, high = evaluate(labels, scores**4, np.ones(400), resamples=200).calibration_interval
    assert 0.02 < high - low < 0.15
