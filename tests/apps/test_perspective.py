"""Tests ``apps/perspective.py``: maps to logged scores, their file, and what is refused."""

import json
import logging
from dataclasses import replace

import numpy as np
import pytest

from splinelens.apps.detector import Detector
from splinelens.apps.perspective import (
    LABELS,
    attribute_measures,
    calibrate_attributes,
    load_calibration,
    logged_columns,
)
from splinelens.detect.artifact import Artifact
from splinelens.detect.shipped import find_artifact
from splinelens.errors import BadCalibration, BadDetector, BadLabels, BadTexts
from splinelens.texts import Texts

from .conftest import labeled

TEXTS = tuple(labeled(80)[0])
_MADE = {}  # a fitted artifact takes a second


@pytest.fixture
def folder(fit_on, tmp_path, tiny_folder):
    """The folder of a detector of one label."""
    if "artifact" not in _MADE:
        _MADE["artifact"] = fit_on(layers=(0,))
    model = {**_MADE["artifact"].model, "name": str(tiny_folder)}
    replace(_MADE["artifact"], model=model).save(tmp_path / "tiny-detector")
    return tmp_path / "tiny-detector"


@pytest.fixture
def pairs(folder):
    """Texts with the square of their score as ``TOXICITY``, changed by the row."""

    def pairs(change=lambda row, score: score**2):
        if "scores" not in _MADE:
            _MADE["scores"] = [record.score for record in Detector.load(folder).score(TEXTS)]
        return Texts(TEXTS, {"TOXICITY": tuple(map(change, range(80), _MADE["scores"]))}, "log.csv")

    return pairs


def fit(folder, texts, **options):
    return calibrate_attributes(texts, {"TOXICITY": "TOXICITY"}, detectors=[folder], **options)


def test_logged_scores_that_rise_with_ours_are_mapped_with_little_error(folder, pairs):
    one = fit(folder, pairs()).attributes["TOXICITY"]
    assert one.errors.rank_correlation == pytest.approx(1)
    assert one.errors.mean_absolute_after < one.errors.mean_absolute_before / 3
    np.testing.assert_allclose(one.map.at(one.scores), one.logged, atol=1e-6)
    assert (one.missing, one.unscored, one.digest) == (0, 0, Artifact.load(folder).digest)


def test_rows_without_a_score_on_either_side_are_counted(folder, pairs):
    texts = pairs(lambda row, score: None if row < 3 else " " if row == 3 else f"{score**2:.6f}")
    broken = Texts(
        tuple("" if row == 5 else text for row, text in enumerate(texts.texts)), texts.columns, "a"
    )
    one = fit(folder, broken).attributes["TOXICITY"]
    assert (one.missing, one.unscored, len(one.scores)) == (4, 1, 75)


def test_the_file_is_read_as_it_was_written(folder, pairs, tmp_path):
    fitted = fit(folder, pairs(), command="splinelens calibrate log.csv")
    fitted.save(tmp_path / "map.json")
    artifacts = {"tiny": Artifact.load(folder)}
    assert load_calibration(tmp_path / "map.json", artifacts) == {
        "TOXICITY": fitted.attributes["TOXICITY"].map
    }
    provenance = json.loads((tmp_path / "map.json").read_text("utf-8"))["provenance"]
    assert provenance["command"] == "splinelens calibrate log.csv"
    assert provenance["attributes"]["TOXICITY"]["pairs"] == 80
    again = fit(folder, pairs(), command="splinelens calibrate log.csv")
    again.save(tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == (tmp_path / "map.json").read_bytes()


def test_the_page_shows_no_text(folder, pairs, tmp_path):
    texts = pairs()
    fit(folder, texts).write_page(tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text("utf-8")
    assert 'data-figure="TOXICITY"' in page
    assert not [text for text in texts.texts if text in page]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda row, score: 100 * score,
            r"the first in row \d+ .* percents: divide them by 100",
        ),
        (lambda row, score: score - 2, "80 of 80 scores of TOXICITY are outside 0 to 1"),
        (lambda row, score: "inf" if row == 4 else score, r"the first in row 4 .*; correct or remove them"),
        (lambda row, score: "0,5" if row == 7 else score, "row 7 .*'0,5', no number; write a decimal point"),
        (lambda row, score: "high" if row == 7 else score, "row 7 .*'high', no number; give a score"),
        (lambda row, score: True, "TOXICITY is true or false, no number"),
        (lambda row, score: 0.5, "TOXICITY is 0.5 in all 80 pairs"),
        (lambda row, score: score if row < 49 else "nan", "49 pairs of TOXICITY, of 49 different texts"),
        (lambda row, score: 1 - score, "do not rise with ours"),
    ],
    ids=["percent", "negative", "infinite", "comma", "word", "bool", "constant", "few", "falling"],
)
def test_logged_scores_that_cannot_be_mapped_to_are_refused(folder, pairs, change, words):
    with pytest.raises(BadLabels, match=words):
        fit(folder, pairs(change))


def test_one_text_in_many_rows_is_one_pair(folder):
    texts = Texts(("the tea is fine",) * 80, {"TOXICITY": tuple(np.linspace(0, 1, 80))}, "log.csv")
    with pytest.raises(BadLabels, match="80 pairs of TOXICITY, of 1 different texts"):
        fit(folder, texts)


