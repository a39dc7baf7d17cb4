"""Parts of a long run on disk, so that a killed run goes on where it stopped.

Beside the output a folder ``NAME.parts`` holds ``run.json`` (what was asked: spec, model, data) and
one Parquet file for each finished stretch of texts. Stretches are the same whether or not a run was
interrupted, so the joined table is the same too. A part that a crash left broken is made again.
"""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from splinelens.errors import BadFeatures, CannotResume, CannotWrite
from splinelens.features.table import FeatureTable


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into our error.

    Args:
        path: What is being written; named in the message.

    Raises:
        CannotWrite: The disk is full, the folder is missing or may not be written.

    Example:
        >>> with writing(Path("table.parquet")):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
        ...
        splinelens.errors.CannotWrite: cannot write table.parquet: No space left on device. ...
    """
    try:
        yield
    except OSError as error:
        why = error.strerror or str(error)
        raise CannotWrite(
            f"cannot write {path}: {why}. What was finished is kept; free space or choose another "
            "place, and run the same command again"
        ) from error


class Parts:
    """The folder of finished parts of one run."""

    def __init__(self, output: Path, request: dict[str, Any]):  # Any: plain JSON values
        """Open or start the folder beside ``output``.

        Args:
            output: The file that the run will write.
            request: What decides the numbers: provenance of the run, plain JSON values.

        Raises:
            CannotResume: The folder holds parts of another request.
            CannotWrite: The folder cannot be made.
        """
        self.folder = output.with_name(output.name + ".parts")
        self.request: dict[str, Any] = json.loads(json.dumps(request))  # Any: as above
        place = self.folder / "run.json"
        before = _read(place)
        found = differences(before, self.request) if before is not None else []
        if found:
            raise CannotResume(
                f"{self.folder} holds parts of another run: {'; '.join(found)}. "
                "Delete it to start anew, or repeat the earlier command to finish it"
            )
        if before is None:
            with writing(place):
                self.folder.mkdir(parents=True, exist_ok=True)
                part = place.with_suffix(".tmp")
                part.write_text(json.dumps(request, sort_keys=True), "utf-8")
                part.replace(place)

    def finished(self, index: int, length: int) -> FeatureTable | None:
        """The table of a stretch that an earlier run finished.

        Args:
            index: Number of the stretch, from 0.
            length: Texts in the stretch.

        Returns:
            The table, or None if there is none, or a broken one, or one of another run.
        """
        try:
            table = FeatureTable.read(self._path(index))
        except BadFeatures:
            return None
        return table if table.provenance == self.request and table.texts == length else None

    def keep(self, index: int, table: FeatureTable) -> None:
        """Write the table of a finished stretch.

        Args:
            index: Number of the stretch, from 0.
            table: Its table.

        Raises:
            CannotWrite: The disk is full or the folder may not be written.
        """
        with writing(self._path(index)):
            table.write(self._path(index))

    def discard(self) -> None:
        """Delete the parts, once the output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _path(self, index: int) -> Path:
        return self.folder / f"{index:06d}.parquet"


def _read(place: Path) -> dict[str, Any] | None:  # Any: plain JSON values
    """What an earlier run asked for; None if there was none, or a crash broke the record."""
    try:
        record = json.loads(place.read_text("utf-8"))
    except (OSError, ValueError):  # what cannot be read cannot be written either, and that is told
        return None
    return record if isinstance(record, dict) else None


def differences(before: dict[str, Any], now: dict[str, Any], place: str = "") -> list[str]:  # Any: as above
    """Say in what two records of plain values differ.

    Args:
        before: What was asked earlier.
        now: What is asked.
        place: What stands before each key in the message.

    Returns:
        One phrase a difference, sorted by key.

    Example:
        >>> differences({"spec": {"prompt": "a"}}, {"spec": {"prompt": "b"}})
        ["spec.prompt was 'a' and is 'b'"]
    """
    found = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            found += differences(old, new, f"{place}{key}.")
        elif old != new:
            found.append(f"{place}{key} was {old!r} and is {new!r}")
    return found
