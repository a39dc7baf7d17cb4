"""``splinelens truth``: fit a score of truthfulness, score texts, compare it with the words alone."""

import json
from enum import StrEnum
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout
from splinelens.cli.progress import progress_bar
from splinelens.cli.score import Tally
from splinelens.files import check_folder, check_output, write_errors
from splinelens.report.scores import check_ending, check_kept, kept_cells

if TYPE_CHECKING:
    from splinelens.models import LoadedModel
    from splinelens.texts import Texts

_ANSWERS = "answers.jsonl"

Neighbors = Annotated[
    int,
    typer.Option(
        "--neighbors", metavar="N", min=2, help="Neighbors that a local dimension is estimated from."
    ),
]


class TruthMethod(StrEnum):
    """What a confidence is made of."""

    lid = "lid"
    margins = "margins"
    occupancy = "occupancy"
    hidden = "hidden"
    geometry = "geometry"
    all = "all"


def fit(
    context: typer.Context,
    file: options.LabeledFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the score.", metavar="DIR")],
    overwrite: options.Overwrite = False,
    column: options.Column = None,
    label: Annotated[
        str | None,
        typer.Option(
            "--label",
            "-l",
            metavar="NAME",
            help="Column that says whether a text is true: 0/1, true/false. Default: all texts are true.",
        ),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(
            "--answers",
            metavar="NAME",
            help="The texts are questions: the model answers, and an answer that includes the cell of this "
            "column is correct.",
        ),
    ] = None,
    raw: Annotated[
        bool, typer.Option("--raw", help="Continue a question as it is, without the chat template.")
    ] = False,
    answer_tokens: Annotated[
        int, typer.Option("--answer-tokens", metavar="N", min=1, help="Most tokens of an answer.")
    ] = 48,
    positive: options.Positive = None,
    group: options.Group = None,
    method: Annotated[
        TruthMethod | None,
        typer.Option(
            "--method",
            help="What is saved: the local dimension (lid); a linear head on margins, occupancy, hidden "
            "states, or margins and occupancy (geometry); or that and log-probabilities (all). Default: the "
            "best AUC of held-out rows; without labels lid.",
            show_default=False,
        ),
    ] = None,
    neighbors: Neighbors = 20,
    model: options.Model = "smollm2-135m",
    device: options.Device = None,
    seed: options.Seed = 0,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit a score to texts that are known to be true, or labeled.

    Without --label all texts count as true, and a text is scored by its local dimension among them: nothing
    says then what false texts look like. With --label linear heads are fitted too, and what has the best AUC
    on held-out rows is saved. A head is a detector: score, evaluate and --explain take its folder.

    With --answers the model answers the questions first, and the correct answers are the true texts; all are
    written to answers.jsonl with what ended them.

    With --json one object: "method", "auc" (by method, out of fold), "layer", "neighbors", "rows", "true",
    "left_out", "two_nn" and "auc_by_layer" (by layer), "answers" (counts), "output".

    Examples:
      splinelens truth fit facts.csv --column said -o known
      splinelens truth fit labeled.csv -c said --label true --group topic -o mine
      splinelens truth fit asked.csv -c question --answers gold -o answered
    """
    if answers is not None and label is not None:
        raise typer.BadParameter("answers are labeled by --answers; leave one out", param_hint="--label")
    written = {"truth.json", "truth.safetensors", "likelihood.json", "CARD.md", _ANSWERS}
    written |= {"detector.json", "detector.safetensors"}
    check_folder(output, written, {_ANSWERS}, overwrite=overwrite, source=file)
    require_stdout("")

    from splinelens.apps import truth
    from splinelens.texts import read_texts
    from splinelens.texts.labeled import read_labeled, require_words

    reading: dict[str, Any] = {  # Any: of different types
        "encoding": encoding,
        "format": format,
        "delimiter": delimiter,
        "header": not no_header,
    }
    kept = [name for name in (answers, group) if name]
    show = options.stderr_printer(quiet)
    if label is not None:
        texts, labels = read_labeled(
            file, column, label, positive=positive, keep=kept, report=show, **reading
        )
        known: Any = labels  # Any: labels in several forms
    else:
        texts, known = read_texts(file, column, kept, **reading), None
        require_words(texts, column)
    fitting: dict[str, Any] = {"device": device}  # Any: likewise
    counts: dict[str, int] = {}
    loaded: Any = model  # Any: likewise
    if answers is not None:
        from splinelens.models import load_model

        loaded, fitting = load_model(model, head=True, device=device), {}
        texts, known, counts = _answered(texts, answers, loaded, raw, answer_tokens, output, quiet)
    with progress_bar(texts, shown=not quiet) as progress:
        fitted = truth.fit(
            texts,
            known,
            loaded,
            groups=group,
            method=None if method is None else method.value,
            neighbors=neighbors,
            name=output.resolve().name,
            seed=seed,
            command=f"splinelens truth {options.given_command(context).removeprefix('splinelens ')}",
            progress=progress,
            **fitting,
        )
    fitted.write(output, overwrite=overwrite)
    training = fitted.training
    record = {
        "method": fitted.method,
        "auc": fitted.aucs,
        "neighbors": neighbors,
        **{key: training[key] for key in ("layer", "rows", "true", "left_out", "two_nn", "auc_by_layer")},
        "answers": counts,
        "output": str(output),
    }
    if as_json:
        print(json.dumps(record))
        return
    print(f"{training['rows']:,} texts, {training['true']:,} of them true, {training['left_out']:,} left out")
    chosen = "best AUC" if fitted.aucs else "first peak of TwoNN"
    print(f"local dimension: layer {training['layer']} ({chosen}), {neighbors} neighbors")
    for name, auc in fitted.aucs.items():
        print(f"{name:10} AUC {auc:.3f} out of fold")
    print(f"wrote {output}: {fitted.method}")


def _answered(
    questions: "Texts", gold: str, model: "LoadedModel", raw: bool, max_tokens: int, output: Path, quiet: bool
) -> tuple["Texts", list[int] | None, dict[str, int]]:
    """The model's own answers as texts with labels, and their counts; all are written to a file."""
    from splinelens.generate.answers import answer, answer_counts, labeled_answers, write_answers

    show = options.stderr_printer(quiet)
    with progress_bar(questions, shown=not quiet) as progress:
        answers = answer(
            questions, questions.columns[gold], model, raw=raw, max_tokens=max_tokens, progress=progress
        )
    with write_errors(output):
        output.mkdir(parents=True, exist_ok=True)
    write_answers(answers, output / _ANSWERS)
    counts = answer_counts(answers)
    show(", ".join(f"{count:,} {name}" for name, count in counts.items()))
    texts, known = labeled_answers(answers, questions)
    if known is None:
        show("too few correct or wrong answers to fit to both: the correct ones are the reference")
    return texts, known, counts


def score(
    file: Annotated[str | None, options.TEXTS_FILE] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", "-t", help="A text itself; may be repeated.", metavar="TEXT")
    ] = None,
    column: options.Column = None,
    keep: options.Keep = "",
    detector: Annotated[
        str,
        typer.Option(
            "--detector", "-d", metavar="NAME", help="A folder written by truth fit, or a shipped detector."
        ),
    ] = "truth",
    model: options.DetectorsModel = None,
    device: options.Device = None,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    as_json: options.AsJson = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write a .csv, .tsv, .jsonl or .parquet file instead of printing.",
            metavar="FILE",
            callback=options.checked(check_ending),
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Give each text one confidence from 0 to 1 that it is true.

    A confidence says how much a text resembles true ones to the model. A small model knows little, and
    believes what is often written: truth evaluate says what it is worth on texts of yours.

    Prints a line a text: confidence, verdict, text. With --json or -o one record a text, as in score:
    {"row", "score" (the confidence), "verdict", "tokens", "cut"}, and "reason" where it is
    undetermined. The verdict is true or false; like_reference or unlike_reference (below 0.05) of a score
    that was fitted without labels; undetermined where a text could not be read.

    Examples:
      splinelens truth score --text "Paris is a city in France."
      splinelens truth score a.csv -c said --detector mine --keep id -o b.csv
    """
    if (file is None) == (not text):
        raise typer.BadParameter("give either a file (- is stdin) or --text", param_hint="FILE")
    if as_json and output:
        raise typer.BadParameter("give --json or --output, not both", param_hint="--json")
    kept = options.kept_columns(keep)
    if kept and not (as_json or output):
        raise typer.BadParameter("lines have no columns; give --json, or a file with -o", param_hint="--keep")
    check_kept(kept)
    if output:
        check_output(output, overwrite=overwrite, source=file)
    else:
        require_stdout(", or name a file with -o")

    from splinelens.apps import truth
    from splinelens.report.scores import write_scores
    from splinelens.report.terminal import plain_line
    from splinelens.texts import read_texts
    from splinelens.texts.labeled import require_words

    texts = read_texts(
        text or [] if file is None else file, column, kept, encoding, format, delimiter, not no_header
    )
    if column is not None:
        require_words(texts, column)
    scorer, tally, started = truth.load(detector, model=model, device=device), Tally(), perf_counter()
    with progress_bar(texts, shown=not quiet and output is not None) as progress:
        records = map(tally.add, scorer.scores(texts, progress=progress))
        if output:
            write_scores(records, output, kept=texts.keep(kept) if kept else None, overwrite=overwrite)
        else:
            for index, record in enumerate(records):
                if as_json:
                    print(record.to_json(kept_cells(texts, index)))
                else:
                    print(plain_line(record, texts.texts[index], "unlike_reference"))
    if not quiet:
        reader = scorer.reader
        show = options.stderr_printer(quiet)
        show(tally.summary(perf_counter() - started, str(reader.loaded.device), reader.max_tokens))
        if output:
            show(f"wrote {output}")


def evaluate(
    file: options.LabeledFile,
    label: Annotated[
        str,
        typer.Option("--label", "-l", metavar="NAME", help="Column that says whether a text is true."),
    ],
    column: options.Column = None,
    positive: options.Positive = None,
    split: options.Split = None,
    group: options.Group = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="HTML", help="Write a page, readable offline, and .json beside it."
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    cache: options.Cache = None,
    neighbors: Neighbors = 20,
    model: options.Model = "smollm2-135m",
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
    """Compare scores with what the words alone tell, on labeled texts.

    The table has scores from text only first: length, and counts of words and characters, fitted on the same
    rows. Where they win, or cannot be told apart from the best score of the model, there is no verdict: what
    the model's scores reach is then no evidence that it knows what is true. All scores are measured on rows
    that they were not fitted on: with --group of up to 12 groups on one group at a time, and the AUC is the
    mean within groups.

    With --json the record of the page: "verdict", "evidence" (whether the model tells more than the words),
    "source", "model", "rows", "true", "left_out", "protocol", "groups", "rivals" (of each "name", "kind",
    "auc", "interval", "groups", "gain", "gain_interval"), "curve", "settings", "provenance".

    Examples:
      splinelens truth evaluate a.csv -c said --label true -o report.html
      splinelens truth evaluate a.csv -c said -l true --group topic --json
    """
    if output is not None:
        options.page_path(output, "--output", overwrite=overwrite, source=file)
        check_output(output.with_suffix(".json"), overwrite=overwrite, source=file)
    require_stdout("")

    from splinelens.apps import truth
    from splinelens.report.terminal import table_lines
    from splinelens.report.truth import group_table, left_out_lines, rival_table
    from splinelens.texts.labeled import read_labeled
    from splinelens.texts.plain_text import harmless

    show = options.stderr_printer(quiet)
    texts, labels = read_labeled(
        file,
        column,
        label,
        positive=positive,
        split=options.column_and_value(split, "test"),
        encoding=encoding,
        format=format,
        delimiter=delimiter,
        header=not no_header,
        keep=[group] if group else [],
        report=show,
    )
    with progress_bar(texts, shown=not quiet) as progress:
        report = truth.evaluate(
            texts,
            labels,
            model,
            groups=group,
            neighbors=neighbors,
            seed=seed,
            cache=cache,
            device=device,
            dtype=dtype,
            progress=progress,
        )
    if output is not None:
        truth.write_report(report, output, overwrite=overwrite)
        show(f"wrote {output}, {output.with_suffix('.json')}")
    if as_json:
        print(json.dumps(report.to_dict(), ensure_ascii=False))
        return
    print(harmless(f"{report.source}: {report.rows:,} rows, {report.true:,} of them true; {report.protocol}"))
    print("\n".join(map(harmless, left_out_lines(report))) + "\n" * bool(report.left_out), end="")
    print("\n".join(table_lines(rival_table(report))))
    if report.groups:
        print()
        print("\n".join(table_lines(group_table(report))))
    print()
    print(report.verdict)
