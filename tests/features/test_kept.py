"""Tests features/kept.py: rows come back as they were, and never take more than the room given."""

import numpy as np
from splinelens.features.kept import OVERHEAD_BYTES, KeptRows

ROW_BYTES = 40 + OVERHEAD_BYTES
TEXTS = [f"text {number}" for number in range(20)]


def rows(count=20, start=0):
    return [np.full(10, start + number, dtype=np.float32) for number in range(count)]


def test_rows_come_back_by_group_and_text():
    kept = KeptRows()
    kept.put("a", TEXTS, rows())
    kept.put("b", TEXTS[:2], rows(2, start=100))
    found = kept.get("a", ["unknown", TEXTS[3], TEXTS[1]])
    assert {text: row[0] for text, row in found.items()} == {TEXTS[3]: 3, TEXTS[1]: 1}
    assert kept.get("b", TEXTS)[TEXTS[1]][0] == 101
    assert kept.get("c", TEXTS) == {}


def test_rows_are_copies_that_do_not_hold_the_table():
    kept, table = KeptRows(), np.ones((2, 10), dtype=np.float32)
    kept.put("a", TEXTS[:2], list(table))
    table[:] = 7
    row = kept.get("a", TEXTS)[TEXTS[0]]
    assert row[0] == 1
    assert row.base is None


def test_a_group_that_is_too_large_keeps_what_fits_and_keeps_it():
    kept = KeptRows()
    for _ in range(3):  # the same texts come round: the kept ones are found each time
        kept.put("a", TEXTS, rows(), room_bytes=5 * ROW_BYTES + 10)
        assert list(kept.get("a", TEXTS)) == TEXTS[:5]
        assert kept.size_bytes == 5 * ROW_BYTES


def test_the_group_asked_for_longest_ago_gives_way():
    kept = KeptRows()
    for group in "abc":
        kept.put(group, TEXTS[:5], rows(5), room_bytes=15 * ROW_BYTES)
    kept.get("a", TEXTS)
    kept.put("d", TEXTS[:5], rows(5), room_bytes=15 * ROW_BYTES)
    assert [len(kept.get(group, TEXTS)) for group in "abcd"] == [5, 0, 5, 5]
    assert kept.size_bytes == 15 * ROW_BYTES


def test_the_same_text_is_kept_once():
    kept = KeptRows()
    kept.put("a", [TEXTS[0]] * 3, rows(3))
    assert kept.size_bytes == ROW_BYTES
    assert kept.get("a", TEXTS)[TEXTS[0]][0] == 0


def test_no_text_is_kept_and_any_string_has_a_hash():
    kept = KeptRows()
    kept.put("a", ["lone \ud800", "secret words"], rows(2))
    assert list(kept.get("a", ["lone \ud800"])) == ["lone \ud800"]
    assert "secret" not in repr(kept._groups)


def test_nothing_is_left_when_all_is_forgotten():
    kept = KeptRows()
    kept.put("a", TEXTS, rows())
    kept.forget()
    assert kept.size_bytes == 0
    assert kept.get("a", TEXTS) == {}
