"""Records and tables of authorship: who wrote texts, and what telling writers apart reaches."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from splinelens.detect.thresholds import Interval
from splinelens.report.tables import Table, confusion_table, interval
from splinelens.texts.plain_text import harmless


@dataclass(frozen=True)
class Attribution:
    """Who wrote a text, or several texts of one unknown writer.

    Attributes:
        row: Position of the text, or of the first of several, in the input.
        name: What several texts have in common; None of a single one.
        writer: A known writer, or ``undetermined``.
        answers: Texts that were read.
        unread: Texts that could not be read.
        reason: Why the writer is ``undetermined``, else None.
        nearest: The known writer with the highest score; None without a readable text, as the next two.
        known: Mean logit that a text is of one of the known writers.
        threshold: The logit below which the writer is ``undetermined``.
        scores: Of each known writer: about 1 for who wrote it, -1 for the others; no probabilities.
    """

    row: int
    name: str | None
    writer: str
    answers: int
    unread: int
    reason: str | None
    nearest: str | None = None
    known: float | None = None
    threshold: float | None = None
    scores: dict[str, float] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values."""
        return asdict(self)

    def line(self) -> str:
        """One line for a terminal or a pipe.

        Example:
            >>> Attribution(3, None, "ann", 1, 0, None, "ann", 2.0, -1.0, {"ann": 0.9, "bob": -0.9}).line()
            'row 3  ann  score 0.90, known +2.0 (unknown below -1.0)'
        """
        title = f"row {self.row}" if self.name is None else f"{harmless(self.name)} ({_texts(self.answers)})"
        if self.nearest is None:
            return f"{title}  {self.writer}  [{self.reason}]"
        numbers = f"score {self.scores[self.nearest]:.2f}, known {self.known:+.1f}"
        nearest = "" if self.reason is None else f"nearest {harmless(self.nearest)}, "
        return f"{title}  {harmless(self.writer)}  {nearest}{numbers} (unknown below {self.threshold:+.1f})"


@dataclass(frozen=True)
class Accuracy:
    """How many held-out texts are attributed to their writer.

    Attributes:
        name: What is read.
        accuracy: Share of texts.
        interval: 95 % interval over prompts.
        squared_error: Mean squared error of the scores, 1 for who wrote a text and -1 for the others; the
            choice with the least is saved.
    """

    name: str
    accuracy: float
    interval: Interval
    squared_error: float


@dataclass(frozen=True)
class AuthorshipReport:
    """What telling the writers of some texts apart reaches, on prompts that were held out.

    Attributes:
        source: Where the texts are from.
        model: The model that reads them; None without one.
        writers: Texts of each writer.
        prompts: How many prompts there are.
        left_out: Texts that could not be read, by reason.
        accuracies: Of each choice of feature sets, text only first; then text without formatting, and
            formatting only.
        chosen: The name of the choice that is saved.
        confusion: (writer, writer), how often a text of one is attributed to another.
        pooled_answers: How many answers of a writer are attributed together.
        pooled_accuracy: Share of these that are attributed to their writer; None with too few answers.
        unknown: For each writer the AUC of known against unknown where it is the unknown one.
    """

    source: str
    model: str | None
    writers: dict[str, int]
    prompts: int
    left_out: dict[str, int]
    accuracies: tuple[Accuracy, ...]
    chosen: str
    confusion: tuple[tuple[int, ...], ...]
    pooled_answers: int
    pooled_accuracy: float | None
    unknown: dict[str, float]

    @property
    def unknown_auc(self) -> float | None:
        """The mean AUC over unknown writers; None with fewer than three writers."""
        return sum(self.unknown.values()) / len(self.unknown) if self.unknown else None

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values, with the mean AUC of unknown writers."""
        return asdict(self) | {"unknown_auc": self.unknown_auc}


def accuracy_table(accuracies: Sequence[Accuracy], chosen: str = "") -> Table:
    """The accuracy and squared error of each choice; the one that is saved is marked."""
    rows = [
        (
            f"{one.name}{' *' if one.name == chosen else ''}",
            f"{one.accuracy:.4f}",
            interval(one.interval),
            f"{one.squared_error:.4f}",
        )
        for one in accuracies
    ]
    return Table(("what is read", "accuracy", "95 % interval", "squared error"), rows)


def report_tables(report: AuthorshipReport) -> list[Table]:
    """Accuracies, confusion and unknown writers."""
    names = [f"{number} {harmless(name)}" for number, name in enumerate(report.writers, start=1)]
    numbers = tuple(name.split()[0] for name in names)  # names of many writers are wider than a terminal
    confusion = Table(("writer", *numbers), confusion_table(names, report.confusion).rows)
    tables = [accuracy_table(report.accuracies, report.chosen), confusion]
    if report.unknown:
        rows = [(harmless(name), f"{value:.4f}") for name, value in report.unknown.items()]
        tables.append(Table(("writer left out", "AUC of known against unknown"), rows))
    return tables


def summary_lines(report: AuthorshipReport) -> list[str]:
    """What the tables do not hold, in sentences."""
    lines = [
        f"{sum(report.writers.values()):,} texts of {len(report.writers)} writers, {report.prompts:,} prompts"
    ]
    lines += [f"left out: {_texts(count)}: {reason}" for reason, count in report.left_out.items()]
    if report.pooled_accuracy is not None:
        lines.append(
            f"{report.pooled_answers} held-out answers together: accuracy {report.pooled_accuracy:.4f}"
        )
    if report.unknown_auc is None:
        lines.append("unknown writers were not measured: that needs three writers")
    else:
        lines.append(f"a writer who is unknown: mean AUC {report.unknown_auc:.4f}")
    return lines


def _texts(count: int) -> str:
    return f"{count:,} text{'' if count == 1 else 's'}"
