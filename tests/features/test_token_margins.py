"""Tests ``features/token_margins.py`` beside prefixes, pooled margins and the engine's own tokens."""

import numpy as np
import pytest

from splinelens.errors import BadFeatures
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.token_margins import Hyperplane, MarginStore, token_margins
from splinelens.geometry.directions import Directions
from splinelens.models import LoadedModel

TEXTS = ["you silly goose", "", "the tea is fine and the garden is green", None, "a"]


@pytest.fixture
def reader(tiny_llama, tiny_tokenizer):
    """Makes a reader of margins of layers 0 and 2, learned ones too."""

    def make(max_tokens=64, **options):
        rng = np.random.default_rng(0)
        directions = Directions(rng.normal(size=(5, 2, 32)).astype(np.float32), np.ones(5, np.float32))
        spec = FeatureSpec(("margins", "directions"), ("max", "min", "mean"), (0, 2), max_tokens=max_tokens)
        loaded = LoadedModel(tiny_llama, tiny_tokenizer, "tiny", None, 3, 3)
        return TextReader(loaded, spec, directions=directions, **options)

    return make


PLANES = [Hyperplane(2, 7), Hyperplane(-1, 4), Hyperplane(0, 47), Hyperplane(-1, 0)]


def column(reader, plane, pooling):
    """Index of the pooled margin among the columns."""
    name = f"direction_{pooling}" if plane.layer < 0 else f"layer{plane.layer:02d}.margin_{pooling}"
    start = 0
    for one in reader.columns:
        if one.name == name:
            return start + plane.index
        start += one.size
    raise AssertionError(name)


@pytest.mark.parametrize("max_tokens", [64, 8])
def test_pooled_over_tokens_they_are_the_columns_of_the_text_also_in_windows(reader, max_tokens):
    one = reader(max_tokens)
    for margins, features in zip(token_margins(one, TEXTS, PLANES), one.read(TEXTS), strict=True):
        assert (margins.reason is None) == (features.reason is None)
        if features.reason is not None:
            assert margins.values.shape == (0, 4)
            continue
        assert margins.offsets == features.offsets
        for at, plane in enumerate(PLANES):
            for pooling in ("max", "min", "mean"):
                expected = features.values[column(one, plane, pooling)]
                pooled = getattr(margins.values[:, at], pooling)()
                np.testing.assert_allclose(pooled, expected, rtol=1e-4, atol=1e-5)


def test_small_batches_padded_left_give_the_same(reader):
    whole = [margins.values for margins in token_margins(reader(), TEXTS, PLANES)]
    small = [margins.values for margins in token_margins(reader(side="left", batch_tokens=8), TEXTS, PLANES)]
    for one, other in zip(whole, small, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_learned_margins_are_those_that_located_features_hold(reader):
    one = reader()
    planes = [Hyperplane(-1, index) for index in range(5)]
    for margins, features in zip(
        token_margins(one, TEXTS, planes), one.read(TEXTS, locate=True), strict=True
    ):
        if features.reason is None:
            np.testing.assert_allclose(margins.values, features.learned, rtol=1e-5, atol=1e-6)


def test_a_store_keeps_the_margins_of_all_texts_or_none():
    one, other = np.ones((3, 2), np.float32), np.zeros((1, 2), np.float32)
    store = MarginStore(most_bytes=one.nbytes + other.nbytes)
    store.add(7, one)
    store.add(4, other)
    one[:] = 5  # the reader uses its memory again
    first, last = store.of([4, 7])
    assert (first.tolist(), last.tolist()) == ([[0, 0]], [[1, 1]] * 3)
    store.add(9, other)
    assert store.of([4]) is None
    store.add(9, None)
    assert store.of([4]) is None


def test_progress_counts_every_text_once(reader):
    seen = []
    list(token_margins(reader(), TEXTS, PLANES, progress=lambda *counts: seen.append(counts)))
    assert np.sum(seen, axis=0).tolist() == [5, sum(len(text or "") for text in TEXTS)]


@pytest.mark.parametrize("plane", [Hyperplane(1, 0), Hyperplane(0, 48), Hyperplane(-1, 5), Hyperplane(9, 0)])
def test_hyperplanes_that_are_not_read_are_refused(reader, plane):
    with pytest.raises(BadFeatures, match=r"is not among the .* hyperplanes there whose margins are read"):
        next(token_margins(reader(), TEXTS, [plane]))
