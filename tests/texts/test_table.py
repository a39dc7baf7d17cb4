"""Tests ``texts/table.py``: the record of texts, its hash and its selection, and hashes of single texts."""

import decimal
import hashlib
import io
import itertools
import pickle

import numpy as np
import pandas
import polars
import pyarrow
import pytest

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts import Texts, read_texts, text_hashes

SPLIT = Texts(("a", None, "c"), {"split": ("train", "test", "train"), "fold": (1, None, 2)}, "a.csv")


def test_length_is_the_number_of_rows_nulls_included():
    assert len(SPLIT) == 3


def test_repr_shows_no_text_and_no_cell():
    assert repr(Texts(("secret",), {"name": ("Ada",)}, "a.csv")) == "Texts(source='a.csv')"


def test_a_column_of_another_length_is_refused():
    with pytest.raises(BadTexts, match="list: column 'n' has 1 rows beside 2 texts"):
        Texts(("a", "b"), {"n": (1,)}, "list")


FRAME = pandas.DataFrame({"id": [1, 2, 3], "text": ["a", None, "c"]}, index=[7, 3, 5])


@pytest.mark.parametrize(
    "column",
    [
        ["a", None, "c"],
        ("a", None, "c"),
        (text for text in ["a", None, "c"]),
        {1: "a", 2: None, 3: "c"}.values(),
        np.array(["a", np.nan, "c"], dtype=object),
        np.ma.array(["a", "b", "c"], mask=[False, True, False]),
        FRAME["text"],
        FRAME["text"].astype(object),
        FRAME["text"].astype("string"),
        FRAME["text"].astype("category"),
        FRAME["text"].astype(pandas.ArrowDtype(pyarrow.string())),
        pandas.Index(FRAME["text"]),
        polars.Series(["a", None, "c"]),
        polars.Series(["a", None, "c"], dtype=polars.Categorical),
        pyarrow.array(["a", None, "c"]),
        pyarrow.chunked_array([["a", None], ["c"]]),
        pyarrow.array(["a", None, "c"]).dictionary_encode(),
    ],
    ids=lambda column: type(column).__name__,
)
def test_every_column_of_strings_is_texts(column):
    texts = Texts.of(column)
    assert texts.texts == ("a", None, "c")
    assert {type(text) for text in texts.texts} == {str, type(None)}
    assert texts.data_hash == Texts(("a", None, "c"), {}, "list").data_hash


def test_a_string_of_numpy_becomes_a_string():
    assert {type(text) for text in Texts.of(np.array(["a", "b"])).texts} == {str}


@pytest.mark.parametrize(
    "missing",
    [
        None,
        float("nan"),
        np.float32("nan"),
        decimal.Decimal("nan"),
        pandas.NA,
        pandas.NaT,
        np.datetime64("NaT"),
        np.ma.masked,
    ],
    ids=lambda missing: type(missing).__name__,
)
def test_what_is_missing_in_a_column_is_no_text(missing):
    assert Texts.of(["nan", missing, "NaT"]).texts == ("nan", None, "NaT")


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (FRAME, "texts is a DataFrame with the columns 'id', 'text'; give one: df[\"text\"]"),
        (FRAME[["id"]], "texts is a DataFrame with the columns 'id'; give one: df[\"id\"]"),
        (
            polars.DataFrame({"id": [1], "note": ["a"]}),
            "with the columns 'id', 'note'; give one: df[\"note\"]",
        ),
        (
            polars.LazyFrame({"text": ["a"]}),
            "texts is a LazyFrame with the columns 'text'; give one: df.coll",
        ),
        (pyarrow.table({"text": ["a"]}), "texts is a Table with the columns 'text'; give one: df[\"text\"]"),
        (pandas.DataFrame(), "texts is a DataFrame with the columns (none)"),
        ({"text": ["a"]}, "texts is a dict with the columns 'text'; give one: texts[\"text\"]"),
        ({"a"}, "texts is a set, which has no order; give a list"),
        (frozenset("a"), "texts is a frozenset, which has no order; give a list"),
        ("a", "texts is one string; give a list, or read_texts(path) for a file"),
        (np.str_("a"), "texts is one string"),
        (b"a", "texts is bytes; give a list"),
        (bytearray(b"a"), "texts is bytes; give a list"),
        (io.StringIO("a"), "texts is an open file; give a list, or read_texts(path)"),
        (
            np.array([["a"], ["b"]]),
            "texts is a ndarray of shape (2, 1); give one column, such as array[:, 0]",
        ),
        (np.array("a"), "texts is a ndarray; give a list"),
        (FRAME["text"].str, "texts is a StringMethods; give a list"),
        (str, "texts is a type; give a list"),
        ([], "list has no rows"),
        (FRAME["id"], "list, row 0 (counted from 0): a number, where a string or null is read"),
        (["a", np.int64(3)], "list, row 1 (counted from 0): a number"),
        (["a", True], "list, row 1 (counted from 0): true or false"),
        (["a", float("inf")], "list, row 1 (counted from 0): a number"),
        (np.array([b"a"]), "list, row 0 (counted from 0): bytes, where a string or null is read; decode it"),
        ([{"text": "a"}], "list, row 0 (counted from 0): an object"),
    ],
    ids=lambda value: None if isinstance(value, str) else type(value).__name__,
)
def test_what_is_no_column_of_texts_is_refused_with_the_way_out(table, words):
    with pytest.raises(BadTexts) as caught:
        Texts.of(table)
    assert words in str(caught.value)


