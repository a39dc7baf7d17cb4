"""``splinelens status``: how far a run is, or how many rows of a finished one failed."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options


def status(
    output: Annotated[Path, typer.Argument(metavar="OUTPUT", help="What extract or score was to write.")],
    as_json: options.AsJson = False,
) -> None:
    """Say how far a run is, and how many rows failed.

    Loads no model and reads no text; the run may go on meanwhile. With --json one object: "output",
    "finished", "rows" (written, or stored so far), "texts" (of the whole run, null if not recorded), "failed"
    (rows with a reason), "reasons" (rows by reason, of a finished run), "last_write" and "settings" (what
    decides the rows; null of CSV, TSV and JSON Lines, which do not hold it).

    Example:
      splinelens status features.parquet
    """
    from splinelens.report.status import run_status

    record = run_status(output)
    if as_json:
        print(json.dumps(asdict(record), ensure_ascii=False, default=lambda moment: moment.isoformat()))
        return
    of_texts = "" if record.texts is None else f" of {record.texts:,} texts"
    state = "finished" if record.finished else "unfinished"
    print(f"{record.output}: {state}, {record.rows:,} rows{of_texts}")
    print(f"failed: {record.failed:,}")
    for reason, count in (record.reasons or {}).items():
        print(f"  {count:,}  {reason}")
    print(f"last write: {record.last_write.astimezone():%Y-%m-%d %H:%M:%S}")
    for name, value in (record.settings or {}).items():
        print(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")
