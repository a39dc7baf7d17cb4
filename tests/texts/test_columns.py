"""Tests ``texts/columns.py``: which column is taken, and the wording of what is refused."""

import pytest

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts.columns import ColumnRequest, closest, texts_only
from splinelens.texts.table import json_type, quoted

TABLE = ColumnRequest("comments.csv", None)


def test_text_is_the_default_column_also_beside_other_strings():
    assert TABLE.choose(["note", "text"], {"note": ["a"], "text": ["b"]}) == "text"


def test_text_is_the_default_even_where_only_another_column_holds_strings():
    assert TABLE.choose(["note", "text"], {"note": ["a"]}) == "text"


def test_the_only_column_of_strings_needs_no_name():
    assert TABLE.choose(["id", "note"], {"note": ["a"]}) == "note"


def test_the_column_requested_goes_first():
    assert ColumnRequest("comments.csv", "note").choose(["note", "text"], {"text": ["b"]}) == "note"


def test_without_a_text_column_the_longest_is_suggested():
    strings = {"id": ["17", None], "comment": ["a long remark", "another"]}
    with pytest.raises(MissingColumn) as caught:
        TABLE.require("text", ["id", "comment"], strings)
    assert str(caught.value) == (
        "comments.csv has no column 'text'; it has 'id', 'comment'. Try --column comment."
    )


def test_a_misspelt_column_suggests_the_nearest_not_the_longest():
    strings = {"id": ["a very long identifier"], "comment": ["short"]}
    with pytest.raises(MissingColumn, match=r"no column 'coment'; .*\. Try --column comment\.$"):
        ColumnRequest("comments.csv", "coment").require("coment", ["id", "comment"], strings)


def test_a_suggested_column_is_quoted_for_the_shell():
    with pytest.raises(MissingColumn, match=r"Try --column 'the comment'\.$"):
        TABLE.require("text", ["id", "the comment"], {"the comment": ["hello"]})


def test_a_table_without_strings_says_so():
    with pytest.raises(MissingColumn, match=r"it has 'id', 'n'\. None holds strings\.$"):
        TABLE.require("text", ["id", "n"], {})


def test_a_missing_kept_column_names_those_there_and_the_closest():
    with pytest.raises(
        MissingColumn, match=r"no column 'spilt'; it has 'text', 'split'\. Did you mean 'split'"
    ):
        ColumnRequest("a.csv", None, ("spilt",)).require("text", ["text", "split"], {})


def test_a_kept_column_like_no_other_suggests_none():
    with pytest.raises(MissingColumn, match=r"no column 'zzz'; it has 'text', 'split'\.$"):
        ColumnRequest("a.csv", None, ("zzz",)).require("text", ["text", "split"], {})


def test_two_columns_of_the_requested_name_are_refused():
    with pytest.raises(BadTexts, match="2 columns named 'text'; rename all but one"):
        TABLE.require("text", ["text", "text"], {})
    with pytest.raises(BadTexts, match="3 columns named 'n'"):
        ColumnRequest("a.csv", None, ("n",)).require("text", ["n", "text", "n", "n"], {})


def test_two_columns_of_another_name_do_no_harm():
    ColumnRequest("a.csv", None, ("n",)).require("text", ["text", "", "", "n"], {})


def test_plain_texts_pass_unchanged():
    values = ["a", None, "", "\ud800"]
    assert texts_only(values, TABLE) == (values, {})
    assert texts_only(values, ColumnRequest("list", "text"))[0] is values


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (ColumnRequest("list", "note"), "note"),
        (ColumnRequest("list", None, ("id",)), "id"),
        (ColumnRequest("list", "text", ("text",)), "text"),
    ],
)
def test_plain_texts_have_no_columns(columns, name):
    with pytest.raises(MissingColumn, match=f"list holds only texts, no column '{name}'; give a table"):
        texts_only(["a"], columns)


@pytest.mark.parametrize(
    ("value", "words"), [(7, "a number"), (True, "true or false"), (["a"], "a list"), (b"a", "bytes")]
)
def test_a_text_that_is_no_string_is_named_with_its_row(value, words):
    with pytest.raises(BadTexts, match=rf"list, row 1 \(counted from 0\): {words}, where a string or null"):
        texts_only(["a", value], ColumnRequest("list", None))


def test_json_types_have_names():
    values = [None, False, 1, 0.5, [], {}, b"", object()]
    words = ["null", "true or false", "a number", "a number", "a list", "an object", "bytes", "a object"]
    assert [json_type(value) for value in values] == words


def test_nearest_ignores_case_and_gives_back_the_real_name():
    assert closest("TEXT", ["id", "Text"]) == "Text"
    assert closest("text", ["id", "n"]) is None


def test_long_names_and_long_lists_are_cut_with_a_count():
    assert quoted(["x" * 61, "my secret sentence, all of it"]) == f"'{'x' * 60}...', (29 characters)"
    assert quoted(["x" * 60]) == repr("x" * 60)
    assert quoted(range(4), most=3) == "'0', '1', '2' and 1 more"
    assert quoted([]) == ""
