"""Labelled texts become a detector: features, a fitted head, calibration, thresholds, an artifact.

Calibration and thresholds come from out-of-fold logits, so no training row judges itself.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from splinelens import __version__
from splinelens.detect.artifact import Artifact
from splinelens.detect.evaluate import evaluate
from splinelens.detect.heads import ForestHead, Head, LinearHead
from splinelens.detect.recipes import STRENGTHS, forest, logistic, require_rows
from splinelens.detect.thresholds import calibrate, thresholds
from splinelens.errors import BadFeatures, BadLabels
from splinelens.features.extract import Progress, read_table
from splinelens.features.reader import TextReader
from splinelens.texts import Texts, read_texts

RECIPES = ("logistic", "forest")
_FOLDS = 5


def train(
    texts: Texts | Sequence[str | None],
    labels: np.ndarray,
    reader: TextReader,
    *,
    name: str,
    recipe: str = "logistic",
    label: str = "positive",
    negative: str = "negative",
    judged: np.ndarray | None = None,
    sources: Sequence[str] = (),
    targets: Sequence[float] = (0.01, 0.05),
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
    output: str | Path | None = None,
    progress: Progress | None = None,
) -> Artifact:
    """Fit a detector on labelled texts.

    Args:
        texts: The texts; those that cannot be read are left out and counted.
        labels: 0 or 1 for each text.
        reader: The model and the spec to read.
        name: Name of the detector.
        recipe: ``logistic`` or ``forest``.
        label: Verdict of a positive text.
        negative: Verdict of a negative text.
        judged: Boolean, the rows on which calibration, thresholds and metrics are computed; None
            takes all. Rows outside only help to fit.
        sources: Names of the data, for the card.
        targets: False-positive rates to store thresholds for.
        strengths: L2 strengths to choose from.
        seed: Of every random draw.
        output: File that keeps the features: a killed run goes on, and an equal one reads them.
        progress: Called as texts are finished.

    Returns:
        The artifact, not yet saved.

    Raises:
        BadLabels: One class only, or too few rows of a class to split.
        BadFeatures: An unknown recipe.
    """
    source = texts if isinstance(texts, Texts) else read_texts(list(texts))
    if recipe not in RECIPES:
        raise BadFeatures(f"no recipe {recipe!r}; there are {' and '.join(RECIPES)}")
    if len(labels) != len(source):
        raise BadLabels(f"{len(source)} texts but {len(labels)} labels; give one a text")
    require_rows(labels)
    table = read_table(reader, source, output=output, progress=progress)
    ok = table.ok
    rows, y = table.values[ok], np.asarray(labels)[ok].astype(int)
    judge = np.ones(len(y), dtype=bool) if judged is None else np.asarray(judged)[ok]
    require_rows(y)
    require_rows(y[judge])
    device = str(reader.loaded.device)
    pipeline, settings = _fitted(rows, y, recipe, strengths, seed, device)
    logits = _out_of_fold(rows, y, judge, recipe, settings, seed, device)
    calibration = calibrate(y[judge], logits)
    scores = calibration.score(logits)
    found = thresholds(y[judge], scores, targets)
    metrics = evaluate(y[judge], scores, table.tokens[ok][judge], resamples=2000, seed=seed)
    loaded = reader.loaded
    return Artifact(
        name=name,
        label=label,
        negative=negative,
        model={
            "name": loaded.name,
            "revision": loaded.revision,
            "fingerprint": loaded.fingerprint_at(max(reader.layers, default=0) + 1).to_dict(),
        },
        spec={**reader.spec.to_dict(), "layers": list(reader.layers)},
        columns=tuple((column.name, column.size) for column in reader.columns),
        head=_head(pipeline, recipe),
        calibration=calibration,
        thresholds=tuple(found),
        training={
            "recipe": recipe,
            "settings": settings,
            "seed": seed,
            "rows": len(y),
            "positives": int(y.sum()),
            "left_out": int((~ok).sum()),
            "judged_rows": int(judge.sum()),
            "sources": list(sources),
            "labels_hash": hashlib.sha256(y.astype(np.int8).tobytes()).hexdigest(),
            "fitted_on": device,
            "provenance": table.provenance,
        },
        metrics={"out_of_fold": metrics.to_dict()},
        version=__version__,
    )


def _fitted(
    rows: np.ndarray, y: np.ndarray, recipe: str, strengths: Sequence[float], seed: int, device: str
) -> tuple[Any, dict[str, Any]]:  # Any: scikit-learn has no types
    """The head fitted on all rows, and the settings that were chosen for it."""
    if recipe == "forest":
        return forest(seed).fit(rows, y), {}
    search = logistic(seed, strengths, device=device).fit(rows, y)
    tried = dict(zip(map(str, strengths), map(float, search.cv_results_["mean_test_score"]), strict=True))
    return search.best_estimator_, {"C": float(search.best_params_["head__C"]), "validation_auc": tried}


def _out_of_fold(
    rows: np.ndarray,
    y: np.ndarray,
    judge: np.ndarray,
    recipe: str,
    settings: dict[str, Any],
    seed: int,
    device: str,
) -> np.ndarray:
    """Logits of the judged rows, each from a head fitted without its fold."""
    from sklearn.model_selection import StratifiedKFold

    judged, logits = np.flatnonzero(judge), np.zeros(int(judge.sum()))
    folds = StratifiedKFold(_FOLDS, shuffle=True, random_state=seed).split(judged, y[judged])
    for _, held in folds:
        keep = np.ones(len(y), dtype=bool)
        keep[judged[held]] = False
        pipeline = forest(seed) if recipe == "forest" else logistic(seed, device=device).estimator
        if recipe == "logistic":
            pipeline.set_params(head__C=settings["C"])
        logits[held] = _head(pipeline.fit(rows[keep], y[keep]), recipe).logit(rows[judged[held]])
    return logits


def _head(pipeline: Any, recipe: str) -> Head:  # Any: scikit-learn has no types
    return ForestHead.of(pipeline) if recipe == "forest" else LinearHead.of(pipeline)
