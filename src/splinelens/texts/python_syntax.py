"""Syntax trees of Python: parsing without warnings, and questions about nodes that several files ask."""

import ast
import warnings
from collections.abc import Iterable, Iterator

from splinelens.errors import BadCode

Function = ast.FunctionDef | ast.AsyncFunctionDef
"""A definition with ``def``; lambdas are left out."""


def parse_python(source: str) -> ast.Module:
    """The syntax tree of a Python source, without the warnings of its compilation.

    Raises:
        BadCode: It does not parse; the cause has line and column.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in a string is no business of ours
            return ast.parse(source)
    except SyntaxError as error:
        raise BadCode(f"line {error.lineno or 1} does not parse: {error.msg}") from error
    except (ValueError, RecursionError, MemoryError) as error:  # NUL, surrogates; nested too deeply
        raise BadCode(f"the source does not parse: {error or 'nested too deeply'}") from error


def compile_error(tree: ast.Module) -> SyntaxError | None:
    """What the compiler rejects in a tree that parses, such as a misplaced ``return``. Nothing is run.

    Example:
        >>> compile_error(parse_python("return 1")).msg
        "'return' outside function"
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            compile(tree, "code", "exec", dont_inherit=True)
    except SyntaxError as error:
        return error
    return None


def defined_names(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    r"""Names that a module and its classes define, with their nodes, without those inside functions.

    Example:
        >>> [name for name, _ in defined_names(parse_python("class A:\n    x = 1\ndef f(): y = 2"))]
        ['A', 'A.x', 'f']
    """
    stack: list[tuple[ast.AST, str]] = [(node, "") for node in reversed(tree.body)]
    while stack:
        node, prefix = stack.pop()
        if isinstance(node, Function):
            yield prefix + node.name, node
        elif isinstance(node, ast.ClassDef):
            yield prefix + node.name, node
            stack += [(child, f"{prefix}{node.name}.") for child in reversed(node.body)]
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                yield from (
                    (prefix + name.id, node) for name in ast.walk(target) if isinstance(name, ast.Name)
                )
        elif not isinstance(node, ast.expr):
            stack += [(child, prefix) for child in reversed(list(ast.iter_child_nodes(node)))]


def own_nodes(node: ast.AST) -> Iterator[ast.AST]:
    """A node and the nodes below it, without those inside functions, lambdas and classes."""
    stack = [node]
    while stack:
        node = stack.pop()
        yield node
        if not isinstance(node, Function | ast.Lambda | ast.ClassDef):
            stack += ast.iter_child_nodes(node)


def bound_names(node: ast.AST) -> set[str]:
    r"""Names that a statement binds in its scope; those of comprehensions and inner functions are left out.

    Example:
        >>> sorted(bound_names(parse_python("import os.path as p\nfor x in [y for y in p]: z = 1")))
        ['p', 'x', 'z']
    """
    names, stack = set[str](), [node]
    while stack:
        node = stack.pop()
        names.update(names_of(node))
        if isinstance(node, ast.comprehension):
            stack += [node.iter, *node.ifs]
        elif not isinstance(node, Function | ast.ClassDef | ast.Lambda):
            stack += ast.iter_child_nodes(node)
    return names


def names_of(node: ast.AST) -> Iterable[str]:
    """The names that one node binds by itself, without the nodes below it."""
    if isinstance(node, Function | ast.ClassDef):
        return [node.name]
    if isinstance(node, ast.Import | ast.ImportFrom):
        return [imported_as(alias) for alias in node.names]
    if isinstance(node, ast.ExceptHandler | ast.MatchAs | ast.MatchStar):
        return [node.name] if node.name else []
    if isinstance(node, ast.MatchMapping):
        return [node.rest] if node.rest else []
    if isinstance(node, ast.Name):
        return [] if isinstance(node.ctx, ast.Load) else [node.id]
    return [node.arg] if isinstance(node, ast.arg) else []


def imported_as(alias: ast.alias) -> str:
    """The name that an import binds: of ``import a.b`` it is ``a``."""
    return (alias.asname or alias.name).partition(".")[0]


def arguments_of(arguments: ast.arguments) -> list[ast.arg]:
    """All parameters in their order."""
    starred = [arguments.vararg] if arguments.vararg else []
    last = [arguments.kwarg] if arguments.kwarg else []
    return [*arguments.posonlyargs, *arguments.args, *starred, *arguments.kwonlyargs, *last]


def absolute_module(module: str | None, level: int, package: str | None) -> str:
    """The full name of a module that is imported with ``level`` dots; with its dots if that is unknown.

    Args:
        module: The name after the dots; None if there is none.
        level: How many dots there are; 0 for an absolute import.
        package: The package of the importing file; None or empty if it is in none, or if that is unknown.

    Example:
        >>> absolute_module("b", 2, "p.q"), absolute_module("b", 3, "p.q")
        ('p.b', '...b')
    """
    parts = package.split(".") if package else []
    if not level:
        return module or ""
    if level > len(parts):
        return "." * level + (module or "")
    return ".".join([*parts[: len(parts) - level + 1], *([module] if module else [])])
