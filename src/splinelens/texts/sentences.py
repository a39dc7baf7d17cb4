"""Where the sentences of a text are, also of one that grows."""

import re

Bounds = tuple[int, int]
"""First character, and the one after the last."""

_STOPS = "\u3002\uff01\uff1f"  # the full stop, ! and ? of scripts without a space after them
_SIGNS = f"[.!?\u2026{_STOPS}]"
_CLOSING = "[\"'\u201d\u2019\u00bb)\\]\u300d\u300f\uff09\u3011]*+"
_SENTENCE_END = re.compile(  # possessive: linear time on a million full stops
    rf"(?<!{_SIGNS}){_SIGNS}++{_CLOSING}(?=\s|\Z)|[{_STOPS}]++{_CLOSING}"
    r"|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+"
)


def sentence_bounds(text: str) -> list[Bounds]:
    """Where the sentences of a text are, in order, without white space around them.

    A sentence ends at a line break, at one of ``. ! ? …`` before white space or the end, and at ``。！？``
    (closing quotes and brackets belong to it). Abbreviations end one too. A text of white space has none.

    Example:
        >>> sentence_bounds("Hello!  Bye ")
        [(0, 6), (8, 11)]
    """
    return [(begin, end) for begin, end in all_bounds(text) if begin < end]


def complete_sentences(text: str, after: int, *, final: bool) -> list[tuple[int, int, int]]:
    """The sentences of a growing text that are complete, and end after a character.

    A sentence is complete when the next one begins: until then a closing quote may follow, or what looks
    like its end was a decimal point.

    Args:
        text: The text so far.
        after: The character.
        final: Whether the text has ended.

    Returns:
        First character, the one after the last, and the first of the next sentence or the end of the text.

    Example:
        >>> complete_sentences("Hello! Bye. He", 0, final=False)
        [(0, 6, 7), (7, 11, 12)]
    """
    bounds = sentence_bounds(text)
    following = [begin for begin, _ in bounds[1:]] + [len(text)]
    complete = [(*bound, begin) for bound, begin in zip(bounds, following, strict=False)]
    return [each for each in (complete if final else complete[:-1]) if each[1] > after]


def all_bounds(text: str) -> list[Bounds]:
    """As ``sentence_bounds``, with empty ones."""
    ends = [match.end() for match in _SENTENCE_END.finditer(text)]
    bounds = zip([0, *ends], [*ends, len(text)], strict=True)
    return [trimmed(text, *bound) for bound in bounds]


def trimmed(text: str, begin: int, end: int) -> Bounds:
    """Bounds without the white space around them."""
    while begin < end and text[end - 1].isspace():
        end -= 1
    while begin < end and text[begin].isspace():
        begin += 1
    return begin, end
