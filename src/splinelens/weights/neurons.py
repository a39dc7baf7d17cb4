"""Which neurons of an MLP to remove, and the down projection that makes up for them.

With ``a`` the activations of the neurons (the input of the down projection ``D``) and ``G = mean a a^T``, the
output ``D a`` of the kept neurons ``K`` is closest to the whole one with ``D_K + D_R G_RK G_KK^-1``: the
least squares answer, as for single weights in SparseGPT (arXiv:2301.00774).
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor

from splinelens.errors import BadFeatures

_DAMPING = 1e-4
# Share of the mean diagonal that is added to the Gram matrix.


def neuron_losses(
    down: Float[Tensor, "width neuron"], gram: Float[Tensor, "neuron neuron"]
) -> Float[Tensor, " neuron"]:
    """The mean squared change of the output if one neuron is removed and the others make up for it.

    ``|D_k|^2 / (G^-1)_kk``, in float64; 0 for a neuron that is always 0.

    Args:
        down: The down projection.
        gram: ``mean a a^T`` of its inputs on calibration text.

    Example:
        >>> neuron_losses(torch.eye(2), torch.tensor([[4.0, 0.0], [0.0, 0.0]])).round(decimals=2)
        tensor([4., 0.], dtype=torch.float64)
    """
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(_damped(gram)))
    losses = down.double().square().sum(dim=0) / inverse.diagonal()
    return losses.masked_fill(gram.diagonal() == 0, 0)


def refitted_down(
    down: Float[Tensor, "width neuron"], gram: Float[Tensor, "neuron neuron"], kept: Int[Tensor, " kept"]
) -> Float[Tensor, "width kept"]:
    """The down projection of the kept neurons that gives the output closest to that of all neurons.

    If the removed neurons are always 0 on the calibration text, the columns of the others do not change.

    Args:
        down: The down projection.
        gram: ``mean a a^T`` of its inputs on calibration text.
        kept: Indices of the neurons that stay.

    Raises:
        BadFeatures: The Gram matrix is not finite.

    Example:
        >>> equal = torch.ones(2, 2)  # two neurons that always have the same activation
        >>> refitted_down(torch.tensor([[1.0, 3.0]]), equal, torch.tensor([1])).round(decimals=2)
        tensor([[4.]])
    """
    if not gram.isfinite().all():
        raise BadFeatures("the activations on calibration text are not finite; use dtype float32")
    gone = torch.ones(down.shape[1], dtype=torch.bool, device=down.device)
    gone[kept] = False
    shared = gram.double()[gone][:, kept]
    factor = torch.linalg.cholesky(_damped(gram)[kept][:, kept])
    moved = down.double()[:, gone] @ torch.cholesky_solve(shared.T, factor).T
    return (down[:, kept].double() + moved).to(down.dtype)


def _damped(gram: Float[Tensor, "neuron neuron"]) -> Float[Tensor, "neuron neuron"]:
    double = gram.double()
    mean = double.diagonal().mean()
    return double + torch.diag((double.diagonal() == 0) * (mean + (mean == 0)) + _DAMPING * mean)
