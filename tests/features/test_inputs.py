"""Tests ``features/inputs.py``: MLP inputs as hooks see them, of all tokens that a reader pools."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from splinelens.errors import CannotWrite
from splinelens.features import inputs
from splinelens.features.inputs import read_inputs, read_margins
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.models import LoadedModel

PROMPT = "Is it kind? "
TEXTS = ["The mill by the river is old.", "", "you silly goose", "A quiet day with you and the ducks " * 3]


@pytest.fixture
def reader(tiny_llama, tiny_tokenizer):
    """A function that makes a reader of layers 0 and 2."""
    loaded = LoadedModel(tiny_llama.eval().requires_grad_(False), tiny_tokenizer, "tiny", None, 3, 3)

    def reader(directions=None, features=("length",), **spec):
        spec = {"layers": (0, 2), "prompt": PROMPT, "max_tokens": 200, **spec}
        return TextReader(loaded, FeatureSpec(features, **spec), directions=directions)

    return reader


def _read(reader, folder, texts=TEXTS, **more):
    return read_inputs(reader, reader.tokenize(texts), folder, **more)


def _hooked(reader, text, max_tokens=256):
    """(token, layer, width) inputs of the MLPs of layers 0 and 2, one text at a time."""
    seen, loaded = [], reader.loaded
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


def test_inputs_are_what_each_mlp_reads_of_each_token_of_a_text(reader, tmp_path):
    read = _read(reader(), tmp_path)
    assert len(read) == len(TEXTS)
    assert (read.tokens.dtype, read.tokens.shape[1:]) == (np.float16, (2, 32))
    assert read.finite.all()
    for row, text in enumerate(TEXTS):
        expected = _hooked(reader(), text)
        found = read.tokens[read.start[row] : read.start[row + 1]]
        assert len(found) == len(reader().loaded.tokenizer(text).input_ids)
        np.testing.assert_allclose(found, expected, atol=2e-3, rtol=1e-3)  # half precision


@pytest.mark.parametrize(
    "spec", [{}, {"max_tokens": 10}, {"suffix": " Well?"}, {"long": "cut", "max_tokens": 10}]
)
def test_margins_from_inputs_are_those_that_a_reader_pools(reader, tmp_path, spec):
    rng = np.random.default_rng(0)
    directions = Directions(
        rng.normal(size=(4, 2, 32)).astype(np.float32), rng.normal(size=4).astype(np.float32)
    )
    read = _read(reader(**spec), tmp_path)
    margins = np.einsum("tlw,hlw->th", read.tokens.astype(np.float32), directions.weight) + directions.bias
    own = reader(directions, ("direction_max", "direction_min"), **spec)
    for row, features in enumerate(own.read(TEXTS)):
        of_text = margins[read.start[row] : read.start[row + 1]]
        if features.reason is None:
            expected = np.concatenate([of_text.max(0), of_text.min(0)])
            np.testing.assert_allclose(features.values, expected, atol=0.02, rtol=1e-3)
    stored = read_margins(own, own.tokenize(TEXTS), tmp_path / "margins.npy")
    np.testing.assert_allclose(stored.values, margins, atol=0.02, rtol=1e-3)
    both = np.concatenate([margins[read.start[2] : read.start[3]], margins[: read.start[1]]])
    np.testing.assert_allclose(stored.of([2, 0]), both, atol=0.02, rtol=1e-3)


def test_a_text_whose_inputs_are_not_finite_is_known(reader, tmp_path):
    own = reader()
    embedding = own.loaded.model.embed_tokens.weight
    embedding.data[own.loaded.tokenizer("#").input_ids[0]] = torch.nan
    read = _read(own, tmp_path, ["a mill", "a # mill", ""])
    assert read.finite.tolist() == [True, False, True]


def test_progress_counts_every_text_once(reader, tmp_path):
    counts = []
    _read(
        reader(max_tokens=10), tmp_path, progress=lambda texts, characters: counts.append((texts, characters))
    )
    texts, characters = map(sum, zip(*counts, strict=True))
    assert (texts, characters) == (len(TEXTS), sum(map(len, TEXTS)))


def test_the_size_is_said_beforehand_and_a_disk_with_too_little_room_is_refused(
    reader, tmp_path, monkeypatch, caplog
):
    with caplog.at_level("INFO"):
        read = _read(reader(), tmp_path, TEXTS * 20)
    size = f"{read.tokens.nbytes / 1e6:.1f} MB"
    assert f"the MLP inputs of {len(read.tokens):,} tokens at 2 layers take {size} in" in caplog.text
    monkeypatch.setattr(inputs.shutil, "disk_usage", lambda folder: SimpleNamespace(free=200_000))
    with pytest.raises(CannotWrite, match=rf"take {size}, and .* has 0\.2 MB left; free space, read fewer"):
        _read(reader(), tmp_path, TEXTS * 20)
