"""``splinelens evaluate``: how well a detector separates labeled texts."""

import json
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import progress_bar
from splinelens.files import check_output

if TYPE_CHECKING:
    from splinelens.detect.artifact import Artifact
    from splinelens.report.evaluation import Share

_PAGE = "evaluation.html"


def evaluate(
    detector: Annotated[str, typer.Argument(metavar="DETECTOR", help=options.DETECTOR_HELP)],
    file: options.LabeledFile,
    label: options.DetectorsLabels = None,
    column: options.Column = None,
    positive: options.Positive = None,
    split: options.Split = None,
    group: options.Group = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report",
            help="Write a page, readable offline, and the same record as .json and .md beside it.",
            metavar="HTML|DIR",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    hatecheck: Annotated[
        str | None,
        typer.Option(
            "--hatecheck",
            help="HateCheck's cases: functionality, test_case, label_gold, target_ident.",
            metavar="FILE",
        ),
    ] = None,
    xstest: Annotated[
        str | None, typer.Option("--xstest", help="XSTest's prompts: prompt, type, label.", metavar="FILE")
    ] = None,
    subgroup: Annotated[
        list[str] | None,
        typer.Option(
            "--subgroup",
            help="Column that says which group a row concerns: 0/1, a share, or a name. May be repeated.",
            metavar="COLUMN",
        ),
    ] = None,
    terms: Annotated[
        Path | None,
        typer.Option(
            "--terms",
            help="Groups by their terms, name<TAB>term on each line. Default: some English ones.",
            metavar="FILE",
        ),
    ] = None,
    evasion: Annotated[
        bool,
        typer.Option(
            "--evasion/--no-evasion", help="Also score disguised texts, five passes; part of a report."
        ),
    ] = True,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what each word of the worst errors adds; part of a report.")
    ] = False,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            help="Share of positive texts that you expect where it will work: scores, thresholds, Brier "
            "score and calibration error are those for it, and the precision in a report. Default: scores "
            "as they are, and 0.05 for the precision.",
            metavar="SHARE",
            parser=options.share,
        ),
    ] = None,
    report_label: Annotated[
        str | None,
        typer.Option(
            "--report-label", help="The label that a report shows, of a detector of several.", metavar="NAME"
        ),
    ] = None,
    suspects: Annotated[
        Path | None,
        typer.Option(
            "--suspects",
            help="Write the rows whose label looks wrong, with their texts.",
            metavar="CSV",
        ),
    ] = None,
    spans: Annotated[
        str | None,
        typer.Option(
            "--spans",
            help="Measure explanations instead: column of the characters that people marked, such as "
            "[4, 5, 6].",
            metavar="COLUMN",
        ),
    ] = None,
    model: options.DetectorsModel = None,
    device: options.Device = None,
    max_tokens: options.DetectorsMaxTokens = None,
    long: options.Long = options.LongTexts.windows,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    allow_training_rows: Annotated[
        bool,
        typer.Option("--allow-training-rows", help="Go on although the file holds texts it was fitted on."),
    ] = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a detector on labeled texts, length alone beside it.

    AUC is the share of pairs of a positive and a negative text that have the higher score on the positive
    one: 0.5 is chance. A file with rows that the detector was fitted on is refused.

    With --report one page with curves, a threshold slider, layers, a map of the texts, groups, evasion and
    the worst errors, readable offline; beside it the same record as JSON and as Markdown. The texts of the
    errors are in the page and the JSON, not in the Markdown; their rows are those of the file, from 0, as
    score counts them. Of a detector of several labels the page shows one, --report-label, against the rest.

    With --json one object: "n", "positives", "undetermined", "cut", "auc", "auc_interval",
    "average_precision", "average_precision_interval", "recall_at_fpr", "recall_intervals", "brier",
    "brier_interval", "calibration_error", "calibration_interval", "length_auc", "length_auc_interval",
    "at_threshold", "within_groups" ({"groups", "mixed", "pairs", "auc", "auc_interval"}; null without
    --group); of several labels "n", "undetermined", "cut", "mean_auc", "mean_auc_interval", "labels"
    (those metrics of each), and of classes "accuracy", "accuracy_interval", "macro_f1", "macro_f1_interval",
    "confusion"; then "detector", "source", "rows", "training_rows", "seconds", "device", "provenance". With
    --hatecheck also "flagged", harmless identity mentions among it, and "hatecheck", its functionalities.
    With --prevalence Brier score and calibration error count the rows as if that share were positive.
    Intervals are 95 % bootstrap intervals, of shares Clopper-Pearson ones. There are none of fewer than 50
    rows. With --group whole groups are resampled, at least 10, and there is the AUC within groups: the share
    of pairs of one group in the right order.

    With --suspects a CSV of rows that the scores contradict, the most suspect first ("kind" suspect), then of
    equal texts with different labels (contradiction): "row", "kind", "label" (the one in question; class
    where a text has one of several classes), "given" and "suggested" (its value in the file and by the
    scores, in the detector's words), "score" (the detector's score of that label; of classes that of the
    suggested class), "text".

    With --spans no label is read. A word of the explanation is marked if it adds at least the detector's
    limit to the logit (words marked from, in its card; else 0.25), and so is what lies between two marked
    neighbors. With --json "n", "undetermined", "limit", "character_f1", "character_f1_interval" (mean over
    texts of the F1 of characters), "word_auc", "word_auc_interval", "word_auc_texts" (mean over texts with
    words of both kinds), "without_gold", "without_mark", and the run as above.

    Examples:
      splinelens evaluate toxicity comments.csv --label toxic --split split=test
      splinelens evaluate toxicity comments.csv --label toxic --report page.html
      splinelens evaluate toxicity a.csv --label toxic --suspects suspects.csv
      splinelens evaluate toxicity marked.csv --spans spans
    """
    groups, print_line = subgroup or [], options.stderr_printer(quiet)
    needs_report = (hatecheck, xstest, groups, terms, explain, report_label)
    alone = (label, positive, group, report, suspects, prevalence, *needs_report[:-1])
    if spans is not None and any(alone):
        raise typer.BadParameter(
            "explanations are measured by themselves; leave out labels, groups and the report",
            param_hint="--spans",
        )
    sources = (file, hatecheck, xstest, terms)
    html = _report_path(report, any(needs_report) and spans is None, overwrite, sources)
    if suspects is not None:
        check_output(suspects, overwrite=overwrite, source=file)
    require_stdout("")

    from splinelens.detect.shipped import find_artifact
    from splinelens.texts.labeled import read_labeled, read_marked
    from splinelens.texts.normalize import DISGUISES

    artifact = find_artifact(detector)
    rows = options.column_and_value(split, "test")
    reading: dict[str, Any] = {  # Any: arguments of different types
        "encoding": encoding,
        "format": format,
        "delimiter": delimiter,
        "header": not no_header,
        "split": rows,
    }
    shown = _report_label(artifact, report_label) if html or spans is not None else None
    if prevalence is not None:
        _require_one_share(artifact, shown).at_prevalence(prevalence)
    if spans is not None:
        artifact.single_label(shown or "").require_explainable(True)
        texts, gold = read_marked(file, column, spans, **reading)
    else:
        columns = _columns(artifact, label or [], positive)
        texts, labels = read_labeled(
            file,
            column,
            columns,
            positive=positive,
            expected=artifact.labels if artifact.task != "binary" else None,
            verdicts=(artifact.labels[0], artifact.negative) if artifact.task == "binary" else None,
            keep=[*groups, *([group] if group else [])],
            report=print_line,
            **reading,
        )

    from splinelens.apps import evaluation
    from splinelens.apps.detector import Detector
    from splinelens.detect.seen_texts import count_seen
    from splinelens.texts.row_groups import row_groups

    if spans is None:
        artifact.require_task(labels, columns[0])
    members = None if group is None else row_groups(group, texts)
    probes: dict[str, Any] = {}  # Any: arguments of different types
    if html:
        masks, source = evaluation.read_groups(texts, groups, terms)
        probes = {
            "hatecheck": None if hatecheck is None else evaluation.read_hatecheck(hatecheck),
            "xstest": None if xstest is None else evaluation.read_xstest(xstest),
            "groups": masks,
            "bias_source": source,
            "disguises": DISGUISES if evasion else None,
            "prevalence": prevalence,
        }
    refusal = None if allow_training_rows else evaluation.TOO_GOOD
    training_rows = count_seen(artifact, texts, refusal=refusal)
    loaded = Detector.load(detector, model=model, device=device, max_tokens=max_tokens, long=long.value)
    suspicion: dict[str, Any] = {"suspects": suspects, "overwrite": overwrite}  # Any: likewise
    functions: tuple[Share, ...] = ()
    started = perf_counter()
    with progress_bar(texts, shown=not quiet) as progress:
        if spans is not None:
            explained = loaded.single_label(shown or "")
            metrics = evaluation.evaluate_spans(explained, texts, gold, progress=progress).to_dict()
        elif html:
            known = labels.values[:, 0] if artifact.task == "binary" else labels.values
            record = evaluation.evaluation_report(
                loaded,
                texts,
                known,
                label=shown,
                row_groups=members,
                explain=explain,
                progress=progress,
                **suspicion,
                **probes,
            )
            metrics, functions = record.all_labels or record.metrics, record.hatecheck or ()
        else:
            suspicion |= {"prevalence": prevalence, "groups": members}
            metrics = evaluation.evaluate(
                loaded, texts, labels, allow_training_rows=True, progress=progress, **suspicion
            ).to_dict()
    run = evaluation.run_record(
        loaded,
        texts,
        training_rows=training_rows,
        seconds=round(perf_counter() - started, 3),
        prevalence=prevalence,
        groups=members,
    )
    if html:
        print_line(f"wrote {', '.join(map(str, evaluation.write_report(record, html, overwrite=overwrite)))}")
    if suspects is not None:
        print_line(f"wrote {suspects}, with texts")
    if as_json:
        by_function = {"hatecheck": [asdict(share) for share in functions]} if functions else {}
        print(json.dumps(metrics | by_function | run, ensure_ascii=False))
    else:
        _print(metrics, run, functions, artifact.labels[0])


def _print(
    metrics: dict[str, Any], run: dict[str, Any], functions: tuple["Share", ...], label: str
) -> None:  # Any: JSON values
    from splinelens.report.evaluation import share_table
    from splinelens.report.terminal import evaluation_lines, span_lines, table_lines
    from splinelens.texts.plain_text import harmless

    seconds = f"{run['seconds']:.1f} s on {run['device']}"
    print(f"{harmless(run['detector'])} on {harmless(run['source'])}, {seconds}")
    print("\n".join(span_lines(metrics) if "character_f1" in metrics else evaluation_lines(metrics, label)))
    if functions:
        print("\nHateCheck, at the stored 5 % threshold:")
        print("\n".join(table_lines(share_table(functions, "right"))))


def _report_path(
    report: Path | None, needs_report: bool, overwrite: bool, sources: tuple[str | Path | None, ...]
) -> Path | None:
    """The page to write, refused before any work if it cannot be written; None without a report."""
    if report is None and needs_report:
        raise typer.BadParameter(
            "--hatecheck, --xstest, --subgroup, --terms, --report-label and --explain "
            "belong to a report; name its page",
            param_hint="--report",
        )
    if report is None:
        return None
    if not report.suffix and not report.exists():
        raise typer.BadParameter(
            f"there is no folder {report}; make it first, or name a page, such as {report}.html",
            param_hint="--report",
        )

    from splinelens.apps.evaluation import report_files

    page = report / _PAGE if report.is_dir() else report
    for source in filter(None, sources):
        for path in report_files(page):
            check_output(path, overwrite=overwrite, source=str(source))
    return options.page_path(page, "--report", overwrite=overwrite)


def _report_label(artifact: "Artifact", label: str | None) -> str:
    """The label that the report shows."""
    if label is None and artifact.task == "binary":
        return artifact.labels[0]
    if label not in artifact.labels:
        problem = f"{label!r} is none of" if label else "a report shows one label; give one of"
        raise typer.BadParameter(f"{problem} {', '.join(artifact.labels)}", param_hint="--report-label")
    return label


def _require_one_share(artifact: "Artifact", label: str | None) -> "Artifact":
    """The detector of the label that has a prevalence."""
    if label is None and artifact.task != "binary":
        raise typer.BadParameter(
            f"detector {artifact.name} has several labels, each with a share of its own; name a --report "
            "and its --report-label",
            param_hint="--prevalence",
        )
    return artifact.single_label(label or artifact.labels[0])


def _columns(artifact: "Artifact", label: list[str], positive: str | None) -> list[str]:
    """The columns of the labels."""
    if positive and artifact.task != "binary":
        raise typer.BadParameter(f"detector {artifact.name} has several labels", param_hint="--positive")
    if artifact.task != "labels":
        if len(label) != 1:
            raise typer.BadParameter(
                f"detector {artifact.name} is measured on one column of labels; give its name",
                param_hint="--label",
            )
        return label
    if label and set(label) != set(artifact.labels):
        raise typer.BadParameter(
            f"detector {artifact.name} has the labels {', '.join(artifact.labels)}; give a column of each",
            param_hint="--label",
        )
    return list(artifact.labels)
