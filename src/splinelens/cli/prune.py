"""``splinelens prune``: plan how many weights each block of a model loses."""

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import trial_bar
from splinelens.files import check_output

ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="Alias, folder, GGUF file or hub id owner/name.")
]


class By(StrEnum):
    """How the sparsity is shared out among the blocks."""

    alpha = "alpha"
    farms = "farms"
    owl = "owl"
    dlp = "dlp"
    arithmetic = "arithmetic"
    uniform = "uniform"


def plan(
    model: ModelName,
    sparsity: Annotated[
        float,
        typer.Option(
            "--sparsity", metavar="SHARE", help="Share of the weights to remove, from 0 to 0.99, such as 0.5."
        ),
    ],
    by: Annotated[
        By,
        typer.Option(
            "--by",
            help="What decides how much of a block goes: the tails of its spectra (alpha; farms corrects "
            "them for the shapes), outliers (owl), medians (dlp), depth (arithmetic), or nothing (uniform).",
        ),
    ] = By.alpha,
    spread: Annotated[
        float | None,
        typer.Option(
            "--spread",
            metavar="NUMBER",
            min=0,
            max=1,
            help="How far the ratios of --by may differ; 0 is uniform. Default: docs/pruning.md has it.",
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option(
            "--calibration", metavar="FILE|-", help="Texts that owl and dlp need, such as ordinary prose."
        ),
    ] = None,
    column: options.Column = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the plan as JSON, for prune apply."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="HTML", help="Write a page with a picture, readable offline."),
    ] = None,
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Plan how many weights each block loses, by six methods.

    A row of the table is a block: its weights, its alpha, and the percentage of its weights that goes by each
    method. The plan says how many weights each matrix of the blocks loses, and meets the sparsity to one
    weight; prune apply decides which. Embeddings and head stay as they are.

    With --json the plan: "model", "fingerprint", "sparsity", "method", "methods" (of each "spread", "scores",
    "ratios" by block), "left_out", "matrices" (of each "layer", "name", "shape", "remove", "alpha",
    "corrected_alpha", "distance", "stable_rank", "entropy"), "calibration_tokens", "weights", "removed".

    Examples:
      splinelens prune plan smollm2-135m --sparsity 0.5 -o plan.json
      splinelens prune plan my-model --sparsity 0.6 --by owl --calibration a.txt
    """
    if output is not None:
        check_output(output, overwrite=overwrite, source=calibration)
    if page is not None:
        options.page_path(page, "--page", overwrite=overwrite, source=calibration)
    if by in ("owl", "dlp") and calibration is None:
        raise typer.BadParameter(f"{by} measures texts: name a file of them", param_hint="--calibration")
    require_stdout(", or name a file with -o")

    from splinelens.apps import pruning
    from splinelens.files import write_text
    from splinelens.geometry.allocation import require_sparsity
    from splinelens.report.pruning import left_out_lines, plan_heading, plan_table, write_plan
    from splinelens.report.terminal import table_lines
    from splinelens.texts import read_texts
    from splinelens.texts.labeled import require_words
    from splinelens.texts.plain_text import harmless

    require_sparsity(sparsity)
    texts = None
    if calibration is not None:
        texts = read_texts(calibration, column)
        require_words(texts, column)
    with trial_bar(not quiet, "blocks") as progress:
        planned = pruning.plan(
            model,
            sparsity,
            by=by.value,
            spread=spread,
            calibration=texts,
            device=device,
            progress=progress,
        )
    show = options.stderr_printer(quiet)
    if output is not None:
        write_plan(planned, output, overwrite=overwrite)
        show(f"wrote {output}: {planned.removed:,} weights to remove, by {by}")
    if page is not None:
        from splinelens.report.pruning_page import plan_html

        write_text(page, plan_html(planned), overwrite=overwrite)
        show(f"wrote {page}")
    if as_json:
        print(json.dumps(planned.to_dict(), ensure_ascii=False))
        return
    print(harmless(plan_heading(planned)))
    print("\n".join(table_lines(plan_table(planned))))
    for line in left_out_lines(planned.left_out):
        print(harmless(line) + ("" if calibration else " (--calibration FILE)"))
