"""``splinelens audit fit`` and ``watch``: a range of ordinary traffic, and the texts outside it."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout, stopped
from splinelens.cli.progress import progress_bar
from splinelens.files import check_output, results_folder
from splinelens.texts import Texts, read_texts, stream_texts
from splinelens.texts.labeled import require_words

if TYPE_CHECKING:
    from splinelens.report.novelty import NoveltyScore

RATE = 0.01
DOMAIN = "domain"


def fit(
    context: typer.Context,
    traffic: Annotated[
        str,
        typer.Argument(
            metavar="TRAFFIC|-",
            help="Ordinary texts: CSV, TSV, JSONL, JSON, Parquet, TXT or hf:owner/name; - is stdin.",
        ),
    ],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the range.", metavar="FOLDER")],
    overwrite: options.Overwrite = False,
    novel: Annotated[
        str | None,
        typer.Option(
            "--novel",
            help="Harmless texts of other kinds, to measure how often they are flagged. A column domain "
            "names the kinds.",
            metavar="FILE",
        ),
    ] = None,
    other: Annotated[
        str | None,
        typer.Option("--other", help="Texts of a class to find, for the contrastive form.", metavar="FILE"),
    ] = None,
    rate: Annotated[
        float,
        typer.Option(
            "--rate",
            help="Share of ordinary texts that may be flagged. It needs 4 / RATE ordinary texts.",
            metavar="RATE",
            parser=options.share,
        ),
    ] = RATE,
    column: Annotated[
        str | None,
        typer.Option(
            "--column", "-c", help="Column of the texts, in each file. Default: text.", metavar="NAME"
        ),
    ] = None,
    most: Annotated[
        int,
        typer.Option("--texts", help="Texts to read of each file, at random.", metavar="N", min=1),
    ] = 5000,
    seed: options.Seed = 0,
    model: options.Model = "smollm2-135m",
    layers: Annotated[
        str | None,
        typer.Option(
            "--layers",
            help="Layers to read, such as 0-29 or 0,2,5-7. Default: each third one.",
            metavar="RANGE",
        ),
    ] = None,
    revision: options.Revision = None,
    device: options.Device = None,
    dtype: options.Dtype = "float32",
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    as_json: options.AsJson = False,
    quiet: options.Quiet = False,
) -> None:
    """Fit the range of ordinary traffic, and measure what it flags.

    TRAFFIC is a random sample of the texts that will be watched. The range is fitted on half of it, and a
    text is flagged if few of the other half are as far from it (a conformal p-value of at most --rate).
    That keeps the rate for traffic like this; when your traffic changes, fit again.

    Prints the share that is flagged: of held-out traffic, of --novel by kind, of --other. With --other the
    contrastive form beside it: a classifier of the same numbers, with a threshold of the same rate. With
    --json one object: "traffic", "report" and "output".

    Examples:
      splinelens audit fit traffic.csv -o range
      splinelens audit fit traffic.csv -o range --novel articles.jsonl
      splinelens audit fit traffic.csv -o range --other attacks.csv --rate 0.05
    """
    from splinelens.detect.novelty import NOVELTY_FILES

    results_folder(output, NOVELTY_FILES, overwrite=overwrite)
    require_stdout("")
    chosen = options.layer_numbers(layers)

    def read(file: str, keep: Callable[[Sequence[str]], Sequence[str]] | Sequence[str] = ()) -> Texts:
        texts = read_texts(file, column, keep, encoding, format, delimiter, not no_header)
        require_words(texts, column)
        return _sample(texts, most, seed)

    ordinary = read(traffic)
    unusual = None if novel is None else read(novel, _domain)
    examples = None if other is None else read(other)

    from splinelens.apps.novelty import fit_novelty
    from splinelens.report.novelty import report_lines

    every = [text for texts in (ordinary, unusual, examples) if texts for text in texts.texts]
    with progress_bar(Texts(every, {}, traffic), shown=not quiet) as progress:
        detector = fit_novelty(
            ordinary,
            model,
            novel=unusual,
            domains=unusual.columns.get(DOMAIN) if unusual else None,
            other=examples,
            rate=rate,
            layers=chosen,
            seed=seed,
            revision=revision,
            device=device,
            dtype=dtype,
            command=options.given_command(context),
            progress=progress,
        )
    detector.save(output, overwrite=overwrite)
    measured = {"traffic": detector.artifact.traffic, "report": detector.artifact.report}
    if as_json:
        print(json.dumps(measured | {"output": str(output)}, ensure_ascii=False))
    else:
        print("\n".join([*report_lines(**measured), f"wrote {output}"]))


def watch(
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="The range, by splinelens audit fit.")],
    file: Annotated[str | None, options.TEXTS_FILE] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", "-t", help="A text itself; may be repeated.", metavar="TEXT")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            "--rate",
            help="Share of ordinary texts that may be flagged. Default: that of audit fit.",
            metavar="RATE",
            parser=options.share,
        ),
    ] = None,
    column: options.Column = None,
    keep: options.Keep = "",
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="The range's model, if not at its default location.", metavar="NAME"
        ),
    ] = None,
    device: options.Device = None,
    max_text_tokens: options.MaxTextTokens = None,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    as_json: options.AsJson = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write a .jsonl file instead of printing.", metavar="FILE"),
    ] = None,
    overwrite: options.Overwrite = False,
    quiet: options.Quiet = False,
) -> None:
    """Flag texts outside the range of ordinary traffic.

    Prints a line a text: p-value, flagged or usual, the text, and the number that is farthest from those of
    ordinary texts of its length, in their standard deviations; with a contrastive form its p-value and
    verdict follow the first two. With --json or -o one record a text: {"row", "p_value", "verdict",
    "tokens", "farthest"}, and where it applies "reason", "contrast_p_value" and "contrast_verdict". A text
    that could not be read is undetermined, with a reason. Flagged is unusual, and does not mean harmful.

    From stdin each line is compared as it comes. A run with --output that was stopped goes on when the same
    command is given again.

    Examples:
      splinelens audit watch range prompts.csv --column prompt
      splinelens audit watch range prompts.csv --keep id -o watched.jsonl
      splinelens audit watch range --text "Have a nice day." --rate 0.05
    """
    if (file is None) == (not text):
        raise typer.BadParameter("give either a file (- is stdin) or --text", param_hint="FILE")
    if as_json and output:
        raise typer.BadParameter("give --json or --output, not both", param_hint="--json")
    if output and output.suffix != ".jsonl":
        raise typer.BadParameter(f"{output} does not end in .jsonl", param_hint="--output")
    kept = options.kept_columns(keep)
    if kept and not (as_json or output):
        raise typer.BadParameter("lines have no columns; give --json, or a file with -o", param_hint="--keep")
    if output:
        check_output(output, overwrite=overwrite, source=file)
    else:
        require_stdout(", or name a file with -o")

    reading: dict[str, Any] = {  # Any: of different types
        "encoding": encoding,
        "format": format,
        "delimiter": delimiter,
        "header": not no_header,
    }
    streams = file == "-" and not output  # a line in gives a line out at once
    if streams:
        batches = stream_texts(column, kept, **reading)
    else:
        batches = iter([read_texts(text or [] if file is None else file, column, kept, **reading)])
    source = next(batches)
    if column is not None and not streams:
        require_words(source, column)

    from splinelens.apps.novelty import NoveltyDetector
    from splinelens.report.novelty import check_kept, novelty_line
    from splinelens.report.scores import kept_cells

    check_kept(kept)
    detector = NoveltyDetector.load(folder, model=model, device=device, max_text_tokens=max_text_tokens)
    limit = detector.rate(rate)
    verdicts = Counter[str]()

    def observe(record: "NoveltyScore") -> None:
        verdicts[record.verdict] += 1

    with progress_bar(source, shown=not quiet and output is not None) as progress:
        if output:
            try:
                detector.write_scores(
                    source,
                    output,
                    rate=limit,
                    keep=kept,
                    overwrite=overwrite,
                    progress=progress,
                    observe=observe,
                )
            except KeyboardInterrupt as stop:
                raise stopped(output, len(source)) from stop
        else:
            for batch in chain([source], batches):
                for index, scored in enumerate(detector.scores(batch, rate=limit)):
                    record = replace(scored, row=verdicts.total())
                    observe(record)
                    line = (
                        record.to_json(kept_cells(batch, index))
                        if as_json
                        else novelty_line(record, batch.texts[index])
                    )
                    print(line, flush=streams)
    if not quiet:
        counts = ", ".join(f"{verdicts[name]:,} {name}" for name in ("flagged", "usual", "undetermined"))
        typer.echo(f"{counts}; of ordinary texts at most {limit:g} are flagged", err=True)
        if output:
            typer.echo(f"wrote {output}", err=True)


def _domain(names: Sequence[str]) -> list[str]:
    return [DOMAIN] if DOMAIN in names else []


def _sample(texts: Texts, most: int, seed: int) -> Texts:
    """At most so many random texts, in their order."""
    rows = range(len(texts))
    return texts if len(rows) <= most else texts.at(sorted(Random(seed).sample(rows, most)))
