"""Critics: requirements on a text that a model wrote, with a message that says what to correct.

A hard critic must pass before a text is used; a soft one ranks the texts that pass. ``Detector`` is a critic.
Source of the terms: Kambhampati et al., arXiv:2402.01817.
"""

import ast
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from functools import cached_property
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from splinelens.errors import BadCode, BadCritic, MissingPackage
from splinelens.texts.code_findings import STANDALONE, Surroundings, check_code
from splinelens.texts.python_syntax import parse_python
from splinelens.texts.retrieval import CodeProject, as_comments, retrieve

Verdict = Literal["pass", "fail", "undetermined"]

_FENCE = re.compile(r"^[ \t]*```[^\n]*\n(.*?)^[ \t]*```", re.MULTILINE | re.DOTALL)
_SEARCH_SECONDS = 1.0
_SHOWN = 3  # violations and occurrences in a message: a model corrects a few at a time


@dataclass(frozen=True)
class Finding:
    """What a critic says of a text.

    Attributes:
        verdict: ``undetermined`` where it cannot tell; of a hard critic that is no pass.
        score: In [0, 1], higher is better; soft critics rank by it. None if there is none.
        message: What is wrong and how to correct it, in words that go back to the model; empty on a pass.
        spans: First character, and the one after the last, of each part that fails.

    Raises:
        BadCritic: No such verdict, or a score outside its range.
    """

    verdict: Verdict
    score: float | None = None
    message: str = ""
    spans: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if self.verdict not in ("pass", "fail", "undetermined"):
            raise BadCritic(f"verdict={self.verdict!r}: give pass, fail or undetermined")
        if self.score is not None and not 0 <= self.score <= 1:
            raise BadCritic(f"score={self.score!r}: give a number from 0 to 1, or None")
        if not isinstance(self.message, str):
            raise BadCritic(f"message={self.message!r}: give a text")
        if not all(isinstance(place, int) for span in self.spans for place in span):
            raise BadCritic(f"spans={self.spans!r}: give pairs of whole numbers")
        object.__setattr__(self, "spans", tuple(tuple(span) for span in self.spans))
        # Half of a surrogate pair, as a JSON text can hold, could be neither asked nor stored.
        object.__setattr__(self, "message", encodable(self.message))


