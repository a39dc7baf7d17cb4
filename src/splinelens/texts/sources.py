"""Reading texts: opening the source, choosing its format and decoding its characters."""

import codecs
import io
import json
import os
import select
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO, TextIO

from splinelens.errors import BadTexts
from splinelens.files import PIPE_SECONDS, matching
from splinelens.texts.columns import (
    ColumnRequest,
    Keep,
    TextsAndColumns,
    closest,
    column_option,
    texts_only,
)
from splinelens.texts.encodings import check_encoding, codec_with_mark, undecodable
from splinelens.texts.formats import (
    MAX_CHARACTERS,
    TypedCells,
    check_delimiter,
    delimiter_option,
    is_json_lines,
    json_format,
    json_row,
    read_delimited,
    read_hub,
    read_json,
    read_json_lines,
    read_parquet,
    string_columns,
    text_of,
)
from splinelens.texts.on_disk import TextsOnDisk, collected
from splinelens.texts.table import Texts, column_cells, quoted

MAX_BYTES = 2**30
"""The most that is read whole from standard input or a pipe, so that an endless one ends in an error."""

_FORMATS = {".txt": "txt", ".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_FORMATS |= {".json": "json", ".parquet": "parquet"}
_DELIMITERS = {"csv": ",", "tsv": "\t"}
_HEAD, _CHUNK = 4096, 2**20
_SHEETS, _PACKED = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers"), (".gz", ".zip", ".bz2", ".xz", ".zst")


def read_texts(
    source: str | os.PathLike[str] | Iterable[str | None],
    column: str | None = None,
    keep: Keep = (),
    encoding: str = "utf-8",
    format: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
) -> Texts:
    """Texts, in order, from a list, a file, standard input or a data set of the Hugging Face hub.

    A .txt file holds one text a line, and a blank line is an empty text. In .csv and .tsv the first row
    names the columns; blank lines are skipped, unless there is one column only. In .jsonl blank lines are
    skipped, an absent key is null, and a key that occurs twice is refused. Standard input has one text a
    line, or is JSON Lines where its first line is an object with the text column.

    Args:
        source: A list, array or Series of strings, None or NaN where one is missing; a path ending in .txt,
            .csv, .tsv, .jsonl, .ndjson, .json (one list) or .parquet; a pattern of such paths, as
            ``"shards/*.parquet"``, whose files are read one after the other in the order of their names;
            ``"-"`` for standard input; or ``"hf:owner/name[:config][:split]"``.
        column: The column of the texts. Default: ``text`` if present, else the only column of strings.
        keep: Names of other columns to keep, or a function that chooses them from the names of the file's
            columns; of JSON Lines from the names in the first 100 rows.
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
    if isinstance(source, str) and not os.path.lexists(source) and (paths := matching(source)):
        return _read_files(
            paths, source, lambda path: read_texts(path, column, keep, encoding, format, delimiter, header)
        )
    if not isinstance(source, str | os.PathLike):
        _refuse_table_options("list", "texts", delimiter, header)
        request = ColumnRequest.of("list", column, keep)
        texts, columns = _single_column(column_cells(source, strings=True), request)
    elif (name := os.fspath(source)).startswith("hf:"):
        _refuse_table_options(name, "a data set", delimiter, header)
        request = ColumnRequest.of(name, column, keep)
        texts, columns = read_hub(request)
    else:
        if format is not None:
            check_format(format)
        codec, separator = check_encoding(encoding), check_delimiter(delimiter)
        request = ColumnRequest.of("stdin" if name == "-" else name, column, keep)
        with _read_errors(request.source), opened(name, codec) as stream:
            format_given = format is not None
            format = format or _format_of(name)
            if format not in _DELIMITERS:
                _refuse_table_options(request.source, format or "one text a line", separator, header)
            separator = separator or _DELIMITERS.get(format or "")
            texts, columns = _read(stream, format, codec, separator, header, request, format_given)
    if not texts:
        raise BadTexts(f"{request.source} has no rows; give at least one text")
    types = {name: cells.type for name, cells in columns.items() if isinstance(cells, TypedCells)}
    kept = {name: tuple(cells) for name, cells in columns.items()}
    in_order = texts if isinstance(texts, TextsOnDisk) else tuple(texts)
    return Texts(in_order, kept, request.source, types=types)


def _read_files(paths: Sequence[str], pattern: str, read: Callable[[str], Texts]) -> Texts:
    """The rows of several files as those of one; their columns have the types of the last file."""
    columns: dict[str, list[Any]] = {}  # Any: a cell is whatever the file held
    types: dict[str, Any] = {}  # Any: untyped pyarrow

    def texts() -> Iterator[str | None]:
        for path in paths:
            part = read(path)
            types.update(part.types)
            for name, cells in part.columns.items():
                columns.setdefault(name, []).extend(cells)
            yield from part.texts

    in_order = collected(texts())
    kept = {name: tuple(cells) for name, cells in columns.items()}
    return Texts(
        in_order if isinstance(in_order, TextsOnDisk) else tuple(in_order), kept, pattern, types=types
    )


def stream_texts(
    column: str | None = None,
    keep: Sequence[str] = (),
    encoding: str = "utf-8",
    format: str | None = None,
    delimiter: str | None = None,
    header: bool = True,
) -> Iterator[Texts]:
    """Texts of standard input as they arrive; lines that came together are together.

    Each line is a row: a text, or, where the first line that is not blank is one with the text column, an
    object. A blank line is an empty text; a line after the first that is no object or not of the encoding
    is a missing text, with its reason in ``Texts.broken``. Other formats are read whole, and so are encodings
    such as UTF-16.

    Args:
        column: As in ``read_texts``.
        keep: As in ``read_texts``; the first object has them all, later ones may lack some.
        encoding: As in ``read_texts``.
        format: As in ``read_texts``.
        delimiter: As in ``read_texts``.
        header: As in ``read_texts``.

    Raises:
        MissingColumn: As in ``read_texts``.
        BadTexts: As in ``read_texts``; the lines before it were yielded.
    """
    codec, format_given = check_encoding(encoding).removesuffix("-sig"), format is not None
    if format not in _DELIMITERS:
        _refuse_table_options("stdin", format or "one text a line", delimiter, header)
    if format not in (None, "txt", "jsonl") or "\n".encode(codec) != b"\n":
        yield read_texts("-", column, keep, encoding, format, delimiter, header)
        return
    if sys.stdin is None:
        raise BadTexts("stdin is closed; name a file or send texts to stdin")
    request, first, started = ColumnRequest("stdin", column, tuple(keep)), 1, False
    for lines in _arriving_lines(sys.stdin.buffer, codec):
        filled = [(number, line) for number, line in enumerate(lines, first) if line is None or line.strip()]
        if filled and not started:
            started, (number, content) = True, filled[0]
            if content is None:
                raise BadTexts(f"stdin, line {number} {_other_encoding(codec)}")
            if format is None and is_json_lines([content], column or "text"):
                format = "jsonl"
            start = [line for _, line in filled[:20] if line is not None]
            _refuse_other_format(start, format, request, format_given)
            format = format or "txt"
            if format == "jsonl":
                request = _request_of(content, request)
        broken = {row: _other_encoding(codec) for row, line in enumerate(lines) if line is None}
        if format == "txt":
            texts, columns = _single_column(lines, request)
        else:
            texts, columns = _objects(lines, request, broken)
        kept = {name: tuple(cells) for name, cells in columns.items()}
        yield Texts(tuple(texts), kept, "stdin", broken=broken)
        first += len(lines)
    if first == 1:
        raise BadTexts("stdin is empty; give at least one text")


def _arriving_lines(stream: BinaryIO, codec: str) -> Iterator[list[str | None]]:
    """Lines of a stream, without their line breaks, as soon as they arrive; None where one is not decoded."""
    rest, number = bytearray(), 0
    while True:
        with _read_errors("stdin"):
            data = stream.read1(_CHUNK)  # type: ignore[attr-defined]  # of buffered streams; it waits once
        if not number and not rest:
            codec_with_mark(data[:_HEAD], codec, "stdin")  # an endless line has no end to wait for
        whole, newline, tail = data.rpartition(b"\n")
        if data and not newline:
            rest += data  # one copy of what is new: a long line comes in thousands of pieces
            if len(rest) > 4 * MAX_CHARACTERS:
                raise BadTexts(f"stdin has a line of over {len(rest):,} bytes; give one text a line")
            continue
        rest += whole
        lines, rest = bytes(rest).split(b"\n") if newline or rest else [], bytearray(tail)
        if lines and not number:
            codec_with_mark(lines[0][:_HEAD], codec, "stdin")  # refuses UTF-16
            lines[0] = lines[0].removeprefix(codecs.BOM_UTF8 if codec == "utf-8" else b"")
        if lines:
            yield [_decoded(line.removesuffix(b"\r"), codec) for line in lines]
            number += len(lines)
        if not data:
            return


def _decoded(line: bytes, codec: str) -> str | None:
    try:
        return line.decode(codec)
    except UnicodeError:
        return None


def _other_encoding(codec: str) -> str:
    return f"is not {codec.upper()}. Try --encoding {'cp1252' if codec == 'utf-8' else 'utf-8'}"


def _request_of(line: str, request: ColumnRequest) -> ColumnRequest:
    """The request with its text column, by the first object of a stream."""
    row = json_row(line, "stdin")
    text_of(row, request.column or "text", "stdin")  # an object
    strings = string_columns([row])
    column = request.choose(row, strings)
    request.require(column, [*row], strings)
    return replace(request, column=column)


def _objects(lines: Sequence[str | None], request: ColumnRequest, broken: dict[int, str]) -> TextsAndColumns:
    """Columns of lines of objects; a blank line is an empty text. Adds to the reasons in ``broken``."""
    column = request.column or "text"
    texts: list[str | None] = [None] * len(lines)
    rows: list[dict[str, Any]] = [{} for _ in lines]  # Any: JSON holds anything
    for row, line in enumerate(lines):
        if line is None:
            continue
        try:
            value = json_row(line, "was not read") if line.strip() else {column: ""}
            texts[row], rows[row] = text_of(value, column, "was not read"), value
        except BadTexts as error:
            broken[row] = str(error).replace("was not read: not", "is not", 1)
    return texts, {name: [row.get(name) for row in rows] for name in request.keep}


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
    with _read_errors(source), opened(name, codec) as stream:
        codec = codec_with_mark(stream.read(_HEAD), codec, source)
        stream.seek(0)
        try:
            text = stream.read().decode(codec)
        except UnicodeError as error:
            raise BadTexts(f"{source}{undecodable(stream, codec, error)}") from error
    return text.removesuffix("\n").removesuffix("\r")


def opened(name: str, codec: str) -> BinaryIO:
    """The bytes of a file or of standard input (``-``), as a seekable stream, which the caller closes.

    Raises:
        BadTexts: There is no such file, it is a folder, a device or a pipe that nothing writes to, or a pipe
            holds bytes of another encoding, an endless line or over ``MAX_BYTES``.
    """
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


@contextmanager
def _read_errors(source: str) -> Iterator[None]:
    """Turn what the system refuses to read, such as a stdin that is open for writing, into ``BadTexts``."""
    try:
        yield
    except OSError as error:
        raise BadTexts(f"cannot read {source}: {error.strerror or error}; name a file of texts") from error


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
        if data.tell() > MAX_BYTES:
            raise BadTexts(
                f"{source} has over {MAX_BYTES:,} bytes and is read whole; write it to a file, and name that"
            )
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
    one = "To score one text, put --text before it; inspect takes it as it is."
    if " " in name.strip() and Path(name).suffix.lower() not in _FORMATS:  # a text itself
        several = "For several, give a .txt file, one a line, or - for standard input."
        return f"no file {quoted([name])} in this folder. {one} {several}"
    if not os.path.isdir(folder or "."):
        return f"no file {file} in {folder}: there is no such folder; check the path"
    near = closest(file, os.listdir(folder or "."))
    advice = f"Did you mean {os.path.join(folder, near)}?" if near else one
    return f"no file {quoted([file])} in {folder or 'this folder'}. {advice}"


def _refuse_table_options(source: str, kind: str, delimiter: str | None, header: bool) -> None:
    """Refuse options that only CSV and TSV have, for what is read as another kind."""
    if delimiter or not header:
        part, option = ("a delimiter", "--delimiter") if delimiter else ("a line of names", "--no-header")
        raise BadTexts(
            f"{source} is read as {kind}, without {part}. Leave out {option}, or for CSV add --format csv"
        )


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
    format_given: bool,
) -> TextsAndColumns:
    """Read a stream; ``format_given`` says that the format was not taken from the ending."""
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
        _refuse_other_format(start, format, request, format_given)
        rows = _bounded(lines, request.source)
        if delimiter:
            return read_delimited(rows, delimiter, request, header)
        if format == "jsonl":
            return read_json_lines(rows, request)
        if format == "json":
            return read_json(lines.read(), request)
        texts = collected(line.removesuffix("\r\n").removesuffix("\n") for line in rows)
        return _single_column(texts, request)
    except UnicodeError as error:
        raise BadTexts(f"{request.source}{undecodable(stream, codec, error)}") from error
    finally:
        lines.detach()  # the caller closes the stream


def _single_column(texts: Sequence[Any], request: ColumnRequest) -> TextsAndColumns:
    """Texts without other columns; they are the column ``text`` where that is to be kept."""
    others = tuple(name for name in request.keep if name != "text")
    values, _ = texts_only(texts, replace(request, keep=others))
    return values, {"text": values} if "text" in request.keep else {}


def _first_lines(lines: TextIO) -> list[str]:
    """Up to 20 lines that are not blank, cut at a million characters; ``lines`` go back to their start."""
    found: list[str] = []
    while len(found) < 20 and (line := lines.readline(10**6)):
        if not line.isspace():
            found.append(line)
    lines.seek(0)
    return found


def _refuse_other_format(
    start: Sequence[str], format: str | None, request: ColumnRequest, format_given: bool
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
    if format_given or format not in (None, "txt"):
        return
    if kind == "jsonl":
        row = json.loads(first)
        likely = request.likely(row, string_columns([row]))
        option = "" if likely in (None, "text") else f" {column_option(likely)}"
        raise BadTexts(f"{source}: each line looks like JSON. Try --format jsonl{option}, {as_texts}")
    for delimiter in ",;\t":
        names = [name.strip(' "\r\n') for name in first.split(delimiter)]
        if len(names) > 1 and (request.column or "text") in names:
            option = delimiter_option(delimiter)
            raise BadTexts(f"{source} begins as a table, with {quoted(names)}. Try {option}, {as_texts}")
    tabs = first.count("\t")
    alike = sum(line.count("\t") == tabs for line in start)  # a cell with a line break has lines of fewer
    if format == "txt" and tabs and alike > 1 and 2 * alike > len(start):
        lines = "each line has" if alike == len(start) else "most lines have"
        count = f"{tabs} tabs" if tabs > 1 else "a tab"
        column = "" if request.column else " and --column NAME for the texts"
        raise BadTexts(f"{source}: {lines} {count}. Try --format tsv{column}, {as_texts}")


def _bounded(lines: TextIO, source: str) -> Iterator[str]:
    """Lines; one that no text needs is refused before it fills the memory."""
    number = 0
    while line := lines.readline(MAX_CHARACTERS):
        number += 1
        if len(line) == MAX_CHARACTERS:
            raise BadTexts(f"{source}, line {number}: {MAX_CHARACTERS:,} characters or more; split it")
        yield line
