"""The state of a run's output: of an unfinished run its stored rows, of a finished one its failed rows."""

import json
import re
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from splinelens.errors import BadTexts
from splinelens.files import parts_folder, read_request, stored_rows

_BLOCK_BYTES = 2**26  # a row must fit, with all its columns


@dataclass(frozen=True)
class RunStatus:
    """The state of an output.

    Attributes:
        output: The file.
        finished: Whether it is written.
        rows: Rows of the file, or those that an unfinished run has stored.
        texts: How many texts the run reads; None where that is not recorded.
        failed: Rows with a reason in place of numbers.
        reasons: How many rows have each reason, numbers in it as ``N``; None of an unfinished run.
        last_write: When rows were written last.
        settings: What decides the rows; None of a CSV, TSV or JSON Lines file, which does not say.
    """

    output: str
    finished: bool
    rows: int
    texts: int | None
    failed: int
    reasons: dict[str, int] | None
    last_write: datetime
    settings: dict[str, Any] | None  # Any: plain JSON values


def run_status(output: Path) -> RunStatus:
    """What is known of an output of ``extract`` or ``score``, without a model and without the texts.

    An unfinished run is reported even if the file exists, as it will be replaced.

    Raises:
        BadTexts: There is neither the file nor an unfinished run, or the file is no such output.
    """
    request = read_request(parts_folder(output))
    if request is not None:
        stored = stored_rows(output)
        return RunStatus(
            str(output), False, stored.rows, request.get("texts"), stored.failed, None, stored.last, request
        )
    if output.is_dir():
        raise BadTexts(f"{output} is a folder; name the output of a run")
    if not output.is_file():
        raise BadTexts(f"there is neither {output} nor an unfinished run of it; name the output of a run")
    reasons, settings = _finished(output)
    counts = Counter(re.sub(r"\d[\d,]*", "N", reason) for reason in reasons if reason)
    return RunStatus(
        str(output),
        True,
        len(reasons),
        None if settings is None else settings.get("texts"),
        counts.total(),
        dict(counts.most_common()),
        datetime.fromtimestamp(output.stat().st_mtime, UTC),
        settings,
    )


def _finished(output: Path) -> tuple[list[str | None], dict[str, Any] | None]:  # Any: as above
    """The reason of each row, and the provenance."""
    import pyarrow as pa
    from pyarrow import csv, parquet

    try:
        if output.suffix == ".jsonl":
            with output.open("rb") as lines:  # a text may hold any other end of a line
                return [json.loads(line).get("reason") for line in lines], None
        if output.suffix == ".parquet":
            meta = parquet.read_schema(output).metadata or {}
            table = parquet.read_table(output, columns=["reason"])
            return table["reason"].to_pylist(), json.loads(meta.get(b"splinelens", b"null"))
        parsing = csv.ParseOptions(
            delimiter="\t" if output.suffix == ".tsv" else ",", newlines_in_values=True
        )
        reading = csv.ReadOptions(block_size=_BLOCK_BYTES)
        conversion = csv.ConvertOptions(
            include_columns=["reason"], column_types={"reason": pa.string()}, strings_can_be_null=True
        )
        table = csv.read_csv(output, read_options=reading, parse_options=parsing, convert_options=conversion)
        return table["reason"].to_pylist(), None
    except (KeyError, ValueError, AttributeError, pa.ArrowException) as error:
        raise BadTexts(f"{output} is no output of extract or score ({error}); name one") from error
