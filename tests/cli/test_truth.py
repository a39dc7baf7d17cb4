"""Tests ``cli/truth.py``: what is printed, written and refused."""

import csv
import json
import re

import pytest

TRUE = [f"the {thing} is {word}" for thing in ("tea", "sea", "toad", "town", "rain") for word in "abcdefgh"]


@pytest.fixture
def model(writer_folder):
    return writer_folder()


@pytest.fixture
def facts(tmp_path):
    """A CSV of 40 true sentences, 40 false ones and an empty cell."""
    with (tmp_path / "facts.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["id", "said", "right", "topic"])
        for row, text in enumerate(TRUE):
            table.writerow([row, text, "true", row % 2])
            table.writerow([100 + row, f"no {text[4:]} xyz", "false", row % 2])
        table.writerow([999, "", "true", 0])
    return tmp_path / "facts.csv"


def test_fit_with_labels_then_score_to_a_file(run, model, facts, tmp_path):
    fit = ("truth", "fit", facts, "-c", "said", "--label", "right", "-m", model, "-o", tmp_path / "mine")
    result = run(*fit, "--neighbors", 5, "--method", "margins")
    assert "80 texts, 40 of them true, 1 left out" in result.stdout
    assert result.stdout.splitlines()[-1] == f"wrote {tmp_path / 'mine'}: margins"
    assert "the folder holds CARD.md and perhaps more" in run(*fit, code=2).stderr
    scored = tmp_path / "scored.jsonl"
    score = ("truth", "score", facts, "-c", "said", "-d", tmp_path / "mine", "--keep", "id", "-o", scored)
    assert "81 texts" in run(*score).stderr
    records = [json.loads(line) for line in scored.read_text().splitlines()]
    assert len(records) == 81
    assert all(0 <= record["score"] <= 1 for record in records[:80])
    assert (records[-1]["score"], records[-1]["verdict"], records[-1]["reason"]) == (
        None,
        "undetermined",
        "is empty",
    )
    assert (records[0]["id"], records[0]["verdict"]) == ("0", "true")


def test_fit_without_labels_prints_json_and_scores_lines(run, model, facts, tmp_path):
    fit = ("truth", "fit", facts, "-c", "said", "-m", model, "-o", tmp_path / "known", "--json", "-q")
    record = json.loads(run(*fit).stdout)
    assert (record["method"], record["auc"], record["left_out"]) == ("lid", {}, 1)
    lines = run("truth", "score", "-t", TRUE[0], "-t", "", "-d", tmp_path / "known").stdout.splitlines()
    assert lines[1].split()[:2] == ["-", "undetermined"]
    assert lines[0].split()[1] in ("like_reference", "unlike_reference")


def test_a_model_answers_questions_and_its_answers_are_kept(run, model, tmp_path):
    rows = [{"question": f"is the {word} cold", "gold": "zzz"} for word in TRUE]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    fit = ("truth", "fit", tmp_path / "q.jsonl", "-c", "question", "--answers", "gold", "-m", model)
    fit += ("--answer-tokens", 3, "-o", tmp_path / "mine", "--neighbors", 3)
    refused = run(*fit, code=1).stderr  # a random model says nothing right
    assert "0 correct, 40 wrong" in refused
    assert "none of 40 answers is correct" in refused
    kept = [json.loads(line) for line in (tmp_path / "mine/answers.jsonl").read_text().splitlines()]
    assert {one["ended"] for one in kept} <= {"length", "stop"}
    said = [" ".join(re.findall(r"\w+", one["answer"])) or "zzz" for one in kept]
    rows = [row | {"gold": words} for row, words in zip(rows, said, strict=True)]
    (tmp_path / "q.jsonl").write_text("\n".join(map(json.dumps, rows)))
    result = run(*fit)
    assert "the correct ones are the reference" in result.stderr
    assert result.stdout.splitlines()[-1].endswith(": lid")


def test_evaluate_prints_text_only_first_and_refuses_a_verdict(run, model, facts, tmp_path):
    words = ("truth", "evaluate", facts, "-c", "said", "--label", "right", "-m", model, "--neighbors", 5)
    page = tmp_path / "page.html"
    result = run(*words, "--group", "topic", "-o", page, "--cache", tmp_path / "kept")
    lines = result.stdout.splitlines()
    assert lines[3].split()[:3] == ["length", "text", "only"]
    assert lines[-1].startswith("No verdict: the words alone give 1.00")
    assert "1 rows left out: it is empty" in result.stdout
    assert page.is_file()
    assert page.with_suffix(".json").is_file()
    shown = json.loads(run(*words, "--group", "topic", "--cache", tmp_path / "kept", "--json", "-q").stdout)
    assert shown == json.loads(page.with_suffix(".json").read_text("utf-8"))
    assert "it exists" in run(*words, "-o", page, code=2).stderr


def test_wrong_usage_is_refused_before_a_model_is_loaded(run, facts, tmp_path):
    fit = ("truth", "fit", facts, "-c", "said", "-o", tmp_path / "x")
    assert "leave one out" in run(*fit, "--label", "right", "--answers", "id", code=2).output
    assert "give either a file" in run("truth", "score", code=2).output
    assert run("truth", "score", "-t", "a", "--keep", "id", code=2)
    assert run("truth", "evaluate", facts, "--label", "right", "-o", tmp_path / "page.txt", code=2)
    assert "no column" in run("truth", "evaluate", facts, "-c", "said", "--label", "none", code=1).stderr
    assert not (tmp_path / "x").exists()
