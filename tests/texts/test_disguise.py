"""Tests ``texts/disguise.py``: each disguise by hand, and that a seed decides it."""

import random

import pytest

from splinelens.texts.disguise import DISGUISES, homoglyph, leet, repeated, spacing, zero_width

TEXT = "You are a nice reader of SOME texts, and it's fine.\r\nNaïve 2nd 😀 line"


@pytest.mark.parametrize("name", DISGUISES)
def test_a_seed_decides_the_disguise(name):
    assert DISGUISES[name](TEXT, random.Random(3)) == DISGUISES[name](TEXT, random.Random(3))


@pytest.mark.parametrize("name", DISGUISES)
def test_a_disguise_changes_words_and_nothing_else(name):
    assert DISGUISES[name](TEXT, random.Random(0)) != TEXT
    for rest in ("", " \r\n", "123 😀 !?", "日本"):
        if name not in ("zero_width", "spacing"):
            assert DISGUISES[name](rest, random.Random(0)) == rest
        assert DISGUISES[name]("12, 😀", random.Random(0)) == "12, 😀"


@pytest.mark.parametrize("name", ["leet", "spacing", "repeated"])
def test_another_seed_gives_another_text(name):
    assert len({DISGUISES[name](TEXT, random.Random(seed)) for seed in range(8)}) > 1


def test_leet_takes_half_of_the_letters():
    text = "aeiosAEIOS" * 400
    found = leet(text, random.Random(0))
    assert sum(map(str.isdigit, found)) == pytest.approx(2000, abs=150)
    assert {(old, new) for old, new in zip(text, found, strict=True) if new != old} == {
        *zip("aeiosAEIOS", "4310543105", strict=True)
    }


def test_look_alikes_are_cyrillic_and_as_many():
    assert homoglyph("peace tm", random.Random(0)) == "реасе tm"
    assert len(homoglyph(TEXT, random.Random(0))) == len(TEXT)


def test_zero_width_spaces_stand_between_the_letters_of_words():
    assert zero_width("ab, c 12", random.Random(0)) == "a\u200bb, c 12"
    assert zero_width(TEXT, random.Random(0)).replace("\u200b", "") == TEXT


def test_one_word_in_three_is_spaced():
    found = spacing("word, " * 3000, random.Random(0)).split(",")
    assert sum(word.strip() == "w o r d" for word in found) == pytest.approx(1000, abs=100)
    assert {word.strip() for word in found} == {"word", "w o r d", ""}


def test_one_vowel_of_each_word_is_repeated():
    assert repeated("no try tea", random.Random(0)) in ("nooo try teeea", "nooo try teaaa")
