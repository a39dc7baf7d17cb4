"""The report of a training: whether more rows would help, and which labels are likely wrong.

Rows are named by number, never by their text, so that the report can be shared.
"""

import csv
import io
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from splinelens.detect.label_errors import Contradiction, Suspect, contradictions, suspected_labels
from splinelens.detect.learning_curve import LearningCurve
from splinelens.detect.thresholds import Threshold
from splinelens.errors import BadLabels
from splinelens.report.page import render_markdown
from splinelens.report.tables import Table, count_of, percent, threshold_table

SUSPECT_COLUMNS = ("row", "kind", "label", "given", "suggested", "score", "margin")
"""Columns of ``suspects.csv``."""

_SHOWN = 20  # suspects in the Markdown; the file has all


@dataclass(frozen=True)
class LabelReport:
    """One label, or one of several classes.

    Attributes:
        name: Its name.
        positives: Rows that have it.
        auc: Area under the ROC curve of its out-of-fold scores; None where only one class was scored.
        length_auc: The same of the number of tokens, in its better direction.
        thresholds: As stored with the detector.
    """

    name: str
    positives: int
    auc: float | None
    length_auc: float | None
    thresholds: tuple[Threshold, ...] = ()


@dataclass(frozen=True)
class TrainingReport:
    """The end of a training.

    Attributes:
        name: Name of the detector.
        rows: Rows that were read and fitted on.
        left_out: Rows whose texts could not be read.
        labels: One record per label.
        suspects: Labels that are likely wrong, the most suspect first.
        contradictions: Rows of equal texts with different labels.
        curve: The learning curve; None if none was computed.
    """

    name: str
    rows: int
    left_out: int
    labels: tuple[LabelReport, ...]
    suspects: tuple[Suspect, ...]
    contradictions: tuple[Contradiction, ...]
    curve: LearningCurve | None = None


def training_report(
    name: str,
    names: Sequence[str],
    labels: np.ndarray,
    scores: np.ndarray,
    lengths: np.ndarray,
    *,
    exclusive: bool = False,
    numbers: np.ndarray | None = None,
    keys: Sequence[Hashable] | None = None,
    thresholds: Sequence[Sequence[Threshold]] = (),
    curve: LearningCurve | None = None,
    left_out: int = 0,
) -> TrainingReport:
    """Build a report from out-of-fold scores.

    Args:
        name: Name of the detector.
        names: Name of each label.
        labels: 0 or 1, (text,) or (text, label), of the rows that were read.
        scores: Calibrated out-of-fold probabilities of the same shape; NaN where a row was not scored.
        lengths: Tokens of each text.
        exclusive: The columns are classes; each row has exactly one.
        numbers: The number of each row in the user's file, from 0; None counts the rows given.
        keys: Equal for rows of equal texts, to find contradictions; None does not look for them.
        thresholds: Those stored for each label.
        curve: The learning curve.
        left_out: Rows that could not be read.

    Raises:
        BadLabels: Not one name per label, or labels other than 0 and 1.
        BadFeatures: Scores of another shape or outside [0, 1].

    Example:
        >>> labels, scores = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.9, 0.8, 0.9, 0.1])
        >>> report = training_report("mild", ["rude"], labels, scores, np.arange(6))
        >>> report.labels[0].positives, [suspect.row for suspect in report.suspects]
        (3, [2, 5])
    """
    suspects = suspected_labels(labels, scores, exclusive=exclusive)
    contradicting = [] if keys is None else contradictions(keys, labels)
    columns = np.asarray(labels).reshape(len(labels), -1)
    probabilities = np.asarray(scores, dtype=float).reshape(len(labels), -1)
    if len(names) != columns.shape[1]:
        raise BadLabels(f"{columns.shape[1]} labels but {len(names)} names; give one name per label")
    number = np.arange(len(columns)) if numbers is None else np.asarray(numbers)
    stored = [*thresholds, *[()] * (len(names) - len(thresholds))]
    return TrainingReport(
        name=name,
        rows=len(columns),
        left_out=left_out,
        labels=tuple(
            _label(label, columns[:, at], probabilities[:, at], lengths, stored[at])
            for at, label in enumerate(names)
        ),
        suspects=tuple(replace(suspect, row=int(number[suspect.row])) for suspect in suspects),
        contradictions=tuple(
            replace(group, rows=tuple(number[list(group.rows)].tolist())) for group in contradicting
        ),
        curve=curve,
    )


