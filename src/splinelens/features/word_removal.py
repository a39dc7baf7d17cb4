"""A text without some of its words, and without as many random other ones to compare with."""

from collections.abc import Sequence, Set
from dataclasses import dataclass

import numpy as np

from splinelens.texts.removal import without


@dataclass(frozen=True)
class Removal:
    """Two shorter versions of a text.

    Attributes:
        text: Index of the text.
        without: The text without some words.
        random: The text without as many random other words.
    """

    text: int
    without: str
    random: str


def removal(
    number: int,
    text: str,
    words: Sequence[str],
    bounds: Sequence[tuple[int, int]],
    removed: Set[int],
    size: int,
    rng: np.random.Generator,
) -> Removal | None:
    """Remove words of a text, and from another copy random runs of other words.

    Args:
        number: Index of the text.
        text: The text.
        words: Its words; empty ones are no words, and are not removed.
        bounds: Characters of each.
        removed: Indices of the words to remove.
        size: Words of each run, as many as the n-gram has that is removed.
        rng: Chooses the runs: so many that as many words are removed, or all there are.

    Returns:
        None if the text has no such run of other words.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> removal(7, "you fool!", ["you", "fool"], [(0, 3), (4, 8)], {1}, 1, rng)
        Removal(text=7, without='you !', random='fool!')
    """
    free = [
        first
        for first in range(len(words) - size + 1)
        if all(words[first : first + size]) and removed.isdisjoint(range(first, first + size))
    ]
    others: set[int] = set()
    for first in rng.permutation(free).tolist():
        run = range(first, first + size)
        if len(others) < len(removed) and others.isdisjoint(run):
            others.update(run)
    if not others:
        return None
    shorter = (without(text, [bounds[at] for at in sorted(chosen)]) for chosen in (removed, others))
    return Removal(number, *shorter)
