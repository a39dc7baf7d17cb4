"""The paper's own protocol: random splits, layers, features, few labels, domains, types, mixed sources.

Source: Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648. Its 99 % comes from a benchmark whose toxic
and clean texts have different sources; the same rows with in-domain clean text stand beside it.
"""

from collections.abc import Iterator

import numpy as np

from detection.data import TYPES
from detection.plan import (
    COUNTS,
    ENCODED,
    HIDDEN,
    PLACED,
    SPLINE7,
    TRAIN_SHARE,
    TYPED,
    Plan,
    Protocol,
    one_test,
    only,
    relabelled,
)
from detection.rows import Rows, Task, Test, joined, rows_of, two_parts
from splinelens.geometry.partition import SPLINE7 as STATISTICS

SHARES = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
"""Shares of the labels that are known."""


def splits(plan: Plan) -> Iterator[Task]:
    """Five random 70/30 splits of all Jigsaw rows."""
    rows = plan.binary("jig")
    for number in range(5):
        seed = plan.seed + number
        first, second = two_parts(range(len(rows)), rows.labels.tolist(), TRAIN_SHARE, seed)
        test = Test("30 % of jig", rows.take(second))
        yield Task("70 % of jig", rows.take(first), (test,), ("length", *SPLINE7), note="mean of 5 splits")


def layers(plan: Plan) -> Iterator[Task]:
    """Each layer alone, the first k layers, and each feature alone."""
    train, test = plan.halves("jig")
    alone = [f"spline7 layer {layer}" for layer in range(plan.depth)]
    first = [f"spline7 layers 0-{layer}" for layer in range(1, plan.depth, 3 if plan.quick else 1)]
    yield Task("jig train", train, (Test("jig test", test),), (*alone, *first, *STATISTICS))


def shares(plan: Plan) -> Iterator[Task]:
    """A share of the labels, with and without learning from the head's own sure answers."""
    train, test = plan.halves("jig")
    draws = 1 if plan.quick else 3
    for share in SHARES:
        for number in range(1 if share == 1 else draws):
            seed = plan.seed + number
            known = two_parts(range(len(train)), train.labels.tolist(), share, seed)[0]
            hidden = np.full(len(train), -1)
            hidden[known] = train.labels[known]
            fitted = ["spline7 logistic", *(["spline7 self-training"] if share < 1 else [])]
            fitted += ["characters", "margins"] if share <= 0.25 or not plan.quick else []
            yield Task(
                f"jig train, {share:.0%} of labels",
                Rows(train.sets, train.index, hidden),
                (Test("jig test", test),),
                tuple(fitted),
                note="" if share == 1 else f"mean of {draws} draws" if draws > 1 else "one draw",
            )


def domains(plan: Plan) -> Iterator[Task]:
    """Nine domains, one against the others; then all texts cut to the same 64 tokens."""
    train, test, _ = plan.domains()
    hidden = HIDDEN[:1] if plan.quick else HIDDEN
    everything = ("length", *SPLINE7[: 1 if plan.quick else 2], *COUNTS, *hidden, *ENCODED)
    yield Task("domains 70 %", train, (Test("domains 30 %", test),), everything)
    long = [rows.take(plan.tokens(rows) >= 64) for rows in (train, test)]
    yield Task(
        "domains 70 %, 64 tokens each",
        long[0],
        (Test("domains 30 %, 64 tokens each", long[1]),),
        ("spline7 logistic at 64", "spline7 forest at 64", "spline7 network at 64", *PLACED),
        each_label=True,
        note="texts of 64 tokens and more, cut there: length says nothing",
    )


def types(plan: Plan) -> Iterator[Task]:
    """Jigsaw's six labels on cleaned text."""
    texts = plan.data.sets["clean"]
    labels = np.array([[int(cell) for cell in texts.columns[name]] for name in TYPES]).T
    split = np.array(texts.columns["split"])
    rows = rows_of("clean", np.arange(len(split)), labels, TYPES)
    train, test = plan.thin(rows.take(split == "train")), rows.take(split == "test")
    note = plan.thin_note(rows.take(split == "train"))
    tests = (Test("jigsaw6-clean test", test),)
    yield Task("jigsaw6-clean train", train, tests, (*plan.fitted, *TYPED), each_label=True, note=note)


def mixed(plan: Plan) -> Iterator[Task]:
    """Toxic texts from Jigsaw and ToxiGen, clean ones from nine domains; then also clean ones of both."""
    (jig, jig_test), (gen, gen_test) = plan.halves("jig"), plan.halves("toxigen")
    wide, wide_test, _ = plan.domains()
    clean, clean_test = relabelled(wide, 0), relabelled(wide_test, 0)
    without = joined([only(jig, 1), only(gen, 1), clean])
    fitted = tuple(name for name in plan.fitted if name not in ENCODED)
    yield Task(
        "toxic + other domains",
        plan.thin(without),
        one_test("toxic + other domains", only(jig_test, 1), only(gen_test, 1), clean_test),
        fitted,
        note=plan.thin_note(without) or "as in the paper: sources tell the label",
    )
    within = joined([jig, gen, clean])
    yield Task(
        "the same + in-domain clean",
        plan.thin(within),
        one_test("the same + in-domain clean", jig_test, gen_test, clean_test),
        fitted,
        note=plan.thin_note(within),
    )


PROTOCOLS = (
    Protocol("splits", "the paper's five random splits", ("jig",), splits),
    Protocol("layers", "which layer and which feature tells most", ("jig",), layers, trend=True),
    Protocol("labels", "how many labels are needed", ("jig",), shares, trend=True),
    Protocol("domains", "nine domains apart", ("domains",), domains),
    Protocol("types", "Jigsaw's six types", ("clean",), types),
    Protocol("mixed", "sources mixed as in the paper", ("jig", "toxigen", "domains"), mixed),
)
