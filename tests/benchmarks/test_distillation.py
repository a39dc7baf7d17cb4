"""Tests benchmarks/distillation.py: its page and the documentation quote the record."""

import json
from pathlib import Path

from distillation import tables

REPOSITORY = Path(__file__).parents[2]


def test_the_pages_quote_the_record():
    record = json.loads((REPOSITORY / "benchmarks" / "distillation.json").read_text("utf-8"))
    page = (REPOSITORY / "benchmarks" / "distillation.md").read_text("utf-8")
    assert page == tables(record)
    measured = (REPOSITORY / "docs" / "distill.md").read_text("utf-8").split("## Measured")[1]
    rows = {line for line in measured.splitlines() if line.startswith("|")}
    assert len(rows) >= 5
    assert rows <= set(page.splitlines())
    keep = record["keep"]
    assert f"{keep['rows']:,} rows" in measured
    assert f"{int(keep['cpu_minutes'])} CPU minutes" in measured
    student, fast = (keep["held_out"][name]["auc"] for name in ("student", "toxicity-fast"))
    assert f"({student:.4f} against {fast:.4f})" in measured
    bars = (REPOSITORY / "benchmarks" / "bars.md").read_text("utf-8")
    assert "0.8678" in bars
