"""Tests ``apps/adaptation.py``: an adapted detector is one like every other; what is refused."""

from dataclasses import replace

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from splinelens.apps import adaptation
from splinelens.apps.adaptation import adapt
from splinelens.apps.detector import Detector
from splinelens.apps.training import fit_detector, training_sample
from splinelens.detect.anchored import MAX_LOSS
from splinelens.detect.artifact import Artifact
from splinelens.detect.heads import LinearHead
from splinelens.errors import BadDetector, BadFeatures, BadLabels, BadTexts
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.texts import Texts

from .conftest import labeled

PLACES = ["harbor", "garden", "station", "library", "market", "museum", "bridge", "school"]


def forum(count=64):
    """Texts of another kind, of which every other one is about a ``kick``, and their labels."""
    texts = [f"{'a kick' if row % 2 else 'a talk'} by the {PLACES[row % 8]} {row}" for row in range(count)]
    return texts, np.arange(count) % 2


@pytest.fixture
def detector(loaded):
    """Tells texts that hold ``rude``; fitted on 40."""
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    texts, labels = labeled()
    words = {"label": "toxic", "negative": "clean"}
    return fit_detector(texts, labels, reader, name="tiny", strengths=(1.0,), **words).detector


def test_an_adapted_detector_loads_scores_explains_and_says_where_it_comes_from(detector, loaded, tmp_path):
    texts, labels = forum()
    adapted = adapt(detector, texts, labels, name="mine")
    assert adapted.after.auc > adapted.before.auc
    adapted.detector.save(tmp_path / "mine")
    again = Detector.load(tmp_path / "mine", model=loaded)
    fresh, truth = forum(80)
    records = again.score(fresh[64:], explain=True)
    assert [r.score for r in records] == [r.score for r in adapted.detector.score(fresh[64:])]
    assert all(record.spans for record in records)
    scores = np.array([record.score for record in records])
    assert scores[truth[64:] == 1].mean() > scores[truth[64:] == 0].mean()
    record = again.artifact.training["adapted"]
    assert (record["detector"], record["digest"]) == ("tiny", detector.artifact.digest)
    assert (record["rows"], record["positives"]) == (64, 32)
    assert record["gain"] == pytest.approx(adapted.after.auc - adapted.before.auc)
    card = (tmp_path / "mine" / "CARD.md").read_text("utf-8")
    assert "Adapted from tiny to 64 rows, 32 of them positive" in card
    assert detector.artifact.digest in card
    assert f"\n{adapted.record['recommendation']}\n" in card
    assert "| gain | +" in card


def test_a_detector_with_few_columns_holds_a_sample_that_limits_the_change(fit_on, loaded, tmp_path):
    known = fit_on(features=("hidden",))
    rows = labeled()[0]
    assert known.sample.rows.shape == (len(rows), known.head.width)
    spread = known.sample.rows.astype(float)
    assert spread.mean(axis=0) == pytest.approx(0, abs=1e-2)
    assert spread.std(axis=0) == pytest.approx(1, abs=1e-2)
    known.save(tmp_path / "known")
    adapted = adapt(tmp_path / "known", *forum(), model=loaded)
    again = adapted.detector.artifact
    assert again.sample.rows.tobytes() == known.sample.rows.tobytes()
    assert 0 <= adapted.record["expected_loss"] <= MAX_LOSS
    assert 0 < adapted.record["step"] <= 1
    assert adapted.record["penalty"] is not None
    assert "the change is expected to cost 0.00" in " ".join(adapted.record["notes"])


def test_offsets_by_length_count_in_the_gain_as_they_do_in_the_scores(detector):
    artifact = detector.artifact
    knots = ((4, 0.0), (24, 40.0))
    calibration = replace(artifact.calibrations[0], by_length=knots)
    longer = Detector(replace(artifact, calibrations=(calibration,), sample=None), detector.reader)
    texts, labels = forum()
    texts = [f"{text} and on and on" if label else text for text, label in zip(texts, labels, strict=True)]
    adapted = adapt(longer, texts, labels)
    known = np.array([record.score for record in longer.score(texts)])
    assert adapted.before.auc == pytest.approx(roc_auc_score(labels, known)) != 1
    assert adapted.detector.artifact.calibrations[0].by_length == knots
    low, high = adapted.record["gain_interval"]
    assert low <= adapted.record["gain"] <= high
    assert low > 0.5  # the offsets put the long positive texts below all others


def test_a_detector_without_a_sample_adapts_and_says_what_is_not_known(detector):
    bare = Detector(replace(detector.artifact, sample=None), detector.reader)
    adapted = adapt(bare, *forum())
    assert (adapted.record["step"], adapted.record["expected_loss"]) == (1, None)
    assert adapted.record["penalty"] is not None
    assert "what the change costs on texts like those is not known" in " ".join(adapted.record["notes"])


