"""Machines, hours, storage and cost of a number of texts, computed from measured rates and sizes.

    python benchmarks/sizing.py --data DIR                   # measure the bytes of a row again
    python benchmarks/sizing.py [--texts N] [--hours H] [--price P] [--timings FILE]

The rate is that of ``many`` in a record of ``timings.py``: one process on a whole machine. Bytes are those that a row
adds to a Parquet file, so that what a file has once does not count. With the defaults the table is the one of
docs/scale.md, which is written again.
"""

import argparse
import json
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent / "docs" / "scale.md"
STORAGE = HERE / "storage.json"
BEGIN, END = "<!-- table of benchmarks/sizing.py -->\n", "<!-- end of the table -->\n"
TEXTS, HOURS, PRICE = 10**9, 24.0, 0.05


def measure(data: Path, rows: tuple[int, int] = (100, 300)) -> dict[str, Any]:  # Any: plain JSON values
    """Bytes that a row adds to the tables of ``score`` and ``extract``, from files of two sizes."""
    import numpy as np
    from timings import jigsaw, machine

    from splinelens import Detector, extract

    texts, _ = jigsaw(data)
    chosen = [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[: rows[1]]]
    detector = Detector.load("toxicity-fast")
    with TemporaryDirectory() as folder:
        files = {
            what: [Path(folder) / f"{what}{count}.parquet" for count in rows] for what in ("score", "extract")
        }
        for count, scores, features in zip(rows, files["score"], files["extract"], strict=True):
            detector.write_scores(chosen[:count], scores)
            extract(chosen[:count], output=features)
        added = {what: [file.stat().st_size for file in both] for what, both in files.items()}
    per_row = {what: (large - small) / (rows[1] - rows[0]) for what, (small, large) in added.items()}
    return {"machine": machine(), "rows": rows, "bytes_per_row": per_row}


def table(
    timings: dict[str, Any],  # Any: plain JSON values
    storage: dict[str, Any],  # Any: as above
    texts: int = TEXTS,
    hours: float = HOURS,
    price: float = PRICE,
) -> str:
    """Markdown: a row for each way to run the detector.

    Args:
        timings: A record of ``timings.py``.
        storage: A record of ``measure``.
        texts: How many.
        hours: In which they are to be done.
        price: Of a processor (vCPU) for an hour.
    """
    processors = int(timings["machine"]["processor"].split()[0])
    lines = [
        f"| `toxicity-fast` | texts/s, {processors} vCPUs | machine hours | machines for {hours:g} hours | cost | "
        "per million texts |",
        "|---|---|---|---|---|---|",
    ]
    for name, seconds in timings["many"]["seconds"].items():
        detector, _, engine = name.partition(", ")
        if detector != "toxicity-fast" or engine == "code before":
            continue
        rate = timings["many"]["texts"] / median(seconds)
        needed = texts / rate / 3600
        cost = needed * processors * price
        lines.append(
            f"| {engine} | {rate:.1f} | {needed:,.0f} | {needed / hours:,.0f} | ${cost:,.0f} | "
            f"${cost / texts * 1e6:.2f} |"
        )
    lines += ["", "| table | bytes a row | GB in all |", "|---|---|---|"]
    for what, size in storage["bytes_per_row"].items():
        lines.append(f"| `{what}` | {size:,.0f} | {size * texts / 1e9:,.0f} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the evaluation data: measure the sizes")
    parser.add_argument("--timings", type=Path, default=HERE / "timings.json")
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--hours", type=float, default=HOURS)
    parser.add_argument("--price", type=float, default=PRICE, help="of a vCPU for an hour")
    arguments = parser.parse_args()
    if arguments.data:
        STORAGE.write_text(json.dumps(measure(arguments.data), indent=1) + "\n", "utf-8")
    records = [json.loads(path.read_text("utf-8")) for path in (arguments.timings, STORAGE)]
    computed = table(*records, arguments.texts, arguments.hours, arguments.price)
    print(computed, end="")
    defaults = HERE / "timings.json", TEXTS, HOURS, PRICE
    if (arguments.timings, arguments.texts, arguments.hours, arguments.price) == defaults:
        before, _, rest = PAGE.read_text("utf-8").partition(BEGIN)
        PAGE.write_text(f"{before}{BEGIN}{computed}{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
