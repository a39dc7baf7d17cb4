"""Tests files.py: what is on disk is whole, a killed run continues, and two runs never mix."""

import errno
import json
import os
import shutil
import stat
import subprocess
import sys
import threading
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from splinelens import files
from splinelens.errors import BadFeatures, CannotResume, CannotWrite, OutputExists
from splinelens.files import (
    RowStore,
    atomic_write,
    check_folder,
    check_output,
    checkpoints,
    lock,
    move_files,
    results_folder,
    write_bytes,
    write_text,
)

REQUEST = {
    "model": "tiny",
    "spec": {"prompt": "a", "layers": [0, 1]},
    "data_hash": "00",
    "threshold": 0.7614333,
}


def table(start, stop):
    return pa.table({"row": range(start, stop), "name": [f"text {row}" for row in range(start, stop)]})


def run(code, *arguments):
    """Run Python in another process, with the names of this module's imports."""
    head = "import os, sys, resource\nimport pyarrow as pa\nfrom pathlib import Path\n"
    head += "from splinelens.files import RowStore, atomic_write, lock\n"
    return subprocess.run(
        [sys.executable, "-c", head + code, *map(str, arguments)], capture_output=True, text=True, check=False
    )


def test_a_file_is_written_and_nothing_else_remains(tmp_path):
    write_text(tmp_path / "a.txt", "ä\ud800", errors="backslashreplace")
    write_bytes(tmp_path / "b", b"\0")
    assert (tmp_path / "a.txt").read_bytes() == "ä\\ud800".encode()
    assert (tmp_path / "b").read_bytes() == b"\0"
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "b"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failed_write_keeps_the_old_file(tmp_path, error):
    path = tmp_path / "a"
    path.write_text("old")
    with pytest.raises(error), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise error
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a"]


def test_a_link_is_followed_and_a_device_is_written_to(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_text(tmp_path / "link", "x")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "target").read_text() == "x"
    write_text("/dev/null", "x")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


def test_the_rights_of_an_older_file_are_kept_and_a_new_one_follows_the_umask(tmp_path):
    for mode in (0o600, 0o640, 0o444, 0o777):
        path = tmp_path / f"{mode:o}"
        path.write_text("old")
        path.chmod(mode)
        (tmp_path / "link").symlink_to(path)
        with atomic_write(tmp_path / "link") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600  # not even briefly readable by others
            temporary.write_text("new")
        assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", mode)
        (tmp_path / "link").unlink()
    before = os.umask(0o027)
    try:
        write_text(tmp_path / "fresh", "x")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_a_name_of_the_greatest_length_is_written(tmp_path):
    for name in ("a" * 255, "ä" * 127):
        write_text(tmp_path / name, "x")
    assert len(os.listdir(tmp_path)) == 2


def test_an_output_that_exists_is_refused_unless_it_may_be_replaced(tmp_path):
    path = tmp_path / "a.csv"
    check_output(path)
    path.write_text("mine")
    with pytest.raises(OutputExists, match=r"a\.csv: it exists; name another file, or pass --overwrite"):
        check_output(path)
    check_output(path, overwrite=True)
    for name in ("/dev/null", "/dev/full"):
        check_output(name)
    os.mkfifo(tmp_path / "pipe.csv")
    check_output(tmp_path / "pipe.csv")


def test_the_input_is_never_the_output_by_whatever_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("a.csv").write_text("mine")
    Path("link.csv").symlink_to("a.csv")
    Path("hard.csv").hardlink_to("a.csv")
    for name in ("a.csv", "./a.csv", str(tmp_path / "a.csv"), "link.csv", "hard.csv"):
        with pytest.raises(OutputExists, match="it is the input; name another file"):
            check_output(name, overwrite=True, source="a.csv")
    check_output("a.csv", overwrite=True, source="-")
    check_output("a.csv", overwrite=True, source="hf:owner/name")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none/a.csv", "there is no folder .*none; make it first"),
        ("file/a.csv", "there is no folder .*file; make it first"),
        ("broken.csv", r"it is a link to .*gone/a\.csv, and there is no folder .*gone; make it first"),
        ("circle.csv", "Too many levels of symbolic links"),
        ("folder.csv", r"it is a folder; name a file, such as .*folder\.csv/name\.csv"),
        ("a" * 255, "File name too long"),  # OUTPUT.parts would be
        ("a\0b", "null (byte|character)"),
    ],
    ids=["none", "file", "broken", "circle", "folder", "long", "nul"],
)
def test_an_output_that_cannot_be_is_refused_with_the_reason(tmp_path, name, said):
    (tmp_path / "file").touch()
    (tmp_path / "folder.csv").mkdir()
    (tmp_path / "broken.csv").symlink_to(tmp_path / "gone" / "a.csv")
    (tmp_path / "circle.csv").symlink_to(tmp_path / "circle.csv")
    with pytest.raises(CannotWrite, match=said):
        check_output(tmp_path / name, overwrite=True)


