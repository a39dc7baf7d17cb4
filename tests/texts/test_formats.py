"""Tests ``texts/formats.py``: CSV, TSV, JSON Lines, JSON, Parquet and the hub, good and broken."""

import csv
import io
import json
import random
import sys
from itertools import chain, repeat
from types import SimpleNamespace

import pyarrow
import pyarrow.csv
import pyarrow.parquet
import pytest

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts import formats
from splinelens.texts.columns import ColumnRequest
from splinelens.texts.formats import (
    check_delimiter,
    is_json_lines,
    read_delimited,
    read_hub,
    read_json,
    read_json_lines,
    read_parquet,
)


def read_csv(document, column=None, keep=(), delimiter=",", header=True):
    request = ColumnRequest("a.csv", column, keep)
    return read_delimited(io.StringIO(document, newline=""), delimiter, request, header)


def read_lines(document, column=None, keep=()):
    return read_json_lines(io.StringIO(document), ColumnRequest("a.jsonl", column, keep))


def json_rows(rows, column=None, keep=()):
    return read_json(
        rows if isinstance(rows, str) else json.dumps(rows), ColumnRequest("a.json", column, keep)
    )


def test_csv_by_hand():
    document = 'id,text,kind\r\n1,"a, b",x\r\n2,"she said ""no""",y\r\n3,,z\r\n'
    assert read_csv(document, keep=("kind", "id")) == (
        ["a, b", 'she said "no"', ""],
        {"kind": ["x", "y", "z"], "id": ["1", "2", "3"]},
    )


def test_csv_agrees_with_an_independent_reader():
    rng = random.Random(5)
    alphabet = ["a", " ", "é", '"', ",", ";", "\t", "\n", "'", "\\", "𝄞"]
    rows = [[str(row), "".join(rng.choices(alphabet, k=rng.randint(1, 30))) + ".", "k"] for row in range(500)]
    document = io.StringIO(newline="")
    csv.writer(document).writerows([["id", "text", "kind"], *rows])
    options = pyarrow.csv.ParseOptions(newlines_in_values=True)
    strings = pyarrow.csv.ConvertOptions(column_types={"text": pyarrow.string()})
    theirs = pyarrow.csv.read_csv(
        io.BytesIO(document.getvalue().encode()), parse_options=options, convert_options=strings
    )
    assert read_csv(document.getvalue())[0] == theirs["text"].to_pylist() == [row[1] for row in rows]


def test_newlines_inside_quotes_stay_as_they_are():
    assert read_csv('text,n\r\n"one\ntwo\r\nthree",1\r\n')[0] == ["one\ntwo\r\nthree"]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_csv_reads_every_line_end(end):
    assert read_csv(end.join(["id,text", "1,a", "2,b"]))[0] == ["a", "b"]


def test_tsv_reads_tabs_with_the_same_quotes():
    document = 'id\ttext\n1\t"a\tb"\n2\tc, "d"\n'
    assert read_csv(document, delimiter="\t")[0] == ["a\tb", 'c, "d"']


def test_blank_lines_are_no_rows_between_several_columns():
    assert read_csv("\n\nid,text\n\n1,a\n\n2,b\n\n", keep=("id",)) == (["a", "b"], {"id": ["1", "2"]})


def test_blank_lines_are_empty_texts_in_one_column():
    assert read_csv("comment\na\n\nb\n\n")[0] == ["a", "", "b", ""]


def test_nul_characters_in_csv_are_kept():
    assert read_csv("id,text\n1,a\0b\n2,\0\n")[0] == ["a\0b", "\0"]


def test_a_cell_of_10_mb_is_read_and_the_limit_put_back():
    limit = csv.field_size_limit()
    assert limit < 10_000_000
    big = "word " * 2_000_000
    assert read_csv(f'id,text\n1,"{big}"\n')[0] == [big]
    assert csv.field_size_limit() == limit


def test_the_limit_is_put_back_after_an_error_too():
    limit = csv.field_size_limit()
    with pytest.raises(BadTexts):
        read_csv("id,text\n1\n")
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize(("row", "cells"), [("3", 1), ("3,c,d", 3)])
def test_a_ragged_row_is_refused_with_the_line_it_starts_at(row, cells):
    with pytest.raises(BadTexts, match=f"a.csv, line 4: {cells} cells where the first row has 2; put quotes"):
        read_csv(f'id,text\n1,"two\nlines"\n{row}\n4,e\n')


