"""Tests ``splinelens authorship``: parse, call, print, and exit codes."""

import csv
import json

import pytest

STYLES = {"ann": "the {} is {}.", "bob": "{} and {}!\n- so", "cat": "NO {}, {} NOW"}


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.csv"
    with path.open("w", newline="") as target:
        writer = csv.writer(target)
        writer.writerow(["text", "who", "topic", "family"])
        for who, form in STYLES.items():
            for topic in ("tea", "sea", "day", "toad", "town", "rain"):
                for word in ("cold", "red"):
                    writer.writerow([form.format(topic, word), who, topic, "x" if who < "c" else "y"])
    return str(path)


def test_fit_and_score(run, file, tmp_path):
    fit = ["authorship", "fit", file, "-w", "who", "--group", "topic", "-o", str(tmp_path / "who")]
    done = run(*fit, "--feature-sets", "text")
    assert "36 texts of 3 writers, 6 prompts" in done.stdout
    assert "text only *" in done.stdout
    assert "formatting only" in done.stdout
    assert "overwrite" in run(*fit, "--feature-sets", "text", code=2).stderr
    record = json.loads(run(*fit, "--feature-sets", "text", "--overwrite", "--json").stdout)
    assert record["chosen"] == "text only"
    scored = run("authorship", "score", str(tmp_path / "who"), file, "-c", "text", "--by", "who", "--json")
    records = [json.loads(line) for line in scored.stdout.splitlines()]
    assert [(one["name"], one["nearest"], one["answers"]) for one in records] == [
        (who, who, 12) for who in STYLES
    ]
    line = run("authorship", "score", str(tmp_path / "who"), file, "-c", "text").stdout.splitlines()[0]
    assert line.startswith("row 0  ann  score ")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-w", "who", "--group", "prompt"], "no column 'prompt'"),
        (["-w", "family", "--group", "who"], "'y' has texts of one prompt only"),
        (["-w", "who", "--group", "topic", "--feature-sets", "magic"], "'magic' is no feature set"),
    ],
    ids=["group", "prompt", "feature-set"],
)
def test_bad_input_ends_with_a_message(run, file, tmp_path, options, message):
    done = run("authorship", "fit", file, "-o", str(tmp_path / "w"), "--feature-sets", "text", *options, code=1)
    assert message in done.stderr


def test_a_game_on_stored_answers(run, file):
    columns = ["-w", "who", "--group", "topic", "--family", "family"]
    options = ["--members", "3", "--seen", "2", "--queries", "8", "--seeds", "1"]
    done = run("authorship", "game", file, *columns, *options, code=1)
    assert "too few are left to learn from" in done.stderr
