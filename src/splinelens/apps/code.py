"""Check source files, or what a diff changes in them, for what does not exist. Nothing is run or imported."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from splinelens.detect.code_head import CodeHead
from splinelens.errors import BadCode
from splinelens.features.code_numbers import function_numbers
from splinelens.report.code import FileReport, FunctionScore
from splinelens.texts.code import decode_source, functions, read_source
from splinelens.texts.code_findings import MISSING, STANDALONE, CodeReport, Surroundings, check_code
from splinelens.texts.code_frame import PLACEHOLDER
from splinelens.texts.retrieval import CodeProject

_HUNK = re.compile(r"@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@")


def read_surroundings(context: str | Path | None = None, project: str | Path | None = None) -> Surroundings:
    """Read the file that code is for and the project that it belongs to.

    Raises:
        BadCode: One of them cannot be read.
    """
    whole = None if project is None else CodeProject.read(project)
    if context is None:
        return Surroundings(project=whole)
    return Surroundings(read_source(context), whole).of_file(Path(context))


def check_files(
    paths: Iterable[str | Path],
    around: Surroundings = STANDALONE,
    *,
    head: CodeHead | None = None,
    prevalence: float | None = None,
) -> Iterator[FileReport]:
    """Check Python files.

    With a head each report also says how likely each function is wrong, calibrated on functions that language
    models wrote. What a model wrote for a short docstring is wrong more often than not, so the probabilities
    are high: give the share that is wrong among yours. A file that does not parse has no scores.

    Args:
        paths: The files. One that cannot be read is ``undetermined``, with the reason.
        around: What ``read_surroundings`` returned: the file that each of them is a part of, and the project
            whose modules can be imported and where a name may be defined elsewhere.
        head: ``CodeHead.load()``; None gives no scores.
        prevalence: The share of functions that are wrong; None takes that of the training rows.

    Raises:
        BadDetector: A prevalence that is no share.
        MissingPackage: The extra ``code`` is not installed.
    """
    for path in paths:
        try:
            source = read_source(path)
        except BadCode as error:
            yield FileReport(str(path), unread=str(error))
            continue
        here = around if around.context is not None else around.of_file(Path(path))
        report = _with_unread(check_code(source, here), around.project)
        scores = None if head is None else tuple(_function_scores(source, here, head, prevalence))
        yield FileReport(str(path), report, functions=scores)


def check_stdin(
    data: bytes, around: Surroundings = STANDALONE, project: str | Path | None = None
) -> list[FileReport]:
    """Check what a diff adds, or else code as ``check_files`` checks a file; its path is ``-``.

    Args:
        data: A diff or code.
        around: Where code belongs; of a diff it is not used.
        project: The folder that the paths of a diff start from; None takes the current one.

    Raises:
        BadCode: Another encoding, a diff with a context, or no such folder.
        MissingPackage: The extra ``code`` is not installed.
    """
    text = decode_source(data, "standard input")
    if not is_diff(text):
        return [FileReport("-", _with_unread(check_code(text, around), around.project))]
    if around.context is not None:
        raise BadCode("a diff names its files; leave the context out")
    return list(check_diff(text, project or "."))


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
    around = read_surroundings(project=root) if added else STANDALONE
    for path, lines in added.items():
        (file,) = check_files([root / path], around)
        if not file.unread and _differs(read_source(root / path), lines):
            yield FileReport(path, unread=f"{path} has other lines than the diff; apply the diff first")
            continue
        findings = tuple(
            finding
            for finding in file.report.findings
            if finding.line in lines or finding.rule == "does-not-parse"
        )
        yield replace(file, path=path, report=replace(file.report, findings=findings))


def is_diff(text: str) -> bool:
    """Whether a text is a diff and no code."""
    return bool(added_lines(text))


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


def _with_unread(report: CodeReport, project: CodeProject | None) -> CodeReport:
    """Says of a report that misses a name which files of the project might have defined it."""
    if project is None or not project.unread or not MISSING & {each.rule for each in report.findings}:
        return report
    path, reason = next(iter(project.unread.items()))
    note = f"{len(project.unread)} files of the project were not read, such as {path}: {reason}"
    return replace(report, undetermined=(*report.undetermined, note))


def _function_scores(
    source: str, around: Surroundings, head: CodeHead, prevalence: float | None
) -> Iterator[FunctionScore]:
    """The score of each function in its file; none if that does not parse."""
    try:
        in_file = functions(source)
    except BadCode:
        return
    for function in in_file:
        context = around.context or source[: function.start] + PLACEHOLDER + source[function.end :]
        report = check_code(function.text, replace(around, context=context))
        indent = source[source.rfind("\n", 0, function.start) + 1 : function.start]
        code = textwrap.dedent(indent * indent.isspace() + function.text)
        values = function_numbers(code, function.name.rpartition(".")[2], context, report)
        ((probability, low, high),) = head.wrong_probability(values[None], prevalence).tolist()
        yield FunctionScore(function.line, function.name, probability, low, high)
