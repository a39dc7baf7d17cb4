"""Is generated code wrong? Static findings, geometry and likelihood, against simple text features.

    python benchmarks/code_check.py extract --set codereval --data DIR --work WORK --minutes 18   # repeat until nothing is left
    python benchmarks/code_check.py extract --set humaneval --data DIR --work WORK --minutes 18
    python benchmarks/code_check.py static --set codereval --data DIR --work WORK --minutes 18   # and humaneval
    python benchmarks/code_check.py measure --data DIR --work WORK     # out-of-fold scores, with the model on what it has read
    python benchmarks/code_check.py ship --data DIR --work WORK        # the head of --likely-wrong
    python benchmarks/code_check.py critic --data DIR --work WORK --minutes 18
    python benchmarks/code_check.py report --data DIR --work WORK      # writes code.json and code.md

Each task is one file of features in WORK, so a run that is stopped continues. The code of the data is read, never run.
"""

import argparse
import hashlib
import json
import re
import time
from collections import Counter, defaultdict
from itertools import combinations
from pathlib import Path

import numpy as np
import torch
from scipy.linalg import cho_factor, cho_solve
from sklearn.feature_extraction.text import TfidfVectorizer

from splinelens.anatomy import anatomy_of
from splinelens.detect.bootstrap import ScoreHistogram, percentile_interval
from splinelens.detect.calibration import calibrate
from splinelens.detect.groups import resampled_groups
from splinelens.detect.heads import LinearHead
from splinelens.engines.torch import run_prompt, run_tokens
from splinelens.generate.code_features import (
    COUNTS,
    FINDINGS,
    LIKELIHOOD,
    counts,
    finding_counts,
    likelihood,
    split_body,
)
from splinelens.generate.code_head import CodeHead, bent
from splinelens.generate.critics import CodeCritic, fenced
from splinelens.generate.loop import Budget, from_writer, solve
from splinelens.generate.sample import Sampling, Writer
from splinelens.layers import watch
from splinelens.models import load_model
from splinelens.texts.code import SourceFile
from splinelens.texts.code_findings import Surroundings, check_code
from splinelens.texts.code_frame import PLACEHOLDER
from splinelens.texts.retrieval import CodeProject
from splinelens.weights import gate_norms

HERE = Path(__file__).parent
FOLDERS = {"codereval": "codereval-samples", "humaneval": "humaneval-codegen"}
LAYERS, HIDDEN = (2, 5, 9, 14, 19), (9, 19, 29)
TOKENS, BATCH, DEPTH = 256, 2048, 30
FOLDS, QUARTILES = 5, (0.25, 0.5, 0.75)
RIDGES = (0.1, 0.5, 2.0)
TFIDF = {
    "words": {"ngram_range": (1, 2), "token_pattern": r"\w+"},
    "characters": {"ngram_range": (2, 5), "analyzer": "char_wb"},
}
RESAMPLES, MIN_TASKS = 50, 30
ERRORS = {
    "name and syntax": ("NameError", "UnboundLocalError", "SyntaxError", "IndentationError", "TabError"),
    "attribute, import and type": ("AttributeError", "ImportError", "ModuleNotFoundError", "TypeError"),
}
FITS = {
    "set": "fitted to this set, folds of projects (CoderEval) or tasks",
    "set, tasks": "fitted to this set, folds of tasks",
    "both": "fitted to both sets",
    "read": "fitted to the tasks of this set that the model has read",
}
RIVAL, SHIPPED = "static + TF-IDF", "static + counts"
NEEDS_FILE = ("class_runnable", "file_runnable", "project_runnable")
UNRESOLVED = ("undefined-name", "missing-attribute", "missing-import")
REQUEST = """Write the Python function `{name}` of a larger file. Answer with one fenced block that holds the function alone.

def {signature}:
    \"\"\"{docstring}\"\"\""""
