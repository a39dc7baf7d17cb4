"""Groups of rows that belong together, such as those of one author, by a column beside the texts."""

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from splinelens.errors import BadTexts
from splinelens.texts.plain_text import harmless
from splinelens.texts.table import Texts, column_cells, is_missing, quoted

if TYPE_CHECKING:
    import numpy

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RowGroups:
    """The group of each row.

    Attributes:
        name: Name of the column.
        numbers: (row,), equal for rows of one group.
        missing: Rows without a group; each is a group of its own.
    """

    name: str
    numbers: "numpy.ndarray"
    missing: int

    def record(self) -> dict[str, Any]:  # Any: plain JSON values
        """What a detector or a report records of them."""
        return {"column": self.name, "groups": int(self.numbers.max()) + 1, "missing": self.missing}


def row_groups(groups: Any, texts: Texts) -> RowGroups:  # Any: columns have no common type
    """Read the group of each text: values equal as text are one group, spaces around them do not count.

    A row whose value is missing or blank belongs to no other row: it is a group of its own, and a warning
    says how many there are.

    Args:
        groups: One value a text, or the name of a column kept beside them; ``RowGroups`` as they are.
        texts: The texts.

    Raises:
        MissingColumn: No column of that name was kept.
        BadTexts: Not one value a text, one group only, or none with two rows.

    Example:
        >>> row_groups(["ann", "bob", "ann"], Texts.of(["a", "b", "c"])).numbers.tolist()
        [0, 1, 0]
    """
    import numpy

    if isinstance(groups, RowGroups):
        return groups
    if isinstance(groups, str):
        name, cells = groups, [*texts.keep([groups]).columns[groups]]
    else:
        name = str(getattr(groups, "name", None) or "groups")
        cells = column_cells(groups, "groups")
    if len(cells) != len(texts):
        raise BadTexts(f"{len(cells)} groups {name!r} for {len(texts)} texts; give one group a text")
    keys = ["" if is_missing(cell) else str(cell).strip() for cell in cells]
    numbers: dict[object, int] = {}
    found = [numbers.setdefault(key or row, len(numbers)) for row, key in enumerate(keys)]
    missing = sum(not key for key in keys)
    advice = "give another column with --group, or leave it out (Python: groups=)"
    if len(numbers) == 1:
        raise BadTexts(
            f"{texts.source}: all {len(cells)} rows are of one group {name!r}, {quoted(numbers)}, and groups "
            f"are held apart from each other; {advice}"
        )
    if len(numbers) == len(cells):
        raise BadTexts(
            f"{texts.source}: no two of {len(cells)} rows have the same group {name!r} ({missing} have none) "
            f"and groups of one row change nothing; {advice}"
        )
    if missing:
        _log.warning(
            "%s of %s rows have no group %s; each counts as a group of its own",
            f"{missing:,}", f"{len(cells):,}", harmless(repr(name)),
        )  # fmt: skip
    return RowGroups(name, numpy.array(found), missing)
