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
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    square = values[train].T @ values[train]
    return np.asarray(values @ np.linalg.eigh(square)[1][:, -count:])


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
