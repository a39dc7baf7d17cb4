"""Everything measured of one detector on one set of labelled texts: for a page, JSON and Markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from splinelens.detect.curves import Bin, OperatingPoint, Sweep
from splinelens.detect.subgroup_auc import SubgroupAuc
from splinelens.errors import BadTexts
from splinelens.report.evaluation_parts import (
    Bounds,
    Evasion,
    FeatureMap,
    HeatMap,
    Mistake,
    Share,
    built,
    plain,
)
from splinelens.report.tables import NUMBER_HEAD, interval, markdown_table, number_rows, percent

SCHEMA = 3
"""Number of the JSON form; it rises when a key changes its meaning or goes."""


@dataclass(frozen=True)
class EvaluationReport:
    """One detector on one set of labelled texts.

    Attributes:
        detector: Its name.
        label: What a positive row is called.
        negative: What a negative row is called.
        model: The model that it reads.
        source: Where the texts come from.
        numbers: The numbers of ``detect.metrics.Evaluation``, as plain values.
        several: Of a detector of several labels the numbers of all, those of ``detect.metrics.Evaluations``;
            None of a binary one.
        sweep: Rates at every score: the ROC and the precision-recall curve.
        reliability: Calibration, bin by bin.
        prevalence: Share of positive texts that ``thresholds`` are told for.
        thresholds: What the detector's stored thresholds do.
        threshold: The score from which a text counts as flagged in everything below.
        heat: Each layer and statistic alone; None if the detector does not split so.
        map: Rows laid flat; None if there are too few.
        hatecheck: For each functionality the share that is right; None without that file.
        hatecheck_bias: For each group that HateCheck aims at, the AUCs of Borkan et al.
        xstest: For each type of prompt the share that is flagged; None without that file.
        bias: For each group of the data, the AUCs of Borkan et al.
        bias_source: Where those groups come from.
        evasion: What each disguise does; None if it was not asked for.
        false_positives: The negative rows that score highest, of those that are flagged.
        false_negatives: The positive rows that score lowest, of those that are not.
        notes: What was left out and why.
        provenance: Versions, model fingerprint, data hash, settings: plain JSON values.
    """

    detector: str
    label: str
    negative: str
    model: str
    source: str
    numbers: dict[str, Any]  # Any: plain JSON values
    several: dict[str, Any] | None  # Any: as above
    sweep: Sweep
    reliability: tuple[Bin, ...]
    prevalence: float
    thresholds: tuple[OperatingPoint, ...]
    threshold: float
    heat: HeatMap | None
    map: FeatureMap | None
    hatecheck: tuple[Share, ...] | None
    hatecheck_bias: tuple[SubgroupAuc, ...]
    xstest: tuple[Share, ...] | None
    bias: tuple[SubgroupAuc, ...]
    bias_source: str
    evasion: tuple[Evasion, ...] | None
    false_positives: tuple[Mistake, ...]
    false_negatives: tuple[Mistake, ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]  # Any: plain JSON values

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values, with the number of their form. The texts of the errors are in it."""
        return {"schema": SCHEMA, **plain(self)}

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "EvaluationReport":  # Any: plain JSON values
        """From what ``to_dict`` gave.

        Raises:
            BadTexts: Another form, or something is missing or of another kind.
        """
        if not isinstance(record, dict) or record.get("schema") != SCHEMA:
            schema = record.get("schema") if isinstance(record, dict) else None
            raise BadTexts(f"the report has schema {schema!r}; this version reads {SCHEMA}; evaluate anew")
        rest = {key: value for key, value in record.items() if key != "schema"}
        report: EvaluationReport = built(cls, rest, "report")
        return report

    def tables(self) -> dict[str, str]:
        """The tables in Markdown by title, for a page or a model card; no text of the data is in them."""
        flagged = f"at a threshold of {self.threshold:.4f}"
        made = {
            "Numbers": markdown_table(NUMBER_HEAD, summary(self)),
            f"Thresholds where {percent(self.prevalence)} of texts are {self.label}": markdown_table(
                THRESHOLD_HEAD, threshold_rows(self.thresholds)
            ),
            "Calibration": markdown_table(
                ("rows", "mean score", "share positive", "95 % interval"), _bins(self)
            ),
        }
        if self.heat is not None:
            head = ("layer", *self.heat.rows)
            columns = zip(*self.heat.auc, strict=True)
            rows = [
                (layer, *map(_auc, numbers)) for layer, numbers in zip(self.heat.layers, columns, strict=True)
            ]
            made["Layers: AUC"] = markdown_table(head, rows)
        if self.hatecheck is not None:
            made[f"HateCheck, {flagged}"] = markdown_table(_share_head("right"), share_rows(self.hatecheck))
        if self.hatecheck_bias:
            made["HateCheck by group"] = markdown_table(BIAS_HEAD, bias_rows(self.hatecheck_bias))
        if self.xstest is not None:
            made[f"XSTest, {flagged}"] = markdown_table(_share_head("flagged"), share_rows(self.xstest))
        if self.bias:
            made[f"Groups: {self.bias_source}"] = markdown_table(BIAS_HEAD, bias_rows(self.bias))
        if self.evasion is not None:
            made[f"Evasion, {flagged}"] = markdown_table(EVASION_HEAD, evasion_rows(self.evasion))
        for title, worst in (("positives", self.false_positives), ("negatives", self.false_negatives)):
            shown = [(mistake.row, f"{mistake.score:.4f}") for mistake in worst]
            made[f"Worst false {title}"] = markdown_table(("row", "score"), shown) if shown else "None."
        return made

    def to_markdown(self) -> str:
        """The record in Markdown; errors by row and score only, without their text."""
        about = (
            f"`{self.detector}` ({self.model}) on {self.source}, splinelens {self.provenance['splinelens']}."
        )
        parts = [f"# Evaluation of {self.detector}", about]
        parts += [f"## {title}\n\n{table}" for title, table in self.tables().items()]
        if self.notes:
            parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in self.notes))
        return "\n\n".join(parts) + "\n"


