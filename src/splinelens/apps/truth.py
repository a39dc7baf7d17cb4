"""Truthfulness: does what a model computes of a text tell whether the text is true?

``fit`` makes a score from texts that are known to be true, or labeled; ``evaluate`` compares every score with what
the words alone tell, on the same rows, and gives no verdict where these win. Sources: Yin, Srinivasa and Chang,
arXiv:2402.18048 (local intrinsic dimension); arXiv:2605.17028 (controlled corpora leave most methods near chance).
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from splinelens import __version__
from splinelens.apps.detector import Detector
from splinelens.apps.training import Training, fit_detector
from splinelens.detect import UNDETERMINED
from splinelens.detect.bootstrap import ScoreHistogram, bootstrap, percentile_interval
from splinelens.detect.calibration import Calibration, calibrate
from splinelens.detect.groups import joined
from splinelens.detect.local_dimension import (
    NEIGHBORS,
    LocalDimension,
    dimensions,
    first_peak,
    held_out_dimensions,
    require_reference,
    two_nn_curve,
)
from splinelens.detect.heads import LinearHead
from splinelens.detect.shipped import find_artifact, shipped
from splinelens.detect.solver import (
    ROWS_PER_CLASS,
    Basis,
    balanced_weights,
    cross_validate,
    fold_of_rows,
    require_rows,
)
from splinelens.errors import BadFeatures, BadLabels, BadModel, BadTexts, BrokenArtifact
from splinelens.features.extract import provenance, read_table
from splinelens.features.loading import ReaderPlan, load_reader
from splinelens.features.reader import Progress, TextFeatures, TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable
from splinelens.files import results_folder, write_bytes, write_errors, write_text
from splinelens.generate.likelihood import PROFILE, log_probabilities, profile
from splinelens.generate.sample import Ended, Sampling, Writer
from splinelens.geometry.neighbors import lid_geomle
from splinelens.geometry.settings import SPLINE7
from splinelens.models import Fingerprint, LoadedModel, load_model
from splinelens.models.load import require_unset
from splinelens.models.source import lasting_name
from splinelens.report.scores import TextScore
from splinelens.report.truth import MODEL, TEXT_ONLY, LayerCurve, Rival, TruthReport
from splinelens.texts import Texts, text_hashes
from splinelens.texts.labels import labels_of
from splinelens.texts.row_groups import RowGroups, row_groups

Method = Literal["lid", "margins", "occupancy", "hidden", "geometry", "all"]
"""What a confidence is made of: the local dimension, a linear head (``geometry`` reads margins and occupancy), or
that of the geometry and of log-probabilities together."""

METHODS: tuple[Method, ...] = get_args(Method)

REFERENCE_FILES = ("truth.json", "truth.safetensors")
"""What ``Truth.save`` writes."""

ANSWER_TOKENS = 48
"""Most tokens of a model's own answer."""

_HEADS: dict[Method, tuple[str, ...]] = {
    "margins": ("margin_max",),
    "occupancy": ("occupancy",),
    "hidden": ("hidden_mean",),
    "geometry": ("margin_max", "occupancy"),
}
_HEAD_FEATURES = ("margin_max", "occupancy", "hidden_mean")
_HEAD_TITLES: dict[Method, str] = {
    "margins": "max margins, head",
    "occupancy": "occupancy, head",
    "hidden": "mean hidden state, probe",
    "geometry": "margins and occupancy, head",
}
_MANIFEST, _ARRAYS = REFERENCE_FILES
_LIKELIHOOD = "likelihood.json"
_SCHEMA = 1
_TRUE, _FALSE = "true", "false"
_ALIKE, _UNLIKE = "like_reference", "unlike_reference"  # verdicts where no labels say what is false
_FPR = 0.05
_MOST_FOLDS = 12  # groups that are each a fold
_STRENGTH = 40.0  # inverse L2 strength C of a head, times its columns
_PROFILE_STRENGTH = 1e-3  # of the head on log-probabilities, whose numbers resemble each other
_WEIGHTS = (0.25, 0.5, 1.0, 2.0)  # of the geometry beside log-probabilities
_REFERENCE_ROWS, _CHOICE_ROWS = 2000, 500  # states of true texts; rows of each class that choose the layer
_ARTICLES = {"a", "an", "the"}


