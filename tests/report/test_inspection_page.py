"""Tests ``report/inspection_page.py``: figures hold the numbers, works offline, and no text escapes."""

import json
import re
from dataclasses import replace
from html import unescape

import numpy as np
import plotly.graph_objects
import pytest

from splinelens.geometry.settings import SPLINE7, THRESHOLDS
from splinelens.report.inspection_page import (
    color_scales,
    inspection_figures,
    inspection_html,
    prefix_axis,
    token_pieces,
)
from splinelens.report.page import require_plotly
from splinelens.report.plots import SERIES, plotly_text

HEAT = ("sign", "boundary", "dimension", "heads")


def full(inspection, view, text="one two"):
    return inspection(text, "<b>", percentiles=True, prefixes=True, view=view, notes=[text])


def section(text, name):
    return re.search(rf'<section id="{name}">(.*?)</section>', text, re.S)[1]


def plain(html):
    return " ".join(unescape(re.sub(r"<[^>]*>", "", html)).split())


# The page


def test_links_labels_and_sections_belong_together(inspection, view, read_page):
    for found in (full(inspection, view), inspection("a")):
        reader = read_page(inspection_html(found))
        ids = reader.named("id")
        assert len(ids) == len(set(ids))
        assert [link.removeprefix("#") for link in reader.named("href")] == [
            values["id"] for tag, values in reader.elements if tag == "section" and values
        ]
        assert set(reader.named("for")) <= set(ids)


def test_hostile_texts_stay_text(inspection, view, read_page, hostile):
    odd = replace(view, labels=(hostile, hostile, hostile))
    read_page.is_safe(
        inspection_html(replace(full(inspection, odd, hostile), model=hostile, reference=(hostile,) * 2))
    )


def test_the_page_loads_nothing(inspection, view, read_page):
    read_page.is_offline(inspection_html(full(inspection, view)))


def test_every_figure_has_one_place_and_its_data(inspection, view, read_page):
    found = full(inspection, view)
    reader = read_page(inspection_html(found))
    data = json.loads(reader.scripts[0])
    assert data["figures"] == json.loads(json.dumps(inspection_figures(found)))
    assert sorted(reader.named("data-figure")) == sorted(data["figures"])
    assert data["labels"][1] == [plotly_text(f"{at} {label}") for at, label in enumerate("<b>")]
    assert data["dimension"] == [text.dimension.tolist() for text in found.texts]


def test_layers_without_softmax_have_no_heads_and_cannot_be_chosen(inspection, read_page):
    found = inspection("ab", layers=4)
    found.texts[0].dimension[:, 1] = -1
    text = inspection_html(found)
    held = json.loads(read_page(text).scripts[0])["dimension"][0]
    assert [counts[1] for counts in held] == [None, None]
    assert held[0][0] == found.texts[0].dimension[0, 0].tolist()
    html = section(text, "dimension")
    assert 'data-layers="0,2,3"' in html
    assert 'max="2"' in html
    assert "layer 2</output>" in html
    found.texts[0].dimension[:] = -1
    assert 'id="dimension"' not in inspection_html(found)


def test_256_tokens_of_30_layers_take_less_than_3_megabytes(inspection):
    found = inspection("word" * 256, layers=30, heads=9, size=4, percentiles=True, prefixes=True)
    text = inspection_html(found)
    assert len(text.encode()) - len(require_plotly().encode()) < 3e6
    assert "min-width:1340px" in section(text, "sign")  # a long text scrolls


def test_a_text_is_shown_in_its_tokens_and_nothing_of_it_is_lost(inspection, text_report):
    text = replace(text_report("I 🦩!?"), spans=((0, 1), (1, 3), (2, 3), (3, 4)))
    html = section(inspection_html(replace(inspection("xx"), texts=(text,))), "texts")
    assert '<span data-tokens="0" title="token 0">I</span>' in html
    assert '<span data-tokens="1 2" title="tokens 1 to 2"> 🦩</span>' in html
    assert "!</span><i>?</i></div>" in html  # belongs to no token
    assert "4 tokens" in html
    assert "".join(part for _, _, parts in token_pieces(text) for part, _ in parts) == "I 🦩!?"


def test_unprintable_characters_are_shown_as_symbols_and_breaks_break(inspection):
    html = section(inspection_html(inspection("a\n\u202e<")), "texts")
    assert "<i>↵\n</i>" in html
    assert "<i>⟨202E⟩</i>" in html
    assert ">&lt;</span>" in html


def test_every_figure_comes_with_its_definition_and_unit(inspection, view):
    text = inspection_html(full(inspection, view))
    units = {
        "sign": "Share of the layer's neurons",
        "boundary": "in units of that input",
        "dimension": "Active vertices",
        "features": "in percent",
        "text_distance": "from 0 to 1",
        "prefixes": "shares of neurons and units of the MLP's input",
        "slice": "in units of that input",
    }
    for name, unit in units.items():
        assert unit in plain(section(text, name)), name


