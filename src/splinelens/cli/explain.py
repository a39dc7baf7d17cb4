"""``splinelens explain DETECTOR CORPUS``: what a detector relies on, in words, and whether that holds."""

import json
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import progress_bar
from splinelens.files import write_text


def explain(
    detector: Annotated[str, typer.Argument(metavar="DETECTOR", help=options.DETECTOR_HELP)],
    corpus: Annotated[str, options.TEXTS_FILE],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="HTML", help="Write a page, readable offline."),
    ] = None,
    overwrite: options.Overwrite = False,
    column: options.Column = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            "--label-column",
            metavar="NAME",
            help="Column that says whether a text has the label, as 0/1 or words: says which words are "
            "confused. Rows without a label are left out.",
        ),
    ] = None,
    positive: options.Positive = None,
    subgroup: Annotated[
        str | None,
        typer.Option(
            "--subgroup",
            metavar="COLUMN",
            help="Column of groups by whose values words are also listed. Default: the labels, or without "
            "--label-column whether a text is flagged.",
        ),
    ] = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label", "-l", metavar="NAME", help="Which label of a detector of several. Default: the first."
        ),
    ] = None,
    layer: Annotated[
        int | None,
        typer.Option("--layer", metavar="L", min=0, help="Only hyperplanes that read this layer, from 0."),
    ] = None,
    top: Annotated[
        int, typer.Option("--top", metavar="N", min=1, help="How many hyperplanes, those that carry most.")
    ] = 20,
    sentences: Annotated[
        str | None,
        typer.Option(
            "--sentences",
            metavar="MODEL",
            help="A local model also writes a sentence about each hyperplane; it is marked as generated, and "
            "measured.",
        ),
    ] = None,
    store: Annotated[
        bool,
        typer.Option(
            "--store", help="DETECTOR is a folder: put the main findings into it, and into its card."
        ),
    ] = False,
    model: options.DetectorsModel = None,
    device: options.Device = None,
    seed: options.Seed = 0,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Say in words what a detector relies on, and check it.

    The words that the detector as a whole relies on, by group, and with --label-column those that it
    confuses. Of each hyperplane that carries much of the logit the n-grams of your corpus where it fires.
    They are named from one half of the corpus and checked on the other: by contrast (texts with and without
    them), deletion (the logit without them, and without random words) and how far both halves agree. For the
    words of single texts see splinelens score --explain.

    Texts are read with PyTorch: an exported graph gives no margins of single tokens. A detector that reads
    means over tokens has no words that it relies on; it says so.

    With --json one object: "detector", "label", "texts", "naming" (texts that names are made from), "whole",
    "hyperplanes" (of each "hyperplane", "pooling", "raises", "share", "name", "named", "ngrams", "contexts",
    "faithfulness"), "carried", "holding", "mean_stability", "notes", "settings", "provenance".

    Examples:
      splinelens explain toxicity-fast comments.csv -o page.html
      splinelens explain toxicity comments.csv --subgroup group --json
    """
    if positive is not None and label_column is None:
        raise typer.BadParameter("name a --label-column, too", param_hint="--positive")
    if output is not None:
        options.page_path(output, "--output", overwrite=overwrite, source=corpus)
    require_stdout("")

    from splinelens.apps.detector import Detector
    from splinelens.apps.explain import explain as run
    from splinelens.apps.explain import store_explanation
    from splinelens.detect.shipped import find_artifact, shipped
    from splinelens.generate.sample import Writer
    from splinelens.report.explain import text_lines
    from splinelens.report.explain_page import explanation_html
    from splinelens.texts import read_texts
    from splinelens.texts.groups import column_groups
    from splinelens.texts.labeled import read_labeled, require_words

    if store and detector in shipped():
        raise typer.BadParameter("a shipped detector is not changed; name a folder", param_hint="--store")
    artifact = find_artifact(detector)
    if label is not None:
        artifact.label_index(label)
    grouping = [] if subgroup is None else [subgroup]
    reading = (encoding, format, delimiter, not no_header)
    known = None
    if label_column is None:
        texts = read_texts(corpus, column, grouping, *reading)
        require_words(texts, column)
    else:
        texts, labels = read_labeled(
            corpus,
            column,
            label_column,
            positive=positive,
            verdicts=(label or artifact.labels[0], artifact.negative),
            encoding=encoding,
            format=format,
            delimiter=delimiter,
            header=not no_header,
            keep=grouping,
            report=options.stderr_printer(quiet),
        )
        if labels.task != "binary":
            raise typer.BadParameter(
                f"column {label_column} holds {len(labels.names)} classes; name one with --positive",
                param_hint="--label-column",
            )
        known = labels.values[:, 0].astype(float)
    groups = None if subgroup is None else column_groups(subgroup, texts.columns[subgroup])
    writer = None if sentences is None else Writer(sentences, device=device)
    loaded = Detector.load(detector, model=model, device=device, engine="torch")
    explanation = run(
        loaded,
        texts,
        known,
        label=label,
        groups=groups,
        layer=layer,
        top=top,
        sentences=writer,
        seed=seed,
        progress=partial(progress_bar, shown=not quiet),
    )
    if output is not None:
        write_text(output, explanation_html(explanation), overwrite=overwrite)
    if store:
        store_explanation(Path(detector), explanation)
    print(json.dumps(explanation.to_dict()) if as_json else "\n".join(text_lines(explanation)))
    show = options.stderr_printer(quiet)
    if output is not None:
        show(f"wrote {output}; it shows pieces of {explanation.quoted:,} texts of the corpus")
    if store:
        show(f"wrote {detector}")
