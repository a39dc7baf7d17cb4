"""Tests ``cli/score.py``: records in order, their forms, the summary, and every refusal."""

import builtins
import csv
import io
import json
import logging
import os
import re
import subprocess
import sys
from dataclasses import replace
from math import log

import pytest

from splinelens.cli.score import Tally
from splinelens.detect.artifact import Artifact
from splinelens.report.scores import TextScore


@pytest.fixture
def score(run, detector):
    def score(*arguments, **options):
        return run("score", *arguments, "--detector", detector, **options)

    return score


def records(result):
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_json_is_one_record_a_text_in_order(score, comments):
    found = records(score(comments, "--column", "comment", "--json"))
    assert [record["row"] for record in found] == list(range(120))
    assert all(list(record) == ["row", "score", "verdict", "tokens", "cut"] for record in found)
    assert {record["verdict"] for record in found} == {"toxic", "clean"}


def test_texts_come_from_options_a_file_and_standard_input_alike(score, tmp_path):
    (tmp_path / "a.txt").write_text("you fool\nlovely garden\n")
    typed = score("--text", "you fool", "--text", "lovely garden", "--json").stdout
    assert score(tmp_path / "a.txt", "--json").stdout == typed
    assert score("-", "--json", input="you fool\nlovely garden\n").stdout == typed


def test_what_cannot_be_read_is_undetermined_with_its_reason(score):
    found = records(score("--text", "", "--text", " \t", "--text", "a\0b", "--text", "you", "--json"))
    assert [record["verdict"] for record in found][:3] == ["undetermined"] * 3
    assert [record.get("reason") for record in found] == [
        "is empty",
        "is only white space",
        "has a NUL character at position 1",
        None,
    ]
    assert found[0]["score"] is None


def test_spans_and_constant_add_up_to_the_logit(score):
    (found,) = records(score("--text", "you stupid fool", "--json", "--explain"))
    total = found["constant"] + sum(span["contribution"] for span in found["spans"])
    assert total == pytest.approx(log(found["score"] / (1 - found["score"])), abs=1e-4)
    for name in ("words", "sentences"):
        merged = found["constant"] + sum(part["contribution"] for part in found[name])
        assert merged == pytest.approx(total, abs=1e-9)
    assert (len(found["words"]), len(found["sentences"])) == (3, 1)
    assert found["spans"][0]["begin"] == 0
    assert found["spans"][-1]["end"] == len("you stupid fool")


@pytest.mark.usefixtures("default_model")
def test_shapley_values_say_which_words_fire(run):
    arguments = ["score", "-d", "toxicity-fast", "--words", "shapley", "--text", "You are a stupid fool."]
    toxic, clean, empty = records(run(*arguments, "--text", "Have a nice day.", "--text", "", "--json"))
    assert [word["fires"] for word in toxic["words"]] == [False, False, False, True, True]
    assert not any(word["fires"] for word in clean["words"])
    assert "words" not in empty
    total = toxic["constant"] + sum(word["contribution"] for word in toxic["words"])
    assert total == pytest.approx(log(toxic["score"] / (1 - toxic["score"])), abs=1e-4)
    values = {word["begin"]: f"{word['contribution']:+.1f}" for word in toxic["words"]}
    assert f"stupid {values[10]}" in toxic["top_words"]
    assert f"fool {values[17]}" in toxic["top_words"]
    shown = run(*arguments)
    assert f"stupid {values[10]}" in shown.stdout
    assert "decided by the head of marked words that comes with the detector" in shown.stderr
    (again,) = records(run(*arguments, "--json", "--prevalence", 0.02))
    assert [word["fires"] for word in again["words"]] == [word["fires"] for word in toxic["words"]]
    amounts = [[word["contribution"] for word in record["words"]] for record in (again, toxic)]
    assert amounts[0] == pytest.approx(amounts[1], abs=1e-3)


def test_shapley_values_need_learned_margins_and_an_explanation(score):
    refused = score("--text", "you fool", "--words", "shapley", code=1)
    assert "only learned margins are shared out among words" in " ".join(refused.stderr.split())
    shown = score("--text", "you fool", "--words", "shapley", "--no-explain", code=2).stderr
    assert "give --words or --no-explain, not both" in " ".join(shown.split())


