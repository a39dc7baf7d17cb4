"""The error that a map to scores of the Perspective API leaves, from its record, as tables and lines."""

from collections.abc import Mapping
from typing import Any

from splinelens.report.tables import Table, count_of, percent
from splinelens.report.terminal import table_lines
from splinelens.texts.plain_text import harmless

Record = Mapping[str, Any]  # Any: plain JSON values, as PerspectiveCalibration.record


def error_table(record: Record) -> Table:
    """The error of each attribute as it is and mapped out of fold."""
    rows = [
        (
            name,
            one["detector"],
            f"{one['pairs']:,}",
            f"{errors['mean_absolute_before']:.4f}",
            f"{errors['mean_absolute_after']:.4f}",
            f"{errors['root_mean_squared_before']:.4f}",
            f"{errors['root_mean_squared_after']:.4f}",
            f"{errors['rank_correlation']:.3f}",
        )
        for name, one in record["attributes"].items()
        for errors in [one["errors"]]
    ]
    errors = ("MAE", "MAE, mapped", "RMSE", "RMSE, mapped")
    head = ("attribute", "detector", "pairs", *errors, "rank correlation")
    return Table(head, rows)


def decision_table(record: Record) -> Table:
    """What each threshold of the API flags: there, by our score as it is, and mapped out of fold."""
    rows = [
        (
            name,
            f"{one['threshold']:g}",
            f"{one['target']:,}",
            f"{one['before']:,}",
            f"{one['after']:,}",
            percent(one["agreement_before"]),
            percent(one["agreement_after"]),
            "-" if one["score"] is None else f"{one['score']:.4f}",
        )
        for name, measured in record["attributes"].items()
        for one in measured["errors"]["agreement"]
    ]
    flags = ("API flags", "score flags", "map flags", "score agrees", "map agrees")
    return Table(("attribute", "threshold", *flags, "our threshold"), rows)


def worse(record: Record) -> list[str]:
    """A line for each threshold at which the map decides worse than the score as it is, or flags nothing."""
    lines = []
    for name, measured in record["attributes"].items():
        for one in measured["errors"]["agreement"]:
            if one["target"] and not one["after"]:
                flagged = f"the API flagged {one['target']:,}"
                lines.append(f"{name}: {flagged} at {one['threshold']:g}, and the map none")
            elif one["agreement_after"] < one["agreement_before"]:
                lines.append(f"{name}: at {one['threshold']:g} our score agrees with the API more often")
    return lines


def left_out(record: Record) -> list[str]:
    """A line for each attribute of which rows were left out."""
    lines = []
    for name, one in record["attributes"].items():
        reasons = {"missing": "without a logged score", "unscored": "whose text could not be scored"}
        parts = [f"{count_of(one[key], 'row')} {words}" for key, words in reasons.items() if one[key]]
        if parts:
            lines.append(f"{name}: left out {' and '.join(parts)}")
    return lines


def calibration_lines(record: Record) -> list[str]:
    """Both tables and what was left out, for a terminal."""
    return [
        *table_lines(error_table(record)),
        "",
        *table_lines(decision_table(record)),
        "",
        *map(harmless, [*left_out(record), *worse(record)]),
        "Mapped scores are out of fold; a dash: the map never reaches the threshold.",
    ]
