"""Labels as 0 and 1 from the columns of a table: two classes, several classes, or several labels a row."""

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING, Any, Literal

from splinelens.errors import BadLabels
from splinelens.texts.table import column_cells, column_names, is_missing, json_type, quoted

if TYPE_CHECKING:
    import numpy

_BITS = {"0": 0, "1": 1, "false": 0, "true": 1}
_YES = {"yes": 1, "no": 0, "y": 1, "n": 0}
_HARMLESS = set("clean safe harmless benign normal neutral ok none neither negative ham".split())
_NEGATIONS = ("not_", "not ", "non-", "non_", "not-")
_MOST_CLASSES = 200
_MOST_SHOWN = 10  # different values of a column that a message shows, if they are words
_WORD = 20  # characters of the longest of these


@dataclass(frozen=True, eq=False)
class Labels:
    """The labels of the rows that have one.

    Attributes:
        task: ``binary``, ``classes`` or ``labels``.
        names: The classes or labels; for ``binary`` the name of 1.
        negative: For ``binary`` the name of 0 if the table gives one, else None.
        values: (row, label) int8, 0 or 1.
        rows: Rows of the table that have all their labels, ascending.
        missing: Number of rows without, which are left out.
        positive_values: For ``binary`` those of the table that are 1, such as ``1``, ``yes`` or a word.
    """

    task: Literal["binary", "classes", "labels"]
    names: tuple[str, ...]
    negative: str | None
    values: "numpy.ndarray"
    rows: tuple[int, ...]
    missing: int
    positive_values: tuple[str, ...] = ()


def read_labels(
    columns: Mapping[str, Sequence[Any]],  # Any: a label is whatever the file held
    positive: str | None = None,
    expected: Sequence[str] | None = None,
    verdicts: tuple[str, str] | None = None,
) -> Labels:
    """Read label columns; rows without a label (None, NaN, blank) are left out and counted.

    Several columns of 0 and 1 are several labels. One column is binary if it holds 0/1, true/false, yes/no,
    or two words of which one is known as harmless, such as ``toxic`` and ``clean``; with more than two
    words it holds classes.

    Args:
        columns: The cells of each label column, by name.
        positive: The value of the one column that counts as 1; every other value then counts as 0,
            and names it if there is one, a word.
        expected: The labels of a detector of several: the classes of the one column, or the columns in this
            order, which may then hold one class only. None takes what the table holds.
        verdicts: The words of a binary detector, the positive one first; a column of just these is read by
            them without ``positive``.

    Raises:
        BadLabels: Labels are all missing, of one class only, or of another kind or class than read here.

    Example:
        >>> read_labels({"kind": ["toxic", "clean", "", "toxic"]}).values[:, 0].tolist()
        [1, 0, 1]
        >>> read_labels({"kind": ["law", "art", "tax"]}).names
        ('art', 'law', 'tax')
        >>> read_labels({"rude": [0, 1], "spam": ["yes", "no"]}).values.tolist()
        [[0, 1], [1, 0]]
    """
    import numpy

    spelled = {
        name: [_spelling(value) for value in column_cells(values, f"label {name!r}")]
        for name, values in columns.items()
    }
    count = len(next(iter(spelled.values())))
    rows = tuple(row for row in range(count) if all(cells[row] for cells in spelled.values()))
    if not rows:
        names = ", ".join(map(repr, spelled))
        raise BadLabels(f"label {names} is missing in all {count} rows; choose another column")
    labeled = {name: [cells[row] for row in rows] for name, cells in spelled.items()}
    missing = count - len(rows)
    if len(labeled) > 1:
        if positive is not None:
            raise BadLabels("a positive value is for one label column; give several columns of 0 and 1")
        order = tuple(labeled if expected is None else expected)
        bits = [_bits(labeled[name], name, one_class=expected is not None) for name in order]
        return Labels("labels", order, None, numpy.stack(bits, axis=1), rows, missing)
    (name, cells), *_ = labeled.items()
    distinct = dict.fromkeys(cells)
    if expected is not None or (positive is None and len(distinct) > 2 and not _standard(distinct)):
        classes = _classes(cells, name, expected)
        index = {label: position for position, label in enumerate(classes)}
        one_hot = numpy.eye(len(classes), dtype=numpy.int8)[[index[cell] for cell in cells]]
        return Labels("classes", classes, None, one_hot, rows, missing)
    if positive is None and verdicts is not None and set(distinct) == set(verdicts):
        positive = verdicts[0]
    if positive is None:
        one, zero = _two_words(distinct) or (None, None)
    else:
        one, zero = positive, _other_word(distinct, _spelling(positive))
    values = _bits(cells, name, None if one is None else _spelling(one), missing=missing)
    named = name if one is None else one
    ones = tuple(dict.fromkeys(cell for cell, value in zip(cells, values, strict=True) if value))
    return Labels("binary", (named,), zero, values[:, None], rows, missing, ones)


