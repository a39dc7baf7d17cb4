"""Tests ``apps/evaluation.py``: every part of a report, what is left out, and what is refused."""

import csv
import json
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from splinelens.apps.detector import Detector
from splinelens.apps.evaluation import (
    evaluate,
    evaluate_spans,
    evaluation_report,
    read_hatecheck,
    read_xstest,
)
from splinelens.detect.artifact import Artifact
from splinelens.detect.span_metrics import character_f1
from splinelens.errors import BadFeatures, BadLabels, BadTexts, MissingColumn, OutputExists
from splinelens.report.card import card
from splinelens.report.evaluation import report_tables
from splinelens.texts import Texts, read_labels

from .conftest import labeled

DISGUISES = {
    "none": lambda text, dice: text,
    "spacing": lambda text, dice: text.replace("rude", "r u d e"),
    "dice": lambda text, dice: text + str(dice.random()),
}


@pytest.fixture
def detector(fit_on, loaded, tmp_path):
    """Makes the tiny detector; changes go to its spec."""

    def make(**spec):
        fit_on(**spec).save(tmp_path / "made")
        return Detector.load(tmp_path / "made", model=loaded)

    return make


@pytest.fixture
def rows():
    """Sixty texts of which one is empty, and their labels."""
    texts, labels = labeled(60)
    return Texts((*texts[:-1], ""), {}, "list"), labels


@pytest.fixture
def probes():
    """A few cases in the form of HateCheck and of XSTest."""
    texts, labels = labeled(8)
    gold = tuple(("non-hateful", "hateful")[label] for label in labels)
    cells = {"functionality": ("b", "a") * 4, "label_gold": gold, "target_ident": ("women", None) * 4}
    safe = {"type": ("figurative",) * 8, "label": tuple(("safe", "unsafe")[label] for label in labels)}
    return Texts(tuple(texts), cells, "cases"), Texts(tuple(texts), safe, "prompts")


def test_every_part_is_there_and_survives_json(detector, rows, probes):
    texts, labels = rows
    groups = {"you": np.array(["you" in text for text in texts.texts])}
    made = detector()
    report = evaluation_report(
        made,
        texts,
        labels,
        hatecheck=probes[0],
        xstest=probes[1],
        groups=groups,
        disguises=DISGUISES,
        explain=True,
        resamples=50,
    )
    assert json.loads(report.to_json())["metrics"] == report.metrics
    assert report.metrics == made.evaluate(texts, labels, resamples=50).to_dict()
    assert (report.metrics["n"], report.metrics["undetermined"]) == (59, 1)
    assert {share.name: share.total for share in report.hatecheck} == {"b": 4, "a": 4}
    assert [group.name for group in report.hatecheck_bias] == ["women"]
    assert {share.expected for share in report.xstest} == {"mixed"}
    assert report.bias[0].rows == groups["you"].sum()
    assert report.provenance["data_hash"] == texts.data_hash
    assert (report.threshold, report.detector) == (made.threshold(), "tiny")


def test_harmless_identity_mentions_end_the_first_table(detector, rows):
    texts, labels = labeled(8)
    functions = ("ident_neutral_nh", "derog_neg_emote_h") * 2 + ("ident_pos_nh", "derog_neg_emote_h") * 2
    gold = tuple(("non-hateful", "hateful")[label] for label in labels)
    cells = {"functionality": functions, "label_gold": gold, "target_ident": (None,) * 8}
    made = detector()
    report = evaluation_report(made, *rows, hatecheck=Texts(tuple(texts), cells, "cases"), resamples=0)
    flagged = sum(record.verdict == "toxic" for record in made.score(texts[::2]))
    (share,) = report.metrics["flagged"]
    assert (share["count"], share["total"], share["share"]) == (flagged, 4, flagged / 4)
    name, value, bounds = report_tables(report)["metrics"].rows[-1]
    assert name == "harmless identity mentions (HateCheck) flagged at the stored 5 % threshold"
    assert value == f"{25 * flagged} %, {flagged} of 4"
    assert bounds.count(" to ") == 1
    assert name in report.to_markdown()


def test_words_that_an_explanation_marks_are_compared_with_those_people_marked(detector):
    made, (texts, _) = detector(), labeled(20)
    texts = Texts((*texts, ""), {}, "list")
    gold = [
        frozenset(range(at, at + 4)) if (at := text.find("rude")) >= 0 else frozenset()
        for text in texts.texts
    ]
    found = evaluate_spans(made, texts, gold, resamples=0)
    assert (found.n, found.undetermined, found.without_gold, found.limit) == (20, 1, 10, 0.25)
    assert found.word_auc > 0.7
    slow = []
    for text, marked, record in zip(texts.texts, gold, made.score(texts, explain=True), strict=True):
        words = [word for word in record.words or () if word.contribution >= found.limit]
        spans = {at for word in words for at in range(word.begin, word.end)}
        spans |= {a.end for a, b in pairwise(words) if b.begin == a.end + 1}
        slow += [character_f1(marked, spans)] if text else []
    assert found.character_f1 == pytest.approx(np.mean(slow))  # there is no punctuation around words
    own = replace(made, artifact=replace(made.artifact, word_limit=99.0))
    assert evaluate_spans(own, texts, gold, resamples=0).character_f1 == 0.5  # nothing is marked
    assert evaluate_spans(own, texts, gold, limit=0.25, resamples=0) == found
    with pytest.raises(BadFeatures, match="limit nan is no finite number; give a contribution"):
        evaluate_spans(made, texts, gold, limit=np.nan)


