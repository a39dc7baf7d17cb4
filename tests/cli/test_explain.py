"""Tests ``cli/explain.py``: words, the page, JSON, the card of a detector, and what is refused."""

import csv
import json

import pytest

from .conftest import KIND, RUDE


@pytest.fixture
def explained(run, detector, comments):
    """Runs ``explain`` on the comments, with the detector of the command line's tests."""

    def explain(*options, code=0, file=comments):
        return run("explain", detector, file, "--column", "comment", *options, code=code)

    return explain


def test_lines_a_page_and_json_say_the_same(explained, tmp_path):
    page = tmp_path / "page.html"
    result = explained("--label-column", "toxic", "--top", 4, "-o", page, "--json")
    record = json.loads(result.stdout)
    assert (record["texts"], record["naming"], len(record["hyperplanes"])) == (120, 60, 4)
    assert f"wrote {page}" in result.stderr
    html = page.read_text("utf-8")
    assert all(one["name"] in html.replace("&#39;", "'") for one in record["hyperplanes"])
    lines = explained("--label-column", "toxic", "--top", 4).stdout
    assert record["hyperplanes"][0]["name"] in lines
    assert {one["name"] for one in record["whole"]["groups"]} == {"labeled toxic", "labeled clean"}


def test_the_words_that_the_classes_differ_in_are_relied_on(explained):
    record = json.loads(explained("--json", "--top", 2).stdout)
    names = [one["name"] for one in record["whole"]["ngrams"][:3]]
    assert all(any(word in RUDE for word in name.split()) for name in names)
    assert record["whole"]["faithfulness"]["deletion"]["larger"] > 0.5
    assert record["whole"]["false_positives"] is None


def test_words_by_the_groups_of_a_column(explained):
    record = json.loads(explained("--json", "--top", 1, "--subgroup", "kind").stdout)
    groups = {one["name"]: one["words"] for one in record["whole"]["groups"]}
    assert set(groups) == {"kind=kind", "kind=rude"}
    assert groups["kind=rude"][0]["name"] in RUDE


def test_one_layer(explained):
    record = json.loads(explained("--json", "--top", 3, "--layer", 1).stdout)
    assert all(one["hyperplane"].startswith("layer 1, neuron ") for one in record["hyperplanes"])
    assert "reads no hyperplane at layer 9; it reads layers 0, 1, 2" in explained("--layer", 9, code=1).stderr


def test_the_card_gets_a_section(run, explained, detector):
    assert "Not measured" in (detector / "CARD.md").read_text("utf-8")
    assert f"wrote {detector}" in explained("--store", "--top", 3).stderr
    card = (detector / "CARD.md").read_text("utf-8")
    assert "Measured by splinelens explain on 120 texts" in card
    assert run("score", "-d", detector, "--text", "you idiot").stdout


def test_a_model_writes_sentences_that_are_marked(explained, writer_folder):
    record = json.loads(explained("--json", "--top", 1, "--sentences", writer_folder()).stdout)
    sentence = record["hyperplanes"][0]["sentence"]
    assert sentence["model"] == str(writer_folder())
    assert (sentence["contrast"] is None) is (sentence["words"] == [])


@pytest.mark.parametrize(
    ("options", "code", "message"),
    [
        (["--top", 0], 2, "is no whole number of 1 or more"),
        (["--layer", -1], 2, "is no whole number of 0 or more"),
        (["-o", "page.pdf"], 2, "does not end in .html"),
        (["--label-column", "missing"], 1, "missing"),
        (["--label-column", "id"], 1, "id"),
        (["--label", "nothing"], 1, "has no label 'nothing'"),
        (["--subgroup", "comment"], 1, "a column of groups has at most 60"),
    ],
    ids=lambda value: " ".join(map(str, value)) if isinstance(value, list) else None,
)
def test_wrong_usage_is_told(explained, options, code, message):
    assert message in " ".join(explained(*options, code=code).stderr.split())


def test_a_corpus_of_three_texts_is_refused(explained, tmp_path):
    small = tmp_path / "small.csv"
    with small.open("w", newline="") as file:
        csv.writer(file).writerows([["comment"], *([f"you {word}"] for word in KIND[:3])])
    assert "needs at least 20 different texts" in explained(code=1, file=small).stderr
    small.write_text("comment\n")
    assert "small.csv" in explained(code=1, file=small).stderr


def test_a_shipped_detector_is_not_changed(run, comments):
    arguments = ["explain", "toxicity-fast", comments, "--column", "comment", "--store"]
    assert "a shipped detector is not changed" in " ".join(run(*arguments, code=2).stderr.split())
