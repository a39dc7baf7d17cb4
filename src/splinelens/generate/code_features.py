"""Numbers of a written function: the shape of its body, and how likely a language model finds it.

The body is what follows the signature and the docstring, which are the prompt that the model reads first.
Code is read as text, since what a model writes often does not parse, and it is never run.
"""

import builtins
import keyword
import re
import zlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from splinelens.engines.torch import Prompt, run_prompt, run_tokens
from splinelens.models import LoadedModel
from splinelens.models.load import require_head
from splinelens.texts.code_findings import RULES, CodeReport

WORDS = (
    "return", "if", "else", "elif", "for", "while", "try", "except", "raise", "import", "self", "print",
    "lambda", "assert", "with", "None", "not", "def", "class",
)  # fmt: skip

COUNTS = (
    "characters", "lines", "longest line", "comment lines", "compressed size", "calls", "attributes", "names",
    "unknown names", "share of unknown names", "unknown attributes", "unknown names without value",
    "unused parameters", "deepest indent", "quotes", "numbers", "tabs", "nothing done",
    *(f"word {word}" for word in WORDS),
)  # fmt: skip
"""The numbers of ``counts``; those that grow with the body as ``log(1 + x)``."""

CATEGORIES = ("knowledge", "context", "requirement")
FINDINGS = ("fails", *CATEGORIES, *RULES, "undetermined")
"""The numbers of ``finding_counts``; all but the first as ``log(1 + x)``."""

LIKELIHOOD = (
    "log-probability mean", "log-probability deviation", "log-probability least",
    "log-probability mean of the lowest tenth", "log-probability sum",
    "log-probability mean of the first quarter", "log-probability mean of the last quarter",
    "share below -5", "tokens below -5",
    "gap to the likeliest token mean", "gap to the likeliest token most", "gap to the likeliest token sum",
    "entropy mean", "entropy most", "entropy mean of the first quarter", "surprise mean", "surprise most",
    "rank mean", "rank most", "share of the likeliest token", "other than the likeliest token", "tokens",
)  # fmt: skip
"""The numbers of ``likelihood``; surprise is minus the log-probability less the entropy."""

MOST_TOKENS = 256
"""Tokens of a prompt, its last, and of a body, its first, that are read."""

_BATCH = 2048  # tokens
_MOST_CHARACTERS = 20_000  # of a body and of a prompt that are counted
_NAME = re.compile(r"[A-Za-z_]\w*+")
_DOCSTRING = re.compile(r"\s*[rRuU]?(\"\"\"|''').*?\1[ \t]*\n", re.DOTALL)
_SIGNATURE = re.compile(r"def[ \t]+\w+[ \t]*\((.*?)\)[^()\n]*?:[ \t]*\n", re.DOTALL)
_NOTHING = re.compile(r"\b(pass|raise NotImplementedError.*|return None|return)\b|\.\.\.|\s")
_EVERYWHERE = {*dir(builtins), *keyword.kwlist}


def split_body(code: str, name: str | None = None) -> tuple[str, str]:
    r"""Split a function after its signature and docstring; without a name ``code`` begins there.

    Found by indentation, in code that need not parse: the body ends before a line that is indented less. Code
    without a function of this name is all body.

    Returns:
        The signature and docstring, and the body.

    Example:
        >>> split_body("def f(x):\n    return x * 2\n\nprint(f(1))", "f")
        ('def f(x):\n', '    return x * 2\n')
    """
    indent, start, begin = 0, 0, 0
    if name is not None:
        head = rf"^([ \t]*)(?:async[ \t]+)?def[ \t]+{re.escape(name)}[ \t]*\(.*?\)[^()\n]*?:[^\n]*\n"
        if not (found := re.search(head, code, re.MULTILINE | re.DOTALL)):
            return "", code
        indent, begin, start = len(found[1].expandtabs()), found.start(), found.end()
        if docstring := _DOCSTRING.match(code, start):
            start = docstring.end()
    kept = list[str]()
    for line in code[start:].splitlines(keepends=True):
        text = line.expandtabs()
        bare = text.strip()
        if bare and len(text) - len(text.lstrip()) <= indent and bare[0] not in "#)]}":
            break
        kept.append(line)
    return code[begin:start], "".join(kept).rstrip() + "\n"


