"""Tests ``cli/inspect.py``: the lines, the page and the JSON of a text, and what is refused."""

import json
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

import splinelens
import splinelens.apps.inspection
import splinelens.models
import splinelens.report.page

TEXT = "you lovely friend"


@pytest.fixture
def asked(monkeypatch):
    """What the command asked the app for, which then fails with an error of ours."""
    from splinelens.errors import NoTokens

    calls = []

    def look(*arguments, **options):
        calls.append((arguments, options))
        raise NoTokens("the text has no token")

    monkeypatch.setattr(splinelens.apps.inspection, "inspect", look)
    return calls


def test_a_text_is_shown_line_by_line(run, model_folder):
    shown = run("inspect", TEXT, "--model", model_folder).stdout
    assert "text: " in shown
    assert "layer  sign mean" in shown
    assert "▁" in shown
    assert "\x1b" not in shown


def test_json_is_one_line_with_the_whole_record(run, model_folder):
    shown = run(
        "inspect", TEXT, "--model", model_folder, "--versus", "you fool", "--prefixes", "--json"
    ).stdout
    assert shown.count("\n") == 1
    record = json.loads(shown)
    assert [text["text"] for text in record["texts"]] == [TEXT, "you fool"]
    tokens = len(record["texts"][0]["spans"])
    assert len(record["texts"][0]["prefixes"][0]) == tokens
    assert len(record["text_distance"]) == len(record["layers"])


def test_a_page_is_written_and_stdout_stays_empty(run, model_folder, tmp_path):
    page = tmp_path / "page.html"
    told = run("inspect", TEXT, "--model", model_folder, "-o", page, "--layers", "0,2")
    assert told.stdout == ""
    assert told.stderr == f"wrote {page}\n"
    written = page.read_text("utf-8")
    assert written.startswith("<!DOCTYPE html>")
    assert "plotly.js v" in written
    assert "2 layers (0,2)" in written
    assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
    again = ("-o", page, "--overwrite", "--quiet")
    assert run("inspect", TEXT, "--model", model_folder, *again).stderr == ""


def test_options_reach_the_app(run, asked):
    options = [
        "--versus",
        "b",
        "--prefixes",
        "--layers",
        "0-2",
        "--model",
        "m",
        "--prompt",
        r"p:\n",
        "--eps",
        "0.2",
    ]
    options += ["--max-tokens", "9", "--slice", "2: 0, 3,-1"]
    options += ["--dtype", "bfloat16", "--device", "cpu", "--revision", "v1", "--trust-remote-code"]
    assert run("inspect", "a", *options, code=1).stderr == "Error: the text has no token\n"
    assert asked[0][1].pop("trust_remote_code") is True
    assert asked == [
        (
            ("a", "m"),
            {
                "versus": "b",
                "layers": (0, 1, 2),
                "prompt": "p:\n",
                "eps": 0.2,
                "max_tokens": 9,
                "prefixes": True,
                "slice_at": (2, (0, 3, -1)),
                "reference": None,
                "revision": "v1",
                "device": "cpu",
                "dtype": "bfloat16",
            },
        )
    ]


def test_code_of_a_model_is_not_run_unless_that_is_typed(run, asked):
    run("inspect", "a", code=1)
    assert asked[0][1]["trust_remote_code"] is False


@pytest.mark.parametrize(
    ("raw", "text"), [(b"a\nb\n", "a\nb"), (b"a\r\n", "a"), (b"\xef\xbb\xbfa", "a"), (b"a\n\n", "a\n")]
)
def test_a_text_comes_from_stdin_or_a_file_without_its_last_line_break(run, asked, tmp_path, raw, text):
    file = tmp_path / "text.txt"
    file.write_bytes(raw)
    run("inspect", "-", input=raw, code=1)
    run("inspect", "--file", "-", input=raw, code=1)
    run("inspect", "--file", file, code=1)
    assert [arguments[0] for arguments, _ in asked] == [text] * 3


