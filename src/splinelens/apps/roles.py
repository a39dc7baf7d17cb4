"""Who threatens or insults whom: the agent, the target and what is said of each sentence, as spans.

A parser gives the tree of a sentence, a linear head on margins and the tree the roles of each verb's
arguments (Palmer, Gildea and Kingsbury, 2005), and rules the agent and the target. The head reads each
sentence a second time after itself, since a causal model sees only the words before.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.resources import files
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from splinelens.apps.detector import Detector
from splinelens.detect.role_head import Pairs, RoleHead
from splinelens.errors import BadDetector, BadFeatures, BadTexts, WrongModel
from splinelens.features.reader import Progress, TextFeatures, TextReader
from splinelens.features.role_clues import candidates, hashed, tree_clues
from splinelens.features.spec import FeatureSpec
from splinelens.models import LoadedModel
from splinelens.models.load import load_up_to
from splinelens.report.roles import (
    Argument,
    Part,
    PredicateRoles,
    SentenceRoles,
    TargetReport,
    count_targets,
)
from splinelens.texts import Texts
from splinelens.texts.agents import Actors, actors, predicates
from splinelens.texts.parse import MOST_CHARACTERS, Tree, load_parser, parse, quotations
from splinelens.texts.stop_words import stop_words

if TYPE_CHECKING:
    from spacy.language import Language

GROUPS: dict[str, tuple[str, ...]] = {
    "women": ("woman", "women", "girl", "girls", "lady", "ladies"),
    "men": ("man", "men", "boy", "boys", "guys"),
    "immigrants": ("immigrant", "immigrants", "migrant", "migrants", "refugee", "refugees", "foreigners"),
    "muslims": ("muslim", "muslims", "islamic"),
    "jews": ("jew", "jews", "jewish"),
    "christians": ("christian", "christians", "catholic", "catholics"),
    "black people": ("black people", "black man", "black woman", "black men", "black women", "africans"),
    "white people": ("white people", "white man", "white woman", "white men", "white women"),
    "asian people": ("asian", "asians", "chinese", "indians"),
    "latino people": ("latino", "latinos", "latina", "hispanics", "mexicans"),
    "gay and lesbian people": ("gay", "gays", "lesbian", "lesbians", "gay people", "bisexual"),
    "trans people": ("trans", "transgender", "trans people", "trans women", "trans men"),
    "disabled people": ("disabled", "disabled people", "the blind", "the deaf", "autistic"),
    "old people": ("elderly", "old people", "pensioners", "boomers"),
    "young people": ("children", "kids", "teenagers", "students"),
}
"""Neutral words of some groups; a file of your own replaces them."""

MOST_WORDS = 600
"""A longer sentence gets no roles: both readings of it would not fit into one window."""

_WINDOW = 2048
_LEAST_WORDS, _LEAST_FUNCTION_WORDS = 6, 0.08  # below, a sentence is perhaps not English
_BATCH = 64


class RoleFinder:
    """Finds agents and targets.

    Example:
        >>> finder = RoleFinder.load()  # doctest: +SKIP
        >>> [found] = finder.find(["The coach told the referee that he would regret it."])  # doctest: +SKIP
        >>> found[0].agent.text, found[0].target.text, found[0].said.text  # doctest: +SKIP
        ('The coach', 'the referee', 'that he would regret it')
    """

    def __init__(self, parser: "Language", head: RoleHead, reader: TextReader):
        """Bind a parser, a head and a reader of the layers of the head."""
        self.parser = parser
        self.head = head
        self.reader = reader

    @classmethod
    def load(
        cls,
        parser: str | None = None,
        *,
        model: LoadedModel | str | PathLike[str] | None = None,
        device: str | None = None,
    ) -> "RoleFinder":
        """The shipped head, its model and a parser.

        Args:
            parser: An English pipeline of spaCy; None takes one that is installed.
            model: The head's model, if it lies elsewhere.
            device: Such as ``cpu``.

        Raises:
            MissingPackage: spaCy or a pipeline is not installed.
            BadModel: The parser or the model cannot be used.
            WrongModel: The model is not the one that the head was fitted with.
        """
        pipeline = load_parser(parser)
        head = RoleHead.load(Path(str(files("splinelens"))) / "detectors" / "roles")
        spec = FeatureSpec(
            features=("margins",), pooling=("last",), layers=tuple(head.record["layers"]), max_tokens=_WINDOW
        )
        loaded = load_up_to(head.record["model"] if model is None else model, spec.layers, device=device)
        try:
            reader = TextReader(loaded, spec)
        except BadFeatures as error:
            raise WrongModel(f"{_needs(head)}: {error}; leave the model out") from error
        if reader.layout.width != len(head.mean):
            raise WrongModel(f"{_needs(head)}, and this model has {reader.layout.width}; leave the model out")
        return cls(pipeline, head, reader)

    def find(
        self,
        texts: Texts | Iterable[str | None],
        *,
        detector: Detector | None = None,
        fpr: float = 0.05,
        only_flagged: bool = True,
        progress: Progress | None = None,
    ) -> Iterator[tuple[SentenceRoles, ...]]:
        """The sentences of each text, in order.

        Args:
            texts: The texts; an empty or missing one has no sentences.
            detector: Scores each sentence by itself; None takes all sentences.
            fpr: Whose stored threshold flags a sentence.
            only_flagged: Whether roles are found only for flagged sentences; the others have none then.
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
            yield from self._found(chunk, start, detector, fpr, only_flagged)
            if progress is not None:
                progress(len(chunk), sum(len(text or "") for text in chunk))

    def targets(
        self,
        texts: Texts | Iterable[str | None],
        detector: Detector,
        *,
        groups: Mapping[str, Sequence[str]] | None = None,
        fpr: float = 0.05,
        progress: Progress | None = None,
    ) -> TargetReport:
        """Which groups are the targets of flagged sentences.

        Args:
            texts: The texts.
            detector: Flags sentences.
            groups: The words of each group; None takes ``GROUPS``.
            fpr: Whose threshold flags.
            progress: As in ``find``.
        """
        source = Texts.of(texts)
        records: list[SentenceRoles] = []
        unread: Counter[str] = Counter()
        found = self.find(source, detector=detector, fpr=fpr, progress=progress)
        for text, sentences in zip(source.texts, found, strict=True):
            records += sentences
            if not sentences:
                unread[_why_unread(text)] += 1
        settings = {"detector": detector.artifact.name, "fpr": fpr, "parser": self.parser_name}
        return count_targets(records, source.texts, GROUPS if groups is None else groups, unread, settings)

    @property
    def parser_name(self) -> str:
        """Name and version of the pipeline."""
        meta = self.parser.meta
        return f"{meta['lang']}_{meta['name']} {meta['version']}"

    def _found(
        self,
        texts: Sequence[str | None],
        start: int,
        detector: Detector | None,
        fpr: float,
        only_flagged: bool,
    ) -> list[tuple[SentenceRoles, ...]]:
        """The records of a chunk."""
        trees = [_trees(self.parser, text) for text in texts]
        flat = [(row, tree) for row, of_text in enumerate(trees) for tree in of_text]
        scores = self._scores([_sentence(tree) for _, tree in flat], detector, fpr)
        wanted = [not only_flagged or flagged is not False for _, flagged in scores]
        roles = iter(self._roles([tree for (_, tree), read in zip(flat, wanted, strict=True) if read]))
        records: list[list[SentenceRoles]] = [[] for _ in texts]
        kept: list[list[tuple[Tree, Actors | None]]] = [[] for _ in texts]
        for (row, tree), (score, flagged), read in zip(flat, scores, wanted, strict=True):
            begin, end = tree.spans[0][0], tree.spans[-1][1]
            if not read:
                record = SentenceRoles(start + row, begin, end, None, None, None, None)
                kept[row].append((tree, None))
            else:
                found = next(roles)
                who = actors(tree, {verb: dict(_labels(each)) for verb, each in found.items()})
                record = _record(start + row, tree, who, found)
                kept[row].append((tree, who))
            records[row].append(replace(record, score=score, flagged=flagged))
        return [
            _with_speakers(of_text, text or "", pairs)
            for of_text, text, pairs in zip(records, texts, kept, strict=True)
        ]

    def _scores(
        self, sentences: list[str], detector: Detector | None, fpr: float
    ) -> list[tuple[float | None, bool | None]]:
        if detector is None or not sentences:
            return [(None, None)] * len(sentences)
        negative = detector.artifact.negative
        found = detector.score(sentences, fpr=fpr)
        return [
            (each.score, None if each.score is None else each.verdict not in (negative, "undetermined"))
            for each in found
        ]

    def _roles(self, trees: list[Tree]) -> list[dict[int, list[tuple[int, str, float]]]]:
        """Of each tree the arguments of each verb: word, role and chance."""
        texts, at = [], []
        for tree in trees:
            if len(tree) > MOST_WORDS:
                continue
            sentence, begin = _sentence(tree), tree.spans[0][0]
            skip = len(sentence) + 1 - begin
            texts.append(f"{sentence}\n{sentence}")
            at.append([(first + skip, last + skip) for first, last in tree.spans])
        rows = iter(self.reader.read_at(texts, at))
        return [
            self._roles_of(tree, [next(rows) for _ in tree.spans] if len(tree) <= MOST_WORDS else [])
            for tree in trees
        ]

    def _roles_of(
        self, tree: Tree, features: Sequence[TextFeatures]
    ) -> dict[int, list[tuple[int, str, float]]]:
        verbs = predicates(tree)
        found: dict[int, list[tuple[int, str, float]]] = {verb: [] for verb in verbs}
        pairs = [(verb, word) for verb in verbs for word in candidates(tree, verb)]
        if not pairs or not features or any(each.reason for each in features):
            return found
        margins = np.stack([each.values for each in features])
        buckets = len(self.head.hashed)
        clues = np.array([hashed(tree_clues(tree, verb, word), buckets) for verb, word in pairs])
        numbers = np.array(pairs)
        chance, role = self.head.scores(margins, Pairs(numbers[:, 0], numbers[:, 1], clues))
        names = np.array(self.head.labels, dtype=object)[role.argmax(axis=1)]
        for (verb, word), name, probability in zip(pairs, names, chance, strict=True):
            if probability >= self.head.record["threshold"]:
                found[verb].append((word, str(name), float(probability)))
        return found


