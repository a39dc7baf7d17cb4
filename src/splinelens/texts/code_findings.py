"""Does written code use what does not exist, or leave out what its docstring promises? It is never run.

Three categories after Zhang et al., arXiv:2409.20550. ``knowledge``: it does not parse, or a name, import,
attribute, keyword or number of arguments does not exist. ``context``: the same, but the project has a thing
of that name elsewhere. ``requirement``: a parameter without use, a promise of the docstring that is not kept,
a stub. What cannot be resolved, such as a module that is not installed, is undetermined and no finding.
"""

import ast
import builtins
import re
import textwrap
import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from difflib import get_close_matches
from functools import cached_property, lru_cache
from typing import Any, Literal

from splinelens.errors import BadCode, MissingPackage
from splinelens.texts.code import parse_python
from splinelens.texts.code_environment import CallSignature, Environment
from splinelens.texts.code_flow import local_names, read_before_set, unmet_requirements
from splinelens.texts.retrieval import CodeProject, definitions, retrieve

Category = Literal["knowledge", "requirement", "context"]
Function = ast.FunctionDef | ast.AsyncFunctionDef

PLACEHOLDER = "<PLACEHOLDER>"
"""The line of a context where the code belongs."""

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

_DYNAMIC_NAMES = re.compile(r"\bexec\(|globals\(\)|\bvars\(\)|__builtins__|builtins\.\w+ *=|sys\._getframe")
_OPEN_CLASS = re.compile(r"\bsetattr\(|__dict__|__getattr__|__getattribute__|__setattr__|\bvars\(|\btype\(")
_OPEN_NAME = re.compile("mixin|base|abstract|interface|protocol", re.IGNORECASE)
_HARMLESS_DECORATORS = {"staticmethod", "classmethod"}
_LITERALS: dict[type[ast.expr], type] = {
    ast.List: list,
    ast.ListComp: list,
    ast.Dict: dict,
    ast.DictComp: dict,
    ast.Set: set,
    ast.SetComp: set,
    ast.JoinedStr: str,
}
_GUARDS = re.compile(r"hasattr|version_info|PY[23]|sys\.platform|platform\.system|os\.name|TYPE_CHECKING")


@dataclass(frozen=True)
class CodeFinding:
    """Something that is wrong with a piece of code.

    Attributes:
        line: From 1.
        column: From 1.
        category: Of what kind, see the module.
        rule: A key of ``RULES``.
        message: What is wrong, in words that go back to a model.
        suggestion: What may be meant; empty if nothing is known.
        place: Where the project defines that, ``path:line``; empty likewise.
    """

    line: int
    column: int
    category: Category
    rule: str
    message: str
    suggestion: str = ""
    place: str = ""


@dataclass(frozen=True)
class CodeReport:
    """What is known of a piece of code.

    Attributes:
        verdict: ``fail`` with a finding of the categories knowledge or context; ``undetermined`` if there is
            none but something could not be resolved; ``pass`` otherwise, also with findings of the category
            requirement, which are doubts.
        findings: By line and column.
        undetermined: What could not be resolved, and why.
    """

    verdict: Literal["pass", "fail", "undetermined"]
    findings: tuple[CodeFinding, ...] = ()
    undetermined: tuple[str, ...] = ()

    @classmethod
    def of(cls, findings: Iterable[CodeFinding], undetermined: Iterable[str] = ()) -> "CodeReport":
        """The report with its verdict."""
        findings, undetermined = tuple(findings), tuple(undetermined)
        if any(finding.category != "requirement" for finding in findings):
            return cls("fail", findings, undetermined)
        return cls("undetermined" if undetermined else "pass", findings, undetermined)


