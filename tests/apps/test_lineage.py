"""Tests ``apps/lineage.py``: verdicts on tiny models, refusals, and a detector carried over."""

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from splinelens.apps.detector import Detector
from splinelens.apps.lineage import carry_over, compare, profile
from splinelens.errors import BadFeatures, BadLabels, BadModel, WrongModel
from splinelens.models import load_model
from splinelens.models.load import LoadedModel

from .conftest import labeled


@pytest.fixture
def model_of(tiny_of, tiny_tokenizer):
    """Makes a tiny model in memory: of a family, or of a changed copy of a module."""

    def make(source, seed=0, name="tiny", **changes):
        module = tiny_of(source, seed, **changes) if isinstance(source, str) else source
        depth = module.config.num_hidden_layers
        return LoadedModel(module, tiny_tokenizer, name, None, depth, depth)

    return make


@pytest.fixture
def changed(model_of):
    """Makes a changed copy of a model."""

    def make(loaded, *changes, name="copy"):
        module = copy.deepcopy(loaded.model)
        with torch.no_grad():
            for change in changes:
                change(module)
        return model_of(module, name=name)

    return make


@pytest.fixture
def detector(fit_on, loaded, tmp_path):
    fit_on().save(tmp_path / "fitted")
    return Detector.load(tmp_path / "fitted", model=loaded)


def blocks(model):
    return model.h if hasattr(model, "h") else model.layers


def prune(model):
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.mul_(parameter.abs() > parameter.abs().flatten().quantile(0.3))


def quantize(model):
    for parameter in model.parameters():
        if parameter.dim() > 1:
            step = parameter.abs().max() / 7
            parameter.copy_((parameter / step).round() * step)


def tune(model):
    for parameter in model.parameters():
        parameter.add_(0.03 * torch.randn(parameter.shape))


def permute(model):
    for block in blocks(model):
        order = torch.randperm(48)
        for linear in (block.mlp.gate_proj, block.mlp.up_proj):
            linear.weight.copy_(linear.weight[order].clone())
        block.mlp.down_proj.weight.copy_(block.mlp.down_proj.weight[:, order].clone())


def permute_gpt(model):
    """GPT-2 stores its weights as (width, neuron), GPT-Neo as (neuron, width)."""
    for block in blocks(model):
        order = torch.randperm(48)
        mlp = block.mlp
        axis = mlp.c_fc.weight.shape.index(48)
        mlp.c_fc.weight.copy_(mlp.c_fc.weight.index_select(axis, order))
        mlp.c_fc.bias.copy_(mlp.c_fc.bias[order].clone())
        mlp.c_proj.weight.copy_(mlp.c_proj.weight.index_select(1 - axis, order))


def flip(model):
    for block in blocks(model):
        sign = 1.0 - 2.0 * torch.randint(0, 2, (48,))
        block.mlp.up_proj.weight.mul_(sign[:, None])
        block.mlp.down_proj.weight.mul_(sign)


def rotate(model):
    """A permuted residual stream."""
    order = torch.randperm(32)
    model.embed_tokens.weight.copy_(model.embed_tokens.weight[:, order].clone())
    for block in blocks(model):
        attention, mlp = block.self_attn, block.mlp
        for norm in (block.input_layernorm, block.post_attention_layernorm):
            norm.weight.copy_(norm.weight[order].clone())
        for linear in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
            linear.weight.copy_(linear.weight[:, order].clone())
        for linear in (attention.o_proj, mlp.down_proj):
            linear.weight.copy_(linear.weight[order].clone())


def arrange(model, order):
    """Blocks in another order; one that is named twice is copied."""
    arranged = [copy.deepcopy(model.layers[layer]) for layer in order]
    for layer, block in enumerate(arranged):
        block.self_attn.layer_idx = layer
    model.layers = torch.nn.ModuleList(arranged)
    model.config.num_hidden_layers = len(arranged)


def cut(model):
    arrange(model, (0, 2))


def shuffle(model):
    for parameter in model.parameters():
        parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel())].reshape(parameter.shape))


@pytest.mark.parametrize(
    "changes", [[prune], [quantize], [tune], [permute], [rotate], [cut], [permute, rotate, tune]]
)
def test_copies_are_related(model_of, changed, changes):
    parent = model_of("llama")
    report = compare(parent, changed(parent, *changes))
    assert report.verdict == "related", report.reason
    assert report.p_value <= 1e-6


