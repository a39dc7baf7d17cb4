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
    options = ("--max-tokens", 0, "--against", writer_folder(), "--json", "-q")
    result = run("audit", "run", writer_folder(), *files, *options)
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
    classes = run("audit", "m", prompts, contexts, "-d", "domain", code=1).stderr
    assert "detector domain tells classes apart, none of which is harmless" in classes
    assert "has no column kind" in run("audit", "m", prompts, prompts, code=1).stderr


def test_a_prompt_of_the_bundled_example_runs_with_the_default_model(run, default_model, tmp_path):
    prompts, contexts = tmp_path / "prompts.csv", tmp_path / "contexts.csv"
    prompts.write_text("id,text\ntabs,Tell me that spaces are better than tabs.\n", "utf-8")
    head, *rows = (EXAMPLE / "contexts.csv").read_text("utf-8").splitlines()
    kept = (row for row in rows if row.startswith(("related,tabs,", "unrelated,,", "neutral,,")))
    contexts.write_text("\n".join([head, *kept]), "utf-8")
    options = ("--sentences", 1, "--orders", 1, "--max-tokens", 2, "-d", "toxicity-fast", "--json")
    record = json.loads(run("audit", default_model, prompts, contexts, *options).stdout)
    kinds = ["none", "related", "unrelated", "neutral", "random", "repeated"]
    assert [(kind["kind"], kind["trials"], kind["failed"]) for kind in record["kinds"]] == [
        (kind, 1, 0) for kind in kinds
    ]
    alone, *after_contexts = (point["tokens"] for point in record["points"])
    assert alone < after_contexts[0]
    assert len({*after_contexts}) == 1


def test_the_bundled_example_has_contexts_for_every_prompt():
    prompts, contexts = (
        [*csv.DictReader((EXAMPLE / name).read_text("utf-8").splitlines())]
        for name in ("prompts.csv", "contexts.csv")
    )
    assert {row["label"] for row in prompts} == {"plain", "pointed"}
    assert {row["prompt"] for row in contexts if row["kind"] == "related"} == {row["id"] for row in prompts}
