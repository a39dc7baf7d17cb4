"""Authorship: which of several known writers, people or language models, wrote a text.

Character n-grams are the baseline, which needs no model; the geometry and the log-probabilities of a model
are added where held-out prompts say that they help. An author who is none of the known writers is
``undetermined``. Sources: arXiv:2408.02871 (who wrote it, as a game); margins and occupancy are ours.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from splinelens import __version__
from splinelens.detect import UNDETERMINED
from splinelens.detect.artifact_files import ArtifactFiles
from splinelens.detect.authorship import (
    TEXT,
    HeldOutAccuracy,
    WriterHead,
    answer_pools,
    fit_writers,
    measure_text,
)
from splinelens.errors import BadFeatures, BadTexts, BrokenArtifact
from splinelens.features.extract import read_table
from splinelens.features.loading import ReaderPlan, load_reader
from splinelens.features.ngrams import BUCKETS, ngram_counts, only_formatting, without_formatting
from splinelens.features.reader import Progress, TextReader
from splinelens.features.spec import FeatureSpec, every_third_layer
from splinelens.features.table import Column
from splinelens.files import results_folder, write_errors
from splinelens.generate.likelihood import log_probabilities, profile, read_profiles
from splinelens.models import LoadedModel, load_model
from splinelens.models.load import require_head, require_unset
from splinelens.models.source import lasting_name
from splinelens.report.authorship import Accuracy, Attribution, AuthorshipReport
from splinelens.texts import Texts
from splinelens.texts.row_groups import row_groups
from splinelens.texts.table import is_missing

FILES = ("authorship.json", "authorship.safetensors")
"""What ``Authorship.save`` writes."""

LIKELIHOOD = "likelihood"
FEATURE_SETS = (TEXT, "margins", "occupancy", "spline7", LIKELIHOOD)
"""What may be read: character n-grams, and what a model computes."""

POOLED_ANSWERS = 20
"""Answers that are pooled in the report of a fit."""

_STATISTICS = {"margins": "margin_max", "occupancy": "occupancy", "spline7": "spline7"}
_ARTIFACT = ArtifactFiles("an authorship head", *FILES, 1, "fit it again")
_FORMATTING = {"text without formatting": without_formatting, "formatting only": only_formatting}
_CHUNK = 512  # texts whose n-grams are counted together


@dataclass(frozen=True, repr=False)
class Authorship:
    """Attributes texts to known writers; ``fit`` and ``load`` return one.

    Attributes:
        head: The writers' scores.
        reader: What reads the geometry; None where n-grams are all that is read.
        name: Its name.
        training: Report and command of the fit: plain JSON values.
    """

    head: WriterHead
    reader: TextReader | None
    name: str
    training: dict[str, Any]  # Any: plain JSON values

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        *,
        model: LoadedModel | str | PathLike[str] | None = None,
        device: str | None = None,
        batch_tokens: int | None = None,
    ) -> "Authorship":
        """Read what ``save`` wrote, and load the model if it needs one.

        Raises:
            BrokenArtifact: A file is missing, damaged, or of another version.
            WrongModel: The model is another one than that of the fit.
            BadModel: The model cannot be loaded, or has no language-model head where one is needed.
        """
        path = Path(folder).expanduser()
        record = _ARTIFACT.read_manifest(path)
        arrays = _ARTIFACT.read_arrays(path, record.pop("arrays", None))
        try:
            head = WriterHead.from_arrays(record["writers"], record["feature_sets"], arrays)
            if record["buckets"] != BUCKETS:
                raise ValueError(f"its n-grams have {record['buckets']} columns, not {BUCKETS}")
            stated, spec, name = record["model"], record["spec"], record["name"]
            plan = None if stated is None else ReaderPlan.of(f"the head in {folder}", stated, spec)
            training = dict(record["training"])
        except (KeyError, TypeError, ValueError) as error:
            raise BrokenArtifact(f"{folder} is damaged ({error}); fit it again") from error
        if plan is None:
            return cls(head, None, name, training)
        with_head = LIKELIHOOD in head.feature_sets
        if with_head and not isinstance(model, LoadedModel):
            revision = plan.model.get("revision") if model is None else None
            source = plan.model["name"] if model is None else model
            dtype = plan.model["fingerprint"]["dtype"]
            model, device = load_model(source, revision=revision, device=device, dtype=dtype, head=True), None
        reader = load_reader(plan, engine="torch", model=model, device=device, batch_tokens=batch_tokens)
        if with_head and isinstance(reader.loaded, LoadedModel):
            require_head(reader.loaded)
        return cls(head, reader, name, training)

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the head to a folder; the model and the texts stay out.

        Raises:
            OutputExists: The folder holds one, without ``overwrite``.
            CannotWrite: The disk is full or the folder may not be written.
        """
        path = results_folder(folder, FILES, overwrite=overwrite)
        record: dict[str, Any] = {  # Any: plain JSON values
            "name": self.name,
            "writers": self.head.writers,
            "feature_sets": list(self.head.feature_sets),
            "buckets": BUCKETS,
            "model": None,
            "spec": None,
            "training": self.training,
            "version": __version__,
        }
        if self.reader is not None:
            loaded = self.reader.loaded
            record["spec"] = self.reader.spec.to_dict()
            record["model"] = {
                "name": lasting_name(loaded.name),
                "revision": loaded.revision,
                "fingerprint": loaded.fingerprint_at(max(self.reader.layers) + 1).to_dict(),
            }
        _ARTIFACT.write(path, record, self.head.arrays(), overwrite=overwrite)

    def __repr__(self) -> str:
        reads = ", ".join(self.head.feature_sets)
        return f"Authorship({self.name!r}, {len(self.head.writers)} writers; {reads})"

    def score(
        self,
        texts: Texts | Iterable[str | None],
        *,
        by: str | Sequence[Any] | None = None,  # Any: a cell is whatever the file held
        progress: Progress | None = None,
    ) -> list[Attribution]:
        """Who wrote each text, or each group of texts.

        Args:
            texts: The texts.
            by: One value a text, or the name of a column beside them: texts of equal value are of one
                unknown writer and are judged together. A text without a value is judged by itself.
            progress: Called with the texts and the characters read since the last call.

        Raises:
            MissingColumn: There is no column of that name.
            BadTexts: Not one value a text.
        """
        source = Texts.of(texts)
        groups = _groups(source, by)
        scores, known, reasons = self._read(source, progress)
        return [self._attribution(name, rows, scores, known, reasons) for name, rows in groups]

    def _read(
        self, source: Texts, progress: Progress | None
    ) -> tuple[np.ndarray, np.ndarray, list[str | None]]:
        """Scores, logits of being known, and reasons of all texts."""
        scores = [np.empty((0, len(self.head.writers)))]
        known = [np.empty(0)]
        reasons: list[str | None] = []
        step = _CHUNK if self.reader is None else self.reader.chunk
        for start in range(0, len(source), step):
            chunk = source.texts[start : start + step]
            values, unread = self._values(chunk, progress)
            chunk_scores, logits = self.head.read(values)
            scores.append(chunk_scores)
            known.append(logits)
            for row, reason in enumerate(unread):
                missing = None if np.isfinite(logits[row]) else "has numbers that are not finite"
                reasons.append(source.broken.get(start + row, reason or missing))
        return np.concatenate(scores), np.concatenate(known), reasons

    def _values(
        self, chunk: Sequence[str | None], progress: Progress | None
    ) -> tuple[dict[str, Any], list[str | None]]:  # Any: arrays and sparse matrices
        """Each feature set, NaN where a text cannot be read, and why it cannot."""
        values: dict[str, Any] = {TEXT: ngram_counts(chunk)}
        if self.reader is None:
            if progress:
                progress(len(chunk), sum(len(text or "") for text in chunk))
            return values, [_unreadable(text) for text in chunk]
        features = list(self.reader.read(chunk, progress=progress))
        table = np.stack([one.values for one in features])
        values |= _feature_sets(self.reader.columns, table)
        if LIKELIHOOD in self.head.feature_sets:
            assert isinstance(self.reader.loaded, LoadedModel)
            of_texts = log_probabilities(self.reader.loaded, chunk, batch_tokens=self.reader.batch_tokens)
            values[LIKELIHOOD] = np.stack([profile(one) for one in of_texts]).astype(np.float32)
        return values, [one.reason for one in features]

    def _attribution(
        self,
        name: str | None,
        rows: list[int],
        scores: np.ndarray,
        known: np.ndarray,
        reasons: Sequence[str | None],
    ) -> Attribution:
        ok = [row for row in rows if reasons[row] is None]
        result = Attribution(
            row=rows[0],
            name=name,
            writer=UNDETERMINED,
            answers=len(ok),
            unread=len(rows) - len(ok),
            reason=f"text {reasons[rows[0]]}",
        )
        if not ok:
            return result
        mean = scores[ok].mean(axis=0)
        logit = float(known[ok].mean())
        threshold = self.head.threshold(len(ok))
        nearest = self.head.writers[int(mean.argmax())]
        is_known = logit >= threshold
        return replace(
            result,
            writer=nearest if is_known else UNDETERMINED,
            nearest=nearest,
            known=logit,
            threshold=threshold,
            scores=dict(zip(self.head.writers, mean.tolist(), strict=True)),
            reason=None if is_known else "none of the known writers resembles it enough",
        )


