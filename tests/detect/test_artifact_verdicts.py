"""Tests the verdicts of ``detect/artifact.py``: which labels fire, at which scores."""

from dataclasses import replace

import numpy as np
import pytest

from splinelens.detect.artifact import Artifact
from splinelens.detect.metrics import evaluate, evaluate_labels
from splinelens.detect.thresholds import Threshold, threshold_between
from splinelens.errors import BadDetector, BadLabels


@pytest.fixture
def of_three(artifact):
    """A detector of three labels with thresholds of two rates."""
    stored = [
        tuple(Threshold(rate, score, rate, (0.0, 1.0), 0.5) for rate, score in ((0.001, high), (0.05, low)))
        for high, low in ((0.9, 0.5), (0.8, 0.4), (1.5, 0.7))
    ]
    names = {"task": "labels", "labels": ("rude", "spam", "threat"), "negative": "none"}
    return replace(artifact, **names, thresholds=tuple(stored))


def test_each_label_has_its_own_threshold_for_a_rate(of_three):
    assert of_three.thresholds_at(0.05) == (0.5, 0.4, 0.7)
    assert of_three.thresholds_at(1e-3) == (0.9, 0.8, 1.5)
    with pytest.raises(BadDetector, match=r"thresholds for false-positive rates 0\.001, 0\.05, not 0\.01"):
        of_three.thresholds_at(0.01)


@pytest.mark.parametrize(
    ("scores", "labels"),
    [
        ([0.1, 0.1, 0.1], ()),
        ([0.5, 0.1, 0.1], (0,)),  # at the threshold
        ([0.6, 0.9, 0.69], (1, 0)),  # the highest first
        ([0.8, 0.8, 0.8], (0, 1, 2)),
    ],
)
def test_labels_fire_at_their_own_thresholds(of_three, scores, labels):
    assert of_three.fired(np.array(scores), (0.5, 0.4, 0.7)) == labels


def test_of_classes_the_highest_fires_whatever_the_thresholds(of_three):
    classes = replace(of_three, task="classes", negative="")
    assert classes.fired(np.array([0.01, 0.03, 0.02]), (0.5, 0.4, 0.7)) == (1,)
    assert classes.fired(np.array([0.9, 0.9, 0.9]), (0.5, 0.4, 0.7)) == (0,)


def test_an_unknown_label_is_refused_with_the_known_ones(of_three):
    assert of_three.label_index("threat") == 2
    with pytest.raises(BadDetector, match="has no label 'insult'; it has 'rude', 'spam', 'threat'"):
        of_three.label_index("insult")


def test_each_label_is_measured_at_its_own_thresholds(of_three, artifact):
    rng = np.random.default_rng(0)
    labels, scores, lengths = (
        np.tile([[0, 1, 1], [1, 0, 1], [1, 1, 0]], (4, 1)),
        rng.random((12, 3)),
        np.arange(12),
    )
    scores[5] = np.nan
    at = {"rude": {"0.001": 0.9, "0.05": 0.5}, "spam": {"0.001": 0.8, "0.05": 0.4}}
    at["threat"] = {"0.001": 1.5, "0.05": 0.7}
    found = of_three.evaluate(labels, scores, lengths)
    assert found == evaluate_labels(labels, scores, lengths, of_three.labels, thresholds=at)
    classes = replace(of_three, task="classes").evaluate(labels, scores, lengths)
    assert classes.accuracy is not None
    one = artifact.evaluate(labels[:, :1], scores[:, :1], lengths)
    stored = {f"{point.target:g}": point.score for point in artifact.thresholds[0]}
    assert one == evaluate(labels[:, 0], scores[:, 0], lengths, thresholds=stored)


def test_labels_become_a_table_or_are_refused(of_three, artifact):
    assert artifact.require_labels(np.array([0, 1]), 2).tolist() == [[0], [1]]
    assert of_three.require_labels(np.array([[0, 1, 1]]), 1).tolist() == [[0, 1, 1]]
    with pytest.raises(BadLabels, match=r"2 texts need as many labels, each 0 or 1; .* shape \(1,\)"):
        artifact.require_labels(np.array([0]), 2)
    with pytest.raises(BadLabels, match=r"labels for each of rude, spam, threat, each 0 or 1"):
        of_three.require_labels(np.array([[0, 1, 2]]), 1)


def test_another_prevalence_moves_scores_and_thresholds_and_no_verdict(artifact):
    with_share = replace(artifact, calibrations=(replace(artifact.calibrations[0], share=0.5),))
    logits, tokens = np.random.default_rng(0).normal(size=(200, 1)) * 4, np.arange(1, 201)
    for prevalence in (0.001, 0.02, 0.5, 0.9):
        moved = with_share.at_prevalence(prevalence)
        verdicts = [
            [one.fired(score, one.limits(0.01)) for score in one.scores(logits, tokens)]
            for one in (with_share, moved)
        ]
        assert verdicts[0] == verdicts[1]
        assert moved.shares == (prevalence,)
        assert moved.origin == with_share.origin
        assert (moved.digest == with_share.digest) == (prevalence == 0.5)
    low, plain = (one.scores(logits, tokens) for one in (with_share.at_prevalence(0.02), with_share))
    assert (low < plain).all()


def test_the_share_of_an_older_detector_is_that_of_its_out_of_fold_rows(artifact, tmp_path):
    assert artifact.shares == (None,)
    older = replace(artifact, metrics={"out_of_fold": {"n": 400, "positives": 100}})
    older.save(tmp_path / "older")
    assert Artifact.load(tmp_path / "older").shares == (0.25,)
    assert older.digest == artifact.digest
    with pytest.raises(BadDetector, match="does not record what share of toxic texts its scores assume"):
        artifact.at_prevalence(0.1)


@pytest.mark.parametrize("prevalence", [0.0, 1.0, -0.1, 2.0, float("nan"), float("inf")])
def test_what_is_no_share_of_texts_is_refused(artifact, prevalence):
    with pytest.raises(BadDetector, match=r"is no share; give one between 0 and 1"):
        artifact.at_prevalence(prevalence)


def test_the_parts_of_a_text_share_the_rate(of_three):
    assert of_three.sentence_limits(1) == (of_three.limits(),) * 2
    whole, each = of_three.sentence_limits(10)
    for label, (low, high) in enumerate(zip(whole, each, strict=True)):
        assert low == threshold_between(of_three.thresholds[label], 0.025)
        assert high == threshold_between(of_three.thresholds[label], 0.0025)
        assert of_three.limits()[label] <= low <= high
    assert of_three.sentence_limits(10, threshold=0.3) == ((0.3,) * 3,) * 2
    with pytest.raises(BadDetector, match="gives one class for a whole text"):
        replace(of_three, task="classes").sentence_limits(2)
