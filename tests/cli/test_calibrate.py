"""Tests ``cli/calibrate.py``: what is printed, written and refused."""

import csv
import json

import pytest


@pytest.fixture
def log(run, detector, comments, tmp_path):
    """A CSV of 120 comments and the square of the detector's score as logged toxicity, the first missing."""
    scored = run("score", comments, "-c", "comment", "-d", detector, "--json", "-q").stdout.splitlines()
    with comments.open() as file:
        rows = [row["comment"] for row in csv.DictReader(file)]
    with (tmp_path / "log.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "comment", "Toxicity"])
        for row, (text, line) in enumerate(zip(rows, scored, strict=True)):
            table.writerow([row // 2, text, "" if row == 0 else json.loads(line)["score"] ** 2])
    return tmp_path / "log.csv"


def test_it_prints_both_tables_and_writes_the_maps_and_a_page(run, detector, log, tmp_path):
    words = ("calibrate", log, "-c", "comment", "-d", detector, "-o", tmp_path / "map.json", "--group", "id")
    result = run(*words, "--report", tmp_path / "page.html")
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert lines[1].startswith("TOXICITY tiny 119 ")
    assert lines[4].startswith("TOXICITY 0.5 ")
    assert "TOXICITY: left out 1 row without a logged score" in lines
    assert lines[-1] == f"wrote {tmp_path / 'map.json'}"
    assert f"wrote {tmp_path / 'page.html'}" in result.stderr
    document = json.loads((tmp_path / "map.json").read_text("utf-8"))
    assert set(document) == {"TOXICITY", "provenance"}
    served = run("serve", "--check", "--detector", detector, "--calibration", tmp_path / "map.json")
    assert json.loads(served.stdout)["calibrated"] == ["TOXICITY"]
    shown = json.loads(run(*words, "--overwrite", "--json", "-q").stdout)
    assert shown.pop("output") == str(tmp_path / "map.json")
    saved = document["provenance"] | {"schema": None, "command": None}
    assert shown | {"schema": None, "command": None} == saved
    assert "--overwrite" not in shown["command"]


def test_a_column_of_another_name_is_an_attribute_when_told(run, detector, log, tmp_path):
    renamed = tmp_path / "other.csv"
    renamed.write_text(log.read_text().replace("Toxicity", "old score", 1))
    words = ("calibrate", renamed, "-c", "comment", "-d", detector, "-o", tmp_path / "map.json")
    assert "no column called TOXICITY" in run(*words, code=1).stderr
    assert "TOXICITY" in run(*words, "-a", "toxicity=old score").stdout


def test_what_is_refused_before_a_model_is_loaded(run, log, tmp_path):
    words = ("calibrate", log, "-c", "comment", "-o", tmp_path / "map.json")
    told = " ".join(run(*words, "-a", "FLIRTATION", code=2).output.replace("│", " ").split())
    assert "'FLIRTATION' is not NAME or NAME=COLUMN" in told
    assert "no column 'THREAT'" in run(*words, "-a", "THREAT", code=1).stderr
    assert "measures TOXICITY; add --detector types" in run(*words, "-d", "domain", code=1).stderr
    assert "it is the input" in run("calibrate", log, "-o", log, "--overwrite", code=2).stderr
    same = ("calibrate", log, "-c", "comment", "-o", tmp_path / "map.html", "--report", tmp_path / "map.html")
    assert "it is the file of --output" in run(*same, code=2).stderr
    assert not (tmp_path / "map.json").exists()
