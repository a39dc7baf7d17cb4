"""Scores of a detector on many texts, kept in a cache: a stopped run continues, and an equal one only reads."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from splinelens.apps.detector import Detector
from splinelens.features.extract import provenance
from splinelens.files import RowStore
from splinelens.texts import Texts


@dataclass(frozen=True, eq=False)
class Scores:
    """Calibrated scores.

    Attributes:
        scores: (text, label), NaN where a text has none.
        tokens: (text,), tokens of each whole text.
    """

    scores: np.ndarray
    tokens: np.ndarray


def score_folder(detector: Detector, texts: Texts, cache: Path) -> Path:
    """Where the scores of these texts are kept: by all that decides a score, and the texts."""
    reader = detector.reader
    decides = [detector.artifact.digest, reader.spec.to_dict(), reader.loaded.fingerprint.dtype]
    key = hashlib.sha256(json.dumps([*decides, texts.data_hash], sort_keys=True).encode()).hexdigest()
    return cache / "scores" / f"{detector.artifact.name}-{key[:16]}"


def are_cached(detector: Detector, texts: Texts, cache: Path) -> bool:
    """Whether all scores of these texts are in the cache."""
    return (score_folder(detector, texts, cache) / _COMPLETE).is_file()


def read_scores(
    detector: Detector, texts: Texts, cache: Path, progress: Callable[[int], None] = lambda done: None
) -> Scores:
    """Score texts with a detector as a user does, or read their scores from the cache.

    Args:
        detector: The detector.
        texts: The texts.
        cache: Folder of the scores, ``scores`` below it.
        progress: Called with the texts that are finished, as chunks are.

    Raises:
        CannotResume: The cache holds scores of another version; the message says what differs.
        CannotWrite: The disk is full or the folder may not be written.
    """
    import pyarrow as pa

    folder, labels = score_folder(detector, texts, cache), detector.artifact.labels
    request = {**provenance(detector.reader, texts), "detector": detector.artifact.digest}
    with RowStore(folder, request) as store:
        fresh = detector.scores(texts, start=store.rows)
        while chunk := list(islice(fresh, detector.reader.chunk)):
            rows = [list(record.scores.values()) if record.scores else [record.score] for record in chunk]
            columns = {
                label: pa.array([row[at] if len(row) == len(labels) else None for row in rows], pa.float64())
                for at, label in enumerate(labels)
            }
            store.append(pa.table({**columns, "tokens": [record.tokens for record in chunk]}))
            progress(store.rows)
        table = store.read()
    (folder / _COMPLETE).touch()
    scores = np.stack([table[label].to_numpy().astype(float) for label in labels], axis=1)
    return Scores(scores, table["tokens"].to_numpy())


_COMPLETE = "complete.txt"
