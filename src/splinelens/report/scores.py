"""The record of one scored text, and its forms on disk: JSON lines, CSV, Parquet."""

import csv
import json
from collections.abc import Iterable
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
        score: Calibrated probability of the positive class, in [0, 1]; None if there is none.
        verdict: The detector's positive or negative word, or ``undetermined``.
        tokens: Tokens of the whole text.
        cut: Whether tokens at its end were not read.
        reason: Why the verdict is ``undetermined``, else None.
        spans: With an explanation, what each stretch adds to the logit.
        constant: With an explanation, the logit of a text without any of the spans: constant plus
            all contributions is ``log(score / (1 - score))``.
        words: The spans merged to whole words; they add up to the same.
        sentences: The spans merged to sentences; they add up to the same.
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
        if self.reason is not None:
            record["reason"] = self.reason
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
        return cls(**{**record, **{name: tuple(Span(**span) for span in record[name]) for name in there}})

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False)


def write_scores(
    scores: Iterable[TextScore], path: Path, provenance: dict[str, Any] | None = None
) -> int:  # Any: plain JSON values
    """Write records to a file; a reader sees either all of them or none.

    Args:
        scores: The records; they may come from a generator.
        path: ``.csv`` (spans, words and sentences as JSON in one cell each), ``.jsonl`` or ``.parquet``.
        provenance: What decided the scores; Parquet keeps it in its schema under ``splinelens``.

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
            count = _write_parquet(scores, part, provenance)
        else:
            count = (_write_csv if path.suffix == ".csv" else _write_jsonl)(scores, part)
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


def _write_csv(scores: Iterable[TextScore], path: Path) -> int:
    count = 0
    with path.open("w", encoding="utf-8", newline="") as file:
        names = ["row", "score", "verdict", "tokens", "cut", "reason", "constant", *_STRETCHES]
        table = csv.DictWriter(file, names)
        table.writeheader()
        for score in scores:
            record = score.to_dict()
            record.update({name: json.dumps(record[name]) for name in _STRETCHES if name in record})
            table.writerow(record)
            count += 1
    return count


def _write_parquet(
    scores: Iterable[TextScore], path: Path, provenance: dict[str, Any] | None
) -> int:  # Any: as above
    import pyarrow as pa
    import pyarrow.parquet as pq

    span = pa.struct([("begin", pa.int64()), ("end", pa.int64()), ("contribution", pa.float64())])
    schema = pa.schema(
        [
            ("row", pa.int64()),
            ("score", pa.float64()),
            ("verdict", pa.string()),
            ("tokens", pa.int64()),
            ("cut", pa.bool_()),
            ("reason", pa.string()),
            ("constant", pa.float64()),
            *((name, pa.list_(span)) for name in _STRETCHES),
        ]
    )
    records = [score.to_dict() for score in scores]
    meta = {b"splinelens": json.dumps(provenance or {}, sort_keys=True).encode()}
    pq.write_table(pa.Table.from_pylist(records, schema=schema).replace_schema_metadata(meta), path)
    return len(records)
