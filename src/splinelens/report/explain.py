"""What a detector relies on, in words, and what held-out texts say of each of them."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from splinelens.detect.ngram_ranking import Contrast, Deletion
from splinelens.detect.thresholds import Interval
from splinelens.report.tables import Table, count_of, percent, percents

NAMED = 3
"""N-grams in a name."""

_NONE = "-"
_STORED = 10  # n-grams and hyperplanes in a card


@dataclass(frozen=True)
class ExplainedNgram:
    """An n-gram that a hyperplane, or the detector, goes with.

    Attributes:
        name: Its words.
        texts: Texts of the naming half that hold it.
        mean: Mean at its last word over these: of a hyperplane the margin in standard deviations over all
            words, of the detector what the word adds to the logit.
        score: The mean, pulled towards that of its last words; the ranking follows it.
        function_words: Whether all its words are function words, such as "of the".
        held_out: Texts of the other half with and without it.
    """

    name: str
    texts: int
    mean: float
    score: float
    function_words: bool
    held_out: Contrast


@dataclass(frozen=True)
class Context:
    """A place where a hyperplane fires.

    Attributes:
        row: Row of the text in the corpus.
        before: What stands before the word.
        word: The word.
        after: What stands after it.
        margin: In standard deviations over all words.
    """

    row: int
    before: str
    word: str
    after: str
    margin: float


@dataclass(frozen=True)
class Faithfulness:
    """How an explanation fares on texts that took no part in making it.

    Attributes:
        contrast: The pooled margin, in standard deviations over texts, of texts with one of the named n-grams
            beside texts about as long without any; of the detector its logit.
        deletion: Removing a named n-gram beside removing random words; None if no text holds one.
        stability: Share of the first ten n-grams that both halves of the corpus name.
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
        ngrams: Those it fires on, highest score first.
        contexts: Places where it fires.
        faithfulness: On held-out texts.
        sentence: Of a language model, if one was asked.
    """

    hyperplane: str
    pooling: str
    raises: bool
    share: float
    name: str
    ngrams: tuple[ExplainedNgram, ...]
    contexts: tuple[Context, ...]
    faithfulness: Faithfulness
    sentence: GeneratedSentence | None = None


@dataclass(frozen=True)
class GroupWord:
    """A word that moves the logit in a group of texts.

    Attributes:
        name: The word.
        texts: Texts of the group with it.
        mean: What it adds to the logit where it occurs, on average.
        per_text: What it adds on average over all texts of the group.
    """

    name: str
    texts: int
    mean: float
    per_text: float


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
class Confusion:
    """A word whose texts are often judged wrongly: found in one half of the corpus, counted in the other.

    Attributes:
        name: The word.
        wrong: Held-out texts with it that are wrong.
        texts: Held-out texts with it of that class.
        interval: 95 % interval of their share.
    """

    name: str
    wrong: int
    texts: int
    interval: Interval


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
    """

    ngrams: tuple[ExplainedNgram, ...]
    inseparable: str | None
    faithfulness: Faithfulness | None
    groups: tuple[Group, ...]
    false_positives: tuple[Confusion, ...] | None
    false_negatives: tuple[Confusion, ...] | None


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
    def mean_stability(self) -> float | None:
        """Mean over the hyperplanes of the overlap of both halves; None without one."""
        known = [one.faithfulness.stability for one in self.hyperplanes]
        found = [share for share in known if share is not None]
        return sum(found) / len(found) if found else None

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As JSON values."""
        sums = {"carried": self.carried, "holding": self.holding, "mean_stability": self.mean_stability}
        return dict(json.loads(json.dumps(asdict(self) | sums)))


def template_name(ngrams: Sequence[str]) -> str:
    """The name of a hyperplane: its first n-grams, without those that hold one of these.

    Example:
        >>> template_name(["fool", "you fool", "goose", "silly goose", "toad", "newt"])
        'fires on: fool, goose, toad'
        >>> template_name([])
        'fires on no n-gram that enough texts hold'
    """
    chosen = named(ngrams)
    return f"fires on: {', '.join(chosen)}" if chosen else "fires on no n-gram that enough texts hold"


def named(ngrams: Sequence[str], most: int = NAMED) -> list[str]:
    """The n-grams that make a name.

    Example:
        >>> named(["you fool", "fool", "goose"], 2)
        ['you fool', 'goose']
    """
    chosen: list[str] = []
    for name in ngrams:
        words = set(name.split(" "))
        related = (words <= set(one.split(" ")) or set(one.split(" ")) <= words for one in chosen)
        if len(chosen) < most and not any(related):
            chosen.append(name)
    return chosen


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
    head = ("hyperplane", "pooling", "logit", "share", "name", *_FAITHFULNESS)
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


def confusion_table(confusions: Sequence[Confusion], wrong: str) -> Table:
    """A row a word."""
    rows = [
        (one.name, f"{one.wrong:,} of {one.texts:,}", percent(one.wrong / one.texts), percents(one.interval))
        for one in confusions
    ]
    return Table(("word", f"held-out texts {wrong}", "share", "95 % interval"), rows)


_FAITHFULNESS = ("contrast", "95 % interval", "deletion above random", "halves agree")


def faithfulness_cells(found: Faithfulness) -> tuple[str, ...]:
    """Contrast, its interval, deletion and stability as cells.

    Example:
        >>> faithfulness_cells(Faithfulness(Contrast(9, 1.5, (1.0, 2.0)), None, 0.7))
        ('+1.50', '+1.00 to +2.00', '-', '70 %')
    """
    deletion = found.deletion
    larger = _NONE if deletion is None else f"{percent(deletion.larger)} of {deletion.texts:,}"
    return (
        *contrast_cells(found.contrast),
        larger,
        _NONE if found.stability is None else percent(found.stability),
    )


def contrast_cells(found: Contrast) -> tuple[str, str]:
    """The difference and its interval as cells."""
    return (
        _NONE if found.difference is None else f"{found.difference:+.2f}",
        _NONE if found.interval is None else f"{found.interval[0]:+.2f} to {found.interval[1]:+.2f}",
    )


def summary_lines(explanation: Explanation) -> list[str]:
    """What the explanation amounts to, for a page and a terminal."""
    lines = [
        f"{count_of(explanation.texts, 'text')}, {explanation.flagged:,} of them {explanation.label}; names "
        f"are made from {explanation.naming:,} and checked on the other "
        f"{explanation.texts - explanation.naming:,}"
    ]
    planes = explanation.hyperplanes
    if planes:
        line = (
            f"{count_of(len(planes), 'hyperplane')} carry {percent(explanation.carried)} of the variance of "
            f"the logit; the names of {explanation.holding} hold on held-out texts"
        )
        if explanation.mean_stability is not None:
            line += (
                f", and halves of the corpus agree on {percent(explanation.mean_stability)} of the n-grams"
            )
        lines.append(line)
    faithful = explanation.whole.faithfulness
    if faithful is not None and faithful.deletion is not None:
        found = faithful.deletion
        lines.append(
            f"Removing the word that adds most lowers the logit more than a random word in "
            f"{percent(found.larger)} of {found.texts:,} held-out flagged texts "
            f"({found.drop:.2f} against {found.random_drop:.2f})"
        )
    return lines


def left_out_lines(explanation: Explanation) -> list[str]:
    """Why rows were left out."""
    return [f"{count_of(count, 'row')} left out: {reason}" for reason, count in explanation.left_out.items()]


def card_record(
    explanation: Explanation, spelled: Callable[[str], str] = str
) -> dict[str, Any]:  # Any: plain JSON values
    """What a detector's card keeps of its explanation.

    Args:
        explanation: The explanation.
        spelled: How words are written; a card that others read may mask them.
    """
    whole, stored = explanation.whole, _STORED
    faithful = whole.faithfulness
    removed = None if faithful is None else faithful.deletion
    return {
        "label": explanation.label,
        "source": explanation.source,
        "texts": explanation.texts,
        "carried": explanation.carried,
        "planes": len(explanation.hyperplanes),
        "holding": explanation.holding,
        "stability": None if faithful is None else faithful.stability,
        "deletion": None
        if removed is None
        else {name: getattr(removed, name) for name in ("texts", "larger", "drop", "random_drop")},
        "false_positives": _confused(whole.false_positives, spelled),
        "false_negatives": _confused(whole.false_negatives, spelled),
        "words": [
            {"name": spelled(one.name), "texts": one.texts, "mean": one.mean} for one in whole.ngrams[:stored]
        ],
        "hyperplanes": [
            {
                "name": template_name([spelled(ngram.name) for ngram in one.ngrams]),
                "hyperplane": one.hyperplane,
                "raises": one.raises,
                "share": one.share,
                "contrast": one.faithfulness.contrast.difference,
                "interval": one.faithfulness.contrast.interval,
            }
            for one in explanation.hyperplanes[:stored]
        ],
    }


def explained_lines(record: Mapping[str, Any]) -> list[str]:  # Any: as ``card_record`` gives it
    """What a card says of an explanation before its tables."""
    lines = [
        f"Measured by splinelens explain on {record['texts']:,} texts of {record['source']}: half of them "
        "name, the other half checks.",
        f"The {count_of(record['planes'], 'hyperplane')} with the largest shares carry "
        f"{percent(record['carried'])} of the variance of the logit of {record['label']}; the names of "
        f"{record['holding']} hold on the other half.",
    ]
    if removed := record["deletion"]:
        lines.append(
            f"Removing the word that adds most lowers the logit more than removing a random one in "
            f"{percent(removed['larger'])} of {removed['texts']:,} flagged texts ({removed['drop']:.2f} "
            f"against {removed['random_drop']:.2f})."
        )
    if record["stability"] is not None:
        lines.append(f"Both halves agree on {percent(record['stability'])} of the first ten n-grams.")
    for title, found in (("Flagged by mistake", "false_positives"), ("Missed", "false_negatives")):
        if record[found]:
            lines.append(f"{title} more often than others are texts with: {', '.join(record[found])}.")
    return lines


def explained_words(record: Mapping[str, Any]) -> Table:  # Any: as above
    """The n-grams that a card lists."""
    rows = [(one["name"], f"{one['texts']:,}", f"{one['mean']:+.2f}") for one in record["words"]]
    return Table(("n-gram", "texts", "adds to the logit"), rows)


def explained_hyperplanes(record: Mapping[str, Any]) -> Table:  # Any: as above
    """The hyperplanes that a card lists."""
    rows = [
        (
            one["name"],
            one["hyperplane"],
            "raises" if one["raises"] else "lowers",
            percent(one["share"]),
            *contrast_cells(Contrast(0, one["contrast"], one["interval"] and tuple(one["interval"]))),
        )
        for one in record["hyperplanes"]
    ]
    return Table(("name", "hyperplane", "logit", "share", "contrast, held out", "95 % interval"), rows)


def _confused(found: Sequence[Confusion] | None, spelled: Callable[[str], str]) -> list[str] | None:
    """The words that are confused more often than by chance, by their intervals; None without labels."""
    return (
        None if found is None else [f"{spelled(one.name)} ({one.wrong} of {one.texts})" for one in found[:5]]
    )


def masked(name: str) -> str:
    """Words of four letters and more without those between the first and the last.

    Example:
        >>> masked("you silly fool")
        'you s***y f**l'
    """
    return " ".join(
        word[0] + "*" * (len(word) - 2) + word[-1] if len(word) > 3 else word for word in name.split(" ")
    )


def text_lines(explanation: Explanation) -> list[str]:
    """The explanation for a terminal: what it amounts to, the words, the hyperplanes."""
    from splinelens.report.terminal import table_lines

    whole = explanation.whole
    lines = [*summary_lines(explanation), *explanation.notes, *left_out_lines(explanation)]
    if whole.ngrams:
        lines += ["", "n-grams that raise the logit most", *table_lines(ngram_table(whole.ngrams, "adds"))]
    for title, found, wrong in (
        (f"words of {explanation.negative} texts that are flagged", whole.false_positives, "flagged"),
        (f"words of {explanation.label} texts that are missed", whole.false_negatives, "missed"),
    ):
        if found:
            lines += ["", title, *table_lines(confusion_table(found, wrong))]
    return [*lines, "", *table_lines(hyperplane_table(explanation))]
