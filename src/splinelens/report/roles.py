"""Records of agents and targets of sentences, and who the targets of a file's flagged sentences are."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from splinelens.detect.thresholds import Interval, share_interval
from splinelens.errors import BadTexts
from splinelens.report.scores import Span
from splinelens.report.tables import Table, count_of, percent, percents
from splinelens.texts.groups import mentions
from splinelens.texts.plain_text import harmless

OTHER, YOU = "other", "who is spoken to (you, or an order)"
PRONOUN, NAMELESS = "other pronouns, not resolved", "nobody named"
"""Kinds of targets beside the groups."""

_SECOND_PERSON = frozenset("you u ya yourself yourselves".split())

CAVEATS = (
    "a target is one by grammar: to be mentioned, quoted or defended is not to be attacked, and irony is "
    "read literally",
    "pronouns are not resolved: a group that is named once and called they afterwards counts once",
    "parser and rules err: docs/roles.md has the measured accuracy on short sentences, on English only",
    "what the detector flags wrongly or misses is counted as it flags it; its errors differ between groups",
    "the interval is about which texts were drawn, not about any of these errors",
)


@dataclass(frozen=True)
class Part:
    """A part of a text: its first character, the one after its last, and the characters."""

    begin: int
    end: int
    text: str


@dataclass(frozen=True)
class Argument(Part):
    """The head word of an argument of a predicate.

    Attributes:
        role: In the names of PropBank, such as ``ARG0`` (who does it) or ``ARGM-TMP`` (when).
        probability: That it is an argument.
    """

    role: str
    probability: float


@dataclass(frozen=True)
class PredicateRoles(Part):
    """A verb and its arguments, in the order of the sentence."""

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
        agent_head: Head word of the agent.
        target_head: Head word of the target.
        target_kind: ``noun``, ``pronoun``, ``reader`` of an order that names nobody, or None.
        predicates: All verbs with their arguments.
        notes: What to know, such as that there is no verb.
        parser: Name and version of the parser.
        judged: Whether a detector was given.
        score: Of the detector for the sentence by itself; None without one, or if it could not be scored.
        flagged: Whether it reaches the limit of a sentence; None without a detector, or if undetermined.
    """

    row: int
    begin: int
    end: int
    agent: Part | None = None
    target: Part | None = None
    said: Part | None = None
    agent_head: str | None = None
    target_head: str | None = None
    target_kind: str | None = None
    predicates: tuple[PredicateRoles, ...] = ()
    notes: tuple[str, ...] = ()
    parser: str = ""
    judged: bool = False
    score: float | None = None
    flagged: bool | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether it is flagged, or no detector was given."""
        return bool(self.flagged) or not self.judged

    def to_dict(self) -> dict[str, Any]:  # Any: JSON values
        """As JSON values; without a detector ``score`` and ``flagged`` are left out."""
        left_out = ("judged",) if self.judged else ("judged", "score", "flagged")
        return {key: value for key, value in asdict(self).items() if key not in left_out}

    def to_json(self) -> str:
        """One line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False).encode("utf-8", "backslashreplace").decode()


