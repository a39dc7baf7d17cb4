"""What a model says of predicates and their arguments by itself: closed choices by log-likelihood.

    python benchmarks/prompt_srl.py --data DIR --cache CACHE --larger FILE -o benchmarks/prompt_srl.json

The counterpart of PromptSRL (arXiv:2405.06410) on Universal Propositions (``up_ewt.py``), in its four stages: the
sense of a predicate among those of its lemma in the frames, the core roles of that sense, the argument of each role,
and the constituent closest to it. Each stage is a choice among texts: that of the highest log-likelihood after a few
examples from other sentences. Parts: ``sense`` (also counts, and linear heads on features of every predicate, folds
by sentence), ``given`` (the role of a given constituent), ``arguments`` (the argument of each role of the sense,
among the constituents of the gold tree, or among all spans of up to 5 words and then matched to a constituent) and
``precision`` (what reading in bfloat16 changes). Log-likelihoods and features are kept in CACHE: a stopped part
continues. Intervals are 95 % bootstrap intervals over sentences.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from prompted import Prompted
from srl_questions import (
    NONE,
    Case,
    ask_arguments,
    ask_letters,
    ask_roles,
    ask_sense,
    candidates,
    closest,
    core_roles,
    divided,
    read_cases,
    whole_sentences,
    written_arguments,
    written_letters,
    written_roles,
    written_sense,
)
from srl_senses import (
    FOLDS,
    counts_of,
    fitted_choice,
    fold_of,
    likelihoods,
    most_frequent,
    preferred,
    read_features,
    stacked,
)

from splinelens.detect.bootstrap import percentile_interval, row_samples
from splinelens.models import LoadedModel, load_model

SMALLER = "smollm2-135m"
FORMS = ("sum", "mean", "less neutral")
FIRST = 150  # predicates of the sample whose arguments are asked for


# What the models say, kept in a file


class Asked:
    """Log-likelihoods of one stage by one model, a row a predicate; a stopped run continues."""

    def __init__(self, args: argparse.Namespace, model: str, dtype: str = "bfloat16"):
        self._args, self._model, self._dtype = args, model, dtype
        self.name = Path(model).name.removesuffix(".gguf")
        self._loaded: LoadedModel | None = None

    def rows(
        self,
        stage: str,
        cases: Sequence[Case],
        examples: Sequence[Case],
        write: Callable[[Case], str],
        ask: Callable[[Prompted, Case], dict[str, Any] | None],
    ) -> dict[str, dict[str, Any]]:
        """For each case what ``ask`` returns after examples that ``write`` writes; None is left out."""
        of_type = "" if self._dtype == "bfloat16" else f"-{self._dtype}"
        path = self._args.cache / f"{stage}-{self.name}{of_type}-{self._args.seed}.jsonl"
        lines = path.read_text("utf-8").splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        if len(whole) < len(lines):  # killed while it wrote
            path.write_text("".join(whole), "utf-8")
        done = {row["key"]: row for row in map(json.loads, whole)}
        left = [case for case in cases if case.key not in done]
        if left:
            prompted = Prompted(self._model_of(), "".join(map(write, examples)))
            with path.open("a", encoding="utf-8") as file:
                for case in left:
                    row = {"key": case.key, **(ask(prompted, case) or {})}
                    done[case.key] = row
                    file.write(json.dumps(row) + "\n")
                    file.flush()
        return {case.key: done[case.key] for case in cases}

    def parameters(self) -> int:
        """Its parameters, in millions; a head that repeats the embeddings is not counted twice."""
        path = self._args.cache / f"parameters-{self.name}.json"
        if not path.exists():
            causal: Any = self._model_of().causal
            head = causal.get_output_embeddings().weight
            tied = head is causal.get_input_embeddings().weight
            count = sum(each.numel() for each in causal.parameters()) - (0 if tied else head.numel())
            path.write_text(json.dumps(count), "utf-8")
        return round(json.loads(path.read_text("utf-8")) / 1e6)

    def _model_of(self) -> LoadedModel:
        if self._loaded is None:
            self._loaded = load_model(self._model, head=True, device="cpu", dtype=self._dtype)
        return self._loaded


def arguments_of(
    asked: Asked, cases: Sequence[Case], examples: Sequence[Case], gold: bool
) -> dict[str, dict[str, Any]]:
    """The answers about arguments for the gold senses, or for those that the model prefers."""
    rows = {} if gold else asked.rows("sense", cases, examples, written_sense, ask_sense)
    sense_of = {
        case.key: case.gold if gold else case.frame(preferred(rows[case.key], case, "less neutral"))
        for case in cases
    }
    found = {}
    if not gold:  # most are the gold ones
        found = arguments_of(asked, cases, examples, True)
        found = {case.key: found[case.key] for case in cases if sense_of[case.key] == case.gold}
    left = [case for case in cases if case.key not in found]
    stage = "arguments" if gold else "arguments-told"
    return found | asked.rows(stage, left, examples, written_arguments, partial(ask_arguments, sense_of))


# Shares with intervals


Parts = np.ndarray
"""(case, 2): what the sums of a share are added up from, such as right and all answers."""


def share(parts: Parts, groups: np.ndarray, seed: int, less: Parts | None = None) -> list[float]:
    """The share of sums, less that of another method, and its interval over groups."""

    def of(times: np.ndarray) -> np.ndarray:
        above, below = times @ parts[:, 0], times @ parts[:, 1]
        value = above / np.maximum(below, 1e-9)
        if less is not None:
            value = value - (times @ less[:, 0]) / np.maximum(times @ less[:, 1], 1e-9)
        return np.asarray(value)

    resampled = [of(times) for times in row_samples(len(parts), groups, 10_000, seed)]
    interval = percentile_interval(np.concatenate(resampled)) or (np.nan, np.nan)
    return [round(float(value), 4) for value in (of(np.ones((1, len(parts))))[0], *interval)]


def accuracy_parts(right: Sequence[bool] | np.ndarray) -> Parts:
    return np.stack([np.asarray(right, dtype=float), np.ones(len(right))], axis=1)


def compared(
    parts: Mapping[str, Parts], against: Sequence[str], groups: np.ndarray, seed: int
) -> dict[str, Any]:
    """For each method its share, and its difference from some of them."""
    record: dict[str, Any] = {}
    for name, each in parts.items():
        record[name] = {"value": share(each, groups, seed)}
        for other in against:
            if name != other and other in parts:
                record[name][f"less {other}"] = share(each, groups, seed, parts[other])
    return record


# The sense


def sense(args: argparse.Namespace) -> dict[str, Any]:
    """The sense: by log-likelihood and counts in the sample, by counts and heads of every predicate."""
    examples, sample, rest = divided(read_cases(args.data), args.seed)
    asked = [Asked(args, model) for model in (SMALLER, args.larger)]
    return {
        "examples": len(examples),
        "millions of parameters": {each.name: each.parameters() for each in asked},
        "sample": _sense_by_names(args.seed, asked, sample, rest, examples),
        "all": _sense_by_heads(args, rest),
    }


def _sense_by_names(
    seed: int, asked: Sequence[Asked], sample: Sequence[Case], rest: Sequence[Case], examples: Sequence[Case]
) -> dict[str, Any]:
    pool = [case for case in rest if len(case.senses) > 1]
    several = [case for case in sample if len(case.senses) > 1]
    counts = _counts_elsewhere(rest, seed)
    right = {
        "first sense": _right(sample, [case.rolesets[0] for case in sample]),
        "most frequent": _right(sample, [most_frequent(case, counts[case.key]) for case in sample]),
    }
    prior = ("first", "count")
    for each in asked:
        names = each.rows("sense", sample, examples, written_sense, ask_sense)
        letters = each.rows("letters", sample, examples, written_letters, ask_letters)
        for kind in FORMS:
            chosen = [preferred(names[case.key], case, kind) for case in sample]
            right[f"{each.name}, names, {kind}"] = _right(sample, chosen)
        chosen = [case.rolesets[int(np.argmax(letters[case.key].get("sum", 0.0)))] for case in sample]
        right[f"{each.name}, letters"] = _right(sample, chosen)
        kinds_of = {
            "counts, fitted": prior,
            f"{each.name}, names, fitted": ("first", *FORMS),
            f"{each.name}, counts and names, fitted": (*prior, *FORMS),
        }
        fitted = stacked(several, pool, names, {}, kinds_of, seed)
        right |= {name: _with_single(sample, several, values) for name, values in fitted.items()}
    parts = {name: accuracy_parts(values) for name, values in right.items()}
    groups = np.array([case.number for case in sample])
    small, large = (each.name for each in asked)
    forms = [*(f"names, {kind}" for kind in (*FORMS, "fitted")), "letters", "counts and names, fitted"]
    return {
        **_of_cases(sample),
        **compared(parts, ("first sense", "most frequent"), groups, seed),
        "larger less smaller": {
            form: share(parts[f"{large}, {form}"], groups, seed, parts[f"{small}, {form}"]) for form in forms
        },
    }


def _sense_by_heads(args: argparse.Namespace, cases: Sequence[Case]) -> dict[str, Any]:
    several = [case for case in cases if len(case.senses) > 1]
    blocks = read_features(several, SMALLER, args.cache)
    prior = ("first", "count")
    together = {"counts, fitted": prior, "counts and all heads": (*prior, *blocks)}
    single = {f"counts and {name}": (*prior, name) for name in blocks}
    record: dict[str, Any] = {}
    for by_text, kinds_of in ((False, together | single), (True, together)):
        counts = _counts_elsewhere(cases, args.seed, by_text)
        right = {
            "first sense": _right(cases, [case.rolesets[0] for case in cases]),
            "most frequent": _right(cases, [most_frequent(case, counts[case.key]) for case in cases]),
        }
        fitted = stacked(several, several, {}, blocks, kinds_of, args.seed, by_text)
        right |= {name: _with_single(cases, several, values) for name, values in fitted.items()}
        record["folds by text" if by_text else "folds by sentence"] = {
            title: _of_those(cases, right, wanted, by_text, args.seed)
            for title, wanted in (
                ("every predicate", lambda case: True),
                ("without auxiliaries", lambda case: not case.is_auxiliary),
                (
                    "several senses, without auxiliaries",
                    lambda case: not case.is_auxiliary and len(case.senses) > 1,
                ),
            )
        }
    return record


def _of_those(
    cases: Sequence[Case],
    right: Mapping[str, np.ndarray],
    wanted: Callable[[Case], bool],
    by_text: bool,
    seed: int,
) -> dict[str, Any]:
    inside = np.array([wanted(case) for case in cases])
    kept = [case for case in cases if wanted(case)]
    parts = {name: accuracy_parts(values[inside]) for name, values in right.items()}
    names = [case.text if by_text else str(case.number) for case in kept]
    groups = np.unique(names, return_inverse=True)[1]
    return _of_cases(kept) | compared(parts, ("first sense", "most frequent"), groups, seed)


def _with_single(cases: Sequence[Case], several: Sequence[Case], right: np.ndarray) -> np.ndarray:
    """Of all cases whether they are right; one with a single sense in the frames is if that is its sense."""
    of = {case.key: bool(value) for case, value in zip(several, right, strict=True)}
    return np.array([of.get(case.key, case.predicate.roleset == case.rolesets[0]) for case in cases])


def _counts_elsewhere(
    cases: Sequence[Case], seed: int, by_text: bool = False
) -> dict[str, dict[str, Counter[str]]]:
    """For each case the counts of senses in the folds that it is not in."""
    fold = fold_of(cases, seed, by_text)
    of_fold = [
        counts_of([case for case, other in zip(cases, fold, strict=True) if other != one])
        for one in range(FOLDS)
    ]
    return {case.key: of_fold[one] for case, one in zip(cases, fold.tolist(), strict=True)}


def _right(cases: Sequence[Case], chosen: Sequence[str]) -> np.ndarray:
    return np.array([case.predicate.roleset == each for case, each in zip(cases, chosen, strict=True)])


def _of_cases(cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "predicates": len(cases),
        "sentences": len({case.number for case in cases}),
        "texts": len({case.text for case in cases}),
        "with several senses": sum(len(case.senses) > 1 for case in cases),
    }


# The role of a given constituent


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The role of each argument, given its constituent and the sense of the predicate; and which of its core roles."""
    examples, sample, rest = divided(read_cases(args.data), args.seed)
    sample = [case for case in sample if case.predicate.arguments]
    others = _outside(sample, rest)
    models = [Asked(args, model) for model in (SMALLER, args.larger)]
    rows = {each.name: each.rows("given", sample, examples, written_roles, ask_roles) for each in models}
    everything = [
        Argument(case, at, role) for case in sample for at, (_, role) in enumerate(case.predicate.arguments)
    ]
    core = [each for each in everything if each.case.gold and each.role in core_roles(each.case.gold)]
    return {
        "every role": _given(everything, rows, others, args.seed),
        "among the core roles of the sense": _given(core, rows, others, args.seed, is_core),
    }


