"""Tests features/reference.py."""

import json
import math
import os

import numpy as np
import pytest
import torch

from splinelens.errors import BadFeatures
from splinelens.features.reference import LENGTHS, Reference, shipped
from splinelens.features.token_report import read_tokens
from splinelens.geometry.partition import spline7
from splinelens.geometry.running import Running
from splinelens.geometry.settings import BOUNDARY_POOLINGS, SIGN_POOLINGS
from splinelens.models import load_model


def tables(count=9, tokens=20, layers=3):
    generator = torch.Generator().manual_seed(1)
    for _ in range(count):
        sign, boundary = torch.rand(2, tokens, layers, generator=generator)
        yield seven_of_prefixes(sign, boundary)


def seven_of_prefixes(sign, boundary):
    """The seven features of every prefix, (layer, prefix, 7); (token, layer) in."""
    states = Running.scan(sign, SIGN_POOLINGS), Running.scan(boundary, BOUNDARY_POOLINGS)
    return spline7(*states).transpose(0, 1).numpy()


def fingerprints(loaded):
    return [loaded.fingerprint_at(depth) for depth in range(1, loaded.depth + 1)]


@pytest.fixture
def loaded(tiny_llama, wrap):
    return wrap(tiny_llama)


@pytest.fixture
def reference(loaded):
    return Reference.of(tables(), "made-up texts", fingerprints(loaded))


def test_quantiles_are_numpys_of_the_first_tokens(reference):
    assert reference.lengths == (1, 2, 4, 8, 16)
    assert reference.texts == (9,) * 5
    rows = np.stack([table[:, 7] for table in tables()])
    assert reference.quantiles[3, 1, 4, 50] == pytest.approx(np.median(rows[:, 1, 4]))
    assert reference.quantiles[3, 1, 4, 0] == rows[:, 1, 4].min()
    assert reference.quantiles[3, 1, 4, 100] == rows[:, 1, 4].max()
    assert (np.diff(reference.quantiles, axis=-1) >= 0).all()


def test_each_length_takes_the_texts_that_reach_it():
    mixed = [*tables(3, tokens=20), *tables(2, tokens=5), *tables(1, tokens=40)]
    reference = Reference.of(mixed, "texts", ())
    assert dict(zip(reference.lengths, reference.texts, strict=True)) == {1: 6, 2: 6, 4: 6, 8: 4, 16: 4}


def test_one_text_is_no_reference():
    with pytest.raises(BadFeatures, match="a reference needs two texts at least"):
        Reference.of(tables(1), "texts", ())


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_text_that_is_not_finite_is_named(bad):
    mixed = list(tables(4))
    mixed[2][1, 7, 4] = bad
    with pytest.raises(
        BadFeatures, match=rf"text 2 has \w+ = {bad} at layer 1 over its first 8 tokens; leave it out"
    ):
        Reference.of(mixed, "texts", ())


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_saved_reference_that_is_not_finite_is_refused(reference, tmp_path, bad):
    reference.quantiles[2, 1, 3, 50:] = bad
    reference.save(tmp_path)
    with pytest.raises(BadFeatures, match="is broken: it holds quantiles that are not finite"):
        Reference.load(tmp_path)


@pytest.mark.parametrize(
    ("tokens", "length"), [(1, 1), (2, 2), (3, 4), (5, 4), (6, 8), (11, 8), (12, 16), (999, 16)]
)
def test_the_nearest_length_is_nearest_by_ratio(reference, tokens, length):
    assert reference.nearest(tokens) == length


def test_a_text_much_longer_than_any_of_the_reference_is_noted(reference):
    assert [reference.far(tokens) for tokens in (*range(1, 17), 24)] == [None] * 17
    said = reference.far(3001, "the other text")
    assert said.startswith("percentiles: the other text has 3,001 tokens, compared with the first 16 of")
    assert reference.far(25) is not None
    assert Reference(reference.quantiles[3:], (8, 16), (9, 9), "", ()).far(5) is not None


def test_an_ordinary_text_stands_at_its_rank(reference):
    """Of 9 texts the one of rank k lies at the 100 k / 8th percentile."""
    every = np.stack([table[:, 15] for table in tables()])
    ranks = every.argsort(axis=0).argsort(axis=0)
    for text, rank in zip(every, ranks, strict=True):
        got = reference.percentiles(text, 16, [0, 1, 2])
        # Equal values, as the minima of the sign fraction can be, make no difference: there are none here.
        assert got == pytest.approx(100 * rank / 8, abs=0.6)


def test_what_is_beyond_all_stands_at_the_ends(reference):
    below, above = np.full((1, 7), -1.0), np.full((1, 7), 9.0)
    assert (reference.percentiles(below, 8, [2]) == 0).all()
    assert (reference.percentiles(above, 8, [2]) == 100).all()


def test_a_value_that_all_share_stands_in_the_middle(reference):
    one = reference.percentiles(np.zeros((1, 7)), 1, [0])[0]
    assert one[3] == 50  # of one token the deviations are always 0
    assert one[6] == 50


def test_equal_values_count_half():
    edges = np.tile(np.repeat([0.0, 1.0], [40, 61]).astype(np.float32), (1, 1, 7, 1))
    reference = Reference(edges, (1,), (101,), "texts", ())
    assert reference.percentiles(np.zeros((1, 7)), 1, [0])[0, 0] == 19.5
    assert reference.percentiles(np.ones((1, 7)), 1, [0])[0, 0] == 70
    assert reference.percentiles(np.full((1, 7), 0.5), 1, [0])[0, 0] == 39.5


