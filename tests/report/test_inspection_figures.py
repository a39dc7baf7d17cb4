"""Tests ``report/inspection_figures.py``: each figure holds the numbers, and hovering names them."""

import json
from dataclasses import replace

import numpy as np
import plotly.graph_objects
import pytest

from splinelens.geometry.partition import SPLINE7
from splinelens.report.inspection_figures import escaped, figures, precise, rounded, twins

HEAT = ("sign", "boundary", "dimension", "heads")


def every(inspection, view):
    return inspection("one two", "<b>", percentiles=True, prefixes=True, view=view)


def test_there_is_a_figure_for_everything_the_record_holds(inspection, view):
    names = set(figures(every(inspection, view)))
    texts = {f"{name}-{number}" for name in (*HEAT, "percentiles") for number in (0, 1)}
    grown = {f"prefixes-{name}-{number}" for name in SPLINE7 for number in (0, 1)}
    assert names == texts | grown | set(SPLINE7) | {"regions", "text_distance", "slice"}
    assert set(figures(inspection("a"))) == {f"{name}-0" for name in HEAT} | set(SPLINE7) | {"regions"}


def test_plotly_accepts_every_figure(inspection, view):
    for name, figure in figures(every(inspection, view)).items():
        drawn = plotly.graph_objects.Figure(figure)  # raises at a property or a value that does not exist
        assert len(drawn.data) == len(figure["data"]), name


def test_every_figure_is_plain_json(inspection, view):
    json.dumps(figures(every(inspection, view)), allow_nan=False)


def test_every_hover_names_token_layer_and_number(inspection, view):
    for name, figure in figures(every(inspection, view)).items():
        for trace in figure["data"]:
            if trace.get("hoverinfo") == "skip":
                continue
            words = trace["hovertemplate"]
            assert words.endswith("<extra></extra>")
            if name.split("-")[0] in HEAT:
                assert words.startswith("token %{text}<br>")
                assert "layer %{y}" in words or "head %{y}" in words
                assert "%{z" in words or "%{customdata" in words
            elif name.startswith("prefixes"):
                assert "to %{text}<br>layer " in words
                assert "%{customdata" in words
            elif name != "slice":
                assert "layer %{x}" in words


def test_heat_maps_hold_the_numbers_of_each_layer_and_token(inspection):
    found = inspection("one two")
    text, drawn = found.portraits[0], figures(found)
    np.testing.assert_allclose(drawn["sign-0"]["data"][0]["z"], text.sign, rtol=1e-3)
    boundary = drawn["boundary-0"]["data"][0]
    np.testing.assert_allclose(np.array(boundary["customdata"])[..., 0], text.boundary, rtol=1e-3)
    np.testing.assert_array_equal(np.array(boundary["customdata"])[..., 1], text.wall)
    np.testing.assert_allclose(boundary["z"], np.log10(text.boundary), atol=1e-2)
    absolute, relative = drawn["dimension-0"]["data"]
    np.testing.assert_array_equal(absolute["customdata"], text.dimension[0].sum(axis=1))
    np.testing.assert_array_equal(absolute["z"], text.dimension[0].sum(axis=1))
    np.testing.assert_array_equal(np.array(relative["customdata"])[..., 0], text.dimension[1].sum(axis=1))
    np.testing.assert_array_equal(np.array(relative["customdata"])[..., 1], text.bound)
    np.testing.assert_allclose(relative["z"], np.log10(text.dimension[1].sum(axis=1)), atol=1e-3)


def test_the_layers_of_a_map_are_named_by_their_numbers(inspection):
    found = replace(inspection("ab"), layers=(0, 5, 29))
    drawn = figures(found)
    assert drawn["sign-0"]["data"][0]["y"] == ["0", "5", "29"]
    assert drawn["sign-0"]["layout"]["yaxis"]["type"] == "category"
    assert drawn["sign_mean"]["data"][0]["x"] == ["0", "5", "29"]


def test_equal_tokens_keep_a_column_each(inspection):
    figure = figures(inspection("aaaa"))["sign-0"]
    assert len(figure["data"][0]["z"][0]) == 4
    assert "x" not in figure["data"][0]
    assert "type" not in figure["layout"]["xaxis"]  # numbers, not categories


def test_a_distance_of_0_is_drawn_and_one_without_wall_is_not(inspection):
    found = inspection("ab")
    found.portraits[0].boundary[0, 0], found.portraits[0].boundary[1, 1] = 0, np.inf
    trace = figures(found)["boundary-0"]["data"][0]
    assert trace["z"][0][0] == pytest.approx(trace["zmin"], rel=1e-3)
    assert trace["customdata"][0][0][0] == 0
    assert trace["z"][1][1] is None


def test_layers_without_softmax_are_gaps_and_no_number(inspection):
    found = inspection("ab")
    found.portraits[0].dimension[:, 1] = -1
    for trace in figures(found)["dimension-0"]["data"]:
        assert trace["z"][1] == [None, None]
        assert None not in trace["z"][0]
    found.portraits[0].dimension[:] = -1
    assert not {"dimension-0", "heads-0"} & set(figures(found))


def test_both_texts_share_their_colours_and_ranges(inspection):
    drawn = figures(inspection("one", "two", prefixes=True))
    for name in ("sign", "boundary", "dimension", "heads"):
        one, two = (drawn[f"{name}-{number}"]["data"] for number in (0, 1))
        for first, second in zip(one, two, strict=True):
            for part in ("zmin", "zmax", "colorscale"):
                assert first[part] == second[part]
    for name in SPLINE7:
        ranges = [drawn[f"prefixes-{name}-{number}"]["layout"]["yaxis"]["range"] for number in (0, 1)]
        assert ranges[0] == ranges[1]