READ = ("likelihood", "spline7", "margins", "hidden")
GEOMETRY, TEXT = ("margins", "spline7"), ("words", "characters")
FUSIONS = {
    "length": ("length",),
    "counts": ("counts",),
    "TF-IDF": TEXT,
    "margins": ("margins",),
    "spline7": ("spline7",),
    "mean and last hidden state": ("hidden",),
    "likelihood": ("likelihood",),
    "static": ("static",),
    "static + TF-IDF": ("static", *TEXT),
    "static + margins": ("static", "margins"),
    "static + geometry": ("static", *GEOMETRY),
    "static + likelihood": ("static", "likelihood"),
    "static + geometry + likelihood": ("static", *GEOMETRY, "likelihood"),
    "static + counts": ("static", "counts"),
    "static + counts + TF-IDF": ("static", "counts", *TEXT),
    "static + counts + geometry": ("static", "counts", *GEOMETRY),
    "static + counts + likelihood": ("static", "counts", "likelihood"),
    "static + counts + likelihood + geometry": ("static", "counts", "likelihood", *GEOMETRY),
    "static + counts + likelihood + TF-IDF": ("static", "counts", "likelihood", *TEXT),
    "everything": ("static", "counts", "likelihood", *GEOMETRY, *TEXT),
    "static + counts, with consensus": ("static", "counts", "consensus"),
    "static + TF-IDF, with consensus": ("static", *TEXT, "consensus"),
    "static + counts + likelihood, with consensus": ("static", "counts", "likelihood", "consensus"),
    "everything, with consensus": ("static", "counts", "likelihood", *GEOMETRY, *TEXT, "consensus"),
}
STRENGTHS = (0.003, 0.01, 0.03, 0.1, 0.3)


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
        row["body"] = split_body(row["code"], tasks[row["task"]].get("name"))[1]
    return tasks, samples


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
            found["spline"] += [mean(sign), mean(near), least]
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


def read_blocks(work, name, tasks, samples):
    """The tables of a set, a row a sample: of static analysis, of the text and, where it was read, of the model."""
    shapes = [
        counts(row["body"], tasks[row["task"]]["prompt"], tasks[row["task"]].get("context", ""))
        for row in samples
    ]
    blocks = {
        "static": read_static(work, name, samples),
        "counts": np.stack(shapes),
        "consensus": consensus_of(samples),
    }
    read = {}
    for task in tasks:
        path = work / name / f"{task.replace('/', '-')}.npz"
        if not path.exists():
            continue
        with np.load(path) as stored:
            part = {key: stored[key] for key in stored}
        starts = np.concatenate([[0], part["ends"][:-1]])
        for at, digest in enumerate(part["digest"].tolist()):
            tokens = part["tokens"][:, starts[at] : part["ends"][at]]
            spline = part["spline"][at].reshape(DEPTH, -1)[:, :3].ravel()  # older files have a fourth column
            read[task, digest] = likelihood(tokens), spline, part["margins"][at], part["hidden"][at]
    rows = [read.get((row["task"], digest_of(row["body"]))) for row in samples]
    for number, block in enumerate(READ if read else ()):
        unread = np.full_like(next(iter(read.values()))[number], np.nan)
        blocks[block] = np.stack([unread if row is None else row[number] for row in rows])
    return blocks


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


def fused_scores(dense, stacked, wrong, task, fold, used, calibrated):
    """Scores, and if asked calibrated probabilities, of a second head on numbers and on the scores of ``ridge_scores``."""
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
        if calibrated:
            platt = calibrate(wrong[rest], inner[best][rest])
            probabilities[~rest] = platt.score(scores[~rest])
    return scores, probabilities


def within_head(values, wrong, task, rows, strength, times=None):
    """Weights of ridge regression on differences within tasks, of columns scaled to their spread there.

    ``times`` says how often each row counts, equally often in all of a task.
    """
    weight = np.ones(rows.sum()) if times is None else times[rows].astype(float)
    centered, target = less_mean(values[rows], task[rows]), less_mean(wrong[rows, None], task[rows])[:, 0]
    scale = centered.std(0)
    scale[scale < 1e-6] = np.inf
    centered = (centered / scale).astype(np.float64)
    matrix = (centered.T * weight) @ centered
    np.einsum("ii->i", matrix)[:] += strength * weight.sum()
    return np.linalg.solve(matrix, centered.T @ (weight * target)) / scale


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


def folds_of(groups):
    """Five folds of whole groups, of about as many rows each."""
    names, counts_ = np.unique(groups, return_inverse=True)[0], Counter(groups)
    order = np.random.default_rng(0).permutation(len(names))
    sizes, number = np.zeros(FOLDS), {}
    for name in sorted(names[order].tolist(), key=lambda name: -counts_[name]):
        number[name] = int(sizes.argmin())
        sizes[number[name]] += counts_[name]
    return np.array([number[name] for name in groups])


