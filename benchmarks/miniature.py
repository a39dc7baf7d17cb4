"""A miniature of LLaVA-KD: a small language model that names pictures, with and without a larger one's help.

    python benchmarks/miniature.py --data DIR --cache CACHE [-o benchmarks/miniature.json]

A picture of ``fashion-mnist`` is 16 patches of 7 x 7 pixels; one linear projector turns each into a soft token,
and the first blocks of the default model continue them with "a photo of a" and the class. The teacher has 12
blocks, the students 4. Arms differ in the losses of the stages DPT and DFT only and take equal steps. Source:
LLaVA-KD, arXiv:2410.16236, its losses at weight 1 and temperature 1.

Every stage of every arm is kept in CACHE when it ends; a stopped run continues there. The output has the
accuracies and, layer by layer, the region codes of visual and of text tokens; beside it, the same as Markdown.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from splinelens.anatomy import anatomy_of
from splinelens.geometry.codes import occupancy_distance
from splinelens.geometry.distillation import relation_loss, token_divergence
from splinelens.geometry.partition import boundary_distance, sign_fraction, signed_margin
from splinelens.layers import watch
from splinelens.models import LoadedModel, load_model
from splinelens.weights import walls_of

SIDE = 7
PATCHES = (28 // SIDE) ** 2
PHRASE = "a photo of a"
WORDS = "top trouser pullover dress coat sandal shirt sneaker bag boot".split()
VALIDATION = 500  # the last training pictures: settings are chosen on them, and nothing is fitted on them
VIEWS = 2  # of a training picture: itself, and one that is shifted and perhaps mirrored
PROJECTOR_RATE = 3e-3
SHIFT = 2  # most pixels of a shift
BATCH = 64
SEEDS = (0, 1, 2)
TEACHER_BLOCKS, STUDENT_BLOCKS = 12, 4
ARMS = {
    "CE": (),
    "MDist + RDist + CE": ("MDist", "RDist"),
}
BASELINE = "CE"
RESAMPLES = 10_000
Losses = dict[str, list[dict[str, float]]]
"""By stage and epoch, the mean of each loss by name."""


@dataclass(frozen=True)
class Pictures:
    """Pictures of 28 x 28 pixels, and the numbers of their classes."""

    images: Tensor
    labels: Tensor


@dataclass(frozen=True)
class Stage:
    """One stage of training.

    Attributes:
        name: As in the paper.
        epochs: Passes over the training pictures, each in one of its views.
        matches: Whether the losses that compare with a teacher are added to the cross-entropy.
        rate: The highest learning rate of the blocks, which rises over a tenth of the steps and falls to 0 as a
            cosine; None trains the projector only, whose rate is ``PROJECTOR_RATE``.
    """

    name: str
    epochs: int
    matches: bool
    rate: float | None


TEACHER = (Stage("SFT", 5, matches=False, rate=5e-4),)
STUDENT = (
    Stage("DPT", 1, matches=True, rate=None),
    Stage("SFT", 2, matches=False, rate=8e-4),
    Stage("DFT", 2, matches=True, rate=8e-4),
)


class Captioner(nn.Module):
    """The first blocks of a language model behind a linear projector of patches.

    The projector's bias is one for each place in the picture, as the features of a vision encoder have it.
    Only the rows of the head that a response may need are kept: the tokens of the phrase and the first token of
    each class word. These differ, so a class has the probability of its first token, and the response ends there.
    """

    def __init__(self, loaded: LoadedModel, seed: int):
        super().__init__()
        self.phrase = loaded.tokenizer(PHRASE).input_ids
        self.classes = [loaded.tokenizer(f" {word}").input_ids[0] for word in WORDS]
        assert len(set(self.classes)) == len(WORDS), "two class words begin with the same token"
        self.blocks = loaded.model
        self.blocks.set_attn_implementation("eager")  # at 20 tokens it trains twice as fast as the fused one
        rows = self.blocks.embed_tokens.weight.detach()
        self.register_buffer("prefix", rows[self.phrase].clone(), persistent=False)
        self.register_buffer("head", rows[self.classes + sorted(set(self.phrase))].clone(), persistent=False)
        self.blocks.embed_tokens = nn.Identity()
        rng = torch.Generator().manual_seed(seed)
        self.projector = nn.Linear(SIDE * SIDE, rows.shape[1], bias=False, dtype=rows.dtype)
        nn.init.normal_(self.projector.weight, std=float(rows.std()) / SIDE, generator=rng)
        place = float(rows.std()) * torch.randn(PATCHES, rows.shape[1], generator=rng)
        self.place = nn.Parameter(place.to(rows.dtype))

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Final states of the visual tokens and the phrase, and their logits over the rows of the head."""
        prefix = self.prefix.expand(len(patches), -1, -1)
        soft = self.projector(patches.to(self.place.dtype)) + self.place
        tokens = torch.cat([soft, prefix], dim=1)
        states = self.blocks(inputs_embeds=tokens, use_cache=False).last_hidden_state
        return states, states.float() @ self.head.float().T

    def targets(self, labels: Tensor) -> Tensor:
        """The rows of the head that the last visual token and the phrase should give."""
        rows = sorted(set(self.phrase))
        phrase = torch.tensor([len(WORDS) + rows.index(token) for token in self.phrase])
        return torch.cat([phrase.expand(len(labels), -1), labels[:, None]], dim=1)


