"""Results for eyes: a table with the firing words coloured, plain lines, and numbers with their intervals.

Texts come from strangers. Whatever could move a cursor, ring a bell or turn a line around is shown as a
harmless sign, and no text is ever read as markup.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from splinelens.report.excerpt import FEW, LEAST_LOGIT, LEVELS, excerpt
from splinelens.report.scores import UNDETERMINED, Span, TextScore
from splinelens.report.spans import core, sentences, words
from splinelens.report.tables import (
    confusion_rows,
    label_rows,
    mean_rows,
    number_rows,
    percent,
    percents,
)

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_JOINERS = "\u200c\u200d"  # they hold letters of Persian and parts of emoji together
_LINE_CHARACTERS = 80
_SENTENCES = 5
_AMOUNT = len("+12.34  ")


def harmless(text: str) -> str:
    r"""The text with every character that is not to be printed replaced by one that is.

    Args:
        text: Any string, lone surrogates included.

    Returns:
        A string of the same length without line breaks, so that spans still fit.

    Example:
        >>> harmless("red:\x1b[31m\n")
        'red:␛[31m '
    """
    return "".join(character if character.isprintable() else _sign(character) for character in text)


def plain_line(score: TextScore, text: str | None, label: str) -> str:
    r"""One line for a file or a pipe: score, verdict, the text cut short, and why or by which words.

    Args:
        score: The record.
        text: Its text.
        label: The positive verdict, of several labels the longest; verdicts are padded to one width.

    Example:
        >>> plain_line(TextScore(0, 0.03, "clean", 5, False), "Have a nice\nday", "toxic")
        '0.03  clean         Have a nice day'
    """
    shown = " ".join(harmless(text or "").split())
    if len(shown) > _LINE_CHARACTERS:
        shown = shown[: _LINE_CHARACTERS - 1].rstrip() + "…"
    if score.reason:
        shown += f"  [text {score.reason}]" if shown else f"[text {score.reason}]"
    if score.spans:
        listed = strongest_words(text or "", score.spans)
        shown += "".join(f"  {word} {amount:+.1f}" for word, amount in listed)
    return f"{_number(score)}  {verdict(score):{max(len(label), len(UNDETERMINED))}}  {shown}".rstrip()


def verdict(score: TextScore) -> str:
    """The verdict for eyes: of several labels all that fired.

    Example:
        >>> verdict(TextScore(0, 0.9, "rude", 3, False, labels=("rude", "spam")))
        'rude, spam'
    """
    return harmless(", ".join(score.labels or ()) or score.verdict)


def strongest_words(text: str, spans: Sequence[Span], most: int = FEW) -> list[tuple[str, float]]:
    """The words that push the logit most: up, strongest first, and then down.

    Args:
        text: The text.
        spans: What its tokens add.
        most: How many each way at most.

    Returns:
        Harmless words without the punctuation around them, and what they add; none that adds or takes
        less than ``LEAST_LOGIT``.

    Example:
        >>> strongest_words("you fool!", (Span(0, 3, -0.5), Span(3, 8, 2.5), Span(8, 9, 0.5)), most=1)
        [('fool', 3.0), ('you', -0.5)]
    """
    ranked = sorted(words(text, spans), key=lambda word: -word.contribution)
    up = [word for word in ranked[:most] if word.contribution >= LEAST_LOGIT]
    down = [word for word in ranked[::-1][:most] if word.contribution <= -LEAST_LOGIT]
    return [(harmless(text[slice(*core(text, word))]), word.contribution) for word in up + down]


def score_table(
    scores: Iterable[TextScore], texts: Iterable[str | None], label: str, width: int, rows: int = 2
) -> "Table":
    """A table for a terminal; records that explain themselves show the words that fire, and sentences.

    Args:
        scores: The records.
        texts: Their texts.
        label: The positive verdict, shown in red; of several labels those that fired are bold.
        width: Columns of the terminal.
        rows: Lines a long text may take; of a longer one the strongest words are shown.

    Returns:
        A ``rich`` table.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    pairs = list(zip(scores, texts, strict=True))
    verdict_width = max((len(verdict(score)) for score, _ in pairs), default=7)
    number_width = max(3, len(str(pairs[-1][0].row)) if pairs else 0)
    room = max(20, width - number_width - verdict_width - len("score") - 8)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1), expand=False)
    table.add_column("row", justify="right", style="dim", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("text", overflow="fold")
    colours = {label: "bold red", UNDETERMINED: "yellow"}
    for score, text in pairs:
        colour = "bold" if score.labels else colours.get(score.verdict, "green")
        shown = coloured(text or "", score, rows * (room - 4 * FEW))
        shown.append_text(explanation(text or "", score, room))
        table.add_row(str(score.row), Text(_number(score)), Text(verdict(score), style=colour), shown)
    return table


def coloured(text: str, score: TextScore, characters: int) -> "Text":
    """A text, or of a long one what fits, with its firing words coloured and the reason behind it.

    Args:
        text: The text.
        score: Its record.
        characters: Room for the text.

    Returns:
        A ``rich`` text without control characters.
    """
    from rich.text import Text

    shown, end, safe = Text(), 0, harmless(text)
    for part in excerpt(text, score.spans, characters):
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
    """What moved a score, below its text: sentences, if there are several, and the words that pushed most.

    Args:
        text: The text.
        score: Its record.
        width: Characters of a line; longer sentences are cut short.

    Returns:
        A ``rich`` text, each line after a line break; empty without an explanation.
    """
    from rich.text import Text

    shown = Text()
    if not score.spans:
        return shown
    found = sentences(text, score.spans)
    if len(found) > 1:
        most = sorted(found, key=lambda part: -abs(part.contribution))[:_SENTENCES]
        kept = [part for part in found if part in most]
        for part in kept:
            line = " ".join(harmless(text[part.begin : part.end]).split())
            room = width - _AMOUNT
            line = line if len(line) <= room else line[: room - 1].rstrip() + "…"
            shown.append(f"\n{part.contribution:+6.2f}  ", style=_style(part.contribution)).append(line)
        if len(found) > len(kept):
            rest = sum(part.contribution for part in found) - sum(part.contribution for part in kept)
            shown.append(f"\n{rest:+6.2f}  (the other {len(found) - len(kept)} sentences)", style="dim")
    pushing = strongest_words(text, score.spans)
    for name, way in (("raised by", 1), ("lowered by", -1)):
        listed = [f"{word} {amount:+.1f}" for word, amount in pushing if way * amount > 0]
        shown.append(f"\n{name} {', '.join(listed)}" if listed else "", style="dim")
    return shown


def evaluation_lines(numbers: Mapping[str, Any]) -> list[str]:  # Any: plain JSON values
    """The numbers of an evaluation, one a line, with their 95 % intervals.

    Args:
        numbers: As from ``Evaluation.to_dict``.

    Returns:
        Lines; that of length alone always stands below the AUC.
    """
    lines = [
        _line("rows", f"{numbers['n']:,}, {numbers['positives']:,} of them positive"),
        _line("not scored", f"{numbers['undetermined']:,}"),
        *_numbers(number_rows(numbers)),
    ]
    for target, found in numbers["at_threshold"].items():
        alarms = f"{percent(found['false_positive_rate'])} false positives"
        bounds = percents(found["false_positive_interval"])
        measured = f"{found['score']:.4f}: {alarms} ({bounds}), recall {found['recall']:.4f}"
        lines.append(_line(f"threshold for {percent(target)}", measured))
    return lines


def label_lines(numbers: Mapping[str, Any]) -> list[str]:  # Any: plain JSON values
    """The numbers of an evaluation of several labels: means, a line a label, then the confusion of classes.

    Args:
        numbers: As from ``Evaluations.to_dict``.

    Returns:
        Lines.
    """
    lines = [_line("rows", f"{numbers['n']:,}"), _line("not scored", f"{numbers['undetermined']:,}")]
    lines += [*_numbers(mean_rows(numbers)), ""]
    lines += _aligned(label_rows(numbers["labels"]))
    if "confusion" in numbers:
        lines += ["", "rows by their own class, columns by the verdict:"]
        lines += _aligned(confusion_rows(list(numbers["labels"]), numbers["confusion"]))
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Cells in columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for name, *cells in rows:
        shown = [f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([f"{harmless(name):{widths[0]}}", *map(harmless, shown)]).rstrip())
    return lines


def _numbers(rows: Iterable[tuple[str, str, str]]) -> list[str]:
    return [_line(name, f"{value}  {bounds}".rstrip()) for name, value, bounds in rows]


def _line(name: str, value: str) -> str:
    return f"{name:32}{value}"


def _number(score: TextScore) -> str:
    return "   -" if score.score is None else f"{score.score:.2f}"


def _style(contribution: float) -> str:
    return next((style for least, style in LEVELS if contribution >= least), "")


def _sign(character: str) -> str:
    if character.isspace() or character in _JOINERS:
        return character if character in _JOINERS else " "
    code = ord(character)
    if code < 0x20:
        return chr(0x2400 + code)  # the pictures of control characters
    return "␡" if code == 0x7F else "\ufffd"
