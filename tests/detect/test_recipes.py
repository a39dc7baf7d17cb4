"""Tests ``detect/recipes.py``: what is fitted, how its strength is chosen, how few rows are too few."""

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.metrics import roc_auc_score

from splinelens.detect.recipes import STRENGTHS, ValidationDraw, forest, logistic, require_rows
from splinelens.errors import BadLabels


def table(rows=200, columns=12, seed=0, share=0.5, lean=0.8):
    """A random float32 table whose first three columns lean to the labels."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) < round(share * rows)).astype(int)
    values = rng.normal(size=(rows, columns)) * 3 + 5
    values[:, :3] += lean * labels[:, None]
    return values.astype(np.float32), labels


def test_the_chosen_strength_has_the_best_validation_auc():
    values, labels = table()
    search = logistic(seed=1).fit(values, labels)
    found = search.cv_results_["mean_test_score"]
    assert search.best_params_["head__C"] == STRENGTHS[int(np.argmax(found))]
    [(fitted, held)] = ValidationDraw(1).split(values, labels)
    for strength, score in zip(STRENGTHS, found, strict=True):
        pipeline = clone(search.estimator).set_params(head__C=strength).fit(values[fitted], labels[fitted])
        again = roc_auc_score(labels[held], pipeline.decision_function(values[held]))
        assert score == pytest.approx(again, abs=1e-12)
    assert len(set(found)) > 1


def test_the_head_is_fitted_on_all_rows_with_the_chosen_strength():
    values, labels = table()
    search = logistic().fit(values, labels)
    again = clone(search.estimator).set_params(**search.best_params_).fit(values, labels)
    assert search.best_estimator_["head"].coef_ == pytest.approx(again["head"].coef_, abs=1e-6)
    assert search.best_estimator_["standardise"].n_samples_seen_ == len(values)


def test_the_same_seed_gives_the_same_heads():
    values, labels = table()
    same = [logistic(seed=2).fit(values, labels).best_estimator_["head"].coef_ for _ in range(2)]
    assert same[0] == pytest.approx(same[1], abs=1e-6)
    shares = [forest(seed).fit(values, labels).predict_proba(values) for seed in (2, 2, 3)]
    assert (shares[0] == shares[1]).all()
    assert (shares[0] != shares[2]).any()


@pytest.mark.parametrize("recipe", [logistic, forest], ids=["logistic", "forest"])
def test_classes_weigh_the_same_whatever_their_shares(recipe):
    labels = table(rows=400, share=0.1)[1]
    blind = np.ones((400, 2), dtype=np.float32)
    scores = recipe().fit(blind, labels).predict_proba(blind)[:, 1]
    assert scores == pytest.approx(0.5, abs=0.05)  # unweighted: 0.1


@pytest.mark.parametrize("columns", [1, 500])
@pytest.mark.parametrize("recipe", [logistic, forest], ids=["logistic", "forest"])
def test_narrow_and_wide_tables_are_fitted(recipe, columns):
    values, labels = table(rows=60, columns=columns, lean=9.0)
    fitted = recipe().fit(values, labels)
    assert roc_auc_score(labels, fitted.predict_proba(values)[:, 1]) > 0.95


def test_columns_that_never_change_do_no_harm():
    values, labels = table()
    values[:, 5:] = 0.1
    head = logistic().fit(values, labels).best_estimator_["head"]
    assert np.abs(head.coef_[0, 5:]).max() < 1e-4 * np.abs(head.coef_[0, :3]).max()


def test_twenty_rows_are_enough():
    values, labels = table(rows=20, lean=4.0)
    search = logistic().fit(values, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert roc_auc_score(labels, search.decision_function(values)) == 1.0


@pytest.mark.parametrize(
    ("rows", "share", "held"), [(20, 0.5, (2, 2)), (200, 0.05, (2, 28)), (400, 0.5, (30, 30))]
)
def test_the_validation_draw_takes_15_percent_of_each_class_which_is_two_or_more(rows, share, held):
    labels = table(rows=rows, share=share)[1]
    [(fitted, judged)] = ValidationDraw().split(None, labels)
    assert ((labels[judged] == 1).sum(), (labels[judged] == 0).sum()) == held
    assert sorted([*fitted, *judged]) == list(range(rows))


def test_the_validation_draw_depends_on_its_seed_alone():
    labels = table()[1]
    draws = [next(ValidationDraw(seed).split(None, labels))[1].tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1] != draws[2]


def test_a_class_of_nine_rows_is_refused_with_the_number_needed():
    values, labels = table(rows=100, share=0.09)
    message = r"^9 positive of 100 rows are too few to fit a detector; give at least 10 of each class$"
    with pytest.raises(BadLabels, match=message):
        logistic().fit(values, labels)
    with pytest.raises(BadLabels, match=r"^9 negative of 100 rows"):
        require_rows(1 - labels)


def test_one_class_is_refused():
    values, labels = table()
    with pytest.raises(BadLabels, match=r"^0 negative of 200 rows are too few"):
        logistic().fit(values, np.ones_like(labels))
    with pytest.raises(BadLabels, match=r"^0 positive and 5 negative of 5 rows are too few"):
        require_rows(np.zeros(5))


def test_labels_of_other_values_are_refused():
    with pytest.raises(BadLabels, match=r"labels are \[1, 2\] where 0 and 1 are fitted"):
        require_rows(np.repeat([1, 2], 20))