@pytest.mark.parametrize("name", ["letter.txt", "no ending"])
def test_a_file_in_place_of_the_text_is_refused_with_the_option(run, asked, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_text("you are nice")
    shown = " ".join(run("inspect", name, code=2).stderr.replace("│", " ").split())
    assert f"{name!r} is a file, and the text itself is read here. Try --file {shlex.quote(name)};" in shown
    shown = " ".join(run("inspect", "a", "--versus", name, code=2).stderr.replace("│", " ").split())
    assert f'Try --versus "$(cat {shlex.quote(name)})"' in shown
    run("inspect", "-", input=name, code=1)
    run("inspect", "x" * 5000, code=1)
    assert [arguments[0] for arguments, _ in asked] == [name, "x" * 5000]


def test_a_file_of_another_encoding_is_read_with_it(run, asked, tmp_path):
    file = tmp_path / "letter.txt"
    for encoding in ("cp1252", "utf-16"):
        file.write_bytes("café\r\n".encode(encoding))
        run("inspect", "--file", file, "--encoding", encoding, code=1)
    assert [arguments[0] for arguments, _ in asked] == ["café"] * 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "give either a text"),
        (["a", "--file", "b"], "give either a text"),
        (["a", "--json", "-o", "a.html"], "give --json or --output"),
        (["a", "-o", "a.png"], "a.png does not end in .html"),
        (["a", "--slice", "0:1,2"], "is not LAYER:A,B,C"),
        (["a", "--slice", "-1:1,2,3"], "is not LAYER:A,B,C"),
        (["a", "--at", "3"], "is not LAYER:TOKEN, such as 5:3"),
        (["a", "--at", "3:-x"], "is not LAYER:TOKEN"),
        (["a", "--at", "3:1", "--layers", "0-3"], "it takes no --versus"),
        (["a", "--at", "3:1", "--versus", ""], "it takes no --versus"),
        (["a", "--layers", "x"], "no range of layers"),
        (["a", "--max-tokens", "0"], "--max-tokens"),
    ],
)
def test_wrong_usage_exits_2_before_anything_is_read(run, asked, arguments, words):
    shown = " ".join(run("inspect", *arguments, code=2).stderr.replace("│", " ").split())
    assert words in shown
    assert not asked


def test_our_errors_exit_1_and_say_what_to_do(run, asked, tmp_path, monkeypatch):
    latin = tmp_path / "latin.txt"
    latin.write_bytes(b"caf\xe9")
    assert (
        "byte 3 (0xe9) is not utf-8. Try --encoding cp1252" in run("inspect", "--file", latin, code=1).stderr
    )
    assert "no file 'none.txt' in" in run("inspect", "--file", tmp_path / "none.txt", code=1).stderr
    assert "is a directory; name one file" in run("inspect", "--file", tmp_path, code=1).stderr
    assert "there is no folder" in run("inspect", "a", "-o", tmp_path / "no" / "a.html", code=1).stderr
    monkeypatch.setitem(sys.modules, "plotly.offline", None)
    shown = run("inspect", "a", "-o", tmp_path / "a.html", code=1).stderr
    assert "pip install 'splinelens[plot]'" in shown
    assert "leave the page out" in shown
    assert not asked  # all before a model is loaded


def test_errors_of_the_app_exit_1(run, model_folder):
    for arguments in (
        ["", "--eps", "0.1"],
        [TEXT, "--eps", "1.5"],
        [TEXT, "--eps", "nan"],
        [TEXT, "--layers", "7"],
        [TEXT, "--max-tokens", 1],
    ):
        shown = run("inspect", *arguments, "--model", model_folder, code=1)
        assert shown.stdout == ""
        assert shown.stderr.startswith("Error: ")
        assert shown.stderr.count("\n") == 1


def test_one_token_at_one_layer_is_shown(run, model_folder):
    place = splinelens.look(TEXT, str(model_folder), layer=1, token=3)
    shown = run("inspect", TEXT, "--model", model_folder, "--at", "1:3").stdout
    assert f"layer 1, token 3 '{place.piece.replace(' ', '␣')}'" in shown
    assert place.region in shown
    assert f"neuron {place.nearest_wall}, at distance {place.boundary:.3g}" in shown
    assert len(re.findall(r"^ +\d+ +\d+ +\d+  \d", shown, re.MULTILINE)) == 4  # heads
    assert "\x1b" not in shown


def test_one_token_at_one_layer_as_json(run, model_folder):
    place = splinelens.look(TEXT, str(model_folder), layer=1, token=3, prompt="be", eps=0.3)
    options = ["--at", "1:3", "--json", "--prompt", "be", "--eps", 0.3]
    shown = run("inspect", TEXT, "--model", model_folder, *options).stdout
    assert shown.count("\n") == 1
    record = json.loads(shown)
    assert (record["schema"], record["layer"], record["token"], record["region"]) == (1, 1, 3, place.region)
    assert record["boundary"] == place.boundary
    assert [head["tokens"] for head in record["hull"]["heads"]] == [
        list(head.tokens) for head in place.hull.heads
    ]


