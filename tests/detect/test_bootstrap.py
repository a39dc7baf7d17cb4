"""Tests ``detect/bootstrap.py``: metrics of a score histogram against scikit-learn, and their resamples."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from splinelens.detect.bootstrap import (
    ScoreHistogram,
    auc_interval,
    bootstrap,
    lost_recall_interval,
    percentile_interval,
)
from splinelens.detect.thresholds import score_at_fpr

LABELS, SCORES = np.array([0, 0, 1, 1, 0]), np.array([0.2, 0.4, 0.4, 0.9, 0.2])


def sample(n, seed=0, distinct=None, lean=1.0):
    """Random labels and scores in 0 .. 1 that lean to them; ``distinct`` scores make ties."""
    rng = np.random.default_rng(seed)
    labels = (rng.random(n) < 0.4).astype(int)
    scores = 1 / (1 + np.exp(-rng.normal(lean * labels, 1)))
    return labels, (np.round(scores * distinct) / distinct if distinct else scores)


def test_a_histogram_by_hand():
    histogram = ScoreHistogram.of(LABELS, SCORES)
    assert histogram.score.tolist() == [0.2, 0.4, 0.9]
    assert histogram.negative.tolist() == [2, 1, 0]
    assert histogram.positive.tolist() == [0, 1, 1]
    assert histogram.roc_auc() == (3 + 2.5) / 6
    assert histogram.recall_at_fpr(0.4) == 1.0  # one of three negative rows may be flagged, so all from 0.4
    assert histogram.recall_at_fpr(0.1) == 0.5


@pytest.mark.parametrize("distinct", [None, 20, 3, 1])
@pytest.mark.parametrize("seed", range(3))
def test_metrics_are_those_of_scikit_learn_with_and_without_ties(seed, distinct):
    labels, scores = sample(300, seed, distinct)
    histogram = ScoreHistogram.of(labels, scores)
    assert histogram.roc_auc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)
    assert histogram.brier() == pytest.approx(brier_score_loss(labels, scores), abs=1e-12)
    expected = average_precision_score(labels, scores)
    assert histogram.average_precision() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("kind", [np.int8, bool])
def test_labels_and_scores_may_have_any_number_type(kind):
    labels, scores = sample(60)
    single = scores.astype(np.float32)
    expected = roc_auc_score(labels, single)
    assert ScoreHistogram.of(labels.astype(kind), single).roc_auc() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_recall_is_the_best_point_of_the_roc_curve_under_the_rate(seed):
    labels, scores = sample(400, seed, distinct=40)
    false, true, _ = roc_curve(labels, scores, drop_intermediate=False)
    for rate in (0.001, 0.01, 0.05, 0.3):
        recall = ScoreHistogram.of(labels, scores).recall_at_fpr(rate)
        assert recall == pytest.approx(true[false <= rate].max())
        assert recall == (scores[labels == 1] > score_at_fpr(scores[labels == 0], rate)).mean()


def test_a_missing_class_has_no_auc_and_no_recall():
    histogram = ScoreHistogram.of(np.zeros(3), np.arange(3.0))
    assert np.isnan([histogram.roc_auc(), histogram.recall_at_fpr(0.05), histogram.average_precision()]).all()
    assert percentile_interval(np.array([np.nan])) is None


@pytest.mark.parametrize(("n", "resamples"), [(80, 30), (12_000, 5)], ids=["one block", "three blocks"])
def test_a_resample_is_one_of_rows_drawn_with_replacement(n, resamples):
    labels, scores = sample(n, distinct=15)
    metrics = {
        "auc": ScoreHistogram.roc_auc,
        "brier": ScoreHistogram.brier,
        "precision": ScoreHistogram.average_precision,
        "recall": lambda histogram: histogram.recall_at_fpr(0.05),
        "calibration": ScoreHistogram.calibration_error,
    }
    values, rng = bootstrap(labels, scores, metrics, resamples, seed=3), np.random.default_rng(3)
    assert all(len(resampled) == resamples for resampled in values.values())
    for number in range(resamples):
        rows = rng.integers(0, n, n)
        y, s = labels[rows], scores[rows]
        single = ScoreHistogram.of(y, s)
        recall = (s[y == 1] > score_at_fpr(s[y == 0], 0.05)).mean()
        assert {name: resampled[number] for name, resampled in values.items()} == pytest.approx(
            {
                "auc": roc_auc_score(y, s),
                "brier": brier_score_loss(y, s),
                "precision": average_precision_score(y, s),
                "recall": recall,
                "calibration": float(single.calibration_error()),
            },
            abs=1e-12,
        )


def test_the_interval_covers_the_true_auc_about_as_often_as_it_says():
    truth = roc_auc_score(*sample(100_000, seed=99))
    intervals = [auc_interval(*sample(200, seed), resamples=200) for seed in range(100)]
    assert sum(low <= truth <= high for low, high in intervals) >= 88  # 95 expected


def test_few_rows_or_no_resamples_have_no_interval():
    labels, scores = sample(50)
    assert auc_interval(labels, scores, resamples=20) is not None
    assert auc_interval(labels[:49], scores[:49], resamples=20) is None
    assert auc_interval(labels, scores, resamples=0) is None


def test_a_single_positive_row_still_has_an_interval():
    labels = np.arange(60) == 59  # about a third of the resamples lack it
    assert auc_interval(labels, np.linspace(0, 1, 60), resamples=50) == (1.0, 1.0)


def test_groups_are_resampled_whole():
    labels, scores = sample(120)
    groups, rng = np.arange(120) % 12, np.random.default_rng(3)
    values = bootstrap(labels, scores, {"auc": ScoreHistogram.roc_auc}, 20, 3, groups)["auc"]
    for value in values:
        rows = np.concatenate([np.flatnonzero(groups == drawn) for drawn in rng.integers(0, 12, 12)])
        assert value == pytest.approx(roc_auc_score(labels[rows], scores[rows]))


def test_repeated_rows_make_the_interval_of_single_rows_too_narrow():
    labels, scores = sample(100)
    labels, scores, groups = np.repeat(labels, 9), np.repeat(scores, 9), np.repeat(np.arange(100), 9)
    low, high = auc_interval(labels, scores, 300)
    least, most = auc_interval(labels, scores, 300, groups=groups)
    assert 2 < (most - least) / (high - low) < 4  # the square root of 9


def test_few_groups_have_no_interval():
    labels, scores = sample(100)
    flags = np.arange(100) % 3 == 0
    assert auc_interval(labels, scores, 20, groups=np.arange(100) % 10) is not None
    assert auc_interval(labels, scores, 20, groups=np.arange(100) % 9) is None
    assert lost_recall_interval(flags, ~flags, groups=np.arange(100) % 9) is None
    low, high = lost_recall_interval(flags, ~flags, groups=np.arange(100) % 20)
    assert low <= (2 * flags.mean() - 1) <= high
