"""Tests layers/attention.py: the call holds what the model attention computes with."""

import pytest
import torch

from splinelens.anatomy import anatomy_of
from splinelens.engines.torch import run_tokens
from splinelens.errors import BadFeatures
from splinelens.layers import AttentionCall, watch

IDS = torch.arange(4, 44).reshape(2, 20)
LEFT = torch.ones(2, 20, dtype=torch.long)
LEFT[0, :7] = 0
PLACES = torch.arange(20).expand(2, -1)


def run(model, mask=None, **options):
    with torch.no_grad():
        return model(IDS, attention_mask=mask, use_cache=False, **options)


def softmax_layers(model):
    anatomy = anatomy_of(model)
    return [layer for layer in range(anatomy.depth) if anatomy.attention(layer) is not None]


def weights_of(call):
    """The attention weights that a call leads to, all at once and in plain steps."""
    if call.weights is not None:
        return call.weights
    heads, queries, keys = call.query.shape[1], call.query.shape[2], call.key.shape[2]
    key = call.key.repeat_interleave(heads // call.key.shape[1], dim=1)
    scores = call.query @ key.transpose(-1, -2) * call.scaling
    if call.softcap is not None:
        scores = call.softcap * torch.tanh(scores / call.softcap)
    mask = call.mask
    if mask is None:
        mask = torch.ones(queries, keys, dtype=torch.bool).tril(keys - queries)
    scores = scores.masked_fill(~mask, -torch.inf) if mask.dtype == torch.bool else scores + mask
    if call.sinks is not None:
        sinks = call.sinks[None, :, None, None].expand(*scores.shape[:3], 1)
        return torch.cat([scores, sinks], dim=-1).softmax(-1)[..., :-1]
    return scores.softmax(-1)


@pytest.mark.parametrize("mask", [None, LEFT], ids=["whole", "padded left"])
def test_the_weights_of_the_call_are_those_of_eager_attention(any_model, mask):
    layers, seen, hooked, handles = softmax_layers(any_model), {}, {}, []
    with watch(
        any_model, attention=lambda layer, call: seen.update({layer: weights_of(call)}), layers=layers
    ):
        run(any_model, mask)
    for layer in layers:
        handles.append(
            anatomy_of(any_model)
            .attention(layer)
            .register_forward_hook(lambda _, __, out, layer=layer: hooked.update({layer: out[1]}))
        )
    any_model.config._attn_implementation = "eager"
    run(any_model, mask)
    for layer in layers:
        if any_model.config.model_type == "granite_swa":  # it scales the outcome, not the weights
            seen[layer] = seen[layer] / seen[layer].sum(-1, keepdim=True)
        own = LEFT.bool()[:, None, :, None] if mask is not None else torch.ones(2, 1, 20, 1, dtype=torch.bool)
        assert torch.allclose(seen[layer].where(own, 0.0), hooked[layer].where(own, 0.0), atol=1e-5)


def test_watching_attention_changes_nothing_and_leaves_nothing(any_model):
    layers = softmax_layers(any_model)
    before, name = run(any_model).last_hidden_state, any_model.config._attn_implementation
    read = []
    with watch(any_model, attention=lambda layer, _: read.append(layer), layers=layers):
        watched = run(any_model).last_hidden_state
    assert read == layers
    assert any_model.config._attn_implementation == name
    assert torch.equal(run(any_model).last_hidden_state, before)
    if any_model.config.model_type == "falcon":  # it watches eager attention, and its own is another
        assert torch.allclose(watched, before, atol=1e-4)
    else:
        assert torch.equal(watched, before)


def test_the_implementation_is_named_back_after_an_exception(tiny_llama):
    def reader(layer, _):
        raise KeyError("stop")

    with pytest.raises(KeyError, match="stop"), watch(tiny_llama, attention=reader):
        run(tiny_llama)
    assert tiny_llama.config._attn_implementation == "sdpa"
    with watch(tiny_llama, attention=lambda *_: None, layers=[]):
        run(tiny_llama)


def test_only_the_requested_layers_are_read(tiny_llama):
    read = []
    with watch(tiny_llama, attention=lambda layer, _: read.append(layer), layers=[2, 0]):
        run(tiny_llama)
    assert read == [0, 2]


def test_stop_ends_the_pass_at_the_last_attention(tiny_llama):
    read = []
    with watch(tiny_llama, attention=lambda layer, _: read.append(layer), layers=[1], stop=True):
        run(tiny_llama)
        pytest.fail("what follows in the block is not run")
    assert read == [1]


def test_stop_waits_for_every_reader_of_the_last_layer(tiny_model):
    read = []
    with watch(
        tiny_model,
        attention=lambda layer, _: read.append(("attention", layer)),
        inputs=lambda layer, _: read.append(("inputs", layer)),
        gate=lambda layer, _: read.append(("gate", layer)),
        layers=[0, 1],
        stop=True,
    ):
        run(tiny_model)
        pytest.fail("what follows in the block is not run")
    assert sorted(read) == sorted(
        (kind, layer) for kind in ("attention", "inputs", "gate") for layer in (0, 1)
    )


def test_a_watch_inside_another_hands_over_to_both(tiny_llama):
    outer, inner = [], []
    with watch(tiny_llama, attention=lambda layer, _: outer.append(layer)):
        with watch(tiny_llama, attention=lambda layer, _: inner.append(layer), layers=[1]):
            run(tiny_llama)
        run(tiny_llama)
    assert outer == [0, 1, 2, 0, 1, 2]
    assert inner == [1]
    assert tiny_llama.config._attn_implementation == "sdpa"


def test_two_models_do_not_mix(tiny_of):
    one, two, seen = tiny_of("llama"), tiny_of("llama", seed=1), []
    with (
        watch(one, attention=lambda *_: seen.append("one")),
        watch(two, attention=lambda *_: seen.append("two")),
    ):
        run(two)
    assert seen == ["two"] * 3


def test_cached_keys_come_first(tiny_llama):
    from transformers import DynamicCache

    cache, seen = DynamicCache(), []
    with torch.no_grad():
        whole = []
        with watch(tiny_llama, attention=lambda _, call: whole.append(weights_of(call))):
            tiny_llama(IDS)
        run_tokens(tiny_llama, IDS[:, :12], PLACES[:, :12], cache=cache)
        with watch(tiny_llama, attention=lambda _, call: seen.append(weights_of(call))):
            run_tokens(tiny_llama, IDS[:, 12:], PLACES[:, 12:], cache=cache)
    for all_at_once, later in zip(whole, seen, strict=True):
        assert later.shape == (2, 4, 8, 20)
        assert torch.allclose(all_at_once[:, :, 12:], later, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "mistral", "gpt_oss", "bloom"])
