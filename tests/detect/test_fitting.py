"""Tests ``detect/fitting.py``: heads of several labels, folds that keep repeated texts together."""

import numpy as np
import pytest

from splinelens.detect import fitting
from splinelens.detect.fitting import FOLDS, fit, fitted_head, folds
from splinelens.detect.recipes import STRENGTHS, logistic
from splinelens.detect.wide import gram
from splinelens.errors import BadFeatures, BadLabels

NAMES = ("first", "second", "rare")


def table(rows=160, seed=0):
    """Random columns, of which the first three each make up a label; the third is rare."""
    values = np.random.default_rng(seed).normal(size=(rows, 8)).astype(np.float32)
    limits = np.array([0.0, 0.3, 1.2])
    return values, (values[:, :3] > limits).astype(int)


def test_one_label_is_what_a_search_and_plain_folds_give():
    from sklearn.model_selection import StratifiedKFold

    values, labels = table()
    y, strengths = labels[:, 1], (1e-3, 1e-1)
    found = fit(values, labels[:, 1:2], strengths=strengths, seed=3)
    search = logistic(3, strengths).fit(values, y)
    assert found.settings["C"] == search.best_params_["head__C"]
    assert found.head.logit(values)[:, 0] == pytest.approx(search.decision_function(values), abs=1e-5)
    for keep, held in StratifiedKFold(FOLDS, shuffle=True, random_state=3).split(values, y):
        apart = search.best_estimator_.fit(values[keep], y[keep])
        assert found.logits[held, 0] == pytest.approx(apart.decision_function(values[held]), abs=1e-5)


def test_a_table_with_more_columns_than_rows_gets_the_head_that_scikit_learn_finds():
    rng = np.random.default_rng(2)
    values = rng.normal(3, 2, size=(90, 3000)).astype(np.float32)
    labels = (values[:, :60].sum(1, keepdims=True) > values[:, :60].sum(1).mean()).astype(int)
    labels = np.concatenate([labels, (values[:, 50:90].sum(1, keepdims=True) > 121).astype(int)], axis=1)
    judge = np.arange(90) < 70
    found = fit(values, labels, judged=judge, names=NAMES[:2], strengths=(1e-3, 1e-2))
    assert found.logits.shape == (70, 2)
    for place, name in enumerate(NAMES[:2]):
        slow = logistic().estimator.set_params(head__C=found.settings["C"][name], head__tol=1e-8)
        expected = slow.fit(values, labels[:, place]).decision_function(values)
        assert found.head.logit(values)[:, place] == pytest.approx(
            expected, abs=5e-3 * float(np.ptp(expected))
        )
        for held in folds(labels, judge, np.arange(90), 0):
            keep = ~np.isin(np.arange(90), held)
            apart = slow.fit(values[keep], labels[keep, place]).decision_function(values[held])
            # The columns are standardised over all rows, not over the others alone.
            assert np.corrcoef(found.logits[held, place], apart)[0, 1] > 0.98


@pytest.mark.parametrize(("rows", "columns"), [(300, 700), (300, 200)])
def test_rows_too_many_for_their_inner_products_get_the_heads_of_an_exact_solver(monkeypatch, rows, columns):
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(7)
    values = rng.normal(3, 2, size=(rows, columns)).astype(np.float32)
    sums = values[:, :80].reshape(rows, 2, 40).sum(axis=2) + rng.normal(0, 9, size=(rows, 2))
    labels = (sums > [120, 130]).astype(int)
    whole = fit(values, labels, names=NAMES[:2], strengths=(1e-3, 1e-2), prior=np.ones(columns))
    monkeypatch.setattr(fitting, "MOST_GRAM_ROWS", 100)
    monkeypatch.setattr(fitting, "_CHOOSING_ROWS", 90)
    monkeypatch.setattr(fitting, "_NARROW", 100)
    sizes = []
    monkeypatch.setattr(fitting, "gram", lambda blocks: sizes.append(gram(blocks)) or sizes[-1])
    monkeypatch.setattr(fitting, "logistic", None)  # scikit-learn has no part in it
    assert list(fit(values, labels, names=NAMES[:2]).settings["validation_auc"]["first"]) == [
        str(C) for C in STRENGTHS
    ]
    assert [len(products) <= 90 for products in sizes] == [True]
    chosen = (whole.settings["C"]["first"],)
    found = fit(values, labels, names=NAMES[:2], strengths=chosen)
    flat = (values - values.mean(0)) / values.std(0)
    for place in range(2):
        exact = LogisticRegression(C=chosen[0], class_weight="balanced", tol=1e-8, max_iter=5000)
        expected = exact.fit(flat, labels[:, place]).decision_function(flat)
        within = 5e-3 * float(np.ptp(expected))
        assert found.head.logit(values)[:, place] == pytest.approx(expected, abs=within)
    assert found.logits[:, 0] == pytest.approx(whole.logits[:, 0], abs=within)


