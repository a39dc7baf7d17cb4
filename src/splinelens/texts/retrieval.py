"""What of a project a piece of code may mean: where a name is defined, and which lines share its words.

Retrieval as in Zhang et al., arXiv:2409.20550: windows of 20 lines, every 10 lines, ranked by the Jaccard
similarity of their words; at most half of the context is filled with them.
"""

import ast
import heapq
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path

from splinelens.errors import BadCode
from splinelens.texts.code import SourceFile, project_files
from splinelens.texts.python_syntax import defined_names, parse_python

WINDOW_LINES, STRIDE = 20, 10
TOP = 20

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+|[^\W\d_]+")


@dataclass(frozen=True)
class Definition:
    """Where a name is defined.

    Attributes:
        name: With its class, if it is a method or an attribute of one: ``Stack.push``.
        path: Below the folder of the project.
        line: From 1.
    """

    name: str
    path: str
    line: int


@dataclass(frozen=True)
class Window:
    """Consecutive lines of a file.

    Attributes:
        path: Below the folder of the project.
        line: The first of them, from 1.
        text: The lines.
        words: The words in them, each once, in lower case; those of an identifier are split.
    """

    path: str
    line: int
    text: str = field(repr=False)
    words: frozenset[str] = field(repr=False)


class CodeProject:
    """The source files of a project, and what they define. Nothing of it is imported or run.

    Args:
        files: As ``project_files`` yields them, or made of texts.
        root: The folder, where there is one.
    """

    def __init__(self, files: Iterable[SourceFile], root: Path | None = None):
        self.root = root
        files = list(files)
        self.files = [file for file in files if not file.unread]
        self.unread = {file.path: file.unread for file in files if file.unread}
        """Why a file was not read, or what of it does not parse, by path."""

    @classmethod
    def read(cls, folder: str | Path) -> "CodeProject":
        """Read the Python files below a folder.

        Raises:
            BadCode: There is no such folder.
        """
        return cls(project_files(folder), Path(folder).resolve())

    @cached_property
    def trees(self) -> dict[str, ast.Module]:
        """The syntax trees of the files that parse, by path."""
        trees = {}
        for file in self.files:
            try:
                trees[file.path] = parse_python(file.text)
            except BadCode as error:
                self.unread[file.path] = str(error)
        return trees

    @cached_property
    def definitions(self) -> dict[str, list[Definition]]:
        """Functions, classes, methods and variables of modules and classes, by their last name."""
        found = defaultdict(list)
        for path, tree in self.trees.items():
            for name, node in defined_names(tree):
                line: int = getattr(node, "lineno", 1)
                found[name.rpartition(".")[2]].append(Definition(name, path, line))
        return dict(found)

    @cached_property
    def classes(self) -> dict[str, list[tuple[str, ast.ClassDef]]]:
        """The classes at the top of modules with their paths, by name."""
        found = defaultdict(list)
        for path, tree in self.trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    found[node.name].append((path, node))
        return dict(found)

    @cached_property
    def windows(self) -> list[Window]:
        """Windows of all files."""
        return [window for file in self.files for window in windows(file.text, file.path)]

    def suggest(self, name: str, query: str) -> Definition | None:
        """The definition that a name which does not exist may mean.

        Args:
            name: The name.
            query: The code around it: among definitions of that name, or else of a similar one, the one whose
                file shares most words with it is taken.
        """
        close = [name] if name in self.definitions else get_close_matches(name, self.definitions, 3, 0.8)
        candidates = [definition for each in close for definition in self.definitions[each]]
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        paths = {definition.path for definition in candidates}
        ranked = retrieve(
            query, [window for window in self.windows if window.path in paths], len(paths) * TOP
        )
        rank = {window.path: place for place, (window, _) in reversed(list(enumerate(ranked)))}
        return min(candidates, key=lambda each: rank.get(each.path, len(ranked)))


def words(text: str) -> frozenset[str]:
    """The words of a text in lower case, those of identifiers split.

    Example:
        >>> sorted(words("read_all(HTTPServer)"))
        ['all', 'http', 'read', 'server']
    """
    return frozenset(word.lower() for word in _WORD.findall(text))


def windows(text: str, path: str) -> list[Window]:
    """The windows of a file."""
    lines = text.splitlines()
    result = []
    for start in range(0, max(1, len(lines) - STRIDE), STRIDE):
        part = "\n".join(lines[start : start + WINDOW_LINES])
        result.append(Window(path, start + 1, part, words(part)))
    return result


def retrieve(query: str, among: Iterable[Window], top: int = TOP) -> list[tuple[Window, float]]:
    """The windows most similar to a text, and their Jaccard similarities; the earlier first among equals."""
    asked = words(query)
    scored = ((window, len(asked & window.words) / max(1, len(asked | window.words))) for window in among)
    return heapq.nlargest(top, scored, key=lambda pair: pair[1])


def as_comments(found: Sequence[tuple[Window, float]], characters: int) -> str:
    """Windows as comments to put before a prompt, the best last; whole windows only.

    Args:
        found: From ``retrieve``.
        characters: The length of the context, of which at most half is filled.
    """
    blocks, used = list[str](), 0
    for window, _ in found:
        lines = "\n".join(f"# {line}" for line in window.text.splitlines())
        block = f"# {window.path}, line {window.line}:\n{lines}\n"
        if used + len(block) > characters // 2:
            break
        blocks.append(block)
        used += len(block)
    return "".join(reversed(blocks))
