"""``splinelens evaluate``: a detector and labelled texts in, how well it separates them out."""

import json
from time import perf_counter
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.labelled import labelled_texts
from splinelens.cli.progress import progress_bar


def evaluate(
    detector: Annotated[
        str, typer.Argument(metavar="DETECTOR", help="A shipped detector, or a folder made by train.")
    ],
    file: options.LabelledFile,
    label: options.Label,
    column: options.Column = None,
    positive: options.Positive = None,
    split: Annotated[
        str | None,
        typer.Option(
            "--split", help="Take only rows with this value, such as split=test.", metavar="COLUMN=VALUE"
        ),
    ] = None,
    model: options.DetectorsModel = None,
    device: options.Device = None,
    max_tokens: options.DetectorsMaxTokens = None,
    long: options.Long = options.LongTexts.windows,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Measure a detector on labelled texts, length alone beside it.

    With --json one object: "n", "positives", "undetermined", "auc", "auc_interval", "recall_at_fpr", "brier",
    "calibration_error", "length_auc", "length_auc_interval", "at_threshold"; "detector", "source", "rows",
    "seconds", "device", "provenance". Intervals are 95 % bootstrap intervals.

    Example:
      splinelens evaluate toxicity comments.csv --column text --label toxic --split split=test
    """
    chosen = options.column_and_value(split)
    texts, labels = labelled_texts(
        file, column, label, positive=positive, split=chosen, encoding=encoding, format=format
    )

    from splinelens.apps.detector import Detector
    from splinelens.features.extract import provenance

    found = Detector.load(detector, model=model, device=device, max_tokens=max_tokens, long=long.value)
    begun = perf_counter()
    with progress_bar(texts, shown=not quiet) as progress:
        numbers = found.evaluate(texts, labels, progress=progress).to_dict()
    run = {
        "detector": found.artifact.name,
        "source": texts.source,
        "rows": len(texts),
        "seconds": round(perf_counter() - begun, 3),
        "device": str(found.reader.loaded.device),
        "provenance": {"detector": found.artifact.digest, **provenance(found.reader, texts)},
    }
    if as_json:
        print(json.dumps(numbers | run, ensure_ascii=False))
        return

    from splinelens.report.terminal import evaluation_lines

    print(f"{run['detector']} on {run['source']}, {run['seconds']:.1f} s on {run['device']}")
    print("\n".join(evaluation_lines(numbers)))
