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
from typing import Any, Literal

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
from splinelens.generate.likelihood import log_probabilities
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

Method = Literal["lid", "margins", "occupancy", "hidden"]
"""What a confidence is made of: the local dimension, or a linear head."""

METHODS: tuple[Method, ...] = ("lid", "margins", "occupancy", "hidden")

REFERENCE_FILES = ("truth.json", "truth.safetensors")
"""What ``Truth.save`` writes."""

ANSWER_TOKENS = 48
"""Most tokens of a model's own answer."""

_HEADS: dict[Method, str] = {"margins": "margin_max", "occupancy": "occupancy", "hidden": "hidden_mean"}
_HEAD_TITLES: dict[Method, str] = {
    "margins": "max margins, linear head",
    "occupancy": "occupancy, linear head",
    "hidden": "mean hidden state, linear probe",
}
_MANIFEST, _ARRAYS = REFERENCE_FILES
_SCHEMA = 1
_TRUE, _FALSE = "true", "false"
_ALIKE, _UNLIKE = "like_reference", "unlike_reference"  # verdicts where no labels say what is false
_FPR = 0.05
_MOST_FOLDS = 12  # groups that are each a fold
_STRENGTH = 40.0  # inverse L2 strength C of a head, times its columns
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
            raise BadTexts(f"the gold answer of question {row} has no letter or digit; leave the question out")
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
            return self._judged(features, source.broken.get(features.index, features.reason))

        yield from self.reader.map(record, source.texts, progress=progress)

    def _judged(self, features: TextFeatures, reason: str | None) -> TextScore:
        score = None
        if reason is None:
            score = float(self.reference.confidence(self.reference.dimension(features.values[None]))[0])
        if score is None or not np.isfinite(score):
            reason = reason or "has no dimension"
            return TextScore(
                features.index, None, UNDETERMINED, features.tokens, features.cut, reason=reason
            )
        if self.reference.calibration is None:
            verdict = _UNLIKE if score < _FPR else _ALIKE
        else:
            verdict = _TRUE if score >= 0.5 else _FALSE
        return TextScore(features.index, score, verdict, features.tokens, features.cut)


