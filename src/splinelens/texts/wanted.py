"""Which columns of a table are wanted, and how a table without them is refused."""

import difflib
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from splinelens.errors import BadTexts, MissingColumn

SAMPLE_ROWS = 100  # they decide which column holds the texts when none was named

Column = Sequence[Any]  # Any: a cell is whatever the file held
Taken = tuple[Sequence[str | None], dict[str, Column]]


@dataclass(frozen=True)
class Wanted:
    """What to take from a table, and how the table is called in messages.

    Args:
        where: The path, ``"stdin"``, ``"list"`` or ``hf:`` address.
        column: The column of the texts; None leaves the choice to ``choose``.
        keep: Names of the other columns to keep.

    Example:
        >>> Wanted("a.csv", None).choose(["id", "note"], {"note": ["hello"]})
        'note'
    """

    where: str
    column: str | None
    keep: tuple[str, ...] = ()

    def choose(self, names: Iterable[str], strings: Mapping[str, Column]) -> str:
        """Name the text column: the one asked for, else ``text``, else the only column of strings.

        Args:
            names: All columns.
            strings: A sample of each column that holds strings.

        Returns:
            A name; ``text`` also where nothing fits, for ``require`` to refuse.
        """
        if self.column is not None:
            return self.column
        return next(iter(strings)) if len(strings) == 1 and "text" not in names else "text"

    def require(self, column: str, names: Sequence[str], strings: Mapping[str, Column]) -> None:
        """Refuse a text column or kept column that is not there, or there twice.

        Args:
            column: The text column.
            names: All columns, as often as they occur.
            strings: A sample of each column that holds strings, to suggest one from.

        Raises:
            MissingColumn: The message names the columns there and the likeliest.
            BadTexts: Two columns share the name.
        """
        for name in (column, *self.keep):
            if name not in names:
                if name == column:
                    likely = nearest(name, names) if self.column else None
                    likely = likely or max(strings, key=lambda other: _size(strings[other]), default=None)
                    advice = " None holds strings."
                    if likely:
                        known = _is_name(likely)
                        advice = (
                            f" Try --column {shlex.quote(likely)}." if known else " Has it a header line?"
                        )
                else:
                    near = nearest(name, names)
                    advice = f" Did you mean {near!r}?" if near else ""
                raise MissingColumn(f"{self.where} has no column {name!r}; it has {listed(names)}.{advice}")
            if names.count(name) > 1:
                many = f"{names.count(name)} columns named {name!r}"
                raise BadTexts(f"{self.where} has {many}; rename all but one")


def plain(values: Column, wanted: Wanted) -> Taken:
    """Texts that stand alone, without columns.

    Args:
        values: Strings, and None for nulls.
        wanted: What to take; a column other than ``text`` is not there.

    Returns:
        The values and no column.

    Raises:
        MissingColumn: A column was asked for.
        BadTexts: A value is neither a string nor None.

    Example:
        >>> plain(["hello", None], Wanted("list", None))
        (['hello', None], {})
    """
    foreign = [*wanted.keep] if wanted.column in (None, "text") else [wanted.column]
    if foreign:
        lacks = f"{wanted.where} holds texts alone, no column {foreign[0]!r}"
        raise MissingColumn(f"{lacks}; give a table, and its format if the name does not tell it")
    for row, value in enumerate(values):
        if not isinstance(value, str | None):
            found = f"{wanted.where}, row {row} (counted from 0): {kind(value)}"
            raise BadTexts(f"{found}, where a string or null is read; turn it into a string or drop it")
    return values, {}


def kind(value: object) -> str:
    """What a value is, in words of JSON.

    Example:
        >>> kind(3.5), kind({}), kind(b"")
        ('a number', 'an object', 'a bytes')
    """
    names = {bool: "true or false", int: "a number", float: "a number", list: "a list", dict: "an object"}
    return "null" if value is None else names.get(type(value), f"a {type(value).__name__}")


def nearest(name: str, names: Iterable[str]) -> str | None:
    """The name most like the one asked for, if any is near; case does not count.

    Example:
        >>> nearest("coment", ["id", "Comment"])
        'Comment'
    """
    by_lower = {other.lower(): other for other in names}
    near = difflib.get_close_matches(name.lower(), by_lower, n=1)
    return by_lower[near[0]] if near else None


def listed(names: Iterable[object], most: int = 20) -> str:
    """Quoted names in a row, and how many more there are.

    Of what may be a text, long and with blanks, only the length is said; long names are cut.

    Example:
        >>> listed(["a", "b", "c"], most=2)
        "'a', 'b' and 1 more"
    """
    shown = [
        (repr(name) if len(name) <= 60 else repr(name[:60] + "..."))
        if _is_name(name)
        else f"({len(name)} characters)"
        for name in map(str, names)
    ]
    return ", ".join(shown[:most]) + (f" and {len(shown) - most} more" if len(shown) > most else "")


def _is_name(value: str) -> bool:
    """Whether a value may stand in a message: short, or without blanks."""
    return len(value) <= 24 or not any(map(str.isspace, value))


def _size(cells: Column) -> int:
    return sum(len(cell or "") for cell in cells)