def evaluate(rows, blocks, fold):
    """Out-of-fold scores and probabilities of each row of ``FUSIONS``."""
    wrong, task = rows["wrong"], rows["task"]
    mixed = {number for number in np.unique(task) if 0 < wrong[task == number].mean() < 1}
    used = np.isin(task, [*mixed])
    dense = {
        name: bent(blocks[name], np.quantile(blocks[name], QUARTILES, axis=0))
        for name in ("static", "counts", "likelihood", "spline7", "consensus")
        if name in blocks
    }
    dense["length"] = blocks["counts"][:, COUNTS.index("characters")][:, None]
    stacked = {
        name: ridge_scores(tfidf_kernel(rows["code"], task, used, **options), wrong, task, fold, used)
        for name, options in TFIDF.items()
    }
    for name in {"margins", "hidden"} & blocks.keys():
        stacked[name] = ridge_scores(kernel_of(blocks[name], task, used), wrong, task, fold, used)
        print(f"{name}: read", flush=True)
    result = {}
    for title, names in FUSIONS.items():
        if not {*names} <= dense.keys() | stacked.keys():
            continue
        parts = [dense[name] for name in names if name in dense]
        heads = [stacked[name] for name in names if name in stacked]
        result[title] = fused_scores(parts, heads, wrong, task, fold, used, title == SHIPPED)
        print(f"{title}: {task_auc(wrong, result[title][0], task):.4f}", flush=True)
    return result


def read_all(arguments):
    """Both sets: columns that describe samples, and tables of their numbers."""
    table, blocks = defaultdict(list), defaultdict(list)
    for name in FOLDERS:
        tasks, samples = read_set(arguments.data, name)
        for key, values in read_blocks(arguments.work, name, tasks, samples).items():
            blocks[key].append(values)
        table["set"] += [name] * len(samples)
        table["wrong"] += [not row["passed"] for row in samples]
        table["code"] += [row["code"] for row in samples]
        table["task"] += [row["task"] for row in samples]
        table["project"] += [tasks[row["task"]].get("project", row["task"]) for row in samples]
    rows = {key: np.array(values, dtype=object if key == "code" else None) for key, values in table.items()}
    rows["task"] = np.unique(rows["task"], return_inverse=True)[1]
    sizes = Counter(rows["set"].tolist())
    for key in READ:  # a set of which nothing was read
        if 0 < len(blocks.get(key, ())) < len(FOLDERS):
            filled = [np.full((sizes[name], blocks[key][0].shape[1]), np.nan, np.float32) for name in FOLDERS]
            at = [len(values) for values in filled].index(len(blocks[key][0]))
            filled[at] = blocks[key][0]
            blocks[key] = filled
    return rows, {key: np.concatenate(values) for key, values in blocks.items()}


def measure(arguments):
    """Out-of-fold scores, fitted to a set by itself, to both, and with the model on the tasks that it has read.

    They go to WORK/scores.npz; those that are there and do not depend on the model are kept.
    """
    rows, blocks = read_all(arguments)
    path, stored = arguments.work / "scores.npz", {}
    if path.exists():
        with np.load(path) as before:
            stored = {key: before[key] for key in before if "|" in key and not key.startswith("read|")}
    text = {key: values for key, values in blocks.items() if key not in READ}
    codereval, everything = rows["set"] == "codereval", np.ones(len(rows["set"]), bool)
    jobs = [("set, tasks", "task", codereval, text), ("both", "project", everything, text)]
    jobs += [("set", "project", rows["set"] == name, text) for name in FOLDERS]
    if "likelihood" in blocks:
        read = np.isfinite(blocks["likelihood"]).all(1)
        jobs += [("read", "project", read & (rows["set"] == name), blocks) for name in FOLDERS]
    for fit, groups, part, tables in jobs:
        before = stored.get(f"{fit}|{RIVAL}|score")
        known = before is not None and np.isfinite(before[part]).all()
        if (
            known
            or len(task_counts(rows["wrong"][part], np.zeros(part.sum()), rows["task"][part])) < MIN_TASKS
        ):
            continue
        chosen = {key: values[part] for key, values in rows.items()}
        print(f"{fit}: {part.sum()} samples", flush=True)
        tables = {key: values[part] for key, values in tables.items()}
        for title, both in evaluate(chosen, tables, folds_of(chosen[groups])).items():
            for kind, values in zip(("score", "probability"), both, strict=True):
                stored.setdefault(f"{fit}|{title}|{kind}", np.full(len(part), np.nan))[part] = values
    np.savez(path, **stored, wrong=rows["wrong"], task=rows["task"], set=rows["set"])


