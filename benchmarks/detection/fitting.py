"""Fit a detector whose directions are learned: from sources of rows to an artifact.

Calibration, thresholds and metrics come from rows of one source, each scored by directions and a head that
were fitted without its fold; the stored ones are then fitted on all rows.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from sklearn.model_selection import StratifiedKFold

from detection.data import letters_and_digits
from detection.inputs import cached_inputs, inputs_folder
from detection.sources import SOURCES, SourceRows, tested_texts
from splinelens.apps.training import fit_detector, long_negatives
from splinelens.detect.artifact import Artifact, Task
from splinelens.detect.heads import LinearHead
from splinelens.detect.learned import (
    HeldOut,
    Network,
    Settings,
    Tokens,
    folded,
    moments,
    pooled,
    standardized_head,
    train,
)
from splinelens.detect.solver import Fitted
from splinelens.features.extract import provenance
from splinelens.features.reader import TextReader
from splinelens.features.spec import FeatureSpec
from splinelens.features.table import FeatureTable
from splinelens.files import atomic_write
from splinelens.geometry.directions import Directions
from splinelens.models import LoadedModel
from splinelens.texts import Texts
from splinelens.tokens import tokenize

PROMPT = (Path(__file__).parent.parent / "prompt.txt").read_text("utf-8")
FOLDS = 4


@dataclass(frozen=True)
class Head:
    """One head of the sum.

    Attributes:
        settings: Of the fit.
        weights: Weight of a row of each source; others are left out.
        share: What a standard deviation of its logit over rows of ``JUDGE`` adds to the sum.
    """

    settings: Settings
    weights: Mapping[str, float]
    share: float = 1.0


@dataclass(frozen=True)
class Learned:
    """A detector with learned directions: the sum of heads, each fitted on sources of its own.

    The sum splits over tokens as each head does. Heads that are fitted apart keep what a single fit on all
    sources loses: what Wikipedia calls toxic is not what people on a forum find hostile.

    Attributes:
        name: Its name.
        task: ``binary``, or ``labels`` for Jigsaw's six.
        labels: Names of the labels.
        negative: Verdict on a text without any label.
        heads: The heads.
        judge: The source whose rows give calibration, thresholds and metrics.
        floor: No label fires at a lower score.
    """

    name: str
    task: Task
    labels: tuple[str, ...]
    negative: str
    heads: tuple[Head, ...]
    judge: str = "jig"
    floor: float = 0.0

    @property
    def layers(self) -> tuple[int, ...]:
        """The layers that any head reads, rising."""
        return tuple(sorted({layer for part in self.heads for layer in part.settings.layers}))

    @property
    def sources(self) -> list[str]:
        """The sources that any head is fitted on."""
        return [name for name in SOURCES if any(part.weights.get(name) for part in self.heads)]

    @property
    def spec(self) -> FeatureSpec:
        """What the detector reads."""
        return FeatureSpec(
            ("direction_max", "direction_min"),
            layers=self.layers,
            prompt=PROMPT,
            max_tokens=256,
            normalize=True,
        )

    def without(self, source: str) -> "Learned":
        """The recipe without a source, for numbers on that source."""
        kept = (
            replace(part, weights={name: w for name, w in part.weights.items() if name != source})
            for part in self.heads
        )
        return replace(self, heads=tuple(kept))


def cached_layers(depth: int) -> tuple[int, ...]:
    """The layers that are read into the cache: the first six, and six up to four fifths of the depth.

    Equal for all detectors of a model, so that the model runs once.

    Example:
        >>> cached_layers(30)
        (0, 1, 2, 3, 4, 5, 8, 11, 14, 17, 20, 23)
    """
    middle = (round(depth * layer / 30) for layer in (8, 11, 14, 17, 20, 23))
    return tuple(sorted({*range(min(6, depth)), *middle}))


@dataclass(frozen=True, eq=False)
class Rows:
    """The rows of several sources, one after the other.

    Attributes:
        names: The sources.
        texts: The texts.
        labels: (row, label); NaN where the source does not have the label.
        sources: (row,), number of the source.
        usable: (row,) boolean: may be fitted on, repeats no tested text and no earlier row.
    """

    names: list[str]
    texts: tuple[str, ...]
    labels: np.ndarray
    sources: np.ndarray
    usable: np.ndarray

    def of(self, name: str) -> np.ndarray:
        """(row,) boolean, whether a row is of a source."""
        return self.sources == self.names.index(name)


def gather(recipe: Learned, folder: Path) -> Rows:
    """The rows of a recipe's sources in the evaluation data."""
    names = recipe.sources
    parts = [SOURCES[name].read(folder) for name in names]
    texts = tuple(text for part in parts for text in part.texts)
    seen, usable = tested_texts(folder), np.zeros(len(texts), bool)
    for row in np.flatnonzero(np.concatenate([part.train for part in parts])):
        key = letters_and_digits(texts[row])
        usable[row] = bool(key) and key not in seen
        seen.add(key)
    labels = np.concatenate([_labels(part, recipe) for part in parts])
    sources = np.repeat(np.arange(len(names)), [len(part.texts) for part in parts])
    return Rows(names, texts, labels, sources, usable)


