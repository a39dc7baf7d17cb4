"""Models of others: scripts of ``benchmarks/rivals``, each run in an environment of its own.

A script names its pinned dependencies in its header (PEP 723), reads texts as JSON lines on stdin and writes
one JSON value a line: a score, or a vector. The header may also hold, below ``[tool.rival]``, ``no-deps`` with
packages to install without their dependencies, and ``weights``, a pattern below the user's cache folder of a
file that must be there. Environments are made with venv and pip, which keeps pip's own settings.
"""

import hashlib
import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from splinelens.errors import SplinelensError
from splinelens.texts import Texts

SCRIPTS = Path(__file__).parents[1] / "rivals"
_HEADER = re.compile(r"^# /// script\n((?:#.*\n)+?)# ///$", re.MULTILINE)


class RivalFailed(SplinelensError):
    """A script of ``benchmarks/rivals`` cannot be installed or fails."""


class Rival:
    """A script with its environment and cached output.

    Args:
        script: The script.
        cache: Folder of environments and outputs. Those of another version of the script are not used.
        install: Whether pip may be run.
    """

    def __init__(self, script: Path, cache: Path, install: bool = True):
        self.script, self.install = script, install
        source = script.read_text("utf-8")
        self.header = _header(source)
        self.folder = cache / f"{script.stem}-{hashlib.sha256(source.encode()).hexdigest()[:12]}"
        self._problem: str | None = None
        self._checked = False

    def unavailable(self) -> str | None:
        """Why the script cannot run, or None; its environment is made here."""
        if not self._checked:
            self._problem, self._checked = self._prepare(), True
        return self._problem

    def outputs(self, name: str, texts: Texts) -> np.ndarray:
        """The output for a whole set, cached.

        Args:
            name: The set.
            texts: Its texts; a missing text is sent as an empty one.

        Returns:
            (text,) scores or (text, width) vectors.

        Raises:
            RivalFailed: The script fails or writes another number of lines.
        """
        path = self.folder / f"{name}-{texts.data_hash[:12]}.npy"
        if not path.exists():
            lines = "".join(json.dumps(text or "") + "\n" for text in texts.texts)
            run = subprocess.run(self._command(), input=lines, capture_output=True, text=True)
            values = [json.loads(line) for line in run.stdout.splitlines()]
            if run.returncode or len(values) != len(texts):
                raise RivalFailed(f"{self.script.name} failed: {_last_line(run.stderr)}")
            np.save(path, np.array(values, dtype=np.float32))
        return np.load(path)

    def latency_ms(self, texts: Sequence[str]) -> float:
        """Median milliseconds from sending one text to its output, after one that is not timed."""
        with subprocess.Popen(
            self._command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            seconds = []
            for text in [texts[0], *texts]:
                start = perf_counter()
                print(json.dumps(text), file=process.stdin, flush=True)
                process.stdout.readline()
                seconds.append(perf_counter() - start)
        return 1000 * median(seconds[1:])

    def _command(self) -> list[str]:
        # -P: the folder of scripts is not on the path, as some are named like the package that they import.
        return [str(self.folder / "env" / "bin" / "python"), "-P", str(self.script)]

    def _prepare(self) -> str | None:
        weights, done = self.header.get("weights"), self.folder / "installed"
        if weights and not any((Path.home() / ".cache").glob(weights)):
            return "its weights are not cached on this machine"
        if done.exists():
            return None
        if not self.install:
            return "not installed, and installing is switched off"
        self.folder.mkdir(parents=True, exist_ok=True)
        pip = [self._command()[0], "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        steps = [[sys.executable, "-m", "venv", "--clear", str(self.folder / "env")]]
        steps += [[*pip, *self.header["dependencies"]]] if self.header["dependencies"] else []
        steps += [[*pip, "--no-deps", *self.header["no-deps"]]] if "no-deps" in self.header else []
        for step in steps:
            run = subprocess.run(step, capture_output=True, text=True)
            if run.returncode:
                return f"cannot be installed: {_last_line(run.stderr)}"
        done.touch()
        return None


def rivals(cache: Path, install: bool = True) -> dict[str, Rival]:
    """All scripts of ``benchmarks/rivals``, by name."""
    return {path.stem: Rival(path, cache, install) for path in sorted(SCRIPTS.glob("*.py"))}


def _header(source: str) -> dict[str, Any]:  # Any: TOML values
    block = _HEADER.search(source)
    if block is None:
        raise RivalFailed("the script has no header `# /// script`; see PEP 723")
    record = tomllib.loads("\n".join(line[2:] for line in block[1].splitlines()))
    return {"dependencies": record.get("dependencies", []), **record.get("tool", {}).get("rival", {})}


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:160] if lines else "no message"
