"""Tests features/nonfinite.py: the token and the layer that are named are those to blame."""

import numpy as np
import pytest
import torch

from splinelens.features.nonfinite import failing_layer, first_nonfinite
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.tokens import Window

TEXT = "the kettle sings in the kitchen ~ and you pour"


@pytest.mark.parametrize("culprit", range(8))
def test_the_first_token_that_fails_is_found(culprit):
    runs = []

    def failing(start, stop):
        runs.append((start, stop))
        return 2 if start <= culprit < stop else None

    assert first_nonfinite([Window(0, 0, 0, 8)], failing) == (2, culprit)
    assert len(runs) <= 4


def test_windows_are_looked_at_in_order_and_tokens_counted_from_the_start_of_the_text():
    windows = [Window(0, 0, 0, 8), Window(0, 6, 8, 14), Window(0, 12, 14, 20)]
    for culprit in (9, 13):
        assert first_nonfinite(
            windows, lambda start, stop, at=culprit: 1 if start <= at < stop else None
        ) == (1, culprit)


def test_the_layer_is_that_of_the_shortest_run_that_fails():
    """In a longer one a later token may fail at an earlier layer."""
    assert first_nonfinite(
        [Window(0, 0, 0, 6)], lambda start, stop: 0 if stop > 4 else 5 if stop > 2 else None
    ) == (5, 2)


def test_nothing_is_found_where_nothing_fails():
    assert first_nonfinite([Window(0, 0, 0, 8)], lambda start, stop: None) is None


def test_the_first_layer_that_fails_is_found_within_the_span(tiny_model):
    from splinelens.anatomy import anatomy_of

    ids = torch.arange(4, 24)[None]

    def layer(span, depth=3):
        with torch.no_grad():
            return failing_layer(tiny_model, depth, span, lambda: tiny_model(ids, use_cache=False))

    assert layer((0, 20)) is None
    anatomy_of(tiny_model).blocks[1].register_forward_hook(
        lambda _, __, out: spoilt(out[0] if isinstance(out, tuple) else out)
    )
    assert layer((0, 20)) == 1
    assert layer((0, 20), depth=1) is None
    assert layer((0, 7)) in (None, 2)  # whether 0 * NaN reaches earlier tokens is up to the kernel


def spoilt(states):
    states[:, 7:] = torch.nan


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("prompt", ["", "Rude? "])
@pytest.mark.parametrize("features", [("spline7",), ("margins",), ("hidden",), ("attention_id",)])
def test_a_reason_names_layer_token_and_characters(tiny_llama, wrap, side, prompt, features):
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = torch.inf
    spec = FeatureSpec(features, prompt=prompt, max_tokens=64)
    reader = TextReader(loaded, spec, side=side)
    tokenized = reader.tokenize(["you", TEXT])
    token = tokenized[1].ids.index(loaded.tokenizer("~").input_ids[0])
    readings = {reading.text: reading for reading in reader.read(tokenized)}
    assert readings[0].reason is None
    begin = TEXT.index("~")
    assert token > 10
    assert readings[1].reason == (
        f"gives values that are not finite at layer 0, token {token} (characters {begin} to {begin + 1})"
    )


def test_a_token_in_a_later_window_is_found(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = torch.nan
    reader = TextReader(loaded, FeatureSpec(("margins",), max_tokens=8))
    (tokens,) = reader.tokenize([TEXT])
    (reading,) = reader.read([tokens])
    place = tokens.ids.index(loaded.tokenizer("~").input_ids[0])
    assert place > 16
    assert f"at layer 0, token {place} (characters {TEXT.index('~')} to" in reading.reason


def test_a_layer_that_breaks_is_named_though_only_a_later_one_is_read(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.layers[1].mlp.down_proj.weight[0, 0] = torch.inf
    reader = TextReader(loaded, FeatureSpec(("spline7",), layers=(2,), max_tokens=64))
    (reading,) = reader.read(reader.tokenize(["you"]))
    assert reading.reason.startswith("gives values that are not finite at layer 1, token 0 (characters 0 to")


def test_a_prompt_that_fails_is_not_blamed_on_the_text(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = torch.inf
    reader = TextReader(loaded, FeatureSpec(("spline7",), prompt="Hm~ ", max_tokens=64))
    (reading,) = reader.read(reader.tokenize(["you"]))
    assert reading.reason == "gives values that are not finite: the prompt before it does already"


def test_where_every_activation_is_finite_the_column_is_named(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.layers[1].mlp.gate_proj.weight[:] = 0
    reader = TextReader(loaded, FeatureSpec(("spline7",), max_tokens=64))
    (reading,) = reader.read(reader.tokenize(["you"]))
    assert reading.reason == "gives values that are not finite at layer01.sign_mean"
    assert np.isnan(reading.values[7])


def test_texts_that_are_finite_are_run_once(tiny_llama, wrap):
    runs = []
    tiny_llama.register_forward_pre_hook(lambda *_: runs.append(1))
    reader = TextReader(wrap(tiny_llama), FeatureSpec(("spline7",), max_tokens=64))
    list(reader.read(reader.tokenize(["you", TEXT])))
    assert len(runs) == 1
