"""Tests models/load.py."""

import json
import os
import shutil
import subprocess
import sys

import huggingface_hub
import pytest
import torch
from transformers import AutoModel, Qwen3Config

from splinelens.errors import BadFeatures, BadModel, UnknownModel
from splinelens.models import Fingerprint, load, load_model
from splinelens.models.fingerprint import read_sidecar

IDS = torch.arange(4, 20)[None]


def _edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.usefixtures("no_network")
def test_a_folder_is_loaded_frozen_without_head_and_without_network(model_folder, tiny_causal):
    loaded = load_model(str(model_folder), device="cpu")
    assert (loaded.name, loaded.revision, loaded.folder) == (str(model_folder), None, model_folder)
    assert (loaded.depth, loaded.total_depth) == (3, 3)
    assert (loaded.dtype, loaded.device) == (torch.float32, torch.device("cpu"))
    assert type(loaded.model).__name__ == "LlamaModel"
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())
    with torch.no_grad():
        expected = tiny_causal.model(IDS).last_hidden_state
    assert torch.equal(loaded.model(IDS).last_hidden_state, expected)


@pytest.mark.usefixtures("no_network")
def test_an_alias_that_is_cached_is_loaded_without_network(shop, pip):
    load_model("tiny", device="cpu")
    pip.clear()
    assert load_model("tiny", device="cpu").name == "tiny"
    assert pip == []


