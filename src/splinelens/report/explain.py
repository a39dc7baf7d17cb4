"""Records of an explanation: what a detector relies on, and what held-out texts say of it; their tables."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from pydantic.dataclasses import dataclass as checked_dataclass

from splinelens.detect.ngram_halves import ExplainedNgram
from splinelens.detect.ngram_ranking import Contrast, Deletion
from splinelens.detect.word_counts import LEAST_WRONG, ConfusedWord, GroupWord
from splinelens.report.manifest_types import RECORD, Number
from splinelens.report.tables import Table, count_of, percent, percents
from splinelens.texts.function_words import function_words
from splinelens.texts.plain_text import harmless

FAITHFULNESS = ("contrast", "95 % interval", "deletion above random", "halves agree")
"""What ``faithfulness_cells`` gives."""

_NONE = "-"
_TOO_FEW = "too few"  # held-out texts for an interval
_STORED = 10  # n-grams and hyperplanes in a card
_CONFUSED = 5  # words of each kind in a card


@dataclass(frozen=True)
class Context:
    """An occurrence of an n-gram at which a hyperplane fires.

    Attributes:
        row: Row of the text in the corpus.
        before: The text before the word.
        word: The word.
        after: The text after it.
        margin: In standard deviations over all words.
    """

    row: int
    before: str
    word: str
    after: str
    margin: float


@dataclass(frozen=True)
class Faithfulness:
    """How well an explanation holds on texts that took no part in making it.

    Attributes:
        contrast: The pooled margin, in standard deviations over texts, of texts with one of the named n-grams
            beside texts about as long without any; of the detector its logit.
        deletion: Removing a named n-gram beside removing random words; None if no text holds one.
        stability: Share of the n-grams listed, at most ten, that both halves of the corpus name.
    """

    contrast: Contrast
    deletion: Deletion | None
    stability: float | None


@dataclass(frozen=True)
class GeneratedSentence:
    """A sentence that a language model wrote about the n-grams, scored as a name is.

    Attributes:
        text: The sentence.
        model: The model.
        words: Its words that occur in the corpus, function words left out.
        contrast: Held-out texts with one of these words beside texts without; None if it has none.
    """

    text: str
    model: str
    words: tuple[str, ...]
    contrast: Contrast | None


@dataclass(frozen=True)
class ExplainedHyperplane:
    """A hyperplane that carries a part of the detector.

    Attributes:
        hyperplane: Which, in words.
        pooling: How its margin goes over tokens: ``max``, ``min``, ``last`` or ``mean``. It fires where the
            margin is high, with ``min`` where it is low.
        raises: Whether firing raises the logit.
        share: Share of the variance of the logit over the corpus.
        name: By a template.
        named: The n-grams in the name.
        ngrams: Those it fires on, highest score first.
        contexts: Occurrences of the first of them.
        faithfulness: On held-out texts.
        sentence: Of a language model, if one was requested.
    """

    hyperplane: str
    pooling: str
    raises: bool
    share: float
    name: str
    named: tuple[str, ...]
    ngrams: tuple[ExplainedNgram, ...]
    contexts: tuple[Context, ...]
    faithfulness: Faithfulness
    sentence: GeneratedSentence | None = None


@dataclass(frozen=True)
class Group:
    """Some of the texts, and the words that move the logit most there.

    Attributes:
        name: What they have in common.
        texts: How many.
        flagged: How many of them are flagged.
        words: Those that raise the logit most per text.
    """

    name: str
    texts: int
    flagged: int
    words: tuple[GroupWord, ...]


@dataclass(frozen=True)
class ExplainedDetector:
    """The detector as a whole.

    Attributes:
        ngrams: Those that add most to the logit; none if it does not split over tokens.
        inseparable: Why it does not; None if it does.
        faithfulness: Of its n-grams; None without any. Its deletion removes the word with the largest
            contribution from flagged texts.
        groups: Words by group.
        false_positives: Words whose clean texts are flagged; None without labels.
        false_negatives: Words whose labeled texts are missed; None without labels.
        clean_flagged: Texts labeled as without the label that are flagged, and all of them; None without
            labels.
        missed: Texts with the label that are not flagged, and all of them; None without labels.
    """

    ngrams: tuple[ExplainedNgram, ...]
    inseparable: str | None
    faithfulness: Faithfulness | None
    groups: tuple[Group, ...]
    false_positives: tuple[ConfusedWord, ...] | None
    false_negatives: tuple[ConfusedWord, ...] | None
    clean_flagged: tuple[int, int] | None = None
    missed: tuple[int, int] | None = None


@dataclass(frozen=True)
class Explanation:
    """What a detector relies on, over a corpus.

    Attributes:
        detector: Its name.
        label: The label that is explained.
        negative: The other verdict.
        model: Name of the model.
        source: Where the texts are from.
        texts: Different texts that were read.
        naming: Texts that names were made from; the others are held out.
        left_out: Rows that were not used, by reason.
        flagged: Texts at or above the threshold.
        threshold: The score.
        whole: The detector as a whole.
        hyperplanes: Those that carry most, largest share first.
        pooled_otherwise: Share of the variance in columns that are no margins to hyperplanes.
        notes: What a reader must know.
        settings: Numbers that decided.
        provenance: Versions, model, hashes.
    """

    detector: str
    label: str
    negative: str
    model: str
    source: str
    texts: int
    naming: int
    left_out: dict[str, int]
    flagged: int
    threshold: float
    whole: ExplainedDetector
    hyperplanes: tuple[ExplainedHyperplane, ...]
    pooled_otherwise: float
    notes: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)  # Any: plain JSON values
    provenance: dict[str, Any] = field(default_factory=dict)  # Any: plain JSON values

    @property
    def carried(self) -> float:
        """Share of the variance that the hyperplanes carry together."""
        return sum(one.share for one in self.hyperplanes)

    @property
    def holding(self) -> int:
        """Hyperplanes whose name holds on held-out texts: the interval of its contrast is above 0."""
        return sum(one.faithfulness.contrast.holds is True for one in self.hyperplanes)

    @property
    def quoted(self) -> int:
        """Texts of which the contexts show a piece."""
        return len({context.row for one in self.hyperplanes for context in one.contexts})

    @property
    def mean_stability(self) -> float | None:
        """Mean over the hyperplanes of the overlap of both halves; None without one."""
        overlaps = [one.faithfulness.stability for one in self.hyperplanes]
        known = [overlap for overlap in overlaps if overlap is not None]
        return sum(known) / len(known) if known else None

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values."""
        sums = {"carried": self.carried, "holding": self.holding, "mean_stability": self.mean_stability}
        return dict(json.loads(json.dumps(asdict(self) | sums)))


