"""Are copies of a model told from strangers? Writes lineage.md and lineage.json.

    python benchmarks/lineage.py --data DIR --cache CACHE [--only copies strangers layers tiny refused] [-o
    benchmarks/lineage.md]

Copies of the default model: pruned, quantized, fine-tuned, permuted, shortened, and several of these at once.
Unrelated models of the same shape: initialized anew, its weights shuffled, its layers compared with other
layers of its own, and tiny models trained on the same text from different seeds. Beside the two tests stands
debiased linear CKA of the same signs, which cannot tell the two apart. Copies are also read with the detector
``toxicity-fast``, as it is. Each profile and each finished row is stored in CACHE; a stopped run continues,
and a run without ``rows.jsonl`` compares the stored profiles again.
"""

import argparse
import copy
import csv
import json
import random
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from splinelens.apps.detector import Detector
from splinelens.apps.lineage import RELATED, carry_over, compare
from splinelens.detect.lineage import Relation, relation
from splinelens.errors import BadModel
from splinelens.features.lineage_profile import LineageProfile
from splinelens.models import LoadedModel, load_model
from splinelens.texts import Texts

DETECTOR = "toxicity-fast"
PARTS = ("copies", "strangers", "layers", "tiny", "refused")
TINY = {"llama": 16, "gpt2": 12}
"""Tiny models of each family, all trained on the same text."""

Change = Callable[[nn.Module], None]


def main() -> None:
    args = parse()
    args.cache.mkdir(parents=True, exist_ok=True)
    rows = Rows(args.cache / "rows.jsonl")
    original = load_model(args.model)
    profile = stored_profile(args.cache / "original.parquet", lambda: original)
    text = (args.data / "wikitext2-test" / "wiki.test.txt").read_text("utf-8")
    steps = {
        "copies": lambda: copies(rows, original, profile, text, args),
        "strangers": lambda: strangers(rows, original, profile, args),
        "layers": lambda: layers(rows, profile),
        "tiny": lambda: tiny(rows, text, args),
        "refused": lambda: refused(rows, original, args.other),
    }
    for part in args.only:
        steps[part]()
    record = {"model": args.model, "texts": args.texts, "rows": rows.all}
    args.output.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    args.output.write_text(markdown(record), encoding="utf-8")
    report(f"wrote {args.output}")


