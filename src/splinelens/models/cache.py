"""The cache of fetched and converted models; files appear in it whole or not at all.

Everything is created in a temporary folder inside the cache and moved to its path with one rename. A lock
keeps two processes from doing the same work twice.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from splinelens.errors import BrokenDownload, CannotWrite
from splinelens.files import lock, write_errors

_ADVICE = "make room in the model cache, or set SPLINELENS_CACHE to another folder"
_SPARE_BYTES = 50_000_000


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """The absolute path of the cache; it need not exist yet.

    Raises:
        CannotWrite: It has a name that no folder can have, or is below a home folder that is not there.

    Example:
        >>> cache_folder("/tmp/models").as_posix()
        '/tmp/models'
    """
    if cache is None:
        shared = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
        cache = os.environ.get("SPLINELENS_CACHE") or os.path.join(shared, "splinelens")
    path = os.path.expanduser(cache)
    if os.fspath(path).startswith("~"):
        raise CannotWrite(f"the model cache {cache} is below no home folder; {_ADVICE}")
    try:
        with write_errors(path, _ADVICE), suppress(FileNotFoundError, NotADirectoryError):
            os.stat(path)
    except ValueError as error:
        raise CannotWrite(f"the model cache cannot have the name {path!r}: {error}; {_ADVICE}") from error
    return Path(path).absolute()


@contextmanager
def working_folder(cache: Path, needed_bytes: int) -> Iterator[Path]:
    """An empty temporary folder inside the cache, for one process at a time; deleted afterwards.

    Check inside whether the work is still needed: another process may have done it while this one waited.
    Move results out of it with :func:`publish`.

    Raises:
        CannotWrite: The cache cannot be written, or the disk has less than ``needed_bytes``.
    """
    with write_errors(cache, _ADVICE):
        cache.mkdir(parents=True, exist_ok=True)
        with lock(cache / "lock"):
            for stale in cache.glob("partial-*"):  # left by a process that was killed
                shutil.rmtree(stale, ignore_errors=True)
            free = shutil.disk_usage(cache).free
            if free < needed_bytes + _SPARE_BYTES:
                raise CannotWrite(
                    f"{cache} has {free / 1e6:,.0f} MB of free disk, and "
                    f"{(needed_bytes + _SPARE_BYTES) / 1e6:,.0f} MB are needed; {_ADVICE}"
                )
            with tempfile.TemporaryDirectory(prefix="partial-", dir=cache) as folder:
                yield Path(folder)


def publish(finished: Path, target: Path) -> None:
    """Move a finished file or folder to its path in one step, with the permissions of the umask.

    An existing file is replaced. An existing folder was published by another process meanwhile; it is the
    same, and stays.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    probe = finished.with_name(".umask")  # to read the umask itself is to change it, for all threads
    probe.mkdir()
    mask = 0o777 & ~probe.stat().st_mode
    probe.rmdir()
    for path in [finished, *finished.rglob("*")]:  # temporary folders and safetensors are for the owner only
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
    try:
        finished.replace(target)
    except OSError:
        if not target.is_dir():
            raise


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def require_original(what: str, expected: int | str, actual: int | str) -> None:
    """Refuse a fetched file whose size or hash is not that of the original.

    Raises:
        BrokenDownload: The message has both values.
    """
    if actual != expected:
        raise BrokenDownload(
            f"broken download: {what} should be {expected} and is {actual}. Nothing was cached; try again, "
            "and if it stays so another file is handed out under that name"
        )
