"""What a model says of predicates and their arguments by itself: closed choices by log-likelihood, without a parser.

    python benchmarks/prompt_srl.py --data DIR --cache CACHE --larger FILE -o benchmarks/prompt_srl.json

The counterpart of PromptSRL (arXiv:2405.06410) on Universal Propositions (``up_ewt.py``), in its four stages: the
sense of a predicate among those of its lemma in the frames, the core roles of that sense, the argument of each role,
and the constituent closest to it. Each stage is a choice among texts: that of the highest log-likelihood after a few
examples from other sentences. Parts: ``sense`` (also against counts and linear heads on features, folds by sentence),
``given`` (the role of a given constituent) and ``arguments`` (the argument of each role of the sense, among the
constituents of the gold tree, or among all spans of up to 5 words and then matched to a constituent). Models are read
in bfloat16. Log-likelihoods and features are kept in CACHE: a stopped part continues. Intervals are 95 % bootstrap
intervals over sentences.
"""

import argparse
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from up_ewt import Frame, Predicate, Sentence, read_frames, read_sentences

from splinelens.detect.bootstrap import percentile_interval, row_samples
from splinelens.features.extract import extract
from splinelens.models import LoadedModel, load_model

SMALLER = "smollm2-135m"
SAMPLE, FIRST, EXAMPLES, EXAMPLE_WORDS, SPAN_WORDS, FOLDS = 300, 200, 6, (5, 14), 5, 5
NODES = 1024  # tokens of one pass
NONE = "none"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
LAYERS = (9, 15, 21, 27)
MODIFIERS = {  # by the guidelines of PropBank
    "ARGM-ADJ": "quality",
    "ARGM-ADV": "circumstance",
    "ARGM-CAU": "cause",
    "ARGM-COM": "companion",
    "ARGM-CXN": "construction",
    "ARGM-DIR": "direction",
    "ARGM-DIS": "connective",
    "ARGM-EXT": "extent",
    "ARGM-GOL": "goal",
    "ARGM-LOC": "place",
    "ARGM-LVB": "light verb",
    "ARGM-MNR": "manner",
    "ARGM-MOD": "modal verb",
    "ARGM-NEG": "negation",
    "ARGM-PRD": "state",
    "ARGM-PRP": "purpose",
    "ARGM-PRR": "event",
    "ARGM-REC": "reciprocal",
    "ARGM-TMP": "time",
}


# Log-likelihood of choices