def check(
    source: str,
    context: str | None = None,
    project: CodeProject | None = None,
    environment: Environment | None = None,
    package: str | None = None,
) -> CodeReport:
    r"""Check Python code without running it.

    Args:
        source: A file, or a part of one if there is a context.
        context: The file that the part is for. It takes the place of the line ``<PLACEHOLDER>``, else that of
            the function of the same name, else it is added at the end. Leading tabs count four columns.
        project: Where else a name may be defined.
        environment: What modules hold; None takes this Python's installed modules and ``project.root``.
        package: The package of ``environment`` that relative imports start from, ``a.b``.

    Raises:
        MissingPackage: pyflakes or jedi is not installed.

    Example:
        >>> report = check("def area(width, height):\n    return width * hight\n")
        >>> report.verdict, report.findings[-1].message
        ('fail', "the name 'hight' is not defined")
    """
    if "\0" in source:
        return CodeReport.of((), ["NUL bytes: this is no source code"])
    if environment is None:
        environment = Environment(project.root) if project and project.root else _installed_modules()
    try:
        return _Check(source, context, project, environment, package).run()
    except RecursionError:
        return CodeReport.of((), ["the code is nested too deeply to be read"])


class _Check:
    """One check: the code in its place, and what is found there."""

    def __init__(
        self,
        source: str,
        context: str | None,
        project: CodeProject | None,
        environment: Environment,
        package: str | None,
    ):
        self.package = package
        self.source, self.project, self.environment = source, project, environment
        self.frame = _frame(context) if context is not None else _Frame(None)
        self.unknown: dict[str, None] = {}  # in order, each once
        self.found: list[CodeFinding] = []
        self.inherited: dict[str, frozenset[str] | None] = {}

    def run(self) -> CodeReport:
        """All rules, in the order of what they need."""
        self.merged, self.first, self.indent = self.frame.place(self.source)
        self.last = self.first + self.source.count("\n") + 1
        self.unknown |= dict.fromkeys(self.frame.unknown)
        if self._compile():
            self._names()
            self._imports()
            self._attributes_and_calls()
            self._requirements()
        unique = {(each.line, each.column, each.rule): each for each in reversed(self.found)}
        return CodeReport.of([unique[key] for key in sorted(unique)], self.unknown)

    def add(
        self, node: Any, rule: str, message: str, meant: str = "", category: Category = "knowledge"
    ) -> None:
        """Record a finding inside the code; ``node`` has a line and column of the code in its place."""
        line, column = node.lineno - self.first + 1, node.col_offset
        if 1 <= line <= self.last - self.first:
            column = max(0, column - self.indent)
            self.found.append(CodeFinding(line, column + 1, category, rule, message, meant))

    def add_missing(self, node: Any, rule: str, message: str, name: str, known: Iterable[str]) -> None:
        """Record a name that does not exist, with what may be meant by it."""
        definition = self.project.meant(name, self.source) if self.project else None
        exact = definition is not None and definition.name.rpartition(".")[2] == name
        close = get_close_matches(name, list(known), 1, 0.8)
        count = len(self.found)
        if definition and (exact or not close):
            place = f"{definition.path}:{definition.line}"
            suggestion = f"you may mean {definition.name} in {place}"
            self.add(node, rule, message, suggestion, "context" if exact else "knowledge")
            self.found[count:] = [replace(each, place=place) for each in self.found[count:]]
        elif close or not self.similar:
            self.add(node, rule, message, f"you may mean {close[0]}" if close else "")
        else:
            self.add(node, rule, message, f"the most similar code is in {self.similar}")
            self.found[count:] = [replace(each, place=self.similar) for each in self.found[count:]]

    @cached_property
    def similar(self) -> str:
        """The place in the project that shares most words with the code; empty without a project."""
        ranked = retrieve(self.source, self.project.windows, 1) if self.project else []
        return f"{ranked[0][0].path}:{ranked[0][0].line}" if ranked else ""

    def _compile(self) -> bool:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                self.tree = ast.parse(self.merged)
                compile(
                    self.tree, "code", "exec", dont_inherit=True
                )  # only compiled: finds misplaced returns
        except SyntaxError as error:
            line = min(max(1, (error.lineno or 1) - self.first + 1), self.last - self.first)
            message = f"this does not parse: {error.msg}"
            column = max(1, (error.offset or 1) - self.indent)
            self.found.append(CodeFinding(line, column, "knowledge", "does-not-parse", message))
            return False
        except (ValueError, MemoryError) as error:
            self.unknown[f"the code cannot be parsed: {error}"] = None
            return False
        self.nodes = [
            node
            for top in _inside(self.tree, self.first, self.last)
            for node in ast.walk(top)
            if self.first <= getattr(node, "lineno", 0) < self.last or isinstance(node, ast.arguments)
        ]
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}
        return True

    # Names

    def _names(self) -> None:
        try:
            from pyflakes import checker, messages
        except ImportError as error:
            raise MissingPackage("checking code needs pyflakes: pip install 'splinelens[code]'") from error

        dynamic = bool(_DYNAMIC_NAMES.search(self.merged)) or self.frame.dynamic
        wrong_format = tuple(
            getattr(messages, name)
            for name in (
                "StringDotFormatMissingArgument",
                "StringDotFormatInvalidFormat",
                "PercentFormatMissingArgument",
                "PercentFormatPositionalCountMismatch",
                "PercentFormatInvalidFormat",
                "PercentFormatExpectedMapping",
            )
        )
        # An annotation in quotes is never evaluated: Float[Tensor, "token"] names no variable.
        quoted = {
            (node.lineno, node.col_offset)
            for node in self.parents
            if isinstance(node, ast.Constant) and isinstance(node.value, str)
        }
        for message in checker.Checker(self.tree, builtins={"WindowsError", "__file__"}).messages:
            inside = self.first <= message.lineno < self.last
            if isinstance(message, messages.ImportStarUsage | messages.ImportStarUsed):
                self.unknown["from ... import *: where names come from is unknown"] = None
            elif not inside:
                continue
            elif isinstance(message, messages.UndefinedName | messages.UndefinedLocal):
                if (message.lineno, message.col) in quoted:
                    continue
                name = message.message_args[0]
                node = _At(message.lineno, message.col)
                if dynamic:
                    self.unknown["names may be defined by exec or globals()"] = None
                elif self.frame.broken:
                    self.unknown[f"{name}: the context does not parse"] = None
                elif not self._guarded(node, "NameError") and not self._is_local(node, name):
                    kind = (
                        "is not defined"
                        if isinstance(message, messages.UndefinedName)
                        else "is used before it is set"
                    )
                    self._undefined(node, name, kind)
            elif isinstance(message, wrong_format):
                self.add(
                    _At(message.lineno, message.col),
                    "wrong-format",
                    str(message.message % message.message_args),
                )

        for function in self.nodes:
            if isinstance(function, Function) and not self._guarded(function, "NameError"):
                for read in read_before_set(function):
                    self.add(read, "undefined-name", f"the name {read.id!r} is used before it is set")

    def _is_local(self, node: "_At", name: str) -> bool:
        """Whether a function around a place sets a name: ``read_before_set`` says if that is too late."""
        return any(
            isinstance(each, Function)
            and each.lineno <= node.lineno <= (each.end_lineno or each.lineno)
            and name in local_names(each)
            for each in self.nodes
        )

    def _undefined(self, node: "_At", name: str, kind: str) -> None:
        message = f"the name {name!r} {kind}"
        owner = self._class_here()
        if owner is not None and name in _own_attributes(owner):
            self.add(node, "undefined-name", message, f"you may mean self.{name}", "context")
        else:
            visible = {*self.module_names, *dir(builtins), *self._local_names()}
            self.add_missing(node, "undefined-name", message, name, visible - {name})

    @cached_property
    def module_names(self) -> set[str]:
        names = {name for name, _ in definitions(self.tree) if "." not in name}
        return names | set(self.imported)

    def _local_names(self) -> set[str]:
        names = {
            node.id for node in self.nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        return names | {node.arg for node in self.nodes if isinstance(node, ast.arg)}

    # Imports

    @cached_property
    def imported(self) -> dict[str, set[tuple[str, str]]]:
        """What each name is imported as: (module, name in it or empty); relative modules start with dots."""
        found: dict[str, set[tuple[str, str]]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    bound = alias.asname or alias.name.partition(".")[0]
                    found.setdefault(bound, set()).add((alias.name if alias.asname else bound, ""))
            elif isinstance(node, ast.ImportFrom):
                module = self._absolute(node.level, node.module)
                for alias in node.names:
                    found.setdefault(alias.asname or alias.name, set()).add((module, alias.name))
        return found

    def _imports(self) -> None:
        for node in self.nodes:
            if not isinstance(node, ast.Import | ast.ImportFrom) or self._guarded(node, "ImportError"):
                continue
            if isinstance(node, ast.Import):
                for alias in node.names:
                    self._module(node, alias.name)
                continue
            module = self._absolute(node.level, node.module)
            if module.startswith("."):
                self.unknown["relative imports: the package of the file is unknown"] = None
                continue
            if self._module(node, module):
                for alias in node.names:
                    self._imported_name(node, module, alias.name)

    def _absolute(self, level: int, module: str | None) -> str:
        """The full name of a module; with its dots where the package of the file is unknown."""
        parts = (self.package or "").split(".")
        if not level:
            return module or ""
        if self.package is None or level > len(parts):
            return "." * level + (module or "")
        return ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])

    def _module(self, node: ast.AST, module: str) -> bool:
        exists = self.environment.has_module(module)
        if exists is None:
            self.unknown[f"module {module}: not installed, or its parts are unknown"] = None
        elif not exists:
            last = module.rpartition(".")[2]
            known = self.environment.names(module.rpartition(".")[0]) or ()
            self.add_missing(node, "missing-import", f"there is no module {module!r}", last, known)
        return bool(exists)

    def _imported_name(self, node: ast.AST, module: str, name: str) -> None:
        if name == "*":
            return
        known = self.environment.has_name(module, name)
        submodule = not known and self.environment.has_module(f"{module}.{name}")
        if known is False and not submodule:
            names = self.environment.names(module) or ()
            self.add_missing(node, "missing-import", f"module {module!r} has no {name!r}", name, names)
        elif not (known or submodule):
            self.unknown[f"module {module}: its names are unknown"] = None

    # Attributes and calls

    @cached_property
    def bound(self) -> set[str]:
        """Names that are bound by anything but an import or a definition, anywhere."""
        names = set[str]()
        for node in self.parents:
            if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
                names.add(node.id)
            elif isinstance(node, ast.arg):
                names.add(node.arg)
            elif isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
                names.add(node.name or "")
            elif isinstance(node, ast.MatchMapping):
                names.add(node.rest or "")
        return names

    def _attributes_and_calls(self) -> None:
        for node in self.nodes:
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
                self._attribute(node)
            elif isinstance(node, ast.Call):
                self._call(node)

    def _attribute(self, node: ast.Attribute) -> None:
        value = node.value
        known: frozenset[str] | None = None
        owner = ""
        if isinstance(value, ast.Name) and value.id in self.imported:
            module = self._module_of(value.id)
            if module and self._lacks(module, node.attr):
                owner, known = f"module {module!r}", self.environment.names(module)
        elif isinstance(value, ast.Name) and (kind := self._class_of(value)):
            owner, known = f"class {kind.name}", self._attributes_of(kind)
        elif builtin := self._builtin_type(value):
            owner, known = f"a {builtin.__name__}", frozenset(dir(builtin))
        missing = known is not None and node.attr not in known and not node.attr.startswith("__")
        if missing and not self._guarded(node, "AttributeError"):
            at = _At(node.end_lineno or node.lineno, (node.end_col_offset or 0) - len(node.attr))
            message = f"{owner} has no attribute {node.attr!r}"
            self.add_missing(at, "missing-attribute", message, node.attr, known or ())

    def _module_of(self, name: str) -> str:
        """The module that a name means; empty if it means, or may mean, something else."""
        targets = self.imported[name]
        if len(targets) > 1 or name in self.bound or name in self.defined:
            return ""
        module, inner = next(iter(targets))
        if module.startswith("."):
            return ""
        if inner:
            module = f"{module}.{inner}"
            return module if self.environment.has_module(module) else ""  # else something in a module
        return module

    def _lacks(self, module: str, name: str) -> bool:
        """Whether a module is known to have neither a name nor a submodule of that name."""
        has_name = self.environment.has_name(module, name)
        return has_name is False and not self.environment.has_module(f"{module}.{name}")

    @cached_property
    def defined(self) -> dict[str, list[Function | ast.ClassDef]]:
        """Functions and classes at the top of the module, by name."""
        found: dict[str, list[Function | ast.ClassDef]] = {}
        for name, node in definitions(self.tree):
            if isinstance(node, Function | ast.ClassDef) and "." not in name:
                found.setdefault(name, []).append(node)
        return found

    def _class_here(self) -> ast.ClassDef | None:
        """The class whose method the code is, in the full context."""
        return self.frame.owner

    def _class_of(self, value: ast.Name) -> ast.ClassDef | None:
        """The class that a name is an object of: ``self`` or ``cls`` of the method that it stands in."""
        function = self._function_around(value)
        while function is not None and not isinstance(self.parents.get(function), ast.ClassDef):
            function = self._function_around(function)
        if function is None or (not function.args.args and not function.args.posonlyargs):
            return None
        first = [*function.args.posonlyargs, *function.args.args][0].arg
        decorators = {ast.unparse(each) for each in function.decorator_list}
        owner = self.parents[function]
        if value.id != first or first not in ("self", "cls") or "staticmethod" in decorators:
            return None
        if any(
            isinstance(node, ast.Name) and node.id == first and isinstance(node.ctx, ast.Store)
            for node in ast.walk(function)
        ):
            return None
        outer = self.parents.get(owner)
        return owner if isinstance(owner, ast.ClassDef) and isinstance(outer, ast.Module) else None

    def _function_around(self, node: ast.AST) -> Function | None:
        parent = self.parents.get(node)
        while parent is not None and not isinstance(parent, Function):
            parent = self.parents.get(parent)
        return parent

    def _attributes_of(self, kind: ast.ClassDef) -> frozenset[str] | None:
        """The attributes of a class and its bases; None if there may be others."""
        full = self.frame.classes.get(kind.name, kind)
        if kind.name not in self.inherited:
            self.inherited[kind.name] = self._all_attributes(full, 0)
        inherited = self.inherited[kind.name]
        if inherited is None:
            return None
        return inherited | _own_attributes(kind) | self.frame.assigned | _assigned(self.tree)

    def _all_attributes(self, kind: ast.ClassDef, depth: int) -> frozenset[str] | None:
        if depth > 8 or kind.keywords or kind.decorator_list or _OPEN_NAME.search(kind.name):
            return None
        if _OPEN_CLASS.search(ast.unparse(kind)):
            return None
        names = frozenset(_own_attributes(kind)) | frozenset(dir(object))
        for base in kind.bases:
            inherited = self._base_attributes(base, depth)
            if inherited is None:
                return None
            names |= inherited
        if depth:
            return names
        if "__init__" not in _own_attributes(kind) and not kind.bases:
            return None  # it is likely to be mixed into others
        for heir in self._heirs(kind.name):
            names |= _own_attributes(heir)
        unknown = _used_of_self(kind) - names - self.frame.assigned - _assigned(self.tree)
        # Where the class itself uses what nothing defines, something else defines it.
        # Of a whole file one such name is reported.
        return None if len(unknown) > (0 if self.frame.text else 1) else names

    def _heirs(self, name: str) -> Iterator[ast.ClassDef]:
        """Classes of the file or the project that name a class as their base, and theirs."""
        known = {**self.frame.classes}
        known |= {
            each.name: each
            for nodes in self.defined.values()
            for each in nodes
            if isinstance(each, ast.ClassDef)
        }
        if self.project:
            known |= {each.name: each for places in self.project.classes.values() for _, each in places}
        names = {name}
        while heirs := [
            each
            for each in known.values()
            if each.name not in names
            and names & {ast.unparse(base).rpartition(".")[2] for base in each.bases}
        ]:
            names |= {each.name for each in heirs}
            yield from heirs

    def _base_attributes(self, base: ast.expr, depth: int) -> frozenset[str] | None:
        if not isinstance(base, ast.Name):
            return None
        name = base.id
        local = self.frame.classes.get(name) or next(
            (node for node in self.defined.get(name, []) if isinstance(node, ast.ClassDef)), None
        )
        if local is not None:
            return self._all_attributes(local, depth + 1) if len(self.defined.get(name, [1])) == 1 else None
        if name in self.imported:
            elsewhere = self.project.classes.get(name, []) if self.project else []
            return self._all_attributes(elsewhere[0][1], depth + 1) if len(elsewhere) == 1 else None
        kind = getattr(builtins, name, None)
        return frozenset(dir(kind)) if isinstance(kind, type) and name not in self.bound else None

    def _builtin_type(self, value: ast.expr) -> type | None:
        """The built-in type of a literal, or of a name that is only ever set to such literals."""
        if not isinstance(value, ast.Name):
            return _literal_type(value)
        function = self._function_around(value)
        if function is None:
            return None
        return _local_types(function).get(value.id)

    def _call(self, node: ast.Call) -> None:
        called = ast.unparse(node.func) if isinstance(node.func, ast.Name | ast.Attribute) else ""
        signatures = self._signatures_of(node.func) if called else ()
        refusals = [signature.refusal(node) for signature in signatures]
        if refusals and all(refusals) and not self._guarded(node, "TypeError"):
            self.add(node, "wrong-arguments", f"{called} {refusals[0]}")

    def _signatures_of(self, func: ast.expr) -> Iterable[CallSignature]:
        if isinstance(func, ast.Name):
            return self._signatures_of_name(func.id)
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
            if func.value.id in self.imported:
                module = self._module_of(func.value.id)
                return self.environment.signatures(module, func.attr) if module else ()
            kind = self._class_of(func.value)
            if kind is not None:
                return self._signatures_of_method(kind, func.attr)
        return ()

    def _signatures_of_name(self, name: str) -> Iterable[CallSignature]:
        if name in self.bound or name in self._nested:
            return ()
        if name in self.defined:
            nodes = self.defined[name]
            if len(nodes) > 1 or nodes[0].decorator_list or name in self.imported:
                return ()
            node = self.frame.functions.get(name) or self.frame.classes.get(name) or nodes[0]
            if isinstance(node, ast.ClassDef):
                return self._signatures_of_method(node, "__init__") if self._is_plain(node) else ()
            return (CallSignature.of(node.args),)
        if name in self.imported:
            targets = self.imported[name]
            module, inner = next(iter(targets))
            if len(targets) > 1 or module.startswith(".") or not inner:
                return ()
            return self.environment.signatures(module, inner)
        return self.environment.signatures("builtins", name) if hasattr(builtins, name) else ()

    def _is_plain(self, kind: ast.ClassDef) -> bool:
        """Whether only the ``__init__`` of a class takes what the class is called with."""
        bases = {ast.unparse(base) for base in kind.bases} - {"object"}
        return (
            self._all_attributes(kind, 1) is not None and "__new__" not in _own_attributes(kind) and not bases
        )

    @cached_property
    def _nested(self) -> set[str]:
        """Functions and classes that are defined inside others."""
        return {
            node.name
            for node, parent in self.parents.items()
            if isinstance(node, Function | ast.ClassDef) and not isinstance(parent, ast.Module)
        }

    def _signatures_of_method(self, kind: ast.ClassDef, name: str) -> Iterable[CallSignature]:
        full = self.frame.classes.get(kind.name, kind)
        nodes = [
            node for node in (*full.body, *kind.body) if isinstance(node, Function) and node.name == name
        ]
        distinct = {ast.dump(node.args) for node in nodes}
        decorators = {ast.unparse(each) for node in nodes for each in node.decorator_list}
        assigned = name in self.frame.assigned or name in _assigned(self.tree)
        if not nodes or len(distinct) > 1 or decorators - _HARMLESS_DECORATORS or assigned:
            return ()
        return (CallSignature.of(nodes[0].args, bound="staticmethod" not in decorators),)

    def _guarded(self, node: Any, error: str) -> bool:
        """Whether the code expects this to fail: a try that catches it, or an if that asks first."""
        if isinstance(node, _At):
            line = node.lineno
            around = [
                each
                for each in ast.walk(self.tree)
                if isinstance(each, ast.Try | ast.If | ast.IfExp | ast.BoolOp)
                and each.lineno <= line <= (each.end_lineno or each.lineno)
            ]
        else:
            around, parent = [], self.parents.get(node)
            while parent is not None:
                around.append(parent)  # type: ignore[arg-type]  # any node
                parent = self.parents.get(parent)
        return any(_expects(each, error, node) for each in around)

    # Requirements

    def _requirements(self) -> None:
        for node in self.nodes:
            if isinstance(node, Function) and self._function_around(node) is None:
                parent = self.parents.get(node)
                owner = parent if isinstance(parent, ast.ClassDef) else None
                for rule, message in unmet_requirements(node, owner):
                    self.add(node, rule, message, category="requirement")


