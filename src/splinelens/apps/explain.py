"""Say in words what a detector relies on, and check it on held-out texts.

A detector is a linear head on pooled margins. Each hyperplane carries a share of the variance of its logit
over the corpus; for those with the largest shares the n-grams are ranked by the margin at their last word.
Names are made from one half of the corpus and checked on the other. Source: arXiv:2402.01761.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path

import numpy as np
from jaxtyping import Bool, Float, Int

from splinelens.anatomy import anatomy_of
from splinelens.apps.detector import Detector
from splinelens.detect.artifact import Artifact
from splinelens.detect.hyperplane_columns import (
    HyperplaneColumn,
    hyperplane_columns,
    margins_of_columns,
)
from splinelens.detect.ngram_halves import NgramHalves, RankedNgrams, named
from splinelens.detect.ngram_ranking import Deletion, deletion
from splinelens.detect.shipped import find_artifact
from splinelens.detect.variance_shares import VarianceShares
from splinelens.detect.word_counts import ConfusedWord, confused_words, words_of_group
from splinelens.errors import BadFeatures, BadLabels, BadTexts, NotExplainable, WrongModel
from splinelens.features.extract import provenance
from splinelens.features.reader import Progress, TextFeatures
from splinelens.features.token_margins import Hyperplane, MarginStore, token_margins
from splinelens.features.validation import check_layer, check_positive, check_seed
from splinelens.features.word_corpus import TextWords, WordCorpus
from splinelens.features.word_removal import Removal, without_ngrams, without_top_word
from splinelens.files import write_text
from splinelens.generate.names import sentence_about
from splinelens.generate.sample import Writer
from splinelens.report.card import card
from splinelens.report.explain import (
    Context,
    ExplainedDetector,
    ExplainedHyperplane,
    Explanation,
    Faithfulness,
    GeneratedSentence,
    Group,
    StoredExplanation,
    template_name,
)
from splinelens.report.scores import Span, TextScore
from splinelens.report.spans import core, is_word, text_words, words
from splinelens.report.tables import count_of
from splinelens.texts import Texts
from splinelens.texts.function_words import function_words
from splinelens.texts.plain_text import harmless

LEAST_TEXTS = 20
"""Different texts that a corpus needs: ten to make names from, ten to check them on."""

Passes = Callable[[Texts], AbstractContextManager[Progress | None]]
"""Opens the progress of a pass over some texts."""

_FPR = 0.05  # a text is flagged at its threshold
_DELETED, _DELETED_WHOLE = 25, 400  # held-out texts that are read without a word: of a hyperplane, in all
_MOST_DELETED = 40  # hyperplanes whose n-grams are removed
_CONTEXTS, _AROUND = 6, 60  # occurrences, and characters beside the word
_LISTED = 10  # words of a group, and words that are confused
_MOST_GROUPS = 12
_FEW_FUNCTION_WORDS = 0.1
_FEW_TEXTS = 200  # names of fewer are an illustration
_IN_SENTENCE = 10  # n-grams that a language model sees
_MARGIN_BYTES = 2**30  # 5,000 comments take half of it; what exceeds it is read a second time


def explain(
    detector: Detector | str | PathLike[str],
    texts: Texts | Iterable[str | None],
    labels: np.ndarray | None = None,
    *,
    label: str | None = None,
    groups: Mapping[str, np.ndarray] | None = None,
    layer: int | None = None,
    top: int = 20,
    sentences: Writer | None = None,
    seed: int = 0,
    progress: Passes | None = None,
) -> Explanation:
    """Name the hyperplanes that carry a detector, and say which words it relies on and which it confuses.

    Every text is read once, and a second time for the margins of its tokens where these are not of learned
    hyperplanes or take more than 1 GiB. For deletion up to 50 shorter versions of held-out texts are read for
    each of the first 40 hyperplanes, and 800 for the detector. Texts that are equal count once: they have the
    label of any of them, none if these differ, and are in each group that one of them is in.

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
        sentences: Lets this language model write a sentence about the n-grams of each hyperplane.
        seed: Of the halves and of the random words.
        progress: Opens the progress of each of these passes, such as ``cli.progress.progress_bar``.

    Raises:
        BadTexts: Fewer than 20 different texts can be read, or all have the same score.
        BadLabels: Not one label a text, another value than 0, 1 and NaN, or not one boolean a text in a
            group.
        BadFeatures: ``top`` is not positive, ``layer`` is not read, the seed cannot be, or the detector runs
            an exported graph.
        BadDetector: No such label, or no threshold for a false-positive rate of 0.05, at which a text is
            flagged.
        NotExplainable: The detector reads no margin to a hyperplane.

    Example:
        >>> explanation = explain("toxicity-fast", texts)  # doctest: +SKIP
        >>> explanation.hyperplanes[0].name  # doctest: +SKIP
        'fires on: fool, goose, toad'
    """
    top, seed, passes = check_positive(top, "top"), check_seed(seed), progress or _unseen
    source = Texts.of(texts)
    known = None if labels is None else _checked_labels(labels, len(source))
    masks = None if groups is None else _checked_groups(groups, len(source))
    if not isinstance(detector, Detector):
        detector = Detector.load(detector, engine="torch")
    detector = detector.single_label(detector.artifact.labels[0] if label is None else label)
    artifact = detector.artifact
    every, columns, notes = _columns(detector, layer)
    corpus = _read(detector, source, seed, passes)
    columns = sorted(columns, key=lambda column: (-corpus.shares[column.index], column.index))[:top]
    ngrams = NgramHalves.of([one.keys for one in corpus.words.words], corpus.naming, corpus.tokens)
    hyperplanes = sorted({column.hyperplane for column in columns})
    of_tokens = _margins_of_tokens(detector, corpus, hyperplanes, passes)
    ranked = [
        RankedNgrams.of(ngrams, *margins)
        for margins in margins_of_columns(of_tokens, corpus.words, hyperplanes, columns)
    ]
    of_detector = (
        None if artifact.inseparable else RankedNgrams.of(ngrams, corpus.contributions, corpus.logit)
    )
    rng = np.random.default_rng(seed)
    removals: list[list[Removal]] = [[] for _ in ranked]
    held_out = np.flatnonzero(~corpus.naming)
    for rank, one in enumerate(ranked[:_MOST_DELETED]):
        numbers = [ngrams.number[name] for name in named(one.names)]
        order = rng.permutation(held_out).tolist()
        removals[rank] = without_ngrams(corpus.words, ngrams.every, numbers, order, rng, _DELETED)
    of_top_words = []
    if of_detector is not None:
        order = rng.permutation(np.flatnonzero(corpus.flagged & ~corpus.naming)).tolist()
        of_top_words = without_top_word(corpus.words, corpus.contributions, order, rng, _DELETED_WHOLE)
    logits = _logits(detector, [one for listed in (*removals, of_top_words) for one in listed], passes)
    is_labeled = None if known is None else _labels_of_texts(corpus, known, notes)
    false_positives, false_negatives = _confused(artifact, corpus, ngrams, is_labeled, notes)
    return Explanation(
        detector=artifact.name,
        label=artifact.labels[0],
        negative=artifact.negative,
        model=str(detector.reader.loaded.name),
        source=source.source,
        texts=len(corpus.words),
        naming=int(corpus.naming.sum()),
        left_out=corpus.left_out,
        flagged=int(corpus.flagged.sum()),
        threshold=artifact.thresholds_at(_FPR)[0],
        whole=ExplainedDetector(
            ngrams=() if of_detector is None else of_detector.ngrams,
            inseparable=artifact.inseparable,
            faithfulness=None
            if of_detector is None
            else _faithfulness(of_detector, _deletion(corpus, of_top_words, logits)),
            groups=() if of_detector is None else _groups(artifact, corpus, is_labeled, masks, notes),
            false_positives=false_positives,
            false_negatives=false_negatives,
            clean_flagged=None if is_labeled is None else _wrong(is_labeled == 0, corpus.flagged),
            missed=None if is_labeled is None else _wrong(is_labeled == 1, ~corpus.flagged),
        ),
        hyperplanes=tuple(
            ExplainedHyperplane(
                hyperplane=str(column.hyperplane),
                pooling=column.pooling,
                raises=column.raises,
                share=float(corpus.shares[column.index]),
                name=template_name(named(one.names)),
                named=tuple(named(one.names)),
                ngrams=one.ngrams,
                contexts=_contexts(corpus, ngrams, one),
                faithfulness=_faithfulness(
                    one, _deletion(corpus, listed, logits, 1 if column.raises else -1)
                ),
                sentence=None if sentences is None else _sentence(sentences, ngrams, one),
            )
            for column, one, listed in zip(columns, ranked, removals, strict=True)
        ),
        pooled_otherwise=float(1 - corpus.shares[every].sum()),
        notes=(*_notes(corpus, artifact.training.get("languages", ())), *notes),
        settings={"layer": layer, "top": top, "fpr": _FPR, "seed": seed, "least_texts": ngrams.least},
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
    record = asdict(StoredExplanation.of(explanation, spelled))
    stored = replace(artifact, training={**artifact.training, "explained": record})
    stored.save(path)
    write_text(path / "CARD.md", card(stored), overwrite=True)


@dataclass(frozen=True, eq=False)
class _Corpus:
    """The different texts that were read.

    Attributes:
        words: The texts and their words.
        rows: First row of each text in the corpus.
        of_row: For each row of the corpus the index of its text here; -1 if it is not used.
        contributions: What each word of all texts adds to the logit; 0 if the detector does not split.
        logit: The slope of the calibration times the logit of each text: without its intercept and its offset
            by length, which no word changes.
        flagged: Whether it is at or above the threshold.
        tokens: Its length.
        naming: Whether names are made from it; the others are held out.
        left_out: Rows that were not used, by reason.
        shares: Share of the variance of each column of the head.
        learned: For each text (token, direction) learned margins; None without any, or with too many.
    """

    words: WordCorpus
    rows: Int[np.ndarray, " text"]
    of_row: Int[np.ndarray, " row"]
    contributions: Float[np.ndarray, " word"]
    logit: Float[np.ndarray, " text"]
    flagged: Bool[np.ndarray, " text"]
    tokens: Int[np.ndarray, " text"]
    naming: Bool[np.ndarray, " text"]
    left_out: dict[str, int]
    shares: Float[np.ndarray, " column"]
    learned: list[np.ndarray] | None


def _unseen(texts: Texts) -> AbstractContextManager[None]:
    return nullcontext()


def _checked_labels(labels: np.ndarray, rows: int) -> Float[np.ndarray, " text"]:
    try:
        known = np.asarray(labels, dtype=float)
    except (TypeError, ValueError) as error:
        raise BadLabels(f"labels are no numbers ({error}): give one 0, 1 or NaN a text") from error
    if known.shape != (rows,) or not (np.isnan(known) | (known == 0) | (known == 1)).all():
        raise BadLabels(f"labels of shape {known.shape} for {rows} texts: give one 0, 1 or NaN a text")
    return known


def _checked_groups(groups: Mapping[str, np.ndarray], rows: int) -> dict[str, Bool[np.ndarray, " row"]]:
    masks = {name: np.asarray(mask) for name, mask in groups.items()}
    for name, mask in masks.items():
        if mask.shape != (rows,) or mask.dtype != bool:
            raise BadLabels(
                f"group {name!r} has {mask.dtype} values of shape {mask.shape} for {rows} texts: give one "
                "boolean a text"
            )
    return masks


def _columns(detector: Detector, layer: int | None) -> tuple[list[int], list[HyperplaneColumn], list[str]]:
    """The indices of all columns of hyperplanes, the columns to explain, and notes on the others."""
    artifact, reader = detector.artifact, detector.reader
    slope = artifact.head.weight[0] / artifact.head.scale
    columns, notes = hyperplane_columns(reader.columns, slope), []
    every = [column.index for column in columns]
    if not columns:
        raise NotExplainable(
            f"detector {artifact.name} cannot be explained by hyperplanes: it reads {artifact.columns[0][0]} "
            "and no margin to one; its numbers are means and counts over tokens, which no word carries"
        )
    anatomy = anatomy_of(reader.torch_engine.model)
    experts = {column.hyperplane.layer for column in columns} & {*anatomy.expert_layers}
    if experts:
        columns = [column for column in columns if column.hyperplane.layer not in experts]
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
        columns = _at_layer(detector, columns, check_layer(layer))
    if not columns:
        raise NotExplainable(f"detector {artifact.name} has no hyperplane to explain: {' '.join(notes)}")
    return every, columns, notes


def _at_layer(detector: Detector, columns: Sequence[HyperplaneColumn], layer: int) -> list[HyperplaneColumn]:
    """The columns of hyperplanes that read a layer."""
    reader, directions = detector.reader, detector.artifact.directions
    learned = np.zeros(0, dtype=int)
    if directions is not None and layer in reader.layers:
        learned = np.flatnonzero(directions.layers_read[:, reader.layers.index(layer)])
    reading = {Hyperplane(-1, int(index)) for index in learned}
    chosen = [
        column for column in columns if column.hyperplane.layer == layer or column.hyperplane in reading
    ]
    if not chosen:
        read = ", ".join(map(str, reader.layers))
        raise BadFeatures(
            f"detector {detector.artifact.name} reads no hyperplane at layer {layer}; it reads layers {read}"
        )
    return chosen


def _read(detector: Detector, source: Texts, seed: int, progress: Passes) -> _Corpus:
    """Score the different texts, and split each into words."""
    artifact = detector.artifact
    first: dict[str | None, int] = {}
    for row, text in enumerate(source.texts):
        first.setdefault(text, row)
    left_out: Counter[str] = Counter()
    if repeated := len(source) - len(first):
        left_out["it repeats another row"] = repeated
    gathered, slope = VarianceShares(artifact.head), artifact.calibrations[0].slope
    distinct, learned = list(first), MarginStore(_MARGIN_BYTES)

    def read(features: TextFeatures) -> tuple[int, float, bool, int, TextWords, np.ndarray] | str:
        text, row = distinct[features.index] or "", first[distinct[features.index]]
        reason = source.broken.get(row, features.reason)
        record = detector.judge(
            replace(features, reason=reason), text, explain=not artifact.inseparable, fpr=_FPR
        )
        if record.score is None:
            return record.reason or "has no score"
        words_of_text, added = _words_of(detector, features, text, record)
        learned.add(row, features.learned)
        logit = slope * gathered.add(features.values)
        flagged = record.verdict == artifact.labels[0]
        return row, logit, flagged, features.tokens, words_of_text, added

    locate = not artifact.inseparable or artifact.directions is not None
    rows = []
    with progress(Texts(tuple(distinct), {}, source.source)) as advance:
        for result in detector.reader.map(read, distinct, locate=locate, progress=advance):
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
    numbers, logits, flagged, tokens, words_of_texts, contributions = zip(*rows, strict=True)
    index = {source.texts[row]: at for at, row in enumerate(numbers)}
    return _Corpus(
        words=WordCorpus.of([source.texts[row] or "" for row in numbers], words_of_texts),
        rows=np.array(numbers),
        of_row=np.array([index.get(text, -1) for text in source.texts]),
        contributions=np.concatenate(contributions),
        logit=np.array(logits),
        flagged=np.array(flagged),
        tokens=np.array(tokens),
        naming=naming,
        left_out=dict(left_out.most_common()),
        shares=gathered.shares(),
        learned=learned.of(numbers),
    )


def _words_of(
    detector: Detector, features: TextFeatures, text: str, record: TextScore
) -> tuple[TextWords, Float[np.ndarray, " word"]]:
    """The words of a text, and what each adds to the calibrated logit; one of punctuation only is empty.

    Of learned margins that is its Shapley value; else what its tokens give, 0 if the logit does not split.
    """
    spans = record.spans or tuple(Span(*bounds, 0.0) for bounds in features.offsets)
    whole = words(text, spans)
    words_of_text = text_words(text, features.offsets, whole)
    keys = tuple(harmless(key) if is_word(key) else "" for key in words_of_text.keys)
    words_of_text = replace(words_of_text, keys=keys)
    if features.learned is None or not detector.artifact.learned_poolings:
        return words_of_text, np.array([word.contribution for word in whole])
    return words_of_text, detector.word_values(features, words_of_text)


def _margins_of_tokens(
    detector: Detector, corpus: _Corpus, hyperplanes: Sequence[Hyperplane], progress: Passes
) -> Iterator[Float[np.ndarray, "token hyperplane"]]:
    """The margins of each text's tokens: those that are stored, else from a second pass."""
    if corpus.learned is not None and all(one.layer < 0 for one in hyperplanes):
        indices = [one.index for one in hyperplanes]
        yield from (learned[:, indices] for learned in corpus.learned)
        return
    with progress(Texts(corpus.words.texts, {}, "the corpus")) as advance:
        read = token_margins(detector.reader, corpus.words.texts, hyperplanes, progress=advance)
        for row, margins, words_of_text in zip(corpus.rows, read, corpus.words.words, strict=True):
            if len(margins.values) != len(words_of_text.of_token):
                raise BadTexts(
                    f"row {row} {margins.reason or 'has other tokens than before'} when it is read again for "
                    "the margins of its tokens; leave it out"
                )
            yield margins.values


