"""Disguises that people use to slip past a detector, so that the recall it loses to each can be measured.

They are used for this measurement only. Each is a function of a text and a source of randomness, and gives
the same for the same seed; what was said can still be read.
"""

import random
import re
from collections.abc import Callable

from splinelens.texts.normalize import CYRILLIC

_WORD = re.compile(r"[^\W\d_]+")
_VOWELS = frozenset("aeiouAEIOU")
_LEET = dict(zip("aeiosAEIOS", "4310543105", strict=True))
_CYRILLIC = {latin: letter for letter, latin in CYRILLIC.items() if latin.isascii()}
_SPACED = 3  # one word in so many
_TIMES = 3


def leet(text: str, dice: random.Random) -> str:
    """Digits for letters: each a, e, i, o and s becomes 4, 3, 1, 0 or 5 with probability one half.

    Args:
        text: The text.
        dice: The source of randomness.

    Returns:
        The disguised text, as long as before.

    Example:
        >>> leet("nice seats", random.Random(1))
        'n1ce s34t5'
    """
    return "".join(_LEET[letter] if letter in _LEET and dice.random() < 0.5 else letter for letter in text)


def homoglyph(text: str, dice: random.Random) -> str:
    r"""Cyrillic look-alikes for all Latin letters that have one; no dice are thrown.

    Args:
        text: The text.
        dice: Not used.

    Returns:
        The disguised text, as long as before.

    Example:
        >>> homoglyph("nice", random.Random(0)).encode("unicode_escape")
        b'n\\u0456\\u0441\\u0435'
    """
    return "".join(_CYRILLIC.get(letter, letter) for letter in text)


def zero_width(text: str, dice: random.Random) -> str:
    r"""A zero-width space between all letters of each word; no dice are thrown.

    Args:
        text: The text.
        dice: Not used.

    Returns:
        The disguised text.

    Example:
        >>> zero_width("a nice", random.Random(0)).encode("unicode_escape")
        b'a n\\u200bi\\u200bc\\u200be'
    """
    return _WORD.sub(lambda word: "\u200b".join(word[0]), text)


def spacing(text: str, dice: random.Random) -> str:
    """Spaces between the letters of one word in three, drawn word by word.

    Args:
        text: The text.
        dice: The source of randomness.

    Returns:
        The disguised text.

    Example:
        >>> spacing("what a nice day", random.Random(1))
        'w h a t a n i c e day'
    """
    return _WORD.sub(lambda word: word[0] if dice.randrange(_SPACED) else " ".join(word[0]), text)


def repeated(text: str, dice: random.Random) -> str:
    """One vowel of each word, drawn among its vowels, written three times.

    Args:
        text: The text.
        dice: The source of randomness.

    Returns:
        The disguised text.

    Example:
        >>> repeated("nice day", random.Random(1))
        'niiice daaay'
    """

    def stretched(word: re.Match[str]) -> str:
        places = [place for place, letter in enumerate(word[0]) if letter in _VOWELS]
        if not places:
            return word[0]
        place = dice.choice(places)
        return word[0][:place] + _TIMES * word[0][place] + word[0][place + 1 :]

    return _WORD.sub(stretched, text)


DISGUISES: dict[str, Callable[[str, random.Random], str]] = {
    "leet": leet,
    "homoglyph": homoglyph,
    "zero_width": zero_width,
    "spacing": spacing,
    "repeated": repeated,
}
"""Every disguise by its name."""
