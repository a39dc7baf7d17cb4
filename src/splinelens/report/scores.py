"""The record of one scored text, and files of such records: JSON lines, CSV, TSV, Parquet."""

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splinelens.errors import BadTexts
from splinelens.files import atomic_write
from splinelens.texts.columns import refuse_names
from splinelens.texts.table import Texts, json_value

if TYPE_CHECKING:
    import pyarrow as pa
    from pydantic import TypeAdapter

FORMATS = (".csv", ".jsonl", ".parquet", ".tsv")

_DELIMITERS = {".csv": ",", ".tsv": "\t"}
_FORMULA = re.compile(
    r"[\t\r\n]|\s*[=+\-@\uff1d\uff0b\uff0d\uff20]"
)  # https://owasp.org/www-community/attacks/CSV_Injection
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_CHUNK = 1024  # records that are converted together


@dataclass(frozen=True)
class Span:
    """Contribution of a part of a text to the logit of its score.

    Attributes:
        begin: First character.
        end: After the last character.
        contribution: Added to the calibrated logit; positive raises the score.
    """

    begin: int
    end: int
    contribution: float


@dataclass(frozen=True)
class WordValue(Span):
    """A word with its Shapley value as the contribution (``detect.pooled_shapley``).

    Attributes:
        fires: Whether it is one of the words for which the text has the label. In a text without the label
            no word fires.
    """

    fires: bool


@dataclass(frozen=True)
class SentenceScore:
    """The sentence of a text with the highest score, scored by itself.

    Attributes:
        begin: First character.
        end: After the last character.
        score: Its score, as that of a text.
        limit: The score that a sentence needs for the verdict: of a text of several sentences more than the
            text itself would need, since they share its false-positive rate.
        label: For several labels the one with that score. Else None.
    """

    begin: int
    end: int
    score: float
    limit: float
    label: str | None = None


@dataclass(frozen=True)
class TextScore:
    """The result of one text.

    Attributes:
        row: Position of the text in the input, from 0.
        score: Calibrated probability of the positive class, in [0, 1], where the share of positive texts is
            that of the calibration (``Artifact.shares``) or the ``prevalence`` that was given; of several
            labels the highest of ``scores``; None if there is none.
        verdict: The detector's positive or negative word, of several labels the one that fired with the
            highest score; or ``undetermined``.
        tokens: Tokens of the whole text.
        cut: Whether tokens at its end were not read.
        scores: For several labels each label's calibrated probability, against all others, so those of
            classes do not sum to 1; empty if there is no score. Else None.
        labels: For several labels all that fired, by falling score. Else None.
        reason: Why the verdict is ``undetermined``, else None.
        highest_sentence: By sentence, the sentence with the highest score: of those that fired if any did.
        explained: For several labels the one whose logit ``spans`` and ``constant`` sum to. Else None.
        constant: With an explanation, the logit of a text without any of the spans: constant plus
            all contributions is ``log(score / (1 - score))`` of the label explained.
        spans: With an explanation, the contribution of each token.
        words: The spans merged to whole words; they have the same sum. With ``words="shapley"`` the Shapley
            value of each word, which have that sum, too.
        sentences: The words merged to sentences; they have the same sum.
        top_words: The words that raise the logit most, then those that lower it most, with what they add,
            such as ``"idiot +3.8; you +1.5"``.
        roles: Of a flagged text, who threatens or insults whom in the sentences that raise its score: records
            of ``SentenceRoles`` as JSON values.
    """

    row: int
    score: float | None
    verdict: str
    tokens: int
    cut: bool
    scores: dict[str, float] | None = None
    labels: tuple[str, ...] | None = None
    reason: str | None = None
    highest_sentence: SentenceScore | None = None
    explained: str | None = None
    constant: float | None = None
    spans: tuple[Span, ...] | None = None
    words: tuple[WordValue | Span, ...] | None = None
    sentences: tuple[Span, ...] | None = None
    top_words: str | None = None
    roles: tuple[dict[str, Any], ...] | None = None  # Any: JSON values

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """As JSON values; what does not exist is left out, except ``score``.

        Example:
            >>> TextScore(0, 0.03, "clean", 5, False).to_dict()
            {'row': 0, 'score': 0.03, 'verdict': 'clean', 'tokens': 5, 'cut': False}
        """
        return _adapter().dump_python(self, mode="json", exclude_defaults=True)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "TextScore":  # Any: JSON values
        """From what ``to_dict`` gave."""
        return _adapter().validate_python(record)

    def to_json(self, kept: Mapping[str, Any] | None = None) -> str:  # Any: a cell is what the file held
        """One line of JSON, with cells of the user's columns after ``row``.

        Example:
            >>> TextScore(0, 0.03, "clean", 5, False).to_json({"id": "007"})
            '{"row": 0, "id": "007", "score": 0.03, "verdict": "clean", "tokens": 5, "cut": false}'
        """
        own = self.to_dict()
        cells = {name: json_value(cell) for name, cell in (kept or {}).items()}
        line = json.dumps({"row": self.row, **cells, **own}, ensure_ascii=False)
        return line.encode("utf-8", "backslashreplace").decode()  # a lone surrogate as its JSON escape


