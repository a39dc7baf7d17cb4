"""Tests ``texts/groups.py``: whole words in any case, columns of several kinds, and files of terms."""

import os
from pathlib import Path

import numpy as np
import pytest

from splinelens.errors import BadTexts
from splinelens.texts import sources
from splinelens.texts.groups import column_groups, mentions, read_terms


def test_terms_are_whole_words_in_any_case():
    texts = ["The OLD  people sing", "older people", None, "bold peoples", "(old people)"]
    result = mentions(texts, {"old": ("old people",)})
    assert result["old"].tolist() == [True, False, False, False, True]


def test_terms_are_no_patterns():
    assert mentions(["a.b", "axb"], {"x": ("a.b",)})["x"].tolist() == [True, False]


def test_the_default_groups_are_found_and_distinct():
    groups = read_terms()
    result = mentions(["A woman and a man", "We met a deaf teenager"], groups)
    assert [name for name, mask in result.items() if mask[0]] == ["women", "men"]
    assert [name for name, mask in result.items() if mask[1]] == ["young", "deaf or blind"]
    terms = [term for group in groups.values() for term in group]
    assert len(terms) == len(set(terms))
    assert 20 <= len(groups) <= 30


def test_columns_of_numbers_and_of_words():
    assert column_groups("g", ["0.5", "0.49", None, 1])["g"].tolist() == [True, False, False, True]
    assert column_groups("g", [True, "false", float("nan")])["g"].tolist() == [True, False, False]
    missing = [np.float32("nan"), type("NAType", (), {})()]
    assert column_groups("g", [1, *missing])["g"].tolist() == [True, False, False]
    assert list(column_groups("g", ["b", "a", "b", " "])) == ["g=a", "g=b"]


def test_columns_that_name_no_groups_are_refused():
    with pytest.raises(BadTexts, match="'g' is empty in all 2 rows"):
        column_groups("g", [None, ""])
    with pytest.raises(BadTexts, match="'g' has 99 values, such as "):
        column_groups("g", [f"x{row}" for row in range(99)])


def test_files_of_terms(tmp_path):
    file = tmp_path / "terms.tsv"
    file.write_text("# mine\nbakers\tbaker\n\nbakers\tpastry cook\nmillers\tmiller\n")
    assert read_terms(file) == {"bakers": ("baker", "pastry cook"), "millers": ("miller",)}
    file.write_text("bakers baker\n")
    with pytest.raises(BadTexts, match="line 1: no name, tab and term"):
        read_terms(file)
    file.write_text("\n")
    with pytest.raises(BadTexts, match="holds no term"):
        read_terms(file)
    with pytest.raises(BadTexts, match=r"cannot read terms from .*: there is no such file"):
        read_terms(tmp_path / "none.tsv")
    file.write_bytes(b"bakers\tp\xe2tissier\n")
    with pytest.raises(BadTexts, match=r"cannot read terms from .*; give a UTF-8 file"):
        read_terms(file)


def test_terms_from_what_may_never_end_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "PIPE_SECONDS", 0.1)
    os.mkfifo(tmp_path / "pipe.tsv")
    with pytest.raises(BadTexts, match="is a pipe that nothing writes to"):
        read_terms(tmp_path / "pipe.tsv")
    with pytest.raises(BadTexts, match="is a device; name a file"):
        read_terms(Path("/dev/zero"))
