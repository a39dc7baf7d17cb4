"""Tests ``cli/extract.py``: the table it writes, and that a stopped run goes on to the identical one."""

import errno
import sys

import numpy as np
import pyarrow.ipc
import pytest

from splinelens.features.reader import TextReader
from splinelens.features.table import FeatureTable


@pytest.fixture
def extract(run, comments, model_folder):
    def extract(output, *more, file=comments, code=0):
        options = ["--column", "comment", "--model", model_folder, "--max-tokens", 64]
        return run("extract", file, "-o", output, *options, *more, code=code)

    return extract


@pytest.fixture
def small_chunks(monkeypatch):
    """Chunks of 50 texts, so that 120 texts make three."""
    monkeypatch.setattr("splinelens.features.reader.CHUNK", 50)


def test_a_table_is_written_and_told_of(extract, tmp_path):
    result = extract(
        tmp_path / "a.parquet", "--features", "spline7,margins", "--layers", "0,2", "--pooling", "max,mean"
    )
    table = FeatureTable.read(tmp_path / "a.parquet")
    assert len(table) == 120
    assert "layer02.margin_mean" in table.names
    assert not any(name.startswith("layer01") for name in table.names)
    assert result.stdout == ""
    assert result.stderr.splitlines()[0].startswith(f"120 texts, {table.tokens.sum():,} tokens, 18 columns, ")
    assert result.stderr.splitlines()[1] == f"wrote {tmp_path / 'a.parquet'}"
    assert not (tmp_path / "a.parquet.parts").exists()


def test_a_prompt_is_unescaped_and_kept_in_the_provenance(extract, tmp_path):
    extract(tmp_path / "a.parquet", "--prompt", r"Rude?\n", "--suffix", r"\\", "--quiet")
    spec = FeatureTable.read(tmp_path / "a.parquet").provenance["spec"]
    assert (spec["prompt"], spec["suffix"]) == ("Rude?\n", "\\")


def test_normalizing_is_kept_in_the_provenance(extract, tmp_path):
    extract(tmp_path / "a.parquet", "--normalize", "--quiet")
    extract(tmp_path / "b.parquet", "--no-normalize", "--quiet")
    table, other = (FeatureTable.read(tmp_path / name) for name in ("a.parquet", "b.parquet"))
    assert table.provenance["spec"]["normalize"] is True
    assert "normalize" not in other.provenance["spec"]
    assert np.array_equal(table.values, other.values)  # the comments are plain


def test_prefixes_and_a_threshold(extract, tmp_path):
    more = ("--features", "attention_id,length", "--layers", "1", "--eps", "0.3", "--prefixes")
    result = extract(tmp_path / "a.parquet", *more)
    table = FeatureTable.read(tmp_path / "a.parquet")
    assert table.provenance["spec"]["eps"] == 0.3
    assert (table.texts, len(table)) == (120, table.tokens[table.whole].sum())
    assert np.array_equal(table.column("length"), table.prefix)
    assert result.stderr.startswith(f"120 texts, {len(table):,} tokens, {len(table):,} rows, 7 columns, ")


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("bloom", "counted from the weights of eager attention, as the model hands over no scores"),
        ("qwen3_next", "no columns at layers 0, 2, whose attention is linear"),
    ],
)
def test_what_attention_id_of_a_model_is_not_is_told_in_one_line(
    extract, tmp_path, tiny_of, tiny_tokenizer, name, line
):
    for part in (tiny_of(name), tiny_tokenizer):
        part.save_pretrained(tmp_path / "model")
    more = ("--model", tmp_path / "model", "--features")
    told = extract(tmp_path / "a.parquet", *more, "attention_id").stderr
    assert told.splitlines()[0] == f"attention_id: {line}"
    assert len(told.splitlines()) == 3
    assert "attention_id:" not in extract(tmp_path / "b.parquet", *more, "sign_mean").stderr
    assert extract(tmp_path / "c.parquet", *more, "attention_id", "--quiet").stderr == ""


