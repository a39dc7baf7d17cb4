"""Columns of CSV, TSV, JSON Lines and JSON, row by row, refused at the first row that does not fit."""

import csv
import json
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Any, TextIO

from splinelens.errors import BadTexts
from splinelens.texts.wanted import SAMPLE_ROWS, Column, Taken, Wanted, kind, plain

_UNREADABLE = (ValueError, RecursionError)  # what json raises: broken, a number too long, nested too deep


def delimited_columns(lines: TextIO, delimiter: str, wanted: Wanted) -> Taken:
    r"""Columns of CSV or TSV; its first row names them, quotes and newlines inside cells as in RFC 4180.

    A cell may be as large as memory allows. A blank line is an empty cell where there is one column, and
    nothing where there are more.

    Args:
        lines: The decoded file, its line ends untouched (``newline=""``).
        delimiter: What stands between cells.
        wanted: What to take.

    Returns:
        The texts, and the kept columns, all strings.

    Raises:
        MissingColumn: A column asked for is not there.
        BadTexts: A row is longer or shorter than the header, a quote is never closed, or there is no header.

    Example:
        >>> import io
        >>> delimited_columns(io.StringIO("id,text\r\n1,hello\r\n"), ",", Wanted("a.csv", None, ("id",)))
        (['hello'], {'id': ['1']})
    """
    limit = csv.field_size_limit(2**31 - 1)
    try:
        rows = _delimited_rows(lines, delimiter, wanted.where)
        names = next(rows)
        sample = list(islice(rows, SAMPLE_ROWS))
        cells = [*zip(*sample, strict=True)] or [()] * len(names)
        strings = dict(zip(names, cells, strict=True))
        column = wanted.choose(names, strings)
        if len(names) == 1 and wanted.column not in names and (other := set(names[0]) & set(",;\t|")):
            found = f"cells look separated by {min(other)!r}, not {delimiter!r}"
            raise BadTexts(f"{wanted.where}: {found}; save it with {delimiter!r}, or name its only column")
        wanted.require(column, names, strings)
        place, places = names.index(column), {name: names.index(name) for name in wanted.keep}
        texts: list[str] = []
        kept: dict[str, list[str]] = {name: [] for name in wanted.keep}
        for row in chain(sample, rows):
            texts.append(row[place])
            for name, other_place in places.items():
                kept[name].append(row[other_place])
        return texts, dict(kept)
    finally:
        csv.field_size_limit(limit)


def json_lines_columns(lines: TextIO, wanted: Wanted) -> Taken:
    r"""Columns of JSON Lines: one object a line, blank lines skipped, an absent key is null.

    Args:
        lines: The decoded file.
        wanted: What to take.

    Returns:
        The texts, None where null, and the kept columns with values as JSON has them.

    Raises:
        MissingColumn: A column asked for is in no row.
        BadTexts: A line is no JSON object, or its text is neither a string nor null.

    Example:
        >>> import io
        >>> json_lines_columns(io.StringIO('{"text": "hi"}\n\n{"text": null}\n'), Wanted("a.jsonl", None))
        (['hi', None], {})
    """
    return _object_columns(_json_lines(lines, wanted.where), "line {}", wanted)


def json_columns(document: str, wanted: Wanted) -> Taken:
    """Columns of one JSON list: of strings and nulls alone, or of objects.

    Args:
        document: The whole decoded file.
        wanted: What to take.

    Returns:
        The texts, None where null, and the kept columns.

    Raises:
        MissingColumn: A column asked for is in no object.
        BadTexts: Not JSON, not a list, or a row of another kind.

    Example:
        >>> json_columns('[{"text": "hi", "n": 1}]', Wanted("a.json", None, ("n",)))
        (['hi'], {'n': [1]})
    """
    try:
        rows = json.loads(document)
    except _UNREADABLE as trouble:
        advice = "for one object a line, name it .jsonl"
        raise BadTexts(f"{wanted.where}: not one JSON list ({trouble}); {advice}") from trouble
    if not isinstance(rows, list):
        found = f"{wanted.where} holds {kind(rows)}, not a list"
        raise BadTexts(f"{found}; give a list of texts or of objects, or name it .jsonl if it is JSON Lines")
    if not any(isinstance(row, dict) for row in rows):
        return plain(rows, wanted)
    return _object_columns(iter(enumerate(rows)), "row {} (counted from 0)", wanted)


