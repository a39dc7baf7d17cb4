"""Tests detection/table.py: the rows of the table, as words, as Markdown and as JSON."""

import io

from detection.table import HEADINGS, BenchRow, cells, markdown, table
from rich.console import Console

ROW = BenchRow(
    "pairs",
    "paradetox 70 %",
    "paradetox 30 %",
    "margins",
    n=1200,
    unscored=2,
    positives=600,
    auc=0.97514,
    interval=(0.968, 0.981),
    recall=0.5,
    calibration_error=0.0123,
    pairs=0.99,
    flagged=0.051,
    flagged_interval=(0.04, 0.0625),
    latency_ms=0.25,
    size_bytes=552_960,
    train_rows=4000,
    dropped=3,
    resamples=10_000,
    note="4,000 of 16,698 training rows",
)
SHOWN = (
    *("paradetox 70 %", "paradetox 30 %", "margins", "1,200", "2", "97.51", "96.8 to 98.1", "50.0", "99.0"),
    *(
        "5.1 (4.0 to 6.2)",
        "0.012",
        "0.25",
        "0.6 MB",
        "4,000 of 16,698 training rows; 3 training rows dropped: in the test",
    ),
)


def test_each_heading_has_its_words():
    assert cells(ROW) == SHOWN
    assert len(HEADINGS) == len(SHOWN)


def test_what_was_not_run_says_why_and_nothing_else():
    row = BenchRow("pairs", "a", "b", "hatesonar", note="not run: cannot be installed")
    assert cells(row)[3:] == ("",) * 10 + ("not run: cannot be installed",)


def test_json_gives_the_row_back():
    assert BenchRow.from_dict(ROW.to_dict()) == ROW
    short = BenchRow("pairs", "a", "b", "c")
    assert BenchRow.from_dict(short.to_dict()) == short


def test_the_table_reads_nothing_as_markup():
    console = Console(width=240, record=True, file=io.StringIO())
    console.print(table("pairs", [BenchRow("pairs", "[bold]a", "b", "c", n=3, latency_ms=12.34)]))
    shown = console.export_text()
    assert "[bold]a" in shown
    assert "12.3" in shown


def test_markdown_holds_the_run_the_repeats_and_every_row():
    run = {"splinelens": "0", "model": "tiny", "dtype": "float32", "device": "cpu", "torch": "2"}
    record = {
        "provenance": run | {"scikit-learn": "1", "threads": 2, "seed": 0},
        "quick": True,
        "seconds": 61.0,
        "missing": {"xstest": "a/b.csv"},
        "repeats": {"jig": {"rows": 9000, "repeated": 2, "across_splits": 1, "two_labels": 0}},
        "protocols": [{"name": "pairs", "question": "why", "seconds": 12.0, "rows": [ROW.to_dict()]}],
    }
    page = markdown(record)
    assert "61 s in all, a quick run." in page
    assert "Not in the data folder, or not readable: xstest." in page
    assert "| jig | 9,000 | 2 | 1 | 0 |" in page
    assert "bootstrap intervals of 10,000 resamples" in page
    assert "## pairs: why\n\n12 s.\n" in page
    assert "| " + " | ".join(SHOWN) + " |" in page
