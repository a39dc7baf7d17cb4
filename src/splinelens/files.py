"""Writing results to disk: atomic writes, locks, and a resumable store of rows.

Every result of splinelens is written through this module, so a crash or a full disk never leaves a
half-written file under its final name, and every refusal of the system becomes ``CannotWrite``.
"""

import errno
import json
import logging
import os
import secrets
import stat
import time
import zlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from glob import escape, glob
from itertools import takewhile
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING, Any, TypeVar

from safetensors import SafetensorError

from splinelens.errors import BadFeatures, CannotResume, CannotWrite, OutputExists

if TYPE_CHECKING:
    import pyarrow as pa

PIPE_SECONDS = 5
"""How long a named pipe may have nobody at its other end."""

CHECKPOINT_SECONDS = 5
"""How long a run computes rows before it stores them."""

Row = TypeVar("Row")

_log = logging.getLogger(__name__)
_ADVICE = "free space or choose another path"
_CONTINUE = "finished rows are kept: free space, and the same command continues after them"
_OVERWRITE = "pass --overwrite (in Python overwrite=True)"
_HASHES = {
    "data_hash": "the texts are others",
    "columns_hash": "the kept columns hold other cells",
    "detector": "the detector is another",
}
_MANIFEST = "chunks.jsonl"
_MAPPED_BYTES = 2**20
_NAME_CHARACTERS = 48  # of the output, in the name of its temporary file: a name has at most 255 bytes
_LOCKS_UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP}
_LOCK_WAIT_S = 2.0  # long enough for another process to open a finished store, short enough to fail fast


def check_output(path: str | Path, *, overwrite: bool = False, source: str | None = None) -> None:
    """Refuse a file that cannot or must not be written, before any work is done.

    Devices and pipes do not count as existing: nothing in them is lost. Of an existing file this removes what
    a run left that was killed after writing it: its finished store with temporary files, or its empty folder.

    Args:
        path: The file to write; a symbolic link stands for its target.
        overwrite: Whether an existing file may be replaced.
        source: The file that is read, ``"-"`` for standard input; it is never replaced.

    Raises:
        OutputExists: It exists and ``overwrite`` is false, or it is the input, or a folder.
        CannotWrite: Its folder is missing, it may not be written, or its name is too long.

    Example:
        >>> check_output("missing/scores.csv")
        Traceback (most recent call last):
        ...
        splinelens.errors.CannotWrite: cannot write missing/scores.csv: there is no folder ...; make it first
    """
    output, problem = Path(path), f"cannot write {path}"
    try:
        status = _status(output)
        _status(parts_folder(output))  # its name is longer, perhaps too long
        target = Path(os.path.realpath(output))
    except (OSError, ValueError) as error:  # a name too long, a circle of links, a NUL
        reason = getattr(error, "strerror", None) or error
        raise CannotWrite(f"{problem}: {reason}; choose another path") from error
    if status is None and not target.parent.is_dir():
        link = f"it is a link to {target}, and " if output.is_symlink() else ""
        raise CannotWrite(f"{problem}: {link}there is no folder {target.parent}; make it first")
    if status is not None and stat.S_ISDIR(status.st_mode):
        example = output / f"name{output.suffix}"
        raise OutputExists(f"{problem}: it is a folder; name a file, such as {example}")
    if status is not None and stat.S_ISREG(status.st_mode):
        _remove_finished(output)
        if _is_input(output, source):
            raise OutputExists(f"{problem}: it is the input; name another file")
        if not overwrite:
            raise OutputExists(f"{problem}: it exists; name another file, or {_OVERWRITE}")
    folders = {output.parent, target.parent} if status is None or stat.S_ISREG(status.st_mode) else ()
    if not all(os.access(folder, os.W_OK | os.X_OK) for folder in folders) or (
        status is not None and not os.access(output, os.W_OK)
    ):
        raise CannotWrite(f"{problem}: permission denied; change its rights or choose another path")
    with write_errors(path, "choose another path"):  # a file system that only looks as if it takes files
        for folder in folders:
            TemporaryFile(dir=folder).close()


