"""A pruned or shorter model learns from a teacher: its next tokens, or what a detector reads in it.

The student is trained in three stages, as LLaVA-KD (arXiv:2410.16236) trains a smaller vision-language model:
first few parameters learn to match the teacher, then all learn the labels, then all learn both. Weights are
float32 and products bfloat16; the teacher runs in bfloat16. A stopped run is kept in ``OUTPUT.parts``.
"""

import hashlib
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from shutil import rmtree
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splinelens import __version__
from splinelens.apps.detector import Detector
from splinelens.apps.training import fit_detector, long_negatives, require_labels
from splinelens.detect.artifact import Artifact
from splinelens.detect.learned import HeldOut, linear_layer, standardized_head
from splinelens.detect.margin_distillation import (
    StudentHead,
    Targets,
    keep_losses,
    ridge_head,
    teacher_scores,
)
from splinelens.detect.shipped import find_artifact
from splinelens.detect.solver import Fitted, fold_of_rows
from splinelens.engines.blocks import keep_blocks
from splinelens.engines.distillation import text_inputs
from splinelens.engines.training import Batches, Losses, Stage, Trainer
from splinelens.errors import BadDetector, BadFeatures, BadLabels, BadModel, BadTexts
from splinelens.features.extract import read_table
from splinelens.features.inputs import Margins, read_margins
from splinelens.features.reader import Progress, TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.files import parts_folder, results_folder, write_errors
from splinelens.generate.likelihood import window_nll
from splinelens.geometry.distillation import relation_loss, token_divergence
from splinelens.models import LoadedModel, load_model
from splinelens.models.load import require_head, require_same_tokenizer
from splinelens.models.save import check_model_folder, save_model
from splinelens.texts import Texts, text_hashes
from splinelens.tokens import TokenizedText, prompt_ids, tokenize

CHECKPOINT = "checkpoint.safetensors"
"""What a stopped run leaves in ``OUTPUT.parts``."""

TOKEN_FACTORS: Mapping[str, float] = {"divergence": 1.0, "relation": 1.0, "cross-entropy": 0.2}
"""Of the losses of next tokens: the one that stands in the text is a noisy label beside the teacher's."""

KEEP_FACTORS: Mapping[str, float] = {"margins": 1.0, "relation": 0.1, "score": 1.0, "labels": 1.0}
"""Of the losses that keep a detector."""

_STUDENT = "student"  # the folder in OUTPUT.parts that the detector of a student is read from
_HELD_OUT = 24  # windows
_SAMPLE_TOKENS = 30_000
_REPORT_S = 10.0
_MOST_LAYERS = 6
_BY_LENGTH = 0.5
_FEWEST_UNSEEN = 50  # of each class
_FEWEST_STEPS = 10


@dataclass(frozen=True)
class Settings:
    """How a student is trained.

    Attributes:
        rate: Largest learning rate.
        shares: Of the steps, of the three stages: match, texts (or labels), all.
        tokens: To train on; None takes every text once.
        window: Tokens of a window of joined texts.
        batch_tokens: Tokens of a batch, padding included.
        seed: Of the order of the batches, and of what is initialized at random.
    """

    rate: float = 3e-4
    shares: tuple[float, float, float] = (0.1, 0.2, 0.7)
    tokens: int | None = None
    window: int = 256
    batch_tokens: int = 1024
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rate < 1:
            raise BadFeatures(f"rate {self.rate} is not between 0 and 1; usual ones are 1e-4 to 1e-3")
        if min(self.shares) < 0 or not math.isclose(sum(self.shares), 1, abs_tol=1e-6):
            raise BadFeatures(
                f"shares {self.shares} of the three stages must not be negative and must add up to 1"
            )


