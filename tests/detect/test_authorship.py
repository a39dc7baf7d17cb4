"""Tests ``detect/authorship.py``: known writers are told apart, and unknown ones from them."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from splinelens.detect.authorship import (
    Scaling,
    WriterHead,
    answer_pools,
    fit_writers,
    measure_text,
    prompt_folds,
)
from splinelens.errors import BadLabels, BrokenArtifact
from splinelens.features.ngrams import ngram_counts

NAMES = ("ann", "bob", "cat", "dan")


def planted(seed=0, prompts=12, noise=0.8):
    """Rows of four writers: columns that tell them, and others that tell prompts."""
    rng = np.random.default_rng(seed)
    labels, prompt = (axis.ravel() for axis in np.meshgrid(range(4), range(prompts), indexing="ij"))
    style, topic = np.eye(4, 6)[labels], rng.normal(size=(prompts, 6))[prompt]
    values = np.concatenate([style, topic], axis=1) + noise * rng.normal(size=(len(labels), 12)) / 4
    return values.astype(np.float32), labels, prompt


@pytest.fixture(scope="module")
def fitted():
    values, labels, prompt = planted()
    return fit_writers({"text": values, "margins": values[:, :6]}, labels, prompt, NAMES)


def test_planted_writers_are_told_apart_and_from_unknown_ones(fitted):
    values, labels, _ = planted(seed=1)
    scores, known = fitted.head.read({"text": values, "margins": values[:, :6]})
    assert (scores.argmax(axis=1) == labels).mean() > 0.9
    stranger = planted(seed=2)[0][:12]
    stranger[:, :6] = np.eye(6)[5]
    of_stranger = fitted.head.read({"text": stranger, "margins": stranger[:, :6]})[1]
    assert of_stranger.mean() < known.mean()
    assert set(fitted.unknown) == set(NAMES)
    assert np.mean(list(fitted.unknown.values())) > 0.7
    assert fitted.chosen.squared_error == min(one.squared_error for one in fitted.choices)
    low, high = fitted.chosen.interval
    assert low < fitted.chosen.accuracy <= high
    assert low < 1.0  # even where all rows are hits


def test_a_feature_set_is_ridge_regression_with_a_free_bias(fitted):
    values, labels, _ = planted()
    head = fitted.head.feature_sets["text"]
    rows = head.scaling.rows(values)
    alpha = 0.1 * np.mean((rows.astype(float) ** 2).sum(axis=1))
    target = np.where(labels[:, None] == np.arange(4), 1.0, -1.0)
    expected = Ridge(alpha=alpha).fit(rows, target).predict(rows)
    np.testing.assert_allclose(head.read(values)[0], expected, atol=1e-4)


def test_rows_of_a_feature_set_have_a_mean_squared_length_of_one():
    values, _, _ = planted()
    for one in (values, ngram_counts(["a b", "c", "abc abc"])):
        rows = Scaling.of(one).rows(one)
        rows = rows if isinstance(rows, np.ndarray) else rows.toarray()
        assert (rows**2).sum(axis=1).mean() == pytest.approx(1.0, abs=1e-4)
    assert Scaling.of(ngram_counts(["a"])).rows(ngram_counts([""])).nnz == 0


def test_a_column_that_is_constant_in_the_fit_says_nothing():
    fitted = np.array([[1.0, 5.0], [3.0, 5.0]])
    rows = Scaling.of(fitted).rows(np.array([[2.0, 5.0], [3.0, 99.0]]))
    np.testing.assert_allclose(rows, [[0, 0], [0.5**0.5, 0]], atol=1e-6)


def test_a_writer_left_out_leaves_no_trace_in_the_head():
    """Centered on all rows the kernel would tell unknown writers; noise must give an AUC near one half."""
    rng = np.random.default_rng(0)
    labels, prompt = (axis.ravel() for axis in np.meshgrid(range(4), range(30), indexing="ij"))
    noise = rng.normal(size=(120, 40)).astype(np.float32)
    unknown = fit_writers({"text": noise}, labels, prompt, NAMES).unknown
    assert np.mean(list(unknown.values())) == pytest.approx(0.5, abs=0.1)


def test_an_unknown_writer_does_not_choose_the_scale_that_it_is_measured_in():
    """A column is large for one writer only, so a scale fitted with its rows would make the column small."""
    values, labels, prompt = planted()
    column = np.random.default_rng(3).normal(scale=0.01, size=(48, 1))
    column[labels == 3] = 50.0
    values = np.concatenate([values, column], axis=1, dtype=np.float32)
    assert fit_writers({"text": values}, labels, prompt, NAMES).unknown["dan"] == 1.0


def test_texts_without_a_single_ngram_tell_no_writer():
    _, labels, prompt = planted()
    nothing = ngram_counts([""] * 48)
    fitted = fit_writers({"text": nothing}, labels, prompt, NAMES)
    assert fitted.chosen.accuracy == 0.25
    assert set(fitted.unknown.values()) == {0.5}
    assert measure_text(nothing, labels, prompt, NAMES).accuracy == 0.25


def test_the_threshold_calls_five_percent_of_known_answers_unknown(fitted):
    head = fitted.head
    assert np.mean(head.held_out < head.threshold(1)) == pytest.approx(0.05, abs=0.03)
    assert head.threshold(10) > head.threshold(1)  # means of many answers vary less


def test_prompts_are_in_one_fold_and_pools_are_of_one_writer():
    _, labels, prompt = planted()
    fold = prompt_folds(prompt, 5, 0)
    assert all(len(set(fold[prompt == one])) == 1 for one in np.unique(prompt))
    pools = answer_pools(labels, 5, np.random.default_rng(0), repeats=2)
    assert len(pools) == 4 * 2 * 2
    assert all(len(set(labels[rows])) == 1 and len(set(rows.tolist())) == 5 for rows in pools)


def test_arrays_give_the_same_head_again_and_broken_ones_are_refused(fitted):
    head, (values, _, _) = fitted.head, planted(seed=1)
    arrays, names = head.arrays(), list(head.feature_sets)
    again = WriterHead.from_arrays(NAMES, names, arrays)
    both = {"text": values, "margins": values[:, :6]}
    np.testing.assert_array_equal(again.read(both)[0], head.read(both)[0])
    with pytest.raises(BrokenArtifact, match=r"needs the array 'text\.factor'"):
        WriterHead.from_arrays(NAMES, names, {k: v for k, v in arrays.items() if k != "text.factor"})
    for change in ({"text.bias": np.zeros(2)}, {"held_out": np.full_like(arrays["held_out"], np.nan)}):
        with pytest.raises(BrokenArtifact, match="do not fit each other, or are not finite"):
            WriterHead.from_arrays(NAMES, names, arrays | change)


def test_a_row_that_is_not_finite_has_no_score(fitted):
    values = planted()[0][:2].copy()
    values[0, 0] = np.nan
    scores, known = fitted.head.read({"text": values, "margins": values[:, :6]})
    assert np.isnan(scores[0]).all()
    assert np.isnan(known[0])
    assert np.isfinite(scores[1]).all()


def test_two_writers_are_told_apart_without_a_measure_of_unknown_ones():
    values, labels, prompt = planted()
    two = labels < 2
    fitted = fit_writers({"text": values[two]}, labels[two], prompt[two], NAMES[:2])
    assert fitted.unknown == {}
    assert fitted.chosen.accuracy > 0.9
    assert measure_text(values[two], labels[two], prompt[two], NAMES[:2]).accuracy == fitted.chosen.accuracy


@pytest.mark.parametrize(
    ("rows", "names", "message"),
    [
        (slice(0, 12), ("ann",), "all 12 texts are of one writer, 'ann'"),
        (slice(0, 13), ("ann", "bob"), "'bob' has texts of one prompt only"),
    ],
)
def test_rows_that_tell_no_writer_are_refused(rows, names, message):
    values, labels, prompt = planted()
    with pytest.raises(BadLabels, match=message):
        fit_writers({"text": values[rows]}, labels[rows], prompt[rows], names)
