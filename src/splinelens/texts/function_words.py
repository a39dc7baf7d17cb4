"""The function words of English, which say little about what a text is about."""

from functools import cache
from importlib.resources import files


@cache
def function_words() -> frozenset[str]:
    """Articles, pronouns, prepositions, conjunctions, auxiliaries and particles, in lower case.

    Example:
        >>> "the" in function_words(), "goose" in function_words()
        (True, False)
    """
    lines = (files("splinelens.texts") / "function_words.txt").read_text("utf-8").splitlines()
    return frozenset(word for line in lines if not line.startswith("#") for word in line.split())
