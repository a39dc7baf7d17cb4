"""The record of a comparison of truthfulness scores, its verdict, and its tables."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from splinelens.detect.thresholds import Interval
from splinelens.report.tables import Table, interval

TEXT_ONLY, MODEL = "text only", "model"

_CHANCE = 0.5
_FEW_GROUPS = "(too few rows for an interval)"


@dataclass(frozen=True)
class Rival:
    """One way to score texts, and how well it tells true from false ones on rows that it was not fitted on.

    Attributes:
        name: What is read.
        kind: ``text only`` or ``model``.
        auc: Over all rows, or the mean over groups.
        interval: Of the AUC, 95 % by bootstrap; None of too few rows.
        groups: AUC and interval of each group, in the order of the report's ``groups``.
        gain: Of a rival from the model, the AUC less that of the best rival from text only.
        gain_interval: Of the gain.
    """

    name: str
    kind: str
    auc: float
    interval: Interval | None
    groups: tuple[tuple[float, Interval | None], ...] = ()
    gain: float | None = None
    gain_interval: Interval | None = None


@dataclass(frozen=True)
class LayerCurve:
    """The dimension of true texts by layer.

    Attributes:
        layers: The layers.
        two_nn: Intrinsic dimension of the states of true texts (TwoNN).
        lid_auc: AUC of the local dimension at each layer, out of fold.
        peak: The layer that is chosen without labels.
    """

    layers: tuple[int, ...]
    two_nn: tuple[float, ...]
    lid_auc: tuple[float, ...]
    peak: int


@dataclass(frozen=True)
class TruthReport:
    """What tells true from false texts on these rows.

    Attributes:
        source: What the texts are from.
        model: Name of the model.
        rows: Rows that every rival scored.
        true: How many of them are true.
        left_out: Rows left out, by reason.
        protocol: In words, which rows a rival is fitted on.
        groups: Names of the groups with an AUC of their own.
        rivals: Those from text only first.
        curve: By layer.
        settings: Numbers of neighbors, layers, strengths, seed.
        provenance: Versions, model, hashes.
    """

    source: str
    model: str
    rows: int
    true: int
    left_out: dict[str, int]
    protocol: str
    groups: tuple[str, ...]
    rivals: tuple[Rival, ...]
    curve: LayerCurve
    settings: dict[str, Any]  # Any: plain JSON values
    provenance: dict[str, Any]  # Any: plain JSON values

    @property
    def best_text(self) -> Rival:
        """The rival from text only with the highest AUC."""
        return max((rival for rival in self.rivals if rival.kind == TEXT_ONLY), key=lambda rival: rival.auc)

    @property
    def best_model(self) -> Rival:
        """The rival from the model with the highest AUC."""
        return max((rival for rival in self.rivals if rival.kind == MODEL), key=lambda rival: rival.auc)

    @property
    def is_evidence(self) -> bool:
        """Whether a rival from the model is better than text only and than chance, both by its intervals."""
        gain, bounds = self.best_model.gain_interval, self.best_model.interval
        return gain is not None and bounds is not None and gain[0] > 0 and bounds[0] > _CHANCE

    @property
    def verdict(self) -> str:
        """One plain sentence or two."""
        text, model = self.best_text, self.best_model
        words = f"the words alone give {text.auc:.2f} ({text.name})"
        if self.is_evidence:
            return (
                f"{model.name} gives {model.auc:.2f} where {words}: on these rows the model tells more about "
                "truth than the text does by itself. It measures what the model holds likely, not truth."
            )
        if model.auc <= text.auc:
            return f"No verdict: {words}, so what follows is not evidence about the model."
        if model.gain_interval is None:
            return f"No verdict: {self.rows} rows are too few to compare; {words}."
        if model.gain_interval[0] > 0:
            return f"No verdict: {model.name} with {model.auc:.2f} cannot be told apart from chance."
        return (
            f"No verdict: {words}, and {model.name} with {model.auc:.2f} cannot be told apart from that "
            f"(gain {interval(model.gain_interval)}): what follows is not evidence about the model."
        )

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values, the verdict first."""
        record = {"verdict": self.verdict, "evidence": self.is_evidence} | asdict(self)
        return dict(json.loads(json.dumps(record)))


def rival_table(report: TruthReport) -> Table:
    """A row a rival, those from text only first."""
    rows = [
        (
            rival.name,
            rival.kind,
            f"{rival.auc:.3f}",
            _bounds(rival.interval),
            "" if rival.gain is None else f"{rival.gain:+.3f}",
            "" if rival.gain is None else _bounds(rival.gain_interval),
        )
        for rival in report.rivals
    ]
    auc = "mean AUC" if report.groups else "AUC"
    return Table(("score", "from", auc, "95 % interval", "gain over text", "interval"), rows)


def group_table(report: TruthReport) -> Table:
    """A row a rival, a column a group."""
    rows = [
        (rival.name, *(f"{auc:.3f} {_bounds(bounds)}" for auc, bounds in rival.groups))
        for rival in report.rivals
    ]
    return Table(("score", *report.groups), rows)


def curve_table(curve: LayerCurve) -> Table:
    """A row a layer."""
    cells = zip(curve.layers, curve.two_nn, curve.lid_auc, strict=True)
    return Table(
        ("layer", "TwoNN", "AUC of LID"),
        [(str(layer), f"{dimension:.1f}", f"{auc:.3f}") for layer, dimension, auc in cells],
    )


def left_out_lines(report: TruthReport) -> list[str]:
    """Why rows were left out."""
    return [f"{count:,} rows left out: {reason}" for reason, count in report.left_out.items()]


def _bounds(bounds: Sequence[float] | None) -> str:
    return _FEW_GROUPS if bounds is None else f"[{bounds[0]:.3f}, {bounds[1]:.3f}]"
