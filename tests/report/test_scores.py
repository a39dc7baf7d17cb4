"""Tests ``report/scores.py``: a record's plain form, and files that hold all records or are not there."""

import csv
import errno
import json
from dataclasses import replace
from pathlib import Path

import pytest

from splinelens.errors import BadTexts, CannotWrite
from splinelens.report.scores import FORMATS, Span, TextScore, check_format, write_scores

PLAIN = TextScore(0, 0.25, "clean", 7, False)
SPANS = (Span(0, 3, 0.5), Span(3, 8, -1.25))
EXPLAINED = TextScore(
    1, 0.75, "toxic", 9, False, spans=SPANS, constant=1.5, words=SPANS, sentences=(Span(0, 8, -0.75),)
)
UNREAD = TextScore(2, None, "undetermined", 0, False, reason="is empty")
RECORDS = [PLAIN, EXPLAINED, UNREAD]


def test_keys_that_do_not_apply_are_left_out_but_never_the_score():
    assert list(PLAIN.to_dict()) == ["row", "score", "verdict", "tokens", "cut"]
    assert UNREAD.to_dict() == {
        "row": 2,
        "score": None,
        "verdict": "undetermined",
        "tokens": 0,
        "cut": False,
        "reason": "is empty",
    }
    assert EXPLAINED.to_dict()["constant"] == 1.5
    assert EXPLAINED.to_dict()["spans"][1] == {"begin": 3, "end": 8, "contribution": -1.25}
    assert EXPLAINED.to_dict()["words"] == EXPLAINED.to_dict()["spans"]
    assert EXPLAINED.to_dict()["sentences"] == [{"begin": 0, "end": 8, "contribution": -0.75}]
    assert list(EXPLAINED.to_dict())[5:] == ["constant", "spans", "words", "sentences"]


def test_a_record_comes_back_from_its_plain_form_also_from_before_words_and_sentences():
    assert [TextScore.from_dict(record.to_dict()) for record in RECORDS] == RECORDS
    before = {key: value for key, value in EXPLAINED.to_dict().items() if key not in ("words", "sentences")}
    assert TextScore.from_dict(before) == replace(EXPLAINED, words=None, sentences=None)


def test_json_is_one_line_and_loses_nothing():
    record = TextScore(3, 0.1 + 0.2, "böse", 1, False, reason="has\na break")
    assert "\n" not in record.to_json()
    assert "böse" in record.to_json()
    assert json.loads(record.to_json()) == record.to_dict()


def test_an_explanation_of_no_token_is_still_one():
    record = TextScore(0, 0.5, "clean", 0, False, spans=(), constant=0.0).to_dict()
    assert record["spans"] == []
    assert record["constant"] == 0.0


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_holds_every_record(tmp_path, ending):
    path = tmp_path / f"scores{ending}"
    write_scores(iter(RECORDS), path)
    assert read(path) == [record.to_dict() for record in RECORDS]


@pytest.mark.parametrize("ending", FORMATS)
def test_no_records_make_a_file_without_rows(tmp_path, ending):
    path = tmp_path / f"scores{ending}"
    write_scores([], path)
    assert read(path) == []


@pytest.mark.parametrize("ending", FORMATS)
def test_a_run_that_breaks_leaves_the_earlier_file_alone(tmp_path, ending):
    path = tmp_path / f"scores{ending}"
    write_scores([PLAIN], path)
    before = path.read_bytes()

    def broken():
        yield PLAIN
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_scores(broken(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_told(tmp_path, monkeypatch):
    def full(self, target):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CannotWrite, match=r"cannot write .*scores\.csv: No space left on device"):
        write_scores([PLAIN], tmp_path / "scores.csv")
    assert list(tmp_path.iterdir()) == []


def test_another_ending_and_a_missing_folder_are_refused(tmp_path):
    with pytest.raises(BadTexts, match=r"ends in '\.xlsx'; use one of \.csv, \.jsonl, \.parquet"):
        check_format(tmp_path / "scores.xlsx")
    with pytest.raises(CannotWrite, match="there is no folder"):
        check_format(tmp_path / "no" / "scores.csv")
    with pytest.raises(BadTexts, match="ends in ''"):
        write_scores([], tmp_path / "scores")


def read(path):
    """Records of a file, in the form of ``to_dict``."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if path.suffix == ".csv":
        with path.open(newline="", encoding="utf-8") as file:
            return [_from_csv(row) for row in csv.DictReader(file)]
    import pyarrow.parquet as pq

    rows = pq.read_table(path).to_pylist()
    return [{key: row[key] for key in row if row[key] is not None or key == "score"} for row in rows]


def _from_csv(row):
    parse = {
        "row": int,
        "tokens": int,
        "score": float,
        "constant": float,
        "spans": json.loads,
        "words": json.loads,
        "sentences": json.loads,
        "cut": "true".__eq__,
    }
    found = {key: parse.get(key, str)(cell) for key, cell in row.items() if cell}
    return {"score": None} | found


def test_parquet_keeps_what_decided_the_scores(tmp_path):
    import pyarrow.parquet as pq

    write_scores([TextScore(0, 0.5, "clean", 3, False)], tmp_path / "s.parquet", {"detector": "ab12"})
    assert pq.read_schema(tmp_path / "s.parquet").metadata[b"splinelens"] == b'{"detector": "ab12"}'


SEVERAL = TextScore(
    0, 0.9, "rude", 4, False, spans=SPANS, constant=0.5,
    scores={"rude": 0.9, "spam": 0.6}, labels=("rude", "spam"), explained="rude",
)  # fmt: skip
NOTHING = TextScore(1, None, "undetermined", 0, False, reason="is empty", scores={}, labels=())


def test_several_labels_come_back_from_json():
    for record in (SEVERAL, NOTHING):
        assert TextScore.from_dict(json.loads(record.to_json())) == record
    assert list(SEVERAL.to_dict())[5:] == ["scores", "labels", "explained", "constant", "spans"]
    assert "scores" not in PLAIN.to_dict()


def test_several_labels_have_columns_in_csv(tmp_path):
    write_scores([SEVERAL, NOTHING], tmp_path / "s.csv", labels=("rude", "spam"))
    with (tmp_path / "s.csv").open(newline="") as file:
        one, other = csv.DictReader(file)
    assert (one["score.rude"], one["score.spam"], one["explained"]) == ("0.9", "0.6", "rude")
    assert json.loads(one["labels"]) == ["rude", "spam"]
    assert (other["score.rude"], other["labels"]) == ("", "[]")


def test_several_labels_are_a_struct_in_parquet(tmp_path):
    import pyarrow.parquet as pq

    write_scores([SEVERAL, NOTHING], tmp_path / "s.parquet", labels=("rude", "spam"))
    one, other = pq.read_table(tmp_path / "s.parquet").to_pylist()
    assert one["scores"] == {"rude": 0.9, "spam": 0.6}
    assert one["labels"] == ["rude", "spam"]
    assert (other["scores"], other["labels"]) == ({"rude": None, "spam": None}, [])
