"""Tests features/code_views.py: what each view sees of a function, and what an index decides."""

import numpy as np
import pytest

from splinelens.features.code_views import (
    CodeSpace,
    cosines,
    fused,
    hubness,
    structure_counts,
    word_counts,
)

ADD = "def add(a, b):\n    return a + b\n"
SUM = "def total(x, y):\n    return x + y  # both\n"
LOOP = "def loop(a):\n    for b in a:\n        print(b)\n"


def unit(vectors, languages):
    return CodeSpace(vectors, languages).unit(vectors, languages)


def test_names_and_comments_are_no_structure():
    counts = structure_counts([ADD, SUM, LOOP], ["python"] * 3).toarray()
    assert (counts[0] == counts[1]).all()
    assert (counts[0] != counts[2]).any()


def test_a_row_of_counts_depends_on_its_function_only():
    assert (word_counts([ADD, LOOP]).toarray()[1] == word_counts([LOOP]).toarray()[0]).all()


def test_equal_functions_have_cosine_one_and_different_ones_less():
    vectors = {"words": word_counts([ADD, ADD, LOOP])}
    values = cosines(*[unit(vectors, ["python"] * 3)] * 2)["words"]
    assert values[0, 1] == pytest.approx(1, abs=1e-6)
    assert values[0, 2] < 0.5


def test_what_a_language_has_in_common_does_not_count():
    rng = np.random.default_rng(0)
    values = np.repeat(rng.normal(size=(25, 4)), 2, axis=0) + 20 * np.tile([[1.0], [-1.0]], (25, 4))
    space = unit({"code": values}, ["python", "java"] * 25)
    assert cosines(space, space)["code"][0, 1] > 0.9  # the same function in the other language


def test_a_function_without_a_vector_is_similar_to_nothing():
    values = np.random.default_rng(0).normal(size=(30, 4))
    values[3] = 0
    space = unit({"code": values}, ["python"] * 30)
    assert not cosines(space, space)["code"][3].any()


def test_few_functions_can_be_whitened():
    values = np.random.default_rng(0).normal(size=(2, 100))
    assert np.isfinite(unit({"code": values}, ["python"] * 2)["code"]).all()


def test_a_view_that_is_missing_has_no_part_in_the_mean():
    weights = {"words": 0.3, "code": 0.7}
    assert fused({"words": np.array(0.5)}, weights) == pytest.approx(0.5)
    assert fused({"words": np.array(0.5), "code": np.array(1.0)}, weights) == pytest.approx(0.85)


def test_a_function_that_is_near_to_all_is_a_hub():
    rng = np.random.default_rng(0)
    values = np.concatenate([np.eye(20), np.full((1, 20), 20**-0.5)]) + 1e-6 * rng.normal(size=(21, 20))
    assert hubness({"code": values}, {"code": 1.0}).argmax() == 20
