"""Truthfulness: does what a model computes of a text tell whether the text is true?

``fit`` makes a score from texts that are known to be true, or labeled; ``evaluate`` compares every score with
what the words alone tell, on the same rows, and gives no verdict where these win. Sources: Yin, Srinivasa and
Chang, arXiv:2402.18048 (local intrinsic dimension); arXiv:2605.17028 (controlled corpora leave most methods
near chance).
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from splinelens import __version__
from splinelens.apps.detector import Detector
from splinelens.apps.training import Training, fit_detector
from splinelens.detect import UNDETERMINED
from splinelens.detect.artifact_files import ArtifactFiles
from splinelens.detect.bootstrap import ScoreHistogram, bootstrap, percentile_interval
from splinelens.detect.calibration import Calibration, calibrate
from splinelens.detect.heads import LinearHead
from splinelens.detect.local_dimension import (
    NEIGHBORS,
    LocalDimension,
    dimension_scores,
    first_peak,
    held_out_dimensions,
    require_reference,
    two_nn_curve,
)
from splinelens.detect.out_of_fold import (
    MOST_GROUPS,
    RIDGES,
    auc,
    auc_parts,
    best_ratio,
    head_scores,
    likelihood_head,
    likelihood_scores,
    mean_auc,
    summed_scores,
    text_only_scores,
)
from splinelens.detect.shipped import find_artifact, shipped
from splinelens.detect.solver import fold_of_rows, require_rows
from splinelens.errors import BadFeatures, BadLabels, BadTexts, BrokenArtifact
from splinelens.features.extract import read_table
from splinelens.features.loading import ReaderPlan, load_reader
from splinelens.features.reader import Progress, TextFeatures, TextReader
from splinelens.features.spec import FeatureSpec, every_third_layer
from splinelens.features.table import FeatureTable
from splinelens.files import results_folder, write_errors, write_text
from splinelens.generate.likelihood import PROFILE, log_probabilities, profile, read_profiles
from splinelens.geometry.settings import SPLINE7
from splinelens.models import LoadedModel, load_model
from splinelens.models.load import require_head, require_unset
from splinelens.models.source import lasting_name
from splinelens.report.scores import TextScore
from splinelens.report.truth import MODEL, TEXT_ONLY, LayerCurve, Rival, TruthReport
from splinelens.texts import Texts, text_hashes
from splinelens.texts.labels import labels_of
from splinelens.texts.row_groups import RowGroups, row_groups

Method = Literal["lid", "margins", "occupancy", "hidden", "geometry", "all"]
"""What a confidence is made of: the local dimension; a linear head, where ``geometry`` reads margins and
occupancy; or that head and log-probabilities together."""

METHODS: tuple[Method, ...] = get_args(Method)

REFERENCE_FILES = ("truth.json", "truth.safetensors")
"""What ``Truth.save`` writes."""

_HEADS: dict[Method, tuple[str, ...]] = {
    "margins": ("margin_max",),
    "occupancy": ("occupancy",),
    "hidden": ("hidden_mean",),
    "geometry": ("margin_max", "occupancy"),
}
_HEAD_TITLES: dict[Method, str] = {
    "margins": "max margins, head",
    "occupancy": "occupancy, head",
    "hidden": "mean hidden state, probe",
    "geometry": "margins and occupancy, head",
}
_MANIFEST, _ARRAYS = REFERENCE_FILES
_FILES = ArtifactFiles("a reference of true texts", _MANIFEST, _ARRAYS, 1, "fit it again")
_LIKELIHOOD = "likelihood.json"
_SCHEMA = 1
_TRUE, _FALSE = "true", "false"
_ALIKE, _UNLIKE = "like_reference", "unlike_reference"  # verdicts where no labels say what is false
_FPR = 0.05


@dataclass(frozen=True, repr=False)
class Truth:
    """Scores texts by their local dimension among known ones; ``fit`` and ``load`` make one.

    Attributes:
        reference: The known states at the chosen layer.
        reader: What reads the state of a text's last token.
        name: Its name.
        training: What it was made from: plain JSON values.
    """

    reference: LocalDimension
    reader: TextReader
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
    ) -> "Truth":
        """Read what ``save`` wrote, and load the blocks of the model that it needs.

        Raises:
            BrokenArtifact: A file is missing or damaged.
            WrongModel: The model is another one than that of the fit.
            BadModel: The model cannot be loaded.
        """
        path = Path(folder).expanduser()
        record = _FILES.read_manifest(path)
        arrays = _FILES.read_arrays(path, record.pop("arrays", None))
        try:
            platt = record["calibration"]
            calibration = None if platt is None else Calibration(*platt)
            reference = LocalDimension(arrays["states"], arrays["own"], record["neighbors"], calibration)
            plan = ReaderPlan.of(f"the score in {folder}", record["model"], record["spec"])
            fits = reference.states.ndim == 2 and reference.own.shape == reference.states.shape[:1]
            fits &= bool(np.isfinite(reference.states).all() and np.isfinite(reference.own).all())
            require_reference(reference.states, reference.neighbors)
        except (KeyError, TypeError, ValueError, BadFeatures) as error:
            raise BrokenArtifact(f"{folder} is damaged ({error}); fit it again") from error
        if not fits:
            raise BrokenArtifact(f"{folder} is damaged: its arrays do not fit each other; fit it again")
        reader = load_reader(plan, engine="torch", model=model, device=device, batch_tokens=batch_tokens)
        return cls(reference, reader, record["name"], record["training"])

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the reference to a folder; the model stays out.

        Raises:
            OutputExists: The folder holds one, without ``overwrite``.
            CannotWrite: The disk is full or the folder may not be written.
        """
        path = results_folder(folder, REFERENCE_FILES, overwrite=overwrite)
        loaded = self.reader.loaded
        depth = max(self.reader.layers) + 1
        calibration = self.reference.calibration
        record = {
            "name": self.name,
            "model": {
                "name": lasting_name(loaded.name),
                "revision": loaded.revision,
                "fingerprint": loaded.fingerprint_at(depth).to_dict(),
            },
            "spec": self.reader.spec.to_dict(),
            "neighbors": self.reference.neighbors,
            "calibration": calibration and [calibration.slope, calibration.intercept, calibration.share],
            "training": self.training,
            "version": __version__,
        }
        arrays = {"states": self.reference.states.astype(np.float32), "own": self.reference.own}
        _FILES.write(path, record, arrays, overwrite=overwrite)

    def __repr__(self) -> str:
        (layer,) = self.reader.layers
        known = len(self.reference.states)
        return f"Truth({self.name!r}, {known:,} known texts, layer {layer}; {self.reader.loaded.name})"

    def score(
        self, texts: Texts | Iterable[str | None], *, progress: Progress | None = None
    ) -> list[TextScore]:
        """One confidence in [0, 1] a text, ``score``; a text that cannot be read is ``undetermined``.

        With labels it is the calibrated probability that a text is true, and the verdict is ``true`` or
        ``false``; without the share of known texts that are no nearer to the others, and the verdict
        ``unlike_reference`` where that is below 5 %.
        """
        return list(self.scores(texts, progress=progress))

    def scores(
        self, texts: Texts | Iterable[str | None], *, progress: Progress | None = None
    ) -> Iterator[TextScore]:
        """As ``score``, one record after the other."""
        source = Texts.of(texts)

        def record(features: TextFeatures) -> TextScore:
            reason = source.broken.get(features.index, features.reason)
            return self._judged(replace(features, reason=reason))

        yield from self.reader.map(record, source.texts, progress=progress)

    def _judged(self, features: TextFeatures) -> TextScore:
        score = np.nan
        if features.reason is None:
            score = float(self.reference.confidence(self.reference.dimension(features.values[None]))[0])
        if self.reference.calibration is None:
            verdict = _UNLIKE if score < _FPR else _ALIKE
        else:
            verdict = _TRUE if score >= 0.5 else _FALSE
        return _record(features, score, verdict, "has no dimension")


