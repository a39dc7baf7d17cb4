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
from splinelens.texts.code_environment import ModuleIndex, installed_modules
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

    Attributes:
        files: The files that were read.
        trees: The syntax trees of those that parse, by path.
        unread: Why a file was not read or does not parse, by path.
    """

    def __init__(self, files: Iterable[SourceFile], root: Path | None = None):
        self.root = root
        self.files: list[SourceFile] = []
        self.trees: dict[str, ast.Module] = {}
        self.unread: dict[str, str] = {}
        for file in files:
            if file.unread:
                self.unread[file.path] = file.unread
                continue
            self.files.append(file)
            try:
                self.trees[file.path] = parse_python(file.text)
            except BadCode as error:
                self.unread[file.path] = str(error)

    @classmethod
    def read(cls, folder: str | Path) -> "CodeProject":
        """Read the Python files below a folder.

        Raises:
            BadCode: There is no such folder.
        """
        return cls(project_files(folder), Path(folder).resolve())

    @cached_property
    def modules(self) -> ModuleIndex:
        """What its imports can mean: its modules and the installed ones."""
        return ModuleIndex(self.root) if self.root else installed_modules()

    @cached_property
    def definitions(self) -> dict[str, list[Definition]]:
        """Functions, classes, methods and variables of modules and classes, by their last name."""
        result = defaultdict(list)
        for path, tree in self.trees.items():
            for name, node in defined_names(tree):
                line: int = getattr(node, "lineno", 1)
                result[name.rpartition(".")[2]].append(Definition(name, path, line))
        return dict(result)

    @cached_property
    def classes(self) -> dict[str, list[tuple[str, ast.ClassDef]]]:
        """The classes at the top of modules with their paths, by name."""
        result = defaultdict(list)
        for path, tree in self.trees.items():
            for node in tree.body:
                if isinstance(node, ast.ClassDef):
                    result[node.name].append((path, node))
        return dict(result)

    @cached_property
    def windows(self) -> list[Window]:
        """Windows of all files."""
        return [window for file in self.files for window in windows_of(file.text, file.path)]

    def suggest(self, name: str, query: str) -> Definition | None:
        """The definition that a name which does not exist may mean.

        Args:
            name: The name.
            query: The code around it: among definitions of that name, or else of a similar one, the one whose
                file shares most words with it is taken.

        Returns:
            None if the project defines nothing of that name or of a similar one.

        Example:
            >>> files = [SourceFile("io.py", "python", "def load_all(): ...")]
            >>> CodeProject(files).suggest("loadall", "loadall()")
            Definition(name='load_all', path='io.py', line=1)
        """
        close = [name] if name in self.definitions else get_close_matches(name, self.definitions, 3, 0.8)
        candidates = [definition for each in close for definition in self.definitions[each]]
        if len(candidates) < 2:
            return candidates[0] if candidates else None
        paths = {definition.path for definition in candidates}
        windows = [window for window in self.windows if window.path in paths]
        ranked = retrieve(query, windows, len(paths) * TOP)
        rank = {window.path: number for number, (window, _) in reversed(list(enumerate(ranked)))}
        return min(candidates, key=lambda each: rank.get(each.path, len(ranked)))


def word_set(text: str) -> frozenset[str]:
    """The words of a text in lower case, those of identifiers split.

    Example:
        >>> sorted(word_set("read_all(HTTPServer)"))
        ['all', 'http', 'read', 'server']
    """
    return frozenset(word.lower() for word in _WORD.findall(text))


def windows_of(text: str, path: str) -> list[Window]:
    r"""The windows of a file: ``WINDOW_LINES`` lines each, every ``STRIDE`` lines.

    Example:
        >>> [window.line for window in windows_of("x = 1\n" * 35, "a.py")]
        [1, 11, 21]
    """
    lines = text.splitlines()
    result = []
    for start in range(0, max(1, len(lines) - STRIDE), STRIDE):
        part = "\n".join(lines[start : start + WINDOW_LINES])
        result.append(Window(path, start + 1, part, word_set(part)))
    return result


def retrieve(query: str, among: Iterable[Window], top: int = TOP) -> list[tuple[Window, float]]:
    """The windows most similar to a text, and their Jaccard similarities; the earlier first among equals.

    Windows that share no word with it are left out.

    Example:
        >>> windows = [*windows_of("read(path)", "a.py"), *windows_of("write", "b.py")]
        >>> [(window.path, similarity) for window, similarity in retrieve("read all", windows)]
        [('a.py', 0.3333333333333333)]
    """
    words = word_set(query)
    scored = ((window, len(words & window.words) / max(1, len(words | window.words))) for window in among)
    return heapq.nlargest(top, (pair for pair in scored if pair[1]), key=lambda pair: pair[1])


def as_comments(ranked: Sequence[tuple[Window, float]], characters: int) -> str:
    """Windows as comments to put before a prompt, the best last; whole windows only.

    Args:
        ranked: What ``retrieve`` returned.
        characters: The length of the context, of which at most half is filled.

    Example:
        >>> print(as_comments(retrieve("read", windows_of("read(path)", "a.py")), 100), end="")
        # a.py, line 1:
        # read(path)
    """
    blocks, used = list[str](), 0
    for window, _ in ranked:
        lines = "\n".join(f"# {line}" for line in window.text.splitlines())
        block = f"# {window.path}, line {window.line}:\n{lines}\n"
        if used + len(block) > characters // 2:
            break
        blocks.append(block)
        used += len(block)
    return "".join(reversed(blocks))