@pytest.mark.parametrize("mask", [None, LEFT], ids=["whole", "padded left"])
def test_a_part_has_the_weights_of_its_tokens(name, mask, tiny_of):
    calls, model = [], tiny_of(name)
    with watch(model, attention=lambda _, call: calls.append(call)):
        run(model, mask)
    assert len(calls) == 3
    for call in calls:
        whole = weights_of(call)
        for row, start, stop in ((0, 8, 20), (1, 0, 3), (1, 19, 20)):
            found = weights_of(call.part(row, start, stop))
            assert found.shape == (1, 4, stop - start, stop)
            assert torch.allclose(found[0], whole[row, :, start:stop, :stop], atol=1e-6)


def test_a_part_of_a_call_with_cached_keys_keeps_all_of_them(tiny_llama):
    from transformers import DynamicCache

    cache, calls = DynamicCache(), []
    with torch.no_grad(), watch(tiny_llama, attention=lambda _, call: calls.append(call)):
        run_tokens(tiny_llama, IDS[:, :12], PLACES[:, :12], cache=cache)
        run_tokens(tiny_llama, IDS[:, 12:], PLACES[:, 12:], cache=cache)
    call = calls[3]
    part = call.part(1, 2, 5)
    assert torch.equal(part.key, call.key[1:, :, :17])
    assert torch.equal(part.value, call.value[1:, :, :17])
    assert torch.allclose(weights_of(part)[0], weights_of(call)[1, :, 2:5, :17], atol=1e-6)
    assert torch.equal(part.part(0, 1, 2).query, call.part(1, 3, 4).query)  # parts of parts


def test_a_part_of_weights_ends_at_its_last_token_behind_the_cached_keys():
    weights = torch.rand(2, 4, 5, 7)
    part = AttentionCall(None, None, None, None, 1.0, weights=weights).part(1, 2, 4)
    assert torch.equal(part.weights, weights[1:, :, 2:4, :6])
    assert (part.query, part.key, part.value, part.mask) == (None, None, None, None)


def test_a_mask_for_all_texts_is_that_of_each():
    query, mask = torch.rand(2, 4, 5, 8), torch.rand(1, 1, 5, 5)
    part = AttentionCall(query, query, query, mask, 1.0).part(1, 2, 4)
    assert torch.equal(part.mask, mask[:, :, 2:4, :4])


@pytest.mark.parametrize("name", ["qwen3_next", "qwen3_5_text", "olmo_hybrid"])
def test_linear_attention_says_that_it_has_no_softmax(name, tiny_of):
    model = tiny_of(name)
    there = softmax_layers(model)
    lacking = sorted(set(range(3)) - set(there))
    assert lacking
    with (
        pytest.raises(BadFeatures, match=rf"layers \[{lacking[0]}.*no softmax.*attention can: \[{there[0]}"),
        watch(model, attention=lambda *_: None),
    ):
        pass


def test_an_implementation_that_keeps_its_scores_is_refused(tiny_llama):
    tiny_llama.config._attn_implementation = "flex_attention"
    with (
        pytest.raises(BadFeatures, match="'flex_attention' does not expose its scores; load the model with"),
        watch(tiny_llama, attention=lambda *_: None),
    ):
        pass
    assert tiny_llama.config._attn_implementation == "flex_attention"


def test_a_module_that_gives_no_weights_is_refused(tiny_of):
    model = tiny_of("bloom")
    attention = anatomy_of(model).attention(1)
    attention.register_forward_hook(lambda _module, _args, out: (out[0], None))
    with (
        pytest.raises(BadFeatures, match="BloomAttention of layer 1 returns no attention weights; load"),
        watch(model, attention=lambda *_: None),
    ):
        run(model)


def test_the_last_watch_out_names_the_implementation_back(tiny_llama):
    first, second = (watch(tiny_llama, attention=lambda *_: None) for _ in range(2))
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert tiny_llama.config._attn_implementation == "splinelens_sdpa"
    second.__exit__(None, None, None)
    assert tiny_llama.config._attn_implementation == "sdpa"


def test_an_attention_class_derived_elsewhere_runs_eagerly(tiny_llama):
    attention = type(tiny_llama.layers[0].self_attn)
    for layer in tiny_llama.layers:
        layer.self_attn.__class__ = type("Mine", (attention,), {"__module__": __name__})
    tiny_llama.config._attn_implementation = "eager"
    plain, read = run(tiny_llama).last_hidden_state, []
    with watch(tiny_llama, attention=lambda layer, _: read.append(layer)):
        assert torch.equal(run(tiny_llama).last_hidden_state, plain)
    assert read == [0, 1, 2]
