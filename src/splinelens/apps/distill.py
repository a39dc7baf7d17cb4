"""A pruned or shorter model learns from a teacher: its next tokens, or what a detector reads in it.

The student is trained in three stages, as LLaVA-KD (arXiv:2410.16236) trains a smaller vision-language model:
first few parameters learn to match the teacher, then all learn the labels, then all learn both. Weights are
float32 and products bfloat16; the teacher runs in bfloat16.
"""

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splinelens import __version__
from splinelens.anatomy import anatomy_of
from splinelens.apps.detector import Detector
from splinelens.apps.training import fit_detector, long_negatives, require_labels
from splinelens.detect import learned
from splinelens.detect.artifact import Artifact
from splinelens.detect.learned import (
    STEP,
    HeldOut,
    Network,
    folded,
    linear_layer,
    standardized_head,
)
from splinelens.detect.shipped import find_artifact
from splinelens.detect.solver import Fitted, fold_of_rows
from splinelens.engines.distillation import (
    Batches,
    Stage,
    Trainer,
    margin_match,
    mlp_inputs,
    relation_loss,
    token_divergence,
)
from splinelens.engines.torch import run_prompt
from splinelens.errors import BadDetector, BadFeatures, BadLabels, BadModel, BadTexts
from splinelens.features.extract import read_table
from splinelens.features.reader import TextReader
from splinelens.files import atomic_write, results_folder, write_errors, write_text
from splinelens.geometry.directions import Directions
from splinelens.geometry.partition import learned_margin
from splinelens.models import LoadedModel, load_model
from splinelens.models.fingerprint import per_block
from splinelens.models.load import require_same_tokenizer
from splinelens.models.quiet import quiet
from splinelens.texts import Texts, text_hashes
from splinelens.tokens import TokenizedText, prompt_ids, tokenize

CHECKPOINT = "checkpoint.safetensors"
"""What a stopped run leaves in its folder."""

RECORD = "distillation.json"
"""What decided the student's weights, and the losses before and after."""

MARGINS = "margins-*.npy"
"""The teacher's margins, kept while a student trains, with a hash of what they are of."""

TOKEN_FACTORS: Mapping[str, float] = {"divergence": 1.0, "relation": 1.0, "cross-entropy": 0.2}
"""Of the losses of next tokens: the one that stands in the text is a noisy label beside the teacher's."""

KEEP_FACTORS: Mapping[str, float] = {"margins": 1.0, "relation": 0.1, "score": 1.0, "labels": 1.0}
"""Of the losses that keep a detector."""

_HELD_OUT = 24  # windows
_SAMPLE_TOKENS = 30_000
_REPORT_TOKENS = 20_000
_RIDGE = 0.03
_MOST_LAYERS = 6
_BY_LENGTH = 0.5
_FEWEST_UNSEEN = 50  # of each class
_FEWEST_STEPS = 10