@dataclass(frozen=True)
class GroupTargets:
    """How often one group is the target.

    Attributes:
        name: Of the group, or a kind of other targets.
        targets: Flagged sentences whose target it is; a target that names two groups counts for both.
        texts: Texts with such a sentence.
        share: Of all flagged sentences.
        interval: 95 % interval of it, whole texts resampled and copies kept together; None without flagged
            sentences.
        mentions: Sentences with one of its terms anywhere; None of other kinds.
        flagged_mentions: How many of these are flagged.
    """

    name: str
    targets: int
    texts: int
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
        undetermined: Sentences of which the detector cannot say; they are not flagged.
        flagged_texts: Texts with a flagged sentence.
        copies: How many of these are exact copies of an earlier one.
        unread: Texts without a result, by reason.
        notes: Notes of flagged sentences, with their number.
        groups: The groups that a sentence mentions by falling number of targets, then other kinds.
        unmentioned: The other groups.
        top_targets: Most frequent head words of targets that are in no group, with their number.
        caveats: What the numbers do not say.
        settings: Detector, rate, parser, head.
    """

    texts: int
    sentences: int
    flagged: int
    undetermined: int
    flagged_texts: int
    copies: int
    unread: dict[str, int]
    notes: dict[str, int]
    groups: tuple[GroupTargets, ...]
    unmentioned: tuple[str, ...]
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
                harmless(group.name),
                f"{group.targets:,}",
                f"{group.texts:,}",
                percent(group.share),
                percents(group.interval or ()),
                "" if group.mentions is None else f"{group.mentions:,}",
                "" if group.flagged_mentions is None else f"{group.flagged_mentions:,}",
            )
            for group in self.groups
        ]
        head = ("target", "flagged", "texts", "share of flagged", "95 % interval")
        return Table((*head, "sentences with it", "of them flagged"), rows)


def count_targets(
    records: Sequence[SentenceRoles],
    texts: Sequence[str | None],
    terms: Mapping[str, Sequence[str]],
    unread: Mapping[str, int],
    settings: dict[str, Any] | None = None,  # Any: JSON values
) -> TargetReport:
    """Count whom the flagged sentences are about.

    Args:
        records: Of all sentences; where no detector was given they count as flagged.
        texts: The texts, by row.
        terms: The terms of each group.
        unread: Texts without a record, by reason.
        settings: For the report.

    Raises:
        BadTexts: A group has the name of a row that is always there, such as ``other``.
    """
    if taken := sorted({OTHER, YOU, PRONOUN, NAMELESS} & terms.keys()):
        raise BadTexts(f"the report has a row {taken[0]!r} of its own; give that group another name")
    flagged = [record for record in records if record.is_wanted]
    named = mentions([one.target.text if one.target else None for one in flagged], terms)
    anywhere = mentions([(texts[one.row] or "")[one.begin : one.end] for one in records], terms)
    is_flagged = np.array([record.is_wanted for record in records], bool)
    in_group = np.any(list(named.values()), axis=0) if named else np.zeros(len(flagged), bool)
    kinds = [None if inside else _kind(record) for record, inside in zip(flagged, in_group, strict=True)]
    rows = [
        _counted(name, named[name], flagged, texts, int(mask.sum()), int((mask & is_flagged).sum()))
        for name, mask in anywhere.items()
        if mask.any()
    ]
    rows.sort(key=lambda row: (-row.targets, -(row.mentions or 0), row.name))
    rows += [
        _counted(kind, np.array([each == kind for each in kinds], bool), flagged, texts)
        for kind in (OTHER, YOU, PRONOUN, NAMELESS)
    ]
    others = Counter(
        (one.target_head or "").lower() for one, kind in zip(flagged, kinds, strict=True) if kind == OTHER
    )
    flagged_rows = sorted({record.row for record in flagged})
    return TargetReport(
        len(texts),
        len(records),
        len(flagged),
        sum(record.judged and record.flagged is None for record in records),
        len(flagged_rows),
        len(flagged_rows) - len({texts[row] for row in flagged_rows}),
        dict(unread),
        dict(Counter(note for record in flagged for note in record.notes)),
        tuple(rows),
        tuple(name for name, mask in anywhere.items() if not mask.any()),
        tuple(sorted(others.items(), key=lambda item: (-item[1], item[0]))[:10]),
        settings=settings or {},
    )


def _kind(record: SentenceRoles) -> str:
    """The kind of a target that is in no group."""
    if record.target is None:
        return YOU if record.target_kind == "reader" else NAMELESS
    if record.target_kind != "pronoun":
        return OTHER
    return YOU if _SECOND_PERSON & set(record.target.text.lower().split()) else PRONOUN


def _counted(
    name: str,
    hits: np.ndarray,
    flagged: Sequence[SentenceRoles],
    texts: Sequence[str | None],
    mentioned: int | None = None,
    flagged_mentions: int | None = None,
) -> GroupTargets:
    """The row of a group, of which targets of flagged sentences are hits."""
    number: dict[str | None, int] = {}
    copies = np.array([number.setdefault(texts[record.row], len(number)) for record in flagged], int)
    count = int(hits.sum())
    interval = share_interval(hits, copies if count else None) if len(flagged) else None
    found = len({record.row for record, hit in zip(flagged, hits, strict=True) if hit})
    share = count / len(flagged) if flagged else 0.0
    return GroupTargets(name, count, found, share, interval, mentioned, flagged_mentions)


def raising(records: Sequence[SentenceRoles], spans: Sequence[Span]) -> list[SentenceRoles]:
    """The sentences that raise the score of a text: those that add at least half of what the highest adds.

    Args:
        records: The sentences.
        spans: What each sentence of a score's record adds; a record may hold several, as after ``Mr.``.
    """
    if not spans:
        return list(records)
    highest = max(span.contribution for span in spans)
    strong = [span for span in spans if span.contribution >= (highest / 2 if highest > 0 else highest)]
    return [one for one in records if any(one.begin <= span.begin < one.end for span in strong)]


def text_lines(record: SentenceRoles, text: str) -> list[str]:
    """One sentence for people: the sentence, then agent, target and what is said, each in a line."""
    score = "" if record.score is None else f"{record.score:.2f} "
    return [score + _shown(text[record.begin : record.end]), *part_lines(record.to_dict())]


def part_lines(record: Mapping[str, Any]) -> list[str]:  # Any: JSON values
    """Agent, target, what is said and notes of a record as JSON values, each in a line."""
    lines = []
    for name in ("agent", "target", "said"):
        implied = "(who reads it)" if name == "target" and record["target_kind"] == "reader" else "-"
        lines.append(f"  {name + ':':<8}{_shown(record[name]['text']) if record[name] else implied}")
    return lines + [f"  {'note:':<8}{note}" for note in record["notes"]]


def report_lines(report: TargetReport) -> list[str]:
    """The report for people: aligned columns, and the caveats."""
    table = report.table()
    rows = [table.head, *table.rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(table.head))]
    lines = [
        f"{count_of(report.texts, 'text')}, {count_of(report.sentences, 'sentence')}, "
        f"{report.flagged:,} of them flagged, in {count_of(report.flagged_texts, 'text')}"
    ]
    if report.copies:
        lines.append(f"exact copies of earlier ones: {report.copies:,} of the flagged texts")
    if report.undetermined:
        lines.append(
            f"could not be judged: {count_of(report.undetermined, 'sentence')}, not counted as flagged"
        )
    lines += [f"not read: {count_of(count, 'text')} {reason}" for reason, count in report.unread.items()]
    for row in rows:
        cells = [
            row[0].ljust(widths[0]),
            *(cell.rjust(size) for cell, size in zip(row[1:], widths[1:], strict=True)),
        ]
        lines.append("  ".join(cells).rstrip())
    if report.unmentioned:
        lines.append(f"in no sentence: {', '.join(map(harmless, report.unmentioned))}")
    if report.top_targets:
        named = ", ".join(f"{harmless(word)} {count:,}" for word, count in report.top_targets)
        lines.append(f"most frequent among other: {named}")
    lines += [f"of the flagged sentences {count:,}: {note}" for note, count in report.notes.items()]
    return lines + [f"note: {caveat}" for caveat in report.caveats]


def _shown(text: str) -> str:
    return harmless(" ".join(text.split()))