def criticize(arguments):
    """A model writes functions of CoderEval, and once more with the critic's message; rows go to WORK."""
    began = time.monotonic()
    tasks, _ = read_set(arguments.data, "codereval")
    path = arguments.work / "critic.jsonl"
    done = {row["task"] for row in lines_of(path)} if path.exists() else set()
    needs = [task for task in tasks.values() if task["level"] in NEEDS_FILE]
    chosen = np.random.default_rng(0).permutation(len(needs))[: arguments.prompts]
    generator = None
    for task in (needs[number] for number in chosen):
        if task["task"] in done or time.monotonic() - began > 60 * arguments.minutes:
            continue
        if generator is None:
            writer = Writer(arguments.model, dtype="bfloat16")
            generator = from_writer(writer, Sampling(max_tokens=250))
        request = REQUEST.format(name=task["name"], docstring=task["docstring"], signature=task["signature"])
        prompt = [{"role": "user", "content": request}]
        solution = solve(
            generator, [CodeCritic(Surroundings(task["context"]))], prompt, Budget(2, call_seconds=600)
        )
        missing = []
        for attempt in solution.attempts:
            start, end = fenced(attempt.text)
            found = check_code(attempt.text[start:end], Surroundings(task["context"])).findings
            missing.append([[each.rule, each.message] for each in found if each.category != "requirement"])
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"task": task["task"], "missing": missing}) + "\n")
        print(f"{task['name']}: {[len(found) for found in missing]}", flush=True)


def critic_summary(path, model):
    """Names that did not resolve in the first answers, and how many of them are in the second ones."""
    rows = lines_of(path)
    first = [{message for rule, message in row["missing"][0] if rule in UNRESOLVED} for row in rows]
    second = [
        {message for rule, message in row["missing"][-1] if rule in UNRESOLVED}
        if len(row["missing"]) > 1
        else before
        for row, before in zip(rows, first, strict=True)
    ]
    return {
        "model": model,
        "prompts": len(rows),
        "answers with a finding": sum(bool(row["missing"][0]) for row in rows),
        "answers with a finding after one round": sum(bool(row["missing"][-1]) for row in rows),
        "unresolved names": sum(map(len, first)),
        "of these after one round": sum(len(one & other) for one, other in zip(first, second, strict=True)),
        "new ones after one round": sum(len(other - one) for one, other in zip(first, second, strict=True)),
    }