def distill(
    teacher: str | PathLike[str],
    student: str | PathLike[str],
    texts: Texts | Iterable[str | None],
    output: str | PathLike[str],
    *,
    blocks: int | None = None,
    evenly: bool = False,
    settings: Settings = Settings(),
    overwrite: bool = False,
    device: str | None = None,
    command: str = "",
    report: Callable[[str], None] = lambda line: None,
) -> dict[str, Any]:  # Any: plain JSON values
    """Train a student on the teacher's next-token distributions; a stopped run continues.

    Losses: ``divergence`` from the teacher's distribution, ``relation`` between the last states of a window's
    tokens, and the ``cross-entropy`` of the texts. 24 windows are held out to measure what it brought.

    Args:
        teacher: A model, as ``load_model`` takes it.
        student: A model of the same tokenizer and at most as many blocks. Weights that are 0 stay 0.
        texts: The texts, which are joined and cut into windows; no labels are needed.
        output: Folder of the trained student, in the format of Hugging Face.
        blocks: Take only so many blocks of the student.
        evenly: Take them evenly from first to last instead of the first.
        settings: How it is trained.
        overwrite: Replace a model that is in the folder.
        device: Such as ``cuda:0``.
        command: The command that makes the student again, for the record.
        report: Called with lines on the progress.

    Returns:
        The record, which is also written to ``splinelens.json``: settings, fingerprints, steps, and the
        nats per held-out token of teacher and student, before and after.

    Raises:
        BadModel: The tokenizers differ, the student has more blocks than the teacher, or a model gives
            numbers that are not finite.
        BadFeatures: The student has fewer than ``blocks`` blocks, or ``evenly`` without ``blocks``.
        BadTexts: Too few tokens for ten steps.
        OutputExists: The folder holds files, without ``overwrite``, or is that of teacher or student.
        CannotResume: ``OUTPUT.parts`` holds a stopped run with other settings.
        Diverged: Training gives numbers that are not finite; the checkpoint holds the last good state.
    """
    folder = _output_folder(output, [teacher, student], overwrite)
    source = Texts.of(texts)
    teacher_model = load_model(teacher, head=True, dtype="bfloat16", device=device)
    student_model = load_student(student, teacher_model, blocks=blocks, evenly=evenly, device=device)
    causal, teacher_causal = require_head(student_model), require_head(teacher_model)
    windows = _windows(source, student_model.tokenizer, settings).to(student_model.device)
    held, windows = windows[:_HELD_OUT], windows[_HELD_OUT:]
    batches = Batches([settings.window] * len(windows), settings.batch_tokens, settings.seed)
    steps = len(batches) if settings.tokens is None else settings.tokens // settings.batch_tokens
    _require_steps(steps, settings)
    request = _request(teacher_model, student_model, source, settings, blocks, evenly, TOKEN_FACTORS)
    nats = {"teacher": _nats(teacher_model, held), "before": _nats(student_model, held)}

    def losses(step: int, factors: Mapping[str, float]) -> tuple[dict[str, Tensor], int]:
        ids = windows[batches.at(step)]
        return _token_losses(teacher_causal, causal, ids, factors), ids.numel()

    stages = _stages(settings.shares, steps, TOKEN_FACTORS, ("divergence", "relation"))
    _make_parts_folder(folder)
    _train(student_model, None, stages, losses, settings, folder, request, report)
    nats["after"] = _nats(student_model, held)
    record = _record(request, steps, command) | {"held_out": nats}
    save_model(student_model, folder, record)
    _remove_parts(folder)
    return record


