"""Tests ``cli/novelty.py``: what ``audit fit`` and ``audit watch`` print, write and refuse."""

import csv
import json

import pytest
import typer
from typer.testing import CliRunner

from splinelens.cli.exits import AuditGroup

_MADE = {}


@pytest.fixture
def folder(run, model_folder, comments, tmp_path_factory):
    """A range of the comments, and the result of the command that fitted it."""
    if not _MADE:
        made = tmp_path_factory.mktemp("audit")
        (made / "novel.csv").write_text(
            "comment,domain\n1 + 1 = 2,sums\n2 + 5 = 7,sums\nx = {},code\n", "utf-8"
        )
        (made / "other.csv").write_text("comment\n" + "".join(f"@@ {n} ##\n" for n in range(20)), "utf-8")
        words = ("-c", "comment", "--rate", 0.05, "--model", model_folder, "-o", made / "range")
        extra = ("--novel", made / "novel.csv", "--other", made / "other.csv")
        _MADE["result"] = run("audit", "fit", comments, *words, *extra)
        _MADE["folder"] = made / "range"
    return _MADE["folder"]


def test_fit_prints_what_is_flagged_beside_novel_texts_and_says_what_that_means(folder):
    lines = _MADE["result"].stdout.splitlines()
    assert lines[0].startswith("Ordinary traffic: 120 texts of ")
    assert lines[1] == "Fitted on 60, compares with 60 others in 1 length bin. False-alarm rate: 5 %."
    assert lines[3].split() == ["texts", "read", "flagged,", "%", "contrastive,", "%"]
    assert [line.split("  ")[0] for line in lines[4:8]] == [
        "held-out traffic",
        "novel: code",
        "novel: sums",
        "other",
    ]
    assert "Flagged is unusual for this traffic, and does not mean harmful." in lines
    assert lines[-1] == f"wrote {folder}"
    assert max(map(len, lines[:-1])) <= 80


def test_fit_without_novel_texts_says_that_their_alarms_are_not_known(run, model_folder, comments, tmp_path):
    words = (
        "audit",
        "fit",
        comments,
        "-c",
        "comment",
        "--rate",
        0.05,
        "-m",
        model_folder,
        "-o",
        tmp_path / "r",
    )
    stdout = run(*words, "--texts", 80).stdout
    assert "Ordinary traffic: 80 texts" in stdout
    assert "How often harmless texts of another kind are flagged is not known: give --novel." in stdout
    assert "give examples with --other" in stdout
    record = json.loads(run(*words, "--overwrite", "--json", "-q").stdout)
    assert set(record) == {"traffic", "report", "output"}
    assert record["traffic"]["texts"] == 120
    assert "--overwrite" not in json.loads((tmp_path / "r" / "novelty.json").read_text("utf-8"))["command"]


def test_watch_prints_a_line_a_text(run, folder):
    result = run(
        "audit", "watch", folder, "-t", "you lovely friend the sunny garden", "-t", "@@ 77 ##", "-t", ""
    )
    lines = result.stdout.splitlines()
    assert [line.split()[1] for line in lines] == ["usual", "flagged", "undetermined"]
    assert [line.split()[3] for line in lines] == ["usual", "flagged", "undetermined"]  # contrastive
    assert "@@ 77 ##  [layer" in lines[1]
    assert lines[2].split("  ")[-1].endswith("[text is empty]")
    assert result.stderr == "1 flagged, 1 usual, 1 undetermined; of ordinary texts at most 0.05 are flagged\n"


def test_watch_writes_records_with_kept_columns(run, folder, comments, tmp_path):
    words = ("audit", "watch", folder, comments, "-c", "comment", "--keep", "id")
    run(*words, "-o", tmp_path / "out.jsonl", "-q")
    printed = run(*words, "--json", "-q").stdout
    assert (tmp_path / "out.jsonl").read_text("utf-8") == printed
    with comments.open() as file:
        ids = [row["id"] for row in csv.DictReader(file)]
    assert [str(json.loads(line)["id"]) for line in printed.splitlines()] == ids
    assert "exists" in run(*words, "-o", tmp_path / "out.jsonl", code=2).stderr


def test_watch_reads_standard_input_line_by_line(run, folder):
    lines = run(
        "audit", "watch", folder, "-", "--json", "-q", input="you and the\n\n@@ 9 ##\n"
    ).stdout.splitlines()
    records = [json.loads(line) for line in lines]
    assert [record["row"] for record in records] == [0, 1, 2]
    assert [record["verdict"] for record in records][1:] == ["undetermined", "flagged"]


def test_what_is_refused(run, folder, comments, tmp_path):
    few = run("audit", "fit", comments, "-c", "comment", "-o", tmp_path / "r", code=1).stderr
    assert "a false-alarm rate of 0.01 needs 396 ordinary texts" in few
    (tmp_path / "empty.csv").write_text("comment\n")
    empty = run("audit", "fit", tmp_path / "empty.csv", "-o", tmp_path / "r", code=1).stderr
    assert "empty.csv" in empty
    words = ("audit", "watch", folder, "-t", "a")
    assert "needs 999 ordinary texts" in run(*words, "--rate", 0.001, code=1).stderr
    assert "no share between 0 and 1" in run(*words, "--rate", 5, code=2).output
    assert "does not end in .jsonl" in run(*words, "-o", tmp_path / "x.csv", code=2).output
    assert "give either a file" in run("audit", "watch", folder, code=2).output
    assert "a range is a folder with" in run("audit", "watch", tmp_path, "-t", "a", code=1).stderr
    exists = run("audit", "fit", comments, "-c", "comment", "-o", folder, code=2).stderr
    assert "exists" in exists


def test_words_of_audit_that_begin_with_no_command_are_those_of_run():
    group, seen = typer.Typer(cls=AuditGroup), []
    group.command("run")(lambda model, seed=0: seen.append(("run", model, seed)))
    group.command("fit")(lambda traffic: seen.append(("fit", traffic)))
    for words in (["fit", "a.csv"], ["smollm2-135m"], ["--seed", "3", "smollm2-135m"], ["run", "other"]):
        assert CliRunner().invoke(group, words).exit_code == 0
    assert [one[:2] for one in seen] == [
        ("fit", "a.csv"),
        ("run", "smollm2-135m"),
        ("run", "smollm2-135m"),
        ("run", "other"),
    ]
    assert "fit" in CliRunner().invoke(group, ["--help"]).output
