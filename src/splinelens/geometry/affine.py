"""What an MLP does in the region of one point: exactly if it is piecewise linear, else to first order.

With ``g = W_in x + b_in`` an ungated MLP with a piecewise linear activation is the map ``A x + b``,
``A = W_out diag(q + a (1 - q)) W_in``, throughout the region with code q (a: slope on the negative side).
Every other MLP has only its derivative J at a point: ``f(y) ~ f(x) + J (y - x)``, with
``J = W_down [diag(s'(g) u) W_gate + diag(s(g)) W_up]`` if it is gated. Such a map is called first-order,
never exact. Source: Balestriero, Cosentino and Shekkizhar, arXiv:2312.01648.
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

_NEURONS = 1024  # neurons at a time: 16 MiB of a float32 weight of width 4,096


def piecewise_map(
    point: Float[Tensor, " width"],
    weight: Float[Tensor, "neuron width"],
    bias: Float[Tensor, " neuron"] | None,
    out_weight: Float[Tensor, "out neuron"],
    out_bias: Float[Tensor, " out"] | None,
    slope: float = 0.0,
) -> "RegionMap":
    """The affine map that an ungated piecewise linear MLP is in the whole region of a point. Exact.

    Args:
        point: An input of the MLP; every point of its region has the same map.
        weight: First linear; its rows are the walls' normals.
        bias: Its bias, or None.
        out_weight: Second linear.
        out_bias: Its bias, or None.
        slope: Slope of the activation on the negative side: 0 for ReLU, -1 for the absolute value,
            0.01 for the usual leaky ReLU. On the positive side it is 1.

    Returns:
        A map of kind ``exact``. On a wall the neuron counts as off.

    Raises:
        BadFeatures: The point, a weight or the slope is not finite.

    Example:
        >>> region = piecewise_map(torch.tensor([1.0, -1.0]), torch.eye(2), None, torch.ones(1, 2), None)
        >>> region.kind, region.apply(torch.tensor([5.0, -3.0]))
        ('exact', tensor([5.]))
    """
    if not math.isfinite(slope):
        raise BadFeatures(f"the activation's slope is {slope}; it must be finite, such as 0 for ReLU")
    gate = _working(gate_at(point, weight, bias), point)
    on = (gate > 0).to(gate.dtype)
    scale = on + slope * (1 - on)
    return _built("exact", point, [(weight, scale)], scale * gate, out_weight, out_bias)


def smooth_map(
    point: Float[Tensor, " width"],
    weight: Float[Tensor, "neuron width"],
    bias: Float[Tensor, " neuron"] | None,
    out_weight: Float[Tensor, "out neuron"],
    out_bias: Float[Tensor, " out"] | None,
    activation: Callable[[Tensor], Tensor],
) -> "RegionMap":
    """The first-order map of an ungated MLP at a point, ``J = W_out diag(s'(g)) W_in``.

    Args:
        point: An input of the MLP.
        weight: First linear.
        bias: Its bias, or None.
        out_weight: Second linear.
        out_bias: Its bias, or None.
        activation: The activation s, element by element; its derivative is autograd's.

    Returns:
        A map of kind ``first-order``; its error grows as the square of the distance to the point.

    Raises:
        BadFeatures: The point or a weight is not finite, or the activation has no derivative.

    Example:
        >>> one = torch.ones(1, 1)
        >>> region = smooth_map(torch.zeros(1), one, None, one, None, torch.sigmoid)
        >>> region.kind, region.apply(torch.tensor([0.1]))
        ('first-order', tensor([0.5250]))
    """
    gate = _working(gate_at(point, weight, bias), point)
    value, derivative = _with_derivative(activation, gate)
    return _built("first-order", point, [(weight, derivative)], value, out_weight, out_bias)


def gated_map(
    point: Float[Tensor, " width"],
    gate_weight: Float[Tensor, "neuron width"],
    gate_bias: Float[Tensor, " neuron"] | None,
    up_weight: Float[Tensor, "neuron width"],
    up_bias: Float[Tensor, " neuron"] | None,
    down_weight: Float[Tensor, "out neuron"],
    down_bias: Float[Tensor, " out"] | None,
    activation: Callable[[Tensor], Tensor],
) -> "RegionMap":
    """The first-order map of a gated MLP ``W_down (s(g) * u)`` at a point.

    Even with a ReLU gate such an MLP is quadratic in a region, not affine. Without biases it is then
    ``J x = 2 f(x)``.

    Args:
        point: An input of the MLP.
        gate_weight: Weight of the gate g.
        gate_bias: Bias of the gate, or None.
        up_weight: Weight of the second branch u.
        up_bias: Its bias, or None.
        down_weight: Weight of the way back.
        down_bias: Its bias, or None.
        activation: The activation s of the gate, element by element; its derivative is autograd's.

    Returns:
        A map of kind ``first-order``; its error grows as the square of the distance to the point.

    Raises:
        BadFeatures: The point or a weight is not finite, or the activation has no derivative.

    Example:
        >>> eye, point = torch.eye(2), torch.tensor([1.0, 2.0])
        >>> region = gated_map(point, eye, None, eye, None, eye, None, torch.relu)
        >>> region.value, region.linear(point)
        (tensor([1., 4.]), tensor([2., 8.]))
    """
    gate = _working(gate_at(point, gate_weight, gate_bias), point)
    up = _working(gate_at(point, up_weight, up_bias), point)
    value, derivative = _with_derivative(activation, gate)
    terms = [(gate_weight, derivative * up), (up_weight, value)]
    return _built("first-order", point, terms, value * up, down_weight, down_bias)


@dataclass(frozen=True, eq=False)
class RegionMap:
    """An affine map ``y -> value + J (y - point)`` that keeps its matrix J as the factors it is made of.

    ``J = out_weight @ sum_i diag(scales_i) @ weights_i``. Nothing of the size of a weight is ever copied:
    the neurons are gone through a thousand at a time. All arithmetic has the dtype of ``value``: float64
    if the point was, else float32, whatever the dtype of the weights.

    Attributes:
        kind: ``exact``: the MLP itself, in the whole region of the point. ``first-order``: its tangent.
        point: The input at which the map was made.
        value: What the MLP gives there.
        weights: One weight for an ungated MLP; gate and up for a gated one.
        scales: The factor of each neuron, for each weight.
        out_weight: The linear from the neurons back to the width.
    """

    kind: Literal["exact", "first-order"]
    point: Float[Tensor, " width"]
    value: Float[Tensor, " out"]
    weights: tuple[Float[Tensor, "neuron width"], ...]
    scales: tuple[Float[Tensor, " neuron"], ...]
    out_weight: Float[Tensor, "out neuron"]

    def apply(self, points: Float[Tensor, "*point width"]) -> Float[Tensor, "*point out"]:
        """What the map gives at some points, ``value + J (y - point)``.

        Args:
            points: Inputs of the MLP. An exact map holds for those in the region of ``point`` only.

        Returns:
            Outputs of the MLP, the second linear's bias included.

        Example:
            >>> region = piecewise_map(torch.ones(2), torch.eye(2), None, torch.eye(2), torch.ones(2))
            >>> region.apply(torch.tensor([[2.0, 3.0], [0.5, 1.0]]))
            tensor([[3.0000, 4.0000],
                    [1.5000, 2.0000]])
        """
        return self.value + self.linear(points.to(self.value.dtype) - self.point)

    def linear(self, steps: Float[Tensor, "*point width"]) -> Float[Tensor, "*point out"]:
        """J times some vectors: how the output changes for a step of the input.

        Args:
            steps: Differences of inputs of the MLP.

        Returns:
            Differences of outputs.

        Example:
            >>> region = piecewise_map(torch.ones(2), 3 * torch.eye(2), None, torch.eye(2), None)
            >>> region.linear(torch.tensor([1.0, 2.0]))
            tensor([3., 6.])
        """
        steps = steps.to(self.value.dtype)
        total = steps.new_zeros(*steps.shape[:-1], len(self.value))
        for terms, out in self._pieces():
            hidden = sum((steps @ weight.T * scale for weight, scale in terms), start=steps.new_zeros(()))
            total = total + hidden @ out.T
        return total

    def transposed(self, covectors: Float[Tensor, "*point out"]) -> Float[Tensor, "*point width"]:
        """J transposed times some vectors: the input direction that a direction of the output reads.

        Args:
            covectors: Directions of the output, such as a row of the unembedding or a probe.

        Returns:
            The gradient of ``<covector, map(y)>`` by y.

        Example:
            >>> region = piecewise_map(torch.ones(2), 3 * torch.eye(2), None, torch.ones(1, 2), None)
            >>> region.transposed(torch.tensor([1.0]))
            tensor([3., 3.])
        """
        covectors = covectors.to(self.value.dtype)
        total = covectors.new_zeros(*covectors.shape[:-1], len(self.point))
        for terms, out in self._pieces():
            hidden = covectors @ out
            for weight, scale in terms:
                total = total + (hidden * scale) @ weight
        return total

    def norm(self) -> float:
        """The spectral norm of J: the most that the map stretches any step.

        By power iteration on ``J^T J`` that keeps all its vectors (Lanczos), from a fixed random start. It
        stops when the value found is a singular value to within 1e-5 of itself in float32, 1e-11 in float64:
        all but surely the largest, which no such stop can prove. It takes a few dozen products with J.

        Returns:
            The largest singular value, without unit: output units a unit of input.

        Example:
            >>> weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
            >>> round(piecewise_map(torch.ones(2), weight, None, torch.eye(2), None).norm(), 4)
            4.0
        """
        dice = torch.Generator().manual_seed(0)
        start = torch.randn(len(self.point), generator=dice, dtype=torch.float64).to(self.point)
        basis = (start / start.norm()).unsqueeze(0)
        along: list[float] = []
        across: list[float] = []
        largest = 0.0
        tolerance = torch.finfo(start.dtype).eps ** 0.75
        for _ in range(len(start)):
            image = self.transposed(self.linear(basis[-1]))
            along.append(float(image @ basis[-1]))
            for _ in range(2):  # once is not enough: rounding brings old directions back
                image = image - (basis @ image) @ basis
            rest = float(image.norm())
            beside = torch.diag(torch.tensor(across, dtype=torch.float64), 1)
            small = torch.diag(torch.tensor(along, dtype=torch.float64)) + beside + beside.T
            values, vectors = torch.linalg.eigh(small)
            largest = max(float(values[-1]), 0.0)
            if rest * abs(float(vectors[-1, -1])) <= tolerance * largest:
                break
            across.append(rest)
            basis = torch.cat([basis, image.unsqueeze(0) / rest])
        return largest**0.5

    def frobenius(self) -> float:
        """The root of the sum of the squares of J's entries.

        A step of length 1 in a random direction comes out about ``frobenius() / sqrt(width)`` long. J is
        made a thousand rows at a time: it costs the time of ``dense`` and not its memory.

        Returns:
            The Frobenius norm, never less than ``norm()``.

        Example:
            >>> weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
            >>> piecewise_map(torch.ones(2), weight, None, torch.eye(2), None).frobenius()
            5.0
        """
        return math.hypot(*(float(strip.double().norm()) for strip in self._strips()))

    def singular_values(self) -> Float[Tensor, " value"]:
        """All singular values of J, from the eigenvalues of its Gram matrix (the smaller of the two).

        The Gram matrix is summed in float64, so values below 1e-8 of the largest are not to be trusted
        (1e-6 in float32, where J itself is not). J is made a thousand rows at a time, the Gram matrix is
        whole: at width 4,096 that takes 0.3 GB beside the weights and some tens of seconds on a CPU.

        Returns:
            ``min(out, width)`` values in float64, the largest first.

        Example:
            >>> weight = torch.tensor([[3.0, 0.0], [0.0, 4.0]])
            >>> piecewise_map(torch.ones(2), weight, None, torch.eye(2), None).singular_values()
            tensor([4., 3.], dtype=torch.float64)
        """
        size = min(len(self.value), len(self.point))
        gram = self.value.new_zeros(size, size, dtype=torch.float64)
        for strip in self._strips(columns=size < len(self.point)):
            exact = strip.double()
            gram.addmm_(exact.T, exact)
        return torch.linalg.eigvalsh(gram).clamp(min=0).sqrt().flip(0)

    def effective_rank(self) -> float:
        """How many directions the map really uses: the exponential of the entropy of its singular values.

        Source: Roy and Vetterli, The effective rank, EUSIPCO 2007. Costs what ``singular_values`` costs.

        Returns:
            From 1 (one direction) to ``min(out, width)`` (all alike); 0 by our definition if J is 0.

        Example:
            >>> eye = torch.eye(3)
            >>> round(piecewise_map(torch.ones(3), eye, None, eye, None).effective_rank(), 4)
            3.0
        """
        singular = self.singular_values()
        total = singular.sum()
        return float(torch.special.entr(singular / total).sum().exp()) if total > 0 else 0.0

    def dense(self) -> Float[Tensor, "out width"]:
        """J as a matrix. Costs as much as a pass of as many tokens as the width; mind the memory.

        Returns:
            The matrix: for width 4,096 in float32 it takes 64 MiB.

        Example:
            >>> piecewise_map(torch.tensor([1.0, -1.0]), torch.eye(2), None, torch.eye(2), None).dense()
            tensor([[1., 0.],
                    [0., 0.]])
        """
        total = self.value.new_zeros(len(self.value), len(self.point))
        for rows, strip in zip(total.split(_NEURONS), self._strips(), strict=True):
            rows.copy_(strip)
        return total

    def _strips(self, columns: bool = False) -> Iterator[Float[Tensor, "row _"]]:
        """J some rows at a time; or its transpose, that is J some columns at a time."""
        for start in range(0, len(self.point if columns else self.value), _NEURONS):
            some = slice(start, start + _NEURONS)
            strip = self.value.new_zeros(())
            for terms, out in self._pieces():
                parts = [(weight[:, some] if columns else weight) * scale[:, None] for weight, scale in terms]
                hidden = parts[0] if len(parts) == 1 else parts[0] + parts[1]
                strip = strip + (hidden.T @ out.T if columns else out[some] @ hidden)
            yield strip

    def _pieces(self) -> Iterator[tuple[list[tuple[Tensor, Tensor]], Tensor]]:
        """For some neurons at a time: their rows and factors, and their columns of the way out."""
        dtype = self.value.dtype
        for start in range(0, self.out_weight.shape[1], _NEURONS):
            some = slice(start, start + _NEURONS)
            pairs = zip(self.weights, self.scales, strict=True)
            yield (
                [(weight[some].to(dtype), scale[some]) for weight, scale in pairs],
                self.out_weight[:, some].to(dtype),
            )


def _built(
    kind: Literal["exact", "first-order"],
    point: Tensor,
    terms: list[tuple[Tensor, Tensor]],
    hidden: Float[Tensor, " neuron"],
    out_weight: Tensor,
    out_bias: Tensor | None,
) -> RegionMap:
    """The map, and its value from what leaves the nonlinearity; refuses weights that are not finite."""
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
    """The values in float64 if the point is, else in float32."""
    return values.to(torch.promote_types(point.dtype, torch.float32))


def _with_derivative(
    activation: Callable[[Tensor], Tensor], gate: Float[Tensor, " neuron"]
) -> tuple[Float[Tensor, " neuron"], Float[Tensor, " neuron"]]:
    """An activation and its derivative, also where the caller has turned gradients off."""
    with torch.inference_mode(False), torch.enable_grad():
        leaf = gate.clone().requires_grad_()
        value = activation(leaf.clone())  # an activation may work in place, which a leaf forbids
        if value.shape != gate.shape or not value.requires_grad:
            raise BadFeatures(
                f"the activation {activation!r} has no derivative for each neuron; pass one that works "
                "element by element and that autograd can follow"
            )
        (derivative,) = torch.autograd.grad(value.sum(), leaf)
    return value.detach(), derivative
