"""``splinelens evaluate``: a detector and labelled texts in, how well it separates them out."""

import json
from time import perf_counter
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.labelled import labelled_texts
from splinelens.cli.progress import progress_bar
from splinelens.cli.reported import (
    Evasion,
    Explain,
    HateCheck,
    Report,
    Subgroup,
    Terms,
    XSTest,
    read_probes,
    report_path,
    write_report,
)


def evaluate(
    detector: Annotated[
        str, typer.Argument(metavar="DETECTOR", help="A shipped detector, or a folder made by train.")
    ],
    file: options.LabelledFile,
    label: options.Label,
    column: options.Column = None,
    positive: options.Positive = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", help="Take only rows with this value, such as split=test.", metavar="COLUMN=VALUE"
        ),
    ] = None,
    report: Report = None,
    hatecheck: HateCheck = None,
    xstest: XSTest = None,
    subgroup: Subgroup = None,
    terms: Terms = None,
    evasion: Evasion = True,
    explain: Explain = False,
    model: options.DetectorsModel = None,
    device: options.Device = None,
    max_tokens: options.DetectorsMaxTokens = None,
    long: options.Long = options.LongTexts.windows,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a detector on labelled texts, length alone beside it.

    With --report one page with curves, a threshold slider, layers, a map of the texts, groups, evasion and
    the worst errors, readable offline; beside it the same record as JSON and as Markdown. The texts of the
    errors are in the page and the JSON, not in the Markdown.

    With --json one object: "n", "positives", "undetermined", "auc", "auc_interval", "recall_at_fpr", "brier",
    "calibration_error", "length_auc", "length_auc_interval", "at_threshold"; "detector", "source", "rows",
    "seconds", "device", "provenance". Intervals are 95 % bootstrap intervals.

    Example:
      splinelens evaluate toxicity comments.csv --column text --label toxic --split split=test
      splinelens evaluate toxicity comments.csv --label toxic --report toxicity.html --explain
    """
    page = report_path(report, hatecheck, xstest, subgroup, terms, explain)
    chosen, columns = options.column_and_value(split), subgroup or []
    texts, labels = labelled_texts(
        file, column, label, positive=positive, split=chosen, encoding=encoding, format=format, keep=columns
    )
    probes = None if page is None else read_probes(texts, hatecheck, xstest, columns, terms, evasion)

    from splinelens.apps.detector import Detector
    from splinelens.features.extract import provenance

    found = Detector.load(detector, model=model, device=device, max_tokens=max_tokens, long=long.value)
    begun = perf_counter()
    with progress_bar(texts, shown=not quiet) as progress:
        if probes is None:
            numbers = found.evaluate(texts, labels, progress=progress).to_dict()
        else:
            from splinelens.apps.evaluation import evaluation_report

            made = evaluation_report(found, texts, labels, explain=explain, progress=progress, **probes)
            numbers = made.to_dict()["numbers"]
    run = {
        "detector": found.artifact.name,
        "source": texts.source,
        "rows": len(texts),
        "seconds": round(perf_counter() - begun, 3),
        "device": str(found.reader.loaded.device),
        "provenance": {"detector": found.artifact.digest, **provenance(found.reader, texts)},
    }
    if page is not None:
        written = write_report(made, page)
        if not quiet:
            typer.echo(f"wrote {written}", err=True)
    if as_json:
        print(json.dumps(numbers | run, ensure_ascii=False))
        return

    from splinelens.report.terminal import evaluation_lines

    print(f"{run['detector']} on {run['source']}, {run['seconds']:.1f} s on {run['device']}")
    print("\n".join(evaluation_lines(numbers)))
