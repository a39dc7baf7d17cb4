"""Tests apps/cascade.py: the band on a calibration set, verdicts within a budget, and judges that fail."""

import numpy as np
import pytest

from splinelens.apps.cascade import Cascade
from splinelens.errors import BadFeatures, BadLabels


def test_the_band_is_where_the_detector_errs_by_hand():
    scores = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    labels = [0, 0, 0, 1, 0, 0, 1, 1, 1, 1]
    cascade = Cascade.fit(scores, labels, 0.3)
    assert cascade == Cascade(0.4, 0.7, 0.7, 0.3)
    assert [cascade.decide(score) for score in (0.3, 0.4, 0.69, 0.7)] == [
        "negative",
        "defer",
        "defer",
        "positive",
    ]
    assert (
        Cascade.fit(scores, labels, 0.2).low == Cascade.fit(scores, labels, 0.2).high
    )  # the error is too far
    assert Cascade.fit(scores, labels, 0.3, judge_error=0.4).high == 0.7
    assert Cascade.fit(scores, labels, 0.3, judge_error=0.4).low == 0.7
    assert Cascade.fit(scores, labels, 0.3, threshold=0.45) == Cascade(0.4, 0.7, 0.45, 0.3)


def test_no_other_band_of_the_same_share_has_more_errors():
    rng = np.random.default_rng(0)
    for share in (0.05, 0.1, 0.3, 1.0):
        labels = rng.integers(0, 2, 60)
        scores = np.clip(np.round(rng.normal(0.35 + 0.3 * labels, 0.2), 2), 0, 1)
        cascade = Cascade.fit(scores, labels, share)
        inside = (scores >= cascade.low) & (scores < cascade.high)
        assert inside.mean() <= share
        wrong = (scores >= cascade.threshold) != labels
        edges = [*np.unique(scores), np.inf]
        bands = [
            (scores >= low) & (scores < high)
            for low in edges
            for high in edges
            if low <= cascade.threshold <= high
        ]
        assert wrong[inside].sum() == max(wrong[band].sum() for band in bands if band.mean() <= share)


def test_the_verdict_of_the_detector_stands_where_the_judge_fails_or_the_budget_is_spent():
    cascade = Cascade(0.2, 0.8, 0.5, share=0.5)
    scores, texts = [0.1, 0.3, 0.6, 0.9, 0.7, None], list("abcdef")
    asked = []

    def judge(texts):
        asked.extend(texts)
        return [1.0, None, 0.2]

    result = cascade.resolve(scores, texts, judge)
    assert asked == ["b", "c", "e"]
    assert result.verdicts == ("negative", "positive", "positive", "positive", "negative", "undetermined")
    assert (result.judged, result.failed, result.over_budget) == ((1, 4), 1, 0)
    smaller = Cascade(0.2, 0.8, 0.5, share=0.17).resolve(scores, texts, lambda texts: [1.0])
    assert (smaller.judged, smaller.over_budget) == ((1,), 2)
    alone = ("negative", "negative", "positive", "positive", "positive", "undetermined")
    for broken in (lambda texts: 1 / 0, lambda texts: [0.1], lambda texts: [float("nan"), 7.0, None]):
        result = cascade.resolve(scores, texts, broken)
        assert (result.verdicts, result.failed) == (alone, 3)


def test_a_band_that_cannot_be_is_refused():
    with pytest.raises(BadFeatures, match=r"threshold 0\.9 is not from"):
        Cascade(0.1, 0.8, 0.9, 0.1)
    with pytest.raises(BadFeatures, match="give a share"):
        Cascade.fit([0.1], [0], 10)
    with pytest.raises(BadLabels, match="give at least one score"):
        Cascade.fit([], [], 0.1)
    with pytest.raises(BadFeatures, match="without a verdict"):
        Cascade.fit([np.nan], [0], 0.1)
