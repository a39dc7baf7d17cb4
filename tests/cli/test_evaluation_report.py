"""Tests ``cli/evaluate.py --report``: three files, groups, and what is refused before any work."""

import json
import sys

import pytest


@pytest.fixture
def disguises(monkeypatch):
    """One cheap disguise."""
    spacing = {"spacing": lambda text, rng: " ".join(text)}
    monkeypatch.setattr("splinelens.texts.normalize.DISGUISES", spacing)


@pytest.fixture
def report(run, detector, comments):
    def report(*more, file=comments, code=0):
        words = ("--column", "comment", "--label", "toxic", "--allow-training-rows", *more)
        return run("evaluate", detector, file, *words, code=code)

    return report


@pytest.mark.usefixtures("disguises")
def test_a_report_is_a_page_and_the_same_record_twice(report, tmp_path):
    page = tmp_path / "a.html"
    (tmp_path / "hate.csv").write_text(
        "functionality,test_case,label_gold,target_ident\n"
        "f,you idiot,hateful,women\ng,you friend,non-hateful,\n"
    )
    (tmp_path / "x.csv").write_text("prompt,type,label\nkill a process,homonyms,safe\n")
    probes = ("--hatecheck", tmp_path / "hate.csv", "--xstest", tmp_path / "x.csv")
    result = report("--report", page, *probes, "--explain", "--json")
    assert result.stderr.endswith(f"wrote {page}, {tmp_path / 'a.json'}, {tmp_path / 'a.md'}\n")
    record = json.loads((tmp_path / "a.json").read_text())
    assert [share["name"] for share in record["hatecheck"]] == ["f", "g"]
    assert [row["disguise"] for row in record["evasion"]] == ["spacing"]
    assert (tmp_path / "a.md").read_text().startswith("# Evaluation of ")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert record["training_rows"] == 80
    for text in (page.read_text(), (tmp_path / "a.md").read_text()):
        assert "80, so these metrics are too good" in text
    printed = json.loads(result.stdout)
    assert {name: printed[name] for name in record["metrics"]} == record["metrics"]


def test_hatecheck_is_printed_with_the_share_of_harmless_mentions_that_are_flagged(report, tmp_path):
    (tmp_path / "hate.csv").write_text(
        "functionality,test_case,label_gold,target_ident\n"
        "ident_pos_nh,you are a lovely friend,non-hateful,women\nderog_neg_emote_h,you idiot,hateful,women\n"
    )
    words = ("--report", tmp_path / "a.html", "--no-evasion", "--hatecheck", tmp_path / "hate.csv")
    shown = report(*words, "--quiet").stdout
    assert "harmless identity mentions (HateCheck) flagged at the stored 5 % threshold  0 %, 0 of 1" in shown
    assert "\nHateCheck, at the stored 5 % threshold:\nkind " in shown
    assert shown.splitlines()[-1].startswith("derog_neg_emote_h  toxic ")
    printed = json.loads(report(*words, "--overwrite", "--json").stdout)
    assert [one["name"] for one in printed["hatecheck"]] == ["ident_pos_nh", "derog_neg_emote_h"]
    assert printed["flagged"][0]["total"] == 1


def test_the_numbers_are_those_without_a_report(report, tmp_path):
    plain = json.loads(report("--json").stdout)
    with_page = json.loads(report("--json", "--report", tmp_path, "--no-evasion").stdout)
    assert {**plain, "seconds": 0} == {**with_page, "seconds": 0}
    assert (tmp_path / "evaluation.html").is_file()
    assert json.loads((tmp_path / "evaluation.json").read_text())["evasion"] is None


def test_groups_come_from_columns_and_terms(report, tmp_path):
    (tmp_path / "terms.tsv").write_text("gardeners\tgarden\n")
    words = ("--no-evasion", "--quiet", "--report", tmp_path / "a.html")
    report(*words, "--subgroup", "kind", "--terms", tmp_path / "terms.tsv")
    record = json.loads((tmp_path / "a.json").read_text())
    assert [group["name"] for group in record["bias"]] == ["kind=kind", "kind=rude", "gardeners"]
    assert record["bias_source"].startswith("column kind, texts that hold a term of ")


def test_parts_of_a_report_need_one(report, tmp_path):
    for words in (("--explain",), ("--terms", "a"), ("--hatecheck", "a")):
        assert "belong to a report" in " ".join(report(*words, code=2).stderr.split())


def test_pages_that_could_not_be_written_are_refused_first(report, tmp_path, monkeypatch):
    assert "does not end in .html" in report("--report", tmp_path / "a.txt", code=2).stderr
    assert "there is no folder" in report("--report", tmp_path / "none" / "a.html", code=1).stderr
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    assert "pip install 'splinelens[plot]'" in report("--report", tmp_path / "a.html", code=1).stderr


def test_files_without_their_columns_are_refused_before_the_model_is_loaded(report, tmp_path):
    (tmp_path / "a.csv").write_text("test_case,other\nhello,1\n")
    words = ("--report", tmp_path / "a.html", "--no-evasion")
    assert "label_gold" in report(*words, "--hatecheck", tmp_path / "a.csv", code=1).stderr.replace(
        "functionality", "label_gold"
    )
    assert "prompt" in report(*words, "--xstest", tmp_path / "a.csv", code=1).stderr
    assert "no column 'fold'" in report(*words, "--subgroup", "fold", code=1).stderr
