"""``splinelens generate``: write a reply under the eyes of a detector, and release what is cleared."""

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Literal

import typer

from splinelens.cli import options
from splinelens.errors import BadTexts
from splinelens.texts.sources import read_text


def generate(
    prompt: Annotated[
        str | None, typer.Argument(metavar="PROMPT|-", help="Message of a user; - reads it from stdin.")
    ] = None,
    messages: Annotated[
        Path | None,
        typer.Option(
            "--messages", help='A conversation as JSON: [{"role": "user", "content": "..."}].', metavar="FILE"
        ),
    ] = None,
    model: options.Model = "smollm2-135m",
    detector: Annotated[
        str, typer.Option("--detector", "-d", help="A shipped detector or a folder.", metavar="NAME")
    ] = "replies",
    release: Annotated[
        Literal["sentence", "all", "audit"],
        typer.Option(
            "--release",
            help="sentence holds a sentence back until it is cleared, all the whole reply; audit holds "
            "nothing back and reports.",
        ),
    ] = "sentence",
    action: Annotated[
        Literal["stop", "replace", "retry"],
        typer.Option(
            "--action",
            help="What follows a sentence that is not cleared: stop, replace it and stop, or retry from "
            "there with another seed.",
        ),
    ] = "stop",
    fpr: options.Fpr = 0.05,
    threshold: options.Threshold = None,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="Most tokens of the reply.", metavar="N", min=1)
    ] = 200,
    temperature: options.Temperature = 0.0,
    top_p: options.TopP = 1.0,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the choices.", metavar="N", min=0)] = 0,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Write a reply, guarded by a detector.

    The default detector, replies, judges the statistics of the pass that writes: no second model runs. It
    was fitted on replies of smollm2-135m; for another model train one whose prompt ends as its conversations
    do, or name another detector, which then runs beside the model. Released text goes to stdout as it is
    written, the verdict to stderr. With --json a line for each token, those of abandoned attempts included;
    the last says how it ended.

    Examples:
      splinelens generate "Name a river in France."
      splinelens generate "Tell me a story." --temperature 0.8 --seed 7 --action retry
      splinelens generate --messages conversation.json --release audit --json
    """
    if (prompt is None) == (messages is None):
        raise typer.BadParameter("give either a prompt (- is stdin) or --messages", param_hint="PROMPT")
    if action == "retry" and temperature == 0 and release != "audit":
        raise typer.BadParameter("a retry needs a --temperature above 0", param_hint="--action")
    if messages:
        said: str | list[dict[str, str]] = _messages(messages)
    else:
        said = read_text("-", "utf-8") if prompt == "-" else str(prompt)

    from splinelens.apps.guard import Guard
    from splinelens.generate.sample import Sampling

    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p, seed=seed)
    guard = Guard(
        detector,
        model,
        release=release,
        action=action,
        fpr=fpr,
        threshold=threshold,
        device=device,
        dtype=dtype,
    )
    if not (guard.own_pass or quiet):
        typer.echo(f"{guard.artifact.name} reads the reply beside {model}", err=True)
    for event in guard.stream(said, sampling):
        print(
            json.dumps(asdict(event), ensure_ascii=False) if as_json else event.text,
            end="\n" if as_json else "",
        )
        sys.stdout.flush()
    if not as_json:
        print()
    if not quiet:
        score = "no score" if event.score is None else f"{event.score:.3f}"
        typer.echo(f"{event.verdict} {score}, ended: {event.ended}", err=True)


def _messages(path: Path) -> list[dict[str, str]]:
    """The messages of a file; what they hold is checked by the writer."""
    try:
        found = json.loads(read_text(str(path), "utf-8"))
    except (ValueError, RecursionError) as error:
        raise BadTexts(f"{path} is no JSON of messages: {error}") from error
    if not isinstance(found, list) or not all(isinstance(message, dict) for message in found):
        raise BadTexts(f'{path} is no list of messages, such as [{{"role": "user", "content": "..."}}]')
    return found