@dataclass(frozen=True)
class Argument:
    """An argument of a predicate: its place among them, and its role."""

    case: Case
    place: int
    role: str

    @property
    def word(self) -> int:
        return self.case.predicate.arguments[self.place][0]

    def scores(self, row: Mapping[str, Any], among: Callable[[str], bool]) -> dict[str, dict[str, float]]:
        """The forms of the log-likelihood of each role; nothing where the sense is not in the frames."""
        if "roles" not in row:
            return {}
        forms = likelihoods({**row, "sum": row["sum"][self.place]}, len(row["roles"]))
        return {
            kind: {role: value for role, value in zip(row["roles"], values, strict=True) if among(role)}
            for kind, values in forms.items()
        }


def _given(
    arguments: Sequence[Argument],
    rows: Mapping[str, Mapping[str, Mapping[str, Any]]],
    others: Sequence[Case],
    seed: int,
    among: Callable[[str], bool] = bool,
) -> dict[str, Any]:
    gold = [each.role for each in arguments]
    groups = np.array([each.case.number for each in arguments])
    chosen: dict[str, list[str]] = {
        name: [table.get(place(each.case, each.word), table[()]) for each in arguments]
        for name, place in (
            ("most frequent", lambda case, word: ()),
            ("side of the predicate", side_of),
            ("relation and voice, gold tree", relation_of),
        )
        for table in [role_table(others, place, among)]
    }
    for name, of_model in rows.items():
        scores = [each.scores(of_model[each.case.key], among) for each in arguments]
        for kind in FORMS:
            chosen[f"{name}, {kind}"] = [
                max(of[kind], key=of[kind].__getitem__) if of else "" for of in scores
            ]
        chosen[f"{name}, fitted"] = _fitted_roles(scores, arguments, seed)
    parts = {
        name: accuracy_parts([one == other for one, other in zip(each, gold, strict=True)])
        for name, each in chosen.items()
    }
    small, large = rows
    return {
        "arguments": len(gold),
        "sentences": len(set(groups.tolist())),
        **compared(parts, ("most frequent", "side of the predicate"), groups, seed),
        "larger less smaller": {
            form: share(parts[f"{large}, {form}"], groups, seed, parts[f"{small}, {form}"])
            for form in (*FORMS, "fitted")
        },
        "right by role": {
            role: {"arguments": count}
            | {
                f"{name}, {form}": sum(
                    one == other == role for one, other in zip(chosen[f"{name}, {form}"], gold, strict=True)
                )
                for name in rows
                for form in ("sum", "fitted")
            }
            for role, count in Counter(gold).most_common(12)
        },
        "errors, fitted": _errors(gold, *(chosen[f"{name}, fitted"] for name in rows)),
        "most frequent errors": {
            f"{name}, fitted": [
                f"{role} as {other}: {count}"
                for (role, other), count in Counter(
                    (one, other)
                    for one, other in zip(gold, chosen[f"{name}, fitted"], strict=True)
                    if one != other
                ).most_common(8)
            ]
            for name in rows
        },
    }


