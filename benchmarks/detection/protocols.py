"""The protocols: which rows each question is fitted on and measured on, and what is compared on them.

The first six follow Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648, whose toxic and clean texts have
different sources. The others remove what raises a number without reading toxicity: length, source, content,
domain and the training set itself.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from detection.data import TYPES, EvaluationData
from detection.rows import (
    Rows,
    Task,
    Test,
    concatenated,
    rows_of,
    sampled,
    split_groups,
)
from splinelens.geometry.settings import SPLINE7 as STATISTICS
from splinelens.report.evaluation import IDENTITY_MENTIONS

TRAIN_SHARE = 0.7
LABEL_SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
POOLINGS = ("mean", "max", "min", "last", "all")

SPLINE7 = ("spline7 logistic", "spline7 forest")
TFIDF = ("words", "characters")
HIDDEN = tuple(f"hidden {pooling}" for pooling in POOLINGS)
PROMPTED = tuple(f"prompted hidden {pooling}" for pooling in POOLINGS)
MARGINS = ("margins", "margins 0-5")
FITTED = ("length", *SPLINE7, *TFIDF, *HIDDEN, *PROMPTED, "sentence encoder", *MARGINS)
"""What is fitted on the rows of a task."""
QUICK = ("length", SPLINE7[0], *TFIDF, *PROMPTED, *MARGINS)
"""What a quick run fits of it."""
READY = ("toxicity", "toxicity-fast", "alt-profanity-check", "hatesonar", "detoxify")
"""Fitted detectors of toxicity: ours as shipped, and those of others."""

ELSEWHERE = {
    "para": "paradetox",
    "tweet": "tweeteval offensive",
    "toxigen": "toxigen",
    "hatecheck": "hatecheck",
}
"""Sets that ``transfer`` measures on without a training row of theirs, and what the table calls them."""


@dataclass(frozen=True, eq=False)
class Plan:
    """What the protocols take their rows from.

    Attributes:
        data: The evaluation data.
        depth: Layers of the model.
        count_tokens: Tokens of each row's text, at most 256; NaN for a text without any.
        quick: Fewer samples and contenders, at most 2,000 training rows where a note says so.
        seed: Of every random generator.
    """

    data: EvaluationData
    depth: int
    count_tokens: Callable[[Rows], np.ndarray]
    quick: bool = False
    seed: int = 0
    quick_train: int = 2000
    quick_test: int = 4000

    @property
    def fitted(self) -> tuple[str, ...]:
        """What is fitted on the rows of a task."""
        return QUICK if self.quick else FITTED

    def __contains__(self, name: str) -> bool:
        return name in self.data.sets

    def binary(self, name: str, split: str | None = None) -> Rows:
        """Rows of a set with two classes, all or those of one of its splits."""
        columns = self.data.sets[name].columns
        labels = np.array(columns["positive"], dtype=int)
        index = np.arange(len(labels))
        if split is not None:
            index = index[np.array(columns["split"]) == split]
        return rows_of(name, index, labels[index])

    def halves(self, name: str) -> tuple[Rows, Rows]:
        """Training and test rows: the set's own split, else a stratified random one."""
        if "split" in self.data.sets[name].columns:
            return self.binary(name, "train"), self.binary(name, "test")
        rows = self.binary(name)
        first, second = split_groups(range(len(rows)), rows.labels.tolist(), TRAIN_SHARE, self.seed)
        return rows.take(first), rows.take(second)

    def domains(self) -> tuple[Rows, Rows, tuple[str, ...]]:
        """Training and test rows of the domains, documents whole; labels are one-hot."""
        columns = self.data.sets["domains"].columns
        domain = np.array(columns["domain"])
        names = tuple(sorted(set(domain.tolist())))
        labels = (domain[:, None] == np.array(names)).astype(int)
        documents = list(map(document, domain.tolist(), columns["doc_id"]))
        first, second = split_groups(documents, domain.tolist(), TRAIN_SHARE, self.seed)
        rows = rows_of("domains", np.arange(len(domain)), labels, names)
        return rows.take(first), rows.take(second), names

    def task(self, train_name: str, train: Rows, *tests: Test, contenders: tuple[str, ...], **more) -> Task:
        """A task; in a quick run with at most ``quick_train`` training rows, which its note says."""
        if self.quick and len(train) > self.quick_train:
            more["note"] = f"{self.quick_train:,} of {len(train):,} training rows"
            train = sampled(train, self.quick_train, self.seed)
        return Task(train_name, train, tests, contenders, **more)


