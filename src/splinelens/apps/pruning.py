"""Prune a model: plan how many weights each block loses, set weights to zero, or remove whole neurons.

``plan`` measures the spectra of all weight matrices, and with calibration texts the inputs of each linear
map, and shares a sparsity out among the blocks by six methods. ``apply`` chooses the weights and ``remove``
the neurons; both save an ordinary model folder. A zero saves no time in a dense kernel, and serving engines
no longer read sparse formats; a model with fewer neurons has smaller dense matrices, which every engine runs.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import Tensor

from splinelens import __version__
from splinelens.anatomy import anatomy_of
from splinelens.engines.blocks import BlockPasses
from splinelens.engines.neurons import RemovedNeurons, gate_occupancy, remove_neurons
from splinelens.engines.pruning import METHODS, Method, prune_blocks
from splinelens.engines.torch import positions_of
from splinelens.errors import BadFeatures, BadModel, BadTexts
from splinelens.features.validation import check_seed, is_whole_number
from splinelens.files import RowStore
from splinelens.geometry.allocation import (
    exact_counts,
    median_metric,
    outlier_share,
    require_sparsity,
    scaled_ratios,
    shifted_ratios,
)
from splinelens.geometry.spectrum import (
    Tail,
    eigenvalues,
    positive,
    spectral_entropy,
    stable_rank,
    subsampled_eigenvalues,
    tail_peak,
)
from splinelens.models import LoadedModel, load_model
from splinelens.models.load import DTYPES
from splinelens.models.save import check_model_folder, save_model
from splinelens.models.source import lasting_name
from splinelens.report.pruning import Allocation, MatrixPlan, PrunePlan
from splinelens.texts import Texts
from splinelens.tokens import chunks
from splinelens.weights.masks import Pattern, Removal
from splinelens.weights.matrices import Matrix, weight_matrices

By = Literal["alpha", "farms", "owl", "dlp", "arithmetic", "uniform"]
"""How the sparsity is shared out among the blocks."""

SPREADS: dict[By, float] = {
    "alpha": 0.3,
    "farms": 0.3,
    "owl": 0.08,
    "dlp": 0.15,
    "arithmetic": 0.15,
    "uniform": 0.0,
}
"""How far the ratios may differ by default, as published; of the progression it is our choice."""

CALIBRATED: tuple[By, ...] = ("owl", "dlp")
"""The values of ``By`` that need calibration texts."""

CHUNK_TOKENS = 512
"""Tokens of a chunk of calibration text, or as many as the model has positions."""

_FEWEST_CHUNKS = 4
_PLAN_CHUNKS = 16  # that OWL and DLP read
_FEWEST = 8  # eigenvalues of a matrix that counts for the alpha of its block


@dataclass(frozen=True)
class PrunedModel:
    """A model that was pruned and saved.

    Attributes:
        folder: Where it is.
        weights: Weights of all matrices of the blocks before.
        removed: How many of them are zero or gone now.
        record: What was done, as in its ``splinelens.json``.
    """

    folder: Path
    weights: int
    removed: int
    record: dict[str, Any]  # Any: plain JSON values


def plan(
    model: str | PathLike[str] | LoadedModel,
    sparsity: float,
    *,
    by: By = "alpha",
    spread: float | None = None,
    calibration: Texts | Iterable[str | None] | None = None,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PrunePlan:
    """How many weights each matrix of a model's blocks loses, by every method that can be computed.

    Args:
        model: A model with all its blocks.
        sparsity: The share of the weights of all matrices to remove, in [0, 0.99]; it is met to one weight.
        by: The method that the numbers of weights follow.
        spread: How far its ratios may differ; None takes that of ``SPREADS``. 0 is uniform.
        calibration: Texts for OWL and DLP; the first 8,192 tokens are read.
        device: As in ``load_model``.
        progress: Called with the number of blocks that are done, and of all.

    Raises:
        BadFeatures: The sparsity or the spread cannot be, or ``by`` needs calibration texts.
        BadTexts: The calibration texts are too short.
        BadModel: The model is quantized, not whole, holds weights that are not finite, or is one for which
            ``by`` cannot be computed.

    Example:
        >>> plan("smollm2-135m", 0.5).removed  # doctest: +SKIP
        53084160
    """
    require_sparsity(sparsity)
    if spread is not None and not 0 <= spread <= 1:
        raise BadFeatures(f"a spread of {spread} is not between 0, which is uniform, and 1")
    if by in CALIBRATED and calibration is None:
        raise BadFeatures(f"{by} measures the inputs of each map: give calibration texts")
    loaded = model if isinstance(model, LoadedModel) else load_model(model, device=device)
    if loaded.depth < loaded.total_depth:
        raise BadModel(f"{loaded.name} has {loaded.total_depth} blocks, and {loaded.depth} are loaded")
    passes, tokens, reason = _calibrated(loaded, calibration)
    if by in CALIBRATED and passes is None:
        raise BadModel(f"{by} cannot be computed for {loaded.name}: {reason}")
    matrices, scores = _measured(loaded, passes, progress)
    sizes = np.bincount([each.layer for each in matrices], [each.size for each in matrices]).astype(np.int64)
    spreads = SPREADS if spread is None else SPREADS | {by: spread}
    allocations: dict[str, Allocation] = {
        name: _allocation(name, values, sizes, sparsity, spreads[name]) for name, values in scores.items()
    }
    ratios = np.array([allocations[by].ratios[each.layer] for each in matrices])
    counts = exact_counts(ratios, np.array([each.size for each in matrices]), sparsity)
    return PrunePlan(
        model=lasting_name(loaded.name),
        fingerprint=loaded.fingerprint,
        sparsity=float(sparsity),
        by=by,
        allocations=allocations,
        left_out=dict.fromkeys(CALIBRATED, reason) if passes is None else {},
        matrices=tuple(
            replace(each, remove=int(count)) for each, count in zip(matrices, counts, strict=True)
        ),
        calibration_tokens=tokens,
        version=__version__,
    )


def apply(
    model: str | PathLike[str],
    output: str | PathLike[str],
    *,
    method: Method = "wanda",
    sparsity: float = 0.5,
    by: By = "uniform",
    given: PrunePlan | None = None,
    pattern: str | None = None,
    calibration: Texts | None = None,
    tokens: int = 16_384,
    seed: int = 0,
    dtype: str = "float32",
    device: str | None = None,
    revision: str | None = None,
    overwrite: bool = False,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> PrunedModel:
    """Set weights of a model to zero, and save it as a folder that ``load_model`` and transformers load.

    A run that was stopped continues after its last finished block, with the same bits; until it ends its
    blocks are in ``OUTPUT.parts``.

    Args:
        model: Name, folder or file of a model.
        output: The folder.
        method: How the weights of a matrix are chosen.
        sparsity: The share of the weights of all matrices, met to one weight.
        by: How it is shared out among the blocks.
        given: A plan of this model, in place of ``sparsity`` and ``by``.
        pattern: An n:m pattern such as ``"2:4"`` for every matrix, in place of ``sparsity`` and ``by``.
        calibration: Texts; ``magnitude`` needs them only to share the sparsity out by OWL or DLP.
        tokens: Tokens of the calibration texts that are read, after these are shuffled.
        seed: Of the shuffle.
        dtype: Number type of the forward passes and of the saved weights. A plan holds numbers of weights
            of the float32 model and fits any.
        device: Such as ``cpu`` or ``cuda:0``; without it the GPU if there is one.
        revision: Branch, tag or commit of a hub id.
        overwrite: Whether a model that is in the folder is replaced.
        command: Recorded.
        progress: Called with the number of blocks that are done, and of all.

    Raises:
        BadFeatures: An option outside its range, or options that exclude each other.
        BadTexts: The calibration texts are missing or too short.
        BadModel: The model cannot be loaded, is quantized, or is not the one of the plan.
        OutputExists: The folder holds files, without ``overwrite``.
        CannotResume: ``OUTPUT.parts`` is of another run.
        CannotWrite: The disk is full, or the folder may not be written.

    Example:
        >>> texts = splinelens.read_texts("texts.jsonl")  # doctest: +SKIP
        >>> apply("smollm2-135m", "half", calibration=texts).removed  # doctest: +SKIP
        53084160
    """
    seed, folder = _validated(model, output, seed, dtype, overwrite)
    n_m = None if pattern is None else Pattern.parse(pattern)
    if method not in METHODS:
        raise BadFeatures(f"method {method!r} is not one of {', '.join(METHODS)}")
    if given is not None and n_m is not None:
        raise BadFeatures(
            "a pattern removes the same share of every matrix; leave out the plan or the pattern"
        )
    needs_texts = method != "magnitude" or (given is None and n_m is None and by in CALIBRATED)
    if needs_texts and calibration is None:
        raise BadTexts(f"{method} by {by} is calibrated on text; give texts")
    # In float32 first: the fingerprint of a plan is that of these weights.
    loaded = load_model(model, head=True, revision=revision, device=device)
    if given is not None:
        given.require_model(loaded)
    ids = None
    if calibration is not None and method != "magnitude":
        ids = _calibration_ids(loaded, calibration, tokens, seed)
    sizes = {(each.layer, each.name): each.tensor.numel() for each in weight_matrices(loaded)}
    removals: dict[tuple[int, str], Removal] = {}
    if n_m is not None:
        for each in weight_matrices(loaded):
            n_m.count(each.tensor)  # refuses matrices that it does not fit
            removals[each.layer, each.name] = n_m
        shared: dict[str, Any] = {"pattern": str(n_m)}
    elif given is None and by == "uniform":  # no spectrum is needed
        removals.update(_uniform(sizes, sparsity))
        shared = {"by": by, "sparsity": sparsity}
    else:
        texts = calibration if by in CALIBRATED else None
        given = given or plan(loaded, sparsity, by=by, calibration=texts)
        removals.update(given.counts)
        shared = {"by": given.by, "sparsity": given.sparsity}
    request = _request(loaded, calibration, tokens, seed, dtype) | {
        "method": method,
        "removed": {f"{layer} {name}": str(removal) for (layer, name), removal in removals.items()},
    }
    causal = _converted(loaded, dtype)
    with RowStore.beside(folder, request) as store:
        finished = [_tensors(cell) for cell in store.read()["matrices"].to_pylist()] if store.rows else []
        for matrices in prune_blocks(causal, removals, method, ids, finished):
            store.append(pa.table({"matrices": pa.array([_bytes(matrices)], pa.large_binary())}))
            if progress:
                progress(store.rows, loaded.depth)
        zeros = sum(int((each.tensor == 0).sum()) for each in weight_matrices(causal))
        record = {
            "splinelens": __version__,
            "command": command,
            "kind": "pruned weights",
            **shared,
            "weights": sum(sizes.values()),
            "zeros": zeros,
            **request,
        }
        save_model(loaded, folder, record)
        store.remove()
    return PrunedModel(folder, sum(sizes.values()), zeros, record)


def remove(
    model: str | PathLike[str],
    calibration: Texts,
    output: str | PathLike[str],
    *,
    share: float | None = None,
    occupancy: float = 0.0,
    tokens: int = 16_384,
    seed: int = 0,
    dtype: str = "float32",
    device: str | None = None,
    revision: str | None = None,
    overwrite: bool = False,
    command: str = "",
    progress: Callable[[int, int], None] | None = None,
) -> tuple[PrunedModel, list[RemovedNeurons]]:
    """Remove gate neurons, the same number from every block, and save the smaller model as a folder.

    A configuration has one number of neurons for all blocks, so the block with the fewest neurons to remove
    decides. The down projection of the others is refitted on the calibration text. With a ReLU, neurons that
    never fire contribute nothing, so the outputs on the calibration text stay the same; with a SiLU, one
    contributes at most 0.28 times its up projection, and the change is measured.

    Args:
        model: Name, folder or file of a model.
        calibration: Texts.
        output: The folder.
        share: Remove this share of the neurons, those whose removal changes the output least; rounded down.
        occupancy: Without a ``share``, remove as many as every block has whose gate is positive at no more
            than this share of the tokens.
        tokens: Tokens of the calibration texts that are read, after these are shuffled.
        seed: Of the shuffle.
        dtype: Number type of the forward passes and of the saved weights.
        device: As in ``apply``.
        revision: As in ``apply``.
        overwrite: As in ``apply``.
        command: Recorded.
        progress: Called with the number of blocks that are done, and of all.

    Raises:
        BadFeatures: ``share`` or ``occupancy`` outside [0, 1), or a block without a neuron to remove.
        BadTexts: The calibration texts are too short.
        BadModel: The model cannot be loaded or cannot lose neurons: experts, quantized weights, or a
            configuration without their number.
        OutputExists: The folder holds files, without ``overwrite``.
        CannotWrite: The disk is full, or the folder may not be written.
    """
    seed, folder = _validated(model, output, seed, dtype, overwrite)
    for name, value in (("share", share), ("occupancy", occupancy)):
        if value is not None and not 0 <= value < 1:
            raise BadFeatures(f"{name}={value!r} is not in [0, 1)")
    loaded = load_model(model, head=True, revision=revision, device=device)
    ids = _calibration_ids(loaded, calibration, tokens, seed)
    request = _request(loaded, calibration, tokens, seed, dtype)
    before = sum(each.tensor.numel() for each in weight_matrices(loaded))
    causal = _converted(loaded, dtype)
    fired = gate_occupancy(causal, ids)
    neurons = fired.shape[1]
    allowed = (fired <= occupancy).sum(dim=1)
    if share is None:
        count, highest = min(int(allowed.min()), neurons - 1), occupancy
        reason = f"layer {int(allowed.argmin())} has none at an occupancy of at most {occupancy:g}"
    else:
        count, highest = int(share * neurons + 1e-9), 1.0
        reason = f"a share of {share:g} is less than one of {neurons:,}"
    if not count:
        raise BadFeatures(
            f"no neuron can be removed, since every block must lose the same number: {reason}; give a larger "
            "--share, such as 0.02 (in Python share=0.02)"
        )
    removed = []
    for each in remove_neurons(causal, count, ids, fired, highest):
        removed.append(each)
        if progress:
            progress(len(removed), loaded.depth)
    after = sum(each.tensor.numel() for each in weight_matrices(causal))
    record = {
        "splinelens": __version__,
        "command": command,
        "kind": "removed neurons",
        "neurons": {"before": neurons, "after": neurons - count},
        "weights": {"before": before, "after": after},
        **request,
        "blocks": [asdict(each) for each in removed],
    }
    save_model(loaded, folder, record)
    return PrunedModel(folder, before, before - after, record), removed


def _validated(
    model: str | PathLike[str], output: str | PathLike[str], seed: int, dtype: str, overwrite: bool
) -> tuple[int, Path]:
    """The seed and the folder; what can be refused without the model is."""
    if dtype not in DTYPES:
        raise BadModel(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    check_model_folder(Path(output), overwrite=overwrite, sources=[str(model)])
    return check_seed(seed), Path(output)


def _calibrated(
    loaded: LoadedModel, calibration: Texts | Iterable[str | None] | None
) -> tuple[BlockPasses | None, int, str]:
    """The passes that OWL and DLP read, the tokens in them, and why there are none."""
    if calibration is None:
        return None, 0, "it needs calibration texts"
    length = _chunk_length(loaded)
    ids = chunks(loaded.tokenizer, Texts.of(calibration).texts, length, _PLAN_CHUNKS)
    if len(ids) < _FEWEST_CHUNKS:
        raise BadTexts(
            f"the calibration texts have fewer than {_FEWEST_CHUNKS * length:,} tokens, too few to tell how "
            "large the inputs of each map are; give more text"
        )
    if experts := anatomy_of(loaded.model).expert_layers:
        return None, 0, f"layer {experts[0]} consists of experts, each of which reads its own tokens"
    try:
        return BlockPasses(loaded.model, torch.from_numpy(ids)), ids.size, ""
    except BadModel as error:
        return None, 0, str(error)


def _measured(
    loaded: LoadedModel, passes: BlockPasses | None, progress: Callable[[int, int], None] | None
) -> tuple[list[MatrixPlan], dict[By, list[float]]]:
    """The spectrum of each matrix, and the score of each block by method."""
    result: list[MatrixPlan] = []
    scores: dict[By, list[float]] = {name: [] for name in SPREADS if passes or name not in CALIBRATED}
    for layer, group in groupby(weight_matrices(loaded), key=lambda matrix: matrix.layer):
        block = list(group)
        spectra = [_spectrum(matrix) for matrix in block]
        result += spectra
        scores["alpha"].append(_mean(layer, [each.alpha for each in spectra]))
        scores["farms"].append(_mean(layer, [each.corrected_alpha for each in spectra]))
        scores["arithmetic"].append(float(layer))
        scores["uniform"].append(0.0)
        if passes is not None:
            metrics = _metrics(block, passes)
            scores["owl"].append(outlier_share(metrics))
            scores["dlp"].append(median_metric(metrics))
            if layer + 1 < loaded.depth:
                passes.advance()
        if progress:
            progress(layer + 1, loaded.depth)
    return result, scores


def _spectrum(matrix: Matrix) -> MatrixPlan:
    if not matrix.tensor.isfinite().all():
        raise BadModel(f"{matrix.name} of layer {matrix.layer} holds weights that are not finite")
    values = eigenvalues(matrix.tensor)
    tail, corrected = _tail(values), _tail(subsampled_eigenvalues(matrix.tensor))
    zero = not values.any()
    out, width = matrix.tensor.shape
    return MatrixPlan(
        layer=matrix.layer,
        name=matrix.name,
        shape=(out, width),
        remove=0,
        alpha=tail and tail.alpha,
        corrected_alpha=corrected and corrected.alpha,
        distance=tail and tail.distance,
        stable_rank=None if zero else stable_rank(values),
        entropy=None if zero else spectral_entropy(values),
    )


def _tail(values: Tensor) -> Tail | None:
    """The tail of eigenvalues, if they are enough for one."""
    values = positive(values)
    if len(values) < _FEWEST:
        return None
    tail = tail_peak(values)
    return tail if math.isfinite(tail.alpha) else None


def _mean(layer: int, alphas: list[float | None]) -> float:
    known = [alpha for alpha in alphas if alpha is not None]
    if not known:
        raise BadModel(
            f"no matrix of layer {layer} has {_FEWEST} different eigenvalues above 0, so the layer has no "
            "alpha: is it pruned or not trained?"
        )
    return float(np.mean(known))


def _metrics(block: list[Matrix], passes: BlockPasses) -> list[Tensor]:
    """Of each matrix of a block the sizes of its weights times those of their inputs, as in Wanda."""
    stats = passes.input_stats([matrix.name for matrix in block], gram=False)
    return [matrix.tensor.float().abs() * stats[matrix.name].power.sqrt() for matrix in block]


def _allocation(
    name: By, scores: list[float], sizes: np.ndarray, sparsity: float, spread: float
) -> Allocation:
    """The ratios of one method; blocks with many outliers lose less (OWL), all others lose more by score."""
    values = np.array(scores)
    ratios_of = scaled_ratios if name in ("alpha", "farms") else shifted_ratios
    ratios = ratios_of(-values if name == "owl" else values, sizes, sparsity, spread)
    return Allocation(spread, tuple(scores), tuple(ratios.tolist()))


def _calibration_ids(loaded: LoadedModel, texts: Texts, tokens: int, seed: int) -> Int[Tensor, "chunk token"]:
    """Chunks of tokens of shuffled texts."""
    length = _chunk_length(loaded)
    if not is_whole_number(tokens, _FEWEST_CHUNKS * length):
        raise BadFeatures(
            f"{tokens!r} calibration tokens are too few: give at least {_FEWEST_CHUNKS} chunks of {length}, "
            f"{_FEWEST_CHUNKS * length:,}"
        )
    order = np.random.default_rng(seed).permutation(len(texts))
    ids = chunks(loaded.tokenizer, (texts.texts[int(row)] for row in order), length, tokens // length)
    if len(ids) < tokens // length:
        raise BadTexts(
            f"{texts.source}: the calibration texts have {ids.size:,} tokens in chunks of {length}, "
            f"and {tokens // length * length:,} are requested; give more texts, or fewer tokens"
        )
    return torch.from_numpy(ids)


def _chunk_length(loaded: LoadedModel) -> int:
    usable = positions_of(loaded.model).usable
    return CHUNK_TOKENS if usable is None else min(CHUNK_TOKENS, usable)


def _uniform(sizes: dict[tuple[int, str], int], sparsity: float) -> dict[tuple[int, str], int]:
    """The same share of every matrix, exact in all."""
    require_sparsity(sparsity)
    counts = exact_counts(np.full(len(sizes), sparsity), np.array([*sizes.values()]), sparsity)
    return dict(zip(sizes, counts.tolist(), strict=True))


def _request(
    loaded: LoadedModel, calibration: Texts | None, tokens: int, seed: int, dtype: str
) -> dict[str, Any]:  # Any: plain JSON values
    """What decides the numbers, as JSON values."""
    texts = (
        {} if calibration is None else {"tokens": tokens, "seed": seed, "data_hash": calibration.data_hash}
    )
    return {
        "model": loaded.name,
        "revision": loaded.revision,
        "fingerprint": loaded.fingerprint.to_dict(),
        "dtype": dtype,
        "torch": str(torch.__version__),
        "calibration": texts,
    }


def _converted(loaded: LoadedModel, dtype: str) -> Any:  # Any: a model of transformers
    """The model with its head in a number type, to be changed; its files stay as they are."""
    causal: Any = loaded.causal
    return causal.to(getattr(torch, dtype))


def _bytes(matrices: dict[str, Tensor]) -> bytes:
    from safetensors.torch import save

    return save({name: matrix.contiguous().cpu() for name, matrix in matrices.items()})


def _tensors(data: bytes) -> dict[str, Tensor]:
    from safetensors.torch import load

    return load(data)
