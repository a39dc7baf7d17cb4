"""Tests detection/data.py: what the evaluation data folder holds, what is missing, and what repeats."""

import pytest
from detection.data import SETS, count_repeats, letters_and_digits, read_evaluation

from splinelens.errors import BadTexts


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "tweeteval").mkdir()
    rows = 'text,label,split\n"one, two",1,train\n"One two!",0,test\nthree,0,test\n'
    (tmp_path / "tweeteval/tweeteval_offensive.csv").write_text(rows)
    (tmp_path / "paradetox").mkdir()
    pairs = 'toxic\tneutral1\tneutral2\na silly goose\ta goose\t\n"dull\nday"\ta day\tday\n'
    (tmp_path / "paradetox/paradetox.tsv").write_text(pairs)
    (tmp_path / "domains").mkdir()
    (tmp_path / "domains/domains.jsonl").write_text('{"domain": "mills", "doc_id": "1", "text": "a mill"}\n')
    return tmp_path


def test_each_set_keeps_its_rows_in_order_and_says_which_are_positive(folder):
    data = read_evaluation(folder)
    assert [*data.sets] == ["para", "tweet", "domains"]
    tweet = data.sets["tweet"]
    assert tweet.texts == ("one, two", "One two!", "three")
    assert tweet.columns["positive"] == (1, 0, 0)
    assert tweet.columns["split"] == ("train", "test", "test")
    assert data.sets["domains"].columns == {"domain": ("mills",), "doc_id": ("1",)}
    assert "positive" not in data.sets["domains"].columns
    assert set(data.missing) == set(SETS) - {"para", "tweet", "domains"}


def test_pairs_are_all_toxic_sentences_and_then_their_first_paraphrases(folder):
    para = read_evaluation(folder).sets["para"]
    assert para.texts == ("a silly goose", "dull\nday", "a goose", "a day")
    assert para.columns["positive"] == (1, 1, 0, 0)
    assert para.columns["pair"] == (0, 1, 0, 1)


def test_what_cannot_be_read_is_an_error_that_names_the_file(folder, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadTexts, match="holds none of the evaluation files jigsaw-test-binary-12k/"):
        read_evaluation(tmp_path / "empty")
    (folder / "tweeteval/tweeteval_offensive.csv").write_text("text,split\nhi,train\n")
    with pytest.raises(BadTexts, match=r"offensive.csv.*label"):
        read_evaluation(folder)
    (folder / "domains/domains.jsonl").write_text("{")
    with pytest.raises(BadTexts, match=r"domains.jsonl"):
        read_evaluation(folder, ["domains"])


def test_rows_repeat_whatever_their_punctuation_and_case(folder):
    assert letters_and_digits("One, two!\n") == "onetwo"
    assert letters_and_digits(None) == ""
    counts = count_repeats(read_evaluation(folder).sets["tweet"])
    assert counts == {"rows": 3, "repeated": 1, "across_splits": 1, "two_labels": 1}
