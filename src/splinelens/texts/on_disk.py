"""Texts of a large input in an unnamed temporary file, so that memory does not grow with their number."""

import os
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from tempfile import TemporaryFile
from typing import overload

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
        self._file = TemporaryFile()  # noqa: SIM115 - closed with the sequence
        self._ends, self._missing = array("q", [0]), bytearray()
        for text in texts:
            data = (text or "").encode("utf-8", "surrogatepass")
            self._file.write(data)
            self._ends.append(self._ends[-1] + len(data))
            self._missing.append(text is None)
        self._file.flush()

    def __del__(self) -> None:
        self._file.close()

    def __len__(self) -> int:
        return len(self._missing)

    @overload
    def __getitem__(self, index: int) -> str | None: ...

    @overload
    def __getitem__(self, index: slice) -> list[str | None]: ...

    def __getitem__(self, index: int | slice) -> str | list[str | None] | None:
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            return (
                self._read(start, max(start, stop))
                if step == 1
                else [self[i] for i in range(len(self))[index]]
            )
        row = range(len(self))[index]
        return self._read(row, row + 1)[0]

    def __iter__(self) -> Iterator[str | None]:
        for start in range(0, len(self), _BLOCK):
            yield from self[start : start + _BLOCK]

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Sequence) or len(self) != len(other):
            return NotImplemented if not isinstance(other, Sequence) else False
        return all(one == two for one, two in zip(self, other, strict=True))

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


def collected(texts: Iterable[str | None]) -> Sequence[str | None]:
    """A list of texts; of more than ``IN_MEMORY`` a sequence on disk."""
    rest = iter(texts)
    first = list(islice(rest, IN_MEMORY + 1))
    return first if len(first) <= IN_MEMORY else TextsOnDisk(chain(first, rest))
