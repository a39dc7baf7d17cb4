"""Tests ``report/card.py``: what a detector is, was fitted on, reached, and how to reproduce it."""

import re
from dataclasses import replace

import numpy as np
import pytest

from splinelens.cli.options import layer_numbers
from splinelens.errors import BrokenArtifact
from splinelens.report.card import card, layer_ranges


def rows(text):
    """The cells of every table row, by the first."""
    lines = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("|")]
    return {cells[0]: cells[1:] for cells in lines}


def test_the_sections_stand_in_reading_order(artifact):
    heads = [line for line in card(artifact).splitlines() if line.startswith("#")]
    assert heads == [
        "# mine",
        "## Model",
        "## Data",
        "## Metrics",
        "## Thresholds",
        "## What it relies on",
        "## Languages",
        "## Limits",
        "## Reproduce",
    ]


def test_a_detector_that_normalizes_says_so(artifact):
    undisguised = card(replace(artifact, spec={**artifact.spec, "normalize": True}))
    assert rows(undisguised)["disguised characters"] == ["read as plain ones"]
    assert "normalize" not in card(artifact)
    assert "disguised" not in card(artifact)


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"training": {"rows": "many"}}, "training.rows"),
        ({"training": {"settings": []}}, "training.rows"),
        ({"metrics": {"out_of_fold": 3}}, "metrics.out_of_fold"),
        ({"metrics": {"out_of_fold": {"n": None}}}, "metrics.out_of_fold.n"),
        ({"metrics": {"own": {"n": 3, "labels": {}, "confusion": [[1]]}}}, "metrics.own"),
        ({"metrics": {"own": {"n": 3, "labels": {}, "mean_auc": 10**400}}}, "metrics.own.mean_auc"),
        ({"spec": {}}, "spec.features"),
        ({"model": {"name": "tiny", "fingerprint": {}}}, "model.fingerprint.architecture"),
    ],
    ids=str,
)
def test_records_that_train_does_not_write_are_refused(artifact, change, where):
    with pytest.raises(BrokenArtifact, match=f"detector mine does not record what its card shows: {where}: "):
        card(replace(artifact, **change))


def test_an_error_of_ours_is_not_called_a_broken_detector(artifact, monkeypatch):
    def broken(name, **values):
        raise ZeroDivisionError

    monkeypatch.setattr("splinelens.report.card.render_markdown", broken)
    with pytest.raises(ZeroDivisionError):
        card(artifact)


def test_length_alone_stands_below_the_auc_with_its_interval(artifact):
    lines = card(artifact).splitlines()
    place = lines.index("| AUC | 0.9490 | [0.9300, 0.9600] |")
    assert lines[place + 1] == "| AUC of length alone | 0.5960 | [0.5600, 0.6200] |"


def test_thresholds_have_promise_and_interval(artifact):
    rates = ["5 %", "0.8400", "4.95 %", "3.34 % to 7.03 %", "0.7000"]
    assert rows(card(artifact))["toxic"][:5] == rates


def test_a_threshold_shows_the_precision_and_the_floor_that_were_recorded(artifact):
    rates = {"recall_interval": (0.6, 0.8), "precision": 0.25, "precision_interval": (0.2, 0.3)}
    [[stored]] = artifact.thresholds
    precise = replace(artifact, thresholds=((replace(stored, **rates),),))
    assert rows(card(precise))["toxic"][4:] == ["0.7000", "[0.6000, 0.8000]", "25 %", "20 % to 30 %"]
    assert "No threshold is below" not in card(precise)
    floored = replace(artifact, training={**artifact.training, "floor": 0.25})
    assert "No threshold is below 0.25, whatever the rate." in card(floored)


def test_a_detector_that_abstains_says_when(artifact):
    assert "abstain" not in card(artifact).lower()
    assert rows(card(replace(artifact, min_tokens=30)))["abstains"] == ["below 30 tokens"]
    classes = replace(artifact, min_tokens=30, min_score=0.5)
    assert rows(card(classes))["abstains"] == ["below 30 tokens, and where no score reaches 0.5"]


