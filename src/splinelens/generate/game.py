"""The game of auditor and detective: which two of several writers share a family?

The auditor writes prompts from a formula with slots, all writers answer, and the detective names the two
whose answers are most alike; chance is one over the number of pairs. The auditor evolves its formulas.
Source: arXiv:2408.02871, where the evolution takes place in the context of a language model; here it is a
genetic algorithm, so that it can be compared with random formulas at equal queries.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from splinelens.errors import BadFeatures, BadTexts, MissingPackage

Formula = tuple[int, ...]
"""The option of each slot."""

SLOTS: dict[str, tuple[str, ...]] = {
    "A": ("", "In one sentence:", "Answer briefly."),
    "B": ("Describe", "Explain", "Write a short story about"),
    "C": ("a rainy morning", "the number seven", "how bread is made"),
    "D": ("", "for a child", "for an engineer"),
    "E": ("", "Use a list.", "Use no commas."),
    "F": ("", "Begin with the word Well.", "End with a question."),
}
"""The slots of a prompt, and what each may say."""

POPULATION = 8
_CROSSOVER, _MUTATION, _SLOT_MUTATION = 0.7, 0.6, 0.3
_TOURNAMENT = 3
_STALE = 50  # generations without a formula that is new
_FAMILIES = (
    "a game needs as many families as writers: give answers of more families, or a smaller --members "
    "(in Python members=)"
)
_NEVER = -1e9  # the fitness of a formula that too few prompts match

Fitness = Callable[[list[Formula]], list[float]]
"""The fitness of several formulas."""


@dataclass(frozen=True)
class Generation:
    """A step of a search.

    Attributes:
        queries: Different formulas evaluated so far.
        best: The best formula so far.
        fitness: Its fitness.
        mean: Mean fitness of the formulas of this step.
    """

    queries: int
    best: Formula
    fitness: float
    mean: float


def prompt_of(formula: Formula, slots: Mapping[str, Sequence[str]] = SLOTS) -> str:
    """The prompt of a formula.

    Example:
        >>> prompt_of((1, 0, 2, 1, 0, 0))
        'In one sentence: Describe how bread is made for a child.'
    """
    instruction, verb, topic, reader, *rest = (
        options[index] for options, index in zip(slots.values(), formula, strict=True)
    )
    request = " ".join(filter(None, (verb, topic, reader)))
    return " ".join(filter(None, (instruction, f"{request}.", *rest)))


def evolve(
    sizes: Sequence[int], fitness: Fitness, *, queries: int, population: int = POPULATION, seed: int = 0
) -> list[Generation]:
    """Search formulas with a genetic algorithm; no formula is evaluated twice.

    Args:
        sizes: How many options each slot has.
        fitness: Higher is better.
        queries: Most different formulas that are evaluated.
        population: Formulas of a generation.
        seed: Same seed, same search.

    Raises:
        BadFeatures: Fewer queries than a population.
        MissingPackage: deap is not installed.
    """
    tools, base = _deap()
    if not 2 <= population <= queries:
        raise BadFeatures(f"{queries} queries for a population of {population}; give as many or more")

    class Fit(base.Fitness):  # type: ignore[name-defined]  # deap has no types
        weights = (1.0,)

    class Individual(list[int]):
        def __init__(self, genes: Sequence[int]):
            super().__init__(genes)
            self.fitness = Fit()

    rng, state = np.random.default_rng(seed), _SeededRandom(seed)
    known: dict[Formula, float] = {}
    history: list[Generation] = []
    alive = [Individual(rng.integers(sizes).tolist()) for _ in range(population)]
    stale = 0
    with state:
        while len(known) < queries and stale < _STALE:
            before = len(known)
            _evaluate(alive, known, fitness, queries, history)
            stale = 0 if len(known) > before else stale + 1
            for one in alive:
                one.fitness.values = (known.get(tuple(one), -np.inf),)
            parents = tools.selTournament(alive, population, tournsize=_TOURNAMENT)
            children = [Individual(one) for one in parents]
            for left, right in zip(children[::2], children[1::2], strict=False):
                if rng.random() < _CROSSOVER:
                    tools.cxUniform(left, right, indpb=0.5)
            for one in children:
                if rng.random() < _MUTATION or tuple(one) in known:
                    tools.mutUniformInt(one, 0, [size - 1 for size in sizes], indpb=_SLOT_MUTATION)
            alive = [Individual(history[-1].best), *children[1:]]
    return history


def random_search(
    sizes: Sequence[int], fitness: Fitness, *, queries: int, population: int = POPULATION, seed: int = 0
) -> list[Generation]:
    """Evaluate as many different random formulas: what evolution has to beat."""
    rng, known = np.random.default_rng(seed), dict[Formula, float]()
    history: list[Generation] = []
    total = int(np.prod(sizes))
    while len(known) < min(queries, total):
        fresh = {tuple(rng.integers(sizes).tolist()) for _ in range(population)} - known.keys()
        if fresh:
            _evaluate(sorted(fresh), known, fitness, queries, history)
    return history


def most_alike(similarity: Float[np.ndarray, "writer writer"]) -> tuple[int, int]:
    """The detective's verdict: the two writers whose answers are most alike.

    Example:
        >>> most_alike(np.array([[1, 0.2, 0.9], [0.2, 1, 0.3], [0.9, 0.3, 1]]))
        (0, 2)
    """
    return max(combinations(range(len(similarity)), 2), key=lambda pair: float(similarity[pair]))


def separation(similarity: Float[np.ndarray, "writer writer"], pair: tuple[int, int]) -> float:
    """How far a pair is more alike than the pair that is most alike of all others; negative if it is not."""
    others = [one for one in combinations(range(len(similarity)), 2) if one != tuple(sorted(pair))]
    return float(similarity[pair] - max(similarity[one] for one in others))


@dataclass(frozen=True, eq=False)
class StoredGame:
    """The game on stored answers: a formula chooses among their prompts.

    Attributes:
        similarity: (writer, writer, prompt), how alike two answers to a prompt are.
        family: Of each writer.
        options: (slot, prompt), the option of each prompt in each slot.
        members: Writers of a game.
        prompts: Prompts that the detective sees.
    """

    similarity: Float[np.ndarray, "writer writer prompt"]
    family: tuple[str, ...]
    options: Int[np.ndarray, "slot prompt"]
    members: int = 5
    prompts: int = 10

    def __post_init__(self) -> None:
        if not self.pairs:
            raise BadTexts("no two writers share a family; the game needs two that do")
        if not all(self.games(pair) for pair in self.pairs):
            raise BadTexts(
                f"{len({*self.family})} families are too few for {self.members} writers of which two share "
                f"one; {_FAMILIES}"
            )

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """The pairs of writers of one family."""
        writers = range(len(self.family))
        return [pair for pair in combinations(writers, 2) if self.family[pair[0]] == self.family[pair[1]]]

    @property
    def sizes(self) -> list[int]:
        """Options of each slot; the last one stands for any."""
        return [int(slot.max()) + 2 for slot in self.options]

    def games(self, pair: tuple[int, int], without: str | None = None) -> list[tuple[int, ...]]:
        """The groups of writers of which only this pair shares a family, without the writers of another."""
        families: dict[str, list[int]] = {}
        for writer, family in enumerate(self.family):
            if family not in (self.family[pair[0]], without):
                families.setdefault(family, []).append(writer)
        chosen = combinations(families.values(), self.members - 2)
        return [tuple(sorted((*pair, *others))) for one in chosen for others in product(*one)]

    def matching(self, formula: Formula, among: Bool[np.ndarray, " prompt"]) -> Int[np.ndarray, " chosen"]:
        """The prompts of a formula."""
        matches = among.copy()
        for slot, option, size in zip(self.options, formula, self.sizes, strict=True):
            if option < size - 1:
                matches &= slot == option
        return np.flatnonzero(matches)

    def results(
        self,
        pairs: Sequence[tuple[int, int]],
        formula: Formula,
        among: Bool[np.ndarray, " prompt"],
        rng: np.random.Generator,
        *,
        repeats: int = 5,
        without: str | None = None,
    ) -> dict[tuple[int, int], tuple[float, float]]:
        """For each pair the share of games in which it is named, and the mean separation.

        Empty where fewer prompts match the formula than the detective sees.
        """
        prompts = self.matching(formula, among)
        if len(prompts) < self.prompts:
            return {}
        results = {}
        for pair in pairs:
            hits, separations = [], []
            for members in self.games(pair, without):
                rows, indices = np.array(members), (members.index(pair[0]), members.index(pair[1]))
                for _ in range(repeats):
                    sample = rng.choice(prompts, self.prompts, replace=False)
                    similarity = self.similarity[np.ix_(rows, rows, sample)].mean(axis=2)
                    hits.append(most_alike(similarity) == indices)
                    separations.append(separation(similarity, indices))
            results[pair] = float(np.mean(hits)), float(np.mean(separations))
        return results

    def fitness(self, tested: tuple[int, int], among: Bool[np.ndarray, " prompt"], seed: int = 0) -> Fitness:
        """How well formulas separate the pairs of all families but the tested one."""
        family = self.family[tested[0]]
        pairs = [pair for pair in self.pairs if self.family[pair[0]] != family]
        if not pairs:
            raise BadTexts(
                f"only one family, {family!r}, has two writers; a search learns on other families, "
                "so two are needed"
            )
        if not all(self.games(pair, family) for pair in pairs):
            raise BadTexts(
                f"without the tested family, {family!r}, too few are left for games of {self.members} "
                f"writers; {_FAMILIES}"
            )

        def each(formula: Formula) -> float:
            rng = np.random.default_rng(seed)
            results = self.results(pairs, formula, among, rng, repeats=2, without=family)
            return float(np.mean([mean for _, mean in results.values()])) if results else _NEVER

        return lambda formulas: [each(formula) for formula in formulas]


def _evaluate(
    formulas: Sequence[Sequence[int]],
    known: dict[Formula, float],
    fitness: Fitness,
    queries: int,
    history: list[Generation],
) -> None:
    """Evaluate the new formulas, at most as many as are left, and record the generation."""
    fresh = list(dict.fromkeys(tuple(one) for one in formulas if tuple(one) not in known))
    fresh = fresh[: queries - len(known)]
    known.update(zip(fresh, fitness(fresh) if fresh else [], strict=True))
    values = [known[tuple(one)] for one in formulas if tuple(one) in known]
    best = max(known, key=lambda formula: known[formula])
    if fresh:
        history.append(Generation(len(known), best, known[best], float(np.mean(values))))


class _SeededRandom:
    """Python's random numbers, which deap uses, from a seed; their state is put back afterwards."""

    def __init__(self, seed: int):
        self._seed = seed

    def __enter__(self) -> None:
        import random

        self._before = random.getstate()
        random.seed(self._seed)

    def __exit__(self, *error: object) -> None:
        import random

        random.setstate(self._before)


def _deap() -> tuple[Any, Any]:  # Any: deap has no types
    try:
        from deap import base, tools
    except ModuleNotFoundError as error:
        raise MissingPackage(
            "the game searches with deap, which is not installed: pip install 'splinelens[game]' "
            "(in a clone: pip install -e '.[game]')"
        ) from error
    return tools, base
