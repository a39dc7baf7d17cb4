"""Tests ``cli/progress.py``: the bar is shown for long runs on a terminal, and erased afterwards."""

import io
import sys
import time

import pytest

from splinelens.cli.progress import progress_bar
from splinelens.texts import Texts

TEXTS = Texts(("hello", None, "good morning", "x"), {}, "list")


class Screen(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    """Replace stderr by a terminal; called inside the test, after pytest replaced it by its own."""
    screen = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    return screen


def test_the_bar_shows_texts_rate_and_time_left_and_is_erased(monkeypatch, capsys):
    screen = terminal(monkeypatch)
    with progress_bar(TEXTS, delay_s=0) as update:
        update(3, 17)
        print("a result")
    shown = screen.getvalue()
    assert "3/4 texts" in shown
    assert "texts/s" in shown
    assert "left" in shown
    assert shown.rstrip().endswith("\x1b[2K")  # the line is erased
    assert capsys.readouterr().out == "a result\n"  # results are not drawn into the bar


def test_a_short_run_shows_nothing(monkeypatch):
    screen = terminal(monkeypatch)
    with progress_bar(TEXTS) as update:
        update(4, 18)
    assert screen.getvalue() == ""


def test_the_bar_is_gone_after_the_last_text_so_that_lines_may_follow(monkeypatch):
    screen = terminal(monkeypatch)
    with progress_bar(TEXTS, delay_s=0) as update:
        update(3, 17)
        update(1, 1)
        before = screen.getvalue()
        time.sleep(0.3)
        assert screen.getvalue() == before
    assert before.rstrip().endswith("\x1b[2K")


def test_texts_that_are_read_twice_count_twice(monkeypatch):
    screen = terminal(monkeypatch)
    with progress_bar(TEXTS, delay_s=0, passes=2) as update:
        update(4, 18)
        update(3, 17)
    assert "7/8 texts" in screen.getvalue()


def test_no_terminal_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", io.StringIO())
    with progress_bar(TEXTS) as update:
        assert update is None


def test_a_closed_stderr_has_no_bar(monkeypatch):
    monkeypatch.setattr(sys, "stderr", None)
    with progress_bar(TEXTS) as update:
        assert update is None


def test_the_bar_is_erased_when_a_run_fails(monkeypatch):
    screen = terminal(monkeypatch)
    with pytest.raises(KeyboardInterrupt), progress_bar(TEXTS, delay_s=0) as update:
        update(1, 5)
        raise KeyboardInterrupt
    before = screen.getvalue()
    time.sleep(0.3)
    assert screen.getvalue() == before
