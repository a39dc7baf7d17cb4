"""The generate-test loop: does it keep its promise, and what does it solve on stored and live plans?

    python benchmarks/loop.py --data DIR -o benchmarks/loop.json
    python benchmarks/loop.py --only soundness

Stages: ``soundness`` (scripted runs), ``plans`` (the plan critic against stored verdicts), ``bank`` (ask the
cheapest stored model first, the next one only if the critic fails), ``backprompts`` (stored rounds of feedback)
and ``live`` (a model writes, with and without feedback). Plans are those of the set ``planbench-blocksworld``.
Each stage prints its numbers as JSON and replaces its part of the record.
"""

import argparse
import json
import re
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from splinelens.generate.critics import Finding
from splinelens.generate.loop import Budget, Solution, from_writer, replay, solve
from splinelens.generate.plans import PlanValidator
from splinelens.generate.sample import Sampling, Writer

BY_PRICE = (  # an assumption: list prices of output tokens in 2024, the lowest first; hidden tokens not counted
    "llama3-70b-8192_groq",
    "gemini-pro",
    "gemini-1.5-pro",
    "o1-mini_chat",
    "llama-3.1-405b_aws",
    "gpt-4-turbo_chat",
    "gpt-4_chat",
    "o1-preview_chat",
    "claude-3-opus",
)
HANGING_RUNS = 50
SLACK_S = 1.0  # of a time limit: what a busy machine may take to wake the loop up
STORED_STEP = re.compile(r"Time step: (\d+)\nAction: (\(.*?\))\nUnsatisfied Precondition:")
OUR_STEP = re.compile(r"step (\d+), (\(.*?\)): ")
FACT = re.compile(r"\((?!and\b)[^()]+\)")
INSTRUCTION = """Blocks stand on a table or on each other. A hand moves one block at a time. Actions:
(pick-up x): take x from the table. (put-down x): put the held x on the table.
(stack x y): put the held x on y. (unstack x y): take x off y.
Only a block with nothing on it can be taken, or have a block put on it, and the hand must be empty to take one.
Now: {init}. Goal: {goal}. Write the plan, one action a line, and nothing else."""


class ScriptedCritic:
    """Passes, fails, throws, lies about its type, changes its mind or hangs, as a seed decides."""

    def __init__(self, seed: int, number: int, hangs: Callable[[], object] | None, steady: bool):
        self.name, self._seed, self._number = f"critic {number}", seed, number
        self._hangs, self._steady = hangs, steady
        self.hard = bool(np.random.default_rng((seed, number)).random() < 0.7)
        self.answers: list[tuple[str, object]] = []

    def check(self, text: str, context: str) -> Any:  # Any: that is the lie
        asked = 0 if self._steady else sum(before == text for before, _ in self.answers)
        rng = np.random.default_rng((self._seed, self._number, *text.encode(), asked))
        kind = rng.choice(
            ["pass", "fail", "undetermined", "throw", "lie", "hang"], p=[0.64, 0.2, 0.06, 0.04, 0.04, 0.02]
        )
        lies = (True, "pass", None, {"verdict": "pass"}, Finding)
        answer: object = lies[rng.integers(len(lies))]
        if kind in ("pass", "fail", "undetermined"):
            score = None if rng.random() < 0.5 else float(rng.random())
            answer = Finding(kind, score, "" if kind == "pass" else f"{kind} {rng.integers(3)}")
        self.answers.append((text, answer))
        if kind == "hang" and self._hangs:
            self._hangs()
        if kind == "throw":
            raise [ValueError, SystemExit, RecursionError, MemoryError][rng.integers(4)](text)
        if rng.random() < 0.02:
            time.sleep(0.001)
        return answer

    def allows(self, text: str) -> bool:
        """Whether it said once or more that the text passes, and never that it fails."""
        said = [getattr(answer, "verdict", None) for before, answer in self.answers if before == text]
        return "pass" in said and "fail" not in said