def test_long_texts_that_were_cut_at_training_are_counted(artifact):
    def window(long, cut):
        some = replace(artifact, spec={**artifact.spec, "long": long, "max_tokens": 256})
        return rows(card(replace(some, training={**artifact.training, "cut": cut})))["window"]

    assert window("windows", 0) == ["256 tokens; longer texts at training: windows"]
    assert window("windows", 1234) == ["256 tokens; longer texts at training: windows, but 1,234 were cut"]
    assert window("cut", 1234) == ["256 tokens; longer texts at training: cut"]


def test_each_number_stands_with_its_interval(artifact):
    found = rows(card(artifact))
    assert found["recall at 5 % false positives"] == ["0.7000", "[0.6600, 0.7400]"]
    assert found["Brier score"] == ["0.0800", "[0.0700, 0.0900]"]
    assert found["calibration error"] == ["0.0300", "[0.0200, 0.0500]"]


MEASURED = {
    "score": 0.84,
    "false_positive_rate": 0.06,
    "false_positive_interval": [0.05, 0.07],
    "recall": 0.8,
    "recall_interval": [0.75, 0.85],
}


def test_stored_thresholds_are_told_as_measured_on_other_rows(artifact):
    own = artifact.metrics["out_of_fold"]
    other = {**own, "at_threshold": {"0.05": MEASURED}}
    text = card(replace(artifact, metrics={"out_of_fold": own, "the test rows": other}))
    assert "On the test rows, whose rows took no part in fitting. 1,000 rows, 500 of them toxic." in text
    assert text.count("The stored thresholds on these rows:") == 1
    assert "| toxic | 5 % | 0.8400 | 6 % | 5 % to 7 % | 0.8000 | [0.7500, 0.8500] | - |  |" in text


def test_model_and_data_are_named(artifact):
    found = rows(card(artifact))
    assert found["architecture"] == ["llama, the first 6 blocks are run"]
    assert found["layers"] == ["0-2,5"]
    assert found["training rows read in"] == ["bfloat16, engine torch"]
    assert found["numbers per text"] == ["6"]
    assert found["rows"] == ["1,400, 814 of them toxic"]
    assert found["rows in the metrics"] == ["1,000; the others are used for fitting only"]
    assert found["sources"] == ["a.csv (split = train); b.csv"]
    assert found["head"] == ["linear, C = 0.001"]
    assert found["hash of the texts"] == ["cd34"]


def test_no_value_breaks_a_table(artifact):
    assert r'| prompt before the text | "Rude? \| yes\n" |' in card(artifact)
    odd = replace(artifact, name="a\n# b", labels=("`x`\n|y|",))
    assert len([line for line in card(odd).splitlines() if line.startswith("#")]) == 9


def test_names_and_labels_are_no_html(artifact):
    model = {**artifact.model, "name": "<b>m</b>"}
    named = replace(artifact, name="<i>n", labels=("<script>`",), negative="a&amp;", model=model)
    shown = card(named)
    assert shown.startswith("# \\<i>n\n")
    assert "`<script>'`" in shown  # code
    assert re.sub("`[^`\n]*`", "", shown).replace("\\<", "").count("<") == 0


def test_a_kept_detector_is_told_as_measured_on_held_out_rows(artifact):
    settings = {"distilled": "toxicity"}
    text = card(replace(artifact, training=dict(artifact.training) | {"settings": settings}))
    assert "the student was not trained on them" in text
    assert "chosen on the same held-out scores" in text
    assert "Out of fold:" not in text


def test_the_recorded_command_ends_the_card(artifact):
    with_command = replace(artifact, command="make detectors DATA=x")
    assert card(with_command).endswith("## Reproduce\n\n    make detectors DATA=x\n")


def test_what_was_not_recorded_is_said(artifact):
    bare = replace(artifact, training={}, metrics={})
    assert "Not recorded." in card(bare)
    assert "Nothing was measured." in card(bare)
    assert card(bare).endswith(
        "No command was recorded: it was trained from Python with the settings above.\n"
    )
    few = replace(artifact, metrics={"out_of_fold": artifact.metrics["out_of_fold"] | {"auc_interval": None}})
    assert "| AUC | 0.9490 | (too few rows or groups for an interval) |" in card(few)


