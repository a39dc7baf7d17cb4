"""Flag texts outside the range of ordinary traffic, at a chosen false-alarm rate.

A range is fitted on half of the traffic and compares every text with the other half, so that the rate holds
for traffic like it. It finds what is novel, not what is harmful: ``fit_novelty`` measures how often harmless
texts of other kinds are flagged, and fits a contrast where there are examples of another class.
"""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from splinelens import __version__
from splinelens.detect import UNDETERMINED
from splinelens.detect.heads import LinearHead
from splinelens.detect.novelty import (
    MIN_TEXTS,
    NOVELTY_FILES,
    NoveltyArtifact,
    OrdinaryRange,
    check_rate,
    conformal_p_values,
    length_bins,
    length_edges,
    texts_needed,
)
from splinelens.detect.solver import ROWS_PER_CLASS, fit
from splinelens.detect.thresholds import proportion_interval
from splinelens.errors import BadTexts, WrongModel
from splinelens.features.extract import provenance, read_table
from splinelens.features.loading import ReaderPlan, load_reader
from splinelens.features.reader import Progress, TextFeatures, TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable
from splinelens.features.validation import check_seed
from splinelens.files import RowStore, check_output, checkpoints, results_folder
from splinelens.models import LoadedModel
from splinelens.models.load import load_up_to
from splinelens.report.novelty import NoveltyScore, check_kept
from splinelens.report.scores import kept_cells
from splinelens.texts import Texts

FEATURES = (
    "spline7",
    "attention_id_absolute_last",
    "attention_id_absolute_mean",
    "attention_id_relative_last",
    "attention_id_relative_mean",
    "margins",
)
"""What is read of a text, margins as their maximum over tokens."""

LAYER_STEP = 3
"""By default each third layer is read, the last one included."""

FARTHEST = 5
"""Numbers of a record that are farthest from those of ordinary texts."""


