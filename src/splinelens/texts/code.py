"""Functions of source files, and masks of their names.

Python is parsed with ``ast``, other languages with tree-sitter; nothing is imported or run. Masks say how
much of a similarity of code is a similarity of names.
"""

import ast
import io
import os
import re
import tokenize
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from splinelens.errors import BadCode, MissingPackage
from splinelens.texts.python_syntax import parse_python

if TYPE_CHECKING:
    from tree_sitter import Language as Grammar
    from tree_sitter import Node

Language = Literal["python", "java", "javascript"]
"""Languages whose functions are read."""

Masking = Literal["as is", "names", "identifiers"]
"""What ``mask`` replaces: nothing, the names of functions that the text defines, or all identifiers."""

MAX_BYTES = 4_000_000
"""A larger file is data, or was generated."""

_SUFFIXES: dict[str, Language] = {
    ".py": "python",
    ".pyi": "python",
    ".java": "java",
    ".js": "javascript",
    ".jsx": "javascript",
    ".mjs": "javascript",
    ".cjs": "javascript",
}
_STRING_BYTES = 12  # of a string, to tell strings apart
_SKIPPED_FOLDERS = {"__pycache__", "node_modules", "site-packages"}
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")

_FUNCTIONS: dict[Language, str] = {
    "python": "(function_definition name: (identifier) @name) @function",
    "java": """
        (method_declaration name: (identifier) @name) @function
        (constructor_declaration name: (identifier) @name) @function
    """,
    "javascript": """
        (function_declaration name: (identifier) @name) @function
        (generator_function_declaration name: (identifier) @name) @function
        (method_definition name: (_) @name) @function
        (variable_declarator
            name: (identifier) @name
            value: [(arrow_function) (function_expression) (generator_function)]) @function
        (assignment_expression
            left: [(identifier) @name (member_expression property: (_) @name)]
            right: [(arrow_function) (function_expression) (generator_function)]) @function
        (pair
            key: (property_identifier) @name
            value: [(arrow_function) (function_expression) (generator_function)]) @function
    """,
}
_IDENTIFIERS: dict[Language, str] = {
    "python": "(identifier) @identifier",
    "java": "[(identifier) (type_identifier)] @identifier",
    "javascript": """
        [(identifier) (property_identifier) (private_property_identifier) (statement_identifier)
        (shorthand_property_identifier) (shorthand_property_identifier_pattern)] @identifier
    """,
}
_CLASSES = {"class_declaration", "class", "interface_declaration", "enum_declaration", "record_declaration"}


@dataclass(frozen=True)
class CodeFunction:
    """A function or method; functions inside it are a part of it.

    Attributes:
        name: With the classes around it: ``Stack.push``.
        language: What it is written in.
        start: First character in the source, without decorators.
        line: First line, from 1.
        last_line: Last line.
        text: Its source.
    """

    name: str
    language: Language
    start: int
    line: int
    last_line: int
    text: str = field(repr=False)

    @property
    def end(self) -> int:
        """The character after its last."""
        return self.start + len(self.text)


@dataclass(frozen=True)
class SourceFile:
    """A file of a project.

    Attributes:
        path: Below the folder, with ``/``.
        language: By its suffix.
        text: What it holds; empty if it was not read.
        unread: Why it was not read; empty if it was.
    """

    path: str
    language: Language
    text: str = field(repr=False)
    unread: str = ""


def functions(source: str, language: Language = "python") -> list[CodeFunction]:
    r"""The functions and methods of a source text, in its order.

    Raises:
        BadCode: Python that does not parse. Other languages are read around what does not parse.
        MissingPackage: tree-sitter is needed and not installed.

    Example:
        >>> [function.name for function in functions("class A:\n def f(self): pass\ndef g(): pass")]
        ['A.f', 'g']
    """
    return _python_functions(source) if language == "python" else _other_functions(source, language)


