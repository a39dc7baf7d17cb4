"""Tests features/reader.py: the rows of all prefixes are those of each prefix run as a text."""

import numpy as np
import pytest
import torch

from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec

LONG = "The path goes over the hill, through the wood and along the river until you reach the mill."
EVERYTHING = ("spline7", "margins", "occupancy", "hidden", "attention_id", "length")
POOLINGS = ("max", "min", "mean", "last")
FAMILIES = ["llama", "mistral", "gpt2", "opt", "mixtral", "qwen2_moe", "gpt_oss", "bloom"]
# Dense, with a sliding window of 16, Conv1D, flattened, experts, a shared expert, sinks, eager weights.


@pytest.fixture(params=FAMILIES)
def loaded(request, tiny_of, wrap, letter_tokenizer):
    model = tiny_of(request.param).double()
    model.set_experts_implementation("eager")  # the others have no float64
    return wrap(model, letter_tokenizer)


def reader_of(loaded, side="right", **spec):
    options = {"features": EVERYTHING, "pooling": POOLINGS, "max_tokens": 96, "eps": 0.2} | spec
    return TextReader(loaded, FeatureSpec(**options), side=side)


def both_ways(reader, text):
    """The rows of all prefixes from one pass, and those of each prefix run as a text; a letter is a token."""
    (at_once,) = reader.read([text], prefixes=True)
    single = list(reader.read([text[:end] for end in range(1, len(text) + 1)]))
    assert at_once.offsets == single[-1].offsets
    assert {at_once.reason, *(prefix.reason for prefix in single)} == {None}
    return at_once.values, np.stack([prefix.values for prefix in single])


def test_prefixes_are_what_each_gives_as_a_text(loaded, error):
    reader = reader_of(loaded)
    found, expected = both_ways(reader, LONG)
    assert found.shape[0] > 60
    assert error(reader, found, expected) <= 1e-6  # the rows are float32


@pytest.mark.parametrize("side", ["right", "left"])
def test_so_they_are_around_a_prompt(tiny_of, wrap, letter_tokenizer, error, side):
    for name in ("mistral", "mixtral"):
        model = tiny_of(name).double()
        model.set_experts_implementation("eager")
        reader = reader_of(
            wrap(model, letter_tokenizer), side, prompt="Is the following remark rude? ", suffix=" (yes)"
        )
        found, expected = both_ways(reader, LONG[:40])
        assert error(reader, found, expected) <= 1e-6


def test_a_text_longer_than_a_window_has_a_row_for_each_token_too(loaded, error):
    reader, text = reader_of(loaded, max_tokens=16), LONG[:40]
    found, expected = both_ways(reader, text)
    assert error(reader, found, expected) <= 1e-6
    (whole,) = reader_of(loaded).read([text], prefixes=True)
    assert error(reader, found[:16], whole.values[:16]) <= 1e-6
    assert error(reader, found, whole.values) > 1e-6  # later windows see less


def test_in_float32_they_agree_to_rounding(tiny_model, wrap, letter_tokenizer, error):
    reader = reader_of(wrap(tiny_model, letter_tokenizer))
    assert error(reader, *both_ways(reader, LONG)) <= 1e-4


def test_the_last_row_is_that_of_the_text(loaded, error):
    reader = reader_of(loaded)
    (whole,) = reader.read([LONG])
    (prefixes,) = reader.read([LONG], prefixes=True)
    assert error(reader, prefixes.values[-1:], whole.values[None]) <= 1e-6


def test_a_text_of_one_token_is_its_only_prefix(loaded):
    reader = reader_of(loaded)
    found, expected = both_ways(reader, "a")
    assert len(found) == 1
    assert np.allclose(found, expected, rtol=1e-6, atol=1e-6)
    names = [column.name for column in reader.columns if column.size == 1]
    row = dict(zip(names, np.concatenate(scalars(reader, found)), strict=True))
    assert row["layer00.sign_std"] == row["layer00.boundary_std"] == 0
    assert row["layer01.attention_id_absolute_last"] == row["layer01.attention_id_absolute_mean"]
    assert row["length"] == 1


def scalars(reader, rows):
    ends = np.cumsum([column.size for column in reader.columns])
    return [
        rows[0, end - 1 : end] for column, end in zip(reader.columns, ends, strict=True) if column.size == 1
    ]


def test_growing_never_lowers_a_maximum(tiny_model, wrap, letter_tokenizer):
    """On dense layers: the neurons of an expert that no token is routed to count as 0 until one is."""
    loaded = wrap(tiny_model, letter_tokenizer)
    reader = reader_of(loaded, features=("margins", "attention_id_absolute_max"), pooling=("max",))
    found, _ = both_ways(reader, LONG)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (np.diff(found, axis=0) > 0).any(axis=1).sum() > 30


def test_several_texts_come_in_input_order_with_their_prefixes(tiny_llama, wrap):
    """A text that cannot be read has one row."""
    reader = reader_of(wrap(tiny_llama), features=("spline7", "length"))
    texts = ["a", "", LONG, "you and the cat", LONG + LONG]
    features = list(reader.read(texts, prefixes=True))
    assert [text.index for text in features] == [0, 1, 2, 3, 4]
    assert (features[1].values.shape, features[1].reason) == ((1, 22), "is empty")
    assert np.isnan(features[1].values).all()
    for text, tokens in zip(features, reader.tokenize(texts), strict=True):
        assert text.source is None
        assert text.reason or text.values[:, -1].tolist() == list(range(1, len(tokens.ids) + 1))


def test_a_text_that_was_cut_has_the_prefixes_that_were_read(tiny_llama, wrap):
    reader = reader_of(wrap(tiny_llama), features=("sign_mean", "length"), max_tokens=10, long="cut")
    (features,) = reader.read([LONG], prefixes=True)
    assert features.cut
    assert features.values[:, -1].tolist() == list(range(1, 11))


def test_prefixes_before_a_token_that_fails_are_kept(tiny_llama, wrap):
    failing = 4
    tiny_llama.layers[0].register_forward_hook(
        lambda _, __, out: out.masked_fill(torch.arange(out.shape[1])[:, None] == failing, torch.inf)
    )
    reader = reader_of(wrap(tiny_llama), features=("hidden",), pooling=("max",), layers=(0,))
    (features,) = reader.read(["abcd~efg"], prefixes=True)
    assert np.isfinite(features.values[:failing]).all()
    assert np.isnan(features.values[failing:]).all()
    assert f"at layer 0, token {failing} (characters {failing} to {failing + 1})" in features.reason


def test_a_token_that_fails_does_not_spoil_the_rows_before_it(tiny_llama, wrap):
    """In one pass 0 * NaN is NaN, so attention hands it to tokens before as well."""
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = torch.nan
    for window in (96, 6):
        reader = reader_of(loaded, max_tokens=window)
        whole, failing = reader.read(["abcdefg", "abcdefg~hij"], prefixes=True)
        assert np.allclose(failing.values[:7], whole.values, rtol=1e-4, atol=1e-6)
        assert np.isnan(failing.values[7:]).all()
        assert (whole.reason, failing.values.shape[0]) == (None, 11)
        assert "layer 0, token 7 (characters 7 to 8)" in failing.reason
