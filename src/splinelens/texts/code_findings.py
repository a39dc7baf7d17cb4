"""Does written code use what does not exist, or leave out what its docstring promises? It is never run.

Three categories after Zhang et al., arXiv:2409.20550. ``knowledge``: it does not parse, or a name, import,
attribute, keyword or number of arguments does not exist. ``context``: the same, but the project has a thing
of that name elsewhere. ``requirement``: a parameter without use, a promise of the docstring that is not kept,
a stub. What cannot be resolved, such as a module that is not installed, is undetermined and no finding.
"""

import ast
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Literal

from splinelens.errors import BadCode, MissingPackage
from splinelens.texts.code_environment import ModuleIndex, installed_modules
from splinelens.texts.code_flow import read_before_set, unmet_requirements
from splinelens.texts.code_frame import CodeFrame, defines_at_run_time
from splinelens.texts.code_scope import CodeScope, class_attributes
from splinelens.texts.python_syntax import Function, compile_error, parse_python
from splinelens.texts.retrieval import CodeProject, Definition, Window, retrieve

Category = Literal["knowledge", "requirement", "context"]
"""The kinds of findings, see the module."""

RULES: dict[str, str] = {
    "does-not-parse": "Python cannot compile it",
    "undefined-name": "a name is bound nowhere",
    "missing-import": "a module, or a name imported from it, does not exist",
    "missing-attribute": "a module, a class or a built-in value has no attribute of that name",
    "wrong-arguments": "a call does not fit the parameters of what it calls",
    "wrong-format": "a format string does not fit its values",
    "unused-parameter": "a parameter is never used",
    "missing-return": "the docstring promises a value and none is returned",
    "missing-raise": "the docstring promises an exception and none is raised",
    "stub": "the body does nothing",
    "endless-recursion": "the function calls itself whatever it is given",
    "constant-return": "the function returns the same constant whatever it is given",
}
"""Each rule with what it says."""

MISSING = {"undefined-name", "missing-import", "missing-attribute"}
"""The rules on names that do not exist."""

_LINE_END = re.compile(r"\r\n?")
"""Python also ends a line at a carriage return."""

_GETTEXT = re.compile(r"\bgettext\b|\.install\(")
"""What may define the name ``_`` everywhere."""

_MOST_COMPARISONS = 200_000
"""Names that are compared with missing ones in one check: it would take longer than the check."""

_WRONG_FORMATS = (
    "StringDotFormatMissingArgument",
    "StringDotFormatInvalidFormat",
    "PercentFormatMissingArgument",
    "PercentFormatPositionalCountMismatch",
    "PercentFormatInvalidFormat",
    "PercentFormatExpectedMapping",
)
"""Messages of pyflakes on formats that raise."""


@dataclass(frozen=True)
class CodeFinding:
    """Something that is wrong with a piece of code.

    Attributes:
        line: From 1.
        column: From 1, in characters.
        category: Of what kind, see the module.
        rule: A key of ``RULES``.
        message: What is wrong, in words that go back to a model.
        suggestion: What may be meant; empty if nothing is known.
        related_path: The file of the project that the suggestion names, below its folder; empty if none.
        related_line: Its line there, from 1; 0 if there is none.
    """

    line: int
    column: int
    category: Category
    rule: str
    message: str
    suggestion: str = ""
    related_path: str = ""
    related_line: int = 0

    @property
    def fails(self) -> bool:
        """Whether code with it is wrong; findings of the category requirement are doubts."""
        return self.category != "requirement"

    @property
    def sentence(self) -> str:
        """The message and the suggestion."""
        return f"{self.message}; {self.suggestion}" if self.suggestion else self.message


@dataclass(frozen=True)
class CodeReport:
    """What is known of a piece of code.

    Attributes:
        findings: By line and column.
        undetermined: What could not be resolved, and why.
    """

    findings: tuple[CodeFinding, ...] = ()
    undetermined: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, record: Mapping[str, Any]) -> "CodeReport":  # Any: plain JSON values
        """The report that ``dataclasses.asdict`` made a record of; other keys are ignored."""
        findings = tuple(CodeFinding(**finding) for finding in record["findings"])
        return cls(findings, tuple(record["undetermined"]))

    @property
    def failures(self) -> tuple[CodeFinding, ...]:
        """The findings that are no doubts."""
        return tuple(finding for finding in self.findings if finding.fails)

    @property
    def verdict(self) -> Literal["pass", "fail", "undetermined"]:
        """``fail`` with a failure, ``undetermined`` if something could not be resolved, or ``pass``."""
        if self.failures:
            return "fail"
        return "undetermined" if self.undetermined else "pass"


