"""Is generated code wrong? Static findings, geometry and likelihood, against simple text features.

    python benchmarks/code_check.py extract --set codereval --data DIR --work WORK --minutes 18   # repeat until nothing is left
    python benchmarks/code_check.py extract --set humaneval --data DIR --work WORK --minutes 18
    python benchmarks/code_check.py static --set codereval --data DIR --work WORK --minutes 18   # and humaneval
    python benchmarks/code_check.py measure --data DIR --work WORK     # out-of-fold scores, with the model on what it has read
    python benchmarks/code_check.py ship --data DIR --work WORK        # the head of --likely-wrong, and its card
    python benchmarks/code_check.py critic --data DIR --work WORK --minutes 18
    python benchmarks/code_check.py report --data DIR --work WORK      # writes code_check.json, code_check.md and the tables of docs/code.md

Each task is one file of features in WORK, so a run that is stopped continues. Findings are stored under the hash of
the checker: those of another one are never mixed in. The code of the data is read, never run.
"""

import argparse
import json
import re
import time
from collections import Counter, defaultdict
from dataclasses import asdict
from pathlib import Path

import numpy as np
from code_bodies import READ, read_features, read_task, write_features
from code_pages import DOCS, ERRORS, FITS, FITTED, RIVAL, SHIPPED, card, docs_blocks, filled, markdown
from code_sets import (
    FOLDERS,
    LEVELS,
    checker_hash,
    codereval_projects,
    data_hash,
    digest_of,
    read_lines,
    read_set,
)
from within_task import (
    FOLDS,
    STRENGTHS,
    best_strength,
    folds_of,
    fused_scores,
    kernel_of,
    mixed_rows,
    ridge_scores,
    scores_by_strength,
    task_auc,
    tfidf_kernel,
    within_head,
)

from splinelens import __version__
from splinelens.detect.bootstrap import ScoreHistogram, percentile_interval
from splinelens.detect.calibration import calibrate
from splinelens.detect.code_head import CodeHead, hinge_columns
from splinelens.detect.groups import resampled_groups
from splinelens.detect.heads import LinearHead
from splinelens.detect.within_group_auc import group_pairs, within_group_auc, within_group_gain
from splinelens.features.code_numbers import FINDINGS, SHAPE, finding_numbers, shape_numbers
from splinelens.generate.critics import CodeCritic, fenced, with_imports
from splinelens.generate.loop import Budget, from_writer, solve
from splinelens.generate.sample import Sampling, Writer
from splinelens.models import load_model
from splinelens.texts.code_findings import MISSING, CodeReport, Surroundings, check_code

HERE = Path(__file__).parent
QUARTILES = (0.25, 0.5, 0.75)
TFIDF = {
    "words": {"ngram_range": (1, 2), "token_pattern": r"\w+"},
    "characters": {"ngram_range": (2, 5), "analyzer": "char_wb"},
}
RESAMPLES, MIN_TASKS = 50, 30
REQUEST = """Write the Python function `{name}` of a larger file. Answer with one fenced block that holds the function alone.

def {signature}:
    \"\"\"{docstring}\"\"\""""
