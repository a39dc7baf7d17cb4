"""Prune a model: plan how many weights each block loses, set weights to zero, or remove whole neurons.

``plan`` measures the spectra of all weight matrices, and with calibration texts the inputs of each linear
map, and shares a sparsity out among the blocks by up to six methods. ``apply`` chooses the weights and
``remove`` the neurons; both save an ordinary model folder. A zero saves no time in a dense kernel, and
serving engines no longer read sparse formats; a model with fewer neurons has smaller dense matrices, which
every engine runs.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Int
from torch import Tensor

from splinelens import __version__
from splinelens.engines.neurons import gate_occupancy, remove_neurons
from splinelens.engines.pruning import block_scores, prune_blocks
from splinelens.engines.torch import positions_of
from splinelens.errors import BadFeatures, BadModel, BadTexts
from splinelens.features.validation import check_seed, is_whole_number
from splinelens.files import RowStore
from splinelens.geometry.allocation import block_ratios, exact_counts, require_sparsity
from splinelens.geometry.settings import CALIBRATED, METHODS, Method, Rule
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
from splinelens.weights.masks import Pattern
from splinelens.weights.matrices import Matrix, blocks_of, weight_matrices, zero_counts

SPREADS: dict[Rule, float] = {
    "alpha": 0.3,
    "farms": 0.3,
    "owl": 0.08,
    "dlp": 0.15,
    "arithmetic": 0.15,
    "uniform": 0.0,
}
"""How far the ratios may differ by default, as published; of the progression it is our choice."""

CHUNK_TOKENS = 512
"""Tokens of a chunk of calibration text, or as many as the model has positions."""

_FEWEST_CHUNKS = 4
_FEWEST = 8  # eigenvalues of a matrix that counts for the alpha of its block


@dataclass(frozen=True)
class PrunedModel:
    """A model that was pruned and saved.

    Attributes:
        folder: Where it is.
        record: What was done, as in its ``splinelens.json``.
    """

    folder: Path
    record: dict[str, Any]  # Any: plain JSON values

    @property
    def weights(self) -> int:
        """Weights of all matrices of the blocks before."""
        return int(self.record["weights"])

    @property
    def removed(self) -> int:
        """How many of them are zero or gone now."""
        return int(self.record["removed"])


def plan(
    model: str | PathLike[str] | LoadedModel,
    sparsity: float,
    *,
    by: Rule = "alpha",
    spread: float | None = None,
    calibration: Texts | None = None,
    tokens: int = 16_384,
    seed: int = 0,
    device: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> PrunePlan:
    """How many weights each matrix of a model's blocks loses, by every method that can be computed.

    Args:
        model: A model with all its blocks.
        sparsity: The share of the weights of all matrices to remove, in [0, 0.99]; it is met to one weight.
        by: The rule that the numbers of weights follow.
        spread: How far its ratios may differ; None takes that of ``SPREADS``. 0 is uniform.
        calibration: Texts for OWL and DLP.
        tokens: Tokens of them that are read, after they are shuffled.
        seed: Of the shuffle.
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
    ids, inputs, reason = None, None, "it needs calibration texts (--calibration FILE)"
    if calibration is not None:
        ids = _calibration_ids(loaded, calibration, tokens, check_seed(seed))
        try:
            inputs = block_scores(loaded.model, ids)
        except BadModel as error:
            reason = str(error)
    if by in CALIBRATED and inputs is None:
        raise BadModel(f"{by} cannot be computed for {loaded.name}: {reason}")
    matrices, scores = _measured(loaded, inputs, progress)
    sizes = np.bincount([each.layer for each in matrices], [each.size for each in matrices]).astype(np.int64)
    spreads = SPREADS if spread is None else SPREADS | {by: spread}
    allocations: dict[str, Allocation] = {}
    for rule, values in scores.items():
        shares = block_ratios(rule, np.array(values), sizes, sparsity, spreads[rule])
        allocations[rule] = Allocation(spreads[rule], tuple(values), tuple(shares.tolist()))
    ratios = np.array([allocations[by].ratios[each.layer] for each in matrices])
    counts = exact_counts(ratios, np.array([each.size for each in matrices]), sparsity)
    return PrunePlan(
        model=lasting_name(loaded.name),
        fingerprint=loaded.fingerprint,
        sparsity=float(sparsity),
        by=by,
        allocations=allocations,
        left_out=dict.fromkeys(CALIBRATED, reason) if inputs is None else {},
        matrices=tuple(
            replace(each, remove=int(count)) for each, count in zip(matrices, counts, strict=True)
        ),
        calibration_tokens=0 if inputs is None or ids is None else ids.numel(),
        version=__version__,
    )


