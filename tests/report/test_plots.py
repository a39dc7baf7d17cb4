"""Tests ``report/plots.py``: shapes that several pages share, none of them by a private name."""

import ast
from pathlib import Path

from splinelens.report.inspection_plots import category_axis, figure_place, framed, heat_map, panel, scale_bar
from splinelens.report.inspection_scales import Scale

REPOSITORY = Path(__file__).parents[2]
SCALE = Scale(("#000", "#777", "#fff"), 0.5, 1.0, ((0.0, "chance"), (1.0, "1")))


def test_axes_are_those_given_with_room_for_their_labels():
    found = framed(200, {"title": {"text": "a"}}, category_axis("layer"))
    assert found["xaxis"] == {"automargin": True, "title": {"text": "a"}}
    assert (found["yaxis"]["type"], found["height"]) == ("category", 200)


def test_a_heat_map_spreads_its_colours_evenly():
    found = heat_map([[0.5, None]], SCALE)
    assert found["colorscale"] == [[0.0, "#000"], [0.5, "#777"], [1.0, "#fff"]]
    assert (found["zmin"], found["zmax"]) == (0.5, 1.0)


def test_a_place_escapes_its_words_and_widens_for_many_tokens():
    shown = figure_place("roc", '"quoted" <b>', "ROC")
    assert 'aria-label="ROC. &quot;quoted&quot; &lt;b&gt;"' in shown
    assert "min-width" not in shown
    assert "min-width:560px" in figure_place("sign-0", "Signs.", "Signs", tokens=100)


def test_a_panel_has_its_title_and_words_and_a_scale_its_ticks():
    assert "<h3>A &amp; B</h3>" in panel("a", "A & B")
    assert "<p class='quiet'>Words.</p>" in panel("a", "A", "Words.")
    assert "left:100%" in scale_bar(SCALE, "AUC")
    assert "AUC" not in scale_bar(SCALE, "")


def test_no_file_imports_a_private_name_of_another():
    for room in ("src", "tests", "benchmarks", "docs", "examples"):
        for path in sorted((REPOSITORY / room).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.ImportFrom) else []
                private = [name for name in names if name.startswith("_") and not name.startswith("__")]
                assert not private, f"{path.relative_to(REPOSITORY)}:{node.lineno} imports {private}"
