"""Tests ``report/evaluation.py``: the record as JSON and back, and its tables in Markdown."""

import json

import pytest

from splinelens.errors import BadTexts
from splinelens.report.evaluation import EvaluationReport, summary

EMPTY = {"heat": None, "map": None, "hatecheck": None, "hatecheck_bias": (), "xstest": None, "evasion": None}


def test_the_record_survives_json(evaluation):
    for report in (evaluation(), evaluation(rows=40), evaluation(bias=(), notes=(), **EMPTY)):
        assert EvaluationReport.from_dict(json.loads(report.to_json())) == report


def test_another_form_is_refused(evaluation):
    record = json.loads(evaluation().to_json())
    for broken in ({**record, "schema": 1}, [], {}):
        with pytest.raises(BadTexts, match="evaluate anew"):
            EvaluationReport.from_dict(broken)
    with pytest.raises(BadTexts, match=r"report.threshold is 'high', where a float is read"):
        EvaluationReport.from_dict(record | {"threshold": "high"})


def test_markdown_holds_every_table_and_no_text_of_the_data(evaluation):
    report = evaluation(text="you silly goose")
    shown = report.to_markdown()
    assert "silly" not in shown
    assert "silly" in report.to_json()
    for title, table in report.tables().items():
        assert f"## {title}\n\n{table}" in shown
    for title in ("Numbers", "Calibration", "Layers: AUC", "HateCheck by group", "Worst false positives"):
        assert f"## {title}" in shown
    assert "| 7 | 0.8750 |" in shown
    assert "- a note" in shown


def test_a_table_has_as_many_cells_in_each_row(evaluation):
    for title, table in evaluation().tables().items():
        lines = table.split("\n")
        if len(lines) > 1:
            assert len({line.count("|") for line in lines}) == 1, title


def test_what_was_not_measured_has_no_table(evaluation):
    titles = " ".join(evaluation(bias=(), **EMPTY).tables())
    for word in ("Layers", "HateCheck", "XSTest", "Groups", "Evasion"):
        assert word not in titles


def test_numbers_without_an_interval_say_so(evaluation):
    assert "| AUC | " in evaluation(rows=40).to_markdown()
    line = next(line for line in evaluation(rows=40).tables()["Numbers"].split("\n") if "| AUC |" in line)
    assert line.endswith("| (too few rows for an interval) |")


def test_every_number_of_the_summary_has_its_interval(evaluation):
    for name, _, bounds in summary(evaluation())[2:]:
        assert bounds.startswith("[0."), name
