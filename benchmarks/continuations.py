"""What a detector as a critic costs a language model: greedy, one sample, best of n and search at equal tokens.

    python benchmarks/continuations.py --cache CACHE --part written -o benchmarks/continuations.json
    python benchmarks/continuations.py --cache CACHE --part curve -o benchmarks/continuations.json

The default model continues the 100 mild openings of ``texts/openings.txt`` with up to 40 tokens: the likeliest ones
(``greedy``); one sample; the best of as many samples as 160 tokens pay for; the result of a search that writes 160
tokens in all. Samples are drawn with temperature 0.8. ``toxicity-fast`` is the critic of best of n and of search, first
with its threshold for 5 % false positives, then (part ``curve``) with stricter ones; ``toxicity``, which chose nothing,
judges, too. Perplexity is that of ``qwen2.5-coder-0.5b``, which wrote nothing, after the opening. Both models run in
bfloat16. Texts are kept in CACHE: a stopped part continues. Intervals are 95 % bootstrap intervals over openings.
"""

import argparse
import json
import math
from collections.abc import Iterable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from lockstep import together

from splinelens.apps.detector import Detector
from splinelens.detect.bootstrap import mean_interval
from splinelens.detect.paired import paired_difference
from splinelens.generate.critics import Critic, Finding
from splinelens.generate.likelihood import log_probabilities
from splinelens.generate.model_steps import ModelSteps
from splinelens.generate.sample import Sampling, Writer
from splinelens.generate.search import SearchBudget, search
from splinelens.models import LoadedModel, load_model

CRITIC, JUDGE, READER = "toxicity-fast", "toxicity", "qwen2.5-coder-0.5b"
TEXT_TOKENS, TOKENS = 40, 160
BATCH, SEARCHES = 10, 30  # openings, searches that are written in one batch
SAMPLED = Sampling(max_tokens=TEXT_TOKENS, temperature=0.8)
STRICTER = (0.1, 0.03)
"""Thresholds of ``CRITIC`` below its own, from the loosest."""

MEASURES = ("critic", "judge", "surprise")
"""Score of ``CRITIC``; score of ``JUDGE``; mean negative log-likelihood of a token by ``READER``."""

Row = dict[str, Any]


def read_openings() -> list[str]:
    return (Path(__file__).parent / "texts" / "openings.txt").read_text("utf-8").splitlines()


def write_all(writer: Writer, openings: Sequence[str], sampling: Sampling, replies: int) -> list[list[Row]]:
    """Several texts after each opening, with the tokens that were generated; a batch has openings of one length."""
    ids = {opening: writer.ids(opening) for opening in openings}
    by_length: dict[int, list[str]] = {}
    for opening in openings:
        by_length.setdefault(len(ids[opening]), []).append(opening)
    rows: dict[str, list[Row]] = {opening: [] for opening in openings}
    for group in by_length.values():
        for start in range(0, len(group), BATCH):
            batch = [opening for opening in group[start : start + BATCH] for _ in range(replies)]
            made: list[Row] = [{"text": "", "tokens": 0, "ended": False} for _ in batch]
            for step in writer.steps([ids[opening] for opening in batch], sampling):
                for row, piece, ended in zip(made, step.pieces, step.ended, strict=True):
                    row["tokens"] += not row["ended"]  # an end token, too, was generated
                    row["text"] += piece
                    row["ended"] = bool(ended)
            for opening, row in zip(batch, made, strict=True):
                rows[opening].append({"text": row["text"], "tokens": row["tokens"]})
    return [rows[opening] for opening in openings]


def searched(steps: ModelSteps, critic: Critic, opening: str, seed: int) -> Row:
    """The text of a search that ends with its budget, and what it did."""
    found = search(
        steps,
        [critic],
        opening,
        n=TOKENS,  # more than it can finish: it spends the budget
        budget=SearchBudget(tokens=TOKENS),
        seed=seed,
    )
    return {
        "text": found.text,
        "tokens": found.tokens,
        "highest": max(
            1 - finding.score
            for node in found.trace
            for finding in node.findings.values()
            if finding.score is not None
        ),
        "finished": sum(node.outcome == "finished" for node in found.trace),
        "dropped": dict(found.dropped),
        "reason": found.reason,
    }


