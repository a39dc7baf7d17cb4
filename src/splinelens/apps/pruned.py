"""Prune a model and save it as an ordinary folder: weights set to zero, or whole neurons removed.

A zero saves no time in a dense kernel, and serving engines no longer read sparse formats. A model with fewer
neurons has smaller dense matrices, which every engine runs.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import Tensor

from splinelens import __version__
from splinelens.apps.pruning import CALIBRATED, By, plan
from splinelens.engines.neurons import RemovedNeurons, gate_occupancy, remove_neurons
from splinelens.engines.pruning import METHODS, Method, prune_blocks
from splinelens.engines.torch import positions_of
from splinelens.errors import BadFeatures, BadModel, BadTexts
from splinelens.features.validation import check_seed, is_whole_number
from splinelens.files import RowStore
from splinelens.geometry.allocation import exact_counts, require_sparsity
from splinelens.models import LoadedModel, load_model
from splinelens.models.load import DTYPES
from splinelens.models.save import check_model_folder, save_model
from splinelens.report.pruning import PrunePlan
from splinelens.texts import Texts
from splinelens.tokens import chunks
from splinelens.weights.masks import Pattern, Removal
from splinelens.weights.matrices import weight_matrices

CHUNK_TOKENS = 512
"""Tokens of a chunk of calibration text, or as many as the model has positions."""

_FEWEST_CHUNKS = 4


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
        sparsity: The share of the weights of all matrices, met to one weight; not with ``given`` or
            ``pattern``.
        by: How it is shared out among the blocks, if not ``given``.
        given: A plan of this model.
        pattern: Instead of a sparsity, an n:m pattern such as ``"2:4"`` in every matrix.
        calibration: Texts; not needed by ``magnitude`` with a plan, a pattern, or by weights only.
        tokens: Tokens of the calibration texts that are read, after these are shuffled.
        seed: Of the shuffle.
        dtype: Number type of the forward passes and of the saved weights.
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
    seed, folder = check_seed(seed), Path(output)
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
    check_model_folder(folder, overwrite=overwrite, source=str(model))
    # In float32 first: the fingerprint of a plan is that of these weights.
    loaded = load_model(model, head=True, revision=revision, device=device)
    if given is not None:
        given.require_model(loaded)
    ids = None if calibration is None else calibration_ids(loaded, calibration, tokens, seed)
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
        shared = {"by": given.method, "sparsity": given.sparsity}
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
    decides. The down projection of the others is refitted on the calibration text. Neurons that never fire
    contribute nothing behind a ReLU, so there the outputs on the calibration text stay the same; behind a
    SiLU one contributes at most 0.28 times its up projection, and the change is measured.

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
        BadFeatures: ``share`` or ``occupancy`` outside [0, 1), or a block with no neuron that may go.
        BadTexts: The calibration texts are too short.
        BadModel: The model cannot be loaded or cannot lose neurons: experts, quantized weights, or a
            configuration without their number.
        OutputExists: The folder holds files, without ``overwrite``.
        CannotWrite: The disk is full, or the folder may not be written.
    """
    seed, folder = check_seed(seed), Path(output)
    for name, value in (("share", share), ("occupancy", occupancy)):
        if value is not None and not 0 <= value < 1:
            raise BadFeatures(f"{name}={value!r} is not in [0, 1)")
    check_model_folder(folder, overwrite=overwrite, source=str(model))
    loaded = load_model(model, head=True, revision=revision, device=device)
    ids = calibration_ids(loaded, calibration, tokens, seed)
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


def calibration_ids(loaded: LoadedModel, texts: Texts, tokens: int, seed: int) -> Int[Tensor, "chunk token"]:
    """Chunks of tokens of shuffled texts.

    Raises:
        BadFeatures: ``tokens`` is no whole number, or below four chunks.
        BadTexts: The texts have fewer tokens.
    """
    usable = positions_of(loaded.model).usable
    length = CHUNK_TOKENS if usable is None else min(CHUNK_TOKENS, usable)
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
            f"and {tokens // length * length:,} are asked for; give more texts, or fewer tokens"
        )
    return torch.from_numpy(ids)


def _uniform(sizes: dict[tuple[int, str], int], sparsity: float) -> dict[tuple[int, str], int]:
    """The same share of every matrix, exact in all."""
    require_sparsity(sparsity)
    counts = exact_counts(np.full(len(sizes), sparsity), np.array([*sizes.values()]), sparsity)
    return dict(zip(sizes, counts.tolist(), strict=True))


def _request(
    loaded: LoadedModel, calibration: Texts | None, tokens: int, seed: int, dtype: str
) -> dict[str, Any]:  # Any: plain JSON values
    """What decides the numbers, as JSON values."""
    if dtype not in DTYPES:
        raise BadModel(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
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
