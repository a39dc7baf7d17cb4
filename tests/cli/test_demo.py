"""Tests ``examples/demo.py``: it scores every example comment and shows what to try next."""

import logging
import runpy
import sys
from pathlib import Path

import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo.py"


@pytest.fixture
def demo(monkeypatch, capsys):
    """Runs the demo with a detector, and returns what it printed."""
    level = logging.getLogger("splinelens").level

    def demo(detector):
        monkeypatch.setattr(sys, "argv", [str(DEMO), str(detector)])
        runpy.run_path(str(DEMO), run_name="__main__")
        return capsys.readouterr().out

    yield demo
    logging.getLogger("splinelens").setLevel(level)


def test_every_example_comment_is_scored_and_timed(demo, detector):
    from splinelens import read_texts

    shown = demo(detector)
    rows = [line.split() for line in shown.splitlines() if line[:6].strip().isdigit()]
    assert [int(row[0]) for row in rows] == list(
        range(len(read_texts(DEMO.with_name("comments.csv"), "comment")))
    )
    assert "[text is empty]" in shown
    assert "tiny reads the first 3 blocks" in shown
    assert "one short text alone in" in shown
    assert "score examples/comments.csv --column comment" in shown


def test_an_error_of_ours_is_one_line(demo):
    with pytest.raises(SystemExit, match=r"^Error: no detector and no folder 'no such one'"):
        demo("no such one")
