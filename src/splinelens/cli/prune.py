"""``splinelens prune``: plan what each block loses, set weights to zero, remove neurons, and compare."""

import json
import os
from glob import escape
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout, stopped
from splinelens.cli.progress import trial_bar
from splinelens.files import check_output
from splinelens.geometry.settings import CALIBRATED, Method, Rule

if TYPE_CHECKING:
    from splinelens.texts import Texts

ModelName = Annotated[
    str, typer.Argument(metavar="MODEL", help="Alias, folder, GGUF file or hub id owner/name.")
]
Folder = Annotated[Path, typer.Option("--output", "-o", help="Folder of the pruned model.", metavar="DIR")]
Tokens = Annotated[
    int, typer.Option("--tokens", metavar="N", min=1, help="Tokens of the texts that are read, shuffled.")
]
Replace = Annotated[
    bool, typer.Option("--overwrite", help="Replace what exists at the output; else it is refused.")
]


def plan(
    model: ModelName,
    sparsity: Annotated[
        float,
        typer.Option(
            "--sparsity",
            metavar="SHARE",
            min=0,
            max=0.99,
            help="Share of the weights to remove, from 0 to 0.99, such as 0.5.",
        ),
    ],
    by: Annotated[
        Rule,
        typer.Option(
            "--by",
            help="What decides how much of a block is removed: the tails of its spectra (alpha; farms "
            "corrects them for the shapes), outliers (owl), medians (dlp), depth (arithmetic), or nothing "
            "(uniform).",
        ),
    ] = "alpha",
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
    tokens: Tokens = 16_384,
    seed: options.Seed = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the plan as JSON, for prune apply."),
    ] = None,
    page: Annotated[
        Path | None,
        typer.Option("--page", metavar="HTML", help="Write a page with a picture, readable offline."),
    ] = None,
    overwrite: Replace = False,
    device: options.Device = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Plan how many weights each block loses, by several methods.

    Four methods need no texts; with --calibration there are six.

    A row of the table is a block: its weights, its alpha, and the percentage of its weights that each method
    removes. The plan says how many weights each matrix of the blocks loses, and meets the sparsity to one
    weight; prune apply decides which. Embeddings and head stay as they are.

    With --json the plan: "model", "fingerprint", "sparsity", "by", "allocations" (of each "spread", "scores",
    "ratios" by block), "left_out", "matrices" (of each "layer", "name", "shape", "remove", "alpha",
    "corrected_alpha", "distance", "stable_rank", "entropy"), "calibration_tokens", "weights", "removed".

    Examples:
      splinelens prune plan smollm2-135m --sparsity 0.5 -o plan.json
      splinelens prune plan my-model --sparsity 0.6 --by owl --calibration a.txt
    """
    if output is not None and page is not None and output.resolve() == page.resolve():
        raise typer.BadParameter("--output and --page name one file; name two", param_hint="--page")
    for source in (calibration, *_files_of(model)):
        if output is not None:
            check_output(output, overwrite=overwrite, source=source)
        if page is not None:
            options.page_path(page, "--page", overwrite=overwrite, source=source)
    if by in CALIBRATED and calibration is None:
        raise typer.BadParameter(f"{by} measures texts: name a file of them", param_hint="--calibration")
    require_stdout(", or name a file with -o")

    from splinelens.apps import pruning
    from splinelens.files import write_text
    from splinelens.report.pruning import left_out_lines, plan_heading, plan_table, write_plan
    from splinelens.report.terminal import table_lines
    from splinelens.texts.plain_text import harmless

    texts = None if calibration is None else _texts(calibration, column)
    with trial_bar(not quiet, "blocks") as progress:
        planned = pruning.plan(
            model,
            sparsity,
            by=by,
            spread=spread,
            calibration=texts,
            tokens=tokens,
            seed=seed,
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
        print(harmless(line))


def apply(
    context: typer.Context,
    model: ModelName,
    output: Folder,
    plan: Annotated[
        Path | None, typer.Argument(metavar="PLAN", help="A plan of this model, from prune plan -o.")
    ] = None,
    method: Annotated[
        Method,
        typer.Option(
            "--method",
            help="How weights are chosen: by size; by size times input (wanda); or likewise, and the others "
            "make up for them (sparsegpt).",
        ),
    ] = "wanda",
    sparsity: Annotated[
        float | None,
        typer.Option(
            "--sparsity",
            metavar="SHARE",
            min=0,
            max=0.99,
            help="Share of the weights to remove. Default: 0.5.",
        ),
    ] = None,
    by: Annotated[
        Rule | None,
        typer.Option("--by", help="How it is shared out among the blocks; see prune plan. Default: uniform."),
    ] = None,
    pattern: Annotated[
        str | None,
        typer.Option(
            "--pattern", metavar="N:M", help="Keep n of each m weights of a row, such as 2:4, everywhere."
        ),
    ] = None,
    calibration: Annotated[
        str | None,
        typer.Option("--calibration", metavar="FILE|-", help="Texts for wanda, sparsegpt, owl and dlp."),
    ] = None,
    column: options.Column = None,
    tokens: Tokens = 16_384,
    seed: options.Seed = 0,
    dtype: options.Dtype = "float32",
    device: options.Device = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Set weights to zero, and save the model as a folder.

    The folder is an ordinary one of Hugging Face. The sparsity is met to one weight. Blocks are pruned in
    order, each on what the pruned blocks before it give. A run that is stopped continues after its last
    finished block. Embeddings, head, norms and biases stay. splinelens.json in the folder says what was done.

    With --json one object: "folder", "weights", "removed", "record" (that of splinelens.json).

    Examples:
      splinelens prune apply smollm2-135m --calibration prose.txt -o half
      splinelens prune apply smollm2-135m plan.json --method magnitude -o half
      splinelens prune apply ./big --method sparsegpt --calibration a.txt -o half
    """
    if plan is not None and (sparsity is not None or by is not None):
        raise typer.BadParameter("the plan has its own; leave out --sparsity and --by", param_hint="PLAN")
    if pattern is not None and (plan is not None or sparsity is not None or by is not None):
        raise typer.BadParameter(
            "a pattern sets the share of every matrix; leave out PLAN, --sparsity and --by",
            param_hint="--pattern",
        )
    calibrated = method != "magnitude" or by in CALIBRATED
    if calibrated and calibration is None:
        raise typer.BadParameter("name a file of texts", param_hint="--calibration")
    require_stdout("")

    from splinelens.apps import pruning
    from splinelens.report.pruning import read_plan

    texts = None if calibration is None else _texts(calibration, column)
    given = None if plan is None else read_plan(plan)
    try:
        with trial_bar(not quiet, "blocks") as progress:
            result = pruning.apply(
                model,
                output,
                method=method,
                sparsity=0.5 if sparsity is None else sparsity,
                by=by or "uniform",
                given=given,
                pattern=pattern,
                calibration=texts,
                tokens=tokens,
                seed=seed,
                dtype=dtype,
                device=device,
                overwrite=overwrite,
                command=_command(context),
                progress=progress,
            )
    except KeyboardInterrupt as error:
        raise stopped(output) from error
    _print_model(result, as_json)


