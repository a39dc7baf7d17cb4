"""Tests features/table.py."""

import math
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from splinelens.errors import BadFeatures, CannotWrite
from splinelens.features.catalogue import columns, statistics
from splinelens.features.table import FeatureTable, joined, write_chunks

PROVENANCE = {"model": "tiny", "spec": {"layers": [0, 12], "prompt": "Grüße: "}, "seed": None}


def table(rows=5, *, provenance=PROVENANCE, seed=0):
    found = columns(statistics(["sign_mean", "margins", "length"]), [0, 12], {"neuron": [3] * 13})
    values = np.random.default_rng(seed).normal(size=(rows, 9)).astype(np.float32)
    values[1] = np.nan
    values[0, :3] = (0.0, -0.0, 1e-42)  # a denormal number is kept too
    reasons = tuple("is empty" if row == 1 else None for row in range(rows))
    return FeatureTable(found, values, np.arange(rows) * 7, np.arange(rows) % 2 == 0, reasons, provenance)


def same(one, other):
    assert one.columns == other.columns
    assert one.values.dtype == other.values.dtype == np.float32
    assert one.values.tobytes() == other.values.tobytes()
    assert np.array_equal(one.tokens, other.tokens)
    assert np.array_equal(one.cut, other.cut)
    assert one.cut.dtype == other.cut.dtype == bool
    assert one.reasons == other.reasons
    assert one.provenance == other.provenance


def test_parquet_gives_back_every_bit(tmp_path):
    table().write(tmp_path / "a.parquet")
    same(FeatureTable.read(tmp_path / "a.parquet"), table())
    assert [place.name for place in tmp_path.iterdir()] == ["a.parquet"]


def test_a_table_of_one_row_without_numbers_survives(tmp_path):
    empty = table(2).values[1:]
    one = FeatureTable(table().columns, empty, np.array([0]), np.array([False]), ("is missing",), {})
    one.write(tmp_path / "a.parquet")
    same(FeatureTable.read(tmp_path / "a.parquet"), one)


def test_names_say_layer_and_statistic_and_other_tools_see_them(tmp_path):
    table().write(tmp_path / "a.parquet")
    own = ["layer00.sign_mean", "layer00.margin_max", "layer12.sign_mean", "layer12.margin_max", "length"]
    assert table().names == own
    schema = pq.read_schema(tmp_path / "a.parquet")
    assert schema.names == ["row", "tokens", "cut", "reason", *own]
    assert schema.field("layer12.margin_max").type == pa.list_(pa.float32(), 3)
    assert schema.field("layer12.sign_mean").type == pa.float32()
    assert pq.read_table(tmp_path / "a.parquet")["row"].to_pylist() == [0, 1, 2, 3, 4]


def test_a_column_is_found_by_name():
    values = table().values
    assert np.array_equal(table().column("layer12.margin_max"), values[:, 5:8], equal_nan=True)
    assert np.array_equal(table().column("length"), values[:, 8], equal_nan=True)
    assert table().column("layer00.sign_mean").shape == (5,)


def test_a_column_that_is_not_there_names_those_that_are():
    with pytest.raises(
        BadFeatures, match=r"no column 'layer01.sign_mean'; it has layer00.sign_mean, .*, length$"
    ):
        table().column("layer01.sign_mean")


def test_rows_with_a_reason_are_not_ok():
    assert table().ok.tolist() == [True, False, True, True, True]
    assert len(table()) == 5


def test_joined_tables_stand_one_behind_the_other():
    both = joined([table(2), table(3, seed=1)])
    assert both.values.tobytes() == table(2).values.tobytes() + table(3, seed=1).values.tobytes()
    assert both.tokens.tolist() == [0, 7, 0, 7, 14]
    assert both.reasons == (None, "is empty", None, "is empty", None)
    assert both.provenance == PROVENANCE


def test_rows_cut_out_of_an_arrow_table_keep_their_own_values():
    part = FeatureTable.from_arrow(table().to_arrow().slice(2, 2))
    assert part.values.tobytes() == table().values[2:4].tobytes()
    assert part.tokens.tolist() == [14, 21]


def test_a_table_of_many_chunks_is_read_whole():
    chunks = pa.concat_tables([table(2).to_arrow(), table(3).to_arrow()])
    assert chunks["layer00.margin_max"].num_chunks == 2
    assert FeatureTable.from_arrow(chunks).values.tobytes() == joined([table(2), table(3)]).values.tobytes()


def grown():
    """A table of prefixes: of two tokens, unreadable, of three tokens."""
    return replace(table(6), text=np.array([4, 4, 5, 6, 6, 6]), prefix=np.array([1, 2, 0, 1, 2, 3]))


def test_prefixes_say_their_text_and_length_on_disk_too(tmp_path):
    grown().write(tmp_path / "a.parquet")
    found = FeatureTable.read(tmp_path / "a.parquet")
    same(found, grown())
    assert (found.text.tolist(), found.prefix.tolist()) == ([4, 4, 5, 6, 6, 6], [1, 2, 0, 1, 2, 3])
    names = pq.read_schema(tmp_path / "a.parquet").names
    assert names[:6] == ["row", "tokens", "cut", "reason", "text", "prefix"]
    assert FeatureTable.from_arrow(table().to_arrow()).text is None


