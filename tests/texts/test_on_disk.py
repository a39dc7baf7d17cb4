"""Tests ``texts/on_disk.py``: texts in a file are those of a tuple, for forked processes and pickles too."""

import os
import pickle

import pytest

from splinelens.texts import read_texts
from splinelens.texts.on_disk import TextsOnDisk

TEXTS = ("a", None, "", "zwölf\n", "\ud800", "z")


def test_texts_on_disk_are_those_of_a_tuple():
    texts = TextsOnDisk(TEXTS)
    assert [*texts] == [*TEXTS]
    assert texts == TEXTS
    assert texts != TEXTS[1:]
    assert [texts[row] for row in range(-6, 6)] == [TEXTS[row] for row in range(-6, 6)]
    for rows in (slice(None), slice(2, 4), slice(4, 2), slice(-2, 99), slice(None, None, -2)):
        assert texts[rows] == [*TEXTS[rows]]
    with pytest.raises(IndexError):
        texts[6]
    assert pickle.loads(pickle.dumps(texts)) == TEXTS


@pytest.mark.skipif(not hasattr(os, "pread"), reason="the system has no pread")
@pytest.mark.parametrize("ending", ["txt", "csv", "jsonl", "parquet"])
def test_a_file_of_many_texts_is_read_to_disk(tmp_path, monkeypatch, ending):
    import pyarrow as pa
    from pyarrow import csv, parquet

    monkeypatch.setattr("splinelens.texts.on_disk.IN_MEMORY", 3)
    rows = {"text": ["one", "two", "three", "four"], "id": [1, 2, 3, 4]}
    path = tmp_path / f"a.{ending}"
    if ending == "parquet":
        parquet.write_table(pa.table(rows), path)
    elif ending == "csv":
        csv.write_csv(pa.table(rows), path)
    elif ending == "jsonl":
        path.write_text(
            "".join(
                f'{{"text": "{text}", "id": {number}}}\n' for text, number in zip(*rows.values(), strict=True)
            )
        )
    else:
        path.write_text("\n".join(rows["text"]))
    keep = [] if ending == "txt" else ["id"]
    texts = read_texts(path, keep=keep)
    assert isinstance(texts.texts, TextsOnDisk)
    assert texts.texts == rows["text"]
    assert [[*map(int, texts.columns[name])] for name in keep] == [rows[name] for name in keep]
    small = texts.at([1, 3])
    assert (small.texts, small.numbers) == (("two", "four"), (1, 3))
