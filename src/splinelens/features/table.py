"""The feature table: rows are texts, columns are (layer, statistic), with provenance.

With prefixes a row is a text up to one of its tokens; two more columns say which text and token. With
named spans a row is a span of a text; three more columns say which text and characters.

On disk it is Parquet: one column a (layer, statistic), a list of fixed length where the statistic is a
vector; the provenance is JSON in the schema's metadata under ``splinelens``.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splinelens.errors import BadFeatures
from splinelens.features.catalogue import CATALOGUE, Column
from splinelens.files import atomic_write, check_output
from splinelens.texts.columns import refuse_names

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

_COMPRESSION = "zstd"
_GROUP_BYTES = 2**23  # of a row group of a table that is written from its chunks
_BATCH = 4096
_META = b"splinelens"
_ROW_COLUMNS = ("row", "tokens", "cut", "reason")
_PREFIX_COLUMNS = ("text", "prefix")
_SPAN_COLUMNS = ("text", "begin", "end")
_OURS = {*_ROW_COLUMNS, *_PREFIX_COLUMNS, *_SPAN_COLUMNS}


@dataclass(frozen=True, eq=False)
class FeatureTable:
    """Features of texts, in input order.

    Attributes:
        columns: What the values are, in order.
        values: (text, entry) float32; a column ``c`` spans ``c.size`` entries. NaN in the rows of
            texts that could not be read.
        tokens: Tokens of each whole text; 0 where it could not be read.
        cut: Whether tokens at the end of each text were dropped.
        reasons: Why a text could not be read, or None.
        provenance: Versions, model fingerprint, spec, data hash: plain JSON values.
        text: In a table of prefixes or spans, the text that each row belongs to, from 0; else None.
        prefix: In a table of prefixes, how many of the text's tokens the row is of: 1, 2, ... up to
            all that were read; 0 in the one row of a text that could not be read. Else None.
        kept: Columns of the user's table, a row for each row, or None.
        spans: In a table of spans, (row, 2), the characters (begin, end) of each row in its text; else None.

    Example:
        >>> from splinelens.features.catalogue import columns, statistics
        >>> layout = columns(statistics(["sign_mean"]), [4], {})
        >>> values = np.array([[0.25], [np.nan]], dtype=np.float32)
        >>> rows = np.array([7, 0]), np.array([False, False]), (None, "is empty")
        >>> table = FeatureTable(layout, values, *rows, provenance={})
        >>> table.names, table.ok.tolist()
        (['layer04.sign_mean'], [True, False])
        >>> table.column("layer04.sign_mean")
        array([0.25,  nan], dtype=float32)
    """

    columns: tuple[Column, ...]
    values: np.ndarray
    tokens: np.ndarray
    cut: np.ndarray
    reasons: tuple[str | None, ...]
    provenance: dict[str, Any]
    text: np.ndarray | None = None
    prefix: np.ndarray | None = None
    kept: "pa.Table | None" = None
    spans: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        names = self.names if len(self.names) < 4 else [self.names[0], "...", self.names[-1]]
        return f"FeatureTable({len(self):,} rows, {len(self.columns)} columns: {', '.join(names)})"

    @property
    def texts(self) -> int:
        """Number of texts that have a row."""
        return len(self.whole)

    @property
    def whole(self) -> np.ndarray:
        """One row of each text: the last of its prefixes, which is the whole text, or of its spans."""
        if self.text is None:
            return np.arange(len(self))
        return np.flatnonzero(np.append(self.text[1:] != self.text[:-1], True))

    @property
    def ok(self) -> np.ndarray:
        """Boolean, True for the rows that hold numbers."""
        return np.fromiter((reason is None for reason in self.reasons), bool, len(self.reasons))

    @property
    def names(self) -> list[str]:
        """Names of the columns, such as ``layer05.margin_max``."""
        return [column.name for column in self.columns]

    def column(self, name: str) -> np.ndarray:
        """The values of one column.

        Returns:
            (text,) for a scalar statistic, else (text, size).

        Raises:
            BadFeatures: No such column; the message names the existing ones.
        """
        start = 0
        for column in self.columns:
            if column.name == name:
                block = self.values[:, start : start + column.size]
                return block[:, 0] if column.statistic.axis == "scalar" else block
            start += column.size
        more = " ..." if len(self.names) > 12 else ""
        raise BadFeatures(f"no column {name!r}; it has {', '.join(self.names[:12])}{more}")

    def rows(self, rows: np.ndarray) -> "FeatureTable":
        """These rows, in this order; ``rows`` are their indices."""
        return replace(
            self,
            values=self.values[rows],
            tokens=self.tokens[rows],
            cut=self.cut[rows],
            reasons=tuple(self.reasons[row] for row in rows.tolist()),
            text=None if self.text is None else self.text[rows],
            prefix=None if self.prefix is None else self.prefix[rows],
            kept=None if self.kept is None else self.kept.take(rows),
            spans=None if self.spans is None else self.spans[rows],
        )

    def write(self, path: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write Parquet; a reader sees either the whole file or none.

        Raises:
            OutputExists: The file exists, without ``overwrite``.
            CannotWrite: The disk is full or the file may not be written.
        """
        check_output(Path(path), overwrite=overwrite)
        with atomic_write(Path(path), overwrite=overwrite) as temporary:
            self.write_parquet(temporary)

    def write_parquet(self, path: Path) -> None:
        """Write Parquet as ``write`` does, but not atomically, and without a check."""
        import pyarrow.parquet as pq

        pq.write_table(self.to_arrow(), path, compression=_COMPRESSION)

    def to_arrow(self, dtype: str = "float32") -> "pa.Table":
        """As an Arrow table with the provenance in its metadata.

        Args:
            dtype: Of the values; ``float16`` halves the size, values out of its range are clipped.
        """
        import pyarrow as pa

        limit = float(np.finfo(dtype).max)

        arrays: dict[str, pa.Array] = {
            "row": pa.array(np.arange(len(self)), pa.int64()),
            "tokens": pa.array(self.tokens, pa.int64()),
            "cut": pa.array(self.cut, pa.bool_()),
            "reason": pa.array(self.reasons, pa.string()),
        }
        arrays |= {name: pa.array(cells, pa.int64()) for name, cells in self._keys().items()}
        if self.kept is not None:
            arrays |= dict(zip(self.kept.column_names, self.kept.columns, strict=True))
        start = 0
        for column in self.columns:
            block = self.values[:, start : start + column.size].clip(-limit, limit).astype(dtype)
            flat = pa.array(block.reshape(-1))
            scalar = column.statistic.axis == "scalar"
            arrays[column.name] = flat if scalar else pa.FixedSizeListArray.from_arrays(flat, column.size)
            start += column.size
        meta = {_META: json.dumps(self.provenance, sort_keys=True).encode()}
        return pa.table(arrays).replace_schema_metadata(meta)

    def to_pandas(self, index: Any = None) -> "pd.DataFrame":  # Any: what pandas takes
        """As a data frame: ``tokens``, ``cut``, ``reason``, columns that were kept, then a column a number.

        A vector has a column an entry, such as ``layer05.margin_max[17]``; names are those of
        ``GeometryFeatures``. Rows that could not be read hold NaN. A table of prefixes begins with ``text``
        and ``prefix``, one of spans with ``text``, ``begin`` and ``end``.

        Args:
            index: Of the frame, such as that of the frame that the texts are from; None counts the rows.

        Raises:
            BadFeatures: pandas is not installed, or the index is of another length.

        Example:
            >>> table = FeatureTable((), np.zeros((1, 0)), np.array([7]), np.array([False]), (None,), {})
            >>> table.to_pandas()["tokens"].tolist()
            [7]
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise BadFeatures("to_pandas needs pandas, which is not here: pip install pandas") from error

        if index is not None and len(index) != len(self):
            raise BadFeatures(f"an index of {len(index)} for {len(self)} rows; give one of the texts' frame")
        rows = {**self._keys(), "tokens": self.tokens, "cut": self.cut, "reason": list(self.reasons)}
        if self.kept is not None:
            rows |= self.kept.to_pydict()
        values = pd.DataFrame(self.values, columns=entry_names(self.columns), index=index)
        return pd.concat([pd.DataFrame(rows, index=index), values], axis=1)

    def _keys(self) -> dict[str, np.ndarray]:
        """The columns that say which prefix or span of which text a row is of."""
        if self.text is None:
            return {}
        if self.spans is not None:
            return dict(zip(_SPAN_COLUMNS, (self.text, *self.spans.T), strict=True))
        return {} if self.prefix is None else {"text": self.text, "prefix": self.prefix}

    @classmethod
    def check_kept(cls, names: Iterable[str], *, prefixes: bool = False, spans: bool = False) -> None:
        """Refuse columns of the user that have the name of one of a feature table.

        Raises:
            BadTexts: The message names the column.
        """
        ours = (*_ROW_COLUMNS, *(_PREFIX_COLUMNS if prefixes else _SPAN_COLUMNS if spans else ()))
        refuse_names(
            (name for name in names if name in ours or name.rpartition(".")[2] in CATALOGUE), "feature tables"
        )

    @classmethod
    def from_arrow(cls, table: "pa.Table") -> "FeatureTable":
        """From what ``to_arrow`` gave in float32, or rows of it.

        Raises:
            BadFeatures: The table was not written by this library, or under another catalogue.
        """
        meta = table.schema.metadata or {}
        missing = [name for name in _ROW_COLUMNS if name not in table.column_names]
        if _META not in meta or missing:
            lacks = (
                f"columns {', '.join(missing)}" if _META in meta else "'splinelens' metadata in its schema"
            )
            raise BadFeatures(f"not a feature table: it has no {lacks}; write one with splinelens extract")
        columns, provenance = [], json.loads(meta[_META])
        blocks = [np.zeros((len(table), 0), dtype=np.float32)]
        kept = [name for name in provenance.get("keep", ()) if name in table.column_names]
        ours = {*table.column_names} - {*kept}
        keys = next((names for names in (_PREFIX_COLUMNS, _SPAN_COLUMNS) if ours.issuperset(names)), ())
        for name in table.column_names:
            if name in (*_ROW_COLUMNS, *kept, *keys):
                continue
            column = _column_of(name, table.schema.field(name).type)
            data = table[name].combine_chunks()
            if data.null_count:
                raise BadFeatures(f"column {name!r} has {data.null_count} empty cells; unread rows hold NaN")
            flat = data if column.statistic.axis == "scalar" else data.flatten()
            blocks.append(flat.to_numpy(zero_copy_only=False).reshape(len(table), column.size))
            columns.append(column)
        return cls(
            tuple(columns),
            np.concatenate(blocks, axis=1),
            table["tokens"].to_numpy(),
            table["cut"].to_numpy(),
            tuple(table["reason"].to_pylist()),
            provenance,
            table["text"].to_numpy() if keys else None,
            table["prefix"].to_numpy() if keys == _PREFIX_COLUMNS else None,
            table.select(kept) if kept else None,
            np.stack([table["begin"], table["end"]], axis=1) if keys == _SPAN_COLUMNS else None,
        )

    @classmethod
    def read(cls, path: Path) -> "FeatureTable":
        """Read what ``write`` wrote.

        Raises:
            BadFeatures: The file is missing, no Parquet, cut short or no feature table.
        """
        import pyarrow.parquet as pq

        with _read_errors(path):
            return cls.from_arrow(pq.read_table(path))

    @classmethod
    def batches(cls, path: Path) -> "Iterator[FeatureTable]":
        """The rows of a table on disk, some at a time, in order.

        Raises:
            BadFeatures: As in ``read``.
        """
        import pyarrow as pa
        import pyarrow.parquet as pq

        with _read_errors(path), pq.ParquetFile(path, pre_buffer=False) as file:  # else all is kept
            for batch in file.iter_batches(_BATCH):
                yield cls.from_arrow(pa.Table.from_batches([batch]))

    @classmethod
    def without_rows(cls, path: Path) -> "FeatureTable":
        """The columns and the provenance of a table on disk.

        Raises:
            BadFeatures: As in ``read``.
        """
        import pyarrow.parquet as pq

        with _read_errors(path):
            return cls.from_arrow(pq.read_schema(path).empty_table())


@contextmanager
def _read_errors(path: Path) -> Iterator[None]:
    """Turn what is wrong with a file of a table into ``BadFeatures``."""
    import pyarrow as pa

    if not os.path.exists(path):
        raise BadFeatures(f"there is no feature table {path}; give the file that extract wrote")
    try:
        yield
    except (OSError, pa.ArrowException) as error:
        raise BadFeatures(f"{path} cannot be read as a feature table: {error}") from error
    except BadFeatures as error:
        raise BadFeatures(f"{path}: {error}") from error


def write_chunks(chunks: "Iterable[pa.Table]", kept: "pa.Table | None", path: Path) -> None:
    """Write one Parquet file of the chunks of a table without holding them all; not atomically.

    Args:
        chunks: What ``to_arrow`` gave of consecutive rows, at least one.
        kept: Columns of the user, a row for each text.
        path: The file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    first = 0
    with ExitStack() as stack:
        for rows in _row_groups(chunks):
            numbers = np.arange(first, first + len(rows))
            group = rows.set_column(0, "row", pa.array(numbers))
            if kept is not None:
                beside = kept.take(rows["text"] if "text" in rows.column_names else numbers)
                place = sum(name in _OURS for name in rows.column_names)
                for name, cells in zip(beside.column_names, beside.columns, strict=True):
                    group = group.add_column(place, name, cells)
                    place += 1
            if not first:
                writer = pq.ParquetWriter(path, group.schema, compression=_COMPRESSION)
                stack.enter_context(writer)
            writer.write_table(group)
            first += len(rows)
    pa.default_memory_pool().release_unused()  # 40 MB that Arrow keeps, beside what follows