def test_prefixes_have_a_line_a_layer_from_the_first_token_on(inspection):
    found = inspection("one two", prefixes=True)
    figure = figures(found)["prefixes-sign_std-0"]
    assert [line["name"] for line in figure["data"]] == ["layer 0", "layer 1", "layer 2"]
    assert figure["data"][0]["x"] == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(figure["data"][1]["y"], found.portraits[0].prefixes[1, :, 3], rtol=1e-3)
    assert len({line["line"]["color"] for line in figure["data"]}) == 3


def test_boundary_features_grow_on_a_logarithmic_axis_with_0_at_its_low_end(inspection):
    found = inspection("one two", prefixes=True)
    found.portraits[0].prefixes[..., 6] = 1e-4
    found.portraits[0].prefixes[:, 0, 6] = 0
    figure = figures(found)["prefixes-boundary_std-0"]
    axis, line = figure["layout"]["yaxis"], figure["data"][0]
    assert axis["type"] == "log"
    assert line["customdata"][:2] == [0, 1e-4]
    assert line["y"][:2] == [5e-5, 1e-4]
    assert 10 ** axis["range"][0] < 5e-5 < 1e-4 < 10 ** axis["range"][1]
    assert "type" not in figures(found)["prefixes-sign_std-0"]["layout"]["yaxis"]


def test_each_text_has_a_thin_line_of_its_distance_to_itself(inspection):
    found = inspection("one", "two")
    one, two, between = figures(found)["text_distance"]["data"]
    for line, values in ((one, found.own_distance[0]), (two, found.own_distance[1])):
        np.testing.assert_allclose(line["y"], values, rtol=1e-3)
        assert line["line"]["width"] < between["line"]["width"]
    np.testing.assert_allclose(between["y"], found.text_distance, rtol=1e-3)
    assert [line["hovertemplate"].split("<br>")[0] for line in (one, two, between)] == [
        "text 1 to itself",
        "text 2 to itself",
        "text 1 to text 2",
    ]
    assert len(figures(replace(found, own_distance=None))["text_distance"]["data"]) == 1


def test_the_layers_under_percentiles_have_few_ticks(inspection):
    found = inspection("ab", "cd", layers=30, percentiles=True)
    assert figures(found)["percentiles-0"]["layout"]["xaxis"]["nticks"] == 8


def test_a_prefix_of_one_token_is_a_point(inspection):
    assert figures(inspection("a", prefixes=True))["prefixes-sign_mean-0"]["data"][0]["mode"] == "markers"


def test_percentiles_stand_a_feature_a_row(inspection):
    found = inspection("ab", percentiles=True)
    trace = figures(found)["percentiles-0"]["data"][0]
    assert trace["y"] == list(SPLINE7)
    assert trace["x"] == ["0", "1", "2"]
    np.testing.assert_allclose(trace["z"], found.portraits[0].percentiles.T, rtol=1e-3)
    np.testing.assert_allclose(trace["customdata"], found.portraits[0].seven.T, rtol=1e-3)


def test_extremes_name_the_token_that_reached_them(inspection):
    found = inspection("abc")
    text = found.portraits[0]
    text.boundary[1] = [3e-3, 2e-3, 1e-3]
    assert figures(found)["boundary_min"]["data"][0]["text"][1] == escaped("2 c")
    assert "text" not in figures(found)["boundary_mean"]["data"][0]


def test_the_slice_draws_walls_cells_and_points(view, inspection):
    figure = figures(inspection("ab", view=view))["slice"]
    walls, *rest = figure["data"]
    assert {7, 11} == set(walls["customdata"])
    assert walls["x"].count(None) == 2  # behind each wall, so that no line joins two
    ends = {(x, y) for x, y in zip(walls["x"], walls["y"], strict=True) if x is not None}
    assert {(1.0, 0.0), (1.0, 2.0), (0.0, 1.0), (2.0, 1.0)} <= ends
    assert {(1.0, 0.25), (1.0, 0.5), (0.75, 1.0)} <= ends  # to hover over near each point
    cells, points = rest[:3], rest[3:]
    assert cells[0]["x"] == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert cells[1]["x"] == cells[2]["x"] == []  # the same cell again; none known
    assert [point["x"] + point["y"] for point in points] == view.places.tolist()
    assert twins(view) == {1: 0}
    assert figure["layout"]["yaxis"]["scaleanchor"] == "x"


def test_the_views_of_a_slice_hold_the_cell_of_their_point(view, inspection):
    whole, first, second, third = figures(inspection("ab", view=view))["slice"]["layout"]["meta"]["views"]
    assert whole == [0, 0, 2, 2]
    for box in (first, second):
        assert box[0] < 0
        assert box[1] < 0
        assert box[2] > 1
        assert box[3] > 1
    assert third == pytest.approx([1.4, 1.4, 1.6, 1.6])


def test_a_slice_that_no_wall_crosses_is_drawn(view, inspection):
    empty = replace(view, segments=np.zeros((0, 2, 2)), walls=np.zeros(0, int), cells=1)
    assert figures(inspection("ab", view=empty))["slice"]["data"][0]["x"] == []


def test_what_plotly_would_read_as_markup_is_escaped(view, inspection):
    words = json.dumps(figures(inspection("ab", view=view))["slice"])
    for trick in ("<b>\\u202e", "'%{x}'", "\\u202e"):
        assert trick not in words
    assert "&lt;b&gt;" in words
    assert escaped("%{x} &lt;") == "\u2068%\u2060{x} &amp;lt;\u2069"


def test_numbers_keep_4_digits_and_places_8():
    assert rounded(np.array([1.234567e-5, 1234567.0])) == [1.235e-5, 1235000.0]
    assert rounded(np.zeros((0, 3))) == []
    assert precise(np.array([0.123456789, np.nan])) == [0.12345679, None]
