"""Whether two models are related: the record, and its lines for a terminal."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from splinelens.detect.carried import CarriedDetector
from splinelens.detect.lineage import Relation
from splinelens.report.tables import Table, interval, percent
from splinelens.report.terminal import table_lines
from splinelens.texts.plain_text import harmless

_SMALL_LOSS = 0.02  # of AUC: the interval of the loss must end below

Verdict = Literal["same model", "related", "unrelated", "cannot tell"]


@dataclass(frozen=True)
class LineageReport:
    """The comparison of two models.

    Attributes:
        models: Their names.
        verdict: ``related`` says that they have an initialization in common, not which of them was first.
        reason: The verdict in one sentence.
        relation: The evidence; None for the same model.
        tokens: Tokens whose signs were compared.
        notes: What else the profiles show, such as which of the two was pruned.
        carried: A detector carried over, if one was given.
    """

    models: tuple[str, str]
    verdict: Verdict
    reason: str
    relation: Relation | None
    tokens: int
    notes: tuple[str, ...] = ()
    carried: CarriedDetector | None = None

    @property
    def p_value(self) -> float | None:
        """Of the hypothesis that the models were initialized independently; 0 where it is below 1e-300."""
        return None if self.relation is None else 10**self.relation.log10_p

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values, the verdict first."""
        return {
            "verdict": self.verdict,
            "reason": self.reason,
            "p_value": self.p_value,
            "log10_p": None if self.relation is None else self.relation.log10_p,
            "models": list(self.models),
            "tokens": self.tokens,
            "notes": list(self.notes),
            "relation": None if self.relation is None else asdict(self.relation),
            "carried": None if self.carried is None else asdict(self.carried),
        }


def lineage_lines(report: LineageReport) -> list[str]:
    """The verdict, the two tests, notes, and the detector."""
    lines = [harmless(f"{report.verdict}: {report.reason}")]
    if report.relation is not None:
        lines += ["", *table_lines(evidence_table(report.relation))]
    lines += [harmless(note) for note in report.notes]
    if report.carried is not None:
        lines += ["", *carried_lines(report.carried)]
    return lines


def evidence_table(relation: Relation) -> Table:
    """A row a test: how many neurons agree, how many would by chance, and the p-value.

    Neurons of layers of different sizes have no index in common.

    Example:
        >>> evidence_table(Relation((), 0.0, 0.0, 0.0, 0.0)).rows[0]
        ('same index', 'not tested', '-', '-')
    """
    tests = (
        ("index", relation.same_index, relation.indexed, relation.expected_index, relation.log10_index),
        ("sign", relation.same_sign, relation.signed, relation.signed / 2, relation.log10_sign),
    )
    rows = [
        (f"same {name}", f"{same:,} of {number:,}", f"{chance:,.1f}", power_of_ten(logarithm))
        if number
        else (f"same {name}", "not tested", "-", "-")
        for name, same, number, chance, logarithm in tests
    ]
    return Table(("matched neurons with the", "observed", "by chance", "p-value at most"), rows)


def carried_lines(carried: CarriedDetector) -> list[str]:
    """What a detector is worth with the second model."""
    rows = [
        ("texts", f"{carried.texts:,}, {carried.undetermined:,} more without a score"),
        ("same verdict", "-" if carried.same_verdict is None else percent(carried.same_verdict)),
        ("rank correlation", "-" if carried.rank_correlation is None else f"{carried.rank_correlation:.3f}"),
    ]
    if carried.auc is not None and carried.false_positives is not None:
        for name, auc, bounds in zip(("first", "second"), carried.auc, carried.auc_intervals, strict=True):
            rows.append((f"AUC with the {name}", f"{auc:.4f}  {interval(bounds)}"))
        rows.append(
            ("AUC lost", f"{carried.auc[0] - carried.auc[1]:+.4f}  {interval(carried.loss_interval)}")
        )
        rows.append(("false positives", " and ".join(map(percent, carried.false_positives))))
    title = f"detector {carried.detector}, fitted with the first model, read with the second:"
    return [harmless(title), *table_lines(Table(("", ""), rows), header=False), *_advice(carried)]


def power_of_ten(logarithm: float) -> str:
    """A p-value from its decimal logarithm, rounded up so that it stays a bound.

    Example:
        >>> power_of_ten(-10987.43), power_of_ten(-0.5), power_of_ten(0.0)
        ('1e-10987', '0.32', '1')
    """
    if logarithm <= -3:
        return f"1e{math.ceil(logarithm):d}"
    return f"{math.ceil(100 * 10**logarithm) / 100:g}"


def missing_layers(pairs: Sequence[tuple[int, int]], depth: int, side: int) -> list[int]:
    """The layers of one model that are aligned with none of the other.

    Example:
        >>> missing_layers([(0, 0), (3, 1)], depth=4, side=0)
        [1, 2]
    """
    return sorted(set(range(depth)) - {pair[side] for pair in pairs})


def _advice(carried: CarriedDetector) -> list[str]:
    if carried.auc is None:
        return ["Without labels this says how alike the scores are, not how good: give --label."]
    if carried.loss_interval is None:
        return ["Too few texts for an interval: give more before you decide."]
    most = carried.loss_interval[1]
    if most <= _SMALL_LOSS:
        return [
            f"It may be carried over: at most {max(most, 0):.3f} of AUC is lost. Thresholds move: compare "
            "the false positives, or choose thresholds again with splinelens adapt."
        ]
    return [
        f"Up to {most:.3f} of AUC may be lost: adapt it to the second model's features, or train one for it."
    ]
