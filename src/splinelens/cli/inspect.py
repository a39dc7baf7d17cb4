"""``splinelens inspect``: one text in, or two; what a model does with it out, as lines, a page or JSON."""

import re
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splinelens.cli import options

if TYPE_CHECKING:
    from rich.text import Text

    from splinelens.models import LoadedModel
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
    prefixes: options.Prefixes = False,
    slice_at: Annotated[
        str | None,
        typer.Option(
            "--slice",
            help="Layer and three tokens, from 0, through which the partition is cut. Default: the middle. "
            "With --versus the tokens of the second text are counted on behind the first's.",
            metavar="LAYER:A,B,C",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="Everything about one token at one layer, both from 0, and nothing else.",
            metavar="LAYER:TOKEN",
        ),
    ] = None,
    layers: options.Layers = None,
    model: options.Model = "smollm2-135m",
    prompt: options.Prompt = "",
    eps: options.Eps = 0.1,
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
    device: options.Device = None,
    revision: options.Revision = None,
    dtype: options.Dtype = "float32",
    trust_remote_code: options.TrustRemoteCode = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Show where a text falls: signs, walls, hulls and regions, token by token and layer by layer.

    Without -o a line a token and a line a layer. With --json the whole record: arrays as lists whose axes are
    layer, token (sign, boundary, wall, bound, region_ids), threshold, layer, head, token (dimension), layer,
    feature (seven, percentiles), layer, token, feature (prefixes) and text, layer (own_distance); null is
    what does not exist. With --at one token at one layer, its hull head by head. One line break at the end
    of a file is not read.

    Examples:
      splinelens inspect "Have a nice day."
      splinelens inspect "Have a nice day." --versus "Get lost." --prefixes -o page.html
      splinelens inspect "Have a nice day." --at 2:3
      cat letter.txt | splinelens inspect - --layers 0-9 --slice 5:0,3,7 --json
    """
    from splinelens.errors import CannotWrite

    if (text is None) == (file is None):
        raise typer.BadParameter("give either a text (- is stdin) or --file", param_hint="TEXT")
    if as_json and output:
        raise typer.BadParameter("give --json or --output, not both", param_hint="--json")
    chosen, cut, place = options.layer_numbers(layers), _slice_at(slice_at), _place_at(at)
    if place and (versus is not None or output or prefixes or layers or cut or reference):
        raise typer.BadParameter(
            "it takes no --versus, --output, --prefixes, --layers, --slice or --reference",
            param_hint="--at",
        )
    if output:
        _check(output)
    elif sys.stdout is None:
        raise CannotWrite("cannot write to standard output: it is closed; open it, or name a page with -o")
    read = text if text is not None and text != "-" else _read(file or "-")

    from splinelens.apps.inspection import inspect as look_at
    from splinelens.features.spec import FeatureSpec
    from splinelens.models import load_model

    loaded = load_model(
        model,
        layers=FeatureSpec(layers=(place[0],) if place else chosen, eps=eps).depth,
        revision=revision,
        dtype=dtype,
        device=device,
        trust_remote_code=trust_remote_code,
    )
    prompt = options.unescaped(prompt)
    if place:
        _show_place(read, loaded, place, prompt, eps, max_tokens, as_json)
        return
    found = look_at(
        read,
        loaded,
        versus=versus,
        layers=chosen,
        prompt=prompt,
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
        from splinelens.report.inspection_terminal import terminal

        print_lines(lambda width: terminal(found, width))


def _show_place(
    text: str,
    loaded: "LoadedModel",
    place: tuple[int, int],
    prompt: str,
    eps: float,
    max_tokens: int,
    as_json: bool,
) -> None:
    """One token at one layer, on stdout."""
    from splinelens.features.look import look
    from splinelens.report.place import PlaceReport, place_terminal
    from splinelens.tokens import tokenize

    layer, token = place
    found = look(text, loaded, layer=layer, token=token, prompt=prompt, eps=eps, max_tokens=max_tokens)
    report = PlaceReport.of(found, loaded.name)
    if as_json:
        print(report.to_json())
        return
    (own,) = tokenize([text], loaded.tokenizer)
    pieces = [text[begin:end] for begin, end in own.offsets]
    print_lines(lambda width: place_terminal(report, width, pieces))


def _place_at(wanted: str | None) -> tuple[int, int] | None:
    if wanted is None:
        return None
    match = re.fullmatch(r"(\d{1,4}):(\d{1,6})", wanted.replace(" ", ""), re.ASCII)
    if match is None:
        raise typer.BadParameter(
            f"{wanted!r} is not LAYER:TOKEN, such as 5:3 for token 3 at layer 5", param_hint="--at"
        )
    return int(match[1]), int(match[2])


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
    if output.is_dir():
        raise CannotWrite(
            f"cannot write {output}: it is a folder; name a file, such as {output / 'page.html'}"
        )
    require_plotly(str(output))


def _read(file: str) -> str:
    """A whole file as one text, without the line break that ends its last line."""
    from splinelens.errors import BadTexts

    if file == "-" and sys.stdin is None:
        raise BadTexts(
            "cannot read -: standard input is closed; pipe a text into it, or give the text itself"
        )
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

    shown = page(found)
    try:
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".splinelens-") as own:
            part = Path(own) / output.name
            part.write_text(shown, "utf-8")
            part.replace(output)
    except OSError as error:
        raise CannotWrite(f"cannot write {output}: {error.strerror or error}") from error


def print_lines(lines: Callable[[int], "Text"]) -> None:
    """What a width gives, in colours if it is a terminal's."""
    from rich.console import Console

    if sys.stdout.isatty():
        console = Console()
        console.print(lines(console.width), soft_wrap=True, highlight=False)
    else:
        print(lines(_PIPED_WIDTH).plain)