def training_lines(report: TrainingReport) -> list[str]:
    """A few lines for the terminal: the learning curve, suspects, contradictions."""
    lines = [report.curve.sentence] if report.curve else []
    if report.suspects:
        first = ", ".join(str(suspect.row) for suspect in report.suspects[:5])
        lines.append(f"{count_of(len(report.suspects), 'label')} may be wrong; look at rows {first} first")
    if report.contradictions:
        first = " and ".join(map(str, report.contradictions[0].rows[:2]))
        groups = count_of(len(report.contradictions), "text")
        lines.append(f"{groups} with contradicting labels, such as in rows {first}")
    if report.suspects or report.contradictions:
        lines.append("rows are counted from 0; all are in suspects.csv")
    return lines


def training_markdown(report: TrainingReport) -> str:
    """The whole report as Markdown."""
    return render_markdown(
        "training",
        report=report,
        labels=_label_table(report),
        thresholds=threshold_table((label.name, label.thresholds) for label in report.labels),
        curve_points=_curve_table(report.curve),
        suspects=_suspect_table(report),
        shown=_SHOWN,
        count_of=count_of,
    )


def suspects_csv(report: TrainingReport) -> str:
    """All suspects and contradictions as CSV, without a word of any text.

    Returns:
        A header, one line per suspect, then one line per row of each contradiction; ``row`` counts from 0.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(SUSPECT_COLUMNS)
    for suspect in report.suspects:
        numbers = f"{suspect.score:.4f}", f"{suspect.margin:.4f}"
        writer.writerow([suspect.row, "suspect", *_names(report, suspect), *numbers])
    for group in report.contradictions:
        label = " ".join(report.labels[at].name for at in group.labels)
        writer.writerows([row, "contradiction", label, "", "", "", ""] for row in group.rows)
    return out.getvalue()


def _label(
    name: str, labels: np.ndarray, scores: np.ndarray, lengths: np.ndarray, stored: Sequence[Threshold]
) -> LabelReport:
    scored = np.isfinite(scores)
    y, positives = labels[scored], int(labels.sum())
    if len(np.unique(y)) < 2:
        return LabelReport(name, positives, None, None, tuple(stored))
    from sklearn.metrics import roc_auc_score

    by_length = float(roc_auc_score(y, np.asarray(lengths)[scored]))
    auc = float(roc_auc_score(y, scores[scored]))
    return LabelReport(name, positives, auc, max(by_length, 1 - by_length), tuple(stored))


def _label_table(report: TrainingReport) -> Table:
    rows = [
        (
            label.name,
            f"{label.positives:,}",
            percent(label.positives / max(report.rows, 1)),
            *("not scored" if value is None else f"{value:.4f}" for value in (label.auc, label.length_auc)),
        )
        for label in report.labels
    ]
    return Table(("label", "rows with it", "share", "AUC", "AUC of length alone"), rows)


def _curve_table(curve: LearningCurve | None) -> Table:
    points = zip(curve.rows, curve.auc, curve.spread, curve.samples, strict=True) if curve else ()
    rows = [
        (f"{rows:,}", f"{mean:.4f}", "one sample" if spread is None else f"{spread:.4f}", str(len(samples)))
        for rows, mean, spread, samples in points
    ]
    return Table(("rows to train on", "AUC", "standard deviation", "samples"), rows)


def _suspect_table(report: TrainingReport) -> Table:
    rows = [
        (str(suspect.row), *_names(report, suspect), f"{suspect.score:.4f}", f"{suspect.margin:.4f}")
        for suspect in report.suspects[:_SHOWN]
    ]
    return Table(("row", "label", "given", "suggested", "score of that", "margin"), rows)


def _names(report: TrainingReport, suspect: Suspect) -> tuple[str, str, str]:
    """The label, the given value and the suggested value, in the user's names."""
    if suspect.label is None:
        return "class", report.labels[suspect.given].name, report.labels[suspect.suggested].name
    return report.labels[suspect.label].name, str(suspect.given), str(suspect.suggested)