def read_tokens(recipe: Learned, rows: Rows, folder: Path, cache: Path, loaded: LoadedModel) -> list[Tokens]:
    """Standardized inputs of all rows, for each head at its layers; heads with equal layers share them."""
    inputs, cached = [], cached_layers(loaded.depth)
    folder_of_model = inputs_folder(cache, loaded, cached)
    for name in rows.names:
        texts, cut = SOURCES[name].read(folder).texts, SOURCES[name].max_tokens
        where = folder_of_model / name
        inputs.append(cached_inputs(loaded, texts, where, prompt=PROMPT, layers=cached, max_tokens=cut))
    mean, scale = moments(inputs[rows.names.index(recipe.judge)])
    by_layers: dict[tuple[int, ...], Tokens] = {}
    for part in recipe.heads:
        layers = part.settings.layers
        if layers not in by_layers:
            by_layers[layers] = Tokens(
                inputs, rows.usable, [cached.index(layer) for layer in layers], mean, scale
            )
    return [by_layers[part.settings.layers] for part in recipe.heads]


@dataclass(frozen=True, eq=False)
class Ensemble:
    """The sum of fitted heads, as directions across all their layers and one linear layer.

    Attributes:
        recipe: What was fitted.
        tokens: The inputs of the rows, for each head.
        networks: The fitted heads.
        factors: (label,) of each head, what its logit is multiplied with in the sum.
    """

    recipe: Learned
    tokens: Sequence[Tokens]
    networks: Sequence[Network]
    factors: Sequence[np.ndarray]

    def on(self, tokens: Sequence[Tokens]) -> "Ensemble":
        """The same heads, for other texts."""
        return replace(self, tokens=tokens)

    def pooled(self, rows: np.ndarray) -> np.ndarray:
        """(row, 2 * direction): the maxima of all heads, then the minima."""
        parts = zip(self.networks, self.tokens, self.recipe.heads, strict=True)
        each = [pooled(network, tokens, rows, head.settings) for network, tokens, head in parts]
        halves = [np.hsplit(values, 2) for values in each]
        return np.hstack([*(first for first, _ in halves), *(second for _, second in halves)])

    def weight(self) -> tuple[np.ndarray, np.ndarray]:
        """Weight (label, 2 * direction) of the linear layer on ``pooled``, and bias (label,)."""
        pairs = list(zip(self.networks, self.factors, strict=True))
        halves = [np.hsplit(_array(network.out.weight) * factor[:, None], 2) for network, factor in pairs]
        weight = np.hstack([*(first for first, _ in halves), *(second for _, second in halves)])
        return weight, np.sum([_array(network.out.bias) * factor for network, factor in pairs], axis=0)

    def of_heads(self, rows: np.ndarray) -> list[np.ndarray]:
        """(row, label) logits of each head, which add up to those of the sum."""
        logits = []
        for network, tokens, head, factor in zip(
            self.networks, self.tokens, self.recipe.heads, self.factors, strict=True
        ):
            margins = pooled(network, tokens, rows, head.settings).astype(np.float64)
            logits.append((margins @ _array(network.out.weight).T + _array(network.out.bias)) * factor)
        return logits

    def logits(self, rows: np.ndarray) -> np.ndarray:
        """(row, label) logits of the sum."""
        return np.sum(self.of_heads(rows), axis=0)

    def directions(self) -> Directions:
        """The directions of all heads on inputs that are not standardized, rounded to half precision."""
        layers, weights, biases = self.recipe.layers, [], []
        for network, tokens, part in zip(self.networks, self.tokens, self.recipe.heads, strict=True):
            weight, bias = folded(network, tokens.mean, tokens.scale)
            full = np.zeros((len(weight), len(layers), weight.shape[2]), np.float16)
            full[:, [layers.index(layer) for layer in part.settings.layers]] = weight
            weights.append(full)
            biases.append(bias)
        return Directions(np.concatenate(weights), np.concatenate(biases))

    def head(self, values: np.ndarray) -> LinearHead:
        """The linear layer as a head on standardized columns; the logits are the same."""
        weight, bias = self.weight()
        return standardized_head(values, weight, bias)


