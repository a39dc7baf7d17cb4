"""What modules of the installed environment and of a project contain, without importing them.

Modules are located with ``importlib``'s path finder. Sources are read with ``ast``; jedi reads stubs, and
confirms that a name is missing. A compiled extension of the environment without a stub is loaded by jedi in a
process of its own; nothing of a project is ever loaded. What cannot be known is None, never "missing".
"""

import ast
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from typing import TYPE_CHECKING

from splinelens.errors import BadCode, MissingPackage
from splinelens.texts.python_syntax import Function, absolute_module, imported_as, parse_python

if TYPE_CHECKING:
    import jedi
    from jedi.api.environment import Environment as Interpreter

_DYNAMIC = re.compile(
    r"__getattr__|globals\(\)|locals\(\)|vars\(\)|sys\.modules|setattr\(|\bexec\(|__dict__|lazy",
    re.IGNORECASE,
)
"""Ways in which a module can have names that its source does not show."""


@dataclass(frozen=True)
class CallSignature:
    """What a call must give.

    Attributes:
        positional: Names of the parameters that can be given by position.
        required: Parameters without a default.
        by_name: Parameters that can be given by name.
        varargs: Whether there is ``*args``.
        keywords: Whether there is ``**kwargs``.
    """

    positional: tuple[str, ...]
    required: frozenset[str]
    by_name: frozenset[str]
    varargs: bool = False
    keywords: bool = False

    @classmethod
    def of(cls, arguments: ast.arguments, *, bound: bool = False) -> "CallSignature":
        """Of a function's syntax; of a bound method without its first parameter."""
        first = [argument.arg for argument in arguments.posonlyargs]
        both = [argument.arg for argument in arguments.args]
        ordered = first + both
        required = set(ordered[: len(ordered) - len(arguments.defaults)])
        for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
            if default is None:
                required.add(argument.arg)
        skipped = set(ordered[:1]) if bound else set()
        return cls(
            tuple(ordered[1:] if bound else ordered),
            frozenset(required - skipped),
            frozenset({*both, *(argument.arg for argument in arguments.kwonlyargs)} - skipped),
            arguments.vararg is not None,
            arguments.kwarg is not None,
        )

    def mismatch(self, call: ast.Call) -> str:
        """Why a call raises a TypeError; empty if it does not, or if stars hide what is given."""
        starred = any(isinstance(argument, ast.Starred) for argument in call.args)
        names = [keyword.arg for keyword in call.keywords]
        given = [name for name in names if name is not None]
        unexpected = [] if self.keywords else [name for name in given if name not in self.by_name]
        if unexpected:
            return f"has no parameter {unexpected[0]!r}"
        if starred:
            return ""
        count = len(call.args)
        if count > len(self.positional) and not self.varargs:
            return f"takes at most {len(self.positional)} arguments by position, and is given {count}"
        filled = set(self.positional[:count])
        if twice := [name for name in given if name in filled and name in self.by_name]:
            return f"is given {twice[0]!r} twice"
        missing = sorted(self.required - filled - set(given))
        if missing and None not in names:
            return f"needs {missing[0]!r}, which is not given"
        return ""