@dataclass(frozen=True)
class Protocol:
    """One question of the benchmark.

    Attributes:
        name: As ``--only`` takes it.
        question: What its rows answer.
        needs: Sets without which it cannot run.
        tasks: Its tasks. Tasks with equal ``train_name`` are repetitions: their numbers are averaged.
        curve: Its rows are points of a curve; they get fewer bootstrap resamples.
    """

    name: str
    question: str
    needs: tuple[str, ...]
    tasks: Callable[[Plan], Iterator[Task]]
    curve: bool = False


def splits(plan: Plan) -> Iterator[Task]:
    """Five random 70/30 splits of all Jigsaw rows."""
    rows = plan.binary("jig")
    for repetition in range(5):
        seed = plan.seed + repetition
        first, second = split_groups(range(len(rows)), rows.labels.tolist(), TRAIN_SHARE, seed)
        test = Test("30 % of jig", rows.take(second))
        yield Task("70 % of jig", rows.take(first), (test,), ("length", *SPLINE7), note="mean of 5 splits")


def domains(plan: Plan) -> Iterator[Task]:
    """Nine domains, each against the others; then all texts cut to the same 64 tokens."""
    train, test, _ = plan.domains()
    compared = ("length", *SPLINE7, *TFIDF, *HIDDEN, "sentence encoder")
    if plan.quick:
        compared = ("length", SPLINE7[0], *TFIDF, "hidden mean")
    yield Task("domains 70 %", train, (Test("domains 30 %", test),), compared)
    long = [rows.take(plan.count_tokens(rows) >= 64) for rows in (train, test)]
    yield Task(
        "domains 70 %, 64 tokens each",
        long[0],
        (Test("domains 30 %, 64 tokens each", long[1]),),
        ("spline7 logistic at 64", "spline7 forest at 64", "spline7 network at 64", "domain"),
        each_label=True,
        note="texts of 64 tokens and more, cut there: length says nothing",
    )


def types(plan: Plan) -> Iterator[Task]:
    """Jigsaw's six labels on comments as written, and on cleaned ones."""
    for name in ("raw", "clean"):
        columns = plan.data.sets[name].columns
        labels = np.array([[int(cell) for cell in columns[label]] for label in TYPES]).T
        split = np.array(columns["split"])
        rows = rows_of(name, np.arange(len(split)), labels, TYPES)
        test = Test(f"jigsaw6-{name} test", rows.take(split == "test"))
        compared, train = (*plan.fitted, "types"), rows.take(split == "train")
        yield plan.task(f"jigsaw6-{name} train", train, test, contenders=compared, each_label=True)


def mixed(plan: Plan) -> Iterator[Task]:
    """Toxic texts of Jigsaw and ToxiGen, clean ones of nine domains; then also the clean ones of both."""
    (jig, jig_test), (gen, gen_test) = plan.halves("jig"), plan.halves("toxigen")
    wide, wide_test, _ = plan.domains()
    clean, clean_test = wide.relabeled(0), wide_test.relabeled(0)
    compared = tuple(name for name in plan.fitted if name != "sentence encoder")
    name = "toxic + other domains"
    train = concatenated([jig.of_class(1), gen.of_class(1), clean])
    test = Test(name, concatenated([jig_test.of_class(1), gen_test.of_class(1), clean_test]))
    yield plan.task(name, train, test, contenders=compared, note="as in the paper: sources tell the label")
    name = "the same + in-domain clean"
    test = Test(name, concatenated([jig_test, gen_test, clean_test]))
    yield plan.task(name, concatenated([jig, gen, clean]), test, contenders=compared)