def soundness(args: argparse.Namespace) -> dict[str, Any]:
    """Scripted runs: unsound returns, exceeded budgets and replays that differ."""
    counts: Counter[str] = Counter()
    over = threading.Event()
    for seed in range(args.runs):
        rng = np.random.default_rng(seed)
        hangs = over.wait if seed % max(1, args.runs // HANGING_RUNS) == 0 else None
        steady = hangs is not None  # a replay does not ask again what hung, so it cannot count the questions
        limits = {"call_seconds": 0.05, "seconds": 0.5} if hangs else {}
        budget = Budget(int(rng.integers(1, 8)), **limits)
        numbers = range(int(rng.integers(1, 5)))
        critics = [ScriptedCritic(seed, number, hangs, steady) for number in numbers]
        calls: list[int] = []
        generator = partial(_scripted_answer, rng, calls, hangs)
        started = time.monotonic()
        solution = solve(generator, critics, "Write.", budget)
        late = time.monotonic() - started > budget.seconds + SLACK_S
        again = replay(solution.attempts, [ScriptedCritic(seed, number, None, steady) for number in numbers])
        hard = [critic for critic in critics if critic.hard]
        counts["runs"] += 1
        counts["attempts"] += len(solution.attempts)
        counts["returned"] += solution.text is not None
        counts["runs with a call that hangs"] += any(
            attempt.late or attempt.error == "no answer in time" for attempt in solution.attempts
        )
        counts["runs with soft critics only"] += not hard
        counts["repeated texts"] += sum(attempt.repeats is not None for attempt in solution.attempts)
        counts["attempts without a text"] += sum(bool(attempt.error) for attempt in solution.attempts)
        counts["unsound returns"] += solution.text is not None and not all(
            critic.allows(solution.text) for critic in hard
        )
        counts["budget exceeded"] += len(calls) > budget.attempts or late
        counts["replays that differ"] += again != solution
    over.set()
    return dict(counts)


def _scripted_answer(
    rng: np.random.Generator, calls: list[int], hangs: Callable[[], object] | None, prompt: str, attempt: int
) -> Any:  # Any: a generator may return what is no text
    calls.append(attempt)
    kind = rng.choice(["text", "empty", "no text", "throw", "hang"], p=[0.8, 0.06, 0.04, 0.08, 0.02])
    if kind == "throw":
        raise [ConnectionError, ValueError, SystemExit][rng.integers(3)]("broken")
    if kind == "hang" and hangs:
        hangs()
    return {"empty": " \n", "no text": b"text"}.get(kind, f"text {rng.integers(4)}")


def plans(args: argparse.Namespace) -> dict[str, Any]:
    """How often the plan critic gives the stored verdict."""
    counts: Counter[str] = Counter()
    started = time.process_time()
    for row, critic in _judged(args.data, "plans.jsonl"):
        agrees = (critic.check("\n".join(row["plan"]), "").verdict == "pass") == row["correct"]
        counts["plans"] += 1
        counts["plans that agree"] += agrees
    for row, critic in _judged(args.data, "backprompts.jsonl"):
        if row["valid"] is not None:
            agrees = (critic.check("\n".join(row["plan"]), "").verdict == "pass") == row["valid"]
            counts["rounds with a verdict"] += 1
            counts["rounds that agree"] += agrees
    return {**counts, "cpu_seconds": round(time.process_time() - started, 1)}


def bank(args: argparse.Namespace) -> dict[str, Any]:
    """Solved instances and calls of each prefix of the stored models in order of price."""
    answers: dict[int, dict[str, Any]] = defaultdict(dict)
    critics = {}
    for row, critic in _judged(args.data, "plans.jsonl"):
        answers[row["instance"]][row["model"]] = row
        critics[row["instance"]] = critic
    calls, wrong = {}, 0
    for instance, rows in answers.items():
        texts = ["\n".join(rows[model]["plan"]) for model in BY_PRICE]
        solution = _replayed(texts, critics[instance])
        calls[instance] = len(solution.attempts) if solution.text is not None else None
        wrong += solution.text is not None and not rows[BY_PRICE[len(solution.attempts) - 1]]["correct"]
    table = [
        {
            "models": count,
            "last": model,
            "solved by it alone": sum(rows[model]["correct"] for rows in answers.values()),
            "solved": sum(number is not None and number <= count for number in calls.values()),
            "calls": sum(min(number or count, count) for number in calls.values()),
        }
        for count, model in enumerate(BY_PRICE, start=1)
    ]
    instances = len(_rows(args.data / "planbench-blocksworld" / "instances.jsonl"))
    return {
        "instances": instances,
        "with stored plans": len(calls),
        "returned wrong plans": wrong,
        "table": table,
    }


def backprompts(args: argparse.Namespace) -> dict[str, Any]:
    """Stored rounds through the loop: solved in how many rounds, and our messages beside the stored ones."""
    rounds: dict[tuple[str, int], list[Any]] = defaultdict(list)
    for row, critic in _judged(args.data, "backprompts.jsonl"):
        rounds[row["model"], row["instance"]].append((row, critic))
    solved: dict[str, Counter[int]] = defaultdict(Counter)
    messages: Counter[str] = Counter()
    for (model, _), logged in rounds.items():
        solution = _replayed(["\n".join(row["plan"]) for row, _ in logged], logged[0][1])
        solved[model][len(solution.attempts) if solution.text is not None else 0] += 1
        for row, critic in logged:
            if row["message"]:
                messages.update(_compared(critic.check("\n".join(row["plan"]), "").message, row["message"]))
    return {
        "solved": {
            model: {
                "instances": counts.total(),
                "not": counts.pop(0, 0),
                "in rounds": dict(sorted(counts.items())),
            }
            for model, counts in sorted(solved.items())
        },
        "messages": dict(messages),
    }


def live(args: argparse.Namespace) -> dict[str, Any]:
    """A model writes plans, with the critic's message in the next prompt and without."""
    writer = Writer(args.model)
    generator = from_writer(writer, Sampling(max_tokens=args.max_tokens, temperature=0.7, top_p=0.9))
    result: dict[str, Any] = {"model": args.model, "instances": args.instances, "attempts": 5}
    folder = args.data / "planbench-blocksworld"
    for name, back_prompt in (("with feedback", None), ("without feedback", lambda prompt, *_: prompt)):
        counts: Counter[str] = Counter()
        for row in _rows(folder / "instances.jsonl")[: args.instances]:
            request = INSTRUCTION.format(init=", ".join(row["init"]), goal=", ".join(row["goal"]))
            critic = PlanValidator(folder / "domain.pddl", _problem(row))
            prompt = [{"role": "user", "content": request}]
            solution = solve(
                generator, [critic], prompt, Budget(5, call_seconds=600), back_prompt=back_prompt
            )
            counts["solved"] += solution.text is not None
            counts["calls"] += len(solution.attempts)
            counts["repeated texts"] += sum(attempt.repeats is not None for attempt in solution.attempts)
            counts["texts with an executable first step"] += sum(
                not attempt.error
                and not re.match("step 1,|there is no step", attempt.findings["plan"].message)
                for attempt in solution.attempts
            )
        result[name] = dict(counts)
    return result


def _replayed(texts: Sequence[str], critic: PlanValidator) -> Solution:
    return solve(lambda prompt, attempt: texts[attempt - 1], [critic], "Plan.", Budget(len(texts)))


def _compared(ours: str, stored: str) -> list[str]:
    """How a message of the critic relates to the stored one."""
    theirs, mine = STORED_STEP.match(stored), OUR_STEP.match(ours)
    kind = "step" if theirs else "goal"
    counted = [f"{kind} messages"]
    if (theirs and theirs.groups()) == (mine and mine.groups()):
        counted.append(f"same {kind}")
        facts = set(FACT.findall(stored.split("\n\n", 1)[1]))
        if facts == set(FACT.findall(ours.rpartition(": ")[2])):
            counted.append(f"same {kind} and facts")
    return counted


def _judged(data: Path, name: str) -> list[tuple[dict[str, Any], PlanValidator]]:
    """The rows of a file, each with the critic of its task."""
    folder = data / "planbench-blocksworld"
    instances = {row["instance"]: row for row in _rows(folder / "instances.jsonl")}
    domain = (folder / "domain.pddl").read_text("utf-8")
    rows = _rows(folder / name)
    return [
        (row, _critic(domain, _problem(row if "init" in row else instances[row["instance"]]))) for row in rows
    ]


_critic = cache(PlanValidator)  # of a task; parsing one takes longer than checking many plans


def _rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def _problem(row: dict[str, Any]) -> str:
    objects = sorted({name for fact in row["init"] for name in fact.split()[1:]})
    init, goal = (" ".join(f"({fact})" for fact in row[key]) for key in ("init", "goal"))
    return (
        f"(define (problem stored) (:domain blocksworld-4ops) (:objects {' '.join(objects)}) "
        f"(:init {init}) (:goal (and {goal})))"
    )


STAGES = {stage.__name__: stage for stage in (soundness, plans, bank, backprompts, live)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the evaluation data")
    parser.add_argument("--only", choices=STAGES, nargs="+", default=list(STAGES), help="stages to run")
    parser.add_argument("--runs", type=int, default=10_000, help="scripted runs")
    parser.add_argument("--model", default="smollm2-135m", help="the model that writes live")
    parser.add_argument("--instances", type=int, default=4, help="instances that it writes plans for")
    parser.add_argument("--max-tokens", type=int, default=80, help="most tokens of a plan")
    parser.add_argument("-o", "--output", type=Path, help="JSON record to update")
    args = parser.parse_args()
    if args.data is None and set(args.only) != {"soundness"}:
        parser.error("--data is needed for every stage but soundness")
    for name in args.only:
        result = STAGES[name](args)
        print(json.dumps({name: result}), flush=True)
        if args.output:
            record = json.loads(args.output.read_text("utf-8")) if args.output.exists() else {}
            args.output.write_text(json.dumps(record | {name: result}, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main()