@dataclass(frozen=True)
class Settings:
    """How a student is trained.

    Attributes:
        rate: Largest learning rate.
        shares: Of the steps, of the three stages: match, labels, all.
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
        if any(share < 0 for share in self.shares) or abs(sum(self.shares) - 1) > 1e-6:
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
    spread: bool = False,
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
        spread: Take them evenly from first to last instead of the first.
        settings: How it is trained.
        overwrite: Replace a model that is in the folder.
        device: Such as ``cuda:0``.
        command: The command that makes the student again, for the record.
        report: Called with lines on the progress.

    Returns:
        The record, which is also written to ``distillation.json``: settings, fingerprints, steps, and the
        cross-entropy per held-out token of teacher and student, before and after.

    Raises:
        BadModel: The tokenizers differ, or the student has more blocks than the teacher.
        BadTexts: Too few tokens for ten steps.
        CannotResume: The folder holds a stopped run with other settings.
        Diverged: Training gives numbers that are not finite; the checkpoint holds the last good state.
    """
    folder = results_folder(output, ("config.json", RECORD), overwrite=overwrite)
    source = Texts.of(texts)
    master = load_model(teacher, head=True, dtype="bfloat16", device=device)
    pupil = load_student(student, master, blocks=blocks, spread=spread, device=device)
    windows = _windows(source, pupil.tokenizer, settings).to(pupil.device)
    held, windows = windows[:_HELD_OUT], windows[_HELD_OUT:]
    batches = Batches([settings.window] * len(windows), settings.batch_tokens, settings.seed)
    steps = len(batches) if settings.tokens is None else settings.tokens // settings.batch_tokens
    if steps < _FEWEST_STEPS:
        raise BadTexts(
            f"the texts and settings give {steps} steps of {settings.batch_tokens} tokens, too few of "
            f"{_FEWEST_STEPS}; give more texts or tokens"
        )
    causal, expert = pupil.causal, master.causal
    assert causal is not None
    assert expert is not None
    _train_blocks(pupil)
    request = _request(master, pupil, source, settings, blocks, spread)
    losses_before = {"teacher": cross_entropy(expert, held), "before": cross_entropy(causal, held)}
    stages = _stages(settings.shares, steps, TOKEN_FACTORS, ("divergence", "relation"))

    def losses(step: int, factors: Any) -> tuple[dict[str, Tensor], int]:  # Any: see Losses
        ids = windows[batches.at(step)]
        values, mask = {}, torch.ones(len(ids), ids.shape[1] - 1, dtype=torch.bool, device=ids.device)
        with torch.autocast(ids.device.type, torch.bfloat16):
            ours = causal(ids, output_hidden_states="relation" in factors)
        if "cross-entropy" in factors:
            logits = ours.logits[:, :-1].flatten(0, 1).float()
            values["cross-entropy"] = nn.functional.cross_entropy(logits, ids[:, 1:].flatten())
        if "divergence" in factors:
            with torch.no_grad():
                theirs = expert(ids, output_hidden_states=True)
            values["divergence"] = token_divergence(theirs.logits[:, :-1], ours.logits[:, :-1], mask)
            states = theirs.hidden_states[-1][:, 1:], ours.hidden_states[-1][:, 1:]
            values["relation"] = relation_loss(*states, mask)
        return values, ids.numel()

    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    trainer = Trainer(
        causal,
        None,
        stages,
        rate=settings.rate,
        head_rate=settings.rate,
        checkpoint=folder / CHECKPOINT,
        request=request,
    )
    trainer.run(losses, report=report)
    entropy = losses_before | {"after": cross_entropy(causal, held)}
    record = {**request, "steps": steps, "command": command, **_versions(), "held_out": entropy}
    _save(pupil, folder, record, overwrite)
    _remove_unfinished(folder)
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
    spread: bool = False,
    held_out: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    margins: np.ndarray | None = None,
    factors: Mapping[str, float] = KEEP_FACTORS,
    settings: Settings = Settings(),
    overwrite: bool = False,
    device: str | None = None,
    name: str | None = None,
    sources: Sequence[str] = (),
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
        spread: As in ``distill``.
        held_out: (text,) boolean: rows that nothing is trained on; they give calibration, thresholds and
            metrics. None takes every fifth different text of those that the detector was not fitted on.
        weights: (text,), how much a text counts; None is 1 for all.
        margins: (token, hyperplane) of the texts one after the other, if the teacher was read before.
        factors: Of the losses.
        settings: How it is trained.
        overwrite: As in ``distill``.
        device: As in ``distill``.
        name: Of the new detector; None adds ``-distilled``.
        sources: Names of the data, for the card.
        command: As in ``distill``.
        report: As in ``distill``.

    Returns:
        The new detector, which is saved.

    Raises:
        BadDetector: The detector has several labels, or no learned hyperplanes.
        BadLabels: Too few of a class, among those that the detector was not fitted on, too.
        BadModel: As in ``distill``, as are the others.
    """
    artifact = find_artifact(detector)
    if artifact.task != "binary" or artifact.directions is None:
        raise BadDetector(
            f"detector {artifact.name} has no learned hyperplanes for one label, which a student could be "
            "given; make one with splinelens train --directions"
        )
    folder = results_folder(output, ("config.json", RECORD), overwrite=overwrite)
    source = Texts.of(texts)
    known = require_labels(labels, "binary", artifact.labels, len(source))
    expert = Detector.load(
        detector, model=teacher, dtype="bfloat16", device=device, long="cut", engine="torch"
    ).reader
    assert isinstance(expert.loaded, LoadedModel)
    pupil = load_student(student, expert.loaded, blocks=blocks, spread=spread, device=device)
    layers = _layers_for(artifact, pupil)
    tokenized = expert.tokenize(source.texts)
    held = (
        _held_out(artifact, source, known, settings.seed) if held_out is None else np.asarray(held_out, bool)
    )
    readable = np.array([text.reason is None for text in tokenized])
    rows = np.flatnonzero(readable & ~held)
    lengths = [len(tokenized[row].ids) for row in rows]
    batches = Batches(lengths, settings.batch_tokens, settings.seed)
    mean_tokens = sum(lengths) / len(batches)
    steps = len(batches) if settings.tokens is None else int(settings.tokens / mean_tokens)
    if steps < _FEWEST_STEPS:
        raise BadTexts(
            f"the texts and settings give {steps} steps, too few of {_FEWEST_STEPS}; give more texts"
        )
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
    request = _request(expert.loaded, pupil, source, settings, blocks, spread) | {
        "detector": artifact.digest,
        "factors": dict(factors),
        "held_out": hashlib.sha256(held.tobytes()).hexdigest(),
        "weights": None if weights is None else hashlib.sha256(weights.tobytes()).hexdigest(),
    }
    if margins is None:
        of = f"{request['teacher']}{artifact.digest}{source.data_hash}".encode()
        file = folder / MARGINS.replace("*", hashlib.sha256(of).hexdigest()[:12])
        margins = _teacher_margins(expert, tokenized, file, report)
    lesson = _Lesson(artifact, pupil, expert, tokenized, known[:, 0], margins, layers, weights)
    torch.default_generator.manual_seed(settings.seed)
    network = lesson.network(rows, settings.seed)
    _train_blocks(pupil)
    stages = _stages(settings.shares, steps, factors, ("margins", "relation"))
    assert pupil.causal is not None
    trainer = Trainer(
        pupil.causal,
        network,
        stages,
        rate=settings.rate,
        head_rate=settings.rate,
        checkpoint=folder / CHECKPOINT,
        request=request,
    )
    trainer.run(lambda step, chosen: lesson.losses(network, rows[batches.at(step)], chosen), report=report)
    _save(pupil, folder, {**request, "steps": steps, "command": command, **_versions()}, overwrite)
    kept = lesson.detector(
        load_model(folder, n_layers=layers[-1] + 1, device=device),
        load_model(folder, n_layers=layers[-1] + 1, device=device, dtype="bfloat16"),
        network,
        source,
        held,
        name=name or f"{artifact.name}-distilled",
        sources=sources,
        command=command,
        settings={"distilled": artifact.name, "factors": dict(factors), "steps": steps},
    )
    kept.save(folder / "detector", overwrite=overwrite)
    _remove_unfinished(folder)
    return kept


def load_student(
    name: str | PathLike[str],
    teacher: LoadedModel,
    *,
    blocks: int | None = None,
    spread: bool = False,
    device: str | None = None,
) -> LoadedModel:
    """Load a student with its head in float32, whole or some of its blocks.

    Args:
        name: A model, as ``load_model`` takes it.
        teacher: The teacher, whose tokenizer and depth are compared.
        blocks: How many blocks to take; None takes all.
        spread: Evenly from first to last instead of the first.
        device: As in ``load_model``.

    Raises:
        BadModel: The tokenizers differ, or it has more blocks than the teacher.
        BadFeatures: It has fewer blocks.
    """
    student = load_model(name, head=True, device=device)
    require_same_tokenizer(teacher, student)
    if blocks is not None:
        if not 1 <= blocks <= student.depth:
            raise BadFeatures(f"cannot take {blocks} blocks: {student.name} has {student.depth}")
        last = student.depth - 1 if spread else blocks - 1
        student = _with_blocks(student, np.linspace(0, last, blocks).round().astype(int).tolist())
    if student.depth > teacher.total_depth:
        raise BadModel(
            f"the student {student.name} has {student.depth} blocks and the teacher {teacher.name} "
            f"{teacher.total_depth}; take fewer with blocks, or exchange them"
        )
    return student


class _Lesson:
    """What a student is taught of the texts of a detector: the teacher's margins and score, and the labels.

    Args:
        artifact: The teacher's detector.
        pupil: The student.
        expert: What reads the teacher.
        tokenized: The texts, as the detector reads them.
        labels: (text,), 0 or 1.
        margins: (token, hyperplane) of the texts, one after the other.
        layers: The student's layers that its hyperplanes lie across.
        weights: (text,), how much a text counts; None is 1 for all.
    """

    def __init__(
        self,
        artifact: Artifact,
        pupil: LoadedModel,
        expert: TextReader,
        tokenized: Sequence[TokenizedText],
        labels: np.ndarray,
        margins: np.ndarray,
        layers: tuple[int, ...],
        weights: np.ndarray | None,
    ):
        self.artifact, self.pupil, self.layers, self.labels = artifact, pupil, layers, labels
        self._spec = replace(expert.spec, layers=layers)
        self._prompt = prompt_ids(pupil.tokenizer, expert.spec.prompt, beginning=True)
        self._tokenized, self._margins = tokenized, margins
        self._start = np.concatenate([[0], np.cumsum([len(text.ids) for text in tokenized])])
        weights = np.ones(len(labels)) if weights is None else weights
        self._y, self._weights, self._scores = (
            torch.from_numpy(each).float().to(pupil.device)
            for each in (labels, weights, self._teacher_scores())
        )

    def network(self, rows: np.ndarray, seed: int) -> Network:
        """Hyperplanes that give the teacher's margins with the least squared error, and the detector's head.

        Args:
            rows: The rows to take some from.
            seed: Of the choice.
        """
        rows = np.random.default_rng([seed, 3]).permutation(rows)
        count = int(np.searchsorted(np.cumsum(np.diff(self._start)[rows]), _SAMPLE_TOKENS)) + 1
        inputs, targets = [], []
        for part in np.array_split(rows[:count], max(1, count // 16)):
            with torch.no_grad():
                states, mask = self._inputs(part)
            inputs.append(states[mask].float())
            targets.append(self._targets(part))
        x, y = torch.cat(inputs), torch.cat(targets)
        self._mean, self._scale, self._center = x.mean(0), x.std(0) + 1e-3, y.mean(0)
        x = (x - self._mean) / self._scale
        gram = x.T @ x + _RIDGE * len(x) * torch.eye(x.shape[1], device=x.device)
        network = Network(x.shape[1], learned.Settings(y.shape[1], self.layers))
        calibration, head = self.artifact.calibrations[0], self.artifact.head
        weight = torch.from_numpy(head.weight / head.scale).float()
        with torch.no_grad():
            network.directions.weight.copy_(torch.linalg.solve(gram, x.T @ (y - self._center)).T)
            network.directions.bias.copy_(self._center)
            network.out.weight.copy_(calibration.slope * weight)
            bias = float(head.bias[0] - (head.weight / head.scale)[0] @ head.mean)
            network.out.bias.fill_(calibration.slope * bias + calibration.intercept)
        return network.to(x.device).train()

    def losses(
        self, network: Network, rows: np.ndarray, factors: Mapping[str, float]
    ) -> tuple[dict[str, Tensor], int]:
        """The losses of some rows, and their tokens."""
        states, mask = self._inputs(rows)
        margins = network.margins(self._standardized(states[mask]))
        targets, lengths = self._targets(rows), mask.sum(dim=1)
        values: dict[str, Tensor] = {}
        if "margins" in factors:
            every = torch.ones(len(targets), dtype=torch.bool, device=targets.device)
            values["margins"] = margin_match(targets - self._center, margins - self._center, every)
        if "relation" in factors:
            theirs = torch.zeros(*mask.shape, targets.shape[1], device=targets.device)
            theirs[mask] = targets - self._center
            width = states.shape[-1] // len(self.layers)
            values["relation"] = relation_loss(theirs, states[..., -width:], mask)
        logits = network.out(learned.pool(margins, lengths))[:, 0]
        for name, wanted in (("score", self._scores), ("labels", self._y)):
            if name in factors:
                loss = nn.functional.binary_cross_entropy_with_logits
                values[name] = loss(logits, wanted[rows], self._weights[rows])
        return values, int(lengths.sum())

    def detector(
        self,
        loaded: LoadedModel,
        source: LoadedModel,
        network: Network,
        texts: Texts,
        judge: np.ndarray,
        **options: Any,  # Any: of fit_detector
    ) -> Detector:
        """The detector of the trained student.

        Args:
            loaded: The student.
            source: The same in bfloat16, which reads the texts.
            network: The trained hyperplanes and head.
            texts: The texts.
            judge: (text,) boolean: the rows that give calibration and thresholds.
            options: For the card.
        """
        weight, bias = folded(
            network.eval(),
            *(each.reshape(len(self.layers), -1).numpy() for each in (self._mean, self._scale)),
        )
        directions = Directions(weight.astype(np.float16), bias)
        readers = [TextReader(each, self._spec, directions=directions) for each in (loaded, source)]
        table = read_table(readers[1], texts)
        ok = np.flatnonzero(table.ok)
        head = standardized_head(table.values[ok], *linear_layer(network))
        judged = np.flatnonzero(judge & table.ok)
        of_judged = HeldOut(judged, table.values[judged], *linear_layer(network))
        y = self.labels[:, None].astype(float)
        long = long_negatives(readers[0].columns, [of_judged], y, table.tokens)
        settings = options.pop("settings")
        return fit_detector(
            texts,
            y,
            readers[0],
            label=self.artifact.labels,
            negative=self.artifact.negative,
            judged=judge,
            languages=self.artifact.training.get("languages", ()),
            by_length=_BY_LENGTH,
            table=table,
            fitted=Fitted(head, settings, of_judged.logits, long),
            features_dtype="bfloat16",
            **options,
        ).detector

    def _inputs(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """What the student's MLPs read of the texts, (text, token, column), and which tokens are there."""
        lengths = torch.tensor([len(self._tokenized[row].ids) for row in rows])
        mask = torch.arange(int(lengths.max())) < lengths[:, None]
        ids = torch.zeros(mask.shape, dtype=torch.long)
        ids[mask] = torch.tensor([number for row in rows for number in self._tokenized[row].ids])
        device, model = self.pupil.device, self.pupil.model
        with torch.autocast(device.type, torch.bfloat16):
            prompt = run_prompt(model, self._prompt, gradients=torch.is_grad_enabled())
            return mlp_inputs(model, ids.to(device), prompt, self.layers), mask.to(device)

    def _standardized(self, states: Tensor) -> Tensor:
        return ((states.float() - self._mean) / (self._scale * STEP)).bfloat16()

    def _targets(self, rows: np.ndarray) -> Tensor:
        """The teacher's margins of all tokens of the texts."""
        parts = [self._margins[self._start[row] : self._start[row + 1]] for row in rows]
        return torch.from_numpy(np.concatenate(parts)).float().to(self.pupil.device)

    def _teacher_scores(self) -> np.ndarray:
        """The calibrated scores of the teacher's detector, 0 for texts without tokens."""
        head, scores = self.artifact.head, np.zeros(len(self._tokenized))
        for row, text in enumerate(self._tokenized):
            if text.ids:
                margins = self._margins[self._start[row] : self._start[row + 1]].astype(np.float64)
                logit = head.logit(np.concatenate([margins.max(0), margins.min(0)])[None])
                scores[row] = self.artifact.scores(logit, np.array([text.total]))[0, 0]
        return scores