def read_pictures(data: Path) -> dict[str, Pictures]:
    """The parts ``train``, ``validation`` and ``test``, standardized by the mean and deviation of all pixels."""
    stored = np.load(data / "fashion-mnist" / "fashion_mnist_5k.npz")
    images = torch.from_numpy(stored["images"]).float() / 255
    labels = torch.from_numpy(stored["labels"].astype(np.int64))
    train = torch.from_numpy(np.flatnonzero(stored["split"] == "train"))
    images = (images - images[train].mean()) / images[train].std()
    test = torch.from_numpy(np.flatnonzero(stored["split"] == "test"))
    parts = {"train": train[:-VALIDATION], "validation": train[-VALIDATION:], "test": test}
    return {name: Pictures(images[rows], labels[rows]) for name, rows in parts.items()}


def patches_of(images: Tensor) -> Tensor:
    """The patches of each picture in reading order, as rows of pixels."""
    cut = images.unfold(1, SIDE, SIDE).unfold(2, SIDE, SIDE)
    return cut.reshape(len(images), PATCHES, SIDE * SIDE)


def views_of(images: Tensor) -> Tensor:
    """Views of each picture: itself, and shifted and perhaps mirrored ones; (view, picture, row, column)."""
    rng = torch.Generator().manual_seed(0)
    views = [images]
    for _ in range(VIEWS - 1):
        padded = nn.functional.pad(images, [SHIFT] * 4, value=float(images.min()))
        down, right = torch.randint(0, 2 * SHIFT + 1, (2, len(images), 1), generator=rng)
        rows, columns = down + torch.arange(28), right + torch.arange(28)
        moved = padded[torch.arange(len(images))[:, None, None], rows[:, :, None], columns[:, None, :]]
        mirrored = torch.rand(len(images), generator=rng) < 0.5
        views.append(torch.where(mirrored[:, None, None], moved.flip(2), moved))
    return torch.stack(views)


@dataclass(frozen=True)
class Guide:
    """What a teacher says of every view of every training picture.

    Attributes:
        states: Final states of the visual tokens; (view, picture, token, width).
        logits: Over the rows of the head; (view, picture, token, row).
    """

    states: Tensor
    logits: Tensor