def counts(body: str, prompt: str, context: str = "") -> Float[np.ndarray, " count"]:
    r"""The numbers of ``COUNTS``.

    Args:
        body: What ``split_body`` gave.
        prompt: The signature and the docstring.
        context: The rest of the file, whose names are known.

    Example:
        >>> values = counts("    return cube(y)\n", "def f(x):\n    'The cube.'\n")
        >>> dict(zip(COUNTS, values, strict=True))["unused parameters"]
        np.float64(1.0)
    """
    body, prompt = body[:_MOST_CHARACTERS], prompt[-_MOST_CHARACTERS:]
    lines = [line for line in body.splitlines() if line.strip()]
    bare = [line for line in lines if not line.strip().startswith("#")]
    text = "\n".join(bare)
    used, known = set(_NAME.findall(text)), _EVERYWHERE.union(_NAME.findall(context), _NAME.findall(prompt))
    attributes = re.findall(r"\.([A-Za-z_]\w*)", text)
    given = set(re.findall(r"\b([A-Za-z_]\w*+)\s*+(?:=|in\b|,)", text))
    signature = _SIGNATURE.findall(prompt)
    parameters = set(_NAME.findall(signature[-1])) - _EVERYWHERE if signature else set()
    unknown = used - known
    return np.array(
        [
            np.log1p(len(text)),
            np.log1p(len(bare)),
            np.log1p(max(map(len, bare), default=0)),
            (len(lines) - len(bare)) / max(len(lines), 1),
            len(zlib.compress(body.encode("utf-8", "replace"))) / max(len(body), 1),
            np.log1p(len(re.findall(r"\w\(", text))),
            np.log1p(len(attributes)),
            np.log1p(len(used)),
            np.log1p(len(unknown)),
            len(unknown) / max(len(used), 1),
            np.log1p(len(set(attributes) - known)),
            np.log1p(len(unknown - given - set(attributes))),
            len(parameters - used) / max(len(parameters), 1),
            max((len(line) - len(line.lstrip()) for line in bare), default=0) / 4,
            np.log1p(len(re.findall(r"[\"']", text))),
            np.log1p(len(re.findall(r"\b\d", text))),
            float("\t" in body),
            float(not _NOTHING.sub("", text)),
            *(np.log1p(len(re.findall(rf"\b{word}\b", text))) for word in WORDS),
        ]
    )


def finding_counts(
    verdict: str, findings: Sequence[tuple[str, str]], undetermined: int
) -> Float[np.ndarray, " count"]:
    """The numbers of ``FINDINGS``.

    Args:
        verdict: Of a ``CodeReport``.
        findings: Category and rule of each finding.
        undetermined: How much could not be resolved.

    Example:
        >>> finding_counts("fail", [("knowledge", "undefined-name")], 0)[:3].round(2).tolist()
        [1.0, 0.69, 0.0]
    """
    categories, rules = Counter(category for category, _ in findings), Counter(rule for _, rule in findings)
    numbers = [*(categories[name] for name in CATEGORIES), *(rules[name] for name in RULES), undetermined]
    return np.array([float(verdict == "fail"), *np.log1p(numbers)])


def function_numbers(code: str, name: str, context: str, report: CodeReport) -> Float[np.ndarray, " number"]:
    """The numbers of ``FINDINGS`` and ``COUNTS`` of a function.

    Args:
        code: The function, from its ``def`` on.
        name: Its name, without classes.
        context: The rest of the file.
        report: What ``check`` says of it there.
    """
    prompt, body = split_body(code, name)
    found = [(finding.category, finding.rule) for finding in report.findings]
    undetermined = len(report.undetermined)
    return np.concatenate(
        [finding_counts(report.verdict, found, undetermined), counts(body, prompt, context)]
    )


