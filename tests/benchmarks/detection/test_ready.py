"""Tests detection/ready.py: what comes fitted scores as it does alone, but not the rows it was fitted on."""

from dataclasses import replace

import numpy as np
import pytest
from detection.outside import Recipe, Rival
from detection.plan import Plan, relabelled
from detection.readings import PROMPT
from detection.ready import Outside, Ready, Shipped
from detection.representations import Length
from detection.rows import Rows

from splinelens.errors import BadDetector
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec

PROMPTED = FeatureSpec(("margins",), ("max",), layers=(0, 2), prompt=PROMPT, max_tokens=256, normalize=True)


@pytest.fixture
def artifact(fitted, halves):
    return fitted(PROMPTED, halves[0])


def test_a_fitted_detector_reads_the_cached_features_and_scores_as_it_does_alone(
    readings, halves, data, artifact
):
    test = halves[1].take(np.arange(1, 60))
    shipped = Shipped(readings, artifact)
    [scores] = shipped.scores(halves[0], [test])
    assert shipped.own_training == "these rows"
    reader = TextReader(readings.loaded, PROMPTED)
    known = reader.read(reader.tokenize(test.texts(data)))
    values = np.stack([reading.values for reading in sorted(known, key=lambda reading: reading.text)])
    alone = artifact.calibrations[0].score(artifact.head.logit(values)[:, 0])
    assert scores == pytest.approx(alone, abs=0.02)
    assert shipped.cost().latency_ms > 0
    assert [place.name for place in (readings.cache / "jig").iterdir()] == ["prompted"]


def test_a_detector_with_another_prompt_gets_a_reading_of_its_own(readings, halves, fitted):
    spec = FeatureSpec(("margins",), ("max",), layers=(1,), prompt="Rude? ", max_tokens=64)
    artifact = fitted(spec, halves[0])
    [scores] = Shipped(readings, artifact).scores(halves[0], [halves[1].take(np.arange(1, 60))])
    assert np.isfinite(scores).all()
    assert (readings.cache / "jig" / "ours").is_dir()


def test_a_rival_is_asked_for_whole_sets(readings, halves, tmp_path):
    rival = Rival("theirs", tmp_path / "theirs", recipe=Recipe((), "", "0"))
    rival.scores = lambda name, texts: np.arange(len(texts)) / len(texts)
    outside = Outside(readings, rival)
    [scores] = outside.scores(halves[0], [halves[1]])
    assert scores.tolist() == [row / 100 for row in range(40, 100)]
    assert outside.own_training == "its own rows"
    asked = []
    rival.cost = lambda texts: (float(len(asked.append(texts) or texts)), 5)
    assert (outside.cost().latency_ms, outside.cost().size_bytes) == (10.0, 5)
    assert asked[0] == readings.sample()


def test_rows_that_a_detector_was_fitted_on_have_no_score_and_are_counted(readings, halves, artifact):
    shipped, (seen, test) = Shipped(readings, artifact), halves
    [fitted, scores] = shipped.scores(seen, [seen, test])
    assert np.isnan(fitted).all()
    assert np.isnan(scores).tolist() == [True] + [False] * 59  # row 40 repeats row 0 in capitals
    assert np.array_equal(shipped.fitted_on(test), np.isnan(scores))
    assert shipped.unrecorded == ""


def test_training_texts_that_are_not_recorded_are_named(readings, artifact):
    texts = len(artifact.seen)
    some = Shipped(readings, replace(artifact, seen=artifact.seen[:7])).unrecorded
    assert some == f"only 7 of the {texts} texts it was fitted on are recorded"
    none = Shipped(readings, replace(artifact, seen=artifact.seen[:0])).unrecorded
    assert none == "the texts it was fitted on are not recorded"


def test_only_what_comes_fitted_is_ready(readings, artifact, tmp_path):
    assert isinstance(Shipped(readings, artifact), Ready)
    assert isinstance(Outside(readings, Rival("theirs", tmp_path)), Ready)
    assert not isinstance(Length(readings), Ready)


def test_each_label_is_judged_where_its_name_stands(readings, data, fitted):
    train_rows, test, kinds = Plan(data, 3, len).domains()
    turned = Rows(train_rows.sets, train_rows.index, train_rows.labels[:, ::-1], kinds[::-1])
    spec = FeatureSpec(("hidden_max",), max_tokens=256, long="cut")
    shipped = Shipped(readings, fitted(spec, turned, task="labels", label=kinds[::-1]))
    [scores] = shipped.scores(train_rows, [test])
    known = ~shipped.fitted_on(test)
    own = test.labels[known].astype(bool)
    assert scores.shape == (len(test), 3)
    assert scores[known][own].mean() > 2 * scores[known][~own].mean()
    wanted = "ours tells rivers, patent, kitchens; the rows have {}"
    with pytest.raises(BadDetector, match=wanted.format("one label")):
        shipped.scores(relabelled(train_rows, 0), [])
    other = Rows(train_rows.sets, train_rows.index, train_rows.labels, ("a", "b", "c"))
    with pytest.raises(BadDetector, match=wanted.format("a, b, c")):
        shipped.scores(other, [])
