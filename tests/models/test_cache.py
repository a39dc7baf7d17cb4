"""Tests models/cache.py."""

import errno
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from splinelens.errors import CannotWrite
from splinelens.models.cache import cache_folder, file_sha256, publish, working_folder
from splinelens.models.source import find_source


def test_the_folder_is_the_argument_then_our_variable_then_the_shared_one_then_home(monkeypatch):
    monkeypatch.setenv("SPLINELENS_CACHE", "/ours")
    monkeypatch.setenv("XDG_CACHE_HOME", "/shared")
    assert cache_folder("/typed") == Path("/typed")
    assert cache_folder() == Path("/ours")
    monkeypatch.delenv("SPLINELENS_CACHE")
    assert cache_folder() == Path("/shared/splinelens")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "splinelens"


def test_without_a_home_folder_the_cache_must_be_named(monkeypatch):
    for name in ("SPLINELENS_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "")
    with pytest.raises(CannotWrite, match=r"below no home folder; .*set SPLINELENS_CACHE"):
        cache_folder("~nosuchuser/cache")


@pytest.mark.parametrize("name", ["file", "/proc/none", "n" * 300, "file/inside", "\ud800"], ids=ascii)
def test_a_cache_that_cannot_be_made_is_refused(tmp_path, gguf_file, name):
    (tmp_path / "file").touch()
    with pytest.raises(CannotWrite, match=r"cannot .*set SPLINELENS_CACHE to another folder"):
        find_source(str(gguf_file), cache=tmp_path / name)


def test_the_working_folder_is_inside_the_cache_and_gone_afterwards(cache):
    with working_folder(cache, 0) as folder:
        assert folder.parent == cache
        (folder / "half").write_text("x")
    assert [path.name for path in cache.iterdir()] == ["lock"]


def test_the_working_folder_is_gone_after_an_exception_too(cache):
    with pytest.raises(KeyError), working_folder(cache, 0) as folder:
        (folder / "half").write_text("x")
        raise KeyError("stop")
    assert [path.name for path in cache.iterdir()] == ["lock"]


def test_what_a_killed_process_left_is_cleared_away(cache):
    (cache / "partial-dead").mkdir(parents=True)
    with working_folder(cache, 0) as folder:
        assert list(cache.glob("partial-*")) == [folder]


def test_two_workers_are_never_inside_at_once(cache):
    from concurrent.futures import ThreadPoolExecutor

    inside, most = [], []

    def work(number):
        with working_folder(cache, 0):
            inside.append(number)
            most.append(len(inside))
            os.sched_yield()
            inside.remove(number)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(40)))
    assert max(most) == 1
    assert len(most) == 40


def test_a_full_disk_is_refused_before_anything_is_written(cache, monkeypatch):
    usage = shutil.disk_usage(cache.parent)._replace(free=60_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    message = r"has 60 MB of free disk, and 588 MB are needed.*SPLINELENS_CACHE"
    with pytest.raises(CannotWrite, match=message), working_folder(cache, 538_000_000):
        pytest.fail("the folder must not open")


def test_a_disk_that_fills_up_while_working_is_refused(cache):
    with (
        pytest.raises(CannotWrite, match=r"No space left on device; make room in the model cache"),
        working_folder(cache, 0),
    ):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_cache_that_is_a_file_is_refused(tmp_path):
    (tmp_path / "file").touch()
    message = r"cannot write .*file: .*; make room"
    with pytest.raises(CannotWrite, match=message), working_folder(tmp_path / "file", 0):
        pytest.fail("the folder must not open")


def test_a_published_folder_is_whole_and_readable_as_the_umask_allows(tmp_path):
    finished = tmp_path / "finished"
    finished.mkdir(mode=0o700)
    (finished / "weights").write_text("w")
    (finished / "weights").chmod(0o600)
    before = os.umask(0o022)
    try:
        publish(finished, tmp_path / "deep" / "target")
    finally:
        os.umask(before)
    assert (tmp_path / "deep" / "target").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "deep" / "target" / "weights").stat().st_mode & 0o777 == 0o644


def test_a_folder_another_process_published_first_stays(tmp_path):
    for name in ("finished", "target"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "by").write_text(name)
    publish(tmp_path / "finished", tmp_path / "target")
    assert (tmp_path / "target" / "by").read_text() == "target"


def test_a_published_file_replaces_an_older_one(tmp_path):
    (tmp_path / "new").write_text("new")
    (tmp_path / "old").write_text("old")
    publish(tmp_path / "new", tmp_path / "old")
    assert (tmp_path / "old").read_text() == "new"


def test_the_hash_is_that_of_the_bytes(tmp_path):
    (tmp_path / "file").write_bytes(b"abc" * 1000)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(b"abc" * 1000).hexdigest()