def test_a_ragged_row_far_behind_the_sample_is_refused_too():
    with pytest.raises(BadTexts, match="line 302: 1 cells"):
        read_csv("id,text\n" + "1,a\n" * 300 + "2\n")


def test_a_quote_that_is_never_closed_is_refused_where_it_opens():
    with pytest.raises(BadTexts, match=r"a.csv, line 3: unexpected end of data; close each quoted cell"):
        read_csv('id,text\n1,a\n2,"b\n3,c\n4,d\n')


def test_words_behind_a_closed_quote_are_refused():
    with pytest.raises(BadTexts, match=r"line 2: ',' expected after '\"'; close .* a quote inside it twice"):
        read_csv('id,text\n1,"a" b\n')


@pytest.mark.parametrize("document", ["", "\n\n", "\r\n"])
def test_a_csv_without_header_is_empty(document):
    with pytest.raises(BadTexts, match=r"a.csv is empty; its first row must name the columns"):
        read_csv(document)


def test_a_header_alone_gives_no_rows_and_still_checks_the_columns():
    assert read_csv("id,text\n", keep=("id",)) == ([], {"id": []})
    with pytest.raises(MissingColumn, match="no column 'text'; it has 'id', 'comment'"):
        read_csv("id,comment\n")


def test_several_columns_without_text_are_refused_naming_the_longest():
    with pytest.raises(MissingColumn, match=r"it has 'id', 'comment', 'kind'\. Try --column comment\.$"):
        read_csv("id,comment,kind\n1,a longer remark,x\n2,and another,y\n")


@pytest.mark.parametrize(("name", "column", "keep"), [("text", None, ()), ("n", "text", ("n",))])
def test_a_header_that_names_a_requested_column_twice_is_refused(name, column, keep):
    other = "text" if name == "n" else "n"
    with pytest.raises(BadTexts, match=f"2 columns named '{name}'"):
        read_csv(f"{name},{name},{other}\n1,2,3\n", column, keep)


def test_a_header_that_names_another_column_twice_is_read():
    assert read_csv("text,,\na,b,c\n")[0] == ["a"]


def test_another_separator_is_noticed_instead_of_scoring_whole_rows():
    with pytest.raises(BadTexts, match=r"separated by ';', not ','. Try --delimiter ';', or name"):
        read_csv("id;comment\n1;a\n")
    with pytest.raises(BadTexts, match=r"separated by ',', not '\\t'\. Try --delimiter ','$"):
        read_csv("id,comment\n1,a\n", column="comment", delimiter="\t")
    with pytest.raises(BadTexts, match=r"separated by '\\t', not ','\. Try --format tsv$"):
        read_csv("id\tcomment\n1\ta, b\n", column="comment")
    with pytest.raises(BadTexts, match=r"separated by ';', not ','. Try --delimiter ';'$"):
        read_csv("id;remark, free;kind\n1;a;b\n")
    assert read_csv("id;comment\n1;a\n", column="id;comment")[0] == ["1;a"]
    assert read_csv('"Comment, free"\n"a, b"\n', column="Comment, free")[0] == ["a, b"]


def test_the_first_line_of_excel_that_names_the_separator_is_refused():
    with pytest.raises(BadTexts, match=r"begins with sep=.*; delete that line, and add --delimiter ';'$"):
        read_csv("sep=;\nid;text\n1;a\n")
    with pytest.raises(BadTexts, match=r"begins with sep=.*; delete that line$"):
        read_csv("sep=,\nid,text\n1,a\n")


def test_without_a_header_columns_are_numbered_from_1():
    assert read_csv("you are nice\nwell\n", header=False)[0] == ["you are nice", "well"]
    document = "1,a b\n2,c d\n"
    assert read_csv(document, "2", ("1",), header=False) == (["a b", "c d"], {"1": ["1", "2"]})
    with pytest.raises(MissingColumn, match=r"no column 'text'; it has '1', '2'\. Try --column 2\.$"):
        read_csv(document, header=False)


