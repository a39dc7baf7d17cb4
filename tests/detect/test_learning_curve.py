"""Tests ``detect/learning_curve.py``: points on held-out rows, a law only where it holds, and no further."""

import numpy as np
import pytest

from splinelens.detect.learning_curve import (
    LearningCurve,
    PowerLaw,
    held_out_rows,
    learning_curve,
    with_law,
)
from splinelens.errors import BadFeatures, BadLabels

SIZES = (50, 100, 200, 400, 800)


def table(rows=700, columns=6, seed=0, share=0.3, lean=1.0):
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) < round(share * rows)).astype(int)
    return rng.normal(size=(rows, columns)) + lean * labels[:, None] / columns**0.5, labels


def curve_of(means, spread=0.002, sizes=SIZES):
    """A curve as it is before its law is fitted, with 5 samples evenly around each mean."""
    samples = tuple(tuple((mean + spread * np.linspace(-1.2, 1.2, 5)).tolist()) for mean in means)
    return with_law(LearningCurve(sizes, samples, 500), np.random.default_rng(0))


def noise_table(rows=400, columns=300):
    """Texts that occur twice, with labels that have nothing to do with them."""
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(rows // 2, columns)), np.arange(rows // 2) % 2
    return np.tile(values, (2, 1)), np.tile(rng.permutation(labels), 2)


def test_all_samples_are_judged_on_the_same_rows_with_the_same_share_of_labels():
    labels = np.arange(400) % 4 == 0
    held_out = held_out_rows(labels[:, None].astype(int), np.arange(400), np.random.default_rng(0))
    assert held_out.sum() == 120
    assert labels[held_out].sum() == 30
    curve = learning_curve(np.stack([np.arange(400), labels], axis=1), labels, samples=3)
    assert (curve.rows, curve.held_out_rows) == ((50, 100, 200, 280), 120)
    assert curve.auc == (1.0,) * 4
    assert [len(samples) for samples in curve.samples] == [3, 3, 3, 1]


def test_a_text_that_occurs_twice_never_judges_a_head_that_saw_it():
    values, labels = noise_table()
    groups = np.arange(400) % 200
    held_out = held_out_rows(labels[:, None], groups, np.random.default_rng(0))
    assert not {*groups[held_out]} & {*groups[~held_out]}
    fair = learning_curve(values, labels, groups=groups, samples=1)
    leaked = learning_curve(values, labels, samples=1)
    assert fair.auc[-1] < 0.65 < 0.8 < leaked.auc[-1]


def test_a_text_of_half_the_rows_is_trained_on_and_leaves_room_for_the_others():
    labels, groups = np.arange(400) % 2, np.maximum(np.arange(400) - 199, 0)
    held_out = held_out_rows(labels[:, None], groups, np.random.default_rng(0))
    assert held_out.sum() == 120
    assert not held_out[:200].any()


def test_the_smallest_group_is_held_out_where_all_are_large():
    labels, groups = np.arange(400) % 2, (np.arange(400) >= 180).astype(int)
    held_out = held_out_rows(labels[:, None], groups, np.random.default_rng(0))
    assert np.unique(groups[held_out]).tolist() == [0]
    assert held_out.sum() == 180


def test_each_label_has_the_strength_given():
    rows, labels = table(300)
    both = np.stack([labels, labels], axis=1)
    weak, strong = (learning_curve(rows, labels, [C], samples=1).auc[-1] for C in (1e-6, 10.0))
    assert weak != strong
    mixed = learning_curve(rows, both, [1e-6, 10.0], samples=1).auc[-1]
    assert mixed == pytest.approx((weak + strong) / 2)
    with pytest.raises(BadFeatures, match="1 strengths for 2 labels"):
        learning_curve(rows, both, [0.1])


def test_a_capped_curve_begins_with_the_rows_it_is_about():
    rows, labels = table(700)
    curve = learning_curve(rows, labels, max_rows=200, samples=2)
    assert curve.capped_from == 490
    assert curve.sentence.startswith("On 200 of your 490 rows to train on: ")
    assert not learning_curve(rows, labels, samples=2).sentence.startswith("On ")


def test_more_rows_give_a_better_auc_and_the_same_seed_the_same_curve():
    rows, labels = table(lean=1.0)
    curve = learning_curve(rows, labels)
    assert curve.rows == (50, 100, 200, 400)  # of 490: one with all rows would tell nothing new
    assert 0.6 < curve.auc[0] < curve.auc[-1] < 0.9
    assert all(0 <= spread < 0.1 for spread in curve.spread)
    assert curve == learning_curve(rows, labels)
    assert curve != learning_curve(rows, labels, seed=1)


def test_several_labels_are_fitted_one_by_one_and_averaged():
    rows, labels = table(300)
    both = np.stack([labels, np.random.default_rng(1).permutation(labels)], axis=1)
    curve = learning_curve(rows, both)
    assert 0.5 < curve.auc[-1] < 0.8  # one can be learned, the other is chance


def test_a_label_without_rows_of_a_class_counts_one_half():
    rows, labels = table(4000, share=0.004, lean=4.0)
    curve = learning_curve(rows, labels, max_rows=200)
    assert curve.rows == (50, 100, 200)
    assert 0.5 in curve.samples[0]
    assert all(0 <= value <= 1 for values in curve.samples for value in values)


@pytest.mark.parametrize(
    ("rows", "sizes"), [(141, ()), (143, (50, 100)), (172, (50, 100)), (186, (50, 100, 130))]
)
def test_sizes_double_up_to_all(rows, sizes):
    assert learning_curve(*table(rows), samples=1).rows == sizes


def test_few_rows_have_no_curve_and_say_so():
    rows, labels = table(60)
    curve = learning_curve(rows, labels)
    assert curve.rows == curve.auc == ()
    assert "42 rows to train on are too few for a curve, 100 are needed" in curve.sentence
    assert curve.law is None


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros(60), r"columns \[0\] hold one class only"),
        (np.full(60, 2), r"labels are \[2\]"),
        (np.arange(59) % 2, "60 rows need as many labels"),
    ],
)
def test_labels_that_cannot_be_learned_are_refused(labels, words):
    with pytest.raises(BadLabels, match=words):
        learning_curve(np.zeros((60, 2)), labels)