def keep_detector(
    detector: str | PathLike[str],
    student: str | PathLike[str],
    texts: Texts | Iterable[str | None],
    labels: np.ndarray,
    output: str | PathLike[str],
    *,
    teacher: str | PathLike[str] | None = None,
    blocks: int | None = None,
    evenly: bool = False,
    held_out: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    factors: Mapping[str, float] = KEEP_FACTORS,
    settings: Settings = Settings(),
    overwrite: bool = False,
    device: str | None = None,
    command: str = "",
    report: Callable[[str], None] = lambda line: None,
) -> Detector:
    """Train a student so that a detector of the teacher can read it; a stopped run continues.

    Each hyperplane of the detector, which lies across layers of the teacher, gets one of the student's. These
    begin as the linear map that gives the teacher's margins of every token with the least squared error; then
    map and student are trained together. Losses: the match of ``margins``; the ``relation`` of a text's
    tokens in the student's last layer to that in the teacher's margins; the teacher's ``score``; the
    ``labels``.

    Args:
        detector: Name or folder of a detector of one label with learned hyperplanes.
        student: As in ``distill``.
        texts: The texts; what cannot be read is left out.
        labels: (text,), 1 for the detector's label, 0 for none.
        output: Folder of the student, in the format of Hugging Face; below it is ``detector``.
        teacher: The detector's model, if it is not at its default location.
        blocks: As in ``distill``.
        evenly: As in ``distill``.
        held_out: (text,) boolean: rows that nothing is trained on; they give calibration, thresholds and
            metrics. None takes every fifth different text of those that the detector was not fitted on.
        weights: (text,), how much a text counts; None is 1 for all.
        factors: Of the losses.
        settings: How it is trained.
        overwrite: As in ``distill``.
        device: As in ``distill``.
        command: As in ``distill``.
        report: As in ``distill``.

    Returns:
        The new detector, which is saved.

    Raises:
        BadDetector: The detector has several labels, or no learned hyperplanes.
        BadLabels: Too few of a class, among those that the detector was not fitted on, too.
        BadModel: As in ``distill``.
        BadFeatures: As in ``distill``.
        BadTexts: As in ``distill``.
        OutputExists: As in ``distill``.
        CannotResume: As in ``distill``.
        Diverged: As in ``distill``.
    """
    artifact = find_artifact(detector)
    if artifact.task != "binary" or artifact.directions is None:
        raise BadDetector(
            f"detector {artifact.name} has no learned hyperplanes for one label, which a student could be "
            "given; make one with splinelens train --directions"
        )
    sources = [artifact.model["name"] if teacher is None else teacher, student]
    folder = _output_folder(output, sources, overwrite)
    source = Texts.of(texts)
    known = require_labels(labels, "binary", artifact.labels, len(source))
    reader = Detector.load(
        detector, model=teacher, dtype="bfloat16", device=device, long="cut", engine="torch"
    ).reader
    assert isinstance(reader.loaded, LoadedModel)
    student_model = load_student(student, reader.loaded, blocks=blocks, evenly=evenly, device=device)
    if held_out is None:
        held_out = _held_out(artifact, source, known, settings.seed)
    held_out = np.asarray(held_out, bool)
    tokenized = reader.tokenize(source.texts)
    rows = np.flatnonzero(np.array([text.reason is None for text in tokenized]) & ~held_out)
    trained = [tokenized[row] for row in rows]
    lengths = [len(text.ids) for text in trained]
    batches = Batches(lengths, settings.batch_tokens, settings.seed)
    steps = len(batches) if settings.tokens is None else int(settings.tokens / (sum(lengths) / len(batches)))
    _require_steps(steps, settings)
    request = _request(reader.loaded, student_model, source, settings, blocks, evenly, factors) | {
        "detector": artifact.digest,
        "held_out_rows": hashlib.sha256(held_out.tobytes()).hexdigest(),
        "weights": None if weights is None else hashlib.sha256(weights.tobytes()).hexdigest(),
    }
    file = margins_file(folder, artifact, source.at(rows.tolist()))
    _make_parts_folder(folder)
    margins = read_margins(reader, trained, file, progress=_progress(len(trained), report))
    layers = _layers_for(artifact, student_model)
    prompt = prompt_ids(student_model.tokenizer, reader.spec.prompt, beginning=True)
    torch.default_generator.manual_seed(settings.seed)
    head = _untrained_head(student_model, trained, margins, artifact, prompt, layers, settings.seed)
    scores = teacher_scores(artifact, margins, [text.total for text in trained])
    columns = scores, known[rows, 0], np.ones(len(rows)) if weights is None else weights[rows]
    of_text = [torch.from_numpy(each).float().to(student_model.device) for each in columns]

    def losses(step: int, names: Mapping[str, float]) -> tuple[dict[str, Tensor], int]:
        batch = batches.at(step)
        inputs, mask = text_inputs(student_model.model, [trained[row].ids for row in batch], prompt, layers)
        expected = torch.from_numpy(margins.of(batch)).float().to(student_model.device)
        targets = Targets(expected, *(each[batch] for each in of_text))
        return keep_losses(head, inputs, mask, targets, names), int(mask.sum())

    stages = _stages(settings.shares, steps, factors, ("margins", "relation"))
    _train(student_model, head, stages, losses, settings, folder, request, report)
    record = _record(request, steps, command)
    result = _student_detector(
        student_model,
        head,
        reader.spec,
        source,
        known,
        held_out,
        artifact,
        folder,
        record,
        device,
    )
    result.save(folder / "detector", overwrite=True)
    save_model(student_model, folder, record)
    file.unlink()
    _remove_parts(folder)
    return result


