"""Tests ``detect/word_head.py``: what a head reads of a word, which words it marks, and its files."""

from dataclasses import replace

import numpy as np
import pytest

from splinelens.detect.heads import LinearHead
from splinelens.detect.shipped import find_artifact
from splinelens.detect.word_head import FILES, WORD_COLUMNS, WordHead, shipped_word_head, word_columns
from splinelens.errors import BadFeatures, BrokenArtifact
from splinelens.features.marked_counts import COUNT_COLUMNS, MarkedCounts

MARGINS = np.array([[1.0, -2.0], [3.0, 0.0], [0.5, 4.0], [2.0, 1.0]])
KEYS = ["oh", "you", "!", "of"]
WORD = np.array([0, 1, 1, 3])  # the third word has no token


def columns():
    value = np.array([0.5, 2.0, 0.0, 1.0])
    return word_columns(MARGINS, WORD, value, np.array([False, False, False, True]), np.array([3, 4, 1, 2]))


def head(width=24, share=0.5, least=0.1):
    weight = np.zeros((1, width))
    weight[0, 0] = 1.0
    return WordHead(
        LinearHead(np.zeros(width), np.ones(width), weight, np.zeros(1)), share, least, "ab", {"n": 1}
    )


def test_the_columns_by_hand():
    read = columns()
    assert read.shape == (4, len(WORD_COLUMNS) + 8 + 4)
    by_name = dict(zip(WORD_COLUMNS, read.T.tolist(), strict=False))
    assert by_name == {
        "Shapley value": [0.5, 2.0, 0.0, 1.0],
        "share of the largest value": [0.25, 1.0, 0.0, 0.5],
        "at least 0.45 of it": [0, 1, 0, 1],
        "function word": [0, 0, 0, 1],
        "square of the share": [0.0625, 1, 0, 0.25],
        "root of the share": [0.5, 1, 0, np.sqrt(0.5)],
        "at least 0.45 of it and no function word": [0, 1, 0, 0],
        "the largest": [0, 1, 0, 0],
        "characters": [3, 4, 1, 2],
        "log of the words of the text": [np.log(4)] * 4,
        "sum of the values": [3.5] * 4,
        "largest value": [2.0] * 4,
    }
    assert read[:, 12:16].tolist() == [[0] * 4, *read[:3, :4].tolist()]
    assert read[:, 16:20].tolist() == [*read[1:, :4].tolist(), [0] * 4]
    assert read[:, 20:22].tolist() == [[1, -2], [3, 4], [0.5, -2], [2, 1]]
    assert read[:, 22:24].tolist() == [[1, -2], [0.5, 0], [3, 4], [2, 1]]


def test_a_text_without_a_word_that_adds_anything_has_finite_columns():
    found = word_columns(MARGINS[:1], WORD[:1], np.array([-1.0]), np.array([False]), np.array([3]))
    assert np.isfinite(found).all()
    assert found.shape == (1, 24)


def test_a_word_is_marked_beside_the_largest_and_by_itself():
    scores = head().scores(columns())
    assert scores.tolist() == [0.5, 2.0, 0.0, 1.0]
    assert head().marked(scores).tolist() == [False, True, False, True]
    assert head(share=0.0, least=0.5).marked(scores).tolist() == [True, True, False, True]
    assert head().marked(np.zeros(0)).tolist() == []


def test_far_columns_are_cut():
    far = columns()
    far[:, 0] = 100
    assert head().scores(far).tolist() == [6.0] * 4


def test_files_give_back_the_head(tmp_path):
    head().write(tmp_path)
    found = WordHead.load(tmp_path)
    assert (found.share_of_largest, found.least, found.detector, found.record["n"]) == (0.5, 0.1, "ab", 1)
    assert np.array_equal(found.head.weight, head().head.weight)


def test_damaged_files_and_other_columns_are_refused(tmp_path):
    with pytest.raises(BrokenArtifact):
        WordHead.load(tmp_path)
    head().write(tmp_path)
    (tmp_path / "words.safetensors").write_bytes(b"x")
    with pytest.raises(BrokenArtifact):
        WordHead.load(tmp_path)
    with pytest.raises(BadFeatures, match="the word head has 25 columns, not 24"):
        head(25).scores(columns())


