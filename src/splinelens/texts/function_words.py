"""The function words of English, which say little about what a text is about, but that it is English."""

from collections.abc import Sequence
from functools import cache
from importlib.resources import files

_LEAST_WORDS, _LEAST_SHARE = 6, 0.08  # of shorter sentences nothing is said; English ones have about half


@cache
def function_words() -> frozenset[str]:
    """Articles, pronouns, prepositions, conjunctions, auxiliaries and particles, in lower case.

    Example:
        >>> "the" in function_words(), "goose" in function_words()
        (True, False)
    """
    lines = (files("splinelens.texts") / "function_words.txt").read_text("utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())


def looks_english(words: Sequence[str]) -> bool:
    """Whether words may be English: not if most have letters of another script, or hardly any is common.

    A rule of thumb that was not measured: it marks what is clearly not English.

    Example:
        >>> looks_english("le chien mord souvent le voisin".split())
        False
    """
    written = [word.lower() for word in words if any(character.isalpha() for character in word)]
    foreign = sum(
        any(ord(character) > 0x24F and character.isalpha() for character in word) for word in written
    )
    if 2 * foreign > len(written):
        return False
    common = sum(word in function_words() for word in written)
    return len(written) < _LEAST_WORDS or common / len(written) >= _LEAST_SHARE