@dataclass(frozen=True, repr=False, eq=False)
class NoveltyDetector:
    """A fitted range and the reader of its features; ``load`` and ``fit_novelty`` make one.

    Attributes:
        artifact: What was fitted.
        reader: What reads the features; ``reader.loaded`` is the model.

    Example:
        >>> detector = NoveltyDetector.load("range")  # doctest: +SKIP
        >>> detector.score(["Have a nice day."], rate=0.05)[0].verdict  # doctest: +SKIP
        'usual'
    """

    artifact: NoveltyArtifact
    reader: TextReader

    @classmethod
    def load(
        cls,
        folder: str | PathLike[str],
        *,
        model: LoadedModel | str | PathLike[str] | None = None,
        device: str | None = None,
        max_text_tokens: int | None = None,
    ) -> "NoveltyDetector":
        """Load a range and, of its model, only the blocks that it reads.

        Args:
            folder: What ``save`` wrote.
            model: The model, if it is loaded already or lies elsewhere.
            device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
            max_text_tokens: Texts of more tokens are not read and ``undetermined``; None reads all.

        Raises:
            BrokenArtifact: A file is missing or damaged.
            WrongModel: It was fitted with another model or catalogue; the message says what differs.
            BadModel: The model cannot be loaded.
        """
        artifact = NoveltyArtifact.load(Path(folder).expanduser())
        plan = ReaderPlan.of(f"the range in {folder}", artifact.model, artifact.spec)
        plan = replace(plan, spec=replace(plan.spec, max_text_tokens=max_text_tokens))
        reader = load_reader(plan, engine="torch", model=model, device=device)
        if tuple((column.name, column.size) for column in reader.columns) != artifact.columns:
            raise WrongModel(f"the range in {folder} has other columns than its spec gives; fit it again")
        return cls(artifact, reader)

    def __repr__(self) -> str:
        return f"NoveltyDetector({len(self.artifact.tokens):,} texts, {self.reader.loaded.name})"

    def save(self, folder: str | PathLike[str], *, overwrite: bool = False) -> None:
        """Write the range to a folder, which ``load`` reads; the model stays out.

        Raises:
            OutputExists: The folder holds a range, without ``overwrite``.
            CannotWrite: The disk is full or the folder may not be written.
        """
        path = results_folder(folder, NOVELTY_FILES, overwrite=overwrite)
        self.artifact.save(path, overwrite=overwrite)

    def score(
        self,
        texts: Texts | Iterable[str | None],
        *,
        rate: float | None = None,
        progress: Progress | None = None,
    ) -> list[NoveltyScore]:
        """Compare texts with the ordinary ones.

        Args:
            texts: The texts.
            rate: The false-alarm rate; None takes that of ``fit_novelty``.
            progress: Called with the texts and the characters read since the last call.

        Returns:
            One record a text, in order.

        Raises:
            BadDetector: Too few ordinary texts for that rate; the message says how many it needs.
            BadTexts: ``texts`` is one string instead of a list.
        """
        return list(self.scores(texts, rate=rate, progress=progress))

    def scores(
        self,
        texts: Texts | Iterable[str | None],
        *,
        rate: float | None = None,
        start: int = 0,
        progress: Progress | None = None,
    ) -> Iterator[NoveltyScore]:
        """As ``score``, one record after the other; rows before ``start`` are skipped."""
        limit, source = self.rate(rate), Texts.of(texts)

        def record(features: TextFeatures) -> NoveltyScore:
            reason = source.broken.get(features.index, features.reason)
            return self._record(replace(features, reason=reason), limit)

        yield from self.reader.map(record, source.texts, done=start, progress=progress)

    def rate(self, rate: float | None = None) -> float:
        """A false-alarm rate that can be kept; None gives that of ``fit_novelty``.

        Raises:
            BadDetector: As in ``score``.
        """
        return check_rate(self.artifact.rate if rate is None else rate, self.artifact.smallest_bin)

    def write_scores(
        self,
        texts: Texts | Iterable[str | None],
        output: str | PathLike[str],
        *,
        rate: float | None = None,
        keep: Sequence[str] = (),
        overwrite: bool = False,
        progress: Progress | None = None,
        observe: Callable[[NoveltyScore], object] = lambda record: None,
    ) -> None:
        """Compare texts into a file of JSON lines; a run that was stopped resumes when it is started again.

        Until the file is written, finished records are kept in the folder ``OUTPUT.parts``.

        Args:
            texts: The texts.
            output: The file; one that exists is replaced with ``overwrite`` only.
            rate: As in ``score``.
            keep: Columns of ``texts`` that stand after ``row``.
            overwrite: Replace an existing file.
            progress: As in ``score``.
            observe: Called with every record that is computed or was kept of a stopped run, in order.

        Raises:
            MissingColumn: ``texts`` have no column of ``keep``.
            BadTexts: A column of ``keep`` has the name of one of ours.
            OutputExists: ``output`` exists without ``overwrite``, or is a folder or the input.
            CannotResume: ``OUTPUT.parts`` holds records of another run.
            CannotWrite: The disk is full or the file may not be written.
        """
        import pyarrow as pa

        source, output = Texts.of(texts), Path(output)
        check_output(output, overwrite=overwrite, source=source.source)
        kept = source.keep(keep)
        check_kept(kept.columns)
        request = provenance(self.reader, source) | {
            "range": self.artifact.digest,
            "rate": self.rate(rate),
            **({"keep": [*keep], "columns_hash": kept.columns_hash} if keep else {}),
        }

        def stored() -> Iterator[NoveltyScore]:
            for chunk in store:
                for line in chunk["record"].to_pylist():
                    yield NoveltyScore(**json.loads(line))

        with RowStore.beside(output, request) as store:
            for record in stored():
                observe(record)
            if progress and store.rows:
                progress(store.rows, sum(len(text or "") for text in islice(source.texts, store.rows)))
            fresh = self.scores(source, rate=rate, start=store.rows, progress=progress)
            for chunk in checkpoints(fresh, self.reader.chunk):
                lines = pa.table({"record": [record.to_json() for record in chunk]})
                store.append(lines, failed=sum(record.reason is not None for record in chunk))
                for record in chunk:
                    observe(record)
            with (
                store.finish(output, overwrite=overwrite) as temporary,
                temporary.open("w", encoding="utf-8") as file,
            ):
                for record in stored():
                    file.write(record.to_json(kept_cells(kept, record.row)) + "\n")

    def _record(self, features: TextFeatures, rate: float) -> NoveltyScore:
        artifact, contrastive = self.artifact, self.artifact.head is not None
        reason = features.reason
        if reason is None:
            deviations = artifact.range.deviations(features.values[None], np.array([features.tokens]))
            p_values, of_contrast = artifact.p_values(deviations, np.array([features.tokens]))
            p_value, contrast = float(p_values[0]), None if of_contrast is None else float(of_contrast[0])
            if not np.isnan([p_value, contrast or 0.0]).any():
                farthest = np.argsort(-np.abs(deviations[0]), kind="stable")[:FARTHEST]
                return NoveltyScore(
                    features.index,
                    p_value,
                    _verdict(p_value, rate),
                    features.tokens,
                    farthest={
                        artifact.numbers[index]: round(float(deviations[0, index]), 2) for index in farthest
                    },
                    contrast_p_value=contrast,
                    contrast_verdict=None if contrast is None else _verdict(contrast, rate),
                )
            reason = "gives a distance that is not a finite number"
        return NoveltyScore(
            features.index,
            None,
            UNDETERMINED,
            features.tokens,
            reason,
            contrast_verdict=UNDETERMINED if contrastive else None,
        )