def test_data_hash_by_hand():
    expected = hashlib.sha256(b"2:hi" + b"-" + b"0:" + "2:ü".encode()).hexdigest()
    assert Texts(("hi", None, "", "ü"), {}, "list").data_hash == expected


def test_data_hash_of_a_lone_surrogate_is_that_of_its_three_bytes():
    assert Texts(("\ud800",), {}, "list").data_hash == hashlib.sha256(b"3:\xed\xa0\x80").hexdigest()


def test_data_hash_tells_apart_what_joining_would_not():
    rows = [("ab", "c"), ("a", "bc"), ("abc",), (None,), ("",), ("-",), (), ("a", "b"), ("b", "a"), ("a1:b",)]
    assert len({Texts(texts, {}, "list").data_hash for texts in rows}) == len(rows)


def test_data_hash_depends_on_the_texts_alone():
    assert SPLIT.data_hash == Texts(SPLIT.texts, {}, "elsewhere.jsonl").data_hash


def test_columns_hash_tells_cells_and_names_apart_and_no_texts():
    same = Texts(("x", "y", "z"), {name: SPLIT.columns[name] for name in ("fold", "split")}, "b.csv")
    assert same.columns_hash == SPLIT.columns_hash
    others = [{}, {"a": (1,)}, {"b": (1,)}, {"a": ("1",)}, {"a": (None,)}, {"a": (1,), "b": (1,)}]
    assert len({Texts(("x",), columns, "list").columns_hash for columns in others}) == len(others)


def test_texts_can_be_sent_to_another_process():
    assert pickle.loads(pickle.dumps(SPLIT)) == SPLIT


def test_where_keeps_matching_rows_in_order_with_their_columns():
    train = SPLIT.where("split", ["train"])
    assert train == Texts(("a", "c"), {"split": ("train", "train"), "fold": (1, 2)}, "a.csv", (0, 2))
    assert SPLIT.where("split", ["test", "train"]) == SPLIT


def test_a_selection_of_a_selection_keeps_the_numbers_of_the_source():
    assert SPLIT.numbers == (0, 1, 2)
    later = SPLIT.at([2, 1])
    assert later == Texts(("c", None), {"split": ("train", "test"), "fold": (2, None)}, "a.csv", (2, 1))
    assert later.where("split", ["train"]).numbers == (2,)
    assert SPLIT.at([]) == Texts((), {"split": (), "fold": ()}, "a.csv")


def test_where_takes_one_value_as_a_word_not_as_letters():
    assert SPLIT.where("split", "test").texts == (None,)
    with pytest.raises(BadTexts, match="never 'train test'"):
        SPLIT.where("split", "train test")


def test_where_compares_by_str_and_never_matches_a_null():
    assert SPLIT.where("fold", ["2", "None"]).texts == ("c",)
    with pytest.raises(
        BadTexts, match="'fold' is never 'None'; it holds '1' \\(1 rows\\), 'null' \\(1 rows\\)"
    ):
        SPLIT.where("fold", ["None"])


def test_where_without_a_match_names_the_values_that_exist():
    with pytest.raises(BadTexts) as caught:
        SPLIT.where("split", ["dev", "valid"])
    assert str(caught.value) == (
        "a.csv: column 'split' is never 'dev' or 'valid'; it holds 'train' (2 rows), 'test' (1 rows)"
    )


def test_where_requested_no_value_is_refused():
    with pytest.raises(BadTexts, match="never one of no values"):
        SPLIT.where("split", [])


def test_where_on_a_column_that_was_not_kept_names_those_kept():
    with pytest.raises(MissingColumn, match="no column 'kind' was kept, of others 'split', 'fold'"):
        SPLIT.where("kind", ["x"])
    with pytest.raises(MissingColumn, match="of others none"):
        Texts(("a",), {}, "list").where("kind", ["x"])


def test_a_hash_by_hand():
    digest = hashlib.sha256(b"haveaniceday2").digest()[:8]
    result = text_hashes(["Have a NICE day, 2!"])
    assert result.dtype == np.uint64
    assert result.tolist() == [int.from_bytes(digest, "little")]


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


def test_a_text_is_what_a_string_holds_not_what_its_class_shows():
    class Odd(str):
        def __str__(self):
            return "another"

        def __len__(self):
            return 0

    (text,) = Texts.of([Odd("you")]).texts
    assert (type(text), text) == (str, "you")


@pytest.mark.parametrize("read", [Texts.of, read_texts])
def test_a_generator_without_an_end_is_refused_at_its_first_number(read):
    with pytest.raises(BadTexts, match=r"list, row 1 \(counted from 0\)"):
        read(value or "a" for value in itertools.count())
