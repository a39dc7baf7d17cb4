"""Tests features/nonfinite.py, and that a reason of the reader names the layer and token to blame."""

import numpy as np
import pytest
import torch

from splinelens.features.nonfinite import first_nonfinite, location
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.tokens import TokenizedText, Window

TEXT = "the kettle sings in the kitchen ~ and you pour"


@pytest.mark.parametrize("culprit", range(8))
def test_the_first_token_that_fails_is_found(culprit):
    runs = []

    def failing(start, stop):
        runs.append((start, stop))
        return 2 if start <= culprit < stop else None

    assert first_nonfinite([Window(0, 0, 0, 8)], failing) == (2, culprit)
    assert len(runs) <= 4


def test_windows_are_run_in_order_and_tokens_counted_from_the_start_of_the_text():
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


def test_a_location_counts_tokens_and_characters_from_0():
    text = TokenizedText((7, 8), ((0, 2), (2, 5)), 2)
    assert location(text, 3, 1) == " at layer 3, token 1 (characters 2 to 5)"


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("prompt", ["", "Rude? "])
@pytest.mark.parametrize("features", [("spline7",), ("margins",), ("hidden",), ("attention_id",)])
def test_a_reason_names_layer_token_and_characters(tiny_llama, wrap, side, prompt, features):
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = torch.inf
    spec = FeatureSpec(features, prompt=prompt, max_tokens=64)
    reader = TextReader(loaded, spec, side=side)
    token = loaded.tokenizer(TEXT).input_ids.index(loaded.tokenizer("~").input_ids[0])
    sound, failing = reader.read(["you", TEXT])
    assert sound.reason is None
    begin = TEXT.index("~")
    assert token > 10
    assert failing.reason == (
        f"gives values that are not finite at layer 0, token {token} (characters {begin} to {begin + 1})"
    )


def test_a_token_in_a_later_window_is_found(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = torch.nan
    reader = TextReader(loaded, FeatureSpec(("margins",), max_tokens=8))
    (features,) = reader.read([TEXT])
    token = loaded.tokenizer(TEXT).input_ids.index(loaded.tokenizer("~").input_ids[0])
    assert token > 16
    assert f"at layer 0, token {token} (characters {TEXT.index('~')} to" in features.reason


def test_a_layer_that_breaks_is_named_though_only_a_later_one_is_read(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.layers[1].mlp.down_proj.weight[0, 0] = torch.inf
    reader = TextReader(loaded, FeatureSpec(("spline7",), layers=(2,), max_tokens=64))
    (features,) = reader.read(["you"])
    assert features.reason.startswith("gives values that are not finite at layer 1, token 0 (characters 0 to")


@pytest.mark.parametrize(("family", "side"), [("llama", "right"), ("llama", "left"), ("qwen3_next", "right")])
def test_a_prompt_that_fails_is_not_blamed_on_the_text(tiny_of, wrap, family, side):
    loaded = wrap(tiny_of(family))
    loaded.model.embed_tokens.weight[loaded.tokenizer("~").input_ids[0]] = torch.inf
    reader = TextReader(loaded, FeatureSpec(("spline7",), prompt="Hm~ ", max_tokens=64), side=side)
    (features,) = reader.read(["you"])
    assert features.reason == "gives values that are not finite: the prompt before it does already"


def test_where_every_activation_is_finite_the_column_is_named(tiny_llama, wrap):
    loaded = wrap(tiny_llama)
    loaded.model.layers[1].mlp.gate_proj.weight[:] = 0
    reader = TextReader(loaded, FeatureSpec(("spline7",), max_tokens=64))
    (features,) = reader.read(["you"])
    assert features.reason == "gives values that are not finite at layer01.sign_mean"
    assert np.isnan(features.values).all()


def test_texts_that_are_finite_are_run_once(tiny_llama, wrap):
    runs = []
    tiny_llama.register_forward_pre_hook(lambda *_: runs.append(1))
    reader = TextReader(wrap(tiny_llama), FeatureSpec(("spline7",), max_tokens=64))
    list(reader.read(["you", TEXT]))
    assert len(runs) == 1
