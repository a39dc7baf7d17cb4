"""Tests report/training.py: the end of a training in a record, a page, lines and a file, without a text."""

import csv
import io

import numpy as np
import pytest

from splinelens.detect.learning_curve import LearningCurve, PowerLaw
from splinelens.detect.thresholds import thresholds
from splinelens.errors import BadFeatures, BadLabels
from splinelens.report.training import (
    SUSPECT_COLUMNS,
    suspects_csv,
    training_lines,
    training_markdown,
    training_report,
)

LABELS = np.array([[0, 1], [0, 0], [0, 1], [1, 0], [1, 1], [1, 0]])
SCORES = np.array([[0.1, 0.9], [0.2, 0.1], [0.9, 0.8], [0.8, 0.2], [0.9, 0.7], [0.1, np.nan]])
CURVE = LearningCurve(
    (50, 100, 200), ((0.8, 0.82), (0.84, 0.86), (0.88,)), 120, PowerLaw(0.95, 1.0, 0.5), (0.01, 0.03)
)


def report(**changes):
    options = {
        "numbers": np.array([10, 11, 12, 13, 14, 15]),
        "keys": ["a", "b", "c", "a", "d", "e"],
        "thresholds": [thresholds(LABELS[:, 0], SCORES[:, 0])],
        "curve": CURVE,
        "left_out": 2,
    }
    lengths = np.array([3, 4, 5, 6, 7, 8])
    return training_report("my|own", ["rude", "loud"], LABELS, SCORES, lengths, **options | changes)


def test_the_record_holds_counts_areas_suspects_and_the_users_row_numbers():
    found = report()
    rude, loud = found.labels
    assert (rude.name, rude.positives, rude.length_auc) == ("rude", 3, 1.0)
    assert rude.auc == pytest.approx(
        5 / 9
    )  # of the nine pairs four are in order, and two ties count one half
    assert loud.auc == 1.0  # the row with NaN is not scored
    assert [(suspect.row, suspect.label) for suspect in found.suspects] == [(12, 0), (15, 0)]
    assert [(group.rows, group.labels) for group in found.contradictions] == [((10, 13), (0, 1))]


def test_the_page_shows_all_of_it():
    page = training_markdown(report())
    assert page.startswith("# Training of my\\|own\n")
    assert "6 rows, 2 left out because they could not be read" in page
    assert "| rude | 3 | 50 % |" in page
    assert "| rude | 1 % | 0.9000 | 0 % |" in page
    assert CURVE.sentence in page
    assert "| 50 | 0.8100 | 0.0141 | 2 |" in page
    assert "| 200 | 0.8800 | one sample | 1 |" in page
    assert "AUC = 0.9500 - 1 * rows ^ -0.50" in page
    assert "| 12 | rude | 0 | 1 | 0.9000 |" in page
    assert "1 text with contradicting labels, at rows 10, 13" in page


def test_the_lines_say_what_to_do_next():
    lines = training_lines(report())
    assert lines == [
        CURVE.sentence,
        "2 labels may be wrong; look at rows 12, 15 first",
        "1 text with contradicting labels, such as in rows 10 and 13",
        "rows are counted from 0; all are in suspects.csv",
    ]


def test_the_file_has_a_line_for_each_suspect_and_each_contradicting_row():
    rows = list(csv.DictReader(io.StringIO(suspects_csv(report()))))
    assert tuple(rows[0]) == SUSPECT_COLUMNS
    assert [(row["row"], row["kind"], row["label"]) for row in rows] == [
        ("12", "suspect", "rude"),
        ("15", "suspect", "rude"),
        ("10", "contradiction", "rude loud"),
        ("13", "contradiction", "rude loud"),
    ]
    assert (rows[0]["given"], rows[0]["suggested"], rows[0]["score"]) == ("0", "1", "0.9000")


def test_classes_are_named_in_the_users_words():
    labels = np.eye(3, dtype=int)[[0, 0, 0, 1, 1, 2, 2]]
    scores = np.array(
        [[0.9, 0.05, 0.05]] * 2 + [[0.1, 0.1, 0.8]] + [[0.1, 0.8, 0.1]] * 2 + [[0.3, 0, 0.7]] * 2
    )
    found = training_report("kinds", ["a", "b", "c"], labels, scores, np.arange(7), exclusive=True)
    assert [line.split(",")[:5] for line in suspects_csv(found).splitlines()[1:]] == [
        ["2", "suspect", "class", "a", "c"]
    ]


def test_a_clean_training_says_so():
    labels, scores = np.arange(8) % 2, np.arange(8) % 2 * 0.8 + 0.1
    found = training_report("good", ["rude"], labels, scores, np.arange(8))
    page = training_markdown(found)
    assert "None: no score favors another label" in page
    assert "No learning curve was computed." in page
    assert "None stored." in page
    assert training_lines(found) == []
    assert suspects_csv(found) == ",".join(SUSPECT_COLUMNS) + "\n"


def test_many_suspects_are_cut_on_the_page_and_whole_in_the_file():
    labels, scores = np.repeat([0, 1], 100), np.repeat([0.1, 0.9], 100)
    scores[:30] = 0.95
    found = training_report("many", ["rude"], labels, scores, np.ones(200))
    assert "The first 20; all are in `suspects.csv`." in training_markdown(found)
    assert len(suspects_csv(found).splitlines()) == 31
    few = LearningCurve((), (), 10, reason="30 rows to train on are too few for a curve, 100 are needed")
    few_rows = training_report("few", ["rude"], labels, scores, np.ones(200), curve=few)
    assert few.sentence in training_markdown(few_rows)


def test_a_label_that_was_judged_on_one_class_has_no_area():
    labels, scores = np.array([0, 0, 1]), np.array([0.1, 0.2, np.nan])
    found = training_report("one", ["rude"], labels, scores, np.ones(3))
    assert found.labels[0].auc is None
    assert "not scored" in training_markdown(found)


def test_names_and_scores_must_fit_the_labels():
    with pytest.raises(BadLabels, match="2 labels but 1 names"):
        training_report("x", ["rude"], LABELS, SCORES, np.ones(6))
    with pytest.raises(BadFeatures, match="one score per label"):
        training_report("x", ["rude", "loud"], LABELS, SCORES[:, :1], np.ones(6))
