"""A pruned or shorter model learns from a teacher: its next tokens, or what a detector reads in it.

The student is trained in three stages, as LLaVA-KD (arXiv:2410.16236) trains a smaller vision-language model:
first few parameters learn to match the teacher, then all learn the labels, then all learn both. Weights are
float32 and products bfloat16; the teacher runs in bfloat16.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splinelens import __version__
from splinelens.anatomy import anatomy_of
from splinelens.errors import BadFeatures, BadModel, BadTexts
from splinelens.files import results_folder, write_errors, write_text
from splinelens.models import LoadedModel, load_model
from splinelens.models.fingerprint import per_block
from splinelens.models.quiet import quiet
from splinelens.texts import Texts
from splinelens.tokens import tokenize

if TYPE_CHECKING:
    from torch import Tensor

CHECKPOINT = "checkpoint.safetensors"
"""What a stopped run leaves in its folder."""

RECORD = "distillation.json"
"""What decided the student's weights, and the losses before and after."""

_HELD_OUT = 24  # windows
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
    import torch

    from splinelens.engines.distillation import (
        Batches,
        Stage,
        Trainer,
        relation_loss,
        token_divergence,
    )

    folder = results_folder(output, ("config.json", RECORD), overwrite=overwrite)
    source = Texts.of(texts)
    master = load_model(teacher, head=True, dtype="bfloat16", device=device)
    pupil = load_student(student, master, blocks=blocks, spread=spread, device=device)
    windows = _windows(source, pupil.tokenizer, settings)
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
    match = {"divergence": 1.0, "relation": 1.0}
    counts = _counts(settings.shares, steps)
    stages = [
        Stage("match", counts[0], match, gains_only=True),
        Stage("labels", counts[1], {"cross-entropy": 1.0}),
        Stage("all", counts[2], match | {"cross-entropy": 1.0}),
    ]

    def losses(step: int, factors: Any) -> "tuple[dict[str, Tensor], int]":  # Any: see Losses
        ids = windows[batches.at(step)]
        values, mask = {}, torch.ones(len(ids), ids.shape[1] - 1, dtype=torch.bool, device=ids.device)
        with torch.autocast(ids.device.type, torch.bfloat16):
            ours = causal(ids, output_hidden_states="relation" in factors)
        if "cross-entropy" in factors:
            logits = ours.logits[:, :-1].flatten(0, 1).float()
            values["cross-entropy"] = torch.nn.functional.cross_entropy(logits, ids[:, 1:].flatten())
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
    record = {**request, "steps": steps, "command": command, "version": __version__, "held_out": entropy}
    _save(pupil, folder, record, overwrite)
    return record


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
    first = blocks if blocks is not None and not spread else None
    student = load_model(name, head=True, n_layers=first, device=device)
    _require_same_tokenizer(teacher, student)
    if blocks is not None and spread:
        if not 1 <= blocks <= student.depth:
            raise BadFeatures(f"cannot take {blocks} blocks: {student.name} has {student.depth}")
        chosen = [round(index * (student.depth - 1) / max(1, blocks - 1)) for index in range(blocks)]
        student = _with_blocks(student, chosen)
    if student.depth > teacher.total_depth:
        raise BadModel(
            f"the student {student.name} has {student.depth} blocks and the teacher {teacher.name} "
            f"{teacher.total_depth}; take fewer with blocks, or exchange them"
        )
    return student


def cross_entropy(causal: Any, windows: "Tensor") -> float:  # Any: a model of transformers
    """Nats per token that a model needs for windows of ids, each token after the first."""
    import torch

    total = 0.0
    for ids in windows.split(4):
        with torch.no_grad(), torch.autocast(ids.device.type, torch.bfloat16):
            logits = causal(ids).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), ids[:, 1:].flatten())
        total += loss.item() * len(ids)
    return total / len(windows)


def _require_same_tokenizer(teacher: LoadedModel, student: LoadedModel) -> None:
    if teacher.fingerprint.tokenizer == student.fingerprint.tokenizer:
        return
    ours, theirs = (
        {number: token for token, number in each.tokenizer.get_vocab().items()} for each in (student, teacher)
    )
    for number in sorted(ours.keys() | theirs.keys()):
        if ours.get(number) != theirs.get(number):
            raise BadModel(
                f"the tokenizers differ, first in token {number}: {ours.get(number)!r} of {student.name} and "
                f"{theirs.get(number)!r} of {teacher.name}; a student reads its teacher's tokens"
            )
    raise BadModel(
        f"the tokenizers of {student.name} and {teacher.name} have the same tokens and other rules; a "
        "student reads its teacher's tokens"
    )


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
                module.layer_idx = layer  # of its keys and values in the cache
    return replace(student, depth=len(chosen), total_depth=len(chosen), stored_chain=None)


def _train_blocks(student: LoadedModel) -> None:
    """Require gradients of all weights but the embeddings and the head."""
    assert student.causal is not None
    student.causal.requires_grad_(True)
    for module in (student.causal.get_input_embeddings(), student.causal.get_output_embeddings()):  # type: ignore[operator]  # set by transformers
        module.requires_grad_(False)


def _windows(texts: Texts, tokenizer: Any, settings: Settings) -> "Tensor":  # Any: see LoadedModel
    """The texts joined in random order, and cut into windows of token ids."""
    import torch

    order = np.random.default_rng(settings.seed).permutation(len(texts))
    tokenized = tokenize([texts.texts[row] for row in order], tokenizer)
    end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
    ids = np.concatenate([np.array([*text.ids, *end], np.int64) for text in tokenized if text.ids] or [[]])
    count = len(ids) // settings.window
    fewest = _HELD_OUT + -(-settings.batch_tokens // settings.window)
    if count < fewest:
        raise BadTexts(
            f"the texts have {len(ids):,} tokens, and {fewest * settings.window:,} are needed: {_HELD_OUT} "
            f"windows of {settings.window} to measure on, and a batch to train on"
        )
    return torch.from_numpy(ids[: count * settings.window].reshape(count, -1))


def _counts(shares: Sequence[float], steps: int) -> list[int]:
    """The steps of each stage."""
    ends = np.rint(np.cumsum([0.0, *shares]) * steps).astype(int)
    return np.diff(ends).tolist()


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


def _save(student: LoadedModel, folder: Path, record: dict[str, Any], overwrite: bool) -> None:  # Any: JSON
    """Write the student, its tokenizer and the record; the checkpoint is removed."""
    assert student.causal is not None
    with write_errors(folder), quiet():
        student.causal.save_pretrained(folder)  # type: ignore[operator]  # set by transformers
        student.tokenizer.save_pretrained(folder)
    write_text(folder / RECORD, json.dumps(record, indent=1) + "\n", overwrite=overwrite)
    (folder / CHECKPOINT).unlink(missing_ok=True)