def check_folder(
    path: str | Path,
    written: Collection[str],
    unfinished: Collection[str] = (),
    *,
    overwrite: bool = False,
    source: str | None = None,
) -> None:
    """As ``check_output``, for a folder of results. A missing one is no error: it is made with its parents.

    Args:
        path: The folder.
        written: Names of the files that are written into it; none may be the input.
        unfinished: Names that a stopped run leaves; they do not count as existing.
        overwrite: Whether a folder that holds files may be written to.
        source: As in ``check_output``.

    Raises:
        OutputExists: It holds files and ``overwrite`` is false, it is a file, or the input would be replaced.
        CannotWrite: It cannot be made, may not be written, or is a link to a missing folder.
    """
    folder, problem = Path(path), f"cannot write {path}"
    with write_errors(folder, "choose another path"):
        if folder.is_symlink() and _status(folder) is None:
            raise CannotWrite(f"{problem}: it is a link to a missing folder; name another folder")
        nearest = next(place for place in (folder, *folder.absolute().parents) if _status(place))
        if not nearest.is_dir():
            raise OutputExists(f"{problem}: {nearest} is a file; name another folder")
        if not os.access(nearest, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        TemporaryFile(dir=nearest).close()  # a file system that only looks as if it takes files
        others = sorted({*os.listdir(folder)} - {*unfinished}) if nearest == folder else []
    for name in written:
        if _is_input(folder / name, source):
            raise OutputExists(f"{problem}: the input {source} would be replaced; name another folder")
    if others and not overwrite:
        raise OutputExists(
            f"{problem}: the folder holds {others[0]} and perhaps more; name another folder, or {_OVERWRITE}"
        )


def results_folder(
    path: str | os.PathLike[str], written: Collection[str], *, overwrite: bool = False
) -> Path:
    """The folder that files are written into, which may be missing; ``~`` in a string is the home folder.

    Args:
        path: The folder.
        written: Names of the files.
        overwrite: Whether those that exist may be replaced.

    Raises:
        OutputExists: It holds one of them and ``overwrite`` is false.
        CannotWrite: The path is empty, names no user, or cannot be.

    Example:
        >>> results_folder("", [])
        Traceback (most recent call last):
        ...
        splinelens.errors.CannotWrite: cannot write '': name a folder; '.' is the current one
    """
    folder, problem = (
        Path(os.path.expanduser(path) if isinstance(path, str) else path),
        f"cannot write {path}",
    )
    if not os.fspath(path):
        raise CannotWrite("cannot write '': name a folder; '.' is the current one")
    if isinstance(path, str) and str(folder).startswith("~"):
        raise CannotWrite(f"{problem}: {folder.parts[0]} is no user here; choose another path")
    try:
        _status(folder)
    except (OSError, ValueError) as error:  # a folder that may not be read, a name too long, a NUL
        reason = getattr(error, "strerror", None) or error
        raise CannotWrite(f"{problem}: {reason}; choose another path") from error
    for name in written if folder.is_dir() else ():
        check_output(folder / name, overwrite=overwrite)
    return folder


def matching(pattern: str) -> list[str]:
    """The files that a pattern such as ``shards/*.csv`` stands for, in the order of their names.

    Example:
        >>> matching("missing/*.csv")
        []
    """
    return [] if "\0" in pattern else sorted(glob(pattern))


def parts_folder(output: Path) -> Path:
    """Where an unfinished run keeps its rows: ``OUTPUT.parts``."""
    return output.with_name(output.name + ".parts")


def rows_kept(output: Path) -> int:
    """Rows that an unfinished run of ``output`` has stored; 0 if there is none.

    Their checksums are compared only when the run continues, so it may redo some.
    """
    return stored_rows(output).rows


@dataclass(frozen=True)
class StoredRows:
    """What an unfinished run has stored: rows, those of them with a reason, and when it wrote last."""

    rows: int
    failed: int
    last: datetime


def stored_rows(output: Path) -> StoredRows:
    """As ``rows_kept``, with more of what the manifest says; the run may go on meanwhile."""
    folder = parts_folder(output)
    chunks = [*takewhile(lambda chunk: chunk.has_its_size(folder), _recorded(folder))]
    status = _status(folder / _MANIFEST)
    return StoredRows(
        sum(chunk.rows for chunk in chunks),
        sum(chunk.failed for chunk in chunks),
        datetime.fromtimestamp(0 if status is None else status.st_mtime, UTC),
    )


def checkpoints(rows: Iterable[Row], most: int) -> Iterator[list[Row]]:
    """Group rows that are computed one after the other by when they are to be stored.

    A group has at most so many rows, and ends with the first that comes ``CHECKPOINT_SECONDS`` after the
    group before.

    Example:
        >>> list(checkpoints("abcde", 2))
        [['a', 'b'], ['c', 'd'], ['e']]
    """
    group: list[Row] = []
    stored = time.monotonic()
    for row in rows:
        group.append(row)
        if len(group) == most or time.monotonic() - stored >= CHECKPOINT_SECONDS:
            yield group
            group, stored = [], time.monotonic()
    if group:
        yield group


@contextmanager
def atomic_write(path: str | Path, advice: str = _ADVICE, *, overwrite: bool = True) -> Iterator[Path]:
    """Write a file completely or not at all.

    The body writes to a temporary file in the same folder. If it succeeds, the file is flushed to disk
    and renamed to ``path``, and the folder is flushed too; if it raises, the temporary file is deleted and an
    older ``path`` stays.
    A symbolic link is followed, and the rights and owner of an older file are kept. A device or pipe is
    written to directly; a pipe has ``PIPE_SECONDS`` to be read from.

    Args:
        path: The file.
        advice: The end of the message where the system refuses.
        overwrite: Whether a file that is at ``path`` when the body ends is replaced.

    Yields:
        The temporary path to write to.

    Raises:
        OutputExists: A file is at ``path``, without ``overwrite``.
        CannotWrite: Nothing reads from the pipe, or the system refused: the disk is full, or the folder is
            missing or read-only. The message then ends in ``advice``.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "result.txt"
        >>> with atomic_write(path) as temporary:
        ...     _ = temporary.write_text("done")
        >>> path.read_text()
        'done'
    """
    with write_errors(path, advice):
        target, older = Path(os.path.realpath(path)), _status(Path(path))
        if older is not None and stat.S_ISFIFO(older.st_mode):
            with _read_pipe(Path(path)):
                yield Path(path)
            return
        if older is not None and not (stat.S_ISREG(older.st_mode) or stat.S_ISDIR(older.st_mode)):
            yield Path(path)
            return
        temporary = target.with_name(f".{target.name[:_NAME_CHARACTERS]}.{secrets.token_hex(4)}.tmp")
        try:
            # Never readable by more than the older file was.
            mode = 0o666 if older is None else 0o600
            os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode))
            yield temporary
            if older is not None:
                _copy_rights(older, temporary)
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            _rename(temporary, target, overwrite, path)
            _sync_folder(target.parent)
        finally:
            temporary.unlink(missing_ok=True)


