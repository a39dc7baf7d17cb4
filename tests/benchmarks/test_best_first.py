"""Tests ``benchmarks/best_first.py``: its moves and bounds beside other code, its picks by hand."""

from collections import deque
from itertools import product

import best_first
import numpy as np
import pytest

from splinelens.generate.plans import PlanValidator

INIT = frozenset({"clear a", "clear c", "handempty", "on a b", "ontable b", "ontable c"})
DOMAIN = """(define (domain blocksworld-4ops) (:requirements :strips)
(:predicates (clear ?x) (ontable ?x) (handempty) (holding ?x) (on ?x ?y))
(:action pick-up :parameters (?ob) :precondition (and (clear ?ob) (ontable ?ob) (handempty))
 :effect (and (holding ?ob) (not (clear ?ob)) (not (ontable ?ob)) (not (handempty))))
(:action put-down :parameters (?ob) :precondition (holding ?ob)
 :effect (and (clear ?ob) (handempty) (ontable ?ob) (not (holding ?ob))))
(:action stack :parameters (?ob ?under) :precondition (and (clear ?under) (holding ?ob))
 :effect (and (handempty) (clear ?ob) (on ?ob ?under) (not (clear ?under)) (not (holding ?ob))))
(:action unstack :parameters (?ob ?under) :precondition (and (on ?ob ?under) (clear ?ob) (handempty))
 :effect (and (holding ?ob) (clear ?under) (not (on ?ob ?under)) (not (clear ?ob)) (not (handempty)))))"""


def distances(start):
    """How many actions each state is away, by breadth-first search."""
    found, waiting = {start: 0}, deque([start])
    while waiting:
        state = waiting.popleft()
        for _, after in best_first.moves(state):
            if after not in found:
                found[after] = found[state] + 1
                waiting.append(after)
    return found


def test_three_blocks_have_22_states():
    """13 ways to stand, and for each held block the 3 ways of the others: 9."""
    assert len(distances(INIT)) == 13 + 9


def test_moves_are_those_that_a_simulator_of_pddl_executes():
    """Every sequence of two actions, possible or not, against unified-planning."""
    names = [
        *(f"({kind} {block})" for kind in ("pick-up", "put-down") for block in "abc"),
        *(f"({kind} {x} {y})" for kind in ("stack", "unstack") for x in "abc" for y in "abc" if x != y),
    ]
    row = {"objects": ["a", "b", "c"], "init": sorted(INIT), "goal": ["handempty"]}
    possible = {
        (first, second): state
        for first, middle in best_first.moves(INIT)
        for second, state in best_first.moves(middle)
    }
    for plan, state in possible.items():  # and they lead to the same state
        critic = PlanValidator(DOMAIN, best_first.problem_of({**row, "goal": sorted(state)}))
        assert critic.check("\n".join(plan), "").verdict == "pass", plan
    critic = PlanValidator(DOMAIN, best_first.problem_of(row))
    executed = {
        plan for plan in product(names, repeat=2) if "step" not in critic.check("\n".join(plan), "").message
    }
    assert executed == set(possible)


def test_misplaced_blocks_never_exceed_the_distance():
    from_each = {state: distances(state) for state in distances(INIT)}
    for goal in ({"on b a"}, {"on a b", "on b c"}, {"on c b", "on b a"}):
        goal = frozenset(goal)
        for state, away in from_each.items():
            nearest = min(steps for other, steps in away.items() if goal <= other)
            held = any(fact.startswith("holding") for fact in state)
            count = best_first.misplaced(state, goal)
            assert count <= nearest
            assert 2 * count - held <= nearest
            assert (nearest == 0) <= (count == 0)


@pytest.mark.parametrize("target", [24, 7, 100, 131, 500])
def test_countdown_is_found_if_and_only_if_it_is_solvable(target):
    for numbers in ((2, 3, 4), (25, 5, 4), (100, 31, 1)):
        result, expression = best_first.countdown_search(numbers, target)
        assert (result.text is not None) == best_first.solvable(tuple(sorted(numbers)), target, set())
        if expression:
            assert eval_whole(expression) == target


@pytest.mark.parametrize("numbers", [(2, 3, 4, 5), (25, 5, 4), (7, 50, 31, 1)])
def test_countdown_takes_the_fewest_calculations(numbers):
    lengths, expanded = set(), np.zeros(2, int)
    for target in (6, 20, 120, 125, 350, 997):
        least = best_first.fewest(tuple(sorted(numbers)), target)
        found = [best_first.shortest_search(numbers, target, guided) for guided in (False, True)]
        for result in found:
            assert (None if result.text is None else len(result.text.splitlines())) == least
        lengths.add(least)
        expanded += [result.expanded for result in found]
    assert len(lengths) > 1
    assert expanded[1] < expanded[0]


