"""Tests ``generate/game.py``: auditors search formulas, and the detective names a pair."""

import random

import numpy as np
import pytest

from splinelens.errors import BadFeatures, BadTexts
from splinelens.generate.game import (
    SLOTS,
    StoredGame,
    evolve,
    most_alike,
    prompt_of,
    random_search,
    separation,
)

SIZES = [len(options) for options in SLOTS.values()]
TARGET = np.array([1, 2, 0, 1, 2, 1])


def planted(formulas):
    return [-float(np.sum(np.array(one) != TARGET)) for one in formulas]


def test_evolution_beats_random_formulas_where_slots_add_up():
    evolved = [evolve(SIZES, planted, queries=40, seed=seed)[-1].fitness for seed in range(10)]
    rival = [random_search(SIZES, planted, queries=40, seed=seed)[-1].fitness for seed in range(10)]
    assert np.mean(evolved) > np.mean(rival) + 0.3


@pytest.mark.parametrize("search", [evolve, random_search])
def test_no_formula_is_evaluated_twice_and_the_budget_is_met(search):
    evaluated = []

    def fitness(formulas):
        evaluated.extend(formulas)
        return planted(formulas)

    state = random.getstate()
    history = search(SIZES, fitness, queries=20, seed=3)
    assert random.getstate() == state
    assert len(evaluated) == len(set(evaluated)) == history[-1].queries == 20
    assert history[-1].fitness == max(planted(evaluated))
    assert history == search(SIZES, planted, queries=20, seed=3)


def test_a_search_ends_where_no_formula_is_left():
    assert evolve([2, 1], lambda formulas: [0.0] * len(formulas), queries=9, population=2)[-1].queries == 2
    assert random_search([2, 1], lambda formulas: [0.0] * len(formulas), queries=9)[-1].queries == 2
    with pytest.raises(BadFeatures, match="4 queries for a population of 8"):
        evolve(SIZES, planted, queries=4)


def test_every_formula_gives_another_prompt():
    formulas = {tuple(int(index) for index in np.unravel_index(n, SIZES)) for n in range(np.prod(SIZES))}
    assert len({prompt_of(one) for one in formulas}) == len(formulas) == 729


def test_the_detective_names_the_most_alike_pair():
    alike = np.array([[1, 0.2, 0.9], [0.2, 1, 0.3], [0.9, 0.3, 1]])
    assert most_alike(alike) == (0, 2)
    assert separation(alike, (0, 2)) == pytest.approx(0.6)
    assert separation(alike, (0, 1)) == pytest.approx(-0.7)


def stored(similarity, **options):
    family = ("x", "x", "y", "y", "z", "w")
    return StoredGame(similarity, family, np.arange(40)[None] % 2, members=3, prompts=5, **options)


def test_stored_games_have_one_pair_and_leave_the_tested_family_out():
    game = stored(np.zeros((6, 6, 40)))
    assert game.pairs == [(0, 1), (2, 3)]
    assert game.games((0, 1)) == [(0, 1, 2), (0, 1, 3), (0, 1, 4), (0, 1, 5)]
    assert game.games((2, 3), without="x") == [(2, 3, 4), (2, 3, 5)]
    assert len(game.matching((0,), np.ones(40, dtype=bool))) == 20
    assert len(game.matching((2,), np.ones(40, dtype=bool))) == 40


def test_formulas_are_searched_on_other_families():
    rng = np.random.default_rng(0)
    similarity = rng.normal(size=(6, 6, 40))
    similarity += similarity.transpose(1, 0, 2)
    similarity[2, 3, ::2] += 9  # family y is alike on prompts of the first option
    similarity[3, 2, ::2] += 9
    game, everything = stored(similarity), np.ones(40, dtype=bool)
    best = evolve(game.sizes * 2, lambda f: game.fitness((0, 1), everything)([(x[0],) for x in f]), queries=8)
    assert best[-1].best[0] == 0
    results = game.results([(2, 3)], (0,), everything, np.random.default_rng(0))
    assert results[2, 3][0] == 1.0
    assert game.results([(2, 3)], (0,), ~everything, np.random.default_rng(0)) == {}


def test_games_without_a_family_are_refused():
    with pytest.raises(BadTexts, match="no two writers share a family"):
        StoredGame(np.zeros((2, 2, 9)), ("x", "y"), np.zeros((0, 9), dtype=int))
    with pytest.raises(BadTexts, match=r"2 families are too few for 5 writers .* a smaller --members"):
        StoredGame(np.zeros((3, 3, 9)), ("x", "x", "y"), np.zeros((0, 9), dtype=int))
