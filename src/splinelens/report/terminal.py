"""Scores and metrics for a terminal: a table with colored words, plain lines, metrics with their intervals.

Texts are untrusted: unprintable characters are replaced, and no text is read as markup.
"""

import io
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from math import fsum
from typing import TYPE_CHECKING

from splinelens.detect import UNDETERMINED
from splinelens.report.roles import part_lines
from splinelens.report.scores import Span, TextScore
from splinelens.report.spans import FEW, LEAST, core, sentences, strongest_words, words
from splinelens.report.tables import (
    Metrics,
    Table,
    confusion_table,
    interval,
    label_table,
    mean_table,
    metric_table,
    percent,
    percents,
    shorten,
)
from splinelens.texts.plain_text import harmless
from splinelens.texts.sentences import sentence_bounds

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table as RichTable
    from rich.text import Text

STYLES = ((1.0, "bold white on red"), (0.5, "bold red"), (LEAST, "red"))
"""Styles of words by their contribution to the logit, strongest first; 1.0 multiplies the odds by 2.7."""

LINE_CHARACTERS = 80
"""Of a text in a plain line."""

_PIPED_WIDTH, _WIDE = 120, 10_000
_SENTENCES = 5
_PIECE = re.compile(r"\w{1,24}|[^\w\s]{1,24}")  # short, so that scripts without spaces come in pieces too


def plain_line(score: TextScore, text: str | None, label: str) -> str:
    r"""One line for a file or a pipe: score, verdict, the beginning of the text, the words that fired.

    An explained score ends in the constant, which is part of its logit as the words are.

    Example:
        >>> plain_line(TextScore(0, 0.03, "clean", 5, False), "Have a nice\nday", "toxic")
        '0.03  clean         Have a nice day'
    """
    shown = shorten(" ".join(harmless(text or "").split()), LINE_CHARACTERS)
    if score.reason:
        shown += f"  [text {score.reason}]" if shown else f"[text {score.reason}]"
    if sentence := _highest_sentence(score, text or "", LINE_CHARACTERS):
        shown += f"  [{sentence}]"
    if score.spans:
        shown += "".join(
            f"  {word} {amount:+.1f}"
            for word, amount in strongest_words(text or "", words(text or "", _moved_by(score)))
        )
    if score.constant is not None:
        shown += f"  constant {score.constant:+.1f}"
    return f"{_number(score)}  {verdict(score):{max(len(label), len(UNDETERMINED))}}  {shown}".rstrip()


def verdict(score: TextScore) -> str:
    """The verdict; for several labels all that fired.

    Example:
        >>> verdict(TextScore(0, 0.9, "rude", 3, False, labels=("rude", "spam")))
        'rude, spam'
    """
    return harmless(", ".join(score.labels or ()) or score.verdict)