def labels_of(
    labels: Any,  # Any: lists, arrays, columns and tables have no common type
    texts: int,
    *,
    positive: str | None = None,
    expected: Sequence[str] | None = None,
    verdicts: tuple[str, str] | None = None,
) -> Labels:
    """Labels in memory: one value a text, as in a column of ``read_labels``, or a table of 0 and 1.

    Args:
        labels: A list, an array or a column of a data frame; for several labels a data frame, a dictionary of
            columns or an array of two axes; ``Labels`` as they are.
        texts: How many texts there are.
        positive: As in ``read_labels``.
        expected: As in ``read_labels``; columns without names are these, in order.
        verdicts: As in ``read_labels``.

    Raises:
        BadLabels: Not one label a text, a missing one, one class only, or another kind than read here.

    Example:
        >>> labels_of(["toxic", "clean"], 2).values[:, 0].tolist()
        [1, 0]
    """
    columns: dict[str, Any] = (  # Any: as above
        {"labels": labels.values}
        if isinstance(labels, Labels)
        else _columns_of(labels, expected, "positive" if verdicts is None else verdicts[0])
    )
    for name, cells in columns.items():
        if len(cells) != texts:
            raise BadLabels(f"{len(cells)} labels {name!r} for {texts} texts; give one label a text")
    if isinstance(labels, Labels):
        return labels
    if expected is not None and len(columns) > 1:
        if absent := [name for name in expected if name not in columns]:
            raise BadLabels(f"no labels {quoted(absent, 5)}; the columns are {quoted(columns, 5)}")
        columns = {name: columns[name] for name in expected}
    for name, cells in columns.items():
        missing = [row for row, cell in enumerate(cells) if not _spelling(cell)]
        if missing:
            raise BadLabels(
                f"{len(missing)} of {texts} labels {name!r} are missing, the first in row {missing[0]} "
                "(counted from 0); leave those rows out"
            )
    return read_labels(columns, positive, expected, verdicts)


def _columns_of(
    labels: Any,  # Any: as in labels_of
    expected: Sequence[str] | None,
    unnamed: str,
) -> dict[str, list[Any]]:
    """The columns of labels in memory, by name; a column without one is called ``unnamed``."""
    table_columns = None if isinstance(labels, str | bytes | Set) else column_names(labels)
    if table_columns is not None:
        return {str(name): _cells_of(labels[name]) for name in table_columns}
    if isinstance(labels, str | bytes | Set) or not isinstance(labels, Iterable):
        raise BadLabels(f"labels is a {type(labels).__name__}; give one label a text")
    rows = _cells_of(labels)
    single = not rows or isinstance(rows[0], str | bytes | dict) or getattr(rows[0], "shape", None) == ()
    if single or not hasattr(rows[0], "__len__"):
        return {str(getattr(labels, "name", None) or unnamed): rows}
    width = len(rows[0])
    if any(not hasattr(row, "__len__") or len(row) != width for row in rows):
        raise BadLabels(
            "labels of rows of different lengths; of lists of tags give the table of scikit-learn's "
            "MultiLabelBinarizer, and its classes_ as label="
        )
    if expected is not None and width != len(expected):
        raise BadLabels(f"labels of {width} columns; give each row one value for each of the labels")
    names = expected or ([unnamed] if width == 1 else [f"label{column}" for column in range(width)])
    return {name: [row[column] for row in rows] for column, name in enumerate(names)}


def _cells_of(column: Any) -> list[Any]:  # Any: as in labels_of
    """The cells of a column; those of pyarrow as Python values."""
    return [*(column.to_pylist() if hasattr(column, "to_pylist") else column)]


def _standard(labels: Iterable[str]) -> bool:
    """Whether all are 0/1 or true/false, or all are yes/no."""
    lower = {label.lower() for label in labels}
    return lower <= _BITS.keys() or lower <= _YES.keys()


def _two_words(distinct: Collection[str]) -> tuple[str, str] | None:
    """The words for 1 and 0, if there are two and just one of them is known as harmless."""
    if len(distinct) != 2 or _standard(distinct):
        return None
    pairs = [(one, zero) for one, zero in permutations(distinct) if _is_harmless(zero, one)]
    return pairs[0] if len(pairs) == 1 else None


