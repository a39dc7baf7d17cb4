"""Numbers of a written function: what a check finds in it, and the shape of its body.

The body is what follows the signature and the docstring. Code is read as text, since what a model writes
often does not parse, and it is never run.
"""

import builtins
import keyword
import re
import zlib
from collections import Counter

import numpy as np
from jaxtyping import Float

from splinelens.texts.code_findings import RULES, CodeReport

CATEGORIES = ("knowledge", "context", "requirement")
FINDINGS = ("fails", *CATEGORIES, *RULES, "undetermined")
"""What ``finding_numbers`` returns, in this order."""

KEYWORDS = (
    "return", "if", "else", "elif", "for", "while", "try", "except", "raise", "import", "self", "print",
    "lambda", "assert", "with", "None", "not", "def", "class",
)  # fmt: skip
"""Words whose occurrences ``shape_numbers`` counts; ``self`` and ``print`` are among them."""

SHAPE = (
    "characters", "lines", "longest line", "comment lines", "compressed size", "calls", "attributes", "names",
    "unknown names", "share of unknown names", "unknown attributes", "unknown names without value",
    "unused parameters", "deepest indent", "quotes", "numbers", "tabs", "nothing done",
    *(f"word {word}" for word in KEYWORDS),
)  # fmt: skip
"""What ``shape_numbers`` returns, in this order."""

FUNCTION_NUMBERS = (*FINDINGS, *SHAPE)
"""What ``function_numbers`` returns, in this order: the columns of a ``CodeHead``."""

_MOST_CHARACTERS = 20_000  # of a body and of a prompt
_NAME = re.compile(r"[A-Za-z_]\w*+")
_ATTRIBUTE = re.compile(r"\.([A-Za-z_]\w*)")
_ASSIGNED = re.compile(r"\b([A-Za-z_]\w*+)\s*+(?:=|in\b|,)")
_DOCSTRING = re.compile(r"\s*[rRuU]?(\"\"\"|''').*?\1[ \t]*\n", re.DOTALL)
_SIGNATURE = re.compile(r"def[ \t]+\w+[ \t]*\((.*?)\)[^()\n]*?:[ \t]*\n", re.DOTALL)
_NOTHING = re.compile(r"\b(pass|raise NotImplementedError.*|return None|return)\b|\.\.\.|\s")
_BUILT_IN = {*dir(builtins), *keyword.kwlist}


def split_body(code: str, name: str | None = None) -> tuple[str, str]:
    r"""Split a function after its signature and docstring; without a name ``code`` begins there.

    Lines are assigned by indentation, so the code need not parse: the body ends before a line that is
    indented less. Code without a function of this name is all body.

    Returns:
        The signature and docstring, and the body.

    Example:
        >>> split_body("def f(x):\n    return x * 2\n\nprint(f(1))", "f")
        ('def f(x):\n', '    return x * 2\n')
    """
    begin, start, indent = 0, 0, 0
    if name is not None:
        signature = rf"^([ \t]*)(?:async[ \t]+)?def[ \t]+{re.escape(name)}[ \t]*\(.*?\)[^()\n]*?:[^\n]*\n"
        match = re.search(signature, code, re.MULTILINE | re.DOTALL)
        if not match:
            return "", code
        docstring = _DOCSTRING.match(code, match.end())
        begin, start = match.start(), (docstring or match).end()
        indent = len(match[1].expandtabs())
    body_lines = list[str]()
    for line in code[start:].splitlines(keepends=True):
        text = line.expandtabs()
        stripped = text.strip()
        if stripped and len(text) - len(text.lstrip()) <= indent and stripped[0] not in "#)]}":
            break
        body_lines.append(line)
    return code[begin:start], "".join(body_lines).rstrip() + "\n"


