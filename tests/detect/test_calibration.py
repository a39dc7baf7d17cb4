"""Tests detect/calibration.py: with offsets by length a threshold keeps its false-positive rate."""

from dataclasses import replace

import numpy as np
import pytest

from splinelens.detect.artifact import Artifact
from splinelens.detect.calibration import (
    KNOTS,
    Calibration,
    calibrate,
    length_offsets,
    offsets_at,
    prior_shift,
)
from splinelens.errors import BadFeatures, BrokenArtifact


def maxima(rng, tokens):
    """The largest of as many normal numbers as a text has tokens, drawn by its quantile function."""
    from scipy.stats import norm

    return norm.ppf(rng.uniform(size=len(tokens)) ** (1 / tokens))


def test_prior_shift_is_the_ratio_of_the_odds():
    assert np.exp(prior_shift(0.5, 0.2)) == pytest.approx(1 / 4)
    assert prior_shift(0.3, 0.3) == 0
    assert prior_shift(0.3, 0.02) == pytest.approx(prior_shift(0.3, 0.5) + prior_shift(0.5, 0.02))
    shifted = Calibration(2.0, 0.5, 0.3).shifted(0.3, 0.02)
    assert shifted.intercept == 0.5 + prior_shift(0.3, 0.02)
    assert shifted.share == 0.02


def test_offsets_are_linear_in_the_logarithm_of_the_length_by_hand():
    knots = ((8, -1.0), (32, 0.0), (128, 4.0))
    assert offsets_at(knots, np.array([0, 1, 8, 16, 32, 64, 128, 9999])).tolist() == [
        *[-1.0] * 3,
        *[-0.5, 0.0, 2.0],
        *[4.0] * 2,
    ]
    calibration = Calibration(2.0, 0.5, by_length=knots)
    assert calibration.logit(np.array([3.0, 3.0]), np.array([8, 64])).tolist() == [8.5, 2.5]
    assert calibration.score(np.array([1.75]), np.array([64])) == pytest.approx(0.5)
    assert calibration.logit(np.array([3.0])).tolist() == [6.5]  # without a length


def test_a_threshold_keeps_its_rate_at_every_length():
    rng = np.random.default_rng(0)
    tokens = np.exp2(rng.uniform(2, 12, size=60_000)).astype(int)
    knots = length_offsets(maxima(rng, tokens), tokens)
    assert [tokens for tokens, _ in knots] == [*KNOTS]
    tokens = np.exp2(rng.uniform(3, 12, size=200_000)).astype(int)
    logits = maxima(rng, tokens)
    after = logits - offsets_at(knots, tokens)
    for rate, low, high in ((0.01, 0.005, 0.015), (0.05, 0.03, 0.07)):
        for numbers, held in ((logits, False), (after, True)):
            flagged = numbers >= np.quantile(numbers, 1 - rate)
            classes = [(8, 32), (32, 128), (128, 512), (512, 4096)]
            rates = [flagged[(tokens >= first) & (tokens < last)].mean() for first, last in classes]
            assert (low <= min(rates) and max(rates) <= high) == held, rates


def test_a_constant_moves_the_intercept_only():
    rng = np.random.default_rng(1)
    tokens = np.exp2(rng.uniform(2, 11, size=8000)).astype(int)
    labels = (rng.uniform(size=8000) < 0.3).astype(int)
    logits = maxima(rng, tokens) + 2 * labels
    fitted = []
    for moved in (logits, logits + 7):
        knots = length_offsets(moved[labels == 0], tokens[labels == 0])
        fitted.append(calibrate(labels, moved, tokens, knots))
    first, second = fitted
    np.testing.assert_allclose(second.by_length, first.by_length, atol=1e-9)
    assert second.slope == pytest.approx(first.slope)
    np.testing.assert_allclose(second.score(logits + 7, tokens), first.score(logits, tokens), atol=1e-6)


def test_offsets_follow_the_logits_both_ways_and_are_0_where_most_rows_are():
    rng = np.random.default_rng(2)
    tokens = np.repeat([8, 32, 128], [300, 900, 400])
    for slope in (1, -1):
        fitted = length_offsets(rng.normal(size=1600) + slope * np.log2(tokens), tokens)
        assert fitted[1] == (32, 0.0)
        assert slope * fitted[0][1] < -1 < 1 < slope * fitted[2][1]


def test_lengths_of_few_rows_have_no_knot():
    tokens = np.repeat([8, 32, 2048], [300, 300, 20])
    logits = np.random.default_rng(3).normal(size=620)
    assert [knot for knot, _ in length_offsets(logits, tokens)] == [8, 32]
    assert length_offsets(logits[:400], np.full(400, 32)) == ()
    with pytest.raises(BadFeatures, match="a logit is not finite"):
        length_offsets(logits * np.nan, tokens)


def test_a_detector_keeps_its_knots(artifact, tmp_path):
    knots = ((8, -0.5), (32, 0.0))
    longer = replace(artifact, calibrations=(replace(artifact.calibrations[0], by_length=knots),))
    assert longer.digest != artifact.digest
    longer.save(tmp_path)
    again = Artifact.load(tmp_path)
    assert again.calibrations == longer.calibrations
    logits, tokens = np.array([[0.3], [0.3]]), np.array([8, 32])
    scores = again.scores(logits, tokens)
    assert scores[0] > scores[1] == artifact.scores(logits, tokens)[1]
    assert np.array_equal(artifact.scores(logits, tokens), artifact.scores(logits, tokens[::-1]))
    with pytest.raises(TypeError, match="tokens"):  # without them its scores would be wrong
        again.scores(logits)


@pytest.mark.parametrize(
    ("knots", "message"),
    [
        (((32, 0.0), (8, 1.0)), "need rising numbers of tokens, not"),
        (((0, 0.0), (8, 1.0)), "need rising numbers of tokens, not"),
        (((8, 1.0), (32, 1e200)), "offsets by length of"),
    ],
    ids=["order", "no tokens", "huge"],
)
def test_knots_that_cannot_be_are_refused(artifact, tmp_path, knots, message):
    calibration = replace(artifact.calibrations[0], by_length=knots)
    replace(artifact, calibrations=(calibration,)).save(tmp_path)
    with pytest.raises(BrokenArtifact, match=message):
        Artifact.load(tmp_path)