def score_table(
    scores: Iterable[TextScore], texts: Iterable[str | None], label: str, width: int
) -> "RichTable":
    """A table for a terminal; explained records show the words and sentences that moved them.

    A text takes at most two lines: of a longer one the strongest words are shown. ``label`` is the
    positive verdict, shown in red; of several labels those that fired are bold.
    """
    from rich import box
    from rich.table import Table as RichTable
    from rich.text import Text

    pairs = list(zip(scores, texts, strict=True))
    verdict_width = max((len(verdict(score)) for score, _ in pairs), default=7)
    number_width = max(3, len(str(pairs[-1][0].row)) if pairs else 0)
    room = max(20, width - number_width - verdict_width - len("score") - 8)
    table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1))
    table.add_column("row", justify="right", style="dim", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("text", overflow="fold")
    colors = {label: "bold red", UNDETERMINED: "yellow"}
    for score, text in pairs:
        color = "bold" if score.labels else colors.get(score.verdict, "green")
        shown = colored(text or "", score, 2 * (room - 4 * FEW))
        if sentence := _highest_sentence(score, text or "", room):
            shown.append(f"\n{sentence}", style="yellow")
        shown.append_text(explanation(text or "", score, room))
        shown.append("".join(f"\n{line}" for line in role_lines(score, text or "", room)))
        table.add_row(str(score.row), Text(_number(score)), Text(verdict(score), style=color), shown)
    return table


def role_lines(score: TextScore, text: str, width: int) -> list[str]:
    """Each sentence that raises the score of a flagged text, and below it agent, target and what is said."""
    lines = []
    for one in score.roles or ():
        sentence = " ".join(harmless(text[one["begin"] : one["end"]]).split())
        lines += [shorten(sentence, width), *part_lines(one)]
    return lines


def colored(text: str, score: TextScore, characters: int) -> "Text":
    """A text, or an excerpt of a long one, with its firing words colored and the reason after it."""
    from rich.text import Text

    shown, end, safe = Text(), 0, harmless(text)
    for part in excerpt(text, _moved_by(score), characters):
        if part is None:
            shown.append(" …" if shown else "…", style="dim")
            end = -1
            continue
        if shown and part.begin != end:
            shown.append(" ")
        shown.append(safe[part.begin : part.end], style=_style(part.contribution))
        end = part.end
    if score.reason:
        shown.append(f"{' ' if shown else ''}[text {score.reason}]", style="yellow")
    return shown


def explanation(text: str, score: TextScore, width: int) -> "Text":
    """What moved a score, one on each line: sentences if there are several, the strongest words, and the sum.

    The sum is ``tokens + constant = logit``, each rounded by itself.
    """
    from rich.text import Text

    shown = Text()
    if not score.spans:
        return shown
    parts = sentences(text, _moved_by(score))
    if len(parts) > 1:
        most = sorted(parts, key=lambda part: -abs(part.contribution))[:_SENTENCES]
        rest = [part.contribution for part in parts if part not in most]
        for part in (part for part in parts if part in most):
            line = shorten(" ".join(harmless(text[part.begin : part.end]).split()), width - len("+12.34  "))
            shown.append(f"\n{part.contribution:+6.2f}  ", style=_style(part.contribution)).append(line)
        if rest:
            shown.append(f"\n{sum(rest):+6.2f}  (the other {len(rest)} sentences)", style="dim")
    strongest = strongest_words(text, words(text, _moved_by(score)))
    for name, sign in (("raised by", 1), ("lowered by", -1)):
        listed = [f"{word} {amount:+.1f}" for word, amount in strongest if sign * amount > 0]
        shown.append(f"\n{name} {', '.join(listed)}" if listed else "", style="dim")
    if score.constant is not None:
        tokens = fsum(span.contribution for span in score.spans)
        line = f"tokens {tokens:+.2f}, constant {score.constant:+.2f}: logit {tokens + score.constant:+.2f}"
        shown.append(f"\n{line}", style="dim")
    return shown


def excerpt(text: str, spans: Sequence[Span] | None, characters: int) -> list[Span | None]:
    """The words of a text that fit, starting with those that fire most and their neighbors.

    Returns:
        Pieces of words in order, each with the contribution of its word, and 0 for punctuation around
        words; None where some are left out.

    Example:
        >>> [part and (part.begin, part.end) for part in excerpt("a b c d e", (Span(6, 7, 1.0),), 3)]
        [None, (6, 7), (8, 9)]
    """
    pieces = _pieces(text, spans or ())
    if not pieces or pieces[-1].end - pieces[0].begin <= characters:
        return list(pieces)
    firing = [index for index, piece in enumerate(pieces) if piece.contribution >= LEAST]
    seeds = sorted(firing, key=lambda index: -pieces[index].contribution)[:FEW] or [0]
    kept, room = set(seeds), characters - sum(pieces[seed].end - pieces[seed].begin for seed in seeds)
    for index in sorted(range(len(pieces)), key=lambda at: (min(abs(at - seed) for seed in seeds), -at)):
        if index not in kept:
            room -= pieces[index].end - pieces[index].begin + 1
            if room < 0:
                break
            kept.add(index)
    shown: list[Span | None] = []
    for index, piece in enumerate(pieces):
        if index in kept:
            shown.append(piece)
        elif not shown or shown[-1] is not None:
            shown.append(None)
    return shown


def evaluation_lines(metrics: Metrics, label: str = "positive") -> list[str]:
    """The metrics of an evaluation with their 95 % intervals; length alone follows the AUC.

    ``label`` is what a binary detector calls its positive texts.
    """
    several = "labels" in metrics
    positives = "" if several else f", {metrics['positives']:,} of them {label}"
    rows = [("rows", f"{metrics['n']:,}{positives}"), ("not scored", f"{metrics['undetermined']:,}")]
    rows += [("cut, scored by their beginning", f"{metrics['cut']:,}")] if metrics.get("cut") else []
    if within := metrics.get("within_groups"):
        both = f"{within['mixed']:,} with rows of both classes"
        rows.append(("groups, resampled whole", f"{within['groups']:,}, {both}"))
    for name, value, bounds in (mean_table if several else metric_table)(metrics).rows:
        rows.append((name, f"{value}  {bounds}".rstrip()))
    for target, measured in () if several else metrics["at_threshold"].items():
        alarms = f"{percent(measured['false_positive_rate'])} false positives"
        bounds = percents(measured["false_positive_interval"])
        effect = f"{measured['score']:.4f}: {alarms} ({bounds}), recall {measured['recall']:.4f}"
        rows.append((f"threshold for {percent(target)}", effect))
    lines = table_lines(Table(("", ""), rows), header=False)
    if several:
        lines += ["", *table_lines(label_table(metrics["labels"]))]
    if "confusion" in metrics:
        confusion = confusion_table(list(metrics["labels"]), metrics["confusion"])
        lines += ["", "rows: true class, columns: predicted class", *table_lines(confusion)]
    return lines


def span_lines(metrics: Metrics) -> list[str]:
    """How explanations agree with what people marked, as from ``SpanEvaluation.to_dict``."""
    auc = "-" if metrics["word_auc"] is None else f"{metrics['word_auc']:.4f}"
    rows = [
        ("texts", f"{metrics['n']:,}"),
        ("not explained", f"{metrics['undetermined']:,}"),
        ("marked", f"words that add at least {metrics['limit']:.4g} to the logit"),
        ("character F1", f"{metrics['character_f1']:.4f}  {interval(metrics['character_f1_interval'])}"),
        ("AUC of words within a text", f"{auc}  {interval(metrics['word_auc_interval'])}"),
        ("texts with words of both kinds", f"{metrics['word_auc_texts']:,}"),
        ("texts in which people marked nothing", f"{metrics['without_gold']:,}"),
        ("texts in which no word is marked", f"{metrics['without_mark']:,}"),
    ]
    return table_lines(Table(("", ""), rows), header=False)


def table_lines(table: Table, *, header: bool = True) -> list[str]:
    """A table as lines without colors, however wide."""
    return plain(rich_table(table, header=header), _WIDE).splitlines()


def rich_table(table: Table, *, header: bool = True) -> "RichTable":
    """A table without borders; columns of numbers are right-aligned, the first one if it has only digits."""
    from rich.table import Table as RichTable
    from rich.text import Text

    shown = RichTable(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=header, header_style="dim")
    for index, name in enumerate(table.head):
        cells = [row[index] for row in table.rows]
        numbers = header and all(cell[:1].isdigit() or cell in ("", "-") for cell in cells)
        shown.add_column(Text(harmless(name)), justify="right" if numbers else "left", no_wrap=True)
    for row in table.rows:
        shown.add_row(*(Text(harmless(cell)) for cell in row))
    return shown


def print_view(view: Callable[[int], "RenderableType"]) -> None:
    """Print what a width gives: in color to a terminal, as plain lines of 120 columns elsewhere."""
    from rich.console import Console

    if sys.stdout.isatty():
        console = Console(highlight=False)
        console.print(view(console.width))
    else:
        print(plain(view(_PIPED_WIDTH), _PIPED_WIDTH))


def plain(renderable: "RenderableType", width: int) -> str:
    """What rich renders, without colors and trailing spaces."""
    from rich.console import Console

    file = io.StringIO()
    Console(file=file, width=width, color_system=None, highlight=False).print(renderable)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())


