"""Hyperplanes that were learned from labeled texts, in the space where a model's own walls lie.

A layer's own hyperplanes cut the input of its MLP; a learned one cuts the inputs of several layers at once.
The margins of tokens to them are computed by ``partition.learned_margin``.
"""

import hashlib
from dataclasses import dataclass

import numpy as np

from splinelens.errors import BadFeatures


@dataclass(frozen=True, eq=False)
class Directions:
    """Learned hyperplanes, each across several layers.

    The learned margin of a token is ``sum_l <weight[h, l], x_l> + bias[h]``, where ``x_l`` is the MLP's input
    at the l-th of the layers that are read, rising. It is not divided by the length of the normal.

    Attributes:
        weight: (direction, layer, width), the normals; float32, or float16 to halve their size on disk.
        bias: (direction,), float32.

    Raises:
        BadFeatures: Other shapes or number types, no direction, or numbers that are not finite.

    Example:
        >>> Directions(np.ones((2, 6, 32), dtype=np.float32), np.zeros(2, dtype=np.float32))
        Directions(2 of 6 layers and width 32)
    """

    weight: np.ndarray
    bias: np.ndarray

    def __post_init__(self) -> None:
        shape = self.weight.shape
        if len(shape) != 3 or not all(shape) or self.bias.shape != shape[:1]:
            raise BadFeatures(
                "directions need a weight of shape (direction, layer, width) and a bias of (direction,); "
                f"these have {shape} and {self.bias.shape}"
            )
        for name, array, dtypes in (
            ("weight", self.weight, ("float32", "float16")),
            ("bias", self.bias, ("float32",)),
        ):
            if array.dtype not in dtypes:
                raise BadFeatures(
                    f"the {name} of directions is {array.dtype}; convert it to {' or '.join(dtypes)}"
                )
            if not np.isfinite(array).all():
                raise BadFeatures(f"the {name} of directions holds numbers that are not finite")

    def __repr__(self) -> str:
        count, layers, width = self.weight.shape
        return f"Directions({count} of {layers} layers and width {width})"

    def __len__(self) -> int:
        return len(self.weight)

    @property
    def layers_read(self) -> np.ndarray:
        """(direction, layer) boolean, where a normal is not zero: the layers that a direction reads."""
        return np.any(self.weight, axis=2)

    @property
    def digest(self) -> str:
        """SHA-256 of shape, number type and numbers."""
        digest = hashlib.sha256()
        for array in (self.weight, self.bias):
            digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
        return digest.hexdigest()

    def require_fit(self, layers: int, width: int) -> None:
        """Refuse directions of another number of layers, or of a model of another width.

        Raises:
            BadFeatures: They do not fit; the message has both shapes.
        """
        if self.weight.shape[1:] != (layers, width):
            _, own_layers, own_width = self.weight.shape
            raise BadFeatures(
                f"directions across {own_layers} layers of width {own_width} do not fit the {layers} layers "
                f"of width {width} that are read; name the model and the layers that they were learned at"
            )