def fit_heads(
    recipe: Learned, tokens: Sequence[Tokens], rows: Rows, train_on: np.ndarray, title: str, cache: Path
) -> Ensemble:
    """Fit every head of a recipe, or read its network from the cache.

    Args:
        recipe: What is fitted.
        tokens: The inputs of all rows, for each head.
        rows: The rows.
        train_on: The rows to fit on.
        title: Printed before each epoch.
        cache: Folder of the fitted networks, ``networks`` below it.
    """
    judge = train_on[rows.of(recipe.judge)[train_on]]
    networks, factors = [], []
    for number, (part, inputs) in enumerate(zip(recipe.heads, tokens, strict=True)):
        head = f"{recipe.name}, {title}, head {number + 1} of {len(recipe.heads)}"
        network = _network(part, inputs, rows, train_on, head, cache)
        logits = pooled(network, inputs, judge, part.settings) @ _array(network.out.weight).T
        networks.append(network)
        factors.append(part.share / np.nanstd(logits, axis=0))
    return Ensemble(recipe, tokens, networks, factors)


def _network(
    part: Head, inputs: Tokens, rows: Rows, train_on: np.ndarray, title: str, cache: Path
) -> Network:
    """One head, from the cache by a hash of all that decides it, or fitted now."""
    weights = np.array([part.weights.get(name, 0.0) for name in rows.names])[rows.sources]
    fit_on = train_on[weights[train_on] > 0]
    known = (weights[fit_on], rows.labels[fit_on], inputs.lengths[fit_on], inputs.mean, inputs.scale)
    decides = [
        repr((part.settings, [name for name in rows.names if part.weights.get(name)])).encode(),
        "\0".join(rows.texts[row] for row in fit_on).encode("utf-8", "backslashreplace"),
        *(np.ascontiguousarray(array).tobytes() for array in known),
    ]
    file = cache / "networks" / f"{hashlib.sha256(b''.join(decides)).hexdigest()}.pt"
    if file.is_file():
        network = Network(inputs.values.shape[1], part.settings, rows.labels.shape[1]).eval()
        network.load_state_dict(torch.load(file, weights_only=True))
        return network

    def report(line: str) -> None:
        print(f"{title}: {line}", flush=True)

    network = train(
        inputs, fit_on, rows.labels, part.settings, weights=weights, sources=rows.sources, report=report
    )
    file.parent.mkdir(exist_ok=True)
    with atomic_write(file) as temporary:
        torch.save(network.state_dict(), temporary)
    return network


