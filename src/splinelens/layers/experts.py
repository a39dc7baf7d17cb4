"""The gate of a mixture of experts: the neurons of the experts that a token is routed to.

A layer of experts cuts its input space by the hyperplanes of all experts, but a token meets only
those of the experts it is routed to (and of the shared expert, where there is one): they make its
region. Implementations hand rows to the experts in orders of their own, so the gate is computed here
from what the experts are given; it is the same product, and costs one third of the experts' time.
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
        expert: Its number, from 0.
        interleaved: The parameter is (expert, width, 2 neuron) with the gate at even places, as in
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

    Args:
        experts: The module that holds ``gate_up_proj``.
        states: What the experts are given.
        routes: For each token the numbers of its experts, in rising order.
        interleaved: As in ``expert_weight``.

    Returns:
        The experts' gates side by side, in the order of ``routes``.
    """
    neurons = expert_weight(experts, 0, interleaved)[0].shape[0]
    gate = states.new_zeros(*routes.shape, neurons)
    for expert in routes.unique().tolist():
        weight, bias = expert_weight(experts, expert, interleaved)
        token, slot = (routes == expert).nonzero(as_tuple=True)
        gate[token, slot] = torch.nn.functional.linear(states[token], weight, bias)
    return gate.flatten(1)
