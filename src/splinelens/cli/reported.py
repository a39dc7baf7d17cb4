"""The options of a report, what it reads beside the texts, and its three files."""

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splinelens.texts import Texts

if TYPE_CHECKING:
    from splinelens.report.evaluation import EvaluationReport

Report = Annotated[
    Path | None,
    typer.Option(
        "--report",
        help="Write a page, readable offline, and the same record as .json and .md beside it.",
        metavar="HTML|DIR",
    ),
]
HateCheck = Annotated[
    str | None,
    typer.Option(
        "--hatecheck",
        help="HateCheck's cases: functionality, test_case, label_gold, target_ident.",
        metavar="FILE",
    ),
]
XSTest = Annotated[
    str | None, typer.Option("--xstest", help="XSTest's prompts: prompt, type, label.", metavar="FILE")
]
Subgroup = Annotated[
    list[str] | None,
    typer.Option(
        "--subgroup",
        help="Column that says which group a row concerns: 0/1, a share, or a name. May be repeated.",
        metavar="COLUMN",
    ),
]
Terms = Annotated[
    Path | None,
    typer.Option(
        "--terms",
        help="Groups by their terms, name<TAB>term on each line. Default: some English ones.",
        metavar="FILE",
    ),
]
Evasion = Annotated[
    bool, typer.Option("--evasion/--no-evasion", help="Also score disguised texts; part of a report.")
]
Explain = Annotated[
    bool, typer.Option("--explain", help="Say what each word of the worst errors adds; part of a report.")
]

Prevalence = Annotated[
    float | None,
    typer.Option(
        "--prevalence",
        help="Share of positive texts where the detector will work, for the report's thresholds. "
        "Default: 0.05.",
        metavar="SHARE",
    ),
]
ReportLabel = Annotated[
    str | None,
    typer.Option(
        "--report-label", help="The label that a report draws, of a detector of several.", metavar="NAME"
    ),
]

_PAGE = "evaluation.html"


def report_path(report: Path | None, *parts: object) -> Path | None:
    """The page that is to be written, refused before any work if it could not be.

    Args:
        report: As typed: a file ending in .html, or a folder.
        parts: The options that only a report has.

    Returns:
        The page; None without a report.

    Raises:
        typer.BadParameter: Another ending, or options of a report without one.
        CannotWrite: There is no such folder, or plotly is not installed.

    Example:
        >>> report_path(None) is None
        True
    """
    from splinelens.errors import CannotWrite
    from splinelens.report.page import require_plotly

    if report is None:
        if any(parts):
            raise typer.BadParameter(
                "--hatecheck, --xstest, --subgroup, --terms, --prevalence, --report-label and --explain "
                "belong to a report; name its page",
                param_hint="--report",
            )
        return None
    page = report / _PAGE if report.is_dir() else report
    if page.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"{page} is no folder and does not end in .html", param_hint="--report")
    if not page.parent.is_dir():
        raise CannotWrite(f"cannot write {page}: there is no folder {page.parent}; make it first")
    require_plotly(str(page))
    return page


def read_probes(
    texts: Texts,
    hatecheck: str | None,
    xstest: str | None,
    columns: list[str],
    terms: Path | None,
    evasion: bool,
    prevalence: float | None,
) -> dict[str, Any]:  # Any: arguments of different types
    """What ``evaluation_report`` takes beside the texts, read before a model is loaded.

    Args:
        texts: The texts, with the columns of groups.
        hatecheck: HateCheck's file.
        xstest: XSTest's file.
        columns: Columns of groups.
        terms: File of groups' terms; the default ones are used where neither is given.
        evasion: Whether texts are also scored in disguise.
        prevalence: Share of positive texts that thresholds are told for; None takes 0.05.

    Returns:
        The arguments by name.

    Raises:
        typer.BadParameter: A prevalence that is no share.
        BadTexts: A file cannot be read or lacks a column.
    """
    from splinelens.apps.evaluation import read_hatecheck, read_xstest
    from splinelens.texts.groups import GROUPS, column_groups, mentions, read_terms
    from splinelens.texts.normalize import DISGUISES

    share = 0.05 if prevalence is None else prevalence
    if not 0 < share < 1:
        raise typer.BadParameter(f"{prevalence:g} is no share between 0 and 1", param_hint="--prevalence")
    groups: dict[str, Any] = {}  # Any: booleans of NumPy, which is not imported here
    sources: list[str] = []
    for column in columns:
        groups |= column_groups(column, texts.columns[column])
        sources.append(f"column {column}")
    if terms or not columns:
        groups |= mentions(texts.texts, read_terms(terms) if terms else GROUPS)
        sources.append(
            f"texts that hold a term of {terms}" if terms else "texts that name a group in English"
        )
    return {
        "hatecheck": None if hatecheck is None else read_hatecheck(hatecheck),
        "xstest": None if xstest is None else read_xstest(xstest),
        "groups": groups,
        "bias_source": ", ".join(sources),
        "disguises": DISGUISES if evasion else None,
        "prevalence": share,
    }


def write_report(report: "EvaluationReport", page: Path) -> str:
    """Write the page, and the record as JSON and Markdown beside it; a reader sees whole files only.

    Args:
        report: The record.
        page: Where the page goes; the others have its name with another ending.

    Returns:
        What was written, in words.

    Raises:
        CannotWrite: The disk is full or a file may not be written.
    """
    from splinelens.errors import CannotWrite
    from splinelens.report.evaluation_page import page as shown

    contents = {
        page: shown(report),
        page.with_suffix(".json"): report.to_json(),
        page.with_suffix(".md"): report.to_markdown(),
    }
    try:
        with tempfile.TemporaryDirectory(dir=page.parent, prefix=".splinelens-") as own:
            parts = {path: Path(own) / path.name for path in contents}
            for path, text in contents.items():
                parts[path].write_text(text, "utf-8", errors="backslashreplace")
            for path, part in parts.items():
                part.replace(path)
    except OSError as error:
        raise CannotWrite(f"cannot write {page}: {error.strerror or error}; free space") from error
    return ", ".join(map(str, contents))
