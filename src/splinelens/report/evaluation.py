"""Results of one detector on labeled texts: a record, its JSON, its tables and its Markdown."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from pydantic_core import to_jsonable_python

from splinelens.detect.bootstrap import lost_recall_interval
from splinelens.detect.curves import Bin, OperatingPoint, Sweep
from splinelens.detect.subgroup_auc import SubgroupAuc
from splinelens.detect.thresholds import Interval, proportion_interval, share_interval
from splinelens.report.page import render_markdown
from splinelens.report.scores import Span
from splinelens.report.tables import Table, metric_table, percent, percents, share_words

IDENTITY_MENTIONS = ("ident_neutral_nh", "ident_pos_nh")
"""HateCheck's functionalities of harmless sentences that name a group of people."""

_SCHEMA = 3
"""Number of the JSON form; it rises when a key is renamed, removed or changes its meaning."""


@dataclass(frozen=True)
class LayerAuc:
    """AUC of each statistic at each layer by itself.

    Attributes:
        statistics: Their names.
        layers: The layers, from 0.
        auc: (statistic, layer); None where the detector does not use it. Below 0.5 it points the other way.
        what: What was measured, in words.
    """

    statistics: tuple[str, ...]
    layers: tuple[int, ...]
    auc: tuple[tuple[float | None, ...], ...]
    what: str


@dataclass(frozen=True)
class FeatureMap:
    """Some rows in two dimensions.

    Attributes:
        row: Row of each point in the file, from 0.
        label: 0 or 1.
        score: Calibrated score.
        pca: Coordinates along the first two principal components.
        explained: Their shares of the variance.
        tsne: Coordinates by t-SNE; empty if there are too few rows.
    """

    row: tuple[int, ...]
    label: tuple[int, ...]
    score: tuple[float, ...]
    pca: tuple[Interval, ...]
    explained: Interval
    tsne: tuple[Interval, ...]


@dataclass(frozen=True)
class Share:
    """Share of the texts of one kind, such as one functionality of HateCheck, that are right or flagged.

    Attributes:
        name: The kind.
        expected: The right verdict or label for it; ``mixed`` if rows differ.
        count: Texts that count.
        total: Texts of the kind that were scored.
        share: ``count / total``.
        interval: 95 % interval (Clopper-Pearson).
    """

    name: str
    expected: str
    count: int
    total: int
    share: float
    interval: Interval


@dataclass(frozen=True)
class Evasion:
    """Effect of one disguise on the same rows, nothing else changed.

    Attributes:
        disguise: Its name.
        positives: Positive rows that were scored both ways.
        recall: Share of them that are flagged when plain.
        recall_interval: Its ``share_interval``.
        disguised_recall: Share of them that are flagged when disguised.
        disguised_recall_interval: Its ``share_interval``.
        lost: The difference; negative if more are flagged when disguised.
        lost_interval: 95 % bootstrap interval over rows or groups; None with fewer than 50 positive rows or
            10 groups of them.
        negatives: Negative rows that were scored both ways.
        false_positive_rate: Share of them that are flagged when plain.
        disguised_false_positive_rate: Share of them that are flagged when disguised.
    """

    disguise: str
    positives: int
    recall: float
    recall_interval: Interval
    disguised_recall: float
    disguised_recall_interval: Interval
    lost: float
    lost_interval: Interval | None
    negatives: int
    false_positive_rate: float
    disguised_false_positive_rate: float

    @classmethod
    def of(
        cls,
        disguise: str,
        positive: np.ndarray,
        plain: np.ndarray,
        disguised: np.ndarray,
        seed: int = 0,
        groups: np.ndarray | None = None,
    ) -> "Evasion":
        """Compare flags, where both classes are present; ``groups`` has a number per row."""
        count, members = int(positive.sum()), None if groups is None else groups[positive]
        hits, disguised_hits = int(plain[positive].sum()), int(disguised[positive].sum())
        return cls(
            disguise=disguise,
            positives=count,
            recall=hits / count,
            recall_interval=share_interval(plain[positive], members),
            disguised_recall=disguised_hits / count,
            disguised_recall_interval=share_interval(disguised[positive], members),
            lost=(hits - disguised_hits) / count,
            lost_interval=lost_recall_interval(plain[positive], disguised[positive], seed, members),
            negatives=int((~positive).sum()),
            false_positive_rate=float(plain[~positive].mean()),
            disguised_false_positive_rate=float(disguised[~positive].mean()),
        )


@dataclass(frozen=True)
class Mistake:
    """One row on the wrong side of the threshold.

    Attributes:
        row: Its row in the file, from 0.
        score: Calibrated score.
        text: The beginning of the text.
        characters: Characters of the whole text.
        words: Contribution of each word to the logit; empty without an explanation.
        rest: Logit minus the contributions of ``words``: the constant of the head, and words that are not
            shown. None without an explanation.
        constant: The constant of the head, a part of ``rest``. None without an explanation.
    """

    row: int
    score: float
    text: str
    characters: int
    words: tuple[Span, ...] = ()
    rest: float | None = None
    constant: float | None = None