def test_an_attribute_that_nothing_measures_is_left_out_or_refused(folder, pairs, caplog):
    texts = pairs()
    both = Texts(texts.texts, {**texts.columns, "THREAT": texts.columns["TOXICITY"]}, "log.csv")
    columns = {"TOXICITY": "TOXICITY", "THREAT": "THREAT"}
    with caplog.at_level(logging.WARNING):
        assert list(calibrate_attributes(both, columns, detectors=[folder]).attributes) == ["TOXICITY"]
    assert "no detector of tiny measures THREAT: left out" in caplog.text
    with pytest.raises(BadTexts, match="no detector of tiny measures THREAT; add --detector types"):
        calibrate_attributes(both, {"THREAT": "THREAT"}, detectors=[folder])
    with pytest.raises(BadDetector, match="two detectors have the name tiny"):
        calibrate_attributes(both, columns, detectors=[folder, str(folder)])


def test_shipped_detectors_measure_the_six_attributes():
    artifacts = {name: find_artifact(name) for name in ("types", "toxicity", "domain")}
    found = attribute_measures(artifacts)
    assert {name: one.label for name, one in found.items()} == LABELS
    assert {name for name, one in found.items() if one.detector == "toxicity"} == {"TOXICITY"}
    assert attribute_measures({"types": artifacts["types"]})["TOXICITY"].detector == "types"


def test_columns_are_called_like_attributes_in_any_case(caplog):
    assert logged_columns(["text", " insult", "Threat"], {}, "a") == {"INSULT": " insult", "THREAT": "Threat"}
    assert logged_columns(["text", "threat"], {"THREAT": None}, "a") == {"THREAT": "threat"}
    logged_columns(["THREAT", "flirtation"], {}, "a")
    assert "column FLIRTATION is left out: no detector measures it" in caplog.text
    with pytest.raises(BadTexts, match="a has two columns of THREAT, 'threat', 'Threat'"):
        logged_columns(["threat", "Threat"], {}, "a")
    with pytest.raises(BadTexts, match=r"a has no column called TOXICITY, .*, but 'text', 'score'"):
        logged_columns(["text", "score"], {}, "a")


@pytest.fixture
def written(tmp_path):
    """Writes a calibration of the shipped ``toxicity``, changed by a function, and loads it."""
    artifacts = {"toxicity": find_artifact("toxicity")}

    def written(change=lambda document: None, artifacts=artifacts):
        fitted = {"detector": "toxicity", "label": "toxic", "digest": find_artifact("toxicity").digest}
        document = {
            "TOXICITY": {"x": [0.0, 0.5, 1.0], "y": [0.1, 0.4, 0.9]},
            "provenance": {"schema": 1, "attributes": {"TOXICITY": fitted}},
        }
        changed = change(document)
        raw = changed if isinstance(changed, str) else json.dumps(document)
        (tmp_path / "map.json").write_text(raw)
        return load_calibration(tmp_path / "map.json", artifacts)

    return written


def test_a_map_for_another_detector_is_refused(written):
    assert written()["TOXICITY"].at(0.25) == pytest.approx(0.25)
    fast, types = (find_artifact(name) for name in ("toxicity-fast", "types"))
    with pytest.raises(BadCalibration, match=r"fitted to scores of detector toxicity .*, and toxicity-fast"):
        written(artifacts={"toxicity-fast": fast})
    with pytest.raises(BadCalibration, match=r"and types .* measures it here"):
        written(artifacts={"types": types})
    with pytest.raises(BadCalibration, match="maps TOXICITY, which none of the detectors domain measures"):
        written(artifacts={"domain": find_artifact("domain")})


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda map: map["TOXICITY"].update(y=[0.5, 0.4, 0.9]), "x must rise and y not fall"),
        (lambda map: map["TOXICITY"].update(x=[0.0, 0.0, 0.9]), "x must rise and y not fall"),
        (lambda map: map["TOXICITY"].update(y=[0.5, 0.9]), "x must rise and y not fall"),
        (lambda map: map["TOXICITY"].update(y=[0.5, 0.9, 1.5]), "scores must be from 0 to 1"),
        (lambda map: map["TOXICITY"].update(y=[0.5, 0.9, "1"]), "damaged at y.2"),
        (lambda map: map["TOXICITY"].update(x=[0.5], y=[0.5]), "damaged at x"),
        (lambda map: map["TOXICITY"].update(y=[0.5, 0.9, float("nan")]), "NaN is no JSON number"),
        (lambda map: map.update(INSULT=map["TOXICITY"]), "other maps than its provenance names"),
        (lambda map: map["provenance"].update(schema=2), "damaged at schema"),
        (lambda map: map.pop("provenance"), "is no calibration file"),
        (lambda map: "[]", "is no calibration file"),
        (lambda map: json.dumps(map)[:40], "is no calibration file"),
        (lambda map: "[" * 100_000, "is no calibration file"),
        (lambda map: '{"provenance": {}, "provenance": {}}', "a key occurs twice"),
    ],
)
def test_a_damaged_file_is_refused(written, change, words):
    with pytest.raises(BadCalibration, match=words):
        written(change)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadCalibration, match=r"map\.json cannot be read"):
        load_calibration(tmp_path / "map.json", {})
