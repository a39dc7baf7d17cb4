"""Feature tables too wide for memory: columns in half precision on disk, mapped and not loaded.

The margins of 30 layers are 46,080 numbers a text, so those of 60,000 texts take 11 GB in float32. Fitting
reads them one layer after the other, several times; rounding them to half precision (a relative error of
5e-4 at most) halves the disk and changes no AUC by more than its fourth digit. Scoring never reads them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splinelens.errors import NoTokens
from splinelens.features.extract import provenance, read_chunks
from splinelens.features.reader import Progress, TextReader
from splinelens.files import RowStore
from splinelens.texts import Texts

if TYPE_CHECKING:
    import pyarrow as pa


class FeatureStore:
    """The features of a set of texts, on disk; a killed run resumes, and an equal run only opens it.

    Args:
        reader: Model and spec.
        texts: The texts.
        folder: Created if missing.
        progress: Called as texts are finished.

    Attributes:
        sizes: Numbers a text of each column, by name, in the order of the table.
        tokens: Tokens of each whole text.
        reasons: Why a text could not be read, or None; its numbers are NaN.
        provenance: What decided the numbers.

    Raises:
        NoTokens: There are no texts.
        CannotResume: The folder holds features of another run; the message says what differs.
        CannotWrite: The disk is full or the folder may not be written.
    """

    def __init__(
        self, reader: TextReader, texts: Texts, folder: str | Path, progress: Progress | None = None
    ):
        if not len(texts):
            raise NoTokens(f"{texts.source} has no texts; give at least one")
        self.provenance: dict[str, Any] = provenance(reader, texts)  # Any: plain JSON values
        self.sizes = {column.name: column.size for column in reader.columns}
        with RowStore(folder, self.provenance) as store:
            for chunk in read_chunks(reader, texts, self.provenance, store.rows, progress=progress):
                store.append(chunk.to_arrow("float16"))
            self._table: pa.Table = store.read()
        self.tokens = self._table["tokens"].to_numpy()
        self.reasons: tuple[str | None, ...] = tuple(self._table["reason"].to_pylist())

    def __len__(self) -> int:
        return len(self.tokens)

    @property
    def ok(self) -> np.ndarray:
        """Boolean, True for the rows that hold numbers."""
        return np.array([reason is None for reason in self.reasons], dtype=bool)

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

    def column(self, name: str) -> np.ndarray:
        """One column, (text, size) float16."""
        chunks = self._table[name].chunks
        flat = [chunk.flatten() if self.sizes[name] > 1 else chunk for chunk in chunks]
        return np.concatenate([part.to_numpy() for part in flat]).reshape(len(self), self.sizes[name])
