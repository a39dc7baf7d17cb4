"""Options that several commands share, and parsers of their values."""

import logging
import math
import re
import shlex
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from splinelens.errors import BadTexts
from splinelens.files import check_output
from splinelens.texts.encodings import check_encoding
from splinelens.texts.formats import check_delimiter
from splinelens.texts.sources import check_format

MAX_LAYERS = 1000
CODE_INDEX = Path("code.parquet")
SENTENCE_ENCODER = "sentence-transformers/all-MiniLM-L6-v2"
Value = TypeVar("Value")
_ESCAPES = {"n": "\n", "t": "\t", "\\": "\\"}


class LongTexts(StrEnum):
    """How texts longer than a window are read."""

    windows = "windows"
    cut = "cut"


TEXTS_FILE = typer.Argument(
    metavar="FILE|-",
    help="CSV, TSV, JSONL, JSON, Parquet, TXT, a pattern of several ('shards/*.csv') or hf:owner/name; - is "
    "stdin.",
)
LabeledFile = Annotated[
    str, typer.Argument(metavar="FILE|-", help="CSV, TSV, JSONL, JSON, Parquet or hf:owner/name; - is stdin.")
]
Column = Annotated[
    str | None,
    typer.Option(
        "--column", "-c", metavar="NAME", help="Column of the texts. Default: text, or the only column."
    ),
]
Keep = Annotated[
    str,
    typer.Option(
        "--keep",
        metavar="NAMES",
        help="Columns of the file to copy into the output, such as id,author; the texts only if named.",
        show_default=False,
    ),
]


def checked(check: Callable[[Value], object]) -> Callable[[Value | None], Value | None]:
    """A callback of typer: what ``check`` refuses is wrong usage, before any work."""

    def value_checked(value: Value | None) -> Value | None:
        try:
            if value is not None:
                check(value)
        except BadTexts as error:
            raise typer.BadParameter(str(error)) from error
        return value

    return value_checked


Encoding = Annotated[
    str,
    typer.Option(
        "--encoding",
        metavar="NAME",
        help="Encoding of text files, such as cp1252 of Excel, utf-16 or latin-1.",
        callback=checked(check_encoding),
    ),
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format",
        metavar="FORMAT",
        help="Format of the file, whatever its ending: txt, csv, tsv, jsonl, json, parquet.",
        callback=checked(check_format),
    ),
]
Delimiter = Annotated[
    str | None,
    typer.Option(
        "--delimiter",
        metavar="CHARACTER",
        help="Between the cells of CSV, such as ';'. Default: a comma.",
        callback=checked(check_delimiter),
    ),
]
NoHeader = Annotated[
    bool,
    typer.Option("--no-header", help="CSV without a line of names: its columns are called 1, 2, ..."),
]
Labels = Annotated[
    list[str],
    typer.Option(
        "--label",
        "-l",
        metavar="NAME",
        help="Column of the labels: 0/1, true/false, yes/no, or words for classes. Repeated: a column of 0/1 "
        "for each of several labels.",
    ),
]
Group = Annotated[
    str | None,
    typer.Option(
        "--group",
        metavar="COLUMN",
        help="Column of values that rows belonging together share, such as author or document. A row without "
        "one is a group of its own.",
    ),
]
DetectorsLabels = Annotated[
    list[str] | None,
    typer.Option(
        "--label",
        "-l",
        metavar="NAME",
        help="Column of the labels. Of a detector of several labels by default those columns.",
    ),
]
Positive = Annotated[
    str | None,
    typer.Option(
        "--positive",
        metavar="VALUE",
        help="The value that counts as positive; every other is negative, but an empty cell is missing.",
    ),
]
Split = Annotated[
    str | None,
    typer.Option(
        "--split",
        metavar="COLUMN[=VALUE]",
        help="Take only rows with this value in this column. Default value: train to train, test to "
        "evaluate.",
    ),
]

