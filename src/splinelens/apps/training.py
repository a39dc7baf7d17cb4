"""Labeled texts become a detector: features, a fitted head, calibration, thresholds, an artifact.

Calibration and thresholds come from out-of-fold logits: no training row judges itself, nor does a row with
the same text or of the same group.
"""

import hashlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import index
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic
from typing import Any

import numpy as np

from splinelens import __version__
from splinelens.apps.detector import Detector
from splinelens.detect import learned
from splinelens.detect.anchored import Sample
from splinelens.detect.artifact import ARTIFACT_FILES, Artifact, Task, verdicts_problem
from splinelens.detect.calibration import Calibration, Knots, calibrate, length_offsets, offsets_at
from splinelens.detect.groups import joined
from splinelens.detect.heads import LinearHead
from splinelens.detect.label_errors import contradictions, suspected_labels
from splinelens.detect.learning_curve import LearningCurve, learning_curve
from splinelens.detect.solver import (
    STRENGTHS,
    Basis,
    Fitted,
    fit,
    fold_of_rows,
    folds,
    label_columns,
    require_rows,
)
from splinelens.detect.thresholds import TARGETS, thresholds
from splinelens.errors import BadFeatures, BadLabels
from splinelens.features.catalogue import Column
from splinelens.features.extract import check_table_output, provenance, read_table
from splinelens.features.inputs import read_inputs
from splinelens.features.reader import Progress, TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable, check_joinable, joined_rows
from splinelens.features.validation import (
    check_batch_tokens,
    check_names,
    check_seed,
    check_share,
    is_whole_number,
)
from splinelens.files import results_folder, write_text
from splinelens.geometry.directions import Directions
from splinelens.models import LoadedModel
from splinelens.models.load import load_up_to
from splinelens.models.source import lasting_name
from splinelens.report.training import TrainingReport, suspects_csv, training_markdown
from splinelens.texts import Texts, text_hashes
from splinelens.texts.labels import labels_of
from splinelens.texts.plain_text import storable
from splinelens.texts.row_groups import RowGroups, row_groups
from splinelens.tokens import Long

MAX_BYTES = 4_000_000
"""Size of a detector: as many hashes of training texts are kept as fit beside its head."""

TRAINING_FILES = (*ARTIFACT_FILES, "CARD.md", "TRAINING.md", "suspects.csv")
"""What ``Training.write`` writes."""

MAX_DIRECTIONS = 4096
"""Most hyperplanes to learn."""

DIRECTION_LAYERS = 6
"""The first layers, across which hyperplanes are learned unless others are named."""

MIN_HASHES = 10_000
"""Hashes that are kept however large the head is."""

_MANIFEST_BYTES = 200_000
_SAMPLE_ROWS, _SAMPLE_BYTES = (256, 1024), 460_000  # of the stored training rows
_RESAMPLES = 2000  # of the out-of-fold metrics
_LONGEST = 4096  # tokens of the longest texts that are joined from rows
_JOINED = 200  # joined texts of each size and fold, at least
_EPOCHS = (4, 10)
_FEWEST_ROWS, _MOST_ROWS = 4_000, 100_000  # of all epochs: few give too few steps, many take too long
_BATCH_TEXTS = 16  # more of them would be too few steps for some hundred rows
_REPORT_S = 2.0  # between two lines on the epochs
_log = logging.getLogger(__name__)
_MAX_CURVE_ROWS = 2000  # of the largest point of the learning curve, for the time it takes


