"""A fitted detector on disk: arrays in safetensors, everything else in one JSON manifest.

Nothing is unpickled. Sizes are checked before anything is parsed and hashes before anything is used, so a
cut or edited artifact is refused. The hashes detect damage; they do not prove who made the artifact.
"""

import hashlib
import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import asdict, field, fields, replace
from numbers import Real
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pydantic import ConfigDict, InstanceOf, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass

from splinelens.detect import UNDETERMINED
from splinelens.detect.anchored import Sample
from splinelens.detect.artifact_files import ArtifactFiles
from splinelens.detect.calibration import Calibration, require_prevalence, shifted_score
from splinelens.detect.heads import LinearHead
from splinelens.detect.metrics import Evaluation, Evaluations, evaluate, evaluate_labels
from splinelens.detect.thresholds import Threshold, threshold_between
from splinelens.errors import BadDetector, BadFeatures, BadLabels, BrokenArtifact, NotExplainable
from splinelens.geometry.directions import Directions
from splinelens.texts import Labels, text_hashes
from splinelens.texts.labels import labels_of, values_shown

Task = Literal["binary", "classes", "labels"]
"""One label or not, one of several classes, or any of several labels."""

ARTIFACT_FILES = ("detector.json", "detector.safetensors")
"""What a detector's folder holds."""

_ONE_TOKEN = {"margin_max", "margin_min", "margin_last"}  # statistics whose value is the margin of one token
_LEARNED = {"direction_max", "direction_min", "direction_last", "direction_mean"}
# The first three likewise; a mean is a sum over tokens, few enough to keep the margins of each.
_MANIFEST, _ARRAYS = ARTIFACT_FILES
_SEEN = "seen"
_WEIGHT, _BIAS, _READ = "directions.weight", "directions.bias", "directions.read"
_LAYERS = "directions.layers"  # beside the weights, so that a manifest cannot name others
_ROWS, _LOGITS = "sample.rows", "sample.logits"
_DEFAULT_FPR = 0.05
_MAX_VERDICT = 200  # characters
_MAX_CALIBRATION = 1e15  # of slope and intercept; fitted ones stay far below
_AGAIN = "fetch or train the detector again"
_FILES = ArtifactFiles("a detector", _MANIFEST, _ARRAYS, 3, _AGAIN)
_STRICT = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True)