def _row_groups(chunks: "Iterable[pa.Table]") -> "Iterator[pa.Table]":
    """Tables of about ``_GROUP_BYTES``, each of as many rows however they were chunked."""
    import pyarrow as pa

    waiting: list[pa.Table] = []
    count = 0
    for chunk in chunks:
        waiting.append(chunk)
        count += len(chunk)
        entries = sum(getattr(field.type, "list_size", 1) for field in chunk.schema)
        most = max(1, _GROUP_BYTES // (4 * entries))
        while count >= most:
            whole = pa.concat_tables(waiting)
            yield whole.slice(0, most)
            waiting, count = [whole.slice(most)], count - most
    if count:
        yield pa.concat_tables(waiting)


def joined_rows(
    columns: Sequence[Column], values: np.ndarray, tokens: np.ndarray, size: int
) -> tuple[np.ndarray, np.ndarray]:
    """The rows of long texts whose windows are ``size`` consecutive rows each; rows left over are dropped.

    Maxima and minima are those of the rows, last values those of the last row, and means are weighted by
    tokens: what reading such windows gives, on layers without experts.

    Args:
        columns: What the values are.
        values: (row, entry), finite.
        tokens: (row,) tokens of each row.
        size: How many rows make one.

    Returns:
        (joined row, entry) values, and the tokens of each joined row.

    Raises:
        BadFeatures: A column that does not follow from those of the windows, such as a deviation.

    Example:
        >>> from splinelens.features.catalogue import columns, statistics
        >>> layout = columns(statistics(["margins"], ["max"]), [5], {"neuron": [1] * 6})
        >>> rows = np.array([[1.0], [3.0], [2.0]], dtype=np.float32)
        >>> joined_rows(layout, rows, np.array([4, 5, 6]), 2)
        (array([[3.]], dtype=float32), array([9]))
    """
    count, start, blocks = len(values) // size, 0, []
    lengths = tokens[: count * size].reshape(count, size)
    for column in columns:
        block = values[: count * size, start : start + column.size].reshape(count, size, column.size)
        start += column.size
        how = _joining(column)
        if how in ("mean", "occupancy"):
            blocks.append((block * (lengths / lengths.sum(axis=1, keepdims=True))[..., None]).sum(axis=1))
        else:
            blocks.append(block[:, -1] if how == "last" else getattr(block, how)(axis=1))
    return np.concatenate(blocks, axis=1).astype(np.float32), lengths.sum(axis=1)


def check_joinable(columns: Sequence[Column]) -> None:
    """Refuse columns that ``joined_rows`` cannot join.

    Raises:
        BadFeatures: A column that does not follow from those of the windows, such as a deviation.
    """
    for column in columns:
        _joining(column)


def _joining(column: Column) -> str:
    """How the values of windows become that of a text."""
    how = "sum" if column.statistic.needs == "tokens" else column.statistic.pooling
    if how not in ("mean", "occupancy", "max", "min", "sum", "last"):
        raise BadFeatures(f"{column.name} of a text does not follow from that of its windows")
    return how


def entry_names(columns: Sequence[Column]) -> list[str]:
    """The name of each number: of a scalar its column's, of a vector that of the entry.

    Example:
        >>> from splinelens.features.catalogue import columns, statistics
        >>> entry_names(columns(statistics(["margins"], ["max"]), [5], {"neuron": [2] * 6}))
        ['layer05.margin_max[0]', 'layer05.margin_max[1]']
    """
    names: list[str] = []
    for column in columns:
        scalar = column.statistic.axis == "scalar"
        names += [column.name] if scalar else [f"{column.name}[{entry}]" for entry in range(column.size)]
    return names


def _column_of(name: str, kind: "pa.DataType") -> Column:
    """The column of such a name and Arrow type."""
    import pyarrow as pa

    prefix, _, statistic = name.rpartition(".")
    layer = re.fullmatch(r"layer(\d{2,})", prefix)
    row = CATALOGUE.get(statistic)
    if row is None or (layer is None) == row.layered or (prefix and layer is None):
        raise BadFeatures(f"column {name!r} is no statistic of this catalogue; written by another version?")
    vector = row.axis != "scalar"
    if (pa.types.is_fixed_size_list(kind) != vector) or (kind.value_type if vector else kind) != pa.float32():
        raise BadFeatures(f"column {name!r} holds {kind}, not {'lists of float' if vector else 'float'}")
    return Column(row, int(layer[1]) if layer else None, kind.list_size if vector else 1)


def read_provenance(path: Path) -> dict[str, Any] | None:  # Any: plain JSON values
    """The provenance of a table on disk, without its values; None if there is no such table."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not os.path.isfile(path):  # false for names that no file can have; opening a pipe waits for its writer
        return None
    try:
        meta = pq.read_schema(path).metadata or {}
        record = json.loads(meta[_META])
        return record if isinstance(record, dict) else None
    except (OSError, pa.ArrowException, KeyError, ValueError):
        return None


def joined(tables: Sequence[FeatureTable]) -> FeatureTable:
    """Tables of the same columns, one after the other; the provenance is the first one's.

    Returns:
        One table with all rows.
    """
    texts = [table.text for table in tables if table.text is not None]
    prefixes = [table.prefix for table in tables if table.prefix is not None]
    spans = [table.spans for table in tables if table.spans is not None]
    return FeatureTable(
        tables[0].columns,
        np.concatenate([table.values for table in tables]),
        np.concatenate([table.tokens for table in tables]),
        np.concatenate([table.cut for table in tables]),
        tuple(reason for table in tables for reason in table.reasons),
        tables[0].provenance,
        np.concatenate(texts) if texts else None,
        np.concatenate(prefixes) if prefixes else None,
        spans=np.concatenate(spans) if spans else None,
    )
