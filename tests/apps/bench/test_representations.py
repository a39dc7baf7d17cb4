"""Tests apps/bench/representations.py: each turns the same rows into scores, and says what it costs."""

import numpy as np
import pytest

from splinelens.apps.bench.outside import Encoder, Recipe, Rival
from splinelens.apps.bench.plan import Plan
from splinelens.apps.bench.readings import PROMPT, Readings
from splinelens.apps.bench.representations import (
    Encoded,
    Length,
    Outside,
    Shipped,
    Stored,
    WordCounts,
    pass_latency,
)
from splinelens.apps.training import train
from splinelens.detect.evaluate import auc
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec


@pytest.fixture
def readings(data, loaded, tmp_path):
    return Readings(data, tmp_path / "cache", loaded)


@pytest.fixture
def halves(data):
    return Plan(data, 3, lambda rows: np.ones(len(rows))).halves("jig")


@pytest.mark.parametrize(
    ("reading", "names", "head", "layers"),
    [
        ("plain", ("spline7",), "forest", None),
        ("prompted", ("margin_max",), "logistic", (0, 1)),
        ("plain", ("hidden_mean",), "logistic", None),
    ],
)
def test_features_with_a_head_tell_rude_from_kind(readings, halves, reading, names, head, layers):
    stored = Stored(readings, reading, names, head, layers)
    train_rows, test = halves
    first, again = stored.scores(train_rows, [test, test])
    assert np.array_equal(first, again)
    assert auc(test.labels, first) > 0.6
    cost = stored.cost()
    assert cost.latency_ms > 0
    sizes = {"forest": None, "logistic": 12 * (2 * 48 if layers else 3 * 32)}
    assert cost.size_bytes == sizes[head]


def test_words_and_length_need_no_pass(readings, halves, tmp_path):
    train_rows, test = halves
    words = WordCounts(readings, "word", (1, 2))
    [scores] = words.scores(train_rows, [test])
    assert auc(test.labels, scores) > 0.9
    assert words.cost().size_bytes > 0
    [lengths] = Length(readings).scores(train_rows, [test])
    assert np.isfinite(lengths).all()
    assert not (tmp_path / "cache").exists()


def test_a_fitted_detector_reads_the_cached_features_and_scores_as_it_does_alone(readings, halves, data):
    spec = FeatureSpec(("margins",), ("max",), layers=(0, 2), prompt=PROMPT, max_tokens=256)
    train_rows, test = halves
    reader = TextReader(readings.loaded, spec)
    texts = data.sets["raw"].texts
    labels = np.array(data.sets["raw"].columns["positive"])
    artifact = train(texts, labels, reader, name="ours", strengths=(1e-2,), sources=["raw"])
    shipped = Shipped(readings, artifact)
    [scores] = shipped.scores(train_rows, [test])
    assert shipped.own_training == "raw"
    known = reader.read(reader.tokenize(test.texts(data)))
    values = np.stack([reading.values for reading in sorted(known, key=lambda reading: reading.text)])
    assert scores == pytest.approx(
        artifact.calibrations[0].score(artifact.head.logit(values)[:, 0]), abs=0.02
    )
    assert [place.name for place in (readings.cache / "jig").iterdir()] == ["prompted"]


def test_a_detector_with_another_prompt_gets_a_reading_of_its_own(readings, halves, data):
    spec = FeatureSpec(("margins",), ("max",), layers=(1,), prompt="Rude? ", max_tokens=64)
    labels = np.array(data.sets["raw"].columns["positive"])
    artifact = train(
        data.sets["raw"].texts,
        labels,
        TextReader(readings.loaded, spec),
        name="ours",
        strengths=(1e-2,),
    )
    [scores] = Shipped(readings, artifact).scores(halves[0], [halves[1]])
    assert np.isfinite(scores).all()
    assert (readings.cache / "jig" / "ours").is_dir()


def test_only_cached_features_and_embeddings_count_in_a_quick_run(data, loaded, tmp_path):
    quick = Readings(data, tmp_path, loaded, cached_only=True)
    assert Stored(quick, "plain", ("spline7",)).lacking(["jig"]).startswith("jig/plain is not cached")
    encoded = Encoded(quick, Encoder(tmp_path / "encoder", install=False))
    assert encoded.lacking(["jig", "para"]) == "embeddings of jig, para are not cached"
    assert Length(quick).lacking(["jig"]) is None


def test_embeddings_get_a_head_like_all_others(data, loaded, tmp_path, halves):
    encoder = Encoder(tmp_path / "encoder")
    encoder.encode = lambda texts: np.array([[("silly" in text), len(text)] for text in texts], np.float32)
    encoder.size_bytes = lambda: 7
    encoder.folder.mkdir()
    encoded = Encoded(Readings(data, tmp_path, loaded), encoder)
    [scores] = encoded.scores(halves[0], [halves[1]])
    assert auc(halves[1].labels, scores) > 0.6
    assert encoded.cost().size_bytes == 7
    assert encoder.cached("jig", data.sets["jig"])


def test_a_rival_is_asked_for_whole_sets(readings, halves, tmp_path):
    rival = Rival("theirs", tmp_path / "theirs", recipe=Recipe((), "", "0"))
    rival.scores = lambda name, texts: np.arange(len(texts)) / len(texts)
    outside = Outside(readings, rival)
    [scores] = outside.scores(halves[0], [halves[1]])
    assert scores.tolist() == [row / 100 for row in range(40, 100)]
    assert outside.own_training == "its own rows"
    assert outside.cost().latency_ms is None


def test_latency_is_measured_once_a_spec(readings):
    spec = FeatureSpec(("length",), max_tokens=64)
    assert pass_latency(readings, spec) == pass_latency(readings, spec)
