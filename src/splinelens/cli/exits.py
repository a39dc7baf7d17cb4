"""How a command ends: 0 done, 1 an error of ours, 2 wrong usage, 130 stopped by Ctrl-C.

A bug is none of these: it shows its traceback.
"""

import errno
import os
import sys
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import typer

from splinelens.errors import SplinelensError

OURS, STOPPED = 1, 130
_FULL = (errno.ENOSPC, errno.EDQUOT)
_Options = ParamSpec("_Options")


def exits(command: Callable[_Options, None]) -> Callable[_Options, None]:
    """Give a command its exit codes; its signature, which typer reads, stays.

    Errors of ours become one line on stderr. A reader that closes our stdout early, such as ``head``,
    is no error.

    Args:
        command: The function of the command.

    Returns:
        The same command, which ends by ``typer.Exit`` where it would have raised.

    Example:
        >>> import typer
        >>> @exits
        ... def stop() -> None:
        ...     raise SplinelensError("nothing to do")
        >>> try:
        ...     stop()
        ... except typer.Exit as end:
        ...     end.exit_code
        1
    """

    @wraps(command)
    def run(*args: _Options.args, **kwargs: _Options.kwargs) -> None:
        try:
            command(*args, **kwargs)
            if sys.stdout is not None:  # it may be closed
                sys.stdout.flush()
        except SplinelensError as error:
            raise told(f"Error: {error}", OURS) from error
        except KeyboardInterrupt as error:
            raise told("Stopped.", STOPPED) from error
        except BrokenPipeError as error:
            _close_stdout()
            raise typer.Exit(0) from error
        except OSError as error:
            if error.errno not in _FULL:
                raise
            # Every file we write turns this into CannotWrite, so it was standard output.
            _close_stdout()
            raise told(
                f"Error: cannot write to standard output: {error.strerror}; free space", OURS
            ) from error

    return run


def told(message: str, code: int) -> typer.Exit:
    """Say a last line on stderr, and make the exit to raise.

    Args:
        message: The line.
        code: The exit code.

    Returns:
        The exit, not yet raised.
    """
    typer.echo(message, err=True)
    return typer.Exit(code)


def _close_stdout() -> None:
    """What is still buffered goes nowhere, else Python would fail once more when it ends."""
    try:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except (OSError, ValueError):  # a stdout without a file, as in tests
        return
