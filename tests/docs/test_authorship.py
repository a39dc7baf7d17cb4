"""Tests ``docs/authorship.md``: it quotes the stored measurement."""

import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_page_quotes_what_was_measured():
    page = (REPOSITORY / "docs" / "authorship.md").read_text("utf-8")
    record = json.loads((REPOSITORY / "benchmarks" / "authorship.json").read_text("utf-8"))
    answers, plain = record["attribution"]["as it is"], record["attribution"]["without formatting"]
    for row, measured in (
        ("text only", answers["accuracy of text only"]),
        ("text, margins, occupancy (chosen each time)", answers["accuracy"]),
        ("text without formatting", plain["accuracy of text only"]),
    ):
        quoted = f"{measured['mean']:.3f} ({measured['least']:.3f} to {measured['most']:.3f})"
        assert f"| {row} | {quoted} |" in page
    for name in ("AUC of unknown", "AUC of unknown packs", "known packs flagged"):
        assert f"{answers[name]['mean']:.3f}" in page
    for name, game in record["stored"].items():
        assert f"| {name} | {game['unsearched']:.3f} |" in page
    local = record["local"]
    low, high = local["gain_interval"]
    gain = f"{local['evolved'] - local['random']:+.3f} ({low:+.3f} to {high:+.3f})"
    assert gain in page
