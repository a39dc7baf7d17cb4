"""Tests ``cli/prune.py``: what is printed, written and refused."""

import json
from pathlib import Path

import pytest


@pytest.fixture
def dense(writer_folder):
    return writer_folder("llama")


@pytest.fixture
def prose(tmp_path):
    file = tmp_path / "prose.txt"
    file.write_text(
        "\n".join(f"you are in the house {number} of the sea and the garden" for number in range(90))
    )
    return file


def test_plan_prints_a_table_and_writes_the_plan_and_a_page(run, dense, prose, tmp_path):
    outputs = ("-o", tmp_path / "plan.json", "--page", tmp_path / "plan.html")
    command = (
        "prune",
        "plan",
        dense,
        "--sparsity",
        0.5,
        "--by",
        "owl",
        "--calibration",
        prose,
        "--tokens",
        1024,
        *outputs,
    )
    result = run(*command)
    lines = result.stdout.splitlines()
    assert "21 matrices of 3 blocks" in lines[0]
    assert lines[1].split("  ")[0] == "block"
    assert all(f"% by {name}" in lines[1] for name in ("alpha", "farms", "owl", "dlp", "uniform"))
    assert len(lines) == 5
    assert "weights to remove, by owl" in result.stderr
    assert json.loads((tmp_path / "plan.json").read_text())["by"] == "owl"
    assert (tmp_path / "plan.html").read_text().startswith("<!DOCTYPE html>")
    assert "it exists" in run(*command, code=2).stderr


def test_plan_as_json_is_the_file(run, dense, tmp_path):
    command = ("prune", "plan", dense, "--sparsity", 0.25, "--json", "-q", "-o", tmp_path / "plan.json")
    printed = json.loads(run(*command).stdout)
    assert printed == json.loads((tmp_path / "plan.json").read_text())
    assert printed["removed"] == round(0.25 * printed["weights"])


def test_methods_without_texts_are_left_out_with_a_hint(run, dense):
    assert (
        "dlp is left out: it needs calibration texts (--calibration FILE)"
        in run("prune", "plan", dense, "--sparsity", 0.5).stdout
    )


def test_wrong_plans_are_refused(run, dense, prose, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("the sea")
    plan = ("prune", "plan", dense, "--sparsity")
    assert "no number from 0 to 0.99" in run(*plan, 1.2, code=2).stderr
    assert "16,384 are requested" in run(*plan, 0.5, "--calibration", short, code=1).stderr
    assert "name a file of them" in run(*plan, 0.5, "--by", "dlp", code=2).stderr
    assert "no number from 0 to 1" in run(*plan, 0.5, "--spread", 3, code=2).stderr
    assert "does not end in .html" in run(*plan, 0.5, "--page", tmp_path / "a.txt", code=2).stderr


@pytest.mark.parametrize(
    ("output", "page", "message"),
    [
        ("model/config.json", None, "it is the input"),
        ("prose.txt", None, "it is the input"),
        ("a.html", "a.html", "--output and --page"),
    ],
)
def test_a_plan_replaces_neither_its_model_nor_its_texts(
    run, dense, prose, monkeypatch, output, page, message
):
    monkeypatch.chdir(prose.parent)
    Path("model").symlink_to(dense)
    outputs = ("-o", output) if page is None else ("-o", output, "--page", page)
    command = ("prune", "plan", "model", "--sparsity", 0.5, "--calibration", prose.name, *outputs)
    assert message in run(*command, "--overwrite", code=2).stderr


def test_an_evaluation_replaces_none_of_its_inputs(run, dense, prose, tmp_path):
    text = tmp_path / "text.json"
    text.write_text(prose.read_text())
    for output in (text.with_suffix(".html"), dense / "config.html"):
        command = ("prune", "evaluate", "a", dense, "--perplexity-text", text, "--texts", prose, "-o", output)
        assert "it is the input" in run(*command, "--overwrite", code=2).stderr


def test_a_plan_is_applied_and_the_result_evaluated(run, dense, prose, comments, tmp_path):
    plan, half, page = tmp_path / "plan.json", tmp_path / "half", tmp_path / "page.html"
    run("prune", "plan", dense, "--sparsity", 0.5, "--by", "arithmetic", "-o", plan)
    texts = ("--calibration", prose, "--tokens", 1024)
    assert (
        "11,520 of 23,040 weights removed (50 %)"
        in run("prune", "apply", dense, plan, *texts, "-o", half).stdout
    )
    record = json.loads((half / "splinelens.json").read_text())
    assert record["by"] == "arithmetic"
    assert record["command"].startswith("splinelens prune apply ")
    assert "it exists" in run("prune", "plan", dense, "--sparsity", 0.5, "-o", plan, code=2).stderr
    assert "the folder holds" in run("prune", "apply", dense, plan, *texts, "-o", half, code=2).stderr
    options = (
        "--perplexity-text",
        prose,
        "--texts",
        comments,
        "-c",
        "comment",
        "--windows",
        2,
        "--length",
        64,
    )
    printed = run("prune", "evaluate", dense, half, *options, "-o", page).stdout
    assert "50.00 %" in printed
    report = json.loads(run("prune", "evaluate", dense, half, *options, "--json").stdout)
    assert [model["name"] for model in report["models"]] == [dense.name, "half"]
    assert json.loads(page.with_suffix(".json").read_text())["models"][1]["perplexity"] == pytest.approx(
        report["models"][1]["perplexity"]
    )


def test_neurons_are_removed(run, dense, prose, tmp_path):
    options = ("--calibration", prose, "--tokens", 1024, "-o", tmp_path / "less")
    error = run("prune", "neurons", dense, *options, code=1).stderr
    assert "remove a share instead, such as --share 0.0209, or raise --occupancy" in error
    assert "(in Python" not in error
    printed = run("prune", "neurons", dense, *options, "--share", 0.25).stdout
    assert "48 neurons of each block become 36" in printed
    assert "3,456 of 23,040 weights removed (15 %; attention loses none)" in printed
    record = run("prune", "neurons", dense, *options, "--share", 0.25, "--overwrite", "--json").stdout
    assert json.loads(record)["record"]["neurons"] == {"before": 48, "after": 36}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("apply", "a", "plan.json", "--by", "owl"), "leave out --sparsity and --by"),
        (("apply", "a", "--pattern", "2:4", "--sparsity", 0.5), "leave out PLAN, --sparsity and --by"),
        (("apply", "a"), "name a file of texts"),
        (("neurons", "a", "--calibration", "b.txt", "--share", 0.1, "--occupancy", 0.1), "not both"),
        (("neurons", "a", "--calibration", "b.txt", "--share", 1.5), "no number from 0 to 0.99"),
        (("neurons", "a", "--calibration", "b.txt", "--occupancy", -1), "no number from 0 to 0.99"),
        (("apply", "a", "--sparsity", 1.5), "no number from 0 to 0.99"),
    ],
)
def test_options_that_exclude_each_other_are_wrong_usage(run, tmp_path, words, message):
    assert message in run("prune", *words, "-o", tmp_path / "out", code=2).stderr