def test_the_limit_of_words_is_kept_on_disk_and_shown(detector, tmp_path):
    artifact = replace(detector().artifact, word_limit=0.75)
    artifact.save(tmp_path / "own")
    assert Artifact.load(tmp_path / "own").word_limit == 0.75
    assert "| words marked from | +0.75 |" in card(artifact)


def test_suspects_are_written_with_their_texts_on_request(detector, rows, tmp_path):
    texts, labels = rows
    wrong = labels.copy()
    wrong[7] = 0
    moved = Texts((*texts.texts[:-1], texts.texts[0]), {}, "list", tuple(range(100, 160)))
    made, file = detector(), tmp_path / "suspects.csv"
    found = evaluate(made, moved, wrong, allow_training_rows=True, resamples=0, suspects=file)
    assert found == evaluate(made, moved, wrong, allow_training_rows=True, resamples=0)
    with file.open(encoding="utf-8", newline="") as opened:
        lines = list(csv.DictReader(opened))
    suspects = [line for line in lines if line["kind"] == "suspect"]
    assert {line["row"] for line in suspects} == {"107", "159"}
    assert all(line["text"] == moved.texts[int(line["row"]) - 100] for line in lines)
    assert [line["row"] for line in lines if line["kind"] == "contradiction"] == ["100", "159"]
    with pytest.raises(OutputExists):
        evaluate(made, moved, wrong, allow_training_rows=True, suspects=file)
    before = file.read_bytes()
    evaluation_report(made, moved, wrong, resamples=0, suspects=file, overwrite=True)
    assert file.read_bytes() == before


def test_disguises_are_measured_on_the_same_rows(detector, rows):
    report = evaluation_report(detector(), *rows, disguises=DISGUISES, resamples=0)
    none, spacing, _ = report.evasion
    assert (none.lost, none.false_positive_rate) == (0.0, none.disguised_false_positive_rate)
    assert none.recall == none.disguised_recall == spacing.recall
    assert (none.positives, none.negatives) == (29, 30)
    again = evaluation_report(detector(), *rows, disguises=DISGUISES, resamples=0)
    assert again.evasion == report.evasion


def test_cells_of_the_map_of_layers_are_parts_of_the_logit(detector, rows):
    made = detector(pooling=("max", "last"))
    report = evaluation_report(made, *rows, resamples=0)
    assert report.layer_auc.statistics == ("margin_max", "margin_last")
    assert report.layer_auc.layers == (0, 1)
    texts = [text for text in rows[0].texts if text]
    values = np.stack([features.values for features in made.reader.read(texts)])
    parts = made.artifact.head.contributions(values)
    start = sum(column.size for column in made.reader.columns[:2])
    part = parts[:, start : start + made.reader.columns[2].size].sum(axis=1)
    assert report.layer_auc.auc[0][1] == pytest.approx(roc_auc_score(rows[1][:-1], part), abs=0.01)


def test_of_single_numbers_each_has_its_own_auc(detector, rows):
    report = evaluation_report(detector(features=("spline7", "length")), *rows, resamples=0, explain=True)
    assert len(report.layer_auc.statistics) == 7
    assert all(0 <= cell <= 1 for row in report.layer_auc.auc for cell in row)
    assert any("no words beside the errors: it reads" in note for note in report.notes)
    assert not any(mistake.words for mistake in (*report.false_positives, *report.false_negatives))


def test_the_worst_errors_come_first_with_their_words(detector, rows):
    texts, labels = rows
    report = evaluation_report(detector(), texts, 1 - labels, explain=True, resamples=0)
    for mistakes, sign in ((report.false_positives, -1), (report.false_negatives, 1)):
        scores = [mistake.score for mistake in mistakes]
        assert 0 < len(scores) <= 20
        assert scores == sorted(scores, key=lambda score: sign * score)
        for mistake in mistakes:
            assert mistake.text == texts.texts[mistake.row]
            logit = sum(word.contribution for word in mistake.words) + mistake.rest
            assert logit == pytest.approx(np.log(mistake.score / (1 - mistake.score)), abs=1e-4)
            assert mistake.constant == pytest.approx(mistake.rest)  # all words of these short texts are shown
    assert all(mistake.score >= report.threshold for mistake in report.false_positives)
    assert all(mistake.score < report.threshold for mistake in report.false_negatives)