def load(name: str | PathLike[str] = "truth", **options: Any) -> Truth | Detector:  # Any: those of both
    """What ``fit`` wrote, or a detector: a shipped name or a folder; ``options`` are those of ``Truth.load``.

    Raises:
        UnknownDetector: Neither.
        BrokenArtifact: It is damaged.
        WrongModel: The model is another one than that of the fit.
    """
    folder = Path(name).expanduser()
    return (
        Truth.load(folder, **options) if (folder / _MANIFEST).is_file() else Detector.load(name, **options)
    )


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
        truth: By local dimension.
        heads: By linear heads, each a training with its detector; none without labels.
        aucs: Out of fold, of each method; that of ``lid`` is of the best layer. Empty without labels.
        method: The one that ``write`` saves.
        left_out: Rows that could not be read.
    """

    truth: Truth
    heads: dict[str, Training]
    aucs: dict[str, float]
    method: Method
    left_out: int

    @property
    def scorer(self) -> Truth | Detector:
        """What scores texts by the chosen method."""
        return self.truth if self.method == "lid" else self.heads[self.method].detector

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
    loaded = _loaded(model, device, dtype)
    passes = _Passes(progress, 1 if known is None else 2)
    table = _read(loaded, source, ("hidden_last",), None, batch_tokens=batch_tokens, progress=passes)
    states, ok = _by_layer(table), table.ok
    y = np.ones(int(ok.sum()), dtype=int) if known is None else known[ok]
    curve, held_out = None, np.empty((0, 0))
    if known is not None:
        held_out = held_out_dimensions(
            states[ok], y, _folds(source, known, members, ok, seed), neighbors
        )
        curve = [_auc(y, -column) for column in held_out.T]
    true = states[ok][y == 1]
    if not len(true):
        raise BadTexts(f"{source.source}: none of {len(source)} texts can be read")
    require_reference(true[:, -1], neighbors)
    two_nn = two_nn_curve(true)
    index = first_peak(two_nn) if curve is None else int(np.argmax(curve))
    calibration = None if curve is None else _calibration(y, -held_out[:, index])
    layer = table.columns[index].layer
    assert layer is not None
    reader = TextReader(loaded, FeatureSpec.of(("hidden_last",), (layer,), "last"), batch_tokens=batch_tokens)
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
    truth = Truth(LocalDimension.of(true[:, index], neighbors, calibration), reader, name, training)
    heads: dict[str, Training] = {}
    aucs: dict[str, float] = {}
    if known is not None and curve is not None:
        del states, table
        heads = _fit_heads(
            source, known, loaded, members, name, seed, command, batch_tokens=batch_tokens, progress=passes
        )
        aucs = {"lid": curve[index]} | {
            key: float(one.artifact.metrics["out_of_fold"]["auc"]) for key, one in heads.items()
        }
    best = max(aucs, key=lambda key: aucs[key]) if aucs else "lid"
    chosen = next(one for one in METHODS if one == (method or best))
    if chosen != "lid" and chosen not in heads:
        raise BadLabels(
            f"the out-of-fold logits of {chosen} do not rise with the labels: it says nothing of them; choose another "
            "method, or give more rows"
        )
    return TruthFit(truth, heads, aucs, chosen, int((~ok).sum()))


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
        loaded, source, _HEADS.values(), layers, "mean", batch_tokens=batch_tokens, progress=progress
    )
    heads = {}
    for method, statistic in _HEADS.items():
        reader = TextReader(
            loaded, FeatureSpec.of((statistic,), layers, "max"), batch_tokens=batch_tokens
        )
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
                table=_part(table, statistic),
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
    likelihood = _mean_log_probabilities(loaded, source, folder, **reading)
    table = _read(
        loaded, source, ("hidden_last", "spline7", "length"), None, output=_beside(folder, "states"), **reading
    )
    left_out = Counter(_reason(*row) for row in zip(table.reasons, likelihood.tolist(), strict=True))
    ok = table.ok & np.isfinite(likelihood)
    del left_out[""]
    y, fold, rows = known[ok], _folds(source, known, members, ok, seed), np.flatnonzero(ok)
    groups_of_rows = None if members is None else members.numbers[ok]
    states, spline7 = _by_layer(_part(table, "hidden_last"))[ok], _part(table, *SPLINE7).values[ok]
    tokens, record = table.column("length")[ok], table.provenance
    layers = [column.layer for column in table.columns if column.statistic.name == "hidden_last"]
    del table
    scores = {
        TEXT_ONLY: _text_only([source.texts[row] or "" for row in rows], tokens, y, fold),
        MODEL: {"mean log-probability": likelihood[ok], "perplexity": -np.exp(-likelihood[ok])},
    }
    curve, chosen, by_dimension = _dimension_scores(states, y, fold, groups_of_rows, neighbors, seed)
    scores[MODEL] |= by_dimension
    head_layers = _head_layers(loaded)
    last = states[:, [layers.index(layer) for layer in head_layers]].reshape(len(states), -1)
    scores[MODEL] |= {
        "spline7, linear head": _head_scores(spline7, y, fold),
        "hidden state of the last token, linear probe": _head_scores(last, y, fold),
    }
    del states, spline7, last
    table = _read(
        loaded, source, _HEADS.values(), head_layers, "mean", output=_beside(folder, "heads"), **reading
    )
    for method, title in _HEAD_TITLES.items():
        scores[MODEL][title] = _head_scores(_part(table, _HEADS[method]).values[ok], y, fold)
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


def _mean_log_probabilities(
    loaded: LoadedModel, source: Texts, folder: Path | None, *, batch_tokens: int | None, progress: Progress
) -> np.ndarray:
    """The mean log-probability of each text, NaN where there is none; kept in the folder."""
    key = f"{source.data_hash[:16]}-{loaded.fingerprint.weights[:16]}-{loaded.fingerprint.dtype}"
    path = None if folder is None else folder / f"log-probabilities-{key}.json"
    if path is not None and path.is_file():
        return np.array(json.loads(path.read_text("utf-8")), dtype=float)
    each = log_probabilities(loaded, source.texts, batch_tokens=batch_tokens, progress=progress)
    means = np.array([values.mean(dtype=float) if len(values) else np.nan for values in each])
    if path is not None:
        write_text(path, json.dumps([None if np.isnan(mean) else mean for mean in means.tolist()]))
    return means


def _reason(reason: str | None, likelihood: float) -> str:
    """Why a row is left out; empty if it is not."""
    if reason is not None:
        return f"it {reason}"
    return "" if np.isfinite(likelihood) else "no token has a finite log-probability"


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

    def scores(rows: np.ndarray, build: Callable[[], Any]) -> np.ndarray:  # Any: a transformer of scikit-learn
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
    names = "layer by validation", "layer by TwoNN, without labels"
    return (
        curve,
        chosen,
        {
            f"LID, MLE, {names[0]}": validated,
            f"LID, MLE, {names[1]}": unlabeled,
            f"LID, GeoMLE, {names[0]}": geomle,
        },
    )


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
