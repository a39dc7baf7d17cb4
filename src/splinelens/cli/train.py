"""``splinelens train``: labelled texts in, a detector with its card out."""

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import STOPPED, told
from splinelens.cli.labelled import labelled_texts
from splinelens.cli.progress import progress_bar
from splinelens.report.scores import UNDETERMINED

if TYPE_CHECKING:
    from splinelens.detect.artifact import Artifact


def train(
    context: typer.Context,
    file: options.LabelledFile,
    label: options.Label,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the detector.", metavar="DIR")],
    column: options.Column = None,
    positive: options.Positive = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="Take only the training rows that this column names.", metavar="NAME"),
    ] = None,
    train_value: Annotated[
        str, typer.Option("--train-value", help="What --split holds in training rows.", metavar="VALUE")
    ] = "train",
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
    normalise: options.Normalise = False,
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
            "--negative-name", help="Negative verdict. Default: clean, or not_ and the label.", metavar="WORD"
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

    Prints what was chosen and the out-of-fold numbers, length alone beside them. A run that was stopped goes
    on when the same command is given again.

    Example:
      splinelens train comments.csv --column text --label toxic --split split -o my-detector
    """
    word = label_name or positive or label
    negative = negative_name or ("clean" if word == "toxic" else f"not_{word}")
    if len({word, negative, UNDETERMINED}) < 3:
        raise typer.BadParameter(f"the verdicts {word!r}, {negative!r} and {UNDETERMINED!r} must differ")
    numbers = options.layer_numbers(layers)
    rows = (split, train_value) if split else None
    texts, labels = labelled_texts(
        file, column, label, positive=positive, split=rows, encoding=encoding, format=format
    )

    from splinelens.apps import training
    from splinelens.detect.recipes import require_rows
    from splinelens.features.reader import TextReader
    from splinelens.features.spec import FeatureSpec
    from splinelens.models import load_model

    require_rows(labels)  # before a model is loaded
    spec = FeatureSpec(
        features=options.names(features),
        pooling=options.names(pooling),
        layers=numbers,
        prompt=options.unescaped(prompt),
        max_tokens=max_tokens,
        long=long.value,
        normalise=normalise,
    )
    reader = TextReader(load_model(model, spec.depth, revision, device=device), spec)
    kept = output / "features.parquet"
    try:
        with progress_bar(texts, shown=not quiet) as progress:
            artifact = training.train(
                texts,
                labels,
                reader,
                name=name or output.resolve().name,
                recipe=recipe.value,
                label=word,
                negative=negative,
                sources=[texts.source + (f" ({split} = {train_value})" if split else "")],
                seed=seed,
                output=kept,
                progress=progress,
            )
    except KeyboardInterrupt as stop:
        raise told(
            f"Stopped. What is finished is kept in {kept}.parts; run the same command to go on.", STOPPED
        ) from stop
    _write(artifact, output, _as_typed(context))
    if not keep_features:
        kept.unlink()
    _report(artifact, output)


def _write(artifact: "Artifact", folder: Path, command: str) -> None:
    from splinelens.features.parts import writing
    from splinelens.report.card import card

    artifact.save(folder)
    with writing(folder / "CARD.md"):
        (folder / "CARD.md").write_text(card(artifact, command), "utf-8")


def _report(artifact: "Artifact", folder: Path) -> None:
    from splinelens.report.terminal import evaluation_lines, percent

    training = artifact.training
    settings = [
        f"{key} = {value}" for key, value in training["settings"].items() if not isinstance(value, dict)
    ]
    chosen = ", ".join([training["recipe"], *settings])
    print(f"{artifact.name}: {chosen}, {artifact.head.width:,} numbers a text")
    if training["left_out"]:
        print(f"{training['left_out']:,} rows left out: their texts could not be read")
    print("out of fold, each row judged by a head that did not see it:")
    print("\n".join(evaluation_lines(artifact.metrics["out_of_fold"])))
    for stored in artifact.thresholds:
        bounds = " to ".join(map(percent, stored.interval))
        found = f"{percent(stored.rate)} false positives ({bounds})"
        print(f"{artifact.label} at {stored.score:.4f} and above: {found}")
    print(f"wrote {folder}")


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
        words += option if isinstance(value, bool) else [*option, str(value)]
    return shlex.join(words)