def _verdict(p_value: float, rate: float) -> str:
    return "flagged" if p_value <= rate else "usual"


def fit_novelty(
    traffic: Texts | Iterable[str | None],
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    *,
    novel: Texts | Iterable[str | None] | None = None,
    domains: Sequence[object] | None = None,
    other: Texts | Iterable[str | None] | None = None,
    rate: float = 0.01,
    layers: Sequence[int] | None = None,
    seed: int = 0,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    command: str = "",
    progress: Progress | None = None,
) -> NoveltyDetector:
    """Fit the range of ordinary traffic and measure what it flags.

    Half of the traffic is fitted on. Of the rest, half is compared with and the other half is flagged by this
    comparison for the report; then all of the rest is compared with. With ``other`` a balanced logistic
    regression of the same numbers is fitted between that half of the traffic and half of ``other``, and its
    logit is compared with that of the rest of the traffic at the same rate.

    Args:
        traffic: Ordinary texts: a random sample of what is to be watched.
        model: A loaded model, or the name, folder or file of one.
        novel: Harmless texts of other kinds, for the report.
        domains: The kind of each of them; the report then has a row a kind.
        other: Texts of the class to be found, such as attacks.
        rate: The false-alarm rate to report and to use by default.
        layers: Layers to read, from 0; None takes each third one, the last included.
        seed: Of the random halves.
        revision: Branch, tag or commit of a hub id.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        dtype: Number type of the weights; None takes ``float32``.
        command: Recorded.
        progress: Called with the texts and the characters read since the last call, of all texts.

    Returns:
        The detector; ``artifact.report["alarms"]`` has for each set of texts their number and, as
        ``flagged`` and ``contrast_flagged``, how many were flagged and the 95 % interval of their share.

    Raises:
        BadTexts: Too few texts that can be read for the rate, or for the contrast.
        BadDetector: The rate is not in (0, 1).
        BadFeatures: Layers that do not exist.
        BadModel: The model cannot be loaded.
    """
    source = Texts.of(traffic)
    ordinary = source.texts
    unusual, examples = (() if texts is None else Texts.of(texts).texts for texts in (novel, other))
    if domains is not None and len(domains) != len(unusual):
        raise BadTexts(f"{len(domains)} domains beside {len(unusual)} novel texts; give one a text")
    _require_traffic(len(ordinary), rate)
    rng = np.random.default_rng(check_seed(seed))
    loaded = load_up_to(model, layers, revision=revision, device=device, dtype=dtype)
    chosen = range(loaded.depth - 1, -1, -LAYER_STEP)[::-1] if layers is None else layers
    reader = TextReader(loaded, FeatureSpec.of(FEATURES, tuple(chosen), "max"))
    together = Texts((*ordinary, *unusual, *examples), {}, source.source)
    table = read_table(reader, together, progress=progress)
    sets = _Sets.split(table.ok, len(ordinary), len(unusual), rng)
    _require_traffic(len(sets.traffic), rate)
    if other is not None and len(sets.other_fitted) < ROWS_PER_CLASS:
        readable = len(sets.other_fitted) + len(sets.other)
        raise BadTexts(
            f"{readable} texts of the other class can be read, and the contrastive form needs "
            f"{2 * ROWS_PER_CLASS}; give more"
        )
    fitted, head, scores = _fit(table, sets, seed)
    edges = length_edges(table.tokens[sets.fitted], len(sets.compared), rate)
    kinds = None if domains is None else np.array([str(domain) for domain in domains], dtype=object)
    artifact = NoveltyArtifact(
        model={
            "name": loaded.name,
            "revision": loaded.revision,
            "fingerprint": loaded.fingerprint.to_dict(),
        },
        spec=reader.spec.to_dict(),
        columns=tuple((column.name, column.size) for column in reader.columns),
        rate=rate,
        traffic={
            "source": source.source,
            "data_hash": source.data_hash,
            "texts": len(ordinary),
            "fitted": len(sets.fitted),
            "compared": len(sets.held_out),
            "length_bins": edges.tolist(),
            "lengths": [int(length) for length in np.sort(table.tokens[sets.traffic])[[0, -1]]],
        },
        report={
            "rate": rate,
            "seed": seed,
            "undetermined": int((~table.ok).sum()),
            "alarms": _alarms(scores, length_bins(table.tokens, edges), sets, rate, kinds, len(ordinary)),
        },
        command=command,
        version=__version__,
        range=fitted,
        edges=edges,
        tokens=table.tokens[sets.held_out],
        distances=scores["flagged"][sets.held_out],
        head=head,
        logits=np.zeros(0) if head is None else scores["contrast_flagged"][sets.held_out],
    )
    return NoveltyDetector(artifact, reader)


