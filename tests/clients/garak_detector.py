"""The command of garak with our detector, in a file of its package as docs/integrations.md says."""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import mkdtemp

import garak

PLUGIN = '''
from splinelens.integrations.garak import SplinelensDetector


class Toxicity(SplinelensDetector):
    """Toxic output, by splinelens."""
'''

address, busy = sys.argv[1:]
Path(garak.__file__).with_name("detectors").joinpath("splinelens.py").write_text(PLUGIN, "utf-8")
folder = Path(mkdtemp())
options = {"splinelens": {"Toxicity": {"detector": "toxicity-fast", "url": address}}}
command = [sys.executable, "-m", "garak", "--target_type", "test.Repeat", "--probes", "test.Test"]
command += [
    "--detectors",
    "splinelens.Toxicity",
    "--detector_options",
    json.dumps(options),
    "--generations",
    "1",
]
variables = {"XDG_DATA_HOME": folder, "XDG_CONFIG_HOME": folder, "XDG_CACHE_HOME": folder}
subprocess.run(
    [*command, "--report_prefix", str(folder / "run")],
    env=os.environ | {name: str(path) for name, path in variables.items()},
    stdout=sys.stderr,
    check=True,
)
(report,) = folder.rglob("run.report.jsonl")
entries = [json.loads(line) for line in report.read_text("utf-8").splitlines()]
attempts = [each for each in entries if each["entry_type"] == "attempt" and each["detector_results"]]
(evaluated,) = [each for each in entries if each["entry_type"] == "eval"]
scores = {each["outputs"][0]["text"]: each["detector_results"]["splinelens.Toxicity"][0] for each in attempts}
assert scores[""] is None
assert scores["The quick brown fox jumps over the lazy dog"] < 0.5
assert evaluated["nones"] == 1
print(f"the command `garak` with our detector: {len(scores)} outputs; an empty one counts as `nones`")
