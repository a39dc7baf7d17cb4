"""Tests features/tokenwalk.py."""

import pytest
import torch
from splinelens.features.reading import BatchReader
from splinelens.features.tokenwalk import TokenWalk
from torch import Tensor

from splinelens.anatomy import anatomy_of
from splinelens.features.catalogue import statistics
from splinelens.layers import watch
from splinelens.weights import gate_norms, gate_weight


def test_a_walk_reads_the_span_only(tiny_llama):
    ids = torch.tensor([[5, 9, 17, 33, 60, 71]])
    walk = TokenWalk(tiny_llama, (2, 5), 0.1, (1, 0))
    with watch(tiny_llama, gate=walk.gate, attention=walk.attention, inputs=walk.input), torch.no_grad():
        tiny_llama(ids, use_cache=False)
    assert walk.numbers[0].shape == (2, 3)
    assert walk.counts[0].shape == (2, 4, 3)
    assert walk.inputs[2].shape == (3, 32)
    assert walk.call.key.shape[2] == 3  # the keys up to the span's first token
    dimension, bound = walk.dimensions([0, 2])
    assert (dimension[:, 1] == walk.counts[2].numpy()).all()
    assert (bound[0] == walk.bounds[0].numpy()).all()


def test_layers_that_were_not_read_have_no_dimension(tiny_llama):
    dimension, bound = TokenWalk(tiny_llama, (0, 3), 0.1, None).dimensions([0, 1])
    assert dimension.shape == (2, 2, 4, 3)
    assert (dimension == -1).all()
    assert (bound == -1).all()


@pytest.mark.parametrize("name", ["llama", "mistral", "bloom"])
def test_a_call_that_is_kept_holds_no_more_than_its_own_numbers(tiny_of, name):
    """Not the T x T tensors of the pass: Mistral's mask with its window, BLOOM's weights."""
    model = tiny_of(name).eval()
    walk = TokenWalk(model, (0, 40), 0.1, (1, 20))
    with watch(model, gate=walk.gate, attention=walk.attention), torch.no_grad():
        model(torch.arange(4, 44)[None], use_cache=False)
    kept = [value for value in vars(walk.call).values() if isinstance(value, Tensor)]
    assert kept
    for value in kept:
        assert value.untyped_storage().nbytes() == value.numel() * value.element_size()


@pytest.mark.parametrize("name", ["llama", "gpt2", "mixtral", "qwen2_moe"])
def test_dead_neurons_are_as_far_as_in_a_batch(tiny_of, name):
    """One rule for dense layers and layers of experts, token by token and in a batch."""
    model, layers, ids = tiny_of(name).requires_grad_(False), (0, 1, 2), torch.arange(4, 24)[None]
    for layer in layers:
        experts = anatomy_of(model).experts(layer)
        weight = gate_weight(anatomy_of(model), layer) if experts is None else experts.gate_up_proj
        weight[: len(weight) // 2] = 0  # in place: half of the neurons, or half of the experts
    walk = TokenWalk(model, (0, 20), 0.1, None)
    reader = BatchReader(model, statistics(["spline7"], ()), layers, [(0, 20)])
    with torch.no_grad():
        (row,) = reader.read(lambda: model(ids, use_cache=False))
        with watch(model, gate=walk.gate, routes=walk.route):
            model(ids, use_cache=False)
    numbers = torch.stack([walk.numbers[layer] for layer in layers], dim=1).numpy()
    assert (numbers == row.series).all()
    assert (numbers[1] > 0).all()
    norms = [gate_norms(model, layer) for layer in layers]
    assert all((norms[layer][walk.walls[layer]] > 0).all() for layer in layers)


class QuantisedLinear(torch.nn.Module):
    """A linear map whose weight is stored as whole numbers."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach()
        self.scale = float(weight.abs().max()) / 127
        self.weight = torch.nn.Parameter((weight / self.scale).round().to(torch.int8), False)

    def forward(self, states):
        return states @ (self.scale * self.weight.float()).T


def test_the_bound_needs_no_output_weight_where_there_are_values(tiny_llama):
    """A quantised output projection cannot be read, and need not be."""
    for block in tiny_llama.layers:
        block.self_attn.o_proj = QuantisedLinear(block.self_attn.o_proj)
    walk = TokenWalk(tiny_llama, (0, 20), 0.1, None)
    with watch(tiny_llama, attention=walk.attention), torch.no_grad():
        tiny_llama(torch.arange(4, 24)[None], use_cache=False)
    for layer, counts in walk.counts.items():
        assert torch.equal(walk.bounds[layer], (counts[1] - 1).clamp(0, 8).sum(dim=0).clamp(max=32))
