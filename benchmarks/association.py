"""Planted truth for the analysis of audits: synthetic responders with a known reason to refuse.

    python benchmarks/association.py [--runs 400] [--seed 0] -o benchmarks/association.md

Each run is an audit of its own design: prompts x 2 lengths x 5 kinds of context x repetitions. ID is a saturating
function of length plus a level per prompt and noise whose spread grows with ID; half of the noise is common to the
repetitions of a kind in a prompt, which share their sentences. What drives refusal differs by responder. Lengths are
equal within cells (matched), or vary by up to 40 % (unmatched). Intervals are Clopper-Pearson, 95 %.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splinelens.detect.association import LEVEL, association, by_layer
from splinelens.detect.thresholds import proportion_interval

LENGTHS, KINDS = 2, 5
LENGTH_NAMES = {True: "matched", False: "unmatched"}
PERMUTATIONS = 399
SEED = 0  # of the permutations
ODDS = 2.5
"""Planted odds ratio per standard deviation of ID at equal length, of the bar of power."""


@dataclass(frozen=True, eq=False)
class Audit:
    """The rows of one audit; ``signal`` is ID beyond prompt and length, with a standard deviation of 1."""

    refused: np.ndarray
    predictor: np.ndarray
    length: np.ndarray
    signal: np.ndarray
    prompt: np.ndarray
    cell: np.ndarray
    kind: np.ndarray

    def p_value(self, *, within_kind: bool = False, ignore_length: bool = False) -> float:
        """``p_value`` or ``p_within_kind`` of ``association`` without its other numbers, or as if nobody knew the lengths."""
        prompt, cell, kind, length = self.prompt, self.cell, self.kind, self.length
        if within_kind:
            prompt, cell = prompt * KINDS + kind, cell * KINDS + kind
        if ignore_length:
            cell, kind, length = prompt, np.arange(len(kind)), np.ones(len(kind))
        layers = by_layer(
            self.refused,
            self.predictor[:, None],
            length,
            prompt=prompt,
            cell=cell,
            kind=kind,
            permutations=PERMUTATIONS,
            seed=SEED,
        )
        return float(layers.p_value[0])


Responder = Callable[[Audit, np.random.Generator], np.ndarray]
"""Logits of refusal, without the intercepts of prompts."""


def only_id(odds: float) -> Responder:
    return lambda audit, rng: np.log(odds) * audit.signal


def only_length(shape: str) -> Responder:
    """Refusal depends on length alone, from nearly never to nearly always."""

    def logit(audit: Audit, rng: np.random.Generator) -> np.ndarray:
        middle = np.median(audit.length)
        distance = (audit.length - middle) / middle
        return 3 * np.tanh(6 * distance) if shape == "step" else 3 - 12 * np.minimum(np.abs(distance), 0.5)

    return logit


def only_prompt(audit: Audit, rng: np.random.Generator) -> np.ndarray:
    return np.zeros(len(audit.prompt))


def content(audit: Audit, rng: np.random.Generator) -> np.ndarray:
    """The sentences of a kind in a prompt move refusal, and do so independently of ID."""
    return 2 * rng.normal(size=(audit.prompt.max() + 1, KINDS))[audit.prompt, audit.kind]


def only_kind(audit: Audit, rng: np.random.Generator) -> np.ndarray:
    return 1.5 * (audit.kind - (KINDS - 1) / 2) / np.sqrt(2)


def simulate(
    responder: Responder,
    rng: np.random.Generator,
    *,
    matched: bool,
    prompts: int = 10,
    repeats: int = 2,
    by_kind: bool = False,
    prompt_spread: float = 1.0,
) -> Audit:
    """One audit; with ``by_kind`` the kind moves ID, and prompts that refuse more always have a higher ID."""
    axes = np.meshgrid(*map(range, (prompts, LENGTHS, KINDS, repeats)), indexing="ij")
    prompt, level, kind, _ = (axis.ravel() for axis in axes)
    rows = len(prompt)
    added = 18 * (level + 1) * (1 if matched else rng.uniform(0.6, 1.4, rows))
    length = rng.integers(8, 30, prompts)[prompt] + np.round(added)
    shared = rng.normal(size=(prompts, KINDS))[prompt, kind]
    noise = np.sqrt(0.5) * (shared + rng.normal(size=rows))
    if by_kind:
        noise = np.sqrt(0.5) * noise + np.sqrt(0.5) * (kind - (KINDS - 1) / 2) / np.sqrt(2)
    level_of_id = 30 * (1 - np.exp(-length / 40))
    spread = level_of_id / np.sqrt(np.mean(level_of_id**2))
    intercept = prompt_spread * rng.normal(size=prompts)
    audit = Audit(
        refused=np.zeros(rows),
        predictor=level_of_id + 2 * intercept[prompt] + 2 * spread * noise,
        length=length,
        signal=spread * noise,
        prompt=prompt,
        cell=prompt * LENGTHS + level,
        kind=kind,
    )
    logit = intercept[prompt] + responder(audit, rng)
    audit.refused[:] = rng.random(rows) < 1 / (1 + np.exp(-logit))
    return audit


def share(hits: np.ndarray) -> str:
    low, high = proportion_interval(int(hits.sum()), len(hits))
    return f"{hits.mean():.3f} ({low:.3f} to {high:.3f})"


def audits(
    runs: int, seed: int, responder: Responder, *, matched: bool = True, **options: Any
) -> Iterator[Audit]:  # Any: those of ``simulate``
    rng = np.random.default_rng(seed)
    return (simulate(responder, rng, matched=matched, **options) for _ in range(runs))


def claims(runs: int, seed: int) -> Iterator[str]:
    """How often each responder is said to follow ID."""
    responders: dict[str, tuple[Responder, dict[str, float]]] = {
        f"only ID, odds x {ODDS:g}": (only_id(ODDS), {}),
        "only length, a step": (only_length("step"), {}),
        "only length, a hump": (only_length("hump"), {}),
        "only the prompt": (only_prompt, {"prompt_spread": 2.0}),
        "only the sentences": (content, {}),
    }
    yield "| what drives refusal | lengths | claims ID | p <= 0.05 | claims ID if lengths are ignored | refused |"
    yield "|---|---|---|---|---|---|"
    for name, (responder, options) in responders.items():
        for matched in (True, False):
            made = list(audits(runs, seed, responder, matched=matched, **options))
            p = np.array([audit.p_value() for audit in made])
            ignoring = np.array([audit.p_value(ignore_length=True) for audit in made[: runs // 8]])
            yield (
                f"| {name} | {LENGTH_NAMES[matched]} | {share(p <= LEVEL)} | {share(p <= 0.05)} | "
                f"{share(ignoring <= LEVEL)} | {np.mean([audit.refused.mean() for audit in made]):.2f} |"
            )


def kinds(runs: int, seed: int) -> Iterator[str]:
    """Is ID told apart from the kind of context, where the kind moves ID?"""
    yield "| what drives refusal | lengths | claims ID | also within one kind |"
    yield "|---|---|---|---|"
    for name, responder in {"only the kind": only_kind, f"only ID, odds x {ODDS:g}": only_id(ODDS)}.items():
        for matched in (True, False):
            made = list(audits(runs, seed, responder, matched=matched, by_kind=True))
            p = np.array([audit.p_value() for audit in made])
            within = np.array([audit.p_value(within_kind=True) for audit in made])
            yield f"| {name} | {LENGTH_NAMES[matched]} | {share(p <= LEVEL)} | {share(within <= LEVEL)} |"


def power(runs: int, seed: int) -> Iterator[str]:
    """Share of audits that claim ID, by odds ratio and size; matched."""
    odds = (1.5, 2.0, 2.5, 3.0)
    yield "| answers | " + " | ".join(f"odds x {ratio:g}" for ratio in odds) + " |"
    yield "|---" * (len(odds) + 1) + "|"
    for prompts, repeats in ((5, 2), (10, 2), (20, 1), (20, 2)):
        cells = []
        for ratio in odds:
            made = audits(runs, seed, only_id(ratio), prompts=prompts, repeats=repeats)
            cells.append(share(np.array([audit.p_value() for audit in made]) <= LEVEL))
        n = prompts * LENGTHS * KINDS * repeats
        yield f"| {n}: {prompts} prompts, {repeats} of a kind and length | " + " | ".join(cells) + " |"


def coverage(runs: int, seed: int) -> Iterator[str]:
    """How often the 95 % intervals of the odds ratio hold the planted one, beside the mixed model with a random intercept."""
    yield "| what drives refusal | lengths | prompts | holds it | median | random intercept holds it | median | finding |"
    yield "|---|---|---|---|---|---|---|---|"
    settings = (
        ("only the prompt", only_prompt, 1.0, True, 10),
        ("only the sentences", content, 1.0, True, 10),
        (f"only ID, odds x {ODDS:g}", only_id(ODDS), ODDS, True, 10),
        (f"only ID, odds x {ODDS:g}", only_id(ODDS), ODDS, True, 5),
        (f"only ID, odds x {ODDS:g}", only_id(ODDS), ODDS, False, 10),
    )
    for name, responder, odds, matched, prompts in settings:
        held, medians, findings = ([], []), ([], []), Counter()
        for audit in audits(runs, seed, responder, matched=matched, prompts=prompts):
            found = association(
                audit.refused,
                audit.predictor,
                audit.length,
                prompt=audit.prompt,
                cell=audit.cell,
                kind=audit.kind,
                permutations=PERMUTATIONS,
            )
            findings[found.finding] += 1
            for index, (value, interval) in enumerate(
                ((found.odds_ratio.value, found.odds_ratio.interval), random_intercept(audit))
            ):
                if value is not None and interval is not None:
                    held[index].append(interval[0] <= odds <= interval[1])
                    medians[index].append(value)
        both = " | ".join(
            f"{share(np.array(hits))} | x {np.median(values):.2f}"
            for hits, values in zip(held, medians, strict=True)
        )
        counts = ", ".join(f"{finding}: {count}" for finding, count in sorted(findings.items()))
        yield f"| {name} | {LENGTH_NAMES[matched]} | {prompts} | {both} | {counts} |"


def random_intercept(audit: Audit) -> tuple[float, tuple[float, float]]:
    """Odds ratio per standard deviation of ID and its interval from a mixed logistic regression, beside a spline of length."""
    from sklearn.preprocessing import SplineTransformer
    from statsmodels.genmod.bayes_mixed_glm import BinomialBayesMixedGLM

    log_length = np.log(audit.length)[:, None]
    spline = SplineTransformer(n_knots=5, knots="quantile", include_bias=False).fit_transform(log_length)
    columns = [
        np.ones(len(log_length)),
        (audit.predictor - audit.predictor.mean()) / 2,
        *(spline - spline.mean(0)).T,
    ]
    members = (audit.prompt[:, None] == np.unique(audit.prompt)).astype(float)
    model = BinomialBayesMixedGLM(
        audit.refused, np.stack(columns, axis=1), members, np.zeros(members.shape[1], dtype=int), fe_p=5
    )
    fitted = model.fit_vb()
    weight, error = fitted.fe_mean[1], fitted.fe_sd[1]
    return float(np.exp(weight)), (float(np.exp(weight - 1.96 * error)), float(np.exp(weight + 1.96 * error)))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--output", type=Path, required=True)
    args = parser.parse_args()
    parts = {
        f"Claims, n = 200, {args.runs} runs": claims(args.runs, args.seed),
        f"ID or the kind of context, n = 200, {args.runs // 2} runs": kinds(args.runs // 2, args.seed),
        f"Power, {args.runs // 4} runs": power(args.runs // 4, args.seed),
        f"Intervals of the odds ratio, {args.runs // 8} runs": coverage(args.runs // 8, args.seed),
    }
    lines = [
        "# Planted truth: does the analysis of an audit find what drives refusal?",
        "",
        f"`python benchmarks/association.py --runs {args.runs} --seed {args.seed} -o {args.output}`",
        "",
        f"ID is claimed at p <= {LEVEL:g} of the permutation test, {PERMUTATIONS} permutations. Intervals are Clopper-Pearson, 95 %.",
    ]
    for title, rows in parts.items():
        lines += ["", f"## {title}", ""]
        for row in rows:
            print(row, file=sys.stderr, flush=True)
            lines.append(row)
    args.output.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
