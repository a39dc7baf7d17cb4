"""Tests ``texts/plain_text.py``: no text can play tricks on a terminal, and scripts stay whole."""

import pytest

from splinelens.texts.plain_text import harmless, readable, visible

TRICKS = "\x1b\x9b\x07\r\n\x7f\u202e\u2066\ud800\u2028\ufeff\x00\ue000"
SCRIPTS = ("👩‍👩‍👧 ok", "می‌خواهم", "naïve é", "日本語")


@pytest.mark.parametrize("trick", TRICKS)
def test_nothing_that_moves_a_cursor_or_turns_a_line_is_printed(trick):
    shown = harmless(f"a{trick}b")
    assert shown.isprintable()
    assert len(shown) == 3
    assert visible(f"a{trick}b").isprintable()
    assert readable(f"a{trick} b").isprintable()


def test_emoji_and_scripts_stay_whole():
    for text in SCRIPTS:
        assert harmless(text) == readable(text) == text


def test_a_piece_of_a_character_and_nothing_are_visible():
    assert visible("\u0301") == "◌\u0301"
    assert visible("\u200d") == "⟨200D⟩"
    assert visible("") == "∅"
