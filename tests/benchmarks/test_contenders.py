"""Tests detection/contenders.py and features.py: the same rows for all; rows fitted on are left out."""

from dataclasses import replace

import numpy as np
import pytest
from detection.contenders import Fitted, Ready, Shipped, contenders
from detection.features import QUESTION, READINGS, Features
from detection.protocols import FITTED
from detection.rows import Rows, concatenated
from sklearn.metrics import roc_auc_score

from splinelens.apps.detector import Detector
from splinelens.apps.training import fit_detector
from splinelens.errors import BadDetector
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.texts import Texts

SPEC = FeatureSpec(("margins",), ("max",), layers=(0, 2), prompt=QUESTION, max_tokens=256, normalize=True)


@pytest.fixture
def known(features, tmp_path):
    return contenders(features, {}, tmp_path / "rivals", install=False, seed=0)


def test_everything_that_is_fitted_separates_rude_from_kind(known, halves):
    train, test = halves
    for name in FITTED:
        if name == "sentence encoder":
            assert known[name].unavailable(["jig"]) == "not installed, and installing is switched off"
            continue
        [scores] = known[name].scores(train, [test])
        assert ((scores >= 0) & (scores <= 1)).all()
        useless = name == "length" or name.endswith("last")  # the last word is often neither
        assert useless or roc_auc_score(test.labels, scores) > 0.6


def test_word_counts_know_no_word_of_a_row_without_a_label(known, halves):
    train, test = halves
    hidden = replace(train, labels=np.where(np.arange(40) < 20, train.labels, -1))
    [few], [same] = (known["words"].scores(rows, [test]) for rows in (hidden, train.take(np.arange(20))))
    assert np.array_equal(few, same)


def test_features_of_several_sets_are_those_of_each_text_and_read_once(features, plan, data, loaded):
    rows = concatenated([plan.binary("para").take(np.arange(3)), plan.halves("jig")[1].take(np.arange(2))])
    reader = TextReader(loaded, READINGS["plain64"])
    columns = [column.name for column in reader.columns]
    values = features.values(rows, "plain64", columns)
    known = np.stack([text.values for text in reader.read(rows.texts(data))])
    assert values == pytest.approx(known, rel=1e-2)
    again = Features(data, features.cache, loaded, cached_only=True)
    assert again.unavailable(["para", "jig"], "plain64") is None
    assert again.unavailable(["para", "tweet"], "plain64") == "tweet/plain64 is not cached"
    assert np.array_equal(again.values(rows, "plain64", columns), values)


def test_a_shipped_detector_scores_the_cached_features_as_it_scores_texts(features, halves, data, fitted):
    detector, test = fitted(SPEC, halves[0]), halves[1].take(np.arange(1, 60))
    shipped = Shipped(features, detector)
    [scores] = shipped.scores(halves[0], [test])
    known = [record.score for record in detector.score(test.texts(data))]
    assert scores == pytest.approx(known, abs=0.02)
    assert shipped.latency_ms(["a", "b"]) > 0
    assert [path.name for path in (features.cache / "jig").iterdir()] == ["prompted"]
    assert shipped.thresholds(0.05, ())[0] == detector.threshold(0.05)
    other = fitted(replace(SPEC, prompt="Rude? "), halves[0])
    assert np.isfinite(Shipped(features, other).scores(halves[0], [test])[0]).all()
    assert (features.cache / "jig" / "ours").is_dir()


def test_a_detector_with_learned_directions_is_scored_from_the_texts_once(features, halves, data, loaded):
    train, test = halves[0], halves[1].take(np.arange(1, 60))
    weight = np.random.default_rng(0).normal(size=(8, 2, 32)).astype(np.float32)
    spec = FeatureSpec(("direction_max",), layers=(0, 2), max_tokens=256, normalize=True)
    reader = TextReader(loaded, spec, directions=Directions(weight, np.zeros(8, np.float32)))
    texts = Texts(tuple(train.texts(data)), {}, "rows")
    detector = Detector(fit_detector(texts, train.labels, reader, name="ours").artifact, reader)
    shipped = Shipped(features, detector)
    [scores] = shipped.scores(train, [test])
    assert scores.tolist() == [record.score for record in detector.score(test.texts(data))]
    assert len(list((features.cache / "scores").iterdir())) == 1
    quick = Features(data, features.cache, loaded, cached_only=True)
    assert Shipped(quick, detector).unavailable(["jig"]) is None
    assert Shipped(quick, detector).unavailable(["jig", "para"]) == "scores of para by ours are not cached"
    assert np.array_equal(Shipped(quick, detector).scores(train, [test])[0], scores)


def test_rows_that_a_detector_was_fitted_on_have_no_score(features, halves, fitted):
    detector = fitted(SPEC, halves[0])
    shipped, (seen, test) = Shipped(features, detector), halves
    fitted_scores, scores = shipped.scores(seen, [seen, test])
    assert np.isnan(fitted_scores).all()
    assert np.isnan(scores).tolist() == [True] + [False] * 59  # row 40 repeats row 0 in capitals
    assert np.array_equal(shipped.fitted_on(test), np.isnan(scores))
    few = replace(detector, artifact=replace(detector.artifact, seen=detector.artifact.seen[:7]))
    assert Shipped(features, few).unrecorded == "only 7 of the 40 texts it was fitted on are recorded"


def test_each_label_is_measured_by_its_name(features, plan, fitted):
    train, test, names = plan.domains()
    turned = Rows(train.sets, train.index, train.labels[:, ::-1], names[::-1])
    spec = FeatureSpec(("hidden_max",), max_tokens=256, long="cut")
    shipped = Shipped(features, fitted(spec, turned, task="labels", label=names[::-1]))
    [scores] = shipped.scores(train, [test])
    positive = test.labels[~np.isnan(scores[:, 0])].astype(bool)
    scores = scores[~np.isnan(scores[:, 0])]
    assert scores[positive].mean() > 2 * scores[~positive].mean()
    assert shipped.thresholds(0.05, names).tolist() == shipped.thresholds(0.05, names[::-1]).tolist()[::-1]
    other = Rows(train.sets, train.index, train.labels, ("a", "b", "c"))
    with pytest.raises(BadDetector, match="ours has the labels rivers, patent, kitchens"):
        shipped.scores(other, [])


def test_only_detectors_come_fitted(known):
    ready = {name for name, contender in known.items() if isinstance(contender, Ready)}
    assert ready == {"alt-profanity-check", "hatesonar", "detoxify"}
    assert isinstance(known["length"], Fitted)