def _errors(gold: Sequence[str], one: Sequence[str], other: Sequence[str]) -> dict[str, int]:
    """How many the smaller and the larger model make, on how many arguments both, and how many alike."""
    each = list(zip(gold, one, other, strict=True))
    return {
        "smaller": sum(right != first for right, first, _ in each),
        "larger": sum(right != second for right, _, second in each),
        "both": sum(right != first and right != second for right, first, second in each),
        "the same role": sum(right != first == second for right, first, second in each),
    }


def _outside(sample: Sequence[Case], rest: Sequence[Case]) -> list[Case]:
    taken = {case.number for case in sample}
    return [case for case in rest if case.number not in taken]


def side_of(case: Case, word: int) -> tuple[str, ...]:
    """Whether a word is before the predicate or after it."""
    return ("before" if word < case.predicate.word else "after",)


def relation_of(case: Case, word: int) -> tuple[str, ...]:
    """The dependency relation between a word and the predicate, and the voice of the predicate."""
    sentence, predicate = case.sentence, case.predicate.word
    passive = "passive" if "Voice=Pass" in sentence.features[predicate] else "active"
    if sentence.heads[word] == predicate:
        return f"child {sentence.relations[word]}", passive
    if sentence.heads[predicate] == word:
        return f"parent {sentence.relations[predicate]}", passive
    return f"other {sentence.relations[word]}", passive


