"""A detector at work: texts in, calibrated scores, verdicts and the words that fired out.

The geometry is read with the model the detector was made for; its linear head runs in NumPy. A
max-pooled margin is reached at one token, so the logit is exactly a constant plus one number a token.
"""

import difflib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from itertools import islice
from pathlib import Path

import numpy as np

from splinelens.detect.artifact import Artifact
from splinelens.detect.heads import LinearHead
from splinelens.detect.metrics import Evaluation, Evaluations
from splinelens.detect.verdicts import fired, label_place, limits, measured, require_known
from splinelens.errors import (
    BadDetector,
    BadModel,
    BadTexts,
    NotExplainable,
    UnknownDetector,
    WrongModel,
)
from splinelens.features.catalogue import VERSION
from splinelens.features.extract import provenance
from splinelens.features.reader import CHUNK, Progress, TextFeatures, TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.files import RowStore
from splinelens.models import Fingerprint, LoadedModel, load_model
from splinelens.report.scores import UNDETERMINED, Span, TextScore, write_scores
from splinelens.report.spans import merged
from splinelens.texts import Texts, read_texts
from splinelens.tokens import Long


def shipped() -> dict[str, Path]:
    """The detectors that come with the package, by name.

    Example:
        >>> sorted(shipped())
        ['domain', 'toxicity', 'toxicity-fast', 'types']
    """
    folder = Path(str(files("splinelens"))) / "detectors"
    return {place.parent.name: place.parent for place in sorted(folder.glob("*/detector.json"))}


