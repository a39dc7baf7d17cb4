"""Speed of every engine beside the code before, and beside a BERT: paired timings, as JSON and a table.

    git worktree add ../before COMMIT
    python benchmarks/timings.py --data DIR [--before ../before/src] [--only one many ...] [--detectors NAME ...] -o timings.json

Each contender runs in a process of its own, which waits while another works; they take turns, so that a machine that
slows down slows all of them, and ratios are those of one turn. ``one`` is a comment of 30 tokens, warm (each turn
begins with calls that are not timed), from text to verdict, and the forward pass alone of a bert-base with random
weights on 30 tokens; ``many`` Jigsaw test comments of any length, BERT in batches without padding of equal length;
``two`` some of the comments by two processes at once, with ``OMP_WAIT_POLICY=PASSIVE`` as the command sets it; ``extract`` the seven features of every layer into a file, beside
the bare forward pass of the same batches; ``cold`` the command in a new process; ``auc`` the test rows with each
engine. Median and 10th to 90th percentile.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TextIO

import numpy as np

HERE = Path(__file__).resolve().parents[1]
SENTENCE = (
    "The museum opens at nine on weekdays, and if you come early there is hardly anybody in front of the old "
    "maps and globes upstairs."
)
"""30 tokens of the default model."""
STAGES = ("one", "many", "two", "extract", "cold", "auc")


@dataclass(eq=False)
class Contender:
    """A process that times the requests that it receives.

    Attributes:
        name: For the table.
        options: Of ``work``: detector, engine, dtype.
        source: Of the code.
        environment: More variables of the environment.
    """

    name: str
    options: dict[str, Any]  # Any: plain JSON values
    source: Path = HERE / "src"
    environment: dict[str, str] = field(default_factory=dict)
    process: "subprocess.Popen[str] | None" = field(default=None, repr=False)

    def ask(self, **request: Any) -> Any:  # Any: plain JSON values
        """Send a request and wait for the answer."""
        if self.process is None:
            environment = {**os.environ, "PYTHONPATH": str(self.source), "HF_HUB_OFFLINE": "1"}
            environment |= self.environment
            command = [sys.executable, __file__, "--worker", json.dumps(self.options)]
            self.process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        self.send(request)
        return self.receive()

    def send(self, request: dict[str, Any]) -> None:  # Any: plain JSON values
        """Send a request."""
        assert self.process is not None
        assert self.process.stdin is not None
        print(json.dumps(request), file=self.process.stdin, flush=True)

    def receive(self) -> Any:  # Any: plain JSON values
        """Wait for the answer."""
        assert self.process is not None
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.name} stopped")
        return json.loads(line)

    def close(self) -> None:
        """End the process."""
        if self.process is not None:
            assert self.process.stdin is not None
            self.process.stdin.close()
            self.process.wait()
            self.process = None


def work(options: dict[str, Any], requests: TextIO, answers: TextIO) -> None:  # Any: plain JSON values
    """Time what is asked for: the seconds of each call, or scores."""
    detector = None
    if options["detector"] == "bert":
        run = bert(options["dtype"])
    elif options["detector"] in ("extract", "pass"):
        run = reading(options["detector"])
    else:
        from splinelens import Detector

        load = {name: value for name, value in options.items() if name != "detector" and value is not None}
        detector = Detector.load(options["detector"], **load)
        run = detector.score
    for line in requests:
        request = json.loads(line)
        if request["what"] == "scores":
            assert detector is not None
            records = detector.score(request["texts"])
            answer: Any = [record.score for record in records]  # Any: plain JSON values
        else:
            for _ in range(request["warm"]):
                run(request["texts"])
            began = time.perf_counter()
            for _ in range(request["times"]):
                run(request["texts"])
            answer = (time.perf_counter() - began) / request["times"]
        print(json.dumps(answer), file=answers, flush=True)


def bert(dtype: str) -> Callable[[Sequence[str]], None]:
    """A forward pass of a bert-base with random weights; of 30 tokens, or of 4 characters a token."""
    import torch
    from transformers import BertConfig, BertModel

    model = BertModel(BertConfig()).eval().to(getattr(torch, dtype))

    def run(texts: Sequence[str]) -> None:
        lengths = sorted(30 if text == SENTENCE else min(512, max(1, len(text) // 4)) for text in texts)
        with torch.no_grad():
            while lengths:
                rows = [length for length in lengths if length == lengths[-1]][: max(1, 4096 // lengths[-1])]
                del lengths[-len(rows) :]
                model(torch.ones(len(rows), rows[-1], dtype=torch.long))

    return run


def reading(what: str) -> Callable[[Sequence[str]], None]:
    """Extraction of the seven features into a file, or the bare forward pass of the same batches."""
    import torch

    from splinelens import extract, load_model
    from splinelens.engines.torch import run_tokens
    from splinelens.tokens import batches, tokenize

    loaded = load_model("smollm2-135m")

    def bare(texts: Sequence[str]) -> None:
        for batch in batches(tokenize(texts, loaded.tokenizer, max_tokens=512), max_tokens=512):
            run_tokens(loaded.model, torch.from_numpy(batch.ids), torch.from_numpy(batch.positions))

    def whole(texts: Sequence[str]) -> None:
        with TemporaryDirectory() as folder:
            extract(texts, loaded, output=Path(folder) / "table.parquet")

    return whole if what == "extract" else bare


def padding(texts: Sequence[str]) -> float:
    """Share of the tokens of a detector's batches that are padding."""
    from splinelens import Detector

    reader = Detector.load("toxicity-fast", engine="compiled").reader
    read = run = 0
    for start in range(0, len(texts), reader.chunk):
        for batch in reader.batches(reader.tokenize(texts[start : start + reader.chunk])):
            read, run = read + int(batch.mask.sum()), run + batch.mask.size
    return 1 - read / run