def test_plain_lines_have_no_control_character_and_no_tab(score):
    shown = score("--text", "you\tfool \x1b[31m\x07 \u202e\nend", "--text", "").stdout
    first, second = shown.splitlines()
    assert first.isprintable()
    assert re.fullmatch(r"[01]\.\d\d  \w+ +you fool ␛\[31m␇ \ufffd end", first)
    assert second == "   -  undetermined  [text is empty]"


def test_plain_lines_leave_room_for_the_longest_verdict(score, detector):
    replace(Artifact.load(detector), negative="not_identity_hate").save(detector)
    lines = score("--text", "you fool", "--text", "sunny garden", "--threshold", 0.5).stdout.splitlines()
    assert [line[6:24] for line in lines] == ["toxic             ", "not_identity_hate "]
    assert [line[25:] for line in lines] == ["you fool", "sunny garden"]


def test_plain_lines_name_the_words_when_asked(score):
    shown = score("--text", "you stupid fool", "--explain").stdout
    assert re.search(r"  (stupid|fool|you) \+\d\.\d", shown)


def test_the_threshold_and_the_rate_decide_the_verdict(score):
    assert records(score("--text", "garden", "--json", "--threshold", 0))[0]["verdict"] == "toxic"
    assert records(score("--text", "you fool", "--json", "--threshold", 1))[0]["verdict"] == "clean"
    score("--text", "a", "--threshold", "nan", code=2)  # nothing is at or above it: all would be clean
    score("--text", "a", "--threshold", "1.5", code=2)
    assert "0.01, 0.05, not 0.02" in score("--text", "a", "--fpr", 0.02, code=1).stderr
    assert "not both" in score("--text", "a", "--fpr", 0.05, "--threshold", 0.5, code=2).stderr


def test_cut_texts_are_counted_and_never_clean(score):
    long = "lovely garden " * 40
    result = score("--text", long, "--json", "--max-tokens", 16, "--long", "cut")
    (found,) = records(result)
    assert found["cut"]
    assert found["verdict"] in ("toxic", "undetermined")
    assert "1 cut at 16 tokens" in result.stderr
    (whole,) = records(score("--text", long, "--json", "--max-tokens", 16))
    assert not whole["cut"]


def test_the_summary_is_on_stderr_and_quiet_silences_it(score):
    result = score("--text", "you", "--text", "", "--json")
    line = r"2 texts, 1 token, \d+\.\d s on cpu; 1 undetermined; toxic from 0\.\d\d"
    line += r"; a score is the probability where half of the texts are toxic\n"
    assert re.fullmatch(line, result.stderr)
    assert score("--text", "you", "--quiet").stderr == ""
    assert not logging.getLogger("splinelens").isEnabledFor(logging.INFO)  # of fetching and converting
    score("--text", "you")
    assert logging.getLogger("splinelens").isEnabledFor(logging.INFO)


def test_the_summary_counts():
    tally = Tally()
    given = [
        TextScore(0, 0.5, "clean", 10, False),
        TextScore(1, 0.1, "undetermined", 300, True, reason="was cut"),
    ]
    assert list(map(tally.add, given)) == given
    assert tally.summary(1.23, "cuda:0", 256) == (
        "2 texts, 310 tokens, 1.2 s on cuda:0; 1 undetermined; 1 cut at 256 tokens"
    )


def test_columns_of_the_file_are_kept_on_request(score, tmp_path):
    (tmp_path / "a.csv").write_text("id,author,text\n007,=a,you fool\n08,b,sunny garden\n")
    found = records(score(tmp_path / "a.csv", "--keep", "id,author", "--json"))
    assert [(row["id"], row["author"]) for row in found] == [("007", "=a"), ("08", "b")]
    assert "text" not in found[0]
    score(tmp_path / "a.csv", "--keep", "text, id", "--explain", "-o", tmp_path / "out.csv")
    first, _ = csv.DictReader(io.StringIO((tmp_path / "out.csv").read_text()))
    assert [*first][:4] == ["row", "text", "id", "score"]
    assert (first["id"], first["text"]) == ("007", "you fool")
    assert re.search(r"(fool|you) \+\d\.\d", first["top_words"])
    found = records(
        score("-", "--keep", "text,id", "--json", input='{"text": "a", "id": 1}\n{"text": "b"}\n')
    )
    assert [(row["text"], row["id"]) for row in found] == [("a", 1), ("b", None)]
    assert records(score("--text", "a", "--keep", "text", "--json"))[0]["text"] == "a"