def report(arguments):
    """Write benchmarks/code.json and code.md from WORK."""
    with np.load(arguments.work / "scores.npz") as stored:
        scores = {key: stored[key] for key in stored}
    record = {
        "command": "python benchmarks/code_check.py",
        "sets": {},
        "rows": [],
        "static": {},
        "reliability": {},
    }
    for name in FOLDERS:
        of_set = scores["set"] == name
        wrong, task = scores["wrong"][of_set], scores["task"][of_set]
        fits = {key.split("|")[0] for key in scores if "|" in key}
        record["sets"][name] = {
            "samples": int(of_set.sum()),
            "tasks": len(np.unique(task)),
            "passed": float(1 - wrong.mean()),
            "tasks with both outcomes": len(task_counts(wrong, wrong.astype(float), task)),
        }
        for fit in sorted(fits):
            rival = scores[f"{fit}|{RIVAL}|score"][of_set]
            part = np.isfinite(rival)
            for title in FUSIONS if part.any() else ():
                if f"{fit}|{title}|score" not in scores:
                    continue
                values = scores[f"{fit}|{title}|score"][of_set][part]
                result = compared(wrong[part], values, rival[part], task[part])
                record["rows"].append({"set": name, "fit": fit, "score": title, **result})
        record["static"][name] = static_summary(arguments, name)
        probability = scores[f"both|{SHIPPED}|probability"][of_set]
        record["reliability"][name] = reliability(wrong, probability, task)
    if (path := arguments.work / "critic.jsonl").exists():
        record["critic"] = critic_summary(path, arguments.model)
    (HERE / "code.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "code.md").write_text(markdown(record), encoding="utf-8")


def compared(wrong, values, rival, task):
    """The AUC within tasks and its gain over the rival's, with 95 % intervals by bootstrap over tasks."""
    of_task, of_rival = task_counts(wrong, values, task), task_counts(wrong, rival, task)
    drawn = np.concatenate([*resampled_groups(len(of_task), 10_000)])
    pairs = drawn @ of_task[:, 0]
    aucs, gains = drawn @ of_task[:, 1] / pairs, drawn @ (of_task - of_rival)[:, 1] / pairs
    auc, gain = (
        of_task[:, 1].sum() / of_task[:, 0].sum(),
        (of_task - of_rival)[:, 1].sum() / of_task[:, 0].sum(),
    )
    return {
        "tasks": len(of_task),
        "auc": float(auc),
        "interval": percentile_interval(aucs),
        "gain": float(gain),
        "gain_interval": percentile_interval(gains),
        "mean of tasks": float((of_task[:, 1] / of_task[:, 0]).mean()),
    }


def reliability(wrong, probability, task):
    """How often samples of each tenth of the probabilities are wrong; Brier score and AUC of all rows."""
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, 11)))
    tenth = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, len(edges) - 2)
    rows = [tenth == number for number in range(len(edges) - 1)]
    drawn = np.concatenate([*resampled_groups(len(np.unique(task)), 2000)])
    _, number = np.unique(task, return_inverse=True)
    bins = []
    for part in rows:
        bad, size = np.bincount(number, part & wrong), np.bincount(number, part)
        shares = (drawn @ bad) / np.maximum(drawn @ size, 1)
        bins.append(
            {
                "samples": int(part.sum()),
                "said": float(probability[part].mean()),
                "wrong": float(wrong[part].mean()),
                "interval": percentile_interval(shares),
            }
        )
    error = sum(row["samples"] * abs(row["said"] - row["wrong"]) for row in bins) / len(wrong)
    histogram = ScoreHistogram.of(wrong.astype(int), probability)
    return {
        "bins": bins,
        "calibration error": error,
        "brier": float(((probability - wrong) ** 2).mean()),
        "brier of the share": float(wrong.mean() * (1 - wrong.mean())),
        "auc of all rows": float(histogram.roc_auc()),
    }


def ship(arguments):
    """Fit the head that is shipped to all rows of both sets; its resamples are calibrated on the tasks left out."""
    rows, blocks = read_all(arguments)
    wrong, task = rows["wrong"], rows["task"]
    values = np.concatenate([blocks[name] for name in FUSIONS[SHIPPED]], axis=1)
    knots = np.quantile(values, QUARTILES, axis=0)
    table = bent(values, knots)
    fold = folds_of(rows["project"])
    tried = np.zeros((len(STRENGTHS), len(wrong)))
    for strength, row in zip(STRENGTHS, tried, strict=True):
        for number in range(FOLDS):
            held = fold == number
            row[held] = table[held] @ within_head(table, wrong, task, ~held, strength)
    best = int(np.argmax([task_auc(wrong, row, task) for row in tried]))
    heads = [
        (within_head(table, wrong, task, np.ones(len(wrong), bool), STRENGTHS[best]), tried[best], wrong)
    ]
    rng, projects = np.random.default_rng(0), np.unique(rows["project"], return_inverse=True)[1]
    for _ in range(RESAMPLES):
        times = np.bincount(
            rng.integers(0, projects.max() + 1, projects.max() + 1), minlength=projects.max() + 1
        )
        weights = within_head(table, wrong, task, times[projects] > 0, STRENGTHS[best], times[projects])
        left_out = times[projects] == 0
        heads.append((weights, table[left_out] @ weights, wrong[left_out]))
    calibrated = [(weights, calibrate(labels, scores)) for weights, scores, labels in heads]
    head = LinearHead(
        np.zeros(table.shape[1]),
        np.ones(table.shape[1]),
        np.stack([one.slope * weights for weights, one in calibrated]),
        np.array([one.intercept for _, one in calibrated]),
    )
    names = {"static": FINDINGS, "counts": COUNTS, "likelihood": LIKELIHOOD}
    columns = tuple(column for block in FUSIONS[SHIPPED] for column in names[block])
    record = {
        "trained on": FOLDERS,
        "samples": len(wrong),
        "share": float(wrong.mean()),
        "strength": STRENGTHS[best],
    }
    CodeHead(columns, knots, head, record).write(arguments.output)


