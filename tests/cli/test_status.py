"""Tests ``splinelens status``: an unfinished run, a finished table of every format, and what is neither."""

import json

import pyarrow as pa
import pytest
from typer.testing import CliRunner

from splinelens.cli import app
from splinelens.files import RowStore
from splinelens.report.scores import TextScore, write_scores

RECORDS = [
    TextScore(0, 0.9, "toxic", 3, False),
    TextScore(1, None, "undetermined", 0, False, reason="is empty"),
    TextScore(2, None, "undetermined", 1200, False, reason="has 1,200 tokens, more than the limit of 9"),
    TextScore(3, None, "undetermined", 1300, False, reason="has 1,300 tokens, more than the limit of 9"),
]


def status(*arguments, code=0):
    result = CliRunner().invoke(app, ["status", *map(str, arguments)])
    assert result.exit_code == code, result.output
    return result


def test_of_an_unfinished_run_rows_failures_and_settings_are_shown(tmp_path):
    output = tmp_path / "a.parquet"
    with RowStore.beside(output, {"model": "tiny", "texts": 1200}) as store:
        store.append(pa.table({"row": [0, 1, 2]}), failed=2)
        store.append(pa.table({"row": [3]}))
        shown = status(output).stdout  # while the run goes on
    assert f"{output}: unfinished, 4 rows of 1,200 texts\nfailed: 2\nlast write: 2" in shown
    assert shown.endswith("model: tiny\ntexts: 1200\n")
    record = json.loads(status(output, "--json").stdout)
    assert record.pop("last_write").startswith("2")
    assert record == {
        "output": str(output),
        "finished": False,
        "rows": 4,
        "texts": 1200,
        "failed": 2,
        "reasons": None,
        "settings": {"model": "tiny", "texts": 1200},
    }


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "parquet"])
def test_of_a_finished_table_failed_rows_are_counted_by_reason(tmp_path, ending):
    output = tmp_path / f"a.{ending}"
    write_scores(RECORDS, output, {"texts": 4})
    record = json.loads(status(output, "--json").stdout)
    assert (record["finished"], record["rows"], record["failed"]) == (True, 4, 3)
    assert record["reasons"] == {"has N tokens, more than the limit of N": 2, "is empty": 1}
    assert record["settings"] == ({"texts": 4} if ending == "parquet" else None)
    of_texts = " of 4 texts" if ending == "parquet" else ""
    assert f"finished, 4 rows{of_texts}\nfailed: 3\n  2  has N tokens" in status(output).stdout


def test_what_is_no_output_is_refused(tmp_path):
    told = status(tmp_path / "none.csv", code=1).stderr
    assert "none.csv nor an unfinished run of it; name the output of a run" in told
    for name in ("a.csv", "a.jsonl", "a.parquet"):
        (tmp_path / name).write_text("[1]\n")
        assert f"{name} is no output of extract or score" in status(tmp_path / name, code=1).stderr
