"""Tests ``cli/progress.py``: the bar is there for long runs on a terminal, and gone afterwards."""

import io
import sys
import time

import pytest

from splinelens.cli import progress
from splinelens.texts import Texts

TEXTS = Texts(("hello", None, "good morning", "x"), {}, "list")


class Screen(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch, patience_s=progress._PATIENCE_S):
    """Puts a terminal in place of stderr; called inside the test, as pytest puts its own there before."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(progress, "_PATIENCE_S", patience_s)
    return screen


def test_the_bar_tells_texts_rate_and_time_left_and_is_wiped(monkeypatch, capsys):
    screen = terminal(monkeypatch, patience_s=0.0)
    with progress.progress_bar(TEXTS) as update:
        update(3, 17)
        deadline = time.monotonic() + 20
        while "texts/s" not in screen.getvalue() and time.monotonic() < deadline:
            time.sleep(0.02)
        print("a result")
    shown = screen.getvalue()
    assert "3/4 texts" in shown
    assert "texts/s" in shown
    assert "left" in shown
    assert shown.rstrip().endswith("\x1b[2K")  # the line is erased
    assert capsys.readouterr().out == "a result\n"  # results are not drawn into the bar


def test_a_short_run_shows_nothing(monkeypatch):
    screen = terminal(monkeypatch)
    with progress.progress_bar(TEXTS) as update:
        update(4, 18)
    assert screen.getvalue() == ""


def test_no_terminal_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress.progress_bar(TEXTS) as update:
        assert update is None


def test_the_bar_goes_when_a_run_fails(monkeypatch):
    screen = terminal(monkeypatch, patience_s=0.0)
    with pytest.raises(KeyboardInterrupt), progress.progress_bar(TEXTS):
        raise KeyboardInterrupt
    before = screen.getvalue()
    time.sleep(0.3)
    assert screen.getvalue() == before
