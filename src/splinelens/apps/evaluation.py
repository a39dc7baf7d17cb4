"""A detector and labelled texts in, everything a report shows out: one pass over the texts, then the probes.

HateCheck: Röttger et al., arXiv:2012.15606. XSTest: Röttger et al., arXiv:2308.01263.
"""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from splinelens.detect.artifact import Artifact
from splinelens.detect.bootstrap import MIN_ROWS
from splinelens.detect.curves import operating_points, reliability, sweep
from splinelens.detect.embedding_2d import project
from splinelens.detect.heat import alone, block_auc
from splinelens.detect.metrics import Evaluations
from splinelens.detect.subgroup_auc import SubgroupAuc, subgroup_aucs
from splinelens.detect.verdicts import label_place, measured, require_known
from splinelens.errors import BadLabels, BadTexts
from splinelens.features.extract import provenance
from splinelens.features.reader import Progress, TextFeatures, TextReader
from splinelens.report.evaluation import (
    EvaluationReport,
    Evasion,
    FeatureMap,
    LayerAuc,
    Mistake,
    Share,
    shares,
)
from splinelens.report.scores import TextScore
from splinelens.report.spans import words
from splinelens.texts import Texts, read_texts

Disguise = Callable[[str, random.Random], str]

MAP_ROWS, WORST_ROWS, DISGUISED_ROWS = 1000, 20, 150
"""Rows that are laid flat, worst errors of each kind, and rows of each class that are disguised."""

_SHOWN_CHARACTERS = 2000


class Scorer(Protocol):
    """What is asked of a detector; ``apps.detector.Detector`` is one."""

    @property
    def artifact(self) -> Artifact:
        """Head, calibration and thresholds."""
        ...

    @property
    def reader(self) -> TextReader:
        """What reads texts for the head."""
        ...

    def alone(self, label: str) -> "Scorer":
        """One label of it against the rest."""
        ...

    @property
    def inseparable(self) -> str | None:
        """Why a logit does not split into words, or None."""
        ...

    def threshold(self, fpr: float = 0.05) -> float:
        """The stored threshold for a false-positive rate."""
        ...

    def scores(self, texts: Texts | Sequence[str | None], *, explain: bool = False) -> Iterator[TextScore]:
        """One record a text, in order."""
        ...


def read_hatecheck(file: str) -> Texts:
    """The cases of HateCheck with the columns that are used.

    Raises:
        MissingColumn: No ``functionality``, ``test_case``, ``label_gold`` or ``target_ident``.
        BadTexts: The file cannot be read.
    """
    return read_texts(file, "test_case", keep=["functionality", "label_gold", "target_ident"])


def read_xstest(file: str) -> Texts:
    """The prompts of XSTest with the columns that are used.

    Raises:
        MissingColumn: No ``prompt``, ``type`` or ``label``.
        BadTexts: The file cannot be read.
    """
    return read_texts(file, "prompt", keep=["type", "label"])


