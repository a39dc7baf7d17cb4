"""What the names in a piece of code mean: its imports, classes, values and what it expects to fail.

A class counts as known only if its bases are, if nothing in it sets attributes by name, and if its methods
use nothing that it lacks. What is not known is None or empty, and nothing is said of it.
"""

import ast
import builtins
import re
from collections.abc import Iterable, Iterator
from functools import cached_property

from splinelens.texts.code_environment import CallSignature, ModuleIndex
from splinelens.texts.code_flow import local_names
from splinelens.texts.code_frame import CodeFrame, PlacedCode, assigned_attributes
from splinelens.texts.python_syntax import Function, absolute_module, defined_names, imported_as
from splinelens.texts.retrieval import CodeProject

_OPEN_CLASS = re.compile(r"\bsetattr\(|__dict__|__getattr__|__getattribute__|__setattr__|\bvars\(|\btype\(")
_OPEN_NAME = re.compile("mixin|base|abstract|interface|protocol", re.IGNORECASE)
_HARMLESS_DECORATORS = {"staticmethod", "classmethod"}
_MOST_BASES = 8  # classes above one another
_LITERALS: dict[type[ast.expr], type] = {
    ast.List: list,
    ast.ListComp: list,
    ast.Dict: dict,
    ast.DictComp: dict,
    ast.Set: set,
    ast.SetComp: set,
    ast.JoinedStr: str,
}
_CONSTRUCTORS: dict[str, type] = {"dict": dict, "list": list, "set": set, "str": str}
_GUARDS = re.compile(r"hasattr|version_info|PY[23]|sys\.platform|platform\.system|os\.name|TYPE_CHECKING")


