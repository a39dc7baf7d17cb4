"""Tests ``texts/labels.py``: two classes, several classes, and several labels a row."""

import numpy as np
import pandas
import polars
import pyarrow
import pytest
import torch

from splinelens.errors import BadLabels
from splinelens.texts import read_labels
from splinelens.texts.labels import labels_of


def binary(values, positive=None):
    return read_labels({"kind": values}, positive).values[:, 0].tolist()


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
        pandas.Series([0.0, 1.0, 1.0]),
        pandas.Series(["0", "1", "1"], dtype="category"),
        pandas.Series([False, True, True], dtype="boolean"),
        polars.Series([False, True, True]),
        pyarrow.array([0, 1, 1]),
        iter(["no", "yes", "YES"]),
    ],
    ids=lambda values: f"{type(values).__name__} {getattr(values, 'dtype', '')}",
)
def test_every_spelling_of_two_classes_is_read(values):
    labels = read_labels({"toxic": values})
    assert labels.values.tolist() == [[0], [1], [1]]
    assert labels.values.dtype == np.int8


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
    assert binary(values, positive) == [1, 0, 0, 1]


@pytest.mark.parametrize("positive", ["Hate", "spam"])
def test_a_positive_value_that_never_occurs_in_this_case_is_refused(positive):
    with pytest.raises(BadLabels, match=f"label 'kind' is never '{positive}'; it holds 'hate', 'none'"):
        binary(["hate", "none"], positive)


@pytest.mark.parametrize(
    "missing",
    [None, "", "  ", "NaN", float("nan"), np.float64("nan"), np.float32("nan"), pandas.NA],
    ids=repr,
)
@pytest.mark.parametrize("positive", [None, "1"])
def test_rows_without_a_label_are_left_out(missing, positive):
    labels = read_labels({"toxic": ["1", missing, "0", missing]}, positive)
    assert (labels.rows, labels.missing, labels.values.tolist()) == ((0, 2), 2, [[1], [0]])


def test_other_values_of_several_columns_are_named_up_to_five():
    with pytest.raises(BadLabels) as caught:
        read_labels({"kind": ["a", "0", "b", "c", "a", "d", "e", "f", "1"], "rude": [0, 1] * 4 + [0]})
    assert str(caught.value) == (
        "label 'kind' holds 'a', 'b', 'c', 'd', 'e' and 1 more, where 0/1, true/false or only yes/no "
        "is read; say which value counts as 1 with --positive VALUE (Python: positive=VALUE)"
    )


@pytest.mark.parametrize("value", [2, -1, 0.5, "yes", "01", float("inf")], ids=repr)
def test_a_value_that_only_looks_binary_is_refused(value):
    with pytest.raises(BadLabels, match="where 0/1, true/false or only yes/no is read"):
        read_labels({"toxic": [0, 1, value], "rude": [0, 1, 1]})


def test_one_class_is_refused_saying_which_and_how_often():
    with pytest.raises(BadLabels, match=r"label 'kind' is 1 in all 3 rows \('1', 'true'\); give rows"):
        binary([1, "1", True])
    with pytest.raises(BadLabels, match=r"label 'kind' is 1 in all 2 rows \('hate'\)"):
        binary(["hate", "hate"], "hate")
    with pytest.raises(
        BadLabels, match=r"\('x'\); empty cells \(1\) count as missing, write a value such as no there"
    ):
        binary(["x", "", "x"], "x")


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
    result = read_labels({"kind": values})
    assert (result.task, result.names, result.negative) == ("binary", names, negative)
    assert result.values.tolist() == [[1], [0], [1]]


def test_two_words_that_do_not_tell_need_a_positive_value():
    with pytest.raises(
        BadLabels, match="holds 'cat', 'dog', where 0/1, true/false or only yes/no is read; say which"
    ):
        read_labels({"kind": ["cat", "dog"]})
    result = read_labels({"kind": ["cat", "dog", "eel"]}, positive="dog")
    assert (result.task, result.names, result.values[:, 0].tolist()) == ("binary", ("dog",), [0, 1, 0])


@pytest.mark.parametrize(
    ("values", "positive", "negative"),
    [
        (["rude", "polite", ""], "rude", "polite"),
        (["rude", "polite", ""], "polite", "rude"),
        (["yes", "no"], "yes", "no"),
        ([1, 0], "1", None),
        (["rude", "polite", "odd"], "rude", None),
    ],
    ids=["words", "turned", "yes-no", "numbers", "three"],
)
def test_the_other_of_two_words_names_the_negative(values, positive, negative):
    result = read_labels({"kind": values}, positive)
    assert (result.names, result.negative, result.positive_values) == ((positive,), negative, (positive,))


@pytest.mark.parametrize(
    ("values", "ones"),
    [([1.0, 0.0], ("1",)), (["Yes", "no", "YES"], ("Yes", "YES")), (["clean", "toxic"], ("toxic",))],
    ids=["numbers", "yes-no", "words"],
)
def test_it_says_which_values_of_the_table_are_1(values, ones):
    assert read_labels({"rude": values}).positive_values == ones


def test_the_words_of_a_detector_are_read_without_a_positive_value():
    result = read_labels({"kind": ["rude", "polite"]}, verdicts=("rude", "polite"))
    assert (result.names, result.negative, result.values[:, 0].tolist()) == (("rude",), "polite", [1, 0])
    assert read_labels({"kind": [1, 0]}, verdicts=("rude", "polite")).values[:, 0].tolist() == [1, 0]
    with pytest.raises(BadLabels, match="say which"):
        read_labels({"kind": ["rude", "kind"]}, verdicts=("rude", "polite"))


