"""Tests that runs which are killed at any moment go on to the result of one that was not.

One process forks the runs that are killed: a Python and its imports for each would take minutes.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

CHUNKS, ROWS = 3, 3
_RUN = f"""
import json, os, random, shutil, signal, sys, time
from pathlib import Path
import pyarrow as pa
from splinelens.errors import OutputExists
from splinelens.files import RowStore, check_output

def work(folder, pause):
    check_output(folder / "out.csv")
    computed = os.open(folder.with_suffix(".log"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    with RowStore.beside(folder / "out.csv", {{"of": "rows"}}) as store:
        for start in range(store.rows, {CHUNKS * ROWS}, {ROWS}):
            os.write(computed, b"%d " % start)
            time.sleep(pause)
            store.append(pa.table({{"row": range(start, start + {ROWS})}}))
        with store.finish(folder / "out.csv", overwrite=False) as temporary:
            temporary.write_text(str(store.read()["row"].to_pylist()))

def child(folder, pause=0.0, events=None):
    pid = os.fork()
    if pid:
        return pid
    if events:
        left = iter(range(events - 1))
        def count(event, arguments):
            changes = event in ("open", "os.mkdir", "os.rename", "os.link", "os.remove", "os.rmdir")
            if changes and str(folder) in str(arguments) and next(left, None) is None:
                os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(count)
    try:
        work(folder, pause)
    except OutputExists:
        pass
    os._exit(0)

def wait(pid):
    return os.waitpid(pid, 0)[1]

def result(folder, kills):
    assert wait(child(folder)) == 0
    return {{
        "files": sorted(os.listdir(folder)),
        "rows": (folder / "out.csv").read_text(),
        "computed": len(folder.with_suffix(".log").read_text().split()),
        "kills": kills,
    }}

for whole in ("imports", "whole"):
    started = time.monotonic()
    (Path(sys.argv[1]) / whole).mkdir()
    work(Path(sys.argv[1]) / whole, 0.01)
    duration = time.monotonic() - started
base, how = Path(sys.argv[1]), sys.argv[2]
results, kills = [], 0
for number in range(1, 1000):
    folder = base / str(number)
    folder.mkdir()
    before = kills
    if how == "events":  # at the first change of a file, the second ...
        if wait(child(folder, events=number)) == 0:
            break
        kills += 1
    else:
        rng = random.Random(number)
        while True:
            pid = child(folder, pause=0.01)
            time.sleep(rng.uniform(0, duration))
            os.kill(pid, signal.SIGKILL)
            if wait(pid) == 0:
                break
            kills += 1
    results.append(result(folder, kills - before))
    if how == "times" and kills >= 30:
        break
print(json.dumps(results))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="needs fork and SIGKILL")
@pytest.mark.parametrize("how", ["events", "times"])
def test_a_run_that_is_killed_before_a_file_changes_or_at_random_loses_a_checkpoint_at_most(tmp_path, how):
    command = [sys.executable, "-c", _RUN, tmp_path, how]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    results = json.loads(run.stdout)
    assert sum(result["kills"] for result in results) >= 30
    for result in results:
        assert result["files"] == ["out.csv"]
        assert result["rows"] == str(list(range(CHUNKS * ROWS)))
        assert result["computed"] <= CHUNKS + result["kills"]


_START = """
import sys, time
from pathlib import Path
import pyarrow as pa
from splinelens.files import RowStore
print("ready", flush=True)
sys.stdin.readline()
with RowStore.beside(Path(sys.argv[1]), {"model": sys.argv[2]}) as store:
    store.append(pa.table({"row": [0]}))
    print("writing", flush=True)
    sys.stdin.readline()
    with store.finish(Path(sys.argv[1])) as temporary:
        temporary.write_text("done")
print("wrote")
"""


@pytest.mark.parametrize("models", [("one", "one"), ("one", "two")])
def test_of_two_runs_that_start_at_once_one_writes_and_the_other_is_refused(tmp_path, models):
    output = tmp_path / "out.csv"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    runs = [subprocess.Popen([sys.executable, "-c", _START, output, model], **pipes) for model in models]
    for run in runs:
        assert run.stdout.readline() == "ready\n"
    for run in runs:
        run.stdin.write("\n")
        run.stdin.flush()
    answers = [run.stdout.readline() for run in runs]  # the one that is refused prints nothing
    assert sorted(answers) == ["", "writing\n"]
    told = [run.communicate("\n") for run in runs]
    assert sorted(stdout for stdout, _ in told) == ["", "wrote\n"]
    refused = told[answers.index("")][1]
    assert f"CannotWrite: another run is writing to {output}.parts; wait for it to end" in refused
    assert [path.name for path in Path(tmp_path).iterdir()] == ["out.csv"]
