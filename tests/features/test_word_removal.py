"""Tests ``features/word_removal.py``: what is removed, and how much at random."""

import numpy as np
import pytest

from splinelens.features.word_corpus import TextWords, WordCorpus
from splinelens.features.word_ngrams import word_ngrams
from splinelens.features.word_removal import without_ngrams, without_top_word

TEXTS = ["a b a b c d !! e", "c a", "!! ==", "b a b"]


def words_of(text):
    """Its words; marks are none."""
    bounds, start = [], 0
    for part in text.split():
        bounds.append((start, start + len(part)))
        start += len(part) + 1
    keys = tuple(part if part.isalpha() else "" for part in text.split())
    return TextWords(keys, tuple(bounds), tuple(range(len(keys))))


@pytest.fixture
def corpus():
    return WordCorpus.of(TEXTS, [words_of(text) for text in TEXTS])


def added(**amounts):
    """What each word adds, by its letter."""
    return np.array(
        [amounts.get(word, 9.0 if not word.isalpha() else 0.0) for word in " ".join(TEXTS).split()]
    )


@pytest.mark.parametrize("seed", range(8))
def test_as_many_other_words_are_removed(corpus, seed):
    (one,) = without_top_word(corpus, added(a=2.0, b=1.0), [0], np.random.default_rng(seed), 5)
    assert (one.text, one.without) == (0, "b b c d !! e")
    left = one.random.split()
    assert len(left) == len(TEXTS[0].split()) - 2
    assert left.count("a") == 2
    assert "!!" in left


def test_texts_without_words_or_others_are_skipped_and_so_many_are_taken(corpus):
    rng = np.random.default_rng(0)
    both = without_top_word(corpus, added(c=1.0, b=2.0), [2, 1, 3], rng, 5)
    assert [(one.text, one.without, one.random) for one in both] == [(1, "a", "c"), (3, "a", "b b")]
    assert len(without_top_word(corpus, added(c=1.0), [1, 3], rng, 1)) == 1


def test_the_first_ngram_that_a_text_holds_is_removed_everywhere(corpus):
    ngrams = word_ngrams([one.keys for one in corpus.words])
    chosen = [ngrams.names.index("a b"), ngrams.names.index("c")]
    rng = np.random.default_rng(0)
    first, second = without_ngrams(corpus, ngrams, chosen, [0, 1, 2], rng, 5)
    assert (first.text, first.without) == (0, "c d !! e")
    assert first.random == "a b a b !! e"  # the only other run of two words
    assert (second.text, second.without, second.random) == (1, "a", "c")


def test_overlapping_occurrences_are_removed_together():
    text = "b a b a b c d e !!"
    corpus = WordCorpus.of([text], [words_of(text)])
    ngrams = word_ngrams([one.keys for one in corpus.words])
    (one,) = without_ngrams(corpus, ngrams, [ngrams.names.index("b a b")], [0], np.random.default_rng(0), 5)
    assert (one.without, one.random) == ("c d e !!", "b a b a b !!")


def test_random_words_differ_by_seed(corpus):
    rngs = map(np.random.default_rng, range(30))
    texts = {without_top_word(corpus, added(e=1.0), [0], rng, 1)[0].random for rng in rngs}
    assert len(texts) == 6
