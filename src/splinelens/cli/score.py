"""``splinelens score``: texts in, one score and verdict a text out, in order."""

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import chain, islice
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, Any

import typer

from splinelens.cli import options
from splinelens.cli.exits import require_stdout, stopped
from splinelens.cli.progress import progress_bar
from splinelens.detect import UNDETERMINED
from splinelens.files import check_output, rows_kept
from splinelens.report.scores import TextScore, check_ending, check_kept, kept_cells
from splinelens.texts import read_texts, stream_texts
from splinelens.texts.labeled import require_words

if TYPE_CHECKING:
    from splinelens.apps.roles import RoleFinder
    from splinelens.detect.artifact import Artifact

FPR = 0.05
_CHUNK = 64  # texts whose roles are found together


class ScoredBy(StrEnum):
    """What is scored: texts, or also each of their sentences."""

    text = "text"
    sentence = "sentence"


class SplitBy(StrEnum):
    """How the logit is shared out among words."""

    token = "token"
    shapley = "shapley"


def score(
    file: Annotated[str | None, options.TEXTS_FILE] = None,
    text: Annotated[
        list[str] | None, typer.Option("--text", "-t", help="A text itself; may be repeated.", metavar="TEXT")
    ] = None,
    column: options.Column = None,
    keep: options.Keep = "",
    detector: Annotated[
        str,
        typer.Option("--detector", "-d", help=options.DETECTOR_HELP, metavar="NAME"),
    ] = "toxicity",
    model: options.DetectorsModel = None,
    device: options.Device = None,
    explain: Annotated[
        bool | None,
        typer.Option(
            "--explain/--no-explain",
            help="Say what words and sentences add to the logit of the score. Default: in a terminal.",
            show_default=False,
        ),
    ] = None,
    explain_label: Annotated[
        str | None,
        typer.Option(
            "--explain-label", help="Explain this label, not the one with the highest score.", metavar="NAME"
        ),
    ] = None,
    roles: Annotated[
        bool,
        typer.Option(
            "--roles",
            help="With --explain: also say who threatens or insults whom in sentences of flagged texts that "
            "raise the score. English only; needs the extra roles.",
        ),
    ] = False,
    parser: options.Parser = None,
    words: Annotated[
        SplitBy,
        typer.Option(
            "--words",
            help="How the logit is shared out among words: by token, where a maximum over tokens goes to one "
            "of them, or as shapley values, which words that are about as strong share, with those that "
            "fire. shapley is for detectors of learned margins, such as toxicity; it runs PyTorch.",
        ),
    ] = SplitBy.token,
    fpr: Annotated[
        float | None,
        typer.Option(
            "--fpr",
            help="Share of negative texts that the verdict may flag wrongly: 0.001, 0.01 or 0.05. "
            f"Default: {FPR}.",
            metavar="RATE",
            parser=options.share,
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            help="Score from 0 to 1 from which on a label fires, instead of --fpr.",
            metavar="SCORE",
            min=0,
            max=1,
        ),
    ] = None,
    prevalence: Annotated[
        float | None,
        typer.Option(
            "--prevalence",
            help="Share of texts with the label where you score, such as 0.02: scores are probabilities "
            "there. Verdicts at --fpr stay. Default: the share of its calibration, half for toxicity.",
            metavar="SHARE",
            parser=options.share,
        ),
    ] = None,
    by: Annotated[
        ScoredBy,
        typer.Option(
            "--by",
            help="sentence also scores each sentence by itself. A text is flagged if its score reaches the "
            "threshold for half of --fpr, or that of a sentence the limit: the threshold for the other half, "
            "divided by the number of sentences. The highest sentence is named, with its limit.",
        ),
    ] = ScoredBy.text,
    max_tokens: options.DetectorsMaxTokens = None,
    max_text_tokens: options.MaxTextTokens = None,
    long: options.Long = options.LongTexts.windows,
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
    retry_failed: options.RetryFailed = False,
    ray: options.Ray = None,
    quiet: options.Quiet = False,
) -> None:
    """Score texts, and say which words fired.

    Prints a line a text: score, verdict, text; in a terminal also the words that raised (+) or lowered
    (-) the score. With --json or -o one record a text, in order: {"row" (from 0, the first after the line
    of names), "score", "verdict", "tokens", "cut"}, and where it applies "reason", "constant" and "spans"
    [{"begin", "end", "contribution"}], one a token, and their sums over "words" and "sentences"; tables
    have "top_words" instead. With --words shapley each of "words" has its Shapley value as "contribution",
    and "fires": in a text with the label, whether people would mark the word for it. With --by sentence
    "highest_sentence" {"begin", "end", "score", "limit"}: its score decides the verdict from "limit" on. A
    detector of several labels adds "scores" by label, "labels" that fired, and "explained";
    --roles adds "roles", as the command roles prints them, to flagged texts. The verdict is
    undetermined where a text could not be read, or was cut and looks clean so far. A score is the
    probability of the label where the share of texts with it is that of the detector's calibration: of
    the shipped toxicity detectors, where half of the texts are toxic. The logit of a score is log(score /
    (1 - score)), and with --explain all tokens + constant. From stdin each line is scored as it comes,
    one line out for each line in; with -o only when the input ends. A run with --output that was stopped
    goes on when the same command is given again.

    Examples:
      splinelens score --text "Have a nice day."
      splinelens score comments.csv --column comment --json
      splinelens score comments.csv -c comment --keep id --explain -o words.csv
      splinelens score comments.csv -c comment --by sentence -o sentences.csv
      cat comments.txt | splinelens score - --output scores.csv
    """
    if (file is None) == (not text):
        raise typer.BadParameter("give either a file (- is stdin) or --text", param_hint="FILE")
    if fpr is not None and threshold is not None:
        raise typer.BadParameter("give --fpr or --threshold, not both", param_hint="--fpr")
    if explain is False and explain_label is not None:
        raise typer.BadParameter(
            "give --explain-label or --no-explain, not both", param_hint="--explain-label"
        )
    if explain is False and words is SplitBy.shapley:
        raise typer.BadParameter("give --words or --no-explain, not both", param_hint="--words")
    if explain_label is not None and not explain_label.strip():
        raise typer.BadParameter("name a label", param_hint="--explain-label")
    if roles and (explain is not True or output is not None):
        raise typer.BadParameter("give it with --explain, and without -o", param_hint="--roles")
    if parser is not None and not roles:
        raise typer.BadParameter("this needs --roles", param_hint="--parser")
    if as_json and output:
        raise typer.BadParameter("give --json or --output, not both", param_hint="--json")
    if retry_failed and (output is None or output.suffix != ".parquet"):
        raise typer.BadParameter("name a .parquet output of an earlier run", param_hint="--retry-failed")
    if ray is not None and output is None:
        raise typer.BadParameter("name a file with -o", param_hint="--ray")
    if output:
        check_output(output, overwrite=overwrite or retry_failed, source=file)
    else:
        require_stdout(", or name a file with -o")
    kept = options.kept_columns(keep)
    if kept and not (as_json or output):
        raise typer.BadParameter("lines have no columns; give --json, or a file with -o", param_hint="--keep")
    check_kept(kept)

    from splinelens.detect.shipped import find_artifact

    artifact = find_artifact(detector)
    shown = not (as_json or output) and sys.stdout.isatty()
    explains = explain if explain is not None else shown and artifact.inseparable is None
    requested: bool | str = explain_label or explains or words is SplitBy.shapley
    _check_task(artifact, fpr, threshold, explain_label, prevalence, by)
    rate = FPR if fpr is None else fpr
    if prevalence is not None:
        artifact = artifact.at_prevalence(prevalence)
    limits = artifact.limits(rate, threshold)
    artifact.require_explainable(requested, words)
    streams = file == "-" and not output  # a line in gives a line out at once
    reading: dict[str, Any] = {  # Any: of different types
        "encoding": encoding,
        "format": format,
        "delimiter": delimiter,
        "header": not no_header,
    }
    if streams:
        batches = stream_texts(column, kept, **reading)
    else:
        batches = iter([read_texts(text or [] if file is None else file, column, kept, **reading)])
    source = next(batches)
    if column is not None and not streams:
        require_words(source, column)

    from splinelens.apps.detector import Detector
    from splinelens.detect.word_head import shipped_word_head
    from splinelens.report.terminal import LINE_CHARACTERS, plain_line, print_view, role_lines, score_table
    from splinelens.texts.plain_text import harmless

    loaded = Detector.load(
        detector,
        model=model,
        device=device,
        max_tokens=max_tokens,
        long=long.value,
        max_text_tokens=max_text_tokens,
        engine="torch" if words is SplitBy.shapley else "auto",
    )
    finder = None
    if roles:
        from splinelens.apps.roles import RoleFinder

        finder = RoleFinder.load(parser, device=device)
        options.stderr_printer(quiet)("roles by {parser}; {head}".format(**finder.provenance))
    table = shown and not streams
    tally, started, rows = Tally(max_text_tokens=max_text_tokens), perf_counter(), list[TextScore]()
    tally.earlier = rows_kept(output) if output else 0
    settings: dict[str, Any] = {
        "explain": requested,
        "words": words.value,
        "fpr": rate,
        "threshold": threshold,
        "prevalence": prevalence,
        "by": by.value,
    }  # Any: of different types
    with progress_bar(source, shown=not quiet and (output is not None or table)) as progress:
        if output:
            try:
                loaded.write_scores(
                    source,
                    output,
                    **settings,
                    keep=kept,
                    overwrite=overwrite,
                    retry_failed=retry_failed,
                    ray=ray,
                    progress=progress,
                    observe=tally.add,
                )
            except KeyboardInterrupt as stop:
                raise stopped(output, len(source)) from stop
        else:
            longest = max((*artifact.labels, artifact.negative), key=len)
            for batch in chain([source], batches):
                records = loaded.scores(batch, **settings, progress=progress)
                if finder is not None:
                    records = _with_roles(finder, records, batch.texts, artifact.negative)
                for index, scored in enumerate(records):
                    record = tally.add(replace(scored, row=tally.texts))
                    if as_json:
                        print(record.to_json(kept_cells(batch, index)), flush=streams)
                    elif table:
                        rows.append(record)
                    else:
                        beside = role_lines(record, batch.texts[index] or "", LINE_CHARACTERS)
                        line = plain_line(record, batch.texts[index], longest)
                        print("\n".join([line, *beside]), flush=streams)
    if table:
        print_view(lambda width: score_table(rows, source.texts, artifact.labels[0], width))
    if not quiet:
        reader = loaded.reader
        line = tally.summary(perf_counter() - started, str(reader.loaded.device), reader.max_tokens)
        shared = by is ScoredBy.sentence and threshold is None
        higher = " (higher for the parts of texts of several sentences)" if shared else ""
        typer.echo(f"{line}; {harmless(_verdicts(artifact, limits))}{higher}", err=True)
        if words is SplitBy.shapley:
            head = shipped_word_head(artifact.name, artifact.origin)
            decides = "a rule" if head is None else "the head of marked words that comes with the detector"
            typer.echo(f"which words fire is decided by {decides}", err=True)
        if output:
            typer.echo(f"wrote {output}", err=True)