def test_the_slice_says_how_many_regions_and_walls_it_shows(inspection, view):
    words = plain(section(inspection_html(inspection("ab", view=view)), "slice"))
    assert "up to 4 regions of layer 1 in this window; 2 of 48 walls cross it" in words
    assert "(in the same region as token 0 'a')" in words
    assert "token 1 '<b>⟨202E⟩'" in words


def test_every_control_and_figure_can_be_reached_by_keyboard_and_says_what_it_is(inspection, view, read_page):
    reader = read_page(inspection_html(full(inspection, view)))
    plots = [values for _, values in reader.elements if values.get("class") == "plot"]
    assert plots
    assert all(values["tabindex"] == "0" and len(values["aria-label"]) > 10 for values in plots)
    live = [values for _, values in reader.elements if values.get("aria-live") == "polite"]
    assert len(live) == len(plots)
    assert {"threshold", "view"} <= set(reader.named("name"))


# The figures


def test_there_is_a_figure_for_everything_the_record_holds(inspection, view):
    names = set(inspection_figures(full(inspection, view)))
    texts = {f"{name}-{number}" for name in (*HEAT, "percentiles") for number in (0, 1)}
    grown = {f"prefixes-{name}-{number}" for name in SPLINE7 for number in (0, 1)}
    assert names == texts | grown | set(SPLINE7) | {"regions", "text_distance", "slice"}
    assert set(inspection_figures(inspection("a"))) == {f"{name}-0" for name in HEAT} | set(SPLINE7) | {
        "regions"
    }


def test_every_hover_names_token_layer_and_number(inspection, view):
    for name, figure in inspection_figures(full(inspection, view)).items():
        json.dumps(figure, allow_nan=False)
        plotly.graph_objects.Figure(figure)  # raises at a property or a value that does not exist
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
    text, drawn = found.texts[0], inspection_figures(found)
    np.testing.assert_allclose(drawn["sign-0"]["data"][0]["z"], text.sign, rtol=1e-3)
    boundary = drawn["boundary-0"]["data"][0]
    np.testing.assert_allclose(np.array(boundary["customdata"])[..., 0], text.boundary, rtol=1e-3)
    np.testing.assert_array_equal(np.array(boundary["customdata"])[..., 1], text.nearest_wall)
    np.testing.assert_allclose(boundary["z"], np.log10(text.boundary), atol=1e-2)
    absolute, relative = drawn["dimension-0"]["data"]
    np.testing.assert_array_equal(absolute["customdata"], text.dimension[0].sum(axis=1))
    np.testing.assert_array_equal(absolute["z"], text.dimension[0].sum(axis=1))
    np.testing.assert_array_equal(np.array(relative["customdata"])[..., 0], text.dimension[1].sum(axis=1))
    np.testing.assert_array_equal(np.array(relative["customdata"])[..., 1], text.bound)
    np.testing.assert_allclose(relative["z"], np.log10(text.dimension[1].sum(axis=1)), atol=1e-3)


def test_the_layers_of_a_map_are_named_by_their_numbers(inspection):
    drawn = inspection_figures(replace(inspection("ab"), layers=(0, 5, 29)))
    assert list(drawn["sign-0"]["data"][0]["y"]) == ["0", "5", "29"]
    assert drawn["sign-0"]["layout"]["yaxis"]["type"] == "category"
    assert list(drawn["sign_mean"]["data"][0]["x"]) == ["0", "5", "29"]


def test_equal_tokens_keep_a_column_each(inspection):
    figure = inspection_figures(inspection("aaaa"))["sign-0"]
    assert len(figure["data"][0]["z"][0]) == 4
    assert "x" not in figure["data"][0]
    assert "type" not in figure["layout"]["xaxis"]  # numbers, not categories


def test_a_distance_of_0_is_drawn_and_one_without_wall_is_not(inspection):
    found = inspection("ab")
    found.texts[0].boundary[0, 0], found.texts[0].boundary[1, 1] = 0, np.inf
    trace = inspection_figures(found)["boundary-0"]["data"][0]
    assert trace["z"][0][0] == pytest.approx(trace["zmin"], rel=1e-3)
    assert trace["customdata"][0][0][0] == 0
    assert trace["z"][1][1] is None


def test_layers_without_softmax_are_gaps(inspection):
    found = inspection("ab")
    found.texts[0].dimension[:, 1] = -1
    for trace in inspection_figures(found)["dimension-0"]["data"]:
        assert trace["z"][1] == [None, None]
        assert None not in trace["z"][0]
    found.texts[0].dimension[:] = -1
    assert not {"dimension-0", "heads-0"} & set(inspection_figures(found))


