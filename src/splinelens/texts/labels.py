"""Labels as 0 and 1, from whatever a table calls them: of two classes, of several, or of several columns."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from splinelens.errors import BadLabels
from splinelens.texts.wanted import listed

if TYPE_CHECKING:
    import numpy

_BITS = {"0": 0, "1": 1, "false": 0, "true": 1}
_YES = {"yes": 1, "no": 0, "y": 1, "n": 0}
_HARMLESS = {
    "clean",
    "safe",
    "harmless",
    "benign",
    "normal",
    "neutral",
    "ok",
    "none",
    "neither",
    "negative",
    "ham",
}
_MOST_CLASSES = 200


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of the rows that have one.

    Attributes:
        task: ``binary``, ``classes`` or ``labels``.
        names: What is told apart; of ``binary`` what 1 stands for.
        negative: Of ``binary`` what 0 stands for if the table says so, else None.
        values: (row, label) int8, 0 or 1.
        rows: Rows of the table that have all their labels, rising.
        missing: Rows left out, as a label of theirs is missing.
    """

    task: Literal["binary", "classes", "labels"]
    names: tuple[str, ...]
    negative: str | None
    values: "numpy.ndarray"
    rows: tuple[int, ...]
    missing: int


def read_labels(
    columns: Mapping[str, Sequence[Any]],  # Any: a label is whatever the file held
    positive: str | None = None,
    expected: Sequence[str] | None = None,
) -> Labels:
    """Read label columns; rows where one is missing are left out and counted.

    Several columns of 0 and 1 are several labels. One column is binary if it holds 0/1, true/false, yes/no,
    or two words of which one is known as harmless, such as ``toxic`` and ``clean``; with more than two
    words it holds classes.

    Args:
        columns: The cells of each label column, by name.
        positive: The value of the one column that counts as 1; every other value then counts as 0.
        expected: The labels of a detector of several: the classes to find in the one column, or the columns
            in this order, in which one class alone will do. None takes what the table holds.

    Returns:
        The labels.

    Raises:
        BadLabels: All labels are missing, a column of several holds other values than 0/1, true/false or
            yes/no, ``positive`` never occurs, one class only does, two words do not tell which counts as
            1, or there are other classes than expected or more than 200.

    Example:
        >>> read_labels({"kind": ["toxic", "clean", "", "toxic"]}).values[:, 0].tolist()
        [1, 0, 1]
        >>> read_labels({"kind": ["law", "art", "tax"]}).names
        ('art', 'law', 'tax')
        >>> read_labels({"rude": [0, 1], "spam": ["yes", "no"]}).values.tolist()
        [[0, 1], [1, 0]]
    """
    spelled = {name: [_spelling(value) for value in values] for name, values in columns.items()}
    count = len(next(iter(spelled.values())))
    rows = tuple(row for row in range(count) if all(cells[row] for cells in spelled.values()))
    if not rows:
        names = ", ".join(map(repr, spelled))
        raise BadLabels(f"label {names} is missing in all {count} rows; choose another --label")
    there = {name: [cells[row] for row in rows] for name, cells in spelled.items()}
    missing = count - len(rows)
    if len(there) > 1:
        if positive is not None:
            raise BadLabels("a positive value is for one label column; give several columns of 0 and 1")
        order = tuple(there if expected is None else expected)
        return Labels("labels", order, None, _columns_of_bits(there, order, expected is None), rows, missing)
    (name, cells), *_ = there.items()
    distinct = dict.fromkeys(cells)
    lower = {cell.lower() for cell in distinct}
    bits = lower <= _BITS.keys() or lower <= _YES.keys()  # however they are spelled
    if expected is not None or (positive is None and len(distinct) > 2 and not bits):
        return Labels("classes", *_one_of(cells, name, expected), rows, missing)
    known, words = _binary_words(name, distinct, positive)
    values = binary_labels([known.get(cell, cell) for cell in cells], name, words[0] if positive else None)
    return Labels("binary", (words[0],), words[1], values[:, None], rows, missing)


def _binary_words(
    name: str, distinct: Iterable[str], positive: str | None
) -> tuple[dict[str, int], tuple[str, str | None]]:
    """What the words of a binary column stand for, and what 1 and 0 are called."""
    if positive is not None:
        return {}, (positive, None)
    words = list(distinct)
    lower = [word.lower() for word in words]
    if set(lower) <= _YES.keys():
        return {word: _YES[word.lower()] for word in words}, (name, None)
    if len(words) == 2:
        safe = [
            own in _HARMLESS or own in {f"{sign}{other}" for sign in ("not_", "not ", "non-", "non_", "not-")}
            for own, other in (lower, lower[::-1])
        ]
        if sum(safe) == 1:
            one, zero = words[safe.index(False)], words[safe.index(True)]
            return {one: 1, zero: 0}, (one, zero)
    return {}, (name, None)


def _columns_of_bits(
    columns: Mapping[str, Sequence[str]], order: Sequence[str], both: bool
) -> "numpy.ndarray":
    """(row, label) of 0 and 1."""
    import numpy

    found = []
    for name in order:
        cells = columns[name]
        known = _YES if {cell.lower() for cell in cells} <= _YES.keys() else {}
        found.append(binary_labels([known.get(cell.lower(), cell) for cell in cells], name, both=both))
    return numpy.stack(found, axis=1)


def _one_of(
    cells: Sequence[str], name: str, classes: Sequence[str] | None
) -> "tuple[tuple[str, ...], None, numpy.ndarray]":
    """The classes in order, no negative, and (row, class) with one 1 a row."""
    import numpy

    there = sorted(set(cells))
    expected = tuple(there if classes is None else classes)
    if foreign := [label for label in there if label not in expected]:
        raise BadLabels(f"label {name!r} holds {listed(foreign, 5)}; the classes are {listed(expected)}")
    if len(expected) > _MOST_CLASSES:
        found = f"label {name!r} holds {len(expected)} different values ({listed(expected, 3)})"
        raise BadLabels(f"{found}, more than {_MOST_CLASSES} classes; choose another --label or bin them")
    places = {label: place for place, label in enumerate(expected)}
    own = numpy.array([places[cell] for cell in cells])
    return expected, None, (own[:, None] == numpy.arange(len(expected))).astype(numpy.int8)


def binary_labels(
    values: Sequence[Any],  # Any: a label is whatever the file held
    name: str,
    positive: str | None = None,
    *,
    both: bool = True,
) -> "numpy.ndarray":
    """Labels as 0 and 1 (int8), refused unless every row has one and both classes occur.

    Args:
        values: One label a row: 0/1 as int, float or string, or true/false as bool or string. None, NaN
            and blank strings are missing.
        name: Name of the label column, for messages.
        positive: The value that counts as 1; every other value then counts as 0.
        both: Refuse labels of one class only.

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
    if both and len(set(bits)) < 2:
        found = f"is {bits[0]} in all {len(bits)} rows" if bits else "has no rows"
        found += f" ({listed(there, 5)})" if there else ""
        raise BadLabels(f"label {name!r} {found}; give rows of both classes")
    return numpy.array(bits, dtype=numpy.int8)


def _spelling(value: Any) -> str:  # Any: a label is whatever the file held
    """One spelling a value: True and ``true``, 1.0 and ``1`` agree; empty where it is missing, or ``nan``."""
    if hasattr(value, "item"):  # numbers of NumPy
        value = value.item()
    if value is None or value != value:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    label = str(value).strip()
    return {"0.0": "0", "1.0": "1", "nan": ""}.get(label.lower(), label)