@dataclass(frozen=True, eq=False, kw_only=True, config=_STRICT)
class Manifest:
    """Everything of a detector but its arrays.

    Attributes:
        labels: The labels, each with a logit; of ``binary`` the positive verdict only.
        negative: The verdict on a text without any label, such as ``clean``; empty for ``classes``.
        model: Name, revision and fingerprint of the model.
        features_dtype: Number type of the model that read the features it was fitted on.
        columns: Names and sizes of the columns that the head reads, in order.
        thresholds: For each label, scores for the same false-positive rates.
        min_tokens: Texts of fewer tokens are undetermined.
        min_score: Of classes, a text is undetermined if its highest score is lower.
        word_limit: Contribution to the logit at and above which an explanation marks a word as toxic, see
            ``detect.span_metrics``; None if none was chosen.
        training: Rows, hashes and sources that it was fitted on.
        metrics: Measured at training; NaN and infinities are stored as null.
        command: The command that makes the detector again; empty if it was trained from Python.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    negative: str
    model: dict[str, Any]  # Any: plain JSON values, here and below
    spec: dict[str, Any]
    features_dtype: str
    engine: str = "torch"
    columns: tuple[tuple[str, PositiveInt], ...]
    calibrations: tuple[Calibration, ...]
    thresholds: tuple[tuple[Threshold, ...], ...]
    min_tokens: NonNegativeInt = 0
    min_score: float = 0.0
    word_limit: float | None = None
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    command: str = ""
    version: str = ""


@dataclass(frozen=True, eq=False, kw_only=True, repr=False, config=_STRICT)
class Artifact(Manifest):
    """A fitted detector.

    Attributes:
        head: The fitted head.
        seen: Hashes of the training texts (``texts.text_hashes``), ascending; the lowest ones if there were
            too many to keep, none if they were not recorded.
        directions: Learned hyperplanes, if the head reads margins to them.
        sample: Random judged training rows, for ``detect.anchored``; None if there are too many columns or
            several labels. It decides no score.
    """

    head: InstanceOf[LinearHead]
    seen: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))
    directions: InstanceOf[Directions] | None = None
    sample: InstanceOf[Sample] | None = None

    def scores(self, logits: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Calibrated scores of the head's logits, (text, label), each in [0, 1] or NaN.

        Those of several classes are each against all others and do not sum to 1.

        Args:
            logits: (text, label).
            tokens: (text,) tokens of each whole text; a calibration may go by them.
        """
        columns = zip(self.calibrations, logits.T, strict=True)
        return np.stack([calibration.score(column, tokens) for calibration, column in columns], axis=1)

    def label_index(self, label: str) -> int:
        """Index of a label.

        Raises:
            BadDetector: No such label; the message lists the labels.
        """
        if label not in self.labels:
            raise BadDetector(
                f"detector {self.name} has no label {label!r}; it has {', '.join(map(repr, self.labels))}"
            )
        return self.labels.index(label)

    def single_label(self, label: str) -> "Artifact":
        """One label against the rest, as a binary detector; of a binary detector itself.

        It gives that label's score and thresholds and keeps the ``origin``.
        """
        index = self.label_index(label)
        if self.task == "binary":
            return self
        return replace(
            self,
            min_score=0.0,
            word_limit=None,
            task="binary",
            labels=(label,),
            negative=f"not {label}",
            head=self.head.single_label(index),
            calibrations=(self.calibrations[index],),
            thresholds=(self.thresholds[index],),
            training={**self.training, "part_of": self.origin},
        )

    @property
    def shares(self) -> tuple[float | None, ...]:
        """For each label the share of texts with it that its scores assume; None where it is not known.

        It is that of the rows that the calibration was fitted on, which are those of the out-of-fold metrics.
        """
        measured = self.metrics.get("out_of_fold")
        rows = measured if isinstance(measured, dict) else {}
        by_label = {self.labels[0]: rows} if self.task == "binary" else rows.get("labels", {})
        shares = []
        for label, calibration in zip(self.labels, self.calibrations, strict=True):
            share, counts = calibration.share, by_label.get(label) or {}
            if share is None and {"positives", "n"} <= counts.keys():
                share = counts["positives"] / counts["n"]
            shares.append(share)
        return tuple(shares)

    def at_prevalence(self, prevalence: float) -> "Artifact":
        """The same detector with scores for another share of positive texts (``detect.calibration``).

        The thresholds move with the scores, so verdicts stay as they are. It keeps the ``origin``.

        Raises:
            BadDetector: ``prevalence`` is not between 0 and 1, the detector has several labels, or it does
                not record what share its scores assume.
        """
        prevalence = require_prevalence(prevalence)
        if self.task != "binary":
            raise BadDetector(
                f"detector {self.name} has several labels, each with a share of its own; take one: "
                f"detector.single_label({self.labels[0]!r}) takes a prevalence"
            )
        share = self.shares[0]
        if share is None:
            raise BadDetector(
                f"detector {self.name} does not record what share of {self.labels[0]} texts its scores "
                "assume; train it again, or leave out prevalence"
            )
        moved = (
            replace(one, score=shifted_score(one.score, share, prevalence)) for one in self.thresholds[0]
        )
        return replace(
            self,
            calibrations=(self.calibrations[0].shifted(share, prevalence),),
            thresholds=(tuple(moved),),
            training={**self.training, "part_of": self.origin},
        )

    def thresholds_at(self, fpr: float) -> tuple[float, ...]:
        """The stored threshold of each label for a false-positive rate.

        Raises:
            BadDetector: No thresholds were stored for that rate; the message lists the rates.
        """
        rates = ", ".join(f"{stored.target:g}" for stored in self.thresholds[0])
        if not _is_number(fpr):
            raise BadDetector(f"fpr={fpr!r} is no number; detector {self.name} has thresholds for {rates}")
        for index, stored in enumerate(self.thresholds[0]):
            if math.isclose(stored.target, fpr, rel_tol=1e-5):
                return tuple(thresholds[index].score for thresholds in self.thresholds)
        raise BadDetector(
            f"detector {self.name} has thresholds for false-positive rates {rates}, not {fpr:g}"
        )

    def limits(self, fpr: float = _DEFAULT_FPR, threshold: float | None = None) -> tuple[float, ...]:
        """The scores at and above which each label fires.

        Args:
            fpr: One of the rates that were stored at training.
            threshold: A score for every label instead.

        Raises:
            BadDetector: No thresholds were stored for that rate, both are given, or ``threshold`` is not in
                [0, 1] or given for classes, of which the one with the highest score is the verdict.
        """
        if threshold is None:
            return self.thresholds_at(fpr)
        if fpr != _DEFAULT_FPR:
            raise BadDetector(f"fpr={fpr!r} and threshold={threshold!r}: give one of them")
        if not _is_number(threshold) or not 0 <= threshold <= 1:
            raise BadDetector(f"threshold {threshold!r} is no score; give one from 0 to 1")
        if self.task == "classes":
            raise BadDetector(
                f"detector {self.name} gives the class with the highest score; leave out threshold"
            )
        return (threshold,) * len(self.labels)

    def sentence_limits(
        self, sentences: int, fpr: float = _DEFAULT_FPR, threshold: float | None = None
    ) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """As ``limits``, where a text is judged as a whole and by each of its sentences.

        Half of the rate is for the whole text and half is shared by the sentences, so that all together flag
        at most ``fpr`` of the negative texts (Bonferroni): the more sentences, the higher the score that one
        of them needs. Of a single sentence all is for the text. A ``threshold`` holds for text and sentences.

        Returns:
            The limits of the text and those of each sentence, a number a label.

        Raises:
            BadDetector: As ``limits``, or the detector is one of classes.
        """
        if self.task == "classes":
            raise BadDetector(
                f"detector {self.name} gives one class for a whole text; leave out by='sentence'"
            )
        limits = self.limits(fpr, threshold)
        if threshold is not None or sentences < 2:
            return limits, limits
        whole, each = (
            tuple(threshold_between(stored, rate) for stored in self.thresholds)
            for rate in (fpr / 2, fpr / 2 / sentences)
        )
        return whole, each

    @property
    def summary(self) -> str:
        """Task and labels in a few words."""
        labels = ", ".join(self.labels[:9]) + (" ..." if len(self.labels) > 9 else "")
        other = f" or {self.negative}" if self.negative else ""
        return f"{self.task}: {labels}{other}"

    def __repr__(self) -> str:
        return f"Artifact({self.name!r}, {self.summary})"

    @property
    def inseparable(self) -> str | None:
        """Why the logit does not split exactly into one number per token, or None if it does."""
        for name, _ in self.columns:
            if name.rpartition(".")[2] not in _ONE_TOKEN | _LEARNED:
                return f"it reads {name}, and only max, min and last margins come from one token"
        return None

    @property
    def learned_poolings(self) -> tuple[str, ...]:
        """How its learned margins are pooled, in the order of its columns; none if it reads other columns."""
        names = [name for name, _ in self.columns]
        if not _LEARNED.issuperset(names):
            return ()
        return tuple(name.removeprefix("direction_") for name in names)

    def require_explainable(self, explain: bool | str, words: str = "token") -> None:
        """Refuse to explain what cannot be explained.

        Args:
            explain: Whether, or of which label.
            words: How the logit is shared out among words: by ``token``, or ``shapley``.

        Raises:
            BadDetector: No such label, another word for ``words``, or ``words`` without ``explain``.
            NotExplainable: The logit does not split into one number per token, or is not shared out.
        """
        if isinstance(explain, str):
            self.label_index(explain)
        if words not in ("token", "shapley"):
            raise BadDetector(f"words={words!r} is no way to share out a logit; give 'token' or 'shapley'")
        if words == "shapley" and not explain:
            raise BadDetector("words='shapley' says how to explain; give explain=True, too")
        if explain and self.inseparable:
            raise NotExplainable(f"detector {self.name} cannot be explained: {self.inseparable}")
        if words == "shapley" and not self.learned_poolings:
            raise NotExplainable(
                f"detector {self.name} reads {self.columns[0][0]}, and only learned margins are shared out "
                "among words by their Shapley values; leave out words='shapley'"
            )

    def fired(self, scores: np.ndarray, thresholds: Sequence[float]) -> tuple[int, ...]:
        """The labels of the verdict on one text by index, in order of descending score.

        A label fires at and above its threshold; of classes the one with the highest score fires, whatever
        its threshold.
        """
        order = np.argsort(-scores, kind="stable").tolist()
        if self.task == "classes":
            return (order[0],)
        return tuple(index for index in order if scores[index] >= thresholds[index])

    def abstains(self, tokens: int, scores: np.ndarray) -> str | None:
        """Why the verdict on a text of so many tokens and these scores is undetermined, or None.

        Example:
            >>> from splinelens.detect.shipped import find_artifact
            >>> domain = replace(find_artifact("domain"), min_tokens=30, min_score=0.5)
            >>> domain.abstains(4, np.full(9, 0.9)), domain.abstains(64, np.full(9, 0.9))
            ('has 4 tokens, fewer than the 30 that a verdict needs', None)
        """
        if tokens < self.min_tokens:
            counted = f"{tokens:,} token{'' if tokens == 1 else 's'}"
            return f"has {counted}, fewer than the {self.min_tokens:,} that a verdict needs"
        if scores.max() < self.min_score:
            best = f"{self.labels[int(scores.argmax())]} {scores.max():.2f}"
            return f"has no score of {self.min_score:g} or more; the highest is {best}"
        return None

    def require_task(self, labels: Labels, column: str) -> None:
        """Refuse labels of another task than the detector's; ``column`` is their name in the message.

        Raises:
            BadLabels: The message says what the column holds.
        """
        if labels.task != self.task:
            raise BadLabels(
                f"detector {self.name} tells {self.labels[0]} from {self.negative}; label {column!r} holds "
                f"{values_shown(labels.names)}; say which value counts as 1 with --positive VALUE (Python: "
                "positive=VALUE)"
            )

    def known_labels(self, labels: Any, texts: int, positive: str | None) -> np.ndarray:  # Any: see labels_of
        """Labels of the detector's task as 0 and 1.

        Args:
            labels: One value a text, or a column of 0 and 1 for each label; as ``labels_of`` takes them.
            texts: How many texts there are.
            positive: The value that counts as 1, of a binary detector.

        Returns:
            (text,), or (text, label) of a detector of several labels.

        Raises:
            BadLabels: Labels of another kind, or a ``positive`` for several labels.
        """
        if self.task == "binary":
            known = labels_of(labels, texts, positive=positive, verdicts=(self.labels[0], self.negative))
            self.require_task(known, "labels")
            return known.values[:, 0]
        if positive is not None:
            raise BadLabels(f"detector {self.name} has several labels; leave out positive")
        known = labels_of(labels, texts, expected=self.labels)
        if self.task == "labels" and known.task != "labels":
            raise BadLabels(
                f"detector {self.name} has the labels {', '.join(self.labels)}; give a column of 0 and 1 "
                "for each"
            )
        return known.values

    def require_labels(self, labels: np.ndarray, texts: int) -> np.ndarray:
        """Validate labels of a number of texts and return them as (text, label).

        Raises:
            BadLabels: Not one 0 or 1 per text and label.
        """
        labels, binary = np.asarray(labels), self.task == "binary"
        shape = (texts,) if binary else (texts, len(self.labels))
        if labels.shape != shape or not np.isin(labels, (0, 1)).all():
            each = "" if binary else f" for each of {', '.join(self.labels)}"
            raise BadLabels(
                f"{texts} texts need as many labels{each}, each 0 or 1; these have shape {labels.shape}"
                + ("" if labels.dtype.kind in "biuf" else ": splinelens.evaluate reads words")
            )
        return labels.reshape(texts, -1)

    def evaluate(
        self,
        labels: np.ndarray,
        scores: np.ndarray,
        lengths: np.ndarray,
        *,
        cut: np.ndarray | None = None,
        prevalence: float | None = None,
        groups: np.ndarray | None = None,
        resamples: int = 10_000,
        seed: int = 0,
    ) -> Evaluation | Evaluations:
        """Evaluate (text, label) scores, at the stored thresholds too; see ``metrics.evaluate``.

        A ``prevalence`` is that of ``at_prevalence``, for a binary detector.

        Returns:
            ``Evaluation`` of a binary detector, ``Evaluations`` of one of several labels.

        Raises:
            BadLabels: One class only among the scored rows.
        """
        at = {
            label: {f"{stored.target:g}": stored.score for stored in thresholds}
            for label, thresholds in zip(self.labels, self.thresholds, strict=True)
        }
        options: dict[str, Any] = {  # Any: of several types
            "cut": cut,
            "groups": groups,
            "resamples": resamples,
            "seed": seed,
        }
        if self.task == "binary":
            options |= {"thresholds": at[self.labels[0]], "prevalence": prevalence}
            return evaluate(labels[:, 0], scores[:, 0], lengths, **options)
        classes = self.task == "classes"
        return evaluate_labels(
            labels, scores, lengths, self.labels, classes=classes, thresholds=at, **options
        )

    def seen_in(self, texts: Sequence[str | None]) -> np.ndarray:
        """(text,) boolean, which texts the detector was fitted on, as far as it recorded them.

        Case, spaces and punctuation do not count.
        """
        return np.isin(text_hashes(texts), self.seen)

    @property
    def digest(self) -> str:
        """SHA-256 of everything that decides a score: model, spec, directions, head and calibrations."""
        calibrations = [asdict(calibration) for calibration in self.calibrations]
        for values in calibrations:
            if values["share"] is None:  # as before it was recorded
                del values["share"]
            if not values["by_length"]:  # likewise
                del values["by_length"]
        digest = hashlib.sha256(json.dumps([self.model, self.spec, calibrations], sort_keys=True).encode())
        for name, array in sorted(self.head.arrays().items()):
            digest.update(name.encode() + array.tobytes())
        if self.directions is not None:
            digest.update(self.directions.digest.encode())
        return digest.hexdigest()

    @property
    def origin(self) -> str:
        """The digest of the detector that this one is a label or a shift of, or else its own."""
        return str(self.training.get("part_of") or self.digest)

    def save(self, folder: Path, *, overwrite: bool = True) -> None:
        """Write the artifact; an existing one is replaced only after both files are written.

        Raises:
            OutputExists: The folder holds one, without ``overwrite``.
            CannotWrite: The disk is full or the folder may not be written.
        """
        arrays = self.head.arrays() | ({_SEEN: self.seen} if len(self.seen) else {})
        if self.sample is not None:
            arrays |= {_ROWS: self.sample.rows, _LOGITS: self.sample.logits}
        if self.directions is not None:
            read = self.directions.layers_read  # normals are kept of the layers that a direction reads
            arrays |= {_WEIGHT: self.directions.weight[read], _READ: read, _BIAS: self.directions.bias}
            if self.spec.get("layers"):
                arrays |= {_LAYERS: np.array(self.spec["layers"], dtype=np.int64)}
        values = {entry.name: getattr(self, entry.name) for entry in fields(Manifest)}
        _FILES.write(folder, {**values, "head": "linear"}, arrays, overwrite=overwrite)

    @classmethod
    def load(cls, folder: Path) -> "Artifact":
        """Read what ``save`` wrote.

        Raises:
            BrokenArtifact: A file is missing, cut, edited, too large or of another schema.
        """
        path = folder / _MANIFEST
        values, where = _read_manifest(folder), ""
        try:
            file = values.pop("arrays", None)
            _FILE.validate_json(json.dumps(file))
            manifest = _VALUES.validate_json(json.dumps(values))
            where = "model."
            _MODEL.validate_json(json.dumps(manifest.model))
            if _SEEN in manifest.training:
                where = "training.seen."
                _COUNTS.validate_json(json.dumps(manifest.training[_SEEN]))
        except ValidationError as error:
            first = error.errors()[0]
            where = where + ".".join(map(str, first["loc"])) or "arrays"
            raise BrokenArtifact(f"{path} is damaged at {where!r}: {first['msg']}; {_AGAIN}") from error
        head, seen, directions, layers, sample = _read_arrays(folder, file)
        total = sum(size for _, size in manifest.columns)
        if total != head.width:
            raise BrokenArtifact(
                f"{path} names columns of {total} entries, {_ARRAYS} beside it weighs {head.width}; {_AGAIN}"
            )
        if layers is not None and layers != manifest.spec.get("layers"):
            raise BrokenArtifact(
                f"{path} names the layers {manifest.spec.get('layers')}, and the directions in {_ARRAYS} "
                f"were fitted on {layers}; {_AGAIN}"
            )
        artifact = cls(**vars(manifest), head=head, seen=seen, directions=directions, sample=sample)
        problem = _labels_problem(artifact) or _numbers_problem(artifact) or _directions_problem(artifact)
        if problem:
            raise BrokenArtifact(f"{path} is inconsistent: {problem}; {_AGAIN}")
        return artifact


