"""Fit a detector to a few labels of one's own: its head moves as far from the old one as they justify.

Of 32 labels to some hundreds a new detector would know little; an old one that is moved keeps what it knows.
What the labels gain is measured on held-out folds, before and after, and the old head is kept unless the gain
is clear.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from os import PathLike
from typing import Any

import numpy as np

from splinelens import __version__
from splinelens.apps.detector import Detector
from splinelens.detect.anchored import Anchored, refit_anchored
from splinelens.detect.artifact import Artifact
from splinelens.detect.bootstrap import MIN_GROUPS, MIN_ROWS, auc_gain_interval
from splinelens.detect.calibration import Calibration, calibrate
from splinelens.detect.label_errors import contradictions
from splinelens.detect.metrics import Evaluation
from splinelens.detect.seen_texts import count_seen
from splinelens.detect.shipped import find_artifact
from splinelens.detect.solver import require_rows
from splinelens.detect.thresholds import Interval, Threshold, thresholds
from splinelens.errors import BadDetector, BadLabels
from splinelens.features.extract import read_table
from splinelens.features.reader import Progress
from splinelens.features.validation import check_batch_tokens, check_seed
from splinelens.models import LoadedModel
from splinelens.models.load import require_unset
from splinelens.report.tables import count_of
from splinelens.texts import Texts, text_hashes
from splinelens.texts.labels import Labels, labels_of
from splinelens.texts.plain_text import storable
from splinelens.texts.row_groups import RowGroups, row_groups

MIN_LABELS = 32
"""Fewest labeled texts to adapt to."""

MANY_LABELS = 500
"""With more texts ``splinelens.train`` may give the better detector."""

_RESAMPLES = 2000


@dataclass(frozen=True, eq=False, repr=False)
class Adaptation:
    """An adapted detector, and what adapting it changed on rows that were held out.

    Attributes:
        detector: Scores texts, and saves itself; its card holds this record.
        before: The detector as it was, on the user's rows: its own calibration and thresholds.
        after: The adapted one, each row scored by a head that was not fitted on it.
    """

    detector: Detector
    before: Evaluation
    after: Evaluation

    def __repr__(self) -> str:
        return f"Adaptation({self.detector!r}, AUC {self.before.auc:.4f} to {self.after.auc:.4f})"

    @property
    def record(self) -> dict[str, Any]:  # Any: plain JSON values
        """What it was adapted from, the penalty, gain and expected loss, notes, and a recommendation."""
        return dict(self.detector.artifact.training["adapted"])

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """The record and both evaluations as plain JSON values."""
        return {**self.record, "before": self.before.to_dict(), "after": self.after.to_dict()}


def adapt(
    detector: Detector | str | PathLike[str],
    texts: Texts | Iterable[str | None],
    labels: Any,  # Any: see labels_of
    *,
    positive: str | None = None,
    groups: Any = None,  # Any: see row_groups
    name: str | None = None,
    seed: int = 0,
    command: str = "",
    model: LoadedModel | str | PathLike[str] | None = None,
    device: str | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> Adaptation:
    """Adapt a detector of one label to 32 to 500 labeled texts; labels are checked before a model is loaded.

    The weights are fitted again near those they had (``detect.anchored``): how near is chosen by
    cross-validation, and they stay as they are unless the gain is clear. If the detector holds a sample of
    its training rows, what the change may cost on them is limited. Calibration and thresholds are new, from
    held-out rows.

    Args:
        detector: A detector, or the shipped name or folder of one.
        texts: The texts; those that cannot be read are left out and counted.
        labels: One label a text: 0 and 1, or words of which the detector's is 1.
        positive: The label that counts as 1, every other one as 0.
        groups: One value a text, such as its author, or the name of a column kept beside the texts. Rows of
            one group, or with the same text, are in one fold, and intervals come from resampling groups. A
            row whose value is missing is a group of its own, with a warning.
        name: Name of the adapted detector; None adds ``-adapted``.
        seed: Of the folds and the bootstrap.
        command: The command that makes the detector again, for the card.
        model: As in ``Detector.load``, as are the next two; only for a name or folder.
        device: Such as ``cpu`` or ``cuda:0``.
        batch_tokens: Tokens of a batch, padding included; None takes 1,024 on a CPU, else 4,096.
        progress: Called with the texts and the characters read since the last call.

    Returns:
        The adapted detector, with ``before`` and ``after``; ``detector.save`` keeps it.

    Raises:
        BadDetector: The detector has several labels, or is none.
        BadLabels: Fewer than 32 texts, fewer than 10 of a class, equal texts with different labels, or labels
            of another kind than the detector's; or a class whose rows are all in one or two groups.
        BadTexts: The detector was fitted on some of the texts; ``groups`` are not one value a text, one group
            only, or only groups of one row.
        MissingColumn: ``groups`` names a column that was not kept.
        BadFeatures: A seed that is negative or above 32 bits.
        BadModel: The model cannot be loaded, or an option of loading is given for a loaded detector.

    Example:
        >>> import splinelens
        >>> adapted = splinelens.adapt("toxicity", texts, labels)  # doctest: +SKIP
        >>> adapted.before.auc, adapted.after.auc  # doctest: +SKIP
        (0.71, 0.8)
        >>> adapted.detector.save("my-forum")  # doctest: +SKIP
    """
    options: dict[str, Any] = {  # Any: arguments of different types
        "model": model,
        "device": device,
        "batch_tokens": batch_tokens,
    }
    if isinstance(detector, Detector):
        require_unset("Detector.load: the detector", **options)
        artifact = detector.artifact
    else:
        artifact = find_artifact(detector)
        check_batch_tokens(batch_tokens)
    require_adaptable(artifact)
    check_seed(seed)
    source = Texts.of(texts)
    known = _known_labels(artifact, labels, len(source), positive)
    members = None if groups is None else row_groups(groups, source)
    _require_new_texts(artifact, source, known.values[:, 0])
    if not isinstance(detector, Detector):
        detector = Detector.load(detector, **options)
    rows = _read(detector, source, known, members, progress)
    return _adapt_to(detector, rows, members, name, seed, command)


def require_adaptable(artifact: Artifact) -> None:
    """Refuse a detector of several labels.

    Raises:
        BadDetector: The message says what it is.
    """
    if artifact.task != "binary":
        raise BadDetector(
            f"detector {artifact.name} has the labels {', '.join(artifact.labels)}; only a detector of one "
            "label can be adapted: train one on your labels with 'splinelens train'"
        )


def require_enough(rows: int, what: str = "labeled texts") -> None:
    """Refuse too few labeled texts.

    Raises:
        BadLabels: The message says how many there are and how many are needed.
    """
    if rows < MIN_LABELS:
        raise BadLabels(
            f"{rows} {what} are too few to adapt to; label at least {MIN_LABELS}, {2 * MIN_LABELS} or more "
            "are better"
        )


@dataclass(frozen=True, eq=False)
class _Rows:
    """The labeled texts that could be read.

    ``positive_values`` are the user's that are 1 in ``labels``; ``hashes`` are those of the texts; ``groups``
    has a number per row, or is None; ``left_out`` counts the texts that could not be read.
    """

    values: np.ndarray
    labels: np.ndarray
    positive_values: tuple[str, ...]
    tokens: np.ndarray
    cut: np.ndarray
    hashes: np.ndarray
    groups: np.ndarray | None
    left_out: int
    source: str
    provenance: dict[str, Any]  # Any: plain JSON values

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True, eq=False)
class _Verdicts:
    """Calibration and thresholds, whether they are ``new``, and notes on them."""

    calibration: Calibration
    thresholds: tuple[Threshold, ...]
    new: bool
    notes: list[str]


def _known_labels(
    artifact: Artifact,
    labels: Any,  # Any: see labels_of
    texts: int,
    positive: str | None,
) -> Labels:
    """The labels, of which there are enough, as 0 and 1."""
    known = labels_of(labels, texts, positive=positive, verdicts=(artifact.labels[0], artifact.negative))
    artifact.require_task(known, "labels")
    require_enough(texts)
    require_rows(known.values[:, 0])
    return known


def _require_new_texts(artifact: Artifact, texts: Texts, labels: np.ndarray) -> None:
    """Refuse texts with contradicting labels, and texts that the detector was fitted on."""
    hashes = zip(texts.texts, text_hashes(texts.texts).tolist(), strict=True)
    groups = contradictions([key if text and text.strip() else None for text, key in hashes], labels)
    if groups:
        numbers = " and ".join(str(texts.numbers[row]) for row in groups[0].rows[:2])
        several = "text occurs" if len(groups) == 1 else "texts occur"
        raise BadLabels(
            f"{texts.source}: {len(groups)} {several} with both labels, such as in rows {numbers} (counted "
            "from 0); with so few labels each counts: decide for one, or leave them out"
        )
    count_seen(artifact, texts, refusal="so a gain on them would say nothing; leave them out")


def _read(
    detector: Detector, texts: Texts, labels: Labels, groups: RowGroups | None, progress: Progress | None
) -> _Rows:
    """The features of the texts, of which enough can be read."""
    table = read_table(detector.reader, texts, progress=progress)
    ok = table.ok
    require_enough(int(ok.sum()), "labeled texts" if ok.all() else "texts that can be read")
    return _Rows(
        values=table.values[ok],
        labels=labels.values[ok, 0].astype(int),
        positive_values=labels.positive_values,
        tokens=table.tokens[ok],
        cut=table.cut[ok],
        hashes=text_hashes([text for text, usable in zip(texts.texts, ok, strict=True) if usable]),
        groups=None if groups is None else groups.numbers[ok],
        left_out=int((~ok).sum()),
        source=texts.source,
        provenance=table.provenance,
    )


def _adapt_to(
    detector: Detector, rows: _Rows, groups: RowGroups | None, name: str | None, seed: int, command: str
) -> Adaptation:
    """The head refitted to the rows, with calibration and thresholds, measured on them and recorded."""
    artifact = detector.artifact
    fitted = refit_anchored(
        rows.values,
        rows.labels,
        artifact.head,
        artifact.calibrations[0],
        texts=np.unique(rows.hashes, return_inverse=True)[1],
        groups=rows.groups,
        tokens=rows.tokens,
        sample=artifact.sample,
        seed=seed,
    )
    verdicts = _verdicts(artifact, rows, fitted.logits)
    adapted = replace(
        _with_head(artifact, fitted, verdicts, rows),
        name=storable(name or f"{artifact.name}-adapted"),
        command=storable(command),
        training=_training(artifact, rows, groups, fitted, seed),
    )
    before = _evaluated(artifact, rows, fitted.anchor_logits, seed)
    after = _evaluated(adapted, rows, fitted.logits, seed)
    interval = auc_gain_interval(
        rows.labels, fitted.anchor_logits, fitted.logits, _RESAMPLES, seed, rows.groups
    )
    record = _record(artifact, rows, fitted, before, after, interval)
    record["notes"] = [*_notes(fitted, interval, rows), *verdicts.notes]
    record["recommendation"] = _recommendation(fitted, interval, rows, verdicts.new)
    adapted = replace(
        adapted,
        training={**adapted.training, "adapted": record},
        metrics={"out_of_fold": after.to_dict()},
    )
    return Adaptation(Detector(adapted, detector.reader), before, after)


def _verdicts(artifact: Artifact, rows: _Rows, logits: np.ndarray) -> _Verdicts:
    """Calibration and thresholds from held-out logits; the old ones if they do not rise with the labels.

    Offsets by length, already subtracted from the logits, stay: so few rows say nothing of them.
    """
    old = artifact.calibrations[0]
    try:
        calibration = replace(calibrate(rows.labels, logits), by_length=old.by_length)
    except BadLabels:
        note = (
            "On held-out rows higher scores do not go with the positive label, so calibration and thresholds "
            "are those of before. Check the label column and which value is positive, or give more rows."
        )
        return _Verdicts(old, artifact.thresholds[0], False, [note])
    targets = [stored.target for stored in artifact.thresholds[0]]
    chosen = thresholds(rows.labels, calibration.score(logits), targets, groups=rows.groups)
    negatives = int((rows.labels == 0).sum())
    short = [f"{100 * target:g} %" for target in targets if target * negatives < 1]
    note = (
        f"{negatives} negative rows are too few for a threshold at {' and '.join(short)} false positives: it "
        "lies just above the highest of them, and the true rate may be several percent."
    )
    return _Verdicts(calibration, tuple(chosen), True, [note] if short else [])


def _with_head(artifact: Artifact, fitted: Anchored, verdicts: _Verdicts, rows: _Rows) -> Artifact:
    """The detector with its new head and verdicts; it has seen the rows, and was measured on none."""
    return replace(
        artifact,
        head=fitted.head,
        sample=artifact.sample and artifact.sample.moved(artifact.head, fitted.head),
        calibrations=(verdicts.calibration,),
        thresholds=(verdicts.thresholds,),
        version=__version__,
        seen=np.union1d(artifact.seen, rows.hashes),
        metrics={},
    )


def _training(
    artifact: Artifact, rows: _Rows, groups: RowGroups | None, fitted: Anchored, seed: int
) -> dict[str, Any]:  # Any: plain JSON values
    """What the adapted detector records of its rows; texts and sources are also those of the old one."""
    old, seen = artifact.training, len(np.union1d(artifact.seen, rows.hashes))
    return {
        "settings": {"penalty": str(fitted.penalty)},
        "seed": seed,
        "rows": len(rows),
        "positives": int(rows.labels.sum()),
        "left_out": rows.left_out,
        "judged_rows": len(rows),
        "cut": int(rows.cut.sum()),
        **({"groups": groups.record()} if groups else {}),
        "seen": {"texts": old.get("seen", {"texts": 0})["texts"] + seen - len(artifact.seen), "kept": seen},
        "sources": [*old.get("sources", []), storable(rows.source)],
        "languages": old.get("languages", []),
        "labels_hash": hashlib.sha256(rows.labels.astype(np.int8).tobytes()).hexdigest(),
        "provenance": rows.provenance,
    }


def _evaluated(artifact: Artifact, rows: _Rows, logits: np.ndarray, seed: int) -> Evaluation:
    """The rows by logits from which offsets by length are subtracted already."""
    evaluation = artifact.evaluate(
        rows.labels[:, None],
        artifact.calibrations[0].score(logits)[:, None],
        rows.tokens,
        cut=rows.cut,
        groups=rows.groups,
        resamples=_RESAMPLES,
        seed=seed,
    )
    assert isinstance(evaluation, Evaluation)  # of one label
    return evaluation


def _record(
    artifact: Artifact,
    rows: _Rows,
    fitted: Anchored,
    before: Evaluation,
    after: Evaluation,
    interval: Interval | None,
) -> dict[str, Any]:  # Any: plain JSON values
    """What the detector was adapted from and to, the penalty, and what it gained."""
    return {
        "detector": artifact.name,
        "digest": artifact.digest,
        "rows": len(rows),
        "positives": int(rows.labels.sum()),
        "positive_values": [storable(value) for value in rows.positive_values],
        "label": artifact.labels[0],
        "penalty": None if fitted.penalty == np.inf else fitted.penalty,
        "tried": [asdict(tried) for tried in fitted.tried],
        "step": fitted.step,
        "expected_loss": fitted.sample_loss,
        "auc_before": before.auc,
        "auc_before_interval": before.auc_interval,
        "auc_after": after.auc,
        "auc_after_interval": after.auc_interval,
        "gain": after.auc - before.auc,
        "gain_interval": interval,
    }


def _notes(fitted: Anchored, interval: Interval | None, rows: _Rows) -> list[str]:
    """What a reader must know of the result."""
    notes = []
    if fitted.penalty == np.inf:
        notes.append("The weights are kept: no change gained more on held-out rows than one standard error.")
    elif fitted.sample_loss is None:
        notes.append(
            "The detector holds no sample of its training rows, so what the change costs on texts like those "
            "is not known."
        )
    else:
        shortened = "" if fitted.step == 1 else f" {100 * fitted.step:.0f} % of the change is kept for that."
        notes.append(
            "On texts like those that it was fitted on, the change is expected to cost "
            f"{fitted.sample_loss:.4f} of the AUC.{shortened}"
        )
    if interval is None:
        of_groups = "" if rows.groups is None else f" of {count_of(len(np.unique(rows.groups)), 'group')}"
        notes.append(
            f"{len(rows)} rows{of_groups} are too few for intervals, which take {MIN_ROWS} rows and, if "
            f"there are groups, {MIN_GROUPS} of these."
        )
    elif fitted.penalty < np.inf and interval[0] <= 0 <= interval[1]:
        notes.append(f"{len(rows)} rows are too few to tell whether adapting it changed the AUC.")
    if len(rows) > MANY_LABELS:
        notes.append(
            f"With more than {MANY_LABELS} rows 'splinelens train' may give a better detector: compare the "
            "two."
        )
    return notes


def _recommendation(fitted: Anchored, interval: Interval | None, rows: _Rows, new_verdicts: bool) -> str:
    """What to do with the result, from the interval of the gain."""
    if not new_verdicts:
        return "Keep the old detector and check your labels: higher scores do not go with the positive one."
    if fitted.penalty == np.inf and interval is not None:
        return (
            "Keep the old weights with new thresholds, which is what the adapted detector is; more labels "
            "may show a gain."
        )
    if interval is not None and interval[1] < 0:
        return "Keep the old detector: it ranks held-out rows better than the adapted one."
    if interval is None or interval[0] <= 0:
        more = "" if rows.groups is None else ", of more groups,"
        return (
            f"Label more texts{more} and adapt the old detector again: so far it is not clear that the "
            "adapted one ranks better. Its thresholds are those of your texts: if they flag what you need, "
            "use it meanwhile."
        )
    return "Use the adapted detector: it ranks held-out rows clearly better than the old one."