def _with_roles(
    finder: "RoleFinder", records: Iterable[TextScore], texts: Sequence[str | None], negative: str
) -> Iterator[TextScore]:
    """The records; those of flagged texts with the roles of the sentences that raise their score."""
    from splinelens.report.roles import raising

    scored = iter(records)
    while chunk := list(islice(scored, _CHUNK)):
        flagged = [record for record in chunk if record.verdict not in (negative, UNDETERMINED)]
        sentences = finder.find([texts[record.row] for record in flagged]) if flagged else []
        found = dict(zip([record.row for record in flagged], sentences, strict=True))
        for record in chunk:
            raised = raising(found.get(record.row, ()), record.sentences or ())
            roles = [{key: value for key, value in one.to_dict().items() if key != "row"} for one in raised]
            yield replace(record, roles=tuple(roles) or None)


def _check_task(
    artifact: "Artifact",
    fpr: float | None,
    threshold: float | None,
    explain_label: str | None,
    prevalence: float | None,
    by: ScoredBy,
) -> None:
    """Refuse options that a detector of this task, or of these labels, does not have."""
    if artifact.task == "classes" and (fpr, threshold) != (None, None):
        raise typer.BadParameter(
            "the verdict on classes is the one with the highest score",
            param_hint="--threshold" if fpr is None else "--fpr",
        )
    if explain_label is not None and explain_label not in artifact.labels:
        raise typer.BadParameter(
            f"detector {artifact.name} has no label {explain_label!r}; it has "
            f"{', '.join(map(repr, artifact.labels))}",
            param_hint="--explain-label",
        )
    if prevalence is not None and artifact.task != "binary":
        raise typer.BadParameter(
            f"detector {artifact.name} has several labels, each with a share of its own; leave it out",
            param_hint="--prevalence",
        )
    if by is ScoredBy.sentence and artifact.task == "classes":
        raise typer.BadParameter(
            f"detector {artifact.name} gives one class for a whole text", param_hint="--by"
        )


