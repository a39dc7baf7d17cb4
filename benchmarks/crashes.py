"""Kill, fill and damage runs of ``extract`` and ``score``: python benchmarks/crashes.py [--kills 100].

A tiny random model and a detector fitted on it read different short texts. One process forks the runs, which
are killed at random moments and at every change of a file, or whose disk is full. A run is started again
until it ends; its output must then be that of a run that was left alone, row by row. Rework is what was read
beyond the texts, and a kill may cost one chunk of it. Prints one line a test, and ends with an error at the
first output that differs. The full disk needs the right to mount a file system.
"""

import argparse
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pyarrow.parquet as pq
from memory import fit_detector, write_texts

import splinelens
from splinelens.apps.detector import Detector
from splinelens.errors import CannotWrite, OutputExists
from splinelens.features.reader import CHUNK
from splinelens.files import check_output, parts_folder, rows_kept
from splinelens.models import load_model
from splinelens.texts import read_texts

TEXTS = 5 * CHUNK // 2
CHANGES = {"fsync", "link", "mkdir", "open", "replace", "rmdir", "truncate", "unlink", "write"}
REFUSED = 3
Run = Callable[..., object]


def runs(folder: Path) -> dict[str, Run]:
    """What is killed; each takes an output and reports the texts that it reads."""
    fit_detector(folder)
    write_texts(folder / "texts.csv", TEXTS)
    model = load_model(folder / "model")
    texts = read_texts(folder / "texts.csv", "text", ["label"])
    scores = Detector.load(folder / "detector", model=model).write_scores
    return {
        "extract": partial(splinelens.extract, texts, model, keep=["label"]),
        "score": partial(scores, texts, keep=["label"], explain=True),
        "score --by sentence": partial(scores, texts, by="sentence"),
    }


