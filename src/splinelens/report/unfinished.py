"""Scores of a long run kept on disk while it runs, so that a killed run goes on where it stopped.

Beside the output a file ``NAME.unfinished`` holds what was asked in its first line and then one record
a line. A run goes on behind the last whole stretch, so its batches, and with them its numbers, are
those of a run that was never interrupted.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any

from splinelens.errors import CannotResume, CannotWrite
from splinelens.report.scores import TextScore


class Unfinished:
    """The records of one run so far."""

    def __init__(self, output: Path, request: dict[str, Any], stretch: int):  # Any: plain JSON values
        """Open what an earlier run left, or start anew.

        Args:
            output: The file that the run will write.
            request: What decides the records, plain JSON values.
            stretch: Texts that are scored together.

        Raises:
            CannotResume: An earlier run with another request left records.
            CannotWrite: The file cannot be read or written.
        """
        self.path, self.request = output.with_name(output.name + ".unfinished"), request
        self.kept: list[TextScore] = []
        if not self.path.exists():
            return
        try:
            head, *lines = self.path.read_text(encoding="utf-8", errors="replace").split("\n")
        except (OSError, ValueError) as error:
            raise CannotWrite(f"{self.path} cannot be read; delete it to start anew: {error}") from error
        before = _whole(head)
        if not before:  # killed before its first line was written
            return
        differs = sorted(key for key in {*before, *request} if before.get(key) != request.get(key))
        if differs:
            raise CannotResume(
                f"{self.path} holds records of a run with another {' and '.join(differs)}; delete it to "
                "start anew, or repeat the earlier command to finish it"
            )
        records = [TextScore.from_dict(record) for record in takewhile(bool, map(_whole, lines))]
        self.kept = records[: len(records) // stretch * stretch]

    def over(self, score_from: Callable[[int], Iterable[TextScore]]) -> Iterator[TextScore]:
        """Records of the whole run: those kept, then new ones, each kept as it comes.

        Args:
            score_from: Scores the texts from a row on.

        Yields:
            One record a text, in order.

        Raises:
            CannotWrite: The disk is full; what was finished is kept.
        """
        try:
            part = self.path.with_name(self.path.name + ".tmp")
            lines = [json.dumps(self.request, sort_keys=True), *(score.to_json() for score in self.kept)]
            part.write_text("\n".join(lines) + "\n", encoding="utf-8")
            part.replace(self.path)
            yield from self.kept
            with self.path.open("a", encoding="utf-8") as file:
                for score in score_from(len(self.kept)):
                    file.write(score.to_json() + "\n")
                    file.flush()
                    yield score
        except OSError as error:
            raise CannotWrite(
                f"cannot write {self.path}: {error.strerror or error}. What was finished is kept; free space "
                "and run the same command again"
            ) from error

    def discard(self) -> None:
        """Delete the records, once the output is written."""
        self.path.unlink(missing_ok=True)


def _whole(line: str) -> dict[str, Any]:  # Any: plain JSON values
    """A line as a record; an empty one if it was cut short."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}
