"""The walk: from texts to a table of features, in one function. Read this file first.

texts -> tokens -> batches -> one forward pass each, watched -> one row a text -> table

With ``prefixes`` the same pass gives one row for every prefix of a text: attention is causal.
"""

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from splinelens import __version__
from splinelens.anatomy import anatomy_of
from splinelens.errors import BadFeatures, BadTexts, NoTokens
from splinelens.features.catalogue import statistics
from splinelens.features.parts import Parts, writing
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable, joined, read_provenance
from splinelens.models import LoadedModel, load_model
from splinelens.texts import Texts, read_texts
from splinelens.tokens import Long, TokenizedText

Progress = Callable[[int, int], None]
"""Called with the texts and the characters that were finished since the last call."""

_STRETCH = 1024
# Texts are sorted by length inside stretches of this many: long enough for full batches, short
# enough that a killed run loses little.

_MOST_BYTES = 4 * 2**30
# The rows of all prefixes of a stretch lie in memory at once.


def extract(
    texts: Texts | Sequence[str | None],
    model: str | LoadedModel = "smollm2-135m",
    *,
    features: Sequence[str] = ("spline7",),
    layers: Sequence[int] | None = None,
    pooling: Sequence[str] = ("max",),
    prompt: str = "",
    suffix: str = "",
    max_tokens: int = 512,
    long: Long = "windows",
    eps: float = 0.1,
    normalize: bool = False,
    prefixes: bool = False,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> FeatureTable:
    """Read the geometry of texts with a frozen model.

    Args:
        texts: Texts, in order; ``None`` stands for a missing one.
        model: A loaded model, or the name, folder or file of one; of a name only the blocks
            needed are loaded.
        features: Feature names: ``spline7``, ``margins``, ``occupancy``, ``hidden``,
            ``attention_id``, ``length``.
        layers: Layers to read, from 0; None reads all.
        pooling: Poolings of margins and hidden states: ``max``, ``min``, ``mean``, ``last``.
        prompt: Run before every text, never pooled.
        suffix: Run after every text, never pooled.
        max_tokens: Tokens of a window; longer texts are read in overlapping windows.
        long: ``"cut"`` drops what exceeds one window instead; the table says which were cut.
        eps: Attention weights above it count for ``attention_id``; in (0, 1).
        normalize: Map disguised characters of the texts to plain ones before they are tokenized.
        prefixes: One row for every prefix of a text, of 1, 2, ... tokens up to all: what the text
            would give if it ended there. The table's ``text`` and ``prefix`` say which row is which.
        output: Also write the table here as Parquet; a killed run goes on where it stopped, and
            a table that an equal run wrote there is read instead.
        progress: Called as texts are finished.

    Returns:
        One row a text, in input order. Texts that cannot be read keep their row with a reason.

    Raises:
        BadTexts: ``texts`` is one string, is empty, or holds what is no text.
        BadFeatures: Names or layers that do not exist, ``eps`` outside (0, 1), or prefixes whose
            rows would not fit into memory.
        BadModel: The model cannot be loaded.
        CannotResume: ``output`` has parts of another run.
        CannotWrite: ``output`` cannot be written.

    Example:
        >>> import splinelens
        >>> table = splinelens.extract(["Good morning."], layers=[0])  # doctest: +SKIP
        >>> table.column("layer00.sign_mean")  # doctest: +SKIP
        array([0.37], dtype=float32)
    """
    if isinstance(texts, str):
        raise BadTexts("texts is one string; give a list of texts, or read_texts(path) for a file")
    features = (features,) if isinstance(features, str) else features
    pooling = (pooling,) if isinstance(pooling, str) else pooling
    chosen = None if layers is None else tuple(sorted(set(layers)))
    spec = FeatureSpec(
        tuple(features),
        tuple(pooling),
        chosen,
        prompt,
        suffix,
        max_tokens,
        long,
        eps=eps,
        normalize=normalize,
    )
    statistics(spec.features, spec.pooling)  # a wrong name shows before a model is loaded
    source = texts if isinstance(texts, Texts) else read_texts(list(texts))
    loaded = load_model(model, layers=spec.depth) if isinstance(model, str) else model
    return read_table(TextReader(loaded, spec), source, prefixes=prefixes, output=output, progress=progress)


def read_table(
    reader: TextReader,
    texts: Texts,
    *,
    prefixes: bool = False,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> FeatureTable:
    """As ``extract``, with a reader that is ready and may be used again.

    Args:
        reader: Model and spec.
        texts: The texts.
        prefixes: One row a prefix instead of one a text.
        output: Write Parquet here, with resume; what an equal run wrote there is read instead.
        progress: Called as texts are finished.

    Returns:
        One row a text, in input order; with prefixes those of a text from short to long.

    Raises:
        NoTokens: There is not one text.
        BadFeatures: The rows of prefixes would not fit into memory.
        CannotResume: ``output`` has parts of another run.
        CannotWrite: ``output`` cannot be written.
    """
    if not len(texts):
        raise NoTokens(f"{texts.source} has no texts; give at least one")
    request = provenance(reader, texts) | ({"prefixes": True} if prefixes else {})
    path = Path(output) if output is not None else None
    if path and read_provenance(path) == request:
        return FeatureTable.read(path)
    parts = Parts(path, request) if path else None
    tables = []
    for index, start in enumerate(range(0, len(texts), _STRETCH)):
        stretch = texts.texts[start : start + _STRETCH]
        table = parts.finished(index, len(stretch)) if parts else None
        if table is None:
            table = (
                _prefix_stretch(reader, stretch, start, request, progress)
                if prefixes
                else _stretch(reader, stretch, request, progress)
            )
            if parts:
                parts.keep(index, table)
        elif progress:
            progress(len(stretch), _characters(stretch))
        tables.append(table)
    table = joined(tables)
    if path and parts:
        with writing(path):
            table.write(path)
        parts.discard()
    return table


def provenance(reader: TextReader, texts: Texts) -> dict[str, Any]:  # Any: plain JSON values
    """What decides the numbers of a run, without clocks, so equal runs give equal records.

    Args:
        reader: Model and spec.
        texts: The texts.

    Returns:
        Plain JSON values: versions, model, fingerprint, device, spec, source and its hash. With
        ``attention_id`` also ``attention``, ``"scores"`` or ``"weights"``: what its counts are made of;
        and ``layers_left_out``, those asked for without a softmax, which have no column of it.
    """
    import torch
    import transformers

    return {
        "splinelens": __version__,
        "python": sys.version.split()[0],
        "torch": str(torch.__version__),
        "transformers": transformers.__version__,
        "model": reader.loaded.name,
        "revision": reader.loaded.revision,
        "fingerprint": reader.loaded.fingerprint.to_dict(),
        "device": str(reader.loaded.device),
        "spec": reader.spec.to_dict(),
        "texts": len(texts),
        "data_hash": texts.data_hash,
        **_attention(reader),
    }


def _attention(reader: TextReader) -> dict[str, Any]:  # Any: plain JSON values
    """What ``attention_id`` was read of, and where it was not; empty unless it is asked for."""
    if not reader.softmax:
        return {}
    way = anatomy_of(reader.loaded.model).softmax
    return {
        "attention": "weights" if way == "weights" else "scores",
        "layers_left_out": [layer for layer in reader.layers if layer not in reader.softmax],
    }


def _stretch(
    reader: TextReader,
    texts: Sequence[str | None],
    request: dict[str, Any],  # Any: plain JSON values
    progress: Progress | None,
) -> FeatureTable:
    tokenized = _tokenized(reader, texts, progress)
    values = np.full((len(texts), reader.layout.width), np.nan, dtype=np.float32)
    reasons = [text.reason for text in tokenized]
    for reading in reader.read(tokenized):
        reasons[reading.text] = reading.reason
        if reading.reason is None:
            values[reading.text] = reading.values
        if progress:
            progress(1, _characters([texts[reading.text]]))
    return FeatureTable(
        reader.columns,
        values,
        np.array([text.total for text in tokenized]),
        np.array([text.cut for text in tokenized]),
        tuple(reasons),
        request,
    )


def _prefix_stretch(
    reader: TextReader,
    texts: Sequence[str | None],
    start: int,
    request: dict[str, Any],  # Any: plain JSON values
    progress: Progress | None,
) -> FeatureTable:
    """As ``_stretch``, one row a prefix; a text that cannot be read has one row."""
    tokenized = _tokenized(reader, texts, progress)
    rows = np.array([max(len(text.ids), 1) for text in tokenized])
    _require_room(reader, tokenized, rows, start)
    first = np.cumsum(rows) - rows
    values = np.full((rows.sum(), reader.layout.width), np.nan, dtype=np.float32)
    reasons = np.repeat(np.array([text.reason for text in tokenized], dtype=object), rows)
    for reading in reader.read_prefixes(tokenized):
        own = slice(first[reading.text], first[reading.text] + rows[reading.text])
        good = np.array([reason is None for reason in reading.reasons])
        values[own][good] = reading.values[good]
        reasons[own] = reading.reasons
        if progress:
            progress(1, _characters([texts[reading.text]]))
    prefixes = [np.arange(len(text.ids)) + 1 if text.ids else np.zeros(1, dtype=int) for text in tokenized]
    return FeatureTable(
        reader.columns,
        values,
        np.repeat([text.total for text in tokenized], rows),
        np.repeat([text.cut for text in tokenized], rows),
        tuple(reasons.tolist()),
        request,
        np.repeat(np.arange(start, start + len(texts)), rows),
        np.concatenate(prefixes),
    )


def _require_room(
    reader: TextReader, tokenized: Sequence[TokenizedText], rows: np.ndarray, start: int
) -> None:
    """Refuse prefixes whose rows would fill the memory, before anything is run."""
    needed = 4 * reader.layout.width * int(rows.sum())
    if needed > _MOST_BYTES:
        longest = int(rows.argmax())
        raise BadFeatures(
            f"the {int(rows.sum()):,} prefixes of texts {start} to {start + len(tokenized) - 1} (text "
            f"{start + longest} alone has {int(rows[longest]):,}) times {reader.layout.width:,} numbers take "
            f"{needed / 2**30:.1f} GiB, more than {_MOST_BYTES / 2**30:.0f}. Read scalar features (spline7, "
            "attention_id), fewer layers or fewer texts at once, or follow each text with splinelens.Stream"
        )


def _tokenized(
    reader: TextReader, texts: Sequence[str | None], progress: Progress | None
) -> list[TokenizedText]:
    tokenized = reader.tokenize(texts)
    if progress:
        unread = [text for text, record in zip(texts, tokenized, strict=True) if record.reason is not None]
        progress(len(unread), _characters(unread))
    return tokenized


def _characters(texts: Sequence[str | None]) -> int:
    return sum(len(text or "") for text in texts)
