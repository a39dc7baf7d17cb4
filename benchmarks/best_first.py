"""Best-first search: exact oracles, and a value head on stored solutions.

    python benchmarks/best_first.py --data DIR --cache CACHE -o benchmarks/best_first.json
    python benchmarks/best_first.py --data DIR --cache CACHE --part blocksworld

Parts: ``blocksworld`` (a scripted writer over states: is the plan as short as the stored optimal one, and how many
nodes does an admissible value save), ``countdown`` (tasks of the package ``reasoning-gym``, to be installed for it:
found if and only if an exhaustive solver finds it, with as few calculations as breadth-first search needs) and
``gsm8k`` (a linear head on the default model's features at the steps of stored solutions picks one of four; nested
folds by question; features are read in bfloat16). Each prints its numbers as JSON and replaces its part of the record.
Features are kept in CACHE: a stopped part continues. ``continuations.py`` has what a search writes with a language
model.
"""

import argparse
import json
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import combinations_with_replacement, permutations
from pathlib import Path
from typing import Any

import numpy as np
from scipy.linalg import cho_factor, cho_solve

from splinelens.detect.bootstrap import percentile_interval
from splinelens.detect.groups import resampled_groups
from splinelens.detect.out_of_fold import text_only_scores
from splinelens.detect.solver import fold_of_rows
from splinelens.detect.within_group_auc import within_group_auc
from splinelens.features.extract import extract
from splinelens.features.spec import every_third_layer
from splinelens.features.table import FeatureTable
from splinelens.generate.bank import Prompt
from splinelens.generate.critics import Check, Finding
from splinelens.generate.plans import PlanValidator
from splinelens.generate.search import Continuation, SearchBudget, SearchResult, Value, search
from splinelens.models import load_model

ALL = 1000  # continuations: more than any state here has
PLENTY = SearchBudget(tokens=10**9, expansions=10**6, call_seconds=math.inf)
STEP_COST = Check(lambda text: Finding("pass", 0.0), name="cost", hard=False)  # a step loses 1
COUNTDOWN_TASKS = 100
RIDGES = (0.1, 1.0, 10.0)  # relative to the mean of the diagonal of the kernel
ANSWER = re.compile(r"^A:\s*(.*)$", re.M)


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


