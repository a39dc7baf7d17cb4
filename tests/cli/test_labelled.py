"""Tests ``cli/labelled.py``: the rows that were asked for, with a label each."""

import pytest

from splinelens.cli.labelled import labelled_texts
from splinelens.errors import BadLabels, MissingColumn


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("text,kind,split\na,x,train\nb,y,test\nc,y,train\nd,,dev\n")
    return str(path)


def test_labels_are_those_of_the_rows_of_the_split(file):
    texts, labels = labelled_texts(file, None, "kind", positive="y", split=("split", "train"))
    assert texts.texts == ("a", "c")
    assert labels.tolist() == [0, 1]


def test_labels_missing_outside_the_split_do_no_harm(file):
    with pytest.raises(BadLabels, match="missing in 1 of 4 rows: 3"):
        labelled_texts(file, None, "kind", positive="y")


def test_the_label_may_be_the_column_of_the_split(file):
    with pytest.raises(BadLabels, match="is 1 in all 2 rows"):
        labelled_texts(file, None, "split", positive="train", split=("split", "train"))


def test_a_label_that_is_not_there_names_those_there(file):
    with pytest.raises(MissingColumn, match="no column 'label'; it has 'text', 'kind', 'split'"):
        labelled_texts(file, None, "label")