def _logits(detector: Detector, removals: Sequence[Removal], progress: Passes) -> dict[str, float]:
    """The calibrated logit of each shorter text; NaN of one that cannot be read."""
    head, slope = detector.artifact.head, detector.artifact.calibrations[0].slope

    def logit(features: TextFeatures) -> float:
        return np.nan if features.reason else slope * float(head.logit(features.values[None])[0, 0])

    texts = list(dict.fromkeys(text for one in removals for text in (one.without, one.random)))
    with progress(Texts(tuple(texts), {}, "shorter texts")) as advance:
        return dict(zip(texts, detector.reader.map(logit, texts, progress=advance), strict=True))


def _deletion(
    corpus: _Corpus, removals: Sequence[Removal], logits: Mapping[str, float], sign: int = 1
) -> Deletion | None:
    """How far the logit falls, with ``sign`` -1 how far it rises; unreadable texts are left out."""
    drops = np.array(
        [
            [sign * (corpus.logit[one.text] - logits[text]) for text in (one.without, one.random)]
            for one in removals
        ]
    ).reshape(-1, 2)
    drops = drops[np.isfinite(drops).all(axis=1)]
    return deletion(drops[:, 0], drops[:, 1])


def _faithfulness(ranked: RankedNgrams, removed: Deletion | None) -> Faithfulness:
    return Faithfulness(ranked.contrast, removed, ranked.stability)


