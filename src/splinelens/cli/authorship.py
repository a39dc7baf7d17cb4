"""``splinelens authorship``: which of several known writers wrote a text, and the game about families."""

import json
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import progress_bar
from splinelens.files import check_folder


def fit(
    context: typer.Context,
    file: options.LabeledFile,
    writer: Annotated[
        str, typer.Option("--writer", "-w", metavar="COLUMN", help="Column that says who wrote a text.")
    ],
    group: Annotated[
        str,
        typer.Option(
            "--group",
            metavar="COLUMN",
            help="Column of the prompts that texts answer: texts of one prompt are held out together.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the result.", metavar="DIR")],
    overwrite: options.Overwrite = False,
    column: options.Column = None,
    model: options.Model = "smollm2-135m",
    feature_sets: Annotated[
        str,
        typer.Option(
            "--feature-sets",
            metavar="NAMES",
            help="Read these of text, margins, occupancy, spline7, likelihood; text is always read, and by "
            "itself needs no model. Default: all, of which held-out prompts choose.",
            show_default=False,
        ),
    ] = "",
    cache: options.Cache = None,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    seed: options.Seed = 0,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit scores of writers, people or language models, to texts of theirs.

    The table begins with character n-grams, which need no model. What a model computes of the texts is added
    to them (margins to hyperplanes, occupancy, spline7, log-probabilities), and the choice with the least
    squared error on held-out prompts is saved, also where accuracies are equal; a star marks it. Two last
    lines say what formatting carries: the text without it, and it without the words. A writer who is none of
    the known ones is measured by leaving each one out.

    With --json the record: "source", "model", "writers" (texts of each), "prompts", "left_out",
    "accuracies" (of each "name", "accuracy", "interval", "squared_error"), "chosen", "confusion",
    "pooled_answers", "pooled_accuracy", "unknown" (AUC by writer), "unknown_auc", "output".

    Examples:
      splinelens authorship fit answers.csv --writer model --group prompt -o who
      splinelens authorship fit a.csv -w by --group of -o who --feature-sets text
    """
    from splinelens.apps.authorship import FILES

    check_folder(output, FILES, overwrite=overwrite, source=file)
    require_stdout("")

    from splinelens.apps import authorship
    from splinelens.report.authorship import report_tables, summary_lines
    from splinelens.report.terminal import table_lines
    from splinelens.texts import read_texts
    from splinelens.texts.labeled import require_words

    texts = read_texts(file, column, [writer, group], encoding, format, delimiter, not no_header)
    require_words(texts, column)
    with progress_bar(texts, shown=not quiet) as progress:
        scorer, report = authorship.fit(
            texts,
            writer,
            group,
            model,
            feature_sets=options.names(feature_sets) or None,
            name=output.resolve().name,
            seed=seed,
            command=f"splinelens authorship {options.given_command(context).removeprefix('splinelens ')}",
            cache=cache,
            device=device,
            dtype=dtype,
            progress=progress,
        )
    scorer.save(output, overwrite=overwrite)
    if as_json:
        print(json.dumps(report.to_dict() | {"output": str(output)}, ensure_ascii=False))
        return
    print("\n".join(summary_lines(report)))
    for table in report_tables(report):
        print()
        print("\n".join(table_lines(table)))
    print(f"\nwrote {output}: {report.chosen}")


def score(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder written by authorship fit.")],
    file: Annotated[str, options.TEXTS_FILE],
    column: options.Column = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            metavar="COLUMN",
            help="Texts of equal value are of one unknown writer, and are judged together.",
        ),
    ] = None,
    model: options.DetectorsModel = None,
    device: options.Device = None,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Say which of the known writers wrote a text, or several texts.

    A text of none of them is undetermined: the threshold is where 5 % of the known writers' held-out texts,
    or of as many together, are undetermined too. The scores are no probabilities: about 1 for who wrote a
    text, and -1 for the others.

    Prints a line a text, or a value of --by. With --json one record: "row", "name", "writer", "answers",
    "unread", "reason", "nearest", "known", "threshold", "scores".

    Examples:
      splinelens authorship score who new.csv -c answer
      splinelens authorship score who new.csv -c answer --by account --json
    """
    require_stdout("")

    from splinelens.apps.authorship import Authorship
    from splinelens.texts import read_texts
    from splinelens.texts.labeled import require_words

    texts = read_texts(file, column, [] if by is None else [by], encoding, format, delimiter, not no_header)
    if column is not None:
        require_words(texts, column)
    scorer = Authorship.load(folder, model=model, device=device)
    with progress_bar(texts, shown=not quiet) as progress:
        records = scorer.score(texts, by=by, progress=progress)
    for record in records:
        print(json.dumps(record.to_dict(), ensure_ascii=False) if as_json else record.line())


def game(
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE|-]", help="Stored answers; without a file models write here."),
    ] = None,
    writer: Annotated[
        str | None,
        typer.Option("--writer", "-w", metavar="COLUMN", help="With FILE: who wrote a text. Default: model."),
    ] = None,
    group: Annotated[
        str | None,
        typer.Option("--group", metavar="COLUMN", help="With FILE: the prompt of a text. Default: prompt."),
    ] = None,
    family: Annotated[
        str | None,
        typer.Option("--family", metavar="COLUMN", help="With FILE: the writer's family. Default: family."),
    ] = None,
    slots: Annotated[
        str | None,
        typer.Option(
            "--slots",
            metavar="NAMES",
            help="With FILE: columns by which formulas choose prompts, of up to 8 values each.",
        ),
    ] = None,
    members: Annotated[
        int | None,
        typer.Option("--members", metavar="N", min=3, help="With FILE: writers of a game. Default: 5."),
    ] = None,
    seen: Annotated[
        int | None,
        typer.Option(
            "--seen", metavar="N", min=1, help="With FILE: prompts that the detective sees. Default: 10."
        ),
    ] = None,
    queries: Annotated[
        int, typer.Option("--queries", metavar="N", min=8, help="Different formulas of an auditor.")
    ] = 40,
    seeds: Annotated[int, typer.Option("--seeds", metavar="N", min=1, help="Searches of each auditor.")] = 10,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", metavar="NAME", help="Without FILE: the model that writes. Default: smollm2-135m."
        ),
    ] = None,
    other: Annotated[
        list[str] | None,
        typer.Option(
            "--other", metavar="NAME", help="Without FILE: another model that writes too; may be repeated."
        ),
    ] = None,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache", metavar="DIR", help="Without FILE: store the replies here; a stopped run continues."
        ),
    ] = None,
    column: options.Column = None,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Play auditor and detective: which two writers are one family?

    The auditor writes prompts from a formula with slots, all writers answer, and the detective names the two
    whose answers are most alike. Formulas are searched by evolution (deap) and at random, with equal queries.

    Without FILE the model writes as it is and hotter, which is the pair to be named, beside copies of it that
    are pruned and quantized, and other models. FILE holds stored answers: auditors search on other families
    and other prompts than they are tested on.

    With --json the record: "writers", "members", "chance", "detective", "queries", "pairs" (of each "pair",
    "evolved", "random", "unsearched"), "by_seed", "generations", "best", "gain_interval", and the means
    "evolved", "random", "unsearched".

    Examples:
      splinelens authorship game --seeds 2 --queries 16
      splinelens authorship game a.csv -w model --group prompt --family family
    """
    stored: dict[str, object] = {"--writer": writer, "--group": group, "--family": family, "--slots": slots}
    stored |= {"--members": members, "--seen": seen}
    local: dict[str, object] = {"--model": model, "--other": other, "--cache": cache}
    for option, value in (stored if file is None else local).items():
        if value is not None:
            raise typer.BadParameter(f"give it with{' a' if file is None else 'out'} FILE", param_hint=option)
    require_stdout("")

    from splinelens.apps.game import local_writers, play, play_stored
    from splinelens.report.game import game_lines, game_tables
    from splinelens.report.terminal import table_lines
    from splinelens.texts import read_texts

    if file is None:
        show = options.stderr_printer(quiet)
        writers = local_writers(model or "smollm2-135m", other or [])
        report = play(writers, queries=queries, seeds=seeds, cache=cache, progress=show)
    else:
        columns = (writer or "model", group or "prompt", family or "family")
        names = options.names(slots or "")
        keep = list(dict.fromkeys([*columns, *names]))
        texts = read_texts(file, column, keep, encoding, format, delimiter, not no_header)
        report = play_stored(
            texts, *columns, names, members=members or 5, seen=seen or 10, queries=queries, seeds=seeds
        )
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
        return
    for table in game_tables(report):
        print("\n".join(table_lines(table)))
        print()
    print("\n".join(game_lines(report)))
