"""Disguised characters become those they stand for, and each remembers its place in the text as written.

A reader does not see a zero-width space, and takes a Cyrillic letter inside an English word for the Latin
one of the same shape; a tokenizer is derailed by both. What is ordinary in its own script is left alone.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import category, combining, decomposition, name, normalize

HIGHEST = 2
"""Combining marks that may stand on one letter; Vietnamese needs two, and stacks of more hide words."""

CYRILLIC = dict(
    zip(
        "аеорсухіјѕԁԛԝһӏѵёїАВЕКМНОРСТУХІЈЅԚԜԌӀЁЇ",
        "aeopcyxijsdqwhlvëïABEKMHOPCTYXIJSQWGIËÏ",
        strict=True,
    )
)
"""Cyrillic letters that look like a Latin one in most typefaces, and that one."""

GREEK = dict(
    zip(
        "αεηικνορτυχωγϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧ",
        "aenikvoptuxwycjABEZHIKMNOPTYX",
        strict=True,
    )
)
"""Greek letters that look like a Latin one, and that one."""

_TWINS = CYRILLIC | GREEK
_FOREIGN = re.compile("[\u0370-\u052f]")
_WORD = re.compile("(?:[^\\W_]|[\u0300-\u036f])+")
_JOINERS = "\u200c\u200d"
_EMPTY = "\u034f\u3164\uffa0"  # no format characters by their category, yet nothing is shown of them


@dataclass(frozen=True)
class NormalizedText:
    """A text without disguise.

    Attributes:
        text: The new text.
        origin: For each of its characters the place in the old text that it came from; never falling.
    """

    text: str
    origin: tuple[int, ...]

    def span(self, begin: int, end: int) -> tuple[int, int]:
        r"""The stretch of the old text that a stretch of the new one came from.

        Args:
            begin: First character in the new text.
            end: Behind the last one; not before ``begin``.

        Returns:
            First character and the one behind the last, in the old text. An empty stretch stays empty.

        Example:
            >>> normalize_text("a\u200bb c").span(0, 2)
            (0, 3)
        """
        if begin < end:
            return self.origin[begin], self.origin[end - 1] + 1
        place = self.origin[begin] if begin < len(self.origin) else (self.origin or (-1,))[-1] + 1
        return place, place


def normalize_text(text: str) -> NormalizedText:
    r"""A text with its disguised characters mapped to plain ones.

    Removed are format characters such as the zero-width space (joiners stay between emoji, and behind
    letters of the scripts of West and South Asia, which spell with them), variation selectors and empty
    fillers, and combining marks above ``HIGHEST`` on one letter. Fullwidth, mathematical, circled and
    squared letters become plain ones. Cyrillic and Greek look-alikes become Latin letters in words whose
    other letters are mostly Latin; a word that is wholly Cyrillic or Greek is left alone.

    Args:
        text: Any string.

    Returns:
        The new text and where each of its characters came from. Plain ASCII is returned as it is, and
        normalizing twice is normalizing once.

    Example:
        >>> normalize_text("i\u200bd\u0456ot").text
        'idiot'
        >>> normalize_text("i\u200bd").origin
        (0, 2)
    """
    if text.isascii() or all(map(_is_plain, set(text))):
        return NormalizedText(text, tuple(range(len(text))))
    kept = _seen([(_plain(character), place) for place, character in enumerate(text)])
    plain = "".join(character for character, _ in kept)
    if _FOREIGN.search(plain):
        plain = _WORD.sub(lambda word: _latin(word[0]), plain)
    return NormalizedText(plain, tuple(place for _, place in kept))


def _seen(characters: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """Those characters that a reader sees, without what is stacked too high."""
    low: list[tuple[str, int]] = []
    height = 0
    for character, place in characters:
        kind = _kind(character)
        if kind == "mark":
            height += 1
        elif not kind:  # what is not seen between marks does not start a new stack
            height = 0
        if kind != "selector" and height <= HIGHEST:
            low.append((character, place))
    shown = [index for index, (character, _) in enumerate(low) if _kind(character) != "format"]
    left, right = "", (low[index][0] for index in shown)
    after = next(right, "")
    kept = []
    for character, place in low:
        if _kind(character) != "format":
            left, after = character, next(right, "")
        elif not (character in _JOINERS and _joined(character, left, after)):
            continue
        kept.append((character, place))
    return kept


def _joined(joiner: str, left: str, right: str) -> bool:
    """Whether a joiner has a meaning between these."""
    if joiner == "\u200d" and _is_emoji(left) and _is_emoji(right):
        return True
    return "\u0600" <= left <= "\u0dff" or "\u1780" <= left <= "\u18af"


def _is_emoji(character: str) -> bool:
    return "\U0001f000" <= character <= "\U0001faff" or "\u2190" <= character <= "\u2bff"


def _is_plain(character: str) -> bool:
    return character not in _TWINS and not _kind(character) and _plain(character) == character


@lru_cache(maxsize=1 << 16)
def _kind(character: str) -> str:
    """``selector`` and ``format`` are not seen, a ``mark`` stands on a letter, all else is ``""``."""
    kind = category(character)
    if "VARIATION SELECTOR" in name(character, "") or character in _EMPTY:
        return "selector"
    if kind == "Cf":
        return "format"
    return "mark" if kind == "Me" or (kind == "Mn" and combining(character)) else ""


@lru_cache(maxsize=1 << 16)
def _plain(character: str) -> str:
    """The plain letter or digit of one in another dress; any other character as it is."""
    dress = decomposition(character).partition(">")[0]
    if dress not in ("<wide", "<font", "<circle", "<square"):
        return character
    plain = normalize("NFKC", character)
    letter = len(plain) == 1 and (plain.isalpha() or (plain.isdigit() and dress in ("<wide", "<font")))
    return plain if letter and (plain.isascii() or dress == "<font") else character


def _latin(word: str) -> str:
    """A word with its look-alikes as Latin letters, if most of its other letters are Latin."""
    others = [character for character in word if character.isalpha() and character not in _TWINS]
    latin = sum(_is_latin(character) for character in others)
    if 2 * latin <= len(others):
        return word
    return "".join(_TWINS.get(character, character) for character in word)


@lru_cache(maxsize=1 << 16)
def _is_latin(character: str) -> bool:
    return name(character, "").startswith("LATIN ")
