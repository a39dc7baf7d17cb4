"""Tests ``generate/plans.py``: by hand, against unified-planning's validator and against stored verdicts."""

import json
from collections import defaultdict
from itertools import chain, product

import pytest

from splinelens.errors import BadCritic
from splinelens.generate.plans import PlanValidator

DOMAIN = """; two blocks and a hand
(define (domain blocks)
  (:requirements :strips :negative-preconditions)
  (:predicates (clear ?x) (held ?x) (on ?x ?y))
  (:action take :parameters (?x) :precondition (and (clear ?x) (not (held ?x)))
   :effect (and (held ?x) (not (clear ?x))))
  (:action put :parameters (?x ?y) :precondition (and (held ?x) (clear ?y))
   :effect (and (on ?x ?y) (clear ?x) (not (held ?x)) (not (clear ?y)))))"""
PROBLEM = """(define (problem two) (:domain blocks) (:objects a b)
  (:init (clear a) (clear b)) (:goal (and (on a b))))"""


@pytest.fixture(scope="module")
def critic():
    return PlanValidator(DOMAIN, PROBLEM)


@pytest.fixture
def stored(data_dir):
    """The folder of stored plans and verdicts."""
    folder = data_dir / "planbench-blocksworld"
    if not folder.is_dir():
        pytest.skip(f"no plans at {folder}")
    return folder


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("(take a) (put b a)", "step 2, (put b a): (held b) and (clear a) do not hold"),
        ("(take a) (take a)", "step 2, (take a): (clear a) and (not (held a)) do not hold"),
        ("(take b) (put b a)", "after the last step the goal is not reached: (on a b) does not hold"),
        ("(take c)", "step 1, (take c): there is no object c"),
        ("(take a) (put a b) (take a,)", "step 3, (take a,): there is no object a,"),
        ("; (take a)\n(put a b)", "step 1, (put a b): (held a) does not hold"),
        ("(take a b)", "step 1, (take a b): take takes 1 objects, not 2"),
        ("(take)", "step 1, (take): take takes 1 objects, not 0"),
        ("(take a) (glue a b)", "step 2, (glue a b): there is no action glue; there are take, put"),
        ("", "there is no step; write each as (action object ...): (on a b) does not hold"),
        ("I cannot (yet).", "there is no step; write each as (action object ...): (on a b) does not hold"),
    ],
)
def test_the_message_says_which_step_and_why(critic, text, message):
    finding = critic.check(text, "")
    assert (finding.verdict, finding.message) == ("fail", message)


def test_words_facts_and_capitals_around_the_steps_are_no_harm(critic):
    text = "Take it (it is free, as (clear a) says):\n1. (TAKE A)\n2. ( put  a b ), so that (on a b)."
    assert critic.check(text, "").verdict == "pass"
    assert critic.steps(text) == [("take", "a"), ("put", "a", "b")]


def test_the_span_is_the_step_that_fails(critic):
    text = "First (take a), then (put b a)."
    assert [text[slice(*span)] for span in critic.check(text, "").spans] == ["(put b a)"]


def test_of_a_text_with_one_fenced_block_only_that_is_read(critic):
    text = "Not (take b) but:\n```\n(take a)\n(put a b)\n```\n"
    assert critic.check(text, "").verdict == "pass"
    assert critic.check(text + text, "").verdict == "fail"


def test_only_the_facts_of_the_goal_that_do_not_hold_are_named():
    goal = "(and (clear b) (and (on a b) (or (held a) (on b a)) (not (clear a))))"
    critic = PlanValidator(DOMAIN.replace(":strips", ":adl"), PROBLEM.replace("(and (on a b))", goal))
    assert critic.check("(take a)", "").message == (
        "after the last step the goal is not reached: (on a b) does not hold"
    )
    assert critic.check("(take b)", "").message == (
        "after the last step the goal is not reached: (clear b) and (on a b) and (or (held a) (on b a)) and "
        "(not (clear a)) do not hold"
    )


def test_no_step_is_a_plan_where_the_goal_holds_already():
    done = PlanValidator(DOMAIN, PROBLEM.replace("(on a b)", "(clear a)"))
    assert done.check("Nothing to do.", "").verdict == "pass"


