"""Tests ``detect/span_metrics.py``: the F1 of characters by hand, the best limit against all others."""

import json

import numpy as np
import pytest

from splinelens.detect.span_metrics import ScoredWords, best_limit, character_f1, evaluate_spans
from splinelens.errors import BadLabels


def words(contributions, gold=(), size=4):
    """Words of ``size`` characters with a space between them."""
    bounds = np.array([[(size + 1) * at, (size + 1) * at + size] for at in range(len(contributions))], int)
    return ScoredWords(bounds.reshape(-1, 2), np.array(contributions, dtype=float), frozenset(gold))


def sample(count, seed=0):
    """Texts of three to nine words whose marked words contribute more."""
    rng, texts = np.random.default_rng(seed), []
    for _ in range(count):
        size = rng.integers(3, 10)
        toxic = rng.random(size) < 0.3
        gold = {at for word in np.flatnonzero(toxic) for at in range(5 * word, 5 * word + 4)}
        texts.append(words(rng.normal(toxic * 1.5, 1).round(1), gold))
    return texts


def test_f1_of_characters_by_hand():
    assert character_f1({4, 5, 6, 7}, {6, 7, 8}) == 4 / 7
    assert character_f1({1}, set()) == 0.0
    assert (character_f1(set(), set()), character_f1(set(), {0})) == (1.0, 0.0)


def test_words_at_the_limit_are_marked_and_neighbors_with_what_is_between():
    assert sorted(words([1.0, 0.5, 1.0]).marked(1.0)) == [0, 1, 2, 3, 10, 11, 12, 13]
    assert sorted(words([1.0, 0.5]).marked(0.5)) == list(range(9))
    assert words([1.0, 0.5]).marked(1.1) == set()


def test_a_word_counts_as_toxic_if_more_than_half_of_it_is():
    assert words([0, 0, 0], {0, 1, 5, 6, 7, 10, 11, 12, 13}).toxic().tolist() == [False, True, True]


def test_numbers_by_hand():
    one = words([2.0, 0.1, 0.2], {0, 1, 2, 3})
    other = words([0.1, 2.0], {0, 1, 2, 3})
    found = evaluate_spans([one, None, other, words([0.0])], 1.0)
    assert (found.n, found.undetermined, found.limit) == (3, 1, 1.0)
    assert found.character_f1 == pytest.approx((1 + 0 + 1) / 3)
    assert (found.word_auc, found.word_auc_texts) == ((1 + 0) / 2, 2)
    assert (found.without_gold, found.without_mark) == (1, 1)
    assert (found.character_f1_interval, found.word_auc_interval) == (None, None)
    assert json.loads(json.dumps(found.to_dict())) == found.to_dict()
    assert evaluate_spans([words([0.5, 0.5])], 1.0).word_auc is None


def test_intervals_hold_the_means_and_depend_on_the_seed_only():
    texts = sample(120)
    found = evaluate_spans(texts, 0.8, resamples=200)
    for value, (low, high) in (
        (found.character_f1, found.character_f1_interval),
        (found.word_auc, found.word_auc_interval),
    ):
        assert low < value < high
    assert found == evaluate_spans(texts, 0.8, resamples=200)
    assert found != evaluate_spans(texts, 0.8, resamples=200, seed=1)


@pytest.mark.parametrize("seed", range(5))
def test_no_other_limit_is_better_than_the_best(seed):
    texts = sample(40, seed)
    candidates = {amount for text in texts for amount in text.contribution.tolist()} | {99.0}
    reached = {
        limit: np.mean([character_f1(text.gold, text.marked(limit)) for text in texts])
        for limit in candidates
    }
    assert reached[best_limit([None, *texts])] == pytest.approx(max(reached.values()))


def test_nothing_is_marked_where_that_is_best():
    limit = best_limit([words([1.0, 3.0])])
    assert limit > 3.0
    assert evaluate_spans([words([1.0, 3.0])], limit).character_f1 == 1.0


def test_texts_without_explanations_or_words_are_refused():
    with pytest.raises(BadLabels, match="none of the 2 texts has an explanation"):
        evaluate_spans([None, None], 1.0)
    with pytest.raises(BadLabels, match="none of the 1 texts has a word to choose a limit on"):
        best_limit([words([])])
