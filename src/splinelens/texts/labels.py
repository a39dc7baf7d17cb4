"""Labels of two classes as 0 and 1, from whatever a table calls them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from splinelens.errors import BadLabels
from splinelens.texts.wanted import listed

if TYPE_CHECKING:
    import numpy

_BITS = {"0": 0, "1": 1, "false": 0, "true": 1}


def binary_labels(
    values: Sequence[Any],  # Any: a label is whatever the file held
    name: str,
    positive: str | None = None,
) -> "numpy.ndarray":
    """Labels as 0 and 1 (int8), refused unless every row has one and both classes occur.

    Args:
        values: One label a row: 0/1 as int, float or string, or true/false as bool or string. None, NaN
            and blank strings are missing.
        name: Name of the label column, for messages.
        positive: The value that counts as 1; every other value then counts as 0.

    Returns:
        One int8 a row, 0 or 1.

    Raises:
        BadLabels: A label is missing or of another kind, ``positive`` never occurs, or one class only does.

    Example:
        >>> binary_labels(["hate", "none", "spam"], "kind", positive="hate").tolist()
        [1, 0, 0]
    """
    import numpy

    labels = [_spelling(value) for value in values]
    missing = [row for row, label in enumerate(labels) if not label]
    if missing:
        rows = ", ".join(map(str, missing[:5])) + (", ..." if len(missing) > 5 else "")
        found = f"label {name!r} is missing in {len(missing)} of {len(labels)} rows: {rows} (counted from 0)"
        raise BadLabels(f"{found}; fill them in or leave those rows out")
    there = dict.fromkeys(labels)
    if positive is None:
        others = [label for label in there if label.lower() not in _BITS]
        if others:
            found = f"label {name!r} holds {listed(others, 5)}, where 0/1 or true/false is read"
            raise BadLabels(f"{found}; say which value counts as 1 with --positive VALUE")
        bits = [_BITS[label.lower()] for label in labels]
    else:
        one = _spelling(positive)
        if one not in there:
            raise BadLabels(f"label {name!r} is never {positive!r}; it holds {listed(there, 5) or 'no rows'}")
        bits = [int(label == one) for label in labels]
    if len(set(bits)) < 2:
        found = f"is {bits[0]} in all {len(bits)} rows" if bits else "has no rows"
        found += f" ({listed(there, 5)})" if there else ""
        raise BadLabels(f"label {name!r} {found}; give rows of both classes")
    return numpy.array(bits, dtype=numpy.int8)


def _spelling(value: Any) -> str:  # Any: a label is whatever the file held
    """One spelling a value: True and ``true``, 1.0 and ``1`` agree; empty where the label is missing."""
    if hasattr(value, "item"):  # numbers of NumPy
        value = value.item()
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    label = str(value).strip()
    return {"0.0": "0", "1.0": "1"}.get(label, label)