GEOMETRY, TEXT = ("margins", "spline7"), ("words", "characters")
FUSIONS = {
    "length": ("length",),
    "counts": ("counts",),
    "TF-IDF": TEXT,
    "margins": ("margins",),
    "spline7": ("spline7",),
    "mean and last hidden state": ("hidden",),
    "likelihood": ("likelihood",),
    FITTED: ("static",),
    RIVAL: ("static", *TEXT),
    "static + margins": ("static", "margins"),
    "static + geometry": ("static", *GEOMETRY),
    "static + likelihood": ("static", "likelihood"),
    "static + geometry + likelihood": ("static", *GEOMETRY, "likelihood"),
    SHIPPED: ("static", "counts"),
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


def extract(arguments):
    """Write the features of the tasks that have none yet, until the time is over; say what is left."""
    began = time.monotonic()
    tasks, samples = read_set(arguments.data, arguments.set)
    folder = arguments.work / arguments.set
    folder.mkdir(parents=True, exist_ok=True)
    left = [name for name in tasks if not features_of(folder, name).exists()]
    passed = {name: {row["passed"] for row in samples if row["task"] == name} for name in left}
    left.sort(key=lambda name: -len(passed[name]))  # first those with both outcomes, which the AUC needs
    loaded = load_model(head=True, dtype="bfloat16") if left else None
    while left and time.monotonic() - began < 60 * arguments.minutes:
        name, started = left.pop(0), time.monotonic()
        bodies = sorted({row["body"] for row in samples if row["task"] == name})
        rows = read_task(loaded, tasks[name]["prompt"], bodies)
        read = {digest_of(body): row for body, row in zip(bodies, rows, strict=True) if row}
        write_features(features_of(folder, name), read)
        speed = sum(row["tokens"].shape[1] for row in read.values()) / (time.monotonic() - started)
        print(
            f"{arguments.set} {name}: {len(bodies)} bodies, {speed:.0f} tokens/s, {len(left)} tasks left",
            flush=True,
        )
    return len(left)


def features_of(folder, task):
    """The file of a task's features."""
    return folder / f"{task.replace('/', '-')}.npz"


def check_samples(arguments):
    """Write the findings of each sample of a set to WORK, until the time is over."""
    began = time.monotonic()
    tasks, samples = read_set(arguments.data, arguments.set)
    projects = codereval_projects(tasks)
    path = findings_of(arguments.work, arguments.set)
    done = len(read_lines(path, missing_ok=True))
    with path.open("a", encoding="utf-8") as file:
        for number, row in enumerate(samples[done:], done):
            if time.monotonic() - began > 60 * arguments.minutes:
                break
            task = tasks[row["task"]]
            context, source = task.get("context"), row["code"]
            if context is None:
                source = task["prompt"] + source
            report = check_code(source, Surroundings(context, projects.get(task.get("project"))))
            file.write(json.dumps(asdict(report)) + "\n")
            if number % 200 == 0:
                print(f"{arguments.set}: {number} of {len(samples)}", flush=True)


def findings_of(work, name):
    """The file of the findings of a set by the checker that is installed."""
    return work / f"static-{name}-{checker_hash()[:12]}.jsonl"


def read_static(work, name, samples):
    """The report of each sample."""
    reports = [CodeReport.from_dict(row) for row in read_lines(findings_of(work, name))]
    if len(reports) != len(samples):
        raise SystemExit(f"{len(reports)} of {len(samples)} samples of {name} are checked; run static first")
    return reports


def consensus_of(samples):
    """How much each sample agrees with the others of its task and model: token Jaccard, and exact repeats."""
    groups = defaultdict(list)
    for index, row in enumerate(samples):
        groups[row["task"], row.get("model")].append(index)
    result = np.zeros((len(samples), 3))
    for rows in groups.values():
        if len(rows) > 1:
            jaccard = jaccard_table([samples[index]["body"] for index in rows])
            np.fill_diagonal(jaccard, np.nan)
            columns = np.nanmean(jaccard, 1), np.nanmax(jaccard, 1), np.nanmean(jaccard > 0.8, 1)
            result[rows] = np.stack(columns, 1)
    return result


def jaccard_table(bodies):
    """The Jaccard similarity of the sets of tokens of each two bodies."""
    sets = [set(re.findall(r"\w+|[^\w\s]", body)) for body in bodies]
    column = {token: number for number, token in enumerate(sorted(set.union(*sets)))}
    table = np.zeros((len(sets), max(len(column), 1)), np.float32)
    for number, one in enumerate(sets):
        table[number, [column[token] for token in one]] = 1
    both, size = table @ table.T, table.sum(1)
    return both / np.maximum(size[:, None] + size - both, 1)


def read_blocks(work, name, tasks, samples):
    """The tables of a set, a row a sample: of static analysis, of the text and, where it was read, of the model."""
    shapes = [
        shape_numbers(row["body"], tasks[row["task"]]["prompt"], tasks[row["task"]].get("context", ""))
        for row in samples
    ]
    blocks = {
        "static": np.stack([finding_numbers(report) for report in read_static(work, name, samples)]),
        "counts": np.stack(shapes),
        "consensus": consensus_of(samples),
    }
    read = {}
    for task in tasks:
        if (path := features_of(work / name, task)).exists():
            read |= {(task, digest): row for digest, row in read_features(path).items()}
    rows = [read.get((row["task"], digest_of(row["body"]))) for row in samples]
    for number, block in enumerate(READ if read else ()):
        unread = np.full_like(next(iter(read.values()))[number], np.nan)
        blocks[block] = np.stack([unread if row is None else row[number] for row in rows])
    return blocks


def read_all(arguments):
    """Both sets: columns that describe samples, and tables of their numbers."""
    table, blocks = defaultdict(list), defaultdict(dict)
    for name in FOLDERS:
        tasks, samples = read_set(arguments.data, name)
        for key, values in read_blocks(arguments.work, name, tasks, samples).items():
            blocks[key][name] = values
        table["set"] += [name] * len(samples)
        table["wrong"] += [not row["passed"] for row in samples]
        table["code"] += [row["code"] for row in samples]
        table["task"] += [row["task"] for row in samples]
        table["project"] += [tasks[row["task"]].get("project", row["task"]) for row in samples]
    rows = {key: np.array(values, dtype=object if key == "code" else None) for key, values in table.items()}
    rows["task"] = np.unique(rows["task"], return_inverse=True)[1]
    sizes = Counter(rows["set"].tolist())
    for parts in blocks.values():  # NaN for a set of which nothing was read
        width = next(iter(parts.values())).shape[1]
        parts |= {
            name: np.full((sizes[name], width), np.nan, np.float32) for name in FOLDERS if name not in parts
        }
    return rows, {key: np.concatenate([parts[name] for name in FOLDERS]) for key, parts in blocks.items()}


def measure(arguments):
    """Out-of-fold scores, fitted to a set by itself, to both, and with the model on the tasks that it has read.

    They go to WORK/scores.npz; those that are there, do not depend on the model and come from the same findings are kept.
    """
    rows, blocks = read_all(arguments)
    stored = stored_scores(arguments.work)
    for fit, groups, part, tables in fits_of(rows, blocks):
        before = stored.get(f"{fit}|{RIVAL}|score")
        if before is not None and np.isfinite(before[part]).all():
            continue
        chosen = {key: values[part] for key, values in rows.items()}
        if len(np.unique(chosen["task"][mixed_rows(chosen["wrong"], chosen["task"])])) < MIN_TASKS:
            continue
        print(f"{fit}: {part.sum()} samples", flush=True)
        tables = {key: values[part] for key, values in tables.items()}
        for title, both in evaluate(chosen, tables, folds_of(chosen[groups])).items():
            for kind, values in zip(("score", "probability"), both, strict=True):
                stored.setdefault(f"{fit}|{title}|{kind}", np.full(len(part), np.nan))[part] = values
    columns = {key: rows[key] for key in ("wrong", "task", "set")}
    np.savez(arguments.work / "scores.npz", **stored, **columns, checker=checker_hash())


def stored_scores(work):
    """Scores of an earlier run that still hold."""
    path = work / "scores.npz"
    if not path.exists():
        return {}
    with np.load(path) as stored:
        if "checker" not in stored or str(stored["checker"]) != checker_hash():
            return {}
        return {key: stored[key] for key in stored if "|" in key and not key.startswith("read|")}


def fits_of(rows, blocks):
    """What is fitted: its name, the groups that folds keep whole, which samples, and the tables of numbers."""
    text = {key: values for key, values in blocks.items() if key not in READ}
    part_of = {name: rows["set"] == name for name in FOLDERS}
    yield "set, tasks", "task", part_of["codereval"], text
    yield "both", "project", np.ones(len(rows["set"]), bool), text
    for name in FOLDERS:
        yield "set", "project", part_of[name], text
    if "likelihood" in blocks:
        read = np.isfinite(blocks["likelihood"]).all(1)
        for name in FOLDERS:
            yield "read", "project", read & part_of[name], blocks


def evaluate(rows, blocks, fold):
    """Out-of-fold scores and probabilities of each row of ``FUSIONS``."""
    wrong, task = rows["wrong"], rows["task"]
    used = mixed_rows(wrong, task)
    dense = {
        name: hinge_columns(blocks[name], np.quantile(blocks[name], QUARTILES, axis=0))
        for name in ("static", "counts", "likelihood", "spline7", "consensus")
        if name in blocks
    }
    dense["length"] = blocks["counts"][:, SHAPE.index("characters")][:, None]
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


def ship(arguments):
    """Fit the head that is shipped to all rows of both sets, and write its card; ``measure`` comes before."""
    rows, blocks = read_all(arguments)
    values = np.concatenate([blocks[name] for name in FUSIONS[SHIPPED]], axis=1)
    knots = np.quantile(values, QUARTILES, axis=0)
    heads, strength = calibrated_heads(hinge_columns(values, knots), rows)
    record = {
        "command": "python benchmarks/code_check.py ship --data DIR --work WORK",
        "splinelens": __version__,
        "checker": checker_hash(),
        "trained on": FOLDERS,
        "data_hash": data_hash(arguments.data),
        "samples": len(values),
        "share": float(rows["wrong"].mean()),
        "strength": strength,
        "resamples": RESAMPLES,
        "metrics": shipped_metrics(read_scores(arguments.work)),
    }
    CodeHead((*FINDINGS, *SHAPE), knots, heads, record).write(arguments.output)
    (arguments.output / "CARD.md").write_text(card(record), encoding="utf-8")


def calibrated_heads(table, rows):
    """A head on all rows, calibrated out of fold, and its resamples, calibrated on the projects left out; the strength."""
    wrong, task, every = rows["wrong"], rows["task"], np.ones(len(table), bool)
    tried = scores_by_strength(table, wrong, task, folds_of(rows["project"]), range(FOLDS), every)
    best = best_strength(wrong, tried, task)
    heads = [(within_head(table, wrong, task, every, STRENGTHS[best]), calibrate(wrong, tried[best]))]
    for times in resampled_projects(rows["project"]):
        weights = within_head(table, wrong, task, times > 0, STRENGTHS[best], times)
        left_out = times == 0
        heads.append((weights, calibrate(wrong[left_out], table[left_out] @ weights)))
    head = LinearHead(
        np.zeros(table.shape[1]),
        np.ones(table.shape[1]),
        np.stack([platt.slope * weights for weights, platt in heads]),
        np.array([platt.intercept for _, platt in heads]),
    )
    return head, STRENGTHS[best]


def resampled_projects(project):
    """How often each row counts in each bootstrap resample of whole projects."""
    rng, number = np.random.default_rng(0), np.unique(project, return_inverse=True)[1]
    count = number.max() + 1
    for _ in range(RESAMPLES):
        yield np.bincount(rng.integers(0, count, count), minlength=count)[number]


def criticize(arguments):
    """A model writes functions of CoderEval, and once more with the critic's message; rows go to WORK."""
    began = time.monotonic()
    tasks, _ = read_set(arguments.data, "codereval")
    path = arguments.work / "critic.jsonl"
    done = {row["task"] for row in read_lines(path, missing_ok=True)}
    needs = [task for task in tasks.values() if task["level"] in LEVELS]
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
        around = Surroundings(task["context"])
        solution = solve(generator, [CodeCritic(around)], prompt, Budget(2, call_seconds=600))
        missing = [failures_in(attempt.text, around) for attempt in solution.attempts]
        with path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"task": task["task"], "missing": missing}) + "\n")
        print(f"{task['name']}: {[len(each) for each in missing]}", flush=True)


