"""Tests benchmarks/spans.py: the limit is chosen on rows that are not measured, and stored on request."""

import csv

import pytest
from spans import choose_limit, reference, store, training_rows

from splinelens.apps.evaluation import evaluate_spans
from splinelens.detect.artifact import Artifact
from splinelens.features.spec import FeatureSpec
from splinelens.texts.labeled import read_marked


@pytest.fixture
def marked(folder, data, halves):
    """Rude rows of the small folder, their rude words marked; the first of trial is in train too."""
    texts = [text for text, label in zip(halves[1].texts(data), halves[1].labels, strict=True) if label]
    (folder / "toxic-spans").mkdir(parents=True, exist_ok=True)
    for name, rows in (("tsd_train.csv", texts[:20]), ("tsd_trial.csv", [texts[0].upper(), *texts[20:]])):
        with (folder / "toxic-spans" / name).open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(["spans", "text"])
            writer.writerows([list(range(text.find(" "))), text] for text in rows)
    return [
        read_marked(str(folder / "toxic-spans" / name), "text", "spans")
        for name in ("tsd_train.csv", "tsd_trial.csv")
    ]


def test_rows_that_are_measured_choose_no_limit(marked):
    train, trial = marked
    texts, gold = training_rows(train, trial, 100)
    assert texts.texts[0] == train[0].texts[1]
    assert len(texts) == len(gold) == len(set(train[0].texts)) - 1
    assert gold[0] == train[1][1]
    few, _ = training_rows(train, trial, 5)
    assert len(few) == 5
    assert few.numbers == tuple(sorted(few.numbers))


def test_marking_nothing_and_everything_by_hand(marked):
    trial = marked[1]
    assert reference(trial, False) == 0.0
    shares = [len(gold) / len(text) for text, gold in zip(trial[0].texts, trial[1], strict=True)]
    assert reference(trial, True) == pytest.approx(
        sum(2 * share / (1 + share) for share in shares) / len(shares)
    )


def test_a_chosen_limit_beats_marking_nothing_and_is_stored_with_the_card(marked, fitted, halves, tmp_path):
    detector = fitted(FeatureSpec(("margins",), max_tokens=64), halves[0], label="toxic", negative="clean")
    limit = choose_limit(detector, marked[0])
    chosen = evaluate_spans(detector, *marked[0], limit=limit, resamples=0)
    for other in (limit - 0.5, limit + 0.5):
        assert (
            evaluate_spans(detector, *marked[0], limit=other, resamples=0).character_f1 <= chosen.character_f1
        )
    detector.artifact.save(tmp_path)
    store(str(tmp_path), limit)
    assert Artifact.load(tmp_path).word_limit == limit
    assert f"| words marked from | {limit:+.4g} |" in (tmp_path / "CARD.md").read_text("utf-8")
