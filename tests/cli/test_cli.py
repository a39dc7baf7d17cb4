"""Tests ``cli/__init__.py``: help pages and their examples, the version, exit codes, light loading."""

import os
import re
import shlex
import subprocess
import sys
from functools import cache

import pytest
from typer.testing import CliRunner

import splinelens
from splinelens.cli import app

COMMANDS = [
    [],
    ["score"],
    ["extract"],
    ["train"],
    ["evaluate"],
    ["explain"],
    ["roles"],
    ["adapt"],
    ["distill"],
    ["inspect"],
    ["search"],
    ["serve"],
    ["audit"],
    ["audit", "run"],
    ["audit", "fit"],
    ["audit", "watch"],
    ["code"],
    ["code", "check"],
    ["code", "index"],
    ["code", "similar"],
    ["code", "clusters"],
    ["prune"],
    ["prune", "plan"],
    ["prune", "apply"],
    ["prune", "neurons"],
    ["prune", "evaluate"],
    ["truth"],
    ["truth", "fit"],
    ["truth", "score"],
    ["truth", "evaluate"],
    ["lineage"],
    ["lineage", "compare"],
    ["lineage", "profile"],
    ["authorship"],
    ["authorship", "fit"],
    ["authorship", "score"],
    ["authorship", "game"],
    ["models"],
    ["models", "list"],
    ["models", "pull"],
    ["models", "check"],
    ["detectors"],
    ["detectors", "list"],
    ["detectors", "show"],
]
GROUPS = (
    [],
    ["audit"],
    ["code"],
    ["prune"],
    ["truth"],
    ["lineage"],
    ["authorship"],
    ["models"],
    ["detectors"],
)


@pytest.fixture(scope="module")
def help_page():
    """The help page of a command, as ``help_page("models", "list")``; each is written once."""
    return cache(lambda *command: CliRunner().invoke(app, [*command, "--help"]).stdout)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help_with_an_example(run, help_page, command):
    page = help_page(*command)
    assert "\b" not in page
    assert "\\b" not in page
    if command not in GROUPS[1:]:
        assert re.search(r"^ *Examples?:\s.*\bsplinelens ", page, re.M)
    assert run(*command, "-h").stdout == page


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_help_fits_80_columns_and_no_summary_is_cut(help_page, command):
    lines = help_page(*command).splitlines()
    assert max(map(len, lines)) <= 80
    assert not [line for line in lines if re.match(r"  [a-z]+ .*\.\.\.$", line)]


@pytest.mark.parametrize("command", [c for c in COMMANDS if c not in GROUPS], ids=" ".join)
def test_the_examples_of_a_help_page_name_options_that_exist(help_page, command):
    examples = re.findall(r"^    (?:.*\| )?splinelens (.*)$", help_page(*command), re.M)
    assert examples
    for example in examples:
        words = shlex.split(example)
        spoken = [word for word in command if word != "run"]  # the default of its group
        assert words[: len(spoken)] == spoken
        options = {word for word in words if word.startswith("-") and word != "-"}
        page = help_page(*command)
        assert all(
            re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", page.split("Options:")[1])
            for option in options
        )


def test_the_examples_of_score_run_on_a_tiny_model(run, detector, comments, monkeypatch, tmp_path):
    import splinelens.detect.shipped

    monkeypatch.setattr(splinelens.detect.shipped, "shipped", lambda: {"toxicity": detector})
    monkeypatch.chdir(tmp_path)
    (tmp_path / "comments.csv").write_bytes(comments.read_bytes())
    page = run("score", "--help").stdout
    for example in re.findall(r"^    (?:.*\| )?splinelens (.*)$", page, re.M):
        run(*shlex.split(example), input="you fool\n")
    assert (tmp_path / "scores.csv").is_file()


def test_the_version_is_told(run):
    assert run("--version").stdout == f"splinelens {splinelens.__version__}\n"


def test_wrong_usage_exits_2(run):
    assert "No such option" in run("score", "--colour", "red", code=2).stderr
    assert "No such command" in run("paint", code=2).stderr
    run("extract", code=2)


def test_help_is_light():
    heavy = "torch transformers sklearn pyarrow scipy numpy huggingface_hub".split()
    code = (
        "import sys; sys.argv = ['splinelens', 'score', '--help']\n"
        "from splinelens.cli import main\n"
        "try:\n    main()\n"
        f"finally:\n    print([name for name in {heavy} if name in sys.modules], file=sys.stderr)"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.returncode == 0
    assert done.stdout.startswith("Usage: splinelens score")
    assert done.stderr.strip() == "[]"


def test_an_error_of_ours_is_one_line_without_a_traceback():
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "splinelens", "score", "no-such-file.csv"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("Error: no file 'no-such-file.csv'")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.parametrize("arguments", [["--help"], ["score", "--help"], ["--version"]], ids=" ".join)
@pytest.mark.parametrize("unbuffered", ["", "1"], ids=["buffered", "unbuffered"])
def test_help_that_cannot_be_written_is_one_line_and_a_closed_reader_no_error(arguments, unbuffered):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONUNBUFFERED": unbuffered}
    command = [sys.executable, "-m", "splinelens", *arguments]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, env=environment)
    told = "Error: cannot write to standard output: No space left on device; free space\n"
    assert (done.returncode, done.stderr) == (1, told)
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, env=environment)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_threads_of_the_command_wait_without_taking_the_core_from_others():
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"
