"""What a function of Python leaves out or does too early, by its syntax alone.

A name that is read before anything sets it, parameters without use, promises that are not kept.
"""

import ast
import re
from collections.abc import Iterator

from splinelens.texts.python_syntax import Function, arguments_of, bound_names, own_nodes

_PROMISES_VALUE = re.compile(r"(?im)^\s*(?::returns?\b|@returns?\b|returns?:?\s*$|returns?\b[: ]\s*\S)")
_PROMISES_NOTHING = re.compile(r"(?i)returns?:?\s*(?:\n\s*)?:?\s*(?:none\b|nothing\b|-+\s*$)")
_PROMISES_RAISE = re.compile(
    r"(?:[:@]raises?|[Rr]aises?)\s+(?:an?\s+)?:?(?:class:|exc:)?`*~?([A-Z]\w*(?:Error|Exception|Warning))\b"
)


def local_names(function: Function) -> set[str]:
    """The names that a function sets, without its parameters."""
    body = [node for statement in function.body for node in own_nodes(statement)]
    outer = {name for node in body if isinstance(node, ast.Global | ast.Nonlocal) for name in node.names}
    local = set[str]().union(*(bound_names(statement) for statement in function.body)) - outer
    return local - {argument.arg for argument in arguments_of(function.args)}


def read_before_set(function: Function) -> list[ast.Name]:
    """Reads of local names that no statement before them can have set: they raise UnboundLocalError.

    What a branch of an ``if`` sets is taken to be set after it. What the body of a loop sets is taken to be
    set where a condition inside the body may skip the first turn. What is reported fails where it is reached.
    """
    found: list[ast.Name] = []
    if local := local_names(function):
        _flow(function.body, set(), set(), local, found)
    return found


def _flow(
    statements: list[ast.stmt], bound: set[str], later: set[str], local: set[str], found: list[ast.Name]
) -> None:
    """Find reads that come too early in statements.

    Args:
        statements: In their order.
        bound: What may be set before them.
        later: What an earlier turn of the loop around them may have set.
        local: The names to watch.
        found: Where reads that come too early are added.
    """
    for node in statements:
        after = bound | bound_names(node)
        if isinstance(node, ast.For | ast.AsyncFor | ast.While):
            head, sets = (node.test, node.test) if isinstance(node, ast.While) else (node.iter, node.target)
            _reads(head, bound, local, found)
            start = bound | bound_names(sets)
            _flow(node.body, start, after | later, local, found)
            _flow(node.orelse, after, later, local, found)
        elif isinstance(node, ast.Try):
            _flow(node.body, bound | later, later, local, found)
            _flow([*node.orelse, *node.finalbody], after | later, later, local, found)
            for handler in node.handlers:
                _flow(handler.body, after | later, later, local, found)
        elif isinstance(node, ast.If):
            _reads(node.test, bound, local, found)
            for block in (node.body, node.orelse):
                _flow(block, bound | later | bound_names(node.test), later, local, found)
        elif isinstance(node, ast.With | ast.AsyncWith):
            items = set(bound)
            for item in node.items:  # an item may use what the items before it set
                _reads(item.context_expr, items, local, found)
                items |= bound_names(item)
            _flow(node.body, items, later, local, found)
        elif not isinstance(node, Function | ast.ClassDef | ast.Match | ast.TryStar):
            _reads(node, bound, local, found)
        bound = after


def _reads(top: ast.AST, bound: set[str], local: set[str], found: list[ast.Name]) -> None:
    """Record the reads in an expression or a simple statement that come too early."""
    inner = list(own_nodes(top))
    inside = {
        name.id
        for node in inner
        if isinstance(node, ast.comprehension | ast.NamedExpr)
        for name in ast.walk(node.target)
        if isinstance(name, ast.Name)
    }
    added = [node.target for node in inner if isinstance(node, ast.AugAssign)]
    found += [
        node
        for node in inner
        if isinstance(node, ast.Name)
        and (isinstance(node.ctx, ast.Load) or node in added)
        and node.id in local
        and node.id not in bound | inside
    ]


def unmet_requirements(function: Function, owner: ast.ClassDef | None) -> Iterator[tuple[str, str]]:
    """Rules of the category requirement that a function breaks."""
    body = [node for node in function.body if not _is_text(node)]
    decorators = {ast.unparse(each).rpartition(".")[2] for each in function.decorator_list}
    if decorators & {"abstractmethod", "overload", "abstractproperty"}:
        return
    doc = ast.get_docstring(function) or ""
    inner = [node for statement in body for node in own_nodes(statement)]
    returned = [node for node in inner if isinstance(node, ast.Return) and node.value is not None]
    generator = any(isinstance(node, ast.Yield | ast.YieldFrom) for node in inner)
    raised = any(isinstance(node, ast.Raise) for node in inner)
    if all(_does_nothing(node) for node in body):
        yield "stub", f"{function.name} does nothing"
        return
    used = {node.id for statement in body for node in ast.walk(statement) if isinstance(node, ast.Name)}
    parameters = [each.arg for each in arguments_of(function.args)]
    parameters = parameters[1:] if owner and "staticmethod" not in decorators else parameters
    inherits = owner is not None and (owner.bases or function.name.startswith("__"))  # may be an interface's
    if not inherits and not used & {"locals", "vars", "exec", "eval"}:
        for name in parameters:
            if (
                name not in used
                and not name.startswith("_")
                and name not in ("self", "cls", "args", "kwargs")
            ):
                yield "unused-parameter", f"the parameter {name!r} of {function.name} is never used"
    ends_in_raise = bool(body) and isinstance(body[-1], ast.Raise)
    promises = _PROMISES_VALUE.search(doc) and not _PROMISES_NOTHING.search(doc)
    if promises and not returned and not generator and not ends_in_raise:
        yield "missing-return", f"the docstring of {function.name} promises a value, and none is returned"
    if (promise := _PROMISES_RAISE.search(doc)) and not raised:
        names = {node.id for node in inner if isinstance(node, ast.Name)}
        if promise[1] not in names:
            yield (
                "missing-raise",
                f"the docstring of {function.name} promises {promise[1]}, and nothing is raised",
            )
    if any(
        _calls_itself(node, function, owner is not None)
        for node in body[:1]
        if not isinstance(node, ast.If | ast.For | ast.While | ast.Try | ast.With)
    ):
        yield "endless-recursion", f"{function.name} calls itself whatever it is given"
    values = {ast.dump(node.value) if node.value else "" for node in returned}
    constant = len(values) == 1 and isinstance(returned[0].value, ast.Constant)
    ignored = not used & set(parameters) and not generator and not raised
    if parameters and constant and ignored and isinstance(body[-1], ast.Return):
        yield "constant-return", f"{function.name} returns the same constant whatever it is given"


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _does_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise) and node.exc is not None:
        return "NotImplemented" in ast.unparse(node.exc)
    if isinstance(node, ast.Return):
        return node.value is None or ast.unparse(node.value) == "NotImplemented"
    return isinstance(node, ast.Pass) or _is_text(node)


def _calls_itself(statement: ast.stmt, function: Function, method: bool) -> bool:
    for node in own_nodes(statement):
        if isinstance(node, ast.IfExp | ast.BoolOp | ast.comprehension | ast.Lambda):
            return False
    target = f"self.{function.name}" if method else function.name
    return any(
        isinstance(node, ast.Call) and ast.unparse(node.func) == target for node in own_nodes(statement)
    )