class Prompted:
    """A model after a prompt, whose keys and values are kept for all that may follow.

    What may follow is run as one row: texts that begin alike share their tokens, and a token attends to the prompt
    and to the tokens before it in its own text only. So many choices cost about as much as their different tokens.
    """

    def __init__(self, loaded: LoadedModel, prompt: str):
        from transformers import DynamicCache

        self._causal: Any = loaded.causal
        self._tokenizer = loaded.tokenizer
        self._cache = DynamicCache(config=self._causal.config)
        self._length = len(self._tokenizer(prompt)["input_ids"])
        with torch.no_grad():
            ids = torch.tensor([self._tokenizer(prompt)["input_ids"]])
            logits = self._causal(ids, cache=self._cache, logits_to_keep=1).logits
        self._first = logits[0].float().log_softmax(dim=-1)

    def scores(self, stems: Sequence[str], choices: Sequence[str]) -> list[list[tuple[float, int]]]:
        """For each stem after the prompt, for each choice after it, the log-likelihood in nats and the tokens."""
        begins, ends = map(self.encode, stems), list(map(self.encode, choices))
        pairs = [(begin, end) for begin in begins for end in ends]
        each = self.log_probabilities([begin + end for begin, end in pairs])
        rated = [
            (round(float(values[len(begin) :].sum()), 3), len(end))
            for (begin, end), values in zip(pairs, each, strict=True)
        ]
        return [rated[at : at + len(ends)] for at in range(0, len(rated), len(ends))]

    def encode(self, text: str) -> tuple[int, ...]:
        return tuple(self._tokenizer(text, add_special_tokens=False)["input_ids"])

    def log_probabilities(self, texts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """For each text after the prompt the log-probability of each of its tokens."""
        found: list[np.ndarray] = []
        tree, waiting = _Tree(), list[tuple[Sequence[int], list[int]]]()
        for text in texts:
            if len(tree.tokens) > NODES:
                found += self._run(tree, waiting)
                tree, waiting = _Tree(), []
            waiting.append((text, tree.add(text[:-1])))
        return found + self._run(tree, waiting)

    def _run(self, tree: "_Tree", waiting: Sequence[tuple[Sequence[int], list[int]]]) -> list[np.ndarray]:
        count = len(tree.tokens)
        log_probability = [self._first]
        if count:
            sees = torch.zeros(count, self._length + count, dtype=torch.bool)
            sees[:, : self._length] = True
            for node, parent in enumerate(tree.parents):
                if parent >= 0:
                    sees[node] = sees[parent]
                sees[node, self._length + node] = True
            with torch.no_grad():
                logits = self._causal(
                    torch.tensor([tree.tokens]),
                    attention_mask=sees[None, None],
                    position_ids=self._length + torch.tensor([tree.depths]),
                    cache=self._cache,
                ).logits[0]
            self._cache.crop(-count)
            log_probability += [part.float().log_softmax(dim=-1) for part in logits.split(128)]
        after = torch.cat(log_probability)
        return [
            after[torch.tensor([0, *(node + 1 for node in path)]), torch.tensor(text)].numpy()
            for text, path in waiting
        ]


class _Tree:
    """Tokens of several texts; what they begin with in common is there once."""

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._nodes: dict[tuple[int, int], int] = {}

    def add(self, text: Sequence[int]) -> list[int]:
        """The node of each token, in order; -1 is the parent of the first ones."""
        path = [-1]
        for depth, token in enumerate(text):
            node = self._nodes.setdefault((path[-1], token), len(self.tokens))
            if node == len(self.tokens):
                self.tokens.append(token)
                self.parents.append(path[-1])
                self.depths.append(depth)
            path.append(node)
        return path[1:]


# Questions


@dataclass(frozen=True)
class Case:
    """A predicate in its sentence, and the senses of its lemma by their numbers."""

    number: int
    sentence: Sentence
    predicate: Predicate
    senses: tuple[Frame, ...]

    @property
    def key(self) -> str:
        return f"{self.sentence.name}#{self.predicate.word}"

    @property
    def word(self) -> str:
        return self.sentence.words[self.predicate.word]

    @property
    def lemma(self) -> str:
        return lemma_of(self.predicate.roleset)

    @property
    def is_auxiliary(self) -> bool:
        return self.sentence.tags[self.predicate.word] == "AUX"

    @cached_property
    def gold(self) -> Frame | None:
        """Its sense in the frames; a few are not there."""
        return next((frame for frame in self.senses if frame.roleset == self.predicate.roleset), None)

    def stem(self, sentence: str | None = None) -> str:
        """The sentence with its predicate in brackets; or another text in its place."""
        begin, end = self.sentence.spans[self.predicate.word]
        text = self.sentence.text
        marked = f"{text[:begin]}[{self.word}]{text[end:]}" if sentence is None else sentence
        return f'Sentence: {marked}\nMeaning of "{self.word}":'

    @property
    def neutral(self) -> str:
        """The same question without the sentence."""
        return self.stem(f"[{self.word}]")


def lemma_of(roleset: str) -> str:
    return roleset.rsplit(".", 1)[0]


def read_cases(data: Path) -> list[Case]:
    """All predicates, by sentence."""
    of_lemma = defaultdict(list)
    for roleset, frame in read_frames(data).items():
        of_lemma[lemma_of(roleset)].append(frame)
    return [
        Case(
            number,
            sentence,
            predicate,
            tuple(sorted(of_lemma[lemma_of(predicate.roleset)], key=lambda frame: frame.roleset)),
        )
        for number, sentence in enumerate(read_sentences(data))
        for predicate in sentence.predicates
    ]


def divided(cases: Sequence[Case], seed: int) -> tuple[list[Case], list[Case], list[Case]]:
    """Examples, a sample of whole sentences, and all cases without the sentences of the examples."""
    rng = np.random.default_rng(seed)
    examples: list[Case] = []
    for case in (cases[place] for place in rng.permutation(len(cases))):
        fits = EXAMPLE_WORDS[0] <= len(case.sentence.words) <= EXAMPLE_WORDS[1] and case.gold is not None
        core = sum(role in (case.gold.roles if case.gold else ()) for _, role in case.predicate.arguments)
        new = case.lemma not in {each.lemma for each in examples}
        if fits and new and core > 1 and len(case.senses) > 1 and len(examples) < EXAMPLES:
            examples.append(case)
    taken = {case.number for case in examples}
    rest = [case for case in cases if case.number not in taken]
    order = rng.permutation(sorted({case.number for case in rest})).tolist()
    shuffled = [case for number in order for case in rest if case.number == number]
    return examples, whole_sentences(shuffled, SAMPLE), rest


def whole_sentences(cases: Sequence[Case], count: int) -> list[Case]:
    """The first cases, at least ``count``: the last sentence is whole."""
    return [*cases[:count], *(case for case in cases[count:] if case.number == cases[count - 1].number)]


def core_roles(frame: Frame) -> dict[str, str]:
    """What each numbered role of a sense is, in few words."""
    return {
        role: " ".join(what.split("(")[0].split()).lower() or role
        for role, what in frame.roles.items()
        if role[3:].isdigit()
    }


def subtree(sentence: Sentence, word: int) -> set[int]:
    """The words below a word in the tree, and itself."""
    found = {word}
    while more := {at for at, head in enumerate(sentence.heads) if head in found and at not in found}:
        found |= more
    return found


def constituent(sentence: Sentence, word: int, predicate: int) -> str:
    """The text of a word's subtree without marks at its ends.

    If the predicate is inside, without what belongs to it and what is on its other side: "the meal" of "the meal
    that we had", "ready" of "we are ready".
    """
    words = subtree(sentence, word)
    if predicate in words:
        inside = subtree(sentence, predicate)
        words = {each for each in words - inside if (each > predicate) == (word > predicate)}
    inner = sorted(words)
    while len(inner) > 1 and sentence.tags[inner[0]] == "PUNCT":
        inner = inner[1:]
    while len(inner) > 1 and sentence.tags[inner[-1]] == "PUNCT":
        inner = inner[:-1]
    parts = []
    for at, each in enumerate(inner):
        begin, end = sentence.spans[each]
        follows = at and inner[at - 1] == each - 1
        space = " " if not follows or sentence.spans[each - 1][1] < begin else ""
        parts.append(f"{space}{sentence.text[begin:end]}")
    return "".join(parts).strip()


def candidates(sentence: Sentence, predicate: int) -> dict[int, str]:
    """Constituents by their head: dependents of the predicate and of what it depends on, and these themselves.

    The pruning of Xue and Palmer (2004), on dependencies.
    """
    heads, at = set(), predicate
    while at >= 0:
        heads |= {at, *(word for word, head in enumerate(sentence.heads) if head == at)}
        at = sentence.heads[at]
    return {
        head: constituent(sentence, head, predicate)
        for head in sorted(heads - {predicate})
        if sentence.tags[head] != "PUNCT"
    }


def closest(text: str, constituents: Mapping[int, str]) -> int | None:
    """The head of the constituent whose words are closest to those of a text; None without a word in common.

    Closeness is twice the words in common, in order, over the words of both; the shorter constituent wins a tie.
    """
    words = text.lower().split()
    rated = [
        (SequenceMatcher(None, words, other.lower().split(), autojunk=False).ratio(), -len(other), -head)
        for head, other in constituents.items()
    ]
    best = max(rated, default=(0.0, 0, 0))
    return -best[2] if best[0] > 0 else None


def spans(sentence: Sentence, predicate: int) -> list[str]:
    """Texts of all spans of up to 5 words without the predicate."""
    places = sentence.spans
    return list(
        dict.fromkeys(
            sentence.text[places[first][0] : places[last][1]]
            for first in range(len(places))
            for last in range(first, min(first + SPAN_WORDS, len(places)))
            if not first <= predicate <= last
        )
    )


# What the models say, kept in a file


class Asked:
    """Log-likelihoods of one stage by one model, a row a predicate; a stopped run continues."""

    def __init__(self, args: argparse.Namespace, model: str):
        self._args, self._model = args, model
        self.name = Path(model).stem
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
        path = self._args.cache / f"{stage}-{self.name}-{self._args.seed}.jsonl"
        lines = path.read_text("utf-8").splitlines() if path.exists() else []
        done = {row["key"]: row for row in map(json.loads, lines)}
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
            self._loaded = load_model(self._model, head=True, device="cpu", dtype="bfloat16")
        return self._loaded


def written_sense(case: Case) -> str:
    """An example of the question for the sense."""
    assert case.gold is not None
    return f"{case.stem()} {case.gold.name}\n\n"


def lettered(case: Case) -> str:
    """The senses as a list of letters, and what comes before the answer."""
    senses = zip(LETTERS, case.senses, strict=False)
    return "".join(f"\n{letter}. {frame.name}" for letter, frame in senses) + "\nAnswer:"


def written_letters(case: Case) -> str:
    assert case.gold is not None
    return f"{case.stem()}{lettered(case)} {LETTERS[case.senses.index(case.gold)]}\n\n"


def ask_sense(prompted: Prompted, case: Case) -> dict[str, Any] | None:
    """The names of the senses, with and without the sentence."""
    if len(case.senses) < 2:
        return None
    names = [f" {frame.name}\n" for frame in case.senses]
    scores, neutral = prompted.scores([case.stem(), case.neutral], names)
    return {"sum": _sums(scores), "tokens": _tokens(scores), "neutral": _sums(neutral)}


def ask_letters(prompted: Prompted, case: Case) -> dict[str, Any] | None:
    """The letters of the senses."""
    if len(case.senses) < 2:
        return None
    letters = [f" {letter}" for letter, _ in zip(LETTERS, case.senses, strict=False)]
    (scores,) = prompted.scores([f"{case.stem()}{lettered(case)}"], letters)
    return {"sum": _sums(scores)}


def written_roles(case: Case) -> str:
    """An example of the question for the role of a constituent."""
    assert case.gold is not None
    roles = core_roles(case.gold) | MODIFIERS
    lines = [
        f'"{constituent(case.sentence, word, case.predicate.word)}": {roles[role]}\n'
        for word, role in case.predicate.arguments
        if role in roles
    ]
    return f"{case.stem()} {case.gold.name}\n{''.join(lines)}\n"


def ask_roles(prompted: Prompted, case: Case) -> dict[str, Any] | None:
    """For each argument each role; and each role of a phrase that says nothing, without the sentence."""
    if case.gold is None or not case.predicate.arguments:
        return None
    roles = core_roles(case.gold) | MODIFIERS
    choices = [f" {what}\n" for what in roles.values()]
    texts = [constituent(case.sentence, word, case.predicate.word) for word, _ in case.predicate.arguments]
    stems = [f'{case.stem()} {case.gold.name}\n"{text}":' for text in texts]
    neutral, *each = prompted.scores([f'{case.neutral} {case.gold.name}\n"something":', *stems], choices)
    return {
        "roles": list(roles),
        "sum": list(map(_sums, each)),
        "tokens": _tokens(neutral),
        "neutral": _sums(neutral),
    }


def written_arguments(case: Case) -> str:
    """An example of the question for the argument of each core role."""
    assert case.gold is not None
    words = {role: word for word, role in case.predicate.arguments}
    lines = [
        f"{what}: {constituent(case.sentence, words[role], case.predicate.word) if role in words else NONE}\n"
        for role, what in core_roles(case.gold).items()
    ]
    return f"{case.stem()} {case.gold.name}\n{''.join(lines)}\n"


def ask_arguments(
    sense_of: Mapping[str, Frame | None], prompted: Prompted, case: Case
) -> dict[str, Any] | None:
    """For each core role of a sense the likelihood of no argument and of each constituent; and the best span."""
    frame = sense_of[case.key]
    if frame is None or not core_roles(frame):
        return None
    word, roles = case.predicate.word, core_roles(frame)
    constituents = candidates(case.sentence, word)
    texts = list(dict.fromkeys([NONE, *constituents.values(), *spans(case.sentence, word)]))
    scores = prompted.scores(
        [f"{case.stem()} {frame.name}\n{what}:" for what in roles.values()], [f" {text}\n" for text in texts]
    )
    places = [texts.index(text) for text in (NONE, *constituents.values())]
    return {
        "roles": list(roles),
        "heads": [None, *constituents],
        "sum": [[of_role[place][0] for place in places] for of_role in scores],
        "tokens": [scores[0][place][1] for place in places],
        "span": [texts[int(np.argmax(_sums(of_role)))] for of_role in scores],
    }


def told_sense(row: Mapping[str, Any], case: Case) -> Frame:
    """The sense that the model prefers: by how much likelier the sentence makes its name."""
    if "sum" not in row:
        return case.senses[0]
    return case.senses[int(np.argmax(np.subtract(row["sum"], row["neutral"])))]


def arguments_of(
    asked: Asked, cases: Sequence[Case], examples: Sequence[Case], gold: bool
) -> dict[str, dict[str, Any]]:
    """The answers about arguments for the gold senses, or for those that the model prefers."""
    rows = {} if gold else asked.rows("sense", cases, examples, written_sense, ask_sense)
    sense_of = {case.key: case.gold if gold else told_sense(rows[case.key], case) for case in cases}
    found = {}
    if not gold:  # most are the gold ones
        found = arguments_of(asked, cases, examples, True)
        found = {case.key: found[case.key] for case in cases if sense_of[case.key] == case.gold}
    left = [case for case in cases if case.key not in found]
    stage = "arguments" if gold else "arguments-told"
    return found | asked.rows(stage, left, examples, written_arguments, partial(ask_arguments, sense_of))


def _sums(scores: Sequence[tuple[float, int]]) -> list[float]:
    return [score for score, _ in scores]


def _tokens(scores: Sequence[tuple[float, int]]) -> list[int]:
    return [tokens for _, tokens in scores]


# Numbers with intervals


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


def fitted_choice(features: Sequence[np.ndarray], gold: Sequence[int], ridge: float = 1.0) -> np.ndarray:
    """Weights of a conditional logit: the choice of each case is that of the highest weighted sum.

    Args:
        features: For each case (choice, feature).
        gold: The right choice of each.
        ridge: Half of it times the squares of the weights is added to the negative log-likelihood.
    """
    from scipy.optimize import minimize

    case = np.repeat(np.arange(len(features)), [len(each) for each in features])
    begins = np.searchsorted(case, np.arange(len(features)))
    rows, right = np.concatenate(features), begins + np.asarray(gold)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        values = rows @ weights
        highest = np.maximum.reduceat(values, begins)
        total = highest + np.log(np.add.reduceat(np.exp(values - highest[case]), begins))
        chance = np.exp(values - total[case])
        slope = chance @ rows - rows[right].sum(axis=0) + ridge * weights
        return float((total - values[right]).sum() + ridge * (weights @ weights) / 2), slope

    return np.asarray(minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x)


def fold_of(cases: Sequence[Case], seed: int) -> np.ndarray:
    """The fold of each case, whole sentences together."""
    numbers, inverse = np.unique([case.number for case in cases], return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(numbers)) % FOLDS)[inverse]


