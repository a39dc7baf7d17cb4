"""Columns of Parquet files and of Hugging Face data sets, both of which are Arrow tables inside."""

import re
import shlex
from collections.abc import Callable
from typing import Any, BinaryIO

from splinelens.errors import BadTexts
from splinelens.texts.wanted import SAMPLE_ROWS, Column, Taken, Wanted, listed

_ADDRESS = re.compile(r"hf:(\w[\w.-]*/\w[\w.-]*)(?::([^:\[\]]*))?(?::([^:\[\]]+(?:\[.*\])?))?")
_SPLITS = {"train", "validation", "valid", "val", "dev", "test"}


def parquet_columns(stream: BinaryIO, wanted: Wanted) -> Taken:
    """Columns of a Parquet file; only those wanted are read.

    Args:
        stream: The file, seekable.
        wanted: What to take.

    Returns:
        The texts, None where null, and the kept columns as Python values.

    Raises:
        MissingColumn: A column asked for is not there.
        BadTexts: The file is broken, or the text column does not hold strings.

    Example:
        >>> import io, pyarrow, pyarrow.parquet
        >>> file = io.BytesIO()
        >>> pyarrow.parquet.write_table(pyarrow.table({"text": ["hi", None], "n": [1, 2]}), file)
        >>> parquet_columns(file, Wanted("a.parquet", None, ("n",)))
        (['hi', None], {'n': [1, 2]})
    """
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        file = ParquetFile(stream)
        return _arrow_columns(file.schema_arrow, lambda names: file.read(columns=names), wanted)
    except (ArrowException, OSError, UnicodeDecodeError) as trouble:
        found = f"{wanted.where}: no sound Parquet file ({_first(trouble)})"
        raise BadTexts(f"{found}; write or fetch it again") from trouble


def hub_columns(wanted: Wanted) -> Taken:
    """Columns of a data set of the Hugging Face hub, read with the optional package ``datasets``.

    ``HF_HUB_OFFLINE=1`` is honoured: then only what was fetched before is found.

    Args:
        wanted: What to take; ``where`` is ``hf:owner/name[:config][:split]``. One part alone is a split if
            it is called train, validation, valid, val, dev or test, else a config; ``hf:owner/name::split``
            and ``hf:owner/name:config:split`` are always clear. The split may be left out if there is one.

    Returns:
        The texts, None where null, and the kept columns as Python values.

    Raises:
        MissingColumn: A column asked for is not there.
        BadTexts: ``datasets`` is not installed, the data set cannot be loaded, or has several splits.
    """
    match = _ADDRESS.fullmatch(wanted.where)
    if not match:
        forms = "hf:owner/name, hf:owner/name::split or hf:owner/name:config:split"
        raise BadTexts(f"no address of a data set: {wanted.where!r}; write {forms}")
    try:
        from datasets import load_dataset
    except ImportError as trouble:
        advice = "Try pip install datasets"
        raise BadTexts(f"{wanted.where} needs the package datasets ({trouble}). {advice}") from trouble
    name, config, split = match.groups()
    if split is None and re.sub(r"\[.*", "", config or "") in _SPLITS:
        config, split = None, config
    try:
        found = load_dataset(name, config or None, split=split)
    except Exception as trouble:  # datasets lets through its own errors, the hub's and its HTTP client's
        advice = "check name, config and split; offline, only what was fetched before is found"
        raise BadTexts(f"cannot load {wanted.where}: {_first(trouble)}; {advice}") from trouble
    if isinstance(found, dict):
        if len(found) != 1:
            example = f"hf:{name}:{config or ''}:{next(iter(found), 'train')}"
            raise BadTexts(f"{wanted.where} has the splits {listed(found)}; name one. Try {example}")
        (found,) = found.values()

    def read(names: list[str]) -> Any:  # Any: untyped pyarrow
        return found.select_columns(names).with_format("arrow")[:]

    return _arrow_columns(found.features.arrow_schema, read, wanted)


def _arrow_columns(schema: Any, read: Callable[[list[str]], Any], wanted: Wanted) -> Taken:  # Any: as above
    """Columns of a ``pyarrow.Schema``, which ``read`` reads by name into a ``pyarrow.Table``."""
    names = list(schema.names)
    strings = [cell.name for cell in schema if _is_string(cell.type) and names.count(cell.name) == 1]
    sample: dict[str, Column] = dict.fromkeys(strings, ())
    column = wanted.choose(names, sample)
    if column not in names and strings:
        sample = read(strings).slice(0, SAMPLE_ROWS).to_pydict()
    wanted.require(column, names, sample)
    if column not in strings:
        advice = f" Try --column {shlex.quote(strings[0])}." if strings else " No column does."
        found = f"{wanted.where}: column {column!r} holds {schema.field(column).type}"
        raise BadTexts(f"{found}, where strings are read.{advice}")
    table = read([*dict.fromkeys((column, *wanted.keep))])
    return table.column(column).to_pylist(), {name: table.column(name).to_pylist() for name in wanted.keep}


def _is_string(kind: Any) -> bool:  # Any: untyped pyarrow
    from pyarrow import types

    kind = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _first(trouble: Exception) -> str:
    """The first line of a message, which may be empty."""
    return next(iter(str(trouble).splitlines()), "") or type(trouble).__name__
