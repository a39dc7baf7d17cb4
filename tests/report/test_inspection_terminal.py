"""Tests ``report/inspection_terminal.py``: lines that fit, hold the numbers, and play no tricks."""

import io
from dataclasses import replace

import numpy as np
import pytest
from rich.cells import cell_len
from rich.console import Console

from splinelens.report.inspection_terminal import BLOCKS, curve, terminal

TRICKS = "a \x1b[2J\u202e\x07\r\n\ud800 日本語 👩‍👧 [bold]x[/bold] שלום"


def lines(found, width=120):
    return terminal(found, width).plain.splitlines()


def test_a_curve_by_hand():
    assert curve([0, 1, 2, 3, 4, 5, 6, 7], 0, 7, 8) == BLOCKS
    assert curve([0, 0, 7, 7], 0, 7, 2) == "▁█"
    assert curve([0, 7, np.nan, np.nan], 0, 7, 2) == "▄·"
    assert curve([5, 5], 5, 5, 9) == "▁▁"
    assert curve([], 0, 1, 9) == "·"


def test_a_token_line_holds_its_numbers(inspection):
    found = inspection("abc")
    text = found.portraits[0]
    text.boundary[:, 1] = [0.5, 0.25, 0.75]
    text.wall[1, 1] = 1234
    line = next(line for line in lines(found) if line.startswith("  1 b"))
    number, token, signs, nearest, where, drawn = line.split()
    assert (number, token, nearest, where) == ("1", "b", "0.25", "1/1234")
    assert float(signs) == pytest.approx(text.sign[:, 1].mean(), abs=5e-4)
    assert len(drawn) == 3
    assert set(drawn) <= set(BLOCKS)


def test_curves_are_the_relative_form_on_one_logarithmic_scale(inspection):
    found = inspection("ab", "cd", layers=2, heads=1)
    found.portraits[0].dimension[1, :, 0] = [[1, 1], [1, 100]]
    found.portraits[1].dimension[1, :, 0] = [[10, 10], [10, 10]]
    drawn = [line.split()[-1] for line in lines(found) if line.startswith(("  0", "  1"))]
    assert drawn == ["▁▁", "▁█", "▄▄", "▄▄"]
    assert "▁ 1 to █ 100 vertices" in " ".join(lines(found))


def test_layers_without_softmax_leave_dots_and_dashes(inspection):
    found = inspection("ab")
    found.portraits[0].dimension[:, 1] = -1
    shown = lines(found)
    assert shown[4].split()[-1][1] == "·"
    row = next(line for line in shown if line.split()[:1] == ["1"] and len(line.split()) == 8)
    assert row.split()[5:7] == ["-", "-"]
    found.portraits[0].dimension[:] = -1
    assert not set(BLOCKS) & set("".join(lines(found)))


def test_a_distance_without_wall_is_a_dash(inspection):
    found = inspection("ab")
    found.portraits[0].boundary[:] = np.inf
    assert lines(found)[4].split()[3:5] == ["-", "-"]


def test_each_layer_has_a_line(inspection):
    found = replace(inspection("ab", "cd"), layers=(0, 5, 29))
    heads, *rows = [
        line.split() for line in lines(found, 140) if line.startswith(("layer", "    0", "    5", "   29"))
    ]
    assert heads[0] == "layer"
    assert [row[0] for row in rows] == ["0", "5", "29"]
    assert rows[1][1] == f"{found.portraits[0].seven[1, 0]:.3f}"
    assert rows[1][-3:] == [f"{share:.3f}" for share in (found.text_distance[1], *found.own_distance[:, 1])]
    assert rows[1][5] == str(found.portraits[0].regions[1])


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("texts", [("word " * 9,), ("a" * 30, "日本語" * 9)])
def test_lines_fit_the_terminal(inspection, view, width, texts):
    found = inspection(
        *texts, layers=60, size=5, percentiles=True, prefixes=True, view=view, notes=["long " * 40]
    )
    found = replace(found, reference="a long name of texts, " * 9)
    for line in lines(found, width):
        assert cell_len(line) <= width, line


def test_nothing_that_moves_a_cursor_or_turns_a_line_is_printed(inspection, view):
    found = replace(inspection(TRICKS, view=view, notes=[TRICKS]), model=TRICKS)
    for line in lines(found):
        assert all(character.isprintable() or character in "\u200c\u200d" for character in line), repr(line)


def test_a_text_is_never_read_as_markup(inspection):
    found = inspection("[bold red]x", size=99)
    screen = io.StringIO()
    Console(file=screen, width=120, force_terminal=True, color_system="standard").print(terminal(found, 120))
    assert "[bold␣red]x" in screen.getvalue()


def test_percentiles_prefixes_slice_and_notes_are_told_where_they_are(inspection, view):
    shown = "\n".join(lines(inspection("abc", percentiles=True, prefixes=True, view=view, notes=["no wine"])))
    assert "percentiles, against 1,000 texts of a kind" in shown
    assert "while the text grows" in shown
    assert "over 3 tokens" in shown
    assert "slice of layer 1 through token 0 'a'; token 1 '<b>⟨202E⟩'" in shown
    assert ": up to 4 regions, 2 of 48 walls" in shown
    assert shown.endswith("note: no wine")
    bare = "\n".join(lines(inspection("abc")))
    for word in ("percentiles", "grows", "slice", "note"):
        assert word not in bare


@pytest.mark.parametrize(
    ("width", "left_out"),
    [(140, ["least", "most"]), (120, ["least", "most", "regions"]), (80, ["least", "most", "regions", "ID"])],
)
def test_two_texts_lose_columns_where_lines_would_be_too_long(inspection, width, left_out):
    head = next(line for line in lines(inspection("ab", "cd"), width) if line.startswith("layer"))
    assert head.endswith("1 to 2  1 to 1  2 to 2")
    for name in ("signs", "nearest", "least", "most", "regions", "ID"):
        assert (f"{name} " in head) is (name not in left_out), name


def test_the_legend_says_what_each_column_is(inspection):
    shown = " ".join(lines(inspection("ab", "cd")))
    for words in (
        "signs is the mean over the layers read",
        "nearest is the smallest boundary distance over them",
        "Distances of different layers have different units: compare within a layer",
        "ID: intrinsic dimension, vertices",
        "mean over tokens of the sum over heads",
        "least and most the smallest and largest of a token",
        "regions: distinct regions",
        "1 to 2 is at least the mean of those",
    ):
        assert words in shown
    assert "1 to 2" not in " ".join(lines(inspection("ab")))


def test_one_of_a_kind_is_not_many(inspection, view):
    found = inspection("a", layers=1, heads=1, prefixes=True, view=replace(view, cells=1, neurons=1))
    shown = "\n".join(lines(replace(found, neurons=1)))
    for words in (
        "1 layer (0) of 1 neuron, 1 head,",
        "text: 1 token\n",
        "over 1 token\n",
        ": 1 region, 2 of 1 wall ",
    ):
        assert words in shown


def test_the_growing_text_is_drawn_for_the_first_middle_and_last_layer(inspection):
    found = inspection("abcd", layers=5, prefixes=True)
    rows = [line.split() for line in lines(found) if line.startswith("sign_std")]
    assert [row[1] for row in rows] == ["0", "2", "4"]
    assert {len(row[-1]) for row in rows} == {4}
