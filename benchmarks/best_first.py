"""Best-first search: exact oracles, a value head on stored solutions, and continuations at equal tokens.

    python benchmarks/best_first.py --data DIR --cache CACHE -o benchmarks/best_first.json
    python benchmarks/best_first.py --data DIR --cache CACHE --part blocksworld

Parts: ``blocksworld`` (a scripted writer over states: is the plan as short as the stored optimal one, and how many
nodes does an admissible value save), ``countdown`` (tasks of the package ``reasoning-gym``, to be installed for it:
found if and only if an exhaustive solver finds it, and what a value solves within a budget), ``gsm8k`` (a linear head on
the default model's features at the end of stored solutions picks one of four, folds by question; they are read in
bfloat16) and ``continuations`` (100 mild openings go on for 40 tokens: greedy, best of n and search at equal
tokens). Each prints its numbers as JSON and replaces its part of the record. Features and texts are kept in CACHE: a
stopped part continues.
"""

import argparse
import json
import math
import re
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np

from splinelens.apps.detector import Detector
from splinelens.detect.bootstrap import percentile_interval
from splinelens.detect.groups import resampled_groups
from splinelens.detect.out_of_fold import text_only_scores
from splinelens.detect.paired import paired_difference
from splinelens.detect.solver import fold_of_rows
from splinelens.detect.within_group_auc import within_group_auc
from splinelens.features.extract import extract
from splinelens.features.spec import every_third_layer
from splinelens.features.table import FeatureTable
from splinelens.generate.bank import Prompt
from splinelens.generate.critics import Check, Finding
from splinelens.generate.likelihood import log_probabilities
from splinelens.generate.plans import PlanValidator
from splinelens.generate.sample import Sampling, Writer
from splinelens.generate.search import Continuation, SearchBudget, SearchResult, Value, search
from splinelens.generate.writer_steps import WriterSteps
from splinelens.models import load_model

ALL = 1000  # continuations: more than any state here has
PLENTY = SearchBudget(tokens=10**9, expansions=10**6, call_seconds=math.inf)
STEP_COST = Check(lambda text: Finding("pass", 0.0), name="cost", hard=False)  # a step loses 1
COUNTDOWN_TASKS, COUNTDOWN_EXPANSIONS = 200, 300
RIDGES = (0.1, 1.0, 10.0)  # relative to the mean of the diagonal of the Gram matrix
ANSWER = re.compile(r"^A:\s*(.*)$", re.M)
PROMPTS, PROMPT_WORDS, TEXT_TOKENS, TOKENS = 100, 8, 40, 240


# Blocksworld


