"""Findings in source files: the record, its lines for a terminal, and SARIF 2.1.0 for other tools."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from splinelens import __version__
from splinelens.texts.code_findings import RULES, CodeFinding, CodeReport
from splinelens.texts.plain_text import harmless

_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True)
class FunctionScore:
    """How likely a function is wrong.

    Attributes:
        line: Its first line.
        name: With the classes around it.
        probability: That it is wrong.
        low: The lower end of the 95 % interval, over which tasks the head was fitted on.
        high: The upper end.
    """

    line: int
    name: str
    probability: float
    low: float
    high: float


@dataclass(frozen=True)
class FileReport:
    """A checked file.

    Attributes:
        path: As it was given.
        report: What is known of it; empty if it was not read.
        unread: Why the file was not read; empty if it was.
        functions: How likely each of its functions is wrong; None if that was not asked.
    """

    path: str
    report: CodeReport = field(default_factory=CodeReport)
    unread: str = ""
    functions: tuple[FunctionScore, ...] | None = None

    @property
    def undetermined(self) -> tuple[str, ...]:
        """What could not be read or resolved."""
        return (self.unread,) if self.unread else self.report.undetermined

    @property
    def verdict(self) -> Literal["pass", "fail", "undetermined"]:
        """That of the report; ``undetermined`` if the file was not read."""
        return "undetermined" if self.unread else self.report.verdict

    @property
    def fails(self) -> bool:
        """Whether it has a failure or was not read: the exit code is then 1."""
        return bool(self.unread) or self.verdict == "fail"


def file_lines(file: FileReport) -> list[str]:
    """One line for each finding, for what could not be resolved and for each function's score."""
    lines = [
        f"{file.path}:{each.line}:{each.column}: {each.category} {each.rule}: {each.sentence}"
        for each in file.report.findings
    ]
    lines += [
        f"{file.path}: {'not read' if file.unread else 'not judged'}: {reason}"
        for reason in file.undetermined
    ]
    lines += [
        f"{file.path}:{each.line}: {each.name}: likely wrong: "
        f"{each.probability:.2f} ({each.low:.2f} to {each.high:.2f})"
        for each in file.functions or ()
    ]
    return [harmless(line) for line in lines]


def file_record(file: FileReport) -> dict[str, Any]:  # Any: JSON
    """The record of ``--json``."""
    record = {
        "path": file.path,
        "verdict": file.verdict,
        "findings": [asdict(each) for each in file.report.findings],
        "undetermined": file.undetermined,
        "unread": file.unread,
    }
    return (
        record
        if file.functions is None
        else record | {"functions": [asdict(each) for each in file.functions]}
    )


def sarif(files: Iterable[FileReport], project: str | Path = "") -> dict[str, Any]:  # Any: JSON
    """A log with one run; what could not be read or resolved is a notification.

    Args:
        files: The reports.
        project: The folder that the paths of suggestions start from.
    """
    files = list(files)
    invocation = {
        "executionSuccessful": not any(file.unread for file in files),
        "toolExecutionNotifications": [each for file in files for each in _notifications(file)],
    }
    run = {
        "tool": {"driver": _driver()},
        "columnKind": "unicodeCodePoints",
        "invocations": [invocation],
        "results": [
            _result(file.path, each, Path(project)) for file in files for each in file.report.findings
        ],
    }
    return {"$schema": _SARIF, "version": "2.1.0", "runs": [run]}


def _notifications(file: FileReport) -> list[dict[str, Any]]:  # Any: JSON
    level = "error" if file.unread else "note"
    return [
        {"level": level, "message": {"text": reason}, "locations": [_location(file.path)]}
        for reason in file.undetermined
    ]


def _driver() -> dict[str, Any]:  # Any: JSON
    return {
        "name": "splinelens",
        "version": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in RULES.items()],
    }


def _result(path: str, finding: CodeFinding, project: Path) -> dict[str, Any]:  # Any: JSON
    related: Sequence[dict[str, Any]] = []  # Any: JSON
    if finding.related_path:
        location = _location((project / finding.related_path).as_posix(), finding.related_line)
        related = [{**location, "message": {"text": finding.suggestion}}]
    return {
        "ruleId": finding.rule,
        "ruleIndex": list(RULES).index(finding.rule),
        "level": "error" if finding.fails else "note",
        "message": {"text": finding.sentence},
        "locations": [_location(path, finding.line, finding.column)],
        "relatedLocations": related,
        "properties": {"category": finding.category},
    }


def _location(path: str, line: int | None = None, column: int | None = None) -> dict[str, Any]:  # Any: JSON
    region = {"startLine": line, "startColumn": column}
    known = {name: value for name, value in region.items() if value is not None}
    place: dict[str, Any] = {"artifactLocation": {"uri": _uri(path)}}  # Any: JSON
    return {"physicalLocation": place | ({"region": known} if known else {})}


def _uri(path: str) -> str:
    """A URI reference: ``quote`` escapes what a path may hold and a URI may not."""
    return quote(path.replace("\\", "/"), errors="surrogateescape")
