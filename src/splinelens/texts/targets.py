"""Who threatens or insults whom in a sentence, and what is said: from its tree and its arguments' roles.

The rules follow how English puts threats and insults: as an act (``I will sue them``), as what someone says,
hopes or plans (``he said they would pay``), as a claim (``they are fools``), or as an order (``get out``).
Each construction has a function; the first that fits the verb of a clause is taken. Word lists hold common
verbs of a construction, after the classes of Levin, English Verb Classes and Alternations, 1993.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from splinelens.texts.parse import Tree

Roles = Mapping[int, Mapping[int, str]]
"""For each predicate of a tree its argument heads, and the role of each, such as ``ARG0``."""

Bounds = tuple[int, int]


def _words(line: str) -> frozenset[str]:
    return frozenset(line.split())


_SPEECH = _words(
    "accuse add admit announce answer argue ask assure bark bawl bellow claim comment complain croak cry "
    "declare explain groan growl grumble grunt hiss howl insist joke mention moan mumble murmur mutter "
    "note notify order post promise read remark repeat reply report roar say scream shout shriek snap "
    "snarl sneer state swear tell threaten thunder tweet vow wail warn whine whisper write yell"
)
_HEARER_FIRST = _words("order threaten warn")
_CAUSE = _words("drive force get have keep leave let make send")
_SEE = _words("find hear like love need prefer see want watch")
_HARM = _words(
    "abuse arrest attack ban beat bite blackmail block break bully burn chase choke crush curse cut "
    "despise destroy drown embarrass evict expel fight fire harass hate hit humiliate hunt hurt insult "
    "kick kill mock punch punish report ridicule rob ruin sack scare scratch shame shoot slap smash stab "
    "strangle sue swear threaten torture trample whip"
)
_ATTITUDES = _words("despise hate")
_UNDERGO = _words("deserve face forfeit have lack lose miss need suffer")
_PSYCH = _words("annoy appall bore bother disgust enrage irritate offend repulse sicken")
_FEELING = _words(
    "afraid angry annoyed ashamed better bored cruel disappointed disgusted done fed finished furious "
    "hostile jealous mad mean nasty rude scared sick tired unfair unkind"
)
_MISSILE = _words(
    "aim bark cast chuck direct fire fling hurl launch lob point scream shake shoot shout sling spew spit "
    "throw toss wave yell"
)
_LIGHT = _words(
    "bring call declare do feel file have hold keep lay make open pick play press put seek set show "
    "spread start take turn wage"
)
_TRANSFER = _words(
    "do explain give hand lend loan mail mean offer owe pass pay post say sell send show teach text tweet "
    "write"
)
_TALK = _words(
    "accusation comment complaint curse gossip insult joke letter lie message nonsense note review rumor "
    "rumour slur story stuff thing threat word"
)
_BY_PREPOSITION: dict[str, frozenset[str] | None] = {  # None: any verb
    "at": None,
    "against": None,
    "about": None,
    "upon": None,
    "on": _words(
        "cheat crap dump gang hang hate jump look pee pick prey rat snitch spit spy step stomp tell trample "
        "tread turn walk"
    ),
    "after": _words("come go run chase look"),
    "for": _words("ask come feel go gun hunt look search vote wait"),
    "to": _words("do get happen lie listen object say speak talk write"),
    "with": _words("argue break cheat deal do fight finish flirt live mess play quarrel sleep trifle"),
    "of": _words("complain dispose dream speak talk think tire"),
    "from": _words("hide keep rob run stay steal"),
    "over": _words("run walk"),
}
_ROLE_CASES = _words("at against about after for of to with")  # not "on your soup", "into a ditch"
_RECIPIENT = ("to", "at")
_LIGHT_CASES = ("against", "on", "upon", "of", "at", "with", "about", "for", "to")
_FEELING_CASES = ("of", "with", "at", "by", "about", "to", "than")
_TIMES = _words(
    "afternoon day end evening first friday hour last least minute moment monday month morning night noon "
    "once saturday sunday thursday time today tomorrow tonight tuesday wednesday week year yesterday"
)
_THINGS = _words("all anything everything it itself nothing something that there these this those what which")
_NOBODY = _words("no no-one nobody none nothing")
_INDEFINITE = _words("anybody anyone everybody everyone i nobody somebody someone we")
_SELF = _words("herself himself itself myself ourselves themselves yourself yourselves")
_PERSONAL = _words("he her him i me she them they us we you")
_PLURAL = _words("he she they")
_CUT = _words("acl acl:relcl advcl appos aux cc conj cop csubj dep discourse expl nsubj parataxis punct")
_EDGES = _words("case cc mark punct")
_RELATIVE = _words("that which who")
_CRIES = _words("boo curse death down enough hell mercy shame woe")
_CRY_CASES = ("on", "with", "to", "of", "for")
_NOMINAL = ("NOUN", "PROPN", "PRON")
_DEEPEST = 4  # clauses within clauses that are followed
_COMMAND_TAGS = ("VB", "VBP")


@dataclass(frozen=True)
class AgentAndTarget:
    """Who does what to whom in one sentence.

    Attributes:
        agent: Characters of the one who threatens, insults or acts; None if nobody is named, as in an insult
            that the writer makes.
        target: Characters of the one who is meant; None if nobody is named, as in an order.
        said: Characters of what is said, threatened or claimed; None without a predicate.
        agent_head: Index of the head word of the agent; None without one.
        target_head: Likewise of the target.
        is_order: Whether it is an order, whose target is who reads it.
    """

    agent: Bounds | None = None
    target: Bounds | None = None
    said: Bounds | None = None
    agent_head: int | None = None
    target_head: int | None = None
    is_order: bool = False


@dataclass(frozen=True)
class _Clause:
    """The head words of agent and target of one clause, and what is said in it if that is another clause."""

    agent: int | None = None
    target: int | None = None
    said: Bounds | None = None
    is_order: bool = False


def predicates(tree: Tree) -> list[int]:
    """The verbs of a sentence that are no auxiliaries of another verb, in order; copulas are verbs."""
    return [
        word
        for word, tag in enumerate(tree.tags)
        if tag in ("VERB", "AUX")
        and tree.fine_tags[word] != "MD"
        and not tree.relations[word].startswith("aux")
    ]


def agent_and_target(tree: Tree, roles: Roles | None = None) -> AgentAndTarget:
    """The agent, the target and what is said.

    Args:
        tree: The sentence.
        roles: Of each predicate, as ``predicates`` gives them.
    """
    main = _main(tree)
    if main is None:
        head = _without_verb(tree)
        return AgentAndTarget(target=None if head is None else _phrase(tree, head), target_head=head)
    clause = _best(tree, roles or {}, main)
    agent, target = clause.agent, clause.target
    reporter = _reporter(tree)
    if reporter is not None and (agent is None or tree.lemmas[agent] not in _PERSONAL):
        agent = reporter
    if agent is not None and target is not None:
        same = tree.words[agent].lower() == tree.words[target].lower() and tree.lemmas[agent] in ("i", "you")
        agent = None if agent == target or same else agent
    said = clause.said
    return AgentAndTarget(
        None if agent is None else _phrase(tree, agent),
        None if target is None else _phrase(tree, target),
        said if said is not None else _predicate_phrase(tree, main),
        agent,
        target,
        clause.is_order,
    )


def _best(tree: Tree, roles: Roles, main: int) -> _Clause:
    """The clause of the main verb; where it has no target the first other one that has."""
    clause = _of_clause(tree, roles, main)
    if clause.target is not None or clause.is_order:
        return clause
    for top in tree.dependents(_top(tree, main), "conj", "parataxis", "ccomp", "advcl", "csubj"):
        verb = _verb_of(tree, top)
        if verb is not None and verb != main:
            other = _of_clause(tree, roles, verb, 1)
            if other.target is not None:
                return other
    return clause


def _of_clause(tree: Tree, roles: Roles, verb: int, depth: int = 0) -> _Clause:
    """What the first construction that fits a verb says."""
    for construction in _CONSTRUCTIONS if depth < _DEEPEST else ():
        clause = construction(tree, roles, verb, depth)
        if clause is not None:
            return clause
    return _act(tree, roles, verb)


def _clefted(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """A cleft: ``it was the cook who lied``, ``it is time that someone fired him``."""
    top = _top(tree, verb)
    subject = tree.dependents(top, "nsubj")
    if top == verb or not subject or tree.lemmas[subject[0]] != "it":
        return None
    clauses = [_verb_of(tree, each) for each in tree.dependents(top, "acl:relcl")]
    inner = next((each for each in clauses if each is not None), None)
    return None if inner is None else _of_clause(tree, roles, inner, depth + 1)


def _existence(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """What there is: ``there is no worse liar than the mayor``, ``here comes the liar``."""
    place = (
        verb > 0
        and tree.words[verb - 1].lower() in ("there", "here")
        and _lemma(tree, verb) in ("go", "come")
    )
    if not place and not tree.dependents(verb, "expl"):
        return None
    named = [word for word in tree.dependents(verb, "nsubj", "xcomp", "obj") if tree.tags[word] in _NOMINAL]
    destined = (_cased(tree, word, ("for",)) for word in (verb, *named))  # "there is hell for liars"
    meant = (_compared(tree), *destined, *(_meant(tree, word) for word in named))
    return _Clause(target=next((word for word in meant if word is not None), None))


def _comparison(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """A comparison with nobody: ``nobody is lazier than the cook``."""
    subject = _subject(tree, verb)
    if subject is None or tree.lemmas[subject] not in _NOBODY:
        return None
    compared = _compared(tree)
    return None if compared is None else _Clause(target=compared)


def _order(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """An order: ``get out, Tom``, ``never trust the cook``, ``go or I will call him``."""
    if depth or tree.fine_tags[verb] not in _COMMAND_TAGS or tree.dependents(verb, "mark"):
        return None
    if any(
        tree.lemmas[child] == "to" or (tree.tags[child] == "AUX" and tree.fine_tags[child] == "MD")
        for child in tree.dependents(verb, "aux")
    ):
        return None
    subject = _own_subject(tree, verb)
    warned = _warned(tree, verb, subject)
    if warned:
        return _Clause(target=subject, is_order=True)
    called = _called(tree, verb, subject)
    if subject is not None and called != subject:
        return None
    after = (
        tree.dependents(verb, "conj", "advcl")
        if _lemma(tree, verb) == "wait"
        else tree.dependents(verb, "conj")
    )
    threat = next((each for each in after if tree.dependents(each, "nsubj")), None)
    threat_verb = None if threat is None else _verb_of(tree, threat)
    if threat_verb is not None:
        return _of_clause(tree, roles, threat_verb, depth + 1)
    if called is not None:
        return _Clause(target=called, is_order=True)
    return _ordered(tree, roles, verb, depth)


def _ordered(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause:
    """The target of an order that calls nobody: whom it is about, unless that is who reads or wrote it."""
    patient = _patient(tree, roles, verb)
    if patient is not None:
        return _Clause(target=None if _is_readers(tree, patient) else patient, is_order=True)
    small = _small_clause(tree, verb)
    inner = _inner(tree, verb)
    if small is not None:
        if tree.lemmas[small] in ("i", "we") and inner is not None:
            clause = _of_clause(tree, roles, inner, depth + 1)
            agent = None if tree.words[small].lower() in ("'s", "\u2019s") else small
            return _Clause(agent, clause.target, is_order=clause.target is None)
        return _Clause(target=_meant(tree, small), is_order=True)
    if inner is not None:
        wanted = _of_clause(tree, roles, inner, depth + 1).target
        return _Clause(target=None if wanted is None or _is_readers(tree, wanted) else wanted, is_order=True)
    return _Clause(is_order=True)


def _claim(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """A claim: ``they are fools``, ``I am sick of them``, ``this is a stupid team``."""
    top = _top(tree, verb)
    if top == verb:
        return None
    subject = _subject(tree, verb)
    if tree.lemmas[top] in _FEELING or tree.words[top].lower() in _FEELING:
        about = _cased(tree, top, _FEELING_CASES)
        if about is not None:
            return _Clause(subject, about)
    target = _meant(tree, subject)
    if target is None and subject is not None and tree.tags[subject] in ("PRON", "DET"):
        target = _meant(tree, top) if tree.tags[top] in _NOMINAL and _lower(tree, subject) != "it" else None
    return _Clause(target=target)


def _caused(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """What is caused or wanted: ``I will make you cry``, ``she wants him gone``, ``you make me sick``."""
    lemma, small = _lemma(tree, verb), _small_clause(tree, verb)
    if small is None or not (lemma in _CAUSE | _SEE or small in tree.dependents(verb, "obj")):
        return None
    subject, inner = _subject(tree, verb), _inner(tree, verb)
    first = tree.lemmas[small] in ("i", "we")
    if inner is None:
        return (
            _Clause(target=_meant(tree, subject))
            if first
            else _Clause(_actor(tree, subject), _meant(tree, small))
        )
    clause = _of_clause(tree, roles, inner, depth + 1)
    if first:
        return (
            _Clause(small, clause.target) if clause.target not in (None, small) else _Clause(subject, small)
        )
    hurts = _lemma(tree, inner) in _HARM or lemma in _SEE or tree.lemmas[small] in _INDEFINITE
    target = clause.target if hurts and clause.target is not None else _meant(tree, small)
    return _Clause(_actor(tree, subject), target if target is not None else clause.target)


def _reported(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """What is said: ``he told them that she is a liar``, ``she was told to shut up``."""
    inner = _inner(tree, verb)
    if inner is None or _lemma(tree, verb) not in _SPEECH:
        return None
    clause = _of_clause(tree, roles, inner, depth + 1)
    passive = tree.is_passive(verb)
    agent = _agent(tree, roles, verb)
    speaker = agent if agent is not None else None if passive else _subject(tree, verb)
    hearer = _subject(tree, verb) if passive else _patient(tree, roles, verb)
    wanted = clause.target
    anyone = hearer is not None and tree.lemmas[hearer] in _INDEFINITE
    is_named = wanted is not None and (tree.tags[wanted] != "PRON" or anyone)
    asked = tree.relations[_top(tree, inner)] == "xcomp"
    if asked and hearer is not None:
        wanted = hearer
    if hearer is not None and (_lemma(tree, verb) in _HEARER_FIRST or not is_named):
        wanted = hearer
    said = _span(tree, tree.below(_top(tree, inner)))
    if clause.agent is not None and not asked and _has_acted(tree, inner):
        speaker = clause.agent  # "the paper says that the clerk hit the cook"
    return _Clause(speaker, wanted if wanted is not None else hearer, said, clause.is_order)


def _planned(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """What is hoped or planned: ``I hope they lose``, ``you deserve to be slapped``."""
    inner = _inner(tree, verb)
    if inner is None or tree.relations[_top(tree, inner)] not in ("ccomp", "xcomp"):
        return None
    subject, own = _subject(tree, verb), _own_subject(tree, inner)
    patient = _patient(tree, roles, verb)
    if own is None and patient is not None and patient != _own_subject(tree, verb):
        return _Clause(_actor(tree, subject), patient)
    if own is None and (tree.is_passive(inner) or tree.is_passive(verb)):
        return _Clause(_agent(tree, roles, inner if tree.is_passive(inner) else verb), _meant(tree, subject))
    if own is not None and subject is not None and _repeats(tree, subject, own):
        return _Clause(target=subject)
    clause = _of_clause(tree, roles, inner, depth + 1)
    wishes = _lemma(tree, verb) in ("hope", "wish", "pray")
    if wishes and own is not None and clause.target is not None and tree.lemmas[own] not in _INDEFINITE:
        owners = {_lower(tree, child) for child in tree.dependents(clause.target, "nmod:poss")}
        if owners & {"his", "her", "their", "its"} and _meant(tree, own) is not None:
            return _Clause(_actor(tree, subject), own)  # "I hope he breaks his leg"
    if clause.target is None or clause.target == subject:
        return _Clause(target=_meant(tree, subject)) if not _is_first(tree, subject) else _Clause(subject)
    by_thing = subject is not None and _meant(tree, subject) is None
    named = own is not None and clause.agent is not None and tree.lemmas[clause.agent] != "you"
    acted = named and _has_acted(tree, inner)
    return _Clause(clause.agent if by_thing or acted else _actor(tree, subject), clause.target)


def _has_acted(tree: Tree, verb: int) -> bool:
    """Whether a clause says what somebody did or does to others, not thinks or will do."""
    modal = any(tree.fine_tags[word] == "MD" for word in tree.dependents(_top(tree, verb), "aux"))
    acts = _lemma(tree, verb) in _HARM or tree.fine_tags[verb] in ("VBD", "VBN")
    return acts and not modal and _lemma(tree, verb) not in _ATTITUDES


def _passive(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """The passive: ``he was mocked by the boys``."""
    if not tree.is_passive(verb):
        return None
    about = _cased(tree, verb, ("with", "of", "about")) if _lower(tree, verb) in _FEELING else None
    if about is not None:  # "I am done with them"
        return _Clause(_subject(tree, verb), about)
    subject = _meant(tree, _subject(tree, verb))
    return _Clause(_agent(tree, roles, verb), subject if subject is not None else _patient(tree, roles, verb))


def _undergone(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """What befalls the subject: ``you will lose your teeth``, ``they disgust me``."""
    subject = _meant(tree, _subject(tree, verb))
    if subject is None or tree.is_passive(verb):
        return None
    lemma, patient = _lemma(tree, verb), _patient(tree, roles, verb)
    if patient is None:
        reflexive = any(tree.words[word].lower() in _SELF for word in tree.dependents(verb, "obj"))
        return _Clause(target=subject) if reflexive else None
    direct = patient in tree.dependents(verb, "obj")
    disgusts = lemma in _PSYCH and _is_first(tree, patient)
    own = tree.lemmas[subject] == "you" and _is_readers(tree, patient) and direct
    loses = lemma in _UNDERGO and not _is_first(tree, subject) and direct
    return _Clause(target=subject) if disgusts or own or loses else None


def _conditional(tree: Tree, roles: Roles, verb: int, depth: int) -> _Clause | None:
    """A threat against ``you``: ``if you come, I will call the guard``."""
    subject = _subject(tree, verb)
    if subject is None or tree.lemmas[subject] not in ("i", "we"):
        return None
    for clause in tree.dependents(_top(tree, verb), "advcl"):
        named = tree.dependents(clause, "nsubj")
        marks = {tree.lemmas[mark] for mark in tree.dependents(clause, "mark")}
        if named and tree.lemmas[named[0]] == "you" and marks & {"if", "unless"}:
            act = _act(tree, roles, verb).target
            return _Clause(subject, act if act is not None and _is_readers(tree, act) else named[0])
    return None


def _act(tree: Tree, roles: Roles, verb: int) -> _Clause:
    """An act: ``the fans booed him``; of coordinated verbs one that hurts is taken."""
    chain = [verb]
    for each in chain:
        chain += [
            other
            for other in tree.dependents(each, "conj")
            if other in predicates(tree)
            and not tree.dependents(other, "nsubj")
            and not tree.is_passive(other)
        ]
    found = [(each, patient) for each in chain if (patient := _patient(tree, roles, each)) is not None]
    subject = _subject(tree, verb)
    if not found:
        return _Clause(subject) if _is_first(tree, subject) else _Clause(target=_meant(tree, subject))
    hurting = [one for one in found if _lemma(tree, one[0]) in _HARM]
    acting, patient = (hurting or found)[0]
    agent = _agent(tree, roles, acting)
    agent = agent if agent is not None else subject if patient != subject else None
    if any(_lower(tree, child) == "ever" for child in tree.children[verb]) and tree.words[-1] == "?":
        agent = None
    return _Clause(_actor(tree, agent), patient)


_Construction = Callable[[Tree, Roles, int, int], _Clause | None]
_CONSTRUCTIONS: tuple[_Construction, ...] = (
    _clefted,
    _existence,
    _comparison,
    _claim,
    _order,
    _reported,
    _caused,
    _planned,
    _passive,
    _undergone,
    _conditional,
)


def _main(tree: Tree) -> int | None:
    """The verb of the root, or of the highest clause with one."""
    verbs = [verb for verb in predicates(tree) if tree.relations[verb] not in ("amod", "compound")]
    if not verbs:
        return None
    depth = {verb: sum(1 for _ in tree.ancestors(_top(tree, verb))) for verb in verbs}
    highest = min(verbs, key=depth.__getitem__)
    begins = all(tree.tags[word] in ("INTJ", "PUNCT") for word in range(verbs[0]))
    root = next((word for word, head in enumerate(tree.heads) if head < 0), highest)
    if tree.fine_tags[verbs[0]] == "VB" and begins and _is_called(tree, root):
        return verbs[0]
    if tree.relations[_top(tree, highest)] in ("acl", "acl:relcl", "advcl"):  # "the fool who came"
        return None
    return highest


def _is_called(tree: Tree, verb: int) -> bool:
    """Whether a root is the last word of ``get out, you clown``."""
    named = tree.dependents(verb, "nsubj")
    after = all(tree.tags[word] == "PUNCT" for word in range(verb + 1, len(tree)))
    return verb > 1 and after and named == [verb - 1] and tree.words[verb - 2] == ","


def _lemma(tree: Tree, word: int) -> str:
    """The lemma of a verb; lemmatizers make ``hop`` of ``hopes`` and ``hat`` of ``hates``."""
    lemma = tree.lemmas[word]
    ends_so = lemma[-1:] not in "sxzo" and lemma[-2:] not in ("ch", "sh")
    return f"{lemma}e" if ends_so and tree.words[word].lower() == f"{lemma}es" else lemma


def _lower(tree: Tree, word: int) -> str:
    return tree.words[word].lower()


def _top(tree: Tree, verb: int) -> int:
    """The head of a verb's clause: of a copula what it links."""
    return tree.heads[verb] if tree.relations[verb] == "cop" else verb