def evaluation_report(
    detector: Scorer,
    texts: Texts,
    labels: np.ndarray,
    *,
    label: str | None = None,
    hatecheck: Texts | None = None,
    xstest: Texts | None = None,
    groups: Mapping[str, np.ndarray] | None = None,
    bias_source: str = "groups",
    disguises: Mapping[str, Disguise] | None = None,
    explain: bool = False,
    prevalence: float = 0.05,
    fpr: float = 0.05,
    resamples: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Measure everything that a report shows.

    Args:
        detector: A loaded detector.
        texts: The texts.
        labels: (text,), 0 or 1; of a detector of several labels (text, label).
        label: The label that is drawn, of a detector of several; all are measured in the same pass.
        hatecheck: As ``read_hatecheck`` gives it.
        xstest: As ``read_xstest`` gives it.
        groups: For each group whether a text belongs to it, one boolean a text.
        bias_source: Where the groups come from, in words.
        disguises: Ways to disguise a text, by name; None measures no evasion.
        explain: Say what each word of the worst errors adds.
        prevalence: Share of positive texts that thresholds are told for.
        fpr: The stored false-positive rate whose threshold decides what is flagged.
        resamples: Bootstrap resamples of the AUC's interval; other intervals take a tenth.
        seed: Of the bootstrap, the rows that are drawn and t-SNE.
        progress: Called as the labelled texts are finished.

    Returns:
        The record.

    Raises:
        BadLabels: Not one 0 or 1 a text and label, or one class only among the texts that were scored.
        BadDetector: No threshold was stored for ``fpr``, or ``label`` is none of the detector's.
    """
    whole, table = detector.artifact, require_known(detector.artifact, np.asarray(labels), len(texts))
    place = 0 if label is None and whole.task == "binary" else label_place(whole, label or "")
    detector = detector.alone(whole.labels[place])
    limit, known, artifact = detector.threshold(fpr), table[:, place], detector.artifact
    read = _Read.of(detector, whole, place, texts, seed, progress)
    all_numbers = measured(whole, table, read.table, read.tokens, resamples=resamples, seed=seed)
    numbers = all_numbers.labels[artifact.labels[0]] if isinstance(all_numbers, Evaluations) else all_numbers
    if numbers is None:
        raise BadLabels(
            f"label {label!r} is the same in all scored rows; 0 and 1 are both needed for its report"
        )
    stored = {f"{point.target:g}": point.score for point in artifact.thresholds[0]}
    scored = np.isfinite(read.scores)
    y, s, few = known[scored].astype(int), read.scores[scored], resamples // 10
    named = {f"{100 * float(name):g} % promised": score for name, score in stored.items()}
    judge = _Judge(detector, limit)
    rising, falling = (np.argsort(way * read.scores, kind="stable") for way in (1, -1))
    alarms = falling[(known[falling] == 0) & (read.scores[falling] >= limit)]
    missed = rising[(known[rising] == 1) & (read.scores[rising] < limit)]
    return EvaluationReport(
        detector=artifact.name,
        label=artifact.labels[0],
        negative=artifact.negative,
        model=detector.reader.loaded.name,
        source=texts.source,
        metrics=numbers.to_dict(),
        all_labels=all_numbers.to_dict() if isinstance(all_numbers, Evaluations) else None,
        sweep=sweep(y, s, keep=list(stored.values())),
        reliability=reliability(y, s),
        prevalence=prevalence,
        thresholds=operating_points(y, s, named, prevalence),
        threshold=limit,
        layer_auc=read.heat(known, detector),
        feature_map=read.map(texts, known, seed),
        hatecheck=None if hatecheck is None else judge.hatecheck(hatecheck),
        hatecheck_bias=() if hatecheck is None else judge.targets(hatecheck, few, seed),
        xstest=None if xstest is None else judge.xstest(xstest),
        bias=subgroup_aucs(known, read.scores, groups or {}, resamples=few, seed=seed),
        bias_source=bias_source,
        evasion=None if disguises is None else judge.evasion(texts, known, read.scores, disguises, seed),
        false_positives=judge.worst(texts, alarms, read.scores, explain),
        false_negatives=judge.worst(texts, missed, read.scores, explain),
        notes=(
            *_notes(detector, len(y), explain, HateCheck=hatecheck, XSTest=xstest, groups=groups),
            *judge.notes,
        ),
        provenance={
            **provenance(detector.reader, texts),
            "detector": artifact.origin,
            **{name: _hashes(own) for name, own in (("hatecheck", hatecheck), ("xstest", xstest)) if own},
            "seed": seed,
            "resamples": resamples,
        },
    )


@dataclass(frozen=True, eq=False)
class _Read:
    """What one pass over the texts leaves: small for each, and whole rows of features for a few.

    Attributes:
        table: (text, label): the scores of all labels; NaN where a text could not be scored.
        scores: Those of the label that is drawn.
        tokens: Of each text.
        blocks: (text, column): what a column of the detector says alone.
        rows: The texts whose features were kept.
        values: Those features, one row each; NaN where a text could not be read.
    """

    table: np.ndarray
    scores: np.ndarray
    tokens: np.ndarray
    blocks: np.ndarray
    rows: np.ndarray
    values: np.ndarray

    @classmethod
    def of(
        cls,
        detector: Scorer,
        whole: Artifact,
        place: int,
        texts: Texts,
        seed: int,
        progress: Progress | None,
    ) -> "_Read":
        """Read the texts for a detector, and score them for all labels of that which it is one label of."""
        reader, n = detector.reader, len(texts)
        sizes = [column.size for column in reader.columns]
        rows = np.sort(np.random.default_rng(seed).permutation(n)[:MAP_ROWS])
        kept = {int(row): at for at, row in enumerate(rows)}
        table, tokens = np.full((n, len(whole.labels)), np.nan), np.zeros(n, dtype=int)
        blocks = np.full((n, len(sizes)), np.nan)
        values = np.full((len(rows), sum(sizes)), np.nan, dtype=np.float32)

        def keep(features: TextFeatures) -> None:
            row, tokens[features.index] = features.index, features.tokens
            if features.reason is None:
                table[row] = whole.scores(whole.head.logit(features.values[None]))[0]
                blocks[row] = alone(detector.artifact.head, features.values, sizes)
                if row in kept:
                    values[kept[row]] = features.values

        for _ in reader.map(keep, texts.texts, progress=progress):
            pass
        return cls(table, table[:, place], tokens, blocks, rows, values)

    def heat(self, labels: np.ndarray, detector: Scorer) -> LayerAuc | None:
        """The AUC of each column alone, laid out by statistic and layer."""
        columns = detector.reader.columns
        layers = sorted({column.layer for column in columns if column.layer is not None})
        names = list(dict.fromkeys(column.statistic.name for column in columns if column.layer is not None))
        found: dict[tuple[str, int | None], float | None] = {}
        for number, column in enumerate(columns):
            found[column.statistic.name, column.layer] = block_auc(labels, self.blocks[:, number])
        cells = [tuple(found.get((name, layer)) for layer in layers) for name in names]
        if not any(cell is not None for row in cells for cell in row):
            return None
        what = "AUC of what each layer adds to the logit, of a single number its own AUC"
        return LayerAuc(tuple(names), tuple(layers), tuple(cells), what)

    def map(self, texts: Texts, labels: np.ndarray, seed: int) -> FeatureMap | None:
        """The kept rows laid flat, standardized by their own means and deviations."""
        whole = np.isfinite(self.values).all(axis=1) if self.values.size else np.zeros(0, dtype=bool)
        rows, values = self.rows[whole], self.values[whole]
        if len(rows) < 3 or values.shape[1] < 2:
            return None
        flat = project(values, seed)
        return FeatureMap(
            tuple(np.array(texts.numbers)[rows].tolist()),
            tuple(labels[rows].astype(int).tolist()),
            tuple(self.scores[rows].tolist()),
            flat.pca,
            flat.explained,
            flat.tsne,
        )


class _Judge:
    """Puts further texts before the detector, and remembers what could not be read."""

    def __init__(self, detector: Scorer, limit: float):
        self.detector, self.limit = detector, limit
        self.label, self.negative = detector.artifact.labels[0], detector.artifact.negative
        self.notes: list[str] = []
        self._scored: dict[int, np.ndarray] = {}

    def scores(self, texts: Texts | Sequence[str | None], what: str) -> np.ndarray:
        """Scores, NaN where there is none, each set of texts scored once."""
        if id(texts) not in self._scored:
            records = self.detector.scores(texts)
            found = np.array([np.nan if record.score is None else record.score for record in records])
            missing = int(np.isnan(found).sum())
            if missing:
                self.notes.append(f"{missing} of {len(found)} texts of {what} could not be scored")
            if not isinstance(texts, Texts):
                return found
            self._scored[id(texts)] = found
        return self._scored[id(texts)]

    def hatecheck(self, cases: Texts) -> tuple[Share, ...]:
        """The share of right verdicts of each functionality."""
        hateful = _binary(cases, "label_gold", "hateful", "non-hateful")
        scores, names = self.scores(cases, "HateCheck"), _names(cases, "functionality")
        right = (scores >= self.limit) == hateful
        return shares(names, right, hateful, np.isfinite(scores), (self.label, self.negative))

    def targets(self, cases: Texts, resamples: int, seed: int) -> tuple[SubgroupAuc, ...]:
        """The AUCs of each group that HateCheck aims at."""
        hateful = _binary(cases, "label_gold", "hateful", "non-hateful")
        scores = self.scores(cases, "HateCheck")
        names = _names(cases, "target_ident")
        groups = {
            name: np.array([each == name for each in names]) for name in sorted(set(names) - {"", "nan"})
        }
        return subgroup_aucs(hateful.astype(int), scores, groups, resamples=resamples, seed=seed)

    def xstest(self, prompts: Texts) -> tuple[Share, ...]:
        """The share of flagged prompts of each type; of safe ones these are false alarms."""
        unsafe = _binary(prompts, "label", "unsafe", "safe")
        scores, names = self.scores(prompts, "XSTest"), _names(prompts, "type")
        return shares(names, scores >= self.limit, unsafe, np.isfinite(scores), ("unsafe", "safe"))

    def evasion(
        self,
        texts: Texts,
        labels: np.ndarray,
        scores: np.ndarray,
        disguises: Mapping[str, Disguise],
        seed: int,
    ) -> tuple[Evasion, ...]:
        """The same rows plain and in each disguise."""
        dice, chosen = np.random.default_rng(seed), []
        for side in (1, 0):
            rows = np.flatnonzero((labels == side) & np.isfinite(scores))
            chosen.append(np.sort(dice.permutation(rows)[:DISGUISED_ROWS]))
        rows = np.concatenate(chosen)
        found = []
        for name, disguise in disguises.items():
            hide = random.Random(seed)
            hidden = self.scores([disguise(texts.texts[row] or "", hide) for row in rows], f"disguise {name}")
            both = np.isfinite(hidden)
            positive = labels[rows][both] == 1
            if positive.any() and not positive.all():
                before, after = (flags[both] >= self.limit for flags in (scores[rows], hidden))
                found.append(Evasion.of(name, positive, before, after))
        return tuple(found)

    def worst(self, texts: Texts, rows: np.ndarray, scores: np.ndarray, explain: bool) -> tuple[Mistake, ...]:
        """The first of rows that are given the worst first, with their words."""
        chosen = rows[:WORST_ROWS]
        wanted = [texts.texts[row] or "" for row in chosen]
        if not wanted:
            return ()
        explain = explain and self.detector.inseparable is None
        mistakes = []
        for row, text, record in zip(
            chosen.tolist(), wanted, self.detector.scores(wanted, explain=explain), strict=True
        ):
            found = words(text, record.spans) if explain and record.spans else ()
            shown = tuple(word for word in found if word.end <= _SHOWN_CHARACTERS)
            behind = sum(word.contribution for word in found[len(shown) :])
            rest = (record.constant or 0.0) + behind if found else None
            place, some = texts.numbers[row], text[:_SHOWN_CHARACTERS]
            mistakes.append(Mistake(place, float(scores[row]), some, len(text), shown, rest))
        return tuple(mistakes)


def _hashes(texts: Texts) -> dict[str, Any]:  # Any: plain JSON values
    """What tells one file of probes from another: its texts in order, and the columns that were read."""
    hashes = {"data_hash": texts.data_hash, "columns_hash": texts.columns_hash}
    return {"source": texts.source, "texts": len(texts), **hashes}


def _names(texts: Texts, column: str) -> list[str]:
    return ["" if cell is None else str(cell).strip() for cell in texts.columns[column]]


def _binary(texts: Texts, column: str, one: str, zero: str) -> np.ndarray:
    """Whether each row has one of two labels and not the other."""
    cells = [str(cell).strip().lower() for cell in texts.columns[column]]
    wrong = [row for row, cell in enumerate(cells) if cell not in (one, zero)]
    if wrong:
        raise BadTexts(
            f"{texts.source}: column {column!r} of row {wrong[0]} is neither {one!r} nor {zero!r} (so are "
            f"{len(wrong)} rows); give the file as it was published"
        )
    return np.array([cell == one for cell in cells])


def _notes(detector: Scorer, rows: int, explain: bool, **asked: object) -> list[str]:
    absent = ", ".join(name for name, own in asked.items() if not own)
    notes = [f"not asked, for want of data: {absent} (docs/reports.md says how)"] if absent else []
    if rows < MIN_ROWS:
        notes.append(f"{rows} scored rows are fewer than {MIN_ROWS}: no bootstrap interval is given")
    kind = detector.artifact.head.kind
    if kind != "linear":
        notes.append(f"the head is a {kind}: no logit splits into layers; their map has single numbers only")
    if explain and detector.inseparable:
        notes.append(f"no words beside the errors: {detector.inseparable}")
    return notes
