"""Tests ``cli/adapt.py``: what is printed, written and refused."""

import json

import pytest

from splinelens.detect.artifact import Artifact


@pytest.fixture
def labels(tmp_path):
    """A CSV of 64 comments of another kind than the detector's: text, rude."""
    lines = [f"{'a zigzag' if row % 2 else 'a walk'} by the sea {row},{row % 2}" for row in range(64)]
    file = tmp_path / "labels.csv"
    file.write_text("text,rude\n" + "\n".join(lines) + "\n")
    return file


def test_it_prints_before_and_after_and_writes_a_detector_that_scores(run, detector, labels, tmp_path):
    shown = run("adapt", detector, labels, "--label", "rude", "-o", tmp_path / "mine").stdout
    record = Artifact.load(tmp_path / "mine").training["adapted"]
    assert shown.startswith("Adapted from tiny to 64 rows, 32 of them positive; ")
    for line in (f"before {record['auc_before']:.4f}", f"after {record['auc_after']:.4f}"):
        assert line in " ".join(shown.split())
    assert shown.endswith(f"wrote {tmp_path / 'mine'}\n")
    assert sorted(path.name for path in (tmp_path / "mine").iterdir()) == [
        "CARD.md",
        "detector.json",
        "detector.safetensors",
    ]
    assert "splinelens adapt " in (tmp_path / "mine" / "CARD.md").read_text("utf-8")
    assert run("score", "--detector", tmp_path / "mine", "--text", "a zigzag").stdout


def test_json_has_both_evaluations(run, detector, labels, tmp_path):
    shown = run("adapt", detector, labels, "--label", "rude", "-o", tmp_path / "mine", "--json").stdout
    record = json.loads(shown)
    assert record["rows"] == record["before"]["n"] == record["after"]["n"] == 64
    assert record["gain"] == pytest.approx(record["after"]["auc"] - record["before"]["auc"])
    assert {"penalty", "tried", "notes", "gain_interval", "output"} <= set(record)


def test_what_is_refused_before_a_model_is_loaded(run, labels, comments, tmp_path, detector):
    nowhere = ["--label", "rude", "--model", "owner/nowhere", "-o", tmp_path / "mine"]
    assert "detector domain has the labels" in run("adapt", "domain", labels, *nowhere, code=1).stderr
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "detector.json").write_text("{}")
    assert "--overwrite" in run("adapt", detector, labels, *nowhere, code=2).stderr
    known = ["--column", "comment", "--label", "toxic", "-o", tmp_path / "other", "--model", "owner/nowhere"]
    message = run("adapt", detector, comments, *known, code=1).stderr
    assert "80 of 120 rows were in the training data of detector tiny" in message
    assert not (tmp_path / "other").exists()