def read_groups(path: Path) -> dict[str, tuple[str, ...]]:
    """Groups of a file: one a line, ``name: word, word, two words``; a line without a colon is its own word.

    Raises:
        BadTexts: The file cannot be read or is empty, or a line names no word or a group twice.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadTexts(
            f"groups {path} cannot be read: {error}; give lines such as 'women: woman, women'"
        ) from error
    groups: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, colon, rest = (part.strip() for part in line.partition(":"))
        terms = tuple(
            " ".join(term.lower().split()) for term in (rest if colon else name).split(",") if term.strip()
        )
        if not name or not terms or name in groups:
            raise BadTexts(
                f"line {number} of {path} names {'a group twice' if name in groups else 'no word'}; "
                "write lines such as 'women: woman, women'"
            )
        groups[name] = terms
    if not groups:
        raise BadTexts(f"{path} has no groups; write lines such as 'women: woman, women'")
    return groups


def _needs(head: RoleHead) -> str:
    return f"the role head reads {len(head.mean)} margins of {head.record['model']}"


def _why_unread(text: str | None) -> str:
    if text is None:
        return "missing"
    return f"of more than {MOST_CHARACTERS:,} characters" if len(text) > MOST_CHARACTERS else "without a word"


def _trees(parser: "Language", text: str | None) -> list[Tree]:
    return [] if text is None or not text.strip() or len(text) > MOST_CHARACTERS else parse(parser, text)


def _sentence(tree: Tree) -> str:
    return tree.text[tree.spans[0][0] : tree.spans[-1][1]]


def _labels(found: list[tuple[int, str, float]]) -> Iterator[tuple[int, str]]:
    return ((word, role) for word, role, _ in found)


def _part(tree: Tree, bounds: tuple[int, int] | None) -> Part | None:
    return None if bounds is None else Part(*bounds, tree.text[slice(*bounds)])


def _record(
    row: int, tree: Tree, who: Actors, found: dict[int, list[tuple[int, str, float]]]
) -> SentenceRoles:
    notes = []
    if who.said is None:
        notes.append("no verb")
    if len(tree) > MOST_WORDS:
        notes.append(f"more than {MOST_WORDS} words: roles by the tree only")
    if not _is_english(tree):
        notes.append("perhaps not English: the parser and the roles know only English")
    kind = None
    if who.target is None:
        kind = "reader" if who.is_order else None
    elif who.target_head is not None:
        kind = "pronoun" if tree.tags[who.target_head] == "PRON" else "noun"
    listed = tuple(
        PredicateRoles(
            *tree.spans[verb],
            tree.words[verb],
            tuple(
                Argument(role, *tree.spans[word], tree.words[word], round(chance, 3))
                for word, role, chance in arguments
            ),
        )
        for verb, arguments in found.items()
    )
    return SentenceRoles(
        row,
        tree.spans[0][0],
        tree.spans[-1][1],
        agent=_part(tree, who.agent),
        target=_part(tree, who.target),
        said=_part(tree, who.said),
        target_kind=kind,
        predicates=listed,
        notes=tuple(notes),
    )


def _is_english(tree: Tree) -> bool:
    words = [word.lower() for word in tree.words if any(character.isalpha() for character in word)]
    if any(ord(character) > 0x24F and character.isalpha() for word in words for character in word):
        return False
    known = sum(word in stop_words() for word in words)
    return len(words) < _LEAST_WORDS or known / len(words) >= _LEAST_FUNCTION_WORDS


def _with_speakers(
    records: list[SentenceRoles], text: str, pairs: list[tuple[Tree, Actors | None]]
) -> tuple[SentenceRoles, ...]:
    """A sentence within a quotation of several has the agent of the sentence that names the speaker."""
    result = list(records)
    for begin, end in quotations(text):
        inside = [at for at, one in enumerate(records) if begin <= one.begin + 1 and one.end <= end + 1]
        naming = [
            at
            for at, one in enumerate(records)
            if at not in inside and ((one.begin < end and begin < one.end) or _introduces(text, one, begin))
        ]
        speakers = [part for at in naming if (part := result[at].agent) and not begin <= part.begin < end]
        if speakers:
            for at in inside:
                result[at] = replace(result[at], agent=speakers[0])
    return tuple(result)


def _introduces(text: str, sentence: SentenceRoles, begin: int) -> bool:
    """Whether a sentence ends in a colon or comma before a quotation."""
    between = text[sentence.end - 1 : begin]
    return sentence.end <= begin and between.strip(' "\u201c\u201e\n') in (":", ",")