def apply(
    model: str | PathLike[str],
    output: str | PathLike[str],
    *,
    method: Method = "wanda",
    sparsity: float = 0.5,
    by: Rule = "uniform",
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
    if n_m is None and given is None and by != "uniform":
        texts = calibration if by in CALIBRATED else None
        given = plan(loaded, sparsity, by=by, calibration=texts, tokens=tokens, seed=seed)
    removals = _removals(loaded, n_m or given or sparsity)
    if n_m is not None:
        shared: dict[str, Any] = {"pattern": str(n_m)}
    else:
        shared = {"by": given.by if given else by, "sparsity": given.sparsity if given else sparsity}
    by_layer: dict[str, dict[str, int | str]] = {}
    for (layer, name), removal in removals.items():
        by_layer.setdefault(str(layer), {})[name] = removal if isinstance(removal, int) else str(removal)
    request = _request(loaded, calibration, tokens, seed, dtype) | {"method": method, "removals": by_layer}
    causal = _converted(loaded, dtype)
    with RowStore.beside(folder, request) as store:
        finished = [_tensors(cell) for cell in store.read()["matrices"].to_pylist()] if store.rows else []
        for matrices in prune_blocks(causal, removals, method, ids, finished):
            store.append(pa.table({"matrices": pa.array([_bytes(matrices)], pa.large_binary())}))
            if progress:
                progress(store.rows, loaded.depth)
        zeros, weights = zero_counts(causal)
        record = {
            "splinelens": __version__,
            "command": command,
            "kind": "pruned weights",
            **shared,
            "weights": weights,
            "removed": zeros,
            **request,
        }
        save_model(loaded, folder, record)
        store.remove()
    return PrunedModel(folder, record)


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
) -> PrunedModel:
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
    weights = zero_counts(loaded)[1]
    causal = _converted(loaded, dtype)
    fired = gate_occupancy(causal, ids)
    neurons = fired.shape[1]
    allowed = (fired <= occupancy).sum(dim=1)
    least = math.ceil(1e4 / neurons) / 1e4  # rounded up: it is enough for one neuron
    if share is None:
        count, highest = min(int(allowed.min()), neurons - 1), occupancy
        seldom = f"fires at no more than {occupancy:g} of the tokens of" if occupancy else "never fires on"
        advice = max(0.02, least)
        problem = (
            f"block {int(allowed.argmin())} has no neuron that {seldom} these texts; remove a share instead, "
            f"such as --share {advice:g} (in Python share={advice:g}), or raise --occupancy"
        )
    else:
        count, highest = int(share * neurons + 1e-9), 1.0
        problem = (
            f"a share of {share:g} is less than one of {neurons:,} neurons; give --share {least:g} or more "
            f"(in Python share={least:g})"
        )
    if not count:
        raise BadFeatures(problem)
    removed = []
    for each in remove_neurons(causal, count, ids, fired, highest):
        removed.append(each)
        if progress:
            progress(len(removed), loaded.depth)
    record = {
        "splinelens": __version__,
        "command": command,
        "kind": "removed neurons",
        "neurons": {"before": neurons, "after": neurons - count},
        "weights": weights,
        "removed": weights - zero_counts(causal)[1],
        **request,
        "blocks": [asdict(each) for each in removed],
    }
    save_model(loaded, folder, record)
    return PrunedModel(folder, record)


def _validated(
    model: str | PathLike[str], output: str | PathLike[str], seed: int, dtype: str, overwrite: bool
) -> tuple[int, Path]:
    """The seed and the folder; what can be refused without the model is."""
    if dtype not in DTYPES:
        raise BadModel(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    check_model_folder(Path(output), overwrite=overwrite, sources=[str(model)])
    return check_seed(seed), Path(output)


def _measured(
    loaded: LoadedModel,
    inputs: Iterator[dict[Rule, float]] | None,
    progress: Callable[[int, int], None] | None,
) -> tuple[list[MatrixPlan], dict[Rule, list[float]]]:
    """The spectrum of each matrix, and the score of each block by rule."""
    result: list[MatrixPlan] = []
    scores: dict[Rule, list[float]] = {rule: [] for rule in SPREADS if inputs or rule not in CALIBRATED}
    for layer, block in enumerate(blocks_of(loaded)):
        spectra = [_spectrum(matrix) for matrix in block]
        result += spectra
        of_block: dict[Rule, float] = {
            "alpha": _mean(layer, [each.alpha for each in spectra]),
            "farms": _mean(layer, [each.corrected_alpha for each in spectra]),
            "arithmetic": layer,
            "uniform": 0,
            **(next(inputs) if inputs else {}),
        }
        for rule, score in of_block.items():
            scores[rule].append(float(score))
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


def _removals(
    loaded: LoadedModel, share: Pattern | PrunePlan | float
) -> dict[tuple[int, str], int] | dict[tuple[int, str], Pattern]:
    """What each matrix loses by a pattern or a plan, or so that all lose the same share, exact in all."""
    if isinstance(share, PrunePlan):
        return share.counts
    matrices = {(each.layer, each.name): each.tensor for each in weight_matrices(loaded)}
    if isinstance(share, Pattern):
        for weight in matrices.values():
            share.count(weight)  # refuses matrices that it does not fit
        return dict.fromkeys(matrices, share)
    require_sparsity(share)
    sizes = np.array([weight.numel() for weight in matrices.values()])
    counts = exact_counts(np.full(len(sizes), share), sizes, share)
    return dict(zip(matrices, counts.tolist(), strict=True))


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
