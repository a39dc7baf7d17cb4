"""Tests ``texts/labels.py``: labels of two classes."""

import numpy as np
import pytest

from splinelens.errors import BadLabels
from splinelens.texts import binary_labels, read_labels


@pytest.mark.parametrize(
    "values",
    [
        [0, 1, 1],
        ["0", "1", " 1 "],
        [0.0, 1.0, 1.0],
        ["0.0", "1.0", "1"],
        [False, True, True],
        ["false", "True", "TRUE"],
        ["0", True, 1.0],
        [np.int64(0), np.bool_(True), np.float32(1)],
        np.array([0, 1, 1]),
    ],
    ids=str,
)
def test_every_spelling_of_two_classes_is_read(values):
    labels = binary_labels(values, "toxic")
    assert labels.tolist() == [0, 1, 1]
    assert labels.dtype == np.int8


@pytest.mark.parametrize(
    ("values", "positive"),
    [
        (["hate", "none", "spam", "hate"], "hate"),
        ([2, 0, 1, 2], "2"),
        ([2.0, 0.5, 1.0, 2.0], "2"),
        ([True, False, False, True], "true"),
        (["0", "1", "1", "0"], "0"),
    ],
)
def test_the_positive_value_is_1_and_all_others_0(values, positive):
    assert binary_labels(values, "kind", positive).tolist() == [1, 0, 0, 1]


def test_the_positive_value_is_matched_with_its_case():
    with pytest.raises(BadLabels, match="label 'kind' is never 'Hate'; it holds 'hate', 'none'"):
        binary_labels(["hate", "none"], "kind", "Hate")


@pytest.mark.parametrize("missing", [None, "", "  ", "NaN", float("nan"), np.float64("nan")], ids=repr)
@pytest.mark.parametrize("positive", [None, "1"])
def test_missing_labels_are_counted_and_the_first_rows_named(missing, positive):
    values = ["1", missing, "0", *[missing] * 6, "1"]
    with pytest.raises(BadLabels) as caught:
        binary_labels(values, "toxic", positive)
    assert str(caught.value) == (
        "label 'toxic' is missing in 7 of 10 rows: 1, 3, 4, 5, 6, ... (counted from 0); "
        "fill them in or leave those rows out"
    )


def test_few_missing_labels_are_all_named():
    with pytest.raises(BadLabels, match=r"missing in 2 of 4 rows: 0, 3 \(counted from 0\)"):
        binary_labels([None, 1, 0, None], "toxic")


def test_other_values_are_named_up_to_five_and_positive_is_suggested():
    with pytest.raises(BadLabels) as caught:
        binary_labels(["a", "0", "b", "c", "a", "d", "e", "f", "1"], "kind")
    assert str(caught.value) == (
        "label 'kind' holds 'a', 'b', 'c', 'd', 'e' and 1 more, where 0/1 or true/false is read; "
        "say which value counts as 1 with --positive VALUE"
    )


@pytest.mark.parametrize("value", [2, -1, 0.5, "yes", "01", [1], float("inf")], ids=repr)
def test_a_value_that_only_looks_binary_is_refused(value):
    with pytest.raises(BadLabels, match="where 0/1 or true/false is read"):
        binary_labels([0, 1, value], "toxic")


def test_one_class_is_refused_saying_which_and_how_often():
    with pytest.raises(
        BadLabels, match=r"label 'toxic' is 1 in all 3 rows \('1', 'true'\); give rows of both"
    ):
        binary_labels([1, "1", True], "toxic")
    with pytest.raises(BadLabels, match=r"label 'kind' is 1 in all 2 rows \('hate'\)"):
        binary_labels(["hate", "hate"], "kind", "hate")


def test_a_positive_value_that_never_occurs_is_refused():
    with pytest.raises(BadLabels, match="label 'kind' is never 'spam'; it holds 'hate', 'none'"):
        binary_labels(["hate", "none"], "kind", "spam")


def test_no_rows_are_refused():
    with pytest.raises(BadLabels, match="label 'toxic' has no rows"):
        binary_labels([], "toxic")
    with pytest.raises(BadLabels, match="is never 'x'; it holds no rows"):
        binary_labels([], "toxic", "x")


@pytest.mark.parametrize(
    ("values", "names", "negative"),
    [
        (["1", "0", "1"], ("kind",), None),
        ([1.0, 0.0, 1.0], ("kind",), None),
        (["yes", "No", "YES"], ("kind",), None),
        (["true", "False", "TRUE"], ("kind",), None),
        (["toxic", "clean", "toxic"], ("toxic",), "clean"),
        (["hate", "non-hate", "hate"], ("hate",), "non-hate"),
        (["Spam", "ham", "Spam"], ("Spam",), "ham"),
    ],
)
def test_two_values_that_tell_which_counts_as_1_are_binary(values, names, negative):
    found = read_labels({"kind": values})
    assert (found.task, found.names, found.negative) == ("binary", names, negative)
    assert found.values.tolist() == [[1], [0], [1]]


def test_two_words_that_do_not_tell_need_a_positive_value():
    with pytest.raises(BadLabels, match="holds 'cat', 'dog', where 0/1 or true/false is read; say which"):
        read_labels({"kind": ["cat", "dog"]})
    found = read_labels({"kind": ["cat", "dog", "eel"]}, positive="dog")
    assert (found.task, found.names, found.values[:, 0].tolist()) == ("binary", ("dog",), [0, 1, 0])


def test_more_words_are_classes_in_order():
    found = read_labels({"field": ["law", "art", "tax", "law"]})
    assert (found.task, found.names) == ("classes", ("art", "law", "tax"))
    assert found.values.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_the_classes_of_a_detector_keep_their_order_and_foreign_ones_are_refused():
    found = read_labels({"field": ["law", "tax"]}, expected=("tax", "art", "law"))
    assert found.values.tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(BadLabels, match="label 'field' holds 'sea'; the classes are 'tax', 'law'"):
        read_labels({"field": ["law", "sea"]}, expected=("tax", "law"))


def test_more_values_than_classes_can_be_are_refused():
    with pytest.raises(
        BadLabels, match=r"holds 300 different values .* more than 200 classes; choose another"
    ):
        read_labels({"price": [str(value / 7) for value in range(300)]})


def test_several_columns_are_labels_of_which_a_row_may_have_any_number():
    found = read_labels({"rude": [1, 0, 1, None], "spam": ["yes", "no", "no", "no"]})
    assert (found.task, found.names, found.rows, found.missing) == ("labels", ("rude", "spam"), (0, 1, 2), 1)
    assert found.values.tolist() == [[1, 1], [0, 0], [1, 0]]
    with pytest.raises(BadLabels, match="label 'spam' is 0 in all 2 rows"):
        read_labels({"rude": [1, 0], "spam": [0, 0]})
    measured = read_labels({"rude": [1, 0], "spam": [0, 0]}, expected=("spam", "rude"))
    assert measured.values.tolist() == [[0, 1], [0, 0]]
    with pytest.raises(BadLabels, match="is for one label column"):
        read_labels({"rude": [1, 0], "spam": [0, 1]}, positive="1")


def test_rows_without_a_label_are_left_out_and_all_missing_is_refused():
    found = read_labels({"toxic": [1, "", 0, float("nan"), None]})
    assert (found.rows, found.missing, found.values.tolist()) == ((0, 2), 3, [[1], [0]])
    with pytest.raises(BadLabels, match="label 'toxic' is missing in all 2 rows; choose another --label"):
        read_labels({"toxic": [None, " "]})
