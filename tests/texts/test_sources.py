"""Tests ``texts/sources.py``: opening, telling the format, decoding; and the package ``texts`` as a whole."""

import csv
import io
import json
import os
import sys
import threading
from collections import Counter
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest

from splinelens.errors import BadTexts, MissingColumn, OutputExists
from splinelens.files import check_output
from splinelens.texts import read_texts, sources, stream_texts

EXAMPLE = Path(__file__).resolve().parents[2] / "examples" / "comments.csv"


@pytest.fixture
def write(tmp_path):
    """Write bytes (or a str, as UTF-8) under a name, and give its path as a string."""

    def written(name, data):
        path = tmp_path / name
        path.write_bytes(data if isinstance(data, bytes) else data.encode())
        return str(path)

    return written


@pytest.fixture
def stdin(monkeypatch):
    def put(data):
        data = data if isinstance(data, bytes) else data.encode()
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(data)))

    return put


def test_a_list_or_tuple_is_read_as_it_is():
    texts = read_texts(["a", None, "", "\0", "\ud800"])
    assert texts.texts == ("a", None, "", "\0", "\ud800")
    assert (texts.source, texts.columns) == ("list", {})
    assert read_texts(("a",), column="text").texts == ("a",)


def test_any_column_is_read_as_a_list_is():
    assert read_texts(np.array(["a", "b"])).texts == ("a", "b")
    assert read_texts(iter(["a", float("nan")])).texts == ("a", None)
    with pytest.raises(MissingColumn, match="list holds only texts, no column 'note'"):
        read_texts(np.array(["a"]), column="note")


@pytest.mark.parametrize(
    ("source", "words"),
    [
        (7, "texts is a int; give a list, or read_texts"),
        (None, "texts is a NoneType"),
        ({"text": "a"}, "texts is a dict with the columns 'text'"),
        (b"a.csv", "texts is bytes; give a list, or read_texts"),
    ],
)
def test_a_source_of_another_type_is_refused(source, words):
    with pytest.raises(BadTexts, match=words):
        read_texts(source)


def test_no_texts_at_all_are_refused(write):
    with pytest.raises(BadTexts, match="list has no rows; give at least one text"):
        read_texts([])
    for name, data in [("a.csv", "id,text\n"), ("a.json", "[]"), ("a.jsonl", "\n\n"), ("a.txt", "\ufeff")]:
        with pytest.raises(BadTexts, match=f"{name} has no rows"):
            read_texts(write(name, data))


def test_every_row_of_a_text_file_is_a_line(write):
    data = "first\n\n  spaced \t\nlast\x0bstill\u2028last\rhere"
    assert read_texts(write("a.txt", data)).texts == (
        "first",
        "",
        "  spaced \t",
        "last\x0bstill\u2028last\rhere",
    )


def test_only_the_newline_is_taken_off(write):
    assert read_texts(write("a.txt", "a\r\nb\r\r\n\r\nc\r")).texts == ("a", "b\r", "", "c\r")


def test_every_format_gives_the_same_rows(write, tmp_path):
    rows = [{"text": "a, ü", "split": "train"}, {"text": "b\n", "split": "test"}]
    quoted = '"a, ü"{0}train\n"b\n"{0}test\n'
    lines = "\n".join(map(json.dumps, rows))
    paths = [
        write("a.csv", "text,split\n" + quoted.format(",")),
        write("a.tsv", "text\tsplit\n" + quoted.format("\t")),
        write("a.jsonl", lines),
        write("a.NDJSON", lines),
        write("a.json", json.dumps(rows)),
        str(tmp_path / "a.parquet"),
    ]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), paths[-1])
    for path in paths:
        texts = read_texts(path, keep=["split"])
        assert (texts.texts, texts.columns) == (("a, ü", "b\n"), {"split": ("train", "test")}), path
        assert texts.source == path
    assert len({read_texts(Path(path)).data_hash for path in paths}) == 1


def test_one_kept_column_may_be_given_as_a_word(write):
    assert read_texts(write("a.csv", "text,split\na,train\n"), keep="split").columns == {"split": ("train",)}


