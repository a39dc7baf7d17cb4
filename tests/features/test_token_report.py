"""Tests features/token_report.py."""

import jaxtyping
import numpy as np
import pytest
import torch

from splinelens.errors import BadFeatures, BadTexts, NoTokens
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.token_report import read_tokens, text_distances
from splinelens.geometry.codes import unpacked
from splinelens.models import LoadedModel
from splinelens.models.load import load_up_to
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
        ids = reader.tokenize([text])[0].ids
        return slow_margins(reader, [([*before, *ids], slice(len(before), None))])

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
    report = read_tokens(TEXT, loaded)
    for layer, margin in enumerate(slowly(loaded, TEXT)):
        assert report.sign[layer] == pytest.approx((margin > 0).mean(axis=1))
        assert report.boundary[layer] == pytest.approx(np.abs(margin).min(axis=1), abs=1e-5)
        assert report.nearest_wall[layer].tolist() == np.abs(margin).argmin(axis=1).tolist()
        assert report.neuron_count[layer] == 48
        assert (unpacked(report.code(layer), 48).numpy() == (margin > 0)).all()
        assert report.regions[layer] == len({row.tobytes() for row in margin > 0})
        assert len(set(report.region_ids(layer))) == report.regions[layer]


def test_the_seven_features_are_those_of_extract(any_model, tiny_tokenizer, rows):
    loaded = bare(any_model, tiny_tokenizer)
    row, _ = rows(loaded, [TEXT], features=("spline7",), pooling=("max",))
    assert read_tokens(TEXT, loaded).seven.ravel() == pytest.approx(row[0], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("eps", [0.05, 0.3])
def test_dimensions_count_the_weights_of_eager_attention(load, eps):
    loaded = load("llama")
    report = read_tokens(TEXT, loaded, eps=eps)
    ids = loaded.tokenizer(TEXT).input_ids
    for layer, weights in enumerate(attention_of(loaded.model, ids)):
        relative = weights > eps * weights.amax(-1, keepdim=True)
        assert report.dimension[0, layer].tolist() == (weights > eps).sum(-1).tolist()
        assert report.dimension[1, layer].tolist() == relative.sum(-1).tolist()
        tight = (relative.sum(-1) - 1).clamp(max=8).sum(0).clamp(max=32)
        assert report.bound[layer].tolist() == tight.tolist()


def test_a_prompt_is_attended_to_and_never_reported(load, slowly):
    loaded = load("llama")
    before = loaded.tokenizer("so it is ").input_ids
    report = read_tokens(TEXT, loaded, prompt="so it is ")
    assert (report.tokens, report.before) == (len(loaded.tokenizer(TEXT).input_ids), len(before))
    for layer, margin in enumerate(slowly(loaded, TEXT, before)):
        assert report.boundary[layer] == pytest.approx(np.abs(margin).min(axis=1), abs=1e-5)
    ids = [*before, *loaded.tokenizer(TEXT).input_ids]
    weights = attention_of(loaded.model, ids)[1][:, len(before) :]
    assert report.dimension[0, 1].tolist() == (weights > 0.1).sum(-1).tolist()


@pytest.mark.parametrize("text", ["a", TEXT, TEXT * 2])
def test_windows_shorter_and_longer_than_the_text_are_the_models_own(load, text):
    loaded = load("mistral")  # its window is 16 tokens
    ids = loaded.tokenizer(text).input_ids
    for layer, weights in enumerate(attention_of(loaded.model, ids)):
        assert read_tokens(text, loaded).dimension[0, layer].tolist() == (weights > 0.1).sum(-1).tolist()


def test_what_comes_after_a_token_does_not_change_it(load):
    loaded = load("qwen2")
    long, short = read_tokens(TEXT, loaded), read_tokens(TEXT[:9], loaded)
    count = short.tokens - 1  # the last token of the short one is another
    assert long.boundary[:, :count] == pytest.approx(short.boundary[:, :count], rel=1e-4, abs=1e-6)
    assert (long.dimension[..., :count] == short.dimension[..., :count]).all()


def test_layers_without_softmax_have_no_dimension(load):
    report = read_tokens(TEXT, load("qwen3_next"))
    assert (report.dimension[:, [0, 2]] == -1).all()
    assert (report.bound[[0, 2]] == -1).all()
    assert (report.dimension[:, 1] > 0).all()
    alone = read_tokens(TEXT, load("qwen3_next"), layers=[0])
    assert alone.dimension.shape == (2, 1, 4, alone.tokens)


def test_without_attention_all_else_is_the_same(load):
    loaded = load("llama")
    with_it, without = read_tokens(TEXT, loaded), read_tokens(TEXT, loaded, attention=False)
    assert (without.dimension == -1).all()
    assert (with_it.boundary == without.boundary).all()


def test_only_the_requested_layers_are_read(load):
    loaded = load("llama")
    ran = []
    handle = loaded.model.layers[2].register_forward_pre_hook(lambda *_: ran.append(2))
    some, whole = read_tokens(TEXT, loaded, layers=[1]), read_tokens(TEXT, loaded)
    handle.remove()
    assert ran == [2]  # the first pass ended after layer 1
    assert some.layers == (1,)
    assert (some.boundary[0] == whole.boundary[1]).all()
    assert (some.dimension[:, 0] == whole.dimension[:, 1]).all()


def test_inputs_and_call_are_kept_on_request_only(load):
    loaded = load("llama")
    report = read_tokens(TEXT, loaded, keep_inputs=[1], keep_call=(2, 3))
    assert list(report.inputs) == [1]
    gate = report.inputs[1] @ loaded.model.layers[1].mlp.gate_proj.weight.T
    assert (unpacked(report.code(1), 48) == (gate > 0)).all()
    assert report.call.query.shape == (1, 4, 1, 8)
    assert report.call.key.shape == (1, 2, 4, 8)
    assert read_tokens(TEXT, loaded).call is None


@pytest.mark.parametrize("name", ["llama", "mistral", "bloom"])
def test_a_call_that_is_kept_holds_no_more_than_its_numbers(load, name):
    """Not the T x T tensors of the pass: Mistral's mask with its window, BLOOM's weights."""
    call = read_tokens(TEXT * 3, load(name), keep_call=(1, 20)).call
    kept = [value for value in vars(call).values() if isinstance(value, torch.Tensor)]
    assert kept
    for value in kept:
        assert value.untyped_storage().nbytes() == value.numel() * value.element_size()


class QuantizedLinear(torch.nn.Module):
    """A linear map whose weight is stored as whole numbers."""

    def __init__(self, linear):
        super().__init__()
        weight = linear.weight.detach()
        self.scale = float(weight.abs().max()) / 127
        self.weight = torch.nn.Parameter((weight / self.scale).round().to(torch.int8), False)

    def forward(self, states):
        return states @ (self.scale * self.weight.float()).T


def test_the_bound_needs_no_output_weight_where_there_are_values(load):
    """A quantized output projection cannot be read, and need not be."""
    loaded = load("llama")
    for block in loaded.model.layers:
        block.self_attn.o_proj = QuantizedLinear(block.self_attn.o_proj)
    report = read_tokens(TEXT, loaded)
    expected = (report.dimension[1] - 1).clip(0, 8).sum(axis=1).clip(max=32)
    assert (report.bound == expected).all()


def test_a_region_of_experts_is_named_by_experts_and_signs(load):
    loaded = load("mixtral")
    report = read_tokens(TEXT, loaded)
    for layer in report.layers:
        signs = unpacked(report.code(layer), report.neuron_count[layer]).tolist()
        pairs = {
            (tuple(routes), tuple(row))
            for routes, row in zip(report.routes[layer].tolist(), signs, strict=True)
        }
        assert report.regions[layer] == len(pairs)
        assert report.neuron_count[layer] == 48
        assert ((report.nearest_wall[layer] >= 0) & (report.nearest_wall[layer] < 96)).all()


def test_the_wall_of_a_routed_token_is_the_nearest_of_its_experts(load):
    loaded = load("mixtral")
    report = read_tokens(TEXT, loaded, keep_inputs=[1])
    weight = loaded.model.layers[1].mlp.experts.gate_up_proj[:, :24].reshape(96, 32)
    margin = (report.inputs[1] @ weight.T) / weight.norm(dim=1)
    numbers = routed_neurons(loaded.model, 1, report.routes[1])
    far = torch.full_like(margin, torch.inf).scatter(1, numbers, margin.abs().gather(1, numbers))
    assert report.nearest_wall[1].tolist() == far.argmin(dim=1).tolist()
    assert report.boundary[1] == pytest.approx(far.amin(dim=1).numpy(), abs=1e-6)


def test_a_dead_neuron_is_no_wall(tiny_of, wrap):
    model = tiny_of("llama")
    nearest = read_tokens(TEXT, wrap(model)).nearest_wall[1, 4]
    model = tiny_of("llama")
    model.layers[1].mlp.gate_proj.weight.data[nearest] = 0
    after = read_tokens(TEXT, wrap(model))
    assert after.nearest_wall[1, 4] != nearest
    assert after.boundary[1, 4] > 0


def test_a_layer_without_any_wall_is_infinitely_far(tiny_of, wrap):
    model = tiny_of("llama")
    model.layers[1].mlp.gate_proj.weight.data.zero_()
    report = read_tokens(TEXT, wrap(model))
    assert (report.nearest_wall[1] == -1).all()
    assert np.isinf(report.boundary[1]).all()


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


def signs_of(loaded, report, layer):
    """The signs of all neurons of a layer at each token; those not routed to are off."""
    own = unpacked(report.code(layer), report.neuron_count[layer])
    if layer not in report.routes:
        return own
    numbers = routed_neurons(loaded.model, layer, report.routes[layer])
    size = 4 * 24 + (20 if loaded.model.config.model_type == "qwen2_moe" else 0)
    return torch.zeros(len(own), size, dtype=torch.bool).scatter(1, numbers, own)


@pytest.mark.parametrize(
    ("text", "wording"),
    [
        ("", "the text is empty; give another text"),
        ("  \n ", "the text is only white space; give another text"),
        ("a\0b", "the text has a NUL character at position 1.*; give another text"),
    ],
)
def test_a_text_without_tokens_is_refused(load, text, wording):
    with pytest.raises(NoTokens, match=wording):
        read_tokens(text, load("llama"))


def test_a_text_that_is_too_long_is_refused_with_what_to_pass(load):
    wording = (
        r"the text has 10,000 tokens; at most 2,048 are read: pass max_tokens=10000 "
        r"\(command line: --max-tokens 10000\), or a shorter text"
    )
    with pytest.raises(BadTexts, match=wording):
        read_tokens("!" * 10_000, load("llama", max_position_embeddings=16_384))
    with pytest.raises(
        BadTexts, match="10,000 tokens: that exceeds the 256 positions of tiny; give a shorter"
    ):
        read_tokens("!" * 10_000, load("llama"))  # passing max_tokens would not help
    with pytest.raises(BadFeatures, match="max_tokens=0: need a positive number"):
        read_tokens("a", load("llama"), max_tokens=0)


def test_a_text_longer_than_the_models_positions_is_refused(load):
    with pytest.raises(
        BadTexts,
        match="has 255 tokens and 2 more come before it: that exceeds the 256 positions of tiny; give a",
    ):
        read_tokens("!" * 255, load("llama"), prompt="so")
    assert read_tokens("!" * 256, load("llama")).tokens == 256


def test_with_longrope_a_text_is_read_as_it_is_and_longer_ones_are_refused(longrope, wrap, slowly):
    loaded = wrap(longrope)
    for text, prompt in ((TEXT * 3, ""), (TEXT * 2, "so it is the ")):
        before = loaded.tokenizer(prompt).input_ids if prompt else ()
        report = read_tokens(text, loaded, prompt=prompt)
        assert 32 < len(before) + report.tokens <= 40  # padded to 48, and yet
        for layer, margin in enumerate(slowly(loaded, text, before)):
            assert report.boundary[layer] == pytest.approx(np.abs(margin).min(axis=1), abs=1e-6)
            assert (unpacked(report.code(layer), 48).numpy() == (margin > 0)).all()
    assert read_tokens("!" * 40, loaded).tokens == 40
    wording = "the text has 39 tokens and 2 more come before it: that exceeds the 40 positions that one pass"
    with pytest.raises(BadTexts, match=wording):
        read_tokens("!" * 39, loaded, prompt="so")


def test_of_a_named_model_only_the_layers_needed_are_loaded(tiny_llama, wrap, folder):
    named = read_tokens(TEXT, folder, layers=[1, 0])
    assert (named.sign == read_tokens(TEXT, wrap(tiny_llama), layers=[0, 1]).sign).all()
    assert load_up_to(folder, [1, 0]).depth == 2
    assert load_up_to(folder, None).depth == 3
    loaded = wrap(tiny_llama)
    assert load_up_to(loaded, [0]) is loaded


@pytest.mark.parametrize("eps", [0.0, 1.0, -0.1, float("nan")])
def test_a_threshold_outside_0_and_1_is_refused(load, eps):
    with pytest.raises(BadFeatures, match=r"eps is .*pass a number above 0 and below 1"):
        read_tokens(TEXT, load("llama"), eps=eps)


def test_layers_and_tokens_that_do_not_exist_are_refused(load):
    loaded = load("llama")
    with pytest.raises(BadFeatures, match=r"layers \[3\] do not exist: 3 blocks are loaded, 0 to 2"):
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


def test_what_fails_only_once_is_named_where_it_was_seen(tiny_llama, wrap):
    passes = []

    def fail_once(_module, _args, gate):
        passes.append(1)
        if len(passes) == 1:
            return gate.masked_fill(torch.arange(gate.shape[1])[:, None] >= 5, torch.nan)
        return gate

    tiny_llama.layers[1].mlp.gate_proj.register_forward_hook(fail_once)
    with pytest.raises(
        BadFeatures, match=r"at layer 1, token 5 \(characters .* not when it is run again; load"
    ):
        read_tokens(TEXT, wrap(tiny_llama))
    assert len(passes) > 1


def test_a_layer_below_0_is_refused_before_a_model_is_loaded():
    with pytest.raises(BadFeatures, match=r"layers \[-2\] do not exist: they are counted from 0"):
        read_tokens(TEXT, "no/such-model", layers=[0, -2])


@pytest.mark.parametrize("layer", [0, 9, -1])
def test_a_layer_that_was_not_read_has_no_code(load, layer):
    report = read_tokens(TEXT, load("llama"), layers=[1])
    for method in (report.code, report.region_ids):
        with pytest.raises(BadFeatures, match=f"layer {layer} was not read; the layers that were are 1"):
            method(layer)


def test_reports_of_other_layers_or_models_have_no_distance(load):
    llama = load("llama")
    report, other = (read_tokens(TEXT, llama, layers=[layer]) for layer in (0, 1))
    with pytest.raises(BadFeatures, match="of layers 0, the other of 1; read both at the same layers"):
        text_distances(llama, report, other)
    wider = read_tokens(TEXT, load("llama", intermediate_size=64), layers=[0])
    with pytest.raises(BadFeatures, match="read both texts with one model"):
        text_distances(llama, report, wider)


def test_inputs_to_keep_are_a_list_of_layers(load):
    jaxtyping.config.update("jaxtyping_disable", True)  # as in use
    with pytest.raises(BadFeatures, match="keep_inputs=1: need a list of layers"):
        read_tokens(TEXT, load("llama"), keep_inputs=1)
