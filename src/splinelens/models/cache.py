"""Where fetched and converted models lie, and how a file gets there whole or not at all.

Everything is made in a temporary folder inside the cache and moved into place with one rename, so a
reader never sees half a file. A lock keeps two processes from doing the same work twice; where the
file system knows no locks, the rename alone still keeps the cache sound.
"""

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from splinelens.errors import CannotWrite

_NOT_WRITABLE = {
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.ENOTDIR,
    errno.EEXIST,
}
_SPARE_BYTES = 50_000_000


def cache_folder(cache: str | os.PathLike[str] | None = None) -> Path:
    """The folder that holds fetched and converted models; it need not exist yet.

    Args:
        cache: The folder itself. Without it: ``SPLINELENS_CACHE``, else ``splinelens`` below
            ``XDG_CACHE_HOME``, else ``~/.cache/splinelens``.

    Returns:
        An absolute path.

    Example:
        >>> cache_folder("/tmp/models").as_posix()
        '/tmp/models'
    """
    own, shared = os.environ.get("SPLINELENS_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if cache is not None:
        folder = Path(cache)
    elif own:
        folder = Path(own)
    else:
        folder = Path(shared or Path.home() / ".cache") / "splinelens"
    return folder.expanduser().absolute()


@contextmanager
def workroom(cache: Path, needed_bytes: int) -> Iterator[Path]:
    """A temporary folder inside the cache, for one process at a time; it is gone afterwards.

    Look again whether the work is done once inside: another process may have held the room before.

    Args:
        cache: The folder of :func:`cache_folder`; made if it is missing.
        needed_bytes: What will be written at most; refused at once if the disk has less.

    Yields:
        The empty folder; move out of it what shall stay, with :func:`place`.

    Raises:
        CannotWrite: The cache cannot be written, or the disk has too little room, now or later.
    """
    room = None
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with open(cache / "lock", "w") as lock:
            with suppress(OSError):  # a file system without locks: the rename in `place` is enough
                fcntl.flock(lock, fcntl.LOCK_EX)
                for stale in cache.glob("partial-*"):  # left by a process that was killed
                    shutil.rmtree(stale, ignore_errors=True)
            _require_space(cache, needed_bytes)
            room = Path(tempfile.mkdtemp(prefix="partial-", dir=cache))
            yield room
    except OSError as error:
        if error.errno not in _NOT_WRITABLE:
            raise
        raise CannotWrite(
            f"the model cache {cache} cannot be written: {error.strerror}. Make room there, or set "
            "SPLINELENS_CACHE to another folder"
        ) from error
    finally:
        if room is not None:
            shutil.rmtree(room, ignore_errors=True)


def place(made: Path, target: Path) -> None:
    """Move a finished file or folder to its place in one step, open to the readers the umask allows.

    A file that lies there is replaced; a folder that lies there was put by another process in the
    meantime, is the same, and stays.

    Args:
        made: The finished file or folder, on the same disk.
        target: Where it shall lie; the folders above are made.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    _open_to_readers(made)
    try:
        os.replace(made, target)
    except OSError:
        if not target.is_dir():
            raise


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, as 64 hexadecimal digits.

    Example:
        >>> import pathlib, tempfile
        >>> empty = pathlib.Path(tempfile.mkdtemp()) / "empty"
        >>> empty.touch()
        >>> file_sha256(empty)[:8]
        'e3b0c442'
    """
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


def _open_to_readers(made: Path) -> None:
    """Undo the owner-only modes that temporary folders and safetensors give."""
    mask = os.umask(0)
    os.umask(mask)
    for path in [made, *made.rglob("*")]:
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
