"""Tests ``cli/adapt.py``: what is printed, written and refused."""

import json

import pytest

from splinelens.detect.artifact import Artifact


@pytest.fixture
def labels(tmp_path):
    """A CSV of 64 comments of another kind than the detector's: text, rude, verdict, author."""
    lines = [
        f"{'a zigzag' if row % 2 else 'a walk'} by the sea {row},{row % 2},{'mean' if row % 2 else 'kind'},"
        f"{row // 2 % 12}"
        for row in range(64)
    ]
    file = tmp_path / "labels.csv"
    file.write_text("text,rude,verdict,author\n" + "\n".join(lines) + "\n")
    return file


def test_it_prints_before_and_after_and_writes_a_detector_that_scores(run, detector, labels, tmp_path):
    shown = run("adapt", detector, labels, "--label", "rude", "-o", tmp_path / "mine").stdout
    record = Artifact.load(tmp_path / "mine").training["adapted"]
    assert shown.startswith("Adapted from tiny to 64 rows, 32 of them positive; ")
    for line in (f"before {record['auc_before']:.4f}", f"after {record['auc_after']:.4f}"):
        assert line in " ".join(shown.split())
    assert shown.endswith(f"{record['recommendation']}\nwrote {tmp_path / 'mine'}\n")
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


def test_it_shows_what_each_threshold_does_before_and_after(run, detector, labels, tmp_path):
    arguments = ["adapt", detector, labels, "--label", "rude", "-o", tmp_path / "mine", "--overwrite"]
    record = json.loads(run(*arguments, "--json").stdout)
    lines = [" ".join(line.split()) for line in run(*arguments).stdout.splitlines()]
    assert "threshold for before false positives recall after false positives recall" in lines
    for target, percents in (("0.05", "5 %"), ("0.01", "1 %")):
        effects = [record[when]["at_threshold"][target] for when in ("before", "after")]
        cells = [
            f"{one['score']:.4f} {100 * one['false_positive_rate']:.3g} % {100 * one['recall']:.3g} %"
            for one in effects
        ]
        assert " ".join([percents, *cells]) in lines


def test_it_says_which_value_of_the_file_counts_as_the_label(run, detector, labels, tmp_path):
    arguments = ["--label", "verdict", "--positive", "mean", "-o", tmp_path / "mine"]
    shown = run("adapt", detector, labels, *arguments).stdout
    assert '"mean" counts as toxic.' in shown.splitlines()[0]
    assert '"mean" counts as toxic.' in (tmp_path / "mine" / "CARD.md").read_text("utf-8")


def test_groups_of_the_file_are_kept_whole_and_recorded(run, detector, labels, tmp_path):
    shown = run("adapt", detector, labels, "--label", "rude", "--group", "author", "-o", tmp_path / "mine")
    assert "Adapted from tiny" in shown.stdout
    training = Artifact.load(tmp_path / "mine").training
    assert training["groups"] == {"column": "author", "groups": 12, "missing": 0}


@pytest.mark.parametrize("command", ["adapt", "train", "evaluate"])
def test_a_column_of_texts_named_as_label_is_refused_without_a_text(run, detector, labels, tmp_path, command):
    first = [] if command == "train" else [detector]
    last = [] if command == "evaluate" else ["-o", tmp_path / "mine"]
    result = run(command, *first, labels, "--column", "text", "--label", "text", *last, code=1)
    assert "label 'text' holds 64 different values in 64 rows" in result.stderr
    assert "by the sea" not in result.output
    assert not (tmp_path / "mine").exists()


def test_a_column_of_many_words_is_named_with_their_number(run, detector, labels, tmp_path):
    result = run("adapt", detector, labels, "--label", "author", "-o", tmp_path / "mine", code=1)
    assert "label 'author' holds 12 different values; say which value counts as 1" in result.stderr


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
