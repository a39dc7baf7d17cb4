"""Tests ``apps/training.py``: labeled texts become a calibrated detector."""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from splinelens.apps.detector import Detector
from splinelens.apps.training import fit_detector
from splinelens.errors import BadFeatures, BadLabels
from splinelens.features.extract import read_table
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.report.card import card
from splinelens.texts import Texts, read_texts
from splinelens.texts.row_groups import row_groups

from .conftest import labeled


def test_a_trained_detector_tells_the_classes_apart_and_says_how_it_was_made(fit_on):
    artifact = fit_on()
    assert artifact.metrics["out_of_fold"]["auc"] > 0.9
    assert artifact.training["rows"] == 40
    assert artifact.training["positives"] == 20
    assert artifact.training["settings"]["C"] in (1e-2, 1.0)
    assert artifact.model["fingerprint"]["depth"] == 2
    assert artifact.spec["layers"] == [0, 1]
    assert (artifact.features_dtype, artifact.engine, artifact.command) == ("float32", "torch", "")


def test_a_training_is_written_with_its_card_and_report(loaded, tmp_path):
    texts, labels = labeled(60)
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    command = "splinelens train a.csv -o here"
    training = fit_detector(texts, labels, reader, name="n", command=command, strengths=(1.0,))
    report = training.write(tmp_path / "here")
    written = sorted(path.name for path in (tmp_path / "here").iterdir())
    assert written == ["CARD.md", "TRAINING.md", "detector.json", "detector.safetensors", "suspects.csv"]
    assert command in (tmp_path / "here" / "CARD.md").read_text("utf-8")
    assert report.artifact.training["rows"] == 60


def test_a_table_of_other_texts_or_columns_is_refused(loaded):
    texts, labels = labeled()
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    other = TextReader(loaded, FeatureSpec(features=("margins",), layers=(0,), max_tokens=24))
    with pytest.raises(BadFeatures, match="a table of 39 rows and 2 columns does not fit 40 texts and 2 col"):
        fit_detector(texts, labels, reader, name="n", table=read_table(reader, Texts.of(texts[1:])))
    with pytest.raises(BadFeatures, match="a table of 40 rows and 1 columns does not fit 40 texts and 2 col"):
        fit_detector(texts, labels, reader, name="n", table=read_table(other, Texts.of(texts)))


