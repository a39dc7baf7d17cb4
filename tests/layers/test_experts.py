"""Tests layers/experts.py: the gate of routed experts, against the experts' own activation."""

import pytest
import torch

from splinelens.anatomy import anatomy_of
from splinelens.layers import watch
from splinelens.layers.experts import expert_weight, routed_gate

IDS = torch.arange(4, 24).reshape(2, 10)
FAMILIES = (
    "granitemoe flex_olmo ernie4_5_moe qwen3_5_moe mixtral olmoe qwen3_moe phimoe qwen2_moe qwen3_next "
    "deepseek_v3 gpt_oss"
).split()


class TwoExperts(torch.nn.Module):
    """Two experts of two neurons in a plane."""

    def __init__(self):
        super().__init__()
        gate = torch.tensor([[[1.0, 0.0], [0.0, 1.0]], [[2.0, 0.0], [0.0, -1.0]]])
        self.gate_up_proj = torch.nn.Parameter(torch.cat([gate, torch.full((2, 2, 2), 99.0)], dim=1))


def test_the_gate_of_two_experts_by_hand():
    states = torch.tensor([[3.0, 5.0], [1.0, 1.0]])
    gate = routed_gate(TwoExperts(), states, torch.tensor([[0, 1], [1, 1]])[:, :1], interleaved=False)
    assert gate.tolist() == [[3.0, 5.0], [2.0, -1.0]]
    both = routed_gate(TwoExperts(), states, torch.tensor([[0, 1], [0, 1]]), interleaved=False)
    assert both.tolist() == [[3.0, 5.0, 6.0, -5.0], [1.0, 1.0, 2.0, -1.0]]


@pytest.mark.parametrize("name", FAMILIES)
def test_the_gate_of_every_routed_expert_is_its_weight_times_the_input(name, tiny_of):
    """Slow and independent: token by token from the full parameters, in float64."""
    model = tiny_of(name).double()
    model.set_experts_implementation("eager")  # the others have no float64
    anatomy = anatomy_of(model)
    layers = [layer for layer in range(anatomy.depth) if anatomy.experts(layer) is not None]
    assert layers
    seen = {layer: {} for layer in layers}
    with (
        torch.no_grad(),
        watch(
            model,
            gate=lambda layer, values: seen[layer].update(gate=values),
            inputs=lambda layer, values: seen[layer].update(inputs=values),
            routes=lambda layer, values: seen[layer].update(routes=values),
            layers=layers,
        ),
    ):
        model(IDS, use_cache=False)
    for layer in layers:
        gate, inputs, routes = (seen[layer][name] for name in ("gate", "inputs", "routes"))
        experts, shared = anatomy.experts(layer), anatomy.shared(layer)
        assert routes.shape == (2, 10, 2)
        assert bool((routes[..., 1:] > routes[..., :-1]).all())
        for text in range(2):
            for token in range(10):
                x, parts = inputs[text, token], []
                for expert in routes[text, token].tolist():
                    full = experts.gate_up_proj[expert]
                    if name == "gpt_oss":
                        parts.append((x @ full + experts.gate_up_proj_bias[expert])[::2])
                    else:
                        parts.append((full @ x)[: full.shape[0] // 2])
                if shared is not None:
                    parts.append(shared.gate_proj.weight @ x)
                assert torch.allclose(gate[text, token], torch.cat(parts), atol=1e-10)


@pytest.mark.parametrize("implementation", ["eager", "grouped_mm", "batched_mm"])
def test_the_gate_does_not_depend_on_how_the_experts_are_run(implementation, tiny_of):
    model, seen = tiny_of("mixtral"), {}
    model.set_experts_implementation(implementation)
    with torch.no_grad():
        plain = model(IDS, use_cache=False).last_hidden_state
        with watch(model, gate=lambda layer, values: seen.update({layer: values})):
            assert torch.equal(model(IDS, use_cache=False).last_hidden_state, plain)
    reference = {}
    other = tiny_of("mixtral")
    other.set_experts_implementation("eager")
    with torch.no_grad(), watch(other, gate=lambda layer, values: reference.update({layer: values})):
        other(IDS, use_cache=False)
    for layer in range(3):
        assert torch.allclose(seen[layer], reference[layer], atol=1e-4)


@pytest.mark.parametrize("name", FAMILIES)
def test_stop_ends_a_pass_at_the_last_layer_of_experts(name, tiny_of):
    model, read = tiny_of(name), []
    with watch(model, gate=lambda layer, _: read.append(layer), layers=[0, 1], stop=True), torch.no_grad():
        model(IDS, use_cache=False)
        pytest.fail("what follows in the block is not run")
    assert read == [0, 1]


def test_a_weight_is_a_view_of_the_parameter():
    experts = TwoExperts()
    weight, bias = expert_weight(experts, 1, interleaved=False)
    assert weight.data_ptr() == experts.gate_up_proj[1].data_ptr()
    assert bias is None