def test_percentiles_rise_with_the_value(reference):
    values = np.linspace(-0.1, 1.1, 50)
    got = [reference.percentiles(np.full((1, 7), value), 8, [1])[0, 0] for value in values]
    assert (np.diff(got) >= 0).all()
    assert (got[0], got[-1]) == (0, 100)


def test_a_feature_that_is_not_finite_has_no_percentile(reference):
    assert np.isnan(reference.percentiles(np.full((1, 7), math.inf), 8, [0])).all()


def test_only_the_layers_asked_for_are_used(reference):
    seven = seven_of_prefixes(*torch.rand(2, 8, 1))[:, -1]
    alone = reference.percentiles(seven, 8, [2])
    assert (reference.percentiles(np.repeat(seven, 2, axis=0), 8, [2, 0])[0] == alone[0]).all()
    with pytest.raises(BadFeatures, match=r"the reference has no layers \[3\]: it holds 0 to 2"):
        reference.percentiles(seven, 8, [3])


def test_a_reference_says_what_it_holds(reference):
    assert reference.description(7) == "the first 8 tokens of 9 made-up texts"
    assert reference.description(1) == "the first token of 9 made-up texts"


def test_what_is_saved_is_loaded(reference, tmp_path):
    reference.save(tmp_path / "here")
    back = Reference.load(tmp_path / "here")
    assert (back.quantiles == reference.quantiles).all()
    for name in ("lengths", "texts", "source", "fingerprints"):
        assert getattr(back, name) == getattr(reference, name)
    by_file = Reference.load(tmp_path / "here" / "reference.json")
    assert (by_file.quantiles == reference.quantiles).all()
    assert sorted(path.name for path in (tmp_path / "here").iterdir()) == [
        "quantiles.safetensors",
        "reference.json",
    ]


def test_a_folder_without_a_reference_is_refused(tmp_path):
    with pytest.raises(BadFeatures, match=r"no reference at .*Give a folder made by benchmarks/reference.py"):
        Reference.load(tmp_path)


@pytest.mark.parametrize("harm", ["cut", "shape", "schema", "fingerprint", "texts"])
def test_a_broken_reference_is_refused(reference, tmp_path, harm):
    reference.save(tmp_path)
    arrays, place = tmp_path / "quantiles.safetensors", tmp_path / "reference.json"
    record = json.loads(place.read_text("utf-8"))
    if harm == "cut":
        arrays.write_bytes(arrays.read_bytes()[:-9])
    changes = {
        "cut": {},
        "shape": {"lengths": [1, 2]},
        "schema": {"schema": 7},
        "fingerprint": {"fingerprints": [{}]},
        "texts": {"texts": [1]},
    }
    place.write_text(json.dumps(record | changes[harm]), "utf-8")
    with pytest.raises(BadFeatures, match=r"is broken: |is no reference of schema 1"):
        Reference.load(tmp_path)


@pytest.mark.parametrize("name", ["reference.json", "quantiles.safetensors"])
def test_a_reference_of_a_pipe_is_refused(reference, tmp_path, name):
    reference.save(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(BadFeatures, match=f"no reference at .*: {name} is no file"):
        Reference.load(tmp_path)


def test_a_reference_fits_its_very_model_only(reference, loaded, tiny_of, wrap):
    assert reference.fits(loaded) is None
    assert "the weights differ" in reference.fits(wrap(tiny_of("llama", seed=1)))
    assert "another architecture or configuration" in reference.fits(wrap(tiny_of("mistral")))
    assert "number type" in reference.fits(wrap(tiny_of("llama").double()))
    assert "holds 3 blocks, tiny has 4 loaded" in reference.fits(wrap(tiny_of("llama", num_hidden_layers=4)))


def test_a_model_cut_to_fewer_blocks_has_the_same_reference(reference, tmp_path, tiny_llama, tiny_tokenizer):
    tiny_llama.save_pretrained(tmp_path)
    tiny_tokenizer.save_pretrained(tmp_path)
    whole = load_model(str(tmp_path), device="cpu")
    made = Reference.of(tables(), "texts", fingerprints(whole))
    assert made.fits(load_model(str(tmp_path), n_layers=2, device="cpu")) is None


def test_the_shipped_reference_of_the_model_is_found(reference, loaded, tiny_of, wrap, tmp_path, monkeypatch):
    monkeypatch.setattr("splinelens.features.reference.files", lambda _name: tmp_path)
    assert shipped(loaded) is None
    reference.save(tmp_path / "references" / "tiny")
    assert shipped(loaded).source == "made-up texts"
    assert shipped(wrap(tiny_of("llama", seed=1))) is None


def test_a_model_of_another_configuration_is_not_hashed(reference, tiny_of, wrap, tmp_path, monkeypatch):
    monkeypatch.setattr("splinelens.features.reference.files", lambda _name: tmp_path)
    reference.save(tmp_path / "references" / "tiny")
    other = wrap(tiny_of("gpt2"))
    assert shipped(other) is None
    assert "_chain" not in vars(other)


def test_the_reference_of_the_default_model_is_whole(default_model):
    loaded = load_model(default_model, n_layers=2, device="cpu")
    reference = shipped(loaded)
    if reference is None:
        pytest.skip("no reference is shipped yet; make it: python benchmarks/reference.py --data DIR")
    assert reference.lengths == LENGTHS
    assert min(reference.texts) >= 900
    report = read_tokens("The committee met on Tuesday to discuss the new budget.", loaded, attention=False)
    percentiles = reference.percentiles(report.seven, report.tokens, report.layers)
    assert 1 < np.median(percentiles) < 99
