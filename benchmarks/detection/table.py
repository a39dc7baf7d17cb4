"""The table of a benchmark: its rows, for a terminal and as Markdown."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

HEADINGS = (
    "train",
    "test",
    "representation",
    "n",
    "unscored",
    "AUC",
    "95 %",
    "recall at 1 % fp",
    "pairs",
    "flagged",
    "cal. error",
    "ms a text",
    "size",
    "note",
)
_INTERVALS = ("interval", "flagged_interval")
_RIGHT = frozenset(HEADINGS[3:13])


@dataclass(frozen=True)
class BenchRow:
    """One row of the table.

    Attributes:
        protocol: The question it belongs to.
        train: Training rows.
        test: Test rows.
        representation: What was fitted or asked.
        n: Rows that were scored; 0 where it was not run.
        unscored: Rows besides them that the representation could not score, such as texts without a token.
        positives: Positive rows among them.
        auc: Area under the ROC curve.
        interval: 95 % bootstrap interval of it.
        recall: Recall at 1 % false positives.
        calibration_error: Expected calibration error.
        pairs: Share of pairs in the right order.
        flagged: Share of clean rows above the score that 5 % of the clean rows of another test exceed.
        flagged_interval: 95 % interval of it.
        latency_ms: Milliseconds from one text to its score.
        size_bytes: Bytes kept beside the frozen model.
        train_rows: Training rows whose label was used.
        dropped: Training rows left out because their text is in the test.
        resamples: Bootstrap resamples.
        note: What else is to be known, or why it was not run.
    """

    protocol: str
    train: str
    test: str
    representation: str
    n: int = 0
    unscored: int = 0
    positives: int = 0
    auc: float | None = None
    interval: tuple[float, float] | None = None
    recall: float | None = None
    calibration_error: float | None = None
    pairs: float | None = None
    flagged: float | None = None
    flagged_interval: tuple[float, float] | None = None
    latency_ms: float | None = None
    size_bytes: int | None = None
    train_rows: int | None = None
    dropped: int = 0
    resamples: int = 0
    note: str = ""

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values."""
        lists = {name: list(pair) if (pair := getattr(self, name)) else None for name in _INTERVALS}
        return asdict(self) | lists

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "BenchRow":  # Any: plain JSON values
        """From what ``to_dict`` gave."""
        pairs = {name: tuple(pair) if (pair := record.get(name)) else None for name in _INTERVALS}
        return cls(**{**record, **pairs})


def cells(row: BenchRow) -> tuple[str, ...]:
    """The words of one row, in the order of ``HEADINGS``.

    Args:
        row: The row.

    Returns:
        One string a heading; AUC and its interval are given times 100.

    Example:
        >>> cells(BenchRow("pairs", "a", "b", "length", n=60, auc=0.5, interval=(0.4, 0.6)))[5:7]
        ('50.00', '40.0 to 60.0')
    """
    dropped = f"{row.dropped:,} training rows dropped: in the test" if row.dropped else ""
    return (
        row.train,
        row.test,
        row.representation,
        f"{row.n:,}" if row.n else "",
        f"{row.unscored:,}" if row.unscored else "",
        _number(row.auc, 100, 2),
        _interval(row.interval),
        _number(row.recall, 100, 1),
        _number(row.pairs, 100, 1),
        "" if row.flagged is None else f"{100 * row.flagged:.1f} ({_interval(row.flagged_interval)})",
        _number(row.calibration_error, 1, 3),
        _number(row.latency_ms, 1, 1 if (row.latency_ms or 0) >= 1 else 2),
        _size(row.size_bytes),
        "; ".join(filter(None, [row.note, dropped])),
    )


def table(title: str, rows: Sequence[BenchRow]) -> "Table":
    """The rows of one protocol for a terminal.

    Args:
        title: Stands above.
        rows: The rows.

    Returns:
        A table of rich; nothing in it is read as markup.
    """
    from rich.table import Table
    from rich.text import Text

    found = Table(title=title, title_justify="left", title_style="bold", header_style="")
    for heading in HEADINGS:
        found.add_column(heading, justify="right" if heading in _RIGHT else "left")
    for row in rows:
        found.add_row(*map(Text, cells(row)))
    return found


def markdown(record: dict[str, Any]) -> str:  # Any: plain JSON values
    """The whole record of a run as Markdown.

    Args:
        record: What the run wrote as JSON.

    Returns:
        A page that ends with a line break.
    """
    lines = ["# The benchmark of detectors", "", *_preface(record)]
    for protocol in record["protocols"]:
        rows = [BenchRow.from_dict(row) for row in protocol["rows"]]
        lines += [
            "",
            f"## {protocol['name']}: {protocol['question']}",
            "",
            f"{protocol['seconds']:,.0f} s.",
            "",
        ]
        lines += ["| " + " | ".join(HEADINGS) + " |"]
        lines += ["|" + "|".join("---:" if heading in _RIGHT else "---" for heading in HEADINGS) + "|"]
        lines += ["| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _preface(record: dict[str, Any]) -> list[str]:  # Any: as above
    run = record["provenance"]
    lines = [
        f"splinelens {run['splinelens']}, {run['model']} in {run['dtype']} on {run['device']}, torch "
        f"{run['torch']}, scikit-learn {run['scikit-learn']}, {run['threads']} threads, seed {run['seed']}; "
        f"{record['seconds']:,.0f} s in all{', a quick run' if record['quick'] else ''}.",
        "",
        "AUC and recall times 100. Intervals are 95 % bootstrap intervals of "
        f"{_resamples(record)} resamples; none below 50 rows. Every fitted "
        "head is chosen and calibrated alike, on 15 % of its training rows. Training rows whose normalized "
        "text is in the test are dropped and counted. `n` rows were scored, `unscored` rows could not be, "
        "such as texts without a token. `flagged` is the share of clean rows above the score that 5 % of the "
        "clean Jigsaw test rows exceed. `ms a text` is the median from a text to its score, warm, "
        "on the same ten Jigsaw test texts for all; `size` is what is kept beside the frozen model "
        "(of the sentence encoder: its own weights).",
        "",
    ]
    if record["missing"]:
        lines += [f"Not in the data folder, or not readable: {', '.join(sorted(record['missing']))}.", ""]
    lines += ["| set | rows | repeated | across splits | two labels |", "|---|---:|---:|---:|---:|"]
    for name, counts in record["repeats"].items():
        numbers = (counts[key] for key in ("rows", "repeated", "across_splits", "two_labels"))
        lines.append(f"| {name} | " + " | ".join(f"{number:,}" for number in numbers) + " |")
    return lines


def _resamples(record: dict[str, Any]) -> str:  # Any: as above
    """How many resamples the rows have, most first."""
    found = {row["resamples"] for protocol in record["protocols"] for row in protocol["rows"]} - {0}
    return " or ".join(f"{count:,}" for count in sorted(found, reverse=True)) or "10,000"


def _number(value: float | None, times: float, places: int) -> str:
    return "" if value is None else f"{times * value:.{places}f}"


def _interval(bounds: tuple[float, float] | None) -> str:
    return " to ".join(f"{100 * bound:.1f}" for bound in bounds) if bounds else ""


def _size(size_bytes: int | None) -> str:
    if size_bytes is None:
        return ""
    return f"{size_bytes / 1e6:,.1f} MB" if size_bytes >= 1e5 else f"{size_bytes / 1e3:,.1f} kB"
