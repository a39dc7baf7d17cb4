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
    assert "squared error" in done.stdout
    assert f"{record['accuracies'][0]['squared_error']:.4f}" in done.stdout
    scored = run("authorship", "score", str(tmp_path / "who"), file, "-c", "text", "--by", "who", "--json")
    records = [json.loads(line) for line in scored.stdout.splitlines()]
    assert [(one["name"], one["nearest"], one["answers"]) for one in records] == [
        (who, who, 12) for who in STYLES
    ]
    (tmp_path / "one.csv").write_text("text,account\nthe tea is cold.,mine\n")
    of_one = run("authorship", "score", str(tmp_path / "who"), str(tmp_path / "one.csv"), "--by", "account")
    assert of_one.stdout.startswith("mine (1 text)  ")
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
    fit = ["authorship", "fit", file, "-o", str(tmp_path / "w"), "--feature-sets", "text"]
    assert message in run(*fit, *options, code=1).stderr


GAME = ("-w", "who", "--group", "topic", "--members", "3", "--seen", "2", "--queries", "8", "--seeds", "1")


def test_a_game_without_other_families_ends_with_a_message(run, file):
    stderr = run("authorship", "game", file, *GAME, code=1).stderr
    assert "only one family, 'x', has two writers; a search learns on other families" in stderr


def test_a_game_on_stored_answers_names_the_pair(run, tmp_path):
    forms = ["the {}.", "the {}!", "no {} here", "no {} there", "{0} {0} {0}", "- {}"]
    writers = zip(("ann", "bob", "cat", "dan", "eva", "fay"), forms, "xxyyzw", strict=True)
    rows = [
        {"text": form.format(topic), "who": who, "topic": topic, "family": family}
        for who, form, family in writers
        for topic in ("tea", "sea", "day", "toad", "town", "rain")
    ]
    path = tmp_path / "b.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    done = run("authorship", "game", str(path), "-c", "text", *GAME, "--json")
    record = json.loads(done.stdout)
    assert [one["pair"] for one in record["pairs"]] == [["ann", "bob"], ["cat", "dan"]]
    assert record["unsearched"] == 1.0
    assert record["gain_interval"] is None


@pytest.mark.parametrize(
    ("options", "option", "message"),
    [
        (["--members", "3"], "--members", "give it with a FILE"),
        (["a.csv", "--model", "smollm2-135m"], "--model", "give it without FILE"),
    ],
    ids=["local", "stored"],
)
def test_options_of_the_other_game_are_refused(run, options, option, message):
    done = run("authorship", "game", *options, code=2)
    assert option in done.stderr
    assert message in done.stderr