def _verb_of(tree: Tree, top: int) -> int | None:
    """The verb of the clause that a word heads: itself, or its copula."""
    verbs = predicates(tree)
    linked = [each for each in tree.dependents(top, "cop") if each in verbs]
    return linked[0] if linked else top if top in verbs else None


def _own_subject(tree: Tree, verb: int) -> int | None:
    named = tree.dependents(_top(tree, verb), "nsubj", "csubj")
    return named[0] if named else None


def _subject(tree: Tree, verb: int) -> int | None:
    """The subject of a verb, also of one that a clause depends on that shares it."""
    seen = set[int]()
    while True:
        top = _top(tree, verb)
        own, relation, above = _own_subject(tree, verb), tree.relations[top], tree.heads[top]
        if own is not None:
            return above if relation == "acl:relcl" and tree.lemmas[own] in _RELATIVE else own
        if relation != "conj" or above < 0 or top in seen:
            break
        seen.add(top)
        verb = above
    if relation == "xcomp" and above >= 0 and above not in predicates(tree):  # "ought to be"
        return _own_subject(tree, above)
    return above if relation in ("acl", "acl:relcl") and above >= 0 else None


def _actor(tree: Tree, word: int | None) -> int | None:
    """A word that may act: not ``this`` or ``something``."""
    return None if word is None or tree.lemmas[word] in _THINGS else word


