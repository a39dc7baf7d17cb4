"""The sense of a predicate from other sentences: counts, centroids of features, and log-likelihoods, weighed."""

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from srl_questions import Case, lemma_of

from splinelens.features.extract import extract
from splinelens.models import LoadedModel, load_model

FOLDS = 5
LAYERS = (9, 15, 21, 27)


def fitted_choice(features: Sequence[np.ndarray], gold: Sequence[int], ridge: float = 1.0) -> np.ndarray:
    """Weights of a conditional logit: the choice of each case is that of the highest weighted sum.

    Args:
        features: For each case (choice, feature).
        gold: The right choice of each.
        ridge: Half of it times the squares of the weights is added to the negative log-likelihood.
    """
    from scipy.optimize import minimize

    case = np.repeat(np.arange(len(features)), [len(each) for each in features])
    begins = np.searchsorted(case, np.arange(len(features)))
    rows, right = np.concatenate(features), begins + np.asarray(gold)

    def loss(weights: np.ndarray) -> tuple[float, np.ndarray]:
        values = rows @ weights
        highest = np.maximum.reduceat(values, begins)
        total = highest + np.log(np.add.reduceat(np.exp(values - highest[case]), begins))
        chance = np.exp(values - total[case])
        slope = chance @ rows - rows[right].sum(axis=0) + ridge * weights
        return float((total - values[right]).sum() + ridge * (weights @ weights) / 2), slope

    return np.asarray(minimize(loss, np.zeros(rows.shape[1]), jac=True, method="L-BFGS-B").x)


def fold_of(cases: Sequence[Case], seed: int, by_text: bool = False) -> np.ndarray:
    """The fold of each case, whole sentences together, or whole texts."""
    groups = [case.text if by_text else str(case.number) for case in cases]
    names, inverse = np.unique(groups, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(names)) % FOLDS)[inverse]


def most_frequent(case: Case, counts: Mapping[str, Counter[str]]) -> str:
    """The most frequent sense of the lemma in other sentences; the first one of a lemma that is not there."""
    return max(choices_of(case, counts), key=lambda roleset: counts.get(case.lemma, Counter())[roleset])


def choices_of(case: Case, counts: Mapping[str, Counter[str]]) -> list[str]:
    """The senses of the lemma in the frames, in their order, and further ones of other sentences."""
    known = case.rolesets
    return known + sorted(set(counts.get(case.lemma, ())) - set(known))


def counts_of(cases: Sequence[Case]) -> dict[str, Counter[str]]:
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for case in cases:
        counts[case.lemma][case.predicate.roleset] += 1
    return dict(counts)


class Centroids:
    """Squared distances to the mean of each sense, in units of the variance within senses: a linear head.

    The mean of a sense is drawn to that of its lemma as by one more row, so a sense that never occurred is there.
    """

    def __init__(self, values: np.ndarray, cases: Sequence[Case]):
        rows = defaultdict(list)
        for at, case in enumerate(cases):
            rows[case.predicate.roleset].append(at)
        of_lemma = defaultdict(list)
        for at, case in enumerate(cases):
            of_lemma[case.lemma].append(at)
        inside = [values[each] - values[each].mean(axis=0) for each in rows.values() if len(each) > 1]
        spread = np.concatenate(inside)
        covariance = spread.T @ spread / (len(spread) - len(inside))
        size = len(covariance)
        covariance = 0.9 * covariance + 0.1 * np.trace(covariance) / size * np.eye(size)
        self._root = np.linalg.cholesky(np.linalg.inv(covariance)) / np.sqrt(size)
        values = values @ self._root
        self._lemma = {lemma: values[each].mean(axis=0) for lemma, each in of_lemma.items()}
        self._sense = {
            sense: (values[each].sum(axis=0) + self._lemma[lemma_of(sense)]) / (len(each) + 1)
            for sense, each in rows.items()
        }

    def nearness(self, value: np.ndarray, case: Case, choices: Sequence[str]) -> list[float]:
        """Half of the squared distance to each sense, below 0; 0 for a lemma that is not there."""
        if case.lemma not in self._lemma:
            return [0.0] * len(choices)
        at = value @ self._root
        means = [self._sense.get(sense, self._lemma[case.lemma]) for sense in choices]
        return [-float(((at - mean) ** 2).sum()) / 2 for mean in means]


