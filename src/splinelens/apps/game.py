"""The game of auditor and detective, on stored answers or with models that write on this machine."""

import json
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from os import PathLike
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from splinelens.detect.authorship import share_interval
from splinelens.errors import BadFeatures, BadTexts
from splinelens.features.ngrams import ngram_counts
from splinelens.files import RowStore
from splinelens.generate.game import (
    SLOTS,
    Formula,
    Generation,
    StoredGame,
    evolve,
    most_alike,
    prompt_of,
    random_search,
    separation,
)
from splinelens.generate.sample import Sampling, Writer
from splinelens.models import LoadedModel, load_model
from splinelens.report.game import GameReport, PairResult
from splinelens.texts import Texts
from splinelens.texts.table import is_missing

QUERIES = 40
SEEDS = 10

_NGRAMS = "character n-grams"
_PRUNED, _BITS, _HOT, _WARM = 0.3, 4, 1.1, 0.7
_MOST_OPTIONS = 8  # different values of a slot of stored prompts


@dataclass(frozen=True, eq=False)
class LocalWriter:
    """A model that takes part in the game.

    Attributes:
        name: Its name.
        writer: The model.
        temperature: At which it writes.
    """

    name: str
    writer: Writer
    temperature: float

    def replies(self, prompt: str, count: int, tokens: int, seed: int) -> list[str]:
        """Its answers to a prompt."""
        sampling = Sampling(max_tokens=tokens, temperature=self.temperature, seed=seed)
        ids = self.writer.reply_ids(prompt)
        texts = [""] * count
        for step in self.writer.steps(ids, sampling, replies=count):
            texts = [text + piece for text, piece in zip(texts, step.pieces, strict=True)]
        return texts


def local_writers(
    model: str | PathLike[str] | LoadedModel = "smollm2-135m",
    others: Sequence[str | PathLike[str] | LoadedModel] = (),
    *,
    dtype: str = "bfloat16",
) -> list[LocalWriter]:
    """The writers of a local game; the first two share their weights, and only they are one family.

    They are the model at a temperature of 0.7 and at 1.1, the model with 30 % of the weights of each matrix
    removed, with weights rounded to 4 bits, and other models.
    """
    loaded = _loaded(model, dtype)
    writer = Writer(loaded)
    return [
        LocalWriter("as it is", writer, _WARM),
        LocalWriter("hotter", writer, _HOT),
        LocalWriter("pruned", Writer(_changed(loaded, _pruned)), _WARM),
        LocalWriter("quantized", Writer(_changed(loaded, _rounded)), _WARM),
        *(LocalWriter(one.name, Writer(one), _WARM) for one in (_loaded(other, dtype) for other in others)),
    ]


def play(
    writers: Sequence[LocalWriter],
    *,
    queries: int = QUERIES,
    seeds: int = SEEDS,
    replies: int = 6,
    tokens: int = 20,
    tests: int = 6,
    slots: Mapping[str, Sequence[str]] = SLOTS,
    cache: str | PathLike[str] | None = None,
    progress: Callable[[str], None] = lambda line: None,
) -> GameReport:
    """Let models on this machine write; evolution and random formulas search with equal queries.

    All searches see the same replies to a formula; its result is measured on fresh ones.

    Args:
        writers: As from ``local_writers``: the first two are the pair to be found.
        queries: Different formulas that each auditor asks.
        seeds: Searches of each auditor.
        replies: Replies to a prompt that the detective sees together.
        tokens: Most tokens of a reply.
        tests: Fresh sets of replies that the best formulas are tested with.
        slots: The slots of a formula.
        cache: Folder that keeps the replies: a stopped run continues.
        progress: Called with a line after each seed.

    Raises:
        BadFeatures: Fewer than three writers, or fewer queries than a population.
        MissingPackage: deap is not installed.
        CannotResume: The folder holds replies of another game.
    """
    if len(writers) < 3:
        raise BadFeatures(f"{len(writers)} writers make one pair; the game needs three or more")
    sizes, pair = [len(options) for options in slots.values()], (0, 1)
    with (
        TemporaryDirectory() as temporary,
        _Replies(Path(cache or temporary), writers, replies, tokens, slots) as stored,
    ):

        def fitness(formulas: list[Formula]) -> list[float]:
            return [separation(stored.alike(formula, 0), pair) for formula in formulas]

        def found(formula: Formula) -> float:
            return float(np.mean([most_alike(stored.alike(formula, 1 + n)) == pair for n in range(tests)]))

        runs = []
        for seed in range(seeds):
            searches = _searches(sizes, fitness, queries, seed)
            first = tuple(np.random.default_rng(seed).integers(sizes).tolist())
            evolved, random = (found(one[-1].best) for one in searches)
            runs.append((searches[0], (evolved, random, found(first))))
            progress(f"seed {seed}: evolved {evolved:.2f}, random {random:.2f}")
    names = (writers[0].name, writers[1].name)
    means = np.mean([result for _, result in runs], axis=0).tolist()
    return _report(
        tuple(one.name for one in writers),
        len(writers),
        _NGRAMS,
        queries,
        (PairResult(names, *means),),
        [result[:2] for _, result in runs],
        runs[0][0],
        prompt_of(runs[0][0][-1].best, slots),
    )


