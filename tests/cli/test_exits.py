"""Tests ``cli/exits.py``: which end of a command gives which code, and what it says."""

import errno

import pytest
import typer
from typer.testing import CliRunner

from splinelens.cli.exits import exits
from splinelens.errors import BadTexts


def end(error):
    """Run a command that raises, as typer does."""
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    @exits
    def fail(name: str = "x") -> None:
        print("first")
        if error is not None:
            raise error

    return CliRunner().invoke(app, ["--name", "y"])


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (None, 0, ""),
        (BadTexts("a.csv is empty; give a text"), 1, "Error: a.csv is empty; give a text\n"),
        (
            BadTexts("it exists; pass --overwrite (in Python overwrite=True)"),
            1,
            "Error: it exists; pass --overwrite\n",
        ),
        (BadTexts("say --positive V (Python: positive=V)"), 1, "Error: say --positive V\n"),
        (KeyboardInterrupt(), 130, "Stopped.\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 0, ""),
        (OSError(errno.ENOSPC, "No space left on device"), 1, "Error: cannot write to standard output: "),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "n"),
            1,
            "Error: cannot use 'n': File name too long; name another file or change its rights\n",
        ),
        (typer.Exit(3), 3, ""),
    ],
    ids=lambda value: type(value).__name__,
)
def test_each_end_has_its_code_and_its_words(error, code, told):
    result = end(error)
    assert result.exit_code == code
    assert result.stderr.startswith(told) if told else result.stderr == ""
    assert result.stdout == "first\n"


@pytest.mark.parametrize("bug", [ZeroDivisionError("a bug"), OSError(errno.EACCES, "a bug")])
def test_a_bug_is_not_swallowed(bug):
    assert end(bug).exception is bug


def test_a_message_does_not_steer_the_terminal():
    assert end(BadTexts("\x1b[31mred\x07\nnext line")).stderr == "Error: ␛[31mred␇\nnext line\n"
