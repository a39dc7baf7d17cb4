"""What adapting a detector changed, from the record that the adapted one keeps, for terminal and card."""

from collections.abc import Mapping
from typing import Any

from splinelens.report.tables import Table, interval
from splinelens.texts.plain_text import harmless


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


def adaptation_summary(record: Mapping[str, Any]) -> str:  # Any: as above
    """What was adapted to how many rows, and how far the weights may move, in one sentence.

    Example:
        >>> adaptation_summary({"detector": "toxicity", "rows": 64, "positives": 20, "penalty": None})
        'Adapted from toxicity to 64 rows, 20 of them positive; its weights are kept.'
    """
    weights = (
        "its weights are kept"
        if record["penalty"] is None
        else f"its weights moved, with a penalty of {record['penalty']:g}"
    )
    rows = f"{record['rows']:,} rows, {record['positives']:,} of them positive"
    return f"Adapted from {record['detector']} to {rows}; {weights}."


def adaptation_lines(record: Mapping[str, Any]) -> list[str]:  # Any: as above
    """Summary, table and notes for a terminal."""
    table = adaptation_table(record)
    lines = [f"{name:14} {value:>8}  {bounds}".rstrip() for name, value, bounds in (table.head, *table.rows)]
    return [harmless(adaptation_summary(record)), *lines, *map(harmless, record["notes"])]
