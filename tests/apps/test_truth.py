"""Tests ``apps/truth.py``: scores of truthfulness are fitted, saved, loaded and compared with the words."""

import json

import numpy as np
import pytest

from splinelens.apps import truth
from splinelens.apps.detector import Detector
from splinelens.errors import BadFeatures, BadLabels, BadModel, BadTexts, BrokenArtifact, WrongModel
from splinelens.models import load_model
from splinelens.texts import Texts

THINGS = ["tea", "sea", "day", "toad", "town", "rain", "road", "boat", "lamp", "moon"]
TRUE = [f"the {thing} is {word}" for thing in THINGS for word in ("cold", "here", "old", "red")]
FALSE = [f"no {thing} {word} {word}" for thing in THINGS for word in ("xyz", "qqq", "zzz", "kkk")]
LABELS = [1] * len(TRUE) + [0] * len(FALSE)
GROUPS = [text.split()[1] in THINGS[:5] for text in TRUE + FALSE]


@pytest.fixture(scope="module")
def loaded(writer_folder):
    return load_model(writer_folder(), head=True, device="cpu")


@pytest.fixture(scope="module")
def labeled(loaded):
    """Fitted to sentences that a random model tells apart, two of them unreadable."""
    return truth.fit([*TRUE, *FALSE, "", None], [*LABELS, 1, 0], loaded, neighbors=5, name="mine")


def test_labels_choose_among_all_methods_by_held_out_rows(labeled):
    assert set(labeled.aucs) == {"lid", "margins", "occupancy", "hidden", "geometry", "all"}
    assert labeled.aucs[labeled.method] == max(labeled.aucs.values()) > 0.9
    assert (labeled.training["rows"], labeled.training["left_out"]) == (80, 2)
    assert len(labeled.training["two_nn"]) == len(labeled.training["auc_by_layer"]) == 3


@pytest.mark.parametrize("method", ["lid", "margins", "all"])
def test_a_saved_score_gives_the_same_confidences(labeled, loaded, method, tmp_path):
    scorer = labeled.scorers[method]
    scorer.save(tmp_path / "s")
    again = truth.load(tmp_path / "s", model=loaded)
    records = scorer.score([TRUE[0], "", FALSE[0], None, TRUE[0]])
    assert again.score([TRUE[0], "", FALSE[0], None, TRUE[0]]) == records
    assert [record.row for record in records] == [0, 1, 2, 3, 4]
    assert [record.verdict for record in records][1::2] == ["undetermined"] * 2
    assert [record.reason for record in records][1::2] == ["is empty", "is missing"]
    assert 0 <= records[2].score < records[0].score == records[4].score <= 1
    assert (records[0].verdict, records[2].verdict) == ("true", "false")


def test_without_labels_a_text_is_compared_with_the_known_ones(loaded):
    fitted = truth.fit(TRUE, model=loaded, neighbors=5)
    assert (fitted.method, fitted.aucs) == ("lid", {})
    near, far = fitted.scorer.score([TRUE[3], "QQQQ ZZZZ XXXX !!!!"])
    assert near.score > far.score
    assert {near.verdict, far.verdict} <= {"like_reference", "unlike_reference"}


def test_a_head_is_a_detector_that_explains(labeled, loaded, tmp_path):
    labeled.scorers["margins"].save(tmp_path / "head")
    detector = Detector.load(tmp_path / "head", model=loaded)
    (record,) = detector.score([TRUE[0]], explain=True)
    assert (record.verdict, len(record.words)) == ("true", 4)


