"""Parts of a long run on disk, so that a killed run goes on where it stopped.

Beside the output a folder ``NAME.parts`` holds ``run.json`` (what was asked: spec, model, data) and
one Parquet file for each finished stretch of texts. Stretches are the same whether or not a run was
interrupted, so the joined table is the same too.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from splinelens.errors import CannotResume, CannotWrite
from splinelens.features.table import FeatureTable


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the system's refusal to write into our error.

    Args:
        path: What is being written; named in the message.

    Raises:
        CannotWrite: The disk is full, the folder is missing or may not be written.
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

    def __init__(self, output: Path, request: dict[str, Any]):
        """Open or start the folder beside ``output``.

        Args:
            output: The file that the run will write.
            request: What decides the numbers: provenance of the run, plain JSON values.

        Raises:
            CannotResume: The folder holds parts of another request.
            CannotWrite: The folder cannot be made.
        """
        self.folder = output.with_name(output.name + ".parts")
        place = self.folder / "run.json"
        if place.exists():
            try:
                before = json.loads(place.read_text("utf-8"))
            except ValueError:
                before = {}
            differs = sorted(key for key in {*before, *request} if before.get(key) != request.get(key))
            if differs:
                raise CannotResume(
                    f"{self.folder} holds parts of a run with another {' and '.join(differs)}; "
                    f"delete it to start anew, or repeat the earlier command to finish it"
                )
            return
        with writing(place):
            self.folder.mkdir(parents=True, exist_ok=True)
            part = place.with_suffix(".tmp")
            part.write_text(json.dumps(request, sort_keys=True), "utf-8")
            part.replace(place)

    def part(self, index: int, make: Callable[[], FeatureTable]) -> FeatureTable:
        """The table of one stretch of texts: read if it is there, else made and kept.

        Args:
            index: Number of the stretch, from 0.
            make: Makes the table.

        Returns:
            The stretch's table.
        """
        path = self.folder / f"{index:06d}.parquet"
        if path.exists():
            return FeatureTable.read(path)
        table = make()
        with writing(path):
            table.write(path)
        return table

    def discard(self) -> None:
        """Delete the parts, once the output is written."""
        shutil.rmtree(self.folder, ignore_errors=True)
