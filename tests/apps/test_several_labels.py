"""Tests ``apps/training.py``, ``detector.py``, ``evaluation.py``: of several labels and of classes."""

from dataclasses import replace

import numpy as np
import pytest

from splinelens.apps.detector import Detector
from splinelens.apps.evaluation import evaluate, evaluation_report
from splinelens.apps.training import MAX_BYTES, MIN_HASHES, count_repeated, fit_detector, max_hashes
from splinelens.detect.heads import LinearHead
from splinelens.errors import BadDetector, BadLabels
from splinelens.features.extract import read_table
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.texts import Texts, read_texts, text_hashes

WORDS = ("rude", "spam", "law")
FILL = ["you and the lot", "what we said there", "a thing of the sea", "good to you all"]
_FITTED = {}  # a fitted artifact takes seconds


def labeled(count=96):
    """Texts with any of three words, and which of them each has."""
    labels = np.random.default_rng(0).integers(0, 2, size=(count, 3))
    labels[::3] = 0
    own = [" ".join(word for word, there in zip(WORDS, row, strict=True) if there) for row in labels]
    return [f"{FILL[row % 4]} {word} {row}" for row, word in enumerate(own)], labels


def of_class(count=96):
    """Texts with one of the three words each."""
    place = np.arange(count) % 3
    texts = [f"{FILL[row % 4]} {WORDS[own]} {WORDS[own]} {row}" for row, own in enumerate(place)]
    return texts, (place[:, None] == np.arange(3)).astype(int)


@pytest.fixture
def reader(loaded):
    return TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))


@pytest.fixture
def several(reader, tmp_path):
    """A detector of three labels, and one of three classes: ``several("labels")``."""

    def fitted(task):
        if task not in _FITTED:
            texts, labels = labeled() if task == "labels" else of_class()
            words = {"name": task, "label": WORDS, "negative": "none"}
            _FITTED[task] = fit_detector(texts, labels, reader, task=task, strengths=(1.0,), **words).artifact
        _FITTED[task].save(tmp_path / task)
        return Detector.load(tmp_path / task, model=reader.loaded)

    return fitted


def test_every_label_is_found_with_numbers_and_thresholds_of_its_own(several):
    artifact = several("labels").artifact
    measured = artifact.metrics["out_of_fold"]
    assert (artifact.task, artifact.labels, artifact.negative) == ("labels", WORDS, "none")
    assert [measured["labels"][word]["auc"] > 0.8 for word in WORDS] == [True] * 3
    assert measured["mean_auc"] == np.mean([measured["labels"][word]["auc"] for word in WORDS])
    assert [[stored.target for stored in own] for own in artifact.thresholds] == [[0.001, 0.01, 0.05]] * 3
    assert set(artifact.training["settings"]["C"]) == set(WORDS)
    assert artifact.training["positives"] == dict(zip(WORDS, labeled()[1].sum(axis=0).tolist(), strict=True))


def test_each_label_is_what_a_detector_of_it_gives(several, reader):
    """The slow way: three binary detectors; heads are equal, calibrations differ by their folds."""
    detector, (texts, labels) = several("labels"), labeled()
    table = read_table(reader, read_texts(texts))
    for place, word in enumerate(WORDS):
        single = fit_detector(
            texts, labels[:, place], reader, name=word, label=word, strengths=(1.0,)
        ).artifact
        expected = single.head.logit(table.values)[:, 0]
        assert detector.artifact.head.logit(table.values)[:, place] == pytest.approx(expected, abs=1e-6)


def test_labels_fire_at_their_own_thresholds_and_the_highest_is_the_verdict(several):
    detector, (texts, _) = several("labels"), labeled()
    at = dict(zip(WORDS, detector.artifact.limits(0.05), strict=True))
    assert detector.threshold(0.05, "spam") == at["spam"]
    records = detector.score(texts)
    assert len({record.labels for record in records}) > 3
    for record in records:
        own = {word for word in WORDS if record.scores[word] >= at[word]}
        assert set(record.labels) == own
        assert record.score == max(record.scores.values())
        expected = max(own, key=lambda word: record.scores[word]) if own else "none"
        assert record.verdict == expected
    assert all(record.labels == () for record in detector.score(texts, threshold=1.0))
    assert {record.labels for record in detector.score(texts[:1], fpr=0.001)}