def test_columns_that_cannot_be_kept_are_refused_before_a_detector_is_loaded(run, tmp_path):
    (tmp_path / "a.csv").write_text("id,author,score,text\n1,b,c,d\n")

    def refused(*more, code):
        return run(
            "score", tmp_path / "a.csv", "-m", "owner/nowhere", "-o", tmp_path / "o.csv", *more, code=code
        ).stderr

    assert "it has 'id', 'author', 'score', 'text'. Did you mean 'author'?" in refused(
        "--keep", "auther", code=1
    )
    assert "column 'score' cannot be kept" in refused("--keep", "score", code=1)
    assert "--json" in run("score", tmp_path / "a.csv", "--keep", "id", code=2).stderr
    assert "no column 'id'" in run("score", "--text", "a", "--keep", "id", "--json", code=1).stderr


def test_lines_of_standard_input_are_rows_also_blank_ones(score):
    found = records(score("-", "--json", input="\n\nyou fool\r\n\n  \nlovely"))
    assert [record["row"] for record in found] == [0, 1, 2, 3, 4, 5]
    assert [record["verdict"] == "undetermined" for record in found] == [True, True, False, True, True, False]
    found = records(score("-", "--json", input='\n{"text": "you fool"}\n\n{"text": null}\n{"n": 1}\n'))
    assert [record.get("reason") for record in found] == [
        "is empty", None, "is empty", "is missing", "is missing"
    ]  # fmt: skip
    assert "is empty; give at least one text" in score("-", input="", code=1).stderr
    assert len(records(score("-", "--json", "--encoding", "utf-16", input="a\nb".encode("utf-16")))) == 2


def test_a_broken_line_of_a_pipe_is_undetermined_and_the_lines_around_it_are_scored(score):
    lines = [
        '{"text": "you", "id": 7}',
        "broken",
        '{"text": 3}',
        '{"text": "a", "text": "b"}',
        "[1]",
        "",
        "\x80",
    ]
    given = "\n".join([*lines, '{"text": "fool", "id": 9}']).encode("latin-1")
    found = records(score("-", "--json", "--keep", "id", input=given))
    assert [record["row"] for record in found] == [*range(8)]
    assert [record["id"] for record in found] == [7, *[None] * 6, 9]
    assert [record.get("reason") for record in found] == [
        None,
        "is not JSON, Expecting value at column 1; write one object a line",
        "was not read: 'text' is a number, where a string or null is read; quote it or choose another "
        "--column",
        "was not read: an object has the key 'text' twice; keep one of them",
        'was not read: a list, where an object is read; write {"text": ...}',
        "is empty",
        "is not UTF-8. Try --encoding cp1252",
        None,
    ]
    told = score("-", input=b"a\n\xe9\nfool\n")
    assert "[text is not UTF-8. Try --encoding cp1252]" in told.stdout.splitlines()[1]
    assert "; 1 undetermined" in told.stderr
    told = score("-", input=b"\n\xe9\nfool\n", code=1).stderr  # the first: probably the whole pipe
    assert told == "Error: stdin, line 2 is not UTF-8. Try --encoding cp1252\n"


def test_piped_json_without_the_column_is_not_scored_as_it_stands(run, tmp_path):
    line = '{"id": 7, "comment": "You fool"}\n'
    fix = "stdin: each line looks like JSON. Try --format jsonl --column comment, or --format txt"
    for more in ([], ["--keep", "id", "--json"], ["-o", tmp_path / "a.csv"], ["-c", "coment"]):
        assert fix in run("score", "-", *more, "-d", "toxicity-fast", input=line, code=1).stderr