def _is_first(tree: Tree, word: int | None) -> bool:
    return word is not None and tree.lemmas[word] in ("i", "we")


def _is_readers(tree: Tree, word: int) -> bool:
    """Whether a word is ``you`` or ``your ...``; in an order also ``me`` is no target."""
    owners = {_lower(tree, child) for child in tree.dependents(word, "nmod:poss")}
    return _lower(tree, word) in ("you", "yourself", "yourselves", "me", "us") or "your" in owners


def _repeats(tree: Tree, subject: int, pronoun: int) -> bool:
    """Whether a clause's subject is the outer one again, as in ``cyclists think they own the road``."""
    plural = tree.fine_tags[subject] in ("NNS", "NNPS")
    named = tree.tags[subject] in ("NOUN", "PROPN")
    return named and tree.lemmas[pronoun] in _PLURAL and plural == (tree.lemmas[pronoun] == "they")


def _agent(tree: Tree, roles: Roles, verb: int) -> int | None:
    """The argument after ``by``, or the one with the role of an agent."""
    by = tree.dependents(_top(tree, verb), "obl:agent")
    if by:
        return by[0]
    if tree.is_passive(verb):
        below = [word for word in tree.below(verb) if word > verb and tree.tags[word] in _NOMINAL]
        return next(
            (
                word
                for word in below
                if tree.lemmas[word] not in _TIMES
                and any(tree.lemmas[case] == "by" for case in tree.dependents(word, "case"))
            ),
            None,
        )
    subject = _subject(tree, verb)
    named = [word for word, role in roles.get(verb, {}).items() if role == "ARG0"]
    if subject is not None and subject in named:
        return subject
    children = tree.children[_top(tree, verb)]
    return next((word for word in named if word in children and tree.relations[word] != "vocative"), None)


