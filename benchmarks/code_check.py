"""Is generated code wrong? Static findings, geometry and likelihood, against simple text features.

    python benchmarks/code_check.py extract --set codereval --data DIR --work WORK --minutes 18   # repeat until nothing is left
    python benchmarks/code_check.py extract --set humaneval --data DIR --work WORK --minutes 18

Each task is one file of features in WORK, so a run that is stopped continues. The code of the data is read, never run.
"""

import argparse
import builtins
import hashlib
import json
import keyword
import re
import time
import zlib
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from sklearn.feature_extraction.text import TfidfVectorizer

from splinelens.anatomy import anatomy_of
from splinelens.detect.calibration import calibrate
from splinelens.engines.torch import run_prompt, run_tokens
from splinelens.layers import watch
from splinelens.models import load_model
from splinelens.weights import gate_norms

FOLDERS = {"codereval": "codereval-samples", "humaneval": "humaneval-codegen"}
LAYERS, HIDDEN = (2, 5, 9, 14, 19), (9, 19, 29)
TOKENS, BATCH = 256, 2048
RIDGES = (0.1, 0.3, 1.0, 3.0)
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)
WORDS = "return if else elif for while try except raise import self print lambda assert with None not def class".split()


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


def digest_of(body):
    """Names a body in the files of features."""
    return hashlib.sha256(body.encode("utf-8", "surrogatepass")).hexdigest()[:24]


def extract(arguments):
    """Write the features of the tasks that have none yet, until the time is over; say what is left."""
    began = time.monotonic()
    tasks, samples = read_set(arguments.data, arguments.set)
    folder = arguments.work / arguments.set
    folder.mkdir(parents=True, exist_ok=True)
    left = [name for name in tasks if not (folder / f"{name.replace('/', '-')}.npz").exists()]
    passed = {name: {row["passed"] for row in samples if row["task"] == name} for name in left}
    left.sort(key=lambda name: -len(passed[name]))  # first those with both outcomes, which the AUC needs
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


def counts_of(row, task):
    """Numbers of a sample that need no model: size, shape, and which names its surroundings know."""
    body, code = row["body"], row["code"]
    lines = [line for line in body.splitlines() if line.strip()]
    bare = [line for line in lines if not line.strip().startswith("#")]
    text = "\n".join(bare)
    names = re.findall(r"[A-Za-z_]\w*", text)
    known = set(re.findall(r"[A-Za-z_]\w*", task.get("context", "") + task["prompt"]))
    known |= set(dir(builtins)) | set(keyword.kwlist)
    assigned = set(re.findall(r"([A-Za-z_]\w*)\s*(?:=|\bin\b|,)", text))
    parameters = set(re.findall(r"[A-Za-z_]\w*", signature_of(task))) - set(keyword.kwlist)
    attributes = re.findall(r"\.([A-Za-z_]\w*)", text)
    words = {word: len(re.findall(rf"\b{word}\b", text)) for word in WORDS}
    return {
        "log characters": np.log1p(len(text)),
        "log lines": np.log1p(len(bare)),
        "longest line": np.log1p(max(map(len, bare), default=0)),
        "comment lines": (len(lines) - len(bare)) / max(len(lines), 1),
        "compressed": len(zlib.compress(code.encode("utf-8", "replace"))) / max(len(code), 1),
        "rest after the body": np.log1p(max(len(code) - code.find(body.rstrip()) - len(body), 0)),
        "ends in a full line": float(code.endswith("\n")),
        "calls": np.log1p(len(re.findall(r"\w\(", text))),
        "attributes": np.log1p(len(attributes)),
        "names": np.log1p(len(set(names))),
        "unknown names": np.log1p(len(set(names) - known)),
        "unknown share": len(set(names) - known) / max(len(set(names)), 1),
        "unknown attributes": np.log1p(len(set(attributes) - known)),
        "unknown, unassigned": np.log1p(len(set(names) - known - assigned - set(attributes))),
        "parameters unused": len(parameters - set(names)) / max(len(parameters), 1),
        "deepest indent": max((len(line) - len(line.lstrip()) for line in bare), default=0) / 4,
        "strings": np.log1p(len(re.findall(r"[\"']", text))),
        "numbers": np.log1p(len(re.findall(r"\b\d", text))),
        "tabs": float("\t" in body),
        "stub": float(
            not re.sub(r"\b(pass|raise NotImplementedError.*|\.\.\.|return None|return)\b|\s", "", text)
        ),
        **{word: np.log1p(count) for word, count in words.items()},
    }