def start(run: Run, output: Path, change: int = 0) -> int:
    """A process that runs once; it is killed before the n-th change of a file."""
    pid = os.fork()
    if pid:
        return pid
    log = os.open(output.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    kept = [rows_kept(output)]
    left = iter(range(change - 1))

    def count(frame: object, event: str, function: object) -> None:
        where = frame.f_code.co_filename  # type: ignore[attr-defined]  # of a frame
        ours = where.endswith(("splinelens/files.py", "pathlib.py")) and event == "c_call"
        if ours and getattr(function, "__name__", "") in CHANGES and next(left, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)

    def report(texts: int, characters: int) -> None:
        os.write(log, b"%d\n" % (texts - (kept.pop() if kept else 0)))  # the first are taken over

    if change:
        sys.setprofile(count)
    try:
        check_output(output)
        run(output=output, progress=report)
    except OutputExists:
        os._exit(0)
    except CannotWrite:
        os._exit(REFUSED)
    os._exit(0)


def wait(pid: int) -> int:
    """The exit code of a process, negative of a killed one."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def finish(run: Run, output: Path, whole: Path) -> None:
    """Run to the end; the output is that of a run that was left alone, and nothing else is left."""
    code = wait(start(run, output))
    left = [path.name for path in output.parent.iterdir() if path != output and path.suffix != ".log"]
    if code or left or not pq.read_table(output).equals(pq.read_table(whole), check_metadata=True):
        raise SystemExit(f"{output}: exit {code}, beside it {left}, or its rows differ from those of {whole}")


def rework(output: Path) -> int:
    """Texts that were read more than once."""
    return sum(map(int, output.with_suffix(".log").read_text().split())) - TEXTS


def folders(folder: Path, name: str) -> Iterator[Path]:
    """Outputs in new folders."""
    for number in range(10**6):
        (folder / f"{name} {number}").mkdir(parents=True)
        yield folder / f"{name} {number}" / "out.parquet"


def random_kills(run: Run, outputs: Iterator[Path], whole: Path, seconds: float, kills: int) -> str:
    """Kill at random moments, each run again and again until one ends first."""
    rng, killed, most = random.Random(0), 0, 0.0
    while killed < kills:
        output, here = next(outputs), 0
        while killed + here < kills:
            pid = start(run, output)
            time.sleep(rng.uniform(0, seconds))
            os.kill(pid, signal.SIGKILL)
            if wait(pid) == 0:
                break
            here += 1
        finish(run, output, whole)
        killed += here
        most = max(most, rework(output) / max(1, here))
    return f"{killed} kills at random moments, rework at most {most / CHUNK:.2f} chunks a kill"


def every_change(run: Run, outputs: Iterator[Path], whole: Path) -> str:
    """Kill before the first change of a file, the second and so on."""
    most = 0
    for number, output in enumerate(outputs, 1):
        if wait(start(run, output, number)) == 0:
            return (
                f"{number - 1} kills, one at every change of a file, rework at most {most / CHUNK:.2f} chunks"
            )
        finish(run, output, whole)
        most = max(most, rework(output))
    raise AssertionError


def at_once(run: Run, outputs: Iterator[Path], whole: Path, rounds: int = 10) -> str:
    """Start two equal runs together."""
    refused = 0
    for _ in range(rounds):
        output = next(outputs)
        codes = [wait(pid) for pid in (start(run, output), start(run, output))]
        if 0 not in codes:
            raise SystemExit(f"{output}: two runs at once ended with {codes}")
        refused += codes.count(REFUSED)
        finish(run, output, whole)
    return f"{rounds} pairs of equal runs at once, {refused} of the second runs refused"


def damaged(run: Run, outputs: Iterator[Path], whole: Path) -> str:
    """Cut, flip and exchange the chunks of a run that was killed after its second one."""

    def cut(first: Path, second: Path) -> None:
        os.truncate(first, first.stat().st_size // 2)

    def flip(first: Path, second: Path) -> None:
        data = bytearray(first.read_bytes())
        data[len(data) // 2] ^= 1
        first.write_bytes(data)

    def swap(first: Path, second: Path) -> None:
        rows = first.read_bytes()
        second.replace(first)
        second.write_bytes(rows)

    for damage in (cut, flip, swap):
        output, number = next(outputs), 0
        while len(list(parts_folder(output).glob("*.arrow"))) < 2:
            number += 5
            wait(start(run, output, number))
        damage(*sorted(parts_folder(output).glob("*.arrow"))[:2])
        finish(run, output, whole)
    return "a chunk cut, one with a flipped bit, two exchanged"


def full_disk(run: Run, outputs: Iterator[Path], whole: Path) -> str:
    """Run on a file system that is full after a chunk or two, and again when it has room."""
    output, mounted = next(outputs), ["mount", "-t", "tmpfs", "-o"]
    if subprocess.run([*mounted, "size=100k", "tmpfs", output.parent], stderr=subprocess.DEVNULL).returncode:
        return "no full disk: this user may not mount one"
    try:
        code = wait(start(run, output))
        kept = rows_kept(output)
        if code != REFUSED:
            raise SystemExit(f"{output}: a full disk gives {code}")
        subprocess.run([*mounted, "remount,size=64m", "tmpfs", output.parent], check=True)
        finish(run, output, whole)
    finally:
        subprocess.run(["umount", output.parent], check=True)
    return f"a full disk, after {kept} rows"


def main() -> None:
    """Run every test on every command."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100, help="kills at random moments, of each command")
    kills = parser.parse_args().kills
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for command, run in runs(folder).items():
            outputs = folders(folder, command)
            whole = next(outputs)
            started = time.perf_counter()
            wait(start(run, whole))
            seconds = time.perf_counter() - started
            for test in (every_change, at_once, damaged, full_disk):
                print(f"{command}: {test(run, outputs, whole)}", flush=True)
            print(f"{command}: {random_kills(run, outputs, whole, seconds, kills)}", flush=True)


if __name__ == "__main__":
    main()