@dataclass(frozen=True, eq=False)
class Surroundings:
    """Where a piece of code belongs.

    Attributes:
        context: The file that the code is for. It takes the place of the line ``<PLACEHOLDER>``, else that of
            the function of the same name, else it is added at the end. Leading tabs count four columns. None
            if the code is a file of its own.
        project: Where else a name may be defined, and which modules can be imported besides the installed.
        package: The package that relative imports start from, ``a.b``; None if it is unknown.
    """

    context: str | None = None
    project: CodeProject | None = None
    package: str | None = None

    @property
    def modules(self) -> ModuleIndex:
        """What imports can mean."""
        return self.project.modules if self.project else installed_modules()

    def of_file(self, path: Path) -> "Surroundings":
        """The same, with the package that a file is in, if it is a file of the project."""
        root, path = self.project.root if self.project else None, path.resolve()
        if root is None or not path.is_relative_to(root):
            return self
        parts = path.relative_to(root).parent.parts
        return replace(self, package=".".join(parts[1:] if parts[:1] == ("src",) else parts) or None)


STANDALONE = Surroundings()
"""Of code that is a file of no project."""


def check_code(source: str, around: Surroundings = STANDALONE) -> CodeReport:
    r"""Check Python code without running it.

    Args:
        source: A file, or a part of one if there is a context.
        around: Where it belongs.

    Raises:
        MissingPackage: pyflakes or jedi is not installed.

    Example:
        >>> report = check_code("def area(width, height):\n    return width * hight\n")
        >>> report.verdict, report.findings[-1].message
        ('fail', "the name 'hight' is not defined")
    """
    if "\0" in source:
        return CodeReport(undetermined=("NUL bytes: this is no source code",))
    try:
        return _Check(_LINE_END.sub("\n", source), around).run()
    except RecursionError:
        return CodeReport(undetermined=("the code is nested too deeply to be read",))


