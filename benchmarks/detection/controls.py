"""What raises a number without reading toxicity, taken away: length, source, content, domain, own set."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from detection.plan import (
    COUNTS,
    OURS,
    PROMPTED,
    READY,
    SPLINE7,
    TRAIN_SHARE,
    Plan,
    Protocol,
    one_test,
    only,
    relabelled,
)
from detection.rows import Rows, Task, Test, joined, thinned, two_parts

ELSEWHERE = {
    "para": "paradetox",
    "tweet": "tweeteval offensive",
    "toxigen": "toxigen",
    "hatecheck": "hatecheck",
}
"""Sets that are judged without a training row of theirs, all rows, and what the table calls them."""
MENTIONS = ("ident_neutral_nh", "ident_pos_nh")
"""HateCheck's harmless sentences that name a group of people."""


def transfer(plan: Plan) -> Iterator[Task]:
    """Trained on Jigsaw; judged on its test rows and on sets that it never saw.

    Clean rows elsewhere are flagged above the score that lets 5 % of the clean Jigsaw test rows through.
    """
    train, test = plan.halves("jig")
    tests, notes = [Test("jig test", test, limit="jig test")], []
    for name, title in ELSEWHERE.items():
        if name in plan:
            rows = plan.binary(name)
            judged = _few_judged(rows, _pairs(plan) if name == "para" else None, plan)
            notes += [f"{len(judged.rows):,} of {len(rows):,} rows of {title}"] * (
                len(judged.rows) < len(rows)
            )
            tests.append(replace(judged, name=title, limit="jig test"))
    tests += [Test(name, rows, limit="jig test") for name, rows in _harmless(plan)]
    fitted = (*plan.fitted, *([] if plan.quick else PROMPTED), *READY)
    yield Task("jig train", train, tuple(tests), tuple(dict.fromkeys(fitted)), note=", ".join(notes))


def _harmless(plan: Plan) -> Iterator[tuple[str, Rows]]:
    """Clean rows that a careless detector calls toxic."""
    if "hatecheck" in plan:
        rows = plan.binary("hatecheck")
        kinds = np.array(plan.data.sets["hatecheck"].columns["functionality"])
        yield "hatecheck identity mentions", rows.take(np.isin(kinds, MENTIONS))
    if "xstest" in plan:
        yield "xstest safe", only(plan.binary("xstest"), 0)


def own(plan: Plan) -> Iterator[Task]:
    """Each set by itself: both classes from one source, as the set's own split or a draw has it."""
    for name, title in {"toxigen": "toxigen", "tweet": "tweeteval offensive", "raw": "jigsaw6-raw"}.items():
        if name in plan:
            train, test = plan.halves(name)
            used, note = plan.thin(train), plan.thin_note(train)
            yield Task(
                f"{title} train", used, (Test(f"{title} test", test),), (*plan.fitted, *READY), note=note
            )


def pairs(plan: Plan) -> Iterator[Task]:
    """The same content rude and polite, a pair on one side."""
    rows, number = plan.binary("para"), _pairs(plan)
    first, second = two_parts(number.tolist(), [0] * len(rows), TRAIN_SHARE, plan.seed)
    train = rows.take(first[_whole_pairs(number[first], plan.most, plan.seed)])
    note = plan.thin_note(rows.take(first))
    tests = (Test("paradetox 30 %", rows.take(second), number[second]),)
    yield Task("paradetox 70 %", train, tests, (*plan.fitted, *READY), note=note)


def matched(plan: Plan) -> Iterator[Task]:
    """Equally many toxic and clean rows of every length; then of every source."""
    train, test = plan.halves("jig")
    short, short_test = (_balanced(rows, _length_bin(plan.tokens(rows)), plan.seed) for rows in (train, test))
    yield Task(
        "jig train, length-matched",
        plan.thin(short),
        one_test("jig test, length-matched", short_test),
        plan.fitted,
        note=plan.thin_note(short),
    )
    if "toxigen" not in plan:
        return
    gen, gen_test = plan.halves("toxigen")
    both, both_test = (
        _balanced(rows, rows.sets, plan.seed) for rows in (joined([train, gen]), joined([test, gen_test]))
    )
    yield Task(
        "jig + toxigen, source-matched",
        plan.thin(both),
        one_test("jig + toxigen test, source-matched", both_test),
        plan.fitted,
        note=plan.thin_note(both),
    )


def left_out(plan: Plan) -> Iterator[Task]:
    """Sources mixed, one clean domain never seen: are its texts called toxic?"""
    (jig, jig_test), (gen, gen_test) = plan.halves("jig"), plan.halves("toxigen")
    wide, wide_test, kinds = plan.domains()
    everything = joined([wide, wide_test])
    for place, kind in enumerate(kinds):
        own = everything.labels[:, place] == 1
        clean = relabelled(everything.take(~own), 0)
        train = joined([jig, gen, clean])
        yield Task(
            f"mixed without {kind}",
            plan.thin(train),
            one_test(
                f"{kind} against toxic",
                only(jig_test, 1),
                only(gen_test, 1),
                relabelled(everything.take(own), 0),
            ),
            ("length", SPLINE7[0], COUNTS[0], OURS[0]),
            note=plan.thin_note(train),
        )


def _pairs(plan: Plan) -> np.ndarray:
    return np.array(plan.data.sets["para"].columns["pair"], dtype=int)


def _few_judged(rows: Rows, number: np.ndarray | None, plan: Plan) -> Test:
    """A test of all rows, or of as many as a quick run judges."""
    if number is None:
        return Test("", thinned(rows, plan.most_judged, plan.seed))
    keep = _whole_pairs(number, plan.most_judged, plan.seed)
    return Test("", rows.take(keep), number[keep])


def _whole_pairs(number: np.ndarray, most: int | None, seed: int) -> np.ndarray:
    """At most so many rows, both of a pair or none: a boolean for each."""
    if most is None or len(number) <= most:
        return np.ones(len(number), dtype=bool)
    chosen = np.random.default_rng(seed).permutation(np.unique(number))[: most // 2]
    return np.isin(number, chosen)


def _length_bin(tokens: np.ndarray) -> np.ndarray:
    """Exact up to 32 tokens, then steps of an eighth."""
    count = np.nan_to_num(tokens, nan=0.0)
    steps = 32 + np.floor(8 * np.log2(np.maximum(count, 32) / 32))
    return np.where(count <= 32, count, steps).astype(int)


def _balanced(rows: Rows, strata: np.ndarray, seed: int) -> Rows:
    """Equally many rows of both classes in every stratum, as many as the rarer class has."""
    rng, keep = np.random.default_rng(seed), []
    for stratum in np.unique(strata.astype(str)):
        sides = [np.flatnonzero((strata.astype(str) == stratum) & (rows.labels == label)) for label in (0, 1)]
        few = min(map(len, sides))
        keep += [rng.permutation(side)[:few] for side in sides]
    return rows.take(np.sort(np.concatenate(keep)))


PROTOCOLS = (
    Protocol("transfer", "trained on Jigsaw, judged there and elsewhere", ("jig",), transfer),
    Protocol("own", "each set on rows of its own", (), own),
    Protocol("pairs", "the same content, rude and polite", ("para",), pairs),
    Protocol("matched", "length and source taken away", ("jig",), matched),
    Protocol(
        "left-out", "a clean domain that was never seen", ("jig", "toxigen", "domains"), left_out, trend=True
    ),
)
