"""What the names in a piece of code mean: its imports, classes, values and what it expects to fail.

A class counts as known only if its bases are, if nothing in it sets attributes by name, and if its methods
use nothing that it lacks. What is not known is None or empty, and nothing is said of it.
"""

import ast
import builtins
import re
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import cached_property

from splinelens.texts.code_environment import CallSignature, ModuleIndex
from splinelens.texts.code_flow import does_nothing, local_names
from splinelens.texts.code_frame import CodeFrame, PlacedCode, assigned_attributes, sets_by_name
from splinelens.texts.python_syntax import (
    Function,
    absolute_module,
    bound_names,
    defined_names,
    imported_as,
    names_of,
    own_nodes,
)
from splinelens.texts.retrieval import CodeProject, word_set

_OPEN_CLASS = re.compile(
    r"\b(setattr|vars|locals|type|exec)\(|__dict__|__getattr__|__getattribute__|__setattr__"
)
_OPEN_NAMES = {"mixin", "base", "abstract", "interface", "protocol"}  # words in names of classes
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
_IMPORTS_AND_DEFINITIONS = (ast.Import, ast.ImportFrom, ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_CONSTRUCTORS: dict[str, type] = {"dict": dict, "list": list, "set": set, "str": str}
_GUARDS = re.compile(r"hasattr|version_info|PY[23]|sys\.platform|platform\.system|os\.name|TYPE_CHECKING")
_NARROWER = {"ImportError": "ModuleNotFoundError", "NameError": "UnboundLocalError"}


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
        self.lines = placed.text.count("\n") + 1
        self.parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
        self.reasons: dict[str, None] = {}
        self._open: set[str] = set()
        self._inherited: dict[str, frozenset[str] | None] = {}
        self._attributes: dict[ast.ClassDef, frozenset[str] | None] = {}
        self._types: dict[Function, dict[str, type]] = {}
        self._objects: dict[Function, tuple[str, ast.ClassDef | None]] = {}
        self._plain: dict[ast.ClassDef, bool] = {}
        self._rebinds: dict[ast.ClassDef, set[str]] = {}
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
        binds = (node for node in self.parents if not isinstance(node, _IMPORTS_AND_DEFINITIONS))
        return {name for node in binds for name in names_of(node)}

    @cached_property
    def defined(self) -> dict[str, list[Function | ast.ClassDef]]:
        """Functions and classes at the top of the module, by name."""
        result: dict[str, list[Function | ast.ClassDef]] = {}
        for name, node in defined_names(self.tree):
            if isinstance(node, Function | ast.ClassDef) and "." not in name:
                result.setdefault(name, []).append(node)
        return result

    @cached_property
    def deleted(self) -> set[str]:
        """Names that the module deletes: functions that use them may have run before."""
        nodes = (node for statement in self.tree.body for node in own_nodes(statement))
        return {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Del)}

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
        if name.startswith("__"):
            return None
        if module := self.module_of(value):
            return self._module_without(module, name)
        if isinstance(value, ast.Name) and (kind := self._class_of(value)):
            return self._class_without(kind, name)
        builtin = None if self._is_imported(value) else self._builtin_type(value)
        known = frozenset(dir(builtin)) if builtin else frozenset[str]()
        return None if builtin is None or name in known else (f"a {builtin.__name__}", known)

    def _module_without(self, module: str, name: str) -> tuple[str, frozenset[str]] | None:
        has_name = self.modules.has_name(module, name)
        if has_name or name in self._assigned or self.modules.has_module(f"{module}.{name}"):
            return None
        if has_name is None:
            if self.modules.has_module(module):
                self.reasons[f"module {module}: its names are unknown"] = None
            return None
        return f"module {module!r}", self.modules.names(module) or frozenset()

    def _class_without(self, kind: ast.ClassDef, name: str) -> tuple[str, frozenset[str]] | None:
        known = self._attributes_of(kind)
        if known is None:
            if kind.name in self._open and name not in class_attributes(kind):
                self.reasons[f"class {kind.name}: it may set attributes by name"] = None
            return None
        return None if name in known else (f"class {kind.name}", known)

    def _is_imported(self, value: ast.expr) -> bool:
        return isinstance(value, ast.Name) and value.id in self.imported

    def module_of(self, value: ast.expr) -> str:
        """The module that a name or ``a.b`` means; empty if it means, or may mean, something else."""
        if isinstance(value, ast.Attribute):
            parent = self.module_of(value.value)
            return self.modules.submodule(parent, value.attr) if parent else ""
        if not isinstance(value, ast.Name) or value.id not in self.imported:
            return ""
        targets = self.imported[value.id]
        if len(targets) > 1 or value.id in self.bound or value.id in self.defined:
            return ""
        module, inner = next(iter(targets))
        if module.startswith("."):
            return ""
        return self.modules.submodule(module, inner) if inner else module

    def _class_of(self, value: ast.Name) -> ast.ClassDef | None:
        """The class that a name is an object of: ``self`` or ``cls`` of the method that it stands in."""
        function = self.function_around(value)
        while function is not None and not isinstance(self.parents.get(function), ast.ClassDef):
            function = self.function_around(function)
        if function is None:
            return None
        if function not in self._objects:
            self._objects[function] = self._object_of(function)
        name, owner = self._objects[function]
        return owner if value.id == name else None

    def _object_of(self, method: Function) -> tuple[str, ast.ClassDef | None]:
        """The first parameter of a method, and the class that it is an object of, if that is known."""
        first = [*method.args.posonlyargs, *method.args.args, ast.arg("")][0].arg
        static = "staticmethod" in {ast.unparse(each) for each in method.decorator_list}
        rebound = any(
            isinstance(node, ast.Name) and node.id == first and isinstance(node.ctx, ast.Store)
            for node in ast.walk(method)
        )
        owner = self.parents[method]
        at_top = isinstance(self.parents.get(owner), ast.Module)
        known = first in ("self", "cls") and at_top and not static and not rebound
        return first, owner if known and isinstance(owner, ast.ClassDef) else None

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
        if depth > _MOST_BASES or kind.keywords or kind.decorator_list or _OPEN_NAMES & word_set(kind.name):
            return None
        if self._sets_by_name or _OPEN_CLASS.search(ast.unparse(kind)):
            self._open.add(kind.name)
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
        # Where the class itself uses what nothing defines, something else, such as a subclass, defines it.
        unknown = _used_of_self(kind) - names - self._assigned
        return None if unknown and (self.frame.text or not _is_misspelled(unknown, names)) else names

    @cached_property
    def _sets_by_name(self) -> bool:
        """Whether the file sets attributes by name on what may be an object of any class in it."""
        return sets_by_name(self.tree) or sets_by_name(self.frame.tree)

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
        known = isinstance(kind, type) and kind is not type and name not in self.bound
        return frozenset(dir(kind)) if known else None

    def _builtin_type(self, value: ast.expr) -> type | None:
        """The built-in type of a literal, or of a name that is only ever set to such literals."""
        if not isinstance(value, ast.Name):
            return _literal_type(value, self._constructors)
        function = self.function_around(value)
        if function is None:
            return None
        if function not in self._types:
            self._types[function] = _local_types(function, self._constructors)
        return self._types[function].get(value.id)

    @cached_property
    def _constructors(self) -> dict[str, type]:
        """Built-in types by the names that mean them here."""
        other = self.bound | set(self.imported) | set(self.defined) | self._nested
        return {name: kind for name, kind in _CONSTRUCTORS.items() if name not in other}

    # Calls

    def signatures_of(self, func: ast.expr) -> Iterable[CallSignature]:
        """The signatures of what is called, several if it is overloaded; none if they are unknown."""
        if isinstance(func, ast.Name):
            return self._signatures_of_name(func.id)
        if not isinstance(func, ast.Attribute):
            return ()
        if module := self.module_of(func.value):
            return () if func.attr in self._assigned else self.modules.signatures(module, func.attr)
        if not isinstance(func.value, ast.Name) or self._is_imported(func.value):
            return ()
        kind = self._class_of(func.value)
        # A plain method that is called of cls gets no self.
        return self._signatures_of_method(kind, func.attr, func.value.id) if kind else ()

    def _signatures_of_name(self, name: str) -> Iterable[CallSignature]:
        if name in self.bound or name in self._nested:
            return ()
        if name in self.defined:
            nodes = self.defined[name]
            if len(nodes) > 1 or nodes[0].decorator_list or name in self.imported:
                return ()
            node = self.frame.functions.get(name) or self.frame.classes.get(name) or nodes[0]
            if isinstance(node, ast.ClassDef):
                return self._signatures_of_method(node, "__init__", "self") if self._is_plain(node) else ()
            return (CallSignature.of(node.args),)
        if name in self.imported:
            targets = self.imported[name]
            module, inner = next(iter(targets))
            if len(targets) > 1 or module.startswith(".") or not inner:
                return ()
            return self.modules.signatures(module, inner)
        hidden = "*" in self.imported  # by a name of a star import
        return self.modules.signatures("builtins", name) if hasattr(builtins, name) and not hidden else ()

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
        if kind not in self._plain:
            bases = {ast.unparse(base) for base in kind.bases} - {"object"}
            unknown = "__new__" in class_attributes(kind) or self._all_attributes(kind, 1) is None
            self._plain[kind] = not bases and not unknown
        return self._plain[kind]

    def _signatures_of_method(self, kind: ast.ClassDef, name: str, caller: str) -> Iterable[CallSignature]:
        """The signature of a method that is called as ``self.name`` or ``cls.name``."""
        full = self.frame.classes.get(kind.name, kind)
        nodes = [
            node for node in (*full.body, *kind.body) if isinstance(node, Function) and node.name == name
        ]
        distinct = {ast.dump(node.args) for node in nodes}
        decorators = {ast.unparse(each) for node in nodes for each in node.decorator_list}
        changed = name in self._assigned or any(name in self._rebound(each) for each in (full, kind))
        if not nodes or len(distinct) > 1 or decorators - _HARMLESS_DECORATORS or changed:
            return ()
        if name != "__init__" and all(does_nothing(node.body) for node in nodes):
            return ()  # a subclass defines it
        if caller == "cls" and not decorators:  # it gets no self, or the class is a metaclass
            return ()
        return (CallSignature.of(nodes[0].args, bound="staticmethod" not in decorators),)

    def _rebound(self, kind: ast.ClassDef) -> set[str]:
        """What a class or its methods set by an assignment."""
        if kind not in self._rebinds:
            attributes = {
                node.attr
                for node in ast.walk(kind)
                if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load)
            }
            assigned = [node for node in kind.body if not isinstance(node, Function | ast.ClassDef)]
            self._rebinds[kind] = attributes.union(*map(bound_names, assigned))
        return self._rebinds[kind]

    # What is expected to fail

    def is_guarded(self, line: int, error: str) -> bool:
        """Whether the code expects a line to fail: it catches or suppresses the error, or tests first."""
        if error not in self._guarded:
            catching = (each for node in self.parents for each in _catching_lines(node, error))
            self._guarded[error] = self._tested.union(catching)
        return line in self._guarded[error]

    @cached_property
    def _tested(self) -> set[int]:
        """The lines that run only after a test of the version, of the system or of an attribute."""
        lines = set[int]()
        for node, parent in self.parents.items():
            if isinstance(node, ast.If | ast.IfExp | ast.Assert) and _is_guard(node.test):
                leaves = isinstance(node, ast.Assert) or (isinstance(node, ast.If) and _leaves(node.body))
                last = self._last_line(parent) if leaves else (node.end_lineno or node.lineno)
                lines.update(range(node.lineno, last + 1))
            elif isinstance(node, ast.BoolOp) and "hasattr" in ast.unparse(node):
                lines.update(_lines(node))
            elif isinstance(node, ast.comprehension) and any(map(_is_guard, node.ifs)):
                lines.update(_lines(parent))  # type: ignore[arg-type]  # an expression
            elif isinstance(node, Function | ast.ClassDef) and any(map(_is_guard, node.decorator_list)):
                lines.update(range(node.decorator_list[0].lineno, (node.end_lineno or node.lineno) + 1))
        return lines

    def _last_line(self, node: ast.AST) -> int:
        last: int | None = getattr(node, "end_lineno", None)
        return self.lines if last is None else last


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
    private = {name for name in names if name.startswith("__") and not name.endswith("__")}
    return names | {f"_{kind.name.lstrip('_')}{name}" for name in private}