def likelihood(tokens: Float[np.ndarray, "4 token"]) -> Float[np.ndarray, " number"]:
    """The numbers of ``LIKELIHOOD`` of what ``read_bodies`` gave.

    Example:
        >>> sure = likelihood(np.zeros((4, 3)))
        >>> dict(zip(LIKELIHOOD, sure, strict=True))["share of the likeliest token"]
        np.float64(1.0)
    """
    log, likeliest, entropy, rank = tokens.astype(np.float64)
    gap, surprise, quarter = likeliest - log, -log - entropy, max(1, len(log) // 4)
    lowest = np.sort(log)[: max(1, len(log) // 10)]
    numbers = [log.mean(), log.std(), log.min(), lowest.mean(), log.sum()]
    numbers += [log[:quarter].mean(), log[-quarter:].mean(), (log < -5).mean(), np.log1p((log < -5).sum())]
    numbers += [
        gap.mean(),
        gap.max(),
        np.log1p(gap.sum()),
        entropy.mean(),
        entropy.max(),
        entropy[:quarter].mean(),
    ]
    numbers += [surprise.mean(), surprise.max(), rank.mean(), rank.max(), (rank == 0).mean()]
    return np.array([*numbers, np.log1p((rank > 0).sum()), np.log(len(log))])


def read_bodies(
    loaded: LoadedModel, prompt: str, bodies: Sequence[str]
) -> list[Float[np.ndarray, "4 token"]]:
    """How likely a model finds the tokens of bodies after their prompt, which runs once.

    Args:
        loaded: A model loaded with ``head=True``.
        prompt: The signature and the docstring; must have a token.
        bodies: What ``split_body`` gave.

    Returns:
        For each body, for each token: its log-probability, that of the likeliest token in its place, the
        entropy of all, and ``log(1 + rank)``, 0 for the likeliest.

    Raises:
        BadModel: The model was loaded without its head.
    """
    causal, tokenizer = require_head(loaded), loaded.tokenizer
    before = tokenizer(prompt, add_special_tokens=False).input_ids[-MOST_TOKENS:]
    ids = [tokenizer(body, add_special_tokens=False).input_ids[:MOST_TOKENS] for body in bodies]
    kept = run_prompt(
        loaded.model, before[:-1]
    )  # the last token runs with the bodies, for the logits after it
    order = sorted(range(len(ids)), key=lambda index: -len(ids[index]))
    rows: list[np.ndarray] = [np.zeros((4, 0), np.float32)] * len(ids)
    while order:
        size = max(1, _BATCH // (len(ids[order[0]]) + 1))
        part, order = order[:size], order[size:]
        values = _predicted(causal, kept, before[-1], [ids[index] for index in part])
        for index, row in zip(part, values, strict=True):
            rows[index] = row[:, : len(ids[index])].numpy()
    return rows


@torch.no_grad()
def _predicted(
    causal: Any,  # Any: a model of transformers
    kept: Prompt,
    last: int,
    ids: Sequence[Sequence[int]],
) -> Float[Tensor, "row 4 token"]:
    """What ``read_bodies`` returns of a batch, its longest row first."""
    length = len(ids[0])
    batch = torch.tensor([[last, *row, *[0] * (length - len(row))] for row in ids])
    positions = torch.arange(kept.length, kept.length + length + 1).expand(len(ids), -1)
    logits = run_tokens(causal, batch, positions, cache=kept.cache(len(ids))).logits[:, :-1].float().cpu()
    log = logits.log_softmax(dim=-1)
    target = log.gather(-1, batch[:, 1:, None])
    entropy = torch.stack([-(row.exp() * row).sum(dim=-1) for row in log])
    rank = (log > target).sum(dim=-1)
    return torch.stack([target[..., 0], log.amax(dim=-1), entropy, torch.log1p(rank)], dim=1)
