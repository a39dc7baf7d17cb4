"""The affine map of an MLP in the region of a point: exact if piecewise linear, else first-order.

With ``g = W_in x + b_in``, an ungated MLP with a piecewise linear activation equals ``A x + b``,
``A = W_out diag(q + a (1 - q)) W_in``, in the whole region with code q (a: slope on the negative side).
Any other MLP is approximated by its derivative J at a point, ``f(y) ~ f(x) + J (y - x)``; if it is gated,
``J = W_down [diag(s'(g) u) W_gate + diag(s(g)) W_up]``. Such a map is called first-order, never exact.
Source: Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from splinelens.errors import BadFeatures
from splinelens.geometry.walls import gate_at

_NEURONS = 1024  # per block: 16 MiB of a float32 weight of width 4,096


def piecewise_map(
    point: Float[Tensor, " width"],
    gate: tuple[Float[Tensor, "neuron width"], Float[Tensor, " neuron"] | None],
    down: tuple[Float[Tensor, "out neuron"], Float[Tensor, " out"] | None],
    slope: float = 0.0,
) -> "RegionMap":
    """The exact affine map of an ungated piecewise linear MLP in the whole region of a point.

    Args:
        point: An input of the MLP; every point of its region has the same map.
        gate: Weight and bias (or None) of the first linear map.
        down: Weight and bias (or None) of the second one.
        slope: Slope of the activation on the negative side: 0 for ReLU, -1 for the absolute value,
            0.01 for the usual leaky ReLU. On the positive side it is 1.

    Returns:
        A map of kind ``exact``. A gate of exactly 0 counts as off.

    Raises:
        BadFeatures: The point, a weight or the slope is not finite.

    Example:
        >>> region = piecewise_map(torch.tensor([1.0, -1.0]), (torch.eye(2), None), (torch.ones(1, 2), None))
        >>> region.kind, region.apply(torch.tensor([5.0, -3.0]))
        ('exact', tensor([5.]))
    """
    if not math.isfinite(slope):
        raise BadFeatures(f"the activation's slope is {slope}; it must be finite, such as 0 for ReLU")
    values = _working(gate_at(point, *gate), point)
    on = (values > 0).to(values.dtype)
    scale = on + slope * (1 - on)
    return _region_map("exact", point, [(gate[0], scale)], scale * values, down)


def first_order_map(
    point: Float[Tensor, " width"],
    gate: tuple[Float[Tensor, "neuron width"], Float[Tensor, " neuron"] | None],
    down: tuple[Float[Tensor, "out neuron"], Float[Tensor, " out"] | None],
    activation: Callable[[Tensor], Tensor],
    up: tuple[Float[Tensor, "neuron width"], Float[Tensor, " neuron"] | None] | None = None,
) -> "RegionMap":
    """The first-order map of an MLP ``W_down s(g)``, or of a gated one ``W_down (s(g) * u)``, at a point.

    Even with a ReLU gate a gated MLP is quadratic in a region, not affine; without biases
    ``J x = 2 f(x)`` then.

    Args:
        point: An input of the MLP.
        gate: Weight and bias (or None) of the gate g.
        down: Weight and bias (or None) of the down projection.
        activation: The elementwise activation s; autograd gives its derivative.
        up: Weight and bias (or None) of the up projection u; None if the MLP is not gated.

    Returns:
        A map of kind ``first-order``; its error grows with the square of the distance to the point.

    Raises:
        BadFeatures: The point or a weight is not finite, or the activation has no derivative.

    Example:
        >>> eye, point = (torch.eye(2), None), torch.tensor([1.0, 2.0])
        >>> region = first_order_map(point, eye, eye, torch.relu, up=eye)
        >>> region.value, region.linear(point)
        (tensor([1., 4.]), tensor([2., 8.]))
    """
    value, derivative = _with_derivative(activation, _working(gate_at(point, *gate), point))
    if up is None:
        return _region_map("first-order", point, [(gate[0], derivative)], value, down)
    factor = _working(gate_at(point, *up), point)
    terms = [(gate[0], derivative * factor), (up[0], value)]
    return _region_map("first-order", point, terms, value * factor, down)


@dataclass(frozen=True, eq=False)
class RegionMap:
    """An affine map ``y -> value + J (y - point)`` whose matrix J stays factorized.

    ``J = out_weight @ sum_i diag(scales_i) @ weights_i``. No weight is copied: neurons are processed in
    blocks of a thousand. The arithmetic has the dtype of ``value``: float64 for a float64 point, else
    float32, whatever the dtype of the weights.

    Attributes:
        kind: ``exact``: the MLP in the whole region of the point. ``first-order``: its tangent there.
        point: The input at which the map was computed.
        value: Output of the MLP at the point.
        weights: One weight for an ungated MLP; gate and up for a gated one.
        scales: For each weight the factor of each neuron.
        out_weight: Weight of the last linear map.
    """

    kind: Literal["exact", "first-order"]
    point: Float[Tensor, " width"]
    value: Float[Tensor, " out"]
    weights: tuple[Float[Tensor, "neuron width"], ...]
    scales: tuple[Float[Tensor, " neuron"], ...]
    out_weight: Float[Tensor, "out neuron"]

    def __repr__(self) -> str:
        return f"RegionMap({self.kind}, {len(self.point)} -> {len(self.value)})"

    def apply(self, points: Float[Tensor, "*point width"]) -> Float[Tensor, "*point out"]:
        """Apply the map, ``value + J (y - point)``.

        Returns:
            Outputs of the MLP, including the last bias.

        Example:
            >>> region = piecewise_map(torch.ones(2), (torch.eye(2), None), (torch.eye(2), torch.ones(2)))
            >>> region.apply(torch.tensor([[2.0, 3.0], [0.5, 1.0]]))
            tensor([[3.0000, 4.0000],
                    [1.5000, 2.0000]])
        """
        return self.value + self.linear(points.to(self.value.dtype) - self.point)

    def linear(self, steps: Float[Tensor, "*point width"]) -> Float[Tensor, "*point out"]:
        """Multiply J with vectors: the change of the output for a change of the input.

        Returns:
            Differences of outputs.

        Example:
            >>> region = piecewise_map(torch.ones(2), (3 * torch.eye(2), None), (torch.eye(2), None))
            >>> region.linear(torch.tensor([1.0, 2.0]))
            tensor([3., 6.])
        """
        steps = steps.to(self.value.dtype)
        total = steps.new_zeros(*steps.shape[:-1], len(self.value))
        for terms, out in self._blocks():
            hidden = sum((steps @ weight.T * scale for weight, scale in terms), start=steps.new_zeros(()))
            total = total + hidden @ out.T
        return total

    def transposed(self, covectors: Float[Tensor, "*point out"]) -> Float[Tensor, "*point width"]:
        """Multiply the transpose of J with vectors: the input direction that an output direction reads.

        Returns:
            The gradient of ``<covector, map(y)>`` with respect to y.

        Example:
            >>> region = piecewise_map(torch.ones(2), (3 * torch.eye(2), None), (torch.ones(1, 2), None))
            >>> region.transposed(torch.tensor([1.0]))
            tensor([3., 3.])
        """
        covectors = covectors.to(self.value.dtype)
        total = covectors.new_zeros(*covectors.shape[:-1], len(self.point))
        for terms, out in self._blocks():
            hidden = covectors @ out
            for weight, scale in terms:
                total = total + (hidden * scale) @ weight
        return total

    def norm(self) -> float:
        """The spectral norm of J: the largest factor by which the map stretches a step.

        Lanczos iteration on ``J^T J`` with full reorthogonalization, from a fixed random start. It stops
        when the largest Ritz value has converged, to 1e-5 relative in float32 and 1e-11 in float64, after
        a few dozen products with J.

        Returns:
            The largest singular value, in output units per input unit.

        Example:
            >>> weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
            >>> round(piecewise_map(torch.ones(2), (weight, None), (torch.eye(2), None)).norm(), 4)
            4.0
        """
        generator = torch.Generator().manual_seed(0)
        start = torch.randn(len(self.point), generator=generator, dtype=torch.float64).to(self.point)
        basis = (start / start.norm()).unsqueeze(0)
        diagonal: list[float] = []
        off_diagonal: list[float] = []
        largest = 0.0
        tolerance = torch.finfo(start.dtype).eps ** 0.75
        for _ in range(len(start)):
            image = self.transposed(self.linear(basis[-1]))
            diagonal.append(float(image @ basis[-1]))
            for _ in range(2):  # twice: rounding brings old directions back
                image = image - (basis @ image) @ basis
            rest = float(image.norm())
            upper = torch.diag(torch.tensor(off_diagonal, dtype=torch.float64), 1)
            tridiagonal = torch.diag(torch.tensor(diagonal, dtype=torch.float64)) + upper + upper.T
            values, vectors = torch.linalg.eigh(tridiagonal)
            largest = max(float(values[-1]), 0.0)
            if rest * abs(float(vectors[-1, -1])) <= tolerance * largest:
                break
            off_diagonal.append(rest)
            basis = torch.cat([basis, image.unsqueeze(0) / rest])
        return largest**0.5

    def frobenius(self) -> float:
        """The Frobenius norm of J, the root of the sum of its squared entries.

        A unit step in a random direction is stretched to about ``frobenius() / sqrt(width)``. Costs as
        much as the MLP does for ``width`` tokens.

        Returns:
            The norm, never less than ``norm()``.

        Example:
            >>> weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
            >>> piecewise_map(torch.ones(2), (weight, None), (torch.eye(2), None)).frobenius()
            5.0
        """
        return math.hypot(*(float(strip.double().norm()) for strip in self._strips()))

    def singular_values(self) -> Float[Tensor, " value"]:
        """All singular values of J, from the eigenvalues of its smaller Gram matrix.

        The Gram matrix is accumulated in float64, so values below 1e-8 of the largest are unreliable
        (1e-6 if J is float32). At width 4,096 it takes 0.3 GB and tens of seconds on a CPU.

        Returns:
            ``min(out, width)`` values in float64, in descending order.

        Example:
            >>> weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
            >>> piecewise_map(torch.ones(2), (weight, None), (torch.eye(2), None)).singular_values()
            tensor([4., 3.], dtype=torch.float64)
        """
        size = min(len(self.value), len(self.point))
        gram = self.value.new_zeros(size, size, dtype=torch.float64)
        for strip in self._strips(columns=size < len(self.point)):
            exact = strip.double()
            gram.addmm_(exact.T, exact)
        return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(0)

    def effective_rank(self) -> float:
        """The effective rank of J: the exponential of the entropy of its singular values.

        Source: Roy and Vetterli, The effective rank, EUSIPCO 2007. Costs as much as ``singular_values``.

        Returns:
            From 1 (one direction) to ``min(out, width)`` (all equal); 0 by convention if J is 0.

        Example:
            >>> eye = torch.eye(3), None
            >>> round(piecewise_map(torch.ones(3), eye, eye).effective_rank(), 4)
            3.0
        """
        singular = self.singular_values()
        total = singular.sum()
        return float(torch.special.entr(singular / total).sum().exp()) if total > 0 else 0.0

    def _strips(self, columns: bool = False) -> Iterator[Float[Tensor, "row _"]]:
        """Blocks of rows of J, or of its transpose."""
        for start in range(0, len(self.point if columns else self.value), _NEURONS):
            some = slice(start, start + _NEURONS)
            strip = self.value.new_zeros(())
            for terms, out in self._blocks():
                parts = [(weight[:, some] if columns else weight) * scale[:, None] for weight, scale in terms]
                hidden = parts[0] if len(parts) == 1 else parts[0] + parts[1]
                strip = strip + (hidden.T @ out.T if columns else out[some] @ hidden)
            yield strip

    def _blocks(self) -> Iterator[tuple[list[tuple[Tensor, Tensor]], Tensor]]:
        """For each block of neurons: its rows and factors, and its columns of the last weight."""
        dtype = self.value.dtype
        for start in range(0, self.out_weight.shape[1], _NEURONS):
            some = slice(start, start + _NEURONS)
            pairs = zip(self.weights, self.scales, strict=True)
            yield (
                [(weight[some].to(dtype), scale[some]) for weight, scale in pairs],
                self.out_weight[:, some].to(dtype),
            )


def _region_map(
    kind: Literal["exact", "first-order"],
    point: Tensor,
    terms: list[tuple[Tensor, Tensor]],
    hidden: Float[Tensor, " neuron"],
    down: tuple[Tensor, Tensor | None],
) -> RegionMap:
    """Compute the value from the activated neurons and build the map; raises if it is not finite."""
    out_weight, out_bias = down
    dtype = hidden.dtype
    value = hidden.new_zeros(len(out_weight))
    for out, some in zip(out_weight.detach().split(_NEURONS, dim=1), hidden.split(_NEURONS), strict=True):
        value = value + out.to(dtype) @ some
    value = value if out_bias is None else value + out_bias.detach().to(dtype)
    bad = (~value.isfinite()).nonzero().flatten().tolist()
    if bad:
        raise BadFeatures(
            f"the MLP gives {float(value[bad[0]])} at width {bad[0]}: its last weight or bias or its "
            "activation is not finite there; check the model's files and dtype"
        )
    weights, scales = zip(*((weight.detach(), scale) for weight, scale in terms), strict=True)
    return RegionMap(kind, point.detach().to(dtype), value, weights, scales, out_weight.detach())


def _working(values: Tensor, point: Tensor) -> Tensor:
    """The values in float64 for a float64 point, else in float32."""
    return values.to(torch.promote_types(point.dtype, torch.float32))


def _with_derivative(
    activation: Callable[[Tensor], Tensor], gate: Float[Tensor, " neuron"]
) -> tuple[Float[Tensor, " neuron"], Float[Tensor, " neuron"]]:
    """An activation and its derivative, also if the caller has disabled gradients."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = gate.clone().requires_grad_()
        value = activation(leaf.clone())  # it may work in place, which a leaf forbids
        if value.shape != gate.shape or not value.requires_grad:
            raise BadFeatures(
                f"the activation {activation!r} has no derivative for each neuron; pass an elementwise one "
                "that autograd can differentiate"
            )
        (derivative,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), derivative