def role_table(
    cases: Sequence[Case],
    place: Callable[[Case, int], tuple[str, ...]],
    keep: Callable[[str], bool] = bool,
    none: bool = False,
) -> dict[tuple[str, ...], str]:
    """The most frequent of the roles to keep for each place of an argument; of the empty place that of all.

    With ``none`` candidates without such a role count, too.
    """
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for case in cases:
        roles = {word: role for word, role in case.predicate.arguments if keep(role)}
        if none:
            words = candidates(case.sentence, case.predicate.word)
            roles = {word: roles.get(word, NONE) for word in words}
        for word, role in roles.items():
            counts[()][role] += 1
            if place(case, word):
                counts[place(case, word)][role] += 1
    return {place: of.most_common(1)[0][0] for place, of in counts.items()}


def is_core(role: str) -> bool:
    return role[:3] == "ARG" and role[3:].isdigit()


def _fitted_roles(
    scores: Sequence[Mapping[str, Mapping[str, float]]],
    arguments: Sequence[Argument],
    seed: int,
) -> list[str]:
    """Out of fold: weights of forms of the log-likelihood, and a number for each role."""
    fold = fold_of([each.case for each in arguments], seed)
    choices = [list(of["sum"]) if of else [] for of in scores]
    names = sorted({role for of in choices for role in of})
    features = [
        np.array(
            [[*(of[kind][role] for kind in FORMS), *(float(role == name) for name in names)] for role in each]
        )
        for of, each in zip(scores, choices, strict=True)
    ]
    chosen = [""] * len(arguments)
    for held_out in range(FOLDS):
        fitting = [
            at for at, each in enumerate(arguments) if fold[at] != held_out and each.role in choices[at]
        ]
        weights = fitted_choice(
            [features[at] for at in fitting], [choices[at].index(arguments[at].role) for at in fitting]
        )
        for at in np.flatnonzero(fold == held_out):
            if choices[at]:
                chosen[at] = choices[at][int(np.argmax(features[at] @ weights))]
    return chosen