def test_the_format_given_beats_the_ending(write):
    path = write("rows.data", '{"text": "a"}\n')
    assert read_texts(path, format="jsonl").texts == ("a",)
    assert read_texts(path, format="txt").texts == ('{"text": "a"}',)
    with pytest.raises(
        BadTexts, match="no format 'xml'; there are 'txt', 'csv', 'tsv', 'jsonl', 'json', 'parquet'"
    ):
        read_texts(path, format="xml")


@pytest.mark.parametrize(
    ("name", "advice"),
    [
        ("a.xlsx", "Save it as CSV"),
        ("a.csv.gz", "Unpack it"),
        ("a.text", "If it is one of these, add --format"),
    ],
)
def test_an_unknown_ending_is_refused_naming_those_read(write, name, advice):
    ending = name[name.rindex(".") :]
    with pytest.raises(
        BadTexts, match=rf"cannot read files ending in '{ending}'; read are .txt, .csv, .tsv, .*\. {advice}"
    ):
        read_texts(write(name, "text\na\n"))


def test_a_file_without_ending_is_refused(write):
    with pytest.raises(BadTexts, match="comments: cannot read a file without an ending"):
        read_texts(write("comments", "a\n"))


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet"])
def test_an_empty_file_is_refused(write, name):
    with pytest.raises(BadTexts, match=f"{name} is empty; give at least one text"):
        read_texts(write(name, b""))


def test_a_missing_file_names_the_nearest_in_its_folder(write, tmp_path):
    write("comments.csv", "text\na\n")
    near = str(tmp_path / "comments.csv")
    with pytest.raises(BadTexts) as caught:
        read_texts(str(tmp_path / "coments.csv"))
    assert str(caught.value) == f"no file 'coments.csv' in {tmp_path}. Did you mean {near}?"


def test_a_missing_file_like_no_other_tells_how_to_give_a_text(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        BadTexts, match=r"no file 'You are kind' in this folder\. To score one text, put --text before it"
    ):
        read_texts("You are kind")
    with pytest.raises(BadTexts, match=r"no file 'a{60}\.\.\.' in this folder"):
        read_texts("a" * 5000)
    with pytest.raises(BadTexts, match=r"no file 'a\\x00b'"):
        read_texts("a\0b")


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(BadTexts, match=r"no file .*nowhere: there is no such folder; check the path"):
        read_texts(str(tmp_path / "nowhere" / "a.csv"))


def test_a_directory_is_refused(tmp_path):
    with pytest.raises(BadTexts, match=r"is a directory; name one file in it$"):
        read_texts(str(tmp_path))


def test_a_file_that_may_not_be_read_is_an_error_of_ours(write, monkeypatch):
    path = write("a.txt", "a\n")

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(BadTexts, match=r"cannot open .*a\.txt: Permission denied; check its rights"):
        read_texts(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_read_to_its_end(tmp_path):
    pipe = tmp_path / "pipe.csv"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=("id,text\n1,a\n",), daemon=True)
    writer.start()
    assert read_texts(pipe).texts == ("a",)
    writer.join()


@pytest.mark.parametrize("name", ["a.txt", "a.csv", "a.jsonl", "a.json"])
def test_a_utf8_byte_order_mark_is_passed_over(write, name):
    data = {"a.txt": "ü\n", "a.csv": "text\nü\n", "a.jsonl": '{"text": "ü"}\n', "a.json": '["ü"]'}[name]
    assert read_texts(write(name, b"\xef\xbb\xbf" + data.encode())).texts == ("ü",)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (b"a\nb\n", "a\nb"),
        (b"\xef\xbb\xbfa\r\n", "a"),
        ("é".encode("utf-16"), "é"),
        (b"", ""),
        (b"a\n\n", "a\n"),
    ],
)
def test_a_whole_file_is_one_text(write, data, text):
    encoding = "utf-16" if data.startswith(b"\xff\xfe") else "utf-8"
    assert sources.read_text(write("letter", data), encoding) == text