@pytest.mark.parametrize(
    "order", [(5, 4, 3, 2, 1, 0), (5, 0, 1, 2, 3, 4), (1, 0, 3, 2, 5, 4), (1, 2, 3, 4, 5, 5)]
)
def test_a_copy_whose_blocks_were_moved_is_related(model_of, changed, order):
    parent = model_of("llama", num_hidden_layers=6)
    moved = changed(parent, permute, partial(arrange, order=order))
    report = compare(parent, moved)
    assert report.verdict == "related"
    assert report.notes[0].startswith("the layers of tiny match those of copy in another order: ")


@pytest.mark.parametrize("changes", [[prune], [permute_gpt], [permute_gpt, tune]])
def test_copies_of_an_ungated_model_are_related(model_of, changed, changes):
    parent = model_of("gpt2")
    assert compare(parent, changed(parent, *changes)).verdict == "related"


@pytest.mark.parametrize(("family", "depth"), [("llama", 3), ("gpt2", 6)])
def test_other_seeds_and_shuffled_weights_are_unrelated(model_of, changed, family, depth):
    parent, *strangers = (model_of(family, seed, num_hidden_layers=depth) for seed in range(3))
    for stranger in (*strangers, changed(parent, shuffle)):
        report = compare(parent, stranger)
        assert report.verdict == "unrelated", report.reason
        assert report.p_value > 1e-3


def test_siblings_are_related(model_of, changed):
    parent = model_of("llama")
    assert compare(changed(parent, tune), changed(parent, permute, prune)).verdict == "related"


def test_a_disguised_copy_is_not_called_unrelated(model_of, changed):
    parent = model_of("llama")
    report = compare(parent, changed(parent, permute, flip))
    assert report.verdict == "cannot tell"
    assert "disguised" in report.reason


def test_half_of_the_neurons_are_enough_to_suspect_a_disguise(model_of, changed):
    """Also of a copy whose blocks were cut, so that fewer neurons match."""
    parent = profile(model_of("llama"))
    child = profile(changed(model_of("llama"), permute, flip))
    stranger = profile(model_of("llama", 1))
    mixed = replace(child, layers=(*child.layers[:2], stranger.layers[2]))
    assert "disguised" in compare(parent, mixed).reason


def test_equal_fingerprints_are_not_believed_without_equal_signs(model_of, changed):
    parent = profile(model_of("llama"))
    for change, verdict in ((tune, "related"), (shuffle, "unrelated")):
        child = replace(profile(changed(model_of("llama"), change)), fingerprint=parent.fingerprint)
        report = compare(parent, child)
        assert report.verdict == verdict
        assert "a profile was edited" in report.notes[0]


def test_two_names_of_one_model_are_said_to_be_one(model_of, changed):
    parent = model_of("llama")
    report = compare(parent, changed(parent, name="the other name"))
    assert report.verdict == "same model"
    assert "the other name" in report.reason
    assert report.p_value is None


@pytest.mark.parametrize(
    ("family", "shape", "difference"),
    [
        ("llama", {"hidden_size": 64}, "width 32 and 64"),
        ("llama", {"intermediate_size": 40}, "neurons in a layer 48 and 40"),
        ("llama", {"num_hidden_layers": 6}, "depth 3 and 6"),
        ("gpt2", {}, "architecture llama and gpt2"),
        ("qwen2", {}, "architecture llama and qwen2"),
    ],
)
def test_a_stranger_of_another_shape_cannot_be_told(model_of, family, shape, difference):
    report = compare(model_of("llama"), model_of(family, 1, **shape))
    assert report.verdict == "cannot tell"
    assert f"different shape ({difference})" in report.reason


def test_models_whose_other_signs_differ_in_kind_cannot_be_told(model_of):
    gated, stranger = profile(model_of("llama")), profile(model_of("llama", 1))
    values = tuple(replace(layer, by_gate=False) for layer in stranger.layers)
    report = compare(gated, replace(stranger, layers=values))
    assert "signs in a layer 48 of the up projection and 48 of attention values" in report.reason


