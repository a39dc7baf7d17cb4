"""Which words move a logit in a group of texts, and whose texts are often judged wrongly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from splinelens.detect.thresholds import Interval, proportion_interval

_LEAST_WRONG = 3  # texts of a word that is said to be confused


@dataclass(frozen=True)
class WordInGroup:
    """A word in some texts.

    Attributes:
        word: Its number.
        texts: Texts of the group with it.
        total: What it adds in all of them together.
    """

    word: int
    texts: int
    total: float


def words_of_group(
    word: Int[np.ndarray, " place"],
    text: Int[np.ndarray, " place"],
    added: Float[np.ndarray, " place"],
    group: Bool[np.ndarray, " text"],
    most: int,
) -> list[WordInGroup]:
    """The words that add most in a group of texts, those that add anything.

    Args:
        word: The number of the word at each place.
        text: The text of each place.
        added: What the word adds there.
        group: Which texts belong to the group.
        most: How many words.

    Example:
        >>> place = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1]), np.array([1.0, -0.5, 3.0, 4.0])
        >>> words_of_group(*place, np.array([True, False]), 5)
        [WordInGroup(word=0, texts=1, total=1.0)]
    """
    here = group[text]
    size = int(word.max(initial=-1)) + 1
    total = np.bincount(word[here], added[here], minlength=size)
    pairs = np.unique(np.stack([word[here], text[here]]), axis=1)
    texts = np.bincount(pairs[0], minlength=size)
    first = np.argsort(-total, kind="stable")[:most].tolist()
    return [WordInGroup(at, int(texts[at]), float(total[at])) for at in first if total[at] > 0]


@dataclass(frozen=True)
class ConfusedWord:
    """A word whose texts are often judged wrongly: found in one half of the texts, counted in the other.

    Attributes:
        word: Its number.
        wrong: Texts of the other half with it that are judged wrongly.
        texts: Texts of the other half with it.
        interval: 95 % interval of their share.
    """

    word: int
    wrong: int
    texts: int
    interval: Interval


def confused_words(
    holding: Sequence[Int[np.ndarray, " _"]],
    wrong: Bool[np.ndarray, " text"],
    of_class: Bool[np.ndarray, " text"],
    naming: Bool[np.ndarray, " text"],
    most: int,
) -> list[ConfusedWord]:
    """Words whose texts of a class are judged wrongly more often than its other texts.

    In the naming half the lower end of the interval of their share of wrong texts is above the share of all
    texts of the class; they are ranked by it. At least three of their texts there are wrong.

    Args:
        holding: The texts that hold each word.
        wrong: Whether a text is judged wrongly.
        of_class: Whether it belongs to the class.
        naming: Whether it belongs to the half where words are looked for.
        most: How many words.
    """
    base = float(wrong[of_class & naming].mean()) if (of_class & naming).any() else 0.0
    lowest: dict[int, float] = {}
    for word, texts in enumerate(holding):
        there = texts[of_class[texts] & naming[texts]]
        hits = int(wrong[there].sum())
        if hits >= _LEAST_WRONG:
            lowest[word] = proportion_interval(hits, len(there))[0]
    found = []
    for word in sorted((word for word in lowest if lowest[word] > base), key=lambda word: -lowest[word])[
        :most
    ]:
        there = holding[word][of_class[holding[word]] & ~naming[holding[word]]]
        if len(there):
            hits = int(wrong[there].sum())
            found.append(ConfusedWord(word, hits, len(there), proportion_interval(hits, len(there))))
    return found