def test_a_file_of_another_encoding_names_line_byte_and_the_way_out(write):
    path = write("a.csv", "id,text\n1,fine\n2,caf\xe9\n".encode("latin-1"))
    with pytest.raises(BadTexts) as caught:
        read_texts(path)
    assert str(caught.value) == f"{path}, line 3: byte 20 (0xe9) is not utf-8. Try --encoding cp1252"
    assert read_texts(path, encoding="latin-1").texts == ("fine", "café")


def test_the_byte_is_counted_from_the_start_of_a_large_file(write):
    data = b"word\n" * 100_000 + b"\xff\n"
    with pytest.raises(BadTexts, match=r"line 100001: byte 500000 \(0xff\) is not utf-8"):
        read_texts(write("a.txt", data))


@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.json"])
def test_every_text_format_names_the_wrong_byte(write, name):
    with pytest.raises(BadTexts, match=r"line 1: byte 2 .* Try --encoding cp1252"):
        read_texts(write(name, b'["\xe9"]'))


def test_another_encoding_that_fails_suggests_utf8(write):
    with pytest.raises(BadTexts, match=r"line 1: byte 0 \(0xc3\) is not ascii\. Try --encoding utf-8"):
        read_texts(write("a.txt", "ü"), encoding="ascii")


@pytest.mark.parametrize(
    "encoding",
    [
        *"klingon base64 rot13 hex zlib idna punycode undefined unicode_escape raw_unicode_escape é".split(),
        *["", "\0", "utf-8\0", "\ud800", "x" * 100_000, "../../etc/passwd"],
    ],
    ids=ascii,
)
def test_an_encoding_that_is_none_is_refused(write, encoding):
    with pytest.raises(BadTexts, match=r"no text encoding '.*'. Try --encoding utf-8, or cp1252") as caught:
        read_texts(write("a.txt", "a"), encoding=encoding)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("encoding", "advice"),
    [("utf-16", "utf-16"), ("utf-16-le", "utf-16-le"), ("utf-16-be", "utf-16-be"), ("utf-32", "utf-32")],
)
def test_wide_characters_are_recognized_and_read_with_their_encoding(write, encoding, advice):
    path = write("a.csv", "id,text\n1,a plain remark\n".encode(encoding))
    for wrong in ("utf-8", "latin-1"):
        with pytest.raises(BadTexts, match=f"looks like {advice.upper()}, not .* Try --encoding {advice}$"):
            read_texts(path, encoding=wrong)
    assert read_texts(path, encoding=advice).texts == ("a plain remark",)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
@pytest.mark.parametrize("text", ["a plain remark", "обычное замечание — «да»", "eine schöne Bemerkung 😀"])
def test_wide_characters_without_a_mark_are_recognized_and_read(write, encoding, text):
    path = write("a.csv", f"id,text\r\n1,{text}\r\n".encode(encoding))
    for wrong in ("utf-8", "latin-1"):
        with pytest.raises(
            BadTexts, match=f"looks like {encoding.upper()}, not .* Try --encoding {encoding}$"
        ):
            read_texts(path, encoding=wrong)
    assert read_texts(path, encoding=encoding).texts == (text,)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be", "utf-8"])
def test_a_mark_is_passed_over_though_the_encoding_names_the_order(write, encoding):
    path = write("a.csv", "\ufefftext\r\nüber\r\n".encode(encoding))
    assert read_texts(path, encoding=encoding).texts == ("über",)
    with pytest.raises(BadTexts, match=r"looks like UTF-.*, not cp1252. Try --encoding utf-"):
        read_texts(path, encoding="cp1252")


@pytest.mark.parametrize(
    ("data", "encoding", "advice"),
    [
        ("“quoted”", "cp1252", "cp1252"),
        ("\x81", "latin-1", "latin-1"),
        ("text", "utf-16-le", "utf-16-le"),
        ("привет " * 9, "koi8-r", "NAME, the one it was saved in, such as cp1251, shift_jis or gb18030"),
    ],
)
def test_the_encoding_that_fits_is_suggested(write, data, encoding, advice):
    path = write("a.txt", data.encode(encoding))
    with pytest.raises(BadTexts, match=f"Try --encoding {advice}$"):
        read_texts(path, encoding="utf-16" if encoding == "utf-16-le" else "utf-8")
    assert read_texts(path, encoding=encoding).texts == (data,)