@pytest.mark.parametrize(
    "first",
    [
        "you are nice",
        "hello",
        "Thanks!",
        "You are, honestly, a fool.",
        "Nice comment",
        "Good text?",
        "😀",
        "5",
    ],
)
def test_a_single_column_whose_header_may_be_a_text_is_refused(first):
    with pytest.raises(
        BadTexts, match=r"a.csv has one column, and .* --no-header; if it names the column, add"
    ):
        read_csv(f'"{first}"\nsecond\n')
    assert read_csv(f'"{first}"\nsecond\n', header=False)[0] == [first, "second"]
    assert read_csv(f'"{first}"\nsecond\n', column=first)[0] == ["second"]


@pytest.mark.parametrize(
    "name",
    [
        "text",
        "Text",
        "TEXT",
        "comment_text",
        "Comment Text",
        "commentText",
        "tweet",
        "full_text",
        "Kommentar",
    ],
)
def test_the_usual_names_of_a_single_column_need_no_option(name):
    assert read_csv(f"{name}\nhello\n")[0] == ["hello"]


def test_a_first_row_of_several_columns_that_is_no_header_is_refused():
    for column in (None, "comment"):
        with pytest.raises(MissingColumn, match="If its first line is a row, add --no-header and the number"):
            read_csv("17,you are nice\n18,well\n", column)
    with pytest.raises(MissingColumn, match="If its first line is a row, add --no-header"):
        read_csv("ann,this is a remark of many words\nbob,well\n")
    with pytest.raises(MissingColumn, match=r"If its first line is a row, add --no-header .* --column 1$"):
        read_csv("you are nice\nwell\n", "text")


@pytest.mark.parametrize("name", ["\x1b[31mred", "a\nb", "\ud800", "x" * 5000])
def test_advice_repeats_no_name_that_would_harm_a_terminal(name):
    with pytest.raises(MissingColumn, match=r"Try --column NAME\.$") as caught:
        read_csv(f'"{name}",n\nwords,1\n')
    assert str(caught.value).isprintable()


def test_the_column_with_most_letters_is_suggested_not_a_date():
    with pytest.raises(MissingColumn, match=r"Try --column Note\.$"):
        read_csv("Note,Date\nok so,2024-01-01 00:00\n")


def test_a_first_text_is_not_quoted_where_it_may_be_private():
    with pytest.raises(BadTexts) as caught:
        read_csv("my secret thoughts of which nobody knows\nb\n")
    assert "secret" not in str(caught.value)


def test_a_cell_without_end_is_refused(monkeypatch):
    monkeypatch.setattr(formats, "MAX_CHARACTERS", 1000)
    lines = chain(["id,text\n", '1,"'], repeat("word word\n"))
    with pytest.raises(BadTexts, match="line 2: a cell of over 1,000 characters; close each quoted cell"):
        read_delimited(lines, ",", ColumnRequest("a.csv", None))


@pytest.mark.parametrize("delimiter", ["", ";;", '"', "\n", "\r", "tab", "x" * 1000])
def test_what_separates_no_cells_is_refused(delimiter):
    with pytest.raises(BadTexts, match=r"no delimiter .*; give one character, such as ';'"):
        check_delimiter(delimiter)


def test_a_tab_may_be_written_as_an_escape():
    assert [check_delimiter(given) for given in (r"\t", "\t", ";", None)] == ["\t", "\t", ";", None]


def test_json_lines_by_hand():
    document = '{"text": "a", "n": 1}\n\n  \n{"n": 2.5, "text": null}\r\n{"text": "ü\\n"}'
    assert read_lines(document, keep=("n",)) == (["a", None, "ü\n"], {"n": [1, 2.5, None]})


def test_lone_surrogates_and_nul_in_json_stay_as_they_are():
    assert read_lines('{"text": "x\\ud800y"}\n{"text": "\\u0000"}\n')[0] == ["x\ud800y", "\0"]


def test_the_only_string_column_of_json_lines_needs_no_name():
    assert read_lines('{"id": 1, "note": null}\n{"id": 2, "note": "b"}\n')[0] == [None, "b"]


def test_an_empty_string_is_a_string():
    assert read_lines('{"id": 1, "note": ""}\n')[0] == [""]


