"""Tests detection/rows.py: draws keep groups together, and no training text is judged."""

import numpy as np
from detection.rows import Task, Test, joined, rows_of, thinned, two_parts, without_tests


def test_rows_of_several_sets_stay_apart_and_in_order():
    rows = joined([rows_of("jig", np.array([5, 2]), np.array([1, 0])), rows_of("para", [7], [1])])
    assert [(name, places.tolist()) for name, places in rows.each_set()] == [("jig", [0, 1]), ("para", [2])]
    some = rows.take(rows.labels == 1)
    assert (some.sets.tolist(), some.index.tolist()) == (["jig", "para"], [5, 7])


def test_rows_with_a_known_label_are_told_from_those_without():
    one = rows_of("jig", np.arange(4), np.array([0, -1, 1, -1]))
    assert one.labelled().index.tolist() == [0, 2]
    several = rows_of("jig", np.arange(3), np.array([[-1, -1], [-1, 1], [0, 1]]), ("a", "b"))
    assert several.labelled().index.tolist() == [1, 2]
    assert several.labelled().kinds == ("a", "b")


def test_texts_are_those_of_the_rows(data):
    rows = joined([rows_of("jig", [3], [1]), rows_of("para", [0], [1])])
    assert rows.texts(data) == [data.sets["jig"].texts[3], data.sets["para"].texts[0]]


def test_a_draw_keeps_groups_together_and_strata_even():
    groups = np.arange(200) // 2
    strata = np.repeat([0, 1], [160, 40])
    first, second = two_parts(groups.tolist(), strata.tolist(), 0.7, seed=1)
    assert sorted([*first, *second]) == list(range(200))
    assert not set(groups[first]) & set(groups[second])
    assert [(strata[first] == side).sum() for side in (0, 1)] == [112, 28]
    again = two_parts(groups.tolist(), strata.tolist(), 0.7, seed=1)[0]
    assert np.array_equal(first, again)
    assert not np.array_equal(first, two_parts(groups.tolist(), strata.tolist(), 0.7, seed=2)[0])


def test_thinning_draws_without_order_or_repeats():
    rows = rows_of("jig", np.arange(100), np.arange(100) % 2)
    few = thinned(rows, 30)
    assert len(set(few.index.tolist())) == 30
    assert (np.diff(few.index) > 0).all()
    assert thinned(rows, None) is rows


def test_a_training_row_whose_text_is_judged_is_dropped(data):
    labels = np.array(data.sets["jig"].columns["positive"])
    train, test = (rows_of("jig", index, labels[index]) for index in (np.arange(40), np.arange(40, 100)))
    kept, dropped = without_tests(Task("train", train, (Test("test", test),), ()), data)
    assert dropped == 1  # row 40 repeats row 0 in capitals
    assert kept.index.tolist() == list(range(1, 40))
