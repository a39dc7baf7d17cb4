"""Tests features/reader.py on texts longer than a window: nothing is lost, counted twice or misplaced."""

from itertools import pairwise

import numpy as np
import pytest

from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec

LONG = "The path goes over the hill, through the wood and along the river until you reach the old mill."
TEXTS = [LONG, "you", LONG[:40], LONG[::-1], LONG + LONG]


def cuts(length, window):
    """(first run, first pooled, stop) of each window: three quarters of a window further each time."""
    found, start = [(0, 0, min(window, length))], 0
    while found[-1][2] < length:
        start += window - window // 4
        found.append((start, found[-1][2], min(start + window, length)))
    return found


def windowed(ids, window, before=(), after=()):
    return [
        (before + ids[start:stop] + after, slice(len(before) + pooled - start, len(before) + stop - start))
        for start, pooled, stop in cuts(len(ids), window)
    ]


def test_the_windows_of_the_definition_by_hand():
    assert cuts(20, 8) == [(0, 0, 8), (6, 8, 14), (12, 14, 20)]
    assert cuts(8, 8) == [(0, 0, 8)]


@pytest.mark.parametrize("window", [3, 16])
def test_windows_combine_as_their_raw_gates_say(tiny_llama, wrap, rows, slow, error, window):
    got, reader = rows(wrap(tiny_llama.double()), TEXTS, max_tokens=window)
    ids = [text.ids for text in reader.tokenize(TEXTS)]
    assert len(ids[4]) > 120
    assert error(reader, got, np.stack([slow(reader, windowed(text, window)) for text in ids])) <= 1e-6


def test_windows_combine_so_in_every_family_around_a_prompt(
    tiny_model, wrap, rows, slow, error, sides, tiny_tokenizer
):
    before, after = (tuple(tiny_tokenizer(text).input_ids) for text in ("Say: ", " (end)"))
    for side in sides:
        got, reader = rows(
            wrap(tiny_model.double()), TEXTS[:3], max_tokens=20, prompt="Say: ", suffix=" (end)", side=side
        )
        ids = [text.ids for text in reader.tokenize(TEXTS[:3])]
        expected = np.stack([slow(reader, windowed(text, 20, before, after)) for text in ids])
        assert error(reader, got, expected) <= 1e-6


def test_a_window_that_sees_the_whole_text_changes_nothing(tiny_llama, wrap, rows, error):
    loaded = wrap(tiny_llama.double())
    (length,) = {len(text.ids) for text in TextReader(loaded, FeatureSpec(max_tokens=9)).tokenize([LONG])}
    exact, reader = rows(loaded, [LONG], max_tokens=length)
    roomy, _ = rows(loaded, [LONG], max_tokens=200)
    narrow, _ = rows(loaded, [LONG], max_tokens=length - 1)
    assert error(reader, exact, roomy) <= 1e-6
    assert error(reader, narrow, roomy) > 1e-6  # the last token has lost its furthest context


@pytest.mark.parametrize("window", [20, 200])
@pytest.mark.parametrize("pooling", ["max", "min", "last"])
@pytest.mark.parametrize("side", ["right", "left"])
def test_source_is_the_token_that_has_the_margin(tiny_llama, wrap, slow_margins, window, pooling, side):
    reader = TextReader(
        wrap(tiny_llama), FeatureSpec(("margins", "sign_mean"), (pooling,), max_tokens=window), side=side
    )
    for text, tokens in zip(reader.read(TEXTS, locate=True), reader.tokenize(TEXTS), strict=True):
        margins = slow_margins(reader, windowed(tokens.ids, window))
        for layer in range(3):
            assert text.source[49 * layer] == -1  # sign_mean comes from all tokens
            entries = slice(49 * layer + 1, 49 * layer + 49)
            source = text.source[entries]
            at = margins[layer][source, np.arange(48)]
            assert np.allclose(at, text.values[entries], atol=1e-5)
            best = {"max": margins[layer].max(0), "min": margins[layer].min(0), "last": margins[layer][-1]}[
                pooling
            ]
            assert np.allclose(at, best, atol=1e-5)
            assert pooling != "last" or (source == len(tokens.ids) - 1).all()


def test_sources_are_computed_on_request_and_change_no_value(tiny_llama, wrap):
    reader = TextReader(wrap(tiny_llama), FeatureSpec(("margins",), ("max", "last"), max_tokens=20))
    plain, located = reader.read(TEXTS), reader.read(TEXTS, locate=True)
    for text, other in zip(plain, located, strict=True):
        assert text.source is None
        assert np.array_equal(text.values, other.values)


def test_a_mean_has_no_source(tiny_llama, wrap):
    reader = TextReader(wrap(tiny_llama), FeatureSpec(("margins", "occupancy"), ("mean",), max_tokens=20))
    (text,) = reader.read([LONG], locate=True)
    assert (text.source == -1).all()


def test_a_cut_text_is_read_to_the_cut_and_its_length_counted_whole(tiny_llama, wrap, rows):
    loaded = wrap(tiny_llama)
    got, reader = rows(loaded, [LONG], max_tokens=20, long="cut")
    (text,) = reader.tokenize([LONG])
    assert text.cut
    assert len(text.ids) == 20
    begin, end = text.offsets[-1]
    kept, _ = rows(loaded, [LONG[:end]], max_tokens=20)
    assert begin < end < len(LONG)
    assert np.array_equal(got[:, :-1], kept[:, :-1])
    assert got[0, -1] == text.total > 20


def test_appending_tokens_never_lowers_a_largest_margin_nor_raises_a_smallest(tiny_model, wrap, rows):
    """Attention is causal: what follows does not change the earlier tokens."""
    loaded = wrap(tiny_model.double())
    texts = [" ".join(LONG.split()[:words]) for words in (1, 4, 9, 14)]
    tokens = [text.ids for text in TextReader(loaded, FeatureSpec(max_tokens=96)).tokenize(texts)]
    assert all(longer[: len(shorter)] == shorter for shorter, longer in pairwise(tokens))
    largest, _ = rows(loaded, texts, features=("margins",), pooling=("max",))
    smallest, _ = rows(loaded, texts, features=("margins",), pooling=("min",))
    nearest, _ = rows(loaded, texts, features=("boundary_min",))
    assert (np.diff(largest, axis=0) >= -1e-6).all()
    assert (np.diff(smallest, axis=0) <= 1e-6).all()
    assert (np.diff(nearest, axis=0) <= 1e-6).all()
    assert (np.diff(largest, axis=0) > 0.01).any()


def test_progress_is_reported_within_a_long_text(tiny_llama, wrap):
    texts, steps = ["good morning " * 40, "a"], []
    reader = TextReader(wrap(tiny_llama), FeatureSpec(layers=(0,), max_tokens=16), batch_tokens=32)
    for prefixes in (False, True):
        steps.clear()
        list(reader.read(texts, prefixes=prefixes, progress=lambda *step: steps.append(step)))
        assert sum(count for count, _ in steps) == 2
        assert sum(characters for _, characters in steps) == sum(map(len, texts))
        assert sum(count == 0 for count, _ in steps) > 5