def counts():
    texts = [(["you", "fool", "of", "once"], np.array([False, True, False, False]))]
    return MarkedCounts.of([*texts, (["fool", "you"], np.array([True, False]))])


def test_counts_are_of_occurrences_and_hold_no_word():
    made = counts()
    assert (sorted(made.marked.tolist()), sorted(made.occurrences.tolist())) == ([0, 2], [2, 2])
    assert made.share(["fool", "you", "once"]).tolist() == [0.5, 0.0, 0.0]
    by_name = dict(zip(COUNT_COLUMNS, made.columns(["fool", "goose"]).T.tolist(), strict=True))
    assert by_name == {
        "share marked, two occurrences added": [2.1 / 4, 0.1 / 2],
        "share marked, eight occurrences added": [2.4 / 10, 0.4 / 8],
        "log of 1 + occurrences": [np.log(3), 0],
        "never seen": [0, 1],
        "share beside the largest of the text": [1, 0.05 / (2.1 / 4)],
        "square of the share": [(2.1 / 4) ** 2, 0.05**2],
    }
    assert made.columns([]).shape == (0, len(COUNT_COLUMNS))
    nothing = MarkedCounts.of([])
    assert nothing.share(["fool"]).tolist() == [0.0]


def test_a_head_with_counts_reads_them_and_its_files_have_them(tmp_path):
    weight = np.zeros((1, 30))
    weight[0, 24] = 1.0
    made = WordHead(LinearHead(np.zeros(30), np.ones(30), weight, np.zeros(1)), 0.5, 0.1, "ab", {}, counts())
    made.write(tmp_path)
    loaded = WordHead.load(tmp_path)
    joined = np.concatenate([columns(), loaded.counts.columns(["fool", "you", "!", "of"])], axis=1)
    assert loaded.scores(joined)[0] == made.scores(joined)[0] == 2.1 / 4


def test_the_shipped_head_belongs_to_the_shipped_detector():
    artifact = find_artifact("toxicity-fast")
    made = shipped_word_head("toxicity-fast", artifact.digest)
    assert made.head.width == len(WORD_COLUMNS) + 8 + 2 * len(artifact.directions) + len(COUNT_COLUMNS)
    assert made.detector == artifact.at_prevalence(0.02).origin
    assert shipped_word_head("toxicity-fast", "of another detector") is None
    assert shipped_word_head("toxicity", find_artifact("toxicity").digest) is None
    assert shipped_word_head("mine", artifact.digest) is None


@pytest.mark.parametrize(
    "change",
    [
        {"occurrences": None},
        {"occurrences": np.zeros(1, np.int32)},
        {"word": np.zeros(2)},
        {"word": np.array([2, 1], np.uint64)},
        {"marked": np.array([0, 2], np.int32)},
        {"marked": np.array([-1, 0], np.int32)},
    ],
)
def test_counts_that_do_not_fit_are_refused(tmp_path, change):
    arrays = {
        "word": np.array([1, 2], np.uint64),
        "marked": np.zeros(2, np.int32),
        "occurrences": np.ones(2, np.int32),
    }
    arrays = {name: array for name, array in (arrays | change).items() if array is not None}
    values = {"share_of_largest": 0.5, "least": 0.1, "detector": "ab"}
    FILES.write(tmp_path, values, head().head.arrays() | arrays)
    with pytest.raises(BrokenArtifact, match="counts"):
        WordHead.load(tmp_path)


@pytest.mark.parametrize("changed", [{"share": -3.0}, {"share": 1.5}, {"least": float("nan")}, {"width": 19}])
def test_limits_and_columns_that_cannot_be_are_refused(tmp_path, changed):
    made = head(**changed)
    made.write(tmp_path)
    with pytest.raises(BrokenArtifact, match=r"no such limits|which no word has|does not say when"):
        WordHead.load(tmp_path)


def test_a_head_of_several_labels_or_without_its_counts_is_refused(tmp_path):
    one = head().head
    two = LinearHead(one.mean, one.scale, np.repeat(one.weight, 2, axis=0), np.zeros(2))
    replace(head(), head=two).write(tmp_path)
    with pytest.raises(BrokenArtifact, match="24 columns for 2 labels"):
        WordHead.load(tmp_path)
    replace(head(), counts=counts()).write(tmp_path)
    with pytest.raises(BrokenArtifact, match="24 columns for 1 labels"):
        WordHead.load(tmp_path)