def test_nan_in_json_is_a_missing_text():
    assert read_lines('{"note": NaN}\n{"note": "b"}\n')[0] == [None, "b"]
    assert json_rows('["a", NaN]')[0] == ["a", None]
    with pytest.raises(BadTexts, match="'text' is a number"):
        read_lines('{"text": Infinity}\n')


@pytest.mark.parametrize("document", ["[" * 100_000, "[" * 100_000 + "]" * 100_000, "[" + "1" * 5000 + "]"])
def test_json_that_python_cannot_hold_is_one_error(document):
    with pytest.raises(BadTexts, match="not one JSON list, nested too deep or a number too long;"):
        json_rows(document)


def test_two_string_columns_of_json_lines_need_a_name():
    with pytest.raises(MissingColumn, match=r"it has 'a', 'b'\. Try --column b\.$"):
        read_lines('{"a": "x", "b": "longer"}\n')


def test_json_lines_without_strings_say_so():
    with pytest.raises(MissingColumn, match=r"no column 'text'; it has 'n'\. None holds strings\."):
        read_lines('{"n": 1}\n')


def test_a_column_that_first_appears_late_is_found():
    late = '{"id": 1}\n' * 150 + '{"id": 2, "note": "b", "k": 3}\n'
    texts, kept = read_lines(late, "note", ("k",))
    assert texts == [None] * 150 + ["b"]
    assert kept == {"k": [None] * 150 + [3]}


def test_a_column_in_no_row_is_missing():
    with pytest.raises(MissingColumn, match=r"no column 'txt'; it has 'text', 'n'\. Try --column text\.$"):
        read_lines('{"text": "a", "n": 1}\n', "txt")
    with pytest.raises(MissingColumn, match="no column 'label'"):
        read_lines('{"text": "a", "n": 1}\n', keep=("label",))


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("{'text': 'a'}", "Expecting property name enclosed in double quotes at column 2"),
        ('{"text": "a"', "Expecting ',' delimiter at column 13"),
        ('{"text": "a"} {"text": "b"}', "Extra data at column 15"),
        ("[" * 200_000, "nested too deep or a number too long"),
        ('{"text": "a", "n": ' + "1" * 5000 + "}", "nested too deep or a number too long"),
    ],
)
def test_a_line_that_is_no_json_is_refused_with_its_number(line, why):
    with pytest.raises(BadTexts, match=f"a.jsonl, line 3: not JSON, {why}.*; write one object a line"):
        read_lines('{"text": "secret"}\n\n' + line + "\n")


def test_an_error_never_quotes_a_text():
    with pytest.raises(BadTexts) as caught:
        read_lines('{"text": "my secret", oops}\n')
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "words"), [("7", "a number"), ('["a"]', "a list"), ("null", "null"), ('"a"', "a str")]
)
def test_a_line_that_is_no_object_is_refused(row, words):
    with pytest.raises(BadTexts, match=f"a.jsonl, line 2: {words}, where an object is read"):
        read_lines('{"text": "a"}\n' + row + "\n")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("7", "a number"),
        ("1.5", "a number"),
        ("true", "true or false"),
        ("[]", "a list"),
        ("{}", "an object"),
    ],
)
def test_a_text_of_another_type_is_refused_with_its_line(value, words):
    with pytest.raises(
        BadTexts, match=f"line 2: 'text' is {words}, where a string or null is read; quote it"
    ):
        read_lines('{"text": "a"}\n{"text": ' + value + "}\n")


def test_braces_in_the_name_of_a_file_do_no_harm():
    with pytest.raises(BadTexts, match=r"\{a\}.jsonl, line 1: a number"):
        read_json_lines(io.StringIO("7\n"), ColumnRequest("{a}.jsonl", None))


def test_a_json_list_of_objects_and_one_of_strings():
    assert json_rows([{"text": "a", "n": [1]}, {"text": None}], keep=("n",)) == (
        ["a", None],
        {"n": [[1], None]},
    )
    assert json_rows(["a", None, "b"]) == (["a", None, "b"], {})
    assert json_rows([]) == ([], {})


