"""Labelled texts become a detector: features, a fitted head, calibration, thresholds, an artifact.

Calibration and thresholds come from out-of-fold logits, so no training row judges itself, nor does a row
that holds the same text.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splinelens import __version__
from splinelens.detect.artifact import Artifact, Task
from splinelens.detect.calibration import Calibration, calibrate
from splinelens.detect.fitting import RECIPES, Fitted, fit
from splinelens.detect.metrics import evaluate, evaluate_labels
from splinelens.detect.recipes import STRENGTHS, require_rows
from splinelens.detect.thresholds import TARGETS, Threshold, thresholds
from splinelens.errors import BadFeatures, BadLabels
from splinelens.features.extract import Progress, read_table
from splinelens.features.reader import TextReader
from splinelens.features.table import FeatureTable
from splinelens.texts import Texts, read_texts, text_hashes

MOST_BYTES = 4_000_000
"""A detector stays below it: so many hashes of training texts are kept as fit beside its head."""

_ROOM_BYTES, _FEWEST_HASHES = 200_000, 10_000


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a training leaves behind for a report on it.

    Attributes:
        values: (row, column), the features of the rows that were read.
        labels: (row, label), 0 or 1.
        scores: (row, label), calibrated and out of fold; NaN where a row was not judged.
        tokens: Tokens of each row.
        numbers: The number of each row in the source of the texts, from 0.
        groups: A number a row, the same for rows that hold the same text.
    """

    values: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    tokens: np.ndarray
    numbers: np.ndarray
    groups: np.ndarray


def train(
    texts: Texts | Sequence[str | None],
    labels: np.ndarray,
    reader: TextReader,
    *,
    name: str,
    recipe: str = "logistic",
    task: Task = "binary",
    label: str | Sequence[str] = "positive",
    negative: str = "negative",
    judged: np.ndarray | None = None,
    sources: Sequence[str] = (),
    languages: Sequence[str] = (),
    targets: Sequence[float] = TARGETS,
    strengths: Sequence[float] = STRENGTHS,
    prior: Mapping[str, float] | None = None,
    seed: int = 0,
    table: FeatureTable | None = None,
    output: str | Path | None = None,
    progress: Progress | None = None,
    evidence: Callable[[Evidence], None] | None = None,
) -> Artifact:
    """Fit a detector on labelled texts.

    Args:
        texts: The texts; those that cannot be read are left out and counted.
        labels: (text,) or (text, label), 0 or 1; of ``classes`` each row has one 1.
        reader: The model and the spec to read.
        name: Name of the detector.
        recipe: ``logistic`` or ``forest``.
        task: ``binary``, ``classes`` (each text has one label) or ``labels`` (each has any number).
        label: Verdict of a positive text, or the name of each label.
        negative: Verdict of a text without any label; not read for ``classes``.
        judged: Boolean, the rows on which calibration, thresholds and metrics are computed; None
            takes all. Rows outside only help to fit.
        sources: Names of the data, for the card.
        languages: Languages of the texts, for the card, such as ``English``; others count as not measured.
        targets: False-positive rates to store thresholds for.
        strengths: L2 strengths to choose from, for each label its own.
        prior: Relative prior variance of the weights of a statistic's columns, above 0, such as
            ``{"margin_last": 0.1}`` for a statistic that helps elsewhere but would crowd out the others
            here; those not named have 1. See ``fit``.
        seed: Of every random draw.
        table: What the reader read of the texts, if that was done before; None reads them.
        output: File that keeps the features: a killed run goes on, and an equal one reads them.
        progress: Called as texts are finished.
        evidence: Called once with what a report on the training is made of.

    Returns:
        The artifact, not yet saved.

    Raises:
        BadLabels: Labels that do not fit the task, one class only, or too few rows of a class to split.
        BadFeatures: An unknown recipe, or a prior that does not fit it or the features.
    """
    source = texts if isinstance(texts, Texts) else read_texts(list(texts))
    _require_recipe(recipe)
    names = (label,) if isinstance(label, str) else tuple(label)
    known = require_labels(labels, task, names, len(source))
    table = table or read_table(reader, source, output=output, progress=progress)
    ok, device = table.ok, str(reader.loaded.device)
    y = known[ok].astype(int)
    judge = np.ones(len(y), dtype=bool) if judged is None else np.asarray(judged)[ok]
    hashes = text_hashes([text for text, there in zip(source.texts, ok, strict=True) if there])
    different, groups = np.unique(hashes, return_inverse=True)
    values = table.values if ok.all() else table.values[ok]
    fitted = fit(
        values,
        y,
        recipe=recipe,
        judged=judge,
        strengths=strengths,
        seed=seed,
        device=device,
        names=names,
        groups=groups,
        prior=_column_prior(table, prior),
    )
    calibrations, found, metrics = _judgement(table, fitted, y, judge, names, task, targets, seed)
    if evidence is not None:
        scores = _unseen_scores(calibrations, fitted.logits, judge)
        evidence(Evidence(values, y, scores, table.tokens[ok], np.array(source.numbers)[ok], groups))
    seen = different[: _most_hashes(fitted)]
    per_label = y.sum(axis=0).tolist()
    return Artifact(
        name=name,
        task=task,
        labels=names,
        negative="" if task == "classes" else negative,
        model=_made_for(reader),
        spec={**reader.spec.to_dict(), "layers": list(reader.layers)},
        columns=tuple((column.name, column.size) for column in reader.columns),
        head=fitted.head,
        calibrations=calibrations,
        thresholds=found,
        training={
            "recipe": recipe,
            "settings": {**fitted.settings, **({"prior": dict(prior)} if prior else {})},
            "seed": seed,
            "rows": len(y),
            "positives": per_label[0] if task == "binary" else dict(zip(names, per_label, strict=True)),
            "left_out": int((~ok).sum()),
            "judged_rows": int(judge.sum()),
            "repeated": repeated(groups, y),
            "seen": {"texts": len(different), "kept": len(seen)},
            "sources": list(sources),
            "languages": list(languages),
            "labels_hash": hashlib.sha256(y.astype(np.int8).tobytes()).hexdigest(),
            "fitted_on": device,
            "provenance": table.provenance,
        },
        metrics={"out_of_fold": metrics},
        version=__version__,
        seen=seen,
    )


