"""Tables of metrics and thresholds as plain cells, shared by cards, reports, pages and the terminal."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from splinelens.detect.bootstrap import MIN_GROUPS, MIN_ROWS
from splinelens.detect.thresholds import Threshold

Metrics = Mapping[str, Any]  # Any: JSON values, as from Evaluation.to_dict

UNMEASURED = "not measured: all or no rows"

_FEW = "(too few rows or groups for an interval)"
_MARKUP = re.compile(r"[|<&`]")  # what breaks a cell, begins HTML or code; a backslash makes it a letter


class Table(NamedTuple):
    """A header and rows of the same length; the first cell of a row names it."""

    head: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]

    def markdown(self) -> str:
        r"""The table in Markdown; no cell can break it.

        Example:
            >>> print(Table(("a", "b"), [("1", "x|y")]).markdown())
            | a | b |
            | --- | --- |
            | 1 | x\|y |
        """
        lines = [self.head, ["---"] * len(self.head), *self.rows]
        return "\n".join("| " + " | ".join(map(one_line, line)) + " |" for line in lines)


def metric_table(metrics: Metrics) -> Table:
    """The metrics of one label with their 95 % intervals.

    The AUC of length alone follows the AUC, then recall at few false positives: what a moderator gets.
    Shares of further harmless texts that are flagged end it, where they were measured.
    """
    recalls = metrics.get("recall_intervals", {})
    aucs = {"auc": "AUC", "length_auc": "AUC of length alone"}
    values = [(aucs[key], metrics[key], metrics.get(f"{key}_interval", ())) for key in aucs if key in metrics]
    for rate, recall in metrics["recall_at_fpr"].items():
        values.append((f"recall at {percent(rate)} false positives", recall, recalls.get(rate, ())))
    names = {"average_precision": "average precision", "brier": "Brier score"}
    values += [
        (names[key], metrics[key], metrics.get(f"{key}_interval", ())) for key in names if key in metrics
    ]
    values.append(
        ("calibration error", metrics["calibration_error"], metrics.get("calibration_interval", ()))
    )
    few = no_interval(metrics)
    rows = [(name, f"{value:.4f}", interval(bounds, few)) for name, value, bounds in values]
    if within := metrics.get("within_groups"):
        mixed = (
            few
            if within["mixed"] >= MIN_GROUPS
            else _too_few("groups with both classes", within["mixed"], MIN_GROUPS)
        )
        auc = "no pair" if within["auc"] is None else f"{within['auc']:.4f}"
        rows.insert(1, ("AUC within groups", auc, interval(within["auc_interval"], mixed)))
    for share in metrics.get("flagged", ()):
        counts = f"{percent(share['share'])}, {share['count']:,} of {share['total']:,}"
        rows.append((share["name"], counts, percents(share["interval"])))
    return Table(("metric", "value", "95 % interval"), rows)


def mean_table(metrics: Metrics) -> Table:
    """The metrics over several labels, as from ``Evaluations.to_dict``."""
    names = {"mean_auc": "mean AUC", "accuracy": "accuracy", "macro_f1": "macro F1"}
    rows = [
        (name, f"{metrics[key]:.4f}", interval(metrics.get(f"{key}_interval", ()), no_interval(metrics)))
        for key, name in names.items()
        if key in metrics
    ]
    return Table(("metric", "value", "95 % interval"), rows)


def label_table(labels: Mapping[str, Metrics | None]) -> Table:
    """The main metrics of several labels, narrow enough for a terminal.

    Example:
        >>> label_table({"rude": None}).rows[0]
        ('rude', 'not measured: all or no rows', '', '', '', '', '')
    """
    head = ("label", "rows with it", "AUC", "95 % interval", "length alone", "recall at 1 %", "recall at 5 %")
    rows = [
        (
            label,
            f"{measured['positives']:,}",
            f"{measured['auc']:.4f}",
            interval(measured["auc_interval"], no_interval(measured)),
            f"{measured['length_auc']:.4f}",
            *(f"{measured['recall_at_fpr'][rate]:.4f}" for rate in ("0.01", "0.05")),
        )
        if measured
        else (label, UNMEASURED, *[""] * 5)
        for label, measured in labels.items()
    ]
    return Table(head, rows)


def full_label_table(labels: Mapping[str, Metrics | None]) -> Table:
    """Every metric of several labels, each with its interval in the same cell."""
    tables = {label: metric_table(measured).rows if measured else [] for label, measured in labels.items()}
    names = [row[0] for row in next(filter(None, tables.values()), [])]
    rows: list[tuple[str, ...]] = []
    for label, cells in tables.items():
        measured = labels[label]
        count = f"{measured['positives']:,}" if measured else UNMEASURED
        values = [f"{value} {bounds}".rstrip() for _, value, bounds in cells] or [""] * len(names)
        rows.append((label, count, *values))
    return Table(("label", "rows with it", *names), rows)


def group_summary(groups: Mapping[str, Any]) -> str:  # Any: plain JSON values
    """What a detector records of its groups of rows, in words.

    Example:
        >>> group_summary({"column": "author", "groups": 1200, "missing": 3})
        '1,200 by author, kept whole in folds and for intervals; 3 rows without one are one each'
    """
    missing = f"; {groups['missing']:,} rows without one are one each" if groups["missing"] else ""
    return f"{groups['groups']:,} by {groups['column']}, kept whole in folds and for intervals{missing}"


def confusion_table(names: Sequence[str], counts: Sequence[Sequence[int]]) -> Table:
    """How often each class (row) is predicted as each class (column).

    Example:
        >>> confusion_table(["a", "b"], [[3, 1], [0, 1200]]).rows
        [('a', '3', '1'), ('b', '0', '1,200')]
    """
    rows = [(name, *(f"{count:,}" for count in counted)) for name, counted in zip(names, counts, strict=True)]
    return Table(("", *names), rows)


def threshold_table(stored: Iterable[tuple[str, Iterable[Threshold]]]) -> Table:
    """The thresholds of each label as they were chosen on out-of-fold scores.

    Example:
        >>> threshold_table([("rude", [Threshold(0.05, 0.84, 0.0495, (0.0334, 0.0703), 0.7)])]).rows
        [('rude', '5 %', '0.8400', '4.95 %', '3.34 % to 7.03 %', '0.7000', '', '-', '')]
    """
    rates = ("out of fold", "95 % interval", "recall", "95 % interval", "precision", "95 % interval")
    rows = [
        (
            label,
            percent(one.target),
            f"{one.score:.4f}",
            percent(one.rate),
            percents(one.interval),
            f"{one.recall:.4f}",
            interval(one.recall_interval or ()),
            *_precision(one.precision, one.precision_interval),
        )
        for label, thresholds in stored
        for one in thresholds
    ]
    return Table(("label", "target false positives", "threshold", *rates), rows)


def measured_table(labels: Mapping[str, Metrics | None]) -> Table:
    """What the stored thresholds of each label do on the evaluated rows."""
    rates = ("false positives", "95 % interval", "recall", "95 % interval", "precision", "95 % interval")
    rows = [
        (
            label,
            percent(target),
            f"{measured['score']:.4f}",
            percent(measured["false_positive_rate"]),
            percents(measured.get("false_positive_interval", ())),
            f"{measured['recall']:.4f}",
            interval(measured.get("recall_interval", ())),
            *_precision(measured.get("precision"), measured.get("precision_interval")),
        )
        for label, metrics in labels.items()
        for target, measured in (metrics["at_threshold"] if metrics else {}).items()
    ]
    return Table(("label", "target", "threshold", *rates), rows)


def _precision(precision: float | None, bounds: Sequence[float] | None) -> tuple[str, str]:
    """Two cells; a dash where nothing was flagged or the precision was not recorded."""
    return ("-" if precision is None else percent(precision)), percents(bounds or ())


def one_line(text: str) -> str:
    r"""A text that breaks no line and no cell of Markdown, and holds no HTML.

    Example:
        >>> one_line("a\nb|c <b>")
        'a b\\|c \\<b>'
    """
    return " ".join(_MARKUP.sub(r"\\\g<0>", text).split())


def code(text: str) -> str:
    """A text as code in Markdown; not for cells of tables.

    Example:
        >>> code("a <b> `c`")
        "`a <b> 'c'`"
    """
    return f"`{' '.join(text.replace('`', chr(39)).split())}`"


def interval(bounds: Sequence[float] | None, few: str = _FEW) -> str:
    """An interval with four decimals; None means too few rows or groups, an empty one was not recorded.

    Args:
        bounds: The interval.
        few: What stands for None, as from ``no_interval``.

    Example:
        >>> interval((0.5, 0.75)), interval(())
        ('[0.5000, 0.7500]', '')
    """
    if bounds is None:
        return few
    return f"[{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else ""


def no_interval(metrics: Metrics) -> str:
    """Why metrics, of one label or of several, have no bootstrap intervals: of what there is too little.

    Example:
        >>> no_interval({"n": 40})
        '(too few rows for an interval: 40, and 50 are needed)'
        >>> no_interval({"n": 400, "within_groups": {"groups": 6}})
        '(too few groups for an interval: 6, and 10 are needed)'
    """
    one = next(filter(None, metrics["labels"].values()), {}) if "labels" in metrics else metrics
    within = one.get("within_groups")
    if within and within["groups"] < MIN_GROUPS:
        return _too_few("groups", within["groups"], MIN_GROUPS)
    return _too_few("rows", metrics["n"], MIN_ROWS) if metrics["n"] < MIN_ROWS else _FEW


def _too_few(what: str, count: int, needed: int) -> str:
    return f"(too few {what} for an interval: {count}, and {needed} are needed)"


def percent(share: float | str) -> str:
    """A share in percent with three significant digits.

    Example:
        >>> percent("0.01"), percent(0.0534)
        ('1 %', '5.34 %')
    """
    return f"{100 * float(share):.3g} %"


def share_words(share: float | None, label: str) -> str:
    """For what share of positive texts a score is a probability, to stand after that word.

    Example:
        >>> share_words(0.4998, "toxic"), share_words(0.02, "rude")
        ('where half of the texts are toxic', 'where 2 % of the texts are rude')
    """
    if share is None:
        return f"where as many of the texts are {label} as in the rows of its calibration"
    return f"where {'half' if abs(share - 0.5) < 0.005 else percent(share)} of the texts are {label}"


def percents(bounds: Sequence[float]) -> str:
    """An interval of shares in percent; empty if it was not recorded.

    Example:
        >>> percents((0.01, 0.0534))
        '1 % to 5.34 %'
    """
    return " to ".join(map(percent, bounds))


def shorten(label: str, characters: int) -> str:
    """A label of at most so many characters, an ellipsis included.

    Example:
        >>> shorten("Donaudampfschiff", 8), shorten("a long day", 8)
        ('Donauda…', 'a long…')
    """
    return label if len(label) <= characters else label[: characters - 1].rstrip() + "…"


def count_of(number: int, noun: str) -> str:
    """A number and its noun.

    Example:
        >>> count_of(1, "token"), count_of(1200, "token")
        ('1 token', '1,200 tokens')
    """
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
