"""The table of the benchmark: one record per row, for a terminal and as Markdown."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from detection.measures import Interval, Numbers
from detection.protocols import Protocol

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One row of the table.

    Attributes:
        protocol: The question it belongs to.
        train: Training rows.
        test: Test rows.
        representation: What was fitted or scored.
        numbers: What was measured.
        unscored: Test rows without a score, such as texts without a token.
        latency_ms: Milliseconds from one text to its score, of what comes fitted.
        train_rows: Training rows with a known label.
        dropped: Training rows left out because their text is in a test.
        resamples: Bootstrap resamples of the interval.
        note: What else matters, or why it was not run.
    """

    protocol: str
    train: str
    test: str
    representation: str
    numbers: Numbers = field(default_factory=Numbers)
    unscored: int = 0
    latency_ms: float | None = None
    train_rows: int | None = None
    dropped: int = 0
    resamples: int = 0
    note: str = ""

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "Row":  # Any: plain JSON values
        """From the JSON of ``to_dict``."""
        numbers = {k: tuple(v) if isinstance(v, list) else v for k, v in record["numbers"].items()}
        return cls(**{**record, "numbers": Numbers(**numbers)})


def _percent(value: float | None, places: int = 1) -> str:
    return "" if value is None else f"{100 * value:.{places}f}"


def _interval(bounds: Interval | None) -> str:
    return " to ".join(map(_percent, bounds)) if bounds else ""


def _shipped(fpr: float | None, recall: float | None) -> str:
    return "" if fpr is None and recall is None else f"{_percent(fpr) or '-'} / {_percent(recall) or '-'}"


def _flagged(numbers: Numbers) -> str:
    if numbers.flagged is None:
        return ""
    return f"{_percent(numbers.flagged)} ({_interval(numbers.flagged_interval)})"


def _latency(row: Row) -> str:
    if row.latency_ms is None:
        return ""
    return f"{row.latency_ms:.1f}" if row.latency_ms >= 1 else f"{row.latency_ms:.2f}"


def _note(row: Row) -> str:
    dropped = f"{row.dropped:,} training rows dropped: in the test" if row.dropped else ""
    return "; ".join(filter(None, [row.note, dropped]))


COLUMNS: dict[str, tuple[Callable[[Row], str], bool]] = {
    "train": (lambda row: row.train, False),
    "test": (lambda row: row.test, False),
    "representation": (lambda row: row.representation, False),
    "n": (lambda row: f"{row.numbers.n:,}" if row.numbers.n else "", True),
    "unscored": (lambda row: f"{row.unscored:,}" if row.unscored else "", True),
    "AUC": (lambda row: _percent(row.numbers.auc, 2), True),
    "95 %": (lambda row: _interval(row.numbers.interval), True),
    "recall at 1 % fp": (lambda row: _percent(row.numbers.recall), True),
    "pairs": (lambda row: _percent(row.numbers.pairs), True),
    "flagged": (lambda row: _flagged(row.numbers), True),
    "fp / recall at stored 1 %": (lambda row: _shipped(row.numbers.fpr_1, row.numbers.recall_1), True),
    "fp / recall at stored 5 %": (lambda row: _shipped(row.numbers.fpr_5, row.numbers.recall_5), True),
    "cal. error": (
        lambda row: "" if row.numbers.calibration_error is None else f"{row.numbers.calibration_error:.3f}",
        True,
    ),
    "ms a text": (_latency, True),
    "note": (_note, False),
}
"""Each column's cell, and whether it is aligned right. AUC, recall and rates are given times 100."""