def write_bytes(path: str | Path, data: bytes, *, overwrite: bool = True) -> None:
    """Write bytes atomically; see ``atomic_write``."""
    with atomic_write(path, overwrite=overwrite) as temporary:
        temporary.write_bytes(data)


def write_text(path: str | Path, text: str, errors: str = "strict", *, overwrite: bool = True) -> None:
    """Write text as UTF-8 atomically; see ``atomic_write``. ``errors`` is that of ``str.encode``."""
    write_bytes(path, text.encode("utf-8", errors), overwrite=overwrite)


def move_files(source: Path, folder: Path, names: Sequence[str]) -> None:
    """Move files into a folder on the same disk, the last of them when the others are flushed to disk.

    An older last file is removed first: where the run is killed, the last file is missing or all belong
    together.

    Raises:
        CannotWrite: The system refused.
    """
    *others, last = names
    with write_errors(folder):
        for name in names:
            with (source / name).open("rb") as file:
                os.fsync(file.fileno())
        (folder / last).unlink(missing_ok=True)
        _sync_folder(folder)
        for name in others:
            (source / name).replace(folder / name)
        _sync_folder(folder)
        (source / last).replace(folder / last)
        _sync_folder(folder)


@contextmanager
def write_errors(path: str | Path, advice: str = _ADVICE) -> Iterator[None]:
    """Turn an ``OSError``, or what safetensors makes of one, into ``CannotWrite``, with what to do.

    Example:
        >>> with write_errors("table.parquet"):
        ...     raise OSError(28, "No space left on device")
        Traceback (most recent call last):
        ...
        splinelens.errors.CannotWrite: cannot write table.parquet: No space left on device; free space ...
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        reason = getattr(error, "strerror", None) or error
        raise CannotWrite(f"cannot write {path}: {reason}; {advice}") from error


@contextmanager
def lock(path: Path, timeout_s: float = -1) -> Iterator[None]:
    """Hold a lock between processes; the system releases it when a process dies.

    On a file system without locks the body runs unlocked. A negative timeout waits for ever.

    Raises:
        TimeoutError: Another process holds the lock.
        OSError: The lock file cannot be created.
    """
    from filelock import FileLock

    with path.open("a"):  # where no file can be made, as in /proc, filelock would wait for ever
        pass
    file_lock = FileLock(path, timeout=timeout_s, thread_local=False)
    try:
        file_lock.acquire()
    except NotImplementedError:
        pass
    except OSError as error:
        if error.errno not in _LOCKS_UNSUPPORTED:
            raise
    try:
        yield
    finally:
        file_lock.release()


@dataclass(frozen=True)
class _Chunk:
    """One line of the manifest of a store: what a chunk holds.

    Attributes:
        chunk: Its number, from 0.
        rows: Its rows.
        failed: How many of them hold a reason in place of numbers.
        bytes: Size of its file.
        crc32: Checksum of the values above and of its file.
    """

    chunk: int
    rows: int
    failed: int
    bytes: int
    crc32: int

    def has_its_size(self, folder: Path) -> bool:
        """Whether the file is there, as long as it was written."""
        status = _status(_chunk_path(folder, self.chunk))
        return status is not None and status.st_size == self.bytes

    def is_sound(self, folder: Path) -> bool:
        """Whether the file is what was written."""
        return self.has_its_size(folder) and self == self.verified(_chunk_path(folder, self.chunk))

    def verified(self, path: Path) -> "_Chunk":
        """The same line with the checksum that it has with a file."""
        values = json.dumps([self.chunk, self.rows, self.failed, self.bytes]).encode()
        return replace(self, crc32=_crc32(path, zlib.crc32(values)))


class RowStore:
    """A resumable, append-only table in a folder.

    ``request.json`` records what decides the rows; each chunk is one Arrow IPC file, uncompressed, so reading
    a large one maps it into memory without a copy. A chunk is written atomically, then its size and checksum
    are appended to the manifest, ``chunks.jsonl``. A run that was killed and opens the store again continues
    after the last sound chunk: the chunk at which the manifest or the checksum is wrong is deleted with those
    after it. Opening with another request is refused.

    While a store is open it is locked against other processes. After ``close`` it can still be read.

    Args:
        folder: Created if missing.
        request: Plain JSON values that decide the rows, such as the spec, the model and the data hash.

    Raises:
        CannotResume: The folder holds rows of another request; the message says which keys differ.
        CannotWrite: The folder cannot be written, or another run is writing to it.

    Example:
        >>> import tempfile
        >>> import pyarrow as pa
        >>> folder = tempfile.mkdtemp()
        >>> with RowStore(folder, {"model": "tiny"}) as store:
        ...     store.append(pa.table({"row": [0, 1]}))
        >>> with RowStore(folder, {"model": "tiny"}) as store:  # a later run
        ...     store.append(pa.table({"row": [2]}))
        ...     store.rows, store.read()["row"].to_pylist()
        (3, [0, 1, 2])
        >>> RowStore(folder, {"model": "large"})
        Traceback (most recent call last):
        ...
        splinelens.errors.CannotResume: ... holds rows of another run: model was 'tiny' and is 'large'. ...
    """

    def __init__(self, folder: str | Path, request: dict[str, Any]):  # Any: plain JSON values
        self.folder = Path(folder)
        self.request: dict[str, Any] = json.loads(json.dumps(request))  # Any: tuples become lists
        self._chunks: list[_Chunk] = []
        self._length = 0  # of the manifest
        self._removed = False
        self._lock = ExitStack()
        try:
            with write_errors(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
                _sync_folder(self.folder.parent)
                self._lock.enter_context(lock(self.folder / "lock", _LOCK_WAIT_S))
                self._open()
        except BaseException as error:
            self.close()
            if isinstance(error.__cause__, TimeoutError):
                raise CannotWrite(
                    f"another run is writing to {self.folder}; wait for it to end, or choose another output"
                ) from error
            if isinstance(error.__cause__, FileNotFoundError):  # removed between two steps
                raise CannotWrite(
                    f"another run has just finished and removed {self.folder}; look at its output, or run "
                    "this again"
                ) from error
            raise

    @classmethod
    def beside(cls, output: Path, request: dict[str, Any]) -> "RowStore":  # Any: as in __init__
        """The store of an unfinished run, ``OUTPUT.parts``; the run removes it when ``output`` is written."""
        store = cls(parts_folder(output), request)
        _remove_temporaries(output)
        return store

    @property
    def chunks(self) -> int:
        """Number of chunks on disk."""
        return len(self._chunks)

    @property
    def rows(self) -> int:
        """Number of rows on disk."""
        return sum(chunk.rows for chunk in self._chunks)

    def append(self, table: "pa.Table", failed: int = 0) -> None:
        """Write the next chunk, of the same schema as the earlier ones.

        Args:
            table: Its rows.
            failed: How many of them hold a reason in place of numbers; recorded for ``stored_rows``.

        Raises:
            CannotWrite: The disk is full or the folder is not writable; earlier chunks are kept.
        """
        import pyarrow as pa

        path = _chunk_path(self.folder, self.chunks)
        with atomic_write(path, _CONTINUE) as temporary:
            with (
                pa.OSFile(str(temporary), "wb") as file,
                pa.ipc.new_file(file, table.schema) as writer,
            ):
                writer.write_table(table.combine_chunks())
            size = temporary.stat().st_size
            chunk = _Chunk(self.chunks, len(table), failed, size, 0).verified(temporary)
        with write_errors(self._manifest, _CONTINUE), self._manifest.open("r+b") as manifest:
            manifest.truncate(manifest.seek(self._length))  # what a full disk left of a line
            manifest.write(line := json.dumps(asdict(chunk)).encode() + b"\n")
            manifest.flush()
            os.fsync(manifest.fileno())
        self._length += len(line)
        self._chunks.append(chunk)

    def read(self) -> "pa.Table":
        """All rows; those of large chunks are mapped from disk.

        Raises:
            BadFeatures: The store is empty, or a chunk has changed since it was written.
        """
        import pyarrow as pa

        if not self._chunks:
            raise BadFeatures(f"{self.folder} holds no rows yet; append some first")
        return pa.concat_tables(self)

    def __iter__(self) -> Iterator["pa.Table"]:
        """The chunks in order.

        Raises:
            BadFeatures: A chunk has changed since it was written.
        """
        for chunk in self._chunks:
            path = _chunk_path(self.folder, chunk.chunk)
            if not chunk.is_sound(self.folder):
                raise BadFeatures(f"{path} has changed since it was written; the same command does it again")
            yield _read(path)

    def close(self) -> None:
        """Release the lock; the rows can still be read."""
        self._lock.close()

    @contextmanager
    def finish(self, output: Path, *, overwrite: bool = True) -> Iterator[Path]:
        """Write the output of the rows as ``atomic_write`` does, and remove the store.

        Where the run is killed between the two, the next ``check_output`` removes the store.
        """
        with atomic_write(output, overwrite=overwrite) as temporary:
            yield temporary
            if temporary.is_file():  # no pipe or device
                write_text(self.folder / "finished.json", json.dumps(_crc32(temporary)))
        self.remove()

    def remove(self) -> None:
        """Delete the store and release the lock. Files that are not the store's stay."""
        self._chunks = []
        self._removed = True
        _remove_store(self.folder)
        self.close()

    def __enter__(self) -> "RowStore":
        return self

    def __exit__(self, kind: object, *error: object) -> None:
        if kind is not None and not self._chunks and not self._removed:
            self.remove()  # there is nothing to continue
        self.close()

    @property
    def _manifest(self) -> Path:
        return self.folder / _MANIFEST

    def _open(self) -> None:
        """Check the request, verify the chunks, and delete the first unsound one with what follows it."""
        for name in ("*.arrow", "*.json", _MANIFEST):
            for leftover in self.folder.glob(f".{name}.*.tmp"):  # of a killed run
                leftover.unlink()
        earlier = read_request(self.folder)
        if earlier is None:  # without a request the chunks may be of any run
            write_text(self._manifest, "")
            write_text(self.folder / "request.json", json.dumps(self.request, sort_keys=True))
        elif different := differences(earlier, self.request):
            raise CannotResume(
                f"{self.folder} holds rows of another run: {'; '.join(different)}. Delete it to start anew, "
                "or repeat the earlier command to finish it"
            )
        recorded = _recorded(self.folder)
        self._chunks = [*takewhile(lambda chunk: chunk.is_sound(self.folder), recorded)]
        lines = "".join(json.dumps(asdict(chunk)) + "\n" for chunk in self._chunks).encode()
        if _status(self._manifest) is None or self._manifest.read_bytes() != lines:
            write_bytes(self._manifest, lines)
        self._length = len(lines)
        (self.folder / "finished.json").unlink(missing_ok=True)  # the output was not written
        for path in _chunk_paths(self.folder):
            if int(path.stem) >= self.chunks:
                path.unlink()
        if lost := sum(chunk.rows for chunk in recorded) - self.rows:
            _log.info("%s: %s stored rows are damaged and are computed again", self.folder, f"{lost:,}")


