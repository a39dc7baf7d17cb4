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
from splinelens.detect.bootstrap import auc_gain_interval
from splinelens.detect.calibration import Calibration, calibrate
from splinelens.detect.label_errors import contradictions
from splinelens.detect.metrics import Evaluation
from splinelens.detect.seen_texts import count_seen
from splinelens.detect.shipped import find_artifact
from splinelens.detect.solver import require_rows
from splinelens.detect.thresholds import Threshold, thresholds
from splinelens.errors import BadDetector, BadLabels
from splinelens.features.extract import read_table
from splinelens.features.reader import Progress
from splinelens.features.validation import check_batch_tokens, check_seed
from splinelens.models import LoadedModel
from splinelens.models.load import require_unset
from splinelens.texts import Texts, text_hashes
from splinelens.texts.labels import labels_of
from splinelens.texts.plain_text import storable

MIN_ROWS = 32
"""Fewest labeled texts to adapt to."""

MANY_ROWS = 500
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
        """What the detector was adapted from, the penalty, gain and expected loss, and notes."""
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
            of another kind than the detector's.
        BadTexts: The detector was fitted on some of the texts.
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
    y = _known_labels(artifact, labels, len(source), positive)
    _require_new_texts(artifact, source, y)
    if not isinstance(detector, Detector):
        detector = Detector.load(detector, **options)
    table = read_table(detector.reader, source, progress=progress)
    ok = table.ok
    y, cut, tokens = y[ok], table.cut[ok], table.tokens[ok]
    require_enough(len(y), "texts that can be read" if not ok.all() else "labeled texts")
    hashes = text_hashes([text for text, usable in zip(source.texts, ok, strict=True) if usable])
    fitted = refit_anchored(
        table.values[ok],
        y,
        artifact.head,
        artifact.calibrations[0],
        groups=np.unique(hashes, return_inverse=True)[1],
        tokens=tokens,
        sample=artifact.sample,
        seed=seed,
    )
    calibration, limits, notes = _verdicts(artifact, y, fitted.logits)
    seen = np.union1d(artifact.seen, hashes)
    recorded = artifact.training.get("seen", {"texts": 0, "kept": 0})
    adapted = replace(
        artifact,
        name=storable(name or f"{artifact.name}-adapted"),
        head=fitted.head,
        sample=artifact.sample and artifact.sample.moved(artifact.head, fitted.head),
        calibrations=(calibration,),
        thresholds=(limits,),
        command=storable(command),
        version=__version__,
        seen=seen,
        metrics={},
        training={
            "settings": {"penalty": str(fitted.penalty)},
            "seed": seed,
            "rows": len(y),
            "positives": int(y.sum()),
            "left_out": int((~ok).sum()),
            "judged_rows": len(y),
            "cut": int(cut.sum()),
            "seen": {"texts": recorded["texts"] + len(seen) - len(artifact.seen), "kept": len(seen)},
            "sources": [storable(source.source)],
            "languages": artifact.training.get("languages", []),
            "labels_hash": hashlib.sha256(y.astype(np.int8).tobytes()).hexdigest(),
            "provenance": table.provenance,
        },
    )
    shared: dict[str, Any] = {"cut": cut, "resamples": _RESAMPLES, "seed": seed}  # Any: of several types
    before, after = (
        one.evaluate(y[:, None], one.calibrations[0].score(logits)[:, None], tokens, **shared)
        for one, logits in ((artifact, fitted.anchor_logits), (adapted, fitted.logits))
    )
    assert isinstance(before, Evaluation)  # of one label
    assert isinstance(after, Evaluation)
    interval = auc_gain_interval(y, fitted.anchor_logits, fitted.logits, _RESAMPLES, seed)
    record = {
        "detector": artifact.name,
        "digest": artifact.digest,
        "rows": len(y),
        "positives": int(y.sum()),
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
        "notes": [*_notes(fitted, interval, len(y)), *notes],
    }
    adapted = replace(
        adapted,
        training={**adapted.training, "adapted": record},
        metrics={"out_of_fold": after.to_dict()},
    )
    return Adaptation(Detector(adapted, detector.reader), before, after)


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
    if rows < MIN_ROWS:
        raise BadLabels(
            f"{rows} {what} are too few to adapt to; label at least {MIN_ROWS}, {2 * MIN_ROWS} or more are "
            "better"
        )


def _known_labels(
    artifact: Artifact,
    labels: Any,  # Any: see labels_of
    texts: int,
    positive: str | None,
) -> np.ndarray:
    """The labels as 0 and 1."""
    known = labels_of(labels, texts, positive=positive, verdicts=(artifact.labels[0], artifact.negative))
    artifact.require_task(known, "labels")
    require_enough(texts)
    y = known.values[:, 0].astype(int)
    require_rows(y)
    return y


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


def _verdicts(
    artifact: Artifact, labels: np.ndarray, logits: np.ndarray
) -> tuple[Calibration, tuple[Threshold, ...], list[str]]:
    """Calibration and thresholds from held-out logits; the old ones if they do not rise with the labels.

    Offsets by length, already subtracted from the logits, stay: so few rows say nothing of them.
    """
    try:
        calibration = replace(calibrate(labels, logits), by_length=artifact.calibrations[0].by_length)
    except BadLabels:
        note = (
            "On held-out rows higher scores do not go with the positive label, so calibration and thresholds "
            "are those of before. Check the label column and which value is positive, or give more rows."
        )
        return artifact.calibrations[0], artifact.thresholds[0], [note]
    targets = [stored.target for stored in artifact.thresholds[0]]
    chosen = tuple(thresholds(labels, calibration.score(logits), targets))
    negatives = int((labels == 0).sum())
    short = [f"{100 * target:g} %" for target in targets if target * negatives < 1]
    if not short:
        return calibration, chosen, []
    return (
        calibration,
        chosen,
        [
            f"{negatives} negative rows are too few for a threshold at {' and '.join(short)} false "
            "positives: it lies just above the highest of them, and the true rate may be several percent."
        ],
    )


def _notes(fitted: Anchored, interval: tuple[float, float] | None, rows: int) -> list[str]:
    """What a reader must know of the result."""
    notes = []
    if fitted.penalty == np.inf:
        notes.append(
            "The weights are kept: no change gained more on held-out rows than one standard error. "
            "Calibration and thresholds are new."
        )
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
    if interval is None or interval[0] <= 0:
        notes.append(f"{rows} rows are too few to tell whether adapting it changed the AUC; label more.")
    if rows > MANY_ROWS:
        notes.append(
            f"With more than {MANY_ROWS} rows 'splinelens train' may give a better detector: compare the two."
        )
    return notes