def signature_of(task):
    """The parameters of a task's function."""
    name = task.get("name") or task["entry_point"]
    text = task.get("signature") or task["prompt"][task["prompt"].rfind(f"def {name}") :]
    return text[text.find("(") :].split("->")[0].split(":\n")[0]


def consensus_of(samples):
    """How much each sample agrees with the others of its task and model: token Jaccard, and exact repeats."""
    groups = defaultdict(list)
    for index, row in enumerate(samples):
        groups[row["task"], row.get("model")].append(index)
    result = np.zeros((len(samples), 3))
    for rows in groups.values():
        sets = [set(re.findall(r"\w+|[^\w\s]", samples[index]["body"])) for index in rows]
        words = sorted(set.union(*sets))
        column = {word: number for number, word in enumerate(words)}
        table = np.zeros((len(rows), max(len(words), 1)), np.float32)
        for number, one in enumerate(sets):
            table[number, [column[word] for word in one]] = 1
        both, size = table @ table.T, table.sum(1)
        jaccard = both / np.maximum(size[:, None] + size - both, 1)
        np.fill_diagonal(jaccard, np.nan)
        if len(rows) > 1:
            result[rows, 0] = np.nanmean(jaccard, 1)
            result[rows, 1] = np.nanmax(jaccard, 1)
            result[rows, 2] = np.nanmean(jaccard > 0.8, 1)
    return result


