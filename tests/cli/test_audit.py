"""Tests ``splinelens audit MODEL PROMPTS CONTEXTS``: its words and files, and the default model."""

import csv
import json
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "audit"


@pytest.fixture
def files(tmp_path):
    """Two prompts and their contexts."""
    prompts, contexts = tmp_path / "prompts.csv", tmp_path / "contexts.csv"
    prompts.write_text("id,text\ntea,make the tea\nsea,go to the sea\n")
    contexts.write_text("kind,prompt,text\nrelated,tea,you and me\nrelated,sea,the boat\nunrelated,,a lamp\n")
    return prompts, contexts


def test_a_run_prints_its_findings_and_writes_three_files(run, writer_folder, detector, files, tmp_path):
    page = tmp_path / "report.html"
    options = ["--max-tokens", 3, "--sentences", 1, "--orders", 1, "-d", detector, "-o", page]
    result = run("audit", writer_folder(), *files, *options)
    assert "Cannot tell with n = " in result.stdout
    assert "flagged by tiny" in result.stdout
    assert result.stderr.splitlines()[-1].startswith(f"wrote {page}, ")
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert json.loads(page.with_suffix(".json").read_text())["provenance"]["settings"]["max_tokens"] == 3
    assert page.with_suffix(".parquet").is_file()
    again = run("audit", writer_folder(), *files, *options, code=2)
    assert "it exists; name another file, or pass --overwrite" in again.stderr


def test_json_of_the_geometry_by_its_full_name(run, writer_folder, files):
    result = run(
        "audit",
        "run",
        writer_folder(),
        *files,
        "--max-tokens",
        0,
        "--against",
        writer_folder(),
        "--json",
        "-q",
    )
    record = json.loads(result.stdout)
    assert record["comparison"]["first_moved"] is None
    assert record["associations"] == {}
    assert result.stderr == ""


def test_what_the_command_refuses(run, files):
    prompts, contexts = files
    assert (
        "give --judge and --judge-model"
        in run("audit", "m", prompts, contexts, "--judge", "http://a", code=2).stderr
    )
    assert "does not end in .html" in run("audit", "m", prompts, contexts, "-o", "report.txt", code=2).stderr
    assert "Missing argument 'CONTEXTS'" in run("audit", "m", prompts, code=2).stderr
    assert "has no column kind" in run("audit", "m", prompts, prompts, code=1).stderr


def test_the_bundled_example_runs_with_the_default_model(run, default_model, tmp_path):
    with (EXAMPLE / "prompts.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert {row["label"] for row in rows} == {"plain", "pointed"}
    prompts, contexts = tmp_path / "prompts.csv", tmp_path / "contexts.csv"
    prompts.write_text(
        "id,text,label\n" + "".join(f'{row["id"]},"{row["text"]}",{row["label"]}\n' for row in rows[5:7])
    )
    names = {row["id"] for row in rows[5:7]} | {""}
    with (EXAMPLE / "contexts.csv").open() as file:
        kept = [row for row in csv.DictReader(file) if row["prompt"] in names]
    contexts.write_text(
        "kind,prompt,text\n" + "".join(f'{row["kind"]},{row["prompt"]},"{row["text"]}"\n' for row in kept)
    )
    options = [
        "--positive",
        "pointed",
        "--sentences",
        1,
        "--orders",
        1,
        "--max-tokens",
        4,
        "-d",
        "toxicity-fast",
    ]
    record = json.loads(run("audit", default_model, prompts, contexts, *options, "--json").stdout)
    assert [kind["kind"] for kind in record["kinds"]] == [
        "none",
        "related",
        "unrelated",
        "neutral",
        "random",
        "repeated",
    ]
    assert len({point["tokens"] for point in record["points"] if point["prompt"] == 0}) == 2
    assert record["notes"] == ["recognized: the labels are of 1 and 1 prompts; a probe needs 5 of each"]