class CodeScope:
    """The names of a piece of code in its place.

    Args:
        tree: The syntax tree of ``placed.text``.
        placed: The code in its file.
        frame: That file.
        project: Where classes may be defined elsewhere.
        modules: What modules hold.
        package: What relative imports start from; None if it is unknown.

    Attributes:
        nodes: The nodes of the code, without those of the file around it.
        parents: The node above each node of the file.
        reasons: What could not be resolved, in order, each once.
    """

    def __init__(
        self,
        tree: ast.Module,
        placed: PlacedCode,
        frame: CodeFrame,
        project: CodeProject | None,
        modules: ModuleIndex,
        package: str | None,
    ):
        self.tree, self.frame = tree, frame
        self.project, self.modules, self.package = project, modules, package
        first, last = placed.first, placed.last
        self.nodes = [
            node
            for top in _outermost(tree, first, last)
            for node in ast.walk(top)
            if first <= getattr(node, "lineno", 0) <= last or isinstance(node, ast.arguments)
        ]
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.reasons: dict[str, None] = {}
        self._inherited: dict[str, frozenset[str] | None] = {}
        self._attributes: dict[ast.ClassDef, frozenset[str] | None] = {}
        self._types: dict[Function, dict[str, type]] = {}
        self._guarded: dict[str, set[int]] = {}

    @cached_property
    def imported(self) -> dict[str, set[tuple[str, str]]]:
        """What each name is imported as: (module, name in it or empty); relative modules start with dots."""
        result: dict[str, set[tuple[str, str]]] = {}
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    target = alias.name if alias.asname else imported_as(alias)
                    result.setdefault(imported_as(alias), set()).add((target, ""))
            elif isinstance(node, ast.ImportFrom):
                module = self.module_from(node)
                for alias in node.names:
                    result.setdefault(alias.asname or alias.name, set()).add((module, alias.name))
        return result

    def module_from(self, node: ast.ImportFrom) -> str:
        """The full name of the module that names are imported from; with its dots if that is unknown."""
        return absolute_module(node.module, node.level, self.package)

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

    @cached_property
    def defined(self) -> dict[str, list[Function | ast.ClassDef]]:
        """Functions and classes at the top of the module, by name."""
        result: dict[str, list[Function | ast.ClassDef]] = {}
        for name, node in defined_names(self.tree):
            if isinstance(node, Function | ast.ClassDef) and "." not in name:
                result.setdefault(name, []).append(node)
        return result

    @cached_property
    def visible_names(self) -> set[str]:
        """Names that the code may use: those of the module, of its functions, and built-in ones."""
        module = {name for name, _ in defined_names(self.tree) if "." not in name} | set(self.imported)
        stored = {
            node.id for node in self.nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)
        }
        parameters = {node.arg for node in self.nodes if isinstance(node, ast.arg)}
        return module | stored | parameters | set(dir(builtins))

    def function_around(self, node: ast.AST) -> Function | None:
        """The innermost function that a node is in."""
        parent = self.parents.get(node)
        while parent is not None and not isinstance(parent, Function):
            parent = self.parents.get(parent)
        return parent

    def is_local(self, line: int, name: str) -> bool:
        """Whether a function around a line sets a name."""
        return any(name in names for names in self._local_names.get(line, ()))

    @cached_property
    def _local_names(self) -> dict[int, list[set[str]]]:
        """What the functions around a line set, by line."""
        result: dict[int, list[set[str]]] = {}
        for node in self.nodes:
            if isinstance(node, Function) and (names := local_names(node)):
                for line in _lines(node):
                    result.setdefault(line, []).append(names)
        return result

    # Attributes

    def owner_without(self, node: ast.Attribute) -> tuple[str, frozenset[str]] | None:
        """What is known to lack the attribute that is read of it, in words, and all that it has."""
        value, name = node.value, node.attr
        owner, known = "", None
        if isinstance(value, ast.Name) and value.id in self.imported:
            module = self.module_of(value.id)
            if module and self._module_lacks(module, name):
                owner, known = f"module {module!r}", self.modules.names(module)
        elif isinstance(value, ast.Name) and (kind := self._class_of(value)):
            owner, known = f"class {kind.name}", self._attributes_of(kind)
        elif builtin := self._builtin_type(value):
            owner, known = f"a {builtin.__name__}", frozenset(dir(builtin))
        return None if known is None or name in known or name.startswith("__") else (owner, known)

    def _module_lacks(self, module: str, name: str) -> bool:
        """Whether a module is known to have neither a name nor a submodule of that name."""
        has_name = self.modules.has_name(module, name)
        return has_name is False and not self.modules.has_module(f"{module}.{name}")

    def module_of(self, name: str) -> str:
        """The module that an imported name means; empty if it means, or may mean, something else."""
        targets = self.imported[name]
        if len(targets) > 1 or name in self.bound or name in self.defined:
            return ""
        module, inner = next(iter(targets))
        if module.startswith("."):
            return ""
        if inner:
            module = f"{module}.{inner}"
            return module if self.modules.has_module(module) else ""  # else something in a module
        return module

    def _class_of(self, value: ast.Name) -> ast.ClassDef | None:
        """The class that a name is an object of: ``self`` or ``cls`` of the method that it stands in."""
        function = self.function_around(value)
        while function is not None and not isinstance(self.parents.get(function), ast.ClassDef):
            function = self.function_around(function)
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

    def _attributes_of(self, kind: ast.ClassDef) -> frozenset[str] | None:
        """The attributes of a class and its bases; None if there may be others."""
        if kind not in self._attributes:
            if kind.name not in self._inherited:
                full = self.frame.classes.get(kind.name, kind)
                self._inherited[kind.name] = self._all_attributes(full, 0)
            names = self._inherited[kind.name]
            self._attributes[kind] = (
                None if names is None else names | class_attributes(kind) | self._assigned
            )
        return self._attributes[kind]

    @cached_property
    def _assigned(self) -> set[str]:
        """Attributes that the file or the code sets on other objects."""
        return self.frame.assigned | assigned_attributes(self.tree)

    def _all_attributes(self, kind: ast.ClassDef, depth: int) -> frozenset[str] | None:
        if depth > _MOST_BASES or kind.keywords or kind.decorator_list or _OPEN_NAME.search(kind.name):
            return None
        if _OPEN_CLASS.search(ast.unparse(kind)):
            return None
        names = frozenset(class_attributes(kind)) | frozenset(dir(object))
        for base in kind.bases:
            inherited = self._base_attributes(base, depth)
            if inherited is None:
                return None
            names |= inherited
        if depth:
            return names
        if "__init__" not in class_attributes(kind) and not kind.bases:
            return None  # it is likely to be mixed into others
        for subclass in self._subclasses(kind.name):
            names |= class_attributes(subclass)
        unknown = _used_of_self(kind) - names - self._assigned
        # Where the class itself uses what nothing defines, something else defines it.
        # Of a whole file one such name is reported.
        return None if len(unknown) > (0 if self.frame.text else 1) else names

    def _subclasses(self, name: str) -> Iterator[ast.ClassDef]:
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
        while subclasses := [
            each
            for each in known.values()
            if each.name not in names
            and names & {ast.unparse(base).rpartition(".")[2] for base in each.bases}
        ]:
            names |= {each.name for each in subclasses}
            yield from subclasses

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
        function = self.function_around(value)
        if function is None:
            return None
        if function not in self._types:
            self._types[function] = _local_types(function)
        return self._types[function].get(value.id)

    # Calls

    def signatures_of(self, func: ast.expr) -> Iterable[CallSignature]:
        """The signatures of what is called, several if it is overloaded; none if they are unknown."""
        if isinstance(func, ast.Name):
            return self._signatures_of_name(func.id)
        if isinstance(func, ast.Attribute) and isinstance(func.value, ast.Name):
            if func.value.id in self.imported:
                module = self.module_of(func.value.id)
                return self.modules.signatures(module, func.attr) if module else ()
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
            return self.modules.signatures(module, inner)
        return self.modules.signatures("builtins", name) if hasattr(builtins, name) else ()

    @cached_property
    def _nested(self) -> set[str]:
        """Functions and classes that are defined inside others."""
        return {
            node.name
            for node, parent in self.parents.items()
            if isinstance(node, Function | ast.ClassDef) and not isinstance(parent, ast.Module)
        }

    def _is_plain(self, kind: ast.ClassDef) -> bool:
        """Whether only the ``__init__`` of a class takes what the class is called with."""
        bases = {ast.unparse(base) for base in kind.bases} - {"object"}
        return (
            self._all_attributes(kind, 1) is not None
            and "__new__" not in class_attributes(kind)
            and not bases
        )

    def _signatures_of_method(self, kind: ast.ClassDef, name: str) -> Iterable[CallSignature]:
        full = self.frame.classes.get(kind.name, kind)
        nodes = [
            node for node in (*full.body, *kind.body) if isinstance(node, Function) and node.name == name
        ]
        distinct = {ast.dump(node.args) for node in nodes}
        decorators = {ast.unparse(each) for node in nodes for each in node.decorator_list}
        if not nodes or len(distinct) > 1 or decorators - _HARMLESS_DECORATORS or name in self._assigned:
            return ()
        return (CallSignature.of(nodes[0].args, bound="staticmethod" not in decorators),)

    # What is expected to fail

    def is_guarded(self, line: int, error: str) -> bool:
        """Whether the code expects a line to fail: a ``try`` catches the error, or an ``if`` tests first."""
        if error not in self._guarded:
            self._guarded[error] = {line for node in self.parents for line in _guarded_lines(node, error)}
        return line in self._guarded[error]


