"""Tests features/rows.py and features/reader.py: the rows of all prefixes are those of each prefix alone."""

import numpy as np
import pytest
import torch

from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.tokens import TokenizedText

LONG = "The path goes over the hill, through the wood and along the river until you reach the mill."
EVERYTHING = ("spline7", "margins", "occupancy", "hidden", "attention_id", "length")
POOLINGS = ("max", "min", "mean", "last")
FAMILIES = ["llama", "mistral", "gpt2", "opt", "mixtral", "qwen2_moe", "gpt_oss", "bloom"]
# Dense, with a sliding window of 16, Conv1D, flattened, experts, a shared expert, sinks, eager weights.


@pytest.fixture(params=FAMILIES)
def loaded(request, tiny_of, wrap):
    model = tiny_of(request.param).double()
    model.set_experts_implementation("eager")  # the others have no float64
    return wrap(model)


def reader_of(loaded, side="right", **spec):
    options = {"features": EVERYTHING, "pooling": POOLINGS, "max_tokens": 96, "eps": 0.2} | spec
    return TextReader(loaded, FeatureSpec(**options), side=side)


def both_ways(reader, text):
    """The rows of all prefixes from one pass, and those of each prefix run as a text of its own."""
    (whole,) = reader.tokenize([text])
    (reading,) = reader.read_prefixes([whole])
    cut = [TokenizedText(whole.ids[:n], whole.offsets[:n], n) for n in range(1, len(whole.ids) + 1)]
    again = sorted(reader.read(cut), key=lambda row: row.text)
    assert reading.reasons == tuple(row.reason for row in again) == (None,) * len(whole.ids)
    return reading.values, np.stack([row.values for row in again])


def test_prefixes_are_what_each_gives_alone(loaded, error):
    reader = reader_of(loaded)
    found, expected = both_ways(reader, LONG)
    assert found.shape[0] > 60
    assert error(reader, found, expected) <= 1e-6  # the rows are float32


@pytest.mark.parametrize("side", ["right", "left"])
def test_a_prompt_before_them_changes_nothing_of_that(tiny_of, wrap, error, side):
    for name in ("mistral", "mixtral"):
        model = tiny_of(name).double()
        model.set_experts_implementation("eager")
        reader = reader_of(wrap(model), side, prompt="Is the following remark rude? ", suffix=" (yes)")
        found, expected = both_ways(reader, LONG[:40])
        assert error(reader, found, expected) <= 1e-6


def test_a_text_longer_than_a_window_has_a_row_for_each_token_too(loaded, error):
    reader = reader_of(loaded, max_tokens=16)
    found, expected = both_ways(reader, LONG)
    assert error(reader, found, expected) <= 1e-6
    whole, _ = both_ways(reader_of(loaded), LONG)
    assert error(reader, found[:16], whole[:16]) <= 1e-6
    assert error(reader, found, whole) > 1e-6  # later windows see less


def test_in_float32_they_agree_to_rounding(tiny_model, wrap, error):
    reader = reader_of(wrap(tiny_model))
    assert error(reader, *both_ways(reader, LONG)) <= 1e-4


def test_the_last_row_is_that_of_the_text(loaded, error):
    reader = reader_of(loaded)
    (whole,) = reader.read(reader.tokenize([LONG]))
    (prefixes,) = reader.read_prefixes(reader.tokenize([LONG]))
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


def test_growing_never_lowers_a_maximum(tiny_model, wrap):
    """On dense layers: the neurons of an expert that no token visits count as 0 until one does."""
    reader = reader_of(wrap(tiny_model), features=("margins", "attention_id_absolute_max"), pooling=("max",))
    found, _ = both_ways(reader, LONG)
    assert (np.diff(found, axis=0) >= 0).all()
    assert (np.diff(found, axis=0) > 0).any(axis=1).sum() > 30


def test_several_texts_come_back_with_their_own_prefixes(tiny_llama, wrap):
    reader = reader_of(wrap(tiny_llama), features=("spline7", "length"))
    tokenized = reader.tokenize(["a", "", LONG, "you and the cat", LONG + LONG])
    readings = {reading.text: reading for reading in reader.read_prefixes(tokenized)}
    assert sorted(readings) == [0, 2, 3, 4]
    for text, reading in readings.items():
        assert reading.values[:, -1].tolist() == list(range(1, len(tokenized[text].ids) + 1))


def test_a_text_that_was_cut_has_the_prefixes_that_were_read(tiny_llama, wrap):
    reader = reader_of(wrap(tiny_llama), features=("sign_mean", "length"), max_tokens=10, long="cut")
    (reading,) = reader.read_prefixes(reader.tokenize([LONG]))
    assert reading.values[:, -1].tolist() == list(range(1, 11))


def test_prefixes_before_a_token_that_fails_are_kept(tiny_llama, wrap):
    place = 4
    tiny_llama.layers[0].register_forward_hook(
        lambda _, __, out: out.masked_fill(torch.arange(out.shape[1])[:, None] == place, torch.inf)
    )
    reader = reader_of(wrap(tiny_llama), features=("hidden",), pooling=("max",), layers=(0,))
    (tokens,) = reader.tokenize(["abcd~efg"])
    (reading,) = reader.read_prefixes([tokens])
    good = [reason is None for reason in reading.reasons]
    assert good == [True] * place + [False] * (len(tokens.ids) - place)
    assert f"at layer 0, token {place} (characters {place} to {place + 1})" in reading.reasons[-1]
    assert np.isfinite(reading.values[:place]).all()


def test_a_token_that_fails_does_not_spoil_the_rows_before_it(tiny_llama, wrap):
    """In one pass 0 * NaN is NaN, so attention hands it to tokens before as well."""
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = torch.nan
    for window in (96, 6):
        reader = reader_of(loaded, max_tokens=window)
        (tokens,) = reader.tokenize(["abcdefg~hij"])
        (alone,) = reader.read_prefixes(reader.tokenize(["abcdefg"]))
        (reading,) = reader.read_prefixes([tokens])
        assert np.allclose(reading.values[:7], alone.values, rtol=1e-4, atol=1e-6)
        assert reading.reasons[:7] == (None,) * 7
        assert all("layer 0, token 7 (characters 7 to 8)" in reason for reason in reading.reasons[7:])
