"""One table of every rival, every control and the shipped detectors on the same rows: make bench-detectors.

    python benchmarks/bench_detectors.py --data DIR --cache CACHE -o results
    python benchmarks/bench_detectors.py --data DIR --cache CACHE --quick --only transfer pairs

benchmarks/README.md says what each protocol measures. Writes rows.jsonl and bench.md. A stopped run continues
when the same command is given again. Without ``--quick`` the model reads every set twice, which takes hours
on a CPU; the features are kept in CACHE.
"""

import argparse
import sys
from pathlib import Path

from detection.data import read_evaluation
from detection.run import PROTOCOLS, run
from detection.table import terminal_table

from splinelens.apps.detector import Detector
from splinelens.detect.shipped import shipped
from splinelens.errors import SplinelensError
from splinelens.models import load_model


def main() -> None:
    from rich.console import Console

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="folder of the evaluation data")
    parser.add_argument("--cache", type=Path, help="folder of features and rivals; default: OUTPUT/cache")
    parser.add_argument("--output", "-o", type=Path, default=Path("bench"), help="folder of the results")
    parser.add_argument("--only", nargs="+", choices=PROTOCOLS, default=(), metavar="PROTOCOL")
    parser.add_argument("--quick", action="store_true", help="only cached features, fewer samples and rows")
    parser.add_argument("--no-install", action="store_true", help="fetch no rival with pip")
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--dtype", default="float32")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    data = read_evaluation(args.data)
    for name, path in data.missing.items():
        report(f"{name} is missing: no {path}")
    console = Console(width=None if sys.stdout.isatty() else 240)
    run(
        data,
        args.output,
        args.cache or args.output / "cache",
        model=load_model(args.model, dtype=args.dtype),
        detectors={name: Detector.load(name, long="cut") for name in shipped()},
        quick=args.quick,
        only=args.only,
        install=not args.no_install,
        seed=args.seed,
        report=report,
        show=lambda protocol, rows: console.print(
            terminal_table(f"{protocol.name}: {protocol.question}", rows)
        ),
    )
    report(f"wrote {args.output / 'rows.jsonl'} and {args.output / 'bench.md'}")


def report(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    try:
        main()
    except SplinelensError as error:
        sys.exit(f"bench_detectors: {error}")