def _sentence(writer: Writer, ngrams: NgramHalves, ranked: RankedNgrams) -> GeneratedSentence | None:
    """A model's sentence about the n-grams; its words are compared as those of a name."""
    if not ranked.names:
        return None
    text = sentence_about(writer, ranked.names[:_IN_SENTENCE])
    spans = words(text, (Span(0, len(text), 0.0),)) if text else ()
    keys = [text[slice(*core(text, word))].lower() for word in spans]
    known = tuple(dict.fromkeys(key for key in keys if key in ngrams.number and key not in function_words()))
    compared = ngrams.contrast(known, ranked.by_text) if known else None
    return GeneratedSentence(harmless(text), str(writer.loaded.name), known, compared)


def _contexts(corpus: _Corpus, ngrams: NgramHalves, ranked: RankedNgrams) -> tuple[Context, ...]:
    """Of each of the first n-grams the occurrence with the highest margin; a text is shown once."""
    contexts: list[Context] = []
    shown: set[int] = set()
    every = ngrams.every
    for name in ranked.names[:_CONTEXTS]:
        where = every.occurrences(ngrams.number[name])
        last, texts = every.last[where], every.text[where]
        for at in np.argsort(-ranked.by_word[last], kind="stable").tolist():
            if (text := int(texts[at])) not in shown:
                shown.add(text)
                contexts.append(_context(corpus, text, int(last[at]), ranked.by_word))
                break
    return tuple(contexts)


