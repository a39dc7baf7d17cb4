"""The reducers of a pass can be traced into one graph, for other batches and lengths than traced."""

import pytest
import torch

from splinelens.geometry.partition import (
    boundary_distance,
    margin_scale,
    sign_fraction,
    signed_margin,
    spline7,
)
from splinelens.geometry.running import Running
from splinelens.geometry.settings import BOUNDARY_POOLINGS, SIGN_POOLINGS

POOLINGS = ("max", "min", "mean", "last", "occupancy")
NORM = torch.linspace(0.5, 2.0, 12)


class Dense(torch.nn.Module):
    def forward(self, gate, mask):
        margins = Running.reduce(gate, mask, POOLINGS).scaled(margin_scale(NORM))
        margin = signed_margin(gate, NORM)
        sign = Running.reduce(sign_fraction(margin)[..., None], mask, SIGN_POOLINGS)
        boundary = Running.reduce(boundary_distance(margin)[..., None], mask, BOUNDARY_POOLINGS)
        return (*(margins.result(pooling) for pooling in POOLINGS), spline7(sign, boundary))


class Routed(torch.nn.Module):
    def forward(self, gate, mask):
        neurons = torch.arange(gate.shape[2]).expand(gate.shape) + 3
        state = Running.reduce_routed(gate, neurons, 20, mask, POOLINGS)
        return tuple(state.result(pooling) for pooling in POOLINGS)


def batch(texts, tokens):
    mask = torch.rand(texts, tokens) < 0.7
    mask[:, 0] = True
    return torch.randn(texts, tokens, 12), mask


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
@pytest.mark.parametrize("module", [Dense(), Routed()])
def test_a_traced_reducer_gives_the_same_bits_for_any_shape(module):
    axes = {0: torch.export.Dim("text", min=2, max=64), 1: torch.export.Dim("token", min=2, max=512)}
    traced = torch.export.export(module, batch(3, 10), dynamic_shapes=(axes, axes)).module()
    for shape in ((5, 33), (2, 2), (64, 7)):
        example = batch(*shape)
        for one, other in zip(traced(*example), module(*example), strict=True):
            assert torch.equal(one, other)
