"""Columns of CSV, TSV, JSON Lines, JSON, Parquet and data sets of the Hugging Face hub.

Parquet and data sets are Arrow tables. CSV and JSON are not read by pyarrow, which takes an unclosed quote
as one huge cell, drops blank lines of a single column, turns strings that look like dates into dates, and
refuses lone surrogates and columns of mixed types. Python's ``csv`` and ``json`` keep every text as written
and name the line of what is broken.

Each reader returns the texts, None where null, and the kept columns.
"""

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any, BinaryIO

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts.columns import (
    SAMPLE_ROWS,
    Cells,
    ColumnRequest,
    TextsAndColumns,
    column_option,
    texts_only,
)
from splinelens.texts.on_disk import collected
from splinelens.texts.table import column_cells, is_missing, is_name, json_type, quoted

MAX_CHARACTERS = 2**26
"""The longest line and cell that is read, so that an endless one does not fill the memory."""

_JSON_ERRORS = (ValueError, RecursionError)  # broken, a key twice, a number too long, nested too deep
_ADDRESS = re.compile(r"hf:(\w[\w.-]*/\w[\w.-]*)(?::([^:\[\]]*))?(?::([^:\[\]]+(?:\[.*\])?))?")
_TEXT_NAMES = set(
    "text texts comment comments content contents body message messages msg tweet tweets post posts review "
    "reviews sentence sentences prompt prompts question questions answer answers title description document "
    "documents utterance response responses reply replies feedback headline caption paragraph statement "
    "input kommentar kommentare texte commentaire commentaires texto textos comentario comentarios nachricht "
    "testo commento tekst".split()
)
_NAME, _NUMBER = re.compile(r"[\w /-]+"), re.compile(r"\s*[-+]?[\d.,]*\d\s*")
_SPLITS = {"train", "validation", "valid", "val", "dev", "test"}


def read_delimited(
    lines: Iterable[str], delimiter: str, request: ColumnRequest, header: bool = True
) -> TextsAndColumns:
    r"""Columns of CSV or TSV; quotes and newlines inside cells as in RFC 4180.

    The first row names the columns; without ``header`` they are called ``1``, ``2`` and so on. A row of
    another length is refused. A blank line is an empty cell where there is one column, and skipped where
    there are more. ``lines`` keep their ends, as with ``newline=""``.

    Raises:
        BadTexts: A row of another length, a quote that is not closed, a cell over ``MAX_CHARACTERS``, another
            delimiter, or one column whose header may be a text.
        MissingColumn: A requested column does not exist.

    Example:
        >>> import io
        >>> read_delimited(io.StringIO("id,text\r\n1,hello\r\n"), ",", ColumnRequest("a.csv", None, ("id",)))
        (['hello'], {'id': ['1']})
    """
    limit = csv.field_size_limit(MAX_CHARACTERS)
    try:
        rows = _delimited_rows(lines, delimiter, request.source)
        names = next(rows)
        if header:
            _check_header(names, delimiter, request)
        else:
            rows = chain([names], rows)
            names = [str(number + 1) for number in range(len(names))]
        sample = list(islice(rows, SAMPLE_ROWS))
        cells = [*zip(*sample, strict=True)] or [()] * len(names)
        strings = dict(zip(names, cells, strict=True))
        request = request.among(names)
        column = request.choose(names, strings)
        request.require(column, names, strings)
        index, kept_index = names.index(column), {name: names.index(name) for name in request.keep}
        kept: dict[str, list[str]] = {name: [] for name in request.keep}

        def texts() -> Iterator[str]:
            for row in chain(sample, rows):
                for name, other_index in kept_index.items():
                    kept[name].append(row[other_index])
                yield row[index]

        return collected(texts()), dict(kept)
    finally:
        csv.field_size_limit(limit)


def check_delimiter(delimiter: str | None) -> str | None:
    r"""The character that separates cells; a backslash and t is a tab.

    Raises:
        BadTexts: Not one character, or a quote or line break.
    """
    delimiter = "\t" if delimiter == r"\t" else delimiter
    if delimiter is not None and (len(delimiter) != 1 or delimiter in '"\r\n\0'):
        raise BadTexts(f"no delimiter {delimiter[:60]!r}; give one character, such as ';' or '\\t'")
    return delimiter