def _require_recipe(recipe: str) -> None:
    if recipe not in RECIPES:
        raise BadFeatures(f"no recipe {recipe!r}; there are {' and '.join(RECIPES)}")


def _column_prior(table: FeatureTable, prior: Mapping[str, float] | None) -> np.ndarray | None:
    """The prior of each number of a row."""
    if not prior:
        return None
    statistics = [column.statistic.name for column in table.columns]
    unknown = sorted(set(prior) - set(statistics))
    if unknown:
        raise BadFeatures(
            f"a prior for {', '.join(unknown)}, but the features are {', '.join(dict.fromkeys(statistics))}"
        )
    return np.repeat([prior.get(name, 1.0) for name in statistics], [column.size for column in table.columns])


def _unseen_scores(calibrations: Sequence[Calibration], logits: np.ndarray, judge: np.ndarray) -> np.ndarray:
    """Calibrated out-of-fold scores of all rows, NaN where a row was not judged."""
    scores = np.full((len(judge), len(calibrations)), np.nan)
    pairs = zip(calibrations, logits.T, strict=True)
    scores[judge] = np.stack([own.score(column) for own, column in pairs], axis=1)
    return scores


def _made_for(reader: TextReader) -> dict[str, Any]:  # Any: plain JSON values
    """The model that a detector works with."""
    loaded, depth = reader.loaded, max(reader.layers, default=0) + 1
    fingerprint = loaded.fingerprint_at(depth).to_dict()
    return {"name": loaded.name, "revision": loaded.revision, "fingerprint": fingerprint}


