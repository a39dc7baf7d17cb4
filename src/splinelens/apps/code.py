"""Check source files, or what a diff changes in them, for what does not exist. Nothing is run or imported."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from pathlib import Path

from splinelens.errors import BadCode
from splinelens.generate.code_features import function_numbers
from splinelens.generate.code_head import CodeHead
from splinelens.report.code import FileReport, FunctionScore
from splinelens.texts.code import functions, read_source
from splinelens.texts.code_environment import Environment
from splinelens.texts.code_findings import CodeReport, check
from splinelens.texts.code_frame import PLACEHOLDER
from splinelens.texts.retrieval import CodeProject

_HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")


def check_files(
    paths: Iterable[str | Path], context: str | Path | None = None, project: str | Path | None = None
) -> Iterator[FileReport]:
    """Check Python files.

    Args:
        paths: The files. One that cannot be read is ``undetermined``, with the reason.
        context: The file that each of them is a part of, as in ``check``.
        project: The folder whose modules can be imported, and where a name may be defined elsewhere.

    Raises:
        BadCode: The context or the project cannot be read.
        MissingPackage: The extra ``code`` is not installed.
    """
    around, whole, environment = _surroundings(context, project)
    for path in paths:
        try:
            source = read_source(path)
        except BadCode as error:
            yield _unread(str(path), str(error))
            continue
        package = _package(Path(context or path), whole)
        yield FileReport(str(path), check(source, around, whole, environment, package))


def likely_wrong(
    paths: Iterable[str | Path],
    context: str | Path | None = None,
    project: str | Path | None = None,
    prevalence: float | None = None,
) -> Iterator[FunctionScore]:
    """How likely each function of Python files is wrong: calibrated on functions that language models wrote.

    It counts findings and the function's shape, and needs no model. What a model wrote for a short docstring
    is wrong more often than not, so the probabilities are high: give the share that is wrong among yours.

    Args:
        paths: The files. One that cannot be read or does not parse has no scores; ``check_files`` says why.
        context: The file that each of them is a part of, as in ``check``.
        project: As in ``check_files``.
        prevalence: The share of functions that are wrong; None takes that of the training rows.

    Raises:
        BadCode: The context or the project cannot be read.
        BadDetector: A prevalence that is no share.
        MissingPackage: The extra ``code`` is not installed.
    """
    head = CodeHead.load()
    around, whole, environment = _surroundings(context, project)
    for path in paths:
        try:
            source = read_source(path)
            found = functions(source)
        except BadCode:
            continue
        package = _package(Path(context or path), whole)
        for function in found:
            frame = around or source[: function.start] + PLACEHOLDER + source[function.end :]
            report = check(function.text, frame, whole, environment, package)
            lead = source[source.rfind("\n", 0, function.start) + 1 : function.start]
            code = textwrap.dedent(lead * lead.isspace() + function.text)
            values = function_numbers(code, function.name.rpartition(".")[2], frame, report)
            ((probability, low, high),) = head.likely_wrong(values[None], prevalence)
            scores = float(probability), float(low), float(high)
            yield FunctionScore(str(path), function.line, function.name, *scores)


def check_source(
    source: str, context: str | Path | None = None, project: str | Path | None = None
) -> FileReport:
    """Check a text as ``check_files`` checks a file."""
    around = None if context is None else read_source(context)
    whole = None if project is None else CodeProject.read(project)
    return FileReport("-", check(source, around, whole))


def check_diff(diff: str, project: str | Path = ".") -> Iterator[FileReport]:
    """Check the Python files that a unified diff changes, as they are on disk, and report its added lines.

    Args:
        diff: Of ``git diff`` or ``diff -u``; it must have been applied.
        project: The folder that its paths start from.

    Raises:
        BadCode: There is no such folder.
        MissingPackage: The extra ``code`` is not installed.
    """
    added = {path: lines for path, lines in added_lines(diff).items() if path.endswith(".py")}
    root = Path(project)
    for file in check_files([root / path for path in added], project=project) if added else ():
        path = Path(file.path).relative_to(root).as_posix()
        lines = added[path]
        if not file.unread and _differs(read_source(file.path), lines):
            yield _unread(path, f"{path} has other lines than the diff; apply the diff first")
            continue
        kept = tuple(
            finding
            for finding in file.report.findings
            if finding.line in lines or finding.rule == "does-not-parse"
        )
        yield FileReport(path, CodeReport.of(kept, file.report.undetermined), file.unread)


def added_lines(diff: str) -> dict[str, dict[int, str]]:
    """The added lines of a unified diff by their number in the new file, by path, without deleted files."""
    files: dict[str, dict[int, str]] = {}
    current: dict[int, str] = {}
    number, left = 0, 0
    for line in diff.splitlines():
        if left <= 0 and line.startswith("+++ "):
            path = line[4:].partition("\t")[0].strip().strip('"')
            path = path.removeprefix("b/")
            current = {} if path == "/dev/null" else files.setdefault(path, {})
        elif left <= 0 and (match := _HUNK.match(line)):
            number, left = int(match[1]), int(match[2] or 1)
        elif left > 0 and not line.startswith(("-", "\\")):
            if line.startswith("+"):
                current[number] = line[1:]
            number, left = number + 1, left - 1
    return files


def _differs(source: str, lines: dict[int, str]) -> bool:
    present = re.split(r"\r\n|\r|\n", source)
    return any(
        number > len(present) or present[number - 1] != text.rstrip("\r") for number, text in lines.items()
    )


def _unread(path: str, reason: str) -> FileReport:
    return FileReport(path, CodeReport.of((), [reason]), reason)


def _surroundings(
    context: str | Path | None, project: str | Path | None
) -> tuple[str | None, CodeProject | None, Environment]:
    """The source of the context, the project, and what modules hold there."""
    whole = None if project is None else CodeProject.read(project)
    around = None if context is None else read_source(context)
    return around, whole, Environment(whole.root if whole else None)


def _package(path: Path, project: CodeProject | None) -> str | None:
    """The package that a file of a project is in, for its relative imports; None for another file."""
    if project is None or project.root is None or not path.resolve().is_relative_to(project.root):
        return None
    parts = path.resolve().relative_to(project.root).parent.parts
    return ".".join(parts[1:] if parts[:1] == ("src",) else parts) or None