def delimiter_option(delimiter: str, current: str = "") -> str:
    """The option that reads cells with this delimiter."""
    if delimiter == "\t":
        return "--format tsv" if current in ("", ",") else r"--delimiter '\t'"
    if delimiter == "," and not current:
        return "--format csv"
    return f"--delimiter '{delimiter}'" if current else f"--format csv --delimiter '{delimiter}'"


def read_json_lines(lines: Iterable[str], request: ColumnRequest) -> TextsAndColumns:
    """Columns of JSON Lines: one object a line, blank lines skipped, an absent key is null."""
    return _object_columns(_json_lines(lines, request.source), "line {}", request)


def read_json(document: str, request: ColumnRequest) -> TextsAndColumns:
    """Columns of one JSON list: of strings and nulls, or of objects."""
    try:
        rows = json.loads(document, object_pairs_hook=_object)
    except _RepeatedKey as error:
        raise BadTexts(f"{request.source}: {error}") from error
    except _JSON_ERRORS as error:
        raise BadTexts(
            f"{request.source}: not one JSON list, {_json_error(error)}; for one object a line, add --format "
            "jsonl"
        ) from error
    if not isinstance(rows, list):
        raise BadTexts(
            f"{request.source} holds {json_type(rows)}, not a list; give a list of texts or of objects, or "
            "add --format jsonl if it is JSON Lines"
        )
    if not any(isinstance(row, dict) for row in rows):
        return texts_only(column_cells(rows), request)
    return _object_columns(iter(enumerate(rows)), "row {} (counted from 0)", request)


def is_json_lines(lines: Iterable[str], column: str) -> bool:
    """Whether the first line that is not blank is a JSON object with this column."""
    first = next((line for line in lines if not line.isspace()), "")
    return json_format(first) == "jsonl" and column in json.loads(first)


def json_format(line: str) -> str | None:
    """``jsonl`` for a JSON object on one line, ``json`` for what begins as a list, else None.

    Example:
        >>> json_format('{"text": "hi"}'), json_format('[{"text":'), json_format("hi")
        ('jsonl', 'json', None)
    """
    if re.match(r'\s*\[\s*([\[{"]|$)', line):
        return "json"
    try:
        return "jsonl" if line.startswith("{") and isinstance(json.loads(line), dict) else None
    except _JSON_ERRORS:
        return None