def test_rows_that_choose_a_strength_hold_rare_classes_and_whole_texts(monkeypatch):
    monkeypatch.setattr(fitting, "_CHOOSING_ROWS", 200)
    labels = np.stack([np.arange(1000) % 2, np.arange(1000) < 12], axis=1)
    groups, judge = np.arange(1000) // 2, np.arange(1000) % 5 > 0
    some = fitting._choosing(labels, judge, groups, 0)
    assert 150 < len(some) < 400
    assert labels[some, 1].sum() == 12
    assert (np.bincount(groups[some]) != 1).all()
    assert {(a, b) for a, b in zip(labels[some, 0], judge[some], strict=True)} == {
        (0, True),
        (0, False),
        (1, True),
        (1, False),
    }


def test_a_head_on_a_wide_table_has_the_strength_given_for_each_label():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(5)
    values = rng.normal(3, 2, size=(60, 400)).astype(np.float32)
    labels = (values[:, [0, 1]] + values[:, [2, 3]] > 6).astype(int)
    found = fitted_head(values, labels, "logistic", [1e-3, 1e-1], 0).logit(values)
    rows = (values - values.mean(0)) / values.std(0)
    for place, C in enumerate([1e-3, 1e-1]):
        slow = LogisticRegression(C=C, class_weight="balanced", tol=1e-8, max_iter=5000)
        expected = slow.fit(rows, labels[:, place]).decision_function(rows)
        assert found[:, place] == pytest.approx(expected, abs=5e-3 * float(np.ptp(expected)))


def test_a_prior_is_a_factor_on_the_standardised_column():
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(4)
    values = rng.normal(2, 3, size=(120, 200)).astype(np.float32)
    labels = (values[:, :20].sum(1, keepdims=True) > 40).astype(int)
    prior = np.where(np.arange(200) < 10, 0.1, 1.0)
    found = fit(values, labels, strengths=(1e-2,), prior=prior)
    rows = (values - values.mean(0)) / values.std(0) * np.sqrt(prior)
    slow = LogisticRegression(C=1e-2, class_weight="balanced", tol=1e-8, max_iter=5000).fit(
        rows, labels[:, 0]
    )
    assert found.head.logit(values)[:, 0] == pytest.approx(slow.decision_function(rows), abs=2e-3)
    even = fit(values, labels, strengths=(1e-2,), prior=np.ones(200))
    assert even.logits == pytest.approx(fit(values, labels, strengths=(1e-2,)).logits)
    assert np.abs(even.logits - found.logits).max() > 0.01


@pytest.mark.parametrize("prior", [np.ones(7), np.zeros(8), np.full(8, np.nan)])
def test_a_prior_that_does_not_fit_the_columns_is_refused(prior):
    values, labels = table()
    with pytest.raises(BadFeatures, match=r"for 8 columns: give each one above 0"):
        fit(values, labels[:, :1], prior=prior)
    with pytest.raises(BadFeatures, match="a prior is for recipe 'logistic'"):
        fit(values, labels[:, :1], recipe="forest", prior=np.ones(8))


def test_each_label_of_several_has_the_head_it_would_have_alone():
    values, labels = table()
    found = fit(values, labels, names=NAMES, strengths=(1e-2, 1.0))
    assert list(found.settings["C"]) == list(found.settings["validation_auc"]) == list(NAMES)
    for place, name in enumerate(NAMES):
        alone = fit(values, labels[:, [place]], strengths=(1e-2, 1.0))
        assert alone.settings["C"] == found.settings["C"][name]
        assert alone.head.logit(values)[:, 0].tolist() == found.head.logit(values)[:, place].tolist()


