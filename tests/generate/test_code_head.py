"""Tests ``generate/code_head.py``: a head on the numbers of functions, on disk and back."""

import numpy as np
import pytest

from splinelens.detect.heads import LinearHead
from splinelens.errors import BadFeatures, BrokenArtifact
from splinelens.generate.code_head import CodeHead


def head(weights):
    """One column, bent at 1."""
    count = len(weights)
    arrays = np.zeros(2), np.ones(2), np.array(weights, float), np.zeros(count)
    return CodeHead(("calls",), np.array([[1.0]]), LinearHead(*arrays), {"share": 0.5})


def test_a_head_bends_at_its_knots():
    probability = head([[1, -2]] * 3).likely_wrong(np.array([[0.0], [1.0], [2.0]]))[:, 0]
    assert probability.tolist() == pytest.approx([0.5, 1 / (1 + np.exp(-1)), 0.5])


def test_the_interval_is_of_the_resamples():
    ((probability, low, high),) = head([[0, 0], [-1, 0], [1, 0]]).likely_wrong(np.array([[1.0]]))
    assert probability == 0.5
    assert low < 0.3
    assert high > 0.7


def test_a_head_is_the_same_after_it_was_written(tmp_path):
    first = head([[1, -2], [0, 1], [1, 1]])
    first.write(tmp_path)
    second, values = CodeHead.load(tmp_path), np.array([[3.0]])
    assert second.columns == ("calls",)
    assert second.record == {"share": 0.5}
    assert (second.likely_wrong(values) == first.likely_wrong(values)).all()


def test_other_columns_are_refused(tmp_path):
    one = head([[1, -2]] * 2)
    with pytest.raises(BadFeatures, match="has 1 columns"):
        one.likely_wrong(np.zeros((1, 2)))
    CodeHead(("calls", "names"), one.knots, one.heads, {}).write(tmp_path)
    with pytest.raises(BrokenArtifact, match="do not fit its 2 columns"):
        CodeHead.load(tmp_path)
