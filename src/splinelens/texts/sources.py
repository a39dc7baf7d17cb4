"""Reading texts: opening the source, choosing its format and decoding its characters."""

import codecs
import io
import os
import select
import stat
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, TextIO

from splinelens.errors import BadTexts
from splinelens.texts.columns import ColumnRequest, TextsAndColumns, closest, texts_only
from splinelens.texts.encodings import check_encoding, codec_with_mark, undecodable
from splinelens.texts.formats import (
    MAX_CHARACTERS,
    check_delimiter,
    delimiter_option,
    is_json_lines,
    json_format,
    read_delimited,
    read_hub,
    read_json,
    read_json_lines,
    read_parquet,
)
from splinelens.texts.table import Texts, column_cells, quoted

PIPE_SECONDS = 5
"""How long a named pipe may have no writer."""

_FORMATS = {".txt": "txt", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_FORMATS |= {".json": "json", ".parquet": "parquet"}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_HEAD, _CHUNK = 4096, 2**20
_SHEETS, _PACKED = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), (".gz", ".zip", ".bz2", ".xz", ".zst")


def read_texts(
    source: str | os.PathLike[str] | Iterable[str | None],
    column: str | None = None,
    keep: Sequence[str] = (),
    encoding: str = "utf-8",
    format: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
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
        encoding: Encoding of text files and standard input; a byte order mark is skipped.
        format: txt, csv, tsv, jsonl, json or parquet, overriding the ending of the path.
        delimiter: What separates the cells of CSV, such as ``";"``; by default a comma, and a tab in TSV.
        header: Whether the first row of CSV and TSV names the columns; else they are called 1, 2 and so on.

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
        if format is not None:
            check_format(format)
        codec, separator = check_encoding(encoding), check_delimiter(delimiter)
        request = ColumnRequest("stdin" if name == "-" else name, column, keep)
        with _opened(name, codec) as stream:
            typed = format is not None
            format = format or _format_of(name)
            if separator and format not in _DELIMITERS:
                kind = format or "one text a line"
                raise BadTexts(f"{request.source} is read as {kind}, without a delimiter. Try --format csv")
            separator = separator or _DELIMITERS.get(format or "")
            texts, columns = _read(stream, format, codec, separator, header, request, typed)
    if not texts:
        raise BadTexts(f"{request.source} has no rows; give at least one text")
    return Texts(tuple(texts), {name: tuple(cells) for name, cells in columns.items()}, request.source)


def check_format(format: str) -> None:
    """Refuse a format of files that is not read.

    Raises:
        BadTexts: The message names those that are.
    """
    if format not in _FORMATS.values():
        raise BadTexts(f"no format {format!r}; there are {quoted(dict.fromkeys(_FORMATS.values()))}")


def read_text(name: str, encoding: str = "utf-8") -> str:
    """A whole file, or standard input (``-``), as one text, without the line break that ends its last line.

    Raises:
        BadTexts: It cannot be read, or is of another encoding.
    """
    codec, source = check_encoding(encoding), "stdin" if name == "-" else name
    with _opened(name, codec) as stream:
        codec = codec_with_mark(stream.read(_HEAD), codec, source)
        stream.seek(0)
        try:
            text = stream.read().decode(codec)
        except UnicodeError as error:
            raise BadTexts(f"{source}{undecodable(stream, codec, error)}") from error
    return text.removesuffix("\n").removesuffix("\r")


def _opened(name: str, codec: str) -> BinaryIO:
    """The bytes of a file or of standard input, as a seekable stream."""
    if name == "-":
        if sys.stdin is None:
            raise BadTexts("stdin is closed; name a file or send texts to stdin")
        return _buffered(sys.stdin.buffer, codec, "stdin")
    try:
        if not os.path.exists(name):
            raise BadTexts(_missing_file(name))
        mode = os.stat(name).st_mode
        if stat.S_ISDIR(mode):
            raise BadTexts(f"{name} is a directory; name one file in it")
        if stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            raise BadTexts(f"{name} is a device; name a file, or - for standard input")
        stream = _opened_pipe(name) if stat.S_ISFIFO(mode) else open(name, "rb")  # noqa: SIM115 - caller closes
        if stream.seekable():
            return stream
        with stream:
            return _buffered(stream, codec, name)
    except OSError as error:
        raise BadTexts(f"cannot open {name}: {error.strerror}; check its rights") from error


def _opened_pipe(name: str) -> BinaryIO:
    """A named pipe, if it has a writer within ``PIPE_SECONDS``; opening one waits for ever otherwise."""
    descriptor = os.open(name, os.O_RDONLY | os.O_NONBLOCK)
    ready = select.poll()
    ready.register(descriptor, select.POLLIN)
    if not ready.poll(1000 * PIPE_SECONDS):
        try:
            os.read(descriptor, 1)
        except BlockingIOError:  # a writer that has written nothing yet
            pass
        else:
            os.close(descriptor)
            raise BadTexts(f"{name} is a pipe that nothing writes to; start its writer, or name a file")
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def _buffered(stream: BinaryIO, codec: str, source: str) -> BinaryIO:
    """All bytes of a stream that cannot go back; one that is no text is refused before its end."""
    data, line = io.BytesIO(), 0
    while chunk := stream.read(_CHUNK):
        if not data.tell() and not chunk.startswith(b"PAR1"):
            _check_start(chunk, codec, source)
        data.write(chunk)
        newline = chunk.rfind(b"\n")
        line = line + len(chunk) if newline < 0 else len(chunk) - newline
        if line > 4 * MAX_CHARACTERS:
            raise BadTexts(f"{source} has a line of over {line:,} bytes; give one text a line")
    data.seek(0)
    return data


def _check_start(chunk: bytes, codec: str, source: str) -> None:
    """Refuse bytes of another encoding at once, as endless streams have no end to wait for."""
    codec = codec_with_mark(chunk[:_HEAD], codec, source)
    try:
        codecs.getincrementaldecoder(codec)().decode(chunk)
    except UnicodeError as error:
        raise BadTexts(f"{source}{undecodable(io.BytesIO(chunk), codec, error)}") from error


def _missing_file(name: str) -> str:
    folder, file = os.path.split(name)
    if not os.path.isdir(folder or "."):
        return f"no file {file} in {folder}: there is no such folder; check the path"
    near = closest(file, os.listdir(folder or "."))
    one = "To read one text, give a list; score takes it with --text, and inspect as it is."
    advice = f"Did you mean {os.path.join(folder, near)}?" if near else one
    return f"no file {quoted([file])} in {folder or 'this folder'}. {advice}"


def _format_of(name: str) -> str | None:
    """The format by the ending of a path; None for standard input, whose first line decides."""
    ending = Path(name).suffix.lower()
    if name != "-" and ending not in _FORMATS:
        kind = f"files ending in {ending!r}" if ending else "a file without an ending"
        advice = f"If it is one of these, add {_choice(_FORMATS.values())}"
        advice = "Save it as CSV (UTF-8)" if ending in _SHEETS else advice
        advice = "Unpack it first" if ending in _PACKED else advice
        raise BadTexts(f"{name}: cannot read {kind}; read are {', '.join(_FORMATS)}. {advice}")
    return _FORMATS.get(ending)


def _choice(formats: Iterable[str]) -> str:
    *others, last = dict.fromkeys(formats)
    return f"--format {', '.join(others)} or {last}"


def _read(
    stream: BinaryIO,
    format: str | None,
    codec: str,
    delimiter: str | None,
    header: bool,
    request: ColumnRequest,
    typed: bool,
) -> TextsAndColumns:
    """Read a stream; ``typed`` says that the format was given, not taken from the ending."""
    head = stream.read(_HEAD)
    stream.seek(0)
    if not head:
        raise BadTexts(f"{request.source} is empty; give at least one text")
    if format == "parquet":
        return read_parquet(stream, request)
    codec = codec_with_mark(head, codec, request.source)
    lines = io.TextIOWrapper(stream, codec, newline="" if delimiter else "\n")
    try:
        start = _first_lines(lines)
        if format is None and is_json_lines(start[:1], request.column or "text"):
            format = "jsonl"
        _refuse_other_format(start, format, request, typed)
        rows = _bounded(lines, request.source)
        if delimiter:
            return read_delimited(rows, delimiter, request, header)
        if format == "jsonl":
            return read_json_lines(rows, request)
        if format == "json":
            return read_json(lines.read(), request)
        return texts_only([line.removesuffix("\r\n").removesuffix("\n") for line in rows], request)
    except UnicodeError as error:
        raise BadTexts(f"{request.source}{undecodable(stream, codec, error)}") from error
    finally:
        lines.detach()  # the caller closes the stream


def _first_lines(lines: TextIO) -> list[str]:
    """Up to 20 lines that are not blank, cut at a million characters; ``lines`` go back to their start."""
    found: list[str] = []
    while len(found) < 20 and (line := lines.readline(10**6)):
        if not line.isspace():
            found.append(line)
    lines.seek(0)
    return found


def _refuse_other_format(
    start: Sequence[str], format: str | None, request: ColumnRequest, typed: bool
) -> None:
    """Refuse JSON named CSV, CSV named JSON Lines, and tables named text, by their first lines."""
    first = next(iter(start), "")
    kind, source = json_format(first), request.source
    as_texts = "or --format txt to read each line as a text"
    if format in _DELIMITERS and kind:
        raise BadTexts(f"{source} holds JSON, not {format.upper()}. Try --format {kind}")
    if format == "jsonl" and kind == "json":
        raise BadTexts(f"{source} holds one JSON list, not an object a line. Try --format json")
    if format in ("jsonl", "json") and first.lstrip()[:1] not in ("", *'{["'):
        raise BadTexts(f"{source} does not begin as JSON. Try {_choice(('csv', 'tsv', 'txt'))}")
    if typed or format not in (None, "txt"):
        return
    if kind == "jsonl" and format == "txt":
        raise BadTexts(f"{source}: each line looks like JSON. Try --format jsonl, {as_texts}")
    for delimiter in ",;\t":
        names = [name.strip(' "\r\n') for name in first.split(delimiter)]
        if len(names) > 1 and (request.column or "text") in names:
            option = delimiter_option(delimiter)
            raise BadTexts(f"{source} begins as a table, with {quoted(names)}. Try {option}, {as_texts}")
    tabs = {line.count("\t") for line in start}
    if format == "txt" and len(start) > 1 and len(tabs) == 1 and tabs != {0}:
        raise BadTexts(f"{source}: each line has {tabs.pop()} tabs. Try --format tsv, {as_texts}")


def _bounded(lines: TextIO, source: str) -> Iterator[str]:
    """Lines; one that no text needs is refused before it fills the memory."""
    number = 0
    while line := lines.readline(MAX_CHARACTERS):
        number += 1
        if len(line) == MAX_CHARACTERS:
            raise BadTexts(f"{source}, line {number}: {MAX_CHARACTERS:,} characters or more; split it")
        yield line
