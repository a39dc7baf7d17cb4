"""N-grams that a number at words goes with, ranked on one half of a corpus and checked on the other."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Bool, Float, Int

from splinelens.detect.ngram_ranking import Contrast, NgramRanking, contrast, overlap, rank_ngrams
from splinelens.features.word_ngrams import WordNgrams, word_ngrams
from splinelens.texts.function_words import function_words

LISTED = 20
"""N-grams of a ranking that are explained one by one."""

_NAMED = 3  # n-grams in a name


@dataclass(frozen=True)
class ExplainedNgram:
    """An n-gram that a hyperplane, or the detector, goes with.

    Attributes:
        name: Its words.
        texts: Texts of the naming half that hold it.
        mean: Mean at its last word over these: of a hyperplane the margin in standard deviations over all
            words, of the detector what the word adds to the logit.
        score: The mean, pulled towards that of its last words; the ranking follows it.
        function_words: Whether all its words are function words, such as "of the".
        held_out: Texts of the other half with and without it.
    """

    name: str
    texts: int
    mean: float
    score: float
    function_words: bool
    held_out: Contrast


@dataclass(frozen=True, eq=False)
class NgramHalves:
    """The n-grams of a corpus, of the half that makes names and of the other.

    Attributes:
        every: Those that enough texts hold.
        naming: Those that enough texts of the naming half hold.
        held_out: Those that enough of the other texts hold.
        is_naming: Whether names are made from a text.
        tokens: Length of each text.
        least: How many texts are enough.
        number: Index of each n-gram in ``every``.
    """

    every: WordNgrams
    naming: WordNgrams
    held_out: WordNgrams
    is_naming: Bool[np.ndarray, " text"]
    tokens: Int[np.ndarray, " text"]
    least: int
    number: dict[str, int] = field(repr=False)

    @classmethod
    def of(
        cls,
        words: Sequence[Sequence[str]],
        is_naming: Bool[np.ndarray, " text"],
        tokens: Int[np.ndarray, " text"],
    ) -> "NgramHalves":
        """Count n-grams. Rare ones are left out: of fewer than a fiftieth of the naming texts, from 2 to 5.

        Args:
            words: The words of each text.
            is_naming: Whether names are made from it.
            tokens: Its length.
        """
        least = max(2, min(5, int(is_naming.sum()) // 50))
        every = word_ngrams(words, least_texts=least)
        naming, held_out = (every.within(half, least_texts=least) for half in (is_naming, ~is_naming))
        number = {name: index for index, name in enumerate(every.names)}
        return cls(every, naming, held_out, is_naming, tokens, least, number)

    def contrast(self, names: Iterable[str], by_text: Float[np.ndarray, " text"]) -> Contrast:
        """Held-out texts with one of some n-grams beside texts without."""
        present = np.zeros(len(by_text), dtype=bool)
        for name in names:
            if name in self.number:
                present[self.every.texts_with(self.number[name])] = True
        chosen = ~self.is_naming
        return contrast(by_text[chosen], present[chosen], self.tokens[chosen])


@dataclass(frozen=True, eq=False)
class RankedNgrams:
    """The n-grams that a number at words goes with.

    Attributes:
        names: Of the naming half, highest score first.
        ngrams: The first of these, with what the other half says of each.
        contrast: Held-out texts with one of ``named(names)`` beside texts without.
        stability: Share of the first ten that the other half names as well; None if it names none.
        by_word: The number at each word of all texts.
        by_text: The number of each text.
    """

    names: list[str]
    ngrams: tuple[ExplainedNgram, ...]
    contrast: Contrast
    stability: float | None
    by_word: Float[np.ndarray, " word"]
    by_text: Float[np.ndarray, " text"]

    @classmethod
    def of(
        cls, halves: NgramHalves, by_word: Float[np.ndarray, " word"], by_text: Float[np.ndarray, " text"]
    ) -> "RankedNgrams":
        """Rank the n-grams of both halves.

        Args:
            halves: The n-grams.
            by_word: The number at each word of all texts.
            by_text: The number of each text.
        """
        ngrams, ranking = halves.naming, _ranking(halves.naming, by_word)
        names, others = (
            [spelled[index] for index in order.tolist()]
            for spelled, order in (
                (ngrams.names, ranking.order),
                (halves.held_out.names, _ranking(halves.held_out, by_word).order),
            )
        )
        explained = tuple(
            ExplainedNgram(
                name=name,
                texts=int(ngrams.texts[index]),
                mean=float(ranking.mean[index]),
                score=float(ranking.score[index]),
                function_words=function_words().issuperset(ngrams.words[index]),
                held_out=halves.contrast([name], by_text),
            )
            for index, name in zip(ranking.order[:LISTED].tolist(), names, strict=False)
        )
        compared = halves.contrast(named(names), by_text)
        return cls(names, explained, compared, overlap(names, others), by_word, by_text)


def named(ngrams: Sequence[str]) -> list[str]:
    """The n-grams that make a name: the first three of which none holds another.

    Example:
        >>> named(["fool", "you fool", "goose", "silly goose", "toad", "newt"])
        ['fool', 'goose', 'toad']
    """
    chosen: list[str] = []
    for name in ngrams:
        words = set(name.split(" "))
        related = (words <= set(one.split(" ")) or set(one.split(" ")) <= words for one in chosen)
        if len(chosen) < _NAMED and not any(related):
            chosen.append(name)
    return chosen


def _ranking(ngrams: WordNgrams, by_word: Float[np.ndarray, " word"]) -> NgramRanking:
    """Of those above the mean of all words."""
    return rank_ngrams(
        by_word[ngrams.last], ngrams.ngram, ngrams.text, ngrams.suffix, ngrams.prefix, float(by_word.mean())
    )
