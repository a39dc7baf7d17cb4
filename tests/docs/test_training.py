"""Tests ``docs/training.md``: its Python runs in order and gives what the page says."""

import re
from pathlib import Path

import numpy as np

from splinelens.apps.training import training_sample
from splinelens.detect.heads import LinearHead
from splinelens.detect.learning_curve import SMALLEST
from splinelens.detect.solver import ANCHOR_ROWS, EXACT_ROWS, ROWS_PER_CLASS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def test_the_python_of_the_training_page_runs(default_model, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) == 4
    assert "```text" not in PAGE.read_text("utf-8"), "a block that nothing runs"
    names = {}
    exec(compile("\n".join(blocks), "training.md", "exec"), names)
    said = re.search(r"print\(curve.sentence\)  # (.*) \.\.\.", blocks[-1])[1]
    assert capsys.readouterr().out.startswith(said)
    first = re.search(r"get_feature_names_out\(\)\[0\]  # (\S+)", blocks[2])[1]
    assert names["both"].get_feature_names_out()[0] == first
    assert names["search"].predict(["when is it?"]).tolist() == ["question"]
    assert names["scores"].shape == (18, 3)
    verdicts = re.search(r"predict\(\[.*\]\)  # (\w+), (\w+)", blocks[0]).groups()
    texts = ["Where is the tower?", "I like the tower."]
    assert (
        tuple(names["trained"].detector.predict(texts)) == tuple(names["detector"].predict(texts)) == verdicts
    )
    files = {"detector.json", "detector.safetensors", "CARD.md", "TRAINING.md", "suspects.csv"}
    assert {path.name for path in Path("mine").iterdir()} == files


def test_the_numbers_of_rows_on_the_page_are_those_of_the_code():
    page = PAGE.read_text("utf-8")
    assert f"| under {2 * ROWS_PER_CLASS} |" in page
    assert f"at least {ROWS_PER_CLASS} rows of each class" in page
    assert f"fits the head on {SMALLEST}, {2 * SMALLEST}, {4 * SMALLEST}, ... rows" in page


def test_the_sample_that_limits_an_adaptation_is_as_large_as_the_page_says():
    page = re.sub(r"\s+", " ", PAGE.read_text("utf-8"))
    columns = int(re.search(r"A detector of one label and up to (\d+) columns", page)[1])
    least, most, size = re.search(r"\((\d+) to ([\d,]+) rows, at most (\S+) MB\)", page).groups()
    for width, rows in ((4, int(most.replace(",", ""))), (columns, int(least)), (columns + 1, None)):
        head = LinearHead(np.zeros(width), np.ones(width), np.zeros((1, width), np.float32), np.zeros(1))
        sample = training_sample(head, np.zeros((2000, width)), np.zeros(2000), seed=0)
        assert (sample and len(sample.rows)) == rows
        assert sample is None or sample.rows.nbytes <= float(size) * 1e6


def test_the_limits_of_large_tables_on_the_page_are_those_of_the_code():
    page = PAGE.read_text("utf-8")
    assert f"| up to {EXACT_ROWS:,} | exact" in page
    assert f"| more than {EXACT_ROWS:,} |" in page
    assert f"restricted to the span of {ANCHOR_ROWS:,} random rows" in page
