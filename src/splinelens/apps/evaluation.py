"""A detector and labeled texts in, an evaluation report out: one pass over the texts, then further probes.

HateCheck: Röttger et al., arXiv:2012.15606. XSTest: Röttger et al., arXiv:2308.01263.
"""

import random
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from splinelens.apps.detector import Detector
from splinelens.detect.artifact import Artifact
from splinelens.detect.bootstrap import MIN_GROUPS, MIN_ROWS
from splinelens.detect.curves import operating_points, reliability, sweep
from splinelens.detect.embedding_2d import embed_2d
from splinelens.detect.label_errors import contradictions, suspected_labels
from splinelens.detect.metrics import Evaluation, Evaluations
from splinelens.detect.seen_texts import count_seen
from splinelens.detect.shipped import find_artifact
from splinelens.detect.span_metrics import ScoredWords, SpanEvaluation
from splinelens.detect.span_metrics import evaluate_spans as measure_spans
from splinelens.detect.subgroup_auc import SubgroupAuc, subgroup_aucs
from splinelens.errors import BadFeatures, BadLabels, BadTexts
from splinelens.features.extract import provenance
from splinelens.features.reader import Progress, TextFeatures, TextReader
from splinelens.features.validation import check_batch_tokens
from splinelens.files import check_output, write_text
from splinelens.models import LoadedModel
from splinelens.models.load import require_unset
from splinelens.report.evaluation import (
    EvaluationReport,
    Evasion,
    FeatureMap,
    LayerAuc,
    Mistake,
    Share,
    identity_mentions,
    shares,
)
from splinelens.report.evaluation_page import evaluation_html
from splinelens.report.scores import TextScore
from splinelens.report.spans import LEAST, core, words
from splinelens.report.training import suspects_csv
from splinelens.texts import Texts, read_texts, text_hashes
from splinelens.texts.groups import column_groups, mentions, read_terms
from splinelens.texts.row_groups import RowGroups, row_groups
from splinelens.tokens import Long

Disguise = Callable[[str, random.Random], str]

TOO_GOOD = (
    "so its metrics would be too good; leave them out, or give --allow-training-rows (Python: "
    "allow_training_rows=True)"
)
"""Why texts that a detector was fitted on are refused; see ``detect.seen_texts``."""

_MAP_ROWS = 1000
_WORST_ROWS = 20  # errors of each kind
_DISGUISED_ROWS = 150  # of each class
_SHOWN_CHARACTERS = 2000
_PREVALENCE = 0.05  # that operating points assume where none is given


