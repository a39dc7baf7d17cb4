"""Everything that decides a feature's value, besides the text and the model."""

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from pydantic import TypeAdapter, ValidationError

from splinelens.errors import BadFeatures
from splinelens.features.catalogue import VERSION, statistics
from splinelens.features.validation import check_layers, check_names, check_positive
from splinelens.geometry.directions import Directions
from splinelens.geometry.settings import check_eps
from splinelens.tokens import Long


@dataclass(frozen=True)
class FeatureSpec:
    """Which statistics are read, where, and around which prompt.

    Attributes:
        features: Feature or statistic names of the catalogue.
        pooling: Poolings of ``margins`` and ``hidden``.
        layers: Layers to read, from 0; None stands for all of the model.
        prompt: Run before every text, never pooled.
        suffix: Run after every text, never pooled (a causal model does not let it reach the text).
        max_tokens: Tokens of a window; None takes 512, or what fits into the model's positions.
        long: ``"windows"`` reads long texts whole; ``"cut"`` drops what exceeds one window.
        version: Catalogue version of the numbers.
        eps: Attention weights above it (``absolute``), or above it times the head's largest one
            (``relative``), count for ``attention_id``; in (0, 1).
        normalize: Disguised characters of a text become plain ones before it is tokenized.
        max_text_tokens: Texts of more tokens are not read; None reads texts of any length.

    Raises:
        BadFeatures: ``eps`` is not in (0, 1), ``max_tokens`` or ``max_text_tokens`` is no positive number, or
            ``long`` another word.

    Example:
        >>> FeatureSpec(layers=(0, 2)).depth
        3
    """

    features: tuple[str, ...] = ("spline7",)
    pooling: tuple[str, ...] = ("max",)
    layers: tuple[int, ...] | None = None
    prompt: str = ""
    suffix: str = ""
    max_tokens: int | None = None
    long: Long = "windows"
    version: int = VERSION
    eps: float = 0.1
    normalize: bool = False
    max_text_tokens: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "eps", check_eps(self.eps))  # a plain float, whatever it came as
        if self.long not in ("windows", "cut"):
            raise BadFeatures(f"long={self.long!r}: need 'windows' or 'cut'")
        for name in ("max_tokens", "max_text_tokens"):
            if (value := getattr(self, name)) is not None:
                object.__setattr__(self, name, check_positive(value, name))

    @classmethod
    def of(
        cls,
        features: object,
        layers: object,
        pooling: object,
        *,
        directions: Directions | None = None,
        **settings: Any,
    ) -> "FeatureSpec":
        """Validate user input before a model is loaded; ``settings`` are the other fields.

        Raises:
            BadFeatures: Names or layers that cannot be, no layer, a field that ``FeatureSpec`` refuses, or as
                in ``require_directions``.
        """
        names, poolings = check_names(features, "features"), check_names(pooling, "pooling")
        statistics(names, poolings)
        spec = cls(names, poolings, check_layers(layers), **settings)
        spec.require_directions(directions)
        return spec

    def require_directions(self, directions: Directions | None) -> None:
        """Refuse the feature ``directions`` without learned directions, and these without the feature.

        Raises:
            BadFeatures: One of the two is missing.
        """
        reads = any(row.needs == "inputs" for row in statistics(self.features, self.pooling))
        if reads and directions is None:
            raise BadFeatures(
                "the feature directions needs learned hyperplanes, which only detectors have: score with "
                "such a detector, or in Python pass directions=detector.artifact.directions"
            )
        if directions is not None and not reads:
            raise BadFeatures(f"{directions!r} are given, but features name no 'directions'; add it")

    @property
    def depth(self) -> int | None:
        """Blocks that must be run; None stands for all of the model."""
        return None if self.layers is None else max(self.layers, default=0) + 1

    def to_dict(self) -> dict[str, Any]:  # Any: plain JSON values
        """As plain JSON values: what JSON gives back is equal.

        ``normalize`` and ``max_text_tokens`` are written only when set, so tables written before they existed
        still match.
        """
        return {
            key: list(value) if isinstance(value, tuple) else value
            for key, value in asdict(self).items()
            if key not in ("normalize", "max_text_tokens") or value
        }

    @classmethod
    def from_dict(cls, record: dict[str, Any]) -> "FeatureSpec":  # Any: plain JSON values
        """From what ``to_dict`` gave; a field that it lacks has its default.

        Raises:
            BadFeatures: A field that this version does not know, or a value of the wrong type.
        """
        unknown = sorted(record.keys() - {field.name for field in fields(cls)})
        if unknown:
            raise BadFeatures(
                f"a feature spec has no {', '.join(unknown)}; it was written by another version"
            )
        try:
            return TypeAdapter(cls).validate_json(json.dumps(record), strict=True)
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"]))
            raise BadFeatures(f"a feature spec is damaged at {where!r}: {first['msg']}") from error


def every_third_layer(depth: int) -> tuple[int, ...]:
    """The layers that linear heads on many columns read: the first, and every third up to the last.

    Example:
        >>> every_third_layer(7)
        (0, 2, 5)
    """
    return (0, *range(2, depth, 3))