@dataclass(frozen=True)
class Answer:
    """A model's own answer to a question.

    Attributes:
        row: Index of the question.
        question: The question.
        answer: What the model wrote, greedily.
        ended: ``stop``, or ``length`` where it was stopped at the most tokens; None without an answer.
        correct: Whether the answer includes a gold answer; None without an answer.
        reason: Why there is no answer, else None.
    """

    row: int
    question: str
    answer: str
    ended: Ended | None
    correct: bool | None
    reason: str | None = None

    @property
    def text(self) -> str:
        """Question and answer, as they are read."""
        return f"{self.question.strip()} {self.answer.strip()}".strip()

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values, with ``text``."""
        return asdict(self) | {"text": self.text}


def answer(
    questions: Texts | Iterable[str | None],
    gold: Sequence[str | Sequence[str]],
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    raw: bool = False,
    max_tokens: int = ANSWER_TOKENS,
    device: str | None = None,
    dtype: str | None = None,
    progress: Progress | None = None,
) -> list[Answer]:
    """Let a model answer questions, and label each answer by its gold answers.

    Args:
        questions: The questions.
        gold: For each question an answer, or several of which one is enough.
        model: A model loaded with ``head=True``, or the name, folder or file of one.
        raw: Continue the question as it is, up to the end of a line; else it is put into the chat template, if
            the model has one.
        max_tokens: Most tokens of an answer; an answer that reaches it has ``ended="length"``.
        device: Such as ``cpu`` or ``cuda:0``.
        dtype: Number type of the weights; None takes ``float32``.
        progress: Called with the texts and the characters read since the last call.

    Raises:
        BadTexts: Not one gold answer a question, or one that has no letter or digit.
        BadModel: The model cannot be loaded, or has no head.
    """
    source = Texts.of(questions)
    accepted = [(cell,) if isinstance(cell, str) else tuple(cell) for cell in gold]
    if len(accepted) != len(source):
        raise BadTexts(f"{len(accepted)} gold answers for {len(source)} questions; give one a question")
    for row, cells in enumerate(accepted):
        if not cells or not all(isinstance(cell, str) and _words(cell) for cell in cells):
            raise BadTexts(
                f"the gold answer of question {row} has no letter or digit; leave the question out"
            )
    writer = Writer(model, device=device, dtype=dtype)
    raw = raw or not writer.loaded.tokenizer.chat_template
    sampling = Sampling(max_tokens=max_tokens, stop=("\n",) if raw else ())
    answers = []
    for row, (question, cells) in enumerate(zip(source.texts, accepted, strict=True)):
        text = question or ""
        try:
            prompt: Any = text if raw else [{"role": "user", "content": text}]
            if not text.strip():
                raise BadTexts("the question is empty")
            (reply,) = writer.write(prompt, sampling)
        except (BadTexts, BadModel) as error:
            answers.append(Answer(row, text, "", None, None, str(error)))
        else:
            correct = is_correct(reply.text, cells)
            answers.append(Answer(row, text, reply.text.strip(), reply.ended, correct))
        if progress:
            progress(1, len(text))
    return answers


def is_correct(given: str, gold: Iterable[str]) -> bool:
    """Whether an answer is or includes a gold answer: whole words, without case, accents, articles, punctuation.

    Example:
        >>> is_correct("It is in Paris.", ["paris"]), is_correct("A parish.", ["Paris"])
        (True, False)
    """
    words = _words(given)
    return any(
        expected == words[start : start + len(expected)]
        for expected in map(_words, gold)
        if expected
        for start in range(len(words) - len(expected) + 1)
    )


def answer_counts(answers: Sequence[Answer]) -> dict[str, int]:
    """How many answers are correct, wrong, missing, and stopped at the most tokens."""
    return {
        "correct": sum(one.correct is True for one in answers),
        "wrong": sum(one.correct is False for one in answers),
        "without an answer": sum(one.correct is None for one in answers),
        "stopped at the most tokens": sum(one.ended == "length" for one in answers),
    }


def write_answers(answers: Iterable[Answer], path: str | PathLike[str]) -> None:
    """Write answers as JSON lines, which ``read_texts`` reads: column ``text``, label ``correct``.

    Raises:
        CannotWrite: The disk is full or the file may not be written.
    """
    lines = (json.dumps(one.to_dict(), ensure_ascii=False) + "\n" for one in answers)
    write_text(Path(path), "".join(lines), errors="backslashreplace")


def _words(text: str) -> list[str]:
    plain = "".join(sign for sign in unicodedata.normalize("NFKD", text) if not unicodedata.combining(sign))
    return [word for word in re.findall(r"\w+", plain.casefold()) if word not in _ARTICLES]


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
        record, arrays = _read_files(Path(folder).expanduser())
        try:
            platt = record["calibration"]
            calibration = None if platt is None else Calibration(*platt)
            reference = LocalDimension(arrays["states"], arrays["own"], record["neighbors"], calibration)
            plan = ReaderPlan(
                record["name"],
                record["model"],
                Fingerprint.from_dict(record["model"]["fingerprint"]),
                FeatureSpec.from_dict(record["spec"]),
                None,
                "",
            )
            fits = reference.states.ndim == 2 and reference.own.shape == reference.states.shape[:1]
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
        from safetensors.numpy import save

        path = results_folder(folder, REFERENCE_FILES, overwrite=overwrite)
        with write_errors(path):
            path.mkdir(parents=True, exist_ok=True)
        loaded = self.reader.loaded
        depth = max(self.reader.layers) + 1
        calibration = self.reference.calibration
        record = {
            "schema": _SCHEMA,
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
        write_bytes(path / _ARRAYS, save({key: np.ascontiguousarray(one) for key, one in arrays.items()}))
        write_text(path / _MANIFEST, json.dumps(record, indent=1) + "\n", overwrite=overwrite)

    def __repr__(self) -> str:
        known, width = self.reference.states.shape
        (layer,) = self.reader.layers
        return f"Truth({self.name!r}, {known:,} known texts, layer {layer}; {self.reader.loaded.name})"

    def score(
        self, texts: Texts | Iterable[str | None], *, progress: Progress | None = None
    ) -> list[TextScore]:
        """One confidence in [0, 1] a text, ``score``; a text that cannot be read is ``undetermined``.

        With labels it is the calibrated probability that a text is true, and the verdict is ``true`` or ``false``;
        without the share of known texts that are no nearer to the others, and the verdict ``unlike_reference``
        where that is below 5 %.
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
    """Scores texts by a detector of the geometry and by log-probabilities together; ``fit`` and ``load`` make one.

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
        if model.causal is None:
            raise BadModel(
                f"{model.name} is loaded without its language-model head: load_model(..., head=True)"
            )
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


def _read_files(folder: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:  # Any: plain JSON values
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        record = json.loads((folder / _MANIFEST).read_text("utf-8"))
        arrays = load_file(folder / _ARRAYS)
    except (OSError, ValueError, SafetensorError) as error:
        raise BrokenArtifact(f"{folder} is damaged ({error}); fit it again") from error
    if not isinstance(record, dict) or record.get("schema") != _SCHEMA:
        raise BrokenArtifact(f"{folder / _MANIFEST} is of another version; fit it again")
    if not all(one.dtype.kind == "f" and np.isfinite(one).all() for one in arrays.values()):
        raise BrokenArtifact(f"{folder / _ARRAYS} holds something other than finite floats; fit it again")
    return record, arrays


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
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
    progress: Progress | None = None,
) -> TruthFit:
    """Fit scores of truthfulness to texts that are known to be true, or labeled as true and false.

    All layers are read in one pass. Without labels the local dimension is read at the first peak of the intrinsic
    dimension over layers. With labels at the layer with the best AUC of held-out rows; and linear heads on every
    third layer are fitted as ``splinelens.train`` fits them.

    Args:
        texts: The texts; those that cannot be read are left out and counted.
        labels: 1 or ``true`` for a true text; None where all are true.
        model: A loaded model, or the name, folder or file of one.
        positive: The label that counts as true, every other one as false.
        groups: One value a text, such as its topic, or the name of a column kept beside the texts: rows of one
            group are in one fold.
        method: What is saved; None takes the best AUC, or ``lid`` without labels.
        neighbors: Neighbors that a dimension is estimated from.
        name: Name of the score.
        seed: Of the folds.
        command: The command that makes it again.
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
    loaded = _loaded(model, device, dtype, head=known is not None and not isinstance(model, LoadedModel))
    passes = _Passes(progress, 1 if known is None else 3)
    table = _read(loaded, source, ("hidden_last",), None, batch_tokens=batch_tokens, progress=passes)
    states, ok = _by_layer(table), table.ok
    if not ok.any():
        raise BadTexts(
            f"{source.source}: none of {len(source)} texts can be read: the first {table.reasons[0]}"
        )
    y = np.ones(int(ok.sum()), dtype=int) if known is None else known[ok]
    true = states[ok][y == 1]
    require_reference(true[:, -1], neighbors)
    two_nn, curve, calibration = two_nn_curve(true), None, None
    scorers: dict[str, Truth | LikelyTruth | Detector] = {}
    aucs: dict[str, float] = {}
    index = first_peak(two_nn)
    if known is not None:
        fold = _folds(source, known, members, ok, seed)
        measured = _measured_groups(y, fold if members is None else members.numbers[ok], ())
        held_out = held_out_dimensions(states[ok], y, fold, neighbors)
        curve = [_mean_auc(y, -column, measured) for column in held_out.T]
        index = int(np.argmax(curve))
        aucs["lid"], calibration = curve[index], _calibration(y, -held_out[:, index])
    layer = table.columns[index].layer
    assert layer is not None
    training = {
        "rows": int(ok.sum()),
        "true": int(y.sum()),
        "left_out": int((~ok).sum()),
        "layer": layer,
        "two_nn": two_nn,
        "auc_by_layer": curve,
        "seed": seed,
        "command": command,
        "provenance": table.provenance,
    }
    reader = TextReader(loaded, FeatureSpec.of(("hidden_last",), (layer,), "last"), batch_tokens=batch_tokens)
    scorers["lid"] = Truth(LocalDimension.of(true[:, index], neighbors, calibration), reader, name, training)
    del states, table
    if known is not None:
        heads = _fit_heads(
            source, known, loaded, members, name, seed, command, batch_tokens=batch_tokens, progress=passes
        )
        for key, head in heads.items():
            scorers[key] = head.detector
            aucs[key] = _mean_auc(y, head.scores[:, 0], measured)
        if "geometry" in heads and loaded.causal is not None:
            profiles = _profiles(loaded, source, None, batch_tokens=batch_tokens, progress=passes)[ok]
            summed = _fit_summed(heads["geometry"], profiles, y, fold)
            if summed is not None:
                scorers["all"] = summed
                aucs["all"] = _mean_auc(y, _summed_scores(heads["geometry"], profiles, y, fold), measured)
    chosen = method or max(METHODS, key=lambda one: aucs.get(one, 0.5 if one == "lid" else 0.0))
    if chosen not in scorers:
        raise BadLabels(
            f"out of fold {chosen} does not rise with the labels: it says nothing of them; choose another method, or give "
            "more rows"
        )
    return TruthFit(scorers, aucs, chosen, training)