@dataclass(frozen=True)
class EvaluationReport:
    """One detector on one set of labeled texts.

    Attributes:
        detector: Its name.
        label: Name of the positive class.
        negative: Name of the negative class.
        model: The model that the detector reads.
        source: Where the texts come from.
        training_rows: Rows that the detector was fitted on, as far as it records its texts; None if it
            records none.
        metrics: Those of ``detect.metrics.Evaluation`` as JSON values.
        all_labels: Those of ``detect.metrics.Evaluations`` for a detector of several labels, else None.
        sweep: Rates at every score: the ROC and the precision-recall curve.
        reliability: Calibration, bin by bin.
        prevalence: Share of positive texts that ``thresholds`` assume.
        score_share: Share of positive texts that the scores assume; None if the detector does not record it.
        thresholds: Effect of the detector's stored thresholds.
        threshold: The score from which a text counts as flagged in everything below.
        layer_auc: AUC by layer and statistic; None if the detector does not split into layers.
        feature_map: Rows in two dimensions; None if there are too few.
        hatecheck: Share of right verdicts for each functionality; None without that file.
        hatecheck_bias: AUCs of Borkan et al. for each group that HateCheck targets.
        xstest: Share of flagged prompts of each type; None without that file.
        bias: AUCs of Borkan et al. for each group of the data.
        bias_source: Where those groups come from.
        evasion: Effect of each disguise; None if it was not measured.
        false_positives: Flagged negative rows, highest scores first.
        false_negatives: Positive rows that are not flagged, lowest scores first.
        notes: What was left out, and why.
        provenance: Versions, model fingerprint, data hash, settings: JSON values.
    """

    detector: str
    label: str
    negative: str
    model: str
    source: str
    training_rows: int | None
    metrics: dict[str, Any]  # Any: JSON values, here and below
    all_labels: dict[str, Any] | None
    sweep: Sweep
    reliability: tuple[Bin, ...]
    prevalence: float
    score_share: float | None
    thresholds: tuple[OperatingPoint, ...]
    threshold: float
    layer_auc: LayerAuc | None
    feature_map: FeatureMap | None
    hatecheck: tuple[Share, ...] | None
    hatecheck_bias: tuple[SubgroupAuc, ...]
    xstest: tuple[Share, ...] | None
    bias: tuple[SubgroupAuc, ...]
    bias_source: str
    evasion: tuple[Evasion, ...] | None
    false_positives: tuple[Mistake, ...]
    false_negatives: tuple[Mistake, ...]
    notes: tuple[str, ...]
    provenance: dict[str, Any]

    def to_json(self) -> str:
        """One JSON object with the names of the attributes and ``schema``; texts of errors are part of it."""
        record = {"schema": _SCHEMA, **to_jsonable_python(self)}
        return json.dumps(record, ensure_ascii=False, allow_nan=False, indent=1) + "\n"

    def to_markdown(self) -> str:
        """The report in Markdown; errors by row and score, without their text."""
        return render_markdown(
            "evaluation",
            report=self,
            tables=report_tables(self),
            flagged=f"at a threshold of {self.threshold:.4f}",
            prevalence=percent(self.prevalence),
            score_words=share_words(self.score_share, self.label),
        )


def report_tables(report: EvaluationReport) -> dict[str, Table]:
    """The tables of a report by name; no text of the data is in them. What was not measured has no rows."""
    metrics, interval = report.metrics, "95 % interval"
    counts = [
        ("rows", f"{metrics['n']:,}, {metrics['positives']:,} of them {report.label}", ""),
        ("not scored", f"{metrics['undetermined']:,}", ""),
    ]
    if report.training_rows:
        counts.append(
            ("rows it was fitted on", f"{report.training_rows:,}, so these metrics are too good", "")
        )
    head, rows = metric_table(metrics)
    bins = [
        (f"{part.count:,}", f"{part.score:.4f}", f"{part.share:.4f}", _bounds(part.interval))
        for part in report.reliability
    ]
    return {
        "metrics": Table(head, [*counts, *rows]),
        "thresholds": _threshold_table(report.thresholds),
        "calibration": Table(("rows", "mean score", f"share {report.label}", interval), bins),
        "layers": _layer_table(report.layer_auc),
        "hatecheck": share_table(report.hatecheck or (), "right"),
        "hatecheck_groups": _group_table(report.hatecheck_bias, report.label),
        "xstest": share_table(report.xstest or (), "flagged"),
        "groups": _group_table(report.bias, report.label),
        "evasion": _evasion_table(report.evasion or ()),
        "false_positives": _mistake_table(report.false_positives),
        "false_negatives": _mistake_table(report.false_negatives),
    }


def share_table(shares: Sequence[Share], counted: str) -> Table:
    """One row per kind of text; ``counted`` heads the shares."""
    rows = [
        (one.name, one.expected, percent(one.share), f"{one.count} of {one.total}", percents(one.interval))
        for one in shares
    ]
    return Table(("kind", "expected", counted, "texts", "95 % interval"), rows)


