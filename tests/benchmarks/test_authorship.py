"""Tests benchmarks/authorship.py: the page is written from the record, and others quote it."""

import json
from pathlib import Path

import pytest
from authorship import markdown

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def record():
    return json.loads((REPOSITORY / "benchmarks" / "authorship.json").read_text("utf-8"))


def test_the_pages_quote_the_record(record):
    page = (REPOSITORY / "benchmarks" / "authorship.md").read_text("utf-8")
    assert page == markdown(record)
    measured = (REPOSITORY / "docs" / "authorship.md").read_text("utf-8").split("## Measured")[1]
    tables = [line for line in measured.splitlines() if line.startswith("|")]
    assert len(tables) > 20
    assert not set(tables) - set(page.splitlines())
    gain = page.splitlines()[-1]
    assert gain in measured


def test_the_readme_quotes_the_record(record):
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    answers = record["attribution"]["as it is"]
    accuracy, of_text = (100 * answers[key]["mean"] for key in ("accuracy", "accuracy of text only"))
    assert f"names {accuracy:.0f} % of single answers of nine models after 20 answers of each" in readme
    assert f"n-grams alone {of_text:.0f} %" in readme
    assert all(game["unsearched"] < 0.3 for game in record["stored"].values())  # it "does not work here"
