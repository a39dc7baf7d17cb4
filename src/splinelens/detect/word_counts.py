"""Which words move a logit in a group of texts, and whose texts are often judged wrongly."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from splinelens.detect.thresholds import Interval, proportion_interval

LEAST_WRONG = 3
"""Texts in each half of a word that is said to be confused."""


@dataclass(frozen=True)
class GroupWord:
    """A word that moves the logit in a group of texts.

    Attributes:
        name: The word.
        texts: Texts of the group with it.
        mean: What it adds on average to a text with it.
        per_text: What it adds on average over all texts of the group.
    """

    name: str
    texts: int
    mean: float
    per_text: float


def words_of_group(
    names: Sequence[str],
    word: Int[np.ndarray, " occurrence"],
    text: Int[np.ndarray, " occurrence"],
    added: Float[np.ndarray, " occurrence"],
    group: Bool[np.ndarray, " text"],
    most: int,
) -> list[GroupWord]:
    """The words that add most in a group of texts, those that add anything.

    Args:
        names: The words.
        word: The index of the word at each occurrence.
        text: The text of each occurrence.
        added: What the word adds there.
        group: Which texts belong to the group.
        most: How many words.

    Example:
        >>> occurrences = np.array([0, 1, 1, 0]), np.array([0, 0, 1, 1]), np.array([1.0, -0.5, 3.0, 4.0])
        >>> words_of_group(["fool", "you"], *occurrences, np.array([True, False]), 5)
        [GroupWord(name='fool', texts=1, mean=1.0, per_text=1.0)]
    """
    here, size = group[text], int(group.sum())
    total = np.bincount(word[here], added[here], minlength=len(names))
    pairs = np.unique(np.stack([word[here], text[here]]), axis=1)
    texts = np.bincount(pairs[0], minlength=len(names)).tolist()
    first = [at for at in np.argsort(-total, kind="stable")[:most].tolist() if total[at] > 0]
    return [
        GroupWord(names[at], texts[at], float(total[at] / texts[at]), float(total[at] / size)) for at in first
    ]


@dataclass(frozen=True)
class ConfusedWord:
    """A word whose texts are often judged wrongly: chosen on one half of the texts, counted on the other.

    Attributes:
        name: The word.
        wrong: Texts of the other half with it that are judged wrongly.
        texts: Texts of the other half with it.
        interval: 95 % interval of their share.
    """

    name: str
    wrong: int
    texts: int
    interval: Interval


def confused_words(
    names: Sequence[str],
    holding: Sequence[Int[np.ndarray, " _"]],
    wrong: Bool[np.ndarray, " text"],
    of_class: Bool[np.ndarray, " text"],
    naming: Bool[np.ndarray, " text"],
    most: int,
) -> list[ConfusedWord]:
    """Words whose texts of a class are judged wrongly more often than its other texts.

    In the naming half the lower end of the interval of their share of wrong texts is above the share of all
    texts of the class; they are ranked by it. At least three of their texts there are wrong. In the other
    half all this is so as well: of thousands of words some look confused by chance.

    Args:
        names: The words.
        holding: The texts that hold each of them.
        wrong: Whether a text is judged wrongly.
        of_class: Whether it belongs to the class.
        naming: Whether it belongs to the half that words are chosen on.
        most: How many words.
    """
    counts = [
        [_count(texts[of_class[texts] & half[texts]], wrong) for texts in holding]
        for half in (naming, ~naming)
    ]
    bases = [_mean(wrong[of_class & half]) for half in (naming, ~naming)]
    lowest: dict[int, float] = {}
    for word, halves in enumerate(zip(*counts, strict=True)):
        if all(hits >= LEAST_WRONG for hits, _ in halves):
            lower = [proportion_interval(*count)[0] for count in halves]
            if all(end > base for end, base in zip(lower, bases, strict=True)):
                lowest[word] = lower[0]
    ranked = sorted(lowest, key=lambda word: -lowest[word])[:most]
    return [
        ConfusedWord(names[word], *counts[1][word], proportion_interval(*counts[1][word])) for word in ranked
    ]


def _count(texts: Int[np.ndarray, " _"], wrong: Bool[np.ndarray, " text"]) -> tuple[int, int]:
    """How many of some texts are wrong, and how many there are."""
    return int(wrong[texts].sum()), len(texts)


def _mean(wrong: Bool[np.ndarray, " _"]) -> float:
    return float(wrong.mean()) if len(wrong) else 0.0