def _moved_by(score: TextScore) -> Sequence[Span]:
    """What each part of the text adds: its words, whose values need not be the sums of their tokens."""
    return score.words or score.spans or ()


def _pieces(text: str, spans: Sequence[Span]) -> list[Span]:
    """Words in pieces of at most a line, each with the contribution of its whole word."""
    bounds, end = [], 0
    for word in words(text, spans):
        core_begin, core_end = core(text, word)
        bounds += [(end, core_begin, 0.0), (core_begin, core_end, word.contribution)]
        end = core_end
    bounds.append((end, len(text), 0.0))
    return [
        Span(*match.span(), amount)
        for begin, stop, amount in bounds
        for match in _PIECE.finditer(text, begin, stop)
    ]


def _highest_sentence(score: TextScore, text: str, characters: int) -> str:
    """Score, limit and beginning of the highest sentence, of a text of several; else empty."""
    sentence = score.highest_sentence
    if sentence is None or len(sentence_bounds(text)) < 2:
        return ""
    label = f" {harmless(sentence.label)}" if sentence.label else ""
    number, limit = _told_apart(sentence.score, sentence.limit)
    name = f"sentence {number}{label}, limit {limit}: "
    return name + shorten(
        " ".join(harmless(text[sentence.begin : sentence.end]).split()), characters - len(name)
    )


def _number(score: TextScore) -> str:
    """The score; a dash where there is no verdict, since it would read as sure. Of a cut text that so far."""
    unsure = score.verdict == UNDETERMINED and not score.cut
    return "   -" if score.score is None or unsure else f"{score.score:.2f}"


def _told_apart(score: float, limit: float) -> tuple[str, str]:
    """Both with the fewest decimals that show which is higher, two to six."""
    for decimals in range(2, 7):
        shown = f"{score:.{decimals}f}", f"{limit:.{decimals}f}"
        if shown[0] != shown[1]:
            return shown
    return f"{score:.2f}", f"{limit:.2f}"


def _style(contribution: float) -> str:
    return next((style for least, style in STYLES if contribution >= least), "")
