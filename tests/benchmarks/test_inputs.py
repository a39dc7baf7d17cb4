"""Tests detection/inputs.py: MLP inputs are cached, and read again only when something changes."""

import numpy as np
import pytest
from detection.inputs import cached_inputs

from splinelens.models import LoadedModel

PROMPT = "Is it kind? "
TEXTS = ["The mill by the river is old.", "", "you silly goose", "A quiet day with you and the ducks " * 3]
OPTIONS = {"prompt": PROMPT, "layers": (0, 2)}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def _mark(folder):
    """Overwrite what is cached, to see whether it is used."""
    values = np.load(folder / "tokens.npy")
    np.save(folder / "tokens.npy", np.full_like(values, 7))


def _is_marked(inputs):
    return bool((inputs.tokens == 7).all())


def test_long_texts_are_cut(loaded, cache):
    inputs = cached_inputs(loaded, TEXTS, cache, max_tokens=10, **OPTIONS)
    assert np.diff(inputs.start).tolist() == [10, 0, 10, 10]


def test_disguised_characters_are_read_as_plain_ones(loaded, tmp_path):
    plain, disguised = (
        cached_inputs(loaded, [text], tmp_path / name, **OPTIONS)
        for name, text in (("plain", "you goose"), ("disguised", "y\u200bou g\uff4fose"))
    )
    assert np.array_equal(plain.tokens, disguised.tokens)


def test_a_second_call_reads_the_cache(loaded, cache):
    inputs = cached_inputs(loaded, TEXTS, cache, **OPTIONS)
    _mark(cache)
    again = cached_inputs(loaded, TEXTS, cache, **OPTIONS)
    assert _is_marked(again)
    assert np.array_equal(again.start, inputs.start)
    assert len(again) == len(TEXTS)


@pytest.mark.parametrize(
    "change",
    [
        {"prompt": "Is it rude? "},
        {"layers": (0, 1)},
        {"max_tokens": 9},
        {"texts": [*TEXTS[:-1], "another"]},
        {"texts": TEXTS[::-1]},
    ],
    ids=["prompt", "layers", "window", "a text", "order"],
)
def test_whatever_decides_the_numbers_reads_again(loaded, cache, change):
    cached_inputs(loaded, TEXTS, cache, **OPTIONS)
    _mark(cache)
    options = {"texts": TEXTS, **OPTIONS, **change}
    inputs = cached_inputs(loaded, options.pop("texts"), cache, **options)
    assert not _is_marked(inputs)


def test_another_model_reads_again(loaded, tiny_of, cache):
    first = np.array(cached_inputs(loaded, TEXTS, cache, **OPTIONS).tokens)
    other = LoadedModel(
        tiny_of("llama", seed=1, max_position_embeddings=2048), loaded.tokenizer, "tiny", None, 3, 3
    )
    second = cached_inputs(other, TEXTS, cache, **OPTIONS).tokens
    assert not np.allclose(first, second)


def test_a_run_that_was_stopped_reads_again(loaded, cache):
    cached_inputs(loaded, TEXTS, cache, **OPTIONS)
    _mark(cache)
    (cache / "inputs.json").unlink()
    assert not _is_marked(cached_inputs(loaded, TEXTS, cache, **OPTIONS))
