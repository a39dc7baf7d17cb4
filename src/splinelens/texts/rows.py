"""Texts in order, with the columns beside them: what every reader hands on."""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts.wanted import listed


@dataclass(frozen=True)
class Texts:
    """Texts in order, with the other columns that were asked for.

    ``repr`` leaves the texts out, so that input never reaches a log by accident.

    Args:
        texts: One entry a row; None where the cell was null.
        columns: The other columns kept, by name, each as long as ``texts``, values as read (CSV: str).
        source: The path, ``"stdin"``, ``"list"`` or the ``hf:`` address they came from.
        numbers: The number of each row in the source, from 0: a header and blank lines that are skipped are
            not counted. Left out, the rows given are counted; a selection of rows keeps their numbers.

    Raises:
        BadTexts: A column, or the numbers, are longer or shorter than the texts.

    Example:
        >>> rows = Texts(("hi", None), {"split": ("train", "test")}, "list")
        >>> test = rows.where("split", ["test"])
        >>> len(rows), test.texts, test.numbers
        (2, (None,), (1,))
    """

    texts: tuple[str | None, ...] = field(repr=False)
    columns: Mapping[str, tuple[Any, ...]] = field(repr=False)  # Any: a cell is whatever the file held
    source: str
    numbers: tuple[int, ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        if not self.numbers:
            object.__setattr__(self, "numbers", tuple(range(len(self.texts))))
        if len(self.numbers) != len(self.texts):
            found = f"{self.source}: {len(self.numbers)} numbers of rows"
            raise BadTexts(f"{found} beside {len(self.texts)} texts; give one a text")
        for name, cells in self.columns.items():
            if len(cells) != len(self.texts):
                found = f"{self.source}: column {name!r} has {len(cells)} rows"
                raise BadTexts(f"{found} beside {len(self.texts)} texts; give one cell a text")

    def __len__(self) -> int:
        return len(self.texts)

    @cached_property
    def data_hash(self) -> str:
        """SHA-256 over the texts in order, in hexadecimal; the columns are not part of it.

        A null adds ``-``; a text adds its length in bytes, ``:`` and its UTF-8, lone surrogates passed.
        """
        digest = hashlib.sha256()
        for text in self.texts:
            data = b"" if text is None else text.encode("utf-8", "surrogatepass")
            digest.update(b"-" if text is None else b"%d:" % len(data) + data)
        return digest.hexdigest()

    @cached_property
    def columns_hash(self) -> str:
        """SHA-256 over the kept columns by name, in hexadecimal; their order is not part of it."""
        columns = json.dumps(dict(self.columns), sort_keys=True, default=str)
        return hashlib.sha256(columns.encode()).hexdigest()

    def where(self, column: str, values: Sequence[str]) -> "Texts":
        """The rows whose ``str(column)`` is one of ``values``; a null is never one of them.

        Args:
            column: Name of a kept column.
            values: The values wanted, for instance ``["train"]``.

        Returns:
            Those rows, in order, with the same columns.

        Raises:
            MissingColumn: The column was not kept.
            BadTexts: No row matches; the message names the values that exist.

        Example:
            >>> Texts(("a", "b"), {"fold": (1, 2)}, "list").where("fold", ["2"]).texts
            ('b',)
        """
        if column not in self.columns:
            there = listed(self.columns) or "none"
            raise MissingColumn(f"{self.source}: no column {column!r} was kept, of others {there}; keep it")
        wanted = {values} if isinstance(values, str) else set(values)
        cells = self.columns[column]
        rows = [row for row, cell in enumerate(cells) if cell is not None and str(cell) in wanted]
        if not rows:
            counts = Counter("null" if cell is None else str(cell) for cell in cells).most_common(10)
            there = ", ".join(f"{listed([value])} ({count} rows)" for value, count in counts)
            asked = " or ".join(listed([value]) for value in sorted(wanted)) or "one of no values"
            raise BadTexts(f"{self.source}: column {column!r} is never {asked}; it holds {there}")
        return self.at(rows)

    def at(self, rows: Sequence[int]) -> "Texts":
        """The rows at these places, with their columns and their numbers in the source.

        Args:
            rows: Places among these texts, from 0.

        Returns:
            Those rows, in the order asked for.

        Example:
            >>> Texts(("a", "b", "c"), {}, "list").at([2, 0]).numbers
            (2, 0)
        """
        kept = {name: tuple(cells[row] for row in rows) for name, cells in self.columns.items()}
        numbers = tuple(self.numbers[row] for row in rows)
        return Texts(tuple(self.texts[row] for row in rows), kept, self.source, numbers)
