"""Tests ``detect/heads.py``: arrays that give what scikit-learn gives."""

import tracemalloc

import numpy as np
import pytest

from splinelens.detect.heads import ForestHead, LinearHead, head_of
from splinelens.detect.recipes import forest, logistic
from splinelens.errors import BadFeatures, BadLabels, BrokenArtifact


def table(rows=120, columns=30, seed=0, dtype=np.float32):
    """A random table of columns with very different means and scales, and labels."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) % 2).astype(int)
    values = rng.normal(size=(rows, columns))
    values[:, :3] += labels[:, None]
    return (values * rng.uniform(0.1, 10, columns) + rng.uniform(-20, 20, columns)).astype(dtype), labels


def fitted_linear(values, labels, strength=1e-2):
    pipeline = logistic().estimator.set_params(head__C=strength).fit(values, labels)
    return pipeline, LinearHead.of(pipeline)


def fitted_forest(values, labels, trees=12):
    pipeline = forest().set_params(head__n_estimators=trees).fit(values, labels)
    return pipeline, ForestHead.of(pipeline)


def linear(columns, seed=0, labels=1):
    rng = np.random.default_rng(seed)
    return LinearHead(
        rng.normal(size=columns),
        rng.uniform(0.5, 2, columns).astype(np.float32),
        (rng.normal(size=(labels, columns)) / columns**0.5).astype(np.float32),
        np.linspace(0.3, 2, labels),
    )


@pytest.mark.parametrize("columns", [1, 30, 5000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_linear_logits_are_those_of_sklearn(columns, dtype):
    values, labels = table(columns=max(columns, 3), dtype=dtype)
    values = values[:, :columns]
    pipeline, head = fitted_linear(values, labels)
    assert head.logit(values)[:, 0] == pytest.approx(pipeline.decision_function(values), abs=1e-5)
    assert head.width == columns


def test_a_mean_far_above_its_scale_does_not_shift_the_logit():
    values, labels = table(columns=3, dtype=np.float64)
    values = values + 1234567.8
    pipeline, head = fitted_linear(values, labels)
    assert head.logit(values)[:, 0] == pytest.approx(pipeline.decision_function(values), abs=1e-5)


def test_constant_columns_add_nothing():
    values, labels = table()
    values[:, 10:] = 0.1
    pipeline, head = fitted_linear(values, labels)
    assert (head.scale[10:] == 1).all()
    assert head.logit(values)[:, 0] == pytest.approx(pipeline.decision_function(values), abs=1e-5)


def test_parts_and_bias_add_up_to_the_logit():
    values, labels = table(columns=3000)
    _, head = fitted_linear(values, labels)
    parts = head.parts(values)
    assert parts.shape == values.shape
    assert parts.sum(axis=1) + head.bias[0] == pytest.approx(head.logit(values)[:, 0], abs=1e-9)


def test_a_part_by_hand():
    head = LinearHead(np.array([1.0, 0.0]), np.array([2.0, 1.0]), np.array([[3.0, -1.0]]), np.array([0.5]))
    values = np.array([[5.0, 4.0]], dtype=np.float32)
    assert head.parts(values).tolist() == [[6.0, -4.0]]
    assert head.logit(values).tolist() == [[2.5]]


def test_a_head_of_several_labels_is_the_heads_of_each_beside_each_other():
    values, first = table()
    labels = np.stack([first, values[:, 5] > np.median(values[:, 5]), 1 - first], axis=1).astype(int)
    pipelines = [logistic().estimator.set_params(head__C=1e-2).fit(values, y) for y in labels.T]
    head = LinearHead.of(*pipelines)
    assert (head.labels, head.width) == (3, 30)
    for place, pipeline in enumerate(pipelines):
        alone = LinearHead.of(pipeline)
        assert head.logit(values)[:, place].tobytes() == alone.logit(values)[:, 0].tobytes()
        assert (head.parts(values, place) == alone.parts(values)).all()


def test_a_forest_of_several_labels_has_sklearns_shares_of_each():
    values, first = table(rows=300)
    labels = np.stack([first, (values[:, 4] > values[:, 4].mean()).astype(int)], axis=1)
    pipeline = forest().set_params(head__n_estimators=12, head__class_weight=None).fit(values, labels)
    head = ForestHead.of(pipeline)
    for place, shares in enumerate(pipeline.predict_proba(values)):
        assert head.logit(values)[:, place] == pytest.approx(_logit(shares[:, 1]), abs=1e-5)
    assert [head.logit(row[None])[0].tolist() for row in values[:40]] == head.logit(values)[:40].tolist()
    with pytest.raises(BadLabels, match=r"the forest was fitted on class \[0\] alone"):
        ForestHead.of(forest().fit(values, labels * [1, 0]))


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("columns", [7, 4001])
def test_a_row_alone_has_the_same_bits_as_in_a_table(columns, labels):
    head = linear(columns, labels=labels)
    values = np.random.default_rng(0).normal(size=(300, columns)).astype(np.float32)
    whole = head.logit(values)
    assert whole.dtype == np.float64
    assert [head.logit(row[None])[0].tolist() for row in values] == whole.tolist()
    assert (head.logit(np.asfortranarray(values)) == whole).all()


def test_a_big_table_is_not_copied():
    head, values = linear(4096), np.ones((4000, 4096), dtype=np.float32)
    tracemalloc.start()
    head.logit(values)
    peak_bytes = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak_bytes < values.nbytes / 10


@pytest.mark.parametrize("hole", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("fitted", [fitted_linear, fitted_forest])
def test_a_row_with_a_hole_has_no_logit(fitted, hole):
    values, labels = table()
    _, head = fitted(values, labels)
    expected = head.logit(values)
    values[3, 7] = hole
    values[5, :2] = np.inf, -np.inf
    found = head.logit(values)
    assert np.flatnonzero(np.isnan(found).all(axis=1)).tolist() == [3, 5]
    there = ~np.isnan(found)
    assert (found[there] == expected[there]).all()


@pytest.mark.parametrize("fitted", [fitted_linear, fitted_forest])
@pytest.mark.parametrize("columns", [1, 29, 31])
def test_a_table_of_another_width_is_refused(fitted, columns):
    _, head = fitted(*table())
    with pytest.raises(BadFeatures, match=rf"shape \(4, {columns}\) meets a head of 30 columns; extract"):
        head.logit(np.ones((4, columns), dtype=np.float32))


def test_an_empty_table_has_no_logits():
    for fitted in (fitted_linear, fitted_forest):
        assert fitted(*table())[1].logit(np.ones((0, 30), dtype=np.float32)).shape == (0, 1)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [1, 30])
def test_forest_shares_are_those_of_sklearn(columns, dtype):
    values, labels = table(rows=300, columns=30, dtype=dtype)
    values = values[:, :columns]
    pipeline, head = fitted_forest(values, labels)
    expected = pipeline.predict_proba(values)[:, 1]
    assert head.logit(values)[:, 0] == pytest.approx(_logit(expected), abs=1e-5)
    assert expected.std() > 0.1


def test_a_value_at_a_threshold_goes_the_way_sklearn_sends_it():
    rng = np.random.default_rng(0)
    labels = (np.arange(400) % 2).astype(int)
    values = rng.integers(-4, 5, size=(400, 4)).astype(np.float32) + labels[:, None]
    pipeline, head = fitted_forest(values, labels)
    inner = head.column >= 0
    at = np.tile(values[:1], (3 * inner.sum(), 1))
    limits = head.threshold[inner].astype(np.float32)
    around = [np.nextafter(limits, np.float32(-np.inf)), limits, np.nextafter(limits, np.float32(np.inf))]
    at[np.arange(len(at)), np.tile(head.column[inner], 3)] = np.concatenate(around)
    found, expected = head.logit(at)[:, 0], _logit(pipeline.predict_proba(at)[:, 1])
    assert found == pytest.approx(expected, abs=1e-5)
    sides = found.reshape(3, -1)
    assert (sides[1] != sides[2]).any()  # some of these rows do turn on the last bit


def test_float64_values_are_rounded_as_sklearn_rounds_them():
    values, labels = table(rows=300, columns=1)
    pipeline, head = fitted_forest(values, labels)
    limits = head.threshold[head.column >= 0][:, None]
    above = limits[limits == limits.astype(np.float32)][:, None] + 1e-12  # float32 rounds them to the limit
    assert len(above) > 10
    assert head.logit(above)[:, 0] == pytest.approx(_logit(pipeline.predict_proba(above)[:, 1]), abs=1e-5)


def test_a_unanimous_forest_stays_finite():
    values, labels = np.repeat(np.float32([[0], [1]]), 20, axis=0), np.repeat([0, 1], 20)
    _, head = fitted_forest(values, labels)
    assert head.logit(values[[0, -1]])[:, 0] == pytest.approx(
        [np.log(1e-4 / (1 - 1e-4)), np.log((1 - 1e-4) / 1e-4)]
    )


def test_a_forest_of_one_class_is_refused():
    values, labels = table()
    with pytest.raises(BadLabels, match=r"the forest was fitted on class \[1\] alone; give both classes"):
        fitted_forest(values, np.ones_like(labels))


@pytest.mark.parametrize("fitted", [fitted_linear, fitted_forest])
def test_a_head_from_its_arrays_is_the_same_head(fitted):
    values, labels = table()
    _, head = fitted(values, labels)
    again = head_of(head.kind, head.arrays())
    assert type(again) is type(head)
    assert again.logit(values).tobytes() == head.logit(values).tobytes()


def test_an_unknown_kind_is_refused():
    with pytest.raises(BrokenArtifact, match="head 'tree' is unknown; this version reads linear and forest"):
        head_of("tree", {})


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"weight": None}, "a linear head needs other arrays than bias, mean, scale$"),
        ({"more": np.ones(4)}, "a linear head needs other arrays than bias, mean, more, scale, weight"),
        ({"weight": np.ones((1, 5))}, r"shapes \(4,\), \(4,\), \(1, 5\)"),
        ({"weight": np.ones(4)}, r"shapes \(4,\), \(4,\), \(4,\)"),
        ({"weight": np.ones((0, 4)), "bias": np.ones(0)}, r"bias has shape \(0,\)"),
        ({"bias": np.ones(2)}, r"bias has shape \(2,\)"),
        ({"bias": np.ones(())}, r"bias has shape \(\)"),
        ({"weight": np.ones((1, 4), dtype=int)}, "weight holds something other than finite floats"),
        ({"mean": np.array([0, 1, np.nan, 2])}, "mean holds something other than finite floats"),
        ({"scale": np.array([1.0, 0.0, 1.0, 1.0])}, "a scale is not positive"),
    ],
)
def test_linear_arrays_that_do_not_fit_are_refused(change, found):
    arrays = linear(4).arrays() | change
    with pytest.raises(BrokenArtifact, match=found):
        head_of("linear", {name: array for name, array in arrays.items() if array is not None})


def changed(name, place, value):
    """A change of one entry of one array of a forest."""

    def change(arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][place] = value

    return change


@pytest.mark.parametrize(
    ("change", "found"),
    [
        (lambda arrays: arrays.pop("roots"), "a forest head needs other arrays"),
        (lambda arrays: arrays.update(left=arrays["left"][:-1]), "the node arrays differ in length"),
        (lambda arrays: arrays.update(share=arrays["share"][:, 0]), "share is float32 of shape"),
        (lambda arrays: arrays.update(column=arrays["column"].astype(float)), "column is float64 of shape"),
        (lambda arrays: arrays.update(roots=arrays["roots"][:0]), "it has no trees"),
        (
            lambda arrays: arrays.update(columns=arrays["columns"][:0]),
            "it has no trees, no labels or no number of columns",
        ),
        (changed("left", 0, 0), "a child stands before its parent"),
        (changed("right", 0, -3), "a child stands before its parent"),
        (changed("right", 0, 10**6), "behind the last node"),
        (changed("roots", 1, -1), "a root or a column is out of range"),
        (changed("roots", 1, 10**6), "a root or a column is out of range"),
        (changed("column", 0, 30), "a root or a column is out of range"),
        (changed("threshold", 0, np.nan), "a threshold is not finite"),
        (changed("share", 0, 1.5), "a share not in 0 .. 1"),
        (changed("share", 0, np.nan), "a share not in 0 .. 1"),
    ],
)
def test_forest_arrays_that_do_not_fit_are_refused(change, found):
    _, head = fitted_forest(*table(), trees=2)
    arrays = head.arrays()
    change(arrays)
    with pytest.raises(BrokenArtifact, match=found):
        head_of("forest", arrays)


def _logit(share):
    share = share.clip(1e-4, 1 - 1e-4)
    return np.log(share / (1 - share))


def test_one_label_of_a_head_answers_as_it_did_among_others():
    values, labels = table()
    both = linear(30, labels=2)
    assert both.alone(1).logit(values)[:, 0].tolist() == both.logit(values)[:, 1].tolist()
    targets = np.stack([labels, np.arange(len(labels)) % 3 == 0], axis=1)
    pipeline = forest().set_params(head__n_estimators=12, head__class_weight=None).fit(values, targets)
    trees = ForestHead.of(pipeline)
    assert trees.alone(1).logit(values)[:, 0].tolist() == trees.logit(values)[:, 1].tolist()
    assert trees.alone(1).labels == 1
