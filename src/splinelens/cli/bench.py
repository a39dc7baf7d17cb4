"""``splinelens bench``: the evaluation data in, one table of every rival and every control out."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from splinelens.cli import options

_OUTPUT = Path("bench")


def bench(
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Folder of the evaluation data.")],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the results.", metavar="DIR")
    ] = _OUTPUT,
    cache: Annotated[
        Path | None,
        typer.Option(
            "--cache",
            help="Folder of features and rivals. Default: cache in the results' folder.",
            metavar="DIR",
        ),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option("--only", help="Protocols to run, with commas. Default: all.", metavar="NAME,..."),
    ] = None,
    quick: Annotated[
        bool,
        typer.Option("--quick", help="Only cached features, fewer draws, at most 2,000 training rows."),
    ] = False,
    install: Annotated[
        bool,
        typer.Option("--install/--no-install", help="Fetch rivals with pip into the cache."),
    ] = True,
    model: options.Model = "smollm2-135m",
    dtype: options.Dtype = "float32",
    seed: options.Seed = 0,
    quiet: options.Quiet = False,
) -> None:
    """Measure everything on the same rows: the paper's protocol, controls, rivals and our detectors.

    Protocols: splits, domains, types, mixed, transfer, own, pairs, matched, layers, labels, left-out. Each
    prints its table when it is finished; DIR gets bench.json and bench.md. A run that was stopped goes on
    when the same command is given again, and tries again what could not be run. Without --quick the model
    reads every set twice, which takes hours on a processor; what it has read is kept in the cache.

    Example:
      splinelens bench data --quick --cache features -o results
    """
    from splinelens.texts.evaluation import read_evaluation

    chosen = options.names(only or "")
    if only is not None and not chosen:
        raise typer.BadParameter("it names no protocol", param_hint="--only")
    found = read_evaluation(data)

    from splinelens.apps.bench import run
    from splinelens.apps.detector import find_artifact, shipped
    from splinelens.models import load_model
    from splinelens.report import bench as report

    if unknown := [name for name in chosen if name not in run.PROTOCOLS]:
        raise typer.BadParameter(
            f"no protocol {', '.join(unknown)}; there are {', '.join(run.PROTOCOLS)}", param_hint="--only"
        )

    from rich.console import Console

    console = Console(width=None if sys.stdout.isatty() else 240, soft_wrap=False)

    told = options.teller(quiet)
    for name, place in found.missing.items():
        told(f"{name} is missing: no {place}")
    for name, why in found.damaged.items():
        told(f"{name} is left out: {why}")
    record = run.run(
        found,
        output,
        cache or output / "cache",
        model=load_model(model, dtype=dtype),
        quick=quick,
        only=chosen,
        install=install,
        artifacts={name: find_artifact(name) for name in shipped()},
        seed=seed,
        told=told,
        shown=lambda protocol, rows: console.print(
            report.table(f"{protocol.name}: {protocol.question}", rows)
        ),
    )
    told(f"{record['seconds']:,.0f} s; wrote {output / 'bench.json'} and {output / 'bench.md'}")