def principal(values: np.ndarray, lemmas: Sequence[str], train: np.ndarray, count: int = 128) -> np.ndarray:
    """The first principal components of what tells rows of one lemma apart, of the rows of training.

    From each row the mean of its lemma is taken, so that no component is spent on which lemma it is.
    """
    _, lemma = np.unique(lemmas, return_inverse=True)
    times = np.bincount(lemma[train], minlength=lemma.max() + 1)[:, None]
    total = np.zeros((len(times), values.shape[1]), np.float32)
    np.add.at(total, lemma[train], values[train])
    mean = np.where(times > 0, total / np.maximum(times, 1), values[train].mean(axis=0))
    values = values - mean[lemma]
    values = values / (values[train].std(axis=0) + 1e-6)
    torch.manual_seed(0)
    _, _, directions = torch.svd_lowrank(
        torch.from_numpy(values[train]), q=min(count, *values[train].shape), niter=4
    )
    return np.asarray(values @ directions.numpy())


@dataclass
class Evidence:
    """What is known of each sense of a case, by kind: (choice,) numbers."""

    choices: list[str]
    of: dict[str, list[float]]

    def matrix(self, kinds: Sequence[str]) -> np.ndarray:
        return np.stack([self.of[kind] for kind in kinds], axis=1)


def evidence(
    cases: Sequence[Case],
    train: Sequence[Case],
    rows: Mapping[str, Mapping[str, Any]],
    heads: Mapping[str, tuple[Centroids, Mapping[str, np.ndarray]]],
) -> list[Evidence]:
    """Of each case, from the counts and centroids of other sentences and the log-likelihoods of the model."""
    counts, found = counts_of(train), []
    for case in cases:
        choices = choices_of(case, counts)
        seen = counts.get(case.lemma, Counter())
        of: dict[str, list[float]] = {
            "first": [float(at == 0) for at in range(len(choices))],
            "count": [float(np.log1p(seen[choice])) for choice in choices],
        }
        row = rows.get(case.key, {})
        known = len(case.rolesets)
        for kind, values in likelihoods(row, known).items():
            of[kind] = [*values, *[float(np.mean(values))] * (len(choices) - known)]
        for name, (centroids, values) in heads.items():
            of[name] = centroids.nearness(values[case.key], case, choices)
        found.append(Evidence(choices, of))
    return found


def likelihoods(row: Mapping[str, Any], count: int) -> dict[str, list[float]]:
    """Forms of the log-likelihood of each choice; all equal for a case that the model was not asked about."""
    if "sum" not in row:
        return {kind: [0.0] * count for kind in ("sum", "mean", "less neutral")}
    total, tokens, neutral = (np.array(row[key], dtype=float) for key in ("sum", "tokens", "neutral"))
    return {
        "sum": total.tolist(),
        "mean": (total / tokens).tolist(),
        "less neutral": (total - neutral).tolist(),
    }


def preferred(row: Mapping[str, Any], case: Case, kind: str) -> str:
    """The sense that the model prefers, by a form of its log-likelihood."""
    return case.rolesets[int(np.argmax(likelihoods(row, len(case.rolesets))[kind]))]


