"""Tests ``apps/training.py``: hyperplanes are learned from a user's labels, and the detector has them."""

import tempfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from splinelens.apps import training
from splinelens.apps.adaptation import adapt
from splinelens.apps.detector import Detector
from splinelens.apps.evaluation import evaluate
from splinelens.apps.training import train
from splinelens.detect import learned
from splinelens.errors import BadFeatures, BadLabels, CannotWrite
from splinelens.features.stream import Stream
from splinelens.report.card import card

from .conftest import labeled

OPTIONS = {"directions": 8, "layers": [0, 1], "label": "toxic", "max_tokens": 24}
_FITTED = {}  # a training takes seconds


@pytest.fixture
def fitted(loaded):
    """The training of 120 texts, 8 directions."""
    if not _FITTED:
        _FITTED["training"] = train(*labeled(120), loaded, **OPTIONS)
    return _FITTED["training"]


def test_the_classes_are_told_apart_and_the_detector_says_how_it_was_made(fitted):
    artifact = fitted.artifact
    assert artifact.metrics["out_of_fold"]["auc"] > 0.9
    assert artifact.training["settings"] == {"directions": 8, "epochs": 33}
    assert artifact.columns == (("direction_max", 8), ("direction_min", 8))
    assert (len(artifact.directions), artifact.spec["layers"]) == (8, [0, 1])
    assert "linear, directions = 8, epochs = 33" in card(artifact)


def test_a_stored_detector_scores_as_its_training_did(fitted, loaded, tmp_path):
    fitted.write(tmp_path / "mine")
    detector, (texts, labels) = Detector.load(tmp_path / "mine", model=loaded), labeled(120)
    expected = fitted.artifact.head.logit(fitted.values)[:, 0]
    read = np.stack([text.values for text in detector.reader.read(texts)])
    found = fitted.artifact.head.logit(read)[:, 0]
    # Inputs in steps of 1/20 standard deviation and margins in bfloat16 round a logit by 2 % of its spread.
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.03 * expected.std()
    scores = [record.score for record in detector.score(texts)]
    assert roc_auc_score(labels, scores) > 0.95
    np.testing.assert_allclose(scores, fitted.artifact.scores(found[:, None], np.zeros(120))[:, 0], atol=1e-6)


def test_every_score_splits_over_the_tokens(fitted):
    for record in fitted.detector.score(labeled(10)[0], explain=True):
        logit = record.constant + sum(span.contribution for span in record.spans)
        assert 1 / (1 + np.exp(-logit)) == pytest.approx(record.score, abs=1e-6)


def test_the_detector_streams_evaluates_and_adapts(fitted):
    texts, labels = labeled(160)
    detector, fresh = fitted.detector, slice(120, 160)
    options = {"features": "directions", "pooling": ["max", "min"], "layers": [0, 1]}
    stream = Stream(detector.reader.loaded, **options, directions=detector.artifact.directions)
    row = stream.feed(texts[0])[-1]
    (whole,) = detector.reader.read([texts[0]])
    np.testing.assert_allclose(row, whole.values, atol=1e-4)
    assert evaluate(detector, texts[fresh], labels[fresh]).auc > 0.8
    adapted = adapt(detector, texts[fresh], labels[fresh])
    assert adapted.detector.artifact.directions.digest == detector.artifact.directions.digest


def test_the_same_seed_gives_the_same_artifact_and_another_one_does_not(fitted, loaded):
    again = train(*labeled(120), loaded, **OPTIONS).artifact
    assert again.directions.digest == fitted.artifact.directions.digest
    assert again.calibrations == fitted.artifact.calibrations
    assert np.array_equal(again.head.weight, fitted.artifact.head.weight)
    other = train(*labeled(120), loaded, seed=1, **OPTIONS).artifact
    assert other.directions.digest != again.directions.digest


def test_groups_are_kept_whole(loaded, monkeypatch):
    texts, labels = labeled(80)
    authors, seen = [f"author {row // 4}" for row in range(80)], []
    plain = learned.cross_fit

    def watched(*args):
        seen.extend(plain(*args))
        return seen

    monkeypatch.setattr(learned, "cross_fit", watched)
    artifact = train(texts, labels, loaded, groups=authors, **OPTIONS).artifact
    assert artifact.training["groups"]["groups"] == 20
    assert len(seen) == 5
    for part in seen:
        own = {authors[row] for row in part.rows}
        assert own.isdisjoint(authors[row] for row in set(range(80)) - {*part.rows.tolist()})


def test_several_labels_are_learned_together(loaded):
    texts, labels = labeled(80)
    both = np.stack([labels, 1 - labels], axis=1)
    artifact = train(texts, both, loaded, **{**OPTIONS, "label": ["rude", "kind"]}).artifact
    measured = artifact.metrics["out_of_fold"]["labels"]
    assert min(numbers["auc"] for numbers in measured.values()) > 0.8
    assert artifact.head.labels == 2


def test_texts_that_cannot_be_read_are_left_out_and_long_ones_are_read_whole(loaded):
    texts, labels = labeled(60)
    texts[0], texts[3] = "", None
    texts[5] = "you rude toad " * 12
    artifact = train(texts, labels, loaded, **OPTIONS).artifact
    assert (artifact.training["rows"], artifact.training["left_out"]) == (58, 2)
    assert artifact.training["cut"] == 0


def test_scores_go_by_length_on_request(loaded):
    artifact = train(*labeled(80), loaded, by_length=1.0, **OPTIONS).artifact
    assert artifact.calibrations[0].by_length


def test_there_is_no_learning_curve_and_the_report_says_why(fitted, tmp_path):
    report = fitted.report()
    assert report.curve.sentence.endswith(
        "each point would learn its hyperplanes anew, as long as a fold takes."
    )
    fitted.write(tmp_path)
    assert report.curve.sentence in (tmp_path / "TRAINING.md").read_text("utf-8")


def test_the_temporary_folder_is_removed_also_after_a_failure(loaded, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    Path(tempfile.gettempdir()).mkdir()
    train(*labeled(40), loaded, **OPTIONS)
    assert not list(Path(tempfile.gettempdir()).iterdir())

    def full(*_args, **_options):
        raise CannotWrite("the disk has too little room")

    monkeypatch.setattr(training, "read_inputs", full)
    with pytest.raises(CannotWrite):
        train(*labeled(40), loaded, **OPTIONS)
    assert not list(Path(tempfile.gettempdir()).iterdir())


@pytest.mark.parametrize("number", [-1, 4097, 2.5, True, "64"])
def test_a_number_that_cannot_be_is_refused_before_the_model_is_loaded(number):
    with pytest.raises(BadFeatures, match=f"directions={number!r}: need a whole number from 1 to 4,096"):
        train(*labeled(), "no model of this name", directions=number)


@pytest.mark.parametrize(
    "other", [{"features": "hidden"}, {"pooling": ["mean"]}, {"output": "table.parquet"}]
)
def test_options_that_say_nothing_beside_directions_are_refused(other):
    with pytest.raises(BadFeatures, match="leave out features, pooling and output, or directions"):
        train(*labeled(), "no model of this name", directions=8, **other)


def test_too_few_rows_are_refused(loaded):
    texts, labels = labeled(20)
    with pytest.raises(BadLabels, match="9 positive and 9 negative of 18 rows are too few"):
        train(texts[:18], labels[:18], "no model of this name", **OPTIONS)
    with pytest.raises(BadLabels, match="9 negative of 19 rows are too few"):
        train(["", *texts[1:]], labels, loaded, **OPTIONS)
