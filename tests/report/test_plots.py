"""Tests ``report/plots.py``: color scales, rounding, and labels that plotly does not interpret."""

import numpy as np
import pytest

from splinelens.report.plots import (
    GRAY,
    Scale,
    category_axis,
    figure,
    interval_dots,
    plotly_text,
    rounded,
)


def test_a_figure_has_the_given_axes_and_no_template():
    layout = figure([], 200, {"title": {"text": "a"}}, category_axis("layer"))["layout"]
    assert layout["xaxis"] == {"automargin": True, "title": {"text": "a"}}
    assert (layout["yaxis"]["type"], layout["height"]) == ("category", 200)
    assert "template" not in layout


def test_a_heat_map_has_the_colors_and_ends_of_its_scale():
    trace = Scale("Viridis", 0.5, 1.0, "AUC").heat_map([[0.5, None]])
    (drawn,) = figure([trace], 200, {}, {})["data"]
    assert list(drawn["colorscale"][0]) == [0.0, "#440154"]
    assert (drawn["zmin"], drawn["zmax"], drawn["z"]) == (0.5, 1.0, [[0.5, None]])
    assert drawn["colorbar"]["title"]["text"] == "AUC"


def test_a_logarithmic_scale_has_numbers_at_its_ticks_and_0_at_its_low_end():
    scale = Scale.of([np.array([0.0, 0.01, 10.0])], "Viridis", log=True)
    assert (scale.low, scale.high) == (-2, 1)
    assert scale.values(np.array([0.0, 1.0])) == [-2, 0]
    assert list(scale.heat_map([]).colorbar.ticktext) == ["0.01", "0.1", "1", "10"]


@pytest.mark.parametrize(
    ("values", "log", "ticks"),
    [
        ([9, 9], False, ["9", "10"]),
        ([9, 9], True, ["9", "10"]),
        ([1, 1200], True, ["1", "11", "113", "1,200"]),
    ],
    ids=["one value", "one value, log", "log"],
)
def test_counts_have_whole_ticks(values, log, ticks):
    bar = Scale.of([np.array(values)], "ice", log=log, whole=True).heat_map([]).colorbar
    assert list(bar.ticktext) == ticks


@pytest.mark.parametrize("values", [[], [0.0], [0.5, 0.5], [np.inf, np.nan]])
@pytest.mark.parametrize("log", [False, True])
def test_no_scale_is_without_length(values, log):
    scale = Scale.of([np.array(values)], "Viridis", log=log)
    assert np.isfinite([scale.low, scale.high]).all()
    assert scale.low < scale.high


def test_numbers_keep_their_significant_digits():
    assert rounded(np.array([1.234567e-5, 1234567.0])) == [1.235e-5, 1235000.0]
    assert rounded(np.array([0.123456789, np.nan]), 8) == [0.12345679, None]
    assert rounded(np.zeros((0, 3))) == []


def test_what_plotly_would_interpret_is_escaped():
    assert plotly_text("%{x} &lt;") == "\u2068%\u2060{x} &amp;lt;\u2069"


def test_dots_have_bars_where_they_have_an_interval():
    (dots,) = figure([interval_dots(["a", "b"], [1.0, 2.0], [(0.5, 3.0), None], GRAY, "AUC")], 200, {}, {})[
        "data"
    ]
    assert (dots["x"], dots["y"]) == ([1.0, 2.0], ["a", "b"])
    assert (dots["error_x"]["array"], dots["error_x"]["arrayminus"]) == ([2.0, 0.0], [0.5, 0.0])
    assert dots["customdata"] == [[0.5, 3.0], [2.0, 2.0]]
    assert interval_dots([], [], [], GRAY, "AUC").x == ()
