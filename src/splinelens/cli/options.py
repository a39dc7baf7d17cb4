"""Options that several commands share, and parsers of their values."""

import re
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated

import typer

MAX_LAYERS = 1000
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


class LongTexts(StrEnum):
    """How texts longer than a window are read."""

    windows = "windows"
    cut = "cut"


def _option(*names: str, help: str, metavar: str | None = None, least: int | None = None) -> object:
    return typer.Option(*names, help=help, metavar=metavar, min=least, show_default=False)


LabelledFile = Annotated[
    str, typer.Argument(metavar="FILE|-", help="CSV, TSV, JSONL, JSON, Parquet or hf:owner/name; - is stdin.")
]
DetectorsModel = Annotated[
    str | None,
    _option("--model", "-m", help="The detector's model, if not at its default location.", metavar="NAME"),
]
Features = Annotated[
    str,
    typer.Option(
        "--features", "-f", help="margins, spline7, occupancy, hidden, attention_id, length.", metavar="NAMES"
    ),
]
Eps = Annotated[
    float,
    typer.Option(
        "--eps",
        help="Attention weights above it count for the intrinsic dimension; over 0 and below 1.",
        metavar="NUMBER",
    ),
]
Prefixes = Annotated[
    bool, typer.Option("--prefixes", help="The features of every prefix of a text, all from its one pass.")
]
Column = Annotated[
    str | None,
    _option("--column", "-c", help="Column of the texts. Default: text, or the only one.", metavar="NAME"),
]
Encoding = Annotated[
    str, typer.Option("--encoding", help="Encoding of text files, such as utf-8 or latin-1.", metavar="NAME")
]
Format = Annotated[
    str | None,
    _option(
        "--format",
        help="txt, csv, tsv, jsonl, json or parquet, overriding the file's ending.",
        metavar="FORMAT",
    ),
]
Device = Annotated[
    str | None, _option("--device", help="cpu, cuda:0, ... Default: the GPU if there is one.", metavar="NAME")
]
MaxTokens = Annotated[int, typer.Option("--max-tokens", help="Tokens of a window.", metavar="N", min=1)]
DetectorsMaxTokens = Annotated[
    int | None,
    _option("--max-tokens", help="Tokens of a window. Default: those of the detector.", metavar="N", least=1),
]
Long = Annotated[
    LongTexts,
    typer.Option(
        "--long",
        help="Texts over --max-tokens: windows reads them whole in overlapping windows, cut reads the first "
        "window and counts them.",
    ),
]
Normalize = Annotated[
    bool,
    typer.Option(
        "--normalize/--no-normalize",
        help="Read disguised characters (zero-width, look-alikes, fullwidth letters) as plain ones.",
    ),
]
Model = Annotated[
    str, typer.Option("--model", "-m", help="Alias, folder, GGUF file or hub id owner/name.", metavar="NAME")
]
Revision = Annotated[
    str | None, _option("--revision", help="Branch, tag or commit of a hub id.", metavar="NAME")
]
Dtype = Annotated[
    str, typer.Option("--dtype", help="Of the weights: float32, bfloat16, float16, float64.", metavar="NAME")
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python that comes with the model. Only if you trust it."),
]
Layers = Annotated[
    str | None,
    _option("--layers", help="Layers to read, such as 0-29 or 0,2,5-7. Default: all.", metavar="RANGE"),
]
Pooling = Annotated[
    str, typer.Option("--pooling", help="Of margins and hidden: max, min, mean, last.", metavar="NAMES")
]
Prompt = Annotated[
    str,
    _option(
        "--prompt",
        help=r"Run before every text, never pooled. \n, \t and \\ are escapes.",
        metavar="TEXT",
    ),
]
Seed = Annotated[int, typer.Option("--seed", help="Of the random number generators.", metavar="N", min=0)]
Labels = Annotated[
    list[str],
    _option(
        "--label",
        "-l",
        help="Column of the labels: 0/1, true/false, yes/no, or words for classes. Repeated: a column of 0/1 "
        "for each of several labels.",
        metavar="NAME",
    ),
]
DetectorsLabels = Annotated[
    list[str] | None,
    _option(
        "--label",
        "-l",
        help="Column of the labels. Of a detector of several labels by default those columns.",
        metavar="NAME",
    ),
]
Positive = Annotated[
    str | None, _option("--positive", help="The label that counts as 1; every other is 0.", metavar="VALUE")
]
TrainSplit = Annotated[
    str | None,
    _option(
        "--split",
        help="Take only rows with this value; default value: train.",
        metavar="COLUMN[=VALUE]",
    ),
]
TestSplit = Annotated[
    str | None,
    _option(
        "--split",
        help="Take only rows with this value; default value: test.",
        metavar="COLUMN[=VALUE]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Machine-readable: stable keys, UTF-8.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing on stderr but errors.")]


def layer_numbers(ranges: str | None) -> tuple[int, ...] | None:
    """Parse ``--layers``.

    Args:
        ranges: Numbers and ranges, separated by commas; None for all layers.

    Returns:
        The layers in ascending order, each once; None for all.

    Raises:
        typer.BadParameter: Another syntax.

    Example:
        >>> layer_numbers("0,5-7,2")
        (0, 2, 5, 6, 7)
    """
    if ranges is None:
        return None
    chosen: set[int] = set()
    for part in ranges.replace(" ", "").split(","):
        match = re.fullmatch(r"(\d{1,4})(?:-(\d{1,4}))?", part, re.ASCII)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last < MAX_LAYERS:
            raise typer.BadParameter(
                f"{part!r} is no layer and no range of layers; write 0-29 or 0,2,5-7", param_hint="--layers"
            )
        chosen.update(range(first, last + 1))
    return tuple(sorted(chosen))


def names(listed: str) -> tuple[str, ...]:
    """Parse a list separated by commas.

    Example:
        >>> names("spline7, margins")
        ('spline7', 'margins')
    """
    return tuple(name.strip() for name in listed.split(",") if name.strip())


def stderr_printer(quiet: bool) -> Callable[[str], None]:
    """A function that prints a line to stderr, or does nothing if ``quiet``."""
    return lambda line: None if quiet else typer.echo(line, err=True)


def unescape(prompt: str) -> str:
    r"""Replace the escapes ``\n``, ``\t`` and ``\\`` of a prompt.

    Example:
        >>> unescape(r"Comment:\n")
        'Comment:\n'
    """
    return re.sub(r"\\([nt\\])", lambda match: _ESCAPES[match[1]], prompt)


def column_and_value(pair: str | None, default: str) -> tuple[str, str] | None:
    """Parse ``--split COLUMN[=VALUE]``.

    Args:
        pair: As typed; None stays None.
        default: The value of a column without one.

    Raises:
        typer.BadParameter: One side of the ``=`` is empty.

    Example:
        >>> column_and_value("fold=3", "test"), column_and_value("split", "test")
        (('fold', '3'), ('split', 'test'))
    """
    if pair is None:
        return None
    column, equals, value = pair.partition("=")
    if not column or (equals and not value):
        raise typer.BadParameter(
            f"{pair!r} is not COLUMN=VALUE, such as split={default}", param_hint="--split"
        )
    return column, value or default
