"""Tests ``splinelens lineage``: what it prints, and what it refuses."""

import json

import pytest
import torch


@pytest.fixture
def child(tiny_llama, tiny_tokenizer, tmp_path):
    """A fine-tuned copy of the tiny model, as a folder."""
    with torch.no_grad():
        for parameter in tiny_llama.parameters():
            parameter.add_(0.02 * torch.randn(parameter.shape))
    folder = tmp_path / "child"
    tiny_llama.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


def test_compare_says_what_it_found(run, model_folder, child):
    lines = run("lineage", "compare", model_folder, child).stdout.splitlines()
    assert lines[0].startswith("related: ")
    assert any(line.startswith("same index") for line in lines)
    record = json.loads(run("lineage", "compare", model_folder, child, "--json").stdout)
    assert record["verdict"] == "related"
    assert record["log10_p"] < -6
    assert len(record["relation"]["layers"]) == 3


def test_a_profile_is_written_once_and_compared(run, model_folder, child, tmp_path):
    path = tmp_path / "a.parquet"
    record = json.loads(run("lineage", "profile", model_folder, "-o", path, "--json").stdout)
    assert (record["layers"], record["neurons"], record["tokens"]) == (3, 144, 1024)
    assert "exists" in run("lineage", "profile", model_folder, "-o", path, code=2).stderr
    assert run("lineage", "compare", path, child).stdout.startswith("related: ")
    assert run("lineage", "compare", path, model_folder).stdout.startswith("same model: ")


def test_wrong_usage_is_refused_before_anything_is_read(run, tmp_path):
    assert ".parquet" in run("lineage", "profile", "none", "-o", tmp_path / "a.csv", code=2).stderr
    assert "--texts" in run("lineage", "compare", "none", "none", "-d", "toxicity", code=2).stderr
    assert "labels" in run("lineage", "compare", "none", "none", "--label", "a", code=2).stderr


def test_a_damaged_profile_is_one_line(run, tmp_path):
    path = tmp_path / "a.parquet"
    path.write_bytes(b"PAR1 and more")
    message = run("lineage", "compare", path, path, code=1).stderr
    assert message.startswith("Error: ")
    assert len(message.splitlines()) == 1


def test_a_detector_is_tried_with_the_other_model(run, model_folder, child, comments, detector):
    options = ["-d", detector, "--texts", comments, "--column", "comment"]
    labeled = run("lineage", "compare", model_folder, child, *options, "--label", "toxic").stdout
    assert "AUC with the second" in labeled
    plain = json.loads(run("lineage", "compare", model_folder, child, *options, "--json").stdout)["carried"]
    assert plain["texts"] == 120
    assert plain["auc"] is None