def neurons(
    context: typer.Context,
    model: ModelName,
    calibration: Annotated[
        str, typer.Option("--calibration", metavar="FILE|-", help="Texts that the neurons are chosen on.")
    ],
    output: Folder,
    share: Annotated[
        float | None,
        typer.Option(
            "--share",
            metavar="SHARE",
            min=0,
            max=0.99,
            help="Remove this share of the neurons of every block.",
        ),
    ] = None,
    occupancy: Annotated[
        float | None,
        typer.Option(
            "--occupancy",
            metavar="SHARE",
            min=0,
            max=0.99,
            help="Without --share: remove neurons that fire at no more than this share of the tokens, as "
            "many as every block has. Default: 0, never.",
        ),
    ] = None,
    column: options.Column = None,
    tokens: Tokens = 16_384,
    seed: options.Seed = 0,
    dtype: options.Dtype = "float32",
    device: options.Device = None,
    overwrite: Replace = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Remove gate neurons, and save the smaller model as a folder.

    Its matrices are dense and smaller, so any engine runs it. All blocks have the same number of neurons, so
    each loses as many as the others: those whose removal changes the output of its MLP least. The down
    projection of the others is refitted. A neuron fires where its gate is positive; with a ReLU one that
    never fires contributes nothing, with a SiLU the change is measured.

    A row of the table is a block: how many of the removed neurons never fire, their share of the
    activations, and how much the output of the MLP changes on the texts.

    With --json one object: "folder", "weights", "removed", "record" (that of splinelens.json, with the
    "blocks").

    Examples:
      splinelens prune neurons ./big --calibration a.txt --share 0.04 -o smaller
      splinelens prune neurons ./my-relu-model --calibration a.txt -o smaller
    """
    if share is not None and occupancy is not None:
        raise typer.BadParameter("give --share or --occupancy, not both", param_hint="--share")
    require_stdout("")

    from splinelens.apps import pruning
    from splinelens.report.pruning import removed_table
    from splinelens.report.terminal import table_lines

    with trial_bar(not quiet, "blocks") as progress:
        result = pruning.remove(
            model,
            _texts(calibration, column),
            output,
            share=share,
            occupancy=occupancy or 0.0,
            tokens=tokens,
            seed=seed,
            dtype=dtype,
            device=device,
            overwrite=overwrite,
            command=_command(context),
            progress=progress,
        )
    if not as_json:
        print("\n".join(table_lines(removed_table(result.record["blocks"]))))
        before, after = (result.record["neurons"][name] for name in ("before", "after"))
        print(f"{before:,} neurons of each block become {after:,}")
    _print_model(result, as_json)


def evaluate(
    model: ModelName,
    pruned: Annotated[
        list[str], typer.Argument(metavar="PRUNED", help="Folders of prune apply and prune neurons.")
    ],
    text: Annotated[
        str,
        typer.Option(
            "--perplexity-text", metavar="FILE", help="Perplexity is measured on this, line after line."
        ),
    ],
    file: Annotated[
        str,
        typer.Option("--texts", metavar="FILE|-", help="Texts that geometry and verdicts are read on."),
    ],
    column: options.Column = None,
    label: Annotated[
        str | None,
        typer.Option("--label", "-l", metavar="NAME", help="Column of 0 and 1, for the detectors' AUC."),
    ] = None,
    positive: options.Positive = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            "--detector", "-d", metavar="NAME", help="A detector of MODEL: shipped, or a folder. May repeat."
        ),
    ] = None,
    windows: Annotated[
        int,
        typer.Option("--windows", metavar="N", min=1, help="Windows of the text, spread evenly over it."),
    ] = 24,
    length: Annotated[int, typer.Option("--length", metavar="N", min=2, help="Tokens of a window.")] = 512,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="HTML", help="Write a page, readable offline, and .json beside it."
        ),
    ] = None,
    overwrite: Replace = False,
    dtype: options.Dtype = "float32",
    device: options.Device = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Compare pruned models with the dense one.

    The first table has a row a model: the share of the blocks' weights that is zero or removed, perplexity,
    the seconds of the windows, and how far the means of spline7 move, in standard deviations of the texts.
    The second has a row for each detector, which keeps its head and thresholds.

    With --json the record of the page: "text", "windows", "length", "source", "texts", "left_out",
    "dimension_layers", "models" (of each "name", "sparsity", "parameters", "perplexity", "seconds", "shift"
    and "dimension" by layer, "detectors"), "provenance".

    Examples:
      splinelens prune evaluate ./big half --perplexity-text b.txt --texts a.csv
      splinelens prune evaluate A B --perplexity-text b --texts a.csv -o p.html
    """
    for source in (file, text, *_files_of(model, *pruned)):
        if output is not None:
            options.page_path(output, "--output", overwrite=overwrite, source=source)
            check_output(output.with_suffix(".json"), overwrite=overwrite, source=source)
    require_stdout("")

    from splinelens.apps import pruning_evaluation
    from splinelens.report.pruning_evaluation import detector_table, model_table
    from splinelens.report.terminal import table_lines
    from splinelens.texts import read_texts
    from splinelens.texts.labeled import read_labeled

    show = options.stderr_printer(quiet)
    labels = None
    if label is None:
        texts = _texts(file, column)
    else:
        texts, known = read_labeled(file, column, label, positive=positive, report=show)
        labels = known.values[:, 0]
    with trial_bar(not quiet, "models") as progress:
        report = pruning_evaluation.evaluate(
            model,
            pruned,
            "\n".join(line or "" for line in read_texts(text).texts),
            texts,
            labels=labels,
            detectors=detector or (),
            text_name=Path(text).name,
            windows=windows,
            length=length,
            dtype=dtype,
            device=device,
            progress=progress,
        )
    if output is not None:
        pruning_evaluation.write_report(report, output, overwrite=overwrite)
        show(f"wrote {output}, {output.with_suffix('.json')}")
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
        return
    print("\n".join(table_lines(model_table(report))))
    if detector:
        print()
        print("\n".join(table_lines(detector_table(report))))


def _files_of(*models: str) -> list[str]:
    """Patterns of the files that models are read from, which are never replaced."""
    return [os.path.join(escape(model), "*") if os.path.isdir(model) else model for model in models]


def _texts(file: str, column: str | None) -> "Texts":
    from splinelens.texts import read_texts
    from splinelens.texts.labeled import require_words

    texts = read_texts(file, column)
    require_words(texts, column)
    return texts


def _command(context: typer.Context) -> str:
    return f"splinelens prune {options.given_command(context).removeprefix('splinelens ')}"


def _print_model(result: Any, as_json: bool) -> None:  # Any: a PrunedModel, imported late
    if as_json:
        record = {
            "folder": str(result.folder),
            "weights": result.weights,
            "removed": result.removed,
            "record": result.record,
        }
        print(json.dumps(record, ensure_ascii=False))
        return
    share = 100 * result.removed / result.weights
    note = "; attention loses none" if result.record["kind"] == "removed neurons" else ""
    print(
        f"wrote {result.folder}: {result.removed:,} of {result.weights:,} weights removed "
        f"({share:.4g} %{note})"
    )