def class_attributes(kind: ast.ClassDef) -> set[str]:
    """What a class defines, and what its methods set on ``self``."""
    module = ast.Module([kind], [])
    names = {name.partition(".")[2] for name, _ in defined_names(module) if name.count(".") == 1}
    for node in ast.walk(kind):
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load):
            names.add(node.attr)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {imported_as(alias) for alias in node.names}
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


def _outermost(tree: ast.Module, first: int, last: int) -> list[ast.AST]:
    """The outermost nodes that lie within lines."""
    result, stack = list[ast.AST](), list[ast.AST](tree.body)
    while stack:
        node = stack.pop()
        start, end = getattr(node, "lineno", None), getattr(node, "end_lineno", None)
        if start is None or end is None:
            stack += ast.iter_child_nodes(node)
        elif first <= start and end <= last:
            result.append(node)
        elif start <= last and end >= first:
            stack += ast.iter_child_nodes(node)
    return result


def _lines(node: ast.stmt | ast.expr) -> range:
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


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
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return _CONSTRUCTORS.get(value.func.id)
    return _LITERALS.get(type(value))


def _local_types(function: Function) -> dict[str, type]:
    """Local names whose every value is a literal of one built-in type."""
    types: dict[str, set[type | None]] = {}
    allowed: set[ast.AST] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    allowed.add(target)
                    types.setdefault(target.id, set()).add(_literal_type(node.value))
    for node in ast.walk(function):
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load) and node not in allowed:
            types.setdefault(node.id, set()).add(None)
        elif isinstance(node, ast.Global | ast.Nonlocal):
            types |= {name: {None} for name in node.names}
        elif isinstance(node, ast.arg):
            types.setdefault(node.arg, set()).add(None)
    single = {name: next(iter(kinds)) for name, kinds in types.items() if len(kinds) == 1}
    return {name: kind for name, kind in single.items() if kind is not None}


def _guarded_lines(node: ast.AST, error: str) -> Iterable[int]:
    """The lines that may fail because a statement or an expression expects it."""
    if isinstance(node, ast.Try):
        caught = " ".join(
            ast.unparse(handler.type) if handler.type else "Exception" for handler in node.handlers
        )
        if re.search(rf"\b({error}|Exception|BaseException|ModuleNotFoundError)\b", caught):
            return [line for statement in node.body for line in _lines(statement)]
    elif isinstance(node, ast.If | ast.IfExp):
        return _lines(node) if _GUARDS.search(ast.unparse(node.test)) else ()
    elif isinstance(node, ast.BoolOp):
        return _lines(node) if "hasattr" in ast.unparse(node) else ()
    return ()
