"""Tests ``detect/local_dimension.py``: the local dimension as a score, and how its layer is chosen."""

import numpy as np
import pytest

from splinelens.detect.local_dimension import (
    LocalDimension,
    dimension_scores,
    first_peak,
    held_out_dimensions,
    two_nn_curve,
)
from splinelens.detect.out_of_fold import auc
from splinelens.errors import BadFeatures

LABELS = np.tile([0, 1], 150)


def _planted(seed=0):
    """States at two layers: noise, then true ones on a plane and false ones off it."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(300, 8))
    plane = np.concatenate([rng.normal(size=(300, 2)), np.zeros((300, 6))], axis=1)
    off = plane + (LABELS == 0)[:, None] * rng.normal(size=(300, 8))
    return np.stack([noise, off], axis=1).astype(np.float32)


def test_a_low_dimension_tells_states_on_a_plane_from_those_off_it():
    states, fold = _planted(), np.repeat([0, 1], 150)
    held_out = held_out_dimensions(states, LABELS, fold, 10)
    aucs = [auc(LABELS, -column) for column in held_out.T]
    assert aucs[1] > 0.9 > 0.65 > aucs[0]
    two_nn, by_layer, chosen, scores = dimension_scores(states, LABELS, fold, 10)
    assert two_nn[1] < 2.5 < two_nn[0]
    assert chosen == [1, 1]
    assert np.array_equal(scores["LID by MLE"], by_layer[:, 1])
    assert auc(LABELS, scores["LID by MLE"]) > 0.9
    assert auc(LABELS, scores["LID by GeoMLE"]) > 0.8


def test_the_dimension_is_that_of_the_plane():
    states = _planted()[LABELS == 1][:, 1]
    assert two_nn_curve(states[:, None]) == [pytest.approx(2, abs=0.4)]
    known = LocalDimension.of(states, 20)
    assert np.median(known.own) == pytest.approx(2.2, abs=0.4)
    assert known.confidence(known.dimension(states[:1] + 9.0))[0] < 0.1


def test_a_confidence_is_the_share_of_known_texts_that_are_no_nearer():
    known = LocalDimension(np.zeros((4, 1), np.float32), np.array([1.0, 2.0, 3.0, 4.0]), 2)
    assert known.confidence(np.array([0.5, 3.0, 9.0])).tolist() == [1.0, 0.6, 0.2]


def test_the_first_peak_is_above_both_of_its_neighbors():
    assert first_peak([1.0, 4.0, 2.0, 9.0, 3.0]) == 1
    assert first_peak([3.0, 2.0, 1.0]) == 0
    assert first_peak([2.0]) == 0


@pytest.mark.parametrize(
    ("states", "neighbors", "message"),
    [
        (np.ones((1, 3), np.float32), 2, r"1 texts with 1 different states, and 2 neighbors need 3"),
        (np.ones((9, 3), np.float32), 2, r"9 texts with 1 different states"),
        (np.eye(5, dtype=np.float32), 5, r"5 neighbors need 6 or more; give more texts"),
        (np.eye(5, dtype=np.float32), 1, r"neighbors=1: give 2 or more"),
    ],
    ids=["one", "equal", "k", "k1"],
)
def test_a_reference_that_is_too_small_is_refused(states, neighbors, message):
    with pytest.raises(BadFeatures, match=message):
        LocalDimension.of(states, neighbors)
