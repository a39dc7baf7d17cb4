"""Tests benchmarks/detectors.py: the shipped detectors are those of its recipes; its commands and numbers."""

import shlex
from dataclasses import replace

import numpy as np
import pytest
from detection.fitting import Learned
from detection.sources import SOURCES
from detection.training_rows import domain_parts, measured_part, toxic_parts
from detectors import Recipe, command, parse, recipes, with_measurements

from splinelens.detect.artifact import Artifact
from splinelens.detect.shipped import shipped
from splinelens.features.catalogue import columns, statistics
from splinelens.features.spec import FeatureSpec
from splinelens.report.card import card

DEPTH, WIDTH = 30, 576  # of smollm2-135m
RECIPES = {recipe.name: recipe for recipe in recipes(DEPTH)}
LEARNED = [name for name, recipe in RECIPES.items() if isinstance(recipe, Learned)]


def _directions(name):
    """How many learned directions a recipe has."""
    return sum(head.settings.directions for head in RECIPES[name].heads) if name in LEARNED else 0


def test_there_is_a_recipe_for_each_shipped_detector():
    assert {*RECIPES, "truth"} == set(shipped())  # that one is made by benchmarks/truth.py
    assert [name for name, recipe in RECIPES.items() if isinstance(recipe, Recipe)] == ["domain", "replies"]


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_detector_reads_what_its_recipe_says(name):
    found = Artifact.load(shipped()[name])
    made = RECIPES[name].spec.to_dict()
    assert {**found.spec, "pooling": None} == {**made, "pooling": None}  # it shows in the columns, see below


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_detector_has_the_columns_of_its_recipe(name):
    found, spec = Artifact.load(shipped()[name]), RECIPES[name].spec
    sizes = {"neuron": [1536] * DEPTH, "width": [WIDTH] * DEPTH}
    made = columns(statistics(spec.features, spec.pooling), spec.layers, sizes, directions=_directions(name))
    assert found.columns == tuple((column.name, column.size) for column in made)
    assert found.model["fingerprint"]["depth"] == max(spec.layers) + 1 <= DEPTH


@pytest.mark.parametrize("name", RECIPES)
def test_a_shipped_detector_tells_what_its_recipe_says(name):
    found, recipe = Artifact.load(shipped()[name]), RECIPES[name]
    labels = recipe.labels if isinstance(recipe, Learned) else found.labels
    assert (found.name, found.task, found.labels) == (name, recipe.task, labels)
    assert found.negative == recipe.negative
    if isinstance(recipe, Recipe):
        assert (found.min_tokens, found.min_score) == (recipe.min_tokens, recipe.min_score)


@pytest.mark.parametrize("name", LEARNED)
def test_a_shipped_detector_has_the_directions_and_heads_of_its_recipe(name):
    found, recipe = Artifact.load(shipped()[name]), RECIPES[name]
    assert found.directions.weight.shape == (_directions(name), len(recipe.layers), WIDTH)
    said = [
        (head["directions"], tuple(head["layers"]), head["seed"], head["weights"], head["share"])
        for head in found.training["settings"]["heads"]
    ]
    assert said == [
        (
            head.settings.directions,
            head.settings.layers,
            head.settings.seed,
            dict(head.weights),
            head.share,
        )
        for head in recipe.heads
    ]
    sources = [SOURCES[source] for source in recipe.sources]
    assert found.training["sources"] == [f"{source.what} ({source.licence})" for source in sources]


@pytest.mark.parametrize("depth", [6, 12, 24, 48])
def test_recipes_fit_models_of_any_depth(depth):
    made = {recipe.name: recipe for recipe in recipes(depth)}
    assert all(max(recipe.spec.layers) < depth for recipe in made.values())
    assert made["toxicity-fast"].layers == tuple(range(6))
    assert len(made["toxicity"].layers) == 6
    assert made["domain"].spec.layers == tuple(range(depth))


def test_the_recorded_command_fits_one_detector_and_measuring_fits_none():
    args = parse(shlex.split(command("domain", "smollm2-135m", "bfloat16", []))[2:])
    assert (args.only, args.measure_only, args.dtype) == (["domain"], [], "bfloat16")
    assert parse(["--data", "DIR", "--measure-only", "types"]).measure_only == ["types"]
    args = parse(["--data", "DIR", "--measure-only"])
    assert (args.only, len(args.measure_only)) == ([], 5)


def test_detectors_of_another_model_are_not_written_over_the_shipped_ones(capsys):
    said = shlex.split(command("toxicity", "mine/chat", "float32", ["pairs"]))[2:]
    with pytest.raises(SystemExit):
        parse(said)
    assert "give --output DIR for others" in capsys.readouterr().err
    args = parse([*said, "--output", "OURS"])
    assert (args.model, args.only, args.without) == ("mine/chat", ["toxicity"], ["pairs"])
    with pytest.raises(SystemExit):
        parse(["--data", "DIR", "--cache", "CACHE", "--without", "pairs"])


def test_no_row_of_the_search_repeats_a_test_row_or_another(data):
    parts = toxic_parts(data)
    texts = [text for part in parts for text in part.texts(data)]
    assert len(set(texts)) == len(texts)
    assert not set(texts) & set(measured_part("binary", data)[1].texts(data))
    assert [part.judges for part in parts] == [True, False, False]


@pytest.mark.parametrize(
    ("task", "title", "name", "labels"),
    [
        ("binary", "the test rows of jigsaw-test-binary-12k", "jig", 1),
        ("labels", "the test rows of jigsaw6-raw", "raw", 6),
        ("classes", "the test documents of nine domains", "domains", 3),
    ],
)
def test_a_detector_is_measured_on_the_test_rows_of_its_task(data, task, title, name, labels):
    said, part = measured_part(task, data)
    assert said.startswith(title)
    assert (part.name, part.labels.shape) == (name, (len(part.index), labels))
    splits = data.sets[name].columns.get("split")
    if splits:
        assert {splits[row] for row in part.index} == {"test"}
    else:
        assert not {*part.index} & {*domain_parts(data)[0].index}


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