class ModuleIndex:
    """Modules of this Python's environment, and of a project if there is one.

    Args:
        project: The folder of a project; its root and ``src`` are where its imports start.

    Raises:
        MissingPackage: jedi is not installed.
    """

    def __init__(self, project: Path | None = None):
        self._roots = [root for root in (project, project and project / "src") if root and root.is_dir()]
        self._sources: dict[str, _Source] = {}
        self._names: dict[str, frozenset[str] | None] = {}
        self._signatures: dict[tuple[str, str], list[CallSignature]] = {}

    def has_module(self, module: str) -> bool | None:
        """Whether a module exists; None if what it would be a part of is not installed or unknown."""
        parts = module.split(".")
        for length in range(1, len(parts) + 1):
            name = ".".join(parts[:length])
            if self._located(name):
                continue
            if length == 1:
                return None  # not installed, which is not the same as invented
            return False if self.has_name(".".join(parts[: length - 1]), parts[length - 1]) is False else None
        return True

    def has_name(self, module: str, name: str) -> bool | None:
        """Whether a module has a name; None if that cannot be known."""
        source = self._source(module)
        if name in source.names:
            return True
        names = self.names(module)
        if names is None or name in names:
            return None if names is None else True
        # Stubs leave out private names of C modules, which a star import hands on, and other systems' names.
        hidden = name.startswith("_") and (source.tree is None or "*" in source.names)
        private = source.tree is None and module.rpartition(".")[2].startswith("_")
        return None if hidden or private else False

    def submodule(self, parent: str, name: str) -> str:
        """The full name of a submodule; empty if there is none, or if its parent may hide it.

        Example:
            >>> ModuleIndex().submodule("os", "path"), ModuleIndex().submodule("os", "getcwd")
            ('os.path', '')
        """
        module, source = f"{parent}.{name}", self._source(parent)
        if module == "os.path":
            return module
        if not self.has_module(module):
            return ""
        if name not in source.names:
            return "" if "*" in source.names else module
        binding = source.bindings[name]
        if not isinstance(binding, ast.ImportFrom):
            return ""
        origin = absolute_module(binding.module, binding.level, source.package_of(parent))
        return module if f"{origin}.{name}" == module else ""

    def names(self, module: str) -> frozenset[str] | None:
        """The names in a module, of its submodules those that it imports; None if they cannot be known."""
        if module not in self._names:
            self._names[module] = self._read_names(module)
        return self._names[module]

    def signatures(self, module: str, function: str) -> Sequence[CallSignature]:
        """The signatures of a function, several if it is overloaded; none if they cannot be known."""
        if (module, function) not in self._signatures:
            self._signatures[module, function] = self._read_signatures(module, function)
        return self._signatures[module, function]

    def _read_names(self, module: str) -> frozenset[str] | None:
        source = self._source(module)
        if not source.path or source.dynamic:
            return None
        found = {each.name for each in self._script(f"import {module} as x\nx.").complete(2, 2)}
        return frozenset(found | source.names | set(_MODULE_ATTRIBUTES)) if found else None

    def _read_signatures(self, module: str, function: str, depth: int = 0) -> list[CallSignature]:
        source = self._source(module)
        if source.tree is not None:
            return self._signatures_from_source(module, function, depth)
        return self._signatures_from_jedi(module, function) if source.path else []

    def _signatures_from_source(self, module: str, function: str, depth: int) -> list[CallSignature]:
        """The signature of a function that a module defines or imports from another, once."""
        source = self._source(module)
        definition = source.bindings.get(function)
        if isinstance(definition, ast.FunctionDef) and not definition.decorator_list:
            return [CallSignature.of(definition.args)]
        if not isinstance(definition, ast.ImportFrom) or depth == _MOST_IMPORTS:
            return []
        inner = next(alias.name for alias in definition.names if function in (alias.name, alias.asname))
        origin = absolute_module(definition.module, definition.level, source.package_of(module))
        if origin.startswith(".") or not self._source(origin).path:
            return []
        return self._read_signatures(origin, inner, depth + 1)

    def _signatures_from_jedi(self, module: str, function: str) -> list[CallSignature]:
        if function in _MISREAD:
            return []
        script = self._script(f"import {module} as x\nx.{function}(")
        inferred = script.infer(2, 2)
        if not inferred or any(each.type != "function" for each in inferred):
            return []
        if any(each.module_path is None or each.module_path.suffix != ".pyi" for each in inferred):
            return []  # a compiled function without a stub may have parameters that it does not show
        result = []
        for signature in script.get_signatures(2, len(function) + 3):
            kinds = {each.name: each.kind.name for each in signature.params}
            stars = {name for name, kind in kinds.items() if kind.startswith("VAR")}
            optional = stars | {each.name for each in signature.params if "=" in each.description}
            unnamed = stars | {name for name, kind in kinds.items() if kind == "POSITIONAL_ONLY"}
            result.append(
                CallSignature(
                    positional=tuple(name for name, kind in kinds.items() if kind.startswith("POSITIONAL")),
                    required=frozenset(kinds.keys() - optional),
                    by_name=frozenset(kinds.keys() - unnamed),
                    varargs="VAR_POSITIONAL" in kinds.values(),
                    keywords="VAR_KEYWORD" in kinds.values(),
                )
            )
        return result

    def _source(self, module: str) -> "_Source":
        if module not in self._sources:
            standard = module.partition(".")[0] in sys.stdlib_module_names and not self._of_project(module)
            self._sources[module] = _Source(self._located(module), standard)
        return self._sources[module]

    def _of_project(self, module: str) -> bool:
        top = module.partition(".")[0]
        return any((root / top).is_dir() or (root / f"{top}.py").is_file() for root in self._roots)

    def _located(self, module: str) -> Path | None:
        """The file of a module; for a built-in one or a namespace package a path that is no ``.py``."""
        if not self._of_project(module):
            return _installed(module)
        for root in self._roots:
            path = root.joinpath(*module.split("."))
            for candidate in (path / "__init__.py", path.with_name(f"{path.name}.py"), path):
                if candidate.is_file() or candidate.is_dir():
                    return candidate
        return None

    def _script(self, code: str) -> "jedi.Script":
        import jedi

        return jedi.Script(code, environment=_interpreter(), project=self._jedi_project)

    @cached_property
    def _jedi_project(self) -> "jedi.Project":
        interpreter = _interpreter()
        import jedi

        roots = [str(root) for root in self._roots]
        return jedi.Project(
            roots[0] if roots else Path(__file__).parent,
            sys_path=[*roots, *interpreter.get_sys_path()] if roots else None,
            load_unsafe_extensions=False,
            smart_sys_path=False,
        )


