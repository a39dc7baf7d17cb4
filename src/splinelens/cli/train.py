"""``splinelens train``: labeled texts in, a detector with its card out."""

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import STOPPED, exit_with, stopped
from splinelens.cli.progress import progress_bar
from splinelens.errors import SplinelensError
from splinelens.files import (
    check_folder,
    check_output,
    parts_folder,
    rows_kept,
    write_errors,
    write_text,
)

if TYPE_CHECKING:
    from splinelens.detect.artifact import Artifact


def train(
    context: typer.Context,
    file: options.LabeledFile,
    label: options.Labels,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the detector.", metavar="DIR")],
    overwrite: options.Overwrite = False,
    column: options.Column = None,
    positive: options.Positive = None,
    split: options.Split = None,
    group: options.Group = None,
    model: options.Model = "smollm2-135m",
    features: options.Features = "margins",
    layers: options.Layers = None,
    pooling: options.Pooling = "max",
    directions: Annotated[
        int,
        typer.Option(
            "--directions",
            help="Learn so many hyperplanes, such as 64, from the labels, in place of --features; across "
            "the first six layers or those of --layers. 0, the default, learns none.",
            metavar="N",
            min=0,
            max=4096,
            show_default=False,
        ),
    ] = 0,
    prompt: options.Prompt = "",
    max_tokens: options.MaxTokens = None,
    long: options.Long = options.LongTexts.windows,
    normalize: options.Normalize = False,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Name of the detector. Default: that of its folder.", metavar="NAME"),
    ] = None,
    label_name: Annotated[
        str | None,
        typer.Option(
            "--label-name",
            help="Verdict on a positive text. Default: --positive, the file's word, or the label's column.",
            metavar="WORD",
        ),
    ] = None,
    negative_name: Annotated[
        str | None,
        typer.Option(
            "--negative-name",
            help="Verdict on every other text. Default: the file's other word; of 0/1 clean beside toxic, "
            "else not_ and the label; of several labels none.",
            metavar="WORD",
        ),
    ] = None,
    language: Annotated[
        list[str] | None,
        typer.Option(
            "--language",
            help="Language of the texts, for the card; may be repeated. Others count as not measured.",
            metavar="NAME",
        ),
    ] = None,
    by_length: Annotated[
        float,
        typer.Option(
            "--by-length",
            help="Let scores go by the length of a text: with 1 a threshold has the same false-positive rate "
            "at every length, as far as the rows tell; with 0.5 half of that, at less cost in ranking.",
            metavar="SHARE",
            min=0,
            max=1,
        ),
    ] = 0.0,
    seed: options.Seed = 0,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    device: options.Device = None,
    revision: options.Revision = None,
    keep_features: Annotated[
        bool,
        typer.Option(
            "--keep-features",
            help="Keep DIR/features.parquet, so that a later fit of the same texts runs no model.",
        ),
    ] = False,
    suspects: Annotated[
        Path | None,
        typer.Option(
            "--suspects",
            help="Also write the rows whose label looks wrong with their texts; DIR/suspects.csv has none.",
            metavar="CSV",
        ),
    ] = None,
    quiet: options.Quiet = False,
) -> None:
    """Fit a detector on labeled texts and write it with its card.

    One column of two values is binary: 0/1, yes/no, or a word and a harmless one, such as toxic and clean.
    Two other words, such as rude and polite, need --positive rude; more words are classes. Several columns of
    0/1 are labels of which a text may have any number. Prints what was chosen and the out-of-fold numbers,
    length alone beside them. Rows in suspects.csv and TRAINING.md are those of the file, from 0, as score
    counts them. A run that was stopped goes on when the same command is given again, unless it is one with
    --directions: of these nothing is kept, and there is no learning curve.

    With --group rows of one group are in one fold, in the learning curve too, as rows of equal texts always
    are, and intervals come from resampling whole groups.

    Examples:
      splinelens train comments.csv --column text --label toxic -o my-detector
      splinelens train comments.csv --label verdict --positive rude -o my-rude
      splinelens train comments.csv --label toxic --label insult -o my-types
      splinelens train comments.csv --label toxic --directions 64 -o mine
    """
    from splinelens.apps import training
    from splinelens.report.training import suspects_csv, training_lines
    from splinelens.texts.labeled import read_labeled

    if directions:
        _refuse_unused(context, "features", "pooling", "keep_features")
    kept, unfinished = output / "features.parquet", output / "unfinished.parquet"
    tables = {path.name for table in (kept, unfinished) for path in (table, parts_folder(table))}
    written = {*training.TRAINING_FILES, kept.name, unfinished.name}
    check_folder(output, written, tables, overwrite=overwrite, source=file)
    if suspects is not None:
        check_output(suspects, overwrite=overwrite, source=file)
    numbers, rows = options.layer_numbers(layers), options.column_and_value(split, "train")
    texts, labels = read_labeled(
        file,
        column,
        label,
        positive=positive,
        split=rows,
        encoding=encoding,
        format=format,
        delimiter=delimiter,
        header=not no_header,
        keep=[group] if group else [],
        report=options.stderr_printer(quiet),
    )
    if label_name and labels.task != "binary":
        raise typer.BadParameter("several labels are called as in the file", param_hint="--label-name")
    if negative_name and labels.task == "classes":
        raise typer.BadParameter("each text has one of the classes", param_hint="--negative-name")
    chosen = [" = ".join(rows)] if rows else []
    chosen += [f"rows without a label left out: {labels.missing:,}"] if labels.missing else []
    with write_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    keep_features = keep_features or kept.exists()
    features_file = kept if keep_features else unfinished
    if not directions and (rows_before := rows_kept(features_file)):
        show = options.stderr_printer(quiet)
        show(f"continuing after the {rows_before:,} rows in {parts_folder(features_file)}")
    try:
        with progress_bar(texts, shown=not quiet) as progress:
            trained = training.train(
                texts,
                labels,
                model,
                features=options.names(features),
                layers=numbers,
                pooling=options.names(pooling),
                directions=directions,
                prompt=options.unescape(prompt),
                max_tokens=max_tokens,
                long=long.value,
                normalize=normalize,
                label=label_name,
                negative=negative_name,
                groups=group,
                by_length=by_length,
                name=name or output.resolve().name,
                sources=[texts.source + (f" ({', '.join(chosen)})" if chosen else "")],
                languages=language or [],
                seed=seed,
                command=options.given_command(context),
                revision=revision,
                device=device,
                output=None if directions else features_file,
                overwrite=overwrite,
                progress=progress,
            )
    except KeyboardInterrupt as stop:
        if directions:
            with suppress(OSError):  # it holds files of an earlier run
                output.rmdir()
            told = "Stopped. With --directions nothing is kept; the same command starts from the first row."
            raise exit_with(told, STOPPED) from stop
        if features_file.exists() and not rows_kept(features_file):
            told = f"Stopped. All features are kept in {features_file}; run the same command to continue."
            raise exit_with(told, STOPPED) from stop
        raise stopped(features_file, len(texts)) from stop
    except SplinelensError:
        with suppress(OSError):  # it holds features
            output.rmdir()
        raise
    report = trained.write(output, overwrite=overwrite)
    if suspects is not None:
        numbered = dict(zip(texts.numbers, texts.texts, strict=True))
        rows_with_texts = suspects_csv(report.artifact, report.suspects, report.contradictions, numbered)
        write_text(suspects, rows_with_texts, errors="backslashreplace", overwrite=overwrite)
    if not keep_features and not directions:
        features_file.unlink()
    _print(trained.artifact)
    print("\n".join(training_lines(report)))
    print(f"wrote {output}")


