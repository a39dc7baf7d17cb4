"""Which functions mean the same: an index of functions, the most similar ones, and clusters.

Source: zsLLMCode, arXiv:2409.14644, whose view is the sentence encoder on a summary; here it is one of five.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from splinelens import __version__
from splinelens.detect.fusion import FusedView
from splinelens.errors import BadCode, BadFeatures, WrongModel
from splinelens.features.code_views import (
    HASHED,
    SPARSE,
    VIEWS,
    CodeSpace,
    Vectors,
    cosines,
    fused,
    hubness,
    structure_counts,
    word_counts,
)
from splinelens.features.table import read_provenance
from splinelens.files import RowStore, check_output, checkpoints
from splinelens.generate.summaries import Summarizer
from splinelens.report.code_index import Cluster, IndexedFunction, Match
from splinelens.texts.code import CodeFunction, Language, functions, language_of, project_files, read_source
from splinelens.texts.plain_text import storable

if TYPE_CHECKING:
    import pyarrow as pa

    from splinelens.features.reader import TextReader
    from splinelens.features.sentence_encoder import SentenceEncoder

LANGUAGES: tuple[Language, ...] = get_args(Language)
MAX_CHARACTERS = 100_000
"""A longer function was generated, or is data."""

MAX_CLUSTERED = 10_000
"""Functions whose distances fit into memory."""

GEOMETRY_LAYERS = (2, 5)
"""Layers of the default model whose margins are read."""

Progress = Callable[[int, int], None]
_FORMAT = 1
_CHUNK = 128
_SAMPLE = 5000  # functions in which words are counted, to tell rare ones
_WORD = re.compile(r"[A-Z]?[a-z]{2,}|[A-Z]{2,}")


def load_weights(views: Collection[str]) -> dict[str, FusedView]:
    """The weights for these views, learned by ``benchmarks/code_clones.py``.

    Raises:
        BadFeatures: None were learned for these views together.
    """
    sets = json.loads(files("splinelens.apps").joinpath("code_index.json").read_text("utf-8"))["sets"]
    wanted = "+".join(name for name in VIEWS if name in views)
    if wanted not in sets:
        raise BadFeatures(f"no weights were learned for {wanted}; there are some for {', '.join(sets)}")
    return {name: FusedView(**view) for name, view in sets[wanted].items()}


class Embedder:
    """Computes the vectors of functions.

    Args:
        encoder: A sentence encoder by hub id or folder; None leaves the view ``code`` out.
        geometry: The model whose margins are the view ``geometry``; None leaves it out.
        summarizer: Writes the sentences that the view ``summary`` is of; None leaves it out.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.

    Raises:
        BadModel: A model cannot be loaded.
        BadFeatures: Summaries without an encoder, or views that no weights were learned for.
    """

    def __init__(
        self,
        encoder: str | PathLike[str] | None,
        geometry: str | PathLike[str] | None = None,
        summarizer: Summarizer | None = None,
        device: str | None = None,
    ):
        if summarizer is not None and encoder is None:
            raise BadFeatures("summaries are compared by the encoder; name one")
        asked = {"code": encoder, "summary": summarizer, "geometry": geometry}
        load_weights({*SPARSE, *(view for view, value in asked.items() if value is not None)})
        self.encoder = None if encoder is None else _load_encoder(encoder, device)
        self.reader = None if geometry is None else _geometry_reader(geometry, device)
        self.summarizer = summarizer

    @property
    def request(self) -> dict[str, Any]:  # Any: plain JSON values
        """What decides the vectors of a function."""
        loaded = {
            "encoder": None if self.encoder is None else self.encoder.loaded,
            "geometry": None if self.reader is None else self.reader.loaded,
        }
        models = {
            key: None
            if model is None
            else {"name": str(model.name), "fingerprint": model.fingerprint.to_dict()}
            for key, model in loaded.items()
        }
        return {"format": _FORMAT, **models, "summaries": self.summarizer and self.summarizer.name}

    def embed(
        self, texts: Sequence[str], languages: Sequence[Language]
    ) -> tuple[dict[str, Vectors], list[str]]:
        """The vectors of each view that is asked for, zero where a model gives none, and the summaries."""
        vectors: dict[str, Vectors] = {
            "words": word_counts(texts),
            "structure": structure_counts(texts, languages),
        }
        summaries = [""] * len(texts)
        if self.encoder is not None:
            vectors["code"] = self.encoder.encode(texts)
        if self.summarizer is not None and self.encoder is not None:
            summaries = [*self.summarizer.summarize(texts)]
            present = np.array([bool(summary) for summary in summaries])
            vectors["summary"] = self.encoder.encode(summaries) * present[:, None]
        if self.reader is not None:
            rows = np.stack([features.values for features in self.reader.read(texts)])
            vectors["geometry"] = np.nan_to_num(rows, nan=0.0)
        return vectors, summaries


class CodeIndex:
    """Functions with their vectors, as ``index_code`` writes them.

    Args:
        path: The Parquet file.

    Raises:
        BadFeatures: It is no index, or one of another version.
    """

    def __init__(self, path: str | PathLike[str]):
        import pyarrow.parquet as pq

        self.path = Path(path)
        record = read_provenance(self.path)
        if record is None or record.get("format") != _FORMAT or "left_out" not in record:
            raise BadFeatures(f"{path} is no index of functions of this version; write it with code index")
        self.request = record
        self.left_out: dict[str, str] = record["left_out"]
        table = pq.read_table(self.path)
        names = ("path", "name", "language", "line", "last_line", "text", "summary")
        columns = [table[name].to_pylist() for name in names]
        self.functions = [IndexedFunction(*values) for values in zip(*columns, strict=True)]
        self._vectors = _vectors(table)
        self._fusion = load_weights(self._vectors)
        self._weights = {name: view.weight for name, view in self._fusion.items()}
        self._hubness = table["hubness"].to_numpy()

    def __len__(self) -> int:
        return len(self.functions)

    @property
    def views(self) -> tuple[str, ...]:
        """The views of its functions."""
        return tuple(self._vectors)

    def similar(
        self, wanted: Sequence[CodeFunction], top: int = 10, device: str | None = None
    ) -> list[list[Match]]:
        """The most similar functions of the index, for each function the best first.

        A function that is in the index is looked up, and its own place is left out; only for others models
        are loaded.

        Raises:
            WrongModel: The models of the index have changed.
        """
        rows = [self._row_of.get((function.language, function.text)) for function in wanted]
        unknown = [function for function, row in zip(wanted, rows, strict=True) if row is None]
        fresh = self._embed(unknown, device) if unknown else {}
        numbers = iter(range(len(unknown)))
        result = []
        for function, row in zip(wanted, rows, strict=True):
            source, at = (fresh, next(numbers)) if row is None else (self._unit, row)
            one = {name: values[at : at + 1] for name, values in source.items()}
            by_view = {name: values[0] for name, values in cosines(one, self._unit).items()}
            score = fused(by_view, self._weights)
            ranked = score - self._hubness / 2
            if row is not None:
                ranked[row] = -np.inf
            best = np.argsort(-ranked, kind="stable")[: min(top, len(self) - (row is not None))]
            result.append([self._match(function.text, index, score, by_view) for index in best.tolist()])
        return result

    def clusters(self, min_size: int = 2) -> list[Cluster]:
        """Groups of similar functions by HDBSCAN on 1 - score, the most similar first.

        Raises:
            BadFeatures: There are too many functions for a matrix of their distances, or too few.
        """
        from sklearn.cluster import HDBSCAN

        if not 2 <= min_size <= len(self) <= MAX_CLUSTERED:
            raise BadFeatures(
                f"clusters of at least {min_size} need {max(min_size, 2):,} to {MAX_CLUSTERED:,} functions, "
                f"and {self.path} has {len(self):,}; index another folder"
            )
        score = fused(cosines(self._unit, self._unit), self._weights)
        distance = np.maximum(1 - (score + score.T) / 2, 0).astype(np.float64)
        np.fill_diagonal(distance, 0)
        method = HDBSCAN(
            min_cluster_size=min_size,
            min_samples=1,
            metric="precomputed",
            cluster_selection_method="leaf",
            copy=False,
        )
        labels = method.fit(distance).labels_
        groups = [np.flatnonzero(labels == label) for label in range(labels.max() + 1)]
        result = [self._cluster(group) for group in groups]
        return sorted(result, key=lambda cluster: -cluster.score)

    @cached_property
    def _space(self) -> CodeSpace:
        return CodeSpace(self._vectors, [function.language for function in self.functions])

    @cached_property
    def _unit(self) -> dict[str, Vectors]:
        return self._space.unit(self._vectors, [function.language for function in self.functions])

    @cached_property
    def _row_of(self) -> dict[tuple[str, str], int]:
        return {(function.language, function.text): row for row, function in enumerate(self.functions)}

    @cached_property
    def _frequency(self) -> Counter[str]:
        sample = self.functions[:: max(len(self) // _SAMPLE, 1)]
        return Counter(word for function in sample for word in _words(function.text))

    def _embed(self, wanted: Sequence[CodeFunction], device: str | None) -> dict[str, Vectors]:
        named = {key: self.request[key] and self.request[key]["name"] for key in ("encoder", "geometry")}
        embedder = Embedder(named["encoder"], named["geometry"], device=device)
        for key in named:
            now, then = embedder.request[key], self.request[key]
            if now and now["fingerprint"] != then["fingerprint"]:
                raise WrongModel(
                    f"{now['name']} is another model than {self.path} was made with; index again"
                )
        languages = [function.language for function in wanted]
        vectors, _ = embedder.embed([function.text for function in wanted], languages)
        return self._space.unit(vectors, languages)

    def _match(self, text: str, row: int, score: np.ndarray, by_view: dict[str, np.ndarray]) -> Match:
        values = {name: float(values[row]) for name, values in by_view.items()}
        return Match(
            self.functions[row],
            float(score[row]),
            values,
            self._reason(values),
            self._shared([text, self.functions[row].text]),
        )

    def _cluster(self, rows: np.ndarray) -> Cluster:
        unit = {name: values[rows] for name, values in self._unit.items()}
        pairs = np.triu_indices(len(rows), 1)
        means = {name: float(values[pairs].mean()) for name, values in cosines(unit, unit).items()}
        members = tuple(self.functions[row] for row in rows.tolist())
        return Cluster(
            members,
            float(fused({name: np.array(value) for name, value in means.items()}, self._weights)),
            self._reason(means),
            self._shared([function.text for function in members]),
        )

    def _reason(self, values: dict[str, float]) -> str:
        """The view whose weighted cosine is furthest above that of functions that do not match."""
        return max(
            values,
            key=lambda name: self._weights[name] * (values[name] - self._fusion[name].baseline),
        )

    def _shared(self, texts: Sequence[str], most: int = 6) -> tuple[str, ...]:
        words = set.intersection(*map(_words, texts))
        return tuple(sorted(words, key=lambda word: (self._frequency[word], word))[:most])


def index_code(
    folder: str | PathLike[str],
    output: str | PathLike[str],
    embedder: Embedder,
    *,
    languages: Sequence[Language] = LANGUAGES,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> CodeIndex:
    """Index the functions of all source files below a folder.

    Rows are stored as they are computed: the same call continues after a run that was killed, and reads the
    file if it is finished and nothing has changed.

    Args:
        folder: The folder.
        output: The Parquet file.
        embedder: What computes the vectors.
        languages: Those that are read.
        overwrite: Whether another file at ``output`` is replaced.
        progress: Called with the functions that are done, and all.

    Raises:
        BadCode: No folder, or no function below it.
        CannotResume: A part of an index of other code or models is there.
        CannotWrite: ``output`` cannot be written.
        OutputExists: It exists and is no index of the same code and models.
    """
    path = Path(output)
    found, left_out = find_functions(folder, languages)
    if not found:
        raise BadCode(
            f"no function below {folder} can be read ({len(left_out)} files left out); name another"
        )
    digest = hashlib.sha256(json.dumps([asdict(function) for function in found]).encode())
    request = {
        "splinelens": __version__,
        **embedder.request,
        "functions": len(found),
        "data_hash": digest.hexdigest(),
    }
    record = request | {"folder": str(Path(folder).absolute()), "left_out": left_out}
    if read_provenance(path) != record:
        check_output(path, overwrite=overwrite)
        with RowStore.beside(path, request) as store:
            report = progress or (lambda done, total: None)
            report(store.rows, len(found))
            for rows in checkpoints(_chunks(found, store.rows, embedder), 1):
                store.append(rows[0])
                report(store.rows, len(found))
            with store.finish(path, overwrite=overwrite) as temporary:
                _write(store.read(), record, temporary)
    return CodeIndex(path)


def find_functions(
    folder: str | PathLike[str], languages: Sequence[Language] = LANGUAGES
) -> tuple[list[IndexedFunction], dict[str, str]]:
    """The functions of all source files below a folder, and why files or functions were left out.

    Raises:
        BadCode: There is no such folder.
    """
    found, left_out = list[IndexedFunction](), dict[str, str]()
    for file in project_files(Path(folder), tuple(languages)):
        try:
            if file.unread:
                raise BadCode(file.unread)
            each = functions(file.text, file.language)
        except BadCode as error:
            left_out[storable(file.path)] = str(error)
            continue
        for function in each:
            if len(function.text) > MAX_CHARACTERS:
                place = f"{storable(file.path)}:{function.line} {function.name}"
                left_out[place] = f"{len(function.text):,} characters, more than {MAX_CHARACTERS:,}"
                continue
            found.append(
                IndexedFunction(
                    storable(file.path),
                    function.name,
                    function.language,
                    function.line,
                    function.last_line,
                    function.text,
                )
            )
    return found, left_out


def named_functions(path: str | PathLike[str], name: str | None = None) -> list[CodeFunction]:
    """The functions of a file, or those of a name.

    Raises:
        BadCode: It cannot be read, is of no known language, or has no such function.
    """
    path = Path(path)
    language = language_of(path)
    if language is None:
        raise BadCode(f"{path} is of no language that is read: {', '.join(LANGUAGES)}; see its suffix")
    found = functions(read_source(path), language)
    chosen = [function for function in found if name in (None, function.name)]
    if not chosen:
        names = ", ".join(function.name for function in found[:10])
        raise BadCode(f"{path} has no function{f' {name}; it has {names}' if name else ''}; name another")
    return chosen


def _load_encoder(encoder: str | PathLike[str], device: str | None) -> "SentenceEncoder":
    from splinelens.features.sentence_encoder import SentenceEncoder

    return SentenceEncoder(encoder, device=device)


def _geometry_reader(model: str | PathLike[str], device: str | None) -> "TextReader":
    """The margins of a few layers, read by the compiled engine where it is installed."""
    from splinelens.features.loading import ReaderPlan, load_reader
    from splinelens.features.spec import FeatureSpec
    from splinelens.models.load import load_up_to

    spec = FeatureSpec(("margins",), ("max", "mean"), GEOMETRY_LAYERS)
    loaded = load_up_to(model, spec.layers, device=device)
    fingerprint = loaded.fingerprint.to_dict()
    digest = hashlib.sha256(json.dumps([fingerprint, spec.to_dict()]).encode()).hexdigest()
    name = {"name": str(loaded.name), "fingerprint": fingerprint}
    plan = ReaderPlan.of("the geometry of code index", name, spec.to_dict(), digest=digest)
    return load_reader(plan, compile_once=True, device=device)


def _chunks(found: Sequence[IndexedFunction], done: int, embedder: Embedder) -> "Iterator[pa.Table]":
    """Tables of the next functions after those that are done."""
    for start in range(done, len(found), _CHUNK):
        part = found[start : start + _CHUNK]
        vectors, summaries = embedder.embed(
            [function.text for function in part], [function.language for function in part]
        )
        yield _table(part, vectors, summaries)


def _table(
    part: Sequence[IndexedFunction], vectors: dict[str, Vectors], summaries: Sequence[str]
) -> "pa.Table":
    import pyarrow as pa

    columns: dict[str, Any] = {  # Any: arrays and lists
        name: [getattr(function, name) for function in part]
        for name in ("path", "name", "language", "line", "last_line", "text")
    }
    columns["summary"] = pa.array(summaries, pa.string())
    for name, values in vectors.items():
        if name in SPARSE:
            offsets = pa.array(values.indptr.astype(np.int32))
            columns[f"{name}_column"] = pa.ListArray.from_arrays(offsets, values.indices.astype(np.int32))
            columns[f"{name}_count"] = pa.ListArray.from_arrays(offsets, values.data.astype(np.float32))
        else:
            flat = pa.array(np.ascontiguousarray(values, np.float16).ravel())
            columns[f"{name}_vector"] = pa.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return pa.table(columns)


def _vectors(table: "pa.Table") -> dict[str, Vectors]:
    """The vectors of the views that a table has."""
    from scipy.sparse import csr_array

    vectors: dict[str, Vectors] = {}
    for name in VIEWS:
        if name in SPARSE:
            columns, counts = (table[f"{name}_{part}"].combine_chunks() for part in ("column", "count"))
            lengths = np.diff(columns.offsets.to_numpy())
            pointers = np.concatenate([[0], np.cumsum(lengths)])
            cells = (counts.flatten().to_numpy(), columns.flatten().to_numpy(), pointers)
            vectors[name] = csr_array(cells, shape=(len(table), HASHED))
        elif f"{name}_vector" in table.column_names:
            column = table[f"{name}_vector"].combine_chunks()
            vectors[name] = column.flatten().to_numpy().reshape(len(table), -1)
    return vectors


def _write(table: "pa.Table", record: dict[str, Any], path: Path) -> None:  # Any: plain JSON values
    """Write all rows with how near each function is to everything."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors, languages = _vectors(table), table["language"].to_pylist()
    unit = CodeSpace(vectors, languages).unit(vectors, languages)
    weights = {name: view.weight for name, view in load_weights(unit).items()}
    table = table.append_column("hubness", pa.array(hubness(unit, weights)))
    table = table.replace_schema_metadata({"splinelens": json.dumps(record)})
    pq.write_table(table, path, compression="zstd")


def _words(text: str) -> set[str]:
    return {word.lower() for word in _WORD.findall(text)}