def _patient(tree: Tree, roles: Roles, verb: int) -> int | None:
    """The argument that something is done or said to; recipients and objects before others."""
    top = _top(tree, verb)
    small = _small_clause(tree, verb)
    for relation in ("iobj", "nsubj:pass", "obj"):
        for word in tree.children[top]:
            meant = _meant(tree, word) if tree.relations[word] == relation and word != small else None
            if meant is not None:
                beyond = _beyond(tree, verb, word) if relation == "obj" else None
                return meant if beyond is None else beyond
    things = [word for word in tree.dependents(top, "obj") if tree.lemmas[word] in _THINGS]
    tells = _lemma(tree, verb) in _TRANSFER | _LIGHT | _MISSILE | _SPEECH
    for thing in things if tells else ():  # "has nothing but contempt for them"
        inside = [top, *tree.below(thing)]
        found = (_cased(tree, each, _LIGHT_CASES if each != top else _RECIPIENT) for each in inside)
        recipient = next((each for each in found if each is not None), None)
        if recipient is not None:
            return recipient
    if _lemma(tree, verb) in ("come", "go"):
        home = _cased(tree, top, ("to",))
        if home is not None and tree.dependents(home, "nmod:poss"):
            return home
    for preposition, verbs in _BY_PREPOSITION.items():
        if verbs is None or _lemma(tree, verb) in verbs:
            named = _cased(tree, top, (preposition,))
            if named is not None:
                return named
    return _patient_by_role(tree, roles, verb)


