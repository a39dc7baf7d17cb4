"""Tests ``report/excerpt.py``: which words of a text are shown, in which order and room."""

import re

import pytest

from splinelens.report.excerpt import excerpt
from splinelens.report.scores import Span


def test_a_text_that_fits_is_shown_whole_and_a_blank_one_is_nothing():
    assert [text.begin for text in excerpt("a b c", None, 5)] == [0, 2, 4]
    assert excerpt("", None, 10) == excerpt(" \n ", None, 10) == []


@pytest.mark.parametrize("characters", [10, 40, 200])
def test_an_excerpt_keeps_to_its_room_and_its_order(characters):
    text = " ".join(f"w{number}" for number in range(300))
    spans = [
        Span(match.start(), match.end(), float(number % 7))
        for number, match in enumerate(re.finditer(r"\S+", text))
    ]
    parts = [part for part in excerpt(text, spans, characters) if part]
    assert parts == sorted(parts, key=lambda part: part.begin)
    assert len(set(parts)) == len(parts)
    assert sum(part.end - part.begin for part in parts) <= max(characters, 3 * 4)


def test_without_an_explanation_the_beginning_is_shown():
    parts = excerpt("one two three four five", None, 9)
    assert [part and part.begin for part in parts] == [0, 4, None]
