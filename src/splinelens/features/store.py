"""A table too wide for memory: one file a column, in half precision, mapped and not read.

The margins of 30 layers are 46,080 numbers a text, so those of 60,000 texts take 11 GB in float32. Fitting
reads them one layer after the other, several times; rounding them to half precision (a relative error of
5e-4 at most) halves the disk and moves no AUC by more than its fourth digit. Scoring never reads them.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splinelens.errors import BadFeatures, CannotResume
from splinelens.features.extract import Progress, provenance
from splinelens.features.parts import differences, writing
from splinelens.features.reader import TextReader
from splinelens.texts import Texts

_STRETCH = 1024
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class FeatureStore:
    """The columns of a set of texts, on disk.

    Attributes:
        folder: Where they lie.
        sizes: Numbers a text of each column, by name, in the order of the table.
        tokens: Tokens of each whole text.
        cut: Whether tokens at its end were dropped.
        reasons: Why a text could not be read, or None; its numbers are NaN.
        provenance: What decided the numbers.
    """

    folder: Path
    sizes: dict[str, int]
    tokens: np.ndarray
    cut: np.ndarray
    reasons: tuple[str | None, ...]
    provenance: dict[str, Any]  # Any: plain JSON values

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def ok(self) -> np.ndarray:
        """Boolean, True for the rows that hold numbers."""
        return np.array([reason is None for reason in self.reasons], dtype=bool)

    def column(self, name: str) -> np.ndarray:
        """One column as it lies on disk.

        Args:
            name: Such as ``layer05.margin_max``.

        Returns:
            (text, size) float16, mapped: only what is indexed is read.

        Raises:
            BadFeatures: No such column.
        """
        if name not in self.sizes:
            raise BadFeatures(f"{self.folder} has no column {name!r}; it has {', '.join([*self.sizes][:12])}")
        return np.load(self.folder / f"{name}.npy", mmap_mode="r")

    def rows(self, names: Sequence[str], index: np.ndarray | None = None) -> np.ndarray:
        """Columns side by side.

        Args:
            names: Their names.
            index: The rows; None takes all.

        Returns:
            (row, entry) float32.
        """
        count = len(self) if index is None else len(index)
        values = np.empty((count, sum(self.sizes[name] for name in names)), dtype=np.float32)
        start = 0
        for name in names:
            column = self.column(name)
            values[:, start : start + self.sizes[name]] = column if index is None else column[index]
            start += self.sizes[name]
        return values


def stored(
    reader: TextReader, texts: Texts, folder: str | Path, progress: Progress | None = None
) -> FeatureStore:
    """Read texts into a folder, or open what an equal run wrote there; a killed run goes on.

    Args:
        reader: Model and spec.
        texts: The texts.
        folder: Made if it is not there.
        progress: Called as texts are finished.

    Returns:
        The store.

    Raises:
        CannotResume: The folder holds numbers of another run; the message says what differs.
        CannotWrite: The disk is full or the folder may not be written.
    """
    folder, request = Path(folder), json.loads(json.dumps(provenance(reader, texts)))
    sizes = {column.name: column.size for column in reader.columns}
    with writing(folder):
        record = _opened(folder, request, sizes, len(texts))
        maps = {name: np.load(folder / f"{name}.npy", mmap_mode="r+") for name in sizes}
        for start in range(len(record["tokens"]), len(texts), _STRETCH):
            _read_stretch(reader, texts.texts[start : start + _STRETCH], start, maps, record, progress)
            for column in maps.values():
                column.flush()
            _keep(folder, record)
    return FeatureStore(
        folder,
        sizes,
        np.array(record["tokens"], dtype=int),
        np.array(record["cut"], dtype=bool),
        tuple(record["reasons"]),
        request,
    )


def _opened(
    folder: Path, request: dict[str, Any], sizes: dict[str, int], texts: int
) -> dict[str, Any]:  # Any: plain JSON values
    """The record of what is finished; a new folder gets its files first."""
    try:
        record = json.loads((folder / "store.json").read_text("utf-8"))
    except (OSError, ValueError):
        folder.mkdir(parents=True, exist_ok=True)
        for name, size in sizes.items():
            np.lib.format.open_memmap(folder / f"{name}.npy", "w+", np.float16, (texts, size)).flush()
        record = {"provenance": request, "tokens": [], "cut": [], "reasons": []}
        _keep(folder, record)
    found = differences(record["provenance"], request)
    if found:
        raise CannotResume(f"{folder} holds numbers of another run: {'; '.join(found)}. Name another folder")
    return record


def _keep(folder: Path, record: dict[str, Any]) -> None:  # Any: as above
    part = folder / "store.json.tmp"
    part.write_text(json.dumps(record), "utf-8")
    part.replace(folder / "store.json")


def _read_stretch(
    reader: TextReader,
    texts: Sequence[str | None],
    start: int,
    maps: dict[str, np.ndarray],
    record: dict[str, Any],  # Any: as above
    progress: Progress | None,
) -> None:
    tokenized = reader.tokenize(texts)
    reasons = [text.reason for text in tokenized]
    for index in (index for index, reason in enumerate(reasons) if reason is not None):
        _put(maps, start + index, None)
        if progress:
            progress(1, len(texts[index] or ""))
    for reading in reader.read(tokenized):
        reasons[reading.text] = reading.reason
        _put(maps, start + reading.text, reading.values if reading.reason is None else None)
        if progress:
            progress(1, len(texts[reading.text] or ""))
    record["tokens"] += [text.total for text in tokenized]
    record["cut"] += [text.cut for text in tokenized]
    record["reasons"] += reasons


def _put(maps: dict[str, np.ndarray], row: int, values: np.ndarray | None) -> None:
    """Write one text's numbers; what half precision cannot hold is clipped to what it can."""
    start = 0
    for column in maps.values():
        size = column.shape[1]
        column[row] = np.nan if values is None else values[start : start + size].clip(-_LARGEST, _LARGEST)
        start += size
