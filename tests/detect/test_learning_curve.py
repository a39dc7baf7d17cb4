"""Tests ``detect/learning_curve.py``: points on held-out rows, a law only where it holds, and no further."""

import json

import numpy as np
import pytest

from splinelens.detect import learning_curve as learning
from splinelens.detect.heads import ForestHead, LinearHead
from splinelens.detect.learning_curve import LearningCurve, PowerLaw, learning_curve
from splinelens.errors import BadDetector, BadFeatures, BadLabels

SIZES = (50, 100, 200, 400, 800)


def table(rows=700, columns=6, seed=0, share=0.3, lean=1.0):
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) < round(share * rows)).astype(int)
    return rng.normal(size=(rows, columns)) + lean * labels[:, None] / columns**0.5, labels


def curve_of(means, spread=0.002, sizes=SIZES):
    """A curve as it is before its law is sought, with 5 draws evenly about each mean."""
    draws = tuple(tuple((mean + spread * np.linspace(-1.2, 1.2, 5)).tolist()) for mean in means)
    return learning._with_law(LearningCurve(sizes, draws, 500), np.random.default_rng(0))


class Watched:
    """Stands for ``fitted_head``: notes what is fitted; rows are told by their first number."""

    def __init__(self):
        self.fitted, self.judged, self.settings = [], [], []

    def __call__(self, rows, labels, *settings):
        self.fitted.append(rows[:, 0].astype(int))
        self.settings.append((labels.shape[1], *settings))
        return self

    def logit(self, rows):
        self.judged.append(rows[:, 0].astype(int))
        return np.repeat(rows[:, 1:2], self.settings[-1][0], axis=1)


@pytest.fixture
def watched(monkeypatch):
    watched = Watched()
    monkeypatch.setattr(learning, "fitted_head", watched)
    return watched


def numbered(labels):
    """Rows that hold their own number and their label."""
    return np.stack([np.arange(len(labels)), labels + 0.0], axis=1)


def test_all_draws_are_judged_on_the_same_rows_and_fitted_on_others(watched):
    labels = np.arange(400) % 4 == 0
    curve = learning_curve(numbered(labels), labels, draws=3)
    assert curve.rows == (50, 100, 200, 280)
    assert curve.auc == (1.0,) * 4
    (held,) = {tuple(judged) for judged in watched.judged}
    assert len(held) == curve.held_rows == 120
    assert sum(labels[list(held)]) == 30
    assert [len(draws) for draws in curve.draws] == [3, 3, 3, 1]
    assert sorted(map(len, watched.fitted)) == [50] * 3 + [100] * 3 + [200] * 3 + [280]
    assert not any({*fitted} & {*held} for fitted in watched.fitted)
    assert {abs(labels[fitted].mean() - 0.25) < 0.03 for fitted in watched.fitted} == {True}


def test_a_text_that_is_there_twice_never_judges_a_head_that_saw_it(watched):
    labels, groups = np.arange(400) % 200 % 4 == 0, np.arange(400) % 200
    curve = learning_curve(numbered(labels), labels, groups=groups, draws=2)
    assert (curve.held_rows, curve.rows[-1]) == (120, 280)
    held = {*groups[watched.judged[0]]}
    assert len(held) == 60
    assert not any({*groups[fitted]} & held for fitted in watched.fitted)


def test_a_text_of_half_the_rows_is_trained_on_and_does_not_empty_the_rest(watched):
    labels, groups = np.arange(400) % 2, np.maximum(np.arange(400) - 199, 0)
    curve = learning_curve(numbered(labels), labels, groups=groups, draws=1)
    assert curve.held_rows == 120
    assert min(watched.judged[0]) >= 200


def test_the_recipe_and_each_labels_strength_are_those_given(watched):
    labels = np.stack([np.arange(200) % 2, np.arange(200) % 3 == 0], axis=1)
    learning_curve(numbered(labels[:, 0]), labels, "logistic", [1e-5, 0.1], seed=3, draws=1)
    assert {*map(str, watched.settings)} == {"(2, 'logistic', [1e-05, 0.1], 3)"}
    with pytest.raises(BadFeatures, match="1 strengths for 2 labels"):
        learning_curve(numbered(labels[:, 0]), labels, "logistic", [0.1])


