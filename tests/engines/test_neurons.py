"""Tests ``engines/neurons.py``: gate neurons are removed, exactly where they never fire behind a ReLU."""

import pytest
import torch

from splinelens.anatomy import anatomy_of
from splinelens.engines.neurons import gate_occupancy, remove_neurons
from splinelens.engines.torch import run_tokens
from splinelens.errors import BadFeatures, BadModel


def _ids():
    return torch.randint(4, 128, (4, 32))


def _states(model, ids):
    positions = torch.arange(ids.shape[1]).expand_as(ids)
    return run_tokens(model, ids, positions).last_hidden_state


def _never_firing(model, count):
    """Give each block neurons whose gate is negative everywhere, as far as the bias reaches."""
    anatomy = anatomy_of(model)
    with torch.no_grad():
        for layer in range(anatomy.depth):
            anatomy.gate(layer).bias[5 : 5 + count] = -100.0


def test_occupancy_is_the_share_of_tokens_with_a_positive_gate(tiny_model):
    ids, gates = _ids(), []
    anatomy = anatomy_of(tiny_model)

    def keep(_module, _args, out):
        gates.append(out[..., : out.shape[-1] // 2] if anatomy.family.fused else out)

    handle = anatomy.gate(1).register_forward_hook(keep)
    _states(tiny_model, ids)
    handle.remove()
    expected = (gates[0].reshape(-1, gates[0].shape[-1]) > 0).float().mean(dim=0)
    torch.testing.assert_close(gate_occupancy(tiny_model, ids)[1], expected)


@pytest.mark.parametrize("family", ["opt", "llama"])
def test_removing_relu_neurons_that_never_fire_is_exact(tiny_of, family):
    changes = {"hidden_act": "relu", "mlp_bias": True} if family == "llama" else {}
    model, ids = tiny_of(family, **changes), _ids()
    _never_firing(model, 7)
    expected, occupancy = _states(model, ids), gate_occupancy(model, ids)
    downs = [anatomy_of(model).down(layer).weight.clone() for layer in range(3)]
    count = int((occupancy == 0).sum(dim=1).min())
    assert count >= 7
    removed = list(remove_neurons(model, count, ids, occupancy, highest=0.0))
    assert all((each.silent, each.activation_share, each.output_change) == (count, 0, 0) for each in removed)
    torch.testing.assert_close(_states(model, ids), expected, rtol=1e-5, atol=1e-5)
    for layer, each in enumerate(removed):
        kept = [neuron for neuron in range(48) if neuron not in each.neurons]
        assert anatomy_of(model).down(layer).weight.equal(downs[layer][:, kept])


def test_a_block_that_never_fires_loses_nothing(tiny_of):
    model, ids = tiny_of("llama", hidden_act="relu", mlp_bias=True), _ids()
    with torch.no_grad():
        model.layers[1].mlp.gate_proj.bias.fill_(-100)
    removed = list(remove_neurons(model, 5, ids, gate_occupancy(model, ids)))
    assert (removed[1].silent, removed[1].activation_share, removed[1].output_change) == (5, 0, 0)


def test_a_smaller_model_is_an_ordinary_one(tiny_model, tmp_path):
    ids = _ids()
    removed = list(remove_neurons(tiny_model, 8, ids, gate_occupancy(tiny_model, ids)))
    assert [len(each.neurons) for each in removed] == [8, 8, 8]
    assert {anatomy_of(tiny_model).neurons(layer) for layer in range(3)} == {40}
    tiny_model.save_pretrained(tmp_path)
    loaded = type(tiny_model).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(_states(loaded, ids), _states(tiny_model, ids), rtol=1e-4, atol=1e-4)


def test_the_refit_lowers_the_change_of_the_output(tiny_llama):
    ids = _ids()
    down = tiny_llama.layers[0].mlp.down_proj
    activations = []
    handle = down.register_forward_pre_hook(lambda _module, args: activations.append(args[0].flatten(0, 1)))
    _states(tiny_llama, ids)
    handle.remove()
    dense = down.weight.detach().clone()
    first = next(iter(remove_neurons(tiny_llama, 12, ids, gate_occupancy(tiny_llama, ids))))
    kept = [neuron for neuron in range(48) if neuron not in first.neurons]
    outputs = activations[0] @ dense.T
    changes = [
        float((activations[0][:, kept] @ weight.T - outputs).square().sum() / outputs.square().sum())
        for weight in (down.weight, dense[:, kept])
    ]
    assert changes[0] == pytest.approx(first.output_change, rel=1e-3)
    assert changes[0] < changes[1]


@pytest.mark.parametrize("family", ["bloom", "mpt", "mixtral", "gemma4", "gemma4_text"])
def test_models_that_cannot_lose_neurons_are_refused(tiny_of, family):
    model = tiny_of(family)
    with pytest.raises(
        BadModel, match=r"no number of neurons|must have one number|consists of experts|one by one"
    ):
        next(remove_neurons(model, 8, _ids(), torch.zeros(3, anatomy_of(model).neurons(0))))


def test_occupancy_of_experts_is_refused(tiny_of):
    with pytest.raises(BadModel, match="layer 0 of MixtralModel consists of experts"):
        gate_occupancy(tiny_of("mixtral"), _ids())


def test_no_more_neurons_go_than_each_block_may_lose(tiny_llama):
    occupancy = torch.ones(3, 48)
    occupancy[0], occupancy[1, :5], occupancy[2, :9] = 0, 0, 0
    with pytest.raises(BadFeatures, match="cannot remove 6 neurons: layer 1 has 5 of 48"):
        next(remove_neurons(tiny_llama, 6, _ids(), occupancy, highest=0.0))
    removed = list(remove_neurons(tiny_llama, 5, _ids(), occupancy, highest=0.0))
    assert removed[1].neurons == (0, 1, 2, 3, 4)
