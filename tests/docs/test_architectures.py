"""Tests ``docs/architectures.py`` and the page it writes: what they say of an architecture is so."""

import re
import runpy
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig

from splinelens.anatomy import FAMILIES, anatomy_of
from splinelens.errors import UnknownAnatomy
from splinelens.layers import watch

DOCS = Path(__file__).resolve().parents[2] / "docs"
SCRIPT = runpy.run_path(str(DOCS / "architectures.py"))
NOTES, ACTIVATIONS, KINDS = SCRIPT["NOTES"], SCRIPT["ACTIVATIONS"], SCRIPT["KINDS"]


@pytest.fixture
def page():
    return (DOCS / "architectures.md").read_text("utf-8")


def first_layer(model, **changes):
    """What the first layer's MLP is given for some tokens."""
    seen = []
    with torch.no_grad(), watch(model, inputs=lambda _, values: seen.append(values.clone()), layers=[0]):
        model(input_ids=torch.arange(3, 23)[None])
    return seen[0]


def default_window(config):
    """None without a word of windows; else whether the default configuration has one."""
    sizes = [getattr(config, name) for name in ("sliding_window", "window_size") if hasattr(config, name)]
    if not sizes:
        return None
    kinds = getattr(config, "layer_types", None) or getattr(config, "attention_layers", None)
    return bool(sizes[0]) and (kinds is None or bool({"sliding_attention", "local"} & set(kinds)))


def test_the_tables_on_the_page_are_those_of_the_code(page):
    begin, end = SCRIPT["BEGIN"], SCRIPT["END"]
    assert page.split(begin)[1].split(end)[0] == SCRIPT["tables"](), "run docs/architectures.py"
    assert re.findall(r"^\| `(\w+)` \| `", page, re.MULTILINE) == [
        name for belongs in KINDS.values() for name in sorted(FAMILIES) if belongs(FAMILIES[name])
    ]


def test_every_architecture_is_of_one_kind_and_every_note_has_its_architecture():
    assert [sum(belongs(family) for belongs in KINDS.values()) for family in FAMILIES.values()] == [1] * len(
        FAMILIES
    )
    assert {*NOTES, *ACTIVATIONS} <= set(FAMILIES)


def test_the_page_counts_them(page):
    assert f"reads {len(FAMILIES)} architectures" in page
    readme = (DOCS.parent / "README.md").read_text("utf-8")
    assert re.findall(r"(\d+) architectures", readme) == [str(len(FAMILIES))]


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_the_usual_activation_and_windows_are_those_of_the_default_configuration(name):
    config = AutoConfig.for_model(name).get_text_config()
    there = [getattr(config, key, None) for key in ("hidden_activation", "hidden_act", "activation_function")]
    found = next((each for each in (*there, getattr(config, "activation", None)) if each), None)
    if name not in ("bloom", "mpt", "gpt_oss"):  # the first two name none, the last one does not use it
        assert ACTIVATIONS.get(name, "silu") == found
    window = default_window(config)
    note = next((note for note in NOTES.get(name, "").split("; ") if note.startswith("window")), None)
    assert (note is None) == (window is None), f"{name}: {window}"
    assert window is None or ("by configuration" in note) == (not window)
    dense = any(
        hasattr(config, key) for key in ("first_k_dense_replace", "moe_layer_start_index", "mlp_only_layers")
    )
    if FAMILIES[name].experts:
        assert ("dense" in NOTES.get(name, "")) == dense


def test_the_notes_are_true_of_a_tiny_model(any_model):
    anatomy, calls = anatomy_of(any_model), []
    note = NOTES.get(any_model.config.model_type, "")
    with (
        torch.no_grad(),
        watch(any_model, attention=lambda _, call: calls.append(call), layers=anatomy.softmax_layers),
    ):
        any_model(input_ids=torch.arange(3, 23)[None])
    scored = [call for call in calls if call.query is not None]
    assert ("sinks" in note) == any(call.sinks is not None for call in calls)
    assert ("soft cap" in note) == any(call.softcap is not None for call in calls)
    assert ("values narrower" in note) == any(call.value.shape[-1] != call.query.shape[-1] for call in scored)
    assert ("one key head" in note) == any(call.key.shape[1] == 1 for call in scored)
    assert ("(width, neuron)" in note) == anatomy.family.transposed
    assert ("learned constants" in note) == _learns(anatomy)
    block = anatomy.blocks[anatomy.softmax_layers[0] if anatomy.softmax_layers else 0]
    norms = {path for path, _ in block.named_children() if "norm" in path}
    behind = {"post_attention_layernorm", "post_feedforward_layernorm"}
    assert (SCRIPT["RAW"] in note) == (norms == behind)
    assert (SCRIPT["NORMED"] in note) == (norms >= behind or "post_self_attn_layernorm" in norms)
    assert ("residual_multiplier" in note) == hasattr(block, "residual_multiplier")
    assert ("image model" in note) == hasattr(any_model.config, "vision_config")


def test_a_parallel_block_is_one_whose_mlp_does_not_know_its_attention(any_model):
    anatomy, note = anatomy_of(any_model), NOTES.get(any_model.config.model_type, "")
    output = anatomy.output(0)
    if output is None:  # linear attention
        return
    before = first_layer(any_model)
    with torch.no_grad():
        for parameter in output.parameters():
            parameter.zero_()
    parallel = torch.equal(first_layer(any_model), before)
    if f"{SCRIPT['PARALLEL']} by configuration" not in note:
        assert parallel == (SCRIPT["PARALLEL"] in note)


def _learns(anatomy):
    """Whether the nonlinearity has parameters; experts and GPT-OSS have none of their own here."""
    if anatomy.experts(0) is not None or not anatomy.family.activation:
        return False
    return any(True for _ in anatomy.activation(0).parameters())


def test_gemma4_with_experts_is_refused(tiny_of):
    changes = {"enable_moe_block": True, "num_experts": 4, "top_k_experts": 2, "moe_intermediate_size": 24}
    with pytest.raises(UnknownAnatomy, match="has experts at 'experts', which the row does not name"):
        anatomy_of(tiny_of("gemma4_text", **changes))
    assert "experts is refused" in NOTES["gemma4"]
