"""What tokens add to a logit, merged to whole words and to sentences that a moderator can read.

Nothing is shared out and nothing is lost: each token counts in one word and in one sentence, those that hold
its last character that is not white space, so all three add up to the same.
"""

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import replace
from math import fsum
from unicodedata import category

from splinelens.report.scores import Span, TextScore

Stretch = tuple[int, int]
"""First character and the one behind the last."""

# Scripts that write no space between words: Thai, Lao, Tibetan, Burmese, Khmer, Tai, kana, bopomofo, Han.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u3005-\u3007\u3040-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua9e0-\ua9ff\uaa60-\uaa7f\uf900-\ufaff\uff66-\uff9f"
    "\U00020000-\U0003ffff"
)
_ANY_UNSPACED = re.compile(f"[{_UNSPACED}]")
_RUN = re.compile(rf"[^\w\s]*[{_UNSPACED}](?:[{_UNSPACED}]|[^\w\s])*|(?:(?![{_UNSPACED}])\S)+")
_STOPS = "\u3002\uff01\uff1f"  # the full stop, ! and ? of scripts that set no space behind them
_SIGNS = f"[.!?\u2026{_STOPS}]"
_CLOSING = "[\"'\u201d\u2019\u00bb)\\]\u300d\u300f\uff09\u3011]*+"
_SENTENCE_END = re.compile(  # each run of signs is tried once, or a million points would take hours
    rf"(?<!{_SIGNS}){_SIGNS}++{_CLOSING}(?=\s|\Z)|[{_STOPS}]++{_CLOSING}"
    r"|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+"
)
_SPELLING = "*@#%&/\\"  # punctuation that stands for letters in words half hidden


def words(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Token spans merged to whole words.

    A word is a stretch without white space, its punctuation included. Where a script has no spaces
    between words, each token is one. A token of white space alone counts in the word behind it.

    Args:
        text: The text.
        spans: What its tokens add, in order.

    Returns:
        The words as far as there are tokens, in order; a word without a token of its own adds 0.

    Example:
        >>> spans = (Span(0, 3, 0.5), Span(3, 5, 1.0), Span(5, 8, 2.0), Span(8, 9, -0.25))
        >>> [(word.begin, word.end, word.contribution) for word in words("you fool!", spans)]
        [(0, 3, 0.5), (4, 9, 2.75)]
    """
    return _gathered(text, spans, _word_stretches(text, spans))


def sentences(text: str, spans: Sequence[Span]) -> tuple[Span, ...]:
    """Token spans merged to sentences.

    A sentence ends at a line break, at one of ``. ! ? …`` before white space or the end, and at ``。！？``
    (closing quotes and brackets belong to it). Abbreviations end one too.

    Args:
        text: The text.
        spans: What its tokens add, in order.

    Returns:
        The sentences as far as there are tokens, in order, without white space around them.

    Example:
        >>> spans = (Span(0, 5, 0.5), Span(5, 6, 0.5), Span(6, 10, -2.0))
        >>> [(found.begin, found.end, found.contribution) for found in sentences("Hello! Bye", spans)]
        [(0, 6, 1.0), (7, 10, -2.0)]
    """
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    bounds = zip([0, *ends], [*ends, len(text)], strict=True)
    return _gathered(text, spans, [_trimmed(text, *bound) for bound in bounds])


def merged(score: TextScore, text: str | None) -> TextScore:
    """A record with its spans merged to words and sentences too.

    Args:
        score: The record.
        text: Its text.

    Returns:
        The record itself, if it has no explanation.

    Example:
        >>> spans = (Span(0, 2, 0.5), Span(2, 4, 1.5))
        >>> merged(TextScore(0, 0.9, "toxic", 2, False, spans=spans, constant=0.2), "fool").words
        (Span(begin=0, end=4, contribution=2.0),)
    """
    if score.spans is None or text is None:
        return score
    return replace(score, words=words(text, score.spans), sentences=sentences(text, score.spans))


def core(text: str, word: Span) -> Stretch:
    """A word without the punctuation around it; signs that stand for letters stay.

    Args:
        text: The text.
        word: A word of it.

    Returns:
        The whole word, if it is all punctuation.

    Example:
        >>> core('so "f***!"', Span(3, 10, 1.0))
        (4, 8)
    """
    inner = [place for place in range(word.begin, word.end) if not _is_punctuation(text[place])]
    return (inner[0], inner[-1] + 1) if inner else (word.begin, word.end)


def _word_stretches(text: str, spans: Sequence[Span]) -> list[Stretch]:
    if not _ANY_UNSPACED.search(text):
        return [match.span() for match in re.finditer(r"\S+", text)]
    anchors = [place for span in spans if (place := _anchor(text, span)) is not None]
    found: list[Stretch] = []
    for match in _RUN.finditer(text):
        begin, end = match.span()
        if _ANY_UNSPACED.search(text, begin, end):
            inner = anchors[bisect_left(anchors, begin) : bisect_left(anchors, end)]
            for anchor in dict.fromkeys(inner[:-1]):
                if begin <= anchor:
                    found.append((begin, anchor + 1))
                    begin = anchor + 1
        if begin < end:
            found.append((begin, end))
    return found


def _gathered(text: str, spans: Sequence[Span], stretches: Sequence[Stretch]) -> tuple[Span, ...]:
    """The stretches that were read, each with the sum of its tokens."""
    if not spans:
        return ()
    last = max(span.end for span in spans)
    read = [_trimmed(text, begin, min(end, last)) for begin, end in stretches if begin < last]
    read = [(begin, end) for begin, end in read if begin < end] or [(spans[0].begin, last)]
    amounts: list[list[float]] = [[] for _ in read]
    place = 0
    for span in spans:
        anchor = _anchor(text, span)
        while place < len(read) - 1 and read[place][1] <= (span.begin if anchor is None else anchor):
            place += 1
        amounts[place].append(span.contribution)
    return tuple(Span(*stretch, fsum(added)) for stretch, added in zip(read, amounts, strict=True))


def _anchor(text: str, span: Span) -> int | None:
    """The last character of a span that is no white space; None if there is none."""
    end = _trimmed(text, span.begin, span.end)[1]
    return end - 1 if end > span.begin else None


def _trimmed(text: str, begin: int, end: int) -> Stretch:
    """A stretch without the white space around it."""
    while begin < end and text[end - 1].isspace():
        end -= 1
    while begin < end and text[begin].isspace():
        begin += 1
    return begin, end


def _is_punctuation(character: str) -> bool:
    return category(character) in ("Ps", "Pe", "Pi", "Pf", "Pd", "Po") and character not in _SPELLING