def test_damaged_folders_and_other_models_are_refused(labeled, loaded, writer_folder, tmp_path):
    labeled.scorers["lid"].save(tmp_path / "lid")
    labeled.scorers["all"].save(tmp_path / "all")
    with pytest.raises(BadModel, match="without its language-model head"):
        truth.load(tmp_path / "all", model=load_model(writer_folder(), device="cpu"))
    with pytest.raises(WrongModel):
        truth.load(tmp_path / "lid", model=load_model(writer_folder("gpt2"), device="cpu"))
    manifest = json.loads((tmp_path / "lid/truth.json").read_text())
    for change, message in [
        ({"schema": 9}, "this version reads 1"),
        ({"neighbors": 50}, "does not have the hash"),
    ]:
        (tmp_path / "lid/truth.json").write_text(json.dumps(manifest | change))
        with pytest.raises(BrokenArtifact, match=message):
            truth.load(tmp_path / "lid", model=loaded)
    (tmp_path / "lid/truth.safetensors").write_bytes(b"{}")
    with pytest.raises(BrokenArtifact, match="fit it again"):
        truth.load(tmp_path / "lid", model=loaded)
    (tmp_path / "all/likelihood.json").write_text("{}")
    with pytest.raises(BrokenArtifact, match=r"likelihood\.json is damaged"):
        truth.load(tmp_path / "all", model=loaded)


@pytest.mark.parametrize(
    ("texts", "labels", "options", "error", "message"),
    [
        (["the sea"], None, {}, BadFeatures, "1 texts with 1 different states"),
        (["the sea"] * 30, None, {}, BadFeatures, "30 texts with 1 different states"),
        (["", None], None, {}, BadTexts, "none of 2 texts can be read"),
        (TRUE, None, {"neighbors": 99}, BadFeatures, "99 neighbors need 100"),
        (TRUE, None, {"method": "margins"}, BadLabels, "fitted to labels"),
        (TRUE, None, {"method": "magic"}, BadFeatures, "give one of lid, margins"),
        (TRUE, [1] * 40, {}, BadLabels, "one class|0"),
        (TRUE, ["a", "b", "c", "d"] * 10, {}, BadLabels, "give one column of true and false"),
    ],
    ids=["one", "equal", "empty", "k", "method", "unknown", "one-class", "classes"],
)
def test_bad_references_and_labels_are_refused(loaded, texts, labels, options, error, message):
    with pytest.raises(error, match=message):
        truth.fit(texts, labels, loaded, **options)


def test_the_words_win_where_they_give_the_label_away(loaded, tmp_path):
    texts = Texts((*TRUE, *FALSE, ""), {"half": (*GROUPS, True)}, "planted")
    steps = []

    def evaluated(**options):
        return truth.evaluate(
            texts, [*LABELS, 1], loaded, neighbors=5, resamples=200, cache=tmp_path, **options
        )

    report = evaluated(groups="half", progress=lambda *step: steps.append(step))
    kinds = [rival.kind for rival in report.rivals]
    assert kinds == ["text only"] * 3 + ["model"] * (len(kinds) - 3)
    assert report.best_text.auc == 1.0
    assert report.verdict.startswith("No verdict: the words alone give 1.00 (TF-IDF of words)")
    assert (report.rows, report.left_out) == (80, {"it is empty": 1})
    assert report.groups == ("True", "False")
    assert all(len(rival.groups) == 2 for rival in report.rivals)
    assert sum(texts for texts, _ in steps) == 81
    read = {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert len(read) == 3
    assert evaluated(groups="half") == report
    assert {path.name: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == read


def test_one_group_and_labels_of_one_class_are_refused(loaded):
    with pytest.raises(BadTexts, match="all 80 rows are of one group"):
        truth.evaluate(TRUE + FALSE, LABELS, loaded, groups=["a"] * 80)
    with pytest.raises(BadLabels):
        truth.evaluate(TRUE, np.ones(len(TRUE)), loaded)


def test_the_page_and_its_record_are_written(loaded, tmp_path):
    pytest.importorskip("plotly")
    report = truth.evaluate(TRUE + FALSE, LABELS, loaded, neighbors=5, resamples=100)
    truth.write_report(report, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert "No verdict: the words alone give" in page
    assert TRUE[0] not in page
    record = json.loads((tmp_path / "page.json").read_text("utf-8"))
    assert (record["evidence"], record["rows"]) == (False, 80)
