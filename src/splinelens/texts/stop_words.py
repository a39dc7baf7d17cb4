"""The function words of English, which say little about what a text is about."""

from functools import cache
from importlib.resources import files


@cache
def stop_words() -> frozenset[str]:
    """Articles, pronouns, prepositions, conjunctions, auxiliaries and particles, in lower case.

    Example:
        >>> "the" in stop_words(), "goose" in stop_words()
        (True, False)
    """
    lines = (files("splinelens.texts") / "stop_words.txt").read_text("utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())
