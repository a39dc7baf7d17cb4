"""``splinelens inspect``: one text in, or two; what a model does with it out, as lines, a page or JSON."""

import json
import os
import re
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.texts.sources import read_text


def inspect(
    text: Annotated[
        str | None, typer.Argument(metavar="TEXT|-", help="The text itself; - reads it from stdin.")
    ] = None,
    file: Annotated[
        str | None,
        typer.Option("--file", help="Read a whole file as one text; - is stdin.", metavar="FILE|-"),
    ] = None,
    encoding: options.Encoding = "utf-8",
    versus: Annotated[
        str | None, typer.Option("--versus", help="Another text to compare with.", metavar="TEXT")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a page with pictures, readable offline.", metavar="HTML"),
    ] = None,
    overwrite: options.Overwrite = False,
    prefixes: options.Prefixes = False,
    slice_at: Annotated[
        str | None,
        typer.Option(
            "--slice",
            help="Layer and three tokens, from 0, through which the partition is cut; token -1 is the last. "
            "Default: the middle layer and the first, middle and last token. "
            "With --versus the tokens of the second text are counted after those of the first.",
            metavar="LAYER:A,B,C",
        ),
    ] = None,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            help="Everything about one token at one layer, both from 0, and nothing else. Token -1 is "
            "the last.",
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
            help="Folder of ordinary texts to take percentiles from (benchmarks/reference.py makes "
            "one). Default: the shipped one, of smollm2-135m.",
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
    """Show where a text falls, token by token and layer by layer.

    A wall is the hyperplane where one neuron's gate is 0, a region lies between walls, a hull is what
    attention can reach (docs/geometry.md).

    Without -o a line a token and a line a layer. With --json the whole record: arrays as lists whose axes are
    layer, token (sign, boundary, wall, bound, region_ids), threshold, layer, head, token (dimension), layer,
    feature (seven, percentiles), layer, token, feature (prefixes), layer (regions, text_distance) and text,
    layer (self_distance); null is what does not exist. With --at one token at one layer, its hull head by
    head; in its JSON input and output are norms of the MLP's input and output, crossing is the length of the
    step. One line break at the end of a file is not read.

    Examples:
      splinelens inspect "Have a nice day."
      splinelens inspect "Have a nice day." --versus "Get lost." -o page.html
      splinelens inspect "Have a nice day." --at 2:3
      cat letter.txt | splinelens inspect - --layers 0-9 --slice 5:0,3,7 --json
    """
    if (text is None) == (file is None):
        raise typer.BadParameter("give either a text (- is stdin) or --file", param_hint="TEXT")
    if text is not None and text != "-":
        _refuse_file(text, "TEXT", f"--file {shlex.quote(text)}; to inspect its name, send that to stdin (-)")
    if versus is not None:
        _refuse_file(versus, "--versus", f'--versus "$(cat {shlex.quote(versus)})"')
    if as_json and output:
        raise typer.BadParameter("give --json or --output, not both", param_hint="--json")
    chosen = options.layer_numbers(layers)
    plane = _layer_and_tokens(
        slice_at, 3, "--slice", "LAYER:A,B,C, such as 5:0,3,7 for tokens 0, 3 and 7 at layer 5"
    )
    location = _layer_and_tokens(
        at, 1, "--at", "LAYER:TOKEN, such as 5:3 for token 3 at layer 5; token -1 is the last"
    )
    if location and (versus is not None or output or prefixes or layers or plane or reference):
        raise typer.BadParameter(
            "it takes no --versus, --output, --prefixes, --layers, --slice or --reference",
            param_hint="--at",
        )
    if output:
        options.page_path(output, "--output", overwrite=overwrite, source=file)
    else:
        require_stdout(", or name a page with -o")
    content = text if text is not None and text != "-" else read_text(file or "-", encoding)
    loading: dict[str, Any] = {  # Any: arguments of different types
        "revision": revision,
        "device": device,
        "dtype": dtype,
        "trust_remote_code": trust_remote_code,
    }

    prompt = options.unescape(prompt)
    if location:
        _look(content, location, model, prompt, max_tokens, eps, loading, as_json)
        return

    from splinelens.apps import inspection as apps_inspection
    from splinelens.report.inspection_terminal import inspection_view
    from splinelens.report.terminal import print_view

    inspection = apps_inspection.inspect(
        content,
        model,
        versus=versus,
        layers=chosen,
        prompt=prompt,
        max_tokens=max_tokens,
        eps=eps,
        prefixes=prefixes,
        slice_at=(plane[0], (plane[1], plane[2], plane[3])) if plane else None,
        reference=reference,
        **loading,
    )
    if output:
        from splinelens.files import write_text
        from splinelens.report.inspection_page import inspection_html

        write_text(output, inspection_html(inspection), overwrite=overwrite)
        if not quiet:
            typer.echo(f"wrote {output}", err=True)
    elif as_json:
        print(inspection.to_json())
    else:
        print_view(lambda width: inspection_view(inspection, width))


def _look(
    text: str,
    location: list[int],
    model: str,
    prompt: str,
    max_tokens: int,
    eps: float,
    loading: dict[str, Any],  # Any: as above
    as_json: bool,
) -> None:
    """Print everything about one token at one layer."""
    from splinelens.features.look import look
    from splinelens.models.load import load_up_to
    from splinelens.report.inspection_terminal import token_view
    from splinelens.report.terminal import print_view
    from splinelens.tokens import tokenize

    layer, token = location
    loaded = load_up_to(model, [layer], **loading)
    result = look(text, loaded, layer=layer, token=token, prompt=prompt, max_tokens=max_tokens, eps=eps)
    record = {"model": loaded.name, **result.to_dict()}
    if as_json:
        print(json.dumps(record, ensure_ascii=False, allow_nan=False))
        return
    (tokens,) = tokenize([text], loaded.tokenizer)
    pieces = [text[begin:end] for begin, end in tokens.offsets]
    print_view(lambda _: token_view(record, loaded.name, pieces))


def _layer_and_tokens(value: str | None, tokens: int, option: str, example: str) -> list[int] | None:
    """A layer and some tokens, written as LAYER:A,B,..."""
    if value is None:
        return None
    pattern = r"(\d{1,4}):" + ",".join([r"(-?\d{1,6})"] * tokens)
    match = re.fullmatch(pattern, value.replace(" ", ""), re.ASCII)
    if match is None:
        raise typer.BadParameter(f"{value!r} is not {example}", param_hint=option)
    return [int(number) for number in match.groups()]


def _refuse_file(text: str, hint: str, instead: str) -> None:
    """Refuse the name of a file where a text is read."""
    if os.path.isfile(text):  # Path raises on long texts
        raise typer.BadParameter(
            f"{text!r} is a file, and the text itself is read here. Try {instead}", param_hint=hint
        )
