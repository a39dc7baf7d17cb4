"""Tests ``benchmarks/explain.py``: what is planted where, by hand."""

import explain
import numpy as np

TEXT = "you silly goose!"
OFFSETS = [(0, 3), (4, 9), (10, 13), (13, 15), (15, 16)]


def test_a_list_ends_at_the_last_token_of_its_words():
    lists = [frozenset({"goose"}), frozenset({"you", "goo"})]
    ends = explain.ends(TEXT, OFFSETS, lists)
    assert ends.tolist() == [[0, 1], [0, 0], [0, 0], [0, 0], [1, 0]]


def test_sentences_are_those_of_paragraphs_each_once(tmp_path):
    long = "The river bends past an old mill where children feed the ducks ."
    file = tmp_path / "wiki.txt"
    file.write_text(f" = {long} = \n {long} Too short . {long} \n \n {long.replace('river', 'road')} \n")
    assert explain.wiki_sentences(file) == [long, long.replace("river", "road")]


def test_a_planted_hyperplane_fires_on_its_words(loaded):
    texts = [f"the {one} and a {other} bends" for one in ("goose", "mill") for other in ("road", "river")] * 9
    lists = [frozenset({"goose"}), frozenset({"river"})]
    detector = explain.planted_detector(loaded, texts, lists)
    assert detector.artifact.head.weight.tolist() == [[1, 0, 0, 1]]  # the maximum of one, the minimum of two
    for number, (word, sign) in enumerate((("goose", 1), ("river", -1))):
        fires, others = [], []
        for text, features in zip(texts, detector.reader.read(texts, locate=True), strict=True):
            at_end = explain.ends(text, features.offsets, [frozenset({word})])[:, 0].astype(bool)
            fires += (sign * features.learned[at_end, number]).tolist()
            others += (sign * features.learned[~at_end, number]).tolist()
        assert np.mean(fires) > np.mean(others) + 0.3


def test_an_explanation_is_a_row():
    removed = {"texts": 40, "larger": 0.95, "interval": [0.83, 0.99], "drop": 2.0, "random_drop": 0.0}
    one = {
        "hyperplanes": 20,
        "carried": 0.231,
        "holding": 19,
        "stability": 0.74,
        "least_stability": 0.5,
        "stability_of_words": 0.4,
        "deletion": removed,
    }
    *_, row, _ = explain.bars({"one": one})
    assert row == (
        "| one | 20 carry 23.1 % | 19 of 20 | 74 % (least 50 %) | 40 % | 95.0 % of 40 (83.0 to 99.0) |"
    )
    *_, row, _ = explain.bars({"one": one | {"stability_of_words": None, "deletion": None}})
    assert row.endswith("| - | - |")