def transfer(plan: Plan) -> Iterator[Task]:
    """Trained on Jigsaw; measured on its test rows and on sets without a training row."""
    train, test = plan.halves("jig")
    tests, notes = [Test("jig test", test)], []
    for name, title in ELSEWHERE.items():
        if name in plan:
            rows = plan.binary(name)
            number = _pair_numbers(plan) if name == "para" else np.arange(len(rows))
            keep = _sample_groups(number, plan.quick_test if plan.quick else None, plan.seed)
            tests.append(Test(title, rows.take(keep), number[keep] if name == "para" else None))
            if not keep.all():
                notes.append(f"{int(keep.sum()):,} of {len(rows):,} rows of {title}")
    if "hatecheck" in plan:
        functionality = np.array(plan.data.sets["hatecheck"].columns["functionality"])
        mentions = np.isin(functionality, IDENTITY_MENTIONS)
        tests.append(Test("hatecheck identity mentions", plan.binary("hatecheck").take(mentions)))
    if "xstest" in plan:
        tests.append(Test("xstest safe", plan.binary("xstest").of_class(0)))
    compared = (*plan.fitted, *READY)
    yield Task("jig train", train, tuple(tests), compared, limit="jig test", note=", ".join(notes))


def own(plan: Plan) -> Iterator[Task]:
    """Each set by itself: both classes come from one source."""
    for name, title in {"toxigen": "toxigen", "tweet": "tweeteval offensive", "raw": "jigsaw6-raw"}.items():
        if name in plan:
            train, test = plan.halves(name)
            compared = (*plan.fitted, *READY)
            yield plan.task(f"{title} train", train, Test(f"{title} test", test), contenders=compared)


def pairs(plan: Plan) -> Iterator[Task]:
    """The same content rude and polite; a pair stays on one side."""
    rows, number = plan.binary("para"), _pair_numbers(plan)
    first, second = split_groups(number.tolist(), [0] * len(rows), TRAIN_SHARE, plan.seed)
    train, note = rows.take(first), ""
    keep = _sample_groups(number[first], plan.quick_train if plan.quick else None, plan.seed)
    if not keep.all():
        train, note = train.take(keep), f"{int(keep.sum()):,} of {len(train):,} training rows"
    tests = (Test("paradetox 30 %", rows.take(second), number[second]),)
    yield Task("paradetox 70 %", train, tests, (*plan.fitted, *READY), note=note)


def matched(plan: Plan) -> Iterator[Task]:
    """Equally many toxic and clean rows of every length; then of every source."""
    halves = plan.halves("jig")
    train, test = (_balanced(rows, _length_bin(plan.count_tokens(rows)), plan.seed) for rows in halves)
    name = "length-matched"
    yield plan.task(f"jig train, {name}", train, Test(f"jig test, {name}", test), contenders=plan.fitted)
    if "toxigen" not in plan:
        return
    both = map(concatenated, zip(halves, plan.halves("toxigen"), strict=True))
    train, test = (_balanced(rows, rows.sets, plan.seed) for rows in both)
    name = "source-matched"
    test = Test(f"jig + toxigen test, {name}", test)
    yield plan.task(f"jig + toxigen, {name}", train, test, contenders=plan.fitted)


def layers(plan: Plan) -> Iterator[Task]:
    """Each layer alone, the first k layers, and each feature alone."""
    train, test = plan.halves("jig")
    single = [f"spline7 layer {layer}" for layer in range(plan.depth)]
    first = [f"spline7 layers 0-{layer}" for layer in range(1, plan.depth, 3 if plan.quick else 1)]
    yield Task("jig train", train, (Test("jig test", test),), (*single, *first, *STATISTICS))


