"""``splinelens search``: write a text step by step, and return only one that a detector passes."""

import json
import math
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from splinelens.cli import options
from splinelens.cli.exits import OURS, exit_with, require_stdout
from splinelens.cli.progress import trial_bar
from splinelens.errors import BadTexts
from splinelens.files import check_output

if TYPE_CHECKING:
    from splinelens.generate.search import SearchResult

_MORE = "give more --budget, a larger -k or another --seed"


def search(
    prompt: Annotated[
        str | None, typer.Option("--prompt", "-p", help="What the text is written to.", metavar="TEXT")
    ] = None,
    prompts: Annotated[
        str | None,
        typer.Option(
            "--prompts", help="A file of prompts, one search each; prints JSON lines.", metavar="FILE"
        ),
    ] = None,
    column: options.Column = None,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    detector: Annotated[
        str, typer.Option("--detector", "-d", help=options.DETECTOR_HELP, metavar="NAME")
    ] = "toxicity",
    fpr: options.Fpr = 0.05,
    threshold: options.Threshold = None,
    model: options.Model = "smollm2-135m",
    chat: Annotated[
        bool, typer.Option("--chat", help="The prompt is a user's message; else it is continued as it is.")
    ] = False,
    budget: Annotated[
        int,
        typer.Option(
            "--budget", help="Most tokens that are generated for a prompt, in all texts.", metavar="N", min=1
        ),
    ] = 2000,
    max_tokens: Annotated[
        int, typer.Option("--max-tokens", help="Most tokens of a text.", metavar="N", min=1)
    ] = 200,
    seconds: Annotated[
        float | None,
        typer.Option(
            "--seconds", help="Most seconds for a prompt. Default: any number.", metavar="S", min=0.001
        ),
    ] = None,
    unit: Annotated[
        Literal["sentence", "line"], typer.Option("--unit", help="What a step of the search is.")
    ] = "sentence",
    max_step_tokens: Annotated[
        int, typer.Option("--max-step-tokens", help="Most tokens of a step.", metavar="N", min=1)
    ] = 60,
    k: Annotated[
        int, typer.Option("-k", help="Continuations of a text that are tried.", metavar="N", min=1)
    ] = 3,
    n: Annotated[int, typer.Option("-n", help="Finished texts that end it.", metavar="N", min=1)] = 3,
    aggregate: Annotated[
        Literal["min", "max", "sum", "last"],
        typer.Option("--aggregate", help="How the scores of steps are joined: see docs/search.md."),
    ] = "min",
    value: Annotated[
        str | None,
        typer.Option(
            "--value",
            help="A folder of train --pooling last: its probability says what may come.",
            metavar="DIR",
        ),
    ] = None,
    value_weight: Annotated[
        float, typer.Option("--value-weight", help="Factor of --value.", metavar="NUMBER", min=0)
    ] = 1.0,
    temperature: options.Temperature = 0.8,
    top_p: options.TopP = 1.0,
    trace: Annotated[
        Path | None,
        typer.Option("--trace", help="Write every step that was tried, as JSON lines.", metavar="FILE"),
    ] = None,
    overwrite: options.Overwrite = False,
    seed: options.Seed = 0,
    device: options.Device = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Search step by step for a text that a detector passes.

    Each step is tried in -k ways and judged by the detector: a text that it flags, or cannot judge, goes no
    further and is never returned. The text with the best score is continued, until -n texts are finished
    or the --budget is spent. The text goes to stdout; what was dropped and spent goes to stderr. Exits 1 if
    no text passed.

    With --json, and with --prompts, a line for each prompt: {"prompt", "text" (null if none passed),
    "verdict", "reason", "score", "tokens", "expanded", "created", "dropped", "model", "detector",
    "threshold", "seed"}.

    Examples:
      splinelens search --detector toxicity --prompt "The new neighbors"
      splinelens search --prompts prompts.csv -c prompt --fpr 0.01 > texts.jsonl
      splinelens search -p "Name a river in France." --chat --json
    """
    if (prompt is None) == (prompts is None):
        raise typer.BadParameter("give either --prompt or --prompts", param_hint="--prompt")
    if trace is not None:
        if prompts is not None:
            raise typer.BadParameter("a trace is of one search: give --prompt", param_hint="--trace")
        check_output(trace, overwrite=overwrite)
    require_stdout("")

    from splinelens.apps.detector import Detector
    from splinelens.generate.model_steps import ModelSteps
    from splinelens.generate.sample import Sampling, Writer
    from splinelens.generate.search import SearchBudget, SearchResult
    from splinelens.generate.search import search as search_text
    from splinelens.generate.value_head import ValueHead
    from splinelens.models import load_model
    from splinelens.texts import read_texts

    texts: Sequence[str | None] = [prompt]
    if prompts is not None:
        texts = read_texts(prompts, column, (), encoding, format, delimiter, not no_header).texts
    sampling = Sampling(max_tokens=max_tokens, temperature=temperature, top_p=top_p)
    judge = Detector.load(detector, device=device)
    critic = judge.critic(fpr=fpr, threshold=threshold)
    limits = dict(zip(judge.artifact.labels, judge.artifact.limits(fpr, threshold), strict=True))
    settings = {
        "model": model,
        "detector": judge.name,
        "threshold": limits if len(limits) > 1 else next(iter(limits.values())),
        "seed": seed,
    }
    head = None if value is None else ValueHead(value)
    loaded = load_model(model, head=True, device=device)
    writer = ModelSteps(
        Writer(loaded) if head is None else head.writer(loaded), unit, sampling, max_step_tokens
    )
    searched = partial(
        search_text,
        writer,
        [critic],
        value=head,
        k=k,
        n=n,
        aggregate=aggregate,
        value_weight=value_weight,
        budget=SearchBudget(tokens=budget, seconds=math.inf if seconds is None else seconds),
        seed=seed,
    )

    def prompt_of(text: str | None) -> str | list[dict[str, str]]:
        if not text:
            raise BadTexts("the prompt is empty; give a text")
        return [{"role": "user", "content": text}] if chat else text

    if prompts is None:
        with trial_bar(not quiet, "tokens") as progress:
            result = searched(prompt_of(prompt), progress=progress)
        if as_json:
            print(_line(prompt, result, settings), flush=True)
        elif result.text is not None:
            print(result.text, flush=True)
        options.stderr_printer(quiet)(_summary(result, budget))
        if trace is not None:  # after the text, which is not lost where this fails
            result.write_trace(trace, overwrite=overwrite)
        if result.text is None:
            raise exit_with(f"no text passed: {_MORE}", OURS)
        return

    without = unusable = 0
    with trial_bar(not quiet and not sys.stdout.isatty(), "prompts") as progress:
        for number, text in enumerate(texts, start=1):
            try:
                result = searched(prompt_of(text))
            except BadTexts as error:  # empty or too long
                result = SearchResult(None, "undetermined", str(error), None, 0, 0, 0, {}, ())
                unusable += 1
            print(_line(text, result, settings), flush=True)
            without += result.text is None
            if progress is not None:
                progress(number, len(texts))
    if without:
        said = [f"{unusable} of {len(texts)} prompts cannot be continued; see their reasons"] * bool(unusable)
        if without > unusable:
            said.append(f"no text passed for {without - unusable} of {len(texts)} prompts: {_MORE}")
        raise exit_with("; ".join(said), OURS)


def _line(prompt: str | None, result: "SearchResult", settings: dict[str, Any]) -> str:  # Any: JSON values
    """The JSON of a search."""
    keys = ("text", "verdict", "reason", "score", "tokens", "expanded", "created", "dropped")
    record = {"prompt": prompt, **{key: getattr(result, key) for key in keys}, **settings}
    return json.dumps(record, ensure_ascii=False)


def _summary(result: "SearchResult", budget: int) -> str:
    """What was returned, dropped and spent, in one line."""
    dropped = ", ".join(f"{reason} {count}" for reason, count in result.dropped.items()) or "none"
    score = "" if result.score is None else f" {result.score:.3f}"
    return (
        f"{result.verdict}{score}: {result.reason}; {result.created} steps, dropped: {dropped}; "
        f"{result.tokens:,} of {budget:,} tokens, {result.expanded} expansions"
    )