@cache
def _adapter() -> "TypeAdapter[TextScore]":
    from pydantic import TypeAdapter

    return TypeAdapter(TextScore)


def check_ending(path: Path) -> None:
    """Refuse an output whose format is unknown.

    Raises:
        BadTexts: The ending is none of ``FORMATS``.
    """
    if path.suffix not in FORMATS:
        raise BadTexts(f"output {path} ends in {path.suffix!r}; use one of {', '.join(FORMATS)}")


def check_kept(names: Iterable[str]) -> None:
    """Refuse columns of the user that have the name of one of ours.

    Raises:
        BadTexts: The message names the column.
    """
    ours = TextScore.__dataclass_fields__
    parts = ("score.", "highest_sentence.")
    refuse_names((name for name in names if name in ours or name.startswith(parts)), "scores")


def kept_cells(kept: Texts, row: int) -> dict[str, Any]:  # Any: as in Texts
    """The cells of one row."""
    return {name: cells[row] for name, cells in kept.columns.items()}


def write_scores(
    scores: Iterable[TextScore],
    path: Path,
    provenance: dict[str, Any] | None = None,  # Any: JSON values
    labels: Sequence[str] = (),
    *,
    kept: Texts | None = None,
    top_words: bool = False,
    by_sentence: bool = False,
    overwrite: bool = True,
    opened: Callable[..., AbstractContextManager[Path]] = atomic_write,
) -> None:
    """Write records to a file atomically, some at a time.

    JSON Lines hold records whole. Tables hold no spans but, of explained records, ``top_words``. In CSV and
    TSV a cell of text that a spreadsheet would run as a formula starts with an apostrophe, unless it is a
    number.

    Args:
        scores: The records; they may come from a generator.
        path: Ends in one of ``FORMATS``.
        provenance: What decided the scores; Parquet keeps it in its schema under ``splinelens``.
        labels: Names of several labels; CSV then has a column ``score.NAME`` for each, Parquet a struct.
        kept: Its columns stand after ``row``.
        top_words: Whether the records have explanations, and so tables a column ``top_words``.
        by_sentence: Whether the records have a highest sentence: a struct in Parquet, in CSV a column for
            each of its numbers.
        overwrite: Whether an existing file is replaced.
        opened: Gives the temporary path to write to: ``atomic_write``, or ``RowStore.finish``.

    Raises:
        BadTexts: Another ending, or a kept column with the name of one of ours.
        OutputExists: The file exists, without ``overwrite``.
        CannotWrite: The disk is full or the file may not be written.
    """
    check_ending(path)
    check_kept(kept.columns if kept else ())
    records = iter(scores)
    with opened(path, overwrite=overwrite) as temporary, ExitStack() as stack:
        if path.suffix == ".jsonl":
            file = stack.enter_context(temporary.open("w", encoding="utf-8"))
            for record in records:
                file.write(record.to_json(kept_cells(kept, record.row) if kept else None) + "\n")
            return
        import pyarrow as pa

        flat = path.suffix in _DELIMITERS
        user = _user_columns(kept, flat)
        ours = _schema(labels, flat, top_words, by_sentence)
        schema = pa.schema(
            [ours.field("row"), *user.schema, *(field for field in ours if field.name != "row")]
        )
        schema = schema.with_metadata({"splinelens": json.dumps(provenance or {}, sort_keys=True)})
        writer = stack.enter_context(_writer(temporary, path.suffix, schema))
        while chunk := list(islice(records, _CHUNK)):
            rows = [record.to_dict() for record in chunk]
            table = pa.Table.from_pylist([_cells(row) for row in rows] if flat else rows, schema=ours)
            beside = user.take([record.row for record in chunk])
            columns = [beside[name] if name in user.column_names else table[name] for name in schema.names]
            writer.write_table(pa.table(columns, schema=schema))