def _context(corpus: _Corpus, text: int, word: int, by_word: Float[np.ndarray, " word"]) -> Context:
    whole = corpus.words.texts[text]
    begin, end = corpus.words.words[text].bounds[word - int(corpus.words.start[text])]
    left, right = max(0, begin - _AROUND), min(len(whole), end + _AROUND)
    return Context(
        row=int(corpus.rows[text]),
        before=harmless(("…" if left else "") + whole[left:begin]),
        word=harmless(whole[begin:end]),
        after=harmless(whole[end:right] + ("…" if right < len(whole) else "")),
        margin=float(by_word[word]),
    )


def _labels_of_texts(
    corpus: _Corpus, known: Float[np.ndarray, " row"], notes: list[str]
) -> Float[np.ndarray, " text"]:
    """0, 1 or NaN of each text, whose rows may be several."""
    zeros, ones = (
        np.bincount(corpus.of_row[(corpus.of_row >= 0) & (known == label)], minlength=len(corpus.words)) > 0
        for label in (0, 1)
    )
    if differing := int((zeros & ones).sum()):
        notes.append(f"{count_of(differing, 'text')} with both labels in different rows count as unlabeled.")
    return np.where(zeros == ones, np.nan, ones)


def _groups(
    artifact: Artifact,
    corpus: _Corpus,
    known: Float[np.ndarray, " text"] | None,
    groups: Mapping[str, Bool[np.ndarray, " row"]] | None,
    notes: list[str],
) -> tuple[Group, ...]:
    """The words that raise the logit most in each group of texts, largest group first."""
    label, negative = artifact.labels[0], artifact.negative
    if groups is not None:
        used, count = corpus.of_row >= 0, len(corpus.words)
        masks = {
            name: np.bincount(corpus.of_row[mask & used], minlength=count) > 0
            for name, mask in groups.items()
        }
    elif known is not None and not np.isnan(known).all():
        masks = {f"labeled {label}": known == 1, f"labeled {negative}": known == 0}
    else:
        masks = {f"flagged as {label}": corpus.flagged, "not flagged": ~corpus.flagged}
    chosen = sorted(
        ((name, mask) for name, mask in masks.items() if mask.any()), key=lambda item: -int(item[1].sum())
    )
    if empty := len(masks) - len(chosen):
        notes.append(f"{count_of(empty, 'group')} without a text that was read: not listed.")
    if len(chosen) > _MOST_GROUPS:
        notes.append(f"The {_MOST_GROUPS} largest of {len(chosen)} groups are listed.")
    keys = corpus.words.keys
    vocabulary = sorted({*keys})
    number = {key: at for at, key in enumerate(vocabulary)}
    word = np.array([number[key] for key in keys], dtype=int)
    is_listed = np.array([key != "" for key in keys], dtype=bool)
    occurrences = word[is_listed], corpus.words.text_of_word[is_listed], corpus.contributions[is_listed]
    return tuple(
        Group(
            name,
            int(mask.sum()),
            int((mask & corpus.flagged).sum()),
            tuple(words_of_group(vocabulary, *occurrences, mask, _LISTED)),
        )
        for name, mask in chosen[:_MOST_GROUPS]
    )