@pytest.mark.parametrize(("text", "room"), [("ab", 22), ("兎", 28)], ids=["narrow", "wide"])
def test_below_a_heat_map_is_room_for_the_labels_of_tokens_and_no_more(inspection, text, room):
    layout = inspection_figures(inspection(text))["sign-0"]["layout"]
    assert layout["margin"]["b"] == room
    assert layout["height"] == 150 + room


def test_layers_have_one_color_scale_that_no_text_shares(inspection):
    found = inspection("one two", "three", layers=5, prefixes=True)
    drawn = inspection_figures(found)
    per_figure = [
        [line["line"]["color"] for line in drawn[f"prefixes-{name}-{number}"]["data"]]
        for name in SPLINE7
        for number in (0, 1)
    ]
    assert all(colors == per_figure[0] for colors in per_figure)
    legend = re.search(r"linear-gradient\(to right, ([^)]*)\)", section(inspection_html(found), "prefixes"))
    assert not set(legend[1].split(", ")) & set(SERIES)


def test_both_texts_share_their_colors_and_ranges(inspection):
    drawn = inspection_figures(inspection("one", "two", prefixes=True))
    for name in HEAT:
        one, two = (drawn[f"{name}-{number}"]["data"] for number in (0, 1))
        for first, second in zip(one, two, strict=True):
            for part in ("zmin", "zmax", "colorscale"):
                assert first[part] == second[part]
    for name in SPLINE7:
        ranges = [drawn[f"prefixes-{name}-{number}"]["layout"]["yaxis"]["range"] for number in (0, 1)]
        assert ranges[0] == ranges[1]


def test_prefixes_have_a_line_per_layer_from_the_first_token_on(inspection):
    found = inspection("one two", prefixes=True)
    lines = inspection_figures(found)["prefixes-sign_std-0"]["data"]
    assert [line["name"] for line in lines] == ["layer 0", "layer 1", "layer 2"]
    assert lines[0]["x"] == [1, 2, 3, 4, 5, 6, 7]
    np.testing.assert_allclose(lines[1]["y"], found.prefixes[0][1, :, 3], rtol=1e-3)
    assert len({line["line"]["color"] for line in lines}) == 3
    single = inspection_figures(inspection("a", prefixes=True))["prefixes-sign_mean-0"]["data"][0]
    assert single["mode"] == "markers"


def test_boundary_features_grow_on_a_logarithmic_axis_with_0_at_its_low_end(inspection):
    found = inspection("one two", prefixes=True)
    found.prefixes[0][..., 6] = 1e-4
    found.prefixes[0][:, 0, 6] = 0
    figure = inspection_figures(found)["prefixes-boundary_std-0"]
    axis, line = figure["layout"]["yaxis"], figure["data"][0]
    assert axis["type"] == "log"
    assert line["customdata"][:2] == [0, 1e-4]
    assert line["y"][:2] == [5e-5, 1e-4]
    assert 10 ** axis["range"][0] < 5e-5 < 1e-4 < 10 ** axis["range"][1]
    assert "type" not in inspection_figures(found)["prefixes-sign_std-0"]["layout"]["yaxis"]


def test_an_axis_of_prefixes_is_logarithmic_only_if_a_number_is_above_0():
    assert prefix_axis([np.array([1.0, 3.0])], log=False) == ({"range": [0.9, 3.1]}, -np.inf)
    axis, lowest = prefix_axis([np.array([0.0, 0.2]), np.array([10.0, np.inf])], log=True)
    assert (axis["type"], axis["range"], lowest) == ("log", pytest.approx([-1.1, 1.1]), 0.1)
    assert (axis["tickvals"], axis["ticktext"]) == (
        pytest.approx([0.1, 10 ** (-1 / 3), 10 ** (1 / 3), 10]),
        ["0.1", "0.464", "2.15", "10"],
    )
    assert prefix_axis([np.zeros(3)], log=True)[0] == {"range": [-1, 1]}
    assert prefix_axis([np.array([np.inf])], log=True)[0] == {}


def test_each_text_has_a_thin_line_of_its_distance_to_itself(inspection):
    found = inspection("one", "two")
    one, two, between = inspection_figures(found)["text_distance"]["data"]
    for line, values in ((one, found.self_distance[0]), (two, found.self_distance[1])):
        np.testing.assert_allclose(line["y"], values, rtol=1e-3)
        assert line["line"]["width"] < between["line"]["width"]
    np.testing.assert_allclose(between["y"], found.text_distance, rtol=1e-3)


def test_percentiles_have_a_row_per_feature(inspection):
    found = inspection("ab", percentiles=True)
    trace = inspection_figures(found)["percentiles-0"]["data"][0]
    assert (list(trace["y"]), list(trace["x"])) == (list(SPLINE7), ["0", "1", "2"])
    np.testing.assert_allclose(trace["z"], found.percentiles[0].T, rtol=1e-3)
    np.testing.assert_allclose(trace["customdata"], found.texts[0].seven.T, rtol=1e-3)


