"""Tests ``apps/pruning.py``: plans meet their sparsity, pruned models are ordinary folders, runs continue."""

import json
from dataclasses import replace
from itertools import groupby

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from splinelens.apps.pruning import SPREADS, apply, plan, remove
from splinelens.errors import BadFeatures, BadModel, BadTexts, CannotResume, OutputExists
from splinelens.files import parts_folder
from splinelens.geometry.spectrum import eigenvalues, positive, tail_peak
from splinelens.models import load_model
from splinelens.texts import Texts
from splinelens.weights import weight_matrices

PROSE = Texts(
    tuple(f"the {word} is in the {other}" for word in "abcdefgh" for other in ("sea", "town", "house")) * 4,
    {},
    "list",
)
WORDS = "the thing you are in there is a house of the other thing and you are in the garden ".split()
TEXTS = Texts(tuple(" ".join(WORDS[row % 7 :] * 9) + f" {row}" for row in range(40)), {}, "list")
TOKENS = 2_048


@pytest.fixture(scope="module")
def loaded(writer_folder):
    return load_model(writer_folder())


@pytest.fixture(scope="module")
def full(loaded):
    """A plan with every method."""
    return plan(loaded, 0.6, calibration=PROSE, tokens=1024)


def test_all_methods_meet_the_sparsity_to_one_weight(loaded, full):
    assert tuple(full.allocations) == tuple(SPREADS)
    assert full.weights == sum(each.size for each in full.matrices)
    assert full.removed == round(0.6 * full.weights)
    for method, allocation in full.allocations.items():
        assert np.mean(allocation.ratios) == pytest.approx(0.6, abs=1e-12), method
        assert allocation.spread == SPREADS[method]
    for by in ("farms", "arithmetic"):
        assert plan(loaded, 1 / 3, by=by).removed == round(full.weights / 3)


def test_alpha_of_a_block_is_the_mean_of_its_matrices(loaded, full):
    for layer, block in groupby(weight_matrices(loaded), key=lambda matrix: matrix.layer):
        alphas = [tail_peak(positive(eigenvalues(matrix.tensor))).alpha for matrix in block]
        assert full.allocations["alpha"].scores[layer] == pytest.approx(np.mean(alphas))
    order = np.argsort(full.allocations["alpha"].scores)
    assert list(order) == list(np.argsort(full.allocations["alpha"].ratios))


def test_owl_and_dlp_measure_weights_times_norms_of_inputs(loaded, full):
    inputs = {}

    def keep(name):
        return lambda _module, args: inputs.setdefault(name, []).append(args[0].detach())

    from splinelens.tokens import chunks

    order = np.random.default_rng(0).permutation(len(PROSE))
    ids = torch.from_numpy(chunks(loaded.tokenizer, PROSE.at(order.tolist()).texts, 256, 4))
    assert full.calibration_tokens == ids.numel() == 1024
    block = loaded.model.layers[1]
    linear = {name: module for name, module in block.named_modules() if isinstance(module, torch.nn.Linear)}
    handles = [module.register_forward_pre_hook(keep(name)) for name, module in linear.items()]
    with torch.no_grad():
        loaded.model(ids)
    for handle in handles:
        handle.remove()
    metric = torch.cat(
        [
            (module.weight.abs() * inputs[name][0].square().mean(dim=(0, 1)).sqrt()).flatten()
            for name, module in linear.items()
        ]
    )
    owl, dlp = full.allocations["owl"], full.allocations["dlp"]
    assert owl.scores[1] == pytest.approx(float((metric > 5 * metric.mean()).float().mean()))
    assert dlp.scores[1] == pytest.approx(float(metric.median()), rel=1e-4)
    assert list(np.argsort(owl.scores)) == list(np.argsort(owl.ratios))[::-1]
    assert list(np.argsort(dlp.scores)) == list(np.argsort(dlp.ratios))


def test_the_progression_is_arithmetic_and_no_spread_is_uniform(loaded, full):
    assert full.allocations["arithmetic"].ratios == pytest.approx((0.45, 0.6, 0.75))
    assert full.allocations["uniform"].ratios == pytest.approx((0.6, 0.6, 0.6))
    uniform = plan(loaded, 0.37, by="uniform").counts
    assert all(plan(loaded, 0.37, by=by, spread=0.0).counts == uniform for by in ("alpha", "arithmetic"))


def test_methods_that_cannot_be_computed_say_why(loaded, writer_folder):
    assert plan(loaded, 0.5).left_out["owl"] == "it needs calibration texts (--calibration FILE)"
    experts = load_model(writer_folder("mixtral"))
    planned = plan(experts, 0.5, calibration=PROSE, tokens=1024)
    assert planned.removed == round(0.5 * planned.weights)
    assert "layer 0 consists of experts" in planned.left_out["dlp"]
    with pytest.raises(BadModel, match=r"owl cannot be computed for .*: layer 0 consists of experts"):
        plan(experts, 0.5, by="owl", calibration=PROSE, tokens=1024)