@pytest.mark.parametrize("eps", ["0", "1", "-1", "nan"])
def test_a_threshold_out_of_range_is_refused_before_a_model_is_loaded(extract, tmp_path, eps):
    told = extract(tmp_path / "a.parquet", "--eps", eps, "--model", "no-such-model", code=1).stderr
    assert "eps is " in told
    assert "pass a number above 0 and below 1" in told


def test_ctrl_c_keeps_the_parts_and_the_same_command_goes_on(extract, tmp_path, monkeypatch, small_chunks):
    extract(tmp_path / "whole.parquet")
    tokenize, calls = TextReader.tokenize, []

    def stop(self, texts):
        calls.append(len(texts))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return tokenize(self, texts)

    monkeypatch.setattr(TextReader, "tokenize", stop)
    told = extract(tmp_path / "a.parquet", code=130).stderr
    parts = tmp_path / "a.parquet.parts"
    assert told == f"Stopped. 50 of 120 rows are kept in {parts}; run the same command to continue.\n"
    assert not (tmp_path / "a.parquet").exists()
    again = extract(tmp_path / "a.parquet")
    assert calls == [50, 50, 50, 20]  # the first part was not read again
    assert f"continuing after the 50 rows in {parts}" in again.stderr
    assert same(tmp_path / "a.parquet", tmp_path / "whole.parquet")


def test_a_full_disk_is_told_and_the_same_command_goes_on(extract, tmp_path, monkeypatch, small_chunks):
    extract(tmp_path / "whole.parquet")
    new_file, calls = pyarrow.ipc.new_file, []

    def full(*arguments):
        calls.append(arguments)
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        return new_file(*arguments)

    monkeypatch.setattr(pyarrow.ipc, "new_file", full)
    told = extract(tmp_path / "a.parquet", code=1).stderr
    assert told.startswith("Error: cannot write ")
    assert "No space left on device; finished rows are kept" in told
    extract(tmp_path / "a.parquet")
    assert same(tmp_path / "a.parquet", tmp_path / "whole.parquet")