@dataclass(frozen=True, repr=False)
class ScoredOnce(Detector):
    """A detector that scores the same texts once."""

    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = field(default_factory=list)

    def label_scores(self, texts: Any, **options: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        if not self.kept:
            self.kept.append(super().label_scores(texts, **options))
        return self.kept[0]


class Rows:
    """Finished rows, kept one a line; a row that is there is not computed again."""

    def __init__(self, path: Path):
        self.path = path
        self.all: list[dict[str, Any]] = []
        if path.exists():
            self.all = [json.loads(line) for line in path.read_text("utf-8").splitlines()]

    def add(self, part: str, name: str, compute: Callable[[], dict[str, Any]]) -> None:
        if any((row["part"], row["name"]) == (part, name) for row in self.all):
            return
        row = {"part": part, "name": name, **compute()}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.all.append(row)
        report(
            f"{part}: {name}: "
            + ", ".join(f"{key} {row[key]}" for key in ("verdict", "log10_p") if key in row)
        )


def copies(
    rows: Rows, original: LoadedModel, profile: LineageProfile, text: str, args: argparse.Namespace
) -> None:
    loaded = Detector.load(DETECTOR, model=original)
    detector = ScoredOnce(loaded.artifact, loaded.reader)
    texts, labels = comments(args.data, args.texts)

    def copy_of(change: Change, tuned: bool) -> LoadedModel:
        parent = fine_tuned(original, text, args.cache / "lora") if tuned else original
        return changed(parent, change)

    def tested(name: str, change: Change, tuned: bool) -> dict[str, Any]:
        path = args.cache / f"copy {name.replace(':', '')}.parquet"
        return comparison(profile, stored_profile(path, lambda: copy_of(change, tuned)))

    def carried(change: Change, tuned: bool) -> dict[str, Any]:
        return asdict(carry_over(detector, copy_of(change, tuned), texts, labels))

    for name, (change, tuned) in COPIES.items():
        rows.add("copies", name, partial(tested, name, change, tuned))
        if name in CARRIED:
            rows.add("carried", name, partial(carried, change, tuned))


def strangers(rows: Rows, original: LoadedModel, profile: LineageProfile, args: argparse.Namespace) -> None:
    """Each against the default model, and against the one before."""
    before: LineageProfile | None = None
    for seed in range(args.strangers):
        for name, change in (("initialized anew", initialize), ("shuffled weights", shuffle)):
            names = f"{name}, seed {seed}", f"{name}, seed {seed}, against the one before"
            path = args.cache / f"{name} {seed}.parquet"
            made = stored_profile(path, partial(changed, original, change, seed))
            rows.add("strangers", names[0], partial(comparison, profile, made))
            if before is not None:
                rows.add("strangers", names[1], partial(comparison, before, made))
            before = made


def stored_profile(path: Path, model: Callable[[], LoadedModel]) -> LineageProfile:
    """The profile in a file, which is written first if it is missing."""
    if not path.exists():
        LineageProfile.of(model()).save(path)
    return LineageProfile.load(path)


def layers(rows: Rows, profile: LineageProfile) -> None:
    """Trained layers of the same shape that are no copies: each layer against the one ``shift`` further on.

    A shift by more than half of the layers would compare the same pairs again.
    """

    def tested(shift: int) -> dict[str, Any]:
        depth = len(profile.layers)
        evidence = relation(profile.layers, profile.layers, [(k, (k + shift) % depth) for k in range(depth)])
        verdict = "related" if evidence.log10_p <= RELATED else "not related"
        return {"verdict": verdict, **measures(profile, profile, evidence)}

    for shift in range(1, (len(profile.layers) + 1) // 2):
        rows.add("layers", f"layers moved by {shift}", partial(tested, shift))


def tiny(rows: Rows, text: str, args: argparse.Namespace) -> None:
    """All pairs of tiny models of a family, and copies of each that are permuted and pruned."""
    for family, count in TINY.items():
        profiles = []
        for seed in range(count):
            path = args.cache / f"{family} {seed}.parquet"
            child = args.cache / f"{family} {seed} copy.parquet"
            if not (path.exists() and child.exists()):
                model = trained(family, seed, text)
                LineageProfile.of(model).save(path)
                changed_copy = partial(both, permute_neurons if family == "llama" else unchanged, prune(0.3))
                LineageProfile.of(changed(model, changed_copy)).save(child)
                report(f"trained {family} {seed}")
            profiles.append(LineageProfile.load(path))
            rows.add(
                "tiny copies",
                f"{family} {seed}",
                partial(comparison, profiles[-1], LineageProfile.load(child)),
            )
        for first, second in combinations(range(count), 2):
            rows.add(
                "tiny",
                f"{family} {first} and {second}",
                partial(comparison, profiles[first], profiles[second]),
            )


def refused(rows: Rows, original: LoadedModel, other: str) -> None:
    """A model with another tokenizer."""

    def message() -> dict[str, Any]:
        try:
            compare(original, other)
        except BadModel as error:
            return {"verdict": f"refused: {error}"}
        return {"verdict": "not refused"}

    rows.add("refused", other, message)


def comparison(first: LineageProfile, second: LineageProfile) -> dict[str, Any]:
    """The verdict, both tests, and the baselines."""
    result = compare(first, second)
    assert result.relation is not None
    return {"verdict": result.verdict, **measures(first, second, result.relation)}


def measures(first: LineageProfile, second: LineageProfile, evidence: Relation) -> dict[str, Any]:
    """Both tests, and the baselines at three depths."""
    depths = [evidence.layers[len(evidence.layers) * quarter // 4] for quarter in (1, 2, 3)]
    pairs = [layer.layers for layer in evidence.layers]
    return {
        "log10_p": evidence.log10_p,
        "log10_index": evidence.log10_index,
        "log10_sign": evidence.log10_sign,
        "matched": evidence.matched / evidence.neurons,
        "same_index": evidence.same_index / evidence.neurons,
        "same_sign": evidence.same_sign / max(1, evidence.signed),
        "cka": [
            debiased_cka(first.layers[one].gate, second.layers[other].gate)
            for one, other in (layer.layers for layer in depths)
        ],
        "best_match": float(np.median([layer.correlation or 0.0 for layer in depths])),
        "layers": None if all(one == other for one, other in pairs) else pairs,
    }


def debiased_cka(first: np.ndarray, second: np.ndarray) -> float:
    """Linear CKA of two tables (unit, token) with the unbiased estimate of HSIC."""

    def centered(signs: np.ndarray) -> np.ndarray:
        gram = signs.T.astype(np.float32) @ signs.astype(np.float32)
        gram = gram.astype(np.float64)
        np.fill_diagonal(gram, 0)
        n = len(gram)
        means = gram.sum(axis=0) / (n - 2)
        gram -= means[:, None] + means[None, :] - gram.sum() / ((n - 1) * (n - 2))
        np.fill_diagonal(gram, 0)
        return gram

    a, b = centered(first), centered(second)
    return float((a * b).sum() / np.sqrt((a * a).sum() * (b * b).sum()))


def changed(loaded: LoadedModel, change: Change, seed: int = 0) -> LoadedModel:
    """A changed copy of a model in memory."""
    model = copy.deepcopy(loaded.model)
    torch.manual_seed(seed)
    with torch.no_grad():
        change(model)
    depth = model.config.num_hidden_layers
    return LoadedModel(model, loaded.tokenizer, "the copy", None, depth, depth)


def linear_maps(model: nn.Module) -> list[Any]:
    """Of GPT-2 they are called ``Conv1D``."""
    return [module for module in model.modules() if type(module).__name__ in ("Linear", "Conv1D")]


def unchanged(_model: nn.Module) -> None:
    return


def both(first: Change, second: Change, model: nn.Module) -> None:
    first(model)
    second(model)


def prune(share: float) -> Change:
    """Set the smallest weights of each matrix to 0."""

    def change(model: nn.Module) -> None:
        for module in linear_maps(model):
            size = module.weight.abs()
            module.weight.mul_(size > size.flatten().kthvalue(int(size.numel() * share)).values)

    return change


def quantize(bits: int, group: int = 64) -> Change:
    """Round to nearest, with the least and greatest weight of each group of 64."""

    def change(model: nn.Module) -> None:
        for module in linear_maps(model):
            weight = module.weight.reshape(-1, group)
            low = weight.amin(1, keepdim=True)
            step = (weight.amax(1, keepdim=True) - low) / (2**bits - 1)
            module.weight.copy_((((weight - low) / step).round() * step + low).reshape(module.weight.shape))

    return change


def permute_neurons(model: nn.Module) -> None:
    for block in model.layers:
        mlp = block.mlp
        order = torch.randperm(mlp.gate_proj.out_features)
        for module in (mlp.gate_proj, mlp.up_proj):
            module.weight.copy_(module.weight[order].clone())
        mlp.down_proj.weight.copy_(mlp.down_proj.weight[:, order].clone())


def permute_heads(model: nn.Module) -> None:
    """Key-value heads, and the query heads of each."""
    config = model.config
    queries, groups = config.num_attention_heads, config.num_key_value_heads
    size = config.head_dim
    for block in model.layers:
        attention = block.self_attn
        keys = torch.randperm(groups)
        heads = torch.cat([key * (queries // groups) + torch.randperm(queries // groups) for key in keys])
        for module, order in ((attention.q_proj, heads), (attention.k_proj, keys), (attention.v_proj, keys)):
            module.weight.copy_(module.weight.unflatten(0, (-1, size))[order].flatten(0, 1).clone())
        attention.o_proj.weight.copy_(
            attention.o_proj.weight.unflatten(1, (-1, size))[:, heads].flatten(1).clone()
        )


def permute_width(model: nn.Module) -> None:
    """The coordinates of the residual stream, everywhere alike."""
    order = torch.randperm(model.config.hidden_size)
    model.embed_tokens.weight.copy_(model.embed_tokens.weight[:, order].clone())
    model.norm.weight.copy_(model.norm.weight[order].clone())
    for block in model.layers:
        attention, mlp = block.self_attn, block.mlp
        for norm in (block.input_layernorm, block.post_attention_layernorm):
            norm.weight.copy_(norm.weight[order].clone())
        for module in (attention.q_proj, attention.k_proj, attention.v_proj, mlp.gate_proj, mlp.up_proj):
            module.weight.copy_(module.weight[:, order].clone())
        for module in (attention.o_proj, mlp.down_proj):
            module.weight.copy_(module.weight[order].clone())


def change_signs(model: nn.Module) -> None:
    """Half of the rows of the up projection, with the columns that read them: the same function."""
    for block in model.layers:
        sign = 1.0 - 2.0 * torch.randint(0, 2, (block.mlp.up_proj.out_features,))
        block.mlp.up_proj.weight.mul_(sign[:, None])
        block.mlp.down_proj.weight.mul_(sign)


def arrange_blocks(order: Callable[[int], Iterable[int]]) -> Change:
    """Blocks in the order that is given for their number, some of them left out or repeated."""

    def change(model: nn.Module) -> None:
        blocks = [copy.deepcopy(model.layers[layer]) for layer in order(len(model.layers))]
        for layer, block in enumerate(blocks):
            block.self_attn.layer_idx = layer
        model.layers = nn.ModuleList(blocks)
        model.config.num_hidden_layers = len(blocks)

    return change


def keep_blocks(dropped: Iterable[int]) -> Change:
    return arrange_blocks(lambda depth: [layer for layer in range(depth) if layer not in dropped])


def initialize(model: nn.Module) -> None:
    model.init_weights()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            parameter.normal_(0, model.config.initializer_range)
        else:
            parameter.fill_(1)


def shuffle(model: nn.Module) -> None:
    """The weights of each tensor in random order."""
    for parameter in model.parameters():
        parameter.copy_(parameter.flatten()[torch.randperm(parameter.numel())].reshape(parameter.shape))


CUT_MIDDLE = keep_blocks(range(14, 22))
DISGUISE = partial(both, permute_neurons, change_signs)
COPIES: dict[str, tuple[Change, bool]] = {
    "pruned 30 %": (prune(0.3), False),
    "pruned 50 %": (prune(0.5), False),
    "pruned 70 %": (prune(0.7), False),
    "4 bits": (quantize(4), False),
    "3 bits": (quantize(3), False),
    "neurons permuted": (permute_neurons, False),
    "neurons and heads permuted": (partial(both, permute_neurons, permute_heads), False),
    "width permuted": (permute_width, False),
    "neurons and width permuted": (partial(both, permute_neurons, permute_width), False),
    "8 blocks in the middle removed": (CUT_MIDDLE, False),
    "every fourth block removed": (keep_blocks(range(3, 30, 4)), False),
    "blocks in reverse order": (arrange_blocks(lambda depth: reversed(range(depth))), False),
    "neighboring blocks swapped": (arrange_blocks(lambda depth: [k ^ 1 for k in range(depth)]), False),
    "first block removed, last one repeated": (
        arrange_blocks(lambda depth: [*range(1, depth), depth - 1]),
        False,
    ),
    "permuted, pruned 50 %": (partial(both, permute_neurons, prune(0.5)), False),
    "permuted, 3 bits": (partial(both, permute_neurons, quantize(3)), False),
    "8 blocks removed, permuted, pruned 50 %": (
        partial(both, CUT_MIDDLE, partial(both, permute_neurons, prune(0.5))),
        False,
    ),
    "signs changed": (change_signs, False),
    "disguised: neurons permuted, signs changed": (DISGUISE, False),
    "disguised, pruned 50 %": (partial(both, DISGUISE, prune(0.5)), False),
    "disguised, pruned 70 %": (partial(both, DISGUISE, prune(0.7)), False),
    "100 LoRA steps": (unchanged, True),
    "100 LoRA steps, permuted": (permute_neurons, True),
}
"""Each with whether it is made from the fine-tuned model."""

CARRIED = {"pruned 30 %", "pruned 50 %", "pruned 70 %", "4 bits", "3 bits"}
"""The copies that the detector is read with."""


class Lora(nn.Module):
    """A linear map with a trained update of low rank, added to its weight at the end."""

    def __init__(self, linear: nn.Linear, rank: int = 16):
        super().__init__()
        self.linear = linear
        self.a = nn.Parameter(torch.randn(rank, linear.in_features) / linear.in_features**0.5)
        self.b = nn.Parameter(torch.zeros(linear.out_features, rank))

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x) + (x @ self.a.to(x.dtype).T) @ self.b.to(x.dtype).T


def fine_tuned(original: LoadedModel, text: str, folder: Path) -> LoadedModel:
    """The fine-tuned model, trained once."""
    if not (folder / "tokenizer.json").exists():  # written last
        with_lora(original, text).save_pretrained(folder)
        original.tokenizer.save_pretrained(folder)
    return load_model(folder)


def with_lora(original: LoadedModel, text: str, steps: int = 100, rate: float = 1e-3) -> Any:
    """Fine-tuned on encyclopedia text: rank 16 on all linear maps of the blocks, 4 x 128 tokens a step."""
    torch.manual_seed(0)
    writer: Any = load_model(original.name, head=True, dtype="bfloat16").causal
    ids = torch.tensor(original.tokenizer(text[:400_000])["input_ids"])
    adapters = {}
    for path, module in list(writer.named_modules()):
        if isinstance(module, nn.Linear) and ".layers." in path:
            parent, _, name = path.rpartition(".")
            adapters[path.removeprefix("model.")] = adapter = Lora(module)
            setattr(writer.get_submodule(parent), name, adapter)
    weights = [weight for adapter in adapters.values() for weight in (adapter.a, adapter.b)]
    optimizer = torch.optim.AdamW(weights, lr=rate)
    losses = []
    for _ in range(steps):
        batch = torch.stack(
            [ids[start : start + 128] for start in torch.randint(0, len(ids) - 128, (4,)).tolist()]
        )
        loss = writer(input_ids=batch, labels=batch).loss
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss.detach()))
    report(
        f"LoRA: loss {np.mean(losses[:10]):.3f} in the first 10 steps, {np.mean(losses[-10:]):.3f} in the last"
    )
    model = copy.deepcopy(original.model)
    with torch.no_grad():
        for path, adapter in adapters.items():
            model.get_submodule(path).weight.add_(adapter.b @ adapter.a)
    return model


def trained(family: str, seed: int, text: str, steps: int = 100) -> LoadedModel:
    """A tiny model of 4 blocks, width 64 and 256 neurons on the bytes of a text."""
    import transformers

    torch.manual_seed(seed)
    sizes = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "vocab_size": 260}
    sizes |= {"max_position_embeddings": 128, "bos_token_id": 0, "eos_token_id": 0}
    if family == "llama":
        config: Any = transformers.LlamaConfig(**sizes, intermediate_size=256, num_key_value_heads=2)
    else:
        config = transformers.GPT2Config(**sizes, n_inner=256)
    writer: Any = transformers.AutoModelForCausalLM.from_config(config)
    writer.train()
    data = torch.tensor(list(text[:300_000].encode()))
    optimizer = torch.optim.AdamW(writer.parameters(), lr=3e-3)
    for _ in range(steps):
        starts = torch.randint(0, len(data) - 64, (8,)).tolist()
        batch = torch.stack([data[start : start + 64] for start in starts])
        writer(input_ids=batch, labels=batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return LoadedModel(
        writer.base_model.eval().requires_grad_(False), byte_tokenizer(), f"{family} {seed}", None, 4, 4
    )


def byte_tokenizer() -> Any:
    """A tokenizer whose tokens are bytes."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({character: number for number, character in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer)


def comments(data: Path, count: int) -> tuple[Texts, np.ndarray]:
    """A random balanced sample of the test comments of Jigsaw."""
    with (data / "jigsaw-test-binary-12k" / "jigsaw_test_balanced.csv").open(
        encoding="utf-8", newline=""
    ) as file:
        table = [row for row in csv.DictReader(file) if row["split"] == "test"]
    rng = random.Random(0)
    chosen = [
        row
        for label in ("0", "1")
        for row in rng.sample([r for r in table if r["toxic"] == label], count // 2)
    ]
    return Texts.of([row["comment_text"] for row in chosen]), np.array([int(row["toxic"]) for row in chosen])


def markdown(record: dict[str, Any]) -> str:
    """The tables of the page."""
    parts = {
        part: [row for row in record["rows"] if row["part"] == part]
        for part in (*PARTS, "carried", "tiny copies")
    }
    lines = [
        "# Copies and strangers",
        "",
        f"`python benchmarks/lineage.py --data DIR --cache CACHE`: `{record['model']}` against copies of it and against "
        "unrelated models of the same shape, float32, signs at 1,024 tokens. p: twice the smaller of both p-values. "
        "matched: share of neurons whose best match is mutual. CKA: debiased, of the gate signs at the depths 1/4, 1/2, 3/4.",
        "",
        "| copy | verdict | log10 p | same index | same sign | matched | same index, share | same sign, share | CKA |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in parts["copies"]:
        cka = " ".join(f"{value:.2f}" for value in row["cka"])
        lines.append(
            f"| {row['name']} | {row['verdict']} | {row['log10_p']:,.0f} | {row['log10_index']:,.0f} | {row['log10_sign']:,.0f} "
            f"| {row['matched']:.2f} | {row['same_index']:.3f} | {row['same_sign']:.3f} | {cka} |"
        )
    lines += ["", "## Strangers", ""]
    lines.append(
        "| pairs | count | related | least log10 p | matched, greatest | CKA, range | best match, greatest |"
    )
    lines.append("| --- | --- | --- | --- | --- | --- | --- |")
    unrelated = []
    for part, name in (
        ("strangers", "initialized anew, or weights shuffled"),
        ("layers", "trained layers against other layers"),
        ("tiny", "tiny models trained on the same text"),
    ):
        rows = parts[part]
        if not rows:
            continue
        unrelated += rows
        cka = [value for row in rows for value in row["cka"]]
        found = sum(row["verdict"] == "related" for row in rows)
        lines.append(
            f"| {name} | {len(rows)} | {found} | {min(row['log10_p'] for row in rows):.2f} "
            f"| {max(row['matched'] for row in rows):.2f} | {min(cka):.2f} to {max(cka):.2f} "
            f"| {max(row['best_match'] for row in rows):.2f} |"
        )
    found = sum(row["verdict"] == "related" for row in unrelated)
    lines += ["", f"{found} of {len(unrelated)} unrelated pairs are called related."]
    signs = [10 ** row["log10_sign"] for row in unrelated]
    if signs:
        below = ", ".join(
            f"{np.mean(np.array(signs) <= level):.3f} at {level:g}" for level in (0.5, 0.1, 0.05, 0.01)
        )
        lines.append(f"Share of them whose p-value of equal signs is at most a level: {below}.")
    small = parts["tiny copies"]
    if small:
        found = sum(row["verdict"] == "related" for row in small)
        worst = max(row["log10_p"] for row in small)
        lines += [
            "",
            f"{found} of {len(small)} copies of the tiny models (pruned 30 %, those of Llama also permuted) are "
            f"called related; the greatest log10 p is {worst:.1f}.",
        ]
    lines += [f"\n`{row['name']}` {row['verdict']}" for row in parts["refused"]]
    lines += ["", "## A detector carried over", ""]
    lines.append(
        f"`{DETECTOR}`, as it is, on {record['texts']:,} test comments of Jigsaw, half of them toxic, none of them in its training rows. Intervals: 95 %, bootstrap."
    )
    lines += [
        "",
        "| copy | AUC with the original | AUC with the copy | AUC lost | same verdict | false positives |",
    ]
    lines.append("| --- | --- | --- | --- | --- | --- |")
    for row in parts["carried"]:
        low, high = (round(bound, 4) + 0.0 for bound in row["loss_interval"])
        first, second = row["auc"]
        alarms = " to ".join(f"{100 * share:.1f} %" for share in row["false_positives"])
        lines.append(
            f"| {row['name']} | {first:.4f} | {second:.4f} | {round(first - second, 4) + 0.0:+.4f} "
            f"({low:+.4f} to {high:+.4f}) | {row['same_verdict']:.3f} | {alarms} |"
        )
    return "\n".join(lines) + "\n"


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--other", default="qwen2.5-coder-0.5b", help="a model with another tokenizer")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--texts", type=int, default=500)
    parser.add_argument("--strangers", type=int, default=10, help="models of each kind")
    parser.add_argument("-o", "--output", type=Path, default=Path(__file__).with_suffix(".md"))
    return parser.parse_args()


if __name__ == "__main__":
    main()
