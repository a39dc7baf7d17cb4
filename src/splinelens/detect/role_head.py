"""A linear head that says which words are arguments of a predicate, and in which role.

Two multinomial regressions on the same columns: is a word the head of an argument, and which role has it. The
columns are the margins of both words to the hyperplanes of some layers, with weights of their own for words
before and after the predicate, and hashed clues. Roles are those of PropBank: Palmer, Gildea and Kingsbury,
Computational Linguistics 31(1), 2005.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from splinelens.detect.artifact_files import ArtifactFiles
from splinelens.detect.softmax import Softmax, fit_softmax
from splinelens.errors import BadFeatures, BrokenArtifact

FILES = ArtifactFiles(
    "a role head",
    "roles.json",
    "roles.safetensors",
    1,
    "fit it again with benchmarks/roles.py",
    (1_000_000, 20_000_000),
)

FAR = 6.0
"""Standard deviations at which margins are cut."""

_DENSE_PENALTY = 1e-3
_AXES_WORDS = 8000  # words that principal axes are of, at most
_ARRAYS = ("mean", "scale", "dense", "hashed", "bias")


@dataclass(frozen=True, eq=False)
class Pairs:
    """Predicates and words, as rows of a table of the words' margins.

    Attributes:
        predicate: (pair,) row of the predicate.
        word: (pair,) row of the word.
        clue: (pair, clue) bucket of each clue.
    """

    predicate: Int[np.ndarray, " pair"]
    word: Int[np.ndarray, " pair"]
    clue: Int[np.ndarray, "pair clue"]

    def of(self, chosen: np.ndarray) -> "Pairs":
        """Some of the pairs."""
        return Pairs(self.predicate[chosen], self.word[chosen], self.clue[chosen])


@dataclass(frozen=True, eq=False)
class RoleHead:
    """A fitted head.

    Attributes:
        labels: The roles.
        mean: (column,) of the margins of words.
        scale: (column,) their standard deviation, 1 where it is 0.
        dense: (4, column, 2 + role): weights of the word's and the predicate's standardized margins, and of
            both times 1 for a word after the predicate and -1 before; the first two columns are those of "no
            argument" and "argument".
        hashed: (bucket, 2 + role) of the clues.
        bias: (2 + role,).
        record: The layers it reads, what it was fitted on and what was measured, plain JSON values.
    """

    labels: tuple[str, ...]
    mean: np.ndarray
    scale: np.ndarray
    dense: np.ndarray
    hashed: np.ndarray
    bias: np.ndarray
    record: dict[str, Any]  # Any: plain JSON values

    @classmethod
    def load(cls, folder: Path) -> "RoleHead":
        """The head in a folder.

        Raises:
            BrokenArtifact: Missing or damaged files, or arrays that do not fit each other.
        """
        record = FILES.read_manifest(folder)
        arrays = FILES.read_arrays(folder, record.pop("arrays", None))
        labels = record.pop("labels", None)
        if (
            set(arrays) != set(_ARRAYS)
            or not isinstance(labels, list)
            or not all(isinstance(label, str) for label in labels)
        ):
            raise BrokenArtifact(f"the role head in {folder} has no labels or other arrays; {FILES.again}")
        arrays = {name: array.astype(np.float32) for name, array in arrays.items()}
        width, outputs = len(arrays["mean"]), 2 + len(labels)
        shapes = {
            "mean": (width,),
            "scale": (width,),
            "dense": (4, width, outputs),
            "hashed": (len(arrays["hashed"]), outputs),
            "bias": (outputs,),
        }
        for name, shape in shapes.items():
            if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
                raise BrokenArtifact(f"{name} of the role head in {folder} is damaged; {FILES.again}")
        return cls(tuple(labels), **arrays, record=record)

    def write(self, folder: Path) -> None:
        """Write it into a folder, the weights in half precision.

        Raises:
            CannotWrite: The folder cannot be written.
        """
        half = {name: getattr(self, name).astype(np.float16) for name in ("dense", "hashed")}
        whole = {name: getattr(self, name).astype(np.float32) for name in ("mean", "scale", "bias")}
        FILES.write(folder, {"labels": list(self.labels), **self.record}, half | whole)

    def probabilities(
        self, margins: Float[np.ndarray, "word column"], pairs: Pairs
    ) -> tuple[Float[np.ndarray, " pair"], Float[np.ndarray, "pair role"]]:
        """Of each pair the probability that the word heads an argument, and of each role if it does.

        Args:
            margins: Of the words of the text, at its layers one after another.
            pairs: Predicates and words.

        Raises:
            BadFeatures: Another number of columns than the head has.
        """
        if margins.shape[1] != len(self.mean):
            raise BadFeatures(f"the role head has {len(self.mean)} columns, not {margins.shape[1]}")
        from scipy.special import softmax

        values = standardized(margins, self.mean, self.scale)
        parts = [values @ weight for weight in self.dense]
        side = np.sign(pairs.word - pairs.predicate)[:, None]
        logit = parts[0][pairs.word] + parts[1][pairs.predicate] + self.bias
        logit = logit + side * (parts[2][pairs.word] + parts[3][pairs.predicate])
        for clue in pairs.clue.T:
            logit = logit + self.hashed[clue]
        return softmax(logit[:, :2], axis=1)[:, 1], softmax(logit[:, 2:], axis=1)


def fit_roles(
    margins: Float[np.ndarray, "word column"] | None,
    pairs: Pairs,
    roles: Sequence[str],
    *,
    buckets: int,
    components: int = 200,
    layers: int = 1,
    fit_words: np.ndarray | None = None,
    record: dict[str, Any] | None = None,  # Any: plain JSON values
    hashed_penalty: float = 3e-5,
) -> RoleHead:
    """Fit both regressions, on the principal components of the margins; the weights are those of the margins.

    Args:
        margins: Of all words; None reads clues only.
        pairs: Predicates and words.
        roles: Of each pair; empty for a word that heads no argument of the predicate.
        buckets: Number of columns of clues.
        components: Principal components of each layer.
        layers: How many layers the columns of the margins are of.
        fit_words: Which words the components are those of; None takes all.
        record: What is known of the head.
        hashed_penalty: Of the clues, as in ``fit_softmax``.
    """
    given = np.array(roles, dtype=object)
    labels = tuple(sorted({role for role in roles if role}))
    table = (
        np.zeros((int(max(pairs.word.max(), pairs.predicate.max())) + 1, 0)) if margins is None else margins
    )
    chosen = np.ones(len(table), bool) if fit_words is None else fit_words
    mean, scale = table[chosen].mean(axis=0), table[chosen].std(axis=0)
    scale = np.where(scale > 0, scale, 1.0)
    axes = _axes(table, mean, scale, chosen, components, layers)
    values = np.concatenate(
        [
            standardized(table[:, part], mean[part], scale[part]) @ axis
            for part, axis in zip(_layer_columns(table.shape[1], layers), axes, strict=True)
        ]
        or [np.zeros((len(table), 0))],
        axis=1,
    ).astype(np.float32)
    side = np.sign(pairs.word - pairs.predicate)[:, None].astype(np.float32)
    word, predicate = values[pairs.word], values[pairs.predicate]
    dense = np.concatenate([word, predicate, side * word, side * predicate], axis=1)
    is_argument = np.array([bool(role) for role in roles])
    fit = partial(fit_softmax, buckets=buckets, dense_penalty=_DENSE_PENALTY, hashed_penalty=hashed_penalty)
    place = {label: index for index, label in enumerate(labels)}
    heads: list[Softmax] = []
    if is_argument.all():  # only the role is asked for
        heads.append(Softmax(np.zeros((dense.shape[1], 2)), np.zeros((buckets, 2)), np.array([-9.0, 9.0])))
    else:
        heads.append(fit(dense, pairs.clue, is_argument.astype(int), labels=2))
    numbers = np.array([place[role] for role in given[is_argument]])
    heads.append(fit(dense[is_argument], pairs.clue[is_argument], numbers, labels=len(labels)))
    weight = np.concatenate([head.dense for head in heads], axis=1).reshape(
        4, values.shape[1], 2 + len(labels)
    )
    parts, start = [], 0
    for axis in axes:
        parts.append(np.einsum("ck,pko->pco", axis, weight[:, start : start + axis.shape[1]]))
        start += axis.shape[1]
    return RoleHead(
        labels,
        mean,
        scale,
        np.concatenate(parts, axis=1) if parts else np.zeros((4, 0, 2 + len(labels))),
        np.concatenate([head.hashed for head in heads], axis=1),
        np.concatenate([head.bias for head in heads]),
        record or {},
    )


def standardized(
    margins: Float[np.ndarray, "word column"], mean: np.ndarray, scale: np.ndarray
) -> Float[np.ndarray, "word column"]:
    """Margins in standard deviations from the mean, at most 6."""
    return np.clip((margins - mean) / scale, -FAR, FAR).astype(np.float32)


def _layer_columns(width: int, layers: int) -> list[slice]:
    if not width:
        return []
    each = width // layers
    return [slice(start, start + each) for start in range(0, width, each)]


def _axes(
    margins: np.ndarray, mean: np.ndarray, scale: np.ndarray, chosen: np.ndarray, components: int, layers: int
) -> list[np.ndarray]:
    """Per layer the first principal axes, all divided by the standard deviation along the first."""
    from scipy.linalg import eigh

    rows = np.flatnonzero(chosen)
    rows = rows[:: len(rows) // _AXES_WORDS + 1]
    axes = []
    for part in _layer_columns(margins.shape[1], layers):
        values = standardized(margins[rows, part], mean[part], scale[part])
        width = values.shape[1]
        first = max(0, width - components)
        variance, axis = eigh((values.T @ values) / len(values), subset_by_index=[first, width - 1])
        axes.append((axis / np.sqrt(variance[-1])).astype(np.float32))
    return axes