def precisions() -> list[str]:
    """Number types of the compiled engine that this processor has."""
    from splinelens.engines.compiled import PRECISIONS, check_precision
    from splinelens.errors import BadFeatures

    known = []
    for name in PRECISIONS:
        with suppress(BadFeatures):
            known.append(str(check_precision(name)))
    return known


def contenders(names: Sequence[str], before: Path | None) -> dict[str, list[Contender]]:
    """Those of each detector, its own code before first; then BERT."""
    lists = {}
    for name in names:
        own = [
            Contender(f"{name}, {engine} {dtype}", {"detector": name, "engine": engine, "dtype": dtype})
            for engine, dtype in (("torch", "float32"), *(("compiled", dtype) for dtype in precisions()))
        ]
        if before is not None:
            own.insert(0, Contender(f"{name}, code before", {"detector": name}, before))
        lists[name] = own
    lists["bert"] = [
        Contender(f"bert-base forward pass, {dtype}", {"detector": "bert", "dtype": dtype})
        for dtype in ("float32", "bfloat16")
    ]
    return lists


def turns(
    who: Sequence[Contender], texts: Sequence[str], count: int, times: int = 1, warm: int = 0
) -> dict[str, list[float]]:
    """Seconds of each turn of each contender; two turns before warm up, and calls at the start of each."""
    seconds: dict[str, list[float]] = {one.name: [] for one in who}
    for turn in range(count + 2):
        for one in who if turn % 2 else reversed(who):
            taken = one.ask(what="time", texts=list(texts), times=times, warm=warm)
            if turn >= 2:
                seconds[one.name].append(taken)
    return seconds


def spread(values: Sequence[float]) -> dict[str, float]:
    """Median, 10th and 90th percentile."""
    low, middle, high = np.quantile(values, [0.1, 0.5, 0.9]).tolist()
    return {"median": middle, "low": low, "high": high}


def ratios(seconds: dict[str, list[float]]) -> dict[str, dict[str, dict[str, float]]]:
    """Of each contender to each other: its seconds divided by theirs, turn by turn."""
    return {
        one: {
            other: spread(np.array(seconds[one]) / np.array(seconds[other]))
            for other in seconds
            if other != one
        }
        for one in seconds
    }


def jigsaw(folder: Path) -> tuple[list[str], list[int]]:
    """Texts and labels of the test rows."""
    import csv

    csv.field_size_limit(10**7)
    file = folder / "jigsaw-test-binary-12k/jigsaw_test_balanced.csv"
    with file.open(newline="", encoding="utf-8") as lines:
        rows = [row for row in csv.DictReader(lines) if row["split"] == "test" and row["comment_text"]]
    return [row["comment_text"] for row in rows], [int(row["toxic"]) for row in rows]