def _is_misspelled(unknown: set[str], names: Iterable[str]) -> bool:
    """Whether a class uses one name that it lacks, which resembles one that it has."""
    if len(unknown) > 1:
        return False
    (name,) = unknown
    close = get_close_matches(name, names, 1, 0.85)
    # _read and reads, where there is a read, are left to a subclass.
    return bool(close) and close[0].strip("_").rstrip("s") != name.strip("_").rstrip("s")


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


def _literal_type(value: ast.expr, constructors: Mapping[str, type]) -> type | None:
    if isinstance(value, ast.Constant) and isinstance(value.value, str | bytes | int | float):
        return type(value.value)
    if isinstance(value, ast.Call) and isinstance(value.func, ast.Name):
        return constructors.get(value.func.id)
    return _LITERALS.get(type(value))


def _local_types(function: Function, constructors: Mapping[str, type]) -> dict[str, type]:
    """Local names whose every value is a literal of one built-in type."""
    types: dict[str, set[type | None]] = {}
    assigned: set[ast.AST] = set()
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                if isinstance(target, ast.Name):
                    assigned.add(target)
                    types.setdefault(target.id, set()).add(_literal_type(node.value, constructors))
    for node in ast.walk(function):
        if node not in assigned:
            for name in names_of(node):
                types.setdefault(name, set()).add(None)
        if isinstance(node, ast.Global | ast.Nonlocal):
            types |= {name: {None} for name in node.names}
    single = {name: next(iter(kinds)) for name, kinds in types.items() if len(kinds) == 1}
    return {name: kind for name, kind in single.items() if kind is not None}


def _catching_lines(node: ast.AST, error: str) -> Iterable[int]:
    """The lines whose error a statement catches or suppresses."""
    caught = ""
    if isinstance(node, ast.Try | ast.TryStar):
        caught = " ".join(ast.unparse(each.type) if each.type else "Exception" for each in node.handlers)
    elif isinstance(node, ast.With | ast.AsyncWith):
        items = [ast.unparse(item.context_expr) for item in node.items]
        caught = " ".join(item for item in items if re.match(r"(\w+\.)*suppress\(", item))
    if re.search(rf"\b({error}|Exception|BaseException|{_NARROWER.get(error, error)})\b", caught):
        return [line for statement in node.body for line in _lines(statement)]  # type: ignore[attr-defined]
    return ()


def _is_guard(test: ast.expr) -> bool:
    """Whether an expression asks for the version, the system or an attribute."""
    return bool(_GUARDS.search(ast.unparse(test)))


def _leaves(body: list[ast.stmt]) -> bool:
    """Whether nothing after a block runs if the block does."""
    return isinstance(body[-1], ast.Return | ast.Raise | ast.Continue | ast.Break)
