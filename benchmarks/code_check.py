"""Is generated code wrong? Static findings, geometry and likelihood, against simple text features.

    python benchmarks/code_check.py extract --set codereval --data DIR --work WORK --minutes 18   # repeat until nothing is left
    python benchmarks/code_check.py extract --set humaneval --data DIR --work WORK --minutes 18

Each task is one file of features in WORK, so a run that is stopped continues. The code of the data is read, never run.
"""

import argparse
import hashlib
import json
import re
import time
from pathlib import Path

import numpy as np
import torch

from splinelens.anatomy import anatomy_of
from splinelens.engines.torch import run_prompt, run_tokens
from splinelens.layers import watch
from splinelens.models import load_model
from splinelens.weights import gate_norms

FOLDERS = {"codereval": "codereval-samples", "humaneval": "humaneval-codegen"}
LAYERS, HIDDEN = (2, 5, 9, 14, 19), (9, 19, 29)
TOKENS, BATCH = 256, 2048


def lines_of(path):
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def read_set(data, name):
    """Tasks by name, and samples with ``passed`` and ``body``: the function's lines after its docstring."""
    folder = data / FOLDERS[name]
    tasks = {row["task"]: row for row in lines_of(folder / "tasks.jsonl")}
    samples = lines_of(folder / "samples.jsonl")
    for row in samples:
        row["passed"] = row["is_pass"] if name == "codereval" else row["result"] == "pass"
        row["body"] = body_of(row["code"], tasks[row["task"]].get("name"))
    return tasks, samples


def body_of(code, name=None):
    """The lines of a function after ``def name(...):`` and its docstring; without a name ``code`` begins there.

    Found by text, since half of the code does not parse.
    """
    indent, rest = 0, code
    if name is not None:
        pattern = rf"^([ \t]*)(?:async[ \t]+)?def[ \t]+{re.escape(name)}[ \t]*\(.*?\)[^()\n]*?:[^\n]*\n"
        if not (head := re.search(pattern, code, re.M | re.S)):
            return code
        indent, rest = len(head[1].expandtabs()), code[head.end() :]
        if doc := re.match(r"\s*[rRuU]?(\"\"\"|\'\'\').*?\1[ \t]*\n", rest, re.S):
            rest = rest[doc.end() :]
    kept = []
    for line in rest.splitlines(keepends=True):
        text = line.expandtabs()
        if (bare := text.strip()) and len(text) - len(text.lstrip()) <= indent and bare[0] not in "#)]}":
            break
        kept.append(line)
    return "".join(kept).rstrip() + "\n"


