"""Tests ``detect/monotone.py``: the map, where it reaches a score, and its errors out of fold."""

import numpy as np
import pytest

from splinelens.detect.monotone import MonotoneMap, fit_monotone, map_errors, mapped_out_of_fold


@pytest.fixture
def noisy():
    """Scores, and targets that are their square plus noise."""
    rng = np.random.default_rng(0)
    scores = rng.uniform(size=2000)
    return scores, np.clip(scores**2 + 0.05 * rng.normal(size=2000), 0, 1)


def test_a_map_never_falls_and_is_near_the_function_behind_the_targets(noisy):
    fitted = fit_monotone(*noisy)
    grid = np.linspace(0.05, 0.95, 19)
    assert (np.diff(fitted.x) > 0).all()
    assert (np.diff(fitted.y) >= 0).all()
    assert np.abs(fitted.at(grid) - grid**2).max() < 0.04


def test_any_rising_change_of_the_scores_leaves_the_mapped_rows_unchanged(noisy):
    scores, targets = noisy
    logits = np.log(scores / (1 - scores))
    mapped = fit_monotone(scores, targets).at(scores)
    np.testing.assert_allclose(fit_monotone(logits, targets).at(logits), mapped, atol=1e-12)


@pytest.mark.parametrize("target", [0.0, 0.2, 0.5, 0.75, 1.0])
def test_the_lowest_score_that_reaches_a_target_is_mapped_to_it(target):
    fitted = MonotoneMap((0.1, 0.2, 0.4, 0.6, 0.9), (0.1, 0.5, 0.5, 0.7, 1.0))
    score = fitted.reaches(target)
    assert fitted.at(score) == pytest.approx(max(target, 0.1))
    assert score == 0 or fitted.at(score - 1e-6) < target


def test_a_target_above_the_map_is_never_reached():
    assert MonotoneMap((0.0, 1.0), (0.0, 0.5)).reaches(0.6) is None


def test_a_row_is_mapped_without_its_group():
    scores = np.linspace(0, 1, 80)
    groups = np.arange(80) // 2
    changed = np.where(groups == 20, 0.0, scores)
    before, after = (mapped_out_of_fold(scores, targets, groups) for targets in (scores, changed))
    assert before[40:42].tolist() == after[40:42].tolist()
    assert not np.array_equal(before, after)


def test_errors_by_hand():
    scores, targets = np.array([0.2, 0.6, 0.8]), np.array([0.1, 0.4, 0.9])
    mapped = np.array([0.1, 0.6, 0.9])
    errors = map_errors(scores, targets, mapped, MonotoneMap((0.0, 1.0), (0.0, 1.0)), (0.5,))
    assert errors.mean_absolute_before == pytest.approx(0.4 / 3)
    assert errors.mean_absolute_after == pytest.approx(0.2 / 3)
    assert errors.root_mean_squared_before == pytest.approx(np.sqrt(0.06 / 3))
    assert errors.root_mean_squared_after == pytest.approx(np.sqrt(0.04 / 3))
    assert errors.rank_correlation == pytest.approx(1)
    (one,) = errors.agreement
    assert (one.target, one.before, one.after, one.score) == (1, 2, 2, 0.5)
    assert one.agreement_before == one.agreement_after == pytest.approx(2 / 3)
