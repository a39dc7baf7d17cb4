"""Tests ``docs/truth.md``: its table and sentences quote the stored measurement."""

import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_page_quotes_what_was_measured():
    page = (REPOSITORY / "docs" / "truth.md").read_text("utf-8")
    record = json.loads((REPOSITORY / "benchmarks" / "truth.json").read_text("utf-8"))
    assert f"{record['rows']:,} statements" in page
    for rival in record["rivals"]:
        low, high = rival["interval"]
        topics = " | ".join(f"{auc:.3f}" for auc, _ in rival["groups"])
        measured = f"{rival['auc']:.3f} ({low:.3f} to {high:.3f})"
        row = f"| {rival['name']} | {rival['kind']} | {measured} | {topics} |"
        assert row in page or rival["name"] == "perplexity"  # it ranks as the mean log-probability does
    assert f"no layer exceeds {max(record['curve']['lid_auc']):.3f}" in page