def _beyond(tree: Tree, verb: int, thing: int) -> int | None:
    """Who is meant where the object is a means: ``threw eggs at him``, ``made fun of him``."""
    lemma = _lemma(tree, verb)
    if tree.lemmas[thing] in _PERSONAL or tree.tags[thing] == "PROPN":
        return None
    cases: tuple[str, ...] = ()
    if lemma in _MISSILE:
        cases = ("at", "on", "against", "to", "into", "over")
    elif tree.lemmas[thing] in ("hand", "finger", "eye"):
        cases = ("on", "at")
    elif tree.lemmas[thing] in _TALK:
        cases = ("about", "against", "at", "on", "to", "of", "for")
    elif lemma in _TRANSFER:
        cases = _RECIPIENT
    if lemma in _LIGHT and not tree.dependents(thing, "nmod:poss"):
        cases += _LIGHT_CASES
    at_verb = _cased(tree, _top(tree, verb), cases)
    return at_verb if at_verb is not None else _cased(tree, thing, cases)


def _cased(tree: Tree, head: int, cases: tuple[str, ...]) -> int | None:
    """Somebody below a word after one of some prepositions, the first of these first."""
    heads = (head, *tree.dependents(head, "advmod"))  # "away from him"
    below = [word for each in heads for word in tree.dependents(each, "obl", "nmod")]
    below = [word for word in below if tree.relations[word] != "nmod:poss"]
    for case in cases:
        for word in below:
            linked = {tree.lemmas[child] for child in tree.dependents(word, "case")}
            if case in linked and _meant(tree, word) is not None and not _is_place(tree, word):
                return word
    return None