def fit_learned(
    recipe: Learned, folder: Path, cache: Path, model: LoadedModel, source: LoadedModel, command: str
) -> Artifact:
    """Fit a detector.

    Args:
        recipe: What is fitted.
        folder: The evaluation data.
        cache: Folder of the inputs.
        model: The model that the detector works with.
        source: The same, in the number type that reads the training rows.
        command: The command that makes the detector again.
    """
    rows = gather(recipe, folder)
    tokens = read_tokens(recipe, rows, folder, cache, source)
    usable = np.flatnonzero(rows.usable & (tokens[0].lengths > 0))
    judge = rows.of(recipe.judge)[usable]
    judged = usable[judge]
    print(f"{recipe.name}: {len(usable)} rows, {len(judged)} for thresholds", flush=True)
    logits = np.empty((len(judged), len(recipe.labels)))
    of_folds = []
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=0)
    for fold, (_, held_out) in enumerate(folds.split(judged, rows.labels[judged, 0])):
        title = f"fold {fold + 1} of {FOLDS}"
        held = judged[held_out]
        ensemble = fit_heads(recipe, tokens, rows, np.setdiff1d(usable, held), title, cache)
        logits[held_out] = ensemble.logits(held)
        of_folds.append(HeldOut(held, ensemble.pooled(held), *ensemble.weight()))
    final = fit_heads(recipe, tokens, rows, usable, "all rows", cache)
    values = final.pooled(usable)
    reader = TextReader(model, recipe.spec, directions=final.directions())
    long = long_negatives(reader.columns, of_folds, rows.labels, tokens[0].lengths)
    counts = {name: int((rows.sources[usable] == at).sum()) for at, name in enumerate(rows.names)}
    texts = Texts(tuple(rows.texts[row] for row in usable), {}, "the training rows")
    origin = provenance(reader, texts) | {"rows": counts}
    cut = _cut(rows, usable, source)
    table = FeatureTable(
        reader.columns, values, tokens[0].lengths[usable], cut, (None,) * len(usable), origin
    )
    heads = [
        {**vars(part.settings), "weights": dict(part.weights), "share": part.share} for part in recipe.heads
    ]
    return fit_detector(
        texts,
        np.nan_to_num(rows.labels[usable]),
        reader,
        name=recipe.name,
        task=recipe.task,
        label=recipe.labels,
        negative=recipe.negative,
        judged=judge,
        sources=[f"{SOURCES[name].what} ({SOURCES[name].licence})" for name in rows.names],
        languages=["English"],
        floor=recipe.floor,
        table=table,
        by_length=0.5,
        fitted=Fitted(final.head(values), {"heads": heads}, logits, long),
        features_dtype=source.fingerprint.dtype,
        command=command,
    ).artifact


def _cut(rows: Rows, chosen: np.ndarray, loaded: LoadedModel) -> np.ndarray:
    """Whether each of the chosen rows has more tokens than are read of its source."""
    limit = np.array([SOURCES[name].max_tokens for name in rows.names])[rows.sources[chosen]]
    tokenized = tokenize([rows.texts[row] for row in chosen], loaded.tokenizer, normalize=True)
    return np.array([text.total for text in tokenized]) > limit


def _array(parameter: torch.Tensor) -> np.ndarray:
    return parameter.detach().double().numpy()


def _labels(part: SourceRows, recipe: Learned) -> np.ndarray:
    """(row, label): Jigsaw's six labels; of a source without them only the first, ``toxic``.

    What is not toxic has none of the other five.
    """
    if recipe.task == "binary":
        return part.labels.astype(float)[:, None]
    if part.types is not None:
        return part.types.astype(float)
    labels = np.full((len(part.labels), len(recipe.labels)), np.nan)
    labels[:, 0] = part.labels
    labels[part.labels == 0] = 0.0
    return labels