def read_parquet(stream: BinaryIO, request: ColumnRequest) -> TextsAndColumns:
    """Columns of a seekable Parquet file; only those requested are read."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(stream)
        return _arrow_columns(file.schema_arrow, lambda names: file.read(columns=names), request)
    except (ArrowException, OSError, UnicodeDecodeError) as error:
        raise BadTexts(
            f"{request.source}: no sound Parquet file ({_first_line(error)}); write or fetch it again"
        ) from error


def read_hub(request: ColumnRequest) -> TextsAndColumns:
    """Columns of a data set of the Hugging Face hub, read with the optional package ``datasets``.

    ``request.source`` is ``hf:owner/name[:config][:split]``. A single part is a split if it is called train,
    validation, valid, val, dev or test, else a config; ``hf:owner/name::split`` and
    ``hf:owner/name:config:split`` are unambiguous. The split may be left out if there is one only.
    """
    address = request.source
    match = _ADDRESS.fullmatch(address)
    if not match:
        forms = "hf:owner/name, hf:owner/name::split or hf:owner/name:config:split"
        raise BadTexts(f"no address of a data set: {address!r}; write {forms}")
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise BadTexts(f"{address} needs the package datasets ({error}). Try pip install datasets") from error
    name, config, split = match.groups()
    if split is None and re.sub(r"\[.*", "", config or "") in _SPLITS:
        config, split = None, config
    try:
        data = load_dataset(name, config or None, split=split)
    except Exception as error:  # datasets lets through its own errors, the hub's and its HTTP client's
        raise BadTexts(
            f"cannot load {address}: {_first_line(error)}; check name, config and split; offline, only what "
            "was fetched before is found"
        ) from error
    if isinstance(data, dict):
        if len(data) != 1:
            example = f"hf:{name}:{config or ''}:{next(iter(data), 'train')}"
            raise BadTexts(f"{address} has the splits {quoted(data)}; name one. Try {example}")
        (data,) = data.values()

    def read(names: list[str]) -> Any:  # Any: untyped pyarrow
        return data.select_columns(names).with_format("arrow")[:]

    return _arrow_columns(data.features.arrow_schema, read, request)


def _arrow_columns(
    schema: Any,  # Any: untyped pyarrow
    read: Callable[[list[str]], Any],
    request: ColumnRequest,
) -> TextsAndColumns:
    """Columns of an Arrow schema; ``read`` reads them by name into a table."""
    names = list(schema.names)
    strings = [field.name for field in schema if _is_string(field.type) and names.count(field.name) == 1]
    sample: dict[str, Cells] = dict.fromkeys(strings, ())
    request = request.among(names)
    column = request.choose(names, sample)
    if column not in names and strings:
        sample = read(strings).slice(0, SAMPLE_ROWS).to_pydict()
    request.require(column, names, sample)
    if column not in strings:
        advice = f" Try {column_option(strings[0])}." if strings else " No column does."
        raise BadTexts(
            f"{request.source}: column {column!r} holds {schema.field(column).type}, where strings are read."
            f"{advice}"
        )
    table = read([*dict.fromkeys((column, *request.keep))])
    texts = (text for chunk in table.column(column).chunks for text in _cells(chunk))
    return collected(texts), {name: TypedCells(table.column(name)) for name in request.keep}


def _cells(chunk: Any) -> Iterator[Any]:  # Any: untyped pyarrow
    """The cells of an Arrow array, some at a time."""
    for start in range(0, len(chunk), 1024):
        yield from chunk.slice(start, 1024).to_pylist()


class TypedCells(list[Any]):  # Any: a cell is whatever the file held
    """The cells of an Arrow column, and its ``type``."""

    def __init__(self, column: Any):  # Any: untyped pyarrow
        super().__init__(column.to_pylist())
        self.type = column.type


def _is_string(kind: Any) -> bool:  # Any: untyped pyarrow
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), "") or type(error).__name__


def _check_header(names: list[str], delimiter: str, request: ColumnRequest) -> None:
    """Refuse a first row that shows another delimiter, or that may be a text."""
    source = request.source
    if match := re.fullmatch(r"sep=(.?)", names[0], re.IGNORECASE):
        option = delimiter_option(match[1] or delimiter, delimiter)
        fix = f"delete that line, and add {option}" if match[1] else "delete that line"
        raise BadTexts(f"{source} begins with sep=, which only Excel reads; {fix}")
    if (request.column or "text") in names:
        return
    other = max(set(";,\t|") - {delimiter}, key="".join(names).count)
    if "".join(names).count(other) > len(names) - 1:
        option = delimiter_option(other, delimiter)
        single = len(names) == 1 and request.column is None
        only = ", or name its only column with --column" if single else ""
        raise BadTexts(f"{source}: cells look separated by {other!r}, not {delimiter!r}. Try {option}{only}")
    if len(names) == 1 and request.column is None and not request.keep and not _names_texts(names[0]):
        raise BadTexts(
            f"{source} has one column, and its first line {quoted(names)} may be a text. If it is, add "
            f"--no-header; if it names the column, add {column_option(names[0])}"
        )
    alone = len(names) == 1 and " " in names[0] and not _names_texts(names[0])
    if alone or any(_NUMBER.fullmatch(name) or not is_name(name) for name in names):
        wanted = request.column or "text"
        raise MissingColumn(
            f"{source} has no column {wanted!r}; it has {quoted(names)}. If its first line is a row, add "
            f"--no-header and the number of the column, such as --column {len(names)}"
        )


def _names_texts(name: str) -> bool:
    """Whether a header is a usual name of a column of texts, such as ``Comment`` or ``review_text``."""
    words = re.findall(r"[A-Z]?[^\W\d_A-Z]+|[A-Z]+", name)
    usual = [word.lower() in _TEXT_NAMES for word in words]
    return bool(usual and _NAME.fullmatch(name)) and (all(usual) if " " in name else any(usual))


def _delimited_rows(lines: Iterable[str], delimiter: str, source: str) -> Iterator[list[str]]:
    """The header, then rows of its width."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    width, start = 0, 1
    try:
        for row in reader:
            if len(row) == width:
                if row:
                    yield row
            elif row and width:
                raise BadTexts(
                    f"{source}, line {start}: {len(row)} cells where the first row has {width}; put quotes "
                    f"around a cell with a {delimiter!r} in it"
                )
            elif row:
                width = len(row)
                yield row
            elif width == 1:
                yield [""]
            start = reader.line_num + 1
    except csv.Error as error:
        why = f"a cell of over {MAX_CHARACTERS:,} characters" if "limit" in str(error) else error
        raise BadTexts(
            f"{source}, line {start}: {why}; close each quoted cell, and write a quote inside it twice"
        ) from error
    if not width:
        raise BadTexts(f"{source} is empty; its first row must name the columns")


