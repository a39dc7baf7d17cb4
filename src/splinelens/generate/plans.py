"""A critic for plans: every step can be executed, and the last state reaches the goal.

The package ``unified-planning`` parses PDDL and simulates plans. Its ``SequentialPlanValidator`` runs the
same simulator; the tests compare the two.
"""

import re
import warnings
from os import PathLike
from pathlib import Path
from typing import Any

from splinelens.errors import BadCritic, MissingPackage
from splinelens.generate.critics import Finding, fenced

_STEP = re.compile(r"\(\s*([\w-]+)([^()]*)\)")
_COMMENT = re.compile(r";[^\n]*")
_REQUIREMENTS = {
    *":strips :typing :equality :negative-preconditions :disjunctive-preconditions".split(),
    *":existential-preconditions :universal-preconditions :quantified-preconditions".split(),
    *":conditional-effects :adl :action-costs".split(),
}


class PlanValidator:
    """Checks the plan in a text against a planning task in PDDL.

    A plan is a sequence of steps ``(action object ...)``; the words between them are ignored. In a text with
    exactly one fenced block only that block is read. A step in parentheses whose objects exist and whose
    action does not is an error and no prose; a fact, such as ``(clear b)``, is prose.

    Attributes:
        name: As in ``Critic``.
        hard: As in ``Critic``.

    Example:
        >>> domain = '''(define (domain lamp) (:requirements :strips) (:predicates (lit ?x) (dark ?x))
        ...   (:action light :parameters (?x) :precondition (dark ?x)
        ...    :effect (and (lit ?x) (not (dark ?x)))))'''
        >>> problem = '''(define (problem hall) (:domain lamp) (:objects a b)
        ...   (:init (dark a) (dark b)) (:goal (and (lit a) (lit b))))'''
        >>> critic = PlanValidator(domain, problem)
        >>> critic.check("First (light a), then (light a) again.", "").message
        'step 2, (light a): (dark a) does not hold'
    """

    def __init__(
        self,
        domain: str | PathLike[str],
        problem: str | PathLike[str],
        *,
        name: str = "plan",
        hard: bool = True,
    ):
        """Parse a planning task.

        Args:
            domain: PDDL; a text that begins with a parenthesis or comment, or the path of a file.
            problem: As ``domain``.
            name: As in ``Critic``.
            hard: As in ``Critic``.

        Raises:
            BadCritic: PDDL that cannot be read, or that asks for more than instantaneous actions on facts.
            MissingPackage: ``unified-planning`` is not installed.
        """
        self.name, self.hard = name, hard
        self._problem, self._simulator = _parse(_source(domain), _source(problem))
        self._actions = {action.name: action for action in self._problem.actions}
        self._objects = {item.name: item for item in self._problem.all_objects}
        self._predicates = {fluent.name for fluent in self._problem.fluents}

    def steps(self, text: str) -> list[tuple[str, ...]]:
        """The plan in a text: the action and objects of each step."""
        return [step for step, _ in self._located(text)]

    def check(self, text: str, context: str) -> Finding:
        """Execute the plan in a text; the span is the step that fails."""
        located = self._located(text)
        state = self._simulator.get_initial_state()
        for number, (step, span) in enumerate(located, start=1):
            fault = self._misnamed(step)
            if not fault:
                action = self._actions[step[0]]
                objects = [self._objects[name] for name in step[1:]]
                missing, _ = self._simulator.get_unsatisfied_conditions(state, action, objects)
                fault = _unmet(missing) if missing else ""
            if fault:
                message = f"step {number}, ({' '.join(step)}): {fault}"
                return Finding("fail", message=message, spans=(span,))
            state = self._simulator.apply_unsafe(state, action, objects)
        unmet = self._simulator.get_unsatisfied_goals(state)
        if not unmet:
            return Finding("pass")
        beginning = (
            "after the last step the goal is not reached"
            if located
            else "there is no step; write each as (action object ...)"
        )
        return Finding("fail", message=f"{beginning}: {_unmet(unmet)}")

    def _located(self, text: str) -> list[tuple[tuple[str, ...], tuple[int, int]]]:
        """Each step and its span."""
        located = []
        begin, end = fenced(text)
        plan = _COMMENT.sub(lambda comment: " " * len(comment[0]), text[:end])  # as PDDL has them
        for match in _STEP.finditer(plan, begin):
            step = (match[1].lower(), *match[2].lower().split())
            names_objects = len(step) > 1 and all(name in self._objects for name in step[1:])
            if step[0] in self._actions or (names_objects and step[0] not in self._predicates):
                located.append((step, match.span()))
        return located

    def _misnamed(self, step: tuple[str, ...]) -> str:
        """What is wrong with the names in a step."""
        name, *objects = step
        if name not in self._actions:
            return f"there is no action {name}; there are {', '.join(self._actions)}"
        parameters = self._actions[name].parameters
        if len(objects) != len(parameters):
            return f"{name} takes {len(parameters)} objects, not {len(objects)}"
        for item, parameter in zip(objects, parameters, strict=True):
            if item not in self._objects:
                return f"there is no object {item}"
            if not parameter.type.is_compatible(self._objects[item].type):
                return f"{item} is no {parameter.type.name}"
        return ""