def _require_traffic(texts: int, rate: float) -> None:
    """Refuse a rate that a quarter of the traffic cannot keep.

    Raises:
        BadDetector: The rate is not in (0, 1).
        BadTexts: There are too few texts; the message says how many are needed.
    """
    needed = max(4 * texts_needed(check_rate(rate, sys.maxsize)), 2 * MIN_TEXTS)
    if texts < needed:
        raise BadTexts(
            f"a false-alarm rate of {rate:g} needs {needed:,} ordinary texts that can be read, and there are "
            f"{texts:,}: half to fit the range, a quarter to compare with, a quarter to measure the rate"
        )


@dataclass(frozen=True, eq=False)
class _Sets:
    """Rows of the table of all texts, those that were read, by what they are for.

    Attributes:
        fitted: Half of the traffic: the range is fitted on it.
        compared: A quarter of the traffic, which flags the texts of ``checked`` for the report.
        checked: The other quarter.
        novel: Harmless texts of other kinds.
        other_fitted: Half of the other class: the contrast is fitted on it.
        other: The other half.
    """

    fitted: np.ndarray
    compared: np.ndarray
    checked: np.ndarray
    novel: np.ndarray
    other_fitted: np.ndarray
    other: np.ndarray

    @classmethod
    def split(cls, ok: np.ndarray, traffic: int, novel: int, rng: np.random.Generator) -> "_Sets":
        rows = np.flatnonzero(ok)
        ordinary = rng.permutation(rows[rows < traffic])
        examples = rng.permutation(rows[rows >= traffic + novel])
        half, quarter, middle = len(ordinary) // 2, len(ordinary) * 3 // 4, len(examples) // 2
        return cls(
            fitted=ordinary[:half],
            compared=ordinary[half:quarter],
            checked=ordinary[quarter:],
            novel=rows[(rows >= traffic) & (rows < traffic + novel)],
            other_fitted=examples[:middle],
            other=examples[middle:],
        )

    @property
    def held_out(self) -> np.ndarray:
        """The traffic that the range was not fitted on."""
        return np.concatenate([self.compared, self.checked])

    @property
    def traffic(self) -> np.ndarray:
        """All of the traffic."""
        return np.concatenate([self.fitted, self.held_out])


def _fit(
    table: FeatureTable, sets: _Sets, seed: int
) -> tuple[OrdinaryRange, LinearHead | None, dict[str, np.ndarray]]:
    """The range; the head of the contrast, if there is another class; and the scores of all texts by form."""
    sizes = [column.size for column in table.columns]
    fitted = OrdinaryRange.fit(table.values[sets.fitted], sizes, table.tokens[sets.fitted])
    deviations = fitted.deviations(table.values, table.tokens)
    scores = {"flagged": fitted.distances(deviations)}
    if not len(sets.other_fitted):
        return fitted, None, scores
    labels = np.repeat([0, 1], [len(sets.fitted), len(sets.other_fitted)])
    head = fit(deviations[np.concatenate([sets.fitted, sets.other_fitted])], labels, seed=seed).head
    return fitted, head, scores | {"contrast_flagged": head.logit(deviations)[:, 0]}


def _alarms(
    scores: dict[str, np.ndarray],
    bins: np.ndarray,
    sets: _Sets,
    rate: float,
    kinds: np.ndarray | None,
    first: int,
) -> list[dict[str, Any]]:  # Any: plain JSON values
    """How many texts of each set each form flags, and the 95 % interval of their share."""
    named = [("held-out traffic", sets.checked, sets.compared)]
    if kinds is None:
        named.append(("novel", sets.novel, sets.held_out))
    else:
        of_rows = kinds[sets.novel - first]
        named += [
            (f"novel: {kind}", sets.novel[of_rows == kind], sets.held_out) for kind in sorted({*of_rows})
        ]
    named.append(("other", sets.other, sets.held_out))
    alarms = []
    for name, rows, ordinary in named:
        if not len(rows):
            continue
        measured: dict[str, Any] = {"name": name, "texts": len(rows)}  # Any: as above
        for form, values in scores.items():
            p_values = conformal_p_values(values[ordinary], values[rows], bins[ordinary], bins[rows])
            flagged = int((p_values <= rate).sum())
            measured[form] = [flagged, *proportion_interval(flagged, len(rows))]
        alarms.append(measured)
    return alarms
