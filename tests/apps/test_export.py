"""Tests apps/export.py: an exported detector scores as its origin does, and says how far not."""

import shutil

import numpy as np
import pytest

pytest.importorskip("openvino")

from splinelens.apps.detector import Detector, plan_of
from splinelens.apps.export import EXPORT_FILES, export
from splinelens.detect.artifact import Artifact
from splinelens.errors import BadFeatures, BadLabels, BrokenArtifact, CannotWrite, OutputExists
from splinelens.features.loading import load_reader
from splinelens.geometry.directions import Directions
from tests.apps.conftest import labeled

TEXTS = ["you are good", "you rude toad", "", "rude " * 40, "the tea is fine " * 9]


@pytest.fixture(autouse=True)
def _engine(monkeypatch):
    monkeypatch.delenv("SPLINELENS_ENGINE")


_MADE = {}  # a detector is fitted and traced once; tests work on copies


@pytest.fixture
def saved(request, tmp_path, tmp_path_factory):
    """A detector with directions as a folder."""
    if "saved" not in _MADE:
        fit_on, directions = map(request.getfixturevalue, ("fit_on", "directions"))
        folder = tmp_path_factory.mktemp("made") / "saved"
        fit_on(directions, features=("direction_max", "direction_min"), layers=(0, 1)).save(folder)
        _MADE["saved"] = folder
    return shutil.copytree(_MADE["saved"], tmp_path / "saved")


@pytest.fixture
def exported(saved, tmp_path, tmp_path_factory):
    """It exported over itself and measured on labeled rows, which move none of its thresholds."""
    if "exported" not in _MADE:
        folder = shutil.copytree(saved, tmp_path_factory.mktemp("made") / "exported")
        texts, labels = labeled(60)
        _MADE["differences"] = export(saved, folder, texts=texts, labels=labels, overwrite=True)
        _MADE["exported"] = folder
    return shutil.copytree(_MADE["exported"], tmp_path / "exported")


def test_an_exported_detector_scores_and_explains_as_the_detector(saved, exported):
    assert sorted(path.name for path in exported.iterdir()) == sorted(EXPORT_FILES)
    before = Detector.load(saved, engine="torch").score(TEXTS, explain=True)
    after = Detector.load(exported).score(TEXTS, explain=True)
    for ours, theirs in zip(after, before, strict=True):
        assert (ours.verdict, ours.tokens, ours.reason) == (theirs.verdict, theirs.tokens, theirs.reason)
        if theirs.score is not None:
            assert ours.score == pytest.approx(theirs.score, abs=1e-4)
            parts = [[span.contribution for span in record.spans] for record in (ours, theirs)]
            np.testing.assert_allclose(*parts, atol=1e-3)


def test_an_exported_detector_has_no_shapley_values(saved, exported):
    texts = ["you silly goose", "a clear day"]
    with pytest.raises(
        BadFeatures, match=r"use the torch engine \(Detector\.load\(\.\.\., engine='torch'\)\)"
    ):
        Detector.load(exported).score(texts, explain=True, words="shapley")
    first, last = Detector.load(exported, engine="torch").score(texts, explain=True, words="shapley")
    assert len(first.words) == len(last.words) == 3


def test_the_engine_that_ran_is_in_the_provenance(saved, exported):
    from splinelens.features.extract import provenance
    from splinelens.texts import Texts

    texts = Texts.of(["a"])
    assert "engine" not in provenance(Detector.load(saved, engine="torch").reader, texts)
    record = provenance(Detector.load(exported).reader, texts)
    assert record["engine"].startswith("openvino 20")
    assert record["engine"].endswith("float32")
    assert "torch" not in record


@pytest.fixture
def small(fit_on, tmp_path):
    """A detector of one block without directions, whose graph takes half the time."""
    fit_on(layers=(0,)).save(tmp_path / "small")
    return tmp_path / "small"


