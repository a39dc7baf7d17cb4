"""Tests the feature ``directions``: margins to learned hyperplanes across layers, pooled over tokens."""

import copy

import numpy as np
import pytest
import torch

from splinelens import Stream, extract
from splinelens.errors import BadFeatures
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import joined_rows
from splinelens.geometry.directions import Directions
from splinelens.layers import watch

COUNT, WIDTH = 5, 32
POOLINGS = ("max", "min", "mean", "last")
LONG = "The path goes over the hill, through the wood and along the river until you reach the old mill."
FAMILIES = ["llama", "phi3", "gpt2", "opt", "gemma2", "mixtral", "qwen2_moe", "gpt_oss", "olmo_hybrid"]
# Dense, fused, Conv1D, flattened, two norms, experts, a shared expert, fused experts, linear attention.
TEXTS = ["a", "yes, you", "What a day! The sun is out, and so are you.", LONG, "ä ö ü"]


def directions_of(layers=3, seed=3):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(COUNT, layers, WIDTH)).astype(np.float32)
    return Directions(weight, rng.normal(size=COUNT).astype(np.float32))


def reader_of(loaded, *, layers=None, side="right", batch_tokens=4096, directions=None, **spec):
    options = {"features": ("directions",), "pooling": POOLINGS, "layers": layers, "max_tokens": 96} | spec
    directions = directions or directions_of(3 if layers is None else len(layers))
    return TextReader(
        loaded, FeatureSpec(**options), side=side, batch_tokens=batch_tokens, directions=directions
    )


def values_of(reader, texts):
    features = list(reader.read(texts))
    assert {text.reason for text in features} == {None}
    return np.stack([text.values for text in features])


def token_margins(model, ids, directions, layers, pooled=slice(None)):
    """Learned margins of some tokens the slow way: hooks on the MLPs of a Llama, sums in float64."""
    inputs = []
    handles = [
        model.layers[layer].mlp.register_forward_pre_hook(lambda _, args: inputs.append(args[0][0].double()))
        for layer in layers
    ]
    with torch.no_grad():
        model(torch.tensor([ids]), use_cache=False)
    for handle in handles:
        handle.remove()
    products = [states.numpy() @ directions.weight[:, index].T for index, states in enumerate(inputs)]
    return (sum(products) + directions.bias.astype(float))[pooled]


def pooled(margins):
    return np.concatenate([margins.max(0), margins.min(0), margins.mean(0), margins[-1]])


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("layers", [(0, 2), (1,), (0, 1, 2)])
def test_they_are_pooled_sums_over_layers(tiny_llama, wrap, layers, side):
    reader = reader_of(wrap(tiny_llama), layers=layers, side=side, prompt="Say: ")
    before = tuple(reader.loaded.tokenizer("Say: ").input_ids)
    expected = [
        pooled(
            token_margins(
                tiny_llama, before + text.ids, reader.layout.directions, layers, slice(len(before), None)
            )
        )
        for text in reader.tokenize(TEXTS)
    ]
    assert [(column.name, column.size) for column in reader.columns] == [
        (f"direction_{pooling}", COUNT) for pooling in POOLINGS
    ]
    np.testing.assert_allclose(values_of(reader, TEXTS), expected, atol=2e-5)