def _refuse_unused(context: typer.Context, *names: str) -> None:
    """Refuse options that say nothing beside ``--directions``."""
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            option = "--" + name.replace("_", "-")
            raise typer.BadParameter(
                "leave it out with --directions, which are read in place of features", param_hint=option
            )


def _print(artifact: "Artifact") -> None:
    from splinelens.report.card import settings
    from splinelens.report.tables import percent, percents
    from splinelens.report.terminal import evaluation_lines
    from splinelens.texts.plain_text import harmless

    training = artifact.training
    chosen = ", ".join(f"{key} = {value}" for key, value in settings(training))
    print(harmless(f"{artifact.name}: linear, {chosen}, {artifact.head.width:,} numbers per text"))
    if training["left_out"]:
        print(f"{training['left_out']:,} rows left out: their texts could not be read")
    if training["repeated"]["texts"]:
        repeated = training["repeated"]
        contradicting = f"{repeated['contradicting']:,} with contradicting labels"
        print(f"{repeated['texts']:,} texts occur more than once, {contradicting}")
    print("out of fold, each row scored by a head that was not fitted on it:")
    print("\n".join(evaluation_lines(artifact.metrics["out_of_fold"], artifact.labels[0])))
    for label, thresholds in zip(artifact.labels, artifact.thresholds, strict=True):
        for stored in thresholds if artifact.task != "classes" else ():
            rate = f"{percent(stored.rate)} ({percents(stored.interval)})"
            target = f"for {percent(stored.target)} false positives"
            print(f"{harmless(label)} at {stored.score:.4g} and above, {target}: out of fold {rate}")
