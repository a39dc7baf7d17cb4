"""Tests features/tokenwise.py."""

import numpy as np
import pytest
import splinelens.features.tokenwise as tokenwise
import torch
from splinelens.features.tokenwise import read_tokens, text_distances

from splinelens.errors import BadFeatures, BadTexts, NoTokens
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.codes import unpacked
from splinelens.models import LoadedModel
from splinelens.weights import routed_neurons

TEXT = "the thing you are after"


@pytest.fixture
def load(tiny_of, wrap):
    """Loads a tiny model of a family."""
    return lambda name, **changes: wrap(tiny_of(name, **changes))


@pytest.fixture
def slowly(slow_margins):
    """Margins of a text, (token, neuron) for each layer, from the weights and one unwatched pass."""

    def slowly(loaded, text, before=()):
        reader = TextReader(loaded, FeatureSpec(max_tokens=8))  # it cuts ids only when it runs them
        own = reader.tokenize([text])[0].ids
        return slow_margins(reader, [([*before, *own], slice(len(before), None))])

    return slowly


def bare(model, tokenizer):
    """A loaded model of any family, also of a language model among other parts."""
    depth = model.config.get_text_config().num_hidden_layers
    return LoadedModel(model.eval().requires_grad_(False), tokenizer, "tiny", None, depth, depth)


