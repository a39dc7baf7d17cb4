"""Tests ``texts/row_groups.py``: the group of each row, and columns that hold none."""

import logging

import numpy as np
import pytest

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts import Texts
from splinelens.texts.row_groups import row_groups

TEXTS = Texts(("a", "b", "c", "d"), {"author": ("ann", " ann ", None, "bob")}, "a.csv")


def test_equal_values_are_one_group_and_a_missing_one_is_its_own(caplog):
    with caplog.at_level(logging.WARNING, "splinelens"):
        groups = row_groups("author", TEXTS)
    assert groups.numbers.tolist() == [0, 0, 1, 2]
    assert groups.record() == {"column": "author", "groups": 3, "missing": 1}
    assert "1 of 4 rows have no group 'author'; each counts as a group of its own" in caplog.text


@pytest.mark.parametrize("values", [[1, 1, 2, 2], np.array([1, 1, 2, 2]), (True, True, False, False)])
def test_groups_in_memory_are_any_values(values):
    assert row_groups(values, TEXTS).numbers.tolist() == [0, 0, 1, 1]


def test_blank_cells_and_nan_are_missing():
    assert row_groups(["x", "x", " ", float("nan")], TEXTS).missing == 2


def test_one_group_is_refused():
    with pytest.raises(BadTexts, match=r"a.csv: all 4 rows are of one group 'groups', 'x'.*--group"):
        row_groups(["x"] * 4, TEXTS)


@pytest.mark.parametrize(("values", "missing"), [(range(4), 0), ([None] * 4, 4)])
def test_groups_of_one_row_are_refused(values, missing):
    said = rf"no two of 4 rows have the same group 'groups' \({missing} have none\)"
    with pytest.raises(BadTexts, match=said):
        row_groups([*values], TEXTS)


def test_another_count_and_a_column_that_was_not_kept_are_refused():
    with pytest.raises(BadTexts, match="3 groups 'groups' for 4 texts; give one group a text"):
        row_groups([1, 1, 2], TEXTS)
    with pytest.raises(MissingColumn, match="no column 'writer' was kept"):
        row_groups("writer", TEXTS)
