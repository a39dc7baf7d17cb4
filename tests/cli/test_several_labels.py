"""Tests ``cli/train.py``, ``cli/score.py``, ``cli/evaluate.py``: several labels, and classes."""

import csv
import json

import pytest

from splinelens.features.reader import TextReader

FILL = ["you and the", "what we said", "a thing of", "good to you"]


@pytest.fixture
def table(tmp_path):
    """Writes texts with labels: two columns of 0 and 1, and one of three classes."""

    def write(name="a.csv", rows=60, more=()):
        with (tmp_path / name).open("w", newline="") as file:
            sheet = csv.writer(file)
            sheet.writerow(["text", "rude", "spam", "kind"])
            for row in range(rows):
                rude, spam = row % 2, row // 2 % 2
                kind = ("law", "sea", "tea")[row % 3]
                words = [FILL[row % 4], "rude rude" * rude, "spam spam" * spam, kind, kind, str(row)]
                sheet.writerow([" ".join(words), rude, spam, kind])
            sheet.writerows(more)
        return tmp_path / name

    return write


@pytest.fixture
def fit(run, model_folder, tmp_path):
    def fit(file, *labels, more=(), code=0):
        options = [word for label in labels for word in ("--label", label)]
        command = ["train", file, *options, "--model", model_folder, "--max-tokens", 24, "--layers", "0"]
        return run(*command, "-o", tmp_path / "out", *more, code=code)

    return fit


def test_two_columns_become_two_labels_that_are_scored_and_measured(fit, run, table, tmp_path):
    twice = [["good to you law law 59!", 1, 1, "law"], ["what", "", 1, "tea"]]
    result = fit(table(more=twice), "rude", "spam", more=["--language", "English"])
    assert "1 of 62 rows left out: their label is missing" in result.stderr
    assert "(rows without a label left out: 1)" in (tmp_path / "out" / "CARD.md").read_text("utf-8")
    assert "rude at " in result.stdout
    card = run("detectors", "show", tmp_path / "out").stdout
    assert (
        card
        == (tmp_path / "out" / "CARD.md").read_text("utf-8").split("## Reproduce")[0]
        + card[card.index("## Reproduce") :]
    )
    assert "Detects 2 labels in texts, `rude`, `spam`, from" in card
    assert "Measured on English only." in card
    command = ["score", "-d", tmp_path / "out", "--text", "rude you", "--text", ""]
    one, empty = map(json.loads, run(*command, "--json", "--explain-label", "spam").stdout.splitlines())
    assert list(one["scores"]) == ["rude", "spam"]
    assert one["explained"] == "spam"
    assert (empty["scores"], empty["labels"], empty["score"]) == ({}, [], None)
    assert "rude from" in run(*command, "--fpr", "0.001").stderr
    message = run("evaluate", tmp_path / "out", table(), code=1).stderr
    assert "60 of 60 rows were in the training data of detector out" in message
    shown = run("evaluate", tmp_path / "out", table(), "--allow-training-rows").stdout
    assert "mean AUC" in shown
    assert "length alone" in shown
    assert (
        "has the labels rude, spam" in run("evaluate", tmp_path / "out", table(), "-l", "rude", code=2).stderr
    )


def test_a_column_of_words_becomes_classes_with_a_confusion(fit, run, table, tmp_path):
    shown = fit(table(), "kind").stdout
    assert "accuracy" in shown
    assert "rows: true class, columns: predicted class" in shown
    place = tmp_path / "out"
    [record] = run("score", "-d", place, "--text", "tea tea", "--json").stdout.splitlines()
    assert json.loads(record)["verdict"] in ("law", "sea", "tea")
    for option in ("--fpr", "--threshold"):
        told = run("score", "-d", place, "-t", "a", option, "0.01", code=2).stderr
        assert option in told
        assert "the one with the highest score" in told
    told = run("evaluate", place, table(), "--label", "kind", "--positive", "tea", code=2).stderr
    assert "detector out has several labels" in told
    numbers = json.loads(
        run("evaluate", place, table(), "--label", "kind", "--allow-training-rows", "--json").stdout
    )
    assert sum(map(sum, numbers["confusion"])) == numbers["n"] == 60
    for name in ("s.csv", "s.parquet"):
        run("score", table(), "-d", place, "-c", "text", "-o", tmp_path / name, "-q")
    with (tmp_path / "s.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert json.loads(rows[0]["labels"]) == [rows[0]["verdict"]]
    assert float(rows[0]["score"]) == max(float(rows[0][f"score.{kind}"]) for kind in ("law", "sea", "tea"))


def test_what_cannot_be_fitted_is_refused_before_a_model_is_loaded(fit, table, tmp_path, monkeypatch):
    import splinelens.models

    monkeypatch.setattr(splinelens.models, "load_model", lambda *_, **__: pytest.fail("was loaded"))
    assert "too few to fit a detector" in fit(table(rows=3), "kind", code=1).stderr
    rare = [[f"the thing {row}", 0, 0, "rare"] for row in range(4)]
    assert "label 'rare': 4 positive of 64 rows are too few" in fit(table(more=rare), "kind", code=1).stderr
    blank = tmp_path / "b.csv"
    blank.write_text("text,rude\na,\nb,\n")
    assert "label 'rude' is missing in all 2 rows" in fit(blank, "rude", code=1).stderr
    message = fit(table(), "rude", more=["--column", "spam"], code=1).stderr
    assert "each text in column 'spam' is a number, not words; name the column of the texts" in message
    assert "called as in the file" in fit(table(), "kind", more=["--label-name", "x"], code=2).stderr
    told = fit(table(), "kind", more=["--negative-name", "x"], code=2).stderr
    assert "each text has one of the classes" in told


def test_a_report_shows_one_label_of_several(fit, run, table, tmp_path, monkeypatch):
    fit(table(), "kind")
    words = ("--label", "kind", "--allow-training-rows", "--no-evasion", "--report", tmp_path / "tea.html")
    command = ["evaluate", tmp_path / "out", table(), *words]
    message = " ".join(run(*command, code=2).stderr.split())
    assert "a report shows one label; give one of law, sea, tea" in message
    assert "'rum' is none of" in run(*command, "--report-label", "rum", code=2).stderr
    read, plain = [], TextReader.map
    monkeypatch.setattr(TextReader, "map", lambda *a, **k: read.append(len(a[2])) or plain(*a, **k))
    numbers = json.loads(run(*command[:-2], "--json").stdout)
    assert read == [60]
    read.clear()
    shown = run(*command, "--report-label", "tea", "--prevalence", "0.2", "--json").stdout
    assert read.count(60) == 1  # the other passes are over the worst errors
    assert sum(read) < 120
    record = json.loads((tmp_path / "tea.json").read_text())
    assert (record["label"], record["negative"], record["prevalence"]) == ("tea", "not tea", 0.2)
    shown = json.loads(shown)
    assert shown["provenance"].pop("prevalence") == record["score_share"] == 0.2
    assert {**shown, "seconds": 0} == {**numbers, "seconds": 0}
    assert record["all_labels"].items() <= numbers.items()
    for metric in (
        "n",
        "auc",
        "auc_interval",
        "recall_at_fpr",
        "length_auc",
    ):  # the scores are for that share
        assert record["metrics"][metric] == numbers["labels"]["tea"][metric]
    assert record["provenance"]["detector"] == numbers["provenance"]["detector"]
    assert "is no share" in run(*command, "--report-label", "tea", "--prevalence", "3", code=2).stderr
