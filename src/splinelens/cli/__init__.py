"""The command ``splinelens``, one file per command; each parses, calls one function and prints.

Results go to stdout, everything else to stderr. Heavy imports stand inside the commands.
"""

import logging
import os
import re
import sys
from collections.abc import Callable
from inspect import cleandoc
from typing import Annotated

import typer

from splinelens import __version__
from splinelens.cli import (
    adapt,
    audit,
    authorship,
    calibrate,
    code,
    detectors,
    distill,
    evaluate,
    explain,
    export,
    extract,
    generate,
    inspect,
    lineage,
    models,
    novelty,
    prune,
    roles,
    score,
    search,
    serve,
    status,
    train,
    truth,
)
from splinelens.cli.exits import AuditGroup, Command, exits

# Before PyTorch is imported: its threads wait in a loop that takes the core from other processes,
# and two at once did less together than one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

app = typer.Typer(
    name="splinelens",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they print the values of variables, and those are texts
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog='Example: splinelens score --text "Have a nice day." Each command has more: splinelens COMMAND '
    "--help. No text leaves this machine; a model is fetched once, when it is first needed. Exit codes: 0 "
    "done, 1 an error, 2 a wrong command line, 130 stopped by Ctrl-C.",
)
_models = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List the models; fetch or check one."
)
_detectors = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="List the shipped detectors; show a card."
)
_audit = typer.Typer(
    cls=AuditGroup,
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Audit a model with your requests, or watch its traffic. splinelens audit MODEL PROMPTS CONTEXTS "
    "is the command run, whose name may be left out.",
)
_prune = typer.Typer(
    no_args_is_help=True, rich_markup_mode=None, help="Remove weights or neurons of a model, and compare."
)
_truth = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Scores of truthfulness, beside what the words alone tell.",
)
_code = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Check code for what does not exist; find similar functions.",
)
_lineage = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="Is a model made from another one?")
_authorship = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Tell who wrote a text; play auditor and detective.",
)


def _version(requested: bool) -> None:
    if requested:
        typer.echo(f"splinelens {__version__}")
        raise typer.Exit


@app.callback()
def _splinelens(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Read where a text falls among the regions of a language model, and score texts with it."""


def _add(group: typer.Typer, name: str, command: Callable[..., None]) -> None:
    """Register a command with its exit codes, and keep its example lines separate."""
    page = re.sub(r"^(Examples?:)$", "\b\n\\1", cleandoc(command.__doc__ or ""), flags=re.M)
    group.command(name, cls=Command, help=page)(exits(command))


_add(app, "score", score.score)
_add(app, "extract", extract.extract)
_add(app, "train", train.train)
_add(app, "evaluate", evaluate.evaluate)
_add(app, "explain", explain.explain)
_add(app, "roles", roles.roles)
_add(app, "adapt", adapt.adapt)
_add(app, "calibrate", calibrate.calibrate)
_add(app, "distill", distill.distill)
_add(app, "export", export.export)
_add(app, "inspect", inspect.inspect)
_add(app, "generate", generate.generate)
_add(app, "search", search.search)
_add(app, "serve", serve.serve)
_add(app, "status", status.status)
_add(_prune, "plan", prune.plan)
_add(_prune, "apply", prune.apply)
_add(_prune, "neurons", prune.neurons)
_add(_prune, "evaluate", prune.evaluate)
_add(_truth, "fit", truth.fit)
_add(_truth, "score", truth.score)
_add(_truth, "evaluate", truth.evaluate)
_add(_code, "check", code.check)
_add(_code, "index", code.index)
_add(_code, "similar", code.similar)
_add(_code, "clusters", code.clusters)
_add(_lineage, "compare", lineage.compare)
_add(_lineage, "profile", lineage.profile)
_add(_authorship, "fit", authorship.fit)
_add(_authorship, "score", authorship.score)
_add(_authorship, "game", authorship.game)
_add(_models, "list", models.list_)
_add(_models, "pull", models.pull)
_add(_models, "check", models.check)
_add(_detectors, "list", detectors.list_)
_add(_detectors, "show", detectors.show)
_add(_audit, "run", audit.audit)
_add(_audit, "fit", novelty.fit)
_add(_audit, "watch", novelty.watch)
app.add_typer(_audit, name="audit")
app.add_typer(_prune, name="prune")
app.add_typer(_truth, name="truth")
app.add_typer(_code, name="code")
app.add_typer(_lineage, name="lineage")
app.add_typer(_authorship, name="authorship")
app.add_typer(_models, name="models")
app.add_typer(_detectors, name="detectors")


def main() -> None:
    """Run the command line with ``sys.argv`` and end the process with its exit code."""
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    for stream in (sys.stdout, sys.stderr):
        # A character that the terminal's encoding lacks is shown escaped and is no error.
        if stream is not None:  # it may be closed
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]  # a text file
    log = logging.getLogger("splinelens")
    log.addHandler(logging.StreamHandler())  # on stderr: that a model is being fetched
    log.setLevel(logging.INFO)  # ``--quiet`` raises it
    try:
        exits(app)(prog_name="splinelens")  # help and version are written outside a command
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):  # the reader closed stdout, which is no error
            sys.exit(0)
        raise
