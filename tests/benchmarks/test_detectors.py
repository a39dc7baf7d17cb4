"""Tests benchmarks/detectors.py: the shipped detectors are those of its recipes; its commands and numbers."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
from detection.training_rows import measured_part, toxic_parts, type_parts
from detectors import RECIPES, command, parse, with_measurements

from splinelens.detect.artifact import Artifact
from splinelens.detect.shipped import shipped
from splinelens.features.catalogue import columns, statistics
from splinelens.features.spec import FeatureSpec
from splinelens.report.card import card

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


def test_the_recorded_command_fits_one_detector_and_measuring_fits_none():
    args = parse(shlex.split(command("domain", "bfloat16"))[2:])
    assert (args.only, args.measure_only, args.dtype) == (["domain"], [], "bfloat16")
    assert parse(["--data", "DIR", "--measure-only", "types"]).measure_only == ["types"]
    args = parse(["--data", "DIR", "--measure-only"])
    assert (args.only, len(args.measure_only)) == ([], 4)


def test_no_training_row_repeats_a_test_row_or_another(data):
    parts = toxic_parts(data)
    texts = [text for part in parts for text in part.texts(data)]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & set(measured_part("binary", data)[1].texts(data))
    assert [part.judges for part in parts] == [True, False, False]


def test_types_are_fitted_on_comments_as_written_and_judged_on_them_only(data):
    parts = type_parts(data)
    texts = [text for part in parts for text in part.texts(data)]
    tests = [set(measured_part(task, data)[1].texts(data)) for task in ("binary", "labels")]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & set.union(*tests)
    assert [(part.name, part.judges, part.labels.shape[1]) for part in parts] == [
        ("raw", True, 6),
        ("clean", False, 6),
    ]
    title, measured = measured_part("labels", data)
    assert (title.startswith("the test rows of jigsaw6-raw"), measured.name) == (True, "raw")
    assert [part.name for part in type_parts(data, ("raw",))] == ["raw"]


def test_a_detector_of_classes_says_on_how_many_texts_it_abstains(data, fitted, plan):
    train, _, names = plan.domains()
    spec = FeatureSpec(("spline7",), max_tokens=256)
    detector = fitted(spec, train, task="classes", label=names, negative="")
    _, part = measured_part("classes", data)
    middle = int(np.median([record.tokens for record in detector.score(part.texts(data))]))
    limited = replace(detector, artifact=replace(detector.artifact, min_tokens=middle, min_score=0.2))
    artifact = with_measurements(limited, data)
    records = limited.score(part.texts(data))
    kept = [record.verdict != "undetermined" for record in records]
    verdicts = [
        names.index(record.verdict) if held else -1 for record, held in zip(records, kept, strict=True)
    ]
    right = int((part.labels.argmax(axis=1) == verdicts).sum())
    assert 0 < sum(kept) < len(kept)
    line = (
        f"abstains on {len(kept) - sum(kept)} of {len(kept)} test texts; of the others {right} of {sum(kept)}"
    )
    assert line in artifact.training["limits"][1]
    assert len(with_measurements(detector, data).training["limits"]) == 1


def test_a_measured_detector_has_the_numbers_of_its_scores_and_its_limits(data, fitted, halves):
    spec = FeatureSpec(("margins",), max_tokens=256, long="cut", normalize=True)
    detector = fitted(spec, halves[0], label="toxic", negative="clean")
    artifact = with_measurements(detector, data)
    numbers = artifact.metrics["the test rows of jigsaw-test-binary-12k, 256 tokens, cut"]
    _, part = measured_part("binary", data)
    flagged = [record.verdict == "toxic" for record in detector.score(part.texts(data))]
    recall = np.mean(np.array(flagged)[part.labels[:, 0] == 1])
    assert numbers["at_threshold"]["0.05"]["recall"] == pytest.approx(recall)
    assert any("leet" in line for line in artifact.training["limits"])
    names = [share["name"] for share in numbers["flagged"]]
    assert len(names) == 3
    shown = card(artifact).splitlines()
    assert all(any(line.startswith(f"| {name} | ") for line in shown) for name in names)