def _source(pddl: str | PathLike[str]) -> str:
    if isinstance(pddl, str) and pddl.lstrip()[:1] in ("(", ";"):
        return pddl
    try:
        return Path(pddl).expanduser().read_text("utf-8-sig")
    except (OSError, ValueError) as error:
        raise BadCritic(f"cannot read PDDL from {str(pddl)[:200]!r}: {error}") from error


def _parse(domain: str, problem: str) -> tuple[Any, Any]:  # Any: unified-planning has no types
    """The planning task and its simulator."""
    try:
        from pyparsing import ParseBaseException
        from unified_planning.engines import UPSequentialSimulator
        from unified_planning.exceptions import UPException
        from unified_planning.io import PDDLReader
        from unified_planning.model import Problem
    except ImportError as error:
        raise MissingPackage(
            "PlanValidator needs unified-planning: pip install 'splinelens[generate]'"
        ) from error

    listed = re.search(r"\(\s*:requirements([^)]*)\)", re.sub(r";.*", "", domain).lower())
    unknown = sorted(set(listed[1].split()) - _REQUIREMENTS) if listed else []
    if unknown:
        raise BadCritic(
            f"the domain requires {', '.join(unknown)}, which cannot be checked; PlanValidator reads domains "
            "of instantaneous actions on facts"
        )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # unified-planning calls deprecated functions of pyparsing
        try:
            task = PDDLReader().parse_problem_string(domain, problem)
            if type(task) is not Problem or task.trajectory_constraints:
                raise BadCritic("the PDDL has sensing or constraints on states, which cannot be checked")
            goals = [goal.simplify() for goal in task.goals]
            task.clear_goals()
            for goal in goals:  # each fact by itself, so that a message names those that do not hold
                for part in goal.args if goal.is_and() else [goal]:
                    task.add_goal(part)
            return task, UPSequentialSimulator(task)
        except (UPException, ParseBaseException, SyntaxError, AssertionError, LookupError) as error:
            raise BadCritic(f"the PDDL cannot be used: {error}") from error


def _unmet(conditions: list[Any]) -> str:  # Any: as in _parse
    verb = "does" if len(conditions) == 1 else "do"
    return f"{' and '.join(map(_pddl, conditions))} {verb} not hold"


def _pddl(condition: Any) -> str:  # Any: as in _parse
    """A condition as PDDL writes it."""
    if condition.is_fluent_exp():
        return f"({' '.join([condition.fluent().name, *map(str, condition.args)])})"
    if condition.is_not():
        return f"(not {_pddl(condition.arg(0))})"
    if condition.is_and() or condition.is_or():
        return f"({'and' if condition.is_and() else 'or'} {' '.join(map(_pddl, condition.args))})"
    return str(condition)