def check_samples(arguments):
    """Write the findings of each sample of a set to WORK, until the time is over."""
    began = time.monotonic()
    tasks, samples = read_set(arguments.data, arguments.set)
    projects = defaultdict(list)
    for task in tasks.values():
        if "project" in task:
            whole = task["context"].replace(PLACEHOLDER, "pass")
            projects[task["project"]].append(SourceFile(task["file"], "python", whole))
    projects = {name: CodeProject(files) for name, files in projects.items()}
    path = arguments.work / f"static-{arguments.set}.jsonl"
    done = len(lines_of(path)) if path.exists() else 0
    with path.open("a", encoding="utf-8") as file:
        for number, row in enumerate(samples[done:], done):
            if time.monotonic() - began > 60 * arguments.minutes:
                break
            task = tasks[row["task"]]
            context, source = task.get("context"), row["code"]
            if context is None:
                source = task["prompt"] + source
            report = check_code(source, Surroundings(context, projects.get(task.get("project"))))
            found = [[finding.category, finding.rule] for finding in report.findings]
            record = {"verdict": report.verdict, "findings": found, "undetermined": len(report.undetermined)}
            file.write(json.dumps(record) + "\n")
            if number % 200 == 0:
                print(f"{arguments.set}: {number} of {len(samples)}", flush=True)


def read_static(work, name, samples):
    """The numbers of ``FINDINGS`` of each sample."""
    records = lines_of(work / f"static-{name}.jsonl")
    assert len(records) == len(samples)
    return np.stack([finding_counts(**record) for record in records])


def static_summary(arguments, name):
    """What the findings alone tell: a sample is flagged if its verdict is fail."""
    _, samples = read_set(arguments.data, name)
    records = lines_of(arguments.work / f"static-{name}.jsonl")
    flagged = np.array([record["verdict"] == "fail" for record in records])
    passed = np.array([row["passed"] for row in samples])
    task = np.unique([row["task"] for row in samples], return_inverse=True)[1]
    pairs = task_counts(~passed, flagged.astype(float), task)
    drawn = np.concatenate([*resampled_groups(len(pairs), 10_000)])
    result = {
        "flagged": float(flagged.mean()),
        "flagged that pass": float(passed[flagged].mean()),
        "others that pass": float(passed[~flagged].mean()),
        "auc": float(pairs[:, 1].sum() / pairs[:, 0].sum()),
        "interval": percentile_interval(drawn @ pairs[:, 1] / (drawn @ pairs[:, 0])),
        "rules": {},
    }
    for rule in sorted({rule for record in records for _, rule in record["findings"]}):
        rows = np.array([any(rule == found for _, found in record["findings"]) for record in records])
        result["rules"][rule] = {"samples": int(rows.sum()), "pass": float(passed[rows].mean())}
    if name == "humaneval":
        for kind, names in ERRORS.items():
            rows = np.array([row["result"] in names for row in samples])
            result[f"{kind} errors"] = int(rows.sum())
            result[f"{kind} errors found"] = float(flagged[rows].mean())
    return result