@dataclass(frozen=True)
class _At:
    lineno: int
    col_offset: int


class _Frame:
    """The file that a piece of code is for; names are read without the bodies of its other functions."""

    def __init__(self, context: str | None):
        self.text = context or ""
        self.unknown: list[str] = []
        self.broken = False
        self.dynamic = bool(_DYNAMIC_NAMES.search(self.text))
        self.classes: dict[str, ast.ClassDef] = {}
        self.functions: dict[str, Function] = {}
        self.assigned: set[str] = set()
        self.owner: ast.ClassDef | None = None
        if context is None:
            return
        marked = re.sub(
            rf"(?m)^([ \t]*){re.escape(PLACEHOLDER)}.*$", r"\1def __placeholder__(): pass", context, count=1
        )
        try:
            tree = parse_python(marked)
        except BadCode as error:
            self.broken = True
            self.unknown.append(f"the context does not parse: {error}")
            return
        for name, node in definitions(tree):
            if isinstance(node, ast.ClassDef) and "." not in name:
                self.classes[name] = node
            elif isinstance(node, Function) and "." not in name:
                self.functions[name] = node
            if name.endswith(".__placeholder__"):
                self.owner = self.classes.get(name.partition(".")[0])
        self.assigned = _assigned(tree)
        self.tree = tree
        self.marked = marked != context
        self.skeletons: dict[str, str] = {}

    def place(self, source: str) -> tuple[str, int, int]:
        """The code in its file, its first line there, and by how many columns it is moved."""
        if not self.text or self.broken:
            return (source if not self.text else _four_columns(source)), 1, 0
        name = "__placeholder__" if self.marked else _first_function(source)
        if name not in self.skeletons:
            self.skeletons[name] = _skeleton(self.tree, name)
        lines = self.skeletons[name].split("\n")
        at = next(
            (number for number, line in enumerate(lines) if line.lstrip().startswith("def __placeholder__(")),
            None,
        )
        code = _four_columns(source)
        if at is None:
            return "\n".join([*lines, code]), len(lines) + 1, 0
        indent = len(lines[at]) - len(lines[at].lstrip())
        removed = _common_indent(code)
        code = textwrap.indent(textwrap.dedent(code), " " * indent)
        return "\n".join([*lines[:at], code, *lines[at + 2 :]]), at + 1, indent - removed


