"""Tests apps/group.py: detectors that share a pass score as they do by themselves."""

from dataclasses import replace

import numpy as np
import pytest

from splinelens.apps.detector import Detector
from splinelens.apps.group import DetectorGroup
from splinelens.errors import BadDetector
from splinelens.geometry.directions import Directions

TEXTS = ["you are good", "you rude toad", "", "rude " * 40, "the tea is fine " * 9]


@pytest.fixture
def saved(fit_on, tmp_path):
    """Saves a detector of learned directions, and says where."""

    def save(name, count, layers, **spec):
        rng = np.random.default_rng(count)
        weight = rng.normal(size=(count, len(layers), 32)).astype(np.float32)
        directions = Directions(weight, rng.normal(size=count).astype(np.float32))
        artifact = fit_on(directions, features=("direction_max", "direction_mean"), layers=layers, **spec)
        replace(artifact, name=name).save(tmp_path / name)
        return tmp_path / name

    return save


def test_detectors_in_one_pass_score_and_explain_as_each_does(saved):
    folders = [saved("both", 5, (0, 1)), saved("second", 3, (1,)), saved("prompted", 4, (1,), prompt="see")]
    group = DetectorGroup.load(folders)
    assert list(group.artifacts) == ["both", "second", "prompted"]
    assert [sorted(entries) for _, entries in group.passes] == [["both", "second"], ["prompted"]]
    together = group.score(TEXTS, explain=True)
    for folder in folders:
        for ours, theirs in zip(together, Detector.load(folder).score(TEXTS, explain=True), strict=True):
            record = ours[folder.name]
            assert (record.verdict, record.reason, record.row) == (theirs.verdict, theirs.reason, theirs.row)
            if theirs.score is not None:
                assert record.score == pytest.approx(theirs.score, abs=1e-5)
                parts = [[span.contribution for span in one.spans] for one in (record, theirs)]
                np.testing.assert_allclose(*parts, atol=1e-4)


def test_margins_at_other_layers_share_a_pass(fit_on, tmp_path):
    for name, layers in (("one", (0,)), ("two", (0, 1))):
        replace(fit_on(layers=layers), name=name).save(tmp_path / name)
    group = DetectorGroup.load([tmp_path / "one", tmp_path / "two"])
    assert len(group.passes) == 1
    for name in ("one", "two"):
        alone = Detector.load(tmp_path / name).score(TEXTS)
        scores = [record[name].score for record in group.score(TEXTS)]
        assert scores == pytest.approx([record.score for record in alone], abs=1e-6)


def test_two_detectors_of_one_name_are_refused(saved):
    folder = saved("same", 3, (0,))
    with pytest.raises(BadDetector, match=r"two detectors have one name \(same, same\)"):
        DetectorGroup.load([folder, f"{folder}/"])


def test_no_detector_is_refused():
    with pytest.raises(BadDetector, match="name at least one detector"):
        DetectorGroup.load([])


def test_detectors_of_different_models_are_refused(fit_on, tmp_path):
    artifact = fit_on(layers=(0,))
    artifact.save(tmp_path / "one")
    other = replace(artifact, name="two", model={**artifact.model, "name": "another"})
    other.save(tmp_path / "two")
    with pytest.raises(BadDetector, match="tiny and two were fitted with different models"):
        DetectorGroup.load([tmp_path / "one", tmp_path / "two"])
