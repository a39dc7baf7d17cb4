"""Texts in order, with the columns beside them, and hashes that find repeated texts."""

import hashlib
import json
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cached_property
from io import IOBase
from math import isfinite
from numbers import Number, Real
from typing import TYPE_CHECKING, Any

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts.on_disk import TextsOnDisk
from splinelens.texts.plain_text import storable

if TYPE_CHECKING:
    import numpy
    import pyarrow


@dataclass(frozen=True)
class Texts:
    """Texts in order, with other columns of their table.

    ``repr`` leaves the texts out, so that input never reaches a log by accident.

    Attributes:
        texts: One entry a row; None where the cell was null.
        columns: The kept columns by name, values as read (CSV: str).
        source: The path, ``"stdin"``, ``"list"`` or the ``hf:`` address they came from.
        numbers: The number of each row in the source, from 0, without header and skipped blank lines. By
            default the rows are counted; a selection of rows keeps their numbers.
        types: Arrow types of the columns whose file declares them, such as Parquet.
        broken: Why a row has no text, where its line of standard input could not be read.

    Raises:
        BadTexts: A column is longer or shorter than the texts.

    Example:
        >>> rows = Texts(("hi", None), {"split": ("train", "test")}, "list")
        >>> test = rows.where("split", ["test"])
        >>> len(rows), test.texts, test.numbers
        (2, (None,), (1,))
    """

    texts: Sequence[str | None] = field(repr=False)
    columns: Mapping[str, tuple[Any, ...]] = field(repr=False)  # Any: a cell is whatever the file held
    source: str
    numbers: Sequence[int] = field(default=(), repr=False)
    types: Mapping[str, Any] = field(default_factory=dict, repr=False)  # Any: untyped pyarrow
    broken: Mapping[int, str] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        if not self.numbers:
            numbers = range(len(self.texts))
            of_disk = isinstance(self.texts, TextsOnDisk)
            object.__setattr__(self, "numbers", numbers if of_disk else tuple(numbers))
        for name, cells in self.columns.items():
            if len(cells) != len(self.texts):
                raise BadTexts(
                    f"{self.source}: column {name!r} has {len(cells)} rows beside {len(self.texts)} texts; "
                    "give one cell a text"
                )

    @classmethod
    def of(cls, texts: "Texts | Iterable[str | None]") -> "Texts":
        """The texts of a column (see ``column_cells``), None where one is missing; ``Texts`` as they are.

        Raises:
            BadTexts: One string, a table, a dictionary or set, no text at all, or a row that is neither a
                string nor missing.

        Example:
            >>> Texts.of(text for text in ["hi", float("nan")]).texts
            ('hi', None)
        """
        if isinstance(texts, cls):
            return texts
        values = column_cells(texts, strings=True)
        if not values:
            raise BadTexts("list has no rows; give at least one text")
        return cls(tuple(values), {}, "list")

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 over the texts: ``-`` for a null, else length in bytes, ``:`` and UTF-8 with surrogates."""
        digest = hashlib.sha256()
        for text in self.texts:
            data = b"" if text is None else text.encode("utf-8", "surrogatepass")
            digest.update(b"-" if text is None else b"%d:" % len(data) + data)
        return digest.hexdigest()

    @cached_property
    def columns_hash(self) -> str:
        """SHA-256 over the kept columns, whatever their order."""
        columns = json.dumps(dict(self.columns), sort_keys=True, default=str)
        return hashlib.sha256(columns.encode()).hexdigest()

    def where(self, column: str, values: Sequence[str]) -> "Texts":
        """The rows whose ``str(column)`` is one of ``values``; a null never is.

        Raises:
            MissingColumn: The column was not kept.
            BadTexts: No row matches; the message names the values that exist.
        """
        self._require_kept(column)
        requested = {values} if isinstance(values, str) else set(values)
        cells = self.columns[column]
        rows = [row for row, cell in enumerate(cells) if cell is not None and str(cell) in requested]
        if not rows:
            counts = Counter("null" if cell is None else str(cell) for cell in cells).most_common(10)
            existing = ", ".join(f"{quoted([value])} ({count} rows)" for value, count in counts)
            missing = " or ".join(quoted([value]) for value in sorted(requested)) or "one of no values"
            raise BadTexts(f"{self.source}: column {column!r} is never {missing}; it holds {existing}")
        return self.at(rows)

    def at(self, rows: Sequence[int]) -> "Texts":
        """The rows at these indices, from 0, in this order, with their columns and numbers."""
        return Texts(
            tuple(self.texts[row] for row in rows),
            {name: tuple(cells[row] for row in rows) for name, cells in self.columns.items()},
            self.source,
            tuple(self.numbers[row] for row in rows),
            self.types,
            {at: self.broken[row] for at, row in enumerate(rows) if row in self.broken},
        )

    def keep(self, names: Sequence[str]) -> "Texts":
        """The same texts with these columns only, in this order.

        Raises:
            MissingColumn: A column was not kept when the texts were read.
        """
        for name in names:
            self._require_kept(name)
        columns = {name: self.columns[name] for name in names}
        return Texts(self.texts, columns, self.source, self.numbers, self.types, self.broken)

    def _require_kept(self, name: str) -> None:
        if name not in self.columns:
            others = quoted(self.columns) or "none"
            raise MissingColumn(
                f"{self.source}: no column {name!r} was kept, of others {others}; keep it in "
                "read_texts(path, keep=...), or join by the index of a data frame: "
                "table.to_pandas(frame.index)"
            )

    def to_arrow(self) -> "pyarrow.Table":
        """The columns as an Arrow table, with the types of their file where it declares them.

        A column whose cells have no common type holds them as JSON.

        Example:
            >>> Texts(("hi", "ho"), {"id": ("007", "8"), "n": (1, None)}, "list").to_arrow().to_pylist()
            [{'id': '007', 'n': 1}, {'id': '8', 'n': None}]
        """
        import pyarrow

        return pyarrow.table(
            {name: _arrow_column(cells, self.types.get(name)) for name, cells in self.columns.items()}
        )


def json_value(cell: Any) -> Any:  # Any: a cell is whatever the file held
    """A cell as JSON can hold it: dates as ISO 8601, numbers that are not finite as null.

    Example:
        >>> json_value({"n": float("nan"), "at": [1, Decimal("2.50")]})
        {'n': None, 'at': [1, '2.50']}
    """
    if isinstance(cell, float):
        return cell if isfinite(cell) else None
    if cell is None or isinstance(cell, str | int):
        return cell
    if isinstance(cell, Mapping):
        return {str(key): json_value(value) for key, value in cell.items()}
    if isinstance(cell, list | tuple):
        return [json_value(value) for value in cell]
    if isinstance(cell, bytes):
        return cell.decode("utf-8", "backslashreplace")
    return cell.isoformat() if hasattr(cell, "isoformat") else str(cell)


def _arrow_column(cells: Sequence[Any], kind: Any) -> Any:  # Any: as above, and untyped pyarrow
    import pyarrow

    try:
        return pyarrow.array(cells, type=kind)
    except (pyarrow.ArrowException, OverflowError, UnicodeEncodeError):  # no common type, or a lone surrogate
        shown = (cell if isinstance(cell, str) else _json(cell) for cell in cells)
        printable = [text and storable(text) for text in shown]
        return pyarrow.array(printable, pyarrow.string())


def _json(cell: Any) -> str | None:  # Any: as above
    return None if cell is None else json.dumps(json_value(cell), ensure_ascii=False)


def text_hashes(texts: Sequence[str | None]) -> "numpy.ndarray":
    """Hashes that are equal for texts that differ only in case, spaces and punctuation.

    They find repeated rows, and test rows that a detector was trained on, without storing a text. Each is
    the first 8 bytes of the SHA-256 of the text's letters and digits in lower case; combining marks, such as
    vowels of Hindi, count as letters. A text without letters or digits is hashed without its spaces; a
    missing text as an empty one. Two different texts collide with a chance of about 1 in 10^19.

    Returns:
        (text,) uint64.

    Example:
        >>> first, second, third = text_hashes(["Have a nice day!", "have a nice  day", "Have a day"])
        >>> first == second, first == third
        (np.True_, np.False_)
    """
    import numpy

    digests = (hashlib.sha256(_letters(text or "").encode("utf-8", "surrogatepass")) for text in texts)
    data = b"".join(digest.digest()[:8] for digest in digests)
    return numpy.frombuffer(data, dtype="<u8").astype(numpy.uint64)


def _letters(text: str) -> str:
    folded = text.casefold()
    if not any(map(str.isalnum, folded)):
        return "".join(folded.split())
    return "".join(c for c in folded if c.isalnum() or unicodedata.category(c)[0] == "M")


def column_cells(
    values: Any, name: str = "texts", *, strings: bool = False
) -> list[Any]:  # Any: columns have no common type
    """The cells of one column, None where one is missing; errors call the column ``name``.

    With ``strings`` another cell is refused as soon as it comes: a generator may have no end.

    A column is a list, tuple or generator, a NumPy array of one axis, a Series of pandas or polars, or an
    array of pyarrow.

    Raises:
        BadTexts: One string, or what has no order or more than one column: a data frame, a dictionary, a
            set, an open file. The message names the columns and how to give one. With ``strings`` also a
            cell that is neither a string nor missing.

    Example:
        >>> column_cells({"id": [1], "text": ["hi"]})
        Traceback (most recent call last):
        ...
        splinelens.errors.BadTexts: texts is a dict with the columns 'id', 'text'; give one: texts["text"]
    """
    if isinstance(values, str | bytes | bytearray | IOBase):
        given = {str: "one string", IOBase: "an open file"}
        what = next((words for kind, words in given.items() if isinstance(values, kind)), "bytes")
        raise BadTexts(f"{name} is {what}; give a list, or read_texts(path) for a file")
    if (columns := column_names(values)) is not None:
        table = name if isinstance(values, Mapping) else "df"
        table += ".collect()" if hasattr(values, "collect") else ""
        column = _likely_column(values, columns)
        key = f'"{column}"' if isinstance(column, str) else repr(column)
        raise BadTexts(
            f"{name} is a {type(values).__name__} with the columns {quoted(columns) or '(none)'}; "
            f"give one: {table}[{key}]"
        )
    if isinstance(values, Set) or not _iterates(values):
        order = ", which has no order" if isinstance(values, Set) else ""
        raise BadTexts(
            f"{name} is a {type(values).__name__}{order}; give a list, or read_texts(path) for a file"
        )
    shape = getattr(values, "shape", None)
    if isinstance(shape, tuple) and len(shape) != 1:
        raise BadTexts(
            f"{name} is a {type(values).__name__} of shape {shape}; give one column, such as array[:, 0]"
        )
    if hasattr(values, "to_pylist"):  # pyarrow, whose cells are scalars of its own
        values = values.to_pylist()
    cells: list[Any] = []  # Any: as the values
    for value in values:
        if isinstance(value, str):
            cells.append(str.__str__(value))  # as str itself: a subclass may show another text
            continue
        cells.append(None if is_missing(value) else value)
        if strings:
            _check_string(cells[-1], len(cells) - 1, "list")
    return cells


def _likely_column(table: Any, columns: list[Any]) -> Any:  # Any: as in column_cells
    """The column ``text``, else the first whose first cell is a string, else the first."""
    for column in columns if "text" not in columns else ():
        try:
            if isinstance(next(iter(table[column]), None), str):
                return column
        except (TypeError, LookupError):  # a lazy frame, or a value that is no column
            break
    return next(iter(columns), "text") if "text" not in columns else "text"


def _iterates(values: object) -> bool:
    try:
        return iter(values) is not None  # type: ignore[call-overload]  # TypeError below
    except TypeError:
        return False


def column_names(values: Any) -> list[Any] | None:  # Any: as in column_cells
    """The columns of a table of pandas, polars, pyarrow or datasets, the keys of a dictionary, or None."""
    if isinstance(values, Mapping):
        return [*values]
    if hasattr(values, "collect_schema"):  # polars, which warns of the columns of a lazy frame
        return [*values.collect_schema().names()]
    names = getattr(values, "column_names", None)
    names = getattr(values, "columns", None) if names is None else names
    return [*names] if isinstance(names, Iterable) else None


def check_strings(values: Iterable[Any], source: str) -> None:
    """Refuse a row that is neither a string nor None.

    Raises:
        BadTexts: The message names the row.
    """
    for row, value in enumerate(values):
        _check_string(value, row, source)


def _check_string(value: Any, row: int, source: str) -> None:  # Any: as in check_strings
    if not isinstance(value, str | None):
        fix = "decode" if isinstance(value, bytes) else "turn it into a string or drop"
        raise BadTexts(
            f"{source}, row {row} (counted from 0): {json_type(value)}, where a string or null is read; "
            f"{fix} it"
        )


def is_missing(value: object) -> bool:
    """Whether a cell is None, NaN, the NA or NaT of pandas, or masked or NaT in NumPy."""
    if value is None or isinstance(value, str):
        return value is None
    if type(value).__name__ in ("NAType", "NaTType", "MaskedConstant"):  # NA is neither true nor false
        return True
    if isinstance(value, Decimal):
        return value.is_nan()
    if type(value).__name__ in ("datetime64", "timedelta64"):
        return str(value) == "NaT"
    return isinstance(value, Real) and value != value


def json_type(value: object) -> str:
    """What a value is, in the words of JSON."""
    names = {bool: "true or false", Number: "a number", list: "a list", dict: "an object", bytes: "bytes"}
    if value is None:
        return "null"
    return next(
        (name for kind, name in names.items() if isinstance(value, kind)), f"a {type(value).__name__}"
    )


def quoted(names: Iterable[object], most: int = 20) -> str:
    """Names in quotes, and how many more there are.

    A name that may be a text, long and with blanks, is shown as its length; other long names are cut.

    Example:
        >>> quoted(["a", "b", "c"], most=2)
        "'a', 'b' and 1 more"
    """
    shown = [
        (repr(name) if len(name) <= 60 else repr(name[:60] + "..."))
        if is_name(name)
        else f"({len(name)} characters)"
        for name in map(str, names)
    ]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def is_name(value: str) -> bool:
    """Whether a value may be quoted: short, or without blanks."""
    return len(value) <= 24 or not any(map(str.isspace, value))