def _is_place(tree: Tree, word: int) -> bool:
    """Whether a noun after a preposition is a time or, as ``school`` in ``at school``, a place."""
    bare = tree.fine_tags[word] == "NN" and not tree.dependents(
        word, "det", "nmod:poss", "amod", "compound", "nummod"
    )
    return tree.tags[word] in ("NOUN", "PROPN") and (bare or tree.lemmas[word] in _TIMES)


def _patient_by_role(tree: Tree, roles: Roles, verb: int) -> int | None:
    """The argument that the head calls ``ARG2`` or ``ARG1``."""
    top, arguments, subject = _top(tree, verb), roles.get(verb, {}), _subject(tree, verb)
    for wanted in ("ARG2", "ARG1"):
        for word, role in arguments.items():
            cases = {tree.lemmas[case] for case in tree.dependents(word, "case")}
            nominal = tree.relations[word] in ("obj", "iobj") or cases & _ROLE_CASES
            here = nominal and word in tree.children[top] and word != subject
            if role == wanted and here and _meant(tree, word) is not None and not _is_place(tree, word):
                return word
    return None


def _meant(tree: Tree, word: int | None) -> int | None:
    """A word that may be somebody: a noun or a pronoun of persons."""
    if word is None or tree.tags[word] not in (*_NOMINAL, "DET", "ADJ", "NUM"):
        return None
    things = _THINGS | _SELF
    if _lower(tree, word) == "all" and _cased_any(tree, word):  # "all of you"
        return word
    if tree.tags[word] == "PROPN" and tree.words[word].islower():  # "the guard green", read as a name
        nouns = [child for child in tree.dependents(word, "compound") if tree.tags[child] == "NOUN"]
        return nouns[0] if nouns else word
    return None if tree.lemmas[word] in things or _lower(tree, word) in things else word