def markdown(record):
    """The tables of the page."""
    lines = [
        "# Is generated code wrong?",
        "",
        "`python benchmarks/code_check.py extract|static|measure|ship|critic|report --data DIR --work WORK`: features of "
        "`smollm2-135m` in bfloat16, the first 256 tokens of each body after its signature and docstring. AUC within a task of "
        "wrong against passing samples; 95 % intervals by bootstrap over tasks. Strengths are chosen inside the training folds.",
        "",
        "| set | samples | tasks | with both outcomes | pass |",
        "| --- | --- | --- | --- | --- |",
    ]
    for name, row in record["sets"].items():
        lines.append(
            f"| {name} | {row['samples']:,} | {row['tasks']} | {row['tasks with both outcomes']} | {row['passed']:.1%} |"
        )
    lines += ["", "## Static findings", ""]
    head = "| set | flagged | flagged that pass | others that pass | AUC within a task |"
    lines += [head, "| --- | --- | --- | --- | --- |"]
    for name, row in record["static"].items():
        shares = " | ".join(f"{row[key]:.1%}" for key in ("flagged", "flagged that pass", "others that pass"))
        lines.append(f"| {name} | {shares} | {ranged(row['auc'], row['interval'])} |")
    found = record["static"]["humaneval"]
    lines += [
        "",
        "HumanEval, errors when run that were found before: "
        + "; ".join(
            f"{kind} {found[f'{kind} errors found']:.1%} of {found[f'{kind} errors']}" for kind in ERRORS
        )
        + ".",
        "",
        "| finding | CoderEval | of these pass | HumanEval | of these pass |",
        "| --- | --- | --- | --- | --- |",
    ]
    both = [record["static"][name]["rules"] for name in FOLDERS]
    for rule in sorted(set(both[0]) | set(both[1])):
        cells = [
            f"{rows[rule]['samples']:,} | {rows[rule]['pass']:.1%}" if rule in rows else "0 | "
            for rows in both
        ]
        lines.append(f"| {rule} | {cells[0]} | {cells[1]} |")
    for name in FOLDERS:
        of_set = [row for row in record["rows"] if row["set"] == name]
        fits = [fit for fit in FITS if any(row["fit"] == fit for row in of_set)]
        for title, columns in (
            ("", [fit for fit in fits if fit != "read"]),
            (", with the model", ["read"] if "read" in fits else []),
        ):
            if columns:
                tasks = next(row["tasks"] for row in of_set if row["fit"] == columns[0])
                lines += [
                    "",
                    f"## {name}: AUC within a task{title}, {tasks} tasks",
                    "",
                    *auc_table(of_set, columns),
                ]
    for name, rows in record["reliability"].items():
        lines += [
            "",
            f"## {name}: how often a stated probability is right",
            "",
            f"`{SHIPPED}`, fitted to both sets, out of fold. Calibration error {rows['calibration error']:.3f}, Brier score "
            f"{rows['brier']:.3f} ({rows['brier of the share']:.3f} for the share of wrong samples), AUC of all rows "
            f"{rows['auc of all rows']:.3f}.",
            "",
            "| samples | said to be wrong | wrong |",
            "| --- | --- | --- |",
        ]
        for row in rows["bins"]:
            lines.append(
                f"| {row['samples']:,} | {row['said']:.3f} | {ranged(row['wrong'], row['interval'])} |"
            )
    if critic := record.get("critic"):
        lines += ["", "## The critic in the loop", "", "| | |", "| --- | --- |"]
        lines += [f"| {name} | {value} |" for name, value in critic.items()]
    return "\n".join(lines) + "\n"


def auc_table(rows, fits):
    """A row a score, two columns a fit."""
    lines = ["| score | " + " | ".join(f"{FITS[fit]} | gain over {RIVAL}" for fit in fits) + " |"]
    lines.append("| --- |" + " --- | --- |" * len(fits))
    for title in dict.fromkeys(row["score"] for row in rows if row["fit"] in fits):
        cells = []
        for fit in fits:
            [row] = [row for row in rows if (row["fit"], row["score"]) == (fit, title)]
            cells += [ranged(row["auc"], row["interval"]), ranged(row["gain"], row["gain_interval"], "+.3f")]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return lines


def ranged(value, interval, form=".3f"):
    """A number with its interval."""
    return f"{value:{form}} [{interval[0]:{form}}, {interval[1]:{form}}]"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("part", choices=("extract", "static", "measure", "ship", "critic", "report"))
    parser.add_argument("--set", choices=FOLDERS, default="codereval")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--model", default="qwen2.5-coder-0.5b", help="of critic: what writes")
    parser.add_argument("--prompts", type=int, default=50)
    parser.add_argument("--minutes", type=float, default=18)
    parser.add_argument("--output", type=Path, default=HERE.parent / "src/splinelens/detectors/code")
    arguments = parser.parse_args()
    parts = {
        "extract": extract,
        "static": check_samples,
        "measure": measure,
        "ship": ship,
        "critic": criticize,
        "report": report,
    }
    parts[arguments.part](arguments)


if __name__ == "__main__":
    main()
