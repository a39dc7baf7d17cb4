"""The report of a training: whether more rows would help, and which labels are likely wrong.

Rows are named by number, so that the report can be shared; texts stand beside them only on request.
"""

import csv
import io
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from splinelens.detect.artifact import Artifact
from splinelens.detect.label_errors import Contradiction, Suspect
from splinelens.detect.learning_curve import LearningCurve
from splinelens.detect.solver import FOLDS
from splinelens.report.page import render_markdown
from splinelens.report.scores import safe_cell
from splinelens.report.tables import Table, count_of, group_summary, label_table, percent, threshold_table
from splinelens.texts.plain_text import harmless

SUSPECT_COLUMNS = ("row", "kind", "label", "given", "suggested", "score")
"""Columns of ``suspects.csv``; ``text`` follows on request."""

_SHOWN = 20  # suspects in the Markdown; the file has all


@dataclass(frozen=True, eq=False)
class TrainingReport:
    """Learning curve, suspected label errors and contradictions.

    Attributes:
        artifact: The detector, with its out-of-fold metrics and thresholds.
        suspects: Labels that are likely wrong, the most suspect first.
        contradictions: Rows of equal texts with different labels.
        curve: The learning curve; without points if there are too few rows.
    """

    artifact: Artifact
    suspects: tuple[Suspect, ...]
    contradictions: tuple[Contradiction, ...]
    curve: LearningCurve


def training_lines(report: TrainingReport) -> list[str]:
    """A few lines for the terminal: the learning curve, suspects, contradictions."""
    lines = list(
        filter(None, (*shared_thresholds(report.artifact), report.curve.sentence, curve_difference(report)))
    )
    if report.suspects:
        first = ", ".join(str(suspect.row) for suspect in report.suspects[:5])
        lines.append(f"{count_of(len(report.suspects), 'label')} may be wrong; look at rows {first} first")
    if report.contradictions:
        first = " and ".join(map(str, report.contradictions[0].rows[:2]))
        groups = count_of(len(report.contradictions), "text")
        lines.append(f"{groups} with contradicting labels, such as in rows {first}")
    if report.suspects or report.contradictions:
        lines.append("row 0 is the first after the line of names; all are in suspects.csv")
    return lines


def shared_thresholds(artifact: Artifact) -> list[str]:
    """One sentence for each label whose stored thresholds are the same for several targets."""
    metrics, lines = artifact.metrics["out_of_fold"], []
    for label, thresholds in zip(artifact.labels, artifact.thresholds, strict=True):
        measured = metrics.get("labels", {label: metrics})[label]
        for score in dict.fromkeys(stored.score for stored in thresholds):
            targets = [percent(stored.target) for stored in thresholds if stored.score == score]
            if len(targets) > 1 and measured and artifact.task != "classes":
                negative = measured["n"] - measured["positives"]
                lines.append(
                    f"{harmless(label)}: the thresholds for {', '.join(targets)} false positives are the "
                    f"same; the {negative:,} rows without the label cannot tell them apart."
                )
    return lines


def curve_difference(report: TrainingReport) -> str:
    """Why the last AUC of the learning curve is not the out-of-fold one; empty without a curve."""
    curve, metrics = report.curve, report.artifact.metrics["out_of_fold"]
    measured = metrics.get("auc", metrics.get("mean_auc"))
    if not curve.rows or measured is None or not math.isfinite(curve.auc[-1]):
        return ""
    folds = min(FOLDS, report.artifact.training.get("groups", {}).get("groups", FOLDS))
    fitted = report.artifact.training["rows"] - round(metrics["n"] / folds)
    return (
        f"The curve ends at AUC {curve.auc[-1]:.4f}, the out-of-fold AUC is {measured:.4f}: the curve's last "
        f"heads are fitted on {curve.rows[-1]:,} rows and evaluated on {curve.held_out_rows:,} others, those "
        f"out of fold are fitted on about {fitted:,} and together evaluated on {metrics['n']:,}. Quote the "
        "out-of-fold AUC; read the curve for how the AUC grows with rows."
    )


def training_markdown(report: TrainingReport) -> str:
    """The whole report as Markdown."""
    artifact = report.artifact
    metrics = artifact.metrics["out_of_fold"]
    return render_markdown(
        "training",
        report=report,
        rows=artifact.training["rows"],
        left_out=artifact.training["left_out"],
        groups=_groups(artifact),
        labels=label_table(metrics.get("labels", {artifact.labels[0]: metrics})),
        shared=shared_thresholds(artifact),
        thresholds=threshold_table(zip(artifact.labels, artifact.thresholds, strict=True)),
        curve_points=_curve_table(report.curve),
        difference=curve_difference(report),
        suspects=_suspect_table(report),
        shown=_SHOWN,
        count_of=count_of,
    )


def suspects_csv(
    artifact: Artifact,
    suspects: Iterable[Suspect],
    contradictions: Iterable[Contradiction],
    texts: Mapping[int, str | None] | None = None,
) -> str:
    """All suspects and contradictions as CSV; without ``texts`` not a word of any text.

    Args:
        artifact: The detector, for the names of labels.
        suspects: Labels that are likely wrong.
        contradictions: Rows of equal texts with different labels.
        texts: The text of each row, for a last column ``text``.

    Returns:
        A header, one line per suspect, the most suspect first, then one line per row of each contradiction,
        which has neither a given nor a suggested label nor a score; ``row`` counts from 0.
    """
    lines: list[tuple[str, ...]] = []
    for suspect in suspects:
        row, *cells = _cells(artifact, suspect)
        lines.append((row, "suspect", *cells))
    for group in contradictions:
        label = " ".join(artifact.labels[at] for at in group.labels)
        lines += [(str(row), "contradiction", label, "", "", "") for row in group.rows]
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(SUSPECT_COLUMNS if texts is None else (*SUSPECT_COLUMNS, "text"))
    for line in lines:
        text = () if texts is None else (texts[int(line[0])] or "",)
        writer.writerow(map(safe_cell, (*line, *text)))
    return out.getvalue()


def _groups(artifact: Artifact) -> str:
    """The groups of the rows and, of one label, the AUC within them; empty without groups."""
    if "groups" not in artifact.training:
        return ""
    within = artifact.metrics["out_of_fold"].get("within_groups")
    auc = f"; AUC within groups {within['auc']:.4f}" if within and within["auc"] is not None else ""
    return group_summary(artifact.training["groups"]) + auc


def _curve_table(curve: LearningCurve) -> Table:
    rows = [
        (f"{rows:,}", f"{mean:.4f}", "one sample" if spread is None else f"{spread:.4f}", str(len(samples)))
        for rows, mean, spread, samples in zip(
            curve.rows, curve.auc, curve.spread, curve.samples, strict=True
        )
    ]
    return Table(("rows to train on", "AUC", "standard deviation", "samples"), rows)


def _suspect_table(report: TrainingReport) -> Table:
    rows = [_cells(report.artifact, suspect) for suspect in report.suspects[:_SHOWN]]
    return Table(("row", "label", "given", "suggested", "score"), rows)


def _cells(artifact: Artifact, suspect: Suspect) -> tuple[str, ...]:
    """Row, label, given and suggested value in the user's names, and the score."""
    names, values = artifact.labels, (suspect.given, suspect.suggested)
    label = "class" if suspect.label is None else names[suspect.label]
    if artifact.task == "binary":
        names = (artifact.negative, *names)
    shown = [str(value) if artifact.task == "labels" else names[value] for value in values]
    return str(suspect.row), label, *shown, f"{suspect.score:.4f}"
