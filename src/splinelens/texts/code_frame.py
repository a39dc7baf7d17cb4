"""The file that a piece of code is for, and the place of the code in it.

The bodies of the file's other functions are left out, so that only the code itself is judged there.
"""

import ast
import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass

from splinelens.errors import BadCode
from splinelens.texts.python_syntax import Function, defined_names, parse_python

PLACEHOLDER = "<PLACEHOLDER>"
"""The line of a context where the code belongs."""

_MARK = "__placeholder__"
_MARK_LINE = re.compile(rf"(?m)^([ \t]*){re.escape(PLACEHOLDER)}.*$")
_DYNAMIC_NAMES = re.compile(
    r"\bexec\(|globals\(\)|global_enum|\bvars\(\)|__builtins__|builtins\.\w+ *=|sys\._getframe"
)


@dataclass(frozen=True)
class PlacedCode:
    """A piece of code in its file.

    Attributes:
        text: The file with the code.
        first: The first line of the code there, from 1.
        last: Its last line.
        indent: By how many columns the code was moved to the right; negative to the left.
    """

    text: str
    first: int
    last: int
    indent: int


class CodeFrame:
    """The file that a piece of code is for.

    Args:
        context: Its text; None if the code is a file of its own.

    Attributes:
        tree: Its syntax tree; of a file that does not parse or of no file an empty one.
        problem: Why it does not parse; empty if it does.
        classes: The classes at its top, by name.
        functions: The functions at its top, by name.
        owner: The class that the code belongs to, of a marked line.
        assigned: Attributes that something in it sets on an object that is not ``self``.
        dynamic: Whether it may define names that its text does not show.
    """

    def __init__(self, context: str | None):
        self.text = context or ""
        self.dynamic = defines_at_run_time(self.text)
        self.problem = ""
        marked = _MARK_LINE.sub(rf"\1def {_MARK}(): pass", self.text, count=1)
        try:
            self.tree = parse_python(marked)
        except BadCode as error:
            self.problem = str(error)
            self.tree = ast.Module([], [])
        self.assigned = assigned_attributes(self.tree)
        self.classes: dict[str, ast.ClassDef] = {}
        self.functions: dict[str, Function] = {}
        self.owner: ast.ClassDef | None = None
        for name, node in defined_names(self.tree):
            if isinstance(node, ast.ClassDef) and "." not in name:
                self.classes[name] = node
            elif isinstance(node, Function) and "." not in name:
                self.functions[name] = node
            if name.endswith(f".{_MARK}"):
                self.owner = self.classes.get(name.partition(".")[0])
        self._marked = marked != self.text
        self._skeletons: dict[str, str] = {}

    def place(self, source: str) -> PlacedCode:
        r"""The code at the marked line, else in place of the function of its name, else at the end.

        Example:
            >>> CodeFrame("def f(): pass\n\ndef g(): pass").place("def f(a): return a")
            PlacedCode(text='def f(a): return a\n\ndef g():\n    pass', first=1, last=1, indent=0)
        """
        lines = source.count("\n")
        if not self.text:
            return PlacedCode(source, 1, 1 + lines, 0)
        code = _four_columns(source)
        if self.problem:
            return PlacedCode(code, 1, 1 + lines, 0)
        rows = self._skeleton(_MARK if self._marked else _first_function(source)).split("\n")
        at = next((row for row, line in enumerate(rows) if line.lstrip().startswith(f"def {_MARK}(")), None)
        if at is None:
            return PlacedCode("\n".join([*rows, code]), len(rows) + 1, len(rows) + 1 + lines, 0)
        indent = len(rows[at]) - len(rows[at].lstrip())
        moved = indent - _common_indent(code)
        code = textwrap.indent(textwrap.dedent(code), " " * indent)
        return PlacedCode("\n".join([*rows[:at], code, *rows[at + 2 :]]), at + 1, at + 1 + lines, moved)

    def _skeleton(self, name: str) -> str:
        if name not in self._skeletons:
            self._skeletons[name] = _without_bodies(self.tree, name)
        return self._skeletons[name]


def defines_at_run_time(text: str) -> bool:
    """Whether a text uses ``exec``, ``globals()`` or the like, which may define any name."""
    return bool(_DYNAMIC_NAMES.search(text))


def assigned_attributes(tree: ast.AST) -> set[str]:
    """Attributes that something sets on an object that is not ``self``; of ``setattr`` a literal name."""
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and not isinstance(node.ctx, ast.Load) and not _is_self(node.value)
    } | {
        call.args[1].value
        for call in _setattr_calls(tree)
        if isinstance(call.args[1], ast.Constant) and isinstance(call.args[1].value, str)
    }


def sets_by_name(tree: ast.AST) -> bool:
    """Whether ``setattr`` sets a name that is no literal on an object that is not ``self``."""
    return any(not isinstance(call.args[1], ast.Constant) for call in _setattr_calls(tree))


def _setattr_calls(tree: ast.AST) -> Iterator[ast.Call]:
    calls = (node for node in ast.walk(tree) if isinstance(node, ast.Call) and len(node.args) > 1)
    for call in calls:
        if isinstance(call.func, ast.Name) and call.func.id == "setattr" and not _is_self(call.args[0]):
            yield call


def _is_self(value: ast.expr) -> bool:
    return isinstance(value, ast.Name) and value.id == "self"


def _without_bodies(tree: ast.Module, name: str) -> str:
    """A module with the bodies of its functions left out, and the function of a name as the mark."""
    tree = ast.parse(ast.unparse(tree))
    for node in ast.walk(tree):
        if isinstance(node, Function):
            names = [
                each for inner in ast.walk(node) if isinstance(inner, ast.Global) for each in inner.names
            ]
            outside = [f"global {', '.join(names)}\n{' = '.join(names)} = None"] if names else []
            node.body = ast.parse("\n".join([*outside, "pass"])).body
            if node.name == name:
                node.name = _MARK
                node.decorator_list = node.decorator_list if name == _MARK else []
                node.args = ast.parse("lambda: 0", mode="eval").body.args  # type: ignore[attr-defined]
                node.returns = None
    return ast.unparse(tree)


def _four_columns(source: str) -> str:
    """The source with each leading tab expanded to stops of four columns."""
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