def _verdicts(artifact: "Artifact", limits: Sequence[float]) -> str:
    """From where on each label fires, and what the score of a single one is."""
    from splinelens.report.tables import share_words

    if artifact.task == "classes":
        return f"the verdict is the highest of {len(limits)} classes"
    pairs = zip(artifact.labels, limits, strict=True)
    line = ", ".join(f"{label} from {limit:{'.2f' if limit >= 0.1 else '.2g'}}" for label, limit in pairs)
    if artifact.task == "labels":
        return line
    return f"{line}; a score is the probability {share_words(artifact.shares[0], artifact.labels[0])}"


@dataclass
class Tally:
    """Counts of a run, for its summary line.

    Example:
        >>> tally = Tally()
        >>> record = tally.add(TextScore(0, None, "undetermined", 0, False, reason="is empty"))
        >>> tally.summary(0.25, "cpu", 512)
        '1 text, 0 tokens, 0.2 s on cpu; 1 undetermined'
    """

    texts: int = 0
    tokens: int = 0
    undetermined: int = 0
    cut: int = 0
    max_text_tokens: int | None = None
    too_long: int = 0
    earlier: int = 0

    def add(self, record: TextScore) -> TextScore:
        """Count a record, and return it."""
        self.texts += 1
        self.tokens += record.tokens
        self.undetermined += record.verdict == UNDETERMINED
        self.cut += record.cut
        self.too_long += self.max_text_tokens is not None and record.tokens > self.max_text_tokens
        return record

    def summary(self, seconds: float, device: str, max_tokens: int) -> str:
        """One line."""
        from splinelens.report.tables import count_of

        line = count_of(self.texts, "text")
        line += f" ({self.earlier:,} of them from the stopped run)" if self.earlier else ""
        line += f", {count_of(self.tokens, 'token')}, {seconds:.1f} s on {device}"
        line += f"; {self.undetermined:,} undetermined" if self.undetermined else ""
        line += f" ({self.too_long:,} of more than {self.max_text_tokens:,} tokens)" if self.too_long else ""
        return line + (f"; {self.cut:,} cut at {max_tokens:,} tokens" if self.cut else "")
