"""Who threatens or insults whom in a sentence, and what is said: from its tree and its arguments' roles.

The rules follow how English puts threats and insults: as an act (``I will sue them``), as what someone says,
hopes or plans (``he said they would pay``), as a claim (``they are fools``), or as an order (``get out``).
"""

from collections.abc import Mapping
from dataclasses import dataclass

from splinelens.texts.parse import Tree

Roles = Mapping[int, Mapping[int, str]]
"""For each predicate of a tree its argument heads, and the role of each, such as ``ARG0``."""

Bounds = tuple[int, int]

_SPEECH = frozenset(
    "accuse add admit announce answer argue ask assure bark claim comment complain declare explain grumble "
    "hiss insist joke mention mumble mutter note notify post promise reply remark repeat report scream shout "
    "snap sneer state swear tell threaten tweet vow warn whisper write yell say".split()
)
_HEARER_FIRST = frozenset("threaten warn".split())
_HIDDEN_SUBJECT = frozenset(
    "aim attempt decide desire expect hope intend let make manage need plan pray promise refuse start "
    "threaten try vow want wish deserve have force get mean".split()
)
_CAUSE = frozenset("make let force have get".split())
_THINGS = frozenset(
    "it this that these those everything nothing anything something what which itself all".split()
)
_PERSONAL = frozenset("i me you he him she her we us they them".split())
_TARGET_CASES = frozenset("at on against to of with for about after by".split())
_CUT = frozenset(
    "acl acl:relcl advcl appos aux cc conj cop csubj dep discourse expl nsubj parataxis punct".split()
)
_EDGES = frozenset("case mark punct cc".split())
_STATES = frozenset(["deserve"])
_RELATIVE = frozenset("who that which".split())
_DEEPEST = 4  # clauses within clauses that are followed
_COMMAND_TAGS = ("VB", "VBP")


@dataclass(frozen=True)
class Actors:
    """Who does what to whom in one sentence.

    Attributes:
        agent: Characters of the one who threatens, insults or acts; None if nobody is named, as in an insult
            that the writer makes.
        target: Characters of the one who is meant; None if nobody is named, as in an order.
        said: Characters of what is said, threatened or claimed; None without a predicate.
        target_head: Index of the head word of the target; None without one.
        is_order: Whether it is an order, whose target is who reads it.
    """

    agent: Bounds | None
    target: Bounds | None
    said: Bounds | None
    target_head: int | None
    is_order: bool


def predicates(tree: Tree) -> list[int]:
    """The verbs of a sentence that are no auxiliaries of another verb, in order; copulas are verbs."""
    return [
        word
        for word, tag in enumerate(tree.tags)
        if tag in ("VERB", "AUX")
        and tree.fine_tags[word] != "MD"
        and not tree.relations[word].startswith("aux")
    ]


def actors(tree: Tree, roles: Roles) -> Actors:
    """The agent, the target and what is said.

    Args:
        tree: The sentence.
        roles: Of each predicate, as ``predicates`` gives them.
    """
    main = _main(tree)
    if main is None:
        return _without_verb(tree)
    agent, target, said, is_order = _of_clause(tree, roles, main)
    reporter = _reporter(tree)
    if reporter is not None and (agent is None or tree.lemmas[agent] not in _PERSONAL):
        agent = reporter
    if agent is not None and agent == target:
        agent = None
    return Actors(
        None if agent is None else _phrase(tree, agent),
        None if target is None else _phrase(tree, target),
        said if said is not None else _predicate_phrase(tree, main, {agent, target}),
        target,
        is_order,
    )


def _of_clause(
    tree: Tree, roles: Roles, verb: int, depth: int = 0
) -> tuple[int | None, int | None, Bounds | None, bool]:
    """Agent, target, what is said, and whether it is an order, of the clause of a verb."""
    top = _top(tree, verb)
    lemma = tree.lemmas[verb]
    cleft = _cleft(tree, verb) if depth < _DEEPEST else None
    if cleft is not None:
        return _of_clause(tree, roles, cleft, depth + 1)
    agent, subject = _agent(tree, roles, verb), _subject(tree, verb)
    inner = _inner(tree, verb) if depth < _DEEPEST else None
    patient = _patient(tree, roles, verb, inner)
    if top != verb:  # a copula: what is claimed of the subject
        patient, agent = subject, None
    passive = tree.is_passive(verb)
    order = (
        subject is None and tree.fine_tags[verb] in _COMMAND_TAGS and not tree.of(verb, "mark") and not depth
    )
    order = order and not any(tree.lemmas[child] == "to" for child in tree.of(verb, "aux"))
    threat = _threat_after(tree, verb) if order else None
    if threat is not None:
        return _of_clause(tree, roles, threat, depth + 1)
    if order:
        name = _vocative(tree, verb)
        return None, name if name is not None else _meant(tree, patient), None, True
    if inner is not None and (lemma in _SPEECH or lemma in _HIDDEN_SUBJECT or _is_clause(tree, inner)):
        _, wanted, _, ordered = _of_clause(tree, roles, inner, depth + 1)
        inner_subject = _subject(tree, inner)
        said = _span(tree, tree.below(_top(tree, inner)))
        speaker = agent if agent is not None else None if passive else subject
        named = _meant(tree, patient)
        if lemma in _SPEECH:
            is_named = wanted is not None and tree.tags[wanted] != "PRON"
            target = named if named is not None and (lemma in _HEARER_FIRST or not is_named) else wanted
            return speaker, target if target is not None else named, said, ordered
        if lemma in _CAUSE:
            target = inner_subject if inner_subject is not None else named
            return speaker, target if target is not None else wanted, None, False
        if inner_subject is None and named is not None:
            return speaker, named, None, False
        if inner_subject is None and tree.is_passive(inner) and subject is not None:
            return _agent(tree, roles, inner), subject, None, False
        if speaker is not None and wanted is not None and wanted != speaker:
            inner_agent = _agent(tree, roles, inner)
            own = inner_agent is not None and inner_agent not in (wanted, speaker)
            weather = tree.lemmas[speaker] in _THINGS
            return inner_agent if own and weather else speaker, wanted, None, False
    patient = _meant(tree, patient)
    if passive:
        return agent, subject if subject is not None else patient, None, False
    if lemma in _STATES:
        return None, _meant(tree, subject), None, False
    agent = agent if agent is not None else subject if patient is not None and patient != subject else None
    condition = _condition(tree, verb)
    if condition is not None and agent is not None and tree.lemmas[agent] in ("i", "we"):
        return agent, condition, None, False
    if patient is None:
        return None, _meant(tree, subject), None, False
    return agent, patient, None, False


