"""A sample of ``hostile.py``: what is hostile ends in one error of ours, and executes nothing."""

import os
import socket
import sys
import warnings

import jaxtyping
import pytest

from .conftest import build_tiny, build_tokenizer
from .hostile import KINDS, make_case, make_sound, run_case

CASES = {"arguments": 12, "detectors": 16, "models": 16, "ggufs": 8}


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    return make_sound(folder, build_tiny, build_tokenizer(), ["llama", "gpt2", "gemma3", "mixtral"])


@pytest.mark.parametrize("kind", KINDS)
def test_hostile_inputs_end_in_one_error_and_execute_nothing(kind, sound, tmp_path, monkeypatch):
    def no_network(*arguments):
        raise AssertionError("the network was tried")

    jaxtyping.config.update("jaxtyping_disable", True)
    monkeypatch.setattr(socket.socket, "connect", no_network)
    monkeypatch.setattr(sys, "excepthook", sys.excepthook)  # typer sets another
    failed = {}
    for index in range(CASES[kind]):
        (tmp_path / str(index)).mkdir()
        monkeypatch.chdir(tmp_path / str(index))
        case = make_case(kind, sound, 0, index)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of libraries; RuntimeWarning stays an error
            _, failures = run_case(case)
        if failures:
            failed[index, case.about] = failures
    assert not failed, failed


def test_a_case_is_the_same_for_the_same_seed(sound, tmp_path, monkeypatch):
    cases = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        monkeypatch.chdir(tmp_path / name)
        case = make_case("models", sound, 3, 5)
        files = {path.name: path.stat().st_size for path in sorted((tmp_path / name / "model").iterdir())}
        cases.append((case.about, case.lines, files))
    assert cases[0] == cases[1]
    assert os.listdir(tmp_path / "one") == ["model"]
