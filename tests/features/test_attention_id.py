"""Tests features/reader.py: the columns of ``attention_id`` count the weights of eager attention."""

import numpy as np
import pytest
import torch

from splinelens.errors import BadFeatures
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.token_report import read_tokens
from splinelens.layers import watch

TEXTS = [
    "a",
    "the kettle sings in the kitchen",
    "you",
    "The path goes over the hill, through the wood.",
    "?!",
]
NAMES = [
    f"attention_id_{edge}_{pooling}"
    for edge in ("absolute", "relative")
    for pooling in ("last", "mean", "max")
]
FAMILIES = [
    "llama",
    "mistral",
    "gpt2",
    "opt",
    "gpt_neox",
    "qwen3",
    "mixtral",
    "gemma2",
    "gpt_oss",
    "bloom",
    "deepseek_v3",
]
# A window of 16 (Mistral, GPT-OSS, Gemma 2), a soft cap, sinks, weights alone, narrow values, grouped heads.


@pytest.fixture(params=FAMILIES)
def loaded(request, tiny_of, wrap):
    model = tiny_of(request.param).double()
    model.set_experts_implementation("eager")  # the others have no float64
    return wrap(model)


def by_eager(model, ids, own, eps):
    """The six numbers of each layer from the weights themselves: (layer, 6)."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
    model.set_attn_implementation(before)
    rows = []
    for layer in attentions:
        weights = layer[0, :, own].numpy()  # (head, token, key)
        for_both = []
        for edge in (eps, eps * weights.max(axis=2, keepdims=True)):
            counts = (weights > edge).sum(axis=2).sum(axis=0)
            for_both += [counts[-1], counts.mean(), counts.max()]
        rows.append(for_both)
    return np.array(rows)


def read(reader, texts):
    features = list(reader.read(texts))
    assert [text.reason for text in features] == [None] * len(texts)
    return np.stack([text.values for text in features]).reshape(len(texts), -1, 6)


@pytest.mark.parametrize("prompt", ["", "Is the following remark rude? "])
def test_the_columns_are_the_counts_of_eager_weights(loaded, prompt):
    reader = TextReader(loaded, FeatureSpec(("attention_id",), prompt=prompt, max_tokens=96, eps=0.2))
    assert [column.name for column in reader.columns[:6]] == [f"layer00.{name}" for name in NAMES]
    found = read(reader, TEXTS)
    before = tuple(loaded.tokenizer(prompt).input_ids)
    for text, tokens in enumerate(reader.tokenize(TEXTS)):
        expected = by_eager(loaded.model, before + tokens.ids, slice(len(before), None), 0.2)
        assert np.allclose(found[text], expected, rtol=1e-6)


def test_padding_on_the_left_and_batches_change_no_count(tiny_model, wrap):
    for prompt in ("", "So: "):
        spec = FeatureSpec(("attention_id",), prompt=prompt, max_tokens=96, eps=0.2)
        loaded = wrap(tiny_model.double())
        right = read(TextReader(loaded, spec), TEXTS)
        assert np.allclose(read(TextReader(loaded, spec, side="left"), TEXTS), right, rtol=1e-6)
        single = np.concatenate([read(TextReader(loaded, spec), [text]) for text in TEXTS])
        assert np.allclose(single, right, rtol=1e-6)


def test_the_keys_of_a_long_text_are_those_of_each_tokens_window(tiny_llama, wrap):
    loaded = wrap(tiny_llama.double())
    reader = TextReader(loaded, FeatureSpec(("attention_id",), max_tokens=16, eps=0.2))
    (tokens,) = reader.tokenize([TEXTS[3]])
    starts = [(0, 0, 16), (12, 16, 28), (24, 28, len(tokens.ids))]
    assert 28 < len(tokens.ids) <= 40
    parts = [
        by_tokens(loaded.model, tokens.ids[start:stop], pooled - start, 0.2) for start, pooled, stop in starts
    ]
    counts = np.concatenate(parts, axis=-1)  # (layer, edge, token)
    (found,) = read(reader, [TEXTS[3]])
    assert np.array_equal(found[:, [0, 3]], counts[:, :, -1])
    assert np.allclose(found[:, [1, 4]], counts.mean(axis=-1))
    assert np.array_equal(found[:, [2, 5]], counts.max(axis=-1))


def by_tokens(model, ids, first, eps):
    """Counts of each layer, edge and token from the weights themselves."""
    model.set_attn_implementation("eager")
    with torch.no_grad():
        attentions = model(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
    weights = [layer[0, :, first:].numpy() for layer in attentions]
    edges = [(eps, eps * layer.max(axis=2, keepdims=True)) for layer in weights]
    return np.array(
        [
            [(layer > edge).sum(axis=(0, 2)) for edge in both]
            for layer, both in zip(weights, edges, strict=True)
        ]
    )


def test_the_counts_of_the_last_token_are_the_same_without_those_of_the_others(loaded):
    names = ("attention_id_absolute_last", "attention_id_relative_last")
    last = TextReader(loaded, FeatureSpec(names, max_tokens=16, prompt="So: "))
    every = TextReader(loaded, FeatureSpec(("attention_id",), max_tokens=16, prompt="So: "))
    some = np.stack([text.values for text in last.read(TEXTS)]).reshape(len(TEXTS), -1, 2)
    assert np.array_equal(some, read(every, TEXTS)[:, :, [0, 3]])


def test_a_larger_threshold_counts_fewer(tiny_llama, wrap):
    loaded, found = wrap(tiny_llama), []
    for eps in (0.01, 0.1, 0.5):
        found.append(read(TextReader(loaded, FeatureSpec(("attention_id",), max_tokens=96, eps=eps)), TEXTS))
    assert (found[0] >= found[1]).all()
    assert (found[1] >= found[2]).all()
    assert (found[0] > found[2]).any()
    assert (found[2][:, :, :3] <= 4).all()  # no more than one key of each of 4 heads has over a half


def test_weights_that_are_no_numbers_show(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.layers[1].self_attn.q_proj.weight[0] = torch.nan
    reader = TextReader(loaded, FeatureSpec(("attention_id_absolute_last",), layers=(0, 1), max_tokens=96))
    (features,) = reader.read(["you"])
    assert np.isnan(features.values).all()
    assert features.reason == "gives values that are not finite at layer 1, token 0 (characters 0 to 3)"


@pytest.mark.parametrize("name", ["qwen3_5_text", "qwen3_next", "olmo_hybrid"])
def test_layers_of_linear_attention_have_no_columns_of_it(tiny_of, wrap, name):
    loaded = wrap(tiny_of(name))
    features = ("sign_mean", "hidden", "attention_id_absolute_mean")
    reader = TextReader(loaded, FeatureSpec(features, max_tokens=96))
    assert [column.name for column in reader.columns] == [
        "layer00.sign_mean",
        "layer00.hidden_max",
        "layer01.sign_mean",
        "layer01.hidden_max",
        "layer01.attention_id_absolute_mean",
        "layer02.sign_mean",
        "layer02.hidden_max",
    ]
    (text,) = reader.read([TEXTS[3]])
    assert text.reason is None
    (only,) = TextReader(loaded, FeatureSpec(features[2:], max_tokens=96)).read([TEXTS[3]])
    assert only.values.tolist() == [text.values[1 + 32 + 1 + 32]]
    with pytest.raises(
        BadFeatures, match=r"layers \[0, 2\] have no attention_id: linear .*; layers that have one: 1$"
    ):
        TextReader(loaded, FeatureSpec(features, layers=(0, 1, 2), max_tokens=96))


def test_a_prompt_before_linear_attention_is_run_with_each_text(tiny_of, wrap):
    loaded = wrap(tiny_of("qwen3_next"))
    prompt = "Is this rude? "
    reader = TextReader(loaded, FeatureSpec(("hidden",), prompt=prompt, pooling=("last",), max_tokens=96))
    (tokens, *_) = reader.tokenize(TEXTS[1:])
    values = next(reader.read(TEXTS[1:])).values
    ids = tuple(loaded.tokenizer(prompt).input_ids) + tokens.ids
    with torch.no_grad():
        states = loaded.model(torch.tensor([ids]), use_cache=False, output_hidden_states=True).hidden_states
    assert np.allclose(values[:64], torch.cat([states[1][0, -1], states[2][0, -1]]), atol=1e-4)


def test_a_model_without_any_softmax_is_refused(tiny_of, wrap):
    loaded = wrap(tiny_of("qwen3_next"))
    loaded.model.layers = loaded.model.layers[:1]
    with pytest.raises(BadFeatures, match=r"have no attention_id: linear .*; none of layers 0 to 0 has one"):
        TextReader(loaded, FeatureSpec(("attention_id",), max_tokens=96))


def test_falcon_with_alibi_has_margins_but_no_attention_id(tiny_of, wrap):
    """Its eager attention would change the margins of the same call, too."""
    loaded = wrap(tiny_of("falcon_alibi"))
    reason = (
        r"layers \[0, 1, 2\] have no attention_id: eager .* ALiBi bias of Falcon twice.*leave attention_id"
    )
    for features in (("attention_id",), ("margins", "attention_id")):
        with pytest.raises(BadFeatures, match=reason):
            TextReader(loaded, FeatureSpec(features, max_tokens=96))
    with (
        pytest.raises(BadFeatures, match=r"attention of layers \[1\] cannot be read: eager attention"),
        watch(loaded.model, attention=lambda *_: None, layers=[1]),
    ):
        pass


def test_the_bounds_count_one_dimension_less_than_keys_of_each_head(loaded):
    features = [
        f"attention_bound_{edge}_{pooling}"
        for edge in ("absolute", "relative")
        for pooling in ("last", "max")
    ]
    reader = TextReader(loaded, FeatureSpec(tuple(features), max_tokens=96, eps=0.2))
    for text, row in zip(TEXTS, reader.read(TEXTS), strict=True):
        report = read_tokens(text, loaded, max_tokens=96, eps=0.2)
        # fewer than 1 / eps keys of a head are above the absolute threshold, less than a head is wide
        absolute = np.clip(report.dimension[0] - 1, 0, None).sum(axis=1).clip(max=32)  # (layer, token)
        expected = np.stack(
            [absolute[:, -1], absolute.max(1), report.bound[:, -1], report.bound.max(1)], axis=1
        )
        np.testing.assert_array_equal(row.values.reshape(-1, 4), expected)
