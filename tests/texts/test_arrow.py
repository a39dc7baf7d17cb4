"""Tests ``texts/arrow.py``: Parquet, and data sets of the hub with a stand-in for ``datasets``."""

import io
import sys
from types import SimpleNamespace

import pyarrow
import pyarrow.parquet
import pytest

from splinelens.errors import BadTexts, MissingColumn
from splinelens.texts.arrow import hub_columns, parquet_columns
from splinelens.texts.wanted import Wanted


def stored(table):
    stream = io.BytesIO()
    pyarrow.parquet.write_table(table if isinstance(table, pyarrow.Table) else pyarrow.table(table), stream)
    return stream


def read(table, column=None, keep=()):
    return parquet_columns(stored(table), Wanted("a.parquet", column, keep))


class StandIn:
    """What we use of ``datasets.Dataset``: features, select_columns, with_format and slicing."""

    def __init__(self, table):
        self.table = table
        self.features = SimpleNamespace(arrow_schema=table.schema)

    def select_columns(self, names):
        return StandIn(self.table.select(names))

    def with_format(self, kind):
        assert kind == "arrow"
        return self.table


@pytest.fixture
def hub(monkeypatch):
    """The package ``datasets``, replaced: ``answer`` is what loading gives, ``asked`` what it was asked."""
    one = StandIn(pyarrow.table({"text": ["a", None], "label": [0, 1]}))
    seen = SimpleNamespace(answer={"train": one}, one=one, asked=None)

    def load_dataset(name, config, split):
        seen.asked = (name, config, split)
        if isinstance(seen.answer, Exception):
            raise seen.answer
        return seen.answer

    monkeypatch.setitem(sys.modules, "datasets", SimpleNamespace(load_dataset=load_dataset))
    return seen


def test_parquet_by_hand():
    table = {"id": [1, 2, 3], "text": ["a", None, ""], "ok": [True, False, None]}
    assert read(table, keep=("ok", "id")) == (
        ["a", None, ""],
        {"ok": [True, False, None], "id": [1, 2, 3]},
    )


@pytest.mark.parametrize(
    "kind",
    [
        pyarrow.string(),
        pyarrow.large_string(),
        pyarrow.string_view(),
        pyarrow.dictionary(pyarrow.int32(), pyarrow.string()),
    ],
    ids=str,
)
def test_every_arrow_type_of_strings_is_read(kind):
    column = pyarrow.array(["a", "b", None, "a"]).cast(kind)
    assert read({"n": [1, 2, 3, 4], "note": column})[0] == ["a", "b", None, "a"]


def test_the_text_may_be_kept_as_a_column_too():
    assert read({"text": ["a"]}, keep=("text",)) == (["a"], {"text": ["a"]})


def test_several_string_columns_need_a_name_and_the_longest_is_suggested():
    with pytest.raises(
        MissingColumn, match=r"no column 'text'; it has 'id', 'remark'\. Try --column remark\.$"
    ):
        read({"id": ["1"], "remark": ["a long one"]})


def test_a_missing_column_of_parquet_names_those_there():
    with pytest.raises(MissingColumn, match=r"no column 'txt'; it has 'n', 'text'\. Try --column text\.$"):
        read({"n": [1], "text": ["a"]}, "txt")
    with pytest.raises(MissingColumn, match=r"no column 'text'; it has 'n'\. None holds strings\.$"):
        read({"n": [1]})


@pytest.mark.parametrize(
    ("values", "kind"),
    [([1, 2], "int64"), ([b"a", b"b"], "binary"), ([["a"], ["b"]], "list<"), ([None, None], "null")],
)
def test_a_text_column_that_holds_no_strings_is_refused(values, kind):
    with pytest.raises(BadTexts, match=rf"a.parquet: column 'text' holds {kind}.* Try --column note\.$"):
        read({"text": values, "note": ["x", "y"]})
    with pytest.raises(BadTexts, match="No column does"):
        read({"text": values})


