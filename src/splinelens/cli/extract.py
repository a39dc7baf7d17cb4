"""``splinelens extract``: texts in, a Parquet table of their features out."""

from pathlib import Path
from time import perf_counter
from typing import Annotated, Any

import typer

from splinelens.cli import options
from splinelens.cli.exits import stopped
from splinelens.cli.progress import progress_bar
from splinelens.files import check_output, parts_folder, rows_kept
from splinelens.texts import read_texts
from splinelens.texts.spans import read_spans

_SHOWN = 3  # rows that could not be read, with their reasons


def extract(
    file: Annotated[str, options.TEXTS_FILE],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="The Parquet file to write.", metavar="FILE")
    ],
    overwrite: options.Overwrite = False,
    retry_failed: options.RetryFailed = False,
    column: options.Column = None,
    keep: options.Keep = "",
    model: options.Model = "smollm2-135m",
    features: options.Features = "spline7",
    layers: options.Layers = None,
    pooling: options.Pooling = "max",
    prompt: options.Prompt = "",
    suffix: Annotated[
        str,
        typer.Option(
            "--suffix", help="Run after every text, never pooled.", metavar="TEXT", show_default=False
        ),
    ] = "",
    max_tokens: options.MaxTokens = None,
    max_text_tokens: options.MaxTextTokens = None,
    long: options.Long = options.LongTexts.windows,
    eps: options.Eps = 0.1,
    normalize: options.Normalize = False,
    prefixes: options.Prefixes = False,
    at: options.At = None,
    encoding: options.Encoding = "utf-8",
    format: options.Format = None,
    delimiter: options.Delimiter = None,
    no_header: options.NoHeader = False,
    device: options.Device = None,
    ray: options.Ray = None,
    revision: options.Revision = None,
    dtype: options.Dtype = "float32",
    trust_remote_code: options.TrustRemoteCode = False,
    quiet: options.Quiet = False,
) -> None:
    r"""Read the features of texts into a table, with their provenance.

    A run that was stopped or killed continues when the same command is given again; until it is finished, its
    rows are in FILE.parts.

    A TXT file holds one text a line. With --prefixes the columns text and prefix say which text a row is of,
    and of how many of its tokens. With --at and a column of spans the columns text, begin and end say which
    characters of which text a row is of; texts are still run whole, once each.

    Examples:
      splinelens extract comments.csv -o features.parquet --column comment
      splinelens extract comments.csv -o a.parquet -f spline7,margins --layers 0-5
      splinelens extract 'shards/*.parquet' -o features.parquet --column comment
      splinelens extract - -o features.parquet --prompt "Is this rude?\n"
      splinelens extract story.txt -o a.parquet -f attention_id --prefixes
      splinelens extract marked.csv -o words.parquet --column comment --at spans
      splinelens extract comments.csv -o features.parquet --column comment --ray
      splinelens extract a.csv -o b.parquet --suffix "\nRude? Answer:" --at answer
    """
    numbers = options.layer_numbers(layers)
    if output.suffix != ".parquet":
        raise typer.BadParameter(f"{output} does not end in .parquet", param_hint="--output")
    check_output(output, overwrite=overwrite or retry_failed, source=file)
    from splinelens.features.table import FeatureTable

    kept = options.kept_columns(keep)
    spans_column = "" if at is None or at == "answer" else at
    FeatureTable.check_kept(kept, prefixes=prefixes, spans=bool(spans_column))
    texts = read_texts(
        file,
        column,
        tuple(dict.fromkeys(filter(None, (*kept, spans_column)))),
        encoding=encoding,
        format=format,
        delimiter=delimiter,
        header=not no_header,
    )

    places = read_spans(texts, spans_column) if spans_column else at
    from splinelens.features import extract as features_extract

    show, started = options.stderr_printer(quiet), perf_counter()
    if rows := rows_kept(output):
        show(f"continuing after the {rows:,} rows in {parts_folder(output)}")
    try:
        with progress_bar(texts, shown=not quiet) as progress:
            table = features_extract.extract(
                texts,
                model,
                features=options.names(features),
                layers=numbers,
                pooling=options.names(pooling),
                prompt=options.unescape(prompt),
                suffix=options.unescape(suffix),
                max_tokens=max_tokens,
                long=long.value,
                eps=eps,
                normalize=normalize,
                max_text_tokens=max_text_tokens,
                prefixes=prefixes,
                at=places,
                keep=kept,
                revision=revision,
                device=device,
                dtype=dtype,
                trust_remote_code=trust_remote_code,
                output=output,
                overwrite=overwrite,
                retry_failed=retry_failed,
                ray=ray,
                load=False,
                progress=progress,
            )
    except KeyboardInterrupt as stop:
        raise stopped(output, None if prefixes or spans_column else len(texts)) from stop
    seconds = perf_counter() - started
    if attention := _attention(table.provenance):
        show(attention)
    run = f"{seconds:.1f} s on {table.provenance['device']}"
    show("\n".join([*_summary(output, run), f"wrote {output}"]))


def _summary(output: Path, run: str) -> list[str]:
    """Sizes, what was cut, and the first rows that could not be read, with the reasons."""
    import numpy as np

    from splinelens.features.table import FeatureTable
    from splinelens.report.tables import count_of

    whole = FeatureTable.without_rows(output)
    spec = whole.provenance["spec"]
    texts = tokens = rows = unreadable = cut = long = 0
    shown: list[str] = []
    last = -1
    for batch in FeatureTable.batches(output):
        begins = np.full(len(batch), True) if batch.text is None else np.diff(batch.text, prepend=last) != 0
        lengths, failed = batch.tokens[begins], (~batch.ok).nonzero()[0].tolist()
        texts += len(lengths)
        tokens += int(lengths.sum())
        cut += int(batch.cut[begins].sum())
        long += int((batch.ok[begins] & (lengths > spec["max_tokens"])).sum())
        shown += [f"  row {rows + row}: {batch.reasons[row]}" for row in failed[: _SHOWN - len(shown)]]
        unreadable += len(failed)
        rows += len(batch)
        last = -1 if batch.text is None else batch.text[-1]
    line = f"{count_of(texts, 'text')}, {count_of(tokens, 'token')}, "
    line += f"{rows:,} rows, " if rows != texts else ""
    line += f"{len(whole.columns)} columns, {run}"
    line += f"; {unreadable:,} not readable" if unreadable else ""
    without = whole.provenance["texts"] - texts
    line += f"; {count_of(without, 'text')} without a span" if without else ""
    line += f"; {cut:,} cut at {spec['max_tokens']:,} tokens" if cut else ""
    windows = f"; {long:,} read in windows of {spec['max_tokens']:,} tokens"
    line += windows if long and spec["long"] != "cut" else ""
    more = unreadable - len(shown)
    return [line, *shown, *([f"  and {more:,} more rows; the column reason says why"] if more else [])]


def _attention(record: dict[str, Any]) -> str | None:  # Any: plain JSON values
    """What ``attention_id`` of this model is not, in one line, or None."""
    limits = []
    if record.get("attention") == "weights":
        limits.append("counted from the weights of eager attention, as the model hands over no scores")
    if left_out := record.get("layers_left_out"):
        limits.append(f"no columns at layers {', '.join(map(str, left_out))}, whose attention is linear")
    return f"attention_id: {'; '.join(limits)}" if limits else None
