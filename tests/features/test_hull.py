"""Tests features/hull.py."""

import pytest
import torch
from splinelens.features.hull import hull_of

from splinelens.anatomy import anatomy_of
from splinelens.layers import AttentionCall, watch

IDS = torch.tensor([[5, 9, 17, 33, 60, 71, 20, 21, 22]])
GATED = {"qwen3_5", "qwen3_5_text", "qwen3_5_moe", "qwen3_5_moe_text", "qwen3_next"}


def called(model, layer, token):
    """The call of one token and the output of the attention's last linear map there."""
    anatomy, found = anatomy_of(model), {}
    handle = anatomy.output(layer).register_forward_hook(
        lambda _module, _args, out: found.update(output=out.clone().reshape(-1, out.shape[-1]))
    )
    reading = watch(model, attention=lambda _layer, call: found.update(call=call), layers=[layer])
    with reading, torch.no_grad():
        model(IDS, use_cache=False)
    handle.remove()
    return found["call"].part(0, token, token + 1), found["output"][token]


@pytest.mark.parametrize("name", ["llama", "mistral", "qwen2", "qwen3", "phi3", "gpt2", "gpt_neox", "opt"])
def test_the_minkowski_point_is_the_attentions_output(tiny_of, name):
    model = tiny_of(name).double()
    for layer in range(3):
        call, output = called(model, layer, 8)
        point = hull_of(anatomy_of(model), layer, call, 0, 0.1).point
        assert (point - output).abs().max() < 1e-10


def test_so_it_is_in_every_family_that_hands_over_values(any_model):
    anatomy = anatomy_of(any_model)
    for layer in anatomy.softmax_layers:
        call, output = called(any_model, layer, 6)
        hull = hull_of(anatomy, layer, call, 0, 0.1)
        if call.value is None:
            assert (hull.point, hull.measured, hull.heads[0].vertices) == (None, None, None)
        else:
            alike = torch.allclose(hull.point, output, rtol=1e-4, atol=1e-4)
            assert alike == (any_model.config.model_type not in GATED)
            assert all(rank <= bound for rank, bound in zip(hull.measured, hull.tight, strict=True))
        assert hull.tight[0] <= hull.tight[1] <= hull.loose[1]


def test_vertices_and_weights_of_all_keys_give_the_point(tiny_llama):
    model = tiny_llama.double()
    call, output = called(model, 1, 8)
    hull = hull_of(anatomy_of(model), 1, call, 0, 1e-9)  # next to every key is active
    total = sum(head.weights @ head.vertices for head in hull.heads)
    assert (total - output).abs().max() < 1e-6
    assert all(head.relative == 9 for head in hull.heads)


def test_active_keys_stand_in_the_order_of_their_weights(tiny_llama):
    call, _ = called(tiny_llama, 1, 8)
    keys = call.key[0].repeat_interleave(2, dim=0)
    weights = (call.scaling * call.query[0] @ keys.transpose(1, 2))[:, 0].softmax(-1)
    hull = hull_of(anatomy_of(tiny_llama), 1, call, 2, 0.1)
    for head, row in zip(hull.heads, weights, strict=True):
        order = [key for key in row.argsort(descending=True).tolist() if row[key] > 0.1 * row.max()]
        assert list(head.tokens) == [key - 2 for key in order]
        assert torch.allclose(head.weights, row[order], atol=1e-6)
        assert head.absolute == int((row > 0.1).sum())
        assert head.relative == len(order)


def test_the_measured_dimension_is_the_rank_of_all_edges(tiny_llama):
    model = tiny_llama.double()
    for token in (0, 1, 4, 8):
        call, _ = called(model, 2, token)
        hull = hull_of(anatomy_of(model), 2, call, 0, 0.05)
        for place, counts in enumerate(
            zip(*((head.absolute, head.relative) for head in hull.heads), strict=True)
        ):
            edges = [
                head.vertices[:count] - head.vertices[0]
                for head, count in zip(hull.heads, counts, strict=True)
                if count
            ]
            assert hull.measured[place] == torch.linalg.matrix_rank(torch.cat(edges))
            assert hull.tight[place] == min(sum(min(max(count - 1, 0), 8) for count in counts), 32)
            assert hull.loose[place] == sum(counts)


def test_keys_on_one_point_have_no_dimension(tiny_llama):
    call = AttentionCall(
        query=torch.randn(1, 4, 1, 8),
        key=torch.randn(1, 2, 20, 8),
        value=torch.randn(1, 2, 1, 8).expand(-1, -1, 20, -1),
        mask=None,
        scaling=0.01,
    )
    hull = hull_of(anatomy_of(tiny_llama), 0, call, 0, 0.1)
    assert hull.loose == (0, 80)  # 20 keys share the attention: none has more than 0.1
    assert hull.tight == (0, 32)
    assert hull.measured == (0, 0)


def test_keys_whose_values_differ_by_rounding_alone_have_no_dimension(tiny_llama):
    """A text of one token again and again: at layer 1 its values are equal in exact arithmetic."""
    ids, found = torch.full((1, 12), 7), {}
    for dtype in (torch.float32, torch.float64):
        model = tiny_llama.to(dtype)
        reading = watch(model, attention=lambda _layer, call: found.update(call=call), layers=[1])
        with reading, torch.no_grad():
            model(ids, use_cache=False)
        hull = hull_of(anatomy_of(model), 1, found["call"].part(0, 11, 12), 0, 0.05)
        assert hull.tight[1] > 0
        assert hull.measured == (0, 0)
    value = found["call"].value
    assert (value - value[:, :, :1]).abs().max() < 1e-12


def test_one_key_is_one_vertex(tiny_llama):
    call, output = called(tiny_llama, 0, 0)
    hull = hull_of(anatomy_of(tiny_llama), 0, call, 0, 0.1)
    assert (hull.tight, hull.loose, hull.measured) == ((0, 0), (4, 4), (0, 0))
    assert torch.allclose(sum(head.vertices[0] for head in hull.heads), output, atol=1e-5)