# Senses


def most_frequent(case: Case, counts: Mapping[str, Counter[str]]) -> str:
    """The most frequent sense of the lemma in other sentences; the first one of a lemma that is not there."""
    return max(choices_of(case, counts), key=lambda roleset: counts.get(case.lemma, Counter())[roleset])


def choices_of(case: Case, counts: Mapping[str, Counter[str]]) -> list[str]:
    """The senses of the lemma in the frames, in their order, and further ones of other sentences."""
    known = [frame.roleset for frame in case.senses]
    return known + sorted(set(counts.get(case.lemma, ())) - set(known))


def counts_of(cases: Sequence[Case]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for case in cases:
        counts[case.lemma][case.predicate.roleset] += 1
    return dict(counts)


class Centroids:
    """Squared distances to the mean of each sense, in units of the variance within senses: a linear head.

    The mean of a sense is drawn to that of its lemma as by one more row, so a sense that never occurred is there.
    """

    def __init__(self, values: np.ndarray, cases: Sequence[Case]):
        rows = defaultdict(list)
        for at, case in enumerate(cases):
            rows[case.predicate.roleset].append(at)
        of_lemma = defaultdict(list)
        for at, case in enumerate(cases):
            of_lemma[case.lemma].append(at)
        inside = [values[each] - values[each].mean(axis=0) for each in rows.values() if len(each) > 1]
        spread = np.concatenate(inside)
        covariance = spread.T @ spread / (len(spread) - len(inside))
        size = len(covariance)
        covariance = 0.9 * covariance + 0.1 * np.trace(covariance) / size * np.eye(size)
        self._root = np.linalg.cholesky(np.linalg.inv(covariance)) / np.sqrt(size)
        values = values @ self._root
        self._lemma = {lemma: values[each].mean(axis=0) for lemma, each in of_lemma.items()}
        self._sense = {
            sense: (values[each].sum(axis=0) + self._lemma[lemma_of(sense)]) / (len(each) + 1)
            for sense, each in rows.items()
        }

    def nearness(self, value: np.ndarray, case: Case, choices: Sequence[str]) -> list[float]:
        """Half of the squared distance to each sense, below 0; 0 for a lemma that is not there."""
        if case.lemma not in self._lemma:
            return [0.0] * len(choices)
        at = value @ self._root
        means = [self._sense.get(sense, self._lemma[case.lemma]) for sense in choices]
        return [-float(((at - mean) ** 2).sum()) / 2 for mean in means]


def principal(values: np.ndarray, train: np.ndarray, count: int = 128) -> np.ndarray:
    """The first principal components of standardized columns, of the rows of training."""
    values = (values - values[train].mean(axis=0)) / (values[train].std(axis=0) + 1e-6)
    torch.manual_seed(0)
    _, _, directions = torch.svd_lowrank(torch.from_numpy(values[train]), q=count, niter=4)
    return np.asarray(values @ directions.numpy())


@dataclass
class Evidence:
    """What is known of each sense of a case, by kind: (choice,) numbers."""

    choices: list[str]
    of: dict[str, list[float]]

    def matrix(self, kinds: Sequence[str]) -> np.ndarray:
        return np.stack([self.of[kind] for kind in kinds], axis=1)


def evidence(
    cases: Sequence[Case],
    train: Sequence[Case],
    rows: Mapping[str, Mapping[str, Any]],
    heads: Mapping[str, tuple[Centroids, Mapping[str, np.ndarray]]],
) -> list[Evidence]:
    """Of each case, from the counts and centroids of other sentences and the log-likelihoods of the model."""
    counts, found = counts_of(train), []
    for case in cases:
        choices = choices_of(case, counts)
        seen = counts.get(case.lemma, Counter())
        of: dict[str, list[float]] = {
            "first": [float(at == 0) for at in range(len(choices))],
            "count": [float(np.log1p(seen[choice])) for choice in choices],
        }
        row = rows.get(case.key, {})
        known = len(case.senses)
        for kind, values in likelihoods(row, known).items():
            of[kind] = [*values, *[float(np.mean(values))] * (len(choices) - known)]
        for name, (centroids, values) in heads.items():
            of[name] = centroids.nearness(values[case.key], case, choices)
        found.append(Evidence(choices, of))
    return found


def likelihoods(row: Mapping[str, Any], count: int) -> dict[str, list[float]]:
    """Forms of the log-likelihood of each choice; all equal for a case that the model was not asked about."""
    if "sum" not in row:
        return {kind: [0.0] * count for kind in ("sum", "mean", "less neutral")}
    total, tokens, neutral = (np.array(row[key], dtype=float) for key in ("sum", "tokens", "neutral"))
    return {
        "sum": total.tolist(),
        "mean": (total / tokens).tolist(),
        "less neutral": (total - neutral).tolist(),
    }


def stacked(
    cases: Sequence[Case],
    pool: Sequence[Case],
    rows: Mapping[str, Mapping[str, Any]],
    blocks: Mapping[str, Mapping[str, np.ndarray]],
    kinds_of: Mapping[str, Sequence[str]],
    seed: int,
) -> dict[str, np.ndarray]:
    """For each set of kinds of evidence whether the choice is right, out of fold by sentence.

    Args:
        cases: To judge, and to fit weights of kinds on.
        pool: All cases, for counts and centroids; those of the held-out sentences are left out.
        rows: Log-likelihoods of the cases.
        blocks: For each head the features of every case of the pool.
        kinds_of: The kinds of evidence of each method.
        seed: Of the folds.
    """
    fold = dict(zip((case.key for case in pool), fold_of(pool, seed), strict=True))
    inner = dict(zip((case.key for case in pool), fold_of(pool, seed + 1), strict=True))
    right = {name: np.zeros(len(cases), dtype=bool) for name in kinds_of}
    for held_out in range(FOLDS):
        outside = np.array([fold[case.key] != held_out for case in pool])
        reduced = {
            name: dict(
                zip(
                    (case.key for case in pool),
                    principal(np.stack([values[case.key] for case in pool]), outside),
                    strict=True,
                )
            )
            for name, values in blocks.items()
        }

        def collected(
            judged: Sequence[Case], train: Sequence[Case], reduced: Mapping[str, Any] = reduced
        ) -> list[Evidence]:
            heads = {
                name: (Centroids(np.stack([values[case.key] for case in train]), train), values)
                for name, values in reduced.items()
            }
            return evidence(judged, train, rows, heads)

        train = [case for case in pool if fold[case.key] != held_out]
        fitting: list[tuple[Case, Evidence]] = []
        for part in range(FOLDS):
            judged = [case for case in cases if fold[case.key] != held_out and inner[case.key] == part]
            rest = [case for case in train if inner[case.key] != part]
            fitting += zip(judged, collected(judged, rest), strict=True)
        fitting = [
            (case, each)
            for case, each in fitting
            if len(each.choices) > 1 and case.predicate.roleset in each.choices
        ]
        gold = [each.choices.index(case.predicate.roleset) for case, each in fitting]
        places = [at for at, case in enumerate(cases) if fold[case.key] == held_out]
        tested = collected([cases[at] for at in places], train)
        for name, kinds in kinds_of.items():
            weights = fitted_choice([each.matrix(kinds) for _, each in fitting], gold)
            for at, each in zip(places, tested, strict=True):
                best = each.choices[int(np.argmax(each.matrix(kinds) @ weights))]
                right[name][at] = best == cases[at].predicate.roleset
    return right


def read_features(cases: Sequence[Case], cache: Path) -> dict[str, dict[str, np.ndarray]]:
    """Of each case the hidden state and margins of its last token, and of the word that is repeated after it.

    The sentence before the word is all that a causal model knows there; in ``Meaning of "word":`` it knows it all.
    """
    sentences: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        sentences[case.number].append(case)
    places = {
        "at the predicate": (
            [each[0].sentence.text for each in sentences.values()],
            [[each.sentence.spans[each.predicate.word] for each in found] for found in sentences.values()],
            [case for found in sentences.values() for case in found],
        ),
        "at the question": (
            [case.stem() for case in cases],
            [[(len(case.stem()) - 2 - len(case.word), len(case.stem()) - 2)] for case in cases],
            cases,
        ),
    }
    model: LoadedModel | None = None
    blocks: dict[str, dict[str, np.ndarray]] = {}
    for place, (texts, at, order) in places.items():
        path = cache / f"features-{place.split()[-1]}.npz"
        if not path.exists():
            model = model or load_model(SMALLER, device="cpu", dtype="bfloat16")
            table = extract(
                texts,
                model,
                features=("hidden", "margins"),
                layers=LAYERS,
                pooling="last",
                at=at,
                batch_tokens=4096,
            )
            kinds = {
                kind: np.concatenate(
                    [table.column(column.name) for column in table.columns if f".{kind}_" in column.name],
                    axis=1,
                )
                for kind in ("hidden", "margin")
            }
            np.savez(path, **{kind: values.astype(np.float16) for kind, values in kinds.items()})
        stored = np.load(path)
        for kind in ("hidden", "margin"):
            values = stored[kind].astype(np.float32)
            if len(values) != len(order):
                raise SystemExit(f"{path} is of other predicates; remove it")
            blocks[f"{kind} {place}"] = {case.key: value for case, value in zip(order, values, strict=True)}
    return blocks


def sense(args: argparse.Namespace) -> dict[str, Any]:
    """The sense of a predicate: by log-likelihood, by counts of other sentences, by heads, and by several of them."""
    examples, sample, rest = divided(read_cases(args.data), args.seed)
    asked = [Asked(args, model) for model in (SMALLER, args.larger)]
    record: dict[str, Any] = {
        "examples": len(examples),
        "millions of parameters": {each.name: each.parameters() for each in asked},
        "sample": _sense_sample(args, asked, sample, rest, examples),
        "all": _sense_all(args, asked[0], rest, examples),
    }
    return record


def _sense_sample(
    args: argparse.Namespace,
    asked: Sequence[Asked],
    sample: Sequence[Case],
    rest: Sequence[Case],
    examples: Sequence[Case],
) -> dict[str, Any]:
    groups = np.array([case.number for case in sample])
    counts = _counts_elsewhere(sample, rest)
    chosen: dict[str, list[str]] = {
        "first sense": [case.senses[0].roleset for case in sample],
        "most frequent": [most_frequent(case, counts[case.number]) for case in sample],
    }
    for each in asked:
        names = each.rows("sense", sample, examples, written_sense, ask_sense)
        letters = each.rows("letters", sample, examples, written_letters, ask_letters)
        for kind in ("sum", "mean", "less neutral"):
            chosen[f"{each.name}, names, {kind}"] = [
                case.senses[int(np.argmax(likelihoods(names[case.key], len(case.senses))[kind]))].roleset
                for case in sample
            ]
        chosen[f"{each.name}, letters"] = [
            case.senses[int(np.argmax(letters[case.key].get("sum", [0.0])))].roleset for case in sample
        ]
    parts = {name: accuracy_parts(_right(sample, each)) for name, each in chosen.items()}
    small, large = (each.name for each in asked)
    record = _of_cases(sample) | compared(parts, ("first sense",), groups, args.seed)
    record["larger less smaller"] = {
        form: share(parts[f"{large}, {form}"], groups, args.seed, parts[f"{small}, {form}"])
        for form in ("names, sum", "names, mean", "names, less neutral", "letters")
    }
    return record


def _sense_all(
    args: argparse.Namespace, asked: Asked, cases: Sequence[Case], examples: Sequence[Case]
) -> dict[str, Any]:
    several = [case for case in cases if len(case.senses) > 1]
    rows = asked.rows("sense", cases, examples, written_sense, ask_sense)
    blocks = read_features(several, args.cache)
    counts = _counts_elsewhere(cases, cases, fold_of(cases, args.seed))
    chosen = {
        "first sense": [case.senses[0].roleset for case in cases],
        "most frequent": [most_frequent(case, counts[case.number]) for case in cases],
    }
    for kind in ("sum", "mean", "less neutral"):
        chosen[f"names, {kind}"] = [
            case.senses[int(np.argmax(likelihoods(rows[case.key], len(case.senses))[kind]))].roleset
            for case in cases
        ]
    right = {name: _right(cases, each) for name, each in chosen.items()}
    prior, names = ("first", "count"), ("sum", "mean", "less neutral")
    kinds_of = {
        "counts": prior,
        "names, fitted": ("first", *names),
        "counts and names": (*prior, *names),
        **{f"counts and {name}": (*prior, name) for name in blocks},
        "counts, names and heads": (*prior, *names, *blocks),
    }
    of_several = stacked(several, several, rows, blocks, kinds_of, args.seed)
    place = {case.key: at for at, case in enumerate(several)}
    for name, values in of_several.items():
        right[name] = np.array(
            [values[place[case.key]] if case.key in place else case.gold is not None for case in cases]
        )
    record: dict[str, Any] = {}
    for title, wanted in (
        ("every predicate", lambda case: True),
        ("without auxiliaries", lambda case: not case.is_auxiliary),
        ("several senses, without auxiliaries", lambda case: not case.is_auxiliary and len(case.senses) > 1),
    ):
        inside = np.array([wanted(case) for case in cases])
        kept = [case for case in cases if wanted(case)]
        parts = {name: accuracy_parts(values[inside]) for name, values in right.items()}
        groups = np.array([case.number for case in kept])
        record[title] = _of_cases(kept) | compared(
            parts, ("first sense", "most frequent", "counts"), groups, args.seed
        )
    return record


def _counts_elsewhere(
    judged: Sequence[Case], pool: Sequence[Case], fold: np.ndarray | None = None
) -> dict[int, dict[str, Counter[str]]]:
    """For each sentence the counts of senses outside its fold; without folds outside all that are judged."""
    if fold is None:
        taken = {case.number for case in judged}
        counts = counts_of([case for case in pool if case.number not in taken])
        return dict.fromkeys(taken, counts)
    of_fold = [
        counts_of([case for case, other in zip(pool, fold, strict=True) if other != one])
        for one in range(FOLDS)
    ]
    return {case.number: of_fold[one] for case, one in zip(pool, fold.tolist(), strict=True)}


def _right(cases: Sequence[Case], chosen: Sequence[str]) -> np.ndarray:
    return np.array([case.predicate.roleset == each for case, each in zip(cases, chosen, strict=True)])


def _of_cases(cases: Sequence[Case]) -> dict[str, Any]:
    return {
        "predicates": len(cases),
        "sentences": len({case.number for case in cases}),
        "with several senses": sum(len(case.senses) > 1 for case in cases),
    }


# The role of a given constituent


def given(args: argparse.Namespace) -> dict[str, Any]:
    """The role of each argument, given its constituent and the sense of the predicate."""
    examples, sample, rest = divided(read_cases(args.data), args.seed)
    sample = [case for case in sample if case.predicate.arguments]
    table = relation_table(_outside(sample, rest))
    arguments = [(case, at) for case in sample for at in range(len(case.predicate.arguments))]
    gold = [case.predicate.arguments[at][1] for case, at in arguments]
    groups = np.array([case.number for case, _ in arguments])
    chosen: dict[str, list[str]] = {
        "most frequent": [table[()]] * len(gold),
        "relation and voice": [
            _looked_up(table, relation_of(case, case.predicate.arguments[at][0])) for case, at in arguments
        ],
    }
    models = [Asked(args, model) for model in (SMALLER, args.larger)]
    for each in models:
        rows = each.rows("given", sample, examples, written_roles, ask_roles)
        scores = [_role_scores(rows[case.key], at) for case, at in arguments]
        for kind in ("sum", "mean", "less neutral"):
            chosen[f"{each.name}, {kind}"] = [
                max(of[kind], key=of[kind].__getitem__) if of else "" for of in scores
            ]
        chosen[f"{each.name}, fitted"] = _fitted_roles(scores, gold, arguments, args.seed)
    parts = {
        name: accuracy_parts([one == other for one, other in zip(each, gold, strict=True)])
        for name, each in chosen.items()
    }
    small, large = (each.name for each in models)
    forms = ("sum", "mean", "less neutral", "fitted")
    return {
        "arguments": len(gold),
        "predicates": len(sample),
        "sentences": len(set(groups.tolist())),
        **compared(parts, ("most frequent",), groups, args.seed),
        "larger less smaller": {
            form: share(parts[f"{large}, {form}"], groups, args.seed, parts[f"{small}, {form}"])
            for form in forms
        },
        "right by role": {
            role: {"arguments": count}
            | {
                f"{name}, {form}": sum(
                    one == other == role for one, other in zip(chosen[f"{name}, {form}"], gold, strict=True)
                )
                for name in (small, large)
                for form in ("less neutral", "fitted")
            }
            for role, count in Counter(gold).most_common()
        },
        "most frequent errors": {
            f"{name}, fitted": [
                f"{role} as {other}: {count}"
                for (role, other), count in Counter(
                    (one, other)
                    for one, other in zip(gold, chosen[f"{name}, fitted"], strict=True)
                    if one != other
                ).most_common(10)
            ]
            for name in (small, large)
        },
    }


def _outside(sample: Sequence[Case], rest: Sequence[Case]) -> list[Case]:
    taken = {case.number for case in sample}
    return [case for case in rest if case.number not in taken]


def relation_of(case: Case, word: int) -> tuple[str, ...]:
    """The dependency relation between a word and the predicate, and the voice of the predicate."""
    sentence, predicate = case.sentence, case.predicate.word
    passive = "pass" if "Voice=Pass" in sentence.features[predicate] else "active"
    if sentence.heads[word] == predicate:
        return f"child {sentence.relations[word]}", passive
    if sentence.heads[predicate] == word:
        return f"parent {sentence.relations[predicate]}", passive
    return f"other {sentence.relations[word]}", passive


def relation_table(cases: Sequence[Case], none: bool = False) -> dict[tuple[str, ...], str]:
    """The most frequent role of each relation; of the empty one that of all.

    With ``none`` candidates without a core role count, too.
    """
    counts: dict[tuple[str, ...], Counter[str]] = defaultdict(Counter)
    for case in cases:
        roles = dict(case.predicate.arguments)
        if none:
            words = candidates(case.sentence, case.predicate.word)
            roles = {word: roles[word] if is_core(roles.get(word, "")) else NONE for word in words}
        for word, role in roles.items():
            counts[()][role] += 1
            counts[relation_of(case, word)][role] += 1
    return {relation: of.most_common(1)[0][0] for relation, of in counts.items()}


def _looked_up(table: Mapping[tuple[str, ...], str], relation: tuple[str, ...]) -> str:
    return table.get(relation, table[()])


def is_core(role: str) -> bool:
    return role[:3] == "ARG" and role[3:].isdigit()


def _role_scores(row: Mapping[str, Any], at: int) -> dict[str, dict[str, float]]:
    """The forms of the log-likelihood of each role for an argument; nothing without a sense in the frames."""
    if "roles" not in row:
        return {}
    forms = likelihoods({**row, "sum": row["sum"][at]}, len(row["roles"]))
    return {kind: dict(zip(row["roles"], values, strict=True)) for kind, values in forms.items()}


def _fitted_roles(
    scores: Sequence[Mapping[str, Mapping[str, float]]],
    gold: Sequence[str],
    arguments: Sequence[tuple[Case, int]],
    seed: int,
) -> list[str]:
    """Out of fold: weights of the forms, and a number for each role."""
    fold = fold_of([case for case, _ in arguments], seed)
    names = sorted({role for of in scores if of for role in of["sum"]})
    features = [
        np.array(
            [
                [*(of[kind][role] for kind in of), *(float(role == name) for name in names)]
                for role in of["sum"]
            ]
        )
        if of
        else np.zeros((0, 0))
        for of in scores
    ]
    chosen = [""] * len(gold)
    for held_out in range(FOLDS):
        fitting = [
            at for at, of in enumerate(scores) if fold[at] != held_out and of and gold[at] in of["sum"]
        ]
        weights = fitted_choice(
            [features[at] for at in fitting], [list(scores[at]["sum"]).index(gold[at]) for at in fitting]
        )
        for at in np.flatnonzero(fold == held_out):
            if scores[at]:
                chosen[at] = list(scores[at]["sum"])[int(np.argmax(features[at] @ weights))]
    return chosen


# The argument of each role


def arguments(args: argparse.Namespace) -> dict[str, Any]:
    """The head of the argument of each core role, for gold senses and for those that the model prefers."""
    examples, sample, rest = divided(read_cases(args.data), args.seed)
    cases = whole_sentences(sample, FIRST)
    table = relation_table(_outside(sample, rest), none=True)
    groups = np.array([case.number for case in cases])
    gold = [{(word, role) for word, role in case.predicate.arguments if is_core(role)} for case in cases]
    found: dict[str, list[set[tuple[int, str]]]] = {
        "relation and voice, gold tree": [
            {
                (word, role)
                for word in candidates(case.sentence, case.predicate.word)
                if (role := _looked_up(table, relation_of(case, word))) != NONE
            }
            for case in cases
        ]
    }
    models = [Asked(args, model) for model in (SMALLER, args.larger)]
    for each in models:
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


def _fitted_arguments(
    rows: Sequence[Mapping[str, Any]], cases: Sequence[Case], seed: int
) -> list[set[tuple[int, str]]]:
    """Out of fold: weights of the sum, the mean and the tokens, and a number for no argument."""
    fold = fold_of(cases, seed)
    questions = [
        (
            at,
            role,
            np.array([total, np.divide(total, row["tokens"]), row["tokens"], np.arange(len(total)) == 0]).T,
        )
        for at, row in enumerate(rows)
        for role, total in zip(row.get("roles", ()), row.get("sum", ()), strict=True)
    ]
    found: list[set[tuple[int, str]]] = [set() for _ in cases]
    for held_out in range(FOLDS):
        fitting, gold = [], []
        for at, role, features in questions:
            words = {each: word for word, each in cases[at].predicate.arguments}
            if fold[at] != held_out and words.get(role) in rows[at]["heads"]:
                fitting.append(features)
                gold.append(rows[at]["heads"].index(words.get(role)))
        weights = fitted_choice(fitting, gold)
        for at, role, features in questions:
            head = rows[at]["heads"][int(np.argmax(features @ weights))]
            if fold[at] == held_out and head is not None:
                found[at].add((head, role))
    return found


PARTS = {part.__name__: part for part in (sense, given, arguments)}


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
