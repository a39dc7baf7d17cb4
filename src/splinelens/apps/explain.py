"""Say in words what a detector relies on, and measure whether that is so on texts it was not said from.

A detector is a linear head on pooled margins. Each hyperplane carries a share of the variance of its logit
over the corpus; for those with the largest shares the n-grams are ranked by the margin at their last word.
One half of the corpus makes the names, the other half checks them. Source: arXiv:2402.01761.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from splinelens.anatomy import anatomy_of
from splinelens.apps.detector import Detector
from splinelens.detect.ngram_ranking import (
    Contrast,
    Deletion,
    NgramRanking,
    contrast,
    deletion,
    overlap,
    rank_ngrams,
)
from splinelens.detect.pooled_shapley import shapley_of_words, strong_words
from splinelens.detect.shipped import find_artifact, shipped
from splinelens.detect.variance_shares import VarianceShares
from splinelens.detect.word_counts import confused_words, words_of_group
from splinelens.detect.word_head import FILES, WordHead, word_columns
from splinelens.errors import BadDetector, BadFeatures, BadLabels, BadTexts, NotExplainable, WrongModel
from splinelens.features.extract import provenance
from splinelens.features.reader import Progress, TextFeatures
from splinelens.features.token_margins import Hyperplane, highest_of_words, token_margins
from splinelens.features.validation import check_layer, check_positive, check_seed
from splinelens.features.word_ngrams import WordNgrams, word_ngrams
from splinelens.files import write_text
from splinelens.generate.names import sentence_about
from splinelens.generate.sample import Writer
from splinelens.report.card import card
from splinelens.report.explain import (
    Confusion,
    Context,
    ExplainedDetector,
    ExplainedHyperplane,
    ExplainedNgram,
    Explanation,
    Faithfulness,
    GeneratedSentence,
    Group,
    GroupWord,
    card_record,
    named,
    template_name,
)
from splinelens.report.scores import Span, TextScore
from splinelens.report.spans import core, word_of_token, words
from splinelens.texts import Texts
from splinelens.texts.plain_text import harmless
from splinelens.texts.removal import places, without
from splinelens.texts.stop_words import stop_words

LEAST_TEXTS = 20
"""Different texts that a corpus needs: ten to make names from, ten to check them on."""

_NGRAMS = 20
_STABLE = 10
_DELETED, _DELETED_WHOLE = 25, 400  # held-out texts that are read without a word: of a hyperplane, in all
_CONTEXTS, _AROUND = 6, 60  # places, and characters beside the word
_LISTED = 10  # words of a group, and words that are confused
_MOST_GROUPS = 12
_FEW_FUNCTION_WORDS = 0.1
_KEPT_BYTES = 2**30  # of learned margins; where they exceed it texts are read twice
_POOLINGS = ("max", "min", "last", "mean")

Bounds = tuple[int, int]


def explain(
    detector: Detector | str | PathLike[str],
    texts: Texts | Iterable[str | None],
    labels: np.ndarray | None = None,
    *,
    label: str | None = None,
    groups: Mapping[str, np.ndarray] | None = None,
    layer: int | None = None,
    top: int = 20,
    fpr: float = 0.05,
    sentences: Writer | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Explanation:
    """Name the hyperplanes that carry a detector, and say which words it relies on and which it confuses.

    Every text is read once, and a second time for the margins of its tokens where these are not of learned
    hyperplanes or would fill the memory. Some held-out texts are read again without a word. Texts that are
    equal count once.

    Args:
        detector: A detector that runs PyTorch, or the name or folder of one.
        texts: A corpus of at least 20 different texts, of the kind that the detector is for.
        labels: (text,) 0 or 1, NaN where it is not known: whether the text has the label. They say which
            words are confused.
        label: Which label of a detector of several; None takes the first.
        groups: For each name (text,) booleans: words are also listed by group. None takes the labels, or
            without labels whether a text is flagged.
        layer: Only hyperplanes that read this layer.
        top: How many hyperplanes.
        fpr: The false-positive rate whose threshold flags a text, one of those that the detector stores.
        sentences: Lets this language model write a sentence about the n-grams of each hyperplane.
        seed: Of the halves and of the random words.
        progress: Called with the texts and the characters read since the last call, of the first reading.

    Raises:
        BadTexts: Fewer than 20 different texts can be read, or all have the same score.
        BadLabels: Not one label a text, or another value than 0, 1 and NaN.
        BadFeatures: ``top`` is not positive, ``layer`` is not read, the seed cannot be, or the detector runs
            an exported graph.
        BadDetector: No such label, or no threshold for ``fpr``.
        NotExplainable: The detector reads no margin to a hyperplane.

    Example:
        >>> found = explain("toxicity-fast", texts)  # doctest: +SKIP
        >>> found.hyperplanes[0].name  # doctest: +SKIP
        'fires on: fool, goose, toad'
    """
    top, seed = check_positive(top, "top"), check_seed(seed)
    source = Texts.of(texts)
    known = None if labels is None else _checked_labels(labels, len(source))
    if not isinstance(detector, Detector):
        detector = Detector.load(detector, engine="torch")
    detector = detector.single_label(detector.artifact.labels[0] if label is None else label)
    artifact = detector.artifact
    units, notes = _units(detector, layer)
    corpus = _read(detector, source, fpr, seed, progress)
    units = sorted(units, key=lambda unit: (-corpus.shares[unit.column], unit.column))[:top]
    ngrams = _Ngrams.of(corpus)
    found = [_Found.of(ngrams, by_word, by_text) for by_word, by_text in _margins(detector, corpus, units)]
    whole = None if artifact.inseparable else _Found.of(ngrams, corpus.contributions, corpus.logit)
    removed = _Removed(detector, corpus, seed)
    drops = [removed.ngrams(named(one.names), unit.raises) for one, unit in zip(found, units, strict=True)]
    drop = None if whole is None else removed.top_words()
    removed.read()
    known_of = None if known is None else known[corpus.rows]
    margins = [unit.column for unit in _all_units(detector)]
    return Explanation(
        detector=artifact.name,
        label=artifact.labels[0],
        negative=artifact.negative,
        model=str(detector.reader.loaded.name),
        source=source.source,
        texts=len(corpus.texts),
        naming=int(corpus.naming.sum()),
        left_out=corpus.left_out,
        flagged=int(corpus.flagged.sum()),
        threshold=artifact.thresholds_at(fpr)[0],
        whole=ExplainedDetector(
            ngrams=() if whole is None else whole.explained,
            inseparable=artifact.inseparable,
            faithfulness=None
            if whole is None or drop is None
            else whole.faithfulness(removed.deletion(drop)),
            groups=()
            if whole is None
            else _groups(artifact.labels[0], artifact.negative, corpus, known_of, groups),
            false_positives=None
            if known_of is None
            else _confused(corpus, ngrams, known_of == 0, corpus.flagged),
            false_negatives=None
            if known_of is None
            else _confused(corpus, ngrams, known_of == 1, ~corpus.flagged),
        ),
        hyperplanes=tuple(
            _hyperplane(corpus, ngrams, unit, one, removed.deletion(asked), sentences)
            for unit, one, asked in zip(units, found, drops, strict=True)
        ),
        pooled_otherwise=float(1 - corpus.shares[margins].sum()),
        notes=(*notes, *_notes(corpus, artifact.training.get("languages", ()))),
        settings={"layer": layer, "top": top, "fpr": fpr, "seed": seed, "least_texts": ngrams.least},
        provenance=provenance(detector.reader, source) | {"detector": artifact.digest},
    )


def store_explanation(
    folder: str | PathLike[str], explanation: Explanation, spelled: Callable[[str], str] = str
) -> None:
    """Put the main findings into a detector's folder, and into its card.

    Args:
        folder: A detector.
        explanation: Of that detector.
        spelled: How the card writes words, such as ``report.explain.masked``.

    Raises:
        WrongModel: The explanation is of another detector.
        BrokenArtifact: The folder holds no detector that can be read.
        CannotWrite: The disk is full or the folder may not be written.
    """
    path = Path(folder).expanduser()
    artifact = find_artifact(path)
    parts = {artifact.digest, *(artifact.single_label(label).digest for label in artifact.labels)}
    if explanation.provenance.get("detector") not in parts:
        raise WrongModel(f"the explanation is not of the detector in {path}; explain that one")
    record = card_record(explanation, spelled)
    stored = replace(artifact, training={**artifact.training, "explained": record})
    stored.save(path)
    write_text(path / "CARD.md", card(stored), overwrite=True)


def explain_words(
    detector: Detector,
    texts: Texts | Iterable[str | None],
    *,
    head: WordHead | None = None,
    progress: Progress | None = None,
) -> Iterator["WordValues | None"]:
    """What each word of each text adds to the logit, shared among words that fire alike.

    A maximum over tokens comes from one token, so that ``score(..., explain=True)`` gives little to a second
    strong word. Here each word has its Shapley value (``detect.pooled_shapley``), which also splits the logit
    exactly.

    Args:
        detector: A detector of one label whose columns are learned margins only, run by PyTorch.
        texts: The texts.
        head: Says which words fire instead of the rule: one that was fitted to words that people marked
            (``benchmarks/word_head.py``).
        progress: Called with the texts and the characters read since the last call.

    Yields:
        The words of each text, in order; None of one that has no score.

    Raises:
        NotExplainable: The detector has other columns.
        BadDetector: It has several labels.
        WrongModel: The head belongs to another detector.

    Example:
        >>> detector = Detector.load("toxicity-fast", engine="torch")  # doctest: +SKIP
        >>> text = "You are a stupid fool."
        >>> next(explain_words(detector, [text], head=shipped_word_head(detector))).fires  # doctest: +SKIP
        array([False, False, False,  True,  True])
    """
    artifact, source = detector.artifact, Texts.of(texts)
    if artifact.task != "binary":
        raise BadDetector(f"detector {artifact.name} has several labels; take detector.single_label(...)")
    if not _learned_poolings(detector):
        raise NotExplainable(
            f"detector {artifact.name} reads {artifact.columns[0][0]}, and only learned margins are shared "
            "among words; score(..., explain=True) splits its logit, if it splits at all"
        )

    if head is not None and head.detector != artifact.digest:
        raise WrongModel(f"the word head belongs to another detector than {artifact.name}; give its own")

    def read(features: TextFeatures) -> WordValues | None:
        text = source.texts[features.index] or ""
        record = detector.judge(features, text)
        if record.score is None:
            return None
        of_text, values = _words_of(detector, features, text, record)
        ignored = np.array([key in stop_words() for key in of_text.keys], dtype=bool)
        if head is None or features.learned is None:
            return WordValues(record.verdict, of_text.bounds, values, strong_words(values, ignored))
        letters = np.array([end - begin for begin, end in of_text.bounds], dtype=int)
        columns = word_columns(features.learned, np.array(of_text.of_token), values, ignored, letters)
        return WordValues(
            record.verdict, of_text.bounds, values, head.marked(head.scores(columns, of_text.keys))
        )

    yield from detector.reader.map(read, source.texts, locate=True, progress=progress)


def shipped_word_head(detector: Detector) -> WordHead | None:
    """The word head that comes with a shipped detector; None if it has none.

    Raises:
        BrokenArtifact: Its files are damaged.
    """
    folder = shipped().get(detector.artifact.name)
    if folder is None or not (folder / FILES.manifest).is_file():
        return None
    head = WordHead.load(folder)
    return head if head.detector == detector.artifact.digest else None


@dataclass(frozen=True, eq=False)
class WordValues:
    """The words of one text.

    Attributes:
        verdict: Of the text, at the detector's threshold for a false-positive rate of 0.05.
        bounds: Character span of each word, without the punctuation around it.
        value: What each adds to the calibrated logit; together the logit without its constant.
        fires: Whether it has at least 0.45 of the largest value, and is no function word of English; or
            whether a word head marks it. Both take for granted that the text has the label: of a clean text
            they say which words come closest.
    """

    verdict: str
    bounds: tuple[Bounds, ...]
    value: Float[np.ndarray, " word"]
    fires: Bool[np.ndarray, " word"]

    def to_list(self) -> list[dict[str, Any]]:  # Any: plain JSON values
        """Of each word "begin", "end", "value" and "fires"."""
        return [
            {"begin": begin, "end": end, "value": value, "fires": fires}
            for (begin, end), value, fires in zip(
                self.bounds, self.value.tolist(), self.fires.tolist(), strict=True
            )
        ]


@dataclass(frozen=True)
class _Unit:
    """A column that is a margin to a hyperplane.

    Attributes:
        hyperplane: Which.
        pooling: How the margin goes over tokens.
        column: Index of the column.
        raises: Whether the logit rises where it fires.
    """

    hyperplane: Hyperplane
    pooling: str
    column: int
    raises: bool

    @property
    def sign(self) -> int:
        """-1 if it fires where its margin is low."""
        return -1 if self.pooling == "min" else 1


@dataclass(frozen=True, eq=False)
class _Words:
    """The words of one text.

    Attributes:
        keys: In lower case, without the punctuation around them.
        bounds: Character span of each.
        of_token: The word of each token that was read.
    """

    keys: tuple[str, ...]
    bounds: tuple[Bounds, ...]
    of_token: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class _Corpus:
    """The different texts that were read.

    Attributes:
        rows: Row of each in the corpus.
        texts: The texts.
        words: Their words.
        start: Index of the first word of each among the words of all.
        contributions: What each word of all texts adds to the logit; 0 if the detector does not split.
        logit: The calibrated logit of each text, without the offset by length.
        flagged: Whether it is at or above the threshold.
        tokens: Its length.
        naming: Whether names are made from it; the others are held out.
        left_out: Rows that were not used, by reason.
        shares: Share of the variance of each column of the head.
        learned: For each text (token, direction) learned margins; None without any, or with too many.
    """

    rows: Int[np.ndarray, " text"]
    texts: tuple[str, ...]
    words: tuple[_Words, ...]
    start: Int[np.ndarray, " text"]
    contributions: Float[np.ndarray, " word"]
    logit: Float[np.ndarray, " text"]
    flagged: Bool[np.ndarray, " text"]
    tokens: Int[np.ndarray, " text"]
    naming: Bool[np.ndarray, " text"]
    left_out: dict[str, int]
    shares: Float[np.ndarray, " column"]
    learned: list[np.ndarray] | None


def _checked_labels(labels: np.ndarray, rows: int) -> Float[np.ndarray, " text"]:
    known = np.asarray(labels, dtype=float)
    if known.shape != (rows,) or not (np.isnan(known) | (known == 0) | (known == 1)).all():
        raise BadLabels(f"labels of shape {known.shape} for {rows} texts: give one 0, 1 or NaN a text")
    return known


def _all_units(detector: Detector) -> list[_Unit]:
    """The columns that are margins to hyperplanes."""
    slope = detector.artifact.head.weight[0] / detector.artifact.head.scale
    units, start = [], 0
    for column in detector.reader.columns:
        if column.statistic.feature in ("margins", "directions"):
            for index in range(column.size):
                plane = Hyperplane(-1 if column.layer is None else column.layer, index)
                pooling = column.statistic.pooling
                raises = bool((slope[start + index] > 0) != (pooling == "min"))
                units.append(_Unit(plane, pooling, start + index, raises))
        start += column.size
    return units


def _units(detector: Detector, layer: int | None) -> tuple[list[_Unit], list[str]]:
    """The columns to explain, and what is to be said about the others."""
    artifact, reader = detector.artifact, detector.reader
    units, notes = _all_units(detector), []
    if not units:
        raise NotExplainable(
            f"detector {artifact.name} cannot be explained by hyperplanes: it reads {artifact.columns[0][0]} "
            "and no margin to one; its numbers are means and counts over tokens, which no word carries"
        )
    anatomy = anatomy_of(reader.torch_engine.model)
    experts = {unit.hyperplane.layer for unit in units} & {*anatomy.expert_layers}
    if experts:
        units = [unit for unit in units if unit.hyperplane.layer not in experts]
        notes.append(
            f"Layers {', '.join(map(str, sorted(experts)))} hold experts, and a token has margins to those "
            "of its own experts only: their hyperplanes are not explained."
        )
    if artifact.inseparable:
        notes.append(
            f"The logit does not split over tokens: {artifact.inseparable}. Hyperplanes are explained, words "
            "have no contribution."
        )
    if layer is not None:
        units = _at_layer(detector, units, check_layer(layer))
    if not units:
        raise NotExplainable(f"detector {artifact.name} has no hyperplane to explain: {' '.join(notes)}")
    return units, notes


def _at_layer(detector: Detector, units: Sequence[_Unit], layer: int) -> list[_Unit]:
    """The columns of hyperplanes that read a layer."""
    reader, directions = detector.reader, detector.artifact.directions
    learned = np.zeros(0, dtype=int)
    if directions is not None and layer in reader.layers:
        learned = np.flatnonzero(directions.layers_read[:, reader.layers.index(layer)])
    chosen = {Hyperplane(-1, int(index)) for index in learned}
    found = [unit for unit in units if unit.hyperplane.layer == layer or unit.hyperplane in chosen]
    if not found:
        read = ", ".join(map(str, reader.layers))
        raise BadFeatures(
            f"detector {detector.artifact.name} reads no hyperplane at layer {layer}; it reads layers {read}"
        )
    return found


def _read(detector: Detector, source: Texts, fpr: float, seed: int, progress: Progress | None) -> _Corpus:
    """Score the different texts, and split each into words."""
    artifact = detector.artifact
    first: dict[str | None, int] = {}
    for row, text in enumerate(source.texts):
        first.setdefault(text, row)
    left_out: Counter[str] = Counter()
    if repeated := len(source) - len(first):
        left_out["it repeats another row"] = repeated
    gathered, slope = VarianceShares(artifact.head), artifact.calibrations[0].slope
    distinct = list(first)
    learned: dict[int, np.ndarray] = {}
    kept = 0

    def read(features: TextFeatures) -> tuple[int, float, bool, int, _Words, np.ndarray] | str:
        nonlocal kept
        text, row = distinct[features.index] or "", first[distinct[features.index]]
        reason = source.broken.get(row, features.reason)
        record = detector.judge(
            replace(features, reason=reason), text, explain=not artifact.inseparable, fpr=fpr
        )
        if record.score is None:
            return record.reason or "has no score"
        of_text, added = _words_of(detector, features, text, record)
        if features.learned is not None and kept < _KEPT_BYTES:
            learned[row] = features.learned.copy()
            kept += learned[row].nbytes
        return (
            row,
            slope * gathered.add(features.values),
            record.verdict == artifact.labels[0],
            features.tokens,
            of_text,
            added,
        )

    locate = not artifact.inseparable or artifact.directions is not None
    results = detector.reader.map(read, distinct, locate=locate, progress=progress)
    rows = []
    for result in results:
        if isinstance(result, str):
            left_out[result] += 1
        else:
            rows.append(result)
    if len(rows) < LEAST_TEXTS:
        raise BadTexts(
            f"{source.source}: an explanation needs at least {LEAST_TEXTS} different texts that can be read, "
            f"half of them to check it on, and there are {len(rows)}; give a larger corpus"
        )
    naming = np.zeros(len(rows), dtype=bool)
    naming[np.random.default_rng(seed).permutation(len(rows))[: (len(rows) + 1) // 2]] = True
    numbers, logits, flagged, tokens, of_texts, contributions = zip(*rows, strict=True)
    return _Corpus(
        rows=np.array(numbers),
        texts=tuple(source.texts[row] or "" for row in numbers),
        words=of_texts,
        start=np.cumsum([0, *(len(one.keys) for one in of_texts[:-1])]),
        contributions=np.concatenate(contributions),
        logit=np.array(logits),
        flagged=np.array(flagged),
        tokens=np.array(tokens),
        naming=naming,
        left_out=dict(left_out.most_common()),
        shares=gathered.shares(),
        learned=[learned[row] for row in numbers] if len(learned) == len(rows) else None,
    )


def _words_of(
    detector: Detector, features: TextFeatures, text: str, record: TextScore
) -> tuple[_Words, Float[np.ndarray, " word"]]:
    """The words of a text, and what each adds to the calibrated logit.

    Of learned margins that is its Shapley value; else what its tokens give, 0 if the logit does not split.
    """
    spans = record.spans or tuple(Span(*bounds, 0.0) for bounds in features.offsets)
    whole = words(text, spans)
    bounds = tuple(core(text, word) for word in whole)
    of_token = word_of_token(text, features.offsets, whole)
    of_text = _Words(tuple(text[begin:end].lower() for begin, end in bounds), bounds, tuple(of_token))
    poolings = _learned_poolings(detector)
    if features.learned is None or not poolings:
        return of_text, np.array([word.contribution for word in whole])
    head, slope = detector.artifact.head, detector.artifact.calibrations[0].slope
    values = shapley_of_words(features.learned, np.array(of_token), len(whole), head, poolings)
    return of_text, slope * values


def _learned_poolings(detector: Detector) -> list[str]:
    """How its learned margins are pooled, in the order of its columns; none if it reads other columns."""
    statistics = [column.statistic for column in detector.reader.columns]
    if any(statistic.needs != "inputs" for statistic in statistics):
        return []
    return [statistic.pooling for statistic in statistics]


def _margins(
    detector: Detector, corpus: _Corpus, units: Sequence[_Unit]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each column the margins of the words of all texts and the pooled ones, both in standard deviations.

    The sign is such that high is where it fires. A word has the margin of its token that fires most.
    """
    planes = sorted({unit.hyperplane for unit in units})
    columns = [planes.index(unit.hyperplane) for unit in units]
    signs = np.array([unit.sign for unit in units], dtype=np.float32)
    by_word = np.empty((len(corpus.contributions), len(units)), np.float32)
    by_text = np.empty((len(corpus.texts), len(units)), np.float32)
    read = _read_again(detector, corpus, planes)
    for text, (margins, of_text) in enumerate(zip(read, corpus.words, strict=True)):
        values, start = margins[:, columns] * signs, corpus.start[text]
        size = len(of_text.keys)
        by_word[start : start + size] = highest_of_words(values, np.array(of_text.of_token), size)
        pooled = {"last": values[-1], "mean": values.mean(axis=0)}
        by_text[text] = [pooled.get(unit.pooling, values.max(axis=0))[at] for at, unit in enumerate(units)]
    for at in range(len(units)):
        yield _standardized(by_word[:, at]), _standardized(by_text[:, at])