class _Check:
    """One check: the code in its place, and what is wrong there."""

    def __init__(self, source: str, around: Surroundings):
        self.source = source
        self.project = around.project
        self.modules = around.modules
        self.package = around.package
        self.frame = _frame(around.context)
        self.placed = self.frame.place(source)
        self.lines = self.placed.text.split("\n")
        self.reasons: dict[str, None] = {}  # in order, each once
        self.findings: list[CodeFinding] = []
        self.suggestions: dict[str, tuple[Definition | None, str]] = {}  # by message
        self.comparisons = 0

    def run(self) -> CodeReport:
        """All rules, in the order of what they need."""
        if self.frame.problem:
            self.reasons[f"the context does not parse: {self.frame.problem}"] = None
        if (tree := self._parse()) is not None:
            self.scope = CodeScope(tree, self.placed, self.frame, self.project, self.modules, self.package)
            self._names()
            self._imports()
            self._attributes_and_calls()
            self._requirements()
            self.reasons |= self.scope.reasons
        unique = {(each.line, each.column, each.rule): each for each in reversed(self.findings)}
        return CodeReport(tuple(unique[key] for key in sorted(unique)), tuple(self.reasons))

    def report_finding(
        self,
        line: int,
        column: int,
        rule: str,
        message: str,
        category: Category = "knowledge",
        suggestion: str = "",
        related: Definition | Window | None = None,
    ) -> None:
        """Record a finding at a line, from 1, and a byte of it, from 0, of the file, if it is in the code."""
        if self.placed.first <= line <= self.placed.last:
            text = self.lines[line - 1]
            if not text.isascii():
                column = len(text.encode()[:column].decode(errors="ignore"))
            path, number = (related.path, related.line) if related else ("", 0)
            self.findings.append(
                CodeFinding(
                    line=line - self.placed.first + 1,
                    column=max(0, column - self.placed.indent) + 1,
                    category=category,
                    rule=rule,
                    message=message,
                    suggestion=suggestion,
                    related_path=path,
                    related_line=number,
                )
            )

    def report_missing(
        self, line: int, column: int, rule: str, message: str, name: str, known: Collection[str]
    ) -> None:
        """Record a name that does not exist, with what may be meant by it."""
        if message not in self.suggestions:
            self.suggestions[message] = self._suggested(name, known)
        definition, close = self.suggestions[message]
        exact = definition is not None and definition.name.rpartition(".")[2] == name
        category: Category = "context" if exact else "knowledge"
        suggestion = ""
        related: Definition | Window | None = None
        if definition and (exact or not close):
            related = definition
            suggestion = f"you may mean {definition.name} in {definition.path}:{definition.line}"
        elif close:
            suggestion = f"you may mean {close}"
        elif self.similar:
            related = self.similar
            suggestion = f"the most similar code is in {related.path}:{related.line}"
        self.report_finding(line, column, rule, message, category, suggestion, related)

    def _suggested(self, name: str, known: Collection[str]) -> tuple[Definition | None, str]:
        """What the project defines of a name, and which known name is like it; empty if none is."""
        self.comparisons += len(known)
        if self.comparisons > _MOST_COMPARISONS:
            return None, ""
        definition = self.project.suggest(name, self.source) if self.project else None
        close = (each for each in get_close_matches(name, known, 2, 0.8) if each != name)
        return definition, next(close, "")

    @cached_property
    def similar(self) -> Window | None:
        """The lines of the project that share most words with the code; None if nothing does."""
        ranked = retrieve(self.source, self.project.windows, 1) if self.project else []
        return ranked[0][0] if ranked else None

    def _parse(self) -> ast.Module | None:
        try:
            tree = parse_python(self.placed.text)
            error = compile_error(tree)
        except BadCode as problem:
            error = problem.__cause__ if isinstance(problem.__cause__, SyntaxError) else None
            if error is None:
                self.reasons[f"the code cannot be parsed: {problem}"] = None
                return None
        except (ValueError, MemoryError) as problem:
            self.reasons[f"the code cannot be parsed: {problem}"] = None
            return None
        if error is None:
            return tree
        line = min(max(self.placed.first, error.lineno or 1), self.placed.last) - self.placed.first + 1
        column = max(1, (error.offset or 1) - self.placed.indent)
        version = f"Python {sys.version_info.major}.{sys.version_info.minor}"
        message = f"this does not parse as {version}: {error.msg}"
        self.findings.append(CodeFinding(line, column, "knowledge", "does-not-parse", message))
        return None

    # Names

    def _names(self) -> None:
        try:
            from pyflakes import checker, messages
        except ImportError as error:
            raise MissingPackage("checking code needs pyflakes: pip install 'splinelens[code]'") from error

        every = checker.Checker(self.scope.tree, builtins={"WindowsError", "__file__", "__path__"}).messages
        if any(isinstance(each, messages.ImportStarUsage | messages.ImportStarUsed) for each in every):
            self.reasons["from ... import *: where names come from is unknown"] = None
        inside = [each for each in every if self.placed.first <= each.lineno <= self.placed.last]
        formats = tuple(getattr(messages, name) for name in _WRONG_FORMATS)
        for each in inside:
            if isinstance(each, messages.UndefinedName):
                self._undefined_name(each.lineno, each.col, each.message_args[0], "is not defined")
            elif isinstance(each, messages.UndefinedLocal):
                self._undefined_name(each.lineno, each.col, each.message_args[0], "is used before it is set")
            elif isinstance(each, formats):
                message = str(each.message % each.message_args)
                self.report_finding(each.lineno, each.col, "wrong-format", message)
        self._early_reads()

    def _undefined_name(self, line: int, column: int, name: str, problem: str) -> None:
        if (line, column) in self.quoted or name in self.scope.deleted:
            return
        if self.dynamic:
            self.reasons["names may be defined by exec or globals()"] = None
        elif name == "_" and self.translated:
            self.reasons["the name '_' may be installed by gettext"] = None
        elif self.frame.problem:
            self.reasons[f"{name}: the context does not parse"] = None
        elif not self.scope.is_guarded(line, "NameError") and not self.scope.is_local(line, name):
            message = f"the name {name!r} {problem}"
            if name in self.owner_attributes:
                suggestion = f"you may mean self.{name}"
                self.report_finding(line, column, "undefined-name", message, "context", suggestion)
            else:
                self.report_missing(line, column, "undefined-name", message, name, self.scope.visible_names)

    @cached_property
    def dynamic(self) -> bool:
        """Whether the file may define names that its text does not show."""
        return defines_at_run_time(self.placed.text) or self.frame.dynamic

    @cached_property
    def translated(self) -> bool:
        """Whether the file may define the name ``_`` everywhere."""
        return bool(_GETTEXT.search(self.placed.text))

    @cached_property
    def owner_attributes(self) -> set[str]:
        """What the class has that the code is a method of."""
        return class_attributes(self.frame.owner) if self.frame.owner else set()

    @cached_property
    def quoted(self) -> set[tuple[int, int]]:
        """Where strings begin: an annotation such as ``Float[Tensor, "token"]`` names no variable."""
        return {
            (node.lineno, node.col_offset)
            for node in self.scope.parents
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }

    def _early_reads(self) -> None:
        for function in self.scope.nodes:
            for read in read_before_set(function) if isinstance(function, Function) else ():
                if not self.scope.is_guarded(read.lineno, "NameError"):
                    message = f"the name {read.id!r} is used before it is set"
                    self.report_finding(read.lineno, read.col_offset, "undefined-name", message)

    # Imports

    def _imports(self) -> None:
        for node in self.scope.nodes:
            if not isinstance(node, ast.Import | ast.ImportFrom) or self.scope.is_guarded(
                node.lineno, "ImportError"
            ):
                continue
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._module(node, alias.name)
                continue
            module = self.scope.module_from(node)
            if module.startswith("."):
                self.reasons["relative imports: the package of the file is unknown"] = None
            elif self._module(node, module):
                for alias in node.names:
                    self._imported_name(node, module, alias.name)

    def _module(self, node: ast.stmt, module: str) -> bool:
        """Whether a module exists; recorded if it does not or if that is unknown."""
        exists = self.modules.has_module(module)
        if exists is None:
            self.reasons[f"module {module}: not installed, or its parts are unknown"] = None
        elif not exists:
            parent, _, last = module.rpartition(".")
            known = self.modules.names(parent) or ()
            message = f"there is no module {module!r}"
            self.report_missing(node.lineno, node.col_offset, "missing-import", message, last, known)
        return bool(exists)

    def _imported_name(self, node: ast.stmt, module: str, name: str) -> None:
        if name == "*":
            return
        known = self.modules.has_name(module, name)
        submodule = not known and self.modules.has_module(f"{module}.{name}")
        if known is False and not submodule:
            names = self.modules.names(module) or ()
            message = f"module {module!r} has no {name!r}"
            self.report_missing(node.lineno, node.col_offset, "missing-import", message, name, names)
        elif not (known or submodule):
            self.reasons[f"module {module}: its names are unknown"] = None

    # Attributes and calls

    def _attributes_and_calls(self) -> None:
        for node in self.scope.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                self._attribute(node)
            elif isinstance(node, ast.Call):
                self._call(node)

    def _attribute(self, node: ast.Attribute) -> None:
        lacking = self.scope.owner_without(node)
        if lacking is None or self.scope.is_guarded(node.lineno, "AttributeError"):
            return
        owner, known = lacking
        line, column = node.end_lineno or node.lineno, (node.end_col_offset or 0) - len(node.attr.encode())
        message = f"{owner} has no attribute {node.attr!r}"
        self.report_missing(line, column, "missing-attribute", message, node.attr, known)

    def _call(self, node: ast.Call) -> None:
        mismatches = [signature.mismatch(node) for signature in self.scope.signatures_of(node.func)]
        if mismatches and all(mismatches) and not self.scope.is_guarded(node.lineno, "TypeError"):
            message = f"{ast.unparse(node.func)} {mismatches[0]}"
            self.report_finding(node.lineno, node.col_offset, "wrong-arguments", message)

    # Requirements

    def _requirements(self) -> None:
        for node in self.scope.nodes:
            if isinstance(node, Function) and self.scope.function_around(node) is None:
                parent = self.scope.parents.get(node)
                owner = parent if isinstance(parent, ast.ClassDef) else None
                for rule, message in unmet_requirements(node, owner):
                    self.report_finding(node.lineno, node.col_offset, rule, message, category="requirement")


@lru_cache(256)
def _frame(context: str | None) -> CodeFrame:
    return CodeFrame(None if context is None else _LINE_END.sub("\n", context))