def evaluate(
    detector: Detector | str | PathLike[str],
    texts: Texts | Iterable[str | None],
    labels: Any,  # Any: see labels_of
    *,
    positive: str | None = None,
    groups: Any = None,  # Any: see row_groups
    allow_training_rows: bool = False,
    prevalence: float | None = None,
    resamples: int = 10_000,
    model: LoadedModel | str | PathLike[str] | None = None,
    max_tokens: int | None = None,
    max_text_tokens: int | None = None,
    long: Long = "windows",
    device: str | None = None,
    dtype: str | None = None,
    batch_tokens: int | None = None,
    suspects: str | PathLike[str] | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> Evaluation | Evaluations:
    """Measure how well a detector separates labeled texts; labels are checked before a model is loaded.

    Args:
        detector: A detector, or the shipped name or folder of one.
        texts: The texts.
        labels: One label a text: 0 and 1, or words of which the detector's is 1; of a detector of classes
            words; of several labels a table of 0 and 1, columns named or ordered as the detector's labels.
        positive: The label that counts as 1, every other one as 0; only for a detector of one label.
        groups: One value a text, such as its author, or the name of a column kept beside the texts: adds the
            AUC within groups, and intervals come from resampling groups. A row whose value is missing is a
            group of its own, with a warning.
        allow_training_rows: Go on where the detector was fitted on some of the texts: then the numbers are
            too good.
        prevalence: Share of texts with the label to measure the scores at; as in ``Detector.evaluate``.
        resamples: Bootstrap resamples of the intervals.
        model: As in ``Detector.load``, as are the next six; only for a name or folder.
        max_tokens: Tokens of a window; None takes that of the detector.
        max_text_tokens: Texts of more tokens are not read and undetermined.
        long: ``"windows"`` reads long texts whole; ``"cut"`` drops what exceeds one window.
        device: Such as ``cpu`` or ``cuda:0``.
        dtype: Number type of the weights; None takes that of the detector.
        batch_tokens: Tokens of a batch, padding included; None takes 1,024 on a CPU, else 4,096.
        suspects: A CSV to write the rows to whose label looks wrong, with their texts.
        overwrite: Replace ``suspects`` if it exists.
        progress: Called with the texts and the characters read since the last call.

    Returns:
        ``Evaluation`` of one label (``auc``, ``recall_at_fpr``, ``length_auc`` ...), ``Evaluations`` of
        several (``mean_auc``, ``labels``). Texts without a score are counted as undetermined.

    Raises:
        BadLabels: Not one label a text, labels of another kind than the detector's, or one class only.
        BadTexts: The detector was fitted on some of the texts; ``groups`` are not one value a text, one group
            only, or only groups of one row.
        MissingColumn: ``groups`` names a column that was not kept.
        BadDetector: No such detector, it is damaged or was fitted with another model, or ``prevalence`` is
            not between 0 and 1 or given for several labels.
        BadFeatures: ``max_tokens``, ``max_text_tokens``, ``long`` or ``batch_tokens`` that cannot be.
        BadModel: The model cannot be loaded, or an option of loading is given for a loaded detector.
        OutputExists: ``suspects`` exists, without ``overwrite``, or is the input.
        CannotWrite: ``suspects`` cannot be written.

    Example:
        >>> import splinelens
        >>> result = splinelens.evaluate("toxicity-fast", texts, labels)  # doctest: +SKIP
        >>> result.auc, result.auc_interval  # doctest: +SKIP
        (0.96, (0.95, 0.97))
    """
    options: dict[str, Any] = {  # Any: arguments of different types
        "model": model,
        "max_tokens": max_tokens,
        "max_text_tokens": max_text_tokens,
        "long": None if long == "windows" else long,
        "device": device,
        "dtype": dtype,
        "batch_tokens": batch_tokens,
    }
    if isinstance(detector, Detector):
        require_unset("Detector.load: the detector", **options)
        artifact = detector.artifact
    else:
        artifact = find_artifact(detector)
        check_batch_tokens(batch_tokens)
    if prevalence is not None:
        artifact.at_prevalence(prevalence)
    source = Texts.of(texts)
    known = artifact.known_labels(labels, len(source), positive)
    members = None if groups is None else row_groups(groups, source)
    if suspects is not None:
        check_output(Path(suspects), overwrite=overwrite, source=source.source)
    if not allow_training_rows:
        count_seen(artifact, source, refusal=TOO_GOOD)
    if not isinstance(detector, Detector):
        detector = Detector.load(detector, **options | {"long": long})
    if suspects is None:
        return detector.evaluate(
            source, known, prevalence=prevalence, groups=members, resamples=resamples, progress=progress
        )
    artifact = detector.at_prevalence(prevalence).artifact
    scores, tokens, cut = detector.label_scores(source, prevalence=prevalence, progress=progress)
    known = artifact.require_labels(known, len(source))
    write_suspects(Path(suspects), artifact, source, known, scores, overwrite=overwrite)
    numbers = None if members is None else members.numbers
    return artifact.evaluate(
        known, scores, tokens, cut=cut, prevalence=prevalence, groups=numbers, resamples=resamples
    )


def evaluate_spans(
    detector: Detector,
    texts: Texts,
    gold: Sequence[Set[int]],
    *,
    limit: float | None = None,
    resamples: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> SpanEvaluation:
    """Compare the words that explanations mark with the characters that people marked.

    Args:
        detector: A binary detector, such as ``Detector.single_label`` gives.
        texts: The texts.
        gold: The offsets of the marked characters of each text, as from ``read_offsets``.
        limit: Contribution to the logit at and above which a word is marked; None takes the detector's
            ``word_limit``, or else 0.25, from which on words are highlighted.
        resamples: Bootstrap resamples of the intervals.
        seed: Of the bootstrap.
        progress: Called with the texts and the characters read since the last call.

    Raises:
        NotExplainable: The detector's logit does not split into tokens.
        BadFeatures: ``limit`` is no finite number.
        BadLabels: No text has an explanation.
    """
    chosen = word_limit(detector.artifact) if limit is None else limit
    if not np.isfinite(chosen):
        raise BadFeatures(
            f"limit {limit!r} is no finite number; give a contribution to the logit, such as 0.5"
        )
    scored = scored_words(detector, texts, gold, progress=progress)
    return measure_spans(scored, chosen, resamples=resamples, seed=seed)


def word_limit(artifact: Artifact) -> float:
    """Contribution at and above which an explanation marks a word, where none is given."""
    return LEAST if artifact.word_limit is None else artifact.word_limit


def scored_words(
    detector: Detector, texts: Texts, gold: Sequence[Set[int]], *, progress: Progress | None = None
) -> list[ScoredWords | None]:
    """The words of each text with their contributions, without the punctuation around them.

    None is a text that could not be explained. Errors are those of ``evaluate_spans``.
    """
    scored: list[ScoredWords | None] = []
    records = detector.scores(texts, explain=True, progress=progress)
    for record, text, marked in zip(records, texts.texts, gold, strict=True):
        if record.words is None or text is None:
            scored.append(None)
            continue
        bounds = np.array([core(text, word) for word in record.words], dtype=int).reshape(-1, 2)
        amounts = np.array([word.contribution for word in record.words], dtype=float)
        scored.append(ScoredWords(bounds, amounts, marked))
    return scored


def write_suspects(
    path: Path,
    artifact: Artifact,
    texts: Texts,
    labels: np.ndarray,
    scores: np.ndarray,
    *,
    overwrite: bool = False,
) -> None:
    """Write the rows whose label looks wrong, and equal texts with different labels, with their texts.

    Args:
        path: The CSV.
        artifact: The detector; it must not be fitted on the texts.
        texts: The texts.
        labels: (text, label), 0 or 1.
        scores: (text, label); rows with NaN are not judged.
        overwrite: Replace the file.

    Raises:
        OutputExists: The file exists, without ``overwrite``, or is the input.
        CannotWrite: The disk is full or the file may not be written.
    """
    check_output(path, overwrite=overwrite, source=texts.source)
    found = suspected_labels(labels, scores, exclusive=artifact.task == "classes")
    hashes = zip(text_hashes(texts.texts).tolist(), texts.texts, strict=True)
    groups = contradictions([key if text else None for key, text in hashes], labels)
    numbers = np.array(texts.numbers)
    content = suspects_csv(
        artifact,
        [replace(suspect, row=int(numbers[suspect.row])) for suspect in found],
        [replace(group, rows=tuple(numbers[list(group.rows)].tolist())) for group in groups],
        dict(zip(texts.numbers, texts.texts, strict=True)),
    )
    write_text(path, content, errors="backslashreplace", overwrite=overwrite)


def run_record(
    detector: Detector,
    texts: Texts,
    *,
    training_rows: int | None,
    seconds: float,
    prevalence: float | None = None,
    groups: RowGroups | None = None,
) -> dict[str, Any]:  # Any: JSON values
    """What was measured on what, to stand beside the numbers: JSON values.

    Args:
        detector: The detector.
        texts: The texts.
        training_rows: How many of them it was fitted on, as from ``count_seen``.
        seconds: How long it took.
        prevalence: That of the scores, if one was given.
        groups: The groups that were resampled whole, if any.
    """
    return {
        "detector": detector.artifact.name,
        "source": texts.source,
        "rows": len(texts),
        "training_rows": training_rows,
        "seconds": seconds,
        "device": str(detector.reader.loaded.device),
        "provenance": {
            "detector": detector.artifact.digest,
            **({} if prevalence is None else {"prevalence": prevalence}),
            **provenance(detector.reader, texts),
            **({"groups": groups.record()} if groups else {}),
        },
    }


def read_hatecheck(file: str) -> Texts:
    """The cases of HateCheck; a file without one of these columns is refused."""
    return read_texts(file, "test_case", keep=["functionality", "label_gold", "target_ident"])


def read_xstest(file: str) -> Texts:
    """The prompts of XSTest; a file without one of these columns is refused."""
    return read_texts(file, "prompt", keep=["type", "label"])


def read_groups(
    texts: Texts, columns: Sequence[str] = (), terms: Path | None = None
) -> tuple[dict[str, np.ndarray], str]:
    """Whether each text belongs to each group, and in words where the groups come from.

    They come from columns beside the texts, and from terms in them: those of a file, or some English ones if
    there are no columns either.

    Raises:
        BadTexts: The file cannot be read, or a column names no group.
    """
    groups: dict[str, np.ndarray] = {}
    for column in columns:
        groups |= column_groups(column, texts.columns[column])
    sources = [f"column {column}" for column in columns]
    if terms or not columns:
        groups |= mentions(texts.texts, read_terms(terms))
        sources.append(
            f"texts that hold a term of {terms}" if terms else "texts that name a group in English"
        )
    return groups, ", ".join(sources)


def evaluation_report(
    detector: Detector,
    texts: Texts,
    labels: np.ndarray,
    *,
    label: str | None = None,
    hatecheck: Texts | None = None,
    xstest: Texts | None = None,
    groups: Mapping[str, np.ndarray] | None = None,
    row_groups: RowGroups | None = None,
    bias_source: str = "groups",
    disguises: Mapping[str, Disguise] | None = None,
    explain: bool = False,
    prevalence: float | None = None,
    fpr: float = 0.05,
    suspects: Path | None = None,
    overwrite: bool = False,
    resamples: int = 10_000,
    seed: int = 0,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Measure everything that a report shows; probes that are None are not measured.

    Labels are (text,), of a detector of several labels (text, label): all are measured in one pass, and the
    report shows ``label``. HateCheck, XSTest, groups and their source are as from the functions that read
    them; ``disguises`` are ways to disguise a text, by name. With ``explain`` the words of the worst errors
    have their contributions.

    With a ``prevalence`` of positive texts scores and thresholds are those for it, and Brier score,
    calibration and operating points assume it; without one the scores are as they are, and the operating
    points assume 0.05. The stored threshold for ``fpr`` decides what is flagged. With ``row_groups``
    intervals on the rows come from resampling these whole. Groups take a tenth of the bootstrap resamples.
    The seed is that of the bootstrap, the sampled rows, the disguises and t-SNE. ``suspects`` is a CSV for
    the rows whose label looks wrong.

    Raises:
        BadLabels: Not one 0 or 1 per text and label, or one class only among the scored texts.
        BadDetector: No threshold was stored for ``fpr``, ``label`` is none of the detector's, or
            ``prevalence`` is not between 0 and 1.
    """
    whole = detector.artifact
    known = whole.require_labels(labels, len(texts))
    index = 0 if label is None and whole.task == "binary" else whole.label_index(label or "")
    detector = detector.single_label(whole.labels[index]).at_prevalence(prevalence)
    artifact = detector.artifact
    threshold = artifact.thresholds_at(fpr)[0]
    map_rows = np.sort(np.random.default_rng(seed).permutation(len(texts))[:_MAP_ROWS])
    all_logits, tokens, cut, blocks, map_values = _read(detector, whole, texts, map_rows, progress)
    truth, scores = known[:, index], artifact.scores(all_logits[:, [index]], tokens)[:, 0]
    members = None if row_groups is None else row_groups.numbers
    measured: dict[str, Any] = {  # Any: of several types
        "cut": cut,
        "groups": members,
        "resamples": resamples,
        "seed": seed,
    }
    all_scores = scores[:, None] if whole.task == "binary" else whole.scores(all_logits, tokens)
    every = None if whole.task == "binary" else whole.evaluate(known, all_scores, tokens, **measured)
    several = every if isinstance(every, Evaluations) else None
    evaluation: Evaluation | Evaluations | None = several.labels[artifact.labels[0]] if several else None
    if several is None or (evaluation and prevalence is not None):
        column = truth[:, None], scores[:, None]
        evaluation = artifact.evaluate(*column, tokens, prevalence=prevalence, **measured)
    if evaluation is None or isinstance(evaluation, Evaluations):
        raise BadLabels(
            f"label {label!r} is the same in all scored rows; 0 and 1 are both needed for its report"
        )
    if suspects is not None:
        write_suspects(suspects, whole, texts, known, all_scores, overwrite=overwrite)
    scored = np.isfinite(scores)
    y, s = truth[scored].astype(int), scores[scored]
    expected = _PREVALENCE if prevalence is None else prevalence
    within = None if members is None else members[scored]
    stored = {f"target {100 * point.target:g} %": point.score for point in artifact.thresholds[0]}
    probe = _Probe(detector, threshold, resamples // 10, seed)
    functions, targets = (None, ()) if hatecheck is None else probe.hatecheck(hatecheck)
    flagged = [] if functions is None else identity_mentions(functions, fpr)
    return EvaluationReport(
        detector=artifact.name,
        label=artifact.labels[0],
        negative=artifact.negative,
        model=detector.reader.loaded.name,
        source=texts.source,
        training_rows=int(whole.seen_in(texts.texts).sum()) if len(whole.seen) else None,
        metrics=evaluation.to_dict() | ({"flagged": flagged} if flagged else {}),
        all_labels=several.to_dict() if several else None,
        sweep=sweep(y, s, keep=list(stored.values())),
        reliability=reliability(y, s, prevalence=prevalence, groups=within),
        prevalence=expected,
        score_share=artifact.shares[0],
        thresholds=operating_points(y, s, stored, expected, within),
        threshold=threshold,
        layer_auc=_layer_auc(truth, blocks, detector.reader),
        feature_map=_feature_map(texts, truth, scores, map_rows, map_values, seed),
        hatecheck=functions,
        hatecheck_bias=targets,
        xstest=None if xstest is None else probe.xstest(xstest),
        bias=subgroup_aucs(
            truth, scores, groups or {}, row_groups=members, resamples=resamples // 10, seed=seed
        ),
        bias_source=bias_source,
        evasion=None if disguises is None else probe.evasion(texts, truth, scores, disguises, members),
        false_positives=probe.worst(texts, truth, scores, 0, explain),
        false_negatives=probe.worst(texts, truth, scores, 1, explain),
        notes=(
            *([_groups_note(row_groups)] if row_groups else []),
            *_notes(detector, evaluation, explain, HateCheck=hatecheck, XSTest=xstest, groups=groups),
            *probe.notes,
        ),
        provenance={
            **provenance(detector.reader, texts),
            "detector": artifact.origin,
            **{name: _hashes(file) for name, file in (("hatecheck", hatecheck), ("xstest", xstest)) if file},
            **({"groups": row_groups.record()} if row_groups else {}),
            "seed": seed,
            "resamples": resamples,
        },
    )


def report_files(html: Path) -> tuple[Path, Path, Path]:
    """The files of a report: the page, and the record as JSON and Markdown beside it."""
    return html, html.with_suffix(".json"), html.with_suffix(".md")


def write_report(report: EvaluationReport, html: Path, *, overwrite: bool = False) -> tuple[Path, ...]:
    """Write the page, and the record as JSON and Markdown beside it; returns the three files.

    Raises:
        OutputExists: One of them exists, without ``overwrite``.
        CannotWrite: The disk is full or a file may not be written.
    """
    paths = report_files(html)
    for path in paths:
        check_output(path, overwrite=overwrite)
    contents = evaluation_html(report), report.to_json(), report.to_markdown()
    for path, text in zip(paths, contents, strict=True):
        write_text(path, text, errors="backslashreplace", overwrite=overwrite)
    return paths


def _read(
    detector: Detector, whole: Artifact, texts: Texts, map_rows: np.ndarray, progress: Progress | None
) -> tuple[np.ndarray, ...]:
    """Read the texts once and keep only what a report needs; NaN where a text could not be read.

    Returns:
        (text, label) logits of the head for all labels of the whole detector; (text,) tokens, and whether
        the text was cut; (text, column) what each column says by itself, see ``LinearHead.block_scores``;
        and the features of the rows of the map.
    """
    head, reader, n = detector.artifact.head, detector.reader, len(texts)
    sizes = [column.size for column in reader.columns]
    position = {row: at for at, row in enumerate(map_rows.tolist())}
    logits = np.full((n, len(whole.labels)), np.nan)
    tokens, cut = np.zeros(n, dtype=int), np.zeros(n, dtype=bool)
    blocks = np.full((n, len(sizes)), np.nan)
    map_values = np.full((len(map_rows), sum(sizes)), np.nan, dtype=np.float32)

    def keep(features: TextFeatures) -> None:
        row, values = features.index, features.values
        tokens[row] = features.tokens
        cut[row] = features.cut
        if features.reason is None:
            logits[row] = whole.head.logit(values[None])[0]
        if np.isfinite(whole.scores(logits[[row]], tokens[[row]])).all():
            blocks[row] = head.block_scores(values, sizes)
            if row in position:
                map_values[position[row]] = values

    for _ in reader.map(keep, texts.texts, progress=progress):
        pass
    return logits, tokens, cut, blocks, map_values


def _layer_auc(labels: np.ndarray, blocks: np.ndarray, reader: TextReader) -> LayerAuc | None:
    """The AUC of each column by itself, by statistic and layer."""
    cells = {
        (column.statistic.name, column.layer): _auc(labels, numbers)
        for column, numbers in zip(reader.columns, blocks.T, strict=True)
        if column.layer is not None
    }
    if all(auc is None for auc in cells.values()):
        return None
    names = tuple(dict.fromkeys(name for name, _ in cells))
    layers = tuple(sorted({layer for _, layer in cells}))
    table = tuple(tuple(cells.get((name, layer)) for layer in layers) for name in names)
    what = "AUC of what each layer adds to the logit, of a single number its own AUC"
    return LayerAuc(names, layers, table, what)


def _feature_map(
    texts: Texts, labels: np.ndarray, scores: np.ndarray, rows: np.ndarray, values: np.ndarray, seed: int
) -> FeatureMap | None:
    """Some rows in two dimensions, from their features."""
    finite = np.isfinite(values).all(axis=1)
    rows, values = rows[finite], values[finite]
    if len(rows) < 3 or values.shape[1] < 2:
        return None
    return FeatureMap(
        tuple(np.array(texts.numbers)[rows].tolist()),
        tuple(labels[rows].astype(int).tolist()),
        tuple(scores[rows].tolist()),
        *embed_2d(values, seed),
    )


@dataclass(frozen=True)
class _Probe:
    """Scores further texts, and records what could not be scored."""

    detector: Detector
    threshold: float
    resamples: int
    seed: int
    notes: list[str] = field(default_factory=list)

    def hatecheck(self, cases: Texts) -> tuple[tuple[Share, ...], tuple[SubgroupAuc, ...]]:
        """Share of right verdicts of each functionality, and the AUCs of each targeted group."""
        hateful = _binary(cases, "label_gold", "hateful", "non-hateful")
        scores = self._scores(cases, "HateCheck")
        right = (scores >= self.threshold) == hateful
        verdicts = (self.detector.artifact.labels[0], self.detector.artifact.negative)
        by_function = shares(_names(cases, "functionality"), right, hateful, np.isfinite(scores), verdicts)
        targets = np.array(_names(cases, "target_ident"))
        groups = {name: targets == name for name in sorted({*targets.tolist()} - {"", "nan"})}
        bias = subgroup_aucs(hateful.astype(int), scores, groups, resamples=self.resamples, seed=self.seed)
        return by_function, bias

    def xstest(self, prompts: Texts) -> tuple[Share, ...]:
        """Share of flagged prompts of each type; of safe ones these are false positives."""
        unsafe, scores = _binary(prompts, "label", "unsafe", "safe"), self._scores(prompts, "XSTest")
        flagged = scores >= self.threshold
        return shares(_names(prompts, "type"), flagged, unsafe, np.isfinite(scores), ("unsafe", "safe"))

    def evasion(
        self,
        texts: Texts,
        labels: np.ndarray,
        scores: np.ndarray,
        disguises: Mapping[str, Disguise],
        groups: np.ndarray | None,
    ) -> tuple[Evasion, ...]:
        """The same rows plain and in each disguise."""
        rng, samples = np.random.default_rng(self.seed), []
        for side in (1, 0):
            rows = np.flatnonzero((labels == side) & np.isfinite(scores))
            samples.append(np.sort(rng.permutation(rows)[:_DISGUISED_ROWS]))
        rows = np.concatenate(samples)
        records = []
        for name, disguise in disguises.items():
            letters = random.Random(self.seed)
            disguised_texts = [disguise(texts.texts[int(row)] or "", letters) for row in rows]
            disguised = self._scores(disguised_texts, f"disguise {name}")
            both = np.isfinite(disguised)
            positive = labels[rows][both] == 1
            if positive.any() and not positive.all():
                plain_flags, flags = scores[rows][both] >= self.threshold, disguised[both] >= self.threshold
                members = None if groups is None else groups[rows][both]
                records.append(Evasion.of(name, positive, plain_flags, flags, self.seed, members))
        return tuple(records)

    def worst(
        self, texts: Texts, labels: np.ndarray, scores: np.ndarray, side: int, explain: bool
    ) -> tuple[Mistake, ...]:
        """Rows of one class on the wrong side of the threshold, the worst first."""
        order = np.argsort(scores if side else -scores, kind="stable")
        wrong = scores < self.threshold if side else scores >= self.threshold
        rows = order[(labels[order] == side) & wrong[order]][:_WORST_ROWS].tolist()
        chosen = [texts.texts[row] or "" for row in rows]
        records: Iterable[TextScore | None] = [None] * len(rows)
        if rows and explain and self.detector.artifact.inseparable is None:
            records = self.detector.scores(chosen, explain=True)
        return tuple(
            _mistake(texts.numbers[row], float(scores[row]), text, record)
            for row, text, record in zip(rows, chosen, records, strict=True)
        )

    def _scores(self, texts: Texts | Sequence[str | None], what: str) -> np.ndarray:
        """Scores, NaN where there is none."""
        records = self.detector.scores(texts)
        scores = np.array([np.nan if record.score is None else record.score for record in records])
        if missing := int(np.isnan(scores).sum()):
            self.notes.append(f"{missing} of {len(scores)} texts of {what} could not be scored")
        return scores


def _mistake(row: int, score: float, text: str, record: TextScore | None) -> Mistake:
    explained = words(text, record.spans) if record and record.spans else ()
    shown = tuple(word for word in explained if word.end <= _SHOWN_CHARACTERS)
    hidden = sum(word.contribution for word in explained[len(shown) :])
    constant = (record.constant or 0.0) if record and explained else None
    rest = None if constant is None else constant + hidden
    return Mistake(row, score, text[:_SHOWN_CHARACTERS], len(text), shown, rest, constant)


def _auc(labels: np.ndarray, numbers: np.ndarray) -> float | None:
    """AUC of the rows with a number, below 0.5 if smaller leans to 1; None if a class is missing."""
    from sklearn.metrics import roc_auc_score

    present = np.isfinite(numbers)
    if len(np.unique(labels[present])) < 2:
        return None
    return float(roc_auc_score(labels[present], numbers[present]))


def _hashes(texts: Texts) -> dict[str, Any]:  # Any: plain JSON values
    """Identifies a file of probes: its texts in order, and the columns that were used."""
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


def _groups_note(groups: RowGroups) -> str:
    record = groups.record()
    return f"intervals on these rows are from resampling whole groups: {record['groups']:,} by {groups.name}"


def _notes(detector: Detector, evaluation: Evaluation, explain: bool, **data: object) -> list[str]:
    missing = ", ".join(name for name, given in data.items() if not given)
    notes = [f"not measured, no data given: {missing} (docs/reports.md says how)"] if missing else []
    if evaluation.n < MIN_ROWS:
        notes.append(f"{evaluation.n} scored rows are fewer than {MIN_ROWS}: no bootstrap interval is given")
    within = evaluation.within_groups
    if within and within.groups < MIN_GROUPS:
        notes.append(f"{within.groups} groups are fewer than {MIN_GROUPS}: no bootstrap interval is given")
    if evaluation.cut:
        notes.append(f"{evaluation.cut:,} rows were cut and are scored by their beginning")
    if explain and detector.artifact.inseparable:
        notes.append(f"no words beside the errors: {detector.artifact.inseparable}")
    return notes