@lru_cache(1)
def _installed_modules() -> Environment:
    return Environment()


@lru_cache(256)
def _frame(context: str) -> _Frame:
    return _Frame(context)


def _skeleton(tree: ast.Module, name: str) -> str:
    """A module with the bodies of its functions left out, and the function of a name as a placeholder."""
    tree = ast.parse(ast.unparse(tree))
    for node in ast.walk(tree):
        if isinstance(node, Function):
            names = [
                each for inner in ast.walk(node) if isinstance(inner, ast.Global) for each in inner.names
            ]
            outside = [f"global {', '.join(names)}\n{' = '.join(names)} = None"] if names else []
            node.body = [*ast.parse("\n".join([*outside, "pass"])).body]
            if node.name == name:
                node.name, node.decorator_list = (
                    "__placeholder__",
                    node.decorator_list if name == "__placeholder__" else [],
                )
                node.args = ast.parse("def f(): pass").body[0].args  # type: ignore[attr-defined]  # a function
                node.returns = None
    return ast.unparse(tree)


def _four_columns(source: str) -> str:
    return "\n".join(
        re.sub(r"^[ \t]+", lambda match: match[0].expandtabs(4), line) for line in source.split("\n")
    )


def _common_indent(code: str) -> int:
    """By how many columns ``textwrap.dedent`` moves the lines."""
    lines = [line for line in code.split("\n") if line.strip()]
    return len(lines[0]) - len(textwrap.dedent("\n".join(lines)).split("\n")[0]) if lines else 0