@torch.no_grad()
def read_task(loaded, prompt, bodies):
    """Features of the bodies of a task, each after its prompt: pooled over the body's first tokens."""
    causal, tokenizer = loaded.causal, loaded.tokenizer
    norms = [gate_norms(loaded.model, layer) for layer in anatomy_of(loaded.model).layers(None)]
    ids = [tokenizer(body, add_special_tokens=False).input_ids for body in bodies]
    before = tokenizer(prompt, add_special_tokens=False).input_ids[-TOKENS:]
    kept = run_prompt(loaded.model, before)
    last = causal(torch.tensor([before])).logits[:, -1:].float()
    order = sorted(range(len(bodies)), key=lambda index: len(ids[index]))
    rows = [None] * len(bodies)
    while order:
        longest = lambda part: min(max(len(ids[index]) for index in part), TOKENS)  # noqa: E731
        part = [order.pop()]
        while order and (len(part) + 1) * longest(part) <= BATCH:
            part.append(order.pop())
        length = max(longest(part), 1)
        batch = torch.tensor([(ids[index][:TOKENS] + [0] * length)[:length] for index in part])
        mask = torch.tensor([[at < len(ids[index]) for at in range(length)] for index in part])
        if not mask.any():
            for index in part:
                rows[index] = None
            continue
        positions = torch.arange(len(before), len(before) + length).expand(len(part), -1)
        found = {"spline": [], "margins": [], "hidden": []}

        def gate(layer, values, mask=mask, found=found):
            margin = values.float() / norms[layer]
            near, sign = margin.abs().amin(-1), (margin > 0).float().mean(-1)
            count = mask.sum(1).clamp(min=1)
            mean = lambda x: (x * mask).sum(1) / count  # noqa: E731
            least = near.masked_fill(~mask, torch.inf).amin(1)
            found["spline"] += [mean(sign), mean(near), least, mean(near.log())]
            if layer in LAYERS:
                found["margins"] += [
                    margin.masked_fill(~mask[..., None], -torch.inf).amax(1),
                    margin.masked_fill(~mask[..., None], torch.inf).amin(1),
                ]

        def hidden(layer, values, mask=mask, found=found):
            if layer in HIDDEN:
                values, count = values.float(), mask.sum(1).clamp(min=1)
                ends = values[torch.arange(len(values)), count - 1]
                found["hidden"] += [(values * mask[..., None]).sum(1) / count[:, None], ends]

        with watch(loaded, gate=gate, hidden=hidden):
            output = run_tokens(causal, batch, positions, cache=kept.cache(len(part)))
        logits = torch.cat([last.expand(len(part), -1, -1), output.logits[:, :-1].float()], dim=1)
        total = logits.logsumexp(-1)
        target = logits.gather(-1, batch[..., None])[..., 0]
        likeliest = logits.amax(-1)
        entropy = total - torch.stack([(row.softmax(-1) * row).sum(-1) for row in logits])
        rank = (logits > target[..., None]).sum(-1)
        tokens = torch.stack([target - total, likeliest - total, entropy, torch.log1p(rank)], 1)
        tokens = tokens.to(torch.float16).numpy()
        spline = torch.stack(found["spline"], 1).numpy().astype(np.float32)
        margins = torch.cat(found["margins"], 1).to(torch.float16).numpy()
        states = torch.cat(found["hidden"], 1).to(torch.float16).numpy()
        for at, index in enumerate(part):
            size = min(len(ids[index]), TOKENS)
            rows[index] = (tokens[at, :, :size], len(ids[index]), spline[at], margins[at], states[at])
    return rows


def extract(arguments):
    """Write the features of the tasks that have none yet, until the time is over; say what is left."""
    began = time.monotonic()
    tasks, samples = read_set(arguments.data, arguments.set)
    folder = arguments.work / arguments.set
    folder.mkdir(parents=True, exist_ok=True)
    left = [name for name in tasks if not (folder / f"{name.replace('/', '-')}.npz").exists()]
    loaded = load_model(head=True, dtype="bfloat16") if left else None
    while left and time.monotonic() - began < 60 * arguments.minutes:
        name = left.pop(0)
        bodies = sorted({row["body"] for row in samples if row["task"] == name})
        started = time.monotonic()
        read = [
            (body, row)
            for body, row in zip(bodies, read_task(loaded, tasks[name]["prompt"], bodies), strict=True)
            if row
        ]
        path = folder / f"{name.replace('/', '-')}.npz"
        with path.with_suffix(".part").open("wb") as file:
            np.savez(
                file,
                digest=np.array(
                    [
                        hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:24]
                        for body, _ in read
                    ]
                ),
                tokens=np.concatenate([row[0] for _, row in read], axis=1),
                ends=np.cumsum([row[0].shape[1] for _, row in read]),
                length=np.array([row[1] for _, row in read]),
                spline=np.stack([row[2] for _, row in read]),
                margins=np.stack([row[3] for _, row in read]),
                hidden=np.stack([row[4] for _, row in read]),
            )
        path.with_suffix(".part").replace(path)
        speed = sum(row[0].shape[1] for _, row in read) / (time.monotonic() - started)
        print(
            f"{arguments.set} {name}: {len(bodies)} bodies, {speed:.0f} tokens/s, {len(left)} tasks left",
            flush=True,
        )
    return len(left)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=["extract"])
    parser.add_argument("--set", choices=FOLDERS, default="codereval")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=18)
    arguments = parser.parse_args()
    extract(arguments)


if __name__ == "__main__":
    main()
