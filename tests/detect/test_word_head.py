"""Tests ``detect/word_head.py``: what a head reads of a word, which words it marks, and its files."""

import numpy as np
import pytest

from splinelens.detect.heads import LinearHead
from splinelens.detect.shipped import find_artifact, shipped
from splinelens.detect.word_head import FILES, MarkedCounts, WordHead, word_columns
from splinelens.errors import BadFeatures, BrokenArtifact

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
    found = columns()
    assert found.shape == (4, 12 + 8 + 4)
    value, share, strong, function, square, root, fires, largest, letters, words, total, most = found.T[:12]
    assert value.tolist() == [0.5, 2.0, 0.0, 1.0]
    assert share.tolist() == [0.25, 1.0, 0.0, 0.5]
    assert (strong.tolist(), function.tolist()) == ([0, 1, 0, 1], [0, 0, 0, 1])
    assert (square.tolist(), root.tolist()) == ([0.0625, 1, 0, 0.25], [0.5, 1, 0, np.sqrt(0.5)])
    assert (fires.tolist(), largest.tolist()) == ([0, 1, 0, 0], [0, 1, 0, 0])
    assert letters.tolist() == [3, 4, 1, 2]
    assert (set(words), set(total), set(most)) == ({np.log(4)}, {3.5}, {2.0})
    assert found[:, 12:16].tolist() == [[0] * 4, *found[:3, :4].tolist()]
    assert found[:, 16:20].tolist() == [*found[1:, :4].tolist(), [0] * 4]
    assert found[:, 20:22].tolist() == [[1, -2], [3, 4], [0.5, -2], [2, 1]]
    assert found[:, 22:24].tolist() == [[1, -2], [0.5, 0], [3, 4], [2, 1]]


def test_a_text_without_a_word_that_adds_anything_has_finite_columns():
    found = word_columns(MARGINS[:1], WORD[:1], np.array([-1.0]), np.array([False]), np.array([3]))
    assert np.isfinite(found).all()
    assert found.shape == (1, 24)


def test_a_word_is_marked_beside_the_largest_and_by_itself():
    scores = head().scores(columns(), KEYS)
    assert scores.tolist() == [0.5, 2.0, 0.0, 1.0]
    assert head().marked(scores).tolist() == [False, True, False, True]
    assert head(share=0.0, least=0.5).marked(scores).tolist() == [True, True, False, True]
    assert head().marked(np.zeros(0)).tolist() == []


def test_far_columns_are_cut():
    far = columns()
    far[:, 0] = 100
    assert head().scores(far, KEYS).tolist() == [6.0] * 4


def test_files_give_back_the_head(tmp_path):
    head().write(tmp_path)
    found = WordHead.load(tmp_path)
    assert (found.share, found.least, found.detector, found.record["n"]) == (0.5, 0.1, "ab", 1)
    assert np.array_equal(found.head.weight, head().head.weight)


def test_damaged_files_and_other_columns_are_refused(tmp_path):
    with pytest.raises(BrokenArtifact):
        WordHead.load(tmp_path)
    head().write(tmp_path)
    (tmp_path / "words.safetensors").write_bytes(b"x")
    with pytest.raises(BrokenArtifact):
        WordHead.load(tmp_path)
    with pytest.raises(BadFeatures, match="the word head has 25 columns, not 24"):
        head(25).scores(columns(), KEYS)


def counts():
    texts = [(["you", "fool", "of", "once"], np.array([False, True, False, False]))]
    return MarkedCounts.of([*texts, (["fool", "you"], np.array([True, False]))])


def test_counts_are_of_places_and_hold_no_word():
    found = counts()
    assert (sorted(found.marked.tolist()), sorted(found.places.tolist())) == ([0, 2], [2, 2])
    assert found.share(["fool", "you", "once"]).tolist() == [0.5, 0.0, 0.0]
    share, smoothed, places, unseen, beside, square = found.columns(["fool", "goose"]).T
    assert share.tolist() == [2.1 / 4, 0.1 / 2]
    assert smoothed.tolist() == [2.4 / 10, 0.4 / 8]
    assert (places.tolist(), unseen.tolist()) == ([np.log(3), 0], [0, 1])
    assert (beside[0], square[0]) == (1, (2.1 / 4) ** 2)
    assert found.columns([]).shape == (0, 6)
    nothing = MarkedCounts.of([])
    assert nothing.share(["fool"]).tolist() == [0.0]


def test_a_head_with_counts_reads_them_and_its_files_have_them(tmp_path):
    weight = np.zeros((1, 30))
    weight[0, 24] = 1.0
    made = WordHead(LinearHead(np.zeros(30), np.ones(30), weight, np.zeros(1)), 0.5, 0.1, "ab", {}, counts())
    made.write(tmp_path)
    found = WordHead.load(tmp_path)
    scores = found.scores(columns(), ["fool", "you", "!", "of"])
    assert scores.tolist() == made.scores(columns(), ["fool", "you", "!", "of"]).tolist()
    assert scores[0] == 2.1 / 4


def test_the_shipped_head_belongs_to_the_shipped_detector():
    made = WordHead.load(shipped()["toxicity-fast"])
    artifact = find_artifact("toxicity-fast")
    assert made.detector == artifact.digest
    assert made.head.width == 12 + 8 + 2 * len(artifact.directions) + 6


@pytest.mark.parametrize(
    "change", [{"places": None}, {"places": np.zeros(1, np.int32)}, {"word": np.zeros(2)}]
)
def test_counts_that_do_not_fit_are_refused(tmp_path, change):
    arrays = {
        "word": np.array([1, 2], np.uint64),
        "marked": np.zeros(2, np.int32),
        "places": np.ones(2, np.int32),
    }
    arrays = {name: array for name, array in (arrays | change).items() if array is not None}
    values = {"share": 0.5, "least": 0.1, "detector": "ab"}
    FILES.write(tmp_path, values, head().head.arrays() | arrays)
    with pytest.raises(BrokenArtifact, match="counts"):
        WordHead.load(tmp_path)