def encodable(text: str) -> str:
    """The text with each half of a surrogate pair as its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


@runtime_checkable
class Critic(Protocol):
    """Checks texts."""

    @property
    def name(self) -> str:
        """How traces and messages call it."""
        ...

    @property
    def hard(self) -> bool:
        """Whether a text must pass it."""
        ...

    def check(self, text: str, context: str) -> Finding:
        """What it says of a text that was written to a prompt.

        Args:
            text: The text.
            context: The prompt.
        """
        ...


@dataclass(frozen=True)
class Length:
    """The number of words or characters lies between two limits.

    Attributes:
        least: Fewest units.
        most: Most units; None for no limit.
        unit: ``words`` (runs of characters that are no white space) or ``characters``.
        name: As in ``Critic``.
        hard: As in ``Critic``.

    Raises:
        BadCritic: Limits that no text can keep, or no limit at all.

    Example:
        >>> Length(most=3).check("a b c d e", "").message
        'the answer has 5 words; write at most 3'
    """

    least: int = 0
    most: int | None = None
    unit: Literal["words", "characters"] = "words"
    _: KW_ONLY
    name: str = "length"
    hard: bool = True

    def __post_init__(self) -> None:
        if self.unit not in ("words", "characters"):
            raise BadCritic(f"unit={self.unit!r}: give words or characters")
        if not all(isinstance(limit, int) for limit in (self.least, self.most or 0)):
            raise BadCritic(f"least={self.least!r}, most={self.most!r}: give whole numbers")
        if self.least < 0 or (self.most is not None and self.most < self.least):
            raise BadCritic(f"no text has at least {self.least} and at most {self.most} {self.unit}")
        if self.least == 0 and self.most is None:
            raise BadCritic("Length needs a limit: least, most or both")

    def check(self, text: str, context: str) -> Finding:
        """Count the units of a text; the span is what exceeds the limit."""
        pattern = r"\S+" if self.unit == "words" else r"(?s:.)"
        starts = [match.start() for match in re.finditer(pattern, text)]
        count = f"the answer has {len(starts)} {self.unit}"
        if len(starts) < self.least:
            return Finding("fail", message=f"{count}; write at least {self.least}")
        if self.most is not None and len(starts) > self.most:
            span = (starts[self.most], len(text))
            return Finding("fail", message=f"{count}; write at most {self.most}", spans=(span,))
        return Finding("pass")


@dataclass(frozen=True)
class Pattern:
    r"""A regular expression occurs in the text, or does not.

    Searched with the package ``regex``, whose search can be stopped: a pattern that takes more than a second
    on a text is ``undetermined``.

    Attributes:
        pattern: The expression; ``(?i)`` at its start ignores case.
        occurs: Whether it must occur, or must not.
        message: What goes back to the model; empty for a sentence with the pattern or what it matched.
        name: As in ``Critic``.
        hard: As in ``Critic``.

    Raises:
        BadCritic: The pattern cannot be compiled.

    Example:
        >>> Pattern(r"(?i)\bmaybe\b", occurs=False).check("Maybe at ten.", "")
        Finding(verdict='fail', score=None, message='the answer must not contain "Maybe"', spans=((0, 5),))
    """

    pattern: str
    _: KW_ONLY
    occurs: bool = True
    message: str = ""
    name: str = "pattern"
    hard: bool = True

    def __post_init__(self) -> None:
        import regex

        try:
            regex.compile(self.pattern)
        except (regex.error, RecursionError, TypeError) as error:
            raise BadCritic(f"the pattern {self.pattern!r} cannot be compiled: {error}") from error

    def check(self, text: str, context: str) -> Finding:
        """Search a text; the spans are the occurrences that must not be."""
        import regex

        try:
            matches = list(regex.finditer(self.pattern, text, timeout=_SEARCH_SECONDS))
        except TimeoutError:
            return Finding("undetermined", message=f"the pattern takes more than {_SEARCH_SECONDS:g} s")
        if bool(matches) == self.occurs:
            return Finding("pass")
        if self.occurs:
            return Finding(
                "fail", message=self.message or f"the answer must match the pattern {self.pattern}"
            )
        shown = ", ".join(f'"{word}"' for word in list(dict.fromkeys(match[0] for match in matches))[:_SHOWN])
        message = self.message or f"the answer must not contain {shown}"
        return Finding("fail", message=message, spans=tuple(match.span() for match in matches))


@dataclass(frozen=True)
class JsonSchema:
    """The text is JSON that is valid under a schema (package ``jsonschema``).

    A text with exactly one fenced block is judged by what stands in it, any other as a whole.

    Attributes:
        schema: The schema; of draft 2020-12 unless its ``$schema`` names another. No reference is fetched.
        name: As in ``Critic``.
        hard: As in ``Critic``.

    Raises:
        BadCritic: No valid schema.
        MissingPackage: ``jsonschema`` is not installed.

    Example:
        >>> schema = {"type": "object", "properties": {"age": {"type": "integer", "minimum": 0}}}
        >>> JsonSchema(schema).check('{"age": -1}', "").message
        'the JSON is wrong at $.age (minimum): -1 is less than the minimum of 0'
    """

    schema: Mapping[str, Any] | bool  # Any: JSON
    _: KW_ONLY
    name: str = "json-schema"
    hard: bool = True

    def __post_init__(self) -> None:
        _ = self._validator

    def check(self, text: str, context: str) -> Finding:
        """Parse and validate a text."""
        from referencing.exceptions import Unresolvable

        try:
            value = json.loads(text[slice(*fenced(text))], parse_constant=_reject_constant)
        except (ValueError, RecursionError) as error:
            reason = "nested too deeply" if isinstance(error, RecursionError) else error
            return Finding("fail", message=f"the answer must be JSON and nothing else: {reason}")
        try:
            errors = sorted(self._validator.iter_errors(value), key=lambda error: error.json_path)
        except Unresolvable as error:
            return Finding("undetermined", message=f"the schema has a reference that leads nowhere: {error}")
        except RecursionError:
            return Finding("undetermined", message="the schema or the JSON is nested too deeply")
        violations = [
            f"at {error.json_path} ({error.validator}): {error.message}" for error in errors[:_SHOWN]
        ]
        if not violations:
            return Finding("pass")
        return Finding("fail", message="the JSON is wrong " + "; ".join(violations))

    @cached_property
    def _validator(self) -> Any:  # Any: the class depends on the draft
        try:
            from jsonschema.exceptions import SchemaError
            from jsonschema.validators import Draft202012Validator, validator_for
            from referencing import Registry
        except ImportError as error:
            raise MissingPackage("JsonSchema needs jsonschema: pip install 'splinelens[generate]'") from error

        kind = validator_for(self.schema, default=Draft202012Validator)
        try:
            kind.check_schema(self.schema)
        except SchemaError as error:
            raise BadCritic(f"no valid JSON schema: {error.message} at {error.json_path}") from error
        return kind(self.schema, registry=Registry())  # an empty registry fetches nothing


@dataclass(frozen=True)
class CodeCritic:
    r"""Python code uses nothing that does not exist; it is not run.

    A text with exactly one fenced block is judged by what stands in it, any other as a whole. Findings of the
    category requirement are doubts and do not fail. Code of which something cannot be resolved, such as a
    module that is not installed, is ``undetermined``: no pass of a hard critic. What an answer imports above
    its function counts as imported by the file.

    Attributes:
        around: The file that the code is for, and the project where a missing name may be defined.
        show_code: Whether a message also shows the code of the project that shares most words with the
            answer, in at most half the length of the prompt.
        name: As in ``Critic``.
        hard: As in ``Critic``.

    Raises:
        BadCritic: ``around`` is no ``Surroundings``, or holds something else than text and a ``CodeProject``.
        MissingPackage: At the first check: pyflakes or jedi is not installed.

    Example:
        >>> CodeCritic().check("def area(width, height):\n    return width * hight", "").message
        "line 2: the name 'hight' is not defined; you may mean height"
    """

    around: Surroundings = STANDALONE
    _: KW_ONLY
    show_code: bool = False
    name: str = "code"
    hard: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.around, Surroundings):
            raise BadCritic(
                f"around={self.around!r:.100}: give Surroundings(context, project), the text of a file and "
                "CodeProject.read(folder)"
            )
        context, project = self.around.context, self.around.project
        if not isinstance(context, str | None):
            raise BadCritic(f"context={context!r:.100}: give the text of the file, as read_source returns it")
        if not isinstance(project, CodeProject | None):
            raise BadCritic(f"project={project!r:.100}: give CodeProject.read(folder)")

    def check(self, text: str, context: str) -> Finding:
        """Check a text; the spans are the lines with findings."""
        start, end = fenced(text)
        report = check_code(text[start:end], with_imports(self.around, text[start:end]))
        if not report.failures:
            unknown = "; ".join(report.undetermined[:_SHOWN])
            return Finding("undetermined", message=unknown) if unknown else Finding("pass")
        shown = report.failures[:_SHOWN]
        message = ". ".join(f"line {finding.line}: {finding.sentence}" for finding in shown)
        if self.show_code and self.around.project:
            similar = retrieve(text[start:end], self.around.project.windows)
            if comments := as_comments(similar, len(context)):
                message += f"\nCode of the project with similar words:\n{comments}"
        lines = [match.span() for match in re.finditer(r"[^\r\n]*(?:\r\n|\r|\n|$)", text[start:end])]
        spans = [lines[line - 1] for line in sorted({finding.line for finding in report.failures})]
        return Finding(
            "fail",
            message=message,
            spans=tuple((start + first, start + last) for first, last in spans),
        )


def with_imports(around: Surroundings, code: str) -> Surroundings:
    r"""The surroundings with the imports of an answer, which belong at the top of the file, not into a class.

    Example:
        >>> with_imports(Surroundings("x = 1"), "import os\ndef f(): return os.sep").context
        'x = 1\nimport os'
    """
    if around.context is None:
        return around
    try:
        tree = parse_python(code)
    except BadCode:
        return around
    lines = [ast.unparse(node) for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    return replace(around, context="\n".join([around.context, *lines]))


@dataclass(frozen=True)
class Check:
    """A function of the user as a critic.

    Attributes:
        function: Of a text; it returns whether the text passes, or what is wrong (an empty string if nothing
            is), or a score from 0 to 1, or a ``Finding``.
        at_least: The score that passes.
        name: As in ``Critic``; the name of the function if it is empty.
        hard: As in ``Critic``.

    Example:
        >>> Check(lambda text: text.endswith("."), name="full-stop").check("No end", "")
        Finding(verdict='fail', score=None, message='the answer does not pass full-stop', spans=())
    """

    function: Callable[[str], bool | str | float | Finding]
    _: KW_ONLY
    at_least: float = 0.5
    name: str = ""
    hard: bool = True

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", getattr(self.function, "__name__", "check"))

    def check(self, text: str, context: str) -> Finding:
        """Call the function; what it raises is raised.

        Raises:
            BadCritic: The function returns something else.
        """
        result: Any = self.function(text)  # Any: of a user's function
        if isinstance(result, Finding):
            return result
        if isinstance(result, str):
            return Finding("fail" if result else "pass", message=result)
        message = f"the answer does not pass {self.name}"
        if isinstance(result, bool | np.bool_):
            return Finding("pass") if result else Finding("fail", message=message)
        if isinstance(result, int | float | np.integer | np.floating):
            score = float(result)
            return Finding("pass", score) if score >= self.at_least else Finding("fail", score, message)
        raise BadCritic(f"{self.name} returns {type(result).__name__}: give a bool, text, number or Finding")


def fenced(text: str) -> tuple[int, int]:
    """The span of what stands in the fenced block of a text that has exactly one; otherwise of all of it."""
    blocks = [match.span(1) for match in _FENCE.finditer(text)]
    return blocks[0] if len(blocks) == 1 else (0, len(text))


def _reject_constant(name: str) -> float:
    raise ValueError(f"{name} is no JSON")
