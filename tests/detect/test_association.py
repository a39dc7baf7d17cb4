"""Tests ``detect/association.py``."""

import sys
from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from scipy.stats import t

from splinelens.detect.association import Estimate, association, by_layer
from splinelens.errors import BadFeatures, MissingPackage


def audit(effect=0.0, *, prompts=10, levels=2, kinds=3, repeats=2, matched=True, by_length=0.0, seed=0):
    """Outcome, ID and length of a designed audit, and its prompts, cells and kinds."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*map(range, (prompts, levels, kinds, repeats)), indexing="ij")
    prompt, level, kind, _ = (axis.ravel() for axis in axes)
    added = 20 * (level + 1) * (1 if matched else rng.uniform(0.6, 1.4, len(level)))
    length = rng.integers(8, 30, prompts)[prompt] + np.round(added)
    signal, intercept = rng.normal(size=len(prompt)), rng.normal(size=prompts)[prompt]
    predictor = 40 * (1 - np.exp(-length / 40)) + 3 * intercept + 2 * signal
    logit = effect * signal + intercept + by_length * (length - length.mean()) / length.std()
    outcome = (rng.random(len(prompt)) < 1 / (1 + np.exp(-logit))).astype(float)
    return (outcome, predictor, length), {"prompt": prompt, "cell": prompt * levels + level, "kind": kind}


def pairs(right=15, wrong=5):
    """Cells of two rows with IDs 0 and 1; in the ``right`` ones the row with ID 1 is the positive one."""
    cell = np.arange(2 * (right + wrong)) // 2
    predictor = np.tile([0.0, 1.0], right + wrong)
    outcome = np.where(cell < right, predictor, 1 - predictor)
    return (outcome, predictor, 10 + cell), {"prompt": cell, "cell": cell, "kind": predictor.astype(int)}


def test_pairs_by_hand():
    result = association(*pairs()[0], **pairs()[1])
    assert (result.n, result.prompts, result.informative, result.positives) == (40, 20, 20, 20)
    assert result.correlation.value == pytest.approx((15 - 5) / 20)
    # 15 of 20 pairs are odds of 3 per unit; the standard deviation within cells is sqrt(20 * 0.5 / 20)
    deviation = np.sqrt(0.5)
    assert result.odds_ratio.value == pytest.approx(3**deviation, rel=1e-3)
    error = deviation * np.sqrt((15 * 0.25**2 + 5 * 0.75**2) * 20 / 19) / (20 * 0.25 * 0.75)
    wide = np.exp(t.ppf(0.975, 19) * error)
    expected = [3**deviation / wide, 3**deviation * wide]
    assert result.odds_ratio.interval == pytest.approx(expected, rel=1e-3)
    # 15 or more, or 5 or fewer, of 20 fair coins
    assert result.p_value == pytest.approx(0.0414, abs=0.015)
    assert result.p_within_kind is None


@pytest.mark.parametrize(("levels", "kinds", "repeats"), [(1, 2, 2), (2, 3, 1)])
def test_the_p_value_is_the_share_of_all_exchanges(levels, kinds, repeats):
    (_, predictor, length), design = audit(prompts=3, levels=levels, kinds=kinds, repeats=repeats, seed=3)
    outcome = np.random.default_rng(5).normal(size=len(predictor))
    shape = (3, levels, kinds, repeats)
    y, x = outcome.reshape(shape), predictor.reshape(shape)
    y, x = (values - values.mean(axis=(2, 3), keepdims=True) for values in (y, x))
    of_prompts = []
    for prompt in range(3):
        sums = []
        for order in permutations(range(kinds)):
            for inner in product(permutations(range(repeats)), repeat=levels * kinds):
                exchanged = y[prompt][:, order].reshape(-1, repeats)
                exchanged = np.array([row[list(take)] for row, take in zip(exchanged, inner, strict=True)])
                sums.append((exchanged.ravel() * x[prompt].ravel()).sum())
        of_prompts.append(np.array(sums))
    everything = np.abs(np.add.outer(np.add.outer(of_prompts[0], of_prompts[1]), of_prompts[2]))
    expected = np.mean(everything >= abs((x * y).sum()) - 1e-9)
    assert 0.02 < expected < 0.98
    result = association(outcome, predictor, length, **design, permutations=20_000)
    assert result.p_value == pytest.approx(expected, abs=4 * np.sqrt(expected * (1 - expected) / 20_000))


@pytest.mark.parametrize("matched", [True, False])
def test_neither_the_unit_of_id_nor_the_order_of_rows_matters(matched):
    (outcome, predictor, length), design = audit(0.8, levels=1, matched=matched)
    rows = np.random.default_rng(1).permutation(len(outcome))
    changed = association(
        outcome[rows],
        100 - 50 + 7 * predictor[rows],
        length[rows],
        **{
            name: np.array([f"{name} {value:03}" for value in values])[rows]
            for name, values in design.items()
        },
    )
    result = association(outcome, predictor, length, **design)
    assert changed.p_value == result.p_value
    assert changed.p_within_kind == result.p_within_kind
    assert changed.correlation.interval == pytest.approx(result.correlation.interval)
    assert changed.odds_ratio.value == pytest.approx(result.odds_ratio.value, rel=1e-3)
    assert changed.auc["gain"].value == pytest.approx(result.auc["gain"].value, abs=1e-3)
    assert changed.exact is matched


def test_what_prompt_and_length_do_to_id_changes_nothing_at_equal_length():
    (outcome, predictor, length), design = audit(0.8, levels=1)
    moved = predictor + np.random.default_rng(2).normal(0, 100, 10)[design["cell"]]
    before, after = (association(outcome, values, length, **design) for values in (predictor, moved))
    assert after.p_value == before.p_value
    assert after.correlation.value == pytest.approx(before.correlation.value)
    assert after.odds_ratio.value == pytest.approx(before.odds_ratio.value, rel=1e-3)


def test_undetermined_outcomes_are_left_out_and_counted():
    (outcome, predictor, length), design = audit(0.8, levels=1)
    missing = np.arange(len(outcome)) % 9 == 0
    result = association(np.where(missing, np.nan, outcome), predictor, length, **design)
    kept = {name: values[~missing] for name, values in design.items()}
    assert result == replace(
        association(outcome[~missing], predictor[~missing], length[~missing], **kept),
        excluded=int(missing.sum()),
    )


def test_only_length_is_not_taken_for_id_and_id_is_found():
    found = {"length": 0, "both": 0}
    for seed in range(20):
        for name, effect in (("length", 0.0), ("both", 1.0)):
            rows, design = audit(effect, by_length=3.0, matched=seed % 2 == 0, seed=seed)
            result = by_layer(rows[0], rows[1][:, None], rows[2], **design, permutations=199)
            found[name] += result.p_value[0] <= 0.05
    assert found["length"] <= 4
    assert found["both"] >= 15


def test_repetitions_that_share_their_sentences_do_not_count_as_independent():
    """ID and outcome depend on the sentences, each in its own way; rows as such would say p = 0.00001."""
    claims = 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        (_, _, length), design = audit(prompts=6, repeats=4)
        shared = [rng.normal(size=(6, 4))[design["prompt"], design["kind"]] for _ in range(2)]
        outcome, predictor = (values + 0.1 * rng.normal(size=len(values)) for values in shared)
        result = by_layer(outcome, predictor[:, None], length, **design, permutations=199)
        claims += result.p_value[0] <= 0.05
    assert claims <= 4


def test_what_the_kind_explains_is_not_there_within_kinds():
    (_, predictor, length), design = audit(prompts=20, kinds=4)
    predictor = predictor + 8 * design["kind"]
    outcome = (np.random.default_rng(1).random(len(predictor)) < 0.1 + 0.25 * design["kind"]).astype(float)
    result = association(outcome, predictor, length, **design)
    assert result.finding == "association"
    assert result.p_within_kind > 0.05


@pytest.mark.parametrize("outcome", [np.zeros(12), np.ones(12), np.full(12, 0.3), np.eye(12)[0]])
def test_one_class_or_one_positive_cannot_tell(outcome):
    (_, predictor, length), design = audit(prompts=3, levels=1, kinds=2)
    result = association(outcome, predictor, length, **design)
    assert result.finding == "cannot tell"
    assert result.n == 12
    assert result.odds_ratio.value is None
    assert result.odds_ratio.reason
    assert result.auc["both"].value is None


def test_no_outcome_cannot_tell():
    (outcome, predictor, length), design = audit(prompts=3)
    result = association(np.full(len(outcome), np.nan), predictor, length, **design)
    assert (result.n, result.excluded, result.finding) == (0, len(outcome), "cannot tell")


def test_one_prompt_cannot_tell():
    rows, design = audit(2.0, prompts=1, repeats=10)
    result = association(*rows, **design)
    assert result.finding == "cannot tell"
    assert result.correlation.interval is None
    assert (result.informative, result.prompts) == (1, 1)


@pytest.mark.parametrize("constant", ["over all rows", "within cells", "given the length"])
def test_an_id_that_says_nothing_more_than_length_cannot_tell(constant):
    (outcome, predictor, length), design = audit(matched=constant != "given the length", levels=1)
    if constant == "given the length":
        length = np.array([30, 40])[np.random.default_rng(0).integers(0, 2, len(length))]
    predictor = {"over all rows": np.full(len(length), 0.1), "within cells": np.sqrt(length)}.get(
        constant, 0.1 * length
    )
    result = association(outcome, predictor, length, **design)
    assert (result.finding, result.p_value, result.p_within_kind) == ("cannot tell", None, None)
    assert result.correlation == Estimate(None, None, result.correlation.reason)
    assert result.odds_ratio.value is None


def test_a_constant_length_is_worth_nothing():
    (outcome, predictor, length), design = audit(1.0)
    result = association(outcome, predictor, np.full(len(length), 20), **design)
    assert result.exact
    assert result.auc["length"].value == 0.5
    assert result.auc["gain"].value == pytest.approx(result.auc["predictor"].value - 0.5)


def test_separated_outcomes_have_no_odds_ratio_and_still_a_finding():
    result = association(*pairs(20, 0)[0], **pairs(20, 0)[1])
    assert result.odds_ratio.value is None
    assert "separate the outcomes" in result.odds_ratio.reason
    assert result.finding == "association"
    assert result.correlation == Estimate(1.0, (1.0, 1.0))


@pytest.mark.parametrize("matched", [True, False])
def test_an_id_that_decides_the_outcome_in_each_prompt_has_no_odds_ratio(matched):
    (_, predictor, length), design = audit(levels=1, matched=matched)
    middle = np.array([np.median(predictor[design["prompt"] == prompt]) for prompt in range(10)])
    result = association(predictor > middle[design["prompt"]], predictor, length, **design)
    assert result.finding == "association"
    assert "separate the outcomes" in result.odds_ratio.reason


def test_scores_have_a_correlation_and_no_odds():
    (outcome, predictor, length), design = audit(1.0)
    result = association(outcome + 0.5, predictor, length, **design)
    assert result.positives is None
    assert result.odds_ratio == Estimate(None, reason="the outcome is not yes or no")
    of_classes = association(outcome, predictor, length, **design).correlation
    assert result.correlation.value == pytest.approx(of_classes.value)
    assert result.correlation.interval == pytest.approx(of_classes.interval)


def test_layers_are_corrected_for_their_number():
    (outcome, predictor, length), design = audit(0.5)
    noise = np.random.default_rng(0).normal(size=(len(outcome), 20))
    single = association(outcome, predictor, length, **design)
    twice = by_layer(outcome, np.stack([predictor, -3 * predictor], axis=1), length, **design)
    many = by_layer(outcome, np.column_stack([predictor, noise, np.ones(len(noise))]), length, **design)
    assert twice.p_value.tolist() == [single.p_value] * 2
    assert twice.correlation == pytest.approx([single.correlation.value, -single.correlation.value])
    assert many.interval[0] == pytest.approx(single.correlation.interval)
    assert many.p_value[0] > single.p_value
    assert np.isnan(many.correlation[-1])
    assert many.p_value[-1] == 1
    assert (np.diff(many.p_value[np.argsort(-np.abs(many.correlation[:-1]))]) >= 0).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"predictor": [1.0, np.nan]}, "the predictor of row 1 is .*; it has to be a finite number"),
        ({"outcome": [1.0, np.inf]}, "the outcome of row 1 is inf; it has to be a number, or NaN"),
        ({"length": [0, 5]}, "the length of row 0 is 0; it has to be a number of tokens"),
        ({"cell": [1]}, "each row needs one value of each; there are .*'cell': 1"),
        ({"cell": [1, 1]}, "a cell has rows of two prompts"),
    ],
)
def test_broken_tables_are_refused(change, message):
    table = {"outcome": [0, 1], "predictor": [1.0, 2.0], "length": [3, 3]}
    table |= {"prompt": [0, 1], "cell": [0, 1], "kind": [0, 0]} | change
    with pytest.raises(BadFeatures, match=message):
        association(**{name: np.array(values) for name, values in table.items()})


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "statsmodels.discrete.conditional_models", None)
    rows, design = audit()
    with pytest.raises(MissingPackage, match=r"pip install 'splinelens\[audit\]'"):
        association(*rows, **design)