# The argument of each role


def arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The head of the argument of each core role, for gold senses and for those that the model prefers."""
    examples, sample, rest = divided(read_cases(args.data), args.seed)
    cases = whole_sentences(sample, FIRST)
    table = role_table(_outside(cases, rest), relation_of, is_core, none=True)
    groups = np.array([case.number for case in cases])
    gold = [{(word, role) for word, role in case.predicate.arguments if is_core(role)} for case in cases]
    found: dict[str, list[set[tuple[int, str]]]] = {
        "relation and voice, gold tree": [
            {
                (word, role)
                for word in candidates(case.sentence, case.predicate.word)
                if (role := table.get(relation_of(case, word), table[()])) != NONE
            }
            for case in cases
        ]
    }
    models = [Asked(args, model) for model in (SMALLER, args.larger)]
    which = {}
    for each in models:
        of_gold = arguments_of(each, cases, examples, True)
        which[each.name] = _which([of_gold[case.key] for case in cases], cases, groups, args.seed)
        for title, is_gold in (("gold sense", True), ("told sense", False)):
            rows = arguments_of(each, cases, examples, is_gold)
            answers = [_answers(rows[case.key], case) for case in cases]
            for form in ("sum", "mean", "span"):
                found[f"{each.name}, {title}, {form}"] = [
                    {(of[form], role) for role, of in answer.items() if of[form] is not None}
                    for answer in answers
                ]
            found[f"{each.name}, {title}, fitted"] = _fitted_arguments(
                [rows[case.key] for case in cases], cases, args.seed
            )
    parts = {
        name: np.array(
            [(2 * len(one & other), len(one) + len(other)) for one, other in zip(each, gold, strict=True)],
            dtype=float,
        )
        for name, each in found.items()
    }
    small, large = (each.name for each in models)
    forms = [
        f"{title}, {form}"
        for title in ("gold sense", "told sense")
        for form in ("sum", "mean", "span", "fitted")
    ]
    return {
        **_of_cases(cases),
        "core arguments": sum(map(len, gold)),
        "among the candidates": sum(
            word in candidates(case.sentence, case.predicate.word)
            for case, each in zip(cases, gold, strict=True)
            for word, _ in each
        ),
        "F1 of heads with roles": compared(parts, (), groups, args.seed),
        "larger less smaller": {
            form: share(parts[f"{large}, {form}"], groups, args.seed, parts[f"{small}, {form}"])
            for form in forms
        },
        "which candidate, gold sense": which,
        "by role": {
            name: {
                role: {
                    "gold": sum(role == each for of in gold for _, each in of),
                    "said": sum(role == each for of in found[name] for _, each in of),
                    "right": sum(
                        role == each
                        for one, other in zip(found[name], gold, strict=True)
                        for _, each in one & other
                    ),
                }
                for role in ("ARG0", "ARG1", "ARG2", "ARG3", "ARG4")
            }
            for name in (
                f"{each}, gold sense, {form}" for each in (small, large) for form in ("span", "fitted")
            )
        },
    }


def _answers(row: Mapping[str, Any], case: Case) -> dict[str, dict[str, int | None]]:
    """For each role the head that each form chooses, None for no argument."""
    if "roles" not in row:
        return {}
    constituents = candidates(case.sentence, case.predicate.word)
    return {
        role: {
            "sum": row["heads"][int(np.argmax(total))],
            "mean": row["heads"][int(np.argmax(np.divide(total, row["tokens"])))],
            "span": None if span == NONE else closest(span, constituents),
        }
        for role, total, span in zip(row["roles"], row["sum"], row["span"], strict=True)
    }


@dataclass(frozen=True)
class Question:
    """A core role of a case, and of no argument and each candidate the sum, the mean, the tokens, and a mark of none."""

    at: int
    role: str
    heads: Sequence[int | None]
    gold: int | None
    features: np.ndarray

    def answer(self, weights: np.ndarray, less_none: float) -> int | None:
        values = self.features @ weights
        values[0] -= less_none
        return self.heads[int(np.argmax(values))]


def _questions(rows: Sequence[Mapping[str, Any]], cases: Sequence[Case]) -> list[Question]:
    questions = []
    for at, (row, case) in enumerate(zip(rows, cases, strict=True)):
        words = {role: word for word, role in case.predicate.arguments}
        for role, total in zip(row.get("roles", ()), row.get("sum", ()), strict=True):
            none = np.arange(len(total)) == 0
            features = np.array([total, np.divide(total, row["tokens"]), row["tokens"], none]).T
            questions.append(Question(at, role, row["heads"], words.get(role), features))
    return questions


def _fitted_arguments(
    rows: Sequence[Mapping[str, Any]], cases: Sequence[Case], seed: int
) -> list[set[tuple[int, str]]]:
    """Out of fold: weights of the features by likelihood, and how much none loses by F1."""
    fold, questions = fold_of(cases, seed), _questions(rows, cases)
    found: list[set[tuple[int, str]]] = [set() for _ in cases]
    for held_out in range(FOLDS):
        fitting = [each for each in questions if fold[each.at] != held_out and each.gold in each.heads]
        weights = fitted_choice(
            [each.features for each in fitting], [each.heads.index(each.gold) for each in fitting]
        )

        def f1(
            less_none: float, fitting: Sequence[Question] = fitting, weights: np.ndarray = weights
        ) -> float:
            pairs = [(each.answer(weights, less_none), each.gold) for each in fitting]
            right = sum(one == other is not None for one, other in pairs)
            return 2 * right / sum((one is not None) + (other is not None) for one, other in pairs)

        best = max(np.arange(0, 6.1, 0.5), key=f1)
        for each in questions:
            head = each.answer(weights, best)
            if fold[each.at] == held_out and head is not None:
                found[each.at].add((head, each.role))
    return found


def _which(
    rows: Sequence[Mapping[str, Any]], cases: Sequence[Case], groups: np.ndarray, seed: int
) -> dict[str, Any]:
    """Of the roles that have an argument, for which of them the right candidate is the likeliest."""
    asked = [each for each in _questions(rows, cases) if each.gold in each.heads[1:]]
    sentences = groups[[each.at for each in asked]]
    parts = {
        form: accuracy_parts(
            [each.heads[1 + int(np.argmax(each.features[1:, column]))] == each.gold for each in asked]
        )
        for column, form in enumerate(("sum", "mean"))
    }
    chance = accuracy_parts([1 / (len(each.heads) - 1) for each in asked])
    return {
        "roles with an argument": len(asked),
        **compared({"random": chance, **parts}, ("random",), sentences, seed),
    }


def precision(args: argparse.Namespace) -> dict[str, Any]:
    """How often the smaller model prefers the same sense in float32."""
    examples, sample, _ = divided(read_cases(args.data), args.seed)
    several = [case for case in sample if len(case.senses) > 1]
    rows = [
        Asked(args, SMALLER, dtype).rows("sense", several, examples, written_sense, ask_sense)
        for dtype in ("bfloat16", "float32")
    ]
    gaps = [np.subtract(*(of[case.key]["sum"] for of in rows)) for case in several]
    return {
        "predicates": len(several),
        "the same sense": {
            kind: sum(len({preferred(of[case.key], case, kind) for of in rows}) == 1 for case in several)
            for kind in FORMS
        },
        "mean difference of a log-likelihood": round(float(np.abs(np.concatenate(gaps)).mean()), 3),
    }


PARTS = {part.__name__: part for part in (sense, given, arguments, precision)}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder that keeps log-likelihoods and features"
    )
    parser.add_argument(
        "--larger", default="qwen2.5-coder-0.5b", help="alias, folder or file of the larger model"
    )
    parser.add_argument("--part", choices=PARTS, nargs="+", default=list(PARTS), help="what to measure")
    parser.add_argument("--seed", type=int, default=0, help="of examples, samples, folds and intervals")
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
