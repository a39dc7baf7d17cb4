"""Tests texts/spans.py: every list of spans that is no list of spans is refused, with text and span."""

import numpy as np
import pytest

from splinelens.errors import BadTexts
from splinelens.texts import Texts
from splinelens.texts.spans import check_spans, read_spans

TEXTS = Texts.of(["Hello you", "hi  there", None])


def test_pairs_of_any_kind_become_tuples_and_a_missing_list_is_none():
    spans = check_spans([np.array([[0, 5], [6, 9]]), ((0, np.int64(2)),), None], TEXTS)
    assert spans == (((0, 5), (6, 9)), ((0, 2),), ())
    assert {type(end) for of_text in spans for span in of_text for end in span} == {int}


@pytest.mark.parametrize(
    ("spans", "words"),
    [
        ([[(0, 5)]], "at has 1 lists of spans for 3 texts; give one list a text"),
        ([(0, 5), None, None], "text 0, span 0 is no pair of whole numbers"),
        ([[(0, 5), (1, 2, 3)], None, None], "text 0, span 1 is no pair"),
        ([[(0, 2.5)], None, None], "text 0, span 0 is no pair"),
        ([[(False, True)], None, None], "text 0, span 0 is no pair"),
        ([["05"], None, None], "text 0, span 0 is no pair"),
        ([None, 7, None], "at of text 1 is a int; give a list of pairs"),
        ([None, "[[0, 1]]", None], "at of text 1 is a str"),
        ([None, [(3, 3)], None], r"text 1, span 0 is \(3, 3\), which is empty or reversed"),
        ([None, [(5, 2)], None], "which is empty or reversed"),
        ([None, [(4, 10)], None], r"\(4, 10\), and the text has 9 characters, counted from 0"),
        ([None, [(-3, 2)], None], "the text has 9 characters"),
        ([None, None, [(0, 1)]], "text 2, span 0 is .* the text has 0 characters"),
        ([None, [(2, 4)], None], r"text 1, span 0 is \(2, 4\), where the text has only white space"),
        ([None, [], None], "at has no span of any text"),
    ],
)
def test_what_is_no_list_of_spans_is_refused(spans, words):
    with pytest.raises(BadTexts, match=words):
        check_spans(spans, TEXTS)


def test_a_table_or_a_string_of_spans_is_refused():
    for spans in ({"a": [[(0, 1)]]}, "[[0, 1]]"):
        with pytest.raises(BadTexts, match="at is "):
            check_spans(spans, TEXTS)


def test_cells_are_json_or_lists():
    cells = ("[[0, 5]]", " ", [[0, 2]], None, "[]")
    texts = Texts(("Hello you",) * 5, {"at": cells}, "a.csv")
    assert read_spans(texts, "at") == ([[0, 5]], None, [[0, 2]], None, [])


def test_a_cell_that_is_no_json_names_its_row():
    texts = Texts(("Hello you",) * 2, {"at": ("[]", "0-5")}, "a.csv", numbers=(3, 8))
    with pytest.raises(BadTexts, match=r"a\.csv: column 'at' of row 8 is no JSON"):
        read_spans(texts, "at")