@pytest.mark.parametrize("text", ["hi", "你好世界你好世界"])
@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_few_wide_characters_are_recognized_by_their_beginning(write, encoding, text):
    with pytest.raises(BadTexts, match=f"looks like {encoding.upper()}, not utf-8"):
        read_texts(write("a.txt", f"hi!\n{text}\n".encode(encoding)))


def test_a_file_that_is_cut_within_a_character_says_so(write):
    with pytest.raises(BadTexts, match="is only a part of a character; is the file cut short"):
        read_texts(write("a.txt", "some words\n".encode("utf-16")[:-1]), encoding="utf-16")


def test_utf16_without_its_mark_is_an_error_of_ours(write):
    with pytest.raises(BadTexts, match=r"not utf-16 .* Try --encoding utf-8"):
        read_texts(write("a.txt", "a plain remark"), encoding="utf-16")


def test_a_few_nul_characters_are_no_wide_characters(write):
    assert read_texts(write("a.txt", "\0\n")).texts == ("\0",)
    assert read_texts(write("a.txt", "a\0b\0c\n" + "some words\n" * 3)).texts[0] == "a\0b\0c"


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"PK\x03\x04\xff\xfe", "a zip or Excel file"),
        (b"\x1f\x8b\x08\xff", "a gzip file"),
        (b"PAR1\xff", "a Parquet"),
    ],
)
def test_another_kind_of_file_under_a_wrong_name_is_recognized(write, data, what):
    with pytest.raises(BadTexts, match=f"a.csv is {what}.*, whatever its name says"):
        read_texts(write("a.csv", data))


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.csv", '{"text": "a"}\n{"text": "b"}\n', "a.csv holds JSON, not CSV. Try --format jsonl"),
        ("a.csv", '{"text": "a", "n": 1}\n', "holds JSON, not CSV. Try --format jsonl"),
        ("a.tsv", '\n{"text": "a"}\n', "holds JSON, not TSV. Try --format jsonl"),
        ("a.csv", '["a", "b"]', "holds JSON, not CSV. Try --format json"),
        ("a.csv", '[\n  {\n "text": "a"}]', "holds JSON, not CSV. Try --format json"),
        ("a.jsonl", "id,text\n1,a\n", "does not begin as JSON. Try --format csv, tsv or txt"),
        ("a.json", "id,text\n1,a\n", "does not begin as JSON. Try --format csv, tsv or txt"),
        ("a.jsonl", '[{"text": "a"}]', "holds one JSON list, not an object a line. Try --format json"),
        ("a.txt", '{"text": "a"}\n', "each line looks like JSON. Try --format jsonl, or --format txt"),
        (
            "a.txt",
            "id,text\n1,a\n",
            "begins as a table, with 'id', 'text'. Try --format csv, or --format txt",
        ),
        ("a.txt", 'id;"text"\r\n1;a\r\n', "as a table, .* Try --format csv --delimiter ';', or --format txt"),
        (
            "a.txt",
            "nr\tnote\n1\ta\n2\tb\n",
            "each line has a tab. Try --format tsv and --column NAME for the",
        ),
        (
            "a.txt",
            'nr\tnote\n1\t"a\nb"\n2\tc\n',
            "most lines have a tab. Try --format tsv and --column NAME for",
        ),
    ],
)
def test_a_file_of_another_format_than_its_name_is_refused_with_the_option(write, name, data, words):
    path = write(name, data)
    with pytest.raises(BadTexts, match=words):
        read_texts(path)
    assert read_texts(path, format="txt").texts[0] == data.split("\n")[0].removesuffix("\r")


def test_a_table_on_standard_input_is_not_read_as_lines(stdin):
    stdin("id,text\n1,a\n")
    with pytest.raises(BadTexts, match=r"stdin begins as a table, with 'id', 'text'. Try --format csv, or"):
        read_texts("-")
    stdin("well, I like this text\nb\n")
    assert len(read_texts("-")) == 2