@cache
def installed_modules() -> ModuleIndex:
    """The modules of this Python's environment alone."""
    return ModuleIndex()


_MOST_IMPORTS = 5
"""Modules through which a function may be handed on."""

_MISREAD = {"anext"}
"""jedi does not see overloads that are async."""

_MODULE_ATTRIBUTES = (
    "__all__ __builtins__ __cached__ __dict__ __doc__ __file__ __loader__ __name__ __package__ __path__ "
    "__spec__ __version__"
).split()


@cache
def _interpreter() -> "Interpreter":
    """This Python in a process of its own."""
    try:
        import jedi
    except ImportError as error:
        raise MissingPackage("checking code needs jedi: pip install 'splinelens[code]'") from error

    jedi.settings.auto_import_modules = []  # they would be imported to be read
    return jedi.create_environment(sys.executable, safe=False)  # it is this Python


@cache
def _installed(module: str) -> Path | None:
    if module.partition(".")[0] in ("builtins", "sys") or module == "os.path":
        return Path(module)
    path: list[str] | None = None
    spec, parts = None, module.split(".")
    for depth, part in enumerate(parts):
        if depth and path is None:
            return None
        try:
            spec = PathFinder.find_spec(part, path)  # the last name only: no parent is imported for its path
        except (ImportError, ValueError, AttributeError, OSError, KeyError):
            return None
        if spec is None:
            return Path(part) if len(parts) == 1 and part in sys.stdlib_module_names else None
        path = [*spec.submodule_search_locations] if spec.submodule_search_locations else None
    if spec and isinstance(spec.loader, SourceFileLoader):
        return Path(spec.loader.path)
    return Path(module)


class _Source:
    """The source of a module, where it has one: what it binds outside functions and classes."""

    def __init__(self, path: Path | None, standard: bool):
        self.path = path
        self.tree: ast.Module | None = None
        self.bindings: dict[str, ast.AST | None] = {}
        """By name: the statement, or None if there are several."""
        text = path.read_text("utf-8", "replace") if path and path.suffix == ".py" else ""
        self.dynamic = not standard and (not text or bool(_DYNAMIC.search(text)))
        try:
            self.tree = parse_python(text) if text else None
        except BadCode:
            self.dynamic = True
        stack = list[ast.AST](self.tree.body if self.tree else [])
        while stack:
            node = stack.pop()
            if isinstance(node, Function | ast.ClassDef):
                self._bind(node.name, node)
                continue
            if isinstance(node, ast.Import | ast.ImportFrom):
                for alias in node.names:
                    self._bind(imported_as(alias), node)
            elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                self._bind(node.id, node)
            stack += ast.iter_child_nodes(node)

    @property
    def names(self) -> set[str]:
        return {*self.bindings}

    def package_of(self, module: str) -> str:
        """The package that the relative imports of this module, of that name, start from."""
        is_package = self.path is not None and self.path.name == "__init__.py"
        return module if is_package else module.rpartition(".")[0]

    def _bind(self, name: str, node: ast.AST) -> None:
        self.bindings[name] = None if name in self.bindings else node