@dataclass(frozen=True, repr=False)
class LikelyTruth:
    """Scores texts by geometry and log-probabilities together; ``fit`` and ``load`` make one.

    Attributes:
        detector: Its head reads margins and occupancy; it scores by itself too, and explains what it can.
        likelihood: A head on ``generate.likelihood.profile``.
        ratio: Weight of the detector's logit beside that of the likelihood.
        calibration: Of the sum.
    """

    detector: Detector
    likelihood: LinearHead
    ratio: float
    calibration: Calibration

    @classmethod
    def load(
        cls,
        name: str | PathLike[str],
        *,
        model: LoadedModel | str | PathLike[str] | None = None,
        device: str | None = None,
        batch_tokens: int | None = None,
    ) -> "LikelyTruth":
        """Read what ``save`` wrote, of a shipped name or a folder, and load the model with its head.

        Raises:
            BrokenArtifact: A file is missing or damaged.
            WrongModel: The model is another one than that of the fit.
            BadModel: The model cannot be loaded, or a loaded one has no head.
        """
        path = _folder(name) / _LIKELIHOOD
        try:
            record = json.loads(path.read_text("utf-8"))
            arrays = {key: np.array(values, dtype=float) for key, values in record["likelihood"].items()}
            likelihood = LinearHead.from_arrays(arrays)
            ratio, calibration = float(record["ratio"]), Calibration(*record["calibration"])
            if record["schema"] != _SCHEMA or record["profile"] != list(PROFILE):
                raise ValueError("it was written by another version")
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise BrokenArtifact(f"{path} is damaged ({error}); fit it again") from error
        artifact = find_artifact(name)
        if not isinstance(model, LoadedModel):
            source = artifact.model["name"] if model is None else model
            revision = artifact.model.get("revision") if model is None else None
            dtype = artifact.model["fingerprint"]["dtype"]
            model = load_model(source, revision=revision, device=device, dtype=dtype, head=True)
        elif device is not None:
            require_unset("load_model: the model", device=device)
        require_head(model)
        detector = Detector.load(name, model=model, batch_tokens=batch_tokens)
        return cls(detector, likelihood, ratio, calibration)

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the detector with its card, and ``likelihood.json`` beside it.

        Raises:
            OutputExists: The folder holds one, without ``overwrite``.
            CannotWrite: The disk is full or the folder may not be written.
        """
        path = results_folder(folder, (_LIKELIHOOD,), overwrite=overwrite)
        self.detector.save(folder, overwrite=overwrite)
        calibration = self.calibration
        record = {
            "schema": _SCHEMA,
            "profile": PROFILE,
            "likelihood": {key: array.tolist() for key, array in self.likelihood.arrays().items()},
            "ratio": self.ratio,
            "calibration": [calibration.slope, calibration.intercept, calibration.share],
        }
        write_text(path / _LIKELIHOOD, json.dumps(record) + "\n", overwrite=overwrite)

    def __repr__(self) -> str:
        return f"LikelyTruth({self.detector!r})"

    @property
    def reader(self) -> TextReader:
        """What reads the geometry."""
        return self.detector.reader

    def score(
        self, texts: Texts | Iterable[str | None], *, progress: Progress | None = None
    ) -> list[TextScore]:
        """One calibrated confidence in [0, 1] a text, ``score``; ``true`` from 0.5 on, else ``false``.

        A text that cannot be read, or of which no token has a log-probability, is ``undetermined``.
        """
        return list(self.scores(texts, progress=progress))

    def scores(
        self, texts: Texts | Iterable[str | None], *, progress: Progress | None = None
    ) -> Iterator[TextScore]:
        """As ``score``, one record after the other."""
        source, loaded = Texts.of(texts), self.reader.loaded
        assert isinstance(loaded, LoadedModel)
        shared = _Passes(progress, 2)
        for start in range(0, len(source), self.reader.chunk):
            chunk = source.texts[start : start + self.reader.chunk]
            each = log_probabilities(loaded, chunk, batch_tokens=self.reader.batch_tokens, progress=shared)
            for features, values in zip(self.reader.read(chunk, progress=shared), each, strict=True):
                row = start + features.index
                reason = source.broken.get(row, features.reason)
                yield self._judged(replace(features, index=row, reason=reason), profile(values))

    def _judged(self, features: TextFeatures, numbers: np.ndarray) -> TextScore:
        score = np.nan
        if features.reason is None:
            likelihood = self.likelihood.logit(numbers[None])[:, 0]
            geometry = self.detector.artifact.head.logit(features.values[None])[:, 0]
            score = float(self.calibration.score(likelihood + self.ratio * geometry)[0])
        return _record(features, score, _TRUE if score >= 0.5 else _FALSE, "has no finite log-probability")


def load(
    name: str | PathLike[str] = "truth", **options: Any
) -> Truth | LikelyTruth | Detector:  # Any: those of Truth.load
    """What ``fit`` wrote, or a detector: a shipped name or a folder; ``options`` are those of ``Truth.load``.

    Raises:
        UnknownDetector: Neither.
        BrokenArtifact: It is damaged.
        WrongModel: The model is another one than that of the fit.
    """
    folder = _folder(name)
    if (folder / _MANIFEST).is_file():
        return Truth.load(folder, **options)
    if (folder / _LIKELIHOOD).is_file():
        return LikelyTruth.load(name, **options)
    return Detector.load(name, **options)


def _folder(name: str | PathLike[str]) -> Path:
    """The folder of a shipped detector, or the one that is named."""
    return (shipped().get(name) if isinstance(name, str) else None) or Path(name).expanduser()


def _record(features: TextFeatures, score: float, verdict: str, missing: str) -> TextScore:
    """The record of a text; ``missing`` says why it has none where its features can be read."""
    if np.isfinite(score):
        return TextScore(features.index, score, verdict, features.tokens, features.cut)
    reason = features.reason or missing
    return TextScore(features.index, None, UNDETERMINED, features.tokens, features.cut, reason=reason)


@dataclass(frozen=True, eq=False)
class TruthFit:
    """Scores of truthfulness that were fitted.

    Attributes:
        scorers: What scores texts, by method; those that say nothing of the labels are not among them.
        aucs: Out of fold, of each of them; that of ``lid`` is of the best layer. Empty without labels.
        method: The one that ``write`` saves.
        training: Rows, layer and curves of the local dimension.
    """

    scorers: dict[str, Truth | LikelyTruth | Detector]
    aucs: dict[str, float]
    method: Method
    training: dict[str, Any]  # Any: plain JSON values

    @property
    def scorer(self) -> Truth | LikelyTruth | Detector:
        """What scores texts by the chosen method."""
        return self.scorers[self.method]

    def write(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Save the scorer to a folder, which ``load`` reads."""
        self.scorer.save(folder, overwrite=overwrite)


