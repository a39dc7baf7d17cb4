"""Contributions of tokens to a logit, merged to words and sentences.

Each token counts in exactly one word and one sentence: the one with its last character that is not white
space. Tokens, words and sentences therefore have the same sum.
"""

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import replace
from math import fsum
from unicodedata import category

from splinelens.features.word_corpus import TextWords
from splinelens.report.scores import Span, TextScore
from splinelens.texts.plain_text import harmless
from splinelens.texts.sentences import Bounds, all_bounds, trimmed

LEAST = 0.25
"""Words that contribute less are neither named nor highlighted."""

FEW = 3
"""Words that are named, and around which a long text is shown."""

# Scripts that write no space between words: Thai, Lao, Tibetan, Burmese, Khmer, Tai, kana, bopomofo, Han.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u3005-\u3007\u3040-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
_ANY_UNSPACED = re.compile(f"[{_UNSPACED}]")
_RUN = re.compile(rf"[^\w\s]*[{_UNSPACED}](?:[{_UNSPACED}]|[^\w\s])*|(?:(?![{_UNSPACED}])\S)+")
_SPELLING = "*@#%&/\\"  # punctuation that replaces letters


def words(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Token spans merged to whole words.

    A word is a run without white space, punctuation included. Where a script has no spaces between words,
    each token is one. A token of white space only counts in the next word.

    Returns:
        The words up to the last token, in order; a word without a token contributes 0.

    Example:
        >>> spans = (Span(0, 3, 0.5), Span(3, 5, 1.0), Span(5, 8, 2.0), Span(8, 9, -0.25))
        >>> [(word.begin, word.end, word.contribution) for word in words("you fool!", spans)]
        [(0, 3, 0.5), (4, 9, 2.75)]
    """
    return _gathered(text, spans, _word_bounds(text, spans))


def word_of_token(text: str, offsets: Sequence[Bounds], whole: Sequence[Span]) -> list[int]:
    """The index of the word that each token counts in, as in ``words``; the last one takes what is left.

    Args:
        text: The text.
        offsets: Character span of each token.
        whole: What ``words`` gives for these tokens.

    Example:
        >>> offsets = [(0, 3), (3, 5), (5, 8), (8, 9)]
        >>> word_of_token("you fool!", offsets, words("you fool!", [Span(*one, 0.0) for one in offsets]))
        [0, 1, 1, 1]
    """
    ends = [word.end for word in whole]
    anchors = [(begin, _anchor(text, Span(begin, end, 0.0))) for begin, end in offsets]
    places = [bisect_right(ends, begin if anchor is None else anchor) for begin, anchor in anchors]
    return [min(place, len(whole) - 1) for place in places]


def text_words(text: str, offsets: Sequence[Bounds], whole: Sequence[Span]) -> TextWords:
    """The words of a text and their tokens; the arguments are those of ``word_of_token``.

    Example:
        >>> offsets = [(0, 3), (4, 8), (8, 9)]
        >>> text_words("You fool!", offsets, words("You fool!", [Span(*one, 0.0) for one in offsets]))
        TextWords(keys=('you', 'fool'), bounds=((0, 3), (4, 8)), of_token=(0, 1, 1))
    """
    bounds = tuple(core(text, word) for word in whole)
    keys = tuple(text[begin:end].lower() for begin, end in bounds)
    return TextWords(keys, bounds, tuple(word_of_token(text, offsets, whole)))


def sentences(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Token spans merged to sentences.

    A sentence ends at a line break, at one of ``. ! ? …`` before white space or the end, and at ``。！？``
    (closing quotes and brackets belong to it). Abbreviations end one too.

    Returns:
        The sentences up to the last token, in order, without white space around them.

    Example:
        >>> spans = (Span(0, 5, 0.5), Span(5, 6, 0.5), Span(6, 10, -2.0))
        >>> [(part.begin, part.end, part.contribution) for part in sentences("Hello! Bye", spans)]
        [(0, 6, 1.0), (7, 10, -2.0)]
    """
    return _gathered(text, spans, all_bounds(text))


def merged(score: TextScore, text: str | None) -> TextScore:
    """A record with its spans merged to words and sentences, and its strongest words.

    Without an explanation it is returned as it is.

    Example:
        >>> spans = (Span(0, 2, 0.5), Span(2, 4, 1.5))
        >>> merged(TextScore(0, 0.9, "toxic", 2, False, spans=spans, constant=0.2), "fool").words
        (Span(begin=0, end=4, contribution=2.0),)
    """
    if score.spans is None or text is None:
        return score
    whole = words(text, score.spans)
    return replace(
        score, words=whole, sentences=sentences(text, score.spans), top_words=top_words(text, whole)
    )


def top_words(text: str, whole: Sequence[Span]) -> str:
    """The strongest words with their contributions, for a cell of a table.

    Example:
        >>> top_words("you fool!", (Span(0, 3, -0.5), Span(4, 9, 3.0)))
        'fool +3.0; you -0.5'
    """
    return "; ".join(f"{word} {amount:+.1f}" for word, amount in strongest_words(text, whole))


def strongest_words(text: str, whole: Sequence[Span], most: int = FEW) -> list[tuple[str, float]]:
    """The words that raise the logit most, strongest first, then those that lower it most.

    Args:
        text: The text.
        whole: What ``words`` gives.
        most: How many of each.

    Returns:
        Words without the punctuation around them, and their contributions.

    Example:
        >>> strongest_words("you fool!", (Span(0, 3, -0.5), Span(4, 9, 3.0)), most=1)
        [('fool', 3.0), ('you', -0.5)]
    """
    ranked = sorted(whole, key=lambda word: -word.contribution)
    up = [word for word in ranked[:most] if word.contribution >= LEAST]
    down = [word for word in ranked[::-1][:most] if word.contribution <= -LEAST]
    return [(harmless(text[slice(*core(text, word))]), word.contribution) for word in up + down]


def core(text: str, word: Span) -> Bounds:
    """A word without the punctuation around it; symbols that replace letters stay.

    A word of punctuation only is returned whole.

    Example:
        >>> core('so "f***!"', Span(3, 10, 1.0))
        (4, 8)
    """
    inner = [at for at in range(word.begin, word.end) if not _is_punctuation(text[at])]
    return (inner[0], inner[-1] + 1) if inner else (word.begin, word.end)


def is_word(key: str) -> bool:
    """Whether it has a letter, a digit, an emoji or a symbol that replaces letters.

    Example:
        >>> [is_word(key) for key in ("fool", "f***", "42", "==", "!!!")]
        [True, True, True, False, False]
    """
    return any(
        character.isalnum() or character in _SPELLING or category(character) == "So" for character in key
    )


def _word_bounds(text: str, spans: Sequence[Span]) -> list[Bounds]:
    if not _ANY_UNSPACED.search(text):
        return [match.span() for match in re.finditer(r"\S+", text)]
    anchors = [anchor for span in spans if (anchor := _anchor(text, span)) is not None]
    bounds: list[Bounds] = []
    for match in _RUN.finditer(text):
        begin, end = match.span()
        if _ANY_UNSPACED.search(text, begin, end):
            inner = anchors[bisect_left(anchors, begin) : bisect_left(anchors, end)]
            for anchor in dict.fromkeys(inner[:-1]):
                if begin <= anchor:
                    bounds.append((begin, anchor + 1))
                    begin = anchor + 1
        if begin < end:
            bounds.append((begin, end))
    return bounds


def _gathered(text: str, spans: Sequence[Span], parts: Sequence[Bounds]) -> tuple[Span, ...]:
    """The parts that were read, each with the sum of its tokens."""
    if not spans:
        return ()
    last = max(span.end for span in spans)
    read = [trimmed(text, begin, min(end, last)) for begin, end in parts if begin < last]
    read = [(begin, end) for begin, end in read if begin < end] or [(spans[0].begin, last)]
    amounts: list[list[float]] = [[] for _ in read]
    part = 0
    for span in spans:
        anchor = _anchor(text, span)
        while part < len(read) - 1 and read[part][1] <= (span.begin if anchor is None else anchor):
            part += 1
        amounts[part].append(span.contribution)
    return tuple(Span(*bounds, fsum(added)) for bounds, added in zip(read, amounts, strict=True))


def _anchor(text: str, span: Span) -> int | None:
    """The last character of a span that is no white space; None if there is none."""
    end = trimmed(text, span.begin, span.end)[1]
    return end - 1 if end > span.begin else None


def _is_punctuation(character: str) -> bool:
    return category(character) in ("Ps", "Pe", "Pi", "Pf", "Pd", "Po") and character not in _SPELLING
