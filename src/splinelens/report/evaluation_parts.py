"""The parts of an evaluation's report, and the way from plain JSON values back to such records."""

import types
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints

import numpy as np

from splinelens.detect.bootstrap import MIN_ROWS
from splinelens.detect.thresholds import proportion_interval
from splinelens.errors import BadTexts
from splinelens.report.scores import Span

Bounds = tuple[float, float]


@dataclass(frozen=True)
class HeatMap:
    """How much one layer and one statistic say alone.

    Attributes:
        rows: The statistics.
        layers: The layers, from 0.
        auc: (row, layer); None where the detector does not read this one. Below 0.5 it points the other way.
        what: What was measured, in words.
    """

    rows: tuple[str, ...]
    layers: tuple[int, ...]
    auc: tuple[tuple[float | None, ...], ...]
    what: str


@dataclass(frozen=True)
class FeatureMap:
    """Some rows laid flat by their features.

    Attributes:
        row: Number of each point's row in the file, from 0.
        label: 0 or 1.
        score: Calibrated score.
        pca: Places along the two strongest principal components.
        explained: Their shares of the variance.
        tsne: Places by t-SNE; empty if there were too few rows.
    """

    row: tuple[int, ...]
    label: tuple[int, ...]
    score: tuple[float, ...]
    pca: tuple[Bounds, ...]
    explained: Bounds
    tsne: tuple[Bounds, ...]


@dataclass(frozen=True)
class Share:
    """A share of a kind of texts, such as one functionality of HateCheck.

    Attributes:
        name: The kind.
        wanted: The verdict or label that is right for it; ``mixed`` if rows differ.
        count: How many of its texts have what is counted: are right, or are flagged.
        total: Texts of the kind that were scored.
        share: ``count / total``.
        interval: 95 % interval (Clopper-Pearson).
    """

    name: str
    wanted: str
    count: int
    total: int
    share: float
    interval: Bounds


def shares(
    names: Sequence[str],
    counted: np.ndarray,
    positive: np.ndarray,
    scored: np.ndarray,
    sides: tuple[str, str],
) -> tuple[Share, ...]:
    """For each kind of texts how many count.

    Args:
        names: The kind of each text.
        counted: Whether it counts.
        positive: Whether it is a positive text.
        scored: Whether it could be scored; others are in no number.
        sides: What positive and negative texts are called.

    Returns:
        The kinds in order of appearance, without those of which no text was scored.

    Example:
        >>> yes = np.array([True, True])
        >>> shares(["a", "a"], np.array([True, False]), yes, yes, ("toxic", "clean"))[0].share
        0.5
    """
    kinds, found = np.array(names), []
    for name in dict.fromkeys(names):
        rows = scored & (kinds == name)
        total, count = int(rows.sum()), int(counted[rows].sum())
        if not total:
            continue
        there = set(positive[rows].tolist())
        wanted = "mixed" if len(there) > 1 else sides[0] if there == {True} else sides[1]
        found.append(Share(name, wanted, count, total, count / total, proportion_interval(count, total)))
    return tuple(found)


@dataclass(frozen=True)
class Evasion:
    """What one disguise does to the same rows, nothing else changed.

    Attributes:
        disguise: Its name.
        positives: Positive rows that were scored both ways.
        recall: Share of them flagged as they are.
        recall_interval: 95 % interval of it (Clopper-Pearson).
        disguised_recall: Share of them flagged in disguise.
        disguised_recall_interval: 95 % interval of it (Clopper-Pearson).
        lost: The difference; negative if more are flagged in disguise.
        lost_interval: 95 % bootstrap interval of it, each row drawn with its disguise; None with fewer than
            50 positive rows.
        negatives: Negative rows that were scored both ways.
        false_positive_rate: Share of them flagged as they are.
        disguised_false_positive_rate: Share of them flagged in disguise.
    """

    disguise: str
    positives: int
    recall: float
    recall_interval: Bounds
    disguised_recall: float
    disguised_recall_interval: Bounds
    lost: float
    lost_interval: Bounds | None
    negatives: int
    false_positive_rate: float
    disguised_false_positive_rate: float

    @classmethod
    def of(cls, disguise: str, positive: np.ndarray, before: np.ndarray, after: np.ndarray) -> "Evasion":
        """From whether each row is positive, flagged as it is, and flagged in disguise; both kinds there."""
        count = int(positive.sum())
        hits, found = (int(flags[positive].sum()) for flags in (before, after))
        return cls(
            disguise,
            count,
            hits / count,
            proportion_interval(hits, count),
            found / count,
            proportion_interval(found, count),
            (hits - found) / count,
            _lost_interval(before[positive], after[positive]),
            int((~positive).sum()),
            float(before[~positive].mean()),
            float(after[~positive].mean()),
        )


