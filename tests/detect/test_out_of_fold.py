"""Tests ``detect/out_of_fold.py``: scores of text only, of heads and of sums, on rows that are held out."""

import numpy as np

from splinelens.detect.out_of_fold import (
    auc_parts,
    best_ratio,
    head_scores,
    likelihood_scores,
    mean_auc,
    summed_scores,
    text_only_scores,
)

LABELS = np.tile([0, 1], 60)
FOLD = np.repeat([0, 1, 2], 40)


def _noise(seed, *shape):
    return np.random.default_rng(seed).normal(size=shape)


def test_an_auc_is_the_mean_of_those_within_groups():
    scores = np.where(FOLD == 0, LABELS, -LABELS) + 100.0 * FOLD
    assert mean_auc(LABELS, scores, FOLD) == 1 / 3
    assert sorted(auc_parts(LABELS, FOLD)) == [0, 1, 2]


def test_groups_with_few_rows_of_a_class_have_no_auc_of_their_own():
    rare = FOLD.copy()
    rare[:6] = 3
    assert sorted(auc_parts(LABELS, rare)) == [0, 1, 2]
    assert list(auc_parts(LABELS, np.arange(120) // 2)) == [None]
    assert auc_parts(LABELS, None)[None].tolist() == list(range(120))


def test_words_that_give_the_label_away_are_seen_without_a_model():
    texts = [f"row {row} is {'so' if label else 'not so'}" for row, label in enumerate(LABELS)]
    scores = text_only_scores(texts, np.full(120, 5.0), LABELS, FOLD)
    assert list(scores) == ["length", "TF-IDF of words", "TF-IDF of characters"]
    assert mean_auc(LABELS, scores["length"], FOLD) == 0.5
    assert mean_auc(LABELS, scores["TF-IDF of words"], FOLD) == 1.0


def test_heads_find_what_is_planted_and_nothing_in_noise():
    planted = _noise(0, 120, 30)
    planted[:, 0] += 4 * LABELS
    assert mean_auc(LABELS, head_scores(planted, LABELS, FOLD), FOLD) > 0.9
    assert mean_auc(LABELS, likelihood_scores(planted, LABELS, FOLD), FOLD) > 0.9
    assert 0.3 < mean_auc(LABELS, head_scores(_noise(1, 120, 30), LABELS, FOLD), FOLD) < 0.7


def test_what_differs_between_folds_only_is_nothing_to_a_head_on_log_probabilities():
    profiles = 50.0 * FOLD[:, None] + _noise(2, 120, 3)
    profiles[:, 1] += 3 * LABELS
    assert mean_auc(LABELS, likelihood_scores(profiles, LABELS, FOLD), FOLD) > 0.9


def test_a_sum_weighs_noise_least_and_does_not_see_the_fold_that_it_scores():
    good, noise = LABELS + 0.5 * _noise(3, 120), _noise(4, 120)
    spread = np.std(good) / np.std(noise)
    assert best_ratio(good, noise, LABELS, FOLD) < 0.5 * spread
    first = summed_scores(good, noise, LABELS, FOLD)
    flipped = np.where(FOLD == 0, 1 - LABELS, LABELS)
    assert np.array_equal(first[FOLD == 0], summed_scores(good, noise, flipped, FOLD)[FOLD == 0])
