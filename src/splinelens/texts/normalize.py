"""Normalization of disguised characters, and the disguises that its benefit is measured with.

A reader does not see a zero-width space, and takes a Cyrillic letter inside an English word for the Latin
one of the same shape; a tokenizer is derailed by both. ``normalize_text`` maps them to plain characters and
keeps the position of each in the text as written; text in its usual script is left unchanged.
"""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from unicodedata import category, combining, decomposition, name, normalize

MAX_MARKS = 2
"""Most combining marks kept on one letter: Vietnamese needs two, and higher stacks hide words."""

_CYRILLIC = ("аеорсухіјѕԁԛԝһӏѵёїАВЕКМНОРСТУХІЈЅԚԜԌӀЁЇ", "aeopcyxijsdqwhlvëïABEKMHOPCTYXIJSQWGIËÏ")
_GREEK = ("αεηικνορτυχωγϲϳΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "aenikvoptuxwycjABEZHIKMNOPTYX")
CYRILLIC = dict(zip(*_CYRILLIC, strict=True))
GREEK = dict(zip(*_GREEK, strict=True))
"""Letters that look like a Latin one in most typefaces, and that one."""

_LOOK_ALIKES = CYRILLIC | GREEK
_CYRILLIC_OR_GREEK = re.compile("[\u0370-\u052f]")
_WORD_WITH_MARKS = re.compile("(?:[^\\W_]|[\u0300-\u036f])+")
_LETTERS = re.compile(r"[^\W\d_]+")
_VOWELS = frozenset("aeiouAEIOU")
_LEET = dict(zip("aeiosAEIOS", "4310543105", strict=True))
_FROM_LATIN = {latin: letter for letter, latin in CYRILLIC.items() if latin.isascii()}
_JOINERS = "\u200c\u200d"
_EMPTY = "\u034f\u3164\uffa0"  # invisible, though not of the category of format characters


@dataclass(frozen=True)
class NormalizedText:
    """A normalized text; ``origin`` is the position of each character in the original, never decreasing."""

    text: str
    origin: tuple[int, ...]

    def span(self, begin: int, end: int) -> tuple[int, int]:
        r"""The span of the original text that the characters ``begin`` to ``end`` came from.

        An empty span stays empty.

        Example:
            >>> normalize_text("a\u200bb c").span(0, 2)
            (0, 3)
        """
        if begin < end:
            return self.origin[begin], self.origin[end - 1] + 1
        position = self.origin[begin] if begin < len(self.origin) else (self.origin or (-1,))[-1] + 1
        return position, position


def normalize_text(text: str) -> NormalizedText:
    r"""Map the disguised characters of a text to plain ones.

    Removed are format characters such as the zero-width space (joiners stay between emoji, and after letters
    of the scripts of West and South Asia, which spell with them), variation selectors, empty fillers, and
    combining marks above ``MAX_MARKS`` on one letter. Fullwidth, mathematical, circled and squared letters
    become plain ones. Cyrillic and Greek look-alikes become Latin letters in words whose other letters are
    mostly Latin; a word that is wholly Cyrillic or Greek stays. ASCII stays as it is, and normalizing twice
    is the same as once.

    Example:
        >>> normalize_text("i\u200bd\u0456ot").text
        'idiot'
        >>> normalize_text("i\u200bd").origin
        (0, 2)
    """
    if text.isascii() or all(map(_is_plain, set(text))):
        return NormalizedText(text, tuple(range(len(text))))
    kept = _visible([(_plain(character), position) for position, character in enumerate(text)])
    plain = "".join(character for character, _ in kept)
    if _CYRILLIC_OR_GREEK.search(plain):
        plain = _WORD_WITH_MARKS.sub(lambda word: _latin(word[0]), plain)
    return NormalizedText(plain, tuple(position for _, position in kept))


def leet(text: str, rng: random.Random) -> str:
    """Replace each a, e, i, o and s by 4, 3, 1, 0 or 5 with probability one half."""
    return "".join(_LEET[letter] if letter in _LEET and rng.random() < 0.5 else letter for letter in text)


def homoglyph(text: str, rng: random.Random) -> str:
    """Replace all Latin letters that have a Cyrillic look-alike by it; ``rng`` is not used."""
    return "".join(_FROM_LATIN.get(letter, letter) for letter in text)


def zero_width(text: str, rng: random.Random) -> str:
    """Put a zero-width space between all letters of each word; ``rng`` is not used."""
    return _LETTERS.sub(lambda word: "\u200b".join(word[0]), text)


def spacing(text: str, rng: random.Random) -> str:
    """Put spaces between the letters of each word with probability one third."""
    return _LETTERS.sub(lambda word: word[0] if rng.randrange(3) else " ".join(word[0]), text)


def repeated(text: str, rng: random.Random) -> str:
    """Write one random vowel of each word three times.

    Example:
        >>> repeated("nice day", random.Random(1))
        'niiice daaay'
    """

    def repeat_vowel(word: re.Match[str]) -> str:
        vowels = [position for position, letter in enumerate(word[0]) if letter in _VOWELS]
        if not vowels:
            return word[0]
        chosen = rng.choice(vowels)
        return word[0][:chosen] + 3 * word[0][chosen] + word[0][chosen + 1 :]

    return _LETTERS.sub(repeat_vowel, text)


DISGUISES: dict[str, Callable[[str, random.Random], str]] = {
    "leet": leet,
    "homoglyph": homoglyph,
    "zero_width": zero_width,
    "spacing": spacing,
    "repeated": repeated,
}
"""Ways to evade a detector, by name; each is readable and depends on the text and seed only."""


def _visible(characters: list[tuple[str, int]]) -> list[tuple[str, int]]:
    """The characters that a reader sees, without marks stacked too high."""
    low: list[tuple[str, int]] = []
    height = 0
    for character, position in characters:
        kind = _kind(character)
        if kind == "mark":
            height += 1
        elif not kind:  # an invisible character between marks does not start a new stack
            height = 0
        if kind != "selector" and height <= MAX_MARKS:
            low.append((character, position))
    visible = iter([character for character, _ in low if _kind(character) != "format"])
    previous, following = "", next(visible, "")
    kept = []
    for character, position in low:
        if _kind(character) != "format":
            previous, following = character, next(visible, "")
        elif not (character in _JOINERS and _is_joined(character, previous, following)):
            continue
        kept.append((character, position))
    return kept


def _is_joined(joiner: str, previous: str, following: str) -> bool:
    """Whether a joiner has a meaning between these characters."""
    if joiner == "\u200d" and _is_emoji(previous) and _is_emoji(following):
        return True
    return "\u0600" <= previous <= "\u0dff" or "\u1780" <= previous <= "\u18af"


def _is_emoji(character: str) -> bool:
    return "\U0001f000" <= character <= "\U0001faff" or "\u2190" <= character <= "\u2bff"


def _is_plain(character: str) -> bool:
    return character not in _LOOK_ALIKES and not _kind(character) and _plain(character) == character


@lru_cache(maxsize=1 << 16)
def _kind(character: str) -> str:
    """``selector`` and ``format`` are invisible, a ``mark`` combines with a letter, all else is ``""``."""
    kind = category(character)
    if "VARIATION SELECTOR" in name(character, "") or character in _EMPTY:
        return "selector"
    if kind == "Cf":
        return "format"
    return "mark" if kind == "Me" or (kind == "Mn" and combining(character)) else ""


@lru_cache(maxsize=1 << 16)
def _plain(character: str) -> str:
    """The plain form of a styled letter or digit; any other character unchanged."""
    style = decomposition(character).partition(">")[0]
    if style not in ("<wide", "<font", "<circle", "<square"):
        return character
    plain = normalize("NFKC", character)
    letter = len(plain) == 1 and (plain.isalpha() or (plain.isdigit() and style in ("<wide", "<font")))
    return plain if letter and (plain.isascii() or style == "<font") else character


def _latin(word: str) -> str:
    """A word with its look-alikes as Latin letters, if most of its other letters are Latin."""
    others = [character for character in word if character.isalpha() and character not in _LOOK_ALIKES]
    latin = sum(_is_latin(character) for character in others)
    if 2 * latin <= len(others):
        return word
    return "".join(_LOOK_ALIKES.get(character, character) for character in word)


@lru_cache(maxsize=1 << 16)
def _is_latin(character: str) -> bool:
    return name(character, "").startswith("LATIN ")
