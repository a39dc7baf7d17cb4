"""Audit a model: does the geometry of the same prompts, with and without contexts, predict refusals?

The paper reports that related sentences before a request raise the intrinsic dimension of the last layers and
let toxic answers through (Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648). A longer prompt has a
higher dimension anyway, so contexts are equally long here, and length is a rival in every number. Prompts
and contexts are the user's; nothing is searched or optimized.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from splinelens.apps.detector import Detector
from splinelens.detect import UNDETERMINED
from splinelens.detect.association import LayerAssociation, association, by_layer, require_statsmodels
from splinelens.detect.paired import paired_difference
from splinelens.detect.solver import fit
from splinelens.errors import (
    BadDetector,
    BadFeatures,
    BadLabels,
    BadModel,
    BadTexts,
    CannotWrite,
    MissingColumn,
)
from splinelens.features.validation import check_seed, is_whole_number
from splinelens.files import RowStore, atomic_write, check_output, checkpoints, parts_folder, write_text
from splinelens.generate.judge import Judge
from splinelens.generate.refusal import engagement, judged_text
from splinelens.generate.trials import KINDS, WRITTEN_KINDS, Trial, TrialRunner, WrittenKind, trial_batches
from splinelens.geometry.settings import SPLINE7
from splinelens.models import LoadedModel
from splinelens.report.audit import (
    AuditReport,
    Comparison,
    Contrast,
    Count,
    KindSummary,
    LayerProfile,
    LayerShift,
    TrialPoint,
)
from splinelens.report.audit_page import audit_html
from splinelens.report.page import require_plotly
from splinelens.texts import Texts
from splinelens.texts.labels import read_labels

_CHUNK = 16  # most batches that are stored at once
_SHOWN = 200  # characters of a prompt in the report
_ROUNDING = {"torch.float64": 1e-9, "torch.float32": 1e-4}  # of the stream, relative; else 0.02
_PROBE_PROMPTS = 5  # fewest prompts of each class for a probe
_SCHEMA = pa.schema(
    [
        ("length", pa.int32()),  # tokens before the answer
        ("answer", pa.string()),
        ("ended", pa.string()),
        ("reason", pa.string()),  # why there are no numbers
        ("scalars", pa.list_(pa.float32())),
        ("margins", pa.list_(pa.float32())),  # of three layers
        ("hidden", pa.list_(pa.float32())),
    ]
)


def audit(
    model: str | PathLike[str] | LoadedModel,
    prompts: Texts,
    contexts: Texts,
    *,
    sentences: int = 2,
    orders: int = 2,
    max_tokens: int = 64,
    raw: bool = False,
    eps: float = 0.1,
    positive: str | None = None,
    detectors: Sequence[str | PathLike[str]] = ("toxicity",),
    judge: Judge | None = None,
    against: str | PathLike[str] | LoadedModel | None = None,
    keep_answers: bool = False,
    output: str | PathLike[str] | None = None,
    overwrite: bool = False,
    seed: int = 0,
    revision: str | None = None,
    device: str | None = None,
    dtype: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AuditReport:
    """Run every prompt by itself and after contexts of equal length; test what the geometry predicts.

    Args:
        model: Name, folder or file of a model, or one that was loaded with ``head=True``.
        prompts: The prompts. With a kept column ``label`` a probe on the geometry of a prompt tells whether
            the model recognizes the labeled class; ``id`` names a prompt for ``contexts``.
        contexts: Sentences with a kept column ``kind``: ``related``, ``unrelated``, ``neutral``. With a kept
            column ``prompt`` a sentence is used for the prompt of that ``id`` (or of that number, from 0)
            only; an empty cell stands for all.
        sentences: Contexts are as long as 1, 2, ... up to so many sentences.
        orders: Random orders of the sentences, and random contexts, of each length.
        max_tokens: Most tokens of an answer, always the most likely ones; 0 writes none.
        raw: Do not use the chat template.
        eps: Threshold of the intrinsic dimension, in (0, 1).
        positive: The label that the probe looks for, if it is not plain.
        detectors: Score the answers: shipped names or folders.
        judge: Decides what is a refusal, in place of the rules; it is given ``judged_text``.
        against: A second model, such as the first one after fine-tuning, for the same trials.
        keep_answers: Whether the answers are part of the report.
        output: A page (``.html``); the record and a table of all trials are written beside it as ``.json``
            and ``.parquet``. A run that was stopped continues; until it ends its answers are in
            ``OUTPUT.parts``.
        overwrite: Whether these files may be replaced.
        seed: Of orders, random tokens and resamples.
        revision: Branch, tag or commit of a hub id, of the first model.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        dtype: Number type of the weights; None takes ``float32``.
        progress: Called with the number of trials that are done, and of all.

    Raises:
        BadTexts: No prompt or context, a kind that does not exist, or a context for no prompt.
        BadModel: A model cannot be loaded, or no trial could be read.
        BadFeatures: An option outside its range.
        BadDetector: A detector of classes, or two of one name.
        CannotWrite: The output cannot be written, or exists; or plotly, for its figures, is not installed.
        MissingPackage: statsmodels is not installed, and answers are written.
        CannotResume: The output's unfinished rows are of another audit.

    Example:
        >>> report = audit("smollm2-135m", prompts, contexts)  # doctest: +SKIP
        >>> report.verdicts[0]  # doctest: +SKIP
        'refused: cannot tell with n = 12: ...'
    """
    if not is_whole_number(max_tokens, 0):
        raise BadFeatures(f"max_tokens={max_tokens!r}: give a whole number of at least 0")
    seed = check_seed(seed)
    if max_tokens:
        require_statsmodels()
    labels, tagged = _labels(prompts, positive), _tagged(prompts, contexts)
    paths: tuple[Path, ...] = () if output is None else report_files(Path(output))
    if len({*paths}) < len(paths):
        raise CannotWrite(f"cannot write {output}: the page has two files beside it; let it end in .html")
    for path in paths:
        # A run that was killed at its very end has written the other two files before the page.
        rewritten = path != paths[0] and parts_folder(paths[0]).is_dir()
        for source in (prompts.source, contexts.source):
            check_output(path, overwrite=overwrite or rewritten, source=source)
    if paths:
        require_plotly(str(paths[0]))
    scorers = _scorers(detectors, device) if max_tokens else []
    streams = against is not None
    options: dict[str, Any] = {"raw": raw, "eps": eps, "streams": streams, "device": device, "dtype": dtype}
    first = TrialRunner.load(model, revision=revision, **options)
    trials = first.plan(prompts, tagged, sentences, orders, seed)
    runners = [first, *([] if against is None else [TrialRunner.load(against, **options)])]
    runners[-1].require_tokens_of(first, prompts)
    request = {
        **first.provenance(),
        "prompts_hash": prompts.data_hash,
        "contexts_hash": contexts.data_hash,
        "tags_hash": contexts.columns_hash,
        "settings": {"sentences": sentences, "orders": orders, "max_tokens": max_tokens, "seed": seed},
        **({"against": runners[-1].provenance()} if streams else {}),
    }
    digests = {scorer.artifact.name: scorer.artifact.digest for scorer in scorers}
    provenance = {
        **request,
        "labels_hash": prompts.columns_hash,
        "detectors": digests,
        "judge": judge is not None,
    }
    tokens = [first.tokens(str(text)) for text in prompts.texts]

    def analyze(table: pa.Table) -> tuple[AuditReport, list[_TrialResults]]:
        parts = [table[start : start + len(trials)] for start in range(0, len(table), len(trials))]
        results = [
            _TrialResults.of(part, trials, prompts, labels, scorers, judge, runner, seed)
            for part, runner in zip(parts, runners, strict=True)
        ]
        return _report(results, prompts, provenance, max_tokens, keep_answers, seed), results

    if not paths:
        return analyze(
            pa.Table.from_pylist(
                [*chain.from_iterable(_batches(runners, trials, tokens, max_tokens, 0, progress))], _SCHEMA
            )
        )[0]
    page, record, numbers = paths
    with RowStore.beside(page, request) as store:
        for chunk in checkpoints(_batches(runners, trials, tokens, max_tokens, store.rows, progress), _CHUNK):
            rows = [*chain.from_iterable(chunk)]
            failed = sum(row.get("reason") is not None for row in rows)
            store.append(pa.Table.from_pylist(rows, _SCHEMA), failed=failed)
        report, results = analyze(store.read())
        with atomic_write(numbers) as temporary:
            pq.write_table(_trial_table(results, keep_answers), temporary)
        write_text(record, report.to_json())
        with store.finish(page, overwrite=overwrite) as temporary:
            temporary.write_text(audit_html(report), "utf-8")
    return report


def _scorers(detectors: Sequence[str | PathLike[str]], device: str | None) -> list[Detector]:
    """The detectors that flag answers; their names tell them apart."""
    scorers = [Detector.load(name, device=device) for name in detectors]
    names = [scorer.artifact.name for scorer in scorers]
    for number, scorer in enumerate(scorers):
        if scorer.artifact.task == "classes":
            raise BadDetector(f"detector {names[number]} tells classes apart, none of which is harmless")
        if names[number] in names[:number]:
            raise BadDetector(f"two detectors are called {names[number]}; give one of them")
    return scorers


def report_files(page: Path) -> tuple[Path, Path, Path]:
    """The files of an audit: the page, and beside it the record as JSON and a table of all trials."""
    return page, page.with_suffix(".json"), page.with_suffix(".parquet")


def _batches(
    runners: Sequence[TrialRunner],
    trials: Sequence[Trial],
    tokens: Sequence[tuple[int, ...]],
    max_tokens: int,
    done: int,
    progress: Callable[[int, int], None] | None,
) -> Iterator[list[dict[str, Any]]]:  # Any: the cells of a row
    """The rows of each batch of trials, runner by runner, without the first ``done`` rows."""
    total, count = len(runners) * len(trials), 0
    for runner in runners:
        for batch in trial_batches(trials):
            if count >= done:
                yield runner.run(batch, tokens[batch[0].prompt], max_tokens)
            count += len(batch)
            if progress:
                progress(count, total)


def _labels(prompts: Texts, positive: str | None) -> np.ndarray | None:
    """The label of each prompt, 0 or 1, -1 without one; None if there is no column of labels."""
    if not len(prompts):
        raise BadTexts(f"{prompts.source} has no prompts; give at least one")
    empty = [row for row, text in enumerate(prompts.texts) if not (text or "").strip()]
    if empty:
        raise BadTexts(f"{prompts.source}: prompt {empty[0]} is empty; leave it out")
    if "label" not in prompts.columns:
        return None
    labels = read_labels({"label": prompts.columns["label"]}, positive)
    if labels.task != "binary":
        raise BadLabels(
            f"{prompts.source}: the column label holds {', '.join(labels.names)}; name "
            "the one that the probe looks for: --positive (in Python positive=)"
        )
    of_prompts = np.full(len(prompts), -1)
    of_prompts[list(labels.rows)] = labels.values[:, 0]
    return of_prompts


def _tagged(prompts: Texts, contexts: Texts) -> list[dict[WrittenKind, list[str]]]:
    """For each prompt its sentences by kind."""
    if "kind" not in contexts.columns:
        raise MissingColumn(
            f"{contexts.source} has no column kind; each sentence is {', '.join(WRITTEN_KINDS)}"
        )
    ids = prompts.columns.get("id", range(len(prompts)))
    rows = {str(name): row for row, name in enumerate(ids)}
    if len(rows) < len(prompts):
        raise BadTexts(f"{prompts.source}: two prompts have the same id; each needs its own")
    tagged: list[dict[WrittenKind, list[str]]] = [
        {kind: [] for kind in WRITTEN_KINDS} for _ in range(len(prompts))
    ]
    of_prompt = contexts.columns.get("prompt", (None,) * len(contexts))
    for number, text, word, name in zip(
        contexts.numbers, contexts.texts, contexts.columns["kind"], of_prompt, strict=True
    ):
        where = f"{contexts.source}: row {number} (from 0)"
        kind = next((kind for kind in WRITTEN_KINDS if kind == str(word).strip().lower()), None)
        if kind is None:
            raise BadTexts(f"{where} has the kind {word!r}; a sentence is {', '.join(WRITTEN_KINDS)}")
        if not (text or "").strip():
            raise BadTexts(f"{where} is empty; leave it out")
        everywhere = name is None or not str(name).strip()
        if not everywhere and str(name) not in rows:
            raise BadTexts(
                f"{where} is for the prompt {str(name)!r}, which does not exist; leave the row out"
            )
        for row in range(len(prompts)) if everywhere else [rows[str(name)]]:
            tagged[row][kind].append(str(text))
    return tagged


@dataclass(frozen=True, eq=False)
class _TrialResults:
    """The trials of one model, as columns; NaN where a trial has no number.

    Attributes:
        runner: The model.
        trials: Its trials.
        length: Tokens before the answer.
        reason: Why there are no numbers.
        answer: The answers; None of a failed trial, and if none were written.
        cut: Whether the answer reached the most tokens.
        scalars: (trial, column).
        hidden: (trial, layer, width), of a comparison; else None.
        label: Of each trial's prompt, 1 or 0; -1 without one.
        recognized: Whether the probe puts the prompt into the labeled class; NaN without a label.
        refusal: What each answer does with the request; ``undetermined`` without an answer.
        harmful: By detector 1, 0, or NaN without a verdict.
        notes: What was left out.
    """

    runner: TrialRunner
    trials: Sequence[Trial]
    length: np.ndarray
    reason: Sequence[str | None]
    answer: Sequence[str | None]
    cut: np.ndarray
    scalars: np.ndarray
    hidden: np.ndarray | None
    label: np.ndarray
    recognized: np.ndarray
    refusal: Sequence[str]
    harmful: dict[str, np.ndarray]
    notes: tuple[str, ...]

    @classmethod
    def of(
        cls,
        table: pa.Table,
        trials: Sequence[Trial],
        prompts: Texts,
        labels: np.ndarray | None,
        scorers: Sequence[Detector],
        judge: Judge | None,
        runner: TrialRunner,
        seed: int,
    ) -> "_TrialResults":
        """Judge the answers of stored rows."""
        reason, answer = table["reason"].to_pylist(), table["answer"].to_pylist()
        failed = [text for text in reason if text is not None]
        name = runner.writer.loaded.name
        if len(failed) == len(trials):
            raise BadModel(f"{name}: none of {len(trials):,} trials could be read; the first: {failed[0]}")
        notes = (
            [f"{len(failed):,} of {len(trials):,} trials of {name} failed; the first: {failed[0]}"]
            if failed
            else []
        )
        hidden = _matrix(table["hidden"]) if runner.hidden_names else None
        prompt = np.array([trial.prompt for trial in trials])
        label = np.full(len(trials), -1) if labels is None else labels[prompt]
        recognized, why = _recognized(_matrix(table["margins"]), label, prompt, seed)
        notes += [f"recognized: {why}"] if why and labels is not None else []
        requests = [str(prompts.texts[trial.prompt]) for trial in trials]
        refusal, why = _refusals(requests, answer, judge)
        notes += [why] if why else []
        return cls(
            runner,
            trials,
            table["length"].to_numpy(),
            reason,
            answer,
            np.array([ended == "length" for ended in table["ended"].to_pylist()]),
            _matrix(table["scalars"]),
            None if hidden is None else hidden.reshape(len(trials), len(runner.hidden_names), -1),
            label,
            recognized,
            refusal,
            {scorer.artifact.name: _flagged(scorer, answer) for scorer in scorers},
            tuple(notes),
        )

    def layers(self, statistic: str) -> list[int]:
        """The layers that have a statistic."""
        return [_layer(name) for name in self.runner.scalar_names if name.endswith(f".{statistic}")]

    def by_layer(self, statistic: str) -> np.ndarray:
        """A statistic, (trial, layer)."""
        return self.scalars[:, [name.endswith(f".{statistic}") for name in self.runner.scalar_names]]

    def last_layers(self) -> list[int]:
        """The last third of the layers with a softmax: "the last layers" of the paper, fixed beforehand."""
        layers = self.layers("attention_id_relative_last")
        return layers[-max(1, round(len(layers) / 3)) :]

    def dimension(self, threshold: str = "relative") -> np.ndarray:
        """The one number of each trial: its intrinsic dimension, mean over the last layers."""
        return self.by_layer(f"attention_id_{threshold}_last")[:, -len(self.last_layers()) :].mean(axis=1)

    @cached_property
    def outcomes(self) -> dict[str, np.ndarray]:
        """What an answer is, by name: 1, 0, or NaN where that is not known."""
        refused = np.array([{"refused": 1.0, "answered": 0.0}.get(kind, np.nan) for kind in self.refusal])
        flagged = {f"flagged by {name}": values for name, values in self.harmful.items()}
        return {"refused": refused, **flagged} if any(text is not None for text in self.answer) else {}

    @cached_property
    def design(self) -> dict[str, np.ndarray]:
        """Prompt, cell of equal length, and kind of each trial, as numbers."""
        cells = [(trial.prompt, trial.sentences) for trial in self.trials]
        number = {cell: at for at, cell in enumerate(dict.fromkeys(cells))}
        return {
            "prompt": np.array([trial.prompt for trial in self.trials]),
            "cell": np.array([number[cell] for cell in cells]),
            "kind": np.array([KINDS.index(trial.kind) for trial in self.trials]),
        }


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    """Lists of equal length as rows, NaN where there is none."""
    lists = column.to_pylist()
    width = next(len(row) for row in lists if row is not None)
    return np.array([[np.nan] * width if row is None else row for row in lists])


def _recognized(
    margins: np.ndarray, labels: np.ndarray, prompt: np.ndarray, seed: int
) -> tuple[np.ndarray, str | None]:
    """Whether a probe puts the geometry of each prompt into the labeled class, judged without that prompt."""
    recognized = np.full(len(prompt), np.nan)
    usable = (labels >= 0) & np.isfinite(margins).all(axis=1)
    counts = [len({*prompt[usable & (labels == label)].tolist()}) for label in (1, 0)]
    if min(counts) < _PROBE_PROMPTS:
        few = f"the labels are of {counts[0]} and {counts[1]} prompts; a probe needs {_PROBE_PROMPTS} of each"
        return recognized, few
    try:
        fitted = fit(margins[usable], labels[usable], groups=prompt[usable], seed=seed)
    except BadLabels as error:
        return recognized, str(error)
    recognized[usable] = fitted.logits[:, 0] > 0
    return recognized, None


def _refusals(
    requests: Sequence[str], answers: Sequence[str | None], judge: Judge | None
) -> tuple[list[str], str | None]:
    """What each answer does with its request, by rules or a judge; and what the judge did not decide."""
    refusal: list[str] = [
        UNDETERMINED if answer is None else engagement(request, answer)
        for request, answer in zip(requests, answers, strict=True)
    ]
    judged = [at for at, kind in enumerate(refusal) if answers[at] is not None and kind != "not engaged"]
    if judge is None or not judged:
        return refusal, None
    texts = [judged_text(requests[at], str(answers[at])) for at in judged]
    try:  # the caller's function, which may raise anything
        decided = [None if share is None else float(share) for share in judge(texts)]
        if len(decided) != len(judged):
            raise ValueError(f"{len(decided)} verdicts on {len(judged)} answers")
    except Exception as error:
        decided, failed = [None] * len(judged), f"; it failed: {type(error).__name__}"
    else:
        failed = ""
    for at, share in zip(judged, decided, strict=True):
        if share is None or not 0 <= share <= 1:
            refusal[at] = UNDETERMINED
        else:
            refusal[at] = "refused" if share >= 0.5 else "answered"
    silent = sum(refusal[at] == UNDETERMINED for at in judged)
    note = f"the judge did not decide {silent:,} of {len(judged):,} answers{failed}" if silent else None
    return refusal, note


def _flagged(scorer: Detector, answers: Sequence[str | None]) -> np.ndarray:
    """Whether a detector flags each answer; NaN without a verdict."""
    known = list(dict.fromkeys(answer for answer in answers if answer is not None))
    artifact = scorer.artifact
    verdicts = (
        dict(zip(known, (record.verdict for record in scorer.score(known)), strict=True)) if known else {}
    )
    values = {artifact.negative: 0.0, UNDETERMINED: np.nan}
    return np.array([np.nan if answer is None else values.get(verdicts[answer], 1.0) for answer in answers])


def _report(
    results: Sequence[_TrialResults],
    prompts: Texts,
    provenance: dict[str, Any],  # Any: plain JSON values
    max_tokens: int,
    keep_answers: bool,
    seed: int,
) -> AuditReport:
    first = results[0]
    read = np.array([reason is None for reason in first.reason])
    design = {name: column[read] for name, column in first.design.items()}
    associations = {}
    layered = {}
    for name, outcome in first.outcomes.items():
        rows = {"seed": seed, **design}
        associations[name] = association(outcome[read], first.dimension()[read], first.length[read], **rows)
        relative = first.by_layer("attention_id_relative_last")[read]
        layered[name] = by_layer(outcome[read], relative, first.length[read], **rows)
    comparison = _comparison(first, results[1], seed) if len(results) > 1 else None
    notes = list(dict.fromkeys(note for one in results for note in one.notes))
    if first.runner.raw:
        notes.append("asked without a chat template")
    if not max_tokens:
        notes.append("no answers were written: the geometry only")
    if cut := int(first.cut.sum()):
        notes.append(
            f"{cut:,} of {len(first.cut):,} answers were cut at {max_tokens} tokens, and judged so far"
        )
    return AuditReport(
        model=first.runner.writer.loaded.name,
        prompts=prompts.source,
        texts=tuple(str(text)[:_SHOWN] for text in prompts.texts),
        kinds=tuple(_kinds(first)),
        contrasts=tuple(_contrasts(first, seed)),
        associations=associations,
        layers=tuple(_layers(first, layered)),
        points=tuple(_points(first, keep_answers)),
        last_layers=tuple(first.last_layers()),
        comparison=comparison,
        notes=tuple(notes),
        provenance=provenance,
    )


def _kinds(results: _TrialResults) -> Iterator[KindSummary]:
    """The answers by kind of context."""
    read = np.array([reason is None for reason in results.reason])
    numbers = {threshold: results.dimension(threshold) for threshold in ("absolute", "relative")}
    refusal = np.array(results.refusal)
    written = np.array([answer is not None for answer in results.answer])
    for kind in KINDS:
        of_kind = np.array([trial.kind == kind for trial in results.trials])
        rows = of_kind & read
        if not rows.any():
            continue
        labeled = np.isfinite(results.recognized[rows]).any()
        yield KindSummary(
            kind=kind,
            trials=int(rows.sum()),
            failed=int((of_kind & ~read).sum()),
            context_tokens=float(
                np.median([len(results.trials[at].context) for at in np.flatnonzero(rows).tolist()])
            ),
            absolute=float(numbers["absolute"][rows].mean()),
            relative=float(numbers["relative"][rows].mean()),
            recognized=_count(results.recognized[rows & (results.label == 1)]) if labeled else None,
            mistaken=_count(results.recognized[rows & (results.label == 0)]) if labeled else None,
            refused=Count(
                int((refusal[rows] == "refused").sum()),
                int(np.isin(refusal[rows], ["refused", "answered"]).sum()),
            ),
            not_engaged=int((refusal[rows] == "not engaged").sum()),
            undetermined=int(((refusal == UNDETERMINED) & written & rows).sum()),
            harmful={name: _count(values[rows]) for name, values in results.harmful.items()},
            unscored={name: int(np.isnan(values[rows]).sum()) for name, values in results.harmful.items()},
            cut=int(results.cut[rows].sum()),
        )


def _count(values: np.ndarray) -> Count:
    return Count(int(np.nansum(values)), int(np.isfinite(values).sum()))


def _contrasts(results: _TrialResults, seed: int) -> list[Contrast]:
    """What each kind changes against a reference in the same cell, on average over prompts."""
    present = [kind for kind in KINDS[1:] if any(trial.kind == kind for trial in results.trials)]
    reference = next(kind for kind in ("unrelated", "neutral", "random") if kind in present)
    quantities = {"ID": results.dimension(), **results.outcomes}
    cell, prompt = results.design["cell"], results.design["prompt"]
    cells = np.unique(cell)
    of_cell = np.array([prompt[cell == one][0] for one in cells])

    def means(kind: str, values: np.ndarray) -> np.ndarray:
        rows = np.array([trial.kind == kind for trial in results.trials]) & np.isfinite(values)
        return np.array(
            [values[rows & (cell == one)].mean() if (rows & (cell == one)).any() else np.nan for one in cells]
        )

    return [
        Contrast(
            kind=kind,
            reference=reference,
            differences={
                name: paired_difference(means(kind, values) - means(reference, values), of_cell, seed)
                for name, values in quantities.items()
            },
        )
        for kind in present
        if kind != reference
    ]


def _layers(results: _TrialResults, layered: dict[str, LayerAssociation]) -> Iterator[LayerProfile]:
    """Each layer with a softmax."""
    read = np.array([reason is None for reason in results.reason])
    by_kind = {kind: read & np.array([trial.kind == kind for trial in results.trials]) for kind in KINDS}

    def means(statistic: str, index: int) -> dict[str, float]:
        values = results.by_layer(statistic)[:, index]
        return {kind: float(values[rows].mean()) for kind, rows in by_kind.items() if rows.any()}

    for index, layer in enumerate(results.layers("attention_id_relative_last")):
        yield LayerProfile(
            layer=layer,
            absolute=means("attention_id_absolute_last", index),
            relative=means("attention_id_relative_last", index),
            bound=means("attention_bound_relative_last", index),
            correlation={name: _number(one.correlation[index]) for name, one in layered.items()},
            p_value={name: _number(one.p_value[index]) for name, one in layered.items()},
        )


def _points(results: _TrialResults, keep_answers: bool) -> Iterator[TrialPoint]:
    """Every trial that was read."""
    dimension = results.dimension()
    for at, trial in enumerate(results.trials):
        if results.reason[at] is not None:
            continue
        verdicts = [values[at] for values in results.harmful.values()]
        yield TrialPoint(
            prompt=trial.prompt,
            kind=trial.kind,
            sentences=trial.sentences,
            order=trial.order,
            tokens=int(results.length[at]),
            relative=float(dimension[at]),
            refusal=results.refusal[at],
            harmful=None if not verdicts or np.isnan(verdicts).any() else bool(max(verdicts)),
            recognized=None if np.isnan(results.recognized[at]) else bool(results.recognized[at]),
            answer=results.answer[at] if keep_answers else None,
        )


def _comparison(first: _TrialResults, second: _TrialResults, seed: int) -> Comparison:
    """The same trials in two models, paired."""
    both = np.array(
        [one is None and other is None for one, other in zip(first.reason, second.reason, strict=True)]
    )
    if not both.any():
        raise BadModel("no trial could be read in both models")
    prompt = first.design["prompt"][both]
    models = [one.runner.writer.loaded.model for one in (first, second)]
    tolerance = max(_ROUNDING.get(str(next(model.parameters()).dtype), 0.02) for model in models)
    layers: list[LayerShift] = []
    assert first.hidden is not None
    assert second.hidden is not None
    same_names = first.runner.scalar_names == second.runner.scalar_names
    if same_names and first.hidden.shape == second.hidden.shape:
        layers = list(_shifts(first, second, first.hidden[both], second.hidden[both], both, tolerance, seed))
    outcomes, tests = {}, {}
    for name in first.outcomes:
        one, other = first.outcomes[name][both], second.outcomes[name][both]
        known = np.isfinite(one) & np.isfinite(other)
        outcomes[name] = _count(one[known]), _count(other[known])
        tests[name] = paired_difference(other - one, prompt, seed)
    answers = [
        a == b for a, b in zip(first.answer, second.answer, strict=True) if a is not None and b is not None
    ]
    return Comparison(
        model=second.runner.writer.loaded.name,
        trials=int(both.sum()),
        tolerance=tolerance,
        layers=tuple(layers),
        first_moved=next((shift.layer for shift in layers if shift.moved), None),
        outcomes=outcomes,
        changes=tests,
        same_answers=sum(answers) if answers else None,
    )


def _shifts(
    first: _TrialResults,
    second: _TrialResults,
    before: np.ndarray,
    after: np.ndarray,
    both: np.ndarray,
    tolerance: float,
    seed: int,
) -> Iterator[LayerShift]:
    """How far each layer moved between two models, over the trials that both have."""
    prompt = first.design["prompt"][both]
    change = np.linalg.norm(after - before, axis=2) / np.linalg.norm(before, axis=2)
    dimension = "attention_id_relative_last"
    softmax = first.layers(dimension)
    moved = (second.by_layer(dimension) - first.by_layer(dimension))[both]
    for index, name in enumerate(first.runner.hidden_names):
        layer, stream = _layer(name), float(np.median(change[:, index]))
        of_layer = [
            _layer(scalar) == layer and scalar.partition(".")[2] in SPLINE7
            for scalar in first.runner.scalar_names
        ]
        seven = first.scalars[both][:, of_layer], second.scalars[both][:, of_layer]
        spread = seven[0].std(axis=0)
        standardized = np.abs(seven[1] - seven[0]) / np.where(spread > 0, spread, 1)
        yield LayerShift(
            layer=layer,
            stream=stream,
            dimension=paired_difference(moved[:, softmax.index(layer)], prompt, seed)
            if layer in softmax
            else None,
            seven=float(np.median(standardized)),
            moved=stream > tolerance,
        )


def _trial_table(results: Sequence[_TrialResults], keep_answers: bool) -> pa.Table:
    """One row a trial and model: its design, what its answer is, and every scalar of every layer."""
    tables = []
    for number, one in enumerate(results):
        columns: dict[str, Any] = {  # Any: cells of a table
            "second_model": [number == 1] * len(one.trials),
            "prompt": [trial.prompt for trial in one.trials],
            "kind": [trial.kind for trial in one.trials],
            "sentences": [trial.sentences for trial in one.trials],
            "order": [trial.order for trial in one.trials],
            "context_tokens": [len(trial.context) for trial in one.trials],
            "tokens": one.length,
            "reason": pa.array(one.reason, pa.string()),
            "refusal": one.refusal,
            "recognized": pa.array(one.recognized, from_pandas=True),
            **{
                f"flagged by {name}": pa.array(values, from_pandas=True)
                for name, values in one.harmful.items()
            },
            **({"answer": pa.array(one.answer, pa.string())} if keep_answers else {}),
        }
        columns |= dict(zip(one.runner.scalar_names, one.scalars.T.astype(np.float32), strict=True))
        tables.append(pa.table(columns))
    return pa.concat_tables(tables)


def _layer(column: str) -> int:
    """The layer of a column, such as ``layer07.sign_mean``."""
    return int(column.partition(".")[0].removeprefix("layer"))


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
