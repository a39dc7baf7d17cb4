"""Which functions mean the same: an index of functions, the most similar ones, and clusters.

Source: zsLLMCode, arXiv:2409.14644, whose view is the sentence encoder on a summary; here it is one of six.
"""

import hashlib
import json
import keyword
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
from jaxtyping import Int

from splinelens import __version__
from splinelens.detect.fusion import Fusion, similar_groups
from splinelens.errors import BadCode, BadFeatures, BadModel, OutputExists, WrongModel
from splinelens.features.code_views import (
    SPARSE,
    VIEWS,
    CodeSpace,
    Vectors,
    cosines,
    less_hubness,
    nearness,
    read_array,
    read_views,
    structure_counts,
    term_counts,
    terms,
    view_columns,
    word_counts,
)
from splinelens.features.table import read_provenance
from splinelens.files import RowStore, check_output, checkpoints, parts_folder, read_request, rows_kept
from splinelens.generate.summaries import summarize
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
_FORMAT = 2
_CHUNK = 128
_SAMPLE = 1000  # functions in which words are counted, to tell rare ones
_QUERIES = 100  # that are compared at once
_MOST_SHARED = 6
_SAME_STRUCTURE = 0.99  # the cosine from which it is the reason, whatever its weight
_JAVASCRIPT = set(
    "async await break case catch class const continue debugger default delete do else export extends false "
    "finally for from function get if import in instanceof let new null of return set static super switch "
    "this throw true try typeof undefined var void while with yield".split()
)
_JAVA = set(
    "abstract assert boolean break byte case catch char class const continue default do double else enum "
    "extends false final finally float for goto if implements import instanceof int interface long native "
    "new null package private protected public return short static strictfp super switch synchronized this "
    "throw throws transient true try var void volatile while".split()
)
_KEYWORDS: dict[Language, set[str]] = {
    "python": {word.lower() for word in keyword.kwlist} | {"self", "cls"},
    "java": _JAVA,
    "javascript": _JAVASCRIPT,
}


def load_fusion(views: Collection[str]) -> Fusion:
    """The fusion of these views, learned by ``benchmarks/code_clones.py``.

    Raises:
        BadFeatures: None was learned for these views together.
    """
    sets = json.loads(files("splinelens.apps").joinpath("code_index.json").read_text("utf-8"))["sets"]
    name = "+".join(view for view in VIEWS if view in views)
    if name not in sets:
        raise BadFeatures(f"no weights were learned for {name}; there are some for {', '.join(sets)}")
    return Fusion(**sets[name])