def _first_function(source: str) -> str:
    match = re.search(r"(?m)^[ \t]*(?:async[ \t]+)?def[ \t]+(\w+)", source)
    return match[1] if match else ""


def _inside(tree: ast.Module, first: int, last: int) -> list[ast.AST]:
    """The outermost nodes that lie within lines."""
    found, stack = list[ast.AST](), list[ast.AST](tree.body)
    while stack:
        node = stack.pop()
        start, end = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
        if start is None or end is None:
            stack += ast.iter_child_nodes(node)
        elif first <= start and end < last:
            found.append(node)
        elif start < last and end >= first:
            stack += ast.iter_child_nodes(node)
    return found


def _own_attributes(kind: ast.ClassDef) -> set[str]:
    """What a class defines, and what its methods set on ``self``."""
    module = ast.Module([kind], [])
    names = {name.partition(".")[2] for name, _ in definitions(module) if name.count(".") == 1}
    for node in ast.walk(kind):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            names.add(node.attr)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
    for node in kind.body:
        names |= {
            each.id
            for each in ast.walk(node)
            if isinstance(each, ast.Name) and isinstance(each.ctx, ast.Store)
        }
        if isinstance(node, ast.Assign) and "__slots__" in {ast.unparse(target) for target in node.targets}:
            names |= {
                each.value
                for each in ast.walk(node)
                if isinstance(each, ast.Constant) and isinstance(each.value, str)
            }
    return names