@torch.no_grad()
def guide_of(teacher: Captioner, views: Tensor) -> Guide:
    """Run the teacher once over everything that students will see."""
    states, logits = [], []
    for images in views.flatten(0, 1).split(BATCH):
        state, logit = teacher(patches_of(images))
        states.append(state[:, :PATCHES])
        logits.append(logit)
    return Guide(*(torch.cat(parts).unflatten(0, views.shape[:2]) for parts in (states, logits)))


def losses(
    model: Captioner, images: Tensor, labels: Tensor, guide: Guide | None, matches: tuple[str, ...]
) -> dict[str, Tensor]:
    """The losses of a batch by name; those in ``matches`` compare with the guide's rows."""
    states, logits = model(patches_of(images))
    answers = logits[:, PATCHES - 1 :]
    result = {"CE": nn.functional.cross_entropy(answers.mT, model.targets(labels))}
    everywhere = torch.ones(states.shape[:2], dtype=torch.bool)
    visual, response = everywhere.clone(), everywhere.clone()
    visual[:, PATCHES:], response[:, : PATCHES - 1] = False, False
    if "MDist" in matches:
        result["MDist"] = token_divergence(guide.logits, logits, response) + token_divergence(
            guide.logits, logits, visual
        )
    if "RDist" in matches:
        result["RDist"] = relation_loss(guide.states, states[:, :PATCHES], everywhere[:, :PATCHES])
    return result


def train(
    model: Captioner,
    stage: Stage,
    views: Tensor,
    labels: Tensor,
    seed: int,
    guide: Guide | None = None,
    matches: tuple[str, ...] = (),
) -> Iterator[dict[str, float]]:
    """Train one stage; the mean losses of every epoch are given when it ends."""
    model.requires_grad_(False)
    groups = [{"params": [model.projector.weight, model.place], "lr": PROJECTOR_RATE}]
    if stage.rate is not None:
        groups.append({"params": list(model.blocks.parameters()), "lr": stage.rate})
    parameters = [parameter.requires_grad_(True) for group in groups for parameter in group["params"]]
    for group in groups:  # the optimizer has weights in float32, the model rounds them
        group["params"] = [parameter.detach().float().clone() for parameter in group["params"]]
    masters = [master for group in groups for master in group["params"]]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.01, fused=True)
    steps = stage.epochs * math.ceil(len(labels) / BATCH)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: share_of_rate(step, steps))
    rng = torch.Generator().manual_seed(seed)
    for epoch in range(stage.epochs):
        total: dict[str, float] = {}
        for rows in torch.randperm(len(labels), generator=rng).split(BATCH):
            view = torch.randint(0, VIEWS, (len(rows),), generator=rng)
            seen = guide and Guide(guide.states[view, rows], guide.logits[view, rows])
            found = losses(model, views[view, rows], labels[rows], seen, matches if stage.matches else ())
            torch.stack(list(found.values())).sum().backward()
            for master, parameter in zip(masters, parameters, strict=True):
                master.grad, parameter.grad = parameter.grad.float(), None
            nn.utils.clip_grad_norm_(masters, 1.0)
            optimizer.step()
            schedule.step()
            for master, parameter in zip(masters, parameters, strict=True):
                parameter.data.copy_(master)
            for name, value in found.items():
                total[name] = total.get(name, 0.0) + float(value.detach()) * len(rows) / len(labels)
        if not math.isfinite(sum(total.values())):
            raise RuntimeError(f"{stage.name}, epoch {epoch}: the loss is not finite; lower the rate")
        yield total


