"""Reduces one text's layers while the model runs over it: what ``read_tokens`` keeps of each token.

A token keeps two numbers a layer, its nearest wall, one bit a neuron and two counts a head; a layer's
gate and scores are gone when the next layer comes.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor, nn

from splinelens.anatomy import anatomy_of
from splinelens.features.reading import row_dimensions, wall_margins
from splinelens.geometry.attention import dimension_bounds
from splinelens.geometry.codes import region_code
from splinelens.geometry.partition import sign_fraction, signed_margin
from splinelens.geometry.walls import nearest_wall
from splinelens.layers import AttentionCall
from splinelens.weights import gate_norms, linear_of, routed_neurons


@dataclass
class TokenWalk:
    """Reduces the layers of one pass over one text; make a new one for every text.

    Attributes:
        model: A transformers model.
        span: The columns (start, stop) of the row that the text's own tokens stand in.
        eps: Threshold of the intrinsic dimension.
        keep_call: A layer and a token of the text: keep what attention was given for it.
        numbers: Of each layer the sign fraction and the boundary distance of each token.
        walls: Of each layer the nearest wall's neuron of each token.
        finite: Of each layer whether each token's gate is finite.
        codes: Of each layer the packed signs.
        neurons: Of each layer how many neurons a code holds.
        routes: Of each layer of experts the experts of each token, rising.
        inputs: Of the layers watched for it, what the MLP was given.
        counts: Of each layer with a softmax the intrinsic dimensions.
        bounds: Of each of those the tight bound of the relative counts.
        call: What ``keep_call`` asked for.
    """

    model: nn.Module
    span: tuple[int, int]
    eps: float
    keep_call: tuple[int, int] | None
    numbers: dict[int, Tensor] = field(default_factory=dict)
    walls: dict[int, Tensor] = field(default_factory=dict)
    finite: dict[int, Tensor] = field(default_factory=dict)
    codes: dict[int, Tensor] = field(default_factory=dict)
    neurons: dict[int, int] = field(default_factory=dict)
    routes: dict[int, Tensor] = field(default_factory=dict)
    inputs: dict[int, Tensor] = field(default_factory=dict)
    counts: dict[int, Tensor] = field(default_factory=dict)
    bounds: dict[int, Tensor] = field(default_factory=dict)
    call: AttentionCall | None = None

    def route(self, layer: int, routes: Tensor) -> None:
        """Keep the experts of each token."""
        self.routes[layer] = routes[0, slice(*self.span)].clone()

    def input(self, layer: int, states: Tensor) -> None:
        """Keep what the MLP is given."""
        self.inputs[layer] = states[0, slice(*self.span)].clone()

    def gate(self, layer: int, gate: Tensor) -> None:
        """Reduce one layer's gate to two numbers, a wall and a code for each token."""
        own, norm = gate[0, slice(*self.span)], gate_norms(self.model, layer)
        routes = self.routes.get(layer)
        neurons = None if routes is None else routed_neurons(self.model, layer, routes)
        margin = signed_margin(own, norm if neurons is None else norm[neurons])
        distance, wall = nearest_wall(wall_margins(self.model, layer, margin, neurons))
        if neurons is not None:
            numbers = neurons.gather(1, wall.clamp(min=0)[:, None])[:, 0]
            wall = numbers.masked_fill(wall < 0, -1)
        self.numbers[layer] = torch.stack([sign_fraction(margin), distance])
        self.walls[layer], self.finite[layer] = wall, margin.isfinite().all(dim=-1)
        self.codes[layer], self.neurons[layer] = region_code(margin), margin.shape[-1]

    def attention(self, layer: int, call: AttentionCall) -> None:
        """Reduce one layer's attention call to two counts a head and token."""
        anatomy = anatomy_of(self.model)
        counts = row_dimensions(call, 0, *self.span, self.eps)
        if call.value is not None:
            head_dim = call.value.shape[-1]
        else:
            projection = linear_of(anatomy.output(layer), anatomy.family.transposed)[0]
            head_dim = projection.shape[1] // counts.shape[1]  # of the values
        self.counts[layer] = counts
        self.bounds[layer] = dimension_bounds(counts[1].T, head_dim, anatomy.width)[0]
        if self.keep_call is not None and layer == self.keep_call[0]:
            place = self.span[0] + self.keep_call[1]
            self.call = call.part(0, place, place + 1).copied()

    def dimensions(
        self, layers: Sequence[int]
    ) -> tuple[Int[np.ndarray, "2 layer head token"], Int[np.ndarray, "layer token"]]:
        """Counts and bounds on the host, -1 at layers without softmax attention.

        Args:
            layers: The layers to give; all were read.
        """
        config: Any = anatomy_of(self.model).base.config  # Any: each architecture has its own class
        heads = max([counts.shape[1] for counts in self.counts.values()], default=0)
        heads = heads or int(config.get_text_config().num_attention_heads)
        tokens = self.span[1] - self.span[0]
        dimension = np.full((2, len(layers), heads, tokens), -1)
        bound = np.full((len(layers), tokens), -1)
        for place, layer in enumerate(layers):
            if layer in self.counts:
                counts = self.counts[layer].cpu().numpy()
                dimension[:, place, : counts.shape[1]] = counts
                bound[place] = self.bounds[layer].cpu().numpy()
        return dimension, bound