def safe_cell(cell: str) -> str:
    """A cell of CSV that no spreadsheet runs as a formula: an apostrophe is put before it. Numbers stay.

    Example:
        >>> safe_cell("=1+1"), safe_cell("-5"), safe_cell("fine")
        ("'=1+1", '-5', 'fine')
    """
    return f"'{cell}" if _FORMULA.match(cell) and not _NUMBER.fullmatch(cell.strip()) else cell


def _schema(labels: Sequence[str], flat: bool, top_words: bool, by_sentence: bool) -> "pa.Schema":
    """Our columns; a flat file has labels as JSON, and columns for what a record holds by name."""
    import pyarrow as pa

    columns = [("row", pa.int64()), ("score", pa.float64()), ("verdict", pa.string()), ("tokens", pa.int64())]
    columns += [("cut", pa.bool_()), ("reason", pa.string())]
    if by_sentence:
        parts = [("begin", pa.int64()), ("end", pa.int64()), ("score", pa.float64()), ("limit", pa.float64())]
        parts += [("label", pa.string())] if labels else []
        named = [(f"highest_sentence.{name}", kind) for name, kind in parts]
        columns += named if flat else [("highest_sentence", pa.struct(parts))]
    columns += [("top_words", pa.string())] if top_words else []
    if labels:
        scores = [(f"score.{label}" if flat else label, pa.float64()) for label in labels]
        columns += [("labels", pa.string() if flat else pa.list_(pa.string())), ("explained", pa.string())]
        columns += scores if flat else [("scores", pa.struct(scores))]
    return pa.schema(columns)


def _user_columns(kept: Texts | None, flat: bool) -> "pa.Table":
    """The kept columns; in a flat file only numbers and truth values are no text."""
    import pyarrow as pa

    table = kept.to_arrow() if kept else pa.table({})
    if not flat:
        return table
    columns = {}
    for name, column in zip(table.column_names, table.columns, strict=True):
        kind = column.type
        if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)):
            values = map(json_value, column.to_pylist())
            texts = [None if value is None else _text(value) for value in values]
            column = pa.chunked_array([pa.array(texts, pa.string())])
        columns[safe_cell(name)] = column
    return pa.table(columns)


def _text(value: Any) -> str:  # Any: JSON values
    return safe_cell(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))


def _cells(row: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
    """The cells of a flat file."""
    scores = row.pop("scores", {})
    sentence = row.pop("highest_sentence", {})
    row |= {f"highest_sentence.{name}": value for name, value in sentence.items()}
    texts = {name: _text(value) for name, value in row.items() if isinstance(value, str | list)}
    return row | texts | {f"score.{label}": score for label, score in scores.items()}


def _writer(path: Path, suffix: str, schema: "pa.Schema") -> Any:  # Any: of pyarrow, which has no types
    if suffix in _DELIMITERS:
        from pyarrow.csv import CSVWriter, WriteOptions

        return CSVWriter(path, schema, write_options=WriteOptions(delimiter=_DELIMITERS[suffix]))
    from pyarrow.parquet import ParquetWriter

    return ParquetWriter(path, schema)