def starts_as_json_lines(lines: TextIO, column: str) -> bool:
    r"""Whether the first line that is not blank is a JSON object with this column.

    Example:
        >>> import io
        >>> starts_as_json_lines(io.StringIO('\n{"text": "hi"}\n'), "text")
        True
    """
    first = next((line for line in lines if not line.isspace()), "")
    try:
        return first.startswith("{") and column in json.loads(first)
    except _UNREADABLE:
        return False


def _delimited_rows(lines: TextIO, delimiter: str, where: str) -> Iterator[list[str]]:
    """The header, then rows of its width."""
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    width, start = 0, 1
    try:
        for row in reader:
            if len(row) == width:
                if row:
                    yield row
            elif row and width:
                found = f"{where}, line {start}: {len(row)} cells where the header has {width}"
                raise BadTexts(f"{found}; put quotes around a cell with a {delimiter!r} in it")
            elif row:
                width = len(row)
                yield row
            elif width == 1:
                yield [""]
            start = reader.line_num + 1
    except csv.Error as trouble:
        advice = "close each quoted cell, and write a quote inside it twice"
        raise BadTexts(f"{where}, line {start}: {trouble}; {advice}") from trouble
    if not width:
        raise BadTexts(f"{where} is empty; its first row must name the columns")


def _json_lines(lines: TextIO, where: str) -> Iterator[tuple[int, Any]]:  # Any: JSON holds anything
    for number, line in enumerate(lines, 1):
        if line.isspace():
            continue
        try:
            row = json.loads(line.rstrip())  # else an error at its end is at column 1
        except _UNREADABLE as trouble:
            why = "nested too deep or a number too long"
            if isinstance(trouble, json.JSONDecodeError):
                why = f"{trouble.msg} at column {trouble.colno}"
            raise BadTexts(f"{where}, line {number}: not JSON, {why}; write one object a line") from trouble
        yield number, row


def _object_columns(rows: Iterator[tuple[int, Any]], place: str, wanted: Wanted) -> Taken:  # Any: any JSON
    sample = list(islice(rows, SAMPLE_ROWS))
    objects = [row for _, row in sample if isinstance(row, dict)]
    strings = _string_columns(objects)
    column = wanted.choose(set(chain(*objects)), strings)
    names: dict[str, object] = {}
    texts: list[str | None] = []
    kept: dict[str, list[Any]] = {name: [] for name in wanted.keep}  # Any: any JSON
    for number, row in chain(sample, rows):
        if not isinstance(row, dict):
            found = f"{wanted.where}, {place.format(number)}: {kind(row)}, where an object is read"
            raise BadTexts(f'{found}; write {{"text": ...}}')
        text = row.get(column)
        if not isinstance(text, str | None):
            found = f"{wanted.where}, {place.format(number)}: {column!r} is {kind(text)}"
            raise BadTexts(f"{found}, where a string or null is read; quote it or choose another --column")
        texts.append(text)
        names.update(row)
        for name, cells in kept.items():
            cells.append(row.get(name))
    if texts:
        wanted.require(column, [*names], strings)
    return texts, dict(kept)


def _string_columns(rows: Sequence[dict[str, Any]]) -> dict[str, Column]:  # Any: any JSON
    """The columns that hold strings and nulls alone, and at least one string."""
    columns = {name: [row.get(name) for row in rows] for name in dict.fromkeys(chain(*rows))}
    return {
        name: cells
        for name, cells in columns.items()
        if set(map(type, cells)) <= {str, type(None)} and {str} & set(map(type, cells))
    }
