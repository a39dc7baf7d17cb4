"""Tests ``report/spans.py``: words and sentences by hand, and that no amount is ever lost."""

import random
from itertools import pairwise
from math import fsum

import pytest

from splinelens.report.scores import Span, TextScore
from splinelens.report.spans import core, merged, sentences, words

PIECES = [
    *"abcXYZ019.,!?…*'\"()-_ ",
    *"   \t\n\r\u2028\u00a0\x1c",
    "\r\n",
    *"。！？「」日本語ไทยກ",
    *"\u200b\u200d\ufeff\u0301\u0336\ufe0f",
    *"😀👩👧é",
    "Привет",
    "e.g. ",
    ". ",
]


def random_explanations(count=1500):
    """Texts cut at random into token spans, some characters of them without a token."""
    dice = random.Random(0)
    for _ in range(count):
        text = "".join(dice.choices(PIECES, k=dice.randrange(1, 50)))
        cuts = sorted(dice.choices(range(len(text) + 1), k=dice.randrange(1, 30)))
        spans = [Span(begin, end, dice.gauss(0, 2)) for begin, end in pairwise(cuts)]
        if dice.random() < 0.3:
            spans = [span for span in spans if dice.random() < 0.8]
        yield text, tuple(spans)


def each(text, count=1):
    """Every character as a token, each adding its place."""
    return tuple(
        Span(place, min(place + count, len(text)), float(place)) for place in range(0, len(text), count)
    )


def cut(text, found):
    return [text[span.begin : span.end] for span in found]


@pytest.mark.parametrize("merge", [words, sentences])
def test_no_amount_is_lost(merge):
    for text, spans in random_explanations():
        total = fsum(span.contribution for span in spans)
        assert sum(part.contribution for part in merge(text, spans)) == pytest.approx(total, abs=1e-9)


@pytest.mark.parametrize("merge", [words, sentences])
def test_stretches_stand_in_order_and_hold_something(merge):
    for text, spans in random_explanations():
        found = merge(text, spans)
        assert bool(found) == bool(spans)
        assert all(before.end <= after.begin for before, after in pairwise(found)), ascii(text)
        for part in found:
            assert 0 <= part.begin <= part.end <= len(text)
            shown = text[part.begin : part.end]
            assert shown == shown.strip() or len(found) == 1


def test_each_token_counts_where_its_last_visible_character_stands():
    for text, spans in random_explanations(200):
        for span in spans:
            alone = [Span(other.begin, other.end, float(other is span)) for other in spans]
            visible = [place for place in range(span.begin, span.end) if not text[place].isspace()]
            for merge in (words, sentences):
                (home,) = [part for part in merge(text, alone) if part.contribution]
                assert not visible or home.begin <= visible[-1] < home.end


def test_no_word_holds_white_space_and_every_sentence_is_made_of_whole_words():
    for text, spans in random_explanations():
        found, parts = words(text, spans), sentences(text, spans)
        if text[: spans[-1].end if spans else 0].strip():
            assert not any(character.isspace() for part in cut(text, found) for character in part)
        if text.isascii():
            for part in parts:
                inside = [word.contribution for word in found if part.begin <= word.begin < part.end]
                assert fsum(inside) == pytest.approx(part.contribution, abs=1e-9)


def test_words_keep_their_punctuation_and_take_what_their_tokens_add():
    text = "shut up, you idiot!"
    spans = (Span(0, 4, 1.0), Span(4, 7, 0.5), Span(7, 8, 0.25), Span(8, 12, 0.25), Span(12, 19, 2.0))
    found = {text[word.begin : word.end]: word.contribution for word in words(text, spans)}
    assert found == {"shut": 1.0, "up,": 0.75, "you": 0.25, "idiot!": 2.0}


def test_a_token_across_white_space_belongs_to_its_last_word():
    assert words("of the", (Span(0, 6, 1.0),)) == (Span(0, 2, 0.0), Span(3, 6, 1.0))
    assert words("a  b ", (Span(0, 1, 1.0), Span(1, 3, 0.5), Span(3, 4, 2.0), Span(4, 5, 0.25))) == (
        Span(0, 1, 1.0),
        Span(3, 4, 2.75),
    )


def test_what_was_not_read_is_no_word():
    text = "one two three"
    assert cut(text, words(text, (Span(0, 3, 1.0), Span(3, 6, 1.0)))) == ["one", "tw"]
    assert cut(text, sentences(text, (Span(0, 3, 1.0), Span(3, 7, 1.0)))) == ["one two"]
    assert words(text, ()) == sentences(text, ()) == ()
    assert words("  ", (Span(0, 1, 1.0), Span(1, 2, 0.5))) == (Span(0, 2, 1.5),)


def test_where_a_script_has_no_spaces_each_token_is_a_word():
    text = "これは本です。OK, 你好"
    spans = tuple(Span(begin, end, 1.0) for begin, end in ((0, 2), (2, 3), (3, 6), (6, 7), (7, 8), (8, 13)))
    assert cut(text, words(text, spans)) == ["これ", "は", "本です", "。", "OK,", "你好"]
    assert cut("안녕 하세요", words("안녕 하세요", each("안녕 하세요"))) == ["안녕", "하세요"]


def test_sentences_end_at_signs_before_white_space_and_at_line_breaks():
    text = 'Hi! He said "no." Is 3.5 more?! Yes…\r\nnew line\n\nv1.2.3'
    assert cut(text, sentences(text, each(text))) == [
        "Hi!",
        'He said "no."',
        "Is 3.5 more?!",
        "Yes…",
        "new line",
        "v1.2.3",
    ]
    text = "你好。「再见！」好的"
    assert cut(text, sentences(text, each(text))) == ["你好。", "「再见！」", "好的"]


def test_emoji_zero_width_and_combining_characters_stay_inside_their_words():
    text = "f\u200bo\u0301ol 👩\u200d👧 ok"
    assert cut(text, words(text, each(text))) == ["f\u200bo\u0301ol", "👩\u200d👧", "ok"]


@pytest.mark.parametrize(
    ("word", "inner"),
    [
        ("fool!", "fool"),
        ('"(fool)"', "fool"),
        ("don't", "don't"),
        ("f***,", "f***"),
        ("!!!", "!!!"),
        ("😀.", "😀"),
    ],
)
def test_the_core_of_a_word_has_no_punctuation_around_it(word, inner):
    assert word[slice(*core(word, Span(0, len(word), 1.0)))] == inner


def test_a_record_without_explanation_is_left_alone():
    for record in (
        TextScore(0, None, "undetermined", 0, False, reason="is missing"),
        TextScore(0, 0.5, "clean", 1, False),
    ):
        assert merged(record, None) is record
        assert merged(record, "a") is record


@pytest.mark.parametrize(
    "text", ["." * 100_000 + "a", '."' * 50_000 + "a", "!日" * 50_000, " \n" * 50_000 + "a"]
)
def test_long_texts_take_no_longer_than_their_length(text):
    spans = each(text, 3)
    total = fsum(span.contribution for span in spans)
    for merge in (words, sentences):  # if a search were quadratic, the suite's time limit would end it
        assert fsum(part.contribution for part in merge(text, spans)) == pytest.approx(total)