def test_a_link_to_a_file_that_is_still_missing_is_fine(tmp_path):
    (tmp_path / "link.csv").symlink_to(tmp_path / "new.csv")
    check_output(tmp_path / "link.csv")


def test_a_folder_of_results_must_be_empty_new_or_of_a_stopped_run(tmp_path):
    folder = tmp_path / "deep" / "out"
    check_folder(folder, ["a"])
    folder.mkdir(parents=True)
    check_folder(folder, ["a"])
    (folder / "rest").touch()
    check_folder(folder, ["a"], ["rest"])
    with pytest.raises(OutputExists, match="the folder holds rest and perhaps more; name another folder"):
        check_folder(folder, ["a"])
    check_folder(folder, ["a"], overwrite=True)
    check_folder(folder, ["a"], overwrite=True, source=str(folder / "rest"))
    with pytest.raises(OutputExists, match=r"the input .*rest would be replaced"):
        check_folder(folder, ["a", "rest"], overwrite=True, source=str(folder / "rest"))
    for name in (folder / "rest", folder / "rest" / "in"):
        with pytest.raises(OutputExists, match="rest is a file; name another folder"):
            check_folder(name, ["a"])
    (folder / "broken").symlink_to("nowhere")
    with pytest.raises(CannotWrite, match="it is a link to a missing folder"):
        check_folder(folder / "broken", ["a"])


@pytest.mark.parametrize("name", ["missing/a", "file/a", "folder"])
def test_a_refused_path_is_named_with_the_reason(tmp_path, name):
    (tmp_path / "file").write_text("no folder")
    (tmp_path / "folder").mkdir()
    with pytest.raises(CannotWrite, match=rf"cannot write .*/{name}: (No such|Not a|Is a) .*; free space"):
        write_text(tmp_path / name, "x")
    assert sorted(os.listdir(tmp_path)) == ["file", "folder"]


def test_a_full_disk_is_our_error(tmp_path):
    code = "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
    code += "with atomic_write(sys.argv[1]) as temporary: temporary.write_bytes(bytes(5000))"
    result = run(code, tmp_path / "a")
    assert "CannotWrite: cannot write " in result.stderr
    assert "File too large; free space or choose another path" in result.stderr
    assert os.listdir(tmp_path) == []


def test_a_lock_is_held_against_another_process_and_released_when_it_dies(tmp_path):
    path = tmp_path / "lock"
    take = "with lock(Path(sys.argv[1]), 0): print('held', flush=True); os._exit(3)"
    with lock(path):
        assert "Timeout" in run(take, path).stderr
    assert run(take, path).stdout == "held\n"
    with lock(path, 0):
        pass


@pytest.mark.parametrize("error", [NotImplementedError(), OSError(errno.ENOLCK, "No locks available")])
def test_a_file_system_without_locks_is_used_unlocked(tmp_path, monkeypatch, error):
    def acquire(_self):
        raise error

    monkeypatch.setattr("filelock.FileLock.acquire", acquire)
    with lock(tmp_path / "lock"):
        (tmp_path / "written").touch()
    assert (tmp_path / "written").exists()


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_lock_in_a_folder_that_takes_no_files_is_an_error():
    with pytest.raises(FileNotFoundError), lock(Path("/proc/lock"), 5):
        raise AssertionError("not reached")