def margins_file(output: Path, artifact: Artifact, texts: Texts) -> Path:
    """Where the teacher's margins of the training rows are kept until the student is done.

    A file that exists, (token, hyperplane) float16 of the texts one after the other, is taken as it is.
    """
    key = hashlib.sha256(f"{artifact.digest}{texts.data_hash}".encode()).hexdigest()[:12]
    return parts_folder(output) / f"margins-{key}.npy"


def load_student(
    name: str | PathLike[str],
    teacher: LoadedModel,
    *,
    blocks: int | None = None,
    evenly: bool = False,
    device: str | None = None,
) -> LoadedModel:
    """Load a student with its head in float32, whole or some of its blocks.

    Args:
        name: A model, as ``load_model`` takes it.
        teacher: The teacher, whose tokenizer and depth are compared.
        blocks: How many blocks to take; None takes all.
        evenly: Evenly from first to last instead of the first.
        device: As in ``load_model``.

    Raises:
        BadModel: The tokenizers differ, or it has more blocks than the teacher.
        BadFeatures: It has fewer blocks, or ``evenly`` without ``blocks``.
    """
    if evenly and blocks is None:
        raise BadFeatures("evenly says which blocks are taken, and blocks does not say how many; give both")
    student = load_model(name, head=True, device=device)
    require_same_tokenizer(teacher, student)
    if blocks is not None:
        if not 1 <= blocks <= student.depth:
            raise BadFeatures(f"cannot take {blocks} blocks: {student.name} has {student.depth}")
        last = student.depth - 1 if evenly else blocks - 1
        keep_blocks(student.model, np.linspace(0, last, blocks).round().astype(int).tolist())
        student = replace(student, depth=blocks, total_depth=blocks, stored_chain=None)
    if student.depth > teacher.total_depth:
        raise BadModel(
            f"the student {student.name} has {student.depth} blocks and the teacher {teacher.name} "
            f"{teacher.total_depth}; take fewer with blocks, or exchange them"
        )
    return student


def _output_folder(
    output: str | PathLike[str], sources: Sequence[str | PathLike[str]], overwrite: bool
) -> Path:
    """The folder of the student; refused before any work."""
    folder = results_folder(output, ())
    check_model_folder(folder, overwrite=overwrite, sources=[str(source) for source in sources])
    return folder


def _make_parts_folder(folder: Path) -> None:
    with write_errors(folder):
        parts_folder(folder).mkdir(parents=True, exist_ok=True)


def _remove_parts(folder: Path) -> None:
    """Remove what training left in ``OUTPUT.parts``; files of others stay."""
    parts = parts_folder(folder)
    (parts / CHECKPOINT).unlink()
    rmtree(parts / _STUDENT, ignore_errors=True)
    if not any(parts.iterdir()):
        parts.rmdir()


def _require_steps(steps: int, settings: Settings) -> None:
    if steps < _FEWEST_STEPS:
        raise BadTexts(
            f"the texts and settings give {steps} steps of {settings.batch_tokens} tokens, too few of "
            f"{_FEWEST_STEPS}; give more texts or tokens"
        )


def _nats(model: LoadedModel, windows: Tensor) -> float:
    """Nats per token of windows.

    Raises:
        BadModel: They are not finite.
    """
    nats = float(window_nll(require_head(model), windows).mean())
    if not math.isfinite(nats):
        raise BadModel(f"{model.name} gives logits that are not finite; check its weights")
    return nats


def _token_losses(
    teacher: nn.Module, student: nn.Module, ids: Tensor, factors: Mapping[str, float]
) -> dict[str, Tensor]:
    """The losses of next tokens that are named in the factors."""
    losses: dict[str, Tensor] = {}
    states = "relation" in factors
    with torch.autocast(ids.device.type, torch.bfloat16):
        ours = student(ids, output_hidden_states=states)
    if "cross-entropy" in factors:
        logits = ours.logits[:, :-1].flatten(0, 1).float()
        losses["cross-entropy"] = nn.functional.cross_entropy(logits, ids[:, 1:].flatten())
    if states or "divergence" in factors:
        with torch.no_grad():
            theirs = teacher(ids, output_hidden_states=states)
    mask = torch.ones(len(ids), ids.shape[1] - 1, dtype=torch.bool, device=ids.device)
    if "divergence" in factors:
        losses["divergence"] = token_divergence(theirs.logits[:, :-1], ours.logits[:, :-1], mask)
    if states:
        last = theirs.hidden_states[-1][:, 1:], ours.hidden_states[-1][:, 1:]
        losses["relation"] = relation_loss(*last, mask)
    return losses


