"""Tests ``detect/code_head.py``: a head on the numbers of functions, on disk and back."""

import numpy as np
import pytest

from splinelens.detect.code_head import CodeHead, hinge_columns
from splinelens.detect.heads import LinearHead
from splinelens.errors import BadFeatures, BrokenArtifact
from splinelens.features.code_numbers import FUNCTION_NUMBERS


def head(weights):
    """One column, bent at 1."""
    count = len(weights)
    arrays = np.zeros(2), np.ones(2), np.array(weights, float), np.zeros(count)
    return CodeHead(("calls",), np.array([[1.0]]), LinearHead(*arrays), {"share": 0.5})


def test_a_head_bends_at_its_knots():
    probability = head([[1, -2]] * 3).wrong_probability(np.array([[0.0], [1.0], [2.0]]))[:, 0]
    assert probability.tolist() == pytest.approx([0.5, 1 / (1 + np.exp(-1)), 0.5])


def test_the_interval_is_of_the_resamples():
    ((probability, low, high),) = head([[0, 0], [-1, 0], [1, 0]]).wrong_probability(np.array([[1.0]]))
    assert probability == 0.5
    assert low < 0.3
    assert high > 0.7


def test_a_head_is_the_same_after_it_was_written(tmp_path):
    first = head([[1, -2], [0, 1], [1, 1]])
    first.write(tmp_path)
    second, values = CodeHead.load(tmp_path, ["calls"]), np.array([[3.0]])
    assert second.columns == ("calls",)
    assert second.record == {"share": 0.5}
    assert (second.wrong_probability(values) == first.wrong_probability(values)).all()


def test_a_prevalence_shifts_the_odds_by_its_ratio():
    one, values = head([[1, -2], [0, 1], [1, 1]]), np.array([[0.5], [2.0]])
    usual, rare = (one.wrong_probability(values, share)[:, 0] for share in (None, 0.1))  # the head's is .5
    odds = usual / (1 - usual) / 9
    assert rare == pytest.approx(odds / (1 + odds))


def test_a_function_that_was_not_read_has_no_probability():
    rows = head([[1, -2]] * 3).wrong_probability(np.array([[np.nan], [1.0]]))
    assert np.isnan(rows[0]).all()
    assert np.isfinite(rows[1]).all()


def test_other_numbers_than_its_columns_are_refused(tmp_path):
    one = head([[1, -2]] * 2)
    with pytest.raises(BadFeatures, match="has 1 columns"):
        one.wrong_probability(np.zeros((1, 2)))
    CodeHead(("calls", "names"), one.knots, one.heads, {}).write(tmp_path)
    with pytest.raises(BrokenArtifact, match="do not fit its 2 columns"):
        CodeHead.load(tmp_path)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (("names",), "column 0 of .* is 'calls', not 'names'"),
        (("calls", "names"), "column 1 of .* is None, not 'names'"),
        ((), "column 0 of .* is 'calls', not None"),
    ],
)
def test_a_head_on_other_columns_names_the_first_that_differs(tmp_path, columns, message):
    head([[1, -2]] * 2).write(tmp_path)
    with pytest.raises(BrokenArtifact, match=message):
        CodeHead.load(tmp_path, columns)


def test_the_shipped_head_is_on_the_numbers_of_functions():
    shipped = CodeHead.load()
    assert shipped.columns == FUNCTION_NUMBERS
    assert 0 < shipped.record["share"] < 1


def test_hinges_rise_above_their_knots():
    values, knots = np.array([[1.0, 5.0]]), np.array([[0.0, 6.0], [3.0, 4.0]])
    assert hinge_columns(values, knots).tolist() == [[1, 5, 1, 0, 0, 1]]
