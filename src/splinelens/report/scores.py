"""The record of one scored text, and files of such records: JSON lines, CSV, Parquet."""

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splinelens.errors import BadTexts
from splinelens.files import atomic_write, check_output

if TYPE_CHECKING:
    import pyarrow as pa
    from pydantic import TypeAdapter

FORMATS = (".csv", ".jsonl", ".parquet")

_SPANS = ("spans", "words", "sentences")
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
class TextScore:
    """The result of one text.

    Attributes:
        row: Position of the text in the input, from 0.
        score: Calibrated probability of the positive class, in [0, 1]; of several labels the highest of
            ``scores``; None if there is none.
        verdict: The detector's positive or negative word, of several labels the one that fired with the
            highest score; or ``undetermined``.
        tokens: Tokens of the whole text.
        cut: Whether tokens at its end were not read.
        scores: For several labels each label's calibrated probability, against all others, so those of
            classes do not sum to 1; empty if there is no score. Else None.
        labels: For several labels all that fired, by falling score. Else None.
        reason: Why the verdict is ``undetermined``, else None.
        explained: For several labels the one whose logit ``spans`` and ``constant`` sum to. Else None.
        constant: With an explanation, the logit of a text without any of the spans: constant plus
            all contributions is ``log(score / (1 - score))`` of the label explained.
        spans: With an explanation, the contribution of each token.
        words: The spans merged to whole words; they have the same sum.
        sentences: The spans merged to sentences; they have the same sum.
    """

    row: int
    score: float | None
    verdict: str
    tokens: int
    cut: bool
    scores: dict[str, float] | None = None
    labels: tuple[str, ...] | None = None
    reason: str | None = None
    explained: str | None = None
    constant: float | None = None
    spans: tuple[Span, ...] | None = None
    words: tuple[Span, ...] | None = None
    sentences: tuple[Span, ...] | None = None

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

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


@cache
def _adapter() -> "TypeAdapter[TextScore]":
    from pydantic import TypeAdapter

    return TypeAdapter(TextScore)


def write_scores(
    scores: Iterable[TextScore],
    path: Path,
    provenance: dict[str, Any] | None = None,  # Any: JSON values
    labels: Sequence[str] = (),
) -> None:
    """Write records to a file atomically, some at a time.

    Args:
        scores: The records; they may come from a generator.
        path: ``.csv`` (spans, words, sentences and fired labels as JSON in one cell each), ``.jsonl`` or
            ``.parquet``.
        provenance: What decided the scores; Parquet keeps it in its schema under ``splinelens``.
        labels: Names of several labels; CSV then has a column ``score.NAME`` for each, Parquet a struct.

    Raises:
        BadTexts: Another ending.
        CannotWrite: The disk is full or the file may not be written.
    """
    check_format(path)
    records = iter(scores)
    with atomic_write(path) as temporary, ExitStack() as stack:
        if path.suffix == ".jsonl":
            file = stack.enter_context(temporary.open("w", encoding="utf-8"))
            file.writelines(record.to_json() + "\n" for record in records)
            return
        import pyarrow as pa

        schema = _schema(labels, flat=path.suffix == ".csv")
        schema = schema.with_metadata({"splinelens": json.dumps(provenance or {}, sort_keys=True)})
        writer = stack.enter_context(_writer(temporary, path.suffix, schema))
        while chunk := list(islice(records, _CHUNK)):
            rows = [record.to_dict() for record in chunk]
            rows = [_cells(row) for row in rows] if path.suffix == ".csv" else rows
            writer.write_table(pa.Table.from_pylist(rows, schema=schema))


def check_format(path: Path) -> None:
    """Validate the path of an output file before any work is done.

    Raises:
        BadTexts: The ending is none of ``FORMATS``.
        CannotWrite: As ``files.check_output`` with ``overwrite``.
    """
    if path.suffix not in FORMATS:
        raise BadTexts(f"output {path} ends in {path.suffix!r}; use one of {', '.join(FORMATS)}")
    check_output(path, overwrite=True)


def _schema(labels: Sequence[str], flat: bool) -> "pa.Schema":
    """The columns; a flat file has nested values as JSON and a column for the score of each label."""
    import pyarrow as pa

    span = pa.struct([("begin", pa.int64()), ("end", pa.int64()), ("contribution", pa.float64())])
    columns = [("row", pa.int64()), ("score", pa.float64()), ("verdict", pa.string()), ("tokens", pa.int64())]
    columns += [("cut", pa.bool_()), ("reason", pa.string()), ("constant", pa.float64())]
    columns += [(name, pa.string() if flat else pa.list_(span)) for name in _SPANS]
    if labels:
        scores = [(f"score.{label}" if flat else label, pa.float64()) for label in labels]
        columns += [("labels", pa.string() if flat else pa.list_(pa.string())), ("explained", pa.string())]
        columns += scores if flat else [("scores", pa.struct(scores))]
    return pa.schema(columns)


def _cells(row: dict[str, Any]) -> dict[str, Any]:  # Any: JSON values
    scores = row.pop("scores", {})
    nested = {name: json.dumps(row[name], ensure_ascii=False) for name in (*_SPANS, "labels") if name in row}
    return row | nested | {f"score.{label}": score for label, score in scores.items()}


def _writer(path: Path, suffix: str, schema: "pa.Schema") -> Any:  # Any: of pyarrow, which has no types
    if suffix == ".csv":
        from pyarrow.csv import CSVWriter

        return CSVWriter(path, schema)
    from pyarrow.parquet import ParquetWriter

    return ParquetWriter(path, schema)
