"""``splinelens inspect``: one text in, or two; what a model does with it out, as lines, a page or JSON."""

import math
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splinelens.cli import options

if TYPE_CHECKING:
    from splinelens.report.inspection import Inspection

_PIPED_WIDTH = 120


def inspect(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT|-", help="The text itself; - reads it from stdin.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", help="Read the text from a UTF-8 file; - is stdin.", metavar="FILE|-"),
    ] = None,
    versus: Annotated[
        str | None, typer.Option("--versus", help="Another text to hold beside it.", metavar="TEXT")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a page with pictures, readable offline.", metavar="HTML"),
    ] = None,
    prefixes: Annotated[
        bool, typer.Option("--prefixes", help="Also the seven features while the text grows.")
    ] = False,
    slice_at: Annotated[
        str | None,
        typer.Option(
            "--slice",
            help="Layer and three tokens, from 0, through which the partition is cut. Default: the middle.",
            metavar="LAYER:A,B,C",
        ),
    ] = None,
    layers: options.Layers = None,
    model: options.Model = "smollm2-135m",
    prompt: options.Prompt = "",
    eps: Annotated[
        float,
        typer.Option(
            "--eps", help="Threshold of the intrinsic dimension, over 0 and below 1.", metavar="EPS"
        ),
    ] = 0.1,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="Longer texts are refused.", metavar="N", min=1)
    ] = 2048,
    reference: Annotated[
        str | None,
        typer.Option(
            "--reference",
            help="Folder of what percentiles are taken from. Default: the shipped.",
            metavar="DIR",
        ),
    ] = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Show where a text falls: signs, walls, hulls and regions, token by token and layer by layer.

    Without -o a line a token and a line a layer. With --json the whole record: arrays as lists whose axes are
    layer, token (sign, boundary, wall, bound), form, layer, head, token (dimension), layer, feature (seven,
    percentiles) and layer, token, feature (prefixes). One line break at the end of a file is not read.

    Examples:
      splinelens inspect "Have a nice day."
      splinelens inspect "Have a nice day." --versus "Get lost." --prefixes -o page.html
      cat letter.txt | splinelens inspect - --layers 0-9 --slice 5:0,3,7 --json
    """
    if (text is None) == (file is None):
        raise typer.BadParameter("give either a text (- is stdin) or --file", param_hint="TEXT")
    if as_json and output:
        raise typer.BadParameter("give --json or --output, not both", param_hint="--json")
    if not math.isfinite(eps):
        raise typer.BadParameter("give a number over 0 and below 1", param_hint="--eps")
    chosen, cut = options.layer_numbers(layers), _slice_at(slice_at)
    if output:
        _check(output)
    read = text if text is not None and text != "-" else _read(file or "-")

    from splinelens.apps.inspection import inspect as look_at

    found = look_at(
        read,
        model,
        versus=versus,
        layers=chosen,
        prompt=options.unescaped(prompt),
        eps=eps,
        max_tokens=max_tokens,
        prefixes=prefixes,
        slice_at=cut,
        reference=reference,
    )
    if output:
        _write(found, output)
        if not quiet:
            typer.echo(f"wrote {output}", err=True)
    elif as_json:
        print(found.to_json())
    else:
        _print(found)


def _slice_at(wanted: str | None) -> tuple[int, tuple[int, int, int]] | None:
    if wanted is None:
        return None
    match = re.fullmatch(r"(\d{1,4}):(\d{1,6}),(\d{1,6}),(\d{1,6})", wanted.replace(" ", ""), re.ASCII)
    if match is None:
        raise typer.BadParameter(
            f"{wanted!r} is not LAYER:A,B,C, such as 5:0,3,7 for tokens 0, 3 and 7 at layer 5",
            param_hint="--slice",
        )
    layer, *tokens = map(int, match.groups())
    return layer, (tokens[0], tokens[1], tokens[2])


def _check(output: Path) -> None:
    """Refuse a page that could not be written, before a model is loaded."""
    from splinelens.errors import CannotWrite
    from splinelens.report.inspection_page import require_plotly

    if output.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"{output} does not end in .html", param_hint="--output")
    if not output.parent.is_dir():
        raise CannotWrite(f"cannot write {output}: there is no folder {output.parent}")
    require_plotly(str(output))


def _read(file: str) -> str:
    """A whole file as one text, without the line break that ends its last line."""
    from splinelens.errors import BadTexts

    try:
        raw = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        read = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadTexts(f"{file} is not UTF-8: byte {error.start} cannot be read; convert it first") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise BadTexts(f"cannot read {file}: {reason}; name a text file, or give the text itself") from error
    return read.removesuffix("\n").removesuffix("\r")


def _write(found: "Inspection", output: Path) -> None:
    from splinelens.errors import CannotWrite
    from splinelens.report.inspection_page import page

    part = output.with_name(output.name + ".tmp")
    try:
        part.write_text(page(found), "utf-8")
        part.replace(output)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise CannotWrite(f"cannot write {output}: {error.strerror or error}") from error


def _print(found: "Inspection") -> None:
    from rich.console import Console

    from splinelens.report.inspection_terminal import terminal

    if sys.stdout.isatty():
        console = Console()
        console.print(terminal(found, console.width), soft_wrap=True, highlight=False)
    else:
        print(terminal(found, _PIPED_WIDTH).plain)