THRESHOLD_HEAD = (
    "threshold",
    "score",
    "recall",
    "95 % interval",
    "false positives",
    "95 % interval",
    "precision",
    "false positives in 10,000 texts",
)
BIN_HEAD = ("rows", "mean score", "share positive", "95 % interval")
BIAS_HEAD = (
    "group",
    "rows",
    "positive",
    "subgroup AUC",
    "95 % interval",
    "BPSN AUC",
    "95 % interval",
    "BNSP AUC",
    "95 % interval",
)
EVASION_HEAD = (
    "disguise",
    "rows",
    "recall",
    "95 % interval",
    "in disguise",
    "95 % interval",
    "lost",
    "95 % interval",
    "false positives",
    "in disguise",
)


def summary(report: EvaluationReport) -> list[tuple[str, str, str]]:
    """The numbers of a report, each with its name and interval."""
    numbers = report.numbers
    auc, length, *others = number_rows(numbers)
    bounds = interval(numbers["average_precision_interval"])
    return [
        ("rows", f"{numbers['n']:,}, {numbers['positives']:,} of them {report.label}", ""),
        ("not scored", f"{numbers['undetermined']:,}", ""),
        auc,
        length,
        ("average precision", f"{numbers['average_precision']:.4f}", bounds),
        *others,
    ]


def threshold_rows(points: Sequence[OperatingPoint]) -> list[tuple[str, ...]]:
    """Cells of a table below ``THRESHOLD_HEAD``."""
    return [
        (
            point.name,
            f"{point.threshold:.4f}",
            percent(point.recall),
            _percents(point.recall_interval),
            percent(point.false_positive_rate),
            _percents(point.false_positive_interval),
            "-" if point.precision is None else percent(point.precision),
            f"{point.false_positives:,.0f}",
        )
        for point in points
    ]


def share_rows(shares: Sequence[Share]) -> list[tuple[str, ...]]:
    """Cells of a table of shares: kind, what is wanted, share, counts, interval."""
    return [
        (
            share.name,
            share.wanted,
            percent(share.share),
            f"{share.count} of {share.total}",
            _percents(share.interval),
        )
        for share in shares
    ]


def bias_rows(groups: Sequence[SubgroupAuc]) -> list[tuple[str, ...]]:
    """Cells of a table below ``BIAS_HEAD``."""
    return [
        (
            group.name,
            f"{group.rows:,}",
            f"{group.positives:,}",
            _auc(group.subgroup_auc),
            bounds(group.subgroup_interval),
            _auc(group.bpsn_auc),
            bounds(group.bpsn_interval),
            _auc(group.bnsp_auc),
            bounds(group.bnsp_interval),
        )
        for group in groups
    ]


def evasion_rows(found: Sequence[Evasion]) -> list[tuple[str, ...]]:
    """Cells of a table below ``EVASION_HEAD``."""
    return [
        (
            row.disguise.replace("_", " "),
            f"{row.positives} + {row.negatives}",
            percent(row.recall),
            _percents(row.recall_interval),
            percent(row.disguised_recall),
            _percents(row.disguised_recall_interval),
            f"{100 * row.lost:+.1f} points",
            _points(row.lost_interval),
            percent(row.false_positive_rate),
            percent(row.disguised_false_positive_rate),
        )
        for row in found
    ]


def bounds(interval: Sequence[float] | Bounds | None) -> str:
    """An interval in a cell; a dash where there is none.

    Example:
        >>> bounds((0.5, 0.75)), bounds(None)
        ('0.5000 to 0.7500', '-')
    """
    return f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "-"


def _share_head(counted: str) -> tuple[str, ...]:
    return ("kind", "wanted", counted, "texts", "95 % interval")


def _bins(report: EvaluationReport) -> list[tuple[str, ...]]:
    return [
        (f"{part.count:,}", f"{part.score:.4f}", f"{part.share:.4f}", bounds(part.interval))
        for part in report.reliability
    ]


def _auc(number: float | None) -> str:
    return "-" if number is None else f"{number:.4f}"


def _points(interval: Bounds | None) -> str:
    return f"{100 * interval[0]:+.1f} to {100 * interval[1]:+.1f}" if interval else "-"


def _percents(interval: Bounds) -> str:
    return f"{100 * interval[0]:.3g} to {percent(interval[1])}"
