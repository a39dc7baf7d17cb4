"""``splinelens train``: labelled texts in, a detector with its card out."""

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import STOPPED, told
from splinelens.cli.labelled import labelled_texts, missing_line
from splinelens.cli.progress import progress_bar
from splinelens.report.scores import UNDETERMINED
from splinelens.texts import Labels

if TYPE_CHECKING:
    from splinelens.apps.training import Evidence
    from splinelens.detect.artifact import Artifact


_MOST_CURVE_ROWS = 2000  # of the largest point of the learning curve, for the time it takes


def train(
    context: typer.Context,
    file: options.LabelledFile,
    label: options.Labels,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the detector.", metavar="DIR")],
    column: options.Column = None,
    positive: options.Positive = None,
    split: options.TrainSplit = None,
    recipe: Annotated[
        options.Recipe, typer.Option("--recipe", help="What is fitted.")
    ] = options.Recipe.logistic,
    model: options.Model = "smollm2-135m",
    features: options.Features = "margins",
    layers: options.Layers = None,
    pooling: options.Pooling = "max",
    prompt: options.Prompt = "",
    max_tokens: options.MaxTokens = 512,
    long: options.Long = options.LongTexts.windows,
    normalize: options.Normalize = False,
    name: Annotated[
        str | None,
        typer.Option("--name", help="Of the detector. Default: that of its folder.", metavar="NAME"),
    ] = None,
    label_name: Annotated[
        str | None,
        typer.Option(
            "--label-name",
            help="Positive verdict. Default: that of --positive, or the label's column.",
            metavar="WORD",
        ),
    ] = None,
    negative_name: Annotated[
        str | None,
        typer.Option(
            "--negative-name",
            help="Negative verdict. Default: the file's word, clean, or not_ and the label; of several "
            "labels none.",
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
    seed: options.Seed = 0,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    device: options.Device = None,
    revision: options.Revision = None,
    keep_features: Annotated[
        bool,
        typer.Option("--keep-features", help="Keep DIR/features.parquet: other recipes need no new pass."),
    ] = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit a detector on labelled texts and write it with its card.

    One column of two values is binary, of more words classes; several columns of 0/1 are labels of which a
    text may have any number. Prints what was chosen and the out-of-fold numbers, length alone beside them.
    Rows in suspects.csv and TRAINING.md are those of the file, from 0, as score counts them. A run that was
    stopped goes on when the same command is given again.

    Examples:
      splinelens train comments.csv --column text --label toxic --split split=train -o my-detector
      splinelens train comments.csv --label toxic --label insult --label threat -o my-types
    """
    numbers = options.layer_numbers(layers)
    rows = options.column_and_value(split, "train")
    say = options.teller(quiet)
    texts, labels = labelled_texts(
        file, column, label, positive=positive, split=rows, encoding=encoding, format=format, told=say
    )
    names, negative = _verdicts(labels, label_name, negative_name)
    if line := missing_line(labels):
        say(line)

    from splinelens.apps import training
    from splinelens.features.reader import TextReader
    from splinelens.features.spec import FeatureSpec
    from splinelens.models import load_model

    known = labels.values[:, 0] if labels.task == "binary" else labels.values
    training.require_labels(known, labels.task, names, len(texts))  # before a model is loaded
    spec = FeatureSpec(
        features=options.names(features),
        pooling=options.names(pooling),
        layers=numbers,
        prompt=options.unescaped(prompt),
        max_tokens=max_tokens,
        long=long.value,
        normalize=normalize,
    )
    left: list[training.Evidence] = []
    reader = TextReader(load_model(model, spec.depth, revision, device=device), spec)
    kept = output / "features.parquet"
    try:
        with progress_bar(texts, shown=not quiet) as progress:
            artifact = training.train(
                texts,
                known,
                reader,
                name=name or output.resolve().name,
                recipe=recipe.value,
                task=labels.task,
                label=names,
                negative=negative,
                languages=language or [],
                sources=[texts.source + (f" ({' = '.join(rows)})" if rows else "")],
                seed=seed,
                output=kept,
                progress=progress,
                evidence=left.append,
            )
    except KeyboardInterrupt as stop:
        raise told(
            f"Stopped. What is finished is kept in {kept}.parts; run the same command to go on.", STOPPED
        ) from stop
    artifact = replace(artifact, training={**artifact.training, "command": _as_typed(context)})
    _write(artifact, output)
    if not keep_features:
        kept.unlink()
    _report(artifact, output)
    print("\n".join(_reported(artifact, left[0], len(texts), output)))
    print(f"wrote {output}")


def _verdicts(
    labels: Labels, label_name: str | None, negative_name: str | None
) -> tuple[tuple[str, ...], str]:
    """The names of the labels, and of what has none."""
    if labels.task == "binary":
        names: tuple[str, ...] = (label_name or labels.names[0],)
        negative = negative_name or labels.negative or ("clean" if names[0] == "toxic" else f"not_{names[0]}")
    elif label_name:
        raise typer.BadParameter("several labels are called as in the file", param_hint="--label-name")
    else:
        names, negative = labels.names, "" if labels.task == "classes" else negative_name or "none"
    if len({*names, negative, UNDETERMINED}) < len(names) + 2:
        words = ", ".join(map(repr, filter(None, (*names, negative, UNDETERMINED))))
        raise typer.BadParameter(f"the verdicts {words} must differ")
    return names, negative


def _write(artifact: "Artifact", folder: Path) -> None:
    from splinelens.files import write_text
    from splinelens.report.card import card

    artifact.save(folder)
    write_text(folder / "CARD.md", card(artifact))


def _report(artifact: "Artifact", folder: Path) -> None:
    from splinelens.report.card import settings
    from splinelens.report.tables import percent, percents
    from splinelens.report.terminal import evaluation_lines, label_lines

    training, binary = artifact.training, artifact.task == "binary"
    chosen = ", ".join([training["recipe"], *(f"{key} = {value}" for key, value in settings(training))])
    print(f"{artifact.name}: {chosen}, {artifact.head.width:,} numbers a text")
    if training["left_out"]:
        print(f"{training['left_out']:,} rows left out: their texts could not be read")
    if training["repeated"]["texts"]:
        twice, differ = training["repeated"]["texts"], training["repeated"]["contradicting"]
        print(f"{twice:,} texts occur more than once, {differ:,} with contradicting labels")
    print("out of fold, each row judged by a head that did not see it:")
    print("\n".join((evaluation_lines if binary else label_lines)(artifact.metrics["out_of_fold"])))
    for label, own in zip(artifact.labels, artifact.thresholds, strict=True):
        for stored in own if artifact.task != "classes" else ():
            fired = f"{percent(stored.rate)} ({percents(stored.interval)})"
            promised = f"for {percent(stored.target)} false positives"
            print(f"{label} at {stored.score:.4g} and above, {promised}: out of fold {fired}")


def _reported(artifact: "Artifact", left: "Evidence", texts: int, folder: Path) -> list[str]:
    """Write ``TRAINING.md`` and ``suspects.csv`` and give the lines to print of them."""
    from splinelens.detect.learning_curve import learning_curve
    from splinelens.files import write_text
    from splinelens.report.training import suspects_csv, training_lines, training_markdown, training_report

    chosen = artifact.training["settings"].get("C")  # of a forest None, of several labels one each
    curve = learning_curve(
        left.values,
        left.labels,
        artifact.training["recipe"],
        [chosen[label] for label in artifact.labels] if isinstance(chosen, dict) else chosen and [chosen],
        groups=left.groups,
        most_rows=_MOST_CURVE_ROWS,
        seed=artifact.training["seed"],
    )
    report = training_report(
        artifact.name,
        artifact.labels,
        left.labels,
        left.scores,
        left.tokens,
        exclusive=artifact.task == "classes",
        numbers=left.numbers,
        keys=left.groups.tolist(),
        thresholds=artifact.thresholds if artifact.task != "classes" else (),
        curve=curve,
        left_out=texts - len(left.labels),
    )
    for name, content in (("TRAINING.md", training_markdown(report)), ("suspects.csv", suspects_csv(report))):
        write_text(folder / name, content)
    return training_lines(report)


def _as_typed(context: typer.Context) -> str:
    """The command with the options that were given, for the card."""
    words = ["splinelens", "train"]
    for parameter in context.command.params:
        value = context.params.get(parameter.name or "")
        source = context.get_parameter_source(parameter.name or "")
        if source is None or source.name != "COMMANDLINE":
            continue
        names = parameter.secondary_opts if value is False else parameter.opts
        option = names[:1] if names[0].startswith("-") else []
        for own in value if isinstance(value, tuple | list) else (value,):
            words += option if isinstance(own, bool) else [*option, str(own)]
    return shlex.join(words)
