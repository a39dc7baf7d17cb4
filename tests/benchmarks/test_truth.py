"""Tests benchmarks/truth.py: which statements are read, and what the shipped detector is made of."""

import json
from pathlib import Path

from truth import read_statements, topic_of

from splinelens.detect.shipped import find_artifact, shipped
from splinelens.features.spec import every_third_layer

TABLE = Path(__file__).parents[2] / "benchmarks" / "truth.json"


def _write(folder, **files):
    folder.mkdir()
    for name, rows in files.items():
        lines = "".join(f"{text},{label}\n" for text, label in rows)
        (folder / f"{name}_true_false.csv").write_text(f"statement,label\n{lines}")


def test_repeated_statements_count_once_and_those_with_both_labels_never(tmp_path):
    _write(
        tmp_path / "true-false",
        facts=[("a", 1), ("a", 1), ("b", 0), ("c", 1), ("c", 0)],
        neg_facts=[("not a", 0), ("b", 0)],
        cities=[("d", 1)],
    )
    texts, labels, dropped = read_statements(tmp_path / "true-false", 9, derived=False)
    assert texts.texts == ("d", "a", "b")
    assert labels == [1, 1, 0]
    assert dropped == {"rows that repeat another": 3, "statements with both labels": 1}
    texts, labels, _ = read_statements(tmp_path / "true-false", 9, derived=True)
    assert (texts.texts[-1], texts.columns["topic"]) == ("not a", ("cities", "facts", "facts", "facts"))


def test_derived_files_belong_to_their_topic():
    assert [topic_of(name) for name in ("neg_facts", "conj_neg_facts", "facts")] == ["facts"] * 3


def test_the_card_of_the_shipped_detector_says_what_was_measured():
    card = (shipped()["truth"] / "CARD.md").read_text("utf-8")
    rivals = {rival["name"]: rival for rival in json.loads(TABLE.read_text("utf-8"))["rivals"]}
    for name in ("margins and occupancy, head", "log-probabilities and geometry"):
        assert f"{rivals[name]['auc']:.3f} [{rivals[name]['interval'][0]:.3f}, " in card
    assert "Do not decide by it whether a statement is true." in card
    artifact = find_artifact("truth")
    assert tuple(artifact.spec["layers"]) == (0, *range(2, 30, 3))
    assert (artifact.labels, artifact.negative) == (("true",), "false")
    assert json.loads((shipped()["truth"] / "likelihood.json").read_text())["ratio"] > 0


def test_heads_read_every_third_layer(loaded):
    assert every_third_layer(loaded.depth) == (0, 2)
