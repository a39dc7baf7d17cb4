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
    """Remove words of a text, and a random run of ``size`` other words wherever that run occurs.

    Args:
        number: Index of the text.
        text: The text.
        words: Its words.
        bounds: Characters of each.
        removed: Indices of the words to remove.
        size: Words of the run, as many as the n-gram that is removed has.
        rng: Chooses the run.

    Returns:
        None if the text has no such run of other words.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> removal(7, "you fool!", ["you", "fool"], [(0, 3), (4, 8)], {1}, 1, rng)
        Removal(text=7, without='you !', random='fool!')
    """
    free = [at for at in range(len(words) - size + 1) if removed.isdisjoint(range(at, at + size))]
    if not free:
        return None
    first = int(rng.choice(free))
    run = tuple(words[first : first + size])
    others = {at + step for at in free if tuple(words[at : at + size]) == run for step in range(size)}
    shorter = (without(text, [bounds[at] for at in sorted(chosen)]) for chosen in (removed, others))
    return Removal(number, *shorter)