def test_of_classes_the_one_with_the_highest_score_is_the_verdict(several):
    detector, (texts, labels) = several("classes"), of_class()
    measured = detector.artifact.metrics["out_of_fold"]
    assert measured["accuracy"] > 0.8
    assert np.sum(measured["confusion"]) == 96
    for record in detector.score(texts):
        assert record.verdict == max(WORDS, key=lambda word: record.scores[word])
        assert record.labels == (record.verdict,)
    found = detector.evaluate(texts, labels, resamples=0)
    assert found.accuracy == sum(found.confusion[place][place] for place in range(3)) / 96
    assert detector.artifact.negative == ""
    with pytest.raises(BadDetector, match="gives the class with the highest score; leave out threshold"):
        detector.score(texts[:1], threshold=0.5)


def test_a_detector_of_classes_abstains_on_short_texts_and_low_scores(several, tmp_path):
    detector, (texts, _) = several("classes"), of_class()
    free = detector.score(texts)
    lowest, median = min(record.tokens for record in free), np.median([record.score for record in free])
    limited = replace(detector.artifact, min_tokens=lowest + 1, min_score=float(median))
    limited.save(tmp_path / "limited")
    limited = Detector.load(tmp_path / "limited", model=detector.reader.loaded)
    reasons = {"tokens": 0, "score": 0, None: 0}
    for before, record in zip(free, limited.score(texts), strict=True):
        assert record.scores == before.scores
        if record.tokens <= lowest:
            assert record.reason == f"has {lowest} tokens, fewer than the {lowest + 1} that a verdict needs"
        elif record.score < median:
            best = max(WORDS, key=lambda word: record.scores[word])
            assert record.reason == (
                f"has no score of {median:g} or more; the highest is {best} {record.score:.2f}"
            )
        else:
            assert record == before
        kind = record.reason and ("tokens" if "tokens" in record.reason else "score")
        reasons[kind] += 1
        assert (record.verdict == "undetermined", record.labels == ()) == (kind is not None,) * 2
    assert all(reasons.values())
    assert limited.predict(texts[:3]).tolist() == [record.verdict for record in limited.score(texts[:3])]


@pytest.mark.parametrize("explain", [True, "rude", "law"])
def test_parts_add_up_to_the_logit_of_the_label_explained(several, explain):
    detector = several("labels")
    for record in detector.score(["you and spam of the sea", "law"], explain=explain):
        word = max(record.scores, key=record.scores.get) if explain is True else explain
        assert record.explained == word
        score = record.scores[word]
        total = record.constant + sum(span.contribution for span in record.spans)
        assert total == pytest.approx(np.log(score / (1 - score)), abs=1e-4)
    with pytest.raises(BadDetector, match="has no label 'insult'; it has 'rude', 'spam', 'law'"):
        detector.score(["a"], explain="insult")


@pytest.mark.parametrize("task", ["labels", "classes"])
def test_what_was_not_read_is_undetermined(several, task, tmp_path):
    detector = several(task)
    [empty] = detector.score([""])
    assert (empty.score, empty.scores, empty.labels, empty.verdict) == (None, {}, (), "undetermined")
    cut = Detector.load(tmp_path / task, model=detector.reader.loaded, max_tokens=4, long="cut")
    [record] = cut.score(["good to you all and more " * 4], fpr=0.001)
    assert record.cut
    if task == "classes" or not record.labels:
        assert (record.verdict, record.labels) == ("undetermined", ())
        assert set(record.scores) == set(WORDS)


def test_evaluation_counts_and_refuses(several):
    detector, (texts, labels) = several("labels"), labeled()
    found = detector.evaluate(["", *texts], np.vstack([labels[:1], labels]), resamples=0)
    assert (found.n, found.undetermined, found.accuracy) == (96, 1, None)
    assert set(found.labels["rude"].at_threshold) == {"0.001", "0.01", "0.05"}
    with pytest.raises(BadLabels, match="as many labels for each of rude, spam, law, each 0 or 1"):
        detector.evaluate(texts, labels[:, 0])


