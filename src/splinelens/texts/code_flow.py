"""What a function of Python leaves out or does too early, by its syntax alone.

A name that is read before anything sets it, parameters without use, promises that are not kept.
"""

import ast
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

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
    r"""Reads of local names that no statement before them can have set: they raise UnboundLocalError.

    What a branch of an ``if`` sets is taken to be set after it. What the body of a loop sets is taken to be
    set where something inside the body may skip the first turn. What is reported fails where it is reached.

    Example:
        >>> tree = ast.parse("def f(row):\n    for x in row:\n        total += x")
        >>> [read.id for read in read_before_set(tree.body[0])]
        ['total']
    """
    nested = [node for statement in function.body for node in ast.walk(statement)]
    set_inside = {name for node in nested if isinstance(node, ast.Nonlocal) for name in node.names}
    early: list[ast.Name] = []
    if local := local_names(function) - set_inside:
        _flow(function.body, set(), set(), local, early)
    return early


def _flow(
    statements: list[ast.stmt], bound: set[str], later: set[str], local: set[str], early: list[ast.Name]
) -> None:
    """Find reads that come too early in statements.

    Args:
        statements: In their order.
        bound: What may be set before them.
        later: What an earlier turn of the loop around them may have set.
        local: The names to watch.
        early: Where reads that come too early are added.
    """
    for node in statements:
        after = bound | bound_names(node)
        if isinstance(node, ast.For | ast.AsyncFor | ast.While):
            head, sets = (node.test, node.test) if isinstance(node, ast.While) else (node.iter, node.target)
            _reads(head, bound, later, local, early)
            # A loop inside a loop may have no turn in the first turn of the outer one.
            _flow(node.body, bound | later | bound_names(sets), after | later, local, early)
            _flow(node.orelse, after, later, local, early)
        elif isinstance(node, ast.Try):
            _flow(node.body, bound | later, later, local, early)
            _flow([*node.orelse, *node.finalbody], after | later, later, local, early)
            for handler in node.handlers:
                _flow(handler.body, after | later, later, local, early)
        elif isinstance(node, ast.If):
            _reads(node.test, bound, later, local, early)
            for block in (node.body, node.orelse):
                _flow(block, bound | later | bound_names(node.test), later, local, early)
        elif isinstance(node, ast.With | ast.AsyncWith):
            items = set(bound)
            for item in node.items:  # an item may use what the items before it set
                _reads(item.context_expr, items, later, local, early)
                items |= bound_names(item)
            _flow(node.body, items, later, local, early)
        elif not isinstance(node, Function | ast.ClassDef | ast.Match | ast.TryStar):
            _reads(node, bound, later, local, early)
        bound = after


def _reads(top: ast.AST, bound: set[str], later: set[str], local: set[str], early: list[ast.Name]) -> None:
    """Record the reads in an expression or a simple statement that come too early."""
    inner = list(own_nodes(top))
    inside = {
        name.id
        for node in inner
        if isinstance(node, ast.comprehension | ast.NamedExpr)
        for name in ast.walk(node.target)
        if isinstance(name, ast.Name)
    }
    skippable = {name for node in inner for part in _may_be_skipped(node) for name in ast.walk(part)}
    added = [node.target for node in inner if isinstance(node, ast.AugAssign)]
    early += [
        node
        for node in inner
        if isinstance(node, ast.Name)
        and (isinstance(node.ctx, ast.Load) or node in added)
        and node.id in local
        and node.id not in bound | inside
        and not (node in skippable and node.id in later)
    ]


def _may_be_skipped(node: ast.AST) -> list[ast.expr]:
    """The parts of an expression that are not always evaluated."""
    if isinstance(node, ast.IfExp):
        return [node.body, node.orelse]
    if isinstance(node, ast.BoolOp):
        return node.values[1:]
    if isinstance(node, ast.Compare):
        return node.comparators[1:]
    if isinstance(node, ast.ListComp | ast.SetComp | ast.GeneratorExp):
        return [node.elt, *(each.iter for each in node.generators[1:]), *_conditions(node.generators)]
    if isinstance(node, ast.DictComp):
        values = [node.key, node.value]
        return [*values, *(each.iter for each in node.generators[1:]), *_conditions(node.generators)]
    return [node.msg] if isinstance(node, ast.Assert) and node.msg else []


def _conditions(generators: list[ast.comprehension]) -> list[ast.expr]:
    return [condition for each in generators for condition in each.ifs]


