"""Where tokens sit among the regions that an MLP cuts.

The gate weight cuts the MLP's input space with one hyperplane per neuron; inside a region the signs
of the gate are constant. Source: Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from splinelens.geometry.running import Running
from splinelens.geometry.settings import BOUNDARY_POOLINGS, SIGN_POOLINGS


def signed_margin(
    gate: Float[Tensor, "*text token neuron"],
    norm: Float[Tensor, " neuron"] | Float[Tensor, "*text token neuron"],
) -> Float[Tensor, "*text token neuron"]:
    """Signed distance from each token to each hyperplane, ``gate_k / ||w_k||``.

    A length in units of the MLP's input, positive where the neuron is on. Computed in float32
    or better, whatever the model's dtype: half precision loses the small distances that matter most.

    Args:
        gate: Gate values, before the nonlinearity.
        norm: Length of each hyperplane's normal. Where it is 0 there is no hyperplane: the
            margin is 0 by our definition, and the neuron counts as off. On a layer of experts each
            token has neurons, and so norms, of its own.

    Returns:
        Signed margins, in float64 if ``norm`` is, else in float32.

    Example:
        >>> signed_margin(torch.tensor([[3.0, -8.0]]), torch.tensor([2.0, 4.0]))
        tensor([[ 1.5000, -2.0000]])
    """
    return gate.float() * margin_scale(norm)


def margin_scale(norm: Float[Tensor, "*neuron"]) -> Float[Tensor, "*neuron"]:
    """What a gate value is multiplied by to give a margin: ``1 / norm``, 0 where there is no hyperplane.

    Example:
        >>> margin_scale(torch.tensor([2.0, 0.0]))
        tensor([0.5000, 0.0000])
    """
    return torch.where(norm == 0, torch.inf, norm).reciprocal()


def learned_margin(
    inputs: Float[Tensor, "*text token width"], weight: Float[Tensor, "direction width"]
) -> Float[Tensor, "*text token direction"]:
    """What one layer adds to each token's margin to learned hyperplanes, ``<w_h, x>``, in float32.

    A learned hyperplane cuts the MLP inputs of several layers at once: its margin is the sum over them, plus
    a bias (see ``directions.Directions``).

    Args:
        inputs: The layer's MLP inputs, of any number type.
        weight: The part of each normal that belongs to the layer, float32.

    Example:
        >>> learned_margin(torch.tensor([[1.0, 2.0]]), torch.tensor([[3.0, 0.0], [1.0, -1.0]]))
        tensor([[ 3., -1.]])
    """
    return inputs.float() @ weight.T


def sign_fraction(margin: Float[Tensor, "*text token neuron"]) -> Float[Tensor, "*text token"]:
    """Share of neurons that are on at each token, ``mean_k 1[margin_k > 0]``, in [0, 1].

    NaN counts as off; the boundary distance of such a token is NaN.

    Args:
        margin: Signed margins, or gate values: only the sign is read.

    Returns:
        One fraction a token; a value of exactly 0 counts as off.

    Example:
        >>> sign_fraction(torch.tensor([[1.5, -2.0, 0.0, 4.0]]))
        tensor([0.5000])
    """
    on = torch.empty_like(margin, dtype=torch.float32)  # sums of floats are faster than of booleans
    return torch.gt(margin, 0, out=on).sum(dim=-1) / margin.shape[-1]


def boundary_distance(margin: Float[Tensor, "*text token neuron"]) -> Float[Tensor, "*text token"]:
    """Distance from each token to the nearest region boundary, ``min_k |margin_k|``.

    The length of the shortest step of the MLP's input that flips one sign of the layer's code.

    Args:
        margin: Signed margins of the neurons that have a hyperplane.

    Returns:
        Non-negative distances in units of the MLP's input; 0 is a token on a boundary, infinity a
        layer without any hyperplane.

    Example:
        >>> boundary_distance(torch.tensor([[1.5, -2.0]]))
        tensor([1.5000])
    """
    return margin.abs().amin(dim=-1) if margin.shape[-1] else margin.new_full(margin.shape[:-1], torch.inf)


def spline7(sign: Running, boundary: Running) -> Float[Tensor, "row *layer 7"]:
    """The paper's seven features of each layer, in the order of ``SPLINE7``.

    Standard deviations divide by n - 1; for a single token they are 0 by our definition (the
    reference gives NaN).

    Args:
        sign: Sign fractions, pooled by ``SIGN_POOLINGS``.
        boundary: Boundary distances, pooled by ``BOUNDARY_POOLINGS``.

    Returns:
        Mean, min, max and std of the sign fraction; min, mean and std of the distance; float32.

    Example:
        >>> sign = Running.scan(torch.tensor([0.25, 0.75]), SIGN_POOLINGS)
        >>> boundary = Running.scan(torch.tensor([1.0, 3.0]), BOUNDARY_POOLINGS)
        >>> spline7(sign, boundary)[-1, :3]
        tensor([0.5000, 0.2500, 0.7500])
    """
    seven = [sign.result(pooling) for pooling in SIGN_POOLINGS]
    seven += [boundary.result(pooling) for pooling in BOUNDARY_POOLINGS]
    return torch.stack([part.float() for part in seven], dim=-1)
