"""Tests detection/score_cache.py: scores are the detector's, read once, and a stopped run continues."""

import numpy as np
import pytest
from detection.score_cache import are_cached, read_scores

from splinelens.apps.detector import Detector
from splinelens.features.spec import FeatureSpec
from splinelens.texts import Texts


@pytest.fixture
def detector(fitted, halves):
    return fitted(FeatureSpec(("margin_max",), max_tokens=64), halves[0])


@pytest.fixture
def texts(halves, data):
    return Texts((*halves[1].texts(data), "", "a quiet river"), {}, "rows")


def test_scores_are_those_of_the_detector_and_the_second_time_are_only_read(detector, texts, tmp_path):
    assert not are_cached(detector, texts, tmp_path)
    done: list[int] = []
    first = read_scores(detector, texts, tmp_path, done.append)
    known, tokens, _ = detector.label_scores(texts)
    assert np.array_equal(first.scores, known, equal_nan=True)
    assert np.isnan(first.scores[-2, 0])
    assert np.array_equal(first.tokens, tokens)
    assert done[-1] == len(texts)
    assert are_cached(detector, texts, tmp_path)
    again = read_scores(detector, texts, tmp_path, done.append)
    assert np.array_equal(again.scores, known, equal_nan=True)
    assert done[-1:] == done  # nothing was scored again


def test_a_stopped_run_continues_where_it_was(detector, texts, tmp_path):
    small = Detector(detector.artifact, detector.reader)
    many = Texts(texts.texts * (1 + 2 * small.reader.chunk // len(texts)), {}, "rows")

    def stop(done):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read_scores(small, many, tmp_path, stop)
    assert not are_cached(small, many, tmp_path)
    done: list[int] = []
    scores = read_scores(small, many, tmp_path, done.append).scores
    assert done[0] == 2 * small.reader.chunk
    assert np.array_equal(scores, small.label_scores(many)[0], equal_nan=True)


def test_other_texts_or_another_window_have_scores_of_their_own(detector, texts, tmp_path, fitted, halves):
    read_scores(detector, texts, tmp_path)
    assert not are_cached(detector, Texts(texts.texts[1:], {}, "rows"), tmp_path)
    assert not are_cached(fitted(FeatureSpec(("margin_max",), max_tokens=32), halves[0]), texts, tmp_path)
