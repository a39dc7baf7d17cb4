"""Tests ``report/plots.py``: color scales, rounding, and labels that plotly does not interpret."""

import numpy as np
import pytest

from splinelens.report.plots import Scale, category_axis, figure, heat_map, plotly_text, rounded

COLORS = ("#000", "#777", "#fff")


def test_a_figure_has_the_given_axes_and_no_template():
    layout = figure([], 200, {"title": {"text": "a"}}, category_axis("layer"))["layout"]
    assert layout["xaxis"] == {"automargin": True, "title": {"text": "a"}}
    assert (layout["yaxis"]["type"], layout["height"]) == ("category", 200)
    assert "template" not in layout


def test_a_heat_map_has_the_colors_and_ends_of_its_scale():
    scale = Scale(COLORS, 0.5, 1.0, ())
    (trace,) = figure([heat_map([[0.5, None]], scale)], 200, {}, {})["data"]
    assert [list(pair) for pair in trace["colorscale"]] == [[0.0, "#000"], [0.5, "#777"], [1.0, "#fff"]]
    assert (trace["zmin"], trace["zmax"], trace["z"]) == (0.5, 1.0, [[0.5, None]])


def test_a_logarithmic_scale_has_a_tick_at_each_decade_between_its_ends():
    scale = Scale.logarithmic([np.array([0.002, 20.0])], COLORS)
    assert [words for _, words in scale.ticks] == ["0.002", "0.01", "0.1", "1", "20"]  # 10 would overlap
    assert scale.ticks[1][0] == pytest.approx((-2 - np.log10(0.002)) / 4)


def test_a_number_of_0_takes_the_low_end_and_is_named_there():
    scale = Scale.logarithmic([np.array([0.0, 0.01, 1.0])], COLORS)
    assert scale.ticks[0] == (0.0, "0")
    assert scale.low < -2
    assert scale.high == 0
    assert scale.values(np.array([0.0, 1.0])) == [pytest.approx(scale.low, rel=1e-3), 0]


@pytest.mark.parametrize("values", [[], [0.0], [0.5, 0.5], [np.inf, np.nan], [-1.0]])
@pytest.mark.parametrize("kind", [Scale.linear, Scale.logarithmic])
def test_no_scale_is_without_length(values, kind):
    scale = kind([np.array(values)], COLORS)
    assert np.isfinite([scale.low, scale.high]).all()
    assert scale.low < scale.high
    assert scale.ticks


def test_numbers_keep_their_significant_digits():
    assert rounded(np.array([1.234567e-5, 1234567.0])) == [1.235e-5, 1235000.0]
    assert rounded(np.array([0.123456789, np.nan]), 8) == [0.12345679, None]
    assert rounded(np.zeros((0, 3))) == []


def test_what_plotly_would_interpret_is_escaped():
    assert plotly_text("%{x} &lt;") == "\u2068%\u2060{x} &amp;lt;\u2069"