def test_a_delimiter_and_a_missing_header_are_options(write):
    assert read_texts(write("a.csv", "id;text\n1;a, b\n"), delimiter=";").texts == ("a, b",)
    assert read_texts(write("a.tsv", "id;text\n1;a\n"), delimiter=";").texts == ("a",)
    assert read_texts(write("b.csv", "hello\nyou\n"), header=False).texts == ("hello", "you")
    assert read_texts(write("b.csv", "1\thello\n"), "2", delimiter=r"\t", header=False).texts == ("hello",)
    with pytest.raises(BadTexts, match="no delimiter ';;'; give one character"):
        read_texts(write("a.csv", "id;text\n"), delimiter=";;")
    with pytest.raises(
        BadTexts,
        match=r"a.txt is read as txt, without a delimiter. Leave out --delimiter, or for CSV",
    ):
        read_texts(write("a.txt", "a\n"), delimiter=";")


@pytest.mark.parametrize("path", ["/dev/zero", "/dev/random", "/dev/null", "/dev/full", "/dev/tty"])
def test_a_device_is_refused(path, tmp_path):
    if not os.path.exists(path):
        pytest.skip("no such device here")
    linked = tmp_path / "a.txt"
    linked.symlink_to(path)
    for name in (path, linked):
        with pytest.raises(BadTexts, match="is a device; name a file, or - for standard input"):
            read_texts(name, format="txt")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_that_nothing_writes_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PIPE_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe.txt")
    with pytest.raises(BadTexts, match="is a pipe that nothing writes to; start its writer"):
        read_texts(tmp_path / "pipe.txt")


class Endless(io.RawIOBase):
    """A stream without end, as ``/dev/zero`` is."""

    def __init__(self, piece):
        self.piece = piece

    def readable(self):
        return True

    def readinto(self, buffer):
        size = len(buffer)
        buffer[:] = (self.piece * (size // len(self.piece) + 1))[:size]
        return size


@pytest.mark.parametrize(
    ("piece", "words"),
    [
        (b"\0", "stdin starts with 4,096 NUL bytes; it is no text file"),
        (b"\x8f\xff\n", r"stdin, line 1: byte 0 \(0x8f\) is not utf-8"),
        (b"word ", "stdin has a line of over [45],[0-9,]+ bytes; give one text a line"),
        (b"word\n", "stdin has over 3,000,000 bytes and is read whole; write it to a file"),
    ],
)
def test_an_endless_stream_is_refused_before_it_fills_the_memory(monkeypatch, piece, words):
    monkeypatch.setattr(sources, "MAX_CHARACTERS", 2**20)
    monkeypatch.setattr(sources, "MAX_BYTES", 3_000_000 if piece == b"word\n" else 2**30)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(Endless(piece))))
    with pytest.raises(BadTexts, match=words):
        read_texts("-")


@pytest.mark.parametrize(
    ("piece", "words"), [(b"\0", "NUL bytes; it is no"), (b"word ", "a line of over [45],[0-9,]+")]
)
def test_an_endless_line_is_refused_where_lines_are_read_as_they_arrive(monkeypatch, piece, words):
    monkeypatch.setattr(sources, "MAX_CHARACTERS", 2**20)
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BufferedReader(Endless(piece), 2**16)))
    with pytest.raises(BadTexts, match=words):
        next(sources.stream_texts())


def test_a_line_that_no_text_needs_is_refused(write, monkeypatch):
    monkeypatch.setattr(sources, "MAX_CHARACTERS", 1000)
    with pytest.raises(BadTexts, match=r"a.txt, line 2: 1,000 characters or more; split it"):
        read_texts(write("a.txt", b"short\n" + b"x" * 1000))


@pytest.mark.parametrize(
    ("name", "kind"), [("a.txt", "txt"), ("a.jsonl", "jsonl"), ("a.json", "json"), ("a.parquet", "parquet")]
)
def test_options_of_tables_are_refused_for_other_formats(write, name, kind):
    file = write(name, b"[]")
    with pytest.raises(BadTexts, match=f"is read as {kind}, without a line of names. Leave out --no-header"):
        read_texts(file, header=False)
    with pytest.raises(BadTexts, match=f"is read as {kind}, without a delimiter. Leave out --delimiter"):
        read_texts(file, delimiter=";")


