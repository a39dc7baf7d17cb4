"""Tests detection/readings.py: features are read once, found again, and not at all in a quick run."""

from dataclasses import replace

import numpy as np
import pytest
from detection.readings import READINGS, Readings
from detection.rows import joined, rows_of

from splinelens.errors import CannotResume
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.store import stored


@pytest.fixture
def rows():
    return joined([rows_of("jig", np.array([9, 2, 4]), [0, 0, 0]), rows_of("para", [1], [1])])


def test_values_are_those_of_the_rows_whatever_their_set(data, loaded, tmp_path, rows):
    readings = Readings(data, tmp_path / "cache", loaded)
    columns = ["layer01.sign_mean", "layer02.sign_mean"]
    found = readings.values(rows, "plain", columns)
    reader = TextReader(loaded, READINGS["plain"])
    [alone] = [reading.values for reading in reader.read(reader.tokenize([data.sets["jig"].texts[2]]))]
    sizes = [column.size for column in reader.columns]
    names = [column.name for column in reader.columns]
    start = sum(sizes[: names.index("layer01.sign_mean")])
    assert found.shape == (4, 2)
    assert found[1, 0] == pytest.approx(alone[start], rel=1e-3)
    assert np.array_equal(np.concatenate([*readings.chunks(rows, "plain", columns)]), found)


def test_what_is_not_cached_is_named_and_not_read(data, loaded, tmp_path, rows):
    cache = tmp_path / "cache"
    readings = Readings(data, cache, loaded, cached_only=True)
    assert readings.lacking("jig", "plain") == "jig/plain is not cached (0 of 100 rows)"
    assert not cache.exists()
    Readings(data, cache, loaded).store("jig", "plain")
    assert Readings(data, cache, loaded, cached_only=True).lacking("jig", "plain") is None
    assert Readings(data, cache, loaded).lacking("para", "plain") is None  # it will be read


def test_a_cache_of_another_spec_is_refused(data, loaded, tmp_path):
    stored(TextReader(loaded, READINGS["plain64"]), data.sets["jig"], tmp_path / "jig" / "plain")
    with pytest.raises(CannotResume, match=r"holds numbers of another run: spec.features was"):
        Readings(data, tmp_path, loaded).store("jig", "plain")


def test_tokens_are_counted_without_a_pass(data, loaded, tmp_path, rows):
    readings = Readings(data, tmp_path / "cache", loaded)
    texts = rows.texts(data)
    assert readings.tokens(rows).tolist() == [len(loaded.tokenizer(text).input_ids) for text in texts]
    assert not (tmp_path / "cache").exists()


def test_a_spec_gets_the_reading_that_holds_its_columns_or_becomes_one(data, loaded, tmp_path):
    readings = Readings(data, tmp_path, loaded)
    held = replace(READINGS["prompted"], features=("margins",), pooling=("max",), layers=(0, 2))
    assert readings.admit(held, "ours") == "prompted"
    assert readings.admit(FeatureSpec(("spline7",), max_tokens=64, long="cut"), "ours") == "plain64"
    assert readings.specs == READINGS
    other = replace(held, prompt="Rude? ")
    assert readings.admit(other, "ours") == "ours"
    assert readings.specs["ours"] == other
    assert "ours" not in READINGS


def test_latency_is_measured_with_test_rows_of_jigsaw_once_a_spec(data, loaded, tmp_path):
    readings = Readings(data, tmp_path, loaded)
    assert readings.sample() == list(data.sets["jig"].texts[40:50])
    spec = FeatureSpec(("length",), max_tokens=64)
    passes = readings.passes(spec)
    assert len(passes) == 10
    assert all(one.seconds > 0 for one in passes)
    assert [one.values[0, 0] for one in passes] == readings.counted(readings.sample()).tolist()
    assert readings.passes(spec) is passes
    rest = {name: texts for name, texts in data.sets.items() if name != "jig"}
    assert len(Readings(replace(data, sets=rest), tmp_path, loaded).sample()) == 10
