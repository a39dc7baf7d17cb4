"""Tests features/mlp.py."""

import pytest
import torch
from splinelens.features.mlp import region_map

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadModel, UnknownAnatomy
from splinelens.layers import watch

IDS = torch.tensor([[5, 9, 17, 33, 60, 71]])


def passed(model, layer):
    """Inputs and outputs of the MLP of a layer in one pass, (token, width) each."""
    found = {}
    anatomy = anatomy_of(model)
    handle = anatomy.down(layer).register_forward_hook(
        lambda _module, _args, out: found.update(output=out.clone().reshape(-1, out.shape[-1]))
    )
    reading = watch(model, inputs=lambda _layer, states: found.update(input=states[0]), layers=[layer])
    with reading, torch.no_grad():
        model(IDS, use_cache=False)
    handle.remove()
    return found["input"], found["output"]


def test_the_value_of_the_map_is_what_the_mlp_gives(tiny_model):
    model = tiny_model.double()
    for layer in range(3):
        inputs, outputs = passed(model, layer)
        for token in range(6):
            region = region_map(anatomy_of(model), layer, inputs[token])
            assert (region.value - outputs[token]).abs().max() < 1e-10


def test_so_it_is_in_every_family_with_dense_layers(any_model):
    anatomy = anatomy_of(any_model)
    dense = [layer for layer in range(anatomy.depth) if anatomy.experts(layer) is None]
    for layer in dense:
        inputs, outputs = passed(any_model, layer)
        region = region_map(anatomy, layer, inputs[3])
        assert torch.allclose(region.value, outputs[3], rtol=1e-4, atol=1e-4)


def test_relu_without_a_gate_is_exact_in_the_whole_region(tiny_opt):
    model = tiny_opt.double()
    anatomy = anatomy_of(model)
    inputs, _ = passed(model, 1)
    region = region_map(anatomy, 1, inputs[2])
    assert region.kind == "exact"
    block = model.decoder.layers[1]
    margin = (block.fc1(inputs[2]) / block.fc1.weight.norm(dim=1)).abs().min()
    near = inputs[2] + 0.99 * margin * torch.nn.functional.normalize(torch.randn(9, 32).double(), dim=1)
    assert (region.apply(near) - block.fc2(block.fc1(near).relu())).abs().max() < 1e-10


def test_leaky_relu_is_exact_too(tiny_of):
    model = tiny_of("gpt_neox", hidden_act="leaky_relu").double()
    inputs, outputs = passed(model, 0)
    region = region_map(anatomy_of(model), 0, inputs[4])
    assert region.kind == "exact"
    assert (region.value - outputs[4]).abs().max() < 1e-10


@pytest.mark.parametrize("name", ["llama", "phi3", "gpt2", "gpt_neox", "arcee", "nemotron"])
def test_everything_else_is_of_first_order(tiny_of, name):
    model = tiny_of(name).double()
    anatomy, step = anatomy_of(model), 1e-5
    inputs, _ = passed(model, 1)
    region = region_map(anatomy, 1, inputs[2])
    assert region.kind == "first-order"
    way = torch.nn.functional.normalize(torch.randn(32).double(), dim=0)
    ends = [region_map(anatomy, 1, inputs[2] + sign * step * way).value for sign in (1, -1)]
    assert torch.allclose((ends[0] - ends[1]) / (2 * step), region.linear(way), atol=1e-6)


def test_a_relu_gate_without_biases_gives_twice_its_value(tiny_of):
    model = tiny_of("llama", hidden_act="relu").double()
    inputs, _ = passed(model, 1)
    region = region_map(anatomy_of(model), 1, inputs[2])
    assert region.kind == "first-order"
    assert torch.allclose(region.linear(inputs[2]), 2 * region.value, atol=1e-10)


def test_a_layer_of_experts_has_no_map(tiny_of):
    with pytest.raises(
        UnknownAnatomy, match="layer 1 of MixtralModel consists of experts: how much each one"
    ):
        region_map(anatomy_of(tiny_of("mixtral")), 1, torch.zeros(32))


@pytest.mark.parametrize("role", ["up", "down"])
def test_a_quantized_weight_is_refused_by_name(tiny_llama, role):
    module = getattr(tiny_llama.layers[1].mlp, f"{role}_proj")
    module.weight = torch.nn.Parameter(module.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(BadModel, match=f"the {role} weight of layer 1 is quantized; load the model with a"):
        region_map(anatomy_of(tiny_llama), 1, torch.zeros(32))