def test_the_rows_of_whole_texts_are_found_among_prefixes():
    assert (grown().texts, grown().whole.tolist()) == (3, [1, 2, 5])
    assert (table().texts, table().whole.tolist()) == (5, [0, 1, 2, 3, 4])


def test_joined_prefixes_stay_with_their_texts():
    later = replace(grown(), text=grown().text + 3)
    both = joined([grown(), later])
    assert both.text.tolist() == [4, 4, 5, 6, 6, 6, 7, 7, 8, 9, 9, 9]
    assert both.prefix.tolist() == [1, 2, 0, 1, 2, 3] * 2
    assert both.texts == 6


def test_a_foreign_parquet_is_refused(tmp_path):
    pq.write_table(pa.table({"text": ["a"], "length": [1.0]}), tmp_path / "foreign.parquet")
    with pytest.raises(
        BadFeatures, match=r"foreign.parquet: not a feature table: it has no 'splinelens' metadata"
    ):
        FeatureTable.read(tmp_path / "foreign.parquet")


def test_a_table_without_its_row_columns_is_refused():
    with pytest.raises(BadFeatures, match="not a feature table: it has no columns tokens, reason"):
        FeatureTable.from_arrow(table().to_arrow().drop_columns(["tokens", "reason"]))


@pytest.mark.parametrize(
    "name", ["layer00.colour", "colour", "layerx.sign_mean", "sign_mean", "layer00.length", "a.length"]
)
def test_a_column_of_another_catalogue_is_refused(name):
    arrow = table().to_arrow()
    foreign = arrow.append_column(name, pa.array([1.0] * 5, pa.float32()))
    with pytest.raises(
        BadFeatures, match=f"column '{name}' is no statistic of this catalogue; written by another"
    ):
        FeatureTable.from_arrow(foreign)


def test_a_column_of_another_type_is_refused():
    arrow = table().to_arrow()
    place = arrow.column_names.index("layer00.margin_max")
    scalars = arrow.set_column(place, "layer00.margin_max", pa.array([1.0] * 5, pa.float32()))
    with pytest.raises(BadFeatures, match=r"column 'layer00.margin_max' holds float, not lists of float"):
        FeatureTable.from_arrow(scalars)
    doubles = arrow.set_column(place + 1, "layer12.sign_mean", pa.array([1.0] * 5, pa.float64()))
    with pytest.raises(BadFeatures, match=r"column 'layer12.sign_mean' holds double, not float"):
        FeatureTable.from_arrow(doubles)


def test_a_column_with_empty_cells_is_refused():
    arrow = table().to_arrow()
    place = arrow.column_names.index("layer00.sign_mean")
    holes = arrow.set_column(place, "layer00.sign_mean", pa.array([1.0, None, None, 2.0, 3.0], pa.float32()))
    with pytest.raises(
        BadFeatures, match=r"column 'layer00.sign_mean' has 2 empty cells; unread rows hold NaN"
    ):
        FeatureTable.from_arrow(holes)


@pytest.mark.parametrize("kept", [0, 3, 0.5, 0.99])
def test_a_truncated_file_is_refused(tmp_path, kept):
    table().write(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(whole[: kept if kept > 1 else math.floor(kept * len(whole))])
    with pytest.raises(BadFeatures, match=r"a.parquet cannot be read as a feature table"):
        FeatureTable.read(tmp_path / "a.parquet")


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(BadFeatures, match=r"there is no feature table .*nothing.parquet; give the file"):
        FeatureTable.read(tmp_path / "nothing.parquet")


def test_a_write_that_fails_leaves_the_earlier_file_and_no_other(tmp_path, monkeypatch):
    table().write(tmp_path / "a.parquet")

    def full(data, where, **_):
        where.write_bytes(b"PAR1 and then no more")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", full)
    with pytest.raises(CannotWrite, match="No space left"):
        table(9).write(tmp_path / "a.parquet", overwrite=True)
    assert [place.name for place in tmp_path.iterdir()] == ["a.parquet"]
    same(FeatureTable.read(tmp_path / "a.parquet"), table())


def test_an_index_of_another_length_is_refused():
    with pytest.raises(BadFeatures, match=f"an index of 1 for {len(table())} rows"):
        table().to_pandas(index=["a"])


@pytest.mark.parametrize("size", [7, 40])
def test_a_file_written_from_chunks_has_the_same_row_groups_whatever_the_chunks(tmp_path, size):
    wide = columns(statistics(["margins"], ["max"]), [0], {"neuron": [2**18]})
    values = np.zeros((40, 2**18), dtype=np.float32) + np.arange(40, dtype=np.float32)[:, None]
    whole = FeatureTable(wide, values, np.arange(40), np.zeros(40, bool), (None,) * 40, {"keep": ["id"]})
    chunks = [whole.rows(np.arange(start, min(40, start + size))).to_arrow() for start in range(0, 40, size)]
    write_chunks(chunks, pa.table({"id": np.arange(40) * 3}), tmp_path / "a.parquet")
    file = pq.ParquetFile(tmp_path / "a.parquet")
    groups = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    assert (len(groups) > 2, len({*groups[:-1]}), sum(groups)) == (True, 1, 40)
    assert file.read(columns=["row", "tokens", "id"]).to_pydict() == {
        "row": [*range(40)],
        "tokens": [*range(40)],
        "id": [3 * row for row in range(40)],
    }
    assert np.array_equal(FeatureTable.read(tmp_path / "a.parquet").values, values)