def mask(source: str, language: Language = "python", masking: Masking = "identifiers") -> str:
    """Replace the names of functions defined in a text, or all identifiers, by numbered ones.

    One name has one number, in the order of first use. The text need not parse.

    Raises:
        MissingPackage: tree-sitter is not installed.

    Example:
        >>> mask("def total(x): return total(x - 1)", masking="names")
        'def f0(x): return f0(x - 1)'
        >>> mask("def total(x): return total(x - 1)", masking="identifiers")
        'def v0(v1): return v0(v1 - 1)'
    """
    if masking == "as is":
        return source
    data = source.encode("utf-8", "surrogatepass")
    root, captures = _parse(data, language)
    nodes = captures(_IDENTIFIERS[language], root).get("identifier", [])
    if masking == "names":
        defined = {node.text for node in captures(_FUNCTIONS[language], root).get("name", [])}
        nodes = [node for node in nodes if node.text in defined]
    numbers: dict[bytes | None, int] = {}
    pieces, last = list[bytes](), 0
    for node in sorted(nodes, key=lambda node: node.start_byte):
        number = numbers.setdefault(node.text, len(numbers))
        pieces += [data[last : node.start_byte], b"%s%d" % (b"f" if masking == "names" else b"v", number)]
        last = node.end_byte
    return b"".join([*pieces, data[last:]]).decode("utf-8", "surrogatepass")


def syntax_tokens(source: str, language: Language = "python") -> list[str]:
    """The tokens of a text with one word for every identifier, without comments.

    Strings are cut to their first letters. What is left is how the code is built. The text need not parse.

    Raises:
        MissingPackage: tree-sitter is not installed.

    Example:
        >>> syntax_tokens("total += len(row)  # all")
        ['name', '+=', 'name', '(', 'name', ')']
    """
    data = source.encode("utf-8", "surrogatepass")
    root, captures = _parse(data, language)
    names = {node.id for node in captures(_IDENTIFIERS[language], root).get("identifier", [])}
    result, stack = list[str](), [root]
    while stack:
        node = stack.pop()
        if "comment" in node.type:
            continue
        if "string" in node.type or not node.children:
            text = (node.text or b"")[:_STRING_BYTES].decode("utf-8", "replace")
            result += ["name"] if node.id in names else [text] if text else []
        else:
            stack += reversed(node.children)
    return result


def language_of(path: str | Path) -> Language | None:
    """The language of a file by its suffix; None for another file."""
    return _SUFFIXES.get(Path(path).suffix.lower())


def read_source(path: str | Path) -> str:
    """Read a source file; Python in the encoding that its first lines declare (PEP 263).

    Raises:
        BadCode: The file is missing, too large, a notebook, binary or of another encoding.
    """
    path = Path(path)
    try:
        if not path.is_file():
            raise BadCode(f"{path} is no file; name a source file")
        if path.suffix.lower() == ".ipynb":
            raise BadCode(f"{path} is a notebook; export it as a script (jupyter nbconvert --to script)")
        if (size := path.stat().st_size) > MAX_BYTES:
            raise BadCode(f"{path} has {size:,} bytes, more than {MAX_BYTES:,}; is it source code?")
        return decode_source(path.read_bytes(), str(path))
    except OSError as error:
        raise BadCode(f"cannot read {path}: {error.strerror}; check its name and rights") from error


def decode_source(data: bytes, name: str = "the source") -> str:
    """Source code from bytes, by PEP 263: UTF-8 unless a byte order mark or a comment says otherwise.

    Raises:
        BadCode: NUL bytes, an unknown encoding, or bytes that are not of it.
    """
    if b"\0" in data:
        raise BadCode(f"{name} has NUL bytes; it is no source code, or is saved as UTF-16: save it as UTF-8")
    try:
        encoding, _ = tokenize.detect_encoding(io.BytesIO(data).readline)
        return data.decode(encoding)
    except (SyntaxError, UnicodeError, LookupError) as error:
        raise BadCode(f"{name} is not UTF-8 and declares no encoding that fits: {error}") from error


