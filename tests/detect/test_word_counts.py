"""Tests ``detect/word_counts.py``: words by group, and words whose texts are judged wrongly."""

import numpy as np

from splinelens.detect.thresholds import proportion_interval
from splinelens.detect.word_counts import confused_words, words_of_group


def test_a_words_total_is_over_the_texts_of_the_group():
    rng = np.random.default_rng(0)
    word, text, added = rng.integers(0, 6, 200), rng.integers(0, 20, 200), rng.normal(size=200)
    group = np.arange(20) < 9
    listed = {one.name: one for one in words_of_group("abcdef", word, text, added, group, 6)}
    for number, name in enumerate("abcdef"):
        here = (word == number) & group[text]
        total = added[here].sum()
        assert (name in listed) == (total > 0)
        if total > 0:
            assert listed[name].texts == len(set(text[here]))
            assert np.isclose(listed[name].mean, total / listed[name].texts)
            assert np.isclose(listed[name].per_text, total / 9)


def test_an_empty_group_has_no_words():
    one = np.array([0]), np.array([0]), np.array([1.0])
    assert words_of_group(["fool"], *one, np.array([False]), 3) == []
    nothing = np.zeros(0, dtype=int), np.zeros(0, dtype=int), np.zeros(0)
    assert words_of_group([], *nothing, np.array([True]), 3) == []


def test_confused_words_are_chosen_on_one_half_and_counted_on_the_other():
    naming = np.arange(100) % 2 == 0
    of_class = np.arange(100) < 90
    wrong = np.zeros(100, dtype=bool)
    bad = np.arange(0, 20)  # of ten naming texts all are wrong, of ten others six
    wrong[bad[naming[bad]]] = True
    wrong[bad[~naming[bad]][:6]] = True
    few = np.array([40, 42, 44, 46])  # two wrong texts are not enough
    wrong[few[:2]] = True
    chance = np.arange(60, 70)  # all wrong in one half, none in the other
    wrong[chance[naming[chance]]] = True
    outside = np.arange(90, 100)  # wrong, but of the other class
    wrong[outside] = True
    fine = np.arange(50, 80)
    names = ["fine", "bad", "few", "outside", "chance"]
    (word,) = confused_words(names, [fine, bad, few, outside, chance], wrong, of_class, naming, 5)
    assert (word.name, word.wrong, word.texts) == ("bad", 6, 10)
    assert word.interval == proportion_interval(6, 10)


def test_without_a_text_of_the_class_nothing_is_confused():
    none = np.zeros(6, dtype=bool)
    assert confused_words(["fool"], [np.arange(6)], ~none, none, np.arange(6) < 3, 5) == []
