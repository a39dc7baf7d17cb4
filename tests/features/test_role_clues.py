"""Tests ``features/role_clues.py``: paths and candidates by hand, and hashing."""

import hashlib

import numpy as np

from splinelens.features.role_clues import candidates, hashed, path_of, tree_clues
from splinelens.texts.parse import Tree

# Tom said they saw old Ann
TREE = Tree(
    "Tom said they saw old Ann",
    ((0, 3), (4, 8), (9, 13), (14, 17), (18, 21), (22, 25)),
    ("tom", "say", "they", "see", "old", "ann"),
    ("PROPN", "VERB", "PRON", "VERB", "ADJ", "PROPN"),
    ("NNP", "VBD", "PRP", "VBD", "JJ", "NNP"),
    (1, -1, 3, 1, 5, 3),
    ("nsubj", "root", "nsubj", "ccomp", "amod", "obj"),
)


def test_paths_by_hand():
    assert path_of(TREE, 3, 0) == "<ccomp >nsubj"
    assert path_of(TREE, 3, 5) == ">obj"
    assert path_of(TREE, 1, 4) == ">ccomp >obj >amod"
    assert path_of(TREE, 5, 1) == "<obj <ccomp"
    assert path_of(TREE, 3, 3) == ""


def test_long_paths_are_cut():
    words = 12
    chain = Tree(
        " ".join("a" * words),
        tuple((2 * at, 2 * at + 1) for at in range(words)),
        ("a",) * words,
        ("X",) * words,
        ("X",) * words,
        tuple(range(-1, words - 1)),
        tuple(f"r{at}" for at in range(words)),
    )
    assert path_of(chain, 0, 11) == ">r1 >r2 >r3 ... >r9 >r10 >r11"


def test_candidates_hang_below_the_predicate_and_the_words_above():
    assert candidates(TREE, 3) == [0, 1, 2, 5]
    assert candidates(TREE, 1) == [0, 3]


def test_clues_of_a_pair_by_hand():
    found = tree_clues(TREE, 3, 5)
    assert {
        "path >obj active",
        "path >obj after",
        "path >obj NNP",
        "path >obj see",
        "path >obj see active so",
        "path >obj ann",
        "path >obj nsubj obj",
        "relation obj active",
        "lemma ann see",
        "case - see",
    } <= set(found)
    assert "path <ccomp >nsubj before" in tree_clues(TREE, 3, 0)
    assert {len(tree_clues(TREE, *pair)) for pair in [(3, 0), (3, 5), (1, 3), (3, 2)]} == {len(found)}


def test_a_clue_has_the_same_column_everywhere():
    digest = int.from_bytes(hashlib.blake2b(b"path >obj", digest_size=8).digest(), "big")
    found = hashed(["path >obj", "path >obj", "x"], 64)
    assert found[:2].tolist() == [digest % 64] * 2
    assert np.all((found >= 0) & (found < 64))
    assert hashed(["\ud800"], 8).shape == (1,)
