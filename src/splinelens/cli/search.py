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
    further and is never returned. The prompt is not judged, only what continues it; stderr says if the
    detector flags the prompt itself. The text with the best rank is continued, until -n texts are finished
    or the --budget is spent. The text goes to stdout; its score, what was dropped and spent go to stderr.
    Exits 1 if no text passed.

    With --json, and with --prompts, a line for each prompt: {"prompt", "prompt_flagged", "text" (null if
    none passed), "cut" (whether it ends at --max-tokens or at the model's window), "verdict", "reason",
    "score" (its rank: higher is better), "detector_score", "tokens", "expanded", "created", "dropped",
    "model", "detector", "threshold" (of "detector_score": flagged from there), "seed"}.

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
    from splinelens.detect import UNDETERMINED
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

    def flagged(text: str | None) -> bool:
        """Whether the detector flags a prompt."""
        if not text:
            return False
        (record,) = judge.score([text], fpr=fpr, threshold=threshold)
        return record.verdict not in (UNDETERMINED, judge.artifact.negative)

    def scores_of(result: SearchResult) -> dict[str, float]:
        """The detector's score of the returned text for each label."""
        if result.text is None:
            return {}
        (record,) = judge.score([result.text], fpr=fpr, threshold=threshold)
        return record.scores or ({} if record.score is None else {judge.name: record.score})

    say = options.stderr_printer(quiet)
    if prompts is None:
        prompt_flagged = flagged(prompt)
        if prompt_flagged:
            say(f"{judge.name} flags the prompt itself; only its continuation is judged")
        with trial_bar(not quiet, "tokens") as progress:
            result = searched(prompt_of(prompt), progress=progress)
        scores = scores_of(result)
        if as_json:
            print(_line(prompt, prompt_flagged, result, scores, settings), flush=True)
        elif result.text is not None:
            print(result.text, flush=True)
        judged = [
            f"{name} {score:.3f}, flagged from {limit:.3f}"
            for (name, score), limit in zip(scores.items(), limits.values(), strict=False)
        ]
        say(_summary(result, judged, budget, max_tokens))
        if trace is not None:  # after the text, which is not lost where this fails
            result.write_trace(trace, overwrite=overwrite)
        if result.text is None:
            raise exit_with(f"no text passed: {_MORE}", OURS)
        return

    without = unusable = themselves = 0
    with trial_bar(not quiet and not sys.stdout.isatty(), "prompts") as progress:
        for number, text in enumerate(texts, start=1):
            try:
                result = searched(prompt_of(text))
            except BadTexts as error:  # empty or too long
                result = SearchResult(None, "undetermined", str(error), None, 0, 0, 0, {}, ())
                unusable += 1
            prompt_flagged = flagged(text)
            themselves += prompt_flagged
            print(_line(text, prompt_flagged, result, scores_of(result), settings), flush=True)
            without += result.text is None
            if progress is not None:
                progress(number, len(texts))
    if themselves:
        said_of = f"{judge.name} flags {themselves} of {len(texts)} prompts themselves"
        say(f"{said_of}; only what continues them is judged")
    if without:
        said = [f"{unusable} of {len(texts)} prompts cannot be continued; see their reasons"] * bool(unusable)
        if without > unusable:
            said.append(f"no text passed for {without - unusable} of {len(texts)} prompts: {_MORE}")
        raise exit_with("; ".join(said), OURS)


def _line(
    prompt: str | None,
    prompt_flagged: bool,
    result: "SearchResult",
    scores: dict[str, float],
    settings: dict[str, Any],  # Any: JSON values
) -> str:
    """The JSON of a search."""
    keys = ("text", "cut", "verdict", "reason", "score", "tokens", "expanded", "created", "dropped")
    record: dict[str, Any] = {"prompt": prompt, "prompt_flagged": prompt_flagged}  # Any: likewise
    for key in keys:
        record[key] = getattr(result, key)
        if key == "score":
            record["detector_score"] = scores if len(scores) > 1 else next(iter(scores.values()), None)
    return json.dumps(record | settings, ensure_ascii=False)


def _summary(result: "SearchResult", judged: list[str], budget: int, max_tokens: int) -> str:
    """What was returned, what the detector says of it, what was dropped and spent, in one line."""
    from splinelens.report.tables import count_of

    said = [*judged, result.reason]
    if result.cut:
        said.append(f"cut at --max-tokens {max_tokens} or at the model's window")
    if result.score is not None:
        said.append(f"rank {result.score:.3f}")
    dropped = ", ".join(f"{reason} {count}" for reason, count in result.dropped.items()) or "none"
    said += [f"{count_of(result.created, 'step')}, dropped: {dropped}"]
    said += [f"{result.tokens:,} of {budget:,} tokens, {count_of(result.expanded, 'expansion')}"]
    return f"{result.verdict}: {'; '.join(said)}"