class Embedder:
    """Computes the vectors of functions.

    Args:
        encoder: A sentence encoder by hub id or folder; None leaves the view ``code`` out.
        geometry: The model whose margins are the view ``geometry``; None leaves it out.
        write: The answer to a prompt, such as ``generate.summaries.local_writer`` returns; it writes the
            sentences of the view ``summary``. None leaves it out.
        summary_model: What the index says of the model that writes; an index of another is not continued.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.

    Raises:
        BadModel: A model cannot be loaded.
        BadFeatures: Summaries without an encoder, or views that no weights were learned for.
    """

    def __init__(
        self,
        encoder: str | PathLike[str] | None,
        geometry: str | PathLike[str] | None = None,
        write: Callable[[str], str] | None = None,
        summary_model: str | None = None,
        device: str | None = None,
    ):
        if write is not None and encoder is None:
            raise BadFeatures("summaries are compared by the encoder; name one")
        requested = {"code": encoder, "summary": write, "geometry": geometry}
        load_fusion({*SPARSE, *(view for view, value in requested.items() if value is not None)})
        self.encoder = None if encoder is None else _load_encoder(encoder, device)
        self.reader = None if geometry is None else _geometry_reader(geometry, device)
        self.write = write
        self.summary_model = summary_model

    def provenance(self) -> dict[str, Any]:  # Any: plain JSON values
        """What decides the vectors of a function: the format, and each model with its fingerprint."""
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
        return {"format": _FORMAT, **models, "summaries": self.write and self.summary_model}

    def embed(
        self, texts: Sequence[str], languages: Sequence[Language]
    ) -> tuple[dict[str, Vectors], list[str]]:
        """The vectors of each requested view, zero where a model gives none, and the summaries."""
        vectors: dict[str, Vectors] = {
            "words": word_counts(texts),
            "terms": term_counts(texts),
            "structure": structure_counts(texts, languages),
        }
        summaries = [""] * len(texts)
        if self.encoder is not None:
            vectors["code"] = self.encoder.encode(texts)
        if self.write is not None and self.encoder is not None:
            summaries = summarize(self.write, texts)
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
        BadFeatures: It is no index, one of another version, or one without functions.
    """

    def __init__(self, path: str | PathLike[str]):
        import pyarrow.parquet as pq

        self.path = Path(path)
        self.unchanged = True  # whether index_code had nothing to write
        self.record = _read_record(self.path)
        self.left_out: dict[str, str] = self.record["left_out"]
        with pq.ParquetFile(self.path) as file:  # pq.read_table imports pandas
            table = file.read()
        if not len(table):
            raise BadFeatures(f"{path} has no functions; write it again with code index")
        names = ("path", "name", "language", "line", "last_line", "text", "summary")
        self.functions = [IndexedFunction(**row) for row in table.select(names).to_pylist()]
        self._vectors = read_views(table)
        self._fusion = load_fusion(self._vectors)
        self._nearness = read_array(table["nearness"].combine_chunks())

    def __len__(self) -> int:
        return len(self.functions)

    @property
    def views(self) -> tuple[str, ...]:
        """The views of its functions."""
        return tuple(self._vectors)

    def similar(
        self,
        texts: Sequence[str],
        languages: Sequence[Language],
        top: int = 10,
        device: str | None = None,
    ) -> list[list[Match]]:
        """The most similar functions of the index, for each function the best first.

        A function that is in the index is looked up, and left out of its own answer; only for others models
        are loaded. The order is that of ``rank_score``.

        Args:
            texts: Sources of functions.
            languages: What each is written in.
            top: Most matches of a function; all there are, if that is fewer. Of equal matches the first in
                the index comes first.
            device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.

        Raises:
            WrongModel: The models of the index have changed.
        """
        rows = [self._row_of.get(key) for key in zip(languages, texts, strict=True)]
        known = [query for query, row in enumerate(rows) if row is not None]
        unknown = [query for query, row in enumerate(rows) if row is None]
        looked_up = {name: values[[rows[query] for query in known]] for name, values in self._unit.items()}
        embedded = self._embed(
            [texts[query] for query in unknown], [languages[query] for query in unknown], device
        )
        answers = dict[int, list[Match]]()
        for queries, vectors in ((known, looked_up), (unknown, embedded)):
            words = [_words(texts[query], languages[query]) for query in queries]
            matches = self._matches(words, [rows[query] for query in queries], vectors, top)
            answers |= zip(queries, matches, strict=True)
        return [answers[query] for query in range(len(texts))]

    def clusters(self, min_size: int = 2) -> list[Cluster]:
        """Groups of similar functions, the most similar first.

        Hubness is not subtracted, as it is in ``similar``: it ranks the candidates of one query, and the
        distances here are the same from both sides.

        Raises:
            BadFeatures: There are too many functions for a matrix of their distances, or too few.
        """
        if not 2 <= min_size <= len(self) <= MAX_CLUSTERED:
            raise BadFeatures(
                f"clusters of at least {min_size} need {max(min_size, 2):,} to {MAX_CLUSTERED:,} functions, "
                f"and {self.path} has {len(self):,}; index another folder"
            )
        score = self._fusion.score(cosines(self._unit, self._unit))
        result = [self._cluster(group) for group in similar_groups(score, min_size)]
        return sorted(result, key=lambda cluster: -cluster.score)

    @cached_property
    def _space(self) -> CodeSpace:
        return CodeSpace(self._vectors, [function.language for function in self.functions])

    @cached_property
    def _unit(self) -> dict[str, Vectors]:
        return self._space.unit_vectors(self._vectors, [function.language for function in self.functions])

    @cached_property
    def _row_of(self) -> dict[tuple[str, str], int]:
        return {(function.language, function.text): row for row, function in enumerate(self.functions)}

    @cached_property
    def _frequency(self) -> Counter[str]:
        sample = self.functions[:: max(len(self) // _SAMPLE, 1)]
        return Counter(word for function in sample for word in _words(function.text, function.language))

    def _embed(
        self, texts: Sequence[str], languages: Sequence[Language], device: str | None
    ) -> dict[str, Vectors]:
        """Vectors of length 1 of functions that are not in the index, without their summaries."""
        if not texts:
            return {}
        names = {key: self.record[key] and self.record[key]["name"] for key in ("encoder", "geometry")}
        embedder = Embedder(names["encoder"], names["geometry"], device=device)
        provenance = embedder.provenance()
        for key, name in names.items():
            if name and provenance[key]["fingerprint"] != self.record[key]["fingerprint"]:
                raise WrongModel(f"{name} is another model than {self.path} was made with; index again")
        vectors, _ = embedder.embed(texts, languages)
        return self._space.unit_vectors(vectors, languages)

    def _matches(
        self,
        words_of: Sequence[set[str]],
        rows: Sequence[int | None],
        vectors: dict[str, Vectors],
        top: int,
    ) -> Iterator[list[Match]]:
        """The best of the index for each query, without the row that the query itself has."""
        for start in range(0, len(rows), _QUERIES):
            block = slice(start, start + _QUERIES)
            by_view = cosines({name: values[block] for name, values in vectors.items()}, self._unit)
            score = self._fusion.score(by_view)
            ranked = less_hubness(score, self._nearness)
            best = np.argsort(-ranked, axis=1, kind="stable")[:, : top + 1]
            for query, (words, itself) in enumerate(zip(words_of[block], rows[block], strict=True)):
                chosen = [row for row in best[query].tolist() if row != itself][:top]
                yield [
                    self._match(
                        words,
                        row,
                        float(ranked[query, row]),
                        float(score[query, row]),
                        {name: float(values[query, row]) for name, values in by_view.items()},
                    )
                    for row in chosen
                ]

    def _match(
        self, words: set[str], row: int, rank_score: float, score: float, by_view: dict[str, float]
    ) -> Match:
        function = self.functions[row]
        return Match(
            function=function,
            rank_score=rank_score,
            score=score,
            cosines=by_view,
            reason=self._reason(by_view),
            shared=self._shared([words, _words(function.text, function.language)]),
        )

    def _cluster(self, rows: Int[np.ndarray, " member"]) -> Cluster:
        unit = {name: values[rows] for name, values in self._unit.items()}
        pairs = np.triu_indices(len(rows), 1)
        means = {name: values[pairs].mean() for name, values in cosines(unit, unit).items()}
        members = tuple(self.functions[row] for row in rows.tolist())
        return Cluster(
            functions=members,
            score=float(self._fusion.score(means)),
            reason=self._reason(means),
            shared=self._shared([_words(function.text, function.language) for function in members]),
        )

    def _reason(self, by_view: dict[str, float]) -> str:
        """``structure`` where it is the same, else the view that contributes most."""
        if by_view["structure"] >= _SAME_STRUCTURE:
            return "structure"
        return self._fusion.reason(by_view)

    def _shared(self, words_of: Sequence[set[str]]) -> tuple[str, ...]:
        words = set.intersection(*words_of)
        return tuple(sorted(words, key=lambda word: (self._frequency[word], word))[:_MOST_SHARED])


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
    indexed, left_out = find_functions(folder, languages)
    if not indexed:
        raise BadCode(
            f"no function below {folder} can be read ({len(left_out)} files left out); name another"
        )
    digest = hashlib.sha256(json.dumps([asdict(function) for function in indexed]).encode())
    request = {
        "splinelens": __version__,
        **embedder.provenance(),
        "functions": len(indexed),
        "data_hash": digest.hexdigest(),
    }
    record = request | {"folder": str(Path(folder).absolute()), "left_out": left_out}
    earlier = read_provenance(path)
    if earlier != record:
        changed = earlier and "left_out" in earlier and earlier.get("data_hash") != record["data_hash"]
        if changed and not overwrite:
            raise OutputExists(
                f"cannot write {path}: the functions changed since it was written; --overwrite (in Python "
                "overwrite=True) computes them again"
            )
        check_output(path, overwrite=overwrite)
        with RowStore.beside(path, request) as store:
            report = progress or (lambda done, total: None)
            report(store.rows, len(indexed))
            for rows in checkpoints(_chunks(indexed, store.rows, embedder), 1):
                store.append(rows[0])
                report(store.rows, len(indexed))
            with store.finish(path, overwrite=overwrite) as temporary:
                _write(store.read(), record, temporary)
    index = CodeIndex(path)
    index.unchanged = earlier == record
    return index


def unfinished(output: Path) -> tuple[int, int] | None:
    """Functions that a stopped ``index_code`` has stored, and all; None if nothing is stored."""
    request = read_request(parts_folder(output))
    total = request.get("functions") if request else None
    return (rows_kept(output), total) if isinstance(total, int) else None


def find_functions(
    folder: str | PathLike[str], languages: Sequence[Language] = LANGUAGES
) -> tuple[list[IndexedFunction], dict[str, str]]:
    """The functions of all source files below a folder, and why files or functions were left out.

    Raises:
        BadCode: There is no such folder.
    """
    indexed, left_out = list[IndexedFunction](), dict[str, str]()
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
            indexed.append(
                IndexedFunction(
                    path=storable(file.path),
                    name=function.name,
                    language=function.language,
                    line=function.line,
                    last_line=function.last_line,
                    text=function.text,
                )
            )
    return indexed, left_out


def named_functions(path: str | PathLike[str], name: str | None = None) -> list[CodeFunction]:
    """The functions of a file, or those of a name.

    Raises:
        BadCode: It cannot be read, is of no known language, or has no such function.
    """
    path = Path(path)
    language = language_of(path)
    if language is None:
        raise BadCode(f"{path} is of no language that is read: {', '.join(LANGUAGES)}; see its suffix")
    defined = functions(read_source(path), language)
    chosen = [function for function in defined if name in (None, function.name)]
    if not chosen:
        names = ", ".join(function.name for function in defined[:10])
        raise BadCode(f"{path} has no function{f' {name}; it has {names}' if name else ''}; name another")
    return chosen


def _load_encoder(encoder: str | PathLike[str], device: str | None) -> "SentenceEncoder":
    from splinelens.features.sentence_encoder import SentenceEncoder

    try:
        return SentenceEncoder(encoder, device=device)
    except BadModel as error:
        reason = str(error).removesuffix(", or name a folder or a .gguf file")
        raise type(error)(
            f"{reason}; code index --encoder FOLDER names one that is here, --encoder none leaves it out"
        ) from error


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


def _read_record(path: Path) -> dict[str, Any]:  # Any: plain JSON values
    """What an index says of itself.

    Raises:
        BadFeatures: The file is no index, or one of another version.
    """
    record = read_provenance(path)
    if record is None and (progress := unfinished(path)):
        done, total = progress
        raise BadFeatures(
            f"{path} is unfinished: {done:,} of {total:,} functions; run the same "
            f"code index ... -o {path} again, which continues"
        )
    if record is None or "left_out" not in record or "format" not in record:
        raise BadFeatures(f"{path} is no index of functions; write one with code index")
    if record["format"] != _FORMAT:
        raise BadFeatures(
            f"{path} is an index of format {record['format']}, by splinelens {record['splinelens']}; this "
            f"version reads format {_FORMAT}: write it again with code index"
        )
    return record


def _chunks(indexed: Sequence[IndexedFunction], done: int, embedder: Embedder) -> "Iterator[pa.Table]":
    """Tables of the next functions after those that are done."""
    import pyarrow as pa

    for start in range(done, len(indexed), _CHUNK):
        chunk = indexed[start : start + _CHUNK]
        vectors, summaries = embedder.embed(
            [function.text for function in chunk], [function.language for function in chunk]
        )
        columns = {
            name: pa.array([getattr(function, name) for function in chunk])
            for name in ("path", "name", "language", "line", "last_line", "text")
        }
        columns["summary"] = pa.array(summaries, pa.string())
        yield pa.table(columns | view_columns(vectors))


def _write(table: "pa.Table", record: dict[str, Any], path: Path) -> None:  # Any: plain JSON values
    """Write all rows with how near each function is to everything."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    vectors, languages = read_views(table), table["language"].to_pylist()
    unit = CodeSpace(vectors, languages).unit_vectors(vectors, languages)
    table = table.append_column("nearness", pa.array(nearness(unit, load_fusion(unit).score)))
    table = table.replace_schema_metadata({"splinelens": json.dumps(record)})
    pq.write_table(table, path, compression="zstd")


def _words(text: str, language: Language) -> set[str]:
    """The words of a function, without single letters and the keywords of its language."""
    return {term for term in terms(text) if len(term) > 1 and term.isalpha()} - _KEYWORDS[language]
