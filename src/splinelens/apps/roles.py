"""Who threatens or insults whom: the agent, the target and what is said of each sentence, as spans.

A parser gives the tree of a sentence, and rules its agent and target. A linear head on margins and the tree
gives the roles of the arguments of its verbs (Palmer, Gildea and Kingsbury, 2005); it reads each sentence a
second time after itself, since a causal model sees only the words before. Predicates that are nouns, such as
``her decision``, get no roles.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from splinelens.apps.detector import Detector
from splinelens.detect import UNDETERMINED
from splinelens.detect.role_head import Pairs, RoleHead
from splinelens.errors import BadDetector
from splinelens.features.reader import Progress, TextFeatures, TextReader
from splinelens.features.role_clues import candidates, hashed, tree_clues
from splinelens.features.spec import FeatureSpec
from splinelens.models.load import load_up_to
from splinelens.report.roles import (
    Argument,
    Part,
    PredicateRoles,
    SentenceRoles,
    TargetReport,
    count_targets,
)
from splinelens.report.scores import TextScore
from splinelens.texts import Texts
from splinelens.texts.function_words import looks_english
from splinelens.texts.groups import read_terms
from splinelens.texts.parse import MOST_CHARACTERS, Tree, load_parser, parse
from splinelens.texts.quotations import with_speakers
from splinelens.texts.sentences import sentence_bounds
from splinelens.texts.targets import AgentAndTarget, agent_and_target, predicates

if TYPE_CHECKING:
    from spacy.language import Language

MOST_WORDS = 600
"""A longer sentence gets no roles: both readings of it would not fit into one window."""

_WINDOW = 2048
_BATCH = 64

_Arguments = list[tuple[int, str, float]]
"""Word, role and probability of the arguments of a verb."""


class RoleFinder:
    """Finds agents and targets.

    Example:
        >>> finder = RoleFinder.load()  # doctest: +SKIP
        >>> [found] = finder.find(["The butcher told the baker that he would pay."])  # doctest: +SKIP
        >>> found[0].agent.text, found[0].target.text, found[0].said.text  # doctest: +SKIP
        ('The butcher', 'the baker', 'that he would pay')
    """

    def __init__(self, parser: "Language", head: RoleHead, reader: TextReader):
        """Bind a parser, a head and a reader of the layers of the head."""
        self.parser = parser
        self.head = head
        self.reader = reader

    @classmethod
    def load(cls, parser: str | None = None, *, device: str | None = None) -> "RoleFinder":
        """The shipped head, its model and a parser.

        Args:
            parser: An English pipeline of spaCy; None takes one that is installed.
            device: Such as ``cpu``.

        Raises:
            MissingPackage: spaCy or a pipeline is not installed.
            BadModel: The parser or the model cannot be used.
        """
        pipeline = load_parser(parser)
        head = RoleHead.load(Path(str(files("splinelens"))) / "detectors" / "roles")
        spec = FeatureSpec(
            features=("margins",), pooling=("last",), layers=tuple(head.record["layers"]), max_tokens=_WINDOW
        )
        loaded = load_up_to(head.record["model"], spec.layers, device=device)
        return cls(pipeline, head, TextReader(loaded, spec))

    def find(
        self,
        texts: Texts | Iterable[str | None],
        *,
        detector: Detector | None = None,
        fpr: float = 0.05,
        progress: Progress | None = None,
    ) -> Iterator[tuple[SentenceRoles, ...]]:
        """The sentences of each text, in order.

        Args:
            texts: The texts; an empty or missing one has no sentences.
            detector: Scores each sentence by itself; only those that it flags get roles. None takes all.
            fpr: Share of negative texts of which any sentence may be flagged, as by
                ``Artifact.sentence_limits``.
            progress: Called with the texts and the characters read since the last call.

        Raises:
            BadDetector: A detector of classes, which flags nothing.
        """
        if detector is not None and detector.artifact.task == "classes":
            raise BadDetector(
                f"detector {detector.artifact.name} gives classes and flags nothing; name another one"
            )
        source = Texts.of(texts)
        for start in range(0, len(source), _BATCH):
            chunk = list(source.texts[start : start + _BATCH])
            yield from self._found(chunk, start, detector, fpr)
            if progress is not None:
                progress(len(chunk), sum(len(text or "") for text in chunk))

    def targets(
        self,
        texts: Texts | Iterable[str | None],
        detector: Detector,
        *,
        terms: Mapping[str, Sequence[str]] | None = None,
        fpr: float = 0.05,
        progress: Progress | None = None,
    ) -> TargetReport:
        """Which groups are the targets of flagged sentences.

        Args:
            texts: The texts.
            detector: Flags sentences.
            terms: The terms of each group, as ``read_terms`` gives them; None takes those of splinelens.
            fpr: As in ``find``.
            progress: As in ``find``.
        """
        source = Texts.of(texts)
        records: list[SentenceRoles] = []
        unread: Counter[str] = Counter()
        found = self.find(source, detector=detector, fpr=fpr, progress=progress)
        for text, sentences in zip(source.texts, found, strict=True):
            records += sentences
            if not sentences:
                unread[why_unread(text)] += 1
        settings = {"detector": detector.artifact.name, "fpr": fpr, **self.provenance}
        return count_targets(
            records, source.texts, read_terms() if terms is None else terms, unread, settings
        )

    @property
    def provenance(self) -> dict[str, Any]:  # Any: JSON values
        """Name and version of the parser, and what the head reads."""
        meta = self.parser.meta
        layers = " and ".join(map(str, self.head.record["layers"]))
        return {
            "parser": f"{meta['lang']}_{meta['name']} {meta['version']}",
            "head": f"roles, layers {layers} of {self.head.record['model']}",
        }

    def _found(
        self, texts: Sequence[str | None], start: int, detector: Detector | None, fpr: float
    ) -> list[tuple[SentenceRoles, ...]]:
        """The records of a chunk."""
        trees = [_trees(self.parser, text) for text in texts]
        flat = [(row, tree) for row, of_text in enumerate(trees) for tree in of_text]
        records = [
            SentenceRoles(start + row, *_bounds(tree), parser=self.provenance["parser"]) for row, tree in flat
        ]
        if detector is not None:
            judged = _judged(detector, texts, flat, fpr)
            records = [
                replace(record, judged=True, score=score, flagged=flagged)
                for record, (score, flagged) in zip(records, judged, strict=True)
            ]
        wanted = [place for place, record in enumerate(records) if record.is_wanted]
        read = self._roles([flat[place][1] for place in wanted])
        for place, (roles, reason) in zip(wanted, read, strict=True):
            records[place] = _filled(records[place], flat[place][1], roles, reason)
        found: list[list[SentenceRoles]] = [[] for _ in texts]
        for (row, _), record in zip(flat, records, strict=True):
            found[row].append(record)
        return [_spoken(text or "", of_text) for text, of_text in zip(texts, found, strict=True)]

    def _roles(self, trees: list[Tree]) -> list[tuple[dict[int, _Arguments], str | None]]:
        """Of each tree the arguments of each verb, and why there are none."""
        texts, spans = [], []
        for tree in trees:
            if len(tree) > MOST_WORDS:
                continue
            begin, end = _bounds(tree)
            sentence = tree.text[begin:end]
            skip = len(sentence) + 1 - begin
            texts.append(f"{sentence}\n{sentence}")
            spans.append([(first + skip, last + skip) for first, last in tree.spans])
        rows = iter(self.reader.read_at(texts, spans))
        return [
            (self._arguments(tree, []), f"more than {MOST_WORDS} words: the roles of verbs were not read")
            if len(tree) > MOST_WORDS
            else self._roles_of(tree, [next(rows) for _ in tree.spans])
            for tree in trees
        ]

    def _roles_of(
        self, tree: Tree, features: Sequence[TextFeatures]
    ) -> tuple[dict[int, _Arguments], str | None]:
        reason = next((each.reason for each in features if each.reason), None)
        if reason is not None:
            return self._arguments(tree, []), f"the roles of verbs could not be read: {reason}"
        return self._arguments(tree, features), None

    def _arguments(self, tree: Tree, features: Sequence[TextFeatures]) -> dict[int, _Arguments]:
        verbs = predicates(tree)
        found: dict[int, _Arguments] = {verb: [] for verb in verbs}
        pairs = [(verb, word) for verb in verbs for word in candidates(tree, verb)] if features else []
        if not pairs:
            return found
        margins = np.stack([each.values for each in features])
        buckets = len(self.head.hashed)
        clues = np.array([hashed(tree_clues(tree, verb, word), buckets) for verb, word in pairs])
        numbers = np.array(pairs)
        is_argument, role = self.head.probabilities(margins, Pairs(numbers[:, 0], numbers[:, 1], clues))
        names = np.array(self.head.labels, dtype=object)[role.argmax(axis=1)]
        for (verb, word), name, probability in zip(pairs, names, is_argument, strict=True):
            if probability >= self.head.record["threshold"]:
                found[verb].append((word, str(name), float(probability)))
        return found


def _judged(
    detector: Detector, texts: Sequence[str | None], flat: list[tuple[int, Tree]], fpr: float
) -> list[tuple[float | None, bool | None]]:
    """Score of each sentence, and whether it is flagged; None where that is undetermined."""
    sentences = [tree.text[slice(*_bounds(tree))] for _, tree in flat]
    if not sentences:
        return []
    count = [len(sentence_bounds(text or "")) for text in texts]
    found = detector.score(sentences, fpr=fpr)
    limits = [detector.artifact.sentence_limits(max(1, count[row]), fpr)[1] for row, _ in flat]
    return [(each.score, _is_flagged(each, limit)) for each, limit in zip(found, limits, strict=True)]


def _is_flagged(score: TextScore, limits: tuple[float, ...]) -> bool | None:
    if score.score is None:
        return None
    scores = [score.score] if score.scores is None else list(score.scores.values())
    if any(each >= limit for each, limit in zip(scores, limits, strict=True)):
        return True
    return None if score.verdict == UNDETERMINED else False


def why_unread(text: str | None) -> str:
    """Why a text has no sentence."""
    if text is None:
        return "missing"
    return f"of more than {MOST_CHARACTERS:,} characters" if len(text) > MOST_CHARACTERS else "without a word"


def _trees(parser: "Language", text: str | None) -> list[Tree]:
    return [] if text is None or not text.strip() or len(text) > MOST_CHARACTERS else parse(parser, text)


def _bounds(tree: Tree) -> tuple[int, int]:
    return tree.spans[0][0], tree.spans[-1][1]


def _part(text: str, bounds: tuple[int, int] | None) -> Part | None:
    return None if bounds is None else Part(*bounds, text[slice(*bounds)])


def _filled(
    record: SentenceRoles, tree: Tree, roles: dict[int, _Arguments], reason: str | None
) -> SentenceRoles:
    """A record with its parts, predicates and notes."""
    who = agent_and_target(
        tree, {verb: {word: role for word, role, _ in found} for verb, found in roles.items()}
    )
    if who.target and not any(map(str.isalpha, tree.text[slice(*who.target)])):  # a number, an emoji
        who = replace(who, target=None, target_head=None)
    notes = ["no verb"] if who.said is None else []
    if reason is not None:
        notes.append(reason)
    if not looks_english(tree.words):
        notes.append("perhaps not English: parser and rules know only English")
    listed = [
        PredicateRoles(
            *tree.spans[verb],
            tree.words[verb],
            tuple(
                Argument(*tree.spans[word], tree.words[word], role, round(probability, 3))
                for word, role, probability in found
            ),
        )
        for verb, found in roles.items()
    ]
    return replace(
        record,
        agent=_part(tree.text, who.agent),
        target=_part(tree.text, who.target),
        said=_part(tree.text, who.said),
        agent_head=None if who.agent_head is None else tree.words[who.agent_head],
        target_head=None if who.target_head is None else tree.words[who.target_head],
        target_kind=_kind(tree, who),
        predicates=tuple(listed),
        notes=tuple(notes),
    )


def _kind(tree: Tree, who: AgentAndTarget) -> str | None:
    if who.target_head is None:
        return "reader" if who.is_order else None
    return "pronoun" if tree.tags[who.target_head] == "PRON" else "noun"


def _spoken(text: str, records: list[SentenceRoles]) -> tuple[SentenceRoles, ...]:
    """The records of a text; within a quotation the agent is who speaks."""
    agents = [(one.agent.begin, one.agent.end) if one.agent else None for one in records]
    found = with_speakers(text, [(record.begin, record.end) for record in records], agents)
    heads = dict(zip(agents, [one.agent_head for one in records], strict=True))
    return tuple(
        replace(record, agent=_part(text, agent), agent_head=heads[agent]) if record.is_wanted else record
        for record, agent in zip(records, found, strict=True)
    )
