"""Where a model can lose weights: how much of each block, by six methods side by side.

``plan`` measures the spectra of all weight matrices, and with calibration texts the inputs of each linear
map. The plan says how many weights each matrix loses; which ones, ``prune apply`` decides.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import groupby
from os import PathLike
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor

from splinelens import __version__
from splinelens.anatomy import anatomy_of
from splinelens.engines.blocks import BlockPasses
from splinelens.engines.torch import positions_of
from splinelens.errors import BadFeatures, BadModel, BadTexts
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
from splinelens.models.source import lasting_name
from splinelens.report.pruning import Allocation, MatrixPlan, PrunePlan
from splinelens.texts import Texts
from splinelens.tokens import chunks
from splinelens.weights.matrices import Matrix, weight_matrices

By = Literal["alpha", "farms", "owl", "dlp", "arithmetic", "uniform"]
"""How the sparsity is shared out among the blocks."""

METHODS: tuple[By, ...] = get_args(By)

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
"""The methods that need calibration texts."""

_FEWEST = 8  # eigenvalues of a matrix that counts for the alpha of its block
_TOKENS, _CHUNKS, _FEWEST_CHUNKS = 512, 16, 4


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
    methods: dict[str, Allocation] = {
        name: _allocation(name, values, sizes, sparsity, spreads[name]) for name, values in scores.items()
    }
    ratios = np.array([methods[by].ratios[each.layer] for each in matrices])
    counts = exact_counts(ratios, np.array([each.size for each in matrices]), sparsity)
    return PrunePlan(
        model=lasting_name(loaded.name),
        fingerprint=loaded.fingerprint,
        sparsity=float(sparsity),
        method=by,
        methods=methods,
        left_out=dict.fromkeys(CALIBRATED, reason) if passes is None else {},
        matrices=tuple(
            replace(each, remove=int(count)) for each, count in zip(matrices, counts, strict=True)
        ),
        calibration_tokens=tokens,
        version=__version__,
    )


def _calibrated(
    loaded: LoadedModel, calibration: Texts | Iterable[str | None] | None
) -> tuple[BlockPasses | None, int, str]:
    """The passes that OWL and DLP read, the tokens in them, and why there are none."""
    if calibration is None:
        return None, 0, "it needs calibration texts"
    usable = positions_of(loaded.model).usable
    length = _TOKENS if usable is None else min(_TOKENS, usable)
    ids = chunks(loaded.tokenizer, Texts.of(calibration).texts, length, _CHUNKS)
    if len(ids) < _FEWEST_CHUNKS:
        raise BadTexts(
            f"the calibration texts have fewer than {_FEWEST_CHUNKS * length:,} tokens, too few to tell how "
            "large the inputs of each map are; give more text"
        )
    anatomy = anatomy_of(loaded.model)
    for layer in range(anatomy.depth):
        if anatomy.experts(layer) is not None:
            return None, 0, f"layer {layer} consists of experts, each of which reads its own tokens"
    try:
        return BlockPasses(loaded.model, torch.from_numpy(ids)), ids.size, ""
    except BadModel as error:
        return None, 0, str(error)


def _measured(
    loaded: LoadedModel, passes: BlockPasses | None, progress: Callable[[int, int], None] | None
) -> tuple[list[MatrixPlan], dict[By, list[float]]]:
    """The spectrum of each matrix, and the score of each block by method."""
    result: list[MatrixPlan] = []
    scores: dict[By, list[float]] = {name: [] for name in METHODS if passes or name not in CALIBRATED}
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