def test_rows_of_another_request_are_not_mixed_in(extract, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(
            "splinelens.features.extract.write_chunks",
            lambda *_: (_ for _ in ()).throw(KeyboardInterrupt),
        )
        extract(tmp_path / "a.parquet", code=130)
    told = extract(tmp_path / "a.parquet", "--features", "margins", code=1).stderr
    assert "holds rows of another run" in told


def test_wrong_names_are_refused_with_the_near_ones(extract, tmp_path):
    path = tmp_path / "a.parquet"
    assert "did you mean spline7" in extract(path, "--features", "spline", code=1).stderr
    assert "no pooling 'maximum'" in extract(path, "--pooling", "maximum", code=1).stderr
    assert "its layers are 0 to 2" in extract(path, "--layers", "0-29", code=1).stderr
    assert "is no layer and no range of layers" in extract(path, "--layers", "a-b", code=2).stderr
    assert "dtype 'int8' is not one of float32" in extract(path, "--dtype", "int8", code=1).stderr
    assert not path.exists()


def test_a_model_with_code_of_its_own_is_not_run(extract, model_folder, tmp_path):
    import json
    import shutil

    other = shutil.copytree(model_folder, tmp_path / "other")
    config = json.loads((other / "config.json").read_text())
    config |= {"model_type": "strange", "auto_map": {"AutoConfig": "code.Config", "AutoModel": "code.Model"}}
    (other / "config.json").write_text(json.dumps(config))
    (other / "code.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    told = extract(tmp_path / "a.parquet", "--model", other, code=1).stderr
    assert "--trust-remote-code" in told
    assert not (tmp_path / "ran").exists()


def test_the_first_rows_that_cannot_be_read_are_named(extract, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text('comment\nfine\n" "\nfine\n" "\n" "\n" "\n" "\n', "utf-8")
    lines = extract(tmp_path / "a.parquet", file=path).stderr.splitlines()
    assert lines[0].endswith("; 5 not readable")
    assert lines[1:4] == [f"  row {row}: is only white space" for row in (1, 3, 4)]
    assert lines[4] == "  and 2 more rows; the column reason says why"
    assert lines[5].startswith("wrote ")


def test_columns_of_the_file_are_kept_on_request(extract, run, tmp_path, comments):
    extract(tmp_path / "a.parquet", "--keep", "id,comment", "--features", "sign_mean,length", "--quiet")
    table = FeatureTable.read(tmp_path / "a.parquet")
    assert table.kept["id"].to_pylist()[:2] == ["0", "1"]
    assert table.kept.column_names == ["id", "comment"]
    assert "length" in table.names
    extract(tmp_path / "b.parquet", "--keep", "id", "--features", "sign_mean", "--prefixes", "--quiet")
    grown = FeatureTable.read(tmp_path / "b.parquet")
    assert grown.kept["id"].to_pylist() == [str(text) for text in grown.text]
    (tmp_path / "c.csv").write_text("text,row,length,id\na,1,2,3\n")
    words = ("extract", tmp_path / "c.csv", "-o", tmp_path / "c.parquet", "-m", "no-such-model", "--keep")
    for name in ("row", "length"):
        assert f"column '{name}' cannot be kept" in run(*words, name, code=1).stderr
    assert "column 'text' cannot be kept" in run(*words, "text", "--prefixes", code=1).stderr
    assert "it has 'text', 'row', 'length', 'id'" in run(*words, "nope", code=1).stderr


def test_named_spans_have_a_row_each(extract, tmp_path):
    path, answer = tmp_path / "some.csv", ("--at", "answer")
    path.write_text('comment,at,answer\nhello you,"[[0, 5], [6, 9]]",x\nyes,,x\nno,[],x\n', "utf-8")
    told = extract(tmp_path / "a.parquet", "--at", "at", "--keep", "answer", file=path).stderr
    table = FeatureTable.read(tmp_path / "a.parquet")
    assert (table.text.tolist(), table.spans.tolist()) == ([0, 0], [[0, 5], [6, 9]])
    assert table.kept.to_pydict() == {"answer": ["x", "x"]}
    assert told.startswith(f"1 text, {table.tokens[0]} tokens, 2 rows, ")
    assert "; 2 texts without a span" in told
    extract(tmp_path / "b.parquet", *answer, "--suffix", r"\nRude?", file=path)  # not the column of that name
    table = FeatureTable.read(tmp_path / "b.parquet")
    assert (len(table), table.spans, table.provenance["at"]) == (3, None, "answer")
    assert "--suffix TEXT" in extract(tmp_path / "c.parquet", *answer, file=path, code=1).stderr
    assert "is no JSON" in extract(tmp_path / "c.parquet", "--at", "comment", file=path, code=1).stderr


def test_texts_of_too_many_tokens_are_not_read(extract, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text(f"comment\nfine\n{'lovely ' * 60}\n", "utf-8")
    told = extract(tmp_path / "a.parquet", "--max-text-tokens", "20", file=path).stderr
    table = FeatureTable.read(tmp_path / "a.parquet")
    assert table.reasons[1] == f"has {table.tokens[1]} tokens, more than the limit of 20"
    assert (table.ok.tolist(), table.cut.tolist()) == ([True, False], [False, False])
    assert "; 1 not readable" in told
    assert table.reasons[1] in told


def test_texts_in_several_windows_are_counted(extract, tmp_path):
    path = tmp_path / "some.csv"
    path.write_text(f"comment\n{'lovely ' * 60}\n", "utf-8")
    told = extract(tmp_path / "a.parquet", "--max-tokens", "20", file=path).stderr
    assert told.startswith("1 text, ")
    assert "; 1 read in windows of 20 tokens" in told


def same(one, other):
    first, second = FeatureTable.read(one), FeatureTable.read(other)
    np.testing.assert_array_equal(first.values, second.values)
    return first.names == second.names and first.provenance == second.provenance


@pytest.mark.parametrize("address", [["--ray"], ["--ray", "auto"], ["--ray", "head:6379"], ["--ray=local"]])
def test_a_cluster_needs_ray_and_its_address_may_be_left_out(run, comments, tmp_path, monkeypatch, address):
    monkeypatch.setitem(sys.modules, "ray", None)
    result = run("extract", *address, comments, "-o", tmp_path / "a.parquet", "-c", "comment", code=1)
    assert "Ray, which is not installed: pip install 'splinelens[scale]'" in result.stderr
