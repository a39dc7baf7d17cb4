"""Tests ``cli/detectors.py``: the list of shipped detectors, and a card."""

import json
from dataclasses import replace

import pytest

import splinelens.detect.shipped
from splinelens.detect.artifact import Artifact


@pytest.fixture(autouse=True)
def _one_shipped(detector, monkeypatch):
    monkeypatch.setattr(splinelens.detect.shipped, "shipped", lambda: {"tiny": detector})
    monkeypatch.setitem(splinelens.detect.shipped.PURPOSES, "tiny", "rude words; misses all others")


def test_the_list_has_stable_keys(run, detector, model_folder):
    (row,) = json.loads(run("detectors", "list", "--json").stdout)
    keys = (
        "name purpose task labels negative model blocks layers auc auc_interval length_auc accuracy languages"
    )
    assert list(row) == [*keys.split(), "size_bytes", "path"]
    assert (row["task"], row["labels"], row["negative"], row["layers"]) == (
        "binary",
        ["toxic"],
        "clean",
        "0-2",
    )
    assert (row["name"], row["model"], row["blocks"]) == ("tiny", str(model_folder), 3)
    assert row["size_bytes"] == sum(path.stat().st_size for path in detector.iterdir())


def test_the_list_for_eyes_shows_the_auc_with_its_interval(run):
    shown = run("detectors", "list").stdout
    assert shown.startswith("tiny  rude words; misses all others\n      binary: toxic or clean  ")
    assert "3 blocks, layers 0-2  AUC " in shown
    assert "] out of fold" in shown


def test_the_card_of_a_name_or_a_folder_is_printed(run, detector):
    assert run("detectors", "show", "tiny").stdout.startswith("# tiny\n")
    assert run("detectors", "show", detector).stdout == run("detectors", "show", "tiny").stdout


def test_the_card_of_a_folder_cannot_move_the_cursor(run, detector):
    replace(Artifact.load(detector), name="a\x1b[2Jb").save(detector)
    assert run("detectors", "show", detector).stdout.startswith("# a␛[2Jb\n")


def test_the_card_shown_is_the_one_in_the_folder(run, detector):
    assert run("detectors", "show", "tiny").stdout == (detector / "CARD.md").read_text("utf-8")
    assert "splinelens train " in run("detectors", "show", "tiny").stdout.split("## Reproduce")[1]


def test_an_unknown_name_is_refused(run):
    assert "did you mean tiny" in run("detectors", "show", "tini", code=1).stderr
