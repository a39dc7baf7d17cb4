"""Export a detector: its artifact and its model as one graph, which runs without PyTorch.

A graph rounds differently from PyTorch. On labeled rows of the user the scores of both are compared, and
thresholds move where they would flag another number of these rows.
"""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from splinelens.apps.detector import Detector
from splinelens.detect.artifact import ARTIFACT_FILES, Artifact
from splinelens.detect.shipped import find_artifact
from splinelens.detect.thresholds import moved_threshold
from splinelens.engines.compiled import (
    GRAPH_FILES,
    CompiledModel,
    check_precision,
    require_runtime,
)
from splinelens.errors import BadLabels
from splinelens.features.reader import Progress, TextReader
from splinelens.files import check_folder, move_files, results_folder, write_errors
from splinelens.texts import Texts

EXPORT_FILES = (*GRAPH_FILES, "CARD.md", *reversed(ARTIFACT_FILES))
"""The files of an exported detector, in the order in which they are written: ``detector.json`` last."""


@dataclass(frozen=True)
class EngineDifference:
    """Difference between an exported detector and PyTorch in float32 on the same rows, for one label.

    Attributes:
        label: The label.
        rows: Rows that both scored.
        auc: AUC of the graph's scores; None if the rows have one class.
        auc_torch: AUC of PyTorch's scores.
        median: Median absolute difference of the scores.
        largest: Largest absolute difference of the scores.
        verdicts: Rows whose verdict at the highest stored false-positive rate, 5 %, is another.
        moved: Thresholds that moved, by false-positive rate: before and after.
    """

    label: str
    rows: int
    auc: float | None
    auc_torch: float | None
    median: float
    largest: float
    verdicts: int
    moved: dict[str, tuple[float, float]]

    @property
    def summary(self) -> str:
        """The numbers in one line."""
        aucs = "" if self.auc is None else f"AUC {self.auc:.4f}, of PyTorch {self.auc_torch:.4f}; "
        moved = ", ".join(
            f"{100 * float(rate):g} % from {was:.4f} to {now:.4f}" for rate, (was, now) in self.moved.items()
        )
        return (
            f"{self.label}: {aucs}scores differ by {self.median:.1e} (median), {self.largest:.1e} (most) on "
            f"{self.rows:,} rows, {self.verdicts} verdicts changed; "
            f"{'no threshold moved' if not moved else 'thresholds moved: ' + moved}"
        )


def export(
    detector: str | PathLike[str],
    output: str | PathLike[str],
    *,
    dtype: str = "float32",
    texts: Texts | Iterable[str | None] | None = None,
    labels: Any = None,  # Any: see labels_of
    positive: str | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> list[EngineDifference]:
    """Write a detector and its graph into a folder, which ``Detector.load`` and ``splinelens score`` take.

    Args:
        detector: A shipped name or a folder.
        output: The folder; made if it is missing.
        dtype: In which matrices are multiplied: ``float32``, ``bfloat16``, or ``int8``, which also stores the
            weights in 8 bits and moves scores most. ``Detector.load`` can take any of a folder that was
            exported in another than ``int8``.
        texts: Rows to measure the exported detector on, such as those that it was calibrated on.
        labels: Their labels.
        positive: The label that counts as 1.
        overwrite: Replace a detector that is there.
        progress: Called with the texts and characters that PyTorch read since the last call.

    Returns:
        For each label how the exported detector differs from PyTorch; empty without texts.

    Raises:
        BadFeatures: OpenVINO is not installed, the processor lacks ``dtype``, or the detector cannot be
            compiled: its architecture cannot be traced, or it reads other features than margins.
        BadLabels: Texts without labels, or labels of another kind than the detector's.
        OutputExists: The folder holds a detector, without ``overwrite``, or is a file.
        CannotWrite: The disk is full or the folder may not be written.

    Example:
        >>> import splinelens
        >>> splinelens.export("toxicity-fast", "fast")  # doctest: +SKIP
        []
    """
    require_runtime()
    precision = check_precision(dtype)
    artifact = find_artifact(detector)
    if (texts is None) != (labels is None):
        raise BadLabels("an export is measured on texts and their labels: give both or neither")
    source = None if texts is None else Texts.of(texts)
    y = None
    if source is not None:
        y = artifact.require_labels(artifact.known_labels(labels, len(source), positive), len(source))
    folder = results_folder(output, EXPORT_FILES, overwrite=overwrite)
    check_folder(folder, EXPORT_FILES, overwrite=True)
    existed = folder.is_dir()
    try:
        with write_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            temporary = TemporaryDirectory(prefix=".export-", dir=folder)
        with temporary as name:
            unmeasured = Path(name)
            torch = Detector.load(detector, dtype="float32", device="cpu", engine="torch")
            torch.reader.export_graph(unmeasured, precision)
            graph = CompiledModel(unmeasured)
            differences: list[EngineDifference] = []
            if source is not None and y is not None:
                reader = TextReader(graph, torch.reader.spec, directions=artifact.directions)
                scores, _, _ = torch.label_scores(source, progress=progress)
                exported, _, _ = Detector(artifact, reader).label_scores(source)
                artifact, differences = _measured(artifact, y, scores, exported)
            record = {"engine": graph.engine_name, "differences": [asdict(one) for one in differences]}
            artifact = replace(artifact, training={**artifact.training, "exported": record})
            Detector(artifact, torch.reader).save(unmeasured)
            move_files(unmeasured, folder, EXPORT_FILES)
    except BaseException:
        if not existed:
            with suppress(OSError):
                folder.rmdir()
        raise
    return differences


def _measured(
    artifact: Artifact, labels: np.ndarray, before: np.ndarray, after: np.ndarray
) -> tuple[Artifact, list[EngineDifference]]:
    """The artifact with thresholds for the new scores, and how these differ from the old ones."""
    from sklearn.metrics import roc_auc_score

    stored, differences = [], []
    for index, (label, limits) in enumerate(zip(artifact.labels, artifact.thresholds, strict=True)):
        scored = np.isfinite(before[:, index]) & np.isfinite(after[:, index])
        old, new, y = before[scored, index], after[scored, index], labels[scored, index]
        moved = tuple(moved_threshold(limit, old, new) for limit in limits)
        both = 0 < y.sum() < len(y)
        gap = np.abs(new - old)
        widest = limits[-1].score
        differences.append(
            EngineDifference(
                label,
                len(y),
                float(roc_auc_score(y, new)) if both else None,
                float(roc_auc_score(y, old)) if both else None,
                float(np.median(gap)) if len(gap) else 0.0,
                float(gap.max(initial=0.0)),
                int(((old >= widest) != (new >= widest)).sum()),
                {
                    f"{was.target:g}": (was.score, now.score)
                    for was, now in zip(limits, moved, strict=True)
                    if was != now
                },
            )
        )
        stored.append(moved)
    return replace(artifact, thresholds=tuple(stored)), differences
