"""``splinelens evaluate``: a detector and labelled texts in, how well it separates them out."""

import json
from time import perf_counter
from typing import TYPE_CHECKING, Annotated

import typer

from splinelens.cli import options
from splinelens.cli.labelled import labelled_texts, missing_line
from splinelens.cli.progress import progress_bar
from splinelens.cli.reported import (
    Evasion,
    Explain,
    HateCheck,
    Prevalence,
    Report,
    ReportLabel,
    Subgroup,
    Terms,
    XSTest,
    read_probes,
    report_path,
    write_report,
)
from splinelens.errors import BadLabels, BadTexts
from splinelens.texts import Labels, Texts

if TYPE_CHECKING:
    from splinelens.detect.artifact import Artifact


def evaluate(
    detector: Annotated[
        str, typer.Argument(metavar="DETECTOR", help="A shipped detector, or a folder made by train.")
    ],
    file: options.LabelledFile,
    label: options.DetectorsLabels = None,
    column: options.Column = None,
    positive: options.Positive = None,
    split: options.TestSplit = None,
    report: Report = None,
    hatecheck: HateCheck = None,
    xstest: XSTest = None,
    subgroup: Subgroup = None,
    terms: Terms = None,
    evasion: Evasion = True,
    explain: Explain = False,
    prevalence: Prevalence = None,
    report_label: ReportLabel = None,
    model: options.DetectorsModel = None,
    device: options.Device = None,
    max_tokens: options.DetectorsMaxTokens = None,
    long: options.Long = options.LongTexts.windows,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    allow_training_rows: Annotated[
        bool,
        typer.Option("--allow-training-rows", help="Go on where the file holds texts it was fitted on."),
    ] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a detector on labelled texts, length alone beside it.

    With --report one page with curves, a threshold slider, layers, a map of the texts, groups, evasion and
    the worst errors, readable offline; beside it the same record as JSON and as Markdown. The texts of the
    errors are in the page and the JSON, not in the Markdown; their rows are those of the file, from 0, as
    score counts them. Of a detector of several labels the page shows one, --report-label, against the rest.

    With --json one object: "n", "positives", "undetermined", "auc", "auc_interval", "recall_at_fpr",
    "recall_intervals", "brier", "brier_interval", "calibration_error", "calibration_interval", "length_auc",
    "length_auc_interval", "at_threshold"; of several labels "n", "undetermined", "mean_auc",
    "mean_auc_interval", "labels" (those numbers of each), and of classes "accuracy", "accuracy_interval",
    "macro_f1", "macro_f1_interval", "confusion"; then "detector", "source", "rows", "training_rows",
    "seconds", "device", "provenance". Intervals are 95 % bootstrap intervals, of shares Clopper-Pearson
    ones. A file with rows that the detector was fitted on is refused.

    Example:
      splinelens evaluate toxicity comments.csv --column text --label toxic --split split=test
      splinelens evaluate toxicity comments.csv --label toxic --report toxicity.html --explain
    """
    page = report_path(report, hatecheck, xstest, subgroup, terms, explain, prevalence, report_label)
    chosen, groups = options.column_and_value(split, "test"), subgroup or []

    from splinelens.apps.detector import Detector, find_artifact
    from splinelens.features.extract import provenance

    artifact = find_artifact(detector)
    columns, expected = _columns(artifact, label or [])
    texts, labels = labelled_texts(
        file,
        column,
        columns,
        positive=positive,
        expected=expected,
        split=chosen,
        encoding=encoding,
        format=format,
        keep=groups,
        told=options.stderr_printer(quiet),
    )
    _require_task(artifact, labels, columns)
    drawn = None if page is None else _drawn(artifact, report_label)
    probes = read_probes(texts, hatecheck, xstest, groups, terms, evasion, prevalence) if page else {}
    lines = [missing_line(labels), _training_rows(artifact, texts, allow_training_rows)]
    typer.echo("".join(f"{line}\n" for line in lines if line and not quiet), err=True, nl=False)
    found = Detector.load(detector, model=model, device=device, max_tokens=max_tokens, long=long.value)
    begun = perf_counter()
    with progress_bar(texts, shown=not quiet) as progress:
        known = labels.values[:, 0] if artifact.task == "binary" else labels.values
        if page is None:
            numbers = found.evaluate(texts, known, progress=progress).to_dict()
        else:
            from splinelens.apps.evaluation import evaluation_report

            made = evaluation_report(
                found, texts, known, label=drawn, explain=explain, progress=progress, **probes
            )
            numbers = made.metrics if made.all_labels is None else made.all_labels
    run = {
        "detector": found.artifact.name,
        "source": texts.source,
        "rows": len(texts),
        "training_rows": int(artifact.seen_in(texts.texts).sum()) if len(artifact.seen) else None,
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

    from splinelens.report.terminal import evaluation_lines, label_lines

    print(f"{run['detector']} on {run['source']}, {run['seconds']:.1f} s on {run['device']}")
    print("\n".join((evaluation_lines if artifact.task == "binary" else label_lines)(numbers)))


def _drawn(artifact: "Artifact", label: str | None) -> str:
    """The label whose report is drawn."""
    if label is None and artifact.task == "binary":
        return artifact.labels[0]
    if label not in artifact.labels:
        told = f"{label!r} is none of" if label else "a report draws one label; give one of"
        raise typer.BadParameter(f"{told} {', '.join(artifact.labels)}", param_hint="--report-label")
    return label


def _columns(artifact: "Artifact", label: list[str]) -> tuple[list[str], tuple[str, ...] | None]:
    """The label columns to read, and the labels to expect of a detector of several."""
    if artifact.task != "labels":
        if len(label) != 1:
            raise typer.BadParameter(
                f"detector {artifact.name} is measured on one column of labels", param_hint="--label"
            )
        return label, artifact.labels if artifact.task == "classes" else None
    if label and set(label) != set(artifact.labels):
        raise typer.BadParameter(
            f"detector {artifact.name} has the labels {', '.join(artifact.labels)}; give a column of each",
            param_hint="--label",
        )
    return list(artifact.labels), artifact.labels


def _require_task(artifact: "Artifact", labels: Labels, columns: list[str]) -> None:
    if labels.task != artifact.task:
        held = ", ".join(map(repr, labels.names[:5]))
        raise BadLabels(
            f"detector {artifact.name} tells {artifact.labels[0]} from {artifact.negative}; label "
            f"{columns[0]!r} holds {held}; say which value counts as 1 with --positive VALUE"
        )


def _training_rows(artifact: "Artifact", texts: Texts, allowed: bool) -> str | None:
    """What to say of rows that the detector was fitted on; they are refused unless allowed."""
    if not len(artifact.seen):
        return f"detector {artifact.name} does not record its training texts; rows among them cannot be told"
    rows = int(artifact.seen_in(texts.texts).sum())
    if not rows:
        return None
    found = f"{rows:,} of {len(texts):,} rows were in the training data of detector {artifact.name}"
    if not allowed:
        raise BadTexts(
            f"{texts.source}: {found}, so its numbers would flatter it; leave them out, or give "
            "--allow-training-rows"
        )
    return found
