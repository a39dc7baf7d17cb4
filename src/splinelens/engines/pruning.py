"""Set weights of a model to zero, block by block: each block is calibrated on what the pruned blocks give."""

from collections.abc import Iterator, Mapping, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from splinelens.anatomy import anatomy_of
from splinelens.engines.blocks import BlockPasses, InputStats
from splinelens.errors import BadFeatures, BadModel
from splinelens.geometry.allocation import median_metric, outlier_share
from splinelens.geometry.settings import Method, Rule
from splinelens.weights.masks import Removal, magnitude_mask, sparsegpt, wanda_mask, wanda_scores
from splinelens.weights.matrices import Matrix, blocks_of


def block_scores(model: nn.Module, ids: Int[Tensor, "text token"]) -> Iterator[dict[Rule, float]]:
    """What OWL and DLP measure of each block of a dense model.

    The model is tested at once; a block is run when its scores are taken.

    Raises:
        BadModel: A layer consists of experts, or the blocks cannot be run one by one.
    """
    passes = _passes(model, ids)

    def scores(block: list[Matrix]) -> dict[Rule, float]:
        if block[0].layer:
            passes.advance()
        stats = passes.input_stats([matrix.name for matrix in block], gram=False)
        metrics = [wanda_scores(matrix.tensor, stats[matrix.name].power) for matrix in block]
        return {"owl": outlier_share(metrics), "dlp": median_metric(metrics)}

    return map(scores, blocks_of(model))


def prune_blocks(
    model: nn.Module,
    removals: Mapping[tuple[int, str], Removal],
    method: Method,
    ids: Int[Tensor, "text token"] | None = None,
    finished: Sequence[Mapping[str, Tensor]] = (),
) -> Iterator[dict[str, Tensor]]:
    """Prune the matrices of a model in place, and yield those of each block as soon as it is done.

    The inputs of a block's matrices are those with the block's dense weights after pruned earlier blocks, as
    published for Wanda and SparseGPT. Embeddings, head, norms and biases stay.

    Args:
        model: A transformers model; its weights change.
        removals: For each matrix, by layer and name, how many weights are removed.
        method: How they are chosen.
        ids: Calibration tokens, texts of equal length; not read by ``magnitude``.
        finished: The matrices of the first blocks as an earlier run gave them, in order.

    Yields:
        By name the pruned matrices of each block that was not finished.

    Raises:
        BadModel: A matrix is quantized or not finite, belongs to an expert (except by ``magnitude``), or the
            blocks cannot be run one by one.
        BadFeatures: No calibration tokens, inputs that are not finite, or a removal that does not fit its
            matrix.

    Example:
        >>> from transformers import GPT2Config, GPT2Model
        >>> from splinelens.weights.matrices import weight_matrices
        >>> tiny = GPT2Model(GPT2Config(n_layer=1, n_head=2, n_embd=8, vocab_size=16)).eval()
        >>> halves = {(each.layer, each.name): each.tensor.numel() // 2 for each in weight_matrices(tiny)}
        >>> [pruned] = prune_blocks(tiny, halves, "magnitude")
        >>> [int((matrix == 0).sum()) for matrix in pruned.values()]
        [96, 32, 128, 128]
    """
    passes = None
    if method != "magnitude":
        if ids is None:
            raise BadFeatures(f"{method} needs calibration tokens; give texts, or prune by magnitude")
        passes = _passes(model, ids)
    for layer, matrices in enumerate(blocks_of(model)):
        if layer and passes is not None:
            passes.advance()
        if layer < len(finished):
            pruned = dict(finished[layer])
        else:
            stats: dict[str, InputStats] = {}
            if passes is not None:
                names = [matrix.name for matrix in matrices]
                stats = passes.input_stats(names, gram=method == "sparsegpt")
            pruned = {
                matrix.name: _pruned(matrix, stats, removals[layer, matrix.name], method)
                for matrix in matrices
            }
        with torch.no_grad():
            for matrix in matrices:
                matrix.tensor.copy_(pruned[matrix.name])
        if layer >= len(finished):
            yield pruned


def _passes(model: nn.Module, ids: Int[Tensor, "text token"]) -> BlockPasses:
    if experts := anatomy_of(model).expert_layers:
        raise BadModel(
            f"layer {experts[0]} consists of experts, each of which reads its own tokens; choose a way that "
            "needs no calibration texts"
        )
    return BlockPasses(model, ids)


def _pruned(
    matrix: Matrix, stats: Mapping[str, InputStats], removal: Removal, method: Method
) -> Float[Tensor, "out width"]:
    weight = matrix.tensor
    if not weight.isfinite().all():
        raise BadModel(f"{matrix.name} of layer {matrix.layer} holds weights that are not finite")
    if method == "magnitude":
        return weight.masked_fill(magnitude_mask(weight, removal), 0)
    if method == "wanda":
        return weight.masked_fill(wanda_mask(weight, stats[matrix.name].power, removal), 0)
    gram = stats[matrix.name].gram
    assert gram is not None
    return sparsegpt(weight, gram, removal)[0]