@dataclass(frozen=True, config=_STRICT)
class _ArrayFile:
    size_bytes: PositiveInt
    sha256: str


@dataclass(frozen=True, config=_STRICT)
class _ModelRecord:
    name: str
    fingerprint: dict[str, Any]  # Any: validated by Fingerprint.from_dict
    revision: str | None = None


@dataclass(frozen=True, config=_STRICT)
class _SeenCounts:
    texts: int
    kept: int


_VALUES, _FILE = TypeAdapter(Manifest), TypeAdapter(_ArrayFile)
_MODEL, _COUNTS = TypeAdapter(_ModelRecord), TypeAdapter(_SeenCounts)


def verdicts_problem(task: Task, labels: Sequence[str], negative: str) -> str | None:
    """Why the labels and the negative verdict of a task cannot be told apart, or None.

    Case, width and characters that are not seen do not make a difference.

    Example:
        >>> verdicts_problem("binary", ("toxic",), "toxic")
        "the verdicts 'toxic', 'toxic' and 'undetermined' must differ and not be empty"
        >>> verdicts_problem("binary", ("toxic",), "Toxic ")
        "the verdicts 'toxic', 'Toxic ' and 'undetermined' must differ by what is seen and not be empty"
    """
    verdicts = [*labels, *([] if task == "classes" else [negative])]
    for verdict in verdicts:
        if len(verdict) > _MAX_VERDICT:
            return f"a verdict has {len(verdict):,} characters, more than {_MAX_VERDICT}: {verdict!r:.40}..."
        if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in verdict):
            return f"the verdict {verdict!r} holds a line break or control character"
    seen = [_seen(verdict) for verdict in verdicts]
    if len({*seen, UNDETERMINED}) > len(seen) and all(seen):
        return None
    words = ", ".join(f"{verdict!r:.100}" for verdict in verdicts)
    same = len({*verdicts, UNDETERMINED}) <= len(verdicts) or not all(verdicts)
    differ = "differ" if same else "differ by what is seen"
    return f"the verdicts {words} and {UNDETERMINED!r} must {differ} and not be empty"


