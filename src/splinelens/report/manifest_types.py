"""Types of the records in a detector's manifest, which anyone can edit: they are checked for its card."""

import math
from typing import Annotated

from pydantic import AfterValidator, ConfigDict

RECORD = ConfigDict(strict=True)
"""Of a record that is plain JSON: a string is no number."""


def _of_usual_size(number: float) -> float:
    """JSON writes a number of 400 digits, and no format shows it."""
    if math.isinf(number):
        raise ValueError("the number is too large")
    return number


Number = Annotated[float, AfterValidator(_of_usual_size)]
Bounds = tuple[Number, Number]
