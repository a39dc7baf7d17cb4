"""Tests ``report/lineage.py``: numbers are rounded to the safe side, and advice follows the interval."""

import json

import pytest

from splinelens.detect.carried import CarriedDetector
from splinelens.detect.lineage import LayerMatch, Relation
from splinelens.report.lineage import (
    LineageReport,
    evidence_table,
    lineage_lines,
    power_of_ten,
)

LAYER = LayerMatch((0, 0), (64, 64), matched=60, same_index=50, correlation=0.5, signed=58, same_sign=57)
SMALLER = LayerMatch((1, 1), (64, 40), matched=30, same_index=0, correlation=0.4, signed=30, same_sign=29)


@pytest.mark.parametrize("logarithm", [-12.3, -6.0, -5.999, -3.0, -2.9, -0.5, -0.001, 0.0])
def test_a_shown_p_value_is_never_too_small(logarithm):
    assert float(power_of_ten(logarithm)) >= 10**logarithm * (1 - 1e-12)
    assert float(power_of_ten(logarithm)) <= max(10 * 10**logarithm, 10**logarithm + 0.01)


def test_indices_are_counted_over_layers_of_equal_size_and_signs_over_all():
    table = evidence_table(Relation((LAYER, SMALLER), -60.0, -20.0, -59.7, -70.0))
    assert table.rows == [
        ("same index", "50 of 60", "0.9", "1e-60"),
        ("same sign", "86 of 88", "44.0", "1e-20"),
    ]


def report(**changes):
    relation = Relation((LAYER,), -60.0, -12.0, -59.7, -70.0)
    return LineageReport(("a", "b"), "related", "they agree", relation, 1024, **changes)


def test_a_report_is_json_and_keeps_a_p_value_below_every_float():
    record = json.loads(json.dumps(report().to_dict()))
    assert record["verdict"] == "related"
    assert record["log10_p"] == -59.7
    far = LineageReport(("a", "b"), "related", "", Relation((), -9000.0, 0.0, -9000.0, -9000.0), 1024)
    assert far.p_value == 0


@pytest.mark.parametrize(
    ("carried", "advice"),
    [
        ({}, "Without labels"),
        ({"auc": (0.9, 0.9), "false_positives": (0.05, 0.06)}, "Too few texts"),
        (
            {"auc": (0.9, 0.9), "false_positives": (0.05, 0.06), "loss_interval": (-0.01, 0.01)},
            "may be carried over",
        ),
        (
            {"auc": (0.9, 0.8), "false_positives": (0.05, 0.06), "loss_interval": (0.05, 0.15)},
            "Up to 0.150 of AUC",
        ),
    ],
)
def test_the_advice_follows_the_interval(carried, advice):
    record = CarriedDetector("mine", 50, 2, 0.96, 0.01, None, **carried)
    lines = lineage_lines(report(carried=record, notes=("a note",)))
    assert lines[0] == "related: they agree"
    assert "a note" in lines
    assert advice in lines[-1]


def test_names_cannot_steer_a_terminal():
    lines = lineage_lines(LineageReport(("\x1b[31m", "b"), "related", "\x1b[31m is b", None, 0))
    assert "\x1b" not in lines[0]
