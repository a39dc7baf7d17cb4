"""A tiny model on disk and a detector fitted on it, shared by the tests of the applications."""

import numpy as np
import pytest

from splinelens.apps.training import fit_detector
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.models import load_model

KIND = ["you are good", "the tea is fine", "what a nice thing", "we are at the sea", "thanks to you all"]
RUDE = ["you rude toad", "what a rude thing", "the rude lot of you", "go and be rude there", "rude rude you"]


def labeled(count=40):
    """Texts of which half hold the word ``rude``, and their labels."""
    texts = [f"{(RUDE if row % 2 else KIND)[row // 2 % 5]} {row}" for row in range(count)]
    return texts, np.array([row % 2 for row in range(count)])


@pytest.fixture
def tiny_folder(tmp_path, tiny_llama, tiny_tokenizer):
    """The tiny Llama as a folder that ``load_model`` reads."""
    folder = tmp_path / "tiny"
    tiny_llama.save_pretrained(folder)
    tiny_tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def loaded(tiny_folder):
    return load_model(str(tiny_folder), n_layers=2, device="cpu")


@pytest.fixture
def directions():
    """Six hyperplanes across the two layers of ``loaded``."""
    rng = np.random.default_rng(1)
    weight = rng.normal(size=(6, 2, 32)).astype(np.float16)
    return Directions(weight, rng.normal(size=6).astype(np.float32))


@pytest.fixture
def fit_on(loaded):
    """Fits a detector on the tiny model; changes go to the spec or to ``train``."""

    def fit(directions=None, **spec):
        spec = FeatureSpec(**{"features": ("margins",), "max_tokens": 24, **spec})
        reader = TextReader(loaded, spec, directions=directions)
        texts, labels = labeled()
        words = {"label": "toxic", "negative": "clean"}
        return fit_detector(texts, labels, reader, name="tiny", strengths=(1e-2, 1.0), **words).artifact

    return fit