def test_a_line_in_is_a_line_out_while_the_pipe_stays_open(real):
    process = real(
        "-", "--json", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    for row, line in enumerate(["you fool", "", "sunny garden"]):
        process.stdin.write(f"{line}\n")
        process.stdin.flush()
        assert json.loads(process.stdout.readline())["row"] == row
    shown, told = process.communicate()
    assert (process.returncode, shown) == (0, "")
    assert told.startswith("3 texts, ")


def test_a_text_that_is_no_file_is_pointed_to_its_option(run):
    for command in ("score", "extract", "evaluate", "train"):
        more = {"extract": ["-o", "a.parquet"], "train": ["-l", "x", "-o", "a-folder-that-is-not"]}.get(
            command, []
        )
        words = (
            ["toxicity-fast", "Have a nice day, said w/o a secret."]
            if command == "evaluate"
            else ["Have a nice day, said w/o a secret."]
        )
        more = ["-l", "x"] if command == "evaluate" else more
        told = run(command, *words, *more, code=1).stderr
        assert "To score one text, put --text before it; inspect takes it as it is" in told
        assert "secret" not in told


def test_texts_of_too_many_tokens_are_not_read_and_counted(score):
    long = "lovely garden " * 40
    result = score("--text", long, "--text", "you", "--json", "--max-text-tokens", 16)
    first, other = records(result)
    assert (first["verdict"], first["cut"], first["tokens"]) == ("undetermined", False, first["tokens"])
    assert first["reason"] == f"has {first['tokens']} tokens, more than the limit of 16"
    assert other["verdict"] != "undetermined"
    assert "; 1 undetermined (1 of more than 16 tokens)" in result.stderr


def test_ctrl_c_counts_the_rows_that_are_kept_and_the_next_run_those_it_takes_over(
    score, comments, tmp_path, monkeypatch
):
    from splinelens.features.reader import TextReader

    monkeypatch.setattr("splinelens.features.reader.CHUNK", 50)
    tokenize, calls, output = TextReader.tokenize, [], tmp_path / "a.csv"

    def stop(self, texts):
        calls.append(len(texts))
        if len(calls) in (1, 3):
            raise KeyboardInterrupt
        return tokenize(self, texts)

    monkeypatch.setattr(TextReader, "tokenize", stop)
    arguments = (comments, "-c", "comment", "-o", output)
    told = score(*arguments, code=130).stderr
    assert told == "Stopped. No row is kept yet; the same command starts from the first.\n"
    told = score(*arguments, code=130).stderr
    assert told == f"Stopped. 50 of 120 rows are kept in {output}.parts; run the same command to continue.\n"
    told = score(*arguments, "--threshold", 0.9, code=1).stderr
    assert re.search(r"threshold was 0\.\d{1,4} and is 0\.9\. Delete it", told)
    assert score(*arguments).stderr.startswith("120 texts (50 of them from the stopped run), ")
    assert calls == [50, 50, 50, 50, 20]


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet", "tsv"])
def test_records_are_written_to_a_file(score, tmp_path, ending):
    path = tmp_path / f"scores.{ending}"
    result = score("--text", "you fool", "--text", "", "--output", path, "--explain")
    assert result.stdout == ""
    assert f"wrote {path}" in result.stderr
    if ending in ("csv", "tsv"):
        delimiter = "," if ending == "csv" else "\t"
        rows = list(csv.DictReader(io.StringIO(path.read_text()), delimiter=delimiter))
    elif ending == "jsonl":
        rows = [json.loads(line) for line in path.read_text().splitlines()]
    else:
        import pyarrow.parquet as pq

        rows = pq.read_table(path).to_pylist()
    assert [row["verdict"] for row in rows][1] == "undetermined"
    assert len(rows) == 2


def test_an_output_that_cannot_be_written_is_refused_before_any_work(score, tmp_path):
    message = score("--text", "a", "-o", tmp_path / "a.xlsx", code=2).stderr
    assert "use one of .csv, .jsonl, .parquet" in message
    assert "there is no folder" in score("--text", "a", "-o", tmp_path / "no" / "a.csv", code=1).stderr


def test_failed_rows_are_retried_in_parquet_only(score, comments, tmp_path):
    for more in ([], ["-o", tmp_path / "a.csv"]):
        assert (
            "name a .parquet output of an earlier run"
            in score(comments, "--retry-failed", *more, code=2).stderr
        )


def test_exactly_one_source_is_wanted(score, comments):
    assert "give either a file" in score(code=2).stderr
    assert "give either a file" in score(comments, "--text", "a", code=2).stderr
    assert "--json or --output" in score("--text", "a", "--json", "-o", "a.csv", code=2).stderr


def test_an_unknown_detector_names_the_nearest(run, detector, monkeypatch):
    import splinelens.detect.shipped

    monkeypatch.setattr(splinelens.detect.shipped, "shipped", lambda: {"toxicity": detector})
    told = run("score", "--text", "a", "--detector", "toxcity", code=1).stderr
    assert told == "Error: no detector and no folder 'toxcity'; did you mean toxicity?\n"


def test_a_detector_for_another_model_is_refused(score, tiny_qwen2, tiny_tokenizer, tmp_path):
    tiny_qwen2.save_pretrained(tmp_path / "other")
    tiny_tokenizer.save_pretrained(tmp_path / "other")
    told = score("--text", "a", "--model", tmp_path / "other", code=1).stderr
    assert "detector tiny was fitted with another model" in told


def test_a_truncated_artifact_is_refused(score, detector):
    arrays = detector / "detector.safetensors"
    arrays.write_bytes(arrays.read_bytes()[:-10])
    assert "cut short" in score("--text", "a", code=1).stderr
    manifest = detector / "detector.json"
    manifest.write_text(manifest.read_text()[:-10])
    assert "not JSON, perhaps cut short" in score("--text", "a", code=1).stderr


def test_what_does_not_split_cannot_be_explained(run, comments, model_folder, tmp_path):
    options = ["--column", "comment", "--label", "toxic", "--model", model_folder, "-o", tmp_path / "seven"]
    run("train", comments, *options, "--features", "spline7", "--max-tokens", 64)
    error = run("score", "--text", "a", "--detector", tmp_path / "seven", "--explain", code=1).stderr
    assert "only max, min and last margins come from one token" in error
    run("score", "--text", "a", "--detector", tmp_path / "seven")


def test_broken_files_are_refused(score, tmp_path):
    (tmp_path / "empty.csv").touch()
    assert "is empty; give at least one text" in score(tmp_path / "empty.csv", code=1).stderr
    (tmp_path / "latin.csv").write_bytes("text\ncafé\n".encode("latin-1"))
    assert "Try --encoding cp1252" in score(tmp_path / "latin.csv", code=1).stderr
    assert score(tmp_path / "latin.csv", "--encoding", "latin-1").exit_code == 0
    (tmp_path / "a.csv").write_text("id,note\n1,hello\n")
    told = score(tmp_path / "a.csv", "--column", "text", code=1).stderr
    assert "has no column 'text'; it has 'id', 'note'. Try --column note" in told


def test_a_bug_is_not_swallowed(score, monkeypatch):
    from splinelens.features.reader import TextReader

    def fail(self, texts):
        raise RuntimeError("a bug")

    monkeypatch.setattr(TextReader, "tokenize", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        score("--text", "my secret")


def test_a_text_never_stands_in_an_error(real, tmp_path):
    (tmp_path / "bare.csv").write_text("my secret sentence is here,0\nanother secret sentence,1\n")
    for arguments in (
        ["bare.csv"],
        ["bare.csv", "--column", "text"],
        ["--text", "my secret", "--fpr", "0.3"],
    ):
        run = real(*arguments, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        shown, told = run.communicate()
        assert run.returncode == 1
        assert told.startswith("Error: ")
        assert "secret" not in shown + told


@pytest.fixture
def real(detector):
    """Starts the real command in a process of its own."""

    def real(*arguments, **options):
        environment = os.environ | {
            "PYTHONPATH": os.pathsep.join(sys.path),
            "OMP_NUM_THREADS": "1",
            "TERM": "xterm",
        }
        command = [
            sys.executable,
            "-m",
            "splinelens",
            "score",
            *map(str, arguments),
            "--detector",
            str(detector),
        ]
        return subprocess.Popen(command, env=environment, **options)

    return real


def test_a_reader_that_has_enough_is_no_error(real, tmp_path):
    (tmp_path / "many.txt").write_text("you fool\n" * 3000)
    process = real(tmp_path / "many.txt", "--json", stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    first = json.loads(process.stdout.readline())
    process.stdout.close()
    told = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 0, told
    assert first["row"] == 0
    assert told == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full here")
def test_a_full_disk_behind_stdout_is_an_error_of_ours(real):
    with open("/dev/full", "w") as full:
        process = real("--text", "you fool", "--json", stdout=full, stderr=subprocess.PIPE, text=True)
        told = process.communicate()[1]
    assert process.returncode == 1
    assert told == "Error: cannot write to standard output: No space left on device; free space\n"


def test_a_terminal_gets_a_coloured_table(real, tmp_path):
    import pty

    ours, theirs = pty.openpty()
    process = real(
        "--text", "you stupid fool", "--text", "lovely", stdout=theirs, stderr=subprocess.PIPE, text=True
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(ours, 4096):
            shown += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    told = process.communicate()[1]
    assert process.returncode == 0, told
    screen = shown.decode()
    assert re.search(r"verdict", screen)
    assert re.search(r"\x1b\[[\d;]*31m(toxic|stupid|fool|you)", screen)
    assert told.startswith("2 texts, ")


def test_semicolons_and_a_missing_header_are_read_as_told(run, detector, tmp_path):
    file = tmp_path / "comments.csv"
    file.write_bytes("id;text\n1;you lovely café\n2;\n".encode("cp1252"))
    shown = run("score", file, "-d", detector, code=1).stderr
    assert "is not utf-8. Try --encoding cp1252" in shown
    shown = run("score", file, "-d", detector, "--encoding", "cp1252", code=1).stderr
    assert "cells look separated by ';', not ','. Try --delimiter ';'" in shown
    options = ["--encoding", "cp1252", "--delimiter", ";"]
    lines = run("score", file, "-d", detector, *options, "--json").stdout.splitlines()
    assert [json.loads(line)["verdict"] for line in lines][1] == "undetermined"
    file.write_text("you lovely friend\nyou fool\n")
    shown = run("score", file, "-d", detector, code=1).stderr
    assert "may be a text. If it is, add --no-header" in shown
    assert len(run("score", file, "-d", detector, "--no-header", "--json").stdout.splitlines()) == 2


def test_a_label_is_not_explained_where_nothing_is(score):
    told = score("--text", "you", "--no-explain", "--explain-label", "toxic", code=2).stderr
    assert "give --explain-label or --no-explain, not both" in " ".join(told.replace("│", " ").split())


def test_a_column_of_numbers_is_not_scored_as_texts(score, comments):
    told = score(comments, "--column", "toxic", code=1).stderr
    assert "each text in column 'toxic' is a number, not words; name the column of the texts" in told


@pytest.mark.parametrize(("stream", "flushes"), [(True, 3), (False, 0)])
def test_lines_are_flushed_one_by_one_in_a_stream_only(score, tmp_path, monkeypatch, stream, flushes):
    flushed = []
    plain = builtins.print
    monkeypatch.setattr(builtins, "print", lambda *words, flush=False: flushed.append(flush) or plain(*words))
    (tmp_path / "a.txt").write_text("a\nb\nc\n")
    score("-" if stream else tmp_path / "a.txt", input="a\nb\nc\n")
    assert sum(flushed) == flushes


def test_a_prevalence_changes_scores_and_no_verdict(score, run):
    texts = ["--text", "you fool", "--text", "lovely garden", "--json"]
    plain, moved = score(*texts), score(*texts, "--prevalence", 0.02)
    for before, after in zip(records(plain), records(moved), strict=True):
        assert after["verdict"] == before["verdict"]
        assert after["score"] < before["score"]
    assert "probability where half of the texts are toxic" in plain.stderr
    assert "probability where 2 % of the texts are toxic" in moved.stderr
    for share in ("0", "1", "nan", "-1"):
        assert "is no share between 0 and 1" in score("--text", "a", "--prevalence", share, code=2).stderr
    several = run("score", "--text", "a", "--detector", "types", "--prevalence", "0.1", code=2)
    assert "has several labels" in several.stderr


def test_by_sentence_names_the_highest_one_and_its_limit(score, run, detector):
    text = "lovely garden. thanks, friend! you stupid fool. sunny day"
    (found,) = records(score("--text", text, "--by", "sentence", "--json"))
    place = found["highest_sentence"]
    assert text[place["begin"] : place["end"]] == "you stupid fool."
    shown = score("--text", text, "--by", "sentence")
    line = shown.stdout
    assert shown.stderr.endswith(" (higher for the parts of texts of several sentences)\n")
    assert re.search(r"\[sentence (\S+), limit (\S+): you stupid fool\.\]", line)
    assert list(place) == ["begin", "end", "score", "limit"]
    assert place["limit"] == Artifact.load(detector).sentence_limits(4)[1][0]
    assert score("-", "--by", "sentence", input=f"{text}\n").stdout == line
    assert "sentence" not in score("--text", "you fool", "--by", "sentence").stdout
    run("score", "--text", "a", "--detector", "domain", "--by", "sentence", code=2)
    score("--text", "a", "--by", "word", code=2)