Model = Annotated[
    str, typer.Option("--model", "-m", metavar="NAME", help="Alias, folder, GGUF file or hub id owner/name.")
]
DetectorsModel = Annotated[
    str | None,
    typer.Option(
        "--model", "-m", metavar="NAME", help="The detector's model, if not at its default location."
    ),
]
Revision = Annotated[
    str | None, typer.Option("--revision", metavar="NAME", help="Branch, tag or commit of a hub id.")
]
Dtype = Annotated[
    str,
    typer.Option(
        "--dtype", metavar="NAME", help="Number type of the weights: float32, bfloat16, float16, float64."
    ),
]
Device = Annotated[
    str | None, typer.Option("--device", metavar="NAME", help="cpu, cuda:0, ... Default: the GPU, if any.")
]
Parser = Annotated[
    str | None,
    typer.Option(
        "--parser",
        metavar="NAME",
        help="English pipeline of spaCy, or its folder. Default: one that is installed, the small one first.",
    ),
]
Ray = Annotated[
    str | None,
    typer.Option(
        "--ray",
        metavar="[ADDRESS]",
        help="Read on a Ray cluster, an actor a processor or GPU: auto (it runs here) or HOST:PORT. Without "
        "an address one is started on this machine.",
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run Python that comes with the model. Only if you trust it."),
]

Features = Annotated[
    str,
    typer.Option(
        "--features",
        "-f",
        metavar="NAMES",
        help="Of margins, spline7, occupancy, hidden, attention_id, length (see docs/features.md).",
    ),
]
Layers = Annotated[
    str | None,
    typer.Option("--layers", metavar="RANGE", help="Layers to read, such as 0-29 or 0,2,5-7. Default: all."),
]
Pooling = Annotated[
    str,
    typer.Option(
        "--pooling", metavar="NAMES", help="How margins and hidden go over tokens: max, min, mean, last."
    ),
]
Prompt = Annotated[
    str,
    typer.Option(
        "--prompt",
        metavar="TEXT",
        help=r"Run before every text, never pooled. \n, \t and \\ are escapes.",
        show_default=False,
    ),
]
Eps = Annotated[
    float,
    typer.Option(
        "--eps",
        metavar="NUMBER",
        help="Attention weights above it count for the intrinsic dimension; over 0 and below 1.",
    ),
]
Prefixes = Annotated[
    bool, typer.Option("--prefixes", help="The features of every prefix of a text, all from its one pass.")
]
At = Annotated[
    str | None,
    typer.Option(
        "--at",
        metavar="COLUMN",
        help="Only the tokens of named characters: a column of spans such as [[0, 5], [10, 14]]; one row a "
        "span. The word answer stands for the last token of --suffix; one row a text.",
    ),
]
MaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens",
        metavar="N",
        min=1,
        help="Tokens of a window. Default: 512, or what fits the model.",
    ),
]
DetectorsMaxTokens = Annotated[
    int | None,
    typer.Option(
        "--max-tokens", metavar="N", min=1, help="Tokens of a window. Default: those of the detector."
    ),
]
MaxTextTokens = Annotated[
    int | None,
    typer.Option(
        "--max-text-tokens",
        metavar="N",
        min=1,
        help="Texts of more tokens are not read, and undetermined. Default: any length is read.",
    ),
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

Overwrite = Annotated[
    bool,
    typer.Option(
        "--overwrite",
        help="Replace what exists at the output; else it is refused. What continues stopped runs still does.",
    ),
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Of a finished Parquet output, read those texts again that did not fit into memory or whose "
        "forward pass raised; all other rows stay.",
    ),
]
Cache = Annotated[
    Path | None,
    typer.Option(
        "--cache", metavar="DIR", help="Keep what is read of the model here: a stopped run continues."
    ),
]
Fpr = Annotated[
    float,
    typer.Option("--fpr", metavar="RATE", help="False-positive rate of one text: 0.001, 0.01 or 0.05."),
]
Threshold = Annotated[
    float | None,
    typer.Option("--threshold", metavar="SCORE", min=0, max=1, help="A score in place of --fpr."),
]
Temperature = Annotated[
    float,
    typer.Option("--temperature", metavar="T", min=0, max=100, help="0 takes the most likely token."),
]
TopP = Annotated[
    float,
    typer.Option("--top-p", metavar="P", help="Choose among the tokens that together have this probability."),
]
Seed = Annotated[
    int,
    typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Seed of the random number generators."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON with stable keys, in UTF-8.")]


def _set_log_level(quiet: bool) -> bool:
    logging.getLogger("splinelens").setLevel(logging.ERROR if quiet else logging.INFO)
    return quiet


Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="Print nothing on stderr but errors.", callback=_set_log_level)
]
DETECTOR_HELP = (
    "A shipped detector (splinelens detectors list), or a folder written by train; ./NAME where both have "
    "that name."
)


def page_path(page: Path, option: str, *, overwrite: bool, source: str | None = None) -> Path:
    """The page to write, refused before any work if it could not be written; ``source`` is what is read."""
    from splinelens.report.page import require_plotly

    if page.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"{page} does not end in .html", param_hint=option)
    check_output(page, overwrite=overwrite, source=source)
    require_plotly(str(page))
    return page


def layer_numbers(ranges: str | None) -> tuple[int, ...] | None:
    """Parse ``--layers``: in ascending order, each once; None for all.

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


def share(text: str) -> float:
    """Parse a share or rate between 0 and 1.

    Raises:
        typer.BadParameter: Something else; of percents the message has the share.

    Example:
        >>> share("0.02")
        0.02
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if 0 < number < 1:
        return number
    percents = re.fullmatch(r"(\d{1,2}(?:\.\d*)?) ?%", text.strip(), re.ASCII)
    meant = float(percents[1]) / 100 if percents else 0
    example = f"{meant:g}" if meant else "one such as 0.05"
    raise typer.BadParameter(f"{text!r:.100} is no share between 0 and 1; write {example}")


def names(listed: str) -> tuple[str, ...]:
    """Parse a list separated by commas; a name that occurs twice counts once."""
    return tuple(dict.fromkeys(name.strip() for name in listed.split(",") if name.strip()))


def kept_columns(listed: str) -> tuple[str, ...]:
    """Parse ``--keep``; commas without a name are wrong usage."""
    if listed and not names(listed):
        raise typer.BadParameter("name a column", param_hint="--keep")
    return names(listed)


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


def given_command(context: typer.Context) -> str:
    """The command with the options that were given, for a card; without ``--overwrite``."""
    words = ["splinelens", context.command.name or ""]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE" or parameter.name == "overwrite":
            continue
        names = parameter.secondary_opts if value is False else parameter.opts
        option = names[:1] if names[0].startswith("-") else []
        for item in value if isinstance(value, tuple | list) else (value,):
            words += option if isinstance(item, bool) else [*option, str(item)]
    return shlex.join(words)


def column_and_value(pair: str | None, default: str) -> tuple[str, str] | None:
    """Parse ``--split COLUMN[=VALUE]``; None stays None.

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
