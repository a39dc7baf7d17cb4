"""Findings in source files: the record, its lines for a terminal, and SARIF 2.1.0 for other tools."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from splinelens import __version__
from splinelens.texts.code_findings import RULES, CodeFinding, CodeReport
from splinelens.texts.plain_text import harmless

_SARIF = "https://json.schemastore.org/sarif-2.1.0.json"


@dataclass(frozen=True)
class FileReport:
    """A checked file.

    Attributes:
        path: As it was given.
        report: What is known of it.
        unread: Why the file was not read; its report is then ``undetermined``.
    """

    path: str
    report: CodeReport
    unread: str = ""


@dataclass(frozen=True)
class FunctionScore:
    """How likely a function is wrong.

    Attributes:
        path: The file.
        line: Its first line.
        name: With the classes around it.
        probability: That it is wrong.
        low: The lower end of the 95 % interval, over which tasks the head was fitted on.
        high: The upper end.
    """

    path: str
    line: int
    name: str
    probability: float
    low: float
    high: float


def function_line(score: FunctionScore) -> str:
    """The line of a score."""
    probability = f"{score.probability:.2f} ({score.low:.2f} to {score.high:.2f})"
    return harmless(f"{score.path}:{score.line}: {score.name} is wrong with probability {probability}")


def file_lines(file: FileReport) -> list[str]:
    """One line for each finding, and for what could not be resolved."""
    lines = [
        f"{file.path}:{each.line}:{each.column}: {each.category} {each.rule}: {_sentence(each)}"
        for each in file.report.findings
    ]
    lines += [f"{file.path}: undetermined: {reason}" for reason in file.report.undetermined]
    return [harmless(line) for line in lines]


def file_record(file: FileReport) -> dict[str, Any]:  # Any: JSON
    """The record of ``--json``."""
    return {"path": file.path, **asdict(file.report), "unread": file.unread}


def sarif(files: Iterable[FileReport]) -> dict[str, Any]:  # Any: JSON
    """A log with one run; what could not be read or resolved is a notification."""
    files = list(files)
    return {
        "$schema": _SARIF,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {"driver": _driver()},
                "columnKind": "unicodeCodePoints",
                "invocations": [
                    {
                        "executionSuccessful": not any(file.unread for file in files),
                        "toolExecutionNotifications": [
                            {
                                "level": "error" if file.unread else "note",
                                "message": {"text": reason},
                                "locations": [_location(file.path)],
                            }
                            for file in files
                            for reason in file.report.undetermined
                        ],
                    }
                ],
                "results": [
                    _result(file.path, finding) for file in files for finding in file.report.findings
                ],
            }
        ],
    }


def _driver() -> dict[str, Any]:  # Any: JSON
    return {
        "name": "splinelens",
        "version": __version__,
        "rules": [{"id": rule, "shortDescription": {"text": text}} for rule, text in RULES.items()],
    }


def _result(path: str, finding: CodeFinding) -> dict[str, Any]:  # Any: JSON
    related: Sequence[dict[str, Any]] = []  # Any: JSON
    if finding.place:
        place, _, line = finding.place.rpartition(":")
        related = [{**_location(place, int(line)), "message": {"text": finding.suggestion}}]
    return {
        "ruleId": finding.rule,
        "ruleIndex": list(RULES).index(finding.rule),
        "level": "note" if finding.category == "requirement" else "error",
        "message": {"text": _sentence(finding)},
        "locations": [_location(path, finding.line, finding.column)],
        "relatedLocations": related,
        "properties": {"category": finding.category},
    }


def _location(path: str, line: int | None = None, column: int | None = None) -> dict[str, Any]:  # Any: JSON
    region = {"startLine": line, "startColumn": column}
    known = {name: value for name, value in region.items() if value is not None}
    place: dict[str, Any] = {"artifactLocation": {"uri": path.replace("\\", "/")}}  # Any: JSON
    return {"physicalLocation": place | ({"region": known} if known else {})}


def _sentence(finding: CodeFinding) -> str:
    return f"{finding.message}; {finding.suggestion}" if finding.suggestion else finding.message
