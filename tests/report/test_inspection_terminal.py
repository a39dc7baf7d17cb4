"""Tests ``report/inspection_terminal.py``: lines that fit, hold the numbers, and play no tricks."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.cells import cell_len

from splinelens.features.look import HeadHull, Hull, TokenDetail
from splinelens.geometry.affine import piecewise_map
from splinelens.geometry.walls import Crossing
from splinelens.report.inspection_terminal import BLOCKS, curve, inspection_view, token_view
from splinelens.report.terminal import plain


def lines(found, width=120):
    return plain(inspection_view(found, width), width).splitlines()


def test_a_curve_by_hand():
    assert curve([0, 1, 2, 3, 4, 5, 6, 7], 0, 7, 8) == BLOCKS
    assert curve([0, 0, 7, 7], 0, 7, 2) == "▁█"
    assert curve([0, 7, np.nan, np.nan], 0, 7, 2) == "▄·"
    assert curve([5, 5], 5, 5, 9) == "▁▁"
    assert curve([], 0, 1, 9) == "·"


def test_a_token_line_holds_its_numbers(inspection):
    found = inspection("abc")
    text = found.texts[0]
    text.boundary[:, 1] = [0.5, 0.25, 0.75]
    text.nearest_wall[1, 1] = 1234
    line = next(line for line in lines(found) if line.split()[:2] == ["1", "b"])
    _, _, signs, nearest, where, drawn = line.split()
    assert (nearest, where) == ("0.25", "1/1234")
    assert float(signs) == pytest.approx(text.sign[:, 1].mean(), abs=5e-4)
    assert len(drawn) == 3
    assert set(drawn) <= set(BLOCKS)


def test_curves_are_the_relative_form_on_one_logarithmic_scale(inspection):
    found = inspection("ab", "cd", layers=2, heads=1)
    found.texts[0].dimension[1, :, 0] = [[1, 1], [1, 100]]
    found.texts[1].dimension[1, :, 0] = [[10, 10], [10, 10]]
    drawn = [line.split()[-1] for line in lines(found)[4:] if line and line[-1] in BLOCKS]
    assert drawn == ["▁▁", "▁█", "▄▄", "▄▄"]
    assert "▁ 1 to █ 100 vertices" in " ".join(lines(found))


def test_layers_without_softmax_leave_dots_and_dashes(inspection):
    found = inspection("ab")
    found.texts[0].dimension[:, 1] = -1
    shown = lines(found)
    assert shown[4].split()[-1][1] == "·"
    row = next(line.split() for line in shown if line.split()[:1] == ["1"] and len(line.split()) == 8)
    assert row[5:7] == ["-", "-"]
    found.texts[0].dimension[:] = -1
    assert not set(BLOCKS) & set("".join(lines(found)))


def test_a_distance_without_wall_is_a_dash(inspection):
    found = inspection("ab")
    found.texts[0].boundary[:] = np.inf
    assert lines(found)[4].split()[3:5] == ["-", "-"]


def test_each_layer_has_a_line_and_two_texts_their_distance(inspection):
    found = inspection("ab", "cd")
    rows = [line.split() for line in lines(found) if line.split()[:1] == ["1"]]
    assert [row[1] for row in rows if len(row) == 8] == [f"{text.sign[1].mean():.4f}" for text in found.texts]
    distances = [f"{share:.4f}" for share in (found.text_distance[1], *found.self_distance[:, 1])]
    assert ["1", *distances] in rows


@pytest.mark.parametrize("width", [80, 120])
@pytest.mark.parametrize("texts", [("word " * 9,), ("a" * 30, "日本語" * 9)])
def test_lines_fit_the_terminal(inspection, view, width, texts):
    found = inspection(
        *texts, layers=60, size=5, percentiles=True, prefixes=True, view=view, notes=["long " * 40]
    )
    shown = lines(replace(found, reference=("a long name of texts, " * 9,) * len(texts)), width)
    assert max(map(cell_len, shown)) <= width
    assert "…" not in "".join(line for line in shown if "日" not in line)


def test_hostile_texts_play_no_tricks_and_are_no_markup(inspection, view, hostile):
    text = "[bold]x[/bold] \x07\r\n" + hostile
    shown = lines(replace(inspection(text, view=view, notes=[text], size=40), model=text))
    for line in shown:
        assert all(character.isprintable() or character in "\u200c\u200d" for character in line), repr(line)
    assert shown[0].startswith("[bold]x[/bold]")


def test_percentiles_prefixes_slice_and_notes_are_shown_if_present(inspection, view):
    found = inspection("abc", percentiles=True, prefixes=True, view=view, notes=["no wine"])
    shown = "\n".join(lines(found))
    assert "percentiles, against 1,000 texts of a kind" in shown
    assert "over 3 tokens" in shown
    assert "slice of layer 1 through token 0 'a'; token 1 '<b>⟨202E⟩'" in shown
    assert ": up to 4 regions, 2 of 48 walls" in shown
    assert shown.endswith("note: no wine")
    bare = "\n".join(lines(inspection("abc")))
    for word in ("percentiles", "grows", "slice", "note"):
        assert word not in bare


def test_one_of_a_kind_is_not_many(inspection, view):
    found = inspection("a", layers=1, heads=1, prefixes=True, view=replace(view, regions=1, neurons=1))
    shown = "\n".join(lines(replace(found, neurons=1)))
    for words in (
        "1 layer (0) of 1 neuron, 1 head,",
        "text: 1 token\n",
        "over 1 token\n",
        ": 1 region, 2 of 1 wall ",
    ):
        assert words in shown


def test_prefixes_are_drawn_for_the_first_middle_and_last_layer(inspection):
    found = inspection("abcd", layers=5, prefixes=True)
    rows = [line.split() for line in lines(found) if line.startswith("sign_std")]
    assert [row[1] for row in rows] == ["0", "2", "4"]
    assert {len(row[-1]) for row in rows} == {4}


PIECES = ("The", " lamp", "\u202e\x1b[31m")


@pytest.fixture
def detail():
    """Two neurons whose walls are the axes of the plane, one positive and one not, at (3, -4)."""
    point = torch.tensor([3.0, -4.0])
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    two = HeadHull(1, 2, (1, -1), torch.tensor([0.75, 0.25]), None, torch.zeros(2, 1))
    one = HeadHull(1, 1, (2,), torch.tensor([1.0]), None, torch.zeros(2, 1))
    return TokenDetail(
        layer=5,
        token=2,
        piece=PIECES[2],
        region="00112233445566ff",
        code=torch.tensor([0x80], dtype=torch.uint8),
        neuron_count=2,
        neurons=torch.arange(2),
        experts=(),
        sign=0.5,
        boundary=3.0,
        nearest_wall=0,
        crossing=Crossing(0, 3.0, torch.tensor([-6.0, 0.0])),
        input=point,
        output=torch.tensor([12.0, 5.0]),
        map=piecewise_map(point, (weight, None), (2 * torch.eye(2), None)),
        hull=Hull((two, one), (0, 1), (2, 3), (0, 1), torch.zeros(2)),
        eps=0.1,
        notes=("a note",),
    )


def shown_token(detail, width=120, pieces=()):
    return plain(token_view(detail.to_dict(), "tiny", pieces), width)


def test_the_record_of_a_token_by_hand(detail):
    record = json.loads(json.dumps(detail.to_dict(), allow_nan=False))
    norms = record.pop("map")
    assert norms.pop("kind") == "exact"
    assert norms == pytest.approx({"norm": 2, "frobenius": 2, "effective_rank": 1}, rel=1e-6)
    assert record == {
        "schema": 1,
        "layer": 5,
        "token": 2,
        "piece": PIECES[2],
        "region": "00112233445566ff",
        "code": "80",
        "neurons": 2,
        "experts": [],
        "sign": 0.5,
        "boundary": 3.0,
        "wall": 0,
        "crossing": 6.0,
        "input": 5.0,
        "output": 13.0,
        "eps": 0.1,
        "hull": {
            "heads": [
                {"absolute": 1, "relative": 2, "tokens": [1, -1], "weights": [0.75, 0.25]},
                {"absolute": 1, "relative": 1, "tokens": [2], "weights": [1.0]},
            ],
            "tight": [0, 1],
            "loose": [2, 3],
            "measured": [0, 1],
        },
        "notes": ["a note"],
    }


def test_the_lines_of_a_token_by_hand(detail):
    assert shown_token(detail, pieces=PIECES).split("\n") == [
        "tiny, layer 5, token 2 '⟨202E⟩␛[31m'",
        "",
        "region        00112233445566ff, 0.500 of 2 neurons positive",
        "nearest wall  neuron 0, at distance 3, a step of 6 crosses it and no other",
        "MLP           input norm 5, output norm 13",
        "map           exact, norm 2, Frobenius norm 2, effective rank 1.0",
        "ID absolute   2 vertices, bound on the hull's dimension 0, measured 0, eps 0.1",
        "ID relative   3 vertices, bound on the hull's dimension 1, measured 1, eps 0.1",
        "",
        "head  abs  rel  active tokens and their weights",
        "   0    1    2  1 '␣lamp' 0.750, -1 before 0.250",
        "   1    1    1  2 '⟨202E⟩␛[31m' 1.000",
        "note: a note",
    ]


def test_what_does_not_exist_is_null_and_not_shown(detail):
    bare = replace(
        detail,
        experts=(3, 5),
        boundary=math.inf,
        nearest_wall=-1,
        crossing=None,
        output=None,
        map=None,
        hull=None,
    )
    record = bare.to_dict()
    assert [record[name] for name in ("boundary", "wall", "crossing", "output", "map", "hull")] == [None] * 6
    shown = shown_token(bare, 80)
    assert "nearest wall  none\nexperts       3, 5\nMLP           input norm 5\nnote: a note" in shown
    assert "head" not in shown


def test_a_wall_without_a_step_and_a_hull_without_vertices_are_named(detail):
    shown = shown_token(replace(detail, crossing=None, hull=replace(detail.hull, measured=None)))
    assert "at distance 3, no step crosses it and no other" in shown
    assert shown.count("measured -") == 2
    assert "1 0.750, -1 before 0.250" in shown  # without the tokens' characters


@pytest.mark.parametrize("width", [60, 80])
def test_no_line_of_a_token_is_wider_than_the_terminal_and_nothing_is_lost(detail, width):
    wide = HeadHull(0, 11, tuple(range(11)), torch.full((11,), 0.05), None, torch.zeros(2, 1))
    detail = replace(detail, hull=replace(detail.hull, heads=(wide,)), notes=("words " * 30,))
    shown = shown_token(detail, width, ["日本語"] * 11)
    assert max(map(cell_len, shown.split("\n"))) <= width
    assert "".join(shown.split()).count("'日本語'") == 8
    assert "3 more" in " ".join(shown.split())
    assert shown.count("words") == 30