def test_one_direction_by_hand(tiny_llama, wrap):
    """A direction that picks one entry of one layer's input, plus 10."""
    weight = np.zeros((1, 3, WIDTH), dtype=np.float32)
    weight[0, 1, 7] = 1
    reader = reader_of(wrap(tiny_llama), directions=Directions(weight, np.array([10], dtype=np.float32)))
    (text,) = reader.tokenize(["yes, you"])
    seen = []
    with watch(tiny_llama, inputs=lambda layer, states: seen.append(states[0, :, 7].numpy()), layers=[1]):
        tiny_llama(torch.tensor([text.ids]))
    (row,) = values_of(reader, ["yes, you"])
    expected = [seen[0].max() + 10, seen[0].min() + 10, seen[0].mean() + 10, seen[0][-1] + 10]
    np.testing.assert_allclose(row, expected, atol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_batches_and_sides_change_nothing(tiny_of, wrap, error, family):
    loaded = wrap(tiny_of(family))
    right, left = reader_of(loaded), reader_of(loaded, side="left")
    single = np.concatenate([values_of(right, [text]) for text in TEXTS])
    assert np.isfinite(single).all()
    assert np.abs(single).max() > 0.1
    assert error(right, values_of(right, TEXTS), single) <= 1e-4
    assert error(left, values_of(left, TEXTS), single) <= 1e-4


def test_no_gate_is_computed_and_the_pass_ends_at_the_last_layers_input(tiny_llama, wrap):
    ran = []
    reader = reader_of(wrap(tiny_llama), layers=(0, 1))
    for index, block in enumerate(tiny_llama.layers):
        block.mlp.gate_proj.register_forward_hook(lambda *_, index=index: ran.append(index))
    values_of(reader, TEXTS[:1])
    assert ran == [0]
    assert not reader.engine.norms


def test_windows_of_a_long_text_are_merged(tiny_llama, wrap):
    reader = reader_of(wrap(tiny_llama), max_tokens=16)
    (text,) = reader.tokenize([LONG])
    margins, start, done = [], 0, 0
    while done < len(text.ids):  # as in test_windows.py
        stop = min(start + 16, len(text.ids))
        margins.append(
            token_margins(
                tiny_llama,
                text.ids[start:stop],
                reader.layout.directions,
                (0, 1, 2),
                slice(done - start, None),
            )
        )
        done, start = stop, start + 12
    assert len(margins) > 2
    margins = np.concatenate(margins)
    (features,) = reader.read([LONG], locate=True)
    np.testing.assert_allclose(features.values, pooled(margins), atol=2e-5)
    np.testing.assert_allclose(features.learned, margins, atol=2e-5)
    last = np.full(COUNT, len(text.ids) - 1)
    expected = [margins.argmax(0), margins.argmin(0), np.full(COUNT, -1), last]
    assert features.source.tolist() == np.concatenate(expected).tolist()


def test_located_tokens_are_those_of_the_margins(tiny_llama, wrap):
    for side in ("right", "left"):
        reader = reader_of(wrap(tiny_llama), side=side, prompt="Say: ")
        for features in reader.read(TEXTS, locate=True):
            assert features.learned.shape == (features.tokens, COUNT)
            np.testing.assert_allclose(pooled(features.learned), features.values, atol=1e-5)
            assert features.source[:COUNT].tolist() == features.learned.argmax(0).tolist()
    (features,) = reader_of(wrap(tiny_llama), pooling=("max",)).read(["yes, you"], locate=True)
    assert features.learned.shape == (features.tokens, COUNT)  # what explanations read


def test_a_stream_gives_the_prefixes_and_these_the_texts(tiny_llama, wrap, letter_tokenizer):
    loaded = wrap(tiny_llama, letter_tokenizer)
    reader = reader_of(loaded, features=("directions", "length"))
    (prefixes,) = reader.read([LONG], prefixes=True)
    texts = values_of(reader, [LONG[:end] for end in range(1, len(LONG) + 1)])
    np.testing.assert_allclose(prefixes.values, texts, atol=1e-5)
    stream = Stream(
        loaded, features=["directions", "length"], pooling=POOLINGS, directions=reader.layout.directions
    )
    assert stream.columns == reader.columns
    first = stream.feed(LONG[:30])
    rows = np.concatenate([first, copy.copy(stream).feed(LONG[30:])])
    np.testing.assert_allclose(rows, texts, atol=1e-5)
    windows = reader_of(loaded, features=("directions", "length"), max_tokens=16)
    (prefixes,) = windows.read([LONG], prefixes=True)
    np.testing.assert_allclose(prefixes.values[-1], values_of(windows, [LONG])[0], atol=1e-5)


def test_they_stand_beside_margins(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    both = reader_of(loaded, features=("margins", "directions", "length"), layers=(0, 1), pooling=("max",))
    assert [column.name for column in both.columns][-2:] == ["direction_max", "length"]
    single = reader_of(loaded, layers=(0, 1), pooling=("max",))
    margins = TextReader(loaded, FeatureSpec(("margins",), layers=(0, 1), max_tokens=96))
    parts = [values_of(margins, TEXTS), values_of(single, TEXTS)]
    np.testing.assert_allclose(values_of(both, TEXTS)[:, :-1], np.concatenate(parts, axis=1), rtol=1e-6)


def test_joined_rows_are_those_of_windows_read_together(tiny_llama, wrap):
    """Windows that share no token: what each gives as a text, joined, is what their tokens give together."""
    reader = reader_of(wrap(tiny_llama), features=("directions", "margins", "length"))
    features = list(reader.read(TEXTS[:4], locate=True))
    values, tokens = (
        np.stack([text.values for text in features]),
        np.array([text.tokens for text in features]),
    )
    rows, lengths = joined_rows(reader.columns, values, tokens, 2)
    assert rows.shape == (2, reader.layout.width)
    assert lengths.tolist() == rows[:, -1].tolist() == [tokens[:2].sum(), tokens[2:].sum()]
    margins = [np.concatenate([text.learned for text in features[start : start + 2]]) for start in (0, 2)]
    expected = [pooled(both) for both in margins]
    np.testing.assert_allclose(rows[:, -4 * COUNT - 1 : -1], expected, atol=1e-5)
    plain = TextReader(reader.loaded, FeatureSpec(max_tokens=96))
    with pytest.raises(BadFeatures, match=r"layer00\.sign_mean of a text does not follow"):
        joined_rows(plain.columns, values_of(plain, TEXTS[:2]), tokens, 2)


def test_a_half_precision_weight_is_read_in_float32(tiny_llama, wrap):
    full = directions_of()
    half = Directions(full.weight.astype(np.float16), full.bias)
    again = Directions(half.weight.astype(np.float32), full.bias)
    loaded = wrap(tiny_llama)
    values = [values_of(reader_of(loaded, directions=each), TEXTS) for each in (half, again, full)]
    assert np.array_equal(values[0], values[1])
    assert not np.array_equal(values[0], values[2])
    assert len({full.digest, half.digest, again.digest}) == 3


def test_a_broken_layer_is_named(tiny_llama, wrap):
    with torch.no_grad():
        tiny_llama.layers[1].post_attention_layernorm.weight[3] = torch.nan
    for pooling in POOLINGS:
        (features,) = reader_of(wrap(tiny_llama), pooling=(pooling,)).read(["yes, you"], locate=True)
        assert features.reason.startswith("gives values that are not finite at layer 1, token 0")


def test_too_large_sums_name_the_column(tiny_llama, wrap):
    large = Directions(np.full((1, 3, WIDTH), 3e38, np.float32), np.zeros(1, np.float32))
    (features,) = reader_of(wrap(tiny_llama), directions=large).read(["yes, you"])
    assert features.reason == "gives values that are not finite at direction_max"


def test_extract_records_their_hash_and_keeps_them_apart(tiny_llama, wrap, tmp_path):
    loaded, options = wrap(tiny_llama), {"features": ["directions"], "pooling": POOLINGS, "max_tokens": 96}
    path = tmp_path / "table.parquet"
    table = extract(TEXTS, loaded, directions=directions_of(), output=path, **options)
    assert table.provenance["directions"] == directions_of().digest
    assert np.array_equal(table.column("direction_max"), values_of(reader_of(loaded), TEXTS)[:, :COUNT])
    again = extract(TEXTS, loaded, directions=directions_of(), output=path, **options)
    assert again.columns == table.columns
    assert np.array_equal(again.values, table.values)
    other = extract(TEXTS, loaded, directions=directions_of(seed=4), **options)
    assert other.provenance["directions"] != table.provenance["directions"]
    assert "directions" not in extract(["a"], loaded, max_tokens=96).provenance


@pytest.mark.parametrize("features", [["directions"], "direction_mean"])
def test_without_a_detector_there_are_none(features):
    with pytest.raises(BadFeatures, match=r"only detectors have: score .* directions=detector\.artifact\.d"):
        extract(["a"], "no-such-model", features=features)


def test_directions_that_do_not_fit_are_refused(tiny_llama, wrap):
    with pytest.raises(BadFeatures, match="are given, but features name no 'directions'"):
        extract(["a"], "no-such-model", directions=directions_of())
    with pytest.raises(BadFeatures, match="across 2 layers of width 32 do not fit the 3 layers of width 32"):
        reader_of(wrap(tiny_llama), directions=directions_of(2))
