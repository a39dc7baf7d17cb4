"""Check source files, or what a diff changes in them, for what does not exist. Nothing is run or imported."""

import re
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

from splinelens.detect.code_head import CodeHead
from splinelens.errors import BadCode
from splinelens.features.code_numbers import function_numbers
from splinelens.report.code import FileReport, FunctionScore
from splinelens.texts.code import decode_source, functions, project_files, read_source
from splinelens.texts.code_findings import MISSING, STANDALONE, CodeReport, Surroundings, check_code
from splinelens.texts.code_frame import PLACEHOLDER
from splinelens.texts.python_syntax import parse_python
from splinelens.texts.retrieval import CodeProject

_HEADER = re.compile(r"(?m)^(diff --(git|cc|combined) |--- .*\r?\n\+\+\+ |Binary files .* differ)")
_HUNK = re.compile(r"(@@+) (?:-\d+(?:,\d+)? )+\+(\d+)(?:,(\d+))? \1")
_COLOR = re.compile(r"\x1b\[[\d;]*[mK]")
_PREFIX = re.compile(r"[abciow12]/")
_ESCAPES = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"a": b"\a", b"b": b"\b", b"f": b"\f", b"v": b"\v"}


def read_surroundings(context: str | Path | None = None, project: str | Path | None = None) -> Surroundings:
    """Read the file that code is for and the project that it belongs to.

    Raises:
        BadCode: One of them cannot be read.
    """
    around = Surroundings(project=None if project is None else CodeProject.read(project))
    if context is None:
        return around
    return replace(around.of_file(Path(context)), context=read_source(context))


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
        paths: The files; of a folder the Python files below it, but hidden ones and virtual environments. One
            that cannot be read is ``undetermined``, with the reason.
        around: What ``read_surroundings`` returned: the file that each of them is a part of, and the project
            whose modules can be imported and where a name may be defined elsewhere.
        head: ``CodeHead.load()``; None gives no scores.
        prevalence: The share of functions that are wrong; None takes that of the training rows.

    Raises:
        BadDetector: A prevalence that is no share.
        MissingPackage: The extra ``code`` is not installed.
    """
    for path in chain.from_iterable(map(_python_files, paths)):
        try:
            source = read_source(path)
        except BadCode as error:
            yield FileReport(str(path), unread=str(error))
            continue
        here = around if around.context is not None else around.of_file(Path(path))
        report = _with_unread(check_code(source, here), around.project)
        scores = None if head is None else tuple(_function_scores(source, here, head, prevalence))
        yield FileReport(str(path), report, functions=scores)


def _python_files(path: str | Path) -> list[str | Path]:
    """The path itself; of a folder with Python files those."""
    below = [Path(path, file.path) for file in project_files(path)] if Path(path).is_dir() else []
    return [*below] or [path]


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
        if file.unread:
            yield replace(file, path=path)
            continue
        source = read_source(root / path)
        if _differs(source, lines):
            yield FileReport(path, unread=f"{path} has other lines than the diff; apply the diff first")
            continue
        numbers = _git_lines(source)
        findings = tuple(
            finding
            for finding in file.report.findings
            if numbers[finding.line - 1] in lines or finding.rule == "does-not-parse"
        )
        yield replace(file, path=path, report=replace(file.report, findings=findings))


def is_diff(text: str) -> bool:
    r"""Whether a text is a diff and no code, also one that adds no line.

    Example:
        >>> is_diff("diff --git a/x.py b/x.py\nold mode 100644\nnew mode 100755\n"), is_diff("x = 1\n")
        (True, False)
    """
    if not _HEADER.search(_COLOR.sub("", text)):
        return False
    try:
        parse_python(text)  # code may hold a diff in a string
    except BadCode:
        return True
    return False


def added_lines(diff: str) -> dict[str, dict[int, str]]:
    r"""The added lines of a diff by their number in the new file, by path, without deleted files.

    Of a merge, ``diff --cc``, the lines are those that at least one parent does not have.

    Example:
        >>> added_lines("--- a/x.py\n+++ b/x.py\n@@ -1 +1,2 @@\n x = 1\n+y = 2\n")
        {'x.py': {2: 'y = 2'}}
    """
    files: dict[str, dict[int, str]] = {}
    current: dict[int, str] = {}
    before, number, left, parents = "", 0, 0, 1
    for line in _COLOR.sub("", diff).split("\n"):
        line = line.removesuffix("\r")
        if left <= 0 and line.startswith("--- "):
            before = _path(line)
        elif left <= 0 and line.startswith("+++ "):
            path = _path(line)
            current = {} if path == "/dev/null" else files.setdefault(_without_prefix(path, before), {})
        elif left <= 0 and (match := _HUNK.match(line)):
            number, left, parents = int(match[2]), int(match[3] or 1), len(match[1]) - 1
        elif left > 0 and not line.startswith("\\") and "-" not in line[:parents]:
            if "+" in line[:parents]:
                current[number] = line[parents:]
            number, left = number + 1, left - 1
    return files


def _path(line: str) -> str:
    """The path of a line such as ``+++ b/x.py``; git writes special characters as C does, in quotes."""
    path = line[4:].partition("\t")[0].strip()
    if len(path) < 2 or not path.startswith('"'):
        return path
    return re.sub(rb"\\([0-7]{3}|.)", _unescaped, path[1:-1].encode()).decode("utf-8", "replace")


def _unescaped(match: re.Match[bytes]) -> bytes:
    escape = match[1]
    return bytes([int(escape, 8) & 255]) if len(escape) == 3 else _ESCAPES.get(escape, escape)


def _without_prefix(path: str, before: str) -> str:
    """A path without the ``b/`` of git, or its letter for the work tree or the index."""
    return path[2:] if _PREFIX.match(path) and path != before else path


def _differs(source: str, lines: dict[int, str]) -> bool:
    present = source.split("\n")
    return any(
        number > len(present) or present[number - 1].removesuffix("\r") != text
        for number, text in lines.items()
    )


def _git_lines(source: str) -> list[int]:
    """The number that git gives each line of Python, which also ends one at a lone carriage return."""
    numbers = [1]
    for match in re.finditer(r"\r\n|\r|\n", source):
        numbers.append(numbers[-1] + match[0].endswith("\n"))
    return numbers


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
