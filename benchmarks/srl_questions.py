"""Questions of semantic roles as texts: a predicate in its sentence, its senses, roles and constituents.

``written_*`` are examples with their answers, ``ask_*`` the log-likelihoods of the answers that a question may have.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from prompted import Prompted
from up_ewt import Frame, Predicate, Sentence, read_frames, read_sentences

EXAMPLES, EXAMPLE_WORDS = 6, (5, 14)
SAMPLE = 300  # predicates
SPAN_WORDS = 5
NONE = "none"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
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
    def text(self) -> str:
        """The name of the text that the sentence is from."""
        return self.sentence.name.rsplit("-", 1)[0]

    @property
    def word(self) -> str:
        return self.sentence.words[self.predicate.word]

    @property
    def lemma(self) -> str:
        return lemma_of(self.predicate.roleset)

    @property
    def is_auxiliary(self) -> bool:
        return self.sentence.tags[self.predicate.word] == "AUX"

    @property
    def rolesets(self) -> list[str]:
        """The senses; of a lemma that is not in the frames the first one."""
        return [frame.roleset for frame in self.senses] or [f"{self.lemma}.01"]

    @cached_property
    def gold(self) -> Frame | None:
        """Its sense in the frames; a few are not there."""
        return self.frame(self.predicate.roleset)

    def frame(self, roleset: str) -> Frame | None:
        return next((frame for frame in self.senses if frame.roleset == roleset), None)

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


# The four questions


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


def _sums(scores: Sequence[tuple[float, int]]) -> list[float]:
    return [score for score, _ in scores]


def _tokens(scores: Sequence[tuple[float, int]]) -> list[int]:
    return [tokens for _, tokens in scores]