@pytest.mark.parametrize(("recipe", "kind"), [("logistic", LinearHead), ("forest", ForestHead)])
def test_the_head_is_the_one_that_training_fits(monkeypatch, recipe, kind):
    heads, whole = [], learning.fitted_head
    monkeypatch.setattr(learning, "fitted_head", lambda *given: heads.append(whole(*given)) or heads[-1])
    rows, labels = table(150)
    curve = learning_curve(rows, labels, recipe, draws=1)
    assert {*map(type, heads)} == {kind}
    assert len(heads) == len(curve.auc) == 2


def test_a_capped_curve_says_so():
    rows, labels = table(700)
    curve = learning_curve(rows, labels, most_rows=200, draws=2)
    assert curve.capped_from == 490
    assert curve.sentence.endswith(
        "The curve's largest point is capped at 200 rows; 490 could be trained on."
    )
    assert "capped" not in learning_curve(rows, labels, draws=2).sentence


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
    assert 0.5 < curve.auc[-1] < 0.8  # one can be learnt, the other is chance


def test_a_label_without_rows_of_a_class_counts_one_half():
    rows, labels = table(4000, share=0.004, lean=4.0)
    curve = learning_curve(rows, labels, most_rows=200)
    assert curve.rows == (50, 100, 200)
    assert 0.5 in curve.draws[0]
    assert all(0 <= value <= 1 for values in curve.draws for value in values)


@pytest.mark.parametrize(
    ("rows", "sizes"), [(99, []), (100, [50, 100]), (120, [50, 100]), (130, [50, 100, 130])]
)
def test_sizes_double_up_to_all(rows, sizes):
    assert learning._sizes(rows) == sizes


def test_few_rows_have_no_curve_and_say_so():
    rows, labels = table(60)
    curve = learning_curve(rows, labels)
    assert curve.rows == curve.auc == ()
    assert "42 rows to train on are too few for a curve, 100 are needed" in curve.sentence
    assert curve.gain() is None


@pytest.mark.parametrize(
    ("labels", "words"),
    [
        (np.zeros(60), r"columns \[0\] hold one class only"),
        (np.full(60, 2), r"labels are \[2\]"),
        (np.arange(59) % 2, "60 rows need as many labels"),
    ],
)
def test_labels_that_cannot_be_learnt_are_refused(labels, words):
    with pytest.raises(BadLabels, match=words):
        learning_curve(np.zeros((60, 2)), labels)


def test_a_power_law_is_found_and_followed_to_twice_the_rows():
    law = PowerLaw(0.95, 1.2, 0.5)
    curve = curve_of([law.at(size) for size in SIZES], spread=0.0005)
    assert curve.law.at(1600) == pytest.approx(law.at(1600), abs=0.002)
    assert curve.gain() == pytest.approx(law.at(1600) - law.at(800), abs=0.002)
    assert curve.gain(1.0) == 0
    low, high = curve.gain_range
    assert low <= curve.gain() <= high
    assert curve.sentence.startswith("Twice the rows (800 to 1,600 to train on) would add about 0.012 to the")
    with pytest.raises(BadDetector, match="nothing beyond 2 times"):
        curve.gain(2.5)


def test_a_flat_curve_says_that_more_rows_add_nothing():
    curve = curve_of([0.9] * 5, spread=0.0005)
    assert curve.gain() < 0.001
    assert "would add less than 0.00" in curve.sentence


@pytest.mark.parametrize(
    ("means", "spread", "why"),
    [
        ([0.7, 0.8, 0.85], 0.001, "3 points are too few, 4 are needed"),
        ([0.7, 0.8, 0.6, 0.8, 0.6], 0.001, "do not lie on a power law"),
        ([0.6, 0.62, 0.64, 0.66, 0.705], 0.02, "did not foretell the last"),
        ([0.6, 0.65, 0.69, 0.72, 0.745], 0.08, "differ too much"),
    ],
)
def test_no_forecast_where_the_points_support_none(means, spread, why):
    curve = curve_of(means, spread, SIZES[: len(means)])
    assert curve.law is None
    assert why in curve.why
    assert curve.sentence == f"No forecast of what more rows would add: {curve.why}."


def test_the_record_is_plain_json():
    record = learning_curve(*table(200), draws=2).to_dict()
    again = json.loads(json.dumps(record))
    assert again["rows"] == [50, 100, 140]
    assert again["spread"][-1] is None
    assert again["sentence"].startswith("No forecast")