@pytest.mark.skipif(not Path("/proc/self").is_dir(), reason="needs /proc")
def test_a_folder_where_no_file_can_be_made_is_refused():
    with pytest.raises(CannotWrite, match="cannot write /proc/x: No such file or directory; choose another"):
        check_folder("/proc/x", ["a"])


def test_a_lock_that_may_not_be_created_is_an_error(tmp_path):
    (tmp_path / "lock").mkdir()
    with pytest.raises(OSError), lock(tmp_path / "lock"):
        raise AssertionError("not reached")


def test_a_pipe_is_written_to_if_something_reads_from_it(tmp_path, monkeypatch):
    path, read = tmp_path / "pipe.csv", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: read.append(path.read_text()))
    reader.start()
    write_text(path, "done")
    reader.join()
    assert read == ["done"]
    monkeypatch.setattr(files, "PIPE_SECONDS", 0.1)
    check_output(path)
    with pytest.raises(CannotWrite, match="is a pipe that nothing reads; start its reader, or name a"):
        write_text(path, "lost")


def test_rows_are_read_back_in_order(tmp_path):
    with RowStore(tmp_path / "deep" / "s", REQUEST) as store:
        for start in (0, 3, 6):
            store.append(table(start, start + 3))
        assert (store.chunks, store.rows) == (3, 9)
    assert store.read().equals(table(0, 9))
    assert [chunk["row"].to_pylist() for chunk in store] == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_wide_half_precision_columns_are_mapped_and_not_copied(tmp_path):
    values = np.arange(2 * 5000, dtype=np.float16).reshape(2, 5000)
    lists = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), 5000)
    with RowStore(tmp_path, REQUEST) as store:
        store.append(pa.table({"a": lists, "b": lists}))
    before = pa.total_allocated_bytes()
    column = store.read()["b"].chunk(0)
    assert np.array_equal(column.flatten().to_numpy(zero_copy_only=True).reshape(2, 5000), values)
    assert pa.total_allocated_bytes() - before < values.nbytes


def test_an_empty_store_is_refused(tmp_path):
    with RowStore(tmp_path, REQUEST) as store, pytest.raises(BadFeatures, match="holds no rows yet"):
        store.read()


@pytest.mark.parametrize("done", [0, 1, 2])
def test_a_killed_run_continues_after_its_last_chunk(tmp_path, done):
    code = (
        "store = RowStore(sys.argv[1], {})\n"
        f"for start in range({done}):\n"
        "    store.append(pa.table({'row': [start]}))\n"
        f"with atomic_write(store.folder / '{done:06d}.arrow') as path:\n"
        "    path.write_bytes(b'half')\n"
        "    os._exit(9)"
    )
    assert run(code, tmp_path).returncode == 9
    assert any(name.endswith(".tmp") for name in os.listdir(tmp_path))
    with RowStore(tmp_path, {}) as store:
        assert store.chunks == done
        assert not any(name.endswith(".tmp") for name in os.listdir(tmp_path))
        for row in range(done, 3):
            store.append(pa.table({"row": [row]}))
        assert store.read()["row"].to_pylist() == [0, 1, 2]


@pytest.mark.parametrize("kept_bytes", [0, 10, 500, -1])
@pytest.mark.parametrize("damaged", [1, 2])
def test_a_damaged_chunk_and_those_after_it_are_dropped(tmp_path, kept_bytes, damaged):
    with RowStore(tmp_path, REQUEST) as store:
        for start in (0, 3, 6):
            store.append(table(start, start + 3))
    path = tmp_path / f"{damaged:06d}.arrow"
    path.write_bytes(path.read_bytes()[:kept_bytes])
    with RowStore(tmp_path, REQUEST) as store:
        assert store.rows == 3 * damaged
        assert len(list(tmp_path.glob("*.arrow"))) == damaged
        store.append(table(3 * damaged, 9))
        assert store.read().equals(table(0, 9))


