"""The record of one scored text, and its forms on disk: JSON lines, CSV, Parquet."""

import csv
import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from splinelens.errors import BadTexts, CannotWrite

UNDETERMINED = "undetermined"
"""The verdict on a text that could not be scored; it is never shown as safe."""

FORMATS = (".csv", ".jsonl", ".parquet")

_STRETCHES = ("spans", "words", "sentences")


@dataclass(frozen=True)
class Span:
    """What one stretch of a text adds to the logit of its score.

    Attributes:
        begin: First character.
        end: Behind the last character.
        contribution: Added to the calibrated logit; positive leans to the positive class.
    """

    begin: int
    end: int
    contribution: float


@dataclass(frozen=True)
class TextScore:
    """One text's result.

    Attributes:
        row: Place of the text in the input, from 0.
        score: Calibrated probability of the positive class, in [0, 1]; of several labels the highest of
            ``scores``; None if there is none.
        verdict: The detector's positive or negative word, of several labels the one that fired with the
            highest score; or ``undetermined``.
        tokens: Tokens of the whole text.
        cut: Whether tokens at its end were not read.
        reason: Why the verdict is ``undetermined``, else None.
        spans: With an explanation, what each stretch adds to the logit.
        constant: With an explanation, the logit of a text without any of the spans: constant plus
            all contributions is ``log(score / (1 - score))`` of the label explained.
        words: The spans merged to whole words; they add up to the same.
        sentences: The spans merged to sentences; they add up to the same.
        scores: Of a detector of several labels each label's calibrated probability, against all others, so
            those of classes do not sum to 1; empty if there is no score. Else None.
        labels: Of several labels all that fired, by falling score. Else None.
        explained: Of several labels the one whose logit ``spans`` and ``constant`` make up. Else None.
    """

    row: int
    score: float | None
    verdict: str
    tokens: int
    cut: bool
    reason: str | None = None
    spans: tuple[Span, ...] | None = None
    constant: float | None = None
    words: tuple[Span, ...] | None = None
    sentences: tuple[Span, ...] | None = None
    scores: dict[str, float] | None = None
    labels: tuple[str, ...] | None = None
    explained: str | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values; what is not there is left out, except ``score``.

        Example:
            >>> TextScore(0, 0.03, "clean", 5, False).to_dict()
            {'row': 0, 'score': 0.03, 'verdict': 'clean', 'tokens': 5, 'cut': False}
        """
        record: dict[str, Any] = {
            "row": self.row,
            "score": self.score,
            "verdict": self.verdict,
            "tokens": self.tokens,
            "cut": self.cut,
        }
        if self.scores is not None:
            record |= {"scores": self.scores, "labels": list(self.labels or ())}
        if self.reason is not None:
            record["reason"] = self.reason
        if self.explained is not None:
            record["explained"] = self.explained
        if self.spans is not None:
            record["constant"] = self.constant
        for name in _STRETCHES:
            if getattr(self, name) is not None:
                record[name] = [asdict(span) for span in getattr(self, name)]
        return record

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "TextScore":  # Any: plain JSON values
        """From what ``to_dict`` gave."""
        there = [name for name in _STRETCHES if record.get(name) is not None]
        own = {name: tuple(Span(**span) for span in record[name]) for name in there}
        labels = record.get("labels")
        return cls(**{**record, **own, "labels": None if labels is None else tuple(labels)})

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


def write_scores(
    scores: Iterable[TextScore],
    path: Path,
    provenance: dict[str, Any] | None = None,  # Any: plain JSON values
    labels: Sequence[str] = (),
) -> int:
    """Write records to a file; a reader sees either all of them or none.

    Args:
        scores: The records; they may come from a generator.
        path: ``.csv`` (spans, words, sentences and fired labels as JSON in one cell each), ``.jsonl`` or
            ``.parquet``.
        provenance: What decided the scores; Parquet keeps it in its schema under ``splinelens``.
        labels: Names of several labels; CSV then has a column ``score.NAME`` for each, Parquet a struct.

    Returns:
        How many were written.

    Raises:
        BadTexts: Another ending.
        CannotWrite: The disk is full or the file may not be written.
    """
    check_format(path)
    part = path.with_name(path.name + ".tmp")
    try:
        if path.suffix == ".parquet":
            count = _write_parquet(scores, part, provenance, labels)
        elif path.suffix == ".csv":
            count = _write_csv(scores, part, labels)
        else:
            count = _write_jsonl(scores, part)
        part.replace(path)
    except OSError as error:
        raise CannotWrite(f"cannot write {path}: {error.strerror or error}") from error
    finally:
        with suppress(OSError):  # a disk that refuses to write refuses this too
            part.unlink(missing_ok=True)
    return count


def check_format(path: Path) -> None:
    """Refuse an output file whose ending is unknown, before any work is done.

    Raises:
        BadTexts: The ending is none of ``.csv``, ``.jsonl``, ``.parquet``.
        CannotWrite: Its folder does not exist.
    """
    if path.suffix not in FORMATS:
        raise BadTexts(f"output {path} ends in {path.suffix!r}; use one of {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise CannotWrite(f"cannot write {path}: there is no folder {path.parent}")


def _write_jsonl(scores: Iterable[TextScore], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8") as file:
        for score in scores:
            file.write(score.to_json() + "\n")
            count += 1
    return count


def _write_csv(scores: Iterable[TextScore], path: Path, labels: Sequence[str]) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        names = ["row", "score", "verdict", "tokens", "cut", "reason", "constant", *_STRETCHES]
        names += ["labels", "explained", *(f"score.{label}" for label in labels)] if labels else []
        table = csv.DictWriter(file, names)
        table.writeheader()
        for score in scores:
            record = score.to_dict()
            record |= {f"score.{label}": own for label, own in record.pop("scores", {}).items()}
            for key in (*_STRETCHES, "labels"):
                if key in record:
                    record[key] = json.dumps(record[key], ensure_ascii=key != "labels")
            table.writerow(record)
            count += 1
    return count


def _write_parquet(
    scores: Iterable[TextScore],
    path: Path,
    provenance: dict[str, Any] | None,  # Any: as above
    labels: Sequence[str],
) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    span = pa.struct([("begin", pa.int64()), ("end", pa.int64()), ("contribution", pa.float64())])
    columns = [
        ("row", pa.int64()),
        ("score", pa.float64()),
        ("verdict", pa.string()),
        ("tokens", pa.int64()),
        ("cut", pa.bool_()),
        ("reason", pa.string()),
        ("constant", pa.float64()),
        *((name, pa.list_(span)) for name in _STRETCHES),
    ]
    if labels:
        own = pa.struct([(label, pa.float64()) for label in labels])
        columns += [("labels", pa.list_(pa.string())), ("explained", pa.string()), ("scores", own)]
    schema = pa.schema(columns)
    records = [score.to_dict() for score in scores]
    meta = {b"splinelens": json.dumps(provenance or {}, sort_keys=True).encode()}
    pq.write_table(pa.Table.from_pylist(records, schema=schema).replace_schema_metadata(meta), path)
    return len(records)