class Kept(dict[tuple[Any, ...], Row]):
    """Rows by key, kept in a file of JSON lines: what is there is not made again."""

    def __init__(self, path: Path):
        self._path = path
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        super().__init__((tuple(key), row) for key, row in map(json.loads, lines))

    def add(self, key: tuple[Any, ...], row: Row) -> None:
        self[key] = row
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps([key, row], ensure_ascii=False) + "\n")


def judged(kept: Kept, pairs: Iterable[tuple[str, str]]) -> None:
    """Measure the texts after openings that were not yet measured."""
    missing = [pair for pair in dict.fromkeys(pairs) if pair not in kept]
    if not missing:
        return
    texts = [text for _, text in missing]
    critic, judge = ([one.score for one in Detector.load(name).score(texts)] for name in (CRITIC, JUDGE))
    surprises = surprise(load_model(READER, head=True, device="cpu", dtype="bfloat16"), missing)
    for pair, *values in zip(missing, critic, judge, surprises, strict=True):
        kept.add(pair, dict(zip(MEASURES, values, strict=True)))


def surprise(reader: LoadedModel, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """Mean negative log-likelihood of the tokens after each opening; perplexity is its exponential."""
    likelihoods = log_probabilities(reader, [opening + text for opening, text in pairs])
    begins = [len(reader.tokenizer(opening)["input_ids"]) for opening, _ in pairs]
    return [float(-values[0, begin:].mean()) for values, begin in zip(likelihoods, begins, strict=True)]


def written(openings: Sequence[str], kept: Kept) -> None:
    """Greedy, and the samples, of each opening."""
    if len(kept.get(("samples",), {}).get("samples", ())) >= len(openings):
        return
    writer, critic = read_writer(), Detector.load(CRITIC)
    greedy = write_all(writer, openings, Sampling(max_tokens=TEXT_TOKENS), 1)
    samples = write_all(writer, openings, SAMPLED, TOKENS // TEXT_TOKENS)
    for row in (row for of_opening in samples for row in of_opening):
        row["critic"] = critic.score([row["text"]])[0].score
    kept.add(("samples",), {"greedy": [row for (row,) in greedy], "samples": samples})


def searches(openings: Sequence[str], kept: Kept, threshold: float, looser: Sequence[float] = ()) -> None:
    """The search of each opening; one with a looser threshold that saw no score above this is the same."""
    missing = []
    for seed, opening in enumerate(openings):
        same = [row for one in looser if (row := kept["search", opening, one])["highest"] < threshold]
        if ("search", opening, threshold) in kept:
            continue
        if same:
            kept.add(("search", opening, threshold), same[0])
        else:
            missing.append((seed, opening))
    if not missing:
        return
    writer, critic = read_writer(), OneAtATime(Detector.load(CRITIC).critic(threshold=threshold))
    for start in range(0, len(missing), SEARCHES):
        batch = missing[start : start + SEARCHES]
        calls = [partial(searched, critic=critic, opening=opening, seed=seed) for seed, opening in batch]
        for (_, opening), row in zip(batch, together(writer, SAMPLED, calls), strict=True):
            kept.add(("search", opening, threshold), row)


class OneAtATime:
    """A critic for several threads."""

    def __init__(self, critic: Critic):
        self._critic, self._lock = critic, Lock()
        self.name, self.hard = critic.name, critic.hard

    def check(self, text: str, context: str) -> Finding:
        with self._lock:
            return self._critic.check(text, context)


def read_writer() -> Writer:
    return Writer(load_model("smollm2-135m", head=True, device="cpu", dtype="bfloat16"))


def ways(openings: Sequence[str], kept: Kept, threshold: float) -> dict[str, list[Row]]:
    """For each way the text of each opening with its measures; a text is None where none passed."""
    rows: dict[str, list[Row]] = {"greedy": [], "one sample": [], "best of n": [], "search": []}
    of_all = kept[("samples",)]
    for greedy, samples, opening in zip(of_all["greedy"], of_all["samples"], openings, strict=False):
        passing = [one for one in samples if one["text"].strip() and one["critic"] < threshold]
        best = min(passing, key=lambda one: one["critic"], default={"text": None})
        spent = sum(one["tokens"] for one in samples)
        rows["greedy"].append(greedy)
        rows["one sample"].append(samples[0])
        rows["best of n"].append({"text": best["text"], "tokens": spent, "passing": len(passing)})
        rows["search"].append(kept["search", opening, threshold])
    measured = {
        way: [(opening, row["text"]) for opening, row in zip(openings, of_way, strict=True)]
        for way, of_way in rows.items()
    }
    judged(kept, [pair for pairs in measured.values() for pair in pairs if pair[1] and pair[1].strip()])
    return {
        way: [row | kept.get(pair, {}) for row, pair in zip(rows[way], measured[way], strict=True)]
        for way in rows
    }


def summary(rows: Sequence[Row], threshold: float, limit: float, seed: int) -> Row:
    """Means of the texts of a way, with intervals."""
    known = [row for row in rows if "critic" in row]
    record: Row = {
        "texts": len(known),
        "tokens written": round(float(np.mean([row["tokens"] for row in rows])), 1),
        "most tokens written": max(row["tokens"] for row in rows),
        "critic over its threshold": sum(row["critic"] >= threshold for row in known),
        "judge over its threshold": sum(row["judge"] >= limit for row in known),
    }
    for name in MEASURES if known else ():
        values = np.array([row[name] for row in known])
        ends = mean_interval(values, 10_000, seed, least=10) or ()
        if name == "surprise":
            numbers = [math.exp(value) for value in (values.mean(), *ends)]
            record["perplexity"] = [round(number, 2) for number in numbers]
        else:
            record[name] = [round(float(number), 4) for number in (values.mean(), *ends)]
    return record


def differences(rows: dict[str, list[Row]], seed: int) -> Row:
    """Search less each other way, over openings where both have a text."""
    record: Row = {}
    for way in ("greedy", "one sample", "best of n"):
        for name in MEASURES:
            pairs = zip(rows["search"], rows[way], strict=True)
            values = np.array([one.get(name, math.nan) - other.get(name, math.nan) for one, other in pairs])
            found = paired_difference(values, np.arange(len(values)), seed)
            numbers = [] if found.value is None else [found.value, *(found.interval or ())]
            record.setdefault(f"search less {way}", {})[name] = [round(float(one), 4) for one in numbers]
    return record


def part_written(openings: Sequence[str], kept: Kept, seed: int) -> Row:
    """All ways with the threshold of the critic for 5 % false positives."""
    threshold, limit = Detector.load(CRITIC).threshold(), Detector.load(JUDGE).threshold()
    written(openings, kept)
    searches(openings, kept, threshold)
    rows = ways(openings, kept, threshold)
    return {
        "openings": len(openings),
        "threshold": round(threshold, 4),
        **{way: summary(each, threshold, limit, seed) for way, each in rows.items()},
        **differences(rows, seed),
    }


def part_curve(openings: Sequence[str], kept: Kept, seed: int) -> Row:
    """Best of n and search, also with stricter thresholds: how many openings get a text, and which."""
    limit, record = Detector.load(JUDGE).threshold(), {}
    looser: list[float] = []
    written(openings, kept)
    for threshold in (Detector.load(CRITIC).threshold(), *STRICTER):
        searches(openings, kept, threshold, looser)
        looser.append(threshold)
        rows = ways(openings, kept, threshold)
        record[f"{threshold:.4g}"] = {
            "openings": len(openings),
            "one sample below it": sum(row.get("critic", 1.0) < threshold for row in rows["one sample"]),
            **{way: summary(rows[way], threshold, limit, seed) for way in ("best of n", "search")},
            "search less best of n": differences(rows, seed)["search less best of n"],
        }
    return record


PARTS = {"written": part_written, "curve": part_curve}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps texts")
    parser.add_argument("--part", choices=PARTS, nargs="+", default=list(PARTS), help="what to measure")
    parser.add_argument("--openings", type=int, default=100, help="how many, from the first")
    parser.add_argument("--seed", type=int, default=0, help="of the intervals")
    parser.add_argument("-o", "--output", type=Path, help="JSON record to update")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    kept = Kept(args.cache / "continuations.jsonl")
    for name in args.part:
        result = PARTS[name](read_openings()[: args.openings], kept, args.seed)
        print(json.dumps({name: result}), flush=True)
        if args.output:
            record = json.loads(args.output.read_text("utf-8")) if args.output.exists() else {}
            args.output.write_text(json.dumps(record | {name: result}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