def share_of_rate(step: int, steps: int) -> float:
    """Share of the highest rate at a step: a rise over the first tenth, then half a cosine."""
    rise = max(1, steps // 10)
    return min((step + 1) / rise, 0.5 * (1 + math.cos(math.pi * step / steps)))


@torch.no_grad()
def predicted(model: Captioner, images: Tensor) -> Tensor:
    """The most probable class of each picture."""
    parts = []
    for batch in images.split(BATCH):
        parts.append(model(patches_of(batch))[1][:, -1, : len(WORDS)].argmax(dim=1))
    return torch.cat(parts)


def fitted(
    path: Path,
    model: Captioner,
    stages: tuple[Stage, ...],
    pictures: Pictures,
    seed: int,
    guide: Guide | None = None,
    matches: tuple[str, ...] = (),
) -> Losses:
    """Train a model in place through its stages, from the last one that the file has; the losses by stage."""
    history: Losses = {}
    if path.exists():
        with safe_open(path, "pt") as file:
            history = json.loads(file.metadata()["history"])
        model.load_state_dict(load_file(path))
    views = views_of(pictures.images)
    for stage in stages[len(history) :]:
        epochs = []
        started = time.monotonic()
        for row in train(model, stage, views, pictures.labels, seed, guide, matches):
            epochs.append({name: round(value, 5) for name, value in row.items()})
            print(f"{path.stem} {stage.name} {epochs[-1]} {time.monotonic() - started:.0f} s", flush=True)
        history[stage.name] = epochs
        save_file(model.state_dict(), path.with_suffix(".part"), {"history": json.dumps(history)})
        path.with_suffix(".part").replace(path)
    return history


@torch.no_grad()
def codes_of(model: Captioner, images: Tensor) -> dict[str, list[float]]:
    """Region codes of the visual tokens and of the phrase, layer by layer, as means over pictures.

    Distances are shares of the layer's neurons that differ in sign, over all pairs of two different tokens of
    a picture: one visual and one of the phrase, two visual ones, two of the phrase. In float32.
    """
    model = deepcopy(model).float()
    rows: list[list[dict[str, float]]] = []
    anatomy = anatomy_of(model.blocks)
    norms = [walls_of(anatomy, layer)[0].float().norm(dim=1) for layer in range(anatomy.depth)]

    def read(layer: int, gate: Tensor) -> None:
        margin = signed_margin(gate, norms[layer])
        sign, boundary = sign_fraction(margin), boundary_distance(margin)
        row = {}
        occupancies = {}
        for kind, span in (("visual", slice(0, PATCHES)), ("text", slice(PATCHES, None))):
            row[f"sign {kind}"] = float(sign[:, span].mean())
            row[f"boundary {kind}"] = float(boundary[:, span].mean())
            occupancies[kind] = (margin[:, span] > 0).float().mean(dim=1)
            tokens = sign[:, span].shape[1]
            pairs = occupancy_distance(occupancies[kind], occupancies[kind])
            row[f"distance {kind}"] = float(pairs.mean()) * tokens / (tokens - 1)
        row["distance visual to text"] = float(occupancy_distance(*occupancies.values()).mean())
        rows[-1].append(row)

    with watch(model.blocks, gate=read):
        for batch in images.split(BATCH):
            rows.append([])
            model(patches_of(batch))
    weights = np.array([len(batch) for batch in images.split(BATCH)]) / len(images)

    def mean(name: str, layer: int) -> float:
        return float(f"{weights @ [batch[layer][name] for batch in rows]:.4g}")

    return {name: [mean(name, layer) for layer in range(anatomy.depth)] for name in rows[0][0]}


def pixels(pictures: dict[str, Pictures]) -> float:
    """Test accuracy of logistic regression on pixels, its strength chosen on the validation pictures."""
    flat = {name: part.images.flatten(1).numpy() for name, part in pictures.items()}
    labels = {name: part.labels.numpy() for name, part in pictures.items()}

    def regression(strength: float) -> LogisticRegression:
        return LogisticRegression(C=strength, max_iter=5000)

    best = max(
        (0.001, 0.01, 0.1),
        key=lambda strength: (
            regression(strength)
            .fit(flat["train"], labels["train"])
            .score(flat["validation"], labels["validation"])
        ),
    )
    rows, answers = (np.concatenate([part["train"], part["validation"]]) for part in (flat, labels))
    return float(regression(best).fit(rows, answers).score(flat["test"], labels["test"]))


def gain(arm: np.ndarray, other: np.ndarray) -> dict[str, Any]:
    """How much an arm is above another: mean over seeds, of each seed, and a 95 % interval.

    Args:
        arm: Whether each test picture is named right; (seed, picture).
        other: The same of the other arm, with the same seeds and pictures.

    Returns:
        Percentage points. The interval resamples the pictures and the seeds, both arms alike.
    """
    difference = 100.0 * (arm.astype(float) - other)
    rng = np.random.default_rng(0)
    seeds, count = difference.shape
    means = [
        difference[rng.integers(0, seeds, seeds)[:, None], rng.integers(0, count, count)].mean()
        for _ in range(RESAMPLES)
    ]
    return {
        "mean": round(float(difference.mean()), 2),
        "seeds": [round(float(value), 2) for value in difference.mean(axis=1)],
        "interval": [round(float(value), 2) for value in np.percentile(means, [2.5, 97.5])],
    }


def measured(args: argparse.Namespace) -> dict[str, Any]:
    """Train what is not trained yet, and measure everything."""
    pictures = read_pictures(args.data)
    unseen = {name: pictures[name] for name in ("validation", "test")}
    shown = pictures["test"].images[: args.shown]
    codes = {"teacher, before": codes_of(captioner(args, TEACHER_BLOCKS, 0), shown)}
    teacher, losses_of_teacher = trained_teacher(args, pictures["train"])
    codes["teacher, after"] = codes_of(teacher, shown)
    codes["student, before"] = codes_of(captioner(args, STUDENT_BLOCKS, SEEDS[0]), shown)
    arms: dict[str, Any] = {}
    right: dict[str, np.ndarray] = {}
    for name in ARMS:
        seeds, hits = [], []
        for seed in SEEDS:
            student, history = trained_student(args, pictures["train"], name, seed)
            seeds.append({**accuracies(student, unseen), "losses": history})
            hits.append(predicted(student, pictures["test"].images) == pictures["test"].labels)
            if seed == SEEDS[0]:
                codes[f"student, {name}"] = codes_of(student, shown)
        right[name] = torch.stack(hits).numpy()
        arms[name] = {"test": round(float(right[name].mean()), 4), "seeds": seeds}
        if name != BASELINE:
            arms[name]["gain"] = gain(right[name], right[BASELINE])
    return {
        "settings": settings(pictures),
        "pixels": round(pixels(pictures), 4),
        "teacher": {**accuracies(teacher, unseen), "losses": losses_of_teacher},
        "arms": arms,
        "codes": codes,
    }


def train_only(args: argparse.Namespace) -> None:
    """Train the teacher, or students of some arms, and say what they reach on the validation pictures."""
    pictures = read_pictures(args.data)
    validation = {"validation": pictures["validation"]}
    if "teacher" in args.train:
        teacher, _ = trained_teacher(args, pictures["train"])
        print(f"teacher {accuracies(teacher, validation)}", flush=True)
    for seed, name in product(SEEDS, [name for name in ARMS if name in args.train]):
        student, _ = trained_student(args, pictures["train"], name, seed)
        print(f"{name}, seed {seed} {accuracies(student, validation)}", flush=True)


def captioner(args: argparse.Namespace, blocks: int, seed: int) -> Captioner:
    return Captioner(load_model(args.model, n_layers=blocks, dtype="bfloat16"), seed)


def trained_teacher(args: argparse.Namespace, train: Pictures) -> tuple[Captioner, Losses]:
    teacher = captioner(args, TEACHER_BLOCKS, 0)
    return teacher, fitted(args.cache / "teacher.safetensors", teacher, TEACHER, train, 0)


def trained_student(
    args: argparse.Namespace, train: Pictures, arm: str, seed: int
) -> tuple[Captioner, Losses]:
    """A student of an arm; what the teacher says is read only if the arm compares with it."""
    path = args.cache / f"{arm.replace(' ', '')}-{seed}.safetensors"
    student = captioner(args, STUDENT_BLOCKS, seed)
    guide = stored_guide(args, train) if ARMS[arm] else None
    return student, fitted(path, student, STUDENT, train, seed, guide, ARMS[arm])


def stored_guide(args: argparse.Namespace, train: Pictures) -> Guide:
    """What the trained teacher says of every view, from the file if there is one."""
    path = args.cache / "guide.safetensors"
    if not path.exists():
        guide = guide_of(trained_teacher(args, train)[0], views_of(train.images))
        save_file({"states": guide.states, "logits": guide.logits}, path.with_suffix(".part"))
        path.with_suffix(".part").replace(path)
    return Guide(**load_file(path))


def accuracies(model: Captioner, pictures: dict[str, Pictures]) -> dict[str, float]:
    return {
        name: round(float((predicted(model, part.images) == part.labels).float().mean()), 4)
        for name, part in pictures.items()
    }


def settings(pictures: dict[str, Pictures]) -> dict[str, Any]:
    """What the numbers depend on."""
    return {
        "pictures": {name: len(part.labels) for name, part in pictures.items()},
        "views": VIEWS,
        "batch": BATCH,
        "projector rate": PROJECTOR_RATE,
        "blocks": {"teacher": TEACHER_BLOCKS, "student": STUDENT_BLOCKS},
        "words": WORDS,
        "stages": {
            name: [asdict(stage) for stage in stages]
            for name, stages in (("teacher", TEACHER), ("student", STUDENT))
        },
    }


def markdown(result: dict[str, Any]) -> str:
    """The record as tables."""
    counts = result["settings"]["pictures"]
    lines = [
        "# A miniature of LLaVA-KD",
        "",
        f"`python benchmarks/miniature.py --data DIR --cache CACHE`: {counts['train']:,} pictures to train on, "
        f"{counts['validation']:,} to choose settings on, {counts['test']:,} to measure on; "
        f"{len(SEEDS)} seeds of the students. Accuracy in percent; the gain in percentage points over {BASELINE} "
        "with a 95 % interval over pictures and seeds.",
        "",
        "| | test accuracy | of each seed | gain | interval |",
        "|---|---|---|---|---|",
        f"| logistic regression on pixels | {result['pixels']:.1%} | | | |",
        f"| teacher, {TEACHER_BLOCKS} blocks | {result['teacher']['test']:.1%} | | | |",
    ]
    for name, arm in result["arms"].items():
        seeds = ", ".join(f"{seed['test']:.1%}" for seed in arm["seeds"])
        row = f"| student, {STUDENT_BLOCKS} blocks, {name} | {arm['test']:.1%} | {seeds} | "
        if "gain" in arm:
            low, high = arm["gain"]["interval"]
            row += f"{arm['gain']['mean']:+.1f} | [{low:+.1f}, {high:+.1f}]"
        else:
            row += "|"
        lines.append(row + " |")
    lines += ["", "## Region codes", "", "Means over layers; `miniature.json` has every layer.", ""]
    columns = list(next(iter(result["codes"].values())))
    lines += ["| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for name, codes in result["codes"].items():
        lines.append(
            f"| {name} | " + " | ".join(f"{np.mean(codes[column]):.3g}" for column in columns) + " |"
        )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder of trained stages, 0.8 GB")
    parser.add_argument("--model", default="smollm2-135m", help="the model whose first blocks are taken")
    parser.add_argument("--shown", type=int, default=100, help="test pictures whose region codes are read")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".json"))
    parser.add_argument(
        "--train", nargs="+", choices=["teacher", *ARMS], help="only train these, measure nothing"
    )
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    if args.train:
        train_only(args)
    else:
        result = measured(args)
        args.output.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
        args.output.with_suffix(".md").write_text(markdown(result), "utf-8")


if __name__ == "__main__":
    main()