@pytest.mark.parametrize("layers", [[], [3], [0, 1, 2], [0, 2, 4], [9, 8, 1, 1]])
def test_ranges_are_read_back(layers):
    assert list(layer_numbers(layer_ranges(layers)) if layers else ()) == sorted(set(layers))


@pytest.fixture
def of_two(artifact):
    """A detector of two labels."""
    own = artifact.metrics["out_of_fold"]
    ones = np.ones((2, 6), dtype=np.float32)
    training = {"positives": {"rude": 40, "spam": 9}, "repeated": {"texts": 3, "rows": 7, "contradicting": 1}}
    training |= {"settings": {"C": {"rude": 0.1, "spam": 0.2}, "validation_auc": {"rude": {}, "spam": {}}}}
    return replace(
        artifact,
        task="labels",
        labels=("rude", "spam"),
        negative="none",
        head=replace(artifact.head, weight=ones, bias=ones[:, 0]),
        calibrations=artifact.calibrations * 2,
        thresholds=artifact.thresholds * 2,
        training=artifact.training | training | {"languages": ["English", "German"]},
        metrics={
            "out_of_fold": {
                "n": 99,
                "mean_auc": 0.9,
                "mean_auc_interval": [0.88, 0.92],
                "labels": {"rude": own, "spam": None},
            }
        },
    )


def test_a_card_of_labels_has_a_row_for_each(of_two):
    text = card(of_two)
    found = rows(text)
    assert "Detects 2 labels in texts, `rude`, `spam`, from" in text
    assert found["rows"] == ["1,400, of them 40 rude, 9 spam"]
    assert found["repeated texts"] == ["3, 1 of them with contradicting labels"]
    assert found["head"] == ["linear, C = 0.1 (rude), 0.2 (spam)"]
    assert "| spam | 5 % | 0.8400 |" in text
    assert (
        "| rude | 500 | 0.9490 [0.9300, 0.9600] | 0.5960 [0.5600, 0.6200] | 0.3700 [0.3000, 0.4000] | "
        "0.7000 [0.6600, 0.7400] | 0.0800 [0.0700, 0.0900] | 0.0300 [0.0200, 0.0500] |"
    ) in text
    assert "| mean AUC | 0.9000 | [0.8800, 0.9200] |" in text


def test_thresholds_of_each_label_are_told_as_measured_on_other_rows(of_two):
    own = of_two.metrics["out_of_fold"]
    rude = {**own["labels"]["rude"], "at_threshold": {"0.05": MEASURED}}
    other = {**own, "labels": {"rude": rude, "spam": None}}
    for task in ("labels", "classes"):
        text = card(replace(of_two, task=task, metrics={"out_of_fold": own, "the test rows": other}))
        assert "| rude | 5 % | 0.8400 | 6 % | 5 % to 7 % | 0.8000 | [0.7500, 0.8500] | - |  |" in text


def test_a_card_of_classes_has_the_confusion(of_two):
    several = of_two.metrics["out_of_fold"] | {
        "accuracy": 0.8,
        "accuracy_interval": [0.7, 0.9],
        "macro_f1": 0.7,
        "macro_f1_interval": [0.6, 0.8],
        "confusion": [[3, 1], [0, 1200]],
    }
    text = card(replace(of_two, task="classes", negative="", metrics={"out_of_fold": several}))
    assert "Assigns texts to one of 2 classes" in text
    assert "| accuracy | 0.8000 | [0.7000, 0.9000] |" in text
    assert "| macro F1 | 0.7000 | [0.6000, 0.8000] |" in text
    assert "| spam | 0 | 1,200 |" in text


def test_languages_that_were_not_measured_are_refused(artifact, of_two):
    assert "Measured on English, German only. Texts in other languages" in card(of_two)
    assert "do not act on it before" in card(of_two)
    assert "No language was named when it was trained" in card(artifact)
