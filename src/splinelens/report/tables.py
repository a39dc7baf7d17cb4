"""The tables that several renderers show: the numbers of an evaluation, of its labels and of thresholds.

Rows are cells of plain text, so that a card, a terminal and a page say the same in their own form.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from splinelens.detect.thresholds import Threshold

NUMBER_HEAD = ("number", "value", "95 % interval")
PROMISE_HEAD = ("label", "false positives promised", "threshold", "found", "95 % interval", "recall")
MEASURED_HEAD = (
    "label",
    "threshold for",
    "score",
    "false positives",
    "95 % interval",
    "recall",
    "95 % interval",
)


def number_rows(numbers: Mapping[str, Any]) -> list[tuple[str, str, str]]:  # Any: plain JSON values
    """The numbers of an evaluation, below ``NUMBER_HEAD``; length alone always stands below the AUC.

    Args:
        numbers: As from ``Evaluation.to_dict``.

    Returns:
        Name, value and interval of each.
    """
    told = numbers.get("recall_intervals", {})
    rows = [
        ("AUC", numbers["auc"], numbers["auc_interval"]),
        ("AUC of length alone", numbers["length_auc"], numbers["length_auc_interval"]),
        *(
            (f"recall at {percent(rate)} false positives", recall, told.get(rate, ()))
            for rate, recall in numbers["recall_at_fpr"].items()
        ),
        ("Brier score", numbers["brier"], numbers.get("brier_interval", ())),
        ("calibration error", numbers["calibration_error"], numbers.get("calibration_interval", ())),
    ]
    return [(name, f"{value:.4f}", interval(bounds)) for name, value, bounds in rows]


def mean_rows(numbers: Mapping[str, Any]) -> list[tuple[str, str, str]]:  # Any: plain JSON values
    """The numbers of several labels together, below ``NUMBER_HEAD``.

    Args:
        numbers: As from ``Evaluations.to_dict``.

    Returns:
        Name, value and interval of each.
    """
    names = {"mean_auc": "mean AUC", "accuracy": "accuracy", "macro_f1": "macro F1"}
    return [
        (name, f"{numbers[key]:.4f}", interval(numbers.get(f"{key}_interval", ())))
        for key, name in names.items()
        if key in numbers
    ]


def label_rows(labels: Mapping[str, Any]) -> list[tuple[str, ...]]:  # Any: plain JSON values
    """A table of the numbers of several labels, narrow enough for a terminal, its head first.

    Args:
        labels: By name the numbers as from ``Evaluation.to_dict``, or None where there are none.

    Example:
        >>> label_rows({"rude": None})[1]
        ('rude', 'not measured: all or no rows', '', '', '', '', '')
    """
    head = ("label", "positive", "AUC", "95 % interval", "length alone", "recall at 1 %", "recall at 5 %")
    return _of_labels(head, labels, _narrow)


def whole_label_rows(labels: Mapping[str, Any]) -> list[tuple[str, ...]]:  # Any: plain JSON values
    """A table of every number of several labels with its interval in the same cell, its head first.

    Args:
        labels: By name the numbers as from ``Evaluation.to_dict``, or None where there are none.

    Example:
        >>> whole_label_rows({"rude": None})
        [('label', 'positive'), ('rude', 'not measured: all or no rows')]
    """
    first = next((found for found in labels.values() if found), None)
    names = [name for name, _, _ in number_rows(first)] if first else []
    return _of_labels(("label", "positive", *names), labels, _whole)


def confusion_rows(names: Sequence[str], counts: Sequence[Sequence[int]]) -> list[tuple[str, ...]]:
    """A table of how often each class is taken for each, its head first.

    Example:
        >>> confusion_rows(["a", "b"], [[3, 1], [0, 1200]])
        [('', 'a', 'b'), ('a', '3', '1'), ('b', '0', '1,200')]
    """
    rows = zip(names, counts, strict=True)
    return [("", *names), *((name, *(f"{count:,}" for count in row)) for name, row in rows)]


def promise_rows(label: str, stored: Iterable[Threshold]) -> list[tuple[str, ...]]:
    """The thresholds of a label as they were chosen, below ``PROMISE_HEAD``.

    Args:
        label: Its name.
        stored: The thresholds.

    Example:
        >>> promise_rows("rude", [Threshold(0.05, 0.84, 0.0495, (0.0334, 0.0703), 0.7)])
        [('rude', '5 %', '0.8400', '4.95 %', '3.34 % to 7.03 %', '0.7000')]
    """
    return [
        (
            label,
            percent(one.target),
            f"{one.score:.4f}",
            percent(one.rate),
            percents(one.interval),
            f"{one.recall:.4f}",
        )
        for one in stored
    ]


def measured_rows(label: str, numbers: Mapping[str, Any] | None) -> list[tuple[str, ...]]:  # Any: as above
    """What the stored thresholds of a label did on other rows, below ``MEASURED_HEAD``.

    Args:
        label: Its name.
        numbers: As from ``Evaluation.to_dict``, or None where there are none.
    """
    return [
        (
            label,
            percent(target),
            f"{found['score']:.4f}",
            percent(found["false_positive_rate"]),
            percents(found.get("false_positive_interval", ())),
            f"{found['recall']:.4f}",
            interval(found.get("recall_interval", ())),
        )
        for target, found in (numbers["at_threshold"] if numbers else {}).items()
    ]


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:  # Any: shown as they print
    r"""A table in Markdown; no cell can break it.

    Example:
        >>> print(markdown_table(("a", "b"), [(1, "x|y")]))
        | a | b |
        | --- | --- |
        | 1 | x\|y |
    """
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(one_line(str(cell)) for cell in line) + " |" for line in lines)


def one_line(text: str) -> str:
    r"""A text that breaks no line and no cell of Markdown.

    Example:
        >>> one_line("a\nb")
        'a b'
    """
    return " ".join(text.replace("|", "\\|").split())


def interval(bounds: Sequence[float] | None) -> str:
    """An interval as it is written everywhere.

    Args:
        bounds: Lower and upper; None where there were too few rows for one, empty where it was not recorded.

    Example:
        >>> interval((0.5, 0.75))
        '[0.5000, 0.7500]'
    """
    if bounds is None:
        return "(too few rows for an interval)"
    return f"[{bounds[0]:.4f}, {bounds[1]:.4f}]" if bounds else ""


def percent(share: float | str) -> str:
    """A share in percent.

    Example:
        >>> percent("0.01"), percent(0.0534)
        ('1 %', '5.34 %')
    """
    return f"{100 * float(share):.3g} %"


def percents(bounds: Sequence[float]) -> str:
    """An interval of a share in percent; nothing where it was not recorded.

    Example:
        >>> percents((0.01, 0.0534))
        '1 % to 5.34 %'
    """
    return " to ".join(map(percent, bounds))


def _of_labels(
    head: tuple[str, ...],
    labels: Mapping[str, Any],  # Any: plain JSON values, here and below
    cells: Callable[[Mapping[str, Any]], Iterable[str]],
) -> list[tuple[str, ...]]:
    unmeasured = ("not measured: all or no rows", *[""] * (len(head) - 2))
    return [head, *((name, *(cells(found) if found else unmeasured)) for name, found in labels.items())]


def _narrow(found: Mapping[str, Any]) -> Iterable[str]:
    yield f"{found['positives']:,}"
    yield f"{found['auc']:.4f}"
    yield interval(found["auc_interval"])
    yield f"{found['length_auc']:.4f}"
    yield from (f"{found['recall_at_fpr'][rate]:.4f}" for rate in ("0.01", "0.05"))


def _whole(found: Mapping[str, Any]) -> Iterable[str]:
    yield f"{found['positives']:,}"
    yield from (f"{value} {bounds}".rstrip() for _, value, bounds in number_rows(found))
