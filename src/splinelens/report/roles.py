"""Records of agents and targets of sentences, and who the targets of a file's flagged sentences are."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from splinelens.detect.thresholds import Interval, proportion_interval
from splinelens.report.scores import Span
from splinelens.report.tables import Table, count_of, percent, percents
from splinelens.texts.plain_text import harmless

PRONOUN, NAMELESS, OTHER = "pronouns, not resolved", "nobody named", "other"
"""Kinds of targets beside the groups."""

_OF_DETECTOR = ("score", "flagged")  # left out of records without one

CAVEATS = (
    "a target is one by grammar: to be mentioned, quoted or defended is not to be attacked",
    "pronouns are not resolved: a group that is named once and called they afterwards counts once",
    "parser and roles err: see docs/roles.md for the measured accuracy, on English only",
    "what the detector flags wrongly or misses is counted as it flags it",
)


@dataclass(frozen=True)
class Part:
    """A part of a text: its first character, the one after its last, and the characters."""

    begin: int
    end: int
    text: str


@dataclass(frozen=True)
class Argument:
    """An argument of a predicate.

    Attributes:
        role: In the names of PropBank, such as ``ARG0`` (who does it) or ``ARGM-TMP`` (when).
        begin: First character of its head word.
        end: After its last character.
        text: The head word.
        chance: Probability that it is an argument.
    """

    role: str
    begin: int
    end: int
    text: str
    chance: float


@dataclass(frozen=True)
class PredicateRoles:
    """A predicate and its arguments, in the order of the sentence."""

    begin: int
    end: int
    text: str
    arguments: tuple[Argument, ...]


@dataclass(frozen=True)
class SentenceRoles:
    """Who threatens or insults whom in one sentence.

    Attributes:
        row: Position of the text in the input, from 0.
        begin: First character of the sentence.
        end: After its last one.
        agent: Who threatens, insults or acts; None where nobody is named.
        target: Who is meant; None where nobody is named.
        said: What is said, threatened or claimed; None without a verb.
        target_kind: ``noun``, ``pronoun``, ``reader`` of an order that names nobody, or None.
        predicates: All verbs with their arguments.
        notes: What to know, such as that there is no verb.
        score: Of the detector for the sentence by itself; None without one.
        flagged: Whether it reaches the detector's threshold; None without a detector or score.
    """

    row: int
    begin: int
    end: int
    agent: Part | None
    target: Part | None
    said: Part | None
    target_kind: str | None
    predicates: tuple[PredicateRoles, ...] = ()
    notes: tuple[str, ...] = ()
    score: float | None = None
    flagged: bool | None = None

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """As JSON values; ``score`` and ``flagged`` are left out without a detector."""
        values = asdict(self)
        return {key: value for key, value in values.items() if key not in _OF_DETECTOR or value is not None}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class GroupTargets:
    """How often one group is the target.

    Attributes:
        name: Of the group, or a kind of other targets.
        targets: Flagged sentences whose target it is; a target that names two groups counts for both.
        share: Of all flagged sentences.
        interval: 95 % Clopper-Pearson interval of it; None without flagged sentences.
        mentions: Sentences with one of its words anywhere; None of other kinds.
        flagged_mentions: How many of these are flagged.
    """

    name: str
    targets: int
    share: float
    interval: Interval | None
    mentions: int | None = None
    flagged_mentions: int | None = None


@dataclass(frozen=True)
class TargetReport:
    """Who the targets of flagged sentences are.

    Attributes:
        texts: Texts that were read.
        sentences: Their sentences.
        flagged: Flagged sentences.
        unread: Texts without a result, by reason.
        groups: The groups by falling number of targets, then other kinds.
        top_targets: Most frequent head words of targets that are in no group, with their number.
        caveats: What the numbers do not say.
        settings: Detector, rate, parser.
    """

    texts: int
    sentences: int
    flagged: int
    unread: dict[str, int]
    groups: tuple[GroupTargets, ...]
    top_targets: tuple[tuple[str, int], ...]
    caveats: tuple[str, ...] = CAVEATS
    settings: dict[str, Any] = field(default_factory=dict)  # Any: JSON values

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """As JSON values."""
        return asdict(self)

    def table(self) -> Table:
        """The groups as cells."""
        rows = [
            (
                group.name,
                f"{group.targets:,}",
                percent(group.share),
                percents(group.interval or ()),
                "" if group.mentions is None else f"{group.mentions:,}",
                "" if group.flagged_mentions is None else f"{group.flagged_mentions:,}",
            )
            for group in self.groups
        ]
        return Table(
            (
                "target",
                "flagged",
                "share of flagged",
                "95 % interval",
                "sentences with it",
                "of them flagged",
            ),
            rows,
        )


def count_targets(
    records: Iterable[SentenceRoles],
    texts: Sequence[str | None],
    groups: Mapping[str, Sequence[str]],
    unread: Mapping[str, int],
    settings: dict[str, Any] | None = None,  # Any: JSON values
) -> TargetReport:
    """Count whom the flagged sentences are about.

    Args:
        records: Of all sentences; those without a detector count as flagged.
        texts: The texts, by row.
        groups: The words of each group, in lower case.
        unread: Texts without a record, by reason.
        settings: For the report.
    """
    words = {name: frozenset(map(str.lower, terms)) for name, terms in groups.items()}
    targets, mentions, flagged_mentions = Counter[str](), Counter[str](), Counter[str]()
    others = Counter[str]()
    sentences = flagged = 0
    for record in records:
        sentences += 1
        is_flagged = record.flagged is not False
        flagged += is_flagged
        for name in _groups_in(words, (texts[record.row] or "")[record.begin : record.end]):
            mentions[name] += 1
            flagged_mentions[name] += is_flagged
        if not is_flagged:
            continue
        if record.target is None:
            targets[NAMELESS] += 1
            continue
        named = _groups_in(words, record.target.text)
        kind = PRONOUN if record.target_kind == "pronoun" else OTHER
        targets.update(named or [kind])
        if not named and kind == OTHER:
            others[_tokens(record.target.text)[-1] if _tokens(record.target.text) else ""] += 1
    rows = [
        GroupTargets(
            name, targets[name], *_share(targets[name], flagged), mentions[name], flagged_mentions[name]
        )
        for name in sorted(words, key=lambda name: (-targets[name], -mentions[name], name))
        if mentions[name] or targets[name]
    ]
    rows += [
        GroupTargets(name, targets[name], *_share(targets[name], flagged))
        for name in (OTHER, PRONOUN, NAMELESS)
    ]
    others.pop("", None)
    most = sorted(others.items(), key=lambda item: (-item[1], item[0]))[:10]
    return TargetReport(
        len(texts), sentences, flagged, dict(unread), tuple(rows), tuple(most), settings=settings or {}
    )


def raising(records: Sequence[SentenceRoles], spans: Sequence[Span]) -> list[SentenceRoles]:
    """The sentences that raise the score of a text: those that add at least half of what the highest adds.

    Args:
        records: The sentences of the parser.
        spans: What each sentence of a score's record adds; their bounds may differ.
    """
    if not spans:
        return list(records)
    highest = max(span.contribution for span in spans)
    strong = [span for span in spans if span.contribution >= (highest / 2 if highest > 0 else highest)]
    return [one for one in records if any(one.begin < span.end and span.begin < one.end for span in strong)]


def text_lines(record: SentenceRoles, text: str) -> list[str]:
    """One sentence for people: the sentence, then agent, target and what is said, each in a line."""
    score = "" if record.score is None else f"{record.score:.2f} "
    lines = [score + _shown(text[record.begin : record.end])]
    implied = "(who reads it)" if record.target_kind == "reader" else "-"
    cells = {"agent": record.agent, "target": record.target, "said": record.said}
    for name, part in cells.items():
        lines.append(
            f"  {name + ':':<8}{_shown(part.text) if part else implied if name == 'target' else '-'}"
        )
    return lines + [f"  {'note:':<8}{note}" for note in record.notes]


def report_lines(report: TargetReport) -> list[str]:
    """The report for people: aligned columns, and the caveats."""
    table = report.table()
    rows = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    lines = [
        f"{count_of(report.texts, 'text')}, {count_of(report.sentences, 'sentence')}, "
        f"{report.flagged:,} flagged"
    ]
    lines += [f"not read: {count_of(count, 'text')} {reason}" for reason, count in report.unread.items()]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(size) for cell, size in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    if report.top_targets:
        named = ", ".join(f"{harmless(word)} {count:,}" for word, count in report.top_targets)
        lines.append(f"most frequent among other: {named}")
    return lines + [f"note: {caveat}" for caveat in report.caveats]


def _shown(text: str) -> str:
    return harmless(" ".join(text.split()))


def _tokens(text: str) -> list[str]:
    stripped = (word.strip("\"'.,;:!?()[]*").lower() for word in text.split())
    return [word.removesuffix("'s").removesuffix("\u2019s") for word in stripped if word]


def _groups_in(groups: Mapping[str, frozenset[str]], text: str) -> list[str]:
    tokens = _tokens(text)
    present = {" ".join(tokens[at : at + size]) for size in (1, 2, 3) for at in range(len(tokens) - size + 1)}
    return [name for name, terms in groups.items() if terms & present]


def _share(count: int, total: int) -> tuple[float, Interval | None]:
    return (count / total, proportion_interval(count, total)) if total else (0.0, None)
