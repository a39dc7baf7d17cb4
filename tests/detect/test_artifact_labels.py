"""Tests ``detect/artifact.py``: detectors of several labels, and hashes of the texts they saw."""

from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save as save_arrays

from splinelens.detect.artifact import Artifact
from splinelens.detect.calibration import Calibration
from splinelens.errors import BrokenArtifact

from .test_artifact import THRESHOLD, exchange_arrays, plain, rewrite


@pytest.fixture
def of_two(artifact):
    """A detector of two labels."""
    weight = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    return replace(
        artifact,
        task="labels",
        labels=("rude", "spam"),
        negative="none",
        head=replace(artifact.head, weight=weight, bias=np.array([0.1, -3.0])),
        calibrations=(Calibration(1.5, 0.1), Calibration(0.5, -0.2)),
        thresholds=artifact.thresholds * 2,
        seen=np.array([3, 2**63, 2**64 - 1], dtype=np.uint64),
    )


def test_several_labels_and_the_hashes_of_seen_texts_come_back(of_two, tmp_path):
    of_two.save(tmp_path)
    again = Artifact.load(tmp_path)
    assert plain(again) == plain(of_two)
    assert again.seen.tolist() == [3, 2**63, 2**64 - 1]
    assert again.seen.dtype == np.uint64
    assert again.head.weight.tobytes() == of_two.head.weight.tobytes()


def test_each_label_has_the_score_of_its_own_calibration(of_two):
    logits, tokens = np.array([[2.0, -1.0], [0.0, np.nan]]), np.array([3, 4])
    by_hand = [[1 / (1 + np.exp(-(1.5 * 2 + 0.1))), 1 / (1 + np.exp(0.5 + 0.2))]]
    assert of_two.scores(logits, tokens)[:1] == pytest.approx(np.array(by_hand))
    assert np.isnan(of_two.scores(logits, tokens)[1]).tolist() == [False, True]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"task": "binary"}, "2 labels, 2 of them different, for task binary"),
        ({"labels": ["rude", "rude"]}, "2 labels, 1 of them different, for task labels"),
        ({"labels": ["rude", "undetermined"]}, "the verdicts 'rude', 'undetermined', 'none' and"),
        ({"labels": ["rude", ""]}, "must differ and not be empty"),
        ({"negative": "rude"}, "the verdicts .* must differ"),
        ({"negative": ""}, "must differ and not be empty"),
        ({"labels": ["rude", "Undetermined "]}, "must differ by what is seen"),
        ({"labels": ["rude", "\uff32ude"]}, "must differ by what is seen"),
        ({"negative": "rude\u200b"}, "must differ by what is seen"),
        ({"negative": "\u200b "}, "must differ by what is seen"),
        ({"negative": "a\nb"}, "holds a line break or control character"),
        ({"labels": ["rude", "\x1b[2J"]}, "holds a line break or control character"),
        ({"negative": "a" * 10**6}, "a verdict has 1,000,000 characters, more than 200"),
        ({"labels": []}, "0 labels"),
        ({"labels": ["a", "b", "c"]}, "3 labels need as many rows of weights"),
        ({"calibrations": []}, "2 labels need as many rows of weights"),
        ({"thresholds": [[], [THRESHOLD]]}, "equal lists of thresholds"),
    ],
)
def test_labels_that_do_not_hold_together_are_refused(of_two, tmp_path, change, found):
    of_two.save(tmp_path)
    rewrite(tmp_path, lambda manifest: manifest.update(change))
    with pytest.raises(BrokenArtifact, match=rf"detector\.json is inconsistent: .*{found}"):
        Artifact.load(tmp_path)


@pytest.mark.parametrize("seen", [np.ones(2, np.uint64), np.arange(3), np.ones((2, 2), np.uint64)])
def test_hashes_that_do_not_ascend_are_refused(artifact, folder, seen):
    exchange_arrays(folder, save_arrays(artifact.head.arrays() | {"seen": seen}))
    with pytest.raises(BrokenArtifact, match="seen holds something other than ascending hashes"):
        Artifact.load(folder)


def test_a_single_label_is_a_binary_detector_with_its_numbers(of_two, tmp_path):
    values, tokens = np.random.default_rng(2).normal(size=(5, 6)), np.arange(1, 6)
    single = of_two.single_label("spam")
    assert (single.task, single.labels, single.negative) == ("binary", ("spam",), "not spam")
    both = of_two.scores(of_two.head.logit(values), tokens)
    assert single.scores(single.head.logit(values), tokens)[:, 0].tolist() == both[:, 1].tolist()
    assert single.thresholds == (of_two.thresholds[1],)
    single.save(tmp_path)
    assert Artifact.load(tmp_path).labels == ("spam",)
    assert single.digest != of_two.digest
    assert single.origin == Artifact.load(tmp_path).origin == of_two.origin == of_two.digest
    assert single.single_label("spam") is single
