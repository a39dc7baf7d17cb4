"""Tests benchmarks/lineage.py: the record keeps its bars, and pages quote it."""

import json
from pathlib import Path

import pytest
from lineage import COPIES, markdown

REPOSITORY = Path(__file__).parents[2]
RECORD = REPOSITORY / "benchmarks" / "lineage.json"


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text("utf-8"))


def test_every_copy_that_is_not_disguised_is_related(record):
    copies = {row["name"]: row for row in record["rows"] if row["part"] == "copies"}
    assert copies.keys() == COPIES.keys()
    for name, row in copies.items():
        if name.startswith("disguised"):
            assert row["verdict"] == "cannot tell"
        else:
            assert row["verdict"] == "related"
            assert row["log10_p"] <= -6


def test_no_unrelated_pair_is_called_related(record):
    unrelated = [row for row in record["rows"] if row["part"] in ("strangers", "layers", "tiny")]
    assert len(unrelated) >= 200
    assert not [row["name"] for row in unrelated if row["verdict"] == "related"]


def test_the_pages_quote_the_record(record):
    page = (REPOSITORY / "benchmarks" / "lineage.md").read_text("utf-8")
    assert page == markdown(record)
    measured = (REPOSITORY / "docs" / "lineage.md").read_text("utf-8").split("## Measured")[1]
    tables = [line for line in measured.splitlines() if line.startswith("|")]
    assert len(tables) > 20
    assert not set(tables) - set(page.splitlines())
    unrelated = [row for row in record["rows"] if row["part"] in ("strangers", "layers", "tiny")]
    found = [row for row in record["rows"] if row["part"] == "copies" and row["verdict"] == "related"]
    readme = (REPOSITORY / "README.md").read_text("utf-8")
    assert f"All {len(found)} copies of the default model that are not disguised" in readme
    assert f"0 of {len(unrelated)} unrelated pairs" in readme