def template_name(named: Sequence[str]) -> str:
    """The name of a hyperplane.

    Args:
        named: The n-grams that make it, as ``detect.ngram_halves.named`` chooses them.

    Example:
        >>> template_name(["fool", "goose", "toad"])
        'fires on: fool, goose, toad'
        >>> template_name([])
        'fires on no n-gram that enough texts hold'
    """
    return f"fires on: {', '.join(named)}" if named else "fires on no n-gram that enough texts hold"


def hyperplane_table(explanation: Explanation) -> Table:
    """A row a hyperplane: its share, name and what held-out texts say."""
    rows = [
        (
            one.hyperplane,
            one.pooling,
            "raises" if one.raises else "lowers",
            percent(one.share),
            one.name,
            *faithfulness_cells(one.faithfulness),
        )
        for one in explanation.hyperplanes
    ]
    head = ("hyperplane", "pooling", "logit", "share", "name", *FAITHFULNESS)
    return Table(head, rows)


def ngram_table(ngrams: Sequence[ExplainedNgram], unit: str) -> Table:
    """A row an n-gram."""
    rows = [
        (
            one.name + (" (function words)" if one.function_words else ""),
            f"{one.texts:,}",
            f"{one.mean:+.2f}",
            f"{one.held_out.texts:,}",
            *contrast_cells(one.held_out),
        )
        for one in ngrams
    ]
    return Table(("n-gram", "texts", unit, "held out", "contrast", "95 % interval"), rows)


