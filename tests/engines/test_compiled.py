"""Tests engines/compiled.py: graphs give the numbers of the PyTorch engine, and damaged ones are refused."""

import json
import os
import pickle
import subprocess
import sys
from dataclasses import replace

import jaxtyping
import numpy as np
import pytest

pytest.importorskip("openvino")

from splinelens.engines.compiled import (
    GRAPH_FILES,
    CompiledModel,
    PooledRows,
    check_precision,
    read_record,
)
from splinelens.errors import BadFeatures, BrokenArtifact
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.geometry.directions import Directions
from splinelens.models import LoadedModel
from tests.conftest import build_tiny, build_tokenizer

FAMILIES = ["llama", "gpt2", "gemma2"]
"""Gated, ungated with learned positions, sliding windows with a soft cap."""

TEXTS = ["a good day", "", "x" * 60 + " the end of it all", "hello there", "z"]
SPEC = FeatureSpec(
    ("margins", "hidden", "length"),
    pooling=("max", "min", "mean", "last"),
    layers=(1,),
    prompt="you are",
    max_tokens=24,
)
DIRECTED = replace(SPEC, features=("margins", "length", "direction_max", "direction_min"), layers=(0, 1))
_MADE = {}


@pytest.fixture(autouse=True)
def _no_shapes(_shapes):
    """Tracing passes symbols where the annotations say numbers."""
    jaxtyping.config.update("jaxtyping_disable", True)


def _loaded(family):
    """A model of two blocks; tracing another one would take a second."""
    kinds = {"layer_types": ["sliding_attention", "full_attention"]} if family == "gemma2" else {}
    model = build_tiny(family, num_hidden_layers=2, **kinds)
    return LoadedModel(model.eval(), build_tokenizer(), family, None, 2, 2)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The readers of a family: PyTorch's, and that of its graph; those of Gemma 2 with learned directions."""
    rng = np.random.default_rng(0)
    learned = Directions(
        rng.normal(size=(5, 2, 32)).astype(np.float16), rng.normal(size=5).astype(np.float32)
    )

    def make(family):
        spec, directions = (DIRECTED, learned) if family == "gemma2" else (SPEC, None)
        if family not in _MADE:
            folder = tmp_path_factory.mktemp(family)
            reader = TextReader(_loaded(family), spec, directions=directions)
            reader.export_graph(folder)
            _MADE[family] = reader, folder
        reader, folder = _MADE[family]
        return reader, TextReader(CompiledModel(folder), spec, directions=directions)

    return make


@pytest.mark.parametrize("family", FAMILIES)
def test_a_graph_gives_the_numbers_and_tokens_of_pytorch(exported, family):
    reader, graph = exported(family)
    assert graph.columns == reader.columns
    assert reader.engine.model.config._attn_implementation in ("sdpa", "eager")  # as it was
    for ours, theirs in zip(graph.read(TEXTS, locate=True), reader.read(TEXTS, locate=True), strict=True):
        assert (ours.reason, ours.tokens, ours.cut) == (theirs.reason, theirs.tokens, theirs.cut)
        scale = np.abs(theirs.values).max() if theirs.reason is None else 1
        np.testing.assert_allclose(ours.values, theirs.values, rtol=1e-4, atol=1e-4 * scale)
        if theirs.source is not None:
            means = np.repeat(
                [c.statistic.pooling == "mean" for c in graph.columns], [c.size for c in graph.columns]
            )
            assert (ours.source[~means] == theirs.source[~means]).mean() > 0.99  # near ties


def test_a_text_has_the_same_numbers_by_itself_and_in_a_batch(exported):
    _, graph = exported("llama")
    for text, together in zip(TEXTS, graph.read(TEXTS), strict=True):
        (single,) = graph.read([text])
        np.testing.assert_allclose(single.values, together.values, rtol=1e-4, atol=1e-5)


