"""Tests detection/rivals.py: scripts run in their environment, their output is cached, failures say why."""

import re
import sys

import numpy as np
import pytest
from detection import rivals
from detection.rivals import Rival, RivalFailed

from splinelens.texts import Texts

TEXTS = Texts(("one", "three words here", None), {}, "list")
HEADER = "# /// script\n# dependencies = []\n# ///\n"
LOOP = "import json, sys\nfor line in sys.stdin:\n    text = json.loads(line)\n    print({}, flush=True)\n"


@pytest.fixture
def rival(tmp_path):
    """A rival whose environment is the running Python's."""

    def rival(value, header=HEADER):
        (tmp_path / "theirs.py").write_text(header + LOOP.format(value))
        rival = Rival(tmp_path / "theirs.py", tmp_path / "cache", install=False)
        (rival.folder / "env/bin").mkdir(parents=True)
        (rival.folder / "env/bin/python").symlink_to(sys.executable)
        (rival.folder / "installed").touch()
        return rival

    return rival


def test_a_script_writes_one_score_or_vector_a_line_which_is_cached(rival):
    theirs = rival("len(text) / 100")
    assert theirs.unavailable() is None
    assert theirs.outputs("jig", TEXTS) == pytest.approx([0.03, 0.16, 0.0])
    assert theirs.latency_ms(["one", "two"]) >= 0
    (theirs.folder / "env/bin/python").unlink()
    assert theirs.outputs("jig", TEXTS) == pytest.approx([0.03, 0.16, 0.0])
    assert rival("[len(text), 1]").outputs("jig", TEXTS).shape == (3, 2)  # another script, another folder


def test_a_script_that_fails_says_its_last_line(rival):
    with pytest.raises(RivalFailed, match=r"theirs.py failed: ZeroDivisionError"):
        rival("1 / len(text)").outputs("jig", TEXTS)


def test_a_script_that_cannot_run_says_why(rival, tmp_path):
    theirs = rival("0")
    (theirs.folder / "installed").unlink()
    assert Rival(theirs.script, tmp_path / "cache", install=False).unavailable().endswith("switched off")
    weights = HEADER.replace("[]\n", '[]\n# [tool.rival]\n# weights = "no/such-file"\n')
    assert rival("0", weights).unavailable() == "its weights are not cached on this machine"
    with pytest.raises(RivalFailed, match="no header"):
        rival("0", "")


@pytest.mark.parametrize("name", rivals.rivals(rivals.SCRIPTS))
def test_every_script_compiles_and_pins_its_packages(name):
    rival = rivals.rivals(rivals.SCRIPTS)[name]
    compile(rival.script.read_text("utf-8"), name, "exec")
    packages = rival.header["dependencies"] + rival.header.get("no-deps", [])
    assert packages
    assert all(re.fullmatch(r"[\w-]+==[\d.]+", package) for package in packages)
    assert np.isin(list(rival.header), ["dependencies", "no-deps", "weights"]).all()
