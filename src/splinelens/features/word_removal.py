"""Texts without some of their words, and without as many random other ones to compare with."""

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from splinelens.features.word_corpus import WordCorpus
from splinelens.features.word_ngrams import WordNgrams
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


def without_ngrams(
    corpus: WordCorpus,
    ngrams: WordNgrams,
    chosen: Sequence[int],
    texts: Iterable[int],
    rng: np.random.Generator,
    most: int,
) -> list[Removal]:
    """Texts without the first of some n-grams that each holds, wherever it occurs.

    Args:
        corpus: The texts.
        ngrams: Of the corpus.
        chosen: Indices of the n-grams, the first of which is removed.
        texts: Those to take, in order; one without any of the n-grams is skipped.
        rng: Chooses the random other words.
        most: How many texts.
    """
    holding = [{*ngrams.texts_with(ngram).tolist()} for ngram in chosen]
    removals: list[Removal] = []
    for text in texts:
        first = next((ngram for ngram, held in zip(chosen, holding, strict=True) if text in held), None)
        if first is None:
            continue
        size, where = len(ngrams.words[first]), ngrams.occurrences(first)
        last = ngrams.last[where][ngrams.text[where] == text] - corpus.start[text]
        removed = {word - step for word in last.tolist() for step in range(size)}
        if one := _removal(corpus, text, removed, size, rng):
            removals.append(one)
        if len(removals) == most:
            break
    return removals


def without_top_word(
    corpus: WordCorpus,
    added: Float[np.ndarray, " word"],
    texts: Iterable[int],
    rng: np.random.Generator,
    most: int,
) -> list[Removal]:
    """Texts without the word that adds most, wherever it occurs; the arguments are as above.

    Args:
        corpus: The texts.
        added: What each word of the corpus adds.
        texts: Those to take, in order.
        rng: Chooses the random other words.
        most: How many texts.
    """
    removals: list[Removal] = []
    for text in texts:
        keys = corpus.words[text].keys
        amounts = added[corpus.start[text] :][: len(keys)].tolist()
        top = max(zip(amounts, keys, strict=True), key=lambda pair: (pair[1] != "", pair[0]))[1]
        removed = {at for at, key in enumerate(keys) if key == top}
        if top and (one := _removal(corpus, text, removed, 1, rng)):
            removals.append(one)
        if len(removals) == most:
            break
    return removals


def _removal(
    corpus: WordCorpus, text: int, removed: Set[int], size: int, rng: np.random.Generator
) -> Removal | None:
    """The text without some words, and without random runs of ``size`` others.

    So many runs that as many words are removed, or all there are; None if there is none.
    """
    keys, bounds = corpus.words[text].keys, corpus.words[text].bounds
    free = [
        first
        for first in range(len(keys) - size + 1)
        if all(keys[first : first + size]) and removed.isdisjoint(range(first, first + size))
    ]
    others: set[int] = set()
    for first in rng.permutation(free).tolist():
        run = range(first, first + size)
        if len(others) < len(removed) and others.isdisjoint(run):
            others.update(run)
    if not others:
        return None
    shorter = (
        without(corpus.texts[text], [bounds[at] for at in sorted(chosen)]) for chosen in (removed, others)
    )
    return Removal(text, *shorter)