def joined(numbers: tuple[int, ...]) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Each whole result of two numbers, and the sorted numbers after it; written apart from ``combinations``."""
    for first, second in permutations(range(len(numbers)), 2):
        a, b = numbers[first], numbers[second]
        rest = [number for at, number in enumerate(numbers) if at not in (first, second)]
        for result in (a + b, a - b, a * b, a // b if b and a % b == 0 else None):
            if result is not None:
                yield result, tuple(sorted([*rest, result]))


def solvable(numbers: tuple[int, ...], target: int, failed: set[tuple[int, ...]]) -> bool:
    """Whether all numbers can be joined to the target, by depth-first search."""
    if len(numbers) == 1:
        return numbers[0] == target
    if numbers in failed:
        return False
    if any(solvable(after, target, failed) for _, after in joined(numbers)):
        return True
    failed.add(numbers)
    return False


def fewest(numbers: tuple[int, ...], target: int) -> int | None:
    """With how many calculations the target is reached, not all numbers need be used; by breadth-first search."""
    states = {numbers}
    for count in range(1, len(numbers)):
        following = [(result, after) for state in states for result, after in joined(state)]
        if any(result == target for result, _ in following):
            return count
        states = {after for _, after in following}
    return None


class CountdownSteps:
    """Writes every calculation that can follow; a text is final when one number is left, or at a target."""

    def __init__(self, numbers: Sequence[int], target: int | None = None):
        self.target = target
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
            final = len(terms) == 1 or terms[-1][0] == self.target
            following.append(Continuation(text, 1, final, state=state))
        return following

    def expression(self, text: str) -> str:
        """The expression of a finished text."""
        ((_, expression),) = self._terms[tuple(text.splitlines(keepends=True))]
        return expression


def calculations_left(target: int, state: tuple[int, ...]) -> int:
    """1 if a calculation with two of the numbers gives the target, else at least 2."""
    return 1 if any(result == target for result, _ in joined(state)) else 2


def shortest_search(numbers: Sequence[int], target: int, guided: bool) -> SearchResult:
    """The fewest calculations to the target, where not all numbers need be used."""
    return search(
        CountdownSteps(numbers, target),
        [STEP_COST],
        "",
        final_critics=[reaches(target)],
        value=(lambda prompt, steps, new: 0 if new.final else -calculations_left(target, new.state))
        if guided
        else None,
        k=ALL,
        n=1,
        aggregate="sum",
        budget=PLENTY,
    )


def reaches(target: int) -> Check:
    return Check(lambda text: text.rstrip().endswith(f"= {target}"), name="target")


def countdown_search(numbers: Sequence[int], target: int) -> tuple[SearchResult, str]:
    """A search for the target with all numbers, and the expression that it finds."""
    writer = CountdownSteps(numbers)
    result = search(writer, [], "", final_critics=[reaches(target)], k=ALL, n=1, budget=PLENTY)
    return result, "" if result.text is None else writer.expression(result.text)


def countdown(args: argparse.Namespace) -> dict[str, Any]:
    """Found if and only if there is a solution; with and without a value by the fewest calculations."""
    import reasoning_gym

    found: Counter[str] = Counter()
    shortest: dict[str, Counter[str]] = {}
    tasks = reasoning_gym.create_dataset(
        "countdown", min_numbers=4, max_numbers=4, size=COUNTDOWN_TASKS, seed=args.seed
    )
    rng = np.random.default_rng(args.seed)
    for entry in tasks:
        task = entry["metadata"]
        numbers = tuple(sorted(task["numbers"]))
        for target in (task["target"], int(rng.integers(100, 1000))):
            result, expression = countdown_search(task["numbers"], target)
            exists = solvable(numbers, target, set())
            found["targets"] += 1
            found["with a solution"] += exists
            found["agree with the exhaustive solver"] += exists == (result.text is not None)
            if expression:
                of_target = entry | {"metadata": task | {"target": target}}
                found["right by reasoning-gym's verdict"] += tasks.score_answer(expression, of_target) == 1.0
            least = fewest(numbers, target)
            for name in ("h = 0", "calculations left"):
                result = shortest_search(numbers, target, name != "h = 0")
                length = None if result.text is None else len(result.text.splitlines())
                shortest.setdefault(name, Counter()).update(
                    {
                        "with a solution": least is not None,
                        "agree with breadth-first search": length == least,
                        "expanded": result.expanded,
                        "expanded, with a solution": result.expanded if least else 0,
                    }
                )
    return {"all numbers": dict(found), "fewest calculations": {k: dict(v) for k, v in shortest.items()}}


# Pick one of four solutions


def gsm8k(args: argparse.Namespace) -> dict[str, Any]:
    """Which of four stored solutions is right: a head, the majority, both; out of fold by question."""
    rows = read_rows(args.data / "gsm8k-solutions" / "solutions.jsonl")
    questions = np.array([row["question_id"] for row in rows])
    labels = np.array([row["is_correct"] for row in rows], dtype=int)
    answers = [answer_of(row["solution"]) for row in rows]
    everything = np.ones(len(rows), dtype=bool)
    fold = fold_of_rows(labels[:, None], everything, groups=questions, seed=args.seed)
    target = less_mean(labels[:, None].astype(float), questions)[:, 0]
    tried: dict[tuple[str, float], np.ndarray] = {}
    for name, values in _steps(rows, args.cache):
        kernel = within_kernel(values, questions)
        tried |= {(name, ridge): nested_scores(kernel, target, fold, ridge) for ridge in RIDGES}
    heads = {
        name: _chosen({key: one for key, one in tried.items() if key[0] == name}, labels, questions, fold)[0]
        for name in dict.fromkeys(name for name, _ in tried)
    }
    nested, chosen = _chosen(tried, labels, questions, fold)
    head = of_fold(nested, fold)
    votes = summed(questions, answers, np.ones(len(rows)))
    mixed = {
        ratio: np.stack([summed(questions, answers, 1 + ratio * one / np.std(one)) for one in nested])
        for ratio in (0.1, 0.25, 0.5, 1.0, 2.0)
    }
    both, _ = _chosen(mixed, labels, questions, fold, by_picks=True)
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
        "head and majority": of_fold(both, fold),
        **{f"head on {name}": of_fold(one, fold) for name, one in heads.items()},
    }
    record: dict[str, Any] = {
        "questions": len(set(questions.tolist())),
        "right": round(float(labels.mean()), 4),
        "any of four right": round(
            float(np.mean([labels[questions == one].any() for one in set(questions)])), 4
        ),
        "chosen by fold": [" ".join(map(str, each)) for each in chosen],
    }
    right_of = {name: picked(of_rows, labels, questions) for name, of_rows in scores.items()}
    for name, of_rows in scores.items():
        right = right_of[name]
        within = within_group_auc(labels, of_rows, questions, seed=args.seed)
        record[name] = {
            "picks": round(float(right.mean()), 4),
            "picks_interval": _interval(right, args.seed),
            "within_question": round(float(within.auc or 0), 4),
            "within_question_interval": [round(float(end), 4) for end in within.auc_interval or ()],
        }
    for better, worse in (("head", "TF-IDF of characters"), ("head and majority", "majority")):
        gain = right_of[better] - right_of[worse]
        record[f"{better} less {worse}"] = [round(float(gain.mean()), 4), *_interval(gain, args.seed)]
    return record


def answer_of(solution: str) -> str:
    """The final answer, as it is compared."""
    found = ANSWER.findall(solution)
    return re.sub(r"[,$%\s]|\.0*$", "", found[-1]) if found else ""


def _steps(rows: Sequence[Mapping[str, Any]], cache: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Features at the last token of each solution, of the step before its answer, and their mean over all steps.

    A linear head on that mean is the mean of what it says of each step.
    """
    texts, spans = [], []
    for row in rows:
        begin = len(row["question"]) + 1
        texts.append(f"{row['question']}\n{row['solution']}")
        lines = [match.span() for match in re.finditer(r"[^\n]*\S", row["solution"])]
        spans.append([(begin + first, begin + last) for first, last in lines])
    model = load_model("smollm2-135m", dtype="bfloat16", device="cpu")
    output = cache / "gsm8k.parquet"
    extract(
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
    lengths = np.array([len(each) for each in spans])
    last = np.cumsum(lengths) - 1
    for kind in ("hidden", "margin"):
        parts = []
        for batch in FeatureTable.batches(output):
            names = [column.name for column in batch.columns if f".{kind}_" in column.name]
            parts.append(np.concatenate([batch.column(name) for name in names], axis=1).astype(np.float16))
        values = np.concatenate(parts)
        yield f"the answer, {kind}", values[last]
        yield f"the step before it, {kind}", values[last - (lengths > 1)]
        sums = np.stack([each.sum(axis=0, dtype=np.float32) for each in np.split(values, last[:-1] + 1)])
        yield f"all steps, {kind}", sums / lengths[:, None]


def within_kernel(values: np.ndarray, questions: np.ndarray) -> np.ndarray:
    """Products of what differs within questions, of standardized columns; the mean of the diagonal is 1."""
    rows = values.astype(np.float32)
    rows = less_mean((rows - rows.mean(axis=0)) / np.maximum(rows.std(axis=0), 1e-9), questions)
    kernel = rows @ rows.T
    return kernel / np.mean(np.diag(kernel))


def nested_scores(kernel: np.ndarray, target: np.ndarray, fold: np.ndarray, ridge: float) -> np.ndarray:
    """(fold, row) scores by ridge regression, never fitted on the row's own fold, nor on that of the line.

    So a line says which head to choose for its fold, without a label of it.
    """
    scores = np.empty((fold.max() + 1, len(target)))
    for one, other in combinations_with_replacement(np.unique(fold), 2):
        rest = np.flatnonzero((fold != one) & (fold != other))
        penalized = kernel[np.ix_(rest, rest)] + ridge * np.eye(len(rest), dtype=kernel.dtype)
        weights = cho_solve(cho_factor(penalized, lower=True), target[rest])
        for line, held_out in {(one, other), (other, one)}:
            rows = np.flatnonzero(fold == held_out)
            scores[line, rows] = kernel[np.ix_(rows, rest)] @ weights
    return scores


def of_fold(scores: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """Of (fold, row) scores those of each row in the line of its own fold."""
    return scores[fold, np.arange(len(fold))]


def less_mean(values: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """The values less the mean of their group."""
    _, number = np.unique(groups, return_inverse=True)
    sums = np.zeros((number.max() + 1, values.shape[1]), values.dtype)
    np.add.at(sums, number, values)
    return values - (sums / np.bincount(number)[:, None])[number].astype(values.dtype)


def _chosen(
    tried: Mapping[Any, np.ndarray],
    labels: np.ndarray,
    questions: np.ndarray,
    fold: np.ndarray,
    *,
    by_picks: bool = False,
) -> tuple[np.ndarray, list[Any]]:
    """Of several (fold, row) scores, for each fold the line that is best on all other folds; and their names."""
    lines, chosen = [], []
    for number in range(fold.max() + 1):
        rest = fold != number
        quality = {
            name: float(picked(one[number, rest], labels[rest], questions[rest]).mean())
            if by_picks
            else within_group_auc(labels[rest], one[number, rest], questions[rest], resamples=0).auc or 0.0
            for name, one in tried.items()
        }
        chosen.append(max(quality, key=lambda name: quality[name]))
        lines.append(tried[chosen[-1]][number])
    return np.stack(lines), chosen


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


def read_rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


PARTS = {part.__name__: part for part in (blocksworld, countdown, gsm8k)}


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
