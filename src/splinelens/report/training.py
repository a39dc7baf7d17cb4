"""What to know at the end of training: what more rows would add, and which labels to look at again.

Rows are named by their number and never by their words, so the report may be passed on.
"""

import csv
import io
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from splinelens.detect.label_errors import Contradiction, Suspect, contradictions, suspected_labels
from splinelens.detect.learning_curve import LearningCurve
from splinelens.detect.thresholds import Threshold
from splinelens.errors import BadLabels
from splinelens.report.tables import PROMISE_HEAD, markdown_table, one_line, percent, promise_rows

SUSPECT_COLUMNS = ("row", "kind", "label", "given", "suggested", "score", "margin")
"""Columns of ``suspects.csv``."""

_SHOWN = 20  # of the suspects; the file has all


@dataclass(frozen=True)
class LabelReport:
    """One label, or one of several classes.

    Attributes:
        name: Its name.
        positives: Rows that have it.
        auc: Area under the ROC curve of its out-of-fold scores; None where one class only was judged.
        length_auc: The same of the number of tokens alone, in its better direction.
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
        exclusive: The labels are classes, each row has exactly one.
        labels: One record a label.
        suspects: Labels that are likely wrong, the most suspect first.
        contradictions: Rows of equal texts with different labels.
        curve: The learning curve; None if none was drawn.
    """

    name: str
    rows: int
    left_out: int
    exclusive: bool
    labels: tuple[LabelReport, ...]
    suspects: tuple[Suspect, ...]
    contradictions: tuple[Contradiction, ...]
    curve: LearningCurve | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values."""
        return asdict(self) | {"curve": self.curve and self.curve.to_dict()}


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
    """Put a report together from out-of-fold scores.

    Args:
        name: Name of the detector.
        names: Name of each label.
        labels: 0 or 1, (text,) or (text, label), of the rows that were read.
        scores: Calibrated out-of-fold probabilities of the same shape; NaN where a row was not judged.
        lengths: Tokens of each text.
        exclusive: The columns are classes, each row has exactly one.
        numbers: The number of each row in the user's file, from 0; None counts the rows given.
        keys: Equal for rows of equal texts, to find contradictions; None does not look for them.
        thresholds: Those stored for each label.
        curve: The learning curve.
        left_out: Rows that could not be read.

    Returns:
        The record.

    Raises:
        BadLabels: Not one name a label, or labels other than 0 and 1.
        BadFeatures: Scores of another shape or outside [0, 1].

    Example:
        >>> labels, scores = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.2, 0.9, 0.8, 0.9, 0.1])
        >>> report = training_report("mild", ["rude"], labels, scores, np.arange(6))
        >>> report.labels[0].positives, [suspect.row for suspect in report.suspects]
        (3, [2, 5])
    """
    found = suspected_labels(labels, scores, exclusive=exclusive)
    contrary = [] if keys is None else contradictions(keys, labels)
    columns = np.asarray(labels).reshape(len(labels), -1)
    judged = np.asarray(scores, dtype=float).reshape(len(labels), -1)
    if len(names) != columns.shape[1]:
        raise BadLabels(f"{columns.shape[1]} labels but {len(names)} names; give one a label")
    number = np.arange(len(columns)) if numbers is None else np.asarray(numbers)
    each = [*thresholds, *[()] * (len(names) - len(thresholds))]
    return TrainingReport(
        name,
        len(columns),
        left_out,
        exclusive,
        tuple(
            _label(names[place], columns[:, place], judged[:, place], lengths, each[place])
            for place in range(len(names))
        ),
        tuple(replace(suspect, row=int(number[suspect.row])) for suspect in found),
        tuple(replace(group, rows=tuple(number[list(group.rows)].tolist())) for group in contrary),
        curve,
    )


def training_lines(report: TrainingReport, suspects_file: str = "suspects.csv") -> list[str]:
    """A few lines for the terminal.

    Args:
        report: The record.
        suspects_file: Where all suspects are written.

    Returns:
        Lines: the curve's sentence, suspects, contradictions.
    """
    lines = [report.curve.sentence] if report.curve else []
    if report.suspects:
        first = ", ".join(str(suspect.row) for suspect in report.suspects[:5])
        lines.append(f"{_many(len(report.suspects), 'label')} may be wrong; look at rows {first} first")
    if report.contradictions:
        first = " and ".join(map(str, report.contradictions[0].rows[:2]))
        groups = _many(len(report.contradictions), "text")
        lines.append(f"{groups} labelled in different ways, such as in rows {first}")
    if report.suspects or report.contradictions:
        lines.append(f"rows are counted from 0; all are in {suspects_file}")
    return lines


def training_markdown(report: TrainingReport, suspects_file: str = "suspects.csv") -> str:
    """The whole report as Markdown.

    Args:
        report: The record.
        suspects_file: Where all suspects are written.

    Returns:
        The page, which ends in a line break.
    """
    left = f", {report.left_out:,} left out because they could not be read" if report.left_out else ""
    parts = [
        f"# Training of {one_line(report.name)}",
        f"{report.rows:,} rows{left}. Scores are out of fold: each row is judged by a head that did not see "
        "it. Length alone is what counting tokens would have reached.",
        markdown_table(
            ("label", "rows with it", "share", "AUC", "AUC of length alone"),
            [
                (
                    label.name,
                    f"{label.positives:,}",
                    percent(label.positives / max(report.rows, 1)),
                    _number(label.auc),
                    _number(label.length_auc),
                )
                for label in report.labels
            ],
        ),
        "## Thresholds",
        _thresholds(report),
        "## Would more rows help?",
        _curve(report.curve),
        "## Labels to look at again",
        _suspects(report, suspects_file),
    ]
    return "\n\n".join(parts) + "\n"


def suspects_csv(report: TrainingReport) -> str:
    """All suspects and contradictions as CSV, without a word of any text.

    Args:
        report: The record.

    Returns:
        A header and one line a suspect, then one line a row of each contradiction; ``row`` counts
        from 0.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(SUSPECT_COLUMNS)
    for suspect in report.suspects:
        label, given, suggested = _words(report, suspect)
        writer.writerow(
            [suspect.row, "suspect", label, given, suggested, f"{suspect.score:.4f}", f"{suspect.margin:.4f}"]
        )
    for group in report.contradictions:
        label = " ".join(report.labels[place].name for place in group.labels)
        writer.writerows([row, "contradiction", label, "", "", "", ""] for row in group.rows)
    return out.getvalue()