def test_weights_of_8_bits_change_numbers_by_their_rounding(exported, tmp_path):
    reader, graph = exported("llama")
    reader.export_graph(tmp_path, "int8")
    assert (tmp_path / "graph.bin").stat().st_size < 0.6 * (graph.loaded.folder / "graph.bin").stat().st_size
    stored = TextReader(CompiledModel(tmp_path), reader.spec)
    rounded = TextReader(CompiledModel(graph.loaded.folder, "int8"), reader.spec)
    for exact, one, other in zip(*(r.read(TEXTS) for r in (graph, stored, rounded)), strict=True):
        if exact.reason is None:
            scale = np.abs(exact.values).max()
            assert 1e-4 * scale < np.abs(one.values - exact.values).max() < 0.05 * scale
            np.testing.assert_allclose(one.values, other.values, rtol=1e-5, atol=1e-5 * scale)
    with pytest.raises(BadFeatures, match="has weights of 8 bits: leave float32 out"):
        CompiledModel(tmp_path, "float32")


def test_directions_are_in_the_graph(exported):
    reader, graph = exported("gemma2")
    directions = np.repeat(
        [column.statistic.axis == "direction" for column in graph.columns],
        [column.size for column in graph.columns],
    )
    assert directions.sum() == 10
    for ours, theirs in zip(graph.read(TEXTS), reader.read(TEXTS), strict=True):
        np.testing.assert_allclose(ours.values[directions], theirs.values[directions], rtol=1e-4, atol=1e-4)


def test_rows_merge_as_the_pooling_of_all_their_tokens():
    rng = np.random.default_rng(0)
    poolings = np.repeat(["max", "min", "mean", "last"], 3)
    values = rng.normal(size=(7, 12))

    def pooled(first, last):
        part = values[first:last]
        row = np.concatenate([part.max(0)[:3], part.min(0)[3:6], part.mean(0)[6:9], part[-1, 9:]])
        source = np.concatenate([part.argmax(0)[:3], part.argmin(0)[3:6], [-1] * 3, [len(part) - 1] * 3])
        return PooledRows(row[None].astype(np.float32), np.array([len(part)]), poolings, source[None])

    merged, whole = pooled(0, 4).merge(pooled(4, 7).located_from(4)), pooled(0, 7)
    np.testing.assert_allclose(merged.values, whole.values, rtol=1e-6)
    np.testing.assert_array_equal(merged.source, whole.source)
    assert merged.tokens.tolist() == [7]


def test_a_value_that_is_not_a_number_wins_in_a_merge():
    both = np.array(["max", "min"])
    first = PooledRows(np.array([[1.0, np.nan]], np.float32), np.array([1]), both)
    later = PooledRows(np.array([[np.nan, 1.0]], np.float32), np.array([1]), both)
    assert np.isnan(first.merge(later).values).all()


def test_features_of_single_tokens_and_prefixes_need_pytorch(exported):
    _, graph = exported("llama")
    with pytest.raises(BadFeatures, match="reads whole texts only"):
        list(graph.read(["a good day"], prefixes=True))


@pytest.mark.parametrize(
    ("family", "features", "message"),
    [
        ("llama", ("spline7",), " and others cannot be compiled, only maxima"),
        ("mixtral", ("margins",), "mixtral cannot be compiled"),
    ],
)
def test_what_cannot_be_compiled_is_refused(tmp_path, family, features, message):
    reader = TextReader(_loaded(family), FeatureSpec(features, layers=(0, 1), max_tokens=24))
    with pytest.raises(BadFeatures, match=message):
        reader.export_graph(tmp_path)


def _copy(folder, target):
    target.mkdir()
    for name in GRAPH_FILES:
        (target / name).write_bytes((folder / name).read_bytes())
    return target


@pytest.fixture
def folder(exported, tmp_path):
    exported("llama")
    return _copy(_MADE["llama"][1], tmp_path / "graph")


@pytest.mark.parametrize("name", GRAPH_FILES)
def test_a_missing_file_is_refused_by_name(folder, name):
    (folder / name).unlink()
    with pytest.raises(BrokenArtifact, match=name):
        CompiledModel(folder)