def fit(
    texts: Texts | Iterable[str | None],
    labels: Any = None,  # Any: see labels_of
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    positive: str | None = None,
    groups: Any = None,  # Any: see row_groups
    method: Method | None = None,
    neighbors: int = NEIGHBORS,
    name: str = "truth",
    seed: int = 0,
    command: str = "",
    cache: str | PathLike[str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> TruthFit:
    """Fit scores of truthfulness to texts that are known to be true, or labeled as true and false.

    All layers are read in one pass. Without labels the local dimension is read at the first peak of the
    intrinsic dimension over layers. With labels at the layer with the best AUC of held-out rows; and linear
    heads on every third layer are fitted as ``splinelens.train`` fits them.

    Args:
        texts: The texts; those that cannot be read are left out and counted.
        labels: 1 or ``true`` for a true text; None where all are true.
        model: A loaded model, or the name, folder or file of one.
        positive: The label that counts as true, every other one as false.
        groups: One value a text, such as its topic, or the name of a column kept beside the texts: rows of
            one group are in one fold.
        method: What is fitted; None fits all and takes the best AUC, or ``lid`` without labels.
        neighbors: Neighbors that a dimension is estimated from.
        name: Name of the score.
        seed: Of the folds.
        command: The command that makes it again.
        cache: As in ``evaluate``, which reads the same of the same texts.
        device: Such as ``cpu`` or ``cuda:0``.
        dtype: Number type of the weights; None takes ``float32``.
        batch_tokens: Tokens of a batch, padding included.
        progress: Called with the texts and the characters read since the last call.

    Raises:
        BadFeatures: Fewer different states than neighbors, or an unknown method.
        BadLabels: Labels that are not two classes, too few of a class, or a method that needs labels.
        BadTexts: ``groups`` as ``row_groups`` refuses them.
        BadModel: The model cannot be loaded.
    """
    if method not in (None, *METHODS):
        raise BadFeatures(f"method={method!r}: give one of {', '.join(METHODS)}")
    source = Texts.of(texts)
    if labels is None and method not in (None, "lid"):
        raise BadLabels(f"method {method!r} is fitted to labels; give them, or method 'lid'")
    known = None if labels is None else _known_labels(labels, len(source), positive)
    members = None if groups is None else row_groups(groups, source)
    needs_head = known is not None and method in (None, "all") and not isinstance(model, LoadedModel)
    loaded = _loaded(model, device, dtype, head=needs_head)
    reading = _Reading(loaded, source, cache, batch_tokens, progress, 1 if known is None else 3)
    table = reading.states()
    if not table.ok.any():
        raise BadTexts(
            f"{source.source}: none of {len(source)} texts can be read: the first {table.reasons[0]}"
        )
    ok = table.ok
    y = np.ones(int(ok.sum()), dtype=int) if known is None else known[ok]
    fold = None if known is None else _folds(source, known, members, ok, seed)
    groups_of_rows = None if members is None else members.numbers[ok]
    truth, curve = _fit_dimension(reading, table, y, fold, groups_of_rows, neighbors, name)
    truth.training.update(seed=seed, command=command)
    del table
    scorers: dict[str, Truth | LikelyTruth | Detector] = {"lid": truth}
    aucs = {} if curve is None else {"lid": max(curve)}
    if known is not None and fold is not None and method != "lid":
        heads = _fit_heads(reading, known, members, method, name, seed, command)
        for key, head in heads.items():
            scorers[key] = head.detector
            aucs[key] = mean_auc(y, head.scores[:, 0], groups_of_rows)
        if "geometry" in heads and loaded.causal is not None:
            summed = _fit_likely(heads["geometry"], reading.profiles()[ok], y, fold, groups_of_rows)
            if summed is not None:
                scorers["all"], aucs["all"] = summed
    chosen = method or max(METHODS, key=lambda one: aucs.get(str(one), 0.5 if one == "lid" else 0.0))
    if chosen not in scorers:
        raise BadLabels(
            f"out of fold {chosen} does not rise with the labels: it says nothing of them; choose another "
            "method, or give more rows"
        )
    return TruthFit(scorers, aucs, chosen, truth.training)


def _fit_dimension(
    reading: "_Reading",
    table: FeatureTable,
    labels: np.ndarray,
    fold: np.ndarray | None,
    groups: np.ndarray | None,
    neighbors: int,
    name: str,
) -> tuple[Truth, list[float] | None]:
    """The score by local dimension, and its AUC at each layer where there are labels to choose it by."""
    states = _by_layer(_part(table, "hidden_last"))[table.ok]
    true = states[labels == 1]
    require_reference(true[:, -1], neighbors)
    two_nn, curve, calibration = two_nn_curve(true), None, None
    index = first_peak(two_nn)
    if fold is not None:
        held_out = held_out_dimensions(states, labels, fold, neighbors)
        curve = [mean_auc(labels, -column, groups) for column in held_out.T]
        index = int(np.argmax(curve))
        calibration = _calibration(labels, -held_out[:, index])
    layer = _layers(table)[index]
    training = {
        "rows": len(labels),
        "true": int(labels.sum()),
        "left_out": int((~table.ok).sum()),
        "layer": layer,
        "two_nn": two_nn,
        "auc_by_layer": curve,
        "provenance": table.provenance,
    }
    reference = LocalDimension.of(true[:, index], neighbors, calibration)
    return Truth(reference, reading.reader(("hidden_last",), (layer,)), name, training), curve


def _fit_heads(
    reading: "_Reading",
    labels: np.ndarray,
    groups: RowGroups | None,
    method: Method | None,
    name: str,
    seed: int,
    command: str,
) -> dict[str, Training]:
    """The linear heads that a method needs; without those that say nothing of the labels."""
    table, heads = reading.heads(), dict[str, Training]()
    for key, statistics in _HEADS.items():
        if method not in (None, key) and (method, key) != ("all", "geometry"):
            continue
        with suppress(BadLabels):  # its logits do not rise with the labels
            heads[key] = fit_detector(
                reading.source,
                labels,
                reading.reader(statistics, every_third_layer(reading.loaded.depth), "max"),
                name=name,
                label=_TRUE,
                negative=_FALSE,
                groups=groups,
                sources=[reading.source.source],
                seed=seed,
                table=_part(table, *statistics),
                command=command,
            )
    return heads


def _fit_likely(
    head: Training, profiles: np.ndarray, labels: np.ndarray, fold: np.ndarray, groups: np.ndarray | None
) -> tuple[LikelyTruth, float] | None:
    """The score by geometry and log-probabilities, and its AUC; None if it does not rise with the labels."""
    usable = np.isfinite(profiles).all(axis=1)
    profiles, labels, fold = profiles[usable], labels[usable], fold[usable]
    (platt,) = head.artifact.calibrations
    calibrated = np.clip(head.scores[usable, 0], 1e-12, 1 - 1e-12)
    geometry = (np.log(calibrated / (1 - calibrated)) - platt.intercept) / platt.slope
    likelihood = likelihood_scores(profiles, labels, fold)
    ratio = best_ratio(likelihood, geometry, labels, fold)
    calibration = _calibration(labels, likelihood + ratio * geometry)
    if calibration is None:
        return None
    scorer = LikelyTruth(head.detector, likelihood_head(profiles, labels, fold), ratio, calibration)
    summed = summed_scores(likelihood, geometry, labels, fold)
    return scorer, mean_auc(labels, summed, None if groups is None else groups[usable])


def evaluate(
    texts: Texts | Iterable[str | None],
    labels: Any,  # Any: see labels_of
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    positive: str | None = None,
    groups: Any = None,  # Any: see row_groups
    neighbors: int = NEIGHBORS,
    resamples: int = 2000,
    seed: int = 0,
    cache: str | PathLike[str] | None = None,
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> TruthReport:
    """Compare scores of truthfulness with what the words alone tell, on the same labeled rows.

    Every score that is fitted is fitted on other rows than it is measured on: without groups in five folds,
    with up to 12 groups on all groups but one. Then the AUC is the mean of those within groups, so that no
    score gains by knowing which group a row is from.

    Args:
        texts: The texts; rows that a score cannot read are left out of all of them, and counted by reason.
        labels: 1 or ``true`` for a true text.
        model: A model loaded with ``head=True``, or the name, folder or file of one.
        positive: As in ``fit``, as are the next two.
        groups: One value a text, such as its topic, or the name of a column kept beside the texts.
        neighbors: Neighbors that a dimension is estimated from.
        resamples: Bootstrap resamples of the intervals.
        seed: Of folds, samples and bootstrap.
        cache: Folder that keeps what is read of the model: a stopped run continues, an equal one reads
            nothing.
        device: Such as ``cpu`` or ``cuda:0``.
        dtype: Number type of the weights; None takes ``float32``.
        batch_tokens: Tokens of a batch, padding included.
        progress: Called with the texts and the characters read since the last call.

    Raises:
        BadLabels: Labels that are not two classes, or too few of a class.
        BadTexts: ``groups`` as ``row_groups`` refuses them.
        BadFeatures: Too few true rows for the neighbors.
        BadModel: The model cannot be loaded, or has no language-model head.
    """
    source = Texts.of(texts)
    known = _known_labels(labels, len(source), positive)
    members = None if groups is None else row_groups(groups, source)
    names = () if members is None else _group_names(groups, source, members)
    loaded = _loaded(model, device, dtype, head=True)
    reading = _Reading(loaded, source, cache, batch_tokens, progress, 3)
    profiles, table = reading.profiles(), reading.states()
    finite = np.isfinite(profiles).all(axis=1)
    reasons = map(_left_out, table.reasons, finite.tolist())
    ok, left_out = table.ok & finite, Counter(reason for reason in reasons if reason)
    y, fold, profiles = known[ok], _folds(source, known, members, ok, seed), profiles[ok]
    groups_of_rows = None if members is None else members.numbers[ok]
    layers, provenance = _layers(table), table.provenance
    of_text = text_only_scores(
        [source.texts[row] or "" for row in np.flatnonzero(ok).tolist()], table.column("length")[ok], y, fold
    )
    states, spline7 = _by_layer(_part(table, "hidden_last"))[ok], _part(table, *SPLINE7).values[ok]
    del table
    two_nn, by_layer, chosen, of_dimension = dimension_scores(states, y, fold, neighbors, seed)
    lid_auc = [mean_auc(y, column, groups_of_rows) for column in by_layer.T]
    curve = LayerCurve(tuple(layers), tuple(two_nn), tuple(lid_auc), layers[first_peak(two_nn)])
    read_layers = every_third_layer(loaded.depth)
    last = states[:, [layers.index(layer) for layer in read_layers]].reshape(len(states), -1)
    of_model = {
        "mean log-probability": profiles[:, 0],
        "perplexity": -np.exp(-profiles[:, 0]),
        "log-probabilities, head": likelihood_scores(profiles, y, fold),
        **of_dimension,
        "spline7, head": head_scores(spline7, y, fold),
        "last hidden state, probe": head_scores(last, y, fold),
    }
    del states, spline7, last
    table = reading.heads()
    for method, title in _HEAD_TITLES.items():
        of_model[title] = head_scores(_part(table, *_HEADS[method]).values[ok], y, fold)
    parts = of_model["log-probabilities, head"], of_model[_HEAD_TITLES["geometry"]]
    of_model["log-probabilities and geometry"] = summed_scores(*parts, y, fold)
    measured = auc_parts(y, groups_of_rows)
    return TruthReport(
        source=source.source,
        model=loaded.name,
        rows=len(y),
        true=int(y.sum()),
        left_out=dict(left_out),
        protocol=_protocol(fold, names),
        groups=tuple(names[number] for number in measured if number is not None),
        rivals=_rivals(of_text, of_model, y, list(measured.values()), resamples, seed),
        curve=curve,
        settings={
            "neighbors": neighbors,
            "layers of heads": list(read_layers),
            "layers of LID by validation": sorted({layers[index] for index in chosen}),
            "ridges of heads": list(RIDGES),
            "resamples": resamples,
            "seed": seed,
        },
        provenance=provenance | {"groups": None if members is None else members.record()},
    )


def write_report(report: TruthReport, html: str | PathLike[str], *, overwrite: bool = False) -> None:
    """Write the page, and the record as JSON beside it.

    Raises:
        OutputExists: One of them exists, without ``overwrite``.
        CannotWrite: plotly is not installed, or a file may not be written.
    """
    from splinelens.report.truth_page import truth_html

    page = Path(html)
    record = json.dumps(report.to_dict(), ensure_ascii=False, indent=1) + "\n"
    write_text(page, truth_html(report), errors="backslashreplace", overwrite=overwrite)
    write_text(page.with_suffix(".json"), record, errors="backslashreplace", overwrite=overwrite)


def _known_labels(labels: Any, texts: int, positive: str | None) -> np.ndarray:  # Any: see labels_of
    """(text,) 1 for true, 0 for false."""
    known = labels_of(labels, texts, positive=positive)
    if known.task != "binary":
        raise BadLabels(
            f"the labels are {len(known.names)} classes or columns; give one column of true and false"
        )
    values = known.values[:, 0].astype(int)
    require_rows(values)
    return values


def _calibration(labels: np.ndarray, scores: np.ndarray) -> Calibration | None:
    """Platt scaling; None where the scores do not rise with the labels, so that nothing can be scaled."""
    try:
        return calibrate(labels, scores)
    except BadLabels:
        return None


def _group_names(groups: Any, source: Texts, members: RowGroups) -> list[str]:  # Any: see row_groups
    """The value of each group, by its number."""
    cells = source.columns[groups] if isinstance(groups, str) else groups
    names = dict(zip(members.numbers.tolist(), map(str, cells), strict=True))
    return [names[number] for number in range(len(names))]


def _protocol(fold: np.ndarray, names: Sequence[str]) -> str:
    """Which rows a score is fitted on, in words."""
    count = len(np.unique(fold))
    if names and count == len(names):
        return f"fitted on all of {count} groups but the one that is scored"
    return f"{count} folds, {'groups and ' if names else ''}equal texts kept together"


def _loaded(
    model: str | PathLike[str] | LoadedModel, device: str | None, dtype: str | None, *, head: bool = False
) -> LoadedModel:
    if isinstance(model, LoadedModel):
        require_unset("load_model: the model", device=device, dtype=dtype)
        return model
    return load_model(model, device=device, dtype=dtype, head=head)


class _Passes:
    """Progress of several passes over the same texts: each counts for its share."""

    def __init__(self, progress: Progress | None, passes: int):
        self._progress, self._passes = progress, passes
        self._texts = self._characters = 0

    def __call__(self, texts: int, characters: int) -> None:
        """Report the progress of one pass."""
        before = self._texts // self._passes, self._characters // self._passes
        self._texts += texts
        self._characters += characters
        if self._progress:
            self._progress(
                self._texts // self._passes - before[0], self._characters // self._passes - before[1]
            )


class _Reading:
    """What is read of a model in up to three passes over the same texts, kept in a folder if there is one."""

    def __init__(
        self,
        loaded: LoadedModel,
        source: Texts,
        cache: str | PathLike[str] | None,
        batch_tokens: int | None,
        progress: Progress | None,
        passes: int,
    ):
        self.loaded, self.source = loaded, source
        self._folder = None if cache is None else Path(cache)
        self._batch_tokens, self._progress = batch_tokens, _Passes(progress, passes)
        if self._folder is not None:
            with write_errors(self._folder):
                self._folder.mkdir(parents=True, exist_ok=True)

    def reader(
        self, features: Sequence[str], layers: Sequence[int] | None, pooling: str = "last"
    ) -> TextReader:
        """Reads some features of the model."""
        spec = FeatureSpec.of(features, layers, pooling)
        return TextReader(self.loaded, spec, batch_tokens=self._batch_tokens)

    def states(self) -> FeatureTable:
        """The state of the last token, and the seven features, at every layer."""
        return self._table("states", self.reader(("hidden_last", "spline7", "length"), None))

    def heads(self) -> FeatureTable:
        """What linear heads are fitted to."""
        features = ("margin_max", "occupancy", "hidden_mean")
        return self._table("heads", self.reader(features, every_third_layer(self.loaded.depth), "mean"))

    def profiles(self) -> np.ndarray:
        """(text, number), the profile of each text's log-probabilities, NaN where it has none."""
        return read_profiles(
            self.loaded, self.source, self._folder, batch_tokens=self._batch_tokens, progress=self._progress
        )

    def _table(self, name: str, reader: TextReader) -> FeatureTable:
        output = None if self._folder is None else self._folder / f"{name}.parquet"
        return read_table(reader, self.source, output=output, progress=self._progress)


def _part(table: FeatureTable, *statistics: str) -> FeatureTable:
    """The columns of some statistics."""
    chosen = tuple(column for column in table.columns if column.statistic.name in statistics)
    parts = [table.column(column.name).reshape(len(table), -1) for column in chosen]
    return replace(table, columns=chosen, values=np.concatenate(parts, axis=1))


def _by_layer(table: FeatureTable) -> np.ndarray:
    """(text, layer, width), the states of a table of one statistic."""
    return table.values.reshape(len(table), len(table.columns), -1)


def _layers(table: FeatureTable) -> list[int]:
    """The layers of the states."""
    return [column.layer or 0 for column in table.columns if column.statistic.name == "hidden_last"]


def _left_out(reason: str | None, has_profile: bool) -> str | None:
    """Why a row is left out, or None."""
    if reason is not None:
        return f"it {reason}"
    return None if has_profile else "no token has a finite log-probability"


def _folds(
    source: Texts, labels: np.ndarray, groups: RowGroups | None, ok: np.ndarray, seed: int
) -> np.ndarray:
    """The fold of each readable row: up to 12 groups are one each, equal texts in that of the first."""
    hashes = text_hashes([text for text, usable in zip(source.texts, ok, strict=True) if usable])
    _, first, same_text = np.unique(hashes, return_index=True, return_inverse=True)
    y, members = labels[ok], None if groups is None else groups.numbers[ok]
    if members is None or len(np.unique(members)) > MOST_GROUPS:
        everything = np.ones(len(y), dtype=bool)
        return fold_of_rows(y[:, None], everything, same_text, members, seed=seed)
    fold: np.ndarray = members[first][same_text]
    for number in np.unique(fold):
        require_rows(y[fold != number], None, what=f"rows outside of group {number}")
    return fold


def _rivals(
    of_text: dict[str, np.ndarray],
    of_model: dict[str, np.ndarray],
    labels: np.ndarray,
    parts: Sequence[np.ndarray],
    resamples: int,
    seed: int,
) -> tuple[Rival, ...]:
    """Every score measured, and what those of the model gain over the best of the text on the same resamples.

    The intervals of gains hold for all scores of the model together (Bonferroni): the best of many is looked
    at.
    """
    scores = of_text | of_model
    aucs = {name: [auc(labels[rows], one[rows]) for rows in parts] for name, one in scores.items()}
    samples = {
        name: [
            bootstrap(labels[rows], one[rows], {"auc": ScoreHistogram.roc_auc}, resamples, seed + part)["auc"]
            for part, rows in enumerate(parts)
        ]
        for name, one in scores.items()
    }
    best = max(of_text, key=lambda name: float(np.mean(aucs[name])))
    rivals = []
    for name in scores:
        enough = all(len(one) for one in samples[name])
        whole = np.mean(samples[name], axis=0) if enough else np.zeros(0)
        of_groups = tuple(
            (value, percentile_interval(one)) for value, one in zip(aucs[name], samples[name], strict=True)
        )
        rival = Rival(
            name,
            TEXT_ONLY if name in of_text else MODEL,
            float(np.mean(aucs[name])),
            percentile_interval(whole),
            of_groups if len(parts) > 1 else (),
        )
        if name in of_model:
            bounds = None
            if enough:
                tail = 0.025 / len(of_model)
                low, high = np.nanquantile(whole - np.mean(samples[best], axis=0), [tail, 1 - tail])
                bounds = (float(low), float(high))
            rival = replace(rival, gain=rival.auc - float(np.mean(aucs[best])), gain_interval=bounds)
        rivals.append(rival)
    return tuple(rivals)