def _label(
    name: str, labels: np.ndarray, scores: np.ndarray, lengths: np.ndarray, stored: Iterable[Threshold]
) -> LabelReport:
    judged = np.isfinite(scores)
    y, positives = labels[judged], int(labels.sum())
    if len(np.unique(y)) < 2:
        return LabelReport(name, positives, None, None, tuple(stored))
    from sklearn.metrics import roc_auc_score

    by_length = float(roc_auc_score(y, np.asarray(lengths)[judged]))
    auc = float(roc_auc_score(y, scores[judged]))
    return LabelReport(name, positives, auc, max(by_length, 1 - by_length), tuple(stored))


def _thresholds(report: TrainingReport) -> str:
    rows = [row for label in report.labels for row in promise_rows(label.name, label.thresholds)]
    return markdown_table(PROMISE_HEAD, rows) if rows else "None stored."


def _curve(curve: LearningCurve | None) -> str:
    if curve is None:
        return "No learning curve was drawn."
    if not curve.rows:
        return curve.sentence
    points = zip(curve.rows, curve.auc, curve.spread, curve.draws, strict=True)
    shown = [
        (f"{rows:,}", f"{mean:.4f}", "one draw" if spread is None else f"{spread:.4f}", len(draws))
        for rows, mean, spread, draws in points
    ]
    about = f"All are judged on the same {curve.held_rows:,} rows, on which none is fitted."
    if curve.law:
        law = curve.law
        about += (
            f" Fitted: AUC = {law.limit:.4f} - {law.scale:.3g} * rows ^ -{law.exponent:.2f}, followed to "
            "twice the rows at most."
        )
    table = markdown_table(("rows to train on", "AUC", "standard deviation", "draws"), shown)
    return f"{curve.sentence}\n\n{table}\n\n{about}"


def _suspects(report: TrainingReport, file: str) -> str:
    found, contrary = report.suspects, report.contradictions
    if not found and not contrary:
        return "None: no score sides with another label than its own, no text is labelled in two ways."
    parts = []
    if found:
        shown = [(suspect.row, *_words(report, suspect)) for suspect in found[:_SHOWN]]
        numbers = [(f"{suspect.score:.4f}", f"{suspect.margin:.4f}") for suspect in found[:_SHOWN]]
        rows = [(*words, *number) for words, number in zip(shown, numbers, strict=True)]
        more = f" The first {_SHOWN}; all are in `{file}`." if len(found) > _SHOWN else ""
        parts.append(
            f"{_many(len(found), 'label')} may be wrong: the score sides with another one. Some are right "
            f"and only unusual, so look before you change them. Rows are counted from 0.{more}"
        )
        parts.append(markdown_table(("row", "label", "given", "suggested", "score of that", "margin"), rows))
    if contrary:
        groups = "; ".join(", ".join(map(str, group.rows[:5])) for group in contrary[:_SHOWN])
        parts.append(
            f"{_many(len(contrary), 'text')} labelled in different ways, at rows {groups}. No head can learn "
            "both: decide for one, or leave them out."
        )
    return "\n\n".join(parts)


def _words(report: TrainingReport, suspect: Suspect) -> tuple[str, str, str]:
    """The label, what is given and what is suggested, in the user's words."""
    if suspect.label is None:
        return "class", report.labels[suspect.given].name, report.labels[suspect.suggested].name
    return report.labels[suspect.label].name, str(suspect.given), str(suspect.suggested)


def _many(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _number(value: float | None) -> str:
    return "not judged" if value is None else f"{value:.4f}"