def _cased_any(tree: Tree, word: int) -> bool:
    return any(tree.dependents(child, "case") for child in tree.dependents(word, "nmod"))


def _inner(tree: Tree, verb: int) -> int | None:
    """The verb of the clause that is said, hoped or planned."""
    speech = _lemma(tree, verb) in _SPEECH
    for child in tree.dependents(_top(tree, verb), "ccomp", "xcomp", "parataxis", "csubj"):
        if tree.relations[child] == "parataxis" and not speech:
            continue
        below = tree.dependents(child, "ccomp") if tree.tags[child] == "ADJ" else []  # "make sure that"
        for each in (child, *below):
            inner = _verb_of(tree, each)
            if inner is not None and inner != verb:
                return inner
    return None


def _small_clause(tree: Tree, verb: int) -> int | None:
    """The subject within what is caused or seen: ``him`` of ``made him sad`` and ``saw him fall``."""
    for child in tree.dependents(_top(tree, verb), "ccomp", "xcomp"):
        named = tree.dependents(child, "nsubj")
        if named and not tree.dependents(child, "mark") and named[0] > verb:
            return named[0]
        if tree.relations[child] == "xcomp" and tree.tags[child] in ("ADJ", "ADV"):
            return next(iter(tree.dependents(verb, "obj")), None)
    return None


def _compared(tree: Tree) -> int | None:
    """Who follows ``than`` in a sentence with ``no`` or ``nobody``."""
    if not any(
        word.lower() in _NOBODY or word.lower() in ("never", "n't", "n\u2019t", "not") for word in tree.words
    ):
        return None
    for word in range(len(tree)):
        if any(_lower(tree, case) == "than" for case in tree.dependents(word, "case")):
            return _meant(tree, word)
    return None


def _warned(tree: Tree, verb: int, subject: int | None) -> bool:
    """Whether it is ``don't you dare``."""
    helpers = [child for child in tree.dependents(verb, "aux", "advmod") if child < verb]
    negated = any(_lower(tree, child) in ("n't", "n\u2019t", "not") for child in helpers)
    return (
        subject is not None
        and negated
        and _lower(tree, subject) == "you"
        and all(child < subject for child in helpers if tree.relations[child] == "aux")
        and tree.words[-1] != "?"
    )


