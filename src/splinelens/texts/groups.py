"""Which texts mention or concern a group of people: from terms, or from columns of the table."""

import re
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from splinelens.errors import BadTexts
from splinelens.texts.sources import opened
from splinelens.texts.table import is_missing, quoted

if TYPE_CHECKING:
    import numpy

_MOST_VALUES = 60
_YES, _NO = ("true", "yes"), ("false", "no")
_ENGLISH = files("splinelens.texts") / "groups.tsv"


def read_terms(path: Path | None = None) -> dict[str, tuple[str, ...]]:
    """Terms of each group from a UTF-8 file with ``name<TAB>term`` on each line.

    A name may be on several lines; blank lines and lines that start with # are skipped. None reads
    the English terms that come with splinelens.

    Raises:
        BadTexts: The file cannot be read, holds no term, or a line has no tab or two.
    """
    lines = _ENGLISH.read_text("utf-8").splitlines() if path is None else _lines(path)
    groups: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip() or line.startswith("#"):
            continue
        name, _, term = (part.strip() for part in line.partition("\t"))
        if not (name and term):
            raise BadTexts(f"{path}, line {number}: no name, tab and term; write name<TAB>term")
        if "\t" in term:
            raise BadTexts(f"{path}, line {number}: more than one term; write one name<TAB>term on each line")
        groups[name] = (*groups.get(name, ()), term)
    if not groups:
        raise BadTexts(f"{path} holds no term; write name<TAB>term on each line")
    return groups


def mentions(texts: Sequence[str | None], groups: Mapping[str, Sequence[str]]) -> "dict[str, numpy.ndarray]":
    """Which texts contain a term of each group, as a whole word in any case: one boolean a text.

    Example:
        >>> mentions(["Women read.", "Swomen"], {"women": ("women",)})["women"].tolist()
        [True, False]
    """
    import numpy

    masks = {}
    for name, terms in groups.items():
        words = "|".join(re.escape(term).replace(r"\ ", r"\s+") for term in terms)
        pattern = re.compile(rf"(?<!\w)(?:{words})(?!\w)", re.IGNORECASE)
        masks[name] = numpy.array([text is not None and bool(pattern.search(text)) for text in texts])
    return masks


def column_groups(name: str, cells: Sequence[Any]) -> "dict[str, numpy.ndarray]":  # Any: as the file held it
    """The groups that a column names: one boolean a row for each.

    Numbers (from 0.5) and true/false say whether a row belongs; each other value is a group
    ``column=value``. An empty cell belongs to none.

    Raises:
        BadTexts: All cells are empty, or there are more than 60 values.

    Example:
        >>> {key: mask.tolist() for key, mask in column_groups("religion", ["a", None, "b"]).items()}
        {'religion=a': [True, False, False], 'religion=b': [False, False, True]}
        >>> column_groups("muslim", ["0.8", "0", ""])["muslim"].tolist()
        [True, False, False]
    """
    import numpy

    words = ["" if is_missing(cell) else str(cell).strip() for cell in cells]
    values = sorted({word for word in words if word})
    if not values:
        raise BadTexts(f"column {name!r} is empty in all {len(words)} rows; it cannot name groups")
    shares = {word: _share(word) for word in values}
    if all(share is not None for share in shares.values()):
        return {name: numpy.array([(shares.get(word) or 0.0) >= 0.5 for word in words])}
    if len(values) > _MOST_VALUES:
        raise BadTexts(
            f"column {name!r} has {len(values)} values, such as {quoted(values, 3)}; a column of groups has "
            f"at most {_MOST_VALUES}, or holds 0/1"
        )
    return {f"{name}={word}": numpy.array([each == word for each in words]) for word in values}


def _lines(path: Path) -> list[str]:
    """The lines of a UTF-8 file."""
    if not path.exists():
        raise BadTexts(f"cannot read terms from {path}: there is no such file; check the path")
    try:
        with opened(str(path), "utf-8-sig") as stream:
            return stream.read().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadTexts(f"cannot read terms from {path}: {error}; give a UTF-8 file") from error


def _share(word: str) -> float | None:
    if word.lower() in _YES + _NO:
        return float(word.lower() in _YES)
    try:
        return float(word)
    except ValueError:
        return None