def _other_word(distinct: Collection[str], positive: str) -> str | None:
    """The value beside the positive one, if there are two and they are words; None for numbers."""
    others = [label for label in distinct if label != positive]
    return others[0] if len(distinct) == 2 and len(others) == 1 and not others[0].isdigit() else None


def _is_harmless(word: str, other: str) -> bool:
    word, other = word.lower(), other.lower()
    return word in _HARMLESS or word in {f"{prefix}{other}" for prefix in _NEGATIONS}


def _classes(cells: Sequence[str], name: str, expected: Sequence[str] | None) -> tuple[str, ...]:
    """The classes in order: those expected, or those present, sorted."""
    present = sorted({*cells})
    classes = tuple(present if expected is None else expected)
    if unknown := [label for label in present if label not in classes]:
        raise BadLabels(f"label {name!r} holds {values_shown(unknown)}; the classes are {quoted(classes)}")
    if len(classes) > _MOST_CLASSES:
        raise BadLabels(
            f"label {name!r} holds {len(classes)} different values, more than {_MOST_CLASSES} classes; "
            "choose another column or bin them"
        )
    if expected is None and 2 * len(classes) > len(cells) and not _are_words(classes):
        raise BadLabels(
            f"label {name!r} holds {len(classes)} different values in {len(cells)} rows, too many to be "
            "classes; choose another column"
        )
    return classes


def values_shown(values: Collection[str]) -> str:
    """Values of a label column for a message, which may be texts if the wrong column was named.

    Of over 10 different values it shows only how many there are, of fewer the first five. If one has over 20
    characters, it shows the beginnings of two.

    Example:
        >>> values_shown(["rude", "polite"]), values_shown([str(row) for row in range(57)])
        ("'rude', 'polite'", '57 different values')
        >>> values_shown(["Where is the station, please?", "no", "yes"])
        "'Where is the station...', 'no' and 1 more"
    """
    if _are_words(values):
        return quoted(values, 5)
    if len(values) > _MOST_SHOWN:
        return f"{len(values):,} different values"
    return quoted([label if len(label) <= _WORD else f"{label[:_WORD]}..." for label in values], 2)


def _are_words(values: Collection[str]) -> bool:
    """Whether these can be labels: few and short."""
    return len(values) <= _MOST_SHOWN and all(len(value) <= _WORD for value in values)


def _bits(
    labels: Sequence[str],
    name: str,
    positive: str | None = None,
    one_class: bool = False,
    missing: int = 0,
) -> "numpy.ndarray":
    """Labels of one column as 0 and 1 (int8); without ``positive`` they are 0/1, true/false or yes/no."""
    import numpy

    distinct = dict.fromkeys(labels)
    if positive is not None:
        if positive not in distinct:
            raise BadLabels(f"label {name!r} is never {positive!r}; it holds {values_shown(distinct)}")
        bits = [int(label == positive) for label in labels]
    elif _standard(distinct):
        bits = [(_BITS | _YES)[label.lower()] for label in labels]
    else:
        others = [label for label in distinct if label.lower() not in _BITS]
        raise BadLabels(
            f"label {name!r} holds {values_shown(others)}, where 0/1, true/false or only yes/no is read; "
            "say which value counts as 1 with --positive VALUE (Python: positive=VALUE)"
        )
    if not one_class and len(set(bits)) < 2:
        empty = (
            f"; empty cells ({missing:,}) count as missing, write a value such as no there" if missing else ""
        )
        raise BadLabels(
            f"label {name!r} is {bits[0]} in all {len(bits)} rows ({values_shown(distinct)}){empty}; give "
            "rows of both classes"
        )
    return numpy.array(bits, dtype=numpy.int8)


def _spelling(value: Any) -> str:  # Any: a label is whatever the file held
    """One spelling a value: True and ``true``, 1.0 and ``1`` agree; empty where it is missing, or ``nan``.

    Raises:
        BadLabels: A list, an object, bytes or a huge number, which is no label.
    """
    if is_missing(value):  # before item(): a masked value would be 0
        return ""
    if hasattr(value, "item"):  # numbers of NumPy
        value = value.item()
    if isinstance(value, list | tuple | dict | bytes):
        raise BadLabels(f"a label is {json_type(value)}, where a number or a word is read; give one a text")
    if isinstance(value, int) and value.bit_length() > 64:
        raise BadLabels("a label is a number of over 64 bits; give 0 and 1, or words for classes")
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    label = str(value).strip()
    return {"0.0": "0", "1.0": "1", "nan": ""}.get(label.lower(), label)