def test_a_broken_row_of_a_json_list_is_counted_from_0():
    with pytest.raises(BadTexts, match=r"a.json, row 1 \(counted from 0\): 'text' is a number"):
        json_rows([{"text": "a"}, {"text": 3}])
    with pytest.raises(BadTexts, match=r"a.json, row 1 \(counted from 0\): a str, where an object is read"):
        json_rows([{"text": "a"}, "b"])
    with pytest.raises(BadTexts, match=r"a.json, row 0 \(counted from 0\): a number, where a string"):
        json_rows([1, 2])


def test_json_that_is_no_list_is_refused():
    with pytest.raises(BadTexts, match=r"a.json holds an object, not a list"):
        json_rows({"data": []})
    with pytest.raises(
        BadTexts, match=r"not one JSON list, Extra data .* for one object a line, add --format jsonl"
    ):
        json_rows('{"text": "a"}\n{"text": "b"}\n')


@pytest.mark.parametrize(
    ("document", "column", "answer"),
    [
        ('{"text": "a"}\nplain\n', "text", True),
        ('\n  \n{"comment": "a"}\n', "comment", True),
        ('{"comment": "a"}\n', "text", False),
        ("{text}\n", "text", False),
        ('{"text": "a"\n', "text", False),
        ("text\n", "text", False),
        ('["text"]\n', "text", False),
        ("", "text", False),
        ('{"a":' * 200_000 + "\n", "text", False),
    ],
)
def test_json_lines_are_recognized_by_their_first_line(document, column, answer):
    assert is_json_lines(io.StringIO(document), column) is answer


def stored(table):
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table if isinstance(table, pyarrow.Table) else pyarrow.table(table), stream)
    return stream


def parquet(table, column=None, keep=()):
    return read_parquet(stored(table), ColumnRequest("a.parquet", column, keep))


class StandIn:
    """What we use of ``datasets.Dataset``: features, select_columns, with_format and slicing."""

    def __init__(self, table):
        self.table = table
        self.features = SimpleNamespace(arrow_schema=table.schema)

    def select_columns(self, names):
        return StandIn(self.table.select(names))

    def with_format(self, kind):
        assert kind == "arrow"
        return self.table


@pytest.fixture
def hub(monkeypatch):
    """The package ``datasets``, replaced: ``answer`` is what loading gives, ``called`` its arguments."""
    one = StandIn(pyarrow.table({"text": ["a", None], "label": [0, 1]}))
    seen = SimpleNamespace(answer={"train": one}, one=one, called=None)

    def load_dataset(name, config, split):
        seen.called = (name, config, split)
        if isinstance(seen.answer, Exception):
            raise seen.answer
        return seen.answer

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return seen


def test_parquet_by_hand():
    table = {"id": [1, 2, 3], "text": ["a", None, ""], "ok": [True, False, None]}
    assert parquet(table, keep=("ok", "id")) == (
        ["a", None, ""],
        {"ok": [True, False, None], "id": [1, 2, 3]},
    )


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string(),
        pyarrow.large_string(),
        pyarrow.string_view(),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    ],
    ids=str,
)
def test_every_arrow_type_of_strings_is_read(kind):
    column = pyarrow.array(["a", "b", None, "a"]).cast(kind)
    assert parquet({"n": [1, 2, 3, 4], "note": column})[0] == ["a", "b", None, "a"]


def test_the_text_may_be_kept_as_a_column_too():
    assert parquet({"text": ["a"]}, keep=("text",)) == (["a"], {"text": ["a"]})


def test_several_string_columns_need_a_name_and_the_longest_is_suggested():
    with pytest.raises(
        MissingColumn, match=r"no column 'text'; it has 'id', 'remark'\. Try --column remark\.$"
    ):
        parquet({"id": ["1"], "remark": ["a long one"]})


def test_a_missing_column_of_parquet_names_those_there():
    with pytest.raises(MissingColumn, match=r"no column 'txt'; it has 'n', 'text'\. Try --column text\.$"):
        parquet({"n": [1], "text": ["a"]}, "txt")
    with pytest.raises(MissingColumn, match=r"no column 'text'; it has 'n'\. None holds strings\.$"):
        parquet({"n": [1]})


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1, 2], "int64"), ([b"a", b"b"], "binary"), ([["a"], ["b"]], "list<"), ([None, None], "null")],
)
def test_a_text_column_that_holds_no_strings_is_refused(values, kind):
    with pytest.raises(BadTexts, match=rf"a.parquet: column 'text' holds {kind}.* Try --column note\.$"):
        parquet({"text": values, "note": ["x", "y"]})
    with pytest.raises(BadTexts, match="No column does"):
        parquet({"text": values})