def play_stored(
    texts: Texts,
    writers: str,
    prompts: str,
    families: str,
    slots: Sequence[str] = (),
    *,
    members: int = 5,
    seen: int = 10,
    queries: int = QUERIES,
    seeds: int = SEEDS,
    similarity: np.ndarray | None = None,
    detective: str = _NGRAMS,
) -> GameReport:
    """Play on answers that were stored: formulas choose among their prompts.

    For each pair of one family the auditor learns on the other families and on one half of the prompts, and
    the detective sees prompts of the other half. Nothing is fitted to the pair that is tested.

    Args:
        texts: The answers; prompts that some writer has not answered are left out.
        writers: Column of who wrote an answer.
        prompts: Column of the prompts.
        families: Column of the writers' families.
        slots: Columns of the prompts that formulas choose by; each holds up to 8 different values.
        members: Writers of a game, two of one family and others of different ones.
        seen: Prompts that the detective sees.
        queries: As in ``play``.
        seeds: As in ``play``; the halves of prompts change too.
        similarity: (writer, writer, prompt), in the order of ``stored_answers``; None compares n-grams.
        detective: What it compares, in words.

    Raises:
        MissingColumn: A column was not kept.
        BadTexts: Fewer prompts than the detective sees, too few families, or a slot of too many values.
        MissingPackage: deap is not installed.
    """
    names, family, asked, answers = stored_answers(texts, writers, prompts, families)
    if len(asked) < 2 * seen:
        raise BadTexts(
            f"{len(asked)} prompts were answered by all {len(names)} writers; {2 * seen} are needed, half of "
            "them to learn on"
        )
    alike = ngram_similarity(answers) if similarity is None else similarity
    options, values = _slot_options(texts, prompts, asked, slots)
    game = StoredGame(alike, family, options, members, seen)
    results = np.zeros((seeds, len(game.pairs), 3))
    first: list[Generation] = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        learned = np.isin(np.arange(len(asked)), rng.permutation(len(asked))[: len(asked) // 2])
        for row, pair in enumerate(game.pairs):
            searches = _searches(game.sizes, game.fitness(pair, learned, seed), queries, seed)
            first = first or searches[0]
            anything = tuple(size - 1 for size in game.sizes)
            for column, formula in enumerate((searches[0][-1].best, searches[1][-1].best, anything)):
                found = game.found([pair], formula, ~learned, rng) or game.found(
                    [pair], anything, ~learned, rng
                )
                results[seed, row, column] = found[pair][0]
    pairs = tuple(
        PairResult((names[pair[0]], names[pair[1]]), *mean)
        for pair, mean in zip(game.pairs, results.mean(axis=0).tolist(), strict=True)
    )
    best = [
        f"{slot}={values[slot][option]}"
        for slot, option in zip(slots, first[-1].best, strict=True)
        if option < len(values[slot])
    ]
    by_seed = results.mean(axis=1)[:, :2].tolist()
    return _report(names, members, detective, queries, pairs, by_seed, first, ", ".join(best) or "any prompt")


def stored_answers(
    texts: Texts, writers: str, prompts: str, families: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], list[list[str]]]:
    """Writers, their families, the prompts that all answered, and (writer, prompt) the answers.

    Raises:
        MissingColumn: A column was not kept.
        BadTexts: A writer of two families, or no prompt that all answered.
    """
    kept = texts.keep([writers, prompts, families]).columns
    answers: dict[str, dict[str, str]] = {}
    family: dict[str, str] = {}
    order: dict[str, None] = {}
    for text, writer, prompt, of in zip(
        texts.texts, kept[writers], kept[prompts], kept[families], strict=True
    ):
        if text is None or not text.strip() or any(map(is_missing, (writer, prompt, of))):
            continue
        answers.setdefault(str(writer), {})[str(prompt)] = text
        order.setdefault(str(prompt))
        if family.setdefault(str(writer), str(of)) != str(of):
            raise BadTexts(f"writer {writer!r} is of families {family[str(writer)]!r} and {of!r}; give one")
    names = tuple(sorted(answers))
    asked = tuple(prompt for prompt in order if all(prompt in answers[name] for name in names))
    if not asked:
        raise BadTexts(f"{texts.source}: no prompt was answered by all {len(names)} writers")
    rows = [[answers[name][prompt] for prompt in asked] for name in names]
    return names, tuple(family[name] for name in names), asked, rows


def ngram_similarity(answers: Sequence[Sequence[str]]) -> np.ndarray:
    """(writer, writer, prompt), the cosine of the TF-IDF of n-grams of two answers to a prompt."""
    from splinelens.detect.authorship import Scaling

    counts = ngram_counts([text for row in answers for text in row])
    rows = Scaling.of(counts).rows(counts)
    prompts = len(answers[0])
    result = np.empty((len(answers), len(answers), prompts))
    for prompt in range(prompts):
        own = rows[[writer * prompts + prompt for writer in range(len(answers))]]
        result[:, :, prompt] = (own @ own.T).toarray()
    return result


def _searches(
    sizes: Sequence[int], fitness: Any, queries: int, seed: int
) -> tuple[list[Generation], list[Generation]]:
    return (
        evolve(sizes, fitness, queries=queries, seed=seed),
        random_search(sizes, fitness, queries=queries, seed=seed),
    )


def _report(
    writers: tuple[str, ...],
    members: int,
    detective: str,
    queries: int,
    pairs: tuple[PairResult, ...],
    by_seed: Sequence[Sequence[float]],
    generations: Sequence[Generation],
    best: str,
) -> GameReport:
    gains = np.array([evolved - random for evolved, random in by_seed])
    return GameReport(
        writers,
        members,
        detective,
        queries,
        pairs,
        tuple((evolved, random) for evolved, random in by_seed),
        tuple((one.queries, one.fitness, one.mean) for one in generations),
        best,
        share_interval(gains, np.arange(len(gains))),
    )


def _slot_options(
    texts: Texts, prompts: str, asked: Sequence[str], slots: Sequence[str]
) -> tuple[np.ndarray, dict[str, list[str]]]:
    """(slot, prompt), the number of each prompt's value, and the values of each slot."""
    kept = texts.keep([prompts, *slots]).columns
    values: dict[str, list[str]] = {}
    options = np.zeros((len(slots), len(asked)), dtype=int)
    for row, slot in enumerate(slots):
        of_prompt = dict(zip(map(str, kept[prompts]), map(str, kept[slot]), strict=True))
        values[slot] = sorted({of_prompt[prompt] for prompt in asked})
        if len(values[slot]) > _MOST_OPTIONS:
            raise BadTexts(f"slot {slot!r} has {len(values[slot])} values; give up to {_MOST_OPTIONS}")
        options[row] = [values[slot].index(of_prompt[prompt]) for prompt in asked]
    return options, values


class _Replies:
    """The replies of all writers to formulas, kept in a folder."""

    def __init__(
        self,
        folder: Path,
        writers: Sequence[LocalWriter],
        replies: int,
        tokens: int,
        slots: Mapping[str, Sequence[str]],
    ):
        self._writers, self._count, self._tokens, self._slots = writers, replies, tokens, slots
        described = [[one.name, one.writer.loaded.fingerprint.weights, one.temperature] for one in writers]
        request = {"writers": described, "replies": replies, "tokens": tokens}
        self._store = RowStore(folder / "replies", request)
        self._known: dict[tuple[str, int], list[list[str]]] = {}
        for chunk in self._store:
            for row in chunk.to_pylist():
                self._known[row["prompt"], row["seed"]] = json.loads(row["replies"])

    def __enter__(self) -> "_Replies":
        return self

    def __exit__(self, *error: object) -> None:
        self._store.close()

    def alike(self, formula: Formula, seed: int) -> np.ndarray:
        """(writer, writer), the cosine of the mean n-grams of their replies."""
        import pyarrow as pa

        prompt = prompt_of(formula, self._slots)
        if (prompt, seed) not in self._known:
            replies = [one.replies(prompt, self._count, self._tokens, seed) for one in self._writers]
            self._known[prompt, seed] = replies
            self._store.append(
                pa.table({"prompt": [prompt], "seed": [seed], "replies": [json.dumps(replies)]})
            )
        counts = ngram_counts([text for row in self._known[prompt, seed] for text in row])
        counts.data = 1 + np.log(counts.data)
        rows = counts.toarray().reshape(len(self._writers), self._count, -1)
        mean = (rows / np.maximum(np.linalg.norm(rows, axis=2, keepdims=True), 1e-9)).mean(axis=1)
        mean /= np.maximum(np.linalg.norm(mean, axis=1, keepdims=True), 1e-9)
        return np.asarray(mean @ mean.T)


def _loaded(model: str | PathLike[str] | LoadedModel, dtype: str) -> LoadedModel:
    return model if isinstance(model, LoadedModel) else load_model(model, head=True, dtype=dtype)


def _changed(loaded: LoadedModel, change: Callable[[torch.Tensor], torch.Tensor]) -> LoadedModel:
    """A copy of a model with its matrices changed; embeddings and head stay."""
    causal: Any = deepcopy(loaded.causal)
    with torch.no_grad():
        for module in causal.base_model.modules():
            if isinstance(module, torch.nn.Linear):
                module.weight.copy_(change(module.weight.float()))
    return replace(loaded, model=causal.base_model, causal=causal, stored_chain=None)


def _pruned(weight: torch.Tensor) -> torch.Tensor:
    """The smallest 30 % of the weights are 0."""
    limit = weight.abs().flatten().kthvalue(max(1, int(_PRUNED * weight.numel()))).values
    return weight.where(weight.abs() > limit, torch.zeros(()))


def _rounded(weight: torch.Tensor) -> torch.Tensor:
    """Each row rounded to 4 bits."""
    step = weight.abs().amax(dim=1, keepdim=True) / (2 ** (_BITS - 1) - 1)
    step = step.clamp_min(torch.finfo(torch.float32).tiny)
    return (weight / step).round() * step