def test_a_family_without_a_second_test_is_never_called_unrelated(model_of, changed):
    parent = model_of("gpt_neo")
    for other in (model_of("gpt_neo", 1), changed(parent, permute_gpt)):
        report = compare(parent, other)
        assert report.verdict == "cannot tell"
    assert "a copy with permuted neurons could not be recognized" in report.reason


def test_a_copy_with_fewer_neurons_is_related_all_the_same(model_of, tiny_of):
    parent = model_of("llama")
    smaller = tiny_of("llama", 5, intermediate_size=40)
    state = smaller.state_dict()
    for name, weight in parent.model.state_dict().items():
        axis = 1 if "down_proj" in name else 0
        state[name] = weight.narrow(axis, 8, 40) if ".mlp." in name else weight
    smaller.load_state_dict(state)
    assert compare(parent, model_of(smaller)).verdict == "related"


def test_models_without_signs_cannot_be_told(model_of, changed):
    def silence(model):
        for parameter in model.parameters():
            parameter.zero_()

    report = compare(model_of("llama"), changed(model_of("llama", 1), silence))
    assert report.verdict == "cannot tell"
    assert "only 0 neurons match" in report.reason


def test_the_pruned_one_and_missing_layers_are_named(model_of, changed):
    parent = model_of("llama", name="parent")
    notes = compare(changed(parent, cut, prune, name="child"), parent).notes
    assert notes[0] == "layers of parent that the other model lacks: 1"
    assert notes[1].endswith("child is the pruned one")


def test_a_profile_stands_for_its_model(model_of, changed, tmp_path):
    parent = model_of("llama")
    child = changed(parent, permute, prune)
    profile(parent).save(tmp_path / "a.parquet")
    direct, stored = compare(parent, child), compare(tmp_path / "a.parquet", child)
    assert stored.to_dict() == direct.to_dict()


def test_different_tokenizers_are_refused(model_of):
    parent = profile(model_of("llama", name="mine"))
    other = replace(parent, model="theirs", tokens=("x", *parent.tokens[1:]))
    with pytest.raises(
        BadModel, match=r"different tokenizers.*token 0 of the text is 'H' \(id \d+\) in mine and 'x'"
    ):
        compare(parent, other)


def test_a_detector_is_carried_over(detector, loaded, changed):
    texts, labels = labeled(200)
    same = carry_over(detector, changed(loaded), texts, labels)
    assert same.auc[0] == same.auc[1] == 1
    assert same.same_verdict == 1
    assert same.loss_interval == (0, 0)
    broken = carry_over(detector, changed(loaded, shuffle), texts, labels)
    assert broken.auc[1] < 1
    assert broken.loss_interval[1] > 0


def test_without_labels_only_scores_are_compared(detector, loaded, changed):
    texts, _ = labeled(20)
    carried = carry_over(detector, changed(loaded, tune), [*texts, ""])
    assert (carried.texts, carried.undetermined, carried.auc) == (20, 1, None)
    assert carried.rank_correlation > 0.8


def test_compare_tries_a_detector(detector, loaded, changed, tmp_path):
    texts, labels = labeled(30)
    detector.save(tmp_path / "mine")
    child = changed(loaded, tune)
    report = compare(loaded, child, detector=tmp_path / "mine", texts=texts, labels=labels)
    assert report.verdict == "related"
    assert report.carried == carry_over(detector, child, texts, labels)


def test_a_detector_of_another_model_is_refused(detector, loaded, changed, tmp_path):
    detector.save(tmp_path / "mine")
    child = changed(loaded, tune)
    with pytest.raises(WrongModel, match="fitted with another model"):
        compare(child, loaded, detector=tmp_path / "mine", texts=["a"])


def test_a_detector_needs_models_and_both_classes(detector, loaded, changed, tmp_path):
    with pytest.raises(BadFeatures, match="a profile is none"):
        compare(profile(loaded), loaded, detector=tmp_path, texts=["a"])
    with pytest.raises(BadLabels, match="one class"):
        carry_over(detector, changed(loaded, tune), ["a b", "c d"], np.array([1, 1]))


def test_a_model_with_too_few_layers_is_refused(detector, tiny_folder):
    with pytest.raises(WrongModel, match="cannot be read with"):
        detector.carried_over(load_model(str(tiny_folder), n_layers=1, device="cpu"))