def test_options_of_tables_are_refused_where_there_is_no_table(stdin):
    stdin("a\n")
    with pytest.raises(BadTexts, match="stdin is read as one text a line, without a line of names"):
        next(sources.stream_texts(header=False))
    with pytest.raises(BadTexts, match="list is read as texts, without a line of names"):
        read_texts(["a"], header=False)
    with pytest.raises(BadTexts, match="hf:a/b is read as a data set, without a delimiter"):
        read_texts("hf:a/b", delimiter=";")
    stdin("a;b\n")
    assert next(sources.stream_texts("2", format="csv", delimiter=";", header=False)).texts == ("b",)


def test_a_key_that_occurs_twice_is_refused(write, stdin):
    line = '{"text": "a"}\n{"text": "b", "n": {"id": 1}, "text": "c"}\n'
    told = "line 2: an object has the key 'text' twice; keep one of them"
    with pytest.raises(BadTexts, match=told):
        read_texts(write("a.jsonl", line))
    stdin(line)
    (batch,) = sources.stream_texts()
    assert batch.texts == ("a", None)
    reason = "was not read: an object has the key 'text' twice; keep one of them"
    assert batch.broken == batch.keep([]).broken == {1: reason}
    assert batch.at([1]).broken == {0: reason}
    with pytest.raises(BadTexts, match=r"a.json: an object has the key 'n' twice"):
        read_texts(write("a.json", '[{"text": "a", "o": {"n": 1, "n": 2}}]'))


def test_standard_input_has_one_text_a_line(stdin):
    stdin("a\r\n\n{not json}\n")
    texts = read_texts("-")
    assert (texts.texts, texts.source) == (("a", "", "{not json}"), "stdin")


def test_standard_input_that_starts_as_json_lines_is_json_lines(stdin):
    stdin('\ufeff\n{"text": "a", "n": 1}\n{"text": null}\n')
    texts = read_texts("-", keep=["n"])
    assert (texts.texts, texts.columns) == (("a", None), {"n": (1, None)})
    stdin('{"comment": "a"}\n')
    assert read_texts("-", column="comment").texts == ("a",)


def test_json_lines_on_standard_input_without_the_column_are_refused_as_in_a_file(stdin):
    stdin('{"comment": "a"}\n')
    with pytest.raises(BadTexts, match=r"looks like JSON. Try --format jsonl --column comment, or"):
        read_texts("-")
    stdin('{"comment": "a"}\n')
    assert read_texts("-", format="txt").texts == ('{"comment": "a"}',)
    stdin("a\n")
    with pytest.raises(
        MissingColumn, match="stdin holds only texts, no column 'note'; give a table, or say what it is, such"
    ):
        read_texts("-", column="note")


def test_standard_input_reads_any_format_given(stdin):
    stdin("id,text\n1,a\n")
    assert read_texts("-", format="csv").texts == ("a",)
    stdin('{"text": "a"}\n')
    assert read_texts("-", format="txt").texts == ('{"text": "a"}',)
    table = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table({"text": ["a", None]}), table)
    stdin(table.getvalue())
    assert read_texts("-", format="parquet").texts == ("a", None)


def test_standard_input_names_itself_in_errors(stdin):
    stdin("")
    with pytest.raises(BadTexts, match="stdin is empty"):
        read_texts("-")
    stdin(b"caf\xe9\n")
    with pytest.raises(BadTexts, match=r"stdin, line 1: byte 3 \(0xe9\) is not utf-8. Try --encoding cp1252"):
        read_texts("-")
    stdin(b"caf\xe9\n")
    assert read_texts("-", encoding="latin-1").texts == ("café",)


def test_an_address_of_the_hub_goes_to_the_hub(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadTexts, match=r"needs the package datasets .* Try pip install datasets"):
        read_texts("hf:owner/name")


