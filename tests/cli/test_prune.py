"""Tests ``cli/prune.py``: what is printed, written and refused."""

import json

import pytest


@pytest.fixture
def model(writer_folder):
    return writer_folder()


@pytest.fixture
def prose(tmp_path):
    path = tmp_path / "prose.txt"
    path.write_text("\n".join(f"the {word} is in the town" for word in 10 * "abcdefgh"))
    return path


def test_plan_prints_a_table_and_writes_the_plan_and_a_page(run, model, prose, tmp_path):
    outputs = ("-o", tmp_path / "plan.json", "--page", tmp_path / "plan.html")
    command = ("prune", "plan", model, "--sparsity", 0.5, "--by", "owl", "--calibration", prose, *outputs)
    result = run(*command)
    lines = result.stdout.splitlines()
    assert "21 matrices of 3 blocks" in lines[0]
    assert lines[1].split("  ")[0] == "block"
    assert all(f"% by {name}" in lines[1] for name in ("alpha", "farms", "owl", "dlp", "uniform"))
    assert len(lines) == 5
    assert "weights to remove, by owl" in result.stderr
    assert json.loads((tmp_path / "plan.json").read_text())["method"] == "owl"
    assert (tmp_path / "plan.html").read_text().startswith("<!DOCTYPE html>")
    assert "it exists" in run(*command, code=2).stderr


def test_plan_as_json_is_the_file(run, model, tmp_path):
    command = ("prune", "plan", model, "--sparsity", 0.25, "--json", "-q", "-o", tmp_path / "plan.json")
    printed = json.loads(run(*command).stdout)
    assert printed == json.loads((tmp_path / "plan.json").read_text())
    assert printed["removed"] == round(0.25 * printed["weights"])


def test_methods_without_texts_are_left_out_with_a_hint(run, model):
    assert (
        "dlp is left out: it needs calibration texts (--calibration FILE)"
        in run("prune", "plan", model, "--sparsity", 0.5).stdout
    )


def test_wrong_plans_are_refused(run, model, prose, tmp_path):
    short = tmp_path / "short.txt"
    short.write_text("the sea")
    plan = ("prune", "plan", model, "--sparsity")
    assert "is not in [0, 1)" in run(*plan, 1.2, code=1).stderr
    assert "cannot be reached" in run(*plan, 0.999, code=1).stderr
    assert "fewer than 1,024 tokens" in run(*plan, 0.5, "--calibration", short, code=1).stderr
    assert "name a file of them" in run(*plan, 0.5, "--by", "dlp", code=2).stderr
    assert "no number from 0 to 1" in run(*plan, 0.5, "--spread", 3, code=2).stderr
    assert "does not end in .html" in run(*plan, 0.5, "--page", tmp_path / "a.txt", code=2).stderr