def group_table(group: Group) -> Table:
    """A row a word."""
    rows = [(one.name, f"{one.texts:,}", f"{one.mean:+.2f}", f"{one.per_text:+.3f}") for one in group.words]
    return Table(("word", "texts with it", "adds there", "adds per text"), rows)


def confusion_table(words: Sequence[ConfusedWord], wrong: str) -> Table:
    """A row a word; ``wrong`` is "flagged" or "missed"."""
    rows = [
        (one.name, f"{one.wrong:,} of {one.texts:,}", percent(one.wrong / one.texts), percents(one.interval))
        for one in words
    ]
    return Table(("word", f"held-out texts {wrong}", "share", "95 % interval"), rows)


def faithfulness_cells(faithfulness: Faithfulness) -> tuple[str, ...]:
    """Contrast, its interval, deletion and stability as cells.

    Example:
        >>> faithfulness_cells(Faithfulness(Contrast(9, 1.5, (1.0, 2.0)), None, 0.7))
        ('+1.50', '+1.00 to +2.00', '-', '70 %')
    """
    deletion, stability = faithfulness.deletion, faithfulness.stability
    larger = _NONE if deletion is None else f"{percent(deletion.larger)} of {deletion.texts:,}"
    return (
        *contrast_cells(faithfulness.contrast),
        larger,
        _NONE if stability is None else percent(stability),
    )


def contrast_cells(contrast: Contrast) -> tuple[str, str]:
    """The difference and its interval as cells.

    Example:
        >>> contrast_cells(Contrast(0, None, None))
        ('-', 'too few')
    """
    interval = contrast.interval
    return (
        _NONE if contrast.difference is None else f"{contrast.difference:+.2f}",
        _TOO_FEW if interval is None else f"{interval[0]:+.2f} to {interval[1]:+.2f}",
    )


def summary_lines(explanation: Explanation) -> list[str]:
    """What the explanation amounts to, for a page and a terminal."""
    lines = [
        f"{count_of(explanation.texts, 'text')}, {explanation.flagged:,} of them flagged as "
        f"{explanation.label}; names are made from {explanation.naming:,} and checked on the other "
        f"{explanation.texts - explanation.naming:,}"
    ]
    if explanation.hyperplanes:
        line = (
            f"{count_of(len(explanation.hyperplanes), 'hyperplane')} carry {percent(explanation.carried)} of "
            f"the variance of the logit; the names of {explanation.holding} hold on held-out texts"
        )
        if explanation.mean_stability is not None:
            line += (
                f", and halves of the corpus agree on {percent(explanation.mean_stability)} of the n-grams"
            )
        lines.append(line)
    faithfulness = explanation.whole.faithfulness
    if faithfulness is not None and faithfulness.deletion is not None:
        deletion = faithfulness.deletion
        lines.append(
            f"Removing the word that adds most lowers the logit more than a random word in "
            f"{percent(deletion.larger)} of {deletion.texts:,} held-out flagged texts "
            f"({deletion.drop:.2f} against {deletion.random_drop:.2f})"
        )
    return lines


def confusions(explanation: Explanation) -> list[tuple[str, Table | None]]:
    """Of clean texts that are flagged and of labeled ones that are missed a line, and the words if any.

    Empty without labels.
    """
    whole = explanation.whole
    found: list[tuple[str, Table | None]] = []
    for kind, wrong, counts, words in (
        (explanation.negative, "flagged", whole.clean_flagged, whole.false_positives),
        (explanation.label, "missed", whole.missed, whole.false_negatives),
    ):
        if counts is None:
            continue
        line = f"{kind} texts that are {wrong}: {counts[0]:,} of {counts[1]:,}"
        if words is None:
            line += "; words are not compared, as one half of the corpus holds no such text"
        elif not words:
            line += (
                f"; no word stands out: it needs {LEAST_WRONG} {wrong} texts in each half, and a share "
                f"clearly above that of all {kind} texts"
            )
        found.append((line, confusion_table(words, wrong) if words else None))
    return found


