"""Tests ``benchmarks/detectors.py``: the shipped detectors are those that its recipes make."""

import runpy
import sys
from pathlib import Path
from unittest import mock

import pytest

from splinelens.apps.detector import shipped
from splinelens.detect.artifact import Artifact
from splinelens.features.catalogue import columns, statistics

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
with mock.patch.object(sys, "path", [str(BENCHMARKS), *sys.path]):
    RECIPES = runpy.run_path(str(BENCHMARKS / "detectors.py"))["RECIPES"]
DEPTH, SIZES = 30, {"neuron": [1536] * 30, "width": [576] * 30}  # of smollm2-135m


def test_there_is_a_recipe_for_each_shipped_detector():
    assert {recipe.name for recipe in RECIPES} == set(shipped())


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_shipped_detector_reads_what_its_recipe_says(recipe):
    found = Artifact.load(shipped()[recipe.name])
    made = recipe.spec.to_dict()
    assert {**found.spec, "pooling": None} == {**made, "pooling": None}  # it shows in the columns, see below


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_shipped_detector_has_the_columns_of_its_recipe(recipe):
    found, spec = Artifact.load(shipped()[recipe.name]), recipe.spec
    made = columns(statistics(spec.features, spec.pooling), spec.layers, SIZES)
    assert found.columns == tuple((column.name, column.size) for column in made)
    assert found.model["fingerprint"]["depth"] == max(recipe.layers) + 1 <= DEPTH


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.name)
def test_a_shipped_detector_tells_what_its_recipe_says(recipe):
    found = Artifact.load(shipped()[recipe.name])
    assert (found.name, found.task, found.negative) == (recipe.name, recipe.task, recipe.negative)
    assert recipe.labels in (found.labels, ())
    assert found.training["settings"].get("prior", {}) == dict(recipe.prior or {})