def two_at_once(make: Callable[[], Contender], texts: Sequence[str], count: int) -> list[float]:
    """Texts a second of two processes together, divided by that of one."""
    first, second = make(), make()
    request = {"what": "time", "texts": list(texts), "times": 1, "warm": 0}
    for one in (first, second):
        one.ask(**request)
    results = []
    for _ in range(count):
        single = first.ask(**request)
        began = time.perf_counter()
        for one in (first, second):
            one.send(request)
        for one in (first, second):
            one.receive()
        results.append(2 * single / (time.perf_counter() - began))
    for one in (first, second):
        one.close()
    return results


def cold(count: int, python: str | None) -> dict[str, Any]:  # Any: plain JSON values
    """Seconds and peak memory of the command in a new process, with each engine and with exported folders.

    Args:
        count: Runs of each, after one that is not timed.
        python: Of an environment without PyTorch, for the exported folders; its size is recorded.
    """
    results: dict[str, Any] = {}  # Any: plain JSON values
    slim = sys.executable if python is None else python
    if python is not None:
        prefix = subprocess.run(
            [python, "-c", "import sys; print(sys.prefix)"], capture_output=True, text=True, check=True
        )
        files = [
            file
            for file in Path(prefix.stdout.strip()).rglob("*")
            if file.is_file() and not file.is_symlink()
        ]
        results["environment_mb"] = sum(file.stat().st_blocks * 512 for file in files) / 1e6
    with TemporaryDirectory() as folder:
        base = [sys.executable, "-m", "splinelens"]
        environment = {**os.environ, "PYTHONPATH": str(HERE / "src"), "HF_HUB_OFFLINE": "1"}
        exported = [Path(folder) / dtype for dtype in precisions()]
        for path in exported:
            export = [*base, "export", "toxicity-fast", "-o", path, "--dtype", path.name, "-q"]
            subprocess.run(export, check=True, env=environment)
        for name, detector, engine, interpreter in (
            *((f"exported, {path.name}", path, "auto", slim) for path in exported),
            ("compiled engine, graph cached", "toxicity-fast", "compiled", sys.executable),
            ("torch", "toxicity-fast", "torch", sys.executable),
        ):
            command = [
                interpreter,
                "-m",
                "splinelens",
                "score",
                "--detector",
                str(detector),
                "--text",
                "Have a nice day.",
                "--json",
            ]
            seconds, peaks = [], []
            for run in range(count + 1):
                began = time.perf_counter()
                process = subprocess.Popen(
                    command,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env={**environment, "SPLINELENS_ENGINE": engine},
                )
                _, status, usage = os.wait4(process.pid, 0)
                if status:
                    raise SystemExit(f"{' '.join(command)} failed")
                if run:
                    seconds.append(time.perf_counter() - began)
                    peaks.append(usage.ru_maxrss / 1024)
            results[name] = {"seconds": spread(seconds), "peak_mb": spread(peaks)}
    return results


def auc(
    lists: dict[str, list[Contender]], texts: Sequence[str], labels: Sequence[int]
) -> dict[str, Any]:  # Any: JSON
    """AUC of each engine on the test rows, and how far its scores are from those of torch in float32."""
    from sklearn.metrics import roc_auc_score

    results = {}
    for name in [name for name in lists if name != "bert"]:
        reference = None
        for one in [one for one in lists[name] if "before" not in one.name]:
            scores = np.array(one.ask(what="scores", texts=list(texts)), dtype=float)
            one.close()
            known = np.isfinite(scores)
            row = {
                "auc": float(roc_auc_score(np.array(labels)[known], scores[known])),
                "rows": int(known.sum()),
            }
            if reference is None:
                reference = scores
            else:
                gap = np.abs(scores - reference)[known]
                row |= {"median_difference": float(np.median(gap)), "largest_difference": float(gap.max())}
            results[one.name] = row
            print(one.name, row, flush=True)
    return results


def machine() -> dict[str, Any]:  # Any: plain JSON values
    """What the numbers depend on."""
    cpus = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":")[1].strip() for line in cpus if line.startswith("model name")]
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=HERE, check=False
    )
    return {
        "processor": f"{len(names)} x {names[0]}" if names else platform.processor(),
        "versions": {name: version(name) for name in ("splinelens", "torch", "transformers", "openvino")},
        "commit": commit.stdout.strip(),
    }


