"""A detector at work: texts in, calibrated scores, verdicts and the words that fired out.

The geometry is read with the model the detector was made for; its linear head runs in NumPy. A
max-pooled margin is reached at one token, so the logit is exactly a constant plus one number a token.
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path

import numpy as np

from splinelens.detect.artifact import Artifact
from splinelens.detect.evaluate import Evaluation, evaluate
from splinelens.detect.heads import LinearHead
from splinelens.errors import (
    BadDetector,
    BadLabels,
    BadModel,
    BadTexts,
    NotExplainable,
    UnknownDetector,
    WrongModel,
)
from splinelens.features.catalogue import VERSION
from splinelens.features.extract import Progress
from splinelens.features.reader import TextReader, TextReading
from splinelens.features.spec import FeatureSpec
from splinelens.models import Fingerprint, LoadedModel, load_model
from splinelens.report.scores import UNDETERMINED, Span, TextScore
from splinelens.report.spans import merged
from splinelens.texts import Texts, read_texts
from splinelens.tokens import Long, TokenizedText

STRETCH = 1024
# Texts are sorted by length and scored in stretches of this many; scores of a stretch come at once.


def shipped() -> dict[str, Path]:
    """The detectors that come with the package, by name.

    Example:
        >>> sorted(shipped())
        ['toxicity', 'toxicity-fast']
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

    def threshold(self, fpr: float = 0.05) -> float:
        """The score at and above which the verdict is positive, for a false-positive rate.

        Args:
            fpr: One of the rates that were stored at training.

        Raises:
            BadDetector: No threshold was stored for that rate; the message names those there.
        """
        for stored in self.artifact.thresholds:
            if np.isclose(stored.target, fpr):
                return stored.score
        there = ", ".join(f"{stored.target:g}" for stored in self.artifact.thresholds)
        raise BadDetector(
            f"detector {self.artifact.name} has thresholds for false-positive rates {there}, not {fpr:g}"
        )

    def score(
        self,
        texts: Texts | Sequence[str | None],
        *,
        explain: bool = False,
        fpr: float = 0.05,
        threshold: float | None = None,
    ) -> list[TextScore]:
        """Score texts.

        Args:
            texts: The texts.
            explain: Also say what each token, word and sentence adds to the logit.
            fpr: The stored false-positive rate whose threshold makes the verdict.
            threshold: A score to use instead.

        Returns:
            One record a text, in order.

        Raises:
            NotExplainable: ``explain`` with a detector whose logit does not split into tokens.
            BadDetector: No threshold was stored for ``fpr``, or ``threshold`` is not in [0, 1].
            BadTexts: ``texts`` is one string instead of a list.
        """
        return list(self.scores(texts, explain=explain, fpr=fpr, threshold=threshold))

    def scores(
        self,
        texts: Texts | Sequence[str | None],
        *,
        explain: bool = False,
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
            start: The first row to score; earlier ones are passed over.
            progress: Called as texts are finished.

        Yields:
            One record a text, in order.
        """
        limit = self.threshold(fpr) if threshold is None else threshold
        if not 0 <= limit <= 1:
            raise BadDetector(f"threshold {limit} is no score; give one from 0 to 1")
        if explain and self.inseparable:
            raise NotExplainable(f"detector {self.artifact.name} cannot be explained: {self.inseparable}")
        source = _texts(texts)
        for first in range(start, len(source), STRETCH):
            stretch = source.texts[first : first + STRETCH]
            tokenized = self.reader.tokenize(stretch)
            records = {
                index: self._record(first + index, text, None, limit, explain)
                for index, text in enumerate(tokenized)
                if text.reason is not None
            }
            if progress and records:
                progress(len(records), sum(len(stretch[index] or "") for index in records))
            for reading in self.reader.read(
                tokenized, located=explain
            ):  # a record is small, a reading is not kept
                index = reading.text
                records[index] = self._record(first + index, tokenized[index], reading, limit, explain)
                if progress:
                    progress(1, len(stretch[index] or ""))
            for index in range(len(stretch)):
                yield merged(records[index], stretch[index])

    def evaluate(
        self,
        texts: Texts | Sequence[str | None],
        labels: np.ndarray,
        *,
        resamples: int = 10_000,
        progress: Progress | None = None,
    ) -> Evaluation:
        """Score labelled texts and measure how well the scores separate the labels.

        Args:
            texts: The texts.
            labels: 0 or 1 for each text.
            resamples: Bootstrap resamples of the intervals.
            progress: Called as texts are finished.

        Returns:
            The numbers, length-only baseline included; undetermined texts are counted apart.

        Raises:
            BadLabels: Not one 0 or 1 a text, or one class only among the texts that were scored.
        """
        source, known = _texts(texts), np.asarray(labels)
        if known.shape != (len(source),) or not np.isin(known, (0, 1)).all():
            raise BadLabels(
                f"{len(source)} texts need as many labels, each 0 or 1; these have shape {known.shape}"
            )
        records = list(self.scores(source, progress=progress))
        return evaluate(
            known,
            np.array([np.nan if record.score is None else record.score for record in records]),
            np.array([record.tokens for record in records]),
            thresholds={f"{stored.target:g}": stored.score for stored in self.artifact.thresholds},
            resamples=resamples,
        )

    def _record(
        self, row: int, text: TokenizedText, reading: TextReading | None, limit: float, explain: bool
    ) -> TextScore:
        artifact = self.artifact
        reason = text.reason or (reading.reason if reading else None)
        if reading is None or reason:
            return TextScore(row, None, UNDETERMINED, text.total, text.cut, reason)
        score = float(artifact.calibration.score(artifact.head.logit(reading.values[None]))[0])
        verdict = artifact.label if score >= limit else artifact.negative
        if text.cut and verdict == artifact.negative:
            verdict, reason = (
                UNDETERMINED,
                f"was cut at {len(text.ids)} of {text.total} tokens; the rest was not read",
            )
        if not explain:
            return TextScore(row, score, verdict, text.total, text.cut, reason)
        spans, constant = self._explain(text, reading)
        return TextScore(row, score, verdict, text.total, text.cut, reason, spans, constant)

    @property
    def inseparable(self) -> str | None:
        """Why the logit does not split exactly into one number per token, or None if it does."""
        if not isinstance(self.artifact.head, LinearHead):
            return f"it has a {self.artifact.head.kind} head and only a linear one splits exactly"
        for column in self.reader.columns:
            if column.statistic.feature != "margins" or column.statistic.pooling == "mean":
                return f"it reads {column.name}, and only max, min and last margins come from one token"
        return None

    def _explain(self, text: TokenizedText, reading: TextReading) -> tuple[tuple[Span, ...], float]:
        head, calibration = self.artifact.head, self.artifact.calibration
        assert isinstance(head, LinearHead)  # scores() asked inseparable first
        assert reading.where is not None  # read with located=True
        parts = calibration.slope * head.parts(reading.values[None])[0]
        there = reading.where >= 0  # else no token visits the neuron's expert
        tokens = np.bincount(reading.where[there], weights=parts[there], minlength=len(text.ids))
        spans: list[Span] = []
        for (begin, end), amount in zip(text.offsets, tokens.tolist(), strict=True):
            if spans and begin < spans[-1].end:  # they share a character, such as the bytes of an emoji
                last = spans.pop()
                begin, end, amount = last.begin, max(end, last.end), last.contribution + amount
            spans.append(Span(begin, end, amount))
        constant = calibration.logit(head.bias.astype(np.float64))[0] + parts[~there].sum()
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