def test_rows_are_called_by_their_numbers_in_the_file(detector, rows):
    texts, labels = rows
    numbers = tuple(range(7, 187, 3))
    moved = Texts(texts.texts, {}, "list", numbers)
    report = evaluation_report(detector(), moved, 1 - labels, resamples=0)
    for mistake in (*report.false_positives, *report.false_negatives):
        assert mistake.text == texts.texts[numbers.index(mistake.row)]
    assert report.feature_map.row == numbers[:-1]


def test_few_rows_have_no_interval_and_a_note(detector):
    texts, labels = labeled(12)
    report = evaluation_report(detector(), Texts(tuple(texts), {}, "list"), labels)
    assert report.metrics["auc_interval"] is None
    assert report.metrics["average_precision_interval"] is None
    assert any("12 scored rows are fewer than 50" in note for note in report.notes)


def test_unread_probes_are_counted(detector, rows, probes):
    cases = Texts(("", *probes[0].texts[1:]), probes[0].columns, "cases")
    report = evaluation_report(detector(), *rows, hatecheck=cases, resamples=0)
    assert report.notes[-1] == "1 of 8 texts of HateCheck could not be scored"
    assert sum(share.total for share in report.hatecheck) == 7


def test_files_of_probes_are_known_by_their_hashes(detector, rows, probes):
    made, (cases, prompts) = detector(), probes
    turned = tuple(reversed(prompts.columns["label"]))
    relabeled = Texts(prompts.texts, {**prompts.columns, "label": turned}, "prompts")
    first, second = (
        evaluation_report(made, *rows, hatecheck=cases, xstest=own, resamples=0).provenance
        for own in (prompts, relabeled)
    )
    assert first["hatecheck"] == second["hatecheck"]
    assert first["hatecheck"]["data_hash"] == cases.data_hash
    assert (first["xstest"]["source"], first["xstest"]["texts"]) == ("prompts", 8)
    assert first["xstest"]["data_hash"] == second["xstest"]["data_hash"] == prompts.data_hash
    assert first["xstest"]["columns_hash"] != second["xstest"]["columns_hash"]
    assert not {"hatecheck", "xstest"} & set(evaluation_report(made, *rows, resamples=0).provenance)


def test_one_class_and_wrong_labels_are_refused(detector, rows, probes):
    made, (texts, labels) = detector(), rows
    with pytest.raises(BadLabels, match="0 and 1 are both needed"):
        evaluation_report(made, texts, np.zeros(60, dtype=int))
    with pytest.raises(BadLabels, match="60 texts need as many labels"):
        evaluation_report(made, texts, labels[:5])
    wrong = Texts(probes[0].texts, {**probes[0].columns, "label_gold": ("yes",) * 8}, "cases")
    with pytest.raises(BadTexts, match="'label_gold' of row 0 is neither 'hateful' nor 'non-hateful'"):
        evaluation_report(made, texts, labels, hatecheck=wrong, resamples=0)


def test_errors_are_scored_again_only_for_their_words(detector, rows, monkeypatch):
    again, plain = [], Detector.scores
    monkeypatch.setattr(Detector, "scores", lambda *a, **k: again.append(k) or plain(*a, **k))
    made, texts, labels = detector(), *rows
    report = evaluation_report(made, texts, 1 - labels, resamples=0)
    assert report.false_positives
    assert not again
    report = evaluation_report(made, texts, 1 - labels, resamples=0, explain=True)
    assert report.false_positives[0].words
    assert [options["explain"] for options in again] == [True, True]


def test_labels_of_another_task_are_refused(detector):
    several = read_labels({"kind": ["court", "patent", "wiki"]}, None)
    with pytest.raises(
        BadLabels, match="'kind' holds 'court', 'patent', 'wiki'; say which value counts as 1"
    ):
        detector().artifact.require_task(several, "kind")


def test_texts_without_a_finite_score_are_in_no_part(fit_on, loaded, tmp_path, rows):
    artifact = fit_on()
    weight = np.full_like(artifact.head.weight, 3e38)
    scale = np.full(artifact.head.width, 1e-270)
    head = replace(artifact.head, weight=weight, scale=scale, mean=np.zeros(artifact.head.width))
    replace(artifact, head=head).save(tmp_path / "enormous")
    with pytest.raises(BadLabels, match="0 scored rows"):
        evaluation_report(Detector.load(tmp_path / "enormous", model=loaded), *rows, resamples=50)


def test_few_rows_have_no_map_and_no_cells(detector):
    texts, labels = labeled(2)
    report = evaluation_report(detector(), Texts(tuple(texts), {}, "list"), labels, resamples=0)
    assert report.feature_map is None


def test_files_without_the_columns_are_refused(tmp_path):
    (tmp_path / "a.csv").write_text("test_case,prompt,functionality\nhello,hello,a\n")
    with pytest.raises(MissingColumn, match="label_gold"):
        read_hatecheck(str(tmp_path / "a.csv"))
    with pytest.raises(MissingColumn, match="type"):
        read_xstest(str(tmp_path / "a.csv"))