def _seen(verdict: str) -> str:
    """What a reader tells a verdict by: without case, width, outer spaces and invisible characters."""
    shown = "".join(character for character in verdict if unicodedata.category(character) != "Cf")
    return unicodedata.normalize("NFKC", shown).casefold().strip()


def _numbers_problem(artifact: Artifact) -> str | None:
    """What is wrong with the calibrations and thresholds, or None."""
    for calibration in artifact.calibrations:
        if calibration.share is not None and not 0 < calibration.share < 1:
            return f"a calibration assumes a share of {calibration.share:g}"
        if not 0 < calibration.slope < _MAX_CALIBRATION or abs(calibration.intercept) > _MAX_CALIBRATION:
            return f"a calibration has slope {calibration.slope:g} and intercept {calibration.intercept:g}"
        tokens = [knot for knot, _ in calibration.by_length]
        offsets = [offset for _, offset in calibration.by_length]
        if tokens != sorted({*tokens}) or not all(1 <= knot < _MAX_CALIBRATION for knot in tokens):
            return f"offsets by length need rising numbers of tokens, not {tokens}"
        if any(abs(offset) > _MAX_CALIBRATION for offset in offsets):
            return f"offsets by length of {offsets}"
    highest = math.nextafter(1, 2)  # where nothing is to be positive
    for label in artifact.thresholds:
        targets, scores = [stored.target for stored in label], [stored.score for stored in label]
        if not all(0 < target < 1 for target in targets) or targets != sorted({*targets}):
            return f"thresholds need ascending false-positive rates between 0 and 1, not {targets}"
        if not all(0 <= score <= highest for score in scores) or scores != sorted(scores, reverse=True):
            return f"thresholds need scores from 0 to 1 that fall as the rate rises, not {scores}"
    if artifact.min_score and (artifact.task != "classes" or not 0 <= artifact.min_score <= 1):
        return f"min_score {artifact.min_score:g} for task {artifact.task}; classes may have one from 0 to 1"
    return None if all(artifact.thresholds) else "there are no thresholds"


