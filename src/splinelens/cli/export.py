"""``splinelens export``: a detector in, a folder out that scores texts without PyTorch."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import progress_bar
from splinelens.files import check_folder
from splinelens.texts import Texts


def export(
    detector: Annotated[str, typer.Argument(metavar="DETECTOR", help=options.DETECTOR_HELP)],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the exported detector.", metavar="DIR")
    ],
    overwrite: options.Overwrite = False,
    dtype: Annotated[
        str,
        typer.Option(
            "--dtype",
            help="In which matrices are multiplied: float32; bfloat16, where the processor is made for it; "
            "int8, with weights of 8 bits.",
            metavar="TYPE",
        ),
    ] = "float32",
    measure: Annotated[
        str | None,
        typer.Option("--measure", help="Labeled texts to measure the exported detector on.", metavar="FILE"),
    ] = None,
    column: options.Column = None,
    label: options.DetectorsLabels = None,
    positive: options.Positive = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Export a detector as one graph that runs without PyTorch.

    splinelens score --detector DIR then runs it with OpenVINO; docs/engines.md says what the machine needs
    for that. With --measure its scores are compared with those of PyTorch in float32 on your rows, and
    thresholds move where other rows would reach them; the card has the numbers.

    With --json one object: "output", "dtype", "size_bytes" and "differences", for each label {"label",
    "rows", "auc", "auc_torch", "median", "largest", "verdicts", "moved"}.

    Examples:
      splinelens export toxicity-fast -o fast
      splinelens export toxicity -o served --dtype bfloat16 --measure comments.csv -c comment -l rude
      splinelens score --detector fast --text "Have a nice day."
    """
    from splinelens.apps import export as exporting

    check_folder(output, exporting.EXPORT_FILES, overwrite=overwrite, source=measure)
    require_stdout("")

    from splinelens.detect.shipped import find_artifact
    from splinelens.texts.labeled import read_labeled

    artifact = find_artifact(detector)
    texts, labels = None, None
    if measure is not None:
        binary = artifact.task == "binary"
        if binary and not label:
            raise typer.BadParameter("name the column of the labels with --label", param_hint="--measure")
        texts, labels = read_labeled(
            measure,
            column,
            label or list(artifact.labels),
            positive=positive,
            expected=None if binary else artifact.labels,
            verdicts=(artifact.labels[0], artifact.negative) if binary else None,
            report=options.stderr_printer(quiet),
        )
    with progress_bar(texts or Texts((), {}, "none"), shown=not quiet) as progress:
        differences = exporting.export(
            detector,
            output,
            dtype=dtype,
            texts=texts,
            labels=labels,
            positive=positive,
            overwrite=overwrite,
            progress=progress,
        )
    size = sum((output / name).stat().st_size for name in exporting.EXPORT_FILES)
    if as_json:
        record = {"output": str(output), "dtype": dtype, "size_bytes": size}
        record["differences"] = [asdict(one) for one in differences]
        print(json.dumps(record, ensure_ascii=False))
        return
    for one in differences:
        print(one.summary)
    print(f"wrote {output}, {size / 1e6:.0f} MB")
