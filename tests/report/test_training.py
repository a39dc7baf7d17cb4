"""Tests report/training.py: the end of a training in a record, a page, lines and a file, without a text."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from splinelens.apps.detector import Detector
from splinelens.apps.training import Training
from splinelens.detect.learning_curve import LearningCurve, PowerLaw
from splinelens.detect.thresholds import thresholds
from splinelens.errors import BadFeatures
from splinelens.report.training import (
    SUSPECT_COLUMNS,
    suspects_csv,
    training_lines,
    training_markdown,
)

LABELS = np.array([[0, 1], [0, 0], [0, 1], [1, 0], [1, 1], [1, 0]])
SCORES = np.array([[0.1, 0.9], [0.2, 0.1], [0.9, 0.8], [0.8, 0.2], [0.9, 0.7], [0.1, np.nan]])
CURVE = LearningCurve(
    (50, 100, 200), ((0.8, 0.82), (0.84, 0.86), (0.88,)), 120, PowerLaw(0.95, 1.0, 0.5), (0.01, 0.03)
)


@pytest.fixture
def detector(artifact):
    """Makes a detector of some labels: ``detector("rude", "loud", task="labels")``."""

    def make(*labels, task="labels", thresholds=()):
        metrics = {**artifact.metrics["out_of_fold"]}
        if task != "binary":
            metrics = {
                "n": 1000,
                "mean_auc": 0.949,
                "labels": {labels[0]: metrics} | dict.fromkeys(labels[1:]),
            }
        stored = (tuple(thresholds), *[()] * (len(labels) - 1))
        return replace(
            artifact,
            name="my|own",
            task=task,
            labels=labels,
            thresholds=stored,
            training=artifact.training | {"settings": {"C": dict.fromkeys(labels, 0.001)}},
            metrics={"out_of_fold": metrics},
        )

    return make


@pytest.fixture
def report(detector):
    """A report with everything."""
    stored = thresholds(LABELS[:, 0], SCORES[:, 0])
    training = Training(
        Detector(detector("rude", "loud", thresholds=stored), None),
        values=np.zeros((6, 1)),
        labels=LABELS,
        scores=SCORES,
        numbers=np.array([10, 11, 12, 13, 14, 15]),
        same_text=np.array([0, 1, 2, 0, 3, 4]),
    )
    return replace(training.report(), curve=CURVE)


def test_suspects_and_contradictions_have_the_row_numbers_of_the_file(report):
    assert [(suspect.row, suspect.label) for suspect in report.suspects] == [(12, 0), (15, 0)]
    assert [(group.rows, group.labels) for group in report.contradictions] == [((10, 13), (0, 1))]


def test_the_page_shows_all_of_it(report):
    page = training_markdown(report)
    assert page.startswith("# Training of my\\|own\n")
    assert "1,400 rows, 2 left out because they could not be read" in page
    assert "| rude | 500 | 0.9490 | [0.9300, 0.9600] | 0.5960 | 0.3700 | 0.7000 |" in page
    assert "| loud | not measured: all or no rows |" in page
    assert "| rude | 1 % | 0.9000 | 0 % |" in page
    assert CURVE.sentence in page
    assert "| 50 | 0.8100 | 0.0141 | 2 |" in page
    assert "| 200 | 0.8800 | one sample | 1 |" in page
    assert "AUC = 0.9500 - 1 * rows ^ -0.50" in page
    assert training_lines(report)[2] in page
    assert training_lines(report)[0] in page
    assert "| 12 | rude | 0 | 1 | 0.9000 |" in page
    assert "1 text with contradicting labels, at rows 10, 13" in page


def test_the_lines_say_what_to_do_next(report):
    lines = training_lines(report)
    assert lines == [
        "rude: the thresholds for 0.1 %, 1 %, 5 % false positives are the same; the 500 rows without the "
        "label cannot tell them apart.",
        CURVE.sentence,
        "The curve ends at AUC 0.8800, the out-of-fold AUC is 0.9490: the curve's last heads are fitted "
        "on 200 rows and evaluated on 120 others, those out of fold are fitted on about 1,200 and together "
        "evaluated on 1,000. Quote the out-of-fold AUC; read the curve for how the AUC grows with rows.",
        "2 labels may be wrong; look at rows 12, 15 first",
        "1 text with contradicting labels, such as in rows 10 and 13",
        "row 0 is the first after the line of names; all are in suspects.csv",
    ]


def test_the_file_has_a_line_for_each_suspect_and_each_contradicting_row(report):
    rows = list(csv.DictReader(io.StringIO(csv_of(report))))
    assert tuple(rows[0]) == SUSPECT_COLUMNS
    assert [(row["row"], row["kind"], row["label"]) for row in rows] == [
        ("12", "suspect", "rude"),
        ("15", "suspect", "rude"),
        ("10", "contradiction", "rude loud"),
        ("13", "contradiction", "rude loud"),
    ]
    assert (rows[0]["given"], rows[0]["suggested"], rows[0]["score"]) == ("0", "1", "0.9000")


def test_the_texts_stand_in_the_file_on_request_only(report):
    texts = {row: f"text {row}" for row in range(20)} | {12: "=1+1", 13: None}
    found = suspects_csv(report.artifact, report.suspects, report.contradictions, texts)
    rows = list(csv.DictReader(io.StringIO(found)))
    assert tuple(rows[0]) == (*SUSPECT_COLUMNS, "text")
    assert [row["text"] for row in rows] == ["'=1+1", "text 15", "text 10", ""]
    assert "text" not in csv_of(report)


def csv_of(report):
    return suspects_csv(report.artifact, report.suspects, report.contradictions)


def report_of(artifact, labels, scores, groups=None):
    numbers = np.arange(len(labels))
    groups = numbers if groups is None else groups
    values, scorer = np.zeros((len(labels), 1)), Detector(artifact, None)
    return Training(scorer, values, labels, scores, numbers, groups).report()


def test_classes_are_named_in_the_users_words(detector):
    labels = np.eye(3, dtype=int)[[0, 0, 0, 1, 1, 2, 2]]
    scores = np.array(
        [[0.9, 0.05, 0.05]] * 2 + [[0.1, 0.1, 0.8]] + [[0.1, 0.8, 0.1]] * 2 + [[0.3, 0, 0.7]] * 2
    )
    found = report_of(detector("a", "b", "c", task="classes"), labels, scores)
    assert [line.split(",")[:5] for line in csv_of(found).splitlines()[1:]] == [
        ["2", "suspect", "class", "a", "c"]
    ]


def test_suspects_of_two_classes_are_named_in_the_users_words(detector):
    scores = np.array([0.1, 0.2, 0.9, 0.9, 0.8, 0.1])
    found = report_of(replace(detector("rude", task="binary"), negative="polite"), LABELS[:, 0], scores)
    assert [line.split(",")[:5] for line in csv_of(found).splitlines()[1:]] == [
        ["2", "suspect", "rude", "polite", "rude"],
        ["5", "suspect", "rude", "rude", "polite"],
    ]


def test_a_clean_training_says_so(detector):
    labels, scores = np.arange(8) % 2, np.arange(8) % 2 * 0.8 + 0.1
    found = report_of(detector("rude", task="binary"), labels, scores)
    page = training_markdown(found)
    assert "None: no score favors another label" in page
    assert found.curve.sentence in page
    assert "None stored." in page
    assert training_lines(found) == [found.curve.sentence]
    assert csv_of(found) == ",".join(SUSPECT_COLUMNS) + "\n"


def test_many_suspects_are_cut_on_the_page_and_whole_in_the_file(detector):
    labels, scores = np.repeat([0, 1], 100), np.repeat([0.1, 0.9], 100)
    scores[:30] = 0.95
    found = report_of(detector("rude", task="binary"), labels, scores)
    page = training_markdown(found)
    assert "The first 20; all are in `suspects.csv`." in page
    assert found.curve.sentence in page
    assert len(csv_of(found).splitlines()) == 31


@pytest.mark.parametrize("groups", [np.arange(200) // 2, np.arange(200) // 12])
def test_not_all_contradictions_are_on_the_page_and_it_says_so(detector, groups):
    labels = np.arange(200) % 2
    found = report_of(detector("rude", task="binary"), labels, labels * 0.8 + 0.1, groups)
    assert "at rows (the first 5 rows of the first 20 texts; all are in `suspects.csv`) 0, 1" in (
        training_markdown(found)
    )


def test_scores_must_fit_the_labels(detector):
    with pytest.raises(BadFeatures, match="one score per label"):
        report_of(detector("rude", "loud"), LABELS, SCORES[:, :1])