def test_fewest_calculations_by_hand():
    assert best_first.fewest((3, 7, 25, 50), 175) == 1
    assert best_first.fewest((2, 3, 4, 5), 120) == 3
    assert best_first.fewest((2, 3), 7) is None
    assert best_first.calculations_left(7, (3, 4, 9)) == 1
    assert best_first.calculations_left(8, (3, 4, 9)) == 2


def eval_whole(expression):
    """The value of an expression of whole numbers, with Python's own parser."""
    import ast

    def value(node):
        if isinstance(node, ast.Constant):
            return node.value
        left, right = value(node.left), value(node.right)
        return {"Add": left + right, "Sub": left - right, "Mult": left * right}.get(
            type(node.op).__name__, left / right if right else 0
        )

    return value(ast.parse(expression, mode="eval").body)


def test_picks_by_hand():
    questions, labels = np.array([0, 0, 0, 1, 1, 1]), np.array([1, 0, 0, 0, 1, 1])
    scores = np.array([0.5, 0.5, 0.1, 0.1, 0.2, 0.3])
    assert best_first.picked(scores, labels, questions).tolist() == [0.5, 1.0]
    answers = ["3", "4", "4", "5", "6", "6"]
    assert best_first.summed(questions, answers, np.ones(6)).tolist() == [1, 2, 2, 1, 2, 2]
    assert best_first.less_mean(scores[:, None], questions)[3:, 0] == pytest.approx([-0.1, 0.0, 0.1])


def test_answers_are_compared_as_numbers_are_written():
    texts = ["a\nA: 1,200", "A: $1200.00", "A: 1200", "no answer", "A: 12\nA: 0.5"]
    assert [best_first.answer_of(text) for text in texts] == ["1200", "1200", "1200", "", "0.5"]


def test_a_head_finds_what_differs_within_questions_and_never_sees_its_own_fold():
    rng = np.random.default_rng(0)
    questions, labels = np.repeat(np.arange(60), 4), rng.integers(0, 2, 240)
    offset = np.repeat(rng.normal(size=60), 4) * 50  # of the question: no head may need it
    values = np.stack([labels + offset, rng.normal(size=240)], axis=1).astype(np.float32)
    values[:, 1] += labels
    fold = questions % 5

    def scores():
        kernel = best_first.within_kernel(values, questions)
        target = best_first.less_mean(labels[:, None].astype(float), questions)[:, 0]
        return best_first.nested_scores(kernel, target, fold, 0.1)

    before = scores()
    own = best_first.of_fold(before, fold)
    assert best_first.picked(own, labels, questions).mean() > labels.reshape(60, 4).max(1).mean() - 0.1
    labels[fold == 2] = 1 - labels[fold == 2]
    after = scores()
    np.testing.assert_allclose(after[2], before[2])  # its line chooses the head of a fold
    np.testing.assert_allclose(after[:, fold == 2], before[:, fold == 2])
    assert np.abs(after[1, fold == 1] - before[1, fold == 1]).max() > 0.1


def test_the_scores_of_a_fold_are_those_of_ridge_regression_on_the_others():
    """The primal solution by another library, for the line of the fold and for that of another."""
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(1)
    questions, fold = np.repeat(np.arange(20), 4), np.repeat(np.arange(20) % 4, 4)
    rows = best_first.less_mean(rng.normal(size=(80, 3)), questions)
    target = best_first.less_mean(rng.normal(size=(80, 1)), questions)[:, 0]
    scores = best_first.nested_scores(rows @ rows.T, target, fold, 2.0)
    for line, held_out in ((1, 1), (1, 3), (3, 1)):
        rest = (fold != line) & (fold != held_out)
        head = Ridge(alpha=2.0, fit_intercept=False).fit(rows[rest], target[rest])
        expected = head.predict(rows[fold == held_out])
        np.testing.assert_allclose(scores[line, fold == held_out], expected)


def test_stored_plans_are_as_short_as_those_of_the_search(data_dir):
    folder = data_dir / "planbench-blocksworld"
    domain, expanded = (folder / "domain.pddl").read_text("utf-8"), []
    for row in best_first.read_rows(folder / "instances.jsonl")[3:6]:
        critic = PlanValidator(domain, best_first.problem_of(row))
        values = best_first.blocks_values(frozenset(row["goal"])).values()
        plans = [best_first.planned(row, critic, value) for value in values]
        assert [len(plan.text.splitlines()) for plan in plans] == [len(row["plan"])] * 3
        expanded.append([plan.expanded for plan in plans])
    none, one, two = np.sum(expanded, axis=0)
    assert two < one < none
