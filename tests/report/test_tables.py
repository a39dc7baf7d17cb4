"""Tests ``report/tables.py``: cells of numbers, labels and thresholds, each number with its interval."""

import numpy as np

from splinelens.detect.metrics import evaluate, evaluate_labels
from splinelens.report.tables import (
    MEASURED_HEAD,
    interval,
    label_rows,
    markdown_table,
    mean_rows,
    measured_rows,
    number_rows,
    percent,
    percents,
    whole_label_rows,
)


def made(rows=200, **options):
    dice = np.random.default_rng(0)
    labels = np.eye(3, dtype=int)[dice.integers(0, 3, rows)]
    scores = np.clip(0.3 * labels + 0.7 * dice.random((rows, 3)), 0, 1)
    at = {"a": {"0.05": 0.7}, "b": {"0.05": 0.6}}
    return evaluate_labels(labels, scores, np.arange(rows), "abc", thresholds=at, resamples=20, **options)


def test_shares_and_intervals_have_one_form():
    assert percent(0) == "0 %"
    assert percent(1.0) == "100 %"
    assert interval([0.0, 1.0]) == "[0.0000, 1.0000]"
    assert interval(None) == "(too few rows for an interval)"
    assert (interval(()), percents(())) == ("", "")


def test_every_number_has_its_interval_and_length_stands_below_the_auc():
    rows = number_rows(made().labels["a"].to_dict())
    assert [name for name, _, _ in rows[:2]] == ["AUC", "AUC of length alone"]
    for _, value, bounds in rows:
        low, high = map(float, bounds.strip("[]").split(", "))
        assert low <= float(value) <= high
    few = number_rows(made(40).labels["a"].to_dict())
    assert {bounds for _, _, bounds in few} == {"(too few rows for an interval)"}


def test_a_record_without_an_interval_has_none_invented():
    old = {key: value for key, value in made().labels["a"].to_dict().items() if key != "brier_interval"}
    assert next(bounds for name, _, bounds in number_rows(old) if name == "Brier score") == ""


def test_labels_have_every_number_with_its_interval():
    found = made().to_dict()["labels"]
    head, first, *_ = whole_label_rows(found)
    assert head[2:] == tuple(name for name, _, _ in number_rows(found["a"]))
    assert first[2:] == tuple(f"{value} {bounds}" for _, value, bounds in number_rows(found["a"]))
    head, missing, first, *_ = whole_label_rows({"none": None, **found})
    assert len(head) == len(missing) == len(first)
    assert {len(row) for row in label_rows({"none": None, **found})} == {7}


def test_means_have_intervals_and_classes_their_own():
    labels, classes = made().to_dict(), made(classes=True).to_dict()
    assert [name for name, _, _ in mean_rows(labels)] == ["mean AUC"]
    assert [name for name, _, _ in mean_rows(classes)] == ["mean AUC", "accuracy", "macro F1"]
    assert all(bounds.startswith("[0.") for _, _, bounds in mean_rows(classes))


def test_a_measured_threshold_has_the_intervals_of_both_rates():
    labels = np.repeat([0, 1], 100)
    scores = np.r_[np.arange(100) / 100, np.full(100, 0.97)]
    found = evaluate(labels, scores, np.arange(200), thresholds={"0.05": 0.95}, resamples=0)
    (row,) = measured_rows("rude", found.to_dict())
    assert len(row) == len(MEASURED_HEAD)
    assert row == ("rude", "5 %", "0.9500", "5 %", "1.64 % to 11.3 %", "1.0000", "[0.9638, 1.0000]")
    assert measured_rows("rude", None) == []


def test_no_cell_breaks_a_table():
    table = markdown_table(("a",), [("x|y\nz",), ("",)])
    assert table.splitlines() == ["| a |", "| --- |", r"| x\|y z |", "|  |"]
