"""Tests ``report/scores.py``: a record's plain form, and files that hold all records or are not there."""

import csv
import datetime
import errno
import json
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from splinelens.errors import BadTexts, CannotWrite
from splinelens.report.scores import (
    FORMATS,
    SentenceScore,
    Span,
    TextScore,
    check_ending,
    safe_cell,
    write_scores,
)
from splinelens.texts import Texts, read_texts

PLAIN = TextScore(0, 0.25, "clean", 7, False)
SPANS = (Span(0, 3, 0.5), Span(3, 8, -1.25))
EXPLAINED = TextScore(
    1, 0.75, "toxic", 9, False, spans=SPANS, constant=1.5, words=SPANS, sentences=(Span(0, 8, -0.75),),
    top_words="a +0.5; b -1.2",
)  # fmt: skip
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
    assert list(EXPLAINED.to_dict())[5:] == ["constant", "spans", "words", "sentences", "top_words"]


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
    assert read(path) == [in_file(record, ending) for record in RECORDS]


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".tsv"])
def test_tables_of_explained_records_have_words_and_no_offsets(tmp_path, ending):
    path = tmp_path / f"scores{ending}"
    write_scores(RECORDS, path, top_words=True)
    assert read(path)[1]["top_words"] == "a +0.5; b -1.2"
    assert not {"spans", "words", "sentences", "constant"} & set().union(*read(path))


KEPT = Texts(
    ("x", "y", "z"),
    {"id": ("007", "08", None), "by": ("=1+1", "@b", "-5"), "n": (1, -2, None), "tags": (["a"], [], None)},
    "list",
)


def test_kept_columns_stand_after_the_row_and_are_not_changed(tmp_path):
    for ending in (".jsonl", ".parquet"):
        path = tmp_path / f"scores{ending}"
        write_scores(RECORDS, path, kept=KEPT)
        rows = [json.loads(line) for line in path.read_text().splitlines()] if ending == ".jsonl" else []
        rows = rows or pq.read_table(path).to_pylist()
        assert [*rows[0]][:6] == ["row", "id", "by", "n", "tags", "score"]
        for name, cells in KEPT.columns.items():
            assert [row[name] for row in rows] == [*cells]


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_no_cell_of_a_flat_file_is_run_as_a_formula_and_numbers_stay_numbers(tmp_path, ending, delimiter):
    path, kept = tmp_path / f"scores{ending}", KEPT
    record = TextScore(0, 0.5, "=cmd", 1, False, top_words="+up +1.0", explained="@x", labels=("=cmd",))
    write_scores([record], path, labels=("=cmd",), kept=kept.at([0]), top_words=True)
    with path.open(newline="") as file:
        (row,) = csv.DictReader(file, delimiter=delimiter)
    assert (row["id"], row["by"], row["n"], row["tags"]) == ("007", "'=1+1", "1", '["a"]')
    assert (row["verdict"], row["top_words"], row["explained"]) == ("'=cmd", "'+up +1.0", "'@x")
    write_scores([PLAIN], path, kept=KEPT.at([2]))
    assert f"-5{delimiter}" in path.read_text().replace('"', "")


@pytest.mark.parametrize(
    "cell", ["=1", "+a", "-a", "@a", "\ta", "\ra", "-1+cmd", " =1", "\u00a0@a", "\uff1d1", " \uff0ba"]
)
def test_a_cell_that_a_spreadsheet_would_run_is_quoted(cell):
    assert safe_cell(cell) == f"'{cell}"


@pytest.mark.parametrize("cell", ["-5", " -5", "+49123", "a;-)", "-1.5e-3", "", "a=1", "007", "'=1"])
def test_other_cells_are_not_changed(cell):
    assert safe_cell(cell) == cell


@pytest.mark.parametrize("name", ["row", "score", "top_words", "score.rude"])
def test_a_column_with_our_name_cannot_be_kept(tmp_path, name):
    with pytest.raises(BadTexts, match=f"column '{name}' cannot be kept: .*; rename it"):
        write_scores([PLAIN], tmp_path / "a.csv", kept=Texts(("x",), {name: ("1",)}, "list"))


def test_columns_of_mixed_cells_and_lone_surrogates_are_kept_as_text(tmp_path):
    kept = Texts(("x", "y", "z"), {"m": (1, "a", None), "s": ("\ud800", "b", "c")}, "list")
    for ending in FORMATS:
        write_scores(RECORDS, tmp_path / f"a{ending}", kept=kept)
    assert pq.read_table(tmp_path / "a.parquet")["m"].to_pylist() == ["1", "a", None]
    assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0])["s"] == "\ud800"