def _called(tree: Tree, verb: int, subject: int | None) -> int | None:
    """The name that an order ends in or begins with, set off by a comma."""
    words = tree.words
    if subject is not None:
        between = words[subject + 1 : subject + 2]
        return subject if between == (",",) and tree.fine_tags[verb] == "VB" else None
    last = len(words) - 1
    while last >= 0 and tree.tags[last] == "PUNCT":
        last -= 1
    comma = next((word for word in range(last, verb, -1) if words[word] == ","), None)
    if comma is not None:
        segment = range(comma + 1, last + 1)
        if segment and _lower(tree, comma + 1) == "you" and len(segment) > 1:
            return last  # "you clown", whatever the parser makes of it
        heads = [word for word in segment if tree.heads[word] not in segment]
        if (
            len(heads) == 1
            and tree.tags[heads[0]] in _NOMINAL
            and not tree.dependents(heads[0], "case", "cop")
        ):
            return heads[0]
    if len(words) > 1 and words[1] == "," and tree.tags[0] in ("PROPN", "NOUN") and verb > 1:
        return 0
    return next(iter(tree.dependents(verb, "vocative")), None)


def _reporter(tree: Tree) -> int | None:
    """Whom ``according to`` or ``as ... says`` names."""
    for word in range(len(tree)):
        if any(_lower(tree, case) == "according" for case in tree.dependents(word, "case")):
            return word
        says = tree.relations[word] == "advcl" and _lemma(tree, word) in _SPEECH
        if says and any(_lower(tree, mark) == "as" for mark in tree.dependents(word, "mark")):
            return _own_subject(tree, word)
    return None


def _without_verb(tree: Tree) -> int | None:
    """The noun of ``what a fool``, or who is meant in ``shame on you`` and ``nice try, Tom``."""
    root = next((word for word, head in enumerate(tree.heads) if head < 0), 0)
    cries = any(word.lower() in _CRIES for word in tree.words[:3])
    for word in range(len(tree)) if cries else ():
        linked = any(_lower(tree, case) in _CRY_CASES for case in tree.dependents(word, "case"))
        if linked and _lower(tree, word) not in _CRIES and _meant(tree, word) is not None:
            return word
    for name in tree.dependents(root, "appos", "vocative"):
        if name > root and tree.words[name - 1] == "," and not tree.dependents(name, "det"):
            return name
    named = tree.dependents(root, "nsubj")
    return _meant(tree, named[0] if named else root)


def _phrase(tree: Tree, head: int) -> Bounds:
    """The words below a head next to it, without clauses about it and the words that link it."""
    kept = _kept(tree, head)
    first = last = head
    while first - 1 in kept and tree.lemmas[first - 1] not in ("what", "such"):
        first -= 1
    while first > 1 and tree.words[first - 1] == "," and first - 2 in kept:  # "stupid, stupid man"
        first -= 2
        while first - 1 in kept:
            first -= 1
    called = first > 1 and head == last and tree.words[first - 2] == "," and _lower(tree, first - 1) == "you"
    while last + 1 in kept:
        last += 1
    return _trimmed(tree, first - 1 if called else first, last)  # "you clown"


def _kept(tree: Tree, head: int) -> set[int]:
    """The words below a head that may be part of its phrase."""
    kept = set(tree.below(head, without=_CUT | _EDGES))
    kept -= {
        child
        for child in tree.children[head]
        if child > head and (tree.lemmas[child] in _TIMES or tree.relations[child] == "advmod")
    }
    for child in tree.children[head]:
        between = range(min(head, child) + 1, max(head, child))
        if tree.relations[child] == "conj" and tree.tags[child] in _NOMINAL:
            kept |= set(tree.below(child, without=_CUT)) | set(range(head + 1, child))
        elif tree.words[child] == "-":
            kept.add(child)  # "brother-in-law"
        elif (
            tree.relations[child] == "appos"
            and not tree.dependents(child, "det")
            and not any(tree.tags[word] == "PUNCT" for word in between)
        ):
            kept |= set(tree.below(child, without=_CUT))  # "my brother Tom", "you all"
    return kept


def _span(tree: Tree, words: list[int]) -> Bounds:
    """From the first to the last of some words, without punctuation at the ends."""
    return _trimmed(tree, words[0], words[-1])


def _trimmed(tree: Tree, first: int, last: int) -> Bounds:
    while first < last and tree.tags[first] == "PUNCT":
        first += 1
    while last > first and tree.tags[last] == "PUNCT":
        last -= 1
    return tree.spans[first][0], tree.spans[last][1]


def _predicate_phrase(tree: Tree, verb: int) -> Bounds:
    """The verb with its auxiliaries up to the end of its clause."""
    top = _top(tree, verb)
    below = set(tree.below(top))
    first = min([verb, top, *tree.dependents(top, "aux")])
    named = tree.dependents(top, "nsubj", "csubj")
    if named and first < named[0] < verb:
        first = max(tree.below(named[0])) + 1
    last = max([verb, *(each for each in below if each >= first)])
    return _trimmed(tree, min(first, last), last)