def _labels_problem(artifact: Artifact) -> str | None:
    """What is wrong with the labels, or None."""
    count = len(artifact.labels)
    if len(set(artifact.labels)) < count or (artifact.task == "binary") != (count == 1) or not count:
        return f"{count} labels, {len(set(artifact.labels))} of them different, for task {artifact.task}"
    counts = {artifact.head.labels, len(artifact.calibrations), len(artifact.thresholds), count}
    rates = {tuple(stored.target for stored in label) for label in artifact.thresholds}
    if len(counts) > 1 or len(rates) > 1:
        return f"{count} labels need as many rows of weights, calibrations and equal lists of thresholds"
    return verdicts_problem(artifact.task, artifact.labels, artifact.negative)


def _directions_problem(artifact: Artifact) -> str | None:
    """Why the directions do not fit the columns and the layers, or None."""
    sizes = {name: size for name, size in artifact.columns if name in _LEARNED}
    if artifact.directions is None:
        return f"{', '.join(sizes)} without {_WEIGHT}" if sizes else None
    shape, layers = artifact.directions.weight.shape, artifact.spec.get("layers")
    if not sizes or set(sizes.values()) != {shape[0]}:
        return f"{shape[0]} directions beside columns {sizes or 'that read none'}"
    if isinstance(layers, list) and len(layers) != shape[1]:
        return f"directions across {shape[1]} layers, where the spec has {len(layers)}"
    return None