@pytest.mark.parametrize("name", ["000001.arrow", "chunks.jsonl", "request.json"])
def test_a_flipped_bit_anywhere_never_changes_a_row(tmp_path, name):
    with RowStore(tmp_path / "whole", REQUEST) as store:
        for start in (0, 3, 6):
            store.append(table(start, start + 3), failed=1)
    size = (tmp_path / "whole" / name).stat().st_size
    for bit in range(0, 8 * size, max(1, 8 * size // 40)):
        shutil.copytree(tmp_path / "whole", folder := tmp_path / str(bit))
        data = bytearray((folder / name).read_bytes())
        data[bit // 8] ^= 1 << bit % 8
        (folder / name).write_bytes(data)
        with suppress(CannotResume), RowStore(folder, REQUEST) as store:
            assert store.rows in (0, 3, 6), bit  # the last line is never wrong alone: lines are as long
            assert store.rows == 3 or name != "000001.arrow"
            store.append(table(store.rows, 9))
            assert store.read().equals(table(0, 9)), bit


def _swap(folder):
    (folder / "000001.arrow").rename(folder / "x")
    (folder / "000002.arrow").rename(folder / "000001.arrow")
    (folder / "x").rename(folder / "000002.arrow")


def _rewrite_lines(change):
    def rewrite(folder):
        lines = (folder / "chunks.jsonl").read_bytes().splitlines(keepends=True)
        (folder / "chunks.jsonl").write_bytes(b"".join(change(lines)))

    return rewrite


@pytest.mark.parametrize(
    ("damage", "sound"),
    [
        (_swap, 1),
        (lambda folder: (folder / "000001.arrow").unlink(), 1),
        (lambda folder: shutil.copy(folder / "000000.arrow", folder / "000002.arrow"), 2),
        (lambda folder: (folder / "chunks.jsonl").unlink(), 0),
        (_rewrite_lines(lambda lines: lines[:2]), 2),  # killed between the rename and the line
        (_rewrite_lines(lambda lines: [*lines[:2], lines[2][:30]]), 2),
        (_rewrite_lines(lambda lines: [*lines[:2], lines[2][:-1]]), 2),
        (_rewrite_lines(lambda lines: [lines[0], lines[2]]), 1),
        (_rewrite_lines(lambda lines: [lines[1], lines[0], lines[2]]), 0),
        (_rewrite_lines(lambda lines: [lines[0], b"\xff\n", *lines[1:]]), 1),
        (_rewrite_lines(lambda lines: [*lines, lines[2]]), 3),
    ],
    ids="swapped removed copied unlisted unlined half unended gap exchanged garbage twice".split(),
)
def test_rows_after_the_last_sound_chunk_are_computed_again(tmp_path, damage, sound):
    with RowStore(tmp_path, REQUEST) as store:
        for start in (0, 3, 6):
            store.append(table(start, start + 3))
    damage(tmp_path)
    with RowStore(tmp_path, REQUEST) as store:
        assert store.rows == 3 * sound
        for start in range(store.rows, 9, 3):
            store.append(table(start, start + 3))
    with RowStore(tmp_path, REQUEST) as store:
        assert store.read().equals(table(0, 9))


def test_a_chunk_that_changes_while_the_run_goes_on_is_not_read(tmp_path):
    with RowStore(tmp_path, REQUEST) as store:
        store.append(table(0, 3))
        store.append(table(3, 6))
        (tmp_path / "000001.arrow").write_bytes((tmp_path / "000000.arrow").read_bytes())
        with pytest.raises(BadFeatures, match=r"000001.arrow has changed since it was written; "):
            store.read()


def test_rows_are_grouped_by_number_and_by_time(monkeypatch):
    seconds = iter([0, 1, 2, 2, 3, 9, 9, 10])
    monkeypatch.setattr("time.monotonic", lambda: next(seconds))
    assert [*checkpoints("abcdef", 3)] == [["a", "b", "c"], ["d", "e"], ["f"]]


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_run_that_was_killed_after_its_output_was_written_leaves_no_store(tmp_path, overwrite):
    output, code = (
        tmp_path / "out.csv",
        (
            "store = RowStore.beside(Path(sys.argv[1]), {})\n"
            "store.append(pa.table({'row': [0]}))\n"
            "sys.addaudithook(lambda event, _: event == 'os.remove' and written.exists() and os._exit(9))\n"
            "written = Path(sys.argv[1])\n"
            "with store.finish(written) as path: path.write_text('done')"
        ),
    )
    assert run(code, output).returncode == 9
    assert (tmp_path / "out.csv.parts" / "000000.arrow").exists()
    refused = nullcontext() if overwrite else pytest.raises(OutputExists)
    with refused:
        check_output(output, overwrite=overwrite)
    assert (os.listdir(tmp_path), output.read_text()) == (["out.csv"], "done")


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.EACCES])
@pytest.mark.parametrize("call", [1, 2, 3])  # of the chunk, the folder, the line
def test_after_a_write_that_the_system_refuses_the_run_can_go_on(tmp_path, monkeypatch, number, call):
    with RowStore(tmp_path, REQUEST) as store:
        store.append(table(0, 3))
        calls, plain = [], os.fsync

        def refuse(descriptor):
            calls.append(descriptor)
            if len(calls) == call:
                raise OSError(number, os.strerror(number))
            plain(descriptor)

        monkeypatch.setattr(os, "fsync", refuse)
        with pytest.raises(CannotWrite, match="finished rows are kept: free space, and the same command"):
            store.append(table(3, 6))
        assert store.rows == 3
        store.append(table(3, 6))
    with RowStore(tmp_path, REQUEST) as store:
        assert store.read().equals(table(0, 6))


def test_files_that_are_moved_belong_together_or_the_last_is_missing(tmp_path):
    new, folder = tmp_path / "new", tmp_path / "folder"
    for path in (new, folder):
        path.mkdir()
        for name in ("graph", "record"):
            (path / name).write_text(path.name)
    (new / "card").write_text("new")
    (folder / "card").mkdir()  # which no file replaces
    with pytest.raises(CannotWrite, match="cannot write"):
        move_files(new, folder, ["graph", "card", "record"])
    assert sorted(path.name for path in folder.iterdir()) == ["card", "graph"]
    (folder / "card").rmdir()
    (new / "graph").write_text("new")
    move_files(new, folder, ["graph", "card", "record"])
    assert {path.name: path.read_text() for path in folder.iterdir()} == dict.fromkeys(
        ["graph", "card", "record"], "new"
    )


def test_an_output_that_another_program_wrote_removes_no_rows(tmp_path):
    with RowStore.beside(tmp_path / "out.csv", REQUEST) as store:
        store.append(table(0, 3))
        with pytest.raises(ValueError), store.finish(tmp_path / "out.csv"):
            raise ValueError
    (tmp_path / "out.csv.parts" / "finished.json").write_text("17")
    (tmp_path / "out.csv").write_text("theirs")
    check_output(tmp_path / "out.csv", overwrite=True)
    with RowStore.beside(tmp_path / "out.csv", REQUEST) as store:
        assert store.rows == 3


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"spec": {"prompt": "b", "layers": [0, 1]}}, "prompt was 'a' and is 'b'"),
        (
            {"spec": {"prompt": "a", "layers": [0]}, "model": "big"},
            r"model was 'tiny' and is 'big'; layers was \[0, 1\] and is \[0\]",
        ),
        ({"device": "cuda:0"}, "device was None and is 'cuda:0'"),
        ({"data_hash": "c"}, "the texts are others"),
        ({"threshold": 0.9}, "threshold was 0.7614 and is 0.9"),
        ({"threshold": 0.76143}, "threshold was 0.7614333 and is 0.76143"),
    ],
)
def test_rows_of_another_request_are_refused_with_what_differs(tmp_path, change, said):
    with RowStore(tmp_path, REQUEST) as store:
        store.append(table(0, 3))
    with pytest.raises(CannotResume, match=rf"holds rows of another run: {said}. Delete it to start anew"):
        RowStore(tmp_path, REQUEST | change)
    with RowStore(tmp_path, REQUEST) as store:
        assert store.rows == 3


