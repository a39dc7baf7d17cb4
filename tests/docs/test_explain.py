"""Tests ``docs/explain.md``: it quotes the stored measurement."""

import json
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def record():
    return json.loads((REPOSITORY / "benchmarks" / "explain.json").read_text("utf-8"))


@pytest.fixture
def page():
    return " ".join((REPOSITORY / "docs" / "explain.md").read_text("utf-8").split())


def test_planted_hyperplanes_are_quoted(page, record):
    found = record["planted"]
    assert f"{found['named']} of {found['planted']} planted hyperplanes" in page
    assert f"{found['only_listed']} of these names hold listed words only" in page


def test_marked_words_are_quoted(page, record):
    found = record["marked"]
    for name, one in found["f1"].items():
        low, high = one["interval"]
        assert f"| {name} | {one['mean']:.3f} ({low:.3f} to {high:.3f}) |" in page
    for gain in found["gains"].values():
        low, high = gain["interval"]
        assert f"{gain['mean']:+.3f} ({low:+.3f} to {high:+.3f})" in page
    assert f"{found['head']['columns']} columns" in page
    assert f"counts of {found['head']['words']:,} words" in page


def test_the_corpus_is_quoted(page, record):
    for run in record["corpus"]["runs"]:
        removed = run["deletion"]
        assert f"{100 * removed['larger']:.1f} % of {removed['texts']} flagged texts" in page
        assert f"{100 * run['stability']:.0f} % of the first ten" in page
        assert f"{run['holding']} of {run['hyperplanes']} names" in page