def _confused(
    artifact: Artifact,
    corpus: _Corpus,
    ngrams: NgramHalves,
    known: Float[np.ndarray, " text"] | None,
    notes: list[str],
) -> tuple[tuple[ConfusedWord, ...] | None, tuple[ConfusedWord, ...] | None]:
    """The single words whose texts are often flagged by mistake, and those whose texts are often missed.

    None without labels, and without texts of the class in both halves.
    """
    if known is None:
        return None, None
    names = [name for name in ngrams.every.names if " " not in name]  # they stand first
    holding = [ngrams.every.texts_with(index) for index in range(len(names))]
    confused: list[tuple[ConfusedWord, ...] | None] = []
    for value, verdict, wrong in (
        (0, artifact.negative, corpus.flagged),
        (1, artifact.labels[0], ~corpus.flagged),
    ):
        of_class = known == value
        if of_class[corpus.naming].any() and of_class[~corpus.naming].any():
            confused.append(tuple(confused_words(names, holding, wrong, of_class, corpus.naming, _LISTED)))
        else:
            confused.append(None)
            notes.append(f"One half holds no text that is labeled {verdict}: no word of these is named.")
    return confused[0], confused[1]


def _wrong(of_class: Bool[np.ndarray, " text"], wrong: Bool[np.ndarray, " text"]) -> tuple[int, int]:
    """How many texts of a class are judged wrongly, and how many it has."""
    return int((of_class & wrong).sum()), int(of_class.sum())


def _notes(corpus: _Corpus, languages: Sequence[str]) -> list[str]:
    """What a reader must know of this corpus."""
    notes = ["Only words that occur in this corpus can be named: another corpus gives other names."]
    if len(corpus.words) < _FEW_TEXTS:
        notes.append(
            f"Fewer than {_FEW_TEXTS} texts: a name may rest on two or three of them; take it as an "
            "illustration."
        )
    keys = [key for key in corpus.words.keys if key]
    share = sum(key in function_words() for key in keys) / max(1, len(keys))
    if share < _FEW_FUNCTION_WORDS:
        measured = f", and the detector was measured on {', '.join(languages)} only" if languages else ""
        notes.append(
            f"Only {100 * share:.0f} % of the words are function words of English: the corpus seems to be in "
            f"another language{measured}. Function words of other languages are not marked."
        )
    return notes