def _train(
    student: LoadedModel,
    head: StudentHead | None,
    stages: Sequence[Stage],
    losses: Losses,
    settings: Settings,
    folder: Path,
    request: dict[str, Any],  # Any: plain JSON values
    report: Callable[[str], None],
) -> None:
    """Train all weights but embeddings and language-model head, from a checkpoint if there is one."""
    causal = require_head(student)
    causal.requires_grad_(True)
    for module in (causal.get_input_embeddings(), causal.get_output_embeddings()):
        module.requires_grad_(False)
    file = parts_folder(folder) / CHECKPOINT
    trainer = Trainer(causal, head, stages, rate=settings.rate, checkpoint=file, request=request)
    trainer.run(losses, report=report)


def _progress(texts: int, report: Callable[[str], None]) -> Progress:
    """Report on the reading of the teacher, at most every 10 seconds."""
    done, started = 0, perf_counter()
    reported = started

    def progress(count: int, _characters: int) -> None:
        nonlocal done, reported
        done, now = done + count, perf_counter()
        if done and now - reported >= _REPORT_S:
            rate = done / (now - started)
            left = math.ceil((texts - done) / rate / 60)
            report(f"teacher: {done:,} of {texts:,} texts, {rate:,.0f} texts/s, {left} min left")
            reported = now

    return progress


