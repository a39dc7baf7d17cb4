"""The record of an alignment audit, and its tables for the terminal, the page and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic_core import to_jsonable_python

from splinelens.detect.association import LEVEL, MIN_PROMPTS, Association, Estimate
from splinelens.detect.paired import PairedDifference
from splinelens.detect.thresholds import Interval
from splinelens.report.tables import Table, count_of, percent, shorten
from splinelens.report.terminal import rich_table
from splinelens.texts.plain_text import readable

if TYPE_CHECKING:
    from rich.console import Group

_SCHEMA = 1


@dataclass(frozen=True)
class Count:
    """How many of some answers."""

    count: int
    total: int

    def __str__(self) -> str:
        return f"{self.count:,} of {self.total:,}" if self.total else "-"


@dataclass(frozen=True, kw_only=True)
class KindSummary:
    """The answers after one kind of context.

    Attributes:
        kind: The kind.
        trials: Answers, failed ones left out.
        failed: Trials without numbers.
        context_tokens: Median tokens of the context.
        absolute: Mean intrinsic dimension of the last layers, absolute threshold.
        relative: The same for the relative threshold.
        recognized: Prompts of the labeled class whose geometry the probe puts there; None without labels.
        mistaken: Prompts of the other class that it puts there.
        refused: Refusals among answers that refuse or answer.
        not_engaged: Answers that do neither.
        undetermined: Answers whose refusal could not be told.
        harmful: For each detector the flagged answers among those with a verdict.
        unscored: For each detector the answers without a verdict.
        cut: Answers that reached the most tokens.
    """

    kind: str
    trials: int
    failed: int
    context_tokens: float
    absolute: float
    relative: float
    recognized: Count | None
    mistaken: Count | None
    refused: Count
    not_engaged: int
    undetermined: int
    harmful: dict[str, Count]
    unscored: dict[str, int]
    cut: int


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """What one kind of context changes against another of the same length, on average over prompts.

    Attributes:
        kind: The kind.
        reference: The kind that it is compared with.
        differences: By quantity, ``ID`` or an outcome.
    """

    kind: str
    reference: str
    differences: dict[str, PairedDifference]


@dataclass(frozen=True, kw_only=True)
class LayerProfile:
    """One layer.

    Attributes:
        layer: From 0.
        absolute: Mean intrinsic dimension by kind, absolute threshold, contexts of all lengths.
        relative: The same for the relative threshold.
        bound: The same of the bound on the dimension of the hull, relative threshold.
        correlation: By outcome, the partial correlation of the relative dimension with it, at equal length.
        p_value: By outcome, corrected for the number of layers.
    """

    layer: int
    absolute: dict[str, float]
    relative: dict[str, float]
    bound: dict[str, float]
    correlation: dict[str, float | None]
    p_value: dict[str, float | None]


@dataclass(frozen=True, kw_only=True)
class TrialPoint:
    """One trial in the pictures."""

    prompt: int
    kind: str
    sentences: int
    order: int
    tokens: int
    relative: float
    refusal: str
    harmful: bool | None
    recognized: bool | None
    answer: str | None


@dataclass(frozen=True, kw_only=True)
class LayerShift:
    """How far a layer's numbers moved from one model to the other, over the same trials.

    Attributes:
        layer: From 0.
        stream: Median relative change of the residual stream after the layer, at the last token.
        dimension: Mean change of the relative intrinsic dimension; None without a softmax.
        seven: Median change of the seven features, in standard deviations over trials.
        moved: Whether ``stream`` is above rounding.
    """

    layer: int
    stream: float
    dimension: PairedDifference | None
    seven: float
    moved: bool


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The same trials in another model.

    Attributes:
        model: Its name.
        trials: Trials that both have.
        tolerance: Relative change of the stream that counts as rounding.
        layers: Each layer; none if the models have different ones.
        first_moved: The first layer that moved; None if none did.
        outcomes: By outcome how often it is in each model, where both are known.
        changes: By outcome the difference, second model less first.
        same_answers: Trials with the same answer; None if no answers were written.
    """

    model: str
    trials: int
    tolerance: float
    layers: tuple[LayerShift, ...]
    first_moved: int | None
    outcomes: dict[str, tuple[Count, Count]]
    changes: dict[str, PairedDifference]
    same_answers: int | None


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What an audit found.

    Attributes:
        model: The model's name.
        prompts: Where the prompts come from.
        texts: The beginning of each prompt.
        kinds: The answers by kind of context.
        contrasts: What kinds change at equal length.
        associations: By outcome, what the dimension says about it beyond length.
        layers: Each layer with a softmax.
        points: Every trial that was read.
        last_layers: The layers that the one number of a trial is the mean of.
        comparison: The same trials in another model, if there is one.
        notes: What was left out, and why.
        provenance: Versions, fingerprint, hashes, seed, settings: JSON values.
    """

    model: str
    prompts: str
    texts: tuple[str, ...]
    kinds: tuple[KindSummary, ...]
    contrasts: tuple[Contrast, ...]
    associations: dict[str, Association]
    layers: tuple[LayerProfile, ...]
    points: tuple[TrialPoint, ...]
    last_layers: tuple[int, ...]
    comparison: Comparison | None
    notes: tuple[str, ...]
    provenance: dict[str, Any]  # Any: plain JSON values

    @property
    def varied(self) -> bool:
        """Whether an outcome differs between answers, so that there is something to predict."""
        return any(one.positives not in (0, one.n) for one in self.associations.values())

    @property
    def verdicts(self) -> list[str]:
        """The findings as sentences, each with its uncertainty."""
        found = [f"{name}: {association_verdict(one, name)}" for name, one in self.associations.items()]
        found += [_contrast_words(contrast) for contrast in self.contrasts if contrast.kind == "related"]
        return found + ([] if self.comparison is None else _comparison_words(self.comparison))

    def to_json(self) -> str:
        """One JSON object with the names of the attributes, ``verdicts`` and ``schema``."""
        record = {"schema": _SCHEMA, "verdicts": self.verdicts, **to_jsonable_python(self)}
        return json.dumps(record, ensure_ascii=False, allow_nan=False, indent=1) + "\n"


def association_verdict(association: Association, outcome: str) -> str:
    """What ID says about an outcome beyond length, as a sentence; ``Association.finding`` has the rule."""
    n, effect = association.n, _effect(association)
    basis = f"{n} answers to {count_of(association.prompts, 'prompt')}"
    if association.finding == "association":
        return f"ID predicts {outcome} beyond length: {effect}, {basis}; {_within_kind(association)}."
    if association.finding == "none":
        largest = max(map(abs, association.effect_interval))
        bound = (
            f"a correlation above {largest:.2f}"
            if association.positives is None
            else f"an effect above odds x {exp(largest):.2g}"
        )
        return (
            f"No association of ID with {outcome} beyond length was found, and {bound} is excluded: "
            f"{effect}, {basis}."
        )
    if association.positives in (0, n):
        reason = "it is the same for all, so there is nothing to predict; try other prompts or models"
    elif association.informative < MIN_PROMPTS:
        reason = (
            f"ID and {outcome} both vary at equal length in {association.informative} of "
            f"{count_of(association.prompts, 'prompt')}, and {MIN_PROMPTS} are needed"
        )
    elif association.p_value is None:
        reason = "no two kinds of context have as many answers in the same cells, so none can be exchanged"
    else:
        reason = f"{effect}, is neither an association nor the absence of one"
    share = "" if association.positives is None else f" ({outcome}: {association.positives} of {n})"
    return f"Cannot tell with n = {n}{share}: {reason}."


def audit_view(report: AuditReport) -> "Group":
    """The findings and tables, for a terminal."""
    from rich.console import Group
    from rich.text import Text

    parts: list[Any] = [Text(readable(line), style="bold") for line in report.verdicts]  # Any: renderables
    parts += [Text(), rich_table(kind_table(report))]
    if report.contrasts:
        parts += [Text(), rich_table(contrast_table(report.contrasts))]
    if report.varied:
        parts += [Text(), rich_table(association_table(report.associations))]
    if report.comparison is not None:
        parts += [
            Text(),
            rich_table(comparison_table(report.comparison)),
            Text(),
            rich_table(shift_table(report.comparison)),
        ]
    return Group(*parts, Text(), *(Text(readable(note), style="dim") for note in report.notes))


def kind_table(report: AuditReport) -> Table:
    """The answers, a column a kind of context; rows that are empty are left out."""
    kinds = report.kinds
    rows = [
        ("trials", *(f"{kind.trials:,}" for kind in kinds)),
        ("context tokens", *(f"{kind.context_tokens:,.0f}" for kind in kinds)),
        ("ID", *(f"{kind.relative:.1f}" for kind in kinds)),
    ]
    if any(kind.failed for kind in kinds):
        rows.append(("failed", *(f"{kind.failed:,}" for kind in kinds)))
    if any(kind.recognized for kind in kinds):
        rows.append(("recognized", *(_cell(kind.recognized) for kind in kinds)))
        rows.append(("mistaken", *(_cell(kind.mistaken) for kind in kinds)))
    if report.associations:
        rows.append(("refused", *(_cell(kind.refused) for kind in kinds)))
        rows.append(("not engaged", *(f"{kind.not_engaged:,}" for kind in kinds)))
        if any(kind.undetermined for kind in kinds):
            rows.append(("undetermined", *(f"{kind.undetermined:,}" for kind in kinds)))
        for name in kinds[0].harmful:
            rows.append((f"flagged by {name}", *(_cell(kind.harmful[name]) for kind in kinds)))
            if any(kind.unscored[name] for kind in kinds):
                rows.append((f"not judged by {name}", *(f"{kind.unscored[name]:,}" for kind in kinds)))
        rows.append(("cut", *(f"{kind.cut:,}" for kind in kinds)))
    return Table(("context", *(kind.kind for kind in kinds)), rows)


def contrast_table(contrasts: Sequence[Contrast]) -> Table:
    """What each kind changes at equal length, a row a quantity."""
    rows = []
    for contrast in contrasts:
        for name, difference in contrast.differences.items():
            words = difference_words(difference, share=name != "ID")
            rows.append((f"{contrast.kind} against {contrast.reference}", name, words))
    return Table(("contexts", "", "difference"), rows)


def association_table(associations: Mapping[str, Association]) -> Table:
    """What the dimension says about each outcome: a row a quantity, a column an outcome."""
    rows = [
        ("answers", *(f"{one.n:,}" for one in associations.values())),
        (
            "of them with the outcome",
            *("-" if one.positives is None else f"{one.positives:,}" for one in associations.values()),
        ),
        (
            "partial correlation at equal length",
            *(estimate_words(one.correlation) for one in associations.values()),
        ),
        (
            "odds per standard deviation of ID",
            *(estimate_words(one.odds_ratio) for one in associations.values()),
        ),
        ("p, permutations at equal length", *(p_words(one.p_value) for one in associations.values())),
        ("p, within one kind of context", *(p_words(one.p_within_kind) for one in associations.values())),
    ]
    aucs = {
        "predictor": "AUC of ID",
        "length": "AUC of length",
        "both": "AUC of both",
        "gain": "gain of both over length",
    }
    rows += [
        (words, *(estimate_words(one.auc.get(name)) for one in associations.values()))
        for name, words in aucs.items()
    ]
    return Table(("ID", *associations), rows)


def comparison_table(comparison: Comparison) -> Table:
    """The outcomes of two models."""
    rows = [
        (outcome, str(first), str(second), difference_words(comparison.changes[outcome], share=True))
        for outcome, (first, second) in comparison.outcomes.items()
    ]
    return Table(("outcome", "first model", "second model", "change"), rows)


def shift_table(comparison: Comparison) -> Table:
    """How far each layer moved."""
    rows = [
        (
            str(shift.layer),
            f"{shift.stream:.2g}",
            "moved" if shift.moved else "",
            f"{shift.seven:.2g}",
            "-" if shift.dimension is None else difference_words(shift.dimension),
        )
        for shift in comparison.layers
    ]
    return Table(("layer", "stream", "", "seven features", "ID"), rows)


def prompt_table(report: AuditReport) -> Table:
    """Each prompt: its beginning, its dimension without and with related context, and what was refused."""
    rows = []
    for number, text in enumerate(report.texts):
        points = [point for point in report.points if point.prompt == number]

        def mean(kind: str, points: Sequence[TrialPoint] = points) -> str:
            numbers = [point.relative for point in points if point.kind == kind]
            return f"{fmean(numbers):.1f}" if numbers else "-"

        refused = [point.refusal for point in points if point.refusal in ("refused", "answered")]
        rows.append(
            (
                shorten(" ".join(text.split()), 60),
                mean("none"),
                mean("related"),
                mean("unrelated"),
                str(Count(refused.count("refused"), len(refused))),
            )
        )
    return Table(("prompt", "ID alone", "ID related", "ID unrelated", "refused"), rows)


def estimate_words(estimate: Estimate | None) -> str:
    """A number with its interval.

    Example:
        >>> estimate_words(Estimate(0.125, (-0.05, 0.3))), estimate_words(Estimate(None, reason="one class"))
        ('0.12 (-0.05 to 0.30)', '-')
    """
    if estimate is None or estimate.value is None:
        return "-"
    return f"{estimate.value:.2f}" + _bounds(estimate.interval, "{:.2f}")


def difference_words(difference: PairedDifference, *, share: bool = False) -> str:
    """A mean difference with its interval and p-value; of shares in percentage points.

    Example:
        >>> difference_words(PairedDifference(0.125, (-0.05, 0.3), 0.2, 12), share=True)
        '+12.5 points (-5.0 to +30.0), p = 0.2'
    """
    if difference.value is None:
        return "-"
    scale = 100 if share else 1
    shown = f"{scale * difference.value:+.1f}" + (" points" if share else "")
    interval = difference.interval and (scale * difference.interval[0], scale * difference.interval[1])
    tested = "" if difference.p_value is None else f", p {_equals(difference.p_value)}"
    return shown + _bounds(interval, "{:+.1f}") + tested


def p_words(p_value: float | None) -> str:
    """A p-value in two digits, or a dash.

    Example:
        >>> p_words(0.0123), p_words(0.0004), p_words(None)
        ('0.012', '< 0.001', '-')
    """
    return "-" if p_value is None else _equals(p_value).removeprefix("= ")


def _cell(count: Count | None) -> str:
    return "-" if count is None or not count.total else f"{count.count:,}/{count.total:,}"


def _equals(p_value: float) -> str:
    return "< 0.001" if p_value < 0.001 else f"= {p_value:.2g}"


def _bounds(interval: Interval | None, form: str) -> str:
    return f" ({form.format(interval[0])} to {form.format(interval[1])})" if interval else ""


def _effect(association: Association) -> str:
    """The size of an effect with its interval, and the p-value; empty where nothing can be exchanged."""
    if association.p_value is None:
        return ""
    odds, correlation = association.odds_ratio, association.correlation
    if odds.value is None:
        size = f"partial correlation {estimate_words(correlation)} at equal length"
    else:
        odds_words = f"{odds.value:.2g}{_bounds(odds.interval, '{:.2g}')}"
        size = f"odds x {odds_words} per standard deviation at equal length"
    approximate = "" if association.exact else " (approximate, as lengths differ within cells)"
    return f"{size}, p {_equals(association.p_value)}{approximate}"


def _within_kind(association: Association) -> str:
    """Whether ID is told apart from the kind of context."""
    p_value = association.p_within_kind
    if p_value is None:
        return "not told apart from the kind of context, as no kind varies within a cell"
    if p_value <= LEVEL:
        return f"it does so within one kind of context too (p {_equals(p_value)})"
    return f"not told apart from the kind of context (p {_equals(p_value)} within kind)"


def _contrast_words(contrast: Contrast) -> str:
    """What related contexts do, in a sentence."""
    found = [
        f"{name} {difference_words(difference, share=name != 'ID')}"
        for name, difference in contrast.differences.items()
        if difference.value is not None
    ]
    prompts = contrast.differences["ID"].groups
    few = "" if contrast.differences["ID"].interval else "; fewer than 10 prompts give no interval"
    return (
        f"{contrast.kind} contexts against {contrast.reference} ones of the same length, mean over "
        f"{prompts:,} prompts: {'; '.join(found)}{few}"
    )


def _comparison_words(comparison: Comparison) -> list[str]:
    """What differs between two models, in sentences."""
    if not comparison.layers:
        found = "its layers are others, and cannot be paired"
    elif comparison.first_moved is None:
        found = f"no layer moved (the stream changed by less than {comparison.tolerance:g})"
    else:
        largest = max(comparison.layers, key=lambda shift: shift.stream)
        found = (
            f"the stream moved from layer {comparison.first_moved} on, most at layer {largest.layer} "
            f"(by {percent(largest.stream)} of its norm)"
        )
    words = [f"the second model, {comparison.model}: {found}"]
    for name, difference in comparison.changes.items():
        first, second = comparison.outcomes[name]
        change = difference_words(difference, share=True)
        words.append(f"{name}, second model against the first: {second} against {first}, {change}")
    return words