def likelihood_of(tokens):
    """Numbers of the log-probabilities, the likeliest ones, the entropies and log ranks of a body's tokens."""
    log, likeliest, entropy, rank = tokens.astype(np.float64)
    gap, surprise = likeliest - log, -log - entropy
    quarter = max(1, len(log) // 4)
    low = np.sort(log)[: max(1, len(log) // 10)]
    return [
        log.mean(), log.std(), log.min(), low.mean(), log.sum(), log[:quarter].mean(), log[-quarter:].mean(),
        (log < -5).mean(), np.log1p((log < -5).sum()), gap.mean(), gap.max(), np.log1p(gap.sum()),
        entropy.mean(), entropy.max(), entropy[:quarter].mean(), surprise.mean(), surprise.max(),
        rank.mean(), rank.max(), (rank == 0).mean(), np.log1p((rank > 0).sum()), np.log(len(log)),
    ]  # fmt: skip


def read_blocks(work, name, tasks, samples):
    """The tables of a set, a row a sample: what is read of the model, of the text and of the static checks."""
    read = {}
    for task in tasks:
        with np.load(work / name / f"{task.replace('/', '-')}.npz") as stored:
            part = {key: stored[key] for key in stored}
        starts = np.concatenate([[0], part["ends"][:-1]])
        for at, digest in enumerate(part["digest"].tolist()):
            tokens = part["tokens"][:, starts[at] : part["ends"][at]]
            read[task, digest] = tokens, part["spline"][at], part["margins"][at], part["hidden"][at]
    rows = [read[row["task"], digest_of(row["body"])] for row in samples]
    counts = [counts_of(row, tasks[row["task"]]) for row in samples]
    return {
        "likelihood": np.array([likelihood_of(row[0]) for row in rows]),
        "spline7": np.stack([row[1] for row in rows]),
        "margins": np.stack([row[2] for row in rows]),
        "hidden": np.stack([row[3] for row in rows]),
        "counts": np.array([[*row.values()] for row in counts]),
        "consensus": consensus_of(samples),
    }


def kernel_of(values, task, used):
    """Products of rows with the rows in use less their task's mean, columns scaled to their spread within tasks."""
    values = values.astype(np.float32)
    centered = less_mean(values[used], task[used])
    scale = centered.std(0)
    scale[scale < 1e-6 * (1 + np.abs(centered).max(0))] = np.inf
    centered /= scale
    values /= scale
    return values @ centered.T / np.isfinite(scale).sum()


def tfidf_kernel(texts, task, used, **options):
    """The same of TF-IDF vectors of unit length, which are not scaled."""
    table = TfidfVectorizer(sublinear_tf=True, min_df=2, dtype=np.float32, **options).fit_transform(texts)
    return less_mean((table @ table[used].T).toarray().T, task[used]).T


def less_mean(values, task):
    """Rows less the mean of their task."""
    result = np.array(values, np.float32)
    for number in np.unique(task):
        result[task == number] -= result[task == number].mean(0)
    return result


def ridge_scores(kernel, wrong, task, fold, used):
    """Scores of ridge regression on differences within tasks: a row of scores for each fold that is held out.

    In the row of a fold, its own samples are scored by a head fitted on all others, and each other fold by a head
    fitted on what is left without both, so that a second head may be fitted on these. The strength is the best there.
    """
    target, folds = less_mean(wrong[used, None], task[used])[:, 0], np.unique(fold)
    within = less_mean(kernel[used], task[used])
    size = float(np.diag(within).mean())

    def fitted(left_out, ridge):
        rows = np.flatnonzero(~np.isin(fold[used], left_out))
        matrix = within[np.ix_(rows, rows)]
        np.einsum("ii->i", matrix)[:] += ridge * size
        weights = cho_solve(
            cho_factor(matrix, lower=True, overwrite_a=True, check_finite=False), target[rows]
        )
        return kernel[:, rows] @ weights

    tried = np.zeros((len(RIDGES), len(folds), len(wrong)), np.float32)
    for ridge, result in zip(RIDGES, tried, strict=True):
        for one, other in combinations(range(len(folds)), 2):
            scores = fitted([folds[one], folds[other]], ridge)
            for held, scored in ((one, other), (other, one)):
                result[held][fold == folds[scored]] = scores[fold == folds[scored]]
    chosen = np.zeros(tried.shape[1:], np.float32)
    for number, held in enumerate(folds):
        rest = fold != held
        best = int(np.argmax([task_auc(wrong[rest], one[number][rest], task[rest]) for one in tried]))
        chosen[number] = tried[best, number]
        chosen[number][~rest] = fitted([held], RIDGES[best])[~rest]
    return chosen


def fused_scores(dense, stacked, wrong, task, fold, used):
    """Scores and calibrated probabilities of a second head on numbers and on the scores of ``ridge_scores``."""
    scores, probabilities = np.zeros(len(wrong)), np.zeros(len(wrong))
    for number, held in enumerate(np.unique(fold)):
        values = np.column_stack([*dense, *(one[number] for one in stacked)]).astype(np.float64)
        rest = fold != held
        inner = np.zeros((len(STRENGTHS), len(wrong)))
        for other in np.unique(fold[rest]):
            part = fold == other
            for strength, row in zip(STRENGTHS, inner, strict=True):
                head = within_head(values, wrong, task, rest & ~part & used, strength)
                row[part] = values[part] @ head
        aucs = [task_auc(wrong[rest], row[rest], task[rest]) for row in inner]
        best = int(np.argmax(aucs))
        scores[~rest] = values[~rest] @ within_head(values, wrong, task, rest & used, STRENGTHS[best])
        platt = calibrate(wrong[rest], inner[best][rest])
        probabilities[~rest] = platt.score(scores[~rest])
    return scores, probabilities


def within_head(values, wrong, task, rows, strength):
    """Weights of ridge regression on differences within tasks, of columns scaled to their spread there."""
    centered, target = less_mean(values[rows], task[rows]), less_mean(wrong[rows, None], task[rows])[:, 0]
    scale = centered.std(0)
    scale[scale < 1e-9] = np.inf
    centered = (centered / scale).astype(np.float64)
    matrix = centered.T @ centered
    np.einsum("ii->i", matrix)[:] += strength * len(target)
    return np.linalg.solve(matrix, centered.T @ target) / scale


def hinges(values):
    """Columns, and what of them is above their quartiles: a linear head on these bends three times."""
    values = np.asarray(values, np.float32)
    knots = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    return np.concatenate([values, *(np.maximum(values - knot, 0) for knot in knots)], axis=1)


def task_counts(wrong, scores, task):
    """For each task with both outcomes its pairs, and how many are in the right order, ties one half."""
    result = []
    for number in np.unique(task):
        rows = task == number
        bad, good = scores[rows & wrong], scores[rows & ~wrong]
        if len(bad) and len(good):
            difference = bad[:, None] - good
            result.append((difference.size, (difference > 0).sum() + (difference == 0).sum() / 2))
    return np.array(result, float)


def task_auc(wrong, scores, task):
    """The AUC within tasks, each weighted by its pairs."""
    pairs, right = task_counts(wrong.astype(bool), scores, task).sum(0)
    return right / pairs


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