def test_tuples_and_the_order_of_keys_in_a_request_do_not_matter(tmp_path):
    RowStore(tmp_path, {"layers": (0, 1), "a": 1}).close()
    RowStore(tmp_path, {"a": 1, "layers": [0, 1]}).close()
    assert json.loads((tmp_path / "request.json").read_text()) == {"a": 1, "layers": [0, 1]}


@pytest.mark.parametrize("broken", [b"", b"{", b"[1]", b"\xff\xfe"])
def test_rows_without_a_readable_request_are_dropped(tmp_path, broken):
    with RowStore(tmp_path, REQUEST) as store:
        store.append(table(0, 3))
    (tmp_path / "request.json").write_bytes(broken)
    with RowStore(tmp_path, REQUEST) as store:
        assert store.rows == 0


def test_two_runs_into_one_store_are_refused(tmp_path):
    code = "RowStore(sys.argv[1], {})"
    with RowStore(tmp_path, {}) as store:
        assert "CannotWrite: another run is writing to" in run(code, tmp_path).stderr
        store.append(table(0, 3))
    assert run(code, tmp_path).returncode == 0


def test_a_full_disk_keeps_the_finished_chunks(tmp_path):
    code = (
        "store = RowStore(sys.argv[1], {})\n"
        "store.append(pa.table({'row': [0]}))\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        "store.append(pa.table({'row': list(range(1000))}))"
    )
    result = run(code, tmp_path)
    assert "CannotWrite: cannot write" in result.stderr
    assert "finished rows are kept: free space, and the same command continues after them" in result.stderr
    with RowStore(tmp_path, {}) as store:
        assert store.rows == 1


