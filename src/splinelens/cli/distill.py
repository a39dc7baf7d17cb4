"""``splinelens distill``: a teacher, a student and texts in, the trained student out."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout


def distill(
    context: typer.Context,
    teacher: Annotated[
        str, typer.Argument(metavar="TEACHER", help="Alias, folder, GGUF file or hub id owner/name.")
    ],
    student: Annotated[
        str,
        typer.Argument(
            metavar="STUDENT", help="Such as a folder of a pruned model; or TEACHER with --blocks."
        ),
    ],
    file: Annotated[str, options.TEXTS_FILE],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the trained student.", metavar="DIR")
    ],
    overwrite: options.Overwrite = False,
    blocks: Annotated[
        int | None,
        typer.Option("--blocks", metavar="N", min=1, help="Take only the first N blocks of the student."),
    ] = None,
    evenly: Annotated[
        bool, typer.Option("--evenly", help="Take the --blocks evenly from the first to the last.")
    ] = False,
    keep: Annotated[
        str | None,
        typer.Option(
            "--keep",
            metavar="DETECTOR",
            help="Keep this detector of the teacher: shipped name or folder. Needs --label.",
        ),
    ] = None,
    column: options.Column = None,
    label: Annotated[
        str | None,
        typer.Option("--label", "-l", metavar="NAME", help="Column of the detector's label, of two values."),
    ] = None,
    positive: options.Positive = None,
    split: options.Split = None,
    rate: Annotated[
        float, typer.Option("--rate", metavar="NUMBER", help="Largest learning rate of the student.")
    ] = 3e-4,
    stages: Annotated[
        str,
        typer.Option(
            "--stages",
            metavar="A,B,C",
            help="Shares of the steps: match the teacher, learn the texts or labels, both.",
        ),
    ] = "0.1,0.2,0.7",
    tokens: Annotated[
        int | None,
        typer.Option("--tokens", metavar="N", min=1, help="Tokens to train on. Default: each text once."),
    ] = None,
    batch_tokens: Annotated[
        int, typer.Option("--batch-tokens", metavar="N", min=1, help="Tokens of a batch, padding included.")
    ] = 1024,
    seed: options.Seed = 0,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    device: options.Device = None,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Train a pruned or shorter model to do what its teacher does.

    The student learns the teacher's next-token distribution on the texts. With --keep it learns instead what
    a detector reads in the teacher, and the folder also gets the detector that reads the student, in
    detector/; score, evaluate and export take it as any other. Weights that are 0 stay 0.

    Three stages: first gains and biases learn to match the teacher, then all weights learn the texts or the
    labels, then both. A stopped run continues when the same command is given again. Where numbers are no
    longer finite it stops, and the last good state is kept in OUTPUT.parts.

    With --json one object: what is in splinelens.json, with --keep also "auc" and "auc_interval" of
    held-out rows, and "output".

    Examples:
      splinelens distill smollm2-135m pruned texts.csv -o recovered
      splinelens distill smollm2-135m smollm2-135m texts.csv --blocks 12 -o short
      splinelens distill base base a.csv --blocks 6 --keep mine -l toxic -o fast
    """
    if (keep is None) != (label is None):
        raise typer.BadParameter(
            "give both --keep DETECTOR and --label NAME, or neither", param_hint="--keep"
        )
    if evenly and blocks is None:
        raise typer.BadParameter("give --blocks N, too", param_hint="--evenly")
    from splinelens.apps import distill as app
    from splinelens.models.save import PROVENANCE, check_model_folder
    from splinelens.texts import read_texts
    from splinelens.texts.labeled import read_labeled

    check_model_folder(output, overwrite=overwrite, sources=[teacher, student])
    require_stdout("")
    show = options.stderr_printer(quiet)
    settings = app.Settings(
        rate=rate, shares=_shares(stages), tokens=tokens, batch_tokens=batch_tokens, seed=seed
    )
    reading: dict[str, Any] = {  # Any: of different types
        "encoding": encoding,
        "format": format,
        "delimiter": delimiter,
        "header": not no_header,
    }
    training: dict[str, Any] = {  # Any: likewise
        "blocks": blocks,
        "evenly": evenly,
        "settings": settings,
        "overwrite": overwrite,
        "device": device,
        "command": options.given_command(context),
        "report": show,
    }
    chosen = options.column_and_value(split, "train")
    if keep is None or label is None:
        texts = read_texts(file, column, [chosen[0]] if chosen else [], **reading)
        texts = texts.where(chosen[0], [chosen[1]]) if chosen else texts
        record = app.distill(teacher, student, texts, output, **training)
    else:
        texts, labels = read_labeled(
            file, column, label, positive=positive, split=chosen, report=show, **reading
        )
        detector = app.keep_detector(keep, student, texts, labels.values, output, teacher=teacher, **training)
        metrics = detector.artifact.metrics["out_of_fold"]
        record = json.loads((output / PROVENANCE).read_text("utf-8"))
        record |= {"auc": metrics["auc"], "auc_interval": metrics["auc_interval"]}
    if as_json:
        print(json.dumps(record | {"output": str(output)}, ensure_ascii=False))
        return
    print(_result(record))
    print(f"wrote {output}")


def _shares(text: str) -> tuple[float, float, float]:
    """Three numbers between commas."""
    try:
        first, second, third = map(float, text.split(","))
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is not three numbers such as 0.1,0.2,0.7", param_hint="--stages"
        ) from error
    return first, second, third


def _result(record: dict[str, Any]) -> str:  # Any: plain JSON values
    """What it brought, on held-out texts."""
    if "auc" in record:
        from splinelens.report.tables import interval

        return f"AUC of held-out rows: {record['auc']:.4f} {interval(record['auc_interval'])}"
    nats = record["held_out"]
    lost, regained = nats["before"] - nats["teacher"], nats["before"] - nats["after"]
    share = f", {100 * regained / lost:.0f} % of what it lacked" if lost > 0 else ""
    if regained > lost > 0:
        share += " (more than the teacher: the texts are learned, too)"
    return (
        f"nats per held-out token: teacher {nats['teacher']:.4f}, student before {nats['before']:.4f}, "
        f"after {nats['after']:.4f}{share}"
    )
