"""``splinelens calibrate``: logged scores of the Perspective API in, a map from our scores to them out."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import progress_bar
from splinelens.files import check_output


def calibrate(
    context: typer.Context,
    file: options.LabeledFile,
    output: Annotated[
        Path,
        typer.Option("--output", "-o", help="File of the maps.", metavar="JSON"),
    ],
    overwrite: options.Overwrite = False,
    column: options.Column = None,
    attribute: Annotated[
        list[str] | None,
        typer.Option(
            "--attribute",
            "-a",
            help="An attribute to map, and its column if that has another name. May be repeated. Default: "
            "every column that is called like an attribute.",
            metavar="NAME[=COLUMN]",
        ),
    ] = None,
    detector: Annotated[
        list[str] | None,
        typer.Option(
            "--detector",
            "-d",
            help="Detectors that will be served; may be repeated. Default: toxicity and types.",
            metavar="NAME|DIR",
        ),
    ] = None,
    group: options.Group = None,
    report: Annotated[
        Path | None,
        typer.Option(
            "--report", help="Write a page with a plot of each map, readable offline.", metavar="HTML"
        ),
    ] = None,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    device: options.Device = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Map scores to those that the Perspective API gave to your texts.

    The file has a column of texts and a column for each of TOXICITY, SEVERE_TOXICITY, IDENTITY_ATTACK,
    INSULT, PROFANITY, THREAT, or some of them, in any case: the summary scores of the API, from 0 to 1. At
    least 50 pairs of different texts are needed for each. TOXICITY is measured by the first detector of one
    label, the others by types. The map is an isotonic regression.

    Errors are measured in five folds; equal texts, and with --group rows of one group, are in one fold. The
    first table has the error of our score as it is and mapped, and their rank correlation: 1 if a map without
    error exists. The second has what each threshold flags: in the API, by our score as it is, and mapped; the
    share of rows that are decided alike; and the score of ours that the threshold corresponds to, for score
    --threshold.

    With --json one object: "source", "attributes" (of each "detector", "label", "digest", "pairs", "missing",
    "unscored", "training_rows", "errors"), "rows", "seed", "group", "data_hash", "columns_hash", "command",
    "splinelens", "output".

    Examples:
      splinelens calibrate pairs.csv -o calibration.json --report calibration.html
      splinelens calibrate log.csv --column comment --attribute TOXICITY=score -o calibration.json
    """
    requested = _requested(attribute or [])
    check_output(output, overwrite=overwrite, source=file)
    if report is not None:
        options.page_path(report, "--report", overwrite=overwrite, source=file)
        if report.resolve() == output.resolve():
            raise typer.BadParameter("it is the file of --output; name another", param_hint="--report")
    require_stdout("")

    from splinelens.apps import perspective
    from splinelens.report.calibration import calibration_lines
    from splinelens.texts import read_texts
    from splinelens.texts.labeled import require_words

    columns: dict[str, str] = {}

    def kept(names: Sequence[str]) -> list[str]:
        columns.update(perspective.logged_columns(names, requested, file))
        return list(dict.fromkeys([*columns.values(), *([group] if group else [])]))

    texts = read_texts(file, column, kept, encoding, format, delimiter, not no_header)
    require_words(texts, column)
    with progress_bar(texts, shown=not quiet) as progress:
        calibration = perspective.calibrate_attributes(
            texts,
            columns,
            detectors=detector or perspective.DETECTORS,
            groups=group,
            command=options.given_command(context),
            device=device,
            progress=progress,
        )
    calibration.save(output, overwrite=overwrite)
    if report is not None:
        calibration.write_page(report, overwrite=overwrite)
        options.stderr_printer(quiet)(f"wrote {report}")
    record = calibration.record()
    if as_json:
        print(json.dumps(record | {"output": str(output)}, ensure_ascii=False))
    else:
        print("\n".join(calibration_lines(record)))
        print(f"wrote {output}")


def _requested(attributes: Sequence[str]) -> dict[str, str | None]:
    """The attributes that were named, and the column of each if one was."""
    from splinelens.apps.perspective import LABELS

    columns: dict[str, str | None] = {}
    for pair in attributes:
        name, equals, column = pair.partition("=")
        if name.upper() not in LABELS or (equals and not column):
            raise typer.BadParameter(
                f"{pair!r} is not NAME or NAME=COLUMN with one of {', '.join(LABELS)}; no detector measures "
                "others",
                param_hint="--attribute",
            )
        columns[name.upper()] = column or None
    return columns