def finding_numbers(report: CodeReport) -> Float[np.ndarray, " number"]:
    """The numbers of ``FINDINGS``: 1 if the verdict is ``fail``, and ``log(1 + count)`` of each kind.

    Example:
        >>> from splinelens.texts.code_findings import CodeFinding
        >>> finding = CodeFinding(1, 1, "knowledge", "undefined-name", "the name 'y' is not defined")
        >>> finding_numbers(CodeReport((finding,)))[:3].round(2).tolist()
        [1.0, 0.69, 0.0]
    """
    counts = Counter(kind for finding in report.findings for kind in (finding.category, finding.rule))
    counts["undetermined"] = len(report.undetermined)
    return np.array([float(report.verdict == "fail"), *np.log1p([counts[name] for name in FINDINGS[1:]])])


def shape_numbers(body: str, prompt: str, context: str = "") -> Float[np.ndarray, " number"]:
    r"""The numbers of ``SHAPE``.

    Counts are ``log(1 + count)``; the others are shares from 0 to 1, the indent in units of 4 columns, and
    the compressed size in bytes a character.

    Args:
        body: What ``split_body`` returned.
        prompt: The signature and the docstring.
        context: The rest of the file, whose names are known.

    Example:
        >>> values = shape_numbers("    return cube(y)\n", "def f(x):\n    'The cube.'\n")
        >>> dict(zip(SHAPE, values, strict=True))["unused parameters"]
        np.float64(1.0)
    """
    body, prompt = body[:_MOST_CHARACTERS], prompt[-_MOST_CHARACTERS:]
    lines = [line for line in body.splitlines() if line.strip()]
    code_lines = [line for line in lines if not line.strip().startswith("#")]
    text = "\n".join(code_lines)
    known = _BUILT_IN.union(_NAME.findall(context), _NAME.findall(prompt))
    numbers = {
        "comment lines": (len(lines) - len(code_lines)) / max(len(lines), 1),
        "compressed size": len(zlib.compress(body.encode("utf-8", "replace"))) / max(len(body), 1),
        "deepest indent": max((len(line) - len(line.lstrip()) for line in code_lines), default=0) / 4,
        "tabs": float("\t" in body),
        "nothing done": float(not _NOTHING.sub("", text)),
        **_name_shares(text, prompt, known),
    }
    counts = {
        "characters": len(text),
        "lines": len(code_lines),
        "longest line": max(map(len, code_lines), default=0),
        "calls": len(re.findall(r"\w\(", text)),
        "quotes": len(re.findall(r"[\"']", text)),
        "numbers": len(re.findall(r"\b\d", text)),
        **_name_counts(text, known),
        **{f"word {word}": len(re.findall(rf"\b{word}\b", text)) for word in KEYWORDS},
    }
    numbers |= {name: float(np.log1p(count)) for name, count in counts.items()}
    return np.array([numbers[name] for name in SHAPE])


def function_numbers(code: str, name: str, context: str, report: CodeReport) -> Float[np.ndarray, " number"]:
    r"""The numbers of ``FUNCTION_NUMBERS`` of a function.

    Args:
        code: The function, from its ``def`` on.
        name: Its name, without classes.
        context: The rest of the file.
        report: What a check of the function in that file returned.

    Example:
        >>> values = function_numbers("def f(x):\n    return x\n", "f", "", CodeReport())
        >>> dict(zip(FUNCTION_NUMBERS, values, strict=True))["unused parameters"]
        np.float64(0.0)
    """
    prompt, body = split_body(code, name)
    return np.concatenate([finding_numbers(report), shape_numbers(body, prompt, context)])


def _name_counts(text: str, known: set[str]) -> dict[str, int]:
    names, attributes = set(_NAME.findall(text)), _ATTRIBUTE.findall(text)
    unknown = names - known
    return {
        "attributes": len(attributes),
        "names": len(names),
        "unknown names": len(unknown),
        "unknown attributes": len(set(attributes) - known),
        "unknown names without value": len(unknown - set(_ASSIGNED.findall(text)) - set(attributes)),
    }


def _name_shares(text: str, prompt: str, known: set[str]) -> dict[str, float]:
    names, signatures = set(_NAME.findall(text)), _SIGNATURE.findall(prompt)
    parameters = set(_NAME.findall(signatures[-1])) - _BUILT_IN if signatures else set()
    return {
        "share of unknown names": len(names - known) / max(len(names), 1),
        "unused parameters": len(parameters - names) / max(len(parameters), 1),
    }