def test_more_words_are_classes_in_order():
    result = read_labels({"field": ["law", "art", "tax", "law"]})
    assert (result.task, result.names) == ("classes", ("art", "law", "tax"))
    assert result.values.tolist() == [[0, 1, 0], [1, 0, 0], [0, 0, 1], [0, 1, 0]]


def test_the_classes_of_a_detector_keep_their_order_and_foreign_ones_are_refused():
    result = read_labels({"field": ["law", "tax"]}, expected=("tax", "art", "law"))
    assert result.values.tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(BadLabels, match="label 'field' holds 'sea'; the classes are 'tax', 'law'"):
        read_labels({"field": ["law", "sea"]}, expected=("tax", "law"))


def test_more_values_than_classes_can_be_are_refused():
    with pytest.raises(
        BadLabels, match=r"label 'price' holds 300 different values, more than 200 classes; choose another"
    ):
        read_labels({"price": [str(value / 7) for value in range(300)]})


@pytest.mark.parametrize("positive", [None, "rude"])
@pytest.mark.parametrize("rows", [4, 11, 64, 250])
def test_an_error_on_a_column_of_texts_names_it_and_counts_its_values_but_shows_no_text(rows, positive):
    texts = [f"Is number {row} the last bus?" for row in range(rows)]
    with pytest.raises(BadLabels, match="label 'comment'") as caught:
        read_labels({"comment": texts}, positive)
    assert "the last bus" not in str(caught.value)
    if rows > 10 or positive is None:
        assert f"holds {rows} different values" in str(caught.value)


def test_of_few_long_values_an_error_shows_the_beginnings_of_two():
    with pytest.raises(BadLabels, match=r"it holds 'this is no label but...', 'no' and 1 more$"):
        read_labels({"kind": ["this is no label but a text", "no", "yes"]}, positive="rude")


def test_several_columns_are_labels_of_which_a_row_may_have_any_number():
    result = read_labels({"rude": [1, 0, 1, None], "spam": ["yes", "no", "no", "no"]})
    assert (result.task, result.names, result.rows, result.missing) == (
        "labels",
        ("rude", "spam"),
        (0, 1, 2),
        1,
    )
    assert result.values.tolist() == [[1, 1], [0, 0], [1, 0]]
    with pytest.raises(BadLabels, match="label 'spam' is 0 in all 2 rows"):
        read_labels({"rude": [1, 0], "spam": [0, 0]})
    measured = read_labels({"rude": [1, 0], "spam": [0, 0]}, expected=("spam", "rude"))
    assert measured.values.tolist() == [[0, 1], [0, 0]]
    with pytest.raises(BadLabels, match="is for one label column"):
        read_labels({"rude": [1, 0], "spam": [0, 1]}, positive="1")


def test_rows_without_a_label_are_left_out_and_all_missing_is_refused():
    result = read_labels({"toxic": [1, "", 0, float("nan"), None]})
    assert (result.rows, result.missing, result.values.tolist()) == ((0, 2), 3, [[1], [0]])
    with pytest.raises(BadLabels, match="label 'toxic' is missing in all 2 rows; choose another column"):
        read_labels({"toxic": [None, " "]})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ([1], "a label is a list, where a number or a word is read"),
        ({}, "a label is an object"),
        (b"1", "a label is bytes"),
        (10**5000, "a label is a number of over 64 bits"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_is_no_label_is_refused(value, words):
    with pytest.raises(BadLabels, match=words):
        read_labels({"toxic": [0, 1, value]})
    with pytest.raises(BadLabels, match=words):
        labels_of([0, 1, value], 3)


@pytest.mark.parametrize(
    "labels",
    [
        [0, 1, None],
        np.ma.array([0, 1, 1], mask=[False, False, True]),
        pandas.Series([0, 1, None], dtype="Int64"),
        polars.Series([0, 1, None]),
        pyarrow.array([0, 1, None]),
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_a_missing_label_in_memory_is_refused_with_its_row(labels):
    with pytest.raises(BadLabels, match=r"1 of 3 labels .* are missing, the first in row 2"):
        labels_of(labels, 3)


@pytest.mark.parametrize(
    "labels",
    [
        torch.tensor([0, 1, 1]),
        pyarrow.array([False, True, True]),
        pandas.Series([0, 1, 1]).astype("category"),
        (bit for bit in [0.0, 1.0, 1.0]),
        [np.int8(0), np.float32(1), np.bool_(True)],
    ],
    ids=lambda labels: type(labels).__name__,
)
def test_labels_in_memory_come_in_any_column(labels):
    assert labels_of(labels, 3).values.tolist() == [[0], [1], [1]]


def test_lists_of_tags_are_refused_with_the_way_to_a_table():
    with pytest.raises(
        BadLabels, match=r"rows of different lengths; of lists of tags .* MultiLabelBinarizer"
    ):
        labels_of([["rude"], [], ["travel"]], 3)


def test_labels_without_a_name_are_called_by_the_verdict():
    with pytest.raises(BadLabels, match="label 'rude' is 1 in all 2 rows"):
        labels_of([1, 1], 2, verdicts=("rude", "polite"))