def test_a_graph_is_made_once_auto_then_finds_it_and_a_damaged_one_is_made_again(
    small, tmp_path, monkeypatch
):
    monkeypatch.setenv("SPLINELENS_CACHE", str(tmp_path / "cache"))
    assert Detector.load(small).reader.torch_engine  # none is made for a detector of the user's own
    before = Detector.load(small, engine="compiled").score(TEXTS)
    (graph,) = (tmp_path / "cache" / "graphs").iterdir()
    made = (graph / "graph.xml").stat().st_mtime_ns
    second = Detector.load(small)
    assert (graph / "graph.xml").stat().st_mtime_ns == made
    assert second.score(TEXTS) == before
    assert "openvino" in repr(second.reader.loaded)
    (graph / "graph.bin").write_bytes(b"")
    assert Detector.load(small).score(TEXTS) == before
    (graph / "tokenizer.json").unlink()
    assert Detector.load(small).score(TEXTS) == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"engine": "fast"}, "engine 'fast' is not one of auto, torch, compiled"),
        ({"engine": "compiled", "device": "cuda:0"}, "on the CPU"),
        ({"engine": "compiled", "dtype": "float16"}, "has float32, bfloat16, int8, not float16"),
    ],
)
def test_an_engine_that_cannot_run_is_refused(exported, options, message):
    with pytest.raises(BadFeatures, match=message):
        Detector.load(exported, **options)


def test_a_detector_trained_anew_into_an_exported_folder_is_not_read_with_the_old_graph(
    saved, exported, fit_on, directions
):
    other = Directions(-directions.weight, directions.bias)
    fit_on(other, features=("direction_max", "direction_min"), layers=(0, 1)).save(exported)
    with pytest.raises(BrokenArtifact, match="other directions than the one beside it"):
        Detector.load(exported)


def test_what_cannot_be_compiled_is_read_with_pytorch_unless_asked_for(fit_on, tmp_path):
    fit_on(features=("spline7",)).save(tmp_path / "seven")
    assert load_reader(plan_of(Artifact.load(tmp_path / "seven")), compile_once=True).torch_engine
    for attempt in (
        lambda: Detector.load(tmp_path / "seven", engine="compiled"),
        lambda: export(tmp_path / "seven", tmp_path / "out"),
    ):
        with pytest.raises(BadFeatures, match="cannot be compiled"):
            attempt()
    assert not (tmp_path / "out").exists()


def test_measured_on_rows_it_says_how_far_scores_moved(exported):
    (measured,) = _MADE["differences"]
    assert (measured.label, measured.rows, measured.verdicts, measured.moved) == ("toxic", 60, 0, {})
    assert measured.auc == pytest.approx(measured.auc_torch, abs=1e-6)
    assert 0 <= measured.median <= measured.largest < 1e-4
    record = Artifact.load(exported).training["exported"]
    assert record["differences"][0]["largest"] == measured.largest
    assert "| toxic | 60 |" in (exported / "CARD.md").read_text()


def test_an_existing_detector_is_replaced_only_with_overwrite(saved, exported):
    before = Artifact.load(exported).training
    with pytest.raises(OutputExists):
        export(saved, exported)
    assert Artifact.load(exported).training == before
    assert "exported" not in Artifact.load(saved).training  # which the fixture's overwrite=True replaced


def test_an_output_that_is_a_file_is_refused(saved, tmp_path):
    (tmp_path / "out").write_text("mine")
    with pytest.raises(OutputExists, match="is a file; name another folder"):
        export(saved, tmp_path / "out")
    assert (tmp_path / "out").read_text() == "mine"


def test_where_the_system_refuses_to_write_nothing_is_left(small, tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))  # bytes of a file, as a full disk has few
    try:
        with pytest.raises(CannotWrite, match="cannot write"):
            export(small, tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not (tmp_path / "out").exists()


def test_texts_need_labels(saved, tmp_path):
    with pytest.raises(BadLabels, match="give both or neither"):
        export(saved, tmp_path / "out", texts=["a"])


def test_a_graph_of_another_detector_is_refused(saved, exported, fit_on, tmp_path):
    fit_on(layers=(0, 1)).save(tmp_path / "other")
    for name in ("detector.json", "detector.safetensors"):
        (exported / name).write_bytes((tmp_path / "other" / name).read_bytes())
    with pytest.raises(BrokenArtifact, match="was made for a detector with another prompt"):
        Detector.load(exported)


def test_a_damaged_graph_is_refused_and_pytorch_still_reads(exported):
    (exported / "graph.bin").write_bytes(b"")
    with pytest.raises(BrokenArtifact, match="was cut or changed"):
        Detector.load(exported)
    assert Detector.load(exported, engine="torch").score(["you are good"])[0].score is not None