def test_an_object_of_the_wrong_type_is_no_argument():
    domain = """(define (domain d) (:requirements :strips :typing) (:types cup box)
      (:predicates (full ?b - box)) (:action fill :parameters (?b - box) :precondition (and)
      :effect (full ?b)))"""
    problem = "(define (problem p) (:domain d) (:objects c - cup b - box) (:init) (:goal (full b)))"
    typed = PlanValidator(domain, problem)
    assert typed.check("(fill c)", "").message == "step 1, (fill c): c is no box"
    assert typed.check("(fill b)", "").verdict == "pass"


def test_pddl_is_read_from_files(tmp_path):
    for name, text in (("domain.pddl", DOMAIN), ("problem.pddl", PROBLEM)):
        (tmp_path / name).write_text(text, "utf-8")
    critic = PlanValidator(
        str(tmp_path / "domain.pddl"), tmp_path / "problem.pddl", name="blocks", hard=False
    )
    assert (critic.name, critic.hard) == ("blocks", False)
    assert critic.check("(take a)(put a b)", "").verdict == "pass"


@pytest.mark.parametrize(
    ("domain", "problem", "message"),
    [
        (
            DOMAIN.replace(":strips", ":strips :derived-predicates"),
            PROBLEM,
            "requires :derived-predicates, which",
        ),
        (
            DOMAIN.replace(":strips", ":durative-actions :foo"),
            PROBLEM,
            "requires :durative-actions, :foo, which",
        ),
        (DOMAIN, PROBLEM[:-1] + "(:constraints (always (clear a))))", "constraints on states"),
        (DOMAIN, PROBLEM[:-1] + "(:constraints (sometime (held a))))", "constraints on states"),
        (DOMAIN, PROBLEM[:-3], "the PDDL cannot be used: Expected"),
        (DOMAIN, PROBLEM.replace("(clear b)", "(clear z)"), "the PDDL cannot be used: .*z"),
        (DOMAIN, PROBLEM.replace("(clear b)", "(clear a b)"), "the PDDL cannot be used"),
        ("(define)", PROBLEM, "the PDDL cannot be used"),
        ("", PROBLEM, "cannot read PDDL from"),
        ("no-such-file.pddl", PROBLEM, "cannot read PDDL from 'no-such-file.pddl'"),
    ],
)
def test_pddl_that_cannot_be_checked_is_refused(domain, problem, message):
    with pytest.raises(BadCritic, match=message):
        PlanValidator(domain, problem)


def test_every_plan_of_up_to_three_steps_gets_the_verdict_of_unified_planning(critic):
    from unified_planning.engines import SequentialPlanValidator
    from unified_planning.io import PDDLReader

    reader = PDDLReader()
    task = reader.parse_problem_string(DOMAIN, PROBLEM)
    oracle = SequentialPlanValidator(environment=task.environment)
    actions = ["(take a)", "(take b)", "(put a b)", "(put b a)"]
    verdicts = set()
    for plan in chain.from_iterable(product(actions, repeat=steps) for steps in range(4)):
        text = "\n".join(plan)
        expected = bool(oracle.validate(task, reader.parse_plan_string(task, text)))
        assert (critic.check(text, "").verdict == "pass") == expected, text
        verdicts.add(expected)
    assert verdicts == {True, False}


def test_stored_plans_get_their_stored_verdicts(stored):
    instances = {row["instance"]: row for row in _rows(stored / "instances.jsonl")}
    plans = defaultdict(list)
    for row in _rows(stored / "plans.jsonl"):
        plans[row["instance"]].append(row)
    judged = []
    for number in sorted(plans)[:6]:
        critic = PlanValidator(stored / "domain.pddl", _problem(instances[number]))
        for row in plans[number]:
            judged.append((critic.check("\n".join(row["plan"]), "").verdict == "pass", row["correct"]))
    assert len(judged) == 54
    assert all(ours == theirs for ours, theirs in judged)
    assert {theirs for _, theirs in judged} == {True, False}


def _rows(path):
    with path.open(encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def _problem(row):
    facts = {key: " ".join(f"({fact})" for fact in row[key]) for key in ("init", "goal")}
    return (
        f"(define (problem stored) (:domain blocksworld-4ops) (:objects {' '.join(row['objects'])}) "
        f"(:init {facts['init']}) (:goal (and {facts['goal']})))"
    )
