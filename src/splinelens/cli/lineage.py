"""``splinelens lineage``: is one model made from the other, and does a detector still work with it?"""

import json
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import progress_bar
from splinelens.files import check_output


def compare(
    first: Annotated[
        str,
        typer.Argument(metavar="A", help="Alias, folder, GGUF file, hub id, or a .parquet profile."),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="The other model or profile.")],
    detector: Annotated[
        str | None,
        typer.Option(
            "--detector", "-d", metavar="NAME", help="A detector of A that is to be tried with B on --texts."
        ),
    ] = None,
    texts: Annotated[
        str | None,
        typer.Option("--texts", metavar="FILE", help="Texts for --detector: CSV, JSONL, Parquet ..."),
    ] = None,
    column: options.Column = None,
    label: Annotated[
        str | None,
        typer.Option("--label", "-l", metavar="NAME", help="Column of 0/1 labels, for the AUC."),
    ] = None,
    positive: options.Positive = None,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Test whether two models are related.

    Related models have an initialization in common: one is a pruned, quantized, fine-tuned, permuted or
    shortened copy of the other, or both are of a third; blocks may have been moved. The signs of all neurons
    at a fixed text are compared. The verdict is related (p at most 1e-6), unrelated, cannot tell (also where
    nothing agrees and the shapes differ), or same model. Models with different tokenizers are refused.

    With --detector also how a detector that was fitted with A works with B: equal verdicts, and with --label
    the AUC of both.

    With --json one object: "verdict", "reason", "p_value", "log10_p", "models", "tokens", "notes", "relation"
    (both tests, and of each pair of layers the counts), "carried".

    Examples:
      splinelens lineage compare smollm2-135m ./pruned
      splinelens lineage compare a.parquet model.gguf --json
      splinelens lineage compare A B -d toxicity-fast --texts a.csv --label toxic
    """
    if (detector is None) != (texts is None):
        raise typer.BadParameter("give --detector and --texts, or neither", param_hint="--detector")
    if label is not None and texts is None:
        raise typer.BadParameter("labels belong to --texts", param_hint="--label")
    require_stdout("")

    from splinelens.apps import lineage
    from splinelens.report.lineage import lineage_lines
    from splinelens.texts import Texts, read_texts
    from splinelens.texts.labeled import read_labeled, require_words

    source = Texts((), {}, "no texts")
    labels = None
    if texts is not None and label is not None:
        show = options.stderr_printer(quiet)
        source, read = read_labeled(texts, column, label, positive=positive, report=show)
        labels = read.values[:, 0]
    elif texts is not None:
        source = read_texts(texts, column)
        require_words(source, column)
    with progress_bar(source, shown=not quiet, passes=2) as progress:
        report = lineage.compare(
            first,
            second,
            detector=detector,
            texts=source,
            labels=labels,
            progress=progress,
            device=device,
            dtype=dtype,
        )
    if as_json:
        print(json.dumps(report.to_dict()))
    else:
        print("\n".join(lineage_lines(report)))


def profile(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="Alias, folder, GGUF file or hub id owner/name.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", metavar="FILE", help="Write the profile here, .parquet.")
    ],
    overwrite: options.Overwrite = False,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    revision: options.Revision = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Write the profile of a model, to compare it elsewhere.

    A profile holds the signs of all neurons at the tokens of a fixed text, the fingerprint, and no weights.
    compare takes it in place of the model.

    With --json one object: "output", "model", "tokens", "layers", "neurons".

    Example:
      splinelens lineage profile smollm2-135m -o a.parquet
    """
    if output.suffix != ".parquet":
        raise typer.BadParameter(f"{output} does not end in .parquet", param_hint="--output")
    check_output(output, overwrite=overwrite, source=model)

    from splinelens.apps import lineage

    result = lineage.profile(model, revision=revision, device=device, dtype=dtype)
    result.save(output, overwrite=overwrite)
    neurons = sum(len(layer.gate) for layer in result.layers)
    record = {
        "output": str(output),
        "model": result.model,
        "tokens": len(result.ids),
        "layers": len(result.layers),
        "neurons": neurons,
    }
    if as_json:
        print(json.dumps(record))
    else:
        tokens = f"{len(result.ids):,} tokens"
        options.stderr_printer(quiet)(
            f"wrote {output}: {neurons:,} neurons of {len(result.layers)} layers, {tokens}"
        )