def attention_of(model, ids):
    """Attention weights of each layer, (head, token, key), from the stock eager implementation."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        found = model(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation("sdpa")
    return [layer[0] for layer in found]


def test_each_token_has_the_sign_wall_and_code_of_its_margins(tiny_model, wrap, slowly):
    loaded = wrap(tiny_model)
    reading = read_tokens(TEXT, loaded)
    for layer, margin in enumerate(slowly(loaded, TEXT)):
        assert reading.sign[layer] == pytest.approx((margin > 0).mean(axis=1))
        assert reading.boundary[layer] == pytest.approx(np.abs(margin).min(axis=1), abs=1e-5)
        assert reading.wall[layer].tolist() == np.abs(margin).argmin(axis=1).tolist()
        assert reading.neurons[layer] == 48
        assert (unpacked(reading.code(layer), 48).numpy() == (margin > 0)).all()
        assert reading.regions[layer] == len({row.tobytes() for row in margin > 0})
        assert len(set(reading.region_ids(layer))) == reading.regions[layer]


def test_the_seven_features_are_those_of_extract(any_model, tiny_tokenizer, rows):
    loaded = bare(any_model, tiny_tokenizer)
    row, _ = rows(loaded, [TEXT], features=("spline7",), pooling=("max",))
    assert read_tokens(TEXT, loaded).seven.ravel() == pytest.approx(row[0], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("eps", [0.05, 0.3])
def test_dimensions_count_the_weights_of_eager_attention(load, eps):
    loaded = load("llama")
    reading = read_tokens(TEXT, loaded, eps=eps)
    ids = loaded.tokenizer(TEXT).input_ids
    for layer, weights in enumerate(attention_of(loaded.model, ids)):
        relative = weights > eps * weights.amax(-1, keepdim=True)
        assert reading.dimension[0, layer].tolist() == (weights > eps).sum(-1).tolist()
        assert reading.dimension[1, layer].tolist() == relative.sum(-1).tolist()
        tight = (relative.sum(-1) - 1).clamp(max=8).sum(0).clamp(max=32)
        assert reading.bound[layer].tolist() == tight.tolist()


def test_a_prompt_is_attended_to_and_never_reported(load, slowly):
    loaded = load("llama")
    before = loaded.tokenizer("so it is ").input_ids
    reading = read_tokens(TEXT, loaded, prompt="so it is ")
    assert (reading.tokens, reading.before) == (len(loaded.tokenizer(TEXT).input_ids), len(before))
    for layer, margin in enumerate(slowly(loaded, TEXT, before)):
        assert reading.boundary[layer] == pytest.approx(np.abs(margin).min(axis=1), abs=1e-5)
    ids = [*before, *loaded.tokenizer(TEXT).input_ids]
    weights = attention_of(loaded.model, ids)[1][:, len(before) :]
    assert reading.dimension[0, 1].tolist() == (weights > 0.1).sum(-1).tolist()


@pytest.mark.parametrize("text", ["a", TEXT, TEXT * 2])
def test_windows_shorter_and_longer_than_the_text_are_the_models_own(load, text):
    loaded = load("mistral")  # its window is 16 tokens
    ids = loaded.tokenizer(text).input_ids
    for layer, weights in enumerate(attention_of(loaded.model, ids)):
        assert read_tokens(text, loaded).dimension[0, layer].tolist() == (weights > 0.1).sum(-1).tolist()


def test_what_stands_behind_a_token_does_not_change_it(load):
    loaded = load("qwen2")
    long, short = read_tokens(TEXT, loaded), read_tokens(TEXT[:9], loaded)
    count = short.tokens - 1  # the last token of the short one is another
    assert long.boundary[:, :count] == pytest.approx(short.boundary[:, :count], rel=1e-4, abs=1e-6)
    assert (long.dimension[..., :count] == short.dimension[..., :count]).all()


def test_layers_without_softmax_have_no_dimension(load):
    reading = read_tokens(TEXT, load("qwen3_next"))
    assert (reading.dimension[:, [0, 2]] == -1).all()
    assert (reading.bound[[0, 2]] == -1).all()
    assert (reading.dimension[:, 1] > 0).all()
    alone = read_tokens(TEXT, load("qwen3_next"), layers=[0])
    assert alone.dimension.shape == (2, 1, 4, alone.tokens)


def test_without_attention_all_else_is_the_same(load):
    loaded = load("llama")
    with_it, without = read_tokens(TEXT, loaded), read_tokens(TEXT, loaded, attention=False)
    assert (without.dimension == -1).all()
    assert (with_it.boundary == without.boundary).all()


def test_only_the_layers_asked_for_are_read(load):
    loaded = load("llama")
    ran = []
    handle = loaded.model.layers[2].register_forward_hook(lambda *_: ran.append(2))
    some, whole = read_tokens(TEXT, loaded, layers=[1]), read_tokens(TEXT, loaded)
    handle.remove()
    assert ran == [2]  # the first pass ended behind layer 1
    assert some.layers == (1,)
    assert (some.boundary[0] == whole.boundary[1]).all()
    assert (some.dimension[:, 0] == whole.dimension[:, 1]).all()


def test_inputs_and_call_are_kept_where_asked_for_only(load):
    loaded = load("llama")
    reading = read_tokens(TEXT, loaded, keep_inputs=[1], keep_call=(2, 3))
    assert list(reading.inputs) == [1]
    gate = reading.inputs[1] @ loaded.model.layers[1].mlp.gate_proj.weight.T
    assert (unpacked(reading.code(1), 48) == (gate > 0)).all()
    assert reading.call.query.shape == (1, 4, 1, 8)
    assert reading.call.key.shape == (1, 2, 4, 8)
    assert read_tokens(TEXT, loaded).call is None


def test_a_region_of_experts_is_named_by_experts_and_signs(load):
    loaded = load("mixtral")
    reading = read_tokens(TEXT, loaded)
    for layer in reading.layers:
        signs = unpacked(reading.code(layer), reading.neurons[layer]).tolist()
        pairs = {
            (tuple(routes), tuple(row))
            for routes, row in zip(reading.routes[layer].tolist(), signs, strict=True)
        }
        assert reading.regions[layer] == len(pairs)
        assert reading.neurons[layer] == 48
        assert ((reading.wall[layer] >= 0) & (reading.wall[layer] < 96)).all()


def test_the_wall_of_an_expert_is_the_nearest_of_those_it_is_routed_to(load):
    loaded = load("mixtral")
    reading = read_tokens(TEXT, loaded, keep_inputs=[1])
    weight = loaded.model.layers[1].mlp.experts.gate_up_proj[:, :24].reshape(96, 32)
    margin = (reading.inputs[1] @ weight.T) / weight.norm(dim=1)
    numbers = routed_neurons(loaded.model, 1, reading.routes[1])
    far = torch.full_like(margin, torch.inf).scatter(1, numbers, margin.abs().gather(1, numbers))
    assert reading.wall[1].tolist() == far.argmin(dim=1).tolist()
    assert reading.boundary[1] == pytest.approx(far.amin(dim=1).numpy(), abs=1e-6)


def test_a_dead_neuron_is_no_wall(tiny_of, wrap):
    model = tiny_of("llama")
    nearest = read_tokens(TEXT, wrap(model)).wall[1, 4]
    model = tiny_of("llama")
    model.layers[1].mlp.gate_proj.weight.data[nearest] = 0
    after = read_tokens(TEXT, wrap(model))
    assert after.wall[1, 4] != nearest
    assert after.boundary[1, 4] > 0


def test_a_layer_without_any_wall_is_infinitely_far(tiny_of, wrap):
    model = tiny_of("llama")
    model.layers[1].mlp.gate_proj.weight.data.zero_()
    reading = read_tokens(TEXT, wrap(model))
    assert (reading.wall[1] == -1).all()
    assert np.isinf(reading.boundary[1]).all()


@pytest.mark.parametrize("name", ["llama", "mixtral", "qwen2_moe"])
def test_the_distance_of_two_texts_is_the_mean_over_all_pairs_of_tokens(load, name):
    loaded = load(name)
    one, other = read_tokens(TEXT, loaded), read_tokens("so it is", loaded)
    signs = [[signs_of(loaded, each, layer) for layer in each.layers] for each in (one, other)]
    expected = [
        (left[:, None] != right[None]).float().mean().item() for left, right in zip(*signs, strict=True)
    ]
    assert text_distances(loaded, one, other) == pytest.approx(expected, abs=1e-6)
    assert text_distances(loaded, one, other) == pytest.approx(text_distances(loaded, other, one))


def signs_of(loaded, reading, layer):
    """The signs of all neurons of a layer at each token; those not routed to are off."""
    own = unpacked(reading.code(layer), reading.neurons[layer])
    if layer not in reading.routes:
        return own
    numbers = routed_neurons(loaded.model, layer, reading.routes[layer])
    size = 4 * 24 + (20 if loaded.model.config.model_type == "qwen2_moe" else 0)
    return torch.zeros(len(own), size, dtype=torch.bool).scatter(1, numbers, own)


@pytest.mark.parametrize(
    ("text", "wording"),
    [
        ("", "the text is empty; give one with at least one token"),
        ("  \n ", "the text is only white space; give one"),
        ("a\0b", "the text has a NUL character at position 1"),
    ],
)
def test_a_text_without_tokens_is_refused(load, text, wording):
    with pytest.raises(NoTokens, match=wording):
        read_tokens(text, load("llama"))


def test_a_text_that_is_too_long_is_refused_with_what_to_pass(load):
    wording = (
        r"the text has 10,000 tokens; inspect reads at most 2,048: pass max_tokens=10000 "
        r"\(command line: --max-tokens 10000\), or a shorter text"
    )
    with pytest.raises(BadTexts, match=wording):
        read_tokens("!" * 10_000, load("llama", max_position_embeddings=16_384))
    with pytest.raises(
        BadTexts, match="10,000 tokens: that exceeds the 256 positions of tiny; give a shorter"
    ):
        read_tokens("!" * 10_000, load("llama"))  # passing max_tokens would not help
    with pytest.raises(BadTexts, match="max_tokens=0: need a positive number"):
        read_tokens("a", load("llama"), max_tokens=0)


def test_a_text_longer_than_the_models_positions_is_refused(load):
    with pytest.raises(
        BadTexts,
        match="has 255 tokens and 2 more come before it: that exceeds the 256 positions of tiny; give a",
    ):
        read_tokens("!" * 255, load("llama"), prompt="so")
    assert read_tokens("!" * 256, load("llama")).tokens == 256


def test_longrope_turns_no_token_by_another_angle_and_longer_texts_are_refused(longrope, wrap, slowly):
    loaded = wrap(longrope)
    for text, prompt in ((TEXT * 3, ""), (TEXT * 2, "so it is the ")):
        before = loaded.tokenizer(prompt).input_ids if prompt else ()
        reading = read_tokens(text, loaded, prompt=prompt)
        assert 32 < len(before) + reading.tokens <= 40  # padded to 48, and yet
        for layer, margin in enumerate(slowly(loaded, text, before)):
            assert reading.boundary[layer] == pytest.approx(np.abs(margin).min(axis=1), abs=1e-6)
            assert (unpacked(reading.code(layer), 48).numpy() == (margin > 0)).all()
    assert read_tokens("!" * 40, loaded).tokens == 40
    wording = (
        "the text has 39 tokens and 2 more come before it: that exceeds the 40 positions that tiny turns"
    )
    with pytest.raises(BadTexts, match=wording):
        read_tokens("!" * 39, loaded, prompt="so")


def test_of_a_named_model_only_the_layers_needed_are_loaded(tiny_llama, wrap, monkeypatch):
    asked = []

    def load_model(name, *, layers):
        asked.append((name, layers))
        return wrap(tiny_llama)

    monkeypatch.setattr(tokenwise, "load_model", load_model)
    named = read_tokens(TEXT, "some model", layers=[1, 0])
    assert (named.sign == read_tokens(TEXT, wrap(tiny_llama), layers=[0, 1]).sign).all()
    read_tokens(TEXT)
    assert asked == [("some model", 2), ("smollm2-135m", None)]


@pytest.mark.parametrize("eps", [0.0, 1.0, -0.1, float("nan")])
def test_a_threshold_outside_0_and_1_is_refused(load, eps):
    with pytest.raises(BadFeatures, match=r"eps is .*pass a number above 0 and below 1"):
        read_tokens(TEXT, load("llama"), eps=eps)


def test_layers_and_tokens_that_do_not_exist_are_refused(load):
    loaded = load("llama")
    with pytest.raises(BadFeatures, match=r"layers \[3\] do not exist: the model has 3 blocks, 0 to 2"):
        read_tokens(TEXT, loaded, layers=[0, 3])
    with pytest.raises(BadFeatures, match="no layer to read; name at least one"):
        read_tokens(TEXT, loaded, layers=[])
    with pytest.raises(BadFeatures, match="token 12 does not exist: the text has 12 tokens, 0 to 11"):
        read_tokens(TEXT, loaded, keep_call=(0, 12))
    with pytest.raises(BadFeatures, match=r"no call to keep at layer 7: the layers that are read are 0$"):
        read_tokens(TEXT, loaded, layers=[0], keep_call=(7, 0))
    with pytest.raises(BadFeatures, match="no call to keep without attention"):
        read_tokens(TEXT, loaded, keep_call=(0, 0), attention=False)
    with pytest.raises(BadFeatures, match=r"no inputs to keep at layer 1: the layers that are read are 0$"):
        read_tokens(TEXT, loaded, layers=[0], keep_inputs=[1])
    with pytest.raises(BadFeatures, match=r"inputs of layer 0 were not kept: pass keep_inputs=\[0\]"):
        read_tokens(TEXT, loaded).inputs[0]


def test_activations_that_are_not_finite_are_named_by_layer_and_token(tiny_of, wrap):
    model = tiny_of("llama")
    loaded = wrap(model)
    ids = loaded.tokenizer(TEXT).input_ids
    only = next(place for place, token in enumerate(ids) if token not in ids[:place] and place > 3)
    model.embed_tokens.weight.data[ids[only]] = torch.nan
    with pytest.raises(
        BadFeatures, match=rf"not finite at layer 0, token {only} \(characters \d+ to \d+\); load the model"
    ):
        read_tokens(TEXT, loaded)
    model = tiny_of("llama")
    model.layers[1].mlp.down_proj.weight.data[0, 0] = torch.inf
    with pytest.raises(BadFeatures, match="not finite at layer 1, token 0"):
        read_tokens(TEXT, wrap(model))


def test_a_prompt_that_is_not_finite_is_not_blamed_on_the_text(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = torch.inf
    with pytest.raises(
        BadFeatures,
        match="the text gives activations that are not finite: the prompt before it does already; ",
    ):
        read_tokens("you", loaded, prompt="Hm~ ")


def test_what_fails_only_once_is_named_where_it_was_seen(tiny_llama, wrap, monkeypatch):
    tiny_llama.layers[1].mlp.gate_proj.register_forward_hook(
        lambda _module, _args, gate: gate.masked_fill(torch.arange(gate.shape[1])[:, None] >= 5, torch.nan)
    )
    monkeypatch.setattr(tokenwise, "failing_layer", lambda *_: None)
    with pytest.raises(
        BadFeatures, match=r"at layer 1, token 5 \(characters .* not when it is run again; load"
    ):
        read_tokens(TEXT, wrap(tiny_llama))


def test_a_layer_below_0_is_refused_before_a_model_is_looked_for():
    with pytest.raises(BadFeatures, match=r"layers \[-2, -1\] do not exist: they are counted from 0"):
        read_tokens(TEXT, "no/such-model", layers=[0, -2, -1])
