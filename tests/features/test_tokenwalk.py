"""Tests features/tokenwalk.py."""

import pytest
import torch

from splinelens.features.tokenwalk import TokenWalk, call_of
from splinelens.layers import AttentionCall, watch


def random_call(tokens=7, mask=None):
    return AttentionCall(
        query=torch.randn(1, 4, tokens, 8),
        key=torch.randn(1, 2, tokens, 8),
        value=torch.randn(1, 2, tokens, 8),
        mask=mask,
        scaling=0.3,
    )


def full_weights(call):
    """Attention weights (head, token, key) from the whole softmax."""
    keys = call.key[0].repeat_interleave(2, dim=0)
    scores = call.scaling * call.query[0] @ keys.transpose(1, 2)
    tokens, count = scores.shape[1:]
    seen = torch.ones(tokens, count, dtype=torch.bool).tril(count - tokens)
    seen = seen if call.mask is None else call.mask[0]
    return scores.masked_fill(~seen, -torch.inf).softmax(-1)


@pytest.mark.parametrize("masked", [True, False])
def test_a_part_of_a_call_gives_the_same_weights(masked):
    window = torch.ones(7, 7, dtype=torch.bool).tril().triu(-2)[None, None]
    call = random_call(mask=window if masked else None)
    part = call_of(call, 2, 5)
    assert (part.query.shape[2], part.key.shape[2], part.value.shape[2]) == (3, 5, 5)
    assert torch.allclose(full_weights(part), full_weights(call)[:, 2:5, :5])


def test_a_part_of_weights_ends_at_its_last_token():
    weights = torch.rand(1, 4, 7, 7)
    call = AttentionCall(None, None, None, None, 1.0, weights=weights)
    part = call_of(call, 2, 5)
    assert torch.equal(part.weights, weights[:, :, 2:5, :5])
    assert part.query is None


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