def project_files(folder: str | Path, languages: tuple[Language, ...] = ("python",)) -> Iterator[SourceFile]:
    """Each source file below a folder, sorted, with the reason where it was not read.

    Hidden folders, virtual environments, ``__pycache__``, ``node_modules`` and ``site-packages`` are skipped.
    Symbolic links are not followed: they may lead in a circle.

    Raises:
        BadCode: There is no such folder.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadCode(f"{folder} is no folder; name the folder of the project")
    for root, below, names in os.walk(folder):
        below[:] = sorted(
            name
            for name in below
            if name not in _SKIPPED_FOLDERS
            and not name.startswith(".")
            and not Path(root, name, "pyvenv.cfg").exists()
        )
        for name in sorted(names):
            path = Path(root, name)
            language = language_of(name) or ("python" if path.suffix.lower() == ".ipynb" else None)
            if language not in languages:
                continue
            shown, text, unread = path.relative_to(folder).as_posix(), "", ""
            try:
                if path.is_symlink():
                    raise BadCode(f"{path} is a symbolic link; name the file itself")
                text = read_source(path)
            except BadCode as error:
                unread = str(error)
            yield SourceFile(shown, language, text, unread)


def _python_functions(source: str) -> list[CodeFunction]:
    result, position = list[CodeFunction](), _positions(source)
    stack = [(node, "") for node in reversed(parse_python(source).body)]
    while stack:
        node, prefix = stack.pop()
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            last_line = node.end_lineno or node.lineno
            start = position(node.lineno, node.col_offset)
            result.append(
                CodeFunction(
                    name=prefix + node.name,
                    language="python",
                    start=start,
                    line=node.lineno,
                    last_line=last_line,
                    text=source[start : position(last_line, node.end_col_offset or 0)],
                )
            )
        elif isinstance(node, ast.ClassDef):
            stack += [(child, f"{prefix}{node.name}.") for child in reversed(node.body)]
        else:  # an if, try or with at module level may define functions
            children = [child for child in ast.iter_child_nodes(node) if not isinstance(child, ast.expr)]
            stack += [(child, prefix) for child in reversed(children)]  # type: ignore[misc]  # any node
    return result


def _positions(source: str) -> Callable[[int, int], int]:
    """A function from ast's line and column, which counts bytes of UTF-8, to the character of a source."""
    lines = _LINE.findall(source)
    starts = [0, *accumulate(map(len, lines))]

    def position(line: int, column: int) -> int:
        text = lines[line - 1]
        return starts[line - 1] + (column if text.isascii() else len(text.encode()[:column].decode()))

    return position


def _other_functions(source: str, language: Language) -> list[CodeFunction]:
    data = source.encode("utf-8", "surrogatepass")
    root, captures = _parse(data, language)
    matches = captures(_FUNCTIONS[language], root)
    names = sorted(matches.get("name", []), key=lambda node: node.start_byte)
    nodes = sorted(matches.get("function", []), key=lambda node: (node.start_byte, -node.end_byte))
    starts = [0, *(match.end() for match in re.finditer(rb"\r\n|\r|\n", data))]
    result, last_end, characters = list[CodeFunction](), 0, 0
    name_starts = [node.start_byte for node in names]
    for node in nodes:
        if node.start_byte < last_end:  # inside the function before
            continue
        characters += len(data[last_end : node.start_byte].decode("utf-8", "surrogatepass"))
        last_end = node.end_byte
        text = data[node.start_byte : node.end_byte].decode("utf-8", "surrogatepass")
        name = names[bisect_right(name_starts, node.start_byte - 1)].text or b""
        result.append(
            CodeFunction(
                name="".join([*_classes_around(node), name.decode("utf-8", "replace")]),
                language=language,
                start=characters,
                line=bisect_right(starts, node.start_byte),
                last_line=bisect_right(starts, node.end_byte - 1),
                text=text,
            )
        )
        characters += len(text)
    return result


def _classes_around(node: "Node") -> list[str]:
    names, parent = list[str](), node.parent
    while parent is not None:
        name = parent.child_by_field_name("name") if parent.type in _CLASSES else None
        names += [f"{(name.text or b'').decode('utf-8', 'replace')}."] if name else []
        parent = parent.parent
    return names[::-1]


def _parse(
    data: bytes, language: Language
) -> tuple["Node", Callable[[str, "Node"], dict[str, list["Node"]]]]:
    """The root of a syntax tree, and a function that returns the captures of a query below a node."""
    grammar = _grammar(language)
    from tree_sitter import Parser, Query, QueryCursor

    def captures(query: str, node: "Node") -> dict[str, list["Node"]]:
        return QueryCursor(Query(grammar, query)).captures(node)

    return Parser(grammar).parse(data).root_node, captures


@cache
def _grammar(language: Language) -> "Grammar":
    try:
        import tree_sitter_java
        import tree_sitter_javascript
        import tree_sitter_python
        from tree_sitter import Language as Grammar
    except ImportError as error:
        raise MissingPackage("source code needs tree-sitter: pip install 'splinelens[code]'") from error

    modules = {
        "python": tree_sitter_python,
        "java": tree_sitter_java,
        "javascript": tree_sitter_javascript,
    }
    return Grammar(modules[language].language())