def test_out_of_fold_logits_come_from_heads_that_did_not_see_the_row():
    values, _ = table(rows=100)
    noise = np.random.default_rng(1).integers(0, 2, size=(100, 2))
    found = fit(values, noise, recipe="forest", names=("a", "b"))
    seen = found.head.logit(values)
    for place in range(2):
        right = (seen[:, place] > 0) == noise[:, place]
        unseen = (found.logits[:, place] > 0) == noise[:, place]
        assert right.mean() > 0.9
        assert unseen.mean() < 0.7


def test_rows_of_one_text_are_in_one_fold_and_never_help_to_judge_each_other(monkeypatch):
    values, labels = table()
    groups = np.arange(160) // 2
    labels = labels[groups * 2, :2]
    kept = []
    monkeypatch.setattr(
        fitting, "fitted_head", lambda rows, *rest: kept.append(len(rows)) or fitted_head(rows, *rest)
    )
    judge = np.arange(160) % 2 == 0  # each text has a row that judges and one that only helps
    fit(values, labels, judged=judge, names=NAMES[:2], strengths=(1.0,), groups=groups)
    assert kept[0] == 160
    assert sum(160 - rows for rows in kept[1:]) == 160
    parts = list(folds(labels, np.ones(160, dtype=bool), groups, 0))
    assert sorted(np.concatenate(parts).tolist()) == list(range(160))
    assert all(
        np.bincount(groups[part]).max() == 2 == np.bincount(groups[part])[groups[part]].min()
        for part in parts
    )


def test_a_text_that_is_there_twice_does_not_choose_the_strength_either():
    from splinelens.detect.recipes import ValidationDraw

    labels, groups = np.arange(80) % 2, np.arange(80) // 2 % 20
    [(fitted, held)] = ValidationDraw().split(None, labels, groups)
    assert not set(groups[fitted]) & set(groups[held])
    assert sorted([*fitted, *held]) == list(range(80))


def test_sets_of_labels_are_spread_over_the_folds():
    _, labels = table(rows=200)
    parts = list(folds(labels, np.ones(200, dtype=bool), np.arange(200), 0))
    counts = np.array([labels[part].sum(axis=0) for part in parts])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 3).all()
    assert counts.sum(axis=0).tolist() == labels.sum(axis=0).tolist()


def test_only_judged_rows_have_logits_in_order():
    values, labels = table()
    judge = np.arange(160) % 4 != 0
    found = fit(values, labels[:, :1], judged=judge, strengths=(1.0,))
    assert found.logits.shape == (120, 1)
    place = int(np.flatnonzero(judge)[7])
    part = next(part for part in folds(labels[:, :1], judge, np.arange(160), 0) if place in part)
    keep = ~np.isin(np.arange(160), part)
    apart = fitted_head(values[keep], labels[keep, :1], "logistic", [1.0], 0)
    assert apart.logit(values[[place]])[0, 0] == found.logits[7, 0]


def test_a_label_with_too_few_rows_is_named_with_its_counts():
    values, labels = table()
    labels[:, 2] = np.arange(160) < 9
    with pytest.raises(BadLabels, match="label 'rare': 9 positive of 160 rows are too few to fit"):
        fit(values, labels, names=NAMES)
    labels[:, 2] = np.arange(160) > 3
    with pytest.raises(BadLabels, match="label 'rare': 4 negative of 160 rows are too few"):
        fit(values, labels, names=NAMES)
    with pytest.raises(BadLabels, match=r"^0 positive of 160 rows are too few"):
        fit(values, np.zeros((160, 1)))
    with pytest.raises(BadFeatures, match="no recipe 'tree'; there are logistic and forest"):
        fit(values, labels, recipe="tree", names=NAMES)


def test_few_texts_in_many_rows_are_refused():
    values, _ = table()
    with pytest.raises(BadLabels, match="of 8 different texts are too few to fit a detector"):
        fit(values, (np.arange(160) % 8 < 4)[:, None].astype(int), groups=np.arange(160) % 8)


def test_one_in_many_is_fitted_where_ten_are_there():
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(5010, 4)).astype(np.float32), np.zeros((5010, 1), dtype=int)
    labels[:10], values[:10, 0] = 1, 6
    found = fit(values, labels, strengths=(1e-2,))
    assert found.logits[:10].min() > np.quantile(found.logits[10:], 0.99)