def _assigned(tree: ast.AST) -> set[str]:
    """Attributes that something sets on an object that is not ``self``."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and not isinstance(node.ctx, ast.Load)
        and not (isinstance(node.value, ast.Name) and node.value.id == "self")
    }


def _used_of_self(kind: ast.ClassDef) -> set[str]:
    return {
        node.attr
        for node in ast.walk(kind)
        if isinstance(node, ast.Attribute)
        and isinstance(node.ctx, ast.Load)
        and isinstance(node.value, ast.Name)
        and node.value.id == "self"
    }


def _literal_type(value: ast.expr) -> type | None:
    if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes | int | float):
        return type(value.value)
    if (
        isinstance(value, ast.Call)
        and isinstance(value.func, ast.Name)
        and value.func.id in ("dict", "list", "set", "str")
    ):
        kind: type = getattr(builtins, value.func.id)
        return kind
    return _LITERALS.get(type(value))


def _local_types(function: Function) -> dict[str, type]:
    """Local names whose every value is a literal of one built-in type."""
    types: dict[str, set[type | None]] = {}
    allowed: set[int] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    allowed.add(id(target))
                    types.setdefault(target.id, set()).add(_literal_type(node.value))
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) and id(node) not in allowed:
            types.setdefault(node.id, set()).add(None)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            types |= {name: {None} for name in node.names}
        elif isinstance(node, ast.arg):
            types.setdefault(node.arg, set()).add(None)
    single = {name: next(iter(kinds)) for name, kinds in types.items() if len(kinds) == 1}
    return {name: kind for name, kind in single.items() if kind is not None}


def _expects(around: ast.AST, error: str, node: Any) -> bool:
    if isinstance(around, ast.Try):
        inside = any(each.lineno <= node.lineno <= (each.end_lineno or each.lineno) for each in around.body)
        caught = " ".join(
            ast.unparse(handler.type) if handler.type else "Exception" for handler in around.handlers
        )
        return inside and bool(
            re.search(rf"\b({error}|Exception|BaseException|ModuleNotFoundError)\b", caught)
        )
    if isinstance(around, ast.If | ast.IfExp):
        return bool(_GUARDS.search(ast.unparse(around.test)))
    return isinstance(around, ast.BoolOp) and "hasattr" in ast.unparse(around)
