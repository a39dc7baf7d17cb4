"""Tests ``detect/ngram_ranking.py``: n-grams by a number at their words, contrast, deletion and overlap."""

import numpy as np
import pytest
from scipy.stats import ttest_ind

from splinelens.detect.ngram_ranking import contrast, deletion, overlap, rank_ngrams


def ranked(rows, suffix, prefix):
    """Ranks (ngram, text, value) rows."""
    ngram, text, value = zip(*rows, strict=True)
    arrays = np.array(value, dtype=float), np.array(ngram), np.array(text), np.array(suffix), np.array(prefix)
    return rank_ngrams(*arrays)


def test_a_text_counts_once_however_often_it_holds_an_ngram():
    rows = [(0, 0, 1.0), (0, 0, 3.0), (0, 1, 6.0), (1, 0, 0.0), (1, 1, 0.0)]
    assert ranked(rows, [-1, -1], [-1, -1]).mean.tolist() == [4.0, 0.0]


def test_what_is_rare_is_pulled_towards_the_mean_and_what_is_frequent_stays():
    rng = np.random.default_rng(0)
    rows = [(0, text, 3 + rng.normal()) for text in range(200)]
    rows += [(1, text, value) for text, value in ((0, 3.5), (1, 3.3))]
    rows += [(ngram, text, rng.normal()) for ngram in range(2, 30) for text in range(40)]
    found = ranked(rows, [-1] * 30, [-1] * 30)
    assert found.mean[1] > found.mean[0]
    assert found.score[0] == pytest.approx(found.mean[0], abs=0.05)
    assert found.score[1] < found.mean[1] - 0.3
    assert found.order[0] == 0


def test_shrinkage_is_the_posterior_mean_of_a_normal_model():
    # Equal counts: the estimate is James and Stein's, (1 - within / (n * spread)) of the distance.
    rng = np.random.default_rng(1)
    centers = rng.normal(0, 2, 50)
    rows = [(ngram, text, centers[ngram] + rng.normal()) for ngram in range(50) for text in range(4)]
    found = ranked(rows, [-1] * 50, [-1] * 50)
    within = np.mean([np.var([v for n, _, v in rows if n == ngram], ddof=1) for ngram in range(50)])
    spread = np.mean((found.mean - found.mean.mean()) ** 2)
    expected = found.mean.mean() + (1 - within / 4 / spread) * (found.mean - found.mean.mean())
    np.testing.assert_allclose(found.score, expected, rtol=1e-9)


def test_a_longer_ngram_stands_for_itself_only_if_it_adds_to_the_words_within_it():
    rng = np.random.default_rng(0)
    centers = {
        0: 4.0,  # fool
        1: 0.0,  # you
        2: 0.5,  # off
        3: 4.0,  # you fool: as "fool" by itself
        4: 3.0,  # fool off: high after "fool", but less than it
        5: 6.0,  # off you: higher than both
        6: 4.6,  # the fool: clearly higher than "fool", but hardly
    }
    rows = [
        (ngram, text, center + rng.normal(0, 0.2)) for ngram, center in centers.items() for text in range(30)
    ]
    found = ranked(rows, [-1, -1, -1, 0, 2, 1, 0], [-1, -1, -1, 1, 0, 2, 1])
    assert found.order[:2].tolist() == [5, 0]
    assert {3, 4, 6}.isdisjoint(found.order.tolist())


def test_without_ngrams_there_is_no_ranking():
    empty = np.zeros(0, dtype=int)
    assert rank_ngrams(np.zeros(0), empty, empty, empty, empty).order.tolist() == []


def test_contrast_compares_texts_of_one_length():
    value = np.array([5.0, 7.0, 1.0, 3.0, 100.0])
    found = contrast(value, np.array([1, 1, 0, 0, 0], dtype=bool), np.array([16, 16, 16, 16, 900]))
    assert (found.texts, found.difference, found.interval) == (2, 4.0, None)


def test_length_without_effect_is_no_contrast():
    rng = np.random.default_rng(0)
    tokens = rng.integers(4, 400, 4000)
    value = np.log2(tokens) + 0.1 * rng.normal(size=4000)
    present = rng.random(4000) < tokens / 800  # longer texts hold more n-grams
    raw = value[present].mean() - value[~present].mean()
    found = contrast(value, present, tokens)
    assert raw > 0.5
    assert abs(found.difference) < 0.06


def test_the_interval_is_that_of_welch():
    rng = np.random.default_rng(0)
    value, present = rng.normal(size=30), np.arange(30) < 8
    value[present] *= 3
    compared = contrast(value, present, np.full(30, 9))
    expected = ttest_ind(value[present], value[~present], equal_var=False).confidence_interval(0.95)
    np.testing.assert_allclose(compared.interval, expected)
    assert compared.holds is (compared.interval[0] > 0)


@pytest.mark.parametrize(("texts", "share"), [(20, 0.5), (100, 0.8), (400, 0.9), (400, 0.1)])
def test_without_an_effect_few_names_hold(texts, share):
    rng = np.random.default_rng(0)
    covers = []
    for _ in range(400):
        tokens = np.exp(rng.normal(3, 0.7, texts)).astype(int) + 1
        interval = contrast(rng.normal(size=texts), rng.random(texts) < share, tokens).interval
        if interval is not None:
            covers.append((interval[0] <= 0 <= interval[1], interval[0] > 0))
    covered, held = np.mean(covers, axis=0)
    assert len(covers) > 200
    assert covered > 0.92
    assert held < 0.05


def test_texts_without_spread_have_an_interval_of_no_width():
    present = np.arange(12) < 6
    compared = contrast(np.where(present, 2.0, 0.5), present, np.full(12, 9))
    assert (compared.difference, compared.interval) == (1.5, (1.5, 1.5))


@pytest.mark.parametrize("present", [[True] * 4, [False] * 4])
def test_without_texts_of_both_kinds_there_is_no_contrast(present):
    found = contrast(np.arange(4.0), np.array(present), np.full(4, 9))
    assert (found.difference, found.interval, found.holds) == (None, None, None)


def test_deletion_counts_texts_in_which_the_words_matter_more():
    found = deletion(np.array([3.0, 1.0, 0.5, 2.0]), np.array([1.0, 1.0, 1.0, -1.0]))
    assert (found.texts, found.larger, found.drop, found.random_drop) == (4, 0.5, 1.625, 0.5)
    assert found.interval[0] < 0.5 < found.interval[1]
    assert deletion(np.zeros(0), np.zeros(0)) is None


def test_overlap_is_of_the_first_and_symmetric():
    one, other = [*"abcdefghijkl"], [*"ldefghijabzz"]
    assert overlap(one, other) == overlap(other, one) == 0.9
    assert overlap(["a"], ["a", "b"]) == 0.5
    assert overlap([], ["a"]) is None