def test_two_parquet_columns_of_the_requested_name_are_refused():
    twice = pyarrow.table([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    with pytest.raises(BadTexts, match="2 columns named 'text'"):
        parquet(twice)


@pytest.mark.parametrize("cut", [1, 10, 50, 200])
def test_a_truncated_parquet_is_refused(cut):
    data = stored({"text": ["some text"] * 50}).getvalue()
    with pytest.raises(BadTexts, match=r"a.parquet: no sound Parquet file .*; write or fetch it again"):
        read_parquet(io.BytesIO(data[:-cut]), ColumnRequest("a.parquet", None))


def test_a_parquet_with_wrong_bytes_inside_is_refused():
    data = stored({"text": [f"some text {row}" for row in range(1000)]}).getvalue()
    with pytest.raises(BadTexts, match="no sound Parquet file"):
        read_parquet(io.BytesIO(data[:4] + b"\xff" * 300 + data[304:]), ColumnRequest("a.parquet", None))


def test_parquet_strings_that_are_no_utf8_are_refused():
    wrong = pyarrow.array([b"\xff\xfe"]).view(pyarrow.string())
    with pytest.raises(BadTexts, match=r"no sound Parquet file .*decode"):
        parquet({"text": wrong})


@pytest.mark.parametrize(
    ("address", "called"),
    [
        ("hf:owner/name", ("owner/name", None, None)),
        ("hf:owner/name:test", ("owner/name", None, "test")),
        ("hf:owner/name:train[:100]", ("owner/name", None, "train[:100]")),
        ("hf:owner/name::odd", ("owner/name", None, "odd")),
        ("hf:owner/name:en", ("owner/name", "en", None)),
        ("hf:owner/name:en:test", ("owner/name", "en", "test")),
        ("hf:o-1/n_a.me:en-US:train[10%:20%]", ("o-1/n_a.me", "en-US", "train[10%:20%]")),
    ],
)
def test_an_address_is_name_config_and_split(hub, address, called):
    assert read_hub(ColumnRequest(address, None, ("label",))) == (["a", None], {"label": [0, 1]})
    assert hub.called == called


def test_a_split_requested_comes_without_its_name(hub):
    hub.answer = hub.one
    assert read_hub(ColumnRequest("hf:owner/name::test", None))[0] == ["a", None]


def test_several_splits_need_a_name(hub):
    hub.answer = {"train": hub.one, "test": hub.one}
    with pytest.raises(
        BadTexts, match=r"has the splits 'train', 'test'; name one. Try hf:owner/name:en:train"
    ):
        read_hub(ColumnRequest("hf:owner/name:en", None))


def test_a_missing_column_of_a_data_set_names_those_there(hub):
    with pytest.raises(MissingColumn, match="hf:owner/name has no column 'txt'; it has 'text', 'label'"):
        read_hub(ColumnRequest("hf:owner/name", "txt"))


@pytest.mark.parametrize("address", ["hf:", "hf:name", "hf:a/b/c", "hf:../x", "hf:a/b:c:d:e", "hf:a/b c"])
def test_an_address_of_another_form_is_refused(hub, address):
    with pytest.raises(BadTexts, match=r"no address of a data set: .* write hf:owner/name, "):
        read_hub(ColumnRequest(address, None))
    assert hub.called is None


def test_a_data_set_that_cannot_be_loaded_is_an_error_of_ours(hub):
    hub.answer = ConnectionError("offline mode is on\nlong story")
    with pytest.raises(BadTexts, match="cannot load hf:owner/name: offline mode is on; check name"):
        read_hub(ColumnRequest("hf:owner/name", None))
    hub.answer = RuntimeError()
    with pytest.raises(BadTexts, match="cannot load hf:owner/name: RuntimeError; "):
        read_hub(ColumnRequest("hf:owner/name", None))


def test_without_the_package_datasets_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadTexts, match=r"needs the package datasets .* Try pip install datasets$"):
        read_hub(ColumnRequest("hf:owner/name", None))
