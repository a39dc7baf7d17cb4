"""The command ``splinelens``: one file a command; each parses, calls one function and prints.

Results go to stdout, everything else to stderr. Nothing heavy is loaded before a command needs it.
"""

import logging
import os
import sys
from typing import Annotated

import typer

from splinelens import __version__
from splinelens.cli import detectors, evaluate, extract, models, score, train
from splinelens.cli.exits import exits

_SETTINGS = {"help_option_names": ["-h", "--help"]}

app = typer.Typer(
    name="splinelens",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print the values of variables, and those are texts
    rich_markup_mode=None,
    context_settings=_SETTINGS,
)
_models = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Which models are at hand; fetch or check one.")
_detectors = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Which detectors are shipped; show a card.")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"splinelens {__version__}")
        raise typer.Exit


@app.callback()
def _splinelens(
    version: Annotated[
        bool, typer.Option("--version", help="Say the version and end.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Read where a text falls among the regions of a language model, and score texts with it.

    \b
    Example:
      splinelens score --text "Have a nice day."
    """


for _command in (score.score, extract.extract, train.train, evaluate.evaluate):
    app.command()(exits(_command))
for _group, _name, _command in (
    (_models, "list", models.list_),
    (_models, "pull", models.pull),
    (_models, "check", models.check),
    (_detectors, "list", detectors.list_),
    (_detectors, "show", detectors.show),
):
    _group.command(_name)(exits(_command))
app.add_typer(_models, name="models")
app.add_typer(_detectors, name="detectors")


def main() -> None:
    """Run the command line with ``sys.argv`` and end the process with its exit code."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for stream in (sys.stdout, sys.stderr):
        # A text that the terminal's encoding lacks is shown escaped, never an error in the middle.
        stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # both are text files here
    told = logging.StreamHandler()  # on stderr: that a model is being fetched
    log = logging.getLogger("splinelens")
    log.addHandler(told)
    log.setLevel(logging.INFO)
    app(prog_name="splinelens")
