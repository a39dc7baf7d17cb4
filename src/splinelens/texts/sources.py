"""Where texts come from: the source is opened, its format told and its characters decoded."""

import codecs
import io
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

from splinelens.errors import BadTexts
from splinelens.texts.arrow import hub_columns, parquet_columns
from splinelens.texts.rows import Texts
from splinelens.texts.tables import delimited_columns, json_columns, json_lines_columns, starts_as_json_lines
from splinelens.texts.wanted import Taken, Wanted, listed, nearest, plain

_FORMATS = {".txt": "txt", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_FORMATS |= {".json": "json", ".parquet": "parquet"}
_SIGNATURES = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip or Excel file", b"\x1f\x8b": "a gzip file"}
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_texts(
    source: str | os.PathLike[str] | Sequence[str | None],
    column: str | None = None,
    keep: Sequence[str] = (),
    encoding: str = "utf-8",
    format: str | None = None,
) -> Texts:
    """Texts, in order, from a list, a file, standard input or a data set of the Hugging Face hub.

    A .txt file holds one text a line, and a blank line is an empty text. In .csv and .tsv the first row
    names the columns; blank lines are skipped, unless there is one column only. In .jsonl blank lines are
    skipped and an absent key is null. Standard input has one text a line, or is JSON Lines where its first
    line is an object with the text column.

    Args:
        source: A list or tuple of strings; a path ending in .txt, .csv, .tsv, .jsonl, .ndjson, .json (one
            list) or .parquet; ``"-"`` for standard input; or ``"hf:owner/name[:config][:split]"``.
        column: The column of the texts. Default: ``text`` if there, else the only column of strings.
        keep: Names of other columns to keep.
        encoding: Encoding of text files and standard input; a UTF-8 byte order mark is passed over.
        format: txt, csv, tsv, jsonl, json or parquet, whatever the ending of the path.

    Returns:
        At least one row.

    Raises:
        MissingColumn: A column asked for is not there; the message names those there.
        BadTexts: Nothing to read, or a row that cannot be read; the message names its line or row.

    Example:
        >>> read_texts(["Have a nice day", None]).texts
        ('Have a nice day', None)
    """
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    if isinstance(source, list | tuple):
        wanted = Wanted("list", column, keep)
        texts, columns = plain(source, wanted)
    elif not isinstance(source, str | os.PathLike):
        found = type(source).__name__
        raise BadTexts(f"cannot read a {found}; give a list of texts, a path, '-' or 'hf:owner/name'")
    elif (name := os.fspath(source)).startswith("hf:"):
        wanted = Wanted(name, column, keep)
        texts, columns = hub_columns(wanted)
    else:
        if format not in (None, *_FORMATS.values()):
            raise BadTexts(f"no format {format!r}; there are {listed(dict.fromkeys(_FORMATS.values()))}")
        wanted = Wanted("stdin" if name == "-" else name, column, keep)
        with _opened(name) as stream:
            texts, columns = _read(stream, format or _format_of(name), encoding, wanted)
    if not texts:
        raise BadTexts(f"{wanted.where} has no rows; give at least one text")
    return Texts(tuple(texts), {name: tuple(cells) for name, cells in columns.items()}, wanted.where)


def _opened(name: str) -> BinaryIO:
    """The bytes of a file or of standard input, in a stream that can go back to its start."""
    if name == "-":
        if sys.stdin is None:
            raise BadTexts("stdin is closed; name a file or send texts to stdin")
        return io.BytesIO(sys.stdin.buffer.read())
    try:
        if not os.path.exists(name):
            raise BadTexts(_not_there(name))
        if os.path.isdir(name):
            files = [entry for entry in sorted(os.listdir(name)) if Path(entry).suffix.lower() in _FORMATS]
            there = f"; there are {listed(files, 5)}" if files else ""
            raise BadTexts(f"{name} is a directory; name one file in it{there}")
        stream = open(name, "rb")  # noqa: SIM115 - the caller closes it
        if stream.seekable():
            return stream
        with stream:
            return io.BytesIO(stream.read())
    except OSError as trouble:
        raise BadTexts(f"cannot open {name}: {trouble.strerror}; check its rights") from trouble


def _not_there(name: str) -> str:
    folder, file = os.path.split(name)
    if not os.path.isdir(folder or "."):
        advice = "check the path, or give a list to read one text"
        return f"no file {file} in {folder}: there is no such folder; {advice}"
    near = nearest(file, os.listdir(folder or "."))
    advice = f"Did you mean {os.path.join(folder, near)}?" if near else "To read one text, give a list."
    return f"no file {listed([file])} in {folder or 'this folder'}. {advice}"


def _format_of(name: str) -> str | None:
    """The format that the ending of a path stands for; None for standard input, whose first line tells."""
    ending = Path(name).suffix.lower()
    if name != "-" and ending not in _FORMATS:
        found = f"files ending in {ending!r}" if ending else "a file without an ending"
        known = ", ".join(_FORMATS)
        raise BadTexts(f"{name}: cannot read {found}; read are {known}. Give its format if it is one")
    return _FORMATS.get(ending)


def _read(stream: BinaryIO, format: str | None, encoding: str, wanted: Wanted) -> Taken:
    head = stream.read(4096)
    stream.seek(0)
    if not head:
        raise BadTexts(f"{wanted.where} is empty; give at least one text")
    if format == "parquet":
        return parquet_columns(stream, wanted)
    codec = _codec(encoding)
    _refuse_wide_characters(head, codec, wanted.where)
    lines = io.TextIOWrapper(stream, codec, newline="" if format in ("csv", "tsv") else "\n")
    try:
        if format is None:
            format = "jsonl" if starts_as_json_lines(lines, wanted.column or "text") else "txt"
            lines.seek(0)
        if format in ("csv", "tsv"):
            return delimited_columns(lines, "," if format == "csv" else "\t", wanted)
        if format == "jsonl":
            return json_lines_columns(lines, wanted)
        if format == "json":
            return json_columns(lines.read(), wanted)
        return plain([line.removesuffix("\r\n").removesuffix("\n") for line in lines], wanted)
    except UnicodeError as trouble:
        raise BadTexts(f"{wanted.where}{_undecodable(stream, codec, trouble)}") from trouble
    finally:
        lines.detach()  # the stream is closed by whoever opened it


def _codec(encoding: str) -> str:
    """The name of the codec; the one of UTF-8 passes over a byte order mark."""
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)  # refuses codecs that are no encoding of text, such as base64
    except LookupError as trouble:
        raise BadTexts(f"no text encoding {encoding!r}. Try --encoding utf-8, or latin-1") from trouble
    return "utf-8-sig" if codec == "utf-8" else codec


