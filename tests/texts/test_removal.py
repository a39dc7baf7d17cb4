"""Tests ``texts/removal.py``: words, and the white space that would be doubled."""

from splinelens.texts.removal import without


def test_words_are_removed_with_the_space_beside_them():
    assert without("a b c", [(0, 1)]) == "b c"
    assert without("a b c", [(2, 3)]) == "a c"
    assert without("a b c", [(4, 5)]) == "a b"
    assert without("a b c", [(0, 1), (2, 3)]) == "c"
    assert without("b, b!", [(0, 1), (3, 4)]) == ", !"
