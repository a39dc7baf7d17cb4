"""Tests ``detect/solver.py``: the weights of scikit-learn on the columns themselves, and fair folds."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from splinelens.detect.solver import (
    STRENGTHS,
    Basis,
    balanced_weights,
    cross_validate,
    fit,
    folds,
    gram_factor,
)
from splinelens.errors import BadFeatures, BadLabels

NAMES = ("first", "second", "rare")


def table(rows=160, columns=8, seed=0):
    """Random columns, of which the first three each make up a label; the third is rare."""
    values = np.random.default_rng(seed).normal(size=(rows, columns)).astype(np.float32)
    return values, (values[:, :3] > [0.0, 0.3, 1.2]).astype(int)


def wide_table(rows=90, columns=400, seed=2):
    """Columns far from 0, with two labels that overlap."""
    rng = np.random.default_rng(seed)
    values = rng.normal(3, 2, size=(rows, columns)).astype(np.float32)
    sums = values[:, :80].reshape(rows, 2, 40).sum(axis=2) + rng.normal(0, 9, size=(rows, 2))
    return values, (sums > [120, 130]).astype(int)


def direct(values, y, C):
    """scikit-learn on the standardized columns themselves."""
    rows = StandardScaler().fit_transform(values.astype(np.float64))
    model = LogisticRegression(C=C, class_weight="balanced", tol=1e-10, max_iter=100_000)
    return rows, model.fit(rows, y)


@pytest.mark.parametrize(("rows", "columns"), [(90, 400), (90, 5000), (300, 40), (300, 299)])
@pytest.mark.parametrize("C", [1e-3, 1e-1])
def test_weights_are_those_of_scikit_learn_on_the_columns(rows, columns, C):
    values, labels = wide_table(rows, max(columns, 80))
    values = values[:, :columns]
    head = Basis.of(values).fitted_head(labels, [C, C])
    for label in range(2):
        standardized, model = direct(values, labels[:, label], C)
        largest = np.abs(model.coef_).max()
        assert head.weight[label] == pytest.approx(model.coef_[0], abs=1e-4 * largest)
        expected = model.decision_function(standardized)
        assert head.logit(values)[:, label] == pytest.approx(expected, abs=1e-4 * float(np.ptp(expected)))


def test_the_basis_keeps_inner_products():
    values, _ = wide_table()
    standardized = StandardScaler().fit_transform(values.astype(np.float64))
    coordinates = Basis.of(values).coordinates
    assert coordinates @ coordinates.T == pytest.approx(standardized @ standardized.T, abs=1e-3)


def test_all_rows_as_anchors_are_the_exact_basis_and_half_of_them_come_close():
    values, labels = wide_table(200, 500)
    exact = Basis.of(values).fitted_head(labels, [1e-3, 1e-3]).logit(values)
    same = Basis.of(values, anchors=np.arange(200)).fitted_head(labels, [1e-3, 1e-3]).logit(values)
    assert same == pytest.approx(exact, abs=1e-3)
    half = Basis.of(values, anchors=np.arange(0, 200, 2))
    assert half.coordinates.shape == (200, 100)
    near = half.fitted_head(labels, [1e-3, 1e-3]).logit(values)
    assert np.corrcoef(near[:, 0], exact[:, 0])[0, 1] > 0.8


def test_numbers_that_are_not_finite_are_refused():
    values, labels = table()
    with pytest.raises(BadFeatures, match="no columns"):
        fit(values[:, :0], labels[:, :1])
    for rows in (values, wide_table(160, 400)[0]):
        rows[3, 2] = np.inf
        with pytest.raises(BadFeatures, match="not finite"):
            fit(rows, labels[:, :1])


def test_rows_that_occur_twice_and_constant_columns_are_no_problem():
    values, labels = wide_table(60, 400)
    twice, y = np.concatenate([values, values]), np.concatenate([labels, labels])[:, :1]
    twice[:, 7] = 2.5
    _, model = direct(twice, y[:, 0], 1e-2)
    head = Basis.of(twice).fitted_head(y, [1e-2])
    assert head.weight[0] == pytest.approx(model.coef_[0], abs=1e-4 * np.abs(model.coef_).max())


def test_both_classes_weigh_the_same_and_rows_left_out_weigh_nothing():
    assert balanced_weights(np.array([1, 0, 0, 0])).tolist() == [2.0, 2 / 3, 2 / 3, 2 / 3]
    keep = np.array([True, True, False, True])
    assert balanced_weights(np.array([0, 0, 1, 1]), keep).tolist() == [0.75, 0.75, 0.0, 1.5]


def test_out_of_fold_logits_are_those_of_heads_fitted_one_by_one():
    values, labels = wide_table()
    fold, strengths = np.where(np.arange(90) < 80, np.arange(90) % 4, -1), [1e-1, 1e-3, 1e-2]
    standardized = StandardScaler().fit_transform(values.astype(np.float64))
    chosen = cross_validate(gram_factor(standardized @ standardized.T), labels, fold, strengths)
    assert np.isnan(chosen.logits[80:]).all()
    for label, y in enumerate(labels.T):
        aucs = []
        for C in strengths:
            logits = np.full(90, np.nan)
            for number in range(4):
                held_out = fold == number
                model = LogisticRegression(C=C, class_weight="balanced", tol=1e-10, max_iter=100_000)
                model.fit(standardized[~held_out], y[~held_out])
                logits[held_out] = model.decision_function(standardized[held_out])
            aucs.append(roc_auc_score(y[:80], logits[:80]))
            if chosen.strengths[label] == C:
                expected = logits[:80]
                assert chosen.logits[:80, label] == pytest.approx(
                    expected, abs=1e-3 * float(np.ptp(expected))
                )
        assert chosen.auc[label] == pytest.approx(aucs, abs=1e-3)
        assert chosen.strengths[label] == strengths[int(np.argmax(chosen.auc[label]))]


def test_each_label_of_several_has_the_head_of_a_single_fit():
    values, labels = table()
    fitted = fit(values, labels, names=NAMES, strengths=(1.0,))
    assert list(fitted.settings["C"]) == list(fitted.settings["validation_auc"]) == list(NAMES)
    for index in range(3):
        single = fit(values, labels[:, [index]], strengths=(1.0,))
        expected = single.head.logit(values)[:, 0]
        assert fitted.head.logit(values)[:, index] == pytest.approx(expected, abs=1e-6)


def test_the_best_strength_out_of_fold_is_chosen_and_all_are_recorded():
    values, labels = wide_table()
    settings = fit(values, labels[:, :1]).settings
    assert list(settings["validation_auc"]) == [str(C) for C in STRENGTHS]
    assert settings["validation_auc"][str(settings["C"])] == max(settings["validation_auc"].values())


def test_noise_is_learned_by_heart_but_not_out_of_fold():
    values, _ = wide_table(100)
    noise = np.random.default_rng(1).integers(0, 2, size=(100, 2))
    fitted = fit(values, noise, names=("a", "b"), strengths=(0.1,))
    seen = fitted.head.logit(values)
    assert (((seen > 0) == noise).mean(axis=0) > 0.9).all()
    assert (((fitted.logits > 0) == noise).mean(axis=0) < 0.7).all()


def test_rows_of_one_text_are_in_one_fold():
    _, labels = table()
    groups = np.arange(160) // 2
    parts = list(folds(labels[groups * 2], np.ones(160, dtype=bool), groups, 0))
    assert sorted(np.concatenate(parts).tolist()) == list(range(160))
    assert all((np.bincount(groups[part])[groups[part]] == 2).all() for part in parts)


def test_groups_of_both_classes_stay_whole_and_folds_keep_their_shares():
    labels, groups = np.arange(300)[:, None] % 3 == 0, np.arange(300) // 7
    parts = list(folds(labels.astype(int), np.ones(300, dtype=bool), groups, 0))
    assert sorted(np.concatenate(parts).tolist()) == list(range(300))
    assert len(parts) == 5
    assert sum(len(np.unique(groups[part])) for part in parts) == len(np.unique(groups))
    assert all(abs(labels[part].mean() - 1 / 3) < 0.05 for part in parts)


def test_fewer_groups_than_folds_give_a_fold_each():
    labels, groups = np.arange(60)[:, None] % 2, np.arange(60) // 20
    parts = list(folds(labels, np.ones(60, dtype=bool), groups, 0))
    assert sorted(np.unique(groups[part]).tolist() for part in parts) == [[0], [1], [2]]


def test_no_row_is_judged_by_a_head_fitted_on_its_group():
    # What a group's rows share says their label, at random from group to group: only a leak finds it.
    rng = np.random.default_rng(0)
    groups, shared = np.arange(200) // 10, rng.normal(size=(20, 30))
    labels = rng.permutation(np.arange(20) % 2)[groups][:, None]
    values = (shared[groups] + 0.1 * rng.normal(size=(200, 30))).astype(np.float32)
    logits = fit(values, labels, groups=groups, strengths=(0.1,)).logits[:, 0]
    assert roc_auc_score(labels[:, 0], logits) < 0.75
    assert roc_auc_score(labels[:, 0], fit(values, labels, strengths=(0.1,)).logits[:, 0]) > 0.95


def test_rows_of_equal_texts_join_their_groups():
    values, labels = table()
    texts = np.where(np.arange(160) % 2, 0, np.arange(160))  # one text is in every second row
    with pytest.raises(BadLabels, match=r"all \d+ positive rows are in one group, rows of equal texts"):
        fit(values, labels[:, :1], texts=texts, groups=np.arange(160) // 2)


def test_a_class_within_one_group_is_refused():
    values, _ = table()
    labels = (np.arange(160) < 80).astype(int)
    with pytest.raises(BadLabels, match=r"all 80 positive rows are in one group.*each class rows in two"):
        fit(values, labels, groups=np.arange(160) // 80)


def test_a_text_is_judged_by_a_head_that_never_saw_it_in_a_row_that_only_helps():
    values, _ = wide_table(100)
    groups, judged = np.arange(100) % 50, np.arange(100) < 50
    values[50:] = values[:50]
    noise = np.random.default_rng(0).integers(0, 2, 50)
    labels = np.concatenate([noise, noise])[:, None]
    logits = fit(values, labels, judged=judged, texts=groups, strengths=(0.1,)).logits[:, 0]
    assert roc_auc_score(noise, logits) < 0.75
    leaked = fit(values, labels, judged=judged, strengths=(0.1,)).logits[:, 0]
    assert roc_auc_score(noise, leaked) > 0.95


def test_sets_of_labels_are_spread_over_the_folds():
    _, labels = table(rows=200)
    parts = list(folds(labels, np.ones(200, dtype=bool), np.arange(200), 0))
    counts = np.array([labels[part].sum(axis=0) for part in parts])
    assert (counts.max(axis=0) - counts.min(axis=0) <= 3).all()
    assert counts.sum(axis=0).tolist() == labels.sum(axis=0).tolist()


def test_only_judged_rows_have_logits_in_order():
    values, labels = table()
    judged, C = np.arange(160) % 4 != 0, 1.0
    logits = fit(values, labels[:, :1], judged=judged, strengths=(C,)).logits
    assert logits.shape == (120, 1)
    row = int(np.flatnonzero(judged)[7])
    part = next(part for part in folds(labels[:, :1], judged, np.arange(160), 0) if row in part)
    keep = ~np.isin(np.arange(160), part)
    rows = StandardScaler().fit_transform(values.astype(np.float64))
    model = LogisticRegression(C=C, class_weight="balanced", tol=1e-9).fit(rows[keep], labels[keep, 0])
    assert logits[7, 0] == pytest.approx(model.decision_function(rows[[row]])[0], abs=1e-3)


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
    with pytest.raises(BadLabels, match=r"labels are \[0, 2\] where 0 and 1 are needed"):
        fit(values, np.arange(160)[:, None] % 2 * 2)


def test_few_texts_in_many_rows_are_refused():
    values, _ = table()
    with pytest.raises(BadLabels, match="of 8 different texts are too few to fit a detector"):
        fit(values, (np.arange(160) % 8 < 4)[:, None].astype(int), texts=np.arange(160) % 8)


def test_one_in_many_is_fitted_where_ten_are_present():
    rng = np.random.default_rng(0)
    values, labels = rng.normal(size=(5010, 4)).astype(np.float32), np.zeros((5010, 1), dtype=int)
    labels[:10], values[:10, 0] = 1, 6
    logits = fit(values, labels, strengths=(1e-2,)).logits
    assert logits[:10].min() > np.quantile(logits[10:], 0.99)


def test_the_eigenbasis_gives_the_same_logits():
    values, labels = wide_table()
    basis = Basis.of(values)
    size, vectors = np.linalg.eigh(basis.coordinates @ basis.coordinates.T)
    model = LogisticRegression(C=1e-2, tol=1e-9, max_iter=100_000)
    eigenbasis = vectors * np.sqrt(size.clip(min=0))
    expected = model.fit(
        eigenbasis, labels[:, 0], sample_weight=balanced_weights(labels[:, 0])
    ).decision_function(eigenbasis)
    logits = basis.fitted_head(labels[:, :1], [1e-2]).logit(values)[:, 0]
    assert logits == pytest.approx(expected, abs=1e-4 * float(np.ptp(expected)))
