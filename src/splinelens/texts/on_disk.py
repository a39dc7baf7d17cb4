"""Texts of a large input in an unnamed temporary file, so that memory does not grow with their number."""

import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from itertools import accumulate, chain, islice
from tempfile import TemporaryFile, gettempdir
from typing import overload
from weakref import finalize

from splinelens.files import write_errors

IN_MEMORY = 2**16 if hasattr(os, "pread") else sys.maxsize
"""The most texts of one input that are kept in memory; Windows has no ``pread``."""

_BLOCK = 1024


class TextsOnDisk(Sequence[str | None]):
    """Texts in the order of an iterable; memory holds 9 bytes of each. Forked processes may read them too.

    Example:
        >>> texts = TextsOnDisk(["a", None, "", "b"])
        >>> texts[1:3], texts[-1], len(texts)
        ([None, ''], 'b', 4)
    """

    def __init__(self, texts: Iterable[str | None]):
        """Write the texts.

        Raises:
            CannotWrite: The folder for temporary files is full.
        """
        self._ends, self._missing = array("q", [0]), bytearray()
        rest = iter(texts)
        with _write_errors():
            self._file = TemporaryFile()  # noqa: SIM115 - closed with the sequence
        finalize(self, self._file.close)
        while block := list(islice(rest, _BLOCK)):
            encoded = [(text or "").encode("utf-8", "surrogatepass") for text in block]
            with _write_errors():
                self._file.write(b"".join(encoded))
                self._file.flush()
            self._ends.extend(accumulate(map(len, encoded), initial=self._ends.pop()))
            self._missing.extend(text is None for text in block)

    def __len__(self) -> int:
        return len(self._missing)

    @overload
    def __getitem__(self, index: int) -> str | None: ...

    @overload
    def __getitem__(self, index: slice) -> list[str | None]: ...

    def __getitem__(self, index: int | slice) -> str | list[str | None] | None:
        if not isinstance(index, slice):
            row = range(len(self))[index]
            return self._read(row, row + 1)[0]
        rows = range(len(self))[index]
        if rows.step != 1:
            return [self[row] for row in rows]
        return self._read(rows.start, max(rows.start, rows.stop))

    def __iter__(self) -> Iterator[str | None]:
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence):
            return NotImplemented
        return len(self) == len(other) and all(one == two for one, two in zip(self, other, strict=True))

    __hash__ = None  # type: ignore[assignment]  # as of a list

    def __reduce__(self) -> tuple[type[tuple[str | None, ...]], tuple[tuple[str | None, ...]]]:
        return tuple, (tuple(self),)  # another machine does not have the file

    def _read(self, start: int, stop: int) -> list[str | None]:
        ends = self._ends[start : stop + 1]
        data = os.pread(self._file.fileno(), ends[-1] - ends[0], ends[0])
        return [
            None if missing else data[begin - ends[0] : end - ends[0]].decode("utf-8", "surrogatepass")
            for missing, begin, end in zip(self._missing[start:stop], ends, ends[1:], strict=False)
        ]


def _write_errors() -> AbstractContextManager[None]:
    return write_errors(gettempdir(), "free space, or name another folder in TMPDIR")


def collected(texts: Iterable[str | None]) -> Sequence[str | None]:
    """A list of texts; of more than ``IN_MEMORY`` a sequence on disk."""
    rest = iter(texts)
    first = list(islice(rest, IN_MEMORY + 1))
    return first if len(first) <= IN_MEMORY else TextsOnDisk(chain(first, rest))
