"""``splinelens code``: does code use what does not exist?"""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import OURS, require_stdout


def check(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE|-", help="Python files; - is a diff or code on stdin."),
    ],
    context: Annotated[
        Path | None,
        typer.Option(
            "--context",
            metavar="FILE",
            help="The file that the code is for: it replaces the line <PLACEHOLDER>, or the function of "
            "the same name, or is added at the end.",
        ),
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(
            "--project",
            metavar="DIR",
            help="Folder of the project: where imports are looked up, and names that may be meant. "
            "Of a diff, default: the current folder.",
        ),
    ] = None,
    wrong: Annotated[
        bool,
        typer.Option("--likely-wrong", help="Also say how likely each function of the files is wrong."),
    ] = False,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            metavar="SHARE",
            help="With --likely-wrong: the share of your functions that are wrong. "
            "Default: that of the functions it was fitted on, four in five.",
        ),
    ] = None,
    sarif: Annotated[bool, typer.Option("--sarif", help="Print one SARIF 2.1.0 log.")] = False,
    as_json: options.AsJson = False,
) -> None:
    """Find names, imports, attributes and arguments that do not exist.

    The code is never run or imported. A finding has a line, a column and a category: knowledge (it does not
    parse, or something does not exist), context (the project has it elsewhere) or requirement (an unused
    parameter, a promise of the docstring that is not kept). Findings of the category requirement are doubts,
    and do not fail. What cannot be resolved, such as a module that is not installed, is undetermined and no
    finding.

    Exit code 1: a finding of the categories knowledge or context, or a file that cannot be read. With --json
    a line for each file: "path", "verdict" (pass, fail, undetermined), "findings", "undetermined", "unread",
    and with --likely-wrong "functions".

    Examples:
      splinelens code check answer.py
      splinelens code check answer.py --context module.py --project .
      splinelens code check answer.py --likely-wrong --prevalence 0.3
      git diff | splinelens code check - --sarif
    """
    if sarif and as_json:
        raise typer.BadParameter("give --sarif or --json", param_hint="--sarif")
    if "-" in files and len(files) > 1:
        raise typer.BadParameter("- stands alone", param_hint="FILE")
    if wrong and (sarif or files == ["-"]):
        raise typer.BadParameter("it needs files, and no SARIF", param_hint="--likely-wrong")
    require_stdout("")

    from splinelens.apps.code import added_lines, check_diff, check_files, check_source, likely_wrong
    from splinelens.report.code import file_lines, file_record, function_line
    from splinelens.report.code import sarif as sarif_log
    from splinelens.texts.code import decode_source

    if files == ["-"]:
        source = decode_source(sys.stdin.buffer.read(), "standard input")
        if added_lines(source):
            if context is not None:
                raise typer.BadParameter("a diff names its files; leave it out", param_hint="--context")
            reports = list(check_diff(source, project or "."))
        else:
            reports = [check_source(source, context, project)]
    else:
        reports = list(check_files(files, context, project))
    scores = list(likely_wrong(files, context, project, prevalence)) if wrong else []
    for file in [] if sarif else reports:
        of_file = [score for score in scores if score.path == file.path]
        if as_json:
            functions = {"functions": [asdict(score) for score in of_file]} if wrong else {}
            lines = [json.dumps(file_record(file) | functions, ensure_ascii=False)]
        else:
            lines = [*file_lines(file), *map(function_line, of_file)]
        print("\n".join(lines), end="\n" if lines else "")
    if sarif:
        print(json.dumps(sarif_log(reports), ensure_ascii=False, indent=2))
    if not (sarif or as_json):
        verdicts = [file.report.verdict for file in reports]
        counts = ", ".join(f"{name} {verdicts.count(name)}" for name in ("pass", "fail", "undetermined"))
        typer.echo(counts, err=True)
    if any(file.unread or file.report.verdict == "fail" for file in reports):
        raise typer.Exit(OURS)
