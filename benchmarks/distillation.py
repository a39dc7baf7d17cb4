"""What distillation brings: a pruned model recovers, and six blocks keep a detector of 24.

    python benchmarks/distillation.py --data DIR --cache CACHE --work WORK --part keep labels
    python benchmarks/distillation.py --data DIR --work WORK --part recover --pruned FOLDER
    python benchmarks/distillation.py --data DIR --work WORK --part report

``keep`` distills ``toxicity`` into the first six blocks of the default model on some 20,000 training rows;
``labels`` trains the same student for as long without the match of margins and the relation. 1,500 rows of
``jigsaw6-clean`` that neither shipped detector was fitted on are held out: they give the thresholds. ``report``
scores the test rows of jigsaw-test-binary-12k and ToxiGen's seed sentences, which nothing was trained on (of
ToxiGen the annotated statements are training rows), with both students and ``toxicity-fast``; ``bars.md`` has
``toxicity``.

``recover`` trains a model that ``splinelens prune apply`` cut (50 %, Wanda) on ``domains`` without
its Wikipedia rows, which are the test text, and measures WikiText-2: 24 windows of 512 tokens. Cut it on such
texts, too. Runs are kept in WORK and continue where they were stopped. The record is ``distillation.json``, its
tables ``distillation.md``. The inputs of the teacher's MLPs are those that ``detectors.py`` keeps in CACHE.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from detection.data import letters_and_digits, read_evaluation
from detection.fitting import cached_layers
from detection.inputs import cached_inputs, inputs_folder
from detection.sources import SOURCES, tested_texts
from detection.training_rows import measured_part

from splinelens.apps.detector import Detector
from splinelens.apps.distill import (
    CHECKPOINT,
    KEEP_FACTORS,
    Settings,
    distill,
    keep_detector,
    margins_file,
)
from splinelens.detect.bootstrap import ScoreHistogram, auc_gain_interval, auc_interval
from splinelens.detect.shipped import find_artifact
from splinelens.files import parts_folder, write_text
from splinelens.generate.likelihood import perplexity
from splinelens.models import load_model
from splinelens.texts import Texts, read_texts

HERE = Path(__file__).parent
TAKE = {"jig": 8526, "raw": 2645, "tgann": 4401, "tweet": 2500, "para": 1000, "pairs": 2500, "domains": 500}
"""Rows of each source, at most."""
WEIGHTS = {"jig": 1.0, "raw": 1.0, "tgann": 2.0, "tweet": 0.5, "para": 0.3, "pairs": 1.0, "domains": 0.5}
HELD_OUT = 1500
KEEP = Settings(rate=2e-4, shares=(0.05, 0.15, 0.8), batch_tokens=2048, tokens=2_048_000)  # each text twice
RECOVER = Settings(rate=3e-4, shares=(0.0, 0.0, 1.0), tokens=229_376)


def main() -> None:
    args = parse()
    record = json.loads(args.record.read_text("utf-8")) if args.record.is_file() else {}
    for part in args.part:
        if part == "report":
            for results in scored(args.work, args.data):
                record["detectors"] = results
                write_text(args.record, json.dumps(record, indent=1) + "\n")
        elif part == "recover":
            record["recover"] = recovered(args.data, args.work / "recovered", args.pruned)
        else:
            record[part] = kept(args.data, args.cache, args.work / part, matched=part == "keep")
        write_text(args.record, json.dumps(record, indent=1) + "\n")
        write_text(args.record.with_suffix(".md"), tables(record))


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, help="folder of the inputs of the MLPs; for keep and labels")
    parser.add_argument("--work", type=Path, required=True, help="folder of the students")
    parser.add_argument("--pruned", type=Path, help="folder of the pruned model; for recover")
    parser.add_argument("--part", nargs="+", required=True, choices=("keep", "labels", "recover", "report"))
    parser.add_argument("--record", type=Path, default=HERE / "distillation.json")
    args = parser.parse_args()
    if {"keep", "labels"} & {*args.part} and not args.cache:
        parser.error("keep and labels need --cache")
    if "recover" in args.part and not args.pruned:
        parser.error("recover needs --pruned")
    return args


def kept(folder: Path, cache: Path, work: Path, *, matched: bool) -> dict[str, object]:
    """Distill ``toxicity`` into six blocks; returns what the held-out rows say."""
    margins = work.parent / "margins.npy"
    texts, labels, sources = training_rows(folder, cache, margins)
    others, their_labels = unseen_rows(folder)
    held_out = np.arange(len(texts) + len(others)) >= len(texts)
    weights = np.concatenate([balanced(labels, sources), np.ones(len(others))])
    file = margins_file(work, find_artifact("toxicity"), Texts.of(texts))
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.symlink_to(margins.resolve())
    factors = KEEP_FACTORS if matched else {name: KEEP_FACTORS[name] for name in ("score", "labels")}
    started = process_time()
    detector = keep_detector(
        "toxicity",
        "smollm2-135m",
        [*texts, *others],
        np.concatenate([labels, their_labels]),
        work,
        blocks=6,
        held_out=held_out,
        weights=weights,
        factors=factors,
        settings=KEEP,
        command=f"python benchmarks/distillation.py --data DIR --cache CACHE --work WORK --part {work.name}",
        report=lambda line: print(line, flush=True),
    )
    minutes = (process_time() - started) / 60
    fast = Detector.load("toxicity-fast", long="cut", engine="torch", dtype="bfloat16")
    held = {
        "student": measured(scores_of(detector, others), their_labels),
        "toxicity-fast": measured(scores_of(fast, others), their_labels),
    }
    return {
        "rows": len(texts),
        "settings": asdict(KEEP),
        "cpu_minutes": round(minutes, 1),
        "held_out": held,
    }


def unseen_rows(folder: Path) -> tuple[list[str], np.ndarray]:
    """Comments of which no source has the letters, and their labels."""
    texts = read_evaluation(folder, ["clean"]).sets["clean"]
    known = tested_texts(folder)
    known |= {letters_and_digits(text) for source in SOURCES.values() for text in source.read(folder).texts}
    usable = (np.array(texts.columns["split"]) == "train") & (np.array(texts.columns["in_test12k"]) == "0")
    rows = [row for row in np.flatnonzero(usable) if letters_and_digits(texts.texts[row]) not in known]
    rows = np.random.default_rng(2).permutation(rows)[:HELD_OUT]
    return [texts.texts[row] for row in rows], np.array(texts.columns["positive"])[rows]


def training_rows(folder: Path, cache: Path, file: Path) -> tuple[list[str], np.ndarray, np.ndarray]:
    """Texts, labels and sources of the training rows; the file gets the teacher's margins of their tokens.

    No row has the letters and digits of a tested text or of an earlier row.
    """
    teacher = load_model("smollm2-135m", n_layers=24, dtype="bfloat16")
    artifact, cached = find_artifact("toxicity"), cached_layers(30)
    weight = torch.from_numpy(artifact.directions.weight).bfloat16().flatten(1)
    bias = torch.from_numpy(artifact.directions.bias)
    places = [cached.index(layer) for layer in artifact.spec["layers"]]
    rng, seen = np.random.default_rng(0), tested_texts(folder)
    texts, labels, sources, margins = [], [], [], []
    for name, most in TAKE.items():
        part, usable = SOURCES[name].read(folder), []
        for row in np.flatnonzero(part.train):
            key = letters_and_digits(part.texts[row])
            if key and key not in seen:
                usable.append(row)
                seen.add(key)
        rows = np.sort(rng.permutation(usable)[:most])
        texts += [part.texts[row] for row in rows]
        labels.append(part.labels[rows])
        sources.append(np.full(len(rows), name))
        if file.is_file():
            continue
        inputs = cached_inputs(
            teacher,
            part.texts,
            inputs_folder(cache, teacher, cached) / name,
            prompt=artifact.spec["prompt"],
            layers=cached,
            max_tokens=SOURCES[name].max_tokens,
        )
        for row in rows:
            states = np.array(inputs.tokens[inputs.start[row] : inputs.start[row + 1]][:, places])
            states = torch.from_numpy(states).bfloat16().flatten(1)
            margins.append(((states @ weight.T).float() + bias).half().numpy())
        print(f"{name}: {len(rows)} rows", flush=True)
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, np.concatenate(margins))
    return texts, np.concatenate(labels), np.concatenate(sources)


def balanced(labels: np.ndarray, sources: np.ndarray) -> np.ndarray:
    """Weights, 1 in the mean: in each source with two classes both weigh the same."""
    weights = np.array([WEIGHTS[name] for name in sources])
    for name in TAKE:
        classes = [(sources == name) & (labels == label) for label in (0, 1)]
        rows = sum(int(one.sum()) for one in classes)
        for one in classes:
            if one.any() and one.sum() != rows:
                weights[one] *= rows / 2 / one.sum()
    return weights / weights.mean()


def scored(work: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """The AUC of students and of toxicity-fast on test rows, after each that is scored, and what students gain."""
    data = read_evaluation(folder, ["jig", "toxigen"])
    _, part = measured_part("binary", data)
    toxigen = data.sets["toxigen"]
    sets = {
        "toxigen": (list(toxigen.texts), np.array(toxigen.columns["positive"], dtype=int)),
        "jig": (part.texts(data), part.labels[:, 0]),
    }
    folders = {name: work / name / "detector" for name in ("keep", "labels")}
    detectors = {name: str(path) for name, path in folders.items() if path.is_dir()}
    detectors["toxicity-fast"] = "toxicity-fast"
    results: dict[str, Any] = {}
    for name, (texts, labels) in sets.items():
        scores: dict[str, np.ndarray] = {}
        for key, detector in detectors.items():
            file = work / f"scores-{name}-{key}.npy"
            if not file.is_file():
                loaded = Detector.load(detector, long="cut", engine="torch", dtype="bfloat16")
                np.save(file, scores_of(loaded, texts))
            scores[key] = np.load(file)
            results.setdefault(name, {})[key] = measured(scores[key], labels)
            yield results
        fast = scores.pop("toxicity-fast")
        for key, values in scores.items():
            results[name][key]["gain_over_toxicity_fast"] = auc_gain_interval(labels, fast, values)
        yield results


def scores_of(detector: Detector, texts: Sequence[str | None]) -> np.ndarray:
    """Scores; 0 for a text without tokens."""
    return np.nan_to_num(np.array([record.score for record in detector.scores(texts)], float))


def measured(scores: np.ndarray, labels: np.ndarray) -> dict[str, Any]:
    """The AUC of scores with its interval."""
    value = float(ScoreHistogram.of(labels, scores).roc_auc())
    return {"rows": len(labels), "auc": value, "interval": auc_interval(labels, scores)}


def recovered(folder: Path, work: Path, pruned: Path) -> dict[str, object]:
    """Train a pruned model on ``domains``; returns the perplexity before and after on WikiText-2."""
    values = {"dense": wikitext_perplexity(folder, "smollm2-135m")}
    values["pruned"] = wikitext_perplexity(folder, pruned)
    rows = read_texts(folder / "domains/domains.jsonl", "text", ["domain"])
    names = rows.columns["domain"]
    texts = rows.at([row for row, name in enumerate(names) if name != "wikipedia"])  # those are WikiText-2
    continued = (parts_folder(work) / CHECKPOINT).is_file()
    started = process_time()
    trained = distill(
        "smollm2-135m",
        pruned,
        texts,
        work,
        settings=RECOVER,
        report=lambda line: print(line, flush=True),
    )
    minutes = (process_time() - started) / 60
    values["distilled"] = wikitext_perplexity(folder, work)
    nats = {name: float(np.log(value)) for name, value in values.items()}
    return {
        "settings": asdict(RECOVER),
        "steps": trained["steps"],
        "tokens": trained["steps"] * RECOVER.batch_tokens,
        "cpu_minutes": None if continued else round(minutes, 1),
        "nats": nats,
        "perplexity": {name: round(value, 2) for name, value in values.items()},
        "regained": (nats["pruned"] - nats["distilled"]) / (nats["pruned"] - nats["dense"]),
        "held_out": trained["held_out"],
    }


def wikitext_perplexity(folder: Path, model: str | Path) -> float:
    """The perplexity of a model in bfloat16 over the windows of ``pruning.py``."""
    text = (folder / "wikitext2-test/wiki.test.txt").read_text("utf-8")
    return perplexity(load_model(model, head=True, dtype="bfloat16"), text, length=512, windows=24).value


def tables(record: dict) -> str:
    """The record as Markdown."""
    lines = [
        "# Distillation",
        "",
        "Written by `benchmarks/distillation.py`; the numbers are in `distillation.json`.",
        "",
    ]
    if one := record.get("recover"):
        lines += [
            "## A pruned model recovers",
            "",
            f"{one['tokens']:,} tokens of `domains`, "
            + (f"{one['cpu_minutes']} CPU minutes" if one["cpu_minutes"] else "in several pieces, not timed")
            + ". WikiText-2 test, 24 windows of 512 tokens:",
            "",
            "| model | perplexity | nats per token |",
            "|---|---|---|",
            *(f"| {name} | {one['perplexity'][name]} | {value:.4f} |" for name, value in one["nats"].items()),
            "",
            f"Regained of the lost log-perplexity: {100 * one['regained']:.1f} %.",
            "",
        ]
    if one := record.get("detectors"):
        lines += [
            "## Six blocks keep a detector",
            "",
            "| test rows | detector | rows | AUC | 95 % interval | gain over toxicity-fast |",
            "|---|---|---|---|---|---|",
        ]
        for name, of_set in one.items():
            for detector, row in of_set.items():
                gain = row.get("gain_over_toxicity_fast")
                shown = "" if gain is None else f"{gain[0]:+.4f} to {gain[1]:+.4f}"
                low, high = row["interval"]
                lines.append(
                    f"| {name} | {detector} | {row['rows']:,} | {row['auc']:.4f} | {low:.4f} to {high:.4f} | {shown} |"
                )
        lines.append("")
    for name in ("keep", "labels"):
        if one := record.get(name):
            aucs = ", ".join(f"{key} {row['auc']:.4f}" for key, row in one["held_out"].items())
            lines.append(
                f"`{name}`: {one['rows']:,} training rows, {one['cpu_minutes']} CPU minutes; AUC of {HELD_OUT:,} "
                f"held-out comments in lower case: {aucs}."
            )
    return "\n".join(lines).rstrip() + "\n"


if __name__ == "__main__":
    main()
