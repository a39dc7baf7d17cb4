"""Names of poolings, statistics and rules of pruning, and the check of ``eps``: what needs no tensors.

Separate, so that a compiled detector scores texts without PyTorch.
"""

import math
from array import array
from typing import Literal, get_args

from splinelens.errors import BadFeatures

SIGN_POOLINGS = ("mean", "min", "max", "std")
"""How the seven features pool the sign fraction over tokens."""

BOUNDARY_POOLINGS = ("min", "mean", "std")
"""How the seven features pool the boundary distance over tokens."""

SPLINE7 = (*(f"sign_{name}" for name in SIGN_POOLINGS), *(f"boundary_{name}" for name in BOUNDARY_POOLINGS))
"""Names of the paper's seven features of a layer, in their order."""

THRESHOLDS = ("absolute", "relative")
"""Attention weights are compared with ``eps`` itself, or with ``eps`` times the query's largest weight."""


Rule = Literal["alpha", "farms", "owl", "dlp", "arithmetic", "uniform"]
"""What decides how much of a block is pruned."""

CALIBRATED: tuple[Rule, ...] = ("owl", "dlp")
"""The rules that need calibration texts."""

Method = Literal["magnitude", "wanda", "sparsegpt"]
METHODS: tuple[Method, ...] = get_args(Method)
"""How the weights to remove are chosen; all but ``magnitude`` need calibration texts."""


def check_eps(eps: object) -> float:
    """Validate a threshold and return it as a float.

    Returns:
        ``eps``.

    Raises:
        BadFeatures: ``eps`` is not a number in (0, 1), or float32, the dtype of weights, rounds it to 0 or 1.

    Example:
        >>> check_eps(0.1)
        0.1
    """
    try:
        number = math.nan if isinstance(eps, str) else float(eps)  # type: ignore[arg-type] # refused below
    except (TypeError, ValueError):
        number = math.nan
    if not 0 < number < 1:
        raise BadFeatures(f"eps is {eps!r}; pass a number above 0 and below 1, such as 0.1")
    rounded = array("f", [number])[0]
    if rounded in (0, 1):
        raise BadFeatures(
            f"eps is {eps!r}, in float32 {rounded}; pass a number above 0 and below 1, such as 0.1"
        )
    return number