def test_a_power_law_is_found_and_followed_to_twice_the_rows():
    law = PowerLaw(0.95, 1.2, 0.5)
    curve = curve_of([law.at(size) for size in SIZES], spread=0.0005)
    assert curve.law.at(1600) == pytest.approx(law.at(1600), abs=0.002)
    assert curve.law.gain(800) == pytest.approx(law.at(1600) - law.at(800), abs=0.002)
    low, high = curve.gain_interval
    assert low <= curve.law.gain(800) <= high
    assert curve.sentence.startswith("Twice the rows (800 to 1,600 to train on) would add about 0.012 to the")


def test_a_flat_curve_says_that_more_rows_add_nothing():
    curve = curve_of([0.9] * 5, spread=0.0005)
    assert curve.law.gain(800) < 0.001
    assert "would add less than 0.00" in curve.sentence


@pytest.mark.parametrize(
    ("means", "spread", "reason"),
    [
        ([0.7, 0.8, 0.85], 0.001, "3 points are too few, 4 are needed"),
        ([0.7, 0.8, 0.6, 0.8, 0.6], 0.001, "do not lie on a power law"),
        ([0.6, 0.62, 0.64, 0.66, 0.705], 0.02, "did not predict the last"),
        ([0.6, 0.65, 0.69, 0.72, 0.745], 0.08, "differ too much"),
    ],
)
def test_no_forecast_where_the_points_support_none(means, spread, reason):
    curve = curve_of(means, spread, SIZES[: len(means)])
    assert curve.law is None
    assert reason in curve.reason
    assert curve.sentence == f"No forecast of what more rows would add: {curve.reason}."
