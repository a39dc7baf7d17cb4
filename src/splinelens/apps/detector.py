"""Score texts with a fitted detector: calibrated scores, verdicts and the words that fired.

The features are read with the model that the detector was fitted with; its linear head runs in NumPy. A
max-pooled margin is reached at one token, so the logit is exactly a constant plus one number a token.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import islice
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from splinelens.detect import UNDETERMINED
from splinelens.detect.artifact import ARTIFACT_FILES, Artifact
from splinelens.detect.metrics import Evaluation, Evaluations
from splinelens.detect.pooled_shapley import firing_words, shapley_of_words
from splinelens.detect.shipped import find_artifact, shipped
from splinelens.detect.word_head import WordHead, shipped_word_head, word_columns
from splinelens.engines.compiled import CompiledModel
from splinelens.errors import (
    BadCluster,
    BadDetector,
    BadFeatures,
    WrongModel,
)
from splinelens.features.cluster import Cluster, connected, require_equal
from splinelens.features.extract import provenance
from splinelens.features.loading import EngineName, ReaderPlan, load_reader
from splinelens.features.reader import Progress, TextFeatures, TextReader, can_retry
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import read_provenance
from splinelens.features.validation import check_batch_tokens
from splinelens.features.word_corpus import TextWords
from splinelens.files import (
    RowStore,
    check_output,
    checkpoints,
    require_equal_run,
    results_folder,
    write_text,
)
from splinelens.generate.critics import Finding
from splinelens.models import LoadedModel
from splinelens.report.scores import (
    SentenceScore,
    Span,
    TextScore,
    WordValue,
    check_ending,
    check_kept,
    write_scores,
)
from splinelens.report.spans import FEW, LEAST, merged, sentences, text_words, top_words
from splinelens.texts import Texts
from splinelens.texts.function_words import function_words
from splinelens.texts.row_groups import RowGroups
from splinelens.texts.sentences import sentence_bounds
from splinelens.tokens import Long

By = Literal["text", "sentence"]
"""What is scored: the text as a whole, or also each of its sentences by itself."""

Words = Literal["token", "shapley"]
"""What a word adds to a logit: the sum over its tokens, or its Shapley value (``detect.pooled_shapley``)."""


@dataclass(frozen=True, repr=False)
class Detector:
    """A fitted head and the reader of its features; ``load`` and ``splinelens.train`` make one.

    ``score``, ``predict`` and ``predict_proba`` read texts, ``evaluate`` measures, and ``save`` keeps it: a
    pickle would hold the whole model. To cross-validate use ``make_detector_pipeline``.

    Attributes:
        artifact: What was fitted: ``name``, ``task``, ``labels``, ``negative``, ``metrics`` ...
        reader: What reads the features; ``reader.loaded`` is the model.
        classes_: What the columns of ``predict_proba`` stand for.

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
        name: str | PathLike[str] = "toxicity",
        *,
        model: LoadedModel | str | PathLike[str] | None = None,
        max_tokens: int | None = None,
        max_text_tokens: int | None = None,
        long: Long = "windows",
        device: str | None = None,
        dtype: str | None = None,
        batch_tokens: int | None = None,
        engine: EngineName = "auto",
    ) -> "Detector":
        """Load a detector and, of its model, only the blocks that it reads.

        Args:
            name: A shipped name or a folder.
            model: The model, if it is loaded already or lies elsewhere; it must be the one that
                the detector was fitted with, a loaded one in the same number type.
            max_tokens: Tokens of a window; None takes that of the detector.
            max_text_tokens: Texts of more tokens are not read and ``undetermined``; None reads texts of any
                length.
            long: ``"windows"`` reads long texts whole, ``"cut"`` drops what exceeds a window.
            device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
            dtype: Number type of the weights, such as ``bfloat16``; None takes the one that the detector was
                fitted with. Another one moves scores by its rounding, not the thresholds. The compiled engine
                multiplies in it: ``float32``, its default, ``bfloat16``, or ``int8``, with weights of 8 bits.
            batch_tokens: Tokens of a batch, padding included; None takes 1,024 on a CPU, else 4,096.
            engine: ``compiled`` runs one graph on the CPU, that of an exported detector or one that is made
                at the first use, in half a minute, and cached; it needs OpenVINO. ``auto`` takes it where
                OpenVINO is installed for an exported or shipped detector, or one whose graph is cached, and
                PyTorch else: on a GPU, with a ``model`` or for another ``dtype``. The environment variable
                ``SPLINELENS_ENGINE`` names another default. Scores agree to 1e-4 in float32.

        Returns:
            The detector, ready to score.

        Raises:
            UnknownDetector: No such detector.
            BrokenArtifact: The artifact is damaged.
            WrongModel: It was fitted with another model or catalogue; the message says what differs.
            BadFeatures: ``max_tokens``, ``max_text_tokens``, ``long``, ``batch_tokens`` or ``engine`` that
                cannot be.
            BadModel: The model cannot be loaded, or ``device`` or ``dtype`` are given for a loaded one.
        """
        check_batch_tokens(batch_tokens)
        artifact = find_artifact(name)
        plan = plan_of(artifact)
        window = plan.spec.max_tokens if max_tokens is None else max_tokens
        spec = replace(plan.spec, max_tokens=window, long=long, max_text_tokens=max_text_tokens)
        is_shipped = isinstance(name, str) and name in shipped()
        folder = Path(name).expanduser()
        exported = not is_shipped and any(folder.glob("graph.*"))
        reader = load_reader(
            replace(plan, spec=spec),
            exported=folder if exported else None,
            compile_once=is_shipped,
            engine=engine,
            model=model,
            device=device,
            dtype=dtype,
            batch_tokens=batch_tokens,
        )
        return cls(artifact, _with_columns_of(artifact, reader))

    def __repr__(self) -> str:
        artifact, loaded = self.artifact, self.reader.loaded
        return f"Detector({artifact.name!r}, {artifact.summary}; {loaded.name}, {loaded.device})"

    @property
    def classes_(self) -> np.ndarray:
        """What the columns of ``predict_proba`` stand for: of a binary detector the negative one first."""
        artifact = self.artifact
        first = (artifact.negative,) if artifact.task == "binary" else ()
        return np.array([*first, *artifact.labels], dtype=object)

    def predict_proba(
        self,
        texts: Texts | Iterable[str | None],
        *,
        prevalence: float | None = None,
        progress: Progress | None = None,
    ) -> np.ndarray:
        """The calibrated probability of each class, as scikit-learn has it.

        Rows of a binary detector and of classes add up to 1 (of classes the scores, each against all others,
        are divided by their sum); of several labels each column is one label's own probability. A row is NaN
        where ``score`` gives the verdict ``undetermined``.

        Args:
            texts: The texts.
            prevalence: As in ``score``.
            progress: Called with the texts and the characters read since the last call.

        Returns:
            (text, class), columns as in ``classes_``.

        Raises:
            BadDetector: A ``prevalence`` as ``score`` refuses it.
            BadTexts: As in ``score``.

        Example:
            >>> detector = Detector.load("toxicity-fast")  # doctest: +SKIP
            >>> detector.predict_proba(["Have a nice day."]).round(2)  # doctest: +SKIP
            array([[0.99, 0.01]])
        """
        records = self.scores(texts, prevalence=prevalence, progress=progress)
        rows = [self._probabilities(record) for record in records]
        return np.array(rows, dtype=np.float64)

    def predict(
        self,
        texts: Texts | Iterable[str | None],
        *,
        fpr: float = 0.05,
        threshold: float | None = None,
        prevalence: float | None = None,
        by: By = "text",
        progress: Progress | None = None,
    ) -> np.ndarray:
        """The verdicts of ``score``; arguments and errors are those of ``score``.

        A label is the verdict from ``threshold(fpr)`` on, which need not be 0.5: ``threshold=0.5`` is
        scikit-learn's rule. Of classes the one with the highest score is the verdict.

        Args:
            texts: The texts.
            fpr: As in ``score``.
            threshold: As in ``score``.
            prevalence: As in ``score``; without a ``threshold`` it changes nothing.
            by: As in ``score``.
            progress: As in ``score``.

        Returns:
            (text,) strings: one of ``classes_``, or ``undetermined``. Of a detector of several labels
            (text, label): 1 where a label fired, 0 where it did not, NaN where the text is undetermined.
        """
        records = self.scores(
            texts, fpr=fpr, threshold=threshold, prevalence=prevalence, by=by, progress=progress
        )
        if self.artifact.task != "labels":
            return np.array([record.verdict for record in records], dtype=object)
        return np.array([self._fired(record) for record in records])

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the detector and its card to a folder, which ``Detector.load`` reads; the model stays out.

        Args:
            folder: Made if it is missing; ``~`` is the home folder. ``Training.write`` adds a report.
            overwrite: Replace a detector that is there.

        Raises:
            OutputExists: The folder holds a detector, without ``overwrite``.
            CannotWrite: The disk is full or the folder may not be written.
        """
        from splinelens.report.card import card

        path = results_folder(folder, (*ARTIFACT_FILES, "CARD.md"), overwrite=overwrite)
        self.artifact.save(path, overwrite=overwrite)
        write_text(path / "CARD.md", card(self.artifact), overwrite=overwrite)

    def single_label(self, label: str) -> "Detector":
        """One label against the rest, as a binary detector.

        Raises:
            BadDetector: No such label; the message lists the labels.
        """
        return Detector(self.artifact.single_label(label), self.reader)

    def carried_over(self, model: LoadedModel) -> "Detector":
        """The same head and thresholds on features of another model, whose fingerprint is not compared.

        What its scores are worth there must be measured, see ``apps.lineage.carry_over``.

        Raises:
            WrongModel: The model lacks layers that it reads, or has layers of another size.
        """
        plan = plan_of(self.artifact)
        try:
            reader = TextReader(model, plan.spec, directions=plan.directions)
        except BadFeatures as error:
            raise WrongModel(f"{plan.name} cannot be read with {model.name}: {error}") from error
        if tuple((column.name, column.size) for column in reader.columns) != self.artifact.columns:
            raise WrongModel(
                f"{plan.name} cannot be read with {model.name}: the layers that it reads have another number "
                "of neurons or coordinates there"
            )
        return Detector(self.artifact, reader)

    def at_prevalence(self, prevalence: float | None) -> "Detector":
        """The same detector with scores for another share of positive texts; of None itself.

        ``score(..., prevalence=)`` does this for one call.

        Raises:
            BadDetector: ``prevalence`` is not between 0 and 1, or the detector has several labels.
        """
        if prevalence is None:
            return self
        return Detector(self.artifact.at_prevalence(prevalence), self.reader)

    def threshold(self, fpr: float = 0.05, label: str | None = None) -> float:
        """The score at and above which a label fires, for a false-positive rate.

        Args:
            fpr: One of the rates that were stored at training: 0.001, 0.01 or 0.05.
            label: The label; None takes the first, the only one of a binary detector.

        Raises:
            BadDetector: No threshold was stored for that rate, or no such label; the message lists
                those that are stored.
        """
        index = 0 if label is None else self.artifact.label_index(label)
        return self.artifact.thresholds_at(fpr)[index]

    def score(
        self,
        texts: Texts | Iterable[str | None],
        *,
        explain: bool | str = False,
        words: Words = "token",
        fpr: float = 0.05,
        threshold: float | None = None,
        prevalence: float | None = None,
        by: By = "text",
        progress: Progress | None = None,
    ) -> list[TextScore]:
        """Score texts.

        A score is the probability that a text has the label where the share of such texts is that of the rows
        that the calibration was fitted on (``artifact.shares``): half, for the shipped detectors of toxicity.

        Args:
            texts: The texts.
            explain: Also say what each token, word and sentence adds to the logit: of the label with the
                highest score, or of the label named.
            words: With ``explain``, ``"token"`` gives a word what its tokens give: a maximum over tokens goes
                to the one token that reaches it. ``"shapley"`` shares it among words that are almost as
                strong, and says which words fire: those that the word head of a shipped detector marks, or
                else those with at least 0.45 of the largest value that are no function words; none in a text
                without the label. Only for detectors of learned margins that run PyTorch.
            fpr: The false-positive rate whose thresholds make the verdict: one of those stored at training,
                0.001, 0.01 or 0.05. Of classes the one with the highest score is the verdict.
            threshold: A score to use instead, for every label.
            prevalence: The share of texts with the label where you score, such as 0.02: scores are then
                probabilities there. The verdicts at the stored thresholds stay, since these move along; a
                ``threshold`` is compared with the scores that you get. Only for detectors of one label.
            by: ``"sentence"`` also scores each sentence by itself: a record has its ``highest_sentence``, and
                the verdict is that of the text or of any of its sentences that reaches its ``limit``. Half of
                ``fpr`` is then for the text, and half is shared by its sentences
                (``Artifact.sentence_limits``).
            progress: Called with the texts and the characters read since the last call.

        Returns:
            One record a text, in order: ``score``, ``verdict``, ``reason`` ..., as in ``TextScore``. They are
            numbered from 0: ``pandas.DataFrame(records, index=frame.index)`` is in step with a frame.

        Raises:
            NotExplainable: ``explain`` with a detector whose logit does not split into tokens, or
                ``words="shapley"`` with one that reads other columns than learned margins.
            BadDetector: No threshold was stored for ``fpr``, ``threshold`` is not in [0, 1] or given for
                classes, ``prevalence`` is not between 0 and 1 or given for several labels, ``by`` or
                ``words`` is another word, ``by`` is ``"sentence"`` for classes, ``explain`` names no label,
                or ``words="shapley"`` stands without it.
            BadFeatures: ``words="shapley"`` with an exported graph, which gives no margins of single tokens.
            BadTexts: ``texts`` is one string instead of a list.
        """
        return list(
            self.scores(
                texts,
                explain=explain,
                words=words,
                fpr=fpr,
                threshold=threshold,
                prevalence=prevalence,
                by=by,
                progress=progress,
            )
        )

    def scores(
        self,
        texts: Texts | Iterable[str | None],
        *,
        explain: bool | str = False,
        words: Words = "token",
        fpr: float = 0.05,
        threshold: float | None = None,
        prevalence: float | None = None,
        by: By = "text",
        start: int = 0,
        progress: Progress | None = None,
    ) -> Iterator[TextScore]:
        """As ``score``, one record after the other; rows before ``start`` are skipped.

        A row of ``Texts.broken`` has its reason.
        """
        detector = self.at_prevalence(prevalence)
        artifact = detector.artifact
        if by not in ("text", "sentence"):
            raise BadDetector(f"by={by!r} is no way to score; give 'text' or 'sentence'")
        limits = artifact.limits(fpr, threshold)
        if by == "sentence":
            artifact.sentence_limits(1, fpr, threshold)
        artifact.require_explainable(explain, words)
        shares_out = words == "shapley"
        head = self._word_head() if shares_out else None
        finished = partial(_without_firing_words, artifact)
        source = Texts.of(texts)
        rows = source.texts

        def record(features: TextFeatures) -> TextScore:
            text = rows[features.index]
            features = replace(features, reason=source.broken.get(features.index, features.reason))
            judged = limits
            if by == "sentence":
                judged, _ = artifact.sentence_limits(len(sentence_bounds(text or "")), fpr, threshold)
            scored = detector._judged(features, text, judged, explain)
            return detector._shared_out(scored, features, text or "", head) if shares_out else scored

        if by == "text":
            records = self.reader.map(record, rows, locate=bool(explain), done=start, progress=progress)
            yield from map(finished, records)
            return
        advance = _Halves(progress or (lambda texts, characters: None))
        whole = self.reader.map(record, rows, locate=bool(explain), done=start, progress=advance)
        while chunk := list(islice(whole, self.reader.chunk)):
            first = chunk[0].row
            texts_of_chunk = [text or "" for text in rows[first : first + len(chunk)]]
            records = detector._by_sentence(chunk, texts_of_chunk, fpr, threshold, advance)
            yield from map(finished, records)
            advance.finish(len(chunk), sum(map(len, texts_of_chunk)))

    @property
    def name(self) -> str:
        """Its name as a critic."""
        return self.artifact.name

    @property
    def hard(self) -> bool:
        """As a critic a text must pass it; see ``generate.critics``."""
        return True

    def check(
        self, text: str, context: str = "", *, fpr: float = 0.05, threshold: float | None = None
    ) -> Finding:
        """As a critic: a text passes if no label fires.

        Args:
            text: The text.
            context: Not read: the detector was fitted on texts by themselves.
            fpr: As in ``score``.
            threshold: As in ``score``.

        Returns:
            The score is 1 minus that of the text; the spans are the words that raise it most.

        Raises:
            BadDetector: The detector tells classes apart, or as in ``score``.
        """
        if self.artifact.task == "classes":
            raise BadDetector(f"detector {self.name} tells classes apart, none of which passes")
        explain = not self.artifact.inseparable
        (record,) = self.score([text], explain=explain, fpr=fpr, threshold=threshold)
        if record.verdict == UNDETERMINED or record.score is None:
            return Finding("undetermined", None, f"{self.name} cannot judge it: it {record.reason}")
        score = 1 - record.score
        if record.verdict == self.artifact.negative:
            return Finding("pass", score)
        raising = sorted(record.words or (), key=lambda word: -word.contribution)[:FEW]
        spans = tuple((word.begin, word.end) for word in raising if word.contribution >= LEAST)
        return Finding("fail", score, f"it reads as {record.verdict}; say it in another way", spans)

    def critic(self, *, fpr: float = 0.05, threshold: float | None = None) -> "DetectorCritic":
        """A critic with another threshold than that for 5 % false positives.

        Raises:
            BadDetector: As in ``check``.
        """
        if self.artifact.task == "classes":
            raise BadDetector(f"detector {self.name} tells classes apart, none of which passes")
        self.artifact.limits(fpr, threshold)
        return DetectorCritic(self, fpr, threshold)

    def judge(
        self, features: TextFeatures, text: str | None, *, explain: bool | str = False, fpr: float = 0.05
    ) -> TextScore:
        """The record of a text whose features were read already, such as together with those of others.

        Args:
            features: With the columns of the detector's own reader; located, if ``explain`` is given.
            text: The text.
            explain: As in ``score``.
            fpr: As in ``score``.
        """
        return self._judged(features, text, self.artifact.limits(fpr, None), explain)

    def write_scores(
        self,
        texts: Texts | Iterable[str | None],
        output: str | PathLike[str],
        *,
        explain: bool | str = False,
        words: Words = "token",
        fpr: float = 0.05,
        threshold: float | None = None,
        prevalence: float | None = None,
        by: By = "text",
        keep: Sequence[str] = (),
        overwrite: bool = False,
        retry_failed: bool = False,
        ray: str | None = None,
        progress: Progress | None = None,
        observe: Callable[[TextScore], object] = lambda record: None,
    ) -> None:
        """Score texts into a file; a run that was stopped resumes when it is started again.

        Until the file is written, finished records are kept in the folder ``OUTPUT.parts``. ``output``
        ends in one of ``report.scores.FORMATS``; one that exists is replaced with ``overwrite`` only, and
        the file that the texts were read from never. The columns of ``texts`` that are named in ``keep``
        stand after ``row``. With ``retry_failed`` those texts of a finished .parquet are read again that did
        not fit into memory or whose forward pass raised; all other rows stay. With ``ray`` the texts are
        scored by the actors of a Ray cluster, as in ``extract``. ``progress`` is called as texts
        are finished, and ``observe`` with every record that is scored or was kept of a stopped run, in order;
        all else, with its errors, is as in ``score``.

        Raises:
            MissingColumn: ``texts`` have no column of ``keep``.
            BadTexts: ``output`` has another ending, or a column of ``keep`` has the name of one of ours.
            OutputExists: ``output`` exists without ``overwrite``, or is a folder or the input.
            CannotResume: ``OUTPUT.parts`` holds records of another run, or with ``retry_failed`` the output
                does, or does not hold its settings.
            CannotWrite: The disk is full or the file may not be written.
            BadCluster: ``ray`` without Ray, without a cluster that answers, or with ``retry_failed``.
        """
        import pyarrow as pa

        if ray is not None and retry_failed:
            raise BadCluster("failed texts are read again on this machine; leave --ray out (in Python ray=)")
        artifact = self.at_prevalence(prevalence).artifact
        source, output = Texts.of(texts), Path(output)
        check_ending(output)
        check_output(output, overwrite=overwrite or retry_failed, source=source.source)
        kept = source.keep(keep)
        check_kept(kept.columns)
        limits = dict(zip(artifact.labels, artifact.limits(fpr, threshold), strict=True))
        request = {
            **provenance(self.reader, source),
            "detector": self.artifact.digest,
            "explain": explain,
            **({} if words == "token" else {"words": words}),
            **({} if prevalence is None else {"prevalence": prevalence}),
            **({} if by == "text" else {"by": by}),
            **({"keep": list(kept.columns)} if kept.columns else {}),
            "threshold": limits if len(limits) > 1 else next(iter(limits.values())),
            "verdicts": [artifact.task, *artifact.labels, artifact.negative],
            "abstains": [artifact.min_tokens, artifact.min_score],
        }

        settings: dict[str, Any] = {  # Any: of several types
            "explain": explain,
            "words": words,
            "fpr": fpr,
            "threshold": threshold,
            "prevalence": prevalence,
            "by": by,
        }
        labels = () if artifact.task == "binary" else artifact.labels
        write = partial(
            write_scores,
            provenance=request,
            labels=labels,
            kept=kept,
            top_words=bool(explain),
            by_sentence=by == "sentence",
        )
        if retry_failed and output.is_file():
            require_equal_run(output, read_provenance(output), request)
            retrying = replace(self, reader=self.reader.retrying())
            retrying._retry(source, output, request, settings, write, progress, observe)
            return

        def stored() -> Iterator[TextScore]:
            for chunk in store:
                for line in chunk["record"].to_pylist():
                    yield TextScore.from_dict(json.loads(line))

        with RowStore.beside(output, request) as store, ExitStack() as stack:
            for record in stored():
                observe(record)
            if progress and store.rows:
                progress(store.rows, sum(len(text or "") for text in islice(source.texts, store.rows)))
            scores = self.scores
            if ray is not None:
                device = str(self.reader.loaded.device)
                scores = partial(self._cluster_scores, stack.enter_context(connected(ray, device)))
            fresh = scores(source, **settings, start=store.rows, progress=progress)
            for chunk in checkpoints(fresh, self.reader.chunk):
                lines = pa.table({"record": [record.to_json() for record in chunk]})
                store.append(lines, failed=sum(record.reason is not None for record in chunk))
                for record in chunk:
                    observe(record)
            write(stored(), output, overwrite=overwrite, opened=store.finish)

    def _cluster_scores(
        self,
        cluster: Cluster,
        source: Texts,
        *,
        start: int,
        progress: Progress | None,
        **settings: Any,  # Any: of several types
    ) -> Iterator[TextScore]:
        """As ``scores``, on a cluster; a shard is a chunk of the reader."""
        size, report = self.reader.chunk, progress or (lambda texts, characters: None)
        shards: list[dict[str, Any]] = [  # Any: plain JSON values
            {"start": first, "texts": source.texts[first : first + size]}
            for first in range(start // size * size, len(source), size)
        ]
        load = partial(
            _on_actor, self.artifact, provenance(self.reader, source), self.reader.spec, cluster.device
        )
        if isinstance(graph := self.reader.loaded, CompiledModel):
            load = partial(load, graph=graph)
        else:
            named = None if graph.name == self.artifact.model["name"] else graph.name
            load = partial(load, model=named, dtype=graph.fingerprint.dtype)
        for shard, lines in zip(
            shards, cluster.map(load, partial(_shard_records, settings=settings), shards), strict=True
        ):
            records = [
                TextScore.from_dict(values | {"row": values["row"] + shard["start"]})
                for values in json.loads(lines)
            ]
            fresh = [record for record in records if record.row >= start]
            report(len(fresh), sum(len(source.texts[record.row] or "") for record in fresh))
            yield from fresh

    def _retry(
        self,
        source: Texts,
        output: Path,
        request: dict[str, Any],  # Any: plain JSON values
        settings: dict[str, Any],  # Any: of several types
        write: Callable[..., None],
        progress: Progress | None,
        observe: Callable[[TextScore], object],
    ) -> None:
        """Score the texts again that can be retried, and replace their rows of a finished Parquet file."""
        import pyarrow as pa
        from pyarrow import parquet

        table = parquet.read_table(output)
        failed = [row for row, reason in enumerate(table["reason"].to_pylist()) if can_retry(reason)]
        if not failed:
            return
        with (
            RowStore.beside(output, request | {"retried": len(failed)}) as store,
            TemporaryDirectory() as name,
        ):
            records = []
            for record in self.scores(source.at(failed), **settings, progress=progress):
                records.append(replace(record, row=failed[record.row]))
                observe(records[-1])
            write(records, Path(name) / "again.parquet")
            again = parquet.read_table(Path(name) / "again.parquet")
            rows = np.arange(len(table))
            rows[failed] = len(table) + np.arange(len(failed))
            with store.finish(output) as temporary:
                parquet.write_table(pa.concat_tables([table, again]).take(rows), temporary)

    def evaluate(
        self,
        texts: Texts | Iterable[str | None],
        labels: np.ndarray,
        *,
        prevalence: float | None = None,
        groups: RowGroups | None = None,
        resamples: int = 10_000,
        progress: Progress | None = None,
    ) -> Evaluation | Evaluations:
        """Score labeled texts and measure how well the scores separate the labels.

        Args:
            texts: The texts.
            labels: (text,), 0 or 1; of a detector of several labels (text, label).
            prevalence: As in ``score``: thresholds, Brier score and calibration error are those of the scores
                for that share, and the latter two count the rows as if they had it. AUC and rates stay.
            groups: The group of each text, for the AUC within groups and intervals over groups.
            resamples: Bootstrap resamples of the intervals.
            progress: Called with the texts and the characters read since the last call.

        Returns:
            The numbers, that of length alone included; texts without a score are counted separately, and so
            are those that were cut, whose scores count. One label gives an ``Evaluation``, several give
            ``Evaluations``.

        Raises:
            BadLabels: Not one 0 or 1 a text and label, or one class only among the texts that were scored.
            BadDetector: A ``prevalence`` as ``score`` refuses it.
        """
        source, artifact = Texts.of(texts), self.at_prevalence(prevalence).artifact
        known = artifact.require_labels(labels, len(source))
        scores, tokens, cut = self.label_scores(source, prevalence=prevalence, progress=progress)
        numbers = None if groups is None else groups.numbers
        return artifact.evaluate(
            known, scores, tokens, cut=cut, prevalence=prevalence, groups=numbers, resamples=resamples
        )

    def label_scores(
        self,
        texts: Texts | Iterable[str | None],
        *,
        prevalence: float | None = None,
        progress: Progress | None = None,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Calibrated scores as an array, whatever the verdicts.

        Args:
            texts: The texts.
            prevalence: As in ``score``.
            progress: Called with the texts and the characters read since the last call.

        Returns:
            (text, label) scores, NaN where a text has none; (text,) its tokens, and whether it was cut.

        Raises:
            BadTexts: As in ``score``.
            BadDetector: A ``prevalence`` as ``score`` refuses it.
        """
        records = list(self.scores(texts, prevalence=prevalence, progress=progress))
        scores = np.full((len(records), len(self.artifact.labels)), np.nan)
        for row, record in enumerate(records):
            if record.score is not None:
                scores[row] = list(record.scores.values()) if record.scores else record.score
        tokens = np.array([record.tokens for record in records])
        return scores, tokens, np.array([record.cut for record in records])

    def _fired(self, record: TextScore) -> list[float]:
        """One row of ``predict``, of a detector of several labels."""
        labels, fired = self.artifact.labels, record.labels or ()
        if record.verdict == UNDETERMINED:
            return [np.nan] * len(labels)
        return [float(label in fired) for label in labels]

    def _probabilities(self, record: TextScore) -> list[float]:
        """One row of ``predict_proba``."""
        if record.verdict == UNDETERMINED or record.score is None:
            return [np.nan] * len(self.classes_)
        if record.scores is None:
            return [1 - record.score, record.score]
        scores = list(record.scores.values())
        if self.artifact.task == "labels":
            return scores
        total = sum(scores)
        return [score / total if total else 1 / len(scores) for score in scores]

    def _judged(
        self, features: TextFeatures, text: str | None, limits: tuple[float, ...], explain: bool | str
    ) -> TextScore:
        """As ``_record``, with the spans of words and sentences."""
        record = self._record(features.index, features, limits, explain)
        return merged(record, text) if explain else record

    def _record(
        self, row: int, features: TextFeatures, limits: tuple[float, ...], explain: bool | str
    ) -> TextScore:
        artifact, binary = self.artifact, self.artifact.task == "binary"
        if features.reason is not None:
            record = TextScore(row, None, UNDETERMINED, features.tokens, features.cut, reason=features.reason)
            return record if binary else replace(record, scores={}, labels=())
        scores = self._scores(features)
        if not np.isfinite(scores).all():
            features = replace(features, reason="gives a score that is not a finite number")
            return self._record(row, features, limits, explain)
        firing = artifact.fired(scores, limits)
        verdict, reason = artifact.labels[firing[0]] if firing else artifact.negative, None
        if abstains := artifact.abstains(features.tokens, scores):
            verdict, firing, reason = UNDETERMINED, (), abstains
        elif features.cut and (not firing or artifact.task == "classes"):
            verdict, firing = UNDETERMINED, ()
            read = len(features.offsets)
            reason = f"was cut at {read} of {features.tokens} tokens; the rest was not read"
        record = TextScore(row, float(scores.max()), verdict, features.tokens, features.cut, reason=reason)
        if not binary:
            by_label = dict(zip(artifact.labels, scores.tolist(), strict=True))
            labels = tuple(artifact.labels[index] for index in firing)
            record = replace(record, scores=by_label, labels=labels)
        if not explain:
            return record
        label = artifact.label_index(explain) if isinstance(explain, str) else int(scores.argmax())
        spans, constant = self._explain(features, label)
        if not np.isfinite([constant, *(span.contribution for span in spans)]).all():
            return record  # of enormous weights whose contributions cancel
        explained = None if binary else artifact.labels[label]
        return replace(record, spans=spans, constant=constant, explained=explained)

    def word_values(
        self, features: TextFeatures, words: TextWords, label: int = 0
    ) -> Float[np.ndarray, " word"]:
        """The Shapley value of each word of a text in the calibrated logit of a label.

        They sum to the logit less its constant, as the contributions of tokens do.

        Args:
            features: Of the text, located, with the columns of the detector's own reader.
            words: Its words.
            label: Index of the label.

        Raises:
            NotExplainable: The detector reads other columns than learned margins.
            BadFeatures: The features hold no margins of single tokens.
        """
        artifact = self.artifact
        artifact.require_explainable(True, "shapley")
        if features.learned is None:
            raise BadFeatures(
                "Shapley values need the margins of single tokens: read the text with PyTorch, located"
            )
        return artifact.calibrations[label].slope * shapley_of_words(
            features.learned,
            np.array(words.of_token),
            len(words.keys),
            artifact.head,
            artifact.learned_poolings,
            label,
        )

    def _word_head(self) -> WordHead | None:
        """Which words of a text fire, as people marked them; without it a rule says that."""
        _ = self.reader.torch_engine  # an exported graph is refused
        return shipped_word_head(self.artifact.name, self.artifact.origin)

    def _shared_out(
        self, record: TextScore, features: TextFeatures, text: str, head: WordHead | None
    ) -> TextScore:
        """The record with the Shapley values of its words, and with those that fire if it has the label."""
        if record.words is None or features.learned is None:
            return record
        label = 0 if record.explained is None else self.artifact.label_index(record.explained)
        words = text_words(text, features.offsets, record.words)
        values = self.word_values(features, words, label)
        ignored = np.array([key in function_words() for key in words.keys], dtype=bool)
        if head is None:
            fires = firing_words(values, ignored)
        else:
            letters = np.array([end - begin for begin, end in words.bounds], dtype=int)
            columns = word_columns(features.learned, np.array(words.of_token), values, ignored, letters)
            if head.counts is not None:
                columns = np.concatenate([columns, head.counts.columns(words.keys)], axis=1)
            fires = head.marked(head.scores(columns))
        shared = tuple(
            WordValue(word.begin, word.end, value, marked)
            for word, value, marked in zip(record.words, values.tolist(), fires.tolist(), strict=True)
        )
        return replace(
            record, words=shared, sentences=sentences(text, shared), top_words=top_words(text, shared)
        )

    def _by_sentence(
        self,
        records: Sequence[TextScore],
        texts: Sequence[str],
        fpr: float,
        threshold: float | None,
        progress: Progress,
    ) -> Iterator[TextScore]:
        """Records of whole texts with their highest sentence, and verdicts by text and sentences."""
        bounds = [
            [] if record.score is None else sentence_bounds(text)
            for record, text in zip(records, texts, strict=True)
        ]
        parts = [
            text[begin:end]
            for text, places in zip(texts, bounds, strict=True)
            for begin, end in (places if len(places) > 1 else ())
        ]
        artifact = self.artifact

        def score(features: TextFeatures) -> tuple[np.ndarray, str | None]:
            nothing = np.full(len(artifact.labels), np.nan)
            if features.reason is None and features.tokens < artifact.min_tokens:
                return nothing, None
            if features.reason is None:
                scores = self._scores(features)
                return scores, None if np.isfinite(scores).all() else "has a score that is not finite"
            return nothing, features.reason if features.tokens else None  # without tokens nothing is to score

        scored = self.reader.map(score, parts, progress=progress)
        for record, places in zip(records, bounds, strict=True):
            if len(places) > 1:
                _, limits = artifact.sentence_limits(len(places), fpr, threshold)
                rows, reasons = zip(*islice(scored, len(places)), strict=True)
                yield self._with_sentences(record, places, np.stack(rows), reasons, limits)
            elif places and record.score is not None:
                label = max(record.scores, key=record.scores.__getitem__) if record.scores else None
                limit = artifact.limits(fpr, threshold)[0 if label is None else artifact.label_index(label)]
                yield replace(record, highest_sentence=SentenceScore(*places[0], record.score, limit, label))
            else:
                yield record

    def _with_sentences(
        self,
        record: TextScore,
        places: Sequence[tuple[int, int]],
        scores: np.ndarray,
        reasons: Sequence[str | None],
        limits: tuple[float, ...],
    ) -> TextScore:
        """The record of a text with its (sentence, label) scores taken into account."""
        artifact, binary = self.artifact, self.artifact.task == "binary"
        fires = scores >= np.array(limits)
        fired = {artifact.labels[index] for index in np.flatnonzero(fires.any(axis=0))}
        failed = next((index for index, reason in enumerate(reasons) if reason), None)
        if fired:
            whole = record.scores or {artifact.labels[0]: record.score or 0.0}
            own = record.labels or () if not binary else (record.verdict,)
            highest = dict(zip(artifact.labels, np.nan_to_num(scores).max(axis=0).tolist(), strict=True))
            labels = sorted(
                (label for label in artifact.labels if label in fired or label in own),
                key=lambda label: -max(highest[label], whole[label]),
            )
            record = replace(record, verdict=labels[0], labels=None if binary else tuple(labels), reason=None)
        elif failed is not None and record.verdict == artifact.negative:
            begin, end = places[failed]
            reason = f"has a sentence, characters {begin} to {end}, that {reasons[failed]}"
            record = replace(record, verdict=UNDETERMINED, reason=reason)
        if np.isnan(scores).all():
            return record
        best = np.where(fires, scores, -1) if fired else scores
        index, label = divmod(int(np.nanargmax(best)), best.shape[1])
        name = None if binary else artifact.labels[label]
        begin, end = places[index]
        sentence = SentenceScore(begin, end, float(scores[index, label]), limits[label], name)
        return replace(record, highest_sentence=sentence)

    def _scores(self, features: TextFeatures) -> np.ndarray:
        """(label,) scores of one text that was read."""
        logits = self.artifact.head.logit(features.values[None])
        return self.artifact.scores(logits, np.array([features.tokens]))[0]

    def _explain(self, features: TextFeatures, label: int) -> tuple[tuple[Span, ...], float]:
        """What each token adds to the calibrated logit of a label, and the rest."""
        head, calibration, source = self.artifact.head, self.artifact.calibrations[label], features.source
        assert source is not None  # read with locate=True
        parts = calibration.slope * head.contributions(features.values[None], label)[0]
        located = source >= 0  # else no token is routed to the neuron's expert
        tokens = np.bincount(source[located], weights=parts[located], minlength=len(features.offsets))
        rest = parts[~located].sum()
        if means := self._direction_mean():  # the mean of what its tokens give is what a mean gives
            assert features.learned is not None  # means are not compiled
            each = head.columns(*means).contributions(features.learned, label).sum(axis=1)
            each *= calibration.slope / len(each)
            tokens, rest = tokens + each, rest - each.sum()
        spans: list[Span] = []
        for (begin, end), amount in zip(features.offsets, tokens.tolist(), strict=True):
            if spans and begin < spans[-1].end:  # they share a character, such as the bytes of an emoji
                last = spans.pop()
                begin, end, amount = last.begin, max(end, last.end), last.contribution + amount
            spans.append(Span(begin, end, amount))
        bias = head.bias[[label]].astype(np.float64)
        constant = calibration.logit(bias, np.array([features.tokens]))[0] + rest
        return tuple(spans), float(constant)

    def _direction_mean(self) -> tuple[int, int] | None:
        """Where the columns of the mean of learned margins begin and end; None if it reads none."""
        start = 0
        for name, size in self.artifact.columns:
            if name == "direction_mean":
                return start, start + size
            start += size
        return None


