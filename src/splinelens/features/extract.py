"""Texts in, a table of features out; long runs write to disk and resume."""

import hashlib
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import groupby, islice, repeat
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from splinelens import __version__
from splinelens.anatomy import anatomy_of
from splinelens.engines.compiled import CompiledModel
from splinelens.errors import BadCluster, CannotWrite, NoTokens
from splinelens.features.cluster import Cluster, connected, require_equal
from splinelens.features.reader import At, Progress, TextFeatures, TextReader, can_retry
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable, joined, read_provenance, write_chunks
from splinelens.features.validation import check_at, check_batch_tokens
from splinelens.files import RowStore, check_output, checkpoints, require_equal_run
from splinelens.geometry.directions import Directions
from splinelens.models import LoadedModel
from splinelens.models.load import load_up_to
from splinelens.texts import Texts
from splinelens.texts.spans import CharacterSpan
from splinelens.tokens import Long


def extract(
    texts: Texts | Iterable[str | None],
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    features: str | Sequence[str] = "spline7",
    layers: Sequence[int] | None = None,
    pooling: str | Sequence[str] = "max",
    prompt: str = "",
    suffix: str = "",
    max_tokens: int | None = None,
    max_text_tokens: int | None = None,
    long: Long = "windows",
    eps: float = 0.1,
    normalize: bool = False,
    prefixes: bool = False,
    at: str | Iterable[Sequence[Sequence[int]] | None] | None = None,
    directions: Directions | None = None,
    keep: Sequence[str] = (),
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
    trust_remote_code: bool = False,
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    ray: str | None = None,
    load: bool = True,
    progress: Progress | None = None,
) -> FeatureTable:
    """Read the features of texts with a frozen model.

    Args:
        texts: Texts, in order; ``None`` stands for a missing one.
        model: A loaded model, or the name, folder or file of one; of a name only the blocks needed are
            loaded.
        features: ``spline7``, ``margins``, ``occupancy``, ``hidden``, ``attention_id``, ``directions``,
            ``length``.
        layers: Layers to read, from 0; None reads all.
        pooling: Poolings of margins, hidden states and directions: ``max``, ``min``, ``mean``, ``last``.
        prompt: Run before every text, never pooled.
        suffix: Run after every text, never pooled.
        max_tokens: Tokens of a window; longer texts are read in overlapping windows. None takes 512, or what
            fits into the model's positions.
        max_text_tokens: Texts of more tokens are not read; their reason counts the tokens.
        long: ``"cut"`` drops what exceeds one window instead; the table says which were cut.
        eps: Attention weights above it count for ``attention_id``; in (0, 1).
        normalize: Map disguised characters of the texts to plain ones before they are tokenized.
        prefixes: One row for every prefix of a text: what the text would give if it ended there. The
            table's ``text`` and ``prefix`` say which row is which.
        at: Pool only named tokens of each text, which is still run whole. For each text a list of spans
            (begin, end) of its characters, any number: one row a span, in this order, all from the text's one
            pass, and the table's ``text`` and ``spans`` say which row is which. ``"answer"``: the last token
            of the suffix, one row a text.
        directions: Learned hyperplanes for the feature ``directions``: ``detector.artifact.directions``, with
            the ``layers`` of that detector.
        keep: Columns that ``read_texts(path, keep=...)`` kept and that the table has too. Those of a data
            frame are joined afterwards: ``frame.join(table.to_pandas(frame.index))``.
        revision: Branch, tag or commit of a hub id.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        dtype: Number type of the weights, such as ``bfloat16``; None takes ``float32``.
        batch_tokens: Tokens of a batch, padding included; None takes 1,024 on a CPU, else 4,096.
        trust_remote_code: Run Python files that come with the model. Only for authors you trust.
        output: Also write the table here, to a name that ends in ``.parquet``; a killed run resumes, and a
            table of an equal run is read instead.
        overwrite: Replace another file that is at ``output``; else it is refused.
        retry_failed: Of a table of an equal run at ``output``, read those texts again that did not fit into
            memory or whose forward pass raised; all other rows stay.
        ray: Read on the actors of a Ray cluster, one a processor or GPU: ``local`` starts one on this
            machine, ``auto`` is the one that runs here, ``HOST:PORT`` that of a head node.
        load: False returns the table without its rows, since those of millions of texts may not fit into
            memory; ``FeatureTable.batches(output)`` reads them.
        progress: Called with the texts and characters that were read since the last call.

    Returns:
        One row a text, in input order. Texts that cannot be read, and spans without a token, keep their row
        with a reason.

    Raises:
        BadTexts: ``texts`` is one string, is empty, or holds something other than texts; a column to
            keep is missing or has the name of one of ours; or a span is empty, outside its text or only white
            space, or there is not one list of spans a text.
        BadFeatures: Names or layers that do not exist, an option that cannot be, ``at`` with prefixes or
            without the suffix that it needs, or prefixes whose rows would not fit into memory.
        BadModel: The model cannot be loaded, or an option of loading is given for a loaded one.
        BadCluster: ``ray`` without Ray, without a cluster that answers, or with a model in memory or
            ``retry_failed``.
        OutputExists: ``output`` exists and is no table of an equal run, or is a folder or the input.
        CannotResume: ``output`` has parts of another run, or with ``retry_failed`` is a table of another run.
        CannotWrite: ``output`` cannot be written.

    Example:
        >>> import splinelens
        >>> table = splinelens.extract(["Good morning."], layers=[0])  # doctest: +SKIP
        >>> table.column("layer00.sign_mean")  # doctest: +SKIP
        array([0.37], dtype=float32)
    """
    texts = Texts.of(texts)
    spec = FeatureSpec.of(
        features,
        layers,
        pooling,
        prompt=prompt,
        suffix=suffix,
        max_tokens=max_tokens,
        max_text_tokens=max_text_tokens,
        long=long,
        eps=eps,
        normalize=normalize,
        directions=directions,
    )
    check_batch_tokens(batch_tokens)
    places = check_at(at, texts, suffix=suffix, prefixes=prefixes)
    FeatureTable.check_kept(texts.keep(keep).columns, prefixes=prefixes, spans=_are_spans(places))
    check_table_output(output, texts, spec, prefixes=prefixes, at=places, overwrite=overwrite or retry_failed)
    if ray is not None and isinstance(model, LoadedModel):
        raise BadCluster("a model in memory cannot be sent to a Ray cluster; give its name or folder")
    if ray is not None and retry_failed:
        raise BadCluster("failed texts are read again on this machine; leave --ray out (in Python ray=)")
    make_reader = partial(
        _load_reader,
        model,
        spec,
        directions,
        batch_tokens=batch_tokens,
        revision=revision,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    write: dict[str, Any] = {  # Any: of several types
        "prefixes": prefixes,
        "at": places,
        "keep": keep,
        "output": output,
        "overwrite": overwrite,
        "load": load,
        "progress": progress,
    }
    if ray is None:
        return read_table(make_reader(device=device), texts, retry_failed=retry_failed, **write)
    with connected(ray, device) as cluster:
        make_reader = partial(make_reader, device=cluster.device)
        reads = json.loads(cluster.call(partial(_description, make_reader)))
        base = reads["provenance"] | {"texts": len(texts), "data_hash": texts.data_hash}
        chunks = partial(_cluster_chunks, cluster, make_reader, reads["chunk"], texts)
        return _table(_request(base, texts, prefixes, places, keep), chunks, texts, **write)


def check_table_output(
    output: str | PathLike[str] | None,
    texts: Texts,
    spec: FeatureSpec,
    *,
    prefixes: bool = False,
    at: At | None = None,
    overwrite: bool = False,
) -> None:
    """Refuse an output that cannot be written before a model is loaded; a table of an equal run is fine.

    Raises:
        OutputExists: It exists and is no table of these texts and settings, or is a folder or the input.
        CannotWrite: It cannot be written, or does not end in ``.parquet``.
    """
    if output is None:
        return
    if Path(output).suffix != ".parquet" and (os.path.isfile(output) or not os.path.exists(output)):
        raise CannotWrite(f"cannot write {output}: a feature table is Parquet; end its name in .parquet")
    older = read_provenance(Path(output))
    equal = older is not None and _is_of(older, texts, spec, prefixes, at)
    check_output(Path(output), overwrite=overwrite or equal, source=texts.source)


def _is_of(
    older: dict[str, Any],  # Any: plain JSON values
    texts: Texts,
    spec: FeatureSpec,
    prefixes: bool,
    at: At | None,
) -> bool:
    """Whether a table may be of these texts and settings, as far as this is known without the model."""
    recorded, wanted = older.get("spec"), spec.to_dict()
    if isinstance(recorded, dict) and spec.max_tokens is None:  # the model decides what fits
        wanted["max_tokens"] = recorded.get("max_tokens")
    asked = recorded, older.get("data_hash"), older.get("prefixes", False), older.get("at")
    return asked == (wanted, texts.data_hash, prefixes, _recorded(at))


def _are_spans(at: At | None) -> bool:
    return at is not None and not isinstance(at, str)


def _recorded(at: At | None) -> str | dict[str, Any] | None:  # Any: plain JSON values
    """What the provenance says of named tokens."""
    if at is None or isinstance(at, str):
        return at
    digest = hashlib.sha256(json.dumps(at).encode()).hexdigest()
    return {"spans": sum(map(len, at)), "hash": digest}


def read_table(
    reader: TextReader,
    texts: Texts,
    *,
    prefixes: bool = False,
    at: At | None = None,
    keep: Sequence[str] = (),
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    retry_failed: bool = False,
    load: bool = True,
    progress: Progress | None = None,
) -> FeatureTable:
    """As ``extract``, with a reader that is ready and may be used again; ``at`` as ``check_at`` gives it.

    Raises:
        NoTokens: There are no texts.
        BadFeatures: The rows of prefixes would not fit into memory.
        OutputExists: ``output`` exists and is no table of an equal run, or is a folder or the input.
        CannotResume: As in ``extract``.
        CannotWrite: ``output`` cannot be written.
    """
    request = _request(provenance(reader, texts), texts, prefixes, at, keep)
    if retry_failed and output is not None and Path(output).is_file():
        path = Path(output)
        require_equal_run(path, read_provenance(path), request)
        return _retried(reader.retrying(), texts, FeatureTable.read(path), path, at=at, progress=progress)
    return _table(
        request,
        partial(read_chunks, reader, texts),
        texts,
        prefixes=prefixes,
        at=at,
        keep=keep,
        output=output,
        overwrite=overwrite,
        load=load,
        progress=progress,
    )


def _request(
    base: dict[str, Any],  # Any: plain JSON values
    texts: Texts,
    prefixes: bool,
    at: At | None,
    keep: Sequence[str],
) -> dict[str, Any]:  # Any: as above
    """The provenance of a reader and texts with what else decides the rows of a table."""
    if not len(texts):
        raise NoTokens(f"{texts.source} has no texts; give at least one")
    kept = texts.keep(keep)
    FeatureTable.check_kept(kept.columns, prefixes=prefixes, spans=_are_spans(at))
    request = base | ({"prefixes": True} if prefixes else {})
    request |= {} if at is None else {"at": _recorded(at)}
    return request | ({"keep": [*kept.columns], "columns_hash": kept.columns_hash} if keep else {})


def _table(
    request: dict[str, Any],  # Any: plain JSON values
    chunks: Callable[..., Iterator[FeatureTable]],
    texts: Texts,
    *,
    prefixes: bool,
    at: At | None,
    keep: Sequence[str],
    output: str | PathLike[str] | None,
    overwrite: bool,
    load: bool,
    progress: Progress | None,
) -> FeatureTable:
    """The table of a request, from what reads its chunks, which is called as ``read_chunks`` after texts."""
    kept = texts.keep(keep)
    if output is None:
        read = chunks(request, prefixes=prefixes, at=at, progress=progress)
        return _with_columns(joined([*read]), kept)
    path = Path(output)
    if read_provenance(path) != request:
        check_output(path, overwrite=overwrite, source=texts.source)
        with RowStore.beside(path, request) as store:
            done = store.rows
            if done and (prefixes or _are_spans(at)):
                *_, last = store
                done = last["text"][-1].as_py() + 1
            for chunk in chunks(request, done, prefixes=prefixes, at=at, progress=progress):
                store.append(chunk.to_arrow(), failed=int((~chunk.ok).sum()))
            with store.finish(path, overwrite=overwrite) as temporary:
                write_chunks(store, kept.to_arrow() if kept.columns else None, temporary)
    return FeatureTable.read(path) if load else FeatureTable.without_rows(path)


def _retried(
    reader: TextReader,
    texts: Texts,
    table: FeatureTable,
    path: Path,
    *,
    at: At | None,
    progress: Progress | None,
) -> FeatureTable:
    """The table, written again with new rows of the texts that can be retried; the other rows stay."""
    text = np.arange(len(table)) if table.text is None else table.text
    failed = np.unique(text[[can_retry(reason) for reason in table.reasons]])
    if not len(failed):
        return table
    chosen = texts.at(failed.tolist())
    places = at if at is None or isinstance(at, str) else [at[row] for row in failed]
    prefixes, record = table.prefix is not None, table.provenance
    with RowStore.beside(path, record | {"retried": len(failed)}) as store:
        again = joined(
            [*read_chunks(reader, chosen, record, prefixes=prefixes, at=places, progress=progress)]
        )
        if again.text is not None:
            again = replace(again, text=failed[again.text])
        kept = np.flatnonzero(~np.isin(text, failed))
        order = np.argsort(
            np.concatenate([text[kept], failed if again.text is None else again.text]), kind="stable"
        )
        whole = joined([table.rows(kept), again]).rows(order)
        whole = _with_columns(whole, texts.keep(record.get("keep", ())))
        with store.finish(path) as temporary:
            whole.write_parquet(temporary)
    return whole


def _with_columns(table: FeatureTable, kept: Texts) -> FeatureTable:
    """The table with the user's columns, repeated for the prefixes or spans of a text."""
    if not kept.columns:
        return table
    columns = kept.to_arrow()
    return replace(table, kept=columns if table.text is None else columns.take(table.text))


def provenance(reader: TextReader, texts: Texts) -> dict[str, Any]:  # Any: plain JSON values
    """What decides the numbers of a run, as plain JSON values; equal runs give equal records.

    With ``attention_id`` it holds ``attention``, ``"scores"`` or ``"weights"`` (what is counted), and
    ``layers_left_out``, the requested layers without a softmax, which have no column of it. With
    ``directions`` it holds their hash.
    """
    return {
        "splinelens": __version__,
        "python": sys.version.split()[0],
        **_engine(reader),
        "model": reader.loaded.name,
        "revision": reader.loaded.revision,
        "fingerprint": reader.loaded.fingerprint.to_dict(),
        "device": str(reader.loaded.device),
        "spec": reader.spec.to_dict(),
        "texts": len(texts),
        "data_hash": texts.data_hash,
        **_attention(reader),
        **({} if reader.layout.directions is None else {"directions": reader.layout.directions.digest}),
    }


def _engine(reader: TextReader) -> dict[str, Any]:  # Any: plain JSON values
    """What ran the model, with versions."""
    if isinstance(reader.loaded, CompiledModel):
        return {"engine": reader.loaded.engine_name}
    import torch
    import transformers

    return {"torch": str(torch.__version__), "transformers": transformers.__version__}


def _attention(reader: TextReader) -> dict[str, Any]:  # Any: plain JSON values
    """What ``attention_id`` counts, and the layers without it; empty unless it is read."""
    softmax = reader.layout.softmax_layers
    if not softmax:
        return {}
    way = anatomy_of(reader.torch_engine.model).softmax
    return {
        "attention": "weights" if way == "weights" else "scores",
        "layers_left_out": [layer for layer in reader.layers if layer not in softmax],
    }


def read_chunks(
    reader: TextReader,
    texts: Texts,
    request: dict[str, Any],  # Any: plain JSON values
    done: int = 0,
    *,
    prefixes: bool = False,
    at: At | None = None,
    progress: Progress | None = None,
) -> Iterator[FeatureTable]:
    """A table of the next texts every few seconds, without the first ``done``, which an earlier run read."""
    if progress and done:
        progress(done, sum(len(text or "") for text in islice(texts.texts, done)))
    if at is not None:
        rows = reader.read_at(texts.texts, at, done=done, progress=progress)
    else:
        rows = reader.read(texts.texts, prefixes=prefixes, done=done, progress=progress)
    rows_of_text = repeat(1, len(texts) - done) if at is None or isinstance(at, str) else map(len, at[done:])
    by_text = ([*islice(rows, count)] for count in rows_of_text if count)
    for group in checkpoints(by_text, reader.chunk):
        features = [row for of_text in group for row in of_text]
        if prefixes:
            yield _prefix_table(reader, features, request)
        else:
            yield _text_table(reader, features, request, None if isinstance(at, str) else at)


def _load_reader(
    model: str | PathLike[str] | LoadedModel,
    spec: FeatureSpec,
    directions: Directions | None,
    *,
    batch_tokens: int | None,
    revision: str | None,
    device: str | None,
    dtype: str | None,
    trust_remote_code: bool,
) -> TextReader:
    """A model with the blocks that a spec needs, ready to read."""
    loaded = load_up_to(
        model,
        spec.layers,
        revision=revision,
        device=device,
        dtype=dtype,
        trust_remote_code=trust_remote_code,
    )
    return TextReader(loaded, spec, batch_tokens=batch_tokens, directions=directions)


def _description(load: Callable[[], TextReader]) -> bytes:
    """The provenance of a reader, without texts, and the size of its chunks, as JSON."""
    reader = load()
    reads = {"provenance": provenance(reader, Texts((), {}, "no texts")), "chunk": reader.chunk}
    return json.dumps(reads).encode()


def _cluster_chunks(
    cluster: Cluster,
    load: Callable[[], TextReader],
    size: int,
    texts: Texts,
    request: dict[str, Any],  # Any: as in read_chunks
    done: int = 0,
    *,
    prefixes: bool,
    at: At | None,
    progress: Progress | None,
) -> Iterator[FeatureTable]:
    """As ``read_chunks`` on a cluster; a shard is a chunk of the reader, and comes as one table."""
    import pyarrow as pa

    report = progress or (lambda texts, characters: None)
    if done:
        report(done, sum(len(text or "") for text in texts.texts[:done]))
    shards: list[dict[str, Any]] = [  # Any: plain JSON values
        {
            "start": start,
            "done": max(done - start, 0),
            "texts": texts.texts[start : start + size],
            "at": at if at is None or isinstance(at, str) else at[start : start + size],
        }
        for start in range(done // size * size, len(texts), size)
    ]
    run = partial(_shard_table, request=request, prefixes=prefixes)
    for shard, table in zip(shards, cluster.map(load, run, shards), strict=True):
        fresh = shard["texts"][shard["done"] :]
        report(len(fresh), sum(len(text or "") for text in fresh))
        if table:
            yield FeatureTable.from_arrow(pa.ipc.open_stream(table).read_all())


def _shard_table(
    reader: TextReader,
    shard: dict[str, Any],  # Any: as _cluster_chunks makes it
    request: dict[str, Any],  # Any: as in read_chunks
    prefixes: bool,
) -> bytes:
    """The table of a shard in Arrow's format for streams; nothing if no text of it has a span.

    Raises:
        BadCluster: This machine would read other numbers than the one that was asked first.
    """
    import pyarrow as pa

    texts = Texts(tuple(shard["texts"]), {}, "shard")
    require_equal(request, provenance(reader, texts))
    chunks = [*read_chunks(reader, texts, request, shard["done"], prefixes=prefixes, at=shard["at"])]
    if not chunks:
        return b""
    table = joined(chunks)
    if table.text is not None:
        table = replace(table, text=table.text + shard["start"])
    arrow, sink = table.to_arrow(), pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, arrow.schema) as writer:
        writer.write_table(arrow)
    return sink.getvalue().to_pybytes()


def _text_table(
    reader: TextReader,
    read: Sequence[TextFeatures],
    request: dict[str, Any],  # Any: as above
    spans: Sequence[Sequence[CharacterSpan]] | None,
) -> FeatureTable:
    """One row a text, or one row a span."""
    table = FeatureTable(
        reader.columns,
        np.stack([features.values for features in read]).astype(np.float32, copy=False),
        np.array([features.tokens for features in read], dtype=int),
        np.array([features.cut for features in read], dtype=bool),
        tuple(features.reason for features in read),
        request,
    )
    if spans is None:
        return table
    by_text = groupby(features.index for features in read)
    of_rows = [span for index, _ in by_text for span in spans[index]]
    return replace(
        table,
        text=np.array([features.index for features in read], dtype=int),
        spans=np.array(of_rows, dtype=int).reshape(-1, 2),
    )


def _prefix_table(
    reader: TextReader,
    read: Sequence[TextFeatures],
    request: dict[str, Any],  # Any: as above
) -> FeatureTable:
    """One row a prefix; a text that cannot be read has one row, of the prefix 0."""
    rows = [len(features.values) for features in read]
    values = np.concatenate([features.values for features in read])
    reasons = [
        reason for features, count in zip(read, rows, strict=True) for reason in [features.reason] * count
    ]
    usable = np.isfinite(values).all(axis=1).tolist()
    numbers = [
        np.arange(count) + 1 if _has_prefixes(features) else np.zeros(1, int)
        for features, count in zip(read, rows, strict=True)
    ]
    return FeatureTable(
        reader.columns,
        values,
        np.repeat([features.tokens for features in read], rows),
        np.repeat([features.cut for features in read], rows),
        tuple(None if fine else reason for fine, reason in zip(usable, reasons, strict=True)),
        request,
        np.repeat([features.index for features in read], rows),
        np.concatenate(numbers),
    )


def _has_prefixes(features: TextFeatures) -> bool:
    """Whether a text was run, so that there is a row for each of its tokens."""
    return len(features.values) == len(features.offsets) > 0