def moves(state: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """Each action that can be executed in a state of facts, and the state after it."""
    facts = sorted(tuple(fact.split()) for fact in state)
    clear = [fact[1] for fact in facts if fact[0] == "clear"]
    if "handempty" in state:
        for kind, block, *below in (fact for fact in facts if len(fact) > 1):
            if kind == "ontable" and f"clear {block}" in state:
                gone = {f"clear {block}", f"ontable {block}", "handempty"}
                yield f"(pick-up {block})", state - gone | {f"holding {block}"}
            if kind == "on" and f"clear {block}" in state:
                gone = {f"on {block} {below[0]}", f"clear {block}", "handempty"}
                new = {f"holding {block}", f"clear {below[0]}"}
                yield f"(unstack {block} {below[0]})", state - gone | new
        return
    (held,) = (fact[1] for fact in facts if fact[0] == "holding")
    rest = state - {f"holding {held}"}
    yield f"(put-down {held})", rest | {f"clear {held}", "handempty", f"ontable {held}"}
    for block in clear:
        new = {"handempty", f"clear {held}", f"on {held} {block}"}
        yield f"(stack {held} {block})", rest - {f"clear {block}"} | new


def misplaced(state: frozenset[str], goal: frozenset[str]) -> int:
    """How many blocks the goal puts on another one that are not there, or whose support has to move.

    Each of them has to be stacked at least once, and an action stacks one: a plan is at least as long.
    """
    below = dict(fact.split()[1:] for fact in goal)

    def has_to_move(block: str) -> bool:
        if block not in below:
            return False
        return f"on {block} {below[block]}" not in state or has_to_move(below[block])

    return sum(map(has_to_move, below))


class BlocksSteps:
    """Writes every action that can follow; a text that reaches the goal is final."""

    def __init__(self, init: frozenset[str], goal: frozenset[str]):
        self.goal = goal
        self._states = {(): init}

    def continuations(
        self, prompt: Prompt, steps: tuple[str, ...], count: int, max_tokens: int, seed: int
    ) -> list[Continuation]:
        following = []
        for action, state in moves(self._states[steps]):
            text = f"{action}\n"
            self._states[(*steps, text)] = state
            following.append(Continuation(text, 1, self.goal <= state, state=state))
        return following


def blocks_values(goal: frozenset[str]) -> dict[str, Value | None]:
    """Values of states, none of which loses more than the shortest plan."""

    def two_actions_each(state: frozenset[str]) -> float:
        """A misplaced block is taken before it is put down; of the held one that is done."""
        held = any(fact.startswith("holding") for fact in state)
        return -max(0, 2 * misplaced(state, goal) - held)

    return {
        "h = 0": None,
        "misplaced blocks": lambda prompt, steps, new: -misplaced(new.state, goal),
        "two actions each": lambda prompt, steps, new: two_actions_each(new.state),
    }


def planned(row: Mapping[str, Any], critic: PlanValidator, value: Value | None) -> SearchResult:
    """The plan of an instance."""
    return search(
        BlocksSteps(frozenset(row["init"]), frozenset(row["goal"])),
        [STEP_COST],
        "",
        final_critics=[critic],
        value=value,
        k=ALL,
        n=1,
        aggregate="sum",
        budget=PLENTY,
    )


def blocksworld(args: argparse.Namespace) -> dict[str, Any]:
    """Plans as short as the stored ones, and nodes with and without a value."""
    folder = args.data / "planbench-blocksworld"
    rows = read_rows(folder / "instances.jsonl")
    domain = (folder / "domain.pddl").read_text("utf-8")
    counts: dict[str, Counter[str]] = {}
    for row in rows:
        critic = PlanValidator(domain, problem_of(row))
        for name, value in blocks_values(frozenset(row["goal"])).items():
            result = planned(row, critic, value)
            solved = result.text is not None
            counts.setdefault(name, Counter()).update(
                {
                    "solved": solved,
                    "optimal": solved and len(result.text.splitlines()) == len(row["plan"]),
                    "expanded": result.expanded,
                    "created": result.created,
                }
            )
    record: dict[str, Any] = {"instances": len(rows)} | {name: dict(each) for name, each in counts.items()}
    for key in ("expanded", "created"):
        record[f"{key}, ratio to h = 0"] = {
            name: round(each[key] / counts["h = 0"][key], 3) for name, each in counts.items()
        }
    return record


def problem_of(row: Mapping[str, Any]) -> str:
    init, goal = (" ".join(f"({fact})" for fact in row[key]) for key in ("init", "goal"))
    return (
        f"(define (problem stored) (:domain blocksworld-4ops) (:objects {' '.join(row['objects'])}) "
        f"(:init {init}) (:goal (and {goal})))"
    )


# Countdown

Term = tuple[int, str]
"""A number, and the expression that gives it."""


def combinations(terms: Sequence[Term]) -> Iterator[tuple[str, tuple[Term, ...]]]:
    """Each way to join two numbers by an operation with a whole result, and the numbers after it."""
    seen = set()
    for first, second in permutations(range(len(terms)), 2):
        (a, of_a), (b, of_b) = terms[first], terms[second]
        rest = tuple(term for at, term in enumerate(terms) if at not in (first, second))
        results = {"-": a - b} | ({"+": a + b, "*": a * b} if first < second else {})
        if b and a % b == 0:
            results["/"] = a // b
        for sign, result in results.items():
            state = tuple(sorted([*(number for number, _ in rest), result]))
            if state not in seen:
                seen.add(state)
                yield f"{a} {sign} {b} = {result}\n", (*rest, (result, f"({of_a} {sign} {of_b})"))


def solvable(numbers: tuple[int, ...], target: int, failed: set[tuple[int, ...]]) -> bool:
    """Whether all numbers can be joined to the target, by depth-first search."""
    if len(numbers) == 1:
        return numbers[0] == target
    if numbers in failed:
        return False
    for first, second in permutations(range(len(numbers)), 2):
        a, b = numbers[first], numbers[second]
        rest = [number for at, number in enumerate(numbers) if at not in (first, second)]
        for result in (a + b, a - b, a * b, a // b if b and a % b == 0 else None):
            if result is not None and solvable(tuple(sorted([*rest, result])), target, failed):
                return True
    failed.add(numbers)
    return False


class CountdownSteps:
    """Writes every calculation that can follow; a text is final when one number is left."""

    def __init__(self, numbers: Sequence[int]):
        self._terms: dict[tuple[str, ...], tuple[Term, ...]] = {
            (): tuple((number, str(number)) for number in numbers)
        }

    def continuations(
        self, prompt: Prompt, steps: tuple[str, ...], count: int, max_tokens: int, seed: int
    ) -> list[Continuation]:
        following = []
        for text, terms in combinations(self._terms[steps]):
            self._terms[(*steps, text)] = terms
            state = tuple(sorted(number for number, _ in terms))
            following.append(Continuation(text, 1, len(terms) == 1, state=state))
        return following

    def expression(self, text: str) -> str:
        """The expression of a finished text."""
        ((_, expression),) = self._terms[tuple(text.splitlines(keepends=True))]
        return expression


def nearness(target: int, state: tuple[int, ...]) -> float:
    """How near the nearest number is to the target; 0 if one is equal."""
    return -min(abs(number - target) for number in state) / target


def countdown_search(
    numbers: Sequence[int], target: int, guided: bool, expansions: int
) -> tuple[SearchResult, str]:
    writer = CountdownSteps(numbers)
    reached = Check(lambda text: text.rstrip().endswith(f"= {target}"), name="target")
    result = search(
        writer,
        [],
        "",
        final_critics=[reached],
        value=(lambda prompt, steps, new: nearness(target, new.state)) if guided else None,
        k=ALL,
        n=1,
        budget=replace(PLENTY, expansions=expansions),
    )
    return result, "" if result.text is None else writer.expression(result.text)


def countdown(args: argparse.Namespace) -> dict[str, Any]:
    """Found if and only if there is a solution; and what is solved within a budget, with and without a value."""
    import reasoning_gym

    counts: Counter[str] = Counter()
    options = {"size": COUNTDOWN_TASKS, "seed": args.seed}
    small = reasoning_gym.create_dataset("countdown", min_numbers=4, max_numbers=4, **options)
    rng = np.random.default_rng(args.seed)
    for entry in small:
        task = entry["metadata"]
        for target in (task["target"], int(rng.integers(100, 1000))):
            result, expression = countdown_search(task["numbers"], target, False, 10**6)
            exists = solvable(tuple(sorted(task["numbers"])), target, set())
            counts["tasks of 4 numbers"] += 1
            counts["with a solution"] += exists
            counts["agree with the exhaustive solver"] += exists == (result.text is not None)
            if target == task["target"] and result.text is not None:
                counts["of reasoning-gym's own targets, right by its verdict"] += (
                    small.score_answer(expression, entry) == 1.0
                )
    record: dict[str, Any] = {"exact": dict(counts), "expansions": COUNTDOWN_EXPANSIONS}
    large = reasoning_gym.create_dataset("countdown", min_numbers=5, max_numbers=6, **options)
    solved: dict[str, list[bool]] = {"h = 0": [], "nearness": []}
    for entry in large:
        task = entry["metadata"]
        for name, of_task in solved.items():
            _, expression = countdown_search(
                task["numbers"], task["target"], name != "h = 0", COUNTDOWN_EXPANSIONS
            )
            of_task.append(bool(expression) and large.score_answer(expression, entry) == 1.0)
    record["5 and 6 numbers"] = {"tasks": len(large)} | {name: sum(each) for name, each in solved.items()}
    return record


# Pick one of four solutions


def gsm8k(args: argparse.Namespace) -> dict[str, Any]:
    """Which of four stored solutions is right: a head, the majority, both; out of fold by question."""
    rows = read_rows(args.data / "gsm8k-solutions" / "solutions.jsonl")
    questions = np.array([row["question_id"] for row in rows])
    labels = np.array([row["is_correct"] for row in rows], dtype=int)
    answers = [answer_of(row["solution"]) for row in rows]
    everything = np.ones(len(rows), dtype=bool)
    fold = fold_of_rows(labels[:, None], everything, groups=questions, seed=args.seed)
    blocks = _last_tokens(rows, args.cache)
    tried = {
        (name, ridge): within_scores(values, labels, questions, fold, ridge)
        for name, values in blocks.items()
        for ridge in RIDGES
    }
    head, chosen = _chosen([*tried], [*tried.values()], labels, questions, fold)
    votes = summed(questions, answers, np.ones(len(rows)))
    scale = head / np.std(head)
    both, _ = _chosen(
        list(range(5)),
        [summed(questions, answers, 1 + ratio * scale) for ratio in (0.1, 0.25, 0.5, 1.0, 2.0)],
        labels,
        questions,
        fold,
        by_picks=True,
    )
    words = text_only_scores(
        [row["solution"] for row in rows],
        np.array([len(row["solution"]) for row in rows], dtype=float),
        labels,
        fold,
    )
    scores = {
        "random": np.zeros(len(rows)),
        **words,
        "majority": votes,
        "head": head,
        "head and majority": both,
    }
    record: dict[str, Any] = {
        "questions": len(set(questions.tolist())),
        "right": round(float(labels.mean()), 4),
        "any of four right": round(
            float(np.mean([labels[questions == one].any() for one in set(questions)])), 4
        ),
        "chosen by fold": [" ".join(map(str, each)) for each in chosen],
    }
    for name, of_rows in scores.items():
        right = picked(of_rows, labels, questions)
        within = within_group_auc(labels, of_rows, questions, seed=args.seed)
        record[name] = {
            "picks": round(float(right.mean()), 4),
            "picks_interval": _interval(right, args.seed),
            "within_question": round(float(within.auc or 0), 4),
            "within_question_interval": [round(float(end), 4) for end in within.auc_interval or ()],
        }
    return record


def answer_of(solution: str) -> str:
    """The final answer, as it is compared."""
    found = ANSWER.findall(solution)
    return re.sub(r"[,$%\s]|\.0*$", "", found[-1]) if found else ""


def _last_tokens(rows: Sequence[Mapping[str, Any]], cache: Path) -> dict[str, np.ndarray]:
    """Features at the last token of each solution, and of the last step before its answer."""
    texts, spans = [], []
    for row in rows:
        begin = len(row["question"]) + 1
        texts.append(f"{row['question']}\n{row['solution']}")
        lines = [match.span() for match in re.finditer(r"[^\n]*\S", row["solution"])]
        spans.append([(begin + first, begin + last) for first, last in lines])
    model = load_model("smollm2-135m", dtype="bfloat16", device="cpu")
    output = cache / "gsm8k.parquet"
    table = extract(
        texts,
        model,
        features=("margins", "hidden"),
        layers=every_third_layer(model.depth),
        pooling="last",
        at=spans,
        batch_tokens=4096,
        output=output,
        load=False,
    )
    del table
    last = np.cumsum([len(each) for each in spans]) - 1
    before = np.array([end - (len(each) > 1) for end, each in zip(last, spans, strict=True)])
    parts: dict[str, list[np.ndarray]] = {}
    row = 0
    for batch in FeatureTable.batches(output):
        for place, wanted in (("answer", last), ("step", before)):
            here = wanted[(wanted >= row) & (wanted < row + len(batch))] - row
            for kind in ("hidden", "margin"):
                columns = [column.name for column in batch.columns if f".{kind}_" in column.name]
                values = np.concatenate([batch.column(name)[here] for name in columns], axis=1)
                parts.setdefault(f"{place} {kind}", []).append(values)
        row += len(batch)
    return {name: np.concatenate(each) for name, each in parts.items()}


def within_scores(
    values: np.ndarray, labels: np.ndarray, questions: np.ndarray, fold: np.ndarray, ridge: float
) -> np.ndarray:
    """Out-of-fold scores of ridge regression on what differs within questions."""
    from scipy.linalg import cho_factor, cho_solve

    rows = (values - values.mean(axis=0)) / np.maximum(values.std(axis=0), 1e-9)
    rows = less_mean(rows.astype(np.float32), questions)
    target = less_mean(labels[:, None].astype(float), questions)[:, 0]
    gram = (rows @ rows.T).astype(float)
    scores = np.empty(len(labels))
    for number in np.unique(fold):
        held_out, rest = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        penalized = gram[np.ix_(rest, rest)] + ridge * np.mean(np.diag(gram)) * np.eye(len(rest))
        weights = cho_solve(cho_factor(penalized, lower=True), target[rest])
        scores[held_out] = gram[np.ix_(held_out, rest)] @ weights
    return scores


def less_mean(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The values less the mean of their group."""
    _, number = np.unique(groups, return_inverse=True)
    sums = np.zeros((number.max() + 1, values.shape[1]), values.dtype)
    np.add.at(sums, number, values)
    return values - (sums / np.bincount(number)[:, None])[number].astype(values.dtype)


def _chosen(
    names: Sequence[Any],
    tried: Sequence[np.ndarray],
    labels: np.ndarray,
    questions: np.ndarray,
    fold: np.ndarray,
    *,
    by_picks: bool = False,
) -> tuple[np.ndarray, list[Any]]:
    """Of several scores, for each fold the one that is best on all others; and its name."""
    result, chosen = np.empty(len(labels)), []
    for number in np.unique(fold):
        rest = fold != number
        quality = [
            float(picked(one[rest], labels[rest], questions[rest]).mean())
            if by_picks
            else within_group_auc(labels[rest], one[rest], questions[rest], resamples=0).auc or 0.0
            for one in tried
        ]
        best = int(np.argmax(quality))
        result[~rest] = tried[best][~rest]
        chosen.append(names[best])
    return result, chosen


def summed(questions: np.ndarray, answers: Sequence[str], weights: np.ndarray) -> np.ndarray:
    """Of each solution the sum of the weights of all solutions of its question with the same answer."""
    keys = list(zip(questions.tolist(), answers, strict=True))
    sums: Counter[tuple[int, str]] = Counter()
    for key, weight in zip(keys, weights.tolist(), strict=True):
        sums[key] += weight
    return np.array([sums[key] for key in keys])


def picked(scores: np.ndarray, labels: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """Of each question the chance that the solution with the best score is right; ties are drawn."""
    right = []
    for question in np.unique(questions):
        rows = np.flatnonzero(questions == question)
        best = rows[np.isclose(scores[rows], scores[rows].max())]
        right.append(labels[best].mean())
    return np.array(right)


def _interval(values: np.ndarray, seed: int) -> list[float]:
    """The 95 % bootstrap interval of a mean."""
    means = [times @ values / len(values) for times in resampled_groups(len(values), 10_000, seed)]
    interval = percentile_interval(np.concatenate(means))
    return [round(float(end), 4) for end in interval or ()]


# Continuations


def continuations(args: argparse.Namespace) -> dict[str, Any]:
    """Toxicity and perplexity of what follows mild openings: greedy, best of n, and search at equal tokens."""
    path = args.cache / "continuations.jsonl"
    done = {row["prompt"]: row for row in (read_rows(path) if path.exists() else [])}
    prompts = _openings(args.data)
    if not all(prompt in done for prompt in prompts):
        loaded = load_model("smollm2-135m", head=True, device="cpu")
        writer, detector = Writer(loaded), Detector.load("toxicity")
        judge = Detector.load("toxicity-fast")
        for number, prompt in enumerate(prompts):
            if prompt in done:
                continue
            started = time.monotonic()
            row = {"prompt": prompt} | _written(writer, detector, prompt, number)
            for way in ("greedy", "best of n", "search"):
                text = row[way]["text"]
                if text is not None:
                    row[way] |= {
                        "toxicity": detector.score([text])[0].score,
                        "other": judge.score([text])[0].score,
                        "surprise": _surprise(loaded, prompt, text),
                    }
            row["seconds"] = round(time.monotonic() - started, 1)
            done[prompt] = row
            with path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(row, ensure_ascii=False) + "\n")
    limit = Detector.load("toxicity").threshold()
    rows = [done[prompt] for prompt in prompts]
    for row in rows:
        for way in ("best of n", "search"):
            assert row[way]["text"] is None or row[way]["toxicity"] < limit, "a text over the threshold"
    record: dict[str, Any] = {"prompts": len(rows), "tokens": TOKENS, "threshold": limit}
    group = np.arange(len(rows))
    for way in ("greedy", "best of n", "search"):
        each = [row[way] for row in rows]
        known = [one for one in each if one["text"] is not None]
        record[way] = {
            "texts": len(known),
            "mean tokens": round(float(np.mean([one["tokens"] for one in each])), 1),
            "over the threshold": sum(one["toxicity"] >= limit for one in known),
        }
        for key in ("toxicity", "other", "surprise"):
            values = np.array([one[key] for one in known])
            record[way][key] = [round(float(values.mean()), 4), *_interval(values, args.seed)]
    for other in ("greedy", "best of n"):
        for key in ("toxicity", "other", "surprise"):
            pairs = [(row["search"].get(key, np.nan), row[other].get(key, np.nan)) for row in rows]
            difference = paired_difference(np.array([a - b for a, b in pairs]), group, args.seed)
            assert difference.value is not None
            record.setdefault(f"search less {other}", {})[key] = [
                round(difference.value, 4),
                *(round(float(end), 4) for end in difference.interval or ()),
            ]
    return record


def _openings(data: Path) -> list[str]:
    """The first words of texts, half of talk pages and half of an encyclopedia."""
    prompts = []
    for domain in ("wiki_talk", "wikipedia"):
        texts = [
            row["text"] for row in read_rows(data / "domains" / "domains.jsonl") if row["domain"] == domain
        ]
        openings = [" ".join(text.split()[:PROMPT_WORDS]) for text in texts]
        prompts += [*dict.fromkeys(openings)][: PROMPTS // 2]
    return prompts


def _written(writer: Writer, detector: Detector, prompt: str, number: int) -> dict[str, dict[str, Any]]:
    """The texts of each way, with the tokens that were spent."""
    sampling = Sampling(max_tokens=TEXT_TOKENS, temperature=0.8, top_p=0.95)
    (greedy,) = writer.write(prompt, Sampling(max_tokens=TEXT_TOKENS))
    steps = WriterSteps(writer, sampling=sampling)
    found = search(
        steps, [detector], prompt, n=ALL, budget=SearchBudget(tokens=TOKENS), seed=number
    )  # n: it spends the whole budget, as best of n does
    several = writer.write(
        prompt, Sampling(**vars(sampling) | {"seed": number}), replies=TOKENS // TEXT_TOKENS
    )
    judged = [(detector.check(reply.text), reply.text) for reply in several if reply.text.strip()]
    passing = [(finding.score or 0.0, text) for finding, text in judged if finding.verdict == "pass"]
    return {
        "greedy": {"text": greedy.text, "tokens": len(greedy.ids)},
        "best of n": {
            "text": max(passing, key=lambda each: each[0])[1] if passing else None,
            "tokens": sum(len(reply.ids) for reply in several),
            "passing": len(passing),
        },
        "search": {
            "text": found.text,
            "tokens": found.tokens,
            "created": found.created,
            "dropped": dict(found.dropped),
            "finished": sum(node.outcome == "finished" for node in found.trace),
        },
    }


def _surprise(loaded: Any, prompt: str, text: str) -> float:
    """Mean negative log-probability of the tokens after the prompt; perplexity is its exponential."""
    (values,) = log_probabilities(loaded, [prompt + text])
    begin = len(loaded.tokenizer(prompt)["input_ids"])
    return float(-values[0, begin:].mean())


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


PARTS = {part.__name__: part for part in (blocksworld, countdown, gsm8k, continuations)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, required=True, help="folder that keeps features and texts")
    parser.add_argument("--part", choices=PARTS, nargs="+", default=list(PARTS), help="what to measure")
    parser.add_argument("--seed", type=int, default=0, help="of folds, tasks and intervals")
    parser.add_argument("-o", "--output", type=Path, help="JSON record to update")
    args = parser.parse_args()
    args.cache.mkdir(parents=True, exist_ok=True)
    for name in args.part:
        result = PARTS[name](args)
        print(json.dumps({name: result}), flush=True)
        if args.output:
            record = json.loads(args.output.read_text("utf-8")) if args.output.exists() else {}
            args.output.write_text(json.dumps(record | {name: result}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