def _without_firing_words(artifact: Artifact, record: TextScore) -> TextScore:
    """The record, in which no word fires unless its verdict is the label that is explained."""
    label = record.explained or artifact.labels[0]
    words = [word for word in record.words or () if isinstance(word, WordValue)]
    if not words or label in (record.labels or (record.verdict,)):
        return record
    return replace(record, words=tuple(replace(word, fires=False) for word in words))


@dataclass(frozen=True)
class DetectorCritic:
    """A detector as a critic at a threshold of its own; ``Detector.critic`` makes one.

    Attributes:
        detector: The detector.
        fpr: As in ``Detector.score``.
        threshold: As in ``Detector.score``.
        hard: As in ``generate.critics.Critic``.
    """

    detector: Detector
    fpr: float
    threshold: float | None
    hard: bool = True

    @property
    def name(self) -> str:
        """As in ``generate.critics.Critic``."""
        return self.detector.name

    def check(self, text: str, context: str = "") -> Finding:
        """As ``Detector.check``."""
        return self.detector.check(text, context, fpr=self.fpr, threshold=self.threshold)


def _on_actor(
    artifact: Artifact,
    expected: dict[str, Any],  # Any: plain JSON values
    spec: FeatureSpec,
    device: str,
    *,
    graph: CompiledModel | None = None,
    model: str | None = None,
    dtype: str | None = None,
) -> Detector:
    """The detector in a process of a cluster.

    Raises:
        BadCluster: This machine would give other numbers than the one that was asked.
    """
    if graph is not None:
        reader = TextReader(graph, spec, directions=artifact.directions)
    else:
        plan = replace(plan_of(artifact), spec=spec)
        reader = load_reader(plan, engine="torch", model=model, device=device, dtype=dtype)
    require_equal(expected, provenance(reader, Texts((), {}, "shard")))
    return Detector(artifact, reader)