@pytest.mark.usefixtures("no_network")
def test_a_cached_hub_model_is_loaded_without_network(tmp_path, model_folder, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    place = tmp_path / "hub" / "models--someone--tiny"
    (place / "refs").mkdir(parents=True)
    (place / "refs" / "main").write_text("c0ffee")
    (place / "snapshots").mkdir()
    model_folder.rename(place / "snapshots" / "c0ffee")
    loaded = load_model("someone/tiny", n_layers=2, device="cpu")
    assert (loaded.name, loaded.revision, loaded.depth) == ("someone/tiny", "c0ffee", 2)


def test_without_a_gpu_the_device_is_the_cpu(model_folder, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert load_model(str(model_folder)).device == torch.device("cpu")


def test_a_gguf_file_gives_the_numbers_of_its_folder(gguf_file, model_folder):
    from_file, from_folder = (load_model(str(path), device="cpu") for path in (gguf_file, model_folder))
    torch.testing.assert_close(
        from_file.model(IDS).last_hidden_state, from_folder.model(IDS).last_hidden_state
    )
    assert from_file.fingerprint.weights == from_folder.fingerprint.weights


def test_fewer_layers_are_the_first_blocks(model_folder, tiny_causal):
    loaded = load_model(str(model_folder), n_layers=2, device="cpu")
    assert (loaded.depth, loaded.total_depth, len(loaded.model.layers)) == (2, 3, 2)
    with torch.no_grad():
        states = tiny_causal.model(IDS, output_hidden_states=True).hidden_states
    assert torch.equal(
        loaded.model(IDS, output_hidden_states=True).last_hidden_state, tiny_causal.model.norm(states[2])
    )


def test_a_cut_model_has_the_fingerprint_of_the_whole_one_at_that_depth(model_folder):
    whole = load_model(str(model_folder), device="cpu")
    cut = load_model(str(model_folder), n_layers=2, device="cpu")
    assert cut.fingerprint == whole.fingerprint_at(2)
    assert whole.fingerprint.difference(cut.fingerprint) == "the depth differs: 3 here, 2 in the other"
    with pytest.raises(BadModel, match=r"no fingerprint at depth 3: .* loaded with 2 blocks"):
        cut.fingerprint_at(3)


def test_lists_with_one_entry_a_block_are_cut_with_the_blocks(tmp_path, tiny_tokenizer):
    kinds = ["full_attention", "sliding_attention", "full_attention"]
    config = Qwen3Config(
        hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, vocab_size=128, layer_types=kinds, use_sliding_window=True,
        sliding_window=4,
    )  # fmt: skip
    AutoModel.from_config(config).save_pretrained(tmp_path / "qwen")
    tiny_tokenizer.save_pretrained(tmp_path / "qwen")
    whole, cut = (load_model(str(tmp_path / "qwen"), n_layers=k, device="cpu") for k in (None, 2))
    assert cut.model.config.layer_types == kinds[:2]
    assert cut.fingerprint == whole.fingerprint_at(2)


@pytest.mark.parametrize("name", ["gpt2", "gpt_neox", "opt", "phi3"])
def test_other_families_are_cut_too(tmp_path, request, tiny_tokenizer, name):
    request.getfixturevalue(f"tiny_{name}").save_pretrained(tmp_path / name)
    tiny_tokenizer.save_pretrained(tmp_path / name)
    whole, cut = (load_model(str(tmp_path / name), n_layers=k, device="cpu") for k in (None, 1))
    assert (cut.depth, cut.total_depth) == (1, 3)
    assert cut.fingerprint == whole.fingerprint_at(1)
    assert isinstance(cut.fingerprint, Fingerprint)


@pytest.mark.parametrize("name", ["qwen2", "qwen3_5_text", "gemma2", "phi3"])
def test_the_tokenizer_does_what_its_file_says_whatever_the_family(tmp_path, tiny_of, tiny_tokenizer, name):
    for saved in (tiny_of(name, num_hidden_layers=2, layer_types=None), tiny_tokenizer):
        saved.save_pretrained(tmp_path / "tiny")
    loaded = load_model(str(tmp_path / "tiny"))
    assert loaded.tokenizer("you and the cat").input_ids == tiny_tokenizer("you and the cat").input_ids


@pytest.mark.parametrize("name", ["mixtral", "llama"])
def test_float64_runs_with_and_without_experts(tmp_path, tiny_of, tiny_tokenizer, name):
    for saved in (tiny_of(name), tiny_tokenizer):
        saved.save_pretrained(tmp_path / "tiny")
    double, single = (load_model(str(tmp_path / "tiny"), dtype=dtype) for dtype in ("float64", "float32"))
    states = double.model(IDS).last_hidden_state
    assert states.dtype == torch.float64
    assert torch.allclose(states.float(), single.model(IDS).last_hidden_state, atol=1e-4)


def test_the_stored_chain_spares_reading_the_weights(gguf_file, monkeypatch):
    load_model(str(gguf_file), device="cpu")
    monkeypatch.setattr(load, "weight_chain", lambda model: pytest.fail("the weights were read"))
    assert load_model(str(gguf_file), n_layers=2, device="cpu").fingerprint.depth == 2


def test_the_stored_chain_is_not_used_for_changed_weights_or_another_dtype(gguf_file):
    stored = load_model(str(gguf_file), device="cpu")
    half = load_model(str(gguf_file), dtype="bfloat16", device="cpu")
    assert half.fingerprint.dtype == "bfloat16"
    assert half.fingerprint.weights != stored.fingerprint.weights
    sidecar = stored.folder / "fingerprint.json"
    _edit(sidecar, chain=["0" * 64] * 4)
    assert load_model(str(gguf_file), device="cpu").fingerprint.weights == "0" * 64
    os.utime(stored.folder / "model.safetensors", ns=(7, 7))
    assert load_model(str(gguf_file), device="cpu").fingerprint.weights == stored.fingerprint.weights


def test_the_stored_chain_of_another_folder_is_not_believed(gguf_file, tmp_path):
    stored = load_model(str(gguf_file), device="cpu")
    copy = shutil.copytree(stored.folder, tmp_path / "elsewhere" / "converted" / stored.folder.name)
    weights = copy / "model.safetensors"
    content, state = bytearray(weights.read_bytes()), weights.stat()
    content[-2] ^= 64
    weights.write_bytes(content)
    os.utime(weights, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert read_sidecar(copy) is not None
    assert load_model(str(copy), device="cpu").fingerprint.weights != stored.fingerprint.weights


def test_loading_prints_nothing(model_folder, capfd):
    load_model(str(model_folder), n_layers=1, device="cpu")
    assert capfd.readouterr() == ("", "")


def test_a_missing_padding_token_is_set_without_growing_the_vocabulary(model_folder):
    _edit(model_folder / "tokenizer_config.json", pad_token=None)
    tokenizer = load_model(str(model_folder), device="cpu").tokenizer
    assert tokenizer.pad_token == "<eos>"
    assert len(tokenizer) == 110
    assert tokenizer(["a", "the the"], padding=True)["attention_mask"][0][-1] == 0


@pytest.mark.parametrize("layers", [0, -1, 4, 1.0, "2"])
def test_a_depth_that_does_not_exist_is_refused(model_folder, layers):
    with pytest.raises(BadFeatures, match=r"cannot load .* blocks: .* has 3, its layers are 0 to 2"):
        load_model(str(model_folder), n_layers=layers, device="cpu")


@pytest.mark.parametrize("dtype", ["int8", "float", ""])
def test_an_unknown_dtype_is_refused(model_folder, dtype):
    with pytest.raises(BadModel, match=r"dtype .* is not one of float32, bfloat16, float16, float64"):
        load_model(str(model_folder), dtype=dtype)


@pytest.mark.parametrize("device", ["cuda:99", "gpu", "", 3.5, "meta", "mkldnn", "lazy", "xla", "cpu:-2"])
def test_a_device_that_is_not_there_is_refused(model_folder, device):
    with pytest.raises(BadModel, match=r"device .* is not available here: this torch sees the CPU and"):
        load_model(str(model_folder), device=device)


def test_an_unknown_name_is_refused():
    with pytest.raises(UnknownModel, match="no model 'nothing-like-it'"):
        load_model("nothing-like-it")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "the configuration of .* cannot be loaded: JSONDecodeError"),
        ("[]", "the configuration of .* cannot be loaded"),
        ('{"vocab_size": 3}', "the configuration of .* cannot be loaded: ValueError: Unrecognized model"),
        (
            '{"model_type": "no-such-type"}',
            "the configuration of .* cannot be loaded: ValueError.*no-such-type",
        ),
        ('{"model_type": "llama", "num_hidden_layers": 0}', "cannot load None blocks: .* has 0"),
    ],
)
def test_a_broken_configuration_is_refused(model_folder, content, said):
    (model_folder / "config.json").write_text(content)
    with pytest.raises(BadModel, match=said):
        load_model(str(model_folder), device="cpu")


