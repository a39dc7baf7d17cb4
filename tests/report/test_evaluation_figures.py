"""Tests ``report/evaluation_figures.py``: what is drawn is what was measured, and no text is in it."""

import json

import pytest

from splinelens.report.evaluation_figures import figures, heat_scale
from splinelens.report.evaluation_parts import HeatMap


def test_the_curves_are_the_sweep(evaluation):
    report = evaluation()
    found = figures(report)
    line = found["roc"]["data"][0]
    assert line["x"] == pytest.approx(report.sweep.false_positive_rate, abs=1e-3)
    assert line["y"] == pytest.approx(report.sweep.recall, abs=1e-3)
    line = found["precision_recall"]["data"][0]
    assert line["y"][0] is None
    assert line["y"][1:] == pytest.approx(report.sweep.precision[1:], abs=1e-3)
    for name in ("roc", "precision_recall"):
        assert found[name]["data"][-1]["mode"] == "markers"  # the slider's point


def test_error_bars_reach_the_ends_of_the_intervals(evaluation):
    report = evaluation()
    dots = figures(report)["reliability"]["data"][0]
    for at, part in enumerate(report.reliability):
        assert dots["y"][at] + dots["error_y"]["array"][at] == pytest.approx(part.interval[1], abs=2e-3)
        assert dots["y"][at] - dots["error_y"]["arrayminus"][at] == pytest.approx(part.interval[0], abs=2e-3)


def test_every_row_is_a_point_of_its_class(evaluation):
    report = evaluation(rows=60)
    for name in ("pca", "tsne"):
        clean, toxic = figures(report)[name]["data"]
        assert [pair[0] for pair in clean["customdata"]] == list(range(0, 60, 2))
        assert len(toxic["x"]) == len(toxic["customdata"]) == 30


def test_cells_that_are_not_read_stay_empty(evaluation):
    heat = HeatMap(("a", "b"), (0, 4), ((0.9, None), (0.6, 0.7)), "AUC")
    trace = figures(evaluation(heat=heat))["layers"]["data"][0]
    assert (trace["z"], trace["x"]) == ([[0.9, None], [0.6, 0.7]], ["0", "4"])


def test_colours_begin_at_chance_unless_some_number_points_the_other_way():
    assert (heat_scale(HeatMap(("a",), (0,), ((0.6,),), "")).low, "chance") == (0.5, "chance")
    low = heat_scale(HeatMap(("a",), (0,), ((0.3,),), ""))
    assert (low.low, low.high) == (0.0, 1.0)


def test_no_text_is_in_the_pictures_and_all_is_json(evaluation):
    report = evaluation(text="you silly goose", label="<b>%{x}")
    drawn = json.dumps(figures(report), allow_nan=False)
    assert "silly" not in drawn
    assert "<b>" not in drawn
    assert "tsne" not in figures(evaluation(map=None))
