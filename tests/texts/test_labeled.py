"""Tests ``texts/labeled.py``: the chosen rows, with a label each."""

import pytest

from splinelens.errors import BadLabels, BadTexts, MissingColumn
from splinelens.texts.labeled import read_labeled


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,kind,split\na,x,train\nb,y,test\nc,y,train\nd,,dev\n")
    return str(path)


def test_labels_are_those_of_the_rows_of_the_split(file):
    texts, labels = read_labeled(file, None, "kind", positive="y", split=("split", "train"))
    assert texts.texts == ("a", "c")
    assert labels.values.tolist() == [[0], [1]]
    assert labels.missing == 0


def test_rows_without_a_label_are_left_out_and_counted(file):
    lines = []
    texts, labels = read_labeled(file, None, "kind", positive="y", report=lines.append)
    assert (texts.texts, labels.values[:, 0].tolist()) == (("a", "b", "c"), [0, 1, 1])
    assert lines == ["1 of 4 rows left out: their label is missing"]
    with pytest.raises(BadLabels, match="label 'kind' is missing in all 1 rows"):
        read_labeled(file, None, "kind", positive="y", split=("split", "dev"))


def test_rows_keep_their_numbers_in_the_file(tmp_path):
    (tmp_path / "d.csv").write_text("text,kind,split\na,x,dev\n\nb,,train\nc,y,train\nd,x,train\n")
    texts, _ = read_labeled(
        str(tmp_path / "d.csv"), None, "kind", positive="y", split=("split", "train"), keep=["kind"]
    )
    assert (texts.texts, texts.numbers) == (("c", "d"), (2, 3))  # as splinelens score counts them
    assert texts.columns == {"kind": ("y", "x")}


def test_several_columns_are_several_labels(tmp_path):
    (tmp_path / "b.csv").write_text("text,rude,spam\na,1,no\nb,0,yes\nc,,yes\nd,1,yes\n")
    texts, labels = read_labeled(str(tmp_path / "b.csv"), None, ["rude", "spam", "rude"])
    assert (texts.texts, labels.names, labels.task) == (("a", "b", "d"), ("rude", "spam"), "labels")
    assert labels.values.tolist() == [[1, 0], [0, 1], [1, 1]]


def test_a_column_of_numbers_is_no_column_of_texts(tmp_path):
    (tmp_path / "c.csv").write_text('id,note,kind\n1,so it is,x\n"2,5",or not,y\n-3e4,,y\n')
    with pytest.raises(BadTexts) as caught:
        read_labeled(str(tmp_path / "c.csv"), "id", "kind", positive="y")
    assert str(caught.value) == (
        f"{tmp_path / 'c.csv'}: each text in column 'id' is a number, not words; "
        "name the column of the texts with --column"
    )
    assert read_labeled(str(tmp_path / "c.csv"), "note", "kind", positive="y")[0].texts[2] == ""


def test_the_label_may_be_the_column_of_the_split(file):
    with pytest.raises(BadLabels, match="is 1 in all 2 rows"):
        read_labeled(file, None, "split", positive="train", split=("split", "train"))


def test_a_missing_label_column_is_refused_with_the_existing_ones(file):
    with pytest.raises(MissingColumn, match="no column 'label'; it has 'text', 'kind', 'split'"):
        read_labeled(file, None, "label")


def test_texts_that_another_part_of_the_file_repeats_are_reported(tmp_path):
    rows = "text,kind,split\na,x,train\nb,y,train\na,x,test\nc,y,test\n,x,test\n"
    (tmp_path / "d.csv").write_text(rows)
    lines = []
    read_labeled(
        str(tmp_path / "d.csv"), None, "kind", positive="x", split=("split", "train"), report=lines.append
    )
    assert lines == ["1 rows outside split=train hold the same text as rows inside: split again"]
    (tmp_path / "d.csv").write_text(rows.replace("\na,x,test", ""))
    read_labeled(
        str(tmp_path / "d.csv"), None, "kind", positive="x", split=("split", "train"), report=lines.append
    )
    assert len(lines) == 1


def test_a_table_with_semicolons_and_without_a_header_has_numbered_columns(tmp_path):
    file = tmp_path / "bare.csv"
    file.write_text("1;you idiot, you;1\n2;hello;0\n3;well;\n")
    texts, labels = read_labeled(str(file), "2", "3", delimiter=";", header=False)
    assert (texts.texts, labels.values.tolist()) == (("you idiot, you", "hello"), [[1], [0]])