def _refuse_wide_characters(head: bytes, codec: str, where: str) -> None:
    """UTF-16 read as something narrower is full of NUL characters, or fails at its first byte."""
    if codec.startswith(("utf-16", "utf-32")):
        return
    found = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if not found and len(head) >= 16 and min(even, odd) == 0 and max(even, odd) > len(head) / 4:
        found = "utf-16-le" if odd else "utf-16-be"
    if found:
        raise BadTexts(f"{where} looks like {found.upper()}, not {codec}. Try --encoding {found}")


def _undecodable(stream: BinaryIO, codec: str, trouble: UnicodeError) -> str:
    stream.seek(0)
    data = stream.read()
    codec = codec.removesuffix("-sig")
    for signature, what in _SIGNATURES.items():
        if data.startswith(signature):
            return f" is {what}, whatever its name says; unpack it, rename it or save it as CSV"
    other = "latin-1" if codec == "utf-8" else "utf-8"
    try:
        data.decode(codec)
    except UnicodeDecodeError as exact:
        line = data.count(b"\n", 0, exact.start) + 1
        found = f", line {line}: byte {exact.start} (0x{data[exact.start]:02x}) is not {codec}"
        return f"{found}. Try --encoding {other}"
    return f": not {codec} ({trouble}). Try --encoding {other}"
