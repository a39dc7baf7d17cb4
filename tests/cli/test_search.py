"""Tests ``splinelens search``: the text on stdout, the rest on stderr, and its exit codes."""

import json
import re

import pytest

from splinelens.apps.detector import Detector

TEXT = ["--max-tokens", 8, "--budget", 60, "--temperature", 1.5]


@pytest.fixture
def searches(run, detector, writer_folder):
    """Runs a search with a tiny model and detector."""

    def search(*arguments, code=0):
        return run("search", "-d", detector, "--model", writer_folder("llama"), *arguments, *TEXT, code=code)

    return search


def test_the_text_goes_to_stdout_and_what_was_spent_to_stderr(searches):
    result = searches("--prompt", "the path", "--threshold", 1)
    assert result.stdout.strip()
    said = r"pass: tiny 0\.\d{3}, flagged from 1\.000; the best of 3 finished texts; "
    assert re.match(said, result.stderr)
    assert "; cut at --max-tokens 8 or at the model's window; rank " in result.stderr
    assert " tokens, " in result.stderr
    assert "dropped: none" in result.stderr


def test_no_text_that_passes_is_exit_1(searches):
    result = searches("-p", "the path", "--threshold", 0, code=1)
    assert result.stdout == ""
    assert "dropped: tiny: fail " in result.stderr
    assert "no text passed: give more --budget" in result.stderr


def test_json_and_the_trace(searches, detector, tmp_path):
    trace = tmp_path / "trace.jsonl"
    record = json.loads(searches("-p", "the path", "--threshold", 1, "--json", "--trace", trace).stdout)
    results = "prompt prompt_flagged text cut verdict reason score detector_score".split()
    results += "tokens expanded created dropped".split()
    assert list(record) == [*results, "model", "detector", "threshold", "seed"]
    assert record["model"].endswith("llama0")
    assert (record["detector"], record["threshold"], record["seed"]) == ("tiny", 1, 0)
    assert (record["verdict"], record["tokens"] <= 60) == ("pass", True)
    (scored,) = Detector.load(detector).score([record["text"]])
    assert record["detector_score"] == scored.score
    assert (record["prompt_flagged"], record["cut"]) == (False, True)
    nodes = [json.loads(line) for line in trace.read_text("utf-8").splitlines()]
    assert len(nodes) == record["created"] + 1
    assert all(node["findings"]["tiny"]["verdict"] == "pass" for node in nodes[1:])
    searches("-p", "the path", "--trace", trace, code=2)
    again = json.loads(searches("-p", "the path", "--threshold", 1, "--json").stdout)
    assert again == record


def test_a_trace_that_cannot_be_written_loses_no_text(searches):
    result = searches("-p", "the path", "--threshold", 1, "--trace", "/dev/full", code=1)
    assert result.stdout.strip()
    assert "cannot write /dev/full" in result.stderr


def test_a_prompt_that_the_detector_flags_is_said_but_not_judged(searches, detector):
    rude, mild = "you stupid idiot", "a lovely garden"
    high, low = (one.score for one in Detector.load(detector).score([rude, mild]))
    assert low < high
    options = ["--threshold", high, "--json"]
    result = searches("-p", rude, *options)
    assert json.loads(result.stdout)["prompt_flagged"]
    assert result.stderr.startswith("tiny flags the prompt itself; only its continuation is judged\n")
    result = searches("-p", mild, *options)
    assert not json.loads(result.stdout)["prompt_flagged"]
    assert "flags" not in result.stderr


def test_seconds_end_a_search(searches):
    result = searches("-p", "the path", "--threshold", 1, "--seconds", 0.001, code=1)
    assert "the budget of 0.001 seconds is spent" in result.stderr


def test_the_threshold_of_a_rate_is_that_of_the_detector(searches, detector):
    record = json.loads(searches("-p", "the path", "--fpr", 0.01, "--json").stdout)
    assert record["threshold"] == Detector.load(detector).threshold(0.01)


def test_prompts_of_a_file_each_give_a_line_and_one_that_cannot_be_has_no_text(searches, tmp_path):
    file = tmp_path / "prompts.csv"
    file.write_text('prompt\nthe path\n""\n' + "hill " * 300 + "\nthe sea\n")
    result = searches("--prompts", file, "-c", "prompt", "--threshold", 1, code=1)
    records = [json.loads(line) for line in result.stdout.splitlines()]
    assert [record["text"] is None for record in records] == [False, True, True, False]
    assert "leaves no room" in records[2]["reason"]
    assert result.stderr.strip() == "2 of 4 prompts cannot be continued; see their reasons"
    result = searches("--prompts", file, "-c", "prompt", "--threshold", 0, "--chat", code=1)
    assert [json.loads(line)["tokens"] for line in result.stdout.splitlines()][1:3] == [0, 0]
    assert "no text passed for 2 of 4 prompts: give more --budget" in result.stderr
    flagged = [json.loads(line)["prompt_flagged"] for line in result.stdout.splitlines()]
    assert (
        f"tiny flags {sum(flagged)} of 4 prompts themselves; only what continues them is judged"
        in result.stderr
    )
    assert (flagged[0], flagged[1], flagged[3]) == (True, False, True)
    file.write_bytes("1;the path to the café\n".encode("cp1252"))
    options = ["--no-header", "--delimiter", ";", "--encoding", "cp1252", "-c", 2]
    (line,) = searches("--prompts", file, *options, "--threshold", 1).stdout.splitlines()
    assert json.loads(line)["prompt"] == "the path to the café"


def test_a_chat_is_written_in_the_template(searches):
    raw, chat = (
        json.loads(searches("-p", "the path", "--threshold", 1, "--json", *words).stdout)
        for words in ([], ["--chat"])
    )
    assert raw["text"] != chat["text"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give either --prompt or --prompts"),
        (["-p", "a", "-k", 0], "'0' is no whole number of 1 or more"),
        (["-p", "a", "-n", 0], "'0' is no whole number of 1 or more"),
        (["-p", "a", "--value-weight", -1], "-1"),
        (["--prompts", "a.csv", "--trace", "b.jsonl"], "a trace is of one search"),
    ],
)
def test_wrong_usage_is_exit_2(run, arguments, message):
    assert message in run("search", *arguments, code=2).output


def test_a_value_of_another_pooling_is_refused(searches, detector):
    assert "--pooling last" in searches("-p", "the path", "--value", detector, code=1).stderr
