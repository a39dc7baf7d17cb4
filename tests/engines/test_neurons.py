"""Tests ``engines/neurons.py``: gate neurons are removed, exactly where they never fire behind a ReLU."""

import pytest
import torch

from splinelens.anatomy import anatomy_of
from splinelens.engines.neurons import gate_occupancy, remove_neurons
from splinelens.engines.torch import run_tokens
from splinelens.errors import BadFeatures, BadModel

UNSIZED = ("bloom", "mpt")  # always four times the width
UNEQUAL = ("gemma4_text",)  # later layers are twice as wide
SIDE_CHANNELS = ("gemma4",)


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
    assert all(each.never == count and each.mass == 0 and each.error == 0 for each in removed)
    torch.testing.assert_close(_states(model, ids), expected, rtol=1e-5, atol=1e-5)
    for layer, each in enumerate(removed):
        kept = [neuron for neuron in range(48) if neuron not in each.neurons]
        assert anatomy_of(model).down(layer).weight.equal(downs[layer][:, kept])


def test_a_smaller_model_is_an_ordinary_one(any_model, tmp_path):
    ids, kind = _ids()[:1], any_model.config.model_type
    anatomy = anatomy_of(any_model)
    experts = any(anatomy.experts(layer) is not None for layer in range(3))
    copied = _copy(any_model)
    if experts or kind in (*UNSIZED, *UNEQUAL, *SIDE_CHANNELS):
        with pytest.raises((BadModel, BadFeatures)):
            list(remove_neurons(copied, 8, ids, torch.zeros(3, anatomy.neurons(0))))
        return
    removed = list(remove_neurons(copied, 8, ids, gate_occupancy(copied, ids)))
    assert [len(each.neurons) for each in removed] == [8, 8, 8]
    assert {anatomy_of(copied).neurons(layer) for layer in range(3)} == {anatomy.neurons(0) - 8}
    copied.save_pretrained(tmp_path)
    loaded = type(copied).from_pretrained(tmp_path).eval()
    torch.testing.assert_close(_states(loaded, ids), _states(copied, ids), rtol=1e-4, atol=1e-4)


def _copy(model):
    from copy import deepcopy

    return deepcopy(model)