def test_what_cannot_be_planned_is_refused(loaded, writer_folder):
    with pytest.raises(BadFeatures, match=r"a sparsity of 1 is not in \[0, 1\)"):
        plan(loaded, 1)
    with pytest.raises(BadFeatures, match=r"a sparsity of 0\.995 cannot be reached"):
        plan(loaded, 0.995)
    with pytest.raises(BadFeatures, match="a spread of 2 is not between 0, which is uniform, and 1"):
        plan(loaded, 0.5, spread=2)
    with pytest.raises(BadFeatures, match="dlp measures the inputs of each map: give calibration texts"):
        plan(loaded, 0.5, by="dlp")
    with pytest.raises(BadTexts, match=r"list: the calibration texts have .* and 2,048 are requested"):
        plan(loaded, 0.5, calibration=PROSE.at([0]), tokens=TOKENS)
    with pytest.raises(BadModel, match="has 3 blocks, and 2 are loaded"):
        plan(load_model(writer_folder(), n_layers=2), 0.5)


def test_weights_that_have_no_spectrum_are_refused(writer_folder):
    broken = load_model(writer_folder())
    broken.model.layers[1].mlp.up_proj.weight[0, 0] = torch.nan
    with pytest.raises(BadModel, match=r"mlp.up_proj of layer 1 holds weights that are not finite"):
        plan(broken, 0.5)
    for matrix in weight_matrices(broken):
        if matrix.layer == 1:
            matrix.tensor.zero_()
    with pytest.raises(BadModel, match="no matrix of layer 1 has 8 different eigenvalues above 0"):
        plan(broken, 0.5)


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
    assert record["removed"] == zeros
    assert sum(sum(block.values()) for block in record["removals"].values()) == zeros
    assert len({path.stat().st_mode for path in (tmp_path / "half").iterdir()}) == 1
    assert not parts_folder(tmp_path / "half").exists()


def test_the_source_stays_as_it_is(folder, tmp_path):
    before = (folder / "model.safetensors").read_bytes()
    apply(folder, tmp_path / "half", method="magnitude")
    assert (folder / "model.safetensors").read_bytes() == before
    with pytest.raises(OutputExists, match=r"the input .* would be replaced"):
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
    changed = options | {"calibration": Texts(TEXTS.texts[1:], {}, "list")}
    with pytest.raises(CannotResume, match="data_hash"):
        apply(folder, tmp_path / "stopped", **changed)
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
    apply(folder, tmp_path / "planned", given=planned, method="magnitude", dtype="bfloat16")
    for each in weight_matrices(tmp_path / "planned"):
        assert each.tensor.dtype == torch.bfloat16
        assert int((each.tensor == 0).sum()) == planned.counts[each.layer, each.name]
    with pytest.raises(BadModel, match="the plan is for"):
        apply(writer_folder("qwen2"), tmp_path / "other", given=planned, method="magnitude")
    first, *others = planned.matrices
    renamed = replace(planned, matrices=(replace(first, name="mlp"), *others))
    with pytest.raises(BadModel, match="names other matrices"):
        apply(folder, tmp_path / "other", given=renamed, method="magnitude")
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
    with pytest.raises(BadModel, match="dtype 'int8' is not one of"):
        apply("no such model", tmp_path / "out", method="magnitude", dtype="int8")
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
    with pytest.raises(BadModel, match="quantized"):
        apply(quantized, tmp_path / "out", method="magnitude")


def test_a_model_with_fewer_neurons_is_an_ordinary_folder(folder, tmp_path):
    result = remove(folder, TEXTS, tmp_path / "less", share=0.25, tokens=TOKENS)
    assert [len(each["neurons"]) for each in result.record["blocks"]] == [12, 12, 12]
    loaded = load_model(tmp_path / "less")
    assert loaded.model.config.intermediate_size == 36
    assert result.removed == 3 * 12 * 3 * 32
    assert result.record["neurons"] == {"before": 48, "after": 36}
    AutoModelForCausalLM.from_pretrained(tmp_path / "less")


def test_where_a_block_has_no_silent_neuron_nothing_is_removed(folder, tmp_path):
    with pytest.raises(
        BadFeatures,
        match=r"block \d has no neuron that never fires on these texts; .* such as --share 0.0209",
    ):
        remove(folder, TEXTS, tmp_path / "less", tokens=TOKENS)
    assert (
        remove(folder, TEXTS, tmp_path / "less", share=0.0209, tokens=TOKENS).record["neurons"]["after"] == 47
    )
    with pytest.raises(BadFeatures, match=r"less than one of 48 neurons; give --share 0.0209 or more"):
        remove(folder, TEXTS, tmp_path / "other", share=0.01, tokens=TOKENS)
    with pytest.raises(BadFeatures, match="share=1"):
        remove(folder, TEXTS, tmp_path / "other", share=1.0, tokens=TOKENS)