def test_types_of_parquet_are_kept(tmp_path):
    day = datetime.date(2024, 2, 3)
    columns = {"text": ["a", "b"], "id": pa.array([1, None], pa.int16()), "day": pa.array([day, None])}
    columns |= {"x": pa.array([0.1, 2], pa.float32()), "kind": pa.array(["u", "v"]).dictionary_encode()}
    pq.write_table(pa.table(columns), tmp_path / "in.parquet")
    texts = read_texts(tmp_path / "in.parquet", keep=["id", "day", "x", "kind"])
    write_scores([PLAIN], tmp_path / "out.parquet", kept=texts.at([0]))
    schema = pq.read_schema(tmp_path / "out.parquet")
    assert [str(schema.field(name).type) for name in ("id", "day", "x")] == ["int16", "date32[day]", "float"]
    write_scores([PLAIN], tmp_path / "out.csv", kept=texts.at([0]))
    assert (tmp_path / "out.csv").read_text().splitlines()[1].startswith('0,1,"2024-02-03",0.1,"u",')


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
    with pytest.raises(BadTexts, match=r"ends in '\.xlsx'; use one of \.csv, \.jsonl, \.parquet, \.tsv"):
        check_ending(tmp_path / "scores.xlsx")
    with pytest.raises(CannotWrite, match="No such file or directory"):
        write_scores([], tmp_path / "no" / "scores.csv")
    with pytest.raises(BadTexts, match="ends in ''"):
        write_scores([], tmp_path / "scores")


def in_file(record, ending):
    """What a file holds of a record: a table no offsets."""
    left_out = () if ending == ".jsonl" else ("constant", "spans", "words", "sentences", "top_words")
    return {key: value for key, value in record.to_dict().items() if key not in left_out}


def read(path):
    """Records of a file, in the form of ``to_dict``."""
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    if path.suffix in (".csv", ".tsv"):
        with path.open(newline="", encoding="utf-8") as file:
            delimiter = "," if path.suffix == ".csv" else "\t"
            return [_from_csv(row) for row in csv.DictReader(file, delimiter=delimiter)]
    rows = pq.read_table(path).to_pylist()
    return [{key: row[key] for key in row if row[key] is not None or key == "score"} for row in rows]


def _from_csv(row):
    parse = {
        "row": int,
        "tokens": int,
        "score": float,
        "cut": "true".__eq__,
    }
    found = {key: parse.get(key, str)(cell) for key, cell in row.items() if cell}
    return {"score": None} | found


def test_parquet_keeps_what_decided_the_scores(tmp_path):
    write_scores([TextScore(0, 0.5, "clean", 3, False)], tmp_path / "s.parquet", {"detector": "ab12"})
    assert pq.read_schema(tmp_path / "s.parquet").metadata[b"splinelens"] == b'{"detector": "ab12"}'


SEVERAL = TextScore(
    0, 0.9, "rude", 4, False, spans=SPANS, constant=0.5,
    scores={"rude": 0.9, "spam": 0.6}, labels=("rude", "spam"), explained="rude",
)  # fmt: skip
NOTHING = TextScore(1, None, "undetermined", 0, False, reason="is empty", scores={}, labels=())


def test_several_labels_have_the_label_of_their_highest_sentence(tmp_path):
    several = TextScore(
        0,
        0.9,
        "rude",
        3,
        False,
        scores={"rude": 0.9, "spam": 0.2},
        labels=("rude",),
        highest_sentence=SentenceScore(4, 9, 0.875, 0.75, "rude"),
    )
    write_scores([several], tmp_path / "a.tsv", labels=("rude", "spam"), by_sentence=True)
    head, cells = (line.split("\t") for line in (tmp_path / "a.tsv").read_text().splitlines())
    row = {name.strip('"'): cell.strip('"') for name, cell in zip(head, cells, strict=True)}
    assert [row[f"highest_sentence.{name}"] for name in ("begin", "end", "score", "limit", "label")] == [
        "4",
        "9",
        "0.875",
        "0.75",
        "rude",
    ]
    assert TextScore.from_dict(several.to_dict()) == several


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
    write_scores([SEVERAL, NOTHING], tmp_path / "s.parquet", labels=("rude", "spam"))
    one, other = pq.read_table(tmp_path / "s.parquet").to_pylist()
    assert one["scores"] == {"rude": 0.9, "spam": 0.6}
    assert one["labels"] == ["rude", "spam"]
    assert (other["scores"], other["labels"]) == ({"rude": None, "spam": None}, [])
