"""Tests detection/inputs.py: MLP inputs as hooks see them, read again only when something changes."""

import numpy as np
import pytest
import torch
from detection.inputs import Inputs, read_inputs

from splinelens.models import LoadedModel

PROMPT = "Is it kind? "
TEXTS = ["The mill by the river is old.", "", "you silly goose", "A quiet day with you and the ducks " * 3]
OPTIONS = {"prompt": PROMPT, "layers": (0, 2)}


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "cache"


def _hooked(loaded, text, max_tokens=256):
    """(token, layer, width) inputs of the MLPs of layers 0 and 2, one text at a time."""
    seen = []
    handles = [
        loaded.model.layers[layer].mlp.register_forward_pre_hook(lambda _, args: seen.append(args[0][0]))
        for layer in (0, 2)
    ]
    before, ids = (loaded.tokenizer(part).input_ids for part in (PROMPT, text))
    with torch.no_grad():
        loaded.model(torch.tensor([before + ids[:max_tokens]]), use_cache=False)
    for handle in handles:
        handle.remove()
    return torch.stack(seen, 1)[len(before) :].numpy()


def _mark(folder):
    """Overwrite what is cached, to see whether it is used."""
    values = np.load(folder / "tokens.npy")
    np.save(folder / "tokens.npy", np.full_like(values, 7))


def _is_marked(inputs):
    return bool((inputs.tokens == 7).all())


def test_inputs_are_what_each_mlp_reads_of_each_token_of_a_text(loaded, cache):
    inputs = read_inputs(loaded, TEXTS, cache, **OPTIONS)
    assert len(inputs) == len(TEXTS)
    assert (inputs.tokens.dtype, inputs.tokens.shape[1:]) == (np.float16, (2, 32))
    for row, text in enumerate(TEXTS):
        found = inputs.tokens[inputs.start[row] : inputs.start[row + 1]]
        expected = _hooked(loaded, text)
        assert len(found) == len(loaded.tokenizer(text).input_ids)
        np.testing.assert_allclose(found, expected, atol=2e-3, rtol=1e-3)  # half precision


def test_long_texts_are_cut(loaded, cache):
    inputs = read_inputs(loaded, TEXTS, cache, max_tokens=10, **OPTIONS)
    assert np.diff(inputs.start).tolist() == [10, 0, 10, 10]
    np.testing.assert_allclose(inputs.tokens[-10:], _hooked(loaded, TEXTS[3], 10), atol=2e-3, rtol=1e-3)


def test_disguised_characters_are_read_as_plain_ones(loaded, tmp_path):
    plain, disguised = (
        read_inputs(loaded, [text], tmp_path / name, **OPTIONS)
        for name, text in (("plain", "you goose"), ("disguised", "y\u200bou g\uff4fose"))
    )
    assert np.array_equal(plain.tokens, disguised.tokens)


def test_a_second_call_reads_the_cache(loaded, cache):
    inputs = read_inputs(loaded, TEXTS, cache, **OPTIONS)
    _mark(cache)
    again = read_inputs(loaded, TEXTS, cache, **OPTIONS)
    assert _is_marked(again)
    assert np.array_equal(again.start, inputs.start)
    assert len(Inputs(cache)) == len(TEXTS)


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
    read_inputs(loaded, TEXTS, cache, **OPTIONS)
    _mark(cache)
    options = {"texts": TEXTS, **OPTIONS, **change}
    inputs = read_inputs(loaded, options.pop("texts"), cache, **options)
    assert not _is_marked(inputs)
    texts = change.get("texts", TEXTS)
    if not {"prompt", "layers", "max_tokens"} & set(change):
        np.testing.assert_allclose(
            inputs.tokens, np.concatenate([_hooked(loaded, text) for text in texts]), atol=2e-3, rtol=1e-3
        )


def test_another_model_reads_again(loaded, tiny_of, cache):
    first = np.array(read_inputs(loaded, TEXTS, cache, **OPTIONS).tokens)
    other = LoadedModel(tiny_of("llama", seed=1), loaded.tokenizer, "tiny", None, 3, 3)
    second = read_inputs(other, TEXTS, cache, **OPTIONS).tokens
    assert not np.allclose(first, second)


def test_a_run_that_was_stopped_reads_again(loaded, cache):
    read_inputs(loaded, TEXTS, cache, **OPTIONS)
    _mark(cache)
    (cache / "inputs.json").unlink()
    assert not _is_marked(read_inputs(loaded, TEXTS, cache, **OPTIONS))
