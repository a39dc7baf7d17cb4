"""Tests ``detect/heads.py``: arrays that give what scikit-learn gives."""

import tracemalloc

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from splinelens.detect.heads import LinearHead
from splinelens.detect.solver import Basis
from splinelens.errors import BadFeatures, BrokenArtifact


def table(rows=120, columns=30, seed=0, dtype=np.float32):
    """A random table of columns with very different means and scales, and labels."""
    rng = np.random.default_rng(seed)
    labels = (np.arange(rows) % 2).astype(int)
    values = rng.normal(size=(rows, columns))
    values[:, :3] += labels[:, None]
    return (values * rng.uniform(0.1, 10, columns) + rng.uniform(-20, 20, columns)).astype(dtype), labels


def fitted(values, labels, C=1e-2):
    """A pipeline of scikit-learn and the same head as arrays."""
    pipeline = make_pipeline(
        StandardScaler(), LogisticRegression(C=C, class_weight="balanced", max_iter=2000)
    )
    scaler, model = (step for _, step in pipeline.fit(values, labels).steps)
    head = LinearHead(
        scaler.mean_.astype(np.float64),
        scaler.scale_.astype(np.float32),
        model.coef_.astype(np.float32),
        model.intercept_.astype(np.float64),
    )
    return pipeline, head


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
def test_logits_are_those_of_scikit_learn(columns, dtype):
    values, labels = table(columns=max(columns, 3), dtype=dtype)
    values = values[:, :columns]
    pipeline, head = fitted(values, labels)
    assert head.logit(values)[:, 0] == pytest.approx(pipeline.decision_function(values), abs=1e-5)
    assert head.width == columns


def test_a_mean_far_above_its_scale_does_not_shift_the_logit():
    values, labels = table(columns=3, dtype=np.float64)
    values = values + 1234567.8
    pipeline, _ = fitted(values, labels)
    head = Basis.of(values).fitted_head(labels[:, None], [1e-2])
    assert head.logit(values)[:, 0] == pytest.approx(pipeline.decision_function(values), abs=1e-3)


def test_constant_columns_add_nothing():
    values, labels = table()
    values[:, 10:] = 0.1
    pipeline, _ = fitted(values, labels)
    head = Basis.of(values).fitted_head(labels[:, None], [1e-2])
    assert (head.scale[10:] == 1).all()
    assert head.logit(values)[:, 0] == pytest.approx(pipeline.decision_function(values), abs=1e-3)


def test_contributions_and_bias_add_up_to_the_logit():
    values, labels = table(columns=3000)
    _, head = fitted(values, labels)
    contributions = head.contributions(values)
    assert contributions.shape == values.shape
    assert contributions.sum(axis=1) + head.bias[0] == pytest.approx(head.logit(values)[:, 0], abs=1e-9)


def test_a_contribution_by_hand():
    head = LinearHead(np.array([1.0, 0.0]), np.array([2.0, 1.0]), np.array([[3.0, -1.0]]), np.array([0.5]))
    values = np.array([[5.0, 4.0]], dtype=np.float32)
    assert head.contributions(values).tolist() == [[6.0, -4.0]]
    assert head.logit(values).tolist() == [[2.5]]


def test_block_scores_add_up_to_the_logit_and_single_columns_stay_as_they_are():
    head = LinearHead(np.zeros(4), np.ones(4), np.ones((1, 4)), np.zeros(1))
    assert head.block_scores(np.array([7.0, 1.0, 2.0, 9.0]), [1, 2, 1]).tolist() == [7.0, 3.0, 9.0]
    head, values = linear(6), np.random.default_rng(1).normal(size=6)
    assert head.block_scores(values, [2, 4]).sum() + 0.3 == pytest.approx(head.logit(values[None])[0, 0])


def test_a_single_label_has_the_bits_it_has_among_several():
    values, _ = table()
    head = linear(30, labels=3)
    assert (head.labels, head.width) == (3, 30)
    for label in range(3):
        single = head.single_label(label)
        assert single.labels == 1
        assert single.logit(values)[:, 0].tobytes() == head.logit(values)[:, label].tobytes()
        assert (single.contributions(values) == head.contributions(values, label)).all()


@pytest.mark.parametrize("labels", [1, 3])
@pytest.mark.parametrize("columns", [7, 4001])
def test_a_single_row_has_the_same_bits_as_in_a_table(columns, labels):
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
def test_a_row_with_a_hole_has_no_logit(hole):
    (values, _), head = table(), linear(30)
    expected = head.logit(values)
    values[3, 7] = hole
    values[5, :2] = np.inf, -np.inf
    logits = head.logit(values)
    assert np.flatnonzero(np.isnan(logits).all(axis=1)).tolist() == [3, 5]
    finite = ~np.isnan(logits)
    assert (logits[finite] == expected[finite]).all()


@pytest.mark.parametrize("columns", [1, 29, 31])
def test_a_table_of_another_width_is_refused(columns):
    with pytest.raises(BadFeatures, match=rf"shape \(4, {columns}\) meets a head of 30 columns; extract"):
        linear(30).logit(np.ones((4, columns), dtype=np.float32))


def test_an_empty_table_has_no_logits():
    assert linear(30).logit(np.ones((0, 30), dtype=np.float32)).shape == (0, 1)


def test_a_head_from_its_arrays_is_the_same_head():
    (values, _), head = table(), linear(30)
    assert LinearHead.from_arrays(head.arrays()).logit(values).tobytes() == head.logit(values).tobytes()


@pytest.mark.parametrize(
    ("change", "message"),
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
def test_arrays_that_do_not_fit_are_refused(change, message):
    arrays = linear(4).arrays() | change
    with pytest.raises(BrokenArtifact, match=message):
        LinearHead.from_arrays({name: array for name, array in arrays.items() if array is not None})
