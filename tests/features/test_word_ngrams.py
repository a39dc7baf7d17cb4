"""Tests ``features/word_ngrams.py`` beside counting with dictionaries."""

from collections import Counter, defaultdict

import numpy as np
import pytest

from splinelens.features.word_ngrams import word_ngrams

TEXTS = [["a", "b", "a", "b"], [], ["b", "a", "b", "c"], ["c"], ["a", "b", "c", "c", "c"]]


def slow(texts, least, longest=3):
    """For each n-gram the pairs of its last word, counted through all texts, and its text."""
    places, start = defaultdict(list), 0
    for number, words in enumerate(texts):
        for size in range(1, longest + 1):
            for at in range(len(words) - size + 1):
                places[tuple(words[at : at + size])].append((start + at + size - 1, number))
        start += len(words)
    return {words: found for words, found in places.items() if len({text for _, text in found}) >= least}


def fast(found):
    """The same of ``WordNgrams``."""
    places = defaultdict(list)
    for ngram, last, text in zip(found.ngram.tolist(), found.last.tolist(), found.text.tolist(), strict=True):
        places[found.words[ngram]].append((last, text))
    return places


def random_texts(seed=0):
    rng = np.random.default_rng(seed)
    return [rng.choice([*"abcdef"], rng.integers(0, 30)).tolist() for _ in range(60)]


@pytest.mark.parametrize("least", [1, 2, 3, 9])
@pytest.mark.parametrize("texts", [TEXTS, random_texts()], ids=["few", "many"])
def test_every_ngram_is_where_a_dictionary_finds_it(texts, least):
    found = word_ngrams(texts, least_texts=least)
    assert {words: sorted(places) for words, places in fast(found).items()} == {
        words: sorted(places) for words, places in slow(texts, least).items()
    }
    held = Counter(words for words, places in slow(texts, 1).items() for _ in {text for _, text in places})
    assert found.texts.tolist() == [held[words] for words in found.words]


def test_an_ngram_knows_the_shorter_ones_at_its_ends():
    found = word_ngrams(random_texts(), least_texts=2)
    assert max(map(len, found.words)) == 3
    for words, suffix, prefix in zip(found.words, found.suffix.tolist(), found.prefix.tolist(), strict=True):
        shorter = (None, None) if suffix < 0 else (found.words[suffix], found.words[prefix])
        assert shorter == ((words[1:], words[:-1]) if len(words) > 1 else (None, None))
    assert (np.diff(found.ngram) >= 0).all()


def test_the_ngrams_of_some_texts_are_those_of_these_texts():
    texts = random_texts(1)
    chosen = np.arange(60) % 3 == 0
    part = word_ngrams(texts).within(chosen, least_texts=4)
    emptied = [words if keep else [] for words, keep in zip(texts, chosen, strict=True)]
    starts = np.cumsum([0, *map(len, texts[:-1])]) - np.cumsum([0, *map(len, emptied[:-1])])
    alone = word_ngrams(emptied, least_texts=4)
    assert part.words == alone.words
    assert part.suffix.tolist() == alone.suffix.tolist()
    assert part.prefix.tolist() == alone.prefix.tolist()
    assert part.texts.tolist() == alone.texts.tolist()
    assert part.last.tolist() == (alone.last + starts[alone.text]).tolist()


def test_texts_with_an_ngram():
    found = word_ngrams(TEXTS)
    assert found.texts_with(found.names.index("a b")).tolist() == [0, 2, 4]
    assert found.texts_with(found.names.index("c c c")).tolist() == [4]


@pytest.mark.parametrize("texts", [[], [[]], [[], []]])
def test_without_words_there_are_no_ngrams(texts):
    found = word_ngrams(texts)
    assert (len(found), found.names, len(found.ngram)) == (0, (), 0)


def test_no_ngram_holds_an_empty_word():
    ngrams = word_ngrams([["a", "", "b", "c"], ["a", "", "b", "c"], ["", ""]])
    assert ngrams.names == ("a", "b", "c", "b c")
    assert ngrams.last.tolist() == [0, 4, 2, 6, 3, 7, 3, 7]
