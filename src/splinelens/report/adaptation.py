"""What adapting a detector changed, from the record that the adapted one keeps, for terminal and card."""

from collections.abc import Mapping
from typing import Any

from splinelens.report.tables import Metrics, Table, interval, percent, shorten
from splinelens.report.terminal import table_lines
from splinelens.texts.plain_text import harmless

_VALUE = 40  # characters of a value that counts as positive


def adaptation_table(record: Mapping[str, Any]) -> Table:  # Any: JSON values, as in Adaptation.record
    """AUC before and after on held-out rows, and the gain, with 95 % intervals.

    Example:
        >>> record = {"auc_before": 0.7, "auc_before_interval": None, "auc_after": 0.8}
        >>> record |= {"auc_after_interval": (0.7, 0.9), "gain": 0.1, "gain_interval": (0.02, 0.2)}
        >>> adaptation_table(record).rows[2]
        ('gain', '+0.1000', '[0.0200, 0.2000]')
    """
    rows = [
        ("before", f"{record['auc_before']:.4f}", interval(record["auc_before_interval"])),
        ("after", f"{record['auc_after']:.4f}", interval(record["auc_after_interval"])),
        ("gain", f"{record['gain']:+.4f}", interval(record["gain_interval"])),
    ]
    return Table(("held-out rows", "AUC", "95 % interval"), rows)


def threshold_changes(before: Metrics, after: Metrics) -> Table:
    """What each stored threshold does on held-out rows, before and after.

    Example:
        >>> old = {"at_threshold": {"0.05": {"score": 0.8, "false_positive_rate": 0.0, "recall": 0.2}}}
        >>> new = {"at_threshold": {"0.05": {"score": 0.6, "false_positive_rate": 0.04, "recall": 0.5}}}
        >>> threshold_changes(old, new).rows
        [('5 %', '0.8000', '0 %', '20 %', '0.6000', '4 %', '50 %')]
    """
    rows = [
        (percent(target), *_effect(measured), *_effect(after["at_threshold"][target]))
        for target, measured in before["at_threshold"].items()
    ]
    rates = ("false positives", "recall")
    return Table(("threshold for", "before", *rates, "after", *rates), rows)


def adaptation_summary(record: Mapping[str, Any]) -> str:  # Any: as above
    """What was adapted to how many rows, what is positive, and how far the weights may move.

    Example:
        >>> record = {"detector": "toxicity", "rows": 64, "positives": 20, "penalty": None}
        >>> adaptation_summary(record | {"positive_values": ["rude"], "label": "toxic"})
        'Adapted from toxicity to 64 rows, 20 of them positive; its weights are kept. "rude" counts as toxic.'
    """
    weights = (
        "its weights are kept"
        if record["penalty"] is None
        else f"its weights moved, with a penalty of {record['penalty']:g}"
    )
    values = [f'"{shorten(value, _VALUE)}"' for value in record.get("positive_values", ())]
    counts = (
        f" {' and '.join(values)} count{'s' * (len(values) == 1)} as {record['label']}." if values else ""
    )
    rows = f"{record['rows']:,} rows, {record['positives']:,} of them positive"
    return f"Adapted from {record['detector']} to {rows}; {weights}.{counts}"


def adaptation_lines(adapted: Mapping[str, Any]) -> list[str]:  # Any: JSON values, as Adaptation.to_dict
    """Summary, tables, notes and recommendation for a terminal."""
    changes = threshold_changes(adapted["before"], adapted["after"])
    kept = all(row[1] == row[4] for row in changes.rows)
    chosen = "The thresholds after were chosen on these rows: expect somewhat more false positives on others."
    return [
        harmless(adaptation_summary(adapted)),
        *table_lines(adaptation_table(adapted)),
        "",
        *table_lines(changes),
        "",
        *([] if kept else [chosen]),
        *map(harmless, (*adapted["notes"], adapted["recommendation"])),
    ]


def _effect(measured: Mapping[str, Any]) -> tuple[str, str, str]:  # Any: JSON values
    """A threshold, its false-positive rate and its recall."""
    return (
        f"{measured['score']:.4f}",
        percent(measured["false_positive_rate"]),
        percent(measured["recall"]),
    )