def test_a_token_or_a_layer_that_is_not_there_exits_1(run, model_folder):
    for at, words in (("1:99", "token 99 does not exist"), ("7:0", "its layers are 0 to 2")):
        assert words in run("inspect", TEXT, "--model", model_folder, "--at", at, code=1).stderr


def test_the_number_type_reaches_the_model(run, model_folder):
    shown = [
        run("inspect", TEXT, "--model", model_folder, "--at", "1:3", "--json", "--dtype", dtype).stdout
        for dtype in ("float32", "float64", "bfloat16")
    ]
    narrow, wide, half = (json.loads(line)["boundary"] for line in shown)
    assert narrow == pytest.approx(wide, rel=1e-2)
    assert len({narrow, wide, half}) == 3


def test_region_names_are_part_of_the_json(run, model_folder):
    shown = run("inspect", TEXT, "--model", model_folder, "--layers", "1,2", "--json").stdout
    (text,) = json.loads(shown)["texts"]
    reading = splinelens.features.token_report.read_tokens(TEXT, str(model_folder))
    assert text["region_ids"] == [reading.region_ids(1), reading.region_ids(2)]


def test_a_page_that_cannot_be_written_leaves_everything_as_it_was(run, model_folder, tmp_path, monkeypatch):
    page = tmp_path / "page.html"
    for name in ("page.html.tmp", "page.html"):
        (tmp_path / name).write_text("mine")

    def full(self, *_options):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", full)
        told = run("inspect", TEXT, "--model", model_folder, "-o", page, "--overwrite", code=1)
    advice = "free space or choose another path"
    assert told.stderr == f"Error: cannot write {page}: No space left on device; {advice}\n"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == {
        "page.html.tmp": "mine",
        "page.html": "mine",
    }
    run("inspect", TEXT, "--model", model_folder, "-o", page, "--overwrite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "page.html.tmp"]
    assert (tmp_path / "page.html.tmp").read_text() == "mine"


def test_a_folder_is_no_page(run, asked, tmp_path):
    (tmp_path / "page.html").mkdir()
    told = run("inspect", "a", "-o", tmp_path / "page.html", code=2).stderr
    assert told.startswith(f"Error: cannot write {tmp_path / 'page.html'}: it is a folder; name a file")
    assert not asked


@pytest.mark.parametrize(
    ("arguments", "closed", "words"),
    [
        ("inspect -", "<&-", "Error: stdin is closed; name a file or send texts to stdin"),
        ("inspect a", ">&-", "Error: cannot write to standard output: it is closed; open it, or name a page"),
        (
            "score -t a --json",
            ">&-",
            "Error: cannot write to standard output: it is closed; open it, or name",
        ),
        (
            "score -t a",
            ">&-",
            "Error: cannot write to standard output: it is closed; open it, or name a file",
        ),
        ("evaluate toxicity a.csv", ">&-", "Error: cannot write to standard output: it is closed; open it"),
    ],
)
def test_a_closed_stream_is_an_error_of_ours(arguments, closed, words):
    command = shlex.join([sys.executable, "-m", "splinelens", *arguments.split()])
    ended = subprocess.run(f"{command} {closed}", shell=True, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    assert ended.stderr.startswith(words)
    assert ended.stderr.count("\n") == 1


def test_a_terminal_gets_colors(run, model_folder, monkeypatch):
    import io

    from splinelens.models import load_model
    from splinelens.report.inspection_terminal import inspection_view
    from splinelens.report.terminal import print_view

    class Screen(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys, "stdout", Screen())
    found = splinelens.apps.inspection.inspect(TEXT, load_model(str(model_folder)))
    print_view(lambda width: inspection_view(found, width))
    assert "\x1b[1m" in sys.stdout.getvalue()


def test_the_first_examples_of_the_help_page_run(run, model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    examples = re.findall(r"^    splinelens (.*)$", run("inspect", "--help").stdout, re.M)
    assert len(examples) == 3
    for example in examples:
        run(*shlex.split(example), "--model", model_folder)
    assert (tmp_path / "page.html").is_file()