def left_out_lines(explanation: Explanation) -> list[str]:
    """Why rows were left out."""
    return [f"{count_of(count, 'row')} left out: {reason}" for reason, count in explanation.left_out.items()]


def text_lines(explanation: Explanation) -> list[str]:
    """The explanation for a terminal: what it amounts to, the words, the hyperplanes."""
    from splinelens.report.terminal import table_lines

    whole = explanation.whole
    lines = [*summary_lines(explanation), *explanation.notes, *left_out_lines(explanation)]
    tables = [("n-grams that raise the logit most", ngram_table(whole.ngrams, "adds"))]
    for group in whole.groups:
        title = f"{group.name}: {count_of(group.texts, 'text')}, {group.flagged:,} flagged"
        tables.append((title, group_table(group)))
    for title, table in tables:
        if table.rows:
            lines += ["", title, *table_lines(table)]
    for line, confused in confusions(explanation):
        lines += ["", line, *(table_lines(confused) if confused else ())]
    lines += ["", *table_lines(hyperplane_table(explanation))]
    sentences = [
        f"{one.hyperplane}: {sentence_line(one.sentence)}" for one in explanation.hyperplanes if one.sentence
    ]
    return [harmless(line) for line in ([*lines, "", *sentences] if sentences else lines)]


def sentence_line(sentence: GeneratedSentence) -> str:
    """A sentence marked as generated, with its contrast.

    Example:
        >>> compared = Contrast(9, 1.5, (1.0, 2.0))
        >>> sentence_line(GeneratedSentence("Insults such as fool.", "tiny", ("fool",), compared))
        '"Insults such as fool." (generated by tiny; texts with fool: contrast +1.50, +1.00 to +2.00)'
    """
    if sentence.contrast is None:
        measured = "none of its words occurs in the corpus, so nothing speaks for it"
    else:
        difference, interval = contrast_cells(sentence.contrast)
        measured = f"texts with {', '.join(sentence.words)}: contrast {difference}, {interval}"
    return f'"{sentence.text}" (generated by {sentence.model}; {measured})'


def masked(name: str) -> str:
    """Words of three letters and more, function words left out, without those between first and last.

    For cards, which people read who did not ask for these words.

    Example:
        >>> masked("you silly fool")
        'you s***y f**l'
    """
    return " ".join(
        word if len(word) < 3 or word in function_words() else word[0] + "*" * (len(word) - 2) + word[-1]
        for word in name.split(" ")
    )


@checked_dataclass(frozen=True, config=RECORD)
class StoredNgram:
    """An n-gram in a detector's manifest; the attributes are those of ``ExplainedNgram``."""

    name: str
    texts: int
    mean: Number


@checked_dataclass(frozen=True, config=RECORD)
class StoredHyperplane:
    """A hyperplane in a detector's manifest; the attributes are those of ``ExplainedHyperplane``.

    ``contrast`` is that of its name.
    """

    name: str
    hyperplane: str
    raises: bool
    share: Number
    contrast: Contrast


