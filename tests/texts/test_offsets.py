"""Tests ``texts/offsets.py``: lists of characters in every form a file holds, and what is refused."""

import numpy as np
import pytest

from splinelens.errors import BadTexts
from splinelens.texts import Texts
from splinelens.texts.offsets import read_offsets


def texts(*cells, text="you fool"):
    return Texts((text,) * len(cells), {"spans": cells}, "a.csv", tuple(range(7, 7 + len(cells))))


def test_lists_arrays_and_their_spelling_are_read():
    cells = ("[4, 5]", [4, 5], (4, 5), np.array([5, 4]), " [5,4,4] ")
    assert set(read_offsets(texts(*cells), "spans")) == {frozenset({4, 5})}
    assert read_offsets(texts("[]", []), "spans") == (frozenset(), frozenset())


@pytest.mark.parametrize(
    "cell", ["", "4, 5", "[4.5]", '["4"]', "[true]", "{}", "3", None, 3, np.nan, [None], {"a": 1}, "[" * 9999]
)
def test_a_cell_that_is_no_list_of_offsets_is_refused_with_its_row(cell):
    with pytest.raises(
        BadTexts, match=r"a\.csv: column 'spans' of row 8 is no list .* or \[\] where nothing"
    ):
        read_offsets(texts("[]", cell), "spans")


@pytest.mark.parametrize("cell", ["[7, 8]", "[-1]", f"[{10**30}]"])
def test_an_offset_outside_the_text_is_refused_with_its_row(cell):
    with pytest.raises(BadTexts, match=r"of row 7 marks character -?\d+, and the text has 8, counted from 0"):
        read_offsets(texts(cell), "spans")
    with pytest.raises(BadTexts, match="and the text has 0"):
        read_offsets(texts("[0]", text=None), "spans")
