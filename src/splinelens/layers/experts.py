"""The gate of a mixture of experts: the neurons of the experts that a token is routed to.

The region of a token is bounded by the hyperplanes of the experts that it is routed to, and of the shared
expert if there is one. Implementations group tokens by expert in different orders, so the gate is computed
here from the experts' input; this costs one third of the experts' time.
"""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


def expert_weight(
    experts: nn.Module, expert: int, interleaved: bool
) -> tuple[Float[Tensor, "neuron width"], Float[Tensor, " neuron"] | None]:
    """Gate weight and bias of one expert; row k is the normal of its hyperplane k.

    Args:
        experts: The module that holds ``gate_up_proj``.
        expert: Its index.
        interleaved: The parameter is (expert, width, 2 neuron) with the gate at even indices, as in
            GPT-OSS; else it is (expert, 2 neuron, width), the gate first.

    Returns:
        Views of the parameters.
    """
    weight: Tensor = experts.gate_up_proj[expert]  # type: ignore[index]  # a parameter of three axes
    bias = getattr(experts, "gate_up_proj_bias", None)
    if interleaved:
        return weight[:, ::2].T, None if bias is None else bias[expert, ::2]
    half = weight.shape[0] // 2
    return weight[:half], None if bias is None else bias[expert, :half]


def routed_gate(
    experts: nn.Module,
    states: Float[Tensor, "token width"],
    routes: Int[Tensor, "token route"],
    interleaved: bool,
) -> Float[Tensor, "token neuron"]:
    """The gate values of the experts that each token is routed to.

    Returns:
        The experts' gates, concatenated in the order of ``routes``.
    """
    neurons = expert_weight(experts, 0, interleaved)[0].shape[0]
    gate = states.new_zeros(*routes.shape, neurons)
    for expert in routes.unique().tolist():
        weight, bias = expert_weight(experts, expert, interleaved)
        token, slot = (routes == expert).nonzero(as_tuple=True)
        gate[token, slot] = torch.nn.functional.linear(states[token], weight, bias)
    return gate.flatten(1)
