"""Tests ``texts/normalize.py``: what is removed, what is mapped, what stays, and where it came from."""

import random
import unicodedata

import pytest

from splinelens.texts.disguise import DISGUISES
from splinelens.texts.normalize import CYRILLIC, GREEK, HIGHEST, NormalizedText, normalize_text

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
    dice = random.Random(0)
    return ["".join(dice.choices(PIECES, k=dice.randrange(40))) for _ in range(count)]


def test_plain_ascii_is_untouched():
    every = "".join(map(chr, range(128)))
    assert normalize_text(every) == NormalizedText(every, tuple(range(128)))
    assert normalize_text("") == NormalizedText("", ())


def test_normalizing_twice_is_normalizing_once():
    for text in random_texts():
        once = normalize_text(text).text
        assert normalize_text(once) == NormalizedText(once, tuple(range(len(once)))), ascii(text)


def test_places_never_fall_and_lie_in_the_old_text():
    for text in random_texts():
        found = normalize_text(text)
        assert len(found.origin) == len(found.text)
        assert list(found.origin) == sorted(found.origin)
        assert all(0 <= place < len(text) for place in found.origin)


def test_a_character_that_was_kept_stands_at_its_place():
    for text in random_texts():
        for character, place in zip(*vars(normalize_text(text)).values(), strict=True):
            assert character == text[place] or unicodedata.category(text[place])[0] in "LNS"


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
    assert HIGHEST == 2
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
    found = normalize_text(text)
    assert found.text == "a toad, ok"
    assert [text[slice(*found.span(begin, end))] for begin, end in ((0, 1), (2, 6), (8, 10))] == [
        "a",
        "t\u200bо\u200bаd",
        "ｏｋ",
    ]
    assert found.span(2, 2) == (2, 2)
    assert found.span(10, 10) == (len(text), len(text))
    assert normalize_text("\u200b").span(0, 0) == (0, 0)


def test_disguises_that_only_change_characters_are_undone():
    text = "You told them that this garden smells; nobody listened."
    for name in ("zero_width", "homoglyph"):
        assert normalize_text(DISGUISES[name](text, random.Random(0))).text == text
