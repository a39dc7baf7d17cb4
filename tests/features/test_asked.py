"""Tests features/asked.py, and that what reads a text asks it."""

import jaxtyping
import numpy as np
import pytest
from splinelens.features.asked import check_layer, check_layers, check_most, check_text, check_token
from splinelens.features.place import look
from splinelens.features.tokenwise import read_tokens

from splinelens import inspect
from splinelens.errors import BadFeatures, BadTexts
from splinelens.features.slicing import slice_texts

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
    said = f"must be one string, and this is a {type(text).__name__}"
    for read in (
        lambda: check_text(text),
        lambda: read_tokens(text, loaded),
        lambda: look(text, loaded, layer=0, token=0),
        lambda: slice_texts(["sun", text, "snow"], loaded, layer=0),
        lambda: inspect(text, loaded),
    ):
        with pytest.raises(BadTexts, match=said):
            read()
    if text is not None:
        with pytest.raises(BadTexts, match=f"the other text {said}"):
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
        with pytest.raises(BadFeatures, match=r"layers is .*; give a list of whole numbers from 0"):
            read(layers)


def test_layers_of_any_kind_are_put_in_order():
    assert check_layers(None) is None
    assert check_layers(np.array([2, 0, 2])) == (0, 2)
    assert check_layers(range(2)) == (0, 1)
    with pytest.raises(BadFeatures, match="no layer to read; name at least one"):
        check_layers([])
    with pytest.raises(BadFeatures, match=r"layers \[-1\] do not exist: they are counted from 0"):
        check_layer(-1)


@pytest.mark.parametrize("most", [None, "5", 0, 2.5, True])
def test_a_limit_is_a_positive_number(loaded, most):
    for read in (lambda: check_most(most), lambda: inspect(TEXT, loaded, max_tokens=most)):
        with pytest.raises(BadTexts, match=r"max_tokens=.*: need a positive number"):
            read()


@pytest.mark.parametrize("token", ["1", 1.0, True, None])
def test_what_is_no_whole_number_is_no_token(loaded, token):
    for read in (lambda: check_token(token, 4), lambda: look(TEXT, loaded, layer=0, token=token)):
        with pytest.raises(BadFeatures, match="is not a token: give a whole number from 0, such as 3"):
            read()


def test_a_token_that_the_text_lacks_is_told():
    assert check_token(np.int64(3), 4) == 3
    with pytest.raises(BadFeatures, match="token -1 does not exist: the text has 4 tokens, 0 to 3"):
        check_token(-1, 4)