def test_repeated_and_contradicting_texts_are_counted_and_hashes_are_kept(reader):
    texts, labels = labeled()
    texts, labels = (
        [*texts, texts[0].upper() + "!", texts[1], ""],
        np.vstack([labels, labels[0], 1 - labels[1], 0 * labels[0]]),
    )
    artifact = fit_detector(
        texts, labels[:, 0], reader, name="twice", strengths=(1.0,), languages=["English"]
    ).artifact
    assert artifact.training["repeated"] == {"texts": 2, "rows": 4, "contradicting": 1}
    assert artifact.training["seen"] == {"texts": 96, "kept": 96}
    assert artifact.training["languages"] == ["English"]
    assert artifact.seen.tolist() == sorted(set(text_hashes(texts[:-1]).tolist()))
    assert artifact.seen_in(["another text", texts[5], texts[6].title(), None]).tolist() == [
        False,
        True,
        True,
        False,
    ]


def test_no_more_hashes_are_kept_than_fit_beside_the_head():
    def head(columns):
        return LinearHead(np.zeros(columns), np.ones(columns), np.zeros((1, columns)), np.zeros(1))

    assert max_hashes(head(200_000)) == MIN_HASHES  # 4.8 MB of weights leave no space
    assert 24 * 10_000 + 8 * max_hashes(head(10_000)) + 200_000 <= MAX_BYTES


def test_repeats_by_hand():
    assert count_repeated(
        np.array([4, 4, 7, 9, 9, 9]), np.array([[0, 1], [0, 1], [1, 1], [0, 0], [0, 1], [0, 0]])
    ) == {
        "texts": 2,
        "rows": 5,
        "contradicting": 1,
    }


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"task": "binary"}, "task 'binary' with 3 labels; one label is binary"),
        ({"label": ("rude", "spam")}, r"labels of shape \(96, 3\) need as many different names"),
        ({"label": ("rude", "spam", "rude")}, "need as many different names"),
        ({"task": "classes"}, "of 96 rows have no class or several; give one, or task='labels'"),
        ({"rare": True}, "label 'law': 3 positive of 96 rows are too few to fit a detector"),
    ],
)
def test_labels_that_do_not_fit_the_task_are_refused(reader, change, found):
    texts, labels = labeled()
    if change.pop("rare", False):
        labels[:, 2] = np.arange(96) < 3
    with pytest.raises(BadLabels, match=found):
        fit_detector(texts, labels, reader, **{"name": "n", "task": "labels", "label": WORDS, **change})


@pytest.mark.parametrize("task", ["labels", "classes"])
def test_a_single_label_scores_and_explains_as_it_did_among_others(several, task):
    detector = several(task)
    single, texts = detector.single_label("spam"), ["good to you spam", "what we said law"]
    whole = detector.score(texts, explain="spam")
    for one, found in zip(single.score(texts, explain=True), whole, strict=True):
        assert one.score == found.scores["spam"]
        assert one.spans == found.spans
        assert one.verdict in ("spam", "not spam")
    with pytest.raises(BadDetector, match="tea"):
        detector.single_label("tea")


def test_a_report_of_one_label_names_the_detector_that_it_belongs_to(several):
    detector, (texts, labels) = several("labels"), labeled()
    source = Texts(tuple(texts), {}, "list")
    report = evaluation_report(detector, source, labels, label="spam", resamples=0)
    again = evaluation_report(detector.single_label("spam"), source, labels[:, 1], resamples=0)
    assert report.provenance["detector"] == again.provenance["detector"] == detector.artifact.digest
    assert report.provenance == again.provenance
    assert report.metrics == again.metrics == report.all_labels["labels"]["spam"]
    assert report.all_labels == detector.evaluate(source, labels, resamples=0).to_dict()
    with pytest.raises(BadDetector, match="has no label"):
        evaluation_report(detector, source, labels, resamples=0)


def test_suspects_of_a_report_are_those_of_the_scores_by_length(several, tmp_path):
    detector, (texts, labels) = several("labels"), labeled()
    labels[5] = 1 - labels[5]
    by_length = tuple(replace(one, by_length=((1, 0.0), (9, 4.0))) for one in detector.artifact.calibrations)
    longer = Detector(replace(detector.artifact, calibrations=by_length), detector.reader)
    source = Texts(tuple(texts), {}, "list")
    one, other = tmp_path / "report.csv", tmp_path / "plain.csv"
    evaluation_report(longer, source, labels, label="spam", resamples=0, suspects=one)
    evaluate(longer, source, labels, allow_training_rows=True, resamples=0, suspects=other)
    assert one.read_bytes() == other.read_bytes()
    assert len(one.read_text("utf-8").splitlines()) > 1
