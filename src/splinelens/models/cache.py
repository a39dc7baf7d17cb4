"""The cache of fetched and converted models; files appear in it whole or not at all.

Everything is made in a temporary folder inside the cache and moved to its path with one rename. A lock
keeps two processes from doing the same work twice.
"""

import errno
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from splinelens.errors import CannotWrite
from splinelens.files import lock

_NOT_WRITABLE = {getattr(errno, name) for name in "EACCES EPERM EROFS ENOSPC EDQUOT ENOTDIR EEXIST".split()}
_SPARE_BYTES = 50_000_000


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """The folder of fetched and converted models; it need not exist yet.

    Args:
        cache: The folder itself. Default: ``SPLINELENS_CACHE``, else ``splinelens`` below
            ``XDG_CACHE_HOME``, else ``~/.cache/splinelens``.

    Returns:
        An absolute path.

    Example:
        >>> cache_folder("/tmp/models").as_posix()
        '/tmp/models'
    """
    if cache is None:
        shared = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        cache = os.environ.get("SPLINELENS_CACHE") or Path(shared) / "splinelens"
    return Path(cache).expanduser().absolute()


@contextmanager
def working_folder(cache: Path, needed_bytes: int) -> Iterator[Path]:
    """A temporary folder inside the cache, for one process at a time.

    Check inside whether the work is still needed: another process may have done it while this one waited.

    Args:
        cache: The folder of :func:`cache_folder`; created if missing.
        needed_bytes: What will be written at most; refused at once if the disk has less.

    Yields:
        The empty folder, deleted afterwards; move results out of it with :func:`publish`.

    Raises:
        CannotWrite: The cache cannot be written, or the disk is too full, now or later.
    """
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with lock(cache / "lock"):
            for stale in cache.glob("partial-*"):  # left by a process that was killed
                shutil.rmtree(stale, ignore_errors=True)
            _require_space(cache, needed_bytes)
            folder = Path(tempfile.mkdtemp(prefix="partial-", dir=cache))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise CannotWrite(
            f"the model cache {cache} cannot be written: {error.strerror}. Make room there, or set "
            "SPLINELENS_CACHE to another folder"
        ) from error


def publish(finished: Path, target: Path) -> None:
    """Move a finished file or folder to its path in one step, with the permissions of the umask.

    An existing file is replaced. An existing folder was published by another process meanwhile; it is the
    same, and stays.

    Args:
        finished: The file or folder, on the same disk.
        target: Its path; parent folders are created.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    mask = os.umask(0)
    os.umask(mask)
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


def _require_space(cache: Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(cache).free
    if free < needed_bytes + _SPARE_BYTES:
        raise CannotWrite(
            f"the model cache {cache} has {free / 1e6:,.0f} MB of free disk, and "
            f"{(needed_bytes + _SPARE_BYTES) / 1e6:,.0f} MB are needed. Make room there, or set "
            "SPLINELENS_CACHE to a folder on another disk"
        )
