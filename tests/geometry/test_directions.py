"""Tests geometry/directions.py: what is no set of learned hyperplanes is refused."""

import numpy as np
import pytest

from splinelens.errors import BadFeatures
from splinelens.geometry.directions import Directions

WEIGHT, BIAS = np.ones((4, 2, 8), dtype=np.float32), np.zeros(4, dtype=np.float32)


@pytest.mark.parametrize(
    ("weight", "bias", "message"),
    [
        (WEIGHT[0], BIAS, r"\(direction, layer, width\) .* have \(2, 8\) and \(4,\)"),
        (WEIGHT[:0], BIAS[:0], "need a weight of shape"),
        (WEIGHT, BIAS[:3], r"have \(4, 2, 8\) and \(3,\)"),
        (WEIGHT.astype(float), BIAS, "weight of directions is float64; convert it to float32 or float16"),
        (WEIGHT, BIAS.astype(int), "bias of directions is int64; convert it to float32"),
        (WEIGHT * np.nan, BIAS, "weight of directions holds numbers that are not finite"),
        (WEIGHT, BIAS + np.inf, "bias of directions holds numbers that are not finite"),
    ],
    ids=["flat", "none", "bias", "double", "whole", "nan", "infinite"],
)
def test_other_arrays_are_refused(weight, bias, message):
    with pytest.raises(BadFeatures, match=message):
        Directions(weight, bias)


def test_the_digest_is_of_the_numbers_and_their_shape():
    first = Directions(WEIGHT, BIAS)
    assert first.digest == Directions(WEIGHT.copy(), BIAS.copy()).digest
    others = [
        Directions(WEIGHT, BIAS + 1),
        Directions(2 * WEIGHT, BIAS),
        Directions(WEIGHT.reshape(4, 4, 4), BIAS),
        Directions(WEIGHT.astype(np.float16), BIAS),
    ]
    assert len({first.digest, *(other.digest for other in others)}) == 5
