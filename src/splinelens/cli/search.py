"""``splinelens search``: write a text step by step, and return only one that a detector passes."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from splinelens.cli import options
from splinelens.cli.exits import OURS, exit_with, require_stdout
from splinelens.errors import BadTexts
from splinelens.files import check_output

if TYPE_CHECKING:
    from splinelens.generate.search import SearchResult

_TRIED = 10  # tokens that are generated for each of a text, unless more is said


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
    detector: Annotated[
        str, typer.Option("--detector", "-d", help=options.DETECTOR_HELP, metavar="NAME")
    ] = "toxicity",
    fpr: Annotated[
        float,
        typer.Option("--fpr", help="False-positive rate of one text: 0.001, 0.01 or 0.05.", metavar="RATE"),
    ] = 0.05,
    threshold: Annotated[
        float | None,
        typer.Option("--threshold", help="A score in place of --fpr.", metavar="SCORE", min=0, max=1),
    ] = None,
    model: options.Model = "smollm2-135m",
    chat: Annotated[
        bool, typer.Option("--chat", help="The prompt is a user's message; else it is continued as it is.")
    ] = False,
    tokens: Annotated[
        int, typer.Option("--tokens", help="Most tokens that are generated for a prompt.", metavar="N", min=1)
    ] = 1000,
    max_tokens: Annotated[
        int | None,
        typer.Option(
            "--max-tokens",
            help="Most tokens of the text. Default: a tenth of --tokens; most go to other texts.",
            metavar="N",
            min=1,
        ),
    ] = None,
    unit: Annotated[
        Literal["sentence", "line"], typer.Option("--step", help="What a step of the search is.")
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
    temperature: Annotated[
        float,
        typer.Option("--temperature", help="0 tries only the likeliest step.", metavar="T", min=0, max=100),
    ] = 0.8,
    top_p: Annotated[
        float,
        typer.Option(
            "--top-p", help="Choose among the tokens that together have this probability.", metavar="P"
        ),
    ] = 1.0,
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
    or --tokens are spent. The text goes to stdout; what was dropped and spent goes to stderr. Exits 1 if
    no text passed.

    With --json, and with --prompts, a line for each prompt: {"prompt", "text" (null if none passed),
    "verdict", "reason", "score", "tokens", "expanded", "created", "dropped"}.

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
    from splinelens.generate.sample import Sampling, Writer
    from splinelens.generate.search import SearchBudget, SearchResult
    from splinelens.generate.search import search as search_text
    from splinelens.generate.value_head import ValueHead
    from splinelens.generate.writer_steps import WriterSteps
    from splinelens.models import load_model
    from splinelens.texts import read_texts

    texts = [prompt] if prompts is None else read_texts(prompts, column).texts
    most = max(1, tokens // _TRIED) if max_tokens is None else max_tokens
    sampling = Sampling(max_tokens=most, temperature=temperature, top_p=top_p)
    critic = Detector.load(detector, device=device).critic(fpr=fpr, threshold=threshold)
    head = None if value is None else ValueHead(value)
    loaded = load_model(model, head=True, device=device)
    writer = WriterSteps(
        Writer(loaded) if head is None else head.writer(loaded), unit, sampling, max_step_tokens
    )
    show, without = options.stderr_printer(quiet), 0
    for text in texts:
        said = text or ""
        try:
            result = search_text(
                writer,
                [critic],
                [{"role": "user", "content": said}] if chat else said,
                value=head,
                k=k,
                n=n,
                aggregate=aggregate,
                value_weight=value_weight,
                budget=SearchBudget(tokens=tokens),
                seed=seed,
            )
        except BadTexts as error:  # an empty or too long prompt of many
            if prompts is None:
                raise
            result = SearchResult(None, "undetermined", str(error), None, 0, 0, 0, {}, ())
        if trace is not None:
            result.write_trace(trace, overwrite=overwrite)
        without += result.text is None
        if as_json or prompts is not None:
            print(json.dumps({"prompt": text, **_record(result)}, ensure_ascii=False), flush=True)
        elif result.text is not None:
            print(result.text)
        if prompts is None:
            show(_summary(result, tokens))
    if without:
        of = "no text passed" if prompts is None else f"no text passed for {without} of {len(texts)} prompts"
        raise exit_with(f"{of}: give more --tokens, a larger -k or another --seed", OURS)


def _record(result: "SearchResult") -> dict[str, object]:
    keys = ("text", "verdict", "reason", "score", "tokens", "expanded", "created", "dropped")
    return {key: getattr(result, key) for key in keys}


def _summary(result: "SearchResult", tokens: int) -> str:
    """What was returned, dropped and spent, in one line."""
    dropped = ", ".join(f"{reason} {count}" for reason, count in result.dropped.items()) or "none"
    score = "" if result.score is None else f" {result.score:.3f}"
    return (
        f"{result.verdict}{score}: {result.reason}; {result.created} steps, dropped: {dropped}; "
        f"{result.tokens:,} of {tokens:,} tokens, {result.expanded} expansions"
    )