def test_training_twice_gives_the_same_artifact(fit_on, tmp_path):
    for name in ("one", "two"):
        fit_on().save(tmp_path / name)
    for file in ("detector.json", "detector.safetensors"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_out_of_fold_numbers_come_from_heads_that_did_not_see_the_row(loaded):
    # Random labels on wide columns: a head that saw its rows would separate them perfectly.
    texts = [f"text number {row} of many" for row in range(60)]
    labels = np.random.default_rng(1).permutation(np.arange(60) % 2)
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    artifact = fit_detector(texts, labels, reader, name="noise", strengths=(1.0,)).artifact
    table = read_table(reader, read_texts(texts))
    assert artifact.metrics["out_of_fold"]["auc"] < 0.75
    assert roc_auc_score(labels, artifact.head.logit(table.values)[:, 0]) > 0.95


def test_rows_that_do_not_judge_only_help_to_fit(loaded):
    texts, labels = labeled(60)
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    words = {"name": "mixed", "label": "toxic", "negative": "clean"}
    artifact = fit_detector(
        texts, labels, reader, judged=np.arange(60) < 40, strengths=(1.0,), **words
    ).artifact
    assert artifact.training["judged_rows"] == 40
    assert artifact.metrics["out_of_fold"]["n"] == 40


def test_unreadable_texts_are_left_out_and_counted(loaded):
    texts, labels = labeled(44)
    texts[0], texts[3] = "", "\0"
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    artifact = fit_detector(
        texts, labels, reader, name="n", label="toxic", negative="clean", strengths=(1.0,)
    ).artifact
    assert (artifact.training["rows"], artifact.training["left_out"]) == (42, 2)


@pytest.mark.parametrize("features", [("spline7",), ("occupancy", "length"), ("hidden",)])
def test_every_feature_can_be_trained_saved_and_used(fit_on, loaded, tmp_path, features):
    artifact = fit_on(features=features)
    artifact.save(tmp_path)
    detector, (texts, _) = Detector.load(tmp_path, model=loaded), labeled()
    scores = [record.score for record in detector.score(texts)]
    table = read_table(detector.reader, read_texts(texts))
    expected = artifact.scores(artifact.head.logit(table.values), table.tokens)
    np.testing.assert_allclose(scores, expected[:, 0], rtol=1e-4, atol=1e-6)


def test_bad_requests_are_refused(loaded):
    texts, labels = labeled()
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    words = {"name": "n", "label": "toxic", "negative": "clean"}
    with pytest.raises(BadLabels, match="40 rows need as many labels"):
        fit_detector(texts, labels[:3], reader, **words)
    same = [
        ("undetermined", "clean"),
        ("toxic", "toxic"),
        ("toxic", "undetermined"),
        ("toxic", "Toxic\u200b"),
    ]
    for label, negative in same:
        with pytest.raises(BadLabels, match=r"must differ .*not be empty; choose other names"):
            fit_detector(texts, labels, reader, name="n", label=label, negative=negative)
    for seed in (-1, 2**32):
        with pytest.raises(BadFeatures, match=f"seed {seed} is not a whole number from 0 to 4294967295"):
            fit_detector(texts, labels, reader, seed=seed, **words)
    for share in (-0.1, 1.5, np.nan, True, "1"):
        with pytest.raises(BadFeatures, match=f"by_length={share!r}: need a share from 0 to 1"):
            fit_detector(texts, labels, reader, by_length=share, **words)
    deviations = TextReader(loaded, FeatureSpec(features=("spline7",), max_tokens=24))
    with pytest.raises(BadFeatures, match="sign_mean of a text does not follow from that of its windows"):
        fit_detector(texts, labels, deviations, by_length=1.0, progress=pytest.fail, **words)
    with pytest.raises(BadLabels, match="0 positive"):
        fit_detector(texts, np.zeros(40), reader, **words)


def test_scores_by_length_keep_the_rate_of_long_texts(loaded, tmp_path):
    """Learned from short texts: the words of harmless ones, many times over, are no longer flagged."""
    rng = np.random.default_rng(0)
    words = "the sea tea road house tree good fine day you we are all nice thing what".split()
    texts = [" ".join(rng.choice(words, size=rng.integers(2, 7))) for _ in range(600)]
    labels = rng.integers(0, 2, size=600)
    texts = [f"{text} rude" if label else text for text, label in zip(texts, labels, strict=True)]
    reader = TextReader(loaded, FeatureSpec(("margins",), max_tokens=64))
    options = {"name": "tiny", "label": "toxic", "negative": "clean", "strengths": (1e-2,)}
    plain = fit_detector(texts, labels, reader, **options)
    fitted = fit_detector(texts, labels, reader, by_length=1.0, **options)
    (calibration,) = fitted.artifact.calibrations
    assert [tokens for tokens, _ in calibration.by_length][-1] >= 512
    assert np.array_equal(fitted.artifact.head.weight, plain.artifact.head.weight)
    fitted.detector.save(tmp_path / "d")
    detector = Detector.load(tmp_path / "d", model=loaded)
    harmless = [" ".join(rng.choice(words, size=size)) for size in (60, 120, 240) for _ in range(10)]
    before, after = (
        np.mean([record.verdict == "toxic" for record in one.score(harmless)])
        for one in (plain.detector, detector)
    )
    assert after <= before
    [record] = detector.score(harmless[-1:], explain=True)
    total = record.constant + sum(span.contribution for span in record.spans)
    assert total == pytest.approx(np.log(record.score / (1 - record.score)), abs=1e-4)
    assert "Scores take the length of a text into account" in card(detector.artifact)
    assert "Scores take the length" not in card(plain.artifact)


def test_groups_are_recorded_measured_and_kept_whole(loaded, tmp_path):
    texts, labels = labeled(80)
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    source = Texts(tuple(texts), {"author": tuple(f"author {row // 4}" for row in range(80))}, "list")
    groups = row_groups("author", source)
    training = fit_detector(source, labels, reader, name="n", groups=groups, strengths=(1.0,))
    assert training.artifact.training["groups"] == {"column": "author", "groups": 20, "missing": 0}
    within = training.artifact.metrics["out_of_fold"]["within_groups"]
    assert (within["groups"], within["mixed"], within["pairs"]) == (20, 20, 80)
    training.write(tmp_path / "here")
    card = (tmp_path / "here" / "CARD.md").read_text("utf-8")
    assert "| groups | 20 by author, kept whole in folds and for intervals |" in card
    assert "| AUC within groups | " in card
    report = (tmp_path / "here" / "TRAINING.md").read_text("utf-8")
    assert "Groups: 20 by author, kept whole in folds and for intervals; AUC within groups" in report
    assert Detector.load(tmp_path / "here", model=loaded).artifact.training["groups"]["groups"] == 20


def test_a_class_within_one_group_is_refused(loaded):
    texts, labels = labeled(40)
    reader = TextReader(loaded, FeatureSpec(features=("margins",), max_tokens=24))
    groups = row_groups(labels, Texts.of(texts))
    with pytest.raises(BadLabels, match="all 20 positive rows are in one group"):
        fit_detector(texts, labels, reader, name="n", groups=groups)