def few_labels(plan: Plan) -> Iterator[Task]:
    """A share of the labels, with and without self-training on the rows without one."""
    train, test = plan.halves("jig")
    for share in LABEL_SHARES:
        repetitions = 1 if plan.quick or share == 1 else 3
        for repetition in range(repetitions):
            seed = plan.seed + repetition
            known = split_groups(range(len(train)), train.labels.tolist(), share, seed)[0]
            labels = np.full(len(train), -1)
            labels[known] = train.labels[known]
            compared = ["spline7 logistic", *(["spline7 self-training"] if share < 1 else [])]
            compared += ["characters", "margins"] if share <= 0.25 or not plan.quick else []
            note = "" if share == 1 else f"mean of {repetitions} samples of labels"
            yield Task(
                f"jig train, {share:.0%} of labels",
                Rows(train.sets, train.index, labels),
                (Test("jig test", test),),
                tuple(compared),
                note="one sample of labels" if plan.quick and share < 1 else note,
            )


def left_out(plan: Plan) -> Iterator[Task]:
    """Sources mixed without one clean domain: are its texts called toxic?"""
    (jig, jig_test), (gen, gen_test) = plan.halves("jig"), plan.halves("toxigen")
    wide, wide_test, names = plan.domains()
    documents = concatenated([wide, wide_test])
    for position, name in enumerate(names):
        inside = documents.labels[:, position] == 1
        train = concatenated([jig, gen, documents.take(~inside).relabeled(0)])
        unseen = documents.take(inside).relabeled(0)
        test = Test(
            f"{name} against toxic", concatenated([jig_test.of_class(1), gen_test.of_class(1), unseen])
        )
        compared = ("length", SPLINE7[0], TFIDF[0], MARGINS[0])
        yield plan.task(f"mixed without {name}", train, test, contenders=compared)


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol("splits", "the paper's five random splits", ("jig",), splits),
        Protocol("domains", "nine domains, each against the others", ("domains",), domains),
        Protocol("types", "Jigsaw's six types", ("raw", "clean"), types),
        Protocol("mixed", "sources mixed as in the paper", ("jig", "toxigen", "domains"), mixed),
        Protocol("transfer", "trained on Jigsaw, measured there and elsewhere", ("jig",), transfer),
        Protocol("own", "each set on rows of its own", (), own),
        Protocol("pairs", "the same content, rude and polite", ("para",), pairs),
        Protocol("matched", "length and source controlled", ("jig",), matched),
        Protocol("layers", "which layer and which feature tells most", ("jig",), layers, curve=True),
        Protocol("labels", "how many labels are needed", ("jig",), few_labels, curve=True),
        Protocol("left-out", "an unseen clean domain", ("jig", "toxigen", "domains"), left_out, curve=True),
    )
}


def document(domain: str, piece: object) -> str:
    """The document of a row: patents and code come in several pieces, which stay together.

    Example:
        >>> document("patent", "US1:4")
        'patent/US1'
    """
    name = str(piece)
    return f"{domain}/{name.split(':')[0] if domain in ('patent', 'code_python') else name}"


def _pair_numbers(plan: Plan) -> np.ndarray:
    return np.array(plan.data.sets["para"].columns["pair"], dtype=int)


def _sample_groups(number: np.ndarray, limit: int | None, seed: int) -> np.ndarray:
    """A mask of at most so many rows, whole groups; None keeps all."""
    if limit is None or len(number) <= limit:
        return np.ones(len(number), dtype=bool)
    groups = np.random.default_rng(seed).permutation(np.unique(number))
    return np.isin(number, groups[: limit * len(groups) // len(number)])


def _length_bin(tokens: np.ndarray) -> np.ndarray:
    """Exact up to 32 tokens, then steps of an eighth of an octave."""
    count = np.nan_to_num(tokens, nan=0.0)
    steps = 32 + np.floor(8 * np.log2(np.maximum(count, 32) / 32))
    return np.where(count <= 32, count, steps).astype(int)


def _balanced(rows: Rows, strata: np.ndarray, seed: int) -> Rows:
    """Equally many rows of both classes in every stratum, as many as the rarer class has."""
    rng, keep, strata = np.random.default_rng(seed), [], strata.astype(str)
    for stratum in np.unique(strata):
        sides = [np.flatnonzero((strata == stratum) & (rows.labels == label)) for label in (0, 1)]
        keep += [rng.permutation(side)[: min(map(len, sides))] for side in sides]
    return rows.take(np.sort(np.concatenate(keep)))
