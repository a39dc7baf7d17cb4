"""Tests ``report/place.py``: one token at one layer in lines and as JSON, without a model."""

import json
import math
from dataclasses import dataclass, replace

import pytest
import torch
from rich.cells import cell_len
from splinelens.features.hull import HeadHull, Hull
from splinelens.features.place import Place

from splinelens.geometry.affine import piecewise_map
from splinelens.geometry.walls import Crossing
from splinelens.report.place import PlaceReport, place_terminal


@dataclass
class Made:
    """A place whose every number is known."""

    place: Place
    pieces: tuple[str, ...] = ("The", " lamp", "\u202e\x1b[31m")


@pytest.fixture
def made():
    """Two neurons whose walls are the axes of the plane, one on and one off, at (3, -4)."""
    point = torch.tensor([3.0, -4.0])
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    two = HeadHull(1, 2, (1, -1), torch.tensor([0.75, 0.25]), None, torch.zeros(2, 1))
    one = HeadHull(1, 1, (2,), torch.tensor([1.0]), None, torch.zeros(2, 1))
    return Made(
        Place(
            layer=5,
            token=2,
            piece="\u202e\x1b[31m",
            region="00112233445566ff",
            code=torch.tensor([0x80], dtype=torch.uint8),
            neurons=2,
            numbers=torch.arange(2),
            experts=(),
            sign=0.5,
            boundary=3.0,
            wall=0,
            crossing=Crossing(0, 3.0, torch.tensor([-6.0, 0.0])),
            input=point,
            output=torch.tensor([12.0, 5.0]),
            map=piecewise_map(point, weight, None, 2 * torch.eye(2), None),
            hull=Hull((two, one), (0, 1), (2, 3), (0, 1), torch.zeros(2)),
            eps=0.1,
            notes=("a note",),
        )
    )


def test_the_numbers_by_hand(made):
    record = json.loads(PlaceReport.of(made.place, "tiny").to_json())
    mapped = record.pop("map")
    assert mapped.pop("kind") == "exact"
    assert mapped == pytest.approx({"norm": 2, "frobenius": 2, "effective_rank": 1}, rel=1e-6)
    assert record == {
        "schema": 1,
        "model": "tiny",
        "layer": 5,
        "token": 2,
        "piece": made.place.piece,
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


def test_json_is_one_line_whatever_the_token_holds(made):
    line = PlaceReport.of(made.place, "tiny").to_json()
    assert "\n" not in line
    assert json.loads(line)["piece"] == made.place.piece


def test_the_lines_by_hand(made):
    assert place_terminal(PlaceReport.of(made.place, "tiny"), 120, made.pieces).plain.split("\n") == [
        "tiny, layer 5, token 2 '⟨202E⟩␛[31m'",
        "",
        "region        00112233445566ff, 0.500 of 2 neurons on",
        "nearest wall  neuron 0, 3 away, a step of 6 goes through it and no other",
        "MLP           input 5 long, output 13 long",
        "map           exact, norm 2, Frobenius norm 2, effective rank 1.0",
        "ID absolute   2 vertices, bound on the hull's dimension 0, measured 0, eps 0.1",
        "ID relative   3 vertices, bound on the hull's dimension 1, measured 1, eps 0.1",
        "",
        "head  abs  rel  active tokens and their weights",
        "   0    1    2  1 '␣lamp' 0.750, -1 before 0.250",
        "   1    1    1  2 '⟨202E⟩␛[31m' 1.000",
        "note: a note",
    ]


def test_what_does_not_exist_is_null_and_not_printed(made):
    bare = replace(
        made.place,
        experts=(3, 5),
        boundary=math.inf,
        wall=-1,
        crossing=None,
        output=None,
        map=None,
        hull=None,
    )
    report = PlaceReport.of(bare, "tiny")
    record = json.loads(report.to_json())
    assert [record[name] for name in ("boundary", "wall", "crossing", "output", "map", "hull")] == [None] * 6
    shown = place_terminal(report, 80).plain
    assert "nearest wall  none\nexperts       3, 5\nMLP           input 5 long\nnote: a note" in shown
    assert "head" not in shown


def test_a_wall_without_a_step_and_a_hull_without_vertices_are_said(made):
    bare = replace(made.place, crossing=None, hull=replace(made.place.hull, measured=None))
    shown = place_terminal(PlaceReport.of(bare, "tiny"), 120).plain
    assert "3 away, no step goes through it and no other" in shown
    assert shown.count("measured -") == 2
    assert "1 0.750, -1 before 0.250" in shown  # the tokens' characters were not given


@pytest.mark.parametrize("width", [60, 61, 80])
def test_no_line_is_wider_than_the_terminal_and_nothing_is_lost(made, width):
    weights = torch.full((11,), 0.05)
    wide = HeadHull(0, 11, tuple(range(11)), weights, None, torch.zeros(2, 1))
    place = replace(made.place, hull=replace(made.place.hull, heads=(wide,)), notes=("words " * 30,))
    report = PlaceReport.of(place, "tiny")
    shown = place_terminal(report, width, ["日本語"] * 11).plain
    assert max(map(cell_len, shown.split("\n"))) <= width
    assert shown.count("'日本語' 0.050") == 8
    assert "3 more" in shown
    assert shown.count("words") == 30
    assert len(report.to_dict()["hull"]["heads"][0]["tokens"]) == 11
    long = place_terminal(report, width, [" " * 99] * 11).plain
    assert max(map(cell_len, long.split("\n"))) <= width
    assert "0 '␣␣" in long
    assert "␣…' 0.050" in long
    broad = place_terminal(report, 10_000, ["日本語"] * 11).plain
    assert shown.split() == broad.split()
