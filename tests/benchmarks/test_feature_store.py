"""Tests detection/feature_store.py: what is stored is the table, to half precision; killed runs resume."""

import numpy as np
import pytest
from detection.feature_store import FeatureStore

from splinelens.errors import CannotResume, NoTokens
from splinelens.features.extract import read_table
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.texts import Texts, read_texts

TEXTS = ["the king", "you and the thing", "", "an inn in the rain", "another other"]


@pytest.fixture
def reader(loaded):
    return TextReader(loaded, FeatureSpec(("margin_max", "sign_mean", "length"), max_tokens=64))


def test_a_store_holds_the_table_in_half_precision(reader, tmp_path):
    texts = read_texts(TEXTS)
    table, store = read_table(reader, texts), FeatureStore(reader, texts, tmp_path / "s")
    assert [*store.sizes] == table.names
    assert len(store) == 5
    assert store.reasons == table.reasons
    assert store.ok.tolist() == table.ok.tolist() == [True, True, False, True, True]
    assert store.provenance == table.provenance
    assert (store.tokens == table.tokens).all()
    for name in table.names:
        expected = table.column(name).reshape(5, -1)
        assert store.column(name).dtype == np.float16
        assert np.allclose(store.column(name), expected, rtol=1e-3, atol=1e-6, equal_nan=True)
    assert np.isnan(store.rows(table.names)[2]).all()
    some = store.rows(["layer01.margin_max", "length"], np.array([3, 0]))
    assert some.dtype == np.float32
    assert np.allclose(some[:, :-1], table.column("layer01.margin_max")[[3, 0]], rtol=1e-3, atol=1e-6)
    assert some[:, -1].tolist() == [table.tokens[3], table.tokens[0]]


def test_values_out_of_the_range_of_a_half_are_clipped(loaded, tmp_path):
    loaded.model.layers[0].mlp.down_proj.weight.data *= 1e7
    reader = TextReader(loaded, FeatureSpec(("hidden",), layers=(0,), max_tokens=64))
    exact = read_table(reader, read_texts(TEXTS)).values
    stored = FeatureStore(reader, read_texts(TEXTS), tmp_path).column("layer00.hidden_max")
    assert (np.nanmax(np.abs(exact)), np.nanmax(np.abs(stored))) > (65504, 65503)
    assert np.array_equal(stored, exact.clip(-65504, 65504).astype(np.float16), equal_nan=True)


def test_a_killed_store_resumes_and_an_equal_run_only_opens_it(reader, tmp_path, monkeypatch):
    texts = read_texts(TEXTS)
    whole = FeatureStore(reader, texts, tmp_path / "whole")
    monkeypatch.setattr("splinelens.features.reader.CHUNK", 2)
    read = []

    def stop(count, _):
        read.append(count)
        if sum(read) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FeatureStore(reader, texts, tmp_path / "part", stop)
    for expected in ([2, 1, 1, 1], [5]):  # a chunk of two was kept; then all is there
        steps = []
        rest = FeatureStore(reader, texts, tmp_path / "part", lambda count, _, into=steps: into.append(count))
        assert steps == expected
        for name in whole.sizes:
            assert np.array_equal(rest.column(name), whole.column(name), equal_nan=True)


def test_another_run_and_no_texts_are_refused(reader, tmp_path):
    FeatureStore(reader, read_texts(TEXTS), tmp_path)
    with pytest.raises(CannotResume, match="holds rows of another run: the texts are others"):
        FeatureStore(reader, read_texts(["the one"]), tmp_path)
    with pytest.raises(NoTokens, match="nowhere has no texts; give at least one"):
        FeatureStore(reader, Texts((), {}, "nowhere"), tmp_path)