def _main(tree: Tree) -> int | None:
    """The verb of the root, or of the highest clause with one."""
    verbs = predicates(tree)
    if not verbs:
        return None
    depth = {verb: sum(1 for _ in tree.ancestors(_top(tree, verb))) for verb in verbs}
    lowest = min(depth.values())
    highest = [verb for verb in verbs if depth[verb] == lowest]
    if tree.relations[_top(tree, highest[0])] in ("acl", "acl:relcl", "advcl"):  # "the fool who came"
        return None
    return highest[0]


def _top(tree: Tree, verb: int) -> int:
    """The head of a verb's clause: of a copula what it links."""
    return tree.heads[verb] if tree.relations[verb] == "cop" else verb


def _subject(tree: Tree, verb: int) -> int | None:
    """The subject of a verb, also of one that a clause depends on that shares it."""
    top = _top(tree, verb)
    found = tree.of(top, "nsubj", "csubj")
    relative = tree.relations[top] == "acl:relcl"
    if found:
        return tree.heads[top] if relative and tree.lemmas[found[0]] in _RELATIVE else found[0]
    if tree.relations[top] == "conj" and tree.heads[top] >= 0:
        return _subject(tree, tree.heads[top])
    if relative or tree.relations[top] == "acl":
        return tree.heads[top]
    return None


def _agent(tree: Tree, roles: Roles, verb: int) -> int | None:
    """The argument with the role of an agent, or the one after ``by``."""
    by = tree.of(_top(tree, verb), "obl:agent")
    if by:
        return by[0]
    if tree.is_passive(verb):
        below = [
            word for word in tree.below(verb) if word > verb and tree.tags[word] in ("NOUN", "PROPN", "PRON")
        ]
        return next(
            (word for word in below if any(tree.lemmas[case] == "by" for case in tree.of(word, "case"))), None
        )
    subject = _subject(tree, verb)
    named = [word for word, role in roles.get(verb, {}).items() if role == "ARG0"]
    if subject is not None and subject in named:
        return subject
    own = [
        word
        for word in named
        if word in tree.children[_top(tree, verb)] and tree.relations[word] != "vocative"
    ]
    return own[0] if own else None


def _patient(tree: Tree, roles: Roles, verb: int, inner: int | None) -> int | None:
    """The argument that something is done or said to; recipients and objects before others."""
    top, arguments = _top(tree, verb), roles.get(verb, {})
    skip = set() if inner is None else {_top(tree, inner)}
    for relations in (("iobj",), ("nsubj:pass",), ("obj",)):
        for word in tree.children[top]:
            if tree.relations[word] in relations and word not in skip and _meant(tree, word) is not None:
                return word
    cased = [
        word
        for word in tree.of(top, "obl")
        if tree.relations[word] != "obl:agent"
        and any(tree.lemmas[case] in _TARGET_CASES for case in tree.of(word, "case"))
        and _meant(tree, word) is not None
    ]
    for wanted in ("ARG2", "ARG1"):
        for word in cased:
            if arguments.get(word) == wanted:
                return word
    for word in cased:
        if any(tree.lemmas[case] in ("at", "against") for case in tree.of(word, "case")):
            return word
    for word, role in arguments.items():
        is_here = word in tree.children[top] and word not in skip and word != _subject(tree, verb)
        if role in ("ARG1", "ARG2") and is_here and _meant(tree, word) is not None:
            return word
    return None


