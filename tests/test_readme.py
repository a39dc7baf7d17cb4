"""Tests ``README.md``: its Python blocks and its ``$ splinelens`` lines run, in order, as they stand.

A block is left out only where the line before it reads ``<!-- not run: REASON -->``.
"""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
from typer.testing import CliRunner

from splinelens.cli import app

REPOSITORY = Path(__file__).resolve().parents[1]
FENCE = re.compile(
    r"(?:^<!-- not run: (?P<reason>\S[^\n]*?) -->\n)?^```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.M | re.S
)


@pytest.fixture(scope="module")
def readme():
    return (REPOSITORY / "README.md").read_text("utf-8")


@pytest.fixture
def elsewhere(tmp_path):
    """An empty folder with nothing of the repository but ``examples``, as a reader has it beside him."""
    if (REPOSITORY / "examples").is_dir():
        (tmp_path / "examples").symlink_to(REPOSITORY / "examples")
    return tmp_path


def test_python_blocks_of_the_readme_run(readme, elsewhere, default_model, monkeypatch):
    monkeypatch.chdir(elsewhere)
    blocks = _blocks(readme, "python")
    assert blocks, "README.md shows no Python"
    exec(compile("\n".join(blocks), "README.md", "exec"), {})


def test_commands_of_the_readme_run(readme, elsewhere, default_model, monkeypatch):
    monkeypatch.chdir(elsewhere)
    commands = [line for block in _blocks(readme, "console") for line in _commands(block)]
    assert commands, "README.md shows no command"
    for command in commands:
        code, _, stderr = _shell(command)
        assert code == 0, f"$ {command}\n{stderr}"


def test_make_verbs_of_the_readme_exist(readme):
    verbs = set(re.findall(r"^\$? ?make ([a-z]+)", readme, re.M)) | set(
        re.findall(r"`make ([a-z]+)`", readme)
    )
    targets = set(re.findall(r"^([a-z]+):", (REPOSITORY / "Makefile").read_text("utf-8"), re.M))
    assert {"demo", "test"} <= verbs, "README.md does not name make demo and make test"
    assert verbs <= targets, f"no such verb: {sorted(verbs - targets)}"


def test_links_of_the_readme_lead_somewhere(readme):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", readme)
    missing = [link for link in links if "://" not in link and not (REPOSITORY / link).exists()]
    assert not missing, f"README.md links to {missing}"


def test_blocks_are_found_and_left_out_only_with_a_reason():
    text = (
        "```python\na = 1\n```\n\n<!-- not run: minutes -->\n```python\nb = 2\n```\n"
        "<!-- not run: -->\n```python\nc = 3\n```\n```console\n$ splinelens x\n```\n"
    )
    assert _blocks(text, "python") == ["a = 1\n", "c = 3\n"]
    assert _blocks(text, "console") == ["$ splinelens x\n"]


def test_commands_are_taken_whole_and_without_their_output():
    block = (
        "$ make demo\n$ splinelens score --text 'a b' \\\n    --json | head -1\n0.03  Hello\n"
        "$ echo 'a' | splinelens score -\n"
    )
    assert _commands(block) == [
        "splinelens score --text 'a b'  --json | head -1",
        "echo 'a' | splinelens score -",
    ]


def test_a_failing_command_of_a_pipe_is_noticed_and_the_others_see_its_output():
    assert _shell("echo a | splinelens no-such-command | head -1")[0] == 2
    assert _shell("splinelens --version | no-such-program")[0] == 127
    assert _shell("splinelens --version | cut -c1-6")[:2] == (0, "spline\n")


def _blocks(text, kind):
    return [found["body"] for found in FENCE.finditer(text) if found["kind"] == kind and not found["reason"]]


def _commands(block):
    """The shell lines of a console block that call splinelens; ``make`` and ``pip`` are not for tests."""
    whole = re.sub(r"\\\n\s*", " ", block)
    lines = [line[2:].strip() for line in whole.splitlines() if line.startswith("$ ")]
    return [line for line in lines if re.search(r"(?:^|\| )splinelens\b", line)]


def _shell(command):
    """Exit code, stdout and stderr of the first program of a pipe that fails, else of the last.

    splinelens runs in this process: a new one would import its modules again, most of a command's time.
    """
    stdout = None
    for program in command.split(" | "):
        words = shlex.split(program)
        if words[0] == "splinelens":
            run = CliRunner().invoke(app, words[1:], input=stdout)
            code, stdout, stderr = run.exit_code, run.stdout, run.stderr
        else:
            run = subprocess.run(["bash", "-c", program], input=stdout, capture_output=True, text=True)
            code, stdout, stderr = run.returncode, run.stdout, run.stderr
        if code:
            break
    return code, stdout, stderr


def test_no_placeholder_is_left(readme):
    words = re.sub(r"`[^`]*`", "", readme)
    assert not re.findall(r"\b[A-Z]{3,}_[A-Z]{3,}\b", words)
