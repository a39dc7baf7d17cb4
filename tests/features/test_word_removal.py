"""Tests ``features/word_removal.py``: what is removed, and how much at random."""

import numpy as np
import pytest

from splinelens.features.word_removal import removal

TEXT = "a b a b c d !! e"
WORDS = ["a", "b", "a", "b", "c", "d", "", "e"]
BOUNDS = [(at, at + 1) for at in range(0, 12, 2)] + [(12, 14), (15, 16)]


@pytest.mark.parametrize("seed", range(8))
def test_as_many_other_words_are_removed(seed):
    one = removal(3, TEXT, WORDS, BOUNDS, {0, 2}, 1, np.random.default_rng(seed))
    assert (one.text, one.without) == (3, "b b c d !! e")
    left = one.random.split()
    assert len(left) == len(WORDS) - 2
    assert left.count("a") == 2
    assert "!!" in left


def test_runs_of_an_ngram_are_removed_beside_runs():
    one = removal(0, TEXT, WORDS, BOUNDS, {0, 1, 2, 3}, 2, np.random.default_rng(0))
    assert one.without == "c d !! e"
    assert one.random == "a b a b !! e"  # the only other run of two words


def test_without_other_words_there_is_nothing_to_compare():
    assert removal(0, "a !!", ["a", ""], [(0, 1), (2, 4)], {0}, 1, np.random.default_rng(0)) is None


def test_random_words_differ_by_seed():
    texts = {
        removal(0, TEXT, WORDS, BOUNDS, {0}, 1, np.random.default_rng(seed)).random for seed in range(20)
    }
    assert len(texts) == 6