@checked_dataclass(frozen=True, config=RECORD)
class StoredExplanation:
    """What a detector's manifest keeps of an explanation, for its card.

    Attributes:
        label: The label that is explained.
        source: Where the texts are from.
        texts: Different texts that were read.
        explained: Hyperplanes that were explained; ``hyperplanes`` holds the first of them.
        carried: Share of the variance that these carry together.
        holding: Those whose name holds.
        stability: Share of the first ten n-grams of the detector that both halves name.
        deletion: Of the word that adds most.
        false_positives: Words whose clean texts are flagged, with counts; None without labels.
        false_negatives: Words whose labeled texts are missed, with counts; None without labels.
        words: N-grams that add most to the logit.
        hyperplanes: Those that carry most.
    """

    label: str
    source: str
    texts: int
    explained: int
    carried: Number
    holding: int
    stability: Number | None
    deletion: Deletion | None
    false_positives: list[str] | None
    false_negatives: list[str] | None
    words: list[StoredNgram]
    hyperplanes: list[StoredHyperplane]

    @classmethod
    def of(cls, explanation: Explanation, spelled: Callable[[str], str] = str) -> "StoredExplanation":
        """What is kept of an explanation.

        Args:
            explanation: The explanation.
            spelled: How words are written; a card that others read may use ``masked``.
        """
        whole = explanation.whole
        faithfulness = whole.faithfulness

        def confused(words: Sequence[ConfusedWord] | None) -> list[str] | None:
            if words is None:
                return None
            return [f"{spelled(one.name)} ({one.wrong} of {one.texts})" for one in words[:_CONFUSED]]

        return cls(
            label=explanation.label,
            source=explanation.source,
            texts=explanation.texts,
            explained=len(explanation.hyperplanes),
            carried=explanation.carried,
            holding=explanation.holding,
            stability=None if faithfulness is None else faithfulness.stability,
            deletion=None if faithfulness is None else faithfulness.deletion,
            false_positives=confused(whole.false_positives),
            false_negatives=confused(whole.false_negatives),
            words=[StoredNgram(spelled(one.name), one.texts, one.mean) for one in whole.ngrams[:_STORED]],
            hyperplanes=[
                StoredHyperplane(
                    name=template_name([spelled(ngram) for ngram in one.named]),
                    hyperplane=one.hyperplane,
                    raises=one.raises,
                    share=one.share,
                    contrast=one.faithfulness.contrast,
                )
                for one in explanation.hyperplanes[:_STORED]
            ],
        )


def explained_lines(stored: StoredExplanation) -> list[str]:
    """What a card says of an explanation before its tables."""
    source = "a list" if stored.source == "list" else stored.source
    lines = [
        f"Measured by splinelens explain on {stored.texts:,} texts of {source}: names are made from "
        "one half and checked on the other.",
        f"The {count_of(stored.explained, 'hyperplane')} with the largest shares carry "
        f"{percent(stored.carried)} of the variance of the logit of {stored.label}; the names of "
        f"{stored.holding} hold on the other half.",
    ]
    if deletion := stored.deletion:
        lines.append(
            f"Removing the word that adds most lowers the logit more than removing a random one in "
            f"{percent(deletion.larger)} of {deletion.texts:,} flagged texts ({deletion.drop:.2f} "
            f"against {deletion.random_drop:.2f})."
        )
    if stored.stability is not None:
        lines.append(f"Both halves agree on {percent(stored.stability)} of the first ten n-grams.")
    for title, words in (("Flagged by mistake", stored.false_positives), ("Missed", stored.false_negatives)):
        if words:
            lines.append(f"{title} more often than others are texts with: {', '.join(words)}.")
    return lines


def explained_words(stored: StoredExplanation) -> Table:
    """The n-grams that a card lists."""
    rows = [(one.name, f"{one.texts:,}", f"{one.mean:+.2f}") for one in stored.words]
    return Table(("n-gram", "texts", "adds to the logit"), rows)


def explained_hyperplanes(stored: StoredExplanation) -> Table:
    """The hyperplanes that a card lists."""
    rows = [
        (
            one.name,
            one.hyperplane,
            "raises" if one.raises else "lowers",
            percent(one.share),
            *contrast_cells(one.contrast),
        )
        for one in stored.hyperplanes
    ]
    return Table(("name", "hyperplane", "logit", "share", "contrast, held out", "95 % interval"), rows)