def _geometry_logits(head: Training) -> np.ndarray:
    """The out-of-fold logits of a training, from its calibrated scores."""
    (calibration,) = head.artifact.calibrations
    scores = np.clip(head.scores[:, 0], 1e-12, 1 - 1e-12)
    return (np.log(scores / (1 - scores)) - calibration.intercept) / calibration.slope


def _summed_scores(head: Training, profiles: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Out-of-fold scores by geometry and log-probabilities; NaN counts as the least likely."""
    profiles = np.where(np.isfinite(profiles), profiles, np.nanmin(profiles, axis=0))
    return _summed(_likelihood_scores(profiles, labels, fold), _geometry_logits(head), labels, fold)


def _fit_summed(
    head: Training, profiles: np.ndarray, labels: np.ndarray, fold: np.ndarray
) -> LikelyTruth | None:
    """The score by geometry and log-probabilities; None if it does not rise with the labels."""
    known = np.isfinite(profiles).all(axis=1)
    profiles, labels, fold = profiles[known], labels[known], fold[known]
    likelihood, geometry = _likelihood_scores(profiles, labels, fold), _geometry_logits(head)[known]
    ratio = _best_ratio(likelihood, geometry, labels, fold)
    calibration = _calibration(labels, likelihood + ratio * geometry)
    if calibration is None:
        return None
    return LikelyTruth(head.detector, _likelihood_head(profiles, labels, fold), ratio, calibration)


def _fit_heads(
    source: Texts,
    labels: np.ndarray,
    loaded: LoadedModel,
    groups: RowGroups | None,
    name: str,
    seed: int,
    command: str,
    *,
    batch_tokens: int | None,
    progress: Progress,
) -> dict[str, Training]:
    """A linear head for each feature that says something of the labels, all read in one pass."""
    layers = _head_layers(loaded)
    table = _read(
        loaded, source, _HEAD_FEATURES, layers, "mean", batch_tokens=batch_tokens, progress=progress
    )
    heads = {}
    for method, statistics in _HEADS.items():
        reader = TextReader(loaded, FeatureSpec.of(statistics, layers, "max"), batch_tokens=batch_tokens)
        with suppress(BadLabels):  # its logits do not rise with the labels
            heads[method] = fit_detector(
                source,
                labels,
                reader,
                name=name,
                label=_TRUE,
                negative=_FALSE,
                groups=groups,
                sources=[source.source],
                seed=seed,
                table=_part(table, *statistics),
                command=command,
            )
    return heads


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

    Every score that is fitted is fitted on other rows than it is measured on: without groups in five folds, with
    up to 12 groups on all groups but one. Then the AUC is the mean of those within groups, so that no score gains
    by knowing which group a row is from.

    Args:
        texts: The texts; rows that a score cannot read are left out of all of them, and counted by reason.
        labels: 1 or ``true`` for a true text.
        model: A model loaded with ``head=True``, or the name, folder or file of one.
        positive: As in ``fit``, as are the next two.
        groups: One value a text, such as its topic, or the name of a column kept beside the texts.
        neighbors: Neighbors that a dimension is estimated from.
        resamples: Bootstrap resamples of the intervals.
        seed: Of folds, samples and bootstrap.
        cache: Folder that keeps what is read of the model: a stopped run continues, an equal one reads nothing.
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
    folder = None if cache is None else Path(cache)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
    passes = _Passes(progress, 3)
    reading: dict[str, Any] = {"batch_tokens": batch_tokens, "progress": passes}
    profiles = _profiles(loaded, source, folder, **reading)
    table = _read(
        loaded,
        source,
        ("hidden_last", "spline7", "length"),
        None,
        output=_beside(folder, "states"),
        **reading,
    )
    finite = np.isfinite(profiles).all(axis=1)
    left_out = Counter(_reason(*row) for row in zip(table.reasons, finite.tolist(), strict=True))
    ok = table.ok & finite
    del left_out[""]
    y, fold, rows = known[ok], _folds(source, known, members, ok, seed), np.flatnonzero(ok)
    groups_of_rows = None if members is None else members.numbers[ok]
    states, spline7 = _by_layer(_part(table, "hidden_last"))[ok], _part(table, *SPLINE7).values[ok]
    tokens, record = table.column("length")[ok], table.provenance
    layers = [column.layer for column in table.columns if column.statistic.name == "hidden_last"]
    del table
    scores = {
        TEXT_ONLY: _text_only([source.texts[row] or "" for row in rows], tokens, y, fold),
        MODEL: {"mean log-probability": profiles[ok, 0], "perplexity": -np.exp(-profiles[ok, 0])},
    }
    curve, chosen, by_dimension = _dimension_scores(states, y, fold, groups_of_rows, neighbors, seed)
    scores[MODEL] |= by_dimension
    head_layers = _head_layers(loaded)
    last = states[:, [layers.index(layer) for layer in head_layers]].reshape(len(states), -1)
    scores[MODEL] |= {
        "spline7, head": _head_scores(spline7, y, fold),
        "last hidden state, probe": _head_scores(last, y, fold),
    }
    del states, spline7, last
    table = _read(
        loaded, source, _HEAD_FEATURES, head_layers, "mean", output=_beside(folder, "heads"), **reading
    )
    for method, title in _HEAD_TITLES.items():
        scores[MODEL][title] = _head_scores(_part(table, *_HEADS[method]).values[ok], y, fold)
    likelihood = _likelihood_scores(profiles[ok], y, fold)
    scores[MODEL]["log-probabilities, head"] = likelihood
    geometry = scores[MODEL][_HEAD_TITLES["geometry"]]
    scores[MODEL]["log-probabilities and geometry, heads"] = _summed(likelihood, geometry, y, fold)
    return TruthReport(
        source=source.source,
        model=loaded.name,
        rows=len(y),
        true=int(y.sum()),
        left_out=dict(left_out),
        protocol=_protocol(fold, names),
        groups=tuple(name for name, _ in _measured_groups(y, groups_of_rows, names)),
        rivals=_rivals(scores, y, _measured_groups(y, groups_of_rows, names), resamples, seed),
        curve=replace(curve, layers=tuple(layers)),
        settings={
            "neighbors": neighbors,
            "head_layers": list(head_layers),
            "lid_layers": chosen,
            "strength": f"{_STRENGTH:g} / columns",
            "resamples": resamples,
            "seed": seed,
        },
        provenance=record | {"groups": None if members is None else members.record()},
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


def _read(
    loaded: LoadedModel,
    source: Texts,
    features: Iterable[str],
    layers: Sequence[int] | None,
    pooling: str = "last",
    *,
    output: Path | None = None,
    batch_tokens: int | None,
    progress: Progress,
) -> FeatureTable:
    reader = TextReader(loaded, FeatureSpec.of([*features], layers, pooling), batch_tokens=batch_tokens)
    return read_table(reader, source, output=output, progress=progress)


def _beside(folder: Path | None, name: str) -> Path | None:
    return None if folder is None else folder / f"{name}.parquet"


def _part(table: FeatureTable, *statistics: str) -> FeatureTable:
    """The columns of some statistics."""
    chosen = tuple(column for column in table.columns if column.statistic.name in statistics)
    parts = [table.column(column.name).reshape(len(table), -1) for column in chosen]
    return replace(table, columns=chosen, values=np.concatenate(parts, axis=1))


def _by_layer(table: FeatureTable) -> np.ndarray:
    """(text, layer, width), the states of a table of one statistic."""
    return table.values.reshape(len(table), len(table.columns), -1)


def _head_layers(loaded: LoadedModel) -> tuple[int, ...]:
    """Every third layer, the first and the last included in the default model: 0, 2, 5, ..., 29."""
    return (0, *range(2, loaded.depth, 3))


def _profiles(
    loaded: LoadedModel, source: Texts, folder: Path | None, *, batch_tokens: int | None, progress: Progress
) -> np.ndarray:
    """(text, number) the profile of each text's log-probabilities, NaN where there are none; kept in the folder."""
    key = f"{source.data_hash[:16]}-{loaded.fingerprint.weights[:16]}-{loaded.fingerprint.dtype}"
    path = None if folder is None else folder / f"log-probabilities-{key}.json"
    if path is not None and path.is_file():
        return np.array(json.loads(path.read_text("utf-8")), dtype=float)
    each = log_probabilities(loaded, source.texts, batch_tokens=batch_tokens, progress=progress)
    values = np.stack([profile(one) for one in each])
    if path is not None:
        rows = [[None if np.isnan(number) else number for number in row] for row in values.tolist()]
        write_text(path, json.dumps(rows))
    return values


def _reason(reason: str | None, has_profile: bool) -> str:
    """Why a row is left out; empty if it is not."""
    if reason is not None:
        return f"it {reason}"
    return "" if has_profile else "no token has a finite log-probability"


def _folds(
    source: Texts, labels: np.ndarray, groups: RowGroups | None, ok: np.ndarray, seed: int
) -> np.ndarray:
    """The fold of each readable row: up to 12 groups are one each, equal texts in one fold."""
    hashes = text_hashes([text for text, usable in zip(source.texts, ok, strict=True) if usable])
    _, together = np.unique(hashes, return_inverse=True)
    if groups is not None:
        together = joined(together, groups.numbers[ok])
    y = labels[ok][:, None]
    if groups is not None and 1 < len(np.unique(together)) <= _MOST_FOLDS:
        for number in np.unique(together):
            require_rows(y[together != number, 0], None, what=f"rows outside of group {number}")
        return together
    return fold_of_rows(y, np.ones(len(y), dtype=bool), together, seed=seed)


def _text_only(
    texts: Sequence[str], tokens: np.ndarray, labels: np.ndarray, fold: np.ndarray
) -> dict[str, np.ndarray]:
    """Scores that no model has a part in: of the length, and of words and characters as counts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    def scores(
        rows: np.ndarray, build: Callable[[], Any]
    ) -> np.ndarray:  # Any: a transformer of scikit-learn
        result = np.full(len(labels), np.nan)
        for number in np.unique(fold):
            inside = fold == number
            model = make_pipeline(build(), LogisticRegression(C=10.0, max_iter=1000, class_weight="balanced"))
            result[inside] = model.fit(rows[~inside], labels[~inside]).decision_function(rows[inside])
        return result

    strings = np.array(texts, dtype=object)
    return {
        "length": scores(tokens[:, None].astype(float), StandardScaler),
        "TF-IDF of words": scores(
            strings, lambda: TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\w+")
        ),
        "TF-IDF of characters": scores(
            strings, lambda: TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
        ),
    }


def _head_scores(values: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Out-of-fold logits of a linear head; its strength is fixed, so nothing is chosen on the rows."""
    strength = _STRENGTH / values.shape[1]
    return cross_validate(Basis.of(values).coordinates, labels[:, None], fold, (strength,)).logits[:, 0]


def _centered(values: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The values less the mean of their fold."""
    result = np.array(values, dtype=np.float64)
    for number in np.unique(fold):
        result[fold == number] -= result[fold == number].mean(axis=0)
    return result


def _within_scale(values: np.ndarray, fold: np.ndarray) -> Any:  # Any: an array, or a number
    """Standard deviation within folds; no label is needed for it."""
    return np.maximum(_centered(values, fold).std(axis=0), 1e-9)


def _likelihood_head(profiles: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> LinearHead:
    """A linear head on log-probabilities, fitted to what differs within folds."""
    from sklearn.linear_model import LogisticRegression

    scale = _within_scale(profiles, fold)
    columns = _centered(profiles, fold) / scale
    model = LogisticRegression(C=_PROFILE_STRENGTH, max_iter=1000)
    model.fit(columns, labels, sample_weight=balanced_weights(labels))
    return LinearHead(profiles.mean(axis=0), scale, model.coef_, model.intercept_)


def _likelihood_scores(profiles: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Out-of-fold logits of heads on log-probabilities."""
    result = np.full(len(labels), np.nan)
    for number in np.unique(fold):
        rest = fold != number
        head = _likelihood_head(profiles[rest], labels[rest], fold[rest])
        result[~rest] = head.logit(profiles[~rest])[:, 0]
    return result


def _summed(first: np.ndarray, second: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """The sum of two scores; the weight of the second is chosen for each fold on all others."""
    result = np.full(len(labels), np.nan)
    for number in np.unique(fold):
        rest = fold != number
        ratio = _best_ratio(first[rest], second[rest], labels[rest], fold[rest])
        result[~rest] = first[~rest] + ratio * second[~rest]
    return result


def _best_ratio(first: np.ndarray, second: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> float:
    """The weight of the second score with the best AUC within folds."""
    equal = float(_within_scale(first, fold) / _within_scale(second, fold))
    groups = _measured_groups(labels, fold, ())
    return max(
        (weight * equal for weight in _WEIGHTS),
        key=lambda ratio: _mean_auc(labels, first + ratio * second, groups),
    )


def _dimension_scores(
    states: np.ndarray,
    labels: np.ndarray,
    fold: np.ndarray,
    groups: np.ndarray | None,
    neighbors: int,
    seed: int,
) -> tuple[LayerCurve, list[int], dict[str, np.ndarray]]:
    """Scores by local dimension, each row among true rows of other folds; curve and layers by index.

    The layer is chosen for each fold on its training rows, and once more without labels.
    """
    rng, depth = np.random.default_rng(seed), states.shape[1]
    every = np.full((len(labels), depth), np.nan)
    geomle, validated, unlabeled = (np.full(len(labels), np.nan) for _ in range(3))
    chosen, curves = [], []
    for number in np.unique(fold):
        held_out, train = fold == number, fold != number
        bank = rng.permutation(np.flatnonzero(train & (labels == 1)))[:_REFERENCE_ROWS]
        false = rng.permutation(np.flatnonzero(train & (labels == 0)))[:_CHOICE_ROWS]
        aucs, curve = [], two_nn_curve(states[bank])
        truth = np.repeat([1, 0], [len(bank[:_CHOICE_ROWS]), len(false)])
        for layer in range(depth):
            known = states[bank, layer]
            require_reference(known, neighbors)
            own = np.arange(len(known[:_CHOICE_ROWS]))
            inside = dimensions(known[: len(own)], known, neighbors, own)
            outside = dimensions(states[false, layer], known, neighbors)
            aucs.append(_auc(truth, -np.concatenate([inside, outside])))
            every[held_out, layer] = -dimensions(states[held_out, layer], known, neighbors)
        best, peak = int(np.argmax(aucs)), first_peak(curve)
        validated[held_out], unlabeled[held_out] = every[held_out, best], every[held_out, peak]
        geomle[held_out] = -_geomle(states[held_out, best], states[bank, best], seed)
        chosen.append(best)
        curves.append(curve)
    mean = np.mean(curves, axis=0)
    of_groups = _measured_groups(labels, groups, ())
    lid_auc = tuple(_mean_auc(labels, column, of_groups) for column in every.T)
    curve = LayerCurve((), tuple(map(float, mean)), lid_auc, first_peak(mean.tolist()))
    named = {"LID by MLE": validated, "LID by MLE, layer without labels": unlabeled, "LID by GeoMLE": geomle}
    return curve, chosen, named


def _geomle(states: np.ndarray, bank: np.ndarray, seed: int) -> np.ndarray:
    """The dimension by GeoMLE; that of a reference too small for it is not a number apart."""
    import torch

    most = min(45, len(np.unique(bank, axis=0)) // 2)
    rows, known = (torch.from_numpy(np.ascontiguousarray(part)) for part in (states, bank))
    values = lid_geomle(rows, known, neighbors=range(max(3, most // 3), most + 1), seed=seed).double().numpy()
    return np.clip(np.nan_to_num(values, nan=states.shape[1]), -states.shape[1], states.shape[1])


def _auc(labels: np.ndarray, scores: np.ndarray) -> float:
    return float(ScoreHistogram.of(labels, scores).roc_auc())


_Groups = list[tuple[str, np.ndarray]]
"""Names and rows of what an AUC is measured within."""


def _measured_groups(labels: np.ndarray, groups: np.ndarray | None, names: Sequence[str]) -> _Groups:
    """The groups with enough rows of both classes; none if there are fewer than two such groups."""
    if groups is None:
        return []
    found = []
    for number in np.unique(groups):
        rows = np.flatnonzero(groups == number)
        counts = np.bincount(labels[rows], minlength=2)
        if counts.min() >= ROWS_PER_CLASS:
            found.append((names[number] if names else str(number), rows))
    return found if 1 < len(found) <= _MOST_FOLDS else []


def _mean_auc(labels: np.ndarray, scores: np.ndarray, groups: _Groups) -> float:
    rows = [rows for _, rows in groups] or [np.arange(len(labels))]
    return float(np.mean([_auc(labels[one], scores[one]) for one in rows]))


def _rivals(
    scores: dict[str, dict[str, np.ndarray]], labels: np.ndarray, groups: _Groups, resamples: int, seed: int
) -> tuple[Rival, ...]:
    """Every score measured; gains of the model over the best of the text on the same resamples.

    Intervals of gains hold for all scores of the model together (Bonferroni): the best of many is chosen.
    """
    parts = [rows for _, rows in groups] or [np.arange(len(labels))]

    def resampled(one: np.ndarray) -> list[np.ndarray]:
        return [
            bootstrap(labels[rows], one[rows], {"auc": ScoreHistogram.roc_auc}, resamples, seed + part)["auc"]
            for part, rows in enumerate(parts)
        ]

    values = {
        (kind, name): resampled(one) for kind, of_kind in scores.items() for name, one in of_kind.items()
    }
    aucs = {(kind, name): _mean_auc(labels, scores[kind][name], groups) for kind, name in values}
    best = max((key for key in aucs if key[0] == TEXT_ONLY), key=lambda key: aucs[key])
    rivals = []
    for key, samples in values.items():
        kind, name = key
        gain, bounds = None, None
        if kind == MODEL:
            gain = aucs[key] - aucs[best]
            if all(len(part) for part in samples):
                differences = np.mean(samples, axis=0) - np.mean(values[best], axis=0)
                tail = 0.025 / len(scores[MODEL])
                low, high = np.nanquantile(differences, [tail, 1 - tail])
                bounds = (float(low), float(high))
        of_groups = tuple(
            (_auc(labels[rows], scores[kind][name][rows]), percentile_interval(part))
            for (_, rows), part in zip(groups, samples, strict=False)
        )
        whole = percentile_interval(np.mean(samples, axis=0)) if all(map(len, samples)) else None
        rivals.append(Rival(name, kind, aucs[key], whole, of_groups, gain, bounds))
    return tuple(rivals)