def _layers_for(artifact: Artifact, student: LoadedModel) -> tuple[int, ...]:
    """The student's layers that the new hyperplanes lie across: those of the detector, or up to six."""
    wanted = tuple(artifact.spec["layers"])
    if student.depth > wanted[-1]:
        return wanted
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


def _teacher_margins(
    reader: TextReader, tokenized: Sequence[TokenizedText], file: Path, report: Callable[[str], None]
) -> np.ndarray:
    """The margins of every token, one text after the other, in half precision: from the file, or read now."""
    if file.is_file():
        return np.load(file, mmap_mode="r")
    directions, engine = reader.layout.directions, reader.torch_engine
    assert directions is not None
    start = np.concatenate([[0], np.cumsum([len(text.ids) for text in tokenized])]).astype(int)
    began, done = perf_counter(), 0
    with atomic_write(file) as temporary:
        shape = int(start[-1]), len(directions)
        store = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float16, shape=shape)
        for batch, values in reader.inputs(tokenized):
            margins = (
                sum(
                    learned_margin(values[:, :, index], normal.cpu())
                    for index, normal in enumerate(engine.normals.values())
                )
                + engine.bias.cpu()
            )
            for row, (window, (begin, end)) in enumerate(zip(batch.windows, batch.spans, strict=True)):
                at = int(start[window.text])
                store[at + window.pooled : at + window.stop] = margins[row, begin:end].half().numpy()
                if (done + end - begin) // _REPORT_TOKENS > done // _REPORT_TOKENS:
                    rate = (done + end - begin) / (perf_counter() - began)
                    left = math.ceil((shape[0] - done) / rate / 60)
                    report(f"teacher: {done:,} of {shape[0]:,} tokens, {rate:,.0f} tokens/s, {left} min left")
                done += end - begin
        store.flush()
    return np.load(file, mmap_mode="r")