@dataclass(frozen=True, eq=False, repr=False)
class Training:
    """A trained detector and what a report on its training is made of.

    Attributes:
        detector: Scores texts, and saves itself.
        values: (row, column), the features of the rows that were read.
        labels: (row, label), 0 or 1.
        scores: (row, label), calibrated and out of fold; NaN where a row was not judged.
        numbers: The number of each row in the source of the texts, from 0.
        same_text: One number per row, equal for rows with the same text.
        groups: One number per row, equal for rows of one group; None without groups.
    """

    detector: Detector
    values: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    numbers: np.ndarray
    same_text: np.ndarray
    groups: np.ndarray | None = None

    def __repr__(self) -> str:
        return f"Training({self.detector!r}, {len(self.values):,} rows)"

    @property
    def artifact(self) -> Artifact:
        """What is saved of the detector: head, calibration, thresholds, and ``metrics["out_of_fold"]``."""
        return self.detector.artifact

    def report(self) -> TrainingReport:
        """Learning curve, suspected label errors and contradictions, with row numbers of the source."""
        artifact = self.artifact
        suspects = suspected_labels(self.labels, self.scores, exclusive=artifact.task == "classes")
        conflicts = contradictions(self.same_text.tolist(), self.labels)
        return TrainingReport(
            artifact,
            tuple(replace(suspect, row=int(self.numbers[suspect.row])) for suspect in suspects),
            tuple(replace(group, rows=tuple(self.numbers[list(group.rows)].tolist())) for group in conflicts),
            self._curve(),
        )

    def _curve(self) -> LearningCurve:
        training = self.artifact.training
        if "directions" in training["settings"]:  # they were learned from all rows, those held out too
            reason = "each point would learn its hyperplanes anew, as long as a fold takes"
            return LearningCurve((), (), 0, reason=reason)
        strengths = training["settings"]["C"]
        return learning_curve(
            self.values,
            self.labels,
            list(strengths.values()) if isinstance(strengths, dict) else [strengths],
            groups=self.same_text if self.groups is None else joined(self.same_text, self.groups),
            max_rows=_MAX_CURVE_ROWS,
            seed=training["seed"],
        )

    def write(self, folder: str | PathLike[str], *, overwrite: bool = False) -> TrainingReport:
        """Write the detector, ``CARD.md``, ``TRAINING.md`` and ``suspects.csv``; returns the report.

        Raises:
            OutputExists: The folder holds one of these files, without ``overwrite``.
            CannotWrite: The disk is full or the folder may not be written.
        """
        folder = results_folder(folder, TRAINING_FILES, overwrite=overwrite)
        self.detector.save(folder, overwrite=overwrite)
        report, artifact = self.report(), self.artifact
        write_text(folder / "TRAINING.md", training_markdown(report), overwrite=overwrite)
        write_text(
            folder / "suspects.csv",
            suspects_csv(artifact, report.suspects, report.contradictions),
            overwrite=overwrite,
        )
        return report