@pytest.mark.parametrize("name", GRAPH_FILES[1:])
def test_a_cut_or_changed_file_is_refused_by_name(folder, name):
    data = (folder / name).read_bytes()
    for damaged in (b"", data[:-1], data[:-9] + b"\x00" + data[-8:]):
        (folder / name).write_bytes(damaged)
        with pytest.raises(BrokenArtifact, match=f"{name} was cut or changed"):
            TextReader(CompiledModel(folder), SPEC)


def test_a_folder_of_another_version_is_refused(folder):
    record = json.loads((folder / "graph.json").read_text())
    (folder / "graph.json").write_text(json.dumps(record | {"format": 9}))
    with pytest.raises(BrokenArtifact, match="has format 9, and this version reads 3"):
        read_record(folder)


def test_a_changed_record_is_refused(folder):
    record = json.loads((folder / "graph.json").read_text())
    record["columns"][0]["pooling"] = "min"
    (folder / "graph.json").write_text(json.dumps(record))
    with pytest.raises(BrokenArtifact, match=r"graph\.json was changed"):
        read_record(folder)


def test_a_graph_of_another_prompt_is_refused(folder):
    with pytest.raises(BrokenArtifact, match="made for a detector with another prompt"):
        TextReader(CompiledModel(folder), replace(SPEC, prompt="we are"))


def test_a_reader_of_a_graph_can_be_pickled(exported):
    _, graph = exported("llama")
    again = pickle.loads(pickle.dumps(graph))
    (ours,), (theirs,) = graph.read(["a good day"]), again.read(["a good day"])
    np.testing.assert_array_equal(ours.values, theirs.values)


def test_another_precision_is_refused_with_those_that_there_are():
    with pytest.raises(BadFeatures, match="has float32, bfloat16, int8, not float16"):
        check_precision("float16")


NO_TORCH = """
import sys
for name in ("torch", "transformers", "sklearn", "scipy"):
    sys.modules[name] = None
opened = []
sys.addaudithook(lambda event, args: opened.append(args) if event == "socket.connect" else None)
from splinelens.engines.compiled import CompiledModel
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from pathlib import Path
spec = FeatureSpec.from_dict({spec})
(features,) = TextReader(CompiledModel(Path({folder!r})), spec).read(["a good day"])
assert not opened, opened
print(features.values.sum())
"""


def test_a_graph_runs_without_pytorch_and_opens_no_connection(exported, folder):
    reader, _ = exported("llama")
    code = NO_TORCH.replace("{spec}", repr(reader.spec.to_dict())).replace("{folder!r}", repr(str(folder)))
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env={**os.environ}, check=False
    )
    assert done.returncode == 0, done.stderr
    (features,) = reader.read(["a good day"])
    assert float(done.stdout) == pytest.approx(float(features.values.sum()), rel=1e-3)


EXPORT = """
import sys
opened = []
watched = ("socket.connect", "socket.sendto", "socket.getaddrinfo")
sys.addaudithook(lambda event, args: opened.append(args) if event in watched else None)
from pathlib import Path
from splinelens import load_model
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
spec = FeatureSpec(("margins",), layers=(0,), max_tokens=24)
TextReader(load_model({model!r}, device="cpu"), spec).export_graph(Path({folder!r}))
assert not opened, opened
"""


def test_the_export_sends_nothing(tmp_path):
    """Its telemetry would be on unless the user said no; the home folder here is one where nobody did."""
    model, home = tmp_path / "model", tmp_path / "home"
    home.mkdir()
    (tmp_path / "graph").mkdir()
    build_tiny("llama", num_hidden_layers=1).save_pretrained(model)
    build_tokenizer().save_pretrained(model)
    code = EXPORT.replace("{model!r}", repr(str(model))).replace("{folder!r}", repr(str(tmp_path / "graph")))
    environment = {**os.environ, "HOME": str(home), "SPLINELENS_CACHE": str(tmp_path / "cache")}
    environment.pop("CI", None)
    done = subprocess.run(
        [sys.executable, "-W", "error::UserWarning", "-c", code],
        capture_output=True,
        text=True,
        env=environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert not list(home.rglob("*"))
