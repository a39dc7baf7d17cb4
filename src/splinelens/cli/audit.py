"""``splinelens audit MODEL PROMPTS CONTEXTS``: does intrinsic dimension predict refusals beyond length?"""

import os
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import trial_bar

JUDGE_KEY_VARIABLE = "SPLINELENS_JUDGE_KEY"


def audit(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Alias, folder, GGUF file or hub id owner/name.")
    ],
    prompts: Annotated[
        str,
        typer.Argument(
            metavar="PROMPTS", help="Your prompts: column text; optional label (two classes) and id."
        ),
    ],
    contexts: Annotated[
        str,
        typer.Argument(
            metavar="CONTEXTS",
            help="Sentences: columns text and kind (related, unrelated, neutral); optional prompt, the id "
            "of the only prompt that a sentence is for.",
        ),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write a page, readable offline, and beside it .json and .parquet of all trials. A stopped "
            "run continues.",
            metavar="HTML",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    sentences: Annotated[
        int,
        typer.Option(
            "--sentences", help="Contexts are as long as 1 to N sentences.", metavar="N", min=1, max=50
        ),
    ] = 2,
    orders: Annotated[
        int,
        typer.Option("--orders", help="Random orders of the sentences.", metavar="N", min=1, max=100),
    ] = 2,
    max_tokens: Annotated[
        int,
        typer.Option(
            "--max-tokens", help="Most tokens of an answer; 0 reads the geometry only.", metavar="N", min=0
        ),
    ] = 64,
    raw: Annotated[bool, typer.Option("--raw", help="Do not use the model's chat template.")] = False,
    positive: options.Positive = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            "--detector",
            "-d",
            help="Flags harmful answers: a shipped detector or a folder. May be repeated. Default: toxicity.",
            metavar="NAME",
        ),
    ] = None,
    judge: Annotated[
        str | None,
        typer.Option(
            "--judge",
            help="Base URL of an OpenAI-compatible server whose model tells refusals, in place of the rules. "
            f"Requests and answers are sent to it. Its key: {JUDGE_KEY_VARIABLE}.",
            metavar="URL",
        ),
    ] = None,
    judge_model: Annotated[
        str | None, typer.Option("--judge-model", help="The judge's name there.", metavar="NAME")
    ] = None,
    against: Annotated[
        str | None,
        typer.Option(
            "--against", help="A second model for the same trials, such as a fine-tuned one.", metavar="MODEL"
        ),
    ] = None,
    answers: Annotated[bool, typer.Option("--answers", help="Store the answers with the report.")] = False,
    eps: options.Eps = 0.1,
    seed: options.Seed = 0,
    device: options.Device = None,
    revision: options.Revision = None,
    dtype: options.Dtype = "float32",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Test whether intrinsic dimension predicts refusals beyond length.

    The model answers each prompt by itself and after related, unrelated and neutral sentences, random tokens
    and the prompt itself, all equally long. The report says whether the intrinsic dimension of the last
    layers predicts refusals and flagged answers beyond length. No prompt is searched or optimized. The same
    files, seed and model give the same report. See docs/audit.md; examples/audit holds two files.

    Examples:
      splinelens audit smollm2-135m prompts.csv contexts.csv -o report.html
      splinelens audit MODEL prompts.csv contexts.csv --against TUNED
    """
    if (judge is None) != (judge_model is None):
        raise typer.BadParameter("give --judge and --judge-model, or neither", param_hint="--judge")
    if output:
        options.page_path(output, "--output", overwrite=overwrite, source=prompts)
    else:
        require_stdout(", or name a page with -o")

    from splinelens.apps.audit import audit as run
    from splinelens.apps.audit import report_files
    from splinelens.generate.judge import ChatJudge
    from splinelens.generate.refusal import refusal_prompt
    from splinelens.report.audit import audit_view
    from splinelens.report.terminal import print_view
    from splinelens.texts import read_texts

    prompt_texts = read_texts(prompts, keep=lambda names: [name for name in ("label", "id") if name in names])
    context_texts = read_texts(
        contexts, keep=lambda names: [name for name in ("kind", "prompt") if name in names]
    )
    chat_judge = None
    if judge is not None and judge_model is not None:
        key = os.environ.get(JUDGE_KEY_VARIABLE)
        chat_judge = ChatJudge(judge, judge_model, key=key, prompt=refusal_prompt())
    with trial_bar(not quiet) as progress:
        report = run(
            model,
            prompt_texts,
            context_texts,
            sentences=sentences,
            orders=orders,
            max_tokens=max_tokens,
            raw=raw,
            eps=eps,
            positive=positive,
            detectors=detector or ("toxicity",),
            judge=chat_judge,
            against=against,
            keep_answers=answers,
            output=output,
            overwrite=overwrite,
            seed=seed,
            revision=revision,
            device=device,
            dtype=dtype,
            progress=progress,
        )
    if as_json:
        print(report.to_json(), end="")
    else:
        print_view(lambda width: audit_view(report))
    if output and not quiet:
        typer.echo("wrote " + ", ".join(map(str, report_files(output))), err=True)
