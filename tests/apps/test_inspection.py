"""Tests apps/inspection.py."""

import numpy as np
import pytest
import torch

from splinelens.apps.inspection import inspect
from splinelens.errors import BadFeatures, BadTexts, NoTokens
from splinelens.features.reference import Reference
from splinelens.features.token_report import read_tokens, text_distances
from splinelens.geometry.slices import slice_partition
from splinelens.models import LoadedModel

TEXT = "the thing you are after"


@pytest.fixture
def load(tiny_of, tiny_tokenizer):
    """Loads a tiny model of a family."""

    def load(name, **changes):
        model = tiny_of(name, **changes).eval().requires_grad_(False)
        depth = model.config.get_text_config().num_hidden_layers
        return LoadedModel(model, tiny_tokenizer, "tiny", None, depth, depth)

    return load


def reference_of(loaded, tokens=12):
    """A reference of random texts that fits a model."""
    tables = [torch.rand(loaded.depth, tokens, 7).numpy() for _ in range(5)]
    prints = [loaded.fingerprint_at(depth) for depth in range(1, loaded.depth + 1)]
    return Reference.of(tables, "random texts", prints)


def test_a_report_holds_what_was_read_of_the_text(load):
    loaded = load("llama")
    found, reading = inspect(TEXT, loaded), read_tokens(TEXT, loaded)
    (text,) = found.texts
    for name in ("sign", "boundary", "nearest_wall", "dimension", "bound", "regions", "seven"):
        assert (getattr(text, name) == getattr(reading, name)).all(), name
    assert (text.text, text.spans) == (TEXT, reading.spans)
    assert (found.model, found.layers, found.heads, found.neurons) == ("tiny", (0, 1, 2), 4, 48)
    optional = (found.text_distance, found.self_distance, found.prefixes, found.percentiles)
    assert optional == (None,) * 4


def test_prefixes_are_the_seven_features_of_each_beginning(load):
    loaded = load("llama")
    found = inspect(TEXT, loaded, prefixes=True)
    (text,), (prefixes,) = found.texts, found.prefixes
    for tokens in (1, 2, 7, 12):
        alone = read_tokens(TEXT[: text.spans[tokens - 1][1]], loaded)
        assert alone.spans == text.spans[:tokens]
        assert prefixes[:, tokens - 1] == pytest.approx(alone.seven, rel=1e-4, abs=1e-6)


def test_two_texts_stand_beside_each_other(load):
    loaded = load("llama")
    found = inspect(TEXT, loaded, versus="so it is")
    assert [text.text for text in found.texts] == [TEXT, "so it is"]
    readings = [read_tokens(text, loaded) for text in (TEXT, "so it is")]
    assert (found.text_distance == text_distances(loaded, *readings)).all()
    for own, reading in zip(found.self_distance, readings, strict=True):
        assert (own == text_distances(loaded, reading, reading)).all()
    assert found.slice.labels == ("text 1, token 11 'er'", "text 2, token 7 's'", "text 1, token 6 'r'")


def test_the_slice_is_that_of_the_middle_layer_unless_told(load):
    loaded = load("gpt2")
    found = inspect(TEXT, loaded).slice
    reading = read_tokens(TEXT, loaded, keep_inputs=[1])
    mlp = loaded.model.h[1].mlp.c_fc
    picture = slice_partition(reading.inputs[1][[0, 6, 11]], mlp.weight.T, mlp.bias)
    assert (found.layer, found.neurons, found.box) == (1, 48, picture.box)
    assert (found.walls == picture.walls).all()
    assert (found.segments == picture.segments).all()
    assert found.regions == len(picture.polygons)
    for cell, place in zip(found.cells, picture.positions, strict=True):
        inside, point = picture.on(np.stack([cell.mean(axis=0), place]))
        assert (inside == point).all()
        assert any(np.allclose(cell.mean(axis=0), each.mean(axis=0)) for each in picture.polygons)
    told = inspect(TEXT, loaded, slice_at=(2, (1, 2, 3))).slice
    assert told.layer == 2
    assert [label[:7] for label in told.labels] == ["token 1", "token 2", "token 3"]
    assert inspect(TEXT, loaded, layers=[0, 2]).slice.layer == 2


@pytest.mark.parametrize(
    "name",
    ["llama", "phi3", "gpt2", "opt", "mixtral", "qwen3_next", "falcon", "bloom", "deepseek_v3", "gemma3"],
)
def test_every_structure_can_be_inspected(load, name):
    found = inspect(TEXT, load(name), versus="so it is", prefixes=True)
    assert len(found.texts) == 2
    assert found.slice.regions > 1
    assert found.text_distance.shape == (3,)
    assert ((found.text_distance > 0) & (found.text_distance < 1)).all()
    assert (found.text_distance >= found.self_distance.mean(axis=0) - 1e-6).all()


def test_notes_say_what_an_architecture_lacks(load):
    hybrid = inspect(TEXT, load("qwen3_next")).notes
    assert "layers 0, 2: no intrinsic dimension, since linear attention has no softmax" in hybrid
    assert (
        "layers 1, 2: signs, walls and regions are those of the experts that a token is routed to" in hybrid
    )
    assert "slice: layer 1 consists of experts; only the walls of the shared one are drawn" in hybrid
    falcon = inspect(TEXT, load("falcon")).notes
    assert (
        "FalconModel hands over no scores: intrinsic dimensions are counted on its attention weights"
        in falcon
    )
    linear = inspect(TEXT, load("qwen3_next"), layers=[0])
    assert linear.notes[0] == "layer 0: no intrinsic dimension, since linear attention has no softmax"
    assert (linear.texts[0].dimension == -1).all()


