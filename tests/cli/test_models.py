"""Tests ``cli/models.py``: list, pull and check, for eyes and for programs."""

import json

import pytest

from splinelens.models import ALIASES


@pytest.fixture(autouse=True)
def _empty_caches(tmp_path, monkeypatch):
    import huggingface_hub.constants

    monkeypatch.setenv("SPLINELENS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def test_the_list_has_stable_keys(run):
    rows = json.loads(run("models", "list", "--json").stdout)
    assert rows == [
        {"name": name, "kind": "alias", "cached": False, "size_bytes": 0, "path": None} for name in ALIASES
    ]


def test_the_list_for_eyes_says_what_is_not_cached(run):
    assert "smollm2-135m        alias  not cached\n" in run("models", "list").stdout


def test_check_of_a_sound_folder_passes_every_point(run, model_folder):
    points = json.loads(run("models", "check", model_folder, "--json").stdout)
    assert all(list(point) == ["what", "ok", "detail"] for point in points)
    assert all(point["ok"] for point in points)
    shown = run("models", "check", model_folder).stdout
    assert shown.count("ok    ") == len(points)
    assert "in brackets is the largest difference" in " ".join(
        run("models", "check", "--help").stdout.split()
    )


def test_check_exits_1_when_a_point_fails(run):
    result = run("models", "check", "smollm2-135m", "--json", code=1)
    assert json.loads(result.stdout)[0]["ok"] is False
    assert "FAILED" in run("models", "check", "smollm2-135m", code=1).stdout


def test_pull_prints_the_folder(run, model_folder):
    assert run("models", "pull", model_folder).stdout == f"{model_folder}\n"


def test_an_unknown_name_gets_the_nearest(run):
    told = run("models", "pull", "smolm2-135m", code=1).stderr
    assert told.startswith("Error: ")
    assert "smollm2-135m" in told