def test_a_folder_without_tokenizer_is_refused(model_folder):
    for path in model_folder.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(BadModel, match=r"has no tokenizer \(none of tokenizer\.json, .*save it there"):
        load_model(str(model_folder), device="cpu")


def test_a_slow_tokenizer_is_refused(model_folder, monkeypatch):
    import transformers

    class Slow:
        is_fast = False

        def __len__(self):
            return 9

    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", lambda *_, **__: Slow())
    _edit(model_folder / "tokenizer_config.json", tokenizer_class="SlowTokenizer")
    with pytest.raises(BadModel, match=r"gives no fast tokenizer \(Slow\).*Add its tokenizer\.json"):
        load_model(str(model_folder), device="cpu")


def test_code_that_comes_with_a_model_is_not_run(model_folder):
    (model_folder / "config.json").write_text(
        json.dumps({"model_type": "odd", "auto_map": {"AutoConfig": "odd.OddConfig"}})
    )
    (model_folder / "odd.py").write_text("raise SystemExit('it ran')\n")
    with pytest.raises(BadModel, match=r"comes with Python code of its own.*pass trust_remote_code=True"):
        load_model(str(model_folder), device="cpu")


def test_weights_that_are_missing_are_never_random(model_folder):
    _edit(model_folder / "config.json", num_hidden_layers=4)
    with pytest.raises(BadModel, match=r"lacks 9 weights of LlamaModel, first layers\.3\..*would be random"):
        load_model(str(model_folder), device="cpu")
    assert load_model(str(model_folder), n_layers=3, device="cpu").depth == 3


@pytest.mark.parametrize("depth", [10**9, 10**30, 1e300])
def test_more_blocks_than_weights_are_refused_at_once(model_folder, depth):
    _edit(model_folder / "config.json", num_hidden_layers=depth)
    for layers in (None, 1):
        with pytest.raises(
            BadModel, match=r"config\.json states num_hidden_layers .*the weights are \d+ tensors"
        ):
            load_model(str(model_folder), n_layers=layers, device="cpu")


@pytest.mark.parametrize("special", [False, True])
def test_a_tokenizer_larger_than_the_embedding_is_refused(model_folder, tiny_tokenizer, special):
    from tokenizers import AddedToken

    more = [AddedToken(f"more{number}", special=special) for number in range(30)]
    tiny_tokenizer.add_tokens(more, special_tokens=special)
    tiny_tokenizer.save_pretrained(model_folder)
    if special:  # texts cannot contain them: Gemma 3 of 1B has one
        assert load_model(str(model_folder), device="cpu").depth == 3
        return
    with pytest.raises(BadModel, match=r"has ids up to 139, and the model embeds 128 tokens: they are of"):
        load_model(str(model_folder), device="cpu")