def _untrained_head(
    student: LoadedModel,
    texts: Sequence[TokenizedText],
    margins: Margins,
    artifact: Artifact,
    prompt: Sequence[int],
    layers: tuple[int, ...],
    seed: int,
) -> StudentHead:
    """The head that a random choice of the texts gives."""
    rows = np.random.default_rng([seed, 3]).permutation(len(texts))
    count = int(np.searchsorted(np.cumsum(np.diff(margins.start)[rows]), _SAMPLE_TOKENS)) + 1
    inputs = []
    for part in np.array_split(rows[:count], max(1, count // 16)):
        with torch.no_grad():
            states, mask = text_inputs(student.model, [texts[row].ids for row in part], prompt, layers)
        inputs.append(states[mask].float())
    columns = torch.cat(inputs)
    if not columns.isfinite().all():
        raise BadModel(f"{student.name} has hidden states that are not finite; check its weights")
    targets = torch.from_numpy(margins.of(rows[:count])).float().to(student.device)
    return ridge_head(columns, targets, artifact, layers)


def _student_detector(
    student: LoadedModel,
    head: StudentHead,
    spec: FeatureSpec,
    texts: Texts,
    labels: np.ndarray,
    held_out: np.ndarray,
    artifact: Artifact,
    folder: Path,
    record: dict[str, Any],  # Any: plain JSON values
    device: str | None,
) -> Detector:
    """The detector of a trained student, which reads the texts in bfloat16, calibrated on held-out rows."""
    saved = parts_folder(folder) / _STUDENT
    save_model(student, saved, record)
    head = head.cpu()
    directions, linear = head.directions(), linear_layer(head.network)
    readers = []
    for dtype in ("float32", "bfloat16"):
        loaded = load_model(saved, n_layers=head.layers[-1] + 1, device=device, dtype=dtype)
        loaded = replace(loaded, name=str(folder.absolute()))
        readers.append(TextReader(loaded, replace(spec, layers=head.layers), directions=directions))
    reader, half = readers
    table = read_table(half, texts)
    rows = np.flatnonzero(held_out & table.ok)
    judged = HeldOut(rows, table.values[rows], *linear)
    y = labels[:, :1].astype(float)
    return fit_detector(
        texts,
        y,
        reader,
        name=f"{artifact.name}-distilled",
        label=artifact.labels,
        negative=artifact.negative,
        judged=held_out,
        languages=artifact.training.get("languages", ()),
        by_length=_BY_LENGTH,
        table=table,
        fitted=Fitted(
            standardized_head(table.values[np.flatnonzero(table.ok)], *linear),
            {"distilled": artifact.name, "factors": record["factors"], "steps": record["steps"]},
            judged.logits,
            long_negatives(reader.columns, [judged], y, table.tokens),
        ),
        features_dtype="bfloat16",
        command=record["command"],
    ).detector


def _layers_for(artifact: Artifact, student: LoadedModel) -> tuple[int, ...]:
    """The student's layers that the new hyperplanes lie across: those of the detector, or up to six."""
    requested = tuple(artifact.spec["layers"])
    if student.depth > requested[-1]:
        return requested
    count = min(student.depth, _MOST_LAYERS)
    return tuple(sorted({round(layer) for layer in np.linspace(0, student.depth - 1, count)}))


def _held_out(artifact: Artifact, texts: Texts, labels: np.ndarray, seed: int) -> np.ndarray:
    """Every fifth different text of each class, of those that the detector was not fitted on."""
    unseen = ~artifact.seen_in(texts.texts)
    fewest = min(int((labels[unseen, 0] == label).sum()) for label in (0, 1))
    if fewest < _FEWEST_UNSEEN:
        raise BadLabels(
            f"detector {artifact.name} was fitted on {int((~unseen).sum()):,} of the {len(texts):,} texts; "
            f"its student is calibrated on others, and of one class there are {fewest}: give "
            f"{_FEWEST_UNSEEN} of each class that it was not fitted on"
        )
    _, same_text = np.unique(text_hashes(texts.texts), return_inverse=True)
    return fold_of_rows(labels, unseen, same_text, seed=seed) == 0


def _windows(texts: Texts, tokenizer: Any, settings: Settings) -> Tensor:  # Any: see LoadedModel
    """The texts joined in random order, and cut into windows of token ids."""
    order = np.random.default_rng(settings.seed).permutation(len(texts))
    tokenized = tokenize([texts.texts[row] for row in order], tokenizer)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ids = np.array([number for text in tokenized if text.ids for number in (*text.ids, *end)], np.int64)
    count = len(ids) // settings.window
    fewest = _HELD_OUT + -(-settings.batch_tokens // settings.window)
    if count < fewest:
        raise BadTexts(
            f"the texts have {len(ids):,} tokens, and {fewest * settings.window:,} are needed: {_HELD_OUT} "
            f"windows of {settings.window} to measure on, and a batch to train on"
        )
    return torch.from_numpy(ids[: count * settings.window].reshape(count, -1))


def _stages(
    shares: Sequence[float], steps: int, factors: Mapping[str, float], matching: Sequence[str]
) -> list[Stage]:
    """The three stages; without a loss that matches the first has the others, too."""
    ends = np.rint(np.cumsum([0.0, *shares]) * steps).astype(int)
    first, second, third = np.diff(ends).tolist()
    match = {name: factor for name, factor in factors.items() if name in matching}
    taught = {name: factor for name, factor in factors.items() if name not in matching}
    return [
        Stage("match", first, match or taught, gains_only=True),
        Stage("labels" if "labels" in factors else "texts", second, taught),
        Stage("all", third, factors),
    ]


def _request(
    teacher: LoadedModel,
    student: LoadedModel,
    texts: Texts,
    settings: Settings,
    blocks: int | None,
    evenly: bool,
    factors: Mapping[str, float],
) -> dict[str, Any]:  # Any: plain JSON values
    """What decides the weights."""
    return {
        "teacher": {"name": teacher.name, "fingerprint": teacher.fingerprint.to_dict()},
        "student": {
            "name": student.name,
            "fingerprint": student.fingerprint.to_dict(),
            "blocks": blocks,
            "evenly": evenly,
        },
        "texts": len(texts),
        "data_hash": texts.data_hash,
        "factors": dict(factors),
        "settings": {**asdict(settings), "shares": list(settings.shares)},
    }


def _record(request: dict[str, Any], steps: int, command: str) -> dict[str, Any]:  # Any: plain JSON values
    """What ``splinelens.json`` says of the student."""
    versions = {"splinelens": __version__, "torch": torch.__version__}
    return {**versions, "command": command, "kind": "distilled", **request, "steps": steps}
