"""Tests ``texts/removal.py``: words, and the white space that would be doubled."""

from splinelens.texts.removal import places, without


def test_words_are_removed_with_the_space_beside_them():
    assert without("a b c", [(0, 1)]) == "b c"
    assert without("a b c", [(2, 3)]) == "a c"
    assert without("a b c", [(4, 5)]) == "a b"
    assert without("a b c", [(0, 1), (2, 3)]) == "c"
    assert without("b, b!", [(0, 1), (3, 4)]) == ", !"


def test_a_run_of_words_is_found_wherever_it_begins():
    assert places(["a", "b", "a", "b", "a"], ["a", "b", "a"]) == [0, 2]
    assert places(["a"], ["a", "b"]) == places(["b"], ["a"]) == places([], ["a"]) == []
