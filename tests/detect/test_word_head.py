"""Tests ``detect/word_head.py``: what a head reads of a word, which words it marks, and its files."""

import numpy as np
import pytest

from splinelens.detect.heads import LinearHead
from splinelens.detect.word_head import WordHead, word_columns
from splinelens.errors import BadFeatures, BrokenArtifact

MARGINS = np.array([[1.0, -2.0], [3.0, 0.0], [0.5, 4.0], [2.0, 1.0]])
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
        head(25).scores(columns())