def cross_entropy(causal: Any, windows: Tensor) -> float:  # Any: a model of transformers
    """Nats per token that a model needs for windows of ids, each token after the first."""
    total = 0.0
    for ids in windows.split(4):
        with torch.no_grad(), torch.autocast(ids.device.type, torch.bfloat16):
            logits = causal(ids).logits[:, :-1]
        loss = nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        total += loss.item() * len(ids)
    return total / len(windows)


def _with_blocks(student: LoadedModel, chosen: Sequence[int]) -> LoadedModel:
    """The same model with some of its blocks, in order."""
    anatomy, config = anatomy_of(student.model), student.model.config.get_text_config()  # type: ignore[union-attr, operator]  # set by transformers
    for key in per_block(config):
        values = getattr(config, key)
        setattr(config, key, [values[layer] for layer in chosen])
    for layer in sorted({*range(student.depth)} - {*chosen}, reverse=True):
        del anatomy.blocks[layer]
    config.num_hidden_layers = len(chosen)
    for layer, block in enumerate(anatomy.blocks):
        for module in block.modules():
            if hasattr(module, "layer_idx"):
                setattr(module, "layer_idx", layer)  # noqa: B010  # of its keys and values in the cache
    return replace(student, depth=len(chosen), total_depth=len(chosen), stored_chain=None)


