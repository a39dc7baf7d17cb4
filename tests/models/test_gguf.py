"""Tests models/gguf.py."""

import json
import os
import shutil
import struct
from contextlib import nullcontext

import pytest
import torch
import transformers
from safetensors import safe_open
from transformers import AutoModelForCausalLM

from splinelens.errors import BadModel, CannotWrite
from splinelens.models import ALIASES
from splinelens.models.aliases import gguf_path
from splinelens.models.cache import file_sha256
from splinelens.models.fingerprint import read_sidecar, tokenizer_hash, weight_chain
from splinelens.models.gguf import converted, converted_folder, gguf_tokenizer

CHARACTERS = [chr(code) for code in range(33, 127)]
TOKENS = ["<unk>", "<s>", "</s>", "<tool>", "Ġ", *CHARACTERS, "Ġt", "he", "Ġthe", "12"]
MERGES = ["Ġ t", "h e", "Ġt he", "1 2"]


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


def test_the_stored_chain_is_that_of_the_weights(gguf_file, cache, tiny_causal):
    assert read_sidecar(converted(gguf_file, cache)).chain == weight_chain(tiny_causal.model)


def test_a_file_is_hashed_and_converted_once_until_it_changes(gguf_file, cache):
    folder = converted(gguf_file, cache)
    written = (folder / "model.safetensors").stat()
    (record,) = (cache / "seen").iterdir()
    other = "f" * 64
    record.write_text(other)
    converted_folder(other, cache).mkdir()
    assert converted(gguf_file, cache) == converted_folder(other, cache)  # the stored hash is believed
    os.utime(gguf_file, ns=(5, 5))
    assert converted(gguf_file, cache) == folder
    assert (folder / "model.safetensors").stat() == written


def test_a_failed_conversion_leaves_nothing_behind(gguf_file, cache, monkeypatch):
    def fail(*arguments, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", fail)
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


@pytest.mark.parametrize("length", [2**62, 2**64 - 1, 10**9])
@pytest.mark.parametrize("before", [b"tokenizer.ggml.tokens", b"tokenizer.ggml.model", b"GGUF\3\0\0\0"])
def test_a_length_beyond_the_end_is_refused_at_once(gguf_file, cache, before, length):
    data = bytearray(gguf_file.read_bytes())
    at = data.index(before) + len(before)
    at += {b"tokenizer.ggml.tokens": 8, b"tokenizer.ggml.model": 4}.get(before, 8)
    struct.pack_into("<Q", data, at, length)
    gguf_file.write_bytes(data)
    with pytest.raises(BadModel, match=rf"not a whole GGUF file: {length:,} entries are announced at"):
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
    original = transformers.AutoModelForCausalLM.from_pretrained

    def forgetful(*arguments, **options):
        model, info = original(*arguments, **options)
        return model, info | {"missing_keys": {"model.norm.weight"}}

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", forgetful)
    with pytest.raises(BadModel, match=r"tiny\.gguf lacks 1 of its weights, first model\.norm\.weight"):
        converted(gguf_file, cache)


def test_the_disk_must_have_room_for_float32_weights(gguf_file, cache, tiny_causal, monkeypatch):
    needed = 50_000_000 + 4 * sum(weight.numel() for weight in tiny_causal.parameters())
    for free, enough in ((needed - 1, False), (needed, True)):
        usage = shutil.disk_usage(gguf_file.parent)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda path, usage=usage: usage)
        with nullcontext() if enough else pytest.raises(CannotWrite, match="50 MB of free disk"):
            converted(gguf_file, cache)
        assert (cache / "converted").exists() == enough


def test_a_garbled_tokenizer_is_refused_and_nothing_is_cached(gguf_file, cache, monkeypatch):
    monkeypatch.setattr(transformers.PreTrainedTokenizerFast, "decode", lambda *_, **__: "T<unk> c")
    with pytest.raises(BadModel, match=r"^the tokenizer of .* into 'T<unk> c'"):
        converted(gguf_file, cache)
    assert not (cache / "converted").exists()


def test_converting_prints_nothing(gguf_file, cache, capfd):
    converted(gguf_file, cache)
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def written(tmp_path):
    """Writes a GGUF file that holds nothing but a tokenizer."""
    from gguf import GGUFWriter

    def write(kind="gpt2", splits="gpt-2", add_bos=None):
        path = tmp_path / "words.gguf"
        writer = GGUFWriter(str(path), "llama")
        writer.add_tokenizer_model(kind)
        writer.add_tokenizer_pre(splits)
        writer.add_token_list(TOKENS)
        writer.add_token_types([3, 3, 3, 4] + [1] * (len(TOKENS) - 4))
        writer.add_token_merges(MERGES)
        writer.add_unk_token_id(0)
        writer.add_bos_token_id(1)
        writer.add_eos_token_id(2)
        writer.add_chat_template("{{ messages }}")
        if add_bos is not None:
            writer.add_add_bos_token(add_bos)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
        writer.close()
        return path

    return write


def test_byte_level_pieces_by_hand(written):
    encoded = gguf_tokenizer(written())("he the 12", return_offsets_mapping=True)
    assert [TOKENS[index] for index in encoded["input_ids"]] == ["he", "Ġthe", "Ġ", "12"]
    assert encoded["offset_mapping"] == [(0, 2), (2, 6), (6, 7), (7, 9)]


def test_roles_and_template_are_those_of_the_file(written):
    tokenizer = gguf_tokenizer(written())
    assert (tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token) == ("<unk>", "<s>", "</s>")
    assert tokenizer.pad_token is None
    assert tokenizer.chat_template == "{{ messages }}"
    assert len(tokenizer) == len(TOKENS)


def test_control_tokens_are_special_and_the_users_own_are_not(written):
    tokenizer = gguf_tokenizer(written())
    ids = tokenizer("</s><tool>he")["input_ids"]
    assert [TOKENS[index] for index in ids] == ["</s>", "<tool>", "he"]
    assert tokenizer.decode(ids, skip_special_tokens=True) == "<tool>he"


@pytest.mark.parametrize(("add_bos", "first"), [(None, []), (False, []), (True, ["<s>"])])
def test_a_first_token_is_added_only_if_the_file_says_so(written, add_bos, first):
    ids = gguf_tokenizer(written(add_bos=add_bos))("he")["input_ids"]
    assert [TOKENS[index] for index in ids] == [*first, "he"]


def test_other_kinds_are_left_to_transformers_and_must_not_garble(written, monkeypatch):
    good = gguf_tokenizer(written())
    made = []
    monkeypatch.setattr(
        transformers.AutoTokenizer, "from_pretrained", lambda *_, **options: made.append(options) or good
    )
    path = written(splits="llama-bpe")
    assert gguf_tokenizer(path) is good
    assert made == [{"gguf_file": "words.gguf", "local_files_only": True}]
    monkeypatch.setattr(type(good), "decode", lambda *_, **__: "T<unk> c")
    with pytest.raises(
        BadModel, match=r"words\.gguf \(kind gpt2, splits llama-bpe\) turns .* into 'T<unk> c'"
    ):
        gguf_tokenizer(path)


def test_the_default_models_tokenizer_is_the_same_for_every_version(default_cache):
    path = gguf_path(next(iter(ALIASES)), default_cache)
    if not path.is_file():
        pytest.skip("only the converted folder of the default model is cached")
    tokenizer = gguf_tokenizer(path)
    assert tokenizer_hash(tokenizer) == "fe202747367cc3446920a4c1b3d435598b0333b69f2356fd366f7821884cad16"
    assert tokenizer("Have a nice day").input_ids == [5519, 253, 9239, 1194]
