"""``splinelens adapt``: a detector and some labels of one's own in, an adapted detector with its card out."""

import json
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import progress_bar
from splinelens.files import check_folder


def adapt(
    context: typer.Context,
    detector: Annotated[str, typer.Argument(metavar="DETECTOR", help=options.DETECTOR_HELP)],
    file: options.LabeledFile,
    label: Annotated[
        str, typer.Option("--label", "-l", help="Column of the labels, of two values.", metavar="NAME")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the adapted detector.", metavar="DIR")
    ],
    overwrite: options.Overwrite = False,
    column: options.Column = None,
    positive: options.Positive = None,
    split: options.Split = None,
    group: options.Group = None,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the detector. Default: that of its folder.", metavar="NAME"),
    ] = None,
    seed: options.Seed = 0,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    model: options.DetectorsModel = None,
    device: options.Device = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Adapt a detector to 32 to 500 labels of your own.

    Its weights are fitted again near those they had. How far they may move is chosen on held-out rows, and
    they stay as they are unless the gain is clear; calibration and thresholds are new. A detector that holds
    a sample of its training rows stays good at texts like those: it moves no further than where the sample
    lets one expect a loss of .0015 of its AUC there. Prints which value of the label counts as positive, on
    held-out rows the AUC and what each threshold does before and after, and what to do: use the adapted
    detector, keep the old one, or label more. Texts that the detector was fitted on and texts with
    contradicting labels are refused. With more than 500 labels compare it with train.

    With --group rows of one group are in one fold, as rows of equal texts always are, and intervals come from
    resampling whole groups.

    With --json one object: "detector", "digest", "rows", "positives", "positive_values" (of the label's
    column), "label" (what they count as), "penalty" (null where the weights are kept), "tried", "step" (share
    of the change that is kept), "expected_loss" (of AUC on texts like those that it was fitted on, null
    without a sample of them), "auc_before", "auc_before_interval", "auc_after", "auc_after_interval", "gain",
    "gain_interval", "notes", "recommendation", then "before" and "after" as evaluate --json gives them, and
    "output".

    Examples:
      splinelens adapt toxicity labels.csv --column text --label rude -o my-forum
      splinelens adapt toxicity labels.csv --label verdict --positive rude -o mine
    """
    check_folder(
        output, ("detector.json", "detector.safetensors", "CARD.md"), overwrite=overwrite, source=file
    )
    require_stdout("")

    from splinelens.detect.shipped import find_artifact
    from splinelens.report.adaptation import adaptation_lines
    from splinelens.texts.labeled import read_labeled

    artifact = find_artifact(detector)

    from splinelens.apps import adaptation

    adaptation.require_adaptable(artifact)
    texts, labels = read_labeled(
        file,
        column,
        label,
        positive=positive,
        verdicts=(artifact.labels[0], artifact.negative),
        split=options.column_and_value(split, "train"),
        encoding=encoding,
        format=format,
        delimiter=delimiter,
        header=not no_header,
        keep=[group] if group else [],
        report=options.stderr_printer(quiet),
    )
    artifact.require_task(labels, label)
    with progress_bar(texts, shown=not quiet) as progress:
        adapted = adaptation.adapt(
            detector,
            texts,
            labels,
            groups=group,
            name=name or output.resolve().name,
            seed=seed,
            command=options.given_command(context),
            model=model,
            device=device,
            progress=progress,
        )
    adapted.detector.save(output, overwrite=overwrite)
    if as_json:
        print(json.dumps(adapted.to_dict() | {"output": str(output)}, ensure_ascii=False))
        return
    print("\n".join(adaptation_lines(adapted.to_dict())))
    print(f"wrote {output}")