def require_labels(labels: np.ndarray, task: Task, names: Sequence[str], texts: int) -> np.ndarray:
    """Labels as a table, refused where nothing can be fitted on them.

    Args:
        labels: (text,) or (text, label), 0 or 1.
        task: What is told apart.
        names: Of the labels.
        texts: How many there must be.

    Returns:
        (text, label).

    Raises:
        BadLabels: Another number of rows or labels, names that do not fit the task or occur twice, rows of
            ``classes`` without exactly one label, or fewer than 10 positive or negative rows of a label.
    """
    known = np.asarray(labels)
    known = known[:, None] if known.ndim == 1 else known
    if len(known) != texts:
        raise BadLabels(f"{texts} texts but {len(known)} labels; give one a text")
    if known.ndim != 2 or known.shape[1] != len(names) or len(set(names)) < len(names):
        raise BadLabels(f"labels of shape {known.shape} need as many different names, not {list(names)}")
    if (task == "binary") != (len(names) == 1):
        raise BadLabels(f"task {task!r} with {len(names)} labels; one label is binary, more are not")
    for name, column in zip(names, known.T, strict=True):
        require_rows(column, None if task == "binary" else name)
    if task == "classes" and (known.sum(axis=1) != 1).any():
        rows = int((known.sum(axis=1) != 1).sum())
        raise BadLabels(f"{rows} of {len(known)} rows have no class or several; give one, or task='labels'")
    return known


def repeated(groups: np.ndarray, labels: np.ndarray) -> dict[str, int]:
    """How many texts occur more than once, and how many of them with labels that contradict each other.

    Args:
        groups: (text,) a number a row, the same for rows that hold the same text.
        labels: (text, label).

    Returns:
        ``texts``, ``rows`` (all rows of those texts) and ``contradicting`` (texts).

    Example:
        >>> repeated(np.array([0, 1, 0, 2, 2]), np.array([[0], [1], [1], [0], [0]]))
        {'texts': 2, 'rows': 4, 'contradicting': 1}
    """
    _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
    ways = np.unique(np.column_stack([place, labels]), axis=0)[:, 0]
    differ = np.bincount(ways, minlength=len(counts)) > 1
    return {
        "texts": int((counts > 1).sum()),
        "rows": int(counts[counts > 1].sum()),
        "contradicting": int(differ.sum()),
    }


def _judgement(
    table: FeatureTable,
    fitted: Fitted,
    y: np.ndarray,
    judge: np.ndarray,
    names: Sequence[str],
    task: Task,
    targets: Sequence[float],
    seed: int,
) -> tuple[tuple[Calibration, ...], tuple[tuple[Threshold, ...], ...], dict[str, Any]]:  # Any: plain JSON
    """Calibrations, thresholds and metrics of the judged rows, from their out-of-fold logits."""
    calibrations, found, scores = [], [], np.zeros_like(fitted.logits)
    for place, name in enumerate(names):
        own, logits = y[judge, place], fitted.logits[:, place]
        try:
            calibrations.append(calibrate(own, logits))
        except BadLabels as error:
            raise error if task == "binary" else BadLabels(f"label {name!r}: {error}") from error
        scores[:, place] = calibrations[-1].score(logits)
        found.append(tuple(thresholds(own, scores[:, place], targets)))
    lengths = table.tokens[table.ok][judge]
    if task == "binary":
        metrics = evaluate(y[judge, 0], scores[:, 0], lengths, resamples=2000, seed=seed).to_dict()
    else:
        classes = task == "classes"
        several = evaluate_labels(
            y[judge], scores, lengths, names, classes=classes, resamples=2000, seed=seed
        )
        metrics = several.to_dict()
    return tuple(calibrations), tuple(found), metrics


def _most_hashes(fitted: Fitted) -> int:
    head_bytes = sum(array.nbytes for array in fitted.head.arrays().values())
    return max(_FEWEST_HASHES, (MOST_BYTES - _ROOM_BYTES - head_bytes) // 8)