def _read_again(
    detector: Detector, corpus: _Corpus, planes: Sequence[Hyperplane]
) -> Iterator[Float[np.ndarray, "token plane"]]:
    """The margins of each text's tokens; those of the first reading if they were kept."""
    if corpus.learned is not None and all(plane.layer < 0 for plane in planes):
        indices = [plane.index for plane in planes]
        yield from (learned[:, indices] for learned in corpus.learned)
        return
    read = token_margins(detector.reader, corpus.texts, planes)
    for row, margins, of_text in zip(corpus.rows, read, corpus.words, strict=True):
        if len(margins.values) != len(of_text.of_token):
            raise BadTexts(
                f"row {row} {margins.reason or 'has other tokens than before'} when it is read again for the "
                "margins of its tokens; leave it out"
            )
        yield margins.values


def _standardized(values: Float[np.ndarray, " entry"]) -> Float[np.ndarray, " entry"]:
    values = values.astype(np.float64)
    return (values - values.mean()) / (values.std() or 1.0)


@dataclass(frozen=True, eq=False)
class _Ngrams:
    """The n-grams of a corpus, of the half that makes names and of the other.

    Attributes:
        corpus: The corpus.
        every: Those that enough texts hold.
        naming: Those that enough texts of the naming half hold.
        held: Those that enough of the other texts hold.
        least: How many are enough.
        number: Index of each n-gram in ``every``.
    """

    corpus: _Corpus
    every: WordNgrams
    naming: WordNgrams
    held: WordNgrams
    least: int
    number: dict[str, int] = field(repr=False)

    @classmethod
    def of(cls, corpus: _Corpus) -> "_Ngrams":
        """Rare ones are left out: in small corpora those of one text, in others those of fewer than five."""
        least = max(2, min(5, int(corpus.naming.sum()) // 50))
        every = word_ngrams([one.keys for one in corpus.words], least_texts=least)
        naming, held = (every.within(half, least_texts=least) for half in (corpus.naming, ~corpus.naming))
        return cls(corpus, every, naming, held, least, {name: at for at, name in enumerate(every.names)})

    def present(self, names: Iterable[str]) -> Bool[np.ndarray, " text"]:
        """Which texts hold one of some n-grams."""
        mask = np.zeros(len(self.corpus.texts), dtype=bool)
        for name in names:
            if name in self.number:
                mask[self.every.texts_with(self.number[name])] = True
        return mask

    def contrast(self, names: Iterable[str], by_text: Float[np.ndarray, " text"]) -> Contrast:
        """Held-out texts with one of some n-grams beside texts without."""
        held = ~self.corpus.naming
        return contrast(by_text[held], self.present(names)[held], self.corpus.tokens[held])


@dataclass(frozen=True, eq=False)
class _Found:
    """The n-grams that a number at words goes with.

    Attributes:
        names: Of the naming half, highest score first.
        other_names: Of the other half.
        explained: The first of the naming half, with what the other half says of them.
        contrast: Of those that make the name.
        by_word: The number at each word of all texts.
        by_text: The number of each text.
    """

    names: list[str]
    other_names: list[str]
    explained: tuple[ExplainedNgram, ...]
    contrast: Contrast
    by_word: Float[np.ndarray, " word"]
    by_text: Float[np.ndarray, " text"]

    @classmethod
    def of(
        cls, ngrams: _Ngrams, by_word: Float[np.ndarray, " word"], by_text: Float[np.ndarray, " text"]
    ) -> "_Found":
        """Rank the n-grams of both halves.

        Args:
            ngrams: The n-grams.
            by_word: The number at each word of all texts.
            by_text: The number of each text.
        """
        ranking, names = _ranked(ngrams.naming, by_word)
        _, other_names = _ranked(ngrams.held, by_word)
        spelled, explained = ngrams.naming.names, []
        for index in ranking.order[: min(_NGRAMS, len(names))].tolist():
            explained.append(
                ExplainedNgram(
                    spelled[index],
                    int(ngrams.naming.texts[index]),
                    float(ranking.mean[index]),
                    float(ranking.score[index]),
                    stop_words().issuperset(ngrams.naming.words[index]),
                    ngrams.contrast([spelled[index]], by_text),
                )
            )
        return cls(
            names, other_names, tuple(explained), ngrams.contrast(named(names), by_text), by_word, by_text
        )

    def faithfulness(self, removed: Deletion | None) -> Faithfulness:
        """What the other half says of them."""
        return Faithfulness(self.contrast, removed, overlap(self.names, self.other_names, _STABLE))


def _ranked(ngrams: WordNgrams, by_word: Float[np.ndarray, " word"]) -> tuple[NgramRanking, list[str]]:
    """The ranking, and the names of those above the mean of all words."""
    ranking = rank_ngrams(by_word[ngrams.last], ngrams.ngram, ngrams.text, ngrams.suffix, ngrams.prefix)
    spelled, center = ngrams.names, by_word.mean()
    return ranking, [spelled[index] for index in ranking.order.tolist() if ranking.score[index] > center]


class _Removed:
    """Reads held-out texts without some words, and without as many random others.

    What is to be read is gathered first, so that all of it is read in batches.
    """

    def __init__(self, detector: Detector, corpus: _Corpus, seed: int):
        self._detector, self._corpus = detector, corpus
        self._rng = np.random.default_rng(seed)
        self._logits: dict[str, float] = {}

    def ngrams(self, names: Sequence[str], raises: bool) -> list[tuple[int, int, str, str]]:
        """Ask for texts without the first of some n-grams that each holds."""
        sign, asked = 1 if raises else -1, []
        sought = [tuple(name.split(" ")) for name in names]
        for text in self._rng.permutation(np.flatnonzero(~self._corpus.naming)).tolist():
            keys = self._corpus.words[text].keys
            held = next((words for words in sought if places(keys, words)), None)
            if held is not None and (pair := self._pair(text, held)):
                asked.append((text, sign, *pair))
            if len(asked) == _DELETED:
                break
        return self._asked(asked)

    def top_words(self) -> list[tuple[int, int, str, str]]:
        """Ask for flagged texts without the word that adds most to the logit."""
        corpus, asked = self._corpus, []
        flagged = np.flatnonzero(corpus.flagged & ~corpus.naming)
        for text in self._rng.permutation(flagged).tolist():
            keys = corpus.words[text].keys
            added = corpus.contributions[corpus.start[text] :][: len(keys)]
            if pair := self._pair(text, (keys[int(added.argmax())],)):
                asked.append((text, 1, *pair))
            if len(asked) == _DELETED_WHOLE:
                break
        return self._asked(asked)

    def read(self) -> None:
        """Read what was asked for."""
        head, slope = self._detector.artifact.head, self._detector.artifact.calibrations[0].slope

        def logit(features: TextFeatures) -> float:
            return np.nan if features.reason else slope * float(head.logit(features.values[None])[0, 0])

        texts = list(self._logits)
        self._logits = dict(zip(texts, self._detector.reader.map(logit, texts), strict=True))

    def deletion(self, asked: Sequence[tuple[int, int, str, str]]) -> Deletion | None:
        """What the texts that were asked for say; those that could not be read are left out."""
        drops = np.array(
            [
                [sign * (self._corpus.logit[text] - self._logits[one]) for one in (without, random)]
                for text, sign, without, random in asked
            ]
        ).reshape(-1, 2)
        drops = drops[np.isfinite(drops).all(axis=1)]
        return deletion(drops[:, 0], drops[:, 1])

    def _asked(self, asked: list[tuple[int, int, str, str]]) -> list[tuple[int, int, str, str]]:
        for _, _, *pair in asked:
            self._logits |= dict.fromkeys(pair, np.nan)
        return asked

    def _pair(self, text: int, removed: tuple[str, ...]) -> tuple[str, str] | None:
        """The text without some words, wherever they stand, and without as many random others.

        None if it has no other words.
        """
        of_text, size = self._corpus.words[text], len(removed)
        taken = {at + step for at in places(of_text.keys, removed) for step in range(size)}
        free = [at for at in range(len(of_text.keys) - size + 1) if taken.isdisjoint(range(at, at + size))]
        if not free:
            return None
        at = int(self._rng.choice(free))
        other = [place for place in places(of_text.keys, of_text.keys[at : at + size]) if place in {*free}]
        others = {place + step for place in other for step in range(size)}
        whole = self._corpus.texts[text]
        return (
            without(whole, [of_text.bounds[at] for at in sorted(taken)]),
            without(whole, [of_text.bounds[at] for at in sorted(others)]),
        )


def _hyperplane(
    corpus: _Corpus,
    ngrams: _Ngrams,
    unit: _Unit,
    found: _Found,
    removed: Deletion | None,
    writer: Writer | None,
) -> ExplainedHyperplane:
    return ExplainedHyperplane(
        hyperplane=str(unit.hyperplane),
        pooling=unit.pooling,
        raises=unit.raises,
        share=float(corpus.shares[unit.column]),
        name=template_name(found.names),
        ngrams=found.explained,
        contexts=_contexts(corpus, ngrams, found),
        faithfulness=found.faithfulness(removed),
        sentence=None if writer is None else _sentence(writer, ngrams, found),
    )


def _sentence(writer: Writer, ngrams: _Ngrams, found: _Found) -> GeneratedSentence | None:
    """A model's sentence about the n-grams; its words are compared as a name's are."""
    if not found.names:
        return None
    text = sentence_about(writer, found.names[:_STABLE])
    spans = words(text, (Span(0, len(text), 0.0),)) if text else ()
    keys = [text[slice(*core(text, word))].lower() for word in spans]
    known = tuple(dict.fromkeys(key for key in keys if key in ngrams.number and key not in stop_words()))
    compared = ngrams.contrast(known, found.by_text) if known else None
    return GeneratedSentence(harmless(text), str(writer.loaded.name), known, compared)


def _contexts(corpus: _Corpus, ngrams: _Ngrams, found: _Found) -> tuple[Context, ...]:
    """The place of each of the first n-grams where the margin is highest; a text is shown once."""
    contexts: list[Context] = []
    seen: set[int] = set()
    every = ngrams.every
    for name in found.names[:_CONTEXTS]:
        first, end = np.searchsorted(every.ngram, [ngrams.number[name], ngrams.number[name] + 1])
        places = np.arange(first, end)
        for place in places[np.argsort(-found.by_word[every.last[places]], kind="stable")].tolist():
            text = int(every.text[place])
            if text not in seen:
                seen.add(text)
                contexts.append(_context(corpus, text, int(every.last[place]), found.by_word))
                break
    return tuple(contexts)


def _context(corpus: _Corpus, text: int, word: int, by_word: Float[np.ndarray, " word"]) -> Context:
    whole, (begin, end) = corpus.texts[text], corpus.words[text].bounds[word - int(corpus.start[text])]
    left, right = max(0, begin - _AROUND), min(len(whole), end + _AROUND)
    return Context(
        row=int(corpus.rows[text]),
        before=harmless(("…" if left else "") + whole[left:begin]),
        word=harmless(whole[begin:end]),
        after=harmless(whole[end:right] + ("…" if right < len(whole) else "")),
        margin=float(by_word[word]),
    )


def _groups(
    label: str,
    negative: str,
    corpus: _Corpus,
    known: Float[np.ndarray, " text"] | None,
    groups: Mapping[str, np.ndarray] | None,
) -> tuple[Group, ...]:
    """The words that raise the logit most in each group of texts, largest group first."""
    if groups is not None:
        masks = {name: np.asarray(mask, dtype=bool)[corpus.rows] for name, mask in groups.items()}
    elif known is not None:
        masks = {f"labeled {label}": known == 1, f"labeled {negative}": known == 0}
    else:
        masks = {f"flagged as {label}": corpus.flagged, "not flagged": ~corpus.flagged}
    chosen = sorted(masks.items(), key=lambda item: -int(item[1].sum()))[:_MOST_GROUPS]
    text_of = np.repeat(np.arange(len(corpus.texts)), [len(one.keys) for one in corpus.words])
    keys = [key for one in corpus.words for key in one.keys]
    vocabulary = sorted({*keys})
    number = {key: at for at, key in enumerate(vocabulary)}
    word = np.array([number[key] for key in keys], dtype=int)
    found = []
    for name, mask in chosen:
        size, listed = int(mask.sum()), words_of_group(word, text_of, corpus.contributions, mask, _LISTED)
        if size:
            shown = (
                GroupWord(vocabulary[one.word], one.texts, one.total / one.texts, one.total / size)
                for one in listed
            )
            found.append(Group(name, size, int((mask & corpus.flagged).sum()), tuple(shown)))
    return tuple(found)


def _confused(
    corpus: _Corpus,
    ngrams: _Ngrams,
    of_class: Bool[np.ndarray, " text"],
    wrong: Bool[np.ndarray, " text"],
) -> tuple[Confusion, ...]:
    """The single words whose texts of a class are often judged wrongly."""
    names = [name for name in ngrams.every.names if " " not in name]  # they stand first
    holding = [ngrams.every.texts_with(index) for index in range(len(names))]
    found = confused_words(holding, wrong, of_class, corpus.naming, _LISTED)
    return tuple(Confusion(names[one.word], one.wrong, one.texts, one.interval) for one in found)


def _notes(corpus: _Corpus, languages: Sequence[str]) -> list[str]:
    """What a reader must know of this corpus."""
    notes = ["Only words that occur in this corpus can be named: another corpus gives other names."]
    keys = [key for one in corpus.words for key in one.keys]
    share = sum(key in stop_words() for key in keys) / max(1, len(keys))
    if share < _FEW_FUNCTION_WORDS:
        measured = f", and the detector was measured on {', '.join(languages)} only" if languages else ""
        notes.append(
            f"Only {100 * share:.0f} % of the words are function words of English: the corpus seems to be in "
            f"another language{measured}. Function words of other languages are not marked."
        )
    return notes
