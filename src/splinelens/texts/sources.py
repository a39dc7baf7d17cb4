"""Reading texts: opening the source, choosing its format and decoding its characters."""

import codecs
import io
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import BinaryIO

from splinelens.errors import BadTexts
from splinelens.texts.columns import ColumnRequest, TextsAndColumns, closest, texts_only
from splinelens.texts.formats import (
    is_json_lines,
    read_delimited,
    read_hub,
    read_json,
    read_json_lines,
    read_parquet,
)
from splinelens.texts.table import Texts, column_cells, quoted

_FORMATS = {".txt": "txt", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_FORMATS |= {".json": "json", ".parquet": "parquet"}
_SIGNATURES = {b"PAR1": "a Parquet file", b"PK\x03\x04": "a zip or Excel file", b"\x1f\x8b": "a gzip file"}
_MARKS = {codecs.BOM_UTF32_LE: "utf-32", codecs.BOM_UTF16_LE: "utf-16", codecs.BOM_UTF16_BE: "utf-16"}


def read_texts(
    source: str | os.PathLike[str] | Iterable[str | None],
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
        source: A list, array or Series of strings, None or NaN where one is missing; a path ending in .txt,
            .csv, .tsv, .jsonl, .ndjson, .json (one list) or .parquet; ``"-"`` for standard input; or
            ``"hf:owner/name[:config][:split]"``.
        column: The column of the texts. Default: ``text`` if present, else the only column of strings.
        keep: Names of other columns to keep.
        encoding: Encoding of text files and standard input; a UTF-8 byte order mark is skipped.
        format: txt, csv, tsv, jsonl, json or parquet, overriding the ending of the path.

    Raises:
        MissingColumn: A requested column does not exist; the message names those that do.
        BadTexts: Nothing to read, or a row that cannot be read; the message names its line or row.

    Example:
        >>> read_texts(["Have a nice day", None]).texts
        ('Have a nice day', None)
    """
    keep = (keep,) if isinstance(keep, str) else tuple(keep)
    if not isinstance(source, str | os.PathLike):
        request = ColumnRequest("list", column, keep)
        texts, columns = texts_only(column_cells(source), request)
    elif (name := os.fspath(source)).startswith("hf:"):
        request = ColumnRequest(name, column, keep)
        texts, columns = read_hub(request)
    else:
        if format not in (None, *_FORMATS.values()):
            raise BadTexts(f"no format {format!r}; there are {quoted(dict.fromkeys(_FORMATS.values()))}")
        request = ColumnRequest("stdin" if name == "-" else name, column, keep)
        with _opened(name) as stream:
            texts, columns = _read(stream, format or _format_of(name), encoding, request)
    if not texts:
        raise BadTexts(f"{request.source} has no rows; give at least one text")
    return Texts(tuple(texts), {name: tuple(cells) for name, cells in columns.items()}, request.source)


def _opened(name: str) -> BinaryIO:
    """The bytes of a file or of standard input, as a seekable stream."""
    if name == "-":
        if sys.stdin is None:
            raise BadTexts("stdin is closed; name a file or send texts to stdin")
        return io.BytesIO(sys.stdin.buffer.read())
    try:
        if not os.path.exists(name):
            raise BadTexts(_missing_file(name))
        if os.path.isdir(name):
            raise BadTexts(f"{name} is a directory; name one file in it")
        stream = open(name, "rb")  # noqa: SIM115 - the caller closes it
        if stream.seekable():
            return stream
        with stream:
            return io.BytesIO(stream.read())
    except OSError as error:
        raise BadTexts(f"cannot open {name}: {error.strerror}; check its rights") from error


def _missing_file(name: str) -> str:
    folder, file = os.path.split(name)
    if not os.path.isdir(folder or "."):
        return f"no file {file} in {folder}: there is no such folder; check the path"
    near = closest(file, os.listdir(folder or "."))
    one = "To read one text, give a list, or --text on the command line."
    advice = f"Did you mean {os.path.join(folder, near)}?" if near else one
    return f"no file {quoted([file])} in {folder or 'this folder'}. {advice}"


def _format_of(name: str) -> str | None:
    """The format by the ending of a path; None for standard input, whose first line decides."""
    ending = Path(name).suffix.lower()
    if name != "-" and ending not in _FORMATS:
        kind = f"files ending in {ending!r}" if ending else "a file without an ending"
        known = ", ".join(_FORMATS)
        raise BadTexts(f"{name}: cannot read {kind}; read are {known}. Give its format if it is one")
    return _FORMATS.get(ending)


def _read(stream: BinaryIO, format: str | None, encoding: str, request: ColumnRequest) -> TextsAndColumns:
    head = stream.read(4096)
    stream.seek(0)
    if not head:
        raise BadTexts(f"{request.source} is empty; give at least one text")
    if format == "parquet":
        return read_parquet(stream, request)
    codec = _codec(encoding)
    _refuse_wide_characters(head, codec, request.source)
    lines = io.TextIOWrapper(stream, codec, newline="" if format in ("csv", "tsv") else "\n")
    try:
        if format is None:
            format = "jsonl" if is_json_lines(lines, request.column or "text") else "txt"
            lines.seek(0)
        if format in ("csv", "tsv"):
            return read_delimited(lines, "," if format == "csv" else "\t", request)
        if format == "jsonl":
            return read_json_lines(lines, request)
        if format == "json":
            return read_json(lines.read(), request)
        return texts_only([line.removesuffix("\r\n").removesuffix("\n") for line in lines], request)
    except UnicodeError as error:
        raise BadTexts(f"{request.source}{_undecodable(stream, codec, error)}") from error
    finally:
        lines.detach()  # the caller closes the stream


def _codec(encoding: str) -> str:
    """The name of the codec; that of UTF-8 skips a byte order mark."""
    try:
        codec = codecs.lookup(encoding).name
        "".encode(codec)  # refuses codecs that are no encoding of text, such as base64
    except LookupError as error:
        raise BadTexts(f"no text encoding {encoding!r}. Try --encoding utf-8, or latin-1") from error
    return "utf-8-sig" if codec == "utf-8" else codec


def _refuse_wide_characters(head: bytes, codec: str, source: str) -> None:
    """Detect UTF-16 and UTF-32 by their mark or by NUL in every other byte."""
    if codec.startswith(("utf-16", "utf-32")):
        return
    wide = next((name for mark, name in _MARKS.items() if head.startswith(mark)), None)
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if not wide and len(head) >= 16 and min(even, odd) == 0 and max(even, odd) > len(head) / 4:
        wide = "utf-16-le" if odd else "utf-16-be"
    if wide:
        raise BadTexts(f"{source} looks like {wide.upper()}, not {codec}. Try --encoding {wide}")


def _undecodable(stream: BinaryIO, codec: str, error: UnicodeError) -> str:
    """Why the bytes are not of this encoding, and which to try."""
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
        byte = f"byte {exact.start} (0x{data[exact.start]:02x})"
        return f", line {line}: {byte} is not {codec}. Try --encoding {other}"
    return f": not {codec} ({error}). Try --encoding {other}"
