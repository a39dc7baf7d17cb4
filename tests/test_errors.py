"""Tests ``errors.py``: one tree of errors, drawn as it is."""

import inspect
import re

import pytest

from splinelens import errors

TREE = [value for value in vars(errors).values() if inspect.isclass(value)]


def test_the_drawn_tree_is_the_tree_of_classes():
    drawn, above = {}, ["SplinelensError"]
    for line in errors.__doc__.splitlines():
        branch = re.match(r"    (?P<rails>[| ]*)[|`]-- (?P<name>\w+)  +\S", line)
        if branch:
            depth = len(branch["rails"]) // 4 + 1
            drawn[branch["name"]] = above[depth - 1]
            above[depth:] = [branch["name"]]
    assert drawn == {error.__name__: error.__base__.__name__ for error in TREE[1:]}


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_one_except_catches_every_error(error):
    with pytest.raises(errors.SplinelensError, match="what was found"):
        raise error("what was found")


@pytest.mark.parametrize("error", TREE, ids=lambda error: error.__name__)
def test_every_error_says_in_one_sentence_what_it_means(error):
    own = vars(error)["__doc__"]
    assert own.endswith(".")
    assert "\n" not in own


def test_no_error_of_ours_is_mistaken_for_one_of_python():
    assert [error for error in TREE if issubclass(error, OSError | ValueError | TypeError)] == []