def _meant(tree: Tree, word: int | None) -> int | None:
    """A word that may be somebody: a noun or a pronoun of persons."""
    if word is None or tree.tags[word] not in ("NOUN", "PROPN", "PRON", "DET", "ADJ", "NUM"):
        return None
    return None if tree.lemmas[word] in _THINGS or tree.words[word].lower() in _THINGS else word


def _inner(tree: Tree, verb: int) -> int | None:
    """The verb of the clause that is said, hoped or planned."""
    top = _top(tree, verb)
    verbs = set(predicates(tree))
    for child in tree.children[top]:
        if tree.relations[child] not in ("ccomp", "xcomp", "parataxis", "csubj"):
            continue
        if tree.relations[child] == "parataxis" and tree.lemmas[verb] not in _SPEECH:
            continue
        linked = [each for each in tree.of(child, "cop") if each in verbs]
        if child in verbs or linked:
            return linked[0] if linked else child
    return None


def _is_clause(tree: Tree, inner: int) -> bool:
    return tree.relations[_top(tree, inner)] in ("ccomp", "xcomp")


def _cleft(tree: Tree, verb: int) -> int | None:
    """The verb of ``it was the cook who lied`` and ``it is time that he left``."""
    top = _top(tree, verb)
    subject = tree.of(top, "nsubj")
    if top == verb or not subject or tree.lemmas[subject[0]] != "it":
        return None
    verbs = predicates(tree)
    return next((clause for clause in tree.of(top, "acl:relcl") if clause in verbs), None)


def _threat_after(tree: Tree, verb: int) -> int | None:
    """The verb of ``go or I will call him``: a clause with a subject after an order."""
    verbs = predicates(tree)
    return next(
        (clause for clause in tree.of(verb, "conj") if clause in verbs and tree.of(clause, "nsubj")), None
    )


def _condition(tree: Tree, verb: int) -> int | None:
    """The ``you`` of ``if you ...``."""
    for clause in tree.of(_top(tree, verb), "advcl"):
        subject = tree.of(clause, "nsubj")
        if (
            subject
            and tree.lemmas[subject[0]] == "you"
            and any(tree.lemmas[mark] in ("if", "unless") for mark in tree.of(clause, "mark"))
        ):
            return subject[0]
    return None


def _vocative(tree: Tree, verb: int) -> int | None:
    """The name that an order ends in or begins with, set off by a comma."""
    words = tree.words
    last = len(words) - 1
    while last >= 0 and tree.tags[last] == "PUNCT":
        last -= 1
    if last > 0 and words[last - 1] == "," and tree.tags[last] in ("PROPN", "NOUN", "PRON"):
        return last
    if len(words) > 1 and words[1] == "," and tree.tags[0] == "PROPN" and verb > 1:
        return 0
    return next(iter(tree.of(verb, "vocative")), None)


def _reporter(tree: Tree) -> int | None:
    """Whom ``according to`` names."""
    for word in range(len(tree)):
        if any(tree.words[case].lower() == "according" for case in tree.of(word, "case")):
            return word
        if tree.words[word].lower() == "according":
            named = [
                child
                for child in tree.below(word)
                if child != word and tree.tags[child] in ("NOUN", "PROPN", "PRON")
            ]
            if named:
                return named[0]
    return None


def _without_verb(tree: Tree) -> Actors:
    """Of ``what a fool``: the noun that the sentence is."""
    roots = [word for word, head in enumerate(tree.heads) if head < 0]
    meant = _meant(tree, roots[0]) if roots else None
    span = None if meant is None else _phrase(tree, meant)
    return Actors(None, span, None, meant, False)


def _phrase(tree: Tree, head: int) -> Bounds:
    """The words below a head next to it, without clauses about it and the words that link it."""
    kept = set(tree.below(head, without=_CUT | _EDGES))
    coordinated = [child for child in tree.children[head] if tree.relations[child] == "conj"]
    for child in coordinated:
        if tree.tags[child] in ("NOUN", "PROPN", "PRON"):
            kept |= set(tree.below(child, without=_CUT)) | set(range(head + 1, child))
    first = last = head
    while first - 1 in kept and tree.lemmas[first - 1] not in ("what", "such"):
        first -= 1
    while last + 1 in kept:
        last += 1
    return _trimmed(tree, first, last)


def _span(tree: Tree, words: list[int]) -> Bounds:
    """From the first to the last of some words, without punctuation at the ends."""
    return _trimmed(tree, words[0], words[-1])


def _trimmed(tree: Tree, first: int, last: int) -> Bounds:
    while first < last and tree.tags[first] == "PUNCT":
        first += 1
    while last > first and tree.tags[last] == "PUNCT":
        last -= 1
    return tree.spans[first][0], tree.spans[last][1]


def _predicate_phrase(tree: Tree, verb: int, without: set[int | None]) -> Bounds:
    """The verb with its auxiliaries up to the end of its clause."""
    top = _top(tree, verb)
    below = set(tree.below(top))
    first = min([verb, top, *tree.of(top, "aux")])
    named = tree.of(top, "nsubj", "csubj")
    if named and named[0] < verb:
        first = max(first, max(tree.below(named[0])) + 1) if first < verb and named[0] > first else first
    last = max(each for each in below if each >= first)
    return _trimmed(tree, first, last)
