"""Tests models/fingerprint.py."""

import copy
import hashlib
import os
from dataclasses import replace

import pytest
import torch

from splinelens.errors import BadModel
from splinelens.models.fingerprint import (
    Fingerprint,
    config_hash,
    read_sidecar,
    store_chain,
    tokenizer_hash,
    weight_chain,
)

HERE = Fingerprint("llama", "c1", "t1", "w1", "float32", 6)


def test_the_chain_by_hand(tiny_gpt2):
    def link(start, tensors):
        digest = hashlib.sha256(start)
        for name in sorted(tensors):
            digest.update(
                f"{name}\0{tuple(tensors[name].shape)}\0".encode() + tensors[name].numpy().tobytes()
            )
        return digest.digest()

    weights = tiny_gpt2.state_dict()
    expected = [link(b"", {name: weights[name] for name in weights if not name.startswith("h.")})]
    for block in range(3):
        inside = {
            name.removeprefix(f"h.{block}."): weights[name]
            for name in weights
            if name.startswith(f"h.{block}.")
        }
        expected.append(link(expected[-1], inside))
    assert weight_chain(tiny_gpt2) == tuple(each.hex() for each in expected)


def test_one_changed_weight_changes_the_links_from_its_block_on(tiny_model):
    before = weight_chain(tiny_model)
    second = next(module for module in tiny_model.modules() if isinstance(module, torch.nn.ModuleList))[1]
    with torch.no_grad():
        next(second.parameters()).view(-1)[0] += 1
    after = weight_chain(tiny_model)
    assert [old == new for old, new in zip(before, after, strict=True)] == [True, True, False, False]


def test_a_final_norm_outside_the_blocks_counts_at_every_depth(tiny_llama):
    before = weight_chain(tiny_llama)
    with torch.no_grad():
        tiny_llama.norm.weight += 1
    assert not set(before) & set(weight_chain(tiny_llama))


def test_half_precision_weights_have_a_chain_of_their_own(tiny_llama):
    whole = weight_chain(tiny_llama)
    assert not set(whole) & set(weight_chain(tiny_llama.to(torch.bfloat16)))


def test_an_architecture_without_a_row_has_a_chain_through_its_list_of_blocks():
    from transformers import AutoModel, GPTJConfig

    config = GPTJConfig(n_layer=2, n_head=2, n_embd=8, rotary_dim=2, vocab_size=16)
    assert len(weight_chain(AutoModel.from_config(config))) == 3


def test_a_model_without_a_list_of_blocks_is_refused():
    class Flat(torch.nn.Module):
        def __init__(self):
            super().__init__()
            from transformers import LlamaConfig

            self.config = LlamaConfig(num_hidden_layers=7)
            self.config.model_type = "flat"

    with pytest.raises(BadModel, match="Flat keeps its 7 blocks in no list"):
        weight_chain(Flat())


def test_the_configuration_is_known_by_what_changes_numbers(tiny_llama):
    config = tiny_llama.config
    same = copy.deepcopy(config)
    same.name_or_path, same.use_cache, same.transformers_version = "elsewhere", False, "9.9"
    same.eos_token_id, same.dtype = 5, torch.float16
    assert config_hash(same, 3) == config_hash(config, 3)
    other = copy.deepcopy(config)
    other.rms_norm_eps = 0.1
    assert config_hash(other, 3) != config_hash(config, 3)


def test_a_default_that_a_later_transformers_adds_changes_nothing(tiny_llama, monkeypatch):
    before = config_hash(tiny_llama.config, 3)
    kind = type(tiny_llama.config)
    original = kind.to_dict
    monkeypatch.setattr(kind, "to_dict", lambda self: original(self) | {"new_switch": False})
    assert config_hash(tiny_llama.config, 3) == before


def test_lists_with_one_entry_a_block_count_up_to_the_depth(tiny_qwen3):
    config = tiny_qwen3.config
    assert config.layer_types == ["full_attention"] * 3
    other = copy.deepcopy(config)
    other.layer_types = ["full_attention", "full_attention", "sliding_attention"]
    assert config_hash(other, 2) == config_hash(config, 2)
    assert config_hash(other, 3) != config_hash(config, 3)


def test_using_a_tokenizer_leaves_its_hash_alone(tiny_tokenizer):
    before = tokenizer_hash(tiny_tokenizer)
    tiny_tokenizer(["a", "bb the"], padding=True, truncation=True, max_length=3)
    assert tiny_tokenizer.backend_tokenizer.padding is not None  # else the test tests nothing
    assert tokenizer_hash(tiny_tokenizer) == before


def test_another_word_or_special_token_is_another_tokenizer(tiny_tokenizer):
    before = tokenizer_hash(tiny_tokenizer)
    tiny_tokenizer.bos_token = "<eos>"
    special = tokenizer_hash(tiny_tokenizer)
    tiny_tokenizer.add_tokens(["splines"])
    assert len({before, special, tokenizer_hash(tiny_tokenizer)}) == 3


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"architecture": "gpt2", "weights": "w2"},
            "the architecture differs: llama here, gpt2 in the other",
        ),
        ({"depth": 30, "weights": "w2"}, "the depth differs: 6 here, 30 in the other"),
        (
            {"dtype": "bfloat16", "weights": "w2"},
            "the number type differs: float32 here, bfloat16 in the other",
        ),
        ({"config": "c2", "tokenizer": "t2"}, "the configuration differs: c1 here, c2 in the other"),
        ({"tokenizer": "t2"}, "the tokenizer differs: t1 here, t2 in the other"),
        ({"weights": "w2"}, "the weights differ: w1 here, w2 in the other"),
        ({}, None),
    ],
)
def test_the_first_difference_is_said_in_one_clause(changes, said):
    assert HERE.difference(replace(HERE, **changes)) == said


def test_a_fingerprint_survives_a_dictionary():
    assert Fingerprint.from_dict(HERE.to_dict()) == HERE


@pytest.mark.parametrize("change", [{"depth": "6"}, {"extra": 1}, {"weights": None}])
def test_a_wrong_dictionary_is_refused(change):
    with pytest.raises(BadModel, match=r"a fingerprint needs architecture, .*, depth; found"):
        Fingerprint.from_dict(HERE.to_dict() | change)


def test_the_stored_chain_is_valid_until_the_weights_are_changed(tmp_path):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    store_chain(tmp_path, ("a", "b"), "tiny.gguf")
    assert read_sidecar(tmp_path).chain == ("a", "b")
    assert read_sidecar(tmp_path).made_from == "tiny.gguf"
    os.utime(tmp_path / "model.safetensors", ns=(1, 1))
    assert read_sidecar(tmp_path) is None


@pytest.mark.parametrize("content", [None, "", "[]", '{"schema": 1}', "\ufeff{"])
def test_a_missing_or_broken_sidecar_is_none(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    if content is not None:
        (tmp_path / "fingerprint.json").write_text(content, encoding="utf-8")
    assert read_sidecar(tmp_path) is None
