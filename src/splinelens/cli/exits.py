"""Exit codes: 0 done, 1 an error of ours, 2 wrong usage, 130 stopped by Ctrl-C; usage errors in our words.

A bug shows its traceback instead.
"""

import errno
import os
import re
import sys
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any, ParamSpec

import typer
from typer.core import TyperCommand, TyperGroup

from splinelens.errors import CannotWrite, OutputExists, SplinelensError
from splinelens.files import parts_folder, rows_kept

if TYPE_CHECKING:
    from pydantic import ValidationError

OURS, USAGE, STOPPED = 1, 2, 130
_RAY_ADDRESS = re.compile(r"auto|local|[\w.-]+:\d+")
_FULL = (errno.ENOSPC, errno.EDQUOT)
_Options = ParamSpec("_Options")

_PACKAGES = {
    **{name: name for name in ("torch", "transformers", "accelerate", "scipy", "pyarrow", "jinja2")},
    "sklearn": "scikit-learn",
    "plotly": "plotly",
    "gguf": "gguf",
}
"""How pip calls what an installation without PyTorch may lack, by the name that is imported."""


def exits(command: Callable[_Options, None]) -> Callable[_Options, None]:
    """Wrap a command to end with ``typer.Exit`` where it raises; its signature stays, for typer.

    Our errors, and a file that the system refuses, become one line on stderr. A reader that
    closes stdout early, such as ``head``, is no error.
    """

    @wraps(command)
    def run(*args: _Options.args, **kwargs: _Options.kwargs) -> None:
        try:
            command(*args, **kwargs)
            if sys.stdout is not None:  # it may be closed
                sys.stdout.flush()
        except OutputExists as error:
            raise exit_with(f"Error: {_for_terminal(error)}", USAGE) from error
        except ModuleNotFoundError as error:
            package = (error.name or "").partition(".")[0]
            if package not in _PACKAGES:
                raise
            raise exit_with(
                f"Error: this needs {package}, which is not installed: pip install {_PACKAGES[package]}", OURS
            ) from error
        except SplinelensError as error:
            raise exit_with(f"Error: {_for_terminal(error)}", OURS) from error
        except KeyboardInterrupt as error:
            raise exit_with("Stopped.", STOPPED) from error
        except BrokenPipeError as error:
            _close_stdout()
            raise typer.Exit(0) from error
        except OSError as error:
            if error.filename is not None:  # a file that the user named or that the cache holds
                raise exit_with(
                    f"Error: cannot use {error.filename!r:.300}: {error.strerror}; name another file or "
                    "change its rights",
                    OURS,
                ) from error
            if error.errno not in _FULL:
                raise
            # Writers of files turn this into CannotWrite, so it was standard output.
            _close_stdout()
            raise exit_with(
                f"Error: cannot write to standard output: {error.strerror}; free space", OURS
            ) from error

    return run


class Command(TyperCommand):
    """A command that says in our words which value of an option is wrong and what is accepted.

    Newer versions of typer parse with pydantic and show pydantic's words, which leave the value out. No
    version has options whose value may be left out: ``--ray`` without an address is ``--ray=local``.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Any: the context of click or of typer
        """The words that are left after the options, as typer has it."""
        following = [*args[1:], ""]
        args = [
            "--ray=local" if word == "--ray" and not _RAY_ADDRESS.fullmatch(after) else word
            for word, after in zip(args, following, strict=False)  # no word, one empty one
        ]
        try:
            return super().parse_args(ctx, args)
        except typer.BadParameter as error:
            from pydantic import ValidationError

            if isinstance(error.__cause__, ValidationError):
                bounds = getattr(error.param, "min", None), getattr(error.param, "max", None)
                error.message = _refusal(error.__cause__, *bounds)
            raise


class AuditGroup(TyperGroup):
    """A group with a default command: arguments that begin with none of its commands are those of ``run``."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:  # Any: as above
        """As typer has it, with the name of the default command before its arguments."""
        known = {*self.commands, *ctx.help_option_names}
        if args and args[0] not in known:
            args = ["run", *args]
        return super().parse_args(ctx, args)


def _refusal(error: "ValidationError", least: float | None, most: float | None) -> str:
    """What is wrong with the value of an option: a choice, or a number and its limits."""
    first = error.errors()[0]
    if first["type"] == "value_error":  # "'word' is not one of 'text', 'sentence'."
        return str(first["ctx"]["error"]).removesuffix(".")
    integer = first["type"].startswith("int_") or any(
        type(limit) is int for limit in first.get("ctx", {}).values()
    )
    accepted = "whole number" if integer else "number"
    if least is not None:
        accepted += f" of {least:,} or more" if most is None else f" from {least:,} to {most:,}"
    return f"{first['input']!r:.100} is no {accepted}"


def _for_terminal(error: SplinelensError) -> str:
    """The message without its advice for Python, such as ``(in Python overwrite=True)``."""
    return re.sub(r" \((?:in Python|Python:) [^()]*\)", "", str(error))


def exit_with(message: str, code: int) -> typer.Exit:
    """Print a last line on stderr, without characters that steer a terminal, and return the exit to raise."""
    from splinelens.texts.plain_text import harmless

    typer.echo("\n".join(map(harmless, message.split("\n"))), err=True)
    return typer.Exit(code)


def stopped(output: Path, texts: int | None = None) -> typer.Exit:
    """The exit of a run that Ctrl-C stopped, after a line that counts its finished rows.

    Args:
        output: The file that the run was to write.
        texts: How many rows it will have; None if that is not known.
    """
    rows = rows_kept(output)
    if not rows:
        return exit_with("Stopped. No row is kept yet; the same command starts from the first.", STOPPED)
    count = f"{rows:,} rows" if texts is None else f"{rows:,} of {texts:,} rows"
    parts = parts_folder(output)
    return exit_with(f"Stopped. {count} are kept in {parts}; run the same command to continue.", STOPPED)


def require_stdout(instead: str) -> None:
    """Refuse a closed standard output, before any work, where results would be lost."""
    if sys.stdout is None:
        raise CannotWrite(f"cannot write to standard output: it is closed; open it{instead}")


def _close_stdout() -> None:
    """Discard what is still buffered, else Python fails again at exit."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # a stdout without a file, as in tests
        return
