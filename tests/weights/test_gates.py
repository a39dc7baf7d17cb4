"""Tests weights/gates.py."""

import gc
import math

import pytest
import torch

from splinelens.anatomy import anatomy_of
from splinelens.errors import BadModel
from splinelens.layers import watch
from splinelens.weights import gate_norms, linear_of, walls_of
from splinelens.weights import gates as weights


def linear_map(model, layer):
    """The gate's matrix from what the module does to the unit vectors, (neuron, width)."""
    anatomy = anatomy_of(model)
    with torch.no_grad():
        out = anatomy.gate(layer)(torch.eye(32)) - anatomy.gate(layer)(torch.zeros(1, 32))
    return out.T[:48]


def test_row_k_of_the_gate_weight_is_the_normal_of_hyperplane_k(tiny_model):
    for layer in range(3):
        weight = walls_of(anatomy_of(tiny_model), layer)[0]
        assert weight.shape == (48, 32)
        assert torch.allclose(weight, linear_map(tiny_model, layer), atol=1e-5)


def test_the_gate_weight_is_a_view(tiny_model):
    weight = walls_of(anatomy_of(tiny_model), 0)[0]
    assert weight.data_ptr() == anatomy_of(tiny_model).gate(0).weight.data_ptr()


def test_norms_are_what_slow_loops_give(tiny_model):
    for layer in range(3):
        rows = linear_map(tiny_model, layer).tolist()
        slow = [math.sqrt(sum(value * value for value in row)) for row in rows]
        assert gate_norms(tiny_model, layer).tolist() == pytest.approx(slow, rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_norms_are_float32_whatever_the_model_is(tiny_gpt2, dtype):
    exact = tiny_gpt2.to(dtype).h[0].mlp.c_fc.weight.double().norm(dim=0)
    norm = gate_norms(tiny_gpt2, 0)
    assert norm.dtype == torch.float32
    assert not norm.requires_grad
    assert torch.allclose(norm.double(), exact, rtol=1e-6)  # bfloat16 itself would be off by 1e-3


@pytest.mark.parametrize("size", [1e36, 1e-30])
def test_norms_are_right_where_the_squares_leave_float32(tiny_llama, size):
    weight = tiny_llama.layers[0].mlp.gate_proj.weight
    expected = size * weight.double().norm(dim=1)
    with torch.no_grad():
        weight *= size
    assert gate_norms(tiny_llama, 0).double().tolist() == pytest.approx(expected.tolist(), rel=1e-6)


def test_norms_are_computed_once(tiny_llama, monkeypatch):
    first = gate_norms(tiny_llama, 1)
    monkeypatch.setattr(torch.Tensor, "norm", None)
    assert gate_norms(tiny_llama, 1) is first


def test_norms_are_each_layers_own(tiny_llama):
    assert not torch.allclose(gate_norms(tiny_llama, 0), gate_norms(tiny_llama, 1))


def test_norms_follow_the_model_to_another_device(tiny_llama):
    assert gate_norms(tiny_llama, 0).device.type == "cpu"
    tiny_llama.to("meta")
    assert gate_norms(tiny_llama, 0).device.type == "meta"


def test_norms_go_when_the_model_goes(tiny_llama):
    import transformers

    gc.collect()
    before = len(weights._NORMS)
    model = transformers.GPT2Model(transformers.GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16))
    gate_norms(model, 0)
    assert len(weights._NORMS) == before + 1
    del model
    gc.collect()
    assert len(weights._NORMS) == before


def test_a_neuron_with_a_zero_row_has_norm_0(tiny_model):
    with torch.no_grad():
        walls_of(anatomy_of(tiny_model), 2)[0][[0, 7]] = 0
    assert gate_norms(tiny_model, 2)[[0, 7]].tolist() == [0.0, 0.0]
    assert (gate_norms(tiny_model, 2) == 0).sum() == 2


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_broken_row_shows_in_its_norm(tiny_llama, bad):
    with torch.no_grad():
        tiny_llama.layers[0].mlp.gate_proj.weight[7, 3] = bad
    assert not gate_norms(tiny_llama, 0).isfinite().all()


def test_a_quantized_weight_is_refused(tiny_llama):
    gate = tiny_llama.layers[1].mlp.gate_proj
    gate.weight = torch.nn.Parameter(gate.weight.to(torch.int8), requires_grad=False)
    with pytest.raises(
        BadModel, match="gate weight of layer 1 is quantized; load the model with a float dtype"
    ):
        walls_of(anatomy_of(tiny_llama), 1)[0]


def test_a_linear_map_is_read_whatever_its_storage(tiny_gpt2):
    conv = tiny_gpt2.h[0].mlp.c_fc
    weight, bias = linear_of(conv, True)
    states = torch.randn(3, 32)
    assert torch.allclose(states @ weight.T + bias, conv(states), atol=1e-6)
    plain = torch.nn.Linear(3, 2, bias=False)
    assert linear_of(plain, False)[1] is None
    assert not weight.requires_grad


def test_a_linear_map_without_a_plain_weight_is_refused():
    class Packed(torch.nn.Module):
        qweight = torch.zeros(2, 2, dtype=torch.int32)

    for broken in (Packed(), torch.nn.Linear(2, 2).to(torch.float8_e4m3fn), None):
        with pytest.raises(BadModel, match="the weight of a linear map is quantized; load the model with"):
            linear_of(broken, False)


def test_the_walls_of_a_layer_give_its_gate(any_model):
    anatomy = anatomy_of(any_model)
    for layer in range(anatomy.depth):
        seen = {}
        with (
            watch(
                any_model,
                gate=lambda _layer, gate, seen=seen: seen.update(gate=gate[0]),
                inputs=lambda _layer, states, seen=seen: seen.update(input=states[0]),
                routes=lambda _layer, routes, seen=seen: seen.update(routes=routes[0]),
                layers=[layer],
            ),
            torch.no_grad(),
        ):
            any_model(torch.tensor([[5, 9, 17, 33, 60, 71]]), use_cache=False)
        experts = tuple(seen["routes"][3].tolist()) if "routes" in seen else ()
        weight, bias = walls_of(anatomy, layer, experts)
        gate = weight @ seen["input"][3] + (0 if bias is None else bias)
        assert torch.allclose(gate, seen["gate"][3], rtol=1e-4, atol=1e-4)


def test_quantized_experts_are_refused(tiny_of):
    model = tiny_of("mixtral")
    experts = model.layers[1].mlp.experts
    experts.gate_up_proj = torch.nn.Parameter(experts.gate_up_proj.to(torch.int8), requires_grad=False)
    for read in (lambda: gate_norms(model, 1), lambda: walls_of(anatomy_of(model), 1, (0, 2))):
        with pytest.raises(
            BadModel, match="the experts of layer 1 are quantized; load the model with a float"
        ):
            read()
