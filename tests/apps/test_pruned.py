"""Tests ``apps/pruned.py``: pruned models are ordinary folders, stopped runs continue with the same bits."""

import json

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from splinelens import load_model
from splinelens.apps.pruned import apply, remove
from splinelens.apps.pruning import plan
from splinelens.errors import BadFeatures, BadModel, BadTexts, CannotResume, OutputExists
from splinelens.files import parts_folder
from splinelens.texts import Texts
from splinelens.weights.matrices import weight_matrices

WORDS = "the thing you are in there is a house of the other thing and you are in the garden ".split()
TEXTS = Texts(tuple(" ".join(WORDS[row % 7 :] * 9) + f" {row}" for row in range(40)), {}, "list")
TOKENS = 2_048


@pytest.fixture
def folder(writer_folder):
    return writer_folder("llama")


def _zeros(folder):
    matrices = list(weight_matrices(load_model(folder)))
    return sum(int((each.tensor == 0).sum()) for each in matrices), sum(
        each.tensor.numel() for each in matrices
    )


@pytest.mark.parametrize("method", ["magnitude", "wanda"])
def test_a_pruned_model_is_an_ordinary_folder(folder, tmp_path, method):
    result = apply(
        folder, tmp_path / "half", method=method, sparsity=0.4321, calibration=TEXTS, tokens=TOKENS
    )
    zeros, weights = _zeros(tmp_path / "half")
    assert result.removed == zeros == round(0.4321 * weights)
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "half").eval()
    ids = AutoTokenizer.from_pretrained(tmp_path / "half")("the thing", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        expected = load_model(tmp_path / "half", head=True).causal(ids).logits
        assert model(ids).logits.equal(expected)
    before, after = load_model(folder), load_model(tmp_path / "half")
    assert after.fingerprint.tokenizer == before.fingerprint.tokenizer
    record = json.loads((tmp_path / "half" / "splinelens.json").read_text())
    assert record == result.record
    assert record["fingerprint"] == before.fingerprint.to_dict()
    assert record["zeros"] == zeros
    assert len({path.stat().st_mode for path in (tmp_path / "half").iterdir()}) == 1
    assert not parts_folder(tmp_path / "half").exists()


def test_the_source_stays_as_it_is(folder, tmp_path):
    before = (folder / "model.safetensors").read_bytes()
    apply(folder, tmp_path / "half", method="magnitude")
    assert (folder / "model.safetensors").read_bytes() == before
    with pytest.raises(OutputExists):
        apply(folder, folder, method="magnitude", overwrite=True)


def test_a_run_that_was_killed_continues_with_the_same_bits(folder, tmp_path):
    options = {"method": "sparsegpt", "calibration": TEXTS, "tokens": TOKENS, "dtype": "bfloat16"}
    apply(folder, tmp_path / "whole", **options)

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        apply(folder, tmp_path / "stopped", **options, progress=stop)
    assert not (tmp_path / "stopped" / "config.json").exists()
    with pytest.raises(CannotResume, match="seed was 0 and is 1"):
        apply(folder, tmp_path / "stopped", **options, seed=1)
    (tmp_path / "stopped" / ".saving").mkdir(parents=True)  # as if it had been killed while saving
    (tmp_path / "stopped" / "model.safetensors").write_bytes(b"half")
    blocks = []
    apply(folder, tmp_path / "stopped", **options, progress=lambda done, _total: blocks.append(done))
    assert blocks == [3]
    names = ("whole", "stopped")
    whole, stopped = (load_file(tmp_path / name / "model.safetensors") for name in names)
    assert whole.keys() == stopped.keys()
    assert all(whole[name].equal(stopped[name]) for name in whole)
    assert whole["model.layers.0.mlp.up_proj.weight"].dtype == torch.bfloat16


def test_a_plan_is_followed_and_another_models_plan_refused(folder, writer_folder, tmp_path):
    planned = plan(folder, 0.6, by="arithmetic")
    apply(folder, tmp_path / "planned", given=planned, method="magnitude")
    for each in weight_matrices(load_model(tmp_path / "planned")):
        assert int((each.tensor == 0).sum()) == planned.counts[each.layer, each.name]
    with pytest.raises(BadModel, match="the plan is for"):
        apply(writer_folder("qwen2"), tmp_path / "other", given=planned, method="magnitude")
    with pytest.raises(BadFeatures, match="leave out the plan or the pattern"):
        apply(folder, tmp_path / "other", given=planned, method="magnitude", pattern="2:4")


def test_a_pattern_is_kept_by_every_matrix(folder, tmp_path):
    apply(folder, tmp_path / "half", method="sparsegpt", pattern="2:4", calibration=TEXTS, tokens=TOKENS)
    for each in weight_matrices(load_model(tmp_path / "half")):
        assert each.tensor.eq(0).reshape(-1, 4).sum(dim=1).eq(2).all()


def test_bad_requests_are_refused_before_any_work(folder, tmp_path):
    short = Texts(("too short",), {}, "short.txt")
    with pytest.raises(BadTexts, match=r"short.txt: the calibration texts have 0 tokens in chunks of 256"):
        apply(folder, tmp_path / "out", calibration=short, tokens=TOKENS)
    with pytest.raises(BadTexts, match="calibrated on text"):
        apply(folder, tmp_path / "out")
    with pytest.raises(BadFeatures, match="100 calibration tokens are too few"):
        apply(folder, tmp_path / "out", calibration=TEXTS, tokens=100)
    with pytest.raises(BadFeatures, match="not in"):
        apply(folder, tmp_path / "out", sparsity=1.5, method="magnitude")
    with pytest.raises(BadFeatures, match="rows of 32 weights do not divide into groups of 7"):
        apply(folder, tmp_path / "out", pattern="3:7", method="magnitude")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "a.txt").write_text("mine")
    with pytest.raises(OutputExists, match=r"holds a.txt"):
        apply(folder, tmp_path / "full", method="magnitude")
    apply(folder, tmp_path / "full", method="magnitude", overwrite=True)
    assert (tmp_path / "full" / "a.txt").read_text() == "mine"
    assert not (tmp_path / "out").exists()


def test_quantized_weights_are_refused(folder, tmp_path):
    from shutil import copytree

    quantized = copytree(folder, tmp_path / "quantized")
    config = json.loads((quantized / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (quantized / "config.json").write_text(json.dumps(config))
    with pytest.raises(BadModel):
        apply(quantized, tmp_path / "out", method="magnitude")


def test_a_model_with_fewer_neurons_is_an_ordinary_folder(folder, tmp_path):
    result, blocks = remove(folder, TEXTS, tmp_path / "less", share=0.25, tokens=TOKENS)
    assert [len(each.neurons) for each in blocks] == [12, 12, 12]
    loaded = load_model(tmp_path / "less")
    assert loaded.model.config.intermediate_size == 36
    assert result.removed == 3 * 12 * 3 * 32
    assert result.record["neurons"] == {"before": 48, "after": 36}
    AutoModelForCausalLM.from_pretrained(tmp_path / "less")


def test_where_a_block_has_no_silent_neuron_nothing_is_removed(folder, tmp_path):
    with pytest.raises(BadFeatures, match=r"layer \d has none at an occupancy of at most 0"):
        remove(folder, TEXTS, tmp_path / "less", tokens=TOKENS)
    with pytest.raises(BadFeatures, match="less than one of 48"):
        remove(folder, TEXTS, tmp_path / "less", share=0.01, tokens=TOKENS)
    with pytest.raises(BadFeatures, match="share=1"):
        remove(folder, TEXTS, tmp_path / "less", share=1.0, tokens=TOKENS)