def _json_lines(lines: Iterable[str], source: str) -> Iterator[tuple[int, Any]]:  # Any: JSON holds anything
    for number, line in enumerate(lines, 1):
        if not line.isspace():
            yield number, json_row(line, f"{source}, line {number}")


def json_row(line: str, position: str) -> Any:  # Any: JSON holds anything
    """The value of a line of JSON Lines; ``position`` is the source and line, for messages."""
    try:
        # Without its end, where an error would be at column 1.
        return json.loads(line.rstrip(), object_pairs_hook=_object)
    except _RepeatedKey as error:
        raise BadTexts(f"{position}: {error}") from error
    except _JSON_ERRORS as error:
        raise BadTexts(f"{position}: not JSON, {_json_error(error)}; write one object a line") from error


class _RepeatedKey(ValueError):
    """An object has a key twice."""


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:  # Any: JSON holds anything
    """A JSON object. Python keeps the last value of a key that occurs twice and drops the others."""
    values = dict(pairs)
    if len(values) < len(pairs):
        names = [name for name, _ in pairs]
        repeated = next(name for name in values if names.count(name) > 1)
        raise _RepeatedKey(f"an object has the key {quoted([repeated])} twice; keep one of them")
    return values


def text_of(row: Any, column: str, position: str) -> str | None:  # Any: as above
    """The text of a row, which must be an object; ``position`` as in ``json_row``."""
    if not isinstance(row, dict):
        raise BadTexts(f'{position}: {json_type(row)}, where an object is read; write {{"text": ...}}')
    text = None if is_missing(row.get(column)) else row.get(column)
    if not isinstance(text, str | None):
        raise BadTexts(
            f"{position}: {column!r} is {json_type(text)}, where a string or null is read; quote it or "
            "choose another --column"
        )
    return text


def _json_error(error: Exception) -> str:
    if not isinstance(error, json.JSONDecodeError):
        return "nested too deep or a number too long"
    line = f" of line {error.lineno}" if error.lineno > 1 else ""
    return f"{error.msg} at column {error.colno}{line}"


def _object_columns(
    rows: Iterator[tuple[int, Any]],  # Any: JSON holds anything
    position: str,
    request: ColumnRequest,
) -> TextsAndColumns:
    """Columns of numbered JSON objects; ``position`` says in messages what the numbers count."""
    sample = list(islice(rows, SAMPLE_ROWS))
    objects = [row for _, row in sample if isinstance(row, dict)]
    strings = string_columns(objects)
    request = request.among([*dict.fromkeys(chain(*objects))])
    column = request.choose(set(chain(*objects)), strings)
    names: dict[str, object] = {}
    kept: dict[str, list[Any]] = {name: [] for name in request.keep}  # Any: as above

    def read() -> Iterator[str | None]:
        for number, row in chain(sample, rows):
            text = text_of(row, column, f"{request.source}, {position.format(number)}")
            names.update(row)
            for name, cells in kept.items():
                cells.append(row.get(name))
            yield text

    texts = collected(read())
    if texts:
        request.require(column, [*names], strings)
    return texts, dict(kept)


def string_columns(rows: Sequence[dict[str, Any]]) -> dict[str, Cells]:  # Any: JSON holds anything
    """The columns that hold strings and nulls only, and at least one string."""
    columns = {
        name: [None if is_missing(row.get(name)) else row.get(name) for row in rows]
        for name in dict.fromkeys(chain(*rows))
    }
    types = {name: set(map(type, cells)) for name, cells in columns.items()}
    return {
        name: cells
        for name, cells in columns.items()
        if str in types[name] and types[name] <= {str, type(None)}
    }