def terminal_table(title: str, rows: Sequence[Row]) -> "Table":
    """The rows of one protocol for a terminal, without empty columns; nothing in it is read as markup."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", header_style="")
    used = {heading: column for heading, column in COLUMNS.items() if any(column[0](row) for row in rows)}
    for heading, (_, right) in used.items():
        table.add_column(heading, justify="right" if right else "left")
    for row in rows:
        table.add_row(*(Text(cell(row)) for cell, _ in used.values()))
    return table


def markdown(record: Mapping[str, Any], protocols: Sequence[tuple[Protocol, Sequence[Row]]]) -> str:
    """The whole run as a page of Markdown.

    Args:
        record: ``provenance`` of the run, its ``seconds``, the ``missing`` sets and the ``repeats`` of each set.
        protocols: What was run.
    """
    lines = [
        "# Benchmark of detectors",
        "",
        *_preface(record, [r for _, rows in protocols for r in rows]),
    ]
    for protocol, rows in protocols:
        if protocol.name == "transfer" and any(row.numbers.n for row in rows):
            lines += ["", "## Summary: trained on Jigsaw, or as shipped", "", *_summary(rows)]
    for protocol, rows in protocols:
        lines += ["", f"## {protocol.name}: {protocol.question}", ""]
        cells = [[cell(row) for cell, _ in COLUMNS.values()] for row in rows]
        lines += _table(list(COLUMNS), cells, [right for _, right in COLUMNS.values()])
    return "\n".join(lines) + "\n"


def _summary(rows: Sequence[Row]) -> list[str]:
    """One line per representation over the tests of ``transfer``."""
    by_name: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row.numbers.n:
            by_name.setdefault(row.representation, {})[row.test] = row
    tests = [test for test in dict.fromkeys(row.test for row in rows) if test not in _CLEAN_TESTS]
    headings = ["representation", *(f"{test}: AUC" for test in tests)]
    headings += ["jig test: recall at 1 % fp", "jig test: fp / recall at stored 1 %"]
    headings += ["jig test: fp / recall at stored 5 %", *(f"{test} flagged" for test in _CLEAN_TESTS)]
    headings += [*(f"{test}: flagged at stored 5 %" for test in _CLEAN_TESTS), "ms a text"]
    blank, lines = Row("", "", "", ""), []
    for name, of_test in by_name.items():
        cells = [name]
        for test in tests:
            numbers = of_test.get(test, blank).numbers
            interval = f" ({_interval(numbers.interval)})" if numbers.interval else ""
            cells.append(_percent(numbers.auc, 2) + interval)
        jig = of_test.get("jig test", blank)
        cells += [_percent(jig.numbers.recall), _shipped(jig.numbers.fpr_1, jig.numbers.recall_1)]
        cells += [_shipped(jig.numbers.fpr_5, jig.numbers.recall_5)]
        cells += [_flagged(of_test.get(test, blank).numbers) for test in _CLEAN_TESTS]
        cells += [_percent(of_test.get(test, blank).numbers.fpr_5) for test in _CLEAN_TESTS]
        lines.append([*cells, _latency(jig)])
    return _table(headings, lines, [False] + [True] * (len(headings) - 1))


_CLEAN_TESTS = ("hatecheck identity mentions", "xstest safe")


def _preface(record: Mapping[str, Any], rows: Sequence[Row]) -> list[str]:
    run, resamples = record["provenance"], sorted({row.resamples for row in rows} - {0}, reverse=True)
    lines = [
        f"splinelens {run['splinelens']}, {run['model']} in {run['dtype']} on {run['device']}, torch "
        f"{run['torch']}, scikit-learn {run['scikit-learn']}, {run['threads']} threads, seed {run['seed']}; "
        f"{record['seconds']:,.0f} s in all{', a quick run' if run['quick'] else ''}.",
        "",
        "AUC, recall and rates times 100. Intervals are 95 % bootstrap intervals of "
        f"{' or '.join(f'{count:,}' for count in resamples)} resamples; none below 50 rows. Every fitted head is "
        "chosen and calibrated alike, on 15 % of its training rows. Training rows whose normalized text is in "
        "the test are dropped and counted. `n` rows were scored, `unscored` rows could not be, such as texts "
        "without a token. `recall at 1 % fp` chooses its threshold on the test rows. `flagged` is the share of "
        "clean rows above the score that 5 % of the clean Jigsaw test rows exceed. `fp / recall at stored` are "
        "the false-positive rate and the recall at the threshold stored in a shipped detector. `ms a text` is "
        "the median from one text to its score, warm, each text alone, on the same ten Jigsaw test texts.",
        "",
    ]
    if record["missing"]:
        lines += [f"Not in the data folder: {', '.join(sorted(record['missing']))}.", ""]
    counted = [
        [name, *(f"{counts[key]:,}" for key in ("rows", "repeated", "across_splits", "two_labels"))]
        for name, counts in record["repeats"].items()
    ]
    headings = ["set", "rows", "repeated", "across splits", "two labels"]
    return [*lines, *_table(headings, counted, [False, True, True, True, True])]


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]], right: Sequence[bool]) -> list[str]:
    lines = ["| " + " | ".join(headings) + " |", "|" + "|".join("---:" if r else "---" for r in right) + "|"]
    return lines + ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