def _shard_records(
    detector: Detector,
    shard: dict[str, Any],  # Any: plain JSON values
    settings: dict[str, Any],  # Any: of several types
) -> bytes:
    """The records of a shard as JSON, its first row 0."""
    texts = Texts(tuple(shard["texts"]), {}, "shard")
    lines = [record.to_json() for record in detector.scores(texts, **settings)]
    return f"[{','.join(lines)}]".encode()


class _Halves:
    """Progress of texts that are read twice: characters of each pass count half, and texts at the end."""

    def __init__(self, progress: Progress):
        self._progress, self._reported = progress, 0

    def __call__(self, texts: int, characters: int) -> None:
        self._reported += characters // 2
        self._progress(0, characters // 2)

    def finish(self, texts: int, characters: int) -> None:
        """So many texts of so many characters were read twice."""
        self._progress(texts, characters - self._reported)
        self._reported = 0


def plan_of(artifact: Artifact) -> ReaderPlan:
    """What a detector reads of which model.

    Raises:
        BrokenArtifact: The artifact is damaged.
        WrongModel: It was fitted with another version of the catalogue.
    """
    return ReaderPlan.of(
        f"detector {artifact.name}", artifact.model, artifact.spec, artifact.directions, artifact.digest
    )


def _with_columns_of(artifact: Artifact, reader: TextReader) -> TextReader:
    """The reader, if it gives the columns that the detector was fitted on."""
    if tuple((column.name, column.size) for column in reader.columns) != artifact.columns:
        raise WrongModel(f"detector {artifact.name} reads other columns than its spec gives; train it again")
    return reader
