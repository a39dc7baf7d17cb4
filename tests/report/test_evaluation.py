"""Tests ``report/evaluation.py``: shares and evasion by hand, the record as JSON and back, its Markdown."""

import json
import re

import numpy as np
import pytest

from splinelens.detect.thresholds import proportion_interval
from splinelens.report.evaluation import Evasion, report_tables, shares

EMPTY = {
    "layer_auc": None,
    "feature_map": None,
    "hatecheck": None,
    "hatecheck_bias": (),
    "xstest": None,
    "evasion": None,
}
YES, NO = True, False


def test_shares_by_hand():
    counted, positive = np.array([YES, NO, YES, YES]), np.array([YES, YES, NO, NO])
    scored = np.array([YES, YES, YES, NO])
    found = shares(["b", "b", "a", "c"], counted, positive, scored, ("toxic", "clean"))
    assert [(share.name, share.expected, share.count, share.total) for share in found] == [
        ("b", "toxic", 1, 2),
        ("a", "clean", 1, 1),
    ]
    assert found[0].interval[0] < 0.5 < found[0].interval[1]


def test_a_kind_with_both_labels_is_mixed():
    yes = np.array([YES, YES])
    assert shares(["a", "a"], yes, np.array([YES, NO]), yes, ("1", "0"))[0].expected == "mixed"


def test_evasion_by_hand():
    positive = np.array([YES, YES, YES, YES, NO, NO])
    before, after = np.array([YES, YES, YES, NO, NO, NO]), np.array([YES, NO, NO, NO, YES, NO])
    found = Evasion.of("leet", positive, before, after)
    assert (found.positives, found.recall, found.disguised_recall, found.lost) == (4, 0.75, 0.25, 0.5)
    assert (found.negatives, found.false_positive_rate, found.disguised_false_positive_rate) == (2, 0, 0.5)
    assert (found.recall_interval, found.disguised_recall_interval) == (
        proportion_interval(3, 4),
        proportion_interval(1, 4),
    )
    assert found.lost_interval is None  # fewer than 50 positive rows


def test_lost_recall_has_an_interval_of_the_pairs():
    positive = np.arange(160) < 100
    before = positive & (np.arange(160) >= 10)
    after = before & (np.arange(160) >= 30)
    found = Evasion.of("leet", positive, before, after)
    spread = 1.96 * np.sqrt(0.2 * 0.8 / 100)
    assert found.lost == pytest.approx(0.2)
    assert found.lost_interval == pytest.approx((0.2 - spread, 0.2 + spread), abs=0.011)
    assert Evasion.of("none", positive, before, before).lost_interval == (0.0, 0.0)
    assert found == Evasion.of("leet", positive, before, after, seed=0)
    assert found != Evasion.of("leet", positive, before, after, seed=1)


def test_json_holds_every_attribute(evaluation):
    for report in (evaluation(), evaluation(rows=40), evaluation(bias=(), notes=(), **EMPTY)):
        record = json.loads(report.to_json())
        assert set(record) == {"schema", *vars(report)}
        assert record["metrics"] == report.metrics
        assert record["sweep"]["recall"] == list(report.sweep.recall)
        assert record["threshold"] == report.threshold
    assert record["evasion"] is None


def test_markdown_holds_every_table_and_no_text_of_the_data(evaluation):
    report = evaluation(text="you silly goose")
    shown = report.to_markdown()
    assert "silly" not in shown
    assert "silly" in report.to_json()
    for table in report_tables(report).values():
        assert f"\n\n{table.markdown() if table.rows else 'None.'}\n" in shown
    assert "| 7 | 0.8750 |" in shown
    assert "- a note" in shown


def test_every_row_has_as_many_cells_as_the_header(evaluation):
    for title, table in report_tables(evaluation()).items():
        assert {len(row) for row in table.rows} <= {len(table.head)}, title


def test_what_was_not_measured_has_no_table(evaluation):
    titles = " ".join(re.findall("^## .*", evaluation(bias=(), **EMPTY).to_markdown(), re.M))
    assert "Metrics" in titles
    for word in ("Layers", "HateCheck", "XSTest", "Groups", "Evasion"):
        assert word not in titles


def test_every_metric_of_the_summary_has_its_interval_or_says_why_not(evaluation):
    for name, _, bounds in report_tables(evaluation())["metrics"].rows[2:]:
        assert bounds.startswith("[0."), name
    few = {row[0]: row[2] for row in report_tables(evaluation(rows=40))["metrics"].rows}
    assert few["AUC"] == "(too few rows for an interval: 40, and 50 are needed)"