def test_extremes_name_the_token_that_reached_them(inspection):
    found = inspection("abc")
    found.texts[0].boundary[1] = [3e-3, 2e-3, 1e-3]
    assert inspection_figures(found)["boundary_min"]["data"][0]["text"][1] == plotly_text("2 c")
    assert "text" not in inspection_figures(found)["boundary_mean"]["data"][0]


def test_the_slice_draws_walls_cells_and_points(view, inspection):
    figure = inspection_figures(inspection("ab", view=view))["slice"]
    walls, *rest = figure["data"]
    assert {7, 11} == set(walls["customdata"])
    assert walls["x"].count(None) == 2  # after each wall, so that no line joins two
    ends = {(x, y) for x, y in zip(walls["x"], walls["y"], strict=True) if x is not None}
    assert {(1.0, 0.0), (1.0, 2.0), (0.0, 1.0), (2.0, 1.0)} <= ends
    assert {(1.0, 0.25), (1.0, 0.5), (0.75, 1.0)} <= ends  # to hover over near each point
    cells, points = rest[:3], rest[3:]
    assert cells[0]["x"] == [0.0, 1.0, 1.0, 0.0, 0.0]
    assert cells[1]["x"] == []  # the same cell again
    assert cells[2]["x"] == [1.0, 2.0, 2.0, 1.0, 1.0]
    assert list(zip(points[0]["x"], points[0]["y"], strict=True)) == [tuple(point) for point in view.points]
    assert figure["layout"]["yaxis"]["scaleanchor"] == "x"
    empty = replace(view, segments=np.zeros((0, 2, 2)), walls=np.zeros(0, int), regions=1)
    assert inspection_figures(inspection("ab", view=empty))["slice"]["data"][0]["x"] == []


def test_the_views_of_a_slice_hold_the_cell_of_their_point(view, inspection):
    *parts, third, whole = inspection_figures(inspection("ab", view=view))["slice"]["layout"]["meta"]["views"]
    assert whole == [0, 0, 2, 2]
    for left, low, right, high in parts:
        assert max(left, low) < 0
        assert min(right, high) > 1
    assert third == [0, 0, 3, 3]


def test_the_slice_opens_near_the_first_token(view, inspection):
    ends = np.linspace(
        [[0.0, 0.0], [2.0, 2.0]], [[2.0, 0.0], [0.0, 2.0]], 300
    )  # as many walls as a layer has
    many = replace(view, segments=ends, walls=np.arange(300))
    found = inspection("ab", view=many)
    figure = inspection_figures(found)["slice"]
    layout, walls = figure["layout"], figure["data"][0]
    left, low, right, high = layout["meta"]["views"][0]
    assert (layout["xaxis"]["range"], layout["yaxis"]["range"]) == ([left, right], [low, high])
    assert (walls["line"]["width"], walls["opacity"]) == (1, 1)
    assert layout["meta"]["whole"] == {"width": 0.6, "opacity": 0.85}
    views = re.findall(r'value="(\d)"( checked)?>', section(inspection_html(found), "slice"))
    assert views == [("0", " checked"), ("1", ""), ("2", ""), ("3", "")]


def test_what_plotly_would_read_as_markup_is_escaped(view, inspection):
    words = json.dumps(inspection_figures(inspection("ab", view=view))["slice"])
    for trick in ("<b>\\u202e", "'%{x}'", "\\u202e"):
        assert trick not in words
    assert "&lt;b&gt;" in words


# The scales


def test_a_scale_ranges_over_the_numbers_of_both_texts(inspection):
    found = inspection("one", "two")
    logs = [np.log10(text.boundary) for text in found.texts]
    scale = color_scales(found)["boundary"]
    assert (scale.low, scale.high) == pytest.approx((min(map(np.min, logs)), max(map(np.max, logs))))


def test_one_layer_of_thirty_does_not_take_the_colors_of_the_signs(inspection):
    found = inspection("a" * 20, layers=30)
    sign = found.texts[0].sign
    sign[0] = 0.99
    scale = color_scales(found)["sign"]
    assert sign[1:].min() <= scale.low < scale.high <= sign[1:].max()


def test_layers_without_softmax_do_not_reach_into_the_scale(inspection):
    found = inspection("abc")
    found.texts[0].dimension[:, 0] = -1
    assert color_scales(found)["absolute"].low >= 2  # two heads, one vertex each
    found.texts[0].dimension[:] = -1
    assert not {"absolute", "relative", "heads-absolute"} & set(color_scales(found))


def test_only_the_unlimited_form_is_logarithmic(inspection):
    found = color_scales(inspection("abc"))
    assert [found[name].log for name in THRESHOLDS] == [False, True]