def train(
    texts: Texts | Iterable[str | None],
    labels: Any,  # Any: see labels_of
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    features: str | Sequence[str] = "margins",
    layers: Sequence[int] | None = None,
    pooling: str | Sequence[str] = "max",
    directions: int = 0,
    prompt: str = "",
    suffix: str = "",
    max_tokens: int | None = None,
    max_text_tokens: int | None = None,
    long: Long = "windows",
    eps: float = 0.1,
    normalize: bool = False,
    positive: str | None = None,
    label: str | Sequence[str] | None = None,
    negative: str | None = None,
    groups: Any = None,  # Any: see row_groups
    by_length: float = 0.0,
    name: str = "detector",
    sources: Sequence[str] = (),
    languages: Sequence[str] = (),
    seed: int = 0,
    command: str = "",
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Training:
    """Fit a detector on labeled texts: labels and options are checked before the model is loaded.

    Args:
        texts: The texts; those that cannot be read are left out and counted.
        labels: One label a text: 0 and 1, True and False, two words of which one is harmless, such as
            ``toxic`` and ``clean``, or more words for classes. A table of 0 and 1 has one label a column,
            of which a text may have any number. They belong to texts by position, whatever their index.
        model: A loaded model, or the name, folder or file of one; of a name only the blocks needed are
            loaded.
        features: As in ``extract``, as are the others up to ``normalize``.
        layers: Layers to read, from 0; None reads all, and for ``directions`` the first six.
        pooling: Poolings of margins and hidden states.
        directions: In place of ``features``, learn so many hyperplanes across the layers, up to 4,096, from
            the texts and labels; the largest and the smallest margin to each are read. 0 learns none. What
            the MLPs read of every token is kept on disk meanwhile, in the folder for temporary files.
        prompt: Run before every text, never pooled.
        suffix: Run after every text, never pooled.
        max_tokens: Tokens of a window; None takes 512, or what fits into the model's positions.
        max_text_tokens: Texts of more tokens are not read and left out.
        long: ``"windows"`` reads long texts whole; ``"cut"`` drops what exceeds one window.
        eps: Attention weights above it count for ``attention_id``; in (0, 1).
        normalize: Read disguised characters as plain ones.
        positive: The label that counts as 1, every other one as 0; for two words of which none is known
            as harmless, such as ``rude`` and ``polite``.
        label: Verdict of a positive text, or the name of each label; None takes the words of ``labels``, or
            the name of their column, or ``positive``.
        negative: Verdict of a text without any label; None takes the word of ``labels``, or ``clean`` beside
            ``toxic``, ``not_rude`` beside ``rude``, ``negative`` beside ``positive``.
        groups: One value a text, such as its author, or the name of a column kept beside the texts. Rows of
            one group, or with the same text, are in one fold, in the learning curve too, and intervals come
            from resampling groups. A row whose value is missing is a group of its own, with a warning.
        by_length: Let scores go by the length of a text: the share, from 0 to 1, that is taken of the offsets
            under which a threshold has the same false-positive rate at every length. They cost ranking where
            length itself tells the classes apart, and another five fits.
        name: Name of the detector.
        sources: Names of the data, for the card.
        languages: Languages of the texts, for the card, such as ``English``.
        seed: Of the folds, the bootstrap and what is learned.
        command: The command that makes the detector again, for the card.
        revision: Branch, tag or commit of a hub id.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        dtype: Number type of the weights; None takes ``float32``.
        batch_tokens: Tokens of a batch, padding included; None takes 1,024 on a CPU, else 4,096.
        output: Parquet file that keeps the features: a stopped run resumes, and an equal one reads them.
        overwrite: Replace another file that is at ``output``; else it is refused.
        progress: Called with the texts and the characters read since the last call.

    Returns:
        The training; its ``detector`` scores texts, its ``write`` saves detector, card and report.

    Raises:
        BadTexts: ``texts`` is one string, is empty, or holds something other than texts; ``groups`` are not
            one value a text, one group only, or only groups of one row.
        BadLabels: Not one label a text, labels of another kind, one class only, too few rows of a class, or
            verdicts that are equal, empty or ``undetermined``; or a class whose rows are all in one group.
        MissingColumn: ``groups`` names a column that was not kept.
        BadFeatures: Names or layers that do not exist, or an option that cannot be, such as a seed above 32
            bits.
        BadModel: The model cannot be loaded, or an option of loading is given for a loaded one.
        OutputExists: ``output`` exists and is no table of an equal run, or is a folder or the input.
        CannotResume: ``output`` has parts of another run.
        CannotWrite: ``output`` cannot be written, or the disk has too little room for ``directions``.

    Example:
        >>> import splinelens
        >>> texts = ["Have a nice day.", "You fool."] * 50
        >>> trained = splinelens.train(texts, [0, 1] * 50, layers=range(6))  # doctest: +SKIP
        >>> trained.detector.save("mine")  # doctest: +SKIP
    """
    source = Texts.of(texts)
    known = labels_of(labels, len(source), positive=positive)
    names = known.names if label is None else (label,) if isinstance(label, str) else tuple(label)
    values = known.values[:, 0] if known.task == "binary" else known.values
    require_labels(values, known.task, names, len(source))
    members = None if groups is None else row_groups(groups, source)
    negative = negative or known.negative or default_negative(names)
    _require_verdicts(known.task, names, negative)
    check_seed(seed)
    check_share(by_length, "by_length")
    if directions := _check_directions(directions, features, pooling, output):
        features, layers = "length", range(DIRECTION_LAYERS) if layers is None else layers
    spec = FeatureSpec.of(
        features,
        layers,
        pooling,
        prompt=prompt,
        suffix=suffix,
        max_tokens=max_tokens,
        max_text_tokens=max_text_tokens,
        long=long,
        eps=eps,
        normalize=normalize,
    )
    check_batch_tokens(batch_tokens)
    check_table_output(output, source, spec, overwrite=overwrite)
    loaded = load_up_to(model, spec.layers, revision=revision, device=device, dtype=dtype)
    reader = TextReader(loaded, spec, batch_tokens=batch_tokens)
    table = fitted = None
    if directions:
        reader, table, fitted = _learn(
            source,
            label_columns(values, len(source)),
            reader,
            directions,
            names=names,
            groups=members,
            by_length=bool(by_length),
            seed=seed,
            progress=progress,
        )
    return fit_detector(
        source,
        values,
        reader,
        name=name,
        task=known.task,
        label=names,
        negative=negative,
        groups=members,
        by_length=by_length,
        sources=sources or [source.source],
        languages=languages,
        seed=seed,
        table=table,
        fitted=fitted,
        command=command,
        output=output,
        overwrite=overwrite,
        progress=progress,
    )


def default_negative(labels: Sequence[str]) -> str:
    """The verdict on a text without any of these labels, where nothing names it.

    Example:
        >>> default_negative(["toxic"]), default_negative(["rude"]), default_negative(["rude", "spam"])
        ('clean', 'not_rude', 'none')
    """
    if len(labels) > 1:
        return "none"
    return {"toxic": "clean", "positive": "negative"}.get(labels[0], f"not_{labels[0]}")


def fit_detector(
    texts: Texts | Iterable[str | None],
    labels: np.ndarray,
    reader: TextReader,
    *,
    name: str,
    task: Task = "binary",
    label: str | Sequence[str] = "positive",
    negative: str = "negative",
    judged: np.ndarray | None = None,
    groups: RowGroups | None = None,
    sources: Sequence[str] = (),
    languages: Sequence[str] = (),
    targets: Sequence[float] = TARGETS,
    floor: float = 0.0,
    strengths: Sequence[float] = STRENGTHS,
    by_length: float = 0.0,
    seed: int = 0,
    table: FeatureTable | None = None,
    fitted: Fitted | None = None,
    features_dtype: str | None = None,
    command: str = "",
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Training:
    """As ``train``, with a reader that is ready and labels as 0 and 1.

    Args:
        texts: The texts; those that cannot be read are left out and counted.
        labels: (text,) or (text, label), 0 or 1; of ``classes`` each row has one 1.
        reader: Model and spec, and learned directions if the spec reads them; the artifact keeps these.
        name: Name of the detector.
        task: ``binary``, ``classes`` (each text has one label) or ``labels`` (each has any number).
        label: Verdict of a positive text, or the name of each label.
        negative: Verdict of a text without any label; not used for ``classes``.
        judged: Boolean, the rows on which calibration, thresholds and metrics are computed; None takes
            all. Other rows only help to fit.
        groups: The group of each text, kept whole in folds; None is no groups.
        sources: Names of the data, for the card.
        languages: Languages of the texts, for the card, such as ``English``; others count as not measured.
        targets: False-positive rates to store thresholds for.
        floor: No label fires at a lower score, whatever the rate; see ``detect.thresholds``.
        strengths: L2 strengths C to choose from, separately for each label.
        by_length: As in ``train``; the offsets are fitted on negative rows, also joined to longer texts
            (``joined_rows``), with another five fits.
        seed: Of the folds and the bootstrap.
        table: Features that were read before; None reads them.
        fitted: A head that was fitted before on the rows of ``table`` that have features, with the
            out-of-fold logits of the judged ones; None fits one.
        features_dtype: Number type of the model that read ``table``; None takes that of the reader's model.
        command: The command that makes the detector again, for the card.
        output: Parquet file that keeps the features: a stopped run resumes, and an equal one reads them.
        overwrite: Replace another file that is at ``output``; else it is refused.
        progress: Called with the texts and the characters read since the last call.

    Returns:
        The artifact, not yet saved, with the evidence for a report.

    Raises:
        BadLabels: Labels that do not fit the task, one class only, too few rows of a class to split, or
            verdicts that are equal, empty or ``undetermined``.
        BadFeatures: A table of other texts or columns, a seed that is negative or above 32 bits, or a
            ``by_length`` that is no share from 0 to 1 or with statistics of which long texts do not follow.
    """
    source = Texts.of(texts)
    names = (label,) if isinstance(label, str) else tuple(label)
    known = require_labels(labels, task, names, len(source))
    _require_verdicts(task, names, negative)
    check_seed(seed)
    if check_share(by_length, "by_length"):
        check_joinable(reader.columns)
    table = table or read_table(reader, source, output=output, overwrite=overwrite, progress=progress)
    if table.columns != reader.columns or len(table) != len(source):
        raise BadFeatures(
            f"a table of {len(table)} rows and {len(table.columns)} columns does not fit {len(source)} texts "
            f"and {len(reader.columns)} columns; read it with the same spec from the same texts"
        )
    ok = table.ok
    y, values = known[ok].astype(int), table.values if ok.all() else table.values[ok]
    judge = np.ones(len(y), dtype=bool) if judged is None else np.asarray(judged)[ok]
    hashes = text_hashes([text for text, usable in zip(source.texts, ok, strict=True) if usable])
    different, same_text = np.unique(hashes, return_inverse=True)
    members = None if groups is None else groups.numbers[ok]
    fitted = fitted or fit(
        values,
        y,
        judged=judge,
        strengths=strengths,
        seed=seed,
        names=names,
        texts=same_text,
        groups=members,
    )
    tokens, numbers = table.tokens[ok], np.array(source.numbers)[ok]
    directions = reader.layout.directions
    knots: list[Knots] = [()] * len(names)
    if by_length:
        together = same_text if members is None else joined(same_text, members)
        long = fitted.long or _joined_negatives(
            table.columns, values, y, tokens, judge, together, fitted, seed
        )
        knots = [
            length_offsets(
                np.append(fitted.logits[y[judge, label] == 0, label], logits),
                np.append(tokens[judge & (y[:, label] == 0)], lengths),
                share=by_length,
            )
            for label, (logits, lengths) in enumerate(long)
        ]
    sample = None
    if task == "binary":
        offset = offsets_at(knots[0], tokens[judge]) if knots[0] else 0.0
        sample = training_sample(fitted.head, values[judge], fitted.logits[:, 0] - offset, seed)
    seen = different[: max_hashes(fitted.head, directions, sample)]
    positives = y.sum(axis=0).tolist()
    artifact = Artifact(
        name=storable(name),
        task=task,
        labels=names,
        negative="" if task == "classes" else negative,
        model=_model(reader),
        spec={**reader.spec.to_dict(), "layers": list(reader.layers)},
        features_dtype=features_dtype or reader.loaded.fingerprint.dtype,
        columns=tuple((column.name, column.size) for column in reader.columns),
        head=fitted.head,
        calibrations=_calibrations(fitted, y[judge], tokens[judge], knots, names, task),
        thresholds=((),) * len(names),
        training={
            "settings": fitted.settings,
            "seed": seed,
            "rows": len(y),
            "positives": positives[0] if task == "binary" else dict(zip(names, positives, strict=True)),
            **({"floor": floor} if floor else {}),
            "left_out": int((~ok).sum()),
            "judged_rows": int(judge.sum()),
            "cut": int(table.cut[ok].sum()),
            "repeated": count_repeated(same_text, y),
            **({"groups": groups.record()} if groups else {}),
            "seen": {"texts": len(different), "kept": len(seen)},
            "sources": [storable(name) for name in sources],
            "languages": [storable(name) for name in languages],
            "labels_hash": hashlib.sha256(y.astype(np.int8).tobytes()).hexdigest(),
            "provenance": table.provenance,
        },
        command=storable(command),
        version=__version__,
        seen=seen,
        directions=directions,
        sample=sample,
    )
    judged_scores = artifact.scores(fitted.logits, tokens[judge])
    evaluated = y[judge], judged_scores, tokens[judge]
    within = None if members is None else members[judge]
    metrics = artifact.evaluate(
        *evaluated, cut=table.cut[ok][judge], groups=within, resamples=_RESAMPLES, seed=seed
    )
    chosen = [
        thresholds(*label, sorted({*targets}), floor=floor, groups=within)
        for label in zip(y[judge].T, judged_scores.T, strict=True)
    ]
    artifact = replace(
        artifact, thresholds=tuple(map(tuple, chosen)), metrics={"out_of_fold": metrics.to_dict()}
    )
    scores = np.full(y.shape, np.nan)
    scores[judge] = judged_scores
    return Training(Detector(artifact, reader), values, y, scores, numbers, same_text, members)


def require_labels(labels: np.ndarray, task: Task, names: Sequence[str], texts: int) -> np.ndarray:
    """Validate the labels of ``fit_detector`` for a number of texts; returns them as (text, label).

    Raises:
        BadLabels: Another number of rows or labels, names that do not fit the task or occur twice, rows of
            ``classes`` without exactly one label, or fewer than 10 positive or negative rows of a label.
    """
    known = label_columns(labels, texts)
    if known.shape[1] != len(names) or len(set(names)) < len(names):
        raise BadLabels(f"labels of shape {known.shape} need as many different names, not {list(names)}")
    if (task == "binary") != (len(names) == 1):
        raise BadLabels(f"task {task!r} with {len(names)} labels; one label is binary, more are not")
    for name, column in zip(names, known.T, strict=True):
        require_rows(column, None if task == "binary" else name)
    if task == "classes" and (known.sum(axis=1) != 1).any():
        rows = int((known.sum(axis=1) != 1).sum())
        raise BadLabels(f"{rows} of {len(known)} rows have no class or several; give one, or task='labels'")
    return known


def _require_verdicts(task: Task, names: Sequence[str], negative: str) -> None:
    """Refuse verdicts that cannot be told apart."""
    if problem := verdicts_problem(task, names, negative):
        raise BadLabels(f"{problem}; choose other names")


def count_repeated(same_text: np.ndarray, labels: np.ndarray) -> dict[str, int]:
    """Count texts that occur more than once, all their rows, and texts with contradicting labels.

    Rows with the same number in ``same_text`` have the same text.
    """
    counts = np.bincount(same_text)
    return {
        "texts": int((counts > 1).sum()),
        "rows": int(counts[counts > 1].sum()),
        "contradicting": len(contradictions(same_text.tolist(), labels)),
    }


def max_hashes(head: LinearHead, directions: Directions | None = None, sample: Sample | None = None) -> int:
    """Hashes of training texts that fit into a detector beside its other arrays."""
    others = sum(array.nbytes for array in head.arrays().values())
    if directions is not None:
        others += directions.weight[directions.layers_read].nbytes
    if sample is not None:
        others += sample.nbytes
    return max(MIN_HASHES, (MAX_BYTES - _MANIFEST_BYTES - others) // 8)


def training_sample(head: LinearHead, values: np.ndarray, logits: np.ndarray, seed: int) -> Sample | None:
    """A sample of random rows with these logits: up to 1,024 rows, as many as 0.46 MB hold.

    None where these would be fewer than 256, which is the case from 899 columns.
    """
    fewest, most = _SAMPLE_ROWS
    count = min(most, _SAMPLE_BYTES // (2 * head.width))
    if count < fewest:
        return None
    rows = np.random.default_rng(seed).permutation(len(values))[:count]  # in random order: it is halved
    largest = float(np.finfo(np.float16).max)
    standardized = np.clip((values[rows] - head.mean) / head.scale, -largest, largest)
    return Sample(standardized.astype(np.float16), logits[rows].astype(np.float32))


def _model(reader: TextReader) -> dict[str, Any]:  # Any: plain JSON values
    """The model that a detector works with."""
    loaded, depth = reader.loaded, max(reader.layers, default=0) + 1
    fingerprint = loaded.fingerprint_at(depth).to_dict()
    name = lasting_name(loaded.name)
    return {"name": name, "revision": loaded.revision, "fingerprint": fingerprint}


def long_texts(
    columns: Sequence[Column], values: np.ndarray, tokens: np.ndarray, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Feature rows of long texts: 2, 4, 8 ... rows joined, as long as they stay below 4,096 tokens.

    Yields:
        Some rows, and their tokens.
    """
    size = 2
    while size <= len(values) and size * tokens.mean() <= _LONGEST:
        for _ in range(-(-_JOINED * size // len(values))):
            some = rng.permutation(len(values))
            yield joined_rows(columns, values[some], tokens[some], size)
        size *= 2


def long_negatives(
    columns: Sequence[Column],
    held_out: Sequence[learned.HeldOut],
    labels: np.ndarray,
    tokens: np.ndarray,
    seed: int = 0,
) -> tuple[tuple[np.ndarray, np.ndarray], ...]:
    """For each label, logits and tokens of long negative texts, joined from rows of one fold.

    Args:
        columns: What the pooled margins are.
        held_out: The rows of each fold.
        labels: (row of all, label), 0 or 1; NaN where it is not known.
        tokens: (row of all,) tokens.
        seed: Of the choice of rows.
    """
    long = []
    for label, y in enumerate(labels.T):
        rng, parts = np.random.default_rng(seed), [(np.empty(0), np.empty(0, int))]
        for fold in held_out:
            negative = y[fold.rows] == 0
            for joined_values, lengths in long_texts(
                columns, fold.values[negative], tokens[fold.rows][negative], rng
            ):
                parts.append((joined_values @ fold.weight[label] + fold.bias[label], lengths))
        logits, counts = zip(*parts, strict=True)
        long.append((np.concatenate(logits), np.concatenate(counts)))
    return tuple(long)


def _joined_negatives(
    columns: Sequence[Column],
    values: np.ndarray,
    labels: np.ndarray,
    tokens: np.ndarray,
    judge: np.ndarray,
    groups: np.ndarray,
    fitted: Fitted,
    seed: int,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each label, logits and tokens of long negative texts: judged rows, joined within a fold.

    They are judged by a head of the other folds.
    """
    strengths, rng = fitted.settings["C"], np.random.default_rng(seed)
    strengths = [*strengths.values()] if isinstance(strengths, dict) else [strengths]
    parts: list[list[tuple[np.ndarray, np.ndarray]]] = [[] for _ in labels.T]
    for held_out in folds(labels, judge, groups, seed):
        rest = ~np.isin(groups, groups[held_out])
        head = Basis.of(values[rest]).fitted_head(labels[rest], strengths)
        for label, y in enumerate(labels.T):
            rows = held_out[y[held_out] == 0]
            for long, lengths in long_texts(columns, values[rows], tokens[rows], rng):
                parts[label].append((head.logit(long)[:, label], lengths))
    return [
        (np.concatenate([np.empty(0), *logits]), np.concatenate([np.empty(0), *lengths]))
        for logits, lengths in (([a for a, _ in part], [b for _, b in part]) for part in parts)
    ]


def _calibrations(
    fitted: Fitted,
    labels: np.ndarray,
    tokens: np.ndarray,
    knots: Sequence[Knots],
    names: Sequence[str],
    task: Task,
) -> tuple[Calibration, ...]:
    calibrations = []
    for name, y, logits, by_length in zip(names, labels.T, fitted.logits.T, knots, strict=True):
        try:
            calibrations.append(calibrate(y, logits, tokens, by_length))
        except BadLabels as error:
            raise error if task == "binary" else BadLabels(f"label {name!r}: {error}") from error
    return tuple(calibrations)


def _check_directions(directions: object, features: object, pooling: object, output: object) -> int:
    """The number of hyperplanes to learn, 0 for none.

    Raises:
        BadFeatures: No number up to ``MAX_DIRECTIONS``, or an option that says nothing beside it.
    """
    if not is_whole_number(directions, minimum=0) or directions > MAX_DIRECTIONS:  # type: ignore[operator]  # a number
        raise BadFeatures(
            f"directions={directions!r}: need a whole number from 1 to {MAX_DIRECTIONS:,}, or 0 for none"
        )
    names = check_names(features, "features"), check_names(pooling, "pooling")
    if directions and (*names, output) != (("margins",), ("max",), None):
        raise BadFeatures(
            "directions are read in place of other features, pooled by maximum and minimum, and no table of "
            "them is kept: leave out features, pooling and output, or directions"
        )
    return index(directions)  # type: ignore[arg-type]  # checked above


def _learn(
    texts: Texts,
    labels: np.ndarray,
    reader: TextReader,
    directions: int,
    *,
    names: Sequence[str],
    groups: RowGroups | None,
    by_length: bool,
    seed: int,
    progress: Progress | None,
) -> tuple[TextReader, FeatureTable, Fitted]:
    """Learn directions at the layers of a reader, out of fold and on all rows, for ``fit_detector``.

    Returns:
        A reader of the directions of all rows, what it gives of the texts, and the fitted head.
    """
    tokenized = reader.tokenize(texts.texts)
    report = _Reporter()
    with TemporaryDirectory(prefix="splinelens-") as folder:
        inputs = read_inputs(reader, tokenized, Path(folder), progress=progress)
        reasons = tuple(
            text.reason or (None if finite else "gives MLP inputs that are not finite")
            for text, finite in zip(tokenized, inputs.finite, strict=True)
        )
        ok = np.array([reason is None for reason in reasons])
        rows = np.flatnonzero(ok)
        fold = _folds(texts, labels, rows, names, groups, seed)
        tokens = learned.Tokens([inputs], ok, range(len(reader.layers)), *learned.moments(inputs))
        del inputs  # some systems remove no file that is mapped
    settings = _settings(directions, reader.layers, len(rows), seed)
    parts = list(learned.cross_fit(tokens, rows, labels, fold, settings, report))
    network = learned.train(tokens, rows, labels, settings, report=lambda line: report(f"all rows, {line}"))
    logits = np.full(labels.shape, np.nan)
    for part in parts:
        logits[part.rows] = part.logits
    values = learned.pooled(network, tokens, np.arange(len(texts)), settings)
    weight, bias = learned.folded(network, tokens.mean, tokens.scale)
    reader = TextReader(
        reader.loaded,
        replace(reader.spec, features=("direction_max", "direction_min")),
        batch_tokens=reader.batch_tokens,
        directions=Directions(weight.astype(np.float16), bias),
    )
    total, cut = np.array([text.total for text in tokenized]), np.array([text.cut for text in tokenized])
    table = FeatureTable(reader.columns, values, total, cut, reasons, provenance(reader, texts))
    fitted = Fitted(
        learned.standardized_head(values[rows], *learned.linear_layer(network)),
        {"directions": directions, "epochs": settings.epochs},
        logits[rows],
        long_negatives(reader.columns, parts, labels, total, seed) if by_length else (),
    )
    return reader, table, fitted


def _folds(
    texts: Texts,
    labels: np.ndarray,
    rows: np.ndarray,
    names: Sequence[str],
    groups: RowGroups | None,
    seed: int,
) -> np.ndarray:
    """The fold of each of some rows: those of the other heads."""
    _, same_text = np.unique(text_hashes([texts.texts[row] for row in rows]), return_inverse=True)
    members = None if groups is None else groups.numbers[rows]
    judge = np.ones(len(rows), dtype=bool)
    return fold_of_rows(labels[rows], judge, same_text, members, seed=seed, names=names)


def _settings(directions: int, layers: tuple[int, ...], rows: int, seed: int) -> learned.Settings:
    """How directions are fitted to so many rows: in fewer epochs the more there are."""
    fewest, most = _EPOCHS
    epochs = max(fewest, min(most, _MOST_ROWS // rows), _FEWEST_ROWS // rows)
    return learned.Settings(directions, layers, epochs=epochs, batch_texts=_BATCH_TEXTS, seed=seed)


class _Reporter:
    """Logs lines on progress, but none within two seconds of the last."""

    def __init__(self) -> None:
        self._last_s = monotonic()

    def __call__(self, line: str) -> None:
        if monotonic() - self._last_s >= _REPORT_S:
            _log.info(line)
            self._last_s = monotonic()