def test_the_example_file_is_what_the_demo_promises():
    texts = read_texts(EXAMPLE, "comment", ["id", "kind"])
    with EXAMPLE.open(newline="", encoding="utf-8") as lines:
        rows = list(csv.DictReader(lines))
    assert list(texts.texts) == [row["comment"] for row in rows]
    assert list(texts.columns["id"]) == [str(number) for number in range(1, len(rows) + 1)]
    kinds = Counter(texts.columns["kind"])
    assert set(kinds) == {
        "toxic",
        "harmless",
        "borderline",
        "identity",
        "other language",
        "empty",
        "very long",
    }
    assert texts.where("kind", ["empty"]).texts == ("",)
    (long,) = texts.where("kind", ["very long"]).texts
    assert len(long.split()) > 800
    assert 300 < len(long[: long.index("stupid")].split()) < 700  # far from both ends
    assert EXAMPLE.stat().st_size < 40_000


@pytest.mark.parametrize("format", [None, "csv"])
def test_standard_input_that_cannot_be_read_is_an_error_of_ours(monkeypatch, tmp_path, format):
    with open(tmp_path / "a", "wb", buffering=0) as file, open(file.fileno(), closefd=False) as stdin:
        monkeypatch.setattr("sys.stdin", stdin)
        with pytest.raises(BadTexts, match="cannot read stdin: Bad file descriptor; name a file"):
            next(stream_texts(format=format))
        with pytest.raises(BadTexts, match="cannot read stdin: Bad file descriptor; name a file"):
            read_texts("-")


def test_a_file_that_the_system_does_not_read_is_an_error_of_ours():
    with pytest.raises(BadTexts, match="cannot read /proc/self/mem: Input/output error"):
        read_texts("/proc/self/mem", format="txt")


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"PK\x03\x04\x14\0\6\0\x08\0", "a zip or Excel file"),
        (b"\x1f\x8b\x08\0abc\n", "a gzip file"),
        (b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n", "a PDF"),
        (b"\x7fELF\2\1\1\0\0\0\0\0\0\0\0\0\3\0>\0", "a program"),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_is_no_text_is_refused_by_its_kind_on_standard_input_too(monkeypatch, data, what):
    for read in (lambda: next(stream_texts()), lambda: read_texts("-")):
        monkeypatch.setattr("sys.stdin", SimpleNamespace(buffer=io.BytesIO(data)))
        with pytest.raises(BadTexts, match=f"stdin is {what}, whatever its name says; unpack it"):
            read()


def test_a_text_that_names_a_format_is_read(write):
    assert read_texts(write("a.txt", "%PDF-1.4 is a mark\n")).texts == ("%PDF-1.4 is a mark",)


def test_files_of_a_pattern_are_one_table_in_the_order_of_their_names(tmp_path):
    for name, rows in {"b.csv": "3,c", "a.csv": "1,a\n2,b", "c.csv": "4,"}.items():
        (tmp_path / name).write_text(f"id,text\n{rows}\n")
    pattern = f"{tmp_path}/*.csv"
    texts = read_texts(pattern, keep=["id"])
    assert (texts.texts, texts.columns) == (("a", "b", "c", ""), {"id": ("1", "2", "3", "4")})
    assert texts.source == pattern
    with pytest.raises(OutputExists, match="it is the input"):
        check_output(tmp_path / "b.csv", overwrite=True, source=pattern)
    (tmp_path / "d.csv").write_text("id,comments\n5,e\n")
    with pytest.raises(MissingColumn, match=r"d\.csv has no column 'text'"):
        read_texts(pattern, "text")
    (tmp_path / "[e].txt").write_text("a name with brackets\n")
    with pytest.raises(BadTexts):
        read_texts("\0/*.csv")
    assert read_texts(f"{tmp_path}/[e].txt").texts == ("a name with brackets",)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet"])
def test_columns_to_keep_are_chosen_from_the_names_of_the_file(tmp_path, name):
    path = tmp_path / name
    if name == "a.csv":
        path.write_text("text,Up,down\nhi,1,2\n")
    elif name == "a.jsonl":
        path.write_text('{"text": "hi", "Up": "1", "down": "2"}\n')
    else:
        pyarrow.parquet.write_table(pyarrow.table({"text": ["hi"], "Up": ["1"], "down": ["2"]}), path)
    texts = read_texts(path, keep=lambda names: [name for name in names if name.lower() == "up"])
    assert texts.columns == {"Up": ("1",)}
