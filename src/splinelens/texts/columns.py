"""Choosing the columns of a table, and the errors when one is missing. No error quotes a text."""

import difflib
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts.table import check_strings, is_name, quoted

SAMPLE_ROWS = 100
"""Rows that decide which column holds the texts when none was named."""

Cells = Sequence[Any]  # Any: a cell is whatever the file held
TextsAndColumns = tuple[Sequence[str | None], dict[str, Cells]]
Keep = Sequence[str] | Callable[[Sequence[str]], Sequence[str]]
"""Names of columns to keep, or a function that chooses them from all names of the table."""


@dataclass(frozen=True)
class ColumnRequest:
    """Which columns to read: that of the texts (None leaves it to ``choose``), and others to keep.

    ``source`` is the path, ``"stdin"``, ``"list"`` or ``hf:`` address, for messages. ``chosen`` gives further
    names to keep, from those of the table.

    Example:
        >>> ColumnRequest("a.csv", None).choose(["id", "note"], {"note": ["hello"]})
        'note'
    """

    source: str
    column: str | None
    keep: tuple[str, ...] = ()
    chosen: Callable[[Sequence[str]], Sequence[str]] | None = None

    @classmethod
    def of(cls, source: str, column: str | None, keep: Keep) -> "ColumnRequest":
        """A request of the column ``keep``, of several, or of those that a function chooses."""
        if callable(keep):
            return cls(source, column, (), keep)
        return cls(source, column, (keep,) if isinstance(keep, str) else tuple(keep))

    def among(self, names: Sequence[str]) -> "ColumnRequest":
        """The request with every column to keep by name, from the names of the table."""
        if self.chosen is None:
            return self
        return replace(self, keep=(*self.keep, *self.chosen(names)), chosen=None)

    def choose(self, names: Iterable[str], strings: Mapping[str, Cells]) -> str:
        """The text column: the one requested, else ``text``, else the only column of strings.

        ``strings`` is a sample of each column of strings. Where nothing fits, ``require`` refuses ``text``.
        """
        if self.column is not None:
            return self.column
        return next(iter(strings)) if len(strings) == 1 and "text" not in names else "text"

    def require(self, column: str, names: Sequence[str], strings: Mapping[str, Cells]) -> None:
        """Check that the text column and the kept columns each exist once.

        Raises:
            MissingColumn: One does not; the message names the columns that exist and the likeliest.
            BadTexts: Two columns share the name.
        """
        for name in (column, *self.keep):
            if name not in names:
                advice = self._likely_text(names, strings) if name == column else ""
                if name != column and (near := closest(name, names)):
                    advice = f" Did you mean {near!r}?"
                raise MissingColumn(f"{self.source} has no column {name!r}; it has {quoted(names)}.{advice}")
            if names.count(name) > 1:
                many = f"{names.count(name)} columns named {name!r}"
                raise BadTexts(f"{self.source} has {many}; rename all but one")

    def likely(self, names: Iterable[str], strings: Mapping[str, Cells]) -> str | None:
        """The column closest to the one requested, or that of strings with most letters; None if none is."""
        near = closest(self.column, names) if self.column else None
        return near or max(strings, key=lambda name: _letters(strings[name]), default=None)

    def _likely_text(self, names: Sequence[str], strings: Mapping[str, Cells]) -> str:
        likely = self.likely(names, strings)
        return " None holds strings." if likely is None else f" Try {column_option(likely)}."


def texts_only(values: Cells, request: ColumnRequest) -> TextsAndColumns:
    """Texts without other columns; a request of one but ``text`` is a missing column.

    Raises:
        MissingColumn: A column was requested.
        BadTexts: A value is neither a string nor None.
    """
    missing = [*request.keep] if request.column in (None, "text") else [request.column]
    if missing:
        raise MissingColumn(
            f"{request.source} holds only texts, no column {missing[0]!r}; give a table, or say what it is, "
            "such as --format csv or --format jsonl"
        )
    check_strings(values, request.source)
    return values, {}


def refuse_names(taken: Iterable[str], results: str) -> None:
    """Refuse to keep columns of the user whose names are taken in the results.

    Raises:
        BadTexts: There is one; the message names it.
    """
    for name in taken:
        raise BadTexts(f"column {name!r} cannot be kept: {results} have a column of that name; rename it")


def column_option(name: str) -> str:
    """The option that names a column; a name that may be a text, or is not printable, is not shown."""
    shown = is_name(name) and len(name) <= 60 and name.isprintable()
    return f"--column {shlex.quote(name) if shown else 'NAME'}"


def closest(name: str, names: Iterable[str]) -> str | None:
    """The name most like this one, ignoring case; None if none is close."""
    by_lower = {other.lower(): other for other in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def _letters(cells: Cells) -> int:
    """What tells texts from dates and numbers."""
    return sum(sum(map(str.isalpha, cell or "")) for cell in cells)