def stacked(
    cases: Sequence[Case],
    pool: Sequence[Case],
    rows: Mapping[str, Mapping[str, Any]],
    blocks: Mapping[str, Mapping[str, np.ndarray]],
    kinds_of: Mapping[str, Sequence[str]],
    seed: int,
    by_text: bool = False,
) -> dict[str, np.ndarray]:
    """For each set of kinds of evidence whether the choice is right, out of fold.

    Args:
        cases: To judge, and to fit weights of kinds on.
        pool: All cases, for counts and centroids; those of the held-out sentences are left out.
        rows: Log-likelihoods of the cases.
        blocks: For each head the features of every case of the pool.
        kinds_of: The kinds of evidence of each method.
        seed: Of the folds.
        by_text: Whether folds keep whole texts together, not only sentences.
    """
    fold = dict(zip((case.key for case in pool), fold_of(pool, seed, by_text), strict=True))
    inner = dict(zip((case.key for case in pool), fold_of(pool, seed + 1, by_text), strict=True))
    lemmas = [case.lemma for case in pool]
    right = {name: np.zeros(len(cases), dtype=bool) for name in kinds_of}
    for held_out in range(FOLDS):
        outside = np.array([fold[case.key] != held_out for case in pool])
        reduced = {
            name: dict(
                zip(
                    (case.key for case in pool),
                    principal(np.stack([values[case.key] for case in pool]), lemmas, outside),
                    strict=True,
                )
            )
            for name, values in blocks.items()
        }

        def collected(
            judged: Sequence[Case], train: Sequence[Case], reduced: Mapping[str, Any] = reduced
        ) -> list[Evidence]:
            heads = {
                name: (Centroids(np.stack([values[case.key] for case in train]), train), values)
                for name, values in reduced.items()
            }
            return evidence(judged, train, rows, heads)

        train = [case for case in pool if fold[case.key] != held_out]
        fitting: list[tuple[Case, Evidence]] = []
        for part in range(FOLDS):
            judged = [case for case in cases if fold[case.key] != held_out and inner[case.key] == part]
            rest = [case for case in train if inner[case.key] != part]
            fitting += zip(judged, collected(judged, rest), strict=True)
        fitting = [
            (case, each)
            for case, each in fitting
            if len(each.choices) > 1 and case.predicate.roleset in each.choices
        ]
        gold = [each.choices.index(case.predicate.roleset) for case, each in fitting]
        places = [at for at, case in enumerate(cases) if fold[case.key] == held_out]
        tested = collected([cases[at] for at in places], train)
        for name, kinds in kinds_of.items():
            weights = fitted_choice([each.matrix(kinds) for _, each in fitting], gold)
            for at, each in zip(places, tested, strict=True):
                best = each.choices[int(np.argmax(each.matrix(kinds) @ weights))]
                right[name][at] = best == cases[at].predicate.roleset
    return right


def read_features(cases: Sequence[Case], name: str, cache: Path) -> dict[str, dict[str, np.ndarray]]:
    """Of each case hidden states and margins at the predicate, at the word after it, and where it is repeated.

    The sentence before a word is all that a causal model knows there. After the sentence, in ``Meaning of
    "word":``, it knows it all.
    """
    sentences: dict[int, list[Case]] = defaultdict(list)
    for case in cases:
        sentences[case.number].append(case)
    texts = [found[0].sentence.text for found in sentences.values()]
    in_order = [case for found in sentences.values() for case in found]
    places: dict[str, tuple[list[str], list[list[tuple[int, int]]], Sequence[Case]]] = {
        "predicate": (texts, [[_word(case, 0) for case in found] for found in sentences.values()], in_order),
        "next word": (texts, [[_word(case, 1) for case in found] for found in sentences.values()], in_order),
        "question": (
            [case.stem() for case in cases],
            [[(len(case.stem()) - 2 - len(case.word), len(case.stem()) - 2)] for case in cases],
            cases,
        ),
    }
    model: LoadedModel | None = None
    blocks: dict[str, dict[str, np.ndarray]] = {}
    for place, (of_place, at, order) in places.items():
        path = cache / f"features-{place.split()[-1]}.npz"
        if not path.exists():
            model = model or load_model(name, device="cpu", dtype="bfloat16")
            table = extract(
                of_place,
                model,
                features=("hidden", "margins"),
                layers=LAYERS,
                pooling="last",
                at=at,
                batch_tokens=4096,
            )
            kinds = {
                kind: [column.name for column in table.columns if f".{kind}_" in column.name]
                for kind in ("hidden", "margin")
            }
            np.savez(
                path,
                **{
                    kind: np.concatenate([table.column(each) for each in names], axis=1).astype(np.float16)
                    for kind, names in kinds.items()
                },
            )
        stored = np.load(path)
        for kind in ("hidden", "margin"):
            values = stored[kind].astype(np.float32)
            blocks[f"{kind} at the {place}"] = {
                case.key: value for case, value in zip(order, values, strict=True)
            }
    return blocks


def _word(case: Case, after: int) -> tuple[int, int]:
    """The characters of the predicate, or of a word after it; of the last one if there is none."""
    return case.sentence.spans[min(case.predicate.word + after, len(case.sentence.words) - 1)]