def _train_blocks(student: LoadedModel) -> None:
    """Require gradients of all weights but the embeddings and the head."""
    assert student.causal is not None
    student.causal.requires_grad_(True)
    for module in (student.causal.get_input_embeddings(), student.causal.get_output_embeddings()):  # type: ignore[operator]  # set by transformers
        module.requires_grad_(False)


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
        Stage("labels", second, taught),
        Stage("all", third, factors),
    ]


def _request(
    teacher: LoadedModel,
    student: LoadedModel,
    texts: Texts,
    settings: Settings,
    blocks: int | None,
    spread: bool,
) -> dict[str, Any]:  # Any: plain JSON values
    """What decides the weights."""
    return {
        "teacher": {"name": teacher.name, "fingerprint": teacher.fingerprint.to_dict()},
        "student": {
            "name": student.name,
            "fingerprint": student.fingerprint.to_dict(),
            "blocks": blocks,
            "spread": spread,
        },
        "texts": len(texts),
        "data_hash": texts.data_hash,
        "settings": {**asdict(settings), "shares": list(settings.shares)},
    }


def _versions() -> dict[str, str]:
    return {"splinelens": __version__, "torch": torch.__version__}


def _save(student: LoadedModel, folder: Path, record: dict[str, Any], overwrite: bool) -> None:  # Any: JSON
    """Write the student, its tokenizer and the record."""
    assert student.causal is not None
    with write_errors(folder), quiet():
        student.causal.save_pretrained(folder)  # type: ignore[operator]  # set by transformers
        student.tokenizer.save_pretrained(folder)
    write_text(folder / RECORD, json.dumps(record, indent=1) + "\n", overwrite=overwrite)


def _remove_unfinished(folder: Path) -> None:
    for file in (folder / CHECKPOINT, *folder.glob(MARGINS)):
        file.unlink(missing_ok=True)
