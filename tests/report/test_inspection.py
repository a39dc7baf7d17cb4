"""Tests ``report/inspection.py``: the records, their tokens made visible, and their JSON."""

import json
from dataclasses import replace

import numpy as np
import pytest

from splinelens.geometry.partition import SPLINE7
from splinelens.report.inspection import SCHEMA, readable, visible


@pytest.mark.parametrize(
    ("token", "shown"),
    [
        (" the", "␣the"),
        ("a\tb\r\n", "a⇥b␍↵"),
        ("", "∅"),
        ("\x00\x1b\x7f", "␀␛␡"),
        ("\u202e", "⟨202E⟩"),
        ("\u2028", "⟨2028⟩"),
        ("\ud800", "⟨D800⟩"),
        ("\u200d", "⟨200D⟩"),
        ("\u0301", "◌\u0301"),
        ("<b>", "<b>"),
        ("👩‍👧", "👩‍👧"),
        ("می‌خواهم", "می‌خواهم"),
    ],
)
def test_a_token_hides_nothing(token, shown):
    assert visible(token) == shown
    assert all(character.isprintable() or character in "\u200c\u200d" for character in shown)


def test_readable_words_keep_their_blanks_and_lose_what_turns_a_line():
    assert readable("token 1 of\n\u202ea b") == "token 1 of↵⟨202E⟩a b"


def test_the_tokens_of_one_character_are_numbered(portrait):
    text = portrait("I 🦩!", layers=1)
    spans = ((0, 1), (1, 3), (2, 3), (2, 3), (3, 4))
    text = replace(text, spans=spans)
    assert text.labels() == ["I", "␣🦩1/3", "🦩2/3", "🦩3/3", "!"]
    assert [list(run) for run in text.characters()] == [[0], [1, 2, 3], [4]]


def test_equal_tokens_at_different_places_stay_apart(portrait):
    text = replace(portrait("no no", layers=1), spans=((0, 2), (2, 3), (3, 5), (5, 5), (5, 5)))
    assert text.labels() == ["no", "␣", "no", "∅", "∅"]


def test_json_holds_every_array_as_lists_in_the_order_of_its_axes(inspection):
    found = inspection("one two", "three", layers=3, heads=2, percentiles=True, prefixes=True)
    record = json.loads(found.to_json())
    assert record["schema"] == SCHEMA
    assert record["features"] == list(SPLINE7)
    assert record["layers"] == [0, 1, 2]
    for text, portrait in zip(record["portraits"], found.portraits, strict=True):
        for name in "sign boundary wall dimension bound regions seven percentiles prefixes".split():
            array = getattr(portrait, name)
            assert np.shape(text[name]) == array.shape, name
            np.testing.assert_allclose(np.array(text[name], float), array, rtol=1e-7)
        assert text["text"] == portrait.text
        assert [tuple(span) for span in text["spans"]] == list(portrait.spans)


def test_json_writes_floats_as_short_as_they_can_be_told_apart(inspection):
    found = inspection("a")
    found.portraits[0].sign[0, 0] = 0.1
    assert json.loads(found.to_json())["portraits"][0]["sign"][0][0] == 0.1


def test_json_says_null_where_there_is_no_number(inspection, view):
    found = inspection("ab", view=view)
    found.portraits[0].dimension[:, 1] = -1
    found.portraits[0].boundary[2] = np.inf
    found.portraits[0].seven[0, 0] = np.nan
    record = json.loads(found.to_json())
    text = record["portraits"][0]
    assert text["dimension"][0][1] == [[None, None], [None, None]]
    assert text["boundary"][2] == [None, None]
    assert text["seven"][0][0] is None
    assert text["percentiles"] is text["prefixes"] is record["text_distance"] is None
    assert record["slice"]["own"][2] is None
    assert record["slice"]["own"][0] == view.own[0].tolist()
    assert record["slice"]["labels"] == list(view.labels)


def test_json_holds_the_distance_of_each_text_to_itself(inspection):
    found = inspection("one", "two", layers=4)
    np.testing.assert_allclose(json.loads(found.to_json())["own_distance"], found.own_distance)
    assert json.loads(inspection("one").to_json())["own_distance"] is None


def test_json_is_the_same_each_time(inspection):
    assert inspection("a b").to_json() == inspection("a b").to_json()