def _read_manifest(folder: Path) -> dict[str, Any]:
    """The values of a manifest of this schema, unchanged since it was written."""
    manifest = _FILES.read_manifest(folder)
    if (head := manifest.pop("head", None)) != "linear":
        raise BrokenArtifact(
            f"{folder / _MANIFEST}: head {head!r:.40} is unknown; this version reads 'linear'; {_AGAIN}"
        )
    return manifest


def _read_arrays(
    folder: Path, file: object
) -> tuple[LinearHead, np.ndarray, Directions | None, list[int] | None, Sample | None]:
    """Head, hashes of seen texts, directions, their layers, and sample.

    The layers are None in detectors that were saved without them.
    """
    arrays = _FILES.read_arrays(folder, file)
    try:
        seen = arrays.pop(_SEEN, np.zeros(0, dtype=np.uint64))
        if seen.dtype != np.uint64 or seen.ndim != 1 or (seen[1:] <= seen[:-1]).any():
            raise BrokenArtifact(f"{_SEEN} holds something other than ascending hashes")
        directions, layers = None, None
        if _LAYERS in arrays:
            layers = arrays.pop(_LAYERS).tolist()
        if _WEIGHT in arrays or _BIAS in arrays:
            kept, read = arrays.pop(_WEIGHT), arrays.pop(_READ)
            if kept.ndim != 2 or read.ndim != 2 or read.dtype != np.bool_ or len(kept) != read.sum():
                raise BrokenArtifact(f"{_READ} and {_WEIGHT} do not belong together")
            weight = np.zeros((*read.shape, *kept.shape[1:]), kept.dtype)
            weight[read] = kept
            directions = Directions(weight, arrays.pop(_BIAS))
        sample = None
        if _ROWS in arrays or _LOGITS in arrays:
            sample = Sample(arrays.pop(_ROWS), arrays.pop(_LOGITS))
        head = LinearHead.from_arrays(arrays)
        if sample is not None and (sample.rows.shape[1] != head.width or head.labels != 1):
            raise BrokenArtifact(
                f"a sample of {sample.rows.shape[1]} columns beside a head of {head.width} and {head.labels} "
                "labels"
            )
        return head, seen, directions, layers, sample
    except (BadFeatures, BrokenArtifact, KeyError, TypeError, ValueError) as error:
        raise BrokenArtifact(
            f"{folder / _ARRAYS} does not hold arrays that can be read: {error}; {_AGAIN}"
        ) from error


def _is_number(value: object) -> bool:
    return isinstance(value, Real)