@dataclass(frozen=True)
class _Body:
    """What the rules of the category requirement look at.

    Attributes:
        function: The function.
        owner: The class that it is a method of.
        statements: Its statements without the docstring.
        nodes: Their nodes, without those of functions inside.
        parameters: Names, without the first of a method.
        used: Names that occur, those of functions inside too.
        returned: The returns with a value.
        raises: Whether it raises.
        yields: Whether it is a generator.
    """

    function: Function
    owner: ast.ClassDef | None
    statements: list[ast.stmt]
    nodes: list[ast.AST]
    parameters: list[str]
    used: set[str]
    returned: list[ast.Return]
    raises: bool
    yields: bool

    @classmethod
    def of(cls, function: Function, owner: ast.ClassDef | None) -> "_Body":
        statements = [node for node in function.body if not _is_text(node)]
        nodes = [node for statement in statements for node in own_nodes(statement)]
        parameters = [each.arg for each in arguments_of(function.args)]
        bound = owner is not None and "staticmethod" not in _decorators(function)
        inside = [node for statement in statements for node in ast.walk(statement)]
        return cls(
            function=function,
            owner=owner,
            statements=statements,
            nodes=nodes,
            parameters=parameters[1:] if bound else parameters,
            used={node.id for node in inside if isinstance(node, ast.Name)},
            returned=[node for node in nodes if isinstance(node, ast.Return) and node.value is not None],
            raises=any(isinstance(node, ast.Raise) for node in nodes),
            yields=any(isinstance(node, ast.Yield | ast.YieldFrom) for node in nodes),
        )


def unmet_requirements(function: Function, owner: ast.ClassDef | None) -> Iterator[tuple[str, str]]:
    """Rules of the category requirement that a function breaks, each with a message.

    Args:
        function: The function.
        owner: The class that it is a method of.

    Example:
        >>> list(unmet_requirements(ast.parse("def f(a, b): return a").body[0], None))
        [('unused-parameter', "the parameter 'b' of f is never used")]
    """
    if _decorators(function) & {"abstractmethod", "overload", "abstractproperty"}:
        return
    body = _Body.of(function, owner)
    if does_nothing(body.statements):
        yield "stub", f"{function.name} does nothing"
        return
    for name in _unused_parameters(body):
        yield "unused-parameter", f"the parameter {name!r} of {function.name} is never used"
    if _lacks_return(body):
        yield "missing-return", f"the docstring of {function.name} promises a value, and none is returned"
    if error := _lacks_raise(body):
        yield "missing-raise", f"the docstring of {function.name} promises {error}, and nothing is raised"
    if _calls_itself(body):
        yield "endless-recursion", f"{function.name} calls itself whatever it is given"
    if _is_constant(body):
        yield "constant-return", f"{function.name} returns the same constant whatever it is given"


def does_nothing(statements: Iterable[ast.stmt]) -> bool:
    """Whether the statements of a function are a stub, such as ``raise NotImplementedError``."""
    return all(map(_is_idle, statements))


def _unused_parameters(body: _Body) -> list[str]:
    # A method of a subclass, or a special one, has the parameters that its callers give.
    given = body.owner is not None and (body.owner.bases or body.function.name.startswith("__"))
    if given or body.used & {"locals", "vars", "exec", "eval"}:
        return []
    usual = {"self", "cls", "args", "kwargs"}
    return [
        name
        for name in body.parameters
        if name not in body.used and name not in usual and not name.startswith("_")
    ]


def _lacks_return(body: _Body) -> bool:
    doc = ast.get_docstring(body.function) or ""
    promised = _PROMISES_VALUE.search(doc) and not _PROMISES_NOTHING.search(doc)
    ends_in_raise = bool(body.statements) and isinstance(body.statements[-1], ast.Raise)
    return bool(promised) and not (body.returned or body.yields or ends_in_raise)


def _lacks_raise(body: _Body) -> str:
    """The exception that the docstring promises, if nothing is raised."""
    promise = _PROMISES_RAISE.search(ast.get_docstring(body.function) or "")
    names = {node.id for node in body.nodes if isinstance(node, ast.Name)}
    return promise[1] if promise and not body.raises and promise[1] not in names else ""


def _calls_itself(body: _Body) -> bool:
    """Whether the first statement calls the function, with no condition before the call."""
    if not body.statements or isinstance(
        body.statements[0], ast.If | ast.For | ast.While | ast.Try | ast.With
    ):
        return False
    nodes = list(own_nodes(body.statements[0]))
    if any(isinstance(node, ast.IfExp | ast.BoolOp | ast.comprehension | ast.Lambda) for node in nodes):
        return False
    target = f"self.{body.function.name}" if body.owner else body.function.name
    return any(isinstance(node, ast.Call) and ast.unparse(node.func) == target for node in nodes)


def _is_constant(body: _Body) -> bool:
    """Whether every return gives the same constant, though there are parameters, and none is used."""
    values = {ast.dump(node.value) for node in body.returned if node.value}
    constant = len(values) == 1 and isinstance(body.returned[0].value, ast.Constant)
    ignored = body.parameters and not (body.used & {*body.parameters} or body.yields or body.raises)
    return constant and bool(ignored) and isinstance(body.statements[-1], ast.Return)


def _decorators(function: Function) -> set[str]:
    return {ast.unparse(each).rpartition(".")[2] for each in function.decorator_list}


def _is_text(node: ast.stmt) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)


def _is_idle(node: ast.stmt) -> bool:
    if isinstance(node, ast.Raise) and node.exc is not None:
        return "NotImplemented" in ast.unparse(node.exc)
    if isinstance(node, ast.Return):
        return node.value is None or ast.unparse(node.value) == "NotImplemented"
    return isinstance(node, ast.Pass) or _is_text(node)
