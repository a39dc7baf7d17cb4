"""Tests features/store.py: what is stored is the table, to half precision, and killed runs go on."""

import numpy as np
import pytest
from detection.feature_store import stored

from splinelens.errors import BadFeatures, CannotResume
from splinelens.features import store as store_file
from splinelens.features.extract import read_table
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.models import LoadedModel
from splinelens.texts import read_texts

TEXTS = ["the king", "you and the thing", "", "an inn in the rain", "another other"]


@pytest.fixture
def reader(tiny_llama, tiny_tokenizer):
    spec = FeatureSpec(features=("margin_max", "sign_mean", "length"), max_tokens=64)
    return TextReader(LoadedModel(tiny_llama, tiny_tokenizer, "tiny", None, 3, 3), spec)


def test_a_store_holds_the_table_in_half_precision(reader, tmp_path):
    texts = read_texts(TEXTS)
    table, store = read_table(reader, texts), stored(reader, texts, tmp_path / "s")
    assert [*store.sizes] == table.names
    assert store.reasons == table.reasons
    assert (store.tokens == table.tokens).all()
    for name in table.names:
        wanted = table.column(name).reshape(5, -1)
        assert np.allclose(store.column(name), wanted, rtol=1e-3, atol=1e-6, equal_nan=True)
    assert np.isnan(store.rows(table.names)[2]).all()
    some = store.rows(["layer01.margin_max", "length"], np.array([3, 0]))
    assert np.allclose(some[:, :-1], table.column("layer01.margin_max")[[3, 0]], rtol=1e-3, atol=1e-6)
    assert some[:, -1].tolist() == [table.tokens[3], table.tokens[0]]


def test_an_interrupted_store_goes_on_where_it_was(reader, tmp_path, monkeypatch):
    texts = read_texts(TEXTS)
    whole = stored(reader, texts, tmp_path / "whole")
    monkeypatch.setattr(store_file, "_STRETCH", 2)
    seen = []

    def stop(count, _):
        seen.append(count)
        if sum(seen) == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored(reader, texts, tmp_path / "part", stop)
    again = []
    rest = stored(reader, texts, tmp_path / "part", lambda count, _: again.append(count))
    assert sum(again) == 3  # the first stretch of two was kept
    for name in whole.sizes:
        assert np.array_equal(rest.column(name), whole.column(name), equal_nan=True)


def test_another_run_or_column_is_refused(reader, tmp_path):
    store = stored(reader, read_texts(TEXTS), tmp_path)
    with pytest.raises(BadFeatures, match=r"no column 'layer09.margin_max'; it has layer00"):
        store.column("layer09.margin_max")
    with pytest.raises(CannotResume, match="holds numbers of another run: data_hash was"):
        stored(reader, read_texts(["the one"]), tmp_path)