def test_the_store_of_an_output_stands_beside_it_and_goes_at_the_end(tmp_path):
    with RowStore.beside(tmp_path / "out.parquet", REQUEST) as store:
        store.append(table(0, 3))
        assert sorted(os.listdir(tmp_path / "out.parquet.parts")) == [
            "000000.arrow",
            "chunks.jsonl",
            "lock",
            "request.json",
        ]
        rows = store.read()
        store.remove()
    assert os.listdir(tmp_path) == []
    assert rows.equals(table(0, 3))  # still mapped


def test_removing_a_store_leaves_the_files_of_others(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    RowStore(tmp_path, REQUEST).remove()
    assert os.listdir(tmp_path) == ["notes.txt"]


def test_a_folder_that_cannot_be_created_is_refused(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(CannotWrite, match=r"cannot write .*file/s: Not a directory; free space"):
        RowStore(Path(tmp_path, "file", "s"), REQUEST)


def test_a_file_that_appears_meanwhile_is_replaced_only_with_overwrite(tmp_path):
    path = tmp_path / "a"
    for overwrite in (False, True):
        expected = (
            pytest.raises(OutputExists, match="has appeared there since") if not overwrite else nullcontext()
        )
        with expected, atomic_write(path, overwrite=overwrite) as temporary:
            temporary.write_text("ours")
            path.write_text("theirs")
        assert path.read_text() == ("ours" if overwrite else "theirs")
    assert os.listdir(tmp_path) == ["a"]


def test_without_overwrite_a_new_file_and_the_target_of_a_link_are_written(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path / "target")
    write_text(tmp_path / "link", "x", overwrite=False)
    assert (tmp_path / "target").read_text() == "x"
    assert (tmp_path / "target").stat().st_nlink == 1


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("", "name a folder"),
        ("~nosuchuser/mine", "~nosuchuser is no user here"),
        ("x" * 300, "choose another path"),
        ("a\0b", "choose another path"),
    ],
    ids=["empty", "user", "long", "NUL"],
)
def test_a_folder_of_results_that_cannot_be_is_refused(path, words):
    with pytest.raises(CannotWrite, match=f"cannot write .*{words}"):
        results_folder(path, ["a"])


def test_a_store_that_another_run_removes_meanwhile_says_so(tmp_path):
    errors = []

    def work():
        for _ in range(12):
            try:
                with RowStore(tmp_path / "a.parts", REQUEST) as store:
                    store.append(table(0, 1))
                    store.remove()
            except CannotWrite as error:
                errors.append(str(error))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all("another run " in error for error in errors), errors


@pytest.mark.parametrize("path", ["/proc/x.csv", "/sys/x.csv"])
def test_a_file_system_that_takes_no_files_is_refused_before_any_work(path):
    with pytest.raises(CannotWrite, match=f"cannot write {path}: .*; c"):
        check_output(path)