def read_request(folder: Path) -> dict[str, Any] | None:  # Any: plain JSON values
    """What decides the rows of a store; None if there is no store, or it is damaged."""
    try:
        request = json.loads((folder / "request.json").read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return request if isinstance(request, dict) else None


def require_equal_run(
    output: Path,
    earlier: dict[str, Any] | None,  # Any: plain JSON values
    request: dict[str, Any],  # Any: as above
) -> None:
    """Refuse to change rows of a finished output that another request decided.

    Raises:
        CannotResume: The message says which keys differ, or that the output does not hold its request.
    """
    if earlier is None:
        raise CannotResume(
            f"{output} does not hold the settings of its rows, as Parquet does; write it again"
        )
    if different := differences(earlier, request):
        raise CannotResume(
            f"{output} holds rows of another run: {'; '.join(different)}. Repeat the command that wrote it"
        )


def differences(before: dict[str, Any], now: dict[str, Any], prefix: str = "") -> list[str]:  # Any: JSON
    """One phrase for each key whose value differs between two records, such as ``"dtype was 1 and is 2"``.

    A hash has no value that a reader knows, so of those in ``_HASHES`` the phrase only says what is another.
    """
    phrases = []
    for key in sorted({*before, *now}):
        old, new = before.get(key), now.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            phrases += differences(old, new, f"{prefix}{key}.")
        elif old != new:
            named = f"{prefix}{key}".removeprefix("spec.")
            phrases.append(_HASHES.get(named) or f"{named} was {_shown(old, new)} and is {_shown(new, old)}")
    return phrases


def _shown(value: Any, other: Any) -> str:  # Any: JSON
    """A value; a float in as few digits as tell it from the other one."""
    short = f"{value:.4g}" if isinstance(value, float) else repr(value)
    return repr(value) if isinstance(other, float) and short == f"{other:.4g}" else short


@contextmanager
def _read_pipe(path: Path) -> Iterator[None]:
    """Hold a pipe open that something reads from; opening one waits for ever otherwise.

    Raises:
        CannotWrite: Nothing opened it for reading within ``PIPE_SECONDS``.
    """
    end = time.monotonic() + PIPE_SECONDS
    while True:
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
            break
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            if time.monotonic() > end:
                raise CannotWrite(
                    f"cannot write {path}: it is a pipe that nothing reads; start its reader, or name a file"
                ) from error
            time.sleep(0.05)
    try:
        yield
    finally:
        os.close(descriptor)


def _rename(temporary: Path, target: Path, overwrite: bool, path: str | Path) -> None:
    """Give a temporary file its final name; ``path`` is what the user called it."""
    if overwrite:
        temporary.replace(target)
        return
    try:
        os.link(temporary, target)  # unlike a rename, it replaces nothing
    except OSError as error:
        if os.path.lexists(target):
            raise OutputExists(
                f"cannot write {path}: a file has appeared there since the run began; move it away and run "
                f"this again, or {_OVERWRITE}"
            ) from error
        temporary.replace(target)  # a file system without hard links


def _status(path: Path) -> os.stat_result | None:
    """Of what a path leads to; None if there is nothing."""
    try:
        return path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _is_input(path: Path, source: str | None) -> bool:
    """Whether a file is the input, or matches its pattern, by whatever name."""
    for name in () if not source else ("/dev/stdin",) if source == "-" else (source, *matching(source)):
        with suppress(OSError, ValueError):  # one does not exist
            if path.samefile(name):
                return True
    return False


def _copy_rights(older: os.stat_result, path: Path) -> None:
    """Give a new file the owner, where the system lets us, and the rights of an older one."""
    with suppress(OSError, AttributeError):  # Windows has no owners
        if (older.st_uid, older.st_gid) != (path.stat().st_uid, path.stat().st_gid):
            os.chown(path, older.st_uid, older.st_gid)
    path.chmod(stat.S_IMODE(older.st_mode))


def _sync_folder(folder: Path) -> None:
    """Flush the names in a folder, so that a rename outlasts a loss of power."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except PermissionError:  # one that may be written and not read; Windows opens none
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)


def _crc32(path: Path, checksum: int = 0) -> int:
    """Checksum of what ``checksum`` is of and then a file: against damage, not forgery. 1.5 GB take 1 s."""
    with path.open("rb") as file:
        while block := file.read(2**20):
            checksum = zlib.crc32(block, checksum)
    return checksum


def _recorded(folder: Path) -> list[_Chunk]:
    """The chunks of a manifest, up to the first line that is none."""
    try:
        lines = (folder / _MANIFEST).read_bytes().split(b"\n")[:-1]  # after the last there is no line
    except (FileNotFoundError, NotADirectoryError):
        return []
    chunks: list[_Chunk] = []
    for line in lines:
        try:
            chunk = _Chunk(**json.loads(line))
        except (ValueError, TypeError):  # no JSON, or other keys
            break
        values = asdict(chunk).values()
        if chunk.chunk != len(chunks) or any(type(value) is not int for value in values):
            break
        chunks.append(chunk)
    return chunks


def _remove_finished(output: Path) -> None:
    """Remove the store of a run that was killed between its output's rename and the store's removal."""
    folder = parts_folder(output)
    with suppress(OSError, ValueError):  # there is no such file, or another run holds the lock
        if (folder / "finished.json").is_file():
            with lock(folder / "lock", 0):
                if json.loads((folder / "finished.json").read_bytes()) == _crc32(output):
                    _remove_store(folder)
                    _remove_temporaries(output)
    with suppress(OSError):  # it is not empty; a run that is killed before its last step leaves an empty one
        folder.rmdir()


def _remove_temporaries(output: Path) -> None:
    """Remove the temporary files of an output that killed runs left; only a run with its store has one."""
    target = Path(os.path.realpath(output))
    if len(target.name) <= _NAME_CHARACTERS:  # else they may be those of another output
        for leftover in target.parent.glob(f".{escape(target.name)}.{'[0-9a-f]' * 8}.tmp"):
            leftover.unlink(missing_ok=True)


def _remove_store(folder: Path) -> None:
    """Delete a store, last of all that it is finished. Files that are not the store's stay."""
    names = ["request.json", _MANIFEST, "lock", "finished.json"]
    with suppress(OSError):  # the output is written; what cannot be deleted may stay
        for path in [*_chunk_paths(folder), *(folder / name for name in names)]:
            path.unlink(missing_ok=True)
        folder.rmdir()


def _chunk_path(folder: Path, index: int) -> Path:
    return folder / f"{index:06d}.arrow"


def _chunk_paths(folder: Path) -> list[Path]:
    return [*folder.glob("[0-9]" * 6 + ".arrow")]


def _read(path: Path) -> "pa.Table":
    """The rows of a chunk. Small ones are loaded: a process may have 65,530 maps."""
    import pyarrow as pa

    if path.stat().st_size < _MAPPED_BYTES:
        return pa.ipc.open_file(pa.py_buffer(path.read_bytes())).read_all()
    # Closing the map closes its file descriptor; the memory stays mapped while the table lives.
    with pa.memory_map(str(path)) as source:
        return pa.ipc.open_file(source).read_all()
