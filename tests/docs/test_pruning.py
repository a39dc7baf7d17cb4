"""Tests ``docs/pruning.md``: it quotes the stored measurement, and that measurement is consistent."""

import json
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def _record():
    return json.loads((REPOSITORY / "benchmarks" / "pruning.json").read_text("utf-8"))


def test_the_page_quotes_what_was_measured():
    page, record = (REPOSITORY / "docs" / "pruning.md").read_text("utf-8"), _record()
    dense, bars = record["dense"]["perplexity"], record["bars"]
    assert f"{dense:.2f} dense" in page
    assert f"{bars['increase_of_uniform_magnitude_over_best']:.0f} times" in page
    half = {
        (cell["method"], cell["by"]): cell["perplexity"]
        for cell in record["cells"]
        if cell["sparsity"] == 0.5 and cell["seed"] == 0
    }
    for method in ("magnitude", "wanda", "sparsegpt"):
        rules = ("uniform", "alpha", "owl", "dlp", "arithmetic")
        row = " | ".join(f"{half[method, by]:.1f}" for by in rules)
        assert f"| {method} | {row} |" in page


def test_every_cell_removed_exactly_its_share():
    for cell in _record()["cells"]:
        assert cell["zeros"] == cell["removed"] == round(cell["sparsity"] * 106_168_320)


def test_transformers_alone_gives_the_dense_perplexity():
    dense = _record()["dense"]
    assert abs(dense["transformers_alone"] / dense["perplexity"] - 1) < 1e-4
