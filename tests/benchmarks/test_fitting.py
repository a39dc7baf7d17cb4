"""Tests detection/fitting.py: a sum of heads is one detector, and reads texts as its heads read the cache."""

from copy import deepcopy
from dataclasses import replace

import numpy as np
import pytest
from detection.fitting import Head, Learned, cached_layers, fit_heads, fit_learned, gather, read_tokens
from detection.inputs import inputs_folder
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score

from splinelens.apps.detector import Detector
from splinelens.detect.artifact import Artifact
from splinelens.detect.learned import Settings
from splinelens.features.reader import TextReader
from splinelens.texts import Texts
from splinelens.tokens import tokenize

FIT = {"epochs": 8, "rate": 1e-2, "batch_texts": 16}
SOURCES = ["jig", "raw", "clean", "tgann", "tweet", "para", "wiki"]
RECIPE = Learned(
    "ours",
    "binary",
    ("toxic",),
    "clean",
    (
        Head(Settings(4, (0, 1), **FIT), {"jig": 1.0, "raw": 1.0, "clean": 1.0, "tweet": 1.0}, 0.4),
        Head(Settings(6, (1, 2), **FIT), {"jig": 2.0, "para": 1.0, "tgann": 1.0, "wiki": 0.2}, 0.6),
    ),
)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """One for all tests: inputs and networks are keyed by all that decides them, so each is made once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def read(folder, cache, loaded):
    """A function that reads the rows of a recipe: the rows, their inputs, and which can be used."""

    def read(recipe):
        rows = gather(recipe, folder)
        tokens = read_tokens(recipe, rows, folder, cache, loaded)
        return rows, tokens, np.flatnonzero(rows.usable & (tokens[0].lengths > 0))

    return read


def test_the_layers_of_the_cache_by_depth():
    assert cached_layers(30) == (0, 1, 2, 3, 4, 5, 8, 11, 14, 17, 20, 23)
    assert cached_layers(24) == (0, 1, 2, 3, 4, 5, 6, 9, 11, 14, 16, 18)
    assert cached_layers(3) == (0, 1, 2)


def test_a_recipe_reads_the_layers_and_sources_of_its_heads():
    assert (RECIPE.layers, RECIPE.sources) == ((0, 1, 2), SOURCES)
    assert (RECIPE.spec.layers, RECIPE.spec.normalize) == ((0, 1, 2), True)
    left = RECIPE.without("tgann")
    assert left.sources == [name for name in SOURCES if name != "tgann"]
    assert [head.share for head in left.heads] == [0.4, 0.6]
    assert RECIPE.sources == SOURCES


def test_a_reader_gives_the_logits_of_the_heads(read, loaded, cache):
    rows, tokens, usable = read(RECIPE)
    ensemble = fit_heads(RECIPE, tokens, rows, usable, "all", cache)
    usable = usable[tokens[0].lengths[usable] < 256]  # users read longer ones whole
    expected = ensemble.logits(usable)[:, 0]
    reader = TextReader(loaded, RECIPE.spec, directions=ensemble.directions())
    features = np.stack([text.values for text in reader.read([rows.texts[row] for row in usable])])
    found = ensemble.head(ensemble.pooled(usable)).logit(features)[:, 0]
    # Inputs in steps of 1/20 standard deviation and margins in bfloat16 round a logit by 2 % of its spread.
    assert np.sqrt(np.mean((found - expected) ** 2)) < 0.03 * expected.std()
    assert spearmanr(found, expected).statistic > 0.99
    weight, bias = ensemble.weight()
    np.testing.assert_allclose(features.astype(float) @ weight.T + bias, found[:, None], atol=1e-6)


def test_each_head_adds_its_share_in_standard_deviations_of_the_judged_rows(read, cache):
    rows, tokens, usable = read(RECIPE)
    judged = usable[rows.of("jig")[usable]]
    for at, head in enumerate(RECIPE.heads):
        alone = fit_heads(replace(RECIPE, heads=(head,)), [tokens[at]], rows, usable, "one", cache)
        assert alone.logits(judged).std() == pytest.approx(head.share, rel=1e-4)
    both = fit_heads(RECIPE, tokens, rows, usable, "all", cache).logits(judged)
    ones = (
        fit_heads(replace(RECIPE, heads=(head,)), [tokens[at]], rows, usable, "one", cache).logits(judged)
        for at, head in enumerate(RECIPE.heads)
    )
    np.testing.assert_allclose(both, sum(ones), atol=1e-6)


def test_a_head_is_fitted_on_the_rows_of_its_sources_and_no_others(read, cache):
    rows, tokens, usable = read(RECIPE)
    first = replace(RECIPE, heads=RECIPE.heads[:1])
    whole, less = (
        fit_heads(first, tokens[:1], rows, fit_on, "some", cache)
        for fit_on in (usable, usable[~rows.of("tgann")[usable]])
    )
    assert np.array_equal(whole.logits(usable), less.logits(usable))
    without = fit_heads(RECIPE.without("tgann"), tokens, rows, usable, "without", cache)
    assert not np.allclose(
        without.logits(usable), fit_heads(RECIPE, tokens, rows, usable, "all", cache).logits(usable)
    )


def test_a_head_that_was_fitted_before_on_the_same_rows_is_taken_from_the_cache(read, tmp_path):
    rows, tokens, usable = read(RECIPE)
    first = fit_heads(RECIPE, tokens, rows, usable, "all", tmp_path).logits(usable)
    files = set((tmp_path / "networks").iterdir())
    assert len(files) == 2
    assert np.array_equal(first, fit_heads(RECIPE, tokens, rows, usable, "all", tmp_path).logits(usable))
    fit_heads(RECIPE.without("tgann"), tokens, rows, usable, "without", tmp_path)  # another second head
    assert len(set((tmp_path / "networks").iterdir()) - files) == 1
    fit_heads(RECIPE, tokens, rows, usable[:-20], "less", tmp_path)
    assert len(set((tmp_path / "networks").iterdir()) - files) >= 2


def test_another_model_or_number_type_does_not_replace_the_inputs_of_the_first(read, cache, loaded):
    read(RECIPE)
    half, other = deepcopy(loaded.model).bfloat16(), deepcopy(loaded.model)
    next(other.parameters()).add_(1)
    layers = cached_layers(loaded.depth)
    first, *others = (
        inputs_folder(cache, replace(loaded, model=model), layers) for model in (loaded.model, half, other)
    )
    assert {path.name for path in first.iterdir()} == set(SOURCES)
    assert len({first, *others}) == 3
    assert not any(folder.exists() for folder in others)


def test_a_fitted_detector_is_saved_loaded_scores_and_explains(folder, cache, loaded, tmp_path):
    artifact = fit_learned(RECIPE, folder, cache, loaded, loaded, "the command")
    rows = gather(RECIPE, folder)
    assert artifact.training["rows"] == rows.usable.sum()
    used = tuple(rows.texts[row] for row in np.flatnonzero(rows.usable))
    assert artifact.training["provenance"]["data_hash"] == Texts(used, {}, "rows").data_hash
    assert sum(artifact.training["provenance"]["rows"].values()) == len(used)
    lengths = [text.total for text in tokenize(rows.texts, loaded.tokenizer, normalize=True)]
    limit = np.where(rows.of("clean"), 128, 256)
    assert artifact.training["cut"] == (rows.usable & (lengths > limit)).sum() > 0
    assert artifact.training["judged_rows"] == (rows.usable & rows.of("jig")).sum()
    assert [head["share"] for head in artifact.training["settings"]["heads"]] == [0.4, 0.6]
    assert (
        artifact.training["sources"][-1] == "beginnings of Wikipedia paragraphs (WikiText-2) (CC BY-SA 3.0)"
    )
    assert (artifact.command, len(artifact.directions)) == ("the command", 10)
    assert artifact.columns == (("direction_max", 10), ("direction_min", 10))
    artifact.save(tmp_path / "ours")
    detector = Detector.load(tmp_path / "ours", model=loaded)
    assert detector.artifact.digest == artifact.digest
    texts = [rows.texts[row] for row in np.flatnonzero(rows.usable & rows.of("jig"))]
    labels = rows.labels[rows.usable & rows.of("jig"), 0]
    records = detector.score(texts, explain=True)
    assert roc_auc_score(labels, [record.score for record in records]) > 0.6
    for record in records[:5]:
        logit = record.constant + sum(span.contribution for span in record.spans)
        assert 1 / (1 + np.exp(-logit)) == pytest.approx(record.score, abs=1e-6)


def test_several_labels_are_fitted_and_judged_together(folder, loaded, tmp_path):
    path = folder / "jigsaw6-raw/jigsaw6_raw.csv"
    header, *_ = path.read_text("utf-8").splitlines()
    words = ("gentle, clear and warm", "silly dull goose")
    lines = [f'"{words[row % 2]} {row}",{",".join([str(row % 2)] * 6)},0,train' for row in range(80)]
    path.write_text("\n".join([header, *lines, ""]), "utf-8")
    heads = (Head(Settings(4, (0, 2), **FIT), {"jig": 1.0, "raw": 1.0, "clean": 1.0}),)
    six = ("toxic", "severe_toxic", "obscene", "threat", "insult", "identity_hate")
    recipe = Learned("ours", "labels", six, "none", heads, judge="raw", floor=0.25)
    artifact = fit_learned(recipe, folder, tmp_path, loaded, loaded, "")
    artifact.save(tmp_path / "ours")
    found = Artifact.load(tmp_path / "ours")
    assert (found.labels, found.head.labels, found.training["floor"]) == (six, 6, 0.25)
    assert min(each.score for label in found.thresholds for each in label) >= 0.25
    assert set(found.metrics["out_of_fold"]["labels"]) == set(six)
