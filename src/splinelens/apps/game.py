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

from splinelens.errors import BadFeatures, BadTexts
from splinelens.features.ngrams import ngram_similarity
from splinelens.files import RowStore
from splinelens.generate.game import (
    SLOTS,
    Formula,
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
from splinelens.weights.masks import magnitude_mask

QUERIES = 40
SEEDS = 10

_NGRAMS = "character n-grams"
_PRUNED = 0.3  # share of the weights of a matrix
_BITS = 4
_HOT = 1.1
_WARM = 0.7
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

    All searches see the same replies to a formula; its result is measured on other ones, which are the same
    for all searches too.

    Args:
        writers: As from ``local_writers``: the first two are the pair to be named.
        queries: Different formulas that each auditor evaluates.
        seeds: Searches of each auditor.
        replies: Replies to a prompt that the detective sees together.
        tokens: Most tokens of a reply.
        tests: Fresh sets of replies that the best formulas are tested with.
        slots: The slots of a formula.
        cache: Folder for the replies: a stopped run continues.
        progress: Called with a line after each seed.

    Raises:
        BadFeatures: Fewer than three writers, or fewer queries than a population.
        MissingPackage: deap is not installed.
        CannotResume: The folder holds replies of another game.
    """
    if len(writers) < 3:
        raise BadFeatures(f"{len(writers)} writers make one pair; the game needs three or more")
    sizes = [len(options) for options in slots.values()]
    pair = (0, 1)
    with (
        TemporaryDirectory() as temporary,
        _Replies(Path(cache or temporary), writers, replies, tokens, slots) as stored,
    ):

        def fitness(formulas: list[Formula]) -> list[float]:
            return [separation(stored.similarity(formula, 0), pair) for formula in formulas]

        def result(formula: Formula) -> float:
            return float(
                np.mean([most_alike(stored.similarity(formula, 1 + n)) == pair for n in range(tests)])
            )

        results = []
        histories = []
        for seed in range(seeds):
            histories.append(evolve(sizes, fitness, queries=queries, seed=seed))
            rival = random_search(sizes, fitness, queries=queries, seed=seed)
            unsearched = tuple(np.random.default_rng(seed).integers(sizes).tolist())
            formulas = (histories[-1][-1].best, rival[-1].best, unsearched)
            results.append([result(formula) for formula in formulas])
            progress("seed {}: evolved {:.2f}, random {:.2f}".format(seed, *results[-1]))
    return GameReport(
        writers=tuple(one.name for one in writers),
        members=len(writers),
        detective=_NGRAMS,
        queries=queries,
        pairs=(PairResult((writers[0].name, writers[1].name), *np.mean(results, axis=0).tolist()),),
        by_seed=tuple((evolved, random) for evolved, random, _ in results),
        generations=tuple((one.queries, one.fitness, one.mean) for one in histories[0]),
        best=prompt_of(histories[0][-1].best, slots),
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

    For each pair of one family the auditor searches on the other families and on one half of the prompts, and
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
        MissingColumn: A column is absent.
        BadTexts: Fewer prompts than the detective sees, too few families, or a slot of too many values.
        MissingPackage: deap is not installed.
    """
    names, family, shared, answers = stored_answers(texts, writers, prompts, families)
    if len(shared) < 2 * seen:
        raise BadTexts(
            f"{len(shared)} prompts were answered by all {len(names)} writers; {2 * seen} are needed, half "
            "of them to search on"
        )
    options, values = _slot_options(texts, prompts, shared, slots)
    game = StoredGame(
        ngram_similarity(answers) if similarity is None else similarity, family, options, members, seen
    )
    results = np.zeros((seeds, len(game.pairs), 3))
    histories = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        searched = np.isin(np.arange(len(shared)), rng.permutation(len(shared))[: len(shared) // 2])
        for row, pair in enumerate(game.pairs):
            fitness = game.fitness(pair, searched, seed)
            histories.append(evolve(game.sizes, fitness, queries=queries, seed=seed))
            rival = random_search(game.sizes, fitness, queries=queries, seed=seed)
            any_prompt = tuple(size - 1 for size in game.sizes)
            for column, formula in enumerate((histories[-1][-1].best, rival[-1].best, any_prompt)):
                result = game.results([pair], formula, ~searched, rng)
                result = result or game.results([pair], any_prompt, ~searched, rng)
                results[seed, row, column] = result[pair][0]
    best = [
        f"{slot}={values[slot][option]}"
        for slot, option in zip(slots, histories[0][-1].best, strict=True)
        if option < len(values[slot])
    ]
    return GameReport(
        writers=names,
        members=members,
        detective=detective,
        queries=queries,
        pairs=tuple(
            PairResult((names[pair[0]], names[pair[1]]), *mean)
            for pair, mean in zip(game.pairs, results.mean(axis=0).tolist(), strict=True)
        ),
        by_seed=tuple((evolved, random) for evolved, random, _ in results.mean(axis=1).tolist()),
        generations=tuple((one.queries, one.fitness, one.mean) for one in histories[0]),
        best=", ".join(best) or "any prompt",
    )


def stored_answers(
    texts: Texts, writers: str, prompts: str, families: str
) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...], list[list[str]]]:
    """Writers, their families, the prompts that all answered, and (writer, prompt) the answers.

    Raises:
        MissingColumn: A column is absent.
        BadTexts: A writer of two families, or no prompt that all answered.
    """
    columns = texts.keep([writers, prompts, families]).columns
    answers: dict[str, dict[str, str]] = {}
    family: dict[str, str] = {}
    order: dict[str, None] = {}
    cells = (columns[name] for name in (writers, prompts, families))
    for text, writer, prompt, of in zip(texts.texts, *cells, strict=True):
        if text is None or not text.strip() or any(map(is_missing, (writer, prompt, of))):
            continue
        answers.setdefault(str(writer), {})[str(prompt)] = text
        order.setdefault(str(prompt))
        if family.setdefault(str(writer), str(of)) != str(of):
            raise BadTexts(f"writer {writer!r} is of families {family[str(writer)]!r} and {of!r}; give one")
    names = tuple(sorted(answers))
    shared = tuple(prompt for prompt in order if all(prompt in answers[name] for name in names))
    if not shared:
        raise BadTexts(f"{texts.source}: no prompt was answered by all {len(names)} writers")
    rows = [[answers[name][prompt] for prompt in shared] for name in names]
    return names, tuple(family[name] for name in names), shared, rows


def _slot_options(
    texts: Texts, prompts: str, shared: Sequence[str], slots: Sequence[str]
) -> tuple[np.ndarray, dict[str, list[str]]]:
    """(slot, prompt), the number of each prompt's value, and the values of each slot."""
    columns = texts.keep([prompts, *slots]).columns
    values: dict[str, list[str]] = {}
    options = np.zeros((len(slots), len(shared)), dtype=int)
    for row, slot in enumerate(slots):
        of_prompt = dict(zip(map(str, columns[prompts]), map(str, columns[slot]), strict=True))
        values[slot] = sorted({of_prompt[prompt] for prompt in shared})
        if len(values[slot]) > _MOST_OPTIONS:
            raise BadTexts(f"slot {slot!r} has {len(values[slot])} values; give up to {_MOST_OPTIONS}")
        options[row] = [values[slot].index(of_prompt[prompt]) for prompt in shared]
    return options, values


class _Replies:
    """The replies of all writers to formulas, stored in a folder."""

    def __init__(
        self,
        folder: Path,
        writers: Sequence[LocalWriter],
        replies: int,
        tokens: int,
        slots: Mapping[str, Sequence[str]],
    ):
        self._writers = writers
        self._count = replies
        self._tokens = tokens
        self._slots = slots
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

    def similarity(self, formula: Formula, seed: int) -> np.ndarray:
        """(writer, writer), the cosine of the n-grams of their replies, joined."""
        import pyarrow as pa

        prompt = prompt_of(formula, self._slots)
        if (prompt, seed) not in self._known:
            replies = [one.replies(prompt, self._count, self._tokens, seed) for one in self._writers]
            self._known[prompt, seed] = replies
            self._store.append(
                pa.table({"prompt": [prompt], "seed": [seed], "replies": [json.dumps(replies)]})
            )
        return ngram_similarity([["\n".join(replies)] for replies in self._known[prompt, seed]])[:, :, 0]


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
    return weight.masked_fill(magnitude_mask(weight, int(_PRUNED * weight.numel())), 0)


def _rounded(weight: torch.Tensor) -> torch.Tensor:
    """Each row rounded to 4 bits."""
    step = weight.abs().amax(dim=1, keepdim=True) / (2 ** (_BITS - 1) - 1)
    step = step.clamp_min(torch.finfo(torch.float32).tiny)
    return (weight / step).round() * step
