"""Tests ``texts/normalize.py``: what is removed, mapped and kept, and from where; each disguise by hand."""

import random
import unicodedata

import pytest

from splinelens.texts.normalize import (
    CYRILLIC,
    DISGUISES,
    GREEK,
    MAX_MARKS,
    NormalizedText,
    homoglyph,
    leet,
    normalize_text,
    repeated,
    spacing,
    zero_width,
)

PIECES = [
    *"aeoxTZ19 .!?\n\t'-",
    "\r\n",
    *"аеоѕіпшщАЁ",
    *"αορλςΔ",
    *"ＡｚＢ１！",
    *"𝐚𝓑𝟗𝛂ℂℹ",
    *"ⓐⒷ①Ⓜ🄰🅰",
    *"\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\u061c\u034f\u3164",
    *"\ufe0f\ufe0e\U000e0100\u180b",
    *"\u0301\u0336\u0489\u20dd\u064b\u0651\u05bc\u093c",
    *"❤🔥👩👧♂\U0001f3fd",
    *"میहन्日本語กิ่é",
    "\ud800",
]


def random_texts(count=2000):
    rng = random.Random(0)
    return ["".join(rng.choices(PIECES, k=rng.randrange(40))) for _ in range(count)]


def test_plain_ascii_is_untouched():
    every = "".join(map(chr, range(128)))
    assert normalize_text(every) == NormalizedText(every, tuple(range(128)))
    assert normalize_text("") == NormalizedText("", ())


def test_normalizing_twice_is_normalizing_once():
    for text in random_texts():
        once = normalize_text(text).text
        assert normalize_text(once) == NormalizedText(once, tuple(range(len(once)))), ascii(text)


def test_positions_never_decrease_and_lie_in_the_text():
    for text in random_texts():
        result = normalize_text(text)
        assert len(result.origin) == len(result.text)
        assert list(result.origin) == sorted(result.origin)
        assert all(0 <= position < len(text) for position in result.origin)


def test_a_kept_character_has_its_position():
    for text in random_texts():
        for character, position in zip(*vars(normalize_text(text)).values(), strict=True):
            assert character == text[position] or unicodedata.category(text[position])[0] in "LNS"


@pytest.mark.parametrize(
    "unseen", "\u200b\u200c\u200d\u2060\ufeff\u00ad\u202e\u180e\u034f\u3164\ufe0f\U000e0101"
)
def test_what_is_not_seen_is_removed_from_words(unseen):
    assert normalize_text(f"{unseen}to{unseen}ad{unseen}") == NormalizedText("toad", (1, 2, 4, 5))


@pytest.mark.parametrize("text", ["👩\u200d👧", "🏳\u200d🌈", "❤\u200d🔥", "👩🏽\u200d⚕"])
def test_a_joiner_stays_between_emoji(text):
    assert normalize_text(text).text == text


@pytest.mark.parametrize("text", ["می\u200cخواهم", "क्\u200dष", "naïve é", "日本語！", "việt", "กิ่ง", "שּׁלום"])
def test_what_is_ordinary_in_its_script_is_left_alone(text):
    assert normalize_text(text).text == text


def test_a_selector_between_emoji_goes_and_its_joiner_stays():
    assert normalize_text("❤\ufe0f\u200d🔥").text == "❤\u200d🔥"


def test_marks_are_stacked_two_high_at_most():
    assert MAX_MARKS == 2
    assert normalize_text("e\u0301\u0302\u0303\u0304x") == NormalizedText("e\u0301\u0302x", (0, 1, 2, 5))
    assert normalize_text("e\u0301\u200b\u0302\u200b\u0303").text == "e\u0301\u0302"
    assert normalize_text("a\u0336b\u0336").text == "a\u0336b\u0336"


@pytest.mark.parametrize("word", ["ｔｏａｄ", "𝐭𝐨𝐚𝐝", "𝓽𝓸𝓪𝓭", "𝔱𝔬𝔞𝔡", "ⓣⓞⓐⓓ", "𝚝𝕠ⓐｄ"])
def test_letters_in_another_dress_become_plain(word):
    assert normalize_text(word) == NormalizedText("toad", (0, 1, 2, 3))


def test_only_letters_and_digits_are_undressed():
    assert normalize_text("ＡＢＣ１２ 𝟗 🄰").text == "ABC12 9 A"
    assert normalize_text("！，①½ﬁ™ªｱ").text == "！，①½ﬁ™ªｱ"


@pytest.mark.parametrize("word", ["tоad", "tоаd", "tοad", "tοаd", "𝐭оａd"])
def test_look_alikes_in_a_latin_word_become_latin(word):
    assert normalize_text(word) == NormalizedText("toad", (0, 1, 2, 3))


@pytest.mark.parametrize(
    "text", ["привет, как дела", "сор", "ОНО", "λόγος", "ου", "пpивет", "жaба", "α + β", "5 м"]
)
def test_words_in_cyrillic_or_greek_stay_untouched(text):
    assert normalize_text(text).text == text


def test_a_word_is_judged_by_its_own_letters():
    assert normalize_text("тоад tоad тоад").text == "тоад toad тоад"


def test_the_tables_lead_from_their_script_to_latin():
    for script, table in (("CYRILLIC", CYRILLIC), ("GREEK", GREEK)):
        for letter, latin in table.items():
            assert unicodedata.name(letter).startswith(script)
            assert unicodedata.name(latin).startswith("LATIN")
            assert letter.isupper() == latin.isupper()


def test_spans_index_the_original():
    text = "a t\u200bо\u200bаd, ｏｋ"
    result = normalize_text(text)
    assert result.text == "a toad, ok"
    assert [text[slice(*result.span(begin, end))] for begin, end in ((0, 1), (2, 6), (8, 10))] == [
        "a",
        "t\u200bо\u200bаd",
        "ｏｋ",
    ]
    assert result.span(2, 2) == (2, 2)
    assert result.span(10, 10) == (len(text), len(text))
    assert normalize_text("\u200b").span(0, 0) == (0, 0)


def test_disguises_that_only_change_characters_are_undone():
    text = "You told them that this garden smells; nobody listened."
    for name in ("zero_width", "homoglyph"):
        assert normalize_text(DISGUISES[name](text, random.Random(0))).text == text


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
    result = leet(text, random.Random(0))
    assert sum(map(str.isdigit, result)) == pytest.approx(2000, abs=150)
    assert {(old, new) for old, new in zip(text, result, strict=True) if new != old} == {
        *zip("aeiosAEIOS", "4310543105", strict=True)
    }


def test_look_alikes_are_cyrillic_and_as_many():
    assert homoglyph("peace tm", random.Random(0)) == "реасе tm"
    assert len(homoglyph(TEXT, random.Random(0))) == len(TEXT)


def test_zero_width_spaces_stand_between_the_letters_of_words():
    assert zero_width("ab, c 12", random.Random(0)) == "a\u200bb, c 12"
    assert zero_width(TEXT, random.Random(0)).replace("\u200b", "") == TEXT


def test_one_word_in_three_is_spaced():
    result = spacing("word, " * 3000, random.Random(0)).split(",")
    assert sum(word.strip() == "w o r d" for word in result) == pytest.approx(1000, abs=100)
    assert {word.strip() for word in result} == {"word", "w o r d", ""}


def test_one_vowel_of_each_word_is_repeated():
    assert repeated("no try tea", random.Random(0)) in ("nooo try teeea", "nooo try teaaa")