def shares(
    names: Sequence[str],
    counted: np.ndarray,
    positive: np.ndarray,
    scored: np.ndarray,
    classes: tuple[str, str],
) -> tuple[Share, ...]:
    """For each kind of text the share that counts.

    Returns:
        The kinds in order of appearance, without those of which no text was scored.

    Example:
        >>> yes = np.array([True, True])
        >>> shares(["a", "a"], np.array([True, False]), yes, yes, ("toxic", "clean"))[0].share
        0.5
    """
    kinds, result = np.array(names), []
    for name in dict.fromkeys(names):
        rows = scored & (kinds == name)
        total, count = int(rows.sum()), int(counted[rows].sum())
        if total:
            sides = set(positive[rows].tolist())
            expected = "mixed" if len(sides) > 1 else classes[0] if sides == {True} else classes[1]
            interval = proportion_interval(count, total)
            result.append(Share(name, expected, count, total, count / total, interval))
    return tuple(result)


def identity_mentions(functions: Sequence[Share], fpr: float) -> list[dict[str, Any]]:
    """How many harmless sentences that name a group of people are flagged, from HateCheck's functionalities.

    Args:
        functions: The share of right verdicts of each.
        fpr: The false-positive rate whose stored threshold was used, for the name.

    Returns:
        A list of one ``Share`` as JSON values, as ``Evaluation`` records it under ``flagged``; empty without
        these functionalities.

    Example:
        >>> right = Share("ident_neutral_nh", "clean", 9, 10, 0.9, (0.5, 1.0))
        >>> [(share["count"], share["total"]) for share in identity_mentions([right], 0.05)]
        [(1, 10)]
    """
    named = [one for one in functions if one.name in IDENTITY_MENTIONS]
    if not named:
        return []
    total = sum(one.total for one in named)
    count = total - sum(one.count for one in named)
    name = f"harmless identity mentions (HateCheck) flagged at the stored {percent(fpr)} threshold"
    share = Share(name, named[0].expected, count, total, count / total, proportion_interval(count, total))
    return [to_jsonable_python(share)]


def _threshold_table(points: Sequence[OperatingPoint]) -> Table:
    head = ("threshold", "score", "recall", "95 % interval", "false positives", "95 % interval", "precision")
    rows = [
        (
            point.name,
            f"{point.threshold:.4f}",
            *_rate(point.recall, point.recall_interval),
            *_rate(point.false_positive_rate, point.false_positive_interval),
            "-" if point.precision is None else percent(point.precision),
            f"{point.false_positives:,.0f}",
        )
        for point in points
    ]
    return Table((*head, "false positives in 10,000 texts"), rows)


def _layer_table(layer_auc: LayerAuc | None) -> Table:
    """One row per layer, one column per statistic."""
    if layer_auc is None:
        return Table(("layer",), [])
    columns = zip(*layer_auc.auc, strict=True)
    rows = [(str(at), *map(_auc, column)) for at, column in zip(layer_auc.layers, columns, strict=True)]
    return Table(("layer", *layer_auc.statistics), rows)


def _group_table(groups: Sequence[SubgroupAuc], label: str) -> Table:
    aucs = [cell for name in ("subgroup", "BPSN", "BNSP") for cell in (f"{name} AUC", "95 % interval")]
    rows = [
        (
            *(group.name, f"{group.rows:,}", f"{group.positives:,}"),
            *(_auc(group.subgroup_auc), _bounds(group.subgroup_interval)),
            *(_auc(group.bpsn_auc), _bounds(group.bpsn_interval)),
            *(_auc(group.bnsp_auc), _bounds(group.bnsp_interval)),
        )
        for group in groups
    ]
    return Table(("group", "rows", label, *aucs), rows)


def _evasion_table(rows: Sequence[Evasion]) -> Table:
    rates = [cell for name in ("recall", "disguised", "lost") for cell in (name, "95 % interval")]
    cells = [
        (
            row.disguise.replace("_", " "),
            f"{row.positives} + {row.negatives}",
            *_rate(row.recall, row.recall_interval),
            *_rate(row.disguised_recall, row.disguised_recall_interval),
            f"{100 * row.lost:+.1f} points",
            " to ".join(f"{100 * end:+.1f}" for end in row.lost_interval) if row.lost_interval else "-",
            percent(row.false_positive_rate),
            percent(row.disguised_false_positive_rate),
        )
        for row in rows
    ]
    return Table(("disguise", "rows", *rates, "false positives", "disguised"), cells)


def _mistake_table(mistakes: Sequence[Mistake]) -> Table:
    return Table(("row", "score"), [(str(one.row), f"{one.score:.4f}") for one in mistakes])


def _rate(share: float, interval: Interval) -> tuple[str, str]:
    return percent(share), percents(interval)


def _auc(number: float | None) -> str:
    return "-" if number is None else f"{number:.4f}"


def _bounds(interval: Sequence[float] | None) -> str:
    return f"{interval[0]:.4f} to {interval[1]:.4f}" if interval else "-"