@pytest.mark.parametrize("name", ["tokenizer.json", "generation_config.json", "chat_template.jinja"])
def test_a_pipe_in_a_model_folder_is_refused(model_folder, name):
    (model_folder / name).unlink(missing_ok=True)
    os.mkfifo(model_folder / name)
    with pytest.raises(BadModel, match=rf"{name} is a pipe, socket or device; a model folder"):
        load_model(str(model_folder), device="cpu")


@pytest.mark.parametrize("depth", [500, 100_000])
@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json", "tokenizer.json"])
def test_deeply_nested_json_is_refused(model_folder, name, depth):
    text = (model_folder / name).read_text()
    (model_folder / name).write_text(text.rstrip()[:-1] + ', "x": ' + "[" * depth + "]" * depth + "}")
    with pytest.raises(BadModel, match="cannot be loaded"):
        load_model(str(model_folder), device="cpu").fingerprint  # noqa: B018


def test_weights_of_another_shape_are_refused(model_folder):
    _edit(model_folder / "config.json", intermediate_size=48)
    with pytest.raises(BadModel, match=r"the weights of .*tiny cannot be loaded: RuntimeError"):
        load_model(str(model_folder), device="cpu")


def test_a_device_that_is_too_small_is_told(model_folder, monkeypatch):
    def full(self, device):
        raise torch.OutOfMemoryError("out of memory")

    monkeypatch.setattr(torch.nn.Module, "to", full)
    with pytest.raises(BadModel, match="does not fit on cpu: use dtype bfloat16"):
        load_model(str(model_folder), device="cpu")


def test_importing_the_room_loads_no_torch():
    code = "import sys, splinelens.models; sys.exit(bool({'torch', 'transformers'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_default_model_as_the_design_says(default_cache):
    loaded = load_model(cache=default_cache, device="cpu")
    config = loaded.model.config
    assert (loaded.name, loaded.depth, config.hidden_size, config.intermediate_size) == (
        "smollm2-135m",
        30,
        576,
        1536,
    )
    assert (config.num_attention_heads, config.num_key_value_heads) == (9, 3)
    assert loaded.tokenizer("Have a nice day").input_ids == [5519, 253, 9239, 1194]
    assert loaded.tokenizer.pad_token is not None
    assert "lm_head" not in dict(loaded.model.named_modules())


_MEMORY = """
import sys, torch
from splinelens.models import load_model
from transformers import LlamaModel  # imported before the first measurement

def resident_mb():
    lines = open("/proc/self/status").read().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

torch.set_num_threads(1)
ids = torch.arange(4, 34)[None]
with torch.no_grad():
    torch.nn.Linear(64, 64)(torch.ones(8, 64))  # the arithmetic library itself
    load_model(cache=sys.argv[1], n_layers=1, device="cpu").model(ids)
    for layers in (6, None):
        start = resident_mb()
        loaded = load_model(cache=sys.argv[1], n_layers=layers, device="cpu")
        loading = resident_mb() - start
        loaded.fingerprint
        noted = resident_mb() - start
        loaded.model(ids)
        print(loading, noted, resident_mb() - start)
        del loaded
"""


@pytest.mark.skipif(sys.platform != "linux", reason="resident memory is read from /proc")
def test_memory_shows_the_layers_loaded(default_cache):
    run = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(default_cache)], capture_output=True, text=True, check=True
    )
    (load_6, noted_6, pass_6), (load_30, noted_30, pass_30) = (
        map(float, line.split()) for line in run.stdout.splitlines()
    )
    assert max(load_6, load_30) < 60  # mapped from disk: loading reads next to nothing of 538 MB
    assert max(noted_6, noted_30) < 80  # nor does the fingerprint, from its note
    assert pass_30 > 350  # 30 blocks of 14.2 MB each are read by the pass
    assert pass_6 < 0.4 * pass_30


@pytest.mark.parametrize(
    ("kind", "advice"),
    [
        ("tiny_causal", "save it and its tokenizer with save_pretrained, and give the folder"),
        (None, "give one"),
    ],
    ids=["a model in memory", "None"],
)
def test_what_is_no_name_is_refused(request, kind, advice):
    given = kind and request.getfixturevalue(kind)
    with pytest.raises(
        BadModel, match=f"what load_model returns, and this is a {type(given).__name__}; {advice}"
    ):
        load_model(given)