def test_percentiles_come_from_the_reference_of_the_model(load, tmp_path):
    loaded = load("llama")
    reference = reference_of(loaded)
    found = inspect(TEXT, loaded, reference=reference)
    (text,), (percentiles,) = found.texts, found.percentiles
    assert (percentiles == reference.percentiles(text.seven, 12, (0, 1, 2))).all()
    assert found.reference == ("the first 8 tokens of 5 random texts",)
    assert found.notes == ()
    reference.save(tmp_path)
    again = inspect(TEXT, loaded, reference=tmp_path, layers=[2])
    assert (again.percentiles[0][0] == percentiles[2]).all()
    both = inspect("a", loaded, versus=TEXT, reference=reference)
    assert both.reference == ("the first token of 5 random texts", "the first 8 tokens of 5 random texts")
    long = inspect("a", loaded, versus=TEXT * 3, reference=reference)
    assert "percentiles: the other text has" in " ".join(long.notes)
    assert "percentiles: the text has" not in " ".join(long.notes)


def test_without_a_fitting_reference_there_are_no_percentiles_and_a_note(load):
    loaded = load("llama")
    none = inspect(TEXT, loaded)
    assert none.reference is None
    assert none.notes[-1].startswith(
        "no percentiles: no reference comes with splinelens for this model (tiny)"
    )
    other = inspect(TEXT, load("llama", seed=1), reference=reference_of(loaded))
    assert other.percentiles is None
    assert other.notes[-1].startswith("no percentiles: the weights differ")
    prompted = inspect(TEXT, loaded, prompt="so ", reference=reference_of(loaded))
    assert prompted.percentiles is None
    assert "references are made without a prompt" in prompted.notes[-1]


def test_one_token_has_everything_but_a_slice(load):
    found = inspect("a", load("llama"), prefixes=True)
    (text,) = found.texts
    assert found.slice is None
    assert any(note.startswith("no slice: it takes three tokens that span a plane") for note in found.notes)
    assert text.seven[:, [3, 6]].tolist() == [[0, 0]] * 3
    assert (text.dimension == 1).all()
    assert (text.bound == 0).all()
    assert (text.regions == 1).all()


def test_a_model_is_loaded_by_name_and_only_as_deep_as_needed(tmp_path, tiny_llama, tiny_tokenizer):
    tiny_llama.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    whole, some = inspect(TEXT, str(tmp_path)), inspect(TEXT, str(tmp_path), layers=[1, 0, 1])
    assert some.layers == (0, 1)
    assert (some.texts[0].boundary == whole.texts[0].boundary[:2]).all()
    with pytest.raises(BadFeatures, match=r"cannot load 9 blocks: .* has 3, its layers are 0 to 2"):
        inspect(TEXT, str(tmp_path), layers=[8])
    with pytest.raises(BadFeatures, match=r"layers \[-1\] do not exist: they are counted from 0"):
        inspect(TEXT, str(tmp_path), layers=[-1])


def test_bad_texts_are_refused(load):
    loaded = load("llama")
    with pytest.raises(NoTokens, match="the text is empty; give another text"):
        inspect("", loaded)
    with pytest.raises(NoTokens, match="the other text is only white space"):
        inspect(TEXT, loaded, versus="  ")
    with pytest.raises(BadTexts, match="the text must be one string, and this is a list; give one text"):
        inspect([TEXT], loaded)
    with pytest.raises(BadTexts, match=r"has 12 tokens; at most 8 are read: pass max_tokens=12"):
        inspect(TEXT, loaded, max_tokens=8)


def test_what_does_not_exist_is_refused(load):
    loaded = load("llama")
    with pytest.raises(BadFeatures, match=r"layers \[3\] do not exist"):
        inspect(TEXT, loaded, layers=[0, 3])
    with pytest.raises(BadFeatures, match="no layer to read; name at least one"):
        inspect(TEXT, loaded, layers=[])
    with pytest.raises(BadFeatures, match="no slice at layer 1: the layers that are read are 0, 2"):
        inspect(TEXT, loaded, layers=[0, 2], slice_at=(1, (0, 1, 2)))
    with pytest.raises(BadFeatures, match="a slice goes through three tokens, not through 2; name three"):
        inspect(TEXT, loaded, slice_at=(1, (0, 1)))
    with pytest.raises(BadFeatures, match="token 12 does not exist: the text has 12 tokens, 0 to 11"):
        inspect(TEXT, loaded, slice_at=(1, (0, 1, 12)))
    with pytest.raises(BadFeatures, match=r"eps is 1\.5"):
        inspect(TEXT, "no such model", eps=1.5)  # told before a model is looked for


def test_a_text_that_breaks_the_model_is_refused_by_name(tiny_of, load):
    loaded = load("llama")
    loaded.model.layers[1].mlp.down_proj.weight.data[0, 0] = torch.inf
    with pytest.raises(
        BadFeatures, match="the text gives activations that are not finite at layer 1, token 0"
    ):
        inspect(TEXT, loaded)