def test_two_parquet_columns_of_the_wanted_name_are_refused():
    twice = pyarrow.table([pyarrow.array(["a"]), pyarrow.array(["b"])], names=["text", "text"])
    with pytest.raises(BadTexts, match="2 columns named 'text'"):
        read(twice)


@pytest.mark.parametrize("cut", [1, 10, 50, 200])
def test_a_truncated_parquet_is_refused(cut):
    data = stored({"text": ["some text"] * 50}).getvalue()
    with pytest.raises(BadTexts, match=r"a.parquet: no sound Parquet file .*; write or fetch it again"):
        parquet_columns(io.BytesIO(data[:-cut]), Wanted("a.parquet", None))


def test_a_parquet_with_wrong_bytes_inside_is_refused():
    data = stored({"text": [f"some text {row}" for row in range(1000)]}).getvalue()
    with pytest.raises(BadTexts, match="no sound Parquet file"):
        parquet_columns(io.BytesIO(data[:4] + b"\xff" * 300 + data[304:]), Wanted("a.parquet", None))


def test_parquet_strings_that_are_no_utf8_are_refused():
    wrong = pyarrow.array([b"\xff\xfe"]).view(pyarrow.string())
    with pytest.raises(BadTexts, match=r"no sound Parquet file .*decode"):
        read({"text": wrong})


@pytest.mark.parametrize(
    ("address", "asked"),
    [
        ("hf:owner/name", ("owner/name", None, None)),
        ("hf:owner/name:test", ("owner/name", None, "test")),
        ("hf:owner/name:train[:100]", ("owner/name", None, "train[:100]")),
        ("hf:owner/name::odd", ("owner/name", None, "odd")),
        ("hf:owner/name:en", ("owner/name", "en", None)),
        ("hf:owner/name:en:test", ("owner/name", "en", "test")),
        ("hf:o-1/n_a.me:en-US:train[10%:20%]", ("o-1/n_a.me", "en-US", "train[10%:20%]")),
    ],
)
def test_an_address_is_name_config_and_split(hub, address, asked):
    assert hub_columns(Wanted(address, None, ("label",))) == (["a", None], {"label": [0, 1]})
    assert hub.asked == asked


def test_a_split_asked_for_comes_without_its_name(hub):
    hub.answer = hub.one
    assert hub_columns(Wanted("hf:owner/name::test", None))[0] == ["a", None]


def test_several_splits_need_a_name(hub):
    hub.answer = {"train": hub.one, "test": hub.one}
    with pytest.raises(
        BadTexts, match=r"has the splits 'train', 'test'; name one. Try hf:owner/name:en:train"
    ):
        hub_columns(Wanted("hf:owner/name:en", None))


def test_a_missing_column_of_a_data_set_names_those_there(hub):
    with pytest.raises(MissingColumn, match="hf:owner/name has no column 'txt'; it has 'text', 'label'"):
        hub_columns(Wanted("hf:owner/name", "txt"))


@pytest.mark.parametrize("address", ["hf:", "hf:name", "hf:a/b/c", "hf:../x", "hf:a/b:c:d:e", "hf:a/b c"])
def test_an_address_of_another_form_is_refused(hub, address):
    with pytest.raises(BadTexts, match=r"no address of a data set: .* write hf:owner/name, "):
        hub_columns(Wanted(address, None))
    assert hub.asked is None


def test_a_data_set_that_cannot_be_loaded_is_an_error_of_ours(hub):
    hub.answer = ConnectionError("offline mode is on\nlong story")
    with pytest.raises(BadTexts, match="cannot load hf:owner/name: offline mode is on; check name"):
        hub_columns(Wanted("hf:owner/name", None))
    hub.answer = RuntimeError()
    with pytest.raises(BadTexts, match="cannot load hf:owner/name: RuntimeError; "):
        hub_columns(Wanted("hf:owner/name", None))


def test_without_the_package_datasets_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(BadTexts, match=r"needs the package datasets .* Try pip install datasets$"):
        hub_columns(Wanted("hf:owner/name", None))
