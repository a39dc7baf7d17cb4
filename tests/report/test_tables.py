"""Tests ``report/tables.py``: each number with its interval, in cells that break no table."""

import numpy as np

from splinelens.detect.metrics import evaluate, evaluate_labels
from splinelens.report.tables import (
    Table,
    full_label_table,
    interval,
    label_table,
    mean_table,
    measured_table,
    metric_table,
    percent,
    percents,
)


def measured(rows=200, **options):
    rng = np.random.default_rng(0)
    labels = np.eye(3, dtype=int)[rng.integers(0, 3, rows)]
    scores = np.clip(0.3 * labels + 0.7 * rng.random((rows, 3)), 0, 1)
    at = {"a": {"0.05": 0.7}, "b": {"0.05": 0.6}}
    return evaluate_labels(labels, scores, np.arange(rows), "abc", thresholds=at, resamples=20, **options)


def test_shares_and_intervals_have_one_form():
    assert percent(0) == "0 %"
    assert percent(1.0) == "100 %"
    assert interval([0.0, 1.0]) == "[0.0000, 1.0000]"
    assert interval(None) == "(too few rows or groups for an interval)"
    assert (interval(()), percents(())) == ("", "")


def test_every_metric_has_its_interval_and_length_follows_the_auc():
    rows = metric_table(measured().labels["a"].to_dict()).rows
    assert [name for name, _, _ in rows[:2]] == ["AUC", "AUC of length alone"]
    for _, value, bounds in rows:
        low, high = map(float, bounds.strip("[]").split(", "))
        assert low <= float(value) <= high
    few = metric_table(measured(40).labels["a"].to_dict()).rows
    assert {bounds for _, _, bounds in few} == {"(too few rows for an interval: 40, and 50 are needed)"}


def test_too_few_groups_are_said_with_how_many_are_needed():
    metrics = measured(groups=np.arange(200) // 25)
    rows = metric_table(metrics.to_dict()["labels"]["a"]).rows
    few = "(too few groups for an interval: 8, and 10 are needed)"
    mixed = "(too few groups with both classes for an interval: 8, and 10 are needed)"
    assert [bounds for name, _, bounds in rows if name == "AUC within groups"] == [mixed]
    assert {bounds for name, _, bounds in rows if name != "AUC within groups"} == {few}
    assert mean_table(metrics.to_dict()).rows[0][2] == few
    assert label_table(metrics.to_dict()["labels"]).rows[0][3] == few


def test_a_record_without_an_interval_has_none_invented():
    old = {key: value for key, value in measured().labels["a"].to_dict().items() if key != "brier_interval"}
    assert next(bounds for name, _, bounds in metric_table(old).rows if name == "Brier score") == ""


def test_labels_have_every_metric_with_its_interval():
    labels = measured().to_dict()["labels"]
    head, (first, *_) = full_label_table(labels)
    assert head[2:] == tuple(name for name, _, _ in metric_table(labels["a"]).rows)
    assert first[2:] == tuple(f"{value} {bounds}" for _, value, bounds in metric_table(labels["a"]).rows)
    for table in (full_label_table({"none": None, **labels}), label_table({"none": None, **labels})):
        assert {len(row) for row in table.rows} == {len(table.head)}


def test_means_have_intervals_and_classes_accuracy_and_f1():
    labels, classes = measured().to_dict(), measured(classes=True).to_dict()
    assert [name for name, _, _ in mean_table(labels).rows] == ["mean AUC"]
    assert [name for name, _, _ in mean_table(classes).rows] == ["mean AUC", "accuracy", "macro F1"]
    assert all(bounds.startswith("[0.") for _, _, bounds in mean_table(classes).rows)


def test_a_measured_threshold_has_the_intervals_of_both_rates():
    labels = np.repeat([0, 1], 100)
    scores = np.r_[np.arange(100) / 100, np.full(100, 0.97)]
    metrics = evaluate(labels, scores, np.arange(200), thresholds={"0.05": 0.95}, resamples=0)
    table = measured_table({"rude": metrics.to_dict(), "none": None})
    rates = ("5 %", "1.64 % to 11.3 %", "1.0000", "[0.9638, 1.0000]", "95.2 %", "89.2 % to 98.4 %")
    assert table.rows == [("rude", "5 %", "0.9500", *rates)]
    old = {"score": 0.95, "false_positive_rate": 0.05, "recall": 1.0}
    assert measured_table({"rude": {"at_threshold": {"0.05": old}}}).rows[0][-2:] == ("-", "")


def test_recall_at_few_false_positives_stands_beside_the_aucs():
    names = [name for name, _, _ in metric_table(measured().labels["a"].to_dict()).rows]
    assert names[2:4] == ["recall at 1 % false positives", "recall at 5 % false positives"]


def test_no_cell_breaks_a_table():
    table = Table(("a",), [("x|y\nz",), ("",)]).markdown()
    assert table.splitlines() == ["| a |", "| --- |", r"| x\|y z |", "|  |"]
