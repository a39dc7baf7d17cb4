"""Tests models/gguf.py."""

import json
import os

import pytest
import torch
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from splinelens.errors import BadModel, CannotWrite
from splinelens.models import gguf as room
from splinelens.models.cache import file_sha256
from splinelens.models.fingerprint import read_sidecar, weight_chain
from splinelens.models.gguf import converted, converted_folder


def test_the_converted_folder_gives_the_numbers_of_the_model_it_came_from(gguf_file, cache, tiny_causal):
    folder = converted(gguf_file, cache)
    again = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    ids = torch.arange(4, 20)[None]
    with torch.no_grad():
        torch.testing.assert_close(again(ids).logits, tiny_causal(ids).logits)


def test_the_folder_is_named_for_the_hash_and_holds_what_a_load_needs(gguf_file, cache):
    folder = converted(gguf_file, cache)
    assert folder == converted_folder(file_sha256(gguf_file), cache)
    names = {path.name for path in folder.iterdir()}
    assert {"config.json", "tokenizer.json", "model.safetensors", "fingerprint.json"} <= names
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    assert not list(cache.glob("partial-*"))


def test_weights_are_float32_and_a_tied_head_is_not_written_twice(gguf_file, cache):
    with safe_open(converted(gguf_file, cache) / "model.safetensors", framework="pt") as weights:
        assert "lm_head.weight" not in weights.keys()  # noqa: SIM118  # no mapping
        assert {weights.get_slice(name).get_dtype() for name in weights.keys()} == {"F32"}  # noqa: SIM118


def test_the_noted_chain_is_that_of_the_weights(gguf_file, cache, tiny_causal):
    chain = read_sidecar(converted(gguf_file, cache))
    assert chain == weight_chain(tiny_causal.model)


def test_a_second_call_converts_and_hashes_nothing(gguf_file, cache, monkeypatch):
    folder = converted(gguf_file, cache)
    monkeypatch.setattr(room, "_convert", lambda *_: pytest.fail("converted again"))
    monkeypatch.setattr(room, "file_sha256", lambda *_: pytest.fail("hashed again"))
    assert converted(gguf_file, cache) == folder


def test_a_changed_file_is_hashed_again(gguf_file, cache, monkeypatch):
    converted(gguf_file, cache)
    os.utime(gguf_file, ns=(5, 5))
    monkeypatch.setattr(room, "file_sha256", lambda path: "f" * 64)
    monkeypatch.setattr(room, "_convert", lambda path, folder: (folder / "made").touch())
    assert converted(gguf_file, cache).name == "f" * 64


def test_a_broken_note_of_the_hash_is_no_harm(gguf_file, cache):
    folder = converted(gguf_file, cache)
    for note in (cache / "seen").iterdir():
        note.write_text("[")
    assert converted(gguf_file, cache) == folder


def test_a_failed_conversion_leaves_nothing_behind(gguf_file, cache, monkeypatch):
    def fail(path, folder):
        (folder / "half").write_text("x")
        raise KeyboardInterrupt

    monkeypatch.setattr(room, "_convert", fail)
    with pytest.raises(KeyboardInterrupt):
        converted(gguf_file, cache)
    assert not list(cache.glob("partial-*"))
    assert not (cache / "converted").exists()


@pytest.mark.parametrize("kept", [0, 100, 0.9])
def test_a_cut_file_is_refused_by_name(gguf_file, cache, kept):
    content = gguf_file.read_bytes()
    gguf_file.write_bytes(content[: int(kept * len(content)) if kept < 1 else kept])
    with pytest.raises(BadModel, match=r"tiny\.gguf is not a whole GGUF file.*Fetch it again"):
        converted(gguf_file, cache)


def test_a_file_of_an_unknown_architecture_is_refused_by_name(tmp_path, cache):
    from gguf import GGUFWriter

    path = tmp_path / "odd.gguf"
    writer = GGUFWriter(str(path), "oddity")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    with pytest.raises(BadModel, match=r"odd\.gguf cannot be converted: .*oddity"):
        converted(path, cache)


def test_weights_that_are_missing_are_never_random(gguf_file, cache, monkeypatch):
    import transformers

    original = transformers.AutoModelForCausalLM.from_pretrained

    def forgetful(*arguments, **options):
        model, info = original(*arguments, **options)
        return model, info | {"missing_keys": {"model.norm.weight"}}

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", forgetful)
    with pytest.raises(BadModel, match=r"tiny\.gguf lacks 1 of its weights, first model\.norm\.weight"):
        converted(gguf_file, cache)


def test_the_float32_size_is_asked_of_the_disk_first(gguf_file, cache, tiny_causal, monkeypatch):
    asked = []

    def full(cache, needed_bytes):
        asked.append(needed_bytes)
        raise CannotWrite("full")

    monkeypatch.setattr(room, "workroom", full)
    with pytest.raises(CannotWrite):
        converted(gguf_file, cache, "a" * 64)
    assert asked == [4 * sum(weight.numel() for weight in tiny_causal.parameters())]


def test_a_garbled_tokenizer_is_told_and_nothing_is_cached(gguf_file, cache, monkeypatch):
    def garbled(path):
        raise BadModel(f"the tokenizer of {path} turns one text into another")

    monkeypatch.setattr(room, "gguf_tokenizer", garbled)
    with pytest.raises(BadModel, match=r"^the tokenizer of .* turns one text"):
        converted(gguf_file, cache)
    assert not (cache / "converted").exists()


def test_converting_prints_nothing(gguf_file, cache, capfd):
    converted(gguf_file, cache)
    assert capfd.readouterr() == ("", "")