@pytest.mark.parametrize(("width", "rows"), [(100, 1024), (898, 256), (899, None)])
def test_a_sample_takes_at_most_460_kb_of_judged_rows(width, rows):
    values = np.repeat(np.arange(1100.0)[:, None], width, axis=1)
    head = LinearHead(np.zeros(width), np.ones(width), np.zeros((1, width), np.float32), np.zeros(1))
    sample = training_sample(head, values, np.arange(1100) / 2, seed=0)
    if rows is None:
        assert sample is None
        return
    assert sample.rows.shape == (rows, width)
    assert sample.rows.nbytes <= 460_000
    assert sample.logits.tolist() == (sample.rows[:, 0] / 2).tolist()
    assert len({*sample.logits.tolist()}) == rows


def test_labels_that_it_knows_already_leave_the_weights_and_say_so(detector):
    texts, labels = labeled(120)
    adapted = adapt(detector, texts[40:], labels[40:])
    assert adapted.detector.artifact.head is detector.artifact.head
    assert adapted.record["penalty"] is None
    notes = " ".join(adapted.record["notes"])
    assert "The weights are kept" in notes
    assert "too few to tell" not in notes
    assert "40 negative rows are too few for a threshold at 0.1 % and 1 % false positives" in notes


def test_groups_are_recorded_kept_whole_and_resampled(detector, tmp_path, caplog):
    texts, labels = forum(120)
    authors = [row // 2 % 15 for row in range(120)]  # 8 rows each, 4 of either class
    alone, adapted = adapt(detector, texts, labels), adapt(detector, texts, labels, groups=authors)
    assert adapted.record["auc_before"] == alone.record["auc_before"]
    assert adapted.record["gain_interval"] != alone.record["gain_interval"]
    assert (adapted.after.within_groups.groups, adapted.after.within_groups.mixed) == (15, 15)
    adapted.detector.save(tmp_path / "mine")
    card = (tmp_path / "mine" / "CARD.md").read_text("utf-8")
    assert "| groups | 15 by groups, kept whole in folds and for intervals |" in card
    named = Texts(tuple(texts), {"author": tuple(authors)}, "list")
    assert adapt(detector, named, labels, groups="author").record == adapted.record
    single = [*authors[:-1], "once"]
    assert adapt(detector, texts, labels, groups=single).after.within_groups.groups == 16


@pytest.mark.parametrize(
    ("group", "error", "message"),
    [
        (
            lambda row: "ann",
            BadTexts,
            "all 64 rows are of one group 'groups', 'ann', and groups are held apart",
        ),
        (lambda row: row, BadTexts, "no two of 64 rows have the same group 'groups'"),
        (lambda row: row % 4, BadLabels, "all 32 positive rows are in two groups"),
    ],
    ids=["one", "ids", "two-a-class"],
)
def test_groups_that_cannot_be_held_apart_are_refused(detector, group, error, message):
    with pytest.raises(error, match=message):
        adapt(detector, *forum(), groups=[group(row) for row in range(64)])


def test_few_groups_have_no_interval_and_the_advice_is_to_label_more(detector):
    adapted = adapt(detector, *forum(), groups=[row // 2 % 4 for row in range(64)])
    assert adapted.record["gain_interval"] is None
    assert "64 rows of 4 groups are too few for intervals" in " ".join(adapted.record["notes"])
    assert adapted.record["recommendation"].startswith("Label more texts, of more groups, and adapt")


def test_the_advice_follows_the_interval_of_the_gain(detector):
    adapted = adapt(detector, *forum())
    assert adapted.record["gain_interval"][0] > 0
    assert adapted.record["recommendation"].startswith("Use the adapted detector")
    texts, labels = labeled(120)
    kept = adapt(detector, texts[40:], labels[40:])
    assert kept.record["recommendation"].startswith("Keep the old weights with new thresholds")
    turned = adapt(detector, texts[40:76], 1 - labels[40:76])
    assert turned.record["recommendation"].startswith("Keep the old detector and check your labels")
    assert turned.detector.artifact.thresholds == detector.artifact.thresholds


def test_weights_that_are_kept_are_never_said_to_rank_worse_than_themselves(detector, monkeypatch):
    texts, labels = labeled(160)
    refit = adaptation.refit_anchored

    def kept_though_held_out_heads_were_worse(*arguments, **options):
        fitted = refit(*arguments, **options)
        worse = fitted.anchor_logits * np.where(np.arange(120) % 6 < 2, -0.5, 1)
        return replace(fitted, logits=worse)

    monkeypatch.setattr(adaptation, "refit_anchored", kept_though_held_out_heads_were_worse)
    record = adapt(detector, texts[40:], labels[40:]).record
    assert record["penalty"] is None
    assert record["gain_interval"][1] < 0
    assert record["recommendation"].startswith("Keep the old weights with new thresholds")


def test_the_record_says_which_values_count_as_the_label(detector):
    texts, labels = forum()
    words = np.where(labels == 1, "rude", "polite")
    adapted = adapt(detector, texts, words, positive="rude")
    assert (adapted.record["positive_values"], adapted.record["label"]) == (["rude"], "toxic")
    assert adapted.detector.artifact.labels == ("toxic",)
    assert adapt(detector, texts, labels).record["positive_values"] == ["1"]


def test_the_card_names_the_sources_of_the_old_detector_too(detector, tmp_path):
    training = detector.artifact.training | {"sources": ["first.csv"]}
    old = Detector(replace(detector.artifact, training=training), detector.reader)
    texts, labels = forum(128)
    once = adapt(old, Texts(tuple(texts[:64]), {}, "second.csv"), labels[:64])
    twice = adapt(once.detector, Texts(tuple(texts[64:]), {}, "third.csv"), labels[64:])
    assert twice.detector.artifact.training["sources"] == ["first.csv", "second.csv", "third.csv"]
    twice.detector.save(tmp_path / "mine")
    card = (tmp_path / "mine" / "CARD.md").read_text("utf-8")
    assert "| sources | first.csv; second.csv; third.csv |" in card
    assert "| rows | 64, 32 of them toxic, all of the last source |" in card


def test_adapting_twice_gives_the_same_detector(detector):
    texts, labels = forum()
    one, two = (adapt(detector, texts, labels) for _ in range(2))
    assert one.detector.artifact.digest == two.detector.artifact.digest
    assert one.to_dict() == two.to_dict()
    assert one.detector.artifact.name == "tiny-adapted"


def test_texts_that_were_trained_on_or_adapted_to_are_refused_with_their_count(detector):
    texts, labels = forum()
    known, truth = labeled(3)
    with pytest.raises(BadTexts, match="3 of 67 rows were in the training data of detector tiny"):
        adapt(detector, texts + known, [*labels, *truth])
    adapted = adapt(detector, texts, labels)
    with pytest.raises(BadTexts, match="64 of 64 rows were in the training data of detector tiny-adapted"):
        adapt(adapted.detector, texts, labels)


def test_it_says_where_only_some_training_texts_are_known(detector, caplog):
    artifact = detector.artifact
    training = artifact.training | {"seen": {"texts": 40, "kept": 20}}
    part = Detector(replace(artifact, seen=artifact.seen[:20], training=training), detector.reader)
    adapt(part, *forum())
    assert caplog.messages == [
        "at least 0 of 64 rows were in the training data of detector tiny, which records 20 of its 40 texts"
    ]
    known, truth = labeled(40)
    with pytest.raises(BadTexts, match=r"list: at least 20 of 40 rows were .* 20 of its 40 texts, so a gain"):
        adapt(part, known, truth)


def test_names_that_are_not_utf8_are_stored_escaped(detector, tmp_path):
    texts, labels = forum()
    source = Texts(tuple(texts), {}, "caf\udce9.csv")
    adapted = adapt(detector, source, labels, name="caf\udce9", command="splinelens adapt caf\udce9.csv")
    adapted.detector.save(tmp_path / "mine")
    again = Artifact.load(tmp_path / "mine")
    assert again.name == "caf\\udce9"
    assert again.command == "splinelens adapt caf\\udce9.csv"
    assert again.training["sources"] == ["caf\\udce9.csv"]


def test_texts_that_cannot_be_read_are_left_out_and_counted(detector):
    texts, labels = forum()
    adapted = adapt(detector, [*texts, "", None], [*labels, 0, 1])
    assert adapted.detector.artifact.training["left_out"] == 2
    assert adapted.record["rows"] == 64


@pytest.mark.parametrize(
    ("rows", "change", "message"),
    [
        (31, lambda texts, labels: (texts, labels), "31 labeled texts are too few to adapt to; label at lea"),
        (40, lambda texts, labels: (texts, labels * 0), "labels 'toxic' is 0 in all 40 rows|is 0 in all 40"),
        (40, lambda texts, labels: (texts, np.arange(40) < 9), "9 positive of 40 rows are too few"),
        (
            40,
            lambda texts, labels: ([*texts[:38], texts[0], texts[1]], np.append(labels[:38], [1, 1])),
            r"1 text occurs with both labels, such as in rows 0 and 38",
        ),
        (40, lambda texts, labels: (texts, labels[:-1]), "39 labels"),
        (
            40,
            lambda texts, labels: (texts, ["a", "b", "c", "d"] * 10),
            "labels' holds 'a', 'b', 'c', 'd'",
        ),
        (34, lambda texts, labels: ([*texts[:30], "", "", "", ""], labels), "30 texts that can be read are"),
    ],
    ids=["few", "one-class", "rare", "contradictions", "lengths", "words", "unreadable"],
)
def test_labels_that_cannot_be_adapted_to_are_refused(detector, rows, change, message):
    texts, labels = change(*forum(rows))
    with pytest.raises(BadLabels, match=message):
        adapt(detector, texts, labels)


def test_several_labels_and_a_seed_that_cannot_be_are_refused(detector, loaded):
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    texts, labels = labeled()
    both = np.stack([labels, 1 - labels], axis=1)
    several = fit_detector(texts, both, reader, name="two", task="labels", label=["a", "b"], strengths=(1.0,))
    with pytest.raises(BadDetector, match="detector two has the labels a, b; only a detector of one label"):
        adapt(several.detector, *forum())
    with pytest.raises(BadFeatures, match="seed -1 is not a whole number"):
        adapt(detector, *forum(), seed=-1)
