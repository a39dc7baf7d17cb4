"""Tests ``texts/hashes.py``: texts that are the same but for case, spaces and signs."""

from hashlib import sha256

import numpy as np
import pytest

from splinelens.texts import text_hashes


def test_a_hash_by_hand():
    digest = sha256(b"haveaniceday2").digest()[:8]
    found = text_hashes(["Have a NICE day, 2!"])
    assert found.dtype == np.uint64
    assert found.tolist() == [int.from_bytes(digest, "little")]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Have a nice day", "have a nice\tday..."),
        ("Straße", "STRASSE"),
        ("a-b", "ab"),
        ("😀 😀", "😀😀"),
        ("", None),
        ("", " \n"),
    ],
)
def test_case_spaces_and_signs_do_not_count(one, other):
    first, second = text_hashes([one, other])
    assert first == second


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("tea", "teas"),
        ("v1", "v2"),
        ("हिंदी", "हद"),  # the vowels of Hindi are marks
        ("😀", "😁"),
        ("❤\ufe0f", "☀\ufe0f"),  # a mark without a letter
        ("???", "!!!"),
        ("\ud800a", "a"),
    ],
)
def test_what_differs_in_letters_has_another_number(one, other):
    if one == "\ud800a":  # a lone surrogate is no letter, and no trouble
        assert len(text_hashes([one, other])) == 2
        return
    first, second = text_hashes([one, other])
    assert first != second


def test_no_texts_have_no_hashes():
    assert text_hashes([]).shape == (0,)