def failures_in(answer, around):
    """Rule and message of what does not exist in the code of an answer."""
    start, end = fenced(answer)
    code = answer[start:end]
    return [[each.rule, each.message] for each in check_code(code, with_imports(around, code)).failures]


def critic_summary(path, model):
    """Names that did not resolve in the first answers, and how many of them are in the second ones."""
    rows = read_lines(path)
    first, second = (
        [{message for rule, message in row["missing"][at] if rule in MISSING} for row in rows]
        for at in (0, -1)
    )
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
    """Write code_check.json, code_check.md and the tables of docs/code.md from WORK."""
    scores = read_scores(arguments.work)
    record = {
        "command": "python benchmarks/code_check.py",
        "checker": checker_hash(),
        "data_hash": data_hash(arguments.data),
        "sets": {},
        "rows": [],
        "static": {},
        "reliability": {},
    }
    for name in FOLDERS:
        _, samples = read_set(arguments.data, name)
        of_set = scores["set"] == name
        wrong, task = scores["wrong"][of_set], scores["task"][of_set]
        record["sets"][name] = described(samples, wrong, task)
        record["rows"] += score_rows(scores, name)
        record["static"][name] = static_summary(read_static(arguments.work, name, samples), samples)
        probability = scores[f"both|{SHIPPED}|probability"][of_set]
        record["reliability"][name] = reliability(wrong, probability, task)
    if (path := arguments.work / "critic.jsonl").exists():
        record["critic"] = critic_summary(path, arguments.model)
    (HERE / "code_check.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    (HERE / "code_check.md").write_text(markdown(record), encoding="utf-8")
    DOCS.write_text(filled(DOCS.read_text("utf-8"), docs_blocks(record)), encoding="utf-8")


def described(samples, wrong, task):
    """The size of a set."""
    return {
        "samples": len(samples),
        "models": len({row.get("model") for row in samples}),
        "tasks": len(np.unique(task)),
        "passed": float(1 - wrong.mean()),
        "tasks with both outcomes": len(group_pairs(wrong, wrong, task)),
    }


def read_scores(work):
    """What ``measure`` stored, of the checker that is installed."""
    with np.load(work / "scores.npz") as stored:
        scores = {key: stored[key] for key in stored}
    if str(scores.pop("checker", "")) != checker_hash():
        raise SystemExit("scores.npz is of findings of another checker; run static and measure first")
    return scores


def score_rows(scores, name):
    """A row for each fit and score of a set."""
    of_set, rows = scores["set"] == name, []
    for fit in FITS:
        rival = scores.get(f"{fit}|{RIVAL}|score", np.array([]))
        part = of_set[: len(rival)] & np.isfinite(rival)
        for title in FUSIONS if part.any() else ():
            if (values := scores.get(f"{fit}|{title}|score")) is not None:
                result = compared(scores["wrong"][part], values[part], rival[part], scores["task"][part])
                rows.append({"set": name, "fit": fit, "score": title, **result})
    return rows


def shipped_metrics(scores):
    """The out-of-fold rows of the head that is shipped, by set."""
    rows = {name: score_rows(scores, name) for name in FOLDERS}
    key = {"fit": "both", "score": SHIPPED}
    return {name: next(row for row in rows[name] if key.items() <= row.items()) for name in FOLDERS}


def compared(wrong, values, rival, task):
    """The AUC within tasks and its gain over the rival's, with 95 % intervals by bootstrap over tasks."""
    result = within_group_auc(wrong, values, task)
    gain, interval = within_group_gain(wrong, values, rival, task)
    return {
        "tasks": result.mixed,
        "auc": result.auc,
        "interval": result.auc_interval,
        "gain": gain,
        "gain_interval": interval,
    }


def static_summary(reports, samples):
    """What the findings tell without a head: a sample is flagged if its verdict is fail."""
    flagged = np.array([report.verdict == "fail" for report in reports])
    passed = np.array([row["passed"] for row in samples])
    task = np.unique([row["task"] for row in samples], return_inverse=True)[1]
    within = within_group_auc(~passed, flagged.astype(float), task)
    result = {
        "flagged": float(flagged.mean()),
        "flagged that pass": float(passed[flagged].mean()),
        "others that pass": float(passed[~flagged].mean()),
        "auc": within.auc,
        "interval": within.auc_interval,
        "rules": {},
    }
    rules = [{finding.rule for finding in report.findings} for report in reports]
    for rule in sorted(set.union(*rules)):
        rows = np.array([rule in each for each in rules])
        result["rules"][rule] = {"samples": int(rows.sum()), "pass": float(passed[rows].mean())}
    for kind, names in ERRORS.items() if "result" in samples[0] else ():
        rows = np.array([row["result"] in names for row in samples])
        result[f"{kind} errors"] = int(rows.sum())
        result[f"{kind} errors found"] = float(flagged[rows].mean())
    return result


def reliability(wrong, probability, task):
    """How often samples of each tenth of the probabilities are wrong; Brier score and AUC of all rows."""
    edges = np.unique(np.quantile(probability, np.linspace(0, 1, 11)))
    tenth = np.clip(np.searchsorted(edges, probability, side="right") - 1, 0, len(edges) - 2)
    drawn = np.concatenate([*resampled_groups(len(np.unique(task)), 2000)])
    number = np.unique(task, return_inverse=True)[1]
    bins = []
    for part in (tenth == index for index in range(len(edges) - 1)):
        bad, size = np.bincount(number, part & wrong), np.bincount(number, part)
        bins.append(
            {
                "samples": int(part.sum()),
                "predicted": float(probability[part].mean()),
                "wrong": float(wrong[part].mean()),
                "interval": percentile_interval((drawn @ bad) / np.maximum(drawn @ size, 1)),
            }
        )
    error = sum(row["samples"] * abs(row["predicted"] - row["wrong"]) for row in bins) / len(wrong)
    return {
        "bins": bins,
        "calibration error": error,
        "brier": float(((probability - wrong) ** 2).mean()),
        "brier of the share": float(wrong.mean() * (1 - wrong.mean())),
        "auc of all rows": float(ScoreHistogram.of(wrong.astype(int), probability).roc_auc()),
    }


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
