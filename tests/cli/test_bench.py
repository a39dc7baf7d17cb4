"""Tests cli/bench.py: the table on stdout, the files, and what is refused."""

import json

import pytest

from splinelens.apps.bench import run as bench_run


@pytest.fixture
def data(tmp_path):
    rows = [
        f"the mill {row} is {'silly' if row % 2 else 'quiet'},{('neutral', 'hate')[row % 2]}"
        for row in range(80)
    ]
    (tmp_path / "data/toxigen-seed").mkdir(parents=True)
    table = tmp_path / "data/toxigen-seed/toxigen_seed_sentences.csv"
    table.write_text("text,label\n" + "\n".join(rows) + "\n")
    return tmp_path / "data"


@pytest.fixture
def bench(run, data, model_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_run, "RESAMPLES", 20)

    def bench(*more, data=data, code=0):
        fixed = ("--model", model_folder, "--no-install", "--quick", "-o", tmp_path / "out")
        return run("bench", data, *fixed, *more, code=code)

    return bench


def test_the_table_goes_to_stdout_and_the_rest_to_stderr(bench, tmp_path):
    result = bench("--only", "own,pairs")
    assert "own: each set on rows of its own" in result.stdout
    assert "toxigen test" in result.stdout
    assert "not run: the data folder lacks para" in result.stdout
    assert "jig is missing: no " in result.stderr
    assert f"wrote {tmp_path / 'out' / 'bench.json'}" in result.stderr
    record = json.loads((tmp_path / "out/bench.json").read_text())
    words = next(row for row in record["protocols"][0]["rows"] if row["representation"] == "words")
    assert words["auc"] == 1.0
    assert (tmp_path / "out/bench.md").is_file()


def test_quiet_says_nothing_but_the_table(bench):
    assert bench("--only", "pairs", "--quiet").stderr == ""


def test_a_protocol_that_does_not_exist_is_wrong_usage(bench):
    assert "no protocol speed; there are splits" in bench("--only", "speed", code=2).output
    assert "it names no protocol" in bench("--only", " ,", code=2).output


def test_a_folder_without_data_is_an_error_that_names_the_files(bench, tmp_path):
    result = bench(data=tmp_path, code=1)
    assert (
        "holds none of the evaluation files jigsaw-test-binary-12k/jigsaw_test_balanced.csv" in result.stderr
    )