def _lost_interval(before: np.ndarray, after: np.ndarray) -> Bounds | None:
    """Of resampled rows only how many are lost, gained and neither counts."""
    rows = len(before)
    if rows < MIN_ROWS:
        return None
    lost, gained = int((before & ~after).sum()), int((after & ~before).sum())
    shares = np.array([lost, gained, rows - lost - gained]) / rows
    drawn = np.random.default_rng(0).multinomial(rows, shares, 10_000)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / rows, [0.025, 0.975])
    return float(low), float(high)


@dataclass(frozen=True)
class Mistake:
    """One row on the wrong side of the threshold.

    Attributes:
        row: Its number in the file, from 0.
        score: Calibrated score.
        text: The text, its end left out where it is long.
        characters: Characters of the whole text.
        words: What each word adds to the logit; empty without an explanation.
        rest: What they leave of it, the head's constant and words that are not shown: with it they add up to
            the logit of the score. None without an explanation.
    """

    row: int
    score: float
    text: str
    characters: int
    words: tuple[Span, ...] = ()
    rest: float | None = None


def plain(value: Any) -> Any:  # Any: records in, plain JSON values out
    """A record as plain JSON values; tuples become lists.

    Example:
        >>> plain(Share("slur_h", "toxic", 1, 2, 0.5, (0.0, 1.0)))["interval"]
        [0.0, 1.0]
    """
    if is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return [plain(item) for item in value] if isinstance(value, list | tuple) else value


def built(kind: Any, value: Any, where: str = "record") -> Any:  # Any: a type, plain JSON values, that type
    """A record of a type from what ``plain`` gave.

    Args:
        kind: A dataclass, or the type of one of its fields.
        value: Plain JSON values.
        where: The place in the record, for messages.

    Returns:
        The record.

    Raises:
        BadTexts: Something is missing, too much or of another kind; the message says where.

    Example:
        >>> built(tuple[float, ...], [1, 2.5])
        (1.0, 2.5)
    """
    origin, parts = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _record(kind, value, where)
    if isinstance(kind, types.UnionType):
        (inner,) = [part for part in parts if part is not types.NoneType]
        return None if value is None else built(inner, value, where)
    if origin is tuple:
        kinds = parts[:1] * len(value) if parts[1:] == (...,) and isinstance(value, list) else parts
        if not isinstance(value, list) or len(value) != len(kinds):
            raise BadTexts(f"{where} is no list as an evaluation's report has it; evaluate anew")
        return tuple(
            built(part, item, f"{where}[{place}]")
            for place, (part, item) in enumerate(zip(kinds, value, strict=True))
        )
    if origin is dict and isinstance(value, dict):
        return {key: built(parts[1], item, f"{where}.{key}") for key, item in value.items()}
    kind = origin or kind
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if kind is not Any and (not isinstance(value, kind) or (kind is int and isinstance(value, bool))):
        raise BadTexts(f"{where} is {value!r:.40}, where a {kind.__name__} is read; evaluate anew")
    return value


def _record(kind: Any, value: Any, where: str) -> Any:  # Any: as above
    hints = get_type_hints(kind)
    if not isinstance(value, dict) or set(value) != set(hints):
        differs = sorted(set(value) ^ set(hints)) if isinstance(value, dict) else [type(value).__name__]
        raise BadTexts(
            f"{where} does not have the parts of a {kind.__name__}: {', '.join(differs)[:200]}; evaluate anew"
        )
    return kind(**{name: built(hint, value[name], f"{where}.{name}") for name, hint in hints.items()})