def find_artifact(name: str | Path) -> Artifact:
    """The artifact of a shipped detector or a folder.

    Args:
        name: A shipped name such as ``toxicity``, or a folder made by ``splinelens train``.

    Returns:
        The artifact.

    Raises:
        UnknownDetector: Neither; the message names near ones.
        BrokenArtifact: It is there but cannot be read.
    """
    there = shipped()
    if str(name) in there:
        return Artifact.load(there[str(name)])
    folder = Path(name)
    if folder.is_dir():
        return Artifact.load(folder)
    near = difflib.get_close_matches(str(name), there, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"shipped are {', '.join(there)}"
    raise UnknownDetector(f"no detector and no folder {str(name)!r}; {hint}")


@dataclass(frozen=True)
class Detector:
    """A fitted head and the reader of the geometry that it was fitted on.

    Example:
        >>> import splinelens
        >>> detector = splinelens.Detector.load("toxicity-fast")  # doctest: +SKIP
        >>> detector.score(["Have a nice day."])[0].verdict  # doctest: +SKIP
        'clean'
    """

    artifact: Artifact
    reader: TextReader

    @classmethod
    def load(
        cls,
        name: str | Path = "toxicity",
        *,
        model: LoadedModel | str | None = None,
        device: str | None = None,
        max_tokens: int | None = None,
        long: Long = "windows",
    ) -> "Detector":
        """Load a detector and, of its model, only the blocks that it reads.

        Args:
            name: A shipped name or a folder.
            model: The model, if it is loaded already or lies elsewhere; it must be the one that
                the detector was made for.
            device: Such as ``cpu`` or ``cuda:0``.
            max_tokens: Tokens of a window; None takes the detector's own.
            long: ``"windows"`` reads long texts whole, ``"cut"`` drops what exceeds a window.

        Returns:
            The detector, ready to score.

        Raises:
            UnknownDetector: No such detector.
            BrokenArtifact: The artifact is damaged.
            WrongModel: It was made for another model or catalogue; the message says what differs.
            BadModel: The model cannot be loaded.
        """
        artifact = find_artifact(name)
        made_with = FeatureSpec.from_dict(artifact.spec)
        if made_with.version != VERSION:
            raise WrongModel(
                f"detector {artifact.name} was made with version {made_with.version} of the feature "
                f"catalogue, this is version {VERSION}; train it anew"
            )
        window = made_with.max_tokens if max_tokens is None else max_tokens
        spec = replace(made_with, max_tokens=window, long=long)
        wanted = Fingerprint.from_dict(artifact.model["fingerprint"])
        if not isinstance(model, LoadedModel):
            model = _loaded(artifact, wanted, model, device)
        _require_same(artifact, wanted, model)
        reader = TextReader(model, spec)
        if tuple((column.name, column.size) for column in reader.columns) != artifact.columns:
            raise WrongModel(
                f"detector {artifact.name} reads other columns than its spec gives; train it anew"
            )
        return cls(artifact, reader)

    def alone(self, label: str) -> "Detector":
        """One label of it against the rest, as a binary detector.

        Args:
            label: One of its labels.

        Raises:
            BadDetector: No such label; the message names those there.
        """
        label_place(self.artifact, label)  # refuses another
        return Detector(self.artifact.alone(label), self.reader)

    def threshold(self, fpr: float = 0.05, label: str | None = None) -> float:
        """The score at and above which a label fires, for a false-positive rate.

        Args:
            fpr: One of the rates that were stored at training.
            label: The label; None takes the first, the only one of a binary detector.

        Raises:
            BadDetector: No threshold was stored for that rate, or no such label; the message names those
                there.
        """
        place = 0 if label is None else label_place(self.artifact, label)
        return limits(self.artifact, fpr)[place]

    def limits(self, fpr: float = 0.05, threshold: float | None = None) -> tuple[float, ...]:
        """The scores at and above which each label fires.

        Args:
            fpr: One of the rates that were stored at training.
            threshold: A score for every label instead.

        Raises:
            BadDetector: No thresholds were stored for that rate, or ``threshold`` is not in [0, 1] or given
                for classes, of which the one with the highest score is the verdict.
        """
        if threshold is None:
            return limits(self.artifact, fpr)
        if not 0 <= threshold <= 1:
            raise BadDetector(f"threshold {threshold} is no score; give one from 0 to 1")
        if self.artifact.task == "classes":
            raise BadDetector(
                f"detector {self.artifact.name} gives the class with the highest score; leave out threshold"
            )
        return (threshold,) * len(self.artifact.labels)

    def score(
        self,
        texts: Texts | Sequence[str | None],
        *,
        explain: bool | str = False,
        fpr: float = 0.05,
        threshold: float | None = None,
    ) -> list[TextScore]:
        """Score texts.

        Args:
            texts: The texts.
            explain: Also say what each token, word and sentence adds to the logit: of the label with the
                highest score, or of the label named.
            fpr: The stored false-positive rate whose thresholds make the verdict; of classes the one
                with the highest score is the verdict.
            threshold: A score to use instead, for every label.

        Returns:
            One record a text, in order.

        Raises:
            NotExplainable: ``explain`` with a detector whose logit does not split into tokens.
            BadDetector: No threshold was stored for ``fpr``, ``threshold`` is not in [0, 1] or given for
                classes, or ``explain`` names no label.
            BadTexts: ``texts`` is one string instead of a list.
        """
        return list(self.scores(texts, explain=explain, fpr=fpr, threshold=threshold))

    def scores(
        self,
        texts: Texts | Sequence[str | None],
        *,
        explain: bool | str = False,
        fpr: float = 0.05,
        threshold: float | None = None,
        start: int = 0,
        progress: Progress | None = None,
    ) -> Iterator[TextScore]:
        """As ``score``, one record after the other, for inputs of any size.

        Args:
            texts: The texts.
            explain: As in ``score``.
            fpr: As in ``score``.
            threshold: As in ``score``.
            start: The first row to score; earlier ones are skipped.
            progress: Called as texts are finished.

        Yields:
            One record a text, in order.
        """
        limits = self.limits(fpr, threshold)
        if isinstance(explain, str):
            label_place(self.artifact, explain)
        if explain and self.inseparable:
            raise NotExplainable(f"detector {self.artifact.name} cannot be explained: {self.inseparable}")
        rows = _texts(texts).texts[start:]

        def record(features: TextFeatures) -> TextScore:
            scored = self._record(start + features.index, features, limits, explain)
            return merged(scored, rows[features.index])

        yield from self.reader.map(record, rows, locate=bool(explain), progress=progress)

    def write_scores(
        self,
        texts: Texts | Sequence[str | None],
        output: Path,
        *,
        explain: bool | str = False,
        fpr: float = 0.05,
        threshold: float | None = None,
        progress: Progress | None = None,
        observe: Callable[[TextScore], None] = lambda record: None,
    ) -> None:
        """Score texts into a file; a run that was stopped resumes when it is started again.

        Until the file is written, finished records are kept in the folder ``OUTPUT.parts``.

        Args:
            texts: The texts.
            output: A file that ends in ``.csv``, ``.jsonl`` or ``.parquet``.
            explain: As in ``score``.
            fpr: As in ``score``.
            threshold: As in ``score``.
            progress: Called as texts are finished.
            observe: Called with every record, in order.

        Raises:
            CannotResume: ``OUTPUT.parts`` holds records of another run.
            CannotWrite: The disk is full or the file may not be written.
            NotExplainable: As in ``score``.
            BadDetector: As in ``score``.
        """
        import pyarrow as pa

        source, artifact = _texts(texts), self.artifact
        words = [artifact.task, *artifact.labels, artifact.negative]
        settings = [explain, *self.limits(fpr, threshold), *words]
        request = {**provenance(self.reader, source), "detector": artifact.digest, "settings": settings}

        def records() -> Iterator[TextScore]:
            for chunk in store:
                for line in chunk["record"].to_pylist():
                    yield TextScore.from_dict(json.loads(line))
            start = store.rows
            fresh = self.scores(
                source, explain=explain, fpr=fpr, threshold=threshold, start=start, progress=progress
            )
            while chunk := list(islice(fresh, CHUNK)):
                store.append(pa.table({"record": [record.to_json() for record in chunk]}))
                yield from chunk

        def observed() -> Iterator[TextScore]:
            for record in records():
                observe(record)
                yield record

        with RowStore.beside(output, request) as store:
            labels = () if artifact.task == "binary" else artifact.labels
            write_scores(observed(), output, request, labels)
            store.remove()

    def evaluate(
        self,
        texts: Texts | Sequence[str | None],
        labels: np.ndarray,
        *,
        resamples: int = 10_000,
        progress: Progress | None = None,
    ) -> Evaluation | Evaluations:
        """Score labelled texts and measure how well the scores separate the labels.

        Args:
            texts: The texts.
            labels: (text,), 0 or 1; of a detector of several labels (text, label).
            resamples: Bootstrap resamples of the intervals.
            progress: Called as texts are finished.

        Returns:
            The numbers, length-only baseline included; undetermined texts are counted apart. One label
            gives an ``Evaluation``, several give ``Evaluations``.

        Raises:
            BadLabels: Not one 0 or 1 a text and label, or one class only among the texts that were scored.
        """
        source, artifact = _texts(texts), self.artifact
        known = require_known(artifact, np.asarray(labels), len(source))
        records = list(self.scores(source, progress=progress))
        scores = np.full((len(records), len(artifact.labels)), np.nan)
        for row, record in enumerate(records):
            if record.score is not None:
                scores[row] = list(record.scores.values()) if record.scores else record.score
        lengths = np.array([record.tokens for record in records])
        return measured(artifact, known, scores, lengths, resamples=resamples)

    def _record(
        self, row: int, features: TextFeatures, limits: tuple[float, ...], explain: bool | str
    ) -> TextScore:
        artifact, binary = self.artifact, self.artifact.task == "binary"
        if features.reason is not None:
            record = TextScore(row, None, UNDETERMINED, features.tokens, features.cut, features.reason)
            return record if binary else replace(record, scores={}, labels=())
        scores = artifact.scores(artifact.head.logit(features.values[None]))[0]
        firing = fired(artifact, scores, limits)
        verdict, reason = artifact.labels[firing[0]] if firing else artifact.negative, None
        if features.cut and (not firing or artifact.task == "classes"):
            verdict, firing = UNDETERMINED, ()
            read = len(features.offsets)
            reason = f"was cut at {read} of {features.tokens} tokens; the rest was not read"
        record = TextScore(row, float(scores.max()), verdict, features.tokens, features.cut, reason)
        if not binary:
            by_label = dict(zip(artifact.labels, scores.tolist(), strict=True))
            labels = tuple(artifact.labels[index] for index in firing)
            record = replace(record, scores=by_label, labels=labels)
        if not explain:
            return record
        label = label_place(artifact, explain) if isinstance(explain, str) else int(scores.argmax())
        spans, constant = self._explain(features, label)
        explained = None if binary else artifact.labels[label]
        return replace(record, spans=spans, constant=constant, explained=explained)

    @property
    def inseparable(self) -> str | None:
        """Why the logit does not split exactly into one number per token, or None if it does."""
        if not isinstance(self.artifact.head, LinearHead):
            return f"it has a {self.artifact.head.kind} head and only a linear one splits exactly"
        for column in self.reader.columns:
            if column.statistic.feature != "margins" or column.statistic.pooling == "mean":
                return f"it reads {column.name}, and only max, min and last margins come from one token"
        return None

    def _explain(self, features: TextFeatures, label: int) -> tuple[tuple[Span, ...], float]:
        """What each token adds to the calibrated logit of a label, and the rest."""
        head, calibration, source = self.artifact.head, self.artifact.calibrations[label], features.source
        assert isinstance(head, LinearHead)  # scores() checked inseparable
        assert source is not None  # read with locate=True
        parts = calibration.slope * head.parts(features.values[None], label)[0]
        located = source >= 0  # else no token is routed to the neuron's expert
        tokens = np.bincount(source[located], weights=parts[located], minlength=len(features.offsets))
        spans: list[Span] = []
        for (begin, end), amount in zip(features.offsets, tokens.tolist(), strict=True):
            if spans and begin < spans[-1].end:  # they share a character, such as the bytes of an emoji
                last = spans.pop()
                begin, end, amount = last.begin, max(end, last.end), last.contribution + amount
            spans.append(Span(begin, end, amount))
        constant = calibration.logit(head.bias.astype(np.float64))[label] + parts[~located].sum()
        return tuple(spans), float(constant)


def _texts(texts: Texts | Sequence[str | None]) -> Texts:
    if isinstance(texts, str):
        raise BadTexts("texts is one string; give a list of texts, or the name of a file to read_texts")
    return texts if isinstance(texts, Texts) else read_texts(list(texts))


def _loaded(artifact: Artifact, wanted: Fingerprint, name: str | None, device: str | None) -> LoadedModel:
    """The blocks that the detector reads, of its own model or of one that is named."""
    place = artifact.model["name"] if name is None else name
    revision = artifact.model.get("revision") if name is None else None
    try:
        return load_model(place, wanted.depth, revision, dtype=wanted.dtype, device=device)
    except BadModel as error:
        if name is None or type(error) is not BadModel:
            raise
        raise WrongModel(
            f"detector {artifact.name} needs {wanted.depth} blocks of {artifact.model['name']}: {error}"
        ) from error


def _require_same(artifact: Artifact, wanted: Fingerprint, model: LoadedModel) -> None:
    """Refuse another model than the detector was made for, and say what differs."""
    if model.depth < wanted.depth:
        raise WrongModel(
            f"detector {artifact.name} reads {wanted.depth} blocks, {model.name} has {model.depth} loaded"
        )
    difference = wanted.difference(model.fingerprint_at(wanted.depth))
    if difference:
        raise WrongModel(
            f"detector {artifact.name} was made for another model than {model.name}: {difference}. It needs "
            f"{artifact.model['name']}; or train one for yours with 'splinelens train --model'"
        )