def lines(record: dict[str, Any]) -> list[str]:  # Any: plain JSON values
    """The record as tables."""
    about = record["machine"]
    versions = ", ".join(f"{name} {number}" for name, number in about["versions"].items())
    shown = [f"{about['processor']}; {versions}; commit {about['commit']}.", ""]
    for what, unit in (("one", "ms"), ("many", "texts/s")):
        if what not in record:
            continue
        part = record[what]
        bases = [name for name in part["seconds"] if "before" in name or "bert" in name]
        head = [what, unit, *(f"time / {name}" for name in bases)]
        shown += ["| " + " | ".join(head) + " |", "|---" * len(head) + "|"]
        for name, seconds in part["seconds"].items():
            middle = spread(seconds)
            value = 1000 * middle["median"] if what == "one" else part["texts"] / middle["median"]
            cells = [
                "1"
                if base == name
                else "{median:.3f} ({low:.3f} to {high:.3f})".format(**part["ratios"][name][base])
                for base in bases
            ]
            shown.append("| " + " | ".join([name, f"{value:.3g}", *cells]) + " |")
        shown.append("")
    if "many" in record:
        shown.append(f"- many, share of padding with all test comments: {record['many']['padding']:.3f}")
    if "extract" in record:
        share = record["extract"]["ratios"]["pass"]["extract"]
        shown.append(f"- extract, tokens/s / those of the bare pass: {json.dumps(share)}")
    for what in ("two", "cold", "auc"):
        for name, row in record.get(what, {}).items():
            shown.append(f"- {what}, {name}: {json.dumps(row)}")
    return shown


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="folder of the evaluation data")
    parser.add_argument("--before", type=Path, help="src of a checkout to compare with")
    parser.add_argument("--only", nargs="+", choices=STAGES, default=STAGES)
    parser.add_argument("--texts", type=int, default=2000, help="comments of many")
    parser.add_argument("--detectors", nargs="+", default=["toxicity-fast", "toxicity"])
    parser.add_argument("--python", help="interpreter of an environment without PyTorch, for cold")
    parser.add_argument("--turns", type=int, default=10)
    parser.add_argument("-o", "--output", type=Path, default=Path("timings.json"))
    parser.add_argument("--worker", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.worker:
        work(json.loads(arguments.worker), sys.stdin, sys.stdout)
        return
    arguments.output.parent.mkdir(parents=True, exist_ok=True)
    lists, record = contenders(arguments.detectors, arguments.before), {"machine": machine()}
    texts, labels = jigsaw(arguments.data) if arguments.data else ([], [])
    chosen = [texts[row] for row in np.random.default_rng(0).permutation(len(texts))[: arguments.texts]]
    everyone = [one for own in lists.values() for one in own]

    def keep() -> None:
        arguments.output.write_text(json.dumps(record, indent=1) + "\n", "utf-8")

    if "one" in arguments.only:
        seconds = turns(everyone, [SENTENCE], max(20, arguments.turns), times=10, warm=5)
        record["one"] = {"seconds": seconds, "ratios": ratios(seconds)}
        keep()
    if "many" in arguments.only:
        seconds = turns(everyone, chosen, arguments.turns)
        record["many"] = {"texts": len(chosen), "seconds": seconds, "ratios": ratios(seconds)}
        record["many"]["padding"] = padding(texts)
        keep()
    for one in everyone:
        one.close()
    if "two" in arguments.only:
        passive = {"OMP_WAIT_POLICY": "PASSIVE"}
        record["two"] = {
            one.name: spread(
                two_at_once(
                    lambda one=one: Contender(
                        one.name, one.options, one.source, {} if "before" in one.name else passive
                    ),
                    chosen[:60],
                    arguments.turns,
                )
            )
            for one in lists[arguments.detectors[0]]
        }
        keep()
    if "extract" in arguments.only:
        both = [Contender(name, {"detector": name}) for name in ("pass", "extract")]
        seconds = turns(both, chosen[:40], arguments.turns)
        record["extract"] = {"texts": 40, "seconds": seconds, "ratios": ratios(seconds)}
        for one in both:
            one.close()
        keep()
    if "cold" in arguments.only:
        record["cold"] = cold(arguments.turns, arguments.python)
        keep()
    if "auc" in arguments.only:
        record["auc"] = auc(lists, texts, labels)
    keep()
    print("\n".join(lines(record)))


if __name__ == "__main__":
    main()
