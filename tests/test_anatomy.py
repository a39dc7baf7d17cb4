"""Tests anatomy.py."""

import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import transformers

from splinelens.anatomy import FAMILIES, anatomy_of
from splinelens.errors import UnknownAnatomy


def test_every_row_has_a_tiny_model_and_every_tiny_model_a_row():
    table = Path(__file__).with_name("conftest.py").read_text("utf-8").split("TINY = {")[1].split("}\n\n")[0]
    assert set(re.findall(r'^    "(\w+)": \(', table, re.MULTILINE)) == set(FAMILIES)


def test_the_row_is_picked_by_the_configuration(tiny_model):
    anatomy = anatomy_of(tiny_model)
    assert anatomy.family is FAMILIES[tiny_model.config.model_type]
    assert anatomy.depth == len(anatomy.blocks) == 3
    assert anatomy.base is tiny_model


def test_gate_and_down_are_the_linear_maps_around_the_neurons(tiny_model):
    anatomy = anatomy_of(tiny_model)
    for layer in range(3):
        gate, down = anatomy.gate(layer).weight, anatomy.down(layer).weight
        if anatomy.family.transposed:
            gate, down = gate.T, down.T
        assert gate.shape == ((96 if anatomy.family.fused else 48), 32)
        assert down.shape == (32, 48)
    assert anatomy.gate(0) is not anatomy.gate(1)


def test_attention_is_where_the_row_says(tiny_model):
    anatomy = anatomy_of(tiny_model)
    for block in anatomy.blocks:
        assert "Attention" in type(block.get_submodule(anatomy.family.attention)).__name__


def test_gated_says_whether_the_activation_is_multiplied(tiny_model):
    """With a zero up projection, a gated MLP gives nothing, an ungated one has none."""
    anatomy = anatomy_of(tiny_model)
    names = {name for name, _ in anatomy.blocks[0].named_modules()}
    assert anatomy.family.gated == bool(names & {"mlp.up_proj", "mlp.gate_up_proj"})
    assert anatomy.family.fused == ("mlp.gate_up_proj" in names)


def test_a_model_with_a_head_has_the_anatomy_of_its_base():
    config = transformers.LlamaConfig(
        hidden_size=8, intermediate_size=12, num_hidden_layers=2, num_attention_heads=2, vocab_size=16
    )
    model = transformers.LlamaForCausalLM(config)
    assert anatomy_of(model).base is model.model
    assert anatomy_of(model).gate(1) is model.model.layers[1].mlp.gate_proj


@pytest.mark.parametrize("model", [torch.nn.Linear(2, 2), SimpleNamespace(config=None)])
def test_what_is_no_transformers_model_is_refused(model):
    with pytest.raises(UnknownAnatomy, match="architecture None"):
        anatomy_of(model)


def test_an_unknown_architecture_is_told_what_to_add_where():
    config = transformers.BloomConfig(hidden_size=8, n_layer=1, n_head=2, vocab_size=16)
    with pytest.raises(UnknownAnatomy) as caught:
        anatomy_of(transformers.BloomModel(config))
    message = str(caught.value)
    assert "architecture 'bloom' (BloomModel) has no row in anatomy.py" in message
    assert ", ".join(sorted(FAMILIES)) in message
    assert (
        "one Family(blocks, gate, down, attention) in FAMILIES and one tiny model in tests/conftest.py"
        in message
    )


def test_a_model_that_does_not_fit_its_row_is_refused(tiny_llama):
    tiny_llama.layers[2].mlp = torch.nn.Linear(32, 32)
    with pytest.raises(
        UnknownAnatomy, match=r"LlamaModel does not fit the row 'llama' .*no attribute 'gate_proj'"
    ):
        anatomy_of(tiny_llama)


def test_a_model_is_looked_through_once(tiny_llama):
    """The look-up is asked for at each layer of each batch: after the first time it must cost nothing."""
    first = anatomy_of(tiny_llama)
    tiny_llama.layers[2].mlp = torch.nn.Linear(32, 32)
    assert anatomy_of(tiny_llama) == first
