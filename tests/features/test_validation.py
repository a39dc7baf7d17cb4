"""Tests features/validation.py, and that everything that reads a text uses it."""

import jaxtyping
import numpy as np
import pytest

from splinelens import GeometryFeatures, inspect
from splinelens.errors import BadFeatures, BadTexts, NoTokens
from splinelens.features.look import look
from splinelens.features.slicing import slice_texts
from splinelens.features.token_report import read_tokens
from splinelens.features.validation import (
    check_layer,
    check_layers,
    check_names,
    check_positive,
    check_seed,
    check_share,
    check_text,
    check_texts,
    check_token,
    is_whole_number,
)

TEXT = "the thing you are after"


@pytest.fixture(autouse=True)
def _types_unchecked():
    """Wrong types reach the functions, as they do outside of tests."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture
def loaded(tiny_llama, wrap):
    return wrap(tiny_llama)


@pytest.mark.parametrize("text", [b"rain", 7, ["rain"], None])
def test_what_is_no_string_is_no_text(loaded, text):
    reason = f"must be one string, and this is a {type(text).__name__}"
    for read in (
        lambda: check_text(text),
        lambda: read_tokens(text, loaded),
        lambda: look(text, loaded, layer=0, token=0),
        lambda: slice_texts(["sun", text, "snow"], loaded, layer=0),
        lambda: inspect(text, loaded),
    ):
        with pytest.raises(BadTexts, match=reason):
            read()
    if text is not None:
        with pytest.raises(BadTexts, match=f"the other text {reason}"):
            inspect(TEXT, loaded, versus=text)


@pytest.mark.parametrize("layer", ["0", 1.0, True, None])
def test_what_is_no_whole_number_is_no_layer(loaded, layer):
    for read in (
        lambda: check_layer(layer),
        lambda: look(TEXT, loaded, layer=layer, token=0),
        lambda: slice_texts(["sun", "rain", "snow"], loaded, layer=layer),
        lambda: inspect(TEXT, loaded, layers=[layer]),
        lambda: read_tokens(TEXT, loaded, layers=[layer]),
    ):
        with pytest.raises(BadFeatures, match="is not a layer: give a whole number from 0, such as 5"):
            read()


@pytest.mark.parametrize("layers", [0, "01", 1.5])
def test_what_is_no_list_is_no_layers(loaded, layers):
    for read in (check_layers, lambda given: inspect(TEXT, loaded, layers=given)):
        with pytest.raises(BadFeatures, match=r"layers=.*: need a list of whole numbers from 0"):
            read(layers)


def test_layers_of_any_kind_are_put_in_order():
    assert check_layers(None) is None
    assert check_layers(np.array([2, 0, 2])) == (0, 2)
    assert check_layers(range(2)) == (0, 1)
    with pytest.raises(BadFeatures, match="no layer to read; name at least one"):
        check_layers([])
    with pytest.raises(BadFeatures, match=r"layers \[-1\] do not exist: they are counted from 0"):
        check_layer(-1)


@pytest.mark.parametrize("limit", [None, "5", 0, 2.5, True])
def test_a_limit_is_a_positive_number(loaded, limit):
    for read in (
        lambda: check_positive(limit, "max_tokens"),
        lambda: inspect(TEXT, loaded, max_tokens=limit),
    ):
        with pytest.raises(BadFeatures, match=r"max_tokens=.*: need a positive number"):
            read()


@pytest.mark.parametrize("token", ["1", 1.0, True, None])
def test_what_is_no_whole_number_is_no_token(loaded, token):
    for read in (lambda: check_token(token, 4), lambda: look(TEXT, loaded, layer=0, token=token)):
        with pytest.raises(BadFeatures, match="is not a token: give a whole number from 0, such as 3"):
            read()


def test_a_token_that_the_text_lacks_is_refused():
    assert check_token(np.int64(3), 4) == check_token(-1, 4) == 3
    for token in (4, -5):
        with pytest.raises(BadFeatures, match=f"token {token} does not exist: the text has 4 tokens, 0 to 3"):
            check_token(token, 4)


def test_names_are_one_string_or_several():
    assert check_names("max", "pooling") == ("max",)
    assert check_names(["max", "min"], "pooling") == ("max", "min")
    for names in (3, None, b"max", ["max", 3]):
        with pytest.raises(BadFeatures, match=r"pooling=.*: need one name, or a list of names"):
            check_names(names, "pooling")


def test_whole_numbers_are_those_of_python_and_numpy():
    assert [is_whole_number(value, 1) for value in (1, np.int64(7), 0, True, 1.0, "1", None)] == [
        True,
        True,
        *[False] * 5,
    ]


class Series:
    """As pandas has it: a shape, an index that does not begin at 0, and iteration over values."""

    def __init__(self, values):
        self.values, self.shape = values, (len(values),)

    def __iter__(self):
        return iter(self.values)


@pytest.mark.parametrize(
    "rows",
    [
        ["one", "two"],
        ("one", "two"),
        np.array(["one", "two"]),
        np.array(["one", "two"], dtype=object),
        np.array([["one"], ["two"]]),
        Series(["one", "two"]),
        (word for word in ["one", "two"]),
    ],
    ids=["list", "tuple", "array", "objects", "column", "series", "generator"],
)
def test_texts_come_in_any_container_of_one_column(rows):
    texts = check_texts(rows)
    assert texts == ["one", "two"]
    assert {type(text) for text in texts} == {str}


def test_what_pandas_holds_is_read():
    pandas = pytest.importorskip("pandas")
    series = pandas.Series(["one", None, "two", pandas.NA], index=[7, 3, 5, 9])
    assert check_texts(series) == ["one", None, "two", None]
    assert check_texts(series.astype("string")) == ["one", None, "two", None]
    assert check_texts(series.to_frame("text")) == ["one", None, "two", None]
    assert check_texts(series.astype("category")) == ["one", None, "two", None]


def test_a_share_is_a_number_from_0_to_1():
    assert [check_share(share, "x") for share in (0, 1, 0.5, np.float32(0.25))] == [0, 1, 0.5, 0.25]
    for share in (-0.1, 1.1, np.nan, True, "1", None):
        with pytest.raises(BadFeatures, match=f"x={share!r}: need a share from 0 to 1, such as 0.5"):
            check_share(share, "x")


def test_a_seed_is_one_that_generators_and_scikit_learn_take():
    assert [check_seed(seed) for seed in (0, np.int64(7), 2**32 - 1)] == [0, 7, 2**32 - 1]
    for seed in (-1, 2**32, 1.0, True, "1", None):
        with pytest.raises(BadFeatures, match=f"seed {seed!r} is not a whole number from 0 to 4294967295"):
            check_seed(seed)


@pytest.mark.parametrize(
    ("rows", "error", "words"),
    [
        ("one text", BadTexts, "one string"),
        ([], NoTokens, "no texts"),
        (["fine", 3.5], BadTexts, r"row 1 of X .* is a float"),
        ([["one"], ["two"]], BadTexts, "row 0 of X .* is a list"),
        (np.ones((2, 3)), BadTexts, r"ndarray of shape \(2, 3\); give one column"),
        (np.ones(3), BadTexts, "row 0 .* float64"),
        (np.array("one"), BadTexts, "ndarray"),
        (None, BadTexts, "NoneType"),
        (3, BadTexts, "X is a int"),
        ([1, 2], BadTexts, r"row 0 of X .* is a int, where a text is read"),
        (np.arange(3), BadTexts, "row 0 .* int64"),
        ({"text": ["one", "two"]}, BadTexts, r"X is a dict with the columns 'text'; give one: X\[\"text\"\]"),
        ({"one"}, BadTexts, "X is a set"),
        (b"one text", BadTexts, "X is bytes; give a list"),
    ],
)
def test_what_holds_no_texts_is_refused(rows, error, words):
    with pytest.raises(error, match=words):
        check_texts(rows)
    if rows is not None:  # then fit checks the parameters only
        with pytest.raises(error, match=words):
            GeometryFeatures().fit(rows)
