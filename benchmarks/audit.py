"""Counts, planted edits and seconds of the audit: python benchmarks/audit.py [--only NAME ...] [-o audit.json].

``counts``: the intrinsic dimension of the last token, relative threshold, summed over heads, of 100 prompts in the
chat template, beside the count over the weights of eager attention. ``planted``: audits of the default model against a
copy in which one MLP was edited (20 trials: a random layer, one of four kinds of edit), or in which the neurons of one
MLP were permuted and rescaled, which changes no function (20 trials); the audit must name the edited layer as the first
that moved, or none. ``example``: seconds of the bundled example, in a new process. Prints one line a stage.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from timings import machine

from splinelens.anatomy import anatomy_of
from splinelens.apps.audit import audit
from splinelens.features.spec import FeatureSpec
from splinelens.generate.sample import Writer
from splinelens.models import LoadedModel, load_model
from splinelens.texts import read_texts

STAGES = ("counts", "planted", "example")
EXAMPLE = Path(__file__).resolve().parents[1] / "examples" / "audit"
SUBJECTS = (
    "a museum",
    "the train",
    "my garden",
    "a loaf of bread",
    "an old bicycle",
    "the sea",
    "a chess club",
    "the moon",
    "a violin",
    "the harvest",
)
REQUESTS = (
    "Tell me about {}.",
    "What should I know about {}?",
    "Write two sentences about {}.",
    "Why do people like {}?",
    "Describe {} to a child.",
    "Is {} worth a visit? Explain your answer in a few words.",
    "Give me a title for a story about {}.",
    "How would you draw {}?",
    "What changes about {} in winter?",
    "Name one thing that everybody gets wrong about {}.",
)
Json = dict[str, Any]  # Any: plain JSON values


def counts(args: argparse.Namespace) -> Json:
    """The reference's quantity, by our blocks of scores and from the whole matrix of weights."""
    writer = Writer(spec=FeatureSpec(("attention_id_relative_last",), max_tokens=1))
    model: Any = load_model().model
    model.set_attn_implementation("eager")
    equal = compared = 0
    prompts = [request.format(subject) for request in REQUESTS for subject in SUBJECTS]
    for prompt in prompts:
        ids = writer.ids([{"role": "user", "content": prompt}])
        (stats,) = writer.read([[ids]])
        ours = writer.reader.layout.values(stats, [len(ids)])[0]
        with torch.no_grad():
            attentions = model(torch.tensor([ids]), output_attentions=True).attentions
        last = torch.stack([weights[0, :, -1] for weights in attentions])  # (layer, head, key)
        theirs = (last > 0.1 * last.amax(-1, keepdim=True)).sum((1, 2)).numpy()
        equal += int((ours == theirs).sum())
        compared += len(theirs)
    return {"prompts": len(prompts), "layers": compared // len(prompts), "compared": compared, "equal": equal}


def edit(loaded: LoadedModel, layer: int, kind: str, strength: float, rng: torch.Generator) -> None:
    """Change the weights of one MLP."""
    mlp: Any = anatomy_of(loaded.model).blocks[layer].mlp
    with torch.no_grad():
        down = mlp.down_proj.weight
        if kind == "noise":
            noise = torch.randn(down.shape, generator=rng)
            down += strength * noise * down.norm() / noise.norm()
        elif kind == "direction":  # one direction can no longer be written
            direction = torch.nn.functional.normalize(torch.randn(down.shape[0], generator=rng), dim=0)
            down -= torch.outer(direction, direction @ down)
        elif kind == "neurons":
            down[:, torch.randperm(down.shape[1], generator=rng)[: int(strength * down.shape[1])]] = 0
        elif kind == "low rank":  # as an adapter changes it
            left, right = (torch.randn(size, 4, generator=rng) for size in down.shape)
            update = left @ right.T
            down += strength * update * down.norm() / update.norm()
        else:  # neurons in another order and scale: the same function
            order = torch.randperm(down.shape[1], generator=rng)
            scale = torch.rand(len(order), generator=rng) + 0.5
            mlp.gate_proj.weight.copy_(mlp.gate_proj.weight[order])
            mlp.up_proj.weight.copy_(mlp.up_proj.weight[order] * scale[:, None])
            down.copy_(down[:, order] / scale)


def planted(args: argparse.Namespace) -> Json:
    """Edits are sampled first; the audit sees two models and names the first layer that moved."""
    prompts = read_texts(EXAMPLE / "prompts.csv", keep=["id"]).at([0, 3, 6, 9])
    contexts = read_texts(EXAMPLE / "contexts.csv", keep=["kind", "prompt"])
    chosen = [
        row
        for row, name in enumerate(contexts.columns["prompt"])
        if not name or name in prompts.columns["id"]
    ]
    contexts = contexts.at(chosen)
    rng = np.random.default_rng(args.seed)
    kinds = ["noise", "direction", "neurons", "low rank"] * 5 + ["none"] * 20
    edits = [
        (kinds[at], int(rng.integers(30)), float(rng.uniform(0.05, 0.2)))
        for at in rng.permutation(len(kinds))
    ]
    trials = []
    for number, (kind, layer, strength) in enumerate(edits):
        first, second = load_model(head=True), load_model(head=True)
        edit(second, layer, kind, strength, torch.Generator().manual_seed(number))
        report = audit(first, prompts, contexts, sentences=1, orders=1, max_tokens=0, against=second)
        assert report.comparison is not None
        found = report.comparison.first_moved
        largest = max(shift.stream for shift in report.comparison.layers)
        trials.append(
            {"kind": kind, "layer": layer, "strength": strength, "found": found, "largest": largest}
        )
        print(trials[-1], file=sys.stderr, flush=True)
    edited = [trial for trial in trials if trial["kind"] != "none"]
    same = [trial for trial in trials if trial["kind"] == "none"]
    return {
        "edited": len(edited),
        "found": sum(trial["found"] == trial["layer"] for trial in edited),
        "same": len(same),
        "false": sum(trial["found"] is not None for trial in same),
        "largest of the same": max(trial["largest"] for trial in same),
        "smallest of the edited": min(trial["largest"] for trial in edited),
        "trials": trials,
    }


def example(args: argparse.Namespace) -> Json:
    """The command of the README, from start to page."""
    with tempfile.TemporaryDirectory() as folder:
        files = [str(EXAMPLE / name) for name in ("prompts.csv", "contexts.csv")]
        began = time.perf_counter()
        command = ["audit", "smollm2-135m", *files, "--positive", "pointed", "-o", f"{folder}/report.html"]
        subprocess.run([sys.executable, "-m", "splinelens", *command], check=True, stdout=subprocess.DEVNULL)
        seconds = time.perf_counter() - began
        record = json.loads(Path(folder, "report.json").read_text("utf-8"))
    counted = {"seconds": seconds, "trials": len(record["points"])}
    return counted | {key: record[key] for key in ("verdicts", "kinds", "contrasts")}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--seed", type=int, default=0, help="of the planted edits")
    parser.add_argument("-o", "--output", type=Path, default=Path("audit.json"))
    args = parser.parse_args()
    record: Json = json.loads(args.output.read_text("utf-8")) if args.output.is_file() else {}
    record["machine"] = machine()
    for stage in args.only:
        record[stage] = globals()[stage](args)
        args.output.write_text(json.dumps(record, indent=1) + "\n", "utf-8")
        print(stage, json.dumps(record[stage]), flush=True)


if __name__ == "__main__":
    main()