def fit(
    texts: Texts | Iterable[str | None],
    writers: str | Sequence[Any],  # Any: a cell is whatever the file held
    prompts: Any,  # Any: see row_groups
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    feature_sets: Sequence[str] | None = None,
    name: str = "authorship",
    seed: int = 0,
    command: str = "",
    cache: str | PathLike[str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> tuple[Authorship, AuthorshipReport]:
    """Fit scores of writers to texts of theirs.

    Args:
        texts: The texts; those that cannot be read, or have no writer, are left out and counted.
        writers: Who wrote each text: one value a text, or the name of a column beside them.
        prompts: What each text answers, likewise; texts of one prompt are in one fold, else a writer would be
            known by what the prompt is about.
        model: A model loaded with ``head=True``, or the name, folder or file of one.
        feature_sets: Which of ``FEATURE_SETS`` are read; ``text`` always is, and by itself needs no model.
            None reads all and lets held-out prompts choose.
        name: Name of the result.
        seed: Of the folds.
        command: The command that repeats the fit.
        cache: Folder for what the model computes of the texts: a stopped run continues.
        device: Such as ``cpu`` or ``cuda:0``.
        dtype: Number type of the weights; None takes ``float32``.
        batch_tokens: Tokens of a batch, padding included.
        progress: Called with the texts and the characters read since the last call.

    Returns:
        What attributes texts, and what it reaches on held-out prompts.

    Raises:
        BadLabels: One writer, or a writer with answers to one prompt only.
        BadTexts: Not one writer a text, no readable text, or ``prompts`` as ``row_groups`` refuses them.
        MissingColumn: A column is absent.
        BadFeatures: Another feature set.
        BadModel: The model cannot be loaded, or has no language-model head.
    """
    requested = _requested(feature_sets)
    source = Texts.of(texts)
    names = _cells(source, writers, "writers")
    groups = row_groups(prompts, source)
    loaded = None if requested == (TEXT,) else _loaded(model, device, dtype)
    reading = _Reading(loaded, source, cache, batch_tokens, progress)
    values, unread = reading.values(requested)
    pairs = zip(unread, names, strict=True)
    reasons = [f"it {why}" if why else None if writer else "no writer is given" for why, writer in pairs]
    rows = [row for row, reason in enumerate(reasons) if reason is None]
    if not rows:
        raise BadTexts(f"{source.source}: none of {len(source)} texts can be used: {reasons[0]}")
    known = tuple(sorted({str(names[row]) for row in rows}))
    labels = np.array([known.index(str(names[row])) for row in rows])
    prompt = groups.numbers[rows]
    used = {name: values[name][rows] for name in requested}
    fitted = fit_writers(used, labels, prompt, known, choose=feature_sets is None, seed=seed)
    accuracies = [
        Accuracy(_title(one), one.accuracy, one.interval, one.squared_error) for one in fitted.choices
    ]
    for title, change in _FORMATTING.items():
        counts = ngram_counts([change(source.texts[row] or "") for row in rows])
        one = measure_text(counts, labels, prompt, known, seed=seed)
        accuracies.append(Accuracy(title, one.accuracy, one.interval, one.squared_error))
    report = AuthorshipReport(
        source=source.source,
        model=None if loaded is None else loaded.name,
        writers={writer: int((labels == number).sum()) for number, writer in enumerate(known)},
        prompts=len(np.unique(prompt)),
        left_out=dict(Counter(reason for reason in reasons if reason)),
        accuracies=tuple(accuracies),
        chosen=_title(fitted.chosen),
        confusion=_confusion(fitted.chosen.scores, labels),
        pooled_answers=POOLED_ANSWERS,
        pooled_accuracy=pooled_accuracy(fitted.chosen.scores, labels, POOLED_ANSWERS, seed),
        unknown=fitted.unknown,
    )
    training = {"report": report.to_dict(), "prompts": groups.record(), "seed": seed, "command": command}
    reader = reading.reader(tuple(fitted.head.feature_sets))
    return Authorship(fitted.head, reader, name, training), report


def pooled_accuracy(scores: np.ndarray, labels: np.ndarray, answers: int, seed: int = 0) -> float | None:
    """Share of pools of so many answers that are attributed to their writer; None with too few answers."""
    pools = answer_pools(labels, answers, np.random.default_rng(seed))
    hits = [scores[rows].mean(axis=0).argmax() == labels[rows[0]] for rows in pools]
    return float(np.mean(hits)) if hits else None


class _Reading:
    """Reads the feature sets of all texts of a fit, in two passes of the model."""

    def __init__(
        self,
        loaded: LoadedModel | None,
        source: Texts,
        cache: str | PathLike[str] | None,
        batch_tokens: int | None,
        progress: Progress | None,
    ):
        self._loaded = loaded
        self._source = source
        self._folder = None if cache is None else Path(cache)
        self._batch_tokens = batch_tokens
        self._progress = progress
        if self._folder is not None:
            with write_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)

    def values(
        self, names: Sequence[str]
    ) -> tuple[dict[str, Any], list[str | None]]:  # Any: arrays and sparse matrices
        """Some feature sets, and why a text cannot be used."""
        source = self._source
        loaded = self._loaded
        reader = self.reader(names)
        values: dict[str, Any] = {TEXT: ngram_counts(source.texts)}
        if reader is None or loaded is None:
            unread = map(_unreadable, source.texts)
            return values, [source.broken.get(row, reason) for row, reason in enumerate(unread)]
        output = None if self._folder is None else self._folder / "geometry.parquet"
        table = read_table(reader, source, output=output, progress=self._progress)
        values |= _feature_sets(table.columns, table.values)
        reasons = list(table.reasons)
        if LIKELIHOOD in names:
            profiles = read_profiles(loaded, source, self._folder, batch_tokens=self._batch_tokens)
            values[LIKELIHOOD] = profiles.astype(np.float32)
            for row in np.flatnonzero(~np.isfinite(profiles).all(axis=1)).tolist():
                reasons[row] = reasons[row] or "has no finite log-probability"
        return values, reasons

    def reader(self, names: Sequence[str]) -> TextReader | None:
        """Reads the geometry among some feature sets; None where n-grams are all that is read."""
        if self._loaded is None or tuple(names) == (TEXT,):
            return None
        features = tuple(_STATISTICS[name] for name in names if name in _STATISTICS) or ("length",)
        spec = FeatureSpec.of(features, every_third_layer(self._loaded.depth), "max")
        return TextReader(self._loaded, spec, batch_tokens=self._batch_tokens)


def _requested(feature_sets: Sequence[str] | None) -> tuple[str, ...]:
    """The feature sets that are read, in the order of ``FEATURE_SETS``."""
    names = FEATURE_SETS if feature_sets is None else feature_sets
    unknown = [name for name in names if name not in FEATURE_SETS]
    if unknown:
        raise BadFeatures(f"{unknown[0]!r} is no feature set; give some of {', '.join(FEATURE_SETS)}")
    return tuple(name for name in FEATURE_SETS if name == TEXT or name in names)


def _feature_sets(columns: Sequence[Column], values: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of each feature set of the geometry."""
    feature = np.repeat([one.statistic.feature for one in columns], [one.size for one in columns])
    return {name: values[:, feature == name] for name in _STATISTICS if name in feature}


def _groups(source: Texts, by: str | Sequence[Any] | None) -> Iterator[tuple[str | None, list[int]]]:
    """The rows that are judged together, by their value; each by itself without one."""
    cells = [None] * len(source) if by is None else _cells(source, by, "by")
    groups: dict[Any, list[int]] = {}  # Any: a value, or the number of a row
    for row, cell in enumerate(cells):
        groups.setdefault(row if cell is None else cell, []).append(row)
    return ((key if isinstance(key, str) else None, rows) for key, rows in groups.items())


def _cells(source: Texts, column: str | Sequence[Any], what: str) -> list[str | None]:
    """One value a text, as text without spaces around it; None where it is missing."""
    cells = source.keep([column]).columns[column] if isinstance(column, str) else list(column)
    if len(cells) != len(source):
        raise BadTexts(f"{len(cells)} {what} for {len(source)} texts; give one a text")
    return [None if is_missing(cell) else str(cell).strip() or None for cell in cells]


def _unreadable(text: str | None) -> str | None:
    if text is None:
        return "is missing"
    return None if text.strip() else "is empty"


def _loaded(model: str | PathLike[str] | LoadedModel, device: str | None, dtype: str | None) -> LoadedModel:
    if isinstance(model, LoadedModel):
        require_unset("load_model: the model", device=device, dtype=dtype)
        return model
    return load_model(model, device=device, dtype=dtype, head=True)


def _title(held_out: HeldOutAccuracy) -> str:
    return " + ".join(held_out.feature_sets) if len(held_out.feature_sets) > 1 else "text only"


def _confusion(scores: np.ndarray, labels: np.ndarray) -> tuple[tuple[int, ...], ...]:
    count = scores.shape[1]
    pairs = np.bincount(labels * count + scores.argmax(axis=1), minlength=count**2)
    return tuple(tuple(row) for row in pairs.reshape(count, count).tolist())
